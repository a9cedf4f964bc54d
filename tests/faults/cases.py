"""Faults in real programs, defined once: the tests assert what comes of them, bench/reliability.py makes a table of it.

A program here is a real process. What it leaves is read with the official protobuf messages and plain ``json``, never
with the package's own decoder.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from opentelemetry.proto.logs.v1.logs_pb2 import LogsData
from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

SRC = str(Path(__file__).resolve().parents[2] / "src")
SPANS = 1000
PROTOCOLS = ("http/protobuf", "grpc")
DEAD = "http://127.0.0.1:9"  # nobody listens there
MESSAGES = {"traces": TracesData, "metrics": MetricsData, "logs": LogsData}
IDS = ("traceId", "spanId", "parentSpanId")

HEAD = """
import os, signal, sys, time
import otel_perf as perf
perf.init(service="faults")

@perf.profile(span_threshold=0)
def step():
    pass

def told():  # a fault follows: the parent measures how long the end takes
    os.write(1, b"%.6f\\n" % time.monotonic())
"""
MEMORY = """
import resource
with open("/proc/self/statm") as file:
    size = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
resource.setrlimit(resource.RLIMIT_AS, (size + 2**21, resource.RLIM_INFINITY))
kept = []
told()
while True:
    kept.append({what})
"""
# How a process ends after crashing(), and its exit status.
CRASHES = {
    "SIGKILL": ("told(); os.kill(os.getpid(), signal.SIGKILL)", -9),
    "os._exit": ("told(); os._exit(5)", 5),
    "SIGTERM, no handler": (
        "signal.signal(signal.SIGTERM, signal.SIG_DFL); told(); os.kill(os.getpid(), signal.SIGTERM); time.sleep(9)",
        -15,
    ),
    "SIGTERM": ("told(); os.kill(os.getpid(), signal.SIGTERM); time.sleep(9)", -15),
    "execv": ("told(); os.execv(sys.executable, [sys.executable, '-I', '-S', '-c', 'raise SystemExit(6)'])", 6),
    "segmentation fault": ("import ctypes; told(); ctypes.string_at(0)", -11),
    "abort": ("told(); os.abort()", -6),
    "MemoryError, large pieces": (MEMORY.format(what="bytearray(2**20)"), 1),
    "MemoryError, small pieces": (MEMORY.format(what="[len(kept)]"), 1),
}

DEATH = f"""{HEAD}
with perf.phase("CoreInit"):
    step()
with perf.phase("Plugins"):
    import dies
"""
# How a process dies while it imports dies.py in the phase Plugins, in its second line.
DIES = "import os, signal, time\ntime.sleep(1.8); {how}\n"
DEATHS = {
    "SIGKILL": ("os.kill(os.getpid(), signal.SIGKILL)", -9),
    "os._exit": ("os._exit(5)", 5),
    "segmentation fault": ("import ctypes; ctypes.string_at(0)", -11),
    "SIGTERM": ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(9)", -15),
    "MemoryError": ("raise MemoryError", 1),
}

EXIT = f"""{HEAD}
with perf.phase("CoreInit"):
    for _ in range(100):
        step()
perf.ready()
if "exporters loaded" in sys.argv:
    time.sleep(2.5)
    for _ in range(100):
        step()
told()
"""
# What the collector is like: a kind of door.Door, or the status that it refuses with, to come again in 30 s.
COLLECTORS = ("live", "dead", "silent", "deaf", "slow", "429", "503")
STAGES = ("at once", "exporters loaded")

# A lap of a loop: how long it took beyond its pause, without the time in which other processes had the CPU.
LAPS = """
def queued():  # seconds that this thread has waited for a CPU
    try:
        return int(os.pread(queue, 100, 0).split()[1]) / 1e9
    except (NameError, OSError):
        return 0.0
try:
    queue = os.open("/proc/self/schedstat", os.O_RDONLY)
except OSError:  # not Linux
    pass
longest, begun = 0.0, time.monotonic()
last = begun - queued()
def lap(pause):
    global longest, last
    time.sleep(pause)
    now = time.monotonic() - queued()
    longest, last = max(longest, now - last - pause), now
"""
# Records until its standard input ends, ten spans a lap; says how many, and how long a lap took at most.
LOOP = f"""{HEAD}
import select
perf.ready()
# setup
{LAPS}
number, pause = 0, float(sys.argv[1])
while not select.select([0], [], [], 0)[0]:
    for _ in range(10):
        step()
    number += 10
    lap(pause)
os.write(1, b"%d %.6f\\n" % (number, longest))
told()
"""
LIMIT_OF_FILES = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, resource.RLIM_INFINITY))"
LIMITED = LOOP.replace("# setup", LIMIT_OF_FILES)

# A program on a small disk of its own, which only it sees; what is left there is copied.
DISK = """
mkdir disk && mount -t tmpfs -o {options} none disk && cd disk && "$@"
code=$?
cp -r .otel-perf ..
exit $code
"""


def crashing(seconds: float = 1.5) -> str:
    """Return a program that records 1000 spans and goes on for so long: what is promised is half a second.

    Tests take three times that, which a busy machine needs; bench/reliability.py takes what is promised.
    """
    return f"""{HEAD}
with perf.phase("CoreInit"):
    for _ in range({SPANS}):
        step()
perf.ready()
time.sleep({seconds})
"""


class Ended:
    """A process that has ended.

    Attributes:
        code: its exit status.
        words: what it wrote to stdout, without the moment of told().
        errors: what it wrote to stderr.
        seconds: from told() to its end.
    """

    def __init__(self, process: subprocess.Popen[str], timeout: float = 60) -> None:
        output, self.errors = process.communicate(timeout=timeout)
        ended = time.monotonic()
        self.code = process.returncode
        *self.words, told = output.split() or [""]
        self.seconds = ended - float(told) if told else 0.0


def slowdown() -> float:
    """Return how many times longer a process computes here than it needs, because others compute: 1.0 where none does.

    A limit on a wait needs no such allowance; what is computed before and after it does.
    """
    begun, used = time.perf_counter(), time.thread_time()
    while (passed := time.thread_time() - used) < 0.05:
        continue
    return max(1.0, (time.perf_counter() - begun) / passed)


def environment(**more: str) -> dict[str, str]:
    """Return this process's environment without what changes Python, OpenTelemetry or us, and with *more*."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "OTEL_"))}
    return {**kept, "PYTHONPATH": SRC, **more}


def sending(url: str, protocol: str = "http/protobuf") -> dict[str, str]:
    """Return the variables that have records sent to *url*."""
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}


def start(program: str, folder: Path, *words: str, before: list[str] | None = None, **more: str) -> Any:
    """Start *program* in *folder*, behind the words *before*; its standard input is a pipe."""
    return subprocess.Popen(
        [*(before or []), sys.executable, "-c", program, *words],
        cwd=folder,
        env=environment(**more),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(program: str, folder: Path, *words: str, **more: Any) -> Ended:
    """Run *program* in *folder* to its end."""
    return Ended(start(program, folder, *words, **more))


def command(folder: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run ``otel-perf`` in *folder*."""
    return subprocess.run(
        [sys.executable, "-m", "otel_perf", *words],
        cwd=folder,
        env=environment(**more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def replay(folder: Path, url: str, protocol: str = "http/protobuf") -> subprocess.CompletedProcess[str]:
    """Send all that is left below *folder* to *url*."""
    return command(folder, "replay", ".otel-perf", "--endpoint", url, "--protocol", protocol)


class Left:
    """What is in the run folders below a folder.

    Attributes:
        spans: their ids and names, in the order of the files.
        damaged: lines that are no OTLP.
        dropped: records that its processes say were dropped, None where they say nothing.
        removed: records that made room for others once nobody waited for them.
    """

    def __init__(self, folder: Path, official: bool = False) -> None:
        """Read *folder*; *official*: the protobuf messages have to take every line, too."""
        self.spans: list[tuple[str, str]] = []
        self.damaged = 0
        counts: dict[tuple[str, Path], int] = {}
        files = sorted(folder.glob(".otel-perf/*/*/*.jsonl"), key=lambda file: (file.parent, begin_of(file)))
        for file in files:
            for line in file.read_bytes().splitlines(keepends=True):
                try:
                    data = json.loads(line if line.endswith(b"\n") else b"")
                except ValueError:
                    self.damaged += line != b"\n"
                    continue
                if official:
                    as_protobuf(data, file.name.partition(".")[0])
                self.spans += [(span["spanId"], span["name"]) for span in parts_of(data, "Spans", "spans")]
                for metric in parts_of(data, "Metrics", "metrics"):
                    for point in metric.get("sum", {}).get("dataPoints", ()):
                        counts[metric["name"], file.parent] = int(point.get("asInt", 0))
        self.dropped = _sum(counts, "otel_perf.self.dropped")
        self.removed = _sum(counts, "otel_perf.self.removed") or 0

    def ids(self, name: str = "step") -> list[str]:
        """Return the ids of the spans of this name, in the order of the files."""
        return [one for one, called in self.spans if called == name]


def begin_of(file: Path) -> tuple[str, float]:
    """Return the signal of a file, and the offset at which this part of it begins: the last part has no number."""
    signal, *begin = file.name.removesuffix(".jsonl").split(".")
    return signal, float(begin[0]) if begin else float("inf")


def as_protobuf(data: dict[str, Any], signal: str) -> Any:
    """Return a line as the official message; ids are hex in OTLP/JSON, and base64 in protobuf's own JSON."""

    def convert(item: Any) -> Any:
        if isinstance(item, list):
            return [convert(each) for each in item]
        if not isinstance(item, dict):
            return item
        return {
            key: base64.b64encode(bytes.fromhex(value)).decode() if key in IDS else convert(value)
            for key, value in item.items()
        }

    return json_format.ParseDict(convert(data), MESSAGES[signal]())


def parts_of(data: dict[str, Any], of: str, name: str) -> list[dict[str, Any]]:
    """Return the spans (*of* Spans), or the metrics, of a line."""
    return [part for group in data.get(f"resource{of}", ()) for scoped in group[f"scope{of}"] for part in scoped[name]]


def received(there: Any, name: str = "step") -> list[str]:
    """Return the ids of the spans of this name that a receiver took, in the order in which they came."""
    return [span["span_id"] for span in there.spans() if span["name"] == name]


def _sum(counts: dict[tuple[str, Path], int], name: str) -> int | None:
    found = [value for (metric, _), value in counts.items() if metric == name]
    return sum(found) if found else None
