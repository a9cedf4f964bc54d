"""Who this process is, by OpenTelemetry's semantic conventions for resources.

Imports only: os, sys, system. No argument of the program's beyond its name, and nothing of its environment.
"""

from __future__ import annotations

import os
import sys

from .__about__ import __version__
from .config import program_name, unquote
from .system import calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .config import Settings

_ARCHITECTURES = {
    "x86_64": "amd64",
    "amd64": "amd64",
    "aarch64": "arm64",
    "arm64": "arm64",
    "i386": "x86",
    "i686": "x86",
}
_ARCHITECTURES |= {
    "armv7l": "arm32",
    "armv6l": "arm32",
    "ppc64": "ppc64",
    "ppc64le": "ppc64",
    "s390x": "s390x",
}


def describe(settings: Settings, instance: str) -> dict[str, Any]:
    """Return the resource attributes of this process.

    Args:
        settings: for names, version and OTEL_RESOURCE_ATTRIBUTES, whose entries win over what is detected here.
        instance: ``service.instance.id``, unique for this process.
    """
    version = sys.version_info
    found: dict[str, Any] = {
        "service.instance.id": instance,
        "process.pid": calls.getpid(),
        "process.executable.name": os.path.basename(sys.executable or "python"),
        "process.executable.path": sys.executable or "",
        "process.command": program_name(),
        "process.runtime.name": sys.implementation.name,
        "process.runtime.version": ".".join(map(str, version if version.releaselevel != "final" else version[:3])),
        "process.runtime.description": sys.version.replace("\n", " "),
        "telemetry.distro.name": "otel-perf",
        "telemetry.distro.version": __version__,
        "telemetry.sdk.language": "python",
        "telemetry.sdk.name": "otel-perf",
        "telemetry.sdk.version": __version__,
    }
    if hasattr(os, "getppid"):
        found["process.parent_pid"] = calls.getppid()
    found |= _host()
    extra = parse_attributes(settings.resource_attributes)
    found |= extra
    found["service.name"] = settings.service or extra.get("service.name") or program_name()
    if settings.version:
        found["service.version"] = settings.version
    return {key: item for key, item in found.items() if item not in ("", None)}


def _host() -> dict[str, Any]:
    if not hasattr(calls, "uname"):
        machine = os.environ.get("PROCESSOR_ARCHITECTURE", "").lower()
        return {
            "os.type": "windows",
            "host.arch": _ARCHITECTURES.get(machine, machine),
            "host.name": os.environ.get("COMPUTERNAME", ""),
        }
    system, node, release, _, machine = calls.uname()
    return {
        "os.type": system.lower(),
        "os.version": release,
        "host.name": node,
        "host.arch": _ARCHITECTURES.get(machine.lower(), machine),
    }


def parse_attributes(text: str) -> dict[str, str]:
    """Return the entries of OTEL_RESOURCE_ATTRIBUTES; those that are no ``key=value`` are left out.

    Source: OpenTelemetry resource specification, "Specifying resource information via an environment variable": values
    are percent-encoded.
    """
    found = {}
    for entry in text.split(","):
        key, equals, item = entry.partition("=")
        if equals and key.strip():
            found[unquote(key.strip())] = unquote(item.strip())
    return found


def complaints(text: str) -> list[str]:
    """Return a sentence about the entries of OTEL_RESOURCE_ATTRIBUTES that are no ``key=value``, if there are any.

    They are named by their places: any of them may be the rest of a secret that has a comma in it.
    """
    entries = [entry.strip() for entry in text.split(",")]
    wrong = [str(place) for place, entry in enumerate(entries, 1) if entry and entry.find("=") < 1]
    if not wrong:
        return []
    what = f"entry {wrong[0]} is" if len(wrong) == 1 else f"entries {', '.join(wrong)} are"
    return [f"OTEL_RESOURCE_ATTRIBUTES: {what} no key=value with a comma in a value written %2C; left out"]
