"""Settings of the application: read from a TOML file, checked once, plain attributes afterwards."""

from __future__ import annotations

import ipaddress
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path


class SettingsError(ValueError):
    """A setting is missing, unknown or out of its range; the message names the file and the key."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting; an attribute is named ``section_key``."""

    transport_host: str
    transport_timeout: float
    transport_max_frame: int
    devices_workers: int
    devices_timeout: float
    telemetry_messages: int
    telemetry_save_every: int
    telemetry_slow_save: str
    telemetry_backlog: int
    ui_columns: int
    ui_rows: int
    plugins_disabled: list[str]
    plugins_threaded: list[str]


class Rule(NamedTuple):
    """What a value must be; *low* and *high* are inclusive and for numbers only."""

    kind: type
    low: float = 0
    high: float = 0


_RULES = {
    "transport.host": Rule(str),
    "transport.timeout": Rule(float, 0.1, 60),
    "transport.max_frame": Rule(int, 1024, 1 << 20),
    "devices.workers": Rule(int, 1, 32),
    "devices.timeout": Rule(float, 0.1, 60),
    "telemetry.messages": Rule(int, 0, 1_000_000),
    "telemetry.save_every": Rule(int, 1, 10_000),
    "telemetry.slow_save": Rule(str),
    "telemetry.backlog": Rule(int, 1, 1_000_000),
    "ui.columns": Rule(int, 60, 300),
    "ui.rows": Rule(int, 20, 100),
    "plugins.disabled": Rule(list),
    "plugins.threaded": Rule(list),
}


def load_settings(path: Path) -> Settings:
    """Read *path* and return its settings.

    Raises:
        SettingsError: a key is missing, unknown, of another type or out of range.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        try:
            document = tomllib.load(file)
        except tomllib.TOMLDecodeError as error:
            raise SettingsError(f"{path}: not valid TOML: {error}") from error
    given: dict[str, Any] = {}
    for section, table in document.items():
        if not isinstance(table, dict):
            raise SettingsError(f"{path}: {section!r} stands outside a section; move it into one, e.g. [ui]")
        given |= {f"{section}.{key}": value for key, value in table.items()}
    if unknown := sorted(given.keys() - _RULES.keys()):
        raise SettingsError(f"{path}: unknown setting {unknown[0]!r}; known are {', '.join(_RULES)}")
    values: dict[str, Any] = {}
    for key, rule in _RULES.items():
        if key not in given:
            raise SettingsError(f"{path}: {key!r} is missing; add it to section [{key.partition('.')[0]}]")
        values[key.replace(".", "_")] = _checked(path, key, given[key], rule)
    return Settings(**values)


def _checked(path: Path, key: str, value: object, rule: Rule) -> object:
    if rule.kind is float and type(value) is int:
        value = float(value)  # TOML: 5 and 5.0 mean the same to a reader
    if type(value) is not rule.kind:
        raise SettingsError(f"{path}: {key} must be {rule.kind.__name__}, got {value!r}")
    if isinstance(value, int | float) and not rule.low <= value <= rule.high:
        raise SettingsError(f"{path}: {key} must be {rule.low:g} to {rule.high:g}, got {value!r}")
    if isinstance(value, list) and not all(isinstance(item, str) for item in value):
        raise SettingsError(f"{path}: {key} must hold names only, got {value!r}")
    if key == "transport.host" and not _is_loopback(str(value)):
        raise SettingsError(f"{path}: {key} must be a loopback address such as 127.0.0.1, got {value!r}")
    return value


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
