"""Laws of the state machine, for any sequence of values: against a second definition that looks back over all samples."""

from __future__ import annotations

import itertools
import tracemalloc

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from otel_perf.alerts import EXCEEDED, HISTORY, OK, PENDING, STATES, UNKNOWN, Evaluator
from otel_perf.budgets import SEVERITIES, TRACKED, Budget
from otel_perf.score import score

WALL = 1_795_564_800 * 10**9
MAX, CLEAR = 150, 142.5

# values around what decides: below and at the clear level, in between, at and over the limit, at twice of it
VALUES = (0, 140, 142.5, 143, 150, 151, 299, 300, 450)
values = st.sampled_from((*VALUES, *VALUES, None, float("nan")))
samples = st.tuples(
    st.sampled_from((0.5, 1.0, 1.0, 1.0, 1.0, 2.0, 90.0)),  # seconds since the sample before
    values,
    st.sampled_from((False,) * 19 + (True,)),  # a gap before it
    st.booleans(),  # no tracked work ran
)
# runs of the same value reach alerts, resolutions and escalations that single values hardly do
runs = st.lists(st.tuples(samples, st.sampled_from((1, 1, 2, 4, 12))), min_size=5, max_size=40).map(
    lambda pairs: [sample for sample, times in pairs for sample in [sample] * times]
)
definitions = st.fixed_dictionaries(
    {
        "for_": st.sampled_from((0, 1, 3, 10)),
        "cooldown": st.sampled_from((0, 0, 5, 100)),
        "severity": st.sampled_from(SEVERITIES),
    }
)
laws = settings(max_examples=200, deadline=None)


def budget_of(definition, **more):
    return Budget("b", metric="m", max=MAX, clear=CLEAR, **{**definition, **more})


def played(budget, sequence, *, begin=0.0, walls=None):
    """Return the alerts of *sequence* with the index of their step, and the evaluator after it."""
    evaluator = Evaluator([budget], begin)
    moment, found = begin, []
    for index, (seconds, value, gap, idle) in enumerate(sequence):
        moment += seconds
        wall = WALL + int(moment * 1e9) if walls is None else walls[index % len(walls)]
        found += [(index, alert) for alert in evaluator.step(moment, wall, lambda _, v=value: v, idle, gap)]
    return found, evaluator


def told(found):
    """Return what alerts say, but for the wall clock."""
    return [(i, a.kind, a.severity, a.previous, a.value, a.duration, a.peak, a.earlier) for i, a in found]


def is_data(sample):
    return not sample[2] and sample[1] is not None and sample[1] == sample[1]


def looked_back(budget, sequence):
    """Return the steps at which it is exceeded or resolved, by looking back from each over all samples before it."""
    moments = list(itertools.accumulate((sample[0] for sample in sequence), initial=0.0))[1:]

    def on_end(index, holds):
        """Whether all samples of the last *for* seconds are there, and hold."""
        for first in range(index, -1, -1):
            if not is_data(sequence[first]) or not holds(sequence[first][1]):
                return False
            if moments[index] - moments[first] >= budget.for_:
                return True
        return False

    found, open_, cool = [], False, float("-inf")
    for index in range(len(sequence)):
        if not open_ and moments[index] >= cool and on_end(index, lambda value: value > MAX):
            found.append((index, "exceeded"))
            open_ = True
        elif open_ and on_end(index, lambda value: value <= CLEAR):
            found.append((index, "resolved"))
            open_, cool = False, moments[index] + budget.cooldown
    return found


@laws
@given(definitions, runs)
@example(
    {"for_": 3, "cooldown": 0, "severity": "info"}, [(1.0, 151, False, True)] * 10 + [(1.0, 140, False, True)] * 10
)
def test_no_alert_is_lost_and_none_comes_twice(definition, sequence):
    budget = budget_of(definition)
    found, _ = played(budget, sequence)

    assert looked_back(budget, sequence) == [(index, a.kind) for index, a in found if a.kind != "escalated"]


@laws
@given(definitions, runs)
def test_resolved_comes_only_after_exceeded_and_what_is_exceeded_is_resolved_or_still_so(definition, sequence):
    found, evaluator = played(budget_of(definition), sequence)

    kinds = [alert.kind for _, alert in found if alert.kind != "escalated"]
    assert kinds == (["exceeded", "resolved"] * len(kinds))[: len(kinds)]
    (standing,) = evaluator.states()
    assert standing.exceeded == (kinds[-1:] == ["exceeded"])
    assert standing.state in ((EXCEEDED, UNKNOWN) if standing.exceeded else (OK, PENDING, UNKNOWN))
    assert kinds.count("resolved") == len(evaluator.history)


@laws
@given(definitions, runs)
def test_escalation_only_goes_up(definition, sequence):
    found, _ = played(budget_of(definition), sequence)

    level = None
    for _, alert in found:
        rank = SEVERITIES.index(alert.severity)
        if alert.kind == "exceeded":
            assert rank >= SEVERITIES.index(definition["severity"])
        elif alert.kind == "escalated":
            assert (level, True) == (SEVERITIES.index(alert.previous), rank > level)
            assert alert.value > MAX
        else:
            assert level == rank
        level = rank


@laws
@given(definitions, runs)
def test_duration_and_peak_are_those_of_the_samples(definition, sequence):
    found, _ = played(budget_of(definition), sequence)
    moments = list(itertools.accumulate(sample[0] for sample in sequence))

    for index, alert in found:
        since = moments.index(moments[index] - alert.duration)
        assert sequence[since][1] > MAX
        assert alert.peak == max(sample[1] for sample in sequence[since : index + 1] if is_data(sample))


@laws
@given(definitions, runs, st.lists(st.integers(0, 2**62), min_size=1, max_size=5))
def test_steps_of_the_wall_clock_change_nothing(definition, sequence, walls):
    plain, _ = played(budget_of(definition), sequence)
    stepped, _ = played(budget_of(definition), sequence, walls=walls)

    assert told(plain) == told(stepped)
    for index, alert in stepped:
        assert (walls[index % len(walls)], int(alert.duration * 1e9)) == (alert.time, alert.time - alert.since)


@laws
@given(definitions, runs, st.sampled_from((-1024.0, 1.0, 2.0**20)))
def test_where_the_monotonic_clock_begins_changes_nothing(definition, sequence, begin):
    assert told(played(budget_of(definition), sequence)[0]) == told(
        played(budget_of(definition), sequence, begin=begin)[0]
    )


@laws
@given(definitions, st.lists(st.sampled_from((143, 150, 147.25)), max_size=200), st.booleans())
def test_between_clear_and_limit_nothing_ever_happens(definition, band, exceeded):
    """Neither flapping nor a slow drift of state."""
    before = [(1.0, 151 if exceeded else 140, False, True)] * 12
    sequence = [*before, *((1.0, value, False, True) for value in band)]

    found, _ = played(budget_of(definition), sequence)

    assert [] == [alert for index, alert in found if index >= len(before)]


@laws
@given(definitions, runs)
def test_alerts_are_as_far_apart_as_for_and_cooldown_say(definition, sequence):
    budget = budget_of(definition)
    found, _ = played(budget, sequence)
    moments = list(itertools.accumulate(sample[0] for sample in sequence))

    ends = [(moments[index], alert.kind) for index, alert in found if alert.kind != "escalated"]
    for (before, kind), (after, _) in itertools.pairwise(ends):
        assert after - before >= (max(budget.cooldown, budget.for_) if kind == "resolved" else budget.for_)


@laws
@given(definitions, runs)
def test_samples_without_data_cause_no_alert_and_are_unknown(definition, sequence):
    budget = budget_of(definition)
    evaluator = Evaluator([budget], 0.0)
    moment = 0.0
    for sample in sequence:
        seconds, value, gap, idle = sample
        moment += seconds
        (before,) = evaluator.states()
        alerts = evaluator.step(moment, WALL, lambda _, v=value: v, idle, gap)
        (after,) = evaluator.states()

        assert (not is_data(sample)) == (after.state == UNKNOWN)
        if not is_data(sample):
            assert ([], before.exceeded, None) == (alerts, after.exceeded, after.value)
            assert after.over == (before.over if before.exceeded else 0.0)


@laws
@given(definitions, runs)
def test_work_is_to_an_idle_budget_what_no_data_is_to_any(definition, sequence):
    without = [(seconds, value if idle else None, gap, True) for seconds, value, gap, idle in sequence]

    assert told(played(budget_of(definition), without)[0]) == told(
        played(budget_of(definition, idle=TRACKED), sequence)[0]
    )


@laws
@given(definitions, runs, runs)
def test_budgets_do_not_know_of_each_other(definition, first, second):
    length = min(len(first), len(second))
    second = [(a[0], b[1], a[2], a[3]) for a, b in zip(first, second, strict=False)]
    one, other = budget_of(definition), Budget("other", metric="o", max=MAX, clear=CLEAR, **definition)
    evaluator, moment, found = Evaluator([one, other], 0.0), 0.0, []
    for index in range(length):
        moment += first[index][0]
        here = {"b": first[index][1], "other": second[index][1]}
        alerts = evaluator.step(moment, WALL, lambda b, here=here: here[b.name], True, first[index][2])
        found += [(index, alert) for alert in alerts]

    for name, sequence in (("b", first), ("other", second)):
        alone = told(played(one, sequence[:length])[0])
        assert alone == told([pair for pair in found if pair[1].name == name])


@laws
@given(definitions, runs)
def test_the_score_stays_between_its_ends_and_its_reasons_add_up(definition, sequence):
    _, evaluator = played(budget_of(definition), sequence)

    found = score(evaluator)

    (standing,) = evaluator.states()
    assert (found.points is None) == (standing.state == UNKNOWN and not standing.exceeded)
    if found.points is not None:
        assert 0.0 <= found.points <= 100.0
        assert pytest.approx(100.0 - found.points) == sum(reason.points for reason in found.reasons)
        assert (found.points == 100.0) == (standing.state == OK)


def test_a_day_takes_no_more_memory_than_an_hour():
    """24 h at 1 Hz with an alert each 20 seconds, escalations, missing values and gaps."""
    evaluator = Evaluator([Budget("b", metric="m", max=150, for_="3s", cooldown=2)], 0.0)
    wave = [140] * 7 + [151] * 5 + [300] * 4 + [None, 149, 151, 140]
    second, alerts = 0, 0

    def run(until):
        nonlocal second, alerts
        while second < until:
            value = wave[second % len(wave)]
            time = WALL + second * 10**9
            new = evaluator.step(float(second), time, lambda _, v=value: v, second % 3 == 0, second % 997 == 0)
            alerts += len(new)
            second += 1
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        hour = run(2 * 3600)  # the history is full by then
        day = run(24 * 3600)
    finally:
        tracemalloc.stop()

    assert HISTORY == len(evaluator.history)
    assert 8_000 < alerts
    assert 2_000 > abs(day - hour)
    assert {*STATES} >= {standing.state for standing in evaluator.states()}
