"""What a program had recorded is on disk, whatever ends it: the last half second may be lost, nothing before it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time

import pytest

SPANS = 1000
PROGRAM = """
import os, signal, sys, time
import otel_perf as perf

perf.init("crash")
with perf.phase("CoreInit"):
    for i in range({spans}):
        with perf.profile("step", span_threshold=0):
            pass
perf.ready()
time.sleep(0.5)
{end}
"""
ENDS = {
    "SIGKILL": ("os.kill(os.getpid(), signal.SIGKILL)", -9),
    "SIGTERM": ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(5)", -15),
    "os._exit": ("os._exit(5)", 5),
    "os.execv": ("os.execv(sys.executable, [sys.executable, '-c', 'raise SystemExit(6)'])", 6),
    "abort": ("os.abort()", -6),
    "SIGTERM without our handler": (
        "signal.signal(signal.SIGTERM, signal.SIG_DFL); os.kill(os.getpid(), signal.SIGTERM); time.sleep(5)",
        -15,
    ),
}


@pytest.mark.skipif(os.name != "posix", reason="signals and exec are POSIX")
@pytest.mark.parametrize("end", ENDS)
def test_a_thousand_spans_survive_the_end_of_the_process(run_python, spans_of, tmp_path, assert_whole_tree, end):
    line, code = ENDS[end]

    result = run_python(PROGRAM.format(spans=SPANS, end=line))

    spans = spans_of(tmp_path)  # every line is valid JSON
    assert (code, "") == (result.returncode, result.stderr)
    assert SPANS == len([span for span in spans if span["name"] == "step"])
    assert {"startup", "CoreInit", "PreInit", "Ready"} <= {span["name"] for span in spans}
    assert_whole_tree(spans)


@pytest.fixture
def start_script(start_program, otel_perf):
    """Return a function that starts a script's text in an interpreter that finds our package."""
    with open(otel_perf[1], encoding="utf-8") as file:
        source = file.read().split("'")[1]

    return lambda code: start_program([otel_perf[0], "-c", code], None, env={"PYTHONPATH": source})


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")
def test_a_kill_in_the_middle_tears_the_last_line_at_most(start_script, tmp_path):
    code = """
import time, otel_perf as perf
perf.init("busy")
perf.ready()
print("up", flush=True)
while True:
    for i in range(2000):
        with perf.profile("step", span_threshold=0):
            pass
    time.sleep(0.01)
"""
    for _ in range(3):
        process = start_script(code)
        assert b"up\n" == process.stdout.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.7)
        process.kill()
        process.communicate()

    files = list(tmp_path.glob(".otel-perf/*/*/traces.jsonl"))
    assert 3 == len(files)
    for file in files:
        lines = file.read_bytes().split(b"\n")
        assert len(lines) > 1
        for line in lines[:-1]:
            json.loads(line)


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")
@pytest.mark.parametrize("after", [0.0, 0.03, 0.1])
def test_a_signal_while_the_exit_writes_waits_for_it(start_script, spans_of, tmp_path, assert_whole_tree, after):
    """As when a pool terminates workers that are about to end: nothing is written twice, or from inside a write."""
    code = """
import otel_perf as perf
perf.init("leaving")
perf.ready()
for i in range(20_000):
    with perf.profile("step", span_threshold=0):
        pass
print("bye", flush=True)
"""
    process = start_script(code)
    assert b"bye\n" == process.stdout.readline()
    time.sleep(after)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)

    spans = spans_of(tmp_path)
    assert b"" == errors
    assert process.returncode in (0, -signal.SIGTERM)
    assert 20_000 == len([span for span in spans if span["name"] == "step"])
    assert_whole_tree(spans)
