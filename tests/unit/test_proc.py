"""What is read from /proc is what psutil says, each file fails alone, and a number that is somebody else's stays alone."""

from __future__ import annotations

import gc
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from otel_perf import clock
from otel_perf.metrics import names, sampler
from otel_perf.metrics.names import INSTRUMENTS

psutil = pytest.importorskip("psutil", reason="needs psutil")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
if sys.platform == "linux":
    from otel_perf.metrics.proc import File, Proc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PARTS = {  # what is absent without a file
    "self/statm": {"process.memory.usage", "process.memory.virtual", "process.memory.utilization"},
    "self/stat": {"process.thread.count"},
    "self/io": {"process.disk.io"},
    "self/smaps_rollup": {"otel_perf.process.memory.unique"},
    "stat": {"system.cpu.utilization", "otel_perf.system.cpu.utilization"},
    "loadavg": {"system.cpu.load_average.1m"},
    "meminfo": {"system.memory.usage", "system.memory.utilization", "process.memory.utilization"},
    "diskstats": {"system.disk.io", "system.disk.operations", "system.disk.time"},
    "net/dev": {
        "system.network.io", "system.network.packets", "system.network.errors", "system.network.dropped_packets",
    },
}  # fmt: skip
EVERYTHING = set().union(*PARTS.values()) | {
    "process.cpu.time", "process.cpu.utilization", "otel_perf.process.cpu.usage", "process.uptime",
    "process.unix.file_descriptor.count", "process.context_switches", "process.paging.faults",
    "cpython.gc.collections", "cpython.gc.collected_objects", "cpython.gc.uncollectable_objects",
    "otel_perf.gc.time", "otel_perf.gc.longest_pause",
}  # fmt: skip
DISK = b"   7       0 loop0 0 0 0 0 0 0 0 0 0 0 0\n 254       0 vda 10 1 800 530 20 2 1600 810 0 188 1340 0 0 0 0 0 0\n"


@pytest.fixture
def made() -> Iterator[Callable[..., Any]]:
    """Return a function that makes a sampler, closed at the end; its complaints are in ``said``."""
    all_of_them = []

    def make(proc: str = "/proc", name: str = "proc") -> Any:
        said: list[tuple[str, str]] = []
        complain = lambda cause, text: said.append((cause, text))  # noqa: E731
        created = clock.now() - 5.0
        one = Proc(created, complain, proc) if name == "proc" else sampler.choose(name, created, complain)
        one.said = said
        all_of_them.append(one)
        return one

    yield make
    for one in all_of_them:
        one.close()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a folder that shows the files of /proc that are read, and disks of its own."""
    proc = tmp_path / "proc"
    for name in PARTS:
        target = proc / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(f"/proc/{name}")
    replace(proc / "diskstats", DISK)
    for folder in ("fd", "task"):
        (proc / "self" / folder).mkdir()
    return proc


def replace(path: Path, text: bytes) -> None:
    path.unlink()
    path.write_bytes(text)


def wait(seconds: float = 0.1) -> None:
    until = clock.now() + seconds
    while clock.now() < until:
        pass


def of(values: Any) -> set[str]:
    return {key[0] for key in values}


def without_rarely(one: Any) -> Any:
    """Let what costs much be read at once."""
    one._unique_due._since -= 10_000.0
    return one


# --- the values -------------------------------------------------------------------------------------------------------


def test_the_process_is_what_psutil_says_at_the_same_moment(made: Callable[..., Any]) -> None:
    gc.collect()  # files that other tests have left
    stop = threading.Event()
    threads = [threading.Thread(target=stop.wait) for _ in range(5)]
    for thread in threads:
        thread.start()
    one, process = made(), psutil.Process()
    one.read()  # which opens the files that stay open
    one.read()
    without_rarely(one)
    wait()
    for _ in range(5):  # files that other tests have left may be closed in between
        before, values, files = process.num_fds(), one.read().values, process.num_fds()
        if before == files:
            break
    memory, count = process.memory_full_info(), process.num_threads()
    stop.set()
    for thread in threads:
        thread.join()

    assert count == values[names.THREADS] >= 6
    # psutil counts the folder that it lists, and not the number that each thread in accept() has, as other tests' may be
    assert files - 1 <= values[names.FILES] <= files - 1 + count - len(threads) - 1
    assert pytest.approx(memory.rss, abs=2**20) == values[names.MEMORY]
    assert pytest.approx(memory.vms, abs=2**20) == values[names.VIRTUAL]
    assert pytest.approx(memory.uss, abs=2**20) == values[names.UNIQUE]
    assert pytest.approx(memory.rss / psutil.virtual_memory().total, rel=0.1) == values[names.MEMORY_SHARE]
    assert pytest.approx(sum(os.times()[:2]), abs=0.05) == sum(values[key] for key in names.CPU_TIME)
    assert 5.0 <= values[names.UPTIME] < 7.0
    io = process.io_counters()
    assert pytest.approx((io.read_bytes, io.write_bytes), abs=2**20) == tuple(values[key] for key in names.DISK)


@pytest.mark.parametrize("name", ["proc", "psutil"])
def test_the_machine_may_be_looked_at_more_seldom(made: Callable[..., Any], name: str) -> None:
    """Twice at the beginning: the first reading comes too early for a rate of the CPUs."""
    one = made(name=name)
    one.machine_every = 3
    readings = [one.read() for _ in range(7)]

    assert [True, True, False, True, False, False, True] == [names.LOAD in reading.values for reading in readings]
    assert [reading.whole for reading in readings] == [names.LOAD in reading.values for reading in readings]
    assert all(names.MEMORY in reading.values for reading in readings)


def test_both_samplers_have_the_same_series_and_nearly_the_same_values(made: Callable[..., Any]) -> None:
    proc, other = made(), made(name="psutil")
    wait(0.3)
    ours, theirs = proc.read().values, other.read().values

    assert ("proc", "psutil") == (proc.name, other.name)
    assert set(ours) == set(theirs)
    for key in ours:
        if key[0] in ("system.memory.usage", "system.disk.io", "system.network.io", "process.memory.usage"):
            assert pytest.approx(theirs[key], rel=0.1, abs=2**26) == ours[key], key


def test_everything_is_there_and_in_the_table(made: Callable[..., Any]) -> None:
    one = without_rarely(made())
    wait()
    values = one.read().values

    assert set() == EVERYTHING - of(values) - PARTS["diskstats"]  # a container may have no disk of its own
    assert set() == of(values) - INSTRUMENTS.keys()
    for key, value in values.items():
        assert not names.is_whole(key[0]) or type(value) is int, key
    assert {} == one.absent
    assert [] == one.said


def test_disks_and_networks_have_the_meanings_of_the_kernel(tree: Path, made: Callable[..., Any]) -> None:
    lines = (tree / "net/dev").read_bytes().split(b"\n")[:2]
    replace(tree / "net/dev", b"\n".join([*lines, b"  eth0: 11 12 13 14 0 0 0 0 21 22 23 24 0 0 0 0", b""]))
    values = {(key[0], *dict(key[1]).values()): value for key, value in made(str(tree)).read().values.items()}

    for name, numbers in {"io": (800 * 512, 1600 * 512), "operations": (10, 20), "time": (0.53, 0.81)}.items():
        assert numbers == tuple(values[f"system.disk.{name}", "vda", way] for way in ("read", "write"))
    for at, name in enumerate(("io", "packets", "errors", "dropped_packets")):
        found = tuple(values[f"system.network.{name}", "eth0", way] for way in ("receive", "transmit"))
        assert (11 + at, 21 + at) == found
    assert not any("loop0" in key for key in values), "a disk that was never used"


def test_a_long_file_is_read_whole(tree: Path, made: Callable[..., Any]) -> None:
    lines = (tree / "net/dev").read_bytes().split(b"\n")[:2]
    more = [b"veth%d: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0" % number for number in range(1000)]
    replace(tree / "net/dev", b"\n".join([*lines, *more, b"last: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0", b""]))

    devices = {dict(key[1]).get("device") for key in made(str(tree)).read().values}
    assert "last" in devices
    assert "veth7" not in devices


def test_the_number_of_devices_is_bounded(tree: Path, made: Callable[..., Any]) -> None:
    lines = (tree / "net/dev").read_bytes().split(b"\n")[:2]
    more = [b"veth%d: 1 1 1 1 0 0 0 0 1 1 1 1 0 0 0 0" % number for number in range(1000)]
    replace(tree / "net/dev", b"\n".join([*lines, *more, b""]))

    values = made(str(tree)).read().values
    assert 16 * 8 == sum(key[0].startswith("system.network") for key in values)


# --- what fails, fails alone ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "how"),
    [
        (name, how)
        for name in PARTS
        for how in ("missing", "empty", "garbage")
        if (name, how) != ("diskstats", "empty")  # that is a machine without disks
    ],
)
def test_a_file_that_cannot_be_read_takes_its_own_metrics_only(
    tree: Path, made: Callable[..., Any], name: str, how: str
) -> None:
    if how == "missing":
        (tree / name).unlink()
    else:
        replace(tree / name, b"" if how == "empty" else b"cpu rchar: MemTotal: nothing of the kind\n")
    one = without_rarely(made(str(tree)))
    for _ in range(3):
        wait(0.06)
        values = one.read().values

    gone = set(PARTS[name])
    if name == "self/statm":
        gone.add("otel_perf.process.memory.unique")  # how often it may be read follows from the memory
    if name == "self/smaps_rollup":
        without_rarely(one)
    assert set() == of(values) & gone
    assert EVERYTHING - gone - {"otel_perf.process.memory.unique"} <= of(values)
    assert 1 == len(one.said), one.said
    ((cause, text),) = one.said
    assert set(one.absent) & PARTS[name]
    assert cause.removeprefix("metric ") in PARTS[name]
    assert "cannot be read" in text


@pytest.mark.parametrize("before", [b"", DISK], ids=["none", "taken away"])
def test_a_machine_without_disks_costs_no_file_more_at_each_look(
    tree: Path, made: Callable[..., Any], before: bytes
) -> None:
    replace(tree / "diskstats", before)
    one = made(str(tree))
    one.read()
    replace(tree / "diskstats", b"")
    one.read()
    open_before = len(os.listdir("/proc/self/fd"))

    for _ in range(5):
        one.read()

    assert open_before == len(os.listdir("/proc/self/fd"))
    assert [] == one.said


def test_what_was_read_and_written_never_falls_when_a_child_is_not_in_it_any_more(
    tree: Path, made: Callable[..., Any]
) -> None:
    """The kernel's file has what children did that were waited for, its usage has not."""
    import resource

    usage = resource.getrusage(resource.RUSAGE_SELF)
    moved = usage.ru_inblock * 512 + 5_000, usage.ru_oublock * 512 + 300_000
    replace(tree / "self/io", b"rchar: 1\nread_bytes: %d\nwrite_bytes: %d\ncancelled_write_bytes: 0\n" % moved)
    one = made(str(tree))

    seen = [one.read().values for _ in range(4)]

    for key in names.DISK:
        assert sorted(values[key] for values in seen) == [values[key] for values in seen]


def test_what_can_be_read_again_is_there_again(tree: Path, made: Callable[..., Any]) -> None:
    (tree / "loadavg").rename(tree / "away")
    one = made(str(tree))
    assert names.LOAD not in one.read().values
    assert "system.cpu.load_average.1m" in one.absent
    (tree / "away").rename(tree / "loadavg")

    assert names.LOAD in one.read().values
    assert {} == one.absent


# --- files that stay open ---------------------------------------------------------------------------------------------


def test_a_program_that_closes_all_files_changes_nothing_and_keeps_its_own(
    made: Callable[..., Any], tmp_path: Path
) -> None:
    one = made()
    one.read()
    numbers = [file._number for file in vars(one).values() if isinstance(getattr(file, "_number", None), int)]
    ours = [number for number in numbers if number >= 0]
    assert len(ours) >= 7
    for number in ours:
        os.close(number)
    theirs = [os.open(tmp_path / f"their{at}", os.O_RDWR | os.O_CREAT) for at in range(len(ours))]
    for file in theirs:
        os.write(file, b"1 2 3 nothing of /proc\n")
    assert set(ours) <= set(theirs), "the numbers are theirs now"
    values = one.read().values
    one.close()

    assert {} == one.absent
    assert [] == one.said
    assert pytest.approx(psutil.Process().memory_info().rss, abs=2**22) == values[names.MEMORY]
    for file in theirs:
        assert os.pread(file, 1, 0) == b"1", "a file of the program's was closed"
        assert 23 == os.lseek(file, 0, os.SEEK_CUR), "its position has moved"
        os.close(file)


def test_pipes_and_event_counters_with_our_numbers_are_not_read() -> None:
    file = File("/proc/self/statm", lambda text: len(text.split()) == 7)
    file.read()
    ours = file._number
    os.close(ours)
    read, write = os.pipe()
    os.write(write, b"1 2 3 4 5 6 7\n")
    assert ours in (read, write)
    text = file.read()
    file.close()

    assert text != b"1 2 3 4 5 6 7\n"
    assert b"1 2 3 4 5 6 7\n" == os.read(read, 100)
    os.close(read)
    os.close(write)


def test_a_forked_child_reads_itself(made: Callable[..., Any]) -> None:
    one = made()
    before = one.read().values[names.MEMORY]
    read, write = os.pipe()
    child = os.fork()
    if not child:
        hold = bytearray(64 * 2**20)
        hold[:: os.sysconf("SC_PAGE_SIZE")] = b"x" * (len(hold) // os.sysconf("SC_PAGE_SIZE"))
        os.write(write, b"%d" % one.read().values[names.MEMORY])
        os._exit(0)
    os.waitpid(child, 0)
    found = int(os.read(read, 100))
    os.close(read)
    os.close(write)

    assert found > before + 20 * 2**20


# --- what costs much --------------------------------------------------------------------------------------------------


def test_unique_memory_is_read_at_most_every_cost_times_10000(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the first time its cost is estimated: 18 ms at 1 GiB, so every three minutes."""
    moment = [1000.0]
    monkeypatch.setattr(clock, "now", lambda: moment[0])
    gib = 2.0**30
    seldom = sampler.Seldom()
    guess = sampler.UNIQUE_BASE + gib * sampler.UNIQUE_COST
    first = next(at for at in range(1000) if seldom.due(1000.0 + at, gib, guess))
    seldom.took(1000.0 + first, 0.020, gib)
    second = next(at for at in range(1000) if seldom.due(1000.0 + first + at, gib, guess))
    larger = next(at for at in range(1000) if seldom.due(1000.0 + first + at, 2 * gib, guess))

    assert (185, 200, 400) == (first, second, larger)


def test_choose_takes_what_works_and_names_what_does_not_exist() -> None:
    said: list[str] = []
    for name in ("auto", "proc", "psutil", "nonsense"):
        one = sampler.choose(name, clock.now(), lambda cause, text: said.append(f"{cause}: {text}"))
        assert ("psutil" if name == "psutil" else "proc") == one.name
        one.close()

    assert ["sampler: OTEL_PERF_SAMPLER: 'nonsense' is none of auto, proc, psutil; taking auto"] == said


def test_without_psutil_there_is_still_what_python_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setitem(sys.modules, "psutil", None)
    monkeypatch.delitem(sys.modules, "otel_perf.metrics.by_psutil", raising=False)
    one = sampler.choose("psutil", clock.now(), lambda cause, text: said.append(text))
    wait()
    values = one.read().values
    one.close()

    assert 1 == len(said)
    assert "psutil cannot be used" in said[0]
    assert {"process.cpu.time", "otel_perf.process.cpu.usage", "cpython.gc.collections"} <= of(values)


def test_garbage_collector_pauses_are_durations(made: Callable[..., Any]) -> None:
    import gc

    one = made()
    one.read()
    ring = [[] for _ in range(200_000)]
    for at, each in enumerate(ring):
        each.append(ring[at - 1])
    gc.collect()
    del ring, each
    gc.collect()
    values = one.read().values

    assert values[names.PAUSES] >= values[names.LONGEST_PAUSE] > 0.001
    assert 0.0 == one.read().values[names.LONGEST_PAUSE]
