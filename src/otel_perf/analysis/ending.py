"""How a process ended: what it said itself, what its parent saw, or that nobody said anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .model import END, is_running, number_of, text_of
from .sources import shown
from .unfinished import text_of_all

if TYPE_CHECKING:
    from .model import Process
    from .text import Style

KNOWN_BY_ROOT = ("exit", "shutdown", "signal")  # rules that are the end of the process, or of what is recorded


@dataclass(frozen=True, slots=True)
class Ending:
    """How one process ended.

    Attributes:
        state: ``exit``, ``exception``, ``signal``, ``shutdown`` (only the recording ended), ``silent`` (no word of
            it), or ``running``.
        unfinished: what was open when it was last seen, in a clause.
        after: of ``silent``, seconds from the process's creation to its last record; None without a start.
        phase: phases that were open, ``UI > theme``, if the start was not over.
        module: that was being imported then.
    """

    state: str
    exit_code: int | None = None
    signal: str = ""
    exception: str = ""
    message: str = ""
    core: bool = False
    out_of_memory: bool = False
    phase: str = ""
    module: str = ""
    file: str = ""
    line: int = 0
    unfinished: str = ""
    after: float | None = None


def ending_of(process: Process) -> Ending | None:
    """Return how *process* ended; None where it left too little to say."""
    found = process.ended
    if not found:
        return _unsaid(process)
    signal = text_of(found, "otel_perf.signal")
    code = number_of(found, "process.exit.code")
    state = text_of(found, END)
    if state == "status" or (signal and state == "exit"):  # it crashed behind its last word
        state = "signal" if signal else "exit"
    return Ending(
        state if state in ("exit", "exception", "signal", "shutdown") else "exit",
        exit_code=None if code is None else int(code),
        signal=signal,
        exception=text_of(found, "exception.type"),
        message=text_of(found, "exception.message"),
        core=found.get("otel_perf.core") is True,
        out_of_memory=found.get("otel_perf.out_of_memory") is True,
        phase=text_of(found, "otel_perf.phase"),
        module=text_of(found, "otel_perf.import"),
        file=text_of(found, "code.file.path"),
        line=int(number_of(found, "code.line.number") or 0),
        unfinished=text_of_all(process.unfinished),
    )


def _unsaid(process: Process) -> Ending | None:
    nodes = [*process.nodes, *([] if process.inferred is None else [process.inferred])]
    begins = [node.start for node in nodes] or [one.since for one in process.unfinished]  # a fork's child has no start
    if not begins or text_of(process.root_attributes, "otel_perf.ready") in KNOWN_BY_ROOT:
        return None
    if text_of(process.resource, "otel_perf.imported.times"):  # of a log that does not say when anything was
        return None
    began = min(begins)
    if is_running(process, began):
        return Ending("running", unfinished=text_of_all(process.unfinished))
    last = max([process.last, process.after.last, *(node.end for node in nodes)])
    last = max([last, *(point.time for points in process.points.values() for point in points)])
    after = (last - began) / 1e9 if nodes else None
    return Ending("silent", unfinished=text_of_all(process.unfinished), after=after)


def ending_text(ending: Ending, style: Style, brief: bool = False) -> str:
    """Return *ending* as one line; *brief*: without a word on what nobody recorded."""
    open_then = f"; {style.clean(ending.unfinished)}" if ending.unfinished else ""
    if ending.state == "running":
        return f"still running{open_then}"
    if ending.state == "silent":
        last = "" if ending.after is None else f"; last recorded after {style.duration(ending.after)}"
        return f"ended without a word (killed, or it crashed){last}{open_then}"
    if ending.state == "shutdown":
        return "recording ended by shutdown()"
    if ending.state == "exception":
        message = f": {ending.message}" if ending.message else ""
        text = f"ended by {ending.exception or 'an exception'}{message}"
    elif ending.state == "signal":
        text = f"ended by {ending.signal or 'a signal'}"
    else:
        text = "exited" if ending.exit_code is None else f"exited with code {ending.exit_code}"
        text += " (code not recorded)" if ending.exit_code is None and not brief else ""
    notes = ["out of memory"] * ending.out_of_memory + ["core dumped"] * ending.core
    text += f" ({', '.join(notes)})" if notes else ""
    where = [f"in {ending.phase}"] if ending.phase else []
    where += [f"importing {ending.module}"] if ending.module else []
    where += [f"at {shown(ending.file, ending.line)}"] if ending.file else []
    return style.clean(", ".join([text, *where])) + open_then
