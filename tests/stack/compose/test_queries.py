"""C29 on a real engine: every query of every panel, variable and mark, with the values that the variables have.

Sent to Prometheus, Tempo and Loki as their data sources send them, and through Grafana as somebody who only looks.
"""

from __future__ import annotations

import contextlib
import importlib.util
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from otel_perf.backends.dashboards import Query, boards_of, language, queries
from otel_perf.budgets import read

pytestmark = [pytest.mark.stack, pytest.mark.engine, pytest.mark.timeout(600)]

GRAFANA = Path(__file__).resolve().parents[1] / "grafana"
RANGE = 300  # seconds shown
FOUND = 40  # seconds until Tempo's search has what was sent
BOARDS = boards_of(read("", None))
LATER = "How processes ended"  # its data come with the end of one


def _load(name: str) -> Any:
    """Return a module of tests/stack/grafana, which is no package."""
    spec = importlib.util.spec_from_file_location(f"grafana_{name}", GRAFANA / f"{name}.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


asked = _load("asked")
SHOP, SAMPLE = (getattr(_load("programs"), name) for name in ("SHOP", "SAMPLE"))


class Chosen:
    """What a visitor has chosen in the variables: real values, as the services give them.

    Attributes:
        values: by variable, as they stand in a query.
        empty: panels that have nothing of this service: no rule fires of the sample application, whose memory is within
            the budget that the rules of deploy/ have.
    """

    def __init__(self, stack: Any, service: str) -> None:
        self.stack = stack
        self.empty = {"Firing alert rules", "Alert rules that fired"} if service == SAMPLE else set()
        self.values = {"service": asked.chosen(service)}
        for name in ("version", "instance"):
            self.values[name] = asked.chosen(*self._options(name))
        self.values["baseline"] = self.values["version"]
        roots = stack.wait_for(self._starts, "its starts by search", FOUND)
        self.values["traceId"] = roots[0]["traceID"]
        [self.values["traceIdOfSearch"]] = self._options("traceIdOfSearch")

    def ask(self, query: Query) -> list[Any]:
        """Return what a query gives now."""
        return asked.ask(self.stack, query, time.time(), RANGE, **self.values)

    def _options(self, name: str) -> list[str]:
        """Return what there is to choose in a variable."""
        query = next(one for one in queries(BOARDS) if one.place == f"variable {name}")
        found = self.ask(query)
        assert found, name
        return found

    def _starts(self) -> list[dict[str, Any]]:
        """Return the starts that the table shows: of Tempo's, those of the processes that Prometheus says."""
        [table] = [one for one in queries(BOARDS) if one.place == "Slowest starts" and one.language == "traceql"]
        [among] = [one for one in queries(BOARDS) if one.text == language.chosen_processes()]
        ids = {row["metric"]["service.instance.id"] for row in self.ask(among)}
        return [trace for trace in self.ask(table) if instance_of(trace) in ids]


def instance_of(trace: dict[str, Any]) -> str:
    """Return the process of the one span of a trace that a search has found."""
    (span,) = trace["spanSets"][0]["spans"]
    attributes = {one["key"]: one["value"].get("stringValue") for one in span["attributes"]}
    return attributes["service.instance.id"]


@pytest.fixture(scope="module", params=[SHOP, SAMPLE], ids=["odd name", "sample application"])
def visitor(request, programs) -> Chosen:
    """Return what somebody has chosen who looks at one of the programs, which have run for 30 s."""
    return Chosen(programs.stack, request.param)


@pytest.mark.parametrize("language", ["promql", "label_values", "query_result", "traceql", "trace id", "logql"])
def test_every_query_has_data_of_what_is_chosen(visitor, language):
    """None is refused, and none is empty: budgets are exceeded, a rule fires, a start is chosen."""
    asked_for = [one for one in queries(BOARDS) if one.language == language and one.place != LATER]
    assert asked_for

    def empty() -> list[tuple[str, str, str]]:
        nothing = [one for one in asked_for if not visitor.ask(one)]
        return [(one.dashboard, one.place, one.text) for one in nothing if one.place not in visitor.empty]

    with contextlib.suppress(AssertionError):
        visitor.stack.wait_for(lambda: not empty(), "data of every query", FOUND)
    assert [] == empty()


def test_slowest_starts_have_their_columns(visitor):
    [table] = [one for one in queries(BOARDS) if one.place == "Slowest starts" and one.language == "traceql"]

    for trace in visitor.ask(table):
        (span,) = trace["spanSets"][0]["spans"]
        told = {one["key"] for one in span["attributes"]}
        assert {"service.version", "service.instance.id", "otel_perf.bottleneck"} <= told, trace


def test_who_only_looks_is_answered_by_every_data_source(visitor):
    """Grafana's proxy sends a query on to the address that is provisioned, for a visitor without a sign-in."""
    grafana = visitor.stack.services["grafana"]
    for name in ("promql", "traceql", "logql"):
        query = next(one for one in queries(BOARDS) if one.language == name and one.place != LATER)
        request = asked.request_of(query, time.time(), RANGE, **visitor.values)

        answer = visitor.stack.get(request.url(f"{grafana}/api/datasources/proxy/uid/{request.service}"))

        assert asked.rows(query, answer), query.text


def test_alert_is_in_loki_by_service_by_name_and_by_trace(process_stack, run_python):
    service = f"alert-{time.time_ns()}"
    result = run_python(
        f"""
        import otel_perf as perf, time
        perf.budget("tiny", metric="process.memory.usage", max="5MB", severity="critical")
        perf.init(service={service!r})
        perf.ready()
        time.sleep(3)
        """,
        env=process_stack.environment(),
    )
    assert (0, "") == (result.returncode, result.stderr)

    (event,) = process_stack.wait_for(lambda: process_stack.events(service, "otel_perf.budget.exceeded"), "the event")

    assert (service, "tiny", "critical") == (event["service_name"], event["budget"], event["severity"])
    assert process_stack.logs(
        f'{{service_name=~".+"}} | event_name=~"otel_perf[.]budget[.].*" | service_name="{service}"'
    )
    assert process_stack.logs(f'{{service_name="{service}"}} | trace_id="{event["trace_id"]}"')
    labels = process_stack.get(f"{process_stack.services['loki']}/loki/api/v1/labels")["data"]
    assert {"service_name"} <= set(labels) <= {"service_name", "service_namespace", "deployment_environment_name"}


def test_end_of_a_process_is_in_the_log(programs):
    """Last, as it ends one."""
    [query] = [one for one in queries(BOARDS) if one.place == LATER]
    programs.shops[0].send_signal(signal.SIGTERM)

    def ended() -> list[Any]:
        return asked.ask(programs.stack, query, time.time(), RANGE, service=asked.chosen(SHOP))

    assert programs.stack.wait_for(ended, "the event of its end")
