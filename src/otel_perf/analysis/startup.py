"""The start of a process: its tree, the verdict on it, and what its imports took.

Reading order: Start, build_start(), build_trace(); Verdict, verdict_of(); then imports_of(). Times are integer
nanoseconds in nodes and intervals, seconds everywhere else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from otel_perf.budgets import STARTUP

from .model import Node, is_running, number_of, text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .model import Process

    Interval = tuple[int, int]

LIMIT = 2.0  # seconds, where the root does not say
TOUCH = 1_000  # ns that siblings may overlap by rounding alone
CLOSED_BY = {"exit": "exit", "shutdown": "shutdown", "signal": "interrupted", "": "unsaid"}  # without ready()
NOT_RECORDED = "(parent not recorded)"


@dataclass(slots=True)
class Start:
    """The start of one process.

    Attributes:
        root: the root; where its end was not recorded, one that spans all that was.
        recorded: its end is known: the root was recorded, or what was inferred before that.
        waits: the end was inferred a moment ago, and ready() may still come.
        running: the process is still in it, as far as can be seen from here.
        lasts: seconds after which the process itself saw the budget of a start without an end exceeded, as far as that
            was recorded; 0 if it did not.
        orphans: spans whose parent was not recorded, by start; they stand in no other children.
        limit: seconds that the start may take.
        ready: what ended it: ``ready()``, ``exit`` (nobody called ready()), another rule, or empty if
            unknown.
        ready_when: the rule that was asked for, empty if none was: a start that is meant to last until the exit.
        awaited: the program called init() itself, so that to say ready() was its part: without it the budget is
            exceeded as soon as its limit has passed.
        imports_seen: imports that ran, those too fast for a span included; 0 where unknown.
        modules_before: modules that were loaded before init(), so that their times are not known.
    """

    root: Node
    recorded: bool
    orphans: list[Node] = field(default_factory=list)
    limit: float = LIMIT
    ready: str = ""
    ready_when: str = ""
    awaited: bool = False
    modules_before: int = 0
    imports_seen: int = 0
    waits: bool = False
    running: bool = False
    lasts: float = 0.0

    def tops(self) -> list[Node]:
        """Return the root and the orphans: together they hold every span."""
        return [self.root, *self.orphans]


def build_start(process: Process) -> Start | None:
    """Return the start of *process*, its nodes joined to a tree; None if it recorded none."""
    attributes = process.root_attributes
    root, nodes = process.root, process.nodes
    if root is None and process.inferred is not None:
        root = process.inferred
        nodes = [node for node in nodes if node.start <= root.end]
    if root is None:
        if not nodes:
            return None
        begin, end = min(node.start for node in nodes), max(node.end for node in nodes)
        start = Start(Node("startup", "startup", begin, end), recorded=False, running=is_running(process, begin))
        start.limit, start.lasts = judged_by_process(process)
    else:
        start = Start(root, recorded=True, waits=process.root is None and is_running(process, root.start))
    limit = number_of(attributes, "otel_perf.budget.startup")
    if limit is not None and limit > 0:
        start.limit = limit
    start.ready = text_of(attributes, "otel_perf.ready")
    start.ready_when = text_of(attributes, "otel_perf.startup.ready_when")
    start.awaited = attributes.get("otel_perf.startup.awaits_ready") is True
    start.imports_seen = int(number_of(attributes, "otel_perf.startup.imports") or 0)
    start.modules_before = int(number_of(attributes, "otel_perf.startup.modules_before_init") or 0)
    _join(start, nodes)
    return start


def judged_by_process(process: Process) -> tuple[float, float]:
    """Return limit and lasts, as in Start, of a start without an end: its process knows for how long it lasts."""
    record = process.record
    kept = record.budgets.get("startup")
    limit = kept.limit if kept is not None and kept.limit else LIMIT
    alerts = [one for one in record.alerts if one.metric == STARTUP and record.open(one.budget) is one]
    return limit, max([record.peak(one) or 0.0 for one in alerts], default=0.0)


def build_trace(nodes: list[Node]) -> Start:
    """Return the spans of any trace, at least one, joined to a tree below the longest that no other of them caused."""
    known = {node.span_id for node in nodes}
    tops = [node for node in nodes if node.parent_id not in known]
    root = max(tops or nodes, key=lambda node: node.end - node.start)
    found = Start(root, recorded=True)
    _join(found, nodes)
    return found


def _join(start: Start, nodes: list[Node]) -> None:
    """Give every node its place below the root or among the orphans, each span id once."""
    root = start.root
    by_id = {root.span_id: root}
    for node in nodes:
        by_id.setdefault(node.span_id, node)  # of a span written twice, the first
        node.children = []
    for node in sorted(by_id.values(), key=lambda node: (node.start, -node.end)):
        if node is root:
            continue
        parent = by_id.get(node.parent_id)
        if parent is None and not start.recorded and node.depth == 1:
            parent = root  # the one that is missing
        (start.orphans if parent is None else parent.children).append(node)
    _break_circles(start, by_id.values())
    for top in start.tops():
        for node in reversed(list(walk(top))):
            _weigh(node)
    _mark_parallel(start.orphans)


def _break_circles(start: Start, nodes: Iterable[Node]) -> None:
    """Put one node of each circle among the orphans: a damaged file may make spans each other's parents."""
    reached = {id(node) for top in start.tops() for node in walk(top)}
    lost = [node for node in nodes if id(node) not in reached]
    by_id = {node.span_id: node for node in lost}
    for node in sorted(lost, key=lambda node: node.start):
        if id(node) not in reached:
            by_id[node.parent_id].children.remove(node)
            start.orphans.append(node)
            reached.update(id(below) for below in walk(node))


def _weigh(node: Node) -> None:
    node.weight = max([node.end - node.start, *(child.weight for child in node.children)])
    _mark_parallel(node.children)
    if node.self_time is None:
        node.self_time = length(gaps(node)) / 1e9


def _mark_parallel(siblings: list[Node]) -> None:
    """Mark siblings that ran at the same time: their times may add up to more than their parent's."""
    latest: Node | None = None
    for node in siblings:  # by start
        if latest is not None and node.start < latest.end - TOUCH and node.end - node.start > TOUCH:
            for one in (latest, node):
                if "parallel" not in one.marks:
                    one.marks = (*one.marks, "parallel")
        if latest is None or node.end > latest.end:
            latest = node


def walk(top: Node) -> Iterator[Node]:
    """Yield *top* and all below it, parents first; without recursion, which a deep tree would exhaust."""
    waiting = [top]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(reversed(node.children))


def merged(intervals: Iterable[Interval]) -> list[Interval]:
    """Return the union of *intervals*, ascending and disjoint."""
    union: list[Interval] = []
    for begin, end in sorted(intervals):
        if union and begin <= union[-1][1]:
            union[-1] = (union[-1][0], max(union[-1][1], end))
        else:
            union.append((begin, end))
    return union


def length(disjoint: Iterable[Interval]) -> int:
    """Return the nanoseconds in disjoint intervals."""
    return sum(end - begin for begin, end in disjoint)


def gaps(node: Node) -> list[Interval]:
    """Return the parts of *node* that are in none of its children."""
    found, at = [], node.start
    for begin, end in merged((child.start, child.end) for child in node.children if "detached" not in child.marks):
        if begin > at:
            found.append((at, min(begin, node.end)))
        at = max(at, end)
    if at < node.end:
        found.append((at, node.end))
    return [(begin, end) for begin, end in found if end > begin]


# --- the verdict --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Verdict:
    """The start against its budget.

    Attributes:
        state: ``within``, ``exceeded`` or ``unknown``.
        seconds: how long the start took, or how much of it was recorded.
        limit: the budget.
        ready: as in Start.
        cause: why it is unknown, or how one ended that should have said ready() and exceeded its limit: ``exit`` or
            ``shutdown`` (no ready()), ``interrupted`` (a signal), ``no end`` (killed, or not over), ``unsaid`` (not in
            the record).
        where: the last thing that is known of a start that has no end, or was open in one that was interrupted,
            outermost first.
        recorded: seconds that its spans reach, of a start without an end.
        waits: as in Start, and
        running: too.
    """

    state: str
    seconds: float
    limit: float
    ready: str
    cause: str = ""
    where: tuple[str, ...] = ()
    recorded: float = 0.0
    waits: bool = False
    running: bool = False


def verdict_of(start: Start) -> Verdict:
    """Judge the start."""
    seconds = start.root.duration
    cause = ""
    if not start.recorded:
        cause = "no end"
    elif "interrupted" in start.root.marks:
        cause = "interrupted"
    elif start.ready in CLOSED_BY and not start.ready == start.ready_when == "exit":
        cause = CLOSED_BY[start.ready]
    if cause:
        where = last_known(start, ended=cause == "no end") if cause in ("no end", "interrupted") else ()
        exceeded = (start.awaited and seconds > start.limit) or start.lasts > start.limit
        state, lasted = "exceeded" if exceeded else "unknown", max(seconds, start.lasts)
        return Verdict(state, lasted, start.limit, start.ready, cause, where, seconds, running=start.running)
    state = "exceeded" if seconds > start.limit else "within"
    return Verdict(state, seconds, start.limit, start.ready, waits=start.waits)


def last_known(start: Start, ended: bool = True) -> tuple[str, ...]:
    """Return the names that lead to what went on last: interrupted or open spans, else, if *ended*, what ended last."""
    parents = {id(child): node for top in start.tops() for node in walk(top) for child in node.children}
    nodes = [node for top in start.tops() for node in walk(top) if node is not start.root]
    unfinished = [node for node in nodes if "interrupted" in node.marks or "open" in node.marks]
    if unfinished:
        last = max(unfinished, key=lambda node: node.start)
    elif nodes and ended:
        last = max(nodes, key=lambda node: (node.end, node.start))
    else:
        return ()
    names = []
    node: Node | None = last
    while node is not None and node is not start.root:
        names.append(node.name)
        node = parents.get(id(node))
    return tuple(reversed(names))


# --- imports ------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class ImportRow:
    """One module: seconds of its own, with nested imports, and the phase in which it was first imported."""

    module: str
    self_time: float
    total: float
    phase: str


@dataclass(frozen=True, slots=True)
class Failed:
    """A module whose import failed: how often, how many seconds that took, the last error, and the spans."""

    module: str
    times: int
    seconds: float
    error: str
    nodes: tuple[Node, ...] = ()


@dataclass(slots=True)
class Imports:
    """The imports of a start.

    Attributes:
        count: recorded imports.
        seconds: of all of them together, each moment counted once.
        by_phase: for each phase with imports, its name, seconds as above, and their share of the phase.
        rows: by module, the largest self time first.
        failed: not those inside another that failed.
    """

    count: int = 0
    seconds: float = 0.0
    by_phase: list[tuple[str, float, float]] = field(default_factory=list)
    rows: list[ImportRow] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)


def imports_of(start: Start) -> Imports:
    """Return what the imports of the start took."""
    found = list(_with_phase(start))
    rows: dict[str, ImportRow] = {}
    intervals: dict[str, list[Interval]] = {}
    for node, phase, _ in found:
        row = rows.setdefault(node.module, ImportRow(node.module, 0.0, 0.0, "" if phase is None else phase.name))
        row.self_time += node.self_time or 0.0
        intervals.setdefault(node.module, []).append((node.start, node.end))
    for module, row in rows.items():
        row.total = length(merged(intervals[module])) / 1e9
    result = Imports(len(found), length(merged((node.start, node.end) for node, _, _ in found)) / 1e9)
    result.by_phase = list(_shares(found))
    result.rows = sorted(rows.values(), key=lambda row: (-row.self_time, -row.total, row.module))
    result.failed = _failures(node for node, _, inside in found if node.error is not None and not inside)
    return result


def _with_phase(start: Start) -> Iterator[tuple[Node, Node | None, bool]]:
    """Yield each import, the phase around it, and whether it lies in an import that failed."""
    waiting: list[tuple[Node, Node | None, bool]] = [(top, None, False) for top in reversed(start.tops())]
    while waiting:
        node, phase, failing = waiting.pop()
        if node.kind == "import":
            yield node, phase, failing
            failing = failing or node.error is not None
        elif node.kind == "phase":
            phase = node
        waiting.extend((child, phase, failing) for child in reversed(node.children))


def _shares(found: list[tuple[Node, Node | None, bool]]) -> Iterator[tuple[str, float, float]]:
    phases: dict[int, tuple[Node, list[Interval]]] = {}
    for node, phase, _ in found:
        if phase is not None:
            phases.setdefault(id(phase), (phase, []))[1].append((node.start, node.end))
    for phase, intervals in sorted(phases.values(), key=lambda pair: pair[0].start):
        inside = [(max(begin, phase.start), min(end, phase.end)) for begin, end in intervals]
        taken = length(merged((begin, end) for begin, end in inside if begin < end)) / 1e9
        yield phase.name, taken, taken / phase.duration if phase.duration else 0.0


def _failures(nodes: Iterable[Node]) -> list[Failed]:
    by_module: dict[str, list[Node]] = {}
    for node in nodes:
        by_module.setdefault(node.module, []).append(node)
    failed = [
        Failed(
            module,
            len(times),
            length(merged((node.start, node.end) for node in times)) / 1e9,
            times[-1].error or "",
            tuple(times),
        )
        for module, times in by_module.items()
    ]
    return sorted(failed, key=lambda one: (-one.seconds, one.module))
