"""A file of cProfile as a run: its own numbers as they are, call paths that add up to them, and no marshal.loads()."""

from __future__ import annotations

import base64
import cProfile
import io
import marshal
import os
import pstats as standard
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_perf.analysis.functions import functions_of, hot_paths
from otel_perf.analysis.loading import load_process
from otel_perf.errors import UserError
from otel_perf.export.json_values import Skipped
from otel_perf.formats import silent
from otel_perf.formats.foreign import pstats, shares
from otel_perf.formats.foreign.marshalled import DamagedError, Reader
from otel_perf.formats.foreign.run import Run
from otel_perf.formats.foreign.source import Source

MAIN = ("app.py", 1, "main")


def place(name):
    return ("app.py", 10, name)


def profile(**functions):
    """Return a profile: by name its calls, seconds alone and in all, and by caller the same; "" is main's name."""
    return {
        place(name): (calls, calls, own, total, {place(caller): numbers for caller, numbers in callers.items()})
        for name, (calls, own, total, callers) in functions.items()
    }


SHARED = profile(
    main=(1, 0.1, 1.0, {}),
    a=(1, 0.0, 0.2, {"main": (1, 1, 0.0, 0.2)}),
    b=(9, 0.0, 0.7, {"main": (9, 9, 0.0, 0.7)}),
    work=(10, 0.3, 0.9, {"a": (1, 1, 0.1, 0.2), "b": (9, 9, 0.2, 0.7)}),
    leaf=(50, 0.6, 0.6, {"work": (50, 50, 0.6, 0.6)}),
)


@pytest.fixture
def imported(tmp_path):
    """Return a function that imports a profile, or bytes: the process's folder, notes, and what was skipped."""

    def run(stats):
        skipped, data = Skipped(), stats if isinstance(stats, bytes) else marshal.dumps(stats)
        with Run(str(tmp_path)) as made:
            notes = pstats.read(Source("a.prof", "a.prof", io.BytesIO(data)), made, None, skipped, silent)
        (process,) = os.listdir(made.path)
        return os.path.join(made.path, process), notes, skipped

    return run


def paths(spans):
    """Return seconds alone and in all of the spans by call path, names without their files, and check that they nest."""
    by_id = {span["span_id"]: span for span in spans}

    def path(span):
        above = by_id.get(span["parent_id"])
        if above is not None:
            assert above["start"] <= span["start"] <= span["end"] <= above["end"]
        return (*(() if above is None else path(above)), span["name"].partition(" (")[0])

    return {
        path(span): (span["attributes"]["otel_perf.self_time"], (span["end"] - span["start"]) / 1e9) for span in spans
    }


def near(seconds):
    return pytest.approx(seconds, abs=2e-9)


# --- call paths -------------------------------------------------------------------------------------------------------


def test_a_function_called_from_two_is_shared_out_as_the_profile_says(imported, spans_of, tmp_path):
    """Of the 0.6 s in leaf, a's call of work has the part that its time below work has: 0.1 of 0.6."""
    imported(SHARED)

    found = paths(spans_of(tmp_path))
    assert {
        ("main",): near((0.1, 1.0)),
        ("main", "a"): near((0.0, 0.2)),
        ("main", "a", "work"): near((0.1, 0.2)),
        ("main", "a", "work", "leaf"): near((0.1, 0.1)),
        ("main", "b"): near((0.0, 0.7)),
        ("main", "b", "work"): near((0.2, 0.7)),
        ("main", "b", "work", "leaf"): near((0.5, 0.5)),
    } == found


def test_callees_lie_side_by_side_the_longest_first(imported, spans_of, tmp_path):
    imported(SHARED)

    spans = sorted(spans_of(tmp_path), key=lambda span: (span["start"], span["attributes"]["otel_perf.depth"]))
    assert ["main", "b", "work", "leaf", "a", "work", "leaf"] == [span["name"].partition(" (")[0] for span in spans]


def test_a_function_that_calls_itself_stands_once_on_a_path(imported, spans_of, tmp_path):
    imported(profile(
        main=(1, 0.1, 1.0, {}),
        fib=(100, 0.6, 0.9, {"main": (1, 1, 0.1, 0.9), "fib": (99, 2, 0.5, 0.8)}),
        leaf=(7, 0.3, 0.3, {"fib": (7, 7, 0.3, 0.3)}),
    ))  # fmt: skip

    assert {
        ("main",): near((0.1, 1.0)),
        ("main", "fib"): near((0.6, 0.9)),
        ("main", "fib", "leaf"): near((0.3, 0.3)),
    } == paths(spans_of(tmp_path))


def test_functions_that_call_each_other_stand_once_each_and_keep_their_own_time(imported, spans_of, tmp_path):
    imported(profile(
        main=(1, 0.1, 1.0, {}),
        even=(50, 0.3, 0.9, {"main": (1, 1, 0.01, 0.9), "odd": (49, 1, 0.29, 0.8)}),
        odd=(50, 0.2, 0.85, {"even": (50, 1, 0.2, 0.85)}),
        leaf=(5, 0.4, 0.4, {"odd": (5, 5, 0.4, 0.4)}),
    ))  # fmt: skip

    assert {
        ("main",): near((0.1, 1.0)),
        ("main", "even"): near((0.3, 0.9)),
        ("main", "even", "odd"): near((0.2, 0.6)),
        ("main", "even", "odd", "leaf"): near((0.4, 0.4)),
    } == paths(spans_of(tmp_path))


def test_what_nobody_in_the_profile_called_is_a_root(imported, spans_of, tmp_path):
    """A profiler that is switched on inside a function never sees that one; a second call may come from outside."""
    imported(profile(
        main=(1, 0.1, 0.5, {}),
        work=(3, 0.6, 0.6, {"main": (2, 2, 0.4, 0.4)}),
        tail=(1, 0.05, 0.05, {"gone": (1, 1, 0.05, 0.05)}),
    ))  # fmt: skip

    found = paths(spans_of(tmp_path))
    assert {
        ("main",): near((0.1, 0.5)),
        ("main", "work"): near((0.4, 0.4)),
        ("work",): near((0.2, 0.2)),
        ("tail",): near((0.05, 0.05)),
    } == found
    assert 3 == len({span["trace_id"] for span in spans_of(tmp_path)})


def test_functions_that_only_each_other_called_are_not_lost(imported, spans_of, tmp_path):
    imported(profile(a=(1, 0.1, 0.3, {"b": (1, 1, 0.1, 0.3)}), b=(1, 0.2, 0.3, {"a": (1, 1, 0.2, 0.3)})))

    assert {("a",): near((0.1, 0.3)), ("a", "b"): near((0.2, 0.2))} == paths(spans_of(tmp_path))


def test_where_a_file_contradicts_itself_own_times_hold(imported, spans_of, tmp_path):
    """As of two list comprehensions on one line: up to Python 3.11 one of them overwrites the other's numbers."""
    imported(profile(
        main=(1, 0.1, 1.0, {}),
        comprehension=(1, 0.1, 0.3, {"main": (2, 2, 0.3, 0.9)}),
        leaf=(1, 0.2, 0.2, {"comprehension": (1, 1, 0.2, 0.2)}),
    ))  # fmt: skip

    assert {
        ("main",): near((0.1, 0.4)),
        ("main", "comprehension"): near((0.1, 0.3)),
        ("main", "comprehension", "leaf"): near((0.2, 0.2)),
    } == paths(spans_of(tmp_path))


def test_callers_known_by_calls_alone_share_by_those(imported, spans_of, tmp_path):
    """As profile, cProfile's twin in Python, has them."""
    imported(
        profile(main=(1, 0.2, 1.0, {}), other=(1, 0.0, 0.2, {"main": 1}), work=(4, 0.8, 0.8, {"main": 3, "other": 1}))
    )

    assert {
        ("main",): near((0.2, 1.0)),
        ("main", "work"): near((0.6, 0.6)),
        ("main", "other"): near((0.0, 0.2)),
        ("main", "other", "work"): near((0.2, 0.2)),
    } == paths(spans_of(tmp_path))


def test_past_so_many_paths_the_shortest_are_not_looked_into(imported, spans_of, tmp_path, monkeypatch):
    most = shares.paths_of.__defaults__[0]
    monkeypatch.setattr(pstats, "paths_of", lambda tops: shares.paths_of(tops, 4))
    process, notes, _ = imported(SHARED)

    assert most == 100_000
    for row in functions_of(load_process(process)):
        assert near(SHARED[place(row.function.partition(" (")[0])][2]) == (row.self_time or 0.0)
    found = paths(spans_of(tmp_path))
    assert near((0.0, 0.2)) != found["main", "a"]
    assert {("main",), ("main", "a"), ("main", "b"), ("main", "b", "work")} == set(found)
    assert near((0.2, 0.2)) == found["main", "a"]
    assert ["2 call paths too short to be kept apart: what was called there counts as the last function's"] == notes


@st.composite
def calls(draw):
    """Numbers of calls and seconds of a real call tree, as a profiler would add them up: by function and by caller."""
    names = "abcdef"
    own, total, number, edges = Counter(), Counter(), Counter(), {}

    def call(caller, depth, above):
        name = draw(st.sampled_from(names if depth else "a"))
        alone = draw(st.integers(0, 50)) / 1000
        below = sum(
            call(name, depth + 1, (*above, (caller, name))) for _ in range(draw(st.integers(0, 2 if depth < 4 else 0)))
        )
        number[name] += 1
        own[name] += alone
        edge = edges.setdefault((caller, name), [0, 0.0, 0.0])
        edge[0] += 1
        edge[1] += alone
        if name not in [each for _, each in above]:
            total[name] += alone + below
        if (caller, name) not in above:
            edge[2] += alone + below
        return alone + below

    whole = call("", 0, ())
    stats = {
        name: (number[name], own[name], total[name], {
            caller: (one[0], one[0], one[1], one[2]) for (caller, callee), one in edges.items() if callee == name and caller
        })
        for name in number
    }  # fmt: skip
    return whole, profile(**stats)


@settings(max_examples=100, deadline=None)
@given(made=calls())
def test_own_times_of_all_paths_add_up_to_the_function_s_whatever_calls_what(made):
    whole, stats = made
    functions = pstats._functions(Source("p", "p", io.BytesIO(marshal.dumps(stats))), Skipped(), silent)
    roots, left = shares.paths_of(shares.settle(functions))

    own, total, waiting = Counter(), Counter(), [(root, ()) for root in roots]
    while waiting:
        path, above = waiting.pop()
        assert path.function not in above, "a function stands twice on a path"
        assert path.total >= sum(child.total for child in path.children) - 1e-9
        own[path.function] += path.own
        total[path.function] += path.total
        waiting += [(child, (*above, path.function)) for child in path.children]
    assert 0 == left
    assert whole == pytest.approx(sum(root.total for root in roots), abs=1e-6)
    for one in functions:
        assert one.own == pytest.approx(own[one], abs=1e-5)
        if all(len(other.cycle) == 1 for other in functions):
            assert one.total == pytest.approx(total[one], abs=1e-5)


# --- a real profile ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Return the path of what cProfile wrote of a program with shared callees, recursion and built-ins."""
    import json

    def leaf(number):
        return sum(range(number))

    def work(number):
        return [leaf(number) for _ in range(20)]

    def fib(number):
        return number if number < 2 else fib(number - 1) + fib(number - 2)

    def few():
        work(10)

    def main():
        few()
        work(20_000)
        fib(15)
        json.loads(json.dumps({"a": [1.5] * 1000}, indent=1))

    path = tmp_path_factory.mktemp("real") / "real.prof"
    profiler = cProfile.Profile()
    profiler.runcall(main)
    profiler.dump_stats(path)
    return path


def test_report_has_each_function_with_the_numbers_of_pstats(imported, real):
    process, notes, skipped = imported(real.read_bytes())
    expected = standard.Stats(str(real)).stats

    rows = functions_of(load_process(process))

    assert ([], False) == (notes, bool(skipped))
    assert len(expected) == len({row.function for row in rows}) == len(rows)
    assert sorted((calls, total) for _, calls, _, total, _ in expected.values()) == sorted(
        (row.calls, row.total) for row in rows
    )
    by_name = {row.function.partition(" (")[0]: row for row in rows}
    for (_, _, name), (_, calls, own, total, _) in expected.items():
        if name in ("main", "leaf", "work", "fib", "few"):
            row = by_name[name]
            assert (calls, total) == (row.calls, row.total)
            assert own == pytest.approx(row.self_time, abs=1e-8)
    assert {(None, None, (None, None, None))} == {(row.min, row.max, row.percentiles) for row in rows}


def test_spans_have_each_function_with_the_times_of_pstats(imported, real, spans_of, tmp_path):
    imported(real.read_bytes())
    expected = standard.Stats(str(real)).stats

    own, total = Counter(), Counter()
    for span in spans_of(tmp_path):
        says = span["attributes"]
        key = says.get("code.file.path", "~"), says.get("code.line.number", 0), says["code.function.name"]
        own[key] += says["otel_perf.self_time"]
        total[key] += (span["end"] - span["start"]) / 1e9
    whole = sum(numbers[2] for numbers in expected.values())
    assert whole == pytest.approx(sum(own.values()), abs=1e-6)
    for key, (_, _, alone, in_all, _) in expected.items():
        assert alone == pytest.approx(own[key], abs=1e-6), key
        assert in_all == pytest.approx(total[key], abs=2e-6), key
    assert {"leaf", "work", "fib", "few", "main"} < {key[2] for key in own}


def test_hot_paths_are_the_shares_and_what_is_left_of_each_function(imported, real, monkeypatch):
    monkeypatch.setattr(pstats, "MOST_POINTS", 1)
    process, *_ = imported(real.read_bytes())
    expected = standard.Stats(str(real)).stats

    hot = hot_paths(load_process(process))

    assert all(one.path[0] == "(other paths)" for one in hot if one.total is None)
    assert 1 == sum(one.total is not None for one in hot)
    assert sum(numbers[2] for numbers in expected.values()) == pytest.approx(
        sum(one.self_time for one in hot), abs=1e-6
    )


def test_labels_tell_functions_of_one_name_apart(imported, spans_of, tmp_path):
    stats = {
        ("/srv/a/json/tool.py", 3, "run"): (1, 1, 0.1, 0.1, {}),
        ("/srv/b/json/tool.py", 3, "run"): (1, 1, 0.1, 0.1, {}),
        ("C:\\shop\\main.py", 3, "run"): (1, 1, 0.1, 0.1, {}),
        ("~", 0, "<built-in method time.sleep>"): (1, 1, 0.1, 0.1, {}),
    }
    imported(stats)

    assert {"run (a/json/tool.py:3)", "run (b/json/tool.py:3)", "run (main.py:3)", "<built-in method time.sleep>"} == {
        span["name"] for span in spans_of(tmp_path)
    }


# --- damage -----------------------------------------------------------------------------------------------------------


def test_functions_without_their_numbers_are_counted(imported, spans_of, tmp_path):
    bad = [
        (1, 1, float("nan"), 0.1, {}),
        (1, 1, -0.1, 0.1, {}),
        (1, 1, 1e12, 0.1, {}),
        (1, -1, 0.1, 0.1, {}),
        (1, 1, 0.1, 0.1, 5),
    ]
    stats = {("x.py", number, "bad"): numbers for number, numbers in enumerate(bad)} | {
        ("x.py", "1", "f"): bad[0],
        5: 6,
    }
    _, _, skipped = imported(
        {**stats, MAIN: (1, 1, 0.5, 0.5, {MAIN: (1, 1, "0", 0.1), ("x.py", 99, "gone"): (1, 1, 0.1, 0.1)})}
    )

    assert {"function without its numbers": 7, "caller without its numbers": 1} == skipped.records
    assert ["main (app.py:1)"] == [span["name"] for span in spans_of(tmp_path)]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (marshal.dumps(SHARED)[:200], "it ends too early"),
        (marshal.dumps({MAIN: compile("1", "x", "exec")}), "a code object, as python -m profile writes and cProfile does not"),
        (marshal.dumps({MAIN: [1]}), r"type '\['"),
        (marshal.dumps([1]), "no dictionary"),
        (marshal.dumps({MAIN: tuple(range(6))}), "a tuple of 6"),
        (marshal.dumps({MAIN: (1, 1, 2**200, 0.1, {})}), "an integer too large"),
        (b"{(\xff\xff\xff\x7f", "a tuple of 2,147,483,647"),
        (b"{u\xff\xff\xff\x7fabc", "it ends too early"),
        (b"{r\x05\x00\x00\x00", "a reference to nothing"),
        (b"{\xa9\x01r\x00\x00\x00\x00", "a reference to nothing"),  # to the tuple that it stands in
        (b"{" + b")\x01" * 20, "nested too deep"),
        (b"{)\x00{i\x01\x00\x00\x00i\x01\x00\x00\x00", "a key that is no function"),
        (b"", "it ends too early"),
    ],
)  # fmt: skip
def test_what_is_no_profile_is_refused_with_the_reason(imported, tmp_path, data, why):
    with pytest.raises(
        UserError, match=f"a.prof is no profile of cProfile: {why}, at byte [0-9,]+; python -m cProfile -o FILE"
    ) as error:
        imported(data)

    assert 2 == error.value.exit_code
    assert [] == list(tmp_path.glob("2*"))


def test_file_that_is_too_large_is_refused_unread(imported, monkeypatch):
    monkeypatch.setattr(pstats, "MOST_BYTES", 2**20)
    with pytest.raises(UserError, match="has more than 1 MiB"):
        imported(b"{" + bytes(2**20))


PARTS = st.one_of(st.integers(-(2**80), 2**80), st.floats(allow_nan=False), st.text(max_size=300))
TUPLES = st.recursive(PARTS, lambda inner: st.lists(inner, max_size=4).map(tuple), max_leaves=8)
KEYS = st.tuples(st.text(max_size=8), st.integers(-(2**40), 2**40), st.text(max_size=8))


@settings(max_examples=80, deadline=None)
@given(stats=st.dictionaries(KEYS, st.tuples(TUPLES, st.dictionaries(KEYS, TUPLES, max_size=3)), max_size=5))
@pytest.mark.parametrize("version", [0, 1, 2, 3, 4])
def test_reader_reads_what_marshal_wrote(stats, version):
    assert stats == dict(Reader(marshal.dumps(stats, version)).items())


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_no_bytes_at_all_do_more_than_be_refused(data):
    whole = bytearray(marshal.dumps(SHARED))
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    try:
        list(Reader(cut).items())
        pstats._functions(Source("p", "p", io.BytesIO(cut)), Skipped(), silent)
    except (DamagedError, UserError):
        return


# Of f(3), which calls itself, and len(""): by Python 2.7, which refers to interned strings in another way, and 3.13.
OF_OTHERS = {
    "2.7": """
        eygDAAAAdAEAAAB+aQAAAABzMAAAADxtZXRob2QgJ2Rpc2FibGUnIG9mICdfbHNwcm9mLlByb2ZpbGVyJyBvYmplY3RzPigFAAAAaQEAAABp
        AQAAAGcAAAAAAAAAAGcAAAAAAAAAAHswKAMAAABzBwAAAHRpbnkucHlpAgAAAHQBAAAAZigFAAAAaQEAAABpAwAAAGdU5BBxcyrJPmdU5BBx
        cyrJPnsoAwAAAHMHAAAAdGlueS5weWkCAAAAUgEAAAAoBAAAAGkCAAAAaQEAAABnje21oPfGsD5nje21oPfGsD4wKAMAAABSAAAAAGkAAAAA
        cwUAAAA8bGVuPigFAAAAaQEAAABpAQAAAGcAAAAAAAAAAGcAAAAAAAAAAHswMA==""",
    "3.13": """
        +ykD2gF+6QAAAAD6MDxtZXRob2QgJ2Rpc2FibGUnIG9mICdfbHNwcm9mLlByb2ZpbGVyJyBvYmplY3RzPikF6QEAAAByBAAAAGdmtd8r0ZHg
        Pmdmtd8r0ZHgPnswKQPaEy90bXAvaW1wb3J0L3RpbnkucHnpAgAAANoBZikFcgQAAADpAwAAAGeIH8QX6/DHPmeIH8QX6/DHPnspA3IFAAAA
        cgYAAAByBwAAACkEcgYAAAByBAAAAGex1Hi+ptSzPmex1Hi+ptSzPjApA3IBAAAAcgIAAAD6HjxidWlsdC1pbiBtZXRob2QgYnVpbHRpbnMu
        bGVuPikFcgQAAAByBAAAAGdPUGdH2iijPmdPUGdH2iijPnswMA==""",
}  # fmt: skip


@pytest.mark.parametrize("version", OF_OTHERS)
def test_profiles_of_other_pythons_are_read(imported, version):
    process, _, skipped = imported(base64.b64decode(OF_OTHERS[version]))

    rows = {row.function.partition(" (")[0]: row for row in functions_of(load_process(process))}
    assert (3, pytest.approx(3e-6, abs=2e-7)) == (rows["f"].calls, rows["f"].total)
    assert 1 == rows["<len>" if version == "2.7" else "<built-in method builtins.len>"].calls
    assert not skipped
