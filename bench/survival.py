"""Which of 1000 finished spans survive the end of the process, and whether a million in bursts all arrive."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from . import measure, writer
from .table import Goal, Row

GROUP = "Survival"
SPANS = 1000
BURST = 50_000
ENDS = {
    "SIGKILL": "os.kill(os.getpid(), signal.SIGKILL)",
    "SIGTERM": "os.kill(os.getpid(), signal.SIGTERM)",
    "os._exit": "os._exit(0)",
    "execv": "os.execv(sys.executable, [sys.executable, '-c', 'pass'])",
}
OURS = f"""
import os, signal, sys, time, otel_perf as perf
perf.init()
perf.ready()
work = perf.profile("work", span_threshold=0)(lambda: None)
for _ in range({SPANS}): work()
time.sleep(0.5)
"""
# Default settings of the SDK's batch processor; the exporter writes each span's name at once, as ours would be a file.
PEER = f"""
import os, signal, sys, time
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
provider = TracerProvider()
file = open("spans.txt", "w")
exporter = ConsoleSpanExporter(out=file, formatter=lambda span: span.name + chr(10))
provider.add_span_processor(BatchSpanProcessor(exporter))
tracer = provider.get_tracer("bench")
for _ in range({SPANS}):
    with tracer.start_as_current_span("work"): pass
time.sleep(0.5)
"""
MILLION = """
import json, resource, time
import otel_perf as perf
perf.init()
perf.ready()
work = perf.profile("work", span_threshold=0)(lambda: None)
took = []
for _ in range({bursts}):
    begun = time.perf_counter()
    for _ in range({burst}): work()
    took.append((time.perf_counter() - begun) / {burst})
    time.sleep(0.5)
perf.shutdown()
print(json.dumps([sorted(took)[len(took) // 2], min(took), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]))
"""


def rows(quick: bool) -> list[Row]:
    """Kill processes of ours and of the peer's; then write a million spans."""
    found = []
    for end, code in ENDS.items():
        measure.progress(f"survival: {end}")
        kept, peer = _kept(OURS + code), _peer_kept(PEER + code)
        goal = Goal(at_least=SPANS)
        found.append(Row(GROUP, f"kept of {SPANS}, {end} 0.5 s later", kept, "", peer, "SDK, batch to a file", goal))
    measure.progress("survival: bursts")
    found += _bursts(4 if quick else 20)
    measure.progress("")
    return found


def _kept(code: str) -> int:
    with tempfile.TemporaryDirectory() as name:
        measure.run([sys.executable, "-c", code], Path(name), measure.environment(PYTHONPATH=measure.source()))
        return sum(_count(file) for file in Path(name).glob(".otel-perf/*/*/traces*.jsonl"))


def _peer_kept(code: str) -> int:
    with tempfile.TemporaryDirectory() as name:
        measure.run([sys.executable, "-c", code], Path(name))
        return (Path(name) / "spans.txt").read_text().count("work\n")


def _count(file: Path) -> int:
    with file.open("rb") as lines:  # whole lines only: a torn one is no span
        return sum(line.count(b'"name":"work"') for line in lines if line.endswith(b"\n"))


def _bursts(bursts: int) -> list[Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        median, fastest, peak = measure.ask(MILLION.format(bursts=bursts, burst=BURST), folder)
        kept = sum(_count(file) for file in folder.glob(".otel-perf/*/*/traces*.jsonl"))
        size = writer.size_of(folder) / max(1, kept)
    scale = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes there, in KiB elsewhere
    total = bursts * BURST
    return [
        Row(GROUP, f"kept of {total:,} in {bursts} bursts", kept, "", goal=Goal(at_least=total)),
        Row(GROUP, "each call of them, median burst", median, "s", note=f"fastest burst {fastest * 1e6:.2f} µs"),
        Row(GROUP, "on disk, each span", size, "B"),
        Row(GROUP, "peak resident memory", peak * scale, "B"),
    ]
