"""Startup phases, profiled functions and budgets as OpenTelemetry data. Public names load on first use."""

from time import perf_counter as _now

TYPE_CHECKING = False  # type checkers take this name as true; importing typing would cost 7 ms
if TYPE_CHECKING:
    from .__about__ import __version__ as __version__
    from .alerts import on_alert as on_alert
    from .budgets import budget as budget
    from .metrics.instruments import counter as counter
    from .metrics.instruments import gauge as gauge
    from .metrics.timers import timer as timer
    from .phases import enter_phase as enter_phase
    from .phases import phase as phase
    from .profiling import operation as operation
    from .profiling import profile as profile
    from .runtime import init as init
    from .runtime import ready as ready
    from .runtime import report as report
    from .runtime import shutdown as shutdown
    from .runtime import usable as usable

_ROOM = {
    "__version__": "__about__",
    "budget": "budgets",
    "counter": "metrics.instruments",
    "enter_phase": "phases",
    "gauge": "metrics.instruments",
    "init": "runtime",
    "on_alert": "alerts",
    "operation": "profiling",
    "phase": "phases",
    "profile": "profiling",
    "ready": "runtime",
    "report": "runtime",
    "shutdown": "runtime",
    "timer": "metrics.timers",
    "usable": "runtime",
}
__all__ = [
    "__version__",
    "budget",
    "counter",
    "enter_phase",
    "gauge",
    "init",
    "on_alert",
    "operation",
    "phase",
    "profile",
    "ready",
    "report",
    "shutdown",
    "timer",
    "usable",
]


def __getattr__(name: str) -> object:
    if name not in _ROOM:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    room, begun = _ROOM[name], _now()
    is_first = room not in globals()
    module = __import__(f"{__name__}.{room}", fromlist=(name,))
    if is_first and room == "runtime":
        module.__dict__["load_time"] = _now() - begun
    value = globals()[name] = getattr(module, name)  # next access skips this function
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
