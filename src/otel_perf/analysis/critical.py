"""The critical path of a start: what its end waited for, step by step, and why the longest steps took so long.

Pure functions over Steps, for the worker (finished records, before the root is written) and for the report (spans that
were read) alike. Imports nothing at run time: the worker's start is part of what the program costs.

Reading order: Step, join(), follow(); then Group, bottlenecks(), reason_of(). Times are seconds since the start began.

A generator's part is the time inside its body; what went on beside it, in its consumer, is its neighbour.

The path is found backwards from the end of a step: its child that ended last before the cursor is on the path, with
what it waited for in turn, and the cursor moves to that child's beginning. Time in no child is the step's own.

Source: Zhang et al. (2022), "CRISP: Critical Path Analysis of Large-Scale Microservice Architectures".
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    Row = tuple[Any, Any, "Step"]  # id, parent's id, step
    Segment = tuple["Step", float, float]  # who had the path, from, to

TOUCH = 1e-6  # seconds that two steps may overlap by rounding alone
HANDS_OVER = 0.1  # share of a step before the next one on the path, from which on it is on the path so far
DISK_RATE = 400_000  # bytes a second of waiting; a disk that does nothing but seek for single pages reads as much
MANY = 1.0 / 3.0  # share of a step from which on one reason stands for it
WAITS = ("sleep", "lock", "socket", "file", "child")
REASONS = ("cpu", "gc", "import", "disk", "child", "sleep", "lock", "socket", "file", "waiting")
_LIBRARIES = ("/site-packages/", "/dist-packages/", "/lib/python3.", "/lib64/python3.", "<frozen")


class Step:
    """One span of the start.

    Attributes:
        kind: ``startup``, ``phase``, ``import``, ``function``, ``operation``, or ``span`` of the OpenTelemetry API.
        attributes: the span's, by their names; those that are missing are unknown.
        own: seconds of the path that are in this step and in no other.
        slack: seconds that it could have taken longer without a later end of the start, 0 on the path; None of another
            thread's work that something on the path may have waited for at a lock.
        on_path: the end of the start waited for it.
        home: the step that it lies in: its parent, or what goes on above a parent that has ended; None of the root.
        children: whose home this is.
        head: the import that this step goes with, itself perhaps; None if it stands for itself. Set by bottlenecks().
        source: what it was made of, for whoever made it.
    """

    __slots__ = (
        "attributes", "children", "end", "head", "home", "kind", "name", "on_path", "own", "slack", "source", "start",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        kind: str,
        start: float,
        end: float,
        attributes: dict[str, Any] | None = None,
        source: Any = None,
    ) -> None:
        self.name = name
        self.kind = kind
        self.start = start
        self.end = end
        self.attributes = attributes or {}
        self.source = source
        self.own = 0.0
        self.slack: float | None = 0.0
        self.on_path = False
        self.home: Step | None = None
        self.children: list[Step] = []
        self.head: Step | None = None

    @property
    def duration(self) -> float:
        """Seconds from start to end."""
        return self.end - self.start

    def number(self, key: str) -> float | None:
        """Return the attribute *key* if it is a finite number, 0 or more."""
        found = self.attributes.get(key)
        if isinstance(found, (int, float)) and 0.0 <= found < float("inf"):
            return float(found)
        return None

    def text(self, key: str) -> str:
        """Return the attribute *key* if it is a string, else an empty one."""
        found = self.attributes.get(key)
        return found if isinstance(found, str) else ""

    def __repr__(self) -> str:
        return f"Step({self.kind} {self.name!r}, {self.start:.6f}–{self.end:.6f}, own {self.own:.6f})"


# --- the path ---------------------------------------------------------------------------------------------------------


def join(root: Step, root_id: Any, rows: Iterable[Row]) -> Step:
    """Give every step its home below *root* and return that.

    Args:
        root: the start; what lies outside of its time is left out or cut.
        root_id: its span id.
        rows: id, parent's id and step of all others, in any order; whose parent is not among them is the root's.
    """
    below: dict[Any, list[tuple[Any, Step]]] = {}
    known = {root_id}
    found = []
    for own_id, parent_id, step in rows:
        if own_id not in known and step.start <= root.end:  # of a span written twice, the first
            known.add(own_id)
            found.append((own_id, parent_id, step))
    for own_id, parent_id, step in found:
        below.setdefault(parent_id if parent_id in known else root_id, []).append((own_id, step))
    waiting = [(root_id, root)]
    _settle(root, waiting, below)
    for own_id, parent_id, step in found:  # each other's parents, in a damaged file
        if step.home is None:
            below[parent_id] = [pair for pair in below.get(parent_id, []) if pair[0] != own_id]
            _place(step, root)
            _settle(root, [(own_id, step)], below)
    return root


def _settle(root: Step, waiting: list[tuple[Any, Step]], below: dict[Any, list[tuple[Any, Step]]]) -> None:
    while waiting:
        own_id, parent = waiting.pop()
        for child_id, step in below.pop(own_id, ()):
            home = parent
            while home is not root and (_active(home) is not None or not _contains(home, step)):
                home = home.home or root
            _place(step, home)
            waiting.append((child_id, step))


def _place(step: Step, home: Step) -> None:
    step.home = home
    home.children.append(step)
    step.start, step.end = max(step.start, home.start), min(step.end, home.end)  # by rounding, or of the root
    step.end = max(step.end, step.start)


def _contains(home: Step, step: Step) -> bool:
    return home.start - TOUCH <= step.start and step.end <= home.end + TOUCH


def follow(root: Step) -> list[Segment]:
    """Find the critical path: set ``own``, ``slack`` and ``on_path`` of all steps, and return who had it when."""
    segments: list[Segment] = []
    off: list[Step] = []
    generators: list[Step] = []
    others: _Threads | None
    root.on_path = True
    waiting = [(root, root.end)]
    while waiting:
        step, cursor = waiting.pop()
        until = cursor  # the end of the last child that was found to be on the path
        others = _Threads(step) if any(_thread(child) != _thread(step) for child in step.children) else None
        for child in sorted(step.children, key=_by_end, reverse=True):
            if _active(child) is not None:
                generators.append(child)
            elif others is not None and not others.waited_for(child):
                child.slack = None if others.at_lock(child) else step.end - child.end
                off.append(child)
            elif child.end > cursor + TOUCH and not _hands_over(step, child, cursor):
                child.slack = max(0.0, until - child.end)
                off.append(child)
            else:
                until = min(child.end, cursor)
                if until < cursor:
                    segments.append((step, until, cursor))
                child.on_path = True
                waiting.append((child, until))
                cursor = min(cursor, child.start)
        if step.start < cursor:
            segments.append((step, step.start, cursor))
    while off:
        step = off.pop()
        for child in step.children:
            child.slack = step.slack
            off.append(child)
    for step, begin, end in segments:
        step.own += end - begin
    for step in generators:  # its span lasts as long as its consumer; when its body ran is not known, but how long
        home = step.home
        if home is not None:
            step.on_path = True
            step.own = min(_active(step) or 0.0, home.own)
            home.own -= step.own
    segments.sort(key=_by_begin)
    return segments


def _by_end(step: Step) -> tuple[float, float]:
    return step.end, step.start


def _by_begin(segment: Segment) -> float:
    return segment[1]


class _Threads:
    """A step with work in other threads: its own thread waits for that only while it does nothing else.

    Its own children are kept as disjoint times, with what they cover up to the beginning of each.
    """

    __slots__ = ("before", "begins", "ends", "locked", "step")

    def __init__(self, step: Step) -> None:
        self.step = step
        self.begins: list[float] = []
        self.ends: list[float] = []
        self.before: list[float] = []
        self.locked: list[Step] = []
        for child in sorted(step.children, key=lambda child: child.start):
            if _thread(child) != _thread(step) or _active(child) is not None:
                continue
            if (child.number("otel_perf.wait.lock") or 0.0) >= child.duration / 2 > 0.0:
                self.locked.append(child)
            if self.ends and child.start <= self.ends[-1]:
                self.ends[-1] = max(self.ends[-1], child.end)
                continue
            self.before.append(self.before[-1] + self.ends[-1] - self.begins[-1] if self.ends else 0.0)
            self.begins.append(child.start)
            self.ends.append(child.end)

    def waited_for(self, child: Step) -> bool:
        """Say whether the step can have waited for *child* itself."""
        if _thread(self.step) == _thread(child):
            return True
        if child.duration - (self._covered(child.end) - self._covered(child.start)) < child.duration / 2:
            return False
        computing = self.step.number("otel_perf.cpu_time")
        return computing is None or self.step.duration - computing >= child.duration / 2

    def at_lock(self, child: Step) -> bool:
        """Say whether something in the step's own thread may have waited for *child* at a lock."""
        return any(min(one.end, child.end) - max(one.start, child.start) >= one.duration / 2 for one in self.locked)

    def _covered(self, moment: float) -> float:
        """Return the seconds up to *moment* that the step's own children took."""
        from bisect import bisect_right

        index = bisect_right(self.begins, moment) - 1
        return self.before[index] + min(moment, self.ends[index]) - self.begins[index] if index >= 0 else 0.0


def _hands_over(step: Step, child: Step, cursor: float) -> bool:
    """Say whether *child*, which goes on beside what is on the path after *cursor*, was what went on before it."""
    return _thread(step) == _thread(child) and cursor - child.start >= HANDS_OVER * child.duration


def _active(step: Step) -> float | None:
    """Return the seconds inside the body of a generator, None of anything else."""
    return step.number("otel_perf.active_time")


def _thread(step: Step) -> Any:
    return step.attributes.get("thread.id")


def walk(root: Step) -> Iterator[Step]:
    """Yield *root* and all below it, homes first."""
    waiting = [root]
    while waiting:
        step = waiting.pop()
        yield step
        waiting.extend(step.children)


# --- bottlenecks ------------------------------------------------------------------------------------------------------


class Group:
    """What a user can change at one place: a function, a phase's own code, an import with all that it brings.

    Attributes:
        name: the span's, and
        kind: its kind.
        seconds: on the critical path.
        share: of the start's wall time, 0 to 1.
        heads: the spans of this name; of an import, the outermost.
        steps: all spans that were counted, on the path.
        parts: seconds of cpu, gc, sleep, lock, socket, file, child, and contended: waiting for a CPU; bytes of disk.
            What was not recorded is missing.
        reason: one of REASONS, empty where the numbers do not say.
    """

    __slots__ = ("heads", "kind", "name", "parts", "reason", "seconds", "share", "steps")

    def __init__(self, name: str, kind: str) -> None:
        self.name = name
        self.kind = kind
        self.seconds = 0.0
        self.share = 0.0
        self.heads: list[Step] = []
        self.steps: list[Step] = []
        self.parts: dict[str, float] = {}
        self.reason = ""

    def __repr__(self) -> str:
        return f"Group({self.kind} {self.name!r}, {self.seconds:.6f} s, {self.reason or 'no reason'})"


def bottlenecks(root: Step, most: int = 50) -> list[Group]:
    """Return what holds the path that follow() found, the *most* longest, the longest first."""
    groups: dict[tuple[str, str], Group] = {}
    for step in walk(root):
        step.head = _head(step)
        if not step.on_path:
            continue
        top = step.head or step
        group = groups.get((top.kind, top.name))
        if group is None:
            group = groups[top.kind, top.name] = Group(top.name, top.kind)
        if step is top:
            group.heads.append(step)
        group.steps.append(step)
        group.seconds += step.own
    found = sorted((group for group in groups.values() if group.seconds > 0.0), key=_by_seconds)[:most]
    for group in found:
        group.share = group.seconds / root.duration
        group.parts = _parts(group.steps)
        group.reason = reason_of(group.kind, group.seconds, group.parts)
    return found


def _by_seconds(group: Group) -> float:
    return -group.seconds


def bottleneck(root: Step) -> tuple[str, float, str] | None:
    """Return what holds the critical path of *root*: the span's name, its share, the reason; None of no time at all.

    follow() is done here.
    """
    follow(root)
    found = bottlenecks(root, 1)
    return (found[0].name, found[0].share, found[0].reason) if found else None


def _head(step: Step) -> Step | None:
    """Return the import that a user would have to remove to be rid of *step*.

    That is the innermost one whose line stands in the user's own code, else the outermost. A function of the user's
    own that runs while a module is imported stands for itself. What names the line of the import around it belongs
    to that: the package a module stands in, and what a compiled module imports, which has no lines of its own.
    """
    above = step.home.head if step.home is not None else None
    file = step.text("code.file.path")
    if step.kind == "import":
        return step if above is None or (is_own(file) and not _same_line(step, above)) else above
    if step.kind in ("phase", "startup") or is_own(file):
        return None
    return above


def _same_line(step: Step, other: Step) -> bool:
    return all(step.attributes.get(key) == other.attributes.get(key) for key in ("code.file.path", "code.line.number"))


def is_own(file: str) -> bool:
    """Say whether *file* is known, and neither an installed package's nor the standard library's."""
    path = file.replace("\\", "/").lower()
    if not path or any(part in path for part in _LIBRARIES):
        return False
    above = path.partition("/lib/")[0].rpartition("/")[2] if "/lib/" in path else ""
    return "python3" not in above and "conda" not in above  # C:/Python311/Lib/json/__init__.py


def _parts(steps: list[Step]) -> dict[str, float]:
    """Return what was recorded of the time in *steps* and in none of their other children."""
    parts: dict[str, float] = {}
    for name, key in _KEYS:
        found = None
        for step in steps:
            number = step.number(key)
            if number is None:
                continue
            for child in step.children:
                if name == "disk" or _thread(child) == _thread(step):
                    number -= child.number(key) or 0.0
            found = (found or 0.0) + max(0.0, number)
        if found is not None:
            parts[name] = found
    if "child" not in parts:
        found = sum(step.number("otel_perf.child_time") or 0.0 for step in steps if not step.children)
        if found:
            parts["child"] = found
    return parts


_KEYS = (
    ("cpu", "otel_perf.cpu_time"),
    ("gc", "otel_perf.gc_time"),
    ("disk", "otel_perf.disk_read"),
    ("contended", "otel_perf.wait.cpu"),
    *((name, f"otel_perf.wait.{name}") for name in WAITS),
)


def reason_of(kind: str, seconds: float, parts: dict[str, float]) -> str:
    """Return why something took *seconds*, one of REASONS; empty where the numbers do not say.

    An import is one, unless at least half of it was spent waiting, or in the garbage collector. What it waited for a
    CPU says something of the machine, not of the program: the rest is judged.

    Args:
        kind: of the span.
        seconds: on the critical path.
        parts: as in Group.
    """
    cpu = parts.get("cpu")
    if cpu is None and not any(parts.get(name) for name in WAITS):
        return "import" if kind == "import" else ""
    whole = seconds
    seconds = max(whole - parts.get("contended", 0.0), min(cpu or 0.0, whole))
    collecting = min(parts.get("gc", 0.0), whole) * (seconds / whole if whole else 0.0)  # it waits for a CPU as well
    found = {name: min(parts.get(name, 0.0), seconds) for name in WAITS}
    found["gc"] = collecting
    if cpu is not None:
        found["cpu"] = max(0.0, min(cpu, seconds) - collecting)
        waiting = max(0.0, seconds - cpu)
        rest = found["waiting"] = max(0.0, waiting - sum(found[name] for name in WAITS))
        idle = found["file"] + rest
        if parts.get("disk", 0.0) > DISK_RATE * max(idle, 0.001):
            found["disk"] = idle
            found["waiting"] = rest + found.pop("file") - idle
    name = max(found, key=lambda name: found[name])
    if kind == "import":
        return name if found[name] >= seconds / 2 and name not in ("cpu", "waiting", "file") else "import"
    if found[name] >= MANY * seconds:
        return name
    if cpu is None:
        return ""
    return "waiting" if seconds - cpu > cpu else "cpu"
