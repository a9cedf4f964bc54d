"""The run folder: whether records can be written there, what the newest run lost, what still waits to be sent."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from typing import TYPE_CHECKING

from otel_perf.analysis.text import bytes_of, plural
from otel_perf.errors import UserError
from otel_perf.export.alive import is_alive
from otel_perf.export.decode import logs_of, points_of, read_lines, spans_of
from otel_perf.export.follow.files import Folder, is_marked
from otel_perf.export.json_values import Skipped
from otel_perf.export.runs import FILES, LOGS, METRICS, TRACES, find_runs
from otel_perf.monitor import ABSENT

from .found import Part

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from otel_perf.config import Settings
    from otel_perf.export.endpoint import Endpoints
    from otel_perf.export.runs import Run

DROPPED = "otel_perf.self.dropped"
REMOVED = "otel_perf.self.removed"
PROVIDER = "otel_perf.provider"
MOST_ABSENT = 30  # sentences on what could not be sampled
FULL = 0.9  # of the limit: from here on parts of files have begun to go
_LITTLE = 50 * 10**6  # bytes free on the disk below which it is said


class Newest:
    """What the newest run's files say, as far as they could be read in time.

    Attributes:
        dropped: records that its processes dropped.
        removed: records that its processes removed to keep the limit, sent or not to be sent.
        refused: records that a receiver did not want.
        damaged: of each reason, how many lines or records could not be read.
        root: attributes of the first root of a start that was found.
        scopes: names of what recorded spans.
        absent: sentences on what could not be sampled, each with its metric.
        provider: the class of the program's TracerProvider, where a span says so.
        whole: everything was read.
    """

    def __init__(self) -> None:
        self.dropped = self.removed = 0
        self.refused = 0
        self.damaged: dict[str, int] = {}
        self.root: dict[str, Any] = {}
        self.scopes: set[str] = set()
        self.absent: dict[str, str] = {}
        self.provider = ""
        self.whole = True


def examine(settings: Settings, folder: str, endpoints: Endpoints, deadline: float) -> Part:
    """Return what there is to say of *folder*; nothing stays changed in it.

    Args:
        settings: for its limit and where it was named.
        folder: the folder of runs.
        endpoints: where its records go.
        deadline: monotonic seconds; reading ends then.
    """
    part = Part("run folder")
    path = os.path.abspath(folder)
    source = settings.sources.get("folder", "default")
    part.row("folder", path, source if folder == settings.folder else "--folder")
    part.data = {"path": path, "exists": os.path.isdir(path)}
    if not _usable(part, path):
        return part
    _space(part, path, settings)
    try:
        runs = find_runs(path) if os.path.isdir(path) else []
    except UserError as error:
        part.error(error.message)
        return part
    size = sum(run.size() for run in runs)
    part.row("runs", f"{plural(len(runs), 'run')}, {bytes_of(size)} of {bytes_of(settings.folder_limit)}", "")
    part.data |= {"runs": len(runs), "bytes": size, "limit": settings.folder_limit}
    if not runs:
        part.note("no run is recorded here yet", "otel-perf run -- python app.py")
        return part
    _newest(part, runs[0], settings, deadline)
    _unsent(part, runs, endpoints)
    return part


def _usable(part: Part, path: str) -> bool:
    """Say whether runs can be kept in *path*, or in its nearest folder that is there."""
    mend = "OTEL_PERF_FOLDER=/a/folder/of/yours"
    if os.path.lexists(path) and not os.path.isdir(path):
        part.error(f"{path} is no folder: nothing can be recorded", mend)
        return False
    there = path
    while not os.path.lexists(there) and os.path.dirname(there) != there:
        there = os.path.dirname(there)
    problem = _try_to_write(there)
    part.data["writable"] = not problem
    if not problem:
        part.row("writable", "yes", "" if there == path else f"made at the first record, in {there}")
        return True
    part.row("writable", "no", problem)
    part.error(f"{there} cannot be written ({problem}): nothing can be recorded", mend)
    return os.path.isdir(path)


def _try_to_write(folder: str) -> str:
    """Return why nothing can be written in *folder*, empty if something can: it is tried."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(4096))
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _space(part: Part, path: str, settings: Settings) -> None:
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    try:
        disk = shutil.disk_usage(path)
    except OSError:  # not every file system says so
        return
    free = disk.free
    if not disk.total:
        return
    part.row("disk", f"{bytes_of(free)} free")
    part.data["free"] = free
    if free < _LITTLE:
        part.error(
            f"the disk has {bytes_of(free)} left: records are dropped when it is full",
            "free some space, or OTEL_PERF_FOLDER=/a/folder/on/another/disk",
        )
    elif free < settings.folder_limit:
        part.note(
            f"the disk has {bytes_of(free)} left, less than runs may take ({bytes_of(settings.folder_limit)})",
            f"OTEL_PERF_FOLDER_LIMIT={free // 2 // 10**6}MB",
        )


def processes_text(number: int) -> str:
    """Return ``1 process``, ``2 processes``."""
    return f"{number} process" if number == 1 else f"{number} processes"


# --- the newest run ---------------------------------------------------------------------------------------------------


def _newest(part: Part, run: Run, settings: Settings, deadline: float) -> None:
    found = Newest()
    for name in run.processes:
        _read(found, os.path.join(run.path, name), deadline)
    part.row("newest run", run.name, processes_text(len(run.processes)))
    part.data["newest"] = {
        "name": run.name,
        "processes": run.processes,
        "dropped": found.dropped,
        "removed": found.removed,
        "refused": found.refused,
        "damaged": found.damaged,
        "provider": found.provider,
        "absent": sorted(set(found.absent.values())),
        "whole": found.whole,
    }
    if not found.whole:
        part.row("", "only its beginning was read: it is large")
    part.row("records dropped", str(found.dropped))
    if found.dropped:
        full = run.size() >= settings.folder_limit * FULL
        part.error(
            f"the newest run dropped {plural(found.dropped, 'record')}: "
            + ("its limit is reached" if full else "its disk was full, its limit reached, or an error of our own"),
            "OTEL_PERF_FOLDER_LIMIT=2GB" if full else "the program's stderr has one line that begins with otel-perf:",
        )
    if found.removed:
        part.note(f"the folder's limit removed {plural(found.removed, 'record')} of the newest run, oldest first")
    if found.refused:
        part.error(
            f"a receiver refused {plural(found.refused, 'record')} of the newest run for good",
            f"its log says why; then: otel-perf replay --again {run.name}",
        )
    if found.damaged:
        number = sum(found.damaged.values())
        part.note(f"{plural(number, 'damaged line')} in the newest run, skipped ({', '.join(found.damaged)})")
    if found.absent:
        part.row("not sampled", ", ".join(sorted(set(found.absent.values()))), "as the newest run recorded")
    for text in list(found.absent)[:MOST_ABSENT]:
        part.note(f"in the newest run {text}")
    _start(part, run, found)
    _provider(part, found, settings)


def _read(found: Newest, path: str, deadline: float) -> None:
    """Add what one process's files say."""
    last = {DROPPED: 0, REMOVED: 0}  # they are cumulative: the last ones count
    for name in (METRICS, *(name for name in FILES if name != METRICS)):
        skipped = Skipped()
        try:
            for data in read_lines(os.path.join(path, name), skipped):
                if time.monotonic() > deadline:
                    found.whole = False
                    break
                if name == TRACES:
                    _look_at_spans(found, data, skipped)
                for log in logs_of(data, skipped) if name == LOGS else ():
                    if log.event == ABSENT and isinstance(log.body, str) and len(found.absent) < MOST_ABSENT:
                        found.absent[log.body] = str(log.attributes.get("metric", ""))
                for point in points_of(data, skipped) if name == METRICS else ():
                    if point.metric in last and point.value is not None:
                        last[point.metric] = int(point.value)
        except OSError as error:
            skipped.line(error.strerror or "cannot be read")
        for counts in (skipped.lines, skipped.records):
            for reason, number in counts.items():
                found.damaged[reason] = found.damaged.get(reason, 0) + number
    found.dropped += last[DROPPED]
    found.removed += last[REMOVED]
    if is_marked(path):
        found.refused += sum(position.refused for position in Folder(path).positions.values())


def _look_at_spans(found: Newest, data: dict[str, Any], skipped: Skipped) -> None:
    for span in spans_of(data, skipped):
        found.scopes.add(span.scope.name)
        if span.attributes.get("otel_perf.kind") == "startup" and not found.root:
            found.root = span.attributes
        provider = span.attributes.get(PROVIDER) or span.resource.get(PROVIDER)
        if isinstance(provider, str):
            found.provider = provider


def _start(part: Part, run: Run, found: Newest) -> None:
    """Say why there is no start in the newest run, where there is none."""
    if found.root:
        ready = found.root.get("otel_perf.ready")
        part.row("start", "recorded", f"ended by {ready}" if isinstance(ready, str) else "")
        return
    if not found.whole:
        return
    living = [name for name in run.processes if is_alive(os.path.join(run.path, name))]
    if living:
        part.row("start", "not over yet", f"process {living[0]} still runs")
        part.note(
            f"the newest run has no root yet: its start lasts until the program says that it is ready (process "
            f"{living[0]} still runs)",
            "call otel_perf.ready() where the program is ready",
        )
    else:
        part.row("start", "no end recorded")
        part.note(
            "the newest run has no root of a start: its process ended without a word before the start was over, or it "
            "is a child of one that was forked",
            f"otel-perf report {run.name}",
        )


def _provider(part: Part, found: Newest, settings: Settings) -> None:
    """Say who owns the TracerProvider, which only the program's process knows."""
    if found.provider:
        part.row("TracerProvider", found.provider, "as the newest run recorded")
        return
    foreign = sorted(found.scopes - {"otel_perf", ""})
    seen = f"spans of {', '.join(foreign[:3])} were recorded" if foreign else ""
    how = "in the program: print(opentelemetry.trace.get_tracer_provider(), otel_perf.tracing.status)"
    part.row("TracerProvider", "known to the program only" + (f"; {seen}" if seen else ""), how)
    if foreign and not settings.provider:
        part.note("spans of the program's own TracerProvider are not recorded (OTEL_PERF_PROVIDER is off)")


# --- what waits -------------------------------------------------------------------------------------------------------


def _unsent(part: Part, runs: list[Run], endpoints: Endpoints) -> None:
    """Count what is to be sent and is not; what a living process is about to send is its own affair."""
    processes = waiting = 0
    for path in _marked(runs):
        folder = Folder(path)
        left = sum(folder.waiting(signal) for signal in folder.signals)
        if left and not is_alive(path):
            processes, waiting = processes + 1, waiting + left
    part.data["unsent"] = {"processes": processes, "bytes": waiting}
    if not processes:
        part.row("waiting to be sent", "nothing")
        return
    many = processes_text(processes)
    part.row("waiting to be sent", f"{bytes_of(waiting)} of {many}")
    part.note(
        f"{bytes_of(waiting)} of {many} that ended are not sent yet"
        + ("" if endpoints else ", and no endpoint is set"),
        "otel-perf replay " + os.path.relpath(part.data["path"]) + " sends them; so does the next program here",
    )


def _marked(runs: list[Run]) -> Iterator[str]:
    for run in runs:
        for name in run.processes:
            path = os.path.join(run.path, name)
            if is_marked(path):
                yield path
