"""What psutil answers on macOS and Windows becomes the right metrics: with their values and units, or absent.

The answers are recorded ones, in the shapes that psutil gives there; a test holds those against psutil's own source.
"""

from __future__ import annotations

import sys
from collections import namedtuple
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from otel_perf import clock
from otel_perf.metrics import cgroup, names, sampler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOM = "otel_perf.metrics.by_psutil"
PLATFORMS = {"darwin": "MACOS", "win32": "WINDOWS"}  # and what psutil calls them
OF_PYTHON = ("process.cpu.", "otel_perf.process.cpu.", "process.uptime", "cpython.", "otel_perf.gc.")
GB = 2**30

# --- what was recorded ------------------------------------------------------------------------------------------------

pmem_mac = namedtuple("pmem", "rss vms pfaults pageins")
pfullmem_mac = namedtuple("pfullmem", (*pmem_mac._fields, "uss"))
scputimes_mac = namedtuple("scputimes", "user nice system idle")
svmem_mac = namedtuple("svmem", "total available percent used free active inactive wired")
pmem_windows = namedtuple(
    "pmem",
    "rss vms num_page_faults peak_wset wset peak_paged_pool paged_pool peak_nonpaged_pool nonpaged_pool pagefile "
    "peak_pagefile private",
)
pfullmem_windows = namedtuple("pfullmem", (*pmem_windows._fields, "uss"))
scputimes_windows = namedtuple("scputimes", "user system idle interrupt dpc")
svmem_windows = namedtuple("svmem", "total available percent used free")
pio_windows = namedtuple("pio", "read_count write_count read_bytes write_bytes other_count other_bytes")
pctxsw = namedtuple("pctxsw", "voluntary involuntary")
sswap = namedtuple("sswap", "total used free percent sin sout")
sdiskio = namedtuple("sdiskio", "read_count write_count read_bytes write_bytes read_time write_time")
snetio = namedtuple(
    "snetio", "bytes_sent bytes_recv packets_sent packets_recv errin errout dropin dropout"
)  # fmt: skip
SHAPES = {
    "darwin": (pmem_mac, pfullmem_mac, scputimes_mac, svmem_mac, pctxsw, sswap, sdiskio, snetio),
    "win32": (
        pmem_windows, pfullmem_windows, scputimes_windows, svmem_windows, pio_windows, pctxsw, sswap, sdiskio, snetio,
    ),
}  # fmt: skip

PROCESS = {  # of each method its answers, the last one for ever
    "darwin": {
        "memory_info": [pmem_mac(61_210_624, 420_851_712_000, 18_455, 3)],
        "memory_full_info": [pfullmem_mac(61_210_624, 420_851_712_000, 18_455, 3, 40_325_120)],
        "num_threads": [5],
        "num_ctx_switches": [pctxsw(2417, 0)],
        "num_fds": [14],
    },
    "win32": {
        "memory_info": [
            pmem_windows(
                35_512_320, 24_383_488, 11_302, 35_700_736, 35_512_320, 304_272, 303_752, 27_448, 24_688, 24_383_488,
                24_612_864, 24_383_488,
            )
        ],
        "memory_full_info": [
            pfullmem_windows(
                35_512_320, 24_383_488, 11_302, 35_700_736, 35_512_320, 304_272, 303_752, 27_448, 24_688, 24_383_488,
                24_612_864, 24_383_488, 21_069_824,
            )
        ],
        "num_threads": [6],
        "num_ctx_switches": [pctxsw(5120, 0)],
        "num_handles": [181],
        "io_counters": [pio_windows(402, 31, 1_204_224, 40_960, 2210, 60_122)],
    },
}  # fmt: skip
MACHINE = {
    "darwin": {
        "cpu_times": [
            [scputimes_mac(1000.0, 0.0, 500.0, 8000.0), scputimes_mac(400.0, 0.0, 100.0, 9000.0)],
            [scputimes_mac(1000.5, 0.0, 500.25, 8000.25), scputimes_mac(400.0, 0.0, 100.0, 9001.0)],
        ],
        "getloadavg": [(2.13, 1.9, 1.75)],
        "virtual_memory": [svmem_mac(16 * GB, 6 * GB, 62.5, 9 * GB, GB, 5 * GB, 5 * GB, 4 * GB)],
        "swap_memory": [sswap(2 * GB, GB // 2, 3 * GB // 2, 25.0, 884_736, 0)],
        "disk_io_counters": [{"disk0": sdiskio(1_000, 500, 4_096_000, 2_048_000, 1_500, 750)}],
        "net_io_counters": [
            {
                "lo0": snetio(700, 700, 7, 7, 0, 0, 0, 0),
                "en0": snetio(10_000, 90_000, 100, 300, 1, 2, 4, 0),
                "utun0": snetio(0, 0, 0, 0, 0, 0, 0, 0),
            }
        ],
    },
    "win32": {
        "cpu_times": [
            [scputimes_windows(100.0, 50.0, 1000.0, 1.0, 2.0)],
            [scputimes_windows(100.25, 50.25, 1000.5, 1.0, 2.0)],
        ],
        "getloadavg": [(0.42, 0.1, 0.03)],
        "virtual_memory": [svmem_windows(8 * GB, 2 * GB, 75.0, 6 * GB, 2 * GB)],
        "swap_memory": [sswap(0, 0, 0, 0.0, 0, 0)],
        "disk_io_counters": [{"PhysicalDrive0": sdiskio(2_000, 1_000, 8_192, 4_096, 12_000, 6_000)}],
        "net_io_counters": [{"Ethernet": snetio(10_000, 90_000, 100, 300, 1, 2, 4, 8)}],
    },
}


def of_network(device: str, counters: Any, dropped: bool) -> dict[tuple[str, str], float]:
    """Return the values of one network, those sent first."""
    found = {
        ("system.network.io", f"{device} transmit"): counters.bytes_sent,
        ("system.network.io", f"{device} receive"): counters.bytes_recv,
        ("system.network.packets", f"{device} transmit"): counters.packets_sent,
        ("system.network.packets", f"{device} receive"): counters.packets_recv,
        ("system.network.errors", f"{device} transmit"): counters.errout,
        ("system.network.errors", f"{device} receive"): counters.errin,
        ("system.network.dropped_packets", f"{device} receive"): counters.dropin,
    }
    return found | ({("system.network.dropped_packets", f"{device} transmit"): counters.dropout} if dropped else {})


NETWORK = {platform: MACHINE[platform]["net_io_counters"][0] for platform in PLATFORMS}
RIGHT: dict[str, dict[tuple[str, str], float]] = {  # by name and the values of its attributes
    "darwin": {
        ("process.memory.usage", ""): 61_210_624,
        ("process.memory.virtual", ""): 420_851_712_000,
        ("process.memory.utilization", ""): round(61_210_624 / (16 * GB), 6),
        ("otel_perf.process.memory.unique", ""): 40_325_120,
        ("process.thread.count", ""): 5,
        ("process.unix.file_descriptor.count", ""): 14,
        ("process.context_switches", ""): 2417,  # of both types: that none was involuntary nobody has measured
        ("otel_perf.system.cpu.utilization", ""): 0.375,
        ("system.cpu.utilization", "user 1"): 0.5,
        ("system.cpu.utilization", "system 1"): 0.25,
        ("system.cpu.utilization", "idle 1"): 0.25,
        ("system.cpu.utilization", "user 2"): 0.0,
        ("system.cpu.utilization", "system 2"): 0.0,
        ("system.cpu.utilization", "idle 2"): 1.0,
        ("system.cpu.load_average.1m", ""): 2.13,
        ("system.memory.usage", "used"): 9 * GB,
        ("system.memory.usage", "free"): GB,
        ("system.memory.utilization", "used"): 0.5625,
        ("system.memory.utilization", "free"): 0.0625,
        ("system.swap.usage", "used"): GB // 2,
        ("system.swap.usage", "free"): 3 * GB // 2,
        ("system.swap.utilization", "used"): 0.25,
        ("system.swap.utilization", "free"): 0.75,
        ("system.disk.io", "disk0 read"): 4_096_000,
        ("system.disk.io", "disk0 write"): 2_048_000,
        ("system.disk.operations", "disk0 read"): 1_000,
        ("system.disk.operations", "disk0 write"): 500,
        ("system.disk.time", "disk0 read"): 1.5,
        ("system.disk.time", "disk0 write"): 0.75,
        **of_network("lo0", NETWORK["darwin"]["lo0"], dropped=False),  # psutil has no count of those sent
        **of_network("en0", NETWORK["darwin"]["en0"], dropped=False),
    },
    "win32": {
        ("process.memory.usage", ""): 35_512_320,
        ("process.memory.virtual", ""): 24_383_488,
        ("process.memory.utilization", ""): round(35_512_320 / (8 * GB), 6),
        ("otel_perf.process.memory.unique", ""): 21_069_824,
        ("process.paging.faults", ""): 11_302,
        ("process.thread.count", ""): 6,
        ("process.windows.handle.count", ""): 181,
        ("process.context_switches", ""): 5120,
        ("process.disk.io", "read"): 1_204_224,
        ("process.disk.io", "write"): 40_960,
        ("otel_perf.system.cpu.utilization", ""): 0.5,
        ("system.cpu.utilization", "user 1"): 0.25,
        ("system.cpu.utilization", "system 1"): 0.25,
        ("system.cpu.utilization", "idle 1"): 0.5,
        ("system.cpu.load_average.1m", ""): 0.42,
        ("system.memory.usage", "used"): 6 * GB,
        ("system.memory.usage", "free"): 2 * GB,
        ("system.memory.utilization", "used"): 0.75,
        ("system.memory.utilization", "free"): 0.25,
        ("system.disk.io", "PhysicalDrive0 read"): 8_192,
        ("system.disk.io", "PhysicalDrive0 write"): 4_096,
        ("system.disk.operations", "PhysicalDrive0 read"): 2_000,
        ("system.disk.operations", "PhysicalDrive0 write"): 1_000,
        ("system.disk.time", "PhysicalDrive0 read"): 12.0,
        ("system.disk.time", "PhysicalDrive0 write"): 6.0,
        **of_network("Ethernet", NETWORK["win32"]["Ethernet"], dropped=True),
    },
}
UNITS = {
    "process.memory.usage": "By", "process.memory.virtual": "By", "process.memory.utilization": "1",
    "otel_perf.process.memory.unique": "By", "process.paging.faults": "{fault}", "process.thread.count": "{thread}",
    "process.unix.file_descriptor.count": "{file_descriptor}", "process.windows.handle.count": "{handle}",
    "process.context_switches": "{context_switch}", "process.disk.io": "By", "otel_perf.system.cpu.utilization": "1",
    "system.cpu.utilization": "1", "system.cpu.load_average.1m": "{thread}", "system.memory.usage": "By",
    "system.memory.utilization": "1", "system.swap.usage": "pages", "system.swap.utilization": "1",
    "system.disk.io": "By", "system.disk.operations": "operations", "system.disk.time": "s",
    "system.network.io": "By", "system.network.packets": "packets", "system.network.errors": "errors",
    "system.network.dropped_packets": "packets",
}  # fmt: skip


# --- a machine that gives these answers -------------------------------------------------------------------------------


def answering(answers: dict[str, list[Any]]) -> dict[str, Callable[..., Any]]:
    """Return a function for each name, which gives its answers in turn."""

    def function(left: list[Any]) -> Callable[..., Any]:
        return lambda *_, **__: left.pop(0) if len(left) > 1 else left[0]

    return {name: function(list(several)) for name, several in answers.items()}


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the list whose only item is the time, in seconds; it stands still."""
    now = [1000.0]
    monkeypatch.setattr(clock, "now", lambda: now[0])
    monkeypatch.setattr(clock, "since_boot", clock.now)
    return now


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch, time: list[float]) -> Iterator[Callable[..., Any]]:
    """Return a function that gives the sampler of a platform, on recorded answers; its complaints are in ``said``."""
    made = []

    def make(platform: str, **changes: Any) -> Any:
        fake = ModuleType("psutil")
        methods = {name: staticmethod(function) for name, function in answering(PROCESS[platform]).items()}
        fake.Process = type("Process", (), {"pid": sampler.calls.getpid(), **methods})  # type: ignore[attr-defined]
        for name, function in (answering(MACHINE[platform]) | changes).items():
            setattr(fake.Process if name in PROCESS[platform] else fake, name, function)
        monkeypatch.setattr(sys, "platform", platform)
        monkeypatch.setattr(sampler, "SHARE", 0)  # memory that is the process's alone is due at once
        monkeypatch.setitem(sys.modules, "psutil", fake)
        monkeypatch.delitem(sys.modules, ROOM, raising=False)
        if platform == "win32":
            monkeypatch.setitem(sys.modules, "resource", None)
            few = ("getpid", "cpu_count", "times")
            monkeypatch.setattr(
                sampler, "calls", SimpleNamespace(**{name: getattr(sampler.calls, name) for name in few})
            )
        monkeypatch.setattr(cgroup, "groups", list)
        monkeypatch.setattr(cgroup, "calls", SimpleNamespace(getpid=sampler.calls.getpid, cpu_count=lambda: 8))
        said: list[tuple[str, str]] = []
        one = sampler.choose("auto", time[0] - 5.0, lambda *what: said.append(what))
        one.said = said  # type: ignore[attr-defined]
        made.append(one)
        return one

    yield make
    for one in made:
        one.close()
    sys.modules.pop(ROOM, None)  # the next one that asks gets that of its own platform


def seen(reading: sampler.Reading) -> dict[tuple[str, str], float]:
    """Return the values that came through psutil."""
    return {
        (name, " ".join(str(value) for _, value in fields)): value
        for (name, fields), value in reading.values.items()
        if not name.startswith(OF_PYTHON)
    }


# --- tests ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("platform", PLATFORMS)
def test_recorded_shapes_are_those_of_psutil_on_that_platform(platform: str) -> None:
    """Its source for all platforms is in every wheel; a field that was made up here would prove nothing."""
    psutil = pytest.importorskip("psutil", reason="needs psutil")
    source = Path(psutil.__file__).with_name("_ntuples.py")
    if not source.exists():
        pytest.skip("needs psutil 7.2, which has the shapes of all platforms in one file")
    package, flags = ModuleType("shapes"), ModuleType("shapes._common")
    package.__path__ = []
    for name in ("AIX", "BSD", "FREEBSD", "LINUX", "MACOS", "SUNOS", "WINDOWS"):
        setattr(flags, name, name == PLATFORMS[platform])
    spec = spec_from_file_location("shapes._ntuples", source)
    assert spec is not None
    assert spec.loader is not None
    theirs = module_from_spec(spec)
    before = dict(sys.modules)
    try:
        sys.modules |= {"shapes": package, "shapes._common": flags}
        spec.loader.exec_module(theirs)
    finally:
        sys.modules.pop("shapes", None)
        sys.modules.pop("shapes._common", None)

    assert before.keys() == sys.modules.keys()
    for shape in SHAPES[platform]:
        assert getattr(theirs, shape.__name__)._fields == shape._fields


@pytest.mark.parametrize("platform", PLATFORMS)
def test_answers_become_metrics_with_their_values_and_units(platform: str, on: Any, time: list[float]) -> None:
    one = on(platform)
    time[0] += 10.0
    found = seen(one.read())
    faults = {key: found.pop(key) for key in list(found) if key[0] == "process.paging.faults" and key[1]}

    assert found == RIGHT[platform]
    assert (platform == "darwin") == (set(faults) == {("process.paging.faults", kind) for kind in ("minor", "major")})
    for name, _ in RIGHT[platform]:
        assert UNITS[name] == names.INSTRUMENTS[name][1], name
    assert [] == one.said


@pytest.mark.parametrize("platform", PLATFORMS)
def test_what_a_platform_does_not_have_is_absent_without_a_word(platform: str, on: Any, time: list[float]) -> None:
    """macOS knows no disk I/O of a process; neither is there what only Linux has."""
    one = on(platform)
    time[0] += 10.0
    have = {name for name, _ in seen(one.read())}

    missing = {
        "darwin": {"process.disk.io", "process.windows.handle.count"},
        "win32": {"process.unix.file_descriptor.count"},
    }
    assert set() == have & missing[platform]
    assert ({"process.disk.io"} if platform == "darwin" else set()) == set(one.absent)
    assert [] == one.said


def test_load_of_windows_is_absent_until_it_is_measured(on: Any, time: list[float]) -> None:
    """The first answers of psutil's emulation are 0.0, whatever the machine does."""
    answers = [(0.0, 0.0, 0.0)] * 3 + [(0.42, 0.03, 0.01)]
    one = on("win32", **answering({"getloadavg": answers}))
    loads = []
    for _ in range(4):
        time[0] += 2.5
        loads.append(one.read().values.get(names.LOAD))

    assert [None, None, 0.42, 0.42] == loads
    assert [] == one.said


@pytest.mark.parametrize("platform", PLATFORMS)
def test_cpu_of_a_process_is_of_all_cpus_where_nobody_knows_an_affinity(
    platform: str, on: Any, time: list[float]
) -> None:
    one = on(platform)
    before = one.read().values[names.CPU_TIME[0]]
    while one.read().values[names.CPU_TIME[0]] < before + 0.04:
        sum(range(10_000))
    time[0] += 1.0
    values = one.read().values

    assert 8.0 == one.usable
    assert values[names.CORES] > 0.0
    assert sum(values[key] for key in names.CPU_SHARE) == pytest.approx(values[names.CORES] / 8, abs=1e-5)


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize(
    "function", ["memory_info", "num_threads", "num_ctx_switches", "virtual_memory", "getloadavg", "net_io_counters"]
)
def test_one_answer_that_is_denied_takes_its_own_metrics_only(
    function: str, platform: str, on: Any, time: list[float]
) -> None:
    gone = {
        "memory_info": {"process.memory.usage", "process.memory.virtual", "process.memory.utilization",
                        "otel_perf.process.memory.unique", "process.paging.faults"},
        "num_threads": {"process.thread.count"},
        "num_ctx_switches": {"process.context_switches"},
        "virtual_memory": {"system.memory.usage", "system.memory.utilization", "process.memory.utilization"},
        "getloadavg": {"system.cpu.load_average.1m"},
        "net_io_counters": {name for name in UNITS if name.startswith("system.network.")},
    }[function]  # fmt: skip

    def denied(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Access is denied")

    one = on(platform, **{function: denied})
    time[0] += 10.0
    found = {key for key in seen(one.read()) if not (key[0] == "process.paging.faults" and key[1])}
    for _ in range(2):
        one.read()

    assert {key for key in RIGHT[platform] if key[0] not in gone} == found
    assert 1 == len(one.said), one.said
    assert "Access is denied" in one.said[0][1]
