"""What the functions and call paths of a process took, and what otel-perf itself did.

Reading order: functions_of(), percentile(), histogram_percentile(); hot_paths(); cost_of(). Seconds
everywhere.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING

from otel_perf.metrics.quantiles import quantile

from .model import number_of, text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from otel_perf.export.decode import Point

    from .model import Process

DURATION = "otel_perf.function.duration"
PROFILE = "otel_perf.profile."
OVERFLOW = "otel_perf.overflow"  # where call paths begin that were too deep, or too many
QUANTILES = (0.5, 0.95, 0.99)
AGREE = 0.01  # share by which the extremes of spans and histogram may differ if both saw the same calls


@dataclass(slots=True)
class FunctionRow:
    """One function or operation.

    Attributes:
        kind: ``function`` or ``operation``.
        calls: of all threads and all levels of recursion.
        total: of the outermost calls only.
        self_time: in no profiled call inside, None where it was not recorded.
        every: of all levels of recursion, each with those inside it; None where that is the total, or unknown.
        parallel: calls of it ran at the same time, so that their sum is more than the time that passed.
        percentiles: p50, p95 and p99, or those that were asked for.
        exact: the percentiles are computed from every call; else from the buckets of a histogram.
        spans_only: no series was recorded, so that calls too fast for a span are missing.
    """

    function: str
    kind: str
    calls: int
    total: float
    self_time: float | None
    min: float | None
    max: float | None
    percentiles: tuple[float | None, ...]
    exact: bool
    spans_only: bool = False
    parallel: bool = False
    every: float | None = None

    @property
    def avg(self) -> float:
        """What a call took on average, as min and max are of every call."""
        return (self.total if self.every is None else self.every) / self.calls if self.calls else 0.0


@dataclass(frozen=True, slots=True)
class HotPath:
    """One call path, outermost first, with the seconds in its last function alone.

    Attributes:
        parallel: it and what else its caller called add up to more than its caller: they ran at the same time.
    """

    path: tuple[str, ...]
    self_time: float
    total: float | None
    calls: int | None
    parallel: bool = False


@dataclass(frozen=True, slots=True)
class Cost:
    """What otel-perf cost this process; None where it was not recorded.

    Attributes:
        init: seconds of init().
        cpu: seconds of CPU of the worker.
        memory: bytes that the process grew by during init().
        dropped: records that did not fit in the queue, on the disk, or in the run folder's limit before they were sent.
        removed: records that the run folder's limit has removed, sent or not to be sent.
    """

    init: float | None
    cpu: float | None
    memory: float | None
    dropped: float | None
    removed: float | None


def functions_of(process: Process, quantiles: Sequence[float] = QUANTILES) -> list[FunctionRow]:
    """Return the functions and operations of *process*, the largest self time first."""
    self_times: dict[str, float] = {}
    for point in process.points.get(PROFILE + "self_time", []):
        name = text_of(point.attributes, "function")
        self_times[name] = self_times.get(name, 0.0) + (point.value or 0.0)
    rows: list[FunctionRow] = []
    spans = dict(process.durations)
    named: dict[str, list[tuple[str, str, str]]] = {}  # an imported profile has as many series as spans
    for key in spans:
        for word in {*key[:2]}:
            named.setdefault(word, []).append(key)
    for point in process.points.get(DURATION, []):
        series, kind = text_of(point.attributes, "function"), text_of(point.attributes, "kind") or "function"
        if kind != "phase" and point.count:
            durations = array("d")
            for key in [key for key in named.get(series, ()) if key[2] == kind and _is_of(series, *key[:2])]:
                durations.extend(process.durations[key])
                spans.pop(key, None)
            rows.append(_row(series, kind, point, durations, quantiles))
    for (name, function, kind), durations in spans.items():
        series = function if _is_of(function, name, function) else name
        rows.append(_row_of_spans(series, kind, durations, quantiles))
    owners: dict[str, FunctionRow] = {}  # a call path does not say if its name is a function or an operation
    for row in rows:
        if row.function not in owners or row.total > owners[row.function].total:
            owners[row.function] = row
    parallel = {function for path, function in _parallel(process)}
    every = _of_every_call(process)
    for name, row in owners.items():
        row.self_time = self_times.get(name)
        row.parallel = name in parallel
        counted, seconds = every.get(name, (0, 0.0))
        row.every = seconds if counted == row.calls else None
    return sorted(rows, key=_weight)


def _is_of(series: str, name: str, function: str) -> bool:
    """Say whether spans of this name in *function* belong to *series*.

    A series has the name that was given, as its spans have; else the function's, of which its spans have the
    end.
    """
    return series == name or (series == function and f".{series}".endswith(f".{name}"))


def _weight(row: FunctionRow) -> tuple[float, float, str]:
    return (-(row.total if row.self_time is None else row.self_time), -row.total, row.function)


def _row(series: str, kind: str, point: Point, durations: array[float], quantiles: Sequence[float]) -> FunctionRow:
    low, high = _finite(point.min), _finite(point.max)
    row = FunctionRow(series, kind, point.count, _finite(point.sum) or 0.0, None, low, high, (), exact=False)
    if _complete(durations, point.count, low, high):
        ordered = sorted(durations)
        row.percentiles = tuple(percentile(ordered, q) for q in quantiles)
        row.exact = True
    else:
        row.percentiles = tuple(histogram_percentile(point, q) for q in quantiles)
        row.exact = not (point.buckets or point.zero_count)  # there are none: of an imported profile
    return row


def _complete(durations: array[float], calls: int, low: float | None, high: float | None) -> bool:
    """Say whether *durations* are those of all *calls*: as many, and between the same extremes."""
    if len(durations) != calls:
        return False
    pairs = ((min(durations), low), (max(durations), high))
    return all(other is not None and abs(one - other) <= max(AGREE * other, 1e-6) for one, other in pairs)


def _row_of_spans(series: str, kind: str, durations: array[float], quantiles: Sequence[float]) -> FunctionRow:
    ordered = sorted(durations)
    percentiles = tuple(percentile(ordered, q) for q in quantiles)
    total = sum(ordered)
    return FunctionRow(
        series,
        kind,
        len(ordered),
        total,
        None,
        ordered[0],
        ordered[-1],
        percentiles,
        exact=True,
        spans_only=True,
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None


def percentile(ordered: Sequence[float], q: float) -> float:
    """Return the *q*-quantile of durations, interpolating linearly between neighbours.

    Args:
        ordered: durations, ascending, at least one.
        q: 0.0 (smallest) to 1.0 (largest).

    Raises: ValueError: no durations, or *q* outside 0 to 1.
    Source: Hyndman & Fan (1996), definition 7; as ``statistics.quantiles(..., method="inclusive")``.
    """
    if not ordered or not 0.0 <= q <= 1.0:
        raise ValueError(f"a quantile needs durations and a q of 0 to 1, got {len(ordered)} durations and q = {q!r}")
    position = q * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def histogram_percentile(point: Point, q: float) -> float | None:
    """Return the *q*-quantile of an exponential histogram, None if it is empty; see quantiles.quantile()."""
    low = max(_finite(point.min) or 0.0, 0.0)
    return quantile(q, point.zero_count, point.offset, point.buckets, low, _finite(point.max), point.scale)


def bucket_factor(points: Iterable[Point]) -> float:
    """Return by which factor the bounds of a bucket differ, of the coarsest of *points*."""
    return max((2.0**2.0**-point.scale for point in points if point.scale >= -9), default=2.0)


def hot_paths(process: Process) -> list[HotPath]:
    """Return the call paths of *process*, the largest self time first."""
    times, calls, parallel = _by_path(process, "time"), _by_path(process, "calls"), _parallel(process)
    found = []
    for key, self_time in _by_path(process, "self_time").items():
        count = int(calls[key]) if key in calls else None
        found.append(HotPath(tuple(key[0].split(";")), self_time, times.get(key), count, key in parallel))
    return sorted(found, key=lambda hot: (-hot.self_time, hot.path))


def _by_path(process: Process, name: str) -> dict[tuple[str, str], float]:
    """Return the values of the metric *name* of call paths, by path and function."""
    found = {}
    for point in process.points.get(PROFILE + name, []):
        path, number = text_of(point.attributes, "path"), _finite(point.value)
        if path and number is not None:
            found[path, text_of(point.attributes, "function")] = number
    return found


def _of_every_call(process: Process) -> dict[str, tuple[int, float]]:
    """Return calls and seconds of each function, added up over its call paths; not what was too deep."""
    found: dict[str, tuple[int, float]] = {}
    calls, deep = _by_path(process, "calls"), f"{OVERFLOW};"
    for (path, function), seconds in _by_path(process, "time").items():
        if not path.startswith(deep):
            count, whole = found.get(function, (0, 0.0))
            found[function] = count + int(calls.get((path, function), 0)), whole + seconds
    return found


def _parallel(process: Process) -> set[tuple[str, str]]:
    """Return the call paths that took, with all others of the same caller, longer than their caller."""
    times = _by_path(process, "time")
    callers: dict[str, float] = {}
    together: dict[str, float] = {}
    for (path, _), seconds in times.items():
        callers[path] = callers.get(path, 0.0) + seconds
        caller = path.rpartition(";")[0]
        together[caller] = together.get(caller, 0.0) + seconds
    over = {path for path, seconds in callers.items() if together.get(path, 0.0) > seconds * (1 + AGREE) + 1e-6}
    return {key for key in times if key[0].rpartition(";")[0] in over}


def lost_of(process: Process) -> list[tuple[str, int, int]]:
    """Return instruments, with how many measurements had no series of their own, and how many were no finite number."""
    found: dict[str, list[int]] = {}
    for at, metric in enumerate(("otel_perf.self.overflow", "otel_perf.self.refused")):
        for point in process.points.get(metric, []):
            name, number = text_of(point.attributes, "instrument"), int(_finite(point.value) or 0)
            if name and number > 0:
                found.setdefault(name, [0, 0])[at] += number
    return [(name, beyond, refused) for name, (beyond, refused) in sorted(found.items())]


def cost_of(process: Process) -> Cost:
    """Return what otel-perf cost *process*: its latest metrics, else what the start's root says."""
    root = process.root_attributes

    def either(metric: str, attribute: str) -> float | None:
        value = _finite(process.value(metric))
        return number_of(root, attribute) if value is None else value

    return Cost(
        init=either("otel_perf.self.init_time", "otel_perf.self.init_time"),
        cpu=either("otel_perf.self.cpu_time", "otel_perf.self.cpu_time"),
        memory=either("otel_perf.self.memory", "otel_perf.self.memory"),
        dropped=either("otel_perf.self.dropped", "otel_perf.self.dropped"),
        removed=_finite(process.value("otel_perf.self.removed")),
    )
