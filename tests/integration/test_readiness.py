"""When a program that does not say so is ready: C6, and each rule on a real program under `otel-perf run`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from otel_perf.analysis.gate import judge_budgets
from otel_perf.analysis.listing import list_text
from otel_perf.analysis.loading import load_process
from otel_perf.analysis.report import report_text
from otel_perf.analysis.text import Style
from otel_perf.budgets import read
from otel_perf.export.runs import find_run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what other systems show of a process is less")


@pytest.fixture
def ready(run_python, spans_of, tmp_path) -> Callable[..., tuple[str, float]]:
    """Return a function that runs a program under `otel-perf run`: which rule ended its start, after how many seconds."""

    def run(program: str, **env: str) -> tuple[str, float]:
        script = tmp_path / "program.py"
        script.write_text(textwrap.dedent(program))
        result = run_python(["-m", "otel_perf", "run", "--", sys.executable, script], env=env)
        assert 0 == result.returncode, result.stderr
        assert "" == result.stderr
        root = root_of(spans_of, tmp_path)
        return root["attributes"]["otel_perf.ready"], (root["end"] - root["start"]) / 1e9

    return run


def root_of(spans_of: Any, folder: Path) -> dict[str, Any]:
    (root,) = [span for span in spans_of(folder) if span["name"] == "startup"]
    return root


@pytest.fixture
def server(tmp_path) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Return a function that runs a program under `otel-perf run`; what still runs at the end is killed."""
    begun = []

    def run(program: str) -> subprocess.Popen[bytes]:
        script = tmp_path / "server.py"
        script.write_text(textwrap.dedent(program))
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2] / "src")}
        command = [sys.executable, "-m", "otel_perf", "run", "--", sys.executable, str(script)]
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
        begun.append(process)
        return process

    yield run
    for process in begun:
        process.kill()
        process.wait()


def until(seen: Callable[[], Any], seconds: float = 10.0) -> Any:
    """Return what *seen* gives once that is something."""
    end = time.monotonic() + seconds
    while not (found := seen()):
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)
    return found


SERVER = """
    {first}
    import http.server
    http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler).serve_forever()
"""
FIRST = ["", "import otel_perf; otel_perf.init(service='s')"]


@pytest.mark.parametrize("first", FIRST, ids=["unchanged", "with init()"])
@pytest.mark.timed
def test_server_that_never_says_so_is_ready_when_it_listens_and_its_root_is_on_disk(
    first, server, spans_of, logs_of, tmp_path
):
    """C6: looked at after a few seconds, then killed; no alert was raised of a start that had ended in time."""
    (tmp_path / "otel-perf.toml").write_text("[budgets.startup]\nmax = '1.5s'\n")
    process = server(SERVER.format(first=first))
    until(lambda: any(span["name"] == "startup" for span in spans_of(tmp_path)))
    process.send_signal(signal.SIGKILL)

    root = root_of(spans_of, tmp_path)
    assert "listen" == root["attributes"]["otel_perf.ready"]
    assert (root["end"] - root["start"]) / 1e9 < 1.5
    assert [] == [record["name"] for record in logs_of(tmp_path) if record["name"].startswith("otel_perf.budget.")]


@pytest.mark.parametrize("first", FIRST, ids=["unchanged", "with init()"])
def test_readiness_is_known_long_before_its_root_is_written(first, server, logs_of, tmp_path):
    """The root waits for ready(): a report of that time, and of what was killed in it, knows since when it listens."""
    process = server(SERVER.format(first=first))
    until(lambda: any(record["name"] == "otel_perf.startup.inferred" for record in logs_of(tmp_path)), 2.5)
    (folder,) = (tmp_path / ".otel-perf").glob("*/*")
    running = report_text(str(folder), width=200).splitlines()[0]
    process.send_signal(signal.SIGKILL)
    process.wait()
    killed = report_text(str(folder), width=200).splitlines()[0]

    assert " (ready: inferred from the first listening socket; final in a moment, ready() may still come): " in running
    assert " (ready: inferred from the first listening socket): within the budget of 2 s" in killed
    (judged,) = [
        one for one in judge_budgets(read("", None), load_process(str(folder))) if one.budget.name == "startup"
    ]
    assert "ok" == judged.state
    assert "  within 2 s  " in list_text([find_run(None, str(tmp_path / ".otel-perf"))[0]], Style(200))


LISTEN = """
    import socket, time
    time.sleep(0.3)
    server = socket.socket({family})
    server.bind({address})
    server.listen()
    {after}
    time.sleep(0.6)
    server.close()
"""


@pytest.mark.parametrize(
    ("family", "address"),
    [("socket.AF_INET", '("127.0.0.1", 0)'), ("socket.AF_INET6", '("::1", 0)'), ("socket.AF_UNIX", '"server.sock"')],
)
@pytest.mark.timed
def test_socket_that_listens_is_ready(family, address, ready):
    rule, seconds = ready(LISTEN.format(family=family, address=address, after=""))

    assert "listen" == rule
    assert 0.2 < seconds < 0.9, "between the look at which it did not listen and the one at which it did"


@pytest.mark.timed
def test_loop_that_never_listens_is_ready_when_it_first_idles(ready):
    rule, seconds = ready(
        """
        import time
        end = time.perf_counter() + 0.4
        while time.perf_counter() < end:
            pass
        for _ in range(12):
            time.sleep(0.1)
        """
    )

    assert "idle" == rule
    assert 0.4 < seconds < 0.8, "ready when it fell idle, not when that was found out"


def test_asyncio_loop_without_a_server_is_ready_when_it_first_idles(ready):
    rule, _ = ready("import asyncio\nasyncio.run(asyncio.sleep(1.5))\n")

    assert "idle" == rule


@pytest.mark.timed
def test_main_module_that_ends_while_threads_go_on_is_ready_then(ready):
    rule, seconds = ready(
        """
        import threading, time
        threading.Thread(target=time.sleep, args=(1.2,)).start()
        time.sleep(0.3)
        """
    )

    assert "main" == rule
    assert 0.3 < seconds < 0.9


def test_script_that_works_and_ends_is_ready_by_its_exit_alone(ready):
    rule, _ = ready("for i in range(3_000_000): pass\n")

    assert "exit" == rule


def test_waiting_for_a_child_process_is_no_idling(ready):
    rule, seconds = ready("import subprocess\nsubprocess.run(['sleep', '1.2'])\n")

    assert "exit" == rule
    assert seconds > 1.2


@pytest.mark.timed
def test_ready_said_after_a_rule_has_fired_wins(ready):
    """The program has no init(): nobody knows that it will call ready()."""
    rule, seconds = ready(
        LISTEN.format(
            family="socket.AF_INET",
            address='("127.0.0.1", 0)',
            after="time.sleep(0.5); import otel_perf; otel_perf.ready()",
        )
    )

    assert "ready()" == rule
    assert 0.8 < seconds < 1.3


@pytest.mark.timed
def test_program_with_its_own_init_that_never_says_so_is_ready_when_it_listens(ready):
    rule, seconds = ready(
        "import otel_perf\notel_perf.init()\n"
        + textwrap.dedent(LISTEN.format(family="socket.AF_INET", address='("127.0.0.1", 0)', after="time.sleep(0.2)"))
    )

    assert "listen" == rule
    assert 0.2 < seconds < 0.9


@pytest.mark.parametrize(
    "inside",
    ["time.sleep(1.2)", "server = socket.create_server(('127.0.0.1', 0)); time.sleep(0.8)"],
    ids=["that sleeps", "that listens before"],
)
def test_program_with_its_own_init_and_ready_keeps_its_start_whole(inside, ready, spans_of, tmp_path):
    rule, _ = ready(
        f"""
        import otel_perf as perf
        perf.init(phases=["PreInit", "Serve", "Rest"])
        import socket, time
        with perf.phase("Serve"):
            {inside}
        with perf.phase("Rest"):
            time.sleep(0.1)
        perf.ready()
        """
    )

    assert "ready()" == rule
    root = root_of(spans_of, tmp_path)
    phases = [span for span in spans_of(tmp_path) if span["attributes"].get("otel_perf.kind") == "phase"]
    assert ["PreInit", "Serve", "Rest"] == [span["name"] for span in phases if span["trace_id"] == root["trace_id"]]
    assert not any("otel_perf.open" in span["attributes"] for span in phases)


def test_phase_that_sleeps_is_no_idling_of_a_program_with_its_own_init(ready):
    rule, _ = ready(
        """
        import otel_perf as perf, time
        perf.init(phases=["Wait"])
        with perf.phase("Wait"):
            time.sleep(1.2)
        """
    )

    assert "exit" == rule


@pytest.mark.timed
def test_loop_of_a_program_with_its_own_init_is_ready_when_it_first_idles(ready):
    rule, seconds = ready("import otel_perf, time\notel_perf.init()\ntime.sleep(1.5)\n")

    assert "idle" == rule
    assert seconds < 0.8


@pytest.mark.parametrize(
    ("when", "rule", "least", "most"),
    [
        ("0.25s", "delay", 0.249, 0.6),
        ("exit", "exit", 0.9, 5),
        ("port:{port}", "port", 0.2, 0.9),
        ("listen", "listen", 0.2, 0.9),
    ],
)
@pytest.mark.timed
def test_rule_that_is_named_is_the_only_one(when, rule, least, most, ready, unused_port):
    program = LISTEN.format(family="socket.AF_INET", address=f'("127.0.0.1", {unused_port})', after="")

    found, seconds = ready(program, OTEL_PERF_READY_WHEN=when.format(port=unused_port))

    assert rule == found
    assert least <= seconds < most


def test_another_port_is_not_the_one_that_was_named(ready):
    found, _ = ready(
        LISTEN.format(family="socket.AF_INET", address='("127.0.0.1", 0)', after=""), OTEL_PERF_READY_WHEN="port:1"
    )

    assert "exit" == found


def test_rule_that_is_none_is_named_once_with_what_is_taken_instead(run_python, spans_of, tmp_path):
    result = run_python("import otel_perf\notel_perf.init()\n", env={"OTEL_PERF_READY_WHEN": "port:x"})

    assert 0 == result.returncode
    assert (
        "otel-perf: OTEL_PERF_READY_WHEN: ready_when: write port:N, listen, exit, auto or a duration such as 5s, "
        "got 'port:x'; taking the default\n"
    ) == result.stderr
    assert "exit" == root_of(spans_of, tmp_path)["attributes"]["otel_perf.ready"]


@pytest.mark.timed
def test_named_rule_ends_the_start_of_a_program_with_init_too(run_python, spans_of, tmp_path):
    result = run_python(
        "import otel_perf, time\notel_perf.init()\ntime.sleep(1)\n", env={"OTEL_PERF_READY_WHEN": "200ms"}
    )

    assert 0 == result.returncode, result.stderr
    root = root_of(spans_of, tmp_path)
    assert "delay" == root["attributes"]["otel_perf.ready"]
    assert 0.19 < (root["end"] - root["start"]) / 1e9 < 0.5


def test_usable_before_ready_is_an_attribute_of_the_root(run_python, spans_of, tmp_path):
    run_python("import otel_perf as perf\nperf.init()\nperf.usable()\nperf.ready()\n")

    assert 0 < root_of(spans_of, tmp_path)["attributes"]["otel_perf.startup.usable"] < 5


def test_usable_after_ready_is_an_event_with_the_ids_of_the_root(run_python, spans_of, tmp_path, logs_of):
    run_python(
        """
        import time
        import otel_perf as perf
        perf.init()
        perf.ready()
        time.sleep(0.5)
        perf.usable()
        perf.usable()
        """
    )

    root = root_of(spans_of, tmp_path)
    (event,) = [record for record in logs_of(tmp_path) if record["name"] == "otel_perf.startup.usable"]
    assert event["name"] == event["attributes"]["event.name"]
    assert 0.5 < event["attributes"]["otel_perf.startup.usable"] < 5
    assert (root["trace_id"], root["span_id"]) == (event["trace_id"], event["span_id"])


@pytest.mark.parametrize(("when", "rule", "least", "most"), [("200ms", "delay", 0.199, 0.3), ("", "exit", 1.5, 5)])
@pytest.mark.timed
def test_without_looking_at_the_process_a_named_rule_holds_and_none_is_inferred(when, rule, least, most, ready):
    found, seconds = ready("import time\ntime.sleep(1.5)\n", OTEL_PERF_READY_WHEN=when, OTEL_PERF_WATCH="0")

    assert rule == found
    assert least <= seconds < most
