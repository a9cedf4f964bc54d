"""The same once a second on Linux, from files of /proc that stay open.

Imports only: os, sampler, names. To open a file costs more than to read it. A program may close files that are not its
own (a daemon does), and another file then has our number: each file is known by how it begins, a number that gives
something else is forgotten, never closed, and the file opened anew. pread() moves no position and is refused by pipes,
sockets and event counters, so that nobody else's data is ever taken.

Source: proc(5); Linux, Documentation/admin-guide/iostats.rst. The same meanings as psutil's, which the tests compare.
"""

from __future__ import annotations

import os

from otel_perf import clock
from otel_perf.system import calls

from .names import (
    CPU_STATES,
    DISK,
    DISK_NAMES,
    FILES,
    LOAD,
    MEMORY,
    MEMORY_SHARE,
    NETWORK_NAMES,
    SWAP,
    SWAP_SHARE,
    SWITCHES,
    SYSTEM_MEMORY,
    SYSTEM_MEMORY_SHARE,
    THREADS,
    VIRTUAL,
)  # fmt: skip
from .sampler import Devices, Reading, Sampler, Seldom, thread_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .names import Values

FILE_COST = 4e-6  # seconds to list one open file
USUAL_LINKS = 2  # of a folder with nothing in it
FEW_DISKS = 4
LOAD_EVERY = 2.5  # seconds
SECTOR = 512  # bytes, whatever the disk's own are
_FLAGS = calls.O_RDONLY | getattr(calls, "O_CLOEXEC", 0)
_PIECE = 2**13  # bytes
_SURELY_ALL = 3072  # bytes; the kernel gives a longer text in pieces of a page
_MOST = 2**22


class Kept:
    """Something of /proc that stays open.

    Attributes:
        path: of it.
    """

    __slots__ = ("_identity", "_number", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self._number = -1
        self._identity = 0, 0

    def close(self) -> None:
        """Close it, if the number is still its own."""
        number, self._number = self._number, -1
        if number < 0:
            return
        try:
            found = calls.fstat(number)
            if (found.st_dev, found.st_ino) == self._identity:
                calls.close(number)
        except OSError:
            return

    def _open(self) -> os.stat_result:
        self._number = calls.open(self.path, _FLAGS)
        found = calls.fstat(self._number)
        self._identity = found.st_dev, found.st_ino
        return found


class Folder(Kept):
    """A folder, of which only what the system says of it is wanted."""

    __slots__ = ()

    def look(self) -> os.stat_result:
        """Return that.

        Raises:
            OSError: it cannot be opened.
        """
        if self._number >= 0:
            try:
                found = calls.fstat(self._number)
                if (found.st_dev, found.st_ino) == self._identity:
                    return found
            except OSError:  # the program has closed it
                pass
        return self._open()


class File(Kept):
    """A file.

    Attributes:
        is_known: says whether a text is this file's.
    """

    __slots__ = ("is_known",)

    def __init__(self, path: str, is_known: Callable[[bytes], bool]) -> None:
        super().__init__(path)
        self.is_known = is_known

    def read(self) -> bytes:
        """Return the text.

        Raises:
            OSError: it cannot be read, or is another file than it should be.
        """
        if self._number >= 0:
            try:
                text = _read(self._number)
                if text and self.is_known(text):
                    return text
            except OSError:  # the program has closed it, and perhaps something that is no file has its number by now
                pass
            self.close()
        self._open()
        text = _read(self._number)
        if not self.is_known(text):
            self.close()
            raise OSError(f"{self.path} is not what it should be")
        return text


def _begins(text: bytes) -> Callable[[bytes], bool]:
    return lambda found: found.startswith(text)


def _is_statm(text: bytes) -> bool:
    words = text.split()
    return len(words) == 7 and b"".join(words).isdigit()


def _is_load(text: bytes) -> bool:
    words = text.split()
    return len(words) == 5 and b"/" in words[3]


def _is_disk(text: bytes) -> bool:
    words = text.split()
    return len(words) >= 11 and b"".join(words).isdigit()


def _is_diskstats(text: bytes) -> bool:
    return not text or len(text.split(b"\n", 1)[0].split()) >= 14  # a container may have no disk


def _read(number: int) -> bytes:
    text = calls.pread(number, _PIECE, 0)
    if len(text) < _SURELY_ALL:
        return text
    more = text
    while more and len(text) < _MOST:
        more = calls.pread(number, _PIECE, len(text))
        text += more
    return text


class Proc(Sampler):
    """Reads the files of /proc."""

    name = "proc"

    def __init__(self, created: float, complain: Callable[[str, str], object], proc: str = "/proc") -> None:
        """Begin.

        Args:
            created: as for Sampler, and
            complain: too.
            proc: where the files are.
        """
        self._proc = proc
        self._pid = calls.getpid()
        self._page = calls.sysconf("SC_PAGE_SIZE")
        self._files_due = Seldom()
        self._usage_has_io = False
        self._moved = 0, 0
        self._load_due = self._load_value = 0.0
        self._open_files = 0
        self._statm = File(f"{proc}/self/statm", _is_statm)
        self._stat = File(f"{proc}/self/stat", lambda text: text.startswith(b"%d (" % self._pid))
        self._io = File(f"{proc}/self/io", _begins(b"rchar:"))
        self._task = Folder(f"{proc}/self/task")
        self._fd = Folder(f"{proc}/self/fd")
        self._links = 0  # that the folder of the threads has beside one for each
        self._cpu_file = File(f"{proc}/stat", _begins(b"cpu "))
        self._load = File(f"{proc}/loadavg", _is_load)
        self._meminfo = File(f"{proc}/meminfo", _begins(b"MemTotal:"))
        self._diskstats = File(f"{proc}/diskstats", _is_diskstats)
        self._network = File(f"{proc}/net/dev", _begins(b"Inter-|"))
        self._real = proc == "/proc"
        self._disk_files: dict[bytes, File] = {}
        self._disks = Devices(DISK_NAMES, ("read", "write"), self._real)
        self._networks = Devices(NETWORK_NAMES, ("transmit", "receive"))
        super().__init__(created, complain)
        memory = ("system.memory.usage", "system.memory.utilization", "system.swap.usage", "system.swap.utilization")
        self._parts = [
            (("process.context_switches",), self._read_switches),
            (("process.memory.usage", "process.memory.virtual", MEMORY_SHARE[0]), self._read_memory),
            ((THREADS[0],), self._read_threads),
            (("process.disk.io",), self._read_io),
            ((FILES[0],), self._count_files),
        ]
        self._machine = [
            (("system.cpu.utilization", "otel_perf.system.cpu.utilization"), self._read_cpus),
            ((LOAD[0],), self._read_load),
            (memory, self._read_system_memory),
            (DISK_NAMES, self._read_disks),
            (NETWORK_NAMES, self._read_networks),
        ]
        self._read_cpus_first()
        self._learn_links()

    def read(self) -> Reading:
        """Look once."""
        if calls.getpid() != self._pid:  # forked: the files are those of the parent
            self.let_go()
            self._pid = calls.getpid()
        return super().read()

    def let_go(self) -> None:
        """Close the files."""
        for file in (
            self._statm, self._stat, self._io, self._cpu_file, self._load, self._meminfo, self._diskstats,
            self._network, self._task, self._fd, *self._disk_files.values(),
        ):  # fmt: skip
            file.close()

    def _learn_links(self) -> None:
        """Find out whether the folder of the threads says how many there are, which costs less than to read it."""
        try:
            links = self._task.look().st_nlink - self._count_threads()
        except (OSError, ValueError, IndexError):  # the first reading says so
            return
        self._links = links if links == USUAL_LINKS else 0

    # --- the process -------------------------------------------------------------------------------------------------

    def _read_switches(self, values: Values) -> None:
        # of all threads; /proc/self/status tells those of the main thread
        values[SWITCHES[0]], values[SWITCHES[1]] = self._usage.ru_nvcsw, self._usage.ru_nivcsw

    def _read_memory(self, values: Values) -> None:
        size, resident = self._statm.read().split()[:2]
        values[VIRTUAL], values[MEMORY] = int(size) * self._page, int(resident) * self._page

    def _read_threads(self, values: Values) -> None:
        if self._links:
            values[THREADS] = self._task.look().st_nlink - self._links
        else:
            values[THREADS] = self._count_threads()

    def _count_threads(self) -> int:
        return int(self._stat.read().rpartition(b")")[2].split()[17])

    def _read_io(self, values: Values) -> None:
        if not self._usage_has_io:
            text = self._io.read()
            read, written = _number(text, b"\nread_bytes:"), _number(text, b"\nwrite_bytes:")
            usage = self._usage  # the same numbers; those of threads that have ended are rounded there
            near = abs(read - usage.ru_inblock * SECTOR) + abs(written - usage.ru_oublock * SECTOR) < 2**20
            self._usage_has_io = near and read + written > 2**12
        else:
            read, written = self._usage.ru_inblock * SECTOR, self._usage.ru_oublock * SECTOR
        # what children did that were waited for is in the file, and not in the usage
        self._moved = max(read, self._moved[0]), max(written, self._moved[1])
        values[DISK[0]], values[DISK[1]] = self._moved

    def _count_files(self, values: Values) -> None:
        count = self._fd.look().st_size  # from Linux 6.2 on; with the number that a thread in accept() has already
        if not count:
            moment = clock.now()
            if not self._files_due.due(moment, self._open_files, self._open_files * FILE_COST):
                return
            begun = thread_time()
            count = len(calls.listdir(self._fd.path)) - 1  # without the one that lists
            self._files_due.took(moment, thread_time() - begun, count)
            self._open_files = count
        values[FILES] = count

    def _unique(self) -> int:
        with open(f"{self._proc}/self/smaps_rollup", "rb", buffering=0) as file:
            text = file.read(_PIECE)
        names = [name for name in (b"Private_Clean:", b"Private_Dirty:", b"Private_Hugetlb:") if name in text]
        return 1024 * sum([_kibibytes(text, name) for name in names or (b"Private_Dirty:",)])

    # --- the machine -------------------------------------------------------------------------------------------------

    def _read_cpus(self, values: Values) -> None:
        text = self._cpu_file.read()
        rows: list[Sequence[float]] = []
        totals: list[float] = []
        for line in text[: text.index(b"\nintr")].split(b"\n")[1:]:  # without the one that is their sum
            _, *ticks = line.split()
            user, nice, system, idle, disk, irq, soft, steal = map(int, ticks[:8])  # guests' are in user and nice
            rows.append((idle, user, system, irq, disk))
            totals.append(user + nice + system + idle + disk + irq + soft + steal)
        self._cpus.add(values, CPU_STATES, rows, totals)

    def _read_load(self, values: Values) -> None:
        moment = clock.now()
        if moment >= self._load_due:  # the kernel computes it every five seconds
            self._load_value = float(self._load.read().split()[0])
            self._load_due = moment + LOAD_EVERY
        values[LOAD] = self._load_value

    def _read_system_memory(self, values: Values) -> None:
        text = self._meminfo.read()
        total, free, cached = (
            _kibibytes(text, b"MemTotal:"),
            _kibibytes(text, b"MemFree:"),
            _kibibytes(text, b"\nCached:"),
        )
        if b"SReclaimable:" in text:
            cached += _kibibytes(text, b"SReclaimable:")
        available = _kibibytes(text, b"MemAvailable:") if b"MemAvailable:" in text else free + cached
        self.memory = total * 1024
        for at, amount in enumerate((total - available, free, cached)):
            values[SYSTEM_MEMORY[at]] = amount * 1024
            values[SYSTEM_MEMORY_SHARE[at]] = round(amount / total, 6)
        total, free = _kibibytes(text, b"SwapTotal:"), _kibibytes(text, b"SwapFree:")
        for at, amount in enumerate((total - free, free) if total else ()):  # without swap there is nothing to say
            values[SWAP[at]] = amount * 1024
            values[SWAP_SHARE[at]] = round(amount / total, 6)

    def _read_disks(self, values: Values) -> None:
        text: bytes | None = None
        if self._disks.is_due() or len(self._disks.used) > FEW_DISKS or not self._real:
            text = self._diskstats.read()
            for line in text.split(b"\n"):
                words = line.split()
                if len(words) >= 14 and (words[3] != b"0" or words[7] != b"0"):
                    self._disks.use(words[2])
        try:
            rows = [
                (keys, (self._disk_file(name).read() if text is None else _line_after(text, b" %b " % name)).split())
                for name, keys in self._disks.used.items()
            ]
        except OSError:  # it was taken away, or only the file of all can be read, which is from now on
            self._real = False
            self._read_disks(values)
            return
        for keys, words in rows:
            if words:
                reads, _, read, reading, writes, _, written, writing = map(int, words[:8])
                numbers = (read * SECTOR, written * SECTOR, reads, writes, reading / 1000, writing / 1000)
                values.update(zip(keys, numbers, strict=True))

    def _disk_file(self, name: bytes) -> File:
        """Return the file of one disk: to read that of all costs more, the more there are."""
        file = self._disk_files.get(name)
        if file is None:
            path = f"/sys/block/{os.fsdecode(name).replace('/', '!')}/stat"
            file = self._disk_files[name] = File(path, _is_disk)
        return file

    def _read_networks(self, values: Values) -> None:
        text = self._network.read()
        if self._networks.is_due():
            for line in text.split(b"\n")[2:]:
                name, _, rest = line.rpartition(b":")
                words = rest.split()
                if len(words) >= 12 and (words[0] != b"0" or words[8] != b"0"):
                    self._networks.use(name.strip())
        for name, keys in self._networks.used.items():
            words = _line_after(text, b" %b:" % name).split() or _line_after(text, b"\n%b:" % name).split()
            if words:  # bytes, packets, errors, dropped: received, and eight fields on those sent
                values.update(zip(keys, [int(words[at + sent]) for at in range(4) for sent in (8, 0)], strict=True))


def _line_after(text: bytes, mark: bytes) -> bytes:
    at = text.find(mark)
    return text[at + len(mark) : text.index(b"\n", at + 1)] if at >= 0 else b""


def _kibibytes(text: bytes, name: bytes) -> int:
    """Return the number that follows *name*, without its unit; raises ValueError if there is no such name."""
    at = text.index(name) + len(name)
    return int(text[at : text.index(b" kB", at)])


def _number(text: bytes, name: bytes) -> int:
    """Return the number that follows *name*.

    Raises:
        ValueError: there is no such name.
    """
    at = text.index(name) + len(name)
    return int(text[at : text.index(b"\n", at)])
