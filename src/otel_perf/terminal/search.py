"""What is searched for, as it is written key by key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from otel_perf.analysis.text import cells, cut

if TYPE_CHECKING:
    from otel_perf.analysis.text import Style

LONGEST = 200  # characters


@dataclass(slots=True)
class Search:
    """What is searched for.

    Attributes:
        text: what is in the names.
        writing: keys go here.
    """

    text: str = ""
    writing: bool = False

    def key(self, key: str) -> None:
        """Take a key while it is written."""
        if key == "enter":
            self.writing = False
        elif key == "escape":
            self.text, self.writing = "", False
        elif key == "ctrl+u":
            self.text = ""
        elif key == "backspace":
            self.text = self.text[:-1]
        elif len(key) == 1:
            self.text = (self.text + key)[:LONGEST]

    def matches(self, name: str) -> bool:
        """Say whether *name* has it in it; capitals make no difference."""
        return self.text.casefold() in name.casefold()

    def line(self, style: Style) -> str:
        """Return the line in which it is written; of what is too long, its end."""
        mark = "_" if style.ascii else "▏"
        text = f"search: {style.clean(self.text)}{mark}"
        hint = "  (Enter keeps it, Esc clears it)"
        if cells(text) <= style.width // 2 and style.width >= 70:
            return text + style.paint(hint, "dim")
        return cut(text[::-1], style.width, "")[::-1]
