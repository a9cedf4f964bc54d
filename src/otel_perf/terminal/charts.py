"""A chart in cells: bars from 0, as fine as the characters allow, and a line at each limit.

Reading order: columns(), Chart, chart_lines(), layout().
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from math import floor
from typing import TYPE_CHECKING

from otel_perf.analysis.text import cells, cut, pad

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otel_perf.analysis.text import Style

LEVELS = " ▁▂▃▄▅▆▇█"
PLAIN_LEVELS = " _:#"
LINE, PLAIN_LINE = "╌", "-"
SECOND = 1_000.0  # milliseconds
GAP = 3.0  # columns, or seconds, without a sample after which there is a gap
LEFT, WIDE_LEFT = 21, 32  # cells for what a chart is of, in a usual window and in a wide one
WIDE = 120  # cells from which on a window is wide
RIGHT = 14  # cells for its scale
AIR = 4 / 3  # of its highest value a chart without a limit is high: what never changes is no full block
LEAST = 8  # cells; without room for them a chart has no scale beside it


@dataclass(slots=True)
class Chart:
    """What one chart shows.

    Attributes:
        name: what it is of.
        words: what stands below the name, the most important first.
        points: moments in milliseconds since 1970 and values, by time.
        limits: values that are a line, each with its text.
        warns: value above which bars have the colour of a warning.
        over: the newest value is over a limit that holds.
        scale: text of the highest value that there is room for.
    """

    name: str
    words: list[str] = field(default_factory=list)
    points: list[tuple[float, float]] = field(default_factory=list)
    limits: list[tuple[float, str]] = field(default_factory=list)
    warns: float = float("inf")
    over: bool = False
    scale: str = ""


def columns(points: Sequence[tuple[float, float]], end: float, step: float, number: int) -> list[float | None]:
    """Return the highest value in each of *number* columns of *step* seconds, the last of them with the moment *end*.

    A column always begins at a multiple of its step, so that bars move and do not change. One without a sample repeats
    the one before it, but where the samples stopped for a while it is None. Moments are in milliseconds since 1970.
    """
    wide = step * SECOND
    last = floor(end / wide)
    found: list[float | None] = [None] * number
    before: tuple[float, float] | None = None
    for moment, value in points:
        place = floor(moment / wide) - last + number - 1
        if place < 0:
            before = moment, value
        elif place < number:
            known = found[place]
            found[place] = value if known is None else max(known, value)
    for place, high in enumerate(found):
        end = (last - number + 2 + place) * wide
        if high is not None:
            before = end, high
        elif before is not None and end - before[0] < GAP * max(wide, SECOND):
            found[place] = before[1]
    return found


def chart_lines(chart: Chart, end: float, step: float, height: int, style: Style) -> list[str]:
    """Return *height* lines of the style's width: name and words, the bars, and their scale."""
    left, room, right = layout(style.width)
    course = columns(chart.points, end, step, room)
    values = [value for value in course if value is not None]
    high = max([*values, *(limit for limit, _ in chart.limits), 0.0])
    top = (high if chart.limits else high * AIR) or 1.0
    lines_at: dict[int, list[str]] = {}
    for limit, text in chart.limits:
        lines_at.setdefault(_row(limit, top, height), []).append(text)
    found = []
    for row in range(height - 1, -1, -1):
        says = ", ".join(lines_at.get(row, [])) or (chart.scale if row == _row(high, top, height) else "")
        beside = f" {cut(style.plain(says), right, style.more)}" if right else ""
        bars = _bars(course, top, row, height, row in lines_at, chart.warns, style)
        found.append(
            f"{_left(chart, height - 1 - row, height, left, style)} {bars}{style.paint(beside.rstrip(), 'dim')}"
        )
    return found


def layout(width: int) -> tuple[int, int, int]:
    """Return the cells for what a chart is of, for its bars, and for its scale, 0 where there is no room for one."""
    left = LEFT if width < WIDE else WIDE_LEFT
    room = width - left - RIGHT - 2
    return (left, room, RIGHT) if room >= LEAST else (left, max(1, width - left - 1), 0)


def _left(chart: Chart, line: int, height: int, width: int, style: Style) -> str:
    """Return what stands left of one line of the chart."""
    words = chart.words[:1] if height == 1 else chart.words
    if height == 1:
        value = cut(style.plain(words[0]) if words else "", width - 4, style.more)
        room = width - cells(value)
        name = pad(cut(style.plain(chart.name), room - 1, style.more), room)
        return style.paint(name, "head") + style.paint(value, "warning" if chart.over else "")
    if not line:
        return style.paint(pad(cut(style.plain(chart.name), width, style.more), width), "head")
    text = words[line - 1] if line <= len(words) else ""
    shown = pad(cut("  " + style.plain(text), width, style.more), width)
    return style.paint(shown, ("warning" if chart.over else "") if line == 1 else "dim")


def _row(value: float, top: float, height: int) -> int:
    return min(height - 1, int(value / top * height))


def _bars(
    course: Sequence[float | None], top: float, row: int, height: int, line: bool, warns: float, style: Style
) -> str:
    """Return one line of the bars; what is over *warns* has another colour."""
    levels = PLAIN_LEVELS if style.ascii else LEVELS
    steps = len(levels) - 1
    blank = (PLAIN_LINE if style.ascii else LINE) if line else " "
    drawn: list[tuple[str, str]] = []
    for value in course:
        if value is None:
            drawn.append((blank, "dim"))
            continue
        filled = value / top * height * steps
        level = min(steps, max(0, round(filled) - row * steps))
        if not row and not level:
            level = 1  # it was measured
        role = "dim" if not level else "warning" if value > warns else "accent"
        drawn.append((levels[level] if level else blank, role))
    return "".join(
        style.paint("".join(cell for cell, _ in group), role) for role, group in groupby(drawn, key=lambda one: one[1])
    )
