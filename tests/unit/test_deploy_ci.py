"""CI runs what the project says that it runs, and the stack's files travel in the wheel."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from otel_perf.backends.rules.parts import RUNBOOK

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
JOBS: dict[str, dict[str, Any]] = yaml.safe_load(TEXT)["jobs"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def commands(job: str) -> str:
    return "\n".join(step.get("run", "") for step in JOBS[job]["steps"])


def test_every_python_of_the_classifiers_is_tested_on_every_system():
    matrix = JOBS["test"]["strategy"]["matrix"]
    versions = [c.rpartition(" ")[2] for c in PROJECT["project"]["classifiers"] if re.search(r":: 3\.\d+$", c)]

    assert versions == matrix["python"]
    assert ["ubuntu-latest", "macos-latest", "windows-latest"] == matrix["os"]


def test_actions_are_pinned_by_their_major_tag():
    used = re.findall(r"uses: (\S+)", TEXT)

    assert used
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", action) for action in used), used


def test_targets_of_make_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    called = [word for job in JOBS for word in re.findall(r"\bmake ([a-z-]+)", commands(job))]

    assert {"lint", "types", "test-all"} <= set(called) <= targets


def test_end_to_end_job_brings_up_the_stack_from_the_wheel_and_runs_the_tests_against_it():
    run = commands("end-to-end")

    assert "pip wheel" in run
    assert "otel-perf stack up" in run
    assert 'OTEL_PERF_STACK_SETTINGS="$(realpath "$STACK")/settings.json"' in run
    assert "pytest tests/stack" in run
    assert "otel-perf stack down" in run


def test_every_job_ends():
    assert all(1 <= job["timeout-minutes"] <= 90 for job in JOBS.values())


def test_files_of_the_stack_travel_in_the_wheel():
    included = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]

    assert "otel_perf/_deploy" == included["deploy"]
    assert f"otel_perf/_deploy/{RUNBOOK}" == included[RUNBOOK]  # where `stack up` looks, and alerts say that it is


@pytest.mark.parametrize("stack", [False, True])
def test_tests_of_containers_are_selected_where_there_is_a_stack_of_them_and_nowhere_else(tmp_path, stack):
    services = {"collector": "http://127.0.0.1:13133", "prometheus": "http://127.0.0.1:9090"}
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps({"otlp_http": "", "otlp_grpc": "", "services": services}), encoding="utf-8")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "PYTEST_"))}
    environment |= {"OTEL_PERF_STACK_SETTINGS": str(settings)} if stack else {}
    command = [sys.executable, "-m", "pytest", "tests/stack", "--collect-only", "-q", "-p", "no:cacheprovider"]

    found = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100, check=True)

    for file in ("engine", "lasting", "queries", "traces"):
        assert stack == (f"compose/test_{file}.py" in found.stdout), file
    assert stack == ("test_backends_that_are_killed" not in found.stdout)  # kills processes: not there
    assert stack == ("test_every_panel_is_drawn" not in found.stdout)  # by libraries that this job does not install
    assert stack == ("test_collector.py" not in found.stdout)
    for name in (
        "test_every_metric_trace_and_event_of_a_program_arrives",
        "test_every_query_has_data_of_real_programs",
    ):
        assert name in found.stdout
    assert "skipped" not in found.stdout
