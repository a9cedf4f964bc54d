"""Proves the hooks on the libraries that are installed; run in an interpreter of its own, which they may spoil.

``python -I -S -c START PATH`` prints a JSON object: of each hook ``on``, ``off`` or why it fell back.
"""

from __future__ import annotations

import json
import os
import sys

START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from otel_perf.diagnose.selftest import main; main()"
HOOKS = {
    "imports": "import timing",
    "context": "context bridge",
    "tracer": "light tracer",
    "provider": "provider sharing",
}


def main() -> None:
    """Print what became of each hook, and end."""
    sys.stdout.write(json.dumps(prove()))
    sys.stdout.flush()
    os._exit(0)  # nothing of what was installed here may run at an exit


def prove() -> dict[str, str]:
    """Install every hook that is switched on, and say how that went."""
    from otel_perf import config, imports, tracing

    settings = config.load({})
    found = {"imports": "off"}
    if settings.imports:
        found["imports"] = "on" if imports.install() else "this interpreter's import machinery is another"
    tracing.install(settings, lambda: None, lambda: None)
    try:
        import opentelemetry.trace  # noqa: F401
    except Exception as error:  # noqa: BLE001  # whatever is installed there
        why = f"opentelemetry.trace cannot be imported: {type(error).__name__}: {error}"
        return found | dict.fromkeys(("context", "tracer", "provider"), why)
    tracing.join_late()
    found |= tracing.status
    if found.get("provider") == "on":
        found["provider"] = _prove_provider()
    return found


def _prove_provider() -> str:
    """Set a provider as an application does, and see that it is taken."""
    try:
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
    except ImportError:
        return "on"  # without an SDK there is no provider to share with
    from otel_perf.tracing import provider

    try:
        given = TracerProvider()
        trace.set_tracer_provider(given)
    except Exception as error:  # noqa: BLE001
        return f"{type(error).__name__}: {error}"
    if provider.provider is not given or not provider.takes():
        return "a TracerProvider was set and not found"
    return "on"
