"""What counters, gauges and timers hold: as OTLP metrics, for budgets, and for the application's own MeterProvider.

Imports only: sys, recorder, export. A program that has none of them does without their room, which is not loaded here.
"""

from __future__ import annotations

import sys

from otel_perf.export.otlp_json import MAX_LINE, double, quote
from otel_perf.recorder import BUCKETS, FOREVER, LOWEST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from .instruments import Distribution, Instrument, Series
    from .offered import Values

MAX_METRIC = MAX_LINE // 2  # characters of points in one metric
FORMS = {  # the kind in OTLP, and what stands before the points there
    "counter": ("sum", '"aggregationTemporality":2,"isMonotonic":true,'),
    "gauge": ("gauge", ""),
    "timer": ("exponentialHistogram", '"aggregationTemporality":2,'),
}
INT64 = 2**63


def _instruments() -> dict[str, Instrument]:
    """Return the instruments by name; none where nobody has asked for one, or another thread just loads their room."""
    return getattr(sys.modules.get(f"{__package__}.instruments"), "by_name", {})


# --- for the worker --------------------------------------------------------------------------------------------------


def instrument_metrics(
    start: int, time: int, changed: list[tuple[Any, Any]] | None = None, until: float = FOREVER
) -> list[str]:
    """Return the OTLP metrics of all series that have changed since the last time, cumulative.

    Args:
        start: nanoseconds since 1970 when counting began, for what we say of ourselves, and for a series that would
            begin after *time* because the clock was set back.
        time: nanoseconds since 1970 now.
        changed: takes objects with what is to be their ``seen`` once this is on disk; noted at once without.
        until: exemplars that are due until then are written, monotonic seconds.
    """
    noted: list[tuple[Any, Any]] = []
    metrics: list[str] = []
    overflowed, refused = [], []
    for instrument in list(_instruments().values()):
        points = _points(instrument, noted, start, time, until)
        metrics += _parts(instrument.name, instrument.unit or "", instrument.description, instrument.word, points)
        overflowed.append(_number(instrument.overflowed, noted, _when(start, start, time)))
        refused.append(_number(instrument.refused, noted, _when(start, start, time)))
    said = "measurements of an instrument that has more series than are kept, beyond these"
    metrics += _parts("otel_perf.self.overflow", "{measurement}", said, "counter", overflowed)
    metrics += _parts(
        "otel_perf.self.refused", "{measurement}", "measurements that were not finite", "counter", refused
    )
    if changed is None:
        for series, seen in noted:
            series.seen = seen
    else:
        changed += noted
    return metrics


def everything_again() -> None:
    """Let the next instrument_metrics() hold all series, whether they have changed or not."""
    for instrument in list(_instruments().values()):
        for series in list(instrument.series.values()):
            series.seen = None
        instrument.overflowed.seen = instrument.refused.seen = 0  # what is 0 goes without saying


def _when(begun: int, start: int, time: int) -> str:
    return f'"startTimeUnixNano":"{begun if begun <= time else min(start, time)}","timeUnixNano":"{time}"'


def _points(instrument: Instrument, changed: list[tuple[Any, Any]], start: int, time: int, until: float) -> list[str]:
    """Return the points of an instrument's series, empty texts for those that have not changed."""
    found = list(instrument.series.values())
    if instrument.word == "gauge":  # its value counts from nowhere
        return [_number(series, changed, f'"timeUnixNano":"{time}"') for series in found]
    if instrument.word == "timer":
        return [_durations(series, changed, _when(series.start, start, time), until) for series in found]
    return [_number(series, changed, _when(series.start, start, time)) for series in found]


def _number(series: Series, changed: list[tuple[Any, Any]], when: str) -> str:
    """Return the point of a number's *series* if it has changed, noted in *changed*; an empty text if not."""
    number = series.value
    if number is None or number == series.seen:
        return ""
    changed.append((series, number))
    whole = type(number) is int and -INT64 <= number < INT64
    shown = f'"asInt":"{number}"' if whole else f'"asDouble":{double(number)}'
    return f'{{"attributes":[{series.text}],{when},{shown}}}'


def _durations(series: Distribution, changed: list[tuple[Any, Any]], when: str, until: float) -> str:
    """Return the point of a timer's *series* as _number() does, also if only its exemplar is new."""
    exemplar = series.slowest.take(until, changed)
    counts, total, low, high = series.histogram[:], series.value, series.low, series.high
    calls = sum(counts)
    if not calls or (calls == series.seen and not exemplar):
        return ""
    changed.append((series, calls))
    used = [index for index in range(1, BUCKETS) if counts[index]]
    buckets = ""
    if used:
        inner = ",".join([f'"{count}"' for count in counts[used[0] : used[-1] + 1]])
        buckets = f',"positive":{{"offset":{used[0] + LOWEST},"bucketCounts":[{inner}]}}'
    return (
        f'{{"attributes":[{series.text}],{when},"count":"{calls}","sum":{double(total)}'
        f',"min":{double(low)},"max":{double(high)},"scale":0,"zeroCount":"{counts[0]}"{buckets}{exemplar}}}'
    )


def _parts(name: str, unit: str, description: str, word: str, points: list[str]) -> list[str]:
    """Return *points* as one metric, or as more of the same name where one would not fit into a line."""
    form, extra = FORMS[word]
    head = f'{{"name":{quote(name)}'
    head += f',"description":{quote(description)}' if description else ""
    head += f',"unit":{quote(unit)},"{form}":{{{extra}"dataPoints":['
    found: list[str] = []
    some: list[str] = []
    length = 0
    for point in points:
        if not point:
            continue
        if length + len(point) > MAX_METRIC and some:
            found.append(f"{head}{','.join(some)}]}}}}")
            some, length = [], 0
        some.append(point)
        length += len(point) + 1
    return [*found, f"{head}{','.join(some)}]}}}}"] if some else found


# --- for budgets -----------------------------------------------------------------------------------------------------


def latest(name: str, selector: Mapping[str, str]) -> float | None:
    """Return what a budget on this instrument judges; None if there is no such value.

    The sum of a counter, the highest of a gauge's values, the longest duration of a timer, over all series that have
    the attributes in *selector*.
    """
    instrument = _instruments().get(name.lower())
    if instrument is None:
        return None
    found = _selected(instrument, selector)
    if instrument.word == "counter":
        return sum([series.value for series in found]) if found else None
    if instrument.word == "timer":
        return max([series.high for series in found if series.low < FOREVER], default=None)
    return max([series.value for series in found if series.value is not None], default=None)


def durations(name: str, selector: Mapping[str, str]) -> tuple[list[int], float, float] | None:
    """Return how many durations of a timer are in each bucket, see recorder.bucket_of(), the shortest, the longest.

    Arguments as for latest(); None if there is none.
    """
    instrument = _instruments().get(name.lower())
    if instrument is None or instrument.word != "timer":
        return None
    found = [series for series in _selected(instrument, selector) if series.low < FOREVER]
    if not found:
        return None
    counts = [sum(column) for column in zip(*[series.histogram[:] for series in found], strict=True)]
    return counts, min([series.low for series in found]), max([series.high for series in found])


def _selected(instrument: Instrument, selector: Mapping[str, str]) -> list[Any]:
    """Return the series that have the attributes in *selector*, whose values are text as in a budget."""
    wanted = []
    for key, item in selector.items():
        start, text = f'{{"key":{quote(key)},"value":{{', quote(item)
        kinds = f'"stringValue":{text}', f'"intValue":{text}', f'"doubleValue":{item}', f'"boolValue":{item.lower()}'
        wanted.append([f"{start}{kind}}}}}" for kind in kinds])
    return [
        series
        for series in list(instrument.series.values())
        if all(any(form in series.text for form in forms) for forms in wanted)
    ]


# --- for the application's own MeterProvider -------------------------------------------------------------------------


def observable() -> dict[str, tuple[str, str]]:
    """Return the counters and gauges by name, with kind and unit; a timer's distribution cannot be observed."""
    found = [one for one in list(_instruments().values()) if one.word != "timer"]
    return {one.name: (FORMS[one.word][0], one.unit or "") for one in found}


def observed(name: str) -> Values:
    """Return the values of a counter's or gauge's series, each with its attributes."""
    import json

    from otel_perf.export.json_values import Skipped
    from otel_perf.export.json_values import attributes as parse

    instrument = _instruments().get(name.lower())
    found = [] if instrument is None else list(instrument.series.values())
    return [
        (series.value, parse(json.loads(f"[{series.text}]"), Skipped())) for series in found if series.value is not None
    ]
