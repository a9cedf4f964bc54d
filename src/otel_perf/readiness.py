"""When a program that does not say so is ready: found by looking from the worker, nothing of the program is changed.

Imports only: os, sys, watch. The rules, in the order in which they are asked: a socket of this process listens; the
main module has ended while other threads go on; the program idles for the first time. `--ready-when` names one instead.
"""

from __future__ import annotations

import os
import sys

from .clock import now
from .watch import CPU, LOCK, Watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

IDLE = 0.5  # seconds without work that make a loop ready
BUSY = 0.25  # seconds between two looks for sockets while the main thread computes
MAX_FILES = 256  # open files that are looked at


class Readiness:
    """Finds out when this process is ready.

    Attributes:
        rule: ``auto`` for all rules, else the only one.
        number: the port, or the seconds.
    """

    def __init__(self, rule: str, number: float, created: float, main: int) -> None:
        """Begin.

        Args:
            rule: see config.ready_rule().
            number: its number.
            created: monotonic seconds of the process's creation.
            main: identifier of the main thread.
        """
        self.rule = rule
        self.number = number
        self.created = created
        self.main = main
        self._looked = 0.0
        self._quiet_since = 0.0
        self._work: object = None

    def look(self, watch: Watch, work: object) -> tuple[str, float] | None:
        """Return which rule holds and since when, None as long as none does.

        Args:
            watch: has just sampled.
            work: anything that is not equal any more when something was recorded.
        """
        moment = now()
        if self.rule == "delay":
            return ("delay", self.created + self.number) if moment >= self.created + self.number else None
        if self.rule == "exit":
            return None
        main = watch.threads.get(os.getpid())
        if main is None or main.waits != CPU or moment - self._looked >= BUSY:
            self._looked = moment
            ports = listening_ports()
            if self.rule == "port":
                return ("port", moment) if int(self.number) in ports else None
            if ports:
                return "listen", moment
        if self.rule != "auto":
            return None
        if _main_has_ended(self.main, watch):
            return "main", moment
        return self._idle(watch, work, moment)

    def _idle(self, watch: Watch, work: object, moment: float) -> tuple[str, float] | None:
        since = watch.idle_since()
        if since is None or work != self._work:
            self._quiet_since, self._work = moment, work
            return None
        began = max(since, self._quiet_since)
        return ("idle", began) if moment - began >= IDLE else None


def _main_has_ended(main: int, watch: Watch) -> bool:
    """Say whether the main thread waits for the others at the end of its module."""
    thread = watch.threads.get(os.getpid())
    if thread is not None and thread.waits != LOCK:
        return False
    frame: FrameType | None = sys._current_frames().get(main)  # noqa: SLF001
    for _ in range(8):
        if frame is None:
            return False
        code = frame.f_code
        if code.co_name == "_shutdown" and code.co_filename.endswith("threading.py"):
            return frame.f_back is None
        frame = frame.f_back
    return False


def listening_ports() -> set[int]:
    """Return the ports on which sockets of this process listen; 0 stands for a socket that has a name in a folder."""
    files = _socket_files()
    if files is None:
        return _ports_by_psutil()
    if not files:
        return set()
    import _socket

    found: set[int] = set()
    for file in files:
        try:
            socket = _socket.socket(fileno=file)  # it asks the system what the file is, and changes nothing
        except OSError:
            continue
        try:
            if socket.getsockopt(_socket.SOL_SOCKET, _socket.SO_ACCEPTCONN):
                name = socket.getsockname()
                found.add(name[1] if isinstance(name, tuple) and len(name) > 1 else 0)
        except OSError:
            continue
        finally:
            socket.detach()
    return found


def _socket_files() -> list[int] | None:
    """Return the numbers of the open files that are sockets, None where the system does not say."""
    try:
        names = os.listdir("/proc/self/fd")
    except OSError:
        return None
    found = []
    for name in names[:MAX_FILES]:
        try:
            if os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                found.append(int(name))
        except (OSError, ValueError):
            continue
    return found


def _ports_by_psutil() -> set[int]:
    try:
        import psutil

        connections = psutil.Process().net_connections(kind="inet")
    except Exception:  # noqa: BLE001  # not installed, or not allowed
        return set()
    return {connection.laddr.port for connection in connections if connection.status == "LISTEN"}
