"""The table of functions: what took time in the last seconds, and in the whole run.

Reading order: COLUMNS, function_lines(), name_width().
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from otel_perf.amounts import count
from otel_perf.analysis.text import cells, cut, pad
from otel_perf.analysis.tree import bar

from .snapshot import RECENT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from otel_perf.analysis.text import Style

    from .snapshot import Function, Snapshot
    from .state import State

NAME = 20  # cells that the name of a function keeps before columns are left out
WIDEST = 60  # cells of a name
BAR, LEAST_BAR = 40, 10  # cells of the bars beside the functions
GAP = "  "


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the table of functions; *recent*: of the last seconds."""

    title: str
    recent: bool
    least: int
    text: Callable[[Function, Style], str]
    value: Callable[[Function], float]


COLUMNS = (
    Column("self", True, 7, lambda one, style: _seconds(one.recent_own, style), lambda one: one.recent_own),
    Column("calls", True, 6, lambda one, style: count(one.recent_calls), lambda one: one.recent_calls),
    Column("self", False, 7, lambda one, style: style.duration(one.own), lambda one: _own(one)),
    Column("total", False, 7, lambda one, style: style.duration(one.total), lambda one: one.total),
    Column("calls", False, 6, lambda one, style: count(one.calls), lambda one: one.calls),
    Column("p95", False, 8, lambda one, style: _p95(one, style), lambda one: one.p95 or 0.0),
)
DROPPED = (
    5,
    3,
    1,
    4,
    2,
    0,
)  # columns that are left out where there is no room, the first of them first; never the one that sorts
SORTS = (0, 2, 3, 4, 5)


def function_lines(snapshot: Snapshot, found: list[Function], state: State, style: Style, room: int) -> list[str]:
    """Return the table in *room* lines at most; *found* are the functions that are searched for."""
    if room < 1:
        return []
    title = f"Functions: {len(snapshot.functions)}"
    if state.search.text:
        title += f", {len(found)} with {style.clean(state.search.text)}"
    if not found:
        why = f"no function has {style.clean(state.search.text)} in its name" if snapshot.functions else snapshot.empty
        return [style.paint(line, "dim") for line in style.wrap(style.plain(why))[:room]]
    sort = COLUMNS[SORTS[state.sort]]
    found = sorted(found, key=lambda one: (-sort.value(one), -_own(one), one.name))
    top = min(state.scroll, max(0, len(found) - (room - 2)))
    shown = found[top : top + max(0, room - 2)]
    texts = {column: [column.text(one, style) for one in shown] for column in COLUMNS}
    widths = _widths(texts, state)
    kept = list(COLUMNS)
    for number in DROPPED:
        if style.width - sum(widths[column] + len(GAP) for column in kept) < NAME and COLUMNS[number] is not sort:
            kept.remove(COLUMNS[number])
    free = max(1, style.width - sum(widths[column] + len(GAP) for column in kept))
    name = name_width([one.name for one in shown], "functions", free, state, style)
    lines = _titles(title, kept, widths, sort, name, style)
    most = sort.value(found[0])
    bars = min(BAR, free - name - len(GAP))
    for row, one in enumerate(shown):
        text = pad(cut("  " + style.clean(one.name), name, style.more, middle=True), name)
        text = GAP.join([text, *(pad(texts[column][row], widths[column], right=True) for column in kept)])
        if bars >= LEAST_BAR and most > 0:
            part = [(0, int(sort.value(one) / most * 1e6))]
            text += GAP + style.paint(bar(part, 0, 10**6, bars, style.ascii).rstrip(), "accent")
        lines.append(text)
    return lines[:room]


def name_width(names: Sequence[str], table: str, free: int, state: State, style: Style) -> int:
    """Return the width of the column of names: as wide as needed now or before, so that numbers stay near it."""
    known = state.widths.get(table, NAME)
    state.widths[table] = found = max([known, *(cells(style.clean(name)) + 2 for name in names)])
    return min(found, WIDEST, free)


def _widths(texts: dict[Column, list[str]], state: State) -> dict[Column, int]:
    """Return the widths of the columns: what they need, or needed before."""
    found = {}
    for number, (column, rows) in enumerate(texts.items()):
        known = state.widths.get(str(number), column.least)
        state.widths[str(number)] = found[column] = max([known, *map(cells, rows)])
    return found


def _titles(
    title: str, kept: Sequence[Column], widths: dict[Column, int], sort: Column, room: int, style: Style
) -> list[str]:
    """Return the two lines above the functions: what the columns are of, and what they are."""
    groups = []
    for recent, text in ((True, f"last {RECENT:.0f} s"), (False, "whole run")):
        width = sum(widths[column] + len(GAP) for column in kept if column.recent is recent)
        groups.append(pad(cut(text, width, ""), width, right=True))
    names = []
    for column in kept:
        mark = ("v" if style.ascii else "▾") if column is sort else ""
        names.append(GAP + style.paint(pad(mark + column.title, widths[column], right=True), "head" if mark else "dim"))
    first = pad(cut(title, room, style.more), room) + "".join(groups)
    return [style.paint(first, "head"), pad("", room) + "".join(names)]


def _own(one: Function) -> float:
    return one.total if one.own is None else one.own


def _p95(one: Function, style: Style) -> str:
    return style.none if one.p95 is None else ("" if one.exact else "~") + style.duration(one.p95)


def _seconds(seconds: float, style: Style) -> str:
    return style.duration(seconds) if seconds else style.none
