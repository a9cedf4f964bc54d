"""What ``python -X importtime`` writes to stderr: a start that is made of its imports.

A module's line comes after those of the modules that it imported, which are indented more. It has how long the import
took, alone and with those; not when it began. So imports lie one after the other, those of a module at its beginning.
The root's end is the last import's, and nothing says whether the program was ready then.

Source: CPython, Python/import.c, import_find_and_load(). Its numbers are those of one thread at a time: imports on
several threads at once are taken for nested ones, and lose time to each other (python/cpython#149308).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from otel_perf.amounts import plural
from otel_perf.errors import UserError
from otel_perf.export.json_values import Skipped
from otel_perf.formats import silent

from .run import LONGEST as LONGEST_NAME
from .run import Ids, begin_of, resource_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_perf.formats.story import Progress

    from .run import Process, Run
    from .source import Source

LONGEST = 10**14  # µs of one import; what is longer was never measured
_WORD = b"import time:"  # a program that writes to stderr too may have left its line without an end
_LINE = re.compile(rb"import time: +(-?\d{1,18}) \| +(-?\d{1,18}) \| ( *)(\S.*)$")
_HEADER = re.compile(rb"import time: self \[us\] \| cumulative \| imported package")
_CACHED = re.compile(rb"import time: cached +\| cached +\| ")  # with -X importtime=2, of Python 3.14


class Import(NamedTuple):
    """One line.

    Attributes:
        depth: 0 of one that no other import caused.
        own: nanoseconds without nested imports; less than 0 where threads took it from each other.
        begin: nanoseconds since the first import began, as is end.
    """

    module: str
    depth: int
    own: int
    begin: int
    end: int


def read(source: Source, run: Run, service: str | None, skipped: Skipped, progress: Progress) -> list[str]:
    """Write *source* as a process of *run*; return what is to be said of it, one line each."""
    log = _Log(source)
    length = number = 0
    for one in log.imports(skipped, silent):
        length, number = one.end, number + 1
    if not number:
        mend = "python -X importtime writes them to stderr: python -X importtime app.py 2> FILE"
        raise UserError(f"{source.name} has no line of an import, `import time: 123 | 456 | module`; {mend}")
    process = run.process(resource_of(source.origin, "importtime", service, times="laid out"))
    _write(log, process, begin_of(length, source.name), progress)
    notes = []
    if log.negative:
        some = plural(log.negative, "import")
        notes.append(f"{some} with a self time below 0, shown as 0: on threads at once, which the log mixes up")
    if log.interpreters > 1:
        notes.append(f"{log.interpreters} interpreters wrote this log; whose imports are whose it does not say")
    return notes


def _write(log: _Log, process: Process, zero: int, progress: Progress) -> None:
    """Write the imports, the first of which begins at *zero*, and the root."""
    ids = Ids()
    trace, root = ids.trace(), ids.span()
    waiting: dict[int, int] = {}  # by depth, the id of the module whose line is still to come
    number, end = 0, zero
    for one in log.imports(Skipped(), progress):
        above = waiting.setdefault(one.depth - 1, ids.span()) if one.depth else root
        own = waiting.pop(one.depth, 0) or ids.span()
        for depth in [depth for depth in waiting if depth > one.depth]:
            del waiting[depth]
        says = {
            "otel_perf.kind": "import",
            "otel_perf.module": one.module,
            "otel_perf.depth": one.depth + 1,
            "otel_perf.self_time": max(0, one.own) / 1e9,
        }
        number, end = number + 1, zero + one.end
        process.span((trace, own, above), f"import {one.module}", zero + one.begin, end, says)
    says = {"otel_perf.kind": "startup", "otel_perf.depth": 0, "otel_perf.startup.imports": number}
    process.span((trace, root, 0), "startup", zero, end, says)
    process.end()


class _Log:
    """The log, read as often as wanted.

    Attributes:
        negative: imports whose self time is below 0.
        interpreters: how many began to write it.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.negative = self.interpreters = 0

    def imports(self, skipped: Skipped, progress: Progress) -> Iterator[Import]:
        """Yield the imports in the order of their lines; what else the program wrote is passed over."""
        self.negative = self.interpreters = 0
        open_: list[tuple[int, int]] = []  # of imports whose importer is still to come: depth and begin, deepest last
        cursor = 0
        for line in self.source.lines(skipped, progress):
            found = _LINE.search(line.rstrip())
            if found is None:
                self._pass_over(line, skipped)
                continue
            own, whole = int(found[1]), int(found[2])
            if max(abs(own), abs(whole)) > LONGEST:
                skipped.line("of more than three years")
                continue
            self.negative += own < 0
            depth, begin = len(found[3]) // 2, cursor
            while open_ and open_[-1][0] > depth:
                begin = open_.pop()[1]
            cursor = max(cursor, begin + whole * 1_000)  # µs are rounded up, each for itself
            if depth and not (open_ and open_[-1][0] == depth):
                open_.append((depth, begin))
            yield Import(found[4].decode("utf-8", "replace")[:LONGEST_NAME], depth, own * 1_000, begin, cursor)

    def _pass_over(self, line: bytes, skipped: Skipped) -> None:
        if _HEADER.search(line):
            self.interpreters += 1
        elif _WORD in line and not _CACHED.search(line):
            skipped.line("no import, though it says so")
