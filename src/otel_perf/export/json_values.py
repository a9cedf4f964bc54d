"""What the values of OTLP/JSON become in Python, whatever shape they have in a damaged or hostile file.

Nothing here raises for a value: what is none is dropped, and counted in a Skipped.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    Attributes = dict[str, Any]

MAX_DEPTH = 32  # of lists in lists in an attribute's value

INT64 = (-(2**63), 2**63 - 1)
UINT64 = (0, 2**64 - 1)
INT32 = (-(2**31), 2**31 - 1)
UINT32 = (0, 2**32 - 1)

_SPECIAL = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
_HEX = "0123456789abcdefABCDEF"
_WRONG: Any = object()  # what is no value; None is one


class Skipped:
    """What could not be read of one file, counted by reason.

    Attributes:
        lines: whole lines, e.g. ``torn at the end``, ``not JSON``, ``longer than 64 MB``.
        records: spans and metric points, or what should hold them.
        values: attributes, events and links; their record was kept.
    """

    __slots__ = ("lines", "records", "values")

    def __init__(self) -> None:
        self.lines: dict[str, int] = {}
        self.records: dict[str, int] = {}
        self.values: dict[str, int] = {}

    def line(self, reason: str) -> None:
        """Count one line."""
        self.lines[reason] = self.lines.get(reason, 0) + 1

    def record(self, reason: str) -> None:
        """Count one span or metric point."""
        self.records[reason] = self.records.get(reason, 0) + 1

    def value(self, reason: str) -> None:
        """Count one value inside a record."""
        self.values[reason] = self.values.get(reason, 0) + 1

    def __bool__(self) -> bool:
        return bool(self.lines or self.records or self.values)

    def __repr__(self) -> str:
        return f"Skipped(lines={self.lines}, records={self.records}, values={self.values})"


def integer(value: object, bounds: tuple[int, int]) -> int | None:
    """Return a JSON integer, which OTLP/JSON writes as a number or a decimal string; None if it is none."""
    if type(value) is str:
        digits = value[1:] if value[:1] == "-" else value
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 20):
            return None
        number = int(value)
    elif type(value) is int:
        number = value
    elif type(value) is float and value.is_integer():
        number = int(value)
    else:
        return None
    return number if bounds[0] <= number <= bounds[1] else None


def double(value: object) -> float | None:
    """Return a JSON double, which OTLP/JSON writes as a string where it is not finite; None if it is none."""
    if type(value) is float:
        return value
    if type(value) is str and value in _SPECIAL:
        return _SPECIAL[value]
    if type(value) is int or type(value) is str:
        try:
            return float(value)
        except (ValueError, OverflowError):
            return None
    return None


def attributes(pairs: object, skipped: Skipped, depth: int = 0) -> Attributes:
    """Return the attributes of OTLP's list of key and value; what is no attribute is dropped and counted."""
    found: Attributes = {}
    if pairs is None:
        return found
    if type(pairs) is not list:
        skipped.value("attributes that are no list")
        return found
    for pair in pairs:
        key = pair.get("key") if type(pair) is dict else None
        if type(key) is str:
            raw = pair.get("value")
            value = raw.get("stringValue") if type(raw) is dict and len(raw) == 1 else None
            if type(value) is not str:  # most are: a million spans have some millions of them
                value = any_value(raw, skipped, depth)
            if value is not _WRONG:
                found[key] = value
                continue
        skipped.value("attribute")
    return found


def any_value(raw: object, skipped: Skipped, depth: int = 0) -> Any:
    """Return the Python value of OTLP's AnyValue: str, bool, int, float, bytes, list, dict or None."""
    if raw is None or raw == {}:
        return None
    if type(raw) is not dict or len(raw) != 1:
        return _WRONG
    ((kind, value),) = raw.items()
    if kind == "stringValue":
        return value if type(value) is str else _WRONG
    if kind == "boolValue":
        return value if type(value) is bool else _WRONG
    number: float | int | None
    if kind == "intValue":
        number = integer(value, INT64)
        return _WRONG if number is None else number
    if kind == "doubleValue":
        number = double(value)
        return _WRONG if number is None else number
    if kind == "bytesValue":
        return _bytes(value)
    return _nested(kind, value, skipped, depth + 1)


def _nested(kind: object, value: object, skipped: Skipped, depth: int) -> Any:
    if type(value) is not dict or depth > MAX_DEPTH:
        return _WRONG
    items = value.get("values") or []
    if kind == "kvlistValue":
        return attributes(items, skipped, depth)
    if kind != "arrayValue" or type(items) is not list:
        return _WRONG
    values = [any_value(item, skipped, depth) for item in items]
    return _WRONG if any(item is _WRONG for item in values) else values


def _bytes(value: object) -> Any:
    from base64 import b64decode

    if type(value) is not str:
        return _WRONG
    try:
        return b64decode(value, validate=True)
    except ValueError:
        return _WRONG


def hex_id(value: object, digits: int) -> str:
    """Return an id in lower case; empty if it is none, or all zeros."""
    if type(value) is not str or len(value) != digits or value.strip(_HEX) or not value.strip("0"):
        return ""
    return value.lower()


def json_text(raw: dict[str, Any], key: str, skipped: Skipped) -> str:
    """Return the string *key*; empty if it is absent or none."""
    value = raw.get(key)
    if type(value) is str:
        return value
    if value is not None:
        skipped.value(key)
    return ""


def json_number(raw: dict[str, Any], key: str, bounds: tuple[int, int], skipped: Skipped) -> int:
    """Return the integer *key*; 0 if it is absent or none."""
    value = raw.get(key)
    if value is None:
        return 0
    found = integer(value, bounds)
    if found is None:
        skipped.value(key)
    return found or 0


def json_object(raw: dict[str, Any], key: str, skipped: Skipped) -> dict[str, Any]:
    """Return the object *key*; empty if it is absent or none."""
    value = raw.get(key)
    if type(value) is dict:
        return value
    if value is not None:
        skipped.value(key)
    return {}


def json_objects(raw: dict[str, Any], key: str, skipped: Skipped) -> Iterator[dict[str, Any]]:
    """Yield the objects of the list *key*; what is none is counted."""
    values = raw.get(key)
    if values is None:
        return
    if type(values) is not list:
        skipped.record(f"{key} that is no list")
        return
    for value in values:
        if type(value) is dict:
            yield value
        else:
            skipped.record(f"{key} entry that is no object")
