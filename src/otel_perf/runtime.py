"""init(), ready(), shutdown(): wires the rooms; the worker, fork, signals and exit.

The only room that knows everybody. Imports only hot rooms; what writes is loaded by the worker. Reading order: init(),
Runtime.start(), then the worker's loop _work() and write(), then how a process ends.
"""

from __future__ import annotations

import atexit
import os
import sys
from _thread import RLock, allocate_lock, get_ident, get_native_id, start_new_thread

from . import clock, config, imports, recorder, sampling, startup, tracing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .config import Settings

WRITE_AFTER = 0.2  # seconds from the first record after silence to the disk
STATISTICS_EVERY = 1.0  # seconds between two looks at the statistics, longer when they are expensive
STATISTICS_SHARE = 200  # the looks take at most one part in this many of a core
FEW = 2_000  # records whose writing a fork may wait for, 10 ms of CPU
EXIT_LIMIT = 1.5  # seconds that an exit waits for the worker

_runtime: Runtime | None = None
_starting = RLock()


def say(what: object) -> None:
    """Write one line to stderr, if there is one that takes it."""
    try:
        sys.stderr.write(f"otel-perf: {what}\n")
    except Exception:  # noqa: BLE001  # it may be closed, or None
        return


class Runtime:
    """What runs in this process: its settings, its start, its worker and its run folder."""

    def __init__(self, settings: Settings, begun: float) -> None:
        self.settings = settings
        self.base = os.path.abspath(settings.folder)
        self.run = os.environ.get("OTEL_PERF_RUN", "")
        self.booted = False
        self.given: dict[str, Any] = {}
        self.init_time = 0.0
        self.memory = 0
        self.worker = 0
        self.thread = 0
        self.stop = self.over = False
        self.alarm = allocate_lock()
        self.ended = allocate_lock()
        self.writing = RLock()
        self.folder: Any = None
        self.instance = ""
        self.resource = ""
        self.worker_time = 0.0
        self.counting_since = clock.wall_ns()
        self.statistics_due = begun + STATISTICS_EVERY
        self.refused = 0
        self.pending: list[list[Any]] = []  # batches of records, a line each, that are not written yet
        self.busy = self.ending = 0  # the thread that writes, and the one that ends the process
        self.signalled = (0, 0)  # a signal that came to one of them in the meantime, and to which
        self.said: set[str] = set()
        self.alarm.acquire()

    # --- beginning ---------------------------------------------------------------------------------------------------

    def start(self, phases: tuple[str, ...], own: bool) -> None:
        """Begin the start, the hooks and the worker."""
        settings = self.settings
        state = recorder.state
        state.wake = self.wake
        state.recording = True
        state.span_threshold = settings.startup_span_threshold
        imports.threshold = settings.import_threshold
        created, how = startup.process_creation()
        start = startup.current = startup.Startup(created, how, phases, own)
        start.threshold_after = settings.span_threshold
        start.begin()
        if sys.version_info < (3, 12):
            _keep_contexts_alive()
        if settings.imports:
            imports.install()
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
            self.worker = start_new_thread(self._work, (self.ended,))
        except RuntimeError:  # no thread can start any more: the exit writes what is left
            self.worker = 0

    def wake(self) -> None:
        """Wake the worker; start it where a fork has stopped it."""
        if not self.worker and not self.stop:
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
            while not self.stop:
                recorder.state.idle = True
                if not recorder.finished:
                    self.alarm.acquire(True, max(0.01, self.statistics_due - clock.now()))
                recorder.state.idle = False
                tracing.join_late()
                if recorder.finished and not self.stop:
                    self.alarm.acquire(True, WRITE_AFTER)  # more records come; only halt() ends this early
                if not self.stop:  # else whoever stops us goes on with what is left
                    self.write(final=False)
        except BaseException as error:  # noqa: BLE001  # never in the host's face; the exit writes what is left
            self.complain("worker", error)
        finally:
            self.worker = 0
            ended.release()

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
            begun = _thread_time()
            self._write_records()
            if final or clock.now() >= self.statistics_due:
                self._write_statistics(final)
            self.worker_time += _thread_time() - begun
        finally:
            recorder.CURRENT.set(current)
            self.busy = outer
            self.writing.release()
        self.obey()

    def flush(self) -> None:
        """Write and share what is finished, on the thread that asks."""
        if recorder.state.recording and self.busy != get_ident():  # else a signal came while this thread writes
            self.write(final=False)

    def end_start(self) -> None:
        """End the start at exit, while the application's own TracerProvider still takes its root."""
        if startup.current is not None:
            startup.current.finish("exit")
        startup.identify_slow(recorder.CURRENT.get())
        with recorder.hold():
            startup.close_open(clock.now(), interrupted=False)
        self.flush()

    def _write_records(self) -> None:
        """Write what is finished, then share it: the application's processors may take their time."""
        from .export.otlp_json import SPANS_A_LINE

        taken = [self._with_cost(record) for record in recorder.drain()]
        self.pending += [taken[first : first + SPANS_A_LINE] for first in range(0, len(taken), SPANS_A_LINE)]
        while self.pending:  # what is not written yet stays there: Ctrl-C may end this from inside
            batch, written = self.pending[0], 0
            try:
                written = self._write_batch(batch)
            except Exception as error:  # noqa: BLE001
                self._failed(error)
            self.refused += len(batch) - written
            del self.pending[0]
        if taken and self.settings.provider:
            start = startup.current
            tracing.share(taken, start is not None and not start.over)

    def _with_cost(self, record: Any) -> Any:
        """Return *record*, the start's root with what we have cost so far."""
        if type(record) is tuple and record[0].kind == "startup":
            return (*record[:8], {**record[8], **self._cost()}, *record[9:])
        return record

    def _write_batch(self, records: list[Any]) -> int:
        """Write records as one line, and return how many reached the disk."""
        from .export import otlp_json

        folder, written = self._open(), 0
        for line, done, _ in otlp_json.trace_lines(self.resource, self._scope(), records):
            if not line or folder.write("traces.jsonl", line):
                written += done
            else:
                self.complain(
                    "limit", f"the run folder's limit of {folder.limit} bytes is reached; records are dropped"
                )
        return written

    def _failed(self, error: Exception) -> None:
        self.complain("folder" if isinstance(error, OSError) else "worker", error)

    def _write_statistics(self, final: bool) -> None:
        """Write the statistics that changed; what could not be written is tried again at the next look."""
        from . import metrics

        begun = clock.now()
        changed: list[Any] = []
        try:
            if not self._write_metrics(metrics.function_metrics(self.counting_since, clock.wall_ns(), changed), final):
                changed.clear()
        except Exception as error:  # noqa: BLE001
            changed.clear()
            self._failed(error)
        for path, calls in changed:
            path.seen = calls
        ended = clock.now()
        self.statistics_due = ended + max(STATISTICS_EVERY, (ended - begun) * STATISTICS_SHARE)

    def _write_metrics(self, found: list[str], final: bool) -> bool:
        """Write one line of metrics with what we cost; return whether it reached the disk."""
        from . import metrics
        from .export import otlp_json

        if not found and not (final and self.folder is not None):
            return True
        start, time = self.counting_since, clock.wall_ns()
        dropped = recorder.state.dropped + self.refused
        found.append(metrics.sum_metric("otel_perf.self.dropped", "{record}", dropped, start, time))
        found.append(metrics.sum_metric("otel_perf.self.cpu_time", "s", self.worker_time, start, time))
        if self.init_time:
            found.append(metrics.gauge_metric("otel_perf.self.init_time", "s", self.init_time, time))
        if self.memory:
            found.append(metrics.gauge_metric("otel_perf.self.memory", "By", self.memory, time))
        folder = self._open()  # which describes the resource too
        return bool(folder.write("metrics.jsonl", otlp_json.metric_line(self.resource, self._scope(), found)))

    def _open(self) -> Any:
        """Return the run folder, made at the first use, so that what writes nothing leaves nothing."""
        if self.folder is None:
            from .export import folder

            run = self.run or folder.create_run(self.base)
            self.run = run
            self.folder = folder.create_process(run, self.settings.folder_limit)
            self.describe()
            settings = self.settings
            base = os.path.dirname(run)
            if len(os.listdir(run)) == 1:  # once a run, by its first process
                try:
                    folder.retire(base, run, settings.keep_runs, settings.keep_time, settings.folder_limit)
                except OSError:  # another process tidies at the same moment
                    return self.folder
        return self.folder

    def describe(self) -> None:
        """Build the resource again, for records that follow."""
        from . import resource
        from .export import otlp_json

        if not self.instance:
            number = f"{recorder.new_trace_id():032x}"
            self.instance = f"{number[:8]}-{number[8:12]}-4{number[13:16]}-{number[16:20]}-{number[20:]}"
        self.resource = otlp_json.attributes(resource.describe(self.settings, self.instance))

    def _scope(self) -> str:
        from .__about__ import __version__
        from .export import otlp_json

        return otlp_json.scope("otel_perf", __version__)

    def _cost(self) -> dict[str, Any]:
        """Return what we have cost this program so far, for the root span."""
        cost: dict[str, Any] = {"otel_perf.budget.startup": 2.0, "otel_perf.self.cpu_time": self.worker_time}
        if self.init_time:
            cost["otel_perf.self.init_time"] = self.init_time
        if self.memory > 0:
            cost["otel_perf.self.memory"] = self.memory
        if imports.seen:
            cost["otel_perf.startup.imports"] = imports.seen
        return cost

    def complain(self, cause: str, what: object) -> None:
        """Say once for each cause what is wrong, on stderr; never raise."""
        if cause in self.said:
            return
        self.said.add(cause)
        if isinstance(what, OSError) and cause == "folder":
            what = f"cannot write the run folder {what.filename or self.base}: {what.strerror}; records are dropped"
        elif isinstance(what, BaseException):
            what = f"internal error in the {cause}, records may be missing: {type(what).__name__}: {what}"
        say(what)

    # --- ending ------------------------------------------------------------------------------------------------------

    def end(self, rule: str, interrupted: bool = False) -> None:
        """End the start and everything open, stop the worker, write what is left."""
        if self.over:
            return
        state = recorder.state
        outer, self.ending = self.ending, get_ident()
        try:
            if startup.current is not None:
                startup.current.finish(rule, interrupted)
            startup.identify_slow(recorder.CURRENT.get())
            with recorder.hold():  # a span that ends later is in no trace whose parent is not recorded any more
                tracing.close_open(interrupted)
                startup.close_open(clock.now(), interrupted)
                state.recording = False
            until = clock.now() + EXIT_LIMIT
            self.halt(EXIT_LIMIT)
            self.write(final=True, limit=max(0.0, until - clock.now()))
            self.over = True
            if self.folder is not None:
                self.folder.close()
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

    def listen(self) -> None:
        """Handle SIGTERM and SIGHUP where nobody does, so that what is open is written before they end the process."""
        import _signal  # type: ignore[import-not-found]  # signal itself costs 5 ms

        if os.getpid() == 1:  # the first process of a container: no default action would end it
            return
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(_signal, name, None)
            try:
                if number is not None and _signal.getsignal(number) == _signal.SIG_DFL:
                    _signal.signal(number, self.on_signal)
            except ValueError:  # not the main thread: only there can handlers be set
                return

    def on_signal(self, number: int, stack: object) -> None:
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
            self.end("signal", interrupted=True)
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
        if self.worker and recorder.state.recording:
            self.halt(0.25)
            _until_gone(self.thread)
            if sys.version_info >= (3, 12) and len(recorder.finished) <= FEW:
                self.write(final=False)  # here, since after_fork_here() starts no worker

    def after_fork_here(self) -> None:
        """Go on in the parent; from 3.12 the thread starts with the next record, since the warning is still to come."""
        if not recorder.state.recording:
            return
        self.stop = False  # a worker that was too busy to stop in time goes on
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
            startup.current.over = True
            recorder.state.span_threshold = startup.current.threshold_after
        self.alarm, self.writing = allocate_lock(), RLock()
        self.alarm.acquire()
        self.worker, self.folder, self.instance = 0, None, ""
        self.worker_time, self.refused, self.init_time, self.memory, self.pending = 0.0, 0, 0.0, 0, []
        self.busy = self.ending = 0
        self.signalled = (0, 0)
        self.counting_since = clock.wall_ns()
        self.statistics_due = clock.now() + STATISTICS_EVERY
        self.stop = not self.settings.children
        recorder.state.recording = recorder.state.recording and self.settings.children
        recorder.state.idle = True
        self.leave_with_multiprocessing()

    def leave_with_multiprocessing(self) -> None:
        """End with a child of multiprocessing too, which leaves by os._exit, past atexit, and forgets finalizers."""
        util = sys.modules.get("multiprocessing.util")
        if util is not None:
            util.register_after_fork(self, lambda runtime: util.Finalize(None, runtime.at_exit, exitpriority=-1000))


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
        endpoint: reserved for sending to an OpenTelemetry collector; not yet used.
        phases: names of the start's phases in order; default PreInit, CoreInit, DeviceManager, Transport, UI, Plugins,
            Ready.
        folder: where runs are kept; default ``.otel-perf`` in the working directory.
        view: reserved for the live page; not yet used.
        sampling: reserved for the sampling profiler; not yet used.
        strict: raise errors of our own instead of counting them.

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
    settings = config.load(given)
    if settings.disabled:
        return
    on_root, on_parent, complaints = sampling.decisions(settings)
    settings.complaints.extend(complaints)
    if settings.resource_attributes:
        from . import resource

        settings.complaints.extend(resource.complaints(settings.resource_attributes))
    _refuse(settings)
    recorder.state.on_root, recorder.state.on_parent = on_root, on_parent
    memory = _resident()
    runtime = _runtime = Runtime(settings, begun)
    runtime.booted = booting
    runtime.given = given
    runtime.start(settings.phases or config.DEFAULT_PHASES, settings.phases is not None)
    runtime.memory = max(0, _resident() - memory)
    start = startup.current
    if start is not None and not booting:
        start.attributes["otel_perf.startup.modules_before_init"] = len(sys.modules)
        end_pre_init()
    runtime.init_time = clock.now() - begun
    _report_complaints(runtime)


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
    settings = config.load(given)
    settings.folder = runtime.settings.folder
    runtime.settings = settings
    start = startup.current
    if start is not None and not start.over and settings.phases is not None:
        start.phases, start.own = settings.phases, True
    imports.threshold = settings.import_threshold
    with runtime.writing:
        if runtime.folder is not None:
            runtime.describe()
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
    """Mark the first useful moment: first request served, first frame drawn; an attribute of the root."""
    start = startup.current
    if start is not None and not start.over:
        start.attributes.setdefault("otel_perf.startup.usable", clock.now() - start.frame[recorder.START])


def report() -> str:
    """Return the report of this process as text, as `otel-perf report` prints it; what is open is not in it yet."""
    if _runtime is None or not recorder.state.recording:
        return "otel-perf: nothing is recorded: call init() first"
    _runtime.statistics_due = 0.0
    _runtime.write(final=False)
    if _runtime.folder is None:
        return "otel-perf: nothing is recorded yet"
    from .analysis.report import report_text

    return report_text(_runtime.folder.path)


def shutdown() -> None:
    """Stop recording: end the start and what is open, write everything. A second call does nothing."""
    if _runtime is not None:
        _runtime.end("shutdown")
        atexit.unregister(_runtime.at_exit)
        imports.uninstall()


def _keep_contexts_alive() -> None:
    """Keep the running context's map alive while the garbage collector works.

    Up to 3.11 the collector may run inside ContextVar.set(), and a finaliser that sets a variable there frees the map
    that is being read: the interpreter crashes. A copy of the context holds it.
    """
    import gc
    from _contextvars import copy_context

    held: list[Any] = []

    def hold(phase: str, _info: object) -> None:
        if phase == "start":
            held.append(copy_context())
        else:
            held.clear()

    gc.callbacks.append(hold)


def _resident() -> int:
    """Return the resident memory of this process in bytes, 0 where /proc does not say."""
    try:
        with open("/proc/self/statm", "rb", buffering=0) as file:
            return int(file.read(64).split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        return 0


def _until_gone(thread: int) -> None:
    """Wait until the system has taken away a *thread* that has run its last line: from 3.12 a fork counts it."""
    import time

    path, until = f"/proc/self/task/{thread}", clock.now() + 0.02
    while sys.version_info >= (3, 12) and os.path.exists(path) and clock.now() < until:
        time.sleep(0.0001)


def _thread_time() -> float:
    import time

    return time.thread_time() if hasattr(time, "thread_time") else 0.0
