"""The tests can be collected on Windows: `-m` and skips choose among them once their modules are imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WITHOUT_POSIX = """
import os, signal, sys
import asyncio, multiprocessing, subprocess, tempfile  # what looks for POSIX as it is loaded, and is not ours
import _pytest.capture, execnet, grpc, hypothesis, psutil, rich.console, starlette.applications, textual.app, uvicorn

ABSENT = {"pty", "tty", "termios", "fcntl", "resource", "pwd", "grp", "curses", "syslog"}

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

for name in ABSENT:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Finder())
for name in ("fork", "geteuid", "getuid", "getegid", "mkfifo", "setsid", "killpg", "getpgid", "wait4", "openpty", "chown",
             "uname", "sysconf", "sched_setaffinity", "nice", "getpgrp"):
    vars(os).pop(name, None)
for name in ("SIGKILL", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGSTOP", "SIGCONT", "SIGALRM", "SIGWINCH", "SIGTSTP",
             "setitimer", "ITIMER_REAL", "pthread_kill"):
    vars(signal).pop(name, None)
"""


@pytest.mark.slow
def test_every_test_is_collected_where_there_is_no_posix(tmp_path):
    (tmp_path / "without_posix.py").write_text(WITHOUT_POSIX, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "--collect-only", "-qq", "-p", "without_posix", "-p", "no:cacheprovider"]
    command += ["-m", "not stack and not browser"]

    path = os.pathsep.join([str(tmp_path), str(ROOT / "src")])
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert 0 == done.returncode, done.stdout[-3000:]
