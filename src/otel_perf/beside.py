"""Starts `otel-perf view` beside a program: a process of its own, no child of the program's, and not recorded itself.

Imports only: os, sys, system. A shell starts it and ends at once, so that whoever waits for children of his own meets
none of ours.
"""

from __future__ import annotations

import os
import sys

from .system import calls

VIEWED = "OTEL_PERF_VIEWED"  # set for the processes of a program whose page there is already
ENOENT = 2
_SIGNALS = (1, 2, 3, 13, 15)  # SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGTERM: as they are by default


def start(run: str, pid: int) -> None:
    """Start the page of the run folder *run*; it says its address on stderr, and ends after the process *pid*.

    Raises: OSError: it cannot be started.
    """
    python = sys.executable
    if not python:
        raise OSError(ENOENT, "this program has no interpreter of its own", "python")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    environ["PYTHONPATH"] = _path(environ.get("PYTHONPATH", ""))
    run = os.path.abspath(run)
    command = [python, "-P", "-m", "otel_perf", "view", run, "--folder", os.path.dirname(run), "--beside", str(pid)]
    if os.name == "nt":
        _start_on_windows(command, environ)
        return
    quiet = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDWR, 0), (os.POSIX_SPAWN_DUP2, 0, 1)]
    words = ["sh", "-c", '"$@" &', "sh", *command]
    shell = calls.posix_spawn(
        "/bin/sh", words, environ, file_actions=quiet, setsid=True, setsigmask=(), setsigdef=_SIGNALS
    )
    try:
        calls.waitpid(shell, 0)
    except ChildProcessError:  # the program waits for any child
        return


def _path(before: str) -> str:
    """Return PYTHONPATH with the folder that this package is in, and without that of `otel-perf run`."""
    package = os.path.dirname(os.path.abspath(__file__))
    site = os.path.join(package, "_site")
    others = [entry for entry in before.split(os.pathsep) if entry and entry != site]
    return os.pathsep.join([os.path.dirname(package), *others])


def _start_on_windows(command: list[str], environ: dict[str, str]) -> None:
    import subprocess

    flags = getattr(subprocess, "DETACHED_PROCESS", 0) | getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
    subprocess.Popen(command, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, creationflags=flags)
