"""What it costs to write finished spans, beside the SDK's way to protobuf."""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from . import measure
from .table import Goal, Row

GROUP = "Writer"
SPANS = 1000


def rows(quick: bool) -> list[Row]:
    """Measure in a process of its own; its OpenTelemetry SDK only encodes."""
    switches = {f"OTEL_PERF_{name}": "0" for name in ("CONTEXT", "TRACER", "PROVIDER", "IMPORTS")}
    measure.progress("writer: batches of 1000 spans")
    with tempfile.TemporaryDirectory() as name:
        found = measure.ask(f"from bench import writer; writer.child({5 if quick else 25})", Path(name), **switches)
    measure.progress("")
    note = f"median of {found['batches']} batches {found['median'] * 1e3:.2f} ms; {found['bytes']:.0f} bytes a span"
    return [
        Row(
            GROUP,
            f"{SPANS} finished spans of {found['attributes']} attributes until on disk, CPU",
            found["disk"],
            "s",
            found["encode"],
            "encode_spans() to protobuf bytes, not yet sent",
            Goal(at_most=0.002),
            note,
        )
    ]


def child(batches: int) -> None:
    """Print the CPU seconds of both."""
    import otel_perf as perf

    perf.init(folder="runs")
    perf.ready()

    @perf.profile(span_threshold=0)
    def work() -> None:
        pass

    costs = [_batch(work) for _ in range(batches + 1)][1:]  # the first also loads what writes
    file = next(Path("runs").glob("*/*/traces.jsonl"))
    lines = file.read_text().splitlines()
    decoded = [span for line in lines for span in _spans(json.loads(line)) if span["name"].endswith("work")][-SPANS:]
    encode = min(_encode(_readable(decoded)) for _ in range(batches))
    print(
        json.dumps(
            {
                "disk": min(costs),
                "median": measure.median(costs),
                "batches": batches,
                "encode": encode,
                "attributes": len(decoded[0]["attributes"]),
                "bytes": file.stat().st_size / (SPANS * (batches + 1)),
            }
        )
    )


def _spans(line: Any) -> list[Any]:
    return [span for r in line["resourceSpans"] for scope in r["scopeSpans"] for span in scope["spans"]]


def _batch(work: Any) -> float:
    """Finish SPANS spans and return the CPU that every other thread has used when all of them are on disk."""
    for _ in range(SPANS):
        work()
    whole, here = time.process_time(), time.thread_time()
    time.sleep(0.2 + 0.3)  # the writer waits 0.2 s for more
    return (time.process_time() - whole) - (time.thread_time() - here)


def _readable(decoded: list[Any]) -> list[Any]:
    """Return the same spans as the SDK's."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import SpanContext, TraceFlags

    resource, scope = Resource.create(), InstrumentationScope("otel_perf", "0")
    made = []
    for span in decoded:
        context = SpanContext(int(span["traceId"], 16), int(span["spanId"], 16), False, TraceFlags(1))
        values = {pair["key"]: next(iter(pair["value"].values())) for pair in span["attributes"]}
        times = {"start_time": int(span["startTimeUnixNano"]), "end_time": int(span["endTimeUnixNano"])}
        made.append(
            ReadableSpan(
                span["name"], context, attributes=values, resource=resource, instrumentation_scope=scope, **times
            )
        )
    return made


def _encode(spans: list[Any]) -> float:
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

    begun = time.thread_time()
    encode_spans(spans).SerializeToString()
    return time.thread_time() - begun


def size_of(folder: Path) -> int:
    """Return the bytes of all trace files below *folder*."""
    return sum(os.stat(file).st_size for file in folder.glob(".otel-perf/*/*/traces*.jsonl"))
