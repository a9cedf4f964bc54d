"""A small shop as a real program in progress, and commands whose output is in a pipe."""

from __future__ import annotations

import os
import sys
import time

import pytest

PROGRAM = """
import os, subprocess, sys, time
import otel_perf as perf

perf.init(service="shop", version="1.4.2")
with perf.phase("CoreInit"):
    time.sleep(0.05)
import http.server
child = subprocess.Popen([sys.executable, sys.argv[1]]) if len(sys.argv) > 1 else None
perf.ready()
backlog = perf.gauge("shop.backlog")
perf.budget("backlog", metric="shop.backlog", max=10)
perf.on_alert(lambda alert: print(time.time(), alert.body, flush=True))

@perf.profile
def price(number):
    return sum(range(number))

@perf.profile(span_threshold=0)
def checkout():
    price(1000)
    time.sleep(0.01)

EVIL = "\\x1b[2J\\x1b]0;evil\\x07名\\u202e"
while not os.path.exists("end"):
    checkout()
    backlog.set(50 if os.path.exists("much") else 1)
    with perf.operation(EVIL if os.path.exists("evil") else "調べる"):
        time.sleep(0.05)
if child is not None:
    child.kill()
    child.wait()
"""
CHILD = """
import os, time
import otel_perf as perf

perf.init(service="worker")
perf.ready()

@perf.profile
def work():
    time.sleep(0.1)

while os.getppid() > 1:
    work()
"""


def wait_for(what, timeout=15.0):
    """Return the first truth that *what* gives; the test fails after *timeout* seconds."""
    until = time.monotonic() + timeout
    while not (found := what()):
        assert time.monotonic() < until, f"not within {timeout} s"
        time.sleep(0.02)
    return found


@pytest.fixture
def clean():
    """Return an environment in which nothing changes how we behave."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "PYTHON", "TMUX"))}


@pytest.fixture
def program(start_program, write, tmp_path):
    """Return a function that starts the shop, with a child process if asked, and waits until it has called something."""

    def recorded():
        return [path for path in tmp_path.glob(".otel-perf/*/*/metrics.jsonl") if b"checkout" in path.read_bytes()]

    def start(child=False, **more):
        before = len(recorded())
        write("shop.py", PROGRAM)
        words = [sys.executable, "shop.py", *([str(write("worker.py", CHILD))] if child else [])]
        started = start_program(words, **more)
        wait_for(lambda: len(recorded()) > before)
        return started

    return start


@pytest.fixture
def output(run_program, otel_perf):
    """Return a function that runs a command with its output in a pipe, and gives status, lines and what is on stderr."""

    def run(*words, **more):
        result = run_program([*otel_perf, *map(str, words)], None, env={"COLUMNS": None}, **more)
        return result.returncode, result.stdout.decode().splitlines(), result.stderr.decode()

    return run


@pytest.fixture
def two_runs(program, tmp_path):
    """Record the shop twice; return the names of the runs, the older first."""
    for _ in range(2):
        shop = program()
        (tmp_path / "end").touch()
        shop.wait()
        (tmp_path / "end").unlink()
    return sorted(path.name for path in (tmp_path / ".otel-perf").glob("2*"))
