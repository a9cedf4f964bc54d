"""One file of one process, from its position on: whole lines, read as requests of at most 2 MB and 2,000 records."""

from __future__ import annotations

from otel_perf.export.json_values import Skipped

from . import as_json
from .files import read_lines
from .theirs import MARK, without_theirs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .files import Folder, Position
    from .pace import Pace

MAX_BYTES = 2 * 10**6  # of JSON, which is always longer than the same records in protobuf
MAX_RECORDS = 2_000
ROOT = b'{"key":"otel_perf.kind","value":{"stringValue":"startup"}}'  # in the line that has a start's root

Entry = tuple["Any", int, int, int, int]  # record, records in it, bytes, and the position after it: offset, records


class Batch:
    """What one request holds.

    Attributes:
        records: in the form of their stream.
        count: how many records that are.
        offset: the position once it is delivered, as is inside.
    """

    __slots__ = ("count", "entries", "inside", "offset", "records")

    def __init__(self, entries: list[Entry]) -> None:
        self.entries = len(entries)
        self.records = [entry[0] for entry in entries]
        self.count = sum(entry[1] for entry in entries)
        self.offset, self.inside = entries[-1][3:]


class Stream:
    """One signal of one process's folder.

    Attributes:
        form: of its records: ``lines`` as they are, ``encoded`` spans, or ``records`` of the SDK.
        live: its process may still write: a last line without an end is left for later.
        theirs: spans that the application's own exporter sends are sent, too.
        held_until: monotonic seconds until which the root of the start is waited for.
        due: monotonic seconds of the next look.
    """

    def __init__(
        self, folder: Folder, signal: str, form: str, live: bool, skipped: Skipped, theirs: bool = False
    ) -> None:
        self.folder = folder
        self.signal = signal
        self.form = form
        self.live = live
        self.theirs = theirs
        self.skipped = skipped  # of lines that are read for the first time
        self.held_until = 0.0
        self.due = 0.0
        self._queue: list[Entry] = []
        self._scanned = 0
        self._counted = 0
        self._converter: Any = None

    @property
    def position(self) -> Position:
        """How far the file was sent."""
        return self.folder.positions[self.signal]

    def is_held(self, now: float) -> bool:
        """Say whether the root of the start is not in the file yet, and is still waited for."""
        if now >= self.held_until:
            return False
        lines, self._scanned = read_lines(self.folder.file(self.signal), self._scanned, 2**62, over=False)
        if any(ROOT in line for line, _ in lines):
            self.held_until = 0.0
            return False
        return True

    def next_batch(self, pace: Pace) -> Batch | None:
        """Return what the next request holds; the same again until it is delivered. None when nothing is new."""
        while not self._queue:
            if not self._fill(pace):
                return None
        entries: list[Entry] = []
        size = count = 0
        for entry in self._queue:
            if entries and (size + entry[2] > MAX_BYTES or count + entry[1] > MAX_RECORDS):
                break
            entries.append(entry)
            size += entry[2]
            count += entry[1]
        return Batch(entries)

    def delivered(self, batch: Batch, sent: int, refused: int) -> None:
        """Advance the position past *batch* and keep it."""
        del self._queue[: batch.entries]
        position = self.position
        position.offset, position.records = batch.offset, batch.inside
        position.sent += sent
        position.refused += refused
        self.folder.save()

    def forget(self) -> None:
        """Let go of what was read: it is read again at the next try, which may be long from now."""
        self._queue = []

    def use(self, form: str) -> None:
        """Read again what is not delivered, in another form."""
        self.form = form
        self._converter = None
        self.forget()

    def _fill(self, pace: Pace) -> bool:
        """Read on; say whether there was something, even if nothing in it can be sent."""
        position = self.position
        begin = position.offset
        lines, end = read_lines(self.folder.file(self.signal), begin, MAX_BYTES, not self.live)
        if not lines:
            return False
        done = position.records
        for line, after in lines:
            skipped = self.skipped if after > self._counted else Skipped()
            self._counted = max(self._counted, after)
            if not line:
                skipped.line("longer than 64 MB")
            elif line.isspace() or (MARK in line and not self.theirs and not (line := without_theirs(line))):
                continue
            elif self.form == "lines":
                self._queue += self._as_json(line, after, skipped)
            else:
                self._queue += self._converted(line, begin, after, skipped, pace)[done:]
            begin, done = after, 0
        if self._queue:
            self._queue[-1] = *self._queue[-1][:3], end, 0
        else:  # nothing but damage
            position.offset, position.records = end, 0
            self.folder.save()
        return True

    def _as_json(self, line: bytes, after: int, skipped: Skipped) -> list[Entry]:
        text = as_json.groups(self.signal, line, skipped)
        return [(text, as_json.count(self.signal, text), len(text), after, 0)] if text else []

    def _converted(self, line: bytes, begin: int, after: int, skipped: Skipped, pace: Pace) -> list[Entry]:
        """Return the records of one line; the last one's position is behind the line."""
        if self._converter is None:
            self._converter = _converter(self.signal, self.form, skipped)
        self._converter.skipped = skipped
        found = self._converter.line(line, pace.look)
        size = len(line) // (len(found) or 1)
        last = len(found)
        return [
            (record, 1, size, begin, number) if number < last else (record, 1, size, after, 0)
            for number, record in enumerate(found, 1)
        ]


def _converter(signal: str, form: str, skipped: Skipped) -> Any:
    if form == "encoded":
        from .wire import Encoder

        return Encoder(skipped)
    from .convert import Converter

    return Converter(signal, skipped)
