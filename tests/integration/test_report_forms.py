"""The report of real programs in its three forms: why the start took so long, what to change, how the process ended."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ONCE_A_SECOND = ("score.", "budgets", "alerts", "metrics")  # test_report_metrics.py has them: a start is too short
PLAIN = {"PYTHONIOENCODING": "utf-8", "COLUMNS": None, "FORCE_COLOR": None}


@pytest.fixture
def report(run_python):
    """Return a function that runs ``otel-perf report`` in the test's folder and gives what it wrote to stdout."""

    def run(*arguments):
        result = run_python(["-m", "otel_perf", "report", *arguments], env=PLAIN)
        assert (0, "") == (result.returncode, result.stderr)
        return result.stdout

    return run


@pytest.fixture
def as_json(report):
    return lambda *arguments: json.loads(report("--json", *arguments))


def keys_of(value, prefix=""):
    """Return every key of nested objects as on the page that documents them; values of ``parts`` are free."""
    if isinstance(value, list):
        rows = [one for one in value if isinstance(one, dict)]
        return set().union(*(keys_of(one, f"{prefix}[]") for one in rows)) if rows else {prefix}
    if not isinstance(value, dict) or prefix.endswith(".parts"):
        return {prefix}
    found = set().union(*(keys_of(one, f"{prefix}.{key}" if prefix else key) for key, one in value.items()))
    return found | ({prefix} if prefix == "ended" else set())


# --- why and what to change -----------------------------------------------------------------------------------


EVERYTHING = """
import threading, time
import otel_perf as perf
perf.init(service="shop", version="1.4.2", phases=["PreInit", "CoreInit", "Transport", "Ready"])

import slow

@perf.profile
def connect():
    time.sleep(0.12)

@perf.profile
def countdown(n):
    if n: countdown(n - 1)

def later():
    return slow.VALUE

with perf.phase("Extra"):
    for _ in range(2):
        try:
            import opt
        except ImportError:
            pass
with perf.phase("Transport"):
    connect()
    countdown(3)
perf.ready()

@perf.profile(span_threshold=0)
def first_use():
    import lazy

first_use()
perf.gauge("queue").set(float("nan"))
"""


@pytest.fixture
def everything(run_python, tmp_path):
    """Record a program in which there is something to say of every kind, but for what test_report_metrics.py has."""
    (tmp_path / "slow.py").write_text("import time\ntime.sleep(0.15)\nVALUE = 1\n")
    (tmp_path / "lazy.py").write_text("import time\ntime.sleep(0.15)\n")
    (tmp_path / "opt.py").write_text("import time\ntime.sleep(0.08)\nraise ImportError('no opt')\n")
    result = run_python(EVERYTHING, name="app.py", env={"OTEL_PERF_METRICS": "off"})
    assert (0, "") == (result.returncode, result.stderr)
    return tmp_path


@pytest.mark.timed
def test_report_names_the_lines_to_change_and_what_they_save(everything, as_json):
    start = as_json()["start"]

    texts = [one["text"] for one in start["recommendations"]]
    (opt,) = [one for one in start["recommendations"] if "import opt failed twice" in one["text"]]
    assert 0.16 <= opt["saving_seconds"] <= 0.30, texts
    (slow,) = [one for one in start["recommendations"] if "import slow" in one["text"]]
    assert "used only inside functions (later): import it there" in slow["text"]
    assert 0.15 <= slow["saving_seconds"] <= 0.25
    assert ("app.py", 6) == (os.path.basename(slow["file"]), slow["line"])


def test_bottleneck_on_the_root_is_the_one_that_the_report_names(everything, as_json, spans_of):
    (root,) = [span for span in spans_of(everything) if span["attributes"].get("otel_perf.kind") == "startup"]
    first = as_json()["start"]["bottlenecks"][0]

    told = [root["attributes"].get(f"otel_perf.bottleneck{end}") for end in ("", ".share", ".reason")]
    assert [first["name"], pytest.approx(first["share"], abs=0.001), first["reason"]] == told


@pytest.mark.timed
def test_imports_after_the_start_are_listed_and_not_part_of_it(everything, as_json, report):
    """C3: 150 ms that a lazy import costs its first user."""
    found = as_json()

    (late,) = found["after_start"]["imports"]
    assert "lazy" == late["module"]
    assert 0.15 <= late["seconds"] <= 0.3
    assert "lazy" not in [row["module"] for row in found["start"]["imports"]["modules"]]
    assert re.search(r"^Imports after ready: \d+ ms in 1 import$", report(), re.MULTILINE)


def test_every_key_of_the_json_is_documented_and_every_documented_key_is_there(everything, as_json):
    page = (ROOT / "docs" / "report-schema.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE))
    found = as_json()

    keys = keys_of(found)

    assert "otel-perf/report/1" == found["schema"]
    documented = {key for key in documented if not key.startswith(ONCE_A_SECOND)}
    keys = {key for key in keys if not key.startswith(ONCE_A_SECOND)}
    empty = {key for key in keys if any(one.startswith(f"{key}[]") for one in documented)}
    assert {"start.off_the_path", "ended.unfinished"} == empty  # nothing in this program ran in parallel, or was killed
    assert set() == keys - empty - documented
    assert set() == {
        key for key in documented - keys if not key.startswith(("start.off_the_path[]", "ended.unfinished[]"))
    }


def test_numbers_of_the_json_agree_with_the_text(everything, as_json, report):
    found, text = as_json(), report("--width", "120")

    start = found["start"]
    assert f"shop 1.4.2 started in {round(start['seconds'] * 1000)} ms" in text
    assert ["PreInit", "Extra", "Transport", "Ready"] == [phase["name"] for phase in start["phases"]]
    for one in start["bottlenecks"]:
        title = "own code of the program" if one["kind"] == "startup" else one["name"]
        assert re.search(rf"\d\. {re.escape(title)}( \(own code\))?, ", text)
    assert pytest.approx(start["seconds"]) == sum(
        part["to_seconds"] - part["from_seconds"] for part in start["critical_path"]
    )
    assert "Findings" in text
    assert {"missing", "unknown"} <= {one["kind"] for one in found["findings"]}


def test_markdown_has_a_table_and_folds_what_is_long(everything, report):
    text = report("--markdown")

    assert text.startswith("### ✅ shop 1.4.2 started in ")
    assert "| phase | time | of start |\n| :-- | --: | --: |\n| <code>PreInit</code> |" in text
    assert "**What to change**\n\n1. " in text
    assert text.count("<details>") == text.count("</details>") == 3
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in tables)


# --- how it ended ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ending", "state", "line"),
    [
        ("", "exit", "exited (code not recorded)"),
        ("raise ValueError('no such table')", "exception", "ended by ValueError: no such table"),
    ],
)
def test_report_says_how_the_program_ended(run_python, report, as_json, ending, state, line):
    run_python(f"import otel_perf as perf\nperf.init()\nperf.ready()\n{ending}\n", name="app.py")

    assert state == as_json()["ended"]["state"]
    assert any(one.startswith(line) for one in report().splitlines())


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_killed_program_ended_without_a_word(run_python, as_json, report):
    program = """
    import os, signal, time
    import otel_perf as perf
    perf.init()
    perf.ready()
    time.sleep(0.6)
    os.kill(os.getpid(), signal.SIGKILL)
    """
    result = run_python(program)
    assert -signal.SIGKILL == result.returncode

    assert "silent" == as_json()["ended"]["state"]
    assert re.search(
        r"^ended without a word \(killed, or it crashed\); last recorded after [\d.]+ ms$", report(), re.MULTILINE
    )


def test_program_that_still_runs_is_said_to(run_python, tmp_path, as_json):
    program = "import otel_perf as perf\nperf.init()\nperf.ready()\nprint(perf.report())\n"

    assert "still running" in run_python(program).stdout


# --- the command line -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", [("--json", "--markdown"), ("--json", "--list"), ("--list", "--markdown")])
def test_forms_exclude_each_other(run_python, pair):
    result = run_python(["-m", "otel_perf", "report", *pair])

    assert (2, "") == (result.returncode, result.stdout)
    assert "not allowed with argument" in result.stderr


def test_json_of_a_run_without_a_start_is_whole(tmp_path, as_json):
    folder = tmp_path / ".otel-perf" / "2026-11-25T10-00-00" / "1"
    folder.mkdir(parents=True)
    (folder / "traces.jsonl").write_text("{}\n")

    found = as_json()

    assert (None, None, []) == (found["start"], found["ended"], found["findings"])


def test_forms_are_plain_for_a_pipe(everything):
    command = [sys.executable, "-m", "otel_perf", "report", "--markdown"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONIOENCODING": "ascii", "FORCE_COLOR": "1"}
    out = subprocess.check_output(command, cwd=everything, env=environment, timeout=60)

    assert b"\x1b" not in out
    assert out.isascii()
