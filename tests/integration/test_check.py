"""``otel-perf check`` as a gate, and what ``init(strict=True)`` says: real programs, real shells, exit statuses."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SRC = str(Path(__file__).resolve().parents[2] / "src")
OWN = 'perf.init("shop", "1.0", phases=["PreInit", "Core", "UI", "Ready"], strict=STRICT)'
GOOD = """
with perf.phase("Core"): pass
with perf.phase("UI"):
    with perf.phase("theme"): time.sleep(0.05)
perf.ready()
"""
# what a program does wrong, the kind of the finding, and what its message says
WRONG = {
    "order": (
        'with perf.phase("UI"): pass\nwith perf.phase("Core"): pass\nperf.ready()',
        "phase 'Core' (script.py:6) began after",
    ),
    "missing": ('with perf.phase("Core"): pass\nperf.ready()', "phase 'UI' (after 'Core' in the application's list)"),
    "doubled": (
        'for _ in range(2):\n    with perf.phase("Core"): pass\nwith perf.phase("UI"): pass\nperf.ready()',
        "phase 'Core' was entered 2 times (script.py:6); enter it once",
    ),
    "unfinished": (
        'with perf.phase("Core"): pass\nwith perf.phase("UI"):\n    perf.ready()',
        "phase 'UI' (script.py:6) was still open when ready() ended the start",
    ),
    "unknown": (
        'with perf.phase("Core"): pass\nwith perf.phase("Ui"): pass\nwith perf.phase("UI"): pass\nperf.ready()',
        "phase 'Ui' (script.py:6) is not in the application's list ('PreInit', 'Core', 'UI', 'Ready')",
    ),
    "budget": (
        'with perf.phase("Core"): time.sleep(2.05)\nwith perf.phase("UI"): pass\nperf.ready()',
        "over its budget of 2 s; otel-perf report shows",
    ),
}


@pytest.fixture
def program(run_python):
    """Return a function that records a program; *strict* is that of its init().

    It is not sampled: whether that begins before a short program ends depends on the machine.
    """

    def run(body, *, init=OWN, strict=False, env=None, **options):
        text = f"import time\nimport otel_perf as perf\nSTRICT = {strict}\n{init}\n{body.strip()}\n"
        return run_python(text, env={"OTEL_PERF_METRICS": "off", **(env or {})}, **options)

    return run


@pytest.fixture
def check(run_python):
    """Return a function that runs the command in the test's folder."""

    def run(*arguments, **options):
        environment = {"PYTHONIOENCODING": "utf-8", "FORCE_COLOR": None, **options.pop("env", {})}
        return run_python(["-m", "otel_perf", "check", *map(str, arguments)], env=environment, **options)

    return run


@pytest.fixture
def budgets(tmp_path):
    """Return a function that writes the budgets of the test's folder."""

    def write(text):
        (tmp_path / "otel-perf.toml").write_text(text)

    return write


def rows(result):
    """Return state and name of each budget that is shown."""
    words = [line.split() for line in result.stdout.splitlines() if line.startswith("  ")]
    return {row[1]: row[0] for row in words if row[0] in ("ok", "exceeded", "unknown")}


def findings(result):
    (process,) = json.loads(result.stdout)["processes"]
    return [(finding["kind"], finding["severity"]) for finding in process["findings"]]


# --- what is wrong with the phases ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", WRONG)
def test_strict_says_each_finding_on_stderr_and_nothing_else(program, kind):
    body, says = WRONG[kind]

    result = program(body, strict=True)

    assert (0, "") == (result.returncode, result.stdout)
    (line,) = result.stderr.splitlines()
    assert line.startswith("otel-perf: error: ")
    assert says in line


@pytest.mark.parametrize("kind", WRONG)
def test_without_strict_the_program_says_nothing_and_check_warns(program, check, kind):
    body, says = WRONG[kind]

    result = program(body)

    assert (0, "", "") == (result.returncode, result.stdout, result.stderr)
    if kind == "budget":  # that is a line of the gate itself
        assert (1, {"startup": "exceeded"}) == ((result := check()).returncode, rows(result))
    else:
        assert [(kind, "warning")] == findings(check("--json"))
        result = check()
        assert (0, {"startup": "ok"}) == (result.returncode, rows(result))
        assert says in result.stdout
        assert 1 == check("--strict").returncode


def test_findings_of_a_strict_program_fail_the_gate(program, check):
    program(WRONG["missing"][0], strict=True)

    assert [("missing", "error")] == findings(result := check("--json"))
    assert 1 == result.returncode


def test_the_process_and_the_record_find_the_same(program, check):
    body = WRONG["doubled"][0].replace("perf.ready()", 'with perf.phase("Other"): perf.ready()')

    said = program(body, strict=True).stderr

    (process,) = json.loads(check("--json").stdout)["processes"]
    assert ["unknown", "doubled", "unfinished"] == [one["kind"] for one in process["findings"]]
    assert [f"otel-perf: error: {one['message']}" for one in process["findings"]] == said.splitlines()


def test_a_program_that_keeps_to_its_list_passes_strictly(program, check):
    result = program(GOOD, strict=True)

    assert (0, "", "") == (result.returncode, result.stdout, result.stderr)
    result = check("--strict")
    assert (0, {"startup": "ok"}) == (result.returncode, rows(result))
    assert result.stdout.startswith("shop 1.0 holds: 1 budget ok (run ")


@pytest.mark.parametrize("names", [[], ["UI"], ["UI", "CoreInit"], ["Load", "Serve"]])
def test_some_phases_of_the_default_list_in_any_order_are_no_finding(program, check, names):
    body = "".join(f"with perf.phase({name!r}): pass\n" for name in names) + "perf.ready()"

    assert "" == program(body, init="perf.init(strict=True)").stderr
    assert [] == findings(check("--json"))


def test_phases_that_repeat_inside_another_are_no_finding(program, check):
    body = GOOD.replace(
        'with perf.phase("theme"): time.sleep(0.05)', 'for i in range(3):\n        with perf.phase("t"): pass'
    )

    assert "" == program(body, strict=True).stderr
    assert [] == findings(check("--json"))


def test_a_phase_in_a_span_of_the_api_in_a_phase_is_inside_it(program, check):
    body = """
from opentelemetry import trace
with perf.phase("Core"):
    with trace.get_tracer("t").start_as_current_span("span"), perf.phase("part"): pass
    with trace.get_tracer("t").start_as_current_span("span"), perf.phase("part"): pass
with perf.phase("UI"): pass
perf.ready()
"""
    assert "" == program(body, strict=True).stderr
    assert [] == findings(check("--json"))


def test_pre_init_is_ours_and_in_nobodys_way(program, check, otel_perf, write, tmp_path):
    """Under `otel-perf run` it is written before the program says which phases it has."""
    write(
        "app.py",
        'import otel_perf as perf\nperf.init(phases=["A"], strict=True)\nwith perf.phase("A"): pass\nperf.ready()\n',
    )

    result = subprocess.run([*otel_perf, "run", sys.executable, "app.py"], cwd=tmp_path, capture_output=True, text=True)

    assert (0, "") == (result.returncode, result.stderr)
    assert [] == findings(check("--json"))


def test_strict_findings_cost_the_program_no_heavy_module(run_python):
    result = run_python(
        """
        import sys, time
        import otel_perf as perf
        perf.init(phases=["A"], strict=True)
        before = set(sys.modules)
        perf.ready()
        time.sleep(0.8)
        assert "otel_perf.analysis.validation" in sys.modules
        print(*sorted({"json", "re", "dataclasses", "typing", "threading", "otel_perf.analysis.model"} & set(sys.modules) - before))
        """
    )

    assert "\n" == result.stdout
    assert "phase 'A' (in the application's list) was never entered" in result.stderr


def test_a_forked_child_says_nothing_of_its_parents_start(program):
    body = """
import os
pid = os.fork()
if not pid:
    perf.ready(); perf.shutdown(); os._exit(0)
os.waitpid(pid, 0)
perf.ready()
"""
    result = program(body, init='perf.init(phases=["A"], strict=True)')

    assert 1 == len(result.stderr.splitlines())


# --- a start without an end ----------------------------------------------------------------------------------------


def test_a_program_that_only_exits_leaves_its_start_unknown_and_passes(program, check):
    program("pass", init="perf.init()")

    result = check()

    assert (0, {"startup": "unknown"}) == (result.returncode, rows(result))
    assert "nobody called ready(): the process's exit closed the start" in result.stdout
    assert 1 == check("--strict").returncode


def test_a_start_that_was_killed_fails_the_gate_and_says_where(program, check):
    body = 'with perf.phase("Core"): pass\nwith perf.phase("UI"):\n    time.sleep(0.7)\n    import os; os.kill(os.getpid(), 9)'

    assert -signal.SIGKILL == program(body).returncode

    result = check()
    assert (1, {"startup": "unknown"}) == (result.returncode, rows(result))
    assert "error     the process died in its start, which has no end (unfinished: UI at script.py:6)" in result.stdout
    assert [("died", "error")] == findings(check("--json"))


def test_a_start_that_a_signal_ended_fails_in_the_phase_that_was_open(program, check):
    body = 'with perf.phase("Core"):\n    import os, signal; os.kill(os.getpid(), signal.SIGTERM); time.sleep(5)'

    assert -signal.SIGTERM == program(body).returncode

    result = check()
    assert 1 == result.returncode
    assert "a signal ended the process in 'Core' (script.py:5)" in result.stdout


def test_a_start_that_an_exception_ended_fails_in_the_record_and_on_stderr(program, check):
    body = 'with perf.phase("Core"):\n    raise ValueError("no table")'

    result = program(body, strict=True)

    assert 1 == result.returncode
    last = result.stderr.splitlines()[-1]
    assert "otel-perf: error: ValueError ended the process at script.py:6" in last
    result = check()
    assert 1 == result.returncode
    assert last.removeprefix("otel-perf: error: ") in result.stdout


def test_a_start_that_is_meant_to_last_until_the_exit_is_judged(check, write, run_program, tmp_path):
    write("app.py", "import time\ntime.sleep(0.1)\n")
    run_program([sys.executable, "app.py"], env={"OTEL_PERF_READY_WHEN": "exit"})

    assert (0, {"startup": "ok"}) == ((result := check()).returncode, rows(result))


def test_a_start_that_still_goes_on_is_unknown_and_not_dead(start_program, check, tmp_path, write):
    write("app.py", "import time\nimport otel_perf as perf\nperf.init()\nwith perf.phase('A'): pass\ntime.sleep(30)\n")
    start_program([sys.executable, "app.py"], None, env={"PYTHONPATH": SRC})
    until = time.monotonic() + 10
    while not list(tmp_path.glob(".otel-perf/*/*/traces.jsonl")) and time.monotonic() < until:
        time.sleep(0.05)

    result = check()

    assert (0, "unknown") == (result.returncode, rows(result)["startup"])
    assert "or is still in it" in result.stdout


# --- budgets ---------------------------------------------------------------------------------------------------------


def test_it_is_a_gate_in_a_shell_script(program, tmp_path, otel_perf, budgets):
    program(GOOD)
    script = tmp_path / "otel-perf"
    script.write_text(f'#!/bin/sh\nexec {otel_perf[0]} {otel_perf[1]} "$@"\n')
    script.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}

    def sh(text):
        result = subprocess.run(["sh", "-c", text], cwd=tmp_path, env=environment, capture_output=True, text=True)
        return result.returncode, result.stdout.splitlines()[-1]

    assert (0, "published") == sh("otel-perf check && echo published")
    budgets('[budgets.startup]\nmax = "1ms"')
    code, last = sh("set -e; otel-perf check; echo published")
    assert (1, "exceeded") == (code, last.split()[0])
    assert (0, "gate 1") == sh("otel-perf check >/dev/null || echo gate $?")
    assert (0, "gate 2") == sh("otel-perf check no-such-run 2>/dev/null || echo gate $?")
    assert (0, "gate 1") == sh("{ otel-perf check; echo gate $? >&2; } 2>&1 >/dev/full | tail -1")


def test_each_budget_is_a_line_with_verdict_value_limit_and_reason(program, check, budgets):
    budgets("""
    [budgets]
    memory = "300MB"
    [budgets.ui]
    metric = "otel_perf.startup.phase.duration{phase=UI}"
    max = "20ms"
    [budgets.any]
    metric = "otel_perf.startup.phase.duration"
    max = "30s"
    [budgets.gone]
    metric = "otel_perf.startup.phase.duration{phase=Plugins}"
    max = "20ms"
    [budgets.complete]
    metric = "otel_perf.self.dropped"
    max = 0
    [budgets.slowest]
    metric = "otel_perf.function.duration{function=__main__.work}"
    max = "10ms"
    [budgets.half]
    metric = "p50(otel_perf.function.duration{function=__main__.work})"
    max = "10ms"
    [budgets.short]
    metric = "otel_perf.function.duration{function=work}"
    max = "10ms"
    """)
    work = "@perf.profile\ndef work(n): time.sleep(n)\n" + GOOD + "for n in (0, 0, 0.05): work(n)\n"
    program(work)

    result = check()

    assert (1, "") == (result.returncode, result.stderr)
    assert {
        "startup": "ok", "memory": "unknown", "ui": "exceeded", "any": "ok", "gone": "unknown", "complete": "ok",
        "slowest": "exceeded", "half": "ok", "short": "unknown",
    } == rows(result)  # fmt: skip
    lines = {line.split()[1]: line for line in result.stdout.splitlines()[1:]}
    assert "limit 20 ms" in lines["ui"]
    assert " over" in lines["ui"]
    assert "this process recorded no metric process.memory.usage" in lines["memory"]
    assert "was not recorded for phase=Plugins; there are " in lines["gone"]
    assert "0 records  limit 0 records" in lines["complete"]
    assert "3 calls" in lines["slowest"]
    assert "was not recorded for function=work; there is __main__.work" in lines["short"]
    assert "does not hold: 2 budgets exceeded, 4 ok, 3 unknown (run " in result.stdout.splitlines()[0]


def test_a_start_over_its_budget_by_the_programs_own_code_says_so(program, check, budgets):
    budgets('[budgets.startup]\nmax = "100ms"\n')
    program("time.sleep(0.5)\nperf.ready()", init="perf.init()")

    assert re.search(r"over; own code of the program took \d+% of it", check("--strict").stdout)


def test_the_limit_of_the_file_is_the_programs_own_too(program, check, run_python, budgets, tmp_path):
    budgets('[budgets.startup]\nmax = "1ms"')
    said = program(GOOD, strict=True).stderr

    assert "over its budget of 1 ms" in said
    assert "the budget of 1 ms exceeded" in run_python(["-m", "otel_perf", "report", "--width", "200"]).stdout
    (tmp_path / "otel-perf.toml").unlink()
    assert {"startup": "exceeded"} == rows(check())  # as the program was told
    budgets('[budgets.startup]\nmax = "1min"')
    assert {"startup": "ok"} == rows(check())  # unless the gate is told otherwise


def test_a_bad_budget_costs_the_program_one_line(program, budgets):
    budgets("[budgets.startup]\nmax = 0")

    result = program(GOOD)

    assert 0 == result.returncode
    assert (
        "otel-perf: budget 'startup': max must be greater than 0, got 0; write max = '2s' "
        "(otel-perf.toml, [budgets.startup]); the start is judged by 2 s\n" == result.stderr
    )


@pytest.mark.parametrize(
    ("file", "arguments", "says"),
    [
        ("", ["no-such-run"], "no run 'no-such-run' in .otel-perf/ (1 there"),
        ("", ["--process", "x"], "no process 'x' in run"),
        ("[budgets", [], "otel-perf.toml: "),
        ("[budgets.startup]\nmax = 0", [], "budget 'startup': max must be greater than 0"),
        ('[budgets.a]\nmetric = "otel_perf.self.dropped"\nmax = "2s"', [], "budget 'a': max is written in s, but"),
    ],
)
def test_usage_errors_are_one_line_and_two(program, check, budgets, file, arguments, says):
    program(GOOD)
    budgets(file)

    result = check(*arguments)

    assert (2, "") == (result.returncode, result.stdout)
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"otel-perf check: {says}")


def test_every_process_is_judged_and_the_worst_decides(program, check):
    body = """
import subprocess, sys, os
child = '''
import os, time
import otel_perf as perf
perf.init("worker")
with perf.phase("Load"):
    time.sleep(0.7)
    os.kill(os.getpid(), 9)
'''
environment = {**os.environ, "OTEL_PERF_RUN": os.path.dirname(perf.runtime._runtime.work.writer.folder.path)}
for code in (child, "import otel_perf as perf; perf.init('helper'); perf.ready()"):
    subprocess.run([sys.executable, "-c", code], env=environment)
"""
    program(f"{GOOD}time.sleep(0.6)\n{body}".replace("perf.runtime", "__import__('otel_perf.runtime').runtime"))

    result = check()

    assert 1 == result.returncode
    first, *others = result.stdout.splitlines()
    assert first.startswith("shop 1.0 does not hold: 2 budgets ok, 1 unknown, 1 error (run ")
    assert ["worker"] == [line.split()[-1] for line in others if line.startswith("process ")][1:]
    assert "the other process of the run: 1 budget ok" == others[-1]
    names = {one["service"]: one for one in json.loads(check("--json").stdout)["processes"]}
    assert {"shop": True, "worker": False, "helper": True} == {name: one["holds"] for name, one in names.items()}
    assert 0 == check("--process", names["shop"]["process"]).returncode


@pytest.mark.timed
def test_json_says_all_there_is_to_say(program, check, budgets):
    budgets('[budgets.ui]\nmetric = "otel_perf.startup.phase.duration{phase=UI}"\nmax = "1ms"\nseverity = "critical"')
    program(GOOD)

    result = check("--json")

    found = json.loads(result.stdout)
    assert (1, 1, False, False) == (result.returncode, found["version"], found["holds"], found["strict"])
    startup, ui = found["processes"][0]["budgets"]
    assert ("startup", "ok", 2.0, "default") == (startup["name"], startup["state"], startup["max"], startup["source"])
    assert 0.05 <= ui.pop("value") < 1.0
    assert ui.pop("reason").endswith(" over")
    assert {
        "name": "ui", "metric": "otel_perf.startup.phase.duration{phase=UI}", "state": "exceeded", "max": 0.001,
        "unit": "s", "severity": "critical", "source": "otel-perf.toml, [budgets.ui]",
    } == ui  # fmt: skip


def test_help_shows_a_gate_and_a_budget(check):
    result = check("--help")

    assert 0 == result.returncode
    assert "otel-perf check --folder perf && ./publish" in result.stdout
    assert "[budgets.checkout]" in result.stdout


def test_the_budgets_of_the_help_are_taken(check, program, budgets):
    text = check("--help").stdout
    budgets(text.partition("otel-perf.toml:\n")[2].partition("\nA budget is")[0])
    program(GOOD)

    result = check()

    assert (0, "") == (result.returncode, result.stderr)
    assert ["startup", "memory", "window", "checkout", "complete"] == list(rows(result))
