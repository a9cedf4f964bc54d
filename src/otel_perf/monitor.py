"""Once a second: a reading is taken, the budgets are judged by it, and what comes of that goes out.

Imports only: recorder, startup, alerts, budgets, metrics, threads; loaded by the worker once the program has run for a
moment. Reading order: Monitor.look(), value_of(), metrics().
"""

from __future__ import annotations

import sys

from . import clock, recorder, startup, threads
from .alerts import OK, Alert, Evaluator, callbacks
from .budgets import DEFINED, PHASE, STARTUP, in_force, own
from .errors import ConfigError
from .export.otlp_json import attributes, double, gauge_text, metric_text
from .metrics import exemplars, measured
from .metrics.misnamed import misnamed
from .metrics.names import CORES, INSTRUMENTS, WRITTEN
from .metrics.quantiles import quantile
from .metrics.sampler import choose
from .metrics.tick import Tick
from .metrics.wholes import whole_of
from .recorder import BUCKETS, FOREVER, LOWEST, N_PATH, N_TOTAL, START, snapshot
from .score import score

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .budgets import Budget
    from .config import Settings
    from .metrics.offered import Values

METRICS_API = "opentelemetry.metrics"
INFO = 9  # severity number
FUNCTION = "otel_perf.function.duration"
DROPPED = "otel_perf.self.dropped"
ABSENT = "otel_perf.metric.absent"  # event: a metric cannot be read
WARN = 13  # severity number
AGAIN = 60.0  # seconds after which what has not changed is written again: a backend forgets what is not
VALUES_EVERY = 10.0  # seconds between two values of a budget that holds: its metric is there each second
EARLY = 0.5  # seconds by which a look may come too early for one of these
MOST_EVENTS = 128  # alerts that a span has, the newest: the limit that OpenTelemetry sets for events
WAITING = 200  # alerts that callbacks have not seen yet


class Monitor:
    """Samples and judges one process.

    Attributes:
        tick: the readings.
        evaluator: the budgets.
        infers: the program does not say itself when it is ready.
    """

    def __init__(
        self,
        settings: Settings,
        created: float,
        start: startup.Startup | None,
        note: Callable[..., None],
        complain: Callable[[str, object], None],
        infers: bool,
    ) -> None:
        """Begin.

        Args:
            settings: of the process.
            created: monotonic seconds of its creation; of the fork, in a child.
            start: its own; a forked child has none.
            note: records an event: name, severity number, ids, attributes, body.
            complain: takes a cause and a sentence.
            infers: the program does not say itself when it is ready.
        """
        self._note, self._complain, self.infers = note, complain, infers
        self._asked = settings.ready_when is not None
        self.tick = Tick(choose(settings.metric_sampler, created, self._unreadable))
        try:
            found = in_force(*settings.budgets)
        except ConfigError as error:
            complain("budgets", f"{error}; the defaults are judged, and what the program sets")
            found = in_force("", None)
        self.evaluator = Evaluator(found, clock.now(), _unit_of)
        for budget in found:
            if budget.source and own.get(budget.name) is not budget:  # a default is known, the program's own come next
                self._define(budget)
        self._own: list[Budget] | None = None  # that the program has set, as far as they are watched
        self._take_own()
        self._counts: dict[tuple[str, str], int] = {}
        self._started = start
        self._linked = self._was_linked = False  # its duration to its trace; before the last metrics()
        self._heads: dict[str, str] = {}  # of a budget's points
        self._forget()
        self._rates: dict[str, tuple[float, float, float | None]] = {}  # of a budget: moment, value, and its rate
        self._calls = -1
        self._since = clock.wall_ns()
        self._queue: list[Alert] = []
        self._calling = False
        self._offers: Any = None  # to the application's MeterProvider
        self.dropped: Callable[[], int] = lambda: 0

    @property
    def due(self) -> float:
        """Monotonic seconds of the next look."""
        return self.tick.due

    def _unreadable(self, cause: str, text: str) -> None:
        """Say that something cannot be sampled, and record it: nobody else can know, and `doctor` asks."""
        self._complain(cause, text)
        self._note(ABSENT, WARN, (0, 0), {"metric": cause.removeprefix("metric ")}, text)

    # --- once a second -----------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Take a reading, judge the budgets, send the alerts out."""
        self._take_own()
        reading = self.tick.tick()
        moment = reading.moment
        self._take_rates(moment)
        for alert in self.evaluator.step(moment, reading.time, self.value_of, self._idle(), reading.gap):
            self._send(alert)
        if METRICS_API in sys.modules:
            self._offer()

    def _offer(self) -> None:
        """Let the application's own MeterProvider have all this, too, if it has set one."""
        from .metrics import offered

        try:
            if offered.provider() is not None:
                if self._offers is None:
                    self._offers = offered.Source(self.names, self.values)
                offered.offer(self._offers)
        except Exception as error:  # noqa: BLE001  # its provider may do anything
            self._complain("meter provider", f"the application's MeterProvider does not get our metrics: {error}")

    def _take_own(self) -> None:
        """Watch what the program has set since the last look."""
        budgets = list(own.values())
        if budgets == self._own:
            return
        before = self._own or []
        self._own = budgets
        for budget in budgets:
            self.evaluator.add(budget)
            if budget not in before:
                self._define(budget)
        self.tick.watch(frozenset([watch.budget.instrument for watch in self.evaluator.watches()]))

    def _define(self, budget: Budget) -> None:
        """Record what a budget is: whoever reads the run may have another configuration, and not this program."""
        self._note(DEFINED, INFO, (0, 0), budget.fields())
        text = misnamed(budget)
        if text and measured.latest(budget.instrument, {}) is None:
            self._complain(text, text)

    def _idle(self) -> bool | None:
        """Return whether no tracked work ran since the last look, None if the program never recorded any.

        Counting all calls takes a moment, so it is asked only while a CPU is used.
        """
        if not recorder.nodes:
            return None
        cores = self.tick.latest(CORES[0])
        budgets = [watch.budget for watch in self.evaluator.watches() if watch.budget.idle]
        of_cores = [budget.max for budget in budgets if budget.instrument == CORES[0] and not budget.form]
        if len(of_cores) == len(budgets) and (cores is None or cores <= min(of_cores, default=cores)):
            self._calls = -1
            return True
        before, self._calls = self._calls, sum([sum(snapshot(node)[2]) for node in list(recorder.nodes)])
        return before == self._calls and not recorder.open_spans and not _in_a_profiled_call()

    def _send(self, alert: Alert) -> None:
        frame = self._running()
        if frame is not None:
            span = frame[recorder.SPAN]
            alert.running = recorder.name_of(frame)
            alert.trace_id, alert.span_id = span.trace.id, span.span_id
            with recorder.hold():
                if span.events is None:
                    span.events = []
                span.events.append((alert.event, alert.time, alert.attributes))
                del span.events[:-MOST_EVENTS]
        elif startup.current is not None:
            alert.trace_id, alert.span_id = startup.current.trace.id, startup.current.root.span_id
        alert.whole = whole_of(alert.budget.instrument, self.tick.sampler.facts())
        key = alert.name, alert.severity
        self._counts[key] = self._counts.get(key, 0) + (alert.kind != "resolved")
        self._note(alert.event, alert.severity_number, (alert.trace_id, alert.span_id), alert.attributes, alert.body)
        if callbacks:
            self._queue.append(alert)
            del self._queue[:-WAITING]
            if not self._calling:
                self._begin_to_call()

    def _begin_to_call(self) -> None:
        self._calling = True
        try:
            threads.start(self._call_back, ())
        except RuntimeError:  # no thread can start any more
            self._calling = False

    def _running(self) -> Any:
        """Return the innermost span of ours that is open, the latest of several; None if there is none."""
        found = [frame for frame in list(recorder.open_spans.values()) if frame[recorder.SPAN] is not None]
        found = [frame for frame in found if frame[recorder.SPAN].trace is not None]
        return max(found, key=lambda frame: (frame[recorder.SPAN].depth, frame[START]), default=None)

    def _call_back(self) -> None:
        """Tell the program of its alerts, on a thread of its own: a slow callback delays no one else."""
        try:
            while self._queue:
                alert = self._queue.pop(0)
                for callback in list(callbacks):
                    try:
                        callback(alert)
                    except BaseException as error:  # noqa: BLE001  # the program's; said once
                        name = getattr(callback, "__qualname__", type(callback).__name__)
                        self._complain(
                            f"on_alert {name}", f"on_alert: {name}() failed: {type(error).__name__}: {error}"
                        )
        finally:
            self._calling = False
            if self._queue and sys.exc_info()[0] is None:  # one came between the last look and this line
                self._begin_to_call()

    # --- what budgets ask for ----------------------------------------------------------------------------------------

    def value_of(self, budget: Budget) -> float | None:
        """Return the value that *budget* compares with its limit now, None if there is none."""
        name = budget.instrument
        if budget.form == "rate":
            return self._rates[budget.name][2] if budget.name in self._rates else None
        if name == STARTUP:
            return self._start(budget)
        if name == PHASE:
            return _longest_phase(budget)
        if name == FUNCTION:
            return _function(budget)
        if budget.form == "quantile":
            found = measured.durations(name, budget.selector)
            return None if found is None else _quantile(budget.quantile, *found)
        return self._value(budget)

    def _value(self, budget: Budget) -> float | None:
        name = budget.instrument
        if name in INSTRUMENTS:
            return self.tick.latest(name, budget.selector)
        if name == DROPPED:
            return float(self.dropped())
        return measured.latest(name, budget.selector)

    def _take_rates(self, moment: float) -> None:
        """Note by how much the metrics grew of which a budget judges the rate."""
        for watch in self.evaluator.watches():
            budget = watch.budget
            if budget.form != "rate":
                continue
            value = self._value(budget)
            before = self._rates.pop(budget.name, None)
            if value is None:
                continue
            rate = None
            if before is not None and moment > before[0] and value >= before[1]:
                rate = (value - before[1]) / (moment - before[0])
            self._rates[budget.name] = moment, value, rate

    def _start(self, budget: Budget) -> float | None:
        """Return how long the start took; of one that lasts, as soon as it is too long, if its end will be known."""
        start = self._started
        if start is None or start.root.trace is None:
            return None
        begun = start.frame[START]
        if start.over:
            known = start.rule not in ("exit", "shutdown", "signal") or self._asked
            return start.end - begun if known else None
        if start.found is not None or (self.infers and not self._asked):  # ready, as it seems: ready() may still come
            return None
        lasts = clock.now() - begun
        return lasts if lasts > budget.max else None

    # --- for the application's own MeterProvider ---------------------------------------------------------------------

    def names(self) -> dict[str, tuple[str, str]]:
        """Return the instruments that have values, with their kind and unit; those of the program's own too."""
        found = {key[0]: INSTRUMENTS[key[0]][:2] for key in self.tick.series()}
        found |= {name: WRITTEN[name][:2] for name in self._judged()}
        return found | measured.observable()

    def values(self, name: str) -> Values:
        """Return the newest values of one of them, each with its attributes."""
        if name in INSTRUMENTS:
            return [(value, dict(key[1])) for key, value in self.tick.series().items() if key[0] == name]
        judged = self._judged().get(name)
        return measured.observed(name) if judged is None else judged

    def _judged(self) -> dict[str, Values]:
        """Return the newest values of what is not measured but judged, and of the start."""
        start, points = self._started, score(self.evaluator).points
        over = start is not None and start.over and start.root.trace is not None
        watches = [(watch, {"budget": watch.budget.name}) for watch in self.evaluator.watches()]
        return {
            "otel_perf.budget.value": [(watch.value, name) for watch, name in watches if watch.value is not None],
            "otel_perf.budget.limit": [(watch.budget.max, name) for watch, name in watches],
            "otel_perf.budget.state": [(watch.state, name) for watch, name in watches],
            "otel_perf.score": [] if points is None else [(round(points, 2), {})],
            "otel_perf.alerts": [
                (count, {"budget": name, "severity": severity}) for (name, severity), count in self._counts.items()
            ],
            STARTUP: [(start.end - start.frame[START], {})] if start is not None and over else [],
            PHASE: [(seconds, {"phase": name}) for name, seconds in _phases().items()],
            DROPPED: [(self.dropped(), {})],
        }

    # --- to the run folder -------------------------------------------------------------------------------------------

    def metrics(self, final: bool = False) -> list[str]:
        """Return what is new as OTLP metrics, at the end all that is ours; again() takes that back."""
        time = self.tick.wall_ns(clock.now())
        self._was_linked = self._linked
        if final:
            self._forget()
        return [*self.tick.metrics(), *self._of_budgets(time), *self._of_the_start(time)]

    def again(self) -> None:
        """Take the last metrics() back: they did not reach the disk."""
        self.tick.again()
        self._linked = self._was_linked
        self._forget()

    def everything_again(self) -> None:
        """Let the next metrics() hold all that there are."""
        self.tick.everything_again()
        self._forget()

    def _forget(self) -> None:
        """Write all of ours again."""
        self._again = self._all_due = self._values_due = 0.0
        self._written: dict[str, tuple[Budget, int]] = {}  # budget and state of its last points
        self._scored: list[tuple[Budget, int, bool, float]] = []  # what the last score is of
        self._counted = 0

    def _of_budgets(self, time: int) -> list[str]:
        """Return the budgets that have changed; each minute all of them.

        The values that a budget of idle seconds judged are there each second: nothing else tells which those are.
        """
        moment = clock.now()
        everything = moment + EARLY >= self._all_due
        if everything:
            self._all_due = moment + AGAIN
        with_values = moment + EARLY >= self._values_due
        if with_values:
            self._values_due = moment + VALUES_EVERY
        when = f'"timeUnixNano":"{time}"'
        values, limits, states = [], [], []
        watches = self.evaluator.watches()
        for watch in watches:
            budget, state = watch.budget, watch.state
            is_new = everything or self._written.get(budget.name) != (budget, state)
            value = watch.value if is_new or with_values or state > OK or budget.idle else None
            if not is_new and value is None:
                continue
            head = self._heads.get(budget.name)
            if head is None:
                head = self._heads[budget.name] = f'{{"attributes":[{attributes({"budget": budget.name})}],'
            if value is not None:
                values.append(f'{head}{when},"asDouble":{double(value)}}}')
            if is_new:
                self._written[budget.name] = budget, state
                limits.append(f'{head}{when},"asDouble":{double(budget.max)}}}')
                states.append(f'{head}{when},"asInt":"{state}"}}')
        found = [
            _gauge("otel_perf.budget.value", "", values),
            _gauge("otel_perf.budget.limit", "", limits),
            _gauge("otel_perf.budget.state", "{state}", states),
        ]
        if everything or limits or any(watch.exceeded for watch in watches):
            found.append(self._score(when, everything))
        if self._counts and (everything or sum(self._counts.values()) != self._counted):
            found.append(self._alerts(when))
        return [text for text in found if text]

    def _score(self, when: str, everything: bool) -> str:
        """Return the score, if it is of something else than the last one; empty if not, or if there is none."""
        marks = [(watch.budget, watch.state, watch.exceeded, watch.over) for watch in self.evaluator.watches()]
        if marks == self._scored and not everything:
            return ""
        self._scored = marks
        points = score(self.evaluator).points
        if points is None:
            return ""
        return _gauge("otel_perf.score", "{score}", [f'{{{when},"asDouble":{double(round(points, 2))}}}'])

    def _alerts(self, when: str) -> str:
        self._counted = sum(self._counts.values())
        points = [
            f'{{"attributes":[{attributes({"budget": name, "severity": severity})}]'
            f',"startTimeUnixNano":"{self._since}",{when},"asInt":"{count}"}}'
            for (name, severity), count in self._counts.items()
        ]
        return metric_text("otel_perf.alerts", "{alert}", "sum", points)

    def _of_the_start(self, time: int) -> list[str]:
        start = self._started
        if start is None or not start.over or start.held or clock.now() < self._again or start.root.trace is None:
            return []
        self._again = clock.now() + AGAIN
        when, link = f'"timeUnixNano":"{time}"', self._link_to(start)
        phases = [
            f'{{"attributes":[{attributes({"phase": name})}],{when},"asDouble":{double(seconds)}{link(seconds)}}}'
            for name, seconds in _phases().items()
        ]
        duration = start.end - start.frame[START]
        whole = _gauge(STARTUP, "s", [f'{{{when},"asDouble":{double(duration)}{link(duration)}}}'])
        return [text for text in (whole, _gauge(PHASE, "s", phases)) if text]

    def _link_to(self, start: startup.Startup) -> Callable[[float], str]:
        """Return what gives a duration of the start its exemplar: the first of its points leads to its root."""
        linked, self._linked = self._linked, True
        if linked or not start.trace.sampled or recorder.state.exemplars == exemplars.OFF:
            return lambda seconds: ""
        time = int(start.end * 1e9) + start.trace.offset
        return lambda seconds: exemplars.field(seconds, time, start.trace.id, start.root.span_id)

    def close(self) -> None:
        """End: nothing is judged any more."""
        self.evaluator.close()
        self.tick.close()
        offered = sys.modules.get(f"{__package__}.metrics.offered")
        if offered is not None:
            offered.withdraw()


def _gauge(name: str, unit: str, points: list[str]) -> str:
    return gauge_text(name, unit, points) if points else ""


def _unit_of(instrument: str) -> str:
    return INSTRUMENTS[instrument][1] if instrument in INSTRUMENTS else ""


def _in_a_profiled_call() -> bool:
    """Say whether a thread is inside a profiled function: its wrapper is on the stack."""
    file = getattr(sys.modules.get(f"{__package__}.wrappers"), "FILE", None)  # it may just be loaded
    for frame in sys._current_frames().values():  # noqa: SLF001
        below: Any = frame
        while below is not None:
            if below.f_code.co_filename == file:
                return True
            below = below.f_back
    return False


def _phases() -> dict[str, float]:
    """Return how long each phase took, all its times and call paths together."""
    found: dict[str, float] = {}
    for node in list(recorder.nodes):
        site = node[N_PATH].site
        if site.kind == "phase":
            found[site.name] = found.get(site.name, 0.0) + node[N_TOTAL]
    return found


def _longest_phase(budget: Budget) -> float | None:
    """Return how long the phase took that *budget* selects, the longest of all if it selects none."""
    phases = _phases()
    return phases.get(budget.selector.get("phase", "")) if budget.selector else max(phases.values(), default=None)


def _function(budget: Budget) -> float | None:
    """Return the longest duration, or a quantile, of the calls that *budget* selects."""
    function, kind = budget.selector.get("function"), budget.selector.get("kind")
    counts, shortest, longest = [0] * BUCKETS, FOREVER, 0.0
    for node in list(recorder.nodes):
        site = node[N_PATH].site
        if function not in (None, site.series) or kind not in (None, site.kind):
            continue
        counts = [a + b for a, b in zip(counts, snapshot(node)[2], strict=True)]
        shortest, longest = min(shortest, node[N_PATH].min), max(longest, node[N_PATH].max)
    if not any(counts):
        return None
    return longest if budget.form != "quantile" else _quantile(budget.quantile, counts, shortest, longest)


def _quantile(share: float, counts: list[int], shortest: float, longest: float) -> float | None:
    """Return below which duration the *share* of all is, by buckets as recorder.bucket_of() counts them."""
    return quantile(share, counts[0], LOWEST + 1, counts[1:], shortest, longest)
