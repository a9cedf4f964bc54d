"""The window, by Textual: takes it, gives keys and time to a view, shows its lines, and gives it back.

Textual has the keys, the size, the drawing and every terminal's and system's ways; the lines are drawn by the room that
draws the report, so that both say the same in the same columns.
"""

from __future__ import annotations

import asyncio
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

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.app import ComposeResult
    from textual.events import Key, Paste, Resize
    from textual.geometry import Size

    from otel_perf.analysis.text import Style

    from .window import View

ENDING = ("SIGINT", "SIGTERM", "SIGHUP")


class Lines(Widget, can_focus=True):
    """A view as large as the window."""

    app: Window

    def __init__(self) -> None:
        super().__init__()
        self._shown: list[str] = []

    def render_line(self, y: int) -> Strip:
        """Return line *y*; what its length was thought to be does not matter: it is cut."""
        text = Text.from_ansi(self._shown[y], end="") if y < len(self._shown) else Text(end="")
        return Strip(text.render(self.app.console)).adjust_cell_length(self.size.width)

    def draw(self, size: Size | None = None) -> None:
        """Show the view as it is now."""
        size = size or self.size
        before, self._shown = self._shown, self.app.lines(size.width, size.height)
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
            self.app.end(signal.SIGINT)
        elif event.key == "ctrl+z":
            self.app.action_suspend_process()
        elif event.key == "ctrl+l":
            self.app.refresh()
        else:
            key = event.character if event.is_printable and event.character else event.key
            self.app.guarded(partial(self.app.press, key))

    def on_paste(self, event: Paste) -> None:
        """Take what is pasted as if it were written."""
        event.stop()
        for key in filter(str.isprintable, event.text):
            self.app.guarded(partial(self.app.press, key))


class Window(App[None]):
    """The window of one view.

    Attributes:
        ended_by: number of the signal that ended it, SIGINT for Ctrl-C; 0: none did.
        error: what the view raised, to be told once the window has been given back.
    """

    ENABLE_COMMAND_PALETTE = False
    CSS = "Lines { width: 100%; height: 100%; }"

    def __init__(self, view: View, style: Style) -> None:
        super().__init__(ansi_color=True)
        self.ended_by = 0
        self.error: Exception | None = None
        self._view = view
        self._style = style
        self._lines = Lines()

    def compose(self) -> ComposeResult:
        """Yield the one widget."""
        yield self._lines

    def on_mount(self) -> None:
        """Begin."""
        self._lines.focus()
        self.app_resume_signal.subscribe(self, lambda _: self.refresh())  # the shell has written on the window
        if sys.platform != "win32":
            loop = asyncio.get_running_loop()
            for number in (getattr(signal, name) for name in ENDING):
                if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                    loop.add_signal_handler(number, self.end, number)
        self.call_after_refresh(self.guarded, self._step)

    def end(self, number: int) -> None:
        """Give the window back, since the signal *number* came or a key says the same."""
        self.ended_by = number
        self.exit()

    def press(self, key: str) -> None:
        """Have the view do what *key* asks for."""
        if self._view.press(key):
            self._lines.draw()
        else:
            self.exit()

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
            self.set_timer(max(seconds, 0.001), partial(self.guarded, self._step))
