"""The application's own MeterProvider: what was measured last, as observable instruments of it.

So any reader, View or exporter of the application's has our values, at its own interval. The provider is never
replaced, and none is made where there is none. Loaded once the application has set one; its readers call back on
threads of theirs. Of timers and of the durations of functions there is nothing here: a histogram cannot be observed.

``system.*`` and ``cpython.gc.*`` are ours here too, named as opentelemetry-instrumentation-system-metrics names them (a
test compares), unless that runs: it is a singleton, and if we had started it, the application's own ``instrument()``
would do no more than warn.

Imports only: names, places, and what the application has loaded.
"""

from __future__ import annotations

import os
import sys

from otel_perf.__about__ import __version__
from otel_perf.export import places

from .names import INSTRUMENTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    Values = list[tuple[float, Mapping[str, Any]]]

API = "opentelemetry.metrics"
THEIRS = "opentelemetry.instrumentation.system_metrics"
_LIKE_THEIRS = ("system.", "cpython.")
_MADE = {"sum": "create_observable_counter", "updown": "create_observable_up_down_counter"}

_provider: Any = None  # the one that has our instruments, which stay there also after a fork
_made: set[str] = set()  # by name
_source: Source | None = None


class Source:
    """What there is to offer.

    Attributes:
        names: returns the name of each instrument that has values, with its kind, ``sum``, ``updown`` or ``gauge``, and
            its unit.
        values: returns the newest values of one of them, with their attributes.
    """

    __slots__ = ("names", "process", "values")

    def __init__(self, names: Callable[[], dict[str, tuple[str, str]]], values: Callable[[str], Values]) -> None:
        self.names = names
        self.values = values
        self.process = os.getpid()


def provider() -> Any:
    """Return the MeterProvider that the application has set; None if there is none, it is over, or not to have this.

    If all it does is send by OTLP to where we send, our points of each second go there already.
    """
    found = getattr(sys.modules.get(f"{API}._internal"), "_METER_PROVIDER", None)
    readers = getattr(found, "_metric_readers", None) or getattr(
        getattr(found, "_sdk_config", None), "metric_readers", None
    )  # the second before 1.42
    if getattr(found, "_shutdown", False):  # by the SDK's own exit: whoever asks it for a meter then is warned
        return None
    if places.destinations and readers and all(places.is_ours("metrics", reader) for reader in readers):
        return None
    return found


def offer(source: Source) -> None:
    """Make the instruments that are still missing on the application's provider, and answer from *source*."""
    global _provider, _source
    found = provider()
    if found is None:
        return
    if found is not _provider:
        _provider = found
        _made.clear()
    _source = source
    missing = {name: kind for name, kind in source.names().items() if name not in _made}
    if not missing:
        return
    meter = found.get_meter("otel_perf", __version__)
    for name, (kind, unit) in missing.items():
        _made.add(name)
        create = getattr(meter, _MADE.get(kind, "create_observable_gauge"))
        create(name, callbacks=[_callback(name)], unit=unit)


def withdraw() -> None:
    """Offer nothing any more: what was measured last is no longer so."""
    global _source
    _source = None


def _callback(name: str) -> Callable[[Any], list[Any]]:
    """Return what a reader calls for the values of *name*."""
    observation = sys.modules[API].Observation

    def observe(options: Any) -> list[Any]:
        source = _source
        if source is None or source.process != os.getpid():  # a child has its parent's until its own are read
            return []
        if name.startswith(_LIKE_THEIRS) and name in INSTRUMENTS and _theirs_runs():
            return []
        return [observation(value, attributes) for value, attributes in source.values(name)]

    return observe


def _theirs_runs() -> bool:
    """Return whether the official instrumentation supplies these."""
    kind = getattr(sys.modules.get(THEIRS), "SystemMetricsInstrumentor", None)
    instance = getattr(kind, "_instance", None)  # the constructor would configure it anew
    return bool(getattr(instance, "is_instrumented_by_opentelemetry", False))
