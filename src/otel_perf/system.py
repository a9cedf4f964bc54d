"""The system's calls as they are, past what a program puts in their place: a mock of ``os.open`` is for its own calls.

And what the system says of this process. Rooms that work beside the program call these; paths are put together with
os.path all the same. Imports only: os, stat, sys, time, _thread, posix, or nt on Windows.
"""

from __future__ import annotations

import os
import sys
import time
from _thread import get_native_id
from stat import S_ISREG

try:
    import posix as calls
except ImportError:
    import nt as calls  # type: ignore[no-redef]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

__all__ = [
    "calls", "caught_signals", "main_thread", "open_file", "open_sockets", "resident", "thread_time", "until_gone",
]  # fmt: skip

EINVAL = 22


def open_file(path: str) -> BinaryIO:
    """Open the file *path* to be read, and nothing else: a pipe lets its reader wait for ever, a device has no end.

    Raises: OSError: it is not there, may not be read, or is no regular file.
    """
    file = open(path, "rb", opener=_at_once)  # noqa: SIM115  # the caller closes it
    if not S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(EINVAL, "not a regular file", path)
    return file


def _at_once(path: str, flags: int) -> int:
    return calls.open(path, flags | getattr(calls, "O_NONBLOCK", 0))


def resident() -> int:
    """Return the resident memory of this process in bytes, 0 where /proc does not say."""
    try:
        with open("/proc/self/statm", "rb", buffering=0) as file:
            return int(file.read(64).split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        return 0


def open_sockets() -> frozenset[str]:
    """Return the sockets of this process as /proc names them."""
    found = []
    try:
        for name in os.listdir("/proc/self/fd"):
            try:
                found.append(os.readlink(f"/proc/self/fd/{name}"))
            except OSError:  # that of the listing itself
                continue
    except OSError:  # not Linux
        pass
    return frozenset(link for link in found if link.startswith("socket:"))


def main_thread() -> int:
    """Return the native id of the main thread; of this one where that cannot be known without a cost."""
    if sys.platform == "linux":
        return os.getpid()
    threading = sys.modules.get("threading")
    return get_native_id() if threading is None else threading.main_thread().native_id or 0


def thread_time() -> float:
    """Return the CPU time of this thread in seconds, 0 where the system does not say."""
    return time.thread_time() if hasattr(time, "thread_time") else 0.0


def caught_signals() -> int:
    """Return the signals that have a handler, whoever has set it, the first one as the lowest bit; 0 without /proc."""
    try:
        with open("/proc/self/status", "rb", buffering=0) as file:
            return int(file.read(8192).partition(b"SigCgt:")[2].split(None, 1)[0], 16)
    except (OSError, ValueError, IndexError):
        return 0


def until_gone(thread: int) -> None:
    """Wait until the system has taken away a *thread* that has run its last line: from 3.12 a fork counts it."""
    path, looks = f"/proc/self/task/{thread}", 200
    while sys.version_info >= (3, 12) and os.path.exists(path) and looks:
        time.sleep(0.0001)
        looks -= 1
