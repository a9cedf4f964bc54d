"""Objects of OTLP/JSON's MetricsData → encoded metrics, which the official exporters send as they send encoded spans.

The SDK's points have no place for "no recorded value", nor for a histogram's zero threshold; and to make its objects
and have them encoded costs twice as much. What is encoded is what is in the object.

Reading order: PointEncoder.records(), then request(). The numbers of the fields are those of
opentelemetry/proto/metrics/v1; for tags see wire.py.
"""

from __future__ import annotations

from struct import Struct, pack

from otel_perf.export.decode import exemplars_of
from otel_perf.export.json_values import (
    INT32,
    INT64,
    UINT32,
    UINT64,
    Skipped,
    double,
    integer,
    json_number,
    json_object,
    json_objects,
)
from otel_perf.export.varint import varint

from .wire import Encoder, field, pair_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from otel_perf.export.decode import Exemplar

    Raw = dict[str, Any]
    Metric = tuple[bytes, bytes, bytes, bytes]  # its resource, scope and description; what its points have in common
    EncodedPoints = tuple[Metric, list[bytes]]

CHUNK = 500  # points of a metric that stay together
_times = Struct("<BQBQ").pack
_int = Struct("<Bq").pack
_float = Struct("<Bd").pack
_fixed = Struct("<BQ").pack


class PointEncoder(Encoder):
    """Turns objects of MetricsData into encoded points."""

    def __init__(self, skipped: Skipped) -> None:
        super().__init__(skipped)
        self.signal = "metrics"

    def records(self, data: Raw) -> Iterator[EncodedPoints]:
        """Yield the points of one object, some of one metric at a time."""
        for group in json_objects(data, "resourceMetrics", self.skipped):
            resource = self._resource_of(group)
            for scoped in json_objects(group, "scopeMetrics", self.skipped):
                scope = self._scope_of(scoped)
                for metric in json_objects(scoped, "metrics", self.skipped):
                    yield from self._metric(metric, resource, scope)

    def _metric(self, metric: Raw, resource: bytes, scope: bytes) -> Iterator[EncodedPoints]:
        head = self._text(metric, "name", b"\x0a") + self._text(metric, "description", b"\x12")
        head += self._text(metric, "unit", b"\x1a")
        for kind, (tag, make) in _KINDS.items():
            if kind not in metric:
                continue
            body = json_object(metric, kind, self.skipped)
            common = tag
            temporality = json_number(body, "aggregationTemporality", UINT32, self.skipped)
            if temporality and kind != "gauge":
                common += b"\x10" + varint(temporality)
            if kind == "sum" and body.get("isMonotonic") is True:
                common += b"\x18\x01"
            found = []
            for raw in json_objects(body, "dataPoints", self.skipped):
                try:
                    found.append(field(b"\x0a", make(self, raw)))
                except NoNumberError:
                    self.skipped.record(f"{kind} point without valid numbers")
            for first in range(0, len(found), CHUNK):
                yield (resource, scope, head, common), found[first : first + CHUNK]

    def number(self, raw: Raw) -> bytes:
        """Return a NumberDataPoint."""
        parts = [self._when(raw)]
        if "asInt" in raw:
            parts.append(_int(0x31, valid(integer(raw["asInt"], INT64))))
        elif "asDouble" in raw:
            parts.append(_float(0x21, valid(double(raw["asDouble"]))))
        elif not raw.get("flags"):
            raise NoNumberError
        parts.append(self._attributes(raw.get("attributes"), b"\x3a"))
        return self._end(parts, raw, b"\x40", b"\x2a")

    def histogram(self, raw: Raw) -> bytes:
        """Return a HistogramDataPoint."""
        counts, edges = numbers(raw, "bucketCounts", UINT64), raw.get("explicitBounds", [])
        bounds = [valid(double(edge)) for edge in valid(edges if isinstance(edges, list) else None)]
        parts = [self._when(raw), statistics(raw, b"\x59", b"\x61"), self._attributes(raw.get("attributes"), b"\x4a")]
        if counts:
            parts.append(field(b"\x32", pack(f"<{len(counts)}Q", *counts)))
        if bounds:
            parts.append(field(b"\x3a", pack(f"<{len(bounds)}d", *bounds)))
        return self._end(parts, raw, b"\x50", b"\x42")

    def exponential(self, raw: Raw) -> bytes:
        """Return an ExponentialHistogramDataPoint."""
        parts = [self._attributes(raw.get("attributes"), b"\x0a"), self._when(raw), statistics(raw, b"\x61", b"\x69")]
        scale = valid(integer(raw.get("scale", 0), (-20, 20)))
        if scale:
            parts.append(b"\x30" + varint(zigzag(scale)))
        parts.append(_fixed(0x39, valid(integer(raw.get("zeroCount", 0), UINT64))))
        for side, tag in (("positive", b"\x42"), ("negative", b"\x4a")):
            if side in raw:
                parts.append(field(tag, buckets(raw[side])))
        if "zeroThreshold" in raw:
            parts.append(_float(0x71, valid(double(raw["zeroThreshold"]))))
        return self._end(parts, raw, b"\x50", b"\x5a")

    def _when(self, raw: Raw) -> bytes:
        start = json_number(raw, "startTimeUnixNano", UINT64, self.skipped)
        time = json_number(raw, "timeUnixNano", UINT64, self.skipped)
        return _times(0x11, start, 0x19, time) if start else _fixed(0x19, time)

    def _end(self, parts: list[bytes], raw: Raw, flags: bytes, exemplars: bytes) -> bytes:
        parts.append(self._count(raw, "flags", flags))
        if "exemplars" in raw:
            parts += (field(exemplars, exemplar(one)) for one in exemplars_of(raw, self.skipped))
        return b"".join(parts)


class NoNumberError(ValueError):
    """A point has something else where a number should be."""


_KINDS: dict[str, tuple[bytes, Any]] = {
    "gauge": (b"\x2a", PointEncoder.number),
    "sum": (b"\x3a", PointEncoder.number),
    "histogram": (b"\x4a", PointEncoder.histogram),
    "exponentialHistogram": (b"\x52", PointEncoder.exponential),
}


def valid(value: Any) -> Any:
    """Return *value*.

    Raises: NoNumberError: it is None.
    """
    if value is None:
        raise NoNumberError
    return value


def numbers(raw: Raw, key: str, bounds: tuple[int, int]) -> list[int]:
    """Return a list of integers.

    Raises: NoNumberError: it is none.
    """
    found = raw.get(key, [])
    return [valid(integer(value, bounds)) for value in valid(found if isinstance(found, list) else None)]


def statistics(raw: Raw, smallest: bytes, largest: bytes) -> bytes:
    """Return what both kinds of histogram have: count and sum, and the smallest and largest value with their tags.

    Raises: NoNumberError: one of them is no number.
    """
    parts = [_fixed(0x21, valid(integer(raw.get("count", 0), UINT64)))]
    for key, tag in (("sum", b"\x29"), ("min", smallest), ("max", largest)):
        if key in raw:
            parts.append(_float(tag[0], valid(double(raw[key]))))
    return b"".join(parts)


def buckets(raw: Any) -> bytes:
    """Return the Buckets of an exponential histogram.

    Raises: NoNumberError: they are none.
    """
    if not isinstance(raw, dict):
        raise NoNumberError
    offset = valid(integer(raw.get("offset", 0), INT32))
    counts = b"".join([varint(count) for count in numbers(raw, "bucketCounts", UINT64)])
    return (b"\x08" + varint(zigzag(offset)) if offset else b"") + (field(b"\x12", counts) if counts else b"")


def exemplar(found: Exemplar) -> bytes:
    """Return an Exemplar."""
    content = _fixed(0x11, found.time)
    content += b"".join([b"\x3a" + pair_of(key, value) for key, value in found.attributes.items()])
    content += _int(0x31, found.value) if type(found.value) is int else _float(0x19, found.value)
    if found.trace_id:
        content += field(b"\x22", bytes.fromhex(found.span_id)) + field(b"\x2a", bytes.fromhex(found.trace_id))
    return content


def zigzag(number: int) -> int:
    """Return a signed number as protobuf's sint32 has it."""
    return number << 1 if number >= 0 else (-number << 1) - 1


def request(found: Iterable[EncodedPoints]) -> bytes:
    """Return an encoded ExportMetricsServiceRequest: a metric's points together, however many lines they came from."""
    tree: dict[bytes, dict[bytes, dict[tuple[bytes, bytes], list[bytes]]]] = {}
    for (resource, scope, head, common), points in found:
        tree.setdefault(resource, {}).setdefault(scope, {}).setdefault((head, common), []).extend(points)
    return b"".join(
        field(
            b"\x0a", resource + b"".join(field(b"\x12", scope + _metrics(metrics)) for scope, metrics in scopes.items())
        )
        for resource, scopes in tree.items()
    )


def _metrics(metrics: dict[tuple[bytes, bytes], list[bytes]]) -> bytes:
    return b"".join(
        field(b"\x12", head + field(common[:1], b"".join(points) + common[1:]))
        for (head, common), points in metrics.items()
    )
