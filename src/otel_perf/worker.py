"""What the worker does: watch the start, sample the process, write what is finished, begin to send it.

Loaded by the thread that writes first, so that a start waits for none of it. Used by one thread at a time: runtime.py
holds its lock `writing`. Reading order: run(), then write(); watch() and look() are for the start.
"""

from __future__ import annotations

import os
from _thread import get_native_id

from . import clock, recorder, startup, system, tracing
from .errors import say
from .writer import Writer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .runtime import Runtime

MONITOR_AFTER = 0.5  # seconds: what ends within them is not sampled
FOREVER = float("inf")
WRITE_AFTER = 0.2  # seconds from the first record after silence to the disk
STATISTICS_EVERY = 1.0  # seconds between two looks at the statistics, longer when they are expensive
STATISTICS_SHARE = 200  # the looks take at most one part in this many of a core
TOGETHER = 0.1  # seconds that statistics may wait for the next sample: one wake-up does for both

INFO = 9  # severity number
INFERRED = "otel_perf.startup.inferred"


class Work:
    """What is done with what this process records.

    Attributes:
        process: whose work it is: its settings, start and threads.
        writer: the way to the disk; it has the monitor, too.
        explainer: while the start lasts.
    """

    def __init__(self, process: Runtime) -> None:
        self.process = process
        self.writer = Writer(process, self.begin_sending)
        self._statistics_due = process.begun + STATISTICS_EVERY
        self.explainer: Any = None
        self._told = False  # when the program seems to be ready
        self._unfinished: Any = None  # what keeps open.json
        self._monitors = process.settings.metrics
        self._sampled = False  # and that is to be written
        self._counted = 0.0  # seconds of the worker's CPU that are in what we cost

    # --- the worker's loop -------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Do the work until the process says stop."""
        process = self.process
        self._counted = 0.0
        self.watch()
        while not process.stop:
            recorder.state.idle = True
            if not recorder.finished:
                self._wait(max(0.01, min(self._statistics_due, self._monitor_due()) - clock.now()))
            recorder.state.idle = False
            tracing.join_late()
            if recorder.finished and not process.stop:
                # more records come; only halt() and a sample that is due end this early
                self._wait(min(WRITE_AFTER, self._monitor_due() - clock.now()))
            if not process.stop:  # else whoever stops us goes on with what is left
                self._monitor()
                process.write(final=False)
                self._keep_open()

    def _wait(self, seconds: float) -> None:
        """Wait until the alarm rings, at most *seconds*; look at the start meanwhile."""
        until = clock.now() + seconds
        while (left := until - clock.now()) > 0.0:
            explainer = self.explainer  # another thread that writes may be done with it
            if self.process.alarm.acquire(True, left if explainer is None else min(left, explainer.interval)):
                return
            if explainer is not None:
                self._look()

    def _keep_open(self) -> None:
        """Keep on disk what is open, for whoever reads what a SIGKILL has left."""
        try:
            if self._unfinished is None:
                from .unfinished import Unfinished

                self._unfinished = Unfinished()
            if self._unfinished.due():
                with self.process.writing:
                    self._unfinished.look(lambda: str(self.writer.open().path))
        except Exception as error:  # noqa: BLE001
            self.process.complain("folder" if isinstance(error, OSError) else "open calls", error)

    # --- the start ---------------------------------------------------------------------------------------------------

    def watch(self) -> None:
        """Begin to watch the start, if it lasts; go on where a fork has stopped the worker."""
        process, start = self.process, startup.current
        if self.explainer is not None:
            self.explainer.work_on(process.thread)
            return
        settings = process.settings
        rule = settings.ready_when or (("auto", 0.0) if process.infers and settings.watch else None)
        if start is not None and self.writer.root_due and (settings.watch or settings.strict or rule):
            try:
                from .explain import Explainer

                self.explainer = Explainer(start, settings, process.thread, process.main, rule, process.sockets)
                if not process.booted and not settings.ready_when:
                    self.explainer.may_speak()
            except Exception as error:  # noqa: BLE001
                self._stop_explaining(error)

    def _look(self) -> None:
        if not self.process.writing.acquire(False):  # whoever writes explains what it writes
            return
        try:
            if self.explainer is not None:
                self.explainer.look()
                self._tell_of_readiness()
        except Exception as error:  # noqa: BLE001
            self._stop_explaining(error)
        finally:
            self.process.writing.release()

    def _tell_of_readiness(self) -> None:
        """Record as an event what was found out: the root, which says the same, still waits for ready()."""
        start = startup.current
        if start is None or start.found is None or self._told:
            return
        self._told = True
        rule, end = start.found
        fields = {
            "otel_perf.ready": rule,
            "otel_perf.startup.duration": end - start.frame[recorder.START],
            "otel_perf.budget.startup": self.writer.startup_limit(),
        }
        ids = start.trace.id, start.root.span_id
        recorder.note(INFERRED, INFO, ids, fields, time=int(end * 1e9) + start.trace.offset)
        self.process.ring()

    def _stop_explaining(self, error: Exception | None = None) -> None:
        """Explain nothing more; after an *error*, of a program that has mocked what we look at, its root says so."""
        explainer, self.explainer = self.explainer, None
        if explainer is not None:
            explainer.close()
        if error is not None and startup.current is not None:
            startup.current.attributes["otel_perf.watch.error"] = f"{type(error).__name__}: {error}"[:256]

    def _of_the_start(self, records: list[Any]) -> list[Any]:
        """Return *records* of a start with all that is known of them; as they are if that fails."""
        try:
            records = self._explained([self.writer.with_cost(record) for record in records])
            if not self.writer.root_due:
                self._tell_of_the_start(records)
        except Exception as error:  # noqa: BLE001  # they are written all the same
            self.process.complain("start", error)
        return records

    def _explained(self, records: list[Any]) -> list[Any]:
        """Return *records* with their causes; with strict, say what is wrong with the start once its root is there."""
        if self.explainer is None:
            return records
        try:
            records = self.explainer.explain(records, self.process.how)
            for finding in self.explainer.findings:
                say(f"{finding.severity}: {finding.message}")
            if self.explainer.over:
                self._stop_explaining()
        except Exception as error:  # noqa: BLE001
            self._stop_explaining()
            self.process.complain("explanation", error)
        return records

    def _tell_of_the_start(self, records: list[Any]) -> None:
        """Record as an event that the start is over, or that the process died in it; its root is among *records*."""
        for record in records:
            if type(record) is tuple and record[recorder.R_SITE].kind == "startup":
                from .ending import of_the_start

                found = of_the_start(record, self.process.how)
                if found is not None:
                    trace, end = record[recorder.R_TRACE], record[recorder.R_END]
                    ids = trace.id, record[recorder.R_SPAN_ID]
                    recorder.note(*found[:2], ids, *found[2:], time=int(end * 1e9) + trace.offset)

    # --- samples -----------------------------------------------------------------------------------------------------

    def _monitor_due(self) -> float:
        if self.writer.monitor is not None:
            return float(self.writer.monitor.due)
        return self.process.begun + MONITOR_AFTER if self._monitors else FOREVER

    def _monitor(self) -> None:
        """Sample the process and judge it by its budgets, if a second is over."""
        if clock.now() < self._monitor_due():
            return
        try:
            with self.process.writing:
                if self.writer.monitor is None:
                    self._begin_to_monitor()
                self.writer.monitor.look()
                self._sampled = True
        except Exception as error:  # noqa: BLE001  # recorded all the same
            monitor, self._monitors, self.writer.monitor = self.writer.monitor, False, None
            self.process.complain("monitor", error)
            if monitor is not None:
                monitor.close()

    def _begin_to_monitor(self) -> None:
        from .monitor import Monitor

        process, writer = self.process, self.writer
        start = None if process.is_child else startup.current
        created = process.begun if start is None else start.frame[recorder.START]
        writer.monitor = Monitor(process.settings, created, start, recorder.note, process.complain, process.booted)
        writer.monitor.dropped = lambda: recorder.state.dropped + writer.refused

    # --- writing and sending -----------------------------------------------------------------------------------------

    def write(self, final: bool, whole: bool, since: float) -> None:
        """Write what is finished, and the statistics that have changed if it is time.

        Args:
            final: it is the last time.
            whole: with the statistics, whenever those are due.
            since: seconds of this thread's CPU before it began.
        """
        process = self.process
        mine = get_native_id() == process.thread
        since = self._count(self._counted if mine else since)
        self._write_records()
        since = self._count(since)
        begun = clock.now()
        whole = whole or final or begun >= self._statistics_due
        if whole or self._sampled:
            self._sampled = False
            self.writer.statistics(final, whole)
            if whole:
                self._plan(begun)
            since = self._count(since)
        if mine:
            self._counted = since
        if process.views and self.writer.folder is not None:
            self._view()

    def _write_records(self) -> None:
        """Write what is finished, then share it: the application's processors may take their time."""
        process, start, writer = self.process, startup.current, self.writer
        process.loading = True
        from .export import folder, otlp_json  # noqa: F401

        process.loading = False
        if start is not None and start.held and clock.now() - start.end > startup.HOLD:
            start.release()
        taken = recorder.drain()
        if writer.root_due:
            whole = taken
            try:
                if process.settings.strict and self.explainer is None:
                    self.watch()  # the process ends before the worker has
                taken = self._of_the_start(taken)
            except BaseException:  # Ctrl-C: they are written at the end, without an explanation
                recorder.finished[:0] = whole
                raise
        writer.records(taken)
        if process.sender is not None:
            recorder.state.cpu_time += process.sender.take_cpu_time()
            if not writer.root_due:
                process.sender.ready()
        if taken and process.settings.provider:
            tracing.share(taken, start is not None and not start.over)

    def _plan(self, begun: float) -> None:
        """Say when the next statistics are due, after those that have *begun* at that moment."""
        ended, sample = clock.now(), self._monitor_due()
        wait = max(STATISTICS_EVERY, (ended - begun) * STATISTICS_SHARE)
        self._statistics_due = ended + wait
        if wait == STATISTICS_EVERY and sample < self._statistics_due + TOGETHER:
            self._statistics_due = sample

    def _count(self, since: float) -> float:
        """Count this thread's CPU time since *since* as ours, and return what it is now."""
        used = system.thread_time()
        recorder.state.cpu_time += used - since
        return used

    def _view(self) -> None:
        """Start the page of this run."""
        self.process.views = False
        try:
            from .beside import start

            start(self.process.run, os.getpid())
        except Exception as error:  # noqa: BLE001
            self.process.complain("view", f"no page: {error}")

    def begin_sending(self) -> None:
        """Begin the thread that sends what is in the folder, if there is an endpoint."""
        process = self.process
        if not process.endpoints:
            return
        if process.sender is not None:
            process.sender.endpoints = process.endpoints  # for what has not begun yet
            return
        from .export.follow.sender import Sender

        start = startup.current
        lasts = start is not None and self.writer.root_due and start.trace.sampled
        folder = self.writer.folder
        process.sender = Sender(folder.path, process.endpoints, say, begun=process.begun, start_lasts=lasts)
        folder.sent = process.sender.sent  # what is delivered goes first
        process.sender.start()

    # --- other settings, the end, a fork -----------------------------------------------------------------------------

    def begin_again(self) -> None:
        """Go on with the settings and the endpoints of the program's own init()."""
        process = self.process
        self._monitors = process.settings.metrics  # for what has not begun yet
        if self.explainer is not None and not process.settings.ready_when:
            self.explainer.may_speak()
        if self.writer.monitor is not None:
            self.writer.monitor.infers = False
        if self.writer.folder is not None:
            self.writer.describe()
            self.begin_sending()

    def close(self) -> None:
        """Close all files; nothing is open any more."""
        try:
            if self._unfinished is not None and self.writer.folder is not None:
                self._unfinished.close(self.writer.folder.path)
        except OSError as error:
            self.process.complain("folder", error)
        if self.writer.monitor is not None:
            self.writer.monitor.close()
        self.writer.close()

    def of_a_child(self) -> Work:
        """Close in a child what the parent reads and writes with, and return the child's own.

        From the rooms that are loaded: a program may have taken them out of sys.modules.
        """
        self.writer.let_go()
        self._stop_explaining()
        return Work(self.process)
