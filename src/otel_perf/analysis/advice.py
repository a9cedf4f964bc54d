"""Why a start took as long as it did, and which lines to change: said only where the numbers carry it.

Reading order: Explanation, explain(); then the reasons in words, why(); then what to change: one function for each kind
of advice, Recommendation. Seconds everywhere.
"""

from __future__ import annotations

import ast
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from otel_perf.ending import OWN_CODE

from .critical import Step, bottlenecks, follow, is_own, join, walk
from .model import number_of, text_of
from .sources import DEFINITIONS, Sources, shown
from .startup import imports_of
from .startup import walk as nodes_below
from .text import bytes_of, count, duration, plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .critical import Group, Segment
    from .model import Node, Process
    from .sources import Use
    from .startup import Start

MOST_BOTTLENECKS = 3
MOST = 5  # recommendations
LEAST_SECONDS = 0.020  # what is less is not worth a line
LEAST_SHARE = 0.02  # of the start
LOOKED_AT = 8  # imports whose files are read
LOOKED_AT_MODULES = 200  # for their bytecode
NAMED = 3  # functions or files that one line names
MOSTLY = 0.8  # share of a step from which on all of it goes with its reason: then what is around that is small
SHOWN_PART = 0.05  # share of a bottleneck below which a part of it is not told

_PARTS = {
    "cpu": "CPU",
    "gc": "garbage collector",
    "sleep": "asleep",
    "lock": "waiting for a lock",
    "socket": "waiting for a socket",
    "file": "waiting for a file",
    "child": "waiting for a child process",
    "contended": "waiting for a CPU",
}
_REASONS = {
    "cpu": "computes",
    "gc": "collects garbage",
    "import": "import",
    "disk": "waits for the disk",
    "child": "waits for a child process",
    "sleep": "sleeps",
    "lock": "waits for a lock",
    "socket": "waits for a socket",
    "file": "waits for a file",
    "waiting": "waits",
}
# Names of the calls behind which a thread waits so, to find the line in a function.
_CALLS = {
    "sleep": {"sleep"},
    "child": {"run", "check_output", "check_call", "call", "communicate", "wait", "system", "popen", "Popen"},
    "socket": {"connect", "create_connection", "urlopen", "getaddrinfo", "gethostbyname", "recv", "sendall", "request"},
}
# The same as they are written, to find the one in a program whose functions are not recorded.
_WRITTEN = {
    "sleep": ("time.sleep", "sleep"),
    "child": (
        "subprocess.run", "subprocess.call", "subprocess.check_call", "subprocess.check_output", "subprocess.Popen",
        "check_call", "check_output", "Popen", "os.system", "os.popen",
    ),
}  # fmt: skip
_TIMES = ("", "once", "twice")
_OF_ENVIRONMENT = ("sitecustomize.py", "usercustomize.py")


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One thing to change.

    Attributes:
        text: the line, what it costs, what to do.
        saving: seconds by which the start becomes shorter, at most.
        reason: one of critical.REASONS, or ``failed``.
        file: of the line to change, as is line.
    """

    text: str
    saving: float
    reason: str
    file: str = ""
    line: int = 0


@dataclass(slots=True)
class Bottleneck:
    """What holds the critical path.

    Attributes:
        title: its name, and that it is its own code alone if there is more below it.
        why: one clause.
        file: where it stands, as is line.
    """

    group: Group
    title: str
    why: str
    file: str = ""
    line: int = 0


@dataclass(slots=True)
class Explanation:
    """The critical path of a start and what follows from it.

    Attributes:
        root: the start as a step, with all others below it.
        path: who had the critical path, from when to when.
        steps: by id() of a node, its step.
        cold: why the start was a cold one, in words; empty if it was warm, or nobody says.
    """

    root: Step
    path: list[Segment]
    steps: dict[int, Step]
    cold: list[str] = field(default_factory=list)
    bottlenecks: list[Bottleneck] = field(default_factory=list)
    recommendations: list[Recommendation] = field(default_factory=list)


def explain(process: Process, start: Start) -> Explanation:
    """Explain the start of *process*; of one whose end was not recorded, as far as it went."""
    found = find_path(start)
    root = found.root
    groups = [group for group in bottlenecks(root) if _matters(group.seconds, root)]
    advisor = _Advisor(process, start, root, groups)
    found.bottlenecks = [advisor.bottleneck(group) for group in groups[:MOST_BOTTLENECKS]]
    found.recommendations = advisor.recommendations()
    found.cold = list(advisor.cold())
    return found


def find_path(start: Start) -> Explanation:
    """Find the critical path of *start*, or of any other trace of that form, without a word on why."""
    root = _step(start.root, start.root.start)
    steps = {id(start.root): root}
    above = {id(child): id(node) for top in start.tops() for node in nodes_below(top) for child in node.children}
    nodes = [node for top in start.tops() for node in nodes_below(top) if node is not start.root]
    steps |= {id(node): _step(node, start.root.start) for node in nodes}
    join(root, id(start.root), [(id(node), above.get(id(node)), steps[id(node)]) for node in nodes])
    return Explanation(root, follow(root), steps)


def _step(node: Node, began: int) -> Step:
    return Step(node.name, node.kind, (node.start - began) / 1e9, (node.end - began) / 1e9, node.facts, node)


def _matters(seconds: float, root: Step) -> bool:
    return seconds >= max(LEAST_SECONDS, LEAST_SHARE * root.duration)


class _Advisor:
    """Looks at the start's longest steps, and into the program's files once."""

    def __init__(self, process: Process, start: Start, root: Step, groups: list[Group]) -> None:
        self.process = process
        self.start = start
        self.root = root
        self.groups = groups
        self.known = [step for step in walk(root) if step.kind == "import" and step.text("code.file.path")]
        self._sources: Sources | None = None
        self._uses: dict[int, Use | None] = {}

    @property
    def sources(self) -> Sources:
        """The program's files, read when they are first asked for."""
        if self._sources is None:
            outermost = [step for step in self.known if is_own(_place(step)[0]) and not _inside_own_import(step)]
            nodes = [step.source for step in walk(self.root) if step.kind in ("function", "operation")]
            self._sources = Sources(
                [_place(step) for step in self.known],
                [_place(step)[0] for step in sorted(outermost, key=lambda step: step.start)],
                self.start.root.start,
                _folders(self.process),
                [node.function for node in nodes if node.function],
                [_module(step) for step in walk(self.root) if step.kind == "import"],
            )
        return self._sources

    def use_of(self, step: Step) -> Use | None:
        """Say who uses the names that an import binds, where its file says."""
        if id(step) not in self._uses:
            file, line = _place(step)
            known = is_own(file) and line > 0
            self._uses[id(step)] = self.sources.use_of(file, line, _module(step)) if known else None
        return self._uses[id(step)]

    def cold(self) -> Iterator[str]:
        """Say why the start was a cold one."""
        attributes = self.process.root_attributes
        causes = attributes.get("otel_perf.startup.cold")
        causes = causes if isinstance(causes, list) else []
        if "bytecode" in causes:
            number = int(number_of(attributes, "otel_perf.startup.compiled") or 0)
            text = f"{plural(number, 'module')} compiled from source" if number else "modules compiled from source"
            yield text + (": write-protected, or PYTHONDONTWRITEBYTECODE?" if self._stays_cold(number) else "")
        if "page cache" in causes:
            read = self.root.number("otel_perf.disk_read")
            yield "files read from the disk" + (f" ({bytes_of(read)})" if read else "")

    def _stays_cold(self, compiled: int) -> bool:
        """Say whether half of what was compiled still has no bytecode: then the next start compiles it again."""
        version = text_of(self.process.resource, "process.runtime.version").split(".")[:2]
        tag = f"{text_of(self.process.resource, 'process.runtime.name')}-{''.join(version)}.pyc"
        paths = [self.sources.path_of(_module(step)) for step in walk(self.root) if step.kind == "import"]
        paths = [path for path in paths if path][:LOOKED_AT_MODULES]
        missing = [path for path in paths if not os.path.exists(_cached(path, tag))]
        return bool(missing) and len(missing) * 2 >= min(compiled, len(paths))

    # --- why ---

    def bottleneck(self, group: Group) -> Bottleneck:
        """Return *group* with its reason in words."""
        first = group.heads[0] if group.heads else group.steps[0]
        file, line = _place(first)
        parts = dict(_parts(group))
        told = [_REASONS[group.reason]] if group.reason else []
        if group.reason in parts:
            told[0] += f" {parts.pop(group.reason)}"
        if group.kind == "import":
            nested = sum(step.kind == "import" for step in group.steps) - len(group.heads)
            told += [plural(nested, "nested import")] if nested else []
        elif len(group.heads) > 1:
            told.append(f"{count(len(group.heads))} calls" if group.kind != "phase" else f"{len(group.heads)} times")
        told += [f"{_PARTS[name]} {took}" for name, took in parts.items()]
        if group.parts.get("disk", 0.0) >= 1e6:
            told.append(f"{bytes_of(group.parts['disk'])} read from disk")
        if file:
            told.append(shown(file, line))
        if group.kind == "import" and len(group.heads) == 1:
            told += self._needed(first)
        title = OWN_CODE if group.kind == "startup" else group.name
        if group.kind == "phase" and any(child.on_path for step in group.heads for child in step.children):
            title += " (own code)"
        return Bottleneck(group, title, ", ".join(told), file, line)

    def _needed(self, step: Step) -> Iterator[str]:
        """Say why an import cannot simply wait, if that is so."""
        use = self.use_of(step)
        if use is None:
            return
        if use.state == "loading" and use.line and _is_script(step):
            yield f"needed while {os.path.basename(_place(step)[0])} is loaded (line {use.line})"
        elif use.state == "starting":
            yield f"used by {_some(use.functions)}, which the start may call"
        elif use.state == "function":
            yield f"imported by {use.functions[0]}()"

    # --- what to change ---

    def recommendations(self) -> list[Recommendation]:
        """Return what to change, the largest saving first."""
        found = [*self._failed(), *self._collector(), *self._imports()]
        for group in self.groups:
            if group.kind in ("function", "operation", "phase", "span") and group.name != "PreInit":
                found += self._function(group)
            elif group.kind == "startup" or (group.kind == "import" and group.reason != "import"):
                found += self._unrecorded(group)
        found = [one for one in found if _matters(one.saving, self.root)]
        return sorted(found, key=lambda one: -one.saving)[:MOST]

    def _of_start(self, seconds: float) -> str:
        return f"{duration(seconds)} of {duration(self.root.duration)}"

    def _failed(self) -> Iterator[Recommendation]:
        on_path = {id(step.source): step for step in walk(self.root) if step.on_path and step.source is not None}
        for failed in imports_of(self.start).failed:
            steps = [on_path[id(node)] for node in failed.nodes if id(node) in on_path]
            saving = sum(_subtree(step) for step in steps)
            if not steps:
                continue
            file, line = _place(steps[0])
            if file and not is_own(file):  # a package tries what is optional
                continue
            times = _TIMES[failed.times] if failed.times < len(_TIMES) else f"{count(failed.times)} times"
            where = shown(file, line)
            text = (
                f"{where + ' ' if where else ''}import {failed.module} failed {times}: {duration(saving)} for nothing"
            )
            if failed.times > 1:
                text += ": try it once"
            yield Recommendation(text, saving, "failed", file, line)

    def _collector(self) -> Iterator[Recommendation]:
        """Yield the advice to let the collector wait, if a file of the program's own can: it counts from there on."""
        ours = [step for step in self.known if _is_script(step)]
        ours += [step for step in walk(self.root) if step.kind in ("function", "operation") and _is_script(step)]
        if not ours:
            return
        first = min(ours, key=lambda step: step.start)
        saving = (self.root.number("otel_perf.gc_time") or 0.0) - _collected_before(self.root, first.start)
        file = _place(first)[0]
        text = f"the garbage collector takes {self._of_start(saving)}"
        most = self._collecting()
        if most is not None:
            place = shown(*_place(most.heads[0] if most.heads else most.steps[0]))
            text += f", most of it in {most.name}" + (f" ({place})" if place else "")
        text += f": gc.disable() at the top of {os.path.basename(file)}, gc.freeze() and gc.enable() at ready()"
        yield Recommendation(text, saving, "gc", file, 1)

    def _collecting(self) -> Group | None:
        """Return what spends most of the garbage collector's time, if anything spends half of it."""
        whole = self.root.number("otel_perf.gc_time") or 0.0
        most = max(self.groups, key=lambda group: group.parts.get("gc", 0.0), default=None)
        if most is None or most.kind == "startup" or most.parts.get("gc", 0.0) < max(whole / 2, 1e-9):
            return None
        return most

    def _imports(self) -> Iterator[Recommendation]:
        """Yield the imports that can wait, the longest first; none inside another."""
        heads = [step for step in self.known if step.on_path and is_own(_place(step)[0]) and not _has_failed(step)]
        heads = [step for step in heads if _matters(_subtree(step), self.root)]
        told: set[int] = set()
        for step in sorted(heads, key=lambda step: -_subtree(step))[:LOOKED_AT]:
            if any(id(one) in told for one in (step, *_homes(step))):
                continue
            use = self.use_of(step)
            if use is None or use.state not in ("later", "nobody"):
                continue
            together = [step, *(other for other in heads if _same_statement(step, other))]
            found = self._deferred(together, use)
            if found is not None:
                told.update(map(id, together))
                yield found

    def _deferred(self, together: list[Step], use: Use) -> Recommendation | None:
        """Return the advice to defer what one statement imports, or None if it would be loaded anyway.

        Args:
            together: the module, and the packages that it stands in where they were loaded for it.
            use: who uses it.
        """
        step = together[0]
        file, line = _place(step)
        module = _module(step)
        others = self.sources.loaded_without(file, use.statement)
        if module in others:
            return None
        saving = sum(_subtree(one, others) for one in together if _module(one) not in others)
        text = f"{shown(file, line)} import {module}: {self._of_start(saving)}"
        kept = sum(map(_subtree, together)) - saving
        if _matters(kept, self.root):
            text += f" ({duration(kept)} more are in modules that others import too)"
        if use.state == "nobody":
            text += f", not used in {os.path.basename(file)}: leave it out unless loading it has an effect you need"
        else:
            text += f", used only inside functions ({_some(use.functions)}): import it there"
        return Recommendation(text, saving, "import", file, line)

    def _function(self, group: Group) -> Iterator[Recommendation]:
        reason = group.reason
        part = group.parts.get(reason, 0.0) if reason != "disk" else _waited(group)
        whole = part + group.parts.get("contended", 0.0) >= MOSTLY * group.seconds
        saving = group.seconds if whole else min(part, group.seconds)
        first = group.heads[0] if group.heads else group.steps[0]
        file, line = _place(first)
        if not file or not is_own(file) or reason in ("", "waiting", "import"):
            return
        if reason == "gc" and group is self._collecting() and self.root.number("otel_perf.gc_time"):
            return  # told of the whole start
        exact = self._line_of(first, reason) or line
        name = f"{group.name} (own code)" if group.kind == "phase" else group.name
        calls = f" ({count(len(group.heads))} calls)" if len(group.heads) > 1 else ""
        took = self._of_start(saving)
        text = {
            "sleep": f"{name}{calls} sleeps {took}: take the sleep out, or do this after ready()",
            "child": f"{name}{calls} waits {took} for a child process: start it earlier, or do this after ready()",
            "socket": f"{name}{calls} waits {took} for a socket: do this in a thread, or after ready()",
            "lock": f"{name}{calls} waits {took} for a lock{self._holder(first)}",
            "file": f"{name}{calls} waits {took} for a file: do this after ready()",
            "disk": f"{name}{calls} waits {took} for the disk ({bytes_of(group.parts.get('disk', 0.0))} read):"
            " read less, or after ready()",
            "gc": f"{name}{calls} spends {took} in the garbage collector: fewer objects, or gc.disable() around it",
            "cpu": f"{name}{calls} computes {took}: do this after ready(), or keep its result",
        }[reason]
        yield Recommendation(f"{shown(file, exact)} {text}", saving, reason, file, exact)

    def _unrecorded(self, group: Group) -> Iterator[Recommendation]:
        """Yield the one call of the program's own code that waits so, where functions were not recorded."""
        if group.reason not in _WRITTEN:
            return
        files = set(self.sources.entries)
        if group.kind == "import":
            files = {self.sources.path_of(_module(step)) for step in group.steps if step.kind == "import"}
        calls = [
            (file, line, function)
            for file, line, function in self.sources.calls_of(_WRITTEN[group.reason])
            if function or file in files  # a module's own code runs where it is imported
        ]
        if len(calls) != 1:
            return
        ((file, line, function),) = calls
        saving = min(group.parts.get(group.reason, 0.0), group.seconds)
        name = function or os.path.basename(file)
        took = self._of_start(saving)
        text = {
            "sleep": f"{name} sleeps {took}: take the sleep out, or do this after ready()",
            "child": f"{name} waits {took} for a child process: start it earlier, or do this after ready()",
        }[group.reason]
        yield Recommendation(f"{shown(file, line)} {text}", saving, group.reason, file, line)

    def _holder(self, step: Step) -> str:
        """Name what another thread did while *step* waited for a lock."""
        best, longest = None, step.duration / 2
        for other in walk(self.root):
            if other.attributes.get("thread.id") != step.attributes.get("thread.id") and other.kind != "startup":
                shared = min(other.end, step.end) - max(other.start, step.start)
                if shared > longest:
                    best, longest = other, shared
        if best is None:
            return ""
        file, line = _place(best)
        where = f" ({shown(file, line)})" if file else ""
        return f"; meanwhile another thread is in {best.name}{where}"

    def _line_of(self, step: Step, reason: str) -> int:
        """Return the line in the function or block of *step* that waits so; 0 if there is not exactly one."""
        file, line = _place(step)
        source = self.sources.source(file) if reason in _CALLS else None
        if source is None:
            return 0
        around = [node for node in ast.walk(source.tree) if _first_line(node) == line]
        lines = {
            call.lineno
            for node in around[:1]
            for call in ast.walk(node)
            if isinstance(call, ast.Call) and _called(call) in _CALLS[reason]
        }
        return lines.pop() if len(lines) == 1 else 0


def _first_line(node: ast.AST) -> int:
    if isinstance(node, DEFINITIONS):
        return min([node.lineno, *(one.lineno for one in node.decorator_list)])
    return node.lineno if isinstance(node, ast.With | ast.AsyncWith) else 0


def _called(call: ast.Call) -> str:
    return getattr(call.func, "attr", "") or getattr(call.func, "id", "")


def _parts(group: Group) -> Iterator[tuple[str, str]]:
    """Yield what a bottleneck's time was spent on, each with its duration."""
    least = max(SHOWN_PART * group.seconds, 0.001)
    parts = dict(group.parts)
    if "cpu" in parts:
        parts["cpu"] = max(0.0, parts["cpu"] - parts.get("gc", 0.0))
    for name in _PARTS:
        if parts.get(name, 0.0) >= least:
            yield name, duration(min(parts[name], group.seconds))


def _collected_before(step: Step, moment: float) -> float:
    """Return the seconds of the garbage collector in what is below *step* and ended before *moment*."""
    seconds = 0.0
    for child in step.children:
        if child.end <= moment:
            seconds += child.number("otel_perf.gc_time") or 0.0
        elif child.start < moment:
            seconds += _collected_before(child, moment)
    return seconds


def _waited(group: Group) -> float:
    """Return the seconds that *group* neither computed nor waited for something that has a name."""
    named = sum(group.parts.get(name, 0.0) for name in ("sleep", "lock", "socket", "child", "contended"))
    return max(0.0, group.seconds - group.parts.get("cpu", 0.0) - named)


def _subtree(top: Step, without: Iterable[str] = ()) -> float:
    """Return the seconds on the critical path in *top* and below, but for modules in *without* and what they load."""
    seconds = 0.0
    waiting = [top]
    while waiting:
        step = waiting.pop()
        if step is not top and step.kind == "import" and _module(step) in without:
            continue
        seconds += step.own
        waiting.extend(step.children)
    return seconds


def _same_statement(step: Step, other: Step) -> bool:
    """Say whether *other* is a package around the module of *step*, or inside it, that the same line loads as well."""
    if step is other or _place(step) != _place(other) or other in _homes(step) or step in _homes(other):
        return False
    one, two = f"{_module(step)}.", f"{_module(other)}."
    return one.startswith(two) or two.startswith(one)


def _homes(step: Step) -> Iterator[Step]:
    home = step.home
    while home is not None:
        yield home
        home = home.home


def _inside_own_import(step: Step) -> bool:
    """Say whether a file of the program's own imports the one that *step* stands in."""
    return any(home.kind == "import" and is_own(_place(home)[0]) for home in _homes(step))


def _has_failed(step: Step) -> bool:
    return step.source.error is not None or any(
        home.kind == "import" and home.source.error is not None for home in _homes(step)
    )


def _module(step: Step) -> str:
    module: str = step.source.module
    return module


def _place(step: Step) -> tuple[str, int]:
    node: Node = step.source
    return node.file, node.line


def _is_script(step: Step) -> bool:
    """Say whether *step* stands in a file that the program's author wrote: no launcher, nothing of the environment."""
    file = _place(step)[0]
    return is_own(file) and file.endswith(".py") and os.path.basename(file) not in _OF_ENVIRONMENT


def _some(names: Iterable[str]) -> str:
    names = list(dict.fromkeys(names))
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def _cached(path: str, tag: str) -> str:
    folder, name = os.path.split(path)
    return os.path.join(folder, "__pycache__", f"{name.removesuffix('.py')}.{tag}")


def _folders(process: Process) -> list[str]:
    """Return where the interpreter of *process* finds installed packages and its library, as far as can be told."""
    executable = text_of(process.resource, "process.executable.path")
    version = ".".join(text_of(process.resource, "process.runtime.version").split(".")[:2])
    found = []
    for path in dict.fromkeys([executable, os.path.realpath(executable)]) if executable else ():
        prefix = os.path.dirname(os.path.dirname(path))
        library = os.path.join(prefix, "lib", f"python{version}")
        found += [library, os.path.join(library, "site-packages"), os.path.join(os.path.dirname(path), "Lib")]
    return [folder for folder in found if os.path.isdir(folder)]
