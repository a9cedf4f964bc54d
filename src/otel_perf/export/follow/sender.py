"""The thread that sends: loads the exporters once the program is ready, follows, and hands over what is left at exit.

A thread of its own, so that a collector that does not answer never keeps records from the disk. Imports only what costs
nothing; the exporters are loaded on this thread, in small pieces.
"""

from __future__ import annotations

import os
import sys
from _thread import RLock

from otel_perf import clock, recorder
from otel_perf.export.alive import is_alive
from otel_perf.threads import allocate_lock, is_importing, start

from .files import FAR, FILES, Folder, is_marked, mark
from .follower import HOLD, Follower, send_rest_as_json
from .pace import Pace, PacedImports

try:
    from time import thread_time
except ImportError:  # not everywhere
    from time import process_time as thread_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from otel_perf.export.endpoint import Endpoints

    from .loading import Without

LOAD_AFTER = 10.0  # seconds after init() that the exporters are loaded at the latest
POLL = 1.0  # seconds between two looks for what has to be there first
HALT_LIMIT = 0.05  # seconds that a fork waits for the thread
LOADING_LIMIT = 2.0  # seconds that it waits while the thread imports: the child could never import that again
IMPORT_POLL = 0.005  # seconds between two looks whether an import is over
MARGIN = 0.05  # seconds of the limit at exit that are left for saying so


_sending: Sender | None = None  # in this process
_asked = False  # to be called at each fork


class Sender:
    """Sends one process's folder, and what earlier processes of the same folder of runs could not send.

    Attributes:
        path: the process's folder.
        whole: at the end, nothing is left to send.
    """

    def __init__(
        self,
        path: str,
        endpoints: Endpoints,
        complain: Callable[[str], object],
        *,
        begun: float,
        start_lasts: bool,
    ) -> None:
        """Make a sender.

        Args:
            path: the process's folder.
            endpoints: where to.
            complain: takes one line for stderr.
            begun: monotonic seconds of init().
            start_lasts: the root of the start is still to come.
        """
        self.path = path
        self.endpoints = endpoints
        self.complain = complain
        self.whole = False
        self._signals = set(endpoints.targets)  # also those that nothing here can send: they wait
        self._load_at = begun + LOAD_AFTER
        self._start_lasts = start_lasts
        self._ready = False
        self._leave_at: float | None = None
        self._running = False
        self._thread = 0  # its identifier
        self._turn = RLock()  # to begin the thread, or to end it; a signal's handler may fork meanwhile
        self._loading = False
        self._imports: PacedImports | None = None  # meanwhile
        self._halted = self._alone = False
        self._stays = False  # something that nothing here can send
        self._follower: Follower | None = None  # outlives halt()
        self._used = self._taken = 0.0  # seconds of CPU
        self._alarm = allocate_lock()
        self._alarm.acquire()
        self._ended = allocate_lock()

    def start(self) -> None:
        """Begin the thread, also after halt()."""
        global _sending
        _sending = self
        mark(self.path, self.endpoints.targets)
        with self._turn:
            self._halted = False
            if self._running:
                return
            self._running = True
            self._ended.acquire()
            try:
                self._thread, self._alone = start(self._run, ()), False
            except RuntimeError:  # none can start just now, or any more, as from Python 3.12 at the interpreter's end
                self._running, self._alone = False, True
                self._ended.release()

    def halt(self) -> bool:
        """Stop the thread for a while, as before a fork; say whether it has stopped."""
        with self._turn:
            self._halted = True
        self._ring()
        over, limit = clock.now() + LOADING_LIMIT, HALT_LIMIT
        while self._running:
            if self._ended.acquire(True, limit):
                self._ended.release()
                break
            limit = IMPORT_POLL
            if clock.now() >= over or not (self._loading or is_importing(self._thread)):
                break
        return not self._running

    def let_go(self) -> None:
        """Give up, in a child of a fork, what only the thread would: it is not there."""
        global _sending
        _sending = None
        if self._imports is not None:
            self._imports.end()
        for folder in () if self._follower is None else self._follower.folders:
            folder.release()

    def ready(self) -> None:
        """Load the exporters now: the program is ready. Only the first call counts."""
        if not self._ready:
            self._ready = True
            self._ring()

    def close(self, limit: float) -> bool:
        """Let the thread send what is left, for at most *limit* seconds; say whether nothing is left.

        Where none could start, the one that calls this does.
        """
        self._leave_at = clock.now() + limit - MARGIN
        self._ring()
        if self._alone:
            try:
                self.whole = send_rest_as_json([self.path], self.endpoints, self._left(), self.complain)
            except Exception as error:  # noqa: BLE001  # never in the host's face
                self.complain(f"cannot send, records wait in the run folder: {type(error).__name__}: {error}")
        if self._running and self._ended.acquire(True, max(0.0, limit)):
            self._ended.release()
        return self.whole

    def sent(self, name: str) -> int:
        """Return the offset up to which nobody waits for the file *name*: it was delivered, or is not sent at all."""
        folders = [] if self._follower is None else self._follower.folders
        found = next((one for one in folders if one.path == self.path and one.is_ours() and not one.is_gone()), None)
        folder = found or Folder(self.path)  # another process sends it, and keeps the positions there
        signal = next((signal for signal, file in FILES.items() if file == name), "")
        if signal not in self._signals | folder.signals:
            return FAR if signal else 0
        return folder.positions[signal].offset

    def take_cpu_time(self) -> float:
        """Return the seconds of CPU that the thread has used since the last call, up to its last step."""
        used, self._taken = self._used - self._taken, self._used
        return max(0.0, used)

    def _ring(self) -> None:
        try:
            self._alarm.release()
        except RuntimeError:  # rung already
            return

    def _leaving(self) -> bool:
        return self._leave_at is not None or self._halted

    def _run(self) -> None:
        recorder.CURRENT.set(recorder.MUTED)
        goes_on = True
        try:
            while goes_on:
                self._work()
                goes_on = not self._stopped()
        except Exception as error:  # noqa: BLE001  # never in the host's face
            self.complain(
                f"internal error while sending, records wait in the run folder: {type(error).__name__}: {error}"
            )
        finally:
            if goes_on:
                self._end()

    def _stopped(self) -> bool:
        """Stop if that is asked for, and say so; a fork may be over before."""
        with self._turn:
            if self._leaving():
                self._end()
                return True
            return False

    def _end(self) -> None:
        """Say that this thread sends no more: in one step, for start() may be about to begin the next one."""
        with self._turn:
            self._running = False
            self._ended.release()

    def _work(self) -> None:
        while not (self._leaving() or self._may_load()):
            self._alarm.acquire(True, max(POLL, self._load_at - clock.now()))
        pace = Pace(self._leaving, lambda seconds: self._alarm.acquire(True, seconds))
        if self._load(pace):
            self._used = thread_time()
            self._follow(pace)
        elif self._leave_at is not None:
            sent = send_rest_as_json([self.path], self.endpoints, self._left(), self.complain)
            self.whole = sent and not self._stays

    def _may_load(self) -> bool:
        """Say whether the exporters may be loaded now.

        They import threading, and whichever thread imports it first is its main thread: if that were this one, the
        interpreter would wait for it before anything is told to end. Who makes a sender imports it before.
        """
        return (self._ready or clock.now() >= self._load_at) and "threading" in sys.modules

    def _load(self, pace: Pace) -> bool:
        """Load the exporters; say whether they are there."""
        targets = self.endpoints.targets.values()
        console = any("console" in target.exporters for target in targets)
        if self._leaving() and not console:
            return False
        self._loading = True
        from . import loading

        try:
            if console:
                without = loading.load(self.endpoints, lambda: False, ending=self._leaving)
            else:
                self._imports = PacedImports(pace)
                with self._imports:
                    without = loading.load(self.endpoints, self._leaving, _ask)
        except loading.Leaving:
            return False
        except RuntimeError:  # what an exporter imports may want a part in an end that has begun
            if not self._leaving():
                raise
            if console:
                self.complain(
                    "the program ended before its console exporters were loaded; their records are in the run folder"
                )
            return False
        finally:
            self._loading, self._imports = False, None
        return not without or self._do_without(without)

    def _do_without(self, without: list[Without]) -> bool:
        """Say what cannot be sent; return whether the process goes on."""
        names = " and ".join(one.target.signal for one in without)
        protocol = without[0].target.protocol
        self._stays = True
        if without[0].late:
            self._alarm.acquire(True, POLL)
            if self._leave_at is not None:  # the main thread has ended because the process does
                return False
            why, more = f"the main thread ended before the exporter for {protocol} was loaded", ""
        else:
            why = without[0].why or f"this interpreter has no OpenTelemetry exporter for {protocol}"
            more = "" if without[0].why else " (pip install otel-perf brings one)"
        self.complain(f"cannot send {names}: {why}; the records wait in the run folder for otel-perf replay{more}")
        return True

    def _follow(self, pace: Pace) -> None:
        follower = self._follower
        if follower is None:
            hold = HOLD if self._start_lasts else 0.0
            follower = self._follower = Follower(
                [self.path], self.endpoints, complain=self.complain, hold=hold, pace=pace
            )
            for path in leftovers(self.path):
                follower.queue(path, live=False)
        else:
            follower.pace = pace
        while not self._leaving():
            wait = follower.step()
            self._used = thread_time()
            if wait and not self._leaving():
                self._alarm.acquire(True, wait)
                pace.start()
            else:
                pace.rest()
        if self._leave_at is None:  # halted
            follower.end()
        else:
            self.whole = follower.close(self._left()) and not self._stays

    def _left(self) -> float:
        return max(0.0, (self._leave_at or clock.now()) - clock.now())


def _ask() -> None:
    """Ask to be called at each fork, before whoever has asked until now."""
    global _asked
    if not _asked and hasattr(os, "register_at_fork"):
        _asked = True
        os.register_at_fork(before=_before_fork)


def _before_fork() -> None:
    if _sending is not None and recorder.state.recording:
        _sending.halt()


def leftovers(path: str) -> list[str]:
    """Return the folders of processes that ended before all was sent, in the folder of runs of *path*, oldest first."""
    base = os.path.dirname(os.path.dirname(os.path.abspath(path)))
    folders = [folder for run in _inside(base) for folder in _inside(run) if folder != os.path.abspath(path)]
    return sorted(folder for folder in folders if is_marked(folder) and not is_alive(folder))


def _inside(folder: str) -> list[str]:
    try:
        return [os.path.join(folder, name) for name in os.listdir(folder)]
    except OSError:  # a file, or not ours
        return []
