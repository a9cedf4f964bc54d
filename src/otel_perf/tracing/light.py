"""A light tracer: spans of the plain OpenTelemetry API are recorded before, and without, any SDK.

Patches the property ``opentelemetry.trace.ProxyTracer._tracer``: where the original answers with the no-op tracer, ours
is given instead. It serves tracers that were fetched before us, and as soon as the application sets a provider the
original wins. The global provider is never set: it can be set once, and that is the application's right. The switch is
OTEL_PERF_TRACER=0.
"""

from __future__ import annotations

import os
from types import SimpleNamespace
from weakref import WeakValueDictionary

import opentelemetry.trace as api
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace import Span as ApiSpan
from opentelemetry.trace import Tracer as ApiTracer

from otel_perf.clock import now, unix_ns, wall_ns
from otel_perf.recorder import (
    CURRENT,
    MUTED,
    SPAN,
    Trace,
    cover,
    describe,
    emit,
    new_span_id,
    new_trace_id,
    state,
    take_origin,
)

from .bridge import SAMPLED, LazySpan, remember, trace_for
from .limits import COUNTS, Attributes, bounded, exception_fields, nanoseconds, put, put_all, status_of, text

try:
    from opentelemetry.util._decorator import _agnosticcontextmanager as contextmanager
except ImportError:  # before 1.22
    from contextlib import contextmanager  # type: ignore[assignment]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType
    from typing import Any


UNSET = Status(StatusCode.UNSET)
_open: WeakValueDictionary[int, LightSpan] = WeakValueDictionary()  # spans that have not ended, by span id


class Event:
    """One event of a span."""

    __slots__ = ("attributes", "name", "timestamp")

    def __init__(self, name: str, attributes: Any, timestamp: int) -> None:
        self.name = name
        self.attributes = attributes
        self.timestamp = timestamp

    @property
    def dropped_attributes(self) -> int:
        """Number of attributes over the limit."""
        return int(self.attributes.dropped)


class LightSpan(ApiSpan):
    """A recorded span; it has what people read of the SDK's ReadableSpan: name, context, parent, times, attributes."""

    is_light = True

    def __init__(
        self,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        trace: Trace,
        depth: int,
        kind: SpanKind,
        scope: Any,
        start_time: int | None,
        on_exception: tuple[bool, bool],
        inside: Any,
    ) -> None:
        self.name = name
        self.context = context
        self.parent = parent
        self.depth = depth
        self.kind = kind
        self.instrumentation_scope = self.instrumentation_info = scope
        self.attributes = Attributes()
        self.events: list[Event] = []
        self.links: list[Any] = []
        self.dropped_events = 0
        self.dropped_links = 0
        self.status = UNSET
        self.end_time: int | None = None
        self._trace = trace
        self._inside = inside
        self._on_exception = on_exception
        self._unended = [True]
        self._begun = now()
        self.start_time = nanoseconds(start_time, unix_ns(self._begun, trace.offset))
        _open[context.span_id] = self

    @property
    def dropped_attributes(self) -> int:
        """Number of attributes over the limit."""
        return self.attributes.dropped

    def get_span_context(self) -> SpanContext:
        """Return the span's ids."""
        return self.context

    def is_recording(self) -> bool:
        """Return whether the span has not ended."""
        return self.end_time is None

    def set_attributes(self, attributes: Any) -> None:
        """Set attributes."""
        if self.end_time is None:
            put_all(self.attributes, "span", attributes)

    def set_attribute(self, key: str, value: Any) -> None:
        """Set one attribute."""
        if self.end_time is None:
            put(self.attributes, "span", key, value)

    def add_event(self, name: str, attributes: Any = None, timestamp: int | None = None) -> None:
        """Add an event; over the limit the oldest goes."""
        if self.end_time is not None:
            return
        self.events.append(Event(text(name), bounded("event", attributes), nanoseconds(timestamp, wall_ns())))
        if len(self.events) > COUNTS["events"]:
            del self.events[0]
            self.dropped_events += 1

    def add_link(self, context: SpanContext, attributes: Any = None) -> None:
        """Add a link to another span; over the limit the oldest goes."""
        if self.end_time is not None or not isinstance(context, SpanContext):
            return
        kept = bounded("link", attributes)
        if not context.is_valid and not context.trace_state and not kept:
            return
        self.links.append(api.Link(context, kept))  # type: ignore[arg-type]  # a dict of what the API has cleaned
        if len(self.links) > COUNTS["links"]:
            del self.links[0]
            self.dropped_links += 1

    def update_name(self, name: str) -> None:
        """Set another name."""
        if self.end_time is None:
            self.name = text(name)

    def set_status(self, status: Any, description: str | None = None) -> None:
        """Set the status; once it is OK it stays, and it is never unset."""
        if self.end_time is None:
            self.status = status_of(self.status.status_code.value, status, description) or self.status

    def record_exception(
        self,
        exception: BaseException,
        attributes: Any = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """Add the event of an exception."""
        if self.end_time is None:
            fields = bounded("event", exception_fields(exception, escaped))
            put_all(fields, "event", attributes)
            self.add_event("exception", fields, timestamp)

    def end(self, end_time: int | None = None) -> None:
        """End the span and record it; only the first call counts."""
        try:
            self._unended.pop()  # of two threads one gets it
        except IndexError:
            return
        _open.pop(self.context.span_id, None)
        ended = now()
        # The monotonic clock keeps a child inside its parent; a time that was given is on the caller's clock.
        self.end_time = nanoseconds(end_time, unix_ns(ended, self._trace.offset))
        inside, self._inside = self._inside, None
        if inside is not None:
            cover(inside, self._begun, ended)
        if state.recording:
            emit(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and self.end_time is None:
            record_exception, set_status = self._on_exception
            fields = exception_fields(error, escaped=True)
            if record_exception:
                self.add_event("exception", fields)
            if set_status:
                self.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}: {fields['exception.message']}"))
        self.end()

    def __repr__(self) -> str:
        return f'LightSpan(name="{self.name}", context={self.context})'


class LightTracer(ApiTracer):
    """Starts light spans of one instrumentation scope."""

    def __init__(self, scope: Any) -> None:
        self._scope = scope

    def start_span(
        self,
        name: str,
        context: Any = None,
        kind: Any = SpanKind.INTERNAL,
        attributes: Any = None,
        links: Sequence[Any] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> ApiSpan:
        """Start a span below the current one of *context*; none where our own code works."""
        if CURRENT.get() is MUTED:
            return api.INVALID_SPAN
        current = api.get_current_span(context)
        parent: Any = current.get_span_context()
        inside = origin = None
        if not isinstance(parent, SpanContext) or not parent.is_valid:
            parent, depth = None, 0
            trace_id = new_trace_id()
            trace = Trace(trace_id, state.on_root(trace_id, name))
            remember(trace, trace.sampled)
            origin = take_origin() if trace.sampled else None
        elif type(current) is LightSpan:
            trace, depth = current._trace, current.depth + 1
        else:
            trace, depth = trace_for(parent), 1
            if type(current) is LazySpan:
                inside = current.frame
                depth += inside[SPAN].depth if inside[SPAN] is not None else 0
        flags = TraceFlags(trace.flags | SAMPLED if trace.sampled else trace.flags)
        own = SpanContext(
            trace.id,
            new_span_id(),
            is_remote=False,
            trace_flags=flags,
            trace_state=parent.trace_state if parent is not None else None,
        )
        if not trace.sampled:
            return NonRecordingSpan(own)
        span = LightSpan(
            text(name),
            own,
            parent,
            trace,
            depth,
            kind if isinstance(kind, SpanKind) else SpanKind.INTERNAL,
            self._scope,
            start_time,
            (record_exception, set_status_on_exception),
            inside,
        )
        if attributes is not None:
            span.set_attributes(attributes)
        if origin is not None:
            span.add_link(SpanContext(origin[0].id, origin[1], is_remote=True, trace_flags=TraceFlags(SAMPLED)))
        try:
            for link in links or ():
                span.add_link(link.context, link.attributes)
        except Exception:  # noqa: BLE001  # no links: the no-op tracer takes anything
            state.dropped += 1
        return span

    @contextmanager
    def start_as_current_span(
        self,
        name: str,
        context: Any = None,
        kind: Any = SpanKind.INTERNAL,
        attributes: Any = None,
        links: Sequence[Any] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
        end_on_exit: bool = True,
    ) -> Iterator[ApiSpan]:
        """Start a span and make it current."""
        span = self.start_span(
            name, context, kind, attributes, links, start_time, record_exception, set_status_on_exception
        )
        with api.use_span(
            span, end_on_exit=end_on_exit, record_exception=record_exception, set_status_on_exception=False
        ) as current:
            try:
                yield current
            except Exception as error:  # use_span() asks for its message, and what that raises would be in its place
                if set_status_on_exception and span.is_recording():
                    message = (describe(error) or ("", ""))[1]
                    span.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}: {message}"))
                raise


def close_open(interrupted: bool) -> None:
    """End every span that is still open, for the process ends: what is inside them keeps its parent."""
    for span in list(_open.values()):
        span.set_attribute("otel_perf.open", True)
        if interrupted:
            span.set_attribute("otel_perf.interrupted", True)
        span.end()


def _after_fork() -> None:
    """Leave the spans that are open to the parent process: a child that ends one records nothing."""
    for span in list(_open.values()):
        span._unended.clear()
    _open.clear()


def install() -> None:
    """Give proxy tracers a tracer of ours as long as the application has no provider.

    Raises:
        RuntimeError: this version of the API has no such property; everything is as before.
    """
    original = api.ProxyTracer.__dict__.get("_tracer")
    if not isinstance(original, property) or original.fget is None:
        raise RuntimeError("opentelemetry.trace.ProxyTracer has no property _tracer")
    fget = original.fget

    def _tracer(self: Any) -> Any:
        found = fget(self)
        if found is not self.__dict__.get("_noop_tracer") or not state.recording:  # of a provider, be it a no-op
            return found
        mine = self.__dict__.get("_otel_perf_tracer")
        if mine is None:
            mine = self.__dict__["_otel_perf_tracer"] = LightTracer(_scope_of(self))
        return mine

    api.ProxyTracer._tracer = property(_tracer)  # type: ignore[assignment, method-assign]
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_after_fork)
    probe = api.ProxyTracer("otel_perf", "")
    if api._TRACER_PROVIDER is None and state.recording and not isinstance(probe._tracer, LightTracer):
        api.ProxyTracer._tracer = original  # type: ignore[assignment, method-assign]
        raise RuntimeError("opentelemetry.trace.ProxyTracer does not read its property _tracer")


def _scope_of(proxy: Any) -> Any:
    """Return the instrumentation scope that a proxy tracer was made for."""
    return SimpleNamespace(
        name=getattr(proxy, "_instrumenting_module_name", "") or "",
        version=getattr(proxy, "_instrumenting_library_version", None),
        schema_url=getattr(proxy, "_schema_url", None),
        attributes=getattr(proxy, "_attributes", None),
    )
