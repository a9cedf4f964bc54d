"""What a program costs that does nothing but be sampled once a second, beside the OpenTelemetry instrumentation.

Each program runs alone, in a bare interpreter as in start.py, and sleeps; its CPU time is that of all its threads. The
peer reads as often and exports to nothing: what ours writes to the run folder is part of our figure.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from . import measure
from .table import Goal, Row

GROUP = "Idle"
GOAL = Goal(at_most=0.0006)
MEMORY_GOAL = Goal(at_most=3 * 2**20)
PEER = "system-metrics at 1 s"
OURS = "import otel_perf; otel_perf.init(folder='runs'); otel_perf.ready()"
THEIRS = """
from opentelemetry import metrics
from opentelemetry.instrumentation.system_metrics import SystemMetricsInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, PeriodicExportingMetricReader
class Nowhere(MetricExporter):
    def export(self, metrics_data, timeout_millis=10_000, **more): return MetricExportResult.SUCCESS
    def force_flush(self, timeout_millis=10_000): return True
    def shutdown(self, timeout_millis=30_000, **more): pass
reader = PeriodicExportingMetricReader(Nowhere(), export_interval_millis=1000)
metrics.set_meter_provider(MeterProvider([reader]))
SystemMetricsInstrumentor().instrument()
"""
WAKES_UP = """
from _thread import allocate_lock, start_new_thread
lock = allocate_lock(); lock.acquire()
def wait():
    while True: lock.acquire(True, 1.0)
start_new_thread(wait, ())
"""
GIBIBYTE = "held = bytearray(b'1') * 2**30"  # every page of it is touched
SUBJECTS = {  # what is held, and what runs beside it
    "ours": ("", OURS),
    "peer": ("", THEIRS),
    "ours, 1 GiB": (GIBIBYTE, OURS),
    "peer, 1 GiB": (GIBIBYTE, THEIRS),
    "wakes up": ("", WAKES_UP),
}
SETTLES = 5.0  # seconds until everything is loaded
PROBE = """
import sys, os
from time import perf_counter, process_time, sleep
sys.path += {path}
def memory():
    try:
        with open("/proc/self/statm", "rb", buffering=0) as file:
            return int(file.read(64).split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
def written():
    return sum(os.stat(os.path.join(top, name)).st_size for top, _, names in os.walk("runs/") for name in names)
{held}
before = memory()
{code}
sleep({settles})
bytes_before, cpu, begun = written(), process_time(), perf_counter()
sleep({seconds})
cpu, took = process_time() - cpu, perf_counter() - begun
answer = {{"share": cpu / took, "memory": memory() - before, "bytes": (written() - bytes_before) / took}}
os.write(1, __import__("json").dumps(answer).encode())
os._exit(0)
"""


def rows(quick: bool) -> list[Row]:
    """Measure each program in turn; the shares are medians of the rounds."""
    rounds, seconds = (1, 10.0) if quick else (3, 30.0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for held, code in SUBJECTS.values():
            if not held:
                _probe("", code, folder, 1.0, 1.0)  # writes the .pyc files
        subjects: dict[str, Any] = {
            name: lambda held=held, code=code: _probe(held, code, folder, SETTLES, seconds)
            for name, (held, code) in SUBJECTS.items()
        }
        found = measure.interleaved(subjects, rounds, "idle")
    share = {name: measure.median([one["share"] for one in several]) for name, several in found.items()}
    grown = {name: measure.median([one["memory"] for one in several]) for name, several in found.items()}
    volume = measure.median([one["bytes"] for one in found["ours"]])
    each = f"a thread that only wakes up once a second: {share['wakes up']:.3%}"
    exact = f"ours {share['ours']:.4%}, {share['ours, 1 GiB']:.4%} beside 1 GiB; {each}"
    day = f"{volume * 86_400 / 1e6:.0f} MB a day"
    return [
        Row(GROUP, "CPU of an idle program, of one core", share["ours"], "%", share["peer"], PEER, GOAL, exact),
        Row(GROUP, "the same with 1 GiB in use", share["ours, 1 GiB"], "%", share["peer, 1 GiB"], PEER, GOAL),
        Row(GROUP, "own memory, imports included", grown["ours"], "B", grown["peer"], PEER, MEMORY_GOAL),
        Row(GROUP, "written a second", volume, "B", note=day),
    ]


def _probe(held: str, code: str, folder: Path, settles: float, seconds: float) -> dict[str, Any]:
    path = [measure.SITE_PACKAGES, measure.source()]
    script = PROBE.format(path=path, held=held, code=code, settles=settles, seconds=seconds)
    cached = f"pycache_prefix={folder / 'warm'}"
    done = measure.run([sys.executable, "-I", "-S", "-X", cached, "-c", script], folder)
    if done.returncode:
        raise RuntimeError(f"an idle program failed:\n{code}\n{done.stderr[-2000:]}")
    return dict(json.loads(done.stdout))
