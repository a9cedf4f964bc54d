"""Plugins: finds the modules of desktop/plugins/, imports and starts them, some of them on threads."""

from __future__ import annotations

import importlib
import logging
import pkgutil
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TYPE_CHECKING, Protocol

import otel_perf as perf
from desktop import plugins

if TYPE_CHECKING:
    from collections.abc import Collection

    from desktop.core import Core
    from desktop.telemetry import Reading

log = logging.getLogger(__name__)


class Plugin(Protocol):
    """What a plugin module's class ``Plugin`` offers. Its constructor may be slow and may run on a thread."""

    def __init__(self, core: Core) -> None: ...

    def handle(self, reading: Reading, message: bytes) -> None:
        """Look at one reading and at the message it was sent as."""

    def finish(self) -> str:
        """End the work and return one line that says what came of it."""


class PluginHost:
    """The plugins that started, by name."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._plugins: dict[str, Plugin] = {}

    @perf.profile
    def load(self, disabled: Collection[str], threaded: Collection[str]) -> list[str]:
        """Start every plugin there is but the *disabled* ones; return the names of those that work.

        The *threaded* ones start on threads while the others start here.
        """
        found = sorted(module.name for module in pkgutil.iter_modules(plugins.__path__))
        names = [name for name in found if name not in disabled]
        with ThreadPoolExecutor(2, thread_name_prefix="plugin") as pool:
            # a copy of the context: the spans of a plugin's thread become children of this call's
            on_threads = [name for name in names if name in threaded]
            futures = [pool.submit(copy_context().run, self._start, name) for name in on_threads]
            for name in names:
                if name not in threaded:
                    self._start(name)
        for future in futures:
            future.result()
        return sorted(self._plugins)

    @perf.profile
    def handle(self, reading: Reading, message: bytes) -> None:
        """Hand a reading to every plugin."""
        for plugin in self._plugins.values():
            plugin.handle(reading, message)

    def finish(self) -> dict[str, str]:
        """End all plugins; return what each has to say, in the order of their names."""
        return {name: plugin.finish() for name, plugin in sorted(self._plugins.items())}

    def _start(self, name: str) -> None:
        with perf.profile(f"plugin {name}", span_threshold=0):
            try:
                module = importlib.import_module(f"{plugins.__name__}.{name}")
                self._plugins[name] = module.Plugin(self._core)
            except Exception:  # a plugin is foreign code: one that fails is left out, whatever it raised
                log.exception("plugin %s does not start and is left out", name)
