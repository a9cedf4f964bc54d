"""Finished records as OTLP/JSON: what the collector's ``otlpjsonfile`` receiver reads.

Imports only: recorder. Text templates, because dicts and ``json.dumps`` cost six times as much; for the recorder's own
spans they are bytes, whose ``%`` is the fastest way to write integers, and what a site fixes is built once a site. Ids
are hex, 64-bit integers and times are strings, doubles that are not finite are the strings NaN, Infinity and -Infinity,
a lone surrogate is written as U+FFFD.

Source: OTLP specification, "JSON Protobuf Encoding"; protobuf JSON mapping.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from otel_perf.recorder import Record, Site

SAMPLED = 257  # trace flag "sampled", and "it is known whether the parent is remote" (it is not)
SAMPLED_REMOTE = 769  # the same with a remote parent
SENT_BY = "otel_perf.sent_by"  # of a scope: "application", whose own exporter sends these spans where we send ours
SPANS_A_LINE = 250  # about 150 KB; more save no time
MAX_LINE = 2**20  # bytes; the collector's file reader cuts what is longer (max_log_size)

# A span of ours begins with all its numbers. Whole nanoseconds, because the shortest digits of a float take longer to
# find than all the rest; ids without a width, which costs as much as their digits do: ours have no leading zeros.
_NUMBERS = (
    b'{"traceId":"%%x","spanId":"%%x","flags":%d,"startTimeUnixNano":"%%d","endTimeUnixNano":"%%d"%%b,"attributes":['
    b'{"key":"otel_perf.depth","value":{"intValue":"%%d"}}'
    b',{"key":"otel_perf.self_time","value":{"doubleValue":%%de-9}}'
)
_LOCAL = _NUMBERS % SAMPLED
_PADDED = _LOCAL.replace(b"%x", b"%032x", 1)
_REMOTE = (_NUMBERS % SAMPLED_REMOTE).replace(b"%x", b"%032x", 1)
_ALL_DIGITS = 2**124  # trace ids from here on have all of their 32 digits

_KINDS = {"INTERNAL": 1, "SERVER": 2, "CLIENT": 3, "PRODUCER": 4, "CONSUMER": 5}
_STATUS = {"UNSET": 0, "OK": 1, "ERROR": 2}
SEVERITIES = {9: "INFO", 13: "WARN", 17: "ERROR"}  # by their numbers
_INT64 = 2**63
_UINT64 = 2**64
_quote: Any = None  # loaded for the first text that needs it
_DEEPEST = 32  # lists in lists; protobuf refuses a line with more than about 45


def quote(text: str) -> str:
    """Return *text* as a JSON string."""
    global _quote
    if _quote is None:
        if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
            return f'"{text}"'
        try:
            from _json import encode_basestring_ascii as _quote
        except ImportError:  # an interpreter without the C module
            from json.encoder import encode_basestring_ascii as _quote
    quoted: str = _quote(text)
    if "\\ud" in quoted:  # perhaps half a surrogate pair, which no UTF-8 can carry
        quoted = _quote(text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace"))
    return quoted


def nanoseconds(time: Any) -> int:
    """Return a time that an application gave as nanoseconds since 1970; 0, unknown, if it is none."""
    try:
        whole = int(time)
    except (OverflowError, TypeError, ValueError):
        return 0
    return whole if 0 <= whole < _UINT64 else 0


def value(item: Any, depth: int = 0) -> str:
    """Return an attribute's value as an OTLP AnyValue; what OTLP has no type for becomes its ``str()``.

    Raises:
        ValueError: lists or mappings are nested deeper than readers take, or for ever.
    """
    if isinstance(item, str):
        return f'{{"stringValue":{quote(item)}}}'
    if isinstance(item, bool):
        return '{"boolValue":true}' if item else '{"boolValue":false}'
    if isinstance(item, int):
        if -_INT64 <= item < _INT64:
            return f'{{"intValue":"{int(item)}"}}'
        return f'{{"stringValue":"{int(item)}"}}' if item.bit_length() < 10_000 else '{"stringValue":"<huge int>"}'
    if isinstance(item, float):
        return f'{{"doubleValue":{double(item)}}}'
    if item is None:
        return "{}"
    if isinstance(item, (bytes, bytearray, memoryview)):
        from binascii import b2a_base64

        return f'{{"bytesValue":"{b2a_base64(bytes(item), newline=False).decode()}"}}'
    if depth == _DEEPEST:
        raise ValueError("nested too deep")
    if isinstance(item, dict) or hasattr(type(item), "items"):
        pairs = [f'{{"key":{quote(str(key))},"value":{value(each, depth + 1)}}}' for key, each in dict(item).items()]
        return f'{{"kvlistValue":{{"values":[{",".join(pairs)}]}}}}'
    if isinstance(item, (list, tuple, set, frozenset)):
        return f'{{"arrayValue":{{"values":[{",".join([value(each, depth + 1) for each in item])}]}}}}'
    return f'{{"stringValue":{quote(str(item))}}}'


def double(number: float) -> str:
    """Return a float as JSON."""
    if number - number == 0.0:  # finite
        return repr(float(number))
    if number != number:
        return '"NaN"'
    return '"Infinity"' if number > 0 else '"-Infinity"'


def attributes(items: Mapping[Any, Any]) -> str:
    """Return the KeyValue objects of *items*, without the brackets around them; one that fails costs itself only."""
    texts = []
    for key, item in items.items():
        try:
            texts.append(f'{{"key":{quote(str(key))},"value":{value(item)}}}')
        except Exception:  # noqa: BLE001  # an application's __str__ or __iter__ may do anything
            continue
    return ",".join(texts)


def static(site: Site) -> bytes:
    """Return what is the same in every span of *site*: the end of its attributes, name, kind and a comma."""
    fixed: dict[str, Any] = {"otel_perf.kind": site.kind}
    if site.function:
        fixed["code.function.name"] = site.function
    if site.file:
        fixed["code.file.path"] = site.file
    if site.line:
        fixed["code.line.number"] = site.line
    if site.threshold == 0.0 and site.kind in ("function", "operation"):  # never folded where a trace is too big
        fixed["otel_perf.span_threshold"] = 0
    site.static = f',{attributes(fixed)}],"name":{quote(site.name)},"kind":1}},'.encode()
    return site.static


def own_spans(records: Iterable[Record]) -> list[bytes]:
    """Return finished records of the recorder as OTLP Spans, a comma after each, in parts that are to be joined."""
    parts: list[bytes] = []
    for (
        site, trace, span_id, parent_id, begin, end, self_time, depth, extra,
        error, link, events, status, remote,
    ) in records:  # fmt: skip
        offset, trace_id = trace.offset, trace.id
        ended = int(end * 1e9) + offset
        fields = b',"parentSpanId":"%016x"' % parent_id if parent_id else b""
        if error is not None or events is not None or status is not None or link is not None:
            fields += _rare(ended, error, link, events, status).encode()
        template = _REMOTE if remote else _LOCAL if trace_id >= _ALL_DIGITS else _PADDED
        numbers = template % (
            trace_id, span_id, int(begin * 1e9) + offset, ended, fields, depth, int(self_time * 1e9 + 0.5),
        )  # fmt: skip
        if extra:
            more = attributes(extra)
            numbers += f",{more}".encode() if more else b""
        parts.append(numbers)
        parts.append(site.static or static(site))
    return parts


def _rare(ended: int, error: Any, link: Any, events: Any, status: Any) -> str:
    """Return the fields that few spans have: events, status and links."""
    texts = [_event(*event) for event in events or ()]
    if error is not None:
        kind, message = error
        texts.append(_event("exception", ended, {"exception.type": kind, "exception.message": message}))
        status = status or (2, f"{kind}: {message}")
    tail = f',"events":[{",".join(texts)}]' if texts else ""
    if status is not None:
        code, message = status
        tail += f',"status":{{"code":{code}' + (f',"message":{quote(message)}' if message else "") + "}"
    if link is not None:
        tail += f',"links":[{{"traceId":"{link[0].id:032x}","spanId":"{link[1]:016x}"}}]'
    return tail


def _event(name: str, time: int, fields: Any) -> str:
    return (
        f'{{"name":{quote(str(name))},"timeUnixNano":"{nanoseconds(time)}","attributes":[{attributes(fields or {})}]}}'
    )


def api_span(item: Any) -> str:
    """Return a finished span of the OpenTelemetry API (the SDK's ReadableSpan or our light one) as an OTLP Span."""
    context, parent = item.context, item.parent
    flags = int(context.trace_flags) & 0xFF | 0x100
    head = f'"traceId":"{context.trace_id:032x}","spanId":"{context.span_id:016x}"'
    if context.trace_state:
        head += f',"traceState":{quote(context.trace_state.to_header())}'
    if parent is not None:
        head += f',"parentSpanId":"{parent.span_id:016x}"'
        flags |= 0x200 if parent.is_remote else 0
    texts = [
        head,
        f'"flags":{flags},"name":{quote(str(item.name))},"kind":{_KINDS.get(item.kind.name, 1)}',
        f'"startTimeUnixNano":"{nanoseconds(item.start_time)}","endTimeUnixNano":"{nanoseconds(item.end_time)}"',
    ]
    if item.attributes:
        texts.append(f'"attributes":[{attributes(item.attributes)}]')
    if item.events:
        events = [_event(event.name, event.timestamp, event.attributes) for event in item.events]
        texts.append(f'"events":[{",".join(events)}]')
    if item.links:
        links = [
            f'{{"traceId":"{link.context.trace_id:032x}","spanId":"{link.context.span_id:016x}"'
            f',"attributes":[{attributes(link.attributes or {})}]}}'
            for link in item.links
        ]
        texts.append(f'"links":[{",".join(links)}]')
    for key, name in (
        ("dropped_attributes", "droppedAttributesCount"),
        ("dropped_events", "droppedEventsCount"),
        ("dropped_links", "droppedLinksCount"),
    ):
        if getattr(item, key, 0):
            texts.append(f'"{name}":{getattr(item, key)}')
    status = item.status
    if status is not None and status.status_code.name != "UNSET":
        message = f',"message":{quote(str(status.description))}' if status.description else ""
        texts.append(f'"status":{{"code":{_STATUS[status.status_code.name]}{message}}}')
    return "{" + ",".join(texts) + "}"


def scope(name: str, version: str | None = None, schema_url: str | None = None, fields: Any = None) -> str:
    """Return the beginning of a ScopeSpans or ScopeMetrics object, up to its items."""
    text = f'{{"scope":{{"name":{quote(str(name))}'
    if version:
        text += f',"version":{quote(str(version))}'
    if fields:
        text += f',"attributes":[{attributes(fields)}]'
    text += "}"
    return f'{text},"schemaUrl":{quote(str(schema_url))}' if schema_url else text


def trace_lines(resource: str, own_scope: str, records: Sequence[Any]) -> Iterable[tuple[bytes, int, int]]:
    """Yield lines of TracesData with the number of spans in each, and of records that could not be encoded.

    Args:
        resource: the resource's KeyValue objects, see attributes().
        own_scope: scope() of our own records.
        records: finished records: the recorder's tuples, or spans of the API.
    """
    for first in range(0, len(records), SPANS_A_LINE):
        yield from _lines(resource, own_scope, records[first : first + SPANS_A_LINE])


def _lines(resource: str, own_scope: str, records: Sequence[Any]) -> Iterable[tuple[bytes, int, int]]:
    """Yield these records as one line, or as more where one would be longer than MAX_LINE."""
    scopes, bad = _spans_by_scope(own_scope, records)
    before = f'{{"resourceSpans":[{{"resource":{{"attributes":[{resource}]}},"scopeSpans":['
    parts: list[bytes] = []
    for head, spans in scopes.items():
        if spans:
            spans[-1] = spans[-1][:-1]  # its comma
            parts.append(f'{before}{head},"spans":['.encode())
            parts += spans
            parts.append(b"]}")
            before = ","
    parts.append(b"]}]}\n")
    line = b"".join(parts)
    if len(line) > MAX_LINE and len(records) > 1:
        half = len(records) // 2
        yield from _lines(resource, own_scope, records[:half])
        yield from _lines(resource, own_scope, records[half:])
    else:
        yield line if bad < len(records) else b"", len(records) - bad, bad


def _spans_by_scope(own_scope: str, records: Sequence[Any]) -> tuple[dict[str, list[bytes]], int]:
    """Return the encoded spans of each scope, a comma after each, and how many records could not be encoded."""
    ours = [record for record in records if type(record) is tuple]
    scopes: dict[str, list[bytes]] = {own_scope: []}
    bad = 0
    try:
        scopes[own_scope] = own_spans(ours)
    except Exception:  # noqa: BLE001  # one bad record costs itself only
        for record in ours:
            try:
                scopes[own_scope] += own_spans([record])
            except Exception:  # noqa: BLE001
                bad += 1
    for record in () if len(ours) == len(records) else records:
        if type(record) is tuple:
            continue
        try:
            origin = record.instrumentation_scope
            fields = getattr(origin, "attributes", None)
            if getattr(record, "_otel_perf_sent", False):
                fields = {**(fields or {}), SENT_BY: "application"}
            head = scope(origin.name, origin.version, origin.schema_url, fields)
            scopes.setdefault(head, []).append(f"{api_span(record)},".encode())
        except Exception:  # noqa: BLE001
            bad += 1
    return scopes, bad


def log_line(
    resource: str, own_scope: str, events: Iterable[tuple[str, int, int, int, int, Mapping[str, Any], str]]
) -> bytes:
    """Return one line of LogsData.

    Args:
        resource: as for trace_lines(), and
        own_scope: too.
        events: name, nanoseconds since 1970, severity number, trace id and span id (0 for none), attributes, body.
    """
    texts = []
    for name, time, severity, trace_id, span_id, fields, body in events:
        ids = f',"traceId":"{trace_id:032x}","spanId":"{span_id:016x}"' if trace_id else ""
        said = f',"body":{{"stringValue":{quote(body)}}}' if body else ""
        texts.append(
            f'{{"timeUnixNano":"{time}","observedTimeUnixNano":"{time}","severityNumber":{severity}'
            f',"severityText":"{SEVERITIES[severity]}","eventName":{quote(name)}'
            f'{said},"attributes":[{attributes({"event.name": name, **fields})}]{ids}}}'
        )
    return (
        f'{{"resourceLogs":[{{"resource":{{"attributes":[{resource}]}},'
        f'"scopeLogs":[{own_scope},"logRecords":[{",".join(texts)}]}}]}}]}}\n'
    ).encode()


def count_points(line: bytes) -> int:
    """Return how many points a line of ours has; an exemplar, of which a point has one at most, has a time too."""
    return line.count(b'"timeUnixNano":') - line.count(b'"exemplars":[')


COUNTS: dict[str, Callable[[bytes], int]] = {  # of each file, how many records a line of ours has
    "traces.jsonl": lambda line: line.count(b'"startTimeUnixNano":'),
    "metrics.jsonl": count_points,
    "logs.jsonl": lambda line: line.count(b'"timeUnixNano":'),
}


def metric_text(name: str, unit: str, kind: str, points: list[str], monotonic: bool = True) -> str:
    """Return a cumulative metric with its points."""
    more = ',"isMonotonic":true' if monotonic else ""
    return (
        f'{{"name":{quote(name)},"unit":"{unit}","{kind}":{{"aggregationTemporality":2{more}'
        f',"dataPoints":[{",".join(points)}]}}}}'
    )


def gauge_text(name: str, unit: str, points: list[str]) -> str:
    """Return a gauge with its points."""
    return f'{{"name":{quote(name)},"unit":"{unit}","gauge":{{"dataPoints":[{",".join(points)}]}}}}'


def sum_metric(name: str, unit: str, number: float, start: int, time: int) -> str:
    """Return a monotonic cumulative sum with one point."""
    shown = f'"asInt":"{number}"' if isinstance(number, int) else f'"asDouble":{double(number)}'
    return metric_text(name, unit, "sum", [f'{{"startTimeUnixNano":"{start}","timeUnixNano":"{time}",{shown}}}'])


def gauge_metric(name: str, unit: str, number: float, time: int) -> str:
    """Return a gauge with one point."""
    shown = f'"asInt":"{number}"' if isinstance(number, int) else f'"asDouble":{double(number)}'
    return gauge_text(name, unit, [f'{{"timeUnixNano":"{time}",{shown}}}'])


def metric_lines(resource: str, own_scope: str, metrics: Iterable[str]) -> Iterable[bytes]:
    """Yield lines of MetricsData, each of as many metrics as fit into MAX_LINE, and of one at least."""
    before = f'{{"resourceMetrics":[{{"resource":{{"attributes":[{resource}]}},"scopeMetrics":[{own_scope},"metrics":['
    some: list[str] = []
    length = len(before)
    for metric in metrics:
        if some and length + len(metric) > MAX_LINE - 100:
            yield f"{before}{','.join(some)}]}}]}}]}}\n".encode()
            some, length = [], len(before)
        some.append(metric)
        length += len(metric) + 1
    if some:
        yield f"{before}{','.join(some)}]}}]}}]}}\n".encode()
