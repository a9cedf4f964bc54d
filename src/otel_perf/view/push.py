"""What is pushed to a page that stays open: server-sent events, at most one of a kind a second.

Nothing waits for a page: each asks for what came since its own last event, when it has taken that. Reading order:
Stream.parts().
"""

from __future__ import annotations

import asyncio
import os
from math import ceil
from time import monotonic
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool

from . import answers
from .encode import encode
from .runs import Missing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from .live import Live
    from .runs import Runs

PACE = 1.0  # seconds between two events of a kind
SHARE = 0.1  # of the time that making events may take, at most
LOOK = 0.1  # seconds between two looks whether the server ends
HEARTBEAT = 3.0  # seconds without an event after which a comment says that the server lives
RETRY = 1_000  # milliseconds after which the browser connects again
SELDOM = 5.0  # seconds between two states while a run is being read
BEHIND = 8 * 2**20  # unread bytes from which on a run is being read, not followed


class Stream:
    """Events of one process for one page.

    Attributes:
        run: its name, and
        process: that of the process.
        position: moment of the newest sample that was told, in milliseconds since 1970.
    """

    def __init__(self, runs: Runs, run: str, process: str, last_event: str) -> None:
        self.runs = runs
        self.run = run
        self.process = process
        digits = last_event.isascii() and last_event.isdigit() and len(last_event) < 16
        self.position = float(last_event) if digits else None
        self._told: object = None
        self._told_at = -SELDOM
        self._start_told = False  # that is over
        self._over = False

    async def parts(self, closing: Callable[[], bool]) -> AsyncIterator[bytes]:
        """Yield the text of the stream, until the process is gone or *closing* says that the server ends."""
        yield b"retry: %d\n\n" % RETRY
        quiet = monotonic()
        while not closing() and not self._over:
            begun = monotonic()
            part = await run_in_threadpool(self._next)
            now = monotonic()
            if part or now - quiet >= HEARTBEAT:
                quiet = now
                yield part or b": still here\n\n"
            until = begun + max(PACE, (now - begun) / SHARE)
            while not closing() and not self._over and (left := until - monotonic()) > 0:
                await asyncio.sleep(min(left, LOOK))

    def _next(self) -> bytes:
        """Return the events that are due, as one text."""
        try:
            found = self.runs.find(self.run, self.process)
        except Missing as error:
            return self._gone(str(error))
        live = self.runs.live(found)
        if live.error:
            return b"" if os.path.isdir(found.path) and not live.spans else self._gone(live.error)
        return b"".join(self._due(live))

    def _due(self, live: Live) -> Iterator[bytes]:
        behind = live.total - live.read > BEHIND
        if behind:
            yield self._event("progress", encode({"read": live.read, "total": live.total}))
        state, key, over = answers.state(live, not self._start_told)
        if key != self._told and (not behind or monotonic() - self._told_at >= SELDOM):
            self._told, self._told_at, self._start_told = key, monotonic(), over
            yield self._event("state", state)
        if not behind:
            newest, samples = answers.samples(live, self.position)
            if samples is not None:
                self.position = newest
                yield self._event("samples", encode(samples))

    def _event(self, name: str, data: str) -> bytes:
        position = "" if self.position is None else f"id: {ceil(self.position)}\n"
        return f"event: {name}\n{position}data: {data}\n\n".encode()

    def _gone(self, why: str) -> bytes:
        self._over = True
        return self._event("gone", encode({"error": why}))
