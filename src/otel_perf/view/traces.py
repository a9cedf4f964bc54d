"""Finds the spans of one trace in a file of millions: where its lines are by time, else by reading all of it.

A waterfall has the longest spans of a trace; its flame graph is made of all of them, of which a few numbers each are
kept. Reading order: Places, Search; find(); Calls.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from heapq import heappush, heappushpop
from math import isnan, nan
from time import monotonic
from typing import TYPE_CHECKING

from otel_perf.analysis.loading import Tail
from otel_perf.analysis.model import node_of
from otel_perf.analysis.startup import length, merged
from otel_perf.export.decode import parse_line, spans_of

from .profile import Branch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_perf.analysis.model import Node
    from otel_perf.analysis.startup import Interval

FOREVER = 2**62  # an offset
MOST_PLACES = 20_000
MOST_SPANS = 20_000  # of a trace that are kept: the longest
SMALL = 64 * 2**20  # bytes that are read from end to end
LATE = 60 * 10**9  # ns after its slowest span in which what that started is still looked for in a larger file
PATIENCE = 30.0  # seconds that a page waits: what was found by then is told, and that the file goes on


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


class Search:
    """The spans of one trace in a file, in the order in which they ended.

    Attributes:
        partial: there was no time to read the file to its end: there may be more.
    """

    def __init__(self, path: str, trace: str, begin: int = 0, end: int = FOREVER, patience: float = PATIENCE) -> None:
        """Say what is looked for.

        Args:
            path: the file.
            trace: its id, 32 lower case hex digits.
            begin: offset at which to begin, and
            end: at which to end.
            patience: seconds after which reading ends, wherever it is.
        """
        self.partial = False
        self._wanted = trace
        self._tail = Tail(path)
        self._tail.offset = begin
        self._size = end - begin
        self._until = monotonic() + patience

    def nodes(self) -> Iterator[Node]:
        """Yield them.

        Raises: OSError: the file cannot be read.
        """
        trace, skipped = self._wanted, self._tail.skipped
        wanted, shouted = trace.encode(), trace.upper().encode()  # as somebody else may have written it
        for _, line in self._tail.lines(self._size, over=True):
            if monotonic() > self._until:
                self.partial = True
                return
            data = parse_line(line, skipped) if wanted in line or shouted in line else None
            for span in spans_of(data, skipped) if data is not None else ():
                if span.trace_id == trace:
                    yield node_of(span)


def find(search: Search) -> tuple[list[Node], int]:
    """Return the longest of the spans that are found, and how many others there are.

    Raises: OSError: the file cannot be read.
    """
    heap: list[tuple[int, int, Node]] = []
    count = 0
    for count, node in enumerate(search.nodes(), 1):
        row = (node.end - node.start, -count, node)
        if len(heap) < MOST_SPANS:
            heappush(heap, row)
        else:
            heappushpop(heap, row)
    heap.sort(key=lambda row: -row[1])
    return [node for _, _, node in heap], count - len(heap)


class Calls:
    """All spans of a trace, a few numbers each, until the last of them has told where the first belong.

    Attributes:
        began: when the first of them began (ns since 1970), and
        end: when the last ended.
    """

    def __init__(self) -> None:
        self.began = self.end = 0
        self._rows: dict[int, int] = {}  # by span id
        self._parents = array("Q")  # ids, 0: none
        self._starts, self._ends, self._own = array("Q"), array("Q"), array("d")
        self._names: dict[tuple[str, str], int] = {}
        self._named = array("L")
        self._detached: set[int] = set()  # rows

    def __len__(self) -> int:
        return len(self._starts)

    def add(self, node: Node) -> None:
        """Take a span; of one that was written twice, the first."""
        row = len(self._starts)
        if self._rows.setdefault(int(node.span_id or "0", 16), row) != row:
            return
        self.began = min(self.began, node.start) if row else node.start
        self.end = max(self.end, node.end)
        self._parents.append(int(node.parent_id or "0", 16))
        self._starts.append(node.start)
        self._ends.append(node.end)
        self._own.append(nan if node.self_time is None else node.self_time)
        function = node.function if f".{node.function}".endswith(f".{node.name}") else node.name
        self._named.append(self._names.setdefault((node.name, function), len(self._names)))
        if "detached" in node.marks:
            self._detached.add(row)

    def tree(self) -> Branch:
        """Return the call tree: spans of one name in one place are one node."""
        parents = [self._rows.get(parent, -1) if parent else -1 for parent in self._parents]
        own = self._own_times(parents)
        names = list(self._names)
        root = Branch("all")
        places: list[Branch | None] = [None] * len(parents)
        for each in range(len(parents)):
            for row in reversed(self._above(each, parents, places)):
                above = places[parents[row]] if parents[row] >= 0 else root
                name, function = names[self._named[row]]
                branch = places[row] = (above or root).below(name)
                branch.function = function
                branch.calls = (branch.calls or 0) + 1
                branch.total += (self._ends[row] - self._starts[row]) / 1e9
                branch.own += own[row]
        return root

    def _above(self, row: int, parents: list[int], places: list[Branch | None]) -> list[int]:
        """Return *row* and those above it that have no place yet; a circle is broken above its first."""
        found: dict[int, None] = {}
        while row >= 0 and places[row] is None:
            if row in found:  # a damaged file may make spans each other's parents
                circle = list(found)[list(found).index(row) :]
                first = min(circle, key=lambda each: (self._starts[each], each))
                parents[first] = -1
                return self._above(next(iter(found)), parents, places)
            found[row] = None
            row = parents[row]
        return list(found)

    def _own_times(self, parents: list[int]) -> array[float]:
        """Return the seconds of each in none of its children, where the recorder did not say so, too."""
        own = array("d", self._own)
        inside: dict[int, list[Interval]] = {row: [] for row, seconds in enumerate(own) if isnan(seconds)}
        for row, parent in enumerate(parents) if inside else ():
            if parent in inside and row not in self._detached:
                begin, end = max(self._starts[row], self._starts[parent]), min(self._ends[row], self._ends[parent])
                if begin < end:
                    inside[parent].append((begin, end))
        for row, intervals in inside.items():
            own[row] = (self._ends[row] - self._starts[row] - length(merged(intervals))) / 1e9
        return own
