"""What a program had recorded is on disk, whatever ends it: the last half second may be lost, nothing before it."""

from __future__ import annotations

import json
import os
import signal

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


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")
def test_a_kill_in_the_middle_tears_the_last_line_at_most(start_program, otel_perf, tmp_path):
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
    source = otel_perf[1]
    with open(source, encoding="utf-8") as file:
        path = file.read().split("'")[1]
    for _ in range(3):
        process = start_program([otel_perf[0], "-c", code], None, env={"PYTHONPATH": path})
        assert b"up\n" == process.stdout.readline()
        with pytest.raises(Exception, match="timed out"):
            process.wait(0.7)
        process.send_signal(signal.SIGKILL)
        process.communicate()

    files = list(tmp_path.glob(".otel-perf/*/*/traces.jsonl"))
    assert 3 == len(files)
    for file in files:
        lines = file.read_bytes().split(b"\n")
        assert len(lines) > 1
        for line in lines[:-1]:
            json.loads(line)
