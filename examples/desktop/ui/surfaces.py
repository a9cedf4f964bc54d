"""What a dashboard is drawn on: a grid of characters, or an SVG document."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Protocol
from xml.etree import ElementTree

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from desktop.ui.layout import Box

_LEVELS = " ▁▂▃▄▅▆▇█"
_CELL_WIDTH, _CELL_HEIGHT = 8, 16  # SVG units of one cell
_STYLE = (
    "svg { background: #10151c } text { font: 13px monospace; fill: #d7dee8 }"
    " .frame { fill: none; stroke: #3b4a5c } .line { fill: none; stroke: #e0a33e }"
    " .track { fill: #1d2631 } .bar { fill: #4a9eda }"
)


class Surface(Protocol):
    """The drawing operations of the dashboard; positions are cells, text is cut at the surface's edge."""

    def frame(self, box: Box, title: str) -> None:
        """Draw the border of *box* with *title* in its upper edge."""

    def text(self, x: int, y: int, text: str) -> None:
        """Write *text* from the cell (*x*, *y*) to the right."""

    def bar(self, x: int, y: int, width: int, share: float) -> None:
        """Draw a bar of *width* cells, filled from the left by *share* (0 to 1)."""

    def chart(self, box: Box, values: Sequence[float]) -> None:
        """Draw *values*, 0 or more, as a curve from left to right that fills the height of *box*."""


class TextSurface:
    """An offscreen buffer of characters."""

    def __init__(self, columns: int, rows: int) -> None:
        self._cells = [[" "] * columns for _ in range(rows)]

    def frame(self, box: Box, title: str) -> None:
        right, bottom = box.x + box.width - 1, box.y + box.height - 1
        self.text(box.x, box.y, "┌" + "─" * (box.width - 2) + "┐")
        self.text(box.x, bottom, "└" + "─" * (box.width - 2) + "┘")
        for y in range(box.y + 1, bottom):
            self._cells[y][box.x] = self._cells[y][right] = "│"
        self.text(box.x + 2, box.y, f" {title} ")

    def text(self, x: int, y: int, text: str) -> None:
        if 0 <= y < len(self._cells):
            row = self._cells[y]
            row[x : x + len(text)] = text[: max(len(row) - x, 0)]

    def bar(self, x: int, y: int, width: int, share: float) -> None:
        filled = round(width * min(max(share, 0), 1))
        self.text(x, y, "█" * filled + "░" * (width - filled))

    def chart(self, box: Box, values: Sequence[float]) -> None:
        steps = len(_LEVELS) - 1
        top = max(values, default=0) or 1
        for column, value in enumerate(resample(values, box.width)):
            height = round(value / top * box.height * steps)
            for row in range(box.height):
                level = min(max(height - row * steps, 0), steps)
                self.text(box.x + column, box.y + box.height - 1 - row, _LEVELS[level])

    def __str__(self) -> str:
        return "\n".join("".join(row).rstrip() for row in self._cells)


class SvgSurface:
    """An SVG document of the same size."""

    def __init__(self, columns: int, rows: int) -> None:
        size = f"0 0 {columns * _CELL_WIDTH} {rows * _CELL_HEIGHT}"
        self._root = ElementTree.Element("svg", xmlns="http://www.w3.org/2000/svg", viewBox=size)
        ElementTree.SubElement(self._root, "style").text = _STYLE

    def frame(self, box: Box, title: str) -> None:
        self._rectangle("frame", box.x + 0.5, box.y + 0.5, box.width - 1, box.height - 1)
        self.text(box.x + 2, box.y, title)

    def text(self, x: int, y: int, text: str) -> None:
        place = {"x": str(x * _CELL_WIDTH), "y": str(y * _CELL_HEIGHT + _CELL_HEIGHT - 4)}
        ElementTree.SubElement(self._root, "text", place).text = text

    def bar(self, x: int, y: int, width: int, share: float) -> None:
        self._rectangle("track", x, y + 0.2, width, 0.6)
        self._rectangle("bar", x, y + 0.2, width * min(max(share, 0), 1), 0.6)

    def chart(self, box: Box, values: Sequence[float]) -> None:
        top = max(values, default=0) or 1
        points = []
        for column, value in enumerate(resample(values, box.width)):
            y = box.y + box.height * (1 - value / top)
            points.append(f"{(box.x + column) * _CELL_WIDTH},{y * _CELL_HEIGHT:.1f}")
        ElementTree.SubElement(self._root, "polyline", {"class": "line", "points": " ".join(points)})

    def save(self, path: Path) -> None:
        """Write the document to *path*."""
        ElementTree.indent(self._root)
        ElementTree.ElementTree(self._root).write(path, encoding="utf-8", xml_declaration=True)

    def _rectangle(self, style: str, x: float, y: float, width: float, height: float) -> None:
        place = {"x": f"{x * _CELL_WIDTH:g}", "y": f"{y * _CELL_HEIGHT:g}"}
        size = {"width": f"{width * _CELL_WIDTH:g}", "height": f"{height * _CELL_HEIGHT:g}"}
        ElementTree.SubElement(self._root, "rect", {"class": style, **place, **size})


def resample(values: Sequence[float], count: int) -> list[float]:
    """Return at most *count* values; each is the largest of those it stands for, so that no peak is lost."""
    if len(values) <= count:
        return list(values)
    edges = [len(values) * part // count for part in range(count + 1)]
    return [max(values[start:end]) for start, end in pairwise(edges)]
