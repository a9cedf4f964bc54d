"""`otel-perf top` in a window: once a second what is new, and at once what a key asks for.

Reading order: Watching.step(), Watching.press(), press().
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from .functions import SORTS
from .snapshot import Watch
from .state import STEPS, State
from .top import frame

if TYPE_CHECKING:
    from otel_perf.analysis.text import Style

    from .follow import Followed
    from .snapshot import Snapshot

AT_ONCE = 0.1  # seconds of reading after which keys are looked at
PROGRESS = 0.3  # seconds between two frames while a long run is read
PAGE = 10  # lines


class Watching:
    """What is followed, in a window."""

    def __init__(self, followed: Followed, interval: float, frames: int | None = None) -> None:
        """Begin.

        Args:
            followed: the process.
            interval: seconds between two frames.
            frames: end after so many; None: no end.
        """
        self._followed = followed
        self._interval = interval
        self._left = frames
        self._taking, self._state = Watch(followed), State()
        self._snapshot = self._taking.take()
        self._due = self._progress = 0.0

    def step(self) -> float | None:
        """Read what is new, for a moment; return the seconds until there is more to do, None after the last frame."""
        now = monotonic()
        self._followed.look()
        more = self._followed.read(AT_ONCE)
        timed = now >= self._due and not more
        if timed:
            self._due = self._due + self._interval if now - self._due < self._interval else now + self._interval
        if (timed or (more and now >= self._progress)) and not self._state.paused:
            self._progress = now + PROGRESS
            self._snapshot = self._taking.take(self._state.advanced)
        if timed and self._left is not None:
            self._left -= 1
        if self._left == 0:
            return None
        return 0.0 if more else max(0.0, self._due - monotonic())

    @property
    def writing(self) -> bool:
        """Say whether keys are text now, of the search."""
        return self._state.search.writing

    def press(self, key: str) -> bool:
        """Do what *key* asks for; say whether to go on."""
        paused, writing = self._state.paused, self.writing
        if not press(key, self._state, self._snapshot, self._followed):
            return False
        if self._state.paused and not paused:
            self._snapshot = self._taking.take(advanced=True)  # whatever is looked at meanwhile
        elif key in ("a", "p", "tab", "shift+tab") and not writing:
            self._due, self._progress = min(self._due, monotonic()), 0.0
        return True

    def frame(self, style: Style, height: int) -> list[str]:
        """Return the lines of a window of *height* lines, none wider than the style."""
        return frame(self._snapshot, self._state, style, height)


def press(key: str, state: State, snapshot: Snapshot, followed: Followed) -> bool:
    """Do what *key* asks for; say whether to go on."""
    if state.search.writing:
        state.search.key(key)
        state.scroll = 0
    elif state.help:
        state.help = False
    elif key in ("q", "Q"):
        return False
    elif key == "p":
        state.paused = not state.paused
    elif key == "s":
        state.sort = (state.sort + 1) % len(SORTS)
    elif key == "/":
        state.search.writing = True
    elif key == "escape":
        state.search.text = ""
    elif key == "r":
        state.since = snapshot.now
    elif key in ("-", "_"):
        state.step = min(state.step + 1, len(STEPS) - 1)
    elif key in ("+", "="):
        state.step = max(state.step - 1, 0)
    elif key == "a":
        state.advanced, state.scroll = not state.advanced, 0
    elif key in ("tab", "shift+tab"):
        state.since = 0.0
        state.scroll = 0
        state.paused = False
        followed.turn(1 if key == "tab" else -1)
    elif key == "?":
        state.help = True
    else:
        _scroll(key, state, snapshot)
    return True


def _scroll(key: str, state: State, snapshot: Snapshot) -> None:
    step = {"up": -1, "down": 1, "pageup": -PAGE, "pagedown": PAGE, "home": -(10**9), "end": 10**9}.get(key, 0)
    most = len(snapshot.others) + len(snapshot.history) if state.advanced else len(snapshot.functions) - 1
    state.scroll = min(max(0, state.scroll + step), max(0, most))
