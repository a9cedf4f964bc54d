"""init(), ready(), shutdown(): wires the rooms; the worker, fork, signals and exit.

The only room that knows everybody. Imports only hot rooms; what the worker does is in worker.py, which the first thread
that writes loads. Reading order: init(), Runtime.start(), the worker's thread and write(), then how a process ends.
"""

from __future__ import annotations

import atexit
import os
import sys
from _thread import RLock, get_ident, get_native_id

from . import clock, config, imports, recorder, startup, system, tracing
from .threads import allocate_lock, is_importing, start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .config import Settings
    from .worker import Work

WATCH_AFTER = 0.03  # seconds: what ends within them has nothing to explain
START_AGAIN = 1.0  # seconds between two tries to start the worker where no thread can be started
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
SHUTDOWN = -1  # asked for by a signal's handler: in the place of the signal's number

load_time = 0.0  # seconds that this room took to load, if a name of the package was what loaded it
_runtime: Runtime | None = None
_starting = RLock()


class Runtime:
    """What runs in this process: its settings, its start, its threads, and how it ends."""

    def __init__(self, settings: Settings, begun: float) -> None:
        self.settings = settings
        self.base = os.path.abspath(settings.folder)  # of runs: the program may change its working directory
        self.run = os.environ.get("OTEL_PERF_RUN", "")  # that this process belongs to, empty until it has one
        self.begun, self.since = begun, clock.wall_ns()  # when counting began: monotonic seconds, ns since 1970
        self.booted = False  # by `otel-perf run`, and the program has not called init() yet
        self.infers = False  # when the program is ready, unless it says so
        self.given: dict[str, Any] = {}
        self.main = get_ident()
        self.sockets: frozenset[str] = frozenset()  # that the process began with
        self.work: Work | None = None  # until somebody writes
        self.making = RLock()
        self.worker = self.thread = 0  # identifier, native id
        self.start_after = 0.0  # monotonic seconds before which no worker is started again
        self.stop = self.over = False
        self.loading = False  # somebody loads the rooms that write
        self.alarm = allocate_lock()
        self.ended = allocate_lock()
        self.writing = RLock()
        self.is_child = False  # of a fork
        self.endpoints: Any = None  # where records are sent, and
        self.sender: Any = None  # the thread that does
        self.busy: set[int] = set()  # threads that write, or choose the run
        self.ending = 0  # the one that ends the process
        self.signalled = (0, 0)  # a signal that came to one of them in the meantime, and to which
        self.how: dict[str, Any] = {}  # the process ended
        self.views = _takes_view(settings)  # the page is still to be started
        self.complained: set[str] = set()  # of which causes
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
        self.thread = get_native_id()
        try:
            if not self.stop and not recorder.finished:
                self.alarm.acquire(True, WATCH_AFTER)
            if not self.stop:
                self.load().run()
        except BaseException as error:  # noqa: BLE001  # never in the host's face; the exit writes what is left
            self.complain("worker", error)
            self.start_after = clock.now() + START_AGAIN
        finally:
            self.worker = 0
            if not self.stop:  # it failed: a later record tries again
                recorder.state.idle = True
            ended.release()

    def load(self) -> Work:
        """Return what writes, loaded at the first call; only called from inside of at_work() and by the worker."""
        if self.work is None:
            self.loading = True
            from .worker import Work

            self.loading = False
            with self.making:
                self.work = self.work or Work(self)
        return self.work

    def at_work(self, task: Callable[[], None]) -> None:
        """Do a *task* of ours on a thread of the program: nothing of it is recorded, and a signal waits for its end."""
        current = recorder.CURRENT.get()
        recorder.CURRENT.set(recorder.MUTED)
        thread = get_ident()
        outer = thread in self.busy
        try:
            self.busy.add(thread)
            task()
        finally:
            recorder.CURRENT.set(current)
            if not outer:
                self.busy.discard(thread)

    def write(self, final: bool, limit: float = EXIT_LIMIT, whole: bool = False) -> None:
        """Write what is finished; called by the worker, and once by the thread that ends the process.

        Args:
            final: it is the last time.
            limit: seconds that another thread that writes is waited for.
            whole: with the statistics, whenever those are due.
        """
        if get_ident() in self.busy and not final:  # a signal came while this thread writes
            return
        if not self.writing.acquire(True, limit):
            return
        try:
            since = system.thread_time()
            self.at_work(lambda: self.load().write(final, whole, since))
        except Exception as error:
            if get_ident() == self.worker:  # it ends by that
                raise
            self.complain("worker", error)
        finally:
            self.writing.release()
        self.obey()

    def flush(self) -> None:
        """Write and share what is finished, on the thread that asks."""
        if recorder.state.recording:
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

    def note(self, name: str, severity: int, fields: dict[str, Any]) -> None:
        """Record an event of the process, with the ids of its start's root."""
        start = startup.current
        ids = (start.trace.id, start.root.span_id) if start is not None else (0, 0)
        recorder.note(name, severity, ids, fields)

    def complain(self, cause: str, what: object) -> None:
        """Say once for each cause what is wrong, on stderr; never raise."""
        if cause in self.complained:
            return
        self.complained.add(cause)
        if isinstance(what, OSError) and cause == "folder":
            what = f"cannot write the run folder {what.filename or self.base}: {what.strerror}; records are dropped"
        elif isinstance(what, BaseException):
            what = f"internal error in the {cause}, records may be missing: {type(what).__name__}: {what}"
        try:
            from .errors import say

            say(what)
        except Exception:  # noqa: BLE001  # nothing can be loaded: there are no files left, or an import hook fails
            _say(what)

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
            if not told and (recorder.finished or (self.work is not None and self.work.writer.waits())):
                self.note(ENDED, ERROR if "exception.type" in self.how or signal else INFO, self.how)
            until = clock.now() + EXIT_LIMIT
            self.halt(EXIT_LIMIT)
            self.write(final=True, limit=max(0.0, until - clock.now()))
            if self.sender is not None:
                self.sender.close(max(0.0, until - clock.now()))
            self.over = True
            if self.work is not None:
                self.work.close()
        finally:
            self.ending = outer
        self.obey()

    def shutdown(self) -> None:
        """End now; from a signal's handler that interrupts the loading of what writes, when that is over."""
        if self.is_inside():
            self.signalled = self.signalled if self.signalled[0] else (SHUTDOWN, get_ident())
            return
        try:
            self.end("shutdown")
        except Exception as error:  # noqa: BLE001
            self.complain("shutdown", error)
            return
        atexit.unregister(self.at_exit)
        imports.uninstall()

    def is_inside(self) -> bool:
        """Say whether a handler of a signal asks, from inside of this thread's loading of what writes."""
        return get_ident() in self.busy and is_importing(get_ident())

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
        if self.is_busy(get_ident()):  # it would write from inside of what it interrupts
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

    def is_busy(self, thread: int) -> bool:
        """Say whether *thread* writes or ends the process."""
        return thread in self.busy or thread == self.ending

    def obey(self) -> None:
        """Do what a signal, or its handler, asked for that came while this thread wrote."""
        number, thread = self.signalled
        if number and get_ident() == thread and not self.is_busy(thread):
            self.signalled = (0, 0)
            if number == SHUTDOWN:
                self.shutdown()
            else:
                self.on_signal(number, None)

    # --- fork --------------------------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Stop the worker: from 3.12 a fork beside a thread is warned of, and a child would inherit its locks."""
        if not recorder.state.recording:
            return
        worker = self.worker
        if worker:
            self.halt(LOADING_LIMIT if self.loading else 0.25)
            over = clock.now() + LOADING_LIMIT
            while self.worker not in (0, get_ident()) and is_importing(self.worker) and clock.now() < over:
                self.ended.acquire(True, 0.005)
            system.until_gone(self.thread)
        if self.settings.children and not self.run and not self.is_inside():
            self.at_work(self.choose_run)
            self.obey()
        start = startup.current
        lasts = start is not None and not start.over  # who forks then may be about to end, as a daemon's parent is
        if worker and (lasts or sys.version_info >= (3, 12)) and len(recorder.finished) <= FEW:
            self.write(final=False)  # from 3.12 after_fork_here() starts no worker
        if self.sender is not None:
            self.sender.halt()

    def choose_run(self) -> None:
        """Make the run's folder: what this process forks belongs to the same run."""
        try:
            self.load().writer.choose_run()
        except Exception as error:  # noqa: BLE001  # the child chooses
            self.complain("folder" if isinstance(error, OSError) else "fork", error)

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
        self.making = RLock()
        self.begun, self.since, self.is_child = clock.now(), clock.wall_ns(), True
        if self.sender is not None:
            self.sender.let_go()
        self.worker, self.sender = 0, None
        if self.work is not None:
            self.work = self.work.of_a_child()
        self.busy, self.ending, self.views = set(), 0, False
        self.loading = False
        self.signalled = (0, 0)
        self.stop = not self.settings.children
        recorder.state.recording = recorder.state.recording and self.settings.children
        recorder.state.idle = True
        self.leave_with_multiprocessing()
        self.leave_with_celery()
        if self.settings.metrics and recorder.state.recording:
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
        from .errors import ConfigError, say

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
    recorder.state.memory = max(0, system.resident() - memory)
    start = startup.current
    if start is not None and not booting:
        start.attributes["otel_perf.startup.awaits_ready"] = True
        start.attributes["otel_perf.startup.modules_before_init"] = len(sys.modules)
        end_pre_init()
    recorder.state.init_time = load_time + clock.now() - begun
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
    runtime.given = given
    settings = _settings(given)
    settings.folder = runtime.settings.folder
    runtime.settings = settings
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
        if runtime.work is not None:
            runtime.work.begin_again()
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


def _say(what: object) -> None:
    """Write one line to stderr, as errors.say() does, with nothing that is still to be loaded."""
    try:
        sys.stderr.write(f"otel-perf: {ascii(str(what))[1:-1]}\n")
    except Exception:  # noqa: BLE001  # it may be closed, or None
        return


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
    _runtime.write(final=False, whole=True)
    folder = None if _runtime.work is None else _runtime.work.writer.folder
    if folder is None:
        return "otel-perf: nothing is recorded yet"
    current = recorder.CURRENT.get()
    recorder.CURRENT.set(recorder.MUTED)  # what that imports is not the program's
    try:
        from .analysis.report import report_text

        return report_text(folder.path)
    finally:
        recorder.CURRENT.set(current)


def shutdown() -> None:
    """Stop recording: end the start and what is open, write everything. A second call does nothing."""
    if _runtime is not None:
        _runtime.shutdown()


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
