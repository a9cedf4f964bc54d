"""Folders and files for their owner alone, whatever the umask, opened without following a symbolic link.

A process's folder is opened step by step, and files in it by that: nobody can put a link in the place of the folder of
runs, of the run or of the process. What is no folder and no plain file is refused: a pipe would let its writer wait
for ever. Imports only: os, stat, system.
"""

from __future__ import annotations

import os
from stat import S_ISDIR, S_ISREG

from otel_perf.system import calls

ELOOP, EINVAL = 40, 22  # as Linux has them; what is shown is the text
OWNER_ALL, OWNER_READS_AND_WRITES = 0o700, 0o600
STDERR = 2
PROCESS = 3  # names at the end of a process's path that may be no links: the folder of runs, the run, the process

_FLAGS = getattr(calls, "O_CLOEXEC", 0) | getattr(calls, "O_NOFOLLOW", 0) | getattr(calls, "O_NONBLOCK", 0)
_FOLDER = calls.O_RDONLY | getattr(calls, "O_DIRECTORY", 0) | _FLAGS
_BY_FOLDER = calls.open in os.supports_dir_fd  # not on Windows


def make_folder(path: str) -> None:
    """Make the folder *path*, and those above it.

    Raises: OSError: it cannot be made; FileExistsError: it is there already.
    """
    try:
        calls.mkdir(path, OWNER_ALL)
    except FileNotFoundError:
        if not os.path.dirname(path):  # the working directory is gone
            raise
        _make_parents(os.path.dirname(path))
        calls.mkdir(path, OWNER_ALL)
    _give_to_owner(path)


def need_folder(path: str) -> None:
    """Make the folder *path*, if it is not there.

    Raises: OSError: it cannot be made, or something else is there: a file, or a link to a folder.
    """
    try:
        make_folder(path)
    except FileExistsError:
        mode = os.lstat(path).st_mode
        if not S_ISDIR(mode):
            if os.path.isdir(path):
                raise OSError(
                    ELOOP, "it is a symbolic link, which is not followed; name the folder itself", path
                ) from None
            raise


def _make_parents(path: str) -> None:
    try:
        calls.mkdir(path)
    except FileExistsError:
        return
    except FileNotFoundError:
        if os.path.dirname(path) in ("", path):
            raise
        _make_parents(os.path.dirname(path))
        calls.mkdir(path)
    _give_to_owner(path)


def _give_to_owner(path: str) -> None:
    """Undo what a umask has taken from the owner of a folder that was just made."""
    mode = os.lstat(path).st_mode & 0o777
    if mode & OWNER_ALL != OWNER_ALL:
        calls.chmod(path, mode | OWNER_ALL)


class Folder:
    """An open folder, as a context manager.

    Attributes:
        path: the folder.
    """

    def __init__(self, path: str, names: int = PROCESS) -> None:
        """Open the folder *path*, of which the last so many *names* may be no links.

        Raises: OSError: it is not there, or one of them is a link.
        """
        self.path = path
        self._file = _open_folder(path, names) if _BY_FOLDER else -1

    def open(self, name: str, flags: int) -> int:
        """Return the number, above that of stderr, of the file *name*; it is made if it is not there.

        Raises: OSError: it cannot be made or opened, or is no plain file.
        """
        flags |= calls.O_CREAT | _FLAGS | getattr(calls, "O_BINARY", 0)
        path = os.path.join(self.path, name)
        try:
            file = self._open(name, flags) if _BY_FOLDER else calls.open(path, flags, OWNER_READS_AND_WRITES)
        except OSError as error:
            raise type(error)(error.errno, error.strerror, path) from None
        mode = calls.fstat(file).st_mode
        if not S_ISREG(mode):
            calls.close(file)
            raise OSError(EINVAL, "not a regular file", path)
        if mode & OWNER_READS_AND_WRITES != OWNER_READS_AND_WRITES and hasattr(calls, "fchmod"):
            calls.fchmod(file, OWNER_READS_AND_WRITES)  # by a umask
        return file if file > STDERR else _moved_up(file)

    def _open(self, name: str, flags: int) -> int:
        """Open the file *name*; one that root makes here belongs to the folder's owner, who has to go on with it."""
        file: int
        owner = calls.fstat(self._file)
        if calls.geteuid() == 0 != owner.st_uid:
            try:
                file = calls.open(name, flags | calls.O_EXCL, OWNER_READS_AND_WRITES, dir_fd=self._file)
            except FileExistsError:  # whosever it is
                file = calls.open(name, flags, OWNER_READS_AND_WRITES, dir_fd=self._file)
            else:
                self._give_away(file, owner)
        else:
            file = calls.open(name, flags, OWNER_READS_AND_WRITES, dir_fd=self._file)
        return file

    def _give_away(self, file: int, owner: os.stat_result) -> None:
        try:
            calls.fchown(file, owner.st_uid, owner.st_gid)
        except OSError:  # a root of its own, as in some containers
            return

    def rename(self, name: str, other: str) -> None:
        """Give the file *name* the name *other*, in the place of what has it."""
        if _BY_FOLDER:
            calls.replace(name, other, src_dir_fd=self._file, dst_dir_fd=self._file)
        else:
            calls.replace(os.path.join(self.path, name), os.path.join(self.path, other))

    def remove(self, name: str) -> None:
        """Remove the file *name*."""
        if _BY_FOLDER:
            calls.unlink(name, dir_fd=self._file)
        else:
            calls.unlink(os.path.join(self.path, name))

    def close(self) -> None:
        """Close it; a second call does nothing."""
        file, self._file = self._file, -1
        if file >= 0:
            calls.close(file)

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def close_ours(file: int, place: tuple[int, int]) -> None:
    """Close *file*, if it is still the one with this device and inode: its number may be the program's by now."""
    if file < 0:
        return
    try:
        found = calls.fstat(file)
        if (found.st_dev, found.st_ino) == place:
            calls.close(file)
    except OSError:  # the program has closed it
        return


def _open_folder(path: str, names: int) -> int:
    top, steps = os.path.abspath(path), []
    for _ in range(names - 1):
        top, name = os.path.split(top)
        steps.append(name)
    file: int = calls.open(top, _FOLDER)
    while steps:
        above = file
        try:
            file = calls.open(steps.pop(), _FOLDER, dir_fd=above)
        except OSError as error:
            raise type(error)(error.errno, error.strerror, path) from None
        finally:
            calls.close(above)
    return file


def _moved_up(file: int) -> int:
    """Return another number for *file*, whose own the program takes for its standard input, output or error."""
    import fcntl

    try:
        return fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, STDERR + 1)
    finally:
        calls.close(file)
