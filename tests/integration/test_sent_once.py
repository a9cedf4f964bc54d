"""An application whose own SDK exports to the collector that we send to: each record goes there once."""

from __future__ import annotations

from collections import Counter

import pytest

PROGRAM = """
import os, time
import otel_perf as perf
perf.init(service="both")
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, ConsoleSpanExporter
from opentelemetry.exporter.otlp.proto.{package}.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.{package}.trace_exporter import OTLPSpanExporter
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=os.environ["THEIR_TRACES"])))
provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(formatter=lambda span: span.name + "\\n")))
trace.set_tracer_provider(provider)
reader = PeriodicExportingMetricReader(OTLPMetricExporter(endpoint=os.environ["THEIR_METRICS"]))
metrics.set_meter_provider(MeterProvider([reader]))
metrics.get_meter("app").create_counter("theirs").add(1)
with perf.phase("UI"):
    with trace.get_tracer("app").start_as_current_span("theirs"):
        with perf.profile("ours", span_threshold=0):
            pass
perf.ready()
time.sleep(2)
"""


def where(receiver, package: str) -> dict[str, str]:
    base = receiver.url("grpc" if package == "grpc" else "http")
    paths = ("", "") if package == "grpc" else ("/v1/traces", "/v1/metrics")
    return {"THEIR_TRACES": base + paths[0], "THEIR_METRICS": base + paths[1]}


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc", "http/json"])
def test_each_span_comes_once_where_both_send_to_the_same_collector(run_python, receiver, spans_of, tmp_path, protocol):
    one = receiver()
    package = "grpc" if protocol == "grpc" else "http"
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": one.url(protocol), "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}

    result = run_python(PROGRAM.format(package=package), env=env | where(one, package))

    assert (0, "") == (result.returncode, result.stderr)
    came = Counter(span["span_id"] for span in one.spans())
    assert {1} == set(came.values())
    assert {span["span_id"] for span in spans_of(tmp_path)} == came.keys()
    names = Counter(span["name"] for span in one.spans())
    assert (1, 1, 1, 1) == (names["startup"], names["UI"], names["theirs"], names["ours"])
    printed = Counter(result.stdout.splitlines())
    assert (1, 1, 1, 1) == (printed["startup"], printed["UI"], printed["theirs"], printed["ours"]), "each place has all"
    scopes = {point["metric"]: point["scope"]["name"] for point in one.points()}
    assert "app" == scopes["theirs"]
    resources = {point["resource"]["service.name"] for point in one.points() if point["metric"] == "process.uptime"}
    assert {"both"} == resources, "ours come from us alone"


def test_collector_of_its_own_gets_all_that_ours_gets(run_python, receiver):
    ours, theirs = receiver(), receiver()

    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": ours.url("http")} | where(theirs, "http")
    result = run_python(PROGRAM.format(package="http"), env=env)

    assert (0, "") == (result.returncode, result.stderr)
    here, there = ({span["span_id"] for span in one.spans()} for one in (ours, theirs))
    assert here == there
    assert any(point["metric"] == "process.uptime" for point in theirs.points())


def test_replay_sends_also_what_the_applications_own_exporter_should_have(run_python, receiver, tmp_path):
    """Its batch may have been lost; the folder has it."""
    one = receiver()
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": one.url("http")} | where(one, "http")
    run_python(PROGRAM.format(package="http"), env=env)
    one.write_to(tmp_path / "again.jsonl")
    for folder in (tmp_path / ".otel-perf").glob("*/*/"):
        for file in folder.glob("*sent*"):
            file.unlink()

    result = run_python(["-m", "otel_perf", "replay"], env={"OTEL_EXPORTER_OTLP_ENDPOINT": one.url("http")})

    assert 0 == result.returncode, result.stderr
    assert 1 == Counter(span["name"] for span in one.spans())["theirs"]
