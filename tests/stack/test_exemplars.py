"""Exemplars on the real stack: what a panel asks Prometheus for leads to a span behind the collector, of that duration."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from otel_perf.backends.names import series_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.stack

ROOT = Path(__file__).resolve().parents[2]
GRAFANA = ROOT / "deploy" / "grafana"

SHOP = """
    import time
    import otel_perf as perf
    perf.init(service="{service}")

    @perf.profile
    def load(seconds):
        time.sleep(seconds)

    @perf.profile
    def quick():
        pass

    lasted = perf.timer("lasted")
    perf.ready()
    with perf.operation("checkout"):
        with lasted:
            load(0.03)
    for seconds in (0.02, 0.05, 0.015):
        load(seconds)
        quick()
    time.sleep(1.5)
    load(0.04)  # written as the process ends
"""


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., str]:
    """Return a function that runs the shop, which sends by *protocol*, and gives the name of its service."""

    def start(stack: Any, protocol: str, **variables: str) -> str:
        service = f"exemplars-{os.getpid()}-{time.time_ns() // 10**6}"
        (tmp_path / "shop.py").write_text(textwrap.dedent(SHOP.format(service=service)), encoding="utf-8")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "PYTHON", "PYTEST_"))}
        environment = {**kept, "PYTHONPATH": str(ROOT / "src"), **stack.environment(protocol), **variables}
        done = subprocess.run(
            [sys.executable, "shop.py"], cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=60,
        )  # fmt: skip
        assert (0, "", "") == (done.returncode, done.stdout, done.stderr)
        return service

    return start


def exemplars(stack: Any, query: str) -> list[tuple[dict[str, str], dict[str, Any]]]:
    """Return what Prometheus answers to whoever asks for the exemplars of *query*: labels of the series, exemplar."""
    now = time.time()
    found = stack.prometheus("query_exemplars", query=query, start=repr(now - 300), end=repr(now + 300))
    return [(series["seriesLabels"], one) for series in found for one in series["exemplars"]]


def targets(node: Any) -> Iterator[dict[str, Any]]:
    """Yield each query of a dashboard that asks for exemplars."""
    if isinstance(node, dict):
        if node.get("exemplar"):
            yield node
        for value in node.values():
            yield from targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from targets(value)


def asked_by_panels(service: str) -> list[str]:
    """Return the queries of all dashboards that ask for exemplars, as Grafana sends them."""
    found = []
    for file in sorted((GRAFANA / "dashboards").glob("*.json")):
        for target in targets(json.loads(file.read_text(encoding="utf-8"))):
            text = target["expr"]
            everything = dict.fromkeys(("namespace", "version", "instance"), ".*")
            for name, value in {"service": service, **everything}.items():
                text = text.replace(f"${{{name}:regex}}", value)
            assert "${" not in text, text
            found.append(text.replace("$__rate_interval", "20s").replace("$__range", "300s"))
    return found


def link_label() -> str:
    """Return the label of an exemplar that Grafana makes a link to the trace of."""
    text = (GRAFANA / "provisioning" / "datasources" / "otel-perf.yaml").read_text(encoding="utf-8")
    (prometheus,) = (one for one in yaml.safe_load(text)["datasources"] if one["type"] == "prometheus")
    (destination,) = prometheus["jsonData"]["exemplarTraceIdDestinations"]
    return destination["name"]


def assert_leads_to(stack: Any, found: dict[str, Any], name: str) -> dict[str, Any]:
    """The trace that Grafana links to holds the span; return it."""
    trace_id, span_id = found["labels"][link_label()], found["labels"]["span_id"]
    spans = stack.wait_for(lambda: stack.trace(trace_id), f"the trace {trace_id}")
    (span,) = (each for each in spans if each["span_id"] == span_id)
    assert name == span["name"]
    return span


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_what_a_panel_asks_for_leads_to_the_slowest_calls_in_the_trace_backend(process_stack, run, protocol):
    service = run(process_stack, protocol)

    queries = asked_by_panels(service)
    assert queries, "no panel asks for exemplars"
    for query in queries:
        found = process_stack.wait_for(
            lambda query=query: len(some := exemplars(process_stack, query)) >= 3 and some, "the exemplars"
        )
        by_function: dict[str, list[dict[str, Any]]] = {}
        for labels, one in found:
            assert service == labels["service_name"]
            by_function.setdefault(labels["function"], []).append(one)

        assert {"__main__.load": 2, "checkout": 1} == {name: len(some) for name, some in by_function.items()}
        for function, name in (("__main__.load", "load"), ("checkout", "checkout")):
            for one in by_function[function]:
                span = assert_leads_to(process_stack, one, name)
                assert pytest.approx((span["end"] - span["start"]) / 1e9, abs=1e-6) == float(one["value"])
                assert pytest.approx(span["end"] / 1e9, abs=0.002) == one["timestamp"]
        assert 0.05 <= max(float(one["value"]) for one in by_function["__main__.load"]), "the slowest of all"


def test_a_timer_leads_to_the_span_that_it_stands_in(process_stack, run):
    service = run(process_stack, "http/protobuf")

    ((_, one),) = process_stack.wait_for(
        lambda: exemplars(process_stack, f'lasted_seconds{{service_name="{service}"}}'), "the exemplar"
    )

    span = assert_leads_to(process_stack, one, "checkout")
    assert 0.03 <= float(one["value"]) <= (span["end"] - span["start"]) / 1e9


def test_deltas_carry_exemplars_too(collector, run, tmp_path, metrics_of):
    """Prometheus takes no deltas; whoever does gets each exemplar once, as the collector reads it."""
    there = collector()

    class Behind:
        @staticmethod
        def environment(protocol: str) -> dict[str, str]:
            return {"OTEL_EXPORTER_OTLP_ENDPOINT": there.url(protocol), "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}

    run(Behind, "http/protobuf", OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE="delta")
    there.end()

    def of(folder: Path) -> list[tuple[Any, ...]]:
        return sorted(
            (point["metric"], one["traceId"], one["spanId"], one["timeUnixNano"], one["asDouble"])
            for point in metrics_of(folder)
            for one in point["point"].get("exemplars", [])
        )

    assert 4 <= len(of(tmp_path))
    assert of(tmp_path) == of(there.folder)


def test_prometheus_keeps_exemplars_of_histograms_only(process_stack, run):
    """That of a start is sent with a gauge, which OTLP allows: what has no place for it takes the point all the same."""
    service = run(process_stack, "http/protobuf")
    series = f'{series_of("otel_perf.startup.duration")}{{service_name="{service}"}}'

    assert process_stack.wait_for(lambda: process_stack.query(f"{series}[600s]"), "the duration of the start")
    assert [] == exemplars(process_stack, series)
