"""The past of one series in a few hundred points, whatever its age.

Imports nothing. The longer it gets the wider are the buckets, and of each bucket the lowest and the highest point
stay, as they were measured: no peak is lost, and nothing is averaged. Reading order: Ring.add(), Ring.points().
"""

from __future__ import annotations

CAPACITY = 300  # points
_OPEN = 3  # of them for the bucket that is being filled: its lowest, its highest, the newest


class Ring:
    """Points of one series.

    Attributes:
        width: points that were measured for each bucket of two that is kept.
        last: the newest point: moment and value, None before the first.
    """

    __slots__ = ("_capacity", "_count", "_high", "_low", "_moments", "_values", "last", "width")

    def __init__(self, capacity: int = CAPACITY) -> None:
        """Begin.

        Args:
            capacity: points that are kept, 8 at least.
        """
        self._capacity = max(8, capacity) - _OPEN
        self._moments: list[float] = []
        self._values: list[float] = []
        self._count = 0  # points in the bucket that is being filled
        self._low = self._high = 0.0, 0.0
        self.last: tuple[float, float] | None = None
        self.width = 2

    def __len__(self) -> int:
        return len(self.points())

    def add(self, moment: float, value: float) -> None:
        """Add a point, later than all others; one that is no number is left out."""
        if value != value:
            return
        self.last = point = moment, value
        if not self._count or value < self._low[1]:
            self._low = point
        if not self._count or value >= self._high[1]:
            self._high = point
        self._count += 1
        if self._count == self.width:
            self._close()

    def points(self) -> list[tuple[float, float]]:
        """Return moments and values, oldest first."""
        found = list(zip(self._moments, self._values, strict=True))
        if self._count:
            found += sorted({self._low, self._high})
        if self.last is not None and found[-1:] != [self.last]:
            found.append(self.last)
        return found

    def _close(self) -> None:
        """Keep the lowest and the highest point of a bucket; make room for more where there is none."""
        for moment, value in sorted((self._low, self._high)):
            self._moments.append(moment)
            self._values.append(value)
        self._count = 0
        if len(self._moments) + 2 > self._capacity:
            self._widen()

    def _widen(self) -> None:
        """Make one bucket of each two; an odd one at the end is what the bucket being filled begins with."""
        moments, values = self._moments, self._values
        self._moments, self._values = [], []
        whole = len(moments) // 4 * 4
        for first in range(0, whole, 4):
            four = list(zip(moments[first : first + 4], values[first : first + 4], strict=True))
            for moment, value in sorted(_extremes(four)):
                self._moments.append(moment)
                self._values.append(value)
        if whole < len(moments):
            self._low, self._high = _extremes(list(zip(moments[whole:], values[whole:], strict=True)))
            self._count = self.width
        self.width *= 2


def _extremes(points: list[tuple[float, float]]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the first of the lowest points, and the last of the highest."""
    low = high = points[0]
    for point in points:
        if point[1] < low[1]:
            low = point
        if point[1] >= high[1]:
            high = point
    return low, high
