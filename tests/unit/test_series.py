"""A ring keeps a few hundred points of any past, and of each stretch of it the lowest and the highest."""

from __future__ import annotations

import math
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from otel_perf.metrics.series import CAPACITY, Ring

VALUES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=3000)


def ring_of(values: list[float], capacity: int = CAPACITY) -> Ring:
    ring = Ring(capacity)
    for moment, value in enumerate(values):
        ring.add(float(moment), value)
    return ring


def test_few_points_are_all_there() -> None:
    values = [math.sin(number) for number in range(290)]

    assert list(enumerate(values)) == ring_of(values).points()


@given(VALUES, st.integers(8, 300))
def test_the_extremes_and_the_newest_stay_and_nothing_is_invented(values: list[float], capacity: int) -> None:
    points = ring_of(values, capacity).points()

    assert len(points) <= capacity
    assert set(points) <= set(enumerate(values))
    assert sorted({moment for moment, _ in points}) == [moment for moment, _ in points]
    kept = [value for _, value in points]
    assert (min(values), max(values)) == (min(kept), max(kept))
    assert (len(values) - 1, values[-1]) == points[-1]


@given(VALUES)
def test_every_stretch_of_two_buckets_keeps_its_peak(values: list[float]) -> None:
    ring = ring_of(values, 40)
    kept = dict(ring.points())
    for first in range(0, len(values) // ring.width * ring.width, ring.width):
        bucket = values[first : first + ring.width]
        shown = [kept[moment] for moment in range(first, first + ring.width) if moment in kept]

        assert (min(bucket), max(bucket)) == (min(shown), max(shown))


def test_one_second_at_its_peak_is_seen_after_a_day() -> None:
    values = [1.0] * 86_400
    values[40_000], values[70_001] = 99.0, -5.0
    points = ring_of(values).points()

    assert {(40_000.0, 99.0), (70_001.0, -5.0)} <= set(points)
    assert (0.0, 86_399.0) == (points[0][0], points[-1][0])
    assert 150 <= len(points) <= 300


def test_nan_is_no_point() -> None:
    assert [(1.0, 2.0)] == ring_of([math.nan, 2.0, math.nan]).points()


def test_an_empty_ring_has_no_points() -> None:
    assert [] == Ring().points()
    assert Ring().last is None


def test_a_day_takes_as_much_memory_as_an_hour() -> None:
    tracemalloc.start()
    ring = ring_of([float(number % 100) for number in range(3600)])
    hour = tracemalloc.get_traced_memory()[0]
    for moment in range(3600, 86_400):
        ring.add(float(moment), moment % 100)
    day = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()

    assert day - hour < 2000
