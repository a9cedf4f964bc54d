"""What a process has done up to one moment, as values: a window that is paused shows them still.

Reading order: Snapshot; Watch.take(), which is asked once a second.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic, time
from typing import TYPE_CHECKING

from otel_perf.amounts import amount, count, three
from otel_perf.analysis.ending import ending_of, ending_text
from otel_perf.analysis.functions import functions_of
from otel_perf.analysis.model import text_of
from otel_perf.analysis.report import cost_text, headline
from otel_perf.analysis.sampled import machine_texts, rows_of
from otel_perf.analysis.standing import alert_cells, end_of, score_of_run, states_text
from otel_perf.analysis.startup import build_start, judged_by_process, verdict_of
from otel_perf.analysis.text import Style, bytes_of, plural
from otel_perf.view.answers import NO_PROFILE
from otel_perf.view.charts import MAIN
from otel_perf.view.profile import STEP
from otel_perf.view.runs import NONE_YET

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from otel_perf.analysis.model import Call, Process
    from otel_perf.analysis.sampled import Row
    from otel_perf.view.charts import Points
    from otel_perf.view.live import Live

    from .follow import Followed

    T = TypeVar("T")

RECENT = 10.0  # seconds that are the last ones
LATE = 2.0  # seconds after which a chart goes on without a sample
SHARE = 40  # times what a thing took has to pass before it is done again: it costs 2.5 % of a core at most
SLOWLY = 5.0  # seconds between two looks where a metric heads
PARTS = 120  # of the time in the small charts of other metrics
MOST_FUNCTIONS = 500
_PLAIN = Style(width=10**6)


@dataclass(slots=True)
class Sampled:
    """One metric over time.

    Attributes:
        name: the instrument.
        label: what a person calls it.
        last: the newest value as a person reads it.
        points: moments in milliseconds since 1970, and values.
        limits: lines of its chart, each with the name of its budget.
        warns: the lowest of them that holds: one for idling does so only while an alert of it is open.
        over: an alert is open for it.
        room: what is left until the lowest limit, or how far it is over; empty where that says nothing.
        heads: when it reaches a limit, ``150 MB in 3 h ± 20 min``; empty if nobody knows.
        show: makes text of a value.
    """

    name: str
    label: str
    last: str
    points: Points
    show: Callable[[float], str]
    limits: list[tuple[float, str]] = field(default_factory=list)
    warns: float = float("inf")
    over: bool = False
    room: str = ""
    heads: str = ""


@dataclass(slots=True)
class Function:
    """One function or operation: seconds and calls of the run, and of the last seconds."""

    name: str
    calls: int
    total: float
    own: float | None
    p95: float | None
    exact: bool
    recent_calls: float = 0.0
    recent_total: float = 0.0
    recent_own: float = 0.0


@dataclass(slots=True)
class Slow:
    """One of the slowest calls; *began* in seconds since 1970."""

    name: str
    seconds: float
    began: float
    trace_id: str
    failed: bool


@dataclass(slots=True)
class Snapshot:
    """All that is shown.

    Attributes:
        verdict: the first line of the report.
        state: ``within``, ``exceeded`` or ``unknown``; empty if there is no start to judge.
        score: in a line, with what costs the points.
        points: of the 100, None if there is no score.
        costs: something costs points.
        context: run, process, for how long, Python.
        ended: how it ended, empty as long as it runs.
        running: it still runs.
        notice: what keeps this from being all there is; empty if nothing does.
        now: milliseconds since 1970 up to which charts go.
        charts: CPU, memory, threads.
        alerts: those that are open, as standing.alert_cells().
        history: all of them, the newest first.
        resolved: how many are not open any more.
        others: the other metrics, when they were asked for.
        facts: sentences on the machine, the budgets that hold and what otel-perf costs; when they were asked for.
        spans: how many there are.
        empty: why there is no function.
    """

    verdict: str
    state: str = ""
    score: str = ""
    points: float | None = None
    costs: bool = False
    context: str = ""
    ended: str = ""
    running: bool = False
    notice: str = ""
    now: float = 0.0
    charts: list[Sampled] = field(default_factory=list)
    alerts: list[list[str]] = field(default_factory=list)
    history: list[list[str]] = field(default_factory=list)
    resolved: int = 0
    functions: list[Function] = field(default_factory=list)
    calls: list[Slow] = field(default_factory=list)
    others: list[Sampled] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)
    spans: int = 0
    empty: str = ""


class Watch:
    """Takes snapshots of what is followed; what is dear is taken less often, so that watching stays cheap."""

    def __init__(self, followed: Followed) -> None:
        self._followed = followed
        self._kept: dict[str, tuple[object, float, Any]] = {}
        self._of: Live | None = None

    def take(self, advanced: bool = False) -> Snapshot:
        """Return how it stands; *advanced*: with the other metrics and the facts."""
        live = self._followed.live
        if live is None:
            return Snapshot(NONE_YET, empty=NO_PROFILE)
        if live is not self._of:
            self._of = live
            self._kept.clear()
        with live.lock:
            return self._of_live(live, advanced)

    def _of_live(self, live: Live, advanced: bool) -> Snapshot:
        process = live.settled()
        running = bool(process.running) and not self._followed.removed
        found = Snapshot(*self._verdict(process), running=running, spans=live.spans)
        found.score, found.points, found.costs = _score(process)
        ending = ending_of(process)
        if not running and ending is not None and ending.state != "running":
            found.ended = ending_text(ending, _PLAIN, brief=True)
        newest = max([one.time / 1e6 for one in process.record.series.values()], default=live.last / 1e6)
        found.now = max(newest, (time() - LATE) * 1e3) if running else newest
        found.context = self._context(process, live, found)
        found.notice = self._notice(live, running)
        self._alerts(process, found)
        rows = self._now_and_then("rows", len(process.record.series), lambda: rows_of(process), SLOWLY)
        found.charts = [_sampled(row, live, process) for row in rows if row.series.name in MAIN]
        found.functions = self._functions(process, live, found.now)
        found.empty = "" if found.functions else NO_PROFILE
        found.calls = [_slow(call) for call in process.calls]
        if advanced:
            found.others = self._now_and_then("others", live.version, lambda: _others(live, process, found.now))
            found.facts = _facts(process)
        return found

    def _verdict(self, process: Process) -> tuple[str, str]:
        """Return the first line of the report and its state; a start that is over does not change."""
        over = process.root is not None, process.inferred is not None
        judged = None if over[0] else judged_by_process(process)  # grows as long as the start lasts
        key = (len(process.nodes), over, judged, process.service, process.version, bool(process.points))

        def make() -> tuple[str, str]:
            start = build_start(process)
            return headline(process, start, _PLAIN), "" if start is None else verdict_of(start).state

        return self._now_and_then("verdict", key, make)

    def _context(self, process: Process, live: Live, found: Snapshot) -> str:
        names = self._followed.names
        parts = [f"run {process.run}", f"process {process.name}"]
        if len(names) > 1 and self._followed.name in names:
            parts[-1] += f" ({names.index(self._followed.name) + 1} of {len(names)})"
        began = process.root.start if process.root is not None else live.first
        seconds = max(0.0, (time() * 1e9 if found.running else live.last) - began) / 1e9
        age = _PLAIN.duration(seconds if seconds < 1 or not found.running else seconds // 1) if began else ""
        if found.running:  # in whole seconds: it changes with each
            parts.append(f"up {age}" if age else "running")
        else:
            end = found.ended or ("removed" if self._followed.removed else "ended")
            parts.append(end + (f", after {age}" if age else ""))
        python = text_of(process.resource, "process.runtime.version")
        return ", ".join([*parts, *([f"Python {python}"] if python else [])])

    def _notice(self, live: Live, running: bool) -> str:
        if self._followed.removed:
            return "the folder of this run was removed; what is shown is all that was read"
        if live.error:
            return live.error
        if live.total > live.read and not live.whole.is_set():
            return f"reading: {100 * live.read // max(1, live.total)} % of {bytes_of(live.total)}"
        damaged = sum(sum(tail.skipped.lines.values()) for tail in live.tails.values())
        return f"{plural(damaged, 'damaged line')} skipped" if damaged else ""

    def _alerts(self, process: Process, found: Snapshot) -> None:
        for alert in reversed(process.record.alerts):
            cells = alert_cells(process, alert)
            found.history.append(cells)
            if end_of(process, alert) in ("open", "not resolved"):
                found.alerts.append(cells)
        found.resolved = len(found.history) - len(found.alerts) + process.record.left_out

    def _functions(self, process: Process, live: Live, now: float) -> list[Function]:
        rows = self._now_and_then("functions", live.version, lambda: functions_of(process))
        begin = int((now / 1e3 - RECENT) * 1e9) + STEP // 2  # the nearest second, not one more
        recent = self._now_and_then("recent", live.version, lambda: live.profile.functions_between(begin, 2**63 - 1))
        found = []
        for row in rows[:MOST_FUNCTIONS]:
            name = row.function + (" (operation)" if row.kind == "operation" else "")
            name += " [parallel]" if row.parallel else ""
            numbers = recent.get((row.function, row.kind), (0.0, 0.0, 0.0))
            p95 = row.percentiles[1]
            found.append(Function(name, row.calls, row.total, row.self_time, p95, row.exact, *numbers))
        return found

    def _now_and_then(self, name: str, key: object, make: Callable[[], T], least: float = 0.0) -> T:
        """Return what *make* gave last, made anew if *key* is another one and what it takes allows it.

        Args:
            name: of what is made.
            key: what it depends on; with *least* it is made anew in any case once so many seconds have passed.
            make: makes it.
            least: seconds for which it is kept.
        """
        before = self._kept.get(name)
        now = monotonic()
        if before is not None and ((before[0] == key and not least) or now < before[1]):
            kept: T = before[2]
            return kept
        value = make()
        took = monotonic() - now
        self._kept[name] = key, now + max(least, took * SHARE), value
        return value


def _score(process: Process) -> tuple[str, float | None, bool]:
    found = score_of_run(process)
    if found is None:
        return "no budget was judged", None, False
    text = f"{'' if found.score.points is None else 'score '}{found.score.text}"
    if found.lowest is not None and found.score.points is not None and int(found.lowest) < int(found.score.points):
        text += f", lowest {int(found.lowest)}"
    costs = [
        f"−{three(one.points)} {one.budget} {one.text}" if found.explained else f"{one.budget} {one.text}"
        for one in found.score.reasons
    ]
    return text + (f": {'; '.join(costs)}" if costs else ""), found.score.points, bool(costs)


def _sampled(row: Row, live: Live, process: Process) -> Sampled:
    points = live.charts.of_row(row, process)
    last = points[-1][1] if points else row.series.last
    found = Sampled(row.series.name, row.label.strip(), row.shown(last), points, row.shown)
    found.limits = [(one.max, f"{row.shown(one.max)} {one.name}") for one in row.limits]
    found.over = any(process.record.open(one.name) is not None for one in row.limits)
    judged = [one for one in row.limits if not one.idle]
    holds = [one.max for one in row.limits if not one.idle or process.record.open(one.name) is not None]
    found.warns = min(holds, default=found.warns)
    if judged:
        left = judged[0].max - last
        found.room = f"headroom {row.shown(left)}" if left >= 0 else f"{row.shown(-left)} over"
    near = row.heads_for()
    if near and row.trend is not None:
        found.heads = row.trend.text(near[0][0].max, row.unit)
    return found


def _slow(call: Call) -> Slow:
    node = call.node
    return Slow(node.name, node.duration, node.start / 1e9, call.trace_id, node.error is not None)


def _others(live: Live, process: Process, now: float) -> list[Sampled]:
    """Return the other metrics as the page has them behind its toggle."""
    found = []
    begin = min([one.first / 1e6 for one in process.record.series.values()], default=now)
    for one in live.charts.answer(process, begin, now, PARTS):
        if one["group"] == "main":
            continue
        unit, last = one["unit"], one["last"]
        points = [(at, high) for at, high in zip(one["times"], one["high"], strict=True) if high is not None]
        label = one["label"] + (f" of {one['of']}" if one["of"] else "")
        inner = [pair.partition("=")[2] for pair in one["name"].partition("{")[2].removesuffix("}").split(",")]
        inner = list(dict.fromkeys(inner))  # the collector's generation stands there by two names
        label += f" ({', '.join(inner)})" if inner != [""] else ""
        found.append(Sampled(one["name"], label, "–" if last is None else _bare(last, unit), points, str))
    return found


def _bare(value: float, unit: str) -> str:
    """Return *value* without the name of what is counted: the label says it."""
    base, per = (unit[:-2], "/s") if unit.endswith("/s") else (unit, "")
    if base in ("s", "By", "%"):
        return amount(value, base) + per
    size = abs(value)
    text = "0" if not size else "<0.01" if size < 0.005 else three(size) if size < 1000 else count(size)
    return ("-" if value < 0 and size >= 0.005 else "") + text + per


def _facts(process: Process) -> list[str]:
    """Return what stands below the other metrics, a sentence each."""
    found = [states_text(process)]
    platform = " ".join(filter(None, (text_of(process.resource, "os.type"), text_of(process.resource, "host.arch"))))
    found.append(", ".join([*([platform] if platform else []), *machine_texts(process.resource)]))
    found.append(cost_text(process, _PLAIN))
    return [text for text in found if text]
