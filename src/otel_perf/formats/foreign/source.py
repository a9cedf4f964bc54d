"""The file to be imported, wherever it comes from, and what it looks like.

Reading order: Source, opened(), guess().
"""

from __future__ import annotations

import os
import re
import stat
import sys
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

from otel_perf.errors import UserError, one_line
from otel_perf.export.decode import CHUNK

from . import FORMATS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from otel_perf.export.json_values import Skipped
    from otel_perf.formats.story import Progress

HEAD = 2**16  # bytes from which the format is guessed
MAX_LINE = 2**20  # bytes of a line of text; a longer one is not loaded
EVERY = 500  # lines between two words about the progress
STDIN = "-"

_IMPORT = re.compile(rb"import time: +(?:-?\d+ \| +-?\d+|self \[us\]) \| ")
_STACK = re.compile(rb"\S.* [0-9]+(?:\.[0-9]*)?\s*$")
_OTLP = (b'"resourceSpans"', b'"resourceMetrics"', b'"resourceLogs"')
_TEXT = bytes({9, 10, 13, 27} | set(range(32, 256)) - {127})  # 27: colours
_PACKED = {
    b"\x1f\x8b": ("gzip", "gzip -dc"), b"\x28\xb5\x2f\xfd": ("zstd", "zstd -dc"), b"PK\x03\x04": ("zip", "unzip -p"),
}  # fmt: skip


class Source:
    """One file, which can be read as often as wanted.

    Attributes:
        name: what a person calls it: its path as it was given, or ``stdin``.
        origin: its name without its folder.
        file: at any position.
        size: bytes.
    """

    def __init__(self, name: str, origin: str, file: BinaryIO) -> None:
        self.name = name
        self.origin = origin
        self.file = file
        self.size = file.seek(0, os.SEEK_END)

    def head(self) -> bytes:
        """Return its first bytes."""
        self.file.seek(0)
        return self.file.read(HEAD)

    def lines(self, skipped: Skipped, progress: Progress, most: int = MAX_LINE) -> Iterator[bytes]:
        """Yield its lines, those longer than *most* bytes left out and counted, one in memory at a time."""
        file, done, number = self.file, 0, 0
        file.seek(0)
        while line := file.readline(most + 1):
            if number % EVERY == 0:
                progress(f"reading {self.name}", done, self.size)
            done += len(line)
            number += 1
            if len(line) > most and not line.endswith(b"\n"):
                while (part := file.readline(CHUNK)) and not part.endswith(b"\n"):
                    done += len(part)
                skipped.line(f"longer than {most // 2**20} MiB")
            else:
                yield line


@contextmanager
def opened(path: str, progress: Progress) -> Iterator[Source]:
    """Give the file *path*, or stdin for ``-``; what can be read only once is copied to a temporary file first.

    Raises: UserError: there is no such file, or it cannot be read.
    """
    name, origin = ("stdin", "stdin") if path == STDIN else (one_line(path), os.path.basename(path))
    try:
        with _open(path) as file:
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                yield Source(name, origin, file)
            else:
                with tempfile.TemporaryFile() as copy:
                    _copy(file, copy, lambda: progress(f"reading {name}", 0, 1))
                    yield Source(name, origin, copy)
    except OSError as error:
        raise UserError(f"cannot read {name}: {error.strerror or error}", 1) from None


def _copy(file: BinaryIO, copy: BinaryIO, tell: Callable[[], None]) -> None:
    while part := file.read(CHUNK):
        tell()
        try:
            copy.write(part)
            copy.flush()
        except OSError as error:
            where = tempfile.gettempdir()
            raise UserError(
                f"cannot keep a copy in {where}: {error.strerror or error}; TMPDIR names another folder", 1
            ) from None


def _open(path: str) -> BinaryIO:
    if path == STDIN:
        if sys.stdin is None:
            raise UserError("stdin is closed; name a file")
        return sys.stdin.buffer
    try:
        return open(path, "rb")
    except FileNotFoundError:
        raise UserError(f"no file {path!r}; name one to import, or - for stdin") from None
    except IsADirectoryError:
        mend = "name the files in it; the folder of a run needs no import: otel-perf report"
        raise UserError(f"{path!r} is a folder; {mend} {path}") from None
    except OSError as error:
        raise UserError(f"cannot read {path!r}: {error.strerror or error}; is it yours?") from None


def guess(source: Source) -> str:
    """Return the format of *source*, one of FORMATS, by its content.

    Raises: UserError: it looks like none of them.
    """
    from .protobuf import is_protobuf

    head = source.head()
    for magic, (kind, command) in _PACKED.items():
        if head.startswith(magic):
            mend = f"unpack it: {command} {source.name} | otel-perf import -"
            raise UserError(f"{source.name} is packed with {kind}; {mend}")
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        mend = "write it as UTF-8; cmd's > does, and PowerShell from 7 on"
        raise UserError(f"{source.name} is UTF-16, as PowerShell's > writes it; {mend}")
    if is_marshalled(head):
        return "pstats"
    if head.lstrip()[:1] in (b"{", b"[") and any(key in head for key in _OTLP):
        return "otlp"
    if not head.translate(None, _TEXT):
        if _IMPORT.search(head):
            return "importtime"
        if _is_folded(head):
            return "folded"
    if is_protobuf(source):
        return "otlp"
    known = ", ".join(f"{name} ({text})" for name, text in FORMATS.items())
    what = "empty" if not source.size else "none of the formats that can be imported"
    raise UserError(f"{source.name} is {what}: {known}; name it if it is one of them: --format")


def is_marshalled(head: bytes) -> bool:
    """Say whether *head* begins a dictionary as marshal writes it, with a tuple as its first key."""
    return len(head) > 1 and head[0] & 0x7F == 0x7B and head[1] & 0x7F in (0x28, 0x29)


def _is_folded(head: bytes) -> bool:
    """Say whether most lines of *head*, whose last one may be cut, are a stack and a number."""
    lines = [line for line in (head.splitlines()[:-1] if len(head) == HEAD else head.splitlines()) if line.strip()]
    return 2 * sum(_STACK.match(line) is not None for line in lines) > len(lines)
