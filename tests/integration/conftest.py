"""The command ``otel-perf`` as users have it: found on PATH, its package in nobody's PYTHONPATH."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

SRC = str(Path(__file__).resolve().parents[2] / "src")
ADDRESS = re.compile(rb"0x[0-9a-f]{6,}")
DROPPED = ("OTEL_", "PYTHON", "PYTEST_", "COVERAGE_", "COV_CORE_")


def clean_environment(changes: Mapping[str, str | None] | None = None) -> dict[str, str]:
    """Return this process's environment without what changes how Python or we behave, and with *changes*."""
    found = {name: value for name, value in os.environ.items() if not name.startswith(DROPPED)}
    found["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), found.get("PATH", os.defpath)])
    for name, value in (changes or {}).items():
        found.pop(name, None)
        if value is not None:
            found[name] = value
    return found


@pytest.fixture(scope="session")
def otel_perf(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the words that start the command ``otel-perf``, like the console script that pip makes."""
    script = tmp_path_factory.mktemp("bin") / "otel-perf"
    script.write_text(
        f"import sys\nsys.path.insert(0, {SRC!r})\nfrom otel_perf.cli import main\nsys.exit(main())\n",
        encoding="utf-8",
    )
    return [sys.executable, str(script)]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a file of the test's folder, its text dedented, and gives its path."""

    def to(name: str, text: str, mode: int = 0o644) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        path.chmod(mode)
        return path

    return to


@pytest.fixture
def run_program(tmp_path: Path, otel_perf: list[str]) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Return a function that runs a command, under ``otel-perf run`` unless *options* is None, as bytes.

    The working directory is the test's folder, stdin is empty unless *input* is given, *env* is on top of the
    cleaned environment, *isolated* keeps Python's variables from the command's own interpreter; further arguments
    go to ``subprocess.run``.
    """

    def run(
        command: Sequence[str | Path],
        options: Sequence[str] | None = (),
        *,
        env: Mapping[str, str | None] | None = None,
        input: bytes | None = b"",
        isolated: bool = False,
        timeout: float = 60,
        **more: Any,
    ) -> subprocess.CompletedProcess[bytes]:
        start = [otel_perf[0], *["-I"] * isolated, *otel_perf[1:]]
        before = [] if options is None else [*start, "run", *options, "--"]
        more.setdefault("cwd", tmp_path)
        return subprocess.run(
            [*before, *map(str, command)],
            env=clean_environment(env),
            input=input,
            capture_output=True,
            timeout=timeout,
            check=False,
            **more,
        )

    return run


@pytest.fixture
def same_as_plain(run_program: Callable[..., subprocess.CompletedProcess[bytes]]) -> Callable[..., Any]:
    """Return a function that runs a command plain and under ``run`` and asserts that nobody can tell from outside."""

    def check(command: Sequence[str | Path], **more: Any) -> subprocess.CompletedProcess[bytes]:
        plain = run_program(command, None, **more)
        recorded = run_program(command, **more)
        assert plain.stdout == recorded.stdout
        assert ADDRESS.sub(b"0x", plain.stderr) == ADDRESS.sub(b"0x", recorded.stderr)
        assert plain.returncode == recorded.returncode
        return recorded

    return check


@pytest.fixture
def start_program(tmp_path: Path, otel_perf: list[str]) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Return a function that starts a command, like run_program, and gives its Popen; none outlives the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(
        command: Sequence[str | Path],
        options: Sequence[str] | None = (),
        *,
        env: Mapping[str, str | None] | None = None,
        **more: Any,
    ) -> subprocess.Popen[bytes]:
        before = [] if options is None else [*otel_perf, "run", *options, "--"]
        more = {
            "cwd": tmp_path,
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
        } | more
        process = subprocess.Popen([*before, *map(str, command)], env=clean_environment(env), **more)
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def processes_of(folder: Path) -> list[str]:
    """Return the names of all process folders below *folder*'s ``.otel-perf/``."""
    return sorted(path.name for path in (folder / ".otel-perf").glob("*/*") if path.is_dir())


@pytest.fixture
def processes() -> Callable[[Path], list[str]]:
    """Return processes_of()."""
    return processes_of


@pytest.fixture(scope="session")
def receiver_module() -> Any:
    """Return the module receiver.py: a small OTLP receiver, and what it got."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("receiver", Path(__file__).with_name("receiver.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def kept_receiver() -> Iterator[list[Any]]:
    """Return the list of the receiver that the tests share, since starting one takes half a second."""
    kept: list[Any] = []
    yield kept
    for one in kept:
        one.close()


@pytest.fixture
def receiver(receiver_module: Any, kept_receiver: list[Any], tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Return a function that gives a running OTLP Receiver; options of receiver.py make it one of its own."""
    started: list[Any] = []

    def start(*options: str | Path) -> Any:
        file = tmp_path / f"received-{len(started)}.jsonl"
        if not started and not options:
            while kept_receiver and kept_receiver[0].process.poll() is not None:
                kept_receiver.pop().close()
            if not kept_receiver:
                kept_receiver.append(receiver_module.Receiver(file))
            kept_receiver[0].write_to(file)
            started.append(kept_receiver[0])
        else:
            started.append(receiver_module.Receiver(file, *options))
        return started[-1]

    yield start
    for one in started:
        if one not in kept_receiver:
            one.close()


@pytest.fixture(scope="session")
def viewer_module() -> Any:
    """Return the module viewer.py: a real `otel-perf view` and a client of it."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("viewer", Path(__file__).with_name("viewer.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def make_viewer(viewer_module: Any, otel_perf: list[str]) -> Iterator[Callable[..., Any]]:
    """Return a function that starts `otel-perf view` in a folder and gives its Viewer; none outlives the module."""
    started: list[Any] = []

    def start(folder: Path, *words: str | Path, env: Mapping[str, str | None] | None = None) -> Any:
        command = [*otel_perf, "view", *map(str, words)]
        started.append(viewer_module.Viewer(command, cwd=folder, env=clean_environment(env)))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return an empty folder of a process that has ended."""
    path = tmp_path / ".otel-perf" / "2026-11-25T10-15-02" / "4194305"  # a pid that Linux never gives
    path.mkdir(parents=True)
    return path


@pytest.fixture
def send_all() -> Callable[[Any], None]:
    """Return a function that has a follower step until nothing is left, as one who has time."""

    def send(follower: Any) -> None:
        for _ in range(500):
            wait = follower.step()
            if wait and not follower.failing:
                return
            time.sleep(min(wait, 0.1))
        raise AssertionError(f"not sent after 500 steps: {follower.failing}")

    return send
