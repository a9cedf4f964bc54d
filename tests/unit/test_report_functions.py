"""Percentiles, self times and parallel calls of functions; what otel-perf cost."""

from __future__ import annotations

import math
import random
from array import array
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_perf.analysis.functions import (
    bucket_factor,
    cost_of,
    functions_of,
    histogram_percentile,
    hot_paths,
    percentile,
)
from otel_perf.analysis.model import Process
from otel_perf.export.decode import Point


def number_point(metric, value, **attributes):
    point = Point()
    point.metric, point.type, point.value, point.attributes = metric, "sum", value, attributes
    return point


def histogram(durations, scale=0, function="f", kind="function", total=None):
    """Return the point that durations make, by the definition of the exponential histogram."""
    base = 2.0**2.0**-scale
    buckets = Counter(math.ceil(round(math.log(value, base), 9)) - 1 for value in durations if value > 0)
    point = Point()
    point.metric, point.type, point.attributes = "otel_perf.function.duration", "exponentialHistogram", {}
    point.attributes = {"function": function, "kind": kind}
    point.count, point.sum = len(durations), sum(durations) if total is None else total
    point.min, point.max = min(durations), max(durations)
    point.scale, point.zero_count = scale, sum(value == 0 for value in durations)
    if buckets:
        point.offset = min(buckets)
        point.buckets = [buckets.get(index, 0) for index in range(min(buckets), max(buckets) + 1)]
    return point


def process(*points, durations=None, root=None):
    found = Process("run/1", "run", "1")
    for point in points:
        found.points.setdefault(point.metric, []).append(point)
    found.durations = {key: array("d", values) for key, values in (durations or {}).items()}
    found.root_attributes = root or {}
    return found


def paths(metric, **values):
    """Return points of call paths, ``main_load=1.0`` being the path main;load."""
    points = []
    for name, value in values.items():
        path = name.replace("_", ";")
        points.append(
            number_point(f"otel_perf.profile.{metric}", value, path=path, function="m." + name.split("_")[-1])
        )
    return points


# --- percentiles ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("q", "expected"), [(0.0, 1.0), (0.25, 2.0), (0.5, 3.0), (0.95, 4.8), (0.99, 4.96), (1.0, 5.0)]
)
def test_percentile_interpolates_between_neighbours(q, expected):
    assert expected == pytest.approx(percentile([1.0, 2.0, 3.0, 4.0, 5.0], q))


def test_percentile_of_one_duration_is_that_duration():
    assert percentile([7.0], 0.99) == 7.0


@pytest.mark.parametrize(("durations", "q"), [([], 0.5), ([1.0], -0.1), ([1.0], 1.1), ([1.0], math.nan)])
def test_percentile_names_what_is_wrong(durations, q):
    with pytest.raises(ValueError, match="a quantile needs durations and a q of 0 to 1"):
        percentile(durations, q)


def test_bucket_is_interpolated_on_a_logarithmic_scale():
    """Eight calls above 1 s up to 2 s: a quarter of them lies below 2 ** 0.25 s."""
    point = histogram([1.5] * 8)
    point.min, point.max = 0.5, 3.0

    assert pytest.approx(histogram_percentile(point, 0.25)) == 2**0.25
    assert pytest.approx(histogram_percentile(point, 1.0)) == 2.0


def test_percentiles_of_equal_calls_are_exact():
    point = histogram([0.07] * 1000)

    assert pytest.approx([histogram_percentile(point, q) for q in (0.5, 0.95, 0.99)]) == [0.07] * 3


def test_percentiles_stay_between_the_extremes():
    point = histogram([0.070, 0.071, 0.072, 0.9])

    assert histogram_percentile(point, 0.01) >= 0.070
    assert histogram_percentile(point, 1.0) == 0.9


def test_calls_of_no_duration_count_as_the_smallest():
    point = histogram([0.0, 0.0, 0.0, 1.5])

    assert histogram_percentile(point, 0.5) == 0.0
    assert histogram_percentile(point, 1.0) == 1.5


def test_empty_histogram_has_no_percentile():
    assert histogram_percentile(Point(), 0.5) is None


@pytest.mark.parametrize("scale", [-1, 0, 3])
def test_percentile_of_a_histogram_lies_in_the_bucket_of_the_real_one(scale):
    numbers = random.Random(scale)
    durations = sorted(numbers.lognormvariate(-5, 1.5) for _ in range(2_000))
    point = histogram(durations, scale)

    for q in (0.5, 0.95, 0.99):
        factor = histogram_percentile(point, q) / percentile(durations, q)
        assert 1 / bucket_factor([point]) <= factor <= bucket_factor([point])


@given(
    st.integers(-20, 20),
    st.integers(-(2**31), 2**31 - 1),
    st.lists(st.integers(0, 2**64 - 1), max_size=5),
    st.none() | st.floats(),
    st.none() | st.floats(),
    st.floats(0, 1),
)
def test_hostile_histogram_never_raises(scale, offset, buckets, low, high, q):
    point = Point()
    point.scale, point.offset, point.buckets, point.min, point.max = scale, offset, buckets, low, high

    histogram_percentile(point, q)
    bucket_factor([point])


# --- functions ------------------------------------------------------------------------------------------------


def test_function_has_calls_total_self_and_extremes():
    found = process(
        histogram([0.1, 0.3], function="m.load"),
        *paths("self_time", main_load=0.25, load=0.05),
        *paths("time", main_load=0.3, load=0.1),
    )

    (row,) = functions_of(found)

    assert (row.function, row.calls) == ("m.load", 2)
    assert pytest.approx([row.total, row.self_time, row.min, row.avg, row.max]) == [0.4, 0.3, 0.1, 0.2, 0.3]
    assert not row.exact
    assert not row.parallel


def test_average_of_a_recursion_is_of_every_call_as_its_extremes_are():
    """The total counts the outermost call only; divided by all calls it would be less than the fastest of them."""
    found = process(
        histogram([0.3, 0.2], function="m.f", total=0.3), *paths("time", f=0.3, f_f=0.2), *paths("calls", f=1, f_f=1)
    )

    (row,) = functions_of(found)

    assert pytest.approx([row.total, row.min, row.avg, row.max]) == [0.3, 0.2, 0.25, 0.3]


def test_average_is_total_by_calls_where_call_paths_do_not_tell_of_every_call():
    deep = [
        number_point("otel_perf.profile.time", 0.0, path="otel_perf.overflow;f", function="m.f"),
        number_point("otel_perf.profile.calls", 1, path="otel_perf.overflow;f", function="m.f"),
    ]
    found = process(
        histogram([0.3, 0.2], function="m.f", total=0.3), *paths("time", f=0.3), *paths("calls", f=1), *deep
    )

    (row,) = functions_of(found)

    assert pytest.approx(0.15) == row.avg


def test_percentiles_are_exact_when_every_call_became_a_span():
    durations = [0.1, 0.11, 0.12, 0.19]

    (row,) = functions_of(
        process(histogram(durations, function="m.f"), durations={("f", "m.f", "function"): durations})
    )

    assert row.exact
    assert pytest.approx(percentile(durations, 0.95)) == row.percentiles[1]


@pytest.mark.parametrize("spans", [[0.1, 0.2], [0.1, 0.2, 0.4, 0.4], [0.1, 0.2, 0.25]])
def test_percentiles_are_not_exact_when_spans_are_others_than_the_calls(spans):
    """Too few, too many, or as many of other durations: a span may be the rest of one that was cut."""
    found = process(histogram([0.1, 0.2, 0.4], function="m.f"), durations={("f", "m.f", "function"): spans})

    (row,) = functions_of(found)

    assert not row.exact


@pytest.mark.parametrize(
    ("series", "name", "function"),
    [
        ("shop.Cart.add", "Cart.add", "shop.Cart.add"),  # decorated
        ("adding", "adding", "shop.Cart.add"),  # with a name of its own
        ("adding", "adding", ""),  # of a foreign writer
    ],
)
def test_spans_belong_to_the_series_of_their_function_or_name(series, name, function):
    spans = {(name, function, "function"): [0.5], ("other", "shop.Cart.add", "function"): [0.1]}

    rows = functions_of(process(histogram([0.5], function=series), durations=spans))

    assert {series: True, "other": True} == {row.function: row.exact for row in rows}
    assert {"other"} == {row.function for row in rows if row.spans_only}


def test_function_without_series_is_shown_from_its_spans():
    """Killed before the first metrics were written."""
    (row,) = functions_of(process(durations={("f", "m.f", "function"): [0.2, 0.1]}))

    assert (row.function, row.calls, row.min, row.max) == ("m.f", 2, 0.1, 0.2)
    assert row.spans_only
    assert row.self_time is None


def test_phases_are_no_functions():
    assert functions_of(process(histogram([1.0], kind="phase"))) == []


def test_recursion_counts_the_outermost_call_only():
    """C10: 40 calls, 5 ms each without the calls inside; the recorder sums the outermost ones."""
    durations = [0.005 * depth for depth in range(1, 41)]
    points = [
        number_point("otel_perf.profile.self_time", 0.005, path=";".join(["f"] * depth), function="m.f")
        for depth in range(1, 41)
    ]

    (row,) = functions_of(process(histogram(durations, function="m.f", total=0.2), *points))

    assert (40, pytest.approx(0.2), pytest.approx(0.2)) == (row.calls, row.total, row.self_time)


def test_functions_are_sorted_by_self_time():
    found = process(
        histogram([1.0], function="m.outer"),
        histogram([0.9], function="m.inner"),
        *paths("self_time", outer=0.1, outer_inner=0.9),
    )

    assert [row.function for row in functions_of(found)] == ["m.inner", "m.outer"]


def test_calls_that_add_up_to_more_than_their_caller_are_marked_parallel():
    """C10: a coroutine that gathers ten children of 0.1 s takes 0.1 s."""
    found = process(
        histogram([0.1] * 10, function="m.child"),
        histogram([0.1], function="m.main"),
        *paths("time", main=0.1, main_child=1.0),
        *paths("self_time", main=0.0, main_child=1.0),
    )

    assert {row.function: row.parallel for row in functions_of(found)} == {"m.child": True, "m.main": False}
    assert [hot.path for hot in hot_paths(found)] == [("main", "child"), ("main",)]
    assert [hot.parallel for hot in hot_paths(found)] == [True, False]


def test_hot_paths_carry_calls_and_total():
    points = [*paths("self_time", a_b=0.3), *paths("time", a_b=0.5, a=1.0), *paths("calls", a_b=7)]

    (hot,) = hot_paths(process(*points))

    assert (hot.path, hot.self_time, hot.total, hot.calls) == (("a", "b"), 0.3, 0.5, 7)


@pytest.mark.parametrize("value", [math.nan, math.inf, None])
def test_numbers_that_are_none_are_left_out(value):
    point = histogram([0.1], function="m.f")
    point.sum = point.min = point.max = value
    found = process(point, number_point("otel_perf.profile.self_time", value, path="f", function="m.f"))

    assert hot_paths(found) == []
    assert [row.total for row in functions_of(found)] == [0.0]


# --- cost -----------------------------------------------------------------------------------------------------


def test_cost_comes_from_the_metrics_else_from_the_root():
    root = {"otel_perf.self.init_time": 0.004, "otel_perf.self.cpu_time": 0.1, "otel_perf.self.memory": True}

    cost = cost_of(process(number_point("otel_perf.self.cpu_time", 0.2), root=root))

    assert (cost.init, cost.cpu) == (0.004, 0.2)
    assert cost.memory is None
    assert cost.dropped is None
