"""Who still writes: a process keeps a file in its folder locked, and the system unlocks it whatever ends the process.

Imports only: os, system, private. The number of a process says less: in a container every program is number 1, and
another container's processes have no number here. It counts only where there is no such file, or no locks.
"""

from __future__ import annotations

import os
import time

from otel_perf.system import calls

from .private import Folder, close_ours

LOCK = "alive.lock"
TIDYING = 0.005  # seconds that another process may look at a folder
_NO_LINK = getattr(calls, "O_CLOEXEC", 0) | getattr(calls, "O_NOFOLLOW", 0) | getattr(calls, "O_NONBLOCK", 0)


class Hold:
    """A file that is kept open and locked.

    Attributes:
        path: the folder in which it lies, as name is its name.
    """

    __slots__ = ("_file", "_place", "name", "path")

    def __init__(self, path: str, name: str = LOCK) -> None:
        self.path = path
        self.name = name
        self._file = -1
        self._place = (0, 0)

    def take(self) -> bool:
        """Open and lock it, if it is not; say whether it is held now, or cannot be by anybody."""
        if self.is_open():
            return True
        try:
            with Folder(self.path) as folder:
                self._file = folder.open(self.name, calls.O_WRONLY)
                found = calls.fstat(self._file)
                self._place = found.st_dev, found.st_ino
                locked = lock(self._file)
                if locked is None:
                    folder.remove(self.name)
        except OSError:  # the folder is gone, or may not be written
            return False
        if not locked:
            self.release()
        return locked is not False

    def is_open(self) -> bool:
        """Say whether the file is still open and there: a program may have closed all files, or removed the folder."""
        if self._file < 0:
            return False
        try:
            found = calls.fstat(self._file)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self._place and found.st_nlink > 0

    def release(self) -> None:
        """Give it back, without closing what the program has opened under its number."""
        file, self._file = self._file, -1
        close_ours(file, self._place)


class Ended:
    """The folder of a process that has ended, held so that nobody else tidies it at the same moment.

    Attributes:
        path: the folder.
        tidies: whoever holds it is alone; else others may look at it, too.
    """

    __slots__ = ("_file", "path", "tidies")

    def __init__(self, path: str, tidies: bool = True) -> None:
        self.path = path
        self.tidies = tidies
        self._file = -1

    def __enter__(self) -> bool:
        """Say whether it has ended, and is ours to tidy."""
        try:
            self._file = calls.open(os.path.join(self.path, LOCK), calls.O_RDWR | _NO_LINK)
        except FileNotFoundError:
            return not _has_process(self.path)
        except OSError:  # another user's
            return False
        locked = lock(self._file, self.tidies)
        return not _has_process(self.path) if locked is None else locked

    def __exit__(self, *exception: object) -> None:
        file, self._file = self._file, -1
        if file >= 0:
            calls.close(file)


def is_alive(path: str) -> bool:
    """Say whether the process of the folder *path* may still write."""
    if not is_number(path):
        return False
    with Ended(path, tidies=False) as ended:
        return not ended


def is_held(path: str) -> bool:
    """Say whether a process holds the lock of its folder *path*: unlike is_alive(), without asking for its number."""
    for pause in (True, False):
        try:
            file = calls.open(os.path.join(path, LOCK), calls.O_RDWR | _NO_LINK)
        except OSError:  # there is none; or it is another user's, and nobody can say
            return False
        try:
            if lock(file, alone=False) is not False:
                return False
        finally:
            calls.close(file)
        if pause:  # whoever tidies holds that of a process that has ended, for a moment
            time.sleep(TIDYING)
    return True


def is_number(path: str) -> bool:
    """Say whether a folder is named as that of a process is."""
    return os.path.basename(os.path.abspath(path)).partition("-")[0].isdecimal()


def lock(file: int, alone: bool = True) -> bool | None:
    """Lock the open *file* until it is closed; return False if it is locked already, None where there are no locks.

    Not *alone*, others may have it so, too; on Windows it is always alone.
    """
    try:
        import fcntl
    except ImportError:
        return _lock_windows(file)
    how = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)  # of the open file: no other number's end takes it away
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # a file system without locks
        return None
    return True


def _lock_windows(file: int) -> bool | None:
    try:
        import msvcrt
    except ImportError:
        return None
    try:
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    except OSError:
        return False
    return True


def _has_process(path: str) -> bool:
    """Say whether there is a process with the number of the folder *path*."""
    try:
        number = int(os.path.basename(os.path.abspath(path)).partition("-")[0])
        if os.name == "nt":  # where 0 is no question, but the signal of Ctrl-C
            return _runs_on_windows(number)
        calls.kill(number, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError, ValueError):
        return False
    return True


def _runs_on_windows(number: int) -> bool:
    """Say whether the process *number* runs; one that has ended stays there as long as another one watches it.

    Raises: PermissionError: it is there, and another user's; OSError: it is not.
    """
    import _winapi as windows

    query = 0x1000  # PROCESS_QUERY_LIMITED_INFORMATION
    process = windows.OpenProcess(query, False, number)  # type: ignore[attr-defined]
    try:
        running: bool = windows.GetExitCodeProcess(process) == windows.STILL_ACTIVE  # type: ignore[attr-defined]
    finally:
        windows.CloseHandle(process)  # type: ignore[attr-defined]
    return running
