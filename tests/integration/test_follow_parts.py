"""A process whose files are continued in new parts while they are sent."""

from __future__ import annotations

import json
import re
import subprocess
import time

import pytest

from otel_perf.export import endpoint
from otel_perf.export.follow import stream
from otel_perf.export.follow.files import read_lines
from otel_perf.export.follow.follower import Follower
from otel_perf.export.parts import earlier_name

PROGRAM = """
import otel_perf as perf, time
perf.init(service="shop")
perf.ready()
for _ in range({rounds}):
    for _ in range(250):
        with perf.profile("step", span_threshold=0):
            pass
    time.sleep({pause})
time.sleep(1.5)
"""
STEPS = 10_000
LIMIT = {"OTEL_PERF_FOLDER_LIMIT": "2MB"}
DELAYS = dict.fromkeys(("OTEL_BSP_SCHEDULE_DELAY", "OTEL_METRIC_EXPORT_INTERVAL", "OTEL_BLRP_SCHEDULE_DELAY"), "100")


@pytest.fixture
def run(run_python):
    def start(endpoint, pause):
        environment = {**LIMIT, **DELAYS, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
        result = run_python(PROGRAM.format(rounds=STEPS // 250, pause=pause), env=environment)
        assert 0 == result.returncode, result.stderr
        return result

    return start


def own(metrics, name):
    return next((m["point"]["value"] for m in reversed(metrics) if m["metric"] == f"otel_perf.self.{name}"), 0)


def steps(spans):
    return [one["span_id"] for one in spans if one["name"] == "step"]


def test_what_was_delivered_goes_first_so_that_nothing_is_lost(run, receiver, tmp_path, spans_of, metrics_of):
    there = receiver()

    run(there.http, pause=0.15)

    got, metrics = steps(there.spans()), metrics_of(tmp_path)
    assert STEPS == len(got) == len(set(got))
    assert 0 == own(metrics, "dropped")
    assert STEPS - len(steps(spans_of(tmp_path))) == own(metrics, "removed") > 1000


def test_what_the_limit_removes_before_it_is_sent_is_counted_as_dropped_and_the_rest_comes_once(
    run, receiver, unused_port, otel_perf, tmp_path, spans_of, metrics_of
):
    run(f"http://127.0.0.1:{unused_port}", pause=0.02)
    kept, dropped = steps(spans_of(tmp_path)), own(metrics_of(tmp_path), "dropped")
    assert STEPS == len(kept) + dropped
    assert dropped > 1000

    there = receiver()
    replay = [*otel_perf, "replay", "--endpoint", there.http, ".otel-perf"]
    for _ in range(2):  # the second time nothing is left
        subprocess.run(replay, cwd=tmp_path, check=True, timeout=60, capture_output=True)

    assert sorted(kept) == sorted(steps(there.spans()))
    report, doctor = (
        subprocess.run([*otel_perf, *command], cwd=tmp_path, timeout=60, capture_output=True, text=True).stdout
        for command in (["report"], ["doctor"])
    )
    assert f"{dropped / 1000:.3g} k records dropped" in report
    assert re.search(rf"records dropped +{dropped}\b", doctor)


def test_a_receiver_that_comes_back_gets_what_is_left_in_order(run_python, receiver, unused_port, tmp_path, spans_of):
    start = time.time_ns()
    there = receiver()
    there.behave(status=503)
    program = PROGRAM.format(rounds=8, pause=0.1)
    run_python(program, env={**DELAYS, "OTEL_EXPORTER_OTLP_ENDPOINT": there.http})
    there.behave()
    program = PROGRAM.format(rounds=8, pause=0.1)
    run_python(program, env={**DELAYS, "OTEL_EXPORTER_OTLP_ENDPOINT": there.http})

    written = steps(spans_of(tmp_path))
    got = [one for one in there.spans() if one["name"] == "step"]
    assert sorted(written) == sorted(steps(got))
    by_process = {}
    for one in got:
        by_process.setdefault(one["resource"]["process.pid"], []).append(one["end"])
    assert all(ends == sorted(ends) and ends[0] > start for ends in by_process.values())


def test_a_part_that_goes_while_its_next_line_is_looked_for_takes_nothing_of_the_next_part_with_it(
    receiver, tmp_path, monkeypatch
):
    """The position is in the middle of a line of the part that goes."""
    folder = tmp_path / ".otel-perf" / "2026-11-25T10-15-02" / "4194305"
    folder.mkdir(parents=True)

    def line(*numbers):
        times = {"startTimeUnixNano": "1795000000000000000", "endTimeUnixNano": "1795000000000000009"}
        spans = [{"traceId": "1" * 32, "spanId": f"{number:016x}", "name": "step", **times} for number in numbers]
        return json.dumps({"resourceSpans": [{"scopeSpans": [{"scope": {}, "spans": spans}]}]}).encode() + b"\n"

    first, second = line(1, 2, 3), line(4, 5, 6)
    going = folder / earlier_name("traces.jsonl", 0)
    going.write_bytes(first)
    (folder / earlier_name("traces.jsonl", len(first))).write_bytes(second)
    (folder / "traces.jsonl").write_bytes(line(7))
    there = receiver()
    found = endpoint.load(there.http, "http/protobuf", {})
    follower = Follower([str(folder)], found, live=False)
    follower.folders[0].positions["traces"].records = 2

    def read(*words, **more):
        going.unlink(missing_ok=True)
        return read_lines(*words, **more)

    monkeypatch.setattr(stream, "read_lines", read)
    while not follower.step():
        continue
    follower.end()

    assert [4, 5, 6, 7] == [int(one["span_id"], 16) for one in there.spans()]
