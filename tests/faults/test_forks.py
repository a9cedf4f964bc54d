"""Processes that fork: nothing hangs, nothing is counted twice, whatever other threads hold at that moment."""

from __future__ import annotations

import os

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="fork is POSIX")

# --- locks that another thread holds ----------------------------------------------------------------------------------

LOCKS = {
    "spans get their ids": "recorder.hold()",
    "a thread writes": "runtime._runtime.writing",
    "a thread calls init()": "runtime._starting",
    "an import goes on": "importlib._bootstrap._get_module_lock('fractions')",
    "the program logs": "logging.root.handlers[0].lock",
    "the process ends": "runtime._runtime.ended",
}


@pytest.mark.parametrize("what", LOCKS)
def test_a_child_goes_on_though_a_thread_of_its_parent_held_a_lock(run_python, recorded, what):
    result = run_python(
        f"""
        import importlib, logging, os, signal, sys, threading, time
        import otel_perf as perf
        from otel_perf import recorder, runtime
        logging.basicConfig()
        perf.init(service="locks")
        perf.ready()
        time.sleep(0.5)

        def hold():
            lock = {LOCKS[what]}
            lock.acquire()
            held.set()
            release.wait()
            try:
                lock.release()
            except RuntimeError:  # it is not to be released by hand
                pass

        held, release = threading.Event(), threading.Event()
        threading.Thread(target=hold).start()
        held.wait({0.5 if "ended" in LOCKS[what] else 30})
        pid = os.fork()
        if not pid:
            signal.alarm(10)
            perf.init(service="locks")
            with perf.operation("of the child"):
                logging.error("logged")
            from opentelemetry import trace
            with perf.phase("below"), trace.get_tracer("app").start_as_current_span("raw"):
                pass
            perf.counter("children").add(1)
            sys.exit(7)
        release.set()
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        """,
        options=["-W", "ignore"],
    )

    assert (0, "7\n", "ERROR:root:logged\n") == (result.returncode, result.stdout, result.stderr)
    found = recorded()
    assert (1, 1, 1) == tuple(map(found.count, ("of the child", "below", "raw")))
    assert [1] == list(found.last("children").values())


# --- exporters that are being loaded ----------------------------------------------------------------------------------

DEAD = "http://127.0.0.1:9"  # nobody listens there
HALF = {  # a module that is imported in the middle of another one: protocol, the inner, the outer
    "gRPC": ("grpc", "asyncio.queues", "asyncio"),
    "the SDK": ("http/protobuf", "opentelemetry.sdk.trace", "opentelemetry.sdk.trace"),
    "requests": ("http/protobuf", "urllib3.exceptions", "requests"),
    "what logs": (
        "http/protobuf",
        "concurrent.futures._base",
        "concurrent.futures",
    ),  # a fork holds the lock of logging
}


@pytest.mark.parametrize("what", HALF)
def test_a_fork_while_exporters_are_loaded_leaves_every_import_as_it_is(run_python, what):
    """No module stays half imported in the parent, none is waited for in the child, and the fork takes its moment."""
    protocol, inner, outer = HALF[what]
    result = run_python(
        f"""
        import os, signal, sys, time
        import otel_perf as perf
        perf.init(service="loads")
        perf.ready()
        until = time.monotonic() + 10
        while {inner!r} not in sys.modules and time.monotonic() < until:
            time.sleep(0)
        begun = time.monotonic()
        pid = os.fork()
        took = time.monotonic() - begun
        finders = sum("otel_perf" in type(finder).__module__ for finder in sys.meta_path)
        signal.alarm(20)
        import asyncio, decimal, logging, requests, opentelemetry.sdk.trace
        __import__({outer!r})
        logging.getLogger("app").warning("of either")
        asyncio.run(asyncio.sleep(0))
        if not pid:
            os._exit(finders)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), took < 1.5)
        """,
        env={"OTEL_EXPORTER_OTLP_ENDPOINT": DEAD, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol},
        options=["-W", "ignore"],
    )

    assert (0, "0 True\n") == (result.returncode, result.stdout), result.stderr
    assert 2 == result.stderr.count("of either")
    assert "internal error" not in result.stderr
    assert "ended before" not in result.stderr
    if what != "what logs":  # one of which asks to be called at each fork, perhaps when this one has begun
        assert "Traceback" not in result.stderr


def test_sigterm_ends_a_process_whose_fork_chose_the_run_while_a_thread_wrote_first(run_python, recorded):
    """Both wait for one import; the thread that forks is done before the other."""
    result = run_python(
        """
        import os, signal, sys, threading, time
        import otel_perf as perf
        from otel_perf import runtime

        def start(*_): raise RuntimeError("can't start new thread")

        class Slow:
            def find_spec(self, name, path=None, target=None):
                if name == "otel_perf.export.folder":
                    loading.set()
                    time.sleep(0.5)

        runtime.start = start  # so that these two threads are the first that write
        loading = threading.Event()
        sys.meta_path.insert(0, Slow())
        perf.init(service="both")
        perf.ready()
        writes = threading.Thread(target=lambda: loading.wait() and perf.report())
        writes.start()
        pid = os.fork()
        if not pid:
            os._exit(0)
        os.waitpid(pid, 0)
        writes.join()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
        """,
        options=["-W", "ignore"],
    )

    assert (-15, "", "") == (result.returncode, result.stdout, result.stderr)
    assert recorded().one("startup")


# --- many forks -------------------------------------------------------------------------------------------------------

FORKS = 200
LOAD = """
    import importlib, logging, os, random, signal, sys, threading
    import otel_perf as perf
    from opentelemetry import trace
    perf.init(service="load")
    tracer, calls, over = trace.get_tracer("app"), perf.counter("calls"), threading.Event()
    counts = []

    @perf.profile
    def fast(i): return i + 1

    def work(module):
        done = 0
        while not over.is_set():
            for i in range(200):
                fast(i)
            with perf.profile("outer", span_threshold=0), tracer.start_as_current_span("raw"):
                calls.add(1)
            sys.modules.pop(module, None)
            importlib.import_module(module)
            done += 1
            over.wait(0.001)
        counts.append(done)

    def child(i):
        signal.alarm(60)
        with perf.profile("child", span_threshold=0):
            fast(i)
        perf.counter("children").add(1)
        if i % 3 == 0:
            perf.shutdown()
            os._exit(0)
        sys.exit(0)

    threads = [threading.Thread(target=work, args=(f"module_{i}",), daemon=True) for i in range(4)]
    for thread in threads:
        thread.start()
    failed = 0
    for i in range(FORKS):
        if i == FORKS // 2:
            perf.ready()
        pid = os.fork()
        if not pid:
            child(i)
        failed += os.waitpid(pid, 0)[1] != 0
    over.set()
    for thread in threads:
        thread.join()
    print(failed, sum(counts))
"""


@pytest.mark.slow
def test_two_hundred_forks_under_load_hang_nothing_and_count_nothing_twice(run_python, recorded, tmp_path):
    for i in range(4):
        (tmp_path / f"module_{i}.py").touch()

    result = run_python(LOAD.replace("FORKS", str(FORKS)), options=["-W", "ignore"], timeout=110)

    assert (0, "") == (result.returncode, result.stderr)
    failed, rounds = map(int, result.stdout.split())
    assert 0 == failed
    found = recorded()
    (parent,) = {span["process"] for span in found.spans if span["name"] == "startup"}
    assert rounds > FORKS
    assert {parent: rounds} == found.last("calls")
    assert rounds == found.count("outer") == found.count("raw")
    assert 200 * rounds == found.last("otel_perf.function.duration", "__main__.fast")[parent]
    children = found.last("otel_perf.function.duration", "child")
    assert [1] * FORKS == list(children.values()) == list(found.last("children").values())
    assert parent not in children
    assert FORKS == found.count("child") == len({s["process"] for s in found.spans if s["name"] == "child"})
    assert FORKS + 1 == len(found.instances)
    assert 0 == sum(found.last("otel_perf.self.dropped").values())


def test_forks_from_several_threads_at_once_leave_a_record_each(run_python, recorded):
    result = run_python(
        """
        import os, signal, threading, time
        import otel_perf as perf
        perf.init(service="threads")
        perf.ready()

        def fork(name):
            for i in range(10):
                with perf.profile("fork", span_threshold=0):
                    pid = os.fork()
                    if not pid:
                        signal.alarm(30)
                        with perf.profile("child", span_threshold=0):
                            perf.counter("children").add(1)
                        perf.shutdown()
                        os._exit(0)
                    statuses.append(os.waitpid(pid, 0)[1])

        statuses = []
        threads = [threading.Thread(target=fork, args=(f"thread {i}",)) for i in range(4)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        print(len(statuses), sum(statuses))
        """,
        options=["-W", "ignore"],
    )

    assert (0, "40 0\n", "") == (result.returncode, result.stdout, result.stderr)
    found = recorded()
    assert (40, 40, 41) == (found.count("fork"), found.count("child"), len(found.instances))
    assert [1] * 40 == list(found.last("children").values())


# --- daemons, trees ---------------------------------------------------------------------------------------------------


def test_a_daemon_that_forks_twice_is_recorded_under_its_own_number(run_python, recorded, tmp_path, wait_for):
    """As uwsgi --daemonize and python-daemon do: both parents leave by os._exit, all files are closed."""
    result = run_python(
        """
        import os, sys, time
        import otel_perf as perf
        perf.init(service="daemon")
        with perf.phase("CoreInit"):
            pass
        perf.counter("before").add(1)
        if os.fork():
            os._exit(0)
        os.setsid()
        if os.fork():
            os._exit(0)
        os.chdir("/")
        os.umask(0)
        os.closerange(0, 256)
        for number in range(3):
            os.open(os.devnull, os.O_RDWR)
        with perf.profile("serve", span_threshold=0):
            time.sleep(0.3)
        perf.counter("served").add(1)
        time.sleep(1.2)
        open(os.path.join(sys.argv[1], "pid"), "w").write(str(os.getpid()))
        os._exit(0)
        """,
        args=[tmp_path],
    )

    assert (0, "", "") == (result.returncode, result.stdout, result.stderr)
    pid = int(wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text()))
    found = recorded(whole=False)  # of a start that os._exit ended the root is not there
    core, serve = found.one("CoreInit"), found.one("serve")
    assert pid == serve["resource"]["process.pid"] != core["resource"]["process.pid"]
    assert core["resource"]["service.instance.id"] != serve["resource"]["service.instance.id"]
    assert {serve["process"]: 1} == found.last("served")
    assert found.last("before").keys() <= {core["process"]}
    assert 1 == len(list((tmp_path / ".otel-perf").glob("*-*")))
    assert 0o600 == next(tmp_path.glob(f".otel-perf/*/{serve['process']}/traces.jsonl")).stat().st_mode & 0o777


@pytest.mark.parametrize("children", [True, False])
def test_a_tree_of_processes_is_recorded_whole_or_at_its_root_only(
    children, write, run_program, recorded, tmp_path, processes
):
    write(
        "tree.py",
        """
        import os, subprocess, sys
        import otel_perf as perf
        level = int(sys.argv[1])
        with perf.profile(f"level {level}", span_threshold=0):
            if level < 3:
                both = [subprocess.Popen([sys.executable, "tree.py", str(level + 1)]) for _ in range(2)]
                assert [0, 0] == [one.wait() for one in both]
            pid = os.fork()
            if not pid:
                with perf.profile(f"fork of {level}", span_threshold=0):
                    pass
                sys.exit(0)
            os.waitpid(pid, 0)
        """,
    )
    import sys

    source = {"PYTHONPATH": os.path.join(os.path.dirname(__file__), "..", "..", "src")}
    result = run_program([sys.executable, "tree.py", "1"], [] if children else ["--no-children"], env=source)

    assert (0, b"", b"") == (result.returncode, result.stdout, result.stderr)
    found = recorded()
    names = {f"level {level}": 2 ** (level - 1) for level in (1, 2, 3)}
    names |= {f"fork of {level}": 2 ** (level - 1) for level in (1, 2, 3)}
    if not children:
        names = {"level 1": 1}
    assert names == {name: found.count(name) for name in names}
    assert sum(names.values()) == len(processes(tmp_path)) == len(found.instances)
    parents = {span["resource"]["process.pid"]: span["resource"]["process.parent_pid"] for span in found.spans}
    assert 1 == len([pid for pid, parent in parents.items() if parent not in parents])
    assert 1 == len(list((tmp_path / ".otel-perf").glob("*-*")))


def test_each_process_is_linked_to_the_one_that_started_it(run_python, spans_of, tmp_path):
    program = """
    import os, subprocess, sys, time
    import otel_perf as perf
    perf.init()
    with perf.profile("serve", span_threshold=0):
        with perf.profile("before", span_threshold=0):
            pass  # a span inside: whatever is around it is known to become one
        pid = os.fork()
        if not pid:
            for name in ("first", "second"):
                with perf.profile(name, span_threshold=0):
                    pass
            time.sleep(1)  # os._exit() writes nothing more
            os._exit(0)
        os.waitpid(pid, 0)
    perf.ready()
    pid = os.fork()
    if not pid:
        with perf.profile("after", span_threshold=0):
            pass
        time.sleep(1)
        os._exit(0)
    os.waitpid(pid, 0)
    subprocess.run([sys.executable, "-c", "import otel_perf; otel_perf.init('child'); otel_perf.ready()"], check=True)
    """

    result = run_python(program)

    assert 0 == result.returncode, result.stderr
    spans = spans_of(tmp_path)
    ids = {span["name"]: (span["trace_id"], span["span_id"]) for span in spans}
    mine, of_child = (one for one in spans if one["name"] == "startup")
    if mine["resource"]["service.name"] == "child":
        mine, of_child = of_child, mine
    start = mine["trace_id"], mine["span_id"]
    links = {
        one["name"]: [(link["trace_id"], link["span_id"]) for link in one["links"]] for one in spans if one is not mine
    }
    links["startup"] = [(link["trace_id"], link["span_id"]) for link in of_child["links"]]
    assert [] == mine["links"]
    assert {"first": [ids["serve"]], "second": [], "after": [start], "startup": [start]} == {
        name: links[name] for name in ("first", "second", "after", "startup")
    }


def test_a_child_that_is_forked_at_once_is_in_its_parents_run_and_has_no_start(run_python, metrics_of, tmp_path):
    program = """
    import os, time
    import otel_perf as perf
    perf.init()
    perf.ready()
    pid = os.fork()
    with perf.profile("work", span_threshold=0):
        time.sleep(2.2)
    if pid:
        os.waitpid(pid, 0)
    """

    result = run_python(program)

    assert (0, "") == (result.returncode, result.stderr)
    processes = [path for path in (tmp_path / ".otel-perf").glob("*/*") if path.is_dir()]
    assert 2 == len(processes)
    assert 1 == len({path.parent for path in processes})
    told = {one["process"] for one in metrics_of(tmp_path) if one["metric"].startswith("otel_perf.startup.")}
    assert 1 == len(told)
