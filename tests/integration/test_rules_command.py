"""``otel-perf rules`` as people and builds call it: files, exit statuses, messages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SRC = str(Path(__file__).resolve().parents[2] / "src")
FILES = [f"{kind}/otel-perf-{what}.yml" for kind in ("rules", "tests") for what in ("budgets", "services")]


@pytest.fixture
def rules(tmp_path):
    """Return a function that runs ``otel-perf rules`` in *tmp_path*."""

    def run(*words):
        return subprocess.run(
            [sys.executable, "-m", "otel_perf", "rules", *words],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": SRC}, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    return run


def test_it_writes_rules_and_tests_and_then_they_are_up_to_date(rules, tmp_path):
    written = rules()
    again = rules()
    checked = rules("--check")

    assert (0, "") == (written.returncode, written.stderr)
    assert [f"wrote deploy/prometheus/{path}" for path in FILES] == written.stdout.splitlines()
    assert [f"kept  deploy/prometheus/{path}" for path in FILES] == again.stdout.splitlines()
    assert (0, "up to date: 4 files in deploy/prometheus\n", "") == (checked.returncode, checked.stdout, checked.stderr)
    assert "budget: memory" in (tmp_path / "deploy/prometheus" / FILES[0]).read_text(encoding="utf-8")


def test_check_names_what_is_missing_or_out_of_date_and_changes_nothing(rules, tmp_path):
    rules("--out", "monitoring")
    (tmp_path / "otel-perf.toml").write_text('[budgets]\nmemory = "300MB"\n', encoding="utf-8")
    (tmp_path / "monitoring" / FILES[3]).unlink()

    checked = rules("--check", "--out", "monitoring")

    assert 1 == checked.returncode
    assert "" == checked.stdout
    mend = "run `otel-perf rules --out monitoring` with the same options"
    assert [
        f"otel-perf rules: monitoring/{FILES[0]} is out of date; {mend}",
        f"otel-perf rules: monitoring/{FILES[2]} is out of date; {mend}",
        f"otel-perf rules: monitoring/{FILES[3]} is missing; {mend}",
    ] == checked.stderr.splitlines()
    assert not (tmp_path / "monitoring" / FILES[3]).exists()


def test_budgets_and_service_are_those_of_the_configuration_file(rules, tmp_path):
    (tmp_path / "pyproject.toml").write_text(
        '[tool.otel-perf]\nservice = "shop"\n[tool.otel-perf.budgets]\nmemory = "300MB"\nidle = false\n',
        encoding="utf-8",
    )
    rules()
    text = (tmp_path / "deploy/prometheus" / FILES[0]).read_text(encoding="utf-8")

    assert 'process_memory_usage_bytes{service_name="shop"}' in text
    assert 'otel_perf:budget_value{budget="memory"} > 300000000' in text
    assert "idle" not in text

    rules("--service", "")
    assert "service_name=" not in (tmp_path / "deploy/prometheus" / FILES[0]).read_text(encoding="utf-8")


def test_services_that_are_named_must_be_there_and_check_takes_the_same_names(rules, tmp_path):
    (tmp_path / "otel-perf.toml").write_text('service = "other"\n', encoding="utf-8")
    named = ("--service", "shop", "--service", 'sh"op', "--service", "shop")

    rules(*named)
    text = (tmp_path / "deploy/prometheus" / FILES[1]).read_text(encoding="utf-8")

    assert 2 == text.count("absent_over_time(")
    assert 'absent_over_time(otel_perf:process_seen{service_name="shop"}[1h])' in text
    assert "other" not in text
    assert 0 == rules("--check", *named).returncode
    for others in ((), ("--service", "shop")):
        checked = rules("--check", *others)
        assert 1 == checked.returncode
        assert "run `otel-perf rules` with the same options" in checked.stderr


def test_a_metric_that_prometheus_does_not_answer_is_named(rules, tmp_path):
    (tmp_path / "otel-perf.toml").write_text('[budgets.orders]\nmetric = "shop.orders"\nmax = 10\n', encoding="utf-8")

    done = rules()

    assert 0 == done.returncode
    assert done.stderr.startswith(
        "otel-perf rules: budget 'orders': Prometheus has no series that answers to shop.orders"
    )
    assert "the program must have this budget too" in done.stderr


def test_a_budget_that_is_judged_on_recorded_runs_only_is_told_to_have_a_rule_that_never_fires(rules, tmp_path):
    (tmp_path / "otel-perf.toml").write_text(
        '[budgets.calls]\nmetric = "rate(otel_perf.profile.calls)"\nmax = 10\n', encoding="utf-8"
    )

    done = rules()

    assert (
        0,
        "otel-perf rules: budget 'calls': rate(otel_perf.profile.calls) is judged by `otel-perf check` only, not while "
        "a program runs; its rule never fires\n",
    ) == (done.returncode, done.stderr)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[budgets]\nmemory = "lots"\n', "budget 'memory': max: write a number in the metric's unit"),
        ("[budgets\n", "otel-perf.toml: "),
        ("[budgets.x]\nmax = 1\n", "budget 'x': metric is missing (otel-perf.toml, [budgets]); write metric ="),
    ],
)
def test_a_budget_that_cannot_be_taken_is_exit_2_with_one_line(rules, tmp_path, content, message):
    (tmp_path / "otel-perf.toml").write_text(content, encoding="utf-8")

    done = rules()

    assert (2, "") == (done.returncode, done.stdout)
    assert done.stderr.startswith(f"otel-perf rules: {message}")
    assert 1 == len(done.stderr.splitlines())
    assert not (tmp_path / "deploy").exists()


def test_a_wrong_option_is_exit_2(rules):
    done = rules("--oops")

    assert 2 == done.returncode
    assert "unrecognized arguments: --oops" in done.stderr


@pytest.mark.parametrize("words", [(), ("--check",)])
def test_a_folder_that_is_a_file_is_said(rules, tmp_path, words):
    (tmp_path / "taken").write_text("", encoding="utf-8")

    done = rules("--out", "taken", *words)

    assert "Traceback" not in done.stderr
    assert "taken" in done.stderr
    assert (1 if words else 2) == done.returncode


def test_help_has_examples_and_exit_statuses(rules):
    done = rules("--help")

    assert 0 == done.returncode
    assert "otel-perf rules --check" in done.stdout
    assert "exit status: 0" in done.stdout
