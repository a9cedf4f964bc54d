"""OTLP as 200 processes would send it, at 5,000 spans a second: ``python load.py URL``; it ends by itself.

Bodies are encoded first, then sent by the clock over a few connections that stay open. What the collector does not take
now (429, 503) is sent again, as the programs do. Prints a JSON object with what was sent, and how fast.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
from urllib.parse import urlsplit

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

PROCESSES = 200
SERIES = 60  # of each process
EVERY = 2.0  # seconds between two exports of a process, with a point for each second
SPANS = 500  # in a trace
TRACES_A_SECOND = 10
SECONDS = 20
AGAIN = 0.2  # seconds

Job = tuple[float, str, bytes]  # when, path, body


def traces(begin_ns: int) -> list[Job]:
    jobs = []
    for number in range(TRACES_A_SECOND * SECONDS):
        request = ExportTraceServiceRequest()
        group = request.resource_spans.add()
        attribute(group.resource, "service.name", "load")
        attribute(group.resource, "service.instance.id", f"process-{number % PROCESSES}")
        spans = group.scope_spans.add().spans
        trace_id = trace_of(number)
        for index in range(SPANS):
            span = spans.add(name=f"function_{index % 50}", kind=1)
            span.trace_id = bytes.fromhex(trace_id)
            span.span_id = (number * SPANS + index + 1).to_bytes(8, "big")
            if index:
                span.parent_span_id = (number * SPANS + (index - 1) // 4 + 1).to_bytes(8, "big")
            span.start_time_unix_nano = begin_ns + index * 1000
            span.end_time_unix_nano = begin_ns + 10**9 - index * 1000
            attribute(span, "code.function.name", f"shop.orders.function_{index % 50}")
            attribute(span, "otel_perf.kind", "function")
        jobs.append((number / TRACES_A_SECOND, "/v1/traces", request.SerializeToString()))
    return jobs


def metrics(begin_ns: int) -> list[Job]:
    jobs = []
    for process in range(PROCESSES):
        for export in range(int(SECONDS / EVERY)):
            request = ExportMetricsServiceRequest()
            group = request.resource_metrics.add()
            attribute(group.resource, "service.name", "load")
            attribute(group.resource, "service.instance.id", f"process-{process}")
            gauge = group.scope_metrics.add().metrics.add(name="load.value").gauge
            for series in range(SERIES):
                for second in range(int(EVERY)):
                    at = begin_ns + int((export * EVERY + second) * 1e9)
                    point = gauge.data_points.add(time_unix_nano=at, as_double=process + export * EVERY + second)
                    attribute(point, "series", str(series))
            at = export * EVERY + EVERY * process / PROCESSES
            jobs.append((at, "/v1/metrics", request.SerializeToString()))
    return sorted(jobs, key=lambda job: job[0])


def trace_of(number: int) -> str:
    """Return the id of a trace."""
    return f"{0xA0000000 + number:032x}"


def attribute(of, key: str, value: str) -> None:
    of.attributes.add(key=key).value.string_value = value


def send(url: str, jobs: list[Job], begun: float, found: dict[str, float]) -> None:
    """Send jobs when they are due; one that is late is sent at once."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    for due, path, body in jobs:
        time.sleep(max(0.0, begun + due - time.monotonic()))
        while True:
            connection.request("POST", path, body, {"Content-Type": "application/x-protobuf"})
            answer = connection.getresponse()
            answer.read()
            if answer.status == 200:
                break
            if answer.status not in (429, 503):
                found["refused"] += 1
                break
            found["again"] += 1
            time.sleep(AGAIN)
        found["lateness"] = max(found["lateness"], time.monotonic() - begun - due)
    connection.close()


def main() -> None:
    url = sys.argv[1]
    now = time.time_ns()
    spans, points = traces(now), metrics(now - SECONDS * 10**9)
    queues = [spans, *(points[number::4] for number in range(4))]
    found = [{"again": 0.0, "refused": 0.0, "lateness": 0.0} for _ in queues]
    begun = time.monotonic()
    threads = [threading.Thread(target=send, args=(url, jobs, begun, f)) for jobs, f in zip(queues, found, strict=True)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    taken = time.monotonic() - begun
    numbers = {"spans": len(spans) * SPANS, "points": len(points) * SERIES * int(EVERY), "seconds": taken}
    kept = {key: sum(f[key] for f in found) for key in ("again", "refused")}
    print(json.dumps({**numbers, **kept, "lateness": max(f["lateness"] for f in found)}))


if __name__ == "__main__":
    main()
