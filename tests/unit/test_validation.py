"""What is said of a start's phases: each kind of finding, and the programs of which nothing may be said."""

from __future__ import annotations

import pytest

from otel_perf.analysis.validation import Finding, Seen, judge, location, shown
from otel_perf.config import DEFAULT_PHASES

OWN = ["PreInit", "Core", "UI", "Ready"]


def seen(*names, inside="", open=()):
    """Return phases that began one after the other, every 10 ms."""
    return [Seen(name, 0.01 * at, inside, name in open, f"app.py:{at + 1}") for at, name in enumerate(names)]


def root(own=OWN, ready="ready()", **more):
    attributes = {"otel_perf.ready": ready, "otel_perf.startup.phases": own or list(DEFAULT_PHASES)}
    attributes["otel_perf.startup.phases.own"] = own is not None
    return attributes | {f"otel_perf.{key}": value for key, value in more.items()}


def kinds(found):
    return [finding.kind for finding in found]


def only(found):
    (finding,) = found
    return finding


def test_a_start_that_keeps_to_its_list_has_no_finding():
    assert [] == judge(seen("PreInit", "Core", "UI", "Ready"), root(), 1.0)


@pytest.mark.parametrize("names", [["PreInit"], ["UI", "CoreInit"], ["Load", "Serve"], ["Ready", "PreInit"]])
def test_the_default_list_judges_nothing(names):
    assert [] == judge(seen(*names), root(own=None), 1.0)


def test_a_missing_phase_is_named_with_what_came_before_it():
    finding = only(judge(seen("PreInit", "Core", "Ready"), root(), 1.0))

    assert ("missing", "warning") == (finding.kind, finding.severity)
    assert "phase 'UI' (after 'Core' in the application's list) was never entered" in finding.message
    assert "perf.phase('UI')" in finding.message


def test_pre_init_and_ready_are_written_by_us_so_neither_is_missing():
    assert [] == judge(seen("Core", "UI"), root(), 1.0)


@pytest.mark.parametrize("rule", ["exit", "shutdown"])
def test_ready_is_missing_where_nobody_called_it(rule):
    finding = only(judge(seen("PreInit", "Core", "UI"), root(ready=rule), 1.0))

    assert "missing" == finding.kind
    assert "call perf.ready() where the program is ready" in finding.message


def test_an_unknown_phase_is_named_with_its_line_and_the_list():
    finding = only(judge(seen("PreInit", "Core", "Ui", "UI"), root(), 1.0))

    assert "unknown" == finding.kind
    assert (
        "phase 'Ui' (app.py:3) is not in the application's list ('PreInit', 'Core', 'UI', 'Ready')" in finding.message
    )


def test_parts_of_a_phase_need_not_be_in_the_list_and_may_repeat():
    parts = seen("load", "load", "load", inside="UI")

    assert [] == judge([*seen("PreInit", "Core", "UI"), *parts], root(), 1.0)


def test_a_phase_that_began_after_a_later_one_is_out_of_order():
    finding = only(judge(seen("PreInit", "UI", "Core"), root(), 1.0))

    assert "order" == finding.kind
    assert "phase 'Core' (app.py:3) began after 20 ms, phase 'UI' (app.py:2) after 10 ms" in finding.message
    assert "the application's list has 'Core' first" in finding.message


def test_a_listed_phase_inside_another_is_judged_by_its_order_too():
    inner = Seen("Core", 0.5, "UI", False, "app.py:9")

    assert ["order"] == kinds(judge([*seen("PreInit", "UI"), inner], root(), 1.0))


@pytest.mark.parametrize("own", [OWN, None])
def test_a_phase_entered_again_is_doubled_whoever_gave_the_list(own):
    finding = only(judge(seen("PreInit", "Core", "UI", "UI"), root(own=own), 1.0))

    assert "doubled" == finding.kind
    assert "phase 'UI' was entered 2 times (app.py:3, app.py:4)" in finding.message


def test_a_phase_open_at_ready_is_unfinished_but_not_the_phase_ready():
    finding = only(judge(seen("PreInit", "Core", "UI", "Ready", open=("UI", "Ready")), root(), 1.0))

    assert "unfinished" == finding.kind
    assert "phase 'UI' (app.py:3) was still open when ready() ended the start" in finding.message


def test_a_phase_open_at_exit_was_never_closed():
    found = judge(seen("PreInit", "Core", "UI", open=("UI",)), root(own=None, ready="exit"), 0.4)

    assert (
        "phase 'UI' (app.py:3) was never closed: the process ended in it, 400 ms after its creation"
        in only(found).message
    )


def test_strict_makes_errors_of_what_the_program_did():
    attributes = root(**{"startup.strict": True, "budget.startup": 2.0})
    found = judge(seen("UI", "Core", "Core", "Other"), attributes, 2.5)

    assert ["unknown", "order", "doubled", "budget"] == kinds(found)
    assert {"error"} == {finding.severity for finding in found}


def test_what_an_inferred_end_cut_off_is_a_warning_even_with_strict():
    found = judge(seen("PreInit", "Core", open=("Core",)), root(ready="listen", **{"startup.strict": True}), 1.0)

    assert [("missing", "warning"), ("unfinished", "warning")] == [(f.kind, f.severity) for f in found]
    assert all("call perf.ready() where it is" in finding.message and "listen" in finding.message for finding in found)


def test_a_start_that_a_signal_ended_died_in_its_open_phase_and_lacks_nothing():
    finding = only(judge(seen("PreInit", "Core", open=("Core",)), root(ready="signal"), 0.4, interrupted=True))

    assert ("died", "error") == (finding.kind, finding.severity)
    assert "in 'Core' (app.py:2), 400 ms after its creation" in finding.message


def test_a_signal_after_every_phase_is_no_finding():
    assert [] == judge(seen("PreInit", "Core"), root(ready="signal"), 400.0, interrupted=True)


@pytest.mark.parametrize(("rule", "expected"), [("ready()", ["budget"]), ("listen", ["budget"]), ("exit", [])])
def test_the_budget_is_judged_where_it_is_known_when_the_start_was_over(rule, expected):
    assert expected == kinds(judge([], root(own=None, ready=rule, **{"budget.startup": 2.0}), 2.5))


def test_an_exit_that_was_asked_for_is_an_end_like_any_other():
    attributes = root(own=None, ready="exit", **{"budget.startup": 2.0, "startup.ready_when": "exit"})

    finding = only(judge([], attributes, 2.5))

    assert "the start took 2.5 s, 500 ms over its budget of 2 s" in finding.message


def test_a_name_cannot_break_the_line():
    found = judge([Seen("a\nb", 0.0), Seen("a\nb", 0.1)], root(), 1.0)

    assert found
    assert not any("\n" in finding.message for finding in found)


def test_values_of_a_damaged_root_are_harmless():
    attributes = {"otel_perf.ready": 7, "otel_perf.startup.phases": [1, None, "A"], "otel_perf.budget.startup": "x"}

    assert [] == judge([], attributes, 1.0)
    assert ["missing"] == kinds(judge([], attributes | {"otel_perf.startup.phases.own": True}, 1.0))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0001, "0.1 ms"), (0.412, "412 ms"), (0.9997, "1 s"), (1.934, "1.93 s"), (99.97, "100 s"), (1234.5, "1234 s")],
)
def test_times_have_three_digits_and_a_unit(seconds, text):
    assert text == shown(seconds)


def test_a_place_below_the_working_directory_is_short(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert "app.py:3" == location(str(tmp_path / "app.py"), 3)
    assert ("/elsewhere/app.py:3", "/elsewhere/app.py", "") == (
        location("/elsewhere/app.py", 3), location("/elsewhere/app.py", 0), location("", 3),
    )  # fmt: skip


def test_findings_are_equal_by_what_they_say():
    assert {Finding("died", "error", "x")} == {Finding("died", "error", "x"), Finding("died", "error", "x")}


def test_a_start_that_an_exception_ended_died_and_lacks_nothing():
    ended = {
        "otel_perf.end": "exception",
        "exception.type": "ValueError",
        "code.line.number": 7,
        "code.file.path": "a.py",
    }
    finding = only(judge(seen("PreInit", "Core"), root(ready="exit"), 0.4, ended=ended))

    assert ("died", "error") == (finding.kind, finding.severity)
    assert finding.message.startswith(
        "ValueError ended the process at a.py:7, 400 ms after its creation, before ready()"
    )


def test_an_exception_after_ready_is_no_matter_of_the_start():
    ended = {"otel_perf.end": "exception", "exception.type": "ValueError"}

    assert [] == judge(seen("PreInit", "Core", "UI"), root(), 0.4, ended=ended)
