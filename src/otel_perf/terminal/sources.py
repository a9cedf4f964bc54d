"""Which calls a flame shows: of the whole run, of a range, of one trace, of the start.

Reading order: Chosen, profile(), start(), trace(). Ranges are seconds since the process began; less than 0 is before
the end of what was recorded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from otel_perf.amounts import count, duration, plural
from otel_perf.errors import UserError
from otel_perf.view.answers import NO_PROFILE, NO_START, flame, flame_of_trace

from .flame import tree_of, walk

if TYPE_CHECKING:
    from typing import Any

    from otel_perf.analysis.model import Process
    from otel_perf.view.live import Live

    from .flame import Node

TRACE_ID = 32  # hex digits
AT_ONCE = 1.01  # times the time that passed from which on calls have run at the same time


@dataclass(frozen=True, slots=True)
class Range:
    """A part of a run, in seconds; None: no bound."""

    begin: float | None = None
    end: float | None = None


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a flame shows: its tree, and what that is, in a clause."""

    root: Node
    words: str


def profile(live: Live, part: Range) -> Chosen:
    """Return the calls that ended in a *part* of the run.

    Raises: UserError: there are none.
    """
    with live.lock:
        process = live.settled()
        began, last = began_at(live, process), live.last / 1e6
        if not live.profile.paths:
            hint = "; otel-perf flame --start shows the start" if process.nodes else ""
            raise UserError(f"{_who(process)}: {NO_PROFILE}{hint}", exit_code=1)
        begin, end = (_moment(bound, began, last) for bound in (part.begin, part.end))
        found = flame(live, begin, end)
        root = tree_of(found)
    words = _words(*(None if moment is None else (moment - began) / 1e3 for moment in (begin, end)))
    if not root.children:
        length = duration((last - began) / 1e3)
        raise UserError(f"{_who(process)}: no profiled call ended {words}; it lasted {length}", exit_code=1)
    return Chosen(root, f"{_amount(root, found['folded'])}, {words}")


def _words(begin: float | None, end: float | None) -> str:
    """Return which part of the run is from *begin* to *end*, seconds since it began."""
    bounds = [] if begin is None else [f"from {duration(begin)}"]
    bounds += [] if end is None else [f"to {duration(end)}"]
    return f"{' '.join(bounds)} of the run, to the second" if bounds else "the whole run"


def start(live: Live) -> Chosen:
    """Return the spans of the start.

    Raises: UserError: there is none.
    """
    with live.lock:
        process = live.settled()
        trace_id = process.start_trace
    found = flame_of_trace(live, trace_id) if trace_id else None
    if found is None:
        raise UserError(f"{_who(process)}: {NO_START}", exit_code=1)
    return _of_trace("the start", found)


def trace(live: Live, asked: str) -> Chosen:
    """Return the spans of one trace.

    Args:
        live: the process.
        asked: the trace's id, or how that of one of the slowest calls begins.

    Raises: UserError: there is none, or there are several.
    """
    with live.lock:
        process = live.settled()
        known = dict.fromkeys(call.trace_id for call in process.calls if call.trace_id.startswith(asked.lower()))
    if len(known) > 1:
        raise UserError(f"{len(known)} of the slowest calls have a trace that begins with {asked}; write more of it")
    trace_id = next(iter(known), asked.lower())
    found = flame_of_trace(live, trace_id) if len(trace_id) == TRACE_ID else None
    if found is None:
        mend = "otel-perf top shows the traces of the slowest calls"
        whole = "" if len(asked) == TRACE_ID else " that one of the slowest calls is in; write all 32 digits of another"
        raise UserError(f"{_who(process)}: no trace {asked}{whole} ({mend})")
    return _of_trace(f"trace {trace_id}", found)


def began_at(live: Live, process: Process) -> float:
    """Return when the process began, in milliseconds since 1970: as the root of its start says, else its records."""
    return (process.root.start if process.root is not None else live.first) / 1e6


def _who(process: Process) -> str:
    return f"run {process.run}, process {process.name}"


def _moment(bound: float | None, began: float, last: float) -> float | None:
    if bound is None:
        return None
    return (last if bound < 0 else began) + bound * 1e3


def _of_trace(name: str, found: dict[str, Any]) -> Chosen:
    root = tree_of(found)
    passed = (found["to"] - found["from"]) / 1e3
    words = f"{name}, {duration(passed)}"
    if root.total / 1e9 > passed * AT_ONCE:
        return Chosen(root, f"{words}; calls at the same time add up to {_amount(root, found['folded'])}")
    return Chosen(root, f"{words}, {_paths(root, found['folded'])}")


def _amount(root: Node, folded: int) -> str:
    return f"{duration(root.total / 1e9)} in {_paths(root, folded)}"


def _paths(root: Node, folded: int) -> str:
    """Return how many call paths there are, those that were left out of the tree among them."""
    found = plural(sum(1 for _ in walk(root)) - 1 + folded, "call path")
    return f"{found} ({count(folded)} of them, the shortest, left out)" if folded else found
