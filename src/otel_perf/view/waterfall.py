"""A start, or any trace, as the rows of a waterfall: api.ts calls it Waterfall.

Reading order: start_object(), trace_object(). A trace of very many spans is shown without its shortest ones; a row that
leaves the critical path for no longer than can be seen, as for each of a thousand short calls, is on it all the time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_perf.analysis.advice import find_path
from otel_perf.analysis.startup import build_trace, walk

if TYPE_CHECKING:
    from typing import Any

    from otel_perf.analysis.advice import Explanation
    from otel_perf.analysis.model import Node, Process
    from otel_perf.analysis.startup import Start

MOST = 3_000  # rows
VISIBLE = 2_000  # parts of the time that can be told apart where all of it is seen
MOST_PARTS = 200  # of a row that lie on the critical path


def start_object(process: Process, start: Start, found: Explanation, most: int = MOST) -> dict[str, Any]:
    """Return the *start* of *process*, which was *found* to have its bottlenecks, with the reasons of these."""
    reasons = {id(step.source): one.why for one in found.bottlenecks for step in one.group.heads if one.why}
    return _object(process.start_trace, start, found, reasons, most) | {"limit": start.limit}


def trace_object(trace_id: str, nodes: list[Node], left_out: int = 0, most: int = MOST) -> dict[str, Any]:
    """Return a trace of *nodes*, at least one; *left_out*: of it were not kept."""
    trace = build_trace(nodes)
    found = _object(trace_id, trace, find_path(trace), {}, most)
    found["folded"] += left_out
    return found


def _object(trace_id: str, start: Start, found: Explanation, reasons: dict[int, str], most: int) -> dict[str, Any]:
    root = start.root
    began = min(top.start for top in start.tops())
    shift = (root.start - began) / 1e9
    rows = [(node, depth, parent) for top in start.tops() for node, depth, parent in _below(top)]
    # a node weighs as much as the longest below it: whoever is shown has its parents shown too
    shown = {id(node) for node, _, _ in sorted(rows, key=lambda row: -row[0].weight)[:most]}
    critical: dict[int, list[tuple[float, float]]] = {}
    for step, begin, end in found.path:
        if id(step.source) in shown:
            critical.setdefault(id(step.source), []).append((begin + shift, end + shift))
    least = (max(root.end, began) - began) / 1e9 / VISIBLE
    numbers: dict[int, int] = {}
    spans: list[dict[str, Any]] = []
    for node, depth, parent in rows:
        if id(node) not in shown:
            continue
        numbers[id(node)] = len(spans)
        parts = critical.get(id(node), [])
        spans.append(
            {
                "id": node.span_id,
                "parent": -1 if parent is None else numbers[id(parent)],
                "depth": depth,
                "name": node.name,
                "kind": node.kind,
                "begin": _seconds((node.start - began) / 1e9),
                "seconds": _seconds(node.duration),
                "self": None if node.self_time is None else _seconds(node.self_time),
                "critical": [[_seconds(begin), _seconds(end)] for begin, end in joined(parts, least)],
                "onPath": _seconds(sum(end - begin for begin, end in parts)),
                "why": reasons.get(id(node)),
                "file": node.file or None,
                "line": node.line or None,
                "error": node.error,
                "marks": list(node.marks),
            }
        )
    return {
        "traceId": trace_id,
        "began": began / 1e6,
        "seconds": (max(root.end, began) - began) / 1e9,
        "limit": None,
        "spans": spans,
        "folded": len(rows) - len(spans),
        "partial": False,
    }


def joined(parts: list[tuple[float, float]], least: float, most: int = MOST_PARTS) -> list[tuple[float, float]]:
    """Return ascending *parts* of the time, joined where less than *least* seconds are between them.

    Args:
        parts: begin and end of each.
        least: is doubled until no more parts than
        most: are left.
    """
    while True:
        found: list[tuple[float, float]] = []
        for begin, end in parts:
            if found and begin - found[-1][1] < least:
                found[-1] = found[-1][0], max(end, found[-1][1])
            else:
                found.append((begin, end))
        if len(found) <= most or not least > 0:
            return found
        parts, least = found, least * 2


def _below(top: Node) -> list[tuple[Node, int, Node | None]]:
    """Return *top* and all below it in pre-order, each with its depth and its parent."""
    depths: dict[int, int] = {id(top): 0}
    parents: dict[int, Node] = {}
    found: list[tuple[Node, int, Node | None]] = []
    for node in walk(top):
        for child in node.children:
            depths[id(child)], parents[id(child)] = depths[id(node)] + 1, node
        found.append((node, depths[id(node)], parents.get(id(node))))
    return found


def _seconds(number: float) -> float:
    """Return *number* to the microsecond: a page is no place for more digits."""
    return round(number, 6)
