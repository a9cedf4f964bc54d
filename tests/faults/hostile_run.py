"""A run folder in which every text is hostile: what a terminal obeys, markup, paths that lead out, and lies.

``write(folder, shift)`` makes one; *shift* says which field gets which text, so that a few runs try all of them.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

TEXTS = [
    "\x1b[2J\x1b[31mred", "\x9b31mC1", "\u202egnp.exe", "../../../../../../tmp/otel-perf-pwned", "/etc/passwd",
    "<script>alert(1)</script>", "a|b`c`*d*[e](javascript:f)![g](h)", "two\nlines\r\n::error::x", "%s%n{0}{a.b}", "nul\0nul",
    "\x1b]0;title\x07", "$(touch otel-perf-pwned)`touch otel-perf-pwned`", "n" * 5_000, "\ud800lone", "\u2028;\t;", "-" * 40,
    "</details></code></script>", "a;b 12", "=cmd|' /C calc'!A0", "", " ", "é中👩\u200d💻\ufeff",
]  # fmt: skip
START = 1_795_000_000_000_000_000
DAMAGE = '{"resourceSpans":[{"\x1b[31m\n'  # which is counted, and its file named
FOLDERS = ("\x1b[2J$(touch pwned)", "..\\..\\<b>", "two\nlines", "x" * 200)  # names of a run and of its processes


class Texts:
    """Gives one hostile text after the other."""

    def __init__(self, shift: int) -> None:
        self._next = itertools.cycle(TEXTS[shift:] + TEXTS[:shift])

    def __call__(self) -> str:
        return next(self._next)


def write(base: Path, shift: int = 0) -> Path:
    """Write a run with two processes into the folder *base* and return it."""
    text = Texts(shift)
    run = base / FOLDERS[shift % len(FOLDERS)]
    for number in (0, 1):
        process = run / FOLDERS[(shift + 1 + number) % len(FOLDERS)]
        process.mkdir(parents=True)
        for name, lines in files(text).items():
            content = "".join(json.dumps(line) + "\n" for line in lines) + DAMAGE
            (process / name).write_text(content, encoding="utf-8", errors="surrogatepass")
    return run


def files(text: Texts) -> dict[str, list[Any]]:
    resource = {"attributes": [attribute(key, text()) for key in RESOURCE]}
    scope = {"name": "otel_perf", "version": text()}
    other = {"name": text(), "version": text()}
    return {
        "traces.jsonl": [
            {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": scope, "spans": spans(text)}]}]},
            {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": other, "spans": [span(text, text(), 900, 950, 40, 1, "")]}]}]},
        ],
        "metrics.jsonl": [
            {"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"scope": scope, "metrics": metrics(text)}]}]}
        ],
        "logs.jsonl": [{"resourceLogs": [{"resource": resource, "scopeLogs": [{"scope": scope, "logRecords": logs(text)}]}]}],
        "open.json": [unfinished(text)],
        "sent.json": [{"version": 1, "files": {text(): {text(): text()}, "traces.jsonl": {"offset": text(), "records": text()}}}],
    }  # fmt: skip


RESOURCE = (
    "service.name", "service.version", "service.instance.id", "process.runtime.name", "process.runtime.version",
    "process.command", "process.executable.path", "os.type", "os.version", "host.name", "host.arch", "otel_perf.provider",
    "telemetry.distro.version", "deployment.environment",
)  # fmt: skip
SPOKEN = (
    "otel_perf.ready", "otel_perf.end", "otel_perf.module", "code.function.name", "code.file.path", "otel_perf.provider",
    "otel_perf.startup.bottleneck", "otel_perf.signal", "exception.type", "exception.message", "thread.name",
    "otel_perf.startup.problems", "otel_perf.startup.phase", "http.route",
)  # fmt: skip


def attribute(key: str, value: str) -> dict[str, Any]:
    return {"key": key, "value": {"stringValue": value}}


def span(text: Texts, name: str, start: int, end: int, id: int, parent: int, kind: str) -> dict[str, Any]:
    return {
        "traceId": f"{1:032x}",
        "spanId": f"{id:016x}",
        "parentSpanId": f"{parent:016x}",
        "name": name,
        "startTimeUnixNano": str(START + start * 1_000_000),
        "endTimeUnixNano": str(START + end * 1_000_000),
        "attributes": [
            attribute("otel_perf.kind", kind),
            *(attribute(key, text()) for key in SPOKEN),
            {"key": "code.line.number", "value": {"intValue": "7"}},
            {"key": "otel_perf.self_time", "value": {"doubleValue": (end - start) / 1e4}},
            {"key": text(), "value": {"stringValue": text()}},
        ],
        "status": {"code": 2, "message": text()},
        "events": [
            {"name": "exception", "attributes": [attribute(key, text()) for key in ("exception.type", "exception.message")]},
            {"name": text(), "attributes": [attribute(text(), text())]},
        ],
        "links": [{"traceId": f"{2:032x}", "spanId": f"{id:016x}", "attributes": [attribute(text(), text())]}],
    }  # fmt: skip


def spans(text: Texts) -> list[dict[str, Any]]:
    kinds = ["phase"] * 4 + ["import"] * 6 + ["function"] * 8 + ["operation"] * 4 + [""] * 4
    found = []
    for number, kind in enumerate(kinds):
        name = f"import {text()}" if kind == "import" else text()
        parent = 1 if kind == "phase" else 2 + number % 4
        found.append(span(text, name, number * 30, number * 30 + 400 - number, number + 2, parent, kind))
    return [*found, span(text, "startup", 0, 5000, 1, 0, "startup")]


def metrics(text: Texts) -> list[dict[str, Any]]:
    def points(*keys: str, **point: Any) -> dict[str, Any]:
        times = [{"timeUnixNano": str(START + second * 10**9)} for second in range(3)]
        attributes = [attribute(key, text()) for key in keys]
        return {
            "aggregationTemporality": 2,
            "dataPoints": [{**time, "attributes": attributes, **point} for time in times],
        }

    histogram = {"count": "3", "sum": 0.5, "min": 0.1, "max": 0.3, "positive": {"bucketCounts": ["3"]}}
    return [
        {
            "name": "otel_perf.function.duration",
            "unit": "s",
            "exponentialHistogram": points("function", "kind", **histogram),
        },
        {"name": "otel_perf.profile.self_time", "unit": "s", "sum": points("path", "function", asDouble=1.0)},
        {"name": "otel_perf.profile.calls", "unit": text(), "sum": points("path", "function", asInt="3")},
        {"name": "otel_perf.budget.state", "unit": "1", "gauge": points("budget", asInt="2")},
        {"name": "otel_perf.budget.value", "unit": text(), "gauge": points("budget", asDouble=9.0)},
        {"name": "otel_perf.budget.limit", "unit": text(), "gauge": points("budget", asDouble=1.0)},
        {"name": "otel_perf.startup.phase.duration", "unit": "s", "gauge": points("phase", asDouble=1.0)},
        {"name": "process.memory.usage", "unit": "By", "sum": points(text(), asInt="99")},
        {"name": "otel_perf.score", "unit": "{score}", "gauge": points(asDouble=12.0)},
        {"name": text(), "unit": text(), "gauge": points(text(), text(), asDouble=1.0)},
        {"name": text(), "unit": text(), "exponentialHistogram": points(text(), **histogram)},
    ]


def logs(text: Texts) -> list[dict[str, Any]]:
    events = [
        "otel_perf.process.ended", "otel_perf.startup.completed", "otel_perf.startup.died", "otel_perf.budget.exceeded",
        "otel_perf.budget.escalated", "otel_perf.budget.resolved", "otel_perf.metric.absent", text(),
    ]  # fmt: skip
    keys = (
        "otel_perf.end", "otel_perf.signal", "otel_perf.startup.phase", "otel_perf.startup.died.phase", "budget", "severity",
        "metric", "unit", "otel_perf.budget", "otel_perf.budget.metric", "otel_perf.budget.limit", "otel_perf.budget.value",
        "exception.type", "exception.message", "exception.stacktrace", "event.name",
    )  # fmt: skip
    return [
        {
            "timeUnixNano": str(START + number * 10**9),
            "severityNumber": 17,
            "severityText": text(),
            "eventName": name,
            "body": {"stringValue": text()},
            "attributes": [attribute(key, text()) for key in keys],
            "traceId": f"{1:032x}",
            "spanId": f"{1:016x}",
        }
        for number, name in enumerate(events)
    ]


def unfinished(text: Texts) -> dict[str, Any]:
    entry = {"path": [text(), text(), 7], "kind": text(), "since": str(START), "file": text(), "line": 12}
    return {"version": 1, "written": str(START), "open": [entry, {**entry, "path": [text()]}, text(), None]}
