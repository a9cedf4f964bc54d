"""One budget as recording and alert rules, by the same law as alerts.py. Reading order: rules_of(), value_of().

The steps are records, so that each can be drawn:

* ``otel_perf:budget_value`` is what is judged, there only where a sample is fresh; ``otel_perf:budget_last`` is that,
  or what it was before as long as the process lives: no data is neither good nor bad.
* The alert is active while the value is over ``max``, and Prometheus's own ``for`` makes it fire. Once it fires it
  refers to itself (``ALERTS``) and stays until the value has been at the clear level for as long as ``for`` says on
  end, ``otel_perf:budget_clear_seconds``. ``keep_firing_for`` would also keep the alert of a process that has ended.
* ``otel_perf:budget_exceeded_seconds`` and ``otel_perf:budget_twice_seconds`` count what raises the severity,
  ``otel_perf:budget_escalated`` remembers it until the alert ends; the rules of the higher severities read that.

The group is evaluated once a second, as the process judges: of every 15 s it would see one sample of 15.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_perf.alerts import LARGE, LONG, LONGEST
from otel_perf.amounts import amount, duration
from otel_perf.backends.names import TABLE, label, promql_string, series_of
from otel_perf.budgets import SEVERITIES, STARTUP
from otel_perf.metrics.names import INSTRUMENTS

from .parts import NAMED, PROCESS, by, group, literal, number, on, span

if TYPE_CHECKING:
    from collections.abc import Iterable

    from otel_perf.budgets import Budget

    from .parts import Links, Rule

EXCEEDED = "OtelPerfBudgetExceeded"

INTERVAL = 1  # seconds between two evaluations, and between two samples
ALIVE = 25  # seconds without a sample after which a process is gone: before 30 have gone by, whoever looks
FRESH = 2  # seconds: a sample a second, and what the two clocks differ
FRESH_RATE = 2.5  # seconds: two of them
SELDOM = 11  # seconds: the process writes the value of a budget that holds every ten
WINDOW = 300  # seconds, of which a percentile is

VALUE = "otel_perf:budget_value"
LAST = "otel_perf:budget_last"
CLEAR = "otel_perf:budget_clear_seconds"
SEEN = "otel_perf:budget_exceeded_seconds"
TWICE = "otel_perf:budget_twice_seconds"
ESCALATED = "otel_perf:budget_escalated"
LIVES = "otel_perf:process_alive"

SECTIONS = {"startup": "startup", "idle": "idle-cpu", "memory": "memory", "monitor": "monitor"}  # of the runbook
OTHER = "a-budget-of-your-own"
_PARTS = ("process.cpu.utilization", "system.memory.usage", "system.memory.utilization")  # gauges: parts of a whole
_NOT_READ = ("otel_perf.process.memory.unique",)  # measured seldom; the process judges what it was last


def budgets_file(budgets: Iterable[Budget], links: Links) -> Rule:
    """Return the rule file of *budgets*."""
    uptime = links.series(series_of("process.uptime"))
    lives = f"max {by(PROCESS)} (\n  last_over_time({uptime}[{span(ALIVE)}]) and {uptime}\n)"
    rules = [{"record": LIVES, "expr": lives}, *(rule for budget in budgets for rule in rules_of(budget, links))]
    return {"groups": [group("otel-perf budgets", INTERVAL, rules)]}


def rules_of(budget: Budget, links: Links) -> list[Rule]:
    """Return all rules of *budget*, in the order in which they build on each other."""
    value = _own(VALUE, budget)
    found = [_record(VALUE, budget, value_of(budget, links))]
    over = f"{value} > {number(budget.max)}"
    if budget.once:  # its value stands: nothing is to be cleared, and nothing is added by time
        found.append(_alert(budget, links, budget.severity, over))
        far = f"{value} >= {number(budget.max * LARGE)}"
        return found + [_alert(budget, links, severity, far) for severity in _higher(budget)[:1]]
    last, clear = _own(LAST, budget), _own(CLEAR, budget)
    found.append(_record(LAST, budget, f"{value}\nor\n({last} and {on(PROCESS)} {LIVES})"))
    found.append(_record(CLEAR, budget, _counted(clear, value, f"{value} <= {number(budget.clear)}")))
    stays = f"(\n  {last} unless ({clear} >= {number(budget.for_)})\n)\nand {on(PROCESS)} {_firing(budget)}"
    found.append(_alert(budget, links, budget.severity, f"({_begins(budget, over)})\nor\n({_indented(stays)}\n)"))
    return found + (_escalation(budget, links) if _higher(budget) else [])


def _begins(budget: Budget, over: str) -> str:
    """Return when the alert becomes active: over, but not so soon after the last one that ``for`` ends in its cooldown.

    The last sample of ALERTS is of one evaluation before it was resolved.
    """
    if budget.cooldown <= budget.for_:
        return over
    before = f"last_over_time({_firing(budget)}[{span(budget.cooldown - budget.for_ + INTERVAL)}])"
    return f"{over} unless {on(PROCESS)} {before}"


def _escalation(budget: Budget, links: Links) -> list[Rule]:
    """Return what raises the severity of an alert while it fires, and the alerts of the higher severities."""
    value, seen, twice = _own(VALUE, budget), _own(SEEN, budget), _own(TWICE, budget)
    fires = f"and {on(PROCESS)} {_firing(budget)}"
    going = f"{seen} + {INTERVAL} and {value} and {value} offset {span(INTERVAL)}"
    counted = f"(\n  ({going})\n  or {seen}\n  or 0 * {value}\n)"
    found = [_record(SEEN, budget, f"{counted}\n{fires}")]
    long = number(max(LONG * budget.for_, LONGEST))
    causes = {"time": f"({seen} >= {long} and {value} > {number(budget.max)})"}
    if budget.max:
        far = f"{value} >= {number(budget.max * LARGE)}"
        found.append(_record(TWICE, budget, _counted(twice, value, far)))
        causes["size"] = f"{twice} >= {number(budget.for_)}"
    for reason, cause in causes.items():
        before = _own(ESCALATED, budget, reason=reason)
        found.append(_record(ESCALATED, budget, f"({cause} or {on(PROCESS)} {before})\n{fires}", reason=reason))
    for steps, severity in enumerate(_higher(budget)[: len(causes)], 1):
        raised = f"count {by(PROCESS)} ({_own(ESCALATED, budget)}) >= {steps}"
        expression = f"{_own(LAST, budget)}\nand {on(PROCESS)}\n({raised})"
        found.append(_alert(budget, links, severity, expression, escalated=True))
    return found


def _higher(budget: Budget) -> tuple[str, ...]:
    """Return the severities to which *budget* may rise."""
    higher = SEVERITIES[SEVERITIES.index(budget.severity) + 1 :]
    return higher if budget.max or not budget.once else ()


# --- what is judged --------------------------------------------------------------------------------------------------


def value_of(budget: Budget, links: Links) -> str:
    """Return the expression of what *budget* judges, for each process.

    Its own metric where Prometheus has what the process has, else what the process judged itself and says in
    ``otel_perf.budget.value``.
    """
    if not reads_its_metric(budget):
        return _judged(budget, links)
    labels = {label(key): text for key, text in budget.selector.items()}
    series = links.series(series_of(budget.instrument), labels)
    if budget.once:
        lasts = links.series(series_of("otel_perf.budget.value"), {"budget": budget.name})
        return f"(\n  max {by(PROCESS)} ({series})\n  or max {by(PROCESS)} ({lasts})\n)\nand {on(PROCESS)} {LIVES}"
    if budget.form == "quantile":
        # Not rate(): that loses the first point of a series, and with it a function that was called once.
        grown = f"sum {by(PROCESS)} (\n    ({series} - {series} offset {span(WINDOW)}) or {series}\n  )"
        quantile = f"histogram_quantile(\n  {number(budget.quantile)},\n  {grown}\n) >= 0"  # not NaN, of no calls
        return f"({quantile})\nand {on(PROCESS)} {LIVES}"
    adds = TABLE[budget.instrument][0] != "gauge" or budget.instrument in _PARTS
    fresh = f"irate({series}[{span(FRESH_RATE)}])" if budget.form else f"last_over_time({series}[{span(FRESH)}])"
    return f"{'sum' if adds else 'max'} {by(PROCESS)} ({fresh})"


def reads_its_metric(budget: Budget) -> bool:
    """Return whether the rule of *budget* reads the metric itself.

    It does not where only the process knows: which seconds are idle, the largest of durations (native histograms do not
    keep it), what is not sent (most of ``system.*``), and the kind and unit of an instrument of the program's own.
    """
    name, kind = budget.instrument, TABLE.get(budget.instrument, ("",))[0]
    if budget.idle or not kind or name.startswith("system.") or name in _NOT_READ:
        return False
    if budget.once:
        return not budget.form and (name == STARTUP or "phase" in budget.selector)
    if kind == "exponentialHistogram":
        return budget.form == "quantile"
    if budget.form:
        return budget.form == "rate" and name in INSTRUMENTS and kind == "sum"
    return name in INSTRUMENTS


def _judged(budget: Budget, links: Links) -> str:
    """Return the value that the process judged, as long as it lives and the state is not unknown."""
    labels = {"budget": budget.name}
    value, state = (links.series(series_of(f"otel_perf.budget.{part}"), labels) for part in ("value", "state"))
    fresh = f"last_over_time({value}[{span(FRESH if budget.idle else SELDOM)}])"
    known = f"max {by(PROCESS)} ({fresh})\nunless {on(PROCESS)}\nmax {by(PROCESS)} ({state} == -1)"
    return f"({_indented(known)}\n)\nand {on(PROCESS)} {LIVES}"


def unit_of(budget: Budget) -> str:
    """Return the unit of what *budget* judges, as the evaluator says it: ``%`` for a share meant in percent."""
    known = TABLE.get(budget.instrument, ("", ""))[1]
    if not known or (known == "1" and budget.unit == "%"):
        return budget.unit or ("s" if budget.is_time else "")
    return known


# --- the parts of a rule ---------------------------------------------------------------------------------------------


def _own(record: str, budget: Budget, **labels: str) -> str:
    pairs = {"budget": budget.name, **labels}
    return f"{record}{{{', '.join(f'{key}={promql_string(text)}' for key, text in pairs.items())}}}"


def _firing(budget: Budget) -> str:
    return _own("ALERTS", budget, alertname=EXCEEDED, alertstate="firing", severity=budget.severity)


def _counted(itself: str, value: str, holds: str) -> str:
    """Return the expression of a record that counts the seconds for which *holds* has been true on end, from 0."""
    return f"({itself} + {INTERVAL} or 0 * {value})\nand ({holds})"


def _indented(text: str) -> str:
    return "".join(f"\n  {line}" for line in text.split("\n"))


def _record(name: str, budget: Budget, expression: str, **labels: str) -> Rule:
    return {"record": name, "expr": expression, "labels": {"budget": budget.name, **labels}}


def _alert(budget: Budget, links: Links, severity: str, expression: str, *, escalated: bool = False) -> Rule:
    rule: Rule = {"alert": EXCEEDED, "expr": expression}
    if budget.for_ and not escalated:  # what is escalated has been so for long enough
        rule["for"] = span(budget.for_)
    rule["labels"] = {"budget": literal(budget.name), "severity": severity}
    rule["annotations"] = _annotations(budget, links, escalated)
    return rule


def _annotations(budget: Budget, links: Links, escalated: bool) -> dict[str, str]:
    limit = literal(amount(budget.max, unit_of(budget), budget.form))
    value, metric = _shown(budget), literal(budget.metric)
    held = f" for {duration(budget.for_)}" if budget.for_ else ""
    idle = " while no tracked work ran" if budget.idle else ""
    worse = f"; it has been {LARGE:g} times the limit, or exceeded for long" if escalated else ""
    return {
        "summary": f"{{{{ $labels.budget }}}} of {NAMED}: {value} is over {limit}",
        "description": f"{metric} of {NAMED} (instance {{{{ $labels.service_instance_id }}}}) is {value}. "
        f"The limit of budget {{{{ $labels.budget }}}} is {limit}{held}{idle}{worse}.",
        "metric": metric,
        "value": value,
        "limit": limit,
        "runbook_url": links.section(SECTIONS.get(budget.name, OTHER)),
        "dashboard_url": links.dashboard(_dashboard_of(budget), "service", "version", "instance"),
    }


def _dashboard_of(budget: Budget) -> str:
    if budget.once:
        return "otel-perf-startup"
    if budget.instrument.startswith("otel_perf.function."):
        return "otel-perf-profiling"
    return "otel-perf-process" if budget.instrument in INSTRUMENTS else "otel-perf-alerts"


def _shown(budget: Budget) -> str:
    """Return a template of the alert's value, as people read it."""
    unit, per = unit_of(budget), "/s" if budget.form == "rate" else ""
    if unit == "s" and not per:
        return "{{ $value | humanizeDuration }}"
    if unit == "By":
        return f"{{{{ $value | humanize }}}}B{per}"
    if unit == "%":
        return f"{{{{ $value | humanizePercentage }}}}{per}"
    if unit == "{cpu}":
        return f'{{{{ $value | printf "%.3g" }}}} cores{per}'
    noun = "" if unit == "1" else unit.strip("{}")
    return f"{{{{ $value | humanize }}}}{' ' if noun else ''}{noun}{per}"
