"""What only a container engine can show: images, users, volumes, and Grafana.

Run by the end-to-end job of .github/workflows/ci.yml, after `otel-perf stack up`: OTEL_PERF_STACK_SETTINGS names the
settings file beside the compose file. Left out everywhere else, as all of this folder.
"""

from __future__ import annotations

import json
import urllib.error
from pathlib import Path

import pytest

pytestmark = [pytest.mark.stack, pytest.mark.engine, pytest.mark.timeout(600)]

USERS = {"collector": 10001, "prometheus": 65534, "tempo": 10001, "loki": 10001, "grafana": 472}
DASHBOARDS = {f"otel-perf-{name}" for name in ("overview", "startup", "profiling", "process", "alerts")}

# --- containers (C28) -------------------------------------------------------------------------------------


def test_every_service_runs_as_its_user_healthy_and_was_never_restarted(engine):
    for name in engine.services:
        (container,) = engine.compose("ps", "--quiet", name).split()
        (found,) = json.loads(engine.docker("inspect", container))
        state = found["State"]
        assert ("running", 0) == (state["Status"], found["RestartCount"]), name
        assert "healthy" == state.get("Health", {"Status": "healthy"})["Status"], name
        assert str(USERS[name]) == found["Config"]["User"].partition(":")[0]
        assert found["HostConfig"]["ReadonlyRootfs"] is True
        assert all(
            "127.0.0.1" == one["HostIp"] for ports in found["HostConfig"]["PortBindings"].values() for one in ports
        )


def test_processes_in_the_containers_have_no_capability(engine):
    for name in engine.services:
        (container,) = engine.compose("ps", "--quiet", name).split()
        (found,) = json.loads(engine.docker("inspect", container))
        status = Path(f"/proc/{found['State']['Pid']}/status").read_text(encoding="ascii")
        fields = dict(line.split(":", 1) for line in status.splitlines())
        assert 0 == int(fields["CapEff"], 16), name
        assert "1" == fields["NoNewPrivs"].strip(), name


def test_queue_was_prepared_and_the_one_shot_ended_well(engine):
    (found,) = json.loads(engine.docker("inspect", engine.compose("ps", "--all", "--quiet", "queue-init").strip()))

    assert ("exited", 0) == (found["State"]["Status"], found["State"]["ExitCode"])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("tempo", ["-config.file=/etc/tempo/tempo.yaml", "-config.verify"]),
        ("loki", ["-config.file=/etc/loki/loki.yaml", "-verify-config"]),
    ],
)
def test_tempo_and_loki_verify_their_files(engine, name, words):
    image = json.loads(engine.compose("config", "--format", "json"))["services"][name]["image"]

    mounted = f"{engine.folder / name}:/etc/{name}:ro"
    engine.docker("run", "--rm", "--network", "none", "--volume", mounted, image, *words)


def test_up_says_what_is_ready_and_what_to_copy(engine):
    """It is up already: ports of ours are not taken, and nothing is started twice."""
    before = engine.compose("ps", "--quiet")

    result = engine.stack("up")

    assert 0 == result.returncode, result.stderr
    assert before == engine.compose("ps", "--quiet")
    assert all(f"otel-perf stack: {name} is ready (" in result.stderr for name in engine.services)
    assert "otel-perf stack: a trace, a metric and a log record went through\n" in result.stderr
    assert "export OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:" in result.stdout


# --- Grafana ----------------------------------------------------------------------------------------------


def test_whoever_looks_sees_our_dashboards_and_may_change_nothing(engine, process_stack):
    grafana = process_stack.services["grafana"]

    found = engine.ask(f"{grafana}/api/search?type=dash-db")

    assert {board["uid"] for board in found} >= DASHBOARDS
    for uid in DASHBOARDS:
        assert uid == engine.ask(f"{grafana}/api/dashboards/uid/{uid}")["dashboard"]["uid"]
    with pytest.raises(urllib.error.HTTPError) as refused:
        engine.ask(f"{grafana}/api/admin/settings")
    assert refused.value.code in (401, 403)


def test_password_is_not_the_default_one_and_is_the_one_in_the_volume(engine, process_stack):
    grafana = process_stack.services["grafana"]
    password = engine.compose("exec", "-T", "grafana", "cat", "/var/lib/grafana/admin-password").strip()

    with pytest.raises(urllib.error.HTTPError) as refused:
        engine.ask(f"{grafana}/api/org", "admin:admin")

    assert 401 == refused.value.code
    assert 32 == len(password)
    assert engine.ask(f"{grafana}/api/org", f"admin:{password}")["id"] == 1
    for uid in ("prometheus", "tempo", "loki"):
        health = engine.ask(f"{grafana}/api/datasources/uid/{uid}/health", f"admin:{password}")
        assert "OK" == health["status"], health
