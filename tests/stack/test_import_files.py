"""What the real collector's file exporter writes, as JSON and as protobuf, is imported as the run that was sent to it."""

from __future__ import annotations

import json
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

pytestmark = pytest.mark.stack

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "tests" / "integration" / "programs" / "side_by_side.py"
EXPORTS = ("folded", "speedscope", "chrome")
# One file for all signals, in each form that the exporter has.
CONFIGURATION = """
receivers:
  otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:{port}"}}}}}}
exporters:
  file/json: {{path: out.jsonl}}
  file/proto: {{path: out.pb, format: proto}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    traces: {{receivers: [otlp], exporters: [file/json, file/proto]}}
    metrics: {{receivers: [otlp], exporters: [file/json, file/proto]}}
    logs: {{receivers: [otlp], exporters: [file/json, file/proto]}}
"""


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Return a function that runs ``otel-perf`` in the folder of these tests and gives what it says on stdout."""
    folder = tmp_path_factory.mktemp("imported")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "PYTHON"))}
    environment = kept | {"PYTHONPATH": str(ROOT / "src")}

    def run(*words: Any) -> str:
        done = subprocess.run(
            [sys.executable, *map(str, words)], cwd=folder, env=environment, capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip
        assert (0, "") == (done.returncode, done.stderr)
        return done.stdout

    return run


@pytest.fixture(scope="module")
def started(
    backends: dict[str, Path | None], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, int, Any]]:
    """Return the folder of a running collector, its port, and its process."""
    programs = backends["collector"]
    if programs is None:
        pytest.skip("needs the collector: make backends")
    folder = tmp_path_factory.mktemp("collector")
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = int(one.getsockname()[1])
    (folder / "collector.yaml").write_text(CONFIGURATION.format(port=port))
    with (folder / "stderr").open("wb") as errors:
        process = subprocess.Popen(
            [programs / "otelcol-perf", "--config=collector.yaml"], cwd=folder, stdin=subprocess.DEVNULL, stderr=errors
        )
    end = time.monotonic() + 60
    while "Everything is ready" not in (folder / "stderr").read_text() and time.monotonic() < end:
        assert process.poll() is None, (folder / "stderr").read_text()
        time.sleep(0.02)
    yield folder, port, process
    if process.poll() is None:
        process.kill()
    process.wait(30)


@pytest.fixture(scope="module")
def sent(started: tuple[Path, int, Any], command: Callable[..., str]) -> tuple[str, Path]:
    """Return the name of a run that was sent to the collector, and the folder with the files that it wrote of it."""
    folder, port, process = started
    command(PROGRAM)
    (name,) = command("-m", "otel_perf", "report", "--list").splitlines()[1].split()[:1]
    command("-m", "otel_perf", "replay", name, "--endpoint", f"http://127.0.0.1:{port}")
    process.send_signal(signal.SIGTERM)  # what it still had is written
    process.wait(30)
    return name, folder


@pytest.mark.parametrize("file", ["out.jsonl", "out.pb"])
def test_what_the_collector_wrote_is_the_run_that_was_sent(sent, command, file):
    own, folder = sent

    name = command("-m", "otel_perf", "import", folder / file).strip()

    for form in EXPORTS:
        own_export, other = (
            command("-m", "otel_perf", "export", run, "--format", form).replace(run, "RUN") for run in (own, name)
        )
        if form == "chrome":  # samples are sent metric by metric
            own_export, other = (sorted(text.replace(",\n", "\n").splitlines()) for text in (own_export, other))
        assert own_export == other
    reports = [json.loads(command("-m", "otel_perf", "report", run, "--json", "--all")) for run in (own, name)]
    for key in ("start", "metrics", "alerts", "score", "ended", "service", "python", "platform"):
        assert reports[0][key] == reports[1][key], key
    called = [[(one["name"], one["calls"], one["total_seconds"]) for one in report["functions"]] for report in reports]
    assert sorted(called[0]) == sorted(called[1])
    assert called[0]
