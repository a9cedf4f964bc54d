"""The transformations that make of a query's answer what the flame graph panel reads, and the queries for them.

The panel reads the real names of fields, not those shown: ``level``, ``value``, ``self`` and ``label``, and for a
difference ``valueRight`` and ``selfRight``; only of the first series; rows depth first, exactly one of them on level 0,
and that one first. Reading order: of_profile(), of_difference(), of_trace(), each with its queries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import language

if TYPE_CHECKING:
    from collections.abc import Callable

Transformation = tuple[str, dict[str, Any]]  # its id, and its options

TIME, SELF = "otel_perf.profile.time", "otel_perf.profile.self_time"
NANOSECONDS = "1e9"  # in a second: of the unit "s" the panel says "Count"
ALL = "all"  # the root row's function; its path, "0", comes before every other


def now(name: str, *more: str) -> str:
    """Return what the counters *name* of a profile have gained in the range shown."""
    return language.gained(name, *more)


def before(name: str, *more: str) -> str:
    """Return what they have gained in the range, and of the versions, that this is compared with."""
    return language.shifted(language.gained(name, *more, version="baseline"), "before")


def total(when: Callable[..., str]) -> str:
    """Return the rows of a profile in nanoseconds, with a root row for all that is called from the top."""
    rows = f"sum by (path, function, depth) ({when(TIME)})"
    root = f"sum({when(TIME, 'depth=`0`')})"
    for name, value in (("path", "0"), ("function", ALL), ("depth", "-1")):
        root = f'label_replace({root}, "{name}", "{value}", "", "")'
    return f"{NANOSECONDS} * ({rows} or {root})"


def own(when: Callable[..., str]) -> str:
    """Return the self time of each path of a profile in nanoseconds."""
    return f"{NANOSECONDS} * sum by (path) ({when(SELF)})"


def profile_queries() -> list[str]:
    """Return the PromQL of A, total time, and B, self time, by path in the range shown."""
    return [total(now), own(now)]


def difference_queries() -> list[str]:
    """Return the PromQL of A and B, the baseline, and C and D, the range shown: total and self time by path.

    A has a row for each path of C too: outside the baseline such a path has taken no time.
    """
    both = f"{total(before)} or 0 * ({total(now)})"
    return [both, own(before), f"sum by (path) ({total(now)})", own(now)]


def of_profile() -> list[Transformation]:
    """Return how A and B become a flame graph."""
    return [*_joined(), *_named(("value", "Value #A"), ("self", "Value #B"))]


def of_difference() -> list[Transformation]:
    """Return how A and B, C and D become a differential flame graph; its colours compare shares of the whole."""
    fields = (("value", "Value #A"), ("self", "Value #B"), ("valueRight", "Value #C"), ("selfRight", "Value #D"))
    return [*_joined(), *_named(*fields)]


def of_trace() -> list[Transformation]:
    """Return how the spans of a trace become a flame graph.

    Spans without an order are not of a start. They are left out, and so is what would be a second root, a span whose
    parent is missing: with two the panel fails.
    """
    numbers = ("otel_perf.depth", "otel_perf.order", "otel_perf.self_ns")
    return [
        without("any", ("otel_perf.order", "isNull", {}), ("otel_perf.depth", "isNull", {})),
        _converted("number", *numbers),  # which makes a 0 of what is missing, so after it is left out
        without("all", ("otel_perf.depth", "equal", {"value": 0}), ("otel_perf.order", "greater", {"value": 0})),
        _sorted("otel_perf.order"),
        _reduced("level", "otel_perf.depth", "sum"),
        _reduced("value", "Duration", "sum"),
        _reduced("self", "otel_perf.self_ns", "sum"),
        *_label("Name"),
    ]


def without(match: str, *filters: tuple[str, str, dict[str, Any]]) -> Transformation:
    """Return how the rows are left out of which *match*, any or all, of the filters (field, test, options) are true."""
    listed = [{"fieldName": name, "config": {"id": test, "options": options}} for name, test, options in filters]
    return "filterByValue", {"type": "exclude", "match": match, "filters": listed}


def _joined() -> list[Transformation]:
    """Return how tables are joined by path, sorted by it, and given a level: the root's depth is −1."""
    one_more = {
        "left": {"matcher": {"id": "byName", "options": "depth"}},
        "operator": "+",
        "right": {"fixed": "1"},
    }
    return [
        ("joinByField", {"byField": "path", "mode": "outer"}),
        _converted("number", "depth"),
        _sorted("path"),
        ("calculateField", {**_field("level"), "mode": "binary", "binary": one_more}),
    ]


def _named(*fields: tuple[str, str]) -> list[Transformation]:
    numbers = [_reduced(name, source, "sum") for name, source in fields]
    return [*numbers, *_label("function", *(name for name, _ in fields if name.endswith("Right")))]


def _label(source: str, *more: str) -> list[Transformation]:
    """Return how *source* becomes the label, and all fields but those of the panel, and *more*, are left out."""
    kept = ["level", "value", "self", "label", *more]
    return [
        _reduced("label", source, "lastNotNull"),
        _converted("string", "label"),
        ("filterFieldsByName", {"include": {"names": kept}}),
    ]


def _reduced(name: str, source: str, reducer: str) -> Transformation:
    """Return how a field gets another name: as the calculation of one field, which is what names are taken from."""
    reduce = {"reducer": reducer, "include": [source]}
    if reducer == "sum":
        reduce["nullValueMode"] = "null as zero"
    return "calculateField", {**_field(name), "mode": "reduceRow", "reduce": reduce}


def _field(name: str) -> dict[str, Any]:
    return {"timeSeries": False, "alias": name, "replaceFields": False}


def _converted(kind: str, *fields: str) -> Transformation:
    conversions = [{"targetField": field, "destinationType": kind} for field in fields]
    return "convertFieldType", {"fields": {}, "conversions": conversions}


def _sorted(field: str) -> Transformation:
    return "sortBy", {"fields": {}, "sort": [{"field": field, "desc": False}]}
