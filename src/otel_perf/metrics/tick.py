"""Once a second: a reading, its place in time, the past of what is drawn, and the points for the run folder.

Imports only: clock, export, names, sampler, series; trend.py when somebody asks. One thread at a time ticks and takes
the metrics; any may ask. Reading order: tick(), metrics(), then the questions.
"""

from __future__ import annotations

from _thread import allocate_lock

from otel_perf import clock
from otel_perf.export.otlp_json import attributes, quote

from .names import (
    CORES,
    CPU_SHARE,
    CPU_TIME,
    FILES,
    HANDLES,
    HISTORY,
    INSTRUMENTS,
    LATE,
    LATENESS,
    MEMORY,
    STEPS,
    THREADS,
    UNIQUE,
    UPTIME,
    found,
    is_whole,
)  # fmt: skip
from .series import Ring

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from .names import Key, Values
    from .sampler import Reading, Sampler
    from .trend import Trend

    Template = tuple[str, str, bool, list[tuple[Key, str]]]  # of a metric: its beginning, its end, whether it is a
    # gauge of the machine, which is written with each look at that, and the template of each point

INTERVAL = 1.0  # seconds
LATE_BY = 0.1  # seconds after which a tick is late
GAP = 2.0  # ticks without a reading that are a gap
STEP = 0.1  # seconds by which the wall clock moved otherwise than time went by
MAX_PENDING = 120  # readings that wait to be written; of more the oldest go
MAX_FORMS = 16
RECENT = 30  # readings
SELDOM = 10  # seconds between two looks at the machine; what a budget watches is read and written every second
AGAIN = 60.0  # seconds after which also what has not changed is written: a backend forgets what is not
EARLY = 0.5  # seconds by which a reading may come too early for one of these

_OF_THE_MACHINE = ("system.", "otel_perf.system.")
_OFTEN = frozenset(  # written every second, changed or not
    key[0] for key in (CPU_TIME[0], CPU_SHARE[0], CORES, MEMORY, UNIQUE, THREADS, FILES, HANDLES, UPTIME, LATENESS)
)
_ADDED = ("process.cpu.utilization", "system.memory.usage", "system.memory.utilization")  # gauges: parts of one whole


class Form:
    """How the readings that have the same series are written: templates, because most of it never changes.

    Attributes:
        keys: of the series that are written with each reading, in the order of
        text: their template.
        process: templates of the process's other metrics, which are written when they have changed, and
        machine: of the machine's.
    """

    __slots__ = ("keys", "machine", "process", "text")

    def __init__(self, some: tuple[Key, ...], created: int, since: int, watched: frozenset[str]) -> None:
        """Build the templates.

        Args:
            some: keys of a reading.
            created: nanoseconds since 1970 from which on the process's own sums count, and
            since: all others.
            watched: names of metrics that are written with each reading, too.
        """
        metrics: dict[str, list[Key]] = {}
        for key in some:
            if key[0] in INSTRUMENTS:
                metrics.setdefault(key[0], []).append(key)
        self.keys: list[Key] = []
        self.process: list[Template] = []
        self.machine: list[Template] = []
        texts = []
        for name, keys in metrics.items():
            start = _start(name, created, since)
            if name in _OFTEN or name in watched:
                head, end, _, points = _template(name, keys, start, "@")
                texts.append(head + ",".join([text for _, text in points]) + end)
                self.keys += keys
            else:
                group = self.machine if name.startswith(_OF_THE_MACHINE) else self.process
                group.append(_template(name, keys, start, "%d"))
        self.text = ",".join(texts)

    def often(self, values: Values, time: int) -> str:
        """Return what is written with each reading, of the moment *time*, as OTLP metrics, a comma between two."""
        return (self.text % tuple([values[key] for key in self.keys])).replace("@", str(time))


class Written:
    """What the run folder has of series that are written when they have changed."""

    __slots__ = ("_last", "_points")

    def __init__(self) -> None:
        self._points: dict[Key, tuple[float, int]] = {}  # value and time of the last point of each
        self._last: Reading | None = None  # that was compared

    def changed(self, templates: list[Template], reading: Reading, everything: bool) -> list[str]:
        """Return as OTLP metrics what has changed up to *reading*, or all of it.

        What changes after it was left out gets the point before, too: between two points nothing else happened.
        """
        values, time, points = reading.values, reading.time, self._points
        last, self._last = self._last, reading
        found = []
        for head, end, steady, some in templates:
            texts = []
            for key, template in some:
                value = values[key]
                old = points.get(key)
                if old is not None:
                    if old[0] == value and not (everything or steady):
                        continue
                    if old[0] != value and last is not None and old[1] < last.time and key in last.values:
                        texts.append(template % (last.time, old[0]))
                points[key] = value, time
                texts.append(template % (time, value))
            if texts:
                found.append(head + ",".join(texts) + end)
        return found


def _template(name: str, keys: list[Key], start: str, time: str) -> Template:
    kind, unit, monotonic = INSTRUMENTS[name]
    about = "" if kind == "gauge" else '"aggregationTemporality":2,' + ('"isMonotonic":true,' if monotonic else "")
    form = "gauge" if kind == "gauge" else "sum"
    rest = f'{start}"timeUnixNano":"{time}",' + ('"asInt":"%d"' if is_whole(name) else '"asDouble":%r') + "}"
    points = [(key, f'{{"attributes":[{_escape(attributes(dict(key[1])))}],{rest}') for key in keys]
    head = f'{{"name":{quote(name)},"unit":"{unit}","{form}":{{{about}"dataPoints":['
    return head, "]}}", kind == "gauge" and name.startswith(_OF_THE_MACHINE), points


def _start(name: str, created: int, since: int) -> str:
    """Return the beginning of what a sum counts, nothing for a gauge."""
    if INSTRUMENTS[name][0] == "gauge":
        return ""
    return f'"startTimeUnixNano":"{created if name.startswith(("process.", "cpython.")) else since}",'


def _escape(text: str) -> str:
    """Return *text* so that nothing is put in the place of its own signs."""
    return text.replace("%", "%%").replace("@", "\\u0040")


class Tick:
    """Samples one process.

    Attributes:
        sampler: what reads.
        due: monotonic seconds of the next tick.
        last: the newest reading, None before the first.
        count: readings so far, and of them those that were
        late: by more than 0.1 s, or
        gaps: after a time in which the process did not run.
        steps: of the wall clock.
        dropped: readings that were never written.
    """

    def __init__(self, sampler: Sampler, interval: float = INTERVAL) -> None:
        """Begin; the first tick is due one *interval* (seconds) from now."""
        self.sampler = sampler
        self.interval = interval
        self.last: Reading | None = None
        self.count = self.late = self.gaps = self.steps = self.dropped = 0
        self._moment, self._boot, self._wall = clock.now(), clock.since_boot(), clock.wall_ns()
        self._time = self._wall  # of the newest reading, nanoseconds since 1970
        self.due = self._moment + interval
        self._created = self._wall - int((self._moment - sampler.created) * 1e9)
        self._started = self._wall
        self._before: Reading | None = None
        self._whole: Reading | None = None  # the newest that has the machine too, and the one before
        self._whole_before: Reading | None = None
        self._unique: float | None = None
        self._rings: dict[Key, Ring] = {}
        self._recent: list[Reading] = []  # not in the rings yet
        self._lock = allocate_lock()
        self._watched: frozenset[str] = frozenset()
        self._forms: dict[tuple[Key, ...], Form] = {}
        self._forms_since = 0
        self._machine_due = self._all_due = 0.0  # seconds at which these are written again
        self._has_looked = False
        self._forget()
        self._pending: list[Reading] = []
        self._taken: list[Reading] = []

    def watch(self, names: frozenset[str]) -> None:
        """Read and write the metrics called *names* every second, because budgets judge them."""
        self._watched = names
        self._forms = {}
        self.sampler.machine_every = 1 if any(name.startswith(_OF_THE_MACHINE) for name in names) else SELDOM

    # --- once a second -----------------------------------------------------------------------------------------------

    def tick(self) -> Reading:
        """Take a reading, keep it, and say when the next one is due: none is made up for those that were missed."""
        reading = self.sampler.read()
        self._place(reading)
        values = reading.values
        values[LATENESS], values[LATE], values[STEPS] = round(reading.late, 6), self.late, self.steps
        total = sum(values.values())
        if total - total != 0.0:  # one of them is no number, or endless
            for key in [key for key, value in values.items() if value - value != 0.0]:
                del values[key]
        self.count += 1
        self._unique = values.get(UNIQUE, self._unique)
        self._recent.append(reading)
        if len(self._recent) >= RECENT:
            self._remember()
        self._before, self.last = self.last, reading
        if reading.whole:
            self._whole_before, self._whole = self._whole, reading
        self._pending.append(reading)
        if len(self._pending) > MAX_PENDING:
            del self._pending[0]
            self.dropped += 1
        return reading

    def _place(self, reading: Reading) -> None:
        """Find out how a reading lies in time: what went by, whether the process ran, what became of the wall clock."""
        moment, boot, wall = clock.together()
        reading.time = wall - int((moment - reading.moment) * 1e9)
        awake = moment - self._moment
        slept = max(0.0, boot - self._boot - awake)
        if slept < STEP:  # the two clocks are not read at once
            slept = 0.0
        past = awake + slept
        stepped = (wall - self._wall) / 1e9 - past
        self._moment, self._boot, self._wall = moment, boot, wall
        reading.late = max(0.0, reading.moment - self.due)
        reading.elapsed = past if self.count else 0.0
        reading.gap = self.count > 0 and (past > GAP * self.interval or slept > 0.0)
        if abs(stepped) > STEP:
            self.steps += 1
            reading.gap = reading.gap or (self.count > 0 and clock.since_boot is clock.now)  # sleep looks like a step
        self.gaps += reading.gap
        self.late += reading.late > LATE_BY
        if moment > self.due - self.interval / 2:  # else it came before its time, and the next one is still due
            self.due += self.interval
        if self.due <= moment:
            self.due = moment + self.interval
        # Time goes on. Ahead of a wall clock that was set back it goes slower, until that has caught up.
        self._time = reading.time = max(reading.time, self._time + int(past * clock.SLOWER * 1e9), self._time + 1)

    # --- to the run folder -------------------------------------------------------------------------------------------

    def metrics(self, start_ns: int = 0) -> list[str]:
        """Return all readings since the last call as OTLP metrics, a text each; again() takes that back.

        What tells most of the process is there every second, all else when it has changed, that of the machine every
        ten seconds; and everything each minute, so that the last point of each series is its value.

        Args:
            start_ns: nanoseconds since 1970 from which on sums count that are not the process's own, default when this
                began.
        """
        self._taken, self._pending = self._pending, []
        return [self._text(reading, start_ns or self._started) for reading in self._taken]

    def _text(self, reading: Reading, since: int) -> str:
        form = self._form(reading, since)
        texts = [form.often(reading.values, reading.time)] if form.keys else []
        moment, everything = reading.moment + EARLY, False
        looks = reading.whole and moment >= self._machine_due
        if looks:  # the second time at once: the first reading comes too early for the CPUs
            self._machine_due = reading.moment + (SELDOM if self._has_looked else 0.0)
            self._has_looked = True
            everything = moment >= self._all_due
            if everything:
                self._all_due = reading.moment + AGAIN
        texts += self._process.changed(form.process, reading, everything)
        if looks:
            texts += self._machine.changed(form.machine, reading, everything)
        return ",".join(texts)

    def _form(self, reading: Reading, since: int) -> Form:
        if since != self._forms_since or len(self._forms) > MAX_FORMS:
            self._forms_since = since
            self._forms = {}
        some = tuple(reading.values)
        form = self._forms.get(some)
        if form is None:
            form = self._forms[some] = Form(some, self._created, since, self._watched)
        return form

    def again(self) -> None:
        """Take back the last metrics(): they did not reach the disk."""
        self._pending = [*self._taken, *self._pending]
        self._taken = []
        self._forget()
        surplus = len(self._pending) - MAX_PENDING
        if surplus > 0:
            del self._pending[:surplus]
            self.dropped += surplus

    def everything_again(self) -> None:
        """Let the next metrics() hold everything: a new part of the file has to say it all."""
        self._forget()

    def _forget(self) -> None:
        """Write everything again, because nobody knows what is there."""
        self._process, self._machine = Written(), Written()
        self._machine_due = self._all_due = 0.0

    # --- questions ---------------------------------------------------------------------------------------------------

    def latest(self, name: str, attributes: Mapping[str, Any] | None = None) -> float | None:
        """Return the newest value of a metric, None if the newest reading has none.

        Of several series that match, sums and the parts of a whole are added; of other gauges it is the largest.
        """
        last, _ = self._newest(name)
        if last is None:
            return None
        values = last.values
        key = found(name)
        if key is not None and key in values and not attributes:
            return values[key]
        if name == UNIQUE[0] and not attributes:
            return None if name in self.sampler.absent else self._unique
        some = [value for key, value in values.items() if key[0] == name and _matches(key, attributes)]
        if not some:
            return None
        return sum(some) if INSTRUMENTS[name][0] != "gauge" or name in _ADDED else max(some)

    def series(self) -> Values:
        """Return the newest value of every series, those of the machine from when that was looked at."""
        last, whole = self.last, self._whole
        return {**(whole.values if whole is not None else {}), **(last.values if last is not None else {})}

    def rate(self, name: str, attributes: Mapping[str, Any] | None = None) -> float | None:
        """Return by how much a sum grew in a second, from the reading before to the newest; None if unknown."""
        last, earlier = self._newest(name)
        if last is None or earlier is None:
            return None
        values, before = last.values, earlier.values
        some = [key for key in values if key[0] == name and _matches(key, attributes)]
        grew = [values[key] - before[key] for key in some if key in before]
        past = last.moment - earlier.moment
        if not grew or len(grew) < len(some) or min(grew) < 0 or past <= 0.0:
            return None  # new, or a counter began anew
        return sum(grew) / past

    def history(self, name: str, attributes: Mapping[str, Any] | None = None) -> list[tuple[float, float]]:
        """Return at most 300 points of the past of one series: moment and value, oldest first."""
        self._remember()
        for key, ring in list(self._rings.items()):
            if key[0] == name and _matches(key, attributes):
                return ring.points()
        return []

    def trend(self, name: str, attributes: Mapping[str, Any] | None = None) -> Trend | None:
        """Return where a series is heading, None if nobody knows; takes milliseconds, so not every second."""
        from .trend import trend

        return trend(self.history(name, attributes))

    def wall_ns(self, moment: float) -> int:
        """Return *moment* as nanoseconds since 1970, as the newest reading has them."""
        if self.last is None:
            return clock.wall_ns() - int((clock.now() - moment) * 1e9)
        return self.last.time - int((self.last.moment - moment) * 1e9)

    def _newest(self, name: str) -> tuple[Reading | None, Reading | None]:
        """Return the newest reading that may have a metric, and the one before."""
        of_machine = name.startswith(_OF_THE_MACHINE)
        return (self._whole, self._whole_before) if of_machine else (self.last, self._before)

    def _remember(self) -> None:
        """Put the readings of the last seconds into the rings: all at once, which costs a fraction of one by one."""
        with self._lock:
            recent, self._recent = self._recent, []
            for reading in recent:
                for key in HISTORY:
                    value = reading.values.get(key)
                    if value is not None:
                        ring = self._rings.get(key)
                        if ring is None:
                            ring = self._rings[key] = Ring()
                        ring.add(reading.moment, value)

    def close(self) -> None:
        """End; nothing is read any more."""
        self.sampler.close()


def _matches(key: Key, attributes: Mapping[str, Any] | None) -> bool:
    if not attributes:
        return True
    own = dict(key[1])
    return all(name in own and str(own[name]) == str(value) for name, value in attributes.items())
