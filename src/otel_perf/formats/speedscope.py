"""The file format of speedscope: what ran when, an evented profile for each track.

Events are gathered track by track in a temporary file, since they come in the order of time over all tracks.

Source: https://www.speedscope.app/file-format-schema.json.
"""

from __future__ import annotations

import json
import tempfile
from typing import TYPE_CHECKING

from otel_perf.__about__ import __version__

from .tracks import Paths, steps_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from .story import Progress, Site, Story
    from .tracks import Step, Track

SCHEMA = "https://www.speedscope.app/file-format-schema.json"
GATHERED = 100_000  # events in memory


class Events:
    """Events of all tracks.

    Attributes:
        ends: of each track, the moments of its first and its last event, in nanoseconds.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.ends: dict[Track, tuple[int, int]] = {}
        self._file = file
        self._new: dict[Track, list[str]] = {}
        self._count = 0
        self._parts: dict[Track, list[tuple[int, int]]] = {}  # where in the file, and how long

    def add(self, step: Step, zero: int) -> None:
        """Take what begins or ends, *zero* being the moment 0."""
        track, at = step.bar.track, step.at - zero
        self.ends[track] = self.ends.get(track, (at, at))[0], at
        kind = "O" if step.self_time is None else "C"
        self._new.setdefault(track, []).append(f'{{"type":"{kind}","frame":{step.bar.site},"at":{at}}}')
        self._count += 1
        if self._count >= GATHERED:
            self.put_away()

    def put_away(self) -> None:
        """Move what is in memory to the file."""
        for track, events in self._new.items():
            data = ",\n".join(events).encode()
            self._parts.setdefault(track, []).append((self._file.tell(), len(data)))
            self._file.write(data)
        self._new.clear()
        self._count = 0

    def of(self, track: Track) -> Iterator[bytes]:
        """Yield the events of *track*, with commas between them."""
        for number, (offset, length) in enumerate(self._parts[track]):
            self._file.seek(offset)
            yield (b",\n" if number else b"") + self._file.read(length)


def write(story: Story, out: BinaryIO, progress: Progress) -> None:
    """Write *story*."""
    with tempfile.TemporaryFile() as file:
        events = Events(file)
        for process in story.processes:
            for step in steps_of(story, process, Paths(), progress):
                events.add(step, story.begin)
        events.put_away()
        head = {"$schema": SCHEMA, "exporter": f"otel-perf@{__version__}", "name": story.name, "activeProfileIndex": 0}
        out.write(json.dumps(head)[:-1].encode() + b',\n"shared":{"frames":[\n')
        for number, site in enumerate(story.sites):
            out.write((b",\n" if number else b"") + json.dumps(_frame(site)).encode())
        out.write(b'\n]},\n"profiles":[')
        for number, track in enumerate(events.ends):
            out.write(b",\n" if number else b"\n")
            _write_profile(track, events, len(story.processes) > 1, out)
        out.write(b"\n]}\n")


def _write_profile(track: Track, events: Events, several: bool, out: BinaryIO) -> None:
    first, last = events.ends[track]
    name = f"{track.process.title}: {track.name}" if several else track.name
    head = {"type": "evented", "name": name, "unit": "nanoseconds", "startValue": first, "endValue": last}
    out.write(json.dumps(head)[:-1].encode() + b',"events":[\n')
    for part in events.of(track):
        out.write(part)
    out.write(b"\n]}")


def _frame(site: Site) -> dict[str, str | int]:
    found: dict[str, str | int] = {"name": site.name}
    if site.file:
        found["file"] = site.file
    if site.line:
        found["line"] = site.line
    return found
