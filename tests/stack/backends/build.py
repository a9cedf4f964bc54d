"""Builds the real backends that tests marked ``stack`` talk to, from their Go modules, once per machine.

``python build.py`` builds what the tests need (``make backends``), ``python build.py NAME...`` these. A build is kept in
``$OTEL_PERF_BACKENDS``, by default ``~/.cache/otel-perf/backends``, under a name with a hash of its module files: whoever
finds the folder finds it whole, and another version is another folder; old ones may be deleted. Only Go is needed, and
its module proxy.

Each folder here is one backend:

* ``go.mod`` with ``tool`` lines and ``go.sum``: the tools are its programs;
* with a ``builder.yaml`` it is a collector: ``builder/`` is the module of the program that writes its sources, and
  ``go.mod`` and ``go.sum`` are those that were resolved once, so that every machine builds the same.

To renew versions, change them in ``go.mod`` or ``builder.yaml``, run ``python build.py --renew NAME`` and commit.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HERE = Path(__file__).resolve().parent
NEEDED = ("collector", "prometheus", "jaeger", "victorialogs", "compose")
FLAGS = ("-trimpath", "-buildvcs=false", "-mod=readonly", "-ldflags=-s -w")
SAY_EVERY = 10.0  # seconds between two lines of progress


class BuildError(Exception):
    """A build cannot be made; says what is missing, or what Go said."""


def cache() -> Path:
    """Return the folder that keeps the builds."""
    given = os.environ.get("OTEL_PERF_BACKENDS")
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(given).absolute() if given else Path(base, "otel-perf", "backends")


def place(name: str) -> Path:
    """Return where the programs of backend *name* are, once they are built."""
    digest = hashlib.sha256(repr((FLAGS, sys.platform, platform.machine())).encode())
    for file in sorted(path for path in (HERE / name).rglob("*") if path.is_file()):
        content = file.read_bytes()
        digest.update(f"{file.relative_to(HERE).as_posix()} {len(content)}\n".encode() + content)
    return cache() / f"{name}-{digest.hexdigest()[:16]}"


def find(name: str) -> Path | None:
    """Return the folder with the programs of backend *name*, None if they are not built."""
    folder = place(name)
    return folder if folder.is_dir() else None


def build(name: str) -> Path:
    """Return the folder with the programs of backend *name*, built now if they are not there.

    Raises: BuildError: no Go, or Go could not build them.
    """
    cache().mkdir(parents=True, exist_ok=True)
    with _lock(name) as lock:
        folder = place(name)
        if folder.is_dir():
            _say(name, f"is there: {folder}")
            return folder
        work = cache() / f"unfinished-{name}"
        shutil.rmtree(work, ignore_errors=True)  # of a build that was killed; we have the lock
        begun = time.monotonic()
        _say(name, "not built yet on this machine; the first build takes some minutes")
        shutil.copytree(HERE / name, work / "src")
        _compile(name, work, lock)
        for program in (work / "bin").iterdir():
            with program.open("rb") as file:
                os.fsync(file.fileno())  # a folder with its final name is whole, also after a power cut
        (work / "bin").rename(folder)
        shutil.rmtree(work)
        size = sum(program.stat().st_size for program in folder.iterdir()) / 1e6
        _say(name, f"built in {time.monotonic() - begun:.0f} s, {size:.0f} MB: {folder}")
    return folder


def renew(name: str) -> None:
    """Resolve the versions that ``go.mod`` or ``builder.yaml`` name, and write the module files here.

    Raises: BuildError: no Go, or Go could not resolve them.
    """
    cache().mkdir(parents=True, exist_ok=True)
    with _lock(name) as lock:
        work = cache() / f"unfinished-{name}"
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(HERE / name, work / "src")
        module = work / "src"
        if (module / "builder.yaml").exists():
            _run(name, ["go", "mod", "tidy"], module / "builder", lock)
            module = _generate(name, module, lock, resolve=True)
            _copy_module_files(work / "src" / "builder", HERE / name / "builder")
        else:
            _run(name, ["go", "mod", "tidy"], module, lock)
        _copy_module_files(module, HERE / name)
        shutil.rmtree(work)


def _compile(name: str, work: Path, lock: int) -> None:
    """Build the programs of the sources in *work*/src into *work*/bin."""
    module, packages = work / "src", "tool"
    if (module / "builder.yaml").exists():
        generated = _generate(name, module, lock)
        _copy_module_files(module, generated)
        module, packages = generated, "."
    _go_build(name, module, packages, work / "bin", lock)


def _generate(name: str, module: Path, lock: int, *, resolve: bool = False) -> Path:
    """Have the collector's builder write its sources; return their folder."""
    _go_build(f"{name}'s builder", module / "builder", "tool", module / "bin", lock)
    words = [str(module / "bin" / "builder"), "--config", "builder.yaml", "--skip-compilation"]
    _run(name, words if resolve else [*words, "--skip-get-modules"], module, lock)
    return module / "build"


def _copy_module_files(source: Path, target: Path) -> None:
    for file in ("go.mod", "go.sum"):
        shutil.copyfile(source / file, target / file)


def _go_build(name: str, module: Path, packages: str, target: Path, lock: int) -> None:
    needed = _run(name, ["go", "list", "-mod=readonly", "-deps", packages], module, lock, of="modules fetched")
    number = sum(1 for line in needed if not line.startswith("go: "))
    words = ["go", "build", *FLAGS, "-v", "-o", f"{target}{os.sep}", packages]
    _run(name, words, module, lock, of=f"of {number} packages compiled")


def _run(name: str, words: Sequence[str], folder: Path, lock: int, of: str = "") -> list[str]:
    """Run a command and return its lines; with *of*, say now and then how many there were."""
    lines: list[str] = []
    begun = said = time.monotonic()
    with subprocess.Popen(
        words, cwd=folder, env=_environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, encoding="utf-8", errors="replace",
        pass_fds=(lock,),  # if we are killed, whoever builds next waits until this command has ended, too
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.rstrip())
            if of and time.monotonic() - said > SAY_EVERY:
                said = time.monotonic()
                _say(name, f"{len(lines)} {of}, {said - begun:.0f} s")
    if process.returncode != 0:
        raise BuildError("\n".join([f"{' '.join(words)}: exit status {process.returncode}", *lines[-20:]]))
    return lines


def _environment() -> dict[str, str]:
    """Return the environment for Go: the caller's proxy and caches, but this machine and the Go that is installed."""
    dropped = ("GOOS", "GOARCH")
    kept = {key: value for key, value in os.environ.items() if key not in dropped}
    return kept | {"GOTOOLCHAIN": "local", "GOWORK": "off", "CGO_ENABLED": "0"}


@contextlib.contextmanager
def _lock(name: str) -> Iterator[int]:
    """Let one process at a time build *name*; the others wait. Give the lock's file descriptor."""
    import fcntl  # not on Windows, where tests only look whether there is a build

    with (cache() / f"{name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say(name, "is being built by another process; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


def _say(name: str, text: str) -> None:
    print(f"{name}: {text}", file=sys.stderr, flush=True)


def main() -> int:
    """Build what the command line names; return the exit status."""
    known = sorted(path.parent.name for path in HERE.glob("*/go.mod"))
    options = argparse.ArgumentParser(description="Build real backends for the tests, once per machine.")
    options.add_argument("name", nargs="*", help=f"of {', '.join(known)}; default {', '.join(NEEDED)}")
    options.add_argument("--renew", action="store_true", help="write go.mod and go.sum anew instead")
    arguments = options.parse_args()
    if unknown := set(arguments.name) - set(known):
        options.error(f"no backend {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    if shutil.which("go") is None and (arguments.renew or not all(map(find, arguments.name or NEEDED))):
        _say("backends", "need Go 1.24 or newer on PATH (Debian: golang, macOS: brew install go); make test needs none")
        return 1
    try:
        for name in arguments.name or NEEDED:
            (renew if arguments.renew else build)(name)
    except BuildError as error:
        _say("backends", str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
