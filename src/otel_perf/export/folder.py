"""The run folder: ``.otel-perf/<run>/<process>/traces.jsonl | metrics.jsonl | logs.jsonl``, written.

Imports only: os, time, system, alive, parts, private. Names are unique by exclusive mkdir; a line is one ``write`` in
append mode, so that a crash can tear the last line only; one that a full disk has torn is cut off again. Nothing here
follows a symbolic link when it writes: private.py makes and opens all that is written. Reading order:
RunFolder.write(), _continue() when a file has grown, make_room() when all of them have; retention.py removes what
others have left, alive.py says who they are.
"""

from __future__ import annotations

import os
from time import gmtime, strftime

from otel_perf.system import calls

from .parts import earlier_name
from .private import Folder, close_ours, make_folder, need_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEFAULT = ".otel-perf"
RUN = "OTEL_PERF_RUN"  # path of the run's folder, for the processes that belong to one run
NOTE = ".gitignore"
TRACES = "traces.jsonl"
RESERVE = 16  # spans leave one part in this many of the process's share for the numbers that say what was dropped
PARTS = 64  # a file is continued in a new one when it has this fraction of a writer's share
SMALLEST_PART = 2**16  # bytes
LINE = 2**17  # bytes of a line with many spans, about
ENOSPC = 28
BALLAST, BALLAST_SIZE = "ballast", 2**14  # at the end it makes room for the number of what was dropped


class Earlier:
    """A part of a file that is written no more.

    Attributes:
        begin: offset of its first byte in all that was written to the file, as is end of its last one.
        records: how many it holds.
        number: of all parts of the process, the oldest has the lowest.
    """

    __slots__ = ("begin", "end", "name", "number", "records")

    def __init__(self, name: str, begin: int, end: int, records: int, number: int) -> None:
        self.name = name
        self.begin = begin
        self.end = end
        self.records = records
        self.number = number


class File:
    """One file, as far as it is written.

    Attributes:
        number: of the open file, -1 if it is closed.
        place: device and inode that the open file has to have.
        begin: the offset at which the part begins that is being written.
        size: bytes of that part, as records are its records.
        full: bytes from which on it is continued in a new one.
        torn: it ends in the middle of a line.
        earlier: its earlier parts, oldest first.
    """

    __slots__ = ("begin", "earlier", "full", "number", "place", "records", "size", "torn")

    def __init__(self, full: int) -> None:
        self.number = -1
        self.place = (0, 0)
        self.begin = self.size = self.records = 0
        self.full = full
        self.torn = False
        self.earlier: list[Earlier] = []


class RunFolder:
    """One process's files in one run.

    A file that has grown is continued in a new part. When the limit is reached, parts go: those first that were
    delivered, then the oldest. The first part of each file stays, it has the start; so does the last one before that
    which is being written.

    Attributes:
        path: the process's folder.
        limit: bytes that all runs together may take.
        written: bytes of this process's files, its ballast too.
        others: bytes of all other processes and runs, as last weighed.
        writers: how many processes write, this one too, as last counted.
        sent: takes a file's name and returns the offset up to which it was delivered; None where nothing is sent.
        removed: records that went when they had been delivered, or were not to be sent.
        lost: records that went before they were delivered.
        continued: how often each file was continued in a new part.
    """

    def __init__(self, path: str, limit: int = 10**9) -> None:
        from .alive import Hold  # `otel-perf run` makes a run's folder with this room, and writes nothing into it

        self.path = path
        self.limit = limit
        self.written = self.others = 0
        self.writers = 1
        self.sent: Callable[[str], int] | None = None
        self.removed = self.lost = 0
        self.continued: dict[str, int] = {}
        self._full = max(SMALLEST_PART, limit // PARTS)
        self._ballast = False
        self._alive = Hold(path)
        self._place = (0, 0)  # device and inode of the folder
        self._files: dict[str, File] = {}

    @property
    def headroom(self) -> int:
        """Bytes that all who write may need until their next look at the others."""
        return min(self.limit // 2, (3 + self.writers) * self._full)

    @property
    def share(self) -> int:
        """Bytes that this process may have: what the others leave, but an equal part at least.

        Of both goes what each writes until it looks again.
        """
        equal, step = self.limit // self.writers, self._full + LINE
        left = self.limit - self.others - (self.writers - 1) * step
        return max(left, equal // 8 if self.writers == 1 else max(equal - step, equal // 2))

    def set_others(self, size: int, writers: int) -> None:
        """Note how many bytes all others have, and how many processes write; several continue their files earlier."""
        self.others, self.writers = max(0, size), max(1, writers)
        self._full = max(SMALLEST_PART, self.limit // PARTS // self.writers)
        for file in self._files.values():
            file.full = min(file.full, self._full)

    def write(self, name: str, line: bytes, records: int = 0, *, last: bool = False) -> bool:
        """Append *line*, which holds so many *records*, to the file *name*; return False when the limit is reached.

        Args:
            name: of the file.
            line: with its end.
            records: how many it holds.
            last: it is short, and the last one: it may pass the limit.

        Raises:
            OSError: the disk is full, the folder is gone or not writable.
        """
        file = self._open_file(name)
        if file.size >= file.full:
            file = self._continue(name, file)
        limit = self.share
        if name == TRACES:
            limit -= limit // RESERVE
        if self.written + len(line) > limit:
            self.make_room(limit - len(line))
            if self.written + len(line) > limit and not last:
                return False
        if file.torn:
            line = b"\n" + line  # what was torn costs itself only
        done = calls.write(file.number, line)
        self._count(file, done)
        if done < len(line):
            file.torn = True  # a full disk takes a part: the rest says why
            try:
                calls.write(file.number, line[done:])
            except OSError:
                self._cut(file, done)
                raise
            self._count(file, len(line) - done)
        file.torn = False
        file.records += records
        return True

    def _count(self, file: File, size: int) -> None:
        file.size += size
        self.written += size

    def _cut(self, file: File, size: int) -> None:
        """Take back the *size* bytes of a line that did not fit: what is shorter may, and nothing stays torn."""
        try:
            calls.ftruncate(file.number, file.size - size)
        except (OSError, AttributeError):  # not on Windows
            return
        self._count(file, -size)
        file.torn = False

    def load_ballast(self) -> None:
        """Take some room, of the disk and of the limit, that give_way() gives back; none of a limit that has little."""
        if self.limit < 4 * BALLAST_SIZE:
            return
        self.written += BALLAST_SIZE
        self._ballast = True
        try:
            with Folder(self.path) as folder:
                file = folder.open(BALLAST, calls.O_WRONLY)
            try:
                calls.write(file, os.urandom(BALLAST_SIZE))  # which no file system makes smaller
            finally:
                calls.close(file)
        except OSError:  # the disk has none
            return

    def give_way(self) -> None:
        """Let go of the ballast: the last line is to be written."""
        if self._ballast:
            self._ballast = False
            self.written -= BALLAST_SIZE
        try:
            with Folder(self.path) as folder:
                folder.remove(BALLAST)
        except OSError:  # there is none, the folder is gone, or was made again
            return

    # --- parts -------------------------------------------------------------------------------------------------------

    def _continue(self, name: str, file: File) -> File:
        """Begin a new part of the file *name* and return it, open."""
        earlier = earlier_name(name, file.begin)
        self._close(file)
        try:
            with Folder(self.path) as folder:
                folder.rename(name, earlier)
        except OSError:  # on Windows, while somebody reads it
            file.full += self._full
        else:
            end = file.begin + file.size
            file.earlier.append(Earlier(earlier, file.begin, end, file.records, sum(self.continued.values())))
            file.begin, file.size, file.records, file.full = end, 0, 0, self._full
            self.continued[name] = self.continued.get(name, 0) + 1
        return self._open_file(name)

    def make_room(self, size: int, *, sent_only: bool = False) -> None:
        """Remove parts until this process's bytes are at most *size*, or nothing is left to remove.

        Args:
            size: bytes.
            sent_only: only what was delivered.
        """
        for name, part in sorted(self._removable(), key=lambda one: (not self._is_sent(*one), one[1].number)):
            if self.written <= size or (sent_only and not self._is_sent(name, part)):
                return
            try:
                with Folder(self.path) as folder:
                    folder.remove(part.name)
            except FileNotFoundError:
                pass
            except OSError:  # on Windows, while somebody reads it
                continue
            lost = self._unsent(name, part)
            self.lost += lost
            self.removed += part.records - lost
            self.written -= part.end - part.begin
            self._files[name].earlier.remove(part)

    def _removable(self) -> Iterator[tuple[str, Earlier]]:
        for name, file in self._files.items():
            for part in file.earlier[1:-1]:
                yield name, part

    def _is_sent(self, name: str, part: Earlier) -> bool:
        """Say whether *part* was delivered, and the next one too: a sender that begins anew reads what came before."""
        if self.sent is None:
            return True
        after = next(other for other in self._files[name].earlier if other.number > part.number)
        return self.sent(name) >= after.end

    def _unsent(self, name: str, part: Earlier) -> int:
        """Return how many records of *part* are still to be delivered; in proportion if it is being sent."""
        if self.sent is None:
            return 0
        left = min(part.end, max(part.begin, self.sent(name)))
        return -(-part.records * (part.end - left) // (part.end - part.begin))

    # --- open files --------------------------------------------------------------------------------------------------

    def _open_file(self, name: str) -> File:
        """Return the file *name*, open; if need be in a new folder where somebody removed it."""
        file = self._files.get(name)
        if file is not None and file.number >= 0:
            try:
                found = calls.fstat(file.number)
            except OSError:  # the program has closed all files, as a daemon does
                found = None
            if found is not None and (found.st_dev, found.st_ino) == file.place:
                if found.st_nlink:
                    return file
                self._was_removed(file)
            file.number = -1  # else it is another file's by now
        file = self._files.get(name)
        if file is None:
            file = self._files[name] = File(self._full)
        file.number = self._open(name)
        found = calls.fstat(file.number)
        file.place = found.st_dev, found.st_ino
        return file

    def _was_removed(self, file: File) -> None:
        """Begin anew: with *file*, which somebody removed, or with all of them where the folder is gone."""
        try:
            found = calls.stat(self.path)
        except OSError:
            found = None
        self._close(file)
        if found is not None and (found.st_dev, found.st_ino) == self._place:
            self.written -= file.size
            file.begin = file.earlier[-1].end if file.earlier else 0
            file.size = file.records = 0
            file.torn = False
            return
        self.close()
        self.written, self._ballast = 0, False
        self._files.clear()

    def _open(self, name: str) -> int:
        try:
            opened = Folder(self.path)
        except FileNotFoundError:
            run = os.path.dirname(self.path)
            _make_base(os.path.dirname(run))
            for path in (run, self.path):
                need_folder(path)
            opened = Folder(self.path)
        with opened as folder:
            file = folder.open(name, calls.O_WRONLY | calls.O_APPEND)
        self.hold()
        return file

    def hold(self) -> None:
        """Let everybody see that this process writes here."""
        if self._alive.take():
            found = calls.stat(self.path)
            self._place = found.st_dev, found.st_ino

    def end(self) -> None:
        """Close the files; nothing is written any more."""
        self.close()
        self._alive.release()

    def close(self) -> None:
        """Close the files; a later write opens them again."""
        for file in self._files.values():
            self._close(file)

    def _close(self, file: File) -> None:
        number, file.number = file.number, -1
        close_ours(number, file.place)


def replace(folder: str, name: str, content: bytes) -> None:
    """Write the small file *name* of a process's folder whole, by renaming: who reads it never sees half of it.

    Raises:
        OSError: the folder cannot be written.
    """
    with Folder(folder) as opened:
        file = opened.open(f"{name}.new", calls.O_WRONLY | calls.O_TRUNC)
        try:
            if calls.write(file, content) < len(content):
                raise OSError(ENOSPC, "no room", os.path.join(folder, name))
        finally:
            calls.close(file)
        opened.rename(f"{name}.new", name)


def create_run(base: str) -> str:
    """Make a new run's folder in *base* and return its path.

    Raises:
        OSError: it cannot be made.
    """
    _make_base(base)
    return _make_unique(base, strftime("%Y-%m-%dT%H-%M-%S", gmtime()))


def _make_base(base: str) -> None:
    """Make the folder of all runs, with a note that keeps it out of version control."""
    need_folder(base)
    if os.path.lexists(os.path.join(base, NOTE)):
        return
    with Folder(base, 1) as folder:
        try:
            file = folder.open(NOTE, calls.O_WRONLY | calls.O_EXCL)
        except FileExistsError:
            return
        calls.write(file, b"# written by otel-perf: runs are not for version control\n*\n")
        calls.close(file)


def create_process(run: str, limit: int = 10**9) -> RunFolder:
    """Make this process's folder in the folder *run* and return it.

    Raises:
        OSError: it cannot be made.
    """
    need_folder(run)
    made = RunFolder(_make_unique(run, str(calls.getpid())), limit)
    made.hold()
    made.load_ballast()
    return made


def _make_unique(parent: str, name: str) -> str:
    for number in range(1, 10_000):
        path = os.path.join(parent, name if number == 1 else f"{name}-{number}")
        try:
            make_folder(path)
        except FileExistsError:
            continue
        return path
    raise FileExistsError(17, "10,000 runs of one name", os.path.join(parent, name))
