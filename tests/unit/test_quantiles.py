"""The one formula of a percentile: what a budget is judged by is what the report says of the same histogram."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from otel_perf.analysis.functions import histogram_percentile
from otel_perf.metrics.quantiles import quantile
from otel_perf.monitor import _quantile
from otel_perf.recorder import BUCKETS, FOREVER, LOWEST, bucket_of

DURATIONS = st.lists(st.floats(1e-7, 1e3), min_size=1, max_size=50)


def counted(durations: list[float]) -> tuple[list[int], float, float]:
    """Return what a timer of *durations* keeps of them: counts by bucket, the shortest, the longest."""
    counts = [0] * BUCKETS
    for one in durations:
        counts[bucket_of(one)] += 1
    return counts, min(durations), max(durations)


def point_of(counts: list[int], shortest: float, longest: float) -> Any:
    """Return them as the point that is written of them."""
    return SimpleNamespace(
        min=shortest, max=longest, zero_count=counts[0], offset=LOWEST + 1, buckets=counts[1:], scale=0
    )


@example([770.0, 695.1875], 1.0)
@given(DURATIONS, st.sampled_from([0.5, 0.9, 0.95, 0.99, 1.0]))
def test_budget_and_report_say_the_same_number_and_no_more_than_the_longest_call(durations, q):
    found = counted(durations)

    judged = _quantile(q, *found)

    assert histogram_percentile(point_of(*found), q) == judged
    assert min(durations) <= judged <= max(durations)


def test_six_calls_of_400_ms_are_not_slower_than_450_ms():
    assert 0.4 <= _quantile(0.95, *counted([0.4001, 0.4002, 0.4001, 0.4, 0.4002, 0.4001])) <= 0.4002


def test_without_a_call_there_is_no_percentile():
    assert _quantile(0.95, [0] * BUCKETS, FOREVER, 0.0) is None


@pytest.mark.parametrize(("q", "expected"), [(0.5, 2.0), (1.0, 4.0), (0.25, 2.0**0.5)])
def test_inside_a_bucket_values_are_spread_evenly_on_a_logarithmic_scale(q, expected):
    """Two in (1, 2], two in (2, 4], nothing known of the extremes: Prometheus says the same."""
    assert expected == pytest.approx(quantile(q, 0, 0, [2, 2], 0.0, None))
