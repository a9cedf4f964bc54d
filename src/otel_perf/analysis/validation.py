"""What is wrong with a start: phases out of order, missing, doubled, unknown or never closed, its budget, its death.

Imports only: os. With ``init(strict=True)`` the worker loads this beside the program, once the start is written; what
reads recorded runs is loaded by findings() alone. Reading order: Finding, Seen, judge(); then the two who ask:
findings() of a recorded process, findings_of() of the records that the worker has at hand.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from .model import Node, Process

BY_PROCESS = ("exit", "shutdown", "signal", "")  # rules that end a start of which nobody has said that it is over
BY_PROGRAM = "ready()"
LIMIT = "otel_perf.budget.startup"
MOST_PLACES = 3  # lines of code that one message names


class Finding:
    """One thing that is wrong with a start.

    Attributes:
        kind: ``order``, ``missing``, ``doubled``, ``unfinished``, ``unknown``, ``budget`` or ``died``.
        severity: ``error`` or ``warning``.
        message: what, where, and how to mend it; one line.
    """

    __slots__ = ("kind", "message", "severity")

    def __init__(self, kind: str, severity: str, message: str) -> None:
        self.kind = kind
        self.severity = severity
        self.message = message

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Finding) and all(getattr(self, key) == getattr(other, key) for key in self.__slots__)

    def __hash__(self) -> int:
        return hash((self.kind, self.severity, self.message))

    def __repr__(self) -> str:
        return f"Finding({self.kind}, {self.severity}: {self.message})"


class Seen:
    """One phase as it was recorded.

    Attributes:
        start: seconds since the start began.
        inside: name of the phase around it, empty if there is none.
        open: it had not ended when the start did.
        where: file and line, empty where unknown.
    """

    __slots__ = ("inside", "name", "open", "start", "where")

    def __init__(self, name: str, start: float, inside: str = "", open: bool = False, where: str = "") -> None:
        self.name = name
        self.start = start
        self.inside = inside
        self.open = open
        self.where = where

    def __str__(self) -> str:
        return f"phase {self.name!r}" + (f" ({self.where})" if self.where else "")


def judge(
    seen: Sequence[Seen],
    root: Mapping[str, Any],
    took: float,
    *,
    interrupted: bool = False,
    ended: Mapping[str, Any] | None = None,
) -> list[Finding]:
    """Judge a start that has ended.

    Which phases there must be, and in which order, is judged only against a list that the application gave.

    Args:
        seen: its phases.
        root: the attributes of its root.
        took: seconds.
        interrupted: a signal ended it; then what did not come about is no fault of the program.
        ended: what the event of the process's end says.
    """
    seen = sorted(seen, key=lambda phase: phase.start)
    own = root.get("otel_perf.startup.phases.own") is True
    rule = str(root.get("otel_perf.ready") or "")
    strict = "error" if root.get("otel_perf.startup.strict") is True else "warning"
    inferred = rule not in BY_PROCESS and rule != BY_PROGRAM
    absent = "warning" if inferred else strict  # what we took as the end need not be what the program means by it
    found: list[Finding] = []
    names = [name for name in root.get("otel_perf.startup.phases") or () if isinstance(name, str)] if own else []
    if rule == "exit" and ended and ended.get("otel_perf.end") == "exception":
        found.append(_raised(ended, took))
        interrupted = True
    elif interrupted:
        found += _died(seen, took)
    if own:
        found += [Finding("unknown", strict, text) for text in _unknown(seen, names)]
        if not interrupted:
            found += [Finding("missing", absent, text) for text in _missing(seen, names, rule, inferred)]
        found += [Finding("order", strict, text) for text in _order(seen, names)]
    found += [Finding("doubled", strict, text) for text in _doubled(seen, names)]
    if not interrupted:
        found += [Finding("unfinished", absent, text) for text in _unfinished(seen, rule, inferred, took)]
    limit = root.get(LIMIT)
    known = rule not in BY_PROCESS or rule == root.get("otel_perf.startup.ready_when") == "exit"
    if known and not interrupted and isinstance(limit, float) and took > limit > 0:
        text = f"the start took {shown(took)}, {shown(took - limit)} over its budget of {shown(limit)}"
        found.append(Finding("budget", strict, f"{text}; otel-perf report shows what it was spent on"))
    return found


def _unknown(seen: Sequence[Seen], names: Sequence[str]) -> Iterable[str]:
    known = {*names, "PreInit"}  # which we write ourselves
    for phase in _firsts(phase for phase in seen if not phase.inside):
        if phase.name not in known:
            listed = ", ".join(map(repr, names))
            yield f"{phase} is not in the application's list ({listed}); correct the name, or add it to phases=[...]"


def _missing(seen: Sequence[Seen], names: Sequence[str], rule: str, inferred: bool) -> Iterable[str]:
    entered = {phase.name for phase in seen}
    for place, name in enumerate(names):
        if name in entered or (place == 0 and name == "PreInit"):
            continue
        if place == len(names) - 1 and name == "Ready":
            if not inferred and rule != BY_PROGRAM:
                yield "phase 'Ready' was never reached; call perf.ready() where the program is ready"
            continue
        before = next((other for other in reversed(names[:place]) if other in entered), "")
        where = f" (after {before!r} in the application's list)" if before else " (in the application's list)"
        mend = f"wrap it in perf.phase({name!r}), or take it out of phases=[...]"
        if inferred:
            mend = f"the start was taken as over before ({rule}): call perf.ready() where it is"
        yield f"phase {name!r}{where} was never entered; {mend}"


def _order(seen: Sequence[Seen], names: Sequence[str]) -> Iterable[str]:
    """Yield a text for each phase that began after one that the list has later."""
    place = {name: number for number, name in enumerate(names)}
    latest: Seen | None = None
    for phase in _firsts(phase for phase in seen if phase.name in place):
        if latest is None or place[phase.name] > place[latest.name]:
            latest = phase
            continue
        times = f"{phase} began after {shown(phase.start)}, {latest} after {shown(latest.start)}"
        yield f"{times}, but the application's list has {phase.name!r} first; move one, or change phases=[...]"


def _doubled(seen: Sequence[Seen], names: Sequence[str]) -> Iterable[str]:
    """Yield a text for each phase that began again; parts of phases, which no list names, may."""
    again: dict[str, list[Seen]] = {}
    for phase in seen:
        if phase.name in names or not phase.inside:
            again.setdefault(phase.name, []).append(phase)
    for name, phases in again.items():
        if len(phases) > 1:
            places = list(dict.fromkeys(phase.where for phase in phases if phase.where))
            where = (
                f" ({', '.join(places[:MOST_PLACES])}{', …' if len(places) > MOST_PLACES else ''})" if places else ""
            )
            mend = "enter it once around all its work, or give its parts names of their own inside it"
            yield f"phase {name!r} was entered {len(phases)} times{where}; {mend}"


def _unfinished(seen: Sequence[Seen], rule: str, inferred: bool, took: float) -> Iterable[str]:
    for phase in seen:
        if not phase.open or phase.name == "Ready":  # ready() may well be called inside of that
            continue
        if rule == BY_PROGRAM:
            yield f"{phase} was still open when ready() ended the start; call perf.ready() after its block"
        elif inferred:
            text = f"{phase} was still open when the start was taken as over ({rule}, after {shown(took)})"
            yield f"{text}; call perf.ready() where it is"
        else:
            text = f"{phase} was never closed: the process ended in it, {shown(took)} after its creation"
            yield f"{text}; end its block, or call perf.ready() where the start is over"


def _died(seen: Sequence[Seen], took: float) -> Iterable[Finding]:
    inner = [phase for phase in seen if phase.open]
    if inner:  # else nobody can say that the start was not over long before
        text = f"a signal ended the process in {_path(inner[-1])}, {shown(took)} after its creation"
        mend = "see who sent it; if the start was over by then, call perf.ready() where it is"
        yield Finding("died", "error", f"{text}, before ready(); {mend}")


def _raised(ended: Mapping[str, Any], took: float) -> Finding:
    where = location(str(ended.get("code.file.path") or ""), _whole(ended.get("code.line.number")))
    text = f"{ended.get('exception.type') or 'an exception'} ended the process{f' at {where}' if where else ''}"
    mend = "mend what raised it; if the start was over by then, call perf.ready() where it is"
    return Finding("died", "error", f"{text}, {shown(took)} after its creation, before ready(); {mend}")


def _whole(number: object) -> int:
    return number if isinstance(number, int) else 0


def _path(phase: Seen) -> str:
    return (f"{phase.inside!r} > " if phase.inside else "") + str(phase).removeprefix("phase ")


def _firsts(phases: Iterable[Seen]) -> Iterable[Seen]:
    """Return of each name the phase that came first."""
    found: dict[str, Seen] = {}
    for phase in phases:
        found.setdefault(phase.name, phase)
    return found.values()


def shown(seconds: float) -> str:
    """Return *seconds* as ``412 ms`` or ``1.93 s``."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.3g} ms"
    return f"{seconds:.3g} s" if seconds < 99.95 else f"{seconds:.0f} s"


def location(file: str, line: int) -> str:
    """Return file and line as a person writes them, empty if unknown; a path below the working directory is cut."""
    try:
        here = os.getcwd() + os.sep
    except OSError:  # it was removed
        here = ""
    file = file.removeprefix(here)
    return f"{file}:{line}" if file and line > 0 else file


# --- of what the worker has ------------------------------------------------------------------------------------------


def findings_of(records: Iterable[Any], root: Any, ended: Mapping[str, Any] | None = None) -> list[Finding]:
    """Return what is wrong with the start that has just ended.

    Args:
        records: those of the start, and maybe others: recorder.Record, or a span of the OpenTelemetry API.
        root: the record of its root.
        ended: what the event of the process's end says, if it was that which ended the start.
    """
    trace, begin, end, attributes = root[1], root[4], root[5], root[8]
    above: dict[int, tuple[int, str]] = {}  # by span id, the parent's and, of a phase, its name
    phases: list[Any] = []
    for record in records:
        if type(record) is tuple:
            is_phase = record[0].kind == "phase"
            above[record[2]] = (record[3], record[0].name if is_phase else "")
            if is_phase and record[1] is trace:
                phases.append(record)
        elif record.parent is not None:
            above[record.context.span_id] = (record.parent.span_id, "")
    seen = [
        Seen(
            record[0].name,
            record[4] - begin,
            _around(record[3], above),
            bool((record[8] or {}).get("otel_perf.open")),
            location(record[0].file, record[0].line),
        )
        for record in phases
    ]
    interrupted = attributes.get("otel_perf.interrupted") is True
    return judge(seen, attributes, end - begin, interrupted=interrupted, ended=ended)


def _around(parent: int, above: Mapping[int, tuple[int, str]]) -> str:
    """Return the name of the phase around the span whose parent is *parent*."""
    passed: set[int] = set()
    while parent in above and parent not in passed:
        passed.add(parent)
        parent, name = above[parent]
        if name:
            return name
    return ""


# --- of a recorded process -------------------------------------------------------------------------------------------


def findings(process: Process) -> list[Finding]:
    """Return what is wrong with the start of *process*, and that it died in its work; nothing while the start lasts."""
    from .model import is_running, number_of
    from .startup import build_start, last_known

    start = build_start(process)
    if start is None:  # a fork's child has none
        return _at_work(process, min((one.since for one in process.unfinished), default=0))
    ended = process.ended
    if not start.recorded:
        if is_running(process, min(node.start for node in process.nodes)):
            return []
        return [_killed(process, last_known(start), start.root.duration, ended)]
    seen: list[Seen] = []
    waiting = [(top, "") for top in start.tops()]
    while waiting:
        node, inside = waiting.pop()
        if node.kind == "phase":
            seen.append(_seen(node, start.root.start, inside))
            inside = node.name
        waiting.extend((child, inside) for child in node.children)
    attributes = {**process.root_attributes, LIMIT: number_of(process.root_attributes, LIMIT)}
    interrupted = "interrupted" in start.root.marks
    found = judge(seen, attributes, start.root.duration, interrupted=interrupted, ended=ended)
    return found + _at_work(process, start.root.start)


def _at_work(process: Process, began: int) -> list[Finding]:
    """Return that *process*, begun at *began* (ns since 1970), died in the middle of its work, if it did."""
    from .model import is_running
    from .unfinished import text_of_all

    if not process.unfinished or is_running(process, began):
        return []
    where = text_of_all(process.unfinished)
    return [Finding("died", "error", f"the process died in the middle of its work; {where}")]


def _seen(node: Node, begin: int, inside: str) -> Seen:
    return Seen(node.name, (node.start - begin) / 1e9, inside, "open" in node.marks, location(node.file, node.line))


def _killed(process: Process, where: tuple[str, ...], took: float, ended: Mapping[str, Any]) -> Finding:
    from .unfinished import text_of_all

    by = "of want of memory" if ended.get("otel_perf.out_of_memory") is True else ended.get("otel_perf.signal")
    text = "the process died in its start, which has no end" + (f", {by}" if isinstance(by, str) else "")
    last = f" (last recorded, after {shown(took)}: {' > '.join(map(repr, where))})" if where else ""
    if process.unfinished:
        last = f" ({text_of_all(process.unfinished)})"
    see = "" if by else "otel-perf run --report shows what ended it; "
    return Finding("died", "error", f"{text}{last}; {see}if the start was over, call perf.ready() where it is")
