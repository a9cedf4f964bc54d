"""Whether what a program has in its run folder is in a stack: every point, the spans of its traces, its events."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import Any

from otel_perf.backends.names import prometheus_name

PROFILE = "otel_perf.profile."  # what is sent of it differs from the folder by design: hashed paths, a bounded number
SENT_OF_SYSTEM = {"cpython.gc.collections", "system.cpu.load_average.1m", "system.memory.utilization"}


def labels(point: dict[str, Any]) -> frozenset[tuple[str, str]]:
    """Return what tells a point's series from others of its metric, as Prometheus has it."""
    own = {**point["attributes"], "service.instance.id": point["resource"]["service.instance.id"]}
    return frozenset((key.replace(".", "_"), str(value)) for key, value in own.items())


def is_sent(metric: str) -> bool:
    """Say whether a metric is sent as it is in the folder."""
    return metric in SENT_OF_SYSTEM or not metric.startswith(("system.", "cpython.", PROFILE))


def missing_points(points: list[dict[str, Any]], stack: Any, service: str) -> list[str]:
    """Return what is in a program's folder and not in Prometheus: a series, or a point with its time and value."""
    missing = []
    for metric in sorted({point["metric"] for point in points if is_sent(point["metric"])}):
        of_it = [point for point in points if point["metric"] == metric]
        first = of_it[0]
        name = prometheus_name(metric, first["unit"], first["type"], first["monotonic"])
        stored = stored_samples(stack, f'{name}{{service_name="{service}"}}')
        for point in of_it:
            at = point["point"]["timeUnixNano"] // 10**6
            want = point["point"].get("value", point["point"].get("count"))
            (got,) = [samples.get(at) for key, samples in stored.items() if labels(point) <= key] or [None]
            if got is None or abs(got - want) > 1e-9 * max(1.0, abs(want)):
                missing.append(f"{name} {dict(labels(point))} at {at}: {want}, there is {got}")
    return missing


def assert_points(points: list[dict[str, Any]], stack: Any, service: str, seconds: float = 20) -> None:
    """Wait until all of a program's points are in Prometheus; say which are not."""
    missing: list[str] = []

    def none_missing() -> bool:
        missing[:] = missing_points(points, stack, service)
        return not missing

    with contextlib.suppress(AssertionError):
        stack.wait_for(none_missing, "all points", seconds)
    assert [] == missing


def stored_samples(stack: Any, selector: str) -> dict[frozenset[tuple[str, str]], dict[int, float]]:
    """Return {labels: {milliseconds: value}} of what is stored; of a histogram the count."""
    found: dict[frozenset[tuple[str, str]], dict[int, float]] = {}
    for series in stack.query(f"{selector}[10m]"):
        samples = found.setdefault(frozenset(series["metric"].items()), {})
        samples.update({round(at * 1000): float(value) for at, value in series.get("values", [])})
        samples.update({round(at * 1000): float(value["count"]) for at, value in series.get("histograms", [])})
    return found


def comparable(spans: list[dict[str, Any]]) -> Counter[tuple[Any, ...]]:
    """Return spans without the attributes that only what is sent has; Jaeger makes a span at least 1 ns long."""
    keys = ("name", "trace_id", "span_id", "parent_id", "start")
    return Counter((*(span[key] for key in keys), max(span["end"], span["start"] + 1)) for span in spans)


def told_by(events: list[dict[str, Any]]) -> Counter[tuple[str, str | None]]:
    """Return what events there are, whether of a folder or of a stack."""
    return Counter((event.get("event_name") or event["name"], event.get("trace_id") or None) for event in events)
