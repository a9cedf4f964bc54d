"""What is the user's to mend: a line for stderr, an exit code. All else is a bug and raises."""

from __future__ import annotations

import sys


def one_line(text: str) -> str:
    """Return *text* as one line for stderr: what a terminal obeys is written as an escape; a file may have any name."""
    return text if text.isprintable() else "".join(map(_visible, text))


def _visible(letter: str) -> str:
    return letter if letter.isprintable() else letter.encode("unicode_escape").decode()


def say(what: object) -> None:
    """Write one line to stderr, if there is one that takes it."""
    try:
        sys.stderr.write(f"otel-perf: {one_line(str(what))}\n")
    except Exception:  # noqa: BLE001  # it may be closed, or None
        return


class ConfigError(ValueError):
    """A setting cannot be taken; only raised where the application asked for errors (``strict``)."""


class UserError(Exception):
    """A command cannot do what was asked.

    The message says what, where and how to mend it; the command line prints it once, after the command's name
    and without a traceback.

    Attributes:
        message: one line, without the command's name.
        exit_code: what the command ends with; 2 is "usage".
    """

    def __init__(self, message: str, exit_code: int = 2) -> None:
        super().__init__(message)
        self.message = one_line(message)
        self.exit_code = exit_code
