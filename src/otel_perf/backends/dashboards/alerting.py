"""The dashboard Alerts: which budget is exceeded, when it was and why, and what the score says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otel_perf.alerts import EXCEEDED, OK, PENDING, UNKNOWN

from . import language, shell
from .language import (
    BY_SERVICE,
    BY_VERSION,
    INSTANCE,
    OF_SERVICE,
    OF_VERSION,
    events,
    firing,
    gained,
    held,
    of_living,
    series,
    short,
)
from .panels import BAD, GOOD, SHARE, Asked, chart, log, mapping, stat, steps, table, timeline
from .panels import PENDING as ORANGE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from grafana_foundation_sdk.cog.builder import Builder
    from grafana_foundation_sdk.models.dashboard import Panel

    from otel_perf.budgets import Budget

UID = "otel-perf-alerts"
VALUE, LIMIT, STATE = "otel_perf.budget.value", "otel_perf.budget.limit", "otel_perf.budget.state"
POINTS, ALERTS = "otel_perf.score", "otel_perf.alerts"
WORDS = {
    str(UNKNOWN): ("unknown", "text"),
    str(OK): ("ok", GOOD),
    str(PENDING): ("pending", ORANGE),
    str(EXCEEDED): ("exceeded", BAD),
}
GONE = "No process with a budget is alive"


def alerting(budgets: Sequence[Budget]) -> dict[str, Any]:
    """Return the dashboard."""
    rows = {"": [*_numbers(), _states(), _budgets()], "History": _history(), "Score": _score()}
    return shell.dashboard(
        UID, "otel-perf: Alerts", "Which budget is exceeded, when it was and why, and what the score says.", rows
    )


def _numbers() -> list[Builder[Panel]]:
    state = series(STATE)
    some = steps((None, GOOD), (1, BAD))
    return [
        stat(
            "Exceeded",
            "Budgets exceeded in a live process, now.",
            f"count({of_living(f'{state} == {EXCEEDED}')}) or vector(0)",
            steps=some,
        ),
        stat(
            "Pending",
            "Budgets over their limit, not for as long as they may be.",
            f"count({of_living(f'{state} == {PENDING}')}) or vector(0)",
        ),
        stat("Held", "Budgets that are ok.", f"count({of_living(f'{state} == {OK}')}) or vector(0)"),
        stat(
            "Unknown",
            "Budgets that nobody can judge now; otel-perf doctor says why.",
            f"count({of_living(f'{state} == {UNKNOWN}')}) or vector(0)",
        ),
        stat(
            "Alerts raised",
            "In the range shown, in all chosen processes.",
            f"sum({gained(ALERTS)}) or vector(0)",
            steps=some,
        ),
        stat(
            "Lowest score",
            "Of a live process, 0 to 100.",
            f"min({of_living(series(POINTS))})",
            steps=steps((None, BAD), (60, ORANGE), (90, GOOD)),
            nothing=GONE,
        ),
    ]


def _states() -> Builder[Panel]:
    return timeline(
        "Budgets",
        "The worst state of each budget of a service's live processes. An excess shorter than the reading interval "
        "is in the counter and the history only.",
        Asked(
            f"max by ({BY_SERVICE}, budget) ({of_living(held(STATE))})",
            f"{{{{budget}}}} {OF_SERVICE}",
        ),
        values=WORDS,
        width=24,
        height=8,
        nothing="No process with a budget was alive in this range",
    )


def _budgets() -> Builder[Panel]:
    by = f"budget, {BY_VERSION}, {INSTANCE}"
    return table(
        "Budgets of the processes that are alive",
        "Value and limit are in the unit of the budget's metric: seconds, bytes, cores.",
        [f"max by ({by}) ({of_living(series(name))})" for name in (STATE, VALUE, LIMIT)]
        + [f"max by ({by}) ({of_living(f'{series(VALUE)} / {series(LIMIT)}')})"],
        columns={
            "budget": ("Budget", ""),
            **language.COLUMNS,
            INSTANCE: ("Process", ""),
            "Value #A": ("State", ""),
            "Value #B": ("Value", ""),
            "Value #C": ("Limit", ""),
            "Value #D": ("Of the limit", SHARE),
        },
        overrides={
            "Value #A": {"mappings": [mapping(WORDS)], "custom.cellOptions": {"type": "color-text"}},
            "Value #D": {
                "thresholds": steps((None, GOOD), (1, BAD)).build(),
                "custom.cellOptions": {"type": "color-text"},
            },
        },
        nothing=GONE,
    )


def _history() -> list[Builder[Panel]]:
    by = ("alertname", "severity", "budget", language.SERVICE, language.NAMESPACE)
    return [
        timeline(
            "Alert rules that fired",
            "The rules of Prometheus (otel-perf rules), while they fired. A silent service and a version that starts "
            "slower are known to these alone. Those without a service are of all of them.",
            Asked(f"max by ({', '.join(by)}) ({firing()})", " ".join(f"{{{{{name}}}}}" for name in by)),
            values={"1": ("firing", BAD)},
            width=24,
            height=7,
            nothing="No alert rule fired in this range",
        ),
        log(
            "What was exceeded, and why",
            "The events of the budgets: metric, value, limit, since when, what ran; the trace id opens the start.",
            events("otel_perf[.]budget[.].*"),
            nothing="No budget was exceeded in this range",
        ),
        chart(
            "Value of each budget, of its limit",
            "100 % is the limit; what is beyond three times that is drawn there.",
            Asked(
                short(of_living(f"clamp_max({series(VALUE)} / {series(LIMIT)}, 3)")),
                f"{{{{budget}}}} {language.PROCESS}",
            ),
            unit=SHARE,
            nothing=GONE,
        ),
        log(
            "How processes ended",
            "The last event of each process that could still write one.",
            events("otel_perf[.](process[.]ended|startup[.]died)"),
            nothing="No process has ended in this range",
            width=12,
            height=8,
        ),
    ]


def _score() -> list[Builder[Panel]]:
    return [
        chart(
            "Score",
            "The lowest score of a version's processes, 0 to 100. Each budget weighs by its severity: critical 4, "
            "warning 2, info 1; pending costs a quarter of that, exceeded half, at twice the limit all of it.",
            Asked(f"min by ({BY_VERSION}) ({of_living(held(POINTS, by='min'))})", OF_VERSION),
            unit="short",
            largest=100,
            nothing=GONE,
        ),
        chart(
            "Alerts raised, since each process began",
            "By budget and severity.",
            Asked(f"sum by (budget, severity) ({series(ALERTS)})", "{{budget}} {{severity}}"),
            unit="short",
            nothing="No alert was raised",
        ),
    ]
