"""What budgets say of a recorded process: each of them ok, exceeded or unknown, with its value and the reason.

Reading order: Judged, judge_budgets(), then one function for each kind of metric. Of several series that a budget
means, each is judged by itself and the worst decides. ``otel_perf.startup.*`` is taken from the spans of the start.
Which seconds were idle only the process knew: an idle budget is judged on what it judged itself, and so are budgets
that only the program knew. One that the process saw exceeded, by the same limit, is exceeded whatever its metric says.
"""

from __future__ import annotations

import os
from array import array
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import pairwise
from typing import TYPE_CHECKING

from otel_perf.amounts import amount, far_over, percent, short
from otel_perf.budgets import CPU, DEFAULTS, PHASE, STARTUP, TRACKED, VALUE
from otel_perf.ending import bottleneck_title
from otel_perf.export.decode import read_points
from otel_perf.export.json_values import Skipped
from otel_perf.export.runs import METRICS
from otel_perf.metrics.misnamed import misnamed
from otel_perf.metrics.wholes import whole_of

from .functions import DURATION, functions_of, histogram_percentile, percentile
from .model import number_of, text_of
from .standing import definitions_of, unit_of
from .startup import build_start, length, merged, verdict_of, walk
from .text import bytes_of, duration, plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from otel_perf.budgets import Budget
    from otel_perf.export.decode import Point

    from .functions import FunctionRow
    from .model import Process
    from .record import Kept
    from .startup import Start

    Values = list[tuple[int, float]]  # nanoseconds since 1970, and the value then

HISTOGRAM = "exponentialHistogram"
SHORTEST = 1.0  # seconds between two points that a rate is taken of
NAMED = 3  # series that a reason names
GAP = 2.5  # seconds without a point over which nothing is judged, where there is a point each second

_UNKNOWN = {
    "exit": "nobody called ready(): the process's exit closed the start; call it, or record with --ready-when",
    "shutdown": "nobody called ready(): shutdown() closed the start; call it where the program is ready",
    "interrupted": "a signal ended the start",
    "no end": "the start has no end: the process was killed, or is still in it",
    "unsaid": "the record does not say what ended the start",
}


@dataclass(frozen=True, slots=True)
class Judged:
    """One budget on one process.

    Attributes:
        state: ``ok``, ``exceeded`` or ``unknown``.
        max: the limit that was applied.
        value: the worst there was, None where there was none.
        unit: of both, as OpenTelemetry writes it.
        reason: one clause: how much is left, how far it is over, or why nothing can be said.
        recorded: the process has the metric.
        estimate: the value is one, from the buckets of a histogram.
    """

    budget: Budget
    state: str
    max: float
    value: float | None
    unit: str
    reason: str
    recorded: bool = True
    estimate: bool = False

    @property
    def value_text(self) -> str:
        """The value as a person reads it; ``~`` before it marks an estimate."""
        return ("~" if self.estimate and self.value is not None else "") + self.shown(self.value)

    def shown(self, value: float | None) -> str:
        """Return *value* as a person reads it."""
        if value is None:
            return "–"
        percent = self.budget.unit == "%" and self.unit in ("1", "%", "")
        return amount(value, "%" if percent else self.unit, self.budget.form)

    def limit_text(self, resource: Mapping[str, object]) -> str:
        """Return ``limit 150 MB``; of a share also what it is of, which the process's *resource* knows."""
        return f"limit {self.shown(self.max)} {whole_of(self.budget.instrument, resource)}".rstrip()


def judge_budgets(budgets: Iterable[Budget], process: Process) -> list[Judged]:
    """Judge *process*, in the order of *budgets*.

    A default other than the start's is left out where the process neither has its metric nor has watched it.

    Raises: ConfigError: a budget does not fit its metric.
    """
    budgets = list(budgets)
    known = {budget.name for budget in budgets}
    own = [(kept, budget) for kept, budget in _own(process) if kept.name not in known]
    start = build_start(process)
    metrics = _Metrics(process, {VALUE if budget.idle else budget.instrument for budget in budgets})
    found = []
    for budget in budgets:
        kept = process.record.budgets.get(budget.name)
        other = None if kept is None or budget.source else _redefined(budget, kept, process, start)
        if kept is not None and other is not None:
            judged = _by_process(other, kept, process)
        elif budget.instrument == STARTUP:
            judged = _startup(budget, process, start)
        elif budget.instrument == PHASE:
            judged = _phases(budget, start)
        else:
            judged = metrics.idle(budget) if budget.idle else metrics.judge(budget)
        if kept is not None and other is None:
            judged = _or_exceeded(judged, kept, process)
        if judged.recorded or budget.source or budget.name == "startup" or kept is not None:
            found.append(judged)
    return [*found, *(_by_process(budget, kept, process) for kept, budget in own if kept.name not in DEFAULTS)]


# --- what the process said of its budgets ---------------------------------------------------------------------------


def _own(process: Process) -> list[tuple[Kept, Budget]]:
    """Return what the process recorded of its budgets, with what each is as far as that is known."""
    return [(process.record.budgets[name], budget) for name, budget in definitions_of(process).items()]


def _redefined(default: Budget, kept: Kept, process: Process, start: Start | None) -> Budget | None:
    """Return what the program made of a default, None if it left that as it is."""
    budget = definitions_of(process).get(kept.name)
    limit = start.limit if start is not None and default.instrument == STARTUP else default.max
    return None if budget is None or (budget.metric == default.metric and kept.limit == limit) else budget


def _by_process(budget: Budget, kept: Kept, process: Process) -> Judged:
    """Judge a budget of which only the program knew on what the process itself judged."""
    unit = unit_of(budget, kept)
    if kept.exceeded:
        return _or_exceeded(Judged(budget, "ok", budget.max, kept.worst, unit, ""), kept, process)
    if kept.worst is None:
        return _unknown(budget, misnamed(budget) or "this process judged no second of it", unit)
    if kept.worst > budget.max:
        reason = f"{_distance(kept.worst, budget.max, unit)}, for less long than it says"
        return Judged(budget, "ok", budget.max, kept.worst, unit, reason, estimate=bool(budget.mark))
    reason = "never exceeded; the value is the last"
    return Judged(budget, "ok", budget.max, kept.now, unit, reason, estimate=bool(budget.mark))


def _or_exceeded(judged: Judged, kept: Kept, process: Process) -> Judged:
    """Return *judged*, or that the process saw the same limit exceeded."""
    if not kept.exceeded or judged.state == "exceeded" or kept.limit != judged.max:
        return judged
    alerts = [alert for alert in process.record.alerts if alert.budget == kept.name]
    peaks = [peak for alert in alerts if (peak := process.record.peak(alert)) is not None]
    value = max([*peaks, *([] if kept.worst is None else [kept.worst])], default=judged.value)
    reason = "" if value is None or value <= judged.max else f"{_distance(value, judged.max, judged.unit)}; "
    if alerts:
        lasted = duration(max(map(process.record.lasted, alerts)))
        reason += (
            f"{plural(len(alerts), 'alert')}, the longest of {lasted}" if len(alerts) > 1 else f"an alert of {lasted}"
        )
    else:
        reason += "the process said so"
    estimate = bool(judged.budget.mark)
    return Judged(judged.budget, "exceeded", judged.max, value, judged.unit, reason, estimate=estimate)


def _unknown(budget: Budget, reason: str, unit: str = "", recorded: bool = True) -> Judged:
    return Judged(budget, "unknown", budget.max, None, unit or budget.unit, reason, recorded)


# --- the start ---------------------------------------------------------------------------------------------------


def _startup(budget: Budget, process: Process, start: Start | None) -> Judged:
    if start is None:
        return _unknown(budget, "no start was recorded in this process", "s", recorded=False)
    limit = budget.max if budget.source else start.limit  # the program's own configuration may have said another
    verdict = verdict_of(start)
    if verdict.state == "unknown":
        where = f" (last recorded: {' > '.join(verdict.where)})" if verdict.where else ""
        value = verdict.seconds if start.recorded else None
        return Judged(budget, "unknown", limit, value, "s", _UNKNOWN[verdict.cause] + where)
    if verdict.cause:
        return Judged(budget, "exceeded", limit, verdict.seconds, "s", _UNKNOWN[verdict.cause])
    exceeded = verdict.seconds > limit
    reason = _distance(verdict.seconds, limit, "s")
    if verdict.ready != "ready()":
        reason += f"; ready by {verdict.ready}"
    bottleneck = text_of(process.root_attributes, "otel_perf.bottleneck")
    part = number_of(process.root_attributes, "otel_perf.bottleneck.share")
    if exceeded and bottleneck and part is not None:
        reason += f"; {bottleneck_title(bottleneck)} took {part:.0%} of it"
    return Judged(budget, "exceeded" if exceeded else "ok", limit, verdict.seconds, "s", reason)


def _phases(budget: Budget, start: Start | None) -> Judged:
    if start is None:
        return _unknown(budget, "no start was recorded in this process", "s", recorded=False)
    times: dict[str, list[tuple[int, int]]] = {}
    unfinished = set()
    for node in [node for top in start.tops() for node in walk(top) if node.kind == "phase"]:
        times.setdefault(node.name, []).append((node.start, node.end))
        if "open" in node.marks:
            unfinished.add(node.name)
    chosen = {name: seconds for name, seconds in times.items() if _fits(budget, {"phase": name})}
    if not chosen:
        names = sorted(times, key=lambda name: min(times[name]))
        return _unknown(budget, _no_series(budget, [{"phase": name} for name in names]), "s")
    values = {name: length(merged(intervals)) / 1e9 for name, intervals in chosen.items()}
    worst = max(values, key=lambda name: values[name])
    state = "exceeded" if values[worst] > budget.max else "ok"
    reason = _distance(values[worst], budget.max, "s") + (
        f"; of {len(values)} phases {worst}" if len(values) > 1 else ""
    )
    if state == "ok" and unfinished & values.keys():
        state, reason = "unknown", f"{', '.join(sorted(unfinished & values.keys()))} was open when the start ended"
    return Judged(budget, state, budget.max, values[worst], "s", reason)


def _distance(value: float, limit: float, unit: str) -> str:
    """Say how much is left, or how far *value* is over."""
    difference = abs(limit - value)
    if unit == "s":
        amount = duration(difference)
    elif unit == "By":
        amount = bytes_of(difference)
    elif limit and value > limit:
        return far_over(difference / limit)
    else:
        amount = percent(difference / limit) if limit else short(difference)
    return f"{amount} {'over' if value > limit else 'left'}"


# --- metrics -----------------------------------------------------------------------------------------------------


def _fits(budget: Budget, attributes: Mapping[str, object]) -> bool:
    return all(key in attributes and _text(attributes[key]) == wanted for key, wanted in budget.selector.items())


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _no_series(budget: Budget, there: Iterable[Mapping[str, object]]) -> str:
    """Say that no series is meant by *budget*, and which there are: those whose name is like it, if some are."""
    key, wanted = next(iter(budget.selector.items()), ("", ""))
    names = list(dict.fromkeys(_text(attributes[key]) for attributes in there if key in attributes))
    close = get_close_matches(wanted, names, NAMED)
    names = [name for name in names if name in close or wanted.lower() in name.lower()] or names
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    known = f"; there {'is' if len(names) == 1 else 'are'} {', '.join(names[:NAMED])}{more}" if names else ""
    asked = ", ".join(f"{key}={value}" for key, value in budget.selector.items())
    return (
        f"{budget.instrument} was not recorded for {asked}{known}" if asked else f"no {budget.instrument} was recorded"
    )


class Numbers:
    """The points of one series, in 16 bytes each: a run may be of many days.

    Attributes:
        last: the newest.
        start: when the series began, in nanoseconds since 1970.
    """

    __slots__ = ("_times", "_values", "last", "start")

    def __init__(self, first: Point) -> None:
        self.last = first
        self.start = first.start or first.time
        self._times = array("Q")
        self._values = array("d")

    def add(self, point: Point) -> None:
        """Take a point; one without a value, or NaN, is no data."""
        self.last = point
        self.start = min(self.start, point.start or point.time)
        if point.value is not None and point.value == point.value:
            self._times.append(point.time)
            self._values.append(float(point.value))

    def values(self) -> Values:
        """Return the values in the order of time."""
        return sorted(zip(self._times, self._values, strict=True))


class _Metrics:
    """The metrics of a process that budgets mean."""

    def __init__(self, process: Process, instruments: set[str]) -> None:
        self.process = process
        self.series: dict[str, dict[str, Numbers]] = {}
        self.rows: dict[float, list[FunctionRow]] = {}  # by quantile
        path = os.path.join(process.path, METRICS)
        wanted = {name for name in instruments if name in process.points}
        for point in read_points(path, Skipped()) if wanted else ():  # load_process() has said what is damaged
            if point.metric in wanted:
                key = repr(sorted(point.attributes.items(), key=lambda item: item[0]))
                series = self.series.setdefault(point.metric, {})
                if key not in series:
                    series[key] = Numbers(point)
                series[key].add(point)

    def judge(self, budget: Budget) -> Judged:
        """Judge one budget on a recorded metric."""
        series = list(self.series.get(budget.instrument, {}).values())
        chosen = [numbers for numbers in series if _fits(budget, numbers.last.attributes)]
        if not chosen:
            spans = self._spans_only(budget)
            if spans is not None:
                return spans
            if not series:
                missing = f"this process recorded no metric {budget.instrument}"
                return _unknown(budget, misnamed(budget) or missing, recorded=False)
            return _unknown(
                budget, _no_series(budget, [numbers.last.attributes for numbers in series]), series[0].last.unit
            )
        last = chosen[0].last
        _check(budget, last)
        if last.type == HISTOGRAM:
            found = [self._of_histogram(budget, numbers.last) for numbers in chosen]
        else:
            found = [_of_values(budget, _values(budget, numbers), last.unit) for numbers in chosen]
        worst = max(found, key=lambda one: (one.state == "exceeded", one.value is not None, one.value or 0.0))
        if len(chosen) > 1 and worst.value is not None:
            point = chosen[found.index(worst)].last
            name = text_of(point.attributes, "function") or ", ".join(
                f"{k}={_text(v)}" for k, v in point.attributes.items()
            )
            return Judged(
                budget,
                worst.state,
                worst.max,
                worst.value,
                worst.unit,
                f"{worst.reason}; of {len(chosen)} series {name}",
                estimate=worst.estimate,
            )
        return worst

    def idle(self, budget: Budget) -> Judged:
        """Judge a budget of idle seconds on the values that the process itself compared with it."""
        series = self.series.get(VALUE, {}).values()
        chosen = [numbers for numbers in series if text_of(numbers.last.attributes, "budget") == budget.name]
        if not chosen:
            reason, mend = "this process judged no second in which no tracked work ran", ""
            if budget.idle == TRACKED and DURATION not in self.process.points:
                reason = "nothing in this process is tracked work, so nobody knows when it was idle"
                mend = "perf.profile, perf.operation and perf.phase are; "
            if budget.name in DEFAULTS:
                reason += f"; {mend}{budget.name} = false switches it off"
            return _unknown(budget, reason, recorded=False)
        return _over_time(budget, chosen[0].values(), "{cpu}" if budget.instrument == CPU else budget.unit, GAP)

    def _of_histogram(self, budget: Budget, point: Point) -> Judged:
        """Judge the largest value of a histogram, or a percentile: exact where every call is a span."""
        if budget.form == "quantile":
            row = self._row(budget, point)
            exact = row is not None and row.exact and not row.spans_only
            value = row.percentiles[0] if row is not None and exact else histogram_percentile(point, budget.quantile)
            estimate = not exact
            note = "" if exact else f"; from buckets a factor {2.0**2.0**-point.scale:.3g} apart"
        else:
            value = histogram_percentile(point, 1.0) if point.max is None else point.max
            note, estimate = "", False
        if value is None:
            return _unknown(budget, "it has no value", point.unit)
        reason = f"{_distance(value, budget.max, point.unit)}, {plural(point.count, 'call')}{note}"
        state = "exceeded" if value > budget.max else "ok"
        return Judged(budget, state, budget.max, value, point.unit, reason, estimate=estimate)

    def _row(self, budget: Budget, point: Point) -> FunctionRow | None:
        if budget.instrument != DURATION:
            return None
        wanted = text_of(point.attributes, "function"), text_of(point.attributes, "kind") or "function"
        return next((row for row in self._rows(budget.quantile) if (row.function, row.kind) == wanted), None)

    def _rows(self, quantile: float) -> list[FunctionRow]:
        if quantile not in self.rows:
            self.rows[quantile] = functions_of(self.process, (quantile,))
        return self.rows[quantile]

    def _spans_only(self, budget: Budget) -> Judged | None:
        """Judge functions of which a process that was killed left spans alone."""
        if budget.instrument != DURATION or budget.form == "rate":
            return None
        rows = self._rows(budget.quantile)
        chosen = [row for row in rows if row.spans_only and _fits(budget, {"function": row.function, "kind": row.kind})]
        if not chosen:
            return None
        if budget.form == "quantile":
            return _unknown(
                budget, "only its slow calls were recorded, as spans: no percentile can be said of them", "s"
            )
        value = max(row.max or 0.0 for row in chosen)
        reason = f"{_distance(value, budget.max, 's')}, from spans alone"
        return Judged(budget, "exceeded" if value > budget.max else "ok", budget.max, value, "s", reason)


def _check(budget: Budget, point: Point) -> None:
    """Refuse a budget that does not fit the metric *point* is of.

    Raises: ConfigError: it does not.
    """
    name = budget.instrument
    percent = budget.unit == "%" and point.unit in ("1", "{cpu}")
    if budget.unit and point.unit and budget.unit != point.unit and not percent:
        raise budget.wrong(f"max is written in {budget.unit}, but {name} is recorded in {point.unit}; write it in that")
    counter = point.type == "sum" and point.monotonic
    if budget.form == "rate" and not counter:
        raise budget.wrong(f"rate() is of a counter, and {name} is none; write {name} or p95({name})")
    if budget.form == "quantile" and counter:
        raise budget.wrong(f"a counter such as {name} has no percentile; write {name} or rate({name})")


def _values(budget: Budget, numbers: Numbers) -> Values:
    """Return what *budget* compares with its limit, in the order of time."""
    values = numbers.values()
    if budget.form != "rate":
        return values
    rates: Values = []
    before, level = numbers.start, 0.0
    for time, value in values:
        seconds = (time - before) / 1e9
        if seconds >= SHORTEST:
            rates.append((time, (value - level if value >= level else value) / seconds))
            before, level = time, value
    return rates


def _of_values(budget: Budget, values: Values, unit: str) -> Judged:
    """Judge the values of one series: a percentile of all, or each of them."""
    if not values:
        reason = "less than a second of it was recorded" if budget.form == "rate" else "it has no value"
        return _unknown(budget, reason, unit)
    if budget.form == "quantile":
        value = percentile(sorted(value for _, value in values), budget.quantile)
        state = "exceeded" if value > budget.max else "ok"
        return Judged(budget, state, budget.max, value, unit, _distance(value, budget.max, unit))
    distances = sorted(after - before for (before, _), (after, _) in pairwise(values)) or [0]
    return _over_time(budget, values, unit, max(GAP, 3e-9 * distances[len(distances) // 2]))


def _over_time(budget: Budget, values: Values, unit: str, gap: float) -> Judged:
    """Judge values over time: exceeded once they were over the limit for as long as the budget says."""
    if not values:
        return _unknown(budget, "it has no value", unit)
    worst = max(value for _, value in values)
    over = worst > budget.max
    held = budget.held(_longest_over(budget, values, gap))
    reason = _distance(worst, budget.max, unit)
    if over and not held:
        reason += f", for less than {duration(budget.for_)}"
    return Judged(budget, "exceeded" if over and held else "ok", budget.max, worst, unit, reason)


def _longest_over(budget: Budget, values: Values, gap: float) -> float:
    """Return for how many seconds on end the values were over the limit; *gap* seconds without any break them."""
    longest, since, last = 0.0, None, 0
    for time, value in values:
        if value > budget.max:
            since = time if since is None or time - last > gap * 1e9 else since
            longest = max(longest, (time - since) / 1e9)
        else:
            since = None
        last = time
    return longest
