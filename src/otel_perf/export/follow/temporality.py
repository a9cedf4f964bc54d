"""Cumulative points → deltas, as the receiver prefers: what came since the point that was sent before.

Imports only: json_values. Works on the objects of OTLP/JSON, in place, so that every form in which they are sent has
the same. UpDown sums and gauges stay as they are, and so does an exemplar: it is in one point only.

Source: OpenTelemetry specification, OTLP metrics exporter, "Temporality preference"; metrics data model, "Exponential
Histogram".
"""

from __future__ import annotations

from otel_perf.export.json_values import INT32, INT64, UINT64, double, integer

from .selection import is_sampled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Hashable
    from typing import Any

    Point = dict[str, Any]
    Buckets = tuple[int, list[int]]  # offset, counts

DELTA, CUMULATIVE = 1, 2
KINDS = ("sum", "histogram", "exponentialHistogram")
NO_VALUE = 1  # flag of a point


class Deltas:
    """The last points of all series that are sent as deltas."""

    def __init__(self, preference: str) -> None:
        """Begin; *preference* is one of endpoint.TEMPORALITIES."""
        self.preference = preference
        self._before: dict[Hashable, tuple[Any, Any]] = {}  # time and numbers of the last point

    def wants(self, name: str, kind: str, body: dict[str, Any]) -> bool:
        """Say whether a metric is sent as deltas."""
        if self.preference == "cumulative" or kind not in KINDS or body.get("aggregationTemporality") != CUMULATIVE:
            return False
        if kind == "sum" and body.get("isMonotonic") is not True:
            return False
        return self.preference == "delta" or not is_sampled(name)

    def step(self, key: Hashable, kind: str, point: Point) -> bool:
        """Turn *point* into what came since the one before; say whether there is something to send.

        Args:
            key: of its series.
            kind: one of KINDS.
            point: changed in place; what has no valid numbers stays, for whoever encodes it to count.
        """
        if point.get("flags") == NO_VALUE:  # a delta that is absent says that nothing came
            return False
        numbers = _NUMBERS[kind](point)
        if numbers is None:
            return True
        before = self._before.get(key)
        more = _SUBTRACT[kind](numbers, before[1]) if before is not None else None
        time = point.get("timeUnixNano", "0")
        if before is not None and more is not None:  # else it is the first one, or the counter began anew
            point["startTimeUnixNano"] = before[0]
        if not _WRITE[kind](point, numbers if more is None else more) and not point.get("exemplars"):
            return False
        self._before[key] = time, numbers
        return True


# --- sums ------------------------------------------------------------------------------------------------------------


def _number(point: Point) -> int | float | None:
    return integer(point["asInt"], INT64) if "asInt" in point else double(point.get("asDouble"))


def _less(now: int | float, before: int | float) -> int | float | None:
    return now - before if now >= before else None


def _write_number(point: Point, more: int | float) -> bool:
    if "asInt" in point:
        point["asInt"] = str(more)
    else:
        point["asDouble"] = json_double(more)
    return bool(more)


def json_double(number: float) -> float | str:
    """Return a float as OTLP/JSON has it: a string where it is not finite."""
    if number - number == 0.0:
        return number
    if number != number:
        return "NaN"
    return "Infinity" if number > 0 else "-Infinity"


# --- histograms ------------------------------------------------------------------------------------------------------


def _statistics(point: Point) -> tuple[int, float | None] | None:
    count = integer(point.get("count", 0), UINT64)
    total = double(point["sum"]) if "sum" in point else None
    return None if count is None or ("sum" in point and total is None) else (count, total)


def _counts(values: object) -> list[int] | None:
    numbers = [integer(value, UINT64) for value in values] if isinstance(values, list) else [None]
    return None if None in numbers else numbers  # type: ignore[return-value]


def _write_statistics(point: Point, count: int, total: float | None) -> None:
    point["count"] = str(count)
    if total is not None:
        point["sum"] = json_double(total)
    point.pop("min", None)  # of the whole time, not of this part
    point.pop("max", None)


def _explicit(point: Point) -> Any:
    statistics, counts = _statistics(point), _counts(point.get("bucketCounts", []))
    return None if statistics is None or counts is None else (*statistics, point.get("explicitBounds"), counts)


def _explicit_less(now: Any, before: Any) -> Any:
    count, total, bounds, counts = now
    old_count, old_total, old_bounds, old_counts = before
    more = [new - old for new, old in zip(counts, old_counts, strict=False)]
    if bounds != old_bounds or len(counts) != len(old_counts) or count < old_count or min(more, default=0) < 0:
        return None
    return count - old_count, None if total is None else total - (old_total or 0.0), bounds, more


def _write_explicit(point: Point, more: Any) -> bool:
    _write_statistics(point, *more[:2])
    if more[3]:
        point["bucketCounts"] = [str(count) for count in more[3]]
    return bool(more[0])


def _side(point: Point, side: str) -> Buckets | None:
    found = point.get(side, {})
    if not isinstance(found, dict):
        return None
    offset, counts = integer(found.get("offset", 0), INT32), _counts(found.get("bucketCounts", []))
    return None if offset is None or counts is None else (offset, counts)


def _exponential(point: Point) -> Any:
    statistics, positive, negative = _statistics(point), _side(point, "positive"), _side(point, "negative")
    scale, zeros = integer(point.get("scale", 0), (-20, 20)), integer(point.get("zeroCount", 0), UINT64)
    if statistics is None or positive is None or negative is None or scale is None or zeros is None:
        return None
    return (*statistics, scale, zeros, positive, negative)


def _exponential_less(now: Any, before: Any) -> Any:
    count, total, scale, zeros, positive, negative = now
    old_count, old_total, old_scale, old_zeros, old_positive, old_negative = before
    shift = old_scale - scale  # a histogram that goes on only becomes coarser
    if shift < 0 or count < old_count or zeros < old_zeros:
        return None
    more = (_buckets_less(positive, old_positive, shift), _buckets_less(negative, old_negative, shift))
    if None in more:
        return None
    return count - old_count, None if total is None else total - (old_total or 0.0), scale, zeros - old_zeros, *more


def _buckets_less(now: Buckets, before: Buckets, shift: int) -> Buckets | None:
    """Return *now* without *before*, whose buckets are 2**shift times finer; None where a count would fall."""
    left = dict(enumerate(now[1], now[0]))
    for index, count in enumerate(before[1], before[0]):
        if count:
            at = index >> shift
            left[at] = left.get(at, 0) - count
    if min(left.values(), default=0) < 0:
        return None
    used = [index for index, count in left.items() if count]
    if not used:
        return 0, []
    return min(used), [left.get(index, 0) for index in range(min(used), max(used) + 1)]


def _write_exponential(point: Point, more: Any) -> bool:
    count, total, scale, zeros, positive, negative = more
    _write_statistics(point, count, total)
    point["scale"], point["zeroCount"] = scale, str(zeros)
    for side, (offset, counts) in (("positive", positive), ("negative", negative)):
        point.pop(side, None)
        if counts:
            point[side] = {"offset": offset, "bucketCounts": [str(number) for number in counts]}
    return bool(count)


_NUMBERS: dict[str, Any] = {"sum": _number, "histogram": _explicit, "exponentialHistogram": _exponential}
_SUBTRACT: dict[str, Any] = {"sum": _less, "histogram": _explicit_less, "exponentialHistogram": _exponential_less}
_WRITE: dict[str, Any] = {
    "sum": _write_number,
    "histogram": _write_explicit,
    "exponentialHistogram": _write_exponential,
}
