"""Installs the readers that exported files are shown to, once per machine: ``python install.py`` (``make readers``).

speedscope comes from npm, with its schema and what checks it; inferno from crates.io, in the version and with the
dependencies that its own lock file names; ``go tool pprof`` comes with Go. They are kept in ``$OTEL_PERF_READERS``, by
default ``~/.cache/otel-perf/readers``, each under a name with a hash of what was asked for: whoever finds the folder finds
it whole; old ones may be deleted. To renew speedscope, change ``package.json``, run ``npm install --package-lock-only``
here and commit the lock file.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).resolve().parent
FILES = ("package.json", "package-lock.json", ".npmrc")
RUSTUP = os.path.expanduser("~/.cargo/bin")  # where cargo is, even if no login shell has said so
INFERNO = "0.12.8"  # CDDL-1.0: run by the tests, no part of the project


def place(name: str) -> Path:
    """Return where ``speedscope`` or ``inferno`` is, once it is installed."""
    given = os.environ.get("OTEL_PERF_READERS")
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    asked = INFERNO.encode() if name == "inferno" else b"".join((HERE / file).read_bytes() for file in FILES)
    folder = Path(given).absolute() if given else Path(base, "otel-perf", "readers")
    return folder / f"{name}-{hashlib.sha256(asked).hexdigest()[:16]}"


def find(name: str) -> Path | None:
    """Return the folder of ``speedscope`` (with ``node_modules``) or ``inferno`` (with ``bin``), None if it is absent."""
    return place(name) if place(name).is_dir() else None


def speedscope(folder: Path) -> list[str]:
    """Return the command that installs it into *folder*."""
    for file in FILES:
        shutil.copyfile(HERE / file, folder / file)
    return ["npm", "ci"]


def inferno(folder: Path) -> list[str]:
    """Return the command that builds it into *folder*."""
    words = ["cargo", "install", "inferno", "--version", INFERNO, "--locked", "--no-default-features"]
    return [*words, "--features", "cli", "--root", str(folder), "--bin", "inferno-flamegraph"]


NEEDS = {speedscope: "node and npm (Debian: nodejs npm)", inferno: "cargo 1.71 or newer (Debian: cargo)"}


def main() -> int:
    """Install what is not there; return the exit status: 1 if something should have been installed and was not."""
    done = [install(command.__name__, command, needs) for command, needs in NEEDS.items()]
    return 0 if all(done) else 1


def install(name: str, command: Callable[[Path], list[str]], needs: str) -> bool:
    """Install *name*, if what installs it is there; say whether nothing went wrong."""
    folder = place(name)
    if folder.is_dir():
        say(f"{name} is there: {folder}")
        return True
    begun, work = time.monotonic(), folder.with_name(f"unfinished-{name}-{os.getpid()}")
    work.mkdir(parents=True)
    try:
        words = command(work)
        program = shutil.which(words[0], path=os.pathsep.join((os.environ.get("PATH", os.defpath), RUSTUP)))
        if program is None:
            say(f"{name} needs {needs} on PATH; without it the tests that show it exported files are left out")
            return True
        say(f"installing {name}: {' '.join(words[:3])} …")
        environment = {**_toolchains(program), **os.environ}
        result = subprocess.run([program, *words[1:]], cwd=work, env=environment, stdin=subprocess.DEVNULL, check=False)
        if result.returncode:
            say(f"{' '.join(words)} has ended with {result.returncode}")
            return False
        if not folder.is_dir():  # another process may have been faster
            work.rename(folder)
        say(f"{name} installed in {time.monotonic() - begun:.0f} s: {folder}")
        return True
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _toolchains(program: str) -> dict[str, str]:
    """Return where rustup has its toolchains, if *program* is its cargo and the home directory is another one."""
    beside = Path(program).absolute().parents[2] / ".rustup"
    return {"RUSTUP_HOME": str(beside)} if beside.is_dir() else {}


def say(text: str) -> None:
    """Write a line to stderr."""
    print(f"readers: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
