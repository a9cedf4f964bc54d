"""Which metrics are sent: of the machine, which is the same for every process on it, and the interpreter only a few.

Imports nothing. The run folder has them all.
"""

from __future__ import annotations

SYSTEM, INTERPRETER = "system.", "cpython."
FEW = frozenset(("system.cpu.load_average.1m", "system.memory.utilization", "cpython.gc.collections"))
OURS = "otel_perf.system."  # the machine as a whole: one series
SAMPLED = (  # read by us at an interval, which OpenTelemetry calls observable
    "process.",
    INTERPRETER,
    SYSTEM,
    OURS,
    "otel_perf.process.",
    "otel_perf.gc.",
    "otel_perf.self.",
)


def takes(name: str, system: str) -> bool:
    """Say whether the metric *name* is sent.

    Args:
        name: of the instrument.
        system: ``few``, ``all`` or ``none`` of the machine's; with ``none`` still a few of the interpreter's.
    """
    if name.startswith(INTERPRETER):
        return system == "all" or name in FEW
    if name.startswith(SYSTEM):
        return system == "all" or (system == "few" and name in FEW)
    return system != "none" or not name.startswith(OURS)


def is_sampled(name: str) -> bool:
    """Say whether the metric *name* is observable: read at an interval, not counted where something happens."""
    return name.startswith(SAMPLED)
