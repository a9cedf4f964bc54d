"""What one process recorded, in the form that reports need.

The spans of the start are kept, each as a slim Node; of everything after it only what the report shows: how
long each function's spans took, how many there were, which were slowest; of what was sampled a few hundred points. A
run of a million spans, or of many days, so stays within memory.

Reading order: Node, Process, load_process(); summarize() finds the start's root alone, for lists of runs.
"""

from __future__ import annotations

import os
from array import array
from dataclasses import dataclass, field
from heapq import heappush, heappushpop
from typing import TYPE_CHECKING, Any

from otel_perf.errors import UserError
from otel_perf.export.decode import read_logs, read_points, read_spans
from otel_perf.export.json_values import Skipped
from otel_perf.export.runs import LOGS, METRICS, TRACES

from .record import Record
from .unfinished import Unfinished, read_unfinished

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from otel_perf.budgets import Budget
    from otel_perf.export.decode import Point, Span

# What otel_perf.kind may be; a span of somebody else has none and is a "span".
KINDS = ("startup", "phase", "import", "function", "operation")
REMOTE = 0x200  # of a span's flags: its parent lives in another process
SLOWEST = 5
MARGIN = 1.0  # seconds by which a process may be younger than its first record
LATE_IMPORTS = 1_000  # imports after the start that are kept: the longest
ENDED = "otel_perf.process.ended"
END = "otel_perf.end"
USABLE = "otel_perf.startup.usable"
# What a span says about why it took so long; analysis/critical.py reads them.
FACTS = (
    "otel_perf.active_time",
    "otel_perf.cpu_time",
    "otel_perf.gc_time",
    "otel_perf.disk_read",
    "otel_perf.child_time",
    "otel_perf.wait.sleep",
    "otel_perf.wait.lock",
    "otel_perf.wait.socket",
    "otel_perf.wait.file",
    "otel_perf.wait.child",
    "otel_perf.wait.cpu",
    "otel_perf.wait.other",
    "thread.id",
    "code.file.path",
    "code.line.number",
)


class Node:
    """One span of the start.

    Attributes:
        kind: one of KINDS, or ``span`` for one of the plain OpenTelemetry API.
        start: nanoseconds since 1970, as is end.
        self_time: seconds in no recorded child, None where the recorder did not say.
        active: of a generator, seconds inside its body; duration covers its consumer too.
        depth: of our own frames, -1 where unknown; the root is 0.
        module: of an import.
        function: fully qualified name of the function it stands in, empty where unknown.
        file: where its code stands, empty where unknown; line is 0 then.
        error: type and message of the exception that ended it, None if none did.
        marks: ``open``, ``detached``, ``interrupted``, ``parallel``, ``continued``.
        facts: those of its attributes that FACTS names.
        children: filled by startup.build_start(), by start.
        weight: nanoseconds of the longest span in this subtree, as are children.
    """

    __slots__ = (
        "active", "children", "depth", "end", "error", "facts", "file", "function", "kind", "line", "marks", "module",
        "name", "parent_id", "self_time", "span_id", "start", "weight",
    )  # fmt: skip

    def __init__(self, name: str, kind: str, start: int, end: int, span_id: str = "", parent_id: str = "") -> None:
        self.name = name
        self.kind = kind
        self.start = start
        self.end = end
        self.span_id = span_id
        self.parent_id = parent_id
        self.self_time: float | None = None
        self.active: float | None = None
        self.depth = -1
        self.module = ""
        self.function = ""
        self.file = ""
        self.line = 0
        self.error: str | None = None
        self.marks: tuple[str, ...] = ()
        self.facts: dict[str, Any] = {}
        self.children: list[Node] = []
        self.weight = end - start

    @property
    def duration(self) -> float:
        """Seconds from start to end."""
        return (self.end - self.start) / 1e9

    def __repr__(self) -> str:
        return f"Node({self.kind} {self.name!r}, {self.duration:.6f} s, {len(self.children)} children)"


@dataclass(slots=True)
class After:
    """What was recorded after the start, or outside it.

    Attributes:
        spans: how many.
        slowest: the slowest of those that nothing else caused, slowest first.
        imports: the longest of those that no other import caused, longest first.
        last: when the last of them ended, in nanoseconds since 1970.
    """

    spans: int = 0
    slowest: list[Node] = field(default_factory=list)
    imports: list[Node] = field(default_factory=list)
    last: int = 0


@dataclass(slots=True)
class Process:
    """One process of a run.

    Attributes:
        path: its folder; run and name are the last two parts of it.
        resource: attributes of the last span or metric that has any: the first ones may lack the final
            service name.
        root: the start's root, None if its end was not recorded.
        root_attributes: all attributes of the root.
        nodes: spans of the start, the root among them, in the order in which they ended.
        durations: by span name, ``code.function.name`` and kind: seconds of each call that is a whole span.
        points: the last point of every series, by instrument.
        record: what it sampled and judged once a second, and its alerts.
        budgets: definitions that whoever reads this knows of; what the process said of its budgets goes before.
        ended: attributes of the events that say how the process ended, the later ones on top; empty if there are none.
        usable: seconds from its creation to the first useful moment, None if nobody said.
        unfinished: what was open when it was last seen.
        others: names of the run's other processes.
        skipped: what could not be read, by file.
    """

    path: str
    run: str
    name: str
    resource: dict[str, Any] = field(default_factory=dict)
    root: Node | None = None
    root_attributes: dict[str, Any] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    after: After = field(default_factory=After)
    durations: dict[tuple[str, str, str], array[float]] = field(default_factory=dict)
    points: dict[str, list[Point]] = field(default_factory=dict)
    record: Record = field(default_factory=Record)
    budgets: list[Budget] = field(default_factory=list)
    ended: dict[str, Any] = field(default_factory=dict)
    usable: float | None = None
    unfinished: list[Unfinished] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    skipped: dict[str, Skipped] = field(default_factory=dict)

    @property
    def service(self) -> str:
        """The service's name, as OpenTelemetry has it where there is none."""
        return text_of(self.resource, "service.name") or "unknown_service"

    @property
    def version(self) -> str:
        """The service's version, empty if it has none."""
        return text_of(self.resource, "service.version")

    def value(self, metric: str) -> float | None:
        """Return the last value of a gauge or sum, all its series together; None where there is none."""
        values = [point.value for point in self.points.get(metric, []) if point.value is not None]
        return sum(values) if values else None


def is_running(process: Process, began: int) -> bool:
    """Say whether *process*, begun at *began* (ns since 1970), still runs here: its pid may be another's by now."""
    import psutil

    host = text_of(process.resource, "host.name")
    pid = number_of(process.resource, "process.pid")
    if pid is None or (host and hasattr(os, "uname") and host != os.uname().nodename):
        return False
    try:
        found = psutil.Process(int(pid))
        return found.status() != psutil.STATUS_ZOMBIE and found.create_time() < began / 1e9 + MARGIN
    except (ValueError, OverflowError, psutil.Error):
        return False


def text_of(attributes: dict[str, Any], key: str) -> str:
    """Return the attribute *key* if it is a string, else an empty one."""
    value = attributes.get(key)
    return value if isinstance(value, str) else ""


def number_of(attributes: dict[str, Any], key: str) -> float | None:
    """Return the attribute *key* if it is a finite number, else None."""
    value = attributes.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < float("inf") else None  # NaN is not below it either


def node_of(span: Span) -> Node:
    """Return the slim form of *span*."""
    attributes = span.attributes
    kind = text_of(attributes, "otel_perf.kind")
    node = Node(span.name, kind if kind in KINDS else "span", span.start, span.end, span.span_id, span.parent_id)
    node.self_time = number_of(attributes, "otel_perf.self_time")
    node.active = number_of(attributes, "otel_perf.active_time")
    depth = number_of(attributes, "otel_perf.depth")
    node.depth = -1 if depth is None else int(depth)
    if kind == "import":
        node.module = text_of(attributes, "otel_perf.module") or span.name.removeprefix("import ")
    node.function = text_of(attributes, "code.function.name")
    node.file = text_of(attributes, "code.file.path")
    node.line = int(number_of(attributes, "code.line.number") or 0)
    marks = [mark for mark in ("open", "detached", "interrupted") if attributes.get(f"otel_perf.{mark}") is True]
    if span.links and kind in KINDS:
        marks.append("continued")  # the rest of a span that was open when the start ended
    node.marks = tuple(marks)
    node.facts = {key: attributes[key] for key in FACTS if key in attributes}
    node.error = _error_of(span)
    return node


def _error_of(span: Span) -> str | None:
    for event in span.events:
        if event.name == "exception":
            kind = text_of(event.attributes, "exception.type")
            message = text_of(event.attributes, "exception.message")
            if span.status_code == 2:
                return f"{kind}: {message}" if kind and message else kind or message or "error"
    return (span.status_message or "error") if span.status_code == 2 else None


# --- loading ------------------------------------------------------------------------------------------------


def load_process(path: str, others: Iterable[str] = ()) -> Process:
    """Read the folder of one process.

    Args:
        path: the folder.
        others: names of the run's other processes, for the report to list.

    Raises: UserError: a file is there and cannot be read.
    """
    full = os.path.abspath(path)
    process = Process(path, os.path.basename(os.path.dirname(full)), os.path.basename(full), others=list(others))
    loader = _Loader(process)
    for span in _reading(process.skipped, os.path.join(path, TRACES), read_spans):
        loader.add(span)
    loader.finish()
    latest: dict[tuple[str, str], Point] = {}
    for point in _reading(process.skipped, os.path.join(path, METRICS), read_points):
        latest[point.metric, repr(sorted(point.attributes.items(), key=lambda item: item[0]))] = point
        process.record.point(point)
        process.resource = process.resource or point.resource
    process.record.close()
    for point in latest.values():
        process.points.setdefault(point.metric, []).append(point)
    process.usable = number_of(process.root_attributes, USABLE)
    if END in process.root_attributes:
        process.ended = {END: process.root_attributes[END]}
    process.unfinished = read_unfinished(path)
    for log in _reading(process.skipped, os.path.join(path, LOGS), read_logs):
        process.resource = process.resource or log.resource
        if process.record.event(log):
            continue
        if log.event == ENDED:
            first = text_of(process.ended, END)
            process.ended |= log.attributes
            if first and text_of(log.attributes, END) == "status":  # the parent knows the code, the process knows why
                process.ended[END] = first
        elif log.event == USABLE and process.usable is None:
            process.usable = number_of(log.attributes, USABLE)
    return process


def _reading(counts: dict[str, Skipped], path: str, read: Any, **options: Any) -> Iterator[Any]:
    """Yield what *read* reads from *path*; what was skipped stands in *counts*."""
    skipped = Skipped()
    try:
        yield from read(path, skipped, **options)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}; is it yours?") from None
    if skipped:
        counts[path] = skipped


class _Loader:
    """Sorts spans into those of the start and the others, before it is known which trace is the start."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.start_trace = ""
        self.traces: dict[str, list[Node]] = {}  # as long as each may still be the start
        self.elsewhere: set[str] = set()  # traces that are not
        self.slowest: list[tuple[int, int, Node]] = []
        self.late: list[tuple[int, int, Node]] = []  # imports after the start

    def add(self, span: Span) -> None:
        """Take one span, in the order in which they ended."""
        node = node_of(span)
        process = self.process
        if span.resource:
            process.resource = span.resource
        self._time(node)
        trace = span.trace_id
        if trace == self.start_trace:
            process.nodes.append(node)
            if len(process.nodes) > 1 and not self._in_start(node):
                process.nodes.pop()
                self._elsewhere(node, caused=False)
        elif self.start_trace or trace in self.elsewhere:
            self._elsewhere(node, caused=bool(span.parent_id) and not span.flags & REMOTE)
        elif node.kind == "startup":
            self._found(trace, node, span)
        elif not span.parent_id or span.flags & REMOTE:  # the trace's root, and no start
            self._give_up(trace)
            self._elsewhere(node, caused=False)
        else:
            self.traces.setdefault(trace, []).append(node)

    def finish(self) -> None:
        """Decide which trace is the start, if no root said so."""
        if not self.start_trace:
            unfinished = {
                trace: min(node.start for node in nodes)
                for trace, nodes in self.traces.items()
                if any(node.kind in ("phase", "import") for node in nodes)
            }
            if unfinished:
                self.start_trace = min(unfinished, key=lambda trace: unfinished[trace])
                self.process.nodes = self.traces.pop(self.start_trace)
        for trace in list(self.traces):
            self._give_up(trace)
        after = self.process.after
        after.slowest = [node for _, _, node in sorted(self.slowest, key=lambda row: row[:2])[::-1]]
        late = [node for _, _, node in sorted(self.late, key=lambda row: row[:2])[::-1]]
        inside = {node.span_id for node in late}
        after.imports = [node for node in late if node.parent_id not in inside]

    def _found(self, trace: str, root: Node, span: Span) -> None:
        self.start_trace = trace
        process = self.process
        process.root, process.root_attributes = root, span.attributes
        nodes = self.traces.pop(trace, [])
        process.nodes = [root, *filter(self._in_start, nodes)]
        for node in nodes:
            if not self._in_start(node):
                self._elsewhere(node, caused=False)
        for other in list(self.traces):
            self._give_up(other)

    def _in_start(self, node: Node) -> bool:
        """Say whether *node* began before the start's end; work in a copied context may begin after it."""
        root = self.process.root
        return root is None or node.start <= root.end

    def _give_up(self, trace: str) -> None:
        self.elsewhere.add(trace)
        for node in self.traces.pop(trace, []):
            self._elsewhere(node, caused=bool(node.parent_id))

    def _elsewhere(self, node: Node, caused: bool) -> None:
        self.process.after.spans += 1
        self.process.after.last = max(self.process.after.last, node.end)
        row = (node.end - node.start, self.process.after.spans, node)
        if node.kind == "import":
            _keep(self.late, row, LATE_IMPORTS)
        if not caused:
            _keep(self.slowest, row, SLOWEST)

    def _time(self, node: Node) -> None:
        if node.kind not in ("function", "operation") or "open" in node.marks or "continued" in node.marks:
            return
        times = self.process.durations.setdefault((node.name, node.function, node.kind), array("d"))
        times.append(node.duration if node.active is None else node.active)


def _keep(heap: list[tuple[int, int, Node]], row: tuple[int, int, Node], most: int) -> None:
    """Put *row* on *heap*, which keeps the *most* longest."""
    if len(heap) < most:
        heappush(heap, row)
    else:
        heappushpop(heap, row)


# --- lists of runs ------------------------------------------------------------------------------------------


def summarize(path: str) -> Process:
    """Read only the start's root of the process folder *path*, and what comes first in its file.

    Raises: UserError: a file is there and cannot be read.
    """
    full = os.path.abspath(path)
    process = Process(path, os.path.basename(os.path.dirname(full)), os.path.basename(full))
    file = os.path.join(path, TRACES)
    for span in _reading({}, file, read_spans):
        process.resource = span.resource
        process.nodes.append(node_of(span))
        break
    for span in _reading({}, file, read_spans, only=b'"startup"'):
        if span.attributes.get("otel_perf.kind") == "startup":
            process.resource, process.root, process.root_attributes = (
                span.resource,
                node_of(span),
                span.attributes,
            )
            break
    return process


def first_started(processes: Iterable[Process]) -> Process:
    """Return the process of *processes* (at least one) whose root is earliest; else whose first span is."""

    def key(process: Process) -> tuple[bool, int]:
        first = process.root or (process.nodes[0] if process.nodes else None)
        return process.root is None, 2**64 if first is None else first.start

    return min(processes, key=key)
