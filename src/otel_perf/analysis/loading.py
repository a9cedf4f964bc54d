"""Reads the folder of one process, once or again and again: what a run in progress has added is read where that ended.

Reading order: Tail, Reader, load_process(); sorting.py then sorts spans into those of the start and the others.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from otel_perf.errors import UserError
from otel_perf.export.decode import CHUNK, MAX_LINE, logs_of, parse_line, points_of, spans_of
from otel_perf.export.json_values import Skipped
from otel_perf.export.parts import open_at, parts_of
from otel_perf.export.runs import LOGS, METRICS, TRACES

from .model import END, INFERRED, USABLE, Process, infer, number_of, text_of
from .sorting import Spans
from .unfinished import read_unfinished

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from otel_perf.export.decode import Log, Point, Span

    Progress = Callable[[str, int, int], None]
    SeriesKey = tuple[str, str]  # the instrument, and its attributes as a text

ENDINGS = 8  # words on the end of one process that are kept, and the last one
ENDED = "otel_perf.process.ended"


class Tail:
    """One file, all its parts, read from where the last look ended.

    Attributes:
        offset: after the last line that was read.
        skipped: what could not be read.
    """

    __slots__ = ("_began", "_inode", "offset", "path", "skipped")

    def __init__(self, path: str) -> None:
        self.path = path
        self.offset = 0
        self.skipped = Skipped()
        self._began = self._inode = -1  # of the part that is written to

    def lines(self, size: int, over: bool) -> Iterator[tuple[int, bytes]]:
        """Yield offset and text of the whole lines that are new.

        Args:
            size: bytes to stop after, at the end of a line.
            over: nobody writes any more: the last line is taken as it is; else it is left alone while it has no end.

        Raises: OSError: the file is there and cannot be read.
        """
        until, more = self.offset + size, True
        while more and self.offset < until and (opened := open_at(self.path, self.offset)) is not None:
            file, self.offset, more = opened
            with file:
                while self.offset < until and (line := file.readline(MAX_LINE + 1)):
                    length = len(line)
                    whole = line.endswith(b"\n")
                    if not whole and length > MAX_LINE:
                        while not whole and (part := file.readline(CHUNK)):
                            length += len(part)
                            whole = part.endswith(b"\n")
                        line = b""
                    if not whole and not over and not more:
                        return
                    begin, self.offset = self.offset, self.offset + length
                    if not line:
                        self.skipped.line("longer than 64 MB")
                    elif not line.isspace():
                        yield begin, line

    def size(self) -> int:
        """Return the offset after the last byte there is.

        Raises: OSError: it cannot be read.
        """
        parts = parts_of(self.path)
        return parts[-1].end if parts else 0

    def began_anew(self) -> bool:
        """Say whether the file is another one than the one that was read: it was cut, or removed and written again.

        Raises: OSError: it cannot be read.
        """
        parts = parts_of(self.path)
        last = parts[-1] if parts and parts[-1].last else None
        if last is None:
            return bool(self.offset) and not parts
        try:
            inode = os.stat(last.path).st_ino
        except FileNotFoundError:
            return False  # continued since; the next look tells
        before = self._began, self._inode
        self._began, self._inode = last.begin, inode
        return self.offset > last.end or (before[0] == last.begin and before[1] not in (-1, inode))


class Reader:
    """Reads one process's folder, and later what is new there.

    Attributes:
        path: the folder.
        spans: how many spans were read.
        first: the earliest moment in them, in nanoseconds since 1970, 0 before the first record, and
        last: the latest in any record.
    """

    def __init__(self, path: str, others: Iterable[str] = ()) -> None:
        self.path = path
        full = os.path.abspath(path)
        self._known = Process(path, os.path.basename(os.path.dirname(full)), os.path.basename(full))
        self._known.others = list(others)
        self._spans = Spans(self._known)
        self._latest: dict[SeriesKey, Point] = {}
        self._endings: list[dict[str, Any]] = []
        self._usable: float | None = None
        self.tails = {name: Tail(os.path.join(path, name)) for name in (TRACES, METRICS, LOGS)}
        self.spans = 0
        self.first = self.last = 0

    def take(self, size: int = CHUNK, over: bool = True) -> bool:
        """Read about *size* bytes of what is new; say whether there may be more.

        Args:
            size: bytes.
            over: the process has ended: what has no end is as long as it will ever be.

        Raises: UserError: a file is there and cannot be read.
        """
        for name, read in ((METRICS, self._metrics), (LOGS, self._logs), (TRACES, self._traces)):
            tail = self.tails[name]
            before = tail.offset
            try:
                read(tail, size, over)
            except OSError as error:
                raise UserError(f"cannot read {tail.path}: {error.strerror or error}; is it yours?") from None
            if tail.offset - before >= size:
                return True
        return False

    def process(self) -> Process:
        """Return what is known by now; it changes with the next take()."""
        process = self._known
        self._spans.settle()
        process.record.close()
        points: dict[str, list[Point]] = {}
        for point in self._latest.values():
            points.setdefault(point.metric, []).append(point)
        process.points = points
        process.ended = self._ended()
        process.last = self.last
        usable = number_of(process.root_attributes, USABLE)
        process.usable = self._usable if usable is None else usable
        process.unfinished = read_unfinished(self.path)
        process.skipped = {tail.path: tail.skipped for tail in self.tails.values() if tail.skipped}
        return process

    def _ended(self) -> dict[str, Any]:
        """Return what is said of the process's end, the later words on top."""
        root = self._known.root_attributes
        found = {END: root[END]} if END in root else {}
        for says in self._endings:
            first = text_of(found, END)
            found |= says
            if first and text_of(says, END) == "status":  # the parent knows the code, the process knows why
                found[END] = first
        return found

    # --- what subclasses look at too ---

    def line(self, offset: int, latest: int) -> None:
        """Take note of a line of spans: where it begins, and when the last of them ended (ns since 1970)."""

    def span(self, span: Span) -> None:
        """Take a span."""
        self.spans += 1
        self.first = min(self.first or span.start, span.start)
        self.last = max(self.last, span.end)
        self._spans.add(span)

    def point(self, point: Point, key: SeriesKey) -> None:
        """Take a point of a metric, of the series *key*."""
        process = self._known
        self._latest[key] = point
        process.record.point(point)
        process.resource = process.resource or point.resource
        self.first, self.last = self.first or point.time, max(self.last, point.time)

    def log(self, log: Log) -> None:
        """Take a log record."""
        process = self._known
        process.resource = process.resource or log.resource
        self.first, self.last = self.first or log.time, max(self.last, log.time)
        if process.record.event(log):
            return
        if log.event == ENDED:
            self._endings = [*self._endings[:ENDINGS], log.attributes]
        elif log.event == USABLE and self._usable is None:
            self._usable = number_of(log.attributes, USABLE)
        elif log.event == INFERRED:
            infer(process, log)

    def _traces(self, tail: Tail, size: int, over: bool) -> None:
        for offset, text in tail.lines(size, over):
            data = parse_line(text, tail.skipped)
            if data is not None:
                latest = 0
                for span in spans_of(data, tail.skipped):
                    latest = max(latest, span.end)
                    self.span(span)
                self.line(offset, latest)

    def _metrics(self, tail: Tail, size: int, over: bool) -> None:
        for _, text in tail.lines(size, over):
            data = parse_line(text, tail.skipped)
            if data is not None:
                for point in points_of(data, tail.skipped):
                    self.point(point, (point.metric, repr(sorted(point.attributes.items(), key=_key))))

    def _logs(self, tail: Tail, size: int, over: bool) -> None:
        for _, text in tail.lines(size, over):
            data = parse_line(text, tail.skipped)
            if data is not None:
                for log in logs_of(data, tail.skipped):
                    self.log(log)


def _key(pair: tuple[str, Any]) -> str:
    return pair[0]


def load_process(path: str, others: Iterable[str] = (), progress: Progress | None = None) -> Process:
    """Read the folder of one process.

    Args:
        path: the folder.
        others: names of the run's other processes, for the report to list.
        progress: is told what is being done, and how many of how many bytes were read.

    Raises: UserError: a file is there and cannot be read.
    """
    reader = Reader(path, others)
    tails, whole = reader.tails.values(), 0
    while reader.take():
        if progress is not None:
            whole = whole or sum(tail.size() for tail in tails)
            progress(f"reading {path}", sum(tail.offset for tail in tails), whole)
    return reader.process()
