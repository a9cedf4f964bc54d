"""`otel-perf flame -i`: a tree that is folded and unfolded by keys.

Reading order: Browser.press(), Browser.frame().
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from otel_perf.amounts import count
from otel_perf.analysis.text import cut, share

from .flame import Look, difference_of, flame_lines, layout_of, rows_of, walk
from .search import Search
from .words import help_lines, keys_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otel_perf.analysis.text import Style

    from .flame import Node, Row

PAGE = 10  # lines
FOREVER = 3600.0  # seconds
MEASURED = 300  # lines, the first, by which columns are measured, so that they stay where they are
KEYS = (
    ("q", "quit"), ("arrows", "move, fold"), ("enter", "zoom"), ("backspace", "out"), ("/", "search"), ("n", "next"),
    ("?", "help"),
)  # fmt: skip
HELP = (
    ("q, Ctrl-C", "quit"),
    ("up, down", "the line above, below; also page up, page down, home, end"),
    ("right", "unfold; once it is, the first call in it"),
    ("left", "fold; once it is, its caller"),
    ("space", "fold or unfold"),
    ("enter", "zoom to a call: bars are as long as their share of it"),
    ("backspace", "back out of it, to its caller"),
    ("/", "search; Enter goes to the first, Esc clears it"),
    ("n  N", "the next one that is searched for, the one before"),
    ("?", "this help"),
)
WORDS = (
    ("of all", "share of the time of all that is shown without zoom"),
    ("total", "time with everything that was called"),
    ("self", "time in the function alone"),
    ("*", "it is searched for"),
    ("n more", "calls too small to be shown; right shows them"),
)


class Browser:
    """What the keys have made of a tree.

    Attributes:
        root: of the tree.
        top: what is zoomed to.
        chosen: place of the line that is chosen.
    """

    def __init__(self, root: Node, titles: Sequence[str], least: float, difference: bool) -> None:
        """Begin.

        Args:
            root: of the tree.
            titles: what it is, a line each.
            least: share of what is zoomed to below which calls are folded, 0 to 1.
            difference: it is compared with another run.
        """
        self.root = self.top = root
        self.chosen = 0
        self._titles = titles
        self._least = least
        self._difference = difference
        self._search = Search()
        self._found: dict[int, Node] = {}
        self._help = False
        self._first = 0  # line that is at the top
        self._rows = rows_of(root, least * root.weight)

    @property
    def writing(self) -> bool:
        """Say whether keys are text now, of the search."""
        return self._search.writing

    def step(self) -> float:
        """Return the seconds until something changes by itself: nothing does."""
        return FOREVER

    def press(self, key: str) -> bool:
        """Do what *key* asks for; say whether to go on."""
        row = self._rows[self.chosen]
        if self._search.writing:
            self._write(key)
        elif self._help:
            self._help = False
        elif key in ("q", "Q"):
            return False
        elif key == "?":
            self._help = True
        elif key == "/":
            self._search.writing = True
        elif key == "escape":
            self._search.key(key)
            self._found = {}
        elif key in ("n", "N"):
            self._go_to_found(1 if key == "n" else -1)
        elif key == "enter" and not row.folded:
            self._zoom(row.node)
        elif key == "backspace" and self.top.parent is not None:
            before = self.top
            self._zoom(self.top.parent)
            self._choose(before)
        elif key == "right":
            self._right(row)
        elif key == "left":
            self._left(row)
        elif key == " ":
            self._turn(row)
        else:
            step = {"up": -1, "down": 1, "pageup": -PAGE, "pagedown": PAGE, "home": -(10**9), "end": 10**9}
            self.chosen = min(max(0, self.chosen + step.get(key, 0)), len(self._rows) - 1)
        return True

    def _right(self, row: Row) -> None:
        if row.folded or (row.node.children and not row.node.open):
            self._turn(row)
        elif row.node.children and self.chosen + 1 < len(self._rows):
            self.chosen += 1

    def _left(self, row: Row) -> None:
        if not row.folded and row.node.children and row.node.open:
            self._turn(row)
        else:
            parent = row.node if row.folded else row.node.parent
            if parent is not None and row.node is not self.top:
                self._choose(parent)

    def _turn(self, row: Row) -> None:
        if row.folded:
            row.node.whole = True
        elif row.node.children:
            row.node.open = not row.node.open
            row.node.whole = False
        self._list()

    def _zoom(self, node: Node) -> None:
        self.top, self.chosen = node, 0
        node.open = True
        self._list()

    def _list(self) -> None:
        self._rows = rows_of(self.top, self._least * self.top.weight)
        self.chosen = min(self.chosen, len(self._rows) - 1)

    def _choose(self, node: Node) -> None:
        """Choose the line of *node*, made visible."""
        above, one = [], node
        while one is not self.top and one.parent is not None:
            above.append(one.parent)
            one = one.parent
        if one is not self.top:
            self.top = self.root
        for parent in above:
            parent.open = True
        self._list()
        if all(row.node is not node or row.folded for row in self._rows):
            for parent in above:
                parent.whole = True
            self._list()
        self.chosen = next(at for at, row in enumerate(self._rows) if row.node is node and not row.folded)

    def _write(self, key: str) -> None:
        self._search.key(key)
        text = self._search.text
        self._found = {id(node): node for node in walk(self.root) if text and self._search.matches(node.name)}
        if key == "enter" and self._found and id(self._rows[self.chosen].node) not in self._found:
            self._go_to_found(1)

    def _go_to_found(self, step: int) -> None:
        """Choose the next line that is searched for, after the last one the first."""
        order = list(walk(self.root))
        if not self._found:
            return
        here = next(at for at, node in enumerate(order) if node is self._rows[self.chosen].node)
        turned = order[here + 1 :] + order[: here + 1] if step > 0 else order[:here][::-1] + order[here:][::-1]
        self._choose(next(node for node in turned if id(node) in self._found))

    # --- lines ---

    def frame(self, style: Style, height: int) -> list[str]:
        """Return the lines of a window of *height* lines, none wider than the style."""
        if self._help:
            return help_lines(style, height, HELP, WORDS)
        titles = [cut(style.plain(title), style.width, style.more) for title in self._titles]
        if self.top is not self.root:
            titles.append(cut(style.clean(f"in {' > '.join(self.top.path)}"), style.width, style.more, middle=True))
        room = max(1, height - len(titles) - 4)
        self._first = min(max(self._first, self.chosen - room + 1), self.chosen, max(0, len(self._rows) - room))
        shown = self._rows[self._first : self._first + room]
        inner = replace(style, width=style.width - 2)
        look = Look(self._difference, marks=True, found=self._found)
        layout = layout_of(self._rows[:MEASURED] + shown, self.root, inner, look)
        title, *lines = flame_lines(shown, self.top, self.root, inner, look, layout)
        lines = [f"{'> ' if at == self.chosen else '  '}{line}" for at, line in enumerate(lines, self._first)]
        lines += [""] * (room - len(lines))
        return [*self._painted(titles, style), f"  {title}", *lines, *self._says(style), self._foot(style)][:height]

    def _painted(self, titles: Sequence[str], style: Style) -> list[str]:
        return [style.paint(title, "dim" if number else "head") for number, title in enumerate(titles)]

    def _says(self, style: Style) -> list[str]:
        """Return two lines on the call that is chosen."""
        row = self._rows[self.chosen]
        if row.folded:
            where = " > ".join(row.node.path) or row.node.name
            total = sum(one.total for one in row.folded) / 1e9
            words = f"{count(len(row.folded))} calls that are too small to be shown, {style.duration(total)} together"
            return [cut(style.clean(text), style.width, style.more, middle=True) for text in (f"in {where}", words)]
        node = row.node
        path = cut(style.clean(" > ".join(node.path) or node.name), style.width, style.more, middle=True)
        words = f"total {style.duration(node.total / 1e9)}, self {style.duration(node.own / 1e9)}"
        if node.calls is not None:
            words += f", {count(node.calls)} call{'' if node.calls == 1 else 's'}"
        if node.parent is not None:
            words += f", {share(node.total, node.parent.total)} of its caller"
        if self._difference:
            sign, word = difference_of(node.total, node.base, style)
            words += f"; {sign} {word}, before {style.duration(node.base / 1e9)}"
        return [style.paint(path, "head"), cut(words, style.width, style.more)]

    def _foot(self, style: Style) -> str:
        if self._search.writing:
            return self._search.line(style)
        found = f"{count(len(self._found))} found, n next  " if self._search.text else ""
        return style.paint(cut(found + keys_line(KEYS, max(0, style.width - len(found))), style.width, ""), "dim")
