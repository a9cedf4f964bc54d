"""Columns of text in the width of a window."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .text import cells, cut, pad

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from .text import Style

NAME_WIDTH = 24  # what the first column keeps before others are left out
GAP = "  "


def table(
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    style: Style,
    *,
    left: Collection[int] = (0,),
    drop: Sequence[int] = (),
) -> list[str]:
    """Return a header and *rows* as lines, indented by two; the first column gives way to the others.

    Args:
        headers: one a column; the first begins with its two blanks.
        rows: cells that are clean already.
        style: width and colours.
        left: columns that are not aligned to the right.
        drop: columns to leave out where the first would become narrower than NAME_WIDTH, the first of them
            first.
    """
    rows = [["  " + row[0], *row[1:]] for row in rows]
    widths = [max(map(cells, column)) for column in zip(headers, *rows, strict=True)]
    kept = list(range(len(headers)))

    def room() -> int:
        return style.width - sum(widths[column] + len(GAP) for column in kept[1:])

    for column in drop:
        if room() < min(widths[0], NAME_WIDTH):
            kept.remove(column)
    while len(kept) > 1 and room() < min(widths[0], NAME_WIDTH // 2):  # no column was named that may go
        kept.pop()
    widths[0] = min(widths[0], room())

    def line(row: Sequence[str]) -> str:
        first = pad(cut(row[0], widths[0], style.more, middle=True), widths[0])
        others = [pad(row[column], widths[column], right=column not in left) for column in kept[1:]]
        return cut(GAP.join([first, *others]), style.width, style.more).rstrip()

    return [style.paint(line(headers), "dim"), *map(line, rows)]
