"""A call graph as call paths: what a function took is shared out among its callers as the profile says they took it.

A profile has, for each function and each of its callers, how long that caller's calls took. What the function called in
its turn it has only for all of its callers together; here each of them has the same mix of it, as gprof and flameprof
have it. So times of call paths are shares, while the times of a function, and those of a function below a caller, are
the profile's own.

Functions that call each other are taken together, as one cycle: each stands once on a path, below the one that spent
the most in it. What follows is exact in their self times only, and of their totals in that of the one that was called.

Reading order: Function, Edge; Graph, of which settle() makes times that add up; then paths_of().
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MOST_PATHS = 100_000  # that are kept apart, the longest; what is called past them counts as its callers'
DEEPEST = 1_000  # calls above a path; what is called past that counts likewise
SHORTEST = 1e-8  # seconds of a path; a shorter share counts as its caller's own


class Edge:
    """Calls of one function by another.

    Attributes:
        caller: None for whoever called from outside the profile.
        total: seconds of the callee and all that it called, in those calls.
        own: of them, seconds in the callee alone.
    """

    __slots__ = ("callee", "caller", "own", "total")

    def __init__(self, caller: Function | None, callee: Function, own: float, total: float) -> None:
        self.caller = caller
        self.callee = callee
        self.own = own
        self.total = max(own, total)


class Function:
    """One function of a profile.

    Attributes:
        calls: how many.
        own: seconds in it alone.
        total: of its outermost calls, with all that they called.
        edges: from its callers; other functions of its cycle are not among them.
        calling: to those that it called, likewise.
        inside: those to functions of its cycle.
        outside: calls that none of its callers made.
        cycle: the functions that it stands in a cycle with, itself among them.
        whole: seconds of the cycle, with all that it called outside.
        spread: where this function is called, the functions of the cycle, each with the one that it is shown below,
            and its seconds with what is shown below it; empty until it is asked for.
    """

    __slots__ = (
        "calling", "calls", "cycle", "edges", "inside", "label", "outside", "own", "place", "spread", "total", "whole",
    )  # fmt: skip

    def __init__(self, place: tuple[str, int, str], calls: int, own: float, total: float) -> None:
        self.place = place
        self.label = place[2]
        self.calls = calls
        self.own = own
        self.total = total
        self.outside = 0
        self.edges: list[Edge] = []
        self.calling: list[Edge] = []
        self.inside: list[Edge] = []
        self.cycle: list[Function] = [self]
        self.whole = own
        self.spread: list[tuple[Function, Function | None, float]] = []


class Path:
    """One call path.

    Attributes:
        parent: the path of its caller, None of one that begins outside the profile.
        total: seconds, as are alone and own.
        alone: of them, in the last function alone.
        depth: calls above it.
        share: of what its function called, as a part of 1, that it called on this path.
        children: paths below it, the longest first.
    """

    __slots__ = ("alone", "children", "depth", "function", "parent", "share", "total")

    def __init__(self, function: Function, parent: Path | None, total: float, alone: float, share: float) -> None:
        self.function = function
        self.parent = parent
        self.total = total
        self.alone = alone
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.share = share
        self.children: list[Path] = []

    @property
    def own(self) -> float:
        """Seconds in no path below it: alone, and what is too short for a path."""
        return max(0.0, self.total - sum(child.total for child in self.children))


def settle(functions: Iterable[Function]) -> list[Edge]:
    """Find the cycles, and make the times of callers and callees add up; return the calls from outside."""
    tops: list[Edge] = []
    for cycle in _cycles(functions):
        members = {*cycle}
        for one in cycle:
            one.cycle = cycle
            one.inside = [edge for edge in one.calling if edge.callee in members]
            one.calling = [edge for edge in one.calling if edge.callee not in members]
            one.edges = [edge for edge in one.edges if edge.caller not in members]
        own = sum(one.own for one in cycle)
        whole = own + sum(edge.total for one in cycle for edge in one.calling)
        for one in cycle:
            one.whole = whole
        outside = _from_outside(cycle, whole)
        tops += outside
        edges = [edge for one in cycle for edge in one.edges] + outside
        _scale(edges, own, whole, exact=len(cycle) == 1 and not cycle[0].inside)
    return [edge for edge in tops if edge.total > 0]


def _from_outside(cycle: list[Function], whole: float) -> list[Edge]:
    """Return calls of *cycle* by nobody in the profile: what its callers' calls do not account for."""
    known = sum(edge.total for one in cycle for edge in one.edges)
    called = [one for one in cycle if one.outside > 0] or ([] if known > 0 else cycle)
    if not called:
        return []
    one = max(called, key=lambda one: one.total)
    own = one.own - sum(edge.own for edge in one.edges) if len(cycle) == 1 else 0.0
    return [Edge(None, one, max(0.0, own), max(0.0, whole - known))]


def _scale(edges: list[Edge], own: float, whole: float, exact: bool) -> None:
    """Make the times of *edges*, all there are to a cycle, add up to *own* and *whole*.

    Args:
        edges: the calls.
        own: seconds in the cycle's functions alone.
        whole: with what those called.
        exact: each of the calls says how much of it is the function's own; else all have the same part of it.
    """
    owns, below = sum(edge.own for edge in edges), sum(edge.total - edge.own for edge in edges)
    for edge in edges:
        if exact and (owns > 0 or own == 0) and (below > 0 or whole == own):
            deep = (edge.total - edge.own) * (whole - own) / below if below else 0.0
            edge.own *= own / owns if owns else 0.0
            edge.total = edge.own + deep
        else:
            edge.total *= whole / (owns + below) if owns + below else 0.0
            edge.own = edge.total * own / whole if whole else 0.0


def _cycles(functions: Iterable[Function]) -> Iterator[list[Function]]:
    """Yield the functions, those that call each other together, callees before their callers.

    Source: Tarjan (1972), "Depth-first search and linear graph algorithms"; without recursion.
    """
    numbers: dict[Function, int] = {}
    lowest: dict[Function, int] = {}
    open_: dict[Function, None] = {}
    for top in functions:
        if top in numbers:
            continue
        numbers[top] = lowest[top] = len(numbers)
        open_[top] = None
        waiting = [(top, iter(top.calling))]
        while waiting:
            one, edges = waiting[-1]
            edge = next(edges, None)
            if edge is None:
                waiting.pop()
                if waiting:
                    lowest[waiting[-1][0]] = min(lowest[waiting[-1][0]], lowest[one])
                if lowest[one] == numbers[one]:
                    yield _taken(open_, one)
            elif edge.callee not in numbers:
                callee = edge.callee
                numbers[callee] = lowest[callee] = len(numbers)
                open_[callee] = None
                waiting.append((callee, iter(callee.calling)))
            elif edge.callee in open_:
                lowest[one] = min(lowest[one], numbers[edge.callee])


def _taken(open_: dict[Function, None], first: Function) -> list[Function]:
    """Take *first* and what came after it off *open_* and return them."""
    found = []
    while True:
        one, _ = open_.popitem()
        found.append(one)
        if one is first:
            return found[::-1]


def paths_of(tops: list[Edge], most: int = MOST_PATHS) -> tuple[list[Path], int]:
    """Return the paths that begin outside the profile, and how many were not looked into: the shortest.

    Args:
        tops: what settle() gave.
        most: paths there may be.
    """
    roots: list[Path] = []
    waiting: list[tuple[float, int, Path]] = []
    count = 0

    def grow(parent: Path | None, edge: Edge, seconds: float) -> None:
        nonlocal count
        for path in _entered(edge, parent, seconds):
            count += 1
            if path.parent is None:
                roots.append(path)
            else:
                path.parent.children.append(path)
            heappush(waiting, (-path.total, count, path))

    for edge in tops:
        grow(None, edge, edge.total)
    while waiting and count < most:
        path = heappop(waiting)[2]
        if path.depth >= DEEPEST:
            continue
        for edge in path.function.calling:
            if edge.total * path.share >= SHORTEST:
                grow(path, edge, edge.total * path.share)
    left = sum(any(edge.total * path.share >= SHORTEST for edge in path.function.calling) for _, _, path in waiting)
    return roots, left


def _entered(edge: Edge, parent: Path | None, seconds: float) -> Iterator[Path]:
    """Yield the path of *edge* below *parent*, which took *seconds*, and those of the other functions of its cycle."""
    one = edge.callee
    if len(one.cycle) == 1:
        below = one.whole - one.own
        deep = (edge.total - edge.own) / edge.total * seconds
        yield Path(one, parent, seconds, seconds - deep, deep / below if below > 0 else 0.0)
        return
    share = seconds / one.whole
    paths: dict[Function | None, Path | None] = {None: parent}
    for function, caller, total in one.spread or _spread(one):
        if caller in paths and total * share >= SHORTEST:
            path = paths[function] = Path(function, paths[caller], total * share, function.own * share, share)
            yield path


def _spread(first: Function) -> list[tuple[Function, Function | None, float]]:
    """Find the spread of *first* and return it: along the calls that took longest."""
    order = list(_calls_from(first))
    totals = {function: function.own + sum(each.total for each in function.calling) for function, _ in order}
    for function, caller in reversed(order):  # callees before their callers
        if caller is not None:
            totals[caller] += totals[function]
    first.spread = [(function, caller, totals[function]) for function, caller in order]
    return first.spread


def _calls_from(first: Function) -> Iterator[tuple[Function, Function | None]]:
    """Yield the functions of the cycle that *first* is in, each with its caller, callers before their callees."""
    seen = {first}
    yield first, None
    waiting = [(-edge.total, number, edge) for number, edge in enumerate(first.inside)]
    heapify(waiting)
    number = len(waiting)
    while waiting:
        edge = heappop(waiting)[2]
        if edge.callee in seen:
            continue
        seen.add(edge.callee)
        yield edge.callee, edge.caller
        for after in edge.callee.inside:
            number += 1
            heappush(waiting, (-after.total, number, after))
