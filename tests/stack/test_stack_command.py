"""`otel-perf stack` and the files of deploy/ before real servers and the programs that read them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from otel_perf.backends import compose
from otel_perf.backends.rules.parts import GRAFANA
from otel_perf.diagnose import skew

pytestmark = pytest.mark.stack

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
SERVICES = ("collector", "prometheus", "jaeger", "victorialogs")


@pytest.fixture
def settings(process_stack, tmp_path: Path) -> Path:
    """Return a settings file with the addresses of the session's stack."""
    file = tmp_path / "settings.json"
    keys = ("otlp_http", "otlp_grpc", "services")
    file.write_text(json.dumps({key: getattr(process_stack, key) for key in keys}), encoding="utf-8")
    return file


def test_status_of_a_stack_that_runs_and_a_record_of_each_signal_through_it(run_python, settings, process_stack):
    result = run_python(["-m", "otel_perf", "stack", "status", "--probe", "--settings", settings])

    assert 0 == result.returncode, result.stdout + result.stderr
    assert "otel-perf stack: a trace, a metric and a log record went through\n" == result.stderr
    rows = [line.split() for line in result.stdout.splitlines()]
    assert [[name, url, "ready"] for name, url in process_stack.services.items()] == rows


@pytest.mark.parametrize("place", ["prometheus", "otlp_http"])
def test_real_servers_tell_the_time(process_stack, place):
    """By which `stack status` and `doctor` see that clocks differ."""
    url = process_stack.services.get(place) or process_stack.otlp_http

    assert abs(skew.ahead_of(url, 3)) < 5


def test_wait_lasts_until_the_last_service_is_ready(own_stack, tmp_path):
    running = own_stack()
    running.programs["prometheus"].end()
    command = [
        sys.executable,
        "-m",
        "otel_perf",
        "stack",
        "status",
        "--wait",
        "60",
        "--settings",
        str(running.settings),
    ]
    variables = {**os.environ, "PYTHONPATH": str(DEPLOY.parent / "src")}
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = [process.stderr.readline() for _ in range(4)]  # three are ready, and after 5 s which it waits for
        assert process.poll() is None
        running.programs["prometheus"].start()
        out, errors = process.communicate(timeout=60)

    assert [f"otel-perf stack: {name} is ready (0 s)\n" for name in SERVICES if name != "prometheus"] == said[:3]
    assert "otel-perf stack: waiting for prometheus (nothing listens there)\n" == said[3]
    assert "otel-perf stack: prometheus is ready (" in errors
    assert 0 == process.returncode
    assert 4 == out.count(" ready\n")


def test_service_that_ended_and_one_that_hangs_are_told(own_stack, run_python):
    running = own_stack()
    running.programs["jaeger"].kill()
    hanging = running.programs["victorialogs"].process
    hanging.send_signal(signal.SIGSTOP)
    try:
        result = run_python(["-m", "otel_perf", "stack", "status", "--settings", running.settings])
    finally:
        hanging.send_signal(signal.SIGCONT)

    assert (1, "") == (result.returncode, result.stderr)
    states = {line.split()[0]: line.split(maxsplit=2)[2] for line in result.stdout.splitlines()}
    assert {
        "collector": "ready",
        "prometheus": "ready",
        "jaeger": "not ready: nothing listens there",
        "victorialogs": "not ready: no answer within 3 s",
    } == states


@pytest.mark.slow
def test_probe_names_the_signal_whose_backend_takes_nothing(own_stack, run_python):
    """Prometheus without its OTLP receiver answers 404, and the collector drops what it sent there."""
    running = own_stack()
    prometheus = running.programs["prometheus"]
    prometheus.end()
    prometheus.words.remove("--web.enable-otlp-receiver")
    prometheus.start()
    running.stack.wait_for(lambda: running.stack.query("1"), "prometheus is back")

    command = ["-m", "otel_perf", "stack", "status", "--probe", "--wait", "20", "--settings", running.settings]
    result = run_python(command)

    assert 1 == result.returncode
    (line,) = [line for line in result.stderr.splitlines() if "test record" in line]
    assert line.startswith("otel-perf stack: a test record, metrics: the collector took it, and it is nowhere after ")


def configured(backends: dict[str, Path | None], folder: Path, **environment: str) -> dict[str, Any]:
    """Return the services as the real docker compose reads them."""
    if backends["compose"] is None:
        pytest.skip("needs compose: make backends")
    words = [backends["compose"] / "cmd", "-f", folder / "docker-compose.yml", "config", "--format", "json"]
    variables = {"PATH": os.defpath, **environment}
    result = subprocess.run(words, env=variables, capture_output=True, text=True, timeout=60, check=False)
    assert (0, "") == (result.returncode, result.stderr)
    return json.loads(result.stdout)["services"]


def ports(services: dict[str, Any]) -> dict[str, list[tuple[str, int]]]:
    """Return the published and the inner ports of each service that has some."""
    return {
        name: [(port["published"], port["target"]) for port in service["ports"]]
        for name, service in services.items()
        if "ports" in service
    }


def test_docker_compose_accepts_the_file_and_puts_ports_where_the_variables_say(backends):
    variables = {f"OTEL_PERF_STACK_{name}_PORT": "1" for name in ("HEALTH", "GRAFANA", "LOKI", "TEMPO", "PROMETHEUS")}

    plain = configured(backends, DEPLOY)
    assert {
        "collector": [("4317", 4317), ("4318", 4318), ("13133", 13133)],
        "prometheus": [("9090", 9090)],
        "tempo": [("3200", 3200)],
        "loki": [("3100", 3100)],
        "grafana": [("3000", 3000)],
    } == ports(plain)
    assert {"127.0.0.1"} == {p["host_ip"] for service in plain.values() for p in service.get("ports", [])}
    otlp = {f"OTEL_PERF_STACK_OTLP_{name}_PORT": "1" for name in ("GRPC", "HTTP")}
    moved = ports(configured(backends, DEPLOY, **variables, **otlp))
    assert {"1"} == {published for pairs in moved.values() for published, _ in pairs}


def test_docker_compose_itself_takes_the_ports_that_the_last_up_has_left_beside_the_file(backends, tmp_path):
    """`docker compose -f FILE up -d`, by hand, moves nothing."""
    compose.copy(tmp_path, GRAFANA)
    kept = compose.ports_for(tmp_path, {"OTEL_PERF_STACK_GRAFANA_PORT": "3001", "OTEL_PERF_STACK_LOKI_PORT": "3101"})
    compose.keep(tmp_path, kept)

    assert [("3001", 3000)] == ports(configured(backends, tmp_path))["grafana"]
    assert [("3101", 3100)] == ports(configured(backends, tmp_path))["loki"]
    assert [("9090", 9090)] == ports(configured(backends, tmp_path))["prometheus"]
    given = ports(configured(backends, tmp_path, OTEL_PERF_STACK_GRAFANA_PORT="3002"))
    assert ([("3002", 3000)], [("3101", 3100)]) == (given["grafana"], given["loki"])


def test_collector_accepts_its_file_with_the_addresses_of_compose(backends, tmp_path):
    """The same file as in the tests of this folder, with no variable set but that of the folder for its queue."""
    if backends["collector"] is None:
        pytest.skip("needs the collector: make backends")
    words = [backends["collector"] / "otelcol-perf", "validate", f"--config={DEPLOY / 'collector' / 'config.yaml'}"]

    result = subprocess.run(
        words, env={"QUEUE_DIRECTORY": str(tmp_path)}, capture_output=True, text=True, timeout=60, check=False
    )

    assert (0, "") == (result.returncode, result.stderr)


def test_promtool_accepts_configuration_and_rules(backends):
    if backends["prometheus"] is None:
        pytest.skip("needs prometheus: make backends")
    words = [backends["prometheus"] / "promtool", "check", "config", DEPLOY / "prometheus" / "prometheus.yml"]

    result = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)

    assert 0 == result.returncode, result.stdout + result.stderr


def test_collector_is_scraped_by_prometheus_and_says_what_its_queues_hold(process_stack):
    def looked() -> set[str]:
        names = process_stack.query('count by (__name__) ({job="collector"})')
        return {series["metric"]["__name__"] for series in names}

    names = process_stack.wait_for(lambda: "otelcol_exporter_queue_size" in looked() and looked(), "a scrape", 20)

    assert {"up", "otelcol_exporter_queue_capacity", "otelcol_process_memory_rss_bytes"} <= names


def test_run_of_six_days_ago_is_taken_when_it_is_replayed(process_stack, tmp_path, run_python):
    """`otel-perf replay` sends points at their own times; a program keeps its runs for seven days."""
    service = f"old-{os.getpid()}-{time.time_ns()}"
    result = run_python(
        f"""
        import time
        import otel_perf as perf
        perf.init(service={service!r})
        perf.ready()
        time.sleep(2.5)
        """
    )
    assert (0, "") == (result.returncode, result.stderr)
    (file,) = (tmp_path / ".otel-perf").glob("*/*/metrics.jsonl")
    days = 6 * 86400 * 10**9
    lines = [
        json.loads(line, object_hook=lambda found: _older(found, days)) for line in file.read_text("utf-8").splitlines()
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")

    replayed = run_python(["-m", "otel_perf", "replay", "--endpoint", process_stack.otlp_http, ".otel-perf"])

    assert 0 == replayed.returncode, replayed.stderr
    query = f'count_over_time(process_memory_usage_bytes{{service_name="{service}"}}[1h])'
    at = time.time() - days / 1e9 + 600
    (series,) = process_stack.wait_for(lambda: process_stack.query(query, at), query)
    assert 2 <= int(series["value"][1])


def _older(found: dict[str, Any], by: int) -> dict[str, Any]:
    times = ("timeUnixNano", "startTimeUnixNano")
    return {key: str(int(value) - by) if key in times else value for key, value in found.items()}
