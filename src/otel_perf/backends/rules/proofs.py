"""What the rules must answer to given samples, as unit tests of promtool. Reading order: Case, cases(), proofs_of().

The expected answers follow from the law in alerts.py, not from the rules. Rules look OFFSET seconds back, but
``ALERTS`` carries the time of the samples: an alert of a sample at 10 s is there at 10 s. So each test ends with a
question that is OFFSET seconds later, up to which promtool evaluates.
"""

from __future__ import annotations

import math
from itertools import groupby
from typing import TYPE_CHECKING

from otel_perf.alerts import LARGE, LONG, LONGEST
from otel_perf.backends.names import label, series_of
from otel_perf.budgets import SEVERITIES

from .of_budgets import ALIVE, EXCEEDED, WINDOW, reads_its_metric
from .parts import OFFSET, number, selector, span

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from otel_perf.budgets import Budget

    from .parts import Links, Rule

    Values = list[float | None]

GONE = "stale"  # the marker that a process leaves which ends cleanly
_FINE = 4  # buckets to the power of two, of schema 2: a bucket k is from 2**((k - 1) / 4) to 2**(k / 4)
LONGEST_TEST = 7200  # seconds; what takes longer to show is not tested for a budget that wants it
_GAP = 5


class Case:
    """Samples of one process, one a second, and what is firing when.

    Attributes:
        name: what this shows.
        values: what the budget judges; None for no data while the process lives.
        firing: second, counted from the first sample, and the severities that fire then.
        ends: after the values the process has ended cleanly; else it goes on, or
        killed: nothing more comes.
    """

    __slots__ = ("ends", "firing", "killed", "name", "values")

    def __init__(
        self,
        name: str,
        values: Values,
        firing: list[tuple[int, tuple[str, ...]]],
        *,
        ends: bool = False,
        killed: bool = False,
    ) -> None:
        self.name = name
        self.values = values
        self.firing = firing
        self.ends = ends
        self.killed = killed


class Levels:
    """Values on all sides of a budget's limits, and the seconds that it needs.

    Attributes:
        held: seconds until it fires or is cleared.
        over: more than the limit, less than twice.
        far: twice the limit.
        limit: just not over.
        between: a little above the clear level, not over; nothing if there is nothing between.
        low: at the clear level.
        own: the severities that fire.
    """

    __slots__ = ("between", "far", "held", "limit", "low", "over", "own")

    def __init__(self, budget: Budget) -> None:
        self.held = math.ceil(budget.for_)
        self.over = budget.max * 1.5 or 1.0
        self.far = budget.max * LARGE
        rounding = 0.999 if budget.form == "rate" else 1.0  # of a counter that is added up and subtracted
        self.limit, self.low = budget.max * rounding, budget.clear * rounding
        between = budget.clear + (budget.max - budget.clear) / 10
        self.between = [between] if budget.clear < budget.max else []
        self.own = (budget.severity,)


def cases(budget: Budget) -> list[Case]:
    """Return the cases of a budget whose values come second by second."""
    at = Levels(budget)
    held, own = at.held, at.own
    raised: Values = [at.over] * (held + 1)
    cleared: Values = [at.low] * (held + 1)
    calm: Values = [*at.between] * (2 * held + 6)
    end = held + len(calm)  # the last second that is not cleared
    before: list[tuple[int, tuple[str, ...]]] = [(held - 1, ())] if held else []
    found = [
        Case("exceeded", [*raised, at.over], [*before, (held, own)]),
        Case("at the limit is not over it", [at.limit] * (held + 5), [(held, ()), (held + 4, ())]),
        Case(
            "resolved only at the clear level, after as long as it takes to be raised",
            [*raised, *calm, *cleared],
            [(held, own), (end, own), (end + held, own), (end + held + 1, ())],
        ),
        Case(
            "no data resolves nothing",
            [*raised, *[None] * 10, *cleared],
            [(held + 8, own), (held + 10 + held, own), (held + 11 + held, ())],
        ),
        Case("ended cleanly is gone", [*raised, at.over], [(held + 1, own), (held + 4, ())], ends=True),
        Case(
            f"killed is gone after {ALIVE} s",
            [*raised, at.over],
            [(held + ALIVE - 5, own), (held + 1 + ALIVE, ())],
            killed=True,
        ),
    ]
    return found + _anew(budget, at) + _escalations(budget, at) + _cooldown(budget, at)


def _anew(budget: Budget, at: Levels) -> list[Case]:
    """Return the cases in which ``for`` begins anew."""
    held, own = at.held, at.own
    if held < 2:
        return []
    raised: Values = [at.over] * (held + 1)
    again: Values = [*[at.over] * held, at.limit]
    gap: Values = [*[at.over] * (held - 1), *[None] * _GAP, *raised]
    found = [
        Case("for begins anew below the limit", again * 3, [(held, ()), (2 * held, ()), (3 * held + 2, ())]),
        Case(
            "for begins anew after a gap",
            gap,
            [(held, ()), (2 * held + _GAP - 2, ()), (2 * held + _GAP - 1, own)],
        ),
    ]
    if not reads_its_metric(budget):  # of a metric a sample may be late; here the process says that there is none
        short: Values = [*[at.over] * held, None, *raised]
        found.append(Case("for begins anew after a second without data", short, [(2 * held, ()), (2 * held + 1, own)]))
    return found


def _escalations(budget: Budget, at: Levels) -> list[Case]:
    """Return the cases of a higher severity."""
    first, *more = SEVERITIES[SEVERITIES.index(budget.severity) :]
    if not more:
        return []
    held, long = at.held, math.ceil(max(LONG * budget.for_, LONGEST))
    once, found = (first, more[0]), []
    if budget.max:
        found.append(Case("escalated by size", [at.far] * (held + 3), [(held, once)]))
    if held + long > LONGEST_TEST:
        return found
    lasts: Values = [at.over] * (held + long + 3)
    found.append(Case("escalated by time", lasts, [(held + long - 1, (first,)), (held + long, once)]))
    if budget.max and len(more) > 1:
        both = (first, *more)
        lasts = [at.far] * (held + long + 3)
        found.append(Case("escalated by both", lasts, [(held + long - 1, once), (held + long, both)]))
    return found


def _cooldown(budget: Budget, at: Levels) -> list[Case]:
    """Return the case of an alert that would come too soon after the last one."""
    if not budget.cooldown or budget.cooldown > LONGEST_TEST:
        return []
    resolved = 2 * at.held + 1
    second = max(resolved + 1 + at.held, math.ceil(resolved + budget.cooldown))
    values: Values = [*[at.over] * (at.held + 1), *[at.low] * (at.held + 1), *[at.over] * (second - resolved)]
    return [Case("no alert in the cooldown", values, [(resolved, ()), (second - 1, ()), (second, at.own)])]


def _once(budget: Budget) -> list[Case]:
    """Return the cases of a value that is measured once and then stands."""
    at = Levels(budget)
    held = at.held
    stands: Values = [at.over, *[None] * (held + 10)]
    found = [
        Case("exceeded", stands, [*([(held - 1, ())] if held else []), (held, at.own), (held + 10, at.own)]),
        Case("at the limit is not over it", [at.limit, *[None] * (held + 5)], [(held + 5, ())]),
        Case("ended cleanly is gone", stands, [(held + 10, at.own), (held + 11, ())], ends=True),
        Case(f"killed is gone after {ALIVE} s", stands, [(held + 30, at.own), (held + 10 + ALIVE, ())], killed=True),
    ]
    higher = SEVERITIES[SEVERITIES.index(budget.severity) + 1 :][:1]
    if budget.max and higher:
        found.append(Case("escalated by size", [at.far, *[None] * (held + 3)], [(held, (*at.own, *higher))]))
    return found


# --- as files of promtool --------------------------------------------------------------------------------------------


def proofs_file(budgets: Iterable[Budget], links: Links, rules: str) -> Rule:
    """Return the tests of all *budgets*, whose rules are in the file *rules*."""
    return tests_file(rules, 1, [test for budget in budgets for test in proofs_of(budget, links)])


def tests_file(rules: str, interval: int, tests: list[Rule]) -> Rule:
    """Return a file of *tests* of the file *rules*, evaluated every *interval* seconds."""
    return {"rule_files": [rules], "evaluation_interval": span(interval), "tests": tests}


def proofs_of(budget: Budget, links: Links) -> Iterator[Rule]:
    """Give the tests of one budget."""
    if reads_its_metric(budget) and budget.form == "quantile":
        yield from _of_quantile(budget, links)
        return
    for case in _once(budget) if budget.once and reads_its_metric(budget) else cases(budget):
        lead = 1 if reads_its_metric(budget) and budget.form == "rate" else 0  # a rate needs a sample before
        last = len(case.values) + lead
        asked = [question(budget, second + lead, severities) for second, severities in case.firing]
        end = max(last, max(second for second, _ in case.firing) + lead) + OFFSET
        yield test(f"{budget.name}: {case.name}", 1, _series(budget, links, case, lead), asked, end)


def test(name: str, interval: int, series: dict[str, str], questions: list[Rule], end: int) -> Rule:
    """Return one test, evaluated up to the second *end*."""
    last = {"expr": "vector(1)", "eval_time": span(end), "exp_samples": [{"labels": "{}", "value": 1}]}
    return {
        "name": name,
        "interval": span(interval),
        "input_series": [{"series": key, "values": text} for key, text in series.items()],
        "promql_expr_test": [*questions, last],
    }


def question(budget: Budget, second: int, severities: tuple[str, ...]) -> Rule:
    """Return the question which severities of *budget* fire at *second*."""
    labels = {"alertname": EXCEEDED, "alertstate": "firing", "budget": budget.name}
    return {
        "expr": f"count by (severity) ({selector('ALERTS', labels)})",
        "eval_time": span(second) if second else "0s",
        "exp_samples": [{"labels": f'{{severity="{severity}"}}', "value": 1} for severity in severities],
    }


def process(links: Links, instance: str = "1", version: str = "1.0") -> dict[str, str]:
    """Return the labels of a process's series, of the first service that the rules are about."""
    service = links.services[0] if links.services else "shop"
    found = {"service.name": service, "service.version": version, "service.instance.id": instance}
    return {label(key): text for key, text in found.items()}


def _series(budget: Budget, links: Links, case: Case, lead: int) -> dict[str, str]:
    """Return the series of *case*: the process's age, and what the rule of *budget* reads."""
    own, end = process(links), [GONE] if case.ends else []
    lives = len(case.values) + lead + (0 if case.ends or case.killed else OFFSET + 1)
    found = {selector(series_of("process.uptime"), own): " ".join([f"0+1x{lives - 1}", *end])}
    if not reads_its_metric(budget):
        labels = own | {"budget": budget.name}
        states: Values = [-1.0 if value is None else 0.0 for value in case.values]
        found[selector(series_of("otel_perf.budget.value"), labels)] = " ".join([written(case.values), *end])
        found[selector(series_of("otel_perf.budget.state"), labels)] = " ".join([written(states), *end])
        return found
    labels = own | {label(key): text for key, text in budget.selector.items()}
    values = _counter(case.values) if lead else case.values
    found[selector(series_of(budget.instrument), labels)] = " ".join([written(values), *end])
    return found


def _counter(rates: Values) -> Values:
    """Return a counter that grows by *rates*; before each that has none before it, it has a sample to grow from."""
    total, found = 0.0, list[float | None]([0.0])
    for rate, after in zip(rates, [*rates[1:], None], strict=True):
        total += rate or 0.0
        found.append(total if rate is not None or after is not None else None)
    return found


def written(values: Values) -> str:
    """Return *values* as promtool reads them, shortened: ``3x4`` is five times 3, ``_x4`` is four times nothing."""
    found = []
    for value, run in groupby(values):
        many = len(list(run))
        if value is None:
            found.append(f"_x{many}")
        else:
            found.append(number(value) + (f"x{many - 1}" if many > 1 else ""))
    return " ".join(found)


# --- percentiles -----------------------------------------------------------------------------------------------------


def _of_quantile(budget: Budget, links: Links) -> Iterator[Rule]:
    """Give the tests of a percentile, which reads a native histogram of the last minutes."""
    held, own = math.ceil(budget.for_), process(links)
    high = math.ceil(_FINE * math.log2(budget.max)) + 1 if budget.max else 0
    slow = f"{{{{schema:2 sum:1 count:5 buckets:[5] offset:{high}}}}}"
    series = selector(series_of(budget.instrument), own | {label(key): text for key, text in budget.selector.items()})
    lives = {selector(series_of("process.uptime"), own): f"0+1x{WINDOW + 2 * held + 10}"}
    before = [question(budget, held - 1, ())] if held else []
    firing = [*before, question(budget, held, (budget.severity,))]
    named = f"{budget.name}: "
    yield test(f"{named}exceeded", 1, lives | {series: f"{slow}x{held + 3}"}, firing, held + OFFSET)
    if not budget.clear:
        return
    low = min(math.floor(_FINE * math.log2(budget.clear)), high - 1)
    quick = f"{{{{schema:2 sum:1 count:9995 buckets:[9995] offset:{low}}}}}"
    both = f"{{{{schema:2 sum:2 count:10000 buckets:[9995{' 0' * (high - low - 1)} 5] offset:{low}}}}}"
    calm = [question(budget, held, ()), question(budget, held + 3, ())]
    yield test(f"{named}not exceeded", 1, lives | {series: f"{quick}x{held + 3}"}, calm, held + 3 + OFFSET)
    begin = max(WINDOW, held + 1)
    slow_then_quick = {series: f"{slow}x{begin - 1} {both}x{held + 3}"}
    cleared = [*([question(budget, begin + held - 1, (budget.severity,))] if held else [])]
    asked = [*firing, *cleared, question(budget, begin + held, ())]
    yield test(f"{named}resolved by quick calls", 1, lives | slow_then_quick, asked, begin + held + OFFSET)
