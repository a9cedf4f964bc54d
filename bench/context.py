"""What the OpenTelemetry API costs with us beside it: contexts, SDK spans, light spans."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import measure
from .table import Row

if TYPE_CHECKING:
    from collections.abc import Callable

GROUP = "OpenTelemetry API"
RECORDED = ('with {tracer}.start_as_current_span("call", attributes=fields): pass', 20)
PLAIN = ('with {tracer}.start_as_current_span("call"): pass', 20)


def rows(quick: bool) -> list[Row]:
    """Measure in a process of its own, which sets a provider half way."""
    measure.progress("context: bursts")
    with tempfile.TemporaryDirectory() as name:
        found = measure.ask(f"from bench import context; context.child({300 if quick else 3000})", Path(name))
    measure.progress("")
    without = "without otel-perf"
    return [
        Row(GROUP, "get_current()", found["get, ours"], "s", found["get, stock"], without),
        Row(GROUP, "get_current() in a phase", found["get in a phase"], "s", found["get, stock"], without),
        Row(GROUP, "attach() and detach()", found["attach, ours"], "s", found["attach, stock"], without),
        Row(GROUP, "SDK span, context joined", found["SDK, ours"], "s", found["SDK, stock"], without),
        Row(GROUP, "SDK span, also in our folder", found["SDK, adopted"], "s", found["SDK, stock"], without),
        Row(GROUP, "light span, no SDK loaded by the program", found["light"], "s", found["SDK, stock"], "SDK span"),
        Row(
            GROUP, "light span with 2 attributes", found["light, 2"], "s", found["SDK, 2"], "SDK span with 2 attributes"
        ),
    ]


def child(rounds: int) -> None:
    """Print the fastest times; the replaced and our own runtime context take turns in one process."""
    import opentelemetry.context as api
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    import otel_perf as perf

    class Nowhere(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    def provider() -> TracerProvider:
        made = TracerProvider()
        made.add_span_processor(BatchSpanProcessor(Nowhere()))
        return made

    perf.init()
    phase = perf.phase("CoreInit")
    ours = api._RUNTIME_CONTEXT  # type: ignore[attr-defined]
    stock = ours.replaced
    names = {
        "get": api.get_current,
        "attach": api.attach,
        "detach": api.detach,
        "some": api.set_value("key", 1),
        "fields": {"http.method": "GET", "size": 5},
        "sdk": provider().get_tracer("bench"),
        "light": trace.get_tracer("bench"),
    }

    def made(statement: str, count: int, runtime: Any, tracer: str = "") -> Callable[[], float]:
        one = measure.burst(statement.format(tracer=tracer), count, names)

        def within() -> float:
            api._RUNTIME_CONTEXT = runtime  # type: ignore[attr-defined]
            try:
                return one()
            finally:
                api._RUNTIME_CONTEXT = ours  # type: ignore[attr-defined]

        return within

    get, both = ("get()", 100), ("detach(attach(some))", 50)
    phased = made(*get, ours)

    def in_phase() -> float:
        with phase:
            return phased()

    found = measure.fastest({"get in a phase": in_phase}, rounds)
    perf.ready()
    kinds = {
        "get, stock": made(*get, stock),
        "get, ours": made(*get, ours),
        "attach, stock": made(*both, stock),
        "attach, ours": made(*both, ours),
        "SDK, stock": made(*PLAIN, stock, "sdk"),
        "SDK, ours": made(*PLAIN, ours, "sdk"),
        "SDK, 2": made(*RECORDED, stock, "sdk"),
        "light": made(*PLAIN, ours, "light"),
        "light, 2": made(*RECORDED, ours, "light"),
    }
    found |= measure.fastest(kinds, rounds)
    trace.set_tracer_provider(provider())
    names["adopted"] = trace.get_tracer("bench")
    adopted = {"SDK, adopted": made(*PLAIN, ours, "adopted"), "SDK, stock": kinds["SDK, stock"]}
    again = measure.fastest(adopted, rounds)
    found["SDK, adopted"] = again["SDK, adopted"]
    found["SDK, stock"] = min(found["SDK, stock"], again["SDK, stock"])
    print(json.dumps(found))
