"""Loads the exporters, and mutes the thread that uses them: its requests are not the program's.

They are loaded in steps, of which each is over soon: a process that forks or ends waits for the one that is under way.
None is broken off, since what has imported half of a package leaves it so to whoever wants it next.
"""

from __future__ import annotations

from time import sleep

from otel_perf import recorder

from .follower import as_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from otel_perf.export.endpoint import Endpoints, Target

# These two ask to be called at each fork. One that waits for them calls the second half of them only, which complains:
# what they import themselves comes before, so that they take 1 ms. The second cannot be loaded at the end any more.
LOGGING = ("re", "traceback", "string", "queue", "logging")
THREADS = ("concurrent.futures", "concurrent.futures.thread")
# What the exporters import, in their order, in pieces of some 30 ms; what another version of them lacks is left out.
COMMON = ("importlib.metadata", "opentelemetry.context")
RECORDS = (
    "google.protobuf.descriptor_pool", "google.protobuf.descriptor_pb2", "opentelemetry.proto.common.v1.common_pb2",
    "opentelemetry.sdk.resources", "opentelemetry.sdk.trace", "opentelemetry.sdk.metrics.export",
    "opentelemetry.exporter.otlp.proto.common.trace_encoder",
)  # fmt: skip
HTTP = (
    "email.utils", "http.client", "ssl", "urllib3", "charset_normalizer", "http.cookiejar", "requests",
)  # fmt: skip
GRPC = ("ssl", "asyncio", "grpc")
TRIES, PAUSE = 5, 0.02  # of an import that meets another thread's, and seconds between two


class Leaving(Exception):  # noqa: N818  # no error
    """The process ends or forks: the rest is not loaded, or another time."""


class TooLate(Exception):  # noqa: N818  # no error of ours
    """The main thread has ended: some modules cannot be loaded any more, though other threads may go on for long."""


class Without:
    """What cannot be sent.

    Attributes:
        target: where to.
        late: it could have been loaded before the main thread ended.
        why: what is wrong with the packages for it; empty if it is late, or this interpreter has none.
    """

    __slots__ = ("late", "target", "why")

    def __init__(self, target: Target, error: Exception) -> None:
        self.target = target
        self.late = isinstance(error, TooLate)
        self.why = ""
        if not isinstance(error, (ImportError, TooLate)):
            self.why = f"the exporter for {target.protocol} cannot be loaded: {type(error).__name__}: {error}"[:300]


def load(
    endpoints: Endpoints,
    leaving: Callable[[], bool],
    ask: Callable[[], object] = lambda: None,
    ending: Callable[[], bool] | None = None,
) -> list[Without]:
    """Load what *endpoints* need and mute this thread; return what cannot be sent.

    Where the exporters are not installed, as in another environment under ``otel-perf run``, or do not fit together,
    records go as they are, in JSON; *endpoints* say so afterwards. What cannot go that way is not in them any more.

    Args:
        endpoints: where to.
        leaving: asked before each step.
        ask: asks to be called at each fork, before logging takes the lock that the next steps need.
        ending: says whether the process forks or ends, where *leaving* does not.

    Raises: Leaving: *leaving* has said so. RuntimeError: what is loaded wants a part in an end that has begun.
    """
    without: list[Without] = []
    for signal, target in list(endpoints.targets.items()):
        if target.protocol == "http/json":
            continue
        try:
            if target.exporters == ("otlp",):
                _in_steps(target, leaving, ask)
            mute()
            from .exporters import prepare

            _patiently(prepare, target)
        except Leaving:
            raise
        except Exception as error:
            if isinstance(error, RuntimeError) and (ending or leaving)():
                raise
            other = as_json(target)
            if other is None:
                without.append(Without(endpoints.targets.pop(signal), error))
            else:
                endpoints.targets[signal] = other
    return without


def _in_steps(target: Target, leaving: Callable[[], bool], ask: Callable[[], object]) -> None:
    """Load what the exporter of *target* will import.

    Raises: Leaving; TooLate; ImportError: a part that cannot be done without is not there.
    """
    for name in LOGGING:
        _step(name, leaving)
    ask()
    try:
        for name in THREADS:
            _step(name, leaving)
    except RuntimeError as error:
        raise TooLate from error
    for name in (*COMMON, *(GRPC if target.protocol == "grpc" else HTTP), *RECORDS):
        try:
            _step(name, leaving)
        except ImportError:
            continue
    if leaving():
        raise Leaving


def _step(name: str, leaving: Callable[[], bool]) -> None:
    from importlib import import_module

    if leaving():
        raise Leaving
    _patiently(import_module, name)


def _patiently(load: Callable[[Any], object], what: Any) -> None:
    """Load *what*; again if another thread imports the same in another order: the interpreter then breaks one off."""
    for left in range(TRIES - 1, -1, -1):
        try:
            load(what)
            return
        except RuntimeError as error:
            if type(error).__name__ != "_DeadlockError" or not left:
                raise
        sleep(PAUSE)


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
