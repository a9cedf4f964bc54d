"""Numbers as people read them: durations, bytes, counts, and a value of any metric by its unit.

Imports nothing: the worker writes alerts with it. The page has the same words (web/src/format.ts);
tests/unit/amounts.json holds both to them.
"""

from __future__ import annotations

_ENDLESS = float("inf")
_COUNTED = ("", "k", "M", "G", "T", "P", "E")
_MANY = 10.0  # times the limit by which a value is over it, from which on per cent say nothing
_LEAST = 1e-6  # below which a number is only told to be less


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


def short(value: float) -> str:
    """Return a number of any size with at most three significant digits, never in powers of ten."""
    sign, size = "-" if value < 0 else "", abs(value)
    if size >= 999.5:
        return sign + scaled(size, _COUNTED)
    if 0 < size < _LEAST:
        return ">-0.000001" if sign else "<0.000001"
    text = f"{float(f'{size:.3g}'):.8f}"
    return sign + text.rstrip("0").rstrip(".")


def duration(seconds: float) -> str:
    """Return *seconds* as ``412 ms``, ``1.93 s``, ``2 min 4 s``, ``3 h 5 min`` or, from 100 hours on, ``4 d 4 h``."""
    if seconds < 0:
        return "-" + duration(-seconds)
    if seconds < 59.95:
        return "0 ms" if seconds < 0.5e-9 else scaled(seconds * 1e9, ("ns", "µs", "ms", "s"))
    whole = round(seconds)
    first, second, size, part = (
        ("min", "s", 60, 1) if whole < 3600 else ("h", "min", 3600, 60) if whole < 360_000 else ("d", "h", 86_400, 3600)
    )
    many, rest = divmod(whole, size)
    rest //= part
    return f"{many} {first} {rest} {second}" if rest else f"{many} {first}"


def count(number: float) -> str:
    """Return a number of things: exact below 1000, else ``12.3 k``."""
    if abs(number) < 1000:
        return str(int(number))
    return ("-" if number < 0 else "") + scaled(abs(number), _COUNTED)


def bytes_of(number: float) -> str:
    """Return bytes as ``2.3 MB`` (10**6)."""
    return ("-" if number < 0 else "") + scaled(abs(number), ("B", "kB", "MB", "GB", "TB", "PB", "EB"))


def percent(share: float) -> str:
    """Return a share of 0 or more as ``104 %``, below one per cent with up to three digits: ``0.0143 %``."""
    return f"{100 * share:.0f} %" if share >= 0.01 else f"{short(100 * share)} %"


def far_over(share: float) -> str:
    """Return how far a value is over its limit, in parts of it: ``20 % over``, or ``230 times the limit``."""
    return f"{percent(share)} over" if share < _MANY else f"{short(1 + share)} times the limit"


def plural(number: int, noun: str) -> str:
    """Return ``1 run``, ``2 runs``."""
    return f"{count(number)} {noun}" if number == 1 else f"{count(number)} {noun}s"


def amount(value: float, unit: str, form: str = "") -> str:
    """Return *value* of a metric.

    Args:
        value: in the metric's unit.
        unit: as OpenTelemetry writes it, ``…/s`` for a rate; ``%`` for a share that is meant in percent.
        form: that of the budget; ``rate`` is per second.
    """
    base = unit.removesuffix("/s")
    per = "/s" * ((base != unit) + (form == "rate"))
    if not -_ENDLESS < value < _ENDLESS:
        return f"{value}{per}"
    if base == "s":
        return duration(value) + (" per s" if per else "")
    if base == "By":
        return bytes_of(value) + per
    number = short(value * 100) if base == "%" else short(value)
    noun = "" if base == "1" else "core" if base == "{cpu}" else base.strip("{}").replace("_", " ")
    if base.startswith("{") and number != "1":
        noun = _plural_of(noun)
    return f"{number} {noun}".rstrip() + per


def _plural_of(noun: str) -> str:
    if noun.endswith("s") and not noun.endswith("ss"):  # it is one already
        return noun
    if noun.endswith("y") and noun[-2:-1] not in ("", "a", "e", "i", "o", "u"):
        return f"{noun[:-1]}ies"
    return noun + ("es" if noun.endswith(("ss", "x", "ch", "sh")) else "s")
