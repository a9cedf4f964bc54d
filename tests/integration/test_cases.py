"""Cases of users elsewhere that no other room's tests hold: clocks and freezes, our own logging, who came first."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections import defaultdict
from pathlib import Path

import pytest

SRC = str(Path(__file__).resolve().parents[2] / "src")

# --- C17: sleep, freeze and clock steps -------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="SIGSTOP")
@pytest.mark.timed
def test_frozen_program_has_a_gap_with_true_times_and_whole_traces(tmp_path, spans_of, assert_whole_tree):
    program = textwrap.dedent(
        """
        import sys, time
        import otel_perf as perf
        perf.init(service="frozen")
        with perf.phase("CoreInit"):
            with perf.phase("inner"):
                print("go", flush=True)
                sys.stdin.readline()
        perf.ready()
        with perf.profile("afterwards", span_threshold=0):
            pass
        """
    )
    environment = {**os.environ, "PYTHONPATH": SRC}
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdin=-1, stdout=-1, text=True) as frozen:
        assert frozen.stdout is not None
        assert frozen.stdin is not None
        frozen.stdout.readline()
        frozen.send_signal(signal.SIGSTOP)
        time.sleep(3)
        frozen.send_signal(signal.SIGCONT)
        frozen.stdin.write("\n")
        frozen.stdin.flush()
        assert 0 == frozen.wait(20)
    now = time.time_ns()

    spans = {span["name"]: span for span in spans_of(tmp_path)}
    assert_whole_tree(list(spans.values()))
    inner, outer, root = spans["inner"], spans["CoreInit"], spans["startup"]
    assert 3.0 < (inner["end"] - inner["start"]) / 1e9 < 6.0
    assert root["start"] <= outer["start"] <= inner["start"] <= inner["end"] <= outer["end"] <= root["end"]
    assert abs(now - spans["afterwards"]["end"]) < 5e9, "after the freeze a trace carries today's time"


def test_clock_that_is_stepped_bends_no_span_and_new_traces_carry_the_new_time(
    run_python, spans_of, tmp_path, assert_whole_tree
):
    result = run_python(
        """
        import time
        import otel_perf as perf
        from otel_perf import clock

        real, step = clock.wall_ns, 0
        clock.wall_ns = lambda: real() + step * 10**9

        perf.init(service="stepped")
        with perf.phase("CoreInit"):
            step = 3600
            with perf.phase("inner"):
                time.sleep(0.05)
            step = -3600
            with perf.phase("later"):
                time.sleep(0.05)
        perf.ready()
        for name, step in (("forward", 3600), ("back", -3600)):
            with perf.profile(name, span_threshold=0):
                time.sleep(0.02)
        """
    )

    assert 0 == result.returncode, result.stderr
    now = time.time_ns()
    spans = {span["name"]: span for span in spans_of(tmp_path)}
    assert_whole_tree(list(spans.values()))
    for name, most in (("startup", 5), ("CoreInit", 3), ("inner", 1), ("later", 1), ("forward", 1), ("back", 1)):
        assert 0 < (spans[name]["end"] - spans[name]["start"]) / 1e9 < most, name
    outer = spans["CoreInit"]
    assert outer["start"] <= spans["inner"]["start"] < spans["later"]["start"] <= spans["later"]["end"] <= outer["end"]
    assert abs(now - spans["startup"]["end"]) < 60e9
    for name, hours in (("forward", 1), ("back", -1)):
        assert abs(now + hours * 3600e9 - spans[name]["end"]) < 60e9, name


def test_a_clock_that_is_set_back_sets_the_times_of_no_series_back(run_python, tmp_path):
    result = run_python(
        """
        import time
        import otel_perf as perf
        from otel_perf import clock

        real, step = clock.wall_ns, 0
        clock.wall_ns = lambda: real() + step * 10**9

        perf.init(service="stepped")
        perf.ready()
        for step in (0, -3600, 3600):
            for _ in range(2):
                perf.counter("orders").add(1)
                with perf.timer("lasts"), perf.profile("call", span_threshold=0):
                    pass
                time.sleep(1.1)
        """
    )

    assert 0 == result.returncode, result.stderr
    times = defaultdict(list)
    (file,) = tmp_path.glob(".otel-perf/*/*/metrics.jsonl")
    for line in file.read_text().splitlines():
        for metric in json.loads(line)["resourceMetrics"][0]["scopeMetrics"][0]["metrics"]:
            kind = next(metric[kind] for kind in ("sum", "gauge", "exponentialHistogram") if kind in metric)
            for point in kind["dataPoints"]:
                key = metric["name"], json.dumps(point.get("attributes"))
                times[key].append(int(point["timeUnixNano"]))
                assert int(point.get("startTimeUnixNano", 0)) <= times[key][-1], key
    assert {"orders", "lasts", "otel_perf.function.duration", "process.cpu.time"} <= {name for name, _ in times}
    for key, found in times.items():
        assert sorted(set(found)) == found, key
    assert max(found[-1] for found in times.values()) - time.time_ns() > 3500e9, "it was set forward in the end"


# --- C21: our own logging does not feed back --------------------------------------------------------------------------


@pytest.mark.timed
def test_dead_collector_costs_one_line_and_little_cpu_and_the_exit_is_in_time(run_python):
    result = run_python(
        """
        import logging, time
        import otel_perf as perf

        class Handler(logging.Handler):
            def emit(self, record):
                with perf.profile("logs", span_threshold=0):
                    logging.getLogger("again").debug("again") if record.name != "again" else None

        logging.getLogger().setLevel(logging.DEBUG)
        logging.getLogger().addHandler(Handler())
        perf.init(service="logging")
        perf.ready()
        time.sleep(3)
        before = time.process_time()
        for _ in range(40):
            logging.getLogger("app").error("something")
            time.sleep(0.1)
        print((time.process_time() - before) / 4, time.time())
        """,
        env={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:9"},
    )
    ended = time.time()

    assert 0 == result.returncode, result.stderr
    share, last = map(float, result.stdout.split())
    assert share < 0.15, "three times what the case allows"
    assert ended - last < 2.5
    lines = [line for line in result.stderr.splitlines() if "localhost:9" in line]
    assert 1 == len(lines), result.stderr
    assert "Recursion" not in result.stderr


# --- C25: second init, cells that run again, a provider that came first or later -----------------------------------------


def test_second_init_names_what_came_too_late_and_changes_nothing(run_python, spans_of, tmp_path):
    result = run_python(
        """
        import otel_perf as perf
        perf.init(service="first")
        perf.init(service="second", folder="elsewhere")
        perf.ready()
        """
    )

    assert "otel-perf: init() was called before; ignored: folder, service\n" == result.stderr
    assert not (tmp_path / "elsewhere").exists()
    assert {"first"} == {span["resource"]["service.name"] for span in spans_of(tmp_path)}


def test_cell_that_runs_again_goes_on_in_the_same_series(run_python, metrics_of, tmp_path):
    result = run_python(
        """
        cell = '''
        import otel_perf as perf
        perf.init(service="notebook")

        @perf.profile
        def load():
            return 1

        for _ in range(10):
            load()
        '''
        import textwrap
        for _ in range(5):
            exec(textwrap.dedent(cell))
        """
    )

    assert (0, "") == (result.returncode, result.stderr)
    last = [point for point in metrics_of(tmp_path) if point["metric"] == "otel_perf.function.duration"][-1]
    assert ("__main__.load", 50) == (last["attributes"]["function"], last["point"]["count"])


@pytest.mark.parametrize("first", ["otel-perf", "provider"])
def test_provider_of_the_application_wins_and_each_span_is_in_both_places_once(first, run_python, spans_of, tmp_path):
    ours = 'perf.init(service="both")'
    theirs = (
        "provider = TracerProvider()\n"
        "provider.add_span_processor(SimpleSpanProcessor(exporter))\n"
        "trace.set_tracer_provider(provider)"
    )
    order = [ours, theirs] if first == "otel-perf" else [theirs, ours]
    program = "\n".join(
        [
            "import otel_perf as perf",
            "from opentelemetry import trace",
            "from opentelemetry.sdk.trace import TracerProvider",
            "from opentelemetry.sdk.trace.export import SimpleSpanProcessor",
            "from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter",
            "exporter = InMemorySpanExporter()",
            *order,
            "with perf.phase('CoreInit'), trace.get_tracer('app').start_as_current_span('query'):",
            "    pass",
            "perf.ready()",
            "import atexit",
            "perf.shutdown()",
            "print(*sorted(span.name for span in exporter.get_finished_spans()), sep='\\n')",
        ]
    )

    result = run_python(program)

    assert (0, "") == (result.returncode, result.stderr)
    there = result.stdout.splitlines()
    here = [span["name"] for span in spans_of(tmp_path)]
    for names in (there, here):
        assert {"startup", "CoreInit", "query"} <= set(names)
        assert len(names) == len(set(names)), names
    (root,) = [span for span in spans_of(tmp_path) if span["name"] == "startup"]
    assert re.search(r"\.TracerProvider$", root["attributes"]["otel_perf.provider"])
