"""What a command writes: to stdout, whatever its encoding and whether somebody reads it to its end, or to a file.

Reading order: write(), opened(), Bar.
"""

from __future__ import annotations

import os
import stat
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from otel_perf.analysis.text import cells, cut
from otel_perf.errors import UserError, one_line
from otel_perf.formats import silent

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

WIDTH = 30  # columns of the bar
USUAL = 80  # columns of a window that does not say
BUFFER = 2**20  # bytes that are written at once


def write(text: str, what: str) -> bool:
    """Write *text* to stdout; say whether there was somebody to read all of it.

    Args:
        text: what to write; a character that the encoding does not have is replaced.
        what: what that is, for the error.

    Raises: UserError: it cannot be written, to a full disk for example.
    """
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    try:
        sys.stdout.write(text.encode(encoding, "replace").decode(encoding))
        sys.stdout.flush()
    except OSError as error:
        # as the library's documentation of SIGPIPE has it: else the flush at exit complains once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return False
        raise UserError(f"cannot write {what}: {error.strerror or error}", exit_code=1) from None
    return True


def refuse_to_replace(file: str | None) -> None:
    """Raise UserError if *file* is there; ``--force`` spares it that."""
    if file is not None and os.path.isfile(file):
        raise UserError(f"{file} exists; name another file, or write --force to replace it")


@contextmanager
def opened(file: str | None) -> Iterator[BinaryIO]:
    """Give what to write to: *file*, which is there only once it is whole, or stdout.

    Raises: UserError: it cannot be written.
    """
    try:
        if file is None:
            yield from _stdout()
        elif _is_special(file):
            with open(file, "wb", BUFFER) as out:
                yield out
        else:
            yield from _whole(file)
    except OSError as error:
        mend = "is there room, and may you write there?"
        raise UserError(f"cannot write {file or 'to stdout'}: {error.strerror or error}; {mend}", 1) from None


def _stdout() -> Iterator[BinaryIO]:
    out = sys.stdout.buffer
    try:
        yield out
        out.flush()
    except OSError as error:
        # as the library's documentation of SIGPIPE has it: else the flush at exit complains once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise
        raise SystemExit(0) from None  # whoever read it has enough


def _whole(file: str) -> Iterator[BinaryIO]:
    unfinished = f"{file}.{os.getpid()}.unfinished"
    try:
        with open(unfinished, "xb", BUFFER) as out:
            yield out
        os.replace(unfinished, file)
    except BaseException:
        with suppress(OSError):
            os.unlink(unfinished)
        raise


def _is_special(file: str) -> bool:
    """Say whether *file* is a pipe, a device or a link, which is not to be replaced."""
    try:
        return not stat.S_ISREG(os.lstat(file).st_mode)
    except FileNotFoundError:
        return False


class Bar:
    """How far it is, on a terminal: one line, which never reaches the window's edge, and is gone after the block."""

    def __init__(self) -> None:
        self.progress = self._show if sys.stderr.isatty() else silent
        self._last = 0.0
        self._drawn = 0

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def _show(self, what: str, done: int, whole: int) -> None:
        now = time.monotonic()
        if now - self._last < 0.1:
            return
        self._last = now
        share = min(1.0, done / whole) if whole else 1.0
        bar = ("#" * round(share * WIDTH)).ljust(WIDTH, "-")
        self._draw(f"[{bar}] {share:4.0%}  {one_line(what)}")

    def _draw(self, text: str) -> None:
        text = cut(text, _columns() - 1, "")
        before, self._drawn = self._drawn, cells(text)
        sys.stderr.write(f"\r{text}{' ' * (before - self._drawn)}")  # blanks: not every terminal knows an escape
        sys.stderr.flush()

    def end(self) -> None:
        """Take the bar away."""
        if self._drawn:
            self._draw("")
            sys.stderr.write("\r")
            sys.stderr.flush()


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or USUAL
    except (OSError, ValueError):
        return USUAL
