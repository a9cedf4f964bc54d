"""A log of ``python -X importtime`` as a start: its modules, nested as the log says, with its own times."""

from __future__ import annotations

import io

import pytest

from otel_perf.analysis.loading import load_process
from otel_perf.analysis.report import report_text
from otel_perf.analysis.startup import build_start, imports_of, verdict_of
from otel_perf.errors import UserError
from otel_perf.export.json_values import Skipped
from otel_perf.formats import silent
from otel_perf.formats.foreign import importtime
from otel_perf.formats.foreign.run import Run
from otel_perf.formats.foreign.source import Source

HEAD = "import time: self [us] | cumulative | imported package"
LOG = f"""\
{HEAD}
import time:       100 |        100 |   encodings.aliases
import time:       300 |        400 | encodings
Loading shop …
import time:        50 |         50 |     shop.db.driver
import time:       150 |        200 |   shop.db
import time:        20 |         20 |   shop.web
import time:        30 |        250 | shop
"""


@pytest.fixture
def imported(tmp_path, spans_of):
    """Return a function that imports a log: its spans without the root, by name; notes; what was skipped; the folder."""

    def run(text, service=None):
        skipped, data = Skipped(), text if isinstance(text, bytes) else text.encode()
        with Run(str(tmp_path)) as made:
            notes = importtime.read(Source("a.log", "a.log", io.BytesIO(data)), made, service, skipped, silent)
        spans = spans_of(tmp_path)
        ids = {span["span_id"]: span["name"] for span in spans}
        for span in spans:
            span["parent"] = ids.get(span["parent_id"])
        return spans, notes, skipped, made.path

    return run


def tree(spans):
    """Return of each import its parent, depth, and µs of itself and in all, in the order of the log."""
    return [
        (
            span["name"].removeprefix("import "),
            span["parent"],
            span["attributes"]["otel_perf.depth"],
            round(span["attributes"]["otel_perf.self_time"] * 1e6),
            (span["end"] - span["start"]) // 1000,
        )
        for span in spans
        if span["attributes"]["otel_perf.kind"] == "import"
    ]


def test_modules_nest_as_the_log_says_with_its_times(imported):
    spans, notes, skipped, _ = imported(LOG)

    assert [
        ("encodings.aliases", "import encodings", 2, 100, 100),
        ("encodings", "startup", 1, 300, 400),
        ("shop.db.driver", "import shop.db", 3, 50, 50),
        ("shop.db", "import shop", 2, 150, 200),
        ("shop.web", "import shop", 2, 20, 20),
        ("shop", "startup", 1, 30, 250),
    ] == tree(spans)
    assert ([], False) == (notes, bool(skipped))


def test_imports_lie_one_after_the_other_inside_their_importers(imported):
    spans, *_ = imported(LOG)
    by_name = {span["name"]: span for span in spans}
    root = by_name["startup"]

    places = {
        name.removeprefix("import "): ((span["start"] - root["start"]) // 1000, (span["end"] - root["start"]) // 1000)
        for name, span in by_name.items()
    }
    assert {
        "startup": (0, 650),
        "encodings": (0, 400),
        "encodings.aliases": (0, 100),
        "shop": (400, 650),
        "shop.db": (400, 600),
        "shop.db.driver": (400, 450),
        "shop.web": (600, 620),
    } == places
    assert {root["trace_id"]} == {span["trace_id"] for span in spans}


def test_resource_says_where_it_comes_from_and_what_is_not_known(imported):
    spans, *_ = imported(LOG, service="shop")

    assert {
        "service.name": "shop",
        "otel_perf.imported.from": "a.log",
        "otel_perf.imported.format": "importtime",
        "otel_perf.imported.times": "laid out",
    } == spans[0]["resource"]


def test_nobody_says_that_the_program_was_ready_nor_how_it_ended(imported):
    *_, path = imported(LOG)

    (folder,) = [f"{path}/{name}" for name in __import__("os").listdir(path)]
    start = build_start(load_process(folder))
    assert ("unknown", "unsaid") == (verdict_of(start).state, verdict_of(start).cause)
    assert 6 == start.imports_seen == imports_of(start).count
    text = report_text(path, width=200)
    assert "imported from a.log (importtime)" in text
    assert "ended" not in text.splitlines()[2]
    assert "killed" not in text


def test_self_time_below_zero_is_shown_as_zero_and_said(imported):
    """As two threads that import at once make it: python/cpython#149308."""
    spans, notes, *_ = imported(f"""\
{HEAD}
import time:      -400 |     100600 |     leaf_b
import time:    100200 |     201000 |   leaf_a
import time:    -21000 |     180000 | slow_b
import time:    300000 |     400000 | slow_a
""")

    assert [("leaf_b", 0), ("leaf_a", 100200), ("slow_b", 0), ("slow_a", 300000)] == [
        (name, own) for name, _, _, own, _ in tree(spans)
    ]
    assert ["2 imports with a self time below 0, shown as 0: on threads at once, which the log mixes up"] == notes
    by_name = {span["name"]: span for span in spans}
    leaf, slow = by_name["import leaf_a"], by_name["import slow_b"]
    assert slow["start"] <= leaf["start"] <= leaf["end"] <= slow["end"]  # the log says less: 180 ms for 201 inside


def test_what_is_damaged_is_counted_and_what_the_program_wrote_is_not(imported):
    spans, _, skipped, _ = imported(f"""\
Traceback (most recent call last): import time is money
{HEAD}
import time:       10 |        10 | one
import time: abc | 10 | two
import time: {"9" * 16} | 10 | three
import time: cached    | cached     |   sys
no newline before it: import time:       20 |        20 | four
import time:        5 |
import time:       30 |      """)

    assert ["one", "four"] == [name for name, *_ in tree(spans)]
    assert {"no import, though it says so": 3, "of more than three years": 1} == skipped.lines


def test_log_that_breaks_off_keeps_what_is_there_below_a_parent_that_is_not(imported):
    spans, *_ = imported(f"""\
{HEAD}
import time:       10 |        10 |     pkg.a
import time:       20 |        30 |   pkg.sub
import time:        5 |         5 |   pkg.b
""")

    assert [("pkg.a", "import pkg.sub"), ("pkg.sub", None), ("pkg.b", None)] == [row[:2] for row in tree(spans)]
    ids = {span["name"]: span["parent_id"] for span in spans}
    assert ids["import pkg.sub"] == ids["import pkg.b"] is not None


def test_orphans_of_one_import_are_not_those_of_a_later_one(imported):
    spans, *_ = imported(f"""\
{HEAD}
import time:       10 |        10 |       deep
import time:       20 |        40 | first
import time:        7 |         7 |     other
import time:        7 |        14 |   middle
import time:       20 |        40 | second
""")

    assert [None, "startup", "import middle", "import second", "startup"] == [row[1] for row in tree(spans)]


def test_several_interpreters_in_one_log_are_said(imported):
    _, notes, *_ = imported(LOG + LOG)

    assert ["2 interpreters wrote this log; whose imports are whose it does not say"] == notes


@pytest.mark.parametrize("text", ["", "hello\n", HEAD + "\n"])
def test_log_without_an_import_says_how_to_make_one_and_leaves_no_run(imported, tmp_path, text):
    with pytest.raises(UserError, match=r"python -X importtime app\.py 2> FILE") as error:
        imported(text)

    assert 2 == error.value.exit_code
    assert [] == list(tmp_path.glob("2*"))


def test_memory_does_not_grow_with_the_log(imported):
    import tracemalloc

    def peak(number):
        rows = [HEAD]
        for module in range(number):
            rows += [f"import time:  10 | 10 |   m{module}.sub", f"import time:  10 | 20 | m{module}"]
        data = "\n".join(rows).encode()
        tracemalloc.start()
        imported_data(data)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    def imported_data(data):
        class Process:
            def span(self, *words):
                pass

            end = span

        class Made:
            def process(self, resource):
                return Process()

        importtime.read(Source("a", "a", io.BytesIO(data)), Made(), None, Skipped(), silent)

    peak(100)
    assert peak(20_000) < peak(500) + 50_000
