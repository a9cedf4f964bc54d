"""``timer``: durations that the application measures, by a with-block, a decorator or ``record()``.

Imports only: sys, contextvars, clock, instruments. No OpenTelemetry, no I/O and no lock on the path of a call.
"""

from __future__ import annotations

import sys
from _contextvars import ContextVar
from sys import _getframe

from otel_perf.clock import now

from . import instruments
from .instruments import DISABLED, Durations, SilentDurations, named

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TypeVar

    F = TypeVar("F", bound=Callable[..., Any])

_entered: ContextVar[Any] = ContextVar("otel_perf_timers", default=None)  # by ExitStack: timer, begun, the one before

CO_GENERATOR, CO_COROUTINE, CO_ASYNC_GENERATOR = 0x20, 0x80, 0x200  # as in inspect, which costs 10 ms


def timer(name: str, attributes: Mapping[str, object] | None = None, *, description: str | None = None) -> Timer:
    """Return a timer: ``with perf.timer("checkout"):``, or as decorator of plain and asynchronous functions.

    Its durations are an exponential histogram in seconds. It makes no span; perf.profile() does.

    Args:
        name: as for counter().
        attributes: of each duration, as for Counter.add(); looked at when the duration ends.
        description: as for counter().

    Raises:
        TypeError: an argument of another type, or the name is that of another kind of instrument.
        ValueError: a name that cannot be taken.
    """
    durations = named(SilentDurations if DISABLED else Durations, name, "s", description)
    if attributes is not None and not hasattr(attributes, "items"):
        raise TypeError(f"{durations}: attributes are a dict, not {type(attributes).__name__}")
    return Timer(durations, attributes)


class Timer:
    """A with-block, a decorator and ``record()`` for durations of one name; perf.timer() returns it.

    One object may be entered again, by several threads and tasks at once.
    """

    __slots__ = ("_attributes", "_durations", "_runs")

    def __init__(self, durations: Durations, attributes: Mapping[str, object] | None) -> None:
        self._durations = durations
        self._attributes = attributes
        # By the frame that the block stands in: begun, and the run of the same frame around it.
        self._runs: dict[int, tuple[float, Any]] = {}

    def record(self, seconds: float, attributes: Mapping[str, object] | None = None) -> None:
        """Count a duration that was measured otherwise.

        Args:
            seconds: 0 or more; a number that is not finite is dropped and counted.
            attributes: which of the timer's distributions, as for Counter.add(); default those of the timer.

        Raises:
            TypeError: *seconds* is no number, or *attributes* no dict.
            ValueError: *seconds* is negative.
        """
        self._durations.record(seconds, self._attributes if attributes is None else attributes)

    def __enter__(self) -> Timer:
        caller = _getframe(1)
        if caller.f_globals.get("__name__") == "contextlib":  # ExitStack: another frame leaves
            _entered.set((self, now(), _entered.get()))
            return self
        frame = id(caller)
        self._runs[frame] = (now(), self._runs.get(frame))
        return self

    def __exit__(self, *error: object) -> None:
        ended, frame = now(), id(_getframe(1))
        run = self._runs.pop(frame, None)
        if run is None and (begun := _leave(self)) is not None:
            self.finish(begun, ended)
            return
        if run is None:  # entered for somebody by other means: the latest
            try:
                frame, run = self._runs.popitem()
            except KeyError:
                return
        begun, outer = run
        if outer is not None:
            self._runs[frame] = outer
        if begun >= instruments.began:  # as finish() does
            self._durations.record(ended - begun, self._attributes)

    def finish(self, begun: float, ended: float) -> None:
        """Count a run, if it did not begin in the process that we were forked from."""
        if begun >= instruments.began:
            self._durations.record(ended - begun, self._attributes)

    def __call__(self, function: F) -> F:
        """Return *function* wrapped so that its calls are timed.

        Raises:
            TypeError: it is a generator function, or nothing that can be wrapped.
        """
        return _timed(function, self)  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"Timer({self._durations.name!r})"


def _leave(timer: Timer) -> float | None:
    """Take the latest run of *timer* that ExitStack began in this context; return when that was, None without one."""
    inside: list[Any] = []
    run = _entered.get()
    while run is not None and run[0] is not timer:
        inside.append(run)
        run = run[2]
    if run is None:
        return None
    rest = run[2]
    for one, begun, _ in reversed(inside):
        rest = one, begun, rest
    _entered.set(rest)
    return run[1]  # type: ignore[no-any-return]


def _timed(target: Any, timer: Timer) -> Any:
    from otel_perf.profiling import dress, refuse

    if isinstance(target, (staticmethod, classmethod)):
        return type(target)(_timed(target.__func__, timer))
    inner, functools = target, sys.modules.get("functools")
    while functools is not None and isinstance(inner, functools.partial):
        inner = inner.func
    refuse(target, inner, "timer")
    flags = getattr(getattr(inner, "__code__", None), "co_flags", 0)
    if flags & (CO_GENERATOR | CO_ASYNC_GENERATOR):
        raise TypeError(
            "perf.timer: cannot wrap a generator function: its time is its consumer's too; "
            "put a with-block inside it, or use @perf.profile"
        )
    return dress((_around_async if flags & CO_COROUTINE else _around)(target, timer.finish), target, inner)


def _around(function: Any, finish: Callable[[float, float], None]) -> Any:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        begun = now()
        try:
            return function(*args, **kwargs)
        finally:
            finish(begun, now())

    return wrapper


def _around_async(function: Any, finish: Callable[[float, float], None]) -> Any:
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        begun = now()
        try:
            return await function(*args, **kwargs)
        finally:
            finish(begun, now())

    return wrapper
