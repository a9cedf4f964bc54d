"""The whole window: taken, drawn line by line, and given back as it was, whatever happens.

Reading order: has_window(), in_window(); Screen.__enter__(), draw(), wait(), __exit__(); clip().
"""

from __future__ import annotations

import os
import re
import signal
import sys
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from otel_perf.analysis.text import NARROWEST, cells, cut

from .system import Ended, Hangup, OldConsole, terminal, undisturbed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType
    from typing import TextIO

    from otel_perf.analysis.text import Style

    from .system import Terminal

# Another buffer than the shell's, no cursor, no wrapping: a line that is measured wrongly disturbs no other one.
TAKE = "\x1b[?1049h"
ANEW = "\x1b[?25l\x1b[?7l\x1b[0m\x1b[2J"
GIVE_BACK = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"
USUAL = os.terminal_size((80, 24))
_COLOR = re.compile(r"(\x1b\[\d*m)")


def has_window(stdin: TextIO | None, stdout: TextIO, environ: Mapping[str, str] | None = None) -> bool:
    """Say whether there is somebody with keys before a window that can be drawn on."""
    term = (os.environ if environ is None else environ).get("TERM", "")
    if stdin is None or not stdin.isatty():  # None: it is closed
        return False
    return stdout.isatty() and (sys.platform == "win32" or term not in ("", "dumb"))


def in_window(use: Callable[[Screen], None], style: Style) -> bool:
    """Take the window for as long as *use* needs it; say whether it could be taken.

    A signal that ends this ends the process, once the window has been given back.
    """
    screen = Screen(sys.stdin, sys.stdout, style)
    try:
        with screen:
            use(screen)
    except OldConsole:
        return False
    except Hangup:  # nobody is left to be told; as output.write(): else the flush at exit complains once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Ended as ended:
        signal.signal(ended.number, signal.SIG_DFL)
        os.kill(os.getpid(), ended.number)
    return True


class Screen:
    """The window, while it is ours.

    Attributes:
        style: as wide as the window.
        height: of the window, in lines.
    """

    def __init__(self, stdin: TextIO, stdout: TextIO, style: Style, system: Terminal | None = None) -> None:
        self._out = stdout
        self._style = style
        self._system = terminal(stdin, stdout) if system is None else system
        self._size = USUAL
        self._drawn: list[str] = []
        self._taken = False

    def __enter__(self) -> Screen:
        try:
            self._take()
        except BaseException:
            self._give_back()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._give_back()

    @property
    def style(self) -> Style:
        """How to write in this window."""
        return replace(self._style, width=max(self._size.columns, NARROWEST))

    @property
    def height(self) -> int:
        """Lines of the window."""
        return self._size.lines

    def draw(self, lines: Sequence[str]) -> None:
        """Show *lines*, from the top; only those are written that have changed."""
        self._measure()
        if self._system.anew:
            self._system.anew = False
            self._drawn = []
            out = [ANEW]
        else:
            out = []
        shown = [clip(line, self._size.columns) for line in lines[: self._size.lines]]
        shown += [""] * (self._size.lines - len(shown))
        for row, line in enumerate(shown):
            if row >= len(self._drawn) or self._drawn[row] != line:
                out.append(f"\x1b[{row + 1};1H\x1b[2K{line}")
        self._drawn = shown
        if out:
            self._write("".join(out))

    def wait(self, seconds: float) -> list[str]:
        """Return the keys that have come, at the latest after so many seconds; sooner if the window has changed."""
        keys = self._system.wait(seconds)
        if self._system.stopping():
            self._give_back()
            self._system.stop()
            self._take()
        self._measure()
        return keys

    @property
    def anew(self) -> bool:
        """All has to be drawn: the window is another one, or somebody else has written on it."""
        return self._system.anew

    def redraw(self) -> None:
        """Have the next draw() write everything."""
        self._system.anew = True

    def _measure(self) -> None:
        with suppress(OSError, ValueError):
            size = os.get_terminal_size(self._out.fileno())
            if size.columns and size.lines and size != self._size:
                self._size = size
                self._system.anew = True

    def _take(self) -> None:
        self._system.enter()
        self._taken = True
        self._write(TAKE)
        self._measure()

    def _give_back(self) -> None:
        with undisturbed():
            if self._taken:
                self._taken = False
                with suppress(Hangup, ValueError):  # it is gone
                    self._write(GIVE_BACK)
            self._system.leave()

    def _write(self, text: str) -> None:
        encoding = getattr(self._out, "encoding", None) or "ascii"
        try:
            self._out.write(text.encode(encoding, "replace").decode(encoding))
            self._out.flush()
        except OSError as error:
            raise Hangup(str(error)) from None


def clip(line: str, width: int) -> str:
    """Return *line*, which may have colours, in at most *width* cells."""
    if len(line) <= width and line.isascii():
        return line
    parts = _COLOR.split(line)
    left, ended = width, False
    for number in range(0, len(parts), 2):
        whole = parts[number]
        parts[number] = "" if ended else cut(whole, left, "")  # else a mark without width would go to another letter
        ended = ended or parts[number] != whole
        left -= cells(whole)
    return "".join(parts)
