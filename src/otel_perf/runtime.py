"""init(), ready(), shutdown(): wires the rooms; the worker, fork, signals and exit.

The only room that knows everybody. Imports only hot rooms; what writes is loaded by the worker. Reading order: init(),
Runtime.start(), then the worker's loop _work() and write(), then how a process ends.
"""

from __future__ import annotations

import atexit
import os
import sys
from _thread import RLock, get_ident, get_native_id

from . import clock, config, imports, recorder, startup, system, tracing
from .threads import allocate_lock, is_importing, start
from .writer import Writer, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .config import Settings

WATCH_AFTER = 0.03  # seconds: what ends within them has nothing to explain
MONITOR_AFTER = 0.5  # seconds: what ends within them is not sampled
FOREVER = float("inf")
START_AGAIN = 1.0  # seconds between two tries to start the worker where no thread can be started
WRITE_AFTER = 0.2  # seconds from the first record after silence to the disk
STATISTICS_EVERY = 1.0  # seconds between two looks at the statistics, longer when they are expensive
STATISTICS_SHARE = 200  # the looks take at most one part in this many of a core
TOGETHER = 0.1  # seconds that statistics may wait for the next sample: one wake-up does for both
FEW = 2_000  # records whose writing a fork may wait for, 10 ms of CPU
LOADING_LIMIT = 2.0  # seconds that a fork waits while the worker imports: the child could never import that again
EXIT_LIMIT = 1.5  # seconds that an exit waits for the worker

INFO, ERROR = 9, 17  # severity numbers
SENDING = (  # any of these has records sent
    "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
    "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_LOGS_EXPORTER",
)  # fmt: skip
END, ENDED = "otel_perf.end", "otel_perf.process.ended"
USABLE = "otel_perf.startup.usable"
INFERRED = "otel_perf.startup.inferred"

load_time = 0.0  # seconds that this room took to load, if a name of the package was what loaded it
_runtime: Runtime | None = None
_starting = RLock()


class Runtime:
    """What runs in this process: its settings, its start, its worker and its run folder."""

    def __init__(self, settings: Settings, begun: float) -> None:
        self.settings = settings
        self.writer = Writer(settings, self.begin_sending)
        self.complain = self.writer.complain
        self.begun = begun
        self.booted = False  # by `otel-perf run`, and the program has not called init() yet
        self.infers = False  # when the program is ready, unless it says so
        self.given: dict[str, Any] = {}
        self.main = get_ident()
        self.sockets: frozenset[str] = frozenset()  # that the process began with
        self.worker = self.thread = 0  # identifier, native id
        self.start_after = 0.0  # monotonic seconds before which no worker is started again
        self.counted = 0.0  # seconds of its CPU that are in what we cost
        self.stop = self.over = False
        self.loading = False  # the worker loads the rooms that write
        self.alarm = allocate_lock()
        self.ended = allocate_lock()
        self.writing = RLock()
        self.statistics_due = begun + STATISTICS_EVERY
        self.explainer: Any = None  # while the start lasts
        self.told = False  # when the program seems to be ready
        self.unfinished: Any = None  # what keeps open.json
        self.monitors = settings.metrics
        self.sampled = False  # and that is to be written
        self.is_child = False  # of a fork
        self.endpoints: Any = None  # where records are sent, and
        self.sender: Any = None  # the thread that does
        self.busy = self.ending = 0  # the thread that writes, and the one that ends the process
        self.signalled = (0, 0)  # a signal that came to one of them in the meantime, and to which
        self.how: dict[str, Any] = {}  # the process ended
        self.views = _takes_view(settings)  # the page is still to be started
        self.alarm.acquire()

    # --- beginning ---------------------------------------------------------------------------------------------------

    def start(self, phases: tuple[str, ...], own: bool) -> None:
        """Begin the start, the hooks and the worker."""
        settings = self.settings
        state = recorder.state
        state.wake = self.wake
        state.recording = True
        state.main_thread = system.main_thread()
        state.span_threshold = settings.startup_span_threshold
        state.exemplars = settings.exemplar_filter
        imports.threshold = settings.import_threshold
        created, how = startup.process_creation()
        start = startup.current = startup.Startup(created, how, phases, own)
        start.threshold_after = settings.span_threshold
        startup.join_parent(start)
        start.begin()
        if sys.version_info < (3, 12):
            from .pauses import keep_contexts_alive

            keep_contexts_alive()
        if settings.imports:
            imports.install()
        imports.watched["freezegun.api"] = clock.keep_ours
        tracing.install(settings, self.flush, self.end_start)
        self.start_worker()
        atexit.register(self.at_exit)
        self.leave_with_multiprocessing()  # a child of its fork server may be what begins here
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self.before_fork, after_in_parent=self.after_fork_here, after_in_child=self.after_fork
            )
        if settings.signals:
            self.listen()

    def start_worker(self) -> None:
        """Begin the worker thread, if there is none."""
        self.stop = False
        self.ended = allocate_lock()
        self.ended.acquire()
        try:
            self.worker = start(self._work, (self.ended,))
        except RuntimeError:  # none can start just now, or any more: a later record tries again, or the exit writes
            self.worker, self.start_after = 0, clock.now() + START_AGAIN
            recorder.state.idle = True

    def wake(self) -> None:
        """Wake the worker; start it where a fork has stopped it."""
        if not self.worker and not self.stop:
            if clock.now() < self.start_after:
                recorder.state.idle = True
                return
            self.start_worker()
        self.ring()

    def ring(self) -> None:
        """Let the worker's wait end; harmless when it does not wait."""
        try:
            self.alarm.release()
        except RuntimeError:  # another thread was faster
            return

    # --- the worker --------------------------------------------------------------------------------------------------

    def _work(self, ended: Any) -> None:
        recorder.CURRENT.set(recorder.MUTED)
        self.thread, self.counted = get_native_id(), 0.0
        try:
            if not self.stop and not recorder.finished:
                self.alarm.acquire(True, WATCH_AFTER)
            if not self.stop:
                self._watch_start()
            while not self.stop:
                recorder.state.idle = True
                if not recorder.finished:
                    self._wait(max(0.01, min(self.statistics_due, self._monitor_due()) - clock.now()))
                recorder.state.idle = False
                tracing.join_late()
                if recorder.finished and not self.stop:
                    # more records come; only halt() and a sample that is due end this early
                    self._wait(min(WRITE_AFTER, self._monitor_due() - clock.now()))
                if not self.stop:  # else whoever stops us goes on with what is left
                    self._monitor()
                    self.write(final=False)
                    self._keep_open()
        except BaseException as error:  # noqa: BLE001  # never in the host's face; the exit writes what is left
            self.complain("worker", error)
        finally:
            self.worker = 0
            ended.release()

    def _keep_open(self) -> None:
        """Keep on disk what is open, for whoever reads what a SIGKILL has left."""
        try:
            if self.unfinished is None:
                from .unfinished import Unfinished

                self.unfinished = Unfinished()
            if self.unfinished.due():
                with self.writing:
                    self.unfinished.look(lambda: str(self.writer.open().path))
        except Exception as error:  # noqa: BLE001
            self.complain("folder" if isinstance(error, OSError) else "open calls", error)

    def _nothing_is_open(self) -> None:
        try:
            if self.unfinished is not None and self.writer.folder is not None:
                self.unfinished.close(self.writer.folder.path)
        except OSError as error:
            self.complain("folder", error)

    def _watch_start(self) -> None:
        """Begin to watch the start, if it lasts; go on where a fork has stopped the worker."""
        start = startup.current
        if self.explainer is not None:
            self.explainer.work_on(self.thread)
            return
        settings = self.settings
        rule = settings.ready_when or (("auto", 0.0) if self.infers and settings.watch else None)
        if start is not None and self.writer.root_due and (settings.watch or settings.strict or rule):
            try:
                from .explain import Explainer

                self.explainer = Explainer(start, settings, self.thread, self.main, rule, self.sockets)
                if not self.booted and not settings.ready_when:
                    self.explainer.may_speak()
            except Exception as error:  # noqa: BLE001
                self._stop_explaining(error)

    def _monitor_due(self) -> float:
        if self.writer.monitor is not None:
            return float(self.writer.monitor.due)
        return self.begun + MONITOR_AFTER if self.monitors else FOREVER

    def _monitor(self) -> None:
        """Sample the process and judge it by its budgets, if a second is over."""
        if clock.now() < self._monitor_due():
            return
        try:
            with self.writing:
                if self.writer.monitor is None:
                    self._begin_to_monitor()
                self.writer.monitor.look()
                self.sampled = True
        except Exception as error:  # noqa: BLE001  # recorded all the same
            monitor, self.monitors, self.writer.monitor = self.writer.monitor, False, None
            self.complain("monitor", error)
            if monitor is not None:
                monitor.close()

    def _begin_to_monitor(self) -> None:
        from .monitor import Monitor

        start = None if self.is_child else startup.current
        created = self.begun if start is None else start.frame[recorder.START]
        monitor = Monitor(self.settings, created, start, self.writer.note, self.complain, self.booted)
        monitor.dropped = lambda: recorder.state.dropped + self.writer.refused
        self.writer.monitor = monitor

    def _wait(self, seconds: float) -> None:
        """Wait until the alarm rings, at most *seconds*; look at the start meanwhile."""
        until = clock.now() + seconds
        while (left := until - clock.now()) > 0.0:
            explainer = self.explainer  # another thread that writes may be done with it
            if self.alarm.acquire(True, left if explainer is None else min(left, explainer.interval)):
                return
            if explainer is not None:
                self._look()

    def _stop_explaining(self, error: Exception | None = None) -> None:
        """Explain nothing more; after an *error*, of a program that has mocked what we look at, its root says so."""
        explainer, self.explainer = self.explainer, None
        if explainer is not None:
            explainer.close()
        if error is not None and startup.current is not None:
            startup.current.attributes["otel_perf.watch.error"] = f"{type(error).__name__}: {error}"[:256]

    def _look(self) -> None:
        if not self.writing.acquire(False):  # whoever writes explains what it writes
            return
        try:
            if self.explainer is not None:
                self.explainer.look()
                self._tell_of_readiness()
        except Exception as error:  # noqa: BLE001
            self._stop_explaining(error)
        finally:
            self.writing.release()

    def _tell_of_readiness(self) -> None:
        """Record as an event what was found out: the root, which says the same, still waits for ready()."""
        start = startup.current
        if start is None or start.found is None or self.told:
            return
        self.told = True
        rule, end = start.found
        fields = {
            "otel_perf.ready": rule,
            "otel_perf.startup.duration": end - start.frame[recorder.START],
            "otel_perf.budget.startup": self.writer.startup_limit(),
        }
        ids = start.trace.id, start.root.span_id
        self.writer.note(INFERRED, INFO, ids, fields, time=int(end * 1e9) + start.trace.offset)
        self.ring()

    def write(self, final: bool, limit: float = EXIT_LIMIT) -> None:
        """Write what is finished; called by the worker, and once by the thread that ends the process.

        Another thread that writes is waited for at most *limit* seconds.
        """
        if not self.writing.acquire(True, limit):
            return
        current = recorder.CURRENT.get()
        recorder.CURRENT.set(recorder.MUTED)
        outer, self.busy = self.busy, get_ident()
        try:
            mine = get_native_id() == self.thread
            since = self._count(self.counted if mine else system.thread_time())
            self._write_records()
            since = self._count(since)
            begun = clock.now()
            whole = final or begun >= self.statistics_due
            if whole or self.sampled:
                self.sampled = False
                self.writer.statistics(final, whole)
                if whole:
                    self._plan(begun)
                since = self._count(since)
            if mine:
                self.counted = since
            if self.views and self.writer.folder is not None:
                self._view()
        finally:
            recorder.CURRENT.set(current)
            self.busy = outer
            self.writing.release()
        self.obey()

    def _view(self) -> None:
        """Start the page of this run."""
        self.views = False
        try:
            from .beside import start

            start(self.writer.run, os.getpid())
        except Exception as error:  # noqa: BLE001
            self.complain("view", f"no page: {error}")

    def _plan(self, begun: float) -> None:
        """Say when the next statistics are due, after those that have *begun* at that moment."""
        ended, sample = clock.now(), self._monitor_due()
        wait = max(STATISTICS_EVERY, (ended - begun) * STATISTICS_SHARE)
        self.statistics_due = ended + wait
        if wait == STATISTICS_EVERY and sample < self.statistics_due + TOGETHER:
            self.statistics_due = sample

    def _count(self, since: float) -> float:
        """Count this thread's CPU time since *since* as ours, and return what it is now."""
        used = system.thread_time()
        self.writer.cpu_time += used - since
        return used

    def flush(self) -> None:
        """Write and share what is finished, on the thread that asks."""
        if recorder.state.recording and self.busy != get_ident():  # else a signal came while this thread writes
            self.write(final=False)

    def end_start(self) -> None:
        """End the start at exit, while the application's own TracerProvider still takes its root."""
        if startup.current is not None:
            startup.current.finish("exit")
            startup.current.release()
        startup.identify_slow(recorder.CURRENT.get())
        with recorder.hold():
            startup.close_open(clock.now(), interrupted=False)
        self.flush()

    def _write_records(self) -> None:
        """Write what is finished, then share it: the application's processors may take their time."""
        self.loading = True
        from .export import folder, otlp_json  # noqa: F401

        self.loading = False
        start, writer = startup.current, self.writer
        if start is not None and start.held and clock.now() - start.end > startup.HOLD:
            start.release()
        taken = recorder.drain()
        if writer.root_due:
            if self.settings.strict and self.explainer is None:
                self._watch_start()  # the process ends before the worker has
            taken = self._of_the_start(taken)
        writer.records(taken)
        if self.sender is not None:
            writer.cpu_time += self.sender.take_cpu_time()
            if not writer.root_due:
                self.sender.ready()
        if taken and self.settings.provider:
            tracing.share(taken, start is not None and not start.over)

    def _of_the_start(self, records: list[Any]) -> list[Any]:
        """Return *records* of a start with all that is known of them; as they are if that fails."""
        try:
            records = self._explained([self.writer.with_cost(record) for record in records])
            if not self.writer.root_due:
                self._tell_of_the_start(records)
        except Exception as error:  # noqa: BLE001  # they are written all the same
            self.complain("start", error)
        return records

    def _explained(self, records: list[Any]) -> list[Any]:
        """Return *records* with their causes; with strict, say what is wrong with the start once its root is there."""
        if self.explainer is None:
            return records
        try:
            records = self.explainer.explain(records, self.how)
            for finding in self.explainer.findings:
                say(f"{finding.severity}: {finding.message}")
            if self.explainer.over:
                self._stop_explaining()
        except Exception as error:  # noqa: BLE001
            self._stop_explaining()
            self.complain("explanation", error)
        return records

    def _tell_of_the_start(self, records: list[Any]) -> None:
        """Record as an event that the start is over, or that the process died in it; its root is among *records*."""
        for record in records:
            if type(record) is tuple and record[recorder.R_SITE].kind == "startup":
                from .ending import of_the_start

                found = of_the_start(record, self.how)
                if found is not None:
                    trace, end = record[recorder.R_TRACE], record[recorder.R_END]
                    ids = trace.id, record[recorder.R_SPAN_ID]
                    self.writer.note(*found[:2], ids, *found[2:], time=int(end * 1e9) + trace.offset)

    def note(self, name: str, severity: int, fields: dict[str, Any]) -> None:
        """Record an event of the process, with the ids of its start's root."""
        start = startup.current
        ids = (start.trace.id, start.root.span_id) if start is not None else (0, 0)
        self.writer.note(name, severity, ids, fields)

    def begin_sending(self) -> None:
        """Begin the thread that sends what is in the folder, if there is an endpoint."""
        if not self.endpoints:
            return
        if self.sender is not None:
            self.sender.endpoints = self.endpoints  # for what has not begun yet
            return
        from .export.follow.sender import Sender

        start = startup.current
        lasts = start is not None and self.writer.root_due and start.trace.sampled
        folder = self.writer.folder
        self.sender = Sender(folder.path, self.endpoints, say, begun=self.begun, start_lasts=lasts)
        folder.sent = self.sender.sent  # what is delivered goes first
        self.sender.start()

    # --- ending ------------------------------------------------------------------------------------------------------

    def end(self, rule: str, interrupted: bool = False, signal: int = 0, stack: Any = None) -> None:
        """End the start and everything open, stop the worker, write what is left.

        Args:
            rule: ``exit``, ``shutdown`` or ``signal``.
            interrupted: open spans are marked so.
            signal: its number, and
            stack: the frame that it interrupted.
        """
        if self.over or (self.is_child and not self.settings.children):
            return
        state, start = recorder.state, startup.current
        outer, self.ending = self.ending, get_ident()
        try:
            self.how = {END: rule}
            told = rule == "exit" and not recorder.open_spans and getattr(sys, "last_value", None) is None
            if not told:  # else there is nothing to find out
                from .ending import how

                self.how = how(rule, signal, stack, start)
            elif start is not None and not start.over:
                start.attributes.update(self.how)
            told = told and start is not None and not start.over and start.trace.sampled
            if start is not None:
                start.finish(rule, interrupted=interrupted)
                start.release()
            startup.identify_slow(recorder.CURRENT.get())
            with recorder.hold():  # a span that ends later is in no trace whose parent is not recorded any more
                recorder.rescue()
                tracing.close_open(interrupted)
                startup.close_open(clock.now(), interrupted)
                state.recording = False
            if not told and self.writer.waits():
                self.note(ENDED, ERROR if "exception.type" in self.how or signal else INFO, self.how)
            until = clock.now() + EXIT_LIMIT
            self.halt(EXIT_LIMIT)
            self.write(final=True, limit=max(0.0, until - clock.now()))
            if self.sender is not None:
                self.sender.close(max(0.0, until - clock.now()))
            self.over = True
            self._nothing_is_open()
            if self.writer.monitor is not None:
                self.writer.monitor.close()
            self.writer.close()
        finally:
            self.ending = outer
        self.obey()

    def halt(self, limit: float) -> None:
        """Stop the worker; wait at most *limit* seconds for it."""
        self.stop = True
        if self.worker and self.worker != get_ident():
            self.ring()
            self.ended.acquire(True, limit)

    def at_exit(self) -> None:
        """End with the process; one that Ctrl-C ended was interrupted."""
        by_hand = getattr(sys, "last_type", None) is KeyboardInterrupt and not hasattr(sys, "ps1")
        try:
            self.end("exit", interrupted=by_hand)
        except KeyboardInterrupt:  # a second Ctrl-C while we write: what is left is written, then we go
            self.write(final=True)
        except Exception as error:  # noqa: BLE001
            self.complain("exit", error)
        if by_hand:
            from .ending import remember_interrupt

            remember_interrupt()

    def listen(self) -> None:
        """Handle SIGTERM and SIGHUP where nobody does, so that what is open is written before they end the process."""
        import _signal  # type: ignore[import-not-found]  # signal itself costs 5 ms

        if os.getpid() == 1:  # the first process of a container: no default action would end it
            return
        caught = system.caught_signals()
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(_signal, name, None)
            if number is None or caught >> number - 1 & 1:  # as by faulthandler.register(): Python does not know of it
                continue
            try:
                if _signal.getsignal(number) == _signal.SIG_DFL:
                    _signal.signal(number, self.on_signal)
            except ValueError:  # not the main thread: only there can handlers be set
                return

    def on_signal(self, number: int, stack: Any) -> None:
        """Write what is open, then let the signal do what it would have done."""
        import _imp
        import _signal

        if _signal.getsignal(number) != self.on_signal:  # called by a handler that was set after ours: it decides
            self.flush()
            return
        if get_ident() in (self.busy, self.ending):  # it would write from inside of what it interrupts
            self.signalled = (number, get_ident())
            return
        try:
            while _imp.lock_held():  # an import was interrupted: the worker may wait for it, and we never return to it
                _imp.release_lock()
        except RuntimeError:  # another thread's
            pass
        try:
            self.end("signal", True, number, stack)
        except Exception as error:  # noqa: BLE001
            self.complain("signal", error)
        _signal.signal(number, _signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def obey(self) -> None:
        """Do what a signal asked for that came while this thread wrote."""
        number, thread = self.signalled
        if number and get_ident() == thread and thread not in (self.busy, self.ending):
            self.signalled = (0, 0)
            self.on_signal(number, None)

    # --- fork --------------------------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Stop the worker: from 3.12 a fork beside a thread is warned of, and a child would inherit its locks."""
        if recorder.state.recording and self.settings.children:
            self.writer.choose_run()
        if self.worker and recorder.state.recording:
            self.halt(LOADING_LIMIT if self.loading else 0.25)
            over = clock.now() + LOADING_LIMIT
            while self.worker not in (0, get_ident()) and is_importing(self.worker) and clock.now() < over:
                self.ended.acquire(True, 0.005)
            system.until_gone(self.thread)
            start = startup.current
            lasts = start is not None and not start.over  # who forks then may be about to end, as a daemon's parent is
            if (lasts or sys.version_info >= (3, 12)) and len(recorder.finished) <= FEW:
                self.write(final=False)  # from 3.12 after_fork_here() starts no worker
        if self.sender is not None and recorder.state.recording:
            self.sender.halt()

    def after_fork_here(self) -> None:
        """Go on in the parent; from 3.12 the thread starts with the next record, since the warning is still to come."""
        if not recorder.state.recording:
            return
        self.stop = False  # a worker that was too busy to stop in time goes on
        if self.sender is not None:
            self.sender.start()
        if not self.worker:
            self.alarm = allocate_lock()
            self.alarm.acquire()
            if sys.version_info < (3, 12) or recorder.finished:
                self.start_worker()
            else:
                recorder.state.idle = True

    def after_fork(self) -> None:
        """Begin anew in a child: own files, own ids, own worker, nothing of the parent's."""
        recorder.after_fork()
        if startup.current is not None:
            if recorder.state.origin is None and startup.current.trace.sampled:
                recorder.state.origin = startup.current.trace, startup.current.root.span_id
            startup.current.over, startup.current.held = True, False
            recorder.state.span_threshold = startup.current.threshold_after
        self.alarm, self.writing = allocate_lock(), RLock()
        self.alarm.acquire()
        self.begun, self.is_child = clock.now(), True
        self.writer.let_go()
        self.writer = self.writer.of_a_child()
        self.complain = self.writer.complain
        self._stop_explaining()
        if self.sender is not None:
            self.sender.let_go()
        self.worker, self.sender, self.unfinished = 0, None, None
        self.busy, self.ending, self.views = 0, 0, False
        self.loading = False
        self.signalled = (0, 0)
        self.statistics_due = clock.now() + STATISTICS_EVERY
        self.stop = not self.settings.children
        recorder.state.recording = recorder.state.recording and self.settings.children
        recorder.state.idle = True
        self.leave_with_multiprocessing()
        self.leave_with_celery()
        if self.monitors and recorder.state.recording:
            self.start_worker()

    def leave_with_multiprocessing(self) -> None:
        """End with a child of multiprocessing too, which leaves by os._exit, past atexit, and forgets finalizers."""
        util = sys.modules.get("multiprocessing.util")
        if util is not None:
            util.register_after_fork(self, lambda runtime: util.Finalize(None, runtime.at_exit, exitpriority=-1000))
            if sys.modules["multiprocessing.process"].parent_process() is not None:  # it runs its work already
                util.Finalize(None, self.at_exit, exitpriority=-1000)

    def leave_with_celery(self) -> None:
        """End with a process of a celery pool too, which leaves by os._exit."""
        signal = getattr(sys.modules.get("celery.signals"), "worker_process_shutdown", None)
        if signal is not None:
            signal.connect(lambda **_: self.at_exit(), weak=False, dispatch_uid="otel-perf")


def init(
    service: str | None = None,
    version: str | None = None,
    *,
    endpoint: str | None = None,
    phases: list[str] | tuple[str, ...] | None = None,
    folder: str | None = None,
    view: bool = False,
    sampling: bool = False,
    strict: bool = False,
) -> None:
    """Begin to record this program: its start, its imports, its functions and its OpenTelemetry spans.

    The first call counts; a second says on stderr which of its arguments came too late. Nothing here raises into the
    application unless *strict*.

    Args:
        service: ``service.name``; default OTEL_SERVICE_NAME, then the program's name.
        version: ``service.version``.
        endpoint: base URL of an OpenTelemetry collector, ``http://localhost:4318``, that records are sent to; default
            OTEL_EXPORTER_OTLP_ENDPOINT, without which nothing leaves the machine.
        phases: names of the start's phases in order; default PreInit, CoreInit, DeviceManager, Transport, UI, Plugins,
            Ready.
        folder: where runs are kept; default ``.otel-perf`` in the working directory.
        view: serve a page that shows the run, from a process of its own that ends some time after this one; its address
            is written to stderr. Needs ``otel-perf[view]``.
        sampling: reserved for the sampling profiler; not yet used.
        strict: raise errors of our own instead of counting them, and say on stderr what is wrong with the start: phases
            out of order, missing, doubled, unknown or never closed, and its budget.

    Raises:
        ConfigError: only with *strict*: an argument or a setting that cannot be taken.
    """
    given: dict[str, Any] = {
        "service": service,
        "version": version,
        "endpoint": endpoint,
        "phases": phases,
        "folder": folder,
    }
    given |= {"view": view or None, "sampling": sampling or None, "strict": strict or None}
    try:
        with _starting:
            _begin({key: item for key, item in given.items() if item is not None}, booting=False)
    except Exception as error:
        from .errors import ConfigError

        if strict or isinstance(error, ConfigError):
            raise
        say(f"init() failed, nothing is recorded: {type(error).__name__}: {error}")


def boot() -> None:
    """Begin before the program does: what `otel-perf run` calls in the interpreter that it starts."""
    with _starting:
        _begin({}, booting=True)


def _begin(given: dict[str, Any], booting: bool) -> None:
    global _runtime
    begun = clock.now()
    if _runtime is not None:
        _begin_again(_runtime, given)
        return
    settings = _settings(given)
    if settings.disabled:
        return
    if settings.sources.keys() & {"sampler", "sampler_argument"}:  # else everything is recorded
        from . import sampling

        recorder.state.on_root, recorder.state.on_parent, complaints = sampling.decisions(settings)
        settings.complaints.extend(complaints)
    if settings.resource_attributes:
        from . import resource

        settings.complaints.extend(resource.complaints(settings.resource_attributes))
    endpoints = _endpoints(settings)
    if settings.metrics and (settings.metric_sampler == "psutil" or not os.access("/proc/self/stat", os.R_OK)):
        import threading  # noqa: F401  # psutil does: see _endpoints()
    _refuse(settings)
    memory = system.resident()
    runtime = _runtime = Runtime(settings, begun)
    runtime.endpoints = endpoints
    runtime.booted = runtime.infers = booting
    if booting:
        runtime.sockets = system.open_sockets()
    runtime.given = given
    runtime.start(settings.phases or config.DEFAULT_PHASES, settings.phases is not None)
    runtime.writer.memory = max(0, system.resident() - memory)
    start = startup.current
    if start is not None and not booting:
        start.attributes["otel_perf.startup.awaits_ready"] = True
        start.attributes["otel_perf.startup.modules_before_init"] = len(sys.modules)
        end_pre_init()
    runtime.writer.init_time = load_time + clock.now() - begun
    _report_complaints(runtime)


def _settings(given: dict[str, Any]) -> Settings:
    """Return the settings, with complaints on whatever the environment says of OpenTelemetry."""
    settings = config.load(given)
    if config.others(os.environ):
        from . import variables

        settings.complain(variables.complaints(os.environ))
    if settings.budgets[1] or getattr(sys.modules.get(f"{__package__}.budgets"), "own", None):
        from .metrics import misnamed

        settings.complain(misnamed.complaints(*settings.budgets))
    return settings


def _takes_view(settings: Settings) -> bool:
    """Say whether this process is to start the page of its run: nobody has; its own children will not do so again."""
    if not settings.view or os.environ.get("OTEL_PERF_VIEWED"):
        return False
    os.environ["OTEL_PERF_VIEWED"] = "1"
    return True


def _endpoints(settings: Settings) -> Any:
    """Return where records are sent, None where nothing says so: then nothing leaves the machine."""
    if settings.endpoint is None and not any(name in os.environ for name in SENDING):
        return None
    import threading  # noqa: F401  # whichever thread imports it first is its main thread: it must not be the sender's

    from .export import endpoint, places

    argument = settings.endpoint if settings.sources.get("endpoint") == "argument" else None
    environ = dict(os.environ)
    if not environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):  # that of a configuration file counts least
        environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = settings.endpoint or ""
    endpoints = endpoint.load(argument, environ=environ, settings=settings)
    settings.complain(endpoints.complaints)
    places.send({signal: target.url for signal, target in endpoints.targets.items()})
    return endpoints


def end_pre_init() -> None:
    """Record the phase ``PreInit``: it ends with init(), or under `otel-perf run` where the program's code begins."""
    start = startup.current
    if start is not None and _runtime is not None and start.phases[0] == "PreInit" and "PreInit" not in start.seen:
        start.mark("PreInit", start.frame[recorder.START], clock.now())


def _begin_again(runtime: Runtime, given: dict[str, Any]) -> None:
    """A second init(): under `otel-perf run` the program's first one counts, else it came too late."""
    if runtime.over:
        runtime.complain("init", "init() after shutdown() records nothing: a process is recorded once")
        return
    if not runtime.booted:
        late = sorted(key for key, item in given.items() if runtime.given.get(key) != item)
        if late:
            runtime.complain("init", f"init() was called before; ignored: {', '.join(late)}")
        return
    runtime.booted = False
    if runtime.explainer is not None and not runtime.settings.ready_when:
        runtime.explainer.may_speak()
    if runtime.writer.monitor is not None:
        runtime.writer.monitor.infers = False
    runtime.given = given
    settings = _settings(given)
    settings.folder = runtime.settings.folder
    runtime.settings = runtime.writer.settings = settings
    runtime.views = _takes_view(settings)
    start = startup.current
    if start is not None and not start.over:
        start.attributes["otel_perf.startup.awaits_ready"] = True
        if settings.phases is not None:
            start.phases, start.own = settings.phases, True
    imports.threshold = settings.import_threshold
    endpoints = _endpoints(settings)
    with runtime.writing:
        runtime.endpoints = endpoints
        if runtime.writer.folder is not None:
            runtime.writer.describe()
            runtime.begin_sending()
    _report_complaints(runtime)


def _refuse(settings: Settings) -> None:
    """Raise what is wrong with the settings, where the application wants to be told so.

    Raises:
        ConfigError: strict, and a value could not be taken.
    """
    if settings.strict and settings.complaints:
        from .errors import ConfigError

        raise ConfigError("; ".join(settings.complaints))


def _report_complaints(runtime: Runtime) -> None:
    _refuse(runtime.settings)
    for text in runtime.settings.complaints:
        runtime.complain(text, text)


def ready() -> None:
    """End the start: the program is ready. The root span is on disk within a second; a second call does nothing."""
    if startup.current is not None and recorder.state.recording:
        startup.current.finish("ready()")


def usable() -> None:
    """Mark the first useful moment: first request served, first frame drawn. A second call does nothing.

    It is an attribute of the start's root, or, once that is recorded, an event of the same name.
    """
    start = startup.current
    if start is None or _runtime is None or not recorder.state.recording or USABLE in start.attributes:
        return
    since = start.attributes[USABLE] = clock.now() - start.frame[recorder.START]
    if start.over and not start.held:
        _runtime.note(USABLE, INFO, {USABLE: since})
        _runtime.ring()


def report() -> str:
    """Return the report of this process as text, as `otel-perf report` prints it; what is open is not in it yet."""
    if _runtime is None or not recorder.state.recording:
        return "otel-perf: nothing is recorded: call init() first"
    _runtime.statistics_due = 0.0
    _runtime.write(final=False)
    if _runtime.writer.folder is None:
        return "otel-perf: nothing is recorded yet"
    from .analysis.report import report_text

    return report_text(_runtime.writer.folder.path)


def shutdown() -> None:
    """Stop recording: end the start and what is open, write everything. A second call does nothing."""
    if _runtime is not None:
        _runtime.end("shutdown")
        atexit.unregister(_runtime.at_exit)
        imports.uninstall()


def _before_fork() -> None:
    """Let an init() of another thread come to its end: a child with half of one could never begin its own."""
    _starting.acquire(True, LOADING_LIMIT)


def _after_fork_here() -> None:
    try:
        _starting.release()
    except RuntimeError:  # it took too long
        return


def _after_fork() -> None:
    global _starting  # the thread that holds it is not in this process
    _starting = RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_here, after_in_child=_after_fork)
