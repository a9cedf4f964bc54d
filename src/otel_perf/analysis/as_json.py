"""The report of one process as a JSON object, for other programs: docs/report-schema.md describes every key.

Within one version of SCHEMA keys are added, never renamed, removed or given another meaning. Times are seconds, sizes
bytes, shares 0 to 1; what is unknown is null.

Reading order: report_object(), start_objects(), then one function for each of its larger parts.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from otel_perf.alerts import STATES
from otel_perf.budgets import VALUE
from otel_perf.metrics.wholes import CPU_LIMIT, CPUS, MEMORY, MEMORY_LIMIT, USABLE, whole_of
from otel_perf.score import Score

from .advice import explain
from .ending import ending_of
from .functions import cost_of, functions_of, hot_paths, lost_of
from .model import number_of, text_of
from .sampled import course_of, rows_of
from .standing import RunScore, definitions_of, end_of, score_of_run, unit_of
from .startup import build_start, gaps, imports_of, length, verdict_of, walk
from .validation import findings

if TYPE_CHECKING:
    from typing import Any

    from otel_perf.budgets import Budget

    from .advice import Explanation
    from .model import Node, Process
    from .record import Episode
    from .sampled import Row
    from .startup import Start

SCHEMA = "otel-perf/report/1"
PARTS = 30  # of the time, for the course of a metric
INFERRED = ("listen", "idle", "main")  # rules that nobody asked for


def report_object(process: Process, of_start: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the report of *process* as an object of plain JSON values.

    Args:
        process: as it was read.
        of_start: what start_objects() gave, for whoever has it already.
    """
    of_start = start_objects(process) if of_start is None else of_start
    resource = process.resource
    cost = cost_of(process)
    return {
        "schema": SCHEMA,
        "run": process.run,
        "process": process.name,
        "other_processes": list(process.others),
        "service": {"name": process.service, "version": process.version or None},
        "python": text_of(resource, "process.runtime.version") or None,
        "platform": {
            "os": text_of(resource, "os.type") or None,
            "architecture": text_of(resource, "host.arch") or None,
            "cpus": number_of(resource, CPUS),
            "usable_cpus": number_of(resource, USABLE),
            "container_cpus": number_of(resource, CPU_LIMIT),
            "memory_bytes": number_of(resource, MEMORY),
            "container_memory_bytes": number_of(resource, MEMORY_LIMIT),
        },
        "start": of_start["start"],
        "findings": of_start["findings"],
        "ended": _ended(process),
        "functions": [
            {
                "name": row.function,
                "kind": row.kind,
                "calls": row.calls,
                "only_slow_calls": row.spans_only,
                "total_seconds": row.total,
                "self_seconds": row.self_time,
                "min_seconds": row.min,
                "max_seconds": row.max,
                "p50_seconds": row.percentiles[0],
                "p95_seconds": row.percentiles[1],
                "p99_seconds": row.percentiles[2],
                "percentiles_exact": row.exact,
                "parallel": row.parallel,
            }
            for row in functions_of(process)
        ],
        "hot_paths": [
            {"path": list(hot.path), "self_seconds": hot.self_time, "total_seconds": hot.total, "calls": hot.calls}
            for hot in hot_paths(process)
        ],
        "after_start": {
            "spans": process.after.spans,
            "slowest": [_late(process, node) for node in process.after.slowest],
            "imports": [
                {"module": node.module, **_late(process, node), "file": node.file or None, "line": node.line or None}
                for node in process.after.imports
            ],
        },
        "score": _score(process),
        "budgets": [_budget(process, one) for one in definitions_of(process).values()],
        "alerts": [_alert(process, one) for one in process.record.alerts],
        "alerts_before": process.record.left_out,
        "metrics": [_metric(process, row) for row in rows_of(process)],
        "cost": {
            "init_seconds": cost.init,
            "cpu_seconds": cost.cpu,
            "memory_bytes": cost.memory,
            "dropped_records": cost.dropped,
            "removed_records": cost.removed,
            "lost": [
                {"instrument": name, "beyond_series": beyond, "refused": refused}
                for name, beyond, refused in lost_of(process)
            ],
        },
    }


def start_objects(process: Process, explained: tuple[Start, Explanation] | None = None) -> dict[str, Any]:
    """Return the report's keys of the start alone: of a long start they are nearly all of the work.

    Args:
        process: as it was read.
        explained: its start and what explain() gave of that, for whoever has it already.
    """
    found = findings(process)
    if explained is None and (start := build_start(process)) is not None:
        explained = start, explain(process, start)
    return {
        "start": None if explained is None else _start(process, *explained),
        "findings": [{"kind": one.kind, "severity": one.severity, "message": one.message} for one in found],
    }


def _start(process: Process, start: Start, explanation: Explanation) -> dict[str, Any]:
    verdict = verdict_of(start)
    attributes = process.root_attributes
    cold = attributes.get("otel_perf.startup.cold")
    return {
        "began": _moment(start.root.start),
        "complete": start.recorded and process.root is not None,
        "seconds": max(start.root.duration, start.lasts),
        "budget": {
            "state": verdict.state,
            "limit_seconds": verdict.limit,
            "why_unknown": (verdict.cause or None) if verdict.state == "unknown" else None,
            "last_known": list(verdict.where),
        },
        "ready": {
            "rule": start.ready or None,
            "inferred": start.ready in INFERRED,
            "asked_for": start.ready_when or None,
        },
        "usable_seconds": process.usable,
        "cold": {
            "causes": [one for one in cold if isinstance(one, str)] if isinstance(cold, list) else [],
            "compiled_modules": _whole(attributes, "otel_perf.startup.compiled"),
            "page_faults": _whole(attributes, "otel_perf.startup.page_faults"),
            "disk_read_bytes": _whole(attributes, "otel_perf.disk_read"),
        },
        "cpu_seconds": number_of(attributes, "otel_perf.cpu_time"),
        "gc_seconds": number_of(attributes, "otel_perf.gc_time"),
        "phases": _phases(start, explanation),
        "bottlenecks": [
            {
                "name": one.group.name,
                "kind": one.group.kind,
                "seconds": one.group.seconds,
                "share": one.group.share,
                "reason": one.group.reason or None,
                "why": one.why or None,
                "file": one.file or None,
                "line": one.line or None,
                "calls": len(one.group.heads),
                "parts": dict(one.group.parts),
            }
            for one in explanation.bottlenecks
        ],
        "recommendations": [
            {
                "text": one.text,
                "saving_seconds": one.saving,
                "reason": one.reason,
                "file": one.file or None,
                "line": one.line or None,
            }
            for one in explanation.recommendations
        ],
        "critical_path": [
            {"name": step.name, "kind": step.kind, "from_seconds": begin, "to_seconds": end}
            for step, begin, end in explanation.path
        ],
        "off_the_path": [
            {"name": step.name, "kind": step.kind, "seconds": step.duration, "slack_seconds": step.slack}
            for step in explanation.steps.values()
            if not step.on_path and step.home is not None and step.home.on_path
        ],
        "imports": _imports(start),
    }


def _phases(start: Start, explanation: Explanation) -> list[dict[str, Any]]:
    """Return the phases in the order in which they began; nested ones carry the name of the phase around them."""
    found = []
    waiting: list[tuple[Node, str | None]] = [(top, None) for top in reversed(start.tops())]
    while waiting:
        node, inside = waiting.pop()
        if node.kind == "phase":
            step = explanation.steps.get(id(node))
            found.append(
                {
                    "name": node.name,
                    "inside": inside,
                    "began_seconds": (node.start - start.root.start) / 1e9,
                    "seconds": node.duration,
                    "share": node.duration / start.root.duration if start.root.duration else None,
                    "self_seconds": length(gaps(node)) / 1e9 if node.self_time is None else node.self_time,
                    "on_critical_path": None if step is None else step.on_path,
                    "cpu_seconds": number_of(node.facts, "otel_perf.cpu_time"),
                    "open": "open" in node.marks,
                    "error": node.error,
                    "file": node.file or None,
                    "line": node.line or None,
                }
            )
            inside = node.name
        waiting.extend((child, inside) for child in reversed(node.children))
    return found


def _imports(start: Start) -> dict[str, Any]:
    imports = imports_of(start)
    first: dict[str, Node] = {}
    for top in start.tops():
        for node in walk(top):
            if node.kind == "import":
                first.setdefault(node.module, node)
    return {
        "seconds": imports.seconds,
        "recorded": imports.count,
        "seen": start.imports_seen or None,
        "modules_before_init": start.modules_before or None,
        "by_phase": [{"phase": name, "seconds": seconds, "share": part} for name, seconds, part in imports.by_phase],
        "modules": [
            {
                "module": row.module,
                "self_seconds": row.self_time,
                "total_seconds": row.total,
                "phase": row.phase or None,
                "file": first[row.module].file or None,
                "line": first[row.module].line or None,
            }
            for row in imports.rows
        ],
        "failed": [
            {"module": one.module, "times": one.times, "seconds": one.seconds, "error": one.error or None}
            for one in imports.failed
        ],
    }


def _ended(process: Process) -> dict[str, Any] | None:
    ending = ending_of(process)
    if ending is None:
        return None
    return {
        "state": ending.state,
        "exit_code": ending.exit_code,
        "signal": ending.signal or None,
        "exception": ending.exception or None,
        "message": ending.message or None,
        "core": ending.core,
        "out_of_memory": ending.out_of_memory,
        "phase": ending.phase or None,
        "import": ending.module or None,
        "file": ending.file or None,
        "line": ending.line or None,
        "last_record_seconds": ending.after,
        "unfinished": [
            {
                "path": list(one.path),
                "kind": one.kind,
                "began": _moment(one.since),
                "file": one.file or None,
                "line": one.line or None,
            }
            for one in process.unfinished
        ],
    }


def _score(process: Process) -> dict[str, Any]:
    found = score_of_run(process) or RunScore(Score(None, [], 0, 0), None, explained=True)
    score = found.score
    return {
        "points": score.points,
        "lowest_points": found.lowest,
        "judged": score.judged,
        "unknown": score.unknown,
        "reasons": [
            {"budget": one.budget, "points": one.points if found.explained else None, "text": one.text}
            for one in score.reasons
        ],
    }


def _budget(process: Process, budget: Budget) -> dict[str, Any]:
    kept = process.record.budgets[budget.name]
    state = "gone" if process.record.is_gone(budget.name) else STATES.get(-1 if kept.state is None else kept.state)
    return {
        "name": kept.name,
        "metric": None if budget.instrument == VALUE else budget.metric,
        "unit": unit_of(budget, kept) or None,
        "of": whole_of(budget.instrument, process.resource).removeprefix("of ") or None,
        "state": state or "unknown",
        "value": kept.now,
        "limit": kept.limit,
        "was_exceeded": kept.exceeded,
    }


def _alert(process: Process, alert: Episode) -> dict[str, Any]:
    return {
        "budget": alert.budget,
        "metric": alert.metric or None,
        "unit": alert.unit or None,
        "severity": alert.severity,
        "escalated": alert.escalated,
        "since": _moment(alert.since),
        "seconds": process.record.lasted(alert),
        "ended": None if alert.ended is None else _moment(alert.ended),
        "end": end_of(process, alert),
        "value": alert.value,
        "peak": process.record.peak(alert),
        "limit": alert.limit,
        "running": alert.running or None,
        "trace_id": alert.trace_id or None,
        "span_id": alert.span_id or None,
        "text": alert.text or None,
    }


def _metric(process: Process, row: Row) -> dict[str, Any]:
    series, trend = row.series, row.trend
    return {
        "name": series.name,
        "unit": series.unit or None,
        "of": row.whole.removeprefix("of ") or None,
        "samples": series.count,
        "since": _moment(series.first),
        "seconds": series.seconds,
        "min": series.low,
        "avg": series.average,
        "max": series.high,
        "last": series.last,
        "course": course_of(series, process, PARTS),
        "limits": [{"budget": one.name, "limit": one.max} for one in row.limits],
        "slope_per_second": None if trend is None else trend.slope,
        "least_slope_per_second": None if trend is None else trend.low,
        "most_slope_per_second": None if trend is None else trend.high,
        "reaches": [
            {"budget": budget.name, "limit": budget.max, "in_seconds": when, "plus_minus_seconds": error}
            for budget, when, error in row.heads_for()
        ],
    }


def _late(process: Process, node: Node) -> dict[str, Any]:
    since = process.root.end if process.root is not None else None
    return {
        "name": node.name,
        "kind": node.kind,
        "seconds": node.duration,
        "after_ready_seconds": None if since is None else (node.start - since) / 1e9,
        "error": node.error,
    }


def _whole(attributes: dict[str, Any], key: str) -> int | None:
    number = number_of(attributes, key)
    return None if number is None else int(number)


def _moment(nanoseconds: int) -> str | None:
    try:
        return datetime.fromtimestamp(nanoseconds / 1e9, UTC).isoformat(timespec="microseconds")
    except (OverflowError, OSError, ValueError):
        return None
