"""The two worlds: our frames and the OpenTelemetry API's spans nest in each other.

Imports nothing of OpenTelemetry: join() is called when the program has loaded it. Then bridge.py makes the recorder's
variable the OpenTelemetry context, light.py records spans of the plain API while there is no SDK, and provider.py
shares spans with a TracerProvider of the application's. Each has a switch, proves itself on the real library and falls
back to stock behaviour; ``status`` says how that went.
"""

from __future__ import annotations

import os
import sys

from otel_perf import imports
from otel_perf.clock import now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from otel_perf.config import Settings

TRIGGER = "opentelemetry.trace"
MAX_WAITING = 10_000  # records of the start kept for a provider that may still come
WAIT = 60.0  # seconds after install() that they are kept

status: dict[str, str] = {}  # of each part: "on", "off" or why it fell back
flush: Callable[[], None]  # set by install()
end_start: Callable[[], None]

_settings: Settings | None = None
_joined = False
_waiting: list[Any] = []
_wait_until = 0.0


def install(settings: Settings, on_flush: Callable[[], None], on_exit: Callable[[], None]) -> None:
    """Join the OpenTelemetry API as soon as the program loads it; at once if it has.

    Args:
        settings: for the switches and the span limits.
        on_flush: ``flush``, writes and shares what is finished; called when the application flushes its provider.
        on_exit: ``end_start``, ends the start first; called at exit, before the application's provider is shut down.
    """
    global _settings, flush, end_start, _wait_until
    _settings, flush, end_start, _wait_until = settings, on_flush, on_exit, now() + WAIT
    imports.watched[TRIGGER] = join_late
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_waiting.clear)  # they are the parent's
    join_late()


def share(records: list[Any], start_lasts: bool) -> None:
    """Give our records to the application's own provider; those of the start wait for it to be set."""
    ours = [record for record in records if type(record) is tuple or getattr(record, "is_light", False)]
    takes = None
    if status.get("provider") == "on":
        from . import provider

        provider.adopt_late()
        takes = provider.takes()
    if takes:
        given = _waiting + ours
        _waiting.clear()
        provider.give(given)
    elif takes is None and start_lasts and now() < _wait_until and status.get("provider", "on") == "on":
        _waiting.extend(ours[: MAX_WAITING - len(_waiting)])
    else:
        _waiting.clear()


def owner() -> str:
    """Return the type of the TracerProvider that the application has set, empty if there is none."""
    provider = getattr(sys.modules.get(TRIGGER), "_TRACER_PROVIDER", None)
    return "" if provider is None else f"{type(provider).__module__}.{type(provider).__qualname__}"


def close_open(interrupted: bool) -> None:
    """End the spans of the plain API that are still open: the process ends."""
    close = getattr(sys.modules.get(f"{__name__}.light"), "close_open", None)  # it may just be loaded
    if close is not None:
        close(interrupted)


def join_late() -> None:
    """Join the API if it is loaded by now: the worker asks too, for where imports are not watched."""
    module = sys.modules.get(TRIGGER)
    if _joined or module is None or _settings is None:
        return
    if not getattr(getattr(module, "__spec__", None), "_initializing", False):
        join(_settings)


def join(settings: Settings) -> None:
    """Install every part that is switched on; the API is loaded."""
    global _joined
    _joined = True
    for name, wanted in (
        ("context", settings.context),
        ("tracer", settings.tracer),
        ("provider", settings.provider),
    ):
        if not wanted:
            status[name] = "off"
            continue
        try:
            from . import limits

            limits.configure(settings)
            if name == "context":
                from . import bridge as part
            elif name == "tracer":
                from . import light as part  # type: ignore[no-redef]
            else:
                from . import provider as part  # type: ignore[no-redef]
            part.install()
            status[name] = "on"
        except Exception as error:  # noqa: BLE001  # another version than we know: stock behaviour
            status[name] = f"{type(error).__name__}: {error}"
