"""A small OTLP receiver as a process of its own: HTTP (protobuf, JSON, gzip) and gRPC, with or without TLS.

    python receiver.py FILE [--certificate F --key F [--client-ca F]]

It prints its ports as a JSON line and writes each request as a JSON line to FILE. How it behaves is read from stdin, one
JSON object a line, each answered by ``ok``: delay (seconds), silent, status and retry_after (for the next ``times``
requests, without it for all), echo (a refusal repeats the credentials), partial (records not taken), die_after (requests;
the last one is not answered), file
(another one from now on). The end of stdin ends it.

Receiver is the test's side: it starts the process and decodes what came, with the official protobuf messages.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import http.server
import json
import os
import ssl
import subprocess
import sys
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import json_format
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

REQUESTS = {
    "traces": trace_service_pb2.ExportTraceServiceRequest,
    "metrics": metrics_service_pb2.ExportMetricsServiceRequest,
    "logs": logs_service_pb2.ExportLogsServiceRequest,
}
RESPONSES = {
    "traces": trace_service_pb2.ExportTraceServiceResponse,
    "metrics": metrics_service_pb2.ExportMetricsServiceResponse,
    "logs": logs_service_pb2.ExportLogsServiceResponse,
}
REJECTED = {"traces": "rejected_spans", "metrics": "rejected_data_points", "logs": "rejected_log_records"}
CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    404: grpc.StatusCode.UNIMPLEMENTED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
}


# --- the process -----------------------------------------------------------------------------------------------------


class Store:
    """What came, and how to answer."""

    def __init__(self, path: str) -> None:
        self.file = open(path, "ab", buffering=0)  # noqa: SIM115
        self.lock = threading.Lock()
        self.behaviour: dict[str, Any] = {}
        self.orders = 0

    def take(self, request: dict[str, Any], message: Any) -> dict[str, Any]:
        """Write *request* down and return how to answer it."""
        with self.lock:
            how = dict(self.behaviour)
            if "times" in how:
                self.behaviour["times"] -= 1
                if self.behaviour["times"] < 0:
                    how.pop("status", None)
            request |= {"time": time.time(), "status": how.get("status", 200)}
            request["body"] = base64.b64encode(message.SerializeToString()).decode()
            self.file.write(json.dumps(request).encode() + b"\n")
            orders = self.orders
            if "die_after" in how:
                self.behaviour["die_after"] -= 1
                if self.behaviour["die_after"] <= 0:
                    os._exit(9)
        while how.get("silent") and orders == self.orders:
            time.sleep(0.02)
        time.sleep(how.get("delay", 0))
        return how

    def listen(self) -> None:
        """Take orders until stdin ends."""
        for line in sys.stdin:
            with self.lock:
                self.behaviour = json.loads(line)
                self.orders += 1
                if "file" in self.behaviour:
                    self.file.close()
                    self.file = open(self.behaviour["file"], "ab", buffering=0)  # noqa: SIM115
            print("ok", flush=True)


def response(signal: str, how: dict[str, Any]) -> Any:
    """Return the message of success."""
    message = RESPONSES[signal]()
    if how.get("partial"):
        setattr(message.partial_success, REJECTED[signal], how["partial"])
        message.partial_success.error_message = "too old"
    return message


def from_json(signal: str, body: bytes) -> Any:
    """Return the message of an OTLP/JSON body: its ids are hex, those of protobuf's JSON are base64."""

    def convert(item: Any) -> Any:
        if isinstance(item, list):
            return [convert(each) for each in item]
        if not isinstance(item, dict):
            return item
        ids = ("traceId", "spanId", "parentSpanId")
        return {
            key: base64.b64encode(bytes.fromhex(value)).decode() if key in ids else convert(value)
            for key, value in item.items()
        }

    return json_format.ParseDict(convert(json.loads(body)), REQUESTS[signal]())


def http_handler(store: Store) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1  # one packet an answer

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            signal = self.path.rpartition("/")[2]
            if signal not in REQUESTS:
                self.answer(404, b"no such path")
                return
            unpack = {"gzip": gzip.decompress, "deflate": zlib.decompress}.get(self.headers.get("Content-Encoding", ""))
            body = unpack(raw) if unpack else raw
            is_json = self.headers["Content-Type"] == "application/json"
            try:
                message = from_json(signal, body) if is_json else REQUESTS[signal].FromString(body)
            except Exception as error:
                self.answer(400, str(error).encode())
                return
            request = {"signal": signal, "protocol": "http/json" if is_json else "http/protobuf", "path": self.path}
            request |= {"size": len(raw), "headers": {key.lower(): value for key, value in self.headers.items()}}
            how = store.take(request, message)
            status = how.get("status", 200)
            answer = response(signal, how)
            text = json_format.MessageToJson(answer).encode() if is_json else answer.SerializeToString()
            said = echoed(request) if how.get("echo") else None
            wait = how.get("retry_after") if status != 200 else None
            self.answer(status, text if status == 200 else b"no", wait, said)

        def answer(self, status: int, body: bytes, retry_after: object = None, said: str | None = None) -> None:
            self.send_response(status, said)
            if retry_after is not None:
                self.send_header("Retry-After", str(retry_after))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words: object) -> None:
            pass

    return Handler


def echoed(request: dict[str, Any]) -> str:
    """Return what a careless or hostile receiver says: the credentials it got, and what a terminal obeys."""
    return f"\x1b[31m{request['headers'].get('authorization')}\x1b[0m \x9b2J unknown, x-key {request['headers'].get('x-key')}"


class WebServer(http.server.ThreadingHTTPServer):
    def handle_error(self, *words: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # whoever breaks off is a fault that a test has made
            super().handle_error(*words)


def servicer(base: Any, signal: str, store: Store) -> Any:
    class Service(base):
        def Export(self, request: Any, context: Any) -> Any:  # noqa: N802  # gRPC's name
            headers = dict(context.invocation_metadata())
            how = store.take({"signal": signal, "protocol": "grpc", "path": "", "headers": headers}, request)
            if how.get("status", 200) != 200:
                if "retry_after" in how:
                    context.set_trailing_metadata((("grpc-status-details-bin", retry_info(how)),))
                context.abort(CODES[how["status"]], echoed({"headers": headers}) if how.get("echo") else "not now")
            return response(signal, how)

    return Service()


def retry_info(how: dict[str, Any]) -> bytes:
    info = RetryInfo()
    info.retry_delay.FromMilliseconds(int(float(how["retry_after"]) * 1000))
    detail = AnyMessage()
    detail.Pack(info)
    return Status(code=CODES[how["status"]].value[0], details=[detail]).SerializeToString()


def serve(options: argparse.Namespace) -> None:
    store = Store(options.file)
    web = WebServer(("127.0.0.1", 0), http_handler(store))
    web.daemon_threads = True
    rpc = grpc.server(ThreadPoolExecutor(8), options=(("grpc.so_reuseport", 0),))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(
        servicer(trace_service_pb2_grpc.TraceServiceServicer, "traces", store), rpc
    )
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(
        servicer(metrics_service_pb2_grpc.MetricsServiceServicer, "metrics", store), rpc
    )
    logs_service_pb2_grpc.add_LogsServiceServicer_to_server(
        servicer(logs_service_pb2_grpc.LogsServiceServicer, "logs", store), rpc
    )
    if options.certificate:
        texts = [Path(path).read_bytes() for path in (options.key, options.certificate)]
        authority = Path(options.client_ca).read_bytes() if options.client_ca else None
        credentials = grpc.ssl_server_credentials([tuple(texts)], authority, options.client_ca is not None)
        grpc_port = rpc.add_secure_port("127.0.0.1:0", credentials)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.certificate, options.key)
        if options.client_ca:
            context.load_verify_locations(options.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        web.socket = context.wrap_socket(web.socket, server_side=True, do_handshake_on_connect=False)
    else:
        grpc_port = rpc.add_insecure_port("127.0.0.1:0")
    rpc.start()
    threading.Thread(target=web.serve_forever, daemon=True).start()
    print(json.dumps({"http": web.server_address[1], "grpc": grpc_port}), flush=True)
    store.listen()
    os._exit(0)


# --- the test's side -------------------------------------------------------------------------------------------------


class Receiver:
    """A running receiver.

    Attributes:
        http: its base URL, as is grpc.
        file: where it writes.
    """

    def __init__(self, file: Path, *options: str | Path) -> None:
        self.file = file
        self.process = subprocess.Popen(
            [sys.executable, __file__, str(file), *map(str, options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        assert self.process.stdout is not None
        ports = json.loads(self.process.stdout.readline())
        scheme = "https" if options else "http"
        self.http, self.grpc = (f"{scheme}://localhost:{ports[kind]}" for kind in ("http", "grpc"))

    def url(self, protocol: str) -> str:
        """Return the base URL for *protocol*."""
        return self.grpc if protocol == "grpc" else self.http

    def behave(self, **how: Any) -> None:
        """Behave otherwise from the next request on."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(how) + "\n")
        assert self.process.stdout.readline() == "ok\n"

    def write_to(self, file: Path) -> None:
        """Begin anew, with another file."""
        self.behave(file=str(file))
        self.file = file

    def close(self) -> None:
        """End the process."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        self.process.wait(10)

    def requests(self, signal: str | None = None, taken: bool = True) -> list[dict[str, Any]]:
        """Return what came, each with its decoded ``message``; only what was answered with success unless not *taken*."""
        found = []
        written = self.file.read_bytes() if self.file.exists() else b""
        for line in written[: written.rfind(b"\n") + 1].splitlines():  # the receiver may be in the middle of a line
            request = json.loads(line)
            if signal in (None, request["signal"]) and (not taken or request["status"] == 200):
                request["message"] = REQUESTS[request["signal"]].FromString(base64.b64decode(request.pop("body")))
                found.append(request)
        return found

    def spans(self) -> list[dict[str, Any]]:
        """Return the spans that were taken, flat, in the shape of the fixture ``spans_of``."""
        return [
            flat_span(span, scoped, group)
            for request in self.requests("traces")
            for group in request["message"].resource_spans
            for scoped in group.scope_spans
            for span in scoped.spans
        ]

    def points(self) -> list[dict[str, Any]]:
        """Return the metric points that were taken, flat, in the shape of the fixture ``metrics_of``."""
        return [
            flat_point(point, kind, metric, scoped, group)
            for request in self.requests("metrics")
            for group in request["message"].resource_metrics
            for scoped in group.scope_metrics
            for metric in scoped.metrics
            for kind in [metric.WhichOneof("data")]
            for point in getattr(metric, kind).data_points
        ]

    def wait_for(self, number: int, seconds: float = 20) -> list[dict[str, Any]]:
        """Wait until *number* spans have come, and return them."""
        end = time.monotonic() + seconds
        while len(found := self.spans()) < number and time.monotonic() < end:
            time.sleep(0.05)
        assert len(found) == number, f"{len(found)} spans came instead of {number}"
        return found


def value_of(item: Any) -> Any:
    kind = item.WhichOneof("value")
    if kind is None:
        return None
    value = getattr(item, kind)
    if kind == "array_value":
        return [value_of(each) for each in value.values]
    if kind == "kvlist_value":
        return attributes_of(value.values)
    return base64.b64encode(value).decode() if kind == "bytes_value" else value


def attributes_of(pairs: Any) -> dict[str, Any]:
    return {pair.key: value_of(pair.value) for pair in pairs}


def scope_of(scoped: Any) -> dict[str, Any]:
    return {"name": scoped.scope.name, "version": scoped.scope.version}


def flat_span(span: Any, scoped: Any, group: Any) -> dict[str, Any]:
    return {
        "name": span.name,
        "trace_id": span.trace_id.hex(),
        "span_id": span.span_id.hex(),
        "parent_id": span.parent_span_id.hex() or None,
        "start": span.start_time_unix_nano,
        "end": span.end_time_unix_nano,
        "attributes": attributes_of(span.attributes),
        "events": [
            {"name": event.name, "time": event.time_unix_nano, "attributes": attributes_of(event.attributes)}
            for event in span.events
        ],
        "links": [
            {
                "trace_id": link.trace_id.hex(),
                "span_id": link.span_id.hex(),
                "attributes": attributes_of(link.attributes),
            }
            for link in span.links
        ],
        "status": {"code": span.status.code, "message": span.status.message},
        "kind": span.kind,
        "flags": span.flags,
        "resource": attributes_of(group.resource.attributes),
        "scope": scope_of(scoped),
    }


def flat_point(point: Any, kind: str, metric: Any, scoped: Any, group: Any) -> dict[str, Any]:
    body = getattr(metric, kind)
    numbers: dict[str, Any] = {"startTimeUnixNano": point.start_time_unix_nano, "timeUnixNano": point.time_unix_nano}
    if point.flags:
        numbers["flags"] = point.flags
    if point.exemplars:  # as they stand in a line
        numbers["exemplars"] = [
            {
                "timeUnixNano": str(one.time_unix_nano),
                "asDouble": one.as_double,
                **({"traceId": one.trace_id.hex(), "spanId": one.span_id.hex()} if one.trace_id else {}),
            }
            for one in point.exemplars
        ]
    if kind in ("gauge", "sum"):
        numbers["value"] = getattr(point, point.WhichOneof("value") or "as_int")
    else:
        numbers |= {key: getattr(point, key) for key in ("count", "sum", "min", "max")}
    if kind == "exponential_histogram":
        numbers |= {"scale": point.scale, "zeroCount": point.zero_count}
        for side in ("positive", "negative"):
            buckets = getattr(point, side)
            if buckets.bucket_counts:
                numbers[side] = {"offset": buckets.offset, "bucketCounts": list(buckets.bucket_counts)}
    return {
        "metric": metric.name,
        "unit": metric.unit,
        "type": "exponentialHistogram" if kind == "exponential_histogram" else kind,
        "temporality": getattr(body, "aggregation_temporality", 0),
        "monotonic": getattr(body, "is_monotonic", False),
        "attributes": attributes_of(point.attributes),
        "point": numbers,
        "resource": attributes_of(group.resource.attributes),
        "scope": scope_of(scoped),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    parser.add_argument("--client-ca")
    serve(parser.parse_args())
