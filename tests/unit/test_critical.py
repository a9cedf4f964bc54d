"""The critical path of a start: who had it when, what could have taken longer, and what is named as its bottleneck."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_perf.analysis.critical import Step, bottleneck, bottlenecks, follow, is_own, join, reason_of, walk

MAIN = "app.py"


def start_of(*rows, end=1.0, **root):
    """Return the root of a start of *end* seconds; each row is name, kind, from, to, id, parent's id, attributes."""
    top = Step("startup", "startup", 0.0, end, {f"otel_perf.{key}": value for key, value in root.items()})
    made = []
    for name, kind, begin, until, own, parent, *attributes in rows:
        made.append((own, parent, Step(name, kind, begin, until, attributes[0] if attributes else {})))
    return join(top, 1, made)


def path_of(root):
    return [(step.name, round(begin, 6), round(end, 6)) for step, begin, end in follow(root)]


def steps_of(root):
    return {step.name: step for step in walk(root)}


# --- the path -------------------------------------------------------------------------------------------------


def test_time_in_no_child_is_the_steps_own():
    root = start_of(
        ("Core", "phase", 0.1, 0.6, 2, 1),
        ("load", "function", 0.2, 0.5, 3, 2),
        ("UI", "phase", 0.6, 0.9, 4, 1),
    )

    assert path_of(root) == [
        ("startup", 0.0, 0.1),
        ("Core", 0.1, 0.2),
        ("load", 0.2, 0.5),
        ("Core", 0.5, 0.6),
        ("UI", 0.6, 0.9),
        ("startup", 0.9, 1.0),
    ]
    assert pytest.approx(0.2) == steps_of(root)["Core"].own


def test_last_of_parallel_steps_to_end_is_on_the_path_and_the_others_have_slack():
    root = start_of(
        ("gather", "function", 0.0, 1.0, 2, 1),
        ("short", "function", 0.0, 0.4, 3, 2),
        ("inside", "function", 0.1, 0.3, 5, 3),
        ("long", "function", 0.0, 1.0, 4, 2),
    )

    assert path_of(root) == [("long", 0.0, 1.0)]
    steps = steps_of(root)
    assert (False, pytest.approx(0.6)) == (steps["short"].on_path, steps["short"].slack)
    assert (False, pytest.approx(0.6)) == (steps["inside"].on_path, steps["inside"].slack)
    assert (True, 0.0) == (steps["long"].on_path, steps["long"].slack)


def test_slack_ends_with_the_step_that_it_ran_beside():
    root = start_of(
        ("a", "function", 0.0, 0.5, 2, 1),
        ("beside", "function", 0.1, 0.3, 3, 1),
        ("b", "function", 0.5, 1.0, 4, 1),
    )
    follow(root)

    assert pytest.approx(0.2) == steps_of(root)["beside"].slack


def test_ten_children_that_began_one_after_another_leave_nine_off_the_path():
    rows = [(f"c{i}", "function", 0.0001 * i, 0.9 + 0.0001 * i, 10 + i, 1) for i in range(10)]
    root = start_of(*rows, end=0.9009)
    follow(root)

    assert ["c9"] == [step.name for step in walk(root) if step.on_path and step is not root]


def test_step_that_goes_on_beside_the_next_one_has_the_path_until_then():
    root = start_of(("first", "function", 0.0, 0.6, 2, 1), ("second", "function", 0.4, 1.0, 3, 1))

    assert path_of(root) == [("first", 0.0, 0.4), ("second", 0.4, 1.0)]


def test_work_that_outlives_its_parent_belongs_to_what_goes_on_above():
    root = start_of(
        ("spawn", "function", 0.0, 0.1, 2, 1),
        ("job", "function", 0.1, 0.9, 3, 2),
        ("deeper", "function", 0.3, 0.8, 4, 3),
    )
    follow(root)

    steps = steps_of(root)
    assert steps["job"].home is root
    assert steps["deeper"].home is steps["job"]
    assert pytest.approx(0.3) == steps["job"].own


def test_another_threads_work_is_off_the_path_of_a_step_that_computes_meanwhile():
    rows = [
        ("build", "function", 0.0, 0.9, 2, 1, {"otel_perf.cpu_time": 0.88}),
        ("warm up", "function", 0.1, 0.9, 3, 2, {"thread.id": 7}),
    ]

    busy = start_of(*rows)
    waiting = start_of((*rows[0][:6], {"otel_perf.cpu_time": 0.05}), rows[1])
    follow(busy)
    follow(waiting)

    assert pytest.approx(0.9) == steps_of(busy)["build"].own
    assert not steps_of(busy)["warm up"].on_path
    assert pytest.approx(0.8) == steps_of(waiting)["warm up"].own


def test_work_that_a_lock_may_have_waited_for_is_off_the_path_but_without_slack():
    root = start_of(
        ("acquire", "function", 0.1, 0.5, 2, 1, {"otel_perf.wait.lock": 0.39}),
        ("warm up", "function", 0.05, 0.6, 3, 1, {"thread.id": 7}),
        ("elsewhere", "function", 0.7, 0.8, 4, 1, {"otel_perf.cpu_time": 0.1}),
        ("beside", "function", 0.7, 0.95, 5, 1, {"thread.id": 7}),
    )
    follow(root)

    steps = steps_of(root)
    assert (False, None) == (steps["warm up"].on_path, steps["warm up"].slack)
    assert pytest.approx(0.4) == steps["acquire"].own
    assert steps["beside"].on_path  # most of it, while the main thread did nothing of its own


def test_generator_has_what_its_body_took_and_not_its_consumers_time():
    root = start_of(
        ("items", "function", 0.0, 0.9, 2, 1, {"otel_perf.active_time": 0.05}),
        ("parse", "function", 0.1, 0.8, 3, 1),
    )
    follow(root)

    steps = steps_of(root)
    assert (pytest.approx(0.05), True) == (steps["items"].own, steps["items"].on_path)
    assert pytest.approx(0.7) == steps["parse"].own
    assert pytest.approx(0.25) == root.own


def test_step_without_a_recorded_parent_and_circles_are_the_roots():
    root = start_of(
        ("lost", "function", 0.1, 0.2, 2, 99),
        ("a", "function", 0.3, 0.5, 3, 4),
        ("b", "function", 0.3, 0.4, 4, 3),
        ("twice", "function", 0.6, 0.7, 5, 1),
        ("twice", "function", 0.6, 0.7, 5, 1),
    )
    follow(root)

    assert sorted(["startup", "lost", "a", "b", "twice"]) == sorted(step.name for step in walk(root))
    assert pytest.approx(1.0) == sum(step.own for step in walk(root))


def test_very_deep_start_needs_no_recursion():
    rows = [(f"n{i}", "function", i / 50_000, 1.0, i + 2, i + 1) for i in range(20_000)]
    root = start_of(*rows)

    assert len(follow(root)) == 20_000


_numbers = st.floats(0, 1.2)


@given(st.lists(st.tuples(_numbers, _numbers, st.integers(0, 9), st.integers(0, 9)), max_size=10))
def test_path_covers_the_start_once_whatever_the_shape(rows):
    root = start_of(*[(f"n{own}", "function", min(a, b), max(a, b), own, parent) for a, b, own, parent in rows])
    segments = follow(root)

    assert pytest.approx(1.0) == sum(end - begin for _, begin, end in segments)
    for (_, _, end), (_, begin, _) in pairwise(segments):
        assert pytest.approx(end, abs=2e-6) == begin
    assert all(step.own >= 0.0 and step.slack is not None and step.slack >= 0.0 for step in walk(root))
    assert all(not step.slack for step in walk(root) if step.on_path)


# --- bottlenecks ----------------------------------------------------------------------------------------------


def imported(name, begin, end, own, parent, file):
    return (f"import {name}", "import", begin, end, own, parent, {"code.file.path": file})


LIBRARY = "/venv/lib/python3.11/site-packages/pandas/__init__.py"


def test_package_with_all_that_it_imports_is_one_step():
    root = start_of(
        ("Core", "phase", 0.0, 1.0, 2, 1),
        imported("pandas", 0.1, 0.7, 3, 2, MAIN),
        *[imported(f"pandas.m{i}", 0.1 + i / 50, 0.12 + i / 50, 10 + i, 3, LIBRARY) for i in range(25)],
        ("load", "function", 0.7, 0.95, 4, 2),
    )

    assert bottleneck(root) == ("import pandas", pytest.approx(0.6), "import")


def test_import_inside_a_module_of_the_users_own_is_what_the_user_can_remove():
    root = start_of(
        imported("app.views", 0.05, 0.9, 2, 1, MAIN),
        imported("app.models", 0.1, 0.9, 3, 2, "app/views.py"),
        imported("pandas", 0.2, 0.8, 4, 3, "app/models.py"),
        imported("numpy", 0.3, 0.6, 5, 4, LIBRARY),
    )
    follow(root)

    assert [(group.name, round(group.seconds, 3)) for group in bottlenecks(root)] == [
        ("import pandas", 0.6),
        ("import app.models", 0.2),
        ("startup", 0.15),
        ("import app.views", 0.05),
    ]


def test_what_a_compiled_module_imports_goes_with_the_statement_that_loads_it():
    """Its frames are not Python's, so the line recorded is the program's, of the same statement."""
    lines = {"code.file.path": MAIN, "code.line.number": 5}
    root = start_of(
        ("import black", "import", 0.0, 0.8, 2, 1, lines),
        ("import black.files", "import", 0.1, 0.5, 3, 2, lines),
        ("import click", "import", 0.5, 0.7, 4, 2, {**lines, "code.line.number": 6}),
    )
    follow(root)

    assert [("import black", 0.6), ("startup", 0.2), ("import click", 0.2)] == [
        (group.name, round(group.seconds, 3)) for group in bottlenecks(root)
    ]


def test_without_lines_the_outermost_import_is_the_package():
    root = start_of(("import a", "import", 0.0, 0.6, 2, 1), ("import b", "import", 0.1, 0.6, 3, 2))

    assert bottleneck(root) == ("import a", pytest.approx(0.6), "import")


def test_own_function_that_runs_while_a_module_is_imported_stands_for_itself():
    root = start_of(
        imported("app.tables", 0.0, 0.9, 2, 1, MAIN),
        ("build", "function", 0.1, 0.9, 3, 2, {"code.file.path": "app/tables.py", "otel_perf.cpu_time": 0.79}),
    )

    assert bottleneck(root) == ("build", pytest.approx(0.8), "cpu")


def test_calls_of_one_function_are_one_step():
    root = start_of(*[("connect", "function", i / 10, i / 10 + 0.08, i + 2, 1) for i in range(10)])
    follow(root)
    first = bottlenecks(root)[0]

    assert ("connect", 10, pytest.approx(0.8)) == (first.name, len(first.heads), first.seconds)


def test_cause_of_a_step_is_what_its_children_do_not_account_for():
    root = start_of(
        ("Core", "phase", 0.0, 1.0, 2, 1, {"otel_perf.cpu_time": 0.4, "otel_perf.wait.sleep": 0.6}),
        ("compute", "function", 0.0, 0.4, 3, 2, {"otel_perf.cpu_time": 0.38, "otel_perf.wait.sleep": 0.01}),
    )

    assert bottleneck(root) == ("Core", pytest.approx(0.6), "sleep")


def test_start_of_no_time_has_no_bottleneck():
    assert bottleneck(start_of(end=0.0)) is None


# --- reasons --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({}, ""),
        ({"cpu": 0.95}, "cpu"),
        ({"cpu": 0.9, "gc": 0.5}, "gc"),
        ({"cpu": 0.9, "gc": 0.2}, "cpu"),
        ({"cpu": 0.05, "sleep": 0.9}, "sleep"),
        ({"cpu": 0.05, "lock": 0.7, "socket": 0.2}, "lock"),
        ({"cpu": 0.1, "socket": 0.8}, "socket"),
        ({"cpu": 0.1, "child": 0.85}, "child"),
        ({"child": 0.85}, "child"),
        ({"child": 0.1}, ""),
        ({"cpu": 0.1, "file": 0.8}, "file"),
        ({"cpu": 0.1, "file": 0.8, "disk": 8e6}, "disk"),
        ({"cpu": 0.1, "disk": 8e6}, "disk"),
        ({"cpu": 0.1, "disk": 4096.0}, "waiting"),
        ({"cpu": 0.9, "disk": 8e9}, "cpu"),
        ({"cpu": 0.1, "contended": 0.85, "disk": 8e9}, "cpu"),
        ({"cpu": 0.3, "contended": 0.7, "gc": 0.8}, "gc"),
        ({"cpu": 0.3, "contended": 0.7, "gc": 0.2}, "cpu"),
        ({"cpu": 0.1, "contended": 0.6}, "waiting"),
        ({"cpu": 0.1, "contended": 0.2, "file": 0.6, "disk": 8e9}, "disk"),
        ({"cpu": 0.1}, "waiting"),
        ({"cpu": 0.1, "sleep": 0.3, "lock": 0.3, "socket": 0.3}, "waiting"),
    ],
)
def test_reason_is_what_most_of_the_time_was_spent_on(parts, reason):
    assert reason == reason_of("function", 1.0, parts)


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({}, "import"),
        ({"cpu": 0.99}, "import"),
        ({"cpu": 0.3, "sleep": 0.6}, "sleep"),
        ({"cpu": 0.1, "child": 0.8}, "child"),
        ({"cpu": 0.2, "file": 0.5, "disk": 60e6}, "disk"),
        ({"cpu": 0.4, "file": 0.6}, "import"),
        ({"cpu": 0.6, "sleep": 0.35}, "import"),
    ],
)
def test_import_is_an_import_unless_it_mostly_waits(parts, reason):
    assert reason == reason_of("import", 1.0, parts)


@pytest.mark.parametrize(
    ("file", "own"),
    [
        ("/home/me/app/main.py", True),
        ("app.py", True),
        ("<string>", True),
        ("C:\\work\\shop\\main.py", True),
        ("/home/me/lib/tools.py", True),
        ("", False),
        ("<frozen runpy>", False),
        ("/venv/lib/python3.11/site-packages/pandas/__init__.py", False),
        ("/usr/lib/python3/dist-packages/yaml/__init__.py", False),
        ("/usr/lib/python3.13/json/__init__.py", False),
        ("/usr/lib64/python3.13/json/__init__.py", False),
        ("C:\\Python312\\Lib\\json\\__init__.py", False),
        ("C:\\Users\\me\\venv\\Lib\\site-packages\\flask\\app.py", False),
    ],
)
def test_own_files_are_told_from_installed_ones(file, own):
    assert own == is_own(file)


def test_worker_pays_for_nothing_but_the_module(modules_after):
    bare = modules_after("import __future__")

    assert {"otel_perf", "otel_perf.analysis", "otel_perf.analysis.critical"} == (
        modules_after("import otel_perf.analysis.critical") - bare
    )
