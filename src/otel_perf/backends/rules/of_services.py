"""Whole services as rules: one that is silent, and a version that starts slower than the one before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_perf.backends.names import label, series_of
from otel_perf.budgets import STARTUP

from .parts import PROCESS, SERVICE, VERSION, by, group, literal, on, selector, span

if TYPE_CHECKING:
    from .parts import Links, Rule

SILENT = "OtelPerfServiceSilent"
REGRESSION = "OtelPerfStartupRegression"

QUIET = 120  # seconds without any sample before a service is silent: less than Prometheus's lookback of 5 minutes
KNOWN = 3600  # seconds for which a service that is silent is remembered
SLOWER = 1.2  # times the median start of the version before
STARTS = 5  # of each version, at least
PAST = 86400  # seconds: the start counts of every process that ran in them, also of one that started before

SEEN, VANISHED = "otel_perf:process_seen", "otel_perf:process_vanished"
WATCHED = "otel_perf:services_watched"


def services_file(links: Links) -> Rule:
    """Return the rule file about services."""
    return {
        "groups": [
            group("otel-perf services", 15, _silence(links)),
            group("otel-perf versions", 60, _versions(links)),
        ]
    }


def _silence(links: Links) -> list[Rule]:
    """Return the rules that find a service of which nothing comes any more though its last process did not end.

    A clean end leaves a stale marker: nothing is there from then on. What was killed, or does not reach us, is there
    for as long as Prometheus looks back, with a sample that gets old.
    """
    uptime, past = links.series(series_of("process.uptime")), span(KNOWN)
    rules: list[Rule] = [
        {"record": SEEN, "expr": f"max {by(PROCESS)} (timestamp({uptime}))"},
        {
            "record": VANISHED,
            "expr": f"max {by(PROCESS)} (\n  timestamp({uptime}) unless last_over_time({uptime}[{span(QUIET)}])\n)",
        },
    ]
    if not links.expected:
        return [*rules, _silent(links, _vanished(links.series(VANISHED), links.series(SEEN), past))]
    rules.append({"record": WATCHED, "expr": "vector(1)"})
    return rules + [_silent(links, _missing(name, past), name) for name in links.expected]


def _vanished(vanished: str, seen: str, past: str) -> str:
    """Return when the last sample was of each service whose last process has vanished."""
    return (
        f"max {by(SERVICE)} (max_over_time({vanished}[{past}]))\n>=\nmax {by(SERVICE)} (max_over_time({seen}[{past}]))"
    )


def _missing(name: str, past: str) -> str:
    """Return the same of the service *name*; and 1 where nothing has come from it for so long, or ever.

    The second begins where the first forgets, with the labels that the first has where there is no namespace. It waits
    until the rules have been at work for a while: a Prometheus that begins has seen nothing of anybody.
    """
    own = {label("service.name"): name}
    seen = selector(SEEN, own)
    watched = f"{WATCHED} offset {span(QUIET)}"
    return f"{_vanished(selector(VANISHED, own), seen, past)}\nor\nabsent_over_time({seen}[{past}]) and on () {watched}"


def _silent(links: Links, expression: str, name: str = "") -> Rule:
    """Return the alert, of the service *name* or of all."""
    said = "{{ $labels.service_name }}"
    since = (
        f"Nothing has come from {said} since {{{{ $value | humanizeTimestamp }}}}, and its last process did not say "
        "that it ended: it was killed, hangs, or does not reach the collector."
    )
    never = f"Nothing has come from {said} in the last hour: it does not run, or does not reach the collector."
    return {
        "alert": SILENT,
        "expr": expression,
        # the second is what the series has: two rules of one name must differ in their labels
        "labels": {"severity": "warning"} | ({label("service.name"): literal(name)} if name else {}),
        "annotations": {
            "summary": f"{said} is silent",
            "description": f"{{{{ if eq $value 1.0 }}}}{never}{{{{ else }}}}{since}{{{{ end }}}}" if name else since,
            "runbook_url": links.section("silent-service"),
            "dashboard_url": links.dashboard("otel-perf-overview", "service"),
        },
    }


def _versions(links: Links) -> list[Rule]:
    """Return the rules that compare the median start of the version that came last with that of the one before.

    When a version came is known from its first process, of which also one that lived for a second counts.
    """
    uptime, start = (links.series(series_of(name), versioned=True) for name in ("process.uptime", STARTUP))
    newest, previous, started, median = (
        links.series(f"otel_perf:{what}")
        for what in ("version_newest", "version_previous", "version_started", "startup_median_seconds")
    )
    first, starts = f"min_over_time({started}[{span(PAST)}])", f"last_over_time({start}[{span(PAST)}])"
    named = f'label_replace(\n  {median} and {previous},\n  "previous_version", "$1", "service_version", "(.*)"\n)'
    slower = f"({median} and {newest})\n/ {on(SERVICE)} group_left (previous_version)\n{named}\n> {SLOWER:g}"
    return [
        {
            "record": "otel_perf:version_started",
            "expr": f"min {by(VERSION)} (time() - last_over_time({uptime}[2m]))",
        },
        {"record": "otel_perf:version_newest", "expr": f"topk {by(SERVICE)} (1, {first})"},
        {"record": "otel_perf:version_previous", "expr": f"topk {by(SERVICE)} (1, {first} unless {newest})"},
        {
            "record": "otel_perf:startup_median_seconds",
            "expr": f"quantile {by(VERSION)} (0.5, {starts})\nand\ncount {by(VERSION)} ({starts}) >= {STARTS}",
        },
        {"alert": REGRESSION, "expr": slower, "labels": {"severity": "warning"}, "annotations": _slower(links)},
    ]


def _slower(links: Links) -> dict[str, str]:
    version = "{{ $labels.service_name }} {{ $labels.service_version }}"
    both = f"&var-version={{{{ $labels.previous_version | urlquery }}}}&from=now-{span(PAST)}&to=now"
    return {
        "summary": f"{version} starts slower than {{{{ $labels.previous_version }}}}",
        "description": f'The median start of {version} takes {{{{ $value | printf "%.2f" }}}} times as long as that of '
        f"{{{{ $labels.previous_version }}}}, the version before; up to {SLOWER:g} times is no alert. "
        f"Compared are the processes that ran in the last day, at least {STARTS} of each.",
        "runbook_url": links.section("startup-regression"),
        "dashboard_url": links.dashboard("otel-perf-startup", "service", "version") + both,
    }
