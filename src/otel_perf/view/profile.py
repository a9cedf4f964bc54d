"""Totals of call paths and functions at each moment, so that any range of the run has its own flame graph.

The process writes cumulative totals, once a second, of what has changed. What happened from A to B is the total at B
minus the total at A. At first a second is told from the next one; once ROWS totals are kept, two seconds, then four, …
are one step: the longer a run and the more call paths, the coarser. Reading order: Totals, Durations, Profile, flame().
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from math import isfinite
from typing import TYPE_CHECKING

from otel_perf.analysis.functions import DURATION, PROFILE
from otel_perf.analysis.model import text_of
from otel_perf.metrics.quantiles import quantile

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from otel_perf.analysis.loading import SeriesKey
    from otel_perf.export.decode import Point

    Numbers = tuple[float, float, float]  # calls, seconds, seconds of its own
    Paths = dict[tuple[str, str], Numbers]  # by call path and function
    Histogram = tuple[int, int, tuple[int, ...], int]  # zeros, offset, counts of the buckets, scale

ROWS = 400_000  # totals that are kept, 32 bytes each
WITH_HISTOGRAM = 4  # rows that one with a histogram counts for
MOST_NODES = 20_000  # of a flame graph
STEP = 1_000_000_000  # nanoseconds, at first
NOTHING: Numbers = (0.0, 0.0, 0.0)
_PARTS = {f"{PROFILE}calls": 0, f"{PROFILE}time": 1, f"{PROFILE}self_time": 2}
OVERFLOW = "otel.metric.overflow"


class Totals:
    """Calls, time and self time of one call path or function, at the moments at which they changed."""

    __slots__ = ("columns", "moments", "name", "overflow", "path")

    def __init__(self, path: str, name: str, overflow: bool) -> None:
        self.path = path
        self.name = name
        self.overflow = overflow
        self.moments = array("q")
        self.columns = (array("d"), array("d"), array("d"))

    def set(self, moment: int, part: int, value: float, step: int) -> int:
        """Note the *part* of the totals at *moment* (ns); return by how many rows there are more."""
        moments = self.moments
        grown = 0
        if not moments or moment // step > moments[-1] // step:
            moments.append(moment)
            for column in self.columns:
                column.append(column[-1] if column else 0.0)
            grown = 1
        moments[-1] = max(moments[-1], moment)
        self.columns[part][-1] = value
        return grown

    def at(self, moment: int) -> Numbers:
        """Return calls, seconds and seconds of its own up to *moment*."""
        calls, time, own = self.columns
        row = bisect_right(self.moments, moment) - 1
        return (calls[row], time[row], own[row]) if row >= 0 else NOTHING

    def thin(self, step: int) -> int:
        """Keep the last row of each step only; return how many are left."""
        moments = self.moments
        last = len(moments) - 1
        kept = [row for row in range(last + 1) if row == last or moments[row] // step != moments[row + 1] // step]
        self._keep(kept)
        return len(kept)

    def _keep(self, rows: Sequence[int]) -> None:
        calls, time, own = self.columns
        self.moments = array("q", [self.moments[row] for row in rows])
        self.columns = (
            array("d", [calls[row] for row in rows]),
            array("d", [time[row] for row in rows]),
            array("d", [own[row] for row in rows]),
        )


class Durations(Totals):
    """The same of a function, without self time, with the histogram of its durations."""

    __slots__ = ("high", "histograms", "low")

    def __init__(self, name: str) -> None:
        super().__init__("", name, overflow=False)
        self.histograms: list[Histogram] = []
        self.low = 0.0  # seconds, of the whole run
        self.high: float | None = None

    def point(self, point: Point, step: int) -> int:
        """Note what *point* says; return for how many rows it counts."""
        seconds = point.sum if point.sum is not None and isfinite(point.sum) else 0.0
        grown = self.set(point.time, 0, float(point.count), step)
        self.set(point.time, 1, seconds, step)
        histogram = point.zero_count, point.offset, tuple(point.buckets), point.scale
        if grown:
            self.histograms.append(histogram)
        else:
            self.histograms[-1] = histogram
        self.low = max(point.min, 0.0) if point.min is not None and isfinite(point.min) else 0.0
        self.high = point.max if point.max is not None and isfinite(point.max) else None
        return WITH_HISTOGRAM * grown

    def thin(self, step: int) -> int:
        """Keep the last row of each step only; return for how many rows those that are left count."""
        return WITH_HISTOGRAM * super().thin(step)

    def _keep(self, rows: Sequence[int]) -> None:
        super()._keep(rows)
        self.histograms = [self.histograms[row] for row in rows]

    def quantiles_between(self, begin: int, end: int, wanted: Sequence[float]) -> list[float | None]:
        """Return *wanted* quantiles of the calls that ended from *begin* to *end* (ns), None where nobody can say."""
        first, last = (bisect_right(self.moments, moment) - 1 for moment in (begin, end))
        if last < 0:
            return [None] * len(wanted)
        zeros, offset, counts, scale = self.histograms[last]
        if first >= 0:
            zeros_before, offset_before, before, scale_before = self.histograms[first]
            if scale_before != scale:  # of another program's histogram, which has become coarser
                return [None] * len(wanted)
            zeros -= zeros_before
            shift = offset_before - offset
            counts = tuple(
                max(0, count - (before[index - shift] if 0 <= index - shift < len(before) else 0))
                for index, count in enumerate(counts)
            )
        return [quantile(q, zeros, offset, counts, self.low, self.high, scale) for q in wanted]


class Profile:
    """The totals of one process.

    Attributes:
        paths: by series, its call paths.
        functions: by name and kind, those of functions and operations.
        step: nanoseconds that are not told apart.
    """

    def __init__(self) -> None:
        self.paths: dict[SeriesKey, Totals] = {}
        self.functions: dict[tuple[str, str], Durations] = {}
        self.step = STEP
        self._rows = 0

    def point(self, point: Point, key: SeriesKey) -> None:
        """Take a point of the series *key*; one that is none of these totals is left out."""
        part = _PARTS.get(point.metric)
        if part is not None:
            value = point.value
            if value is not None and isfinite(value) and 0 < point.time < 2**63:
                self._rows += self._path(point, key).set(point.time, part, float(value), self.step)
        elif point.metric == DURATION and point.count and 0 < point.time < 2**63:
            self._function(point)
        if self._rows > ROWS:
            self._thin()

    def _path(self, point: Point, key: SeriesKey) -> Totals:
        known = (PROFILE, key[1])  # the three metrics have the same attributes
        found = self.paths.get(known)
        if found is None:
            says = point.attributes
            path, name = text_of(says, "path"), text_of(says, "function")
            found = self.paths[known] = Totals(path, name, says.get(OVERFLOW) is True)
        return found

    def _function(self, point: Point) -> None:
        name, kind = text_of(point.attributes, "function"), text_of(point.attributes, "kind") or "function"
        found = self.functions.get((name, kind))
        if found is None:
            found = self.functions[name, kind] = Durations(name)
        self._rows += found.point(point, self.step)

    def _thin(self) -> None:
        every: list[Totals] = [*self.paths.values(), *self.functions.values()]
        while self._rows > ROWS // 2 and self.step < 2**62:
            self.step *= 2
            self._rows = sum(one.thin(self.step) for one in every)
            if self._rows <= len(self.paths) + WITH_HISTOGRAM * len(self.functions):  # one row each
                break

    # --- answers ---

    def between(self, begin: int, end: int) -> Paths:
        """Return calls, seconds and own seconds by call path and function, of what ended from *begin* to *end* (ns)."""
        found: Paths = {}
        for totals in self.paths.values():
            numbers = _difference(totals, begin, end)
            if totals.path and any(numbers):
                before = found.get((totals.path, totals.name), NOTHING)
                found[totals.path, totals.name] = _sum(before, numbers)
        return found

    def functions_between(self, begin: int, end: int) -> dict[tuple[str, str], Numbers]:
        """Return the same by function's name and kind."""
        own: dict[str, float] = {}
        for (_, name), numbers in self.between(begin, end).items():
            own[name] = own.get(name, 0.0) + numbers[2]
        found = {}
        for key, totals in self.functions.items():
            calls, seconds, _ = _difference(totals, begin, end)
            if calls and key[1] != "phase":
                found[key] = (calls, seconds, own.get(key[0], 0.0))
        return found

    @property
    def overflow(self) -> bool:
        """Some call paths were left out of the record."""
        return any(totals.overflow for totals in self.paths.values())


def _difference(totals: Totals, begin: int, end: int) -> Numbers:
    later, earlier = totals.at(end), totals.at(begin)
    return (
        max(0.0, later[0] - earlier[0]), max(0.0, later[1] - earlier[1]), max(0.0, later[2] - earlier[2]),
    )  # fmt: skip


def _sum(one: Numbers, other: Numbers) -> Numbers:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2]


# --- the tree ---------------------------------------------------------------------------------------------------------


class Branch:
    """A node of the tree: what took time under this name in this place, and in the baseline."""

    __slots__ = ("base", "calls", "children", "function", "name", "own", "total")

    def __init__(self, name: str, function: str = "") -> None:
        self.name = name
        self.function = function
        self.calls: float | None = None
        self.total = self.own = 0.0
        self.base = [0.0, 0.0]  # total and own
        self.children: dict[str, Branch] = {}

    def below(self, name: str) -> Branch:
        """Return the child of that name, made if need be."""
        if name not in self.children:
            self.children[name] = Branch(name)
        return self.children[name]


def tree_of(paths: Paths, root: Branch | None = None, base: bool = False) -> Branch:
    """Return the tree of call *paths*; with *base*, add them to *root* as those of the baseline."""
    root = root or Branch("all")
    for (path, function), (calls, total, own) in paths.items():
        branch = root
        for name in path.split(";"):
            branch = branch.below(name)
        branch.function = branch.function or function
        if base:
            branch.base = [branch.base[0] + total, branch.base[1] + own]
        else:
            if calls or not total:  # else nobody counted them: in a profile that was imported
                branch.calls = (branch.calls or 0.0) + calls
            branch.total, branch.own = branch.total + total, branch.own + own
    return root


def flame_object(
    root: Branch,
    begin: float | None,
    end: float | None,
    overflow: bool = False,
    difference: bool = False,
    most: int = MOST_NODES,
) -> dict[str, Any]:
    """Return what api.ts calls Flame, of the *most* heaviest nodes of the tree below *root*.

    A node is at least as wide as what is in it: its own call may still go on, or its children have run side by side.
    """
    every = _widened(root)
    rows = _heaviest(every, most) if len(every) > most else every
    names: dict[tuple[str, str], int] = {}
    numbers = [names.setdefault((branch.name, branch.function), len(names)) for branch, _ in rows]
    found: dict[str, Any] = {
        "from": begin,
        "to": end,
        "names": [name for name, _ in names],
        "functions": [function for _, function in names],
        "modules": [module_of(name, function) for name, function in names],
        "name": numbers,
        "parent": [parent for _, parent in rows],
        "totalNs": [round(branch.total * 1e9) for branch, _ in rows],
        "selfNs": [round(branch.own * 1e9) for branch, _ in rows],
        "calls": [None if branch.calls is None else int(branch.calls) for branch, _ in rows],
        "overflow": overflow,
        "folded": len(every) - len(rows),
    }
    if difference:
        found["baseTotalNs"] = [round(branch.base[0] * 1e9) for branch, _ in rows]
        found["baseSelfNs"] = [round(branch.base[1] * 1e9) for branch, _ in rows]
    return found


def _widened(root: Branch) -> list[tuple[Branch, int]]:
    """Return the nodes below *root* in pre-order, each with its parent's place in the list."""
    rows: list[tuple[Branch, int]] = []
    waiting = [(root, -1)]
    while waiting:
        branch, parent = waiting.pop()
        rows.append((branch, parent))
        children = sorted(branch.children.values(), key=lambda one: one.name, reverse=True)
        waiting.extend((child, len(rows) - 1) for child in children)
    inside = [[0.0, 0.0] for _ in rows]
    for row in range(len(rows) - 1, -1, -1):
        branch, parent = rows[row]
        branch.total = max(branch.total, branch.own + inside[row][0])
        branch.base[0] = max(branch.base[0], branch.base[1] + inside[row][1])
        if parent >= 0:
            inside[parent][0] += branch.total
            inside[parent][1] += branch.base[0]
    return rows


def _heaviest(rows: list[tuple[Branch, int]], most: int) -> list[tuple[Branch, int]]:
    """Return the *most* heaviest of *rows*, of equal ones the first: a parent stands before what is no heavier."""
    order = sorted(range(len(rows)), key=lambda row: -max(rows[row][0].total, rows[row][0].base[0]))
    heavy = set(order[:most])
    places = {-1: -1}
    kept: list[tuple[Branch, int]] = []
    for row, (branch, parent) in enumerate(rows):
        if parent in places and (parent < 0 or row in heavy):
            places[row] = len(kept)
            kept.append((branch, places[parent]))
    return kept


def module_of(name: str, function: str) -> str:
    """Return the module of a function, ``shop.cart`` of ``Cart.add`` and ``shop.cart.Cart.add``; empty if unknown."""
    if function.endswith(f".{name}"):
        return function[: -len(name) - 1]
    return name.removeprefix("import ").partition(".")[0] if name.startswith("import ") else ""
