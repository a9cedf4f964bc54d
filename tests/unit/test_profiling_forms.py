"""What is decorated stays what it was (C9): kind, signature, names, types; what cannot be wrapped is refused at once."""

from __future__ import annotations

import abc
import asyncio
import contextlib
import contextvars
import copy
import functools
import importlib
import inspect
import pickle
import types
import typing
from typing import TYPE_CHECKING, Any

import pytest

import otel_perf as perf
from otel_perf import imports, recorder
from otel_perf.recorder import CURRENT, N_PATH, NODE, Site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Money:
    """Stands in annotations, which are text in this module and must be resolved in it."""


def plain(first: Money, /, second: int = 2, *more: str, key: Money | None = None, **rest: int) -> Money:
    """Say what plain does."""
    return first


async def coroutine(first: Money, *, key: int = 1) -> Money:
    """Say what coroutine does."""
    return first


def generator(first: int, second: int = 2) -> typing.Iterator[int]:
    """Say what generator does."""
    yield first


async def async_generator(first: int) -> typing.AsyncIterator[int]:
    """Say what async_generator does."""
    yield first


FUNCTIONS = [plain, coroutine, generator, async_generator]
plain.color = "blue"  # type: ignore[attr-defined]

DECORATORS = {
    "@profile": perf.profile,
    "@profile()": perf.profile(),
    "@profile(name)": perf.profile("a name", slow="10s", span_threshold="1s"),
    "@operation": perf.operation("an operation", slow=5),
    "@phase": perf.phase("a phase"),
}


@pytest.fixture(params=DECORATORS, scope="module")
def decorator(request: pytest.FixtureRequest) -> Any:
    return DECORATORS[request.param]


@perf.profile
def found_by_name(number: int) -> int:
    return number + 1


@perf.profile("another name")
async def found_by_name_too() -> None: ...


class Shop:
    @perf.profile
    def method(self, number: int) -> int:
        return number + 1

    @staticmethod
    @perf.profile
    def static_below(number: int) -> int:
        return number + 2

    @perf.profile
    @staticmethod
    def static_above(number: int) -> int:
        return number + 3

    @classmethod
    @perf.profile
    def class_below(cls, number: int) -> tuple[type, int]:
        return cls, number + 4

    @perf.profile
    @classmethod
    def class_above(cls, number: int) -> tuple[type, int]:
        return cls, number + 5


class Corner(Shop):
    pass


def calls_of(function: Any) -> int:
    """Return how many calls of a decorated function have been counted."""
    target = inspect.unwrap(getattr(function, "__func__", function))
    name = f"{target.__module__}.{target.__qualname__}"
    return sum(recorder.snapshot(node)[0] for node in recorder.nodes if node[N_PATH].site.series == name)


# --- the same from outside --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", FUNCTIONS)
def test_questions_about_a_function_have_the_same_answers(function: Any, decorator: Any) -> None:
    decorated = decorator(function)
    questions: list[Callable[[Any], Any]] = [
        inspect.signature, inspect.getfullargspec, inspect.isfunction, inspect.iscoroutinefunction, inspect.isgeneratorfunction,
        inspect.isasyncgenfunction, asyncio.iscoroutinefunction, inspect.isroutine, inspect.getdoc, inspect.getsource,
        inspect.getmodule, typing.get_type_hints, callable, inspect.get_annotations,
    ]  # fmt: skip

    for question in questions:
        assert question(function) == question(decorated), question.__name__
    for attribute in (
        "__name__", "__qualname__", "__module__", "__doc__", "__annotations__", "__defaults__", "__kwdefaults__",
        "__globals__", "__dict__",
    ):  # fmt: skip
        expected, result = getattr(function, attribute), getattr(decorated, attribute)
        if attribute == "__dict__":
            expected = {**expected, "__wrapped__": function}
        assert expected == result, attribute
    assert function is decorated.__wrapped__
    assert inspect.signature(function) == inspect.signature(decorated, follow_wrapped=False).replace(
        return_annotation=inspect.signature(function).return_annotation
    ), "also without following __wrapped__"


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_decorator_above_a_decorator_changes_nothing_more(function: Any) -> None:
    decorated = perf.profile("outer")(perf.profile(function))

    assert inspect.signature(function) == inspect.signature(decorated)
    assert inspect.iscoroutinefunction(function) == inspect.iscoroutinefunction(decorated)
    assert function is inspect.unwrap(decorated)


@pytest.mark.parametrize("thing", [found_by_name, found_by_name_too, Shop.method, Shop.static_above, Shop.class_above])
def test_a_decorated_function_is_pickled_by_name(thing: Any) -> None:
    again = pickle.loads(pickle.dumps(thing))

    assert thing == again
    assert thing == copy.deepcopy(thing)


def test_methods_static_methods_and_class_methods_work_in_both_orders() -> None:
    shop = Corner()

    assert 2 == shop.method(1)
    assert (3, 3) == (shop.static_below(1), Shop.static_below(1))
    assert (4, 4) == (shop.static_above(1), Shop.static_above(1))
    assert (Corner, 5) == shop.class_below(1)
    assert (Corner, 6) == shop.class_above(1)
    for name in ("method", "static_below", "static_above", "class_below", "class_above"):
        expected = {"method": 1, "static_below": 2, "static_above": 2, "class_below": 1, "class_above": 1}

        assert expected[name] == calls_of(getattr(Shop, name)), name
        assert ["number"] == list(inspect.signature(getattr(shop, name)).parameters)
    assert isinstance(Shop.__dict__["static_above"], staticmethod)
    assert isinstance(Shop.__dict__["class_above"], classmethod)


def test_special_methods_can_be_decorated() -> None:
    class Thing:
        made: typing.ClassVar[list[Any]] = []

        @perf.profile
        def __new__(cls, *args: Any) -> Thing:
            return super().__new__(cls)

        @perf.profile
        def __init__(self, number: int) -> None:
            self.number = number

        @perf.profile
        def __init_subclass__(cls) -> None:
            cls.made.append(cls)

        @perf.profile
        def __call__(self) -> int:
            return self.number

        @property
        @perf.profile
        def double(self) -> int:
            return 2 * self.number

        @perf.profile
        def __enter__(self) -> Thing:
            return self

        @perf.profile
        def __exit__(self, *details: Any) -> bool:
            return True

    class Below(Thing):
        pass

    with Below(4) as thing:
        raise ValueError

    assert (4, 8, [Below]) == (thing(), thing.double, Thing.made)


@pytest.mark.parametrize("order", ["above", "below"])
def test_an_abstract_method_stays_abstract(order: str) -> None:
    above = order == "above"

    class Base(abc.ABC):  # noqa: B024  # they stand in the branches
        if above:

            @perf.profile
            @abc.abstractmethod
            def work(self) -> int: ...

            @perf.profile
            @staticmethod
            @abc.abstractmethod
            def help() -> int: ...
        else:

            @abc.abstractmethod
            @perf.profile
            def work(self) -> int: ...

            @staticmethod
            @abc.abstractmethod
            @perf.profile
            def help() -> int: ...

    with pytest.raises(TypeError, match=r"abstract.*help.*work"):
        Base()  # type: ignore[abstract]


@pytest.mark.parametrize("order", ["above", "below"])
def test_a_singledispatch_function_dispatches_and_registers(order: str) -> None:
    def show(item: object) -> str:
        return "object"

    if order == "above":
        shown: Any = perf.profile(functools.singledispatch(show))
    else:
        shown = functools.singledispatch(perf.profile(show))

    @shown.register
    @perf.profile
    def _(item: int) -> str:
        return "int"

    assert ["int", "object"] == [shown(1), shown("x")]
    assert {object, int} == set(shown.registry)
    assert "int" == shown.dispatch(bool)(True)
    assert ["item"] == list(inspect.signature(shown).parameters)


def test_a_cached_function_keeps_its_cache_and_the_cache_its_function() -> None:
    calls = []

    def square(number: int) -> int:
        calls.append(number)
        return number**2

    above = perf.profile(functools.lru_cache(maxsize=8)(square))
    below = functools.lru_cache(maxsize=8)(perf.profile(square))

    for function in (above, below):
        calls.clear()
        assert [9, 9, 4] == [function(3), function(3), function(2)]
        assert [3, 2] == calls
        assert (1, 2) == function.cache_info()[:2]
        assert 8 == function.cache_parameters()["maxsize"]
        function.cache_clear()
        assert 0 == function.cache_info().currsize
        assert "square" == function.__name__


def test_partials_are_wrapped_by_what_they_call() -> None:
    part = functools.partial(plain, Money(), 5)
    part_async = functools.partial(functools.partial(coroutine, Money()), key=4)
    decorated, decorated_async = perf.profile(part), perf.profile("named")(part_async)

    assert isinstance(decorated(), Money)
    assert inspect.signature(part) == inspect.signature(decorated)
    assert part is decorated.__wrapped__
    assert inspect.iscoroutinefunction(decorated_async)
    assert asyncio.iscoroutinefunction(decorated_async)
    assert isinstance(asyncio.run(decorated_async()), Money)
    assert [1] == list(perf.profile(functools.partial(generator, 1))())
    assert inspect.isgeneratorfunction(perf.profile(functools.partial(generator, 1)))


def test_builtins_and_bound_methods_are_wrapped() -> None:
    assert 3 == perf.profile(len)("abc")
    assert "A" == perf.profile(str.upper)("a")
    assert "len" == perf.profile(len).__name__
    assert inspect.signature(len) == inspect.signature(perf.profile(len))
    numbers: list[int] = []
    perf.profile(numbers.append)(1)
    assert [1] == numbers
    assert 8 == perf.profile(Shop().method)(7)


def test_a_context_manager_function_works_below_and_above() -> None:
    def opened() -> Iterator[str]:
        yield "open"

    for function in (contextlib.contextmanager(perf.profile(opened)), perf.profile(contextlib.contextmanager(opened))):
        with function() as found:
            assert "open" == found


def test_a_function_marked_as_coroutine_function_stays_marked() -> None:
    def returns_awaitable() -> Any:
        return coroutine(Money())

    returns_awaitable._is_coroutine = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined]

    assert asyncio.iscoroutinefunction(perf.profile(returns_awaitable))


def test_a_pytest_fixture_can_be_profiled(run_python: Any, tmp_path: Path) -> None:
    (tmp_path / "test_inner.py").write_text(
        "import otel_perf as perf, pytest\n"
        "@pytest.fixture\n@perf.profile\ndef base(): return 20\n"
        "@pytest.fixture(params=[1, 2])\n@perf.profile\ndef number(request, base):\n    yield base + request.param\n"
        "@perf.profile('the test', span_threshold=0)\ndef test_it(number): assert number in (21, 22)\n"
        "@pytest.mark.parametrize('x', [3, 4])\n@perf.profile\ndef test_more(x, base): assert x < base\n"
    )

    done = run_python(["-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "test_inner.py"])

    assert "4 passed" in done.stdout, done.stdout + done.stderr


def test_frameworks_that_read_the_signature_of_the_wrapper_itself_can_resolve_it() -> None:
    """FastAPI takes the call's own __globals__ for annotations that are text, and asks for its kind."""
    for function in FUNCTIONS:
        decorated = perf.profile(function)
        for parameter in inspect.signature(decorated).parameters.values():
            assert eval(parameter.annotation, decorated.__globals__) is not None


@pytest.mark.parametrize("flag", ["cached", "registered"])
def test_attributes_that_other_decorators_have_set_are_there(flag: str) -> None:
    def function() -> None: ...

    setattr(function, flag, ["kept"])

    assert getattr(function, flag) is getattr(perf.profile(function), flag)


# --- names ------------------------------------------------------------------------------------------------------------


def site_of(decorated: Any) -> Site:
    """Return the site of a decorated function that returns the frame it runs in."""
    site: Site = decorated()[NODE][N_PATH].site
    return site


def look() -> Any:
    return CURRENT.get()


def test_a_function_is_named_by_its_qualname_and_counted_by_its_full_name() -> None:
    site = site_of(perf.profile(look))

    assert "look" == site.name
    assert f"{__name__}.look" == site.series == site.function
    assert __file__ == site.file
    assert look.__code__.co_firstlineno == site.line


def test_an_own_name_counts_under_that_name_wherever_it_is_used() -> None:
    site = site_of(perf.profile("checkout")(look))

    assert ("checkout", "checkout", f"{__name__}.look") == (site.name, site.series, site.function)


def test_the_place_is_that_of_the_function_below_other_decorators() -> None:
    @functools.wraps(look)
    def between() -> Any:
        return look()

    site = site_of(perf.profile(between))

    assert look.__code__.co_firstlineno == site.line


def test_a_function_wrapped_in_a_circle_is_still_decorated() -> None:
    def function() -> Any:
        return look()

    function.__wrapped__ = function  # type: ignore[attr-defined]

    assert "function" in site_of(perf.profile(function)).name


@pytest.mark.parametrize("what", ["profile", "operation", "phase"])
def test_a_name_of_more_than_1024_characters_is_cut(what: str) -> None:
    long = "n" * 5000

    site = site_of(getattr(perf, what)(long)(look))

    assert long[:1024] == site.name
    assert long[:1024] == site.series
    with getattr(perf, what)(long):
        assert long[:1024] == look()[NODE][N_PATH].site.name


def test_a_long_qualname_is_cut_too() -> None:
    def function() -> Any:
        return look()

    function.__qualname__ = "q" * 5000

    assert "q" * 1024 == site_of(perf.profile(function)).name


@pytest.mark.parametrize("what", ["operation", "phase", "enter_phase"])
@pytest.mark.parametrize("wrong", [5, None, b"bytes", ["list"], 1.5])
def test_a_name_of_another_type_is_a_type_error_that_names_the_type(what: str, wrong: Any) -> None:
    with pytest.raises(TypeError) as caught:
        getattr(perf, what)(wrong)

    assert f"perf.{what}: a name is a str, not {type(wrong).__name__}" == str(caught.value)


class Secret:
    def __repr__(self) -> str:
        return "the password"


@pytest.mark.parametrize("wrong", [5, b"bytes", ["list"], {"a": 1}, Secret()])
def test_profile_refuses_what_is_neither_name_nor_function_and_never_shows_it(wrong: Any) -> None:
    with pytest.raises(TypeError) as caught:
        perf.profile(wrong)
    with pytest.raises(TypeError) as caught_too:
        perf.profile("name")(wrong)

    message = f"perf.profile: takes a function, or a name that is a str, not {type(wrong).__name__}"
    assert [message, message] == [str(caught.value), str(caught_too.value)]


def test_a_name_may_be_given_as_keyword_and_may_be_a_kind_of_str() -> None:
    import enum

    class Names(enum.StrEnum):
        CHECKOUT = "checkout"

    assert "checkout" == site_of(perf.profile(name="checkout")(look)).name
    assert "checkout" == site_of(perf.profile(Names.CHECKOUT)(look)).name
    assert str is type(site_of(perf.profile(Names.CHECKOUT)(look)).name)


def test_a_function_may_be_given_together_with_options() -> None:
    site = site_of(perf.profile(look, slow="50ms", span_threshold=0))

    assert ("look", 0.05, 0.0) == (site.name, site.slow, site.threshold)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"slow": "fast"}, "ValueError: perf.profile: slow: a duration must be 0 or more seconds"),
        ({"slow": -1}, "ValueError: perf.profile: slow: a duration must be 0 or more seconds"),
        ({"span_threshold": [1]}, "TypeError: perf.profile: span_threshold: a duration is a number of seconds"),
        ({"span_threshold": True}, "TypeError: perf.profile: span_threshold: a duration is a number of seconds"),
        ({"span_threshold": float("nan")}, "ValueError: perf.profile: span_threshold: a duration must be 0 or more"),
    ],
)
def test_a_wrong_duration_is_refused_where_it_is_given(options: dict[str, Any], error: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        perf.profile("name", **options)

    assert f"{type(caught.value).__name__}: {caught.value}".startswith(error)


# --- refused at decoration --------------------------------------------------------------------------------------------


class Callable_:  # noqa: N801
    def __call__(self) -> None: ...


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (property(look), "cannot wrap a property: put @perf.profile below @property, next to the function"),
        (
            functools.cached_property(look),
            "cannot wrap a cached_property: put @perf.profile below @cached_property, next to the function",
        ),
        (
            functools.partialmethod(look),
            "cannot wrap a partialmethod: put @perf.profile below @partialmethod, next to the function",
        ),
        (
            functools.singledispatchmethod(look),
            "cannot wrap a singledispatchmethod: put @perf.profile below @singledispatchmethod, next to the function",
        ),
        (Shop, "cannot wrap the class Shop: decorate its methods instead"),
        (int, "cannot wrap the class int: decorate its methods instead"),
        (staticmethod(property(look)), "cannot wrap a property: put @perf.profile below @property, next to the function"),
        (
            Callable_(),
            "cannot wrap a Callable_ object: decorate its __call__ method, or put @perf.profile below the decorator that "
            "makes it",
        ),
        (
            functools.partial(Shop),
            "cannot wrap a type object: decorate its __call__ method, or put @perf.profile below the decorator that makes "
            "it",
        ),
        (types.SimpleNamespace(), "takes a function, or a name that is a str, not SimpleNamespace"),
    ],
)  # fmt: skip
def test_what_cannot_be_wrapped_is_refused_with_the_right_order(target: Any, message: str) -> None:
    with pytest.raises(TypeError) as caught:
        perf.profile(target)

    assert f"perf.profile: {message}" == str(caught.value)


def test_a_fixture_made_below_the_decorator_is_refused_with_the_right_order() -> None:
    with pytest.raises(TypeError, match=r"put @perf\.profile below the decorator that makes it"):
        perf.profile(pytest.fixture(lambda: 1))


def test_a_with_block_without_a_name_is_refused() -> None:
    with pytest.raises(TypeError, match=r"^perf\.profile: a with-block needs a name: with perf\.profile\('load'\):$"):
        perf.profile().__enter__()


# --- with-blocks in contexts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("set_before", [False, True])
@pytest.mark.parametrize("how", ["with-block", "generator", "import", "failing"])
def test_the_context_is_left_as_it_was_found(how: str, set_before: bool) -> None:
    """Where the variable was not set it is not set afterwards: calls in such a context are faster."""
    block, items = perf.profile("block"), perf.profile(generator)

    def use() -> None:
        with block, perf.profile("inner"):
            assert "inner" == CURRENT.get()[NODE][N_PATH].site.name
        if how == "generator":
            assert [1] == list(items(1))
            iterator = items(1)
            next(iterator)
            iterator.close()
        elif how == "import":
            with pytest.raises(ImportError):
                importlib.import_module("no_such_module_anywhere")
        elif how == "failing":
            with pytest.raises(ValueError, match="no"), block:
                raise ValueError("no")

    def check() -> None:
        if set_before:
            CURRENT.set(recorder.ROOT)
        installed = how == "import" and imports.install()
        try:
            for _ in range(20):
                use()
        finally:
            if installed:
                imports.uninstall()

        assert recorder.ROOT is CURRENT.get()
        assert set_before == (CURRENT in contextvars.copy_context())
        assert {} == recorder._tokens

    contextvars.Context().run(check)


def test_a_with_block_left_in_a_copy_of_its_context_is_left_there() -> None:
    """Frameworks run set-up and tear-down in copies of one context."""
    for _ in range(10):
        block, first = perf.profile("block"), contextvars.Context()
        first.run(block.__enter__)
        copy = first.copy()
        copy.run(block.__exit__, None, None, None)

        assert recorder.ROOT is copy.run(CURRENT.get)
        assert {} == recorder._tokens
