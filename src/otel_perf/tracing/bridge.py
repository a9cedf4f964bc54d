"""The recorder's variable is the OpenTelemetry context.

Replaces ``opentelemetry.context._RUNTIME_CONTEXT``, which three functions of the API read at call time and nothing
else touches, by one whose state is the recorder's CURRENT. attach() pushes a foreign frame; get_current() answers,
inside one of our frames, with a context whose current span is that frame: a LazySpan, to which only get_span_context()
gives an id. The switch is OTEL_PERF_CONTEXT=0.
"""

from __future__ import annotations

import opentelemetry.context as api
from opentelemetry.context.context import Context, _RuntimeContext
from opentelemetry.trace import INVALID_SPAN_CONTEXT, Span, SpanContext, TraceFlags
from opentelemetry.trace.propagation import _SPAN_KEY

from otel_perf.clock import wall_ns
from otel_perf.recorder import (
    CHILDREN,
    CLOSED,
    CURRENT,
    LIMIT,
    NEVER,
    NODE,
    OWN,
    PARENT,
    ROOT,
    SPAN,
    SpanState,
    Trace,
    around,
    close,
    identify,
    leave_behind,
    live,
    name_of,
    stand_in,
    state,
    state_of,
)

from .limits import COUNTS, Attributes, bounded, exception_fields, nanoseconds, put, put_all, status_of, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextvars import Token
    from typing import Any

    from otel_perf.recorder import Frame

CONTEXT = OWN  # a foreign frame's further slot
FOREIGN = OWN + 1  # number of slots of a foreign frame
MAX_TRACES = 1024
SAMPLED = int(TraceFlags.SAMPLED)

_traces: dict[tuple[int, bool, bool], Trace] = {}  # by id, sampled flag, and whether the span is remote


def trace_for(span: SpanContext) -> Trace:
    """Return the trace of a span that is not ours: while it is in use the same object, with the same clock offset.

    A local span that is not sampled reaches no one, so nothing below it may; of a remote one the sampler decides.
    """
    sampled = bool(span.trace_flags & SAMPLED)
    trace = _traces.get((span.trace_id, sampled, span.is_remote))
    if trace is None:
        keep = state.on_parent(span.trace_id, sampled) if span.is_remote else sampled
        trace = Trace(span.trace_id, keep)
        trace.flags = int(span.trace_flags) & ~SAMPLED
        trace.tracestate = span.trace_state
        for other in ((True, False), (False, True), (True, True), (False, False)):
            known = _traces.get((span.trace_id, *other))
            if known is not None:
                trace.offset = known.offset
        remember(trace, sampled, span.is_remote)
    return trace


def remember(trace: Trace, sampled: bool, remote: bool = False) -> None:
    """Keep *trace* for spans of it that come back to us; the oldest go when there are many."""
    if len(_traces) >= MAX_TRACES:
        for key in list(_traces)[: MAX_TRACES // 2]:
            _traces.pop(key, None)
    _traces.setdefault((trace.id, sampled, remote), trace)


class LazySpan(Span):
    """A frame of ours as the OpenTelemetry API sees it.

    Attributes:
        frame: the frame, or what stands for it once it has ended.
        open: the frame has not ended.
    """

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self.open = True
        self._known: tuple[SpanState, SpanContext] | None = None

    def get_span_context(self) -> SpanContext:
        """Return the frame's ids, giving it some if it has none; once it has ended without, its nearest ancestor's."""
        known, frame = self._known, self.frame
        if known is not None and known[0] is frame[SPAN]:
            return known[1]
        span = identify(frame)
        if span is None or span.trace is None:
            return INVALID_SPAN_CONTEXT
        trace = span.trace
        answer = SpanContext(
            trace.id,
            span.span_id,
            is_remote=span.foreign and span.remote,
            trace_flags=TraceFlags(trace.flags | SAMPLED if trace.sampled else trace.flags),
            trace_state=trace.tracestate,
        )
        if span is frame[SPAN]:
            self._known = span, answer
            remember(trace, trace.sampled)
        return answer

    def is_recording(self) -> bool:
        """Return whether what is set here will be recorded."""
        span = self.frame[SPAN]
        if not (self.open and state.recording) or self.frame[CHILDREN] is CLOSED:
            return False
        return span is None or (not span.foreign and (span.trace is None or span.trace.sampled))

    def _state(self) -> SpanState | None:
        """Return the state of the frame while it is open: what is set on it makes it a span."""
        if not self.is_recording():
            return None
        span = identify(self.frame)
        if span is None or span is not self.frame[SPAN]:
            return None
        if span.extra is None:
            span.extra = Attributes()
        return span

    def set_attribute(self, key: str, value: Any) -> None:
        """Set one attribute."""
        span = self._state()
        if span is not None:
            put(span.extra, "span", key, value)

    def set_attributes(self, attributes: Any) -> None:
        """Set attributes."""
        span = self._state()
        if span is not None:
            put_all(span.extra, "span", attributes)

    def add_event(self, name: str, attributes: Any = None, timestamp: int | None = None) -> None:
        """Add an event."""
        span = self._state()
        if span is None:
            return
        if span.events is None:
            span.events = []
        span.events.append((text(name), nanoseconds(timestamp, wall_ns()), bounded("event", attributes)))
        if len(span.events) > COUNTS["events"]:
            del span.events[0]

    def add_link(self, context: SpanContext, attributes: Any = None) -> None:
        """Do nothing: a frame of ours links to nothing but the span that it continues."""

    def record_exception(
        self,
        exception: BaseException,
        attributes: Any = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """Add the event of an exception."""
        if self.is_recording():
            fields = bounded("event", exception_fields(exception, escaped))
            put_all(fields, "event", attributes)
            self.add_event("exception", fields, timestamp)

    def set_status(self, status: Any, description: str | None = None) -> None:
        """Set the status."""
        span = self._state()
        if span is not None:
            code, message = span.status or (0, "")
            new = status_of(code, status, description)
            span.status = (code, message) if new is None else (new.status_code.value, new.description or "")

    def update_name(self, name: str) -> None:
        """Do nothing: the name of a frame of ours is that of its statistics."""

    def end(self, end_time: int | None = None) -> None:
        """Do nothing: a frame of ours ends where its code does."""

    def __repr__(self) -> str:
        return f"LazySpan({name_of(self.frame)!r})"


NOBODY = LazySpan(ROOT)  # what a context without a span is derived from, on a thread where nothing is open


class RuntimeContext(_RuntimeContext):
    """The OpenTelemetry context, kept in the recorder's variable."""

    def __init__(self, replaced: _RuntimeContext) -> None:
        self.replaced = replaced

    def attach(self, context: Context) -> Token[Any]:
        """Make *context* current until its token is given to detach()."""
        below = CURRENT.get()
        span = SpanState()
        span.foreign = True
        path = below
        try:
            current = context.get(_SPAN_KEY)
            if type(current) is LazySpan:
                span.alias = current
                path = current.frame
            elif current is not None:
                answer = current.get_span_context()  # type: ignore[attr-defined]
                if isinstance(answer, SpanContext) and answer.is_valid:
                    span.trace = trace_for(answer)
                    span.span_id = answer.span_id
                    span.remote = answer.is_remote
                    if getattr(current, "is_light", False) is True:
                        span.depth = current.depth  # type: ignore[attr-defined]
            elif below is ROOT or (below[SPAN] is not None and below[SPAN].alias is NOBODY):
                span.alias = NOBODY
        except Exception:  # noqa: BLE001  # stock keeps whatever it is given
            state.dropped += 1
        path = around(path)
        if below is not ROOT:
            below[LIMIT] = NEVER  # if the context outlives it, the slow exit sees that
        # A context is complete: of the frames below it only ours still matter.
        frame = [path[CHILDREN], around(below), NEVER, 0.0, path[NODE], span, context]
        token = CURRENT.set(frame)
        span.token = id(token)
        return token

    def get_current(self) -> Context:
        """Return the current context."""
        frame = CURRENT.get()
        if len(frame) == FOREIGN:
            return frame[CONTEXT]  # type: ignore[no-any-return]
        span = frame[SPAN]
        if span is not None and span.context is not None:
            return span.context  # type: ignore[no-any-return]
        return self._context_of(frame)

    def _context_of(self, frame: Frame) -> Context:
        """Return the nearest context that was attached around *frame*, with the frame as its current span."""
        frame = live(frame)
        if len(frame) == FOREIGN:
            return frame[CONTEXT]  # type: ignore[no-any-return]
        span = frame[SPAN]
        if frame is ROOT or (span is not None and span.foreign):  # nothing of ours, or a start that is over
            return self.replaced.get_current()
        below = frame[PARENT]
        while len(below) != FOREIGN and below is not ROOT:
            below = below[PARENT]
        base = self.replaced.get_current() if below is ROOT else below[CONTEXT]
        lazy = LazySpan(frame)
        context = Context({**base, _SPAN_KEY: lazy})
        keeper = state_of(frame)
        if keeper is None:
            lazy.open, lazy.frame = False, stand_in(frame)
        else:
            keeper.lazy, keeper.context = lazy, context
        return context

    def detach(self, token: Token[Any]) -> None:
        """Make the context current that was so before attach() gave *token*.

        Raises:
            ValueError: the token was made in another contextvars.Context, as stock.
            RuntimeError: it was detached before, as stock.
        """
        if token.var is not CURRENT:
            self.replaced.detach(token)
            return
        frame = CURRENT.get()
        CURRENT.reset(token)
        below = CURRENT.get()
        home = around(below)
        while frame is not home and frame is not ROOT:
            if len(frame) == FOREIGN:
                if frame[SPAN].token == id(token):
                    close(frame)
                    break
            elif frame[CHILDREN] is not CLOSED:  # it was opened after the attach, and goes on
                leave_behind(frame)
            frame = frame[PARENT]
        while below[CHILDREN] is CLOSED and below[SPAN] is not None and below[SPAN].outlived:
            below = below[PARENT]
            CURRENT.set(below)


def install() -> None:
    """Replace the runtime context.

    Raises:
        RuntimeError: this version of the API does not go through it; everything is as before.
    """
    api.get_current()  # up to 1.20 the stock one is made at the first call
    replaced = api._RUNTIME_CONTEXT
    if not hasattr(replaced, "attach") or isinstance(replaced, RuntimeContext):
        raise RuntimeError("no runtime context to replace")
    api._RUNTIME_CONTEXT = RuntimeContext(replaced)
    try:
        _prove()
    except BaseException:
        api._RUNTIME_CONTEXT = replaced
        raise


def _prove() -> None:
    """Send a value through the API and back.

    Raises:
        RuntimeError: it did not come back.
    """
    before = CURRENT.get()
    limit = before[LIMIT]
    token = api.attach(Context({"otel-perf": 1}))
    found = api.get_current().get("otel-perf")
    api.detach(token)
    before[LIMIT] = limit
    if found != 1 or CURRENT.get() is not before:
        raise RuntimeError("the API does not read opentelemetry.context._RUNTIME_CONTEXT")
