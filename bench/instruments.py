"""What one measurement of the application costs, beside the OpenTelemetry SDK's instruments in the same process."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import measure
from .table import Goal, Row

if TYPE_CHECKING:
    from collections.abc import Callable

GROUP = "Instruments"
SMALL = "{'kind': 'web'}"
LARGER = "{'kind': 'web', 'method': 'GET', 'code': 200}"
FIFTH = Goal(ratio=1 / 5, stretch=1 / 15)
ROWS = {  # what: ours, the SDK's, what that is called, the goal
    "counter.add(1)": ("ours.add(1)", "theirs.add(1)", "SDK counter", FIFTH),
    "counter.add(1), one attribute": (f"ours.add(1, {SMALL})", f"theirs.add(1, {SMALL})", "SDK counter", FIFTH),
    "counter.add(1), three attributes": (f"ours.add(1, {LARGER})", f"theirs.add(1, {LARGER})", "SDK counter", FIFTH),
    "perf.counter(name).add(1)": ("perf.counter('ours').add(1)", "theirs.add(1)", "SDK counter, kept", FIFTH),
    "gauge.set(3)": ("level.set(3)", "their_level.set(3)", "SDK gauge", FIFTH),
    "timer.record(0.1)": ("timed.record(0.1)", "spread.record(0.1)", "SDK exponential histogram", FIFTH),
    "with timer": ("with timed: pass", "begun = clock(); spread.record(clock() - begun)", "by hand", Goal()),
    "decorated function": ("wrapped()", "begun = clock(); bare(); spread.record(clock() - begun)", "by hand", Goal()),
}
BEYOND = "counter.add(1), attributes beyond the 2,000 series"
USERS = 20_000


def rows(quick: bool) -> list[Row]:
    """Measure in a process of its own, whose OpenTelemetry SDK is stock."""
    switches = {f"OTEL_PERF_{name}": "0" for name in ("CONTEXT", "TRACER", "PROVIDER", "IMPORTS")}
    measure.progress("instruments: bursts")
    with tempfile.TemporaryDirectory() as name:
        code = f"from bench import instruments; instruments.child({300 if quick else 3000})"
        found = measure.ask(code, Path(name), **switches)
    measure.progress("")
    result = [
        Row(GROUP, what, found[ours] - found["pass"], "s", found[theirs] - found["pass"], peer, goal)
        for what, (ours, theirs, peer, goal) in ROWS.items()
    ]
    return [*result, Row(GROUP, BEYOND, found["beyond"], "s", found["beyond theirs"], "SDK counter, the same", Goal())]


def child(rounds: int) -> None:
    """Print the fastest time of each statement, less its loop."""
    import time

    from opentelemetry.sdk.metrics import Histogram, MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View

    import otel_perf as perf

    perf.init()
    perf.ready()
    exponential = View(instrument_type=Histogram, aggregation=ExponentialBucketHistogramAggregation())
    meter = MeterProvider([InMemoryMetricReader()], views=[exponential]).get_meter("bench")

    def function() -> None:
        pass

    def bare() -> None:
        pass

    names: dict[str, Any] = {
        "perf": perf,
        "ours": perf.counter("ours"),
        "level": perf.gauge("level"),
        "timed": perf.timer("timed"),
        "wrapped": perf.timer("decorated")(function),
        "bare": bare,
        "theirs": meter.create_counter("theirs"),
        "their_level": meter.create_gauge("level"),
        "spread": meter.create_histogram("spread"),
        "clock": time.perf_counter,
    }
    statements = {statement for ours, theirs, *_ in ROWS.values() for statement in (ours, theirs)} | {"pass"}
    bursts = {statement: measure.burst(statement, 50, names) for statement in sorted(statements)}
    found = measure.fastest(bursts, rounds)
    found["beyond"] = _each(perf.counter("users").add)
    found["beyond theirs"] = _each(meter.create_counter("users").add)
    print(json.dumps(found))


def _each(add: Callable[[int, dict[str, Any]], None]) -> float:
    """Return the seconds of one *add* for a user that was never there before, once there are too many."""
    import time

    for user in range(2_100):
        add(1, {"user": user})
    begun = time.perf_counter()
    for user in range(10_000, 10_000 + USERS):
        add(1, {"user": user})
    return (time.perf_counter() - begun) / USERS
