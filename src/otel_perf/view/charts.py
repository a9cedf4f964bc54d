"""What was measured over time, for charts: every series of the process, dense enough to zoom into.

A series keeps its points as they were measured for a few hours; then of each part of the time the lowest and the
highest (metrics/series.py), so that no peak is lost. Reading order: Charts.point(), Charts.answer(), Charts.since().
"""

from __future__ import annotations

from itertools import pairwise
from math import isfinite
from typing import TYPE_CHECKING

from otel_perf.analysis.record import LARGEST, SHOWN, Series
from otel_perf.analysis.sampled import rows_of
from otel_perf.metrics.names import CORES, CPU_SHARE, MEMORY, MEMORY_SHARE, THREADS
from otel_perf.metrics.series import Ring
from otel_perf.metrics.wholes import memory_of, whole_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from otel_perf.analysis.loading import SeriesKey
    from otel_perf.analysis.model import Process
    from otel_perf.analysis.sampled import Row
    from otel_perf.export.decode import Point

    Points = list[tuple[float, float]]  # milliseconds since 1970, and the value

RAW = 14_400  # points of one second each that a metric of the report keeps: four hours
RAW_OF_OTHERS = 3_600
MOST = 400  # series beside those of the report: the first, as docs/view.md says
GAP = 3.0  # times the usual distance of two points that is a gap
SECOND = 1_000.0  # milliseconds
ROUNDING = 0.5  # milliseconds by which two moments may differ that are one
MAIN = (CORES[0], MEMORY[0], THREADS[0])
LONGEST = 200  # characters of a series' name

_LEFT_OUT = (  # they are elsewhere on the page, or say nothing over time
    "otel_perf.profile.", "otel_perf.function.", "otel_perf.budget.", "otel_perf.startup.", "otel_perf.alerts",
    "otel_perf.self.init_time", "otel_perf.self.memory", "otel_perf.self.clock.", "otel_perf.self.tick.late",
    "process.uptime", "process.cpu.time", MEMORY_SHARE[0],
)  # fmt: skip
_KEPT = ("otel_perf.self.tick.lateness",)
_LABELS = {
    "process.memory.virtual": "virtual memory",
    "otel_perf.process.memory.unique": "memory of its own",
    "cpython.gc.collections": "garbage collections",
    "cpython.gc.collected_objects": "collected objects",
    "cpython.gc.uncollectable_objects": "uncollectable objects",
    "otel_perf.gc.time": "stopped by the garbage collector",
    "otel_perf.gc.longest_pause": "longest pause of the garbage collector",
    "process.disk.io": "disk, this process",
    "process.paging.faults": "page faults",
    "process.context_switches": "context switches",
    "system.network.io": "network of the machine",
    "system.network.packets": "packets",
    "system.network.errors": "network errors",
    "system.network.dropped_packets": "dropped packets",
    "system.disk.io": "disks of the machine",
    "system.disk.operations": "disk operations",
    "system.disk.time": "time of disk operations",
    "system.cpu.utilization": "CPUs of the machine, each",
    "otel_perf.system.cpu.utilization": "CPU of the machine",
    "system.cpu.load_average.1m": "load average, 1 min",
    "system.memory.usage": "memory of the machine",
    "system.memory.utilization": "memory of the machine, share",
    "system.swap.usage": "swap",
    "system.swap.utilization": "swap, share",
    "otel_perf.score": "score",
    "otel_perf.self.tick.lateness": "sampling came late by",
    "otel_perf.self.cpu_time": "CPU of otel-perf",
    "otel_perf.self.dropped": "dropped records",
}
_SHARES = {CPU_SHARE[0][0]: "CPU, share", MEMORY_SHARE[0]: "memory, share"}
_POINTS = {"otel_perf.score": ("{point}", "of 100")}
_ONE_CPU = ("otel_perf.self.cpu_time",)  # seconds in a second are a share of that, of everything else one of the time
_ORDER = (  # by the beginning of the name; the application's own come first
    "cpython.gc.", "otel_perf.gc.", "system.network.", "process.disk.", "system.disk.", "otel_perf.score", "process.",
    "otel_perf.process.", "system.cpu.", "otel_perf.system.", "system.", "otel_perf.self.",
)  # fmt: skip


class Chart:
    """One series that the report does not show; of a sum that only grows, how much it grows in a second.

    Attributes:
        metric: the instrument, and
        name: with its attributes.
        points: moments in milliseconds since 1970, and values.
        unit: of these, ``%`` for a share that is meant in percent, and
        whole: what it is a share of, ``of the time``; empty where nobody knows, or it is none.
    """

    __slots__ = ("_before", "_rate", "metric", "name", "points", "unit", "whole")

    def __init__(self, point: Point) -> None:
        self.metric = point.metric
        self.name = _name_of(point.metric, point.attributes)
        self._rate = point.monotonic or point.type == "exponentialHistogram"
        unit = "{call}" if point.type == "exponentialHistogram" else point.unit
        self.unit, self.whole = _unit_of(point.metric, unit, self._rate)
        self.points = Ring(RAW_OF_OTHERS)
        self._before: tuple[float, float] | None = None

    def add(self, point: Point) -> None:
        """Take a point; what is no number, or not later than the one before, is left out."""
        value = point.count if point.type == "exponentialHistogram" else point.value
        last = self._before if self._rate else self.points.last
        moment = point.time / 1e6
        if value is None or not abs(value) <= LARGEST or (last is not None and moment <= last[0]):
            return
        if self._rate:
            if last is not None and value >= last[1]:  # else it began anew
                self.points.add(moment, (value - last[1]) / (moment - last[0]) * SECOND)
            self._before = moment, float(value)
        else:
            self.points.add(moment, float(value))


class Charts:
    """The series of one process."""

    def __init__(self) -> None:
        self._main: dict[str, Series] = {}
        self._others: dict[SeriesKey, Chart] = {}

    def point(self, point: Point, key: SeriesKey) -> None:
        """Take a point of the series *key*."""
        name = point.metric
        if name in SHOWN:
            series = self._main.get(name)
            if series is None:
                series = self._main[name] = Series(name, point.unit, RAW)
            series.add(point)
            return
        chart = self._others.get(key)
        if chart is None:
            if (name.startswith(_LEFT_OUT) and name not in _KEPT) or len(self._others) >= MOST:
                return
            chart = self._others[key] = Chart(point)
        chart.add(point)

    def settle(self) -> None:
        """Count the sample that was read last: all of it is there."""
        for series in self._main.values():
            series.close()

    def answer(self, process: Process, begin: float, end: float, parts: int, others: int | None = None) -> list[Any]:
        """Return what api.ts calls Series, from *begin* to *end* in milliseconds since 1970.

        Args:
            process: the same process, as the report has it.
            begin: of the time, and
            end: of it; what held before it is there as one point more.
            parts: in which each has at most two values, its lowest and its highest.
            others: the same of the series behind the toggle.
        """
        found = []
        for row in rows_of(process):
            points = self.of_row(row, process)
            if points:
                found.append(_row_object(row) | _drawn(points, begin, end, parts))
        for chart in self._sorted():
            points = chart.points.points()
            if points:
                found.append(_chart_object(chart, process) | _drawn(points, begin, end, others or parts))
        return found

    def since(self, process: Process, moment: float) -> list[dict[str, Any]]:
        """Return the points after *moment* (ms since 1970) of all series, those without any left out."""
        found = []
        for name, points in self._all(process):
            new = _after(points, moment + ROUNDING)
            if new:
                found.append(
                    {"name": name, "times": [round(at, 1) for at, _ in new], "values": [_short(one) for _, one in new]}
                )
        return found

    def _all(self, process: Process) -> Iterator[tuple[str, Points]]:
        for row in rows_of(process):
            yield row.series.name, self.of_row(row, process)
        for chart in self._sorted():
            yield chart.name, chart.points.points()

    def of_row(self, row: Row, process: Process) -> Points:
        """Return the points of one row of the report, oldest first."""
        name, factor = row.series.name, 1.0
        if name == MEMORY_SHARE[0]:  # which the report reckons from the memory
            name, factor = MEMORY[0], 1.0 / (memory_of(process.resource) or 1.0)
        series = self._main.get(name)
        if series is None or not series.count:
            return []
        first = series.first / 1e6
        return [(first + at * SECOND, value * factor) for at, value in series.points()]

    def _sorted(self) -> list[Chart]:
        return sorted(self._others.values(), key=lambda chart: (_rank(chart.metric), chart.name))


def _row_object(row: Row) -> dict[str, Any]:
    trend = row.trend
    return {
        "name": row.series.name,
        "label": _SHARES.get(row.series.name, row.label),
        "unit": row.unit,
        "of": row.whole.removeprefix("of ") or None,
        "group": "main" if row.series.name in MAIN else "more",
        "last": row.series.last,
        "limits": [{"budget": one.name, "limit": one.max, "idle": bool(one.idle)} for one in row.limits],
        "trend": None
        if trend is None
        else {
            "perSecond": trend.slope,
            "reaches": [
                {"budget": budget.name, "limit": budget.max, "inSeconds": when} for budget, when, _ in row.heads_for()
            ],
        },
    }


def _chart_object(chart: Chart, process: Process) -> dict[str, Any]:
    last = chart.points.last
    share = whole_of(chart.metric, process.resource)
    whole = share or chart.whole
    return {
        "name": chart.name,
        "label": _LABELS.get(chart.metric, chart.metric),
        "unit": "%" if share else chart.unit,
        "of": whole.removeprefix("of ") or None,
        "group": "more",
        "last": None if last is None else _short(last[1]),
        "limits": [],
        "trend": None,
    }


def _name_of(metric: str, attributes: dict[str, Any]) -> str:
    if not attributes:
        return metric
    inner = ",".join(f"{key}={value}" for key, value in sorted(attributes.items(), key=lambda pair: pair[0]))
    return f"{metric}{{{inner[:LONGEST]}}}"


def _unit_of(metric: str, unit: str, rate: bool) -> tuple[str, str]:
    """Return in which unit a *metric* is shown that is measured in *unit*, and what it is a share of, if it is one."""
    if rate and unit == "s":
        return "%", "of one CPU" if metric in _ONE_CPU else "of the time"
    return (f"{unit or '1'}/s", "") if rate else _POINTS.get(metric, (unit, ""))


def _rank(metric: str) -> int:
    return next((rank for rank, prefix in enumerate(_ORDER, 1) if metric.startswith(prefix)), 0)


def _after(points: Sequence[tuple[float, float]], moment: float) -> Points:
    at = len(points)
    while at and points[at - 1][0] > moment:
        at -= 1
    return list(points[at:])


def _drawn(points: Points, begin: float, end: float, parts: int) -> dict[str, Any]:
    """Return moments with the lowest and the highest value of each part of the time, None in both for a gap."""
    begin, end = begin - ROUNDING, end + ROUNDING
    inside = [point for point in points if begin <= point[0] <= end]
    before = len(points) - len(_after(points, begin)) - 1
    if before >= 0 and (not inside or points[before] != inside[0]):
        inside.insert(0, points[before])
    times: list[float] = []
    low: list[float | None] = []
    high: list[float | None] = []
    usual = _usual(inside)
    last = None
    for at, smallest, largest in inside_parts(inside, begin, end, parts):
        if last is not None and usual and at - last > max(GAP * usual, GAP * (end - begin) / parts):
            times.append(round((at + last) / 2, 1))
            low.append(None)
            high.append(None)
        times.append(round(at, 1))
        low.append(_short(smallest))
        high.append(_short(largest))
        last = at
    return {"times": times, "low": low, "high": high}


def _usual(points: Points) -> float:
    """Return the usual distance of two points where they come regularly, 0 of those that come when they change."""
    if len(points) < 4:
        return 0.0
    steps = sorted(later[0] - earlier[0] for earlier, later in pairwise(points))
    usual = steps[len(steps) // 2]
    return usual if steps[len(steps) * 9 // 10] < 2 * usual else 0.0


def inside_parts(points: Points, begin: float, end: float, parts: int) -> Iterator[tuple[float, float, float]]:
    """Yield of each of *parts* equal parts that has points a moment, its lowest and its highest value."""
    if len(points) <= parts:
        for at, value in points:
            yield at, value, value
        return
    width = (end - begin) / parts or 1.0
    number, moments, values = -1, [], []  # type: int, list[float], list[float]
    for at, value in points:
        part = min(parts - 1, int((at - begin) / width)) if at >= begin else -1
        if part != number and values:
            yield (moments[0] + moments[-1]) / 2, min(values), max(values)
            moments, values = [], []
        number = part
        moments.append(at)
        values.append(value)
    if values:
        yield (moments[0] + moments[-1]) / 2, min(values), max(values)


def _short(value: float) -> float:
    """Return *value* with the digits that a chart can show: a long run's page stays small."""
    if not isfinite(value):
        return 0.0
    return int(value) if value == int(value) and abs(value) < 2**53 else float(f"{value:.5g}")
