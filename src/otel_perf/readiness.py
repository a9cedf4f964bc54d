"""When a program that does not say so is ready: found by looking from the worker, nothing of the program is changed.

Imports only: sys, watch, system. The rules, in the order in which they are asked: a socket of this process listens; the
main module has ended while other threads go on; the program idles for the first time. `--ready-when` names one instead.

ready() knows better for as long as startup.HOLD says. A program that calls init() itself may well call it too: its
start goes on for that time, while the root of any other start is only held back.
"""

from __future__ import annotations

import sys

from .clock import now
from .system import calls
from .watch import CPU, LOCK, Watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

IDLE = 0.5  # seconds without work that make a loop ready
BUSY = 0.25  # seconds between two looks for sockets while the main thread computes
MAX_FILES = 256  # open files that are looked at, where no rule was named
ALL_FILES = 2**20


class Readiness:
    """Finds out when this process is ready.

    Attributes:
        rule: ``auto`` for all rules, else the only one.
        number: the port, or the seconds.
    """

    def __init__(self, rule: str, number: float, created: float, main: int, inherited: frozenset[str]) -> None:
        """Begin.

        Args:
            rule: see config.ready_rule().
            number: its number.
            created: monotonic seconds of the process's creation.
            main: identifier of the main thread.
            inherited: sockets that the process began with; who made them listens, as a server's master does.
        """
        self.rule = rule
        self.number = number
        self.created = created
        self.main = main
        self._inherited = inherited
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
        main = watch.threads.get(calls.getpid())
        if main is None or main.waits != CPU or moment - self._looked >= BUSY:
            last, self._looked = self._looked, moment
            ports = listening_ports(*(self._inherited, MAX_FILES) if self.rule == "auto" else (frozenset(), ALL_FILES))
            began = moment
            if main is not None and main.waits != CPU:  # a server listens, then waits: it did so when this began
                began = max(moment - main.rested, last)
            if self.rule == "port":
                return ("port", began) if int(self.number) in ports else None
            if ports:
                return "listen", began
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
    thread = watch.threads.get(calls.getpid())
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


def listening_ports(inherited: frozenset[str], limit: int) -> set[int]:
    """Return the ports on which sockets of this process listen; 0 stands for a socket that has a name in a folder.

    Args:
        inherited: sockets that do not count, as /proc names them.
        limit: open files that are looked at.
    """
    files = _socket_files(inherited, limit)
    if files is None:
        return _ports_by_psutil()
    if not files:
        return set()
    import _socket

    # Not blocking: else the object would give the file the program's default timeout.
    kind = _socket.SOCK_STREAM | _socket.SOCK_NONBLOCK
    found: set[int] = set()
    for file in files:
        try:
            socket = _socket.socket(-1, kind, -1, file)  # it asks the system what the file is, and changes nothing
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


def _socket_files(inherited: frozenset[str], limit: int) -> list[int] | None:
    """Return the numbers of the open files that are sockets, None where the system does not say."""
    try:
        numbers = sorted(map(int, calls.listdir("/proc/self/fd")), reverse=True)  # what was opened last is first
    except (OSError, ValueError):
        return None
    found = []
    for number in numbers[:limit]:
        try:
            link = calls.readlink(f"/proc/self/fd/{number}")
        except OSError:
            continue
        if link.startswith("socket:") and link not in inherited:
            found.append(number)
    return found


def _ports_by_psutil() -> set[int]:
    try:
        import psutil

        connections = psutil.Process().net_connections(kind="inet")
    except Exception:  # noqa: BLE001  # not installed, or not allowed
        return set()
    return {connection.laddr.port for connection in connections if connection.status == "LISTEN"}
