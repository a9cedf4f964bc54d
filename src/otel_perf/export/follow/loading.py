"""Loads the exporters, and mutes the thread that uses them: its requests are not the program's."""

from __future__ import annotations

from otel_perf import recorder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from otel_perf.export.endpoint import Endpoints


def load(endpoints: Endpoints) -> None:
    """Load what *endpoints* need and mute this thread.

    Raises: pace.Leaving: the process ends meanwhile.
    """
    targets = [target for target in endpoints.targets.values() if target.protocol != "http/json"]
    if not targets:
        return
    mute()
    from .exporters import prepare

    for target in targets:
        try:
            prepare(target)
        except ImportError:  # said when it is used
            continue


def mute() -> None:
    """Make this thread invisible: nothing of ours is recorded, and instrumentations of others leave it alone."""
    from opentelemetry import context

    names = ["suppress_instrumentation", "suppress_http_instrumentation"]
    names += [key for name in names if (key := getattr(context, f"_{name.upper()}_KEY", None))]
    silent = context.Context({**context.Context(), **dict.fromkeys(names, True)})
    recorder.CURRENT.set(recorder.MUTED)
    span = recorder.MUTED[recorder.SPAN]
    if span is not None:
        span.context = silent  # what get_current() answers where the recorder's variable is the context
    if context.get_current() is not silent:
        context.attach(silent)
