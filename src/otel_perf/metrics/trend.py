"""Where a series is heading: a robust slope, and when it reaches a limit, with the uncertainty of both.

Imports only: amounts. Nothing is said where the fit is poor: too few points, a slope that may as well be none, a series
that has stopped growing, or a moment far beyond what was seen.

Source: Sen (1968), Estimates of the regression coefficient based on Kendall's tau: the slope is the median of the
slopes of all pairs of points, its bounds are two of these slopes. Neighbouring points are not independent, as that
needs, so the bounds are widened by what the points' correlation makes of their number.
"""

from __future__ import annotations

from otel_perf.amounts import amount, duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    Point = tuple[float, float]

FEWEST = 10  # points
MOST = 100  # points that are compared in pairs
HORIZON = 24  # times the span that was seen: beyond that nothing is projected
WORST = 0.5  # of a projection may be its uncertainty
STILL = 1 / 3  # of the slope that the later half must have
_STEPS = (0.1, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 1800.0, 3600.0, 36_000.0)  # seconds
_Z = 1.96  # standard deviations on either side of 95 %


class Trend:
    """How a series changes.

    Attributes:
        slope: change in a second, and
        low: what it is at least, and
        high: at most (95 %).
        moment: monotonic seconds of the newest point, and
        value: what the line says there, and
        spread: by how much half of the points are off that line.
        span: seconds from the first point to the newest.
    """

    __slots__ = ("high", "low", "moment", "slope", "span", "spread", "value")

    def __init__(
        self, slope: float, low: float, high: float, moment: float, value: float, spread: float, span: float
    ) -> None:
        self.slope = slope
        self.low = low
        self.high = high
        self.moment = moment
        self.value = value
        self.spread = spread
        self.span = span

    def reaches(self, limit: float) -> tuple[float, float] | None:
        """Return in how many seconds the series reaches *limit* and plus or minus how many; None if nobody knows."""
        way = limit - self.value
        if way * self.slope <= 0.0 or self.low * self.high <= 0.0:  # away from it, there already, or perhaps level
            return None
        seconds = way / self.slope
        times = sorted((way / self.low, way / self.high))
        error = max(seconds - times[0], times[1] - seconds) + self.spread / abs(self.slope)
        return (seconds, error) if seconds <= self.span * HORIZON and error <= seconds * WORST else None

    def text(self, limit: float, unit: str) -> str:
        """Return that in words, ``150 MB in 3 h ± 20 min``; empty if nobody knows."""
        found = self.reaches(limit)
        if found is None:
            return ""
        seconds, error = found
        step = max([step for step in _STEPS if step <= error], default=_STEPS[0])  # no digits that nobody knows
        shown, about = duration(round(seconds / step) * step), duration(max(step, -(-error // step) * step))
        return f"{amount(limit, unit)} in {shown} ± {about}"


def trend(points: Sequence[Point]) -> Trend | None:
    """Return the trend of *points*, oldest first; None if there is none or nobody knows."""
    found = _fit(points)
    if found is None or found.low * found.high <= 0.0:
        return None
    middle = (points[0][0] + points[-1][0]) / 2
    later = _fit([point for point in points if point[0] >= middle])
    if later is None or later.slope / found.slope < STILL:  # a step, or it grew once
        return None
    return found


def _fit(points: Sequence[Point]) -> Trend | None:
    every = -(-len(points) // MOST)
    some = points[::-1][:: max(1, every)][::-1]  # the newest among them
    count = len(some)
    if count < FEWEST or some[-1][0] <= some[0][0]:
        return None
    slopes = sorted(
        [
            (value - before) / (moment - earlier)
            for at, (moment, value) in enumerate(some)
            for earlier, before in some[:at]
            if moment > earlier
        ]
    )
    slope = _middle(slopes)
    level = _middle(sorted([value - slope * moment for moment, value in some]))
    rest = [value - slope * moment - level for moment, value in some]
    spread = _middle(sorted(map(abs, rest)))
    deviation = (count * (count - 1) * (2 * count + 5) / 18) ** 0.5 * _inflation(rest)
    off = _Z * deviation / 2
    middle = (len(slopes) - 1) / 2
    low, high = slopes[max(0, int(middle - off))], slopes[min(len(slopes) - 1, int(middle + off) + 1)]
    last = some[-1][0]
    return Trend(slope, low, high, last, slope * last + level, spread, last - some[0][0])


def _inflation(rest: list[float]) -> float:
    """Return by how much less sure the bounds are because each point resembles the one before it."""
    total = sum([one * one for one in rest])
    if not total:
        return 1.0
    likeness = sum([rest[at] * rest[at - 1] for at in range(1, len(rest))]) / total
    likeness = min(max(likeness, 0.0), 0.95)
    return float(((1 + likeness) / (1 - likeness)) ** 0.5)


def _middle(numbers: list[float]) -> float:
    """Return the median of *numbers*, which are sorted."""
    half = len(numbers) // 2
    return numbers[half] if len(numbers) % 2 else (numbers[half - 1] + numbers[half]) / 2
