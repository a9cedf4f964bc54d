"""Sending beside the application: how long the thread that sends may keep the interpreter from the others.

Imports only: time, sys. Python code runs on one thread at a time, and one that asks for its turn gets it after 5 ms. So
the thread that sends gives its turn away every millisecond and before every module it loads: for a moment where the
program is idle, for four times what it used itself where the program is busy.
"""

from __future__ import annotations

import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

EVERY = 8  # records between two looks at the clock
TURN = 0.001  # seconds between two rests
BLINK = 0.0002  # seconds: enough for a thread that waits to take its turn
BUSY = 0.3  # of a core: above this the program is at work
SHARE = 5  # beside a busy program we take at most one part in this many of a core
LONGEST = 0.25  # seconds

_thread_time = getattr(time, "thread_time", time.process_time)


class Pace:
    """Rests of the thread that sends.

    Attributes:
        leaving: says whether the process ends: then there is no rest.
    """

    def __init__(self, leaving: Callable[[], bool], wait: Callable[[float], object] = time.sleep) -> None:
        """Make one.

        Args:
            leaving: see above.
            wait: takes seconds; a wait that ends when the process does keeps nobody waiting.
        """
        self.leaving = leaving
        self._wait = wait
        self._wall = time.perf_counter()
        self._mine = _thread_time()
        self._all = time.process_time()
        self._busy = 0.0

    def start(self) -> None:
        """Forget what was measured before: the thread has waited."""
        self._wall, self._mine, self._all = time.perf_counter(), _thread_time(), time.process_time()

    def rest(self) -> None:
        """Give the turn away for as long as the program needs."""
        if self.leaving():
            return
        mine = _thread_time()
        used = mine - self._mine
        if self._busy > BUSY:
            self._wait(min(LONGEST, used * (SHARE - 1)))
        else:
            time.sleep(BLINK)
        wall, everyone = time.perf_counter(), time.process_time()
        passed = wall - self._wall
        if passed > 0.0:
            others = max(0.0, everyone - self._all - (_thread_time() - self._mine)) / passed
            self._busy += (others - self._busy) * min(1.0, passed / 0.05)  # over the last 50 ms or so
        self._wall, self._mine, self._all = wall, _thread_time(), everyone

    def look(self) -> None:
        """Rest if it is time to."""
        if time.perf_counter() - self._wall > TURN:
            self.rest()

    def through(self, records: Sequence[Any]) -> Iterator[Any]:
        """Yield *records* with rests between them."""
        for number, record in enumerate(records, 1):
            yield record
            if not number % EVERY:
                self.look()


class Paced:
    """A list that rests while it is read: an exporter encodes it in small pieces without knowing."""

    def __init__(self, records: list[Any], pace: Pace) -> None:
        self._records = records
        self._pace = pace

    def __iter__(self) -> Iterator[Any]:
        return self._pace.through(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: Any) -> Any:
        return self._records[index]


class PacedImports:
    """While this is open, the imports of this thread rest before each module.

    Nothing is raised into one that is under way: a package that is half imported stays so for the rest of the process.
    """

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._thread = 0

    def __enter__(self) -> None:
        from _thread import get_ident

        self._thread = get_ident()
        sys.meta_path.insert(0, self)

    def __exit__(self, *exception: object) -> None:
        self.end()

    def end(self) -> None:
        """Let imports be as they were; a child of a fork does so, too."""
        try:
            sys.meta_path.remove(self)
        except ValueError:  # somebody has replaced the list's content
            return

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Find nothing, but rest."""
        from _thread import get_ident

        if get_ident() == self._thread:
            self._pace.rest()
