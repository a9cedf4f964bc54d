"""Numbers as people read them: durations, bytes, counts, and a value of any metric by its unit.

Imports nothing: the worker writes alerts with it.
"""

from __future__ import annotations

_ENDLESS = float("inf")


def three(value: float) -> str:
    """Return *value* (0 or more, below 1000) with at most three significant digits and no needless zero."""
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if digits else text


def scaled(value: float, units: tuple[str, ...], step: float = 1000.0) -> str:
    """Return *value* in the largest of *units* (each *step* times the one before) that leaves 1 of it."""
    for unit in units[:-1]:
        if value < step * 0.9995:  # what rounds to 1000 is 1 of the next
            return f"{three(value)} {unit}"
        value /= step
    return f"{three(value)} {units[-1]}"


def duration(seconds: float) -> str:
    """Return *seconds* as ``412 ms``, ``1.93 s``, ``2 min 4 s`` or ``3 h 5 min``."""
    if seconds < 0:
        return "-" + duration(-seconds)
    if seconds < 59.95:
        return "0 ms" if seconds < 0.5e-9 else scaled(seconds * 1e9, ("ns", "µs", "ms", "s"))
    whole = round(seconds)
    first, second, size = ("min", "s", 60) if whole < 3600 else ("h", "min", 3600)
    many, rest = divmod(whole, size)
    rest = rest if size == 60 else rest // 60
    return f"{many} {first} {rest} {second}" if rest else f"{many} {first}"


def count(number: float) -> str:
    """Return a number of things: exact below 1000, else ``12.3 k``."""
    return str(int(number)) if number < 1000 else scaled(number, ("", "k", "M", "G"))


def bytes_of(number: float) -> str:
    """Return bytes as ``2.3 MB`` (10**6)."""
    return ("-" if number < 0 else "") + scaled(abs(number), ("B", "kB", "MB", "GB", "TB"))


def plural(number: int, noun: str) -> str:
    """Return ``1 run``, ``2 runs``."""
    return f"{count(number)} {noun}" if number == 1 else f"{count(number)} {noun}s"


def amount(value: float, unit: str, form: str = "") -> str:
    """Return *value* of a metric.

    Args:
        value: in the metric's unit.
        unit: as OpenTelemetry writes it; ``%`` for a share that is meant in percent.
        form: that of the budget; ``rate`` is per second.
    """
    per = "/s" if form == "rate" else ""
    if not -_ENDLESS < value < _ENDLESS:
        return f"{value}{per}"
    if unit == "s" and not per:
        return duration(value)
    if unit == "By":
        return bytes_of(value) + per
    if unit == "%":
        return f"{value * 100:.3g} %{per}"
    if unit == "{cpu}":
        return f"{value:.3g} {'core' if value == 1 else 'cores'}{per}"
    noun = "" if unit == "1" else unit.strip("{}")
    if value != int(value):
        return f"{value:.3g} {noun}".rstrip() + per
    return (plural(int(value), noun) if unit.startswith("{") else f"{count(value)} {noun}".rstrip()) + per
