"""The run that is written: its folder, one process in it for each that the files tell of, and their records.

Reading order: Run, Process; then what a file needs that knows no time of day: Ids, begin_of(), resource_of().
"""

from __future__ import annotations

import os
import shutil
import time
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from otel_perf.__about__ import __version__
from otel_perf.errors import UserError
from otel_perf.export import otlp_json
from otel_perf.export.folder import RunFolder, create_run
from otel_perf.export.otlp_json import MAX_LINE, SAMPLED, SPANS_A_LINE, attributes, double, metric_text, quote
from otel_perf.export.private import make_folder
from otel_perf.export.runs import LOGS, METRICS, TRACES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

LONGEST = 1_024  # characters of a name, as the recorder cuts it
NO_LIMIT = 2**62  # bytes: whoever imports a file wants all of it
MOST_OPEN = 100  # processes whose files are open at once
FROM = "otel_perf.imported."  # of the resource: from, format, times, unit, call_paths
SIGNALS = {  # of OTLP: file, and what holds a scope, and what its items are called
    "resourceSpans": (TRACES, "scopeSpans", "spans"),
    "resourceMetrics": (METRICS, "scopeMetrics", "metrics"),
    "resourceLogs": (LOGS, "scopeLogs", "logRecords"),
}


class Run:
    """A new run in the folder of runs; leaving its with-block by an error takes it away again.

    Attributes:
        path: its folder.
        name: the folder's name.
        known: processes by what OTLP tells them from each other by.
    """

    def __init__(self, folder: str) -> None:
        self._base = folder
        self._open: dict[str, RunFolder] = {}
        self.path = ""
        self.known: dict[str, Process] = {}

    def __enter__(self) -> Run:
        try:
            self.path = create_run(self._base)
        except OSError as error:
            mend = "may you write there? --folder names another"
            raise UserError(f"cannot make a run in {self._base}: {error.strerror or error}; {mend}", 1) from None
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        for folder in self._open.values():
            folder.end()
        if kind is not None:
            shutil.rmtree(self.path, ignore_errors=True)

    @property
    def name(self) -> str:
        """The name of its folder."""
        return os.path.basename(self.path)

    def process(self, resource: Mapping[str, Any], pid: object = None) -> Process:
        """Return a new process of the run.

        Args:
            resource: its attributes.
            pid: its number; what is none becomes that of this process, as a name that nobody else has.
        """
        name = str(pid if type(pid) is int and 0 < pid < 2**31 else os.getpid())
        try:
            return Process(self, _make_unique(self.path, name), resource)
        except OSError as error:
            raise self._failed(error) from None

    def write(self, path: str, file: str, line: bytes) -> None:
        """Append *line* to a *file* of the process's folder *path*."""
        folder = self._open.pop(path, None) or RunFolder(path, NO_LIMIT)
        self._open[path] = folder
        if len(self._open) > MOST_OPEN:
            self._open.pop(next(iter(self._open))).end()
        try:
            folder.write(file, line)
        except OSError as error:
            raise self._failed(error) from None

    def _failed(self, error: OSError) -> UserError:
        return UserError(f"cannot write to {self.path}: {error.strerror or error}; is there room?", 1)


def _make_unique(parent: str, name: str) -> str:
    number = 1
    while True:
        path = os.path.join(parent, name if number == 1 else f"{name}-{number}")
        try:
            make_folder(path)
        except FileExistsError:
            number += 1
        else:
            return path


class Value(NamedTuple):
    """A point of a sum: its attributes, and its number in the metric's unit."""

    says: Mapping[str, Any]
    number: float


class Process:
    """One process of a run that is written."""

    def __init__(self, run: Run, path: str, resource: Mapping[str, Any]) -> None:
        self.path = path
        self._run = run
        self._resource = attributes(resource)
        self._scope = otlp_json.scope("otel_perf.import", __version__)
        self._spans: list[str] = []
        self._length = 0

    def span(
        self, ids: tuple[int, int, int], name: str, begin: int, end: int, says: Mapping[str, Any]
    ) -> None:  # fmt: skip
        """Write a span.

        Args:
            ids: of its trace, its own, its parent's or 0.
            name: cut at LONGEST.
            begin: nanoseconds since 1970, as is
            end: too.
            says: its attributes.
        """
        trace, own, parent = ids
        above = f',"parentSpanId":"{parent:016x}"' if parent else ""
        text = (
            f'{{"traceId":"{trace:032x}","spanId":"{own:016x}"{above},"flags":{SAMPLED},"name":{quote(name[:LONGEST])}'
            f',"kind":1,"startTimeUnixNano":"{begin}","endTimeUnixNano":"{end}","attributes":[{attributes(says)}]}}'
        )
        self._spans.append(text)
        self._length += len(text)
        if len(self._spans) >= SPANS_A_LINE or self._length > MAX_LINE // 2:
            self._flush()

    def sums(self, name: str, unit: str, values: Iterable[Value], begin: int, end: int) -> None:
        """Write the sum *name*, which has counted from *begin* to *end*."""
        when = f'"startTimeUnixNano":"{begin}","timeUnixNano":"{end}"'
        points = (f'{{"attributes":[{attributes(one.says)}],{when},"asDouble":{double(one.number)}}}' for one in values)
        self.points(name, unit, "sum", points)

    def points(self, name: str, unit: str, kind: str, points: Iterable[str]) -> None:
        """Write the metric *name* with its points, in as many lines as that takes."""
        some: list[str] = []
        length = 0
        for point in points:
            some.append(point)
            length += len(point)
            if length > MAX_LINE // 2:
                self._metric(metric_text(name, unit, kind, some, monotonic=kind == "sum"))
                some, length = [], 0
        if some:
            self._metric(metric_text(name, unit, kind, some, monotonic=kind == "sum"))

    def _metric(self, text: str) -> None:
        for line in otlp_json.metric_lines(self._resource, self._scope, [text]):
            self._run.write(self.path, METRICS, line)

    def end(self) -> None:
        """Write what is left."""
        if self._spans:
            self._flush()

    def _flush(self) -> None:
        resource = f'{{"attributes":[{self._resource}]}}'
        self.items("resourceSpans", resource, self._scope, "", self._spans)
        self._spans = []
        self._length = 0

    def items(self, signal: str, resource: str, scope: str, more: str, items: list[str]) -> None:
        """Write *items* of one scope, in as many lines as that takes.

        Args:
            signal: of SIGNALS.
            resource: an OTLP Resource, as JSON.
            scope: a ScopeSpans, ScopeMetrics or ScopeLogs as JSON, without its items and what closes it.
            more: what follows the scopes of the group, with a comma before it.
            items: as JSON, at least one.
        """
        file, scopes, inner = SIGNALS[signal]
        head = f'{{"{signal}":[{{"resource":{resource},"{scopes}":[{scope},"{inner}":['
        tail = f"]}}]{more}}}]}}\n"
        most = MAX_LINE - len(head) - len(tail)
        first = length = 0
        for number, item in enumerate(items):
            if number > first and (length + len(item) > most or number - first >= SPANS_A_LINE):
                self._put(file, head, items[first:number], tail)
                first, length = number, 0
            length += len(item) + 1
        self._put(file, head, items[first:], tail)

    def _put(self, file: str, head: str, items: list[str], tail: str) -> None:
        line = f"{head}{','.join(items)}{tail}".encode()
        self._run.write(self.path, file, line)


# --- what knows no time of day ---------------------------------------------------------------------------------------


class Ids:
    """Ids of traces and spans, as an SDK makes them: by chance, and never 0."""

    def __init__(self) -> None:
        self._bits = Random().getrandbits

    def trace(self) -> int:
        """Return the id of a new trace."""
        return self._bits(128) or 1

    def span(self) -> int:
        """Return the id of a new span."""
        return self._bits(64) or 1


def begin_of(length: int, name: str) -> int:
    """Return where something of *length* ns begins that ends now, in nanoseconds since 1970.

    Raises: UserError: that is before 1970; *name* is that of the file.
    """
    now = time.time_ns()
    if length >= now:
        raise UserError(f"the times in {name} add up to {length / 1e9:.3g} s; such a long one was never measured")
    return now - length


def resource_of(origin: str, form: str, service: str | None, **more: str) -> dict[str, str]:
    """Return the resource of a process that was imported.

    Args:
        origin: that of the Source.
        form: its format.
        service: the service's name, if somebody said one.
        more: what else is to be known of the import.
    """
    named = {"service.name": service} if service else {}
    return {**named, **{FROM + key: text for key, text in {"from": origin, "format": form, **more}.items()}}
