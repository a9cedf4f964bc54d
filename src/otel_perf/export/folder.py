"""The run folder: ``.otel-perf/<run>/<process>/traces.jsonl | metrics.jsonl``.

Imports only: os, time, system. Names are unique by exclusive mkdir; a line is one ``write`` in append mode, so that a
crash can tear the last line only. Nothing here follows a symbolic link when it writes, and nothing is removed that was
not written here: a run is taken away file by known file, and a folder only once it is empty.
"""

from __future__ import annotations

import os
from time import gmtime, strftime, time

from otel_perf.system import calls

DEFAULT = ".otel-perf"
RUN = "OTEL_PERF_RUN"  # path of the run's folder, for the processes that belong to one run
FILES = (
    "traces.jsonl", "metrics.jsonl", "logs.jsonl", "open.json", "open.json.new", "sent.json", "sent.json.new",
    "sent.lock",
)  # fmt: skip
NOTE = ".gitignore"
TRACES = FILES[0]
RESERVE = 16  # spans leave one part in this many of the limit for the numbers that say what was dropped
STDERR = 2
_MINUTE = len("2026-11-25T10-15")  # what the names of runs of one minute have in common

_FLAGS = (
    calls.O_WRONLY | calls.O_APPEND | calls.O_CREAT | getattr(calls, "O_CLOEXEC", 0) | getattr(calls, "O_NOFOLLOW", 0)
)


class RunFolder:
    """One process's files in one run.

    Attributes:
        path: the process's folder.
        limit: bytes that this process may write; beyond it records are refused.
        written: bytes written so far.
    """

    def __init__(self, path: str, limit: int = 10**9) -> None:
        self.path = path
        self.limit = limit
        self.written = 0
        self._torn: set[str] = set()  # files that end in the middle of a line
        self._files: dict[str, tuple[int, int, int]] = {}  # number, and what it has to be: device and inode

    def write(self, name: str, line: bytes) -> bool:
        """Append *line* to the file *name*; return False when the limit is reached.

        Raises:
            OSError: the disk is full, the folder is gone or not writable.
        """
        reserve = self.limit // RESERVE if name == TRACES else 0
        if self.written + len(line) > self.limit - reserve:
            return False
        file = self._file(name)
        if name in self._torn:
            line = b"\n" + line  # what was torn costs itself only
        done = calls.write(file, line)
        self.written += done
        if done < len(line):
            self._torn.add(name)  # a full disk takes a part: the rest says why
            calls.write(file, line[done:])
            self.written += len(line) - done
        self._torn.discard(name)
        return True

    def _file(self, name: str) -> int:
        """Return the number of the open file *name*; open it, if need be in a new folder where somebody removed it."""
        if name in self._files:
            file, device, inode = self._files[name]
            try:
                found = calls.fstat(file)
            except OSError:  # the program has closed all files, as a daemon does
                found = None
            if found is not None and (found.st_dev, found.st_ino) == (device, inode):
                if found.st_nlink:
                    return file
                self.close()
                self.written = 0
            self._files.pop(name, None)  # else the number is another file's by now
        file = self._open(name)
        found = calls.fstat(file)
        self._files[name] = file, found.st_dev, found.st_ino
        return file

    def _open(self, name: str) -> int:
        path = os.path.join(self.path, name)
        try:
            file = calls.open(path, _FLAGS, 0o600)
        except FileNotFoundError:
            run = os.path.dirname(self.path)
            _make_base(os.path.dirname(run))
            for folder in (run, self.path):
                _make(folder)
            file = calls.open(path, _FLAGS, 0o600)
        return file if file > STDERR else _moved_up(file)

    def close(self) -> None:
        """Close the files; a later write opens them again."""
        files, self._files = self._files, {}
        for file, device, inode in files.values():
            try:
                found = calls.fstat(file)
                if (found.st_dev, found.st_ino) == (device, inode):
                    calls.close(file)
            except OSError:  # the program has closed it
                continue


def replace(folder: str, name: str, content: bytes) -> None:
    """Write the small file *name* of a process's folder whole, by renaming: who reads it never sees half of it.

    Raises:
        OSError: the folder cannot be written.
    """
    target = os.path.join(folder, name)
    file = calls.open(f"{target}.new", _FLAGS & ~calls.O_APPEND | calls.O_TRUNC, 0o600)
    try:
        calls.write(file, content)
    finally:
        calls.close(file)
    calls.replace(f"{target}.new", target)


def _moved_up(file: int) -> int:
    """Return another number for *file*, whose own the program takes for its standard input, output or error."""
    import fcntl

    try:
        return fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, STDERR + 1)
    finally:
        calls.close(file)


def create_run(base: str) -> str:
    """Make a new run's folder in *base* and return its path.

    Raises:
        OSError: it cannot be made.
    """
    _make_base(base)
    return _make_unique(base, strftime("%Y-%m-%dT%H-%M-%S", gmtime()))


def _make_base(base: str) -> None:
    """Make the folder of all runs, with a note that keeps it out of version control."""
    _make(base)
    note = os.path.join(base, NOTE)
    if not os.path.lexists(note):
        try:
            file = calls.open(note, _FLAGS | calls.O_EXCL, 0o600)
            calls.write(file, b"# written by otel-perf: runs are not for version control\n*\n")
            calls.close(file)
        except FileExistsError:
            pass


def create_process(run: str, limit: int = 10**9) -> RunFolder:
    """Make this process's folder in the folder *run* and return it.

    Raises:
        OSError: it cannot be made.
    """
    _make(run)
    return RunFolder(_make_unique(run, str(calls.getpid())), limit)


def _make(path: str) -> None:
    """Make the folder *path* for its owner alone, if it is not there."""
    try:
        calls.mkdir(path, 0o700)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        calls.mkdir(path, 0o700)
    except FileExistsError:
        if not os.path.isdir(path):
            raise


def _make_unique(parent: str, name: str) -> str:
    for number in range(1, 10_000):
        path = os.path.join(parent, name if number == 1 else f"{name}-{number}")
        try:
            calls.mkdir(path, 0o700)
        except FileExistsError:
            continue
        return path
    raise FileExistsError(17, "10,000 runs of one name", os.path.join(parent, name))


def retire(base: str, keep: str, runs: int, age: float, size: int) -> int:
    """Remove the oldest runs in *base* beyond a number, an age and a total size; return how many went.

    To weigh fifty runs costs 1 ms, so the first run of each minute does that for all.

    Args:
        base: the folder that holds the runs.
        keep: path of a run that stays whatever its age.
        runs: number of runs to keep.
        age: seconds after which a run goes.
        size: bytes that all runs together may take.
    """
    kept_anyway = os.path.basename(os.path.abspath(keep))
    with calls.scandir(base) as entries:
        found = [
            (entry.stat(follow_symlinks=False).st_mtime, entry.name, entry.path)
            for entry in entries
            if _is_run_name(entry.name) and entry.is_dir(follow_symlinks=False)
        ]
    found.sort(reverse=True)
    weighed = any(name[:_MINUTE] == kept_anyway[:_MINUTE] and name != kept_anyway for _, name, _ in found)
    oldest = time() - age
    removed = total = kept = 0
    for modified, name, path in found:
        surplus = kept >= runs or modified < oldest
        weight = 0 if surplus or weighed else _weight(path)
        if (surplus or total + weight > size) and name != kept_anyway and not _alive(path):
            removed += _remove(path)
        else:
            kept, total = kept + 1, total + weight
    return removed


def _is_run_name(name: str) -> bool:
    return len(name) >= 19 and name[4:5] == "-" and name[10:11] == "T"


def _processes(run: str) -> list[str]:
    return [os.path.join(run, name) for name in calls.listdir(run) if name.partition("-")[0].isdecimal()]


def _weight(run: str) -> int:
    total = 0
    for process in _processes(run):
        try:
            with calls.scandir(process) as entries:
                total += sum(entry.stat(follow_symlinks=False).st_size for entry in entries if entry.name in FILES)
        except OSError:  # no folder, or another process tidies it away
            continue
    return total


def _alive(run: str) -> bool:
    """Say whether a process of the run may still write; a pid that was given out again keeps it a little longer."""
    for process in _processes(run):
        try:
            calls.kill(int(os.path.basename(process).partition("-")[0]), 0)
        except PermissionError:
            return True
        except (OSError, OverflowError):
            continue
        return True
    return False


def _remove(run: str) -> bool:
    """Remove a run's own files, and its folders where nothing else is left in them."""
    for process in _processes(run):
        if os.path.islink(process):
            continue
        for name in FILES:
            try:
                calls.unlink(os.path.join(process, name))
            except OSError:
                continue
        try:
            calls.rmdir(process)
        except OSError:
            continue
    try:
        calls.rmdir(run)
    except OSError:
        return False
    return True
