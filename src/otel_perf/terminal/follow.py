"""The process that is shown: one that was asked for, else of the newest run, as soon as another one begins of that.

Reading order: load(), of what does not change; Followed.look(), Followed.read(), Followed.turn().
"""

from __future__ import annotations

import os
from time import monotonic
from typing import TYPE_CHECKING

from otel_perf.analysis.report import default_process
from otel_perf.errors import UserError
from otel_perf.export.runs import find_run, find_runs, pick_process, processes_in
from otel_perf.view.live import Live

if TYPE_CHECKING:
    from collections.abc import Callable

    from otel_perf.export.runs import Run

    Progress = Callable[[Live], None]

LOOK = 1.0  # seconds between two looks for other runs and processes


def load(folder: str, run: str | None, process: str | None, progress: Progress) -> Live:
    """Return all that there is of a process by now.

    Args:
        folder: where runs are.
        run: its name or path; None: the newest.
        process: its name; None: the one that started first.
        progress: is called while it is read.

    Raises: UserError: there is no such run, no such process, or it cannot be read.
    """
    found, name = find_run(run, folder)
    if process is not None:
        name = pick_process(found, process)
    elif name is None:
        name = default_process(found.path, found.processes)
    live = Live(os.path.join(found.path, name), [other for other in found.processes if other != name])
    while live.advance():
        progress(live)
    if live.error:
        raise UserError(live.error)
    return live


class Followed:
    """What is followed.

    Attributes:
        live: the process as far as it was read, None as long as there is no run.
        run: name of its run.
        name: of the process.
        names: of all processes of the run, sorted.
        removed: the process's folder is gone.
    """

    def __init__(self, folder: str, run: str | None = None, process: str | None = None) -> None:
        """Find the run.

        Args:
            folder: where runs are.
            run: the one that was asked for, by its name or path; None: the newest.
            process: one of its processes; None: the one that started first.

        Raises: UserError: there is no such run, no such process, or it cannot be read.
        """
        self.live: Live | None = None
        self.run = self.name = ""
        self.names: list[str] = []
        self.removed = False
        self._folder = folder
        self._path = ""
        self._known: set[str] = set()
        self._looked = float("-inf")
        self._pinned = run is not None or process is not None
        if self._pinned:
            found, only = find_run(run, folder)
            self._take(found, only if process is None else pick_process(found, process))

    def look(self) -> None:
        """See which runs and processes there are by now, at most once a second."""
        now = monotonic()
        if now - self._looked < LOOK:
            return
        self._looked = now
        if not self._pinned and (newer := self._newer()) is not None:
            self._take(newer, None)
        if self.live is None:
            return
        names = processes_in(self._path)
        self.removed = self.name not in names
        self.names = names or self.names
        if self.live.stale and not self.removed:  # its files are others by now
            self._begin(self.name)

    def read(self, seconds: float = 0.0) -> bool:
        """Read of what is new at least a little, and for about so many seconds; say whether there may be more."""
        if self.live is None or self.removed:
            return False
        until = monotonic() + seconds
        while more := self.live.advance():
            if monotonic() >= until:
                break
        return more

    def turn(self, step: int = 1) -> None:
        """Follow the next process of the run, or the one before."""
        if len(self.names) > 1 and self.live is not None:
            at = self.names.index(self.name) if self.name in self.names else 0
            self._begin(self.names[(at + step) % len(self.names)])

    def _newer(self) -> Run | None:
        """Return the newest run, if it was not there at the last look."""
        try:
            names = os.listdir(self._folder)
            fresh = [name for name in names if name not in self._known and processes_in(self._at(name))]
            if not fresh:
                return None
            self._known.update(fresh)
            newest = find_runs(self._folder)[0]
        except (OSError, UserError, LookupError):
            return None  # it is not there yet, or no longer
        return newest if newest.name in fresh else None

    def _take(self, run: Run, process: str | None) -> None:
        self._path, self.run, self.names = run.path, run.name, run.processes
        self._begin(default_process(run.path, run.processes) if process is None else process)

    def _begin(self, name: str) -> None:
        self.name, self.removed = name, False
        self.live = Live(self._at(name, self._path), [other for other in self.names if other != name])

    def _at(self, name: str, folder: str = "") -> str:
        return os.path.join(folder or self._folder, name)
