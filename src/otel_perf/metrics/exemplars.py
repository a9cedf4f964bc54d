"""Exemplars: of each series of durations the slowest that was in a span, so that a chart leads to a trace.

Imports only: clock, recorder, export. One is kept a series, the slowest since one was written, and one is written in
EVERY seconds: who stores them has room for some thousands of all programs together. Which durations may become one is
what OTEL_METRICS_EXEMPLAR_FILTER says (recorder.state.exemplars). Reading order: Slowest, OfFunctions for finished
spans, then offer() for what a timer has measured.

Source: OpenTelemetry specification, metrics SDK, "ExemplarFilter"; metrics data model, "Exemplars".
"""

from __future__ import annotations

from otel_perf.clock import now, wall_ns
from otel_perf.export.otlp_json import double
from otel_perf.recorder import (
    CHILDREN,
    CLOSED,
    CURRENT,
    N_PATH,
    NEVER,
    NODE,
    OWN,
    PARENT,
    R_ATTRIBUTES,
    R_BEGIN,
    R_END,
    R_SITE,
    R_SPAN_ID,
    R_TRACE,
    ROOT,
    SPAN,
    START,
    identify,
    live,
    state,
    threshold,
)  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from otel_perf.recorder import SpanState

    Found = tuple[float, int, int, int]  # seconds, nanoseconds since 1970, trace id, span id: 0 where it was in no span

OFF, ON = "always_off", "always_on"  # else trace_based
EVERY = 10.0  # seconds between two exemplars of a series
_COUNTED = ("function", "operation", "phase")  # kinds of sites whose calls are counted


class Slowest:
    """The slowest duration of one series since an exemplar of it was written.

    Attributes:
        bar: seconds; what was not slower needs no look.
        found: the slowest, None before the first.
        seen: the one that was written last.
        due: monotonic seconds when the next one may be.
    """

    __slots__ = ("bar", "due", "found", "seen")

    def __init__(self) -> None:
        self.bar = NEVER
        self.found: Found | None = None
        self.seen: Found | None = None
        self.due = 0.0

    def waits(self, until: float) -> bool:
        """Say whether there is one to write that is due *until* then, monotonic seconds."""
        return self.found is not self.seen and self.due <= until

    def take(self, until: float, changed: list[tuple[Any, Any]]) -> str:
        """Return the field ``exemplars`` of a point if there is one to write, noted in *changed* as the point is."""
        found = self.found
        if found is self.seen:
            self.bar = NEVER  # what has raised it was in no span
        if found is None or not self.waits(until):
            return ""
        self.bar, self.due = NEVER, until + EVERY
        changed.append((self, found))
        return field(*found)


def field(seconds: float, time: int, trace_id: int, span_id: int) -> str:
    """Return the field ``exemplars`` of a point, a comma before it."""
    ids = f',"traceId":"{trace_id:032x}","spanId":"{span_id:016x}"' if trace_id else ""
    return f',"exemplars":[{{"timeUnixNano":"{time}","asDouble":{double(seconds)}{ids}}}]'


# --- functions: the worker, of what it has written -------------------------------------------------------------------


class OfFunctions:
    """The slowest calls of each function, operation and phase that became spans."""

    def __init__(self) -> None:
        self._slowest: dict[tuple[str, str], Slowest] = {}  # by series and kind, as many as there are sites

    def note(self, records: Iterable[Any], since: float | None = None) -> None:
        """Look at finished records, those of the recorder.

        Args:
            records: what was written.
            since: monotonic seconds when the start ended: what begins there is the rest of a call, and not a whole one.
        """
        slowest = self._slowest
        for record in records:
            if type(record) is not tuple:
                continue
            site = record[R_SITE].key
            one = slowest.get((site.series, site.kind))
            if one is None:
                if site.kind not in _COUNTED:
                    continue
                one = slowest[site.series, site.kind] = Slowest()
            seconds = record[R_END] - record[R_BEGIN]
            if seconds <= one.bar or record[R_BEGIN] == since:
                continue
            extra = record[R_ATTRIBUTES]
            if extra:
                seconds = extra.get("otel_perf.active_time", seconds)  # of a generator that is what was counted
                if seconds <= one.bar or "otel_perf.open" in extra:  # its call has not returned
                    continue
            trace = record[R_TRACE]
            one.bar = seconds
            one.found = seconds, int(record[R_END] * 1e9) + trace.offset, trace.id, record[R_SPAN_ID]

    def wait(self, until: float) -> bool:
        """Say whether there are any to write, as Slowest.waits() does."""
        return any(one.waits(until) for one in self._slowest.values())

    def take(self, series: str, kind: str, until: float, changed: list[tuple[Any, Any]]) -> str:
        """Return the field ``exemplars`` of the point of a function, as Slowest.take() does."""
        one = self._slowest.get((series, kind))
        return "" if one is None else one.take(until, changed)


# --- timers: the application's threads, of what is slower than the bar -----------------------------------------------


def offer(slowest: Slowest, seconds: float) -> None:
    """Keep a duration that ends now, and is slower than the bar, if the filter takes it."""
    slowest.bar = seconds
    if state.exemplars == OFF:
        return
    span = current_span()
    if span is not None and span.trace is not None:
        slowest.found = seconds, wall_ns(), span.trace.id, span.span_id
    elif state.exemplars == ON:
        slowest.found = seconds, wall_ns(), 0, 0


def current_span() -> SpanState | None:
    """Return the innermost span around the caller that is recorded, None if there is none or it is not sampled.

    A call that is slow enough by now to become a span is one, and gets its id. Nothing becomes a span by being asked.
    """
    frame, moment = live(CURRENT.get()), now()
    while True:
        span = frame[SPAN]
        if span is None and frame is ROOT:
            span = None if state.startup is None else state.startup[SPAN]
            break
        if span is not None and span.trace is not None:
            break
        if span is not None and span.foreign:
            if span.alias is None:  # a context without a span
                return None
            frame = span.alias.frame
            continue
        is_call = len(frame) == OWN and frame[NODE] is not None and frame[CHILDREN] is not CLOSED
        if is_call and moment - frame[START] > threshold(frame[NODE][N_PATH].site):
            span = identify(frame, forced=False)
            break
        frame = frame[PARENT]
    return span if span is not None and span.trace is not None and span.trace.sampled else None
