"""What was open when a process was killed: in open.json, in the report, and in the gate's exit status."""

from __future__ import annotations

import json
import signal
import sys
import time

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="SIGKILL; /proc tells who runs")

HEAD = """
    import asyncio, os, signal, sys, threading, time
    import otel_perf as perf
    perf.init(service="dies")

    def die(after):
        threading.Timer(after, os.kill, (os.getpid(), signal.SIGKILL)).start()
"""

DYING_CHILD = (
    HEAD
    + """
    def fork():
        child = os.fork()
        if not child:
            with perf.phase("Child"):
                time.sleep(1.5)
                os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(child, 0)
"""
)


@pytest.fixture
def killed(run_python, tmp_path):
    """Return a function that runs a program until it kills itself, and gives its open.json, its report and check."""

    def run(program: str, **options):
        result = run_python(HEAD + program, **options)
        assert (-signal.SIGKILL, "") == (result.returncode, result.stderr)
        (file,) = (tmp_path / ".otel-perf").glob("*/*/open.json")
        report, check = (run_python(["-m", "otel_perf", name]) for name in ("report", "check"))
        return json.loads(file.read_text())["open"], report.stdout.replace("\n  ", " "), check

    return run


def test_call_and_phase_that_a_sigkill_interrupts_are_known_with_their_line(killed):
    entries, report, check = killed("""
    @perf.profile
    def outer():
        inner()

    @perf.profile
    def inner():
        time.sleep(30)  # line 15

    with perf.phase("CoreInit"):
        die(1.8)
        outer()
    """)

    assert [["CoreInit"], ["CoreInit", "outer"], ["CoreInit", "outer", "inner"]] == [one["path"] for one in entries]
    assert ["phase", "function", "function"] == [one["kind"] for one in entries]
    assert ("script.py", 15) == (entries[2]["file"].rpartition("/")[2], entries[2]["line"])
    assert time.time() - 60 < int(entries[2]["since"]) / 1e9 < time.time()
    assert "unfinished: CoreInit > outer > inner at script.py:15" in report
    assert 1 == check.returncode
    assert "unfinished: CoreInit > outer > inner at script.py:15" in check.stdout.replace("\n", " ").replace("  ", "")


def test_call_that_is_to_be_a_span_is_known_on_each_thread_and_in_a_task_that_waits(killed):
    entries, report, check = killed("""
    @perf.profile(span_threshold=0)
    async def fetch():
        with perf.phase("await"):
            await asyncio.sleep(30)

    @perf.profile
    def work():
        threading.Event().wait(30)

    perf.ready()
    die(2.5)
    threading.Thread(target=work, daemon=True).start()
    asyncio.run(fetch())
    """)

    assert [["fetch"], ["fetch", "await"], ["work"]] == sorted(one["path"] for one in entries)
    assert "unfinished: " in report
    assert "fetch > await" in report
    assert "work at " in report
    assert 1 == check.returncode
    assert "died in the middle of its work" in check.stdout.replace("\n", " ")


def test_import_in_which_a_process_dies_is_named(killed, tmp_path):
    (tmp_path / "hangs.py").write_text("import time\ntime.sleep(30)\n")

    entries, report, _ = killed("""
    with perf.phase("Plugins"):
        die(2)
        import hangs
    """, path=[tmp_path])  # fmt: skip

    assert ["Plugins", "import hangs"] == entries[-1]["path"]
    assert ("hangs.py", 2) == (entries[-1]["file"].rpartition("/")[2], entries[-1]["line"])
    assert "unfinished: Plugins > import hangs at hangs.py:2" in report


@pytest.mark.parametrize("end", ["pass", "sys.exit(3)", "os.kill(os.getpid(), signal.SIGTERM)"])
def test_nothing_is_unfinished_after_an_end_that_was_told(run_python, tmp_path, end):
    run_python(
        f"""{HEAD}
    with perf.phase("CoreInit"):
        time.sleep(1.3)
        {end}
    """
    )

    (file,) = (tmp_path / ".otel-perf").glob("*/*/open.json")
    assert [] == json.loads(file.read_text())["open"]
    assert "unfinished" not in run_python(["-m", "otel_perf", "report"]).stdout


def test_short_program_and_one_that_records_nothing_leave_no_such_file(run_python, tmp_path):
    run_python(HEAD + "    perf.ready()\n")
    run_python(HEAD + "    perf.ready()\n    time.sleep(1.5)\n")

    assert [] == list((tmp_path / ".otel-perf").glob("*/*/open.json"))


def test_child_of_a_fork_has_its_own_and_not_its_parents(run_python, tmp_path):
    run_python(
        f"""{DYING_CHILD}
    @perf.profile(span_threshold=0)
    def parent():
        time.sleep(1)
        fork()

    perf.ready()
    parent()
    """,
        options=["-W", "ignore"],
    )

    found = [json.loads(file.read_text())["open"] for file in (tmp_path / ".otel-perf").glob("*/*/open.json")]
    paths = sorted([one["path"] for one in entries] for entries in found)
    assert [[], [["Child"]]] == paths


def test_child_of_a_fork_that_was_killed_at_work_is_an_error_and_told(run_python, tmp_path):
    """It has no start that could say so."""
    run_python(
        f"""{DYING_CHILD}
    perf.ready()
    fork()
    """,
        options=["-W", "ignore"],
    )
    (name,) = [
        file.parent.name
        for file in (tmp_path / ".otel-perf").glob("*/*/open.json")
        if json.loads(file.read_text())["open"]
    ]

    check = run_python(["-m", "otel_perf", "check", "--process", name])
    report = run_python(["-m", "otel_perf", "report", "--process", name])

    assert 1 == check.returncode
    assert "the process died in the middle of its work; unfinished: Child" in check.stdout + check.stderr
    assert "ended without a word (killed, or it crashed); unfinished: Child" in report.stdout


def test_what_could_not_be_written_is_written_at_the_next_look(run_python, tmp_path):
    run_python(
        f"""{HEAD}
    from otel_perf.export import folder
    def fail(path, name, *rest, replace=folder.replace):
        if name == "open.json":
            folder.replace = replace
            raise OSError(28, "No space left on device")
        return replace(path, name, *rest)
    folder.replace = fail
    perf.ready()
    with perf.phase("Plugins"):
        time.sleep(2.5)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    )

    (file,) = (tmp_path / ".otel-perf").glob("*/*/open.json")
    assert [["Plugins"]] == [one["path"] for one in json.loads(file.read_text())["open"]]


@pytest.mark.parametrize(
    "text", ["", "[]", '{"version": 1, "open": 7}', '{"version": 1, "open": [3, {"path": [1]}]}', "\0\0"]
)
def test_damaged_file_is_as_none(killed, run_python, tmp_path, text):
    killed('    die(1.2)\n    with perf.phase("CoreInit"):\n        time.sleep(30)\n')
    (file,) = (tmp_path / ".otel-perf").glob("*/*/open.json")
    file.write_text(text)

    report = run_python(["-m", "otel_perf", "report"])

    assert (0, "") == (report.returncode, report.stderr)
    assert "unfinished" not in report.stdout
