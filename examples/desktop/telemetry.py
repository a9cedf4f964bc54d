"""Real readings of this process and machine: what the application sends through its transport."""

from __future__ import annotations

import gc
import os
import shutil
import sys
import threading
import time
from typing import TYPE_CHECKING, NotRequired, TypedDict

import otel_perf as perf

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Reading(TypedDict):
    """One reading; what this system cannot tell is absent, never zero."""

    sequence: int
    time_ns: int
    cpu_s: float
    threads: int
    gc_pending: int
    disk_bytes: int
    disk_free: int
    memory: NotRequired[int]
    open_files: NotRequired[int]
    load: NotRequired[float]


@perf.profile
def readings(count: int, folder: Path) -> Iterator[Reading]:
    """Yield *count* readings, each taken at the moment it is asked for; *folder* is on the disk to watch."""
    for sequence in range(count):
        yield take(sequence, folder)


@perf.profile
def take(sequence: int, folder: Path) -> Reading:
    """Return a reading of this moment."""
    disk = shutil.disk_usage(folder)
    reading: Reading = {
        "sequence": sequence,
        "time_ns": time.time_ns(),
        "cpu_s": time.process_time(),
        "threads": threading.active_count(),
        "gc_pending": gc.get_count()[0],
        "disk_bytes": disk.total,
        "disk_free": disk.free,
    }
    if sys.platform == "linux":
        with open("/proc/self/statm", "rb") as file:
            reading["memory"] = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        reading["open_files"] = len(os.listdir("/proc/self/fd")) - 1  # without the one that lists them
    if hasattr(os, "getloadavg"):
        reading["load"] = os.getloadavg()[0]
    return reading
