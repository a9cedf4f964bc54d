"""Keys, out of the bytes that a terminal sends, or the characters of a Windows console.

Reading order: Decoder.feed(), Decoder.rest(); from_console().
"""

from __future__ import annotations

import codecs

ESCAPE = "\x1b"
LONGEST = 32  # characters of a sequence; what is longer is none
_NAMED = {
    "\r": "enter", "\n": "enter", "\t": "tab", "\x7f": "backspace", "\x08": "backspace", "\x0c": "redraw",
    "\x15": "clear",
}  # fmt: skip
_FINAL = {
    "A": "up", "B": "down", "C": "right", "D": "left", "H": "home", "F": "end", "Z": "back tab", "M": "enter",
}  # fmt: skip
_NUMBERED = {"1": "home", "3": "delete", "4": "end", "5": "page up", "6": "page down", "7": "home", "8": "end"}
_CONSOLE = {
    "H": "up", "P": "down", "M": "right", "K": "left", "G": "home", "O": "end", "I": "page up", "Q": "page down",
    "S": "delete",
}  # fmt: skip


class Decoder:
    """Makes keys of what a terminal sends: a character is itself, the others have names (``up``, ``page down``)."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._text = ""

    @property
    def pending(self) -> bool:
        """An escape has come that may be a key of its own, or the beginning of another."""
        return bool(self._text)

    def feed(self, data: bytes) -> list[str]:
        """Return the keys in *data*; what a sequence that is not known says is left out."""
        self._text += self._decoder.decode(data)
        found = []
        while self._text:
            if self._text[0] != ESCAPE:
                key, self._text = self._text[0], self._text[1:]
                found.append(_NAMED.get(key, key))
                continue
            length, key = _sequence(self._text)
            if not length:
                break
            self._text = self._text[length:]
            found.append(key)
        return [key for key in found if len(key) > 1 or (key and key.isprintable())]

    def rest(self) -> list[str]:
        """Return the key that is pending: nothing has followed it for a while."""
        text, self._text = self._text, ""
        return ["escape"] if text else []


def _sequence(text: str) -> tuple[int, str]:
    """Return how long the sequence is that *text* begins with, and its key; 0 if it may go on."""
    if len(text) == 1:
        return 0, ""
    if text[1] == ESCAPE:
        return 1, "escape"
    if text[1] not in "[O":
        return 2, ""  # Alt and a key, which we have none of
    for at in range(2, min(len(text), LONGEST)):
        final = text[at]
        if "\x40" <= final <= "\x7e":
            number = text[2:at].partition(";")[0]
            return at + 1, _NUMBERED.get(number, "") if final == "~" else _FINAL.get(final, "")
        if not "\x20" <= final <= "\x3f":
            return at, ""  # torn
    return (0, "") if len(text) < LONGEST else (LONGEST, "")


def from_console(first: str, second: str = "") -> str:
    """Return the key of the one or two characters that msvcrt.getwch() gives for it; empty if we have none."""
    if first in ("\0", "\xe0") and second:
        return _CONSOLE.get(second, "")
    if first == ESCAPE:
        return "escape"
    key = _NAMED.get(first, first)
    return key if len(key) > 1 or key.isprintable() else ""
