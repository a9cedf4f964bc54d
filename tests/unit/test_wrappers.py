"""The exact-signature wrapper and the generic one are twins: the same tests hold for both."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import inspect
import itertools
import re
import traceback
import types
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from otel_perf import recorder, wrappers
from otel_perf.recorder import CURRENT, Site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KINDS = ("function", "coroutine", "generator", "async generator")

# --- the twins --------------------------------------------------------------------------------------------------------


def exact(fn: Any) -> Any:
    return wrappers.exact(fn, Site(fn.__name__, fn.__qualname__, "function"))


def generic(fn: Any) -> Any:
    return wrappers.generic(fn, Site(fn.__name__, fn.__qualname__, "function"), fn.__code__.co_flags)


@pytest.fixture(params=[exact, generic], ids=["exact", "generic"])
def wrap(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    return request.param


@pytest.fixture(autouse=True)
def _context_is_left_as_it_was() -> Iterator[None]:
    before = CURRENT.get()
    yield
    assert before is CURRENT.get()


def run(result: Any) -> Any:
    """Return what a call's result comes to: awaited, or all items and the value that was returned."""
    if inspect.iscoroutine(result):
        return asyncio.run(result)
    if inspect.isgenerator(result):
        items = []
        while True:
            try:
                items.append(next(result))
            except StopIteration as stop:
                return items, stop.value
    if inspect.isasyncgen(result):

        async def collect() -> list[Any]:
            return [item async for item in result]

        return asyncio.run(collect())
    return result


def outcome(fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    try:
        return run(fn(*args, **kwargs))
    except Exception as error:
        return type(error), str(error)


def made(kind: str, parameters: str, names: list[str]) -> Any:
    """Return a function of this kind and signature that gives back all its arguments."""
    values = f"({', '.join(names)}{',' * bool(names)})"
    start, end = {
        "function": ("", f"return {values}"),
        "coroutine": ("async ", f"return {values}"),
        "generator": ("", f"return (yield {values})"),
        "async generator": ("async ", f"yield {values}"),
    }[kind]
    scope: dict[str, Any] = {"__name__": "somewhere"}
    exec(f"class Where:\n    {start}def taking({parameters}):\n        {end}", scope)
    return scope["Where"].__dict__["taking"]


def shapes() -> Iterator[tuple[str, list[str]]]:
    """Yield every mixture of positional-only, plain, keyword-only and collecting parameters."""
    parts = (
        (("", ""), ("x, /", "x"), ("x, y=2, /", "x y")),
        (("", ""), ("a=1", "a"), ("a=1, b=2", "a b")),
        (("", ""), ("*more", "more")),
        (("", ""), ("k", "k"), ("k, m=4", "k m"), ("k=3", "k")),
        (("", ""), ("**rest", "rest")),
    )
    for positional, plain, star, only, rest in itertools.product(*parts):
        stars = ("*", "") if only[0] and not star[0] else star
        texts = [text for text, _ in (positional, plain, stars, only, rest) if text]
        names = [name for _, each in (positional, plain, star, only, rest) for name in each.split()]
        yield ", ".join(texts), names


SHAPES = list(shapes())
CALLS = [
    (args, dict.fromkeys(keywords, 9))
    for args in ((), (7,), (7, 8), (7, 8, 9, 10, 11))
    for keywords in ((), ("k",), ("k", "m"), ("a",), ("x",), ("a", "k", "other"))
]

# --- arguments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS[:1] + KINDS[2:3])
def test_every_shape_of_signature_takes_and_refuses_the_same_arguments(wrap: Any, kind: str) -> None:
    """Results, defaults and the words of each TypeError are those of the undecorated function."""
    for parameters, names in SHAPES:
        plain = made(kind, parameters, names)
        wrapped = wrap(plain)
        for args, kwargs in CALLS:
            expected = outcome(plain, args, kwargs)

            assert expected == outcome(wrapped, args, kwargs), f"taking({parameters}) called with {args} {kwargs}"


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_function_takes_and_refuses_the_same_arguments(wrap: Any, kind: str) -> None:
    parameters, names = "x, /, a, b=2, *more, k, m=4, **rest", ["x", "a", "b", "more", "k", "m", "rest"]
    plain = made(kind, parameters, names)
    wrapped = wrap(plain)
    for args, kwargs in CALLS:
        assert outcome(plain, args, kwargs) == outcome(wrapped, args, kwargs), (args, kwargs)


@pytest.mark.parametrize("kind", KINDS)
def test_an_exact_wrapper_refuses_wrong_arguments_at_the_call(kind: str) -> None:
    """A generator function checks its arguments when it is called, not at the first item."""
    wrapped = exact(made(kind, "a, *, k", ["a", "k"]))

    with pytest.raises(TypeError, match=r"^Where\.taking\(\) missing 1 required keyword-only argument: 'k'$") as caught:
        wrapped(1)

    assert 1 == len(caught.traceback), "no frame of ours where the function itself was never entered"


def test_parameters_may_have_the_names_of_the_wrappers_own_variables(wrap: Any) -> None:
    own = {"_0", "_1", "_2", "args", "kwargs", "wrapper", "make"}
    for template in (wrappers.MAKE, wrappers.CALL, wrappers.STEPS):
        own |= set(re.findall(r"\b_\w+", template))
    for name in sorted(own):
        for parameters in (name, f"{name}, /", f"*, {name}", f"*{name}", f"**{name}", f"other, *, {name}=5"):
            names = [name] if "other" not in parameters else ["other", name]
            for kind in ("function", "generator"):
                plain = made(kind, parameters, names)
                wrapped = wrap(plain)
                for args, kwargs in (((), {}), ((1,), {}), ((), {name: 2}), ((1,), {name: 2})):
                    expected = outcome(plain, args, kwargs)

                    assert expected == outcome(wrapped, args, kwargs), f"{parameters}: {args} {kwargs}"


def test_mutable_defaults_are_the_same_objects(wrap: Any) -> None:
    def collect(item: int, into: list[int] = [], *, seen: list[int] = []) -> tuple[list[int], list[int]]:  # noqa: B006
        into.append(item)
        seen.append(item)
        return into, seen

    wrapped = wrap(collect)
    wrapped(1)

    assert ([1, 2], [1, 2]) == wrapped(2)
    assert collect.__defaults__[0] is wrapped(3)[0]
    assert collect.__kwdefaults__["seen"] is wrapped(4)[1]


def test_methods_closures_lambdas_and_recursion_work(wrap: Any) -> None:
    class Base:
        def name(self) -> str:
            return "base"

    class Thing(Base):
        @wrap
        def name(self) -> str:
            return "thing of " + super().name()

        @staticmethod
        @wrap
        def static(number: int) -> int:
            return number + 1

        @classmethod
        @wrap
        def made_by(cls, number: int) -> tuple[type, int]:
            return cls, number

        @wrap
        def __new__(cls) -> Thing:
            return super().__new__(cls)

    def counter() -> Callable[[], int]:
        count = 0

        @wrap
        def step() -> int:
            nonlocal count
            count += 1
            return count

        return step

    step = counter()

    @wrap
    def factorial(number: int) -> int:
        return number * factorial(number - 1) if number else 1

    assert "thing of base" == Thing().name()
    assert (3, (Thing, 4)) == (Thing.static(2), Thing.made_by(4))
    assert [1, 2, 3] == [step(), step(), step()]
    assert 720 == factorial(6)
    assert 12 == wrap(lambda x, *, y=2: x + y)(10)


def test_a_function_whose_globals_have_no_builtins_can_be_called(wrap: Any) -> None:
    """Sandboxes do that; the wrapper must not need a name from there."""
    scope: dict[str, Any] = {"__builtins__": {}}
    exec("def bare(a):\n    return a", scope)
    wrapped = wrap(scope["bare"])

    assert [1, 2, 3] == [wrapped(1), wrapped(2), wrapped(3)]


# --- exceptions -------------------------------------------------------------------------------------------------------


class Odd(Exception):
    pass


def failing(kind: str, error: BaseException) -> Any:
    def function(a: int) -> None:
        raise error

    async def coroutine(a: int) -> None:
        raise error

    def generator(a: int) -> Iterator[int]:
        yield a
        raise error

    async def async_generator(a: int) -> Any:
        yield a
        raise error

    return {f.__name__.replace("_", " "): f for f in (function, coroutine, generator, async_generator)}[kind]


def lines_in(error: BaseException) -> list[str]:
    return [frame.name for frame in traceback.extract_tb(error.__traceback__)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wrong", [Odd("no"), KeyboardInterrupt(), SystemExit(3), MemoryError()])
def test_an_exception_passes_as_the_same_object_with_one_more_frame(wrap: Any, kind: str, wrong: BaseException) -> None:
    plain = failing(kind, wrong)
    caught: list[BaseException] = []
    frames = []
    for function in (plain, wrap(plain)):
        wrong.__traceback__ = None
        try:
            result = function(1)
            if inspect.isgenerator(result):
                list(result)
            elif inspect.isasyncgen(result):
                step = result.__anext__()
                with pytest.raises(StopIteration):
                    step.send(None)
                result.__anext__().send(None)
            elif inspect.iscoroutine(result):
                result.send(None)
        except BaseException as error:
            caught.append(error)
            frames.append(lines_in(error))

    assert [wrong, wrong] == caught
    assert wrong.__context__ is None
    name = plain.__name__ if wrap is exact else "wrapper"
    assert [frames[0][0], name, *frames[0][1:]] == frames[1]


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_kept_alive_by_an_exception_that_has_been_handled(wrap: Any, kind: str) -> None:
    """A cycle between exception and frame would keep all local variables of the call until the next collection."""

    class Big:
        pass

    class Local(Exception):
        pass

    watched = []

    def body(kind: str) -> Any:
        def function() -> None:
            big = Big()
            watched.append(weakref.ref(big))
            raise Local

        async def coroutine() -> None:
            function()

        def generator() -> Iterator[int]:
            yield 1
            function()

        async def async_generator() -> Any:
            yield 1
            function()

        return {f.__name__.replace("_", " "): f for f in (function, coroutine, generator, async_generator)}[kind]

    wrapped = wrap(body(kind))

    def call() -> None:
        with contextlib.suppress(Local):
            run(wrapped())

    async def call_async() -> None:
        with contextlib.suppress(Local):
            result = wrapped()
            if inspect.isasyncgen(result):
                async for _ in result:
                    pass
            else:
                await result

    gc.collect()
    gc.disable()
    try:
        if kind in ("coroutine", "async generator"):
            step = call_async()
            with pytest.raises(StopIteration):
                step.send(None)
            del step
        else:
            call()
        alive = [ref() for ref in watched]
    finally:
        gc.enable()

    assert [None] == alive


def test_a_decorated_closure_that_knows_itself_is_collected(wrap: Any) -> None:
    """The collector does not look into code objects: what a wrapper needs must not stand in their constants."""

    class Token:
        pass

    def make() -> weakref.ref[Token]:
        token = Token()

        @wrap
        def again(number: int) -> Any:
            return again(number - 1) if number else token

        again(2)
        return weakref.ref(token)

    ref = make()
    gc.collect()

    assert ref() is None


def test_a_wrappers_code_can_be_hashed_and_compared(wrap: Any) -> None:
    """Debuggers and coverage tools keep dictionaries of code objects."""
    first, second = wrap(failing("function", Odd())), wrap(failing("coroutine", Odd()))

    assert 2 == len({first.__code__, second.__code__})


# --- generators -------------------------------------------------------------------------------------------------------


def talk(log: list[Any]) -> Any:
    """A generator that does everything a consumer can make it do."""
    while True:
        try:
            heard = yield len(log)
            log.append(heard)
            if heard == "return":
                return "the end"
            if heard == "raise":
                raise Odd("raised")
        except KeyError as error:
            log.append(error.args)
        except GeneratorExit:
            log.append("closed")
            raise
        finally:
            log.append("finally")


def ignoring() -> Any:
    while True:
        try:
            yield 1
        except GeneratorExit:
            yield 2
            return


def swallowing() -> Any:
    try:
        yield 1
    except GeneratorExit:
        return 5


def stopping() -> Any:
    yield 1
    raise StopIteration(7)


def script_sends(g: Any) -> Any:
    return [next(g), g.send("a"), g.send(None), next(g)]


def script_throws(g: Any) -> Any:
    return [next(g), g.throw(KeyError("k")), g.throw(KeyError, "old form"), g.send("b")]


def script_raises(g: Any) -> Any:
    next(g)
    return g.send("raise")


def script_throws_what_it_does_not_catch(g: Any) -> Any:
    next(g)
    return g.throw(Odd("thrown"))


def script_throws_before_the_first_item(g: Any) -> Any:
    return g.throw(Odd("early"))


def script_sends_before_the_first_item(g: Any) -> Any:
    return g.send(1)


def script_throws_stop(g: Any) -> Any:
    next(g)
    return g.throw(StopIteration(3))


def script_closes(g: Any) -> Any:
    next(g)
    return [g.close(), g.close(), next(g, "over")]


def script_closes_unstarted(g: Any) -> Any:
    return [g.close(), next(g, "over")]


def script_returns(g: Any) -> Any:
    def outer() -> Any:
        return (yield from g)

    outside = outer()
    next(outside)
    try:
        outside.send("return")
    except StopIteration as stop:
        return stop.value, next(g, "over")


def script_delegates_throw(g: Any) -> Any:
    def outer() -> Any:
        yield from g

    outside = outer()
    return [next(outside), outside.throw(KeyError("through")), outside.close()]


def script_exhausts(g: Any) -> Any:
    return list(itertools.islice(g, 5))


SCRIPTS = [value for name, value in sorted(globals().items()) if name.startswith("script_")]


@pytest.mark.filterwarnings("ignore:the .type, exc, tb. signature:DeprecationWarning")
@pytest.mark.parametrize("body", [talk, swallowing, stopping])
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_generator_behaves_as_undecorated(wrap: Any, body: Any, script: Any) -> None:
    seen = []
    for function in (body, wrap(body)):
        log: list[Any] = []
        found = outcome(script, (function(log) if body is talk else function(),), {})
        seen.append((found, log))

    assert seen[0] == seen[1]


def test_a_generator_that_ignores_its_closing_is_told_so(wrap: Any) -> None:
    generator = wrap(ignoring)()
    next(generator)

    with pytest.raises(RuntimeError, match=r"^generator ignored GeneratorExit$"):
        generator.close()
    assert "over" == next(generator, "over")


@pytest.mark.filterwarnings("ignore:the .type, exc, tb. signature:DeprecationWarning")
@pytest.mark.parametrize("script", SCRIPTS)
def test_an_asynchronous_generator_behaves_as_undecorated(wrap: Any, script: Any) -> None:
    async def plain(log: list[Any]) -> Any:
        inner = talk(log)
        try:
            item = next(inner)
            while True:
                await asyncio.sleep(0)
                try:
                    sent = yield item
                except GeneratorExit:
                    inner.close()
                    raise
                except BaseException as error:
                    item = inner.throw(error)
                else:
                    item = inner.send(sent)
        except StopIteration:
            return

    class Driven:
        """Drives an asynchronous generator as if it were a plain one, so that the same scripts run."""

        def __init__(self, function: Any, log: list[Any]) -> None:
            self.loop = asyncio.new_event_loop()
            self.generator = function(log)

        def __iter__(self) -> Any:
            return self

        def __next__(self) -> Any:
            return self.step(self.generator.__anext__())

        def send(self, value: Any) -> Any:
            return self.step(self.generator.asend(value))

        def throw(self, *error: Any) -> Any:
            return self.step(self.generator.athrow(*error))

        def close(self) -> Any:
            return self.step(self.generator.aclose())

        def step(self, awaitable: Any) -> Any:
            try:
                return self.loop.run_until_complete(asyncio.wait_for(awaitable, 5))
            except StopAsyncIteration:
                raise StopIteration from None

    seen = []
    for function in (plain, wrap(plain)):
        log: list[Any] = []
        driven = Driven(function, log)
        found = outcome(script, (driven,), {})
        driven.close()
        driven.loop.close()
        seen.append((found, log))

    assert seen[0] == seen[1]


def test_an_exception_thrown_into_a_generator_has_one_frame_of_the_wrapper(wrap: Any) -> None:
    def body() -> Iterator[int]:
        yield 1

    frames = []
    for function in (body, wrap(body)):
        generator = function()
        next(generator)
        error = Odd("in")
        with pytest.raises(Odd) as caught:
            generator.throw(error)

        assert error is caught.value
        frames.append(lines_in(error)[1:])

    assert ["body"] == frames[0]
    assert [body.__name__ if wrap is exact else "wrapper", "body"] == frames[1]


def test_what_a_consumer_has_dropped_is_not_kept_by_the_generator(wrap: Any) -> None:
    class Item:
        pass

    @wrap
    def items() -> Iterator[Item]:
        nonlocal alive
        yield Item()
        alive = ref()
        yield Item()

    alive: Any = "not set"
    generator = items()
    ref = weakref.ref(next(generator))
    next(generator)

    assert alive is None


def test_an_exception_handled_in_a_generator_is_not_kept(wrap: Any) -> None:
    @wrap
    def body() -> Iterator[int]:
        while True:
            with contextlib.suppress(Odd):
                yield 1

    generator = body()
    next(generator)
    error = Odd()
    ref = weakref.ref(error)
    generator.throw(error)
    del error

    assert ref() is None


def test_a_generator_based_coroutine_can_still_be_awaited(wrap: Any) -> None:
    @types.coroutine
    def step() -> Any:
        return (yield 5)

    async def outer() -> Any:
        return await exact(step)()

    running = outer()

    assert 5 == running.send(None)
    with pytest.raises(StopIteration, match="9"):
        running.send(9)


def test_a_generators_context_is_its_own_only_while_it_runs(wrap: Any) -> None:
    inside = []

    @wrap
    def items() -> Iterator[int]:
        for i in range(2):
            inside.append(CURRENT.get())
            yield i

    outside = CURRENT.get()
    for _ in items():
        assert outside is CURRENT.get()

    assert inside[0] is inside[1]
    assert outside is not inside[0]


# --- contexts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("set_before", [False, True])
def test_the_context_is_left_as_it_was_found(wrap: Any, set_before: bool) -> None:
    """A variable that was never set stays so: every later call in that context is a sixth faster."""

    def look() -> Any:
        return CURRENT.get()

    wrapped = wrap(look)

    def check() -> None:
        if set_before:
            CURRENT.set(recorder.ROOT)
        for _ in range(50):
            assert recorder.ROOT is not wrapped()

        assert recorder.ROOT is CURRENT.get()
        assert set_before == (CURRENT in contextvars.copy_context())

    contextvars.Context().run(check)


def test_a_coroutine_that_ends_in_another_context_changes_neither(wrap: Any) -> None:
    """Drivers of coroutines may step them in different contexts; what is current there is not ours to replace."""

    @types.coroutine
    def pause() -> Any:
        yield

    @wrap
    async def work() -> int:
        await pause()
        return 3

    def finish(coroutine: Any) -> None:
        with pytest.raises(StopIteration, match="3"):
            coroutine.send(None)

    for _ in range(30):  # both exits of a call, the slow and the fast one
        first, second, copy = contextvars.Context(), contextvars.Context(), None
        there = [{}, recorder.ROOT, recorder.FOREVER, 0.0, None, None]
        second.run(CURRENT.set, there)
        coroutine = work()
        first.run(coroutine.send, None)
        second.run(finish, coroutine)

        assert there is second[CURRENT]

        coroutine = work()
        first = contextvars.Context()
        first.run(coroutine.send, None)
        copy = first.copy()
        copy.run(finish, coroutine)

        assert recorder.ROOT is copy.run(CURRENT.get)


def test_calls_in_a_context_left_by_an_ended_call_find_their_place_once(wrap: Any, monkeypatch: Any) -> None:
    """A task that a call has started outlives it; only its first call looks for the frame that it now belongs to."""
    misses = []
    monkeypatch.setattr(recorder, "miss", lambda *a, miss=recorder.miss: misses.append(a) or miss(*a))

    @wrap
    def started() -> contextvars.Context:
        return contextvars.copy_context()

    @wrap
    def work() -> Any:
        return CURRENT.get()

    work()
    context = started()
    misses.clear()

    for _ in range(5):
        assert recorder.ROOT is context.run(work)[recorder.PARENT]
    assert 1 == len(misses)


# --- the fast path ----------------------------------------------------------------------------------------------------


def test_slot_numbers_of_the_template_are_the_recorders() -> None:
    r = recorder
    frame = {
        r.CHILDREN: f"_node[{r.N_CHILDREN}]",
        r.PARENT: "_parent",
        r.LIMIT: "1e999",
        r.START: "_start",
        r.NODE: "_node",
        r.SPAN: "None",
    }
    lines = [
        f"_node = _parent[{r.CHILDREN}][_key]",
        f"_frame = [{', '.join(frame[slot] for slot in range(r.OWN))}]",
        f"if _node[{r.N_LOW}] <= _took and _took <= _node[{r.N_LIMIT}] and _frame[{r.LIMIT}] > 0.0:",
        f"if _took <= _node[{r.N_MID}]:",
        f"_node[{r.N_BELOW}] += 1",
        f"_node[{r.N_ABOVE}] += 1",
        f"_node[{r.N_TOTAL}] += _took",
        f"_frame[{r.CHILDREN}] = _closed",
    ]

    assert r.FOREVER == 1e999
    for line in lines:
        assert 1 == wrappers.CALL.count(line + "\n"), line


def test_one_template_serves_all_functions_of_a_shape() -> None:
    """Compiling costs 0.1 ms, renaming a code object 0.01."""

    def one(first: int, *, second: int = 2) -> None: ...
    def two(other: int, *, names: int) -> None: ...

    exact(one)
    before = len(wrappers._factories)
    exact(two)

    assert before == len(wrappers._factories)
