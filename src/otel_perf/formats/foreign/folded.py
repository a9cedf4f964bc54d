"""Folded stacks: a line a call path, root first, its frames divided by ``;``, then a number.

The number is the time in the last frame alone, in µs, or how many samples were taken there. The lines are laid out in
their order: what a line has in common with the one before goes on, the rest of that ends. So an export that is imported
has its call paths in the same order, and memory does not grow with the file. How often something was called a file of
this kind does not say.

Source: Brendan Gregg, FlameGraph, flamegraph.pl.
"""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING, NamedTuple

from otel_perf.amounts import plural
from otel_perf.errors import UserError
from otel_perf.export.json_values import Skipped
from otel_perf.formats import silent

from . import UNITS
from .run import Ids, Value, begin_of, resource_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_perf.formats.story import Progress

    from .run import Process, Run
    from .source import Source

LARGEST = 1e15  # of a number; what is more was never measured
DEEPEST = 1_000  # frames of a path that are kept apart; what they call counts as their own
MOST_PATHS = 100_000  # whose numbers are added up, and
MOST_CHARACTERS = 2**26  # of them; of these
MOST_POINTS = 1_000  # are written, the largest
_NUMBER = re.compile(rb"[0-9]+(?:\.[0-9]*)?")


class Stack(NamedTuple):
    """One line: names of the frames, outermost first, and the nanoseconds of its number."""

    path: list[str]
    time: int


def read(
    source: Source, run: Run, service: str | None, skipped: Skipped, progress: Progress, unit: str = "us"
) -> list[str]:
    """Write *source* as a process of *run*; return what is to be said of it, one line each.

    Args:
        source: the file.
        run: takes it.
        service: the service's name, if somebody said one.
        skipped: counts the lines that are no stack.
        progress: is told how far it is.
        unit: of the numbers, one of UNITS.
    """
    stacks = _Stacks(source, UNITS[unit])
    length = number = 0
    for stack in stacks.read(skipped, silent):
        length, number = length + stack.time, number + 1
    if not number:
        raise UserError(f"{source.name} has no stack, a line such as `main;load 12345`")
    process = run.process(resource_of(source.origin, "folded", service, times="laid out", unit=unit))
    begin = begin_of(length, source.name)
    totals = _write(stacks.read(Skipped(), progress), process, begin)
    _write_totals(totals, process, begin, begin + length)
    deep = plural(stacks.deep, "path")
    return [f"{deep} of more than {DEEPEST:,} frames: those past that count as their callers'"] if stacks.deep else []


class _Stacks:
    """The stacks of a file, read as often as wanted.

    Attributes:
        deep: lines whose path was cut.
    """

    def __init__(self, source: Source, unit: int) -> None:
        self.source = source
        self.unit = unit
        self.deep = 0

    def read(self, skipped: Skipped, progress: Progress) -> Iterator[Stack]:
        """Yield the stacks in the order of their lines."""
        self.deep = 0
        for line in self.source.lines(skipped, progress):
            line = line.removeprefix(codecs.BOM_UTF8).strip()
            if not line:
                continue
            words = line.rsplit(None, 2)  # bytes: a blank that does not break is part of a name
            stack, number = line[: -len(words[-1])].rstrip(), words[-1]
            if not stack or not _NUMBER.fullmatch(number):
                skipped.line("no stack and a number")
            elif len(words) == 3 and _NUMBER.fullmatch(words[1]):
                skipped.line("two numbers, a difference of two profiles")
            elif float(number) > LARGEST:
                skipped.line("number too large")
            else:
                path = stack.decode("utf-8", "replace").split(";", DEEPEST)
                self.deep += len(path) > DEEPEST
                # 1 ns where there is less: what has no length could stand on either side of what begins there
                yield Stack(path[:DEEPEST], max(1, round(float(number) * self.unit)))


class _Open(NamedTuple):
    """A span that has begun."""

    name: str
    trace: int
    span: int
    begin: int


def _write(stacks: Iterator[Stack], process: Process, begin: int) -> dict[str, int]:
    """Write the spans, the first of which begins at *begin*; return nanoseconds by call path."""
    ids, open_, now = Ids(), list[_Open](), begin
    totals: dict[str, int] = {}
    room = MOST_CHARACTERS

    def close(depth: int) -> None:
        while len(open_) > depth:
            one = open_.pop()
            above = open_[-1].span if open_ else 0
            process.span((one.trace, one.span, above), one.name, one.begin, now, {})

    for path, time in stacks:
        same = 0
        for one, name in zip(open_, path, strict=False):
            if one.name != name:
                break
            same += 1
        close(same)
        for name in path[same:]:
            trace = open_[0].trace if open_ else ids.trace()
            open_.append(_Open(name, trace, ids.span(), now))
        now += time
        text = ";".join(path)
        if text in totals:
            totals[text] += time
        elif len(totals) < MOST_PATHS and room > 0:
            totals[text] = time
            room -= len(text)
    close(0)
    process.end()
    return totals


def _write_totals(totals: dict[str, int], process: Process, begin: int, end: int) -> None:
    """Write the nanoseconds of the largest call paths as the metric that reports have them from."""
    largest = sorted(totals.items(), key=lambda item: -item[1])[:MOST_POINTS]
    values = (
        Value({"path": path, "function": path.rpartition(";")[2], "depth": path.count(";")}, time / 1e9)
        for path, time in largest
    )
    process.sums("otel_perf.profile.self_time", "s", values, begin, end)
