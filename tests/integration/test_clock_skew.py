"""Clocks that differ: `otel-perf doctor` and `otel-perf stack` say by how much, and what that does to the data."""

from __future__ import annotations

import email.utils
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BASE = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.fixture
def server() -> Iterator[Callable[[float | None], str]]:
    """Return a function that starts a server which takes everything, and whose clock is so many seconds ahead of ours.

    With None it does not tell the time.
    """
    started: list[ThreadingHTTPServer] = []

    def start(ahead: float | None) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # the name that http.server calls
                self.rfile.read(int(self.headers.get("Content-Length", "0")))
                self.do_GET()

            def do_GET(self) -> None:
                self.send_response_only(200)
                if ahead is not None:
                    self.send_header("Date", email.utils.formatdate(time.time() + ahead, usegmt=True))
                self.send_header("Content-Type", self.headers.get("Content-Type", "application/json"))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        started.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=started[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{started[-1].server_address[1]}"

    yield start
    for one in started:
        one.shutdown()
        one.server_close()


@pytest.mark.parametrize(
    ("ahead", "status", "words"),
    [
        (-720.0, 1, "clock is 12 min ahead of the receiver's: Prometheus refuses metrics that are more than 10 min ahead"),
        (-120.0, 0, "clock is 2 min ahead of the receiver's: dashboards take a process"),
        (720.0, 0, "clock is 12 min behind the receiver's: dashboards take a process whose last sample is more than 30 s"),
    ],
)  # fmt: skip
def test_doctor_says_how_far_the_clocks_are_apart_and_what_that_does(run_python, server, ahead, status, words):
    result = run_python(["-m", "otel_perf", "doctor"], env={BASE: server(ahead)})

    said = " ".join(result.stdout.split())
    assert words in said
    assert "set both machines' clocks, by NTP for example" in said
    assert 1 == said.count("this machine's clock"), "once, not for each signal"
    assert status == result.returncode, result.stdout


@pytest.mark.parametrize("ahead", [0.0, -20.0, 20.0, None])
def test_doctor_says_nothing_of_clocks_that_agree_or_are_not_told(run_python, server, ahead):
    result = run_python(["-m", "otel_perf", "doctor"], env={BASE: server(ahead)})

    assert "clock" not in result.stdout
    assert 0 == result.returncode, result.stdout


def test_stack_says_that_the_clock_of_its_virtual_machine_is_another(run_python, server, tmp_path):
    """Docker Desktop's stands still while the computer sleeps."""
    place = server(-900.0)
    services = {"collector": place, "prometheus": place}
    settings = {"otlp_http": place, "otlp_grpc": place, "services": services}
    (tmp_path / "settings.json").write_text(json.dumps(settings), encoding="utf-8")

    result = run_python(["-m", "otel_perf", "stack", "status", "--settings", "settings.json"])

    assert (
        "otel-perf stack: this machine's clock is 15 min ahead of that of the services: Prometheus refuses metrics that "
        "are more than 10 min ahead of its clock; where they run in a virtual machine, start that anew\n"
    ) == result.stderr
    assert 0 == result.returncode
