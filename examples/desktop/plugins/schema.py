"""Checks every message against a JSON schema that is compiled into plain functions at the start."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import otel_perf as perf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from desktop.core import Core
    from desktop.telemetry import Reading

    Check = Callable[[Any], Iterator[str]]  # yields what is wrong

_TYPES = {"object": dict, "integer": int, "number": int | float, "string": str}


class Plugin:
    """Counts the messages that keep the schema, and remembers the first fault."""

    def __init__(self, core: Core) -> None:
        text = Path(__file__).with_name("reading.schema.json").read_text(encoding="utf-8")
        self._check = compile_schema(json.loads(text))
        self._valid = self._invalid = 0
        self._fault = ""

    @perf.profile("schema.handle")
    def handle(self, reading: Reading, message: bytes) -> None:
        fault = next(self._check(json.loads(message)), None)
        if fault is None:
            self._valid += 1
        else:
            self._invalid += 1
            self._fault = self._fault or f"; first fault: {fault}"

    def finish(self) -> str:
        return f"{self._valid} messages valid, {self._invalid} invalid{self._fault}"


def compile_schema(schema: dict[str, Any]) -> Check:
    """Return a check for *schema*: the part of JSON Schema that reading.schema.json needs."""
    types = _TYPES[schema["type"]]
    minimum = schema.get("minimum")
    required = schema.get("required", [])
    closed = schema.get("additionalProperties") is False
    properties = {name: compile_schema(part) for name, part in schema.get("properties", {}).items()}

    def check(value: Any) -> Iterator[str]:
        if not isinstance(value, types) or isinstance(value, bool):
            yield f"{value!r} is not of type {schema['type']}"
            return
        if minimum is not None and value < minimum:
            yield f"{value!r} is less than {minimum}"
        if isinstance(value, dict):
            yield from (f"{name} is missing" for name in required if name not in value)
            for name, part in value.items():
                if name in properties:
                    yield from (f"{name}: {fault}" for fault in properties[name](part))
                elif closed:
                    yield f"{name} is unknown"

    return check
