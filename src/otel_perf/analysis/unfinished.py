"""What was open when a process was last seen, from its ``open.json``: empty after a clean end."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from otel_perf.system import open_file

from .sources import shown

if TYPE_CHECKING:
    from typing import Any

NAME = "open.json"
FORMAT = 1
MOST_BYTES = 10**6  # the writer's own bound is far below
MOST_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A phase, call or import that was open.

    Attributes:
        path: names from the outermost to its own.
        kind: as otel_perf.kind.
        since: when it began, in nanoseconds since 1970.
        file: of the program, where it was; empty where unknown, and line is 0 then.
    """

    path: tuple[str, ...]
    kind: str
    since: int
    file: str = ""
    line: int = 0

    @property
    def text(self) -> str:
        """Where it was: ``CoreInit > load at app.py:12``."""
        where = f" at {shown(self.file, self.line)}" if self.file else ""
        return " > ".join(self.path) + where


def read_unfinished(folder: str) -> list[Unfinished]:
    """Return what was open in the process of *folder*, the innermost of each chain; damage is left out."""
    return _innermost(read_open(folder))


def read_open(folder: str) -> list[Unfinished]:
    """Return all that was open in the process of *folder*; damage is left out."""
    try:
        with open_file(os.path.join(folder, NAME)) as file:
            data = json.loads(file.read(MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return []
    if not isinstance(data, dict) or data.get("version") != FORMAT or not isinstance(data.get("open"), list):
        return []
    return [one for one in map(_entry, data["open"]) if one is not None]


def _innermost(found: list[Unfinished]) -> list[Unfinished]:
    """Return those of *found* that no other one is inside of; a path may have a hundred thousand names."""
    below: dict[str, Any] = {}
    ends = []
    for one in found:
        inside = below
        for name in one.path:
            inside = inside.setdefault(name, {})
        ends.append(inside)
    return [one for one, inside in zip(found, ends, strict=True) if not inside]


def _entry(raw: Any) -> Unfinished | None:
    if not isinstance(raw, dict) or not isinstance(raw.get("path"), list):
        return None
    path = tuple(name for name in raw["path"] if isinstance(name, str))
    since, file, line = raw.get("since"), raw.get("file"), raw.get("line")
    if not path or not isinstance(since, str) or not (since.isascii() and since.isdigit() and len(since) < 20):
        return None
    if not isinstance(line, int) or not isinstance(file, str):
        file, line = "", 0
    return Unfinished(path, str(raw.get("kind", "")), int(since), file, line)


def text_of_all(found: list[Unfinished]) -> str:
    """Return them in a clause, empty if there are none."""
    if not found:
        return ""
    more = f" and {len(found) - MOST_SHOWN} more" if len(found) > MOST_SHOWN else ""
    return "unfinished: " + ", ".join(one.text for one in found[:MOST_SHOWN]) + more
