"""OTLP/JSON lines → what the official exporters take: ReadableSpan, MetricsData, ReadableLogRecord.

Loaded only by the thread that sends. What cannot be read is skipped and counted; nothing here raises for what a line
holds. Not carried over, because the exporters have no place for it: the sampled bit of a span's flags, a link's flags,
a histogram's zero threshold; before 1.28 nor have they for exemplars.

Reading order: Converter.line(), then a signal's function.
"""

from __future__ import annotations

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.metrics.export import Buckets as SdkBuckets
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags, TraceState
from opentelemetry.trace.status import Status, StatusCode

from otel_perf.export.decode import exemplars_of, parse_line
from otel_perf.export.json_values import (
    INT32,
    INT64,
    UINT32,
    UINT64,
    Skipped,
    attributes,
    double,
    hex_id,
    integer,
    json_number,
    json_object,
    json_objects,
    json_text,
)

from .pace import EVERY
from .starts import SELF_NS, SELF_TIME, nanoseconds, own_spans

try:
    from opentelemetry.sdk.metrics import Exemplar
except ImportError:  # before 1.28
    Exemplar = None  # type: ignore[assignment, misc]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from .starts import Plan

_KINDS = {1: SpanKind.INTERNAL, 2: SpanKind.SERVER, 3: SpanKind.CLIENT, 4: SpanKind.PRODUCER, 5: SpanKind.CONSUMER}
_STATUS = {0: Status(StatusCode.UNSET), 1: Status(StatusCode.OK)}
_TEMPORALITY = {1: AggregationTemporality.DELTA, 2: AggregationTemporality.CUMULATIVE}
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_PARENT_IS_REMOTE = 0x200
_NO_VALUE = 1  # flag of a point
_PLURAL = {"traces": "Spans", "metrics": "Metrics", "logs": "Logs"}


class PlainResource(Resource):
    """A resource as the line has it: nothing is merged, checked or hashed, which stock does for each span."""

    def __init__(self, found: dict[str, Any], schema_url: str) -> None:
        super().__init__({}, schema_url)
        self._found = found

    @property
    def attributes(self) -> Any:
        """The attributes."""
        return self._found

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)


class CutSpan(ReadableSpan):
    """A span that lost attributes, events or links to a limit, with their numbers."""

    cut: tuple[int, int, int] = (0, 0, 0)

    @property
    def dropped_attributes(self) -> int:
        """How many attributes were dropped."""
        return self.cut[0]

    @property
    def dropped_events(self) -> int:
        """How many events were dropped."""
        return self.cut[1]

    @property
    def dropped_links(self) -> int:
        """How many links were dropped."""
        return self.cut[2]


class MetricKey:
    """What makes points belong to one metric of a request."""

    __slots__ = ("kind", "resource", "scope", "words")

    def __init__(self, resource: Resource, scope: InstrumentationScope, kind: str, words: tuple[Any, ...]) -> None:
        self.resource = resource
        self.scope = scope
        self.kind = kind
        self.words = words  # name, description, unit, temporality, monotonic


class Converter:
    """Turns lines into records of the SDK; keeps the last resource and scope, since most lines have the same ones."""

    def __init__(self, signal: str, skipped: Skipped) -> None:
        self.signal = signal
        self.skipped = skipped
        self.plan: Plan | None = None  # while a start is sent
        self._resource: tuple[Any, Any] = (None, None)
        self._scope: tuple[Any, Any] = (None, None)

    def line(self, line: bytes, look: Callable[[], None]) -> list[Any]:
        """Return the records of one line; call *look* after every few."""
        found: list[Any] = []
        if self.signal == "traces":
            counted, self.skipped = self.skipped, Skipped()
            try:
                for resource, scoped, raw in own_spans(line.decode()):
                    span = raw if self.plan is None else self.plan.apply(raw)
                    if span is not None:
                        one = self._span(span, self._resource_of(resource), self._scope_of(scoped))
                        self._collect(found, one, look)
                _add(counted, self.skipped)
                return found
            except (ValueError, IndexError, TypeError, AttributeError, RecursionError):  # written by another program
                found.clear()
            finally:
                self.skipped = counted
        data = parse_line(line, self.skipped)
        for record in self.records(data) if data else ():
            self._collect(found, record, look)
        return found

    def _collect(self, found: list[Any], record: Any, look: Callable[[], None]) -> None:
        if record is not None:
            found.append(record)
            if not len(found) % EVERY:
                look()

    def records(self, data: dict[str, Any]) -> Iterator[Any]:
        """Yield spans, (MetricKey, point) or log records of one line's object."""
        plural = _PLURAL[self.signal]
        if f"resource{plural}" not in data and data:
            self.skipped.line(f"no OTLP {self.signal}")
        for group in json_objects(data, f"resource{plural}", self.skipped):
            resource = self._resource_of(group)
            for scoped in json_objects(group, f"scope{plural}", self.skipped):
                scope = self._scope_of(scoped)
                if self.signal == "traces":
                    yield from self._spans(scoped, resource, scope)
                elif self.signal == "metrics":
                    yield from self._points(scoped, resource, scope)
                else:
                    yield from self._logs(scoped, resource, scope)

    def _resource_of(self, group: dict[str, Any]) -> Resource:
        raw = (group.get("resource"), group.get("schemaUrl"))
        if self._resource[0] != raw:
            found = attributes(json_object(group, "resource", self.skipped).get("attributes"), self.skipped)
            self._resource = raw, PlainResource(found, json_text(group, "schemaUrl", self.skipped))
        return self._resource[1]  # type: ignore[no-any-return]

    def _scope_of(self, scoped: dict[str, Any]) -> InstrumentationScope:
        raw = (scoped.get("scope"), scoped.get("schemaUrl"))
        if self._scope[0] != raw:
            scope = json_object(scoped, "scope", self.skipped)
            name, version = json_text(scope, "name", self.skipped), json_text(scope, "version", self.skipped)
            found = attributes(scope.get("attributes"), self.skipped)
            url = json_text(scoped, "schemaUrl", self.skipped)
            self._scope = raw, InstrumentationScope(name, version, url, found or None)
        return self._scope[1]  # type: ignore[no-any-return]

    # --- spans -------------------------------------------------------------------------------------------------------

    def _spans(self, scoped: dict[str, Any], resource: Resource, scope: InstrumentationScope) -> Iterator[ReadableSpan]:
        for raw in json_objects(scoped, "spans", self.skipped):
            planned = raw if self.plan is None else self.plan.apply(raw)
            span = None if planned is None else self._span(planned, resource, scope)
            if span is not None:
                yield span

    def _span(self, raw: dict[str, Any], resource: Resource, scope: InstrumentationScope) -> ReadableSpan | None:
        get, skipped = raw.get, self.skipped
        trace, own, parent = get("traceId"), hex_id(get("spanId"), 16), hex_id(get("parentSpanId"), 16)
        if not hex_id(trace, 32) or not own:
            skipped.record("span without valid ids")
            return None
        start, end = integer(get("startTimeUnixNano"), UINT64), integer(get("endTimeUnixNano"), UINT64)
        if start is None or end is None:
            skipped.record("span without valid times")
            return None
        trace_id = int(trace, 16)  # type: ignore[arg-type]
        flags = get("flags", 0)
        remote = type(flags) is int and flags & _PARENT_IS_REMOTE != 0
        state = TraceState.from_header([json_text(raw, "traceState", skipped)]) if "traceState" in raw else None
        cut = "droppedAttributesCount" in raw or "droppedEventsCount" in raw or "droppedLinksCount" in raw
        span = (CutSpan if cut else ReadableSpan)(
            name=json_text(raw, "name", skipped),
            context=SpanContext(trace_id, int(own, 16), False, _SAMPLED, state),
            parent=SpanContext(trace_id, int(parent, 16), remote, _SAMPLED) if parent else None,
            resource=resource,
            attributes=self._attributes_of(get("attributes")),
            events=[self._event(event) for event in json_objects(raw, "events", skipped)] if "events" in raw else (),
            links=list(self._links(raw)) if "links" in raw else (),
            kind=_KINDS.get(json_number(raw, "kind", UINT32, skipped), SpanKind.INTERNAL),
            status=self._status(raw) if "status" in raw else _STATUS[0],
            start_time=start,
            end_time=end,
            instrumentation_scope=scope,
        )
        if isinstance(span, CutSpan):
            names = ("droppedAttributesCount", "droppedEventsCount", "droppedLinksCount")
            one, two, three = (json_number(raw, name, UINT32, skipped) for name in names)
            span.cut = one, two, three
        return span

    def _attributes_of(self, pairs: Any) -> dict[str, Any]:
        found = attributes(pairs, self.skipped)
        if SELF_TIME in found:
            found[SELF_NS] = nanoseconds(found[SELF_TIME])
        return found

    def _event(self, raw: dict[str, Any]) -> Event:
        time = json_number(raw, "timeUnixNano", UINT64, self.skipped)
        return Event(json_text(raw, "name", self.skipped), attributes(raw.get("attributes"), self.skipped), time)

    def _links(self, raw: dict[str, Any]) -> Iterator[Link]:
        for link in json_objects(raw, "links", self.skipped):
            trace_id, span_id = hex_id(link.get("traceId"), 32), hex_id(link.get("spanId"), 16)
            if trace_id and span_id:
                context = SpanContext(int(trace_id, 16), int(span_id, 16), False, _SAMPLED)
                yield Link(context, attributes(link.get("attributes"), self.skipped))
            else:
                self.skipped.value("link without valid ids")

    def _status(self, raw: dict[str, Any]) -> Status:
        status = json_object(raw, "status", self.skipped)
        code = json_number(status, "code", UINT32, self.skipped)
        if code != StatusCode.ERROR.value:
            return _STATUS.get(code, _STATUS[0])
        return Status(StatusCode.ERROR, json_text(status, "message", self.skipped) or None)

    # --- metrics -----------------------------------------------------------------------------------------------------

    def _points(
        self, scoped: dict[str, Any], resource: Resource, scope: InstrumentationScope
    ) -> Iterator[tuple[MetricKey, Any]]:
        for metric in json_objects(scoped, "metrics", self.skipped):
            for kind, make in _POINTS.items():
                if kind not in metric:
                    continue
                body = json_object(metric, kind, self.skipped)
                words = (
                    *(json_text(metric, key, self.skipped) for key in ("name", "description", "unit")),
                    json_number(body, "aggregationTemporality", UINT32, self.skipped),
                    body.get("isMonotonic") is True,
                )
                key = MetricKey(resource, scope, kind, words)
                for raw in json_objects(body, "dataPoints", self.skipped):
                    point = make(raw, self.skipped)
                    if point is None and raw.get("flags") == _NO_VALUE:  # the SDK has no place for it
                        continue
                    if point is None:
                        self.skipped.record(f"{kind} point without valid numbers")
                    else:
                        yield key, point

    # --- logs --------------------------------------------------------------------------------------------------------

    def _logs(self, scoped: dict[str, Any], resource: Resource, scope: InstrumentationScope) -> Iterator[Any]:
        from opentelemetry._logs import LogRecord, SeverityNumber
        from opentelemetry.context import Context
        from opentelemetry.sdk._logs import ReadableLogRecord
        from opentelemetry.trace import INVALID_SPAN, NonRecordingSpan, set_span_in_context

        from otel_perf.export.json_values import any_value

        for raw in json_objects(scoped, "logRecords", self.skipped):
            trace_id, span_id = hex_id(raw.get("traceId"), 32), hex_id(raw.get("spanId"), 16)
            span = INVALID_SPAN
            if trace_id and span_id:
                flags = TraceFlags(json_number(raw, "flags", UINT32, self.skipped) & 0xFF)
                span = NonRecordingSpan(SpanContext(int(trace_id, 16), int(span_id, 16), False, flags))
            severity = json_number(raw, "severityNumber", UINT32, self.skipped)
            body = any_value(raw.get("body"), self.skipped)
            record = LogRecord(
                timestamp=json_number(raw, "timeUnixNano", UINT64, self.skipped),
                observed_timestamp=json_number(raw, "observedTimeUnixNano", UINT64, self.skipped),
                context=set_span_in_context(span, Context()),
                severity_text=json_text(raw, "severityText", self.skipped) or None,
                severity_number=SeverityNumber(severity) if 1 <= severity <= 24 else None,
                body=body if isinstance(body, (str, bool, int, float, bytes, list, dict)) else None,
                attributes=attributes(raw.get("attributes"), self.skipped),
                event_name=json_text(raw, "eventName", self.skipped) or None,
            )
            yield ReadableLogRecord(record, resource, scope)


def _add(counted: Skipped, more: Skipped) -> None:
    for into, reasons in (
        (counted.lines, more.lines),
        (counted.records, more.records),
        (counted.values, more.values),
    ):
        for reason, number in reasons.items():
            into[reason] = into.get(reason, 0) + number


# --- points ----------------------------------------------------------------------------------------------------------


def _common(raw: dict[str, Any], skipped: Skipped) -> dict[str, Any]:
    found = {
        "attributes": attributes(raw.get("attributes"), skipped),
        "start_time_unix_nano": json_number(raw, "startTimeUnixNano", UINT64, skipped),
        "time_unix_nano": json_number(raw, "timeUnixNano", UINT64, skipped),
    }
    if "exemplars" in raw and Exemplar is not None:
        found["exemplars"] = [_exemplar(one) for one in exemplars_of(raw, skipped)]
    return found


def _exemplar(found: Any) -> Exemplar:
    span = int(found.span_id, 16) if found.span_id else None
    trace = int(found.trace_id, 16) if found.trace_id else None
    return Exemplar(found.attributes, found.value, found.time, span, trace)


def _number(raw: dict[str, Any], skipped: Skipped) -> NumberDataPoint | None:
    value = integer(raw["asInt"], INT64) if "asInt" in raw else double(raw.get("asDouble"))
    if value is None:
        return None
    return NumberDataPoint(**_common(raw, skipped), value=value)


def _statistics(raw: dict[str, Any]) -> dict[str, Any] | None:
    """Return what both kinds of histogram have, None where a number is none."""
    found: dict[str, Any] = {key: double(raw[key]) if key in raw else None for key in ("sum", "min", "max")}
    found["count"] = integer(raw.get("count", 0), UINT64)
    if found["count"] is None or any(key in raw and found[key] is None for key in ("sum", "min", "max")):
        return None
    return found


def _counts(values: object) -> list[int] | None:
    numbers = [integer(value, UINT64) for value in values] if isinstance(values, list) else [None]
    return None if None in numbers else numbers  # type: ignore[return-value]


def _histogram(raw: dict[str, Any], skipped: Skipped) -> HistogramDataPoint | None:
    statistics, counts = _statistics(raw), _counts(raw.get("bucketCounts", []))
    edges = raw.get("explicitBounds", [])
    bounds = [double(edge) for edge in edges] if isinstance(edges, list) else [None]
    if statistics is None or counts is None or None in bounds:
        return None
    return HistogramDataPoint(**_common(raw, skipped), **statistics, bucket_counts=counts, explicit_bounds=bounds)  # type: ignore[arg-type]


def _buckets(raw: dict[str, Any], side: str) -> SdkBuckets | None:
    found = raw.get(side, {})
    if not isinstance(found, dict):
        return None
    offset, counts = integer(found.get("offset", 0), INT32), _counts(found.get("bucketCounts", []))
    return None if offset is None or counts is None else SdkBuckets(offset, counts)


def _exponential(raw: dict[str, Any], skipped: Skipped) -> ExponentialHistogramDataPoint | None:
    statistics, positive, negative = _statistics(raw), _buckets(raw, "positive"), _buckets(raw, "negative")
    scale, zeros = integer(raw.get("scale", 0), (-20, 20)), integer(raw.get("zeroCount", 0), UINT64)
    if statistics is None or positive is None or negative is None or scale is None or zeros is None:
        return None
    flags = json_number(raw, "flags", UINT32, skipped)
    numbers: dict[str, Any] = {
        "scale": scale,
        "zero_count": zeros,
        "positive": positive,
        "negative": negative,
        "flags": flags,
    }
    return ExponentialHistogramDataPoint(**_common(raw, skipped), **statistics, **numbers)


_POINTS: dict[str, Any] = {
    "gauge": _number,
    "sum": _number,
    "histogram": _histogram,
    "exponentialHistogram": _exponential,
}


def metrics_data(records: Iterable[tuple[MetricKey, Any]]) -> MetricsData:
    """Return the points as one request: a metric's points together, however many lines they came from."""
    tree: dict[Any, dict[Any, dict[Any, list[Any]]]] = {}
    for key, point in records:
        scopes = tree.setdefault(key.resource, {})
        scopes.setdefault(key.scope, {}).setdefault((key.kind, *key.words), []).append(point)
    return MetricsData(
        [
            ResourceMetrics(
                resource,
                [
                    ScopeMetrics(scope, [_metric(words, points) for words, points in metrics.items()], scope.schema_url)
                    for scope, metrics in scopes.items()
                ],
                resource.schema_url,
            )
            for resource, scopes in tree.items()
        ]
    )


def _metric(words: tuple[Any, ...], points: list[Any]) -> Metric:
    kind, name, description, unit, temporality, monotonic = words
    when = _TEMPORALITY.get(temporality, AggregationTemporality.CUMULATIVE)
    data: Any
    if kind == "gauge":
        data = Gauge(points)
    elif kind == "sum":
        data = Sum(points, when, monotonic)
    else:
        data = (Histogram if kind == "histogram" else ExponentialHistogram)(points, when)
    return Metric(name, description, unit, data)
