"""follow/wire.py encodes what the official encoder makes of the same spans."""

from __future__ import annotations

import json
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_perf.export.follow import wire
from otel_perf.export.follow.convert import Converter
from otel_perf.export.json_values import Skipped

PLAIN: dict[str, Any] = {
    "traceId": "4bf92f3577b34da6a3ce929d0e0e4736",
    "spanId": "00f067aa0ba902b7",
    "flags": 257,
    "startTimeUnixNano": "1795592876422029625",
    "endTimeUnixNano": "1795592876422030236",
    "attributes": [],
    "name": "load",
    "kind": 1,
}


def attribute(kind: str, value: object, key: str = "key") -> dict[str, Any]:
    return {"key": key, "value": {kind: value}}


def line(*spans: dict[str, Any], resource: object = None, **scoped: Any) -> bytes:
    groups = {"resource": resource or {"attributes": [attribute("stringValue", "shop", "service.name")]}}
    scope = {"scope": {"name": "otel_perf", "version": "0.1.0"}, **scoped, "spans": list(spans)}
    return json.dumps({"resourceSpans": [groups | {"scopeSpans": [scope]}]}, separators=(",", ":")).encode() + b"\n"


def ours(*lines: bytes) -> tuple[Any, Skipped]:
    skipped = Skipped()
    encoder = wire.Encoder(skipped)
    spans = [span for one in lines for span in encoder.line(one, lambda: None)]
    return ExportTraceServiceRequest.FromString(wire.request(spans)), skipped


def theirs(*lines: bytes) -> tuple[Any, Skipped]:
    skipped = Skipped()
    converter = Converter("traces", skipped)
    return encode_spans([span for one in lines for span in converter.line(one, lambda: None)]), skipped


def assert_same(*lines: bytes) -> Any:
    """Compare both; return what ours is. The flags, and a status that says nothing, the official encoder decides."""
    (mine, one), (official, other) = ours(*lines), theirs(*lines)
    both = ExportTraceServiceRequest.FromString(mine.SerializeToString()), official
    for message in both:
        for span in (span for group in message.resource_spans for scoped in group.scope_spans for span in scoped.spans):
            span.flags &= 0x300
            for link in span.links:
                link.flags = 0
            if not span.status.code:
                span.ClearField("status")
    assert str(both[1]) == str(both[0])
    assert repr(other) == repr(one)
    return mine


VALUES = [
    attribute("stringValue", ""),
    attribute("stringValue", "☃" * 200),
    attribute("stringValue", "x" * 70_000),
    attribute("boolValue", False),
    attribute("boolValue", True),
    attribute("intValue", "0"),
    attribute("intValue", 7),
    attribute("intValue", "-9223372036854775808"),
    attribute("intValue", "9223372036854775807"),
    attribute("doubleValue", 0.1),
    attribute("doubleValue", 3),
    attribute("doubleValue", "-Infinity"),
    attribute("bytesValue", "AAEC"),
    attribute("arrayValue", {"values": [{"stringValue": "a"}, {"intValue": "1"}, {"arrayValue": {"values": []}}]}),
    attribute("kvlistValue", {"values": [attribute("doubleValue", 1.5, "inner")]}),
    {"key": "nothing", "value": {}},
    {"key": "", "value": {"stringValue": "no key"}},
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: str(value)[:50])
def test_attribute_is_encoded_as_the_official_encoder_does(value):
    one = {**PLAIN, "attributes": [value, value | {"key": "again"}]}

    message = assert_same(line(one, {**one, "spanId": "00f067aa0ba902b8"}))

    assert 2 == len(message.resource_spans[0].scope_spans[0].spans[1].attributes)


@pytest.mark.parametrize(
    "value",
    [None, 3, "text", {}, {"key": 3, "value": {"doubleValue": 0.5}}, {"key": ["k"], "value": {"stringValue": "x"}},
     attribute("intValue", True), attribute("intValue", "1e3"), attribute("stringValue", 3),
     attribute("doubleValue", []), {"key": "k", "value": 3}, {"key": "k", "value": {"intValue": "1", "boolValue": True}},
     attribute("bytesValue", "?"), attribute("otherValue", {})],
    ids=str,
)  # fmt: skip
def test_attribute_that_is_none_is_left_out_and_counted(value):
    message = assert_same(line({**PLAIN, "attributes": [value, attribute("intValue", "1")]}))

    assert ["key"] == [pair.key for pair in message.resource_spans[0].scope_spans[0].spans[0].attributes]


@pytest.mark.parametrize(
    "change",
    [{"parentSpanId": "00f067aa0ba902b7"}, {"parentSpanId": ""}, {"parentSpanId": "zz"}, {"name": ""}, {"name": "n" * 300},
     {"name": None}, {"kind": 3}, {"kind": 77}, {"kind": None}, {"flags": 769, "parentSpanId": "00f067aa0ba902b7"}, {"attributes": None},
     {"attributes": {}}, {"startTimeUnixNano": 0, "endTimeUnixNano": "18446744073709551615"}, {"traceState": "vendor=1"},
     {"droppedAttributesCount": 3, "droppedEventsCount": 200, "droppedLinksCount": 70_000},
     {"status": {"code": 1}}, {"status": {"code": 2, "message": "no ☃"}}, {"status": {"code": 2}}, {"status": 3},
     {"events": [{"name": "paid", "timeUnixNano": "7", "attributes": [attribute("doubleValue", 3.25)]}, {}, None]},
     {"links": [{"traceId": "0" * 31 + "a", "spanId": "0" * 15 + "b", "attributes": [attribute("boolValue", True)]}, {}]},
     {"traceId": "0" * 32}, {"spanId": "short"}, {"spanId": 3}, {"spanId": "00f067aa0ba902B7"},
     {"spanId": "00f067aa 0ba902b7"}, {"spanId": "00f067aa0ba902  "}, {"traceId": "0" * 31 + "g"}, {"endTimeUnixNano": "-1"}],
    ids=str,
)  # fmt: skip
def test_span_is_encoded_as_the_official_encoder_does(change):
    whole = {**PLAIN, "spanId": "00f067aa0ba902b8", "name": "other"}

    message = assert_same(line({**PLAIN, **change}, whole))

    assert "other" == message.resource_spans[0].scope_spans[0].spans[-1].name


def test_spans_of_one_resource_and_scope_go_together_whatever_the_order_of_the_lines():
    other = {"attributes": [attribute("stringValue", "other", "service.name")]}
    lines = [
        line(PLAIN),
        line(PLAIN, resource=other),
        line(PLAIN, schemaUrl="https://example.org/s"),
        line(PLAIN),
        b'{"resourceSpans": [{"schemaUrl": "https://example.org/r", "scopeSpans": [{"spans": [' + json.dumps(PLAIN).encode()
        + b"]}]}]}\n",
    ]  # fmt: skip

    message, _ = ours(*lines)

    counts = [[len(scoped.spans) for scoped in group.scope_spans] for group in message.resource_spans]
    assert [[2, 1], [1], [1]] == counts


def test_what_the_sdk_has_no_place_for_is_encoded_too():
    link = {"traceId": "0" * 31 + "a", "spanId": "0" * 15 + "b", "flags": 769, "traceState": "v=2"}
    event = {"name": "e", "timeUnixNano": "1", "droppedAttributesCount": 4}
    message, _ = ours(line({**PLAIN, "links": [{**link, "droppedAttributesCount": 5}], "events": [event]}))

    (span,) = message.resource_spans[0].scope_spans[0].spans

    assert (257, 769, "v=2", 5, 4) == (
        span.flags,
        span.links[0].flags,
        span.links[0].trace_state,
        span.links[0].dropped_attributes_count,
        span.events[0].dropped_attributes_count,
    )


def test_half_a_surrogate_pair_costs_one_character_and_not_the_request():
    text = line({**PLAIN, "name": "\ud800!", "attributes": [attribute("stringValue", "\udfff")]})

    (span,) = ours(text)[0].resource_spans[0].scope_spans[0].spans

    assert ("?!", "?") == (span.name, span.attributes[0].value.string_value)


def test_what_is_kept_encoded_is_bounded():
    encoder = wire.Encoder(Skipped())
    for number in range(3 * wire.KNOWN):
        pairs = [attribute("stringValue", str(number)), attribute("doubleValue", 0.5, f"key {number}")]
        assert 1 == len(encoder.line(line({**PLAIN, "name": str(number), "attributes": pairs}), lambda: None))

    assert max(map(len, (encoder._texts, encoder._doubles, encoder._names))) <= wire.KNOWN
