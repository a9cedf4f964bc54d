"""Every setting with its value and where it came from; values that could not be taken, names that nobody reads."""

from __future__ import annotations

import os
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from otel_perf import budgets, config, resource, sampling
from otel_perf.analysis.text import bytes_of, duration
from otel_perf.errors import ConfigError
from otel_perf.export.endpoint import SIGNALS

from .found import SET, Part, shown_url

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otel_perf.config import Settings

_INTERNAL = ("OTEL_PERF_RUN", "OTEL_PERF_SITE", "OTEL_PERF_STARTED")  # set by `otel-perf run` for its children
_OTLP = (
    "ENDPOINT",
    "PROTOCOL",
    "HEADERS",
    "TIMEOUT",
    "COMPRESSION",
    "INSECURE",
    "CERTIFICATE",
    "CLIENT_KEY",
    "CLIENT_CERTIFICATE",
)
TEMPORALITY = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"
_SENDING = (
    *(f"OTEL_{signal.upper()}_EXPORTER" for signal in SIGNALS),
    *(f"OTEL_EXPORTER_OTLP_{name}" for name in _OTLP),
    *(f"OTEL_EXPORTER_OTLP_{signal.upper()}_{name}" for signal in SIGNALS for name in _OTLP),
    TEMPORALITY,
    "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_METRIC_EXPORT_INTERVAL",
    "OTEL_BLRP_SCHEDULE_DELAY",
)
_OURS = ("OTEL_PERF_", "OTEL_EXPORTER_OTLP_")


def variable_of(environ: Mapping[str, str], signal: str, name: str) -> str:
    """Return the variable that *name* of *signal* is read from: its own where that is set, else the general one."""
    own = f"OTEL_EXPORTER_OTLP_{signal.upper()}_{name}"
    return own if environ.get(own, "").strip() else f"OTEL_EXPORTER_OTLP_{name}"


def examine(settings: Settings, environ: Mapping[str, str]) -> Part:
    """Return all settings, and what is wrong with them."""
    part = Part("settings")
    for key, variable, _, default, meaning in config.TABLE:
        source = settings.sources.get(key, "")
        value = getattr(settings, key, default)
        part.row(key, _shown(key, value), _source(source) or f"default ({variable})")
        part.data[key] = {
            "value": _plain(key, value),
            "source": _source(source) or "default",
            "variable": variable,
            "meaning": meaning,
        }
    rows = [row[1] for row in config.TABLE]
    for name in _SENDING:
        value = environ.get(name, "").strip()
        if value and name not in rows:
            part.row(name, _shown_variable(name, value), "environment")
            part.data[name] = {"value": _shown_variable(name, value), "source": name, "variable": name}
    _complain(part, settings)
    _recording(part, settings)
    _temporality(part, environ)
    _unread(part, environ)
    return part


def _source(source: str) -> str:
    return "pyproject.toml [tool.otel-perf]" if source == "pyproject.toml" else source


def _plain(key: str, value: Any) -> Any:
    if key == "resource_attributes":
        return sorted(resource.parse_attributes(value))
    if key == "endpoint":
        return shown_url(value or "") or None
    if key == "ready_when" and value is not None:
        rule, number = value
        return {"port": f"port:{number:.0f}", "delay": duration(number)}.get(rule, rule)
    return list(value) if isinstance(value, tuple) else value


def _shown(key: str, value: Any) -> str:
    """Return a setting's value as people write it."""
    if value is None or value == "":
        return "-"
    if key == "resource_attributes":  # anything may stand in them
        return ", ".join(f"{name} {SET}" for name in _plain(key, value)) or SET
    if key in ("endpoint", "ready_when"):
        return str(_plain(key, value))
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return duration(value)
    if key.endswith("_limit") and isinstance(value, int) and value >= 1_000_000:
        return bytes_of(value)
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def _shown_variable(name: str, value: str) -> str:
    if name.endswith("_HEADERS"):
        keys = [entry.partition("=")[0].strip() for entry in value.split(",") if "=" in entry]
        return ", ".join(f"{key} {SET}" for key in keys) or SET
    if name.endswith("_ENDPOINT"):
        return shown_url(value)
    if name.endswith(("_KEY", "_CERTIFICATE")) and not os.path.exists(value):
        return f"{SET}, no such file"  # its text may be the key itself
    return value


def _complain(part: Part, settings: Settings) -> None:
    for text in (*settings.complaints, *sampling.decisions(settings)[2]):
        part.error(text)
    try:
        budgets.read(*settings.budgets)
    except ConfigError as error:
        part.error(str(error))
    entries = [entry.strip() for entry in settings.resource_attributes.split(",")]
    wrong = [place for place, entry in enumerate(entries, 1) if entry and entry.find("=") < 1]
    if wrong:
        part.error(
            f"OTEL_RESOURCE_ATTRIBUTES: entry {', '.join(map(str, wrong))} is no key=value and left out",
            "OTEL_RESOURCE_ATTRIBUTES=key=value,key2=value2 with a comma in a value written %2C",
        )


def _recording(part: Part, settings: Settings) -> None:
    if settings.disabled:
        part.error("nothing is recorded: OTEL_SDK_DISABLED=true switches all off", "unset OTEL_SDK_DISABLED")
    sampler = settings.sampler.strip().lower()
    ratio = settings.sampler_argument.strip()
    if sampler.endswith("always_off") or (sampler.endswith("traceidratio") and ratio in ("0", "0.0")):
        part.error(
            f"no trace that begins here is recorded: OTEL_TRACES_SAMPLER={sampler}",
            "OTEL_TRACES_SAMPLER=parentbased_always_on",
        )
    elif sampler.endswith("traceidratio") and ratio:
        part.note(f"only a part of the traces is recorded, starts too: OTEL_TRACES_SAMPLER_ARG={ratio}")
    if not settings.signals:
        part.note("what is open when SIGTERM ends the process is not written (OTEL_PERF_SIGNALS is off)")


def _temporality(part: Part, environ: Mapping[str, str]) -> None:
    value = environ.get(TEMPORALITY, "").strip().lower()
    if value in ("delta", "lowmemory"):
        part.note(
            f"{TEMPORALITY}={value}: Prometheus will not take it; the run folder stays cumulative",
            f"{TEMPORALITY}=cumulative where metrics go to Prometheus",
        )
    elif value not in ("", "cumulative"):
        part.error(f"{TEMPORALITY}: {value!r} is none of cumulative, delta, lowmemory", f"{TEMPORALITY}=cumulative")


def _unread(part: Part, environ: Mapping[str, str]) -> None:
    """Name the variables that look like ours and are read by nobody."""
    known = [row[1] for row in config.TABLE] + [*_SENDING, *_INTERNAL]
    for name in sorted(environ):
        if name.startswith(_OURS) and not name.startswith("OTEL_PERF_STACK_") and name not in known and environ[name]:
            near = get_close_matches(name, known, 1, 0.85)
            part.note(f"{name} is set and nobody reads it", f"did you mean {near[0]}?" if near else "unset it")
