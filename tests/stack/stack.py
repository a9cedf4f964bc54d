"""What the end-to-end tests ask a stack, whatever it is made of: only its addresses are known here.

A settings file (JSON) has them. ``otel-perf stack status --settings FILE`` reads the same file::

    {"otlp_http": "http://127.0.0.1:4318", "otlp_grpc": "http://127.0.0.1:4317",
     "services": {"collector": "http://127.0.0.1:13133", "prometheus": "http://127.0.0.1:9090",
                  "tempo": "http://127.0.0.1:3200", "loki": "http://127.0.0.1:3100"}}

In place of ``tempo`` there may be ``jaeger`` (its query service), in place of ``loki`` there may be ``victorialogs``.
"""

from __future__ import annotations

import base64
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_OPEN = urllib.request.build_opener(urllib.request.ProxyHandler({})).open  # all addresses are loopback


class Stack:
    """A running stack.

    Attributes:
        otlp_http: base URL of the collector, OTLP over HTTP; ``otlp_grpc`` is that of gRPC.
        services: base URL by service.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self.otlp_http: str = settings["otlp_http"]
        self.otlp_grpc: str = settings["otlp_grpc"]
        self.services: dict[str, str] = settings["services"]

    @classmethod
    def of(cls, file: Path) -> Stack:
        """Return the stack that a settings file describes."""
        return cls(json.loads(file.read_text(encoding="utf-8")))

    @staticmethod
    def wait_for(look: Callable[[], Any], what: str, seconds: float = 30) -> Any:
        """Return what *look* gives once that is true; see the function wait_for."""
        return wait_for(look, what, seconds)

    @staticmethod
    def get(url: str) -> Any:
        """Return the JSON that a URL of a service answers with; see the function get."""
        return get(url)

    @staticmethod
    def post(url: str, body: object) -> int:
        """Return the status with which a request in JSON is answered."""
        request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
        try:
            with _OPEN(request, timeout=20) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def environment(self, protocol: str = "http/protobuf") -> dict[str, str]:
        """Return the variables with which a program sends to it."""
        endpoint = self.otlp_grpc if protocol == "grpc" else self.otlp_http
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}

    # --- metrics ------------------------------------------------------------------------------------------

    def query(self, promql: str, time: float | None = None) -> list[dict[str, Any]]:
        """Return what PromQL gives at one time (seconds, default now): for each series, as Prometheus has it,
        ``metric`` (labels) and ``value`` (time, text) or ``histogram``; a scalar is a series without labels.

        Raises: QueryError: Prometheus does not take the query.
        """
        answer = self.prometheus("query", query=promql, **({} if time is None else {"time": repr(time)}))
        if answer["resultType"] in ("scalar", "string"):
            return [{"metric": {}, "value": answer["result"]}]
        return answer["result"]

    def query_range(self, promql: str, start: float, end: float, step: float = 1.0) -> list[dict[str, Any]]:
        """Return what PromQL gives from *start* to *end* (seconds): ``metric`` and ``values`` or ``histograms``."""
        return self.prometheus("query_range", query=promql, start=repr(start), end=repr(end), step=step)["result"]

    def samples(self, selector: str, seconds: float = 600, until: float | None = None) -> dict[str, list[tuple]]:
        """Return the stored samples themselves, [(seconds, value), ...], by ``service_instance_id``, and by the whole
        set of labels (JSON) where a series has none."""
        found = {}
        for series in self.query(f"{selector}[{seconds:.0f}s]", until):
            key = series["metric"].get("service_instance_id") or json.dumps(series["metric"], sort_keys=True)
            assert key not in found, f"{selector} has several series of one instance; say which is meant"
            found[key] = [(float(at), float(value)) for at, value in series.get("values", [])]
        return found

    def prometheus(self, path: str, **parameters: Any) -> Any:
        """Return ``data`` of the answer to ``/api/v1/PATH``."""
        form = urllib.parse.urlencode(parameters).encode() or None
        answer = get(f"{self.services['prometheus']}/api/v1/{path}", form)
        assert answer["status"] == "success", answer
        return answer["data"]

    # --- traces -------------------------------------------------------------------------------------------

    def trace(self, trace_id: str) -> list[dict[str, Any]]:
        """Return the spans of a trace, none where it is not there (yet).

        Keys: name, trace_id, span_id, parent_id (None for a root), start, end (int ns), attributes, resource.
        """
        try:
            if "jaeger" in self.services:
                found = get(f"{self.services['jaeger']}/api/v3/traces/{trace_id}")["result"]["resourceSpans"]
            else:
                found = get(f"{self.services['tempo']}/api/traces/{trace_id}")["batches"]
        except QueryError as error:
            if error.status == 404:
                return []
            raise
        return [
            _span(span, _attributes(group.get("resource", {})))
            for group in found
            for scope in group.get("scopeSpans", [])
            for span in scope["spans"]
        ]

    # --- logs ---------------------------------------------------------------------------------------------

    def logs(self, query: str) -> list[dict[str, Any]]:
        """Return what a query gives, in the language of the stack's logs (LogsQL, LogQL): a flat mapping a record."""
        if "victorialogs" in self.services:
            form = urllib.parse.urlencode({"query": query}).encode()
            text = fetch(f"{self.services['victorialogs']}/select/logsql/query", form).decode()
            return [json.loads(line) for line in text.splitlines()]
        limits = {"limit": 5000, "start": time.time_ns() - 24 * 3600 * 10**9, "end": time.time_ns() + 3600 * 10**9}
        parameters = urllib.parse.urlencode({"query": query, **limits})
        streams = get(f"{self.services['loki']}/loki/api/v1/query_range?{parameters}")["data"]["result"]
        return [{**stream["stream"], "_msg": value[1]} for stream in streams for value in stream["values"]]

    def events(self, service: str, name: str = "") -> list[dict[str, Any]]:
        """Return the log events of a service, of one name or of every name: ``event_name``, ``trace_id``, ``span_id``,
        ``severity_text``, the attributes (dots or underscores, as the backend has them), the body as ``_msg``."""
        if "victorialogs" in self.services:
            chosen = f" event_name:={json.dumps(name)}" if name else ""
            return self.logs(f"service.name:={json.dumps(service)}{chosen} | limit 10000")
        chosen = f" | event_name={json.dumps(name)}" if name else ""
        return self.logs(f"{{service_name={json.dumps(service)}}}{chosen}")


class QueryError(Exception):
    """A server has answered that it does not take a request.

    Attributes:
        status: of the HTTP answer.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status = status


def fetch(url: str, form: bytes | None = None, timeout: float = 20) -> bytes:
    """Return the body of a GET, of a POST where there is a form.

    Raises: QueryError: the answer is an error. OSError: there is no answer.
    """
    try:
        with _OPEN(urllib.request.Request(url, form, {"Accept": "application/json"}), timeout=timeout) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        raise QueryError(error.code, error.read().decode(errors="replace")) from None


def get(url: str, form: bytes | None = None) -> Any:
    """Return the JSON that a URL answers with."""
    return json.loads(fetch(url, form))


def wait_for(look: Callable[[], Any], what: str, seconds: float = 30) -> Any:
    """Return what *look* gives once that is true; a server that is away, or has it not yet, is asked again.

    Raises: AssertionError: it never was; says *what*, and what was seen last.
    """
    end = time.monotonic() + seconds
    seen: object = None
    while time.monotonic() < end:
        try:
            if seen := look():
                return seen
        except (OSError, QueryError) as error:
            seen = error
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds:g} s: {what}; last seen: {seen!r}")


def _span(span: dict[str, Any], resource: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": span["name"],
        "trace_id": _hex(span["traceId"], 32),
        "span_id": _hex(span["spanId"], 16),
        "parent_id": _hex(span["parentSpanId"], 16) if span.get("parentSpanId") else None,
        "start": int(span["startTimeUnixNano"]),
        "end": int(span["endTimeUnixNano"]),
        "attributes": _attributes(span),
        "resource": resource,
    }


def _hex(text: str, digits: int) -> str:
    """Return an id in hex: OTLP/JSON has it so, what is made of the protocol buffer by others has base64."""
    return text if len(text) == digits else base64.b64decode(text).hex()


def _attributes(of: dict[str, Any]) -> dict[str, Any]:
    return {pair["key"]: _value(pair.get("value") or {}) for pair in of.get("attributes", [])}


def _value(value: dict[str, Any]) -> Any:
    if not value:
        return None
    ((kind, content),) = value.items()
    if kind == "intValue":
        return int(content)
    if kind == "arrayValue":
        return [_value(item) for item in content.get("values", [])]
    return content
