"""What the spans of a start say of their causes: CPU, waiting by kind, the collector, the disk, the importing line."""

from __future__ import annotations

import re
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what other systems show of a process is less")

PROGRAM = """
    import gc, socket, subprocess, sys, threading, time
    import otel_perf as perf

    perf.init(service="causes")

    def busy(seconds):
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            pass

    with perf.phase("computes"):
        busy(0.3)
    with perf.phase("sleeps"):
        time.sleep(0.3)
    with perf.phase("locks"):
        lock = threading.Lock()
        lock.acquire()
        lock.acquire(timeout=0.3)
    here, there = socket.socketpair()
    timer = threading.Timer(0.3, there.send, [b"x"])
    timer.start()  # which waits for a lock
    with perf.phase("receives"):
        here.recv(1)
    with perf.phase("waits for a child"):
        subprocess.run(["sleep", "0.3"])
    with perf.phase("collects"):
        junk = [[i] for i in range(400_000)]
        for _ in range(8):
            gc.collect()
    with perf.phase("half"):
        busy(0.15)
        time.sleep(0.15)

    def on_a_thread():
        with perf.phase("on a thread"):
            busy(0.4)

    thread = threading.Thread(target=on_a_thread)
    thread.start()
    thread.join()
    perf.ready()
"""


def causes(span):
    """Return the seconds of each cause of *span* that are there, by their names without the prefix."""
    found = {key.removeprefix("otel_perf."): value for key, value in span["attributes"].items()}
    return {key: value for key, value in found.items() if key in ("cpu_time", "gc_time") or key.startswith("wait.")}


@pytest.mark.timed
def test_each_phase_says_what_it_did(run_python, spans_of, tmp_path):
    """The tolerance is two samples of 20 ms; what a busy machine adds to a phase is in its length, too."""
    result = run_python(PROGRAM)
    assert 0 == result.returncode, result.stderr
    spans = {span["name"]: span for span in spans_of(tmp_path)}
    whole = {name: (span["end"] - span["start"]) / 1e9 for name, span in spans.items()}

    for name, cause in (
        ("sleeps", "wait.sleep"),
        ("locks", "wait.lock"),
        ("receives", "wait.socket"),
        ("waits for a child", "wait.child"),
    ):
        found = causes(spans[name])
        assert 0.15 < found[cause] <= whole[name] + 0.04, (name, found)  # a starved sample may be 0.1 s long
        assert max(found, key=found.__getitem__) == cause, (name, found)
        assert found["cpu_time"] < 0.08, (name, found)
    computes = causes(spans["computes"])
    assert 0.2 < computes["cpu_time"] + computes.get("wait.cpu", 0.0) <= whole["computes"] + 0.04, computes
    assert "wait.sleep" not in computes or computes["wait.sleep"] < 0.06
    half = causes(spans["half"])
    computed = half["cpu_time"] + half.get("wait.cpu", 0.0)
    assert 0.08 < half["wait.sleep"] < whole["half"] - 0.1, half
    assert 0.08 < computed < whole["half"] - 0.1, half
    assert half["wait.sleep"] + computed == pytest.approx(whole["half"], abs=0.06), half
    collects = spans["collects"]
    assert 0.3 * whole["collects"] < causes(collects)["gc_time"] <= whole["collects"], collects["attributes"]
    thread = spans["on a thread"]
    computed = causes(thread)["cpu_time"] + causes(thread).get("wait.cpu", 0.0)
    assert 0.1 < computed <= whole["on a thread"] + 0.04, thread["attributes"]
    assert isinstance(thread["attributes"]["thread.id"], int)
    assert all("thread.id" not in spans[name]["attributes"] for name in ("sleeps", "computes", "startup"))


@pytest.mark.timed
def test_root_names_what_holds_the_critical_path_its_share_and_why(run_python, spans_of, tmp_path):
    result = run_python(
        """
        import time
        import otel_perf as perf

        perf.init(service="bottleneck")
        with perf.phase("CoreInit"):
            pass
        with perf.phase("DeviceManager"):
            time.sleep(0.5)
        perf.ready()
        """
    )

    assert 0 == result.returncode, result.stderr
    spans = {span["name"]: span for span in spans_of(tmp_path)}
    root = spans["startup"]
    assert "DeviceManager" == root["attributes"]["otel_perf.bottleneck"]
    assert "sleep" == root["attributes"]["otel_perf.bottleneck.reason"]
    share = (spans["DeviceManager"]["end"] - spans["DeviceManager"]["start"]) / (root["end"] - root["start"])
    assert root["attributes"]["otel_perf.bottleneck.share"] == pytest.approx(share, abs=0.01)


def test_slow_import_names_the_line_that_imports(run_python, spans_of, tmp_path):
    (tmp_path / "outer.py").write_text("x = 1\n\nimport inner\n")
    (tmp_path / "inner.py").write_text("import time\ntime.sleep(0.03)\n")
    (tmp_path / "dynamic.py").write_text("import time\ntime.sleep(0.03)\n")
    program = """
        import otel_perf as perf
        perf.init(service="lines")
        import outer
        import importlib
        importlib.import_module("dynamic")
        perf.ready()
        """

    assert 0 == run_python(program).returncode

    lines = {}
    for span in spans_of(tmp_path):
        found = span["attributes"]
        if "otel_perf.module" in found:
            lines[found["otel_perf.module"]] = (found["code.file.path"], found["code.line.number"])
    script = str(tmp_path / "script.py")
    assert (script, 4) == lines["outer"]
    assert (str(tmp_path / "outer.py"), 3) == lines["inner"]
    assert (script, 6) == lines["dynamic"]


def test_start_that_compiles_its_modules_is_marked_cold_the_next_one_is_not(run_python, spans_of, tmp_path):
    (tmp_path / "big.py").write_text("\n".join(f"def f{i}(a, b=1):\n    return a + b * {i}" for i in range(3000)))
    program = "import otel_perf as perf\nperf.init()\nimport big\nperf.ready()\n"

    roots = []
    for run in ("first", "second"):
        assert 0 == run_python(program, env={"OTEL_PERF_FOLDER": run}).returncode
        roots += [span for span in spans_of(tmp_path / run) if span["name"] == "startup"]

    first, second = (root["attributes"] for root in roots)
    assert "bytecode" in first["otel_perf.startup.cold"]
    assert 1 == first["otel_perf.startup.compiled"]
    assert "bytecode" not in second.get("otel_perf.startup.cold", [])


def test_watching_can_be_switched_off(run_python, spans_of, tmp_path):
    assert 0 == run_python(PROGRAM, env={"OTEL_PERF_WATCH": "0"}).returncode

    for span in spans_of(tmp_path):
        assert not [key for key in span["attributes"] if re.match(r"otel_perf\.(cpu|gc|wait|bottleneck)", key)]


def test_program_that_closes_all_its_files_keeps_its_own(run_python, spans_of, tmp_path):
    """A daemon does: what we then have open must not be taken for ours, nor what gets its number be written to."""
    result = run_python(
        """
        import os, time
        import otel_perf as perf

        perf.init(service="daemon")
        with perf.phase("CoreInit"):
            time.sleep(0.9)  # not in the moment in which our rooms are loaded, as any other thread's could be
        os.closerange(3, 256)
        mine = [open(f"mine{i}", "wb", buffering=0) for i in range(8)]
        with perf.phase("UI"):
            time.sleep(0.5)
        perf.ready()
        time.sleep(0.5)
        for i, file in enumerate(mine):
            file.write(b"mine")
            file.close()
            assert open(f"mine{i}", "rb").read() == b"mine", i
        """
    )

    assert 0 == result.returncode, result.stderr
    assert {"CoreInit", "UI", "startup"} <= {span["name"] for span in spans_of(tmp_path)}
