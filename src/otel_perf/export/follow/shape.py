"""What a line of MetricsData becomes before it is sent: some metrics, bounded call paths, deltas where asked for.

Imports only: decode, json_values, and the three rooms that do it. Works on the objects of OTLP/JSON, so that every form
in which they are sent has the same. Its state is that of the lines read so far and of nothing else: whoever begins in
the middle of a file reads the lines before.

Reading order: Shaper.line(), then finish().
"""

from __future__ import annotations

from otel_perf.export.decode import parse_line
from otel_perf.export.json_values import UINT64, Skipped, integer, json_objects

from .folding import METRICS, Profiles
from .selection import takes
from .temporality import NO_VALUE, Deltas

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Hashable
    from typing import Any

    from otel_perf.export.endpoint import Target

    Data = dict[str, Any]
    Form = tuple[int, bool]  # temporality, whether it is monotonic
    Series = tuple[int, int, str, str, Form, Hashable]  # resource, scope, kind, name, form, attributes

KINDS = ("gauge", "sum", "histogram", "exponentialHistogram")
MOST = 50_000  # series that are remembered until their process ends
MILLISECOND = 10**6
INSTANCE = "service.instance.id"


class Shaper:
    """The metrics of one process's folder, line by line.

    Attributes:
        skipped: counts what cannot be read.
    """

    def __init__(self, target: Target, skipped: Skipped) -> None:
        self.skipped = skipped
        self._system = target.system_metrics
        self._limit = target.profile_series
        self._deltas = Deltas(target.temporality)
        self._profiles: dict[str, Profiles] = {}  # by the instance
        self._groups: dict[
            str, tuple[int, str, Data]
        ] = {}  # resources that were seen: number, instance, without points
        self._scopes: dict[str, tuple[int, Data]] = {}
        self._series: dict[Series, tuple[str, str, Any]] = {}  # that have a value: name, unit, attributes
        self._time = 0  # of the newest point

    def line(self, line: bytes) -> Data | None:
        """Return what is sent of one line; None if it is damaged."""
        data = parse_line(line, self.skipped)
        if data is None:
            return None
        if "resourceMetrics" not in data and data:
            self.skipped.line("no OTLP metrics")
        for group in json_objects(data, "resourceMetrics", self.skipped):
            where, instance = self._group(group)
            for scoped in json_objects(group, "scopeMetrics", Skipped()):
                self._shape(scoped, where, instance)
        return data

    def finish(self) -> Data | None:
        """Return the last points of a process that has ended: each of its series has no value any more.

        Prometheus makes a stale marker of such a point: the series is gone at once and not in five minutes.
        """
        if not self._series:
            return None
        time = str(self._time + MILLISECOND)
        groups: dict[int, dict[int, dict[Any, Data]]] = {}
        for key, (name, unit, attributes) in self._series.items():
            where, which, kind, _, form, _ = key
            metrics = groups.setdefault(where, {}).setdefault(which, {})
            metric = metrics.setdefault((name, unit, kind, form), {"name": name, "unit": unit, kind: _body(kind, form)})
            metric[kind]["dataPoints"].append({"attributes": attributes, "timeUnixNano": time, "flags": NO_VALUE})
        self._series.clear()
        resources = [head for _, _, head in self._groups.values()]
        scopes = [head for _, head in self._scopes.values()]
        return {
            "resourceMetrics": [
                {
                    **resources[where],
                    "scopeMetrics": [
                        {**scopes[which], "metrics": [*found.values()]} for which, found in inside.items()
                    ],
                }
                for where, inside in groups.items()
            ]
        }

    # --- one line ----------------------------------------------------------------------------------------------------

    def _group(self, group: Data) -> tuple[int, str]:
        """Return the number of a resource, and its instance."""
        head = {key: value for key, value in group.items() if key != "scopeMetrics"}
        known = self._groups.get(text := repr(head))
        if known is None:
            try:
                pairs = {pair["key"]: pair["value"] for pair in head["resource"]["attributes"]}
                instance = str(pairs[INSTANCE]["stringValue"])
            except (KeyError, TypeError):
                instance = ""
            known = self._groups[text] = len(self._groups), instance, head
        return known[:2]

    def _scope(self, scoped: Data) -> int:
        head = {key: value for key, value in scoped.items() if key != "metrics"}
        return self._scopes.setdefault(repr(head), (len(self._scopes), head))[0]

    def _shape(self, scoped: Data, where: int, instance: str) -> None:
        """Shape the metrics of one scope, in place."""
        if not isinstance(scoped.get("metrics"), list):
            return
        which = self._scope(scoped)
        found = []
        for metric in scoped["metrics"]:
            name = metric.get("name") if isinstance(metric, dict) else None
            if isinstance(name, str) and name in METRICS and self._fold(metric, instance):
                continue
            if not isinstance(name, str) or takes(name, self._system):
                found.append(metric)
        profiles = self._profiles.get(instance)
        found += profiles.fold() if profiles is not None else ()
        scoped["metrics"] = [metric for metric in found if self._follow(metric, where, which, instance)]

    def _fold(self, metric: Data, instance: str) -> bool:
        """Take the points of a metric of call paths; say whether it is one."""
        body = metric.get("sum")
        if not isinstance(body, dict) or body.get("aggregationTemporality") != 2 or body.get("isMonotonic") is not True:
            return False
        profiles = self._profiles.get(instance)
        if profiles is None:
            profiles = self._profiles[instance] = Profiles(self._limit)
        number = METRICS[metric["name"]]
        for point in json_objects(body, "dataPoints", self.skipped):
            if not profiles.take(number, point):
                self.skipped.record("sum point without valid numbers")
        return True

    def _follow(self, metric: Any, where: int, which: int, instance: str) -> bool:
        """Remember the series of a metric and make deltas of them; say whether it is sent."""
        kind = next((kind for kind in KINDS if isinstance(metric, dict) and kind in metric), "")
        body = metric[kind] if kind else None
        if not isinstance(body, dict) or not isinstance(body.get("dataPoints"), list):
            return True  # whoever encodes it counts what is wrong with it
        name = str(metric.get("name"))
        delta = self._deltas.wants(name, kind, body)
        left = []
        for point in body["dataPoints"]:
            if isinstance(point, dict):
                key = _key_of(point.get("attributes"))
                if delta:
                    if not self._deltas.step((instance, which, kind, name, key), kind, point):
                        continue
                else:
                    self._remember((where, which, kind, name, _form(body), key), metric, point)
            left.append(point)
        body["dataPoints"] = left
        if delta:
            body["aggregationTemporality"] = 1
        return bool(left)

    def _remember(self, key: Series, metric: Data, point: Data) -> None:
        """Remember that a series has a value, or has it no longer."""
        if point.get("flags") == NO_VALUE:
            self._series.pop(key, None)
            return
        if key not in self._series and len(self._series) < MOST:
            self._series[key] = key[3], str(metric.get("unit", "")), point.get("attributes", [])
        time = integer(point.get("timeUnixNano"), UINT64)
        if time is not None and time > self._time:
            self._time = time


def _form(body: Data) -> Form:
    temporality = body.get("aggregationTemporality")
    return temporality if type(temporality) is int else 0, body.get("isMonotonic") is True


def _body(kind: str, form: Form) -> Data:
    """Return a metric's object as it was, without points."""
    body: Data = {"dataPoints": []}
    if kind != "gauge":
        body["aggregationTemporality"] = form[0]
    if kind == "sum" and form[1]:
        body["isMonotonic"] = True
    return body


def _key_of(pairs: Any) -> Hashable:
    """Return what tells a series from others of its metric."""
    try:
        key = tuple([(pair["key"], *pair["value"].items()) for pair in pairs])
        hash(key)
    except (TypeError, KeyError, AttributeError):  # lists, or no attributes
        return repr(pairs)
    return key
