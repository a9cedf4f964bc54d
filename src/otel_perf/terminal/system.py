"""The terminal as the system has it: its modes, its size, its keys and signals.

Two classes of one interface, Posix and Windows. Reading order: enter(), leave(), wait(); stop().
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from .keys import Decoder, from_console

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType
    from typing import Any, Protocol, TextIO

    class Terminal(Protocol):
        """What screen.py needs of a system.

        Attributes:
            anew: somebody else may have written on the screen: all of it has to be drawn once more.
        """

        anew: bool

        def enter(self) -> None:
            """Have keys come one by one and unseen."""

        def leave(self) -> None:
            """Put all back as it was."""

        def wait(self, seconds: float) -> list[str]:
            """Return the keys that have come, at the latest after so many seconds; sooner if something changed."""

        def stopping(self) -> bool:
            """Say whether the terminal is asked back for a while."""

        def stop(self) -> None:
            """Stop until somebody lets it go on; it has left by now."""


ALONE = 0.05  # seconds after which an escape is a key of its own
CONSOLE_POLL = 0.03  # seconds between two looks for a key


class Ended(BaseException):
    """A signal has ended the command; ``number`` says which. Nothing but the command catches it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Hangup(Exception):  # noqa: N818  # it is how one ends
    """The terminal is gone."""


class OldConsole(Exception):  # noqa: N818  # one can do without
    """A console that obeys no sequences."""


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let no signal come in between: it comes right after."""
    if sys.platform == "win32":
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def terminal(stdin: TextIO, stdout: TextIO) -> Terminal:
    """Return the terminal that *stdin* and *stdout* are."""
    return Windows(stdout) if sys.platform == "win32" else Posix(stdin)


class Posix:
    """A terminal of a Unix, by termios and signals."""

    def __init__(self, stdin: TextIO) -> None:
        self.anew = False
        self._fd = stdin.fileno()
        self._decoder = Decoder()
        self._before: list[Any] | None = None
        self._handlers: dict[int, Any] = {}
        self._wakeup = (-1, -1)
        self._last_wakeup = -1
        self._changed = self._stopping = self._continues = False

    def enter(self) -> None:
        """Have keys come one by one and unseen, and signals as they are needed.

        Raises: Hangup: the terminal is gone.
        """
        if sys.platform == "win32":
            return
        import termios

        try:
            modes = termios.tcgetattr(self._fd)
            if self._before is None:
                self._before = termios.tcgetattr(self._fd)
            modes[3] &= ~(termios.ECHO | termios.ICANON)  # Ctrl-C and Ctrl-Z stay signals
            modes[6][termios.VMIN], modes[6][termios.VTIME] = 1, 0
            termios.tcsetattr(self._fd, termios.TCSADRAIN, modes)
        except termios.error as error:
            raise Hangup(str(error)) from None
        if not self._handlers:
            self._catch()
        self.anew = True

    def leave(self) -> None:
        """Put modes and handlers back."""
        if sys.platform == "win32":
            return
        import termios

        if self._before is not None:
            with suppress(OSError, termios.error):  # the terminal is gone
                termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()
        if self._wakeup[0] >= 0:
            signal.set_wakeup_fd(self._last_wakeup)
            for end in self._wakeup:
                os.close(end)
            self._wakeup = (-1, -1)

    def wait(self, seconds: float) -> list[str]:
        """Return the keys that have come, at the latest after so many seconds; sooner if a signal has come.

        Raises: Hangup: the terminal is gone.
        """
        until = time.monotonic() + seconds
        while True:
            left = max(0.0, until - time.monotonic())
            found = self._read(min(left, ALONE) if self._decoder.pending else left)
            if self._continues:  # while we were stopped somebody else had the terminal
                self._continues = False
                self.enter()
            if found or self._changed or self._stopping or time.monotonic() >= until:
                self._changed = False
                return found

    def stopping(self) -> bool:
        """Say whether Ctrl-Z was pressed."""
        return self._stopping

    def stop(self) -> None:
        """Stop as if nobody had caught the signal, until another one lets us go on."""
        self._stopping = False
        if sys.platform != "win32":
            os.kill(os.getpid(), signal.SIGTSTP)  # leave() has put back what it does by itself

    def _read(self, seconds: float) -> list[str]:
        import select

        ready, _, _ = select.select([self._fd, self._wakeup[0]], [], [], seconds)
        if self._wakeup[0] in ready:
            with suppress(BlockingIOError):
                os.read(self._wakeup[0], 512)
        if self._fd in ready:
            try:
                data = os.read(self._fd, 1024)
            except OSError as error:
                raise Hangup(str(error)) from None
            if not data:
                raise Hangup
            return self._decoder.feed(data)
        return self._decoder.rest() if not ready and self._decoder.pending else []

    def _catch(self) -> None:
        if sys.platform == "win32":
            return
        self._wakeup = os.pipe()
        for end in self._wakeup:
            os.set_blocking(end, False)
        self._last_wakeup = signal.set_wakeup_fd(self._wakeup[1], warn_on_full_buffer=False)
        for number, handler in (
            (signal.SIGWINCH, self._resized),
            (signal.SIGCONT, self._continued),
            (signal.SIGTSTP, self._stopped),
            (signal.SIGTERM, _end),
            (signal.SIGHUP, _end),
        ):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, or a shell without job control
                self._handlers[number] = signal.signal(number, handler)

    def _resized(self, number: int, frame: FrameType | None) -> None:
        self._changed = self.anew = True

    def _stopped(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True

    def _continued(self, number: int, frame: FrameType | None) -> None:
        self._changed = self._continues = True


def _end(number: int, frame: FrameType | None) -> None:
    raise Ended(number)


class Windows:
    """A console of Windows 10 or newer, which obeys the same sequences once it is asked to."""

    OUTPUT = -11  # STD_OUTPUT_HANDLE
    OBEY = 0x0004  # ENABLE_VIRTUAL_TERMINAL_PROCESSING; source: SetConsoleMode in the documentation of Windows

    def __init__(self, stdout: TextIO) -> None:
        self.anew = False
        self._out = stdout
        self._before: int | None = None
        self._size: os.terminal_size | None = None

    def enter(self) -> None:
        """Have the console obey.

        Raises: OldConsole: it cannot.
        """
        if sys.platform == "win32":
            import ctypes

            kernel, mode = ctypes.windll.kernel32, ctypes.c_uint32()
            handle = kernel.GetStdHandle(self.OUTPUT)
            if not kernel.GetConsoleMode(handle, ctypes.byref(mode)):
                raise OldConsole
            self._before = mode.value
            if not kernel.SetConsoleMode(handle, mode.value | self.OBEY):
                raise OldConsole
        self.anew = True

    def leave(self) -> None:
        """Put its mode back."""
        if sys.platform == "win32" and self._before is not None:
            import ctypes

            kernel = ctypes.windll.kernel32
            kernel.SetConsoleMode(kernel.GetStdHandle(self.OUTPUT), self._before)

    def wait(self, seconds: float) -> list[str]:
        """Return the keys that have come, at the latest after so many seconds; sooner if the window changed."""
        until = time.monotonic() + seconds
        while True:
            found = self._keys()
            with suppress(OSError):
                size = os.get_terminal_size(self._out.fileno())
                self.anew = self.anew or (self._size is not None and size != self._size)
                self._size = size
            if found or self.anew or time.monotonic() >= until:
                return found
            time.sleep(CONSOLE_POLL)

    def _keys(self) -> list[str]:
        import msvcrt

        found = []
        while msvcrt.kbhit():  # type: ignore[attr-defined, unused-ignore]
            first = msvcrt.getwch()  # type: ignore[attr-defined, unused-ignore]
            if first == "\x03":
                raise KeyboardInterrupt
            second = msvcrt.getwch() if first in ("\0", "\xe0") else ""  # type: ignore[attr-defined, unused-ignore]
            found.append(from_console(first, second))
        return [key for key in found if key]

    def stopping(self) -> bool:
        """Say no: a console cannot be asked back."""
        return False

    def stop(self) -> None:
        """Do nothing."""
