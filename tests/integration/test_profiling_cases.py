"""What users of profilers stumble over: generators left early, recursion, parallel children, threads, many names."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def record(
    run_python: Any, spans_of: Any, metrics_of: Any, assert_whole_tree: Any, tmp_path: Path
) -> Callable[..., Any]:
    """Return a function that runs a program under init() and gives what it said and what is in its run folder.

    The program says things by ``say(key=value)``. Nothing may be on its stderr, nothing logged at WARNING or above.
    """

    def run(program: str, **options: Any) -> Recorded:
        begin = (
            "import asyncio, gc, json, logging, sys, threading, time\n"
            "import otel_perf as perf\n"
            "now, said, logged = time.perf_counter, {}, []\n"
            "def say(**more): said.update(more)\n"
            "class Keep(logging.Handler):\n"
            "    def emit(self, record): logged.append(record.getMessage())\n"
            "logging.getLogger().addHandler(Keep(level=logging.WARNING))\n"
            "perf.init()\n"
        )
        end = "\nperf.shutdown()\nassert not logged, logged\nprint(json.dumps(said))\n"
        import textwrap

        done = run_python(begin + textwrap.dedent(program) + end, options=("-W", "error"), **options)
        assert ("", 0) == (done.stderr, done.returncode)
        spans = spans_of(tmp_path)
        assert_whole_tree(spans)
        return Recorded(json.loads(done.stdout), spans, metrics_of(tmp_path))

    return run


class Recorded:
    """What a program said and recorded."""

    def __init__(self, said: dict[str, Any], spans: list[dict[str, Any]], metrics: list[dict[str, Any]]) -> None:
        self.said = said
        self.spans = spans
        self.by_id = {span["span_id"]: span for span in spans}
        self.metrics = metrics
        self.points: dict[tuple[str, str], dict[str, Any]] = {}  # the last point counts
        for found in metrics:
            attributes = found["attributes"]
            key = attributes.get("path") or attributes.get("function") or ""
            self.points[found["metric"].removeprefix("otel_perf."), key] = found

    def named(self, name: str) -> list[dict[str, Any]]:
        return sorted((span for span in self.spans if span["name"] == name), key=lambda span: span["start"])

    def one(self, name: str) -> dict[str, Any]:
        (span,) = self.named(name)
        return span

    def parent(self, span: dict[str, Any]) -> str:
        return str(self.by_id[span["parent_id"]]["name"])

    def last(self, metric: str) -> list[dict[str, Any]]:
        """Return the last point of each series of *metric*."""
        series = {str(m["attributes"]): m for m in self.metrics if m["metric"] == f"otel_perf.{metric}"}
        return list(series.values())

    def point(self, metric: str, key: str) -> dict[str, Any]:
        return self.points[metric, key]["point"]  # type: ignore[no-any-return]

    def paths(self, metric: str) -> dict[str, float]:
        return {key: found["point"]["value"] for (name, key), found in self.points.items() if name == metric}


def seconds(span: dict[str, Any]) -> float:
    return float(span["end"] - span["start"]) / 1e9


# --- asynchronous generators (C7) -------------------------------------------------------------------------------------

LEAVES = {
    "closed by another task": """
        g = items()
        await g.__anext__()
        await asyncio.create_task(g.aclose())
    """,
    "closed by another task with another context": """
        import contextvars
        g = items()
        await g.__anext__()
        await asyncio.create_task(g.aclose(), context=contextvars.Context())
    """,
    "first step in another task": """
        g = items()
        await asyncio.create_task(g.__anext__())
        await g.__anext__()
        await g.aclose()
    """,
    "break": """
        async for i in items():
            break
        del i
        await asyncio.sleep(.05)
    """,
    "consumer cancelled while it waits for an item": """
        async def consume():
            async for i in items(): pass
        task = asyncio.create_task(consume())
        await asyncio.sleep(.005)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(.05)
    """,
    "consumer cancelled between two items": """
        async def consume():
            async for i in items(): await asyncio.sleep(5)
        task = asyncio.create_task(consume())
        await asyncio.sleep(.03)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(.05)
    """,
    "thrown into by another task": """
        g = items()
        await g.__anext__()
        try: await asyncio.create_task(g.athrow(KeyError("thrown")))
        except KeyError: pass
    """,
    "exhausted": """
        assert [0, 1, 2] == [i async for i in items()]
    """,
    "exhausted in turns by two tasks": """
        g = items()
        async def take(): return await anext(g)
        assert [0, 1, 2] == [await asyncio.create_task(take()) for _ in range(3)]
        assert "end" == await anext(g, "end")
    """,
}


@pytest.mark.parametrize("how", LEAVES)
def test_an_asynchronous_generator_left_in_any_way_is_one_record_and_disturbs_nobody(record: Any, how: str) -> None:
    import textwrap

    body = textwrap.indent(textwrap.dedent(LEAVES[how]), "    ")
    found = record(f"""
@perf.profile("items", span_threshold=0)
async def items():
    for i in range(3):
        yield i
        with perf.profile("inside", span_threshold=0): await asyncio.sleep(.01)
async def main():
  with perf.profile("main", span_threshold=0):
{body}
    say(left=time.time_ns())
    with perf.profile("after", span_threshold=0): pass
    await asyncio.sleep(0.02)
asyncio.run(main())
""")
    items = found.one("items")

    assert "main" == found.parent(found.one("after"))
    assert "main" == found.parent(items)
    assert items["end"] <= found.said["left"] + 1_000_000, "ended at the close"
    assert 1 == found.point("function.duration", "items")["count"]
    assert {"items"} >= {found.parent(span) for span in found.named("inside")}
    errors = {
        "thrown into by another task": ["KeyError"],
        "consumer cancelled while it waits for an item": ["asyncio.exceptions.CancelledError"],
    }
    assert errors.get(how, []) == [event["attributes"]["exception.type"] for event in items["events"]]


def test_asynchronous_generators_that_a_loop_closes_at_its_end_close_in_order(record: Any) -> None:
    """A loop closes all generators it knows at the same time: one inside ours must not be among them."""
    found = record("""
        import contextlib
        @perf.profile(span_threshold=0)
        async def items():
            try:
                while True: yield 1
            finally:
                await asyncio.sleep(.03)
                say(closed=True)
        async def main():
            global kept
            kept = items()
            await kept.__anext__()
        problems = []
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda loop, context: problems.append(str(context)))
        loop.run_until_complete(main())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
        say(problems=problems)
    """)

    assert {"closed": True, "problems": []} == found.said
    assert seconds(found.one("items")) >= 0.03


# --- generators (C8) --------------------------------------------------------------------------------------------------


@pytest.mark.timed
def test_a_generators_time_is_that_of_its_body_and_not_of_its_consumer(record: Any) -> None:
    found = record("""
        @perf.profile
        def items():
            for i in range(5):
                begun = now()
                with perf.profile("nested"): time.sleep(.01)
                took.append(now() - begun)
                yield i
        took = []
        @perf.profile
        def consume():
            for i in items():
                with perf.profile("consumer"): time.sleep(.05)
        begun = now()
        consume()
        say(active=sum(took), wall=now() - begun)
    """)
    items, active = found.one("items"), found.said["active"]
    histogram = found.point("function.duration", "__main__.items")

    assert 1 == histogram["count"]
    assert active <= histogram["sum"] <= active + 0.01
    assert active <= items["attributes"]["otel_perf.active_time"] <= active + 0.01
    assert 0.3 <= seconds(items) <= found.said["wall"]
    assert active >= 0.05
    assert 5 == len(found.named("nested")) == len(found.named("consumer"))
    assert {"items"} == {found.parent(span) for span in found.named("nested")}
    assert {"consume"} == {found.parent(span) for span in found.named("consumer")}
    assert items["attributes"]["otel_perf.self_time"] <= 0.01, "its time is that of its nested profile"
    consumed = found.one("consume")["attributes"]["otel_perf.self_time"]
    assert 0 <= consumed <= 0.03, "neither the generator's time nor its own with-blocks'"
    own = found.paths("profile.self_time")
    assert own["consume;items;nested"] >= 0.05
    assert own["consume;items"] <= 0.01
    assert own["consume;consumer"] >= 0.25


def test_send_throw_return_and_close_reach_a_profiled_generator(record: Any) -> None:
    found = record("""
        @perf.profile(span_threshold=0)
        def talk():
            heard = []
            try:
                while True:
                    try: heard.append((yield len(heard)))
                    except KeyError as error: heard.append(error.args[0])
                    if heard[-1] == "stop": return 42
            finally:
                say(closed=heard)
        def outer(): return (yield from talk())
        g = outer()
        steps = [next(g), g.send("a"), g.throw(KeyError("b")), g.send("c")]
        try: g.send("stop")
        except StopIteration as stop: say(steps=steps, result=stop.value)
        g = talk(); next(g); g.close(); say(second=next(g, "over"))
    """)

    assert {"closed": [], "steps": [0, 1, 2, 3], "result": 42, "second": "over"} == found.said
    assert [0, 0] == [span["status"]["code"] for span in found.named("talk")]
    assert 2 == found.point("function.duration", "__main__.talk")["count"]


@pytest.mark.parametrize("how", ["del g", "g.close()", "cycle = [g]; cycle.append(cycle); del g, cycle; gc.collect()"])
def test_a_generator_that_is_never_exhausted_is_counted_when_it_goes(record: Any, how: str) -> None:
    found = record(f"""
        @perf.profile(span_threshold=0)
        def items():
            while True: yield 1
        g = items()
        next(g)
        time.sleep(.02)
        {how}
        say(left=time.time_ns())
        with perf.profile("after", span_threshold=0): pass
    """)
    items = found.one("items")

    assert 1 == found.point("function.duration", "__main__.items")["count"]
    assert 0.02 <= seconds(items)
    assert items["end"] <= found.said["left"] + 1_000_000
    assert 0 == items["status"]["code"], "to be left early is no error"
    assert "startup" == found.parent(found.one("after"))


def test_a_generator_stepped_by_several_threads_and_callers_keeps_its_place(record: Any) -> None:
    found = record("""
        @perf.profile(span_threshold=0)
        def items():
            for i in range(4):
                with perf.profile("inside", span_threshold=0): yield i
        @perf.profile(span_threshold=0)
        def make():
            g = items()
            next(g)
            return g
        g = make()
        def step():
            with perf.profile("caller", span_threshold=0):
                next(g)
                with perf.profile("between", span_threshold=0): pass
        thread = threading.Thread(target=step); thread.start(); thread.join()
        step()
        list(g)
    """)

    assert "make" == found.parent(found.one("items"))
    assert ["items"] * 4 == [found.parent(span) for span in found.named("inside")]
    assert ["caller"] * 2 == [found.parent(span) for span in found.named("between")]


def test_interleaved_generators_do_not_become_each_others_children(record: Any) -> None:
    found = record("""
        @perf.profile(span_threshold=0)
        def items(name):
            for i in range(3):
                with perf.profile(name, span_threshold=0): pass
                yield i
        list(zip(items("a"), items("b")))
        gc.collect()
    """)
    first, second = found.named("items")

    assert ["startup", "startup"] == [found.parent(first), found.parent(second)]
    assert {first["span_id"]} == {span["parent_id"] for span in found.named("a")}
    assert {second["span_id"]} == {span["parent_id"] for span in found.named("b")}


# --- totals (C10) -----------------------------------------------------------------------------------------------------


@pytest.mark.timed
def test_recursion_is_counted_at_every_level_but_timed_once(record: Any) -> None:
    found = record("""
        @perf.profile
        def f(n):
            time.sleep(.005)
            if n > 1: f(n - 1)
        begun = now()
        f(40)
        say(took=now() - begun)
    """)
    took = found.said["took"]
    histogram = found.point("function.duration", "__main__.f")
    own = found.paths("profile.self_time")

    assert 40 == histogram["count"]
    assert took >= 0.2
    assert pytest.approx(took, rel=0.1) == histogram["sum"]
    assert 40 == len(own)
    assert pytest.approx(took, rel=0.1) == sum(own.values())
    assert pytest.approx(took, rel=0.1) == sum(s["attributes"]["otel_perf.self_time"] for s in found.named("f"))
    assert pytest.approx(took, rel=0.1) == found.paths("profile.time")["f"]


@pytest.mark.parametrize("wait", ["asyncio.sleep(.1)", "asyncio.to_thread(time.sleep, .1)"])
@pytest.mark.timed
def test_children_that_run_at_the_same_time_are_taken_off_once(record: Any, wait: str) -> None:
    found = record(f"""
        @perf.profile
        async def child(): await {wait}
        @perf.profile
        async def parent():
            begun = now()
            await asyncio.gather(*[child() for _ in range(4 if "thread" in {wait!r} else 10)])
            say(took=now() - begun)
        asyncio.run(parent())
    """)
    parent, took = found.one("parent"), found.said["took"]

    assert took <= seconds(parent) <= took + 0.05
    assert 0 <= parent["attributes"]["otel_perf.self_time"] <= took - 0.08
    own = found.paths("profile.self_time")
    assert 0 <= own["parent"] <= took - 0.08
    assert min(own.values()) >= 0
    assert found.point("function.duration", "__main__.parent")["sum"] <= took + 0.05
    assert {"parent"} == {found.parent(span) for span in found.named("child")}


def test_self_times_are_never_negative_whatever_overlaps(record: Any) -> None:
    found = record("""
        @perf.profile
        async def leaf(t): await asyncio.sleep(t)
        @perf.profile
        async def middle(n):
            tasks = [asyncio.create_task(leaf(.001 * (i % 7))) for i in range(n)]
            await tasks[0]
            if n % 2: await asyncio.gather(*tasks)
            return tasks
        @perf.profile
        async def top():
            left = await asyncio.gather(*[middle(n) for n in range(1, 9)])
            for tasks in left: await asyncio.gather(*tasks)
        asyncio.run(top())
        perf.ready()
        asyncio.run(top())
    """)

    assert min(found.paths("profile.self_time").values()) >= 0
    for span in found.spans:
        own = span["attributes"]["otel_perf.self_time"]
        assert 0 <= own <= seconds(span) + 1e-6, span["name"]


def test_recursion_deeper_than_the_tree_keeps_all_spans_and_calls(record: Any) -> None:
    found = record("""
        @perf.profile(span_threshold=0)
        def f(n):
            if n > 1: f(n - 1)
        begun = now()
        f(400)
        say(took=now() - begun)
    """)
    spans = found.named("f")
    parents = {span["span_id"]: span["parent_id"] for span in spans}
    calls = found.paths("profile.calls")

    assert 400 == len(spans) == found.point("function.duration", "__main__.f")["count"] == sum(calls.values())
    assert 399 == len(set(parents) & set(parents.values())), "each is the child of the one before"
    assert found.point("function.duration", "__main__.f")["sum"] <= found.said["took"]
    assert max(found.paths("profile.time").values()) <= found.said["took"]
    assert found.points["profile.calls", "otel_perf.overflow;f"]["attributes"]["otel.metric.overflow"] is True


# --- threads and tasks ------------------------------------------------------------------------------------------------


def test_one_with_block_is_entered_by_many_threads_and_tasks_at_once(record: Any) -> None:
    found = record("""
        block = perf.profile("block", span_threshold=0)
        @block
        def decorated():
            with block: time.sleep(.0005)
        def thread(i):
            with perf.profile(f"thread {i}", span_threshold=0):
                for _ in range(5):
                    with block:
                        with block: time.sleep(.0005)
                decorated()
        async def task(i):
            with perf.profile(f"task {i}", span_threshold=0):
                for _ in range(5):
                    with block:
                        await asyncio.sleep(.001)
                        with block: await asyncio.sleep(.001)
        async def main(): await asyncio.gather(*[task(i) for i in range(6)])
        threads = [threading.Thread(target=thread, args=(i,)) for i in range(6)]
        for t in threads: t.start()
        asyncio.run(main())
        for t in threads: t.join()
    """)

    blocks = found.named("block")
    assert 6 * 12 + 6 * 10 == len(blocks) == found.point("function.duration", "block")["count"]
    owners: dict[str, int] = {}
    for span in blocks:
        depth = 0
        while span["name"] == "block":
            span, depth = found.by_id[span["parent_id"]], depth + 1
        assert depth <= 2
        owners[span["name"]] = owners.get(span["name"], 0) + 1
    assert {f"thread {i}": 12 for i in range(6)} | {f"task {i}": 10 for i in range(6)} == owners


def test_every_call_of_sixteen_threads_is_on_disk(record: Any) -> None:
    found = record("""
        sys.setswitchinterval(1e-5)
        @perf.profile
        def inner(x): return x
        @perf.profile
        def outer(x): return inner(x) + 1
        def run():
            for i in range(1000): assert outer(i) == i + 1
        threads = [threading.Thread(target=run) for _ in range(16)]
        for t in threads: t.start()
        for t in threads: t.join()
    """)

    for name in ("inner", "outer"):
        histogram = found.point("function.duration", f"__main__.{name}")
        assert 16_000 == histogram["count"]
        assert 16_000 == sum(histogram["positive"]["bucketCounts"]) + histogram["zeroCount"]
        assert histogram["min"] <= histogram["sum"] / 16_000 <= histogram["max"]
    assert {"outer": 16_000, "outer;inner": 16_000} == found.paths("profile.calls")


# --- names ------------------------------------------------------------------------------------------------------------


def test_beyond_two_thousand_names_spans_keep_theirs_and_statistics_share_a_series(record: Any) -> None:
    found = record("""
        for i in range(2100):
            with perf.profile(f"name {i}", span_threshold=0): pass
    """)
    names = {span["name"] for span in found.spans}

    assert {f"name {i}" for i in range(2100)} <= names
    overflow = [
        (name, metric["point"])
        for (name, _), metric in found.points.items()
        if metric["attributes"].get("otel.metric.overflow") is True
    ]
    assert {"function.duration", "profile.calls", "profile.time", "profile.self_time"} == {name for name, _ in overflow}
    counts = [found["point"]["count"] for (name, _), found in found.points.items() if name == "function.duration"]
    assert 2100 == sum(counts)
    assert 2001 == len(counts)


def test_functions_of_one_name_in_two_modules_and_defined_again(record: Any, tmp_path: Path) -> None:
    for name in ("shop", "bank"):
        (tmp_path / f"{name}.py").write_text("import otel_perf as perf\n@perf.profile\ndef load(): pass\n")
    found = record("""
        import importlib, shop, bank
        shop.load(); bank.load(); bank.load()
        time.sleep(1.2)                     # the first point is written
        first = bank.load
        with open("bank.py", "a") as file: file.write("\\n\\n@perf.profile\\ndef load():\\n    return 1\\n")
        importlib.invalidate_caches(); importlib.reload(bank)
        bank.load(); bank.load(); bank.load()
    """)

    assert 1 == found.point("function.duration", "shop.load")["count"]
    assert 5 == found.point("function.duration", "bank.load")["count"]
    calls = {metric["attributes"]["function"]: metric["point"]["value"] for metric in found.last("profile.calls")}
    assert {"shop.load": 1, "bank.load": 5} == calls


# --- which calls become spans -----------------------------------------------------------------------------------------


def test_a_call_becomes_a_span_above_its_threshold(record: Any) -> None:
    """1 ms before ready() and 10 ms after; a function's own threshold holds always. Measured, since sleeps stretch."""
    found = record("""
        took = {}
        def sleep(name, seconds):
            begun = now()
            time.sleep(seconds)
            took.setdefault(name, []).append(now() - begun)
        def define(when):
            @perf.profile(f"{when} default")
            def default(seconds): sleep(f"{when} default", seconds)
            @perf.profile(f"{when} every", span_threshold=0)
            def every(): pass
            @perf.profile(f"{when} own", span_threshold="20ms")
            def own(seconds): sleep(f"{when} own", seconds)
            return default, every, own
        for when in ("before", "after"):
            default, every, own = define(when)
            for seconds in (0, .003, .015, .003, 0): default(seconds)
            for _ in range(7): every()
            for seconds in (.003, .025): own(seconds)
            if when == "before": perf.ready()
        say(took=took)
    """)
    limits = {"before default": 0.001, "after default": 0.010, "before own": 0.020, "after own": 0.020}

    for name, limit in limits.items():
        surely = sum(took > limit for took in found.said["took"][name])
        perhaps = sum(took > limit - 0.0005 for took in found.said["took"][name])
        assert surely <= len(found.named(name)) <= perhaps, name
        assert surely >= 1
    assert 7 == len(found.named("before every")) == len(found.named("after every"))
    assert len(found.named("after default")) < 5


def test_a_function_decorated_before_init_is_recorded_after_it(run_python: Any, spans_of: Any, tmp_path: Path) -> None:
    done = run_python("""
        import otel_perf as perf
        @perf.profile(span_threshold=0)
        def early(): pass
        block = perf.profile("block", span_threshold=0)
        with block: early()
        perf.init()
        with block: early()
    """)
    names = sorted(span["name"] for span in spans_of(tmp_path) if span["name"] in ("early", "block"))

    assert ("", 0) == (done.stderr, done.returncode)
    assert ["block", "early"] == names


# --- exceptions -------------------------------------------------------------------------------------------------------


def test_an_exception_is_on_the_span_with_type_and_message_and_never_with_arguments(record: Any) -> None:
    found = record("""
        class Odd(Exception):
            def __str__(self): raise RuntimeError("no text")
        @perf.profile
        def function(password): raise ValueError("it broke")
        @perf.profile
        async def coroutine(password): raise KeyError("missing")
        @perf.profile
        def generator(password):
            yield 1
            raise Odd(1)
        @perf.profile
        async def async_generator(password):
            yield 1
            raise OSError(2, "not there", "file.txt")
        @perf.profile
        def leaving(): sys.exit(3)
        def attempt(call):
            try: call()
            except BaseException: pass
        with perf.profile("outer", span_threshold=0):
            attempt(lambda: function("s3cret"))
            attempt(lambda: asyncio.run(coroutine("s3cret")))
            attempt(lambda: list(generator("s3cret")))
            async def consume():
                async for i in async_generator("s3cret"): pass
            attempt(lambda: asyncio.run(consume()))
            attempt(leaving)
            def block():
                with perf.profile("block"): raise perf_error("x" * 10_000)
            perf_error = type("Error", (Exception,), {"__module__": "shop.errors"})
            attempt(block)
        # a call that fails fast is no span: its exception is the application's to report
        function_ = perf.profile("slow enough", span_threshold=0)(function.__wrapped__)
        for kind in (function_,): attempt(lambda: kind("s3cret"))
    """, env={"OTEL_PERF_STARTUP_SPAN_THRESHOLD": "0"})  # fmt: skip
    expected = {
        "function": ("ValueError", "it broke"),
        "coroutine": ("KeyError", "'missing'"),
        "generator": ("__main__.Odd", "<exception str() failed>"),
        "async_generator": ("FileNotFoundError", "[Errno 2] not there: 'file.txt'"),
        "leaving": ("SystemExit", "3"),
        "block": ("shop.errors.Error", "x" * 4096),
        "slow enough": ("ValueError", "it broke"),
    }

    for name, (kind, message) in expected.items():
        span = found.one(name)
        (event,) = span["events"]
        assert "exception" == event["name"]
        assert {"exception.type": kind, "exception.message": message} == event["attributes"]
        assert 2 == span["status"]["code"]
        assert span["start"] <= event["time"] <= span["end"]
    assert "s3cret" not in str(found.spans)
    assert 0 == found.one("outer")["status"]["code"], "it was handled inside"


def test_where_the_function_stands_is_on_its_span(record: Any, tmp_path: Path) -> None:
    found = record("""
        class Shop:
            @perf.profile(span_threshold=0)
            def load(self): pass
        Shop().load()
        with perf.profile("block", span_threshold=0): pass
    """)
    source = (tmp_path / "script.py").read_text().splitlines()
    attributes = found.one("Shop.load")["attributes"]

    assert "__main__.Shop.load" == attributes["code.function.name"]
    assert str(tmp_path / "script.py") == attributes["code.file.path"]
    assert "@perf.profile" in source[attributes["code.line.number"] - 1]
    assert "function" == attributes["otel_perf.kind"]
    block = found.one("block")["attributes"]
    assert 'with perf.profile("block"' in source[block["code.line.number"] - 1]
    assert str(tmp_path / "script.py") == block["code.file.path"]


# --- what is on disk --------------------------------------------------------------------------------------------------


def test_statistics_on_disk_agree_with_each_other_and_with_the_program(record: Any) -> None:
    found = record("""
        took = []
        @perf.profile
        def child(): time.sleep(.002)
        @perf.profile
        def parent():
            begun = now()
            time.sleep(.004)
            for _ in range(3): child()
            took.append(now() - begun)
        for _ in range(5): parent()
        say(took=took)
    """)
    took = found.said["took"]
    histogram = found.point("function.duration", "__main__.parent")
    child = found.point("function.duration", "__main__.child")
    metric = found.points["function.duration", "__main__.parent"]

    assert ("exponentialHistogram", "s", 2) == (metric["type"], metric["unit"], metric["temporality"])
    assert (5, 15) == (histogram["count"], child["count"])
    for key, true in (("sum", sum(took)), ("min", min(took)), ("max", max(took))):
        assert true <= histogram[key] <= true + 0.01, key
    for point in (histogram, child):
        assert point["count"] == sum(point["positive"]["bucketCounts"]) + point["zeroCount"]
        offset, counts = point["positive"]["offset"], point["positive"]["bucketCounts"]
        assert 2.0**offset < point["min"] <= 2.0 ** (offset + 1), "the first bucket holds the fastest call"
        assert 2.0 ** (offset + len(counts) - 1) < point["max"] <= 2.0 ** (offset + len(counts))
    assert {"parent": 5, "parent;child": 15} == found.paths("profile.calls")
    total, own = found.paths("profile.time"), found.paths("profile.self_time")
    assert pytest.approx(histogram["sum"]) == total["parent"]
    assert pytest.approx(child["sum"]) == total["parent;child"] == own["parent;child"]
    assert pytest.approx(total["parent"] - total["parent;child"]) == own["parent"]
    assert own["parent"] >= 0.02
    assert {"path": "parent;child", "function": "__main__.child", "depth": 1} == found.points[
        "profile.time", "parent;child"
    ]["attributes"]
    for name, unit in (("profile.time", "s"), ("profile.self_time", "s"), ("profile.calls", "{call}")):
        metric = found.points[name, "parent"]
        assert ("sum", unit, 2, True) == (metric["type"], metric["unit"], metric["temporality"], metric["monotonic"])


def test_ready_inside_a_profiled_call_ends_the_start_and_not_the_call(run_python, spans_of, metrics_of, tmp_path):
    program = """
    import time
    import otel_perf as perf
    perf.init()

    @perf.profile
    def main():
        time.sleep(0.03)
        perf.ready()
        time.sleep(0.03)

    main()
    """

    result = run_python(program)

    assert 0 == result.returncode, result.stderr
    parts = {span["parent_id"] is None: span for span in spans_of(tmp_path) if span["name"] == "main"}
    counts = [one["point"]["count"] for one in metrics_of(tmp_path) if one["metric"] == "otel_perf.function.duration"]
    assert parts[False]["attributes"]["otel_perf.open"]  # its part in the start, and the rest, which links to that
    assert [parts[False]["span_id"]] == [link["span_id"] for link in parts[True]["links"]]
    assert [1] == counts
