"""A trend is named where there is one, with what is uncertain about it, and nowhere else."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_perf.metrics.series import Ring
from otel_perf.metrics.trend import trend

MB = 1e6


def line(slope: float, start: float = 0.0, count: int = 300, noise: float = 0.0, seed: int = 1) -> list:
    chance = random.Random(seed)
    return [(float(at), start + slope * at + chance.gauss(0.0, noise)) for at in range(count)]


def test_a_straight_line_has_its_slope_and_reaches_its_limit() -> None:
    found = trend(line(2.0, start=100.0))

    assert found is not None
    assert pytest.approx(2.0) == found.slope
    assert pytest.approx((151.0, 0.0), abs=1e-6) == found.reaches(1000.0)


def test_the_projection_of_a_noisy_leak_holds_within_its_uncertainty() -> None:
    """As often as 95 % bounds promise, or nearly."""
    right = 50 * MB / (0.01 * MB) - 299
    held = 0
    for seed in range(40):
        found = trend(line(0.01 * MB, start=100 * MB, noise=0.2 * MB, seed=seed))
        assert found is not None
        seconds, error = found.reaches(150 * MB) or (0.0, 0.0)
        assert error <= seconds / 2
        held += abs(seconds - right) <= error

    assert held >= 36


def test_a_few_wild_points_change_nothing() -> None:
    points = line(1.0, noise=0.5)
    for at in range(5, 300, 20):
        points[at] = points[at][0], 1e9

    found = trend(points)
    assert found is not None
    assert pytest.approx(1.0, rel=0.02) == found.slope


def test_a_projection_in_words() -> None:
    found = trend(line(0.004 * MB, start=100 * MB, count=1000, noise=0.5 * MB))

    assert found is not None
    assert "150 MB in 3 h 20 min ± 30 min" == found.text(150 * MB, "By")
    assert "" == found.text(50 * MB, "By")


@pytest.mark.parametrize(
    "points",
    [
        [],
        line(1.0, count=9),
        line(0.0),
        line(0.0, noise=5.0),
        [(0.0, 1.0)] * 50,
        [(float(at), float(at % 50)) for at in range(300)],
        [(float(at), 10.0 if at < 150 else 90.0) for at in range(300)],
        [(float(at), float(min(at, 100))) for at in range(300)],
    ],
    ids=["none", "few", "level", "noise", "one moment", "saw", "step", "grew once"],
)
def test_there_is_no_trend_in(points: list) -> None:
    assert trend(points) is None


@pytest.mark.parametrize("seed", range(20))
def test_a_random_walk_is_projected_by_chance_only(seed: int) -> None:
    chance, value, points = random.Random(seed), 100.0, []
    for at in range(300):
        value += chance.gauss(0.0, 1.0)
        points.append((float(at), value))
    found = trend(points)

    assert found is None or (found.reaches(1000.0) or (0.0, 9.0))[1] > 5.0  # seconds: never sure


def test_what_is_too_far_away_is_not_projected() -> None:
    found = trend(line(1.0))

    assert found is not None
    assert found.reaches(299.0 * 23) is not None
    assert found.reaches(299.0 * 30) is None


def test_a_falling_line_reaches_what_is_below_it() -> None:
    found = trend(line(-1.0, start=1000.0))

    assert found is not None
    assert found.reaches(2000.0) is None
    assert pytest.approx(201.0) == (found.reaches(500.0) or [0.0])[0]


@given(st.lists(st.floats(-1e9, 1e9), max_size=400))
def test_whatever_the_points_are_there_is_an_answer(values: list[float]) -> None:
    ring = Ring()
    for at, value in enumerate(values):
        ring.add(float(at), value)
    found = trend(ring.points())
    if found is not None:
        assert found.low <= found.slope <= found.high
        found.text(1e9, "By")
