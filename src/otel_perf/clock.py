"""The only reader of time.

Durations are float seconds of the monotonic clock: its resolution is 0.1 ns after ten days of uptime, and float
arithmetic is cheaper than integers above 2**30 on the path of a call. Wall time is read when a trace begins and kept as
one offset for the whole trace, so that a step of the wall clock cannot bend a span.

Imports only: sys, time.
"""

from __future__ import annotations

import sys
from time import perf_counter as now
from time import time_ns as wall_ns

try:
    from time import CLOCK_BOOTTIME, clock_gettime

    def since_boot() -> float:
        """Return seconds of a clock that no one can step and that goes on while the machine sleeps."""
        return clock_gettime(CLOCK_BOOTTIME)
except ImportError:  # not Linux: nobody says how long the machine slept
    since_boot = now

SLOWER = 0.9  # of real time, while the times of points are ahead of a wall clock that was set back

__all__ = ["SLOWER", "keep_ours", "now", "since_boot", "together", "unix_ns", "wall_ns", "wall_offset"]


def wall_offset() -> int:
    """Return the wall clock minus the monotonic clock, in nanoseconds: add it to a monotonic time to date it."""
    best = middle = 0.0
    wall = 0
    for attempt in range(4):
        before = now()
        read = wall_ns()
        took = now() - before
        if not attempt or took < best:
            best, wall, middle = took, read, before + took / 2
        if took < 5e-6:  # else another thread or process ran in between, and the two clocks were not read together
            break
    return wall - int(middle * 1e9)


def together() -> tuple[float, float, int]:
    """Return now(), since_boot() and wall_ns() of one moment: read again where something ran in between."""
    for _ in range(4):
        moment, boot, wall = now(), since_boot(), wall_ns()
        if now() - moment < 0.005:
            break
    return moment, boot, wall


def unix_ns(at: float, offset: int) -> int:
    """Return the moment *at* (monotonic seconds) as nanoseconds since 1970, by the *offset* of its trace."""
    return int(at * 1e9) + offset


def keep_ours() -> None:
    """Have freezegun, which stops the clocks of all modules that are loaded, leave ours alone."""
    configure = getattr(sys.modules.get("freezegun.config"), "configure", None)
    if configure is not None:
        configure(extend_ignore_list=["otel_perf"])
