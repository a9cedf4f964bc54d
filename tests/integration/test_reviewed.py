"""What a hostile reading of the newest rooms has found: each as the program of a user would meet it."""

from __future__ import annotations

import json
import shutil
import sys

import pytest

linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc")


@linux
def test_child_of_a_child_does_not_hold_the_files_of_its_ancestors(run_python):
    result = run_python(
        """
        import os, time
        import otel_perf as perf
        perf.init(service="forks")
        perf.ready()
        for generation in range(4):
            time.sleep(1.3)
            print(len(os.listdir("/proc/self/fd")), flush=True)
            child = os.fork()
            if child:
                os.waitpid(child, 0)
                os._exit(0)
        """,
        options=["-W", "ignore"],
    )

    assert "" == result.stderr
    counts = list(map(int, result.stdout.split()))
    assert 4 == len(counts)
    assert max(counts) - min(counts) <= 2, counts


def test_shutdown_does_not_raise_where_the_folder_cannot_be_written_any_more(run_python, tmp_path):
    result = run_python(
        """
        import pathlib, shutil, time
        import otel_perf as perf
        perf.init(service="gone")
        with perf.phase("UI"):
            time.sleep(1.2)
            for folder in pathlib.Path(".otel-perf").glob("*/*/"):
                shutil.rmtree(folder)
                folder.write_text("a file in its place")
        perf.shutdown()
        print("went on")
        """
    )

    assert (0, "went on\n") == (result.returncode, result.stdout)
    assert "Traceback" not in result.stderr


@linux
def test_provider_of_the_application_gets_nothing_once_recording_is_over(run_python):
    result = run_python(
        """
        import time
        from opentelemetry import metrics
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader
        reader = InMemoryMetricReader()
        metrics.set_meter_provider(MeterProvider([reader]))
        import otel_perf as perf
        perf.init(service="over")
        perf.ready()
        time.sleep(1.5)
        print(reader.get_metrics_data() is not None)
        perf.shutdown()
        print(reader.get_metrics_data() is None)
        """
    )

    assert (0, "True\nTrue\n", "") == (result.returncode, result.stdout, result.stderr)


@linux
def test_budget_of_idle_seconds_on_another_metric_is_not_judged_beside_tracked_work(run_python, logs_of, tmp_path):
    """Work that waits uses no CPU, and is work all the same."""
    result = run_python(
        """
        import time
        import otel_perf as perf
        perf.budget("idle-memory", metric="process.memory.usage", max="1MB", idle=True)
        perf.init(service="waits")
        @perf.profile
        def work():
            time.sleep(3)
        perf.ready()
        work()
        """
    )

    assert (0, "") == (result.returncode, result.stderr)
    assert [] == [e for e in logs_of(tmp_path) if e["name"] == "otel_perf.budget.exceeded"]


def test_file_that_cannot_be_read_costs_itself_and_no_other(run_python, receiver, tmp_path):
    """A leftover of an earlier process, damaged in a way that is valid JSON."""
    one = receiver()
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": one.http}
    run_python("import otel_perf as perf\nperf.init(service='first')\nperf.ready()\n", env={"OTEL_PERF_FOLDER": "runs"})
    (folder,) = (tmp_path / "runs").glob("*/*/")
    with (folder / "traces.jsonl").open() as file:
        line = json.loads(file.readline())
    spans = line["resourceSpans"][0]["scopeSpans"][0]["spans"]
    spans[-1]["spanId"], spans[-1]["parentSpanId"] = [], {}
    (folder / "traces.jsonl").write_text(json.dumps(line) + "\n" + (folder / "traces.jsonl").read_text())
    metrics = {"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": []}, {"name": {}}, 7]}]}]}
    (folder / "metrics.jsonl").write_text(json.dumps(metrics) + "\n")

    result = run_python(["-m", "otel_perf", "replay", "runs"], env=env)

    assert "Traceback" not in result.stderr, result.stderr
    assert "startup" in {span["name"] for span in one.spans()}
    shutil.rmtree(tmp_path / "runs")


def test_number_in_a_budget_that_is_too_large_costs_no_record(run_python, spans_of, tmp_path):
    (tmp_path / "otel-perf.toml").write_text("[budgets.memory]\nmax = '1GB'\nfor = 1" + "0" * 400 + "\n")

    result = run_python("import otel_perf as perf\nperf.init(service='large')\nperf.ready()\n")

    assert 0 == result.returncode
    assert "Traceback" not in result.stderr
    assert "startup" in {span["name"] for span in spans_of(tmp_path)}
