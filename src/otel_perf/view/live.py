"""One process that the page shows: read once, then followed as it goes on.

Reading order: Live.advance(), which one thread calls again and again; Live.settled(), with which every answer begins.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, replace
from threading import Event, RLock
from time import monotonic
from typing import TYPE_CHECKING, Any

from otel_perf.alerts import ESCALATED, RAISED, RESOLVED
from otel_perf.analysis.loading import Reader
from otel_perf.analysis.model import Process, is_running
from otel_perf.analysis.record import BUDGET
from otel_perf.analysis.startup import judged_by_process
from otel_perf.analysis.text import Style
from otel_perf.budgets import load
from otel_perf.errors import ConfigError, UserError
from otel_perf.metrics.names import LATENESS

from .charts import Charts
from .profile import Profile
from .traces import Places

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TypeVar

    from otel_perf.analysis.loading import SeriesKey
    from otel_perf.export.decode import Log, Point

    T = TypeVar("T")

SLICE = 2**19  # bytes that are read at once: whoever asks waits for no more than that
MOST_MARKERS = 500
SHARE = 0.1  # of the time in which a start that is not over is explained
STALL = 0.5  # seconds by which a sample must come late to be told
_KINDS = {RAISED: "alert", ESCALATED: "escalated", RESOLVED: "resolved"}
PLAIN = Style(width=10**6)  # a page wraps its lines itself


@dataclass(frozen=True, slots=True)
class Marker:
    """A moment that charts mark; *time* in milliseconds since 1970."""

    time: float
    kind: str
    severity: str
    text: str
    budget: str | None

    def as_object(self) -> dict[str, Any]:
        """Return what api.ts calls Marker."""
        return {name: getattr(self, name) for name in ("time", "kind", "severity", "text", "budget")}


@dataclass(slots=True)
class Rare:
    """What was made of a start, of what, and until when (monotonic seconds) that is good enough if spans were added."""

    value: Any = None
    key: object = None
    stands: object = None
    number: int = 0
    until: float = 0.0


class Live(Reader):
    """A process, as far as it was read. All methods may be called from any thread.

    Attributes:
        lock: holds what was read still.
        error: why it cannot be read, empty if it can.
        whole: is set once all that there was at a look has been read, and
        awaited: until which moment (monotonic seconds) an answer waits for that.
        stale: its files are others by now: whoever follows it has to begin anew.
        version: changes whenever something was read.
        building: is held by whoever joins the spans of the start to a tree: of a large one that takes seconds, in which
            others read on. Who wants both locks takes this one first.
    """

    def __init__(self, path: str, others: Iterable[str] = ()) -> None:
        super().__init__(path, others)
        self.lock = RLock()
        self.building = RLock()
        self.error = ""
        self.whole = Event()
        self.awaited = 0.0
        self.stale = False
        self.version = 0
        self.total = 0
        self.charts = Charts()
        self.profile = Profile()
        self.places = Places()
        self._markers: list[Marker] = []
        self._cached: dict[str, tuple[object, Any]] = {}
        self._of_start = Rare()
        with suppress(ConfigError):  # as the report: a program that ran elsewhere is no reason to judge our settings
            self._known.budgets = load()

    # --- reading ---

    def line(self, offset: int, latest: int) -> None:
        """Note where the spans of a time are."""
        self.places.add(offset, latest)

    def point(self, point: Point, key: SeriesKey) -> None:
        """Take a point for charts and flame graphs, too."""
        super().point(point, key)
        self.charts.point(point, key)
        self.profile.point(point, key)
        if point.metric == LATENESS[0] and (point.value or 0.0) >= STALL:
            text = f"the program let nothing else run for {PLAIN.duration(float(point.value or 0.0))}"
            self._mark(Marker(point.time / 1e6, "stall", "warning", text, None))

    def log(self, log: Log) -> None:
        """Take an alert for charts, too."""
        super().log(log)
        kind = log.event.removeprefix(BUDGET) if log.event.startswith(BUDGET) else ""
        if kind in _KINDS:
            severity, budget = log.attributes.get("severity"), log.attributes.get("budget")
            self._mark(
                Marker(
                    log.time / 1e6,
                    _KINDS[kind],
                    severity if severity in ("info", "warning", "critical") else "info",
                    log.body if isinstance(log.body, str) else "",
                    budget if isinstance(budget, str) else None,
                )
            )

    def advance(self) -> bool:
        """Read a little of what is new; say whether there may be more."""
        with self.lock:
            before = self.read
            try:
                self.stale = self.stale or any(tail.began_anew() for tail in self.tails.values())
                more = not self.stale and self.take(SLICE, over=not self.running)
                self.total = sum(tail.size() for tail in self.tails.values())
                self.error = ""
            except UserError as error:
                self.error, more = error.message, False
            except OSError as error:
                where = error.filename or self.path
                self.error, more = f"cannot read {where}: {error.strerror or error}; is it yours?", False
            if self.read != before:
                self.version += 1
        if not more:
            self.whole.set()
        return more

    def others(self, names: list[str]) -> None:
        """Take the names of the run's other processes."""
        with self.lock:
            if names != self._known.others:
                self._known.others = names
                self.version += 1

    @property
    def read(self) -> int:
        """Bytes that were read."""
        return sum(tail.offset for tail in self.tails.values())

    @property
    def running(self) -> bool:
        """The process still runs, as far as one can see."""
        return not self._ended() and still_runs(self._known, self.first)

    def settled(self) -> Process:
        """Return the process as it is known by now; for whoever holds the lock, as long as he does."""
        running = self.running
        process = self.process()
        process.running = running
        self.charts.settle()
        return process

    def of_start(self, make: Callable[[Process], T]) -> tuple[T, int]:
        """Return what *make* gave of the start, and a number that is another one when that is.

        It is made once of each start, and at once when that ends; while spans are added, in a SHARE of the time.
        """
        with self.building:
            with self.lock:
                process = self.settled()
                process = replace(process, nodes=list(process.nodes))
            key, now = _key_of(process), monotonic()
            stands = process.root is None, process.running
            found = self._of_start
            if found.stands != stands or (key != found.key and now >= found.until):
                found.value, found.key, found.stands = make(process), key, stands
                found.number += 1
                found.until = now + (monotonic() - now) / SHARE
            value: T = found.value
            return value, found.number

    def _mark(self, marker: Marker) -> None:
        self._markers.append(marker)
        if len(self._markers) > MOST_MARKERS:
            del self._markers[0]

    def all_markers(self, process: Process) -> list[Marker]:
        """Return what charts mark, in the order of time, of the *process* that settled() gave."""
        ready = []
        if process.root is not None:
            text = f"ready after {PLAIN.duration(process.root.duration)}"
            ready = [Marker(process.root.end / 1e6, "ready", "info", text, None)]
        return sorted([*ready, *self._markers], key=lambda marker: marker.time)

    def once(self, name: str, key: object, make: Callable[[], T]) -> T:
        """Return what *make* gave, as long as *key* is the same."""
        if name not in self._cached or self._cached[name][0] != key:
            self._cached[name] = key, make()
        found: T = self._cached[name][1]
        return found


def _key_of(process: Process) -> object:
    """Return what is another one when there is something else to say of the start."""
    empty = not process.points and not process.after.spans
    unfinished = None if process.running else process.unfinished  # of what goes on, the start says nothing
    judged = judged_by_process(process) if process.root is None else None  # grows as long as the start lasts
    said = str([process.usable, process.ended, unfinished, process.resource, process.root_attributes, judged])
    return len(process.nodes), empty, said


def still_runs(process: Process, began: int) -> bool:
    """Say whether *process* still runs here; its first record, if there is one, is of *began* (ns since 1970)."""
    process.running = None
    if process.resource:
        return is_running(process, began)
    pid = process.name.partition("-")[0]
    try:  # it has written nothing yet: its folder is as old as what it is about to write
        made = os.stat(process.path).st_mtime_ns
    except OSError:
        return False
    known = {"process.pid": int(pid)} if pid.isascii() and pid.isdigit() and len(pid) < 10 else {}
    return is_running(Process(process.path, process.run, process.name, resource=known), made)
