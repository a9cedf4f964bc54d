"""What the worker sees of a start without touching it: CPU, waiting, disk and collector of every thread, over time.

Imports only: os, sys, time, clock, pauses. A span of the start is explained by the difference of two moments, so what
it says is exact to about one sample. Where the system does not say, nothing is said. Only the worker calls this.

A call that gives the interpreter's lock back would wait 5 ms for it beside a thread that computes, and stop that thread
each time: of such a thread only its CPU clock is read, which needs none. No file stays open: a program that becomes a
daemon closes all there are, and another file would have its number.

Source: proc(5), /proc/<pid>/task/<tid>/schedstat and syscall, /proc/<pid>/io.
"""

from __future__ import annotations

import sys
from _bisect import bisect_right
from time import process_time

from . import pauses
from .clock import now
from .system import calls

try:
    from time import thread_time
except ImportError:  # not everywhere

    def thread_time() -> float:
        """Say nothing of this thread."""
        return 0.0


try:
    from time import clock_gettime
except ImportError:  # Windows

    def clock_gettime(clk_id: int, /) -> float:
        """Refuse: there is no such clock."""
        raise OSError("no clock of a thread")


TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OFTEN = 0.02  # seconds between two samples at first
BUSY = 0.05  # the same beside a thread that computes, which each sample stops
SELDOM = 0.25  # seconds between two samples of a start that lasts long
SHARE = 100  # a sample is at most one part in this many of the time it stands for
MAX_SAMPLES = 2_000  # of a thread; then every second one goes
MAX_THREADS = 32
SHORTEST = 0.005  # seconds; a span shorter than this cannot be explained

CAUSES = ("cpu_time", "wait.cpu", "wait.sleep", "wait.lock", "wait.socket", "wait.file", "wait.child", "wait.other")
CPU, CONTENDED, SLEEP, LOCK, SOCKET, FILE, CHILD, OTHER = range(8)
AT_WORK = (CPU, CHILD, FILE, SOCKET)  # what a program waits for that is not idle

# Numbers of the system calls in which a thread waits, by machine. Source: Linux, syscall_64.tbl and unistd.h.
_READS = "read"
_POLLS = "poll"
_CALLS: dict[str, dict[int, int | str]] = {
    "x86_64": {
        **dict.fromkeys((0, 1, 19, 20), _READS),
        **dict.fromkeys((7, 23, 232, 270, 271, 281), _POLLS),
        **dict.fromkeys((2, 4, 5, 6, 17, 18, 72, 73, 74, 75, 217, 257, 262, 332), FILE),
        **dict.fromkeys((42, 43, 44, 45, 46, 47, 288, 299, 307), SOCKET),
        **dict.fromkeys((35, 230), SLEEP),
        **dict.fromkeys((61, 247), CHILD),
        202: LOCK,
    },
    "aarch64": {
        **dict.fromkeys((63, 64, 65, 66), _READS),
        **dict.fromkeys((22, 72, 73), _POLLS),
        **dict.fromkeys((25, 32, 56, 61, 67, 68, 79, 80, 82, 83, 291), FILE),
        **dict.fromkeys((202, 203, 206, 207, 211, 212, 242, 243, 269), SOCKET),
        **dict.fromkeys((101, 115), SLEEP),
        **dict.fromkeys((95, 260), CHILD),
        98: LOCK,
    },
}
_calls = _CALLS.get(calls.uname().machine if hasattr(calls, "uname") else "", {})


class Watch:
    """Samples of this process while its start lasts.

    Attributes:
        began: monotonic seconds of the first sample.
        interval: seconds until the next one.
        threads: by native id.
        last: when the last sample began.
    """

    def __init__(self, own: int, created: float) -> None:
        """Begin.

        Args:
            own: native id of the thread that samples, which is left out.
            created: monotonic seconds of the process's creation.
        """
        self.own = own
        self.created = created
        self.began = now()
        self.interval = OFTEN
        self.threads: dict[int, Thread] = {}
        self._ended: dict[int, Thread] = {}  # whose spans may still come to be explained
        self._disk = _Series()
        self._collector = _Series()
        self._disk.add(created, (0.0,))
        self._collector.add(self.began, (pauses.total(),))
        self.last = self.began
        self._looked = self._disk_looked = 0.0
        self._busy = self.began  # when the process was last seen to use a CPU
        self._used = process_time() - thread_time()
        self._spent = 0.0  # seconds of CPU of all threads but ours since the sample before

    def sample(self) -> None:
        """Look once."""
        begun = now()
        self._look_whether_busy(begun)
        self._find_threads(begun)
        busy = False
        for thread in list(self.threads.values()):
            if not thread.sample(self._spent):
                self._ended[thread.id] = self.threads.pop(thread.id, thread)
                if len(self._ended) > MAX_THREADS:
                    del self._ended[next(iter(self._ended))]
            busy = busy or thread.waits == CPU
        self._collector.add(now(), (pauses.total(),))
        if not busy or begun - self._disk_looked > 10 * self.interval:
            self._disk_looked = begun
            words = _read("/proc/self/io").split()
            if b"read_bytes:" in words:
                self._disk.add(begun, (float(words[words.index(b"read_bytes:") + 1]),))
        moment = now()
        self.last = begun
        took = (moment - begun) * SHARE  # beside a thread that computes it says how long we waited for our turn
        self.interval = min(max(BUSY if busy else OFTEN, (moment - self.began) / 200, 0.0 if busy else took), SELDOM)

    def _look_whether_busy(self, begun: float) -> None:
        """Look at the CPU time of all threads but ours, be they ever so many."""
        used = process_time() - thread_time()
        self._spent = used - self._used
        if self._spent > max(0.0005, (begun - self.last) / 50):
            self._busy = begun
        self._used = used

    def _find_threads(self, begun: float) -> None:
        """Begin to watch threads that are new: those of Python at once, all others at the next look into /proc."""
        found: set[int] = {getattr(thread, "native_id", None) or 0 for thread in _python_threads()}
        if begun - self._looked > 10 * self.interval or not self.threads:
            self._looked = begun
            try:
                found.update(map(int, calls.listdir("/proc/self/task")))
            except (OSError, ValueError):
                return
        main = calls.getpid()
        for number in found - self.threads.keys() - {self.own, 0}:
            if len(self.threads) < MAX_THREADS or number == main:
                self.threads[number] = Thread(number, self.created if number == main else self.last)

    def between(self, start: float, end: float, thread: int) -> dict[str, Any]:
        """Return the attributes that say what *thread* did from *start* to *end*; what is not known is absent."""
        found: dict[str, Any] = {}
        seen = self.threads.get(thread) or self._ended.get(thread)
        if seen is not None and (causes := seen.series.between(start, end)) is not None:
            for name, seconds in zip(CAUSES, causes, strict=True):
                if seconds >= 0.0005 or name == "cpu_time":
                    found[f"otel_perf.{name}"] = round(min(seconds, end - start), 6)
        pauses = self._collector.between(start, end)
        if pauses is not None and pauses[0] >= 0.0005:
            found["otel_perf.gc_time"] = round(pauses[0], 6)
        read = self._disk.between(start, end)
        if read is not None and read[0] >= 1.0:
            found["otel_perf.disk_read"] = int(read[0])
        return found

    def idle_since(self) -> float | None:
        """Return when this process fell idle: it has used no CPU since, and nobody waits for what may still come.

        None while it is at work: the main thread computes, or waits for a child, a file or an answer, or for a lock
        that a thread which waits so may hold.
        """
        main = self.threads.get(calls.getpid())
        if main is None or main.waits in AT_WORK:
            return None
        if main.waits == LOCK and any(thread.waits in AT_WORK for thread in self.threads.values()):
            return None
        return self._busy


class Thread:
    """Samples of one thread.

    Attributes:
        id: native id.
        series: seconds of each of CAUSES so far.
        waits: what it waited for at the last sample, an index of CAUSES; CPU while it runs.
        rested: seconds of the time before the last sample in which it did not run; of a thread that waits now, the
            last ones, as far as can be told.
    """

    def __init__(self, number: int, begun: float) -> None:
        """Begin with what a thread has done since *begun*."""
        self.id = number
        self.series = _Series()
        self.waits = CPU
        self.rested = 0.0
        self._seen = CPU  # what it was known to wait for at the last sample
        self._clock = (~number << 3) | 6  # Linux: the CPU clock of any thread of this process, of its kernel id
        self._at = begun
        self._cpu = self._contended = 0.0
        self._sums = [0.0] * len(CAUSES)
        self.series.add(begun, tuple(self._sums))

    def sample(self, spent: float = 0.0) -> bool:
        """Look once; return False once the thread has ended.

        Args:
            spent: seconds of CPU that all threads together have used since the sample before.
        """
        moment = now()
        try:
            cpu = clock_gettime(self._clock)
        except (OSError, ValueError):
            return False
        past = moment - self._at
        used = min(cpu - self._cpu, past)
        waited = 0.0
        if used > past * 0.9:
            self.waits = CPU
        else:
            words = _read(f"/proc/self/task/{self.id}/schedstat").split()
            contended = int(words[1]) / 1e9 if len(words) > 1 else self._contended
            waited = max(0.0, min(contended - self._contended, past - used))
            self._contended = contended
            self.waits = self._cause(_read(f"/proc/self/task/{self.id}/syscall").split())
        self.rested = past - used - waited
        sums, rest = self._sums, self.rested
        before, self._seen = self._seen, self.waits
        if self.waits == LOCK and used > past / 4:  # it was at work when we came, and waits for our turn to end
            self._seen = CPU
        is_first = len(self.series.moments) == 1  # since it began, which may be long ago
        if before != CPU and self._seen == CPU and not is_first:
            # It waited, then it computed; as long as others have computed beside it, it may have waited for its turn.
            sure = max(0.0, rest - max(0.0, spent - used))
            sums[before] += sure
            self.series.add(self._at + sure, tuple(sums))
            sums[OTHER] += rest - sure
        elif before == CPU and self._seen != CPU and not is_first:  # it computed, then it waited
            sums[CPU] += used
            sums[CONTENDED] += waited
            self.series.add(moment - rest, tuple(sums))
            used = waited = 0.0
            sums[self._seen] += rest
        else:
            known = [] if is_first else [cause for cause in (before, self._seen) if cause != CPU]
            for cause in known or (OTHER,):  # what it waited for at either end stands for that half
                sums[cause] += rest / (len(known) or 1)
        sums[CPU] += used
        sums[CONTENDED] += waited
        self._at, self._cpu = moment, cpu
        self.series.add(moment, tuple(sums))
        return True

    def _cause(self, call: list[bytes]) -> int:
        if not call or not call[0].isdigit():  # running, or -1: in no system call
            return CPU
        cause = _calls.get(int(call[0]), OTHER)
        if cause == _POLLS:
            count = int(call[1] if call[0] in (b"270", b"23", b"72") else call[2], 16)
            if call[0] not in (b"232", b"281", b"22") and not count:
                return SLEEP  # for nothing but the time
            if _has_children(self.id):
                return CHILD
            return SOCKET if call[0] in (b"7", b"271", b"73") and count == 1 else OTHER  # a read with a timeout, a loop
        if cause == _READS:
            return _kind_of(int(call[1], 16))
        return int(cause)


class _Series:
    """Numbers that only grow, at ascending moments."""

    def __init__(self) -> None:
        self.moments: list[float] = []
        self.values: list[tuple[float, ...]] = []

    def add(self, moment: float, values: tuple[float, ...]) -> None:
        self.moments.append(moment)
        self.values.append(values)
        if len(self.moments) > MAX_SAMPLES:
            del self.moments[1:-1:2]
            del self.values[1:-1:2]

    def between(self, start: float, end: float) -> list[float] | None:
        """Return how much each number grew; None where no sample stands for most of the time asked for."""
        if len(self.moments) < 2 or self.moments[-1] < (start + end) / 2:
            return None
        return [b - a for a, b in zip(self._at(start), self._at(end), strict=True)]

    def _at(self, moment: float) -> tuple[float, ...]:
        moments, values = self.moments, self.values
        after = bisect_right(moments, moment)
        if after == 0:  # before the first sample: what it found was gained evenly since the process began
            return tuple(0.0 for _ in values[0])
        if after == len(moments):
            return values[-1]
        left, right = moments[after - 1], moments[after]
        part = (moment - left) / (right - left)
        return tuple(a + (b - a) * part for a, b in zip(values[after - 1], values[after], strict=True))


def _python_threads() -> list[Any]:
    """Return the threads that Python's own module knows, without its lock: the program may hold it."""
    active = getattr(sys.modules.get("threading"), "_active", None)
    return list(active.values()) if type(active) is dict else []


def _read(path: str) -> bytes:
    try:
        file = calls.open(path, calls.O_RDONLY | getattr(calls, "O_CLOEXEC", 0))
    except OSError:
        return b""
    try:
        opened = calls.fstat(file)
        text = calls.read(file, 512)
        found = calls.fstat(file)  # the program may have closed all files meanwhile, and opened one of that number
        if (found.st_dev, found.st_ino) == (opened.st_dev, opened.st_ino):
            calls.close(file)
    except OSError:
        return b""
    return text


def _has_children(thread: int) -> bool:
    return bool(_read(f"/proc/self/task/{thread}/children").strip())


def _kind_of(file: int) -> int:
    """Return what reading from *file* waits for."""
    try:
        target = calls.readlink(f"/proc/self/fd/{file}")
    except OSError:
        return OTHER
    if target.startswith("socket:"):
        return SOCKET
    if target.startswith("pipe:"):
        return CHILD if _has_children(calls.getpid()) else OTHER
    return OTHER if target.startswith(("/dev/", "anon_inode:")) else FILE
