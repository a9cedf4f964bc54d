"""The real backends: built by ``make backends``, started here on free ports of 127.0.0.1, ended by their id."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    module = _load(HERE / "backends" / "build.py")
    return {name: module.find(name) for name in module.NEEDED}


def _load(file: Path) -> Any:
    """Return a module beside this file: with --import-mode=importlib none can be imported by name."""
    name = f"stack_{file.stem}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


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


# --- the stack of deploy/ ---------------------------------------------------------------------------------

SETTINGS = os.environ.get("OTEL_PERF_STACK_SETTINGS", "")  # before a test's variables are cleaned
COMPOSE = HERE / "compose"  # tests of what only a container engine can show
READY = {"collector": "/", "prometheus": "/-/ready", "jaeger": "/api/services", "victorialogs": "/health"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what has no object: compose's tests without its stack, tests of single backends where it is there.

    The job that brings compose up names its addresses; all other tests of this folder run in the job that builds, and
    so do those that draw a page with Grafana's libraries.
    """

    def belongs(item: pytest.Item) -> bool:
        if HERE not in item.path.parents:
            return True
        if COMPOSE in item.path.parents:
            return bool(SETTINGS)
        names = set(getattr(item, "fixturenames", ()))
        return not SETTINGS or ("process_stack" in names and not names & {"own_stack", "collector", "page"})

    left_out = [item for item in items if not belongs(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if belongs(item)]


def _start_stack(backends: dict[str, Path | None], folder: Path, traces: str = "disk") -> Any:
    """Return running Processes that are all ready; with other ports where one was taken meanwhile."""
    processes = _load(HERE / "processes.py")
    stack = _load(HERE / "stack.py")
    missing = [name for name in processes.NAMES if backends[name] is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: make backends")
    for number in range(TRIES):
        running = processes.Processes(backends, folder / f"stack-{number}", traces)
        running.start()
        client = stack.Stack.of(running.settings)
        try:
            for name, base in client.services.items():
                stack.wait_for(lambda url=base + READY[name]: stack.fetch(url), f"{name} is ready", 60)
            return running
        except BaseException as error:
            running.end()
            if not isinstance(error, AssertionError):
                raise
            texts = {name: program.said() for name, program in running.programs.items()}
            if number + 1 == TRIES or not any("address already in use" in text for text in texts.values()):
                ends = "\n".join(f"--- {name}\n{text[-1500:]}" for name, text in texts.items())
                raise AssertionError(f"{error}\n{ends}") from None
    raise AssertionError("unreachable")


@pytest.fixture(scope="session")
def process_stack(backends: dict[str, Path | None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Return the running stack that all tests of a session share, a ``stack.Stack``.

    It is the collector and the Prometheus of deploy/ as processes, with Jaeger and VictoriaLogs behind them; or, where
    OTEL_PERF_STACK_SETTINGS names a settings file, whatever runs there, which is what the end-to-end job does with
    compose. Send as a program would, ``env=process_stack.environment()``, under a service name of the test's own; then

    * ``wait_for(look, what)``: polls until *look()* gives something (``process_stack.wait_for``);
    * ``query(promql, time=None)``, ``query_range(promql, start, end, step)``, ``samples(selector)``: Prometheus;
    * ``trace(trace_id)``: the spans of a trace; ``events(service, name)`` and ``logs(query)``: log records.

    It stays up for the whole session, so nobody stops a part of it: for that there is ``own_stack``.
    """
    stack = _load(HERE / "stack.py")
    if SETTINGS:
        yield stack.Stack.of(Path(SETTINGS))
        return
    running = _start_stack(backends, tmp_path_factory.mktemp("stack"), "memory")
    yield stack.Stack.of(running.settings)
    running.end()


@pytest.fixture
def own_stack(backends: dict[str, Path | None], tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Return a function that gives a stack of the test's own, as ``processes.Processes``.

    ``programs[name]`` can be killed and started again, ``stack`` is the client (as process_stack),
    ``prometheus_folder`` and ``reload_prometheus()`` change its rules. With "memory", traces are lost when Jaeger ends.
    """
    started: list[Any] = []

    def start(traces: str = "disk") -> Any:
        running = _start_stack(backends, tmp_path / f"own-{len(started)}", traces)
        running.stack = _load(HERE / "stack.py").Stack.of(running.settings)
        started.append(running)
        return running

    yield start
    for running in started:
        running.end()


@pytest.fixture(scope="module")
def programs(process_stack: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Return real programs that have sent for 30 s, and go on: a ``programs.Programs``, of the module's own."""
    yield from _load(HERE / "grafana" / "programs.py").running(process_stack, tmp_path_factory.mktemp("programs"))
