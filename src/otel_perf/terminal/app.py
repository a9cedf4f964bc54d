"""The window, by Textual: takes it, gives keys and time to a view, shows its lines, and gives it back.

Textual has the keys, the size, the drawing and every terminal's and system's ways; the lines are drawn by the room that
draws the report, so that both say the same in the same columns.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from rich.text import Text
from textual.app import App
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from otel_perf.analysis.text import NARROWEST

from .search import LONGEST

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from textual.app import ComposeResult
    from textual.events import Key, Paste, Resize
    from textual.geometry import Size
    from textual.timer import Timer

    from otel_perf.analysis.text import Style

    from .window import View

ENDING = ("SIGINT", "SIGTERM", "SIGHUP")
LOOK = 1.0  # seconds between two looks whether the terminal is still there
SAME = {"ctrl+j": "enter", "ctrl+h": "backspace"}  # keys that a terminal may send for others


class Lines(Widget, can_focus=True):
    """A view as large as the window."""

    app: Window

    def __init__(self) -> None:
        super().__init__()
        self._shown: list[str] = []
        self._strips: list[Strip] = []

    def render_line(self, y: int) -> Strip:
        """Return line *y*, cut and filled to the width of the window."""
        strip = self._strips[y] if y < len(self._strips) else Strip([])
        return strip.adjust_cell_length(self.size.width)

    def draw(self, size: Size | None = None) -> None:
        """Show the view as it is now."""
        size = size or self.size
        before, self._shown = self._shown, self.app.lines(size.width, size.height)
        self._strips = [Strip(Text.from_ansi(line, end="").render(self.app.console)) for line in self._shown]
        rows = range(max(len(before), len(self._shown)))
        changed = [row for row in rows if before[row : row + 1] != self._shown[row : row + 1]]
        if changed:
            self.refresh(*(Region(0, row, self.size.width, 1) for row in changed))

    def on_resize(self, event: Resize) -> None:
        """Fill another size."""
        self.app.guarded(partial(self.draw, event.size))

    def on_key(self, event: Key) -> None:
        """Give the view its keys, but for those that are about the window itself."""
        event.stop()
        event.prevent_default()
        if event.key == "ctrl+c":
            self.app.interrupted = True
            self.app.end(signal.SIGINT)
        elif event.key == "ctrl+z":
            self.app.pause()
        elif event.key == "ctrl+l":
            self.app.refresh()
        else:
            text = event.character if event.is_printable and not event.key.startswith("alt+") else None
            key = text or SAME.get(event.key, event.key)
            self.app.guarded(partial(self.app.press, key))

    def on_paste(self, event: Paste) -> None:
        """Take what is pasted as if it were written, where something is written."""
        event.stop()
        self.app.guarded(partial(self.app.press, *filter(str.isprintable, event.text[:LONGEST]), text=True))


class Window(App[None]):
    """The window of one view.

    Attributes:
        ended_by: number of the signal that ended it, SIGINT for Ctrl-C; 0: none did.
        interrupted: it was Ctrl-C, which a terminal sends to all that run in it.
        error: what the view raised, to be told once the window has been given back.
    """

    ENABLE_COMMAND_PALETTE = False
    CSS = "Lines { width: 100%; height: 100%; }"

    def __init__(self, view: View, style: Style) -> None:
        super().__init__(ansi_color=True)
        self.ended_by = 0
        self.interrupted = False
        self.error: Exception | None = None
        self._view = view
        self._style = style
        self._lines = Lines()
        self._timer: Timer | None = None
        self._stopped = False

    def compose(self) -> ComposeResult:
        """Yield the one widget."""
        yield self._lines

    def on_load(self) -> None:
        """Be ready for signals before the window is taken."""
        if sys.platform != "win32":
            loop = asyncio.get_running_loop()
            for number in (getattr(signal, name) for name in ENDING):
                if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                    loop.add_signal_handler(number, self.end, number)

    def on_mount(self) -> None:
        """Begin."""
        self._lines.focus()
        self.app_resume_signal.subscribe(self, lambda _: self.refresh())  # the shell has written on the window
        if sys.platform != "win32" and not self.is_headless:
            self._resume_only_what_was_stopped()
            self.set_interval(LOOK, self._look)
        self.call_after_refresh(self.guarded, self._step)

    def end(self, number: int) -> None:
        """Give the window back, since the signal *number* came or a key says the same."""
        self.ended_by = number
        self.exit()

    def pause(self) -> None:
        """Give the window to the shell, as Ctrl-Z does where nobody else takes keys: for all that run in it."""
        if sys.platform != "win32" and not self.is_headless:
            os.killpg(os.getpgrp(), signal.SIGTSTP)

    def press(self, *keys: str, text: bool = False) -> None:
        """Have the view do what *keys* ask for, *text* only where it is written."""
        for key in keys:
            if text and not self._view.writing:
                break
            if not self._view.press(key):
                self.exit()
                return
        if self._timer is not None:  # a key may have asked for what is new
            self._timer.stop()
            self._step()

    def lines(self, width: int, height: int) -> list[str]:
        """Return the view's lines for a window of that size."""
        return list(self._view.frame(replace(self._style, width=max(width, NARROWEST)), height))

    def guarded(self, work: Callable[[], None]) -> None:
        """Do *work*; what it raises ends the window and is told afterwards."""
        try:
            work()
        except Exception as error:  # noqa: BLE001  # raised again by in_window()
            self.error = error
            self.exit()

    def _step(self) -> None:
        seconds = self._view.step()
        self._lines.draw()
        if seconds is None:
            self.exit()
        else:
            self._timer = self.set_timer(max(seconds, 0.001), partial(self.guarded, self._step))

    def _look(self) -> None:
        """End with the terminal: whoever ignores SIGHUP, or gets none, would else run for nobody."""
        if not os.isatty(sys.__stdin__.fileno()):  # type: ignore[union-attr]  # has_window() has looked
            self.end(signal.SIGHUP)

    def _resume_only_what_was_stopped(self) -> None:
        """Have a SIGCONT of anybody else, after SIGSTOP or none, draw anew: Textual would take the window once more."""
        stop, go_on = signal.getsignal(signal.SIGTSTP), signal.getsignal(signal.SIGCONT)
        loop = asyncio.get_running_loop()

        def stopped(number: int, frame: FrameType | None) -> None:
            self._stopped = True
            stop(number, frame)  # type: ignore[operator, misc]  # Textual has set it

        def continued(number: int, frame: FrameType | None) -> None:
            if self._stopped:
                self._stopped = False
                go_on(number, frame)  # type: ignore[operator, misc]
            else:
                loop.call_soon_threadsafe(self.refresh)

        signal.signal(signal.SIGTSTP, stopped)
        signal.signal(signal.SIGCONT, continued)
