"""Every setting with its value and where it came from; values that could not be taken, names that nobody reads."""

from __future__ import annotations

import os
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from otel_perf import budgets, config, resource, sampling, variables
from otel_perf.analysis.text import bytes_of, duration
from otel_perf.errors import ConfigError
from otel_perf.export.endpoint import SHORTEST, TEMPORALITY, shown_url
from otel_perf.metrics import misnamed

from .found import SET, Part

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from otel_perf.config import Settings

_OF_OTHERS = ("OTEL_PERF_", "OTEL_PYTHON_", "OTEL_INSTRUMENTATION_")  # ours are errors already, see variables.py


def variable_of(environ: Mapping[str, str], signal: str, name: str) -> str:
    """Return the variable that *name* of *signal* is read from: its own where that is set, else the general one."""
    own = f"OTEL_EXPORTER_OTLP_{signal.upper()}_{name}"
    return own if environ.get(own, "").strip() else f"OTEL_EXPORTER_OTLP_{name}"


def examine(settings: Settings, environ: Mapping[str, str], said: Sequence[str] = ()) -> Part:
    """Return all settings, and what is wrong with them.

    Args:
        settings: as they count here.
        environ: the environment.
        said: complaints about variables that are shown elsewhere.
    """
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
    for name, _, _ in variables.TABLE:
        value = environ.get(name, "").strip()
        if value and name not in rows:
            part.row(name, _shown_variable(name, value), "environment")
            part.data[name] = {"value": _shown_variable(name, value), "source": name, "variable": name}
    _complain(part, settings, environ, said)
    _recording(part, settings)
    _temporality(part, environ)
    _timeouts(part, environ)
    _components(part, settings, environ)
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
    if name == "OTEL_ENTITIES":
        return SET
    if name.endswith("_ENDPOINT"):
        return shown_url(value)
    if name.endswith(("_KEY", "_CERTIFICATE")) and not os.path.exists(value):
        return f"{SET}, no such file"  # its text may be the key itself
    return value


def _complain(part: Part, settings: Settings, environ: Mapping[str, str], said: Sequence[str]) -> None:
    elsewhere = {text.partition(":")[0] for text in said}
    for text in (
        *settings.complaints,
        *variables.complaints(environ),
        *sampling.decisions(settings)[2],
        *resource.complaints(settings.resource_attributes),
    ):
        name = text.partition(":")[0]
        if name not in elsewhere:
            part.error(text, f"{name}=otlp" if name.endswith("_EXPORTER") else "")
    try:
        budgets.read(*settings.budgets)
    except ConfigError as error:
        part.error(str(error))
    for text in misnamed.complaints(*settings.budgets):
        part.error(text)


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


def _timeouts(part: Part, environ: Mapping[str, str]) -> None:
    for name in (row[0] for row in variables.TABLE if row[0].endswith("_TIMEOUT") and "_OTLP_" in row[0]):
        text = environ.get(name, "").strip()
        if text.isdecimal() and 0 < int(text) < SHORTEST * 1000:
            part.note(f"{name}={text} is {text} s, as the SDK for Python reads it; the specification's unit is ms")


def _components(part: Part, settings: Settings, environ: Mapping[str, str]) -> None:
    """Say which components of the program's SDK are named that no installed package has, and which are not ours."""
    for variable, group, noun, ours, others in variables.COMPONENTS:
        for name in dict.fromkeys(each.strip() for each in environ.get(variable, "").split(",")):
            if not name or name.lower() in ours:
                continue
            if variables.is_installed(group, name):
                if noun == "an exporter":
                    part.note(f"{variable}: {name} is the program's SDK's; otel-perf sends with otlp only")
            elif name.lower() in others:  # what nobody knows is an error already
                part.error(f"{variable}: no installed package has {noun} {name!r}", _brings(noun, name))
    sampler = settings.sampler.strip().lower()
    theirs = sampler not in sampling.NAMES and not sampling.decisions(settings)[2]
    if theirs:
        part.note(f"OTEL_TRACES_SAMPLER: {sampler} is the program's SDK's; while it has none, every trace is recorded")
    for name in ("OTEL_CONFIG_FILE", "OTEL_EXPERIMENTAL_CONFIG_FILE"):
        if environ.get(name, "").strip():
            part.note(f"{name}: the program's SDK reads that file, otel-perf does not: it goes by the variables")


def _brings(noun: str, name: str) -> str:
    name = name.lower()
    if noun == "an exporter":
        return "otlp, or install what has it" if name in ("logging", "otlp/stdout") else _install(f"exporter-{name}")
    package = {"b3multi": "b3", "xray": "aws-xray", "ottrace": "ot-trace"}.get(name, name)
    return _install(f"propagator-{package}")


def _install(package: str) -> str:
    return f"pip install opentelemetry-{package}"


def _unread(part: Part, environ: Mapping[str, str]) -> None:
    """Name the variables that look like the specification's and are read by nobody."""
    known = [row[1] for row in config.TABLE] + [row[0] for row in variables.TABLE]
    for name in sorted(environ):
        if not name.startswith("OTEL_") or name.startswith(_OF_OTHERS) or name in known or not environ[name].strip():
            continue
        near = get_close_matches(name, known, 1, 0.9)
        if near or name.startswith("OTEL_EXPORTER_OTLP_"):
            part.note(f"{name} is set and nobody reads it", f"did you mean {near[0]}?" if near else "unset it")
