"""Finds the root of a process's start and no more, for lists of runs; later in what is new of its files alone.

Reading order: Summary.look(), summarize(); first_started().
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from otel_perf.errors import UserError
from otel_perf.export.decode import logs_of, parse_line, spans_of
from otel_perf.export.runs import LOGS, TRACES

from .loading import Tail
from .model import INFERRED, Process, infer, node_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from otel_perf.export.decode import Span

ALL = 2**62  # bytes


class Summary:
    """The start's root of a process, for want of one what was inferred, and its first span.

    Attributes:
        path: the process's folder.
        process: what was found of it.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._begin()

    def _begin(self) -> None:
        full = os.path.abspath(self.path)
        self.process = Process(self.path, os.path.basename(os.path.dirname(full)), os.path.basename(full))
        self._traces = Tail(os.path.join(self.path, TRACES))
        self._logs = Tail(os.path.join(self.path, LOGS))

    def look(self, over: bool = True) -> Process:
        """Search what is new for the root, if it is not known yet; return the process.

        Args:
            over: nobody writes any more: a last line without an end is taken as it is.

        Raises: UserError: a file is there and cannot be read.
        """
        try:
            if self._traces.began_anew():
                self._begin()
            if self.process.root is None:
                self._search_traces(over)
            if self.process.root is None and self.process.inferred is None:
                self._search_logs(over)
        except OSError as error:
            where = error.filename or self.path
            raise UserError(f"cannot read {where}: {error.strerror or error}; is it yours?") from None
        return self.process

    def _search_traces(self, over: bool) -> None:
        process = self.process
        for span in self._spans(over):
            if not process.nodes:
                process.resource = span.resource
                process.nodes.append(node_of(span))
            if span.attributes.get("otel_perf.kind") == "startup":
                process.resource, process.root, process.root_attributes = (
                    span.resource,
                    node_of(span),
                    span.attributes,
                )
                return

    def _spans(self, over: bool) -> Iterator[Span]:
        """Yield the spans of new lines that may have the root in them, the first of all among them."""
        skipped = self._traces.skipped
        for _, line in self._traces.lines(ALL, over):
            data = parse_line(line, skipped) if b'"startup"' in line or not self.process.nodes else None
            yield from spans_of(data, skipped) if data is not None else ()

    def _search_logs(self, over: bool) -> None:
        """Look whether the program seemed to be ready, though no root says so."""
        skipped = self._logs.skipped
        for _, line in self._logs.lines(ALL, over):
            data = parse_line(line, skipped) if INFERRED.encode() in line else None
            for log in logs_of(data, skipped) if data is not None else ():
                if log.event == INFERRED:
                    infer(self.process, log)
                    return


def summarize(path: str) -> Process:
    """Return what Summary finds in the process folder *path*, which is looked at once.

    Raises: UserError: a file is there and cannot be read.
    """
    return Summary(path).look()


def first_started(processes: Iterable[Process]) -> Process:
    """Return the process of *processes* (at least one) whose root is earliest; else whose first span is."""

    def key(process: Process) -> tuple[bool, int]:
        first = process.root or (process.nodes[0] if process.nodes else None)
        return process.root is None, 2**64 if first is None else first.start

    return min(processes, key=key)
