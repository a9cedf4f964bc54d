"""Spans on tracks: on each of them a span lies wholly inside the one below it, as a call inside its caller.

A span lies in its parent if that is still open, ran on the same thread, and nothing else is open in it; else it gets a
track of its own, or one that is free again. So the children of ``asyncio.gather()``, work on other threads, and what
outlives its parent lie side by side, and the self times of a track add up to no more than its length.

A generator's body runs in pieces, between those of its consumer; when, is not recorded. It has a track of its own, for
as long as it was open; its self time is the time inside its body, which that of its consumer is without.

Reading order: Bar, Step, Layout.place(), steps_of(); Paths.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING, NamedTuple

from .story import MAIN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .story import Begun, Process, Progress, Story

TOUCH = 1_000  # ns by which spans may overlap, or a child outlive its parent, by rounding alone
MOST_PATHS = 200_000  # call paths that are kept apart; what is called past them counts as its caller
REMEMBERED = 50_000  # spans that have ended whose call path is known to work that they left behind
EVERY = 1_000  # spans between two words about the progress
TOP = -1  # the path above all others


class Paths:
    """Call paths, as numbers: each is a site below another path."""

    def __init__(self) -> None:
        self.parents: list[int] = []
        self.sites: list[int] = []
        self._numbers: dict[tuple[int, int], int] = {}

    def below(self, parent: int, site: int) -> int:
        """Return the path of *site* below the path *parent*."""
        found = self._numbers.get((parent, site))
        if found is None:
            if len(self.sites) >= MOST_PATHS and parent != TOP:
                return parent
            found = self._numbers[parent, site] = len(self.sites)
            self.parents.append(parent)
            self.sites.append(site)
        return found

    def sites_of(self, path: int) -> list[int]:
        """Return the sites of *path*, root first."""
        found = []
        while path != TOP:
            found.append(self.sites[path])
            path = self.parents[path]
        return found[::-1]


class Bar:
    """One open span on its track.

    Attributes:
        path: its call path.
        covered: nanoseconds of it in spans that lie in it.
    """

    __slots__ = ("active", "begin", "covered", "end", "id", "path", "site", "track")

    def __init__(self, span: Begun, track: Track, path: int) -> None:
        self.id = span.id
        self.begin = span.begin
        self.end = span.end
        self.site = span.site
        self.active = span.active
        self.track = track
        self.path = path
        self.covered = 0


class Track:
    """One line of a viewer.

    Attributes:
        number: in its process, from 1.
        name: of its thread, and a number if that has several.
        open: bars, the outermost first.
    """

    __slots__ = ("lane", "name", "number", "open", "order", "process")

    def __init__(self, process: Process, number: int, lane: Lane, order: int) -> None:
        self.process = process
        self.number = number
        self.lane = lane
        self.order = order
        self.name = lane.name if order == 1 else f"{lane.name} ({order})"
        self.open: list[Bar] = []


class Lane:
    """The tracks of one thread.

    Attributes:
        busy: the end of each track's outermost bar, and the track's order, the earliest first.
        free: the order of the others, the lowest first.
    """

    __slots__ = ("busy", "free", "name", "tracks")

    def __init__(self, name: str) -> None:
        self.name = name
        self.tracks: list[Track] = []
        self.busy: list[tuple[int, int]] = []
        self.free: list[int] = []


class Step(NamedTuple):
    """A span that begins or ends on its track; the steps of a track are in the order of time.

    Attributes:
        at: nanoseconds since 1970.
        self_time: nanoseconds of it in no other span of its track, once it ends; None when it begins.
    """

    bar: Bar
    at: int
    self_time: int | None


class Layout:
    """Places the spans of one process, given in the order of Story.begun()."""

    def __init__(self, process: Process, paths: Paths) -> None:
        self.process = process
        self.paths = paths
        self.lanes: dict[object, Lane] = {}
        self.tracks: list[Track] = []
        self._open: dict[int, Bar] = {}
        self._ended: dict[int, int] = {}  # span id: its call path

    def place(self, span: Begun) -> Iterator[Step]:
        """Yield the steps up to the begin of *span*."""
        if span.id in self._open or span.id in self._ended:
            return  # written twice
        parent = None if span.parent is None else self._open.get(span.parent)
        lane = self._lane(span, parent)
        if parent is not None and span.active is not None and parent.track.lane is lane:
            parent.covered += min(span.active, span.end - span.begin)
        inside = parent is not None and parent.track.lane is lane and span.active is None
        if parent is not None and inside:
            yield from self._end(parent.track, span.begin, parent)
            inside = parent.track.open[-1:] == [parent] and span.begin <= parent.end >= span.end - TOUCH
        above = parent.path if parent is not None else TOP if span.parent is None else self._ended.get(span.parent, TOP)
        path = self.paths.below(above, span.site)
        if parent is not None and inside:
            bar = Bar(span, parent.track, path)
            bar.end = min(bar.end, parent.end)
        else:
            track = self._free(lane, span)
            yield from self._end(track, span.begin, None)
            bar = Bar(span, track, path)
        bar.track.open.append(bar)
        self._open[span.id] = bar
        yield Step(bar, bar.begin, None)

    def close(self) -> Iterator[Step]:
        """Yield the steps that are left."""
        for track in self.tracks:
            yield from self._end(track, 2**63, None)

    def _end(self, track: Track, moment: int, parent: Bar | None) -> Iterator[Step]:
        """End what has ended on *track* by *moment*, as far as *parent*."""
        while track.open and track.open[-1] is not parent and track.open[-1].end <= moment + TOUCH:
            bar = track.open.pop()
            at = min(bar.end, moment)
            length = at - bar.begin
            if track.open:
                track.open[-1].covered += length
            del self._open[bar.id]
            self._ended[bar.id] = bar.path
            if len(self._ended) > REMEMBERED:
                del self._ended[next(iter(self._ended))]
            yield Step(bar, at, max(0, (length if bar.active is None else min(bar.active, length)) - bar.covered))

    def _free(self, lane: Lane, span: Begun) -> Track:
        """Return the first track of *lane* on which nothing is open once *span* begins."""
        while lane.busy and lane.busy[0][0] <= span.begin + TOUCH:
            heappush(lane.free, heappop(lane.busy)[1])
        if lane.free:
            order = heappop(lane.free)
        else:
            order = len(lane.tracks) + 1
            lane.tracks.append(Track(self.process, len(self.tracks) + 1, lane, order))
            self.tracks.append(lane.tracks[-1])
        heappush(lane.busy, (span.end, order))
        return lane.tracks[order - 1]

    def _lane(self, span: Begun, parent: Bar | None) -> Lane:
        """Return the lane of the thread that *span* ran on, as far as that is known."""
        key: object = span.thread
        if span.thread == MAIN and span.starting:
            name = "main thread"
        elif span.thread:
            name = f"thread {span.thread}"
        elif parent is not None:
            return parent.track.lane
        else:
            key, name = "unknown", "after the start" if self.process.start is not None else "spans"
        if key not in self.lanes:
            self.lanes[key] = Lane(name)
        return self.lanes[key]


def steps_of(story: Story, process: Process, paths: Paths, progress: Progress) -> Iterator[Step]:
    """Yield what begins and ends on the tracks of *process*, of each track in the order of time."""
    layout = Layout(process, paths)
    first, last = process.rows["span"]
    for number, span in enumerate(story.begun(process)):
        if number % EVERY == 0:
            progress(f"writing {process.name}", number, last - first + 1)
        yield from layout.place(span)
    yield from layout.close()
