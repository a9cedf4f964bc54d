"""Whether each signal can be sent: name, connection, TLS, then a real empty request with the exporter that would send.

The exporter's answer is the verdict; the rest finds the words for it. Every wait ends at a deadline.
"""

from __future__ import annotations

import os
import socket
import ssl
import time
from dataclasses import dataclass, field
from functools import partial
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any

from otel_perf.export.endpoint import Target

if TYPE_CHECKING:
    from collections.abc import Callable

    from otel_perf.export.follow.outcome import Outcome

LOOKING = 0.9  # seconds kept for finding out what a port speaks
AGAIN = 0.5  # seconds: a connection that fails sooner is tried once more, as the exporter over HTTP does by itself
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"  # and an empty SETTINGS frame
SETTINGS_FRAME = 4
ALERT = b"\x15\x03"  # how TLS refuses what is no TLS
_loading = Lock()  # packages whose modules import each other are not to be loaded by several threads at once
_GRPC_ROOTS = ("_cython", "_credentials", "roots.pem")


@dataclass(slots=True)
class Step:
    """One step on the way to a receiver.

    Attributes:
        name: ``name``, ``connection``, ``TLS``, ``request``.
        problem: why it failed, empty where it did not.
        seconds: how long it took.
    """

    name: str
    problem: str = ""
    seconds: float = 0.0


class Cut(ConnectionError):  # noqa: N818  # it says what happened
    """A server ended a connection right after the handshake, as one does that misses a certificate."""


@dataclass(slots=True)
class Seen:
    """What a port answers to, whatever it is configured as.

    Attributes:
        plain: it answered something without TLS, as tls says of TLS.
        http1: HTTP/1.1 was answered, as http2 says of HTTP/2.
    """

    plain: bool = False
    tls: bool = False
    http1: bool = False
    http2: bool = False

    @property
    def silent(self) -> bool:
        """It takes connections and says nothing."""
        return not (self.plain or self.tls)


@dataclass(slots=True)
class Reach:
    """How far a signal gets.

    Attributes:
        target: where it goes.
        steps: what was tried, in order; the last one may have failed.
        outcome: of the request, None where none was made, or it has no answer yet.
        otlp: the request's answer was an OTLP message, or needs none.
        handshake: why the verified TLS handshake failed, None where it did not.
        seen: what the port speaks, looked at where the request failed.
        proxy: host and port of the proxy that requests go through, empty where there is none.
        begun: monotonic seconds at which the request was made, 0 where it was not.
    """

    target: Target
    steps: list[Step] = field(default_factory=list)
    outcome: Outcome | None = None
    otlp: bool = True
    handshake: Exception | None = None
    seen: Seen | None = None
    proxy: str = ""
    begun: float = 0.0

    @property
    def good(self) -> bool:
        """The receiver took the request."""
        return self.outcome is not None and self.outcome.kind == "sent"

    @property
    def waited(self) -> float:
        """Seconds that the request took."""
        return next((step.seconds for step in self.steps if step.name == "request"), 0.0)

    @property
    def failed(self) -> Step | None:
        """The step that failed."""
        return next((step for step in self.steps if step.problem), None)


def address_of(url: str) -> tuple[str, int]:
    """Return host and port of *url*."""
    scheme, _, rest = url.partition("://")
    place = rest.partition("/")[0].rpartition("@")[2]
    return split_place(place, 443 if scheme == "https" else 80)


def split_place(place: str, default: int) -> tuple[str, int]:
    """Return host and port of ``host:port``, ``[::1]:port`` or ``host``."""
    host, colon, port = place.rpartition(":")
    if not colon or place.endswith("]"):
        host, port = place, ""
    return host.strip("[]"), int(port) if port.isdecimal() else default


def reach(targets: list[Target], deadline: float) -> list[Reach]:
    """Try to send an empty request of each of *targets*; those that share an address are looked at once.

    Args:
        targets: signals that go over the network.
        deadline: monotonic seconds.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its own lines on stderr say less than we do
    found = [Reach(target) for target in targets]
    groups: dict[tuple[object, ...], list[Reach]] = {}
    for one in found:
        target = one.target
        files = (target.certificate, target.client_certificate, target.client_key)
        groups.setdefault((*address_of(target.url), target.url[:5], target.protocol, *files), []).append(one)
    _together([partial(_reach_group, group, deadline) for group in groups.values()], deadline)
    return found


def _together(tasks: list[Callable[[], object]], deadline: float) -> None:
    """Run *tasks* at once; one that does not end in time is left behind.

    Raises: Exception: the first of them that failed.
    """
    failed: list[Exception] = []

    def run(task: Callable[[], object]) -> None:
        try:
            task()
        except Exception as error:  # noqa: BLE001  # raised below: a thread's own would be printed
            failed.append(error)

    threads = [Thread(target=run, args=(task,), daemon=True) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    if failed:
        raise failed[0]


def _reach_group(group: list[Reach], deadline: float) -> None:
    target = group[0].target
    host, port = address_of(target.url)
    proxy = proxy_of(target)
    if proxy:
        host, port = split_place(proxy, 80)
    steps: list[Step] = []
    for one in group:
        one.proxy, one.steps = proxy, steps  # the way is the same for all of them; see _request()
    if not _connect(host, port, steps, deadline - LOOKING):
        return
    tasks: list[Callable[[], object]] = [partial(_request, one, deadline - LOOKING) for one in group]
    if target.url.startswith("https:") and not proxy:
        tasks.append(partial(_handshake, group, host, port, deadline - LOOKING / 2))
    _together(tasks, deadline - LOOKING + 0.1)
    bad = [one for one in group if not one.good]
    for one in bad:
        if one.begun and one.outcome is None:
            one.steps[-1].seconds = time.monotonic() - one.begun
    if bad and not proxy:
        seen = look(host, port, min(deadline - 0.05, time.monotonic() + LOOKING))
        for one in bad:
            one.seen = seen


def _connect(host: str, port: int, steps: list[Step], deadline: float) -> bool:
    """Resolve the name and connect, and note both in *steps*; say whether that worked."""
    begun = time.monotonic()
    found: list[Any] = []
    step = Step("name", "no answer in time")
    steps.append(step)
    _together([lambda: found.append(_resolve(host, port))], min(deadline, begun + 1.5))  # it cannot be given a limit
    step.seconds = time.monotonic() - begun
    if not found:
        return False
    addresses, step.problem = found[0]
    if step.problem:
        return False
    step = Step("connection", "no answer in time")
    steps.append(step)
    begun = time.monotonic()
    for family, address in addresses:
        try:
            with socket.socket(family, socket.SOCK_STREAM) as connection:
                connection.settimeout(max(0.05, min(1.0, deadline - time.monotonic())))
                connection.connect(address)
                step.problem = ""
        except TimeoutError:
            step.problem = "no answer in time"
        except OSError as error:
            step.problem = error.strerror or str(error)
        if not step.problem:
            break
    step.seconds = time.monotonic() - begun
    return not step.problem


def _resolve(host: str, port: int) -> tuple[list[tuple[int, Any]], str]:
    try:
        rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        return [], getattr(error, "strerror", None) or str(error)
    return [(row[0], row[4]) for row in rows], ""


def _request(one: Reach, deadline: float) -> None:
    """Make the request as the sender would, once."""
    from otel_perf.export.follow.outcome import Deadline, Outcome, why

    step = Step("request", "no answer in time")
    one.steps = [*one.steps, step]
    limit = Deadline()
    limit.at = deadline
    try:
        outcome = _send(one, limit)
        if _may_pass(one, outcome):
            outcome = _send(one, limit)
    except Exception as error:  # noqa: BLE001  # a wrong certificate, a package that is not there
        outcome = Outcome("later", why(error))
    step.seconds = time.monotonic() - one.begun if one.begun else 0.0
    step.problem = "" if outcome.kind == "sent" else outcome.reason or outcome.kind
    one.outcome = outcome


def _may_pass(one: Reach, outcome: Outcome) -> bool:
    """Say whether the call failed before the receiver said anything, and soon: a moment's failure is no verdict."""
    lost = outcome.kind == "later" and not outcome.reason.startswith("answered")
    return one.target.protocol == "grpc" and lost and time.monotonic() - one.begun < AGAIN


def _send(one: Reach, limit: Any) -> Outcome:
    """Make the request with an exporter of its own: a gRPC channel that failed fails for a second."""
    target = one.target
    if target.protocol == "http/json":
        from otel_perf.export.follow.as_json import JsonExporter

        exporter = JsonExporter(target)
        one.begun = time.monotonic()
        outcome = exporter.send([], limit.at)
    else:
        from otel_perf.export.follow.exporters import Exporter
        from otel_perf.export.follow.pace import Pace

        fields = {name: getattr(target, name) for name in Target.__slots__}
        with _loading:
            official = Exporter(Target(**{**fields, "exporters": ("otlp",)}), limit)
        one.begun = time.monotonic()  # loading it is not the receiver's time
        outcome = official.send([], Pace(lambda: True))
        one.otlp = official.answer is not None
    return outcome


def proxy_of(target: Target) -> str:
    """Return host and port of the proxy that the exporter goes through, empty where it goes directly."""
    from urllib.request import getproxies, proxy_bypass

    host = address_of(target.url)[0]
    proxies = getproxies()
    if target.protocol == "grpc":
        names = [os.environ.get(name, "") for name in ("grpc_proxy", "https_proxy", "http_proxy")]
        found = next((name for name in names if name), "")
    else:
        found = proxies.get(target.url.partition(":")[0]) or proxies.get("all", "")
    if not found or proxy_bypass(host):
        return ""
    return found.partition("://")[2].partition("/")[0].rpartition("@")[2] or found.rpartition("@")[2]


# --- what a port speaks -----------------------------------------------------------------------------------------------


def look(host: str, port: int, deadline: float) -> Seen:
    """Find out what the port answers to: HTTP/1.1 and HTTP/2, plain and in TLS, at once."""
    seen = Seen()

    def plain(text: bytes) -> None:
        try:
            with socket.create_connection((host, port), max(0.05, deadline - time.monotonic())) as connection:
                _judge(seen, _ask(connection, text, deadline), secure=False)
        except OSError:
            return

    def secure(offered: str, text: bytes) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # only to see what it speaks: nothing of ours is sent
        context.set_alpn_protocols([offered])  # one at a time: many ports speak both
        try:
            with socket.create_connection((host, port), max(0.05, deadline - time.monotonic())) as connection:
                connection.settimeout(max(0.05, deadline - time.monotonic()))
                with context.wrap_socket(connection, server_hostname=host) as wrapped:
                    seen.tls = True
                    chosen = wrapped.selected_alpn_protocol()
                    seen.http1 = seen.http1 or chosen == "http/1.1"
                    seen.http2 = seen.http2 or chosen == "h2"
                    _judge(seen, _ask(wrapped, text, deadline), secure=True)
        except ssl.SSLError as error:
            seen.tls = seen.tls or "ALERT" in (error.reason or "").upper()  # an alert is an answer in TLS
        except OSError:
            return

    request = _get(host)
    _together(
        [
            lambda: plain(PREFACE),
            lambda: plain(request),
            lambda: secure("h2", PREFACE),
            lambda: secure("http/1.1", request),
        ],
        deadline,
    )
    return seen


def _get(host: str) -> bytes:
    return f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode("ascii", "replace")


def _ask(connection: socket.socket, text: bytes, deadline: float) -> bytes:
    """Send *text* and return the beginning of the answer, in time to be judged."""
    deadline -= 0.1
    connection.settimeout(max(0.05, deadline - time.monotonic()))
    connection.sendall(text)
    answer = b""
    try:
        while len(answer) < 9 and (more := connection.recv(1024)):
            answer += more
            connection.settimeout(max(0.01, deadline - time.monotonic()))  # it may come byte by byte
    except TimeoutError:
        if not answer:
            raise
    return answer


def _judge(seen: Seen, answer: bytes, secure: bool) -> None:
    http1 = answer.startswith(b"HTTP/1.")
    http2 = len(answer) >= 9 and answer[3] == SETTINGS_FRAME and not http1
    if not secure and (answer[:2] == ALERT or (http1 and b"HTTPS" in answer)):  # a TLS port, which may say so in words
        seen.tls = True
    elif answer:
        seen.plain = seen.plain or not secure
        seen.http1 = seen.http1 or http1
        seen.http2 = seen.http2 or http2


def wants_certificate(error: Exception | None) -> bool:
    """Say whether *error* is a server's refusal of a client that shows no certificate, or a wrong one."""
    reason = str(getattr(error, "reason", "") or "").upper()
    names = ("CERTIFICATE_REQUIRED", "BAD_CERTIFICATE", "UNKNOWN_CA", "HANDSHAKE_FAILURE", "CERTIFICATE_UNKNOWN")
    return "ALERT" in reason and any(name in reason for name in names)


# --- TLS --------------------------------------------------------------------------------------------------------------


def _handshake(group: list[Reach], host: str, port: int, deadline: float) -> None:
    """Shake hands as the exporter does, for the reason where it fails: an exporter says less."""
    target = group[0].target
    error: Exception | None = None
    try:
        context = _context(target)
        with socket.create_connection((host, port), max(0.05, deadline - time.monotonic())) as connection:
            connection.settimeout(max(0.05, deadline - time.monotonic()))
            with context.wrap_socket(connection, server_hostname=host) as wrapped:
                _greet(wrapped, PREFACE if target.protocol == "grpc" else _get(host), deadline)
    except TimeoutError:
        return
    except (OSError, ValueError) as found:
        error = found
    for one in group:
        one.handshake = error


def _greet(connection: ssl.SSLSocket, text: bytes, deadline: float) -> None:
    """Say something after the handshake: from TLS 1.3 a certificate of ours is refused only now.

    Raises: Cut: the server ends the connection; SSLError: it says why.
    """
    try:
        answer = _ask(connection, text, deadline)
    except TimeoutError:
        return
    except OSError as error:
        if wants_certificate(error):
            raise
        raise Cut from error
    if not answer:
        raise Cut


def _context(target: Target) -> ssl.SSLContext:
    """Return the context that the exporter would use: its own authorities, or those that its library brings."""
    authorities = target.certificate or _bundled(target.protocol)
    context = ssl.create_default_context(cafile=authorities or None)
    context.set_alpn_protocols(["h2"] if target.protocol == "grpc" else ["http/1.1"])
    if target.client_certificate:
        context.load_cert_chain(target.client_certificate, target.client_key or None)
    return context


def _bundled(protocol: str) -> str:
    from importlib.util import find_spec

    try:
        if protocol == "grpc":
            found = find_spec("grpc")
            own = os.path.join(os.path.dirname((found and found.origin) or ""), *_GRPC_ROOTS)
            path = os.environ.get("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "") or own
        elif protocol == "http/protobuf":
            import certifi

            path = certifi.where()
        else:
            path = ""
    except ImportError:
        path = ""
    return path if os.path.isfile(path) else ""
