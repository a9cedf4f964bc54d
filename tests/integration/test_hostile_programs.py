"""Programs that do unusual things behave under us as without us: signals, stacks, sockets, mocks, files, interpreters."""

from __future__ import annotations

import json
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX")
linux = pytest.mark.skipif(sys.platform != "linux", reason="what other systems show of a process is less")


@pytest.fixture
def same(run_python, tmp_path) -> Callable[..., str]:
    """Return a function that runs a program plain and under `otel-perf run`: both must be alike; its output."""

    def run(program: str, env: dict[str, str] | None = None) -> str:
        script = tmp_path / "program.py"
        script.write_text(textwrap.dedent(program))
        plain = run_python([script])
        recorded = run_python(["-m", "otel_perf", "run", "--", sys.executable, script], env=env)
        assert (plain.returncode, plain.stdout, plain.stderr) == (
            recorded.returncode,
            recorded.stdout,
            recorded.stderr,
        )
        return recorded.stdout

    return run


def root_of(spans_of: Any, folder: Any) -> dict[str, Any]:
    (root,) = [span for span in spans_of(folder) if span["name"] == "startup"]
    return root


@posix
def test_signal_that_the_program_blocks_to_wait_for_it_is_not_taken_by_our_threads(same):
    assert "10\n" == same(
        """
        import os, signal, time
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGUSR1)
        print(int(signal.sigwait({signal.SIGUSR1})))
        """
    )


@posix
def test_exception_of_a_signal_handler_is_not_lost_while_the_collector_runs(same):
    assert "kept 20\n" == same(
        """
        import gc, signal, time

        class Alarm(Exception):
            pass

        def ring(*_):
            raise Alarm

        signal.signal(signal.SIGALRM, ring)
        junk = [[i] for i in range(50_000)]
        time.sleep(0.1)
        kept = 0
        for _ in range(20):
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.003)
                while True:
                    gc.collect()
            except Alarm:
                kept += 1
        print("kept", kept)
        """
    )


def test_small_stack_of_the_programs_threads_is_not_ours(run_python, receiver, spans_of, tmp_path):
    result = run_python(
        """
        import threading, time
        threading.stack_size(32768)
        import otel_perf as perf
        perf.init(service="small")
        perf.ready()
        time.sleep(1.5)
        print(threading.stack_size())
        """,
        env={"OTEL_EXPORTER_OTLP_ENDPOINT": receiver().http},
    )

    assert (0, "32768\n", "") == (result.returncode, result.stdout, result.stderr)
    assert root_of(spans_of, tmp_path)


@linux
def test_looking_for_sockets_that_listen_changes_none(same):
    assert "b'x' None\n" == same(
        """
        import socket, threading, time
        here, there = socket.socketpair()
        socket.setdefaulttimeout(30)
        time.sleep(0.3)
        threading.Timer(0.3, there.send, [b"x"]).start()
        print(here.recv(1), here.gettimeout())
        """
    )


@linux
def test_standard_output_that_is_closed_stays_closed(same):
    assert "" == same(
        """
        import os, time
        os.close(1)
        os.close(2)
        time.sleep(0.4)
        import json
        try:
            os.write(2, b"HELLO")
        except OSError:
            os._exit(5)
        """
    )


@linux
@pytest.mark.parametrize(
    "name",
    ["os.open", "os.listdir", "os.readlink", "os.getpid", "os.close", "os.write", "os.fstat", "os.read", "os.mkdir"],
)
def test_mock_of_the_program_counts_its_own_calls_only(name, same):
    assert "[]\n" == same(
        f"""
        import time, unittest.mock
        time.sleep(0.1)
        with unittest.mock.patch({name!r}, side_effect=OSError("mocked")) as mock:
            end = time.monotonic() + 0.5
            while time.monotonic() < end:
                time.sleep(0.01)
        print(mock.mock_calls)
        """
    )


def test_threading_that_is_mocked_costs_no_word(same):
    same(
        """
        import sys, time
        from unittest.mock import MagicMock, patch
        with patch.dict(sys.modules, {"threading": MagicMock()}):
            time.sleep(0.3)
        """
    )


def test_message_of_an_error_that_the_program_handles_is_not_asked_for(same, spans_of, tmp_path):
    (tmp_path / "bad.py").write_text(
        "class Loud(Exception):\n    def __str__(self):\n        print('asked')\n        return ''\nraise Loud\n"
    )

    assert "handled\n" == same("try:\n    import bad\nexcept Exception:\n    print('handled')\n")


@posix
def test_program_in_a_subinterpreter_is_the_programs_own(same, spans_of, tmp_path):
    assert "inside\noutside\n" == same(
        """
        try:
            import _interpreters as interpreters
        except ImportError:
            import _xxsubinterpreters as interpreters
        one = interpreters.create()
        interpreters.run_string(one, "print('inside', flush=True)")
        interpreters.destroy(one)
        print("outside")
        """
    )
    assert 1 == len({span["process"] for span in spans_of(tmp_path)})


@linux
def test_line_that_does_not_fit_is_cut_off_again(run_python, tmp_path):
    result = run_python(
        """
        import resource, signal, sys, time
        sys.dont_write_bytecode = True
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        import otel_perf as perf
        perf.init(service="torn")
        perf.ready()
        time.sleep(0.5)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, resource.RLIM_INFINITY))
        for _ in range(40):
            with perf.profile("lost", span_threshold=0):
                pass
        time.sleep(0.5)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        with perf.profile("kept", span_threshold=0):
            pass
        """
    )

    assert 0 == result.returncode, result.stderr
    (file,) = tmp_path.glob(".otel-perf/*/*/traces.jsonl")
    lines = file.read_text().splitlines()
    whole = []
    for line in lines:
        try:
            whole.append(json.loads(line))
        except ValueError:
            continue
    assert len(lines) == len(whole)
    assert "kept" in lines[-1]


# --- readiness ----------------------------------------------------------------------------------------------------------


@linux
def test_socket_that_a_master_listens_on_does_not_make_its_workers_ready(same, spans_of, tmp_path):
    same(
        """
        import os, socket, subprocess, sys, time
        if len(sys.argv) == 1:
            server = socket.socket()
            server.bind(("127.0.0.1", 0))
            server.listen()
            subprocess.run([sys.executable, __file__, "worker"], pass_fds=[server.fileno()])
            os._exit(0)
        end = time.perf_counter() + 1.0
        while time.perf_counter() < end:
            pass
        """
    )

    worker = max((span for span in spans_of(tmp_path) if span["name"] == "startup"), key=lambda span: span["start"])
    assert "exit" == worker["attributes"]["otel_perf.ready"]
    assert (worker["end"] - worker["start"]) / 1e9 > 1.0


@linux
def test_one_of_many_threads_that_computes_keeps_the_program_from_being_idle(same, spans_of, tmp_path):
    same(
        """
        import threading, time
        over = threading.Event()
        threads = [threading.Thread(target=over.wait) for _ in range(60)]

        def compute():
            end = time.perf_counter() + 1.2
            while time.perf_counter() < end:
                pass
            over.set()

        threads.append(threading.Thread(target=compute))
        for thread in threads:
            thread.start()
        over.wait()
        """
    )

    root = root_of(spans_of, tmp_path)
    assert (root["end"] - root["start"]) / 1e9 > 1.1, root["attributes"]["otel_perf.ready"]


@linux
@pytest.mark.parametrize("timeout", [None, 5])
def test_waiting_for_an_answer_in_a_pool_is_no_idling(timeout, same, spans_of, tmp_path):
    same(
        f"""
        import socket, threading, time
        from concurrent.futures import ThreadPoolExecutor
        here, there = socket.socketpair()
        here.settimeout({timeout})
        threading.Timer(1.2, there.send, [b"x"]).start()
        with ThreadPoolExecutor(1) as pool:
            print(pool.submit(here.recv, 1).result())
        """
    )

    root = root_of(spans_of, tmp_path)
    assert (root["end"] - root["start"]) / 1e9 > 1.1, root["attributes"]["otel_perf.ready"]


@linux
@pytest.mark.parametrize("rule", ["listen", "auto"])
def test_socket_behind_many_open_files_is_found(rule, same, spans_of, tmp_path):
    same(
        """
        import socket, time
        files = [open("/dev/null") for _ in range(600)]
        server = socket.socket()
        server.bind(("127.0.0.1", 0))
        server.listen()
        time.sleep(0.4)
        """,
        env={"OTEL_PERF_READY_WHEN": rule},
    )

    assert "listen" == root_of(spans_of, tmp_path)["attributes"]["otel_perf.ready"]
