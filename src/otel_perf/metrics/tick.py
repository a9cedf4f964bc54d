"""Once a second: a reading, its place in time, the past of what is drawn, and the points for the run folder.

Imports only: clock, export, names, sampler, series; trend.py when somebody asks. One thread at a time ticks and takes
the metrics; any may ask. Reading order: tick(), metrics(), then the questions.
"""

from __future__ import annotations

from _thread import allocate_lock

from otel_perf import clock
from otel_perf.export.otlp_json import attributes, quote

from .names import HISTORY, INSTRUMENTS, LATE, LATENESS, STEPS, UNIQUE, found, is_whole
from .series import Ring

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from .names import Key, Values
    from .sampler import Reading, Sampler
    from .trend import Trend

INTERVAL = 1.0  # seconds
LATE_BY = 0.1  # seconds after which a tick is late
GAP = 2.0  # ticks without a reading that are a gap
STEP = 0.1  # seconds by which the wall clock moved otherwise than time went by
SLOWER = 0.9  # of real time, while the times of the points are ahead of a wall clock that was set back
MAX_PENDING = 120  # readings that wait to be written; of more the oldest go
MAX_FORMS = 16
RECENT = 30  # readings
OFTEN_FOR = 600.0  # seconds in which every reading of the machine is written, too; then
SELDOM = 10  # readings: each such one

_OF_THE_MACHINE = ("system.", "otel_perf.system.")
_OF_THE_PROCESS = ("process.", "otel_perf.")
_ADDED = ("process.cpu.utilization", "system.memory.usage", "system.memory.utilization")  # gauges: parts of one whole


class Form:
    """How the readings that have the same series are written: one template, because most of it never changes.

    Attributes:
        keys: of the series, in the order of the template.
        text: the template.
        whole: whether these are all of a reading.
    """

    __slots__ = ("keys", "text", "whole")

    def __init__(self, some: tuple[Key, ...], created: int, since: int, whole: bool) -> None:
        """Build the template.

        Args:
            some: keys of a reading.
            created: nanoseconds since 1970 from which on the process's own sums count, and
            since: all others.
            whole: else only what the process itself does.
        """
        metrics: dict[str, list[Key]] = {}
        for key in some:
            if key[0] in INSTRUMENTS and (whole or key[0].startswith(_OF_THE_PROCESS)):
                metrics.setdefault(key[0], []).append(key)
        self.keys = [key for keys in metrics.values() for key in keys]
        self.text = ",".join([_template(name, keys, created, since) for name, keys in metrics.items()])
        self.whole = whole

    def fill(self, values: Values, time: int) -> str:
        """Return *values* of the moment *time* as OTLP metrics, a comma between two."""
        return (self.text % tuple([values[key] for key in self.keys])).replace("@", str(time))


def _template(name: str, some: list[Key], created: int, since: int) -> str:
    kind, unit, monotonic = INSTRUMENTS[name]
    first = "" if kind == "gauge" else f'"startTimeUnixNano":"{_start(name, created, since)}",'
    number = '"asInt":"%d"' if is_whole(name) else '"asDouble":%r'
    points = ",".join(
        [f'{{"attributes":[{_escape(attributes(dict(key[1])))}],{first}"timeUnixNano":"@",{number}}}' for key in some]
    )
    about = "" if kind == "gauge" else '"aggregationTemporality":2,' + ('"isMonotonic":true,' if monotonic else "")
    form = "gauge" if kind == "gauge" else "sum"
    return f'{{"name":{quote(name)},"unit":"{unit}","{form}":{{{about}"dataPoints":[{points}]}}}}'


def _start(name: str, created: int, since: int) -> int:
    return created if name.startswith(("process.", "cpython.")) else since


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
        self._begun = self._moment
        self._created = self._wall - int((self._moment - sampler.created) * 1e9)
        self._started = self._wall
        self._before: Reading | None = None
        self._whole: Reading | None = None  # the newest that has the machine too, and the one before
        self._whole_before: Reading | None = None
        self._unique: float | None = None
        self._rings: dict[Key, Ring] = {}
        self._recent: list[Reading] = []  # not in the rings yet
        self._lock = allocate_lock()
        self._forms: dict[tuple[Key, ...], tuple[Form, Form]] = {}
        self._forms_since = 0
        self._pending: list[Reading] = []
        self._taken: list[Reading] = []

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
        moment, boot, wall = reading.moment, clock.since_boot(), reading.time
        awake = moment - self._moment
        slept = max(0.0, boot - self._boot - awake)
        if slept < STEP:  # the two clocks are not read at once
            slept = 0.0
        past = awake + slept
        stepped = (wall - self._wall) / 1e9 - past
        self._moment, self._boot, self._wall = moment, boot, wall
        reading.late = max(0.0, moment - self.due)
        reading.elapsed = past if self.count else 0.0
        reading.gap = self.count > 0 and (past > GAP * self.interval or slept > 0.0)
        if abs(stepped) > STEP:
            self.steps += 1
            reading.gap = reading.gap or (self.count > 0 and clock.since_boot is clock.now)  # sleep looks like a step
        self.gaps += reading.gap
        self.late += reading.late > LATE_BY
        self.due += self.interval
        if self.due <= moment:
            self.due = moment + self.interval
        # Time goes on. Ahead of a wall clock that was set back it goes slower, until that has caught up.
        self._time = reading.time = max(wall, self._time + int(past * SLOWER * 1e9), self._time + 1)

    # --- to the run folder -------------------------------------------------------------------------------------------

    def metrics(self, start_ns: int = 0) -> list[str]:
        """Return all readings since the last call as OTLP metrics, a text each; again() takes that back.

        What the process does is written every second for ever, what the machine does every tenth after ten minutes.

        Args:
            start_ns: nanoseconds since 1970 from which on sums count that are not the process's own, default when this
                began.
        """
        self._taken, self._pending = self._pending, []
        return [
            self._form(reading, start_ns or self._started).fill(reading.values, reading.time) for reading in self._taken
        ]

    def _form(self, reading: Reading, since: int) -> Form:
        if since != self._forms_since or len(self._forms) > MAX_FORMS:
            self._forms_since = since
            self._forms.clear()
        some = tuple(reading.values)
        forms = self._forms.get(some)
        if forms is None:
            both = [Form(some, self._created, since, whole) for whole in (False, True)]
            forms = self._forms[some] = both[0], both[1]
        often = reading.moment - self._begun < OFTEN_FOR
        return forms[often or int(reading.moment) % SELDOM == 0]

    def again(self) -> None:
        """Take back the last metrics(): they did not reach the disk."""
        self._pending = [*self._taken, *self._pending]
        self._taken = []
        surplus = len(self._pending) - MAX_PENDING
        if surplus > 0:
            del self._pending[:surplus]
            self.dropped += surplus

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
