"""Which runs stay: a number, an age and a total size, and whatever still waits to be sent.

Imports only: os, time, system, parts. Nothing is removed that was not written here: a run is taken away file by known
file, and a folder only once it is empty.
"""

from __future__ import annotations

import os
from time import time

from otel_perf.system import calls

from .parts import begin_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

LINES = ("traces.jsonl", "metrics.jsonl", "logs.jsonl")
OTHERS = ("open.json", "open.json.new", "sent.json", "sent.json.new", "sent.lock", "ballast")
SENT = "sent.json"
_MINUTE = len("2026-11-25T10-15")  # what the names of runs of one minute have in common


class Retired:
    """What retire() did.

    Attributes:
        runs: that were removed.
        lost: records that went before they were delivered.
        size: bytes that are left in all runs; 0 where they were not weighed.
        writers: processes that may still write, in all runs; 0 where they were not weighed.
    """

    __slots__ = ("lost", "runs", "size", "writers")

    def __init__(self) -> None:
        self.runs = self.lost = self.size = self.writers = 0


class _Process:
    """What one process has written.

    Attributes:
        lives: it may still write; a pid that was given out again keeps it a little longer.
        waits: somebody has begun to send it.
    """

    __slots__ = ("lives", "path", "size", "waits")

    def __init__(self, path: str) -> None:
        self.path = path
        self.size = 0
        self.lives = _alive(path)
        self.waits = not self.lives and os.path.lexists(os.path.join(path, SENT))


class _Run:
    """A run that may go."""

    __slots__ = ("lives", "modified", "path", "processes")

    def __init__(self, path: str, modified: float, stays: bool) -> None:
        self.path = path
        self.modified = modified
        self.processes = [_Process(one) for one in _processes(path)]
        self.lives = stays or any(process.lives for process in self.processes)

    @property
    def size(self) -> int:
        return sum(process.size for process in self.processes)


def retire(
    base: str,
    keep: str,
    runs: int,
    age: float,
    size: int,
    *,
    unsent: Callable[[str], int] = lambda process: 0,
    weigh: bool = False,
) -> Retired:
    """Remove the runs in *base* that are too old, too many or too large; return what went.

    Of too many those go that nobody has to send any more, the oldest first; of too large ones those too, and then the
    oldest whatever waits. Where that is not enough, processes go that have ended in runs that go on. To weigh fifty
    runs costs 1 ms, so the first run of each minute does that for all.

    Args:
        base: the folder that holds the runs.
        keep: path of a run that stays whatever its age.
        runs: number of runs to keep.
        age: seconds after which a run goes.
        size: bytes that all runs together may take.
        unsent: takes the folder of a process and returns how many records in it are still to be sent; asked only where
            somebody has begun to send.
        weigh: weigh them in any case.
    """
    kept = os.path.basename(os.path.abspath(keep))
    with calls.scandir(base) as entries:
        there = [
            (entry.stat(follow_symlinks=False).st_mtime, entry.name, entry.path)
            for entry in entries
            if _is_run_name(entry.name) and entry.is_dir(follow_symlinks=False)
        ]
    weigh = weigh or not any(name[:_MINUTE] == kept[:_MINUTE] and name != kept for _, name, _ in there)
    found = [_Run(path, modified, name == kept) for modified, name, path in sorted(there, reverse=True)]
    done = Retired()
    oldest = time() - age
    for run in [run for run in found if not run.lives and run.modified < oldest]:
        found.remove(run)
        _retire(run, done, unsent)
    for run in [run for run in found[runs:] if not run.lives]:
        if not _unsent(run.processes, unsent):
            found.remove(run)
            _retire(run, done, unsent)
    if weigh:
        _weigh(found, size, done, unsent)
    return done


def _weigh(found: list[_Run], size: int, done: Retired, unsent: Callable[[str], int]) -> None:
    """Remove what is too large of the runs *found*, the newest of which is the first."""
    processes = [process for run in found for process in run.processes]
    for process in processes:
        process.size = _weight(process.path)
    done.size = sum(process.size for process in processes)
    done.writers = sum(process.lives for process in processes)
    over = [run for run in reversed(found) if not run.lives]
    for waiting in (False, True):
        for run in over:
            if done.size > size and run.processes and (waiting or not _unsent(run.processes, unsent)):
                done.size -= run.size
                _retire(run, done, unsent)
                run.processes = []
    ended = [process for run in reversed(found) if run.lives for process in run.processes if not process.lives]
    for waiting in (False, True):
        for process in sorted(ended, key=_modified) if done.size > size else ():
            if done.size > size and process.size and (waiting or not _unsent([process], unsent)):
                done.size -= process.size
                done.lost += _unsent([process], unsent)
                _remove_process(process.path)
                process.size = 0


def _retire(run: _Run, done: Retired, unsent: Callable[[str], int]) -> None:
    lost = _unsent(run.processes, unsent)
    if _remove(run.path):
        done.runs += 1
        done.lost += lost


def _unsent(processes: list[_Process], unsent: Callable[[str], int]) -> int:
    return sum(unsent(process.path) for process in processes if process.waits)


def _modified(process: _Process) -> float:
    try:
        return calls.stat(process.path).st_mtime
    except OSError:  # another process tidies it away
        return 0.0


def _is_run_name(name: str) -> bool:
    return len(name) >= 19 and name[4:5] == "-" and name[10:11] == "T"


def is_ours(name: str) -> bool:
    """Say whether a process's folder has the file *name* from us."""
    return name in LINES or name in OTHERS or any(begin_of(name, line) >= 0 for line in LINES)


def _processes(run: str) -> list[str]:
    try:
        names = calls.listdir(run)
    except OSError:  # no folder, or another process tidies it away
        return []
    return [os.path.join(run, name) for name in names if name.partition("-")[0].isdecimal()]


def _weight(process: str) -> int:
    try:
        with calls.scandir(process) as entries:
            return sum(entry.stat(follow_symlinks=False).st_size for entry in entries if is_ours(entry.name))
    except OSError:  # no folder, or another process tidies it away
        return 0


def _alive(process: str) -> bool:
    try:
        calls.kill(int(os.path.basename(process).partition("-")[0]), 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


def _remove(run: str) -> bool:
    """Remove a run's own files, and its folders where nothing else is left in them."""
    for process in _processes(run):
        _remove_process(process)
    try:
        calls.rmdir(run)
    except OSError:
        return False
    return True


def _remove_process(process: str) -> None:
    if os.path.islink(process):
        return
    try:
        names = calls.listdir(process)
    except OSError:
        return
    for name in filter(is_ours, names):
        try:
            calls.unlink(os.path.join(process, name))
        except OSError:
            continue
    try:
        calls.rmdir(process)
    except OSError:
        return
