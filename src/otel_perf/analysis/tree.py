"""The start as a tree with bars on one time axis, for a terminal.

Reading order: Row, rows_of() says what is shown, tree_lines() how.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from .startup import NOT_RECORDED, gaps, length, merged
from .text import cells, cut, pad, plural, share

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .critical import Step
    from .model import Node
    from .startup import Interval, Start
    from .text import Style

FOLD = 0.01  # share of the start below which siblings are folded into one line
MOST = 40  # siblings that are shown: the longest
WIDE_NAME = 34  # cells that a name may have before bars become narrower than it
LEAST_BAR = 8  # cells; without room for them there are no bars
UNFINISHED = ("open", "interrupted")
PALE = str.maketrans("▐▌█#", "░░░-")  # a bar off the critical path
NO_STEPS: Mapping[int, Step] = MappingProxyType({})


@dataclass(slots=True)
class Row:
    """One line of the tree.

    Attributes:
        marks: what is special about it, in words.
        intervals: where its bar is, in nanoseconds since 1970.
        seconds: what its time column says.
        role: colour of its bar.
        alert: colour of its marks.
        off: it is off the critical path.
    """

    depth: int
    label: str
    intervals: list[Interval]
    seconds: float
    marks: str = ""
    role: str = ""
    alert: str = "warning"
    off: bool = False


def rows_of(start: Start, style: Style, everything: bool = False, steps: Mapping[int, Step] = NO_STEPS) -> list[Row]:
    """Return the lines of the start's tree, in their order; with *steps*, by id() of a node, what is off the path.

    Children below FOLD of the start become one line "n more" with their time together, each moment counted
    once; phases, what was unfinished and whatever contains something long are always shown.
    """
    limit = 0.0 if everything else FOLD * (start.root.end - start.root.start)
    rows: list[Row] = []
    waiting: list[tuple[int, Node] | Row] = [(0, start.root)]
    if start.orphans:
        waiting = [*_children(start.orphans, 1, limit, steps)[::-1], _heading(start.orphans), *waiting]
    while waiting:
        item = waiting.pop()
        if isinstance(item, Row):
            rows.append(item)
            continue
        depth, node = item
        rows.append(_row(depth, node, style, steps.get(id(node))))
        if node is start.root and not start.recorded:
            rows[-1].marks = "end not recorded"
        below = _children(node.children, depth + 1, limit, steps)
        own = _own_code(depth + 1, node, limit) if start.recorded or node is not start.root else None
        waiting.extend(reversed([*below, own] if own is not None else below))
    return rows


def _row(depth: int, node: Node, style: Style, step: Step | None) -> Row:
    marks = list(node.marks)
    off = step is not None and not step.on_path and step.slack is not None
    if step is not None and off and step.home is not None and step.home.on_path:
        marks = [*(mark for mark in marks if mark != "parallel"), f"slack {style.duration(step.slack)}"]
    if node.active is not None:
        marks.append(f"active {style.duration(node.active)}")
    alert = "warning"
    if node.error is not None:
        kind = node.error.partition(":")[0].rpartition(".")[2]
        marks.insert(0, f"error {kind}" if kind != "error" else "error")
        alert = "critical"
    role = "accent" if node.kind in ("phase", "startup") else ""
    label = style.clean(node.name) or "(no name)"
    shown = style.clean(", ".join(marks))
    return Row(depth, label, [(node.start, node.end)], node.duration, shown, "dim" if off else role, alert, off)


def _heading(orphans: list[Node]) -> Row:
    intervals = merged((node.start, node.end) for node in orphans)
    return Row(0, NOT_RECORDED, intervals, length(intervals) / 1e9, role="dim")


def _children(
    children: list[Node], depth: int, limit: float, steps: Mapping[int, Step]
) -> list[tuple[int, Node] | Row]:
    """Return what is shown of siblings, by start, and one row for the rest."""
    shown = [node for node in children if _matters(node, limit)]
    if len(shown) > MOST and limit:
        first = sorted(shown, key=lambda node: (node.kind != "phase", -node.weight))[:MOST]
        kept = {id(node) for node in first}
        shown = [node for node in shown if id(node) in kept]
    kept = {id(node) for node in shown}
    folded = [node for node in children if id(node) not in kept]
    if len(folded) == 1 and not folded[0].children:  # its line costs no more than "1 more"
        return [(depth, node) for node in children]
    items: list[tuple[int, Node] | Row] = [(depth, node) for node in shown]
    if not folded:
        return items
    more = _folded(depth, folded)
    found = [steps[id(node)] for node in folded if id(node) in steps]
    more.off = bool(found) and not any(step.on_path or step.slack is None for step in found)
    return [*items, more]


def _matters(node: Node, limit: float) -> bool:
    return node.weight >= limit or node.kind == "phase" or any(mark in UNFINISHED for mark in node.marks)


def _folded(depth: int, nodes: list[Node]) -> Row:
    intervals = merged((node.start, node.end) for node in nodes)
    failed = sum(node.error is not None for node in nodes)
    marks = f"{plural(failed, 'error')}" if failed else ""
    return Row(depth, f"{len(nodes)} more", intervals, length(intervals) / 1e9, marks, "dim", "critical")


def _own_code(depth: int, node: Node, limit: float) -> Row | None:
    """Return the row of a phase's time in no child, if it has children and the time is worth a line."""
    seconds = node.self_time or 0.0
    if node.kind not in ("phase", "startup") or not node.children or seconds <= 0 or seconds * 1e9 < limit:
        return None
    return Row(depth, "(own code)", gaps(node), seconds, role="dim")


# --- lines --------------------------------------------------------------------------------------------------


def tree_lines(start: Start, style: Style, everything: bool = False, steps: Mapping[int, Step] = NO_STEPS) -> list[str]:
    """Return the tree of the start as lines of the style's width: name, bar, time, share of the start.

    What is off the critical path has a paler bar, and the line below the tree says so.
    """
    rows = rows_of(start, style, everything, steps)
    begin, end = start.root.start, max(start.root.end, start.root.start + 1)
    times = [style.duration(row.seconds) for row in rows]
    shares = [share(row.seconds, start.root.duration) for row in rows]
    time_width, share_width = max(4, *map(len, times)), max(8, *map(len, shares))
    whole = "of start" if start.recorded else "recorded"  # what the shares are of
    free = style.width - time_width - share_width - 4
    widest = max(cells(_label(row)) + 2 * row.depth for row in rows)
    name_width = min(widest, max(free * 45 // 100, min(WIDE_NAME, free - 2 - LEAST_BAR * 2), 16))
    bar_width = free - name_width - 2
    if bar_width < LEAST_BAR:
        name_width, bar_width = min(widest, free), 0
    axis = _axis(bar_width, style.duration((end - begin) / 1e9)) + "  " if bar_width else ""
    header = f"{pad('', name_width)}  {axis}{'time'.rjust(time_width)}  {whole.rjust(share_width)}"
    lines = [style.paint(header, "dim")]
    for row, time, part in zip(rows, times, shares, strict=True):
        drawn = bar(row.intervals, begin, end, bar_width, style.ascii)
        drawn = drawn.translate(PALE) if row.off else drawn
        drawn = style.paint(drawn, row.role) + "  " if bar_width else ""
        name = _painted_label(row, name_width, style)
        lines.append(f"{name}  {drawn}{time.rjust(time_width)}  {part.rjust(share_width)}")
    if any(row.off for row in rows):
        pale = ("- " if style.ascii else "░ ") if bar_width else ""
        text = f"{pale}off the critical path: to shorten it saves 0, and it could take longer by its slack"
        lines += [style.paint(line, "dim") for line in style.wrap(text)]
    return lines


def _label(row: Row) -> str:
    return f"{row.label} [{row.marks}]" if row.marks else row.label


def _painted_label(row: Row, width: int, style: Style) -> str:
    """Return name and marks in *width* cells; a name that does not fit loses its middle first."""
    indent = " " * min(2 * row.depth, width // 2)
    room = width - len(indent)
    marks = cut(f" [{row.marks}]", max(room * 2 // 3, room - cells(row.label)), style.more + "]") if row.marks else ""
    name = cut(row.label, room - cells(marks), style.more, middle=True)
    blank = " " * (room - cells(name) - cells(marks))
    shown = style.paint(name, "dim" if row.role == "dim" else "head" if row.role == "accent" else "")
    return indent + shown + style.paint(marks, row.alert) + blank


def _axis(width: int, total: str) -> str:
    return "0" + total.rjust(width - 1) if len(total) < width else pad("", width)


def bar(intervals: list[Interval], begin: int, end: int, width: int, plain: bool) -> str:
    """Return *width* cells of a time axis from *begin* to *end*, filled where *intervals* are.

    Half cells are used where the characters allow it. What is shorter than that is a thin line at its place.
    """
    per_cell = 1 if plain else 2
    slots = width * per_cell
    scale = slots / (end - begin)
    covered = [0.0] * slots
    first = slots
    for left, right in intervals:
        low, high = (left - begin) * scale, (right - begin) * scale
        low, high = min(max(low, 0.0), slots), min(max(high, 0.0), slots)
        first = min(first, int(low))
        for slot in range(int(low), min(int(high) + 1, slots)):
            covered[slot] += min(high, slot + 1) - max(low, slot)
    full = [part >= 0.5 for part in covered]
    if plain:
        drawn = ["#" if on else " " for on in full]
    else:
        drawn = [" ▐▌█"[2 * left + right] for left, right in zip(full[::2], full[1::2], strict=True)]
    if intervals and not any(full) and width:
        touched = [slot for slot, part in enumerate(covered) if part > 0.0]
        for slot in touched or [min(first, slots - 1)]:
            drawn[slot // per_cell] = "|" if plain else "▏▕"[slot % 2]
    return "".join(drawn)
