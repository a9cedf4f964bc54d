"""Budgets while the program runs, on a clock advanced by hand: what is an alert, when, and in which words."""

from __future__ import annotations

import math

import pytest

from otel_perf.alerts import EXCEEDED, HISTORY, OK, PENDING, UNKNOWN, Evaluator
from otel_perf.budgets import CPU, MEMORY, PHASE, STARTUP, TRACKED, Budget

WALL = 1_795_564_800 * 10**9
MB = 10**6


class Run:
    """An evaluator of one budget that is stepped once a second."""

    def __init__(self, budget, **more):
        self.budget = budget
        self.evaluator = Evaluator([budget], 0.0, **more)
        self.moment = 0.0
        self.alerts = []

    def step(self, *values, idle=True, gap=False, every=1.0):
        """Take *values*, the first now, each of the rest *every* seconds after the one before; return the new alerts."""
        new = []
        for value in values:
            time = WALL + int(self.moment * 1e9)
            new += self.evaluator.step(self.moment, time, lambda budget, value=value: value, idle, gap)
            self.moment += every
        self.alerts += new
        return new

    @property
    def standing(self):
        (standing,) = self.evaluator.states()
        return standing

    @property
    def state(self):
        return self.standing.state


@pytest.fixture
def run():
    """Return a function that makes a run of one budget, by default the memory of C20."""

    def make(metric=MEMORY, max="150MB", for_="3s", unit_of=None, **more):
        return Run(Budget("memory", metric=metric, max=max, for_=for_, **more), unit_of=unit_of)

    return make


def kinds(alerts):
    return [alert.kind for alert in alerts]


# --- C20 -------------------------------------------------------------------------------------------------------------


def test_for_starts_anew_below_the_limit(run):
    memory = run(max=150)

    assert [] == memory.step(151, 151, 149, 151, 151, 149)
    assert [] == memory.step(151, 151, 149, 151, 151, 149)


def test_an_alert_does_not_flap_around_its_limit(run):
    memory = run(max=150)

    assert [] == memory.step(151, 151, 151)
    (raised,) = memory.step(151)
    assert ("exceeded", 3.0, 151) == (raised.kind, raised.duration, raised.peak)
    assert [] == memory.step(151)
    assert [] == memory.step(*[149, 151] * 30)
    assert [] == memory.step(140, 140, 140)
    (resolved,) = memory.step(140)
    assert [] == memory.step(140)
    assert ("resolved", 68.0, 151, 140) == (resolved.kind, resolved.duration, resolved.peak, resolved.value)
    assert WALL == raised.since == resolved.since


def test_the_states_of_a_budget(run):
    memory = run(max=150)

    found = [memory.state]
    for value in (150, 151, 151, 151, 151, 149, 142.5, 142.5, 142.5, 142.5, None, math.nan):
        memory.step(value)
        found.append(memory.state)

    assert [UNKNOWN, OK, PENDING, PENDING, PENDING, *[EXCEEDED] * 5, OK, UNKNOWN, UNKNOWN] == found


def test_without_for_the_first_value_decides(run):
    memory = run(max=150, for_=0)

    assert ["exceeded"] == kinds(memory.step(151))
    assert [] == memory.step(149)
    assert ["resolved"] == kinds(memory.step(142))


def test_a_clear_level_of_its_own(run):
    memory = run(max=150, for_=0, clear=100)

    assert ["exceeded", "resolved"] == kinds(memory.step(151, 101, 101, 100))


def test_a_limit_of_zero_resolves_at_zero(run):
    memory = run("dropped", 0, 0)

    assert ["exceeded", "resolved"] == kinds(memory.step(0, 1, 1, 0))
    assert {"warning"} == {alert.severity for alert in memory.alerts}  # nothing is twice of nothing


def test_resolving_starts_anew_above_the_clear_level(run):
    memory = run(max=150)

    assert ["exceeded"] == kinds(memory.step(*[151] * 4, *[140] * 3, 145, *[140] * 3, 145))
    assert ["resolved"] == kinds(memory.step(*[140] * 4))


def test_ticks_that_come_a_little_early_or_late_do_not_cost_a_second(run):
    memory = run(max=150)
    for moment, value in [(0.03, 151), (1.0, 151), (2.05, 151), (3.0, 151)]:
        memory.moment = moment
        memory.step(value)

    assert [(pytest.approx(2.97), "exceeded")] == [(alert.duration, alert.kind) for alert in memory.alerts]


# --- no data ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nothing", [None, math.nan])
def test_no_data_starts_the_count_anew(run, nothing):
    memory = run(max=150)

    assert [] == memory.step(151, 151, 151, nothing, 151, 151, 151, nothing)
    assert ["exceeded"] == kinds(memory.step(151, 151, 151, 151))


@pytest.mark.parametrize("nothing", [None, math.nan])
def test_no_data_resolves_nothing_and_is_not_good(run, nothing):
    memory = run(max=150)
    memory.step(151, 152, 151, 151)

    assert [] == memory.step(140, 140, 140, *[nothing] * 100, 140, 140, 140)
    assert [] == memory.step(nothing)
    assert (UNKNOWN, True, None) == (memory.state, memory.standing.exceeded, memory.standing.value)
    (resolved,) = memory.step(140, 140, 140, 140)
    assert (152, 114.0) == (resolved.peak, resolved.duration)


def test_an_endless_value_is_over_every_limit(run):
    memory = run(max=150, for_=0)

    (alert,) = memory.step(math.inf)

    assert ("exceeded", "critical", "memory inf is over 150") == (alert.kind, alert.severity, alert.body)


# --- time ------------------------------------------------------------------------------------------------------------


def test_nothing_is_judged_over_a_gap(run):
    memory = run(max=150)
    memory.step(151, 151, 151)
    memory.moment += 3600

    assert [] == memory.step(151, gap=True)
    assert UNKNOWN == memory.state
    assert [] == memory.step(151, 151, 151)
    assert ["exceeded"] == kinds(memory.step(151))


def test_a_gap_resolves_nothing_and_does_not_count_towards_escalation(run):
    memory = run(max=150)
    memory.step(*[151] * 5, 140, 140, 140)
    memory.moment += 3600

    assert [] == memory.step(140, gap=True)
    assert [] == memory.step(*[140] * 3, *[151] * 60)
    assert ["exceeded"] == kinds(memory.alerts)


def test_the_wall_clock_only_dates(run):
    memory = run(max=150)
    alerts = []
    for second, value in enumerate([151] * 10 + [140] * 10):
        step = 3600 * 10**9 * (1 if second % 2 else -1)
        alerts += memory.evaluator.step(float(second), WALL + step, lambda budget, value=value: value)

    assert [("exceeded", 3.0), ("resolved", 13.0)] == [(alert.kind, alert.duration) for alert in alerts]
    assert [WALL + 3597 * 10**9, WALL + 3587 * 10**9] == [alert.since for alert in alerts]


def test_a_clock_that_goes_backwards_stands_still(run):
    memory = run(max=150)
    for moment, value in [(5.0, 140), (3.0, 151), (6.0, 151), (7.0, 151)]:
        memory.moment = moment
        memory.step(value)

    assert (PENDING, 2.0) == (memory.state, memory.standing.duration)
    assert ["exceeded"] == kinds(memory.step(151))


# --- cooldown --------------------------------------------------------------------------------------------------------


def test_after_an_alert_there_is_none_for_the_cooldown(run):
    memory = run(max=150, for_=0, cooldown="10s")

    assert ["exceeded", "resolved"] == kinds(memory.step(151, 140))  # resolved at 1
    assert [] == memory.step(151, 151, 140, 151)
    assert (PENDING, False) == (memory.state, memory.standing.exceeded)
    assert [] == memory.step(*[151] * 5)
    (late,) = memory.step(151)
    assert ("exceeded", 11.0, 6.0) == (late.kind, memory.moment - 1, late.duration)


# --- escalation ------------------------------------------------------------------------------------------------------


def test_twice_the_limit_raises_the_severity_once_it_lasts(run):
    memory = run(max=150)
    memory.step(*[151] * 4)

    assert [] == memory.step(300, 300, 300, 299, 300, 300, 300, None, 300, 300, 300)
    (alert,) = memory.step(300)
    assert ("escalated", "critical", "warning", 300) == (alert.kind, alert.severity, alert.previous, alert.peak)
    assert [] == memory.step(*[600] * 10, *[151] * 10)


def test_a_long_time_raises_the_severity(run):
    memory = run(max=150, severity="info")
    memory.step(*[151] * 4)

    assert [] == memory.step(*[151] * 299)
    (alert,) = memory.step(151)
    assert ("escalated", "warning", 303.0) == (alert.kind, alert.severity, alert.duration)
    assert [] == memory.step(*[151] * 3000)


def test_what_is_over_no_more_does_not_become_worse(run):
    memory = run(max=150)
    memory.step(*[151] * 4)

    assert [] == memory.step(*[149] * 1000)
    assert ["escalated"] == kinds(memory.step(151))


def test_each_alert_escalates_by_its_own_size_and_time(run):
    memory = run(max=150, for_=0, severity="info")
    one = [151, *[151] * 300, 300, 140]

    assert ["exceeded", "escalated", "escalated", "resolved"] == kinds(memory.step(*one)) == kinds(memory.step(*one))
    assert ["exceeded"] == kinds(memory.step(*[151] * 300))


def test_a_long_time_is_ten_times_a_long_for(run):
    memory = run(max=150, for_="2min")
    memory.step(*[151] * 121)

    assert [] == memory.step(*[151] * 1199)
    assert ["escalated"] == kinds(memory.step(151))


def test_size_and_time_together_raise_it_by_two_and_no_further(run):
    memory = run(max=150, severity="info")

    memory.step(*[151] * 4, *[400] * 4, *[151] * 400)

    assert [("exceeded", "info"), ("escalated", "warning"), ("escalated", "critical")] == [
        (alert.kind, alert.severity) for alert in memory.alerts
    ]


def test_what_is_far_over_from_the_first_moment_is_one_alert(run):
    memory = run(max=150, severity="info")

    assert [("exceeded", "warning")] == [(alert.kind, alert.severity) for alert in memory.step(*[400] * 10)]


def test_what_is_critical_does_not_escalate(run):
    memory = run(max=150, severity="critical")

    assert ["exceeded"] == kinds(memory.step(*[151] * 4, *[1000] * 400))


def test_a_severity_lasts_until_resolved_and_the_next_begins_anew(run):
    memory = run(max=150, for_=0)

    alerts = memory.step(151, 300, 151, 149, 140, 151)

    assert [("exceeded", "warning"), ("escalated", "critical"), ("resolved", "critical"), ("exceeded", "warning")] == [
        (alert.kind, alert.severity) for alert in alerts
    ]


@pytest.mark.parametrize("metric", [STARTUP, f"{PHASE}{{phase=UI}}"])
def test_a_start_that_was_slow_does_not_become_worse_by_waiting(run, metric):
    start = run(metric, "2s", 0)

    assert ["exceeded"] == kinds(start.step(*[2.5] * 1000))
    assert "memory 2.5 s is over 2 s" == start.alerts[0].body


def test_what_is_not_seen_does_not_escalate(run):
    memory = run(max=150)
    memory.step(*[151] * 4)

    assert [] == memory.step(*[None, 151] * 1000)


# --- idle ------------------------------------------------------------------------------------------------------------


def test_an_idle_budget_is_judged_while_no_tracked_work_runs(run):
    idle = run(CPU, "0.02 cores", "10s", idle=TRACKED)

    assert [] == idle.step(*[0.9] * 30, idle=False)
    assert (UNKNOWN, None) == (idle.state, idle.standing.value)
    assert [] == idle.step(*[0.03] * 10)
    assert PENDING == idle.state
    assert [] == idle.step(0.9, idle=False)
    assert [] == idle.step(*[0.03] * 10)
    (alert,) = idle.step(0.03)
    assert "memory 0.03 cores is over 0.02 cores for 10 s while no tracked work ran" == alert.body


def test_work_does_not_resolve_an_idle_budget(run):
    idle = run(CPU, "0.02 cores", "10s", idle=True)
    idle.step(*[0.03] * 11)

    assert [] == idle.step(*[0.0] * 60, idle=False)
    assert ["resolved"] == kinds(idle.step(*[0.0] * 11))


def test_a_program_without_tracked_work_is_judged_only_if_it_says_so(run):
    default, own = run(CPU, "0.02 cores", "10s", idle=TRACKED), run(CPU, "0.02 cores", "10s", idle=True)

    assert [] == default.step(*[0.5] * 60, idle=None)
    assert UNKNOWN == default.state
    assert ["exceeded"] == kinds(own.step(*[0.5] * 60, idle=None))


def test_other_budgets_do_not_care_whether_the_program_is_idle(run):
    assert ["exceeded"] == kinds(run(max=150).step(*[151] * 4, idle=False))


# --- what an alert says ----------------------------------------------------------------------------------------------


def test_an_alert_says_what_when_and_how_much(run):
    memory = run()
    memory.step(*[140 * MB] * 58, *[163 * MB] * 3)

    (alert,) = memory.step(163 * MB)
    alert.running = "shop.checkout"

    assert (
        "memory 163 MB is over 150 MB for 3 s; it was 140 MB a minute ago; shop.checkout was running"
        == alert.body
    )  # fmt: skip
    assert ("otel_perf.budget.exceeded", 13, WALL + 61 * 10**9) == (alert.event, alert.severity_number, alert.time)
    assert {
        "budget": "memory", "severity": "warning", "metric": MEMORY, "value": 163 * MB, "limit": 150 * MB, "unit": "By",
        "since": WALL + 58 * 10**9, "duration": 3.0, "peak": 163 * MB, "earlier": 140 * MB, "running": "shop.checkout",
    } == alert.attributes  # fmt: skip
    assert (0, 0) == (alert.trace_id, alert.span_id)


def test_an_alert_does_not_speak_of_a_minute_that_nobody_saw(run):
    young, blind = run(), run()
    young.step(*[140 * MB] * 30, *[163 * MB] * 4)
    blind.step(*[140 * MB] * 10, *[None] * 90, *[163 * MB] * 4)

    assert {"memory 163 MB is over 150 MB for 3 s"} == {young.alerts[0].body, blind.alerts[0].body}


def test_an_escalated_alert_says_from_where(run):
    memory = run()
    memory.step(*[151 * MB] * 4, *[310 * MB] * 4)

    alert = memory.alerts[-1]

    assert "memory 310 MB is over 150 MB for 7 s: critical now, warning before" == alert.body
    assert ("otel_perf.budget.escalated", 17, "warning") == (
        alert.event, alert.severity_number, alert.attributes["previous"]
    )  # fmt: skip


def test_a_resolved_alert_is_good_news_with_duration_and_peak(run):
    memory = run()
    memory.step(*[151 * MB] * 4, *[310 * MB] * 80, *[140 * MB] * 4)

    alert = memory.alerts[-1]

    assert "memory holds again: 140 MB, limit 150 MB; it was exceeded for 1 min 27 s, at most 310 MB" == alert.body
    assert ("otel_perf.budget.resolved", 9, "critical") == (alert.event, alert.severity_number, alert.severity)


@pytest.mark.parametrize(
    ("metric", "max", "unit", "value", "says"),
    [
        ("queue", 8, "", 9, "memory 9 is over 8"),
        ("queue", 8, "{job}", 9, "memory 9 jobs is over 8 jobs"),
        ("rate(orders)", 8.5, "{order}", 9.5, "memory 9.5 orders/s is over 8.5 orders/s"),
        ("rate(io)", "1MB", "By", 2.5e6, "memory 2.5 MB/s is over 1 MB/s"),
        ("p95(otel_perf.function.duration{function=f})", 0.25, "", 0.3, "memory ~300 ms is over 250 ms"),
        ("process.cpu.utilization", "50%", "1", 0.75, "memory 75 % is over 50 % of the CPUs that it may use"),
        (CPU, "2%", "{cpu}", 0.03, "memory 0.03 cores is over 0.02 cores"),
        (MEMORY, 150_000_000, "By", 163 * MB, "memory 163 MB is over 150 MB"),
    ],
)
def test_numbers_carry_the_unit_of_their_metric(run, metric, max, unit, value, says):
    asked = []

    (alert,) = run(metric, max, 0, unit_of=lambda name: asked.append(name) or unit).step(value)

    assert says == alert.body
    assert {alert.budget.instrument} == set(asked)


# --- many budgets, and those that come and go ------------------------------------------------------------------------


def test_each_budget_is_judged_by_its_own_value():
    budgets = [Budget(name, metric=name, max=1) for name in ("a", "b", "c")]
    evaluator = Evaluator(budgets, 0.0)

    alerts = evaluator.step(0.0, WALL, lambda budget: {"a": 2, "b": None, "c": 3}[budget.name])

    assert ["a", "c"] == [alert.name for alert in alerts]
    assert [EXCEEDED, UNKNOWN, EXCEEDED] == [standing.state for standing in evaluator.states()]


def test_a_value_that_cannot_be_had_leaves_all_budgets_as_they_were():
    """Else an alert of the budgets before it would be lost."""
    budgets = [Budget("a", metric="a", max=1), Budget("broken", metric="b", max=1)]
    evaluator = Evaluator(budgets, 0.0)

    with pytest.raises(KeyError):
        evaluator.step(0.0, WALL, lambda budget: {"a": 2}[budget.name])

    assert ["a"] == [alert.name for alert in evaluator.step(1.0, WALL, lambda budget: {"a": 2}.get(budget.name))]


def test_a_budget_that_comes_later_is_unknown_at_first(run):
    memory = run(max=150)
    memory.evaluator.add(Budget("late", metric="late", max=1))

    assert [UNKNOWN, UNKNOWN] == [standing.state for standing in memory.evaluator.states()]
    assert ["exceeded"] == kinds(memory.step(2))  # "late"
    assert [OK, EXCEEDED] == [standing.state for standing in memory.evaluator.states()]


def test_the_same_budget_again_changes_nothing(run):
    memory = run(max=150)
    memory.step(151, 151, 151)
    memory.evaluator.add(Budget("memory", metric=MEMORY, max=150, for_="3s"))

    assert ["exceeded"] == kinds(memory.step(151))


def test_another_limit_does_not_lose_an_alert(run):
    memory = run(max=150)
    memory.step(*[151] * 4)
    memory.evaluator.add(Budget("memory", metric=MEMORY, max=200, for_="3s"))

    assert (UNKNOWN, True) == (memory.state, memory.standing.exceeded)
    assert ["resolved"] == kinds(memory.step(*[151] * 4))
    assert 200 == memory.alerts[-1].limit


def test_a_budget_that_is_taken_away_is_gone_and_not_resolved(run):
    memory = run()
    memory.step(*[151 * MB] * 4)
    memory.evaluator.remove("memory")
    memory.evaluator.remove("memory")

    assert [] == memory.evaluator.states()
    assert [] == memory.step(140, 140)
    (gone,) = memory.evaluator.history
    assert ("gone", "memory was over 150 MB when it was last seen, at most 151 MB for 3 s") == (gone.kind, gone.body)


def test_another_metric_is_another_budget(run):
    memory = run(max=150)
    memory.step(*[151] * 4)
    memory.evaluator.add(Budget("memory", metric="other", max=150))

    assert (UNKNOWN, False) == (memory.state, memory.standing.exceeded)
    assert ["gone"] == kinds(memory.evaluator.history)


def test_at_the_end_nothing_is_resolved(run):
    memory, quiet = run(max=150), run(max=150)
    memory.step(*[151] * 4)
    quiet.step(100, 151)
    for one in (memory, quiet):
        one.evaluator.close()

    assert (["gone"], []) == (kinds(memory.evaluator.history), quiet.evaluator.history)
    assert [] == memory.evaluator.states()


def test_the_history_keeps_the_newest_that_are_over(run):
    memory = run(max=150, for_=0)
    for peak in range(1000):
        memory.step(200 + peak, 140)

    history = memory.evaluator.history
    assert (HISTORY, {"resolved"}, 1199) == (len(history), set(kinds(history)), history[-1].peak)
    assert 1200 - HISTORY == history[0].peak


def test_a_standing_says_how_far_over_how_long_and_how_bad(run):
    memory = run(max=150)
    memory.step(*[151] * 4, 200, 180)

    standing = memory.standing
    assert (EXCEEDED, 180, pytest.approx(0.2), 5.0, 200, "warning") == (
        standing.state, standing.value, standing.over, standing.duration, standing.peak, standing.severity
    )  # fmt: skip
    memory.step(*[140] * 5)
    assert (180, pytest.approx(0.2)) == (standing.value, standing.over)
    assert (OK, 0.0, 0.0, None) == ((one := memory.standing).state, one.over, one.duration, one.peak)


def test_the_rooms_load_nothing_that_costs_time(modules_after):
    before = modules_after("import otel_perf.budgets")

    wholes = {f"otel_perf.metrics{room}" for room in ("", ".wholes", ".cgroup", ".names")} | {"otel_perf.system"}
    assert {"otel_perf.alerts", "otel_perf.score", "otel_perf.amounts", *wholes} == (
        modules_after("import otel_perf.budgets, otel_perf.alerts, otel_perf.score") - before | {"otel_perf.system"}
    )
    assert set() == before & {"typing", "dataclasses", "json", "logging", "re", "functools", "collections", "enum"}
