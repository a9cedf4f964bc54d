"""Import timing: ``importlib._bootstrap._find_and_load`` wrapped, the function that ``-X importtime`` brackets.

The interpreter calls it by attribute for every import that is not in ``sys.modules``. The wrapper's code names the same
file as the function it wraps, so that warnings and their stack levels stay what they were, and it takes itself out of
tracebacks. An import's frame shares the call path of the frame below it and has two slots more: seconds in nested
imports that are no spans, and the module's name.
The switch is OTEL_PERF_IMPORTS=0; install() proves the hook on a real import and takes it back when that fails.
"""

from __future__ import annotations

import sys

from .clock import now
from .recorder import (
    CHILDREN,
    CLOSED,
    CURRENT,
    FOREVER,
    LIMIT,
    MUTED,
    NODE,
    OWN,
    PARENT,
    SPAN,
    START,
    Site,
    describe,
    end_frame,
    identify,
    live,
    state,
)  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Token
    from types import FrameType
    from typing import Any

NESTED, MODULE = OWN, OWN + 1
LENGTH = OWN + 2
PROBE = "_otel_perf_probe"

threshold = 0.005  # seconds
watched: dict[str, Callable[[], None]] = {}  # called once the module of that name is loaded
seen = 0  # imports timed so far
_original: Callable[..., Any] | None = None
_installed: Callable[..., Any] | None = None


def install() -> bool:
    """Begin to time imports; return whether the hook is in place."""
    global _original, _installed, seen
    try:
        import _frozen_importlib as bootstrap

        original = bootstrap._find_and_load  # type: ignore[attr-defined]  # noqa: SLF001
        hook = _make_hook(original)
        bootstrap._find_and_load = hook  # type: ignore[attr-defined]  # noqa: SLF001
    except Exception:  # noqa: BLE001  # another interpreter: stock behaviour
        return False
    _original, _installed = original, hook
    before = seen
    sys.modules[PROBE] = None  # type: ignore[assignment]  # no finder is asked, the import fails at once
    try:  # noqa: SIM105  # contextlib costs 2 ms
        __import__(PROBE)
    except ImportError:
        pass
    del sys.modules[PROBE]
    if seen == before:  # nobody calls what we replaced
        uninstall()
        return False
    seen = before
    return True


def uninstall() -> None:
    """Put the original function back, if the one in place is still ours."""
    import _frozen_importlib as bootstrap

    if bootstrap._find_and_load is _installed:  # type: ignore[attr-defined]  # noqa: SLF001
        bootstrap._find_and_load = _original  # type: ignore[attr-defined]  # noqa: SLF001


def hook_code() -> Any:
    """Return the code of the function that times an import, for whoever looks at stacks; None where it is not there."""
    return getattr(_installed, "__code__", None)


def _make_hook(original: Callable[..., Any]) -> Callable[..., Any]:
    modules = sys.modules
    loading: dict[str, list[Any]] = {}
    get, set_, reset = CURRENT.get, CURRENT.set, CURRENT.reset

    def _find_and_load(name: str, import_: Any) -> Any:
        global seen
        if name in modules:  # a circular import: it is timed where it began
            seen += name == PROBE
            return original(name, import_)
        parent = get()
        if parent is MUTED:
            return original(name, import_)
        if "otel_perf" in name and name.partition(".")[0] == "otel_perf":  # a search is faster than a slice
            token = set_(MUTED)  # ours, with all that it brings, is no part of the program
            try:
                return original(name, import_)
            finally:
                reset(token)
        path = parent
        if path[CHILDREN] is CLOSED:
            path = parent = live(parent)
            while path[CHILDREN] is CLOSED:
                path = path[PARENT]
        frame = [path[CHILDREN], parent, FOREVER, now(), path[NODE], None, 0.0, name]
        if loading.setdefault(name, frame) is not frame:  # another thread loads it, this one waits
            return original(name, import_)
        seen += 1
        token = set_(frame)
        try:
            module = original(name, import_)
        except BaseException as error:
            loading.pop(name, None)
            _leave(frame, now() - frame[START], error, token)
            # A bare raise adds no entry for this frame: without its first one the traceback is the original's.
            error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next
            raise
        took = now() - frame[START]
        loading.pop(name, None)
        if took <= threshold and get() is frame and frame[LIMIT] > 0.0:  # nobody has asked, or can: see leave()
            frame[CHILDREN] = CLOSED
            reset(token)
            if len(parent) == LENGTH:
                parent[NESTED] += took
        else:
            _leave(frame, took, None, token)
        if name in watched:
            _loaded(name)
        return module

    _find_and_load.__code__ = _find_and_load.__code__.replace(co_filename="<frozen importlib._bootstrap>")
    return _find_and_load


def _leave(frame: list[Any], took: float, error: BaseException | None, token: Token[Any]) -> None:
    """End an import's frame that is slow, failed, or was asked for its id."""
    if CURRENT.get() is frame:
        CURRENT.reset(token)
    if frame[CHILDREN] is CLOSED:  # it belongs to the process we were forked from
        return
    parent, span, name = frame[PARENT], frame[SPAN], frame[MODULE]
    end = frame[START] + took
    rest = took if span is None or span.since is None else end - span.since
    slow = state.recording and rest > threshold
    if slow or (span is not None and span.trace is not None):
        own = identify(frame, forced=False)
        if own is not None and own is frame[SPAN]:
            own.covered += frame[NESTED]
    elif len(parent) == LENGTH:
        parent[NESTED] += took
    site = Site(f"import {name}"[:1024], name, "import")
    end_frame(
        frame,
        site,
        end,
        slow,
        describe(error, quietly=True),
        {"otel_perf.module": name, **(_importer() if slow else {})},
    )


def _importer() -> dict[str, Any]:
    """Return file and line of the import statement that the running hook serves."""
    frame: FrameType | None = sys._getframe(2)  # noqa: SLF001
    while frame is not None and (
        frame.f_code.co_filename.startswith("<frozen importlib") or frame.f_globals.get("__name__") == "importlib"
    ):
        frame = frame.f_back
    return {} if frame is None else {"code.file.path": frame.f_code.co_filename, "code.line.number": frame.f_lineno}


def _loaded(name: str) -> None:
    callback = watched.pop(name, None)
    if callback is None:
        return
    token = CURRENT.set(MUTED)
    try:
        callback()
    except Exception:  # noqa: BLE001  # our part of the import failed, the application's did not
        state.dropped += 1
    finally:
        CURRENT.reset(token)
