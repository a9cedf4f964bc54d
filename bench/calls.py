"""What one profiled call costs, beside a span of the OpenTelemetry SDK in the same process."""

from __future__ import annotations

import functools
import json
import random
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import measure
from .table import Goal, Row

if TYPE_CHECKING:
    from collections.abc import Callable

GROUP = "Call"
ITEMS = 100
LOOP = 2_000
SPAN = "SDK span"
KINDS = {  # what: the bare twin, the goal
    "function": ("bare function", Goal(ratio=1 / 30, stretch=1 / 60)),
    "function with three arguments": ("bare arguments", Goal()),
    "functools.partial, generic wrapper": ("bare partial", Goal(ratio=1 / 22)),
    "async function": ("bare async", Goal(ratio=1 / 20)),
    "with-block": ("bare loop", Goal()),
    "generator, each item": ("bare generator", Goal()),
    "function that becomes a span": ("bare function", Goal()),
}
LONG = {
    "long loop": f"function, median of loops of {LOOP:,}",
    "long varied": "the same, durations spread by a factor of 500",
}


def rows(quick: bool) -> list[Row]:
    """Measure the calls in a process of their own, whose OpenTelemetry SDK is stock."""
    switches = {f"OTEL_PERF_{name}": "0" for name in ("CONTEXT", "TRACER", "PROVIDER", "IMPORTS")}
    measure.progress("call: bursts")
    with tempfile.TemporaryDirectory() as name:
        code = f"from bench import calls; calls.child({300 if quick else 3000})"
        found = measure.ask(code, Path(name), **switches)
    measure.progress("")
    span = found[SPAN] - found["bare function"]
    result = [
        Row(GROUP, what, found[what] - found[bare], "s", span, f"{SPAN}, no-op exporter", goal)
        for what, (bare, goal) in KINDS.items()
    ]
    span = found["long spans"] - found["long bare"]
    for what, bare in (("long loop", "long bare"), ("long varied", "long bare varied")):
        result.append(Row(GROUP, LONG[what], found[what] - found[bare], "s", span, f"{SPAN}, the same way"))
    return result


def child(rounds: int) -> None:
    """Print the fastest time of each kind of call."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    import otel_perf as perf

    class Nowhere(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Nowhere()))
    perf.init()
    perf.ready()
    tracer = provider.get_tracer("bench")
    found = measure.fastest(bursts(perf, tracer), rounds)
    several = measure.interleaved(loops(perf, tracer), max(9, rounds // 40), "call: loops")
    print(json.dumps(found | {name: measure.median(times) for name, times in several.items()}))


def bursts(perf: Any, tracer: Any) -> dict[str, Callable[[], float]]:
    """Return the bursts of all kinds of call; each has functions of its own, as each is specialised to its caller."""

    def empty() -> None:
        pass

    def other() -> None:
        pass

    def third() -> None:
        pass

    def fourth() -> None:
        pass

    def fifth() -> None:
        pass

    def add(first: int, second: int, third: int = 0) -> int:
        return first

    def bare_add(first: int, second: int, third: int = 0) -> int:
        return first

    async def wait() -> None:
        pass

    async def bare_wait() -> None:
        pass

    def items() -> Any:
        for _ in range(ITEMS):
            yield None

    def bare_items() -> Any:
        for _ in range(ITEMS):
            yield None

    names = {
        "exact": perf.profile(empty),
        "generic": perf.profile(functools.partial(other)),  # a partial has no signature that a wrapper could take over
        "bare_partial": functools.partial(fifth),
        "traced": perf.profile("traced", span_threshold=0)(third),
        "bare": fourth,
        "add": perf.profile(add),
        "bare_add": bare_add,
        "wait": perf.profile(wait),
        "bare_wait": bare_wait,
        "items": perf.profile(items),
        "bare_items": bare_items,
        "block": perf.profile("block"),
        "tracer": tracer,
    }
    each = {name: measure.burst(f"for _ in {name}(): pass", 1, names) for name in ("items", "bare_items")}
    return {
        "bare function": measure.burst("bare()", 100, names),
        "bare partial": measure.burst("bare_partial()", 100, names),
        "bare arguments": measure.burst("bare_add(1, 2, third=3)", 100, names),
        "bare async": measure.burst("await bare_wait()", 100, names),
        "bare loop": measure.burst("pass", 100, names),
        "bare generator": lambda: each["bare_items"]() / ITEMS,
        "function": measure.burst("exact()", 100, names),
        "function with three arguments": measure.burst("add(1, 2, third=3)", 100, names),
        "functools.partial, generic wrapper": measure.burst("generic()", 100, names),
        "async function": measure.burst("await wait()", 100, names),
        "with-block": measure.burst("with block: pass", 100, names),
        "generator, each item": lambda: each["items"]() / ITEMS,
        "function that becomes a span": measure.burst("traced()", 10, names),
        SPAN: measure.burst('with tracer.start_as_current_span("call"): bare()', 20, names),
    }


def loops(perf: Any, tracer: Any) -> dict[str, Callable[[], float]]:
    """Return loops that are long enough to hold what the fastest burst leaves out: slow exits, exports, collections."""

    def empty() -> None:
        pass

    def bare() -> None:
        pass

    def spin(turns: int) -> None:
        for _ in range(turns):
            pass

    def bare_spin(turns: int) -> None:
        for _ in range(turns):
            pass

    chance = random.Random(1)
    names = {
        "profiled": perf.profile("long")(empty),
        "bare": bare,
        "spin": perf.profile(spin),
        "bare_spin": bare_spin,
        "turns": [int(2 ** chance.uniform(0, 9)) for _ in range(LOOP)],
        "tracer": tracer,
    }
    varied = {name: measure.burst(f"for n in turns: {name}(n)", 1, names) for name in ("spin", "bare_spin")}
    return {
        "long loop": measure.burst("profiled()", LOOP, names),
        "long bare": measure.burst("bare()", LOOP, names),
        "long spans": measure.burst('with tracer.start_as_current_span("call"): bare()', LOOP, names),
        "long varied": lambda: varied["spin"]() / LOOP,
        "long bare varied": lambda: varied["bare_spin"]() / LOOP,
    }
