"""Boxes on a grid of character cells, and how one box is divided into several."""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import NamedTuple


class Box(NamedTuple):
    """A rectangle in cells; *x* and *y* are its upper left corner."""

    x: int
    y: int
    width: int
    height: int

    def inside(self) -> Box:
        """Return the box within this one's border."""
        return Box(self.x + 1, self.y + 1, max(self.width - 2, 0), max(self.height - 2, 0))

    def rows(self, *weights: int) -> list[Box]:
        """Divide from top to bottom in the proportion of *weights*; the parts fill the box exactly."""
        pairs = pairwise(_edges(self.height, weights))
        return [Box(self.x, self.y + top, self.width, bottom - top) for top, bottom in pairs]

    def columns(self, *weights: int) -> list[Box]:
        """Divide from left to right in the proportion of *weights*; the parts fill the box exactly."""
        pairs = pairwise(_edges(self.width, weights))
        return [Box(self.x + left, self.y, right - left, self.height) for left, right in pairs]


def _edges(length: int, weights: tuple[int, ...]) -> list[int]:
    """Return where the parts of *length* begin and end; edges are rounded, so no cell is lost or doubled."""
    total = sum(weights)
    return [round(length * part / total) for part in accumulate(weights, initial=0)]
