"""What is sent, as the real collector and the real Prometheus understand it: deltas, ends of series, few series."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.stack

ROOT = Path(__file__).resolve().parents[2]
SRC = str(ROOT / "src")
PREFERENCE = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"

every_protocol = pytest.mark.parametrize("protocol", ["http/protobuf", "grpc", "http/json"])

SHOP = """
import sys, time
import otel_perf as perf
perf.init(service={service!r})

@perf.profile
def load():
    time.sleep(0.001)

@perf.profile
def order():
    load()
    perf.counter("orders", unit="{{order}}").add(1, {{"kind": "big"}})
    perf.timer("lasted").record(0.25)

perf.ready()
end = time.monotonic() + {seconds}
while time.monotonic() < end:
    order()
    time.sleep(0.02)
time.sleep({rest})
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Return a function that starts the shop in the test's folder; no process outlives the test."""
    started: list[subprocess.Popen[str]] = []

    def run(environ: dict[str, str], *, service: str, seconds: float, rest: float = 0.0) -> subprocess.Popen[str]:
        script = tmp_path / f"shop{len(started)}.py"
        script.write_text(SHOP.format(service=service, seconds=seconds, rest=rest), encoding="utf-8")
        environment = {**os.environ, "PYTHONPATH": SRC, **environ}
        started.append(
            subprocess.Popen(
                [sys.executable, str(script)], cwd=tmp_path, env=environment, text=True, stderr=subprocess.PIPE
            )
        )
        return started[-1]

    yield run
    for process in started:
        with process:
            process.kill()


# --- deltas ----------------------------------------------------------------------------------------------------------


def totals(points: list[dict[str, Any]]) -> dict[tuple[Any, ...], tuple[float, ...]]:
    """Return what the counters and histograms of these points add up to; of cumulative ones the last point."""
    found: dict[tuple[Any, ...], tuple[float, ...]] = defaultdict(tuple)
    for one in points:
        if not (one["monotonic"] or one["type"] == "exponentialHistogram"):
            continue
        if one["metric"].startswith(("otel_perf.profile.", "system.", "cpython.")):
            continue
        key = one["metric"], *sorted(one["attributes"].items())
        point = one["point"]
        value = (point["value"],) if "value" in point else (point["count"], point.get("sum", 0.0))
        if one["temporality"] == 1 and key in found:
            value = tuple(old + new for old, new in zip(found[key], value, strict=True))
        found[key] = value
    return {key: value for key, value in found.items() if any(value)}


def position(folder: Path) -> tuple[int, int]:
    (process,) = (folder / ".otel-perf").glob("*/*/")
    kept = process / "sent.json"
    data = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {"files": {}}
    file = process / "metrics.jsonl"
    return data["files"].get("metrics.jsonl", {}).get("offset", 0), file.stat().st_size if file.exists() else 0


@every_protocol
def test_deltas_add_up_to_the_folder_after_the_sender_was_killed_and_another_went_on(
    protocol, collector, start, run_python, tmp_path, metrics_of
):
    there = collector()
    url = there.url(protocol)
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol, PREFERENCE: "delta"}
    process = start(env, service="delta", seconds=60)
    end = time.monotonic() + 30
    while not (list((tmp_path / ".otel-perf").glob("*/*/sent.json")) and position(tmp_path)[0] > 0):
        assert time.monotonic() < end
        time.sleep(0.02)
    last = position(tmp_path)[0]
    while position(tmp_path)[0] == last:  # a request has just been answered, and the next one is 2 s away
        assert time.monotonic() < end
        time.sleep(0.02)
    time.sleep(1.2)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    sent, size = position(tmp_path)
    assert last < sent < size

    words = ["-m", "otel_perf", "replay", "--endpoint", url, "--protocol", protocol]
    result = run_python(words, env=env)

    assert 0 == result.returncode, result.stderr
    points = metrics_of(there.folder)
    counted = [one for one in points if one["monotonic"] or one["type"] == "exponentialHistogram"]
    assert {1} == {one["temporality"] for one in counted}
    assert {2} == {one["temporality"] for one in metrics_of(tmp_path) if one["type"] != "gauge"}
    written, got = totals(metrics_of(tmp_path)), totals(points)
    assert ("orders", ("kind", "big")) in written
    assert ("process.cpu.time", ("cpu.mode", "user")) in written
    assert written.keys() == got.keys()
    for key, value in written.items():
        assert value == pytest.approx(got[key]), key
    assert written["orders", ("kind", "big")] == got["orders", ("kind", "big")]


def test_doctor_says_that_prometheus_will_not_take_deltas(run_python):
    result = run_python(["-m", "otel_perf", "doctor"], env={PREFERENCE: "delta"})

    assert f"{PREFERENCE}=delta: Prometheus will not take it" in " ".join(result.stdout.split())  # lines are wrapped


# --- Prometheus ------------------------------------------------------------------------------------------------------


def instances(stack: Any, selector: str) -> set[str]:
    return {one["metric"]["service_instance_id"] for one in stack.query(selector)}


def instance_of(folder: Path, process: subprocess.Popen[str]) -> str:
    (file,) = (folder / ".otel-perf").glob(f"*/{process.pid}/metrics.jsonl")
    return instance_in(file)


def instance_in(file: Path) -> str:
    data = json.loads(file.read_text(encoding="utf-8").splitlines()[0])
    pairs = data["resourceMetrics"][0]["resource"]["attributes"]
    return next(pair["value"]["stringValue"] for pair in pairs if pair["key"] == "service.instance.id")


def test_process_that_ended_cleanly_is_gone_after_ten_seconds_and_one_that_was_killed_is_not(
    process_stack, start, tmp_path
):
    """C31. That a killed one does not count any more after 30 s is for a query to say, by the age of its points."""
    env, service = process_stack.environment(), "ends"
    three = [start(env, service=service, seconds=60) for _ in range(3)]
    uptime = f'process_uptime_seconds{{service_name="{service}"}}'
    process_stack.wait_for(lambda: len(instances(process_stack, uptime)) == 3, "three instances", 30)
    time.sleep(2.5)
    stopped, killed, lives = (instance_of(tmp_path, process) for process in three)

    three[0].send_signal(signal.SIGTERM)
    three[1].send_signal(signal.SIGKILL)
    begun = time.monotonic()
    three[0].wait(10)
    process_stack.wait_for(lambda: stopped not in instances(process_stack, uptime), "it is gone", 10)

    print(f"gone {time.monotonic() - begun:.2f} s after SIGTERM")
    assert {killed, lives} == instances(process_stack, uptime)
    of_rules = "those of rules at their next evaluation"
    process_stack.wait_for(lambda: not process_stack.query(f'{{service_instance_id="{stopped}"}}'), of_rules, 30)
    assert process_stack.query(f'{{service_instance_id="{killed}"}}')


def test_short_processes_add_up_to_what_they_counted(process_stack, start):
    """C22: the first increment of a process is not lost to a query that says how."""
    service = "short"
    for _ in range(3):
        with start(process_stack.environment(), service=service, seconds=0.001) as process:
            process.wait(20)
    counter = f'orders_total{{service_name="{service}"}}'
    query = f"sum(last_over_time({counter}[10m]))"
    process_stack.wait_for(lambda: process_stack.query(query), "the counter", 30)
    process_stack.wait_for(lambda: float(process_stack.query(query)[0]["value"][1]) >= 3, "all three", 10)

    assert 3 == float(process_stack.query(query)[0]["value"][1])


def test_sample_application_has_at_most_sixty_series_and_bounded_call_paths(process_stack, run_python, tmp_path):
    application = ROOT / "examples" / "desktop"
    words = ["-m", "otel_perf", "run", "--", sys.executable, str(application), "--messages", "300", "--seconds", "4"]
    begun = time.time()

    result = run_python(words, env=process_stack.environment())

    assert 0 == result.returncode, result.stderr
    (folder,) = (tmp_path / ".otel-perf").glob("*/*/metrics.jsonl")
    selector = f'{{service_instance_id="{instance_in(folder)}"}}'
    process_stack.wait_for(lambda: process_stack.query(f"last_over_time({selector}[5m])"), "its series", 30)
    time.sleep(2)
    names = defaultdict(int)
    for one in process_stack.prometheus("series", **{"match[]": selector, "start": f"{begun - 60:.0f}"}):
        if ":" not in one["__name__"] and not one["__name__"].startswith("desktop_"):  # of rules, and its own
            names[one["__name__"]] += 1
    profile = {name: number for name, number in names.items() if name.startswith("otel_perf_profile_")}
    durations = names.pop("otel_perf_function_duration_seconds", 0)
    rest = sum(names.values()) - sum(profile.values())
    print(f"{rest} series, and of the profile {profile}, of functions' durations {durations}")
    assert profile
    assert 20 < rest <= 60, dict(names)


def test_call_paths_of_prometheus_sort_as_a_tree_and_name_their_functions(process_stack, tmp_path):
    program = """
        import time
        import otel_perf as perf
        perf.init(service="tree")

        @perf.profile
        def leaf():
            time.sleep(0.002)

        @perf.profile
        def branch():
            leaf()

        @perf.profile
        def serve():
            for _ in range(1500):
                branch()
                time.sleep(0.005)

        perf.ready()
        serve()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": SRC, **process_stack.environment()},
    ) as process:  # while serve() has not returned it is known by its children alone
        query = 'otel_perf_profile_time_seconds_total{service_name="tree", function="serve"}'
        (found,) = process_stack.wait_for(lambda: process_stack.query(query), "serve", 20)
        assert process.poll() is None
        assert float(found["value"][1]) > 0
        process.wait(60)

    query = 'last_over_time(otel_perf_profile_time_seconds_total{service_name="tree"}[10m])'
    whole = query.replace("}", ', function="leaf"}') + " > 0.7"
    process_stack.wait_for(lambda: process_stack.query(whole), "the last values", 20)
    rows = {one["metric"]["path"]: (one["metric"]["function"], one["metric"]["depth"], float(one["value"][1]))
            for one in process_stack.query(query)}  # fmt: skip
    ordered = [rows[path] for path in sorted(rows)]
    assert [("serve", "0"), ("branch", "1"), ("leaf", "2")] == [row[:2] for row in ordered]
    assert ordered[0][2] >= ordered[1][2] >= ordered[2][2] > 0.5
