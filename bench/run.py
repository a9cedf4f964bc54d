"""What ``otel-perf run`` adds to a program that does nothing."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from . import measure
from .table import Goal, Row

GROUP = "otel-perf run"
PROGRAM = [sys.executable, "-c", "pass"]
FLOOR = [sys.executable, "-c", f"import os; os.execv({PROGRAM[0]!r}, {PROGRAM!r})"]  # what any such command must cost
KEPT = 50  # runs that retention keeps: what the folder of a daily user holds


def rows(quick: bool) -> list[Row]:
    """Measure whole processes from outside, interleaved: in a new folder, then where the usual number of runs lies."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pairs = 7 if quick else 41
        found = [_pairs("added to python -c pass, with .pyc", folder, pairs, Goal(at_most=0.015), fresh=True)]
        for _ in range(KEPT):
            wall(command(), folder)
        found.append(_pairs(f"the same, {KEPT} runs kept", folder, pairs, Goal(at_most=0.015), fresh=False))
    return found


def command() -> list[str]:
    """Return how a user starts it: the console script of this environment, or the module where there is none."""
    script = Path(sys.executable).with_name("otel-perf")
    start = [str(script)] if script.exists() else [sys.executable, "-m", "otel_perf"]
    return [*start, "run", "--", *PROGRAM]


def wall(program: list[str], folder: Path) -> float:
    """Return the seconds from starting a process to its end."""
    # An installed package is found without PYTHONPATH; a longer path is searched for every module.
    env = measure.environment(PYTHONPYCACHEPREFIX=str(folder / "cache"))
    if not (Path(sys.executable).with_name("otel-perf")).exists():
        env["PYTHONPATH"] = measure.source()
    begun = time.perf_counter()
    pid = os.posix_spawn(program[0], program, env, file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)])
    _, status = os.waitpid(pid, 0)
    took = time.perf_counter() - begun
    if status:
        raise RuntimeError(f"{program} ended with {os.waitstatus_to_exitcode(status)}")
    return took


def _pairs(what: str, folder: Path, pairs: int, goal: Goal, fresh: bool) -> Row:
    before = Path.cwd()
    os.chdir(folder)  # posix_spawn has no cwd
    try:
        for program in (command(), PROGRAM):
            wall(program, folder)  # writes the .pyc files
        if fresh:
            shutil.rmtree(folder / ".otel-perf", ignore_errors=True)
        programs = {"ours": command(), "floor": FLOOR, "plain": PROGRAM}
        subjects = {name: lambda program=program: wall(program, folder) for name, program in programs.items()}
        results = measure.interleaved(subjects, pairs, f"run: {what}")
    finally:
        os.chdir(before)
    added, floor = (
        measure.median([with_it - plain for with_it, plain in zip(results[name], results["plain"], strict=True)])
        for name in ("ours", "floor")
    )
    least = min(results["ours"]) - min(results["plain"])
    note = f"the program itself takes {measure.median(results['plain']) * 1e3:.1f} ms; median of {pairs} interleaved "
    note += f"rounds, the fastest of each are {least * 1e3:.1f} ms apart"
    return Row(GROUP, what, added, "s", floor, "an interpreter that only execs the program", goal, note)
