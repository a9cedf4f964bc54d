"""A run folder's OTLP/JSON lines → spans, metric points and log records, whatever state the files are in.

A file may be torn at its end (killed), in its middle (disk full), or written by somebody else. What cannot be
read is skipped and counted by reason; all around it is kept. Nothing here raises for what a file contains.

Reading order: Span, Point, Log, read_points(); spans_of(), points_of(), logs_of(). Of metrics, gauges, sums and
histograms are read, buckets of exponential ones only.
"""

from __future__ import annotations

from .json_values import (
    INT32,
    INT64,
    UINT32,
    UINT64,
    Skipped,
    any_value,
    attributes,
    double,
    hex_id,
    integer,
    json_number,
    json_object,
    json_objects,
    json_text,
)  # fmt: skip
from .parts import open_at

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any, BinaryIO

    Attributes = dict[str, Any]

MAX_LINE = 64 * 2**20  # bytes; a longer line is not loaded
CHUNK = 2**20
STARTS = (b'{"resourceSpans"', b'{"resourceMetrics"', b'{"resourceLogs"')


class Scope:
    """Name and version of what recorded a span: ``otel_perf``, or an instrumentation of somebody else."""

    __slots__ = ("name", "version")

    def __init__(self, name: str, version: str) -> None:
        self.name = name
        self.version = version

    def __repr__(self) -> str:
        return f"Scope({self.name!r}, {self.version!r})"


class Event:
    """Something that happened at one moment inside a span."""

    __slots__ = ("attributes", "name", "time")

    def __init__(self, name: str, time: int, attributes: Attributes) -> None:
        self.name = name
        self.time = time
        self.attributes = attributes


class Link:
    """A reference to a span of this or another trace."""

    __slots__ = ("attributes", "span_id", "trace_id")

    def __init__(self, trace_id: str, span_id: str, attributes: Attributes) -> None:
        self.trace_id = trace_id
        self.span_id = span_id
        self.attributes = attributes


class Span:
    """One finished span.

    Attributes:
        trace_id: 32 lower case hex digits; span_id and parent_id 16, parent_id empty for a root.
        start: nanoseconds since 1970, as is end; never after it.
        kind: OTLP's SpanKind, 1 is internal.
        flags: W3C trace flags, 0x100 "is it known whether the parent is remote", 0x200 "it is".
        status_code: 0 unset, 1 ok, 2 error.
        resource: attributes, one dict for all spans of a group.
    """

    __slots__ = (
        "attributes", "end", "events", "flags", "kind", "links", "name", "parent_id", "resource", "scope",
        "span_id", "start", "status_code", "status_message", "trace_id",
    )  # fmt: skip

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    start: int
    end: int
    kind: int
    flags: int
    attributes: Attributes
    events: list[Event]
    links: list[Link]
    status_code: int
    status_message: str
    resource: Attributes
    scope: Scope

    def __repr__(self) -> str:
        return f"Span({self.name!r}, {self.span_id}, {(self.end - self.start) / 1e9:.6f} s)"


class Exemplar:
    """One measurement of those that a point counts.

    Attributes:
        time: nanoseconds since 1970.
        trace_id: of the span that it was made in, and
        span_id: too; both are empty where there was none.
        attributes: of the measurement, that the point has not.
    """

    __slots__ = ("attributes", "span_id", "time", "trace_id", "value")

    def __init__(self, value: float | int, time: int, trace_id: str, span_id: str, attributes: Attributes) -> None:
        self.value = value
        self.time = time
        self.trace_id = trace_id
        self.span_id = span_id
        self.attributes = attributes

    def __repr__(self) -> str:
        return f"Exemplar({self.value!r}, {self.trace_id})"


class Point:
    """One data point of a gauge, a sum or a histogram.

    Attributes:
        metric: the instrument's name.
        type: ``gauge``, ``sum``, ``exponentialHistogram``, or ``histogram``, whose buckets are not read.
        value: of a gauge or sum; None where the point says that there is no value.
        count: of a histogram, as are sum, min, max (None where absent), scale, zero_count, offset and
            buckets. Bucket *i* has values above ``base ** (offset + i)`` up to ``base ** (offset + i + 1)``;
            base is ``2 ** 2 ** -scale``.
        temporality: 1 delta, 2 cumulative, 0 for a gauge.
        exemplars: none of most points.
    """

    __slots__ = (
        "attributes", "buckets", "count", "exemplars", "max", "metric", "min", "monotonic", "offset", "resource",
        "scale", "scope", "start", "sum", "temporality", "time", "type", "unit", "value", "zero_count",
    )  # fmt: skip

    metric: str
    type: str
    unit: str
    temporality: int
    monotonic: bool
    attributes: Attributes
    resource: Attributes
    scope: Scope
    start: int
    time: int

    def __init__(self) -> None:
        self.value: float | int | None = None
        self.count = 0
        self.sum: float | None = None
        self.min: float | None = None
        self.max: float | None = None
        self.scale = 0
        self.zero_count = 0
        self.offset = 0
        self.buckets: list[int] = []
        self.exemplars: Sequence[Exemplar] = ()

    def __repr__(self) -> str:
        return f"Point({self.metric!r}, {self.attributes!r}, {self.count if self.value is None else self.value})"


class Log:
    """One log record; ours are events, which have a name.

    Attributes:
        event: the event's name: OTLP's field, else the attribute ``event.name``; empty of a plain log line.
        time: nanoseconds since 1970.
        severity: OTLP's SeverityNumber: 9 is INFO, 13 WARN, 17 ERROR.
        body: what it says, as a string or any other value; None where there is none.
        trace_id: of the span it belongs to, and
        span_id: too; empty where there is none.
    """

    __slots__ = ("attributes", "body", "event", "resource", "scope", "severity", "span_id", "time", "trace_id")

    event: str
    time: int
    severity: int
    attributes: Attributes
    body: Any
    trace_id: str
    span_id: str
    resource: Attributes
    scope: Scope

    def __repr__(self) -> str:
        return f"Log({self.event!r}, {self.attributes!r})"


# --- files -------------------------------------------------------------------------------------------------


def read_points(path: str, skipped: Skipped) -> Iterator[Point]:
    """Yield the points of a ``metrics.jsonl``, oldest first; none where there is no such file.

    Args:
        path: the file.
        skipped: counts what could not be read.

    Raises: OSError: the file is there and cannot be read.
    """
    for data in read_lines(path, skipped):
        yield from points_of(data, skipped)


def read_lines(path: str, skipped: Skipped) -> Iterator[dict[str, Any]]:
    """Yield the JSON object of each line of the file *path*, all its parts, one line in memory at a time."""
    at, more = 0, True
    while more and (opened := open_at(path, at)) is not None:
        file, at, more = opened  # of the last part, what was written while it was read is read too
        with file:
            while line := file.readline(MAX_LINE + 1):
                at += len(line)
                more = True
                if len(line) > MAX_LINE and not line.endswith(b"\n"):
                    at += _pass_over(file)
                    skipped.line("longer than 64 MB")
                elif not line.isspace():
                    data = parse_line(line, skipped)
                    if data is not None:
                        yield data


def _pass_over(file: BinaryIO) -> int:
    """Read on to the end of a line that is too long to keep; return how many bytes that was."""
    length = 0
    while part := file.readline(CHUNK):
        length += len(part)
        if part.endswith(b"\n"):
            break
    return length


def parse_line(line: bytes, skipped: Skipped) -> dict[str, Any] | None:
    """Return the JSON object of *line*, or None.

    A write that the disk had no room for leaves half a line, and the next whole one follows on the same line:
    that one is saved.
    """
    data = _json_of(line)
    if data is None:
        skipped.line("not JSON" if line.endswith(b"\n") else "torn at the end")
        second = max(line.rfind(start, 1) for start in STARTS)
        data = _json_of(line[second:]) if second > 0 else None
        return data if isinstance(data, dict) else None
    if not isinstance(data, dict):
        skipped.line("no OTLP")
        return None
    return data


def _json_of(line: bytes) -> object:
    from json import loads

    try:
        # decoded here: loads() would take a line that begins with zeros for UTF-16 or UTF-32
        data = loads(line.decode())
        return _without_surrogates(data) if b"\\ud" in line or b"\\uD" in line else data
    except (ValueError, RecursionError):
        return None


def _without_surrogates(data: object) -> object:
    """Return *data* with U+FFFD for each half of a character, which JSON can write and no protocol or database can."""
    from json import dumps, loads

    text = dumps(data, ensure_ascii=False)
    return loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


def _items(
    data: dict[str, Any], keys: tuple[str, str, str], signal: str, skipped: Skipped
) -> Iterator[tuple[Attributes, Scope, dict[str, Any]]]:
    """Yield what one OTLP object holds, each with its resource and its scope; *keys* name the three levels."""
    groups, scopes, items = keys
    if groups not in data and data:
        skipped.line(f"no OTLP {signal}")
    for group in json_objects(data, groups, skipped):
        resource = _resource(group, skipped)
        for scoped in json_objects(group, scopes, skipped):
            scope = _scope(scoped, skipped)
            for item in json_objects(scoped, items, skipped):
                yield resource, scope, item


# --- traces ------------------------------------------------------------------------------------------------


def spans_of(data: dict[str, Any], skipped: Skipped) -> Iterator[Span]:
    """Yield the spans of one TracesData object."""
    for resource, scope, raw in _items(data, ("resourceSpans", "scopeSpans", "spans"), "traces", skipped):
        span = _span(raw, skipped)
        if span is not None:
            span.resource, span.scope = resource, scope
            yield span


def _span(raw: dict[str, Any], skipped: Skipped) -> Span | None:
    span = Span()
    get = raw.get
    span.trace_id, span.span_id = hex_id(get("traceId"), 32), hex_id(get("spanId"), 16)
    if not span.trace_id or not span.span_id:
        skipped.record("span without valid ids")
        return None
    parent = get("parentSpanId")
    span.parent_id = hex_id(parent, 16)
    if parent and not span.parent_id and parent != "0" * 16:
        skipped.value("parent id")
    start, end = integer(get("startTimeUnixNano"), UINT64), integer(get("endTimeUnixNano"), UINT64)
    if start is None or end is None:
        skipped.record("span without valid times")
        return None
    if end < start:
        skipped.value("span that ends before it starts")
    span.start, span.end = start, max(start, end)
    span.name = json_text(raw, "name", skipped)
    span.kind = json_number(raw, "kind", UINT32, skipped)
    span.flags = json_number(raw, "flags", UINT32, skipped)
    span.attributes = attributes(get("attributes"), skipped)
    span.events = [_event(event, skipped) for event in json_objects(raw, "events", skipped)] if "events" in raw else []
    span.links = list(_links(raw, skipped)) if "links" in raw else []
    span.status_code, span.status_message = 0, ""
    if "status" in raw:
        status = json_object(raw, "status", skipped)
        span.status_code = json_number(status, "code", UINT32, skipped)
        span.status_message = json_text(status, "message", skipped)
    return span


def _event(raw: dict[str, Any], skipped: Skipped) -> Event:
    time = json_number(raw, "timeUnixNano", UINT64, skipped)
    return Event(json_text(raw, "name", skipped), time, attributes(raw.get("attributes"), skipped))


def _links(raw: dict[str, Any], skipped: Skipped) -> Iterator[Link]:
    for link in json_objects(raw, "links", skipped):
        trace_id, span_id = hex_id(link.get("traceId"), 32), hex_id(link.get("spanId"), 16)
        if trace_id and span_id:
            yield Link(trace_id, span_id, attributes(link.get("attributes"), skipped))
        else:
            skipped.value("link without valid ids")


# --- metrics -----------------------------------------------------------------------------------------------


def points_of(data: dict[str, Any], skipped: Skipped) -> Iterator[Point]:
    """Yield the points of one MetricsData object."""
    for resource, scope, metric in _items(data, ("resourceMetrics", "scopeMetrics", "metrics"), "metrics", skipped):
        for point in _points(metric, skipped):
            point.resource, point.scope = resource, scope
            yield point


def _points(metric: dict[str, Any], skipped: Skipped) -> Iterator[Point]:
    name, unit = json_text(metric, "name", skipped), json_text(metric, "unit", skipped)
    for kind in ("gauge", "sum", "exponentialHistogram", "histogram"):
        if kind not in metric:
            continue
        body = json_object(metric, kind, skipped)
        temporality = json_number(body, "aggregationTemporality", UINT32, skipped)
        for raw in json_objects(body, "dataPoints", skipped):
            point = Point()
            point.metric, point.unit, point.type = name, unit, kind
            point.temporality, point.monotonic = temporality, body.get("isMonotonic") is True
            point.start = json_number(raw, "startTimeUnixNano", UINT64, skipped)
            point.time = json_number(raw, "timeUnixNano", UINT64, skipped)
            point.attributes = attributes(raw.get("attributes"), skipped)
            if "exemplars" in raw:
                point.exemplars = list(exemplars_of(raw, skipped))
            whole = _fill_value(point, raw) if kind in ("gauge", "sum") else _fill_histogram(point, raw)
            if whole:
                yield point
            else:
                skipped.record(f"{kind} point without valid numbers")


def exemplars_of(raw: dict[str, Any], skipped: Skipped) -> Iterator[Exemplar]:
    """Yield the exemplars of one data point."""
    for one in json_objects(raw, "exemplars", skipped):
        value = integer(one["asInt"], INT64) if "asInt" in one else double(one.get("asDouble"))
        if value is None:
            skipped.value("exemplar without a valid number")
            continue
        trace_id, span_id = hex_id(one.get("traceId"), 32), hex_id(one.get("spanId"), 16)
        if not trace_id or not span_id:
            trace_id = span_id = ""
        time = json_number(one, "timeUnixNano", UINT64, skipped)
        yield Exemplar(value, time, trace_id, span_id, attributes(one.get("filteredAttributes"), skipped))


def _fill_value(point: Point, raw: dict[str, Any]) -> bool:
    if "asInt" in raw:
        point.value = integer(raw["asInt"], INT64)
    elif "asDouble" in raw:
        point.value = double(raw["asDouble"])
    else:
        return True  # as a point with the flag "no recorded value"
    return point.value is not None


def _fill_histogram(point: Point, raw: dict[str, Any]) -> bool:
    """Set the numbers of *point*; say whether all that there are were valid."""
    positive = raw.get("positive", {})
    if not isinstance(positive, dict):
        return False
    counts = positive.get("bucketCounts", [])
    if not isinstance(counts, list):
        return False
    count, zero = integer(raw.get("count", 0), UINT64), integer(raw.get("zeroCount", 0), UINT64)
    scale, offset = integer(raw.get("scale", 0), (-20, 20)), integer(positive.get("offset", 0), INT32)
    buckets = [integer(number, UINT64) for number in counts]
    extremes = [double(raw[key]) if key in raw else None for key in ("sum", "min", "max")]
    if count is None or zero is None or scale is None or offset is None or None in buckets:
        return False
    point.count, point.zero_count, point.scale, point.offset = count, zero, scale, offset
    point.buckets = [number for number in buckets if number is not None]
    point.sum, point.min, point.max = extremes
    return True


# --- logs --------------------------------------------------------------------------------------------------


def logs_of(data: dict[str, Any], skipped: Skipped) -> Iterator[Log]:
    """Yield the records of one LogsData object."""
    for resource, scope, raw in _items(data, ("resourceLogs", "scopeLogs", "logRecords"), "logs", skipped):
        log = Log()
        log.resource, log.scope = resource, scope
        log.time = json_number(raw, "timeUnixNano", UINT64, skipped)
        log.severity = json_number(raw, "severityNumber", UINT32, skipped)
        log.attributes = attributes(raw.get("attributes"), skipped)
        log.body = any_value(raw.get("body"), skipped)
        log.trace_id, log.span_id = hex_id(raw.get("traceId"), 32), hex_id(raw.get("spanId"), 16)
        named = log.attributes.get("event.name")
        log.event = json_text(raw, "eventName", skipped) or (named if isinstance(named, str) else "")
        yield log


def _resource(group: dict[str, Any], skipped: Skipped) -> Attributes:
    return attributes(json_object(group, "resource", skipped).get("attributes"), skipped)


def _scope(scoped: dict[str, Any], skipped: Skipped) -> Scope:
    raw = json_object(scoped, "scope", skipped)
    return Scope(json_text(raw, "name", skipped), json_text(raw, "version", skipped))
