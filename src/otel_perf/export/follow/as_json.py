"""Lines of the run folder sent as they are, as OTLP/HTTP JSON, with nothing but the standard library.

For the protocol ``http/json``, and for the rest of a process that ends before the exporters are loaded: no thread, no
import that starts one, and every wait has a limit.

Imports only: outcome; in_time, which loads http.client, ssl and zlib inside the functions that need them.
"""

from __future__ import annotations

import os
from time import monotonic

from .outcome import BODY, Outcome, of_status, why

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from otel_perf.export.endpoint import Target
    from otel_perf.export.json_values import Skipped

HEADS = {
    "traces": b'{"resourceSpans":[',
    "metrics": b'{"resourceMetrics":[',
    "logs": b'{"resourceLogs":[',
}
TAIL = b"]}"
_COUNTED = {"traces": b'"endTimeUnixNano":', "metrics": b'"timeUnixNano":', "logs": b'"timeUnixNano":'}
_REJECTED = {"traces": "rejectedSpans", "metrics": "rejectedDataPoints", "logs": "rejectedLogRecords"}


class JsonExporter:
    """One signal's connection to an OTLP/HTTP receiver that takes JSON."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._connection: Any = None

    def send(self, lines: list[bytes], deadline: float) -> Outcome:
        """Send *lines*, each as groups() gives it, in one request.

        Args:
            lines: contents of the list that is the request's only field.
            deadline: monotonic seconds.
        """
        outcome = self._send(lines, deadline)
        outcome.hide(self.target.hide)
        return outcome

    def _send(self, lines: list[bytes], deadline: float) -> Outcome:
        target = self.target
        if _is_proxied(target.url):
            return Outcome("later", "goes through a proxy, which only the exporters can use")
        body = HEADS[target.signal] + b",".join(lines) + TAIL
        headers = {"Content-Type": "application/json", "User-Agent": "otel-perf", **target.headers}
        if target.compression:
            body = packed(body, target.compression)
            headers["Content-Encoding"] = target.compression
        fresh = self._connection is None
        try:
            return self._request(body, headers, deadline)
        except Exception as error:  # noqa: BLE001  # whatever went wrong, the records stay
            self.close()
            if fresh or monotonic() >= deadline:
                return Outcome("later", why(error))
        try:
            return self._request(body, headers, deadline)  # the kept connection had been closed
        except Exception as error:  # noqa: BLE001
            self.close()
            return Outcome("later", why(error))

    def _request(self, body: bytes, headers: dict[str, str], deadline: float) -> Outcome:
        if self._connection is None:
            self._connection = _connection(self.target)
        connection = self._connection
        connection.deadline = deadline
        connection.request("POST", _path(self.target.url), body, headers)
        answer = connection.getresponse()
        text = answer.read(BODY)
        if not answer.isclosed():
            self.close()
        failed = of_status(answer.status, answer.reason, answer.headers)
        return _partial(self.target.signal, text) if failed is None else failed

    def close(self) -> None:
        """Close the connection; a later request opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def groups(signal: str, line: bytes, skipped: Skipped) -> bytes:
    """Return the content of the list that *line* is, for one request with others; empty if it is damaged."""
    head = HEADS[signal]
    line = line.rstrip()
    if line.startswith(head) and line.endswith(TAIL) and line.count(head) == 1:
        return line[len(head) : -len(TAIL)]
    from otel_perf.export.decode import parse_line

    return content(signal, parse_line(line + b"\n", skipped) or {})


def content(signal: str, data: dict[str, Any]) -> bytes:
    """Return the content of the list that *data* has of *signal*; empty if it has none."""
    from json import dumps

    found = data.get(HEADS[signal][2:-3].decode())
    return dumps(found, separators=(",", ":")).encode()[1:-1] if isinstance(found, list) else b""


def count(signal: str, text: bytes) -> int:
    """Return how many records *text* holds."""
    return text.count(_COUNTED[signal])


def count_points(data: dict[str, Any]) -> int:
    """Return how many metric points *data* holds."""
    return sum(
        len(body["dataPoints"])
        for group in objects(data.get("resourceMetrics"))
        for scoped in objects(group.get("scopeMetrics"))
        for metric in objects(scoped.get("metrics"))
        for body in metric.values()
        if isinstance(body, dict) and isinstance(body.get("dataPoints"), list)
    )


def without_first(number: int, signal: str, data: dict[str, Any]) -> dict[str, Any]:
    """Return *data* of *signal*, changed in place, without its first *number* metric points or log records."""
    for holder, key in _lists(signal, data) if number else ():
        found = objects(holder.get(key))
        holder[key], number = found[number:], max(0, number - len(found))
    return data


def _lists(signal: str, data: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield what has lists of records, and the key of the list, in the order of the file."""
    groups, scopes = ("resourceLogs", "scopeLogs") if signal == "logs" else ("resourceMetrics", "scopeMetrics")
    for group in objects(data.get(groups)):
        for scoped in objects(group.get(scopes)):
            if signal == "logs":
                yield scoped, "logRecords"
            for metric in objects(scoped.get("metrics")):
                yield from ((body, "dataPoints") for body in metric.values() if isinstance(body, dict))


def objects(found: object) -> list[dict[str, Any]]:
    """Return the objects of a list; none if it is none."""
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _connection(target: Target) -> Any:
    from .in_time import Connection

    scheme, _, rest = target.url.partition("://")
    host = rest.partition("/")[0].rpartition("@")[2]
    if scheme == "http":
        return Connection(host)
    import ssl

    context = ssl.create_default_context(cafile=target.certificate or None)
    if target.client_certificate:
        context.load_cert_chain(target.client_certificate, target.client_key or None)
    return Connection(host, context)


def _path(url: str) -> str:
    return "/" + url.partition("://")[2].partition("/")[2]


def packed(body: bytes, compression: str) -> bytes:
    """Return *body* as *compression*, ``gzip`` or ``deflate``, has it."""
    import zlib

    frame = {"gzip": 31, "deflate": 15}  # 31: with gzip's header and trailer
    packer = zlib.compressobj(6, zlib.DEFLATED, frame[compression])
    return packer.compress(body) + packer.flush()


def _is_proxied(url: str) -> bool:
    """Say whether the environment names a proxy for *url*."""
    scheme = url.partition("://")[0]
    if not any(
        os.environ.get(name) for name in (f"{scheme}_proxy", f"{scheme.upper()}_PROXY", "all_proxy", "ALL_PROXY")
    ):
        return False
    from urllib.request import proxy_bypass

    return not proxy_bypass(url.partition("://")[2].partition("/")[0].rpartition("@")[2])


def _partial(signal: str, text: bytes) -> Outcome:
    from json import loads

    try:
        found = loads(text.decode()).get("partialSuccess") or {}
        return Outcome("sent", str(found.get("errorMessage", "")), rejected=int(found.get(_REJECTED[signal], 0)))
    except (ValueError, AttributeError, TypeError, RecursionError, OverflowError):  # some receivers answer with text
        return Outcome("sent")
