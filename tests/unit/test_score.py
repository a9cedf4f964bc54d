"""The score: what each budget costs by its formula, what is left out, and how it is said."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_perf.alerts import EXCEEDED, OK, PENDING, UNKNOWN, Evaluator, Standing
from otel_perf.budgets import SEVERITIES, Budget
from otel_perf.score import WEIGHTS, score, score_of


def standing(name, state, value=None, *, severity="warning", over=0.0, exceeded=None, max="150MB", unit="By"):
    budget = Budget(name, metric="m", max=max, severity=severity)
    raised = state == EXCEEDED if exceeded is None else exceeded
    return Standing(budget, state, value, unit=unit, exceeded=raised, over=over)


def test_all_that_holds_is_a_hundred():
    found = score_of([standing("a", OK, 1), standing("b", OK, 1, severity="critical")])

    assert (100.0, [], 2, 0) == (found.points, found.reasons, found.judged, found.unknown)
    assert "100 of 100, 2 budgets judged" == found.text


@pytest.mark.parametrize("standings", [[], [standing("a", UNKNOWN)], [standing("a", UNKNOWN), standing("b", UNKNOWN)]])
def test_without_a_budget_that_is_judged_there_is_no_score(standings):
    found = score_of(standings)

    assert (None, [], 0, len(standings)) == (found.points, found.reasons, found.judged, found.unknown)
    assert found.text.startswith("no score, 0 budgets judged")


@pytest.mark.parametrize(
    ("state", "over", "points"),
    [
        (OK, 0.0, 100.0),
        (PENDING, 5.0, 87.5),  # a quarter of 2 of 4
        (EXCEEDED, 0.0, 75.0),  # back below its limit, not yet below the clear level
        (EXCEEDED, 0.5, 62.5),
        (EXCEEDED, 1.0, 50.0),
        (EXCEEDED, 9.0, 50.0),
        (EXCEEDED, math.inf, 50.0),
    ],
)
def test_a_budget_costs_by_its_state_and_by_how_far_it_is_over(state, over, points):
    assert points == score_of([standing("a", state, 1, over=over), standing("b", OK, 1)]).points


def test_a_budget_weighs_by_its_severity():
    assert [pytest.approx(100 * (1 - weight / 7)) for weight in (1, 2, 4)] == [
        score_of(
            [
                standing(name, EXCEEDED if name == worst else OK, 1, severity=name, over=1.0)
                for name in SEVERITIES
            ]
        ).points
        for worst in SEVERITIES
    ]  # fmt: skip


def test_unknown_budgets_are_left_out_and_counted():
    found = score_of([standing("a", PENDING, 1), standing("b", UNKNOWN), standing("c", UNKNOWN)])

    assert (75.0, 1, 2) == (found.points, found.judged, found.unknown)
    assert "75 of 100, 1 budget judged, 2 unknown" == found.text


def test_what_was_exceeded_keeps_its_cost_until_it_is_seen_to_hold():
    evaluator = Evaluator([Budget("memory", metric="m", max=150)], 0.0)

    def step(moment, value):
        evaluator.step(moment, 0, lambda _: value)
        return score(evaluator)

    assert [25.0, 25.0, 25.0, 50.0, 100.0] == [
        pytest.approx(step(float(at), value).points) for at, value in enumerate((225, None, None, 149, 140))
    ]


def test_the_reasons_say_what_costs_how_much_and_the_dearest_comes_first():
    found = score_of(
        [
            standing("memory", EXCEEDED, 165e6, over=0.1),
            standing("startup", EXCEEDED, 5.0, severity="critical", over=1.5, max="2s", unit="s"),
            standing("idle", PENDING, 0.03, over=0.5, max="0.02 cores", unit="{cpu}"),
            standing("lost", UNKNOWN, None, exceeded=True, over=0.2),
            standing("fine", OK, 1),
        ]
    )

    assert [
        ("startup", "exceeded: 5 s, limit 2 s (150 % over)"),
        ("lost", "exceeded when last seen, limit 150 MB"),
        ("memory", "exceeded: 165 MB, limit 150 MB (10 % over)"),
        ("idle", "pending: 0.03 cores, limit 0.02 cores (50 % over)"),
    ] == [(reason.budget, reason.text) for reason in found.reasons]
    assert [pytest.approx(100 * cost / 12) for cost in (4, 1.2, 1.1, 0.5)] == [one.points for one in found.reasons]
    assert pytest.approx(100 - 100 * 6.8 / 12) == found.points


def test_only_what_costs_nothing_is_shown_as_a_hundred():
    found = score_of([standing("a", PENDING, 1, severity="info"), *[standing("b", OK, 1, severity="critical")] * 200])

    assert "99 of 100, 201 budgets judged" == found.text


standings = st.lists(
    st.builds(
        standing,
        st.sampled_from("abc"),
        st.sampled_from((UNKNOWN, OK, PENDING, EXCEEDED)),
        st.just(1.0),
        severity=st.sampled_from(SEVERITIES),
        over=st.floats(0, 10),
    ),
    max_size=8,
)


@given(standings)
def test_a_score_is_between_its_ends_and_its_reasons_add_up(found):
    result = score_of(found)

    assert len(found) == result.judged + result.unknown
    if result.points is not None:
        assert 0 <= result.points <= 100
        assert pytest.approx(100 - result.points) == sum(reason.points for reason in result.reasons)
        costs = [reason.points for reason in result.reasons]
        assert sorted(costs, reverse=True) == costs


@given(standings, st.sampled_from((OK, PENDING)), st.sampled_from(SEVERITIES), st.floats(0, 10), st.floats(0, 10))
def test_worse_never_scores_higher(others, state, severity, less, more):
    less, more = sorted((less, more))
    points = [
        score_of([*others, standing("x", one, 1, severity=severity, over=over)]).points
        for one, over in ((state, less), (EXCEEDED, less), (EXCEEDED, more))
    ]

    assert points[0] > points[1] >= points[2] - 1e-9


def test_every_severity_has_a_weight_and_the_worse_weighs_more():
    assert list(SEVERITIES) == sorted(WEIGHTS, key=lambda severity: WEIGHTS[severity])
