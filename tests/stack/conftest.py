"""The real backends: built by ``make backends``, started here on free ports of 127.0.0.1, ended by their id."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).resolve().parent
TRIES = 3  # a port that was free may be taken by the time that the collector binds it


@pytest.fixture(scope="session")
def backends() -> dict[str, Path | None]:
    """Return where the programs of each backend are, None where they are not built.

    Asked once, before the variables whose name begins with OTEL_ are taken away for a test.
    """
    spec = importlib.util.spec_from_file_location("backends_build", HERE / "backends" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {name: module.find(name) for name in module.NEEDED}


class Collector:
    """A running OpenTelemetry collector.

    Attributes:
        folder: what it got: ``lives/1/traces.jsonl`` and so on, ``lives/2`` once it was started again. The
            fixtures ``spans_of`` and ``metrics_of`` read it like a folder of runs.
        certificates: a folder with certificates; it then speaks TLS.
    """

    def __init__(self, program: Path, folder: Path, certificates: Path | None = None) -> None:
        self.program = program
        self.folder = folder
        self.certificates = certificates
        self.lives = 0
        for _ in range(TRIES):
            self.ports = {"http": _free_port(), "grpc": _free_port()}
            if self.start():
                return
        raise AssertionError(self.said())

    def url(self, protocol: str) -> str:
        """Return the base URL for *protocol*."""
        scheme = "http" if self.certificates is None else "https"
        return f"{scheme}://127.0.0.1:{self.ports['grpc' if protocol == 'grpc' else 'http']}"

    @property
    def life(self) -> Path:
        """The folder of what it got since it was started last."""
        return self.folder / "lives" / str(self.lives)

    def start(self) -> bool:
        """Start it, on the same ports as before; say whether it listens."""
        self.lives += 1
        self._counted = self._count = 0
        self.life.mkdir(parents=True)
        files = ["collector.yaml"] if self.certificates is None else ["collector.yaml", "collector-tls.yaml"]
        words = [f"--config={HERE / file}" for file in files]
        environment = {
            "PATH": os.defpath,
            "COLLECTOR_FOLDER": str(self.life),
            "COLLECTOR_CERTIFICATES": str(self.certificates),
            **{f"COLLECTOR_{kind.upper()}_PORT": str(port) for kind, port in self.ports.items()},
        }
        with (self.life / "stderr").open("wb") as errors:
            self.process = subprocess.Popen(
                [str(self.program), *words], env=environment, cwd=self.life, stdin=subprocess.DEVNULL, stderr=errors
            )
        end = time.monotonic() + 60  # a cold page cache has 150 MB to read
        while time.monotonic() < end and self.process.poll() is None:
            if "Everything is ready" in self.said():
                return True
            time.sleep(0.02)
        self.end(signal.SIGKILL)
        return False

    def said(self) -> str:
        """Return what it wrote to stderr in its last life."""
        return (self.life / "stderr").read_text(encoding="utf-8", errors="replace")

    def end(self, with_signal: int = signal.SIGTERM) -> None:
        """End it; what it was writing when it was killed was not answered, and is no record."""
        if self.process.poll() is None:
            self.process.send_signal(with_signal)
        self.process.wait(30)
        for file in self.life.glob("*.jsonl"):
            written = file.read_bytes()
            os.truncate(file, written.rfind(b"\n") + 1)

    def kill(self) -> None:
        """Kill it, without a word."""
        self.end(signal.SIGKILL)

    def count(self) -> int:
        """Return how many spans it has written in this life, and ended the line of."""
        file = self.life / "traces.jsonl"
        if file.exists():
            with file.open("rb") as opened:
                opened.seek(self._counted)
                new = opened.read()
            end = new.rfind(b"\n") + 1
            self._counted += end
            self._count += new.count(b'"startTimeUnixNano"', 0, end)
        return self._count


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture
def collector(backends: dict[str, Path | None], tmp_path: Path) -> Iterator[Callable[..., Collector]]:
    """Return a function that gives a running Collector, with TLS if it is given a folder of certificates."""
    programs = backends["collector"]
    if programs is None:
        pytest.skip("needs the collector: make backends")
    started: list[Collector] = []

    def start(certificates: Path | None = None) -> Collector:
        folder = tmp_path / f"collector-{len(started) + 1}"
        started.append(Collector(programs / "otelcol-perf", folder, certificates))
        return started[-1]

    yield start
    for one in started:
        one.end()
