"""What it costs to send spans to a live collector, beside the SDK's BatchSpanProcessor with the same exporter.

The collector is the one of tests/stack (``make backends``). Ours and the peer are programs that record the same spans,
each in a process of its own: `child` is what they run.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import measure
from .table import Goal, Row

if TYPE_CHECKING:
    from collections.abc import Callable

GROUP = "Sending"
PEER = "BatchSpanProcessor, the same exporter"
STACK = measure.ROOT / "tests" / "stack"
MANY = 100_000
LOOP = 50_000  # spans that are sent beside an event loop
BESIDE = 20_000  # spans that are sent beside a busy thread
REST = 2_000  # spans that are left when the program ends
RATE = 500  # spans a second
WINDOW = 4.2  # seconds; a little more than two looks of the follower
LAP = 20_000  # additions, about a millisecond: how exactly a thread knows what it has computed


def rows(quick: bool) -> list[Row]:
    """Measure against the collector; nothing where it is not built."""
    programs = measure.module("backends_build", STACK / "backends" / "build.py").find("collector")
    if programs is None:
        print("bench: the group send needs the collector: make backends", file=sys.stderr)
        return []
    with tempfile.TemporaryDirectory() as name:
        there = measure.module("stack_conftest", STACK / "conftest.py").Collector(
            programs / "otelcol-perf", Path(name) / "there"
        )
        try:
            return _rows(there, Path(name), quick)
        finally:
            there.end()
            measure.progress("")


def _rows(there: Any, folder: Path, quick: bool) -> list[Row]:
    found = []
    for protocol in ("http/protobuf", "grpc"):
        asked = {who: _Asked(who, protocol, there.url(protocol), folder, there.count) for who in ("ours", "peer")}
        ours, peer = asked["ours"](MANY, "deliver"), asked["peer"](MANY, "deliver")
        what = f"{MANY:,} spans until the collector has them, {protocol}"
        found.append(Row(GROUP, what, ours[0], "s", peer[0], PEER, Goal(at_most=10.0)))
        found.append(Row(GROUP, "CPU of each, recorded, sent, exporters loaded", ours[1], "s", peer[1], PEER))
        found += _ends(asked, protocol, 1 if quick else 5)
        ours, peer = asked["ours"](LOOP, "loop"), asked["peer"](LOOP, "loop")
        what = f"event loop while {LOOP:,} are sent, 99th percentile of its lag, {protocol}"
        note = f"median {ours[0] * 1e3:.2f} ms, largest {ours[2] * 1e3:.1f} ms (peer {peer[2] * 1e3:.1f} ms)"
        found.append(Row(GROUP, what, ours[1], "s", peer[1], PEER, Goal(at_most=0.005), note))
    found += _troubles(folder)
    found += _busy(there, folder, 1 if quick else 3)
    return found


def _ends(asked: dict[str, _Asked], protocol: str, rounds: int) -> list[Row]:
    found = []
    for rest in (0, REST):
        subjects = {who: lambda one=one, rest=rest: one(rest, "end") for who, one in asked.items()}
        took = measure.interleaved(subjects, rounds, f"send: exit, {protocol}")
        ours, peer = (measure.median([one[0] for one in took[who]]) for who in ("ours", "peer"))
        what = f"exit with {rest:,} spans to send, {protocol}" if rest else f"exit with nothing to send, {protocol}"
        note = f"median of {rounds}; the longest {max(one[0] for one in took['ours']) * 1e3:.0f} ms"
        found.append(Row(GROUP, what, ours, "s", peer, PEER, Goal(at_most=0.2), note))
    return found


def _troubles(folder: Path) -> list[Row]:
    found = []
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the system connects, and nobody ever answers
        urls = {"dead": "http://127.0.0.1:9", "silent": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        for name, url in urls.items():
            took, _ = _Asked("ours", "http/protobuf", url, folder)(REST, "end")
            found.append(Row(GROUP, f"exit, collector is {name}", took, "s", goal=Goal(at_most=2.0)))
    return found


def _busy(there: Any, folder: Path, rounds: int) -> list[Row]:
    url = there.url("http/protobuf")
    asked = {who: _Asked(who, "http/protobuf", url, folder, there.count) for who in ("ours", "peer")}
    found = []
    for number, what in ((BESIDE, "beside"), (RATE, "steady")):
        subjects = {who: lambda one=one, number=number, what=what: one(number, what) for who, one in asked.items()}
        took = measure.interleaved(subjects, rounds, f"send: {what}")
        ours, peer = ([measure.median(each) for each in zip(*took[who], strict=True)] for who in ("ours", "peer"))
        if what == "beside":
            row = f"busy thread while {number:,} spans are sent: slower by", 0.25
            note = f"which took {ours[1]:.1f} s, the peer {peer[1]:.1f} s"
        else:
            row = f"busy thread beside {number} spans a second: slower by", 0.02
            note = f"of it {ours[1]:.2%} the CPU of recording them, of the peer's {peer[1]:.2%}"
        found.append(Row(GROUP, row[0], ours[0], "%", peer[0], PEER, Goal(at_most=row[1]), note))
    return found


class _Asked:
    """Runs `child` in a process, and looks whether all that it sent is in the collector."""

    def __init__(self, who: str, protocol: str, url: str, folder: Path, count: Callable[[], int] | None = None) -> None:
        self.who = who
        self.protocol = protocol
        self.url = url
        self.folder = folder
        self.count = count

    def __call__(self, number: int, what: str) -> list[float]:
        measure.progress(f"send: {what}, {self.protocol}, {self.who}")
        before = self.count() if self.count else 0
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url, "OTEL_EXPORTER_OTLP_PROTOCOL": self.protocol}
        if what == "end":
            variables["OTEL_BSP_SCHEDULE_DELAY"] = "300"  # milliseconds; it only makes the beginning shorter
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            code = f"from bench import send; send.child({self.who!r}, {number}, {what!r})"
            *figures, sent = measure.ask(code, Path(name), **variables)
        if self.count and min(sent, got := self.count() - before) < number:
            raise RuntimeError(f"{self.who}, {what}: {sent} of {number} spans were sent, {got} are in the collector")
        return figures


# --- the programs ----------------------------------------------------------------------------------------------------


class Ours:
    """A program that otel-perf records and sends."""

    def __init__(self) -> None:
        import otel_perf as perf

        perf.init(service="bench", folder="runs")
        self.work = perf.profile("work", span_threshold=0)(lambda: None)
        self.ready, self.end = perf.ready, perf.shutdown

    def sent(self) -> int:
        """Return how many spans were sent and answered for."""
        try:
            (kept,) = Path("runs").glob("*/*/sent.json")
            return int(json.loads(kept.read_text())["files"]["traces.jsonl"]["sent"])
        except (OSError, ValueError):
            return 0


class Peer:
    """The same program with the SDK: a queue that holds everything, else the defaults."""

    def __init__(self) -> None:
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        if os.environ["OTEL_EXPORTER_OTLP_PROTOCOL"] == "grpc":
            from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        else:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # type: ignore[assignment]
        self.count = 0
        outer = self

        class Counted(OTLPSpanExporter):
            def export(self, spans: Any) -> Any:
                done = super().export(spans)
                outer.count += len(spans)
                return done

        provider = TracerProvider()
        provider.add_span_processor(BatchSpanProcessor(Counted(), max_queue_size=2 * MANY))
        self.tracer = provider.get_tracer("bench")
        self.end = provider.shutdown

    def ready(self) -> None:
        """Nothing is waited for."""

    def work(self) -> None:
        """Record a span with what one of ours carries."""
        attributes = {
            "otel_perf.depth": 0,
            "otel_perf.self_time": 6.11e-07,
            "otel_perf.kind": "function",
            "code.function.name": "bench.send.work",
            "code.file.path": __file__,
            "code.line.number": 5,
        }
        with self.tracer.start_as_current_span("work", attributes=attributes):
            pass

    def sent(self) -> int:
        """Return how many spans were sent and answered for."""
        return self.count


def child(who: str, number: int, what: str) -> None:
    """Run one program; print its figures, and how many spans were sent at the least."""
    subject = Ours() if who == "ours" else Peer()
    figures = CHILDREN[what](subject, number)
    subject.end()
    print(json.dumps([*figures, subject.sent()]))


def _deliver(subject: Any, number: int) -> list[float]:
    """Record spans; return the seconds until all are sent, and the CPU seconds of one."""
    subject.ready()
    begun = time.perf_counter()
    for _ in range(number):
        subject.work()
    _until_sent(subject, number)
    return [time.perf_counter() - begun, time.process_time() / number]


def _end(subject: Any, number: int) -> list[float]:
    """Return the seconds that the end takes when *number* spans are left to send."""
    subject.ready()
    for _ in range(20):
        subject.work()
    _until_sent(subject, 20, 3.0)
    for _ in range(number):
        subject.work()
    begun = time.perf_counter()
    subject.end()
    return [time.perf_counter() - begun, 0.0]


def _loop(subject: Any, number: int) -> list[float]:
    """Return median, 99th percentile and maximum of the lag of an event loop while spans are sent."""
    late = []

    async def tick() -> None:
        subject.ready()
        for _ in range(number):
            subject.work()
        now = look = time.perf_counter()
        while now < look + 0.25 or subject.sent() < number:
            look = now if now >= look + 0.25 else look
            await asyncio.sleep(0.001)
            late.append(time.perf_counter() - now - 0.001)
            now = time.perf_counter()

    asyncio.run(tick())
    return [measure.median(late), measure.percentile(late, 0.99), max(late)]


def _beside(subject: Any, number: int) -> list[float]:
    """Return by which share a busy thread is slower while spans are sent, and how long that took."""
    subject.ready()
    for _ in range(number):
        subject.work()
    with Busy() as busy:
        begun = time.perf_counter()
        _until_sent(subject, number)
        took = time.perf_counter() - begun
        meanwhile = busy.slower()
        time.sleep(2.0)
        return [meanwhile - busy.slower(), took]


def _steady(subject: Any, number: int) -> list[float]:
    """Return by which share a busy thread is slower beside *number* spans a second, and of it the CPU of recording."""
    subject.ready()
    subject.work()
    _until_sent(subject, 1)
    slower, used = [], []
    with Busy() as busy:
        for spans in (0, number // 10):
            time.sleep(0.5)
            busy.slower()
            begun, cpu = time.perf_counter(), time.thread_time()
            while time.perf_counter() < begun + WINDOW:
                for _ in range(spans):
                    subject.work()
                time.sleep(0.1)
            used.append((time.thread_time() - cpu) / WINDOW)
            slower.append(busy.slower())
    return [slower[1] - slower[0], used[1] - used[0]]


class Busy:
    """A thread that computes without a pause."""

    def __enter__(self) -> Busy:
        self.over = False
        self.cpu = 0.0
        self.since = (0.0, 0.0, 0.0)
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        self.slower()
        return self

    def __exit__(self, *exception: object) -> None:
        self.over = True
        self.thread.join()

    def run(self) -> None:
        while not self.over:
            number = 0
            for one in range(LAP):
                number += one
            self.cpu = time.thread_time()

    def slower(self) -> float:
        """Return which share its waiting for the interpreter was of its computing, since the last call.

        That is how much longer it took for the same. Waiting for a CPU does not count: other processes have it.
        """
        queued = 0.0
        if sys.platform == "linux":
            queued = int(Path(f"/proc/self/task/{self.thread.native_id}/schedstat").read_text().split()[1]) / 1e9
        now = (time.perf_counter(), self.cpu, queued)
        wall, cpu, queued = (one - other for one, other in zip(now, self.since, strict=True))
        self.since = now
        return max(0.0, wall - cpu - queued) / cpu if cpu else 0.0


def _until_sent(subject: Any, number: int, limit: float = 120.0) -> None:
    """Wait until *number* spans are sent, or *limit* seconds: a dead collector never takes them."""
    end = time.perf_counter() + limit
    while subject.sent() < number and time.perf_counter() < end:
        time.sleep(0.05)


CHILDREN = {"deliver": _deliver, "end": _end, "loop": _loop, "beside": _beside, "steady": _steady}
