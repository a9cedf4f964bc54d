"""C30 without a search: a start of ten minutes with a trace id that begins with 00, sent a while later, is whole.

``compose/test_traces.py`` looks for the same start by Tempo's search.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from otel_perf.backends.dashboards import Query, language

pytestmark = pytest.mark.stack

HERE = Path(__file__).resolve().parent


def _load(file: str) -> Any:
    """Return a module beside this file, which is in no package."""
    path = HERE / file
    spec = importlib.util.spec_from_file_location(f"stack_{path.stem}", path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


asked, slow_start = _load("grafana/asked.py"), _load("slow_start.py")


@pytest.fixture(scope="module")
def start(process_stack: Any) -> Any:
    """Return a start that ended five minutes ago and was sent now."""
    made = slow_start.SlowStart(f"slow-{time.time_ns()}", 300)
    made.send(process_stack)
    return made


def test_start_of_ten_minutes_is_whole_by_its_id_that_begins_with_zeros(process_stack, start):
    found = process_stack.wait_for(
        lambda: len(spans := process_stack.trace(start.trace_id)) >= len(start.spans) and spans, "all of its spans"
    )

    keys = ("name", "trace_id", "span_id", "parent_id", "start", "end")
    assert sorted(map(str, start.spans)) == sorted(str({key: span[key] for key in keys}) for span in found)
    assert {"00"} == {span["trace_id"][:2] for span in found}
    (root,) = [span for span in found if span["parent_id"] is None]
    assert 600 * 10**9 == root["end"] - root["start"]


def test_its_event_has_the_whole_id(process_stack, start):
    (event,) = process_stack.wait_for(lambda: process_stack.events(start.service), "its event")

    assert ("otel_perf.startup.completed", start.trace_id) == (event["event_name"], event["trace_id"])


def test_its_process_is_chosen_in_the_range_of_the_start_and_not_in_one_after_it(process_stack, start):
    """What the table of the slowest starts is joined with."""
    query = Query("", "", "promql", language.chosen_processes(), True, "")

    def processes(end: float, seconds: int) -> set[str]:
        rows = asked.ask(process_stack, query, end, seconds, service=asked.chosen(start.service))
        return {row["metric"]["service.instance.id"] for row in rows}

    process_stack.wait_for(lambda: start.instance in processes(start.ended + 10, 900), "the process")
    assert {start.instance, "none"} == processes(start.ended + 10, 900)
    assert {"none"} == processes(start.ended + 300, 240)


def test_flame_graph_of_it_has_an_order_and_self_times_that_add_up(start):
    """What the dashboards read of it is as a process sends it: else the tests of them prove nothing."""
    (scoped,) = start.bodies()["/v1/traces"]["resourceSpans"][0]["scopeSpans"]
    told = [{one["key"]: one["value"] for one in span["attributes"]} for span in scoped["spans"]]

    assert list(range(len(start.spans))) == [int(one["otel_perf.order"]["intValue"]) for one in told]
    assert 600 * 10**9 == sum(int(one["otel_perf.self_ns"]["intValue"]) for one in told)
