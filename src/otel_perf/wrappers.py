"""Wrappers around profiled functions: the path of a call. Everything else about profiling is in profiling.py.

Imports only: sys, recorder, clock. exact() keeps a function's own signature: that saves packing arguments, and wrong
ones are refused as the function does. One template is compiled per shape of signature, its code object renamed to the
function's own parameters. generic() is its twin for what has no plain signature. CALL is recorder.enter() and the fast
half of leave(), in line. STEPS is for generators: their frame is in the context while they run, not their consumer.
"""

from __future__ import annotations

import sys

from . import recorder
from .clock import now
from .recorder import CLOSED, CURRENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .recorder import Site

CO_VARARGS, CO_VARKEYWORDS, CO_GENERATOR, CO_COROUTINE = 0x04, 0x08, 0x20, 0x80  # as in inspect, which costs 10 ms
CO_ITERABLE_COROUTINE, CO_ASYNC_GENERATOR = 0x100, 0x200
FILE = "<otel-perf>"  # what tracebacks call the wrapper's frame

# Slots and FOREVER are literal numbers: a name would be a look-up each. A test holds them to recorder's. What is rare
# goes through the recorder: each closure variable costs every call. A bare except needs no name from fn's globals.
CALL = """
        _parent = _get()
        try:
            _node = _parent[0][_key]
        except:
            _parent, _node = _recorder.miss(_parent, _key)
        _start = _now()
        _frame = [_node[0], _parent, 1e999, _start, _node, None]
        _token = _set(_frame)
        try:
            _result = {wait}_fn({arguments})
        except:
            _recorder.failed(_frame, _site, _token)
            raise
        _took = _now() - _start
        if _node[2] <= _took and _took <= _node[1] and _frame[2] > 0.0:
            if _took <= _node[3]:
                _node[5] += 1
            else:
                _node[6] += 1
            _node[4] += _took
            _frame[0] = _closed
            try:
                _reset(_token)
            except:
                _recorder.put_back(_frame)
            return _result
        _recorder.leave(_frame, _took, None, _site, _token)
        return _result
"""
STEPS = """
        _body = _fn({arguments})
        _step, _value, _item, _active, _error = _first, _body, None, 0.0, None
        _frame = _inside = _recorder.begin(_site)
        try:
            while True:
                _caller, _resumed, _token = _get(), _now(), _set(_inside)
                try:
                    _item = {wait}_step(_value)
                except {stop}:
                    return {value}
                finally:
                    _active += _now() - _resumed
                    _inside, _value = _get(), None
                    _recorder.step_out(_token, _caller)
                try:
                    _value = yield _item
                    _step = _body.{a}send
                except BaseException as _thrown:
                    # this frame off its traceback: it comes on again
                    _step, _value = _body.{a}throw, _thrown.with_traceback(_thrown.__traceback__.tb_next)
                _item = None  # the consumer's alone by now
        except BaseException as _raised:
            _error = _raised
            raise
        finally:
            _recorder.finish_generator(_frame, _active, _error, _site)
            _error = None  # no cycle between an exception and this frame
"""
MAKE = """
def make(_fn, _site, _key, _get, _set, _reset, _now, _closed, _recorder, _first):
    {kind}def wrapper({parameters}):{body}
    return wrapper
"""
SYNC = {"kind": "", "wait": "", "a": "", "stop": "StopIteration as _stop", "value": "_stop.value"}
ASYNC = {"kind": "async ", "wait": "await ", "a": "a", "stop": "StopAsyncIteration", "value": ""}

_factories: dict[tuple[Any, ...], Callable[..., Any]] = {}


def generic(fn: Callable[..., Any], site: Site, flags: int = 0, taken: tuple[str, str] = ("*_0, **_1",) * 2) -> Any:
    """Return a wrapper of *fn*, whose code has these *flags*; *taken* are its parameters and what it passes on."""
    is_async = bool(flags & (CO_COROUTINE | CO_ASYNC_GENERATOR))
    steps = bool(flags & (CO_GENERATOR | CO_ASYNC_GENERATOR))
    factory = _factories.get((taken, is_async, steps))
    if factory is None:
        fields = ASYNC if is_async else SYNC
        body = (STEPS if steps else CALL).format(arguments=taken[1], **fields)
        scope: dict[str, Any] = {}
        exec(compile(MAKE.format(parameters=taken[0], body=body, **fields), FILE, "exec"), scope)
        factory = _factories[taken, is_async, steps] = scope["make"]
    first = _first_item if is_async else next
    return factory(fn, site, site.key, CURRENT.get, CURRENT.set, CURRENT.reset, now, CLOSED, recorder, first)


def exact(fn: Any, site: Site) -> Any:
    """Return a wrapper of the Python function *fn* that has its parameters, their names and defaults."""
    code = fn.__code__
    count, end = code.co_argcount, code.co_argcount + code.co_kwonlyargcount
    star, stars = bool(code.co_flags & CO_VARARGS), bool(code.co_flags & CO_VARKEYWORDS)
    names = [f"_{i}" for i in range(end + star + stars)]
    plain, keywords, last = names[:count], names[count:end], [f"**{names[-1]}"] if stars else []
    rest = [f"*{names[end]}"] if star else []
    arguments = ", ".join([*plain, *rest, *(f"{name}={name}" for name in keywords), *last])
    if code.co_posonlyargcount:
        plain.insert(code.co_posonlyargcount, "/")
    parameters = ", ".join([*plain, *(rest or ["*"] * bool(keywords)), *keywords, *last])
    made = generic(fn, site, code.co_flags, (parameters, arguments))
    shared, real = made.__code__, dict(zip(names, code.co_varnames, strict=False))
    local = (*real.values(), *shared.co_varnames[len(names) :])
    # the names of keyword-only parameters are constants of the call that passes them on
    fixed = tuple([tuple(map(real.get, c, c)) if type(c) is tuple else real.get(c, c) for c in shared.co_consts])
    flags = shared.co_flags | code.co_flags & CO_ITERABLE_COROUTINE
    own = shared.replace(co_varnames=local, co_consts=fixed, co_flags=flags)
    own = own.replace(co_name=code.co_name, co_qualname=code.co_qualname)
    # The function's own globals: frameworks resolve its annotations there.
    wrapper = type(made)(own, fn.__globals__, fn.__name__, fn.__defaults__, made.__closure__)
    wrapper.__kwdefaults__ = fn.__kwdefaults__
    return wrapper


def _first_item(body: Any) -> Any:
    """Begin an asynchronous generator that an event loop need not know: the loop closes the wrapper, that its body."""
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, None)
    try:
        return body.asend(None)
    finally:
        sys.set_asyncgen_hooks(*hooks)
