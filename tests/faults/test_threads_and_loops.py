"""Threads, tasks, greenlets, signals and the end of recursion: counts are exact and the tree is whole."""

from __future__ import annotations

import json
import os
import textwrap

import pytest

posix = pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")


@pytest.fixture
def record(run_python, recorded):
    """Return a function that runs a program, which is silent but for one line of JSON; that, and what was recorded."""

    def run(program: str, **options):
        result = run_python("import otel_perf as perf\n" + textwrap.dedent(program), **options)
        assert (0, "") == (result.returncode, result.stderr)
        return json.loads(result.stdout or "null"), recorded()

    return run


# --- threads ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_sixty_four_threads_of_a_hundred_thousand_calls_lose_none(record):
    _, found = record(
        """
        import sys, threading
        perf.init(service="threads")
        perf.ready()
        sys.setswitchinterval(1e-4)

        @perf.profile
        def call(): pass

        def work():
            begin.wait()
            for _ in range(100_000):
                call()
            calls.add(1)

        begin, calls = threading.Barrier(64), perf.counter("calls")
        threads = [threading.Thread(target=work) for _ in range(64)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        """
    )

    assert [6_400_000] == list(found.last("otel_perf.function.duration", "__main__.call").values())
    assert [6_400_000] == list(found.last("otel_perf.profile.calls").values())
    assert [64] == list(found.last("calls").values())
    last = [m["point"] for m in found.metrics if m["metric"] == "otel_perf.function.duration"][-1]
    assert 6_400_000 == sum(last["positive"]["bucketCounts"]) + last["zeroCount"]


def test_daemon_threads_at_work_while_the_interpreter_shuts_down_say_nothing(record):
    """Calls of a thread that outlives everything: ours must not fail once the modules are taken apart."""
    for _ in range(5):
        record(
            """
            import threading
            from opentelemetry import trace
            perf.init(service="daemon")
            perf.ready()
            counter, timer, tracer = perf.counter("calls"), perf.timer("time"), trace.get_tracer("app")

            @perf.profile(span_threshold=0)
            def call(i):
                with timer, perf.operation("op"), tracer.start_as_current_span("raw"):
                    counter.add(1, {"i": i % 7})

            def work():
                i = 0
                while True:
                    call(i := i + 1)

            for _ in range(6):
                threading.Thread(target=work, daemon=True).start()
            threading.Event().wait(0.05)
            """
        )


def test_init_in_sixteen_threads_at_once_begins_once(run_python, recorded):
    result = run_python(
        """
        import threading
        import otel_perf as perf
        begin = threading.Barrier(16)

        def work(i):
            begin.wait()
            perf.init(service="shop")
            with perf.profile("work", span_threshold=0):
                pass
            perf.shutdown() if i == 99 else None

        threads = [threading.Thread(target=work, args=(i,)) for i in range(16)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        perf.ready()
        threads = [threading.Thread(target=perf.shutdown) for i in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        perf.shutdown()
        perf.shutdown()
        """
    )

    assert (0, "", "") == (result.returncode, result.stdout, result.stderr)
    found = recorded()
    assert (1, 16, 1) == (found.count("startup"), found.count("work"), len(found.instances))


# --- tasks ------------------------------------------------------------------------------------------------------------


def test_ten_thousand_tasks_are_children_of_whoever_made_them(record):
    _, found = record(
        """
        import asyncio
        from opentelemetry import trace
        perf.init(service="tasks")
        perf.ready()
        tracer = trace.get_tracer("app")

        @perf.profile(span_threshold=0)
        async def leaf(i):
            await asyncio.sleep(0)
            with tracer.start_as_current_span(f"raw {i % 10}"):
                await asyncio.sleep(0)

        @perf.profile(span_threshold=0)
        async def branch(i):
            await asyncio.gather(*[leaf(i * 100 + j) for j in range(100)])

        async def main():
            with perf.profile("trunk", span_threshold=0):
                await asyncio.gather(*[branch(i) for i in range(100)])

        asyncio.run(main())
        """
    )

    by_id = {span["span_id"]: span for span in found.spans}

    def above(span):
        return by_id[span["parent_id"]]["name"]

    assert (1, 100, 10_000) == tuple(map(found.count, ("trunk", "branch", "leaf")))
    assert 10_000 == sum(found.count(f"raw {i}") for i in range(10))
    assert {"trunk"} == {above(span) for span in found.spans if span["name"] == "branch"}
    assert {"branch"} == {above(span) for span in found.spans if span["name"] == "leaf"}
    assert {"leaf"} == {above(span) for span in found.spans if span["name"].startswith("raw")}
    leaves = [span["parent_id"] for span in found.spans if span["name"] == "leaf"]
    assert {100} == {leaves.count(parent) for parent in set(leaves)}
    assert [10_000] == list(found.last("otel_perf.function.duration", "__main__.leaf").values())
    assert 0 == sum(found.last("otel_perf.self.dropped").values())


def test_cancelled_and_failed_tasks_of_a_group_are_recorded_with_what_ended_them(record):
    said, found = record(
        """
        import asyncio, json
        perf.init(service="group")
        perf.ready()

        @perf.profile(span_threshold=0)
        async def waits(): await asyncio.sleep(60)

        @perf.profile(span_threshold=0)
        async def fails():
            await asyncio.sleep(0.01)
            raise ValueError("of the task")

        @perf.profile(span_threshold=0)
        async def ends():
            try:
                await asyncio.sleep(60)
            finally:
                with perf.profile("cleanup", span_threshold=0):
                    await asyncio.sleep(0)

        async def main():
            try:
                with perf.profile("group", span_threshold=0):
                    async with asyncio.TaskGroup() as group:
                        for function in (waits, waits, ends, fails):
                            group.create_task(function())
            except* ValueError as errors:
                said.append([str(error) for error in errors.exceptions])
            try:
                async with asyncio.timeout(0.02):
                    await waits()
            except TimeoutError:
                said.append("timeout")
            task = asyncio.create_task(waits())
            task.cancel()  # before its first step
            said.append(type((await asyncio.gather(task, return_exceptions=True))[0]).__name__)
            with perf.profile("after", span_threshold=0):
                pass

        said = []
        asyncio.run(main())
        print(json.dumps(said))
        """
    )

    assert [["of the task"], "timeout", "CancelledError"] == said
    assert (3, 1, 1) == tuple(map(found.count, ("waits", "fails", "ends")))
    group, after = found.one("group"), found.one("after")
    by_name = {name: [span for span in found.spans if span["name"] == name] for name in ("waits", "fails", "ends")}
    assert [group["span_id"]] * 2 + [None] == [span["parent_id"] for span in by_name["waits"]]
    assert {group["span_id"]} == {span["parent_id"] for span in by_name["fails"] + by_name["ends"]}
    assert found.one("cleanup")["parent_id"] == by_name["ends"][0]["span_id"]
    assert after["parent_id"] is None
    kinds = {
        name: {event["attributes"]["exception.type"] for span in spans for event in span["events"]}
        for name, spans in by_name.items()
    }
    assert {"waits": {"asyncio.exceptions.CancelledError"}, "ends": {"asyncio.exceptions.CancelledError"}} == {
        name: kinds[name] for name in ("waits", "ends")
    }
    assert {"ValueError"} == kinds["fails"]


def test_work_in_executors_is_a_child_where_the_context_was_copied(record):
    _, found = record(
        """
        import asyncio, contextvars
        from concurrent.futures import ThreadPoolExecutor
        perf.init(service="executors")
        perf.ready()

        @perf.profile(span_threshold=0)
        def work(i): return i

        async def main():
            loop = asyncio.get_running_loop()
            with ThreadPoolExecutor(8) as pool:
                with perf.profile("copied", span_threshold=0):
                    await asyncio.gather(*[asyncio.to_thread(work, i) for i in range(200)])
                    await asyncio.gather(*[
                        loop.run_in_executor(pool, contextvars.copy_context().run, work, i) for i in range(200)
                    ])
                with perf.profile("bare", span_threshold=0):
                    await asyncio.gather(*[loop.run_in_executor(pool, work, i) for i in range(100)])

        asyncio.run(main())
        """
    )

    parents = [span["parent_id"] for span in found.spans if span["name"] == "work"]
    assert (400, 100) == (parents.count(found.one("copied")["span_id"]), parents.count(None))
    assert [500] == list(found.last("otel_perf.function.duration", "__main__.work").values())


@pytest.mark.parametrize("when", ["before", "after"])
def test_greenlets_nest_as_their_contexts_do(record, needs, when):
    """A greenlet begins with an empty context, so its calls are roots, unless it is given a copy of its maker's."""
    needs("gevent")
    patch = "import gevent.monkey; gevent.monkey.patch_all()"
    first, second = (patch, "perf.init(service='green')") if when == "before" else ("perf.init(service='green')", patch)
    said, found = record(
        f"""
        {first}
        {second}
        perf.ready()
        import contextvars, gevent, json, threading, time, urllib.request
        from gevent.pywsgi import WSGIServer
        from gevent.pool import Pool
        from opentelemetry import trace
        tracer = trace.get_tracer("app")

        @perf.profile(span_threshold=0)
        def inner(i):
            time.sleep(0.001 * (i % 5))
            with tracer.start_as_current_span("raw"):
                gevent.sleep(0)

        @perf.profile(span_threshold=0)
        def outer(i):
            inner(i)
            copied, bare = gevent.Greenlet(inner, i), gevent.Greenlet(inner, i)
            copied.gr_context = contextvars.copy_context()
            for each in (copied, bare):
                each.start()
            gevent.joinall([copied, bare])

        def app(environ, start_response):
            outer(0)
            start_response("200 OK", [])
            return [b"ok"]

        for each in [gevent.spawn(outer, i) for i in range(300)]:
            each.get()
        Pool(10).map(outer, range(50))
        thread = threading.Thread(target=outer, args=(1,))
        thread.start()
        thread.join()
        server = WSGIServer(("127.0.0.1", 0), app, log=None)
        server.start()
        urls = [f"http://127.0.0.1:{{server.server_port}}/"] * 20
        print(json.dumps([answer.read().decode() for answer in Pool(5).map(urllib.request.urlopen, urls)]))
        killed = gevent.spawn(inner, 4)
        gevent.sleep(0.001)
        killed.kill()
        time.sleep(0.5)
        """
    )

    assert ["ok"] * 20 == said
    by_id = {span["span_id"]: span["name"] for span in found.spans}
    above = [(span["name"], by_id.get(span["parent_id"])) for span in found.spans]
    calls = 300 + 50 + 1 + 20
    assert calls == above.count(("outer", None))
    assert 2 * calls == above.count(("inner", "outer"))
    assert 1 + calls == above.count(("inner", None)), "and the one that was killed"
    assert 3 * calls <= above.count(("raw", "inner"))
    assert 0 == sum(found.last("otel_perf.self.dropped").values())


# --- recursion and signals --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [100, 700, 1000])
def test_the_recursion_limit_is_an_error_of_the_program_only(run_python, recorded, limit):
    result = run_python(
        f"""
        import gc, json, sys
        import otel_perf as perf
        from opentelemetry import trace
        perf.init(service="deep")
        perf.ready()
        gc.disable()  # up to 3.11 whatever the collector calls at the limit is an "Exception ignored" on stderr
        tracer, deepest = trace.get_tracer("app"), perf.counter("deepest")

        @perf.profile(span_threshold=0)
        def plain(n): return plain(n + 1)

        @perf.profile
        def block(n):
            with perf.operation("op"):
                return block(n + 1)

        @perf.profile
        def counted(n):
            deepest.add(1, {{"n": n % 3}})
            return counted(n + 1)

        @perf.profile
        def steps(n): yield from steps(n + 1)

        def raw(n):
            with tracer.start_as_current_span("raw"):
                return again(n + 1)

        def again(n): return raw(n + 1)

        functions = [plain, block, counted, lambda n: list(steps(n)), *[raw] * ({limit} < 1000)]
        sys.setrecursionlimit({limit})
        for function in functions * 3:
            try:
                function(0)
            except RecursionError:
                print("limit", end=" ")
        sys.setrecursionlimit(1000)
        with perf.profile("after", span_threshold=0):
            pass
        assert not trace.get_current_span().get_span_context().is_valid
        """
    )

    assert (0, "") == (result.returncode, result.stderr)
    assert ["limit"] * (15 if limit < 1000 else 12) == result.stdout.split()
    found = recorded()
    assert found.one("after")["parent_id"] is None
    assert 3 * limit * 0.3 < found.count("plain") < 3 * limit
    stacks = [e["attributes"].get("exception.stacktrace", "") for span in found.spans for e in span["events"]]
    assert max(stack.count("\n  File ") for stack in stacks) <= 256, (
        "each span of a deep stack has its innermost frames"
    )


@posix
@pytest.mark.parametrize("raises", [False, True])
def test_a_signal_in_the_middle_of_recording_is_handled_as_without_us(record, raises):
    """Every 1 ms a handler that is recorded itself; each third one raises. No id twice, no orphan, no call lost."""
    program = """
        import json, signal, time
        from opentelemetry import trace
        perf.init(service="signals")
        perf.ready()
        ticks, tracer = perf.counter("ticks"), trace.get_tracer("app")
        handled = raised = done = 0
        armed = busy = False

        class Out(Exception): pass

        def on_alarm(number, frame):
            global busy
            if not busy:
                busy = True
                try:
                    handler()
                finally:
                    busy = False

        @perf.profile(span_threshold=0)
        def handler():
            global handled, armed
            handled += 1
            ticks.add(1)
            with perf.profile("in the handler", span_threshold=0):
                if RAISES and armed and handled % 3 == 0:
                    armed = False
                    raise Out

        @perf.profile
        def inner(i): return i

        @perf.profile(span_threshold=0)
        def work():
            for i in range(50):
                with perf.profile("outer", span_threshold=0):
                    inner(i)
                API

        signal.signal(signal.SIGALRM, on_alarm)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        until = time.monotonic() + 1
        while time.monotonic() < until:
            try:
                armed = True
                work()
                armed = False
                done += 1
            except Out:
                raised += 1
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(json.dumps([handled, raised, done]))
    """
    api = "pass" if raises else "with tracer.start_as_current_span('raw'): pass"  # whose own detach() would be torn
    (handled, raised, done), found = record(program.replace("RAISES", str(raises)).replace("API", api))

    assert handled > 100
    assert (raised > 20) is raises
    assert [handled] == list(found.last("ticks").values())
    assert [handled] == list(found.last("otel_perf.function.duration", "__main__.handler").values())
    assert handled == found.count("handler") == found.count("in the handler")
    if raises:
        assert done <= found.count("work") <= done + raised
    else:
        assert (done, 50 * done, 50 * done) == tuple(map(found.count, ("work", "outer", "raw")))
        assert [50 * done] == list(found.last("otel_perf.function.duration", "__main__.inner").values())
    assert 0 == sum(found.last("otel_perf.self.dropped").values())


# In a program: *come* at the call or return number *at* inside recording while *work* runs; return how many there were.
AT_A_CALL = """
import os, sys

def interrupted(at, come, work):
    ours, places = os.path.dirname(perf.__file__), 0

    def look(frame, event, arg):
        nonlocal places
        if event != "c_call" and frame.f_code.co_filename.startswith(ours):
            places += 1
            if places == at:
                sys.setprofile(None)
                come()

    try:
        sys.setprofile(look)
        work()
    finally:
        sys.setprofile(None)
    return places

"""


@pytest.mark.parametrize("way", ["returns", "raises", "begun in the start", "begun in the start, raises"])
def test_a_signal_at_each_call_inside_recording_in_turn(record, way):
    """Signals come in where the interpreter calls or returns; so does a profiler, and at each of these in turn.

    The 1 ms of the test above meet some of them by chance; here none is left out.
    """
    program = """
        import json
        from opentelemetry import trace
        perf.init(service="signals")
        tracer = trace.get_tracer("app")
        raises, armed = "raises" in WAY, False
        handled = raised = 0

        class Out(Exception): pass

        @perf.profile(span_threshold=0)
        def handler():
            global handled, armed
            handled += 1
            with perf.profile("in the handler", span_threshold=0):
                if raises and armed:
                    armed = False
                    raise Out

        @perf.profile
        def inner(): pass

        @perf.profile(span_threshold=0)
        def work():
            with perf.profile("outer", span_threshold=0):
                inner()
            if not raises:
                with tracer.start_as_current_span("raw"): pass  # whose own detach() takes what a handler raises
            with perf.profile("maybe"): inner()

        @perf.profile(span_threshold=0)
        def steps():
            yield
            work()
            yield

        begun = [steps() for _ in range(600 if "begun" in WAY else 0)]
        for one in begun: next(one)
        perf.ready()

        for at in range(1, 600):
            armed = True
            try:
                if interrupted(at, handler, begun[at].__next__ if begun else work) < at: break
            except Out:
                raised += 1
        del begun
        print(json.dumps([at, handled, raised]))
    """
    (calls, handled, raised), found = record(AT_A_CALL + f"WAY = {way!r}\n" + textwrap.dedent(program))

    assert 150 < calls < 599
    assert handled == calls - 1 == found.count("handler") == found.count("in the handler")
    ids = {span["span_id"] for span in found.spans}
    assert not [link for span in found.spans for link in span["links"] if link["span_id"] not in ids]
    if "raises" in way:
        assert raised == handled
        assert found.count("work") >= calls - (10 if way == "raises" else calls)  # it came before the call had begun
    else:
        assert [calls] * 3 == [found.count(name) for name in ("work", "outer", "raw")]
        assert list(found.last("otel_perf.function.duration", "__main__.inner").values()) == [2 * calls]
    assert 0 == sum(found.last("otel_perf.self.dropped").values())


@posix
def test_an_event_that_is_noted_at_each_call_inside_writing_in_turn_is_written_once(record, logs_of, tmp_path):
    """As another thread's: the interpreter goes over to that where it calls or returns."""
    program = """
        import json
        from otel_perf import recorder, runtime
        perf.init(service="events")
        perf.ready()
        perf.report()

        def come(): recorder.note("test.late", 9, (0, 0), {"at": at})

        for at in range(1, 2000):
            recorder.note("test.early", 9, (0, 0), {"at": at})
            if interrupted(at, come, runtime._runtime.flush) < at: break
        print(json.dumps(at))
    """
    calls, _ = record(AT_A_CALL + textwrap.dedent(program))
    events = [
        (event["name"], event["attributes"]["at"]) for event in logs_of(tmp_path) if event["name"].startswith("test.")
    ]

    assert 30 < calls < 1999
    wanted = [("test.early", at) for at in range(1, calls + 1)] + [("test.late", at) for at in range(1, calls)]
    assert sorted(wanted) == sorted(events)


@posix
def test_a_handler_that_shuts_down_at_each_call_inside_the_first_writing_loses_nothing(run_python, spans_of, tmp_path):
    """The rooms that write are being loaded: what a handler finds of them is half of each.

    One that comes between a line's write and its end writes that line again.
    """
    program = """
        import json, traceback
        from otel_perf import runtime

        def start(*_): raise RuntimeError("can't start new thread")

        runtime.start = start  # so that this thread is the first that writes
        perf.init(service="handlers")
        perf.ready()

        @perf.profile(span_threshold=0)
        def work(): pass

        def child(at):
            work()
            places = interrupted(at, perf.shutdown, perf.report)
            os.write(write, b"." if runtime._runtime.over else b"?")
            sys.exit(int(places < at))

        read, write = os.pipe()
        children = 0
        for at in range(1, 600, 4):
            pid = os.fork()
            if not pid: child(at)
            if status := os.waitpid(pid, 0)[1]: break
            children += 1
        print(json.dumps([children, os.waitstatus_to_exitcode(status), os.read(read, 600).count(b".")]))
    """
    environment = {"OTEL_PERF_RUN": str(tmp_path / ".otel-perf" / "run")}
    (tmp_path / ".otel-perf" / "run").mkdir(parents=True)
    text = "import otel_perf as perf\n" + AT_A_CALL + textwrap.dedent(program)
    result = run_python(text, env=environment, timeout=60)

    assert (0, "") == (result.returncode, result.stderr)
    children, status, over = json.loads(result.stdout)
    assert children > 100
    assert (children, 0) == (over, status)
    written = [span for span in spans_of(tmp_path) if span["name"] == "work"]
    assert children == len({span["span_id"] for span in written})
    assert children == len({span["resource"]["service.instance.id"] for span in written})


def test_ctrl_c_inside_the_explanation_of_a_start_loses_no_record(run_python, recorded):
    result = run_python(
        """
        import otel_perf as perf
        from otel_perf import explain, runtime

        def start(*_): raise RuntimeError("can't start new thread")

        def interrupt(*_):
            explain.Explainer.explain = whole
            raise KeyboardInterrupt

        runtime.start = start  # so that this thread is the first that writes
        whole, explain.Explainer.explain = explain.Explainer.explain, interrupt
        perf.init(service="interrupted", phases=["Load"], strict=True)
        with perf.phase("Load"):
            pass
        perf.ready()
        try:
            perf.report()
        except KeyboardInterrupt:
            print("interrupted")
        """
    )

    assert (0, "interrupted\n") == (result.returncode, result.stdout), result.stderr
    assert ["Load", "startup"] == sorted(span["name"] for span in recorded().spans)
