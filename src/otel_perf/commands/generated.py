"""What `otel-perf rules` and `otel-perf dashboards` do with the files that they generate: write them, or check them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from otel_perf.backends import files as on_disk
from otel_perf.errors import UserError

from .output import write

if TYPE_CHECKING:
    from collections.abc import Mapping


def write_or_check(folder: str, files: Mapping[str, str], check: bool, command: str, mend: str) -> int:
    """Write what differs, or with *check* say what does; return the exit status: 1 if *check* found something.

    Args:
        folder: where the files are.
        files: their texts by their paths in it.
        check: write nothing.
        command: its name in messages.
        mend: how to bring them up to date, in backquotes.

    Raises: UserError: one cannot be read or written.
    """
    try:
        changed = on_disk.differing(folder, files)
    except OSError as error:
        raise UserError(f"cannot read {error.filename}: {error.strerror}") from None
    if check:
        for path, why in changed.items():
            sys.stderr.write(f"{command}: {folder}/{path} is {why}; run {mend}\n")
        if not changed:
            write(f"up to date: {len(files)} files in {folder}\n", "the result")
        return 1 if changed else 0
    try:
        on_disk.write(folder, {path: files[path] for path in changed})
    except OSError as error:
        raise UserError(f"cannot write {error.filename}: {error.strerror}; name another folder with --out") from None
    lines = [f"{'wrote' if path in changed else 'kept '} {folder}/{path}" for path in files]
    write("\n".join(lines) + "\n", "the result")
    return 0


def command_for(command: str, folder: str, default: str) -> str:
    """Return the command line that writes into *folder*, in backquotes."""
    return f"`{command}`" if folder == default else f"`{command} --out {folder}`"
