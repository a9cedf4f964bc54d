"""`otel-perf top` in a window: once a second what is new, and at once what a key asks for.

Reading order: watch(), press().
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from .functions import SORTS
from .snapshot import Watch
from .state import STEPS, State
from .top import frame

if TYPE_CHECKING:
    from .follow import Followed
    from .screen import Screen
    from .snapshot import Snapshot

AT_ONCE = 0.1  # seconds of reading after which keys are looked at
PROGRESS = 0.3  # seconds between two frames while a long run is read
PAGE = 10  # lines


def watch(followed: Followed, screen: Screen, interval: float, frames: int | None = None) -> None:
    """Show what is followed until somebody has enough, or after so many *frames*.

    Args:
        followed: the process.
        screen: the window, which is ours.
        interval: seconds between two frames.
        frames: how many, None: no end.
    """
    taking, state = Watch(followed), State()
    snapshot = taking.take()
    due = progress = 0.0
    more = True
    while True:
        now = monotonic()
        asked = False
        if now >= due or more:
            followed.look()
            more = followed.read(AT_ONCE)
            if now >= due or (more and now >= progress):
                timed = now >= due and not more
                due = (due + interval if now - due < interval else now + interval) if timed else due
                progress = now + PROGRESS
                asked = True
                if not state.paused:
                    snapshot = taking.take(state.advanced)
                if timed and frames is not None:
                    frames -= 1
        if asked or screen.anew:
            screen.draw(frame(snapshot, state, screen.style, screen.height))
        if frames == 0:
            return
        for key in screen.wait(0.0 if more else max(0.0, due - monotonic())):
            paused = state.paused
            if key == "redraw":
                screen.redraw()
            elif not press(key, state, snapshot, followed):
                return
            elif state.paused and not paused:
                snapshot = taking.take(advanced=True)  # whatever is looked at meanwhile
            elif key in ("a", "p", "tab", "back tab") and not state.search.writing:
                due, progress = min(due, monotonic()), 0.0
            screen.draw(frame(snapshot, state, screen.style, screen.height))


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
    elif key in ("tab", "back tab"):
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
    step = {"up": -1, "down": 1, "page up": -PAGE, "page down": PAGE, "home": -(10**9), "end": 10**9}.get(key, 0)
    most = len(snapshot.others) + len(snapshot.history) if state.advanced else len(snapshot.functions) - 1
    state.scroll = min(max(0, state.scroll + step), max(0, most))
