"""What only a container engine can show: images, users, volumes, Grafana, and what Tempo and Loki make of our records.

Run by the end-to-end job of .github/workflows/ci.yml, after `otel-perf stack up`: OTEL_PERF_STACK_SETTINGS names the
settings file beside the compose file. Left out everywhere else.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.stack, pytest.mark.engine, pytest.mark.timeout(600)]

FOLDER = Path(os.environ.get("OTEL_PERF_STACK_SETTINGS", "settings.json")).resolve().parent
FILE = FOLDER / "docker-compose.yml"
SERVICES = ("collector", "prometheus", "tempo", "loki", "grafana")
USERS = {"collector": 10001, "prometheus": 65534, "tempo": 10001, "loki": 10001, "grafana": 472}
DASHBOARDS = {f"otel-perf-{name}" for name in ("overview", "startup", "profiling", "process", "alerts")}
FOUND = 30  # seconds until a trace can be searched for: Tempo's trace_idle_period, flush_check_period, and some

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
    time.sleep(1.5)
"""


def docker(*words: str) -> str:
    """Return what `docker WORDS` prints."""
    result = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=300, check=False)
    assert 0 == result.returncode, result.stderr
    return result.stdout


def compose(*words: str) -> str:
    return docker("compose", "--file", str(FILE), *words)


def stack_command(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "otel_perf", "stack", *words, "--folder", str(FOLDER)]
    return subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)


def ask(url: str, sign_in: str = "") -> Any:
    """Return the JSON of a URL, signed in as ``user:password`` where that is given."""
    headers = {"Authorization": f"Basic {base64.b64encode(sign_in.encode()).decode()}"} if sign_in else {}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as answer:
        return json.load(answer)


@pytest.fixture
def service() -> str:
    return f"engine-{time.time_ns()}"


@pytest.fixture
def started(process_stack, run_python, service, spans_of, tmp_path):
    """Return a function that runs a program with *calls* calls in its start, and gives its spans."""

    def run(calls: int) -> list[dict[str, Any]]:
        result = run_python(START.format(service=service, calls=calls), env=process_stack.environment(), timeout=120)
        assert (0, "") == (result.returncode, result.stderr)
        return spans_of(tmp_path)

    return run


# --- containers (C28) -------------------------------------------------------------------------------------


def test_every_service_runs_as_its_user_healthy_and_was_never_restarted():
    for name in SERVICES:
        (container,) = compose("ps", "--quiet", name).split()
        (found,) = json.loads(docker("inspect", container))
        state = found["State"]
        assert ("running", 0) == (state["Status"], found["RestartCount"]), name
        assert "healthy" == state.get("Health", {"Status": "healthy"})["Status"], name
        assert str(USERS[name]) == found["Config"]["User"].partition(":")[0]
        assert found["HostConfig"]["ReadonlyRootfs"] is True
        assert all(
            "127.0.0.1" == one["HostIp"] for ports in found["HostConfig"]["PortBindings"].values() for one in ports
        )


def test_processes_in_the_containers_have_no_capability():
    for name in SERVICES:
        (container,) = compose("ps", "--quiet", name).split()
        (found,) = json.loads(docker("inspect", container))
        status = Path(f"/proc/{found['State']['Pid']}/status").read_text(encoding="ascii")
        fields = dict(line.split(":", 1) for line in status.splitlines())
        assert 0 == int(fields["CapEff"], 16), name
        assert "1" == fields["NoNewPrivs"].strip(), name


def test_queue_was_prepared_and_the_one_shot_ended_well():
    (found,) = json.loads(docker("inspect", compose("ps", "--all", "--quiet", "queue-init").strip()))

    assert ("exited", 0) == (found["State"]["Status"], found["State"]["ExitCode"])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("tempo", ["-config.file=/etc/tempo/tempo.yaml", "-config.verify"]),
        ("loki", ["-config.file=/etc/loki/loki.yaml", "-verify-config"]),
    ],
)
def test_tempo_and_loki_verify_their_files(name, words):
    image = json.loads(compose("config", "--format", "json"))["services"][name]["image"]

    docker("run", "--rm", "--network", "none", "--volume", f"{FOLDER / name}:/etc/{name}:ro", image, *words)


def test_data_survives_down_and_up(process_stack, started, service):
    spans = started(10)
    trace_id = spans[0]["trace_id"]
    query = f'count_over_time(process_memory_usage_bytes{{service_name="{service}"}}[1h])'
    process_stack.wait_for(lambda: process_stack.trace(trace_id) and process_stack.query(query), "it has arrived")

    down = stack_command("down")
    up = stack_command("up")

    assert 0 == down.returncode, down.stderr
    assert 0 == up.returncode, up.stderr
    assert process_stack.query(query)
    process_stack.wait_for(lambda: len(process_stack.trace(trace_id)) == len(spans), "the trace", FOUND)


def test_up_says_what_is_ready_and_what_to_copy():
    """It is up already: ports of ours are not taken, and nothing is started twice."""
    before = compose("ps", "--quiet")

    result = stack_command("up")

    assert 0 == result.returncode, result.stderr
    assert before == compose("ps", "--quiet")
    assert all(f"otel-perf stack: {name} is ready (" in result.stderr for name in SERVICES)
    assert "otel-perf stack: a trace, a metric and a log record went through\n" in result.stderr
    assert "export OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:" in result.stdout


# --- Grafana ----------------------------------------------------------------------------------------------


def test_whoever_looks_sees_our_dashboards_and_may_change_nothing(process_stack):
    grafana = process_stack.services["grafana"]

    found = ask(f"{grafana}/api/search?type=dash-db")

    assert {board["uid"] for board in found} >= DASHBOARDS
    for uid in DASHBOARDS:
        assert uid == ask(f"{grafana}/api/dashboards/uid/{uid}")["dashboard"]["uid"]
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(f"{grafana}/api/admin/settings")
    assert refused.value.code in (401, 403)


def test_password_is_not_the_default_one_and_is_the_one_in_the_volume(process_stack):
    grafana = process_stack.services["grafana"]
    password = compose("exec", "-T", "grafana", "cat", "/var/lib/grafana/admin-password").strip()

    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(f"{grafana}/api/org", "admin:admin")

    assert 401 == refused.value.code
    assert 32 == len(password)
    assert ask(f"{grafana}/api/org", f"admin:{password}")["id"] == 1
    for uid in ("prometheus", "tempo", "loki"):
        health = ask(f"{grafana}/api/datasources/uid/{uid}/health", f"admin:{password}")
        assert "OK" == health["status"], health


# --- Tempo and Loki (C29, C30) ----------------------------------------------------------------------------


def test_start_of_20000_spans_is_whole_by_id_and_found_by_search(process_stack, started, service):
    sent = {span["trace_id"] for span in started(20_000) if span["name"] == "startup"}
    (trace_id,) = sent
    tempo = process_stack.services["tempo"]

    spans = process_stack.wait_for(
        lambda: "startup" in [span["name"] for span in process_stack.trace(trace_id)] and process_stack.trace(trace_id),
        "the start by id",
    )
    ids = {span["span_id"] for span in spans}
    assert [] == [span["name"] for span in spans if span["parent_id"] and span["parent_id"] not in ids]

    def search(query: str, **options: int) -> list[dict[str, Any]]:
        words = urllib.parse.urlencode({"q": query, "limit": 20, **options})
        return ask(f"{tempo}/api/search?{words}")["traces"]

    by_name = f'{{ resource.service.name = "{service}" && name = "startup" }}'
    (found,) = process_stack.wait_for(lambda: search(by_name), "the start by search", FOUND)
    assert trace_id.lstrip("0") == found["traceID"].lstrip("0")
    selected = f'{{ trace:id = "{trace_id.lstrip("0")}" }} | select(name, span.otel_perf.self_ns, span.otel_perf.depth)'
    (whole,) = search(selected, spss=10_000)
    assert len(spans) == len(whole["spanSets"][0]["spans"]) or 10_000 == len(whole["spanSets"][0]["spans"])


def test_run_of_yesterday_is_found_by_search_when_it_is_replayed(process_stack, started, run_python, service, tmp_path):
    started(5)
    (file,) = (tmp_path / ".otel-perf").glob("*/*/traces.jsonl")
    day = 86400 * 10**9
    times = ("timeUnixNano", "startTimeUnixNano", "endTimeUnixNano")

    def older(found: dict[str, Any]) -> dict[str, Any]:
        return {key: str(int(value) - day) if key in times else value for key, value in found.items()}

    lines = [json.loads(line, object_hook=older) for line in file.read_text(encoding="utf-8").splitlines()]
    text = "".join(json.dumps(line) + "\n" for line in lines).replace(service, f"{service}-old")
    file.write_text(text, encoding="utf-8")

    replay = run_python(["-m", "otel_perf", "replay", "--again", "--endpoint", process_stack.otlp_http, ".otel-perf"])

    assert 0 == replay.returncode, replay.stderr
    now = int(time.time())
    query = {"q": f'{{ resource.service.name = "{service}-old" }}', "start": now - 2 * 86400, "end": now}
    url = f"{process_stack.services['tempo']}/api/search?{urllib.parse.urlencode(query)}"
    process_stack.wait_for(lambda: ask(url)["traces"], "the replayed start by search", 60)


def test_alert_is_in_loki_by_service_by_name_and_by_trace(process_stack, run_python, service):
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
    labels = ask(f"{process_stack.services['loki']}/loki/api/v1/labels")["data"]
    assert {"service_name"} <= set(labels) <= {"service_name", "service_namespace", "deployment_environment_name"}
