"""Loads the exporters, and mutes the thread that uses them: its requests are not the program's."""

from __future__ import annotations

from otel_perf import recorder

from .follower import as_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from otel_perf.export.endpoint import Endpoints, Target


def load(endpoints: Endpoints) -> list[Target]:
    """Load what *endpoints* need and mute this thread; return what this interpreter has nothing for.

    Where the exporters are not installed, as in another environment under ``otel-perf run``, records go as they are, in
    JSON; *endpoints* say so afterwards. What cannot go that way is not in them any more.

    Raises: pace.Leaving: the process ends meanwhile.
    """
    without: list[Target] = []
    for signal, target in list(endpoints.targets.items()):
        if target.protocol == "http/json":
            continue
        try:
            mute()
            from .exporters import prepare

            prepare(target)
        except ImportError:
            other = as_json(target)
            if other is None:
                without.append(endpoints.targets.pop(signal))
            else:
                endpoints.targets[signal] = other
    return without


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
