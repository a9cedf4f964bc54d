"""The dashboard Profiling: where the time of any range goes, by call path, and what has changed between two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otel_perf.backends.names import series_of

from . import flame as flames
from . import language, shell
from .language import gained, lately, rate
from .panels import PER_SECOND, SECONDS, Asked, chart, flame, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from grafana_foundation_sdk.cog.builder import Builder
    from grafana_foundation_sdk.models.dashboard import Panel

    from otel_perf.budgets import Budget

UID = "otel-perf-profiling"
HISTOGRAM = "otel_perf.function.duration"
NOTHING = "No profiled call in this range: @perf.profile, a phase or an operation makes one"
MOST = 20
SHARES = "Colours compare shares of the whole, not seconds."
AGO = {
    "0s": "the same",
    "5m": "5 min ago",
    "15m": "15 min ago",
    "1h": "1 h ago",
    "6h": "6 h ago",
    "1d": "1 day ago",
    "7d": "7 days ago",
}


def profiling(budgets: Sequence[Budget]) -> dict[str, Any]:
    """Return the dashboard."""
    versions = f"label_values({series_of(language.UPTIME)}{{{language.of_services()}}}, {language.VERSION})"
    rows = {"": [_whole(), *_functions()], "What has changed": [_difference()]}
    return shell.dashboard(
        UID,
        "otel-perf: Profiling",
        "Where the time goes, by call path, and what has changed between two ranges or versions.",
        rows,
        variables=[
            shell.choice(
                "before", "Compared range", "When the range lies that the differential flame graph starts from.", AGO
            ),
            shell.chooser("baseline", "Compared version", versions, description="The versions that it starts from."),
        ],
    )


def _whole() -> Builder[Panel]:
    return flame(
        "Flame graph",
        "Time in profiled functions by call path, in all chosen processes, in the range shown. A call counts when "
        "it has returned. The 500 paths with most self time of each process are told apart, the rest is (other).",
        flames.profile_queries(),
        flames.of_profile(),
        nothing=NOTHING,
    )


def _difference() -> Builder[Panel]:
    return flame(
        "Difference",
        "The range shown, against the compared range and version chosen above: red takes a larger share of the "
        f"time than there, green a smaller one. {SHARES} With nothing chosen both are the same, and all is grey.",
        flames.difference_queries(),
        flames.of_difference(),
        nothing=NOTHING,
    )


def _functions() -> list[Builder[Panel]]:
    own = f"sum by (function) ({gained(flames.SELF)})"
    top = f"topk({MOST}, {own} > 0)"
    among = f"and on (function) {top}"
    return [
        table(
            "Top functions",
            f"The {MOST} functions with most self time in the range shown. The total counts a recursive call each "
            f"time.",
            [
                top,
                f"sum by (function) ({gained(flames.TIME)}) {among}",
                f"sum by (function) ({gained('otel_perf.profile.calls')}) {among}",
            ],
            columns={
                "function": ("Function", ""),
                "Value #A": ("Self", SECONDS),
                "Value #B": ("Total", SECONDS),
                "Value #C": ("Calls", "short"),
            },
            width=10,
            height=12,
            nothing=NOTHING,
        ),
        _durations(),
        chart(
            "Duration of calls, 95th percentile",
            "Of the functions that took most time, all calls together; each point is over the calls since the one "
            "before.",
            Asked(
                f"histogram_quantile(0.95, sum by (function) ({lately(HISTOGRAM)})) and on (function) {_longest()}",
                "{{function}}",
                exemplars=True,
            ),
            unit=SECONDS,
            nothing=NOTHING,
        ),
        chart(
            "Calls per second",
            "Of the functions with most self time.",
            Asked(f"sum by (function) ({rate('otel_perf.profile.calls')}) {among}", "{{function}}"),
            unit=PER_SECOND,
            nothing=NOTHING,
        ),
    ]


def _longest() -> str:
    return f"topk({MOST}, histogram_sum(sum by (function) ({gained(HISTOGRAM)})) > 0)"


def _durations() -> Builder[Panel]:
    each = f"sum by (function) ({gained(HISTOGRAM)})"
    among = f"and on (function) {_longest()}"
    return table(
        "Duration of calls",
        f"Of the {MOST} functions whose calls took most time together, by module and name; phases and operations too.",
        [
            f"histogram_count({each}) {among}",
            f"histogram_avg({each}) {among}",
            f"histogram_quantile(0.5, {each}) {among}",
            f"histogram_quantile(0.95, {each}) {among}",
        ],
        columns={
            "function": ("Function", ""),
            "Value #A": ("Calls", "short"),
            "Value #B": ("Mean", SECONDS),
            "Value #C": ("Median", SECONDS),
            "Value #D": ("95th percentile", SECONDS),
        },
        width=14,
        height=12,
        nothing=NOTHING,
    )
