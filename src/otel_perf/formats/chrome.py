"""Chrome's trace events: for Perfetto, chrome://tracing, and speedscope, which reads them too.

A span is a pair of events, ``B`` and ``E``, since both then have the moment that was recorded: from ``X``, with a
duration, readers compute an end that floating point may put past that of the caller. They carry no arguments, which
speedscope would make part of the name. What never ended has a ``B`` alone, on a track with what was open around it.
CPU, memory and more are counters, alerts are instants.

Source: "Trace Event Format", Google; https://perfetto.dev/docs/getting-started/other-formats.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from otel_perf.__about__ import __version__

from .story import KINDS, LONGEST
from .tracks import Paths, steps_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, BinaryIO

    from otel_perf.analysis.unfinished import Unfinished

    from .story import Process, Progress, Story


def write(story: Story, out: BinaryIO, progress: Progress) -> None:
    """Write *story*; the moment 0 is the begin of its first span."""
    out.write(b'{"displayTimeUnit":"ms","otherData":')
    about = {"exporter": f"otel-perf {__version__}", "run": story.name, "begin_unix_nano": str(story.begin)}
    out.write(json.dumps(about).encode() + b',\n"traceEvents":[')
    events = _Events(story, out)
    for number, process in enumerate(story.processes):
        events.tell(process, number, progress)
    out.write(b"\n]}\n")


class _Events:
    """Writes the events of one run."""

    def __init__(self, story: Story, out: BinaryIO) -> None:
        self.story = story
        self.out = out
        self.comma = b"\n"
        self.pids: set[int] = set()
        heads = [(json.dumps(site.name), site.kind) for site in story.sites]
        self.begins = [f'{{"ph":"B","name":{name},"cat":"{kind}"' for name, kind in heads]
        self.ends = [f'{{"ph":"E","name":{name}' for name, _ in heads]

    def tell(self, process: Process, number: int, progress: Progress) -> None:
        """Write what *process* recorded."""
        pid = self._pid(process)
        self._about(pid, 0, "process", process.service or process.name, number)
        known = 0
        tail = f',"pid":{pid},"tid":'
        for bar, at, self_time in steps_of(self.story, process, Paths(), progress):
            track = bar.track
            if track.number > known:
                known = track.number
                self._about(pid, known, "thread", track.name, known)
            head = (self.begins if self_time is None else self.ends)[bar.site]
            self._put(f'{head}{tail}{track.number},"ts":{self._at(at)}}}')
        for order, chain in enumerate(_chains(process.unfinished), 1):
            self._about(
                pid, known + order, "thread", "unfinished" if order == 1 else f"unfinished ({order})", known + order
            )
            for one in chain:
                kind = one.kind if one.kind in KINDS else "span"
                event = {"ph": "B", "name": one.path[-1][:LONGEST], "cat": kind, "pid": pid, "tid": known + order}
                self._put_object(event, one.since)
        for time, name, value in self.story.counters(process):
            self._put_object({"ph": "C", "name": name, "pid": pid, "tid": 0, "args": {"value": value}}, time)
        for time, text, says in self.story.alerts(process):
            event = {"ph": "i", "name": text, "cat": "alert", "pid": pid, "tid": 0, "s": "p", "args": says}
            self._put_object(event, time)

    def _pid(self, process: Process) -> int:
        """Return a number for *process* that no other one has: after a fork and an exec two have the same pid."""
        pid = process.pid or 1
        while pid in self.pids:
            pid += 1
        self.pids.add(pid)
        return pid

    def _about(self, pid: int, tid: int, what: str, name: str, order: int) -> None:
        """Say what a process or a thread is called, and where it stands."""
        says: list[tuple[str, dict[str, Any]]] = [("name", {"name": name}), ("sort_index", {"sort_index": order})]
        for key, value in says:
            self._put(json.dumps({"ph": "M", "name": f"{what}_{key}", "pid": pid, "tid": tid, "args": value}))

    def _put_object(self, event: dict[str, Any], time: int) -> None:
        self._put(f'{json.dumps(event)[:-1]},"ts":{self._at(time)}}}')

    def _put(self, text: str) -> None:
        self.out.write(self.comma + text.encode())
        self.comma = b",\n"

    def _at(self, time: int) -> str:
        """Return a moment as the format wants it, in µs: with all its digits, so that order stays order."""
        since = time - self.story.begin
        micros, nanos = divmod(abs(since), 1000)
        return f"{'-' * (since < 0)}{micros}.{nanos:03}"


def _chains(unfinished: Iterable[Unfinished]) -> list[list[Unfinished]]:
    """Return what was open, given by its begin, in rows in which each stood inside the one before."""
    chains: list[list[Unfinished]] = []
    for one in unfinished:
        around = [chain for chain in chains if chain[-1].path == one.path[: len(chain[-1].path)] != one.path]
        if around:
            around[0].append(one)
        else:
            chains.append([one])
    return chains
