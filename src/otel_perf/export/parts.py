"""A file that has grown is continued in a new one: ``traces.jsonl``, an earlier part ``traces.000000000000000.jsonl``.

Imports only: os, stat. A part is named by the offset at which it begins; offsets count from the beginning of the first
part over all that followed, so that one that was removed moves none. Reading order: parts_of(), open_at().
"""

from __future__ import annotations

import os
from stat import S_ISREG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

END = ".jsonl"
DIGITS = 15
EINVAL = 22
TRIES = 100  # listings of a folder whose files go on being continued meanwhile


class Part:
    """One part of a file.

    Attributes:
        begin: the offset of its first byte.
        end: the offset after its last one; of the last part, at the moment of the listing.
        path: where it lies.
        last: the process writes to it; a part that is not the last one does not change any more.
    """

    __slots__ = ("begin", "end", "last", "path")

    def __init__(self, begin: int, end: int, path: str, last: bool) -> None:
        self.begin = begin
        self.end = end
        self.path = path
        self.last = last

    def __repr__(self) -> str:
        return f"Part({self.begin}, {self.end}, {self.path!r})"


def earlier_name(name: str, begin: int) -> str:
    """Return what the part of the file *name* that begins at the offset *begin* is called once it is continued."""
    return f"{name.removesuffix(END)}.{begin:0{DIGITS}d}{END}"


def begin_of(name: str, of: str) -> int:
    """Return the offset at which the file *name*, an earlier part of the file *of*, begins; -1 if it is none."""
    stem, digits = of.removesuffix(END) + ".", name[-len(END) - DIGITS : -len(END)]
    if name != f"{stem}{digits}{END}" or len(digits) != DIGITS or not (digits.isascii() and digits.isdigit()):
        return -1
    return int(digits)


def parts_of(path: str) -> list[Part]:
    """Return the parts of the file *path*, oldest first; without the last one where that is not there yet.

    Raises: OSError: the folder cannot be read, or something else has the name of a part.
    """
    folder, name = os.path.split(path)
    found: list[Part] = []
    names = _earlier(folder, name)
    for _ in range(TRIES):
        found = _sized(path, folder, names)
        before, names = names, _earlier(folder, name)
        if names == before:
            break  # else it was continued meanwhile, and what has its name now does not begin there
    return found


def _earlier(folder: str, name: str) -> list[tuple[int, str]]:
    """Return begin and name of each earlier part of the file *name* in *folder*, oldest first."""
    try:
        names = os.listdir(folder or ".")
    except FileNotFoundError:
        return []
    return sorted((begin, other) for other in names if (begin := begin_of(other, name)) >= 0)


def _sized(path: str, folder: str, names: list[tuple[int, str]]) -> list[Part]:
    found: list[Part] = []
    for begin, other in names:
        file = os.path.join(folder, other)
        try:
            found.append(Part(begin, begin + _size(file), file, False))
        except FileNotFoundError:  # removed meanwhile
            continue
    begin = found[-1].end if found else 0
    try:
        found.append(Part(begin, begin + _size(path), path, True))
    except FileNotFoundError:  # not there yet, or just continued
        return found
    return found


def _size(path: str) -> int:
    found = os.stat(path)
    if not S_ISREG(found.st_mode):  # a pipe would let its reader wait for ever
        raise OSError(EINVAL, "not a regular file", path)
    return found.st_size


def open_at(path: str, offset: int) -> tuple[BinaryIO, int, bool] | None:
    """Open the part of the file *path* that holds *offset*, or the next one there is.

    Returns: the open file, the offset at which it stands, and whether nobody writes to it any more; None where nothing
        lies at or behind *offset*.
    Raises: OSError: it is there and cannot be read.
    """
    for _ in range(TRIES):
        part = next((part for part in parts_of(path) if part.last or offset < part.end), None)
        if part is None or (part.last and offset > part.end):
            return None
        try:
            file = open(part.path, "rb")  # noqa: SIM115  # the caller closes it
        except FileNotFoundError:  # removed, or continued, since the listing
            continue
        if part.last and _begin_of_last(path) != part.begin:
            file.close()  # it was continued, and this is another one
            continue
        at = max(offset, part.begin)
        file.seek(at - part.begin)
        return file, at, not part.last
    return None


def _begin_of_last(path: str) -> int:
    parts = parts_of(path)
    return parts[-1].begin if parts and parts[-1].last else -1


def begin_of_byte(parts: list[Part], offset: int) -> int:
    """Return where that one of *parts* begins that has the byte at *offset*; the offset behind it if none has."""
    return next((part.begin for part in parts if part.begin <= offset < part.end), offset + 1)


def bytes_at(path: str, offset: int, size: int) -> bytes:
    """Return *size* bytes of the file *path* from *offset* on, or what its part has of them; none if that is gone."""
    try:
        opened = open_at(path, offset) if size else None
        if opened is None:
            return b""
        file, at, _ = opened
        with file:
            return file.read(size) if at == offset else b""
    except OSError:
        return b""
