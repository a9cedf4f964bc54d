"""Frames on the wire: a fixed header with a checksum, then the payload."""

from __future__ import annotations

import asyncio
import struct
import zlib
from enum import IntEnum
from typing import NamedTuple

import otel_perf as perf

_HEADER = struct.Struct("!2sBBIII")  # magic, version, kind, sequence, payload length, CRC-32 of the payload
_MAGIC = b"DS"
VERSION = 1


class FrameError(Exception):
    """The other side sent bytes that are no frame of ours."""


class Kind(IntEnum):
    """What a frame is for; an answer follows each HELLO, DATA and TOTALS."""

    HELLO = 1
    WELCOME = 2
    DATA = 3
    ACK = 4
    TOTALS = 5
    BYE = 6


class Frame(NamedTuple):
    """One message; *sequence* is the number of the request that it belongs to."""

    kind: Kind
    sequence: int
    payload: bytes = b""


@perf.profile
def encode(frame: Frame) -> bytes:
    """Return the bytes of *frame*."""
    checksum = zlib.crc32(frame.payload)
    header = _HEADER.pack(_MAGIC, VERSION, frame.kind, frame.sequence, len(frame.payload), checksum)
    return header + frame.payload


async def read_frame(reader: asyncio.StreamReader, max_frame: int) -> Frame | None:
    """Return the next frame, or None where the other side closed the connection between two frames.

    Raises:
        FrameError: not a frame, longer than *max_frame* bytes, damaged, or cut off.
    """
    try:
        header = await reader.readexactly(_HEADER.size)
        magic, version, kind, sequence, length, checksum = _HEADER.unpack(header)
        if (magic, version) != (_MAGIC, VERSION):
            raise FrameError(f"expected {_MAGIC!r} version {VERSION}, got {magic!r} version {version}")
        if length > max_frame:
            raise FrameError(f"frame {sequence} has {length} bytes, at most {max_frame} are allowed")
        payload = await reader.readexactly(length)
    except asyncio.IncompleteReadError as error:
        if not error.partial and error.expected == _HEADER.size:
            return None
        raise FrameError(f"connection ended after {len(error.partial)} of {error.expected} bytes") from error
    if zlib.crc32(payload) != checksum:
        raise FrameError(f"frame {sequence} is damaged: its checksum does not fit its {length} bytes")
    try:
        return Frame(Kind(kind), sequence, payload)
    except ValueError as error:
        raise FrameError(f"frame {sequence} is of unknown kind {kind}") from error
