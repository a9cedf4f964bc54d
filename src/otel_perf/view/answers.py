"""What the page is told of one process, in the words of web/src/api.ts; the report has the same numbers.

Reading order: overview(), start(), series(), flame(), functions(), trace(); then state() and samples(), for the push.
Moments are milliseconds since 1970; a range without begin or end is all there is.
"""

from __future__ import annotations

import os
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

from otel_perf.analysis.advice import explain
from otel_perf.analysis.as_json import report_object, start_objects
from otel_perf.analysis.functions import functions_of
from otel_perf.analysis.model import text_of
from otel_perf.analysis.report import headline
from otel_perf.analysis.startup import build_start
from otel_perf.errors import UserError
from otel_perf.export.runs import TRACES

from .encode import encode
from .live import PLAIN
from .profile import MOST_NODES, flame_object, tree_of
from .traces import FOREVER, LATE, PATIENCE, SMALL, Calls, Search, find
from .waterfall import MOST, start_object, trace_object

if TYPE_CHECKING:
    from collections.abc import Sized

    from otel_perf.analysis.functions import FunctionRow
    from otel_perf.analysis.model import Call, Process

    from .live import Live
    from .profile import Paths, Profile

MOST_FUNCTIONS = 2_000  # that are told, those with most self time
ELSEWHERE = ("critical_path", "off_the_path")  # keys of the report's start, a row a step
BEFORE = 10_000.0  # milliseconds of samples that a page is told again when it connects
LONGEST_GAP = 600_000.0  # milliseconds; who was away longer asks for the series again
NO_PROFILE = (
    "no function is profiled: write @perf.profile above those that matter, "
    'or with perf.operation("name"): around a block'
)
NO_METRICS = (
    "nothing was sampled: the process was over before its first sample, or OTEL_PERF_METRICS=0 switches that off"
)
IN_IMPORTED = {"profile": "calls by path", "metrics": "samples of CPU and memory", "start": "start"}
NO_START = (
    "no start was recorded: the process is a child of another one of this run, or its start is still going on and "
    "nothing in it has ended"
)


class OfStart(NamedTuple):
    """What is told of the start: the verdict, what the report says of it, and its Waterfall, None if there is none."""

    verdict: str
    report: dict[str, Any]
    waterfall: dict[str, Any] | None


def overview(live: Live, most: int = MOST) -> dict[str, Any]:
    """Return Overview; *most* is what start() will be asked for, since both are made at once."""
    return _overview_and_key(live, most)[0]


def _overview_and_key(live: Live, most: int = MOST) -> tuple[dict[str, Any], object]:
    """Return Overview, and what is another one when it has changed."""
    of_start, number = live.of_start(lambda process: _of_start(process, most))
    with live.lock:
        process = live.settled()
        key = (live.path, live.version, process.running, live.total, number)
        return live.once("overview", key, lambda: _overview(live, process, of_start)), key


def _overview(live: Live, process: Process, of_start: OfStart) -> dict[str, Any]:
    report = report_object(process, of_start.report)
    root = process.root
    origin = text_of(process.resource, "otel_perf.imported.from")
    began = root.start if root is not None else min([node.start for node in process.nodes], default=live.first)
    return {
        "report": report,
        "verdict": of_start.verdict,
        "running": bool(process.running),
        "began": began / 1e6 if began else None,
        "last": live.last / 1e6 if live.last else None,
        "read": live.read,
        "total": max(live.total, live.read),
        "spans": live.spans,
        "damaged": sum(sum(tail.skipped.lines.values()) for tail in live.tails.values()),
        "slowest": [_call(call) for call in process.calls],
        "empty": {
            name: f"{origin}, from which this run was imported, has no {IN_IMPORTED[name]}" if origin else why
            for name, there, why in (
                ("profile", live.profile.paths, NO_PROFILE),
                ("metrics", process.record.series, NO_METRICS),
                ("start", process.nodes, NO_START),
            )
            if not there
        },
    }


def _of_start(process: Process, most: int) -> OfStart:
    """Return that; the report's part without the path, of which the waterfall has it all."""
    start = build_start(process)
    explained = None if start is None else (start, explain(process, start))
    found = start_objects(process, explained)
    if found["start"] is not None:
        found["start"] = {key: value for key, value in found["start"].items() if key not in ELSEWHERE}
    waterfall = None if explained is None else start_object(process, *explained, most)
    return OfStart(headline(process, start, PLAIN), found, waterfall)


def _call(call: Call) -> dict[str, Any]:
    node = call.node
    return {
        "name": node.name,
        "kind": node.kind,
        "began": node.start / 1e6,
        "seconds": node.duration,
        "traceId": call.trace_id,
        "spanId": node.span_id,
        "error": node.error,
    }


def start(live: Live, most: int = MOST) -> dict[str, Any] | None:
    """Return the start as a Waterfall of at most so many rows, None if none was recorded."""
    of_start, _ = live.of_start(lambda process: _of_start(process, most))
    return None if of_start.waterfall is None else of_start.waterfall | {"partial": _goes_on(live)}


def _goes_on(live: Live) -> bool:
    """Say whether the end of the start is still to be read."""
    with live.lock:
        return live.settled().root is None and live.read < live.total


def series(
    live: Live, begin: float | None, end: float | None, points: int, others: int | None = None
) -> dict[str, Any]:
    """Return SeriesAnswer.

    Args:
        live: the process.
        begin: of the range, and
        end: of it.
        points: of each series, and
        others: of those behind the toggle, if fewer will do.
    """
    with live.lock:
        process = live.settled()
        markers = live.all_markers(process)
        sampled = list(process.record.series.values())
        marked = [one.time for one in markers]
        if begin is None:
            begin = min([*(one.first / 1e6 for one in sampled), *marked], default=live.first / 1e6)
        if end is None:
            end = max([*(one.time / 1e6 for one in sampled), *marked], default=live.last / 1e6)
        end = max(begin, end)
        return {
            "from": begin,
            "to": end,
            "series": live.charts.answer(process, begin, end, points, others),
            "markers": [one.as_object() for one in markers if begin <= one.time <= end],
        }


def flame(
    live: Live, begin: float | None, end: float | None, base: Paths | None = None, most: int = MOST_NODES
) -> dict[str, Any]:
    """Return Flame.

    Args:
        live: the process.
        begin: of the range, and
        end: of it.
        base: paths() to compare with.
        most: nodes, those with most time.
    """
    with live.lock:
        root = tree_of(paths(live, begin, end))
        if base is not None:
            tree_of(base, root, base=True)
        return flame_object(root, begin, end, live.profile.overflow, difference=base is not None, most=most)


def paths(live: Live, begin: float | None, end: float | None) -> Paths:
    """Return calls, seconds and own seconds of each call path in a range."""
    with live.lock:
        return live.profile.between(_nanoseconds(begin, -1), _nanoseconds(end, 2**63 - 1))


def functions(live: Live, begin: float | None, end: float | None) -> dict[str, Any]:
    """Return FunctionsAnswer."""
    with live.lock:
        process = live.settled()
        found = [_function(row) for row in live.once("functions", live.version, lambda: functions_of(process))]
        if begin is not None or end is not None:
            found = _in_range(live.profile, found, _nanoseconds(begin, -1), _nanoseconds(end, 2**63 - 1))
            found.sort(key=lambda one: (-one["self"], -one["total"], one["name"]))
    return {"functions": found[:MOST_FUNCTIONS], "hidden": max(0, len(found) - MOST_FUNCTIONS)}


def _in_range(profile: Profile, rows: list[dict[str, Any]], begin: int, end: int) -> list[dict[str, Any]]:
    """Return those of *rows*, functions of the whole run, that were called in a range (ns), with its numbers."""
    inside = profile.functions_between(begin, end)
    found = []
    for row in rows:
        key = row["name"], row["kind"]
        if key not in inside:
            continue
        one = row | dict(zip(("calls", "total", "self"), inside[key], strict=True))
        if one["calls"] != row["calls"]:  # else all there is of it is in the range
            numbers = profile.functions[key].quantiles_between(begin, end, (0.0, 0.5, 0.95, 1.0))
            one |= dict(zip(("min", "p50", "p95", "max"), numbers, strict=True)) | {"exact": False, "maxExact": False}
        found.append(one)
    return found


def _function(row: FunctionRow) -> dict[str, Any]:
    return {
        "name": row.function,
        "kind": row.kind,
        "calls": row.calls,
        "total": row.total,
        "self": row.self_time,
        "min": row.min,
        "max": row.max,
        "p50": row.percentiles[0],
        "p95": row.percentiles[1],
        "exact": row.exact,
        "maxExact": True,
    }


def trace(live: Live, trace_id: str) -> dict[str, Any] | None:
    """Return a trace as a Waterfall; None if there is none.

    Raises: UserError: the file is too large to know.
    """
    with live.lock:
        of_start = trace_id == live.settled().start_trace
    if of_start:
        return start(live)
    search = _search(live, trace_id, PATIENCE)
    nodes, left_out = find(search)
    _known(search, nodes)
    return trace_object(trace_id, nodes, left_out) | {"partial": search.partial} if nodes else None


def flame_of_trace(live: Live, trace_id: str, patience: float = inf) -> dict[str, Any] | None:
    """Return the Flame of one trace, of all its spans; None if there is none.

    Args:
        live: the process.
        trace_id: 32 lower case hex digits.
        patience: seconds that may be spent with reading; a start is in memory.

    Raises: UserError: the file is too large to know.
    """
    with live.lock:
        process = live.settled()
        nodes = list(process.nodes) if trace_id == process.start_trace else []
    search = _search(live, trace_id, patience)
    calls = Calls()
    for node in nodes or search.nodes():
        calls.add(node)
    _known(search, calls)
    if not calls:
        return None
    partial = _goes_on(live) if nodes else search.partial
    return flame_object(calls.tree(), calls.began / 1e6, calls.end / 1e6) | {"partial": partial}


def _known(search: Search, found: Sized) -> None:
    if search.partial and not len(found):
        mend = "otel-perf flame --trace reads all of it"
        raise UserError(f"the file is large, and what was read of it in {PATIENCE:g} s has no such trace; {mend}")


def _search(live: Live, trace_id: str, patience: float) -> Search:
    """Return the search for the spans of a trace in the file: where it is, if that is known and time is short."""
    begin, end = 0, FOREVER
    with live.lock:
        if patience < inf and live.tails[TRACES].offset > SMALL:
            known = [call.node for call in live.settled().calls if call.trace_id == trace_id]
            if known:
                begin = live.places.before(min(node.start for node in known))
                end = live.places.after(max(node.end for node in known) + LATE)
    return Search(os.path.join(live.path, TRACES), trace_id, begin, end, patience)


# --- for the push -----------------------------------------------------------------------------------------------------


def state(live: Live, whole: bool = True) -> tuple[str, object, bool]:
    """Return the Overview as JSON, what is another one when it has changed, and whether the start in it is over.

    A start that is over does not change: who has been told of it is told the rest, which is not *whole*.
    """
    found, key = _overview_and_key(live)
    start = found["report"]["start"]
    over = start is not None and start["complete"]
    with live.lock:
        name = "state" if whole or not over else "state without the start"
        return live.once(name, key, lambda: _state_text(found, whole or not over)), key, over


def _state_text(found: dict[str, Any], whole: bool) -> str:
    report = found["report"]
    return encode(found if whole else found | {"report": {name: report[name] for name in report if name != "start"}})


def samples(live: Live, after: float | None) -> tuple[float, dict[str, Any] | None]:
    """Return the moment of the newest sample or marker, and the Samples after another one; None if there are none.

    Args:
        live: the process.
        after: that moment; None of a page that has just come, which is told the last ten seconds. Of more than ten
            minutes only the last are told.
    """
    with live.lock:
        process = live.settled()
        markers = live.all_markers(process)
        sampled = [one.time / 1e6 for one in process.record.series.values()]
        newest = max([*sampled, *(one.time for one in markers)], default=0.0)
        since = newest - BEFORE if after is None else max(after, newest - LONGEST_GAP)
        if newest <= max(since, 0.0):
            return newest, None
        new = [one.as_object() for one in markers if one.time > since]
        return newest, {"series": live.charts.since(process, since), "markers": new}


def _nanoseconds(moment: float | None, unknown: int) -> int:
    return unknown if moment is None else int(min(max(moment, 0.0), 9e12) * 1e6)
