"""What is measured, and how it is called: one table of kinds and units, and the keys of all values.

Imports nothing. Each key is there once, so that it is found by what it is and not by all that is in it: what a second
costs is mostly memory that is no longer in the CPU's caches.

Source: OpenTelemetry semantic conventions for process metrics. For ``system.*`` and ``cpython.gc.*`` the names, units
and attributes that opentelemetry-instrumentation-system-metrics gives (a test compares them) with its units as they
are: its ``system.swap.usage`` is in bytes and says "pages".
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Attributes = tuple[tuple[str, Any], ...]
    Values = dict["Key", float]

INSTRUMENTS: dict[str, tuple[str, str, bool]] = {  # kind, unit, whether it is monotonic
    "process.cpu.time": ("sum", "s", True),
    "process.cpu.utilization": ("gauge", "1", False),  # a share of the CPUs that the process may use
    "otel_perf.process.cpu.usage": ("gauge", "{cpu}", False),  # the same in cores, whatever the process may use
    "process.memory.usage": ("updown", "By", False),
    "process.memory.virtual": ("updown", "By", False),
    "process.memory.utilization": ("gauge", "1", False),  # of the container's limit, else of the machine's memory
    "otel_perf.process.memory.unique": ("updown", "By", False),  # what would be free if the process ended
    "process.thread.count": ("updown", "{thread}", False),
    "process.uptime": ("gauge", "s", False),
    "process.unix.file_descriptor.count": ("updown", "{file_descriptor}", False),
    "process.windows.handle.count": ("updown", "{handle}", False),
    "process.context_switches": ("sum", "{context_switch}", True),
    "process.paging.faults": ("sum", "{fault}", True),
    "process.disk.io": ("sum", "By", True),
    "cpython.gc.collections": ("sum", "{collection}", True),
    "cpython.gc.collected_objects": ("sum", "{object}", True),
    "cpython.gc.uncollectable_objects": ("sum", "{object}", True),
    "otel_perf.gc.time": ("sum", "s", True),  # that the collector stopped the program
    "otel_perf.gc.longest_pause": ("gauge", "s", False),  # since the reading before
    "otel_perf.system.cpu.utilization": ("gauge", "1", False),  # a share of all CPUs of the machine
    "system.cpu.utilization": ("gauge", "1", False),
    "system.cpu.load_average.1m": ("gauge", "{thread}", False),  # as the collector's hostmetrics receiver calls it
    "system.memory.usage": ("gauge", "By", False),
    "system.memory.utilization": ("gauge", "1", False),
    "system.swap.usage": ("gauge", "pages", False),
    "system.swap.utilization": ("gauge", "1", False),
    "system.disk.io": ("sum", "By", True),
    "system.disk.operations": ("sum", "operations", True),
    "system.disk.time": ("sum", "s", True),
    "system.network.io": ("sum", "By", True),
    "system.network.packets": ("sum", "packets", True),
    "system.network.errors": ("sum", "errors", True),
    "system.network.dropped_packets": ("sum", "packets", True),
    "otel_perf.self.tick.lateness": ("gauge", "s", False),  # of this reading
    "otel_perf.self.tick.late": ("sum", "{tick}", True),
    "otel_perf.self.clock.steps": ("sum", "{step}", True),
}

WRITTEN: dict[str, tuple[str, str, bool]] = {  # the same of what other rooms write
    "otel_perf.startup.duration": ("gauge", "s", False),
    "otel_perf.startup.phase.duration": ("gauge", "s", False),
    "otel_perf.function.duration": ("exponentialHistogram", "s", False),
    "otel_perf.profile.calls": ("sum", "{call}", True),
    "otel_perf.profile.time": ("sum", "s", True),
    "otel_perf.profile.self_time": ("sum", "s", True),
    "otel_perf.budget.value": ("gauge", "", False),  # in the unit of what it judges
    "otel_perf.budget.limit": ("gauge", "", False),
    "otel_perf.budget.state": ("gauge", "{state}", False),
    "otel_perf.score": ("gauge", "{score}", False),  # of unit 1 Prometheus would call it a ratio
    "otel_perf.alerts": ("sum", "{alert}", True),
    "otel_perf.self.dropped": ("sum", "{record}", True),
    "otel_perf.self.removed": ("sum", "{record}", True),
    "otel_perf.self.cpu_time": ("sum", "s", True),
    "otel_perf.self.init_time": ("gauge", "s", False),
    "otel_perf.self.memory": ("gauge", "By", False),
    "otel_perf.self.overflow": ("sum", "{measurement}", True),
    "otel_perf.self.refused": ("sum", "{measurement}", True),
}

JUDGED = (  # those of WRITTEN that a budget can be of while the program runs
    "otel_perf.startup.duration",
    "otel_perf.startup.phase.duration",
    "otel_perf.function.duration",
    "otel_perf.self.dropped",
)

_MODES = ("user", "system")
CPU_STATES = ("idle", "user", "system", "irq")
_STATES = ("used", "free", "cached")


class Key(tuple[str, "Attributes"]):
    """Name and attributes of a series; key() gives it."""

    __slots__ = ()
    __hash__ = object.__hash__
    __eq__ = object.__eq__
    __ne__ = object.__ne__


_known: dict[tuple[str, Attributes], Key] = {}


def key(name: str, attributes: Attributes = ()) -> Key:
    """Return the key of a series, the same one each time."""
    plain = name, attributes
    return _known.get(plain) or _known.setdefault(plain, Key(plain))


def found(name: str, attributes: Attributes = ()) -> Key | None:
    """Return the key of a series that is known, else None."""
    return _known.get((name, attributes))


def is_whole(name: str) -> bool:
    """Return whether a metric counts in whole numbers."""
    return INSTRUMENTS[name][1] not in ("s", "1", "{cpu}") and name != LOAD[0]


def keys(name: str, attribute: str, values: tuple[str, ...]) -> tuple[Key, ...]:
    """Return the keys of *name* with each of *values*."""
    return tuple([key(name, ((attribute, value),)) for value in values])


CPU_TIME = keys("process.cpu.time", "cpu.mode", _MODES)
CPU_SHARE = keys("process.cpu.utilization", "cpu.mode", _MODES)
CORES = key("otel_perf.process.cpu.usage")
MEMORY = key("process.memory.usage")
VIRTUAL = key("process.memory.virtual")
MEMORY_SHARE = key("process.memory.utilization")
UNIQUE = key("otel_perf.process.memory.unique")
THREADS = key("process.thread.count")
UPTIME = key("process.uptime")
FILES = key("process.unix.file_descriptor.count")
HANDLES = key("process.windows.handle.count")
SWITCHES = keys("process.context_switches", "process.context_switch.type", ("voluntary", "involuntary"))
ALL_SWITCHES = key("process.context_switches")  # of both types, where the system does not tell them apart
FAULTS = keys("process.paging.faults", "system.paging.fault.type", ("minor", "major"))
ALL_FAULTS = key("process.paging.faults")
DISK = keys("process.disk.io", "disk.io.direction", ("read", "write"))

ALL_CPUS = key("otel_perf.system.cpu.utilization")
LOAD = key("system.cpu.load_average.1m")
SYSTEM_MEMORY = keys("system.memory.usage", "state", _STATES)
SYSTEM_MEMORY_SHARE = keys("system.memory.utilization", "state", _STATES)
SWAP = keys("system.swap.usage", "state", _STATES[:2])
SWAP_SHARE = keys("system.swap.utilization", "state", _STATES[:2])
DISK_NAMES = ("system.disk.io", "system.disk.operations", "system.disk.time")
NETWORK_NAMES = (
    "system.network.io",
    "system.network.packets",
    "system.network.errors",
    "system.network.dropped_packets",
)

GENERATIONS: tuple[Attributes, ...] = tuple(
    [(("cpython.gc.generation", number), ("generation", str(number))) for number in range(3)]
)
COLLECTIONS = tuple([key("cpython.gc.collections", each) for each in GENERATIONS])
COLLECTED = tuple([key("cpython.gc.collected_objects", each) for each in GENERATIONS])
UNCOLLECTABLE = tuple([key("cpython.gc.uncollectable_objects", each) for each in GENERATIONS])
PAUSES = key("otel_perf.gc.time")
LONGEST_PAUSE = key("otel_perf.gc.longest_pause")

LATENESS = key("otel_perf.self.tick.lateness")
LATE = key("otel_perf.self.tick.late")
STEPS = key("otel_perf.self.clock.steps")

HISTORY = frozenset(  # of these a ring is kept: what is drawn, and what has a trend
    (
        *CPU_SHARE, CORES, MEMORY, VIRTUAL, UNIQUE, THREADS, FILES, HANDLES, ALL_CPUS, LOAD, LATENESS,
        *SYSTEM_MEMORY_SHARE,
    )
)  # fmt: skip


def of_cpu(number: int, states: tuple[str, ...]) -> tuple[Key, ...]:
    """Return the keys of the CPU *number*, counted from 1."""
    return tuple([key("system.cpu.utilization", (("state", state), ("cpu", number))) for state in states])


def of_device(metrics: tuple[str, ...], device: str, directions: tuple[str, str]) -> tuple[Key, ...]:
    """Return the keys of *device* for both *directions* of each of *metrics*."""
    return tuple([key(name, (("device", device), ("direction", each))) for name in metrics for each in directions])
