"""follow/wire_points.py encodes what the official encoder makes of the same points, and what it has no place for."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from otel_perf.export.follow.convert import Converter, metrics_data
from otel_perf.export.follow.wire_points import CHUNK, PointEncoder, request
from otel_perf.export.json_values import Skipped

WHEN = {"startTimeUnixNano": "1795592876422029625", "timeUnixNano": "1795592876422030236"}
PAIRS = [{"key": "k", "value": {"stringValue": "v"}}, {"key": "n", "value": {"intValue": "-3"}}]
NUMBERS = [{"asInt": "-7"}, {"asInt": 0}, {"asDouble": 0.5}, {"asDouble": "NaN"}, {"asDouble": 3}]
HISTOGRAM = {"count": "3", "sum": 1.5, "bucketCounts": ["1", "2"], "explicitBounds": [0.25]}
EXPONENTIAL = {
    "count": "5",
    "sum": -1.5,
    "min": 0.0,
    "max": 2.5,
    "scale": -3,
    "zeroCount": "2",
    "positive": {"offset": -40, "bucketCounts": ["1", "0", "300"]},
    "negative": {"offset": 2, "bucketCounts": ["1"]},
}


def data(kind: str, *points: dict[str, Any], **body: Any) -> dict[str, Any]:
    metric = {"name": "m", "description": "d", "unit": "s", kind: {"dataPoints": list(points), **body}}
    scoped = {"scope": {"name": "s", "version": "1"}, "schemaUrl": "https://example.org/s", "metrics": [metric]}
    return {"resourceMetrics": [{"resource": {"attributes": PAIRS}, "scopeMetrics": [scoped]}]}


def ours(*found: dict[str, Any]) -> tuple[Any, Skipped]:
    skipped = Skipped()
    encoder = PointEncoder(skipped)
    records = [record for one in found for record in encoder.records(one)]
    return ExportMetricsServiceRequest.FromString(request(records)), skipped


def theirs(*found: dict[str, Any]) -> tuple[Any, Skipped]:
    skipped = Skipped()
    converter = Converter("metrics", skipped)
    return encode_metrics(metrics_data([record for one in found for record in converter.records(one)])), skipped


CASES = [
    *(("gauge", number, {}) for number in NUMBERS),
    *(("sum", number, {"aggregationTemporality": 2, "isMonotonic": True}) for number in NUMBERS),
    ("sum", NUMBERS[0], {"aggregationTemporality": 1}),
    ("histogram", HISTOGRAM, {"aggregationTemporality": 2}),
    ("histogram", {**HISTOGRAM, "min": 0.1, "max": 3.0}, {"aggregationTemporality": 1}),
    ("exponentialHistogram", EXPONENTIAL, {"aggregationTemporality": 2}),
    ("exponentialHistogram", {"count": "0", "sum": 0.0, "scale": 0}, {"aggregationTemporality": 2}),
]


@pytest.mark.parametrize(("kind", "numbers", "body"), CASES, ids=str)
def test_point_is_encoded_as_the_official_encoder_does(kind, numbers, body):
    when = {**WHEN, "startTimeUnixNano": "0"} if kind == "gauge" else WHEN  # the official one leaves it out
    one = data(kind, {"attributes": PAIRS, **when, **numbers}, {**when, **numbers}, **body)

    (mine, counted), (official, other) = ours(one), theirs(one)

    for point in official.resource_metrics[0].scope_metrics[0].metrics[0].exponential_histogram.data_points:
        for side in ("positive", "negative"):  # an empty side is the default
            if side not in numbers:
                point.ClearField(side)
    assert str(official) == str(mine)
    assert repr(other) == repr(counted)


DAMAGED = [
    ("gauge", {}),
    ("sum", {"asInt": "x"}),
    ("sum", {"asDouble": []}),
    ("histogram", {"count": "1", "bucketCounts": 3}),
    ("histogram", {"count": "1", "explicitBounds": ["?"]}),
    ("histogram", {"count": "-1"}),
    ("exponentialHistogram", {"count": "1", "scale": 99}),
    ("exponentialHistogram", {"count": "1", "positive": []}),
    ("exponentialHistogram", {"count": "1", "positive": {"bucketCounts": [None]}}),
    ("exponentialHistogram", {"count": "1", "sum": {}}),
]


@pytest.mark.parametrize(("kind", "numbers"), DAMAGED, ids=str)
def test_point_without_valid_numbers_is_left_out_and_counted(kind, numbers):
    good = {"gauge": NUMBERS[0], "sum": NUMBERS[0], "histogram": HISTOGRAM, "exponentialHistogram": EXPONENTIAL}[kind]

    message, skipped = ours(data(kind, {**WHEN, **numbers}, {**WHEN, **good}))

    metric = message.resource_metrics[0].scope_metrics[0].metrics[0]
    assert 1 == len(getattr(metric, metric.WhichOneof("data")).data_points)
    assert {f"{kind} point without valid numbers": 1} == skipped.records


def test_what_the_sdk_has_no_place_for_is_encoded_as_protobufs_own_json_reader_does():
    exemplar = {"timeUnixNano": "9", "asDouble": 0.5, "filteredAttributes": PAIRS}
    points = [
        ("gauge", {**WHEN, "attributes": PAIRS, "flags": 1}),
        ("sum", {**WHEN, "asInt": "3", "exemplars": [{"timeUnixNano": "9", "asInt": "4"}]}),
        ("histogram", {**WHEN, **HISTOGRAM, "flags": 1, "exemplars": [exemplar]}),
        ("exponentialHistogram", {**WHEN, **EXPONENTIAL, "zeroThreshold": 0.25, "flags": 1, "exemplars": [exemplar]}),
    ]
    for kind, point in points:
        one = data(kind, point)
        message, skipped = ours(one)
        assert str(ParseDict(one, ExportMetricsServiceRequest())) == str(message)
        assert not skipped


def test_points_of_one_metric_go_together_however_many_lines_they_came_from_and_however_many_there_are():
    points = [{**WHEN, "asInt": str(number)} for number in range(2 * CHUNK + 1)]

    message, _ = ours(data("gauge", *points), data("gauge", points[0]), data("sum", points[0]))

    metrics = message.resource_metrics[0].scope_metrics[0].metrics
    assert [2 * CHUNK + 2, 1] == [len(getattr(metric, metric.WhichOneof("data")).data_points) for metric in metrics]
