"""Exemplars of real programs: each leads to a span in the run folder, is written once, and is sent once by every protocol."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from otel_perf.export import endpoint
from otel_perf.export.decode import read_points
from otel_perf.export.follow.follower import Follower
from otel_perf.export.json_values import Skipped
from otel_perf.export.otlp_json import count_points

if TYPE_CHECKING:
    from collections.abc import Callable

SRC = str(Path(__file__).resolve().parents[2] / "src")
PREFERENCE = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"
FUNCTION, STARTUP, PHASE = (f"otel_perf.{name}.duration" for name in ("function", "startup", "startup.phase"))

SHOP = """
    import time
    import otel_perf as perf
    perf.init(service="shop")

    @perf.profile
    def load(seconds):
        time.sleep(seconds)

    @perf.profile
    def quick():
        pass

    @perf.profile(span_threshold=0)
    def items():
        for _ in range(3):
            time.sleep(0.002)
            yield

    lasted = perf.timer("lasted")
    with perf.phase("CoreInit"):
        load(0.01)
        lasted.record(3.0)
    perf.ready()
    lasted.record(9.0, {"where": "outside"})
    with perf.operation("checkout"):
        with lasted:
            load(0.03)
    for seconds in (0.02, 0.05, 0.015):
        load(seconds)
        quick()
    for _ in items():
        time.sleep(0.01)
    time.sleep(1.5)  # the statistics of the first second are written
    load(0.02)
    time.sleep(1.2)
    load(0.04)
"""


def exemplars(points: list[dict[str, Any]], metric: str = "", **attributes: str) -> list[dict[str, Any]]:
    """Return the exemplars of a metric's points, as OTLP/JSON has them."""
    return [
        one
        for point in points
        if metric in ("", point["metric"]) and attributes.items() <= point["attributes"].items()
        for one in point["point"].get("exemplars", [])
    ]


def ids(found: dict[str, Any]) -> tuple[str, str]:
    return found["traceId"], found["spanId"]


@pytest.fixture
def shop(run_python: Callable[..., Any], tmp_path: Path, metrics_of: Any, spans_of: Any) -> Callable[..., Any]:
    """Return a function that runs the shop and gives the points and the spans in its run folder."""

    def run(**env: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        done = run_python(SHOP, env=env)
        assert (0, "") == (done.returncode, done.stderr)
        return metrics_of(tmp_path), spans_of(tmp_path)

    return run


@pytest.mark.timed
def test_exemplars_are_the_slowest_calls_and_their_spans_lasted_as_long(shop):
    points, spans = shop()
    by_id = {(span["trace_id"], span["span_id"]): span for span in spans}

    loads = exemplars(points, FUNCTION, function="__main__.load")
    for one in loads:
        span = by_id[ids(one)]
        assert "load" == span["name"]
        assert span["end"] == int(one["timeUnixNano"])
        assert pytest.approx((span["end"] - span["start"]) / 1e9, abs=2e-9) == one["asDouble"]
    first, last = (one["asDouble"] for one in loads)  # of the first second, and of the rest, at the end
    written = next(
        point["point"]["timeUnixNano"] for point in points if loads[0] in point["point"].get("exemplars", [])
    )
    lasted = {span["end"]: (span["end"] - span["start"]) / 1e9 for span in spans if span["name"] == "load"}
    assert 6 <= len(lasted)
    assert max(lasted[end] for end in lasted if end < written - 5 * 10**8) <= first + 1e-8
    assert max(lasted[end] for end in lasted if end > written) <= last + 1e-8
    assert [] == exemplars(points, FUNCTION, function="__main__.quick")
    (generator,) = exemplars(points, FUNCTION, function="__main__.items")
    active = by_id[ids(generator)]["attributes"]["otel_perf.active_time"]
    assert active == generator["asDouble"] < 0.03, "the consumer's time is not in it"
    for kind in ("phase", "operation"):
        (one,) = exemplars(points, FUNCTION, kind=kind)
        assert kind == by_id[ids(one)]["attributes"]["otel_perf.kind"]


def test_each_exemplar_is_written_once(shop):
    points, _ = shop()

    found = Counter((point["metric"], *ids(one)) for point in points for one in point["point"].get("exemplars", []))

    assert 7 <= len(found)
    assert {1} == set(found.values())


def test_timer_leads_to_the_span_that_it_stands_in(shop):
    points, spans = shop()
    by_id = {(span["trace_id"], span["span_id"]): span for span in spans}

    first, *rest = exemplars(points, "lasted")

    assert ("CoreInit", 3.0) == (by_id[ids(first)]["name"], first["asDouble"])
    assert {by_id[ids(one)]["name"] for one in rest} <= {"checkout"}, "if the first was written before it"
    assert [] == exemplars(points, "lasted", where="outside")


def test_the_start_leads_to_its_trace(shop):
    points, spans = shop()
    (root,) = (span for span in spans if span["name"] == "startup")
    durations = {span["name"]: (span["end"] - span["start"]) / 1e9 for span in spans}

    (whole,) = exemplars(points, STARTUP)
    phases = exemplars(points, PHASE)

    for one in (whole, *phases):
        assert (root["trace_id"], root["span_id"]) == ids(one)
        assert root["end"] == int(one["timeUnixNano"])
    assert pytest.approx(durations["startup"]) == whole["asDouble"]
    assert pytest.approx([durations["CoreInit"]]) == [one["asDouble"] for one in phases]


def test_our_own_reader_reads_them_back(shop, tmp_path):
    points, _ = shop()
    (file,) = tmp_path.glob(".otel-perf/*/*/metrics.jsonl")
    skipped = Skipped()

    read = [one for point in read_points(str(file), skipped) for one in point.exemplars]
    counted = sum(map(count_points, file.read_bytes().splitlines()))

    assert not skipped
    assert len(points) == counted, "what was lost is told in points"
    written = exemplars(points)
    assert [(*ids(one), int(one["timeUnixNano"]), one["asDouble"]) for one in written] == [
        (one.trace_id, one.span_id, one.time, one.value) for one in read
    ]


@pytest.mark.parametrize(
    "env", [{"OTEL_TRACES_SAMPLER": "always_off"}, {"OTEL_METRICS_EXEMPLAR_FILTER": "always_off"}], ids=str
)
def test_what_is_not_sampled_or_not_wanted_has_none(shop, env):
    points, _ = shop(**env)

    assert [] == exemplars(points)
    assert FUNCTION in {point["metric"] for point in points}


def test_a_call_that_the_end_of_the_start_divides_has_none(run_python, tmp_path, metrics_of, spans_of):
    """Its two spans are parts of it; what was counted is the whole."""
    done = run_python("""
        import time
        import otel_perf as perf
        perf.init()
        @perf.profile(span_threshold=0)
        def serve():
            with perf.phase("inside"):  # it is known to be a span before the start ends
                pass
            time.sleep(0.05)
        import threading
        thread = threading.Thread(target=serve)
        thread.start()
        time.sleep(0.02)
        perf.ready()
        thread.join()
    """)

    assert (0, "") == (done.returncode, done.stderr)
    assert 2 == len([span for span in spans_of(tmp_path) if span["name"] == "serve"])
    counted = {one["attributes"]["function"]: one for one in metrics_of(tmp_path) if one["metric"] == FUNCTION}
    assert "exemplars" not in counted["__main__.serve"]["point"]
    assert "exemplars" in counted["inside"]["point"]


def test_always_on_takes_a_timer_outside_of_all_spans_too(shop):
    points, _ = shop(OTEL_METRICS_EXEMPLAR_FILTER="always_on")

    (outside,) = exemplars(points, "lasted", where="outside")
    assert (9.0, True, True) == (outside["asDouble"], "traceId" not in outside, "spanId" not in outside)
    assert all("traceId" in one for one in exemplars(points, FUNCTION)), "a call that is no span has none"


@pytest.mark.parametrize("provider", ["", "trace.set_tracer_provider(TracerProvider())"], ids=["api alone", "with SDK"])
def test_timer_leads_to_a_span_of_the_opentelemetry_api(run_python, tmp_path, metrics_of, provider):
    done = run_python(f"""
        import otel_perf as perf
        perf.init()
        perf.ready()
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        {provider}
        with trace.get_tracer("app").start_as_current_span("request") as span:
            perf.timer("lasted").record(0.5)
            with perf.profile("quick", span_threshold="1h"):  # no span: what stands around it is
                perf.timer("nested").record(0.5)
        context = span.get_span_context()
        print(f"{{context.trace_id:032x}} {{context.span_id:016x}}")
    """)

    assert (0, "") == (done.returncode, done.stderr)
    for name in ("lasted", "nested"):
        assert [tuple(done.stdout.split())] == [ids(one) for one in exemplars(metrics_of(tmp_path), name)], name


def test_an_exemplar_that_has_waited_is_on_disk_without_a_new_call_and_without_an_end(
    start_program, write, metrics_of, tmp_path
):
    program = write(
        "app.py",
        """
        import time
        import otel_perf as perf
        from otel_perf.metrics import exemplars
        exemplars.EVERY = 2.5
        perf.init()
        @perf.profile
        def load(seconds):
            time.sleep(seconds)
        perf.ready()
        for seconds in (0.05, 0.02):
            load(seconds)
            perf.timer("lasted").record(seconds)
            time.sleep(1.3)
        print("waiting", flush=True)
        time.sleep(60)
        """,
    )
    process = start_program([sys.executable, program], None, env={"PYTHONPATH": SRC})
    assert b"waiting\n" == process.stdout.readline()
    end = time.monotonic() + 15
    while len(found := exemplars(metrics_of(tmp_path), FUNCTION)) < 2:
        assert time.monotonic() < end, "the second one is not written"
        time.sleep(0.1)
    process.kill()

    first, second = (one["asDouble"] for one in found)
    assert 0.05 <= first
    assert 0.02 <= second < first


@pytest.mark.skipif(not hasattr(os, "fork"), reason="os.fork")
def test_a_forked_child_has_its_own_only(run_python, tmp_path, metrics_of, spans_of):
    done = run_python("""
        import os, time
        import otel_perf as perf
        perf.init()
        @perf.profile(span_threshold=0)
        def work(seconds=0.001):
            time.sleep(seconds)
        perf.ready()
        work(0.02)
        with perf.operation("parent"):
            time.sleep(0.5)  # the call is on disk as a span, and not yet in a point
            perf.timer("lasted").record(0.5)
            if not os.fork():
                perf.timer("lasted").record(0.25)
                work()
                time.sleep(0.8)  # long enough to be sampled
                raise SystemExit
            os.wait()
        work()
    """)

    assert (0, "") == (done.returncode, done.stderr)
    points, spans = metrics_of(tmp_path), spans_of(tmp_path)
    of_process = {span["span_id"]: span["process"] for span in spans}
    assert 1 == len({point["process"] for point in points if point["metric"] == STARTUP})
    linked = [(point["process"], one["spanId"]) for point in points for one in point["point"].get("exemplars", [])]
    assert 2 == len({process for process, _ in linked})
    assert all(process == of_process[span] for process, span in linked)
    assert [0.5] == [one["asDouble"] for one in exemplars(points, "lasted")], "the child's stands in no span of its own"


# --- sent ------------------------------------------------------------------------------------------------------------


def in_order(points: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Return metric, value, time and ids of each exemplar."""
    return sorted(
        (point["metric"], one["asDouble"], one["timeUnixNano"], *ids(one))
        for point in points
        for one in point["point"].get("exemplars", [])
    )


def test_every_exemplar_is_sent_once_by_every_protocol(shop, receiver, tmp_path, send_all):
    points, _ = shop()
    (folder,) = tmp_path.glob(".otel-perf/*/*/")
    there = receiver()

    for number, protocol in enumerate(("http/protobuf", "grpc", "http/json")):
        for preference in ("cumulative", "delta"):
            copy = tmp_path / f"{number}{preference}" / "run" / folder.name
            shutil.copytree(folder, copy)
            there.write_to(tmp_path / f"{number}{preference}.jsonl")
            found = endpoint.load(there.url(protocol), protocol, {PREFERENCE: preference})
            for target in found.targets.values():
                target.interval = 0.05
            follower = Follower([str(copy)], found)
            try:
                send_all(follower)
            finally:
                follower.end()

            assert in_order(points) == in_order(there.points()), f"{protocol}, {preference}"
