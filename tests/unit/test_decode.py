"""The decoder reads what OTLP/JSON allows, and loses nothing but what is damaged."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_perf.export.decode import Point, Span, logs_of, points_of, spans_of
from otel_perf.export.json_values import Skipped, any_value, double, hex_id, integer

TRACE, SPAN, PARENT = "0123456789abcdef" * 2, "0123456789abcdef", "fedcba9876543210"


def raw_span(**changes: Any) -> dict[str, Any]:
    """Return a span as it stands in a file; a change to None takes the field out."""
    span = {
        "traceId": TRACE,
        "spanId": SPAN,
        "parentSpanId": PARENT,
        "flags": 257,
        "name": "load",
        "kind": 1,
        "startTimeUnixNano": "1795000000000000001",
        "endTimeUnixNano": "1795000000000000003",
        **changes,
    }
    return {key: value for key, value in span.items() if value is not None}


def traces(*spans: Any, scope: Any = None, resource: Any = None) -> dict[str, Any]:
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": resource or []},
                "scopeSpans": [{"scope": scope or {"name": "otel_perf", "version": "0.1.0"}, "spans": list(spans)}],
            }
        ]
    }


def metrics(name: str, kind: str, *points: Any) -> dict[str, Any]:
    metric = {"name": name, "unit": "s", kind: {"aggregationTemporality": 2, "dataPoints": list(points)}}
    return {"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric]}]}]}


def attribute(key: str, **value: Any) -> dict[str, Any]:
    return {"key": key, "value": value}


def spans_in(data: dict[str, Any]) -> tuple[list[Span], Skipped]:
    skipped = Skipped()
    return list(spans_of(data, skipped)), skipped


def one_span(**changes: Any) -> tuple[Span, Skipped]:
    (span,), skipped = spans_in(traces(raw_span(**changes)))
    return span, skipped


def one_point(kind: str, **point: Any) -> tuple[Point, Skipped]:
    skipped = Skipped()
    (found,) = points_of(metrics("m", kind, point), skipped)
    return found, skipped


# --- spans ----------------------------------------------------------------------------------------------------


def test_span_is_decoded_whole():
    span, skipped = one_span(
        attributes=[attribute("otel_perf.kind", stringValue="function"), attribute("n", intValue="7")],
        events=[
            {
                "name": "exception",
                "timeUnixNano": "1795000000000000002",
                "attributes": [attribute("exception.type", stringValue="KeyError")],
            }
        ],
        links=[{"traceId": TRACE, "spanId": PARENT, "attributes": [attribute("why", stringValue="rest")]}],
        status={"code": 2, "message": "KeyError: 'a'"},
    )

    assert not skipped
    assert (span.trace_id, span.span_id, span.parent_id) == (TRACE, SPAN, PARENT)
    assert (span.name, span.kind, span.flags) == ("load", 1, 257)
    assert (span.start, span.end) == (1795000000000000001, 1795000000000000003)
    assert span.attributes == {"otel_perf.kind": "function", "n": 7}
    (event,) = span.events
    assert (event.name, event.time) == ("exception", 1795000000000000002)
    assert event.attributes == {"exception.type": "KeyError"}
    (link,) = span.links
    assert (link.trace_id, link.span_id, link.attributes) == (TRACE, PARENT, {"why": "rest"})
    assert (span.status_code, span.status_message) == (2, "KeyError: 'a'")
    assert (span.scope.name, span.scope.version) == ("otel_perf", "0.1.0")


def test_spans_of_foreign_scopes_and_resources_are_read():
    data = traces(raw_span(), scope={"name": "requests"}, resource=[attribute("service.name", stringValue="shop")])

    (span,), skipped = spans_in(data)

    assert not skipped
    assert (span.scope.name, span.scope.version) == ("requests", "")
    assert span.resource == {"service.name": "shop"}


def test_ids_may_be_upper_case():
    span, skipped = one_span(traceId=TRACE.upper(), spanId=SPAN.upper(), parentSpanId=PARENT.upper())

    assert not skipped
    assert (span.trace_id, span.span_id, span.parent_id) == (TRACE, SPAN, PARENT)


def test_64_bit_integers_may_be_numbers():
    span, skipped = one_span(startTimeUnixNano=1795000000000000001, endTimeUnixNano=1795000000000000003)

    assert not skipped
    assert (span.start, span.end) == (1795000000000000001, 1795000000000000003)


@pytest.mark.parametrize("parent", ["", "0" * 16, None])
def test_span_without_parent_is_a_root(parent):
    span, skipped = one_span(parentSpanId=parent)

    assert not skipped
    assert span.parent_id == ""


def test_span_that_ends_before_it_starts_is_kept_with_no_duration():
    span, skipped = one_span(endTimeUnixNano="1")

    assert span.end == span.start
    assert skipped.values == {"span that ends before it starts": 1}


@pytest.mark.parametrize(
    "changes",
    [
        {"traceId": None},
        {"traceId": "0" * 32},
        {"traceId": TRACE[:-1]},
        {"traceId": 12},
        {"spanId": "ABCDEFGHABCDEFGH"},
        {"spanId": " 23456789abcdef "},
        {"spanId": "0x23456789abcdef"},
        {"spanId": "0_23456789abcdef"},
    ],
)
def test_span_without_valid_ids_is_skipped_alone(changes):
    spans, skipped = spans_in(traces(raw_span(**changes), raw_span()))

    assert len(spans) == 1
    assert skipped.records == {"span without valid ids": 1}


@pytest.mark.parametrize("time", ["-1", "1e9", "\u0661", "", " 1", "1_0", 1.5, True, str(2**64), [], {}, None])
def test_span_without_valid_times_is_skipped_alone(time):
    spans, skipped = spans_in(traces(raw_span(startTimeUnixNano=time), raw_span()))

    assert len(spans) == 1
    assert skipped.records == {"span without valid times": 1}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("name", value) for value in ([1], {"a": 1}, 1.5, True)],
        *[(field, value) for field in ("kind", "flags") for value in ([1], {"a": 1}, 1.5, True, "x", -1)],
        *[("status", value) for value in ([1], 1.5, True, "x")],
        *[("attributes", value) for value in ({"a": 1}, 1.5, True, "x")],
    ],
)
def test_field_of_a_wrong_type_costs_only_itself(field, value):
    span, skipped = one_span(**{field: value})

    assert span.span_id == SPAN
    assert sum(skipped.values.values()) == 1


def test_attributes_of_wrong_type_are_dropped_and_counted():
    good = attribute("good", stringValue="kept")
    bad = [
        attribute("a", stringValue=1),
        attribute("b", intValue="x"),
        attribute("c", boolValue="true"),
        attribute("d", doubleValue="fast"),
        attribute("e", bytesValue="?"),
        attribute("f", arrayValue=[1]),
        attribute("g", arrayValue={"values": [{"stringValue": 1}]}),
        attribute("h", unknownValue="x"),
        attribute("i", stringValue="x", intValue="1"),
        {"key": 1, "value": {"stringValue": "x"}},
        {"key": "j", "value": "x"},
        "k",
        None,
    ]

    span, skipped = one_span(attributes=[*bad, good])

    assert span.attributes == {"good": "kept"}
    assert {"attribute": len(bad)} == skipped.values


def test_every_kind_of_value_is_read():
    span, skipped = one_span(
        attributes=[
            attribute("str", stringValue="a\x1b"),
            attribute("bool", boolValue=False),
            attribute("int", intValue=str(-(2**63))),
            attribute("number", intValue=5),
            attribute("double", doubleValue=2.5),
            attribute("whole", doubleValue=2),
            attribute("endless", doubleValue="-Infinity"),
            attribute("bytes", bytesValue="AAE="),
            attribute("list", arrayValue={"values": [{"intValue": "1"}, {}]}),
            attribute("none", arrayValue={}),
            attribute("dict", kvlistValue={"values": [attribute("x", boolValue=True)]}),
            attribute("empty"),
        ]
    )

    assert not skipped
    assert span.attributes == {
        "str": "a\x1b",
        "bool": False,
        "int": -(2**63),
        "number": 5,
        "double": 2.5,
        "whole": 2.0,
        "endless": -math.inf,
        "bytes": b"\x00\x01",
        "list": [1, None],
        "none": [],
        "dict": {"x": True},
        "empty": None,
    }


def test_deeply_nested_value_is_dropped():
    value: dict[str, Any] = {"intValue": "1"}
    for _ in range(100):
        value = {"arrayValue": {"values": [value]}}

    span, skipped = one_span(attributes=[{"key": "deep", "value": value}])

    assert span.attributes == {}
    assert skipped.values == {"attribute": 1}


# --- points ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ({"asInt": "7"}, 7),
        ({"asInt": 7}, 7),
        ({"asDouble": 0.5}, 0.5),
        ({"asDouble": "Infinity"}, math.inf),
        ({}, None),
    ],
)
@pytest.mark.parametrize("kind", ["gauge", "sum"])
def test_gauges_and_sums_are_decoded(kind, number, expected):
    point, skipped = one_point(kind, timeUnixNano="5", attributes=[attribute("path", stringValue="a;b")], **number)

    assert not skipped
    assert ("m", "s", kind, 5) == (point.metric, point.unit, point.type, point.time)
    assert expected == point.value
    assert point.attributes == {"path": "a;b"}


def test_exponential_histograms_are_decoded():
    point, skipped = one_point(
        "exponentialHistogram",
        count="4",
        sum=1.5,
        min="-Infinity",
        max="NaN",
        scale=-1,
        zeroCount="1",
        positive={"offset": -3, "bucketCounts": ["1", 2]},
    )

    assert not skipped
    assert (4, 1.5, -math.inf) == (point.count, point.sum, point.min)
    assert point.max is not None
    assert math.isnan(point.max)
    assert (point.scale, point.zero_count, point.offset, point.buckets) == (-1, 1, -3, [1, 2])


@pytest.mark.parametrize(
    ("kind", "point"),
    [
        ("sum", {"asInt": "1.5"}),
        ("sum", {"asInt": str(2**63)}),
        ("gauge", {"asDouble": "fast"}),
        ("exponentialHistogram", {"count": "-1"}),
        ("exponentialHistogram", {"scale": 21}),
        ("exponentialHistogram", {"positive": []}),
        ("exponentialHistogram", {"positive": {"bucketCounts": "12"}}),
        ("exponentialHistogram", {"positive": {"bucketCounts": ["1", None]}}),
    ],
)
def test_point_without_valid_numbers_is_skipped_alone(kind, point):
    skipped = Skipped()
    good = {"count": "1"} if kind == "exponentialHistogram" else {"asInt": "1"}

    found = list(points_of(metrics("m", kind, point, good), skipped))

    assert len(found) == 1
    assert {f"{kind} point without valid numbers": 1} == skipped.records


def test_other_kinds_of_metric_are_no_damage():
    skipped = Skipped()

    assert list(points_of(metrics("m", "summary", {"count": "1"}), skipped)) == []
    assert not skipped


# --- logs -----------------------------------------------------------------------------------------------------


def logs(*records: Any) -> dict[str, Any]:
    return {"resourceLogs": [{"scopeLogs": [{"scope": {"name": "otel_perf"}, "logRecords": list(records)}]}]}


def test_event_is_decoded_whole():
    record = {
        "timeUnixNano": "17",
        "severityNumber": 9,
        "eventName": "otel_perf.process.ended",
        "attributes": [attribute("otel_perf.end", stringValue="exit")],
    }
    skipped = Skipped()
    (log,) = logs_of(logs(record), skipped)

    assert ("otel_perf.process.ended", 17, 9) == (log.event, log.time, log.severity)
    assert ({"otel_perf.end": "exit"}, "otel_perf", {}) == (log.attributes, log.scope.name, log.resource)
    assert not skipped


def test_event_has_its_name_as_an_attribute_where_a_backend_dropped_the_field():
    (log,) = logs_of(logs({"attributes": [attribute("event.name", stringValue="a.b")]}), Skipped())

    assert "a.b" == log.event


def test_damaged_log_record_costs_only_what_is_damaged():
    skipped = Skipped()
    found = list(logs_of(logs(1, {"timeUnixNano": [], "eventName": 3, "attributes": 4}), skipped))

    assert [("", 0, {})] == [(log.event, log.time, log.attributes) for log in found]
    assert {"logRecords entry that is no object": 1} == skipped.records
    assert {"timeUnixNano": 1, "attributes that are no list": 1, "eventName": 1} == skipped.values


# --- laws -----------------------------------------------------------------------------------------------------

_values = st.recursive(
    st.one_of(
        st.text().map(lambda v: (v, {"stringValue": v})),
        st.booleans().map(lambda v: (v, {"boolValue": v})),
        st.integers(-(2**63), 2**63 - 1).map(lambda v: (v, {"intValue": str(v)})),
        st.floats(allow_nan=False, allow_infinity=False).map(lambda v: (v, {"doubleValue": v})),
    ),
    lambda inner: st.lists(inner, max_size=3).map(
        lambda pairs: ([v for v, _ in pairs], {"arrayValue": {"values": [raw for _, raw in pairs]}})
    ),
    max_leaves=6,
)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)
_keys = [
    "resourceSpans", "resource", "attributes", "scopeSpans", "scope", "spans", "traceId", "spanId", "events", "links",
    "status", "resourceMetrics", "scopeMetrics", "metrics", "gauge", "sum", "exponentialHistogram", "dataPoints",
    "resourceLogs", "scopeLogs", "logRecords", "positive", "bucketCounts", "scale", "key", "value", "arrayValue", "kvlistValue", "values", "stringValue",
]  # fmt: skip
_likely = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.sampled_from([TRACE, SPAN]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_keys), inner, max_size=4),
    max_leaves=30,
)


@given(st.dictionaries(st.text(), _values))
def test_attributes_round_trip(values):
    pairs = [{"key": key, "value": raw} for key, (_, raw) in values.items()]

    span, skipped = one_span(attributes=json.loads(json.dumps(pairs)))

    assert not skipped
    assert {key: value for key, (value, _) in values.items()} == span.attributes


@given(_json | _likely)
def test_arbitrary_json_never_raises(data):
    skipped = Skipped()
    if isinstance(data, dict):
        list(spans_of(data, skipped))
        list(points_of(data, skipped))
        list(logs_of(data, skipped))
    any_value(data, skipped)
    for shape in (traces(data), metrics("m", "sum", data), metrics("m", "exponentialHistogram", data), logs(data)):
        list(spans_of(shape, skipped))
        list(points_of(shape, skipped))
        list(logs_of(shape, skipped))
    list(spans_of({"resourceSpans": data}, skipped))
    list(spans_of(traces(raw_span(attributes=data, events=data, links=data, status=data)), skipped))


@given(_json)
def test_scalars_never_raise(data):
    integer(data, (0, 10))
    double(data)
    hex_id(data, 16)
