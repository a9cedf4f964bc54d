"""follow/temporality.py: cumulative points become deltas, and their sum is what it was."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_perf.export.follow.temporality import Deltas


def number(value: float | int, time: int, start: int = 5) -> dict[str, Any]:
    shown = {"asInt": str(value)} if isinstance(value, int) else {"asDouble": value}
    return {"attributes": [], "startTimeUnixNano": str(start), "timeUnixNano": str(time), **shown}


def exponential(values: list[int], time: int, scale: int = 0, zeros: int = 0) -> dict[str, Any]:
    """Return a histogram of *values*, the numbers of buckets at scale 0."""
    indexes = [value >> -scale for value in values]
    low = min(indexes, default=0)
    counts = [str(indexes.count(index)) for index in range(low, max(indexes, default=-1) + 1)]
    return {
        "startTimeUnixNano": "5",
        "timeUnixNano": str(time),
        "count": str(len(values) + zeros),
        "sum": float(sum(values)),
        "min": 0.0,
        "max": 9.0,
        "scale": scale,
        "zeroCount": str(zeros),
        **({"positive": {"offset": low, "bucketCounts": counts}} if counts else {}),
    }


def run(kind: str, *points: dict[str, Any]) -> list[dict[str, Any]]:
    deltas = Deltas("delta")
    return [point for point in copy.deepcopy(list(points)) if deltas.step("key", kind, point)]


@pytest.mark.parametrize(
    ("name", "kind", "monotonic", "expected"),
    [
        ("orders", "sum", True, ("", "delta", "lowmemory")),
        ("orders", "sum", False, ("", "", "")),
        ("orders", "gauge", None, ("", "", "")),
        ("orders", "histogram", None, ("", "delta", "lowmemory")),
        ("otel_perf.function.duration", "exponentialHistogram", None, ("", "delta", "lowmemory")),
        ("otel_perf.profile.time", "sum", True, ("", "delta", "lowmemory")),
        ("process.cpu.time", "sum", True, ("", "delta", "")),
        ("otel_perf.self.dropped", "sum", True, ("", "delta", "")),
        ("process.memory.usage", "sum", False, ("", "", "")),
    ],
)
def test_preference_says_what_becomes_a_delta(name, kind, monotonic, expected):
    body = {"aggregationTemporality": 2} | ({} if monotonic is None else {"isMonotonic": monotonic})

    found = tuple(
        preference if Deltas(preference).wants(name, kind, body) else ""
        for preference in ("cumulative", "delta", "lowmemory")
    )

    assert expected == found


def test_what_is_a_delta_in_the_file_stays_as_it_is():
    assert not Deltas("delta").wants("orders", "sum", {"aggregationTemporality": 1, "isMonotonic": True})


def test_delta_begins_where_the_one_before_ended_and_nothing_is_sent_where_nothing_came():
    found = run("sum", number(3, 10), number(3, 20), number(7, 30), number(7.5, 40))

    assert [number(3, 10), number(4, 30, 10), number(0.5, 40, 30)] == found


def test_counter_that_began_anew_is_sent_whole_with_its_own_start():
    assert [number(9, 10), number(2, 30, 20)] == run("sum", number(9, 10), number(2, 30, 20))


@given(st.lists(st.integers(0, 2**40)))
def test_deltas_of_a_counter_add_up_to_it(steps):
    total, points = 0, []
    for time, step in enumerate(steps, 1):
        total += step
        points.append(number(total, time))

    assert total == sum(int(point["asInt"]) for point in run("sum", *points))


@given(
    st.lists(st.tuples(st.lists(st.integers(-40, 40), max_size=6), st.integers(0, 2)), min_size=1), st.integers(0, 9)
)
def test_deltas_of_an_exponential_histogram_add_up_to_it_also_where_it_becomes_coarser(steps, coarser_after):
    values: list[int] = []
    points, zeros = [], 0
    for time, (more, zero) in enumerate(steps, 1):
        values += more
        zeros += zero
        points.append(exponential(values, time, 0 if time <= coarser_after else -2, zeros))

    found = run("exponentialHistogram", *points)

    assert len(values) + zeros == sum(int(point["count"]) for point in found)
    assert zeros == sum(int(point["zeroCount"]) for point in found)
    assert sum(values) == pytest.approx(sum(point["sum"] for point in found))
    got: dict[int, int] = {}
    for point in found:
        side = point.get("positive", {"offset": 0, "bucketCounts": []})
        for index, count in enumerate(side["bucketCounts"], side["offset"]):
            assert int(count) >= 0
            got[index >> (2 + point["scale"])] = got.get(index >> (2 + point["scale"]), 0) + int(count)
    expected = {index: [value >> 2 for value in values].count(index) for index in {value >> 2 for value in values}}
    assert expected == {index: count for index, count in got.items() if count}
    assert all("min" not in point and "max" not in point for point in found)


def test_deltas_of_an_explicit_histogram_add_up_to_it_and_other_bounds_begin_anew():
    def point(counts: list[int], time: int, bounds: list[float]) -> dict[str, Any]:
        return {
            "startTimeUnixNano": "5",
            "timeUnixNano": str(time),
            "count": str(sum(counts)),
            "sum": float(sum(counts)),
            "bucketCounts": [str(count) for count in counts],
            "explicitBounds": bounds,
        }

    first, second, other = point([1, 2], 10, [1.0]), point([1, 5], 20, [1.0]), point([4, 5], 30, [2.0])

    found = run("histogram", first, second, second | {"timeUnixNano": "25"}, other)

    assert [["1", "2"], ["0", "3"], ["4", "5"]] == [point["bucketCounts"] for point in found]
    assert ["5", "10", "5"] == [point["startTimeUnixNano"] for point in found]


@pytest.mark.parametrize("value", ["NaN", "Infinity"])
def test_value_that_is_not_finite_stays_json(value):
    point = {"startTimeUnixNano": "1", "timeUnixNano": "2", "asDouble": value}

    assert all(one["asDouble"] in ("NaN", "Infinity") for one in run("sum", point, point))


@pytest.mark.parametrize(
    ("kind", "point"),
    [
        ("sum", {"asInt": "x"}),
        ("sum", {"asInt": []}),
        ("histogram", {"count": "1", "bucketCounts": 3}),
        ("exponentialHistogram", {"count": "1", "positive": []}),
        ("exponentialHistogram", {"count": {}, "scale": 99}),
    ],
    ids=str,
)
def test_damaged_point_is_left_to_the_encoder_that_counts_it(kind, point):
    assert [point] == run(kind, point)
