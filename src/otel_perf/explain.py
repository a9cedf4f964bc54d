"""The worker's look at a start that lasts: why its spans took their time, and when it was over if nobody says so.

Imports only: sys, watch, readiness, recorder, startup, imports, pauses, system; loaded by the worker. Nothing of the
program is changed.
Reading order: Explainer.look(), called every few milliseconds, then explain(), called with what is about to be written.
"""

from __future__ import annotations

import sys

from . import clock, imports, pauses, recorder
from .readiness import Readiness
from .recorder import (
    R_ATTRIBUTES,
    R_BEGIN,
    R_END,
    R_PARENT_ID,
    R_SITE,
    R_SPAN_ID,
    R_TRACE,
    START,
    with_attributes,
)
from .startup import HOLD, HOLD_IDLE
from .system import calls
from .watch import SELDOM, SHORTEST, Watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .config import Settings
    from .startup import Startup

MAX_RECORDS = 50_000  # of the start, kept for its critical path
MAX_STATS = 50  # files that are looked at to see whether the start was cold
COLD = 1_000_000  # bytes read from the disk that make a start cold


class Explainer:
    """Watches one start.

    Attributes:
        interval: seconds until the next look.
        over: the start is over and explained; there is nothing more to do.
        records: what the start consists of so far.
        findings: with strict, what is wrong with the start, once its root is explained.
    """

    def __init__(
        self,
        start: Startup,
        settings: Settings,
        own: int,
        main: int,
        rule: tuple[str, float] | None,
        sockets: frozenset[str],
    ) -> None:
        """Begin.

        Args:
            start: what to watch.
            settings: whether to look at the process, and whether to judge the start strictly.
            own: native id of the thread that calls this.
            main: identifier of the main thread.
            rule: how it is found out that the program is ready, see readiness.py; None: it says so itself.
            sockets: those that the process began with, as /proc names them.
        """
        self.start = start
        self.over = False
        self.records: list[Any] = []
        self.findings: list[Any] = []
        self._may_speak = False
        self._strict = settings.strict
        self._looks = settings.watch
        self._watch = Watch(own, start.frame[START])
        self._main = recorder.state.main_thread
        self._readiness = Readiness(*rule, start.frame[START], main, sockets) if rule is not None else None
        self._since = clock.wall_ns() / 1e9 - (clock.now() - start.frame[START])
        if self._looks:
            pauses.begin("start")
            self._watch.sample()

    @property
    def interval(self) -> float:
        """Seconds until the next look."""
        return self._watch.interval if self._looks else SELDOM

    def work_on(self, own: int) -> None:
        """Go on in another thread, of the native id *own*."""
        self._watch.own = own

    def may_speak(self) -> None:
        """Wait for ready() before the start is ended: the program calls init(), so it may well say when it is ready.

        What is found out meanwhile counts if it says nothing. Until then its phases and calls belong to the start.
        """
        self._may_speak = True

    def look(self) -> None:
        """Look once, and end the start if a rule says that the program is ready."""
        if self.start.over:
            return
        if self._looks:
            self._watch.sample()
        if self._readiness is None:
            return
        if self.start.found is not None:
            rule, since = self.start.found
            if clock.now() - since > (HOLD_IDLE if rule == "idle" else HOLD):
                self.start.finish(rule, since)
            return
        work = (imports.seen, len(recorder.open_spans), len(recorder.finished), len(self.records))
        found = self._readiness.look(self._watch, work)
        if found is None or (self._may_speak and found[0] == "idle" and recorder.open_spans):
            return  # a phase that sleeps is no idling
        self.start.found = found
        if not self._may_speak:
            self.start.finish(*found)

    def explain(self, records: list[Any], how: dict[str, Any]) -> list[Any]:
        """Return *records* with what is known of their causes; the root among them is the last to be explained.

        Args:
            records: finished, in their order.
            how: the process ended, if it does.
        """
        explained = records[:]
        if self._looks:
            if not self.start.over or self._watch.last < self.start.end:
                self._watch.sample()  # else what has just ended is known in part
            explained = [self._explained(record) for record in records]
        if len(self.records) < MAX_RECORDS:  # a start that nobody ends lasts as long as the process
            self.records += explained
        for index, record in enumerate(explained):
            if type(record) is tuple and record[R_SITE].kind == "startup":
                if self._strict:
                    self.findings = self._judged(record, how)
                if self._looks:
                    explained[index] = with_attributes(record, self._verdict(record))
                self.close()
        return explained

    def close(self) -> None:
        """Stop watching."""
        self.over = True
        self.records = []
        pauses.end("start")

    def _judged(self, root: Any, how: dict[str, Any]) -> list[Any]:
        from .analysis.validation import findings_of

        return findings_of(self.records, root, how)

    def _explained(self, record: Any) -> Any:
        if type(record) is not tuple or record[R_TRACE] is not self.start.trace:
            return record
        extra = record[R_ATTRIBUTES]
        thread = (extra or {}).get("thread.id", self._main)
        begin, end = record[R_BEGIN], record[R_END]
        causes = self._watch.between(begin, end, thread) if end - begin >= SHORTEST else None
        return with_attributes(record, causes) if causes else record

    def _verdict(self, root: Any) -> dict[str, Any]:
        """Return what the root says of the whole: what holds the critical path, and whether the start was cold."""
        found: dict[str, Any] = {}
        step = self._path(root)
        if step is not None:
            found["otel_perf.bottleneck"], share, reason = step
            found["otel_perf.bottleneck.share"] = round(share, 4)
            if reason:
                found["otel_perf.bottleneck.reason"] = reason
        compiled, faults = self._compiled(), _page_faults()
        cold = ["bytecode"] if compiled else []
        if root[R_ATTRIBUTES].get("otel_perf.disk_read", 0) >= COLD:
            cold.append("page cache")
        if compiled:
            found["otel_perf.startup.compiled"] = compiled
        if faults:
            found["otel_perf.startup.page_faults"] = faults
        if cold:
            found["otel_perf.startup.cold"] = cold
        return found

    def _path(self, root: Any) -> tuple[str, float, str] | None:
        from .analysis.critical import Step, bottleneck, join

        begin = root[R_BEGIN]
        rows = [
            (record[R_SPAN_ID], record[R_PARENT_ID], _step(Step, record, begin))
            for record in self.records
            if type(record) is tuple and record[R_TRACE] is root[R_TRACE] and record[R_SITE].kind != "startup"
        ]
        return bottleneck(join(_step(Step, root, begin), root[R_SPAN_ID], rows))

    def _compiled(self) -> int:
        """Return how many modules of slow imports had to be compiled: their bytecode is younger than the process."""
        found = looked = 0
        for record in self.records:
            if type(record) is not tuple or record[R_SITE].kind != "import" or looked >= MAX_STATS:
                continue
            spec = getattr(sys.modules.get(record[R_SITE].series), "__spec__", None)
            cached, origin = getattr(spec, "cached", None), getattr(spec, "origin", None)
            if not isinstance(cached, str) or not isinstance(origin, str) or not origin.endswith(".py"):
                continue
            looked += 1
            try:
                found += calls.stat(cached).st_mtime >= self._since
            except OSError:  # not there: it cannot be written, or may not
                found += 1
        return found


def _step(make: Any, record: Any, begin: float) -> Any:
    site = record[R_SITE]
    attributes = dict(record[R_ATTRIBUTES] or {})
    if site.file:
        attributes["code.file.path"] = site.file
    return make(site.name, site.kind, record[R_BEGIN] - begin, record[R_END] - begin, attributes)


def _page_faults() -> int:
    """Return how often the process waited for a page from the disk, 0 where the system does not say.

    Source: proc(5), field 12 of /proc/self/stat.
    """
    try:
        with open("/proc/self/stat", "rb", buffering=0) as file:
            return int(file.read(512).rpartition(b")")[2].split()[9])
    except (OSError, ValueError, IndexError):
        return 0
