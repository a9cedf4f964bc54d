"""Finds the spans of one trace in a file of millions: where its lines are by time, else by reading all of it.

Reading order: Places, find(), tree_of_nodes().
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from heapq import heappush, heappushpop
from time import monotonic
from typing import TYPE_CHECKING

from otel_perf.analysis.loading import Tail
from otel_perf.analysis.model import node_of
from otel_perf.analysis.startup import build_trace
from otel_perf.export.decode import parse_line, spans_of

from .profile import Branch

if TYPE_CHECKING:
    from otel_perf.analysis.model import Node

FOREVER = 2**62  # an offset
MOST_PLACES = 20_000
MOST_SPANS = 20_000  # of a trace that are kept: the longest
SMALL = 64 * 2**20  # bytes that are read from end to end
LATE = 60 * 10**9  # ns after its slowest span in which what that started is still looked for in a larger file
PATIENCE = 10.0  # seconds of reading after which what was found is all


class Places:
    """Where in a file the spans that ended by a moment are: one place for some lines, for more the longer the file."""

    def __init__(self) -> None:
        self._offsets = array("q")
        self._latest = array("q")  # the latest end (ns) of any span up to there
        self._every = 1
        self._count = 0

    def add(self, offset: int, latest: int) -> None:
        """Take a line that begins at *offset* and whose last span ended at *latest*."""
        latest = min(max(latest, self._latest[-1] if self._latest else 0), 2**63 - 1)
        self._count += 1
        if self._count % self._every and self._offsets:
            self._latest[-1] = latest
            return
        self._offsets.append(offset)
        self._latest.append(latest)
        if len(self._offsets) >= MOST_PLACES:
            self._offsets = self._offsets[::2]
            self._latest = self._latest[1::2]
            self._every *= 2

    def before(self, moment: int) -> int:
        """Return an offset before which no span ends at *moment* (ns) or later."""
        at = bisect_left(self._latest, min(max(moment, 0), 2**63 - 1))
        return self._offsets[at] if at < len(self._offsets) else (self._offsets[-1] if self._offsets else 0)

    def after(self, moment: int) -> int:
        """Return an offset behind which all spans ended after *moment* (ns)."""
        at = bisect_right(self._latest, min(max(moment, 0), 2**63 - 1)) + 1
        return self._offsets[at] if at < len(self._offsets) else FOREVER


def find(path: str, trace: str, begin: int = 0, end: int = FOREVER) -> tuple[list[Node], int]:
    """Return the spans of *trace* in the file *path*, and how many were left out: the shortest.

    Args:
        path: the file.
        trace: its id, 32 lower case hex digits.
        begin: offset at which to begin, and
        end: at which to end.

    Raises: OSError: the file cannot be read.
    """
    wanted, shouted = trace.encode(), trace.upper().encode()  # as somebody else may have written it
    tail = Tail(path)
    tail.offset = begin
    until = monotonic() + PATIENCE
    heap: list[tuple[int, int, Node]] = []
    count = 0
    for _, line in tail.lines(end - begin, over=True):
        data = parse_line(line, tail.skipped) if wanted in line or shouted in line else None
        for span in spans_of(data, tail.skipped) if data is not None else ():
            if span.trace_id == trace:
                count += 1
                node = node_of(span)
                row = (node.end - node.start, -count, node)
                if len(heap) < MOST_SPANS:
                    heappush(heap, row)
                else:
                    heappushpop(heap, row)
        if monotonic() > until:
            break
    heap.sort(key=lambda row: -row[1])
    return [node for _, _, node in heap], count - len(heap)


def tree_of_nodes(nodes: list[Node]) -> Branch:
    """Return the call tree of a trace's spans: spans of one name in one place are one node."""
    root = Branch("all")
    waiting = [(top, root) for top in build_trace(nodes).tops()]
    while waiting:
        node, parent = waiting.pop()
        branch = parent.below(node.name)
        branch.function = node.function if f".{node.function}".endswith(f".{node.name}") else node.name
        branch.calls = (branch.calls or 0) + 1
        branch.total += node.duration
        branch.own += node.self_time or 0.0
        waiting.extend((child, branch) for child in node.children)
    return root
