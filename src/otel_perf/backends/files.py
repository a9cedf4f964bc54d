"""Generated files on the disk: whether they are up to date, and how they are written."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def differing(folder: str, files: Mapping[str, str]) -> dict[str, str]:
    """Return which of *files* are not in *folder* as they should be, and why: ``missing`` or ``out of date``.

    Raises: OSError: one of them is there and cannot be read.
    """
    found = {}
    for path, text in files.items():
        try:
            with open(os.path.join(folder, path), "rb") as file:
                if file.read().replace(b"\r\n", b"\n") != text.encode():
                    found[path] = "out of date"
        except (FileNotFoundError, NotADirectoryError):
            found[path] = "missing"
    return found


def write(folder: str, files: Mapping[str, str]) -> None:
    """Write *files* into *folder*, each by replacing it, so that nobody reads half a file.

    Raises: OSError: that is not possible.
    """
    for path, text in files.items():
        target = os.path.join(folder, path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(f"{target}.new", "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.replace(f"{target}.new", target)
