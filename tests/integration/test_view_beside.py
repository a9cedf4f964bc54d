"""The page that comes with a program: ``otel-perf run --view`` and ``init(view=True)``, beside it and never in its way."""

from __future__ import annotations

import os
import re
import sys
import time

import psutil
import pytest

ADDRESS = re.compile(r"otel-perf: this run in the browser: (http://127\.0\.0\.1:\d+/\?token=[\w-]+)\n")
PROGRAM = """
import os, sys, time
import otel_perf as perf
perf.init(service="beside", view={view})
perf.ready()

@perf.profile(span_threshold=0)
def step():
    time.sleep(0.01)

until = time.monotonic() + {seconds}
while time.monotonic() < until:
    step()
{after}
"""


@pytest.fixture
def page_of(viewer_module):
    """Return a function that reads a program's stderr up to the address, and gives a Viewer of it."""

    def read(process):
        line = process.stderr.readline().decode()
        match = ADDRESS.fullmatch(line)
        assert match, line
        return viewer_module.Viewer(None, f"{match[1]}\n")

    return read


@pytest.fixture(autouse=True)
def _none_is_left(tmp_path):
    """End the servers of this test, which would stay for a minute."""
    yield
    for server in servers_of(tmp_path):
        server.kill()
        server.wait(10)


def servers_of(folder):
    """Return the servers whose runs are below *folder*."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "--beside" in words and any(word.startswith(str(folder)) for word in words):
            found.append(process)
    return found


@pytest.mark.parametrize("way", ["init", "run", "run and init"])
def test_page_shows_the_program_while_it_goes_on(tmp_path, start_program, write, page_of, way):
    program = write("program.py", PROGRAM.format(view=way != "run", seconds=8, after=""))
    options = None if way == "init" else ["--view"]

    process = start_program([sys.executable, program], options, env={"PYTHONPATH": SRC})
    viewer = page_of(process)

    listed = viewer.get("")
    (folder,) = tmp_path.glob(".otel-perf/*/")
    assert folder.name == listed["asked"]
    with viewer.events(f"/{folder.name}/first") as events:
        state, _ = events.first("state", lambda data: data["spans"] > 5)
    assert ("beside", True) == (state["report"]["service"]["name"], state["running"])
    assert 1 == len(servers_of(tmp_path))


SRC = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "src")


def files_of(folder):
    """Return the names of a run's files; the ballast for the exit goes at the exit."""
    return {path.name for path in folder.glob(".otel-perf/*/*/*")} - {"ballast"}


def test_it_is_no_child_of_the_program_and_leaves_its_folder_alone(tmp_path, start_program, write, page_of):
    after = "try:\n    print(os.waitpid(-1, os.WNOHANG))\nexcept ChildProcessError:\n    print('no children')"
    program = write("program.py", PROGRAM.format(view=True, seconds=3, after=after))

    process = start_program([sys.executable, program], None, env={"PYTHONPATH": SRC})
    viewer = page_of(process)

    (server,) = servers_of(tmp_path)
    assert process.pid not in [one.pid for one in server.parents()]
    assert not [name for name in server.environ() if name.startswith("OTEL_")]
    before = files_of(tmp_path)
    viewer.get("/newest/first/series")
    out, _ = process.communicate(timeout=20)
    assert b"no children\n" == out
    assert before <= files_of(tmp_path) <= before | {"logs.jsonl", "metrics.jsonl"}
    assert 1 == len(list(tmp_path.glob(".otel-perf/*/*/")))  # the server has recorded no process of its own


@pytest.mark.parametrize("way", ["init", "run"])
@pytest.mark.timed
def test_program_ends_when_it_ends_and_its_pipes_with_it(tmp_path, start_program, write, way):
    """Whoever reads the program's output waits for its end; the server must not keep that open."""
    program = write("program.py", PROGRAM.format(view=way == "init", seconds=1.5, after="print('done')"))
    begun = time.monotonic()

    process = start_program([sys.executable, program], ["--view"] if way == "run" else None, env={"PYTHONPATH": SRC})
    out, errors = process.communicate(timeout=30)

    assert time.monotonic() - begun < 10
    assert (0, b"done\n") == (process.returncode, out)
    assert ADDRESS.fullmatch(errors.decode())


@pytest.mark.timed
def test_init_does_not_wait_for_it(run_python):
    result = run_python(
        """
        import time
        import otel_perf as perf
        begun = time.perf_counter()
        perf.init(view=True)
        print(time.perf_counter() - begun < 0.05)
        """,
        env={"OTEL_PERF_METRICS": "0"},
    )

    assert (0, "True\n") == (result.returncode, result.stdout)


def test_children_and_forks_open_no_pages_of_their_own(tmp_path, start_program, write, page_of):
    after = (
        "import subprocess\n"
        "if 'child' not in sys.argv:\n"
        "    subprocess.run([sys.executable, __file__, 'child'], check=True)\n"
        "    if os.fork() == 0:\n"
        "        step()\n"
        "        sys.exit()\n"
        "    os.wait()\n"
        "    time.sleep(1)\n"
    )
    program = write("program.py", PROGRAM.format(view=True, seconds=1, after=after))

    process = start_program([sys.executable, program], None, env={"PYTHONPATH": SRC})
    page_of(process)
    _, errors = process.communicate(timeout=30)

    assert (0, b"") == (process.returncode, errors)
    assert 1 == len(servers_of(tmp_path))


def test_environment_asks_for_it_too(tmp_path, start_program, write, page_of):
    program = write("program.py", PROGRAM.format(view=False, seconds=3, after=""))

    process = start_program([sys.executable, program], None, env={"PYTHONPATH": SRC, "OTEL_PERF_VIEW": "1"})

    assert 200 == page_of(process).ask("/api/runs").status


def test_it_ends_some_time_after_the_program_unless_a_page_is_open(tmp_path, make_beside, start_program, write):
    program = write("program.py", PROGRAM.format(view=False, seconds=2, after=""))
    process = start_program([sys.executable, program], None, env={"PYTHONPATH": SRC})
    limit = time.monotonic() + 10
    while not list(tmp_path.glob(".otel-perf/*/*/traces.jsonl")):
        assert time.monotonic() < limit
        time.sleep(0.05)
    (run,) = tmp_path.glob(".otel-perf/*/")
    server, viewer = make_beside(run, process.pid, linger=2)
    with viewer.events(f"/{run.name}/first") as events:
        events.first("state", lambda data: not data["running"])
        ended = time.monotonic()
        for _ in events:  # as long as the page is open it stays
            if time.monotonic() - ended > 4:
                break
        assert server.poll() is None

    assert 0 == server.wait(15)
    assert time.monotonic() - ended > 5


@pytest.fixture
def make_beside(start_program, page_of, otel_perf):
    """Return a function that starts the server of a run as beside.py does, and gives its Popen and a Viewer."""

    def start(run, pid, linger):
        words = [*otel_perf, "view", run, "--folder", run.parent, "--beside", pid, "--linger", linger]
        server = start_program(words, None)
        return server, page_of(server)

    return start


def test_without_the_extra_the_program_runs_all_the_same(tmp_path, start_program, write):
    (tmp_path / "fake" / "starlette").mkdir(parents=True)
    (tmp_path / "fake" / "starlette" / "__init__.py").write_text("raise ModuleNotFoundError('', name='starlette')")
    program = write("program.py", PROGRAM.format(view=True, seconds=2, after=""))

    process = start_program(
        [sys.executable, program], None, env={"PYTHONPATH": os.pathsep.join([str(tmp_path / "fake"), SRC])}
    )
    _, errors = process.communicate(timeout=30)

    message = b"otel-perf view: Starlette and uvicorn are not installed: pip install 'otel-perf[view]'\n"
    assert (0, message) == (process.returncode, errors)
