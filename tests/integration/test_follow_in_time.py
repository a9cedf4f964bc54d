"""A request has one limit, wherever a receiver is slow: in the connection, the status, the headers or the body."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from otel_perf.export.endpoint import Target
from otel_perf.export.follow.as_json import JsonExporter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.timed

PAUSE, LIMIT = 0.1, 0.5  # seconds between two bytes, and for a request
BYTES = 50  # after so many it gives up: a request without a limit is over, too
OK = b"HTTP/1.1 200 OK\r\n"
SLOW = {  # what comes at once, then what comes byte by byte
    "status": (b"HTTP/1.1 ", b"200 " + b"O" * BYTES),
    "headers": (OK, b"X-Text: " + b"a" * BYTES),
    "body": (OK + b"Content-Length: 1000\r\n\r\n", b"b" * BYTES),
    "chunks": (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nc\r\n" * BYTES),
    "until closed": (OK + b"Connection: close\r\n\r\n", b"b" * BYTES),
}


@pytest.fixture
def serve() -> Iterator[Callable[..., int]]:
    """Return a function that lets *answer* have each connection, in TLS with *context*, and gives the port."""
    servers: list[socket.socket] = []

    def start(answer: Callable[[socket.socket], None], context: ssl.SSLContext | None = None) -> int:
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)

        def each(connection: socket.socket) -> None:
            try:
                with context.wrap_socket(connection, server_side=True) if context else connection as one:
                    answer(one)
            except OSError:  # the other side has gone
                return

        def listen() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=each, args=(connection,), daemon=True).start()

        threading.Thread(target=listen, daemon=True).start()
        return int(server.getsockname()[1])

    yield start
    for server in servers:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


@pytest.fixture
def tls(make_authority: Callable[..., Path]) -> tuple[ssl.SSLContext, str]:
    """Return the context of a server on localhost, and the file of who vouches for it."""
    folder = make_authority(localhost=("DNS:localhost", 2))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "localhost.pem", folder / "localhost.key")
    return context, str(folder / "ca.pem")


def answering(name: str) -> Callable[[socket.socket], None]:
    """Return what answers as SLOW says."""
    first, then = SLOW[name]

    def answer(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(first)
        for byte in then[:BYTES]:
            time.sleep(PAUSE)
            connection.sendall(bytes([byte]))

    return answer


def send(target: Target, size: int = 10) -> tuple[str, str, float]:
    """Send a line of *size* bytes; return what became of it, why, and the seconds that it took."""
    exporter = JsonExporter(target)
    begun = time.monotonic()
    outcome = exporter.send([b'"' + b"x" * size + b'"'], begun + LIMIT)
    exporter.close()
    return outcome.kind, outcome.reason, time.monotonic() - begun


def assert_given_up(found: tuple[str, str, float]) -> None:
    kind, reason, took = found
    assert ("later", "no answer in time") == (kind, reason)
    assert took < LIMIT + 1.0


@pytest.mark.parametrize("slow", SLOW)
def test_an_answer_that_comes_byte_by_byte_is_given_up_at_the_limit(slow, serve):
    port = serve(answering(slow))

    assert_given_up(send(Target("traces", f"http://127.0.0.1:{port}/v1/traces")))


@pytest.mark.parametrize("slow", SLOW)
def test_an_answer_that_comes_byte_by_byte_in_tls_is_given_up_at_the_limit(slow, serve, tls):
    context, authority = tls
    port = serve(answering(slow), context)

    assert_given_up(send(Target("traces", f"https://localhost:{port}/v1/traces", certificate=authority)))


def test_a_receiver_that_takes_a_request_bit_by_bit_is_given_up_at_the_limit(serve, tls):
    context, authority = tls

    def read(connection: socket.socket) -> None:
        for _ in range(BYTES):
            connection.recv(2**14)
            time.sleep(PAUSE)

    port = serve(read, context)

    assert_given_up(send(Target("traces", f"https://localhost:{port}/v1/traces", certificate=authority), 2**24))


def test_a_receiver_that_does_not_shake_hands_is_given_up_at_the_limit(serve, tls):
    _, authority = tls
    port = serve(lambda connection: time.sleep(BYTES * PAUSE))

    assert_given_up(send(Target("traces", f"https://localhost:{port}/v1/traces", certificate=authority)))


def test_a_receiver_that_takes_no_connection_is_given_up_at_the_limit():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        waiting = []
        for _ in range(3):  # from then on nobody else gets in
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(server.getsockname())
            waiting.append(one)

        assert_given_up(send(Target("traces", f"http://127.0.0.1:{server.getsockname()[1]}/v1/traces")))

        for one in waiting:
            one.close()


@pytest.mark.parametrize("close", ["", "Connection: close\r\n"])
def test_a_connection_is_kept_as_long_as_the_receiver_keeps_it(close, serve):
    connections: list[Any] = []

    def answer(connection: socket.socket) -> None:
        connections.append(connection)
        while connection.recv(65536):
            connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{close}\r\n{{}}".encode())
            if close:
                return

    exporter = JsonExporter(Target("traces", f"http://127.0.0.1:{serve(answer)}/v1/traces"))

    kinds = [exporter.send([b"{}"], time.monotonic() + 5.0).kind for _ in range(3)]

    exporter.close()
    assert ["sent"] * 3 == kinds
    assert (3 if close else 1) == len(connections)


def test_an_end_at_which_no_thread_can_start_waits_no_longer_than_its_limit(serve, run_python):
    """As from Python 3.12 on, where the thread that ends the program sends."""
    program = """
        import time
        from otel_perf.export.follow import sender
        import otel_perf as perf

        def refuse(*words):
            raise RuntimeError("can't create new thread at interpreter shutdown")

        sender.start = refuse
        perf.init(service="shop")
        with perf.phase("CoreInit"):
            pass
        print(time.time(), flush=True)
    """
    port = serve(answering("headers"))

    result = run_python(program, env={"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"})

    assert 0 == result.returncode
    assert "no answer in time" in result.stderr
    assert time.time() - float(result.stdout) < BYTES * PAUSE - 1.0
