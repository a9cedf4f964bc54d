"""The tree of the start, its verdict and its imports, from spans that are whole, damaged, parallel or missing."""

from __future__ import annotations

import random

import pytest

from otel_perf.analysis.model import Node, Process
from otel_perf.analysis.startup import build_start, gaps, imports_of, merged, verdict_of, walk
from otel_perf.analysis.text import Style
from otel_perf.analysis.tree import bar, rows_of

MS = 1_000_000


def node(name, start, end, id=0, parent=0, kind="function", marks=(), error=None, depth=-1):
    """Return a node; times in ms."""
    made = Node(name, kind, int(start * MS), int(end * MS), str(id), str(parent) if parent else "")
    made.marks, made.error, made.depth = marks, error, depth
    if kind == "import":
        made.module = name.removeprefix("import ")
    return made


def start_of(*nodes, end=1000, root=True, **attributes):
    """Return the start that a root of *end* ms and *nodes* make."""
    process = Process("run/1", "run", "1", nodes=list(nodes))
    if root:
        process.root = node("startup", 0, end, id=1, kind="startup", marks=attributes.pop("marks", ()))
        process.nodes.append(process.root)
        process.root_attributes = {
            "otel_perf.ready": "ready()",
            **{f"otel_perf.{key}": value for key, value in attributes.items()},
        }
    start = build_start(process)
    assert start is not None
    return start


def shape(top):
    """Return names of a tree as nested tuples."""
    return (top.name, *[shape(child) for child in top.children])


def labels(start, everything=False):
    return ["  " * row.depth + row.label for row in rows_of(start, Style(), everything)]


def rows(start):
    return {row.label: row for row in rows_of(start, Style())}


# --- the tree -------------------------------------------------------------------------------------------------


def test_children_are_sorted_by_start_whatever_the_order_of_the_file():
    nodes = [
        node("b", 20, 30, 3, 2),
        node("a", 10, 20, 4, 2),
        node("CoreInit", 0, 50, 2, 1, "phase"),
        node("UI", 50, 90, 5, 1, "phase"),
    ]
    random.Random(1).shuffle(nodes)

    assert shape(start_of(*nodes).root) == ("startup", ("CoreInit", ("a",), ("b",)), ("UI",))


def test_span_whose_parent_is_missing_stands_apart():
    start = start_of(node("late", 10, 500, 7, 99), node("child", 10, 400, 8, 7))

    assert [shape(orphan) for orphan in start.orphans] == [("late", ("child",))]
    assert labels(start) == ["startup", "(parent not recorded)", "  late", "    child"]


def test_span_written_twice_is_shown_once():
    start = start_of(node("a", 10, 20, 2, 1), node("a", 10, 20, 2, 1))

    assert shape(start.root) == ("startup", ("a",))


@pytest.mark.parametrize(
    "parents",
    [{2: 2}, {2: 3, 3: 2}, {2: 3, 3: 4, 4: 2, 5: 4}, {2: 3, 3: 2, 4: 5, 5: 4, 1: 2}],
)
def test_spans_that_are_each_others_parents_are_all_shown_once(parents):
    nodes = [node(f"n{id}", id * 10, 100, id, parent) for id, parent in parents.items() if id != 1]

    start = start_of(*nodes)

    found = [found.name for top in start.tops() for found in walk(top)]
    assert sorted(["startup", *(one.name for one in nodes)]) == sorted(found)


def test_very_deep_tree_needs_no_recursion():
    nodes = [node("n", i / 100, 900, i + 2, i + 1) for i in range(20_000)]

    assert len(rows_of(start_of(*nodes), Style(), everything=True)) == 20_002  # with own code


def test_siblings_that_overlap_are_marked_parallel():
    start = start_of(node("a", 10, 50, 2, 1), node("b", 40, 60, 3, 1), node("c", 60, 90, 4, 1))

    assert [child.marks for child in start.root.children] == [("parallel",), ("parallel",), ()]


def test_siblings_that_touch_within_rounding_are_not_parallel():
    start = start_of(node("a", 10, 50.000002, 2, 1), node("b", 50, 60, 3, 1))

    assert [child.marks for child in start.root.children] == [(), ()]


def test_self_time_is_the_time_outside_the_union_of_children():
    start = start_of(
        node("gather", 0, 100, 2, 1),
        *[node("child", 0, 100, 10 + i, 2) for i in range(10)],
        node("detached", 0, 100, 30, 1, marks=("detached",)),
    )
    (gather, _) = start.root.children

    assert gather.self_time == 0.0
    assert pytest.approx(start.root.self_time) == 0.9


def test_root_that_is_missing_is_made_up_from_what_there_is():
    start = start_of(
        node("PreInit", 0, 100, 2, 77, "phase", depth=1),
        node("import a", 120, 180, 3, 4, "import", depth=2),
        root=False,
    )

    assert not start.recorded
    assert shape(start.root) == ("startup", ("PreInit",))
    assert [shape(orphan) for orphan in start.orphans] == [("import a",)]
    assert start.root.duration == 0.18
    assert rows(start)["startup"].marks == "end not recorded"


# --- what is shown --------------------------------------------------------------------------------------------


def test_small_siblings_are_folded_with_their_time_counted_once():
    small = [node(f"s{i}", 200 + i, 202 + i, 10 + i, 2) for i in range(8)]
    start = start_of(node("Core", 0, 1000, 2, 1, "phase"), node("big", 0, 100, 3, 2), *small)

    assert labels(start) == ["startup", "  Core", "    big", "    8 more", "    (own code)"]
    assert rows(start)["8 more"].seconds == 0.009


def test_folded_siblings_name_their_errors():
    small = [node("s", 200 + i, 200.5 + i, 10 + i, 1, error="ValueError: no") for i in range(3)]

    assert rows(start_of(*small))["3 more"].marks == "3 errors"


def test_single_small_leaf_keeps_its_name():
    assert labels(start_of(node("s", 0, 1, 2, 1))) == ["startup", "  s", "  (own code)"]


def test_everything_shows_everything():
    small = [node(f"s{i}", 200 + i, 201 + i, 10 + i, 1) for i in range(3)]

    assert labels(start_of(*small), everything=True) == ["startup", "  s0", "  s1", "  s2", "  (own code)"]


def test_phases_and_unfinished_spans_are_never_folded():
    start = start_of(
        node("PreInit", 0, 1, 2, 1, "phase"),
        node("task", 1, 2, 3, 1, marks=("open",)),
        node("worker", 2, 3, 4, 1, marks=("interrupted",)),
        node("Ready", 1000, 1000, 5, 1, "phase"),
    )

    assert labels(start) == ["startup", "  PreInit", "  task", "  worker", "  Ready", "  (own code)"]


def test_long_work_inside_a_short_span_is_shown():
    """A span that ended may be the parent of work that carries its copied context."""
    start = start_of(
        node("spawn", 0, 1, 2, 1), node("a", 1, 2, 5, 1), node("b", 1, 2, 6, 1),
        node("job", 1, 500, 3, 2, marks=("detached",)),
    )  # fmt: skip

    assert labels(start) == ["startup", "  spawn", "    job", "  2 more", "  (own code)"]


def test_only_the_longest_of_very_many_siblings_are_shown():
    big = [node(f"n{i}", 0, 100 + i, 10 + i, 1, marks=("open",)) for i in range(1_000)]

    shown = labels(start_of(*big, end=1_100))

    assert len(shown) == 42
    assert "  n999" in shown
    assert "  960 more" in shown


def test_own_code_is_shown_where_a_phase_has_children_and_time_of_its_own():
    start = start_of(
        node("Core", 0, 500, 2, 1, "phase"),
        node("f", 100, 400, 3, 2),
        node("inner", 100, 200, 4, 3),
        node("UI", 500, 1000, 5, 1, "phase"),
    )

    assert labels(start) == ["startup", "  Core", "    f", "      inner", "    (own code)", "  UI"]
    assert rows(start)["(own code)"].intervals == [(0, 100 * MS), (400 * MS, 500 * MS)]


def test_marks_say_what_is_special():
    generator = node("items", 0, 300, 2, 1)
    generator.active = 0.05
    start = start_of(
        generator, node("opt", 300, 400, 3, 1, "import", error="pkg.errors.Missing: no: really", marks=("open",))
    )

    assert rows(start)["items"].marks == "active 50 ms"
    assert rows(start)["opt"].marks == "error Missing, open"
    assert rows(start)["opt"].alert == "critical"


# --- intervals and bars ---------------------------------------------------------------------------------------


def test_union_of_intervals_is_disjoint_and_ascending():
    assert merged([(6, 7), (0, 2), (7, 9), (1, 5), (3, 4)]) == [(0, 5), (6, 9)]


def test_gaps_lie_inside_the_node_only():
    parent = node("p", 10, 100)
    parent.children = [node("a", 0, 20), node("b", 15, 30), node("c", 90, 200)]

    assert gaps(parent) == [(30 * MS, 90 * MS)]


@pytest.mark.parametrize(
    ("intervals", "expected", "plain"),
    [
        ([(0, 80)], "████████", "########"),
        ([(0, 40)], "████    ", "####    "),
        ([(35, 65)], "   ▐██▌ ", "   #### "),
        ([(0, 10), (70, 80)], "█      █", "#      #"),
        ([(41, 42)], "    ▏   ", "    |   "),
        ([(46, 47)], "    ▕   ", "    |   "),
        ([(80, 80)], "       ▕", "       |"),
        ([(0, 0)], "▏       ", "|       "),
        ([(70, 900)], "       █", "       #"),
        ([(-50, 10)], "█       ", "#       "),
        ([(900, 901)], "       ▕", "       |"),
        ([(1, 2), (61, 62)], "▏     ▏ ", "|     | "),
        ([], "        ", "        "),
    ],
)
def test_bar_stands_where_the_intervals_are(intervals, expected, plain):
    assert expected == bar(intervals, 0, 80, 8, plain=False)
    assert plain == bar(intervals, 0, 80, 8, plain=True)


# --- the verdict ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("end", "limit", "state"),
    [(1420, 2.0, "within"), (2000, 2.0, "within"), (2000.001, 2.0, "exceeded"), (600, 0.5, "exceeded")],
)
def test_start_is_judged_by_the_budget_of_the_root(end, limit, state):
    verdict = verdict_of(start_of(end=end, **{"budget.startup": limit}))

    assert (state, limit) == (verdict.state, verdict.limit)


@pytest.mark.parametrize("limit", [None, "2", 0, -1, float("nan"), float("inf"), True])
def test_budget_that_is_none_is_two_seconds(limit):
    assert verdict_of(start_of(**{"budget.startup": limit})).limit == 2.0


@pytest.mark.parametrize(
    ("ready", "state", "cause"),
    [
        ("ready()", "within", ""),
        ("port 8000", "within", ""),
        ("exit", "unknown", "exit"),
        ("shutdown", "unknown", "shutdown"),
        ("", "unknown", "unsaid"),
        (7, "unknown", "unsaid"),
    ],
)
def test_start_that_nobody_called_ready_is_unknown(ready, state, cause):
    verdict = verdict_of(start_of(ready=ready))

    assert (state, cause) == (verdict.state, verdict.cause)


def test_interrupted_start_names_what_was_going_on():
    start = start_of(
        node("Core", 0, 900, 2, 1, "phase", marks=("open", "interrupted")),
        node("import a", 100, 200, 3, 2, "import"),
        node("load", 300, 900, 4, 2, marks=("open", "interrupted")),
        marks=("interrupted",),
        ready="signal",
    )

    verdict = verdict_of(start)

    assert (verdict.state, verdict.cause, verdict.where) == ("unknown", "interrupted", ("Core", "load"))


def test_interrupted_start_does_not_name_what_had_ended_long_before():
    start = start_of(node("import a", 100, 200, 3, 1, "import"), marks=("interrupted",), ready="signal")

    assert () == verdict_of(start).where


def test_start_that_its_process_saw_exceeded_is_exceeded_before_it_ends():
    start = start_of(node("import a", 150, 180, 3, 4, "import", depth=2), root=False)
    start.lasts = 138.0

    verdict = verdict_of(start)

    assert ("exceeded", "no end", 138.0, 0.03) == (verdict.state, verdict.cause, verdict.seconds, verdict.recorded)


def test_killed_start_names_the_last_thing_recorded():
    start = start_of(
        node("PreInit", 0, 100, 2, 77, "phase", depth=1),
        node("import b", 160, 170, 5, 3, "import", depth=3),
        node("import a", 150, 180, 3, 4, "import", depth=2),
        root=False,
    )

    verdict = verdict_of(start)

    assert (verdict.state, verdict.cause, verdict.where) == ("unknown", "no end", ("import a",))
    assert verdict.seconds == 0.18


# --- imports --------------------------------------------------------------------------------------------------


def test_imports_of_two_threads_count_their_union():
    """C1: two modules of 0.4 s from two threads at once, each with a leaf of 0.1 s."""
    start = start_of(
        node("Core", 0, 800, 2, 1, "phase"),
        node("import slow_a", 100, 500, 3, 2, "import"),
        node("import leaf_a", 300, 400, 4, 3, "import"),
        node("import slow_b", 101, 501, 5, 2, "import"),
        node("import leaf_b", 301, 401, 6, 5, "import"),
    )

    imports = imports_of(start)

    assert imports.count == 4
    assert pytest.approx(imports.seconds) == 0.401
    ((phase, seconds, part),) = imports.by_phase
    assert ("Core", pytest.approx(0.401), pytest.approx(0.401 / 0.8)) == (phase, seconds, part)
    table = {row.module: (row.self_time, row.total) for row in imports.rows}
    assert table == {
        "slow_a": (pytest.approx(0.3), pytest.approx(0.4)),
        "slow_b": (pytest.approx(0.3), pytest.approx(0.4)),
        "leaf_a": (pytest.approx(0.1), pytest.approx(0.1)),
        "leaf_b": (pytest.approx(0.1), pytest.approx(0.1)),
    }
    assert ["parallel" in rows(start)[f"import slow_{name}"].marks for name in "ab"] == [True, True]


def test_failed_imports_are_counted_and_timed_together():
    """C2: opt.py takes 80 ms, raises ImportError, and is tried twice."""
    start = start_of(
        node("Core", 0, 800, 2, 1, "phase"),
        node("import opt", 100, 180, 3, 2, "import", error="ImportError: no opt"),
        node("import opt", 200, 280, 4, 2, "import", error="ImportError: no opt"),
    )

    imports = imports_of(start)

    (failed,) = imports.failed
    assert ("opt", 2, pytest.approx(0.16)) == (failed.module, failed.times, failed.seconds)
    assert [row.module for row in imports.rows] == ["opt"]


def test_import_that_fails_inside_another_is_told_once():
    start = start_of(
        node("import a", 100, 180, 3, 1, "import", error="ImportError: no b"),
        node("import b", 110, 180, 4, 3, "import", error="ImportError: no b"),
    )

    assert [failed.module for failed in imports_of(start).failed] == ["a"]


def test_imports_below_a_nested_phase_belong_to_it():
    start = start_of(
        node("Core", 0, 800, 2, 1, "phase"),
        node("Config", 100, 300, 3, 2, "phase"),
        node("load", 100, 300, 4, 3),
        node("import toml", 100, 200, 5, 4, "import"),
    )

    imports = imports_of(start)

    assert [name for name, _, _ in imports.by_phase] == ["Config"]
    assert [row.phase for row in imports.rows] == ["Config"]
