"""Statistics: how fine this machine's clock is, and whether the CPU time of the readings grows evenly."""

from __future__ import annotations

import random
import statistics
import time
from itertools import pairwise
from typing import TYPE_CHECKING

import otel_perf as perf

if TYPE_CHECKING:
    from desktop.core import Core
    from desktop.telemetry import Reading

_READS = 5_000
_RESAMPLES = 100


class Plugin:
    """The slowest plugin to start: it measures the clock and says how sure it is of the result."""

    def __init__(self, core: Core) -> None:
        steps = _clock_steps()
        self._step = statistics.median(steps)
        self._low, self._high = _confidence(steps)
        self._points: list[tuple[float, float]] = []

    def handle(self, reading: Reading, message: bytes) -> None:
        self._points.append((reading["time_ns"] / 1e9, reading["cpu_s"]))

    @perf.profile("trends.finish")
    def finish(self) -> str:
        clock = f"a clock read takes {self._step:.0f} ns (mean {self._low:.0f} to {self._high:.0f})"
        if len({at for at, _ in self._points}) < 2:
            return f"{clock}; too few readings for a trend"
        start = self._points[0][0]
        times = [at - start for at, _ in self._points]
        slope, _ = statistics.linear_regression(times, [cpu for _, cpu in self._points])
        return f"{clock}; {slope:.2f} CPU seconds a second"


@perf.profile("trends.clock_steps")
def _clock_steps() -> list[int]:
    """Return the nanoseconds between consecutive reads of the clock."""
    reads = [time.perf_counter_ns() for _ in range(_READS)]
    return [later - earlier for earlier, later in pairwise(reads)]


@perf.profile("trends.confidence")
def _confidence(values: list[int]) -> tuple[float, float]:
    """Return the 95 % interval of the mean of *values*, by bootstrap (Efron, 1979)."""
    chance = random.Random(1979)
    means = sorted(statistics.fmean(chance.choices(values, k=len(values))) for _ in range(_RESAMPLES))
    return means[round(_RESAMPLES * 0.025)], means[round(_RESAMPLES * 0.975) - 1]
