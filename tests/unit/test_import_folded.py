"""Folded stacks as spans: in the order of their lines, so that an export that was imported is exported the same."""

from __future__ import annotations

import io
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_perf.analysis.functions import hot_paths
from otel_perf.analysis.loading import load_process
from otel_perf.errors import UserError
from otel_perf.export.json_values import Skipped
from otel_perf.formats import folded as exporter
from otel_perf.formats import silent
from otel_perf.formats.foreign import folded
from otel_perf.formats.foreign.run import Run
from otel_perf.formats.foreign.source import Source
from otel_perf.formats.story import Story


@pytest.fixture
def imported(tmp_path):
    """Return a function that imports stacks: the process's folder, notes, and what was skipped."""

    def run(text, **options):
        data = text if isinstance(text, bytes) else text.encode()
        return imported_to(tmp_path, data, **options)

    return run


def imported_to(folder, data, **options):
    skipped = Skipped()
    with Run(str(folder)) as made:
        notes = folded.read(Source("s", "s", io.BytesIO(data)), made, None, skipped, silent, **options)
    (process,) = os.listdir(made.path)
    return os.path.join(made.path, process), notes, skipped


def exported(process):
    out = io.BytesIO()
    with Story("again") as story:
        story.read(process, False, silent)
        exporter.write(story, out, silent)
    return out.getvalue().decode()


def tree(spans_of, folder):
    """Return name, parent's name, begin and end of the spans, in µs since the first, by begin."""
    spans = spans_of(folder)
    ids, zero = {span["span_id"]: span["name"] for span in spans}, min(span["start"] for span in spans)
    rows = [
        (span["name"], ids.get(span["parent_id"]), (span["start"] - zero) / 1000, (span["end"] - zero) / 1000)
        for span in spans
    ]
    return sorted(rows, key=lambda row: (row[2], -row[3]))


def test_a_line_goes_on_where_it_has_the_beginning_of_the_one_before(imported, spans_of, tmp_path):
    imported("main 5\nmain;load 10\nmain;load;read 20\nmain;save 7\nidle 3\n")

    assert [
        ("main", None, 0, 42),
        ("load", "main", 5, 35),
        ("read", "load", 15, 35),
        ("save", "main", 35, 42),
        ("idle", None, 42, 45),
    ] == tree(spans_of, tmp_path)


def test_resource_says_what_the_numbers_are(imported, spans_of, tmp_path):
    imported("main 5\n", unit="samples")

    (span,) = spans_of(tmp_path)
    assert {
        "otel_perf.imported.from": "s",
        "otel_perf.imported.format": "folded",
        "otel_perf.imported.times": "laid out",
        "otel_perf.imported.unit": "samples",
    } == span["resource"]
    assert {} == span["attributes"]


def test_report_has_the_self_times_and_no_number_of_calls(imported):
    process, *_ = imported("main;load 10\nmain;save 30\nmain;load 5\n")

    hot = hot_paths(load_process(process))

    assert [(("main", "save"), 30e-6), (("main", "load"), 15e-6)] == [(one.path, one.self_time) for one in hot]
    assert [(None, None)] * 2 == [(one.calls, one.total) for one in hot]


@pytest.mark.parametrize(
    "text",
    [
        "startup 5\nstartup;A 3\nstartup;B 2\nstartup;A;x 1\n",  # x was called by a later A
        "startup 0\nstartup;A 0\nstartup;B 4\nstartup;A;x 0\nworker 0\nworker;y 0\n",
        "f 1\nf;f 0\nf;f;f 7\n",
        "größe <b> 0\ngröße <b>;a:b 1\ngröße <b>;a:b;\\x1b[31m 7\nx\u00a042 9\n#\u00a042 3\n",
    ],
)
def test_export_that_is_imported_is_exported_the_same(imported, text):
    assert text == exported(imported(text)[0])


NAMES = st.text(st.sampled_from("ab:<# 4.ö\\"), min_size=1, max_size=4).map(exporter.frame_of)


@st.composite
def exports(draw):
    """Folded stacks as the exporter writes them: each path once, after that of its caller."""
    paths = []
    for _ in range(draw(st.integers(1, 15))):
        above = draw(st.sampled_from([(), *paths]))
        path = (*above, draw(NAMES))
        if path not in paths:
            paths.append(path)
    return "".join(f"{';'.join(path)} {draw(st.integers(0, 2000))}\n" for path in paths)


@settings(max_examples=150, deadline=None)
@given(text=exports())
def test_any_export_is_exported_the_same(tmp_path_factory, text):
    process, notes, skipped = imported_to(tmp_path_factory.mktemp("any"), text.encode())

    assert ([], False) == (notes, bool(skipped))
    assert text == exported(process)


def test_foreign_stacks_get_their_callers_and_keep_their_numbers(imported):
    """Lines sorted by name, a path twice, a number with a fraction, Windows' ends of lines."""
    process, _, skipped = imported("\ufeffmain;b;c 5\r\nmain;b;c 7.25\r\nmain;a 1\r\n\r\n")

    assert "main 0\nmain;b 0\nmain;b;c 12\nmain;a 1\n" == exported(process)
    assert not skipped


def test_what_is_no_stack_is_counted(imported):
    process, _, skipped = imported(
        b"main 5\nno number\n42\nmain;x 1 2\nmain 1e5\nmain -3\nmain 9999999999999999\n\xff\xfe 3\n"
    )

    assert {
        "no stack and a number": 4,
        "two numbers, a difference of two profiles": 1,
        "number too large": 1,
    } == skipped.lines
    assert "main 5\n\ufffd\ufffd 3\n" == exported(process)


def test_frames_past_the_deepest_count_as_their_callers(imported, spans_of, tmp_path, monkeypatch):
    monkeypatch.setattr(folded, "DEEPEST", 3)
    process, notes, _ = imported("a;b;c;d 5\na;b;c 2\n")

    assert "a 0\na;b 0\na;b;c 7\n" == exported(process)
    assert ["1 path of more than 3 frames: those past that count as their callers'"] == notes


def test_totals_are_kept_of_so_many_paths_only_and_those_are_right(imported, monkeypatch):
    monkeypatch.setattr(folded, "MOST_PATHS", 2)
    process, *_ = imported("a 1\nb 2\nc 3\nb 4\n")

    assert [(("b",), 6e-6), (("a",), 1e-6)] == [(one.path, one.self_time) for one in hot_paths(load_process(process))]
    assert "a 1\nb 6\nc 3\n" == exported(process)


@pytest.mark.parametrize("text", ["", "nothing here\n", "5\n"])
def test_file_without_a_stack_is_refused_and_leaves_no_run(imported, tmp_path, text):
    with pytest.raises(UserError, match="has no stack, a line such as `main;load 12345`"):
        imported(text)

    assert [] == list(tmp_path.glob("2*"))


def test_times_that_nobody_measured_are_refused(imported):
    with pytest.raises(UserError, match=r"add up to 9e\+09 s"):
        imported("main 900000000000000\n" * 10)
