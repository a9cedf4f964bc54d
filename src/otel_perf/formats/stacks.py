"""Self times added up by call path: what the formats need that know no time of day."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .tracks import MOST_PATHS, Paths, steps_of

if TYPE_CHECKING:
    from .story import Process, Progress, Story

MOST_TRACKS = 100  # of a thread that are kept apart
OTHERS = "(other tracks)"


class Stacks:
    """The call paths of a run with their times.

    Attributes:
        paths: all of them.
        totals: by path, process and track: how many spans, and nanoseconds of self time.
    """

    def __init__(self) -> None:
        self.paths = Paths()
        self.totals: dict[tuple[int, Process, str], list[int]] = {}

    def times(self) -> dict[int, int]:
        """Return the nanoseconds of each path, by the first to begin; of a path that has none, 0."""
        found = dict.fromkeys(range(len(self.paths.sites)), 0)
        for (path, _, _), (_, time) in self.totals.items():
            found[path] += time
        return found


def stacks_of(story: Story, progress: Progress) -> Stacks:
    """Return the call paths of all processes of *story*."""
    found = Stacks()
    totals = found.totals
    for process in story.processes:
        for bar, _, self_time in steps_of(story, process, found.paths, progress):
            if self_time is None:
                continue
            track = bar.track
            key = bar.path, process, track.name if track.order <= MOST_TRACKS else f"{track.lane.name} {OTHERS}"
            total = totals.get(key)
            if total is None:
                if len(totals) >= MOST_PATHS:
                    key = bar.path, process, OTHERS
                total = totals.setdefault(key, [0, 0])
            total[0] += 1
            total[1] += self_time
    return found
