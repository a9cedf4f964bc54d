"""Sorts spans, in the order in which they ended, into those of the start and all others.

Spans of the start are kept; of everything after it what reports show, so that a run of a million spans, or of many
days, stays within memory. Reading order: Spans.add(), Spans.settle(); Rest.
"""

from __future__ import annotations

from array import array
from heapq import heappush, heappushpop
from typing import TYPE_CHECKING

from .model import REMOTE, After, Call, node_of, number_of, text_of

if TYPE_CHECKING:
    from otel_perf.export.decode import Span

    from .model import Node, Process

    Heap = list[tuple[int, int, "Node"]]

SLOWEST = 5  # of those after the start that nothing else caused
CALLS = 50  # of the whole run
LATE_IMPORTS = 1_000  # imports after the start that are kept: the longest
DURATIONS = 4_000_000  # that are kept, 8 bytes each; with more of them percentiles come from buckets
ELSEWHERE = 100_000  # traces that are known not to be the start, as long as that is not known
UNDECIDED = 200_000  # spans that are kept while nobody knows which trace is the start
NEVER_CALLED = ("startup", "phase", "import")  # kinds of span


class Rest:
    """Spans that are none of the start's: what is kept of them."""

    __slots__ = ("last", "late", "slowest", "spans")

    def __init__(self) -> None:
        self.spans = self.last = 0
        self.slowest: Heap = []
        self.late: Heap = []  # imports

    def copy(self) -> Rest:
        """Return the same once more, to be added to."""
        other = Rest()
        other.spans, other.last = self.spans, self.last
        other.slowest, other.late = list(self.slowest), list(self.late)
        return other

    def add(self, node: Node, caused: bool) -> None:
        """Take a span; *caused*: by another one."""
        self.count(node.end)
        row = (node.end - node.start, self.spans, node)
        if node.kind == "import":
            _keep(self.late, row, LATE_IMPORTS)
        if not caused:
            _keep(self.slowest, row, SLOWEST)

    def count(self, end: int) -> None:
        """Take a span of which nothing but its *end* (ns since 1970) is kept."""
        self.spans += 1
        self.last = max(self.last, end)

    def keeps(self, length: int, kind: str, caused: bool) -> bool:
        """Say whether more than its end would be kept of a span: it is long enough (ns)."""
        if kind == "import":
            return True
        return not caused and (len(self.slowest) < SLOWEST or length >= self.slowest[0][0])

    def after(self) -> After:
        """Return them as reports need them."""
        late = _longest_first(self.late)
        inside = {node.span_id for node in late}
        imports = [node for node in late if node.parent_id not in inside]
        return After(self.spans, _longest_first(self.slowest), imports, self.last)


class Spans:
    """Sorts the spans of *process*, before it is known which trace is its start."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.start_trace = ""
        self.traces: dict[str, list[Node]] = {}  # as long as each may still be the start
        self.undecided = 0  # spans in them
        self.elsewhere: dict[str, None] = {}  # traces that are not, the oldest first
        self.rest = Rest()
        self.calls: list[tuple[int, int, Call]] = []
        self.number = 0
        self.timed = 0

    def add(self, span: Span) -> None:
        """Take one span, in the order in which they ended."""
        process = self.process
        if span.resource:
            process.resource = span.resource
        kind = text_of(span.attributes, "otel_perf.kind")
        if kind not in NEVER_CALLED:
            self._time(span, kind)
            self._call(span)
        trace = span.trace_id
        if self.start_trace and trace != self.start_trace:
            self._add_to_rest(span, kind, caused=bool(span.parent_id) and not span.flags & REMOTE)
        elif trace == self.start_trace:
            if self._in_start(span):
                process.nodes.append(node_of(span))
            else:
                self._add_to_rest(span, kind, caused=False)
        elif trace in self.elsewhere:
            self._add_to_rest(span, kind, caused=bool(span.parent_id) and not span.flags & REMOTE)
        elif kind == "startup":
            self._found(trace, node_of(span), span)
        elif not span.parent_id or span.flags & REMOTE:  # the trace's root, and no start
            self._give_up(trace)
            self._add_to_rest(span, kind, caused=False)
        else:
            self.traces.setdefault(trace, []).append(node_of(span))
            self.undecided += 1
            if self.undecided > UNDECIDED:
                self._decide()

    def _add_to_rest(self, span: Span, kind: str, caused: bool) -> None:
        if self.rest.keeps(span.end - span.start, kind, caused):
            self.rest.add(node_of(span), caused)
        else:
            self.rest.count(span.end)

    def settle(self) -> None:
        """Tell the process what is known by now; which trace is the start is guessed if no root has said so yet."""
        process, rest = self.process, self.rest
        if not self.start_trace:
            start = process.start_trace = self._likely()
            process.nodes = self.traces.get(start, [])
            rest = rest.copy()
            for trace, nodes in self.traces.items():
                for node in nodes if trace != start else ():
                    rest.add(node, caused=bool(node.parent_id))
        process.after = rest.after()
        process.calls = [call for _, _, call in sorted(self.calls, key=_weight, reverse=True)]

    def _likely(self) -> str:
        """Return the trace that is the start unless a root says otherwise; empty if there is none."""
        begun = {
            trace: min(node.start for node in nodes)
            for trace, nodes in self.traces.items()
            if any(node.kind in ("phase", "import") for node in nodes)
        }
        return min(begun, key=lambda trace: begun[trace]) if begun else ""

    def _decide(self) -> None:
        """Give all traces up but the one that is the start so far: there are too many to keep."""
        start = self._likely()
        for trace in [trace for trace in self.traces if trace != start]:
            self._give_up(trace)
        if self.undecided > UNDECIDED:  # a start of many spans, then
            self.undecided = 0

    def _found(self, trace: str, root: Node, span: Span) -> None:
        process = self.process
        self.start_trace = process.start_trace = trace
        process.root, process.root_attributes = root, span.attributes
        nodes = self.traces.pop(trace, [])
        process.nodes = [root, *filter(self._in_start, nodes)]
        for node in nodes:
            if not self._in_start(node):
                self.rest.add(node, caused=False)
        for other in list(self.traces):
            self._give_up(other)

    def _in_start(self, one: Node | Span) -> bool:
        """Say whether *one* began before the start's end; work in a copied context may begin after it."""
        root = self.process.root
        return root is None or one.start <= root.end

    def _give_up(self, trace: str) -> None:
        self.elsewhere[trace] = None
        if len(self.elsewhere) > ELSEWHERE:
            del self.elsewhere[next(iter(self.elsewhere))]
        nodes = self.traces.pop(trace, [])
        self.undecided -= len(nodes)
        for node in nodes:
            self.rest.add(node, caused=bool(node.parent_id))

    def _time(self, span: Span, kind: str) -> None:
        says = span.attributes
        if kind not in ("function", "operation") or says.get("otel_perf.open") is True or span.links:
            return  # part of a call only: the start ended in it
        self.timed += 1
        if self.timed > DURATIONS:
            return
        key = (span.name, text_of(says, "code.function.name"), kind)
        times = self.process.durations.get(key)
        if times is None:
            times = self.process.durations[key] = array("d")
        active = number_of(says, "otel_perf.active_time") if "otel_perf.active_time" in says else None
        times.append((span.end - span.start) / 1e9 if active is None else active)

    def _call(self, span: Span) -> None:
        length = span.end - span.start
        if len(self.calls) == CALLS and length <= self.calls[0][0]:
            return
        self.number += 1
        row = (length, -self.number, Call(span.trace_id, node_of(span)))
        if len(self.calls) < CALLS:
            heappush(self.calls, row)
        else:
            heappushpop(self.calls, row)


def _keep(heap: Heap, row: tuple[int, int, Node], most: int) -> None:
    """Put *row* on *heap*, which keeps the *most* longest."""
    if len(heap) < most:
        heappush(heap, row)
    else:
        heappushpop(heap, row)


def _longest_first(heap: Heap) -> list[Node]:
    return [node for _, _, node in sorted(heap, key=lambda row: row[:2], reverse=True)]


def _weight(row: tuple[int, int, Call]) -> tuple[int, int]:
    return row[:2]
