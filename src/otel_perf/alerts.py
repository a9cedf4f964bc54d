"""Budgets judged while the program runs: a small state machine for each, and the alerts that come of it.

Imports only: amounts, budgets, metrics.wholes. It reads no clock and no metric: step() is given both. Only the worker
calls it.
Reading order: the rules; Alert, Watch.step(), Evaluator.

The rules, each in one place:

* **Time** is the monotonic moment of a step. The wall clock only dates an alert, so that its steps change nothing.
* **No data** (None, NaN, a gap, an idle budget beside tracked work) is neither good nor bad: the state is unknown, and
  what is counted on end starts anew. It resolves nothing: what was exceeded stays so until it is seen to hold.
* **Exceeded**: over ``max`` in each step for as long as ``for`` says; until then pending.
* **Resolved**: at ``clear`` or below in each step, for as long as ``for`` says. Between the two nothing changes.
* **Cooldown**: after an alert was resolved the budget stays pending for that time, however long it is over.
* **Escalation**: one severity up once it is at twice the limit or above for as long as ``for`` says; one more once it
  was seen exceeded for ten times ``for``, at least 5 minutes, and is over. Never down again until it is resolved.
"""

from __future__ import annotations

from .amounts import amount, duration
from .budgets import SEVERITIES, TRACKED
from .metrics.wholes import whole_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .budgets import Budget

UNKNOWN, OK, PENDING, EXCEEDED = -1, 0, 1, 2  # otel_perf.budget.state; a budget that is gone has no point
STATES = {UNKNOWN: "unknown", OK: "ok", PENDING: "pending", EXCEEDED: "exceeded"}

RAISED, RESOLVED, ESCALATED = "exceeded", "resolved", "escalated"  # kinds of an alert, and in the history only:
GONE = "gone"  # the budget or the process ended before it was seen to hold

LARGE = 2.0  # times the limit
LONG = 10.0  # times ``for``, and
LONGEST = 300.0  # seconds at least
HISTORY = 200  # alerts that are over

callbacks: list[Callable[[Alert], object]] = []  # of the program

_NUMBERS = {"info": 9, "warning": 13, "critical": 17}  # of OTLP: INFO, WARN, ERROR
_STEP = 5.0  # seconds between two values that are kept to say what it was a minute ago
_MINUTE = 60.0


class Alert:
    """That a budget was exceeded, became worse, or holds again.

    Attributes:
        budget: the definition that was judged, and
        name: what it is called, and
        metric: as it is written there, and
        limit: its upper bound.
        kind: ``exceeded``, ``escalated`` or ``resolved``; ``gone`` in the history only.
        severity: ``info``, ``warning`` or ``critical``: the highest it came to.
        previous: the severity before, of an escalated one; else empty.
        value: the value then; None if nobody knew it.
        unit: of value, limit and peak, as OpenTelemetry writes it; ``%`` for a share that is meant in percent.
        time: nanoseconds since 1970.
        duration: seconds since it was first over its limit.
        peak: the highest value in that time.
        earlier: the value a minute before, where there is one; of an exceeded one.
        trace_id: of what ran then, or of the start; and
        span_id: too; 0 for none. The evaluator knows neither.
        running: what ran then, as a person calls it; may be empty.
        whole: what a share is of, ``of the container's limit``; empty if the metric is no share.
    """

    __slots__ = (
        "budget", "duration", "earlier", "kind", "limit", "metric", "name", "peak", "previous", "running", "severity",
        "span_id", "time", "trace_id", "unit", "value", "whole",
    )  # fmt: skip

    def __init__(
        self,
        budget: Budget,
        kind: str,
        severity: str,
        *,
        value: float | None,
        unit: str,
        time: int,
        duration: float,
        peak: float,
        previous: str = "",
        earlier: float | None = None,
    ) -> None:
        self.budget = budget
        self.name = budget.name
        self.metric = budget.metric
        self.limit = budget.max
        self.kind = kind
        self.severity = severity
        self.previous = previous
        self.value = value
        self.unit = unit
        self.time = time
        self.duration = duration
        self.peak = peak
        self.earlier = earlier
        self.trace_id = 0
        self.span_id = 0
        self.running = ""
        self.whole = whole_of(budget.instrument, {})

    @property
    def event(self) -> str:
        """Name of the log event: ``otel_perf.budget.exceeded``, ``.escalated`` or ``.resolved``."""
        return f"otel_perf.budget.{self.kind}"

    @property
    def severity_number(self) -> int:
        """Severity of the log event: that of the alert, but good news is INFO."""
        return _NUMBERS["info" if self.kind == RESOLVED else self.severity]

    @property
    def since(self) -> int:
        """When it was first over its limit, in nanoseconds since 1970 by today's clock."""
        return self.time - int(self.duration * 1e9)

    @property
    def body(self) -> str:
        """What happened, in a sentence."""
        limit = f"{amount(self.limit, self.unit, self.budget.form)} {self.whole}".rstrip()
        lasted = duration(self.duration)
        if self.kind == RESOLVED:
            return (
                f"{self.name} holds again: {self.shown(self.value)}, limit {limit}; "
                f"it was exceeded for {lasted}, at most {self.shown(self.peak)}"
            )
        text = f"{self.name} {self.shown(self.value)} is over {limit}"
        if self.kind == GONE:
            text = f"{self.name} was over {limit} when it was last seen, at most {self.shown(self.peak)}"
        if self.duration > 0 and not self.budget.once:
            text += f" for {lasted}"
        if self.budget.idle:
            text += " while no tracked work ran"
        if self.kind == ESCALATED:
            text += f": {self.severity} now, {self.previous} before"
        if self.earlier is not None and self.shown(self.earlier) != self.shown(self.value):
            text += f"; it was {self.shown(self.earlier)} a minute ago"
        return text + (f"; {self.running} was running" if self.running else "")

    @property
    def attributes(self) -> dict[str, str | float | int]:
        """Attributes of the log event; what is not known is not there."""
        found: dict[str, str | float | int] = {
            "budget": self.name,
            "severity": self.severity,
            "metric": self.metric,
            "limit": self.limit,
            "since": self.since,
            "duration": self.duration,
            "peak": self.peak,
        }
        if self.unit:
            found["unit"] = self.unit
        if self.value is not None:
            found["value"] = self.value
        if self.previous:
            found["previous"] = self.previous
        if self.earlier is not None:
            found["earlier"] = self.earlier
        if self.running:
            found["running"] = self.running
        if self.whole:
            found["whole"] = self.whole
        return found

    def shown(self, value: float | None) -> str:
        """Return *value* as a person reads it; ``~`` before it marks an estimate."""
        return "–" if value is None else self.budget.mark + amount(value, self.unit, self.budget.form)

    def __repr__(self) -> str:
        return f"Alert({self.name!r}, {self.kind!r}, {self.severity!r}, value={self.value!r})"


def on_alert(callback: Callable[[Alert], object]) -> None:
    """Call *callback* with each alert from now on, before or after init(), on a thread of ours.

    What it raises is said once on stderr; a slow one delays only the alerts that follow, of which 200 wait.

    Raises:
        TypeError: *callback* cannot be called.
    """
    if not callable(callback):
        raise TypeError(f"on_alert() takes a function of one alert, not {type(callback).__name__}")
    if callback not in callbacks:
        callbacks.append(callback)


class Standing:
    """Where a budget stands after a step; it does not change any more.

    Attributes:
        budget: the definition.
        state: UNKNOWN, OK, PENDING or EXCEEDED.
        value: what was judged, None where nothing was.
        unit: as of an alert.
        exceeded: an alert is out and not resolved; its state is EXCEEDED, or UNKNOWN for want of data.
        severity: that of the budget, or what the alert came to.
        over: how far it was over its limit when last seen, in parts of it; 0 if it holds, endless for a limit of 0.
        duration: seconds that it has been pending or exceeded for.
        peak: highest value in that time, None if it is neither.
    """

    __slots__ = ("budget", "duration", "exceeded", "over", "peak", "severity", "state", "unit", "value")

    def __init__(
        self,
        budget: Budget,
        state: int,
        value: float | None = None,
        *,
        unit: str = "",
        exceeded: bool = False,
        severity: str = "",
        over: float = 0.0,
        duration: float = 0.0,
        peak: float | None = None,
    ) -> None:
        self.budget = budget
        self.state = state
        self.value = value
        self.unit = unit
        self.exceeded = exceeded
        self.severity = severity or budget.severity
        self.over = over
        self.duration = duration
        self.peak = peak

    def __repr__(self) -> str:
        return f"Standing({self.budget.name!r}, {STATES[self.state]}, value={self.value!r})"


class Watch:
    """One budget and what is known of it: the state machine.

    Attributes:
        budget: the definition.
        state: after the last step.
        value: that was judged there, None where nothing was.
        exceeded: an alert is out.
        since: moment at which it was first over its limit, of what is pending or exceeded.
        peak: highest value from there on.
        over: how far over the limit it was when last seen, in parts of it.
    """

    __slots__ = (
        "_below", "_cool", "_large", "_last", "_long", "_past", "_seen", "_twice",
        "budget", "exceeded", "level", "over", "peak", "since", "state", "value",
    )  # fmt: skip

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.state = UNKNOWN
        self.value: float | None = None
        self.exceeded = False
        self.level = 0  # of severity
        self.since: float | None = None
        self.peak = 0.0
        self.over = 0.0
        self._below: float | None = None  # since when it is at the clear level or below
        self._twice: float | None = None  # since when it is far over the limit
        self._last: float | None = None  # moment of the step before, if that had data
        self._seen = 0.0  # seconds that it was seen while exceeded
        self._large = self._long = False  # what has raised the severity
        self._cool = float("-inf")  # no alert before this moment
        self._past: list[tuple[float, float]] = []  # moments and values of somewhat more than a minute

    def define(self, budget: Budget) -> None:
        """Judge by *budget* from now on, of the same metric: what is exceeded stays so until it is seen to hold."""
        self.budget = budget
        self._forget()
        if self.exceeded:
            self.level = max(self.level, SEVERITIES.index(budget.severity))

    def _forget(self) -> None:
        """Count nothing on end over what was not seen."""
        self.state = UNKNOWN
        self.value = None
        self._below = self._twice = self._last = None
        if not self.exceeded:
            self.since = None

    def step(self, moment: float, value: float | None) -> str:
        """Take *value* at *moment*; return the kind of alert that comes of it, empty for none."""
        if value is None or value != value:
            self._forget()
            return ""
        budget = self.budget
        if not self._past or moment - self._past[-1][0] >= _STEP:
            self._past.append((moment, value))
            if len(self._past) > _MINUTE / _STEP + 3:
                del self._past[0]
        over = value > budget.max
        self.value = value
        self.over = (value / budget.max - 1.0 if budget.max else float("inf")) if over else 0.0
        if value < budget.max * LARGE or not budget.max:
            self._twice = None
        elif self._twice is None:
            self._twice = moment
        kind = self._exceeded(moment, value, over) if self.exceeded else self._holding(moment, value, over)
        self._last = moment
        return kind

    def _holding(self, moment: float, value: float, over: bool) -> str:
        if not over:
            self.state = OK
            self.since = None
            return ""
        if self.since is None:
            self.since = moment
            self.peak = value
        self.peak = max(self.peak, value)
        if not self.budget.held(moment - self.since) or moment < self._cool:
            self.state = PENDING
            return ""
        self.state = EXCEEDED
        self.exceeded = True
        self.level = SEVERITIES.index(self.budget.severity)
        self._seen = 0.0
        self._large = self._long = False
        self._escalate(moment)  # what is far over from its first moment is one alert, not two
        return RAISED

    def _exceeded(self, moment: float, value: float, over: bool) -> str:
        self.state = EXCEEDED
        self.peak = max(self.peak, value)
        if self._last is not None:
            self._seen += moment - self._last
        if value > self.budget.clear:
            self._below = None
            return ESCALATED if over and self._escalate(moment) else ""
        if self._below is None:
            self._below = moment
        if not self.budget.held(moment - self._below):
            return ""
        self.state = OK
        self.exceeded = False
        self._below = None
        self._cool = moment + self.budget.cooldown
        return RESOLVED

    def _escalate(self, moment: float) -> bool:
        """Raise the severity if size or time ask for it; return whether it rose."""
        before = self.level
        if not self._large and self._twice is not None and self.budget.held(moment - self._twice):
            self._large = True
            self.level += 1
        if not self._long and not self.budget.once and self._seen >= max(LONG * self.budget.for_, LONGEST):
            self._long = True
            self.level += 1
        self.level = min(self.level, len(SEVERITIES) - 1)
        return self.level > before

    def minute_ago(self, moment: float) -> float | None:
        """Return the value a minute before *moment*, None if there was none then."""
        return next(
            (value for at, value in reversed(self._past) if _MINUTE <= moment - at <= _MINUTE + 2 * _STEP), None
        )


class Evaluator:
    """All budgets of this process.

    Attributes:
        history: the alerts that are over, oldest first, at most HISTORY: each as it was resolved, or gone.
    """

    def __init__(self, budgets: Iterable[Budget], now: float, unit_of: Callable[[str], str] | None = None) -> None:
        """Watch *budgets*.

        Args:
            budgets: the definitions; later ones come through add().
            now: the monotonic moment.
            unit_of: the unit of an instrument as OpenTelemetry writes it, empty if it is not known.
        """
        self.history: list[Alert] = []
        self._watches: dict[str, Watch] = {}
        self._unit_of = unit_of
        self._moment = now
        self._time = 0
        for budget in budgets:
            self.add(budget)

    def add(self, budget: Budget) -> None:
        """Watch *budget* too, or by this definition from now on; nothing happens if it is watched as it is."""
        watch = self._watches.get(budget.name)
        if watch is not None and watch.budget == budget:
            return
        if watch is not None and watch.budget.metric == budget.metric:
            watch.define(budget)
            return
        self.remove(budget.name)
        self._watches[budget.name] = Watch(budget)

    def remove(self, name: str) -> None:
        """Watch the budget *name* no more; what was exceeded is gone, not resolved."""
        watch = self._watches.pop(name, None)
        if watch is not None and watch.exceeded:
            self._remember(self._alert(watch, GONE))

    def close(self) -> None:
        """Watch nothing more: the process ends."""
        for name in list(self._watches):
            self.remove(name)

    def step(
        self,
        moment: float,
        time_ns: int,
        value_of: Callable[[Budget], float | None],
        idle: bool | None = None,
        gap: bool = False,
    ) -> list[Alert]:
        """Judge all budgets at one moment; return the alerts that come of it.

        Args:
            moment: monotonic seconds.
            time_ns: the same as nanoseconds since 1970.
            value_of: the value that a budget compares with its limit, None if there is none. An exception of it leaves
                all as it was.
            idle: no tracked work ran since the step before; None while the program has recorded none at all.
            gap: the process did not run (suspended, stopped) for a part of that time: nothing is judged over it.
        """
        moment = max(moment, self._moment)
        watches = list(self._watches.values())
        values = [None if gap or not _judged(watch.budget, idle) else value_of(watch.budget) for watch in watches]
        self._moment, self._time = moment, time_ns
        alerts = []
        for watch, value in zip(watches, values, strict=True):
            level = watch.level
            kind = watch.step(moment, value)
            if kind:
                alert = self._alert(watch, kind, SEVERITIES[level] if kind == ESCALATED else "")
                alerts.append(alert)
                if kind == RESOLVED:
                    watch.since = None
                    self._remember(alert)
        return alerts

    def watches(self) -> list[Watch]:
        """Return all that is watched, as it is after the last step: what costs less than states()."""
        return list(self._watches.values())

    def states(self) -> list[Standing]:
        """Return where each budget stands after the last step; what is gone is not there."""
        return [self._standing(watch) for watch in list(self._watches.values())]

    def _standing(self, watch: Watch) -> Standing:
        since = watch.since
        return Standing(
            watch.budget,
            watch.state,
            watch.value,
            unit=self._unit(watch.budget),
            exceeded=watch.exceeded,
            severity=SEVERITIES[watch.level] if watch.exceeded else watch.budget.severity,
            over=0.0 if since is None else watch.over,
            duration=0.0 if since is None else self._moment - since,
            peak=None if since is None else watch.peak,
        )

    def _alert(self, watch: Watch, kind: str, previous: str = "") -> Alert:
        return Alert(
            watch.budget,
            kind,
            SEVERITIES[watch.level],
            value=watch.value,
            unit=self._unit(watch.budget),
            time=self._time,
            duration=self._moment - (self._moment if watch.since is None else watch.since),
            peak=watch.peak,
            previous=previous,
            earlier=watch.minute_ago(self._moment) if kind == RAISED else None,
        )

    def _unit(self, budget: Budget) -> str:
        known = self._unit_of(budget.instrument) if self._unit_of is not None else ""
        if not known or (known == "1" and budget.unit == "%"):
            return budget.unit or ("s" if budget.is_time else "")
        return known

    def _remember(self, alert: Alert) -> None:
        self.history.append(alert)
        if len(self.history) > HISTORY:
            del self.history[0]


def _judged(budget: Budget, idle: bool | None) -> bool:
    """Return whether *budget* is judged while the program is *idle*, or nobody knows."""
    if not budget.idle:
        return True
    return idle is True or (idle is None and budget.idle != TRACKED)
