"""``profile`` and ``operation``: which calls are recorded, under which name, and what is refused.

Imports only: recorder, wrappers, config. The path of a call is in wrappers.py and recorder.py.
"""

from __future__ import annotations

import sys
from sys import _getframe

from .config import seconds
from .recorder import CURRENT, MUTED, PARENT, ROOT, Site, enter, fail, left_behind, opened_by, site_for, state
from .wrappers import exact, generic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, TracebackType
    from typing import Any, TypeVar, overload

    from .recorder import SpanState

    F = TypeVar("F", bound=Callable[..., Any])
else:

    def overload(function):
        """Stand in for typing.overload: importing typing would cost 7 ms."""
        return function


NAME_LIMIT = 1024

_COPIED = ("__module__", "__name__", "__qualname__", "__doc__", "__type_params__") + (
    ("__annotate__",) if sys.version_info >= (3, 14) else ("__annotations__",)
)
_CACHE_METHODS = ("cache_info", "cache_clear", "cache_parameters")
_CALLABLES = {  # what is called without more ado; an object with a __call__ of its own may be anything
    "function", "builtin_function_or_method", "method", "method_descriptor", "wrapper_descriptor", "method-wrapper",
    "_lru_cache_wrapper", "cython_function_or_method",
}  # fmt: skip

_block_sites: dict[tuple[Any, ...], Site] = {}


# ruff knows typing's own overload only
@overload
def profile(name: F, *, slow: float | str | None = None, span_threshold: float | str | None = None) -> F: ...  # noqa: D103
@overload
def profile(  # noqa: D103, F811
    name: str | None = None, *, slow: float | str | None = None, span_threshold: float | str | None = None
) -> Block: ...
def profile(  # noqa: F811
    name: Any = None, *, slow: float | str | None = None, span_threshold: float | str | None = None
) -> Any:
    """Record every call of a function, or every run of a with-block.

    Use it as ``@profile``, ``@profile("name", slow="100ms")`` or ``with profile("name"):``. Plain, asynchronous and
    generator functions, methods, static and class methods (above or below their decorator) keep their signature and
    their kind. Each call is counted with its time; one that is slower than the threshold becomes a span.

    Args:
        name: name of the spans and of the statistics; default the function's ``__qualname__``. Cut at 1,024 characters.
        slow: a call longer than this is logged as a warning with its trace and span id. Seconds, or ``"100ms"``.
        span_threshold: a call longer than this becomes a span; 0 makes every call one. Seconds, or ``"10ms"``. Default
            10 ms after ready() and 1 ms before (settings ``span_threshold``, ``startup_span_threshold``).

    Raises:
        TypeError: what is decorated cannot be wrapped, or a name is no str.
        ValueError: a duration is negative or has an unknown unit.
    """
    named = name is None or isinstance(name, str)
    block = Block("profile", "function", name if named else None, slow, span_threshold, _getframe(1).f_code)
    return block if named else block(name)


def operation(name: str, *, slow: float | str | None = None) -> Block:
    """Time one operation, as with-block or decorator: a span each time, and a line through ``logging``.

    The line goes to the logger ``otel_perf`` with trace and span id: DEBUG, or WARNING past the limit.

    Args:
        name: name of the spans. Cut at 1,024 characters.
        slow: the limit, in seconds or as ``"50ms"``; default none.

    Raises:
        TypeError: *name* is no str.
        ValueError: *slow* is negative or has an unknown unit.
    """
    return Block("operation", "operation", checked_name("operation", name), slow, 0.0, _getframe(1).f_code)


def checked_name(what: str, name: object) -> str:
    """Return *name* cut to its limit.

    Raises:
        TypeError: it is no str; the message names the type, never the value.
    """
    if not isinstance(name, str):
        raise TypeError(f"perf.{what}: a name is a str, not {type(name).__name__}")
    return cut(name)


def cut(name: str) -> str:
    """Return *name* cut to its limit, as a plain str: a kind of the program's own may answer anything, or raise."""
    return str.__getitem__(name, slice(NAME_LIMIT))


class Block:
    """What ``profile("name")``, ``operation("name")`` and ``phase("name")`` return: a with-block and a decorator.

    One object may be entered again, by several threads and tasks at once: it keeps nothing of a run.
    """

    __slots__ = ("_code", "_kind", "_name", "_site", "_slow", "_threshold", "_what")

    def __init__(self, what: str, kind: str, name: str | None, slow: object, threshold: object, code: CodeType) -> None:
        self._what = what
        self._kind = kind
        self._name = None if name is None else cut(name)
        self._slow = None if slow is None else _seconds(what, "slow", slow)
        self._threshold = None if threshold is None else _seconds(what, "span_threshold", threshold)
        self._code = code
        self._site: Site | None = None

    def __call__(self, function: F) -> F:
        """Return *function* wrapped so that its calls are recorded."""
        return decorate(function, self._what, self._kind, self._name, self._slow, self._threshold)  # type: ignore[no-any-return]

    def __enter__(self) -> Block:
        enter(self._site or self._find_site())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        site = self._site
        frame = CURRENT.get()
        while not opened_by(frame, site):
            if frame is not ROOT:
                frame = frame[PARENT]
                continue
            left = left_behind(site)
            if left is None:  # it ended before: in the process that we were forked from
                return
            frame = left
        fail(frame, error, site)

    def _find_site(self) -> Site:
        if self._name is None:
            raise TypeError(f"perf.{self._what}: a with-block needs a name: with perf.{self._what}('load'):")
        code = self._code
        key = (self._kind, self._name, code, self._slow, self._threshold)
        site = _block_sites.get(key)
        if site is None:
            caller = _getframe(2)
            line = caller.f_lineno if caller.f_code is code else code.co_firstlineno
            module = caller.f_globals.get("__name__", "") if caller.f_code is code else ""
            function = f"{module}.{code.co_qualname}" if module else code.co_qualname
            site = site_for(
                self._name,
                self._name,
                self._kind,
                function,
                code.co_filename,
                line,
                self._threshold,
                self._slow,
            )
            if len(_block_sites) < 4096:
                _block_sites[key] = site
        self._site = site
        return site


def _seconds(what: str, parameter: str, value: object) -> float:
    try:
        return seconds(value)
    except (TypeError, ValueError) as error:
        raise type(error)(f"perf.{what}: {parameter}: {error}") from None


def decorate(target: Any, what: str, kind: str, name: str | None, slow: float | None, threshold: float | None) -> Any:
    """Return *target* wrapped so that its calls are recorded; see profile()."""
    if isinstance(target, (staticmethod, classmethod)):
        return type(target)(decorate(target.__func__, what, kind, name, slow, threshold))
    inner, functools = target, sys.modules.get("functools")
    while functools is not None and isinstance(inner, functools.partial):
        inner = inner.func
    refuse(target, inner, what)
    module, qualname = getattr(inner, "__module__", None), getattr(inner, "__qualname__", type(inner).__name__)
    function = f"{module}.{qualname}" if module else qualname
    file, line = _place(inner)
    label, series = (qualname, function) if name is None else (name, name)
    site = site_for(cut(label), cut(series), kind, function, file, line, threshold, slow)
    if type(target) is type(decorate):
        wrapper = exact(target, site)
    else:
        wrapper = generic(target, site, getattr(getattr(inner, "__code__", None), "co_flags", 0))
    return dress(wrapper, target, inner)


def _place(function: Any) -> tuple[str, int]:
    """Return file and line of *function*, below other decorators; empty and 0 where it has none."""
    for _ in range(100):
        if "__wrapped__" not in getattr(function, "__dict__", ()):
            break
        function = function.__wrapped__
    code = getattr(function, "__code__", None)
    return (code.co_filename, code.co_firstlineno) if code is not None else ("", 0)


def refuse(target: Any, inner: Any, what: str) -> None:
    """Raise TypeError when *target* is nothing that a wrapper can stand for."""
    kind = type(target).__name__
    if isinstance(target, type):
        raise TypeError(f"perf.{what}: cannot wrap the class {target.__name__}: decorate its methods instead")
    if not callable(inner):
        if hasattr(type(target), "__get__"):
            raise TypeError(f"perf.{what}: cannot wrap a {kind}: put @perf.{what} below @{kind}, next to the function")
        raise TypeError(f"perf.{what}: takes a function, or a name that is a str, not {kind}")
    if type(inner).__name__ not in _CALLABLES:
        raise TypeError(
            f"perf.{what}: cannot wrap a {type(inner).__name__} object: decorate its __call__ method, or put "
            f"@perf.{what} below the decorator that makes it"
        )


def dress(wrapper: Any, target: Any, inner: Any) -> Any:
    """Make *wrapper* look like *target*, as functools.update_wrapper does."""
    for attribute in _COPIED:
        value = getattr(target, attribute, getattr(inner, attribute, None))
        if value is not None:
            setattr(wrapper, attribute, value)
    wrapper.__dict__.update(getattr(target, "__dict__", ()))
    for attribute in _CACHE_METHODS:
        if hasattr(target, attribute):
            setattr(wrapper, attribute, getattr(target, attribute))
    wrapper.__wrapped__ = target
    return wrapper


def log_timed(site: Site, duration: float, span: SpanState | None) -> None:
    """Log one timed call through ``logging``; a program that never loaded it cannot have asked for DEBUG lines."""
    slow = site.slow is not None and duration > site.slow
    logging = sys.modules.get("logging")
    if logging is None:
        if not slow:
            return
        token = CURRENT.set(MUTED)  # this import is ours, not the program's
        try:
            logging = __import__("logging")
        finally:
            CURRENT.reset(token)
    level = logging.WARNING if slow else logging.DEBUG
    logger = logging.getLogger("otel_perf")
    if not logger.isEnabledFor(level):
        return
    trace_id = f"{span.trace.id:032x}" if span is not None and span.trace is not None else "0" * 32
    span_id = f"{span.span_id:016x}" if span is not None and span.trace is not None else "0" * 16
    limit = f", more than {site.slow * 1e3:.4g} ms" if slow and site.slow is not None else ""
    logger.log(
        level,
        "%s took %.4g ms%s trace_id=%s span_id=%s",
        site.name,
        duration * 1e3,
        limit,
        trace_id,
        span_id,
        extra={"trace_id": trace_id, "span_id": span_id, "duration": duration},
    )


def _guarded(site: Site, duration: float, span: SpanState | None) -> None:
    try:
        log_timed(site, duration, span)
    except Exception:  # noqa: BLE001  # a handler of the application's may raise; its call must not
        state.dropped += 1


state.on_timed = _guarded
