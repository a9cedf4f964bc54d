"""C30 on a real engine: long starts, big ones, old ones, and ids that begin with zeros, by id and by search alike."""

from __future__ import annotations

import importlib.util
import json
import sys
import time
import urllib.parse
from pathlib import Path
from typing import Any

import pytest

from otel_perf.backends.dashboards import boards_of, queries
from otel_perf.budgets import read

pytestmark = [pytest.mark.stack, pytest.mark.engine, pytest.mark.timeout(600)]

STACK = Path(__file__).resolve().parents[1]
FOUND = 40  # seconds until a trace can be searched for: Tempo's trace_idle_period, flush_check_period, and some
HOUR = 3600

START = """
    import otel_perf as perf, time
    perf.init(service="{service}", version="1.0.0")

    @perf.profile(span_threshold=0)
    def load(number):
        pass

    with perf.phase("CoreInit"):
        for number in range({calls}):
            load(number)
    perf.ready()
    time.sleep({rest})
"""


def _load(file: str) -> Any:
    """Return a module of tests/stack, which is in no package."""
    path = STACK / file
    spec = importlib.util.spec_from_file_location(f"stack_{path.stem}", path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


asked, slow_start = _load("grafana/asked.py"), _load("slow_start.py")
BOARDS = boards_of(read("", None))


def query_of(place: str) -> Any:
    """Return the one query of a panel or variable that Tempo or Loki, or for them Prometheus, answers."""
    languages = ("traceql", "logql", "trace id", "query_result")
    [found] = [one for one in queries(BOARDS) if one.place == place and one.language in languages]
    return found


def searched(stack: Any, place: str, end: float, seconds: int, **variables: str) -> list[dict[str, Any]]:
    """Return the spans that a panel's search finds: each its attributes, with ``trace``, ``span`` and ``duration``."""
    return [
        {
            **{one["key"]: next(iter(one["value"].values())) for one in span.get("attributes", [])},
            "trace": trace["traceID"],
            "span": span["spanID"],
            "name": span.get("name"),
            "duration": int(span["durationNanos"]),
        }
        for trace in asked.ask(stack, query_of(place), end, seconds, **variables)
        for span_set in trace["spanSets"]
        for span in span_set["spans"]
    ]


@pytest.fixture
def service() -> str:
    return f"traces-{time.time_ns()}"


@pytest.fixture
def started(process_stack, run_python, service, spans_of, tmp_path):
    """Return a function that runs a program with *calls* calls in its start, and gives its spans."""

    def run(calls: int) -> list[dict[str, Any]]:
        program = START.format(service=service, calls=calls, rest=1.5 + calls / 2000)  # what it takes to send them
        result = run_python(program, env=process_stack.environment(), timeout=120)
        assert (0, "") == (result.returncode, result.stderr)
        return spans_of(tmp_path)

    return run


@pytest.fixture(scope="module")
def slow(process_stack) -> Any:
    """Return a start of ten minutes that ended half an hour ago, with an id that begins with 00; sent now."""
    start = slow_start.SlowStart(f"slow-{time.time_ns()}", HOUR // 2)
    start.send(process_stack)
    return start


def test_slow_start_is_among_the_slowest_of_its_range(process_stack, slow):
    """By the query of the table, and joined with Prometheus as the table is: in a range that ended a while ago."""
    end = slow.ended + 60

    def found() -> list[dict[str, Any]]:
        spans = searched(process_stack, "Slowest starts", end, 900)
        return [one for one in spans if one["service.instance.id"] == slow.instance]

    (root,) = process_stack.wait_for(found, "the start by search", FOUND)

    assert slow.short_id == root["trace"].lstrip("0")
    assert 600 * 10**9 == root["duration"]
    assert ("1.0.0", "Database") == (root["service.version"], root["otel_perf.bottleneck"])
    assert 0.2 == float(root["otel_perf.bottleneck.share"])


@pytest.mark.parametrize("given", ["trace_id", "short_id"])
def test_links_to_an_id_with_and_without_its_zeros_show_the_whole_start(process_stack, slow, given):
    """Logs and exemplars have the zeros, Tempo's search has not: waterfall, flame graph and events take both."""
    link, end = getattr(slow, given), slow.ended + 60
    [short] = asked.ask(
        process_stack, query_of("variable traceIdOfSearch"), time.time(), 60, traceId=asked.chosen(link)
    )
    variables = {"traceId": link, "traceIdOfSearch": short}

    def flame() -> list[dict[str, Any]]:
        spans = searched(process_stack, "Flame graph of the start", end, 900, **variables)
        return spans if len(spans) == len(slow.spans) else []

    spans = process_stack.wait_for(flame, "all spans by search", FOUND)
    assert list(range(len(slow.spans))) == sorted(int(one["otel_perf.order"]) for one in spans)
    assert {span["name"] for span in slow.spans} == {one["name"] for one in spans}
    assert 600 * 10**9 == sum(int(one["otel_perf.self_ns"]) for one in spans)
    by_id = asked.ask(process_stack, query_of("Waterfall"), end, 900, **variables)
    assert len(slow.spans) == sum(len(scope["spans"]) for group in by_id for scope in group["scopeSpans"])
    events = process_stack.wait_for(
        lambda: asked.ask(process_stack, query_of("Events of the start"), end, 900, **variables), "its event"
    )
    assert {slow.trace_id} == {one["stream"]["trace_id"] for one in events}


def settled(stack: Any, trace_id: str) -> list[dict[str, Any]]:
    """Return the spans of a start once its root is there and nothing has come for a second."""
    spans = stack.trace(trace_id)
    time.sleep(1)
    return spans if "startup" in [span["name"] for span in spans] and len(spans) == len(stack.trace(trace_id)) else []


def test_start_of_20000_spans_is_whole_by_id_and_by_search(process_stack, started):
    (trace_id,) = {span["trace_id"] for span in started(20_000) if span["name"] == "startup"}
    spans = process_stack.wait_for(lambda: settled(process_stack, trace_id), "the start by id", 60)
    ids = {span["span_id"] for span in spans}
    assert [] == [span["name"] for span in spans if span["parent_id"] and span["parent_id"] not in ids]

    def flame() -> int:
        return len(searched(process_stack, "Flame graph of the start", time.time(), HOUR, traceIdOfSearch=trace_id))

    process_stack.wait_for(lambda: flame() == min(len(spans), 10_000), "as many by search", FOUND)


def test_run_of_yesterday_is_found_by_search_when_it_is_replayed(process_stack, started, run_python, service, tmp_path):
    """At once, not when its block has left the ingester half an hour later."""
    started(5)
    (file,) = (tmp_path / ".otel-perf").glob("*/*/traces.jsonl")
    day = 86400
    times = ("timeUnixNano", "startTimeUnixNano", "endTimeUnixNano")

    def older(found: dict[str, Any]) -> dict[str, Any]:
        return {key: str(int(value) - day * 10**9) if key in times else value for key, value in found.items()}

    lines = [json.loads(line, object_hook=older) for line in file.read_text(encoding="utf-8").splitlines()]
    text = "".join(json.dumps(line) + "\n" for line in lines).replace(service, f"{service}-old")
    file.write_text(text, encoding="utf-8")

    replay = run_python(["-m", "otel_perf", "replay", "--again", "--endpoint", process_stack.otlp_http, ".otel-perf"])

    assert 0 == replay.returncode, replay.stderr
    now = int(time.time())
    for end in (now, now - day + HOUR):  # a range up to now, and one that ended yesterday
        query = {"q": f'{{ resource.service.name = "{service}-old" }}', "start": now - 2 * day, "end": end}
        url = f"{process_stack.services['tempo']}/api/search?{urllib.parse.urlencode(query)}"
        process_stack.wait_for(lambda url=url: process_stack.get(url)["traces"], f"the start up to {end}", FOUND)
