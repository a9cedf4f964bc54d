"""The runs of a folder, as the page may ask for them: by names that were found there, never by a path.

Reading order: Runs.find(), which knows what ``newest`` and ``first`` are; Runs.live(), Runs.listing(); Listed.
"""

from __future__ import annotations

import os
from contextlib import suppress
from threading import Event, Lock, Thread
from time import monotonic, sleep
from typing import TYPE_CHECKING, NamedTuple

from otel_perf.analysis.startup import build_start, verdict_of
from otel_perf.analysis.summary import Summary, first_started
from otel_perf.errors import UserError
from otel_perf.export.runs import LOGS, TRACES, Run, find_runs, processes_in

from .live import Live, still_runs

if TYPE_CHECKING:
    from typing import Any

    from otel_perf.analysis.model import Process

NEWEST = "newest"
FIRST = "first"
NONE_YET = "no process yet: otel-perf run -- python app.py"
MOST_LIVE = 4  # processes that are known at once
MOST_SUMMARIES = 10_000  # processes of which no more than the start's root is known
POLL = 0.25  # seconds between two looks for what is new
BREATH = 0.001  # seconds in which whoever waits for a process gets at it
UNUSED = 60.0  # seconds after which nobody follows a process that nobody asks for
AGAIN = 5.0  # seconds after which a process whose start has not ended is looked at again
PATIENCE = 1.0  # seconds that an answer waits for all of a run to be read


class Missing(Exception):  # noqa: N818  # it is no error that there is none yet
    """There is no such run, process or trace; says so."""


class Found(NamedTuple):
    """One process: its run and its name."""

    run: Run
    process: str

    @property
    def path(self) -> str:
        """Its folder."""
        return os.path.join(self.run.path, self.process)


class Runs:
    """The runs in *folder*, or the one run that was named by its path; a thread follows those that are looked at.

    Attributes:
        folder: where they are.
        asked: name of the run that the command line names, None: the newest.
        process: name of the process that it names, None: the one that started first.
    """

    def __init__(
        self, folder: str, only: str | None = None, asked: str | None = None, process: str | None = None
    ) -> None:
        self.folder = folder
        self.asked = asked
        self.process = process
        self._only = only
        self._lock = Lock()
        self._lives: dict[str, Live] = {}  # by path; the one that was asked for last is the last
        self._used: dict[str, float] = {}
        self._listed: dict[str, Listed] = {}  # by path
        self._wake = Event()
        self._ended = False
        self._thread = Thread(target=self._follow, name="otel-perf view", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Follow nobody any more."""
        self._ended = True
        self._wake.set()
        self._thread.join(2.0)

    # --- names ---

    def all(self) -> list[Run]:
        """Return the runs, the newest first; what a link takes out of the folder is left out.

        Raises: UserError: the folder cannot be read.
        """
        found = find_runs(self.folder) if self._only is None else [Run(self._only, processes_in(self._only))]
        top = os.path.realpath(self.folder if self._only is None else self._only)
        kept = [
            Run(run.path, [name for name in run.processes if _is_inside(os.path.join(run.path, name), top)])
            for run in found
        ]
        return [run for run in kept if run.processes]

    def find(self, run: str, process: str) -> Found:
        """Return the process that the address names.

        Raises: Missing: there is none, or nobody may see it.
        """
        try:
            runs = self.all()
        except UserError as error:
            raise Missing(error.message) from None
        chosen = next((one for one in runs if run in (one.name, NEWEST)), None)
        if not runs or (chosen is None and self._has_begun(run)):
            raise Missing(NONE_YET)
        if chosen is None:
            raise Missing(f"no run of that name; there are {len(runs)}, the newest is {runs[0].name}")
        if process == FIRST:
            return Found(chosen, self._first(chosen))
        if process not in chosen.processes:
            raise Missing(f"no process of that name in run {chosen.name}; there are {', '.join(chosen.processes[:8])}")
        return Found(chosen, process)

    def _has_begun(self, run: str) -> bool:
        """Say whether *run* is the one that was asked for, and has written nothing yet."""
        return run == self.asked and os.path.isdir(os.path.join(self.folder, run))

    def any_runs(self) -> bool:
        """Say whether a process of the run that the command line names still runs."""
        try:
            found = next((run for run in self.all() if run.name == self.asked), None)
        except UserError:
            return False
        paths = [] if found is None else [os.path.join(found.path, name) for name in found.processes]
        return any(self._summary(path).running for path in paths)

    def _first(self, run: Run) -> str:
        if len(run.processes) == 1:
            return run.processes[0]
        return first_started([self._summary(os.path.join(run.path, name)) for name in run.processes]).name

    # --- processes ---

    def live(self, found: Found) -> Live:
        """Return what is known of a process: at first all that there is, unless that takes longer than PATIENCE."""
        path = found.path
        with self._lock:
            live = self._lives.pop(path, None)
            if live is None or live.stale:
                live = Live(path)
                self._used.pop(path, None)
            live.others([name for name in found.run.processes if name != found.process])
            now = monotonic()
            if now - self._used.get(path, -UNUSED) >= UNUSED:  # nobody has followed it for a while, or ever
                live.whole.clear()
                live.awaited = now + PATIENCE
            self._lives[path] = live
            self._used[path] = now
            for other in list(self._lives)[:-MOST_LIVE]:
                del self._lives[other], self._used[other]
        self._wake.set()
        live.whole.wait(max(0.0, live.awaited - monotonic()))
        return live

    def _follow(self) -> None:
        while not self._ended:
            now = monotonic()
            with self._lock:
                wanted = [live for path, live in self._lives.items() if now - self._used[path] < UNUSED]
            busy = False
            for live in wanted:
                busy = live.advance() or busy
                sleep(BREATH)
            if not busy:
                self._wake.wait(POLL)
                self._wake.clear()

    # --- the list ---

    def listing(self) -> dict[str, Any]:
        """Return what api.ts calls RunList."""
        return {
            "folder": self.folder,
            "asked": self.asked,
            "askedProcess": self.process,
            "runs": [
                row_of(run.name, [self._summary(os.path.join(run.path, name)) for name in run.processes])
                for run in self.all()
            ],
        }

    def _summary(self, path: str) -> Process:
        """Return the start's root of the process in *path*, what came first, and whether it runs."""
        with self._lock:
            listed = self._listed.get(path)
            if listed is None:
                if len(self._listed) >= MOST_SUMMARIES:
                    self._listed.clear()
                listed = self._listed[path] = Listed(path)
        return listed.now()


class Listed:
    """A process as lists have it: its files are read once, and what they grow by as long as its start has no end."""

    def __init__(self, path: str) -> None:
        self._summary = Summary(path)
        self._lock = Lock()
        self._sizes: object = None
        self._due = 0.0  # monotonic seconds

    def now(self) -> Process:
        """Return what is known of it by now, and whether it runs."""
        with self._lock:
            known = self._summary.process
            due = known.root is None and (monotonic() >= self._due or not known.nodes)
            if due and (sizes := _sizes(known.path)) != self._sizes:
                with suppress(UserError):
                    self._summary.look(over=not _is_running(known))
                self._sizes, self._due = sizes, monotonic() + AGAIN
            found = self._summary.process
            found.running = _is_running(found)
            return found


def _is_running(process: Process) -> bool:
    return still_runs(process, process.nodes[0].start if process.nodes else 0)


def row_of(run: str, processes: list[Process]) -> dict[str, Any]:
    """Return what api.ts calls RunRow, of *processes*, at least one, as a Summary or a reader gives them."""
    rows = [{"name": one.name, "service": one.service, "running": bool(one.running)} for one in processes]
    first = first_started(processes)
    start = build_start(first)
    began = first.root or (first.nodes[0] if first.nodes else None)
    return {
        "name": run,
        "service": first.service,
        "version": first.version or None,
        "began": None if began is None else began.start / 1e6,
        "startSeconds": None if start is None or not start.recorded else start.root.duration,
        "verdict": None if start is None else verdict_of(start).state,
        "running": any(row["running"] for row in rows),
        "processes": rows,
    }


def _is_inside(path: str, top: str) -> bool:
    """Say whether *path* and the files that are read there lie below *top*, links followed."""
    if not os.path.realpath(path).startswith(top + os.sep):
        return False
    try:
        with os.scandir(path) as entries:
            return not any(entry.is_symlink() for entry in entries)
    except OSError:
        return False


def _sizes(path: str) -> tuple[int, ...]:
    found = []
    for name in (TRACES, LOGS):
        try:
            found.append(os.stat(os.path.join(path, name)).st_size)
        except OSError:
            found.append(-1)
    return tuple(found)
