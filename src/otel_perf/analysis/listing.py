"""The list of runs: one line each, with the verdict on its start."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from otel_perf.errors import UserError

from .startup import build_start, verdict_of
from .summary import first_started, summarize
from .table import table
from .text import bytes_of, count, cut

if TYPE_CHECKING:
    from otel_perf.export.runs import Run

    from .text import Style

_UNKNOWN = {
    "exit": "unknown: no ready()",
    "shutdown": "unknown: no ready()",
    "interrupted": "unknown: interrupted",
    "no end": "unknown: no end",
    "unsaid": "unknown",
}


def list_text(runs: list[Run], style: Style) -> str:
    """Return one line for each of *runs*, in their order, below a header."""
    headers = ["  run", "service", "version", "processes", "start", "verdict", "size"]
    rows = [_cells(run, style) for run in runs]
    lines = table(headers, rows, style, left=(0, 1, 2, 5), drop=(3, 6, 2))
    return "".join(line.strip("\n") + "\n" for line in lines)


def _cells(run: Run, style: Style) -> list[str]:
    size = bytes_of(run.size())
    try:
        process = first_started(summarize(os.path.join(run.path, name)) for name in run.processes)
    except UserError:
        processes = count(len(run.processes))
        return [style.clean(run.name), style.none, style.none, processes, style.none, "cannot be read", size]
    service, version = (
        cut(style.clean(text), 24, style.more) for text in (process.service, process.version or style.none)
    )
    took, verdict = style.none, "no start recorded"
    start = build_start(process)
    if start is not None:
        judged = verdict_of(start)
        if judged.state == "unknown":
            verdict = _UNKNOWN[judged.cause]
        elif judged.state == "within":
            verdict = f"within {style.duration(judged.limit)}"
        else:
            verdict = f"exceeded by {style.duration(judged.seconds - judged.limit)}"
        if start.recorded:
            took = style.duration(judged.seconds)
    return [style.clean(run.name), service, version, count(len(run.processes)), took, verdict, size]
