"""Faults in real programs: the fixtures of tests/integration/, and what several of these tests ask a run folder."""

from __future__ import annotations

import importlib.util
import json
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

SRC = str(Path(__file__).resolve().parents[2] / "src")


def _module(name: str, path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_integration = _module("integration_fixtures", Path(__file__).parents[1] / "integration" / "conftest.py")
_door = _module("door", Path(__file__).with_name("door.py"))
_cases = _module("cases", Path(__file__).with_name("cases.py"))
otel_perf, write, processes = _integration.otel_perf, _integration.write, _integration.processes
run_program, start_program = _integration.run_program, _integration.start_program
same_as_plain = _integration.same_as_plain
receiver, receiver_module, kept_receiver = (
    _integration.receiver,
    _integration.receiver_module,
    _integration.kept_receiver,
)


@pytest.fixture(scope="session")
def cases() -> Any:
    """Return the module cases.py: the faults that bench/reliability.py makes a table of."""
    return _cases


@pytest.fixture
def door() -> Iterator[Callable[..., Any]]:
    """Return a function that gives a Door of door.py before a receiver: a collector that behaves badly."""
    made: list[Any] = []

    def make(there: Any, protocol: str = "http/protobuf", kind: str = "live") -> Any:
        made.append(_door.Door(there.url(protocol), kind))
        return made[-1]

    yield make
    for one in made:
        one.close()


class Recorded:
    """What is in the run folders below a folder."""

    def __init__(self, spans: list[dict[str, Any]], metrics: list[dict[str, Any]]) -> None:
        self.spans, self.metrics = spans, metrics
        self.instances = {item["resource"]["service.instance.id"] for item in (*spans, *metrics)}

    def count(self, name: str) -> int:
        """Return how many spans have this name."""
        return sum(span["name"] == name for span in self.spans)

    def one(self, name: str) -> dict[str, Any]:
        """Return the only span of this name."""
        (span,) = [span for span in self.spans if span["name"] == name]
        return span

    def last(self, metric: str, function: str | None = None) -> dict[str, float]:
        """Return the last value, or count, of a metric's series, added up for each process."""
        series: dict[tuple[str, str], float] = {}
        for found in self.metrics:
            if found["metric"] == metric and function in (None, found["attributes"].get("function")):
                point = found["point"]
                series[found["process"], json.dumps(found["attributes"])] = point.get("value", point.get("count"))
        summed: Counter[str] = Counter()
        for (process, _), value in series.items():
            summed[process] += value
        return dict(summed)


@pytest.fixture
def recorded(
    tmp_path: Path, spans_of: Callable[..., Any], metrics_of: Callable[..., Any], assert_whole_tree: Callable[..., None]
) -> Callable[..., Recorded]:
    """Return a function that gives what is in the test's run folders: each line OTLP, each id once.

    No span lacks its parent, unless *whole* is false: a process ended without a word. None looks at no tree at all.
    """

    def read(whole: bool | None = True) -> Recorded:
        spans = spans_of(tmp_path)
        if whole is not None:
            assert_whole_tree(spans, () if whole else {span["parent_id"] for span in spans})
        return Recorded(spans, metrics_of(tmp_path))

    return read


@pytest.fixture
def needs() -> Callable[[str], None]:
    """Return a function that skips the test where a module is missing."""

    def check(module: str) -> None:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"needs {module}")

    return check


def answer_of(port: int, process: subprocess.Popen[bytes], path: str = "/", wanted: bytes | None = None) -> bytes:
    """Return what the server answers, once it does, and once that is what is *wanted*."""
    until = time.monotonic() + 30
    answer = b""
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
                answer = response.read()
        except OSError:
            assert process.poll() is None, process.communicate()
        else:
            if wanted in (None, answer):
                return answer
        time.sleep(0.05)
    raise AssertionError(f"no such answer; the last was {answer!r}")


@pytest.fixture
def ask() -> Callable[..., bytes]:
    """Return answer_of()."""
    return answer_of


@pytest.fixture
def wait_for() -> Callable[..., Any]:
    """Return a function that asks until the answer is true, at most *seconds*, and gives it."""

    def wait(question: Callable[[], Any], seconds: float = 30) -> Any:
        until = time.monotonic() + seconds
        while not (answer := question()) and time.monotonic() < until:
            time.sleep(0.05)
        assert answer, f"not within {seconds} s: {question}"
        return answer

    return wait
