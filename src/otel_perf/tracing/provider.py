"""A TracerProvider of the application's own: its spans reach our folder, our spans reach its processors, each once.

Its provider is never replaced. Its spans come to us through a span processor that we add; ours are rebuilt as the SDK's
ReadableSpan on the worker and given to its processors, with those of the start that had ended before it was set. Its
sampler is asked once for each trace that begins with us, or below a remote span. The switch is OTEL_PERF_PROVIDER=0.
"""

from __future__ import annotations

import atexit
import sys
from _thread import get_ident

import opentelemetry.trace as api
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from otel_perf import tracing
from otel_perf.export import places
from otel_perf.recorder import CURRENT, MUTED, SPAN, cover, emit, open_spans, state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

provider: Any = None
_sink: Any = None  # what hands ended spans to its processors
_asking: set[int] = set()  # threads that are in the application's sampler


def install() -> None:
    """Adopt the application's provider when it is set; at once if it is.

    Raises:
        AttributeError: this version of the API sets providers in another way; adopt_late() is left.
    """
    adopt_late()
    original = api._set_tracer_provider

    def _set_tracer_provider(*args: Any, **kwargs: Any) -> Any:
        try:
            return original(*args, **kwargs)
        finally:
            adopt_late()

    api._set_tracer_provider = _set_tracer_provider


def adopt_late() -> None:
    """Adopt the provider that is set now, if it is new to us."""
    found = getattr(api, "_TRACER_PROVIDER", None)
    if found is None or found is provider:
        return
    try:
        _adopt(found)
    except Exception:  # noqa: BLE001  # a provider that is not the SDK's may be anything
        state.dropped += 1


def _adopt(found: Any) -> None:
    global provider, _sink
    provider, _sink = found, None
    sdk = sys.modules.get("opentelemetry.sdk.trace")
    if sdk is None or not hasattr(found, "add_span_processor"):
        return

    class Processor(sdk.SpanProcessor):  # type: ignore[misc, name-defined]
        """Sends the application's finished spans to our folder, and ours on when it flushes or shuts down."""

        def on_end(self, span: Any) -> None:
            try:
                _take(span)
            except Exception:  # noqa: BLE001  # never into span.end()
                state.dropped += 1

        def force_flush(self, timeout_millis: int = 30000) -> bool:
            tracing.flush()
            return True

        def shutdown(self) -> None:
            global _sink
            tracing.flush()
            _sink = None  # it would complain of each span that comes later

    ours = Processor()
    found.add_span_processor(ours)
    _sink = getattr(found, "_active_span_processor", None)
    present = getattr(_sink, "_span_processors", None)
    if isinstance(present, tuple) and present[-1] is ours:  # first, so that the others get ours before they flush
        _sink._span_processors = (ours, *present[:-1])
    # The provider shuts down at exit. It registered that when it was made, so this comes before.
    atexit.register(_exit)
    sampler = getattr(found, "sampler", None)
    if sampler is not None:
        state.on_root = lambda trace_id, name: _ask(sampler, trace_id, name, None)
        state.on_parent = lambda trace_id, sampled: _ask(sampler, trace_id, "", sampled)


def _exit() -> None:
    if state.recording:
        tracing.end_start()


def _take(span: Any) -> None:
    """Queue a finished span of the application's."""
    if not state.recording or getattr(span, "_otel_perf", False) or not span.context.trace_flags & 1:
        return
    if places.destinations and any(places.is_ours("traces", processor) for processor in _processors()):
        span._otel_perf_sent = True  # not from our folder, too
    inside = open_spans.get(span.parent.span_id) if span.parent is not None else None
    above = inside[SPAN] if inside is not None else None
    if inside is not None and above is not None and above.trace is not None:
        offset = above.trace.offset
        cover(inside, (span.start_time - offset) / 1e9, (span.end_time - offset) / 1e9)
    emit(span)


def _ask(sampler: Any, trace_id: int, name: str, remote: bool | None) -> bool:
    """Ask the application's sampler whether to keep a trace; *remote* is the sampled flag of one begun elsewhere."""
    thread = get_ident()
    if thread in _asking:  # the sampler itself is recorded
        return False
    _asking.add(thread)
    here = CURRENT.get()
    CURRENT.set(MUTED)  # the frame that the answer is for must not be found by asking for the current span
    try:
        context = Context()
        if remote is not None:
            flags = TraceFlags(TraceFlags.SAMPLED if remote else TraceFlags.DEFAULT)
            context = api.set_span_in_context(NonRecordingSpan(SpanContext(trace_id, 1, True, flags)), context)
        return bool(sampler.should_sample(context, trace_id, name, SpanKind.INTERNAL).decision.is_sampled())
    except Exception:  # noqa: BLE001  # the application's sampler may do anything
        return remote is not False
    finally:
        CURRENT.set(here)
        _asking.discard(thread)


def takes() -> bool | None:
    """Say whether there are processors of the application's; None while no provider is set."""
    return None if provider is None else _sink is not None


def give(records: list[Any]) -> None:
    """Give our records to the application's processors, but to none that sends them where we do."""
    takers = [processor for processor in _processors() if not places.is_ours("traces", processor)]
    for record in records if takers else ():
        try:
            span = readable(record)
            for processor in takers:
                processor.on_end(span)
        except Exception:  # noqa: BLE001  # its processors may do anything
            state.dropped += 1


def _processors() -> list[Any]:
    """Return the application's processors, ours among them."""
    several = getattr(_sink, "_span_processors", None)
    return list(several) if isinstance(several, tuple) else [] if _sink is None else [_sink]


def readable(record: Any) -> Any:
    """Return one of our records as the SDK's ReadableSpan."""
    sdk = sys.modules["opentelemetry.sdk.trace"]
    if type(record) is tuple:
        span = _build(sdk, record[0].name, _fields(sdk, record), "otel_perf", None)
    else:
        fields = {
            "context": record.context,
            "parent": record.parent,
            "kind": record.kind,
            "status": record.status,
            "attributes": record.attributes,
            "events": [sdk.Event(e.name, attributes=e.attributes, timestamp=e.timestamp) for e in record.events],
            "links": record.links,
            "start_time": record.start_time,
            "end_time": record.end_time,
        }
        span = _build(sdk, record.name, fields, record.instrumentation_scope.name, record.instrumentation_scope.version)
    span._otel_perf = True
    return span


def _fields(sdk: Any, record: Any) -> dict[str, Any]:
    site, trace, span_id, parent_id, begin, end, self_time, depth, extra, error, link, events, status, remote = record
    flags = TraceFlags(TraceFlags.SAMPLED | trace.flags)
    attributes = {"otel_perf.kind": site.kind, "otel_perf.depth": depth}
    attributes["otel_perf.self_time"] = int(self_time * 1e9 + 0.5) / 1e9
    if site.function:
        attributes["code.function.name"] = site.function
    if site.file:
        attributes |= {"code.file.path": site.file, "code.line.number": site.line}
    attributes |= extra or {}
    ended = int(end * 1e9) + trace.offset
    found = [sdk.Event(name, attributes=fields, timestamp=time) for name, time, fields in events or ()]
    if error is not None:
        fields = {"exception.type": error[0], "exception.message": error[1]}
        found.append(sdk.Event("exception", attributes=fields, timestamp=ended))
        status = status or (2, ": ".join(error))
    links = [api.Link(SpanContext(link[0].id, link[1], is_remote=False, trace_flags=flags))] if link else []
    return {
        "context": SpanContext(trace.id, span_id, False, flags, trace.tracestate),
        "parent": SpanContext(trace.id, parent_id, remote, flags, trace.tracestate) if parent_id else None,
        "kind": SpanKind.INTERNAL,
        "attributes": attributes,
        "events": found,
        "links": links,
        "status": Status(StatusCode(status[0]), status[1] if status[0] == 2 else None) if status else Status(),
        "start_time": int(begin * 1e9) + trace.offset,
        "end_time": ended,
    }


def _build(sdk: Any, name: str, fields: dict[str, Any], scope: str, version: str | None) -> Any:
    from opentelemetry.sdk.util import instrumentation

    try:
        made = instrumentation.InstrumentationScope(scope, version)
        return sdk.ReadableSpan(name, resource=provider.resource, instrumentation_scope=made, **fields)
    except (AttributeError, TypeError):  # before 1.13
        info = instrumentation.InstrumentationInfo(scope, version)
        return sdk.ReadableSpan(name, resource=provider.resource, instrumentation_info=info, **fields)
