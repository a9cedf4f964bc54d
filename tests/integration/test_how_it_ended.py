"""How a process ended, told from inside: the event otel_perf.process.ended."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from otel_perf.analysis.model import Process, is_running

SRC = str(Path(__file__).resolve().parents[2] / "src")

BEGIN = """
import os, signal, sys
import otel_perf as perf
perf.init(service="ending")
"""


@pytest.fixture
def ended(run_python, logs_of, tmp_path):
    """Return a function that runs a program and gives its exit code and the event's attributes, None without one."""

    def run(program, **options):
        result = run_python(BEGIN + program, **options)
        found = [record for record in logs_of(tmp_path) if record["name"] == "otel_perf.process.ended"]
        assert len(found) < 2
        return result.returncode, found[0] if found else None

    return run


def test_normal_end(ended):
    code, event = ended("perf.ready()")

    assert 0 == code
    assert {"event.name": "otel_perf.process.ended", "otel_perf.end": "exit"} == event["attributes"]
    assert (9, "INFO") == event["severity"]


def test_normal_end_of_a_start_that_lasts_is_told_by_its_root_alone(ended, spans_of, tmp_path):
    """Most scripts end so: no third file for one word."""
    code, event = ended("")

    assert (0, None) == (code, event)
    root = next(span for span in spans_of(tmp_path) if span["name"] == "startup")
    assert "exit" == root["attributes"]["otel_perf.end"]


def test_exit_with_a_code_is_no_error_of_ours_and_the_code_is_not_guessed(ended):
    code, event = ended("perf.ready()\nsys.exit(7)")

    assert 7 == code
    assert "exit" == event["attributes"]["otel_perf.end"]
    assert "process.exit.code" not in event["attributes"]


def test_uncaught_exception_names_type_message_and_line(ended, tmp_path):
    code, event = ended("def f():\n    raise LookupError('no such device')\nf()")

    assert 1 == code
    assert (17, "ERROR") == event["severity"]
    assert event["attributes"] == {
        "event.name": "otel_perf.process.ended",
        "otel_perf.end": "exception",
        "exception.type": "LookupError",
        "exception.message": "no such device",
        "process.exit.code": 1,
        "code.file.path": str(tmp_path / "script.py"),
        "code.line.number": 6,
    }


def test_exception_of_ours_for_a_wrong_argument_names_the_line_that_gave_it(ended, tmp_path):
    code, event = ended("perf.counter('orders').add('one')")

    assert 1 == code
    fields = event["attributes"]
    assert (str(tmp_path / "script.py"), 5) == (fields["code.file.path"], fields["code.line.number"])


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_signal_that_we_saw_names_phase_import_and_line(ended, tmp_path):
    (tmp_path / "device.py").write_text("import os, signal\n\nos.kill(os.getpid(), signal.SIGTERM)\n")

    code, event = ended("with perf.phase('UI'):\n    with perf.phase('theme'):\n        import device")

    assert -15 == code
    assert (17, "ERROR") == event["severity"]
    assert event["attributes"] == {
        "event.name": "otel_perf.process.ended",
        "otel_perf.end": "signal",
        "otel_perf.signal": "SIGTERM",
        "otel_perf.phase": "UI > theme",
        "otel_perf.import": "device",
        "code.file.path": str(tmp_path / "device.py"),
        "code.line.number": 3,
    }


def test_signal_that_interrupts_our_handling_of_another_names_no_line_of_ours(run_python):
    """The frame that a signal interrupts is taken from inside our own code, called by line 5 of the program."""
    result = run_python(
        """
        import sys
        from otel_perf import ending, recorder
        recorder.now = lambda: frames.append(sys._getframe(1)) or fields.update(ending.how("signal", 15, frames[0], None)) or 0.0
        frames, fields = [], {}; recorder.enter(recorder.site_for("work", "work", "function"))
        print(frames[0].f_globals["__name__"], fields["code.file.path"].endswith("script.py"), fields["code.line.number"])
        """
    )

    assert ("otel_perf.recorder True 5\n", "") == (result.stdout, result.stderr)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_control_c_is_a_signal(ended):
    code, event = ended("perf.ready()\nos.kill(os.getpid(), signal.SIGINT)\nfor i in range(10**8): pass")

    assert -2 == code
    assert ("signal", "SIGINT") == tuple(event["attributes"][f"otel_perf.{key}"] for key in ("end", "signal"))


def test_phase_that_exit_leaves_open_is_named(ended):
    _, event = ended("perf.enter_phase('Transport')\nsys.exit(1)")

    assert "Transport" == event["attributes"]["otel_perf.phase"]


def test_shutdown_by_the_program(ended):
    _, event = ended("perf.shutdown()")

    assert "shutdown" == event["attributes"]["otel_perf.end"]


def test_end_without_a_word_leaves_no_event(ended):
    code, event = ended("perf.ready()\nimport time; time.sleep(0.5)\nos._exit(3)")

    assert 3 == code
    assert event is None


def test_event_carries_the_ids_of_the_start(ended, spans_of, tmp_path):
    _, event = ended("perf.ready()")

    root = next(span for span in spans_of(tmp_path) if span["name"] == "startup")
    assert (root["trace_id"], root["span_id"]) == (event["trace_id"], event["span_id"])


# --- told by the parent that `run --report` keeps -------------------------------------------------------------------


@pytest.fixture
def watched(run_python, logs_of, tmp_path):
    """Return a function that runs a program under `run --report`: exit code, stderr, the parent's event."""

    def run(program, **env):
        script = tmp_path / "program.py"
        script.write_text(program)
        result = run_python(["-m", "otel_perf", "run", "--report", "--", sys.executable, script], env=env)
        events = [record for record in logs_of(tmp_path) if record["attributes"].get("otel_perf.end") == "status"]
        (event,) = events
        return result.returncode, result.stderr, event

    return run


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_parent_tells_the_signal_of_a_crash(watched):
    code, stderr, event = watched("import ctypes, time\ntime.sleep(0.5)\nctypes.string_at(0)")

    assert code in (-11, 139)
    assert "SIGSEGV" == event["attributes"]["otel_perf.signal"]
    assert isinstance(event["attributes"]["otel_perf.core"], bool)
    assert (17, "ERROR") == event["severity"]
    assert "ended by SIGSEGV" in stderr


def test_parent_tells_the_exit_code(watched):
    code, stderr, event = watched("import sys\nsys.exit(7)")

    assert 7 == code
    assert 7 == event["attributes"]["process.exit.code"]
    assert "exited with code 7" in stderr


def test_parents_event_carries_the_resource_and_the_ids_of_the_process(watched, spans_of, tmp_path):
    _, _, event = watched("pass")

    root = next(span for span in spans_of(tmp_path) if span["name"] == "startup")
    assert (root["trace_id"], root["span_id"]) == (event["trace_id"], event["span_id"])
    assert root["resource"] == event["resource"]
    assert (9, "INFO") == event["severity"]


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's counter in /proc/vmstat")
def test_killed_while_the_kernel_killed_for_want_of_memory_is_out_of_memory(tmp_path):
    status = pytest.importorskip("otel_perf.commands.status")
    counters = tmp_path / "vmstat"
    counters.write_text("nr_free_pages 12\noom_kill 3\n")
    kills = status.OomKills(str(counters))
    assert not kills.more()

    counters.write_text("nr_free_pages 12\noom_kill 4\n")

    assert kills.more()


@pytest.mark.skipif(sys.platform != "linux", reason="SIGKILL")
def test_killed_by_hand_is_not_out_of_memory(watched):
    code, _, event = watched("import os, time\ntime.sleep(0.5)\nos.kill(os.getpid(), 9)")

    assert code in (-9, 137)
    assert "SIGKILL" == event["attributes"]["otel_perf.signal"]
    assert "otel_perf.out_of_memory" not in event["attributes"]


@pytest.fixture
def small_group():
    """A memory cgroup of 60 MB, where this user may make one: version 1 or 2."""
    for folder, limit in (
        ("/sys/fs/cgroup/memory/otel-perf-test", "memory.limit_in_bytes"),
        ("/sys/fs/cgroup/otel-perf-test", "memory.max"),
    ):
        group = Path(folder)
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            if (group / limit).exists():
                (group / limit).write_text("60000000")
                yield group
                return
        except OSError:
            continue
        finally:
            with contextlib.suppress(OSError):
                group.rmdir()
    pytest.skip("only who may make cgroups can run out of memory on purpose")


@pytest.mark.skipif(sys.platform != "linux", reason="cgroups")
def test_program_that_the_kernel_kills_for_want_of_memory_is_out_of_memory(watched, small_group):
    code, stderr, event = watched(
        "import os, time\n"
        f"open({str(small_group / 'cgroup.procs')!r}, 'w').write(str(os.getpid()))\n"
        "time.sleep(0.5)\n"
        "memory = bytearray(300 * 10**6)\n"
        "for place in range(0, len(memory), 4096): memory[place] = 1\n"
    )

    assert code in (-9, 137)
    assert event["attributes"]["otel_perf.out_of_memory"] is True
    assert "ended by SIGKILL (out of memory)" in stderr


# --- what became of the start ----------------------------------------------------------------------------------------


def start_events(logs):
    return [record for record in logs if record["name"].startswith("otel_perf.startup.")]


def text_of_the_logs(folder):
    (file,) = folder.glob(".otel-perf/*/*/logs.jsonl")
    return file.read_text()


def test_start_that_is_over_is_an_event_with_the_ids_of_its_root(run_python, logs_of, spans_of, tmp_path):
    run_python("import otel_perf as perf\nperf.init()\nwith perf.phase('UI'):\n    sum(range(10**6))\nperf.ready()\n")

    (event,) = start_events(logs_of(tmp_path))
    (root,) = [span for span in spans_of(tmp_path) if span["name"] == "startup"]
    assert ("otel_perf.startup.completed", (9, "INFO")) == (event["name"], event["severity"])
    assert (root["trace_id"], root["span_id"]) == (event["trace_id"], event["span_id"])
    assert (root["end"] - root["start"]) / 1e9 == pytest.approx(
        event["attributes"]["otel_perf.startup.duration"], abs=1e-6
    )
    assert "ready()" == event["attributes"]["otel_perf.ready"]
    assert '"body":{"stringValue":"started in ' in text_of_the_logs(tmp_path)


def test_start_held_up_by_the_programs_own_code_says_so(run_python, tmp_path):
    run_python("import otel_perf as perf\nperf.init()\nsum(range(10**7))\nperf.ready()\n")

    assert "; what held it up most: own code of the program" in text_of_the_logs(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize(
    ("end", "how"),
    [
        ("os.kill(os.getpid(), signal.SIGTERM)", {"otel_perf.signal": "SIGTERM", "otel_perf.phase": "UI > theme"}),
        ("os.kill(os.getpid(), signal.SIGINT)", {"otel_perf.signal": "SIGINT"}),
        ("raise ValueError('no theme')", {"exception.type": "ValueError"}),
    ],
)
def test_process_that_dies_in_its_start_says_so_and_where(run_python, logs_of, tmp_path, end, how):
    run_python(
        f"""
        import os, signal
        import otel_perf as perf
        perf.init()
        with perf.phase("UI"), perf.phase("theme"):
            {end}
        """
    )

    (event,) = start_events(logs_of(tmp_path))
    assert ("otel_perf.startup.died", (17, "ERROR")) == (event["name"], event["severity"])
    assert how.items() <= event["attributes"].items()
    assert '"body":{"stringValue":"the process died in its start, after ' in text_of_the_logs(tmp_path)


def test_process_that_only_comes_to_its_end_says_neither(run_python, logs_of, tmp_path):
    run_python("import otel_perf as perf\nperf.init()\nwith perf.phase('UI'):\n    pass\n")

    assert [] == (start_events(logs_of(tmp_path)) if (tmp_path / ".otel-perf").exists() else [])


def test_a_process_runs_as_long_as_its_folder_is_locked_whatever_its_number_says(run_python, tmp_path, monkeypatch):
    """The system counts when a process was created from a moment that moves with the clock; a container has numbers of
    its own."""
    program = "import time\nimport otel_perf as perf\nperf.init()\nperf.ready()\ntime.sleep(60)\n"
    (tmp_path / "script.py").write_text(program)
    env = {**os.environ, "PYTHONPATH": SRC}
    process = subprocess.Popen([sys.executable, "script.py"], cwd=tmp_path, env=env)
    try:
        until = time.monotonic() + 30
        while not list(tmp_path.glob(".otel-perf/*/*/traces.jsonl")):
            assert time.monotonic() < until
            time.sleep(0.05)
        (folder,) = (str(file.parent) for file in tmp_path.glob(".otel-perf/*/*/traces.jsonl"))
        began = time.time_ns() - 10**9
        here = Process(folder, "run", "process", resource={"process.pid": process.pid})
        elsewhere = Process(folder, "run", "process", resource={"process.pid": 1, "host.name": "container"})
        assert (True, True) == (is_running(here, began), is_running(elsewhere, began))
        created = psutil.Process.create_time
        monkeypatch.setattr(psutil.Process, "create_time", lambda self: created(self) + 3600)
        assert is_running(here, began)
    finally:
        process.kill()
        process.wait()

    assert (False, False) == (is_running(here, began), is_running(elsewhere, began))
