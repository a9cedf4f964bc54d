"""A call tree as lines: each call's bar lies below that of its caller, and is as long as its share of all.

Reading order: tree_of(), compare(); Look, rows_of(), flame_lines().
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from otel_perf.amounts import count
from otel_perf.analysis.text import cells, cut, pad, share
from otel_perf.analysis.tree import bar

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from typing import Any

    from otel_perf.analysis.text import Style

NAME = 16  # cells that a name keeps
WIDE_NAME = 34  # cells that a name may have before bars become narrower than it
WIDEST = 60  # cells of a name
BAR = 8  # cells of a bar; without room for them there is none
GAP = "  "
SAME = 0.02  # of the larger time: below that two are called the same


class Node:
    """What took time under one name in one place.

    Attributes:
        total: nanoseconds with everything called from there, and
        own: in it alone.
        calls: how many, None if nobody knows.
        base: total in the run that it is compared with, 0 if it is not there.
        begin: where its bar begins, in nanoseconds from the left.
        children: the longest first.
        below: how many nodes there are in its subtree, without itself.
        open: its children are shown.
        whole: those are shown, too, that are too small.
    """

    __slots__ = (
        "base", "begin", "below", "calls", "children", "function", "name", "open", "own", "parent", "total", "whole",
    )  # fmt: skip

    def __init__(self, name: str, function: str = "", parent: Node | None = None) -> None:
        self.name = name
        self.function = function
        self.parent = parent
        self.total = self.own = self.base = self.begin = self.below = 0
        self.calls: int | None = None
        self.children: list[Node] = []
        self.open = True
        self.whole = False

    @property
    def weight(self) -> int:
        """What decides whether it is shown: its time here or there, whichever is longer."""
        return max(self.total, self.base)

    @property
    def path(self) -> tuple[str, ...]:
        """Its name and those of its callers, the outermost first; without the root, which is none."""
        found: list[str] = []
        node: Node | None = self
        while node is not None and node.parent is not None:
            found.append(node.name)
            node = node.parent
        return tuple(reversed(found))


def tree_of(flame: dict[str, Any]) -> Node:
    """Return the root of what api.ts calls Flame."""
    nodes: list[Node] = []
    names, functions = flame["names"], flame["functions"]
    for number, parent, total, own, calls in zip(
        flame["name"], flame["parent"], flame["totalNs"], flame["selfNs"], flame["calls"], strict=True
    ):
        node = Node(names[number], functions[number], nodes[parent] if parent >= 0 else None)
        node.total, node.own, node.calls = total, own, calls
        if node.parent is not None:
            node.parent.children.append(node)
        nodes.append(node)
    _arrange(nodes)
    return nodes[0]


def compare(root: Node, other: Node) -> None:
    """Give the nodes below *root* the times that they have below *other*; what is there only is added."""
    waiting = [(root, other)]
    while waiting:
        node, there = waiting.pop()
        node.base = there.total
        known = {child.name: child for child in node.children}
        for child in there.children:
            if child.name not in known:
                known[child.name] = Node(child.name, child.function, node)
                node.children.append(known[child.name])
            waiting.append((known[child.name], child))
    _arrange(list(walk(root)))


def walk(root: Node) -> Iterator[Node]:
    """Yield *root* and all below it, callers before what they called, in the order in which they are shown."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(reversed(node.children))


def _arrange(nodes: Sequence[Node]) -> None:
    """Put children in their order and below their caller's bar; *nodes* are in pre-order, the root first."""
    for node in nodes:
        node.children.sort(key=lambda child: (-child.weight, child.name))
        node.below = 0
    for node in walk(nodes[0]):
        begin = node.begin
        for child in node.children:
            child.begin = begin
            begin += child.total
    for node in reversed(nodes):
        if node.parent is not None:
            node.parent.below += node.below + 1


# --- what is shown ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Row:
    """One line: a node, or what is folded of the children of one.

    Attributes:
        node: it, or whose children are folded.
        folded: those that are, in their order; empty: the line is the node's own.
    """

    node: Node
    depth: int
    folded: list[Node]


def rows_of(top: Node, least: float) -> list[Row]:
    """Return the lines below *top*, itself the first; children lighter than *least* ns are one line "n more"."""
    rows: list[Row] = []
    waiting = [Row(top, 0, [])]
    while waiting:
        row = waiting.pop()
        rows.append(row)
        node = row.node
        if row.folded or not node.open:
            continue
        shown = [child for child in node.children if node.whole or child.weight >= least]
        folded = node.children[len(shown) :]
        if len(folded) == 1 and not folded[0].children:  # its line costs no more than "1 more"
            shown, folded = node.children, []
        below = [Row(child, row.depth + 1, []) for child in shown]
        if folded:
            below.append(Row(node, row.depth + 1, folded))
        waiting.extend(reversed(below))
    return rows


def close_below(root: Node, depth: int) -> None:
    """Fold what is deeper than *depth* below *root*."""
    waiting = [(root, 0)]
    while waiting:
        node, at = waiting.pop()
        node.open = at < depth
        waiting.extend((child, at + 1) for child in node.children)


# --- lines ------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Look:
    """How the lines look.

    Attributes:
        difference: beside another run.
        marks: names have a mark that says whether they can be unfolded.
        found: nodes that are searched for, by id().
    """

    difference: bool = False
    marks: bool = False
    found: Collection[int] = ()


@dataclass(frozen=True, slots=True)
class Layout:
    """Where what stands: cells of the name, of the indent of each level, of the bars (0: none), of each number."""

    name: int
    step: int
    bars: int
    numbers: tuple[int, ...]


def layout_of(rows: Sequence[Row], root: Node, style: Style, look: Look) -> Layout:
    """Return the layout in which all of *rows* fit; numbers are left out for bars, the last first."""
    titles, table = _numbers(rows, root, style, look)
    widths = [max(map(cells, column)) for column in zip(titles, *table, strict=True)]
    deepest = max(row.depth for row in rows)
    widest = max([NAME, *(2 * row.depth + cells(_name(row, style, look)) for row in rows)])

    def free() -> int:
        return style.width - sum(width + len(GAP) for width in widths)

    while len(widths) > 1 and free() < NAME + len(GAP) + BAR:
        widths.pop()
    name = min(widest, WIDEST, max(NAME, free() * 45 // 100, min(WIDE_NAME, free() - len(GAP) - 2 * BAR)))
    bars = free() - name - len(GAP)
    if bars < BAR:
        name, bars = max(1, min(widest, free())), 0
    return Layout(name, 2 if 4 * deepest <= name else 1, bars, tuple(widths))


def flame_lines(
    rows: Sequence[Row], top: Node, root: Node, style: Style, look: Look, layout: Layout | None = None
) -> list[str]:
    """Return a title and a line for each of *rows*, none wider than the style.

    Args:
        rows: those that are shown, of
        top: the node to which bars are as long as their time, of
        root: the node of which shares are.
        style: width, colours and characters.
        look: what else is shown.
        layout: None: that of *rows*.
    """
    layout = layout_of(rows, root, style, look) if layout is None else layout
    titles, table = _numbers(rows, root, style, look)
    lines = [style.paint(_line("", "", titles, layout), "dim")]
    for row, numbers in zip(rows, table, strict=True):
        drawn = _bar(row, top, layout.bars, style, look) if layout.bars else ""
        lines.append(_line(_fitted(row, layout, style, look), drawn, numbers, layout))
    return lines


def _line(name: str, drawn: str, numbers: Sequence[str], layout: Layout) -> str:
    parts = [name or " " * layout.name, *([drawn or " " * layout.bars] if layout.bars else [])]
    for number, width in zip(numbers, layout.numbers, strict=False):
        parts.append(pad(cut(number, width, ""), width, right=True))
    return GAP.join(parts).rstrip()


def _numbers(rows: Sequence[Row], root: Node, style: Style, look: Look) -> tuple[list[str], list[list[str]]]:
    """Return the titles of the columns and the cells of each row; the last are left out first."""
    if not look.difference:
        titles = ["total", "of all", "self", "calls"]
        return titles, [
            [
                style.duration(_total(row) / 1e9),
                share(_total(row), root.total),
                style.duration((sum(one.own for one in row.folded) if row.folded else row.node.own) / 1e9),
                "" if row.folded or row.node.calls is None else count(row.node.calls),
            ]
            for row in rows
        ]
    found = []
    for row in rows:
        total, base = _total(row), _base(row)
        sign, word = difference_of(total, base, style)
        before = style.duration(base / 1e9) if base else style.none
        found.append([sign, word, style.duration(total / 1e9) if total else style.none, before])
    return ["change", "", "total", "before"], found


def difference_of(total: float, base: float, style: Style) -> tuple[str, str]:
    """Return by how much *total* (ns) is more than *base*, with its sign, and a word for it."""
    change = total - base
    sign = "+" if change > 0 else style.plain("−") if change < 0 else ""
    text = f"{sign}{style.duration(abs(change) / 1e9)}"
    if not base or not total:
        return text, "new" if total else "gone" if base else "same"
    if abs(change) < SAME * max(total, base):
        return text, "same"
    return text, "slower" if change > 0 else "faster"


def _total(row: Row) -> int:
    return sum(one.total for one in row.folded) if row.folded else row.node.total


def _base(row: Row) -> int:
    return sum(one.base for one in row.folded) if row.folded else row.node.base


def _name(row: Row, style: Style, look: Look) -> str:
    """Return the name of a row, or how much is folded in it."""
    node = row.node
    if row.folded:
        mark = f"{_mark(style, False)} " if look.marks else ""
        return f"{mark}{len(row.folded)} more"
    name = style.clean(node.name) or "(no name)"
    if look.marks:
        name = f"{_mark(style, node.open) if node.children else ' '} {name}"
    elif node.children and not node.open:
        name += f" [{node.below} below]"
    return f"{name} *" if id(node) in look.found else name


def _mark(style: Style, is_open: bool) -> str:
    return ("-" if is_open else "+") if style.ascii else ("▾" if is_open else "▸")


def _fitted(row: Row, layout: Layout, style: Style, look: Look) -> str:
    indent = " " * min(layout.step * row.depth, layout.name // 2)
    room = layout.name - len(indent)
    text = pad(cut(_name(row, style, look), room, style.more, middle=True), room)
    return indent + style.paint(text, "dim" if row.folded else "accent" if id(row.node) in look.found else "")


def _bar(row: Row, top: Node, width: int, style: Style, look: Look) -> str:
    begin = row.folded[0].begin if row.folded else row.node.begin
    total = _total(row)
    if not total:
        return " " * width
    drawn = bar([(begin, begin + total)], top.begin, max(top.begin + top.total, top.begin + 1), width, style.ascii)
    role = "dim" if row.folded else "accent"
    if look.difference:
        word = difference_of(total, _base(row), style)[1]
        role = {"slower": "warning", "new": "warning", "same": "dim"}.get(word, "accent")
    return style.paint(drawn, role)
