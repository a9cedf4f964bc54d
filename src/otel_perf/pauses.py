"""Callbacks of the garbage collector: how long it stopped the program, and what keeps it from crashing up to 3.11.

Imports only: gc, _collections, _functools, clock. Asked for by name, because explain.py wants it while a start lasts
and metrics/ for as long as the process is sampled: what the callback costs is paid once, and not at all while nobody
asks.

The callback runs no Python code. A signal's handler would run in it, and what that raises, Ctrl-C for one, the
collector would swallow. So it is put together from what is written in C: the collector calls ``getattr(phases, phase,
info)``, the property of that phase takes the next item of a map, and that appends the time.
"""

from __future__ import annotations

import gc
from _collections import deque  # type: ignore[import-not-found]  # collections costs 2 ms
from _functools import partial  # type: ignore[import-not-found]

from .clock import now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

KEPT = 20_000  # collections between two looks
GENERATIONS = 3

spent = [0.0] * GENERATIONS  # seconds of each generation's collections since somebody began to ask, at the last look
_longest = [0.0]  # seconds of the longest pause since longest() was called
_starts: deque[float] = deque(maxlen=KEPT)
_stops: deque[tuple[float, dict[str, int]]] = deque(maxlen=KEPT)
_infos: dict[str, dict[str, int]] = {}  # the latest of each phase
_asked: set[str] = set()


def c_callback(start: Any, stop: Any) -> Any:
    """Return a callback of the collector that takes the next item of *start* or *stop*, without running Python code."""
    phases = type("Phases", (), {"start": property(partial(next, start)), "stop": property(partial(next, stop))})
    return partial(getattr, phases())


_keep_info = _infos.__setitem__
_keep_time = c_callback(
    map(_starts.append, iter(now, None)),
    map(_stops.append, zip(iter(now, None), iter(partial(_infos.get, "stop"), None), strict=False)),
)


def begin(who: str) -> None:
    """Count from now on, until *who* ends."""
    _asked.add(who)
    if _keep_time not in gc.callbacks:
        _starts.clear()
        _stops.clear()
        gc.callbacks += [_keep_info, _keep_time]


def end(who: str) -> None:
    """Stop counting once nobody else wants it."""
    _asked.discard(who)
    if not _asked and _keep_time in gc.callbacks:
        look()
        gc.callbacks.remove(_keep_time)
        gc.callbacks.remove(_keep_info)


def total() -> float:
    """Return the seconds of all pauses so far."""
    look()
    return sum(spent)


def longest() -> float:
    """Return the seconds of the longest pause since the last call of this function."""
    look()
    seconds, _longest[0] = _longest[0], 0.0
    return seconds


def look() -> None:
    """Count the pauses that have ended."""
    while _stops:
        stop, info = _stops.popleft()
        start = stop
        while _starts and _starts[0] <= stop:  # an earlier one has lost its end
            start = _starts.popleft()
        spent[min(info["generation"], GENERATIONS - 1)] += stop - start
        _longest[0] = max(_longest[0], stop - start)


def keep_contexts_alive() -> None:
    """Keep the running context's map alive while the garbage collector works.

    Up to 3.11 the collector may run inside ContextVar.set(), and a finaliser that sets a variable there frees the map
    that is being read: the interpreter crashes. A copy of the context holds it.
    """
    from _contextvars import copy_context

    held: Any = deque(maxlen=2)
    gc.callbacks.append(c_callback(map(held.append, iter(copy_context, None)), iter(held.clear, 0)))
