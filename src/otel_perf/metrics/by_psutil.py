"""The same once a second through psutil: macOS, Windows, and wherever it is asked for.

Imports psutil, so that only the worker loads it. Each function is looked up when it is called: one that this system
does not have, that is not allowed or gives nothing takes its own metrics away and no others, and what psutil fills with
a number that nobody measured is left out. The rates are not those of psutil, of which each reading shortens the
interval of another one.
"""

from __future__ import annotations

import sys

import psutil

from otel_perf import clock
from otel_perf.system import calls

from .names import (
    ALL_FAULTS,
    ALL_SWITCHES,
    CPU_STATES,
    DISK,
    DISK_NAMES,
    FILES,
    HANDLES,
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
    from typing import Any

    from .names import Values

_FILES, _COUNT = (HANDLES, "num_handles") if sys.platform == "win32" else (FILES, "num_fds")
_COUNTS_BOTH = sys.platform in ("darwin", "win32")  # as voluntary; its involuntary is always 0
_NO_DROPOUT = sys.platform == "darwin" or "bsd" in sys.platform  # it is always 0
LOAD_AFTER = 6.0  # seconds: on Windows psutil computes the load every five, and says 0.0 before
_DISK_FIELDS = ("read_bytes", "write_bytes", "read_count", "write_count", "read_time", "write_time")
_NETWORK_FIELDS = (
    "bytes_sent", "bytes_recv", "packets_sent", "packets_recv", "errout", "errin",
    "" if _NO_DROPOUT else "dropout", "dropin",
)  # fmt: skip


class ByPsutil(Sampler):
    """Reads through psutil."""

    name = "psutil"
    quiet = frozenset(("process.disk.io",)) if sys.platform == "darwin" else frozenset()

    def __init__(self, created: float, complain: Callable[[str, str], object]) -> None:
        super().__init__(created, complain)
        self._process = psutil.Process()
        self._files_due = Seldom()
        self._open_files = 0
        self._disks = Devices(DISK_NAMES, ("read", "write"), sys.platform == "linux")
        self._networks = Devices(NETWORK_NAMES, ("transmit", "receive"))
        self._parts = [
            (("process.memory.usage", "process.memory.virtual", MEMORY_SHARE[0]), self._read_memory),
            ((THREADS[0],), self._read_threads),
            (("process.context_switches",), self._read_switches),
            (("process.disk.io",), self._read_io),
            ((_FILES[0],), self._count_files),
        ]
        self._machine = [
            (("system.cpu.utilization", "otel_perf.system.cpu.utilization"), self._read_cpus),
            ((LOAD[0],), self._read_load),
            (("system.memory.usage", "system.memory.utilization"), self._read_system_memory),
            (("system.swap.usage", "system.swap.utilization"), self._read_swap),
            (DISK_NAMES, self._read_disks),
            (NETWORK_NAMES, self._read_networks),
        ]
        self._load_due = 0.0
        self._begin_load()
        self._read_cpus_first()

    def read(self) -> Reading:
        """Look once."""
        if calls.getpid() != self._process.pid:  # forked
            self._process = psutil.Process()
        return super().read()  # not in oneshot(): that fails as a whole where one function was replaced

    # --- the process -------------------------------------------------------------------------------------------------

    def _read_memory(self, values: Values) -> None:
        found = self._process.memory_info()
        values[MEMORY], values[VIRTUAL] = found.rss, found.vms
        faults = getattr(found, "num_page_faults", None)  # of Windows, which has no getrusage()
        if faults is not None:
            values[ALL_FAULTS] = faults

    def _read_threads(self, values: Values) -> None:
        values[THREADS] = self._process.num_threads()

    def _read_switches(self, values: Values) -> None:
        found = self._process.num_ctx_switches()
        if _COUNTS_BOTH:
            values[ALL_SWITCHES] = found.voluntary
        else:
            values[SWITCHES[0]], values[SWITCHES[1]] = found.voluntary, found.involuntary

    def _read_io(self, values: Values) -> None:
        found = self._process.io_counters()
        values[DISK[0]], values[DISK[1]] = found.read_bytes, found.write_bytes

    def _count_files(self, values: Values) -> None:
        moment = clock.now()
        if self._files_due.due(moment, self._open_files, 0.0):
            begun = thread_time()
            self._open_files = values[_FILES] = getattr(self._process, _COUNT)()
            self._files_due.took(moment, thread_time() - begun, self._open_files)

    def _unique(self) -> int:
        return int(self._process.memory_full_info().uss)

    # --- the machine -------------------------------------------------------------------------------------------------

    def _read_cpus(self, values: Values) -> None:
        rows: list[Sequence[float]] = []
        totals: list[float] = []
        states: tuple[str, ...] = CPU_STATES
        for times in psutil.cpu_times(percpu=True):
            states = tuple([state for state in CPU_STATES if hasattr(times, state)])
            seconds = [getattr(times, state) for state in states]
            rows.append([*seconds, getattr(times, "iowait", 0.0)])
            totals.append(sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0))
        self._cpus.add(values, states, rows, totals)

    def _begin_load(self) -> None:
        """Have psutil begin to measure the load where the system does not: its first call does."""
        if sys.platform != "win32":
            return
        self._load_due = clock.now() + LOAD_AFTER
        try:
            psutil.getloadavg()
        except Exception:  # noqa: BLE001  # the first reading says so
            self._load_due = 0.0

    def _read_load(self, values: Values) -> None:
        found = psutil.getloadavg()[0]
        if clock.now() >= self._load_due:
            values[LOAD] = found

    def _read_system_memory(self, values: Values) -> None:
        found = psutil.virtual_memory()
        self.memory = found.total
        for at, key in enumerate(SYSTEM_MEMORY):
            amount = getattr(found, key[1][0][1], None)
            if amount is not None:  # only Linux knows what is cached
                values[key] = amount
                values[SYSTEM_MEMORY_SHARE[at]] = round(amount / found.total, 6)

    def _read_swap(self, values: Values) -> None:
        found = psutil.swap_memory()
        for at, amount in enumerate((found.used, found.free) if found.total else ()):  # without swap: nothing to say
            values[SWAP[at]] = amount
            values[SWAP_SHARE[at]] = round(amount / found.total, 6)

    def _read_disks(self, values: Values) -> None:
        _add_devices(values, self._disks, "disk_io_counters", psutil.disk_io_counters(perdisk=True), _DISK_FIELDS)

    def _read_networks(self, values: Values) -> None:
        _add_devices(values, self._networks, "net_io_counters", psutil.net_io_counters(pernic=True), _NETWORK_FIELDS)


def _add_devices(values: Values, devices: Devices, name: str, found: Any, fields: tuple[str, ...]) -> None:
    if found is None:
        raise ValueError(f"psutil.{name}() gives nothing")
    for device, counters in found.items():
        numbers = [getattr(counters, field, None) for field in fields]
        if numbers[2] or numbers[3] or numbers[0] or numbers[1]:
            for key, field, number in zip(devices.use(device.encode()), fields, numbers, strict=False):
                if number is not None:
                    values[key] = number / 1000 if field.endswith("_time") else number
