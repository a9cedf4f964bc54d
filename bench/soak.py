"""``python -m bench.soak [--minutes N]``: long outages of the collector, and whether memory, folder and counts hold.

Two programs in a row, for so many minutes in all, each in a process of its own: one whose collector is away for most of
its time and then back (10 of 40 minutes), and one that records 5,000 spans a second before a dead collector (30 of 40).
Exit status 1 where something that is promised does not hold.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from . import measure
from .reliability import Door, Receiver, cases

MINUTES = 40.0
RATE = 5_000  # spans a second
SLOW = 500  # spans a second during the outage: all of them have to fit into the folder
LEAD = 20.0  # seconds with a collector before the outage
BACK = 60.0  # seconds that it may take to come back: the longest back-off is 32 s, a fifth longer at most
MEMORY = 100 * 2**20  # bytes of resident memory, of the whole process
SHARE = 0.5  # of what would be written fits into the folder: so its limit is reached
SPAN = 640  # bytes of a span's line, about
WAIT = 0.3  # seconds that a lap of the program may take at most, beside those in which other processes have the CPU

PROGRAM = f"""{cases.HEAD}
import select
perf.ready()
{cases.LAPS}
number, rate = 0, int(sys.argv[1])
while not select.select([0], [], [], 0)[0]:
    due = int((time.monotonic() - begun) * rate)
    while number < due:
        for _ in range(10):
            step()
        number += 10
        lap(0.0)
    lap(0.01)
os.write(1, b"%d %.6f\\n" % (number, longest))
told()
"""


class Soak:
    """One program, watched.

    Attributes:
        failures: what did not hold.
        memory: bytes of its resident memory at most, as is size of its folder.
    """

    def __init__(self, folder: Path, rate: int, **variables: str) -> None:
        self.folder = folder
        self.failures: list[str] = []
        self.memory = self.size = 0
        self.process = cases.start(PROGRAM, folder, str(rate), **variables)

    def watch(self, seconds: float, what: str) -> None:
        """Look at the program twice a second."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0.0 and self.process.poll() is None:
            self.memory = max(self.memory, _resident(self.process.pid))
            self.size = max(self.size, _size(self.folder))
            memory, size = f"{self.memory / 2**20:.0f} MiB", f"{self.size / 1e6:.0f} MB"
            measure.progress(f"{what}: {left:.0f} s left, {memory} of memory, {size} on disk at most")
            time.sleep(min(0.5, left))
        measure.progress("")

    def check(self, holds: bool, what: str) -> None:
        """Note *what* if it does not hold, and show it."""
        print(f"  {'holds ' if holds else 'BROKEN'}  {what}", flush=True)
        if not holds:
            self.failures.append(what)

    def end(self) -> tuple[int, Any, Any]:
        """End the program; return how many spans it recorded, how it ended, and what is in its folder."""
        found = cases.Ended(self.process)
        number, longest = int(found.words[0]), float(found.words[1])
        self.check(found.code == 0 and "Traceback" not in found.errors, f"ended with status {found.code}")
        self.check(found.seconds <= 2.0, f"exit in {found.seconds:.2f} s (at most 2 s)")
        self.check(longest <= WAIT, f"it waited {longest * 1e3:.0f} ms at the longest (at most {WAIT * 1e3:.0f} ms)")
        self.check(self.memory <= MEMORY, f"{self.memory / 2**20:.0f} MiB of memory (at most {MEMORY / 2**20:.0f} MiB)")
        return number, found, cases.Left(self.folder)


def outage(folder: Path, seconds: float) -> list[str]:
    """Take the collector away for *seconds*; all that was recorded has to come afterwards, in order and once."""
    print(f"outage of {seconds / 60:.1f} minutes at {SLOW} spans a second", flush=True)
    there = Receiver(folder / "received.jsonl")
    with Door(there.http) as door:
        soak = Soak(folder, SLOW, **cases.sending(door.url))
        soak.watch(LEAD, "before the outage")
        door.become("dead")
        soak.watch(seconds, "outage")
        early = len(cases.received(there))
        door.become("live")
        opened = time.time()
        soak.watch(BACK, "after the outage")
        number, _, left = soak.end()
        came = [one["time"] - opened for one in there.requests("traces") if one["time"] > opened]
        cases.replay(folder, door.url)
        ids = cases.received(there)
    there.close()
    soak.check(early > 0, f"{early:,} spans were sent before it")
    soak.check(bool(came), f"the first request came {min(came, default=BACK):.0f} s after it (at most {BACK:.0f} s)")
    soak.check((left.dropped or 0) == 0, f"{number:,} spans recorded, {left.dropped or 0:,} records dropped")
    soak.check(number == len(ids), f"{len(ids):,} spans came")
    soak.check(len(ids) == len(set(ids)), f"{len(ids) - len(set(ids)):,} of them twice")
    soak.check(left.ids() == ids, "in the order in which they were recorded")
    return soak.failures


def flood(folder: Path, seconds: float) -> list[str]:
    """Record 5,000 spans a second before a dead collector; what does not fit into the folder has to be counted."""
    limit = min(10**9, int(seconds * RATE * SPAN * SHARE))
    what = f"{RATE:,} spans a second, dead collector, limit of {limit / 1e6:.0f} MB"
    print(f"{seconds / 60:.1f} minutes at {what}", flush=True)
    soak = Soak(folder, RATE, OTEL_PERF_FOLDER_LIMIT=str(limit), **cases.sending(cases.DEAD))
    soak.watch(seconds, "flood")
    number, _, left = soak.end()
    kept = len(left.ids())
    soak.check(number >= 0.95 * seconds * RATE, f"{number:,} spans recorded, {number / seconds:,.0f} a second")
    soak.check(soak.size <= limit, f"{soak.size / 1e6:.1f} MB on disk at most")
    soak.check(0 < kept < number, f"{kept:,} spans kept, {number - kept:,} dropped")
    counted = left.dropped or 0  # records that are no spans are among them, ten a second or so
    soak.check(number - kept <= counted <= (number - kept) * 1.02 + 1000, f"{counted:,} records counted as dropped")
    soak.check(left.damaged == 0, f"{left.damaged} damaged lines")
    report, doctor = (cases.command(folder, name).stdout for name in ("report", "doctor"))
    soak.check(" dropped" in report, "the report says so")
    soak.check("the newest run dropped " in " ".join(doctor.split()), "doctor says so")
    return soak.failures


def _resident(process: int) -> int:
    try:
        text = Path(f"/proc/{process}/statm").read_text(encoding="ascii")
    except OSError:  # it has ended
        return 0
    return int(text.split()[1]) * os.sysconf("SC_PAGE_SIZE") if text else 0


def _size(folder: Path) -> int:
    total = 0
    for file in folder.glob(".otel-perf/*/*/*"):
        try:
            total += file.stat().st_size
        except OSError:  # removed meanwhile
            continue
    return total


def main() -> int:
    """Run both, say what holds."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=MINUTES, metavar="N", help=f"in all; default {MINUTES:.0f}")
    options = parser.parse_args()
    if sys.platform != "linux":
        print("bench.soak: needs /proc", file=sys.stderr)
        return 2
    failures = []
    for subject, share in ((outage, 0.25), (flood, 0.75)):
        with tempfile.TemporaryDirectory() as name:
            failures += subject(Path(name), options.minutes * 60 * share)
    print(f"{len(failures)} of what is promised did not hold" if failures else "all of it holds")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
