"""The start of a program: its phases, where it begins, what ends it, and that its tree is whole in every ending."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from otel_perf.config import DEFAULT_PHASES

SRC = str(Path(__file__).resolve().parents[2] / "src")
MS = 1_000_000
TICK = 11 * MS  # the kernel counts a process's creation in ticks of 10 ms
needs_posix = pytest.mark.skipif(os.name != "posix", reason="signals and fork are POSIX")
HEAD = "import otel_perf as perf\nimport os, signal, sys, threading, time\nperf.init()\n"


def named(spans: list[dict], name: str) -> dict:
    """Return the one span of that name."""
    found = [span for span in spans if span["name"] == name]
    assert 1 == len(found), f"{name}: {len(found)} of {sorted(span['name'] for span in spans)}"
    return found[0]


def tree(spans: list[dict], start: dict | None = None) -> dict:
    """Return names below *start* (the root ``startup`` by default) as nested dicts, imports and the two marks left out."""
    start = start or named(spans, "startup")
    below = sorted((span for span in spans if span["parent_id"] == start["span_id"]), key=lambda span: span["start"])
    shown = [
        span for span in below if not span["name"].startswith("import ") and span["name"] not in ("PreInit", "Ready")
    ]
    return {span["name"]: tree(spans, span) for span in shown}


@pytest.fixture
def spans_after(run_python, spans_of, tmp_path, assert_whole_tree):
    """Return a function that runs a program after ``perf.init()`` and gives its spans, their tree checked."""

    def run(text: str, code: int = 0, **more) -> list[dict]:
        result = run_python(HEAD + textwrap.dedent(text), **more)
        assert (code, "") == (result.returncode, result.stderr if code == 0 else "")
        spans = spans_of(tmp_path)
        assert_whole_tree(spans)
        return spans

    return run


# --- phases -----------------------------------------------------------------------------------------------------------

SHOW = "import otel_perf as perf\nperf.init({arguments})\nperf.ready()\n"


def phases_of(spans: list[dict]) -> tuple[list[str], bool]:
    attributes = named(spans, "startup")["attributes"]
    return attributes["otel_perf.startup.phases"], attributes["otel_perf.startup.phases.own"]


def test_the_default_phases_are_in_force_where_nobody_gives_others(spans_after):
    assert (list(DEFAULT_PHASES), False) == phases_of(spans_after("perf.ready()"))


def test_a_list_of_phases_is_taken_from_the_nearest_place(run_python, spans_of, tmp_path):
    """Argument before environment before otel-perf.toml before pyproject.toml."""
    (tmp_path / "pyproject.toml").write_text('[tool.otel-perf]\nphases = ["P1", "P2"]\n', encoding="utf-8")
    taken = []
    for step in range(4):
        if step == 1:
            (tmp_path / "otel-perf.toml").write_text('phases = ["T1", "T2"]\n', encoding="utf-8")
        env = {"OTEL_PERF_PHASES": "E1,E2"} if step >= 2 else {}
        code = SHOW.format(arguments='phases=["A1", "A2"]' if step == 3 else "")
        before = {span["trace_id"] for span in spans_of(tmp_path)}
        run_python(code, env=env)
        taken.append(phases_of([span for span in spans_of(tmp_path) if span["trace_id"] not in before]))

    assert [(["P1", "P2"], True), (["T1", "T2"], True), (["E1", "E2"], True), (["A1", "A2"], True)] == taken


def test_phases_nest_and_last_as_long_as_they_lasted(spans_after):
    before = time.time_ns()
    spans = spans_after(
        """
        with perf.phase("CoreInit"):
            time.sleep(0.02)
            with perf.phase("Config"):
                time.sleep(0.03)
            @perf.phase("Cache")
            def cache():
                time.sleep(0.01)
                return 5
            assert cache() == 5
        with perf.phase("UI"):
            time.sleep(0.01)
        perf.ready()
        """
    )
    after = time.time_ns()

    assert {"CoreInit": {"Config": {}, "Cache": {}}, "UI": {}} == tree(spans)
    root, core, config, pre = (named(spans, name) for name in ("startup", "CoreInit", "Config", "PreInit"))
    assert (
        before - TICK
        <= root["start"]
        <= core["start"]
        <= config["start"]
        <= config["end"]
        <= core["end"]
        <= root["end"]
        <= after
    )
    assert 30 * MS <= config["end"] - config["start"]
    assert 60 * MS <= core["end"] - core["start"]
    assert root["start"] == pre["start"]
    assert {"phase"} == {span["attributes"]["otel_perf.kind"] for span in (core, config, pre)}
    assert [1, 2] == [span["attributes"]["otel_perf.depth"] for span in (core, config)]
    assert 0.02 <= core["attributes"]["otel_perf.self_time"] < (core["end"] - core["start"]) / 1e9 - 0.04 + 0.001
    assert "ready()" == root["attributes"]["otel_perf.ready"]


@pytest.mark.timed
def test_phases_in_threads_and_async_code_have_the_right_parents(spans_after):
    spans = spans_after(
        """
        import asyncio
        from concurrent.futures import ThreadPoolExecutor

        def device(i):
            with perf.phase(f"device {i}"):
                time.sleep(0.02)

        async def link(i):
            with perf.phase(f"link {i}"):
                await asyncio.sleep(0.02)
                await asyncio.to_thread(device, f"of link {i}")

        async def transport():
            with perf.phase("Transport"):
                await asyncio.gather(link(1), link(2))

        with perf.phase("DeviceManager"):
            threads = [threading.Thread(target=device, args=(i,)) for i in range(2)]
            [thread.start() for thread in threads]
            [thread.join() for thread in threads]
            with ThreadPoolExecutor(1) as pool:
                pool.submit(device, "of a pool").result()
        asyncio.run(transport())
        perf.ready()
        """
    )

    expected = {
        "DeviceManager": {},
        "device 0": {},  # a bare thread starts at the root, as with OpenTelemetry itself
        "device 1": {},
        "device of a pool": {},
        "Transport": {"link 1": {"device of link 1": {}}, "link 2": {"device of link 2": {}}},
    }
    assert expected == tree(spans)
    transport = named(spans, "Transport")
    assert transport["attributes"]["otel_perf.self_time"] < 0.02  # the union of both links, not less than nothing
    assert transport["attributes"]["otel_perf.self_time"] >= 0


def test_a_phase_that_outlives_the_one_it_began_in_is_no_parent_of_what_follows(spans_after):
    """As in a GUI, where one callback begins a phase and another ends it."""
    spans = spans_after("""
        outer, inner = perf.phase("CoreInit"), perf.phase("UI")
        outer.__enter__(); inner.__enter__(); outer.__exit__(None, None, None)
        with perf.phase("in UI"):
            time.sleep(0.02)
        inner.__exit__(None, None, None)
        with perf.phase("Plugins"):
            pass
        perf.ready()
    """)

    assert {"CoreInit": {"UI": {"in UI": {}}}, "Plugins": {}} == tree(spans)
    assert "otel_perf.detached" not in named(spans, "Plugins")["attributes"]
    assert 0.02 > named(spans, "startup")["attributes"]["otel_perf.self_time"]


def test_a_phase_that_raises_carries_the_exception(spans_after):
    spans = spans_after(
        """
        try:
            with perf.phase("Transport"):
                raise ConnectionError("refused")
        except ConnectionError:
            pass
        perf.ready()
        """
    )

    phase = named(spans, "Transport")
    assert {"code": 2, "message": "ConnectionError: refused"} == phase["status"]
    assert ["ConnectionError"] == [event["attributes"]["exception.type"] for event in phase["events"]]


def test_the_same_phase_twice_is_two_spans(spans_after):
    spans = spans_after(
        """
        for _ in range(2):
            with perf.phase("Plugins"):
                pass
        perf.ready()
        """
    )

    assert 2 == len([span for span in spans if span["name"] == "Plugins"])


def test_a_wrong_name_is_refused_at_the_call_with_its_type(run_python):
    for call in ("perf.phase(7)", "perf.enter_phase(None)", "perf.phase(b'x')"):
        result = run_python(HEAD + f"try:\n    {call}\nexcept TypeError as error:\n    print(error)\n")

        assert "a name is a str, not " in result.stdout
        assert "7" not in result.stdout


def test_a_long_name_is_cut(spans_after):
    spans = spans_after("with perf.phase('x' * 5000): pass\nperf.enter_phase('y' * 5000)\nperf.ready()")

    assert {"x" * 1024, "y" * 1024} <= {span["name"] for span in spans}


# --- enter_phase ------------------------------------------------------------------------------------------------------


def test_entered_phases_follow_one_another(spans_after):
    spans = spans_after(
        """
        perf.enter_phase("CoreInit")
        time.sleep(0.02)
        perf.enter_phase("UI")
        time.sleep(0.03)
        perf.ready()
        time.sleep(0.05)
        """
    )

    assert {"CoreInit": {}, "UI": {}} == tree(spans)
    core, ui, root = (named(spans, name) for name in ("CoreInit", "UI", "startup"))
    assert core["end"] == ui["start"]
    assert abs(ui["end"] - root["end"]) < 1 * MS
    assert "otel_perf.open" not in ui["attributes"]
    assert 30 * MS <= ui["end"] - ui["start"] < 50 * MS + 30 * MS


def test_work_in_an_entered_phase_is_its_child(spans_after):
    spans = spans_after(
        """
        @perf.profile
        def load():
            time.sleep(0.005)

        perf.enter_phase("CoreInit")
        load()
        with perf.phase("Config"):
            load()
        perf.enter_phase("UI")
        load()
        perf.ready()
        load()
        """
    )

    assert {"CoreInit": {"load": {}, "Config": {"load": {}}}, "UI": {"load": {}}} == tree(spans)


def test_a_phase_entered_in_a_function_outlives_it(spans_after):
    spans = spans_after(
        """
        @perf.profile
        def work():
            time.sleep(0.005)

        @perf.profile(span_threshold=0)
        def begin_ui():
            perf.enter_phase("UI")
            work()

        begin_ui()
        work()
        perf.enter_phase("Plugins")
        work()
        perf.ready()
        """
    )

    assert {"begin_ui": {}, "UI": {"work": {}}, "Plugins": {"work": {}}} == {
        name: {key: {} for key in below} for name, below in tree(spans).items()
    }
    assert 2 == len([s for s in spans if s["name"] == "work" and s["parent_id"] == named(spans, "UI")["span_id"]])


def test_a_fast_function_leaves_the_phase_that_it_entered_in_place(spans_after):
    """A call that becomes no span takes the shortest way out; the phase must survive that too."""
    spans = spans_after(
        """
        @perf.profile(span_threshold=10)
        def enter(name):
            perf.enter_phase(name)

        @perf.profile
        def work():
            time.sleep(0.005)

        for i in range(300):
            enter("again")
        enter("last")
        work()
        perf.ready()
        """
    )

    assert [named(spans, "last")["span_id"]] == [span["parent_id"] for span in spans if span["name"] == "work"]
    assert 300 == len([span for span in spans if span["name"] == "again"])


def test_phases_entered_in_main_are_its_children(spans_after):
    spans = spans_after(
        """
        @perf.profile
        def main():
            perf.enter_phase("CoreInit")
            time.sleep(0.01)
            perf.enter_phase("UI")
            time.sleep(0.01)
            perf.ready()
            time.sleep(0.03)

        main()
        """
    )

    assert {"main": {"CoreInit": {}, "UI": {}}} == tree(spans)


def test_a_block_is_a_level_of_its_own_for_entered_phases(spans_after):
    spans = spans_after(
        """
        perf.enter_phase("outer one")
        with perf.phase("block"):
            perf.enter_phase("inner one")
            time.sleep(0.005)
            perf.enter_phase("inner two")
            time.sleep(0.005)
        time.sleep(0.01)
        perf.enter_phase("outer two")
        perf.ready()
        """
    )

    assert {"outer one": {"block": {"inner one": {}, "inner two": {}}}, "outer two": {}} == tree(spans)
    block, inner, outer = (named(spans, name) for name in ("block", "inner two", "outer one"))
    assert inner["end"] <= block["end"]
    assert block["end"] + 10 * MS <= outer["end"]
    assert "otel_perf.open" not in inner["attributes"]


def test_a_function_in_progress_when_the_phase_changes_stays_whole(spans_after):
    spans = spans_after(
        """
        @perf.profile
        def setup():
            time.sleep(0.005)
            perf.enter_phase("UI")
            time.sleep(0.005)

        perf.enter_phase("CoreInit")
        setup()
        with perf.profile("after", span_threshold=0):
            pass
        perf.ready()
        """
    )

    assert {"CoreInit": {"setup": {}}, "UI": {"after": {}}} == tree(spans)
    setup = named(spans, "setup")
    assert setup["end"] - setup["start"] >= 10 * MS


def test_a_profiled_block_ends_though_a_phase_was_entered_in_it(spans_after):
    spans = spans_after(
        """
        with perf.profile("load", span_threshold=0):
            perf.enter_phase("CoreInit")
            with perf.profile("inner", span_threshold=0):
                perf.enter_phase("UI")
            time.sleep(0.01)
        time.sleep(0.02)
        perf.ready()
        """
    )

    load, ui = named(spans, "load"), named(spans, "UI")
    assert 10 * MS <= load["end"] - load["start"] < 20 * MS + 15 * MS
    assert 30 * MS <= ui["end"] - ui["start"]
    assert "otel_perf.open" not in load["attributes"]


def test_phases_entered_from_threads_and_tasks_keep_the_tree_whole(spans_after):
    spans = spans_after(
        """
        import asyncio

        def other():
            perf.enter_phase("by a thread")
            with perf.profile("in the thread", span_threshold=0):
                pass

        async def task(name):
            perf.enter_phase(name)
            await asyncio.sleep(0.01)
            with perf.profile("in " + name, span_threshold=0):
                await asyncio.sleep(0.001)

        async def main():
            perf.enter_phase("Transport")
            background = asyncio.create_task(task("by a task"))
            await asyncio.sleep(0.005)
            with perf.profile("in main", span_threshold=0):
                pass
            await background

        perf.enter_phase("CoreInit")
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        asyncio.run(main())
        with perf.profile("last", span_threshold=0):
            pass
        perf.ready()
        with perf.profile("after", span_threshold=0):
            pass
        """
    )

    names = {"CoreInit", "by a thread", "in the thread", "Transport", "by a task", "in by a task", "in main", "last"}
    assert names <= {span["name"] for span in spans}
    root = named(spans, "startup")
    assert {root["trace_id"]} == {span["trace_id"] for span in spans if span["name"] in names}
    assert root["trace_id"] != named(spans, "after")["trace_id"]


def test_entering_a_phase_after_the_start_does_nothing(spans_after):
    assert "late" not in {span["name"] for span in spans_after("perf.ready()\nperf.enter_phase('late')")}


# --- where the start begins -------------------------------------------------------------------------------------------


def spawned(environment: dict[str, str], folder: Path, code: str) -> tuple[int, int]:
    """Run *code*, and return the wall times right before and right after its process was spawned."""
    script = folder / "script.py"
    script.write_text(code, encoding="utf-8")
    before = time.time_ns()
    process = subprocess.Popen([sys.executable, str(script)], env=environment, cwd=folder)
    after = time.time_ns()
    assert 0 == process.wait(60)
    return before, after


@pytest.mark.parametrize("late", ["", "time.sleep(0.3)", "sum(range(3_000_000))"], ids=["at once", "slept", "worked"])
def test_the_start_begins_at_the_process_s_creation(tmp_path, spans_of, late):
    """C4, with the clock that psutil believes in stepped by 500 s."""
    step = "import psutil; boot = psutil.boot_time; psutil.boot_time = lambda: boot() + 500\n"
    code = f"import time\n{step}{late}\nimport otel_perf as perf\nperf.init()\nperf.ready()\n"
    environment = {**{k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "PYTHON"))}, "PYTHONPATH": SRC}
    errors = []
    for i in range(5):
        folder = tmp_path / str(i)
        folder.mkdir()
        before, after = spawned(environment, folder, code)
        start = named(spans_of(folder), "startup")["start"]
        errors.append(start - before)
        assert before - TICK <= start <= max(before + 40 * MS, after + TICK)  # a busy machine may spawn slowly

    assert abs(statistics.median(errors)) < 8 * MS


@pytest.mark.skipif(sys.platform != "linux", reason="the clocks of /proc")
def test_how_the_creation_is_known_is_said(spans_after):
    assert "schedstat" == named(spans_after("perf.ready()"), "startup")["attributes"]["otel_perf.startup.creation"]


@pytest.mark.parametrize(
    "at",
    ["{pid}:99999999999999999999", "{pid}:soon", "{pid}:", "1:5", "junk", ":", "{pid}:-5"],
)
def test_a_noted_time_that_cannot_be_is_refused(run_python, spans_of, tmp_path, at):
    code = f"import os\nos.environ['OTEL_PERF_STARTED'] = {at!r}.format(pid=os.getpid())\n" + HEAD + "perf.ready()\n"
    before = time.time_ns()

    run_python(code)

    assert before - 40 * MS <= named(spans_of(tmp_path), "startup")["start"] <= time.time_ns()


def test_modules_that_were_there_before_init_are_counted(run_python, spans_of, tmp_path):
    for imports, name in (("", "few"), ("import json, decimal, unittest\n", "many")):
        run_python(f"{imports}import otel_perf as perf\nperf.init({name!r})\nperf.ready()\n")

    counts = {
        span["resource"]["service.name"]: span["attributes"]["otel_perf.startup.modules_before_init"]
        for span in spans_of(tmp_path)
        if span["name"] == "startup"
    }
    assert counts["few"] > 20
    assert counts["many"] > counts["few"] + 20


# --- where it ends ----------------------------------------------------------------------------------------------------


def test_the_root_is_on_disk_within_a_second_of_ready(tmp_path):
    code = HEAD + "with perf.phase('UI'): pass\nperf.ready()\nprint(time.time_ns(), flush=True)\ntime.sleep(60)\n"
    (tmp_path / "script.py").write_text(code, encoding="utf-8")
    environment = {**{k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "PYTHON"))}, "PYTHONPATH": SRC}
    process = subprocess.Popen([sys.executable, "script.py"], cwd=tmp_path, env=environment, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        ready = int(process.stdout.readline())
        found = False
        while not found and time.time_ns() < ready + 1000 * MS:
            found = any(
                '"name":"startup"' in file.read_text("utf-8") for file in tmp_path.glob(".otel-perf/*/*/traces.jsonl")
            )
            time.sleep(0.01)
    finally:
        process.kill()
        process.communicate()

    assert found


def test_without_ready_the_root_comes_at_exit(spans_after):
    spans = spans_after("with perf.phase('CoreInit'): pass\nperf.enter_phase('UI')\ntime.sleep(0.05)")

    root, ui = named(spans, "startup"), named(spans, "UI")
    assert "exit" == root["attributes"]["otel_perf.ready"]
    assert ui["attributes"]["otel_perf.open"] is True
    assert 50 * MS <= ui["end"] - ui["start"]
    assert "Ready" not in {span["name"] for span in spans}


def test_a_second_ready_does_nothing(spans_after):
    spans = spans_after("perf.ready()\ntime.sleep(0.01)\nperf.ready()\nperf.ready()")

    assert ["Ready", "startup"] == sorted(span["name"] for span in spans if span["name"] in ("Ready", "startup"))


def test_an_application_s_own_ready_phase_is_not_doubled(spans_after):
    spans = spans_after("with perf.phase('Ready'): time.sleep(0.001)\nperf.ready()")

    assert named(spans, "Ready")["end"] > named(spans, "Ready")["start"]


def test_usable_is_a_moment_of_the_start(spans_after):
    attributes = named(spans_after("time.sleep(0.02)\nperf.usable()\nperf.usable()\nperf.ready()"), "startup")[
        "attributes"
    ]

    assert 0.02 <= attributes["otel_perf.startup.usable"] < 5


def test_what_is_open_at_ready_ends_there_and_goes_on_as_a_linked_trace(spans_after):
    spans = spans_after(
        """
        @perf.profile
        def serve():
            time.sleep(0.03)

        @perf.profile
        def main():
            time.sleep(0.01)
            with perf.phase("Plugins"):
                time.sleep(0.01)
                perf.ready()
                time.sleep(0.03)
            serve()

        main()
        """
    )

    root = named(spans, "startup")
    for name in ("main", "Plugins"):
        both = sorted((span for span in spans if span["name"] == name), key=lambda span: span["start"])
        assert 2 == len(both)
        first, rest = both
        assert root["trace_id"] == first["trace_id"] != rest["trace_id"]
        assert first["attributes"]["otel_perf.open"] is True
        assert max(abs(root["end"] - first["end"]), abs(root["end"] - rest["start"])) < 1 * MS
        assert [(first["trace_id"], first["span_id"])] == [(k["trace_id"], k["span_id"]) for k in rest["links"]]
        assert "otel_perf.open" not in rest["attributes"]
    _, rest_main = sorted((span for span in spans if span["name"] == "main"), key=lambda span: span["start"])
    assert {"main": {"Plugins": {}}} == tree(spans)
    assert {"Plugins": {}, "serve": {}} == tree(spans, rest_main)
    assert 60 * MS <= rest_main["end"] - rest_main["start"]


def test_a_program_that_runs_inside_an_import_is_cut_there_too(spans_after, tmp_path):
    (tmp_path / "server.py").write_text(
        "import time\nimport otel_perf as perf\ntime.sleep(0.02)\nperf.ready()\ntime.sleep(0.03)\n", encoding="utf-8"
    )

    spans = spans_after("import server")

    first, rest = sorted((span for span in spans if span["name"] == "import server"), key=lambda span: span["start"])
    assert named(spans, "startup")["trace_id"] == first["trace_id"] != rest["trace_id"]
    assert first["attributes"]["otel_perf.open"] is True
    assert 20 * MS <= first["end"] - first["start"]
    assert 30 * MS <= rest["end"] - rest["start"]


ENDINGS = {
    "return": ("", 0),
    "sys.exit": ("sys.exit(7)", 7),
    "uncaught exception": ("raise RuntimeError('lost')", 1),
    "KeyboardInterrupt": ("raise KeyboardInterrupt", -2),
    "shutdown": ("perf.shutdown()\nperf.shutdown()", 0),
    "exit in a thread": ("t = threading.Thread(target=sys.exit)\nt.start()\nt.join()", 0),
    "SIGTERM": ("os.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(5)", -15),
    "SIGHUP": ("os.kill(os.getpid(), signal.SIGHUP)\ntime.sleep(5)", -1),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_however_it_ends_the_root_and_what_was_open_are_written(
    run_python, spans_of, tmp_path, assert_whole_tree, ending
):
    line, code = ENDINGS[ending]
    if os.name != "posix" and code < 0:
        pytest.skip("signals are POSIX")
    text = f"""
    with perf.phase("CoreInit"):
        pass
    perf.enter_phase("Transport")
    with perf.profile("connect", span_threshold=0):
        with perf.phase("Link"):
            {line.replace(chr(10), chr(10) + " " * 12)}
            pass
    """
    result = run_python(HEAD + textwrap.dedent(text))

    spans = spans_of(tmp_path)
    assert_whole_tree(spans)
    assert code == result.returncode
    root = named(spans, "startup")
    assert {"CoreInit": {}, "Transport": {"connect": {"Link": {}}}} == tree(spans)
    expected = {"shutdown": "shutdown", "SIGTERM": "signal", "SIGHUP": "signal"}.get(ending, "exit")
    assert expected == root["attributes"]["otel_perf.ready"]
    interrupted = ending in ("SIGTERM", "SIGHUP", "KeyboardInterrupt")
    assert interrupted is root["attributes"].get("otel_perf.interrupted", False)
    open_at_end = {span["name"] for span in spans if span["attributes"].get("otel_perf.open")}
    assert {"Transport"} <= open_at_end
    assert (ending in ("SIGTERM", "SIGHUP", "shutdown")) is ({"connect", "Link"} <= open_at_end)
    if ending == "uncaught exception":
        assert 2 == named(spans, "connect")["status"]["code"]
        assert "RuntimeError: lost" in result.stderr


def test_os_exit_loses_only_the_last_moment(run_python, spans_of, tmp_path):
    """What is open, the root among it, ends with the process; whatever had ended 0.2 s before is there."""
    run_python(HEAD + "with perf.phase('early'): pass\ntime.sleep(0.6)\nos._exit(3)")

    assert {"PreInit", "early"} == {span["name"] for span in spans_of(tmp_path)}


@needs_posix
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_handler_of_the_application_is_left_alone(run_python, spans_of, tmp_path, when):
    own = "signal.signal(signal.SIGTERM, lambda *a: (print('mine', flush=True), sys.exit(9)))\n"
    init = "perf.init()\n"
    both = own + init if when == "before" else init + own
    code = f"import os, signal, sys, time\nimport otel_perf as perf\n{both}os.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(5)\n"

    result = run_python(code)

    assert (9, "mine\n", "") == (result.returncode, result.stdout, result.stderr)
    assert "exit" == named(spans_of(tmp_path), "startup")["attributes"]["otel_perf.ready"]


@needs_posix
def test_an_ignored_signal_stays_ignored(run_python, spans_of, tmp_path):
    """As under nohup."""
    code = "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + HEAD
    code += "os.kill(os.getpid(), signal.SIGHUP)\nprint(int(signal.getsignal(signal.SIGHUP)))\nperf.ready()\n"

    result = run_python(code)

    assert (0, "1\n") == (result.returncode, result.stdout)
    assert "ready()" == named(spans_of(tmp_path), "startup")["attributes"]["otel_perf.ready"]


@needs_posix
def test_handlers_can_be_switched_off(run_python):
    code = HEAD + "print(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)"

    assert "True\n" == run_python(code, env={"OTEL_PERF_SIGNALS": "0"}).stdout
    assert "False\n" == run_python(code).stdout


@needs_posix
def test_init_in_another_thread_works_without_handlers(run_python, spans_of, tmp_path):
    code = """
    import threading
    import otel_perf as perf
    def begin():
        perf.init("threaded")
        with perf.phase("CoreInit"):
            pass
    thread = threading.Thread(target=begin)
    thread.start()
    thread.join()
    with perf.phase("UI"):
        pass
    perf.ready()
    """

    result = run_python(code)

    assert (0, "") == (result.returncode, result.stderr)
    assert {"CoreInit": {}, "UI": {}} == tree(spans_of(tmp_path))


@needs_posix
def test_a_forked_child_does_not_inherit_the_start(spans_after):
    """C5: one trace with the phases, each id once, a child of its own."""
    spans = spans_after(
        """
        with perf.phase("CoreInit"): pass
        with perf.phase("UI"): pass
        perf.ready()
        time.sleep(0.3)
        pid = os.fork()
        if pid == 0:
            with perf.phase("child's own"):
                time.sleep(0.2)
            time.sleep(0.4)
            os._exit(0)
        os.waitpid(pid, 0)
        """
    )

    root, own = named(spans, "startup"), named(spans, "child's own")
    assert {root["process"]} == {span["process"] for span in spans if span["name"] in ("CoreInit", "UI", "PreInit")}
    assert root["trace_id"] != own["trace_id"]
    for key in ("service.instance.id", "process.pid"):
        assert root["resource"][key] != own["resource"][key]
    assert 0.2e9 <= own["end"] - own["start"] < 1e9


@needs_posix
def test_a_fork_in_the_middle_of_a_phase_leaves_the_phase_to_the_parent(spans_after):
    spans = spans_after(
        """
        with perf.phase("CoreInit"):
            pid = os.fork()
            if pid == 0:
                with perf.profile("in the child", span_threshold=0):
                    pass
        if pid == 0:
            sys.exit(0)
        os.waitpid(pid, 0)
        perf.ready()
        """
    )

    core = named(spans, "CoreInit")
    assert named(spans, "startup")["process"] == core["process"] != named(spans, "in the child")["process"]
    assert 1 == len([span for span in spans if span["name"] == "startup"])


def test_nothing_is_recorded_before_init_or_after_shutdown(run_python, spans_of, tmp_path):
    code = """
    import otel_perf as perf
    with perf.phase("before"): pass
    perf.enter_phase("before too")
    perf.ready()
    perf.usable()
    perf.init()
    with perf.phase("during"): pass
    perf.shutdown()
    with perf.phase("after"): pass
    perf.enter_phase("after too")
    perf.ready()
    """

    result = run_python(code)

    names = {span["name"] for span in spans_of(tmp_path)}
    assert (0, "") == (result.returncode, result.stderr)
    assert {"during", "startup", "PreInit"} == names


def test_a_phase_around_init_keeps_the_tree_whole(run_python, spans_of, tmp_path, assert_whole_tree):
    code = """
    import otel_perf as perf
    with perf.phase("around"):
        perf.init()
        with perf.phase("inside"):
            pass
    perf.ready()
    """

    result = run_python(code)

    spans = spans_of(tmp_path)
    assert (0, "") == (result.returncode, result.stderr)
    assert {"inside", "startup"} <= {span["name"] for span in spans}
    assert_whole_tree(spans)
