"""What our names become in the backends: the one table of instruments, and how names are written in queries.

Prometheus takes OTLP with ``translation_strategy: UnderscoreEscapingWithSuffixes``; metric_name() is that translation,
and ``tests/stack/test_rules.py`` asks the real server whether it is true of every instrument. Loki puts underscores for
dots in attributes, Tempo keeps names as they are.

Source: github.com/prometheus/otlptranslator v1.0.0 (metric_namer.go, unit_namer.go, label_namer.go).
"""

from __future__ import annotations

import re

from otel_perf.metrics.names import INSTRUMENTS, WRITTEN

TABLE: dict[str, tuple[str, str, bool]] = {**INSTRUMENTS, **WRITTEN}  # kind, unit, whether it is monotonic

PROMOTED = (  # resource attributes that Prometheus makes labels of each series, in prometheus.yml
    "service.name",
    "service.namespace",
    "service.version",
    "service.instance.id",
    "deployment.environment.name",
)

_UNITS = {
    "d": "days", "h": "hours", "min": "minutes", "s": "seconds", "ms": "milliseconds", "us": "microseconds",
    "ns": "nanoseconds", "By": "bytes", "KiBy": "kibibytes", "MiBy": "mebibytes", "GiBy": "gibibytes",
    "TiBy": "tibibytes", "KBy": "kilobytes", "MBy": "megabytes", "GBy": "gigabytes", "TBy": "terabytes",
    "m": "meters", "V": "volts", "A": "amperes", "J": "joules", "W": "watts", "g": "grams", "Cel": "celsius",
    "Hz": "hertz", "1": "", "%": "percent",
}  # fmt: skip
_PER = {"s": "second", "m": "minute", "h": "hour", "d": "day", "w": "week", "mo": "month", "y": "year"}
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")


def series_of(instrument: str) -> str:
    """Return the name of the series in Prometheus that an instrument of ours becomes.

    Raises: ValueError: it is none of TABLE; what an application calls its own has the kind and unit that it says.
    """
    if instrument not in TABLE:
        raise ValueError(f"{instrument!r} is no instrument of otel-perf; give its unit and kind to prometheus_name()")
    kind, unit, monotonic = TABLE[instrument]
    return prometheus_name(instrument, unit, kind, monotonic)


def prometheus_name(instrument: str, unit: str, kind: str, monotonic: bool) -> str:
    """Return the name that Prometheus gives a metric it gets by OTLP.

    Args:
        instrument: the metric's OpenTelemetry name.
        unit: as OpenTelemetry writes it; what stands in braces is no part of the name.
        kind: ``gauge``, ``sum``, ``updown``, ``histogram`` or ``exponentialHistogram``; an explicit histogram gets
            ``_bucket``, ``_count`` and ``_sum`` behind it, an exponential one is a native histogram of this name.
        monotonic: of a sum, whether it never falls.

    Raises: ValueError: nothing is left of the name.
    """
    words = [word for word in re.split(r"[^A-Za-z0-9:]+", instrument) if word]
    if not words:
        raise ValueError(f"nothing of the metric's name {instrument!r} can stand in Prometheus; use letters or digits")
    main, _, per = unit.partition("/")
    words += [word for word in (_unit(main, _UNITS), _unit(per, _PER, "per_")) if word and word not in words]
    if kind == "sum" and monotonic:
        words = [word for word in words if word != "total"] + ["total"]
    if unit == "1" and kind == "gauge":
        words = [word for word in words if word != "ratio"] + ["ratio"]
    name = "_".join(words)
    return f"_{name}" if name[0].isdigit() else name


def _unit(unit: str, known: dict[str, str], before: str = "") -> str:
    """Return what a part of a unit adds to a name, empty for none."""
    unit = unit.strip()
    word = known.get(unit, unit)
    if not word or "{" in unit or "}" in unit:
        return ""
    return re.sub(r"[^A-Za-z0-9:]+", "_", before + word).strip("_")


def label(attribute: str) -> str:
    """Return the label that Prometheus makes of an attribute, with its defaults for underscores.

    Raises: ValueError: nothing is left of the name.
    """
    name = re.sub(r"[^A-Za-z0-9]", "_", attribute)
    if not name.strip("_"):
        raise ValueError(f"nothing of the attribute's name {attribute!r} can stand in Prometheus")
    if name[0].isdigit():
        return f"key_{name}"
    return f"key{name}" if name[0] == "_" and not name.startswith("__") else name


def loki_name(attribute: str) -> str:
    """Return the label or structured metadata that Loki makes of an attribute: dots and all else become underscores.

    Source: Loki, pkg/loghttp/push/otlp.go, which normalises with Prometheus's label names.
    """
    return label(attribute)


def tempo_name(attribute: str, scope: str = "span") -> str:
    """Return how TraceQL asks for an attribute of a *scope*: ``span.otel_perf.kind``; odd names stand in quotes."""
    return f"{scope}.{attribute}" if _PLAIN.fullmatch(attribute) else f"{scope}.{traceql_string(attribute)}"


# --- literals --------------------------------------------------------------------------------------------------------


def promql_string(value: str) -> str:
    """Return *value* as a string of PromQL, with its quotes."""
    return _quoted(value)


def promql_regex(*values: str) -> str:
    """Return a string of PromQL, with its quotes, that ``=~`` takes for each of *values* and nothing else."""
    return _quoted("|".join(re.sub(r"([\\.+*?()|\[\]{}^$])", r"\\\1", value) for value in values))


def logql_string(value: str) -> str:
    """Return *value* as a string of LogQL, with its quotes."""
    return _quoted(value)


def traceql_string(value: str) -> str:
    """Return *value* as a string of TraceQL, with its quotes."""
    return _quoted(value)


def _quoted(value: str) -> str:
    """Return *value* as a string of Go between double quotes, which all three languages read.

    Source: The Go Programming Language Specification, "String literals". Lone surrogates cannot be written there.
    """
    return '"' + "".join(_escaped(character) for character in value) + '"'


def _escaped(character: str) -> str:
    code = ord(character)
    if character in '"\\':
        return "\\" + character
    if 0xD800 <= code < 0xE000:
        return "\N{REPLACEMENT CHARACTER}"
    if character.isprintable():
        return character
    return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(character) or (
        f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    )
