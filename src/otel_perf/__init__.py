"""Startup phases, profiled functions and budgets as OpenTelemetry data. Public names load on first use."""

TYPE_CHECKING = False  # type checkers take this name as true; importing typing would cost 7 ms
if TYPE_CHECKING:
    from .__about__ import __version__ as __version__
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
    "enter_phase": "phases",
    "init": "runtime",
    "operation": "profiling",
    "phase": "phases",
    "profile": "profiling",
    "ready": "runtime",
    "report": "runtime",
    "shutdown": "runtime",
    "usable": "runtime",
}
__all__ = [
    "__version__",
    "enter_phase",
    "init",
    "operation",
    "phase",
    "profile",
    "ready",
    "report",
    "shutdown",
    "usable",
]


def __getattr__(name: str) -> object:
    if name not in _ROOM:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = __import__(f"{__name__}.{_ROOM[name]}", fromlist=(name,))
    value = globals()[name] = getattr(module, name)  # next access skips this function
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
