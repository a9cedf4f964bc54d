"""What has a whole window, and whether there is one; app.py takes it, by Textual, and gives it back.

Reading order: View, has_window(), in_window().
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any, Protocol, TextIO

    from otel_perf.analysis.text import Style

    class View(Protocol):
        """What is shown in a window: lines, which keys and time change."""

        @property
        def writing(self) -> bool:
            """Say whether keys are text now, of a search."""

        def step(self) -> float | None:
            """Do what is due; return the seconds until more is, None: it has ended."""

        def press(self, key: str) -> bool:
            """Do what *key* asks for, a character or a name of Textual (``pageup``); False: somebody has enough."""

        def frame(self, style: Style, height: int) -> Sequence[str]:
            """Return the lines of a window of *height* lines, none wider than the style."""


def has_window(stdin: TextIO | None, *out: TextIO | None, environ: Mapping[str, str] | None = None) -> bool:
    """Say whether there is somebody with keys before a window that can be drawn on, through all of *out*."""
    term = (os.environ if environ is None else environ).get("TERM", "")
    if not all(stream is not None and stream.isatty() for stream in (stdin, *out)):  # None: it is closed
        return False
    return sys.platform == "win32" or term not in ("", "dumb")


def in_window(view: View, style: Style) -> None:
    """Show *view* until it has ended or somebody has enough.

    A signal that ends this ends the process, once the window has been given back.

    Raises: KeyboardInterrupt: somebody pressed Ctrl-C; and whatever *view* raises.
    """
    from .app import Window  # loads Textual, which lines do not need

    for name in ("COLUMNS", "LINES"):  # where a shell exports these they say how large the window was then
        os.environ.pop(name, None)
    if not os.environ.get("NO_COLOR"):  # empty is unset, but not to Textual
        os.environ.pop("NO_COLOR", None)
    window = Window(view, style)
    with _lenient(), _modes_kept():
        window.run(mouse=False)  # it stays the terminal's, for marking and copying
    if window.error is not None:
        raise window.error
    if window.return_code:  # Textual has said what went wrong in it
        raise SystemExit(window.return_code)
    if window.interrupted and sys.platform != "win32":
        os.killpg(os.getpgrp(), signal.SIGINT)
    if window.ended_by == signal.SIGINT:
        raise KeyboardInterrupt
    if window.ended_by:
        signal.signal(window.ended_by, signal.SIG_DFL)
        os.kill(os.getpid(), window.ended_by)


@contextmanager
def _modes_kept() -> Iterator[None]:
    """Put the terminal's modes back as they were, whatever Textual has come to."""
    if sys.platform == "win32":
        yield
        return
    import termios

    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    try:
        yield
    finally:
        with suppress(OSError, termios.error):  # the terminal is gone
            termios.tcsetattr(terminal, termios.TCSADRAIN, before)


@contextmanager
def _lenient() -> Iterator[None]:
    """Have bytes that are no UTF-8 be a sign of that, as a terminal of another encoding sends: Textual would end."""
    if sys.platform == "win32":
        yield
        return
    from textual.drivers import linux_driver

    driver: Any = linux_driver
    real = driver.getincrementaldecoder
    driver.getincrementaldecoder = lambda name: partial(real(name), "replace")
    try:
        yield
    finally:
        driver.getincrementaldecoder = real
