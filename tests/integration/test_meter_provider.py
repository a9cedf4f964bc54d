"""A MeterProvider of the application's own: our last values are observable instruments of it, each once."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from otel_perf.metrics.names import INSTRUMENTS, WRITTEN

linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc")

# What an application does: its own provider, and a reader that asks when it likes.
PROGRAM = """
import json, os, sys, time
import otel_perf as perf
BEFORE
perf.init(service="metered")
perf.budget("tiny", metric="process.memory.usage", max="5MB", severity="info")
perf.counter("orders", unit="{{order}}").add(2, {{"kind": "web", "size": 3}})
perf.gauge("depth").set(7)
with perf.phase("UI"):
    pass
perf.ready()
AFTER
def read():
    found = reader.get_metrics_data()
    rows = []
    for resource in found.resource_metrics if found else []:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                kind = type(metric.data).__name__
                if kind == "Sum":
                    kind = "sum" if metric.data.is_monotonic else "updown"
                for point in metric.data.data_points:
                    value = getattr(point, "value", None)
                    rows.append([scope.scope.name, metric.name, kind.lower(), metric.unit, dict(point.attributes), value])
    return rows
time.sleep(2.2)
THEN
"""
PROVIDER = """
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
reader = InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider([reader]))
"""


def program(before: str = "", after: str = "", then: str = "print(json.dumps(read()))") -> str:
    text = PROGRAM.replace("{{", "{").replace("}}", "}")
    return text.replace("BEFORE", before).replace("AFTER", after).replace("THEN", then)


def of(rows: list[list[Any]], name: str) -> list[list[Any]]:
    return [row for row in rows if row[1] == name]


@linux
@pytest.mark.parametrize("when", ["before", "after"])
def test_our_last_values_are_observable_instruments_of_the_applications_provider(run_python, when):
    result = run_python(program(**{when: PROVIDER}))

    assert (0, "") == (result.returncode, result.stderr)
    rows = json.loads(result.stdout)
    assert {"otel_perf"} == {row[0] for row in rows}
    known = INSTRUMENTS | WRITTEN
    for _, name, kind, unit, _, _ in rows:
        if name in known:
            assert (kind, unit) == known[name][:2], name
    ((*_, attributes, value),) = of(rows, "process.memory.usage")
    assert ({}, True) == (attributes, 5e6 < value < 2e8)
    assert {"user", "system"} == {row[4]["cpu.mode"] for row in of(rows, "process.cpu.time")}
    assert 1.5 < of(rows, "process.uptime")[0][5] < 30
    assert [["otel_perf", "orders", "sum", "{order}", {"kind": "web", "size": 3}, 2]] == of(rows, "orders")
    assert [["otel_perf", "depth", "gauge", "", {}, 7]] == of(rows, "depth")
    assert [2] == [row[5] for row in of(rows, "otel_perf.budget.state") if row[4] == {"budget": "tiny"}]
    assert {"tiny"} == {row[4]["budget"] for row in of(rows, "otel_perf.alerts")}
    assert 0 < of(rows, "otel_perf.score")[0][5] < 100
    assert 0 < of(rows, "otel_perf.startup.duration")[0][5] < 10
    assert ["UI"] == [
        row[4]["phase"] for row in of(rows, "otel_perf.startup.phase.duration") if row[4]["phase"] != "PreInit"
    ]
    assert {"used", "free", "cached"} == {row[4]["state"] for row in of(rows, "system.memory.usage")}
    assert {0, 1, 2} == {row[4]["cpython.gc.generation"] for row in of(rows, "cpython.gc.collections")}


@linux
def test_the_applications_own_system_instrumentation_supplies_what_is_its(run_python):
    """Its instrument() works as without us, and no name of it is there twice."""
    instrument = """
from opentelemetry.instrumentation.system_metrics import SystemMetricsInstrumentor
SystemMetricsInstrumentor(config={"system.memory.usage": ["used"], "cpython.gc.collections": None}).instrument()
"""
    result = run_python(program(before=PROVIDER, then=instrument + "print(json.dumps(read()))"))

    assert (0, "") == (result.returncode, result.stderr)
    rows = json.loads(result.stdout)
    ((scope, *_, attributes, _),) = of(rows, "system.memory.usage")
    assert ("opentelemetry.instrumentation.system_metrics", "used") == (scope, attributes["state"])
    assert {scope} == {row[0] for row in of(rows, "cpython.gc.collections")}
    assert {"otel_perf"} == {row[0] for row in of(rows, "process.memory.usage")}


@linux
@pytest.mark.timed
def test_a_child_offers_its_own_values_and_never_its_parents(run_python):
    then = """
parent = read()
child = os.fork()
if not child:
    first = read()
    time.sleep(2.2)
    print(json.dumps([parent, first, read()]), flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""
    result = run_python(program(before=PROVIDER, then=then))

    assert (0, "") == (result.returncode, result.stderr)
    parent, first, later = json.loads(result.stdout)
    assert [] == of(first, "process.uptime")
    assert 1.5 < of(later, "process.uptime")[0][5] < of(parent, "process.uptime")[0][5] + 2.2
    assert [] == of(later, "orders"), "that is the parent's"


@linux
def test_provider_that_fails_costs_one_line_and_nothing_else(run_python, metrics_of, tmp_path):
    provider = """
from opentelemetry import metrics
class Broken(metrics.MeterProvider):
    def get_meter(self, *args, **kwargs):
        raise RuntimeError("no meters today")
metrics.set_meter_provider(Broken())
"""
    result = run_python(program(before=provider, then="time.sleep(1)"))

    said = "otel-perf: the application's MeterProvider does not get our metrics: no meters today\n"
    assert (0, said) == (result.returncode, result.stderr)
    assert len([point for point in metrics_of(tmp_path) if point["metric"] == "process.memory.usage"]) >= 3


def test_provider_that_is_over_is_asked_for_nothing(run_python, metrics_of, tmp_path):
    """As at exit, where the SDK shuts its own down before we write what is left: its warning would be our doing."""
    late = "perf.counter('late').add(3); metrics.get_meter_provider().shutdown()"
    result = run_python(program(before=PROVIDER, then=f"{late}; time.sleep(1.5)"))

    assert (0, "") == (result.returncode, result.stderr)
    assert "late" in {found["metric"] for found in metrics_of(tmp_path)}


def test_program_without_a_provider_of_its_own_loads_none(modules_after):
    code = "import otel_perf, time; from opentelemetry import metrics; otel_perf.init(); time.sleep(1.7)"

    assert "opentelemetry.sdk" not in modules_after(code)


@linux
def test_each_version_of_the_sdk_has_our_instruments(run_python, otel_versions):
    result = run_python(program(before=PROVIDER), path=[otel_versions], site=False)

    assert (0, "") == (result.returncode, result.stderr)
    names = {row[1] for row in json.loads(result.stdout)}
    assert {"process.memory.usage", "otel_perf.score", "orders", "system.memory.usage"} <= names
