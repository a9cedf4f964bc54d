"""What was sampled once a second: a line for each metric that is shown, its past as a small chart, and where it heads.

Reading order: Row, rows_of(); then sparkline() and metric_lines(), for a terminal.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from otel_perf.amounts import amount, bytes_of, count, duration, three
from otel_perf.metrics.names import CORES, FILES, HANDLES, MEMORY, MEMORY_SHARE, THREADS
from otel_perf.metrics.trend import trend
from otel_perf.metrics.wholes import CPU_LIMIT, CPUS, MEMORY_LIMIT, USABLE, cpus_text, memory_of, whole_of

from .model import number_of
from .record import SHARE
from .standing import definitions_of
from .table import table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from otel_perf.budgets import Budget
    from otel_perf.metrics.trend import Trend

    from .model import Process
    from .record import Series
    from .text import Style

WIDEST = 40  # columns of a small chart
NARROWEST = 8
LEAST_SPAN = 600.0  # seconds from which on growth is told by the hour
LEAST_GROWTH = 0.05  # of what there is; less is told only where a limit is near
PAUSE = 3.0  # times the usual distance of two samples that is a gap
LEVELS = "▁▂▃▄▅▆▇█"
PLAIN_LEVELS = "_.-:=+*#"
_NAMES = {
    CORES[0]: "CPU, cores",
    MEMORY[0]: "memory (RSS)",
    THREADS[0]: "threads",
    FILES[0]: "open files",
    HANDLES[0]: "open handles",
}
_HEADING = (MEMORY[0], THREADS[0], FILES[0], HANDLES[0])  # what may grow until there is no more of it


@dataclass(slots=True)
class Row:
    """One metric of a run.

    Attributes:
        label: what a person calls it.
        unit: of its values; ``%`` for a share that is meant in percent.
        limits: the budgets that are a line in its chart.
        trend: where it heads, None if nobody knows, or it is nothing that can run out.
        whole: what a share is of, ``of the container's limit``.
    """

    series: Series
    label: str
    unit: str
    limits: list[Budget] = field(default_factory=list)
    trend: Trend | None = None
    whole: str = ""

    def shown(self, value: float) -> str:
        """Return *value* as a person reads it; what is a number of things goes without their name."""
        if self.unit == "{cpu}":
            return f"{value:.2g}" if value < 0.1 else three(value)
        if self.unit.startswith("{"):
            return count(value) if value == int(value) else three(value)
        return amount(value, self.unit)

    def heads_for(self) -> list[tuple[Budget, float, float]]:
        """Return which limits it reaches, in how many seconds, and plus or minus how many; the nearest first."""
        if self.trend is None:
            return []
        found = [(budget, self.trend.reaches(budget.max)) for budget in self.limits]
        return sorted([(budget, *when) for budget, when in found if when is not None], key=lambda one: one[1])

    def growth(self) -> str:
        """Return where it heads in a clause, empty if nobody knows or it is not worth one."""
        if self.trend is None:
            return ""
        per, size = ("hour", 3600.0) if self.series.seconds >= LEAST_SPAN else ("minute", 60.0)
        change = self.trend.slope * size
        near = self.heads_for()
        if not near and abs(self.trend.slope) * self.trend.span < LEAST_GROWTH * abs(self.trend.value):
            return ""
        text = f"{'grew' if change > 0 else 'fell'} by {self.shown(abs(change))} a{'n' * (per == 'hour')} {per}"
        if near:
            text += f"; at that rate {self.trend.text(near[0][0].max, self.unit)} ({near[0][0].name})"
        return text


def rows_of(process: Process) -> list[Row]:
    """Return the metrics that were sampled, in the order in which they are shown."""
    found = process.record.series
    limits = [budget for budget in definitions_of(process).values() if not budget.form and not budget.selector]
    rows = []
    for name, label in _NAMES.items():
        series = found.get(name)
        if series is None:
            continue
        lines = sorted((one for one in limits if one.instrument == name), key=lambda one: one.max)
        heads = trend(series.points()) if name in _HEADING else None
        rows.append(Row(series, label, series.unit, lines, heads))
        if name == CORES[0] and SHARE in found:
            rows.append(_share(process, found[SHARE], _usable(series, found[SHARE], process), limits))
        whole = memory_of(process.resource) if name == MEMORY[0] else None
        if whole is not None:
            share = series.times(1 / whole, MEMORY_SHARE[0])
            row = _share(process, share, "", limits)
            if row.limits or MEMORY_LIMIT in process.resource:  # that of the machine's memory says little
                rows.append(row)
    return rows


def _share(process: Process, series: Series, whole: str, limits: list[Budget]) -> Row:
    """Return the row of a share, which is called by what it is of."""
    whole = whole or whole_of(series.name, process.resource)
    lines = sorted((one for one in limits if one.instrument == series.name), key=lambda one: one.max)
    return Row(series, f"  {whole}", "%", lines, whole=whole)


def _usable(cores: Series, share: Series, process: Process) -> str:
    """Say of how many CPUs a share is: its resource knows, else the two are samples of one thing."""
    if USABLE in process.resource:
        return whole_of(share.name, process.resource)
    if not cores.high or not share.high:
        return "of all usable"
    number = cores.high / share.high
    number = round(number) if abs(number - round(number)) < 0.05 else number
    return f"of {cpus_text(number)}"


def machine_texts(resource: dict[str, Any]) -> list[str]:
    """Return what the process may use, ``2 of 8 CPUs`` and ``268 MB of memory (the container's limit)``, if known."""
    cpus, usable, limit = (number_of(resource, name) for name in (CPUS, USABLE, CPU_LIMIT))
    found = []
    if usable:
        some = f"{three(usable)} of {cpus_text(cpus)}" if cpus and usable < cpus else cpus_text(usable)
        found.append(some + (" (the container's limit)" if usable == limit else ""))
    memory = memory_of(resource)
    if memory is not None:
        found.append(f"{bytes_of(memory)} of memory" + (" (the container's limit)" if MEMORY_LIMIT in resource else ""))
    return found


# --- for a terminal --------------------------------------------------------------------------------------------------


def metric_lines(process: Process, style: Style) -> list[str]:
    """Return the section of the report, without its title; nothing if nothing was sampled."""
    rows = rows_of(process)
    if not rows:
        return []
    numbers = [
        [row.label, *(row.shown(value) for value in (one.low, one.average, one.high, one.last))]
        for row, one in ((row, row.series) for row in rows)
    ]
    limits = [limits_text(row) for row in rows]
    lines = _table(process, rows, numbers, limits, style)
    for row in rows:
        growth = row.growth()
        if growth:
            lines += style.wrap(f"  {row.label} {style.plain(growth)}", 4)
    return lines


def _table(process: Process, rows: list[Row], numbers: list[list[str]], limits: list[str], style: Style) -> list[str]:
    """Return the numbers with as much beside them as there is room for: chart and limits, the chart, or neither."""
    headers = ["  metric", "min", "avg", "max", "last"]
    cells = [[style.plain(cell) for cell in row] for row in numbers]
    most = max(row.series.count for row in rows)
    for named in ([limits] if any(limits) else []), []:
        beside = [style.plain(text) for text in named[0]] if named else []
        columns = [*zip(headers, *(["  " + row[0], *row[1:]] for row in cells), strict=True)]
        used = sum(max(map(len, column)) + 2 for column in columns)
        used += max(map(len, ["limit", *beside])) + 2 if beside else 0
        room = min(WIDEST, most, style.width - used)
        if room < min(NARROWEST, most):
            continue
        charts = [sparkline(course_of(row.series, process, room), style.ascii) for row in rows]
        body = [
            [*row, chart, *more] for row, chart, *more in zip(cells, charts, *([beside] if beside else []), strict=True)
        ]
        return table([*headers, "", *(["limit"] if beside else [])], body, style, left=(0, 5, 6))
    return table(headers, cells, style, drop=(1, 2))


def limits_text(row: Row) -> str:
    """Return the limits of *row*, each with the name of its budget."""
    found = []
    for budget in row.limits:
        idle = " while idle" if budget.idle and budget.name != "idle" else ""
        found.append(f"{amount(budget.max, row.unit)} ({budget.name}{idle})")
    return ", ".join(found)


def span_text(process: Process) -> str:
    """Return how much was sampled: ``12 samples in 11 s``."""
    longest = max(process.record.series.values(), key=lambda series: series.count)
    number = f"{count(longest.count)} sample{'' if longest.count == 1 else 's'}"
    return f"{number} in {duration(longest.seconds)}" if longest.count > 1 else number


def sparkline(course: Sequence[float | None], plain: bool) -> str:
    """Return a chart of *course* from 0 to its highest value, a cell each; blank where there is none."""
    levels = PLAIN_LEVELS if plain else LEVELS
    most = max((value for value in course if value is not None), default=0.0)
    steps = len(levels) - 1
    return "".join(
        " " if value is None else levels[min(steps, max(0, round(value / most * steps))) if most > 0 else 0]
        for value in course
    )


def course_of(series: Series, process: Process, number: int) -> list[float | None]:
    """Return the highest value in each of *number* equal parts of the time in which *process* was sampled.

    In a part without a sample the one before it lasts, but where the samples stopped for a while it is None.
    """
    every = process.record.series.values()
    begin = (min(one.first for one in every) - series.first) / 1e9
    length = (max(one.time for one in every) - series.first) / 1e9 - begin
    points = series.points()
    found: list[float | None] = [None] * number
    for moment, value in points:
        part = int((moment - begin) / length * (number - 1) + 0.5) if length > 0 else 0
        before = found[part]
        found[part] = value if before is None else max(before, value)
    usual = series.seconds / max(1, len(points) - 1)
    last: float | None = None
    since = 0
    for part, high in enumerate(found):
        if high is not None:
            last, since = high, part
        elif (part - since) * length / number < PAUSE * usual:
            found[part] = last
    return found
