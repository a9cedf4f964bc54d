"""What one process recorded, in the form that reports need.

The spans of the start are kept, each as a slim Node; of everything after it only what the report shows: how
long each function's spans took, how many there were, which were slowest; of what was sampled a few hundred points. A
run of a million spans, or of many days, so stays within memory.

Reading order: Node, Process; loading.py reads one, summary.py finds the start's root alone, for lists of runs.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from otel_perf.export.alive import is_held

from .record import Record

if TYPE_CHECKING:
    from array import array

    from otel_perf.budgets import Budget
    from otel_perf.export.decode import Log, Point, Span
    from otel_perf.export.json_values import Skipped

    from .unfinished import Unfinished

# What otel_perf.kind may be; a span of somebody else has none and is a "span".
KINDS = ("startup", "phase", "import", "function", "operation")
REMOTE = 0x200  # of a span's flags: its parent lives in another process
MARGIN = 1.0  # seconds by which a process may be younger than its first record
END = "otel_perf.end"
USABLE = "otel_perf.startup.usable"
INFERRED = "otel_perf.startup.inferred"  # event: the program seems to be ready; the root that says so comes later
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


@dataclass(frozen=True, slots=True)
class Call:
    """A call, or a span of the OpenTelemetry API, and the trace that it is in."""

    trace_id: str
    node: Node


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
        root_attributes: all attributes of the root, or of what was inferred.
        inferred: what stands for the root as long as that is not recorded: the program seemed to be ready.
        start_trace: id of the start's trace, empty where there is none.
        nodes: spans of the start, the root among them, in the order in which they ended.
        durations: by span name, ``code.function.name`` and kind: seconds of each call that is a whole span.
        calls: the slowest of the whole run, the slowest first.
        points: the last point of every series, by instrument.
        record: what it sampled and judged once a second, and its alerts.
        budgets: definitions that whoever reads this knows of; what the process said of its budgets goes before.
        ended: attributes of the events that say how the process ended, the later ones on top; empty if there are none.
        last: when anything of it was recorded last, in nanoseconds since 1970; 0 where nobody knows.
        usable: seconds from its creation to the first useful moment, None if nobody said.
        unfinished: what was open when it was last seen.
        others: names of the run's other processes.
        skipped: what could not be read, by file.
        running: it still runs; None: whoever wants to know looks.
    """

    path: str
    run: str
    name: str
    resource: dict[str, Any] = field(default_factory=dict)
    root: Node | None = None
    root_attributes: dict[str, Any] = field(default_factory=dict)
    inferred: Node | None = None
    start_trace: str = ""
    nodes: list[Node] = field(default_factory=list)
    after: After = field(default_factory=After)
    durations: dict[tuple[str, str, str], array[float]] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    points: dict[str, list[Point]] = field(default_factory=dict)
    record: Record = field(default_factory=Record)
    budgets: list[Budget] = field(default_factory=list)
    ended: dict[str, Any] = field(default_factory=dict)
    last: int = 0
    usable: float | None = None
    unfinished: list[Unfinished] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    skipped: dict[str, Skipped] = field(default_factory=dict)
    running: bool | None = None

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
    """Say whether *process*, begun at *began* (ns since 1970), still runs: its pid may be another's by now.

    Its folder's lock says so where the pid does not: of a process in a container, or after the clock was set forward,
    with which the moment goes at which the system says that a process was created.
    """
    if process.running is not None:
        return process.running
    return _has_pid(process, began) or is_held(process.path)


def _has_pid(process: Process, began: int) -> bool:
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


def infer(process: Process, log: Log) -> None:
    """Take the event that tells since when *process* seems to be ready."""
    seconds = number_of(log.attributes, "otel_perf.startup.duration")
    if process.root is None and seconds is not None and 0 <= seconds < log.time / 1e9:
        process.inferred = Node("startup", "startup", log.time - int(seconds * 1e9), log.time, log.span_id)
        process.inferred.depth = 0
        process.root_attributes = log.attributes


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
