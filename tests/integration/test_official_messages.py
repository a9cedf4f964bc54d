"""Every line of a run folder is OTLP/JSON that the official protobuf messages read, whatever the program recorded."""

from __future__ import annotations

import base64
import json
import math

import pytest
from google.protobuf import json_format
from opentelemetry.proto.logs.v1.logs_pb2 import LogsData
from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

POISON = """
    import logging
    logging.disable()
    import otel_perf as perf
    perf.init("poison \\ud800 \\x00 \\u2028 \\U0001f600")
    from opentelemetry import trace

    class Raises:
        def __str__(self): raise RuntimeError
        __repr__ = __str__

    class Text:
        def __str__(self): return "text \\udfff"

    class OwnInt(int):
        def __str__(self): raise RuntimeError
        __repr__ = __str__

    class OwnFloat(float):
        def __repr__(self): raise RuntimeError
        __str__ = __repr__

    class OwnStr(str):
        def __str__(self): raise RuntimeError

    deep = leaf = []
    for _ in range(60):
        leaf.append([])
        leaf = leaf[0]
    cycle = []
    cycle.append(cycle)
    POISON = {
        "nan": float("nan"), "inf": float("inf"), "-inf": float("-inf"), "-0.0": -0.0, "tiny": 5e-324, "big": 1.7e308,
        "huge int": 10**30, "huger int": 10**6000, "-2**63": -2**63, "2**63-1": 2**63 - 1, "2**63": 2**63,
        "true": True, "lone": "a\\ud800b", "low": "\\udc00", "pair": "\\ud83d\\ude00", "nul": "\\x00", "control": "".join(map(chr, range(32))),
        "bytes": b"\\x00\\xff", "empty bytes": b"", "bytearray": bytearray(b"ab"), "none": None, "list": [1, "a", None, 1.5, [2, {"x": b"y"}]],
        "tuple": (1, 2), "set": {1}, "dict": {"a": {"b": [1, {"c": float("nan")}]}, 1: 2, None: 3}, "empty": [], "empty dict": {},
        "deep": deep, "cycle": cycle, "raises": Raises(), "text": Text(), "in list": [Raises()], "class": Raises, "range": range(3),
        "own int": OwnInt(7), "own float": OwnFloat(1.5), "own str": OwnStr("x"), "complex": 1j, "long": "x" * 100_000,
        "key \\ud800": 1, "": "empty key", 5: "int key", "lambda": lambda: 0, "bool list": [True, False], "memory": memoryview(b"z"),
    }
    TIMES = (1.5e18, float("nan"), -1, 2**70, "soon", None)
    def poison(span):
        for key, value in POISON.items():
            span.set_attribute(key, value)
            span.add_event(f"event {key}", {key: value, "other": 1})
        span.set_attributes(POISON)
        span.record_exception(ValueError("\\ud800"), {"value": float("nan")})
        span.set_status(trace.Status(trace.StatusCode.ERROR, "bad \\udfff \\x00"))
"""
LIGHT = """
    tracer = trace.get_tracer("app \\ud800", "1.0 \\udfff")
    with perf.phase("phase \\ud800"):
        poison(trace.get_current_span())
        for time in TIMES:
            trace.get_current_span().add_event("timed", timestamp=time)
    for time in TIMES:
        span = tracer.start_span("raw \\ud800", start_time=time, links=[trace.Link(trace.SpanContext(1, 1, False), POISON)])
        poison(span)
        span.add_event("timed", timestamp=time)
        span.end(time)
    with perf.profile("call " + "y" * 5000, span_threshold=0):
        pass
    try:
        with perf.operation("failing"):
            raise ValueError("\\ud800" + "z" * 10_000)
    except ValueError:
        pass
    tracer.start_span("last").end()
"""
SDK = """
    from opentelemetry.sdk.trace import TracerProvider
    trace.set_tracer_provider(TracerProvider())
    tracer = trace.get_tracer("app \\ud800", "1.0 \\udfff")
    for time in TIMES:
        try:
            span = tracer.start_span("raw \\ud800", start_time=time)
            for key, value in POISON.items():
                for call in (lambda: span.set_attribute(key, value), lambda: span.add_event(f"event {key}", {key: value})):
                    try:
                        call()
                    except Exception:
                        pass
            span.add_event("timed", timestamp=time)
            span.end(time)
        except Exception:
            pass
    tracer.start_span("last").end()
"""


def to_protobuf(line, message):
    """Return *line* as the message; ids are hex in OTLP/JSON, and base64 in protobuf's own JSON."""

    def convert(item):
        if isinstance(item, list):
            return [convert(each) for each in item]
        if not isinstance(item, dict):
            return item
        return {
            key: base64.b64encode(bytes.fromhex(value)).decode()
            if key in ("traceId", "spanId", "parentSpanId")
            else convert(value)
            for key, value in item.items()
        }

    return json_format.Parse(json.dumps(convert(json.loads(line))), message())


def spans_in(folder):
    (file,) = folder.glob(".otel-perf/*/*/traces.jsonl")
    return [
        span
        for line in file.read_text(encoding="utf-8").splitlines()
        for group in to_protobuf(line, TracesData).resource_spans
        for scope in group.scope_spans
        for span in scope.spans
    ]


@pytest.mark.parametrize("program", [POISON + LIGHT, POISON + SDK], ids=["light", "sdk"])
def test_poison_attributes_cost_at_most_themselves_and_never_a_line(run_python, tmp_path, program):
    result = run_python(program)

    assert (0, "") == (result.returncode, result.stderr)
    spans = spans_in(tmp_path)
    names = [span.name for span in spans]
    assert {"last", "startup"} <= set(names)
    if "TracerProvider" not in program:
        assert 6 == names.count("raw \ufffd")
        assert {"phase \ufffd", "failing"} <= set(names)
    for span in spans:
        assert (16, 8) == (len(span.trace_id), len(span.span_id))
        if span.name in ("raw \ufffd", "phase \ufffd"):
            values = {pair.key: pair.value for pair in span.attributes}
            assert "a\ufffdb" == values["lone"].string_value
            assert math.isnan(values["nan"].double_value)
            assert -math.inf == values["-inf"].double_value
            assert -(2**63) == values["-2**63"].int_value


def test_every_line_of_every_version_is_read(otel_versions, run_python, tmp_path):
    result = run_python(POISON + LIGHT, path=[otel_versions], site=False)

    assert (0, "") == (result.returncode, result.stderr)
    assert {"last", "startup", "phase \ufffd", "raw \ufffd"} <= {span.name for span in spans_in(tmp_path)}
    (file,) = tmp_path.glob(".otel-perf/*/*/metrics.jsonl")
    metrics = [
        metric.name
        for line in file.read_text(encoding="utf-8").splitlines()
        for group in to_protobuf(line, MetricsData).resource_metrics
        for scope in group.scope_metrics
        for metric in scope.metrics
    ]
    assert {"otel_perf.function.duration", "otel_perf.profile.time", "otel_perf.self.dropped"} <= set(metrics)


def test_every_line_of_the_logs_is_read(run_python, tmp_path):
    run_python("import otel_perf as perf\nperf.init()\nperf.ready()\nraise ValueError('\\ud800 \\x00')")

    (file,) = tmp_path.glob(".otel-perf/*/*/logs.jsonl")
    started, record = (
        record
        for line in file.read_text(encoding="utf-8").splitlines()
        for group in to_protobuf(line, LogsData).resource_logs
        for scope in group.scope_logs
        for record in scope.log_records
    )
    assert ("otel_perf.startup.completed", 9) == (started.event_name, started.severity_number)
    assert "otel_perf.process.ended" == record.event_name
    assert 17 == record.severity_number
    assert {"event.name", "otel_perf.end", "exception.type"} <= {pair.key for pair in record.attributes}


def test_nothing_that_could_be_recorded_was_dropped(run_python, metrics_of, tmp_path):
    run_python(POISON + LIGHT)

    dropped = [m["point"]["value"] for m in metrics_of(tmp_path) if m["metric"] == "otel_perf.self.dropped"]
    assert {0} == set(dropped)
