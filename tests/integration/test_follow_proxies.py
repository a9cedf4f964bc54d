"""What may stand before a receiver: a proxy that takes less in one request than we send, or spoils the answer."""

from __future__ import annotations

import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_perf.export import endpoint
from otel_perf.export.follow.follower import Follower

SPANS = 3_000


class Proxy(ThreadingHTTPServer):
    """Answers 413 to more than *most* bytes, as nginx does by client_max_body_size; keeps the ids of the spans it takes.

    Attributes:
        spoils: the answer is called gzip and is none.
    """

    daemon_threads = True

    def __init__(self, most: int) -> None:
        self.most = most
        self.spoils = False
        self.ids: list[str] = []
        self.statuses: list[int] = []
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = 413 if len(body) > self.server.most else 200
        self.server.statuses.append(status)
        if status == 200:
            body = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
            self.server.ids += ids_of(body, self.headers["Content-Type"])
        self.send_response(status)
        answer = b"thanks" if self.server.spoils else b""
        if answer:
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *words: object) -> None:
        """Say nothing."""


def ids_of(body: bytes, kind: str) -> list[str]:
    if kind == "application/json":
        groups = json.loads(body)["resourceSpans"]
        return [span["spanId"] for group in groups for scope in group["scopeSpans"] for span in scope["spans"]]
    groups = ExportTraceServiceRequest.FromString(body).resource_spans
    return [span.span_id.hex() for group in groups for scope in group.scope_spans for span in scope.spans]


@pytest.fixture
def proxy():
    """Return a function that starts one."""
    running = []

    def start(most: int) -> Proxy:
        running.append(Proxy(most))
        threading.Thread(target=running[-1].serve_forever, daemon=True).start()
        return running[-1]

    yield start
    for one in running:
        one.shutdown()
        one.server_close()


def lines():
    """Return lines of ten spans, as the program writes them."""
    for first in range(1, SPANS + 1, 10):
        spans = [
            {
                "traceId": f"{1:032x}", "spanId": f"{number:016x}", "name": "work " + "x" * 200,
                "startTimeUnixNano": "1795000000000000000", "endTimeUnixNano": "1795000000000000009",
            }
            for number in range(first, first + 10)
        ]  # fmt: skip
        yield json.dumps({"resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {}, "spans": spans}]}]})


@pytest.fixture
def folder(tmp_path):
    """Return the folder of a process that has ended, with SPANS spans."""
    path = tmp_path / "2026-11-28T10-15-02" / "999999999"
    path.mkdir(parents=True)
    (path / "traces.jsonl").write_text("".join(f"{line}\n" for line in lines()), encoding="utf-8")
    return path


def sent(folder, there, protocol):
    """Send what is in *folder*; return the follower and what it said."""
    said: list[str] = []
    targets = endpoint.load(f"http://127.0.0.1:{there.server_address[1]}", protocol, {})
    follower = Follower([str(folder)], targets, complain=said.append, live=False)
    for _ in range(2_000):
        if follower.step():
            break
    follower.end()
    return follower, said


@pytest.mark.parametrize("protocol", ["http/protobuf", "http/json"])
def test_an_answer_that_cannot_be_read_is_what_its_status_says(protocol, proxy, folder):
    there = proxy(10**9)
    there.spoils = True

    follower, said = sent(folder, there, protocol)

    assert [f"{number:016x}" for number in range(1, SPANS + 1)] == there.ids
    assert (SPANS, 0, []) == (follower.sent["traces"], follower.refused["traces"], said)


@pytest.mark.parametrize("protocol", ["http/protobuf", "http/json"])
@pytest.mark.parametrize("most", [100_000, 20])
def test_a_request_that_is_too_large_is_halved_until_it_is_taken_or_nothing_is(protocol, most, proxy, folder):
    there = proxy(most)

    follower, said = sent(folder, there, protocol)

    taken = [f"{number:016x}" for number in range(1, SPANS + 1)] if most > 20 else []
    assert taken == there.ids
    assert (len(taken), SPANS - len(taken)) == (follower.sent["traces"], follower.refused["traces"])
    assert 1 <= there.statuses.count(413) <= (10 if taken else 400)
    assert ("does not take" in "".join(said)) is (not taken)
