"""`otel-perf doctor`: each way in which data stays away is named in words, with the variable to change, within 5 s."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SRC = str(Path(__file__).resolve().parents[2] / "src")
BASE = "OTEL_EXPORTER_OTLP_ENDPOINT"
PROTOCOL = "OTEL_EXPORTER_OTLP_PROTOCOL"
HEADERS = "OTEL_EXPORTER_OTLP_HEADERS"
CERTIFICATE = "OTEL_EXPORTER_OTLP_CERTIFICATE"
LIMIT = 5.0
STOPPED = "4194305"  # a pid that Linux never gives


class Result:
    """What the command said, on one line whatever its width."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.status = done.returncode
        self.out = done.stdout
        self.err = done.stderr
        self.words = " ".join(done.stdout.split())
        self.wrong = self._section("wrong")
        self.notes = self._section("notes")

    def _section(self, title: str) -> str:
        parts = re.split(r"(?m)^(\S.*)$", self.out)
        return " ".join(dict(zip(parts[1::2], parts[2::2], strict=False)).get(title, "").split())


@pytest.fixture
def doctor(tmp_path: Path) -> Callable[..., Result]:
    """Return a function that runs the command in the test's folder and asserts that it ends in time, without a crash."""

    def run(*words: str | Path, **variables: str) -> Result:
        environ = {key: item for key, item in os.environ.items() if not key.lower().endswith("_proxy")}
        begun = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "otel_perf", "doctor", *map(str, words)],
            cwd=tmp_path,
            env={**environ, "PYTHONPATH": SRC, **variables},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        took = time.monotonic() - begun
        assert took < LIMIT, done.stdout
        assert "Traceback" not in done.stdout + done.stderr
        assert "could not be examined" not in done.stdout
        return Result(done)

    return run


@pytest.fixture
def raw_server() -> Iterator[Callable[..., int]]:
    """Return a function that starts a server of bytes and gives its port.

    It answers every connection's first bytes with *answer*; None never answers, empty bytes close at once.
    """
    open_sockets: list[socket.socket] = []

    def serve(listening: socket.socket, answer: bytes | None) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            open_sockets.append(connection)
            if answer is not None:
                threading.Thread(target=reply, args=(connection, answer), daemon=True).start()

    def reply(connection: socket.socket, answer: bytes) -> None:
        try:
            if answer:
                connection.recv(65536)
                connection.sendall(answer)
            connection.close()
        except OSError:
            return

    def start(answer: bytes | None) -> int:
        listening = socket.create_server(("127.0.0.1", 0))
        open_sockets.append(listening)
        threading.Thread(target=serve, args=(listening, answer), daemon=True).start()
        return int(listening.getsockname()[1])

    yield start
    for one in open_sockets:
        one.close()


def http_answer(status: str, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@pytest.fixture(scope="module")
def authority(make_authority: Callable[..., Path]) -> Path:
    """Return a folder with a test authority, a certificate of localhost, one of another name, one out of date."""
    here = "DNS:localhost"
    return make_authority(localhost=(here, 2), other=("DNS:collector.example", 2), client=(here, 2), old=(here, 0))


@pytest.fixture
def secure(receiver: Any, authority: Path) -> Callable[..., Any]:
    """Return a function that starts a receiver in TLS, with the certificate of *name*."""

    def start(name: str = "localhost", *more: str | Path) -> Any:
        return receiver("--certificate", authority / f"{name}.pem", "--key", authority / f"{name}.key", *more)

    return start


every_protocol = pytest.mark.parametrize("protocol", ["http/protobuf", "grpc", "http/json"])
both = pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])


# --- all is well ------------------------------------------------------------------------------------------------------


@every_protocol
def test_receiver_that_takes_all_signals_is_well_and_got_an_empty_request_of_each(protocol, doctor, receiver):
    there = receiver()

    result = doctor(**{BASE: there.url(protocol), PROTOCOL: protocol, HEADERS: "x-tenant=blue"})

    assert (0, "") == (result.status, result.err)
    assert result.out.startswith("otel-perf doctor: all is well")
    requests = there.requests()
    assert {"traces", "metrics", "logs"} == {request["signal"] for request in requests}
    assert {(protocol, "blue")} == {(request["protocol"], request["headers"]["x-tenant"]) for request in requests}
    assert {0} == {request["message"].ByteSize() for request in requests}


@both
def test_tls_with_an_own_authority_is_well(protocol, doctor, secure, authority):
    there = secure()

    result = doctor(**{BASE: there.url(protocol), PROTOCOL: protocol, CERTIFICATE: str(authority / "ca.pem")})

    assert (0, "") == (result.status, result.wrong)


def test_nothing_configured_is_well_and_says_that_nothing_is_sent(doctor):
    result = doctor()

    assert 0 == result.status
    assert "nothing is sent: no endpoint is set; the run folder has everything" in result.notes
    assert f"{BASE}=http://localhost:4318" in result.notes
    assert "no run is recorded here yet → otel-perf run -- python app.py" in result.notes


def test_endpoint_of_the_command_line_is_tried_instead(doctor, receiver):
    there = receiver()

    result = doctor("--endpoint", there.grpc, "--protocol", "grpc", **{BASE: "http://localhost:1"})
    wrong = doctor("--endpoint", there.grpc, **{BASE: "http://localhost:1"})

    assert (0, 1) == (result.status, wrong.status)
    assert "--protocol grpc" in wrong.wrong


# --- the protocol does not fit the port (C26) -------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["http/protobuf", "http/json"])
def test_grpc_port_with_http_is_named_with_port_and_protocol_to_use(protocol, doctor, receiver):
    result = doctor(**{BASE: receiver().grpc, PROTOCOL: protocol})

    assert 1 == result.status
    assert f"answers HTTP/2 only: use port 4318 or {PROTOCOL}=grpc" in result.wrong
    assert f"→ {PROTOCOL}=grpc, or {BASE}=http://localhost:4318" in result.wrong
    assert result.wrong.startswith("traces, metrics, logs: localhost:")  # once, not for each signal


def test_http_port_with_grpc_is_named_with_port_and_protocol_to_use(doctor, receiver):
    result = doctor(**{BASE: receiver().http, PROTOCOL: "grpc"})

    assert 1 == result.status
    assert f"answers HTTP/1.1 only, which is not gRPC: use port 4317 or {PROTOCOL}=http/protobuf" in result.wrong
    assert f"→ {PROTOCOL}=http/protobuf, or {BASE}=http://localhost:4317" in result.wrong


def test_variable_of_the_signal_is_named_where_it_is_the_one_that_counts(doctor, receiver):
    there = receiver()
    own = "OTEL_EXPORTER_OTLP_TRACES"

    result = doctor(**{BASE: there.http, f"{own}_ENDPOINT": there.http, f"{own}_PROTOCOL": "grpc"})

    assert 1 == result.status
    assert result.wrong.startswith("traces: ")
    assert f"→ {own}_PROTOCOL=http/protobuf, or {own}_ENDPOINT=http://localhost:4317" in result.wrong


@both
def test_tls_on_a_plain_port_is_named_with_the_url_to_write(protocol, doctor, receiver):
    plain = receiver().url(protocol)

    result = doctor(**{BASE: plain.replace("http:", "https:"), PROTOCOL: protocol})

    assert 1 == result.status
    assert "does not speak TLS: write http:// instead of https://" in result.wrong
    assert f"→ {BASE}={plain}" in result.wrong


@both
def test_plain_on_a_tls_port_is_named_with_the_url_to_write(protocol, doctor, secure):
    url = secure().url(protocol)

    result = doctor(**{BASE: url.replace("https:", "http:"), PROTOCOL: protocol})

    assert 1 == result.status
    assert "speaks TLS only: write https:// instead of http://" in result.wrong
    assert f"→ {BASE}={url}" in result.wrong


def test_wrong_protocol_and_wrong_scheme_are_both_named(doctor, secure):
    url = secure().grpc

    result = doctor(**{BASE: url.replace("https:", "http:")})

    assert 1 == result.status
    assert f"answers HTTP/2 only: use port 4318 or {PROTOCOL}=grpc; and speaks TLS only" in result.wrong
    assert f"→ {PROTOCOL}=grpc and {BASE}={url}, or {BASE}=https://localhost:4318" in result.wrong


# --- paths ------------------------------------------------------------------------------------------------------------


def test_missing_path_of_a_signals_own_url_is_named(doctor, receiver):
    there = receiver()

    result = doctor(**{BASE: there.http, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": there.http})

    assert 1 == result.status
    assert "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is taken as it is, and /v1/traces is missing" in result.wrong
    assert f"→ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT={there.http}/v1/traces" in result.wrong
    assert "metrics" not in result.wrong


@pytest.mark.parametrize("strict", [True, False])
def test_doubled_path_is_named_whether_the_receiver_takes_it_or_not(strict, doctor, receiver, raw_server):
    base = f"http://localhost:{raw_server(http_answer('404 Not Found'))}" if strict else receiver().http

    result = doctor(**{BASE: f"{base}/v1/traces"})

    assert 1 == result.status
    assert f"{BASE} is a base URL, to which /v1/traces is added, and has a path of one signal already" in result.wrong
    assert f"→ {BASE}={base}" in result.wrong.split()[-2] + " " + result.wrong.split()[-1]


def test_404_of_a_right_path_says_that_it_is_no_receiver(doctor, raw_server):
    port = raw_server(http_answer("404 Not Found"))

    result = doctor(**{BASE: f"http://localhost:{port}"})

    assert 1 == result.status
    assert f"localhost:{port} has no path /v1/traces (404 Not Found): it is no OTLP receiver" in result.wrong
    assert f"{BASE}: write its base URL" in result.wrong


def test_404_over_grpc_says_that_the_service_is_not_there(doctor, receiver):
    there = receiver()
    there.behave(status=404)

    result = doctor(**{BASE: there.grpc, PROTOCOL: "grpc"})

    assert 1 == result.status
    assert "speaks gRPC and has no OTLP service for traces (UNIMPLEMENTED)" in result.wrong


# --- other answers ----------------------------------------------------------------------------------------------------


@every_protocol
def test_401_names_the_headers_variable_and_which_header_is_set_never_its_value(protocol, doctor, receiver):
    there = receiver()
    there.behave(status=401)

    without = doctor(**{BASE: there.url(protocol), PROTOCOL: protocol})
    wrong = doctor(**{BASE: there.url(protocol), PROTOCOL: protocol, HEADERS: "Authorization=Bearer%20sesame-1234"})

    assert (1, 1) == (without.status, wrong.status)
    assert "wants credentials, and no header is set (" in without.wrong
    assert f"→ {HEADERS}=authorization=Bearer%20TOKEN (a space is written %20)" in without.wrong
    assert "does not accept the credentials of the headers authorization (" in wrong.wrong
    assert f"→ {HEADERS}=authorization=Bearer%20TOKEN with one that is valid there" in wrong.wrong
    assert "sesame" not in wrong.out + wrong.err


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("403 Forbidden", "wants credentials, and no header is set (403 Forbidden)"),
        ("301 Moved Permanently", "answers with a redirect (301 Moved Permanently), which is not followed"),
        (
            "415 Unsupported Media Type",
            f"does not understand http/protobuf (415 Unsupported Media Type) → {PROTOCOL}=http/json",
        ),
        ("400 Bad Request", f"does not understand http/protobuf (400 Bad Request) → {PROTOCOL}=http/json"),
        ("500 Internal Server Error", "fails by itself (500 Internal Server Error); records wait in the run folder"),
        ("502 Bad Gateway", "fails by itself (502 Bad Gateway); records wait in the run folder"),
    ],
)
def test_status_is_put_into_words(status, words, doctor, raw_server):
    result = doctor(**{BASE: f"http://localhost:{raw_server(http_answer(status))}"})

    assert 1 == result.status
    assert words in result.wrong


@both
def test_429_says_how_long_to_wait_and_what_to_change(protocol, doctor, receiver):
    there = receiver()
    there.behave(status=429, retry_after=7)

    result = doctor(**{BASE: there.url(protocol), PROTOCOL: protocol})

    assert 1 == result.status
    assert "takes no more just now" in result.wrong
    assert "asks to wait 7 s" in result.wrong
    assert "OTEL_METRIC_EXPORT_INTERVAL=60000" in result.wrong


@both
def test_503_says_that_the_receiver_fails_and_records_wait(protocol, doctor, receiver):
    there = receiver()
    there.behave(status=503)

    result = doctor(**{BASE: there.url(protocol), PROTOCOL: protocol})

    assert 1 == result.status
    assert "records wait in the run folder" in result.wrong


def test_web_application_that_answers_anything_with_success_is_noted(doctor, raw_server):
    port = raw_server(http_answer("200 OK", b"<!doctype html><title>Shop</title>"))

    result = doctor(**{BASE: f"http://localhost:{port}"})

    assert "answers with success, yet not with an OTLP message: is it an OTLP receiver?" in result.notes


# --- no answer --------------------------------------------------------------------------------------------------------


def test_silent_server_is_named_in_time(doctor, raw_server):
    port = raw_server(None)
    ways = [("http", "http/protobuf"), ("http", "grpc"), ("https", "http/protobuf"), ("http", "http/json")]

    with ThreadPoolExecutor(2) as pool:  # they do nothing but wait
        variables = [{BASE: f"{scheme}://localhost:{port}", PROTOCOL: protocol} for scheme, protocol in ways]
        results = list(pool.map(lambda each: doctor(**each), variables))

    for result in results:
        assert 1 == result.status
        assert f"localhost:{port} accepts the connection and never answers" in result.wrong
        assert f"set {BASE} to where the collector listens" in result.wrong


@both
def test_receiver_that_is_too_slow_is_told_from_one_that_is_silent(protocol, doctor, receiver):
    there = receiver()
    there.behave(delay=6)

    result = doctor(**{BASE: there.url(protocol), PROTOCOL: protocol})
    there.behave()

    assert 1 == result.status
    assert "gave no answer to an empty request within" in result.wrong


def test_server_that_drips_its_answer_is_left_in_time(doctor, raw_server):
    """requests limits each wait, not the whole: the answer would take for ever."""
    listening = socket.create_server(("127.0.0.1", 0))

    def drip(connection: socket.socket) -> None:
        with connection:
            try:
                for byte in b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 1000:
                    connection.sendall(bytes([byte]))
                    time.sleep(0.3)
            except OSError:
                return

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=drip, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    with listening:
        result = doctor(**{BASE: f"http://localhost:{listening.getsockname()[1]}"})

    assert 1 == result.status
    assert "gave no answer to an empty request within" in result.wrong


def test_server_that_closes_at_once_is_named(doctor, raw_server):
    port = raw_server(b"")

    result = doctor(**{BASE: f"http://localhost:{port}"})

    assert 1 == result.status
    assert f"localhost:{port} closes the connection without an answer" in result.wrong


def test_calls_that_a_moment_breaks_are_made_again_before_they_are_judged(doctor, secure, authority):
    """A gRPC channel whose first connection fails says so at once, and for a second."""
    behind = int(secure().url("grpc").rpartition(":")[2])
    looks, signals = 2, 3

    def copy(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while text := source.recv(65536):
                sink.sendall(text)
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def serve() -> None:
        with suppress(OSError):
            for number in count():
                connection, _ = listening.accept()
                connections.append(connection)
                if number + 1 < looks + signals:
                    continue
                if number + 1 == looks + signals:  # all at once: else one that is made again could be among them
                    for one in connections:
                        one.close()
                    continue
                connections.append(other := socket.create_connection(("127.0.0.1", behind)))
                for way in ((connection, other), (other, connection)):
                    threading.Thread(target=copy, args=way, daemon=True).start()

    connections: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, daemon=True).start()
        url = f"https://localhost:{listening.getsockname()[1]}"
        result = doctor(**{BASE: url, PROTOCOL: "grpc", CERTIFICATE: str(authority / "ca.pem")})

    for one in connections:
        one.close()
    assert (0, "") == (result.status, result.wrong), result.out


@both
def test_refused_connection_is_named_with_the_usual_port(protocol, doctor):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]

    result = doctor(**{BASE: f"http://127.0.0.1:{port}", PROTOCOL: protocol})

    assert 1 == result.status
    assert f"nothing listens on 127.0.0.1:{port} (connection refused)" in result.wrong
    assert f"set {BASE} to where it listens" in result.wrong
    assert ("4317" if protocol == "grpc" else "4318") in result.wrong


def test_address_that_does_not_answer_to_a_connection_is_named(doctor):
    """A queue that is full drops what comes, as a firewall does."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))

        result = doctor(**{BASE: f"http://127.0.0.1:{port}"})

        for one in waiting:
            one.close()
    assert 1 == result.status
    assert f"127.0.0.1:{port} does not answer to a connection: a firewall drops it" in result.wrong


@both
def test_unknown_host_is_named(protocol, doctor):
    result = doctor(**{BASE: "http://no.such.invalid:4318", PROTOCOL: protocol})

    assert 1 == result.status
    assert "the name no.such.invalid cannot be resolved (" in result.wrong
    assert f"{BASE}: write a host that this machine knows" in result.wrong


def test_proxy_that_cannot_be_reached_is_named_with_the_way_around_it(doctor, receiver):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    there = receiver().http

    result = doctor(**{BASE: there, "http_proxy": f"http://user:open-sesame@127.0.0.1:{port}"})
    around = doctor(**{BASE: there, "http_proxy": f"http://127.0.0.1:{port}", "no_proxy": "localhost"})

    assert (1, 0) == (result.status, around.status)
    assert f"nothing listens on the proxy 127.0.0.1:{port} (connection refused)" in result.wrong
    assert "NO_PROXY=localhost to go directly" in result.wrong
    assert "open-sesame" not in result.out


# --- certificates -----------------------------------------------------------------------------------------------------


@both
def test_certificate_of_an_unknown_authority_is_named_with_the_variable(protocol, doctor, secure):
    result = doctor(**{BASE: secure().url(protocol), PROTOCOL: protocol})

    assert 1 == result.status
    assert "is signed by an authority that is not trusted here" in result.wrong
    assert f"→ {CERTIFICATE}=/path/ca.pem" in result.wrong


@both
def test_certificate_of_another_name_is_named(protocol, doctor, secure, authority):
    there = secure("other")

    result = doctor(**{BASE: there.url(protocol), PROTOCOL: protocol, CERTIFICATE: str(authority / "ca.pem")})

    assert 1 == result.status
    assert "is for another name than localhost" in result.wrong


@both
def test_certificate_that_has_expired_is_named(protocol, doctor, secure, authority):
    time.sleep(1.1)  # it was valid for the second in which it was made
    there = secure("old")

    result = doctor(**{BASE: there.url(protocol), PROTOCOL: protocol, CERTIFICATE: str(authority / "ca.pem")})

    assert 1 == result.status
    assert "has expired" in result.wrong


@both
def test_client_certificate_that_is_wanted_is_named_with_the_variables(protocol, doctor, secure, authority):
    url = secure("localhost", "--client-ca", authority / "ca.pem").url(protocol)
    environ = {BASE: url, PROTOCOL: protocol, CERTIFICATE: str(authority / "ca.pem")}
    client = {
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": str(authority / "client.pem"),
        "OTEL_EXPORTER_OTLP_CLIENT_KEY": str(authority / "client.key"),
    }

    without = doctor(**environ)
    with_it = doctor(**environ, **client)

    assert 1 == without.status
    assert (0, "") == (with_it.status, with_it.wrong), with_it.out
    assert "wants a client's certificate, and none is set" in without.wrong
    assert "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=/path/client.pem" in without.wrong


def test_client_key_of_another_certificate_is_named(doctor, secure, authority):
    there = secure("localhost", "--client-ca", authority / "ca.pem")
    client = {
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": str(authority / "client.pem"),
        "OTEL_EXPORTER_OTLP_CLIENT_KEY": str(authority / "localhost.key"),
    }

    result = doctor(**{BASE: there.http, CERTIFICATE: str(authority / "ca.pem")}, **client)

    assert 1 == result.status
    assert "the client's key does not belong to its certificate" in result.wrong
    assert "→ OTEL_EXPORTER_OTLP_CLIENT_KEY=/path/its.key" in result.wrong


def test_certificate_file_that_is_not_there_is_named(doctor, secure, tmp_path):
    result = doctor(**{BASE: secure().http, CERTIFICATE: str(tmp_path / "gone.pem")})

    assert 1 == result.status
    assert f"{CERTIFICATE}: cannot read the file" in result.wrong


# --- settings ---------------------------------------------------------------------------------------------------------


def test_every_setting_says_where_it_comes_from(doctor, tmp_path):
    (tmp_path / "otel-perf.toml").write_text('keep_runs = 7\nspan_threshold = "20ms"\n', encoding="utf-8")

    result = doctor(OTEL_SERVICE_NAME="shop", OTEL_PERF_SPAN_THRESHOLD="30ms", COLUMNS="160")

    rows = {row.split()[0]: " ".join(row.split()[1:]) for row in result.out.partition("\nsettings\n")[2].splitlines()}
    assert "shop OTEL_SERVICE_NAME" == rows["service"]
    assert "7 otel-perf.toml" == rows["keep_runs"]
    assert "30 ms OTEL_PERF_SPAN_THRESHOLD" == rows["span_threshold"]
    assert "on default (OTEL_PERF_IMPORTS)" == rows["imports"]


def test_pyproject_is_named_with_its_table(doctor, tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.otel-perf]\nkeep_runs = 7\n", encoding="utf-8")

    assert "keep_runs 7 pyproject.toml [tool.otel-perf]" in doctor().words


def test_endpoint_of_a_file_is_tried_and_named(doctor, receiver, tmp_path):
    there = receiver()
    (tmp_path / "otel-perf.toml").write_text(f'endpoint = "{there.grpc}"\n', encoding="utf-8")

    wrong = doctor()
    right = doctor(**{PROTOCOL: "grpc"})
    other = doctor(**{BASE: there.http})

    assert (1, 0, 0) == (wrong.status, right.status, other.status)
    assert f'→ {PROTOCOL}=grpc, or endpoint = "http://localhost:4318" in otel-perf.toml' in wrong.wrong
    assert "endpoint in otel-perf.toml" in right.words


def test_budget_that_cannot_be_taken_is_wrong(doctor, tmp_path):
    (tmp_path / "otel-perf.toml").write_text("[budgets.startup]\nmax = 0\n", encoding="utf-8")

    result = doctor()

    assert 1 == result.status
    assert "budget 'startup': max must be greater than 0" in result.wrong


def test_value_that_cannot_be_taken_is_wrong(doctor, tmp_path):
    (tmp_path / "otel-perf.toml").write_text("imprts = false\n", encoding="utf-8")

    result = doctor(OTEL_PERF_KEEP_RUNS="many", OTEL_TRACES_SAMPLER="sometimes")

    assert 1 == result.status
    assert "OTEL_PERF_KEEP_RUNS: keep_runs: write a whole number of 0 or more, got 'many'; taking 50" in result.wrong
    assert "otel-perf.toml: 'imprts' is no setting of otel-perf" in result.wrong
    assert "OTEL_TRACES_SAMPLER: 'sometimes' is none of always_on" in result.wrong


def test_delta_says_that_prometheus_will_not_take_it(doctor, receiver):
    variable = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"

    result = doctor(**{BASE: receiver().http, variable: "delta"})

    assert 0 == result.status  # other backends do
    assert f"{variable}=delta: Prometheus will not take it" in result.notes
    assert f"→ {variable}=cumulative" in result.notes


def test_exporter_that_nobody_has_is_wrong_with_the_value_to_write(doctor, receiver):
    result = doctor(**{BASE: receiver().http, "OTEL_TRACES_EXPORTER": "otpl"})

    assert 1 == result.status
    assert (
        "OTEL_TRACES_EXPORTER: 'otpl' is none of otlp, otlp_proto_http, otlp_proto_grpc, console, none" in result.wrong
    )
    assert "and no installed package has such an exporter; left out → OTEL_TRACES_EXPORTER=otlp" in result.wrong
    assert 1 == result.out.count("'otpl'")


@pytest.mark.parametrize(
    ("variable", "name", "fix"),
    [
        ("OTEL_TRACES_EXPORTER", "zipkin", "pip install opentelemetry-exporter-zipkin"),
        ("OTEL_METRICS_EXPORTER", "prometheus", "pip install opentelemetry-exporter-prometheus"),
        ("OTEL_PROPAGATORS", "b3multi", "pip install opentelemetry-propagator-b3"),
    ],
)
def test_component_of_the_specification_that_is_not_installed_is_wrong(variable, name, fix, doctor):
    """A start does not say so: it would have to look through all that is installed."""
    result = doctor(**{variable: name})

    assert 1 == result.status
    assert f"{variable}: no installed package has a" in result.wrong
    assert f"{name!r} → {fix}" in result.wrong


def test_exporters_of_the_official_sdk_are_well_and_sent_with_the_protocol_they_name(doctor, receiver):
    there = receiver()

    grpc = doctor(**{BASE: there.grpc, "OTEL_TRACES_EXPORTER": "otlp_proto_grpc", "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"})  # fmt: skip
    http = doctor(**{BASE: there.http, "OTEL_TRACES_EXPORTER": "otlp_proto_http", "OTEL_LOGS_EXPORTER": "console"})

    assert (0, "", 0, "") == (grpc.status, grpc.wrong, http.status, http.wrong)
    assert ["grpc", "http/protobuf"] == [one["protocol"] for one in there.requests("traces")]


def test_sampler_and_exporter_of_the_programs_own_sdk_are_noted(doctor, tmp_path):
    package = tmp_path / "shop_telemetry-1.0.dist-info"
    package.mkdir()
    (package / "entry_points.txt").write_text(
        "[opentelemetry_traces_exporter]\nshop = shop:Exporter\n[opentelemetry_traces_sampler]\nshop = shop:Sampler\n",
        encoding="utf-8",
    )

    result = doctor(
        PYTHONPATH=os.pathsep.join([str(tmp_path), SRC]), OTEL_TRACES_EXPORTER="shop", OTEL_TRACES_SAMPLER="shop"
    )

    assert (0, "") == (result.status, result.wrong)
    assert "OTEL_TRACES_EXPORTER: shop is the program's SDK's; otel-perf sends with otlp only" in result.notes
    assert (
        "OTEL_TRACES_SAMPLER: shop is the program's SDK's; while it has none, every trace is recorded" in result.notes
    )


def test_variable_that_nothing_needs_is_checked_all_the_same(doctor):
    result = doctor(OTEL_BSP_MAX_QUEUE_SIZE="0", OTEL_PROPAGATORS="tracecontext,b4", OTEL_RESOURCE_ATTRIBUTES="a=1,b")

    assert 1 == result.status
    assert "OTEL_BSP_MAX_QUEUE_SIZE: write a whole number of 1 or more, got '0'; taking 2048" in result.wrong
    assert "OTEL_PROPAGATORS: 'b4' is none of tracecontext, baggage, none" in result.wrong
    assert "OTEL_RESOURCE_ATTRIBUTES: entry 2 is no key=value" in result.wrong


def test_timeout_in_the_seconds_of_the_official_sdk_is_noted(doctor, receiver):
    result = doctor(**{BASE: receiver().http, "OTEL_EXPORTER_OTLP_TIMEOUT": "10"})

    assert (0, "") == (result.status, result.wrong)
    assert "OTEL_EXPORTER_OTLP_TIMEOUT=10 is 10 s, as the SDK for Python reads it; the specification's" in result.notes


def test_variable_that_is_needed_is_named_once(doctor, receiver):
    result = doctor(
        **{BASE: receiver().http, "OTEL_EXPORTER_OTLP_COMPRESSION": "zstd", "OTEL_BSP_SCHEDULE_DELAY": "soon"}
    )

    assert 1 == result.status
    assert "2 things are wrong" in result.out
    assert (1, 1) == (result.wrong.count("'zstd'"), result.wrong.count("'soon'"))


def test_endpoint_for_one_signal_says_that_the_others_stay(doctor, receiver):
    url = f"{receiver().http}/v1/traces"

    one = doctor(OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=url)
    meant = doctor(OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=url, OTEL_METRICS_EXPORTER="none", OTEL_LOGS_EXPORTER="none")

    assert (0, 0) == (one.status, meant.status)
    assert "only traces are sent; metrics and logs stay in the run folder" in one.notes
    assert f"{BASE}=http://host:4318 sends all three" in one.notes
    assert "stay in the run folder:" not in meant.notes


def test_exporter_without_an_endpoint_is_tried_at_the_default_one(doctor):
    result = doctor(OTEL_TRACES_EXPORTER="otlp")

    assert "http://localhost:4318/v1/traces default" in result.words


def test_disabled_sdk_is_wrong_because_nothing_is_recorded(doctor):
    result = doctor(OTEL_SDK_DISABLED="true")

    assert 1 == result.status
    assert "nothing is recorded: OTEL_SDK_DISABLED=true switches all off → unset OTEL_SDK_DISABLED" in result.wrong


def test_sampler_that_keeps_nothing_is_wrong(doctor):
    result = doctor(OTEL_TRACES_SAMPLER="always_off")

    assert 1 == result.status
    assert "no trace that begins here is recorded: OTEL_TRACES_SAMPLER=always_off" in result.wrong


def test_misspelt_variable_of_ours_is_wrong_and_one_of_others_is_noted_with_the_right_one(doctor):
    result = doctor(OTEL_EXPORTER_OTLP_TRACE_ENDPOINT="http://localhost:4318", OTEL_PERF_IMPORT="0", OTEL_PYTHON_X="1")

    assert 1 == result.status
    assert "OTEL_PERF_IMPORT is no setting of otel-perf; did you mean OTEL_PERF_IMPORTS?" in result.wrong
    assert "OTEL_PYTHON_X" not in result.out
    assert "OTEL_EXPORTER_OTLP_TRACE_ENDPOINT is set and nobody reads it" in result.notes
    assert "did you mean OTEL_EXPORTER_OTLP_TRACES_ENDPOINT?" in result.notes


# --- hooks and packages -----------------------------------------------------------------------------------------------


def test_hooks_are_proved_on_what_is_installed(doctor):
    result = doctor()

    for name in ("import timing", "context bridge", "light tracer", "provider sharing"):
        assert f"{name} works" in result.words
    for name in ("opentelemetry-api", "opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http"):
        assert re.search(rf"{name} \d", result.words)


def test_hooks_are_proved_on_every_version_of_opentelemetry(otel_versions, run_python):
    code = "import json; from otel_perf.diagnose.selftest import prove; print(json.dumps(prove()))"

    result = run_python(code, path=[otel_versions], site=False)

    assert dict.fromkeys(("imports", "context", "tracer", "provider"), "on") == json.loads(result.stdout), result.stderr


@pytest.mark.parametrize(
    ("variable", "title"),
    [
        ("OTEL_PERF_IMPORTS", "import timing"),
        ("OTEL_PERF_CONTEXT", "context bridge"),
        ("OTEL_PERF_TRACER", "light tracer"),
        ("OTEL_PERF_PROVIDER", "provider sharing"),
    ],
)
def test_switch_that_is_off_is_noted(variable, title, doctor):
    result = doctor(**{variable: "0"})

    assert 0 == result.status
    assert f"{title} off {variable}" in result.words
    assert f"{title} is switched off ({variable})" in result.notes
    assert f"→ {variable}=1" in result.notes


def test_hook_that_does_not_fit_is_wrong_with_its_switch(doctor, tmp_path):
    """An API whose context is another than we know: stock behaviour, and doctor says so."""
    package = tmp_path / "opentelemetry"
    (package / "trace").mkdir(parents=True)
    for folder in (package, package / "trace"):
        (folder / "__init__.py").write_text("", encoding="utf-8")

    result = doctor(PYTHONPATH=os.pathsep.join([str(tmp_path), SRC]))

    assert 1 == result.status
    assert "the context bridge does not fit what is installed (" in result.wrong
    assert "OTEL_PERF_CONTEXT=0" in result.wrong


# --- the run folder ---------------------------------------------------------------------------------------------------


@pytest.fixture
def record(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes the files of one process of a run, and gives its folder."""

    def write(dropped: int = 0, traces: str = "", run: str = "2026-11-25T10-15-02", **attributes: str) -> Path:
        folder = tmp_path / ".otel-perf" / run / STOPPED
        folder.mkdir(parents=True)
        fields = [{"key": f"otel_perf.{key}", "value": {"stringValue": item}} for key, item in attributes.items()]
        span = {
            "traceId": f"{1:032x}", "spanId": f"{2:016x}", "name": "startup", "startTimeUnixNano": "1795000000000000000",
            "endTimeUnixNano": "1795000001000000000", "attributes": fields,
        }  # fmt: skip
        point = {"asInt": str(dropped), "timeUnixNano": "1795000001000000000"}
        metric = {"name": "otel_perf.self.dropped", "sum": {"aggregationTemporality": 2, "dataPoints": [point]}}
        spans = {"resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {"name": "otel_perf"}, "spans": [span]}]}]}
        metrics = {"resourceMetrics": [{"resource": {}, "scopeMetrics": [{"scope": {}, "metrics": [metric]}]}]}
        (folder / "traces.jsonl").write_text(json.dumps(spans) + "\n" + traces, encoding="utf-8")
        (folder / "metrics.jsonl").write_text(json.dumps(metrics) + "\n", encoding="utf-8")
        return folder

    return write


def test_recorded_program_is_well(doctor, run_python, tmp_path):
    run_python("import otel_perf\notel_perf.init()\notel_perf.ready()\n")

    result = doctor()

    assert (0, "") == (result.status, result.wrong)
    assert "1 run," in result.words
    assert "records dropped 0" in result.words
    assert "start recorded ended by ready()" in result.words
    assert "get_tracer_provider()" in result.words


def test_dropped_records_of_the_newest_run_are_wrong(doctor, record):
    record(kind="startup", run="2026-11-24T10-15-02")
    record(dropped=1200, kind="startup")

    result = doctor()

    assert 1 == result.status
    assert "the newest run dropped 1.2 k records" in result.wrong


def test_damaged_lines_and_a_missing_root_are_noted(doctor, record):
    record(traces='{"resourceSpans":[{"res', kind="phase")

    result = doctor()

    assert 0 == result.status
    assert "1 damaged line in the newest run, skipped (torn at the end)" in result.notes
    assert "the newest run has no root of a start" in result.notes


def test_owner_of_the_provider_is_shown_where_a_run_says_it(doctor, record):
    record(kind="startup", provider="opentelemetry.sdk.trace.TracerProvider")

    assert "TracerProvider opentelemetry.sdk.trace.TracerProvider as the newest run recorded" in doctor().words


def test_records_that_wait_to_be_sent_are_noted_until_they_are_sent(doctor, record, receiver, tmp_path):
    folder = record(kind="startup")
    (folder / "sent.json").write_text('{"version": 1, "files": {}}', encoding="utf-8")
    there = receiver().http

    before = doctor(**{BASE: there})
    replay = [sys.executable, "-m", "otel_perf", "replay", ".otel-perf", "--endpoint", there]
    subprocess.run(
        replay, cwd=tmp_path, env={**os.environ, "PYTHONPATH": SRC}, check=True, capture_output=True, timeout=60
    )
    after = doctor(**{BASE: there})

    assert (0, 0) == (before.status, after.status)
    assert "of 1 process that ended are not sent yet → otel-perf replay .otel-perf" in before.notes
    assert "waiting to be sent nothing" in after.words


def test_records_that_are_not_to_be_sent_do_not_wait(doctor, record, receiver):
    folder = record(kind="startup")
    (folder / "sent.json").write_text('{"version": 1, "signals": ["logs"], "files": {}}', encoding="utf-8")

    assert "waiting to be sent nothing" in doctor(**{BASE: receiver().http}).words


def test_folder_that_is_a_file_is_wrong(doctor, tmp_path):
    (tmp_path / "runs").write_text("", encoding="utf-8")

    result = doctor(OTEL_PERF_FOLDER="runs")

    assert 1 == result.status
    assert "is no folder: nothing can be recorded → OTEL_PERF_FOLDER=" in result.wrong


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_folder_that_may_not_be_written_is_wrong(doctor, tmp_path):
    (tmp_path / "runs").mkdir(mode=0o500)

    result = doctor(OTEL_PERF_FOLDER="runs")

    assert 1 == result.status
    assert "cannot be written (Permission denied): nothing can be recorded" in result.wrong


def test_read_only_file_system_is_wrong(doctor):
    result = doctor(OTEL_PERF_FOLDER="/proc/otel-perf-runs")  # nobody can write there, root neither

    assert 1 == result.status
    assert "/proc cannot be written (" in result.wrong
    assert "nothing can be recorded → OTEL_PERF_FOLDER=" in result.wrong


def test_large_run_is_left_in_time(doctor, record):
    folder = record(kind="startup")
    line = (folder / "traces.jsonl").read_bytes().splitlines()[0] + b"\n"
    with (folder / "traces.jsonl").open("ab") as file:
        for _ in range(30):
            file.write(line * 20_000)  # 200 MB, ten times what can be read in time

    result = doctor()

    assert "only its beginning was read: it is large" in result.words


# --- secrets ----------------------------------------------------------------------------------------------------------

SECRETS = ("sesame-1234", "sesame%2D1234", "hunter22", "pa/ss", "s3cr3tkey", "quer1")


@pytest.mark.parametrize("json_too", [False, True])
@pytest.mark.parametrize("status", [200, 401, 400])
def test_no_secret_is_ever_shown(status, json_too, doctor, receiver):
    there = receiver()
    there.behave(status=status)

    result = doctor(
        *["--json"] * json_too,
        **{
            BASE: there.http.replace("localhost", "user:hunter22@localhost"),
            "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": f"{there.http}/v1/logs?key=quer1",
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://user:pa/ss@localhost:4318/v1/metrics",
            HEADERS: "Authorization=Bearer%20sesame%2D1234,api-key=s3cr3tkey,s3cr3tkey",
            "OTEL_RESOURCE_ATTRIBUTES": "token=s3cr3tkey,s3cr3tkey",
        },
    )

    assert "localhost" in result.out
    assert [] == [secret for secret in SECRETS if secret in result.out + result.err]
    assert "authorization" in result.out.lower()  # that it is set is said


def test_secret_that_a_receiver_repeats_is_hidden(doctor, raw_server):
    port = raw_server(http_answer("418 Bearer sesame-1234 is unknown"))

    result = doctor(**{BASE: f"http://localhost:{port}", HEADERS: "authorization=Bearer%20sesame-1234"})

    assert 1 == result.status
    assert "418" in result.wrong
    assert "sesame" not in result.out


# --- the command ------------------------------------------------------------------------------------------------------


def test_json_says_the_same(doctor, receiver):
    result = doctor("--json", **{BASE: receiver().grpc})

    found = json.loads(result.out)
    assert (1, 1, False) == (result.status, found["version"], found["well"])
    errors = [one for one in found["findings"] if one["severity"] == "error"]
    assert ["traces, metrics, logs"] == [one["about"] for one in errors]
    assert "answers HTTP/2 only" in errors[0]["text"]
    assert "failed" == found["sending"]["traces"]["state"]
    assert {"value": 50, "source": "default"}.items() <= found["settings"]["keep_runs"].items()
    assert "on" == found["hooks"]["context"]


def test_settings_that_cannot_be_read_end_it_in_time(doctor, tmp_path):
    """As a file of a network disk whose server is gone: here an open() that does not come back."""
    (tmp_path / "sitecustomize.py").write_text(
        "import threading, otel_perf.config\notel_perf.config.open_file = lambda path: threading.Event().wait()\n",
        encoding="utf-8",
    )

    result = doctor(PYTHONPATH=os.pathsep.join([str(tmp_path), SRC]))

    assert (1, "") == (result.status, result.out)
    assert "otel-perf doctor: no result within 4.3 s: a file hangs" in result.err


def test_help_has_examples_and_exit_codes(doctor):
    result = doctor("--help")

    assert 0 == result.status
    assert "otel-perf doctor --endpoint http://collector:4318" in result.out
    assert "exit status: 0 all is well, 1 something is wrong" in result.out


@pytest.mark.parametrize("words", [["--what"], ["--protocol", "smoke"], ["extra"]])
def test_wrong_command_line_is_2(words, doctor):
    result = doctor(*words)

    assert (2, "") == (result.status, result.out)
    assert "usage: otel-perf doctor" in result.err


def test_colours_only_on_a_terminal_and_not_with_no_color(doctor, tmp_path):
    pty = pytest.importorskip("pty", reason="terminals of POSIX")

    def on_a_terminal(**more: str) -> bytes:
        master, slave = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "otel_perf", "doctor"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": SRC, "TERM": "xterm", "COLUMNS": "100", **more},
            stdout=slave,
        )
        os.close(slave)
        out = b""
        while True:
            try:
                part = os.read(master, 65536)
            except OSError:
                break
            if not part:
                break
            out += part
        os.close(master)
        assert 0 == process.wait(10)
        return out

    assert "\x1b[" not in doctor().out
    assert b"\x1b[" in on_a_terminal()
    assert b"\x1b[" not in on_a_terminal(NO_COLOR="1")


def test_output_that_nobody_reads_is_no_crash(tmp_path):
    command = f"{sys.executable} -m otel_perf doctor | true; exit ${{PIPESTATUS[0]}}"
    environ = {**os.environ, "PYTHONPATH": SRC}
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60, check=False)  # fmt: skip

    assert (0, "") == (done.returncode, done.stderr)
