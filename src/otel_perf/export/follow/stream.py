"""One file of one process, from its position on: whole lines, read as requests of at most 2 MB and 2,000 records.

What is read of metrics is shaped (shape.py) by what was read before: a stream that begins in the middle reads the lines
before, and one whose request has failed keeps what it has read.
"""

from __future__ import annotations

from otel_perf.export.decode import parse_line
from otel_perf.export.json_values import Skipped

from . import as_json
from .files import has_ended, read_lines
from .shape import Shaper
from .starts import LOOK, ROOT, complete, plan_of
from .theirs import MARK, without_theirs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from otel_perf.export.endpoint import Target

    from .files import Folder, Position
    from .pace import Pace
    from .starts import Plan

MAX_BYTES = 2 * 10**6  # of JSON, which is always longer than the same records in protobuf
MAX_RECORDS = 2_000
LEAST_BYTES = 16_000  # a receiver that takes no more takes nothing

Entry = tuple["Any", int, int, int, int]  # record, records in it, bytes, and the position after it: offset, records


class Batch:
    """What one request holds.

    Attributes:
        records: in the form of their stream.
        count: how many records that are.
        size: bytes of them in the file.
        offset: the position once it is delivered, as is inside.
    """

    __slots__ = ("count", "entries", "inside", "offset", "records", "size")

    def __init__(self, entries: list[Entry]) -> None:
        self.entries = len(entries)
        self.records = [entry[0] for entry in entries]
        self.count = sum(entry[1] for entry in entries)
        self.size = sum(entry[2] for entry in entries)
        self.offset, self.inside = entries[-1][3:]


class Stream:
    """One signal of one process's folder.

    Attributes:
        form: of its records: ``lines`` as they are, ``encoded`` spans or points, or ``records`` of the SDK.
        live: its process may still write: a last line without an end is left for later.
        failed: something in it cannot be read; nothing more of it is sent.
        theirs: spans that the application's own exporter sends are sent, too.
        held_until: monotonic seconds until which the root of the start is waited for.
        due: monotonic seconds of the next look.
    """

    def __init__(self, folder: Folder, target: Target, live: bool, skipped: Skipped, theirs: bool = False) -> None:
        self.folder = folder
        self.target = target
        self.signal = target.signal
        self.form = form_of(target)
        self.live = live
        self.failed = False
        self.theirs = theirs
        self.skipped = skipped  # of lines that are read for the first time
        self.held_until = 0.0
        self.due = 0.0
        self._most = MAX_BYTES  # of a request
        self._queue: list[Entry] = []
        self._scanned = 0
        self._counted = 0
        self._converter: Any = None
        self._shaper: Shaper | None = None  # of metrics
        self._shaped = 0  # offset up to which it has seen the file
        self._plan: Plan | None = None  # of the start, while that is sent
        self._looked = False  # for a start
        self._ends = False  # the last entry of the queue is the end of all series
        self._claims = folder.claims
        self._at = (0, 0)  # offset and records of the position before the queue

    @property
    def position(self) -> Position:
        """How far the file was sent."""
        return self.folder.positions[self.signal]

    def is_held(self, now: float, pace: Pace) -> bool:
        """Say whether the root of the start is not in the file yet, and is still waited for."""
        if now >= self.held_until:
            return False
        while self._scanned < LOOK:  # a root that lies behind is not looked for
            at = self._scanned
            try:
                lines, self._scanned, _ = read_lines(self.folder.file(self.signal), at, at + MAX_BYTES, over=False)
            except OSError:  # next_batch() says so, if that stays
                return True
            if not lines:
                return True
            if any(ROOT in line for line, _ in lines):
                break
            pace.look()
        self.held_until = 0.0
        return False

    def next_batch(self, pace: Pace) -> Batch | None:
        """Return what the next request holds; the same again until it is delivered. None when nothing is new.

        Raises: OSError: something is there and cannot be read.
        """
        if not self._is_ours():
            self.again()
            return None
        while not self._queue:
            if not self._fill(pace):
                return None
        entries: list[Entry] = []
        size = count = 0
        for entry in self._queue:
            if entries and (size + entry[2] > self._most or count + entry[1] > MAX_RECORDS):
                break
            entries.append(entry)
            size += entry[2]
            count += entry[1]
        return Batch(entries)

    def _is_ours(self) -> bool:
        """See to it that the folder is ours, and read again what was read if another process has got on meanwhile.

        What was read of a folder that was removed then is sent before the folder is looked for.
        """
        folder = self.folder
        if not (self._queue and (folder.is_ours() or folder.is_gone())) and not folder.hold():
            if not self.live:
                folder.give_up(self.signal)
            return False
        if folder.claims != self._claims:
            self._claims = folder.claims
            if self._at != (self.position.offset, self.position.records):
                self.again()
        return True

    def delivered(self, batch: Batch, sent: int, refused: int) -> None:
        """Advance the position past *batch* and keep it."""
        del self._queue[: batch.entries]
        position = self.position
        position.offset, position.records = self._at = batch.offset, batch.inside
        position.theirs = int(self.theirs)
        position.sent += sent
        position.refused += refused
        if self._ends and not self._queue:
            position.ended, self._ends = position.offset, False
        self.folder.save()

    def shrink(self, batch: Batch) -> bool:
        """Make the next requests half as large as *batch*, which was too large; say whether they can be smaller."""
        if batch.entries < 2 or batch.size < LEAST_BYTES:
            return False
        self._most = batch.size // 2
        return True

    def forget(self) -> None:
        """Let go of what was read: it is read again at the next try, which may be long from now."""
        if self._shaper is None:
            self._queue = []

    def again(self) -> None:
        """Read again from the position on, wherever that is now."""
        self._queue, self._ends = [], False

    def use(self, form: str) -> None:
        """Read again what is not delivered, in another form."""
        self.form = form
        self._converter = None
        self.again()

    def _fill(self, pace: Pace) -> bool:
        """Read on; say whether there was something, even if nothing in it can be sent."""
        position = self.folder.catch_up(self.signal)
        self._at = position.offset, position.records
        lines, end, begin = read_lines(
            self.folder.file(self.signal), position.offset, position.offset + MAX_BYTES, not self.live
        )
        ends = self._is_end(end)
        if lines:
            self.folder.note(self.signal, end, lines[-1][0])
        elif not ends:
            return False
        if self.signal == "metrics":
            self._prime(begin, pace)
        elif self.signal == "traces":
            self._look_for_start(begin, lines, pace)
        done = position.records if begin == position.offset else 0  # what was in between was removed just now
        if done and lines and position.theirs != self.theirs and MARK in lines[0][0]:
            done = 0  # others were counted: rather all of the line again than one of them never
        for line, after in lines:
            skipped = self.skipped if after > self._counted else Skipped()
            self._counted = max(self._counted, after)
            if not line:
                skipped.line("longer than 64 MB")
            elif line.isspace() or (MARK in line and not self.theirs and not (line := without_theirs(line))):
                continue
            else:
                self._queue += self._entries(line, begin, after, done, skipped, pace)
            begin, done = after, 0
        self._shaped = end
        if ends and self._shaper is not None:
            self._queue += self._shaped_entries(self._shaper.finish(), begin, end, done, pace)
            self._ends = True
        if self._queue:
            self._queue[-1] = *self._queue[-1][:3], end, 0
        else:  # nothing but damage
            position.offset, position.records = self._at = end, 0
            position.ended, self._ends = end if self._ends else position.ended, False
            self.folder.save()
        return True

    def _entries(self, line: bytes, begin: int, after: int, done: int, skipped: Skipped, pace: Pace) -> list[Entry]:
        """Return what is sent of one line, but for the first *done*; the last one's position is behind the line."""
        if self._shaper is not None:
            self._shaper.skipped = skipped
            return self._shaped_entries(self._shaper.line(line), begin, after, done, pace)
        if self.form == "lines" and self.signal == "traces":
            return self._spans_as_json(line, after, done, skipped, pace)
        if self.form == "lines":
            if done:
                data = as_json.without_first(done, self.signal, parse_line(line, skipped) or {})
                text = as_json.content(self.signal, data)
            else:
                text = as_json.groups(self.signal, line, skipped)
            return [(text, as_json.count(self.signal, text), len(text), after, 0)] if text else []
        converter = self._converter_with(skipped)
        converter.plan = self._plan
        found = converter.line(line, pace.look)
        size = len(line) // (len(found) or 1)
        return _numbered([(record, 1, size) for record in found], begin, after, done)

    def _converter_with(self, skipped: Skipped) -> Any:
        if self._converter is None:
            self._converter = _converter(self.signal, self.form, skipped)
        self._converter.skipped = skipped
        return self._converter

    # --- traces ------------------------------------------------------------------------------------------------------

    def _look_for_start(self, begin: int, lines: list[tuple[bytes, int]], pace: Pace) -> None:
        """Plan what becomes of the start's spans, if they are still to be sent."""
        if self._plan is not None and begin >= self._plan.end:
            self._plan = None
        if self._plan is None and (not self._looked or any(ROOT in line for line, _ in lines)):
            position, self._looked = self.position, True
            whole = position.planned > 0 or begin == position.records == 0
            self._plan = plan_of(self.folder.file(self.signal), begin, pace.look, folds=whole)
            if self._plan is not None and whole:
                position.planned = self._plan.end

    def _spans_as_json(self, line: bytes, after: int, done: int, skipped: Skipped, pace: Pace) -> list[Entry]:
        data, number = parse_line(line, skipped) or {}, 0
        for group in as_json.objects(data.get("resourceSpans")):
            for scoped in as_json.objects(group.get("scopeSpans")):
                planned = as_json.objects(scoped.get("spans"))
                spans = [raw for raw in planned if self._plan is None or self._plan.apply(raw) is not None]
                scoped["spans"], done = spans[done:], max(0, done - len(spans))
                number += len(scoped["spans"])
                for raw in scoped["spans"]:
                    complete(raw)
                pace.look()
        text = as_json.content(self.signal, data) if number else b""
        return [(text, number, len(text), after, 0)] if number else []

    # --- metrics -----------------------------------------------------------------------------------------------------

    def _is_end(self, end: int) -> bool:
        """Say whether the process has said that it ended, all of its metrics are read, and their end is not sent."""
        if self.signal != "metrics" or self.live or self.position.ended == end:
            return False
        return self.folder.end(self.signal) <= end and has_ended(self.folder.path)

    def _prime(self, begin: int, pace: Pace) -> None:
        """Let the shaper see what lies before *begin*, if it has not."""
        if self._shaper is None or begin < self._shaped:
            self._shaper, self._shaped = Shaper(self.target, Skipped()), 0
        self._shaper.skipped = Skipped()
        while self._shaped < begin:
            until = min(self._shaped + MAX_BYTES, begin)
            lines, after, _ = read_lines(self.folder.file(self.signal), self._shaped, until, over=False)
            for line, _ in lines:
                if not line.isspace():
                    self._shaper.line(line)
                    pace.look()
            self._shaped = min(after, begin) if after > self._shaped else begin  # behind what was removed, perhaps

    def _shaped_entries(self, data: Any, begin: int, after: int, done: int, pace: Pace) -> list[Entry]:
        """Return the points of one object but for the first *done*, in the form in which they are sent."""
        if data is None or self._shaper is None:
            return []
        if self.form == "lines":
            data = as_json.without_first(done, self.signal, data)
            text, number = as_json.content(self.signal, data), as_json.count_points(data)
            return [(text, number, len(text), after, 0)] if number else []
        converter = self._converter_with(self._shaper.skipped)
        found: list[tuple[Any, int, int]] = []
        for record in converter.records(data):
            number, size = (len(record[1]), sum(map(len, record[1]))) if self.form == "encoded" else (1, 200)
            found.append((record, number, size))
            pace.look()
        return _numbered(found, begin, after, done)


def _numbered(found: list[tuple[Any, int, int]], begin: int, after: int, done: int) -> list[Entry]:
    """Return records with the position after each: how many of its line are done, behind the line for the last one.

    Those that are among the first *done* are left out.
    """
    entries: list[Entry] = []
    number = 0
    for record, count, size in found:
        number += count
        if number > done:
            entries.append((record, count, size, begin, number))
    if entries:
        entries[-1] = *entries[-1][:3], after, 0
    return entries


def form_of(target: Target) -> str:
    """Return the form in which the records for *target* are read, see Stream."""
    if "otlp" in target.exporters and target.protocol == "http/json":
        return "lines"
    return "encoded" if target.signal != "logs" and target.exporters == ("otlp",) else "records"


def _converter(signal: str, form: str, skipped: Skipped) -> Any:
    if form == "encoded" and signal == "metrics":
        from .wire_points import PointEncoder

        return PointEncoder(skipped)
    if form == "encoded":
        from .wire import Encoder

        return Encoder(skipped)
    from .convert import Converter

    return Converter(signal, skipped)
