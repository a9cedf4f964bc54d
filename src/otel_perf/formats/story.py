"""A run as the formats need it: spans in the order in which they began, counters and alerts, in bounded memory.

Files hold spans in the order in which they ended, children before their parents; every format wants them by start. They
are sorted by a database that SQLite keeps in a temporary file and takes away itself: with a million spans or ten, the
memory stays the same. Only names are kept, each once, and at most MOST_SITES of them.

Reading order: Site, Begun, Process, Story.
"""

from __future__ import annotations

import json
import os
import sqlite3
from math import isfinite
from typing import TYPE_CHECKING, NamedTuple

from otel_perf.alerts import ESCALATED, RAISED, RESOLVED
from otel_perf.errors import UserError
from otel_perf.export.decode import logs_of, points_of, read_lines, spans_of
from otel_perf.export.json_values import Skipped
from otel_perf.export.parts import parts_of
from otel_perf.export.runs import LOGS, METRICS, TRACES
from otel_perf.metrics import names
from otel_perf.system import open_file

from . import silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from otel_perf.analysis.unfinished import Unfinished
    from otel_perf.export.decode import Span

    Progress = Callable[[str, int, int], None]  # what it does, how much of it is done, how much there is
    Rows = Callable[[dict[str, Any], Skipped], Iterator[tuple[Any, ...]]]

KINDS = ("startup", "phase", "import", "function", "operation")  # of our own spans; another one is a "span"
COUNTERS = (names.CORES[0], names.MEMORY[0], names.THREADS[0], names.FILES[0], names.HANDLES[0], "otel_perf.score")
ALERTS = tuple(f"otel_perf.budget.{kind}" for kind in (RAISED, ESCALATED, RESOLVED))
MOST_SITES = 100_000  # names that are kept apart; those past it share one
MOST_UNFINISHED = 100  # of a process; it writes no more
LONGEST = 1_024  # characters of a name, as the recorder cuts it
LATEST = 2**63  # ns since 1970; what is later was never measured, and SQLite has no number for it
CACHE = 16_384  # KiB that SQLite keeps in memory
MAIN = 0  # thread of a span of ours that names none
UNNAMED = "(no name)"
OTHERS = "(others)"

_TABLES = f"""
PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA temp_store = FILE; PRAGMA cache_size = -{CACHE};
CREATE TABLE span (id, parent, begin, end, site, thread, active, trace);
CREATE TABLE counter (time, name, value);
CREATE TABLE event (time, name, says);
"""
COLUMNS = {"span": 8, "counter": 3, "event": 3}


class Site(NamedTuple):
    """One place in the code that was recorded.

    Attributes:
        name: the span's name.
        kind: one of KINDS, or ``span`` for one of the plain OpenTelemetry API.
        file: where its code stands, empty where unknown; line is 0 then.
    """

    name: str
    kind: str
    file: str = ""
    line: int = 0


class Begun(NamedTuple):
    """One span, as the database gives it.

    Attributes:
        id: its span id as a number; parent is that of its parent, or None.
        begin: nanoseconds since 1970, as is end.
        site: number of its Site.
        thread: native id of the thread it ran on, MAIN of our own that name none, None where nobody can know.
        active: of a generator, nanoseconds inside its body; None of all others.
        starting: it belongs to the start.
    """

    id: int
    parent: int | None
    begin: int
    end: int
    site: int
    thread: int | None
    active: int | None
    starting: bool


class Process:
    """One process of the run.

    Attributes:
        name: its folder's, and path is the folder's path.
        pid: its number; that of the folder where it was not recorded.
        service: name and version of the service, empty where unknown.
        rows: first and last row of its spans, counters and events in their tables.
        start: trace of its start, None if it recorded none.
        unfinished: what was open when it was last seen, by its begin.
    """

    __slots__ = ("_resource", "name", "path", "pid", "rows", "service", "start", "unfinished")

    def __init__(self, path: str) -> None:
        self.path = path
        self.name = os.path.basename(os.path.abspath(path))
        digits = self.name.partition("-")[0]
        self.pid = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 10 else 0
        self.service = ""
        self.rows = dict.fromkeys(COLUMNS, (1, 0))
        self.start: int | None = None
        self.unfinished: list[Unfinished] = []
        self._resource: dict[str, Any] = {}

    def describe(self, span: Span) -> None:
        """Take what *span* says of its process: the last one knows best."""
        resource = span.resource
        if resource and resource is not self._resource:
            self._resource = resource
            pid, words = resource.get("process.pid"), (resource.get("service.name"), resource.get("service.version"))
            self.service = " ".join(word for word in words if isinstance(word, str))
            if type(pid) is int and 0 < pid < 2**31:
                self.pid = pid

    @property
    def title(self) -> str:
        """What tells it from the run's other processes."""
        return f"{self.service} ({self.name})" if self.service else self.name


class Story:
    """One run, read once and told as often as wanted; leaving its with-block takes its temporary file away.

    Attributes:
        name: the run's.
        processes: those that recorded something, in the order of read().
        sites: by number.
        spans: how many there are.
        begin: of the first span, finished or not, in nanoseconds since 1970, and
        end: of the last one.
        skipped: what could not be read, by file.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.processes: list[Process] = []
        self.sites: list[Site] = []
        self.spans = 0
        self.begin = self.end = 0
        self.skipped: dict[str, Skipped] = {}
        self._numbers: dict[Site, int] = {}
        self._database = sqlite3.connect("", isolation_level=None)  # a temporary file, on disk once it is large
        self._database.executescript(_TABLES)

    def __enter__(self) -> Story:
        return self

    def __exit__(self, *error: object) -> None:
        self._database.close()

    # --- reading -----------------------------------------------------------------------------------------------------

    def read(self, path: str, everything: bool, progress: Progress, unfinished: Iterable[Unfinished] = ()) -> None:
        """Read the folder of one process.

        Args:
            path: the folder.
            everything: counters and alerts too.
            progress: is told how many lines of a file are read, and how many there are.
            unfinished: what was open in it when it was last seen.

        Raises:
            UserError: a file is there and cannot be read.
            sqlite3.Error: there is no room for the temporary file.
        """
        process = Process(path)
        self._read(process, "span", TRACES, lambda data, skipped: self._spans(process, data, skipped), progress)
        if everything:
            self._read(process, "counter", METRICS, _counters, progress)
            self._read(process, "event", LOGS, _alerts, progress)
        begun = sorted((one for one in unfinished if 0 < one.since < LATEST), key=lambda one: one.since)
        process.unfinished = begun[:MOST_UNFINISHED]
        for one in process.unfinished[:1]:
            self.begin = min(self.begin or one.since, one.since)
        if process.unfinished or any(first <= last for first, last in process.rows.values()):
            self.processes.append(process)

    def _read(self, process: Process, table: str, name: str, rows_of: Rows, progress: Progress) -> None:
        path, skipped = os.path.join(process.path, name), Skipped()
        first = self._last(table) + 1
        marks = ", ".join("?" * COLUMNS[table])
        try:
            lines = _told(read_lines(path, skipped), progress, f"reading {name} of {process.name}", path)
            rows = (row for data in lines for row in rows_of(data, skipped))
            self._database.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror or error}; is it yours?") from None
        process.rows[table] = first, self._last(table)
        if skipped:
            self.skipped[path] = skipped

    def _last(self, table: str) -> int:
        found: int | None = self._database.execute(f"SELECT max(rowid) FROM {table}").fetchone()[0]
        return found or 0

    def _spans(self, process: Process, data: dict[str, Any], skipped: Skipped) -> Iterator[tuple[Any, ...]]:
        for span in spans_of(data, skipped):
            if not 0 < span.start <= span.end < LATEST:
                skipped.record("span without a time")
                continue
            process.describe(span)
            self.begin = min(self.begin or span.start, span.start)
            self.end = max(self.end, span.end)
            self.spans += 1
            says = span.attributes
            kind = says.get("otel_perf.kind")
            trace = int(span.trace_id[16:], 16) >> 1
            if kind == "startup" or (kind == "phase" and process.start is None):
                process.start = trace
            thread, active = says.get("thread.id"), says.get("otel_perf.active_time")
            yield (
                _signed(span.span_id),
                _signed(span.parent_id),
                span.start,
                span.end,
                self._number(_site_of(span)),
                thread if type(thread) is int else MAIN if kind in KINDS else None,
                int(active * 1e9) if type(active) is float and 0 <= active < 1e9 else None,
                trace,
            )

    def _number(self, site: Site) -> int:
        found = self._numbers.get(site)
        if found is None:
            if len(self._numbers) >= MOST_SITES:
                site = Site(OTHERS, site.kind)
                if site in self._numbers:
                    return self._numbers[site]
            found = self._numbers[site] = len(self.sites)
            self.sites.append(site)
        return found

    # --- telling -----------------------------------------------------------------------------------------------------

    def begun(self, process: Process) -> Iterator[Begun]:
        """Yield the spans of *process* by their begin, of those that begin together the longest first."""
        rows = self._rows(
            "SELECT id, parent, begin, end, site, thread, active, trace IS ? FROM span WHERE rowid BETWEEN ? AND ? "
            "ORDER BY begin, end DESC, rowid DESC",  # a child is written before its parent
            process.start,
            *process.rows["span"],
        )
        return map(Begun._make, rows)

    def counters(self, process: Process) -> Iterator[tuple[int, str, float]]:
        """Yield time, name and value of what was sampled of *process*."""
        return self._rows("SELECT time, name, value FROM counter WHERE rowid BETWEEN ? AND ?", *process.rows["counter"])

    def alerts(self, process: Process) -> Iterator[tuple[int, str, dict[str, Any]]]:
        """Yield time, text and attributes of the alerts of *process*."""
        query = "SELECT time, name, says FROM event WHERE rowid BETWEEN ? AND ?"
        for time, name, says in self._rows(query, *process.rows["event"]):
            yield time, name, json.loads(says)

    def _rows(self, query: str, *values: object) -> Iterator[Any]:
        return self._database.execute(query, values)


def visible(name: str) -> str:
    """Return *name* on one line, what a terminal might obey written out: escapes, direction marks."""
    plain = " ".join(name.split())
    if not plain.isprintable():
        plain = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in plain)
    return plain or UNNAMED


def _site_of(span: Span) -> Site:
    """Return where *span* was recorded; half a surrogate pair, which JSON can hold, becomes a question mark."""
    says = span.attributes
    kind, file, line = says.get("otel_perf.kind"), says.get("code.file.path"), says.get("code.line.number")
    name = span.name[:LONGEST].encode("utf-8", "replace").decode() or UNNAMED
    if not isinstance(file, str) or not file:
        return Site(name, kind if kind in KINDS else "span")
    file = file[:LONGEST].encode("utf-8", "replace").decode()
    return Site(name, kind if kind in KINDS else "span", file, line if type(line) is int and 0 < line < 2**31 else 0)


def _counters(data: dict[str, Any], skipped: Skipped) -> Iterator[tuple[int, str, float]]:
    for point in points_of(data, skipped):
        value = point.value
        if point.metric in COUNTERS and value is not None and isfinite(value) and 0 < point.time < LATEST:
            yield point.time, f"{point.metric} ({point.unit})" if point.unit else point.metric, float(value)


def _alerts(data: dict[str, Any], skipped: Skipped) -> Iterator[tuple[int, str, str]]:
    for log in logs_of(data, skipped):
        if log.event in ALERTS and 0 < log.time < LATEST:
            text = log.body if isinstance(log.body, str) else log.event
            says = {key: value for key, value in log.attributes.items() if _is_plain(value)}
            yield log.time, text, json.dumps(says)


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int) or (isinstance(value, float) and isfinite(value))


def _signed(span_id: str) -> int | None:
    """Return a span id as SQLite's kind of integer."""
    return int(span_id, 16) - 2**63 if span_id else None


def _told(lines: Iterator[dict[str, Any]], progress: Progress, what: str, path: str) -> Iterator[dict[str, Any]]:
    """Yield *lines* and tell *progress*, if it wants to know, of them."""
    whole = _lines_in(path) if progress is not silent else 0
    for number, line in enumerate(lines):
        if whole and number % 64 == 0:
            progress(what, number, whole)
        yield line


def _lines_in(path: str) -> int:
    found = 0
    try:
        for part in parts_of(path):
            with open_file(part.path) as file:
                found += sum(piece.count(b"\n") for piece in iter(lambda: file.read(2**20), b""))
    except OSError:  # who reads it will say so
        return 0
    return found
