"""Which runs stay: a number, an age and a total size, and whatever still waits to be sent.

Imports only: os, time, clock, system, alive, parts. Nothing is removed that was not written here: a run is taken away
file by known file, and a folder only once it is empty. Reading order: Runs, which is one look at all of them, then what
it lets go: remove_old(), shrink().
"""

from __future__ import annotations

import os
from time import perf_counter

from otel_perf.clock import wall_ns
from otel_perf.system import calls, open_file

from .alive import LOCK, Ended, is_alive, is_number
from .parts import begin_of, parts_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

LINES = ("traces.jsonl", "metrics.jsonl", "logs.jsonl")
OTHERS = ("open.json", "open.json.new", "sent.json", "sent.json.new", "sent.lock", LOCK, "ballast")
SENT = "sent.json"
PATIENCE = 0.1  # seconds that a look may remove more than one process: whoever waits for ours waits for this too
MANY = 200  # processes: to weigh more than these takes long enough that one of them in EVERY seconds is enough
EVERY = 2.0
FRESH = 60.0  # seconds: what is written now is at most so old
TAIL = 2**18  # bytes at the end of a process's metrics, where its last numbers are
_NUMBERS = rb'"name":"otel_perf\.self\.(dropped|removed)".*?"asInt":"(\d+)"'


class Process:
    """What one process has written.

    Attributes:
        path: its folder.
        size: bytes of its files.
        modified: when it wrote last, seconds since 1970; 0 where it has not.
        lives: it may still write.
        marked: somebody has begun to send it.
    """

    __slots__ = ("_waits", "lives", "marked", "modified", "path", "size")

    def __init__(self, path: str, waits: Callable[[str], bool]) -> None:
        self.path = path
        self.size, self.modified = _weight(path)
        self.lives = is_alive(path)
        self.marked = os.path.lexists(os.path.join(path, SENT))
        self._waits = waits

    @property
    def waits(self) -> bool:
        """It has ended, and something of it is still to be sent; looked up anew, as it may be sent meanwhile."""
        return self.marked and not self.lives and self._waits(self.path)


class Run:
    """One run.

    Attributes:
        path: its folder.
        modified: when it was last written, seconds since 1970; while it lives, when a process began in it last: what
            goes on for long takes no place among the newest.
        lives: a process of it may still write, or it is to stay whatever its age.
    """

    __slots__ = ("lives", "modified", "path", "processes")

    def __init__(self, path: str, stays: bool, processes: list[Process]) -> None:
        self.path = path
        self.processes = processes
        self.lives = stays or any(process.lives for process in processes)
        self.modified = _made(path)
        if not self.lives:
            self.modified = max([self.modified, *(process.modified for process in processes)])


class Runs:
    """All runs in one folder, as one look has found them.

    Attributes:
        found: the newest first; none where it was not weighed.
        weighed: this look is one that weighs; else there are many processes, and another one has just done so.
        lost: records that went before they were delivered.
        removed: records of ended processes of runs that go on, which went when nobody waited for them.
    """

    def __init__(self, base: str, keep: str, waits: Callable[[str], bool], unsent: Callable[[str], int]) -> None:
        """Look at the runs in the folder *base*; fifty take 2 ms.

        Args:
            base: the folder.
            keep: path of a run that stays whatever its age.
            waits: takes the folder of a process that somebody has begun to send, and says whether something is left.
            unsent: takes that and returns how many records are.
        """
        self._unsent = unsent
        self._until = perf_counter() + PATIENCE
        self._gone = 0  # processes
        kept = os.path.basename(os.path.abspath(keep))
        there = _listed(base)
        self.weighed = there is not None
        self.found = [
            Run(path, os.path.basename(path) == kept, [Process(one, waits) for one in processes])
            for path, processes in (there or {}).items()
        ]
        self.found.sort(key=lambda run: (run.modified, run.path), reverse=True)
        self.lost = self.removed = 0
        self._now = _now([one for run in self.found if os.path.basename(run.path) == kept for one in run.processes])

    @property
    def size(self) -> int:
        """Bytes of all runs together."""
        return sum(process.size for process in self._all())

    def others(self, path: str) -> int:
        """Bytes of all but the process of the folder *path*."""
        return sum(process.size for process in self._all() if not _is_same(process.path, path))

    def note(self, path: str, size: int) -> None:
        """Note that the process of the folder *path* has *size* bytes by now."""
        for process in self._all():
            if _is_same(process.path, path):
                process.size = size

    @property
    def writers(self) -> int:
        """Number of processes that may still write."""
        return sum(process.lives for process in self._all())

    def remove_old(self, number: int, age: float) -> None:
        """Remove runs older than *age* seconds, and beyond a *number* those that nobody has to send any more."""
        oldest = self._now - age
        for run in [run for run in self.found if not run.lives and run.modified < oldest]:
            self._remove(run)
        for run in [run for run in self.found[number:] if not run.lives]:
            if not any(process.waits for process in run.processes):
                self._remove(run)

    def shrink(self, size: int, waiting: bool) -> None:
        """Remove runs, the oldest first, and then processes that have ended in runs that go on, down to *size* bytes.

        Args:
            size: bytes.
            waiting: what still waits to be sent; else only what nobody waits for.
        """
        left = self.size
        for run in [run for run in reversed(self.found) if not run.lives]:
            if left > size and run.processes and (waiting or not any(process.waits for process in run.processes)):
                left -= self._remove(run)
        ended = [
            one for run in reversed(self.found) if run.lives for one in run.processes if not one.lives and one.size
        ]
        for process in sorted(ended, key=lambda one: one.modified):
            if left > size and (waiting or not process.waits):
                left -= self._tidy(process, goes_on=True)

    def _all(self) -> Iterable[Process]:
        return (process for run in self.found for process in run.processes)

    def _remove(self, run: Run) -> int:
        """Remove a run, as far as nobody writes to it; return the bytes that went."""
        size = sum(self._tidy(process) for process in run.processes)
        if _remove_folder(run.path):
            self.found.remove(run)
        return size

    def _tidy(self, process: Process, goes_on: bool = False) -> int:
        """Remove the files of one process, if nobody else does, and count its records; return the bytes that went."""
        if (self._gone and perf_counter() > self._until) or os.path.islink(process.path):
            return 0
        size = process.size
        with Ended(process.path) as ended:
            if not ended:
                return 0
            lost = self._unsent(process.path) if process.waits else 0
            more, removed = _numbers(process, lost) if goes_on else (0, 0)
            if not _remove_files(process.path):
                self.lost += max(0, lost - self._unsent(process.path)) if lost else 0  # some may be gone
                process.size, _ = _weight(process.path)  # all of them, if another process was faster
                return size - process.size
            self.lost += lost + more
            self.removed += removed
            emptied = _remove_lock(process.path)  # who holds it is alone
        if not emptied:  # on Windows, as it was open
            _remove_lock(process.path)
        self._gone += 1
        process.size, process.marked = 0, False
        return size


def is_ours(name: str) -> bool:
    """Say whether a process's folder has the file *name* from us."""
    return name in LINES or name in OTHERS or any(begin_of(name, line) >= 0 for line in LINES)


def _is_same(path: str, other: str) -> bool:
    """Say whether both are the folder of the same process of the same run, in one folder of runs."""
    names = (os.path.basename(path), os.path.basename(os.path.dirname(path)))
    return names == (os.path.basename(other), os.path.basename(os.path.dirname(other)))


def _is_run_name(name: str) -> bool:
    return len(name) >= 19 and name[4:5] == "-" and name[10:11] == "T"


def _is_our_turn(base: str) -> bool:
    """Say whether nobody has weighed for a while: the note that keeps the folder out of version control says when."""
    note = os.path.join(base, ".gitignore")
    try:
        if 0 <= wall_ns() / 1e9 - calls.stat(note).st_mtime < EVERY:  # a clock may have been set back
            return False
        calls.utime(note)
    except OSError:
        return True
    return True


def _listed(base: str) -> dict[str, list[str]] | None:
    """Return the processes of each run in *base*; None where they are many, and it is not our turn to weigh them."""
    with calls.scandir(base) as entries:
        found: dict[str, list[str]] = {
            entry.path: [] for entry in entries if _is_run_name(entry.name) and entry.is_dir(follow_symlinks=False)
        }
    number = 0
    for run, processes in found.items():
        for process in _processes(run):
            processes.append(process)
            number += 1
            if number == MANY + 1 and not _is_our_turn(base):
                return None
    return found


def _processes(run: str) -> Iterable[str]:
    try:
        with calls.scandir(run) as entries:
            yield from (entry.path for entry in entries if is_number(entry.path))
    except OSError:  # no folder, or another process tidies it away
        return


def _made(folder: str) -> float:
    """Return when something was made in *folder*; 0 where another process has tidied it away."""
    try:
        return calls.stat(folder).st_mtime
    except OSError:
        return 0.0


def _weight(process: str) -> tuple[int, float]:
    """Return the bytes of a process's files, and when it wrote to one last."""
    size, modified = 0, 0.0
    try:
        with calls.scandir(process) as entries:
            for entry in entries:
                if is_ours(entry.name):
                    found = entry.stat(follow_symlinks=False)
                    size += found.st_size
                    if not entry.name.startswith("sent."):  # a later process may write these
                        modified = max(modified, found.st_mtime)
    except OSError:  # no folder, or another process tidies it away
        return 0, 0.0
    return size, modified


def _remove_files(process: str) -> bool:
    """Remove our files but the lock, lines first: what stays is still known as unsent. Say whether all are gone."""
    try:
        for name in sorted(filter(is_ours, calls.listdir(process)), key=OTHERS.__contains__):
            if name != LOCK:
                calls.unlink(os.path.join(process, name))
    except OSError:
        return False
    return True


def _remove_lock(process: str) -> bool:
    """Remove the lock, and the folder where nothing else is left in it; say whether the lock is gone."""
    try:
        calls.unlink(os.path.join(process, LOCK))
    except FileNotFoundError:
        pass
    except OSError:
        return False
    _remove_folder(process)
    return True


def _remove_folder(path: str) -> bool:
    """Remove a folder if nothing else is left in it; say whether it is gone."""
    try:
        calls.rmdir(path)
    except OSError:
        return False
    return True


def _now(processes: list[Process]) -> float:
    """Return seconds since 1970: no later than *processes* write, if the program has put another clock in place."""
    now = wall_ns() / 1e9
    newest = max((process.modified for process in processes), default=0.0)
    return min(now, newest + FRESH) if newest else now


def _numbers(process: Process, lost: int) -> tuple[int, int]:
    """Return what goes with a process of a run that goes on, besides the *lost* records: lost, and removed.

    That is its records, and what it has counted itself; where all was delivered, its numbers were too.
    """
    try:
        removed = max(0, _records(process.path) - lost)
        more = _last_numbers(process.path) if process.waits or not process.marked else (0, 0)
    except OSError:  # another process tidies it away
        return 0, 0
    return more[0], removed + more[1]


def _records(process: str) -> int:
    """Return how many records there are in a process's files."""
    from .otlp_json import COUNTS

    found = 0
    for name in LINES:
        for part in parts_of(os.path.join(process, name)):
            with open_file(part.path) as file:
                found += sum(map(COUNTS[name], file))
    return found


def _last_numbers(process: str) -> tuple[int, int]:
    """Return what a process has counted as dropped and as removed."""
    from re import findall

    for part in reversed(parts_of(os.path.join(process, "metrics.jsonl"))):
        with open_file(part.path) as file:
            file.seek(max(0, part.end - part.begin - TAIL))
            said = dict(findall(_NUMBERS, file.read()))
        if said:
            return int(said.get(b"dropped", 0)), int(said.get(b"removed", 0))
    return 0, 0
