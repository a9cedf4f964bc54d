"""The thread that sends, in real programs: ready or not, short or long, with a receiver that is dead or silent."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

SRC = str(Path(__file__).resolve().parents[2] / "src")

# The thread's close() is timed; everything else is what init() does.
BEGIN = """
    import atexit, os, sys, time
    import otel_perf as perf
    from otel_perf.export.follow.sender import Sender

    def close(sender, limit, close=Sender.close):
        begun = time.perf_counter()
        whole = close(sender, limit)
        sys.stderr.write(f"closed in {time.perf_counter() - begun:.3f} s, whole: {whole}\\n")
        return whole

    def load_exporters(sender, pace, load=Sender._load):
        loaded.append(load(sender, pace))
        return loaded[-1]

    loaded = []
    Sender.close, Sender._load = close, load_exporters
    perf.init(service="shop")

    @perf.profile(span_threshold=0)
    def load():
        pass

    with perf.phase("CoreInit"):
        load()
"""

# Goes on for a second once the exporters are loaded, which takes its time on a busy machine.
LONG = """
    perf.ready()
    rounds = 0
    while rounds < 10:
        load()
        time.sleep(0.1)
        rounds += bool(loaded)
"""

DELAYS = ("OTEL_BSP_SCHEDULE_DELAY", "OTEL_METRIC_EXPORT_INTERVAL", "OTEL_BLRP_SCHEDULE_DELAY")

protocols = pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])


@pytest.fixture
def run(run_python: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that runs BEGIN and a program after it; variables are those of OTEL_EXPORTER_OTLP_*."""

    def start(
        program: str, endpoint: str, env: dict[str, str] | None = None, before: str = "", **variables: str
    ) -> Any:
        found = {f"OTEL_EXPORTER_OTLP_{name.upper()}": value for name, value in variables.items()}
        often = dict.fromkeys(DELAYS, "200")
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, **often, **found, **(env or {})}
        result = run_python(before + textwrap.dedent(BEGIN) + textwrap.dedent(program), env=environment)
        assert 0 == result.returncode, result.stderr
        return result

    return start


def closing(result: Any) -> tuple[float, bool]:
    """Return how long the exit waited for the sender, and whether everything was sent."""
    match = re.search(r"closed in (\S+) s, whole: (\w+)", result.stderr)
    assert match is not None
    return float(match[1]), match[2] == "True"


def assert_same(spans_of: Any, tmp_path: Path, there: Any) -> None:
    written = {one["span_id"] for one in spans_of(tmp_path)}
    got = [one["span_id"] for one in there.spans()]

    assert written == set(got)
    assert len(written) == len(got)


@pytest.mark.timed
def test_short_program_is_sent_at_exit_as_json_whole_and_once(
    run, receiver, tmp_path, spans_of, metrics_of, assert_whole_tree
):
    there = receiver()

    waited, whole = closing(run("", there.http))

    assert whole
    assert waited < 1.0
    assert_same(spans_of, tmp_path, there)
    assert_whole_tree(there.spans())
    assert len(metrics_of(tmp_path)) == len([one for one in there.points() if "flags" not in one["point"]])
    assert {"http/json"} == {request["protocol"] for request in there.requests()}


def test_short_program_loads_nothing_of_opentelemetry(run, receiver):
    result = run("atexit.register(lambda: print(*sys.modules))\nlen", receiver().http)

    assert set() == {name for name in result.stdout.split() if name.partition(".")[0] in ("grpc", "requests", "google")}


@protocols
@pytest.mark.timed
def test_long_program_is_sent_by_the_official_exporters_whole_and_once(
    run, protocol, receiver, tmp_path, spans_of, assert_whole_tree
):
    there = receiver()

    waited, whole = closing(run(LONG, there.url(protocol), protocol=protocol))

    assert whole
    assert waited < 1.0
    assert_same(spans_of, tmp_path, there)
    assert_whole_tree(there.spans())
    assert {protocol} == {request["protocol"] for request in there.requests()}
    first = there.requests("traces")[0]["message"]
    names = [one.name for group in first.resource_spans for scoped in group.scope_spans for one in scoped.spans]
    assert {"startup", "CoreInit"} <= set(names)


def test_program_that_ends_while_the_exporters_are_loaded_is_sent_whole_and_once(run, receiver, tmp_path, spans_of):
    for pause in ("0", "0.05", "0.15"):
        there = receiver()
        result = run(f"perf.ready()\ntime.sleep({pause})", there.http, {"OTEL_PERF_FOLDER": f".otel-perf/{pause}"})

        assert closing(result)[1]
        got = [one["span_id"] for one in there.spans()]
        assert len(set(got)) == len(got)
        names = {one["name"] for one in there.spans()}
        assert {"startup", "CoreInit", "load"} <= names


@pytest.mark.parametrize("program", ["", LONG], ids=["short", "long"])
@pytest.mark.timed
def test_dead_receiver_is_one_line_and_an_exit_in_time_and_the_next_process_sends_what_is_left(
    program, run, receiver, tmp_path, spans_of
):
    dead = run(program, "http://localhost:9")

    waited, whole = closing(dead)
    assert not whole
    assert waited < 1.0
    lines = [line for line in dead.stderr.splitlines() if line.startswith("otel-perf: cannot send")]
    assert 1 == len(lines), dead.stderr
    assert "refused" in lines[0]
    there = receiver()
    assert closing(run(LONG, there.http))[1]
    assert_same(spans_of, tmp_path, there)
    assert 2 == sum(one["name"] == "startup" for one in there.spans())


@pytest.mark.parametrize("program", ["", LONG], ids=["short", "long"])
@pytest.mark.timed
def test_silent_receiver_keeps_the_exit_no_longer_than_its_limit(program, run, receiver, tmp_path, spans_of):
    there = receiver()
    there.behave(silent=True)

    waited, whole = closing(run(program, there.http))

    assert not whole
    assert waited < 2.0
    there.write_to(tmp_path / "again.jsonl")
    assert closing(run(LONG, there.http))[1]
    assert_same(spans_of, tmp_path, there)


def test_short_program_over_grpc_is_sent_by_the_next_process(run, receiver, tmp_path, spans_of):
    there = receiver()
    assert not closing(run("", there.grpc, protocol="grpc"))[1]
    assert [] == there.requests()

    assert closing(run(LONG, there.grpc, protocol="grpc"))[1]

    assert_same(spans_of, tmp_path, there)


@pytest.mark.parametrize("days", [0, 10])
def test_killed_process_is_sent_by_the_next_one_however_long_ago_it_began(
    days, run, receiver, tmp_path, spans_of, run_python
):
    there = receiver()
    until_written = """
        import glob
        end = time.time() + 10
        while time.time() < end and not any("CoreInit" in open(f).read() for f in glob.glob(".otel-perf/*/*/traces.*")):
            time.sleep(0.01)
        os.kill(os.getpid(), 9)
    """
    program = textwrap.dedent(BEGIN) + textwrap.dedent(until_written)
    killed = run_python(program, env={"OTEL_EXPORTER_OTLP_ENDPOINT": there.http})
    assert -9 == killed.returncode
    assert [] == there.requests()
    (folder,) = (tmp_path / ".otel-perf").glob("*/")
    os.utime(folder, (began := time.time() - days * 86400, began))  # when its process began

    assert closing(run(LONG, there.http))[1]

    assert_same(spans_of, tmp_path, there)
    assert 2 == sum(one["name"] == "CoreInit" for one in there.spans())


def test_lines_of_the_transport_never_reach_the_programs_log(run, receiver):
    """C21: a handler that counts and logs again, at DEBUG, beside a receiver that is dead, then one that lives."""
    program = """
        import logging
        seen = []
        class Handler(logging.Handler):
            def emit(self, record):
                seen.append(record.name)
                if len(seen) < 100:
                    logging.getLogger("again").error("again: %s", record.name)
        logging.getLogger().setLevel(logging.DEBUG)
        logging.getLogger().addHandler(Handler())
        perf.ready()
        end = time.time() + 1.5
        while time.time() < end:
            load()
            time.sleep(0.05)
        print(seen)
    """
    dead = "http://localhost:9"
    for endpoint, protocol in ((dead, "grpc"), (dead, "http/protobuf"), (receiver().http, "http/protobuf")):
        assert "[]\n" == run(program, endpoint, protocol=protocol).stdout


def test_log_lines_of_other_threads_through_the_same_exporters_pass(run, receiver):
    program = """
        import logging
        seen = []
        class Handler(logging.Handler):
            def emit(self, record):
                seen.append(record.name)
        logging.getLogger().addHandler(Handler())
        perf.ready()
        time.sleep(1.5)
        logging.getLogger("opentelemetry.exporter.otlp.proto.http.trace_exporter").error("mine")
        print(seen)
    """

    assert "['opentelemetry.exporter.otlp.proto.http.trace_exporter']\n" == run(program, receiver().http).stdout


@pytest.mark.parametrize("context", ["1", "0"])
def test_our_requests_are_invisible_to_instrumentations_and_to_ourselves(context, run, receiver, tmp_path, spans_of):
    """An instrumentation of requests that asks, as the official ones do, whether it should be silent."""
    program = """
        from opentelemetry.instrumentation.utils import is_http_instrumentation_enabled
        from opentelemetry import trace
        import requests.adapters
        send = requests.adapters.HTTPAdapter.send
        asked = []
        def instrumented(self, *words, **more):
            asked.append(is_http_instrumentation_enabled())
            if not asked[-1]:
                return send(self, *words, **more)
            with trace.get_tracer("requests").start_as_current_span("POST"):
                return send(self, *words, **more)
        requests.adapters.HTTPAdapter.send = instrumented
        perf.ready()
        time.sleep(2)
        print(set(asked), is_http_instrumentation_enabled())
    """

    result = run(program, receiver().http, {"OTEL_PERF_CONTEXT": context})

    assert "{False} True\n" == result.stdout
    names = {one["name"] for one in spans_of(tmp_path)}
    assert "POST" not in names


def test_own_sampling_of_imports_does_not_see_the_exporters(run, receiver, tmp_path, spans_of):
    run("perf.ready()\ntime.sleep(1.5)", receiver().http, {"OTEL_PERF_IMPORT_THRESHOLD": "0.0001"})

    names = {one["name"] for one in spans_of(tmp_path)}
    assert not {name for name in names if re.match(r"import (requests|urllib3|google|opentelemetry\.exporter)", name)}


def test_sender_that_is_halted_for_a_fork_goes_on_where_it_stopped(run, receiver, tmp_path, spans_of):
    there = receiver()
    program = """
        def child():
            pid = os.fork()
            if not pid:
                os._exit(0)
            os.waitpid(pid, 0)

        child()
        perf.ready()
        time.sleep(1.5)
        for _ in range(3):
            child()
            load()
    """

    result = run(program, there.http)

    assert closing(result)[1]
    assert_same(spans_of, tmp_path, there)


def test_sender_that_stops_while_a_fork_is_over_hangs_nobody_and_another_one_goes_on(run, receiver, tmp_path, spans_of):
    """A fork waits for it for a moment only: it may be about to stop when the fork is over."""
    there = receiver()
    program = """
        import threading
        from otel_perf import runtime
        from otel_perf.export.follow import sender as room

        class Turn:  # lets the other thread run where the interpreter may
            def __init__(self, lock):
                self.lock = lock

            def __enter__(self):
                self.lock.acquire()

            def __exit__(self, *error):
                self.lock.release()
                if threading.get_ident() == stopping:
                    left.set()
                    time.sleep(0.3)

        perf.ready()
        while not loaded:
            time.sleep(0.05)
        sender = runtime._runtime.sender
        left, stopping = threading.Event(), sender._thread
        sender._turn, room.HALT_LIMIT = Turn(sender._turn), 0.0
        sender.halt()
        left.wait(10)
        sender.start()
        time.sleep(0.5)
        load()
        time.sleep(1)
        print(sender._running, sender._thread != stopping)
    """

    result = run(program, there.http)

    assert "True True\n" == result.stdout
    assert closing(result)[1]
    assert_same(spans_of, tmp_path, there)


def test_sender_that_could_not_start_at_once_sends_each_record_once(run, receiver, tmp_path, spans_of):
    there = receiver()
    before = textwrap.dedent("""
        from otel_perf.export.follow import sender
        def fail(*_, start=sender.start):
            sender.start = start
            raise RuntimeError("can't start new thread")
        sender.start = fail
    """)
    program = """
        perf.ready()
        time.sleep(0.5)
        if not (pid := os.fork()):
            os._exit(0)
        os.waitpid(pid, 0)
    """

    result = run(textwrap.dedent(program) + textwrap.dedent(LONG), there.http, before=before)

    assert closing(result)[1]
    assert_same(spans_of, tmp_path, there)
    assert "http/protobuf" in {request["protocol"] for request in there.requests()}


def test_console_exporter_prints_also_in_a_short_program(run_python):
    program = textwrap.dedent(BEGIN)

    result = run_python(program, env={"OTEL_TRACES_EXPORTER": "console"})

    assert 0 == result.returncode, result.stderr
    assert '"name": "startup"' in result.stdout
    assert '"name": "CoreInit"' in result.stdout


def test_console_that_nobody_reads_costs_itself_and_what_went_by_otlp_went_once(receiver, tmp_path, write):
    there = receiver()
    program = textwrap.dedent(BEGIN) + textwrap.dedent(LONG)
    env = {"OTEL_TRACES_EXPORTER": "otlp,console", "OTEL_EXPORTER_OTLP_ENDPOINT": there.http, "PYTHONPATH": SRC}
    with subprocess.Popen(
        [sys.executable, str(write("unread.py", program))],
        env={**os.environ, **env}, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        process.stdout.close()
        said = process.stderr.read()

    assert 0 == process.returncode
    assert "whole: True" in said
    ids = [span["span_id"] for span in there.spans()]
    assert len(ids) == len(set(ids)) > 3


def test_console_exporter_that_cannot_be_loaded_at_the_end_any_more_is_one_line(run_python, spans_of, tmp_path):
    result = run_python(textwrap.dedent(BEGIN), env={"OTEL_LOGS_EXPORTER": "console"})

    assert (0, "") == (result.returncode, result.stdout)
    assert "internal error" not in result.stderr
    assert "ended before its console exporters were loaded" in result.stderr
    assert {"startup", "CoreInit"} <= {span["name"] for span in spans_of(tmp_path)}


def test_program_without_ready_is_followed_from_ten_seconds_after_init(receiver, run, spans_of, tmp_path):
    """The sender is told that this was 1 s, so that the test need not wait."""
    there = receiver()
    program = """
        time.sleep(3)
        print(*sorted(name for name in sys.modules if name in ("requests", "grpc")))
    """
    result = run(program, there.http, before="from otel_perf.export.follow import sender; sender.LOAD_AFTER = 1.0\n")

    assert "requests\n" == result.stdout
    assert_same(spans_of, tmp_path, there)


@pytest.mark.timed
def test_event_loop_goes_on_while_exporters_are_loaded_and_spans_are_sent(run, receiver):
    """The bound is generous, machines are noisy; what a paced thread really costs is measured by the benchmarks."""
    program = """
        import asyncio
        late = []
        async def tick():
            end = time.perf_counter() + 3
            while (now := time.perf_counter()) < end:
                await asyncio.sleep(0.001)
                late.append(time.perf_counter() - now - 0.001)
        for _ in range(5000):
            load()
        perf.ready()
        asyncio.run(tick())
        late.sort()
        print(late[int(len(late) * 0.99)])
    """

    assert float(run(program, receiver().http).stdout) < 0.05


def test_sender_needs_no_more_than_the_standard_library_to_begin():
    code = f"import sys; sys.path.insert(0, {SRC!r}); import otel_perf.export.follow; print(*sys.modules)"

    loaded = subprocess.check_output([sys.executable, "-I", "-S", "-c", code], text=True).split()

    heavy = {"opentelemetry", "requests", "grpc", "google", "threading", "logging", "socket", "ssl", "http", "typing"}
    assert set() == {name.partition(".")[0] for name in loaded} & heavy


def test_positions_are_json_that_a_person_can_read(run, receiver, tmp_path):
    run(LONG, receiver().http)

    time.sleep(0.1)
    (kept,) = (tmp_path / ".otel-perf").glob("*/*/sent.json")
    data = json.loads(kept.read_text(encoding="utf-8"))
    traces = data["files"]["traces.jsonl"]
    assert (kept.parent / "traces.jsonl").stat().st_size == traces["offset"]
    assert 0 == traces["refused"]


def test_what_sending_costs_is_in_what_we_cost(run, receiver, metrics_of, tmp_path):
    run("perf.ready()\nwhile not loaded:\n    time.sleep(0.05)\ntime.sleep(1.2)", receiver().http)

    cost = [point["point"]["value"] for point in metrics_of(tmp_path) if point["metric"] == "otel_perf.self.cpu_time"]
    assert cost[-1] > 0.1, "to load the exporters alone takes more"


def test_without_the_exporters_a_running_program_is_sent_as_json(run_python, receiver, tmp_path, spans_of):
    there = receiver()
    program = textwrap.dedent(BEGIN) + textwrap.dedent(LONG) + "os._exit(0)  # nothing is left to the exit\n"
    delays = dict.fromkeys(DELAYS, "200")

    result = run_python(program, env={"OTEL_EXPORTER_OTLP_ENDPOINT": there.http, **delays}, site=False)

    assert (0, "") == (result.returncode, result.stderr)
    assert {"http/json"} == {request["protocol"] for request in there.requests()}
    written = [one["span_id"] for one in spans_of(tmp_path)]
    got = [one["span_id"] for one in there.spans()]
    assert len(set(got)) == len(got) > 8
    assert set(got) <= set(written)
    assert {"traces", "metrics", "logs"} == {request["signal"] for request in there.requests()}


@protocols
def test_exporters_that_do_not_fit_together_are_as_none_and_the_program_is_sent_as_json(
    protocol, run_python, receiver, tmp_path
):
    """Other versions than they were made for raise whatever they like."""
    there = receiver()
    package = tmp_path / "wrong" / "google" / "protobuf"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise TypeError('Descriptors cannot be created directly.')\n")
    program = textwrap.dedent(BEGIN) + textwrap.dedent(LONG) + "os._exit(0)  # nothing is left to the exit\n"
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": there.url(protocol), "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}

    result = run_python(program, env={**env, **dict.fromkeys(DELAYS, "200")}, path=[tmp_path / "wrong"])

    assert 0 == result.returncode
    if protocol == "grpc":
        (line,) = result.stderr.splitlines()
        assert "the exporter for grpc cannot be loaded: TypeError: Descriptors cannot be created directly" in line
        assert "internal error" not in line
    else:
        assert "" == result.stderr
        assert {"http/json"} == {request["protocol"] for request in there.requests()}
        assert len(there.spans()) > 8


def test_without_the_exporter_for_grpc_records_wait_for_replay_and_one_line_says_so(
    run_python, receiver, otel_perf, tmp_path, spans_of
):
    there = receiver()
    program = textwrap.dedent(BEGIN) + textwrap.dedent(LONG)
    protocol = {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_ENDPOINT": there.grpc}

    result = run_python(program, env=protocol, site=False)

    lines = result.stderr.splitlines()
    assert 0 == result.returncode
    assert ["closed in", "otel-perf: cannot send traces and metrics and logs"] == sorted(
        line.partition(" 0.")[0].partition(": this")[0] for line in lines
    )
    assert not closing(result)[1]
    replay = [*otel_perf, "replay", "--endpoint", there.grpc, "--protocol", "grpc"]
    subprocess.run(replay, cwd=tmp_path, check=True, timeout=60, capture_output=True)
    assert_same(spans_of, tmp_path, there)


@protocols
def test_exporters_that_the_main_thread_did_not_live_to_see_are_done_without(
    protocol, run_python, receiver, tmp_path, otel_perf, spans_of
):
    """Other threads may go on for hours; but a module that has a part in the end of the interpreter comes too late."""
    there = receiver()
    program = """
        import threading, time
        import otel_perf as perf
        perf.init(service="shop")
        def serve():
            threading.main_thread().join()
            time.sleep(0.3)
            perf.ready()
            with perf.profile("serve", span_threshold=0):
                time.sleep(3)
        threading.Thread(target=serve).start()
    """
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": there.url(protocol), "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}

    result = run_python(program, env={**variables, **dict.fromkeys(DELAYS, "200")})

    assert 0 == result.returncode
    if protocol == "grpc":
        (line,) = result.stderr.splitlines()
        assert "cannot send traces and metrics and logs: the main thread ended before the exporter for grpc" in line
        replay = [*otel_perf, "replay", "--endpoint", there.grpc, "--protocol", "grpc"]
        subprocess.run(replay, cwd=tmp_path, check=True, timeout=60, capture_output=True)
    else:
        assert "" == result.stderr
    assert_same(spans_of, tmp_path, there)


@pytest.mark.skipif(sys.platform != "linux", reason="looks for its files in /proc")
@pytest.mark.timed  # a thread of ours may be in the middle of a file when all are closed, as any thread may
def test_a_program_that_closes_all_files_keeps_those_that_it_opens_afterwards(run_python, unused_port):
    """As a daemon does; the number of our lock is another file's then, plain or with no name left."""
    program = """
        import glob, os, tempfile, time
        import otel_perf as perf
        perf.init(service="shop")
        perf.ready()
        def locks():
            return [one for one in glob.glob("/proc/self/fd/*") if target(one).endswith("sent.lock")]
        def target(link):
            try:
                return os.readlink(link)
            except FileNotFoundError:  # closed meanwhile
                return ""
        until = time.monotonic() + 20
        while not locks() and time.monotonic() < until:
            time.sleep(0.05)
        last = int(os.path.basename(locks()[0]))
        os.closerange(3, last + 20)
        mine = []
        while not mine or mine[-1].fileno() <= last:
            mine.append(tempfile.TemporaryFile() if len(mine) % 2 == last % 2 else open(f"mine{len(mine)}", "wb"))
        for _ in range(15):
            with perf.profile("step", span_threshold=0):
                time.sleep(0.1)
        if not os.fork():
            os._exit(0)
        os.wait()
        for file in mine:
            file.write(b"whole")
            file.close()
        print("all written")
    """

    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{unused_port}", **dict.fromkeys(DELAYS, "200")}

    result = run_python(program, env=variables, options=["-W", "ignore"])

    assert (0, "all written\n") == (result.returncode, result.stdout), result.stderr


def test_runs_of_which_all_that_is_to_be_sent_is_sent_go_by_number(run, receiver, tmp_path):
    there = receiver()
    off = {"OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none", "OTEL_PERF_KEEP_RUNS": "1"}

    for _ in range(3):
        assert closing(run("", there.http, off))[1]

    assert 1 == len(list((tmp_path / ".otel-perf").glob("2*")))
    assert {"traces"} == {request["signal"] for request in there.requests()}
