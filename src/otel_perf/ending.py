"""How a process ended, as far as it can be seen from inside without changing the program.

Imports only: sys, recorder. The code of a SystemExit cannot be seen; a parent that is kept (`otel-perf run --report`)
knows the status.
"""

from __future__ import annotations

import sys

from .recorder import CHILDREN, CLOSED, CURRENT, N_PATH, NODE, OWN, SPAN, START, ancestors, describe, open_spans

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType, TracebackType
    from typing import Any

    from .startup import Startup

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
        while stack is not None and str(stack.f_globals.get("__name__")).partition(".")[0] == "otel_perf":
            stack = stack.f_back  # a second signal came while ours handled the first
        if stack is not None:
            fields |= {"code.file.path": stack.f_code.co_filename, "code.line.number": stack.f_lineno}
    elif rule == "exit" and isinstance(error, BaseException) and not hasattr(sys, "ps1"):
        fields |= _exception(error)
    if start is not None and not start.over:
        fields |= _where()
    return fields


def _exception(error: BaseException) -> dict[str, Any]:
    name, message = describe(error) or (type(error).__name__, "")
    fields: dict[str, Any] = {"otel_perf.end": "exception", "exception.type": name, "exception.message": message}
    if isinstance(error, KeyboardInterrupt):
        fields |= {"otel_perf.end": "signal", "otel_perf.signal": "SIGINT"}
    else:
        fields["process.exit.code"] = 1
    trace: TracebackType | None = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is not None:
        fields |= {"code.file.path": trace.tb_frame.f_code.co_filename, "code.line.number": trace.tb_lineno}
    return fields


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
