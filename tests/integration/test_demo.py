"""The sample application: real work, seven phases, one whole trace."""

from __future__ import annotations

from pathlib import Path

SAMPLE = Path(__file__).resolve().parents[2] / "examples" / "desktop"
PHASES = ["PreInit", "CoreInit", "DeviceManager", "Transport", "UI", "Plugins", "Ready"]


def start_of(spans):
    (root,) = [span for span in spans if span["attributes"].get("otel_perf.kind") == "startup"]
    return root, [span for span in spans if span["trace_id"] == root["trace_id"]]


def test_demo_shows_the_report_with_all_seven_phases(run_python, tmp_path):
    result = run_python(["-m", "otel_perf", "demo", "--messages", "50", "--seconds", "0"])

    assert 0 == result.returncode, result.stderr
    rows = [line.split()[0] for line in result.stderr.splitlines() if line.startswith("  ") and line.split()]
    assert PHASES == [row for row in rows if row in PHASES][: len(PHASES)]
    assert "within the budget of 2 s" in result.stderr or "exceeded" in result.stderr


def test_start_of_the_sample_is_one_whole_trace_in_the_order_of_its_phases(
    run_python, spans_of, assert_whole_tree, tmp_path
):
    result = run_python([SAMPLE, "--messages", "50"])

    assert 0 == result.returncode, result.stderr
    spans = spans_of(tmp_path)
    assert_whole_tree(spans)
    root, start = start_of(spans)
    assert root["attributes"]["otel_perf.ready"] == "ready()"
    top = [s for s in start if s["parent_id"] == root["span_id"] and s["attributes"].get("otel_perf.kind") == "phase"]
    assert PHASES == [span["name"] for span in sorted(top, key=lambda span: span["start"])]
    assert [] == [s["name"] for s in spans if s["name"].startswith("import otel_perf")]


def test_sample_runs_unrecorded_under_the_same_code(run_python, tmp_path):
    result = run_python([SAMPLE, "--messages", "50"], env={"OTEL_SDK_DISABLED": "true"})

    assert 0 == result.returncode, result.stderr
    assert not (tmp_path / ".otel-perf").exists()


def test_demo_provokes_an_alert_that_its_callback_and_its_report_show(run_python, logs_of, tmp_path):
    result = run_python(["-m", "otel_perf", "demo", "--seconds", "4"])

    assert 0 == result.returncode, result.stderr
    alerts = [line for line in result.stdout.splitlines() if line.startswith("alert: backlog")]
    assert 2 == len(alerts), result.stdout
    assert alerts[0].endswith("is over 160")
    assert alerts[1].startswith("alert: backlog holds again")
    events = [
        event
        for event in logs_of(tmp_path)
        if event["name"].startswith("otel_perf.budget.") and event["attributes"]["budget"] == "backlog"
    ]
    assert ["otel_perf.budget.exceeded", "otel_perf.budget.resolved"] == [event["name"] for event in events]
    assert "backlog  warning" in result.stderr
