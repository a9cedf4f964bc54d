"""The interpreter, the packages, and whether the hooks fit them."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from otel_perf.__about__ import __version__

from .found import Part
from .selftest import HOOKS, START

if TYPE_CHECKING:
    from otel_perf.config import Settings
    from otel_perf.export.endpoint import Endpoints

_PACKAGES = (
    "opentelemetry-api",
    "opentelemetry-sdk",
    "opentelemetry-proto",
    "opentelemetry-exporter-otlp-proto-http",
    "opentelemetry-exporter-otlp-proto-grpc",
    "opentelemetry-instrumentation-system-metrics",
    "grpcio",
    "requests",
    "protobuf",
    "psutil",
)
_ONE_RELEASE = _PACKAGES[:5]  # these are released together, under one number
_PACKAGE_OF = {
    "http/protobuf": "opentelemetry-exporter-otlp-proto-http",
    "grpc": "opentelemetry-exporter-otlp-proto-grpc",
}
_LOST = {
    "imports": "imports are not timed",
    "context": "spans of the OpenTelemetry API do not nest in ours, nor ours in theirs",
    "tracer": "spans of the OpenTelemetry API are not recorded while the program has no SDK",
    "provider": "spans are not shared with the program's own TracerProvider",
}


def versions(endpoints: Endpoints) -> Part:
    """Return what is installed, and what is missing for *endpoints*."""
    part = Part("packages")
    python = f"{platform.python_implementation()} {platform.python_version()}"
    part.row("python", python, sys.executable or "")
    part.row("platform", f"{platform.system()} {platform.release()} {platform.machine()}")
    part.row("otel-perf", __version__)
    found = {name: _version(name) for name in _PACKAGES}
    for name, number in found.items():
        part.row(name, number or "not installed")
    part.data = {"python": python, "platform": sys.platform, "otel-perf": __version__, **found}
    for name in ("opentelemetry-api", "opentelemetry-sdk"):
        if not found[name]:
            part.error(f"{name} is not installed", f"pip install {name}")
    for protocol in sorted({target.protocol for target in endpoints.targets.values() if "otlp" in target.exporters}):
        name = _PACKAGE_OF.get(protocol, "")
        if name and not found[name]:
            part.error(f"{name} is not installed, and {protocol} needs it: nothing is sent", f"pip install {name}")
    releases = {found[name] for name in _ONE_RELEASE if found[name]}
    if len(releases) > 1:
        part.note(
            f"the OpenTelemetry packages are of different releases ({', '.join(sorted(releases))})",
            "pip install --upgrade opentelemetry-sdk opentelemetry-exporter-otlp",
        )
    return part


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def hooks(settings: Settings, limit: float) -> Part:
    """Return whether the hooks work on what is installed, proved in another interpreter within *limit* seconds."""
    part = Part("hooks")
    results, problem = _prove(limit)
    for name, title in HOOKS.items():
        variable = f"OTEL_PERF_{name.upper()}"
        source = settings.sources.get(name, "default")
        result = results.get(name, "")
        if result == "off":
            part.row(title, "off", source)
            fix = f"{variable}=1" if source == variable else f"{name} = true in {source}"
            part.note(f"the {title} is switched off ({source}): {_LOST[name]}", fix)
        elif result == "on":
            part.row(title, "works", f"{variable}=0 switches it off")
        elif result:
            part.row(title, "does not fit", result)
            part.error(f"the {title} does not fit what is installed ({result}): {_LOST[name]}", f"{variable}=0")
        else:
            part.row(title, "not proved", problem)
    part.data = {name: results.get(name, f"not proved: {problem}") for name in HOOKS}
    if problem:
        part.note(f"the hooks could not be proved: {problem}")
    return part


def _prove(limit: float) -> tuple[dict[str, str], str]:
    """Return what the self-test says of each hook, or why it said nothing."""
    paths = [os.path.abspath(path or os.curdir) for path in sys.path]
    environ = {name: value for name, value in os.environ.items() if name != "OTEL_SDK_DISABLED"}
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", START, json.dumps(paths)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=max(0.1, limit),
            env=environ,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {}, f"no result within {limit:.1f} s"
    except OSError as error:
        return {}, f"cannot start {sys.executable}: {error.strerror or error}"
    try:
        found = json.loads(done.stdout)
        return {str(name): str(value) for name, value in found.items()}, ""
    except (ValueError, AttributeError):
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        return {}, last[:200] or f"the self-test ended with status {done.returncode}"
