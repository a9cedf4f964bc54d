"""What percentages are percentages of: the CPUs and the memory that this process may use.

Imports only: os, amounts, cgroup, names. facts() goes with each record as attributes of its resource, so that whoever
shows a share can say of what it is.
"""

from __future__ import annotations

from otel_perf.amounts import three
from otel_perf.system import calls

from . import cgroup
from .names import ALL_CPUS, CPU_SHARE, MEMORY_SHARE, SWAP_SHARE, SYSTEM_MEMORY_SHARE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

CPUS = "otel_perf.cpu.count"  # that the machine has
USABLE = "otel_perf.cpu.usable"  # that this process may use, a fraction where the container's quota is one
CPU_LIMIT = "otel_perf.container.cpu.limit"
MEMORY = "otel_perf.memory.total"  # bytes that the machine has
MEMORY_LIMIT = "otel_perf.container.memory.limit"  # bytes
_SHARES = {
    CPU_SHARE[0][0]: "of the CPUs that it may use",
    MEMORY_SHARE[0]: "of the memory that it may use",
    ALL_CPUS[0]: "of all CPUs of the machine",
    "system.cpu.utilization": "of one CPU",
    SYSTEM_MEMORY_SHARE[0][0]: "of the machine's memory",
    SWAP_SHARE[0][0]: "of the machine's swap",
}


def facts(found: cgroup.Limits | None = None) -> dict[str, Any]:
    """Return that as resource attributes; what is not known, and a limit that there is not, is absent.

    Args:
        found: the container's limits, by default those of this process now.
    """
    found = cgroup.limits() if found is None else found
    memory = _memory()
    known: dict[str, Any] = {
        CPUS: calls.cpu_count(),
        USABLE: cgroup.usable_cpus(found),
        CPU_LIMIT: found.cpus,
        MEMORY: memory,
        MEMORY_LIMIT: found.memory if memory is None or (found.memory or 0) < memory else None,
    }
    return {name: value for name, value in known.items() if value is not None}


def whole_of(instrument: str, known: Mapping[str, Any]) -> str:
    """Return what a share is of, ``of the container's limit``; empty if *instrument* is no share.

    Args:
        instrument: its name.
        known: facts(), or a resource that has them; without them the answer is a general one.
    """
    if instrument == MEMORY_SHARE[0] and (_is_number(known, MEMORY_LIMIT) or _is_number(known, MEMORY)):
        return "of the container's limit" if _is_number(known, MEMORY_LIMIT) else "of the machine's memory"
    if instrument == CPU_SHARE[0][0] and _is_number(known, USABLE):
        usable = known[USABLE]
        whose = "the container's " if known.get(CPU_LIMIT) == usable else ""
        return f"of {whose}{cpus_text(usable)}"
    return _SHARES.get(instrument, "")


def memory_of(known: Mapping[str, Any]) -> float | None:
    """Return the bytes that ``process.memory.utilization`` is a share of, None if unknown."""
    for name in (MEMORY_LIMIT, MEMORY):
        if _is_number(known, name):
            return float(known[name])
    return None


def cpus_text(number: float) -> str:
    """Return ``1 CPU``, ``0.5 CPUs``, ``64 CPUs``."""
    return f"{three(number) if number < 1000 else int(number)} CPU{'' if number == 1 else 's'}"


def _is_number(known: Mapping[str, Any], name: str) -> bool:
    """Say whether there is a fact; a resource may have been written by somebody else."""
    value = known.get(name)
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 2**63


def _memory() -> int | None:
    try:
        found = calls.sysconf("SC_PAGE_SIZE") * calls.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # not every system says so
        return None
    return found if found > 0 else None
