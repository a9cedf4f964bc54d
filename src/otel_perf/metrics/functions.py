"""Statistics of functions and call paths as OTLP metrics.

Imports only: recorder, export. Every point is cumulative; a line holds what changed since the line before, so that the
last point of a series is its value.
"""

from __future__ import annotations

from otel_perf.export.otlp_json import MAX_LINE, attributes, double, metric_text
from otel_perf.recorder import BUCKETS, LOWEST, N_CHILDREN, N_PATH, N_TOTAL, OVERFLOW, nodes, snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from otel_perf.recorder import Node, Path

    from .exemplars import OfFunctions

MAX_METRIC = MAX_LINE // 2  # characters of points in one metric
_OVERFLOW = {"otel.metric.overflow": True}


class Series:
    """Statistics of one function over all its call paths.

    Attributes:
        calls: every call.
        total: seconds; a call inside a call of the same function is part of the outer one's.
        shortest: seconds of the fastest call.
        longest: seconds of the slowest call.
        histogram: calls by bucket, see recorder.bucket_of().
    """

    __slots__ = ("calls", "changed", "histogram", "longest", "shortest", "total")

    def __init__(self) -> None:
        self.calls = 0
        self.total = 0.0
        self.shortest = float("inf")
        self.longest = 0.0
        self.histogram = [0] * BUCKETS
        self.changed = False

    def add(self, path: Path, calls: int, total: float, histogram: list[int], outermost: bool) -> None:
        """Add one call path's statistics."""
        self.calls += calls
        if outermost:
            self.total += total
        self.shortest = min(self.shortest, path.min)
        self.longest = max(self.longest, path.max)
        self.histogram = [a + b for a, b in zip(self.histogram, histogram, strict=True)]


def function_metrics(
    start: int,
    time: int,
    seen: list[tuple[Any, Any]] | None = None,
    exemplars: OfFunctions | None = None,
    until: float = float("inf"),
) -> list[str]:
    """Return the OTLP metrics of all functions and call paths that were called since the last time.

    Args:
        start: nanoseconds since 1970 when counting began.
        time: nanoseconds since 1970 now.
        seen: takes call paths and exemplars with what is to be their ``seen`` once this is on disk; noted at once
            without.
        exemplars: of the functions; one that waits is written, whether its function was called again or not,
        until: if it is due until then, monotonic seconds.
    """
    series: dict[tuple[str, str], Series] = {}
    rows: dict[str, list[Any]] = {}  # by attributes: changed, calls, time, self time; a function defined again adds up
    noted: list[tuple[Any, Any]] = []
    shallow = {node[N_PATH].site for node in nodes if not node[N_PATH].overflow}
    for node in list(nodes):
        path: Path = node[N_PATH]
        calls, total, histogram = snapshot(node)
        if not calls:
            continue
        changed = calls != path.seen
        noted.append((path, calls))
        deep = path.overflow == "deep" and path.site in shallow  # part of the recursion that went too deep for the tree
        one = series.setdefault((path.site.series, path.site.kind), Series())
        one.add(path, calls, total, histogram, not deep and not _inside_itself(path))
        one.changed = one.changed or changed
        row = rows.setdefault(path.text or _describe(path), [False, 0, 0.0, 0.0])
        row[0] = row[0] or changed
        row[1] += calls
        row[2] += 0.0 if deep else total
        row[3] += _self_time(node, total)
    points = []
    for (name, kind), one in series.items():
        exemplar = exemplars.take(name, kind, until, noted) if exemplars is not None else ""
        if one.changed or exemplar:
            points.append(_histogram_point(name, kind, one, start, time, exemplar))
    if seen is None:
        for item, value in noted:
            item.seen = value
    else:
        seen += noted
    durations = _metrics("otel_perf.function.duration", "s", "exponentialHistogram", points, monotonic=False)
    return [*durations, *_path_metrics(rows, f'"startTimeUnixNano":"{start}","timeUnixNano":"{time}"')]


def _inside_itself(path: Path) -> bool:
    parent = path.parent
    while parent is not None:
        above: Path = parent[N_PATH]
        if above.site.series == path.site.series and above.site.kind == path.site.kind:
            return True
        parent = above.parent
    return False


def _self_time(node: Node, total: float) -> float:
    """Return the self time of *node*, which never falls: children of a call in progress count before the call does."""
    path: Path = node[N_PATH]
    if not path.overflow:  # below the cap a path's time stays its last ancestor's own
        children = sum([child[N_TOTAL] for child in list(node[N_CHILDREN].values())])
        path.own = max(path.own, total - children + path.overlap)
    return path.own


def _path_metrics(rows: dict[str, list[Any]], when: str) -> list[str]:
    calls_points, time_points, self_points = [], [], []
    for key, (changed, calls, total, own) in rows.items():
        if changed:
            point = f'{{"attributes":[{key}],{when}'
            calls_points.append(f'{point},"asInt":"{calls}"}}')
            time_points.append(f'{point},"asDouble":{double(total)}}}')
            self_points.append(f'{point},"asDouble":{double(own)}}}')
    return [
        *_metrics("otel_perf.profile.calls", "{call}", "sum", calls_points),
        *_metrics("otel_perf.profile.time", "s", "sum", time_points),
        *_metrics("otel_perf.profile.self_time", "s", "sum", self_points),
    ]


def _describe(path: Path) -> str:
    """Return the attributes of *path*, which it keeps."""
    fields: dict[str, Any] = {"path": _path_text(path), "function": path.site.series, "depth": path.depth}
    if path.overflow or path.site is OVERFLOW:
        fields.update(_OVERFLOW)
    path.text = attributes(fields)
    return path.text


def _path_text(path: Path) -> str:
    names = [path.site.name]
    parent = path.parent
    while parent is not None:
        names.append(parent[N_PATH].site.name)
        parent = parent[N_PATH].parent
    if path.overflow:  # not the path of a call at the top
        names.append(OVERFLOW.name)
    return ";".join([name.replace(";", ":") for name in reversed(names)])


def _histogram_point(name: str, kind: str, one: Series, start: int, time: int, exemplar: str) -> str:
    zeros = one.histogram[0]
    used = [index for index in range(1, BUCKETS) if one.histogram[index]]
    buckets = ""
    if used:
        counts = one.histogram[used[0] : used[-1] + 1]
        inner = ",".join([f'"{count}"' for count in counts])
        buckets = f',"positive":{{"offset":{used[0] + LOWEST},"bucketCounts":[{inner}]}}'
    fields: dict[str, Any] = {"function": name, "kind": kind}
    if name == OVERFLOW.series:
        fields.update(_OVERFLOW)
    return (
        f'{{"attributes":[{attributes(fields)}],"startTimeUnixNano":"{start}","timeUnixNano":"{time}"'
        f',"count":"{one.calls}","sum":{double(one.total)},"min":{double(one.shortest)},"max":{double(one.longest)}'
        f',"scale":0,"zeroCount":"{zeros}"{buckets}{exemplar}}}'
    )


def _metrics(name: str, unit: str, kind: str, points: list[str], monotonic: bool = True) -> list[str]:
    """Return *points* as one metric, or as more of the same name where one would not fit into a line; none of none."""
    if not points:
        return []
    found: list[str] = []
    first = length = 0
    for index, point in enumerate(points):
        if length + len(point) > MAX_METRIC and index > first:
            found.append(metric_text(name, unit, kind, points[first:index], monotonic))
            first, length = index, 0
        length += len(point) + 1
    return [*found, metric_text(name, unit, kind, points[first:], monotonic)]
