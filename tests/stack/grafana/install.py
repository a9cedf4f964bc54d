"""Installs the npm packages that the dashboards are checked with, once per machine: ``python install.py``.

They are kept in ``$OTEL_PERF_GRAFANA``, by default ``~/.cache/otel-perf/grafana``, under a name with a hash of the lock
file: whoever finds the folder finds it whole; old ones may be deleted. Needs node and npm, and npm's registry. To renew
versions, change ``package.json``, run ``npm install --package-lock-only`` here and commit the lock file.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
FILES = ("package.json", "package-lock.json", ".npmrc")


def place() -> Path:
    """Return where the packages are, once they are installed."""
    given = os.environ.get("OTEL_PERF_GRAFANA")
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    digest = hashlib.sha256(b"".join((HERE / file).read_bytes() for file in FILES)).hexdigest()[:16]
    return (Path(given).absolute() if given else Path(base, "otel-perf", "grafana")) / digest


def find() -> Path | None:
    """Return the folder with ``node_modules``, None if they are not installed."""
    return place() if place().is_dir() else None


def main() -> int:
    """Install them if they are not there; return the exit status."""
    folder = place()
    if folder.is_dir():
        say(f"is there: {folder}")
        return 0
    npm = shutil.which("npm")
    if npm is None:
        say("needs node and npm on PATH (Debian: nodejs npm, macOS: brew install node); make test needs none")
        return 1
    begun, work = time.monotonic(), folder.with_name(f"unfinished-{os.getpid()}")
    say("installing Grafana's libraries for the tests, 650 MB; takes a minute")
    work.mkdir(parents=True)
    try:
        for file in FILES:
            shutil.copyfile(HERE / file, work / file)
        done = subprocess.run([npm, "ci"], cwd=work, stdin=subprocess.DEVNULL, check=False)
        if done.returncode:
            say(f"npm ci in {HERE} has ended with {done.returncode}")
            return 1
        if not folder.is_dir():  # another process may have been faster
            work.rename(folder)
        say(f"installed in {time.monotonic() - begun:.0f} s: {folder}")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return 0


def say(text: str) -> None:
    """Write a line of progress."""
    print(f"grafana libraries: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
