"""What a command writes to stdout, whatever its encoding, and whether somebody reads it to its end."""

from __future__ import annotations

import os
import sys

from otel_perf.errors import UserError


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
