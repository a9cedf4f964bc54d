"""How a process ended, as far as it can be seen from inside without changing the program.

Imports only: sys, amounts, recorder. The code of a SystemExit cannot be seen; a parent that is kept (`otel-perf run
--report`) knows the status.
"""

from __future__ import annotations

import sys

from .amounts import duration
from .recorder import (
    CHILDREN,
    CLOSED,
    CURRENT,
    N_PATH,
    NODE,
    OWN,
    R_ATTRIBUTES,
    R_BEGIN,
    R_END,
    SPAN,
    START,
    ancestors,
    describe,
    open_spans,
)  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType, TracebackType
    from typing import Any

    from .startup import Startup

COMPLETED, DIED = "otel_perf.startup.completed", "otel_perf.startup.died"
INFO, ERROR = 9, 17  # severity numbers
OWN_CODE = "own code of the program"  # what the start itself is as a bottleneck
SIGNALS = {1: "SIGHUP", 2: "SIGINT", 15: "SIGTERM"}


def how(rule: str, signal: int, stack: FrameType | None, start: Startup | None) -> dict[str, Any]:
    """Return the attributes of the event ``otel_perf.process.ended``, before anything that is open is ended.

    Args:
        rule: ``exit``, ``shutdown`` or ``signal``.
        signal: its number.
        stack: the frame that it interrupted.
        start: the process's start.
    """
    fields: dict[str, Any] = {"otel_perf.end": rule}
    error = getattr(sys, "last_value", None)
    if rule == "signal":
        fields["otel_perf.signal"] = SIGNALS.get(signal, str(signal))
        while stack is not None and _is_ours(stack):
            stack = stack.f_back  # a second signal came while ours handled the first
        if stack is not None:
            fields |= {"code.file.path": stack.f_code.co_filename, "code.line.number": stack.f_lineno}
    elif rule == "exit" and isinstance(error, BaseException) and not hasattr(sys, "ps1"):
        fields |= _exception(error)
    if start is not None and not start.over:
        fields |= _where()
    return fields


def of_the_start(root: Any, how: dict[str, Any]) -> tuple[str, int, dict[str, Any], str] | None:
    """Return name, severity number, attributes and body of the event that tells of a start that has ended.

    None where neither is known: a process without ready() that has come to its end has not said what its start was.

    Args:
        root: the record of its root.
        how: the process ended, if that is what ended the start.
    """
    says = root[R_ATTRIBUTES] or {}
    took = root[R_END] - root[R_BEGIN]
    fields: dict[str, Any] = {"otel_perf.startup.duration": took, "otel_perf.ready": says.get("otel_perf.ready", "")}
    by_end = fields["otel_perf.ready"] in ("exit", "shutdown", "signal")
    if by_end and (says.get("otel_perf.interrupted") is True or "exception.type" in how):
        where = str(how.get("otel_perf.phase") or how.get("otel_perf.import") or "")
        body = f"the process died in its start, after {duration(took)}" + (f", in {where}" if where else "")
        return DIED, ERROR, {**how, **fields}, body
    if by_end and says.get("otel_perf.startup.ready_when") != "exit":
        return None
    keys = ("otel_perf.bottleneck", "otel_perf.bottleneck.share", "otel_perf.budget.startup")
    fields |= {key: says[key] for key in keys if key in says}
    body = f"started in {duration(took)}"
    if "otel_perf.bottleneck" in says:
        body += f"; what held it up most: {bottleneck_title(says['otel_perf.bottleneck'])}"
    return COMPLETED, INFO, fields, body


def bottleneck_title(name: str) -> str:
    """Return what a reader is told of the attribute ``otel_perf.bottleneck``."""
    return OWN_CODE if name == "startup" else name


def _exception(error: BaseException) -> dict[str, Any]:
    name, message = describe(error) or (type(error).__name__, "")
    fields: dict[str, Any] = {"otel_perf.end": "exception", "exception.type": name, "exception.message": message}
    if isinstance(error, KeyboardInterrupt):
        fields |= {"otel_perf.end": "signal", "otel_perf.signal": "SIGINT"}
    else:
        fields["process.exit.code"] = 1
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        if not _is_ours(trace.tb_frame):  # what we refuse, we refuse to the line that called us
            fields |= {"code.file.path": trace.tb_frame.f_code.co_filename, "code.line.number": trace.tb_lineno}
        trace = trace.tb_next
    return fields


def _is_ours(stack: FrameType) -> bool:
    return str(stack.f_globals.get("__name__")).partition(".")[0] == "otel_perf"


def _where() -> dict[str, Any]:
    """Return the phases that are open, outermost first, and the import in progress on this thread."""
    fields: dict[str, Any] = {}
    phases = [
        (frame[SPAN].depth, frame[START], frame[NODE][N_PATH].site.name)
        for frame in list(open_spans.values())
        if len(frame) == OWN and frame[NODE] is not None and frame[NODE][N_PATH].site.kind == "phase"
    ]
    if phases:
        fields["otel_perf.phase"] = " > ".join([name for _, _, name in sorted(phases)])
    for frame in ancestors(CURRENT.get()):
        if len(frame) > OWN + 1 and frame[CHILDREN] is not CLOSED:
            fields["otel_perf.import"] = frame[OWN + 1]
            break
    return fields


def remember_interrupt() -> None:
    """Let Ctrl-C end the process by SIGINT: CPython forgets that it has to when it evaluates source text meanwhile.

    A named tuple does that, and what is loaded to send the rest has some.
    """
    try:
        exec("raise KeyboardInterrupt")
    except KeyboardInterrupt:
        return
