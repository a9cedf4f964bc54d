"""Which traces are recorded: OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG.

Imports only: config; variables where a name is not ours. Source: OpenTelemetry SDK environment variables, "General SDK
Configuration"; the ratio samplers compare the lower 64 bits of the trace id, as every SDK's TraceIdRatioBased does.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .config import Settings

NAMES = (
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
)
OTHERS = ("jaeger_remote", "parentbased_jaeger_remote", "xray")  # the program's SDK may have them, we do not
GROUP = "opentelemetry_traces_sampler"  # of entry points
_MASK = (1 << 64) - 1


def decisions(
    settings: Settings,
) -> tuple[Callable[[int, str], bool], Callable[[int, bool], bool], list[str]]:
    """Return the decisions on a trace that begins here and on one begun elsewhere, and complaints on the settings."""
    name, complaints = settings.sampler.strip().lower(), []
    if name not in NAMES:
        from .variables import is_installed

        if name not in OTHERS and not is_installed(GROUP, name):
            known = ", ".join(NAMES)
            complaints.append(f"OTEL_TRACES_SAMPLER: {name!r} is none of {known}; taking parentbased_always_on")
        name = "parentbased_always_on"
    rate = 1.0
    if name.endswith("traceidratio") and settings.sampler_argument:
        try:
            rate = float(settings.sampler_argument)
        except ValueError:
            rate = -1.0
        if not 0.0 <= rate <= 1.0:
            complaints.append(
                f"OTEL_TRACES_SAMPLER_ARG: {settings.sampler_argument!r} is no ratio from 0 to 1; taking 1"
            )
            rate = 1.0
    if name.endswith("always_off"):
        rate = 0.0
    bound = round(rate * (_MASK + 1))

    def begun_here(trace_id: int, _name: str) -> bool:
        return trace_id & _MASK < bound

    if name.startswith("parentbased"):
        return begun_here, lambda _id, sampled: sampled, complaints
    return begun_here, lambda trace_id, _sampled: begun_here(trace_id, ""), complaints
