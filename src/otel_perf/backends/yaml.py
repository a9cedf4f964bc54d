"""Writes YAML as people write it: block style, text plain where that is safe, long text as a block.

A subset on purpose, deterministic to the byte, so that generated files can be compared; nothing is read with it.

Source: YAML 1.2.2, sections 5.7 (escapes), 7.3.3 (plain scalars) and 8.1 (block scalars).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

_PLAIN = re.compile(r"[A-Za-z]([A-Za-z0-9_./ (),-]|:(?=\S))*(?<=[A-Za-z0-9_./)])|[0-9]+(ms|s|m|h|d)")
_WORDS = frozenset(("true", "false", "yes", "no", "on", "off", "null", "y", "n"))  # that YAML 1.1 takes for something


def dump(value: Mapping[str, Any] | Sequence[Any]) -> str:
    """Return a mapping or a list, of such, text, numbers and booleans, as a YAML document."""
    return "\n".join(_lines(value)) + "\n"


def _lines(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _entry(f"{_text(key)}:", item)
        return
    for item in value:
        if isinstance(item, dict | list | tuple) and item:
            first, *rest = _lines(item)
            yield f"- {first}"
            yield from (f"  {line}" if line else line for line in rest)
        else:
            yield from _entry("-", item)


def _entry(head: str, item: Any) -> Iterator[str]:
    """Write *item* behind *head*, or below it."""
    if isinstance(item, dict | list | tuple):
        if not item:
            yield f"{head} {'{}' if isinstance(item, dict) else '[]'}"
            return
        yield head
        yield from (f"  {line}" if line else line for line in _lines(item))
    elif isinstance(item, str) and _fits_a_block(item):
        yield f"{head} |-"
        yield from (f"  {line}" if line else line for line in item.split("\n"))
    else:
        yield f"{head} {_scalar(item)}"


def _fits_a_block(text: str) -> bool:
    lines = text.split("\n")
    clean = all(line == line.rstrip() and line.isprintable() for line in lines)
    return len(lines) > 1 and clean and bool(lines[-1]) and lines[0][:1] not in ("", " ")


def _scalar(item: Any) -> str:
    if isinstance(item, bool):
        return "true" if item else "false"
    return _text(item) if isinstance(item, str) else repr(item)


def _text(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    if text.isprintable() and ('"' in text or "\\" in text):
        return "'" + text.replace("'", "''") + "'"  # a string of PromQL or a template stays readable
    return '"' + "".join(_escaped(character) for character in text) + '"'


def _escaped(character: str) -> str:
    code = ord(character)
    if character in '"\\':
        return "\\" + character
    if character.isprintable() and not 0xD800 <= code < 0xE000:
        return character
    return {"\n": "\\n", "\t": "\\t"}.get(character) or (
        f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    )
