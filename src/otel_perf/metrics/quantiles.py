"""The percentile of a histogram with exponential buckets: one formula for budgets, reports and the page.

Imports nothing: the worker judges budgets with it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

SMALLEST, LARGEST = -1022.0, 1023.0  # powers of two that a float can hold


def bucket_bound(scale: int, index: int) -> float:
    """Return the lower bound of bucket *index*, within what a float can hold.

    Source: OpenTelemetry metrics data model, exponential histogram.
    """
    return float(2.0 ** min(max(index * 2.0**-scale, SMALLEST), LARGEST))


def quantile(
    q: float, zeros: int, offset: int, counts: Sequence[int], low: float, high: float | None, scale: int = 0
) -> float | None:
    """Return the *q*-quantile of what a histogram counted, None if it is empty.

    Inside a bucket the values are taken to be spread evenly on a logarithmic scale, as Prometheus does, but between the
    smallest and the largest that were recorded; so a single call, or many of the same duration, give that duration.

    Args:
        q: 0.0 (smallest) to 1.0 (largest).
        zeros: how many are below all buckets.
        offset: index of the first bucket.
        counts: of each bucket from there on.
        low: the smallest value, 0 if that is not known.
        high: the largest, None if that is not known.
        scale: a bucket's bounds are a factor 2 ** 2 ** -scale apart.

    Source: Prometheus, histogram_quantile() of native histograms.
    """
    rank = q * (zeros + sum(counts))
    seen = zeros
    if seen and rank <= seen:
        return low
    for index, count in enumerate(counts, offset):
        if not count or seen + count < rank:
            seen += count
            continue
        lower, upper = max(bucket_bound(scale, index), low), bucket_bound(scale, index + 1)
        if high is not None:
            lower, upper = min(lower, high), min(upper, high)
        if upper <= lower or lower <= 0.0:
            return upper
        return min(float(lower * (upper / lower) ** ((rank - seen) / count)), upper)  # rounding may pass it
    return None
