"""One look at the process and the machine: whoever wants a value of a second takes it from the same Reading.

Imports only: gc, os, sys, time, clock, pauses, cgroup, names, wholes; proc.py or by_psutil.py is loaded by choose().
What cannot be read is absent, never zero, and costs nothing else: one part that fails is named once, all others go on.
Reading order: Reading, Sampler.read(), choose().
"""

from __future__ import annotations

import gc
import os
import sys
import time

from otel_perf import clock, pauses
from otel_perf.system import calls

from . import cgroup, wholes
from .names import (
    ALL_CPUS,
    COLLECTED,
    COLLECTIONS,
    CORES,
    CPU_SHARE,
    CPU_TIME,
    FAULTS,
    LONGEST_PAUSE,
    MEMORY,
    MEMORY_SHARE,
    PAUSES,
    UNCOLLECTABLE,
    UNIQUE,
    UPTIME,
    of_cpu,
    of_device,
)  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from .names import Key, Values

    Part = tuple[tuple[str, ...], Callable[[Values], None]]

NAMES = ("auto", "proc", "psutil")  # of OTEL_PERF_SAMPLER
SHARE = 10_000  # what costs much is read so seldom that it takes at most one part in this many of the time
RARELY = 30.0  # seconds that are between two such readings at least
UNIQUE_COST = 18e-3 / 2**30  # seconds a byte: to find out how much memory is the process's alone
UNIQUE_BASE = 5e-4  # seconds that this takes of a small process
LIMITS_EVERY = 30.0  # seconds between two looks at what the process may use
SHORTEST = 0.05  # seconds from which on a rate is one, and not the grain of a clock
MAX_CPUS = 16  # a machine with more CPUs shows their sum only
MAX_DEVICES = 16  # disks, and as many networks
LOOK_EVERY = 10  # readings: how often new ones are looked for

thread_time = getattr(time, "thread_time", time.perf_counter)


class Reading:
    """What was measured at one moment.

    Attributes:
        time: nanoseconds since 1970, and
        moment: monotonic seconds, at which it was.
        values: by name and attributes; what could not be read is absent.
        elapsed: seconds since the reading before, also those in which the machine slept; 0 for the first.
        late: seconds after it was due.
        gap: the process did not run for a part of that time (stopped, suspended): nothing is to be judged over it.
        whole: the machine was looked at too, not only the process.
    """

    __slots__ = ("elapsed", "gap", "late", "moment", "time", "values", "whole")

    def __init__(self, time_ns: int, moment: float, values: Values, whole: bool = True) -> None:
        self.time = time_ns
        self.moment = moment
        self.values = values
        self.elapsed = self.late = 0.0
        self.gap = False
        self.whole = whole


class Seldom:
    """When to read what costs the more, the larger something is."""

    __slots__ = ("_cost", "_since", "_size")

    def __init__(self) -> None:
        self._since = clock.now()
        self._cost = self._size = 0.0

    def due(self, moment: float, size: float, guess: float) -> bool:
        """Return whether it may be read at *moment*; its cost is *guess* (seconds) as long as it never was."""
        past = moment - self._since
        if not self._size:
            return past >= guess * SHARE
        return past >= RARELY and past >= self._cost * max(1.0, size / self._size) * SHARE

    def took(self, moment: float, seconds: float, size: float) -> None:
        """Note that it was read."""
        self._since, self._cost, self._size = moment, seconds, max(size, 1.0)


class Sampler:
    """Reads what Python itself knows: CPU time, page faults, uptime, the collector. Subclasses know the system.

    Attributes:
        name: ``proc``, ``psutil``, or ``python`` where there is nothing better.
        created: monotonic seconds of the process's creation.
        absent: names of metrics that the last reading could not have, each with the reason.
        limits: of the container.
        usable: CPUs that the process may use, a fraction where the container's quota is one.
        memory: bytes that the machine has, 0 while unknown.
        machine_every: readings of the process for one of the machine, which costs as much.
    """

    name = "python"
    quiet: frozenset[str] = frozenset()  # what this system is known not to tell: no complaint about it

    def __init__(self, created: float, complain: Callable[[str, str], object]) -> None:
        """Begin: rates of the first reading are over the time since now.

        Args:
            created: monotonic seconds of the process's creation; of the fork, in a child.
            complain: takes a cause and a sentence; called once for each part that cannot be read.
        """
        self.created = created
        self.absent: dict[str, str] = {}
        self.limits = cgroup.Limits()
        self._groups = cgroup.groups()
        self.usable = 1.0
        self.memory = 0
        self.machine_every = 1
        self._complain = complain
        self._said: set[str] = set()
        self._parts: list[Part] = []  # of the process
        self._machine: list[Part] = []  # of the machine
        self._count = 0
        self._limits_due = 0.0
        self._booted = clock.since_boot() - (clock.now() - created)  # by a clock that goes on while the machine sleeps
        self._get_usage = _usage_reader()
        self._usage: Any = None
        self._times = 0.0, 0.0, 0.0  # moment, and CPU seconds by mode
        self._cpus = _Cpus()
        self._unique_due = Seldom()
        pauses.begin("metrics")
        pauses.look()
        self._pauses, self._spent = pauses.total(), -1.0
        self._collector: Values = {}
        self._look_at_cpu({})

    def close(self) -> None:
        """Give back what is held; nothing is read any more."""
        pauses.end("metrics")
        self.let_go()

    def let_go(self) -> None:
        """Close what is open, as in a child of the process that is read."""

    def facts(self) -> dict[str, Any]:
        """Return what percentages are percentages of now, as resource attributes."""
        return wholes.facts(self.limits)

    def probe(self) -> dict[str, str]:
        """Try everything, also what is read seldom; return what cannot be read, each with the reason."""
        self.read()
        try:
            self._unique()
        except Exception as error:  # noqa: BLE001  # as in read()
            self._fails((UNIQUE[0],), error)
        return dict(self.absent)

    def read(self) -> Reading:
        """Look once."""
        values: Values = {}
        self._look_at_limits(clock.now())
        time_ns = clock.wall_ns()
        moment = self._look_at_cpu(values)
        values[UPTIME] = round(max(0.0, clock.since_boot() - self._booted), 3)
        whole = self._count % self.machine_every == 0 or self._count == 1  # the first is too early for a rate of CPUs
        self._count += 1
        for names, part in [*self._parts, *self._machine] if whole else self._parts:
            try:
                part(values)
            except Exception as error:  # noqa: BLE001  # whatever the system, or what stands in its place, does
                self._fails(names, error)
            else:
                if self.absent:
                    for name in names:
                        self.absent.pop(name, None)
        self._look_at_memory(moment, values)
        self._look_at_collector(values)
        return Reading(time_ns, moment, values, whole)

    def _fails(self, names: tuple[str, ...], error: Exception) -> None:
        why = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        for name in names:
            self.absent[name] = why
        if names[0] not in self._said and not self.quiet.issuperset(names):
            self._said.add(names[0])
            listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
            are = "is" if len(names) == 1 else "are"
            self._complain(f"metric {names[0]}", f"{listed} cannot be read and {are} absent ({why})")

    # --- what Python knows -------------------------------------------------------------------------------------------

    def _look_at_limits(self, moment: float) -> None:
        if moment >= self._limits_due:
            self._limits_due = moment + LIMITS_EVERY
            self.limits = cgroup.limits(self._groups)
            self.usable = cgroup.usable_cpus(self.limits)

    def _look_at_cpu(self, values: Values) -> float:
        """Add CPU time and its rates, and return the moment that it is of."""
        if self._get_usage is None:
            moment, times = clock.now(), calls.times()
            user, system = times.user, times.system
        else:
            moment, usage = clock.now(), self._get_usage()  # neither gives the interpreter's lock to another thread
            user, system = usage.ru_utime, usage.ru_stime
            self._usage = usage
            values[FAULTS[0]] = usage.ru_minflt
            values[FAULTS[1]] = usage.ru_majflt
        values[CPU_TIME[0]], values[CPU_TIME[1]] = round(user, 6), round(system, 6)
        before, user_before, system_before = self._times
        past = moment - before
        if past >= SHORTEST:
            self._times = moment, user, system
            in_user, in_system = max(0.0, user - user_before) / past, max(0.0, system - system_before) / past
            if before:
                values[CORES] = round(in_user + in_system, 6)
                values[CPU_SHARE[0]] = round(in_user / self.usable, 6)
                values[CPU_SHARE[1]] = round(in_system / self.usable, 6)
        return moment

    def _look_at_collector(self, values: Values) -> None:
        pauses.look()
        spent = pauses.total()
        if spent != self._spent:  # else nothing was collected
            self._spent = spent
            for number, one in enumerate(gc.get_stats()[: len(COLLECTIONS)]):
                self._collector[COLLECTIONS[number]] = one["collections"]
                self._collector[COLLECTED[number]] = one["collected"]
                self._collector[UNCOLLECTABLE[number]] = one["uncollectable"]
            self._collector[PAUSES] = round(spent - self._pauses, 6)
        values.update(self._collector)
        values[LONGEST_PAUSE] = round(pauses.longest(), 6)

    def _read_cpus_first(self) -> None:
        """Take the CPUs' times, so that the first reading has their rates."""
        try:
            self._read_cpus({})
        except Exception:  # noqa: BLE001  # that reading says so
            return

    def _read_cpus(self, values: Values) -> None:
        """Add the shares of the CPUs' times."""
        raise NotImplementedError

    # --- what follows from the memory --------------------------------------------------------------------------------

    def _look_at_memory(self, moment: float, values: Values) -> None:
        """Add the share of the memory that is there, and now and then what is the process's alone."""
        resident = values.get(MEMORY)
        if resident is None:
            return
        total = min(filter(None, (self.limits.memory, self.memory)), default=0)
        if total:
            values[MEMORY_SHARE] = round(resident / total, 6)
        if self._unique_due.due(moment, resident, UNIQUE_BASE + resident * UNIQUE_COST):
            begun, name = thread_time(), UNIQUE[0]
            try:
                values[UNIQUE] = self._unique()
                self.absent.pop(name, None)
            except Exception as error:  # noqa: BLE001  # as in read()
                self._fails((name,), error)
            self._unique_due.took(moment, max(UNIQUE_BASE, thread_time() - begun), resident)

    def _unique(self) -> int:
        """Return the bytes of memory that are the process's alone."""
        raise NotImplementedError


class _Cpus:
    """Shares of the time that each CPU of the machine spent in each state, from one look to the next.

    A look that comes too soon has no shares: the CPUs' times have a grain of 10 ms.
    """

    def __init__(self) -> None:
        self._before: tuple[list[Sequence[float]], list[float]] = [], []
        self._moment = 0.0
        self._keys: list[tuple[Key, ...]] = []

    def add(self, values: Values, states: tuple[str, ...], now: list[Sequence[float]], totals: list[float]) -> None:
        """Add what changed.

        Args:
            values: takes the shares.
            states: of which there are values, idle first.
            now: of each CPU its time in each of *states*, and then that in which it waited for a disk.
            totals: of each CPU its time in all.
        """
        moment = clock.now()
        if len(self._before[1]) == len(totals) and moment - self._moment < SHORTEST:
            return
        before, self._before, self._moment = self._before, (now, totals), moment
        if len(before[1]) != len(totals):  # the first look, or a CPU was switched on or off
            self._keys = [of_cpu(number + 1, states) for number in range(len(totals))]
            return
        busy = past = 0.0
        for number, (seconds, old, total, total_before) in enumerate(
            zip(now, before[0], totals, before[1], strict=True)
        ):
            spent = total - total_before
            if spent <= 0.0:
                continue
            past += spent
            busy += spent - (seconds[0] - old[0]) - (seconds[-1] - old[-1])
            if len(totals) <= MAX_CPUS:
                for key, one, other in zip(self._keys[number], seconds, old, strict=False):
                    values[key] = round(min(max((one - other) / spent, 0.0), 1.0), 4)
        if past > 0.0:
            values[ALL_CPUS] = round(min(max(busy / past, 0.0), 1.0), 4)


class Devices:
    """The disks or networks of the machine that are shown: the first ones that were used.

    Attributes:
        used: their keys, by name.
    """

    def __init__(self, metrics: tuple[str, ...], directions: tuple[str, str], whole: bool = False) -> None:
        """Begin.

        Args:
            metrics: names of the metrics of each device.
            directions: of each of them.
            whole: a part of a disk is left out: what it did is in the whole.
        """
        self.used: dict[bytes, tuple[Key, ...]] = {}
        self._metrics = metrics
        self._directions = directions
        self._whole = whole
        self._parts: set[bytes] = set()
        self._looks = 0

    def is_due(self) -> bool:
        """Return whether it is time to look for more of them."""
        self._looks += 1
        return self._looks % LOOK_EVERY == 1

    def use(self, name: bytes) -> tuple[Key, ...]:
        """Return the keys of a device that was used, none if it is not shown."""
        keys = self.used.get(name)
        if keys is not None:
            return keys
        if len(self.used) >= MAX_DEVICES or name in self._parts:
            return ()
        text = name.decode("utf-8", "replace")
        if self._whole and not os.path.exists(f"/sys/block/{text.replace('/', '!')}"):
            if len(self._parts) < 50 * MAX_DEVICES:
                self._parts.add(name)
            return ()
        keys = self.used[name] = of_device(self._metrics, text, self._directions)
        return keys


def _usage_reader() -> Callable[[], Any] | None:
    try:
        from resource import RUSAGE_SELF, getrusage
    except ImportError:  # Windows
        return None
    return lambda: getrusage(RUSAGE_SELF)


def choose(name: str, created: float, complain: Callable[[str, str], object]) -> Sampler:
    """Return a sampler of this process.

    Args:
        name: ``proc``, ``psutil``, or ``auto``: the first of them that works.
        created: as for Sampler, and
        complain: too.
    """
    if name not in NAMES:
        taken = f"OTEL_PERF_SAMPLER: {name!r} is none of {', '.join(NAMES)}; taking auto"
        complain("sampler", taken)
    if name != "psutil" and sys.platform == "linux" and calls.access("/proc/self/stat", calls.R_OK):
        from .proc import Proc

        return Proc(created, complain)
    if name == "proc":
        complain("sampler", "OTEL_PERF_SAMPLER=proc: there is no /proc/self here; taking psutil")
    try:
        from .by_psutil import ByPsutil

        return ByPsutil(created, complain)
    except Exception as error:  # noqa: BLE001  # not installed, or it does not work here
        complain("sampler", f"psutil cannot be used ({type(error).__name__}: {error}); memory and threads are absent")
        return Sampler(created, complain)
