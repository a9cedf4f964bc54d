"""The dashboard Overview: which services and versions run, how well, and what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otel_perf.alerts import EXCEEDED
from otel_perf.budgets import CPU, MEMORY, STARTUP

from . import language, shell
from .language import BY_SERVICE, BY_VERSION, OF_VERSION, alive, firing, gained, held, of_living, series
from .panels import BAD, BYTES, CORES, GOOD, PENDING, SECONDS, Asked, chart, stat, steps, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from grafana_foundation_sdk.cog.builder import Builder
    from grafana_foundation_sdk.models.dashboard import Panel

    from otel_perf.budgets import Budget

UID = "otel-perf-overview"
SCORE = steps((None, BAD), (60, PENDING), (90, GOOD))
SOME_BAD = steps((None, GOOD), (1, BAD))
NOBODY = "No process of what is chosen was alive in this range; otel-perf doctor says why a program sends nothing"
STATE, POINTS, ALERTS = "otel_perf.budget.state", "otel_perf.score", "otel_perf.alerts"


def overview(budgets: Sequence[Budget]) -> dict[str, Any]:
    """Return the dashboard."""
    rows = {"": [*_now(), _services()], "Over time": _over_time(), "What is wrong": _wrong()}
    return shell.dashboard(
        UID,
        "otel-perf: Overview",
        "Which services and versions run, how well they keep their budgets, and what is wrong.",
        rows,
    )


def _now() -> list[Builder[Panel]]:
    services = f"count(count by ({BY_SERVICE}) ({alive()})) or vector(0)"
    versions = f"count(count by ({BY_VERSION}) ({alive()})) or vector(0)"
    exceeded = of_living(f"{series(STATE)} == {EXCEEDED}")
    lateness = f"max({of_living(series('otel_perf.self.tick.lateness'))})"
    gone = "No process is alive: none has sent a sample in the last 30 s"
    return [
        stat("Services", "Services with a live process: one that has sent a sample in the last 30 s.", services),
        stat("Live processes", "Processes that have sent a sample in the last 30 s.", f"count({alive()}) or vector(0)"),
        stat("Live versions", "Versions of services that have a live process.", versions),
        stat(
            "Lowest score",
            "The lowest performance score of a live process, 0 to 100: what its budgets cost it.",
            f"min({of_living(series(POINTS))})",
            steps=SCORE,
            nothing=f"{gone}, or no budget of one can be judged",
        ),
        stat(
            "Exceeded budgets",
            "Budgets that are exceeded in a live process, now.",
            f"count({exceeded}) or vector(0)",
            steps=SOME_BAD,
        ),
        stat(
            "Lateness",
            "By how much the latest reading of a live process came late: their monitors read once a second.",
            lateness,
            unit=SECONDS,
            steps=steps((None, GOOD), (0.1, PENDING)),
            nothing=gone,
        ),
    ]


def _services() -> Builder[Panel]:
    expressions = [
        f"count by ({BY_VERSION}) ({alive()})",
        f"min by ({BY_VERSION}) ({of_living(series(POINTS))})",
        f"count by ({BY_VERSION}) ({of_living(f'{series(STATE)} == {EXCEEDED}')})",
        f"quantile by ({BY_VERSION}) (0.5, last_over_time({series(STARTUP)}[$__range]))",
        f"sum by ({BY_VERSION}) ({of_living(series(CPU))})",
        f"max by ({BY_VERSION}) ({of_living(series(MEMORY))})",
    ]
    # Grafana fills in what a cell shows, and without a format leaves & and + as they are.
    chosen = {"namespace": language.NAMESPACE, "service": language.SERVICE, "version": language.VERSION}
    cells = [f"var-{name}=${{__data.fields.{label}:percentencode}}" for name, label in chosen.items()]
    row = "&".join((*cells, "${__url_time_range}"))
    columns = {
        **language.COLUMNS,
        "Value #A": ("Live processes", ""),
        "Value #B": ("Lowest score", ""),
        "Value #C": ("Exceeded budgets", ""),
        "Value #D": ("Median start", SECONDS),
        "Value #E": ("CPU, all processes", CORES),
        "Value #F": ("Memory, largest process", BYTES),
    }
    return table(
        "Services and versions",
        "A row for each service and version that has, or in this range had, a process. Two services of one name "
        "differ in their namespace. A click opens the dashboard that says more.",
        expressions,
        columns=columns,
        links={
            language.SERVICE: shell.address("otel-perf-process", row),
            "Value #B": shell.address("otel-perf-alerts", row),
            "Value #C": shell.address("otel-perf-alerts", row),
            "Value #D": shell.address("otel-perf-startup", row),
        },
        overrides={
            language.NAMESPACE: {"noValue": ""},  # in the links: it matches what has none
            language.VERSION: {"noValue": ""},
            "Value #B": {"thresholds": SCORE.build(), "custom.cellOptions": {"type": "color-text"}, "decimals": 0},
            "Value #C": {"thresholds": SOME_BAD.build(), "custom.cellOptions": {"type": "color-text"}},
        },
        nothing=NOBODY,
    )


def _over_time() -> list[Builder[Panel]]:
    return [
        chart(
            "Live processes by version",
            "How many processes of each version were alive: a new version takes over from the one before.",
            Asked(f"count by ({BY_VERSION}) ({alive()})", OF_VERSION),
            unit="short",
            stacked=True,
            nothing=NOBODY,
        ),
        chart(
            "Score",
            "The lowest score of a version's processes, 0 to 100; 100 is no budget that costs anything.",
            Asked(f"min by ({BY_VERSION}) ({of_living(held(POINTS, by='min'))})", OF_VERSION),
            unit="short",
            largest=100,
            nothing=NOBODY,
        ),
    ]


def _wrong() -> list[Builder[Panel]]:
    return [
        table(
            "Firing alert rules",
            "Rules of Prometheus that fire now (otel-perf rules). Those without a service are of all of them.",
            [f"count by (alertname, severity, budget, {BY_VERSION}) ({firing()})"],
            columns={
                "alertname": ("Rule", ""),
                "severity": ("Severity", ""),
                "budget": ("Budget", ""),
                **language.COLUMNS,
            },
            links={"budget": shell.address("otel-perf-alerts")},
            width=12,
            nothing="No alert rule fires",
        ),
        table(
            "Alerts raised",
            "How often the processes themselves have raised an alert in this range.",
            [f"sum by (budget, severity, {BY_VERSION}) ({gained(ALERTS)}) > 0"],
            columns={
                "budget": ("Budget", ""),
                "severity": ("Severity", ""),
                **language.COLUMNS,
                "Value": ("Alerts", ""),
            },
            links={"budget": shell.address("otel-perf-alerts")},
            width=12,
            nothing="No alert was raised in this range",
        ),
    ]
