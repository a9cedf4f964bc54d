"""What starting costs: ``import otel_perf; otel_perf.init()`` beside the full OpenTelemetry set-up.

Every start is a fresh ``python -I -S``, so that no .pth file of the environment has loaded what a start would have to
load; the process measures its own statement, hence "above a bare interpreter", and leaves by os._exit.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import measure
from .table import Goal, Row

if TYPE_CHECKING:
    from collections.abc import Callable

GROUP = "Start"
GOAL = Goal(ratio=1 / 30, stretch=1 / 50)
OURS = "import otel_perf; otel_perf.init()"
FULL = """
from opentelemetry import metrics, trace
from opentelemetry._logs import set_logger_provider
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.system_metrics import SystemMetricsInstrumentor
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
tracers = TracerProvider()
tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(tracers)
metrics.set_meter_provider(MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())]))
loggers = LoggerProvider()
loggers.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
set_logger_provider(loggers)
SystemMetricsInstrumentor().instrument()
"""
SUBJECTS = {
    "ours": OURS,
    "OTel full": FULL,
    "OTel API": "import opentelemetry.trace",
    "psutil": "import psutil",
}
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
before, loaded, cpu, begun = memory(), set(sys.modules), process_time(), perf_counter()
{code}
took, grown, new = perf_counter() - begun, memory() - before, [name for name in sys.modules if name not in loaded]
sleep({wait})
answer = {{"took": took, "memory": grown, "modules": new, "cpu": process_time() - cpu, "later": list(sys.modules)}}
json = __import__("json")
os.write(1, json.dumps(answer).encode())
os._exit(0)
"""
NEVER_LOADED = ("opentelemetry", "psutil", "google.protobuf", "grpc")


def probe(code: str, folder: Path, options: list[str], wait: float = 0.0) -> dict[str, Any]:
    """Run *code* in a bare interpreter; return what it took, and what is loaded *wait* seconds after it."""
    # site-packages first, though ours may lie elsewhere: an installed package is searched there, too
    script = PROBE.format(path=[measure.SITE_PACKAGES, measure.source()], code=code, wait=wait)
    done = measure.run([sys.executable, "-I", "-S", *options, "-c", script], folder)
    if done.returncode:
        raise RuntimeError(f"a start failed:\n{code}\n{done.stderr[-2000:]}")
    return dict(json.loads(done.stdout))


def rows(quick: bool) -> list[Row]:
    """Measure the starts with and without .pyc files, then what one second of life costs."""
    rounds = 5 if quick else 25
    found = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        warm = ["-X", f"pycache_prefix={folder / 'warm'}"]
        cold = ["-B", "-X", f"pycache_prefix={folder / 'none'}"]  # -I ignores PYTHONDONTWRITEBYTECODE
        for code in SUBJECTS.values():
            probe(code, folder, warm, 0.5)  # writes the .pyc files; the wait is for what the worker loads
        for label, options in (("with .pyc", warm), ("without .pyc", cold)):
            found += _starts(label, folder, options, rounds)
        found += _second(folder, warm, 3 if quick else 9)
    return found


def _starts(label: str, folder: Path, options: list[str], rounds: int) -> list[Row]:
    subjects: dict[str, Callable[[], Any]] = {
        name: lambda code=code: probe(code, folder, options) for name, code in SUBJECTS.items()
    }
    results = measure.interleaved(subjects, rounds, f"start, {label}")
    took = {name: measure.median([one["took"] for one in several]) for name, several in results.items()}
    grown = {name: measure.median([one["memory"] for one in several]) for name, several in results.items()}
    quickest = {name: min(one["took"] for one in several) for name, several in results.items()}
    ours, full = took["ours"], took["OTel full"]
    modules = results["ours"][0]["modules"]
    found = [
        Row(GROUP, f"import and init(), {label}", ours, "s", full, "OTel full", GOAL),
        Row(GROUP, f"the same, fastest of {rounds}", quickest["ours"], "s", quickest["OTel full"], "OTel full", GOAL),
        Row(GROUP, f"beside the API alone, {label}", ours, "s", took["OTel API"], "import opentelemetry.trace"),
        Row(GROUP, f"beside psutil alone, {label}", ours, "s", took["psutil"], "import psutil"),
    ]
    if label == "with .pyc":
        found.append(Row(GROUP, "resident memory", grown["ours"], "B", grown["OTel full"], "OTel full"))
        note = ", ".join(f"`{name}`" for name in modules)
        found.append(Row(GROUP, "modules loaded by init()", len(modules), "", note=note))
    return found


def _second(folder: Path, options: list[str], rounds: int) -> list[Row]:
    """Measure the CPU of a process until one second after its start, and look at what its worker has loaded."""
    subjects: dict[str, Callable[[], Any]] = {
        name: lambda code=SUBJECTS[name]: probe(code, folder, options, 1.0) for name in ("ours", "OTel full")
    }
    results = measure.interleaved(subjects, rounds, "the second after init()")
    cpu = {name: measure.median([one["cpu"] for one in several]) for name, several in results.items()}
    later = results["ours"][0]["later"]
    heavy = [name for name in later if name.startswith(NEVER_LOADED)]
    return [
        Row(GROUP, "CPU until one second later, all threads", cpu["ours"], "s", cpu["OTel full"], "OTel full"),
        Row(
            GROUP,
            "modules of OpenTelemetry, psutil, protobuf by then",
            len(heavy),
            "",
            goal=Goal(at_most=0),
            note=", ".join(heavy),
        ),
    ]
