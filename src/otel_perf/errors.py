"""What is the user's to mend: a message for stderr, an exit code. All else is a bug and raises."""

from __future__ import annotations


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
        self.message = message
        self.exit_code = exit_code
