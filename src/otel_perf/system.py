"""The system's calls as they are, past what a program puts in their place: a mock of ``os.open`` is for its own calls.

Imports only: os, stat, posix, or nt on Windows. Rooms that work beside the program call these; paths are put together
with os.path all the same.
"""

from __future__ import annotations

import os
from stat import S_ISREG

try:
    import posix as calls
except ImportError:
    import nt as calls  # type: ignore[no-redef]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

__all__ = ["calls", "open_file"]

EINVAL = 22


def open_file(path: str) -> BinaryIO:
    """Open the file *path* to be read, and nothing else: a pipe lets its reader wait for ever, a device has no end.

    Raises: OSError: it is not there, may not be read, or is no regular file.
    """
    file = open(path, "rb", opener=_at_once)  # noqa: SIM115  # the caller closes it
    if not S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(EINVAL, "not a regular file", path)
    return file


def _at_once(path: str, flags: int) -> int:
    return calls.open(path, flags | getattr(calls, "O_NONBLOCK", 0))
