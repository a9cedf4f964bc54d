"""The dashboard Startup: how long starts take by version, where the time goes, and one start in full."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otel_perf.budgets import PHASE, STARTUP

from . import flame, language, shell
from .language import BY_VERSION, OF_VERSION, series
from .panels import (
    BAD,
    GOOD,
    SECONDS,
    SHARE,
    Asked,
    bars,
    chart,
    flame_of_trace,
    found_spans,
    log,
    stat,
    steps,
    table,
    trace,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from grafana_foundation_sdk.cog.builder import Builder
    from grafana_foundation_sdk.models.dashboard import Panel

    from otel_perf.budgets import Budget

    from .flame import Transformation
    from .panels import Overrides

UID = "otel-perf-startup"
NO_START = "No start in this range"
CHOOSE = "Choose a start in the table Slowest starts above, or write a trace id into the field Trace"
ONE_START = "One start: choose it in the table above"


def startup(budgets: Sequence[Budget]) -> dict[str, Any]:
    """Return the dashboard."""
    limits = [budget for budget in budgets if budget.instrument == STARTUP and not budget.form]
    rows = {
        "": [*_numbers(limits), *_by_version(limits)],
        "Where the time goes": [_phases(), _slowest()],
        ONE_START: _one(),
    }
    said = "The trace id of one start; a click in the table of the slowest starts sets it."
    variables = [
        shell.text(language.TRACE, "Trace", said),
        shell.derived(language.SHORT_ID, language.short_id(), language.SHORT_ID_ANSWER),
    ]
    return shell.dashboard(
        UID,
        "otel-perf: Startup",
        "How long starts take by version, where the time goes, and one start in full.",
        rows,
        variables=variables,
    )


def _numbers(limits: Sequence[Budget]) -> list[Builder[Panel]]:
    each = f"last_over_time({series(STARTUP)}[$__range])"
    colors = steps((None, GOOD), *((budget.max, BAD) for budget in limits[:1]))
    count = f"count({each}) or vector(0)"
    half, most = f"quantile(0.5, {each})", f"max({each})"
    made: list[Builder[Panel]] = [
        stat(
            "Starts",
            "Starts of the processes that ran in this range, also of those that started before it.",
            count,
            width=6,
        ),
        stat(
            "Median start",
            "Half of the starts took no longer.",
            half,
            unit=SECONDS,
            steps=colors,
            width=6,
            nothing=NO_START,
        ),
        stat(
            "Slowest start", "The longest of the starts.", most, unit=SECONDS, steps=colors, width=6, nothing=NO_START
        ),
    ]
    for limit in limits[:1]:
        slow, text = f"count(({each}) > {limit.max:g}) or vector(0)", f"Starts that took longer than {limit.max:g} s."
        made.append(stat("Starts over budget", text, slow, steps=steps((None, GOOD), (1, BAD)), width=6))
    return made


def _by_version(limits: Sequence[Budget]) -> list[Builder[Panel]]:
    each = f"last_over_time({series(STARTUP)}[$__range])"
    lately = f"(last_over_time({series(STARTUP)}[$__interval]) or {series(STARTUP)})"
    return [
        chart(
            "Duration of starts by version",
            "The median over the processes of each version, from the process's creation until it was ready. The "
            "dashed line is the budget.",
            Asked(f"quantile by ({BY_VERSION}) (0.5, {lately})", OF_VERSION),
            Asked(f"max by ({BY_VERSION}) ({lately})", f"{OF_VERSION} (slowest)"),
            unit=SECONDS,
            limits=limits,
            nothing=NO_START,
        ),
        table(
            "Starts by version",
            "The starts of the processes that ran in this range, also of those that started before it: how many, the "
            "median and the slowest.",
            [
                f"count by ({BY_VERSION}) ({each})",
                f"quantile by ({BY_VERSION}) (0.5, {each})",
                f"max by ({BY_VERSION}) ({each})",
            ],
            columns={
                **language.COLUMNS,
                "Value #A": ("Starts", ""),
                "Value #B": ("Median", SECONDS),
                "Value #C": ("Slowest", SECONDS),
            },
            width=12,
            nothing=NO_START,
        ),
    ]


def _phases() -> Builder[Panel]:
    each = f"last_over_time({series(PHASE)}[$__range])"
    nested = f"last_over_time({series(flame.TIME, 'depth!=`0`')}[$__range])"
    within = f'label_replace({nested}, "phase", "$1", "function", "(.*)")'
    outer = f"{each} unless on ({language.INSTANCE}, phase) {within}"
    mean = f"avg by ({BY_VERSION}, phase) ({outer})"
    program = ", ".join(f'"{name}"' for name in (language.SERVICE, language.VERSION, language.NAMESPACE))
    return bars(
        "Phases by version",
        "The mean duration of each phase, stacked to the whole start, of each service and version. A phase within "
        "another is part of that one and not shown.",
        f'label_join({mean}, "program", " ", {program})',
        across="program",
        stacked_by="phase",
        unit=SECONDS,
        width=8,
        nothing="No start in this range has a phase",
    )


def _slowest() -> Builder[Panel]:
    return found_spans(
        "Slowest starts",
        "The slowest starts of the chosen processes, with what held each longest, among 500 starts of all "
        "services that Tempo finds in this range: where there are more, not all and not the newest ones; choose a "
        "shorter range. A process of which Prometheus has nothing is not shown. A click on the trace shows the start "
        "below. Tempo's search sees a start about 10 s after it has arrived.",
        language.starts(),
        language.chosen_processes(),
        slowest_starts(),
        _columns(),
        nothing="No start in this range",
    )


def slowest_starts() -> list[Transformation]:
    """Return how what Tempo finds becomes the table: those of the chosen processes, the slowest first.

    Chosen services and versions cannot be sorted out by a transformation of their own: Grafana fills variables into
    transformations as JSON text, where what escapes a regular expression would end it. Where Tempo finds nothing, the
    other answer is all there is, and its rows have no trace.
    """
    order = ("Trace", "Start time", "Trace Service", "service.version", "Duration", *_BOTTLENECK)
    return [
        ("joinByField", {"byField": language.OF_INSTANCE, "mode": "inner"}),
        (
            "calculateField",
            {
                "mode": "reduceRow",
                "timeSeries": False,
                "alias": "Trace",
                "replaceFields": False,
                "reduce": {"reducer": "lastNotNull", "include": ["traceIdHidden"]},
            },
        ),
        flame.without("any", ("Trace", "isNull", {})),
        ("convertFieldType", {"fields": {}, "conversions": [{"targetField": "Trace", "destinationType": "string"}]}),
        ("sortBy", {"fields": {}, "sort": [{"field": "Duration", "desc": True}]}),
        ("limit", {"limitField": 20}),
        ("filterFieldsByName", {"include": {"names": list(order)}}),
        ("organize", {"indexByName": {name: number for number, name in enumerate(order)}}),
    ]


_BOTTLENECK = {
    "otel_perf.bottleneck": "Bottleneck",
    "otel_perf.bottleneck.reason": "Reason",
    "otel_perf.bottleneck.share": "Share of the start",
}


def _columns() -> Overrides:
    opened = shell.address(UID, f"var-{language.TRACE}=${{__value.raw}}&{shell.OF_PROCESS}")
    return {
        "Trace": {"links": [{"title": "Show this start", "url": opened}]},
        "Trace Service": {"displayName": "Service", "custom.filterable": True},
        "service.version": {"displayName": "Version", "custom.filterable": True},
        "Duration": {"unit": "ns"},
        **{name: {"displayName": text} for name, text in _BOTTLENECK.items()},
        "otel_perf.bottleneck.share": {"displayName": _BOTTLENECK["otel_perf.bottleneck.share"], "unit": SHARE},
    }


def _one() -> list[Builder[Panel]]:
    return [
        trace(
            "Waterfall",
            "The spans of the trace along one time axis: phases, imports, functions.",
            f"${{{language.TRACE}}}",
            nothing=CHOOSE,
        ),
        flame_of_trace(
            "Flame graph of the start",
            "The same spans packed to the left: how wide a span is says how long it took, not when.",
            language.spans_of_trace(),
            flame.of_trace(),
            nothing=f"{CHOOSE}. Tempo's search sees a start about 10 s after it has arrived",
        ),
        log(
            "Events of the start",
            "What was logged with this trace: exceeded budgets, how the process ended.",
            language.logs_of_trace(),
            nothing=CHOOSE,
        ),
    ]
