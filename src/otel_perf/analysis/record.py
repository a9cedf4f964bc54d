"""What a process sampled and judged once a second: as much as is shown, gathered while its files are read.

Reading order: Series, Kept, Episode; Record.point() and Record.event(), to which load_process() gives all there is.
"""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING

from otel_perf.alerts import ESCALATED, EXCEEDED, OK, PENDING, RAISED, RESOLVED
from otel_perf.budgets import DEFINED, SEVERITIES, Budget
from otel_perf.errors import ConfigError
from otel_perf.metrics.names import CORES, CPU_SHARE, FILES, HANDLES, MEMORY, THREADS
from otel_perf.metrics.series import CAPACITY, Ring

if TYPE_CHECKING:
    from typing import Any

    from otel_perf.export.decode import Log, Point

SHARE = CPU_SHARE[0][0]
SHOWN = (CORES[0], SHARE, MEMORY[0], THREADS[0], FILES[0], HANDLES[0])
SCORE = "otel_perf.score"
BUDGET = "otel_perf.budget."  # of metrics: value, limit, state; of events: exceeded, escalated, resolved
PROGRAM = "program"  # source of a budget that only the program's own record knows
LARGEST = 1e100  # what is more was never measured, and could not be reckoned with
STALE = 150_000_000_000  # nanoseconds after which a budget without a state is gone
MOST_ALERTS = 200  # that are kept, the newest


class Series:
    """One metric over time, those of its series that belong together added up.

    Attributes:
        name: the instrument.
        count: samples, and of them
        low: the lowest, and
        high: the highest, and
        average: what they are on average.
        first: when the first was taken, in nanoseconds since 1970, and
        time: the newest.
        last: its value.
    """

    __slots__ = ("_parts", "_ring", "_time", "average", "count", "first", "high", "last", "low", "name", "time", "unit")

    def __init__(self, name: str, unit: str = "", capacity: int = CAPACITY) -> None:
        self.name = name
        self.unit = unit
        self.count = 0
        self.low = self.high = self.average = self.last = 0.0
        self.first = self.time = 0
        self._ring = Ring(capacity)
        self._time = 0  # of the sample whose parts are being read
        self._parts: dict[str, float] = {}

    def add(self, point: Point) -> None:
        """Take a point; what is no number, or older than what was read, is left out."""
        if point.value is None or not abs(point.value) <= LARGEST or point.time < self._time:  # NaN is no data
            return
        if point.time > self._time:
            self.close()
            self._time = point.time
        self._parts[str(point.attributes)] = float(point.value)

    def close(self) -> None:
        """Count the sample that was being read."""
        if not self._parts:
            return
        value = sum(self._parts.values())
        self._parts.clear()
        if not self.count:
            self.first = self._time
            self.low = self.high = value
        self.count += 1
        self.low, self.high = min(self.low, value), max(self.high, value)
        self.average += (value - self.average) / self.count
        self.last, self.time = value, self._time
        self._ring.add((self._time - self.first) / 1e9, value)

    def times(self, factor: float, name: str) -> Series:
        """Return the same samples times *factor*, as those of the metric *name*, a share."""
        found = Series(name, "1")
        found.count, found.first, found.time = self.count, self.first, self.time
        found.low, found.high = self.low * factor, self.high * factor
        found.average, found.last = self.average * factor, self.last * factor
        for moment, value in self.points():
            found._ring.add(moment, value * factor)
        return found

    @property
    def seconds(self) -> float:
        """From the first sample to the newest."""
        return (self.time - self.first) / 1e9

    def points(self) -> list[tuple[float, float]]:
        """Return its points, 300 at most unless it keeps more, oldest first: seconds since the first, and the value."""
        return self._ring.points()


class Kept:
    """What a process says of one budget.

    Attributes:
        limit: the newest that it says.
        state: the newest, as alerts.py numbers it; None where it says none. It is written when it changes.
        time: of that, in nanoseconds since 1970.
        value: the newest that was judged and written, and
        value_time: when.
        worst: the largest that was written: all that are over the limit, and now and then one that is not.
        peak: the largest since it was last seen to hold, None if it holds.
        exceeded: it was exceeded at some time.
        metric: as the budget has it, where an alert says so; and
        unit: of its values.
        severity: that of its first alert.
    """

    __slots__ = (
        "exceeded", "limit", "metric", "name", "peak", "severity", "state", "time", "unit", "value",
        "value_time", "worst",
    )  # fmt: skip

    def __init__(self, name: str) -> None:
        self.name = name
        self.limit: float | None = None
        self.state: int | None = None
        self.time = self.value_time = 0
        self.value: float | None = None
        self.worst: float | None = None
        self.peak: float | None = None
        self.exceeded = False
        self.metric = self.unit = self.severity = ""

    @property
    def now(self) -> float | None:
        """The newest value, None if nobody knows it: its state is a newer one, without a value."""
        return self.value if self.value_time >= self.time else None


class Episode:
    """One alert from its beginning to its end, as far as that was recorded.

    Attributes:
        severity: the highest it came to.
        since: when the budget was first over its limit, in nanoseconds since 1970.
        ended: when it was resolved, None if it was not.
        seconds: how long it lasted, or lasted when that was last said.
        value: what was over the limit when it was raised.
        peak: the largest value that its events say.
        escalated: how often its severity rose.
        running: what ran when it was raised; may be empty.
        text: the last of its events in a sentence.
    """

    __slots__ = (
        "budget", "ended", "escalated", "limit", "metric", "peak", "running", "seconds", "severity", "since", "span_id",
        "text", "trace_id", "unit", "value",
    )  # fmt: skip

    def __init__(self, log: Log) -> None:
        says = log.attributes
        self.budget = _text(says, "budget")
        self.metric, self.unit, self.running = _text(says, "metric"), _text(says, "unit"), _text(says, "running")
        self.limit, self.value = _number(says, "limit"), _number(says, "value")
        since = _number(says, "since")
        self.since = log.time if since is None else int(says["since"])
        self.severity = "info"
        self.seconds = 0.0
        self.peak: float | None = None
        self.ended: int | None = None
        self.escalated = 0
        self.trace_id, self.span_id = log.trace_id, log.span_id
        self.text = ""
        self.update(log)

    def update(self, log: Log) -> None:
        """Take what a further event of the alert says."""
        says = log.attributes
        found = _text(says, "severity")
        if found in SEVERITIES:
            self.severity = max(self.severity, found, key=SEVERITIES.index)
        peak = _number(says, "peak")
        if peak is not None:
            self.peak = peak if self.peak is None else max(self.peak, peak)
        self.seconds = max(self.seconds, _number(says, "duration") or 0.0)
        self.text = log.body if isinstance(log.body, str) else self.text


class Record:
    """All of that of one process.

    Attributes:
        series: by instrument, those of SHOWN that were sampled.
        budgets: by name, in the order in which they appeared.
        definitions: what they are, by name, as far as they are no defaults.
        score: None where none was recorded.
        alerts: the newest MOST_ALERTS, oldest first.
        left_out: how many there were before those.
        changed: when a budget's state was last written, in nanoseconds since 1970, and
        last: when anything of all this was.
    """

    __slots__ = ("_open", "alerts", "budgets", "changed", "definitions", "last", "left_out", "score", "series")

    def __init__(self) -> None:
        self.series: dict[str, Series] = {}
        self.budgets: dict[str, Kept] = {}
        self.definitions: dict[str, Budget] = {}
        self.score: Series | None = None
        self.alerts: list[Episode] = []
        self.left_out = 0
        self.changed = self.last = 0
        self._open: dict[str, Episode] = {}

    def point(self, point: Point) -> None:
        """Take one point of the process's metrics, in the order of the file."""
        name = point.metric
        if name in SHOWN:
            if name not in self.series:
                self.series[name] = Series(name, point.unit)
            self.series[name].add(point)
        elif name.startswith(BUDGET):
            self._judged(name[len(BUDGET) :], point)
        elif name == SCORE:
            self.score = self.score or Series(name, point.unit)
            self.score.add(point)
        else:
            return
        self.last = max(self.last, point.time)

    def close(self) -> None:
        """Take what is left, once the points have been read."""
        for series in list(self.series.values()):
            series.close()
            if not series.count:
                del self.series[series.name]
        if self.score is not None:
            self.score.close()

    def event(self, log: Log) -> bool:
        """Take one log record; return whether it was an alert."""
        if log.event == DEFINED:
            self._define(log)
            return False
        kind = log.event.removeprefix(BUDGET)
        budget = _text(log.attributes, "budget")
        if not log.event.startswith(BUDGET) or kind not in (RAISED, ESCALATED, RESOLVED) or not budget:
            return False
        episode = self._open.pop(budget, None)
        if episode is None or kind == RAISED:
            episode = Episode(log)
            self.alerts.append(episode)
            if len(self.alerts) > MOST_ALERTS:
                self.left_out += 1
                del self.alerts[0]
            self._exceeded(episode)
        else:
            episode.update(log)
        episode.escalated += kind == ESCALATED
        if kind == RESOLVED:
            episode.ended = log.time
        else:
            self._open[budget] = episode
        return True

    def open(self, budget: str) -> Episode | None:
        """Return the alert of *budget* that still lasts; None if there is none, or if its budget is another by now."""
        kept = self.budgets.get(budget)
        is_other = kept is not None and kept.state in (OK, PENDING)  # what is exceeded stays so until it is resolved
        return None if is_other or self.is_gone(budget) else self._open.get(budget)

    def is_gone(self, budget: str) -> bool:
        """Say whether *budget* was not judged any more at the end: else its state is written each minute."""
        kept = self.budgets.get(budget)
        return kept is not None and kept.state is not None and self.changed - kept.time > STALE

    def lasted(self, episode: Episode) -> float:
        """Return how many seconds an alert lasted; one that was not resolved, until the last that was recorded."""
        if self.open(episode.budget) is not episode:
            return episode.seconds
        return max(episode.seconds, (self.last - episode.since) / 1e9)

    def peak(self, episode: Episode) -> float | None:
        """Return the largest value of an alert; of one that was not resolved, until the last that was recorded."""
        kept = self.budgets.get(episode.budget)
        if kept is None or kept.peak is None or self.open(episode.budget) is not episode:
            return episode.peak
        return kept.peak if episode.peak is None else max(kept.peak, episode.peak)

    def _judged(self, part: str, point: Point) -> None:
        value, name = point.value, _text(point.attributes, "budget")
        if value is None or not isfinite(value) or not name:
            return
        kept = self._kept(name)
        if part == "limit":
            kept.limit = float(value)
        elif part == "value":
            kept.value, kept.value_time = float(value), point.time
            kept.worst = kept.value if kept.worst is None else max(kept.worst, kept.value)
            kept.peak = kept.value if kept.peak is None else max(kept.peak, kept.value)
        elif part == "state":
            kept.state, kept.time = int(value), point.time
            kept.exceeded = kept.exceeded or kept.state == EXCEEDED
            if kept.state == OK:
                kept.peak = None
            self.changed = max(self.changed, point.time)

    def _define(self, log: Log) -> None:
        try:
            budget = Budget.from_fields(log.attributes, PROGRAM)
        except ConfigError:  # damaged: its points tell name and limit
            return
        self.definitions[budget.name] = budget

    def _exceeded(self, episode: Episode) -> None:
        kept = self._kept(episode.budget)
        kept.exceeded = True
        kept.metric, kept.unit = episode.metric or kept.metric, episode.unit or kept.unit
        if kept.limit is None:
            kept.limit = episode.limit
        if not kept.severity:
            kept.severity = episode.severity

    def _kept(self, name: str) -> Kept:
        if name not in self.budgets:
            self.budgets[name] = Kept(name)
        return self.budgets[name]


def _text(attributes: dict[str, Any], key: str) -> str:
    value = attributes.get(key)
    return value if isinstance(value, str) else ""


def _number(attributes: dict[str, Any], key: str) -> float | None:
    value = attributes.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        return None
    return float(value)
