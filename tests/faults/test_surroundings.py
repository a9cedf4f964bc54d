"""Surroundings that others make: interpreter flags, archives, debuggers, notebooks, hooks, missing rights.

The program behaves as without us, and is recorded where that is possible at all.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest

SRC = str(Path(__file__).resolve().parents[2] / "src")
linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux")

# --- the interpreter --------------------------------------------------------------------------------------------------

FLAGS = (
    "-I", "-E", "-S", "-O", "-OO", "-B", "-b -b", "-W error", "-X dev", "-X importtime", "-X frozen_modules=off", "-u",
    "-X tracemalloc=5", "-X utf8=0", "-q -s -P", "-IBS -OO -bb -W error",
)  # fmt: skip


@pytest.mark.parametrize("flags", FLAGS)
def test_flags_of_the_interpreter_change_nothing_of_what_is_recorded(flags, run_python, recorded, tmp_path):
    result = run_python(
        f"""
        import sys
        sys.path.insert(0, {SRC!r})
        import otel_perf as perf
        perf.init(service="flags", version="1")
        with perf.phase("CoreInit"):
            import decimal

        @perf.profile(span_threshold=0)
        def function(): "A doc that -OO takes away."

        function()
        perf.ready()
        perf.counter("calls").add(1)
        with perf.operation("op"):
            pass
        print("S" in {flags!r} or perf.report() != "")  # with -S the dependencies are out of reach
        """,
        options=flags.split(" "),
        env={"PYTHONDONTWRITEBYTECODE": "1", "PYTHONWARNINGS": "error"},
    )

    errors = result.stderr if "importtime" not in flags else ""
    assert (0, "True\n", "") == (result.returncode, result.stdout, errors)
    found = recorded()
    assert (1, 1, 1, 1) == tuple(map(found.count, ("startup", "CoreInit", "function", "op")))
    assert [1] == list(found.last("calls").values())


@pytest.mark.parametrize("flags", [f for f in FLAGS if "importtime" not in f and not set(f.split()[0]) & set("IES")])
def test_flags_of_the_interpreter_give_the_same_output_under_run(flags, write, same_as_plain, recorded):
    write(
        "program.py",
        """
        import sys, warnings, decimal, asyncio, logging
        print(sys.flags, sys.warnoptions, sys._xoptions, sys.path[1:], __debug__, sys.dont_write_bytecode)
        async def main(): await asyncio.sleep(0.1)
        asyncio.run(main())
        try:
            warnings.warn("old", DeprecationWarning)
        except DeprecationWarning:
            print("raised")
        """,
    )
    same_as_plain([sys.executable, *flags.split(" "), "program.py"])

    recorded().one("startup")


@pytest.mark.parametrize("frozen", [False, True], ids=["zipapp", "frozen"])
def test_the_package_works_from_an_archive(frozen, run_python, recorded, tmp_path):
    """As zipapp makes them; frozen means what a frozen program looks like from inside: sys.frozen, no source files."""
    archive = tmp_path / "app.pyz"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(Path(SRC, "otel_perf").rglob("*.py")):
            file.write(path, path.relative_to(SRC))
        file.writestr(
            "__main__.py",
            textwrap.dedent(
                f"""
                import sys
                if {frozen}:
                    sys.frozen, sys._MEIPASS, sys.executable = True, "/nowhere", sys.argv[0]
                import otel_perf as perf
                perf.init(service="archive")
                with perf.phase("CoreInit"):
                    from opentelemetry import trace
                    with trace.get_tracer("app").start_as_current_span("raw"):
                        pass
                perf.ready()
                assert ".pyz" in perf.__file__
                print(len(perf.report()) > 100)
                """
            ),
        )

    result = run_python([archive], env={"PYTHONPATH": None})

    assert (0, "True\n", "") == (result.returncode, result.stdout, result.stderr)
    found = recorded()
    assert found.one("raw")["parent_id"] == found.one("CoreInit")["span_id"]


def test_a_subinterpreter_may_use_us_and_disturbs_nothing(run_python, recorded):
    result = run_python(
        """
        import sys
        import otel_perf as perf
        perf.init(service="outer")
        perf.ready()
        try:
            import _interpreters as interpreters
        except ImportError:
            import _xxsubinterpreters as interpreters
        inner = '''
        import otel_perf as perf
        perf.init(service="inner")
        with perf.profile("inside", span_threshold=0):
            perf.counter("inside").add(1)
        perf.shutdown()
        '''
        import textwrap
        for _ in range(2):
            one = interpreters.create()
            interpreters.run_string(one, textwrap.dedent(inner))
            interpreters.destroy(one)
        with perf.profile("outside", span_threshold=0):
            pass
        """,
        options=["-W", "ignore"],
    )

    assert (0, "", "") == (result.returncode, result.stdout, result.stderr)
    found = recorded()
    assert "outer" == found.one("outside")["resource"]["service.name"]
    assert 2 == found.count("inside")
    assert {"inner"} == {s["resource"]["service.name"] for s in found.spans if s["name"] == "inside"}


# --- debuggers, coverage, notebooks -----------------------------------------------------------------------------------

PROGRAM = """
    import otel_perf as perf

    @perf.profile(span_threshold=0)
    def outer(n):
        total = 0
        for i in range(n):
            if i == 99:
                total += 1
            total += inner(i)
        return total

    @perf.profile
    def inner(i):
        return i * 2 if i % 2 else i

    @perf.profile
    def steps(n):
        for i in range(n):
            yield i

    print(outer(3), list(steps(2)))
"""


def test_pdb_steps_and_prints_as_without_us(write, same_as_plain, recorded):
    write("program.py", PROGRAM)
    commands = "b 15\nc\np i\nw\nu\nu\np total\nc\ns\nr\nn\nn\nc\nc\nq\n"

    result = same_as_plain(
        [sys.executable, "-m", "pdb", "program.py"], input=commands.encode(), env={"PYTHONPATH": SRC}
    )

    assert b"Breakpoint 1" in result.stdout
    assert 3 <= result.stdout.count(b"-> return i * 2 if i % 2 else i")
    assert b"4 [0, 1]" in result.stdout
    assert 1 <= recorded(whole=False).count("outer")


def test_coverage_counts_the_lines_that_it_counts_without_us(write, run_program, recorded, needs, tmp_path):
    needs("coverage")
    write("program.py", PROGRAM)
    seen = []
    for options in (None, ()):
        command = [sys.executable, "-m", "coverage"]
        done = run_program(
            [*command, "run", "--branch", "--include=program.py", "program.py"], options, env={"PYTHONPATH": SRC}
        )
        assert (0, b"") == (done.returncode, done.stderr)
        run_program([*command, "json", "-q", "-o", "seen.json"], None)
        seen.append((done.stdout, json.loads((tmp_path / "seen.json").read_text())["files"]))

    assert seen[0] == seen[1]
    (file,) = seen[1][1].values()
    assert 1 == len(file["missing_lines"]), "the line of i == 99, and no line of a decorated function"
    assert 1 == recorded().count("outer")


def test_debugpy_traces_a_program_beside_us(write, run_program, recorded, needs, tmp_path):
    needs("debugpy")
    write(
        "program.py", PROGRAM + "    import sys\n    print(sys.gettrace() is not None or sys.version_info >= (3, 12))\n"
    )
    command = [sys.executable, "-Xfrozen_modules=off", "-m", "debugpy", "--listen", "127.0.0.1:0", "program.py"]

    plain, done = (run_program(command, options, env={"PYTHONPATH": SRC}) for options in (None, ()))

    assert (0, plain.stdout, plain.stderr) == (done.returncode, done.stdout, done.stderr)
    assert 1 == recorded().count("outer")


def test_ipython_shows_what_it_shows_without_us(write, run_program, recorded, needs, tmp_path):
    needs("IPython")
    write(
        "cells.ipy",
        """
        import otel_perf as perf
        perf.init(service="notebook") if RECORD else None
        @perf.profile(span_threshold=0)
        def load(n): return n / (n - 2)
        load(1)
        load?
        %timeit -n1 -r1 -q load(1)
        import asyncio
        await asyncio.sleep(0)
        @perf.profile(span_threshold=0)
        def load(n): return n / (n - 2)
        load(3)
        %prun -q load(1)
        load(2)
        print("after")
        """,
    )
    env = {"PYTHONPATH": SRC, "IPYTHONDIR": str(tmp_path / "ipython"), "NO_COLOR": "1", "TERM": "dumb"}
    outputs = []
    for record in (False, True):
        text = (tmp_path / "cells.ipy").read_text().replace("RECORD", str(record)).strip().replace("\n", "\n\n")
        text = re.sub(r"(\n@perf.*\n)\n", r"\1", text)
        command = [
            sys.executable,
            "-m",
            "IPython",
            "--no-banner",
            "--colors=NoColor",
            "--simple-prompt",
            "--no-confirm-exit",
        ]
        done = run_program([*command, "--no-tip"], None, env=env, input=text.encode() + b"\n\n")
        outputs.append(done.stdout.replace(str(record).encode(), b"RECORD"))
        assert 0 == done.returncode
    assert outputs[0] == outputs[1]
    assert b"ZeroDivisionError" in outputs[1]
    assert b"after" in outputs[1]
    found = recorded()
    assert found.count("load") >= 4
    assert {5} == set(found.last("otel_perf.function.duration", "__main__.load").values())


KERNEL = """
    import json, sys
    from jupyter_client.manager import start_new_kernel
    cells = [
        "import otel_perf as perf; perf.init(service='notebook'); perf.ready()",
        "@perf.profile(span_threshold=0)\\ndef load(n):\\n    return 1 / n",
        "load(4)",
        "load(0)",
        "import asyncio\\n@perf.profile(span_threshold=0)\\nasync def wait():\\n    await asyncio.sleep(0.01); return 'waited'",
        "await wait()",
        "@perf.profile(span_threshold=0)\\ndef load(n):\\n    return 2 / n",
        "load(4)",
        "perf.init(service='notebook')",
        "from opentelemetry import trace\\nwith perf.phase('cell'), trace.get_tracer('app').start_as_current_span('raw'): pass",
        "trace.get_current_span().get_span_context().is_valid",
        "len(perf.report()) > 100",
    ]
    said = []

    def hear(message):
        content = message["content"]
        if message["msg_type"] == "execute_result":
            said.append(content["data"]["text/plain"])
        elif message["msg_type"] == "error":
            said.append(content["ename"])
        elif message["msg_type"] == "stream":
            said.append(content["text"])

    manager, client = start_new_kernel(kernel_name="python3", startup_timeout=60)
    for cell in cells:
        client.execute_interactive(cell, output_hook=hear, timeout=60)
    client.stop_channels()
    manager.shutdown_kernel()
    print(json.dumps(said))
"""


def test_a_jupyter_kernel_records_cell_after_cell(run_python, recorded, needs, tmp_path):
    needs("ipykernel")
    env = {
        name: str(tmp_path / "jupyter") for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")
    }
    env |= {"IPYTHONDIR": str(tmp_path / "ipython"), "PYDEVD_DISABLE_FILE_VALIDATION": "1"}

    result = run_python(KERNEL, env=env, options=["-W", "ignore"])

    assert 0 == result.returncode, result.stderr
    assert ["0.25", "ZeroDivisionError", "'waited'", "0.5", "False", "True"] == json.loads(result.stdout)
    found = recorded()
    assert (3, 1, 1, 1) == tuple(map(found.count, ("load", "wait", "cell", "raw")))
    assert {3} == set(found.last("otel_perf.function.duration", "__main__.load").values())
    assert found.one("raw")["parent_id"] == found.one("cell")["span_id"]


# --- hooks of others --------------------------------------------------------------------------------------------------


def test_an_editable_install_by_import_hook_is_imported_as_without_us(write, same_as_plain, recorded, tmp_path):
    """What setuptools leaves for an editable install: a .pth file that installs a finder, and one for namespaces."""
    write("elsewhere/pkg/__init__.py", "from . import part")
    write("elsewhere/pkg/part.py", "import time\ntime.sleep(0.02)\nname = __name__\n")
    write("elsewhere/space/inside/__init__.py", "where = __file__\n")
    write(
        "site/__editable___pkg_finder.py",
        f"""
        import sys
        from importlib.machinery import ModuleSpec, PathFinder
        from importlib.util import spec_from_file_location
        HERE = {str(tmp_path / "elsewhere")!r}

        class Finder:
            @classmethod
            def find_spec(cls, fullname, path=None, target=None):
                if fullname == "pkg":
                    return spec_from_file_location(fullname, HERE + "/pkg/__init__.py")

        class NamespaceFinder:
            @classmethod
            def _path_hook(cls, path):
                if path == "__editable__.pkg.finder.__path_hook__":
                    return cls
                raise ImportError

            @classmethod
            def find_spec(cls, fullname, target=None):
                if fullname == "space":
                    spec = ModuleSpec(fullname, None, is_package=True)
                    spec.submodule_search_locations = [HERE + "/space"]
                    return spec

        def install():
            sys.meta_path.append(Finder)
            sys.path_hooks.append(NamespaceFinder._path_hook)
            sys.path.append("__editable__.pkg.finder.__path_hook__")
        """,
    )
    write("site/__editable__.pkg.pth", "import __editable___pkg_finder; __editable___pkg_finder.install()")
    write(
        "program.py",
        """
        import site, sys
        site.addsitedir("site")
        import pkg, space.inside
        print(pkg.part.name, pkg.__spec__.origin, space.__path__, space.inside.where, sys.path[-1])
        try:
            import space.nothing
        except ImportError as error:
            print(error)
        """,
    )

    result = same_as_plain([sys.executable, "program.py"])

    assert b"pkg.part" in result.stdout
    found = recorded()
    part = found.one("import pkg.part")
    assert part["parent_id"] == found.one("import pkg")["span_id"]
    assert (part["end"] - part["start"]) / 1e9 >= 0.02


INSTRUMENTED = """
    import otel_perf as perf
    from opentelemetry import trace
    INIT
    with perf.phase("CoreInit"):
        with trace.get_tracer("app").start_as_current_span("raw"):
            with perf.profile("inner", span_threshold=0):
                pass
    perf.ready()
    print(type(trace.get_tracer_provider()).__module__)
"""


@pytest.mark.parametrize("order", ["init", "run around instrument", "instrument around run"])
def test_opentelemetry_instrument_beside_us_gives_each_span_once_in_both_places(
    order, write, run_program, recorded, needs, receiver
):
    needs("opentelemetry.distro")
    write("program.py", INSTRUMENTED.replace("INIT", "perf.init(service='app')" if order == "init" else ""))
    instrument = [str(Path(sys.executable).with_name("opentelemetry-instrument")), "--logs_exporter", "none"]
    instrument += ["--traces_exporter", "otlp", "--metrics_exporter", "none"]
    python = [sys.executable, "program.py"]
    command, options = {
        "init": ([*instrument, *python], None),
        "run around instrument": ([*instrument, *python], ()),
        "instrument around run": ([*instrument, sys.executable, "-m", "otel_perf", "run", "--", *python], None),
    }[order]
    there = receiver()

    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": there.url("http"), "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
    done = run_program(command, options, env={**env, "PYTHONPATH": SRC, "OTEL_SERVICE_NAME": "app"})

    assert (0, b"opentelemetry.sdk.trace\n", b"") == (done.returncode, done.stdout, done.stderr)
    found = recorded()
    sent = [span["name"] for span in there.spans()]
    for name in ("startup", "CoreInit", "raw", "inner"):
        assert (1, 1) == (found.count(name), sent.count(name)), name
    assert found.one("raw")["parent_id"] == found.one("CoreInit")["span_id"]
    assert found.one("inner")["parent_id"] == found.one("raw")["span_id"]


# --- missing rights ---------------------------------------------------------------------------------------------------

SMALL = """
    import os, sys, time
    import otel_perf as perf
    perf.init(service="small")
    with perf.phase("CoreInit"):
        pass
    perf.ready()
    perf.counter("calls").add(1)
    time.sleep(1.2)
    print("done")
"""


def without_rights() -> list[str]:
    """Return the words that start a program with no more rights than its user's: root without its capabilities."""
    if os.geteuid():
        return []
    words = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    try:
        subprocess.run([*words, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs setpriv: root may write everywhere")
    return words


@linux
@pytest.mark.parametrize("way", ["init", "run"])
def test_a_folder_that_is_read_only_costs_one_line_and_nothing_else(way, write, run_program, tmp_path, otel_perf):
    write("program.py", SMALL if way == "init" else SMALL.replace('perf.init(service="small")', ""))
    words = without_rights()
    place = tmp_path / "read only"
    place.mkdir(mode=0o555)
    before = [*words, *otel_perf, "run", "--"] if way == "run" else words

    done = run_program(
        [*before, sys.executable, tmp_path / "program.py"],
        None,
        cwd=place,
        env={"PYTHONPATH": SRC, "HOME": None, "TMPDIR": None},
    )

    assert (0, b"done\n") == (done.returncode, done.stdout)
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("otel-perf: "), line
    assert ".otel-perf" in line
    assert "Permission denied" in line
    assert [] == list(place.iterdir())
    assert [] == list(tmp_path.rglob("*.jsonl")), "nothing is written in another place"


@linux
def test_a_user_without_home_name_or_temporary_folder_is_recorded(write, run_program, recorded):
    write("program.py", SMALL)
    gone = dict.fromkeys(("HOME", "USER", "LOGNAME", "TMPDIR", "TEMP", "TMP", "PATH", "LANG", "SHELL", "PWD"))

    done = run_program(
        [*without_rights(), sys.executable, "program.py"], None, env={**gone, "PYTHONPATH": SRC, "HOME": "/nonexistent"}
    )

    assert (0, b"done\n", b"") == (done.returncode, done.stdout, done.stderr)
    assert 1 == recorded().count("CoreInit")


@linux
@pytest.mark.parametrize("way", ["init", "run"])
def test_without_proc_the_start_is_recorded_and_what_cannot_be_read_is_absent(
    way, write, run_program, recorded, otel_perf
):
    write("program.py", SMALL if way == "init" else SMALL.replace('perf.init(service="small")', ""))
    hide = ["unshare", "-rm", "sh", "-c", 'mount -t tmpfs none /proc && exec "$@"', "sh"]
    if subprocess.run([*hide, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs unshare -rm: user and mount namespaces of one's own")
    before = [*otel_perf, "run", "--"] if way == "run" else []

    done = run_program([*hide, *before, sys.executable, "program.py"], None, env={"PYTHONPATH": SRC})

    assert (0, b"done\n") == (done.returncode, done.stdout)
    for line in done.stderr.decode().splitlines():
        assert line.startswith("otel-perf: "), line
    found = recorded()
    root = found.one("startup")
    assert 0 < root["end"] - root["start"] < 30e9
    assert 1 == found.count("CoreInit")
    assert [1] == list(found.last("calls").values())
    values = [found.last(name) for name in ("process.memory.usage", "process.thread.count", "process.cpu.time")]
    assert all(value > 0 for each in values for value in each.values()), "what is not known is not zero"


@linux
@pytest.mark.parametrize("then", ["time.sleep(0.3)", "perf.report()", "perf.shutdown()", "os.fork() or os._exit(0)"])
def test_a_program_without_a_file_left_before_the_first_line_is_told_so_and_goes_on(then, run_python):
    """What writes cannot be loaded, nor what would say so."""
    result = run_python(
        f"""
        import importlib, os, resource, sys, time
        import otel_perf as perf
        loading = importlib._bootstrap._get_module_lock("otel_perf.worker")
        loading.acquire()
        perf.init(service="files")
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        loading.release()
        perf.ready()
        {then}
        print("on")
        """
    )

    assert (0, "on\n") == (result.returncode, result.stdout)
    lines = result.stderr.splitlines()
    assert lines
    assert all(line.startswith("otel-perf: ") and "Too many open files" in line for line in lines), result.stderr


@linux
def test_a_program_that_has_files_again_is_recorded_from_then_on(run_python, recorded):
    result = run_python(
        """
        import glob, importlib, resource, time
        import otel_perf as perf
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        loading = importlib._bootstrap._get_module_lock("otel_perf.worker")
        loading.acquire()
        perf.init(service="files")
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
        loading.release()
        perf.ready()
        time.sleep(0.3)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        until = time.monotonic() + 10
        while not glob.glob(".otel-perf/*/*/traces.jsonl") and time.monotonic() < until:
            with perf.profile("later", span_threshold=0):
                time.sleep(0.1)
        print(len(glob.glob(".otel-perf/*/*/traces.jsonl")))
        """
    )

    assert (0, "1\n") == (result.returncode, result.stdout), result.stderr
    assert recorded().one("startup")


def test_a_child_writes_with_the_rooms_that_its_parent_has_loaded(run_python, recorded):
    """A program that takes them out of sys.modules would have it load others, which know of no record."""
    result = run_python(
        """
        import os, sys
        import otel_perf as perf
        perf.init(service="modules")
        perf.ready()
        work = perf.profile(span_threshold=0)(lambda: None)
        perf.report()
        for name in [name for name in sys.modules if name.partition(".")[0] == "otel_perf"]:
            del sys.modules[name]
        pid = os.fork()
        if not pid:
            work()
            sys.exit()
        os.waitpid(pid, 0)
        """,
        env={"OTEL_PERF_METRICS": "0"},
    )

    assert (0, "") == (result.returncode, result.stderr)
    assert 1 == recorded().count("<lambda>"), [span["name"] for span in recorded().spans]
