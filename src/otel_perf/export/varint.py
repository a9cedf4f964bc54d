"""Protobuf's variable-length numbers, for who writes its wire format by hand.

Imports nothing. Source: protobuf.dev, "Encoding", Base 128 Varints.
"""

from __future__ import annotations

_SHORT = [bytes((number,)) for number in range(128)]


def varint(number: int) -> bytes:
    """Return a number, not negative, as protobuf's varint."""
    if number < 128:
        return _SHORT[number]
    found = bytearray()
    while number >= 128:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)
