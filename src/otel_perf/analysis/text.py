"""Numbers as people read them, and text that fits a terminal.

Reading order: Style, style_for(); numbers; then text. Widths are in terminal cells: a Chinese character takes
two.
"""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING

from otel_perf.amounts import bytes_of as bytes_of
from otel_perf.amounts import count as count
from otel_perf.amounts import duration as duration
from otel_perf.amounts import plural as plural

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TextIO

NARROWEST = 40
PLAIN_WIDTH = 100  # where there is no window
LONGEST = 1_000  # characters of one name that are looked at
_COLORS = {"accent": "36", "good": "1", "warning": "33", "critical": "31", "head": "1", "dim": "2"}
_PLAIN = str.maketrans({"µ": "u", "–": "-", "−": "-", "±": "+-", "…": "..."})
_VT_ON_WINDOWS = ("WT_SESSION", "ANSICON", "ConEmuANSI", "TERM_PROGRAM", "TERM")


@dataclass(frozen=True, slots=True)
class Style:
    """How a report looks where it is shown.

    Attributes:
        width: of the window, in cells; no line is longer.
        color: with ANSI colours.
        ascii: without any character beyond ASCII of our own.
    """

    width: int = PLAIN_WIDTH
    color: bool = False
    ascii: bool = False

    def paint(self, text: str, role: str) -> str:
        """Return *text* in the colour of its *role*: accent, good, warning, critical, head, dim or empty."""
        return f"\x1b[{_COLORS[role]}m{text}\x1b[0m" if self.color and role and text else text

    def duration(self, seconds: float | None) -> str:
        """Return the duration *seconds* in the characters there are."""
        if seconds is None or not isfinite(seconds):
            return self.none
        return duration(seconds).replace("µ", "u" if self.ascii else "µ")

    def clean(self, text: str) -> str:
        """Return *text* without what a terminal might obey, in ASCII if that is all there is."""
        text = clean(text)
        return text.encode("ascii", "backslashreplace").decode() if self.ascii else text

    def plain(self, text: str) -> str:
        """Return a sentence of ours, as clean() but with signs that mean the same where there is only ASCII."""
        return self.clean(text.translate(_PLAIN) if self.ascii else text)

    def wrap(self, text: str, indent: int = 2) -> list[str]:
        """Return *text* in lines that fit, all but the first indented."""
        return wrap(text, self.width, indent, self.more)

    @property
    def none(self) -> str:
        """What stands for a number that was not recorded."""
        return "-" if self.ascii else "–"

    @property
    def more(self) -> str:
        """What stands for text that was cut off."""
        return "..." if self.ascii else "…"


def style_for(stream: TextIO, width: int | None = None, environ: Mapping[str, str] | None = None) -> Style:
    """Return the style for what is written to *stream*.

    Colours follow NO_COLOR, FORCE_COLOR and TERM=dumb in this order, else they need a terminal.
    """
    environ = os.environ if environ is None else environ
    if environ.get("NO_COLOR"):
        color = False
    elif environ.get("FORCE_COLOR"):
        color = True
    elif environ.get("TERM") == "dumb" or not stream.isatty():
        color = False
    else:
        color = sys.platform != "win32" or any(environ.get(name) for name in _VT_ON_WINDOWS)
    plain = environ.get("TERM") == "dumb" or not _can_show(stream, "█▌▐▏▁…–−±µ")
    return Style(max(width or _window(stream, environ), NARROWEST), color, plain)


def _can_show(stream: TextIO, characters: str) -> bool:
    try:
        characters.encode(getattr(stream, "encoding", None) or "ascii")
    except (UnicodeError, LookupError):
        return False
    return True


def _window(stream: TextIO, environ: Mapping[str, str]) -> int:
    columns = environ.get("COLUMNS", "")
    if columns.isascii() and columns.isdigit() and int(columns[:6]) > 0:
        return int(columns[:6])
    try:
        return os.get_terminal_size(stream.fileno()).columns or PLAIN_WIDTH
    except (OSError, ValueError, AttributeError):
        return PLAIN_WIDTH


# --- numbers ------------------------------------------------------------------------------------------------


def share(part: float, whole: float) -> str:
    """Return *part* of *whole* in percent."""
    if not whole > 0:
        return ""
    percent = 100.0 * part / whole
    if not 0 < percent < 99.95:
        return f"{percent:.0f} %"
    return "<0.1 %" if percent < 0.05 else f"{percent:.1f} %"


# --- text ---------------------------------------------------------------------------------------------------


def clean(text: str) -> str:
    """Return *text* on one line, what a terminal might obey written out: escapes, direction marks."""
    text = text[:LONGEST]
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_visible, text))


def _visible(character: str) -> str:
    if "\ufe00" <= character <= "\ufe0f":  # another look for the one before, and nobody knows how wide
        return ""
    if unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"):
        return character
    if character in "\n\t\r":
        return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}[character]
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"


def cells(text: str) -> int:
    """Return how many cells of a terminal *text* takes."""
    return len(text) if text.isascii() else sum(map(_cells, text))


def _cells(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me") or "\u1160" <= character <= "\u11ff":  # drawn on the one before
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut(text: str, width: int, more: str = "…", middle: bool = False) -> str:
    """Return *text* in at most *width* cells, *more* in place of what is left out: the end, or the middle."""
    if cells(text) <= width:
        return text
    if width <= len(more):
        return more[: max(width, 0)]
    room = width - len(more)
    tail = _head(text[::-1], room // 2)[::-1] if middle else ""
    return _head(text, room - cells(tail)) + more + tail


def _head(text: str, width: int) -> str:
    used = 0
    for at, character in enumerate(text):
        used += _cells(character)
        if used > width:
            return text[:at]
    return text


def pad(text: str, width: int, right: bool = False) -> str:
    """Return *text* filled up to *width* cells; at the left if *right*."""
    blank = " " * (width - cells(text))
    return blank + text if right else text + blank


def wrap(text: str, width: int, indent: int = 2, more: str = "…") -> list[str]:
    """Return *text* in lines of at most *width* cells, all but the first indented; a longer word is cut."""
    # a number and its unit stay together
    words = [word for word in re.sub(r"(?<=\d) (?=[^\W\d]|%)", "\0", text).split(" ") if word]
    line = text[: len(text) - len(text.lstrip())]
    lines: list[str] = []
    for number, word in enumerate(words):
        word = cut(word.replace("\0", " "), width - indent, more)
        if number and cells(line) + 1 + cells(word) > width:
            lines.append(line)
            line = " " * indent + word
        else:
            line += f" {word}" if number else word
    return [*lines, line]


def wrap_list(title: str, items: list[str], width: int, more: str = "…") -> list[str]:
    """Return *title* and *items*, comma between, in lines of at most *width* cells; no item is torn apart."""
    lines = [title]
    for number, item in enumerate(items):
        text = cut(item, width - 6, more) + ("," if number < len(items) - 1 else "")
        if cells(lines[-1]) + cells(text) > width:
            lines.append("    ")
        lines[-1] += text + " "
    return [line.rstrip() for line in lines]
