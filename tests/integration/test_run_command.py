"""``otel-perf run``: nobody can tell from inside or from outside, except by what is recorded.

Real runs of plain Python and of the same under ``run`` are compared byte by byte.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import venv
import zipapp
from pathlib import Path

import pytest

from otel_perf.analysis.text import cells

POSIX = os.name == "posix"
needs_posix = pytest.mark.skipif(not POSIX, reason="signals, exec and fork are POSIX")

# What a program can see of the interpreter it runs in. Left out: addresses, and what the documentation of the command
# says is different (four variables, the handlers of SIGTERM and SIGHUP).
LOOK = """
import json, os, signal, sys
import threading

main = sys.modules["__main__"]
ours = ("OTEL_PERF_SITE", "OTEL_PERF_RUN", "OTEL_PERF_STARTED")
handled = [s for s in signal.Signals if s not in (signal.SIGTERM, getattr(signal, "SIGHUP", 0))]
seen = {
    "argv": sys.argv,
    "orig_argv": sys.orig_argv,
    "path": sys.path,
    "flags": repr(sys.flags),
    "options": repr(sys._xoptions),
    "warnings": sys.warnoptions,
    "file": getattr(main, "__file__", None),
    "name": main.__name__,
    "spec": repr(getattr(main.__spec__, "name", None)),
    "package": main.__package__,
    "main": sorted(vars(main)),
    "meta_path": [getattr(f, "__name__", type(f).__name__) for f in sys.meta_path],
    "path_hooks": len(sys.path_hooks),
    "customize": [name for name in ("sitecustomize", "usercustomize") if name in sys.modules],
    "executable": [sys.executable, sys.prefix, sys.base_prefix],
    "hooks": [sys.excepthook is sys.__excepthook__, sys.gettrace(), sys.getprofile()],
    "signals": {s.name: repr(signal.getsignal(s)) for s in handled},
    "threads": [thread.name for thread in threading.enumerate()],
    "main_thread": threading.main_thread() is threading.current_thread(),
    "limits": [sys.getrecursionlimit(), sys.getswitchinterval()],
    "cwd": os.getcwd(),
    "tty": sys.stdin.isatty(),
    "environ": {k: v for k, v in os.environ.items() if k not in ours and k != "PYTHONPATH"},
    "pythonpath": os.environ.get("PYTHONPATH", "").removeprefix(os.environ.get("OTEL_PERF_SITE", "")).lstrip(":;"),
}
print(json.dumps(seen, indent=1, sort_keys=True))
"""


@pytest.fixture
def look(write):
    """Write the looking program in every form that there is."""
    write("look.py", LOOK)
    write("look/__main__.py", LOOK)
    write("package/__init__.py", "")
    write("package/__main__.py", LOOK)
    write("package/module.py", LOOK)
    script = write("console", f"#!{sys.executable}\nimport sys\nsys.path.insert(0, '')\nimport package.module\n", 0o755)
    zipapp.create_archive(script.parent / "look", script.parent / "look.pyz")
    return script.parent


FORMS = {
    "file": [sys.executable, "look.py", "one", "--two"],
    "module": [sys.executable, "-m", "package.module", "one"],
    "package": [sys.executable, "-m", "package", "one"],
    "folder": [sys.executable, "look", "one"],
    "zipapp": [sys.executable, "look.pyz", "one"],
    "code": [sys.executable, "-c", LOOK, "one", "-c"],
    "console script": ["./console", "one"],
    "options of the interpreter": [sys.executable, "-OO", "-B", "-X", "dev", "-W", "error", "-u", "-s", "look.py"],
    "safe path": [sys.executable, "-P", "look.py"],
}


@pytest.mark.parametrize("form", FORMS)
def test_the_program_sees_what_it_sees_without_us(look, same_as_plain, spans_of, form):
    if form == "console script" and not POSIX:
        pytest.skip("a shebang is POSIX")
    result = same_as_plain(FORMS[form])

    assert "argv" in json.loads(result.stdout)
    assert ["startup"] == [span["name"] for span in spans_of(look) if span["parent_id"] is None]


@pytest.mark.parametrize("program", [[sys.executable], [sys.executable, "-"]], ids=["stdin", "dash"])
def test_a_script_on_stdin_runs_as_without_us(look, same_as_plain, program):
    assert b"argv" in same_as_plain(program, input=LOOK.encode()).stdout


@pytest.mark.parametrize(
    "env",
    [
        {"PYTHONSAFEPATH": "1"},
        {"PYTHONOPTIMIZE": "2", "PYTHONDEVMODE": "1", "PYTHONWARNINGS": "error"},
        {"PYTHONPATH": "one:two"},
        {"PYTHONPATH": ""},
        {"PYTHONNOUSERSITE": "1", "PYTHONUTF8": "0", "LC_ALL": "C"},
    ],
    ids=["safe path", "three at once", "path", "empty path", "no utf-8"],
)
def test_the_interpreter_variables_of_the_user_hold(look, same_as_plain, env):
    assert b"argv" in same_as_plain([sys.executable, "look.py"], env=env).stdout


@pytest.mark.parametrize(
    "command", [["-m", "package", "one"], ["-c", LOOK], ["look.py", "one"], ["look"], ["look.pyz"]]
)
def test_run_puts_this_interpreter_in_front_of_what_is_no_program(look, run_program, command):
    plain = run_program([sys.executable, *command], None)
    recorded = run_program(command)

    assert (plain.stdout, plain.stderr, plain.returncode) == (recorded.stdout, recorded.stderr, recorded.returncode)


# --- C23 --------------------------------------------------------------------------------------------------------------

WORK = """
import multiprocessing

class Point:
    def __init__(self, x):
        self.x = x

    def __repr__(self):
        return f"{type(self).__module__}.Point({self.x})"

def double(point):
    return Point(point.x * 2)

def main():
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        print(pool.map(double, [Point(1), Point(2), Point(3)]))
"""
CALL = "if __name__ == '__main__':\n    main()\n"
POOL = {
    "file": [sys.executable, "pool.py"],
    "-m package": [sys.executable, "-m", "pooled"],
    "console script": ["./pool"],
    "zipapp": [sys.executable, "pool.pyz"],
}


@pytest.mark.parametrize("form", POOL)
def test_spawned_workers_find_the_classes_of_the_program(write, same_as_plain, tmp_path, form):
    if form == "console script" and not POSIX:
        pytest.skip("a shebang is POSIX")
    write("pool.py", WORK + CALL)
    write("pooled/__init__.py", "")
    write("pooled/work.py", WORK)
    write("pooled/__main__.py", "from .work import main\n" + CALL)
    head = f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(tmp_path)!r})\n"
    write("pool", head + "from pooled.work import main\n" + CALL, 0o755)
    write("zipped/work.py", WORK)
    write("zipped/__main__.py", "from work import main\n" + CALL)
    zipapp.create_archive(tmp_path / "zipped", tmp_path / "pool.pyz")

    result = same_as_plain(POOL[form])

    assert b"Point(2)" in result.stdout
    assert 0 == result.returncode


# --- ends -------------------------------------------------------------------------------------------------------------

ENDS = {
    "exit 7": "import sys; sys.exit(7)",
    "exit with a text": "import sys; sys.exit('no such thing')",
    "uncaught exception": "def f(): return 1 / 0\nf()",
    "exception in a nested import": "import broken",
    "no such module": "import nothing.like.this",
    "syntax error in an import": "import mistaken",
    "finder that raises": """
        import sys
        class Finder:
            def find_spec(name, path=None, target=None):
                if name == "special":
                    raise ValueError("not today")
        sys.meta_path.insert(0, Finder)
        import special
        """,
    "exception group": "raise ExceptionGroup('g', [ValueError(1), KeyError('k')])",
    "raised KeyboardInterrupt": "raise KeyboardInterrupt",
    "recursion": "def f(): f()\nf()",
    "os._exit": "import os; os._exit(9)",
    "abort": "import os; os.abort()",
    "killed": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "own excepthook": "import sys; sys.excepthook = lambda *a: print('hook', a[0].__name__)\n1 / 0",
    "atexit": "import atexit; atexit.register(print, 'bye'); print('hello')",
    "exception in a finaliser": "class A:\n    def __del__(self): 1 / 0\nA()",
    "exception in a thread": "import threading; t = threading.Thread(target=lambda: 1 / 0); t.start(); t.join()",
    "warning with a stack level": "import warned",
}


@pytest.mark.parametrize("end", ENDS)
def test_output_and_exit_code_are_those_of_plain_python(write, same_as_plain, end):
    if not POSIX and end in ("abort", "killed"):
        pytest.skip("signals are POSIX")
    write("program.py", ENDS[end])
    write("broken.py", "import inner")
    write("inner.py", "def fail():\n    raise RuntimeError('inside')\nfail()\n")
    write("mistaken.py", "x = (1,\n")
    write("warned.py", "import deep")
    write("deep.py", "import warnings\nwarnings.warn('old', UserWarning, stacklevel=2)\n")

    same_as_plain([sys.executable, "program.py"])


def test_a_script_with_a_syntax_error_fails_as_without_us(write, same_as_plain):
    write("program.py", "def f(:\n")

    result = same_as_plain([sys.executable, "program.py"])

    assert 1 == result.returncode
    assert b"SyntaxError" in result.stderr


def test_bytes_pass_unchanged_in_both_directions(write, same_as_plain):
    write(
        "copy.py",
        "import sys; d = sys.stdin.buffer.read(); sys.stdout.buffer.write(d); sys.stderr.buffer.write(d[::-1])",
    )
    data = bytes(range(256)) * 5000

    assert data == same_as_plain([sys.executable, "copy.py"], input=data).stdout


@needs_posix
def test_inherited_files_stay_open(write, run_program, tmp_path):
    write("write.py", "import os, sys; os.write(int(sys.argv[1]), b'here')")
    for options in ([], ["--report"]):
        with open(tmp_path / "out", "w+b") as file:
            os.set_inheritable(file.fileno(), True)
            run_program([sys.executable, "write.py", str(file.fileno())], options, close_fds=False)
            file.seek(0)

            assert b"here" == file.read()


@needs_posix
def test_a_shell_script_gets_the_signal_dispositions_of_a_shell(write, same_as_plain):
    """Python ignores SIGPIPE for itself; handed on, ``yes | head`` would complain of a broken pipe."""
    write("script", "#!/bin/sh\ntrap\n(yes; echo $? >&2) | head -1\n", 0o755)

    assert b"y\n" == same_as_plain(["./script"]).stdout


# --- signals ----------------------------------------------------------------------------------------------------------

WAIT = "import sys, time\nprint('up', flush=True)\nwhile True: time.sleep(0.01)\n"
HANDLE = "import signal, sys\nsignal.signal(signal.SIG{0}, lambda *a: sys.exit(33))\n" + WAIT
SIGNALS = ["INT", "TERM", "HUP", "QUIT", "USR1", "USR2", "ALRM"]


def end_by(process: subprocess.Popen[bytes], number: int) -> tuple[int, bytes]:
    """Send a signal once the program says that it is up; return its exit code and stderr."""
    assert process.stdout is not None
    assert b"up\n" == process.stdout.readline()
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    return process.returncode, errors


@needs_posix
@pytest.mark.parametrize("name", SIGNALS)
def test_signals_end_the_program_as_without_us(write, start_program, name):
    number = getattr(signal, f"SIG{name}")
    write("wait.py", WAIT)
    write("handle.py", HANDLE.format(name))

    for program in ("wait.py", "handle.py"):
        plain = end_by(start_program([sys.executable, program], None), number)
        recorded = end_by(start_program([sys.executable, program]), number)

        assert plain[0] == recorded[0]
        assert plain[1].splitlines()[-1:] == recorded[1].splitlines()[-1:]  # where in the loop it was is chance


@needs_posix
@pytest.mark.parametrize("options", [[], ["--report"]], ids=["exec", "report"])
def test_signals_that_are_ignored_stay_ignored(write, start_program, options):
    """As under ``nohup``, or for a job that a script has put into the background."""
    write("ask.py", "import signal\nprint(signal.getsignal(signal.SIGHUP), signal.getsignal(signal.SIGINT))")

    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    process = start_program([sys.executable, "ask.py"], options, preexec_fn=ignore)

    assert b"1 1\n" == process.communicate(timeout=30)[0].replace(b"Handlers.SIG_IGN", b"1")


@needs_posix
@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "USR1"])
def test_report_passes_signals_on_and_ends_by_the_same(write, start_program, name):
    write("wait.py", WAIT)

    process = start_program([sys.executable, "wait.py"], ["--report"], start_new_session=True)
    code, errors = end_by(process, getattr(signal, f"SIG{name}"))

    assert -getattr(signal, f"SIG{name}") == code
    assert (
        b"no report" if name == "USR1" else b"startup"
    ) in errors  # what kills at once leaves only what is 0.2 s old


@needs_posix
def test_a_handler_of_the_program_decides_under_report_too(write, start_program):
    write("handle.py", HANDLE.format("TERM"))

    assert 33 == end_by(start_program([sys.executable, "handle.py"], ["--report"]), signal.SIGTERM)[0]


# --- report -----------------------------------------------------------------------------------------------------------


def test_report_comes_on_stderr_after_the_program_s_own(write, run_program):
    write("program.py", "import sys, json; print('out'); print('err', file=sys.stderr); sys.exit(7)")

    plain = run_program([sys.executable, "program.py"], None)
    result = run_program([sys.executable, "program.py"], ["--report"])

    assert plain.stdout == result.stdout
    assert result.stderr.startswith(plain.stderr)
    assert b"startup" in result.stderr
    assert b"budget" in result.stderr
    assert 7 == result.returncode


def test_report_is_as_wide_as_the_window(write, run_program):
    write("program.py", "import json, decimal, logging, http.server\n")

    result = run_program([sys.executable, "program.py"], ["--report"], env={"COLUMNS": "60"})

    lines = result.stderr.decode().splitlines()
    assert 60 >= max(map(cells, lines))
    assert 55 < max(map(cells, lines)), "the bars fill it"


def test_report_of_a_program_that_recorded_nothing_is_one_line(write, run_program):
    result = run_program([sys.executable, "-c", "print(1)"], ["--report"], env={"OTEL_SDK_DISABLED": "true"})

    assert b"1\n" == result.stdout.replace(b"\r", b"")
    assert 1 == result.stderr.count(b"\n")
    assert result.stderr.startswith(b"otel-perf run: no report: nothing was recorded; it exited with code 0")
    assert 0 == result.returncode


def test_without_report_nothing_of_ours_is_printed(write, run_program):
    result = run_program([sys.executable, "-c", "import json"])

    assert (b"", b"") == (result.stdout, result.stderr)


# --- sitecustomize and other interpreters -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def other_venv(tmp_path_factory):
    """Make a virtual environment without pip, without otel-perf and without OpenTelemetry."""
    folder = tmp_path_factory.mktemp("other")
    venv.create(folder, with_pip=False, symlinks=POSIX)
    return folder


def interpreter(folder: Path) -> Path:
    return folder / ("bin/python" if POSIX else "Scripts/python.exe")


def site_packages(folder: Path) -> Path:
    return next(folder.glob("lib/python*/site-packages" if POSIX else "Lib/site-packages"))


def test_an_interpreter_without_our_package_is_recorded(write, same_as_plain, other_venv, spans_of, tmp_path):
    write("program.py", "import sys, sqlite3, unittest\nprint(sys.prefix)\n")

    result = same_as_plain([interpreter(other_venv), "program.py"])

    spans = spans_of(tmp_path)
    assert str(other_venv).encode() in result.stdout
    assert "startup" in {span["name"] for span in spans}
    assert str(interpreter(other_venv)) == spans[0]["resource"]["process.executable.path"]


def test_our_package_does_not_appear_in_the_other_environment(write, same_as_plain, other_venv):
    write(
        "program.py",
        "import importlib.util as u\nprint([u.find_spec(n) for n in ('opentelemetry', 'psutil', 'pytest')])",
    )

    assert b"[None, None, None]" in same_as_plain([interpreter(other_venv), "program.py"]).stdout


@pytest.mark.parametrize(
    "text",
    [
        "import sys\nsys.customized = [__name__, __file__]\n",
        "raise ValueError('mine')\n",
        "import nothing_like_this\n",
        "raise SystemExit(5)\n",
        "import sys\nsys.modules['sitecustomize'] = sys\n",
    ],
    ids=["plain", "raises", "lacks a module", "exits", "replaces itself"],
)
@pytest.mark.parametrize("where", ["PYTHONPATH", "site-packages"])
def test_the_user_s_sitecustomize_runs(write, same_as_plain, other_venv, text, where):
    write(
        "program.py", "import sys\nprint(getattr(sys, 'customized', None), sys.modules.get('sitecustomize'), sys.path)"
    )
    env = {}
    if where == "PYTHONPATH":
        env["PYTHONPATH"] = str(write("mine/sitecustomize.py", text).parent)
    else:
        (site_packages(other_venv) / "sitecustomize.py").write_text(text, encoding="utf-8")
    try:
        same_as_plain([interpreter(other_venv), "program.py"], env=env, isolated=True)
    finally:
        (site_packages(other_venv) / "sitecustomize.py").unlink(missing_ok=True)


def test_usercustomize_runs(write, same_as_plain, other_venv, tmp_path):
    write("program.py", "import sys\nprint(getattr(sys, 'customized', None))")
    code = "import site; print(site.getusersitepackages())"
    env = {"PYTHONUSERBASE": str(tmp_path / "user")}
    folder = subprocess.check_output(
        [interpreter(other_venv), "-c", code], text=True, env={**os.environ, **env}
    ).strip()
    write(
        os.path.relpath(os.path.join(folder, "usercustomize.py"), tmp_path),
        "import sys\nsys.customized = 'by the user'\n",
    )
    settings = other_venv / "pyvenv.cfg"
    before = settings.read_text(encoding="utf-8")
    settings.write_text(before.replace("system-site-packages = false", "system-site-packages = true"), encoding="utf-8")
    try:
        assert b"by the user" in same_as_plain([interpreter(other_venv), "program.py"], env=env).stdout
    finally:
        settings.write_text(before, encoding="utf-8")


@pytest.mark.parametrize("name", ["contextvars", "runtime", "recorder", "config", "json", "random"])
def test_modules_of_the_user_with_names_of_ours_are_not_in_the_way(write, same_as_plain, spans_of, tmp_path, name):
    """We are loaded without a look at sys.path; what the program then imports is what it would get without us."""
    folder = write(f"mine/{name}.py", "where = 'mine'\n").parent
    write("program.py", f"import {name}\nprint({name}.where)\n")

    result = same_as_plain([sys.executable, "program.py"], env={"PYTHONPATH": str(folder)})

    assert b"mine" in result.stdout
    assert "startup" in {span["name"] for span in spans_of(tmp_path)}


# --- what cannot be reached -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flags", [["-I"], ["-S"], ["-E"], ["-sI"], ["-X", "dev", "-W", "ignore", "-bbE"]], ids=" ".join
)
def test_an_isolated_interpreter_runs_and_one_line_says_that_nothing_is_recorded(write, run_program, tmp_path, flags):
    write("program.py", "import sys; print(sys.flags); sys.exit(3)")
    command = [sys.executable, *flags, "program.py"]

    plain, result = run_program(command, None), run_program(command)

    assert (plain.stdout, plain.returncode) == (result.stdout, result.returncode)
    assert result.stderr.startswith(b"otel-perf: nothing is recorded: python -")
    assert 1 == result.stderr.count(b"\n")
    assert not (tmp_path / ".otel-perf").exists()


@needs_posix
def test_an_isolated_console_script_is_seen_by_its_first_line(write, run_program):
    write("script", f"#!{sys.executable} -I\nprint(1)\n", 0o755)
    write("through-env", f"#!/usr/bin/env -S {sys.executable} -u\nprint(1)\n", 0o755)

    assert b"otel-perf: nothing is recorded: python -I" in run_program(["./script"]).stderr
    assert b"" == run_program(["./through-env"]).stderr


def test_flags_of_the_program_are_not_those_of_the_interpreter(write, run_program):
    write("program.py", "import sys; print(sys.argv[1:])")

    result = run_program([sys.executable, "program.py", "-I", "-S", "-E"])

    assert b"['-I', '-S', '-E']" in result.stdout
    assert b"" == result.stderr


def test_no_such_program_is_127(run_program):
    for command in (["no-such-program"], ["./no-such-program", "x"], ["no/such/program.py"]):
        result = run_program(command)

        assert 127 == result.returncode
        assert 1 == result.stderr.count(b"\n")
        assert command[0].encode() in result.stderr


@needs_posix
def test_what_cannot_be_started_is_126(write, run_program, tmp_path):
    write("data", "text")
    write("folder/file", "text")
    for command, options in [(["./data"], []), (["./data"], ["--report"]), (["./folder"], []), (["data"], [])]:
        result = run_program(command, options, env={"PATH": f"{tmp_path}:{os.defpath}"})

        assert 126 == result.returncode
        assert 1 == result.stderr.count(b"\n")


@needs_posix
def test_an_interpreter_that_is_gone_is_127(write, run_program):
    write("script", "#!/no/such/python\n", 0o755)

    assert 127 == run_program(["./script"]).returncode


@needs_posix
def test_a_shell_script_that_starts_python_is_recorded(write, same_as_plain, tmp_path, spans_of):
    write(
        "script", f"#!/bin/sh\n{sys.executable} -c 'import sys; sys.exit(4)'\ncode=$?\necho $code\nexit $code\n", 0o755
    )

    assert b"4\n" == same_as_plain(["./script"]).stdout
    assert 1 == len([span for span in spans_of(tmp_path) if span["name"] == "startup"])


@needs_posix
@pytest.mark.timed
def test_a_start_within_a_script_begins_at_its_own_process(write, run_program, tmp_path, spans_of):
    """Not where ``run`` began: the shell may have worked for an hour before it."""
    write("script", f"#!/bin/sh\nsleep 0.7\n{sys.executable} -c pass\ntrue\n", 0o755)

    run_program(["./script"])

    (start,) = [span for span in spans_of(tmp_path) if span["name"] == "startup"]
    assert start["end"] - start["start"] < 0.6e9


# --- the run folder ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["a file", "below a file", "/proc", "read-only"])
def test_a_folder_that_cannot_be_made_costs_one_line(write, run_program, tmp_path, place):
    write("program.py", "import sys; print('ran'); sys.exit(3)")
    write("file", "")
    options = ["--folder", "file/below"] if place == "below a file" else []
    if place == "a file":
        write(".otel-perf", "")
    if place == "/proc":
        if sys.platform != "linux":
            pytest.skip("/proc is Linux")
        options = ["--folder", "/proc/otel-perf"]
    if place == "read-only":
        if not POSIX or os.geteuid() == 0:
            pytest.skip("root may write anywhere; /proc stands for it")
        tmp_path.chmod(0o500)
    try:
        result = run_program([sys.executable, "program.py"], options)
    finally:
        tmp_path.chmod(0o700)

    assert b"ran" in result.stdout
    assert 3 == result.returncode
    assert 1 == result.stderr.count(b"\n")
    assert result.stderr.startswith(b"otel-perf: nothing is recorded: cannot make ")


@needs_posix
def test_a_working_directory_that_is_gone_costs_one_line(write, run_program, otel_perf):
    write("lost", '#!/bin/sh\nmkdir gone\ncd gone\nrmdir ../gone\nexec "$@"\n', 0o755)

    result = run_program(["./lost", *otel_perf, "run", "--", sys.executable, "-c", "print('ran')"], None)

    assert (b"ran\n", 0) == (result.stdout, result.returncode)
    assert result.stderr.startswith(b"otel-perf: nothing is recorded: cannot make ")
    assert 1 == result.stderr.count(b"\n")


def test_folder_and_service_options_are_taken(write, run_program, spans_of, tmp_path):
    run_program([sys.executable, "-c", "pass"], ["--folder", "elsewhere", "--service=shop"])

    assert {"shop"} == {span["resource"]["service.name"] for span in spans_of(tmp_path / "elsewhere")}
    assert not (tmp_path / ".otel-perf").exists()


def test_the_folder_of_the_configuration_file_is_taken_as_report_takes_it(write, run_program, otel_perf, tmp_path):
    write("otel-perf.toml", 'folder = "kept"\n')

    run_program([sys.executable, "-c", "pass"])
    report = run_program([*otel_perf, "report"], None)

    assert (tmp_path / "kept").is_dir()
    assert b"startup" in report.stdout


def test_a_run_within_a_run_belongs_to_it(write, run_program, otel_perf, tmp_path):
    inner = [*otel_perf, "run", "--", sys.executable, "-c", "pass"]
    write("outer.py", f"import subprocess\nsubprocess.run({inner!r}, check=True)\n")

    result = run_program([sys.executable, "outer.py"])

    assert (b"", 0) == (result.stderr, result.returncode)
    assert 1 == len(list((tmp_path / ".otel-perf").glob("*-*")))


def test_a_run_variable_that_leads_nowhere_is_no_run(run_program, tmp_path, processes):
    run_program([sys.executable, "-c", "pass"], env={"OTEL_PERF_RUN": str(tmp_path / "gone" / "run")})

    assert 1 == len(processes(tmp_path))
    assert not (tmp_path / "gone").exists()


# --- children ---------------------------------------------------------------------------------------------------------


def names_of_runs(folder: Path) -> list[str]:
    return [path.name for path in (folder / ".otel-perf").glob("*-*")]


def test_a_child_interpreter_has_its_own_folder_in_the_same_run(
    write, same_as_plain, spans_of, tmp_path, assert_whole_tree
):
    write("child.py", "print('child')")
    write("program.py", "import subprocess, sys\nsubprocess.run([sys.executable, 'child.py'], check=True)\n")

    same_as_plain([sys.executable, "program.py"])

    spans = spans_of(tmp_path)
    starts = [span for span in spans if span["name"] == "startup"]
    assert 1 == len(names_of_runs(tmp_path))
    assert 2 == len({span["process"] for span in starts})
    assert 2 == len({span["resource"]["service.instance.id"] for span in starts})
    assert {"program", "child"} == {span["resource"]["service.name"] for span in starts}
    assert_whole_tree(spans)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_each_process_of_multiprocessing_has_a_folder_and_no_helper_has(
    write, same_as_plain, spans_of, tmp_path, assert_whole_tree, method
):
    if not POSIX and method != "spawn":
        pytest.skip("only spawn is there")
    text = f"""
    import multiprocessing, os, time
    import otel_perf as perf

    def work(i):
        with perf.profile("work", span_threshold=0):
            time.sleep(0.02)
        return i * i

    if __name__ == "__main__":
        context = multiprocessing.get_context({method!r})
        with context.Pool(2) as pool:
            print(pool.map(work, range(8)))
            pool.close()
            pool.join()
        process = context.Process(target=work, args=(1,))
        process.start()
        process.join()
        print(process.exitcode)
    """
    write("program.py", text)
    source = str(Path(__file__).resolve().parents[2] / "src")

    result = same_as_plain([sys.executable, "program.py"], env={"PYTHONPATH": source})

    spans = spans_of(tmp_path)
    assert b"[0, 1, 4, 9, 16, 25, 36, 49]\n0\n" == result.stdout.replace(b"\r", b"")
    assert 4 == len({span["process"] for span in spans})  # the program, two workers, one process
    assert 9 == len([span for span in spans if span["name"] == "work"])
    assert 4 == len({span["resource"]["process.pid"] for span in spans})
    assert (1 if method == "fork" else 4) == len([span for span in spans if span["name"] == "startup"])
    assert_whole_tree(spans)


def test_no_children_leaves_no_trace_in_what_the_program_starts(write, run_program, tmp_path, processes):
    write("program.py", "import os, subprocess, sys\nsubprocess.run([sys.executable, 'child.py'], check=True)\n")
    write("child.py", "import json, os; print(json.dumps(dict(os.environ), sort_keys=True))")

    plain = run_program([sys.executable, "program.py"], None, env={"PYTHONPATH": "mine"})
    recorded = run_program([sys.executable, "program.py"], ["--no-children"], env={"PYTHONPATH": "mine"})

    before, after = json.loads(plain.stdout), json.loads(recorded.stdout)
    assert {"OTEL_PERF_CHILDREN", "OTEL_PERF_STARTED"} == after.keys() - before.keys()
    assert before == {name: after[name] for name in before}
    assert 1 == len(processes(tmp_path))


@needs_posix
@pytest.mark.timed
def test_a_program_that_execs_another_leaves_both_records(write, same_as_plain, tmp_path, spans_of, processes):
    write(
        "first.py", "import os, sys, time\ntime.sleep(0.6)\nos.execv(sys.executable, [sys.executable, 'second.py'])\n"
    )
    write("second.py", "print('second')")

    same_as_plain([sys.executable, "first.py"])

    (start,) = [span for span in spans_of(tmp_path) if span["name"] == "startup"]
    assert "second" == start["resource"]["service.name"]
    assert "interpreter" == start["attributes"]["otel_perf.startup.creation"]
    assert start["end"] - start["start"] < 0.5e9  # not from the creation of the process, which ran another program


@needs_posix
def test_a_forked_child_that_leaves_by_os_exit_keeps_what_is_a_moment_old(write, same_as_plain, tmp_path, spans_of):
    write(
        "program.py",
        """
        import os, time
        import otel_perf as perf
        pid = os.fork()
        if pid == 0:
            with perf.phase("of the child"):
                time.sleep(0.01)
            time.sleep(0.5)
            os._exit(0)
        print(os.waitpid(pid, 0)[1])
        """,
    )
    source = str(Path(__file__).resolve().parents[2] / "src")

    same_as_plain([sys.executable, "program.py"], env={"PYTHONPATH": source})

    spans = {span["name"]: span for span in spans_of(tmp_path)}
    assert spans["of the child"]["process"] != spans["startup"]["process"]
    assert spans["of the child"]["trace_id"] != spans["startup"]["trace_id"]


@needs_posix
def test_a_fork_is_not_warned_of_because_of_our_thread(write, same_as_plain, tmp_path, spans_of):
    """From 3.12 Python warns of a fork beside another thread; all records of parent and children are there too."""
    write(
        "program.py",
        """
        import os, time
        import otel_perf as perf
        for i in range(6):
            with perf.phase(f"parent {i}"):
                time.sleep(0.001)
            pid = os.fork()
            if pid == 0:
                with perf.phase(f"child {i}"):
                    pass
                time.sleep(0.3)
                os._exit(0)
            time.sleep(0.03 * i)
        for i in range(6):
            os.wait()
        """,
    )
    source = str(Path(__file__).resolve().parents[2] / "src")

    same_as_plain([sys.executable, "-W", "always", "program.py"], env={"PYTHONPATH": source})

    names = [span["name"] for span in spans_of(tmp_path)]
    expected = sorted(f"{who} {i}" for who in ("parent", "child") for i in range(6))
    assert expected == sorted(name for name in names if name.startswith(("parent", "child")))


# --- what is recorded -------------------------------------------------------------------------------------------------


@pytest.mark.timed
def test_a_program_that_never_calls_ready_is_measured_whole(
    write, start_program, spans_of, tmp_path, assert_whole_tree
):
    write("program.py", "import time\nimport sqlite3, decimal\ntime.sleep(0.3)\n")
    before = time.time_ns()
    process = start_program([sys.executable, "program.py"])
    process.communicate(timeout=30)
    after = time.time_ns()

    spans = spans_of(tmp_path)
    (root,) = [span for span in spans if span["parent_id"] is None]
    (pre,) = [span for span in spans if span["name"] == "PreInit"]
    assert "startup" == root["name"]
    assert "exit" == root["attributes"]["otel_perf.ready"]
    assert "exec" == root["attributes"]["otel_perf.startup.creation"]
    assert before <= root["start"] <= pre["start"] <= pre["end"] <= root["end"] <= after
    assert root["end"] - root["start"] >= 0.3e9
    assert pre["end"] - pre["start"] < 0.3e9
    assert "program" == root["resource"]["service.name"]
    assert_whole_tree(spans)


def test_init_of_the_program_counts_as_the_first(write, run_program, spans_of, tmp_path, assert_whole_tree):
    write(
        "program.py",
        """
        import otel_perf as perf
        perf.init("shop", "1.4.2", phases=["Load", "Serve"])
        with perf.phase("Load"):
            pass
        perf.ready()
        """,
    )
    source = str(Path(__file__).resolve().parents[2] / "src")

    result = run_program([sys.executable, "program.py"], env={"PYTHONPATH": source})

    spans = spans_of(tmp_path)
    (root,) = [span for span in spans if span["name"] == "startup"]
    assert (b"", 0) == (result.stderr, result.returncode)
    assert ("shop", "1.4.2") == tuple(root["resource"][f"service.{key}"] for key in ("name", "version"))
    assert ["Load", "Serve"] == root["attributes"]["otel_perf.startup.phases"]
    assert "ready()" == root["attributes"]["otel_perf.ready"]
    assert_whole_tree(spans)


@pytest.mark.parametrize("wait", [0, 0.2], ids=["before we write", "after we wrote"])
def test_switch_of_the_samples_that_the_program_sets_before_init_counts(wait, write, run_program, metrics_of, tmp_path):
    write(
        "program.py",
        f"""
        import os, time
        time.sleep({wait})
        os.environ["OTEL_PERF_METRICS"] = "0"
        import otel_perf as perf
        perf.init("shop")
        time.sleep(0.6)
        """,
    )
    source = str(Path(__file__).resolve().parents[2] / "src")

    result = run_program([sys.executable, "program.py"], env={"PYTHONPATH": source})

    assert (b"", 0) == (result.stderr, result.returncode)
    names = {point["metric"] for point in metrics_of(tmp_path)}
    assert "otel_perf.self.cpu_time" in names
    assert "process.memory.usage" not in names


def test_nothing_is_recorded_when_the_sdk_is_disabled(run_program, tmp_path, processes):
    result = run_program([sys.executable, "-c", "print(1)"], env={"OTEL_SDK_DISABLED": "true"})

    assert (0, b"") == (result.returncode, result.stderr)
    assert [] == processes(tmp_path)


def test_the_command_loads_next_to_nothing(otel_perf, run_program):
    """What it loads is what ``run`` costs; names of modules are the budget, never a stopwatch."""
    script = Path(otel_perf[1]).read_text(encoding="utf-8").replace("sys.exit(main())", "import otel_perf.commands.run")
    code = f"import os, sys\nplain = set(sys.modules)\n{script}\nprint(*sorted(set(sys.modules) - plain))"

    loaded = run_program([sys.executable, "-I", "-c", code], None).stdout.decode().split()

    assert {"__future__"} == {name for name in loaded if not name.startswith("otel_perf")}
    assert len(loaded) <= 10


def test_the_target_has_loaded_only_these_before_its_first_line(write, run_program):
    code = "import sys; print(*sorted(sys.modules))"

    plain = run_program([sys.executable, "-c", code], None, env={"PYTHONPATH": None}).stdout.split()
    recorded = run_program([sys.executable, "-c", code]).stdout.split()

    others = {name.decode() for name in set(recorded) - set(plain) if not name.startswith(b"otel_perf")}
    assert set() == others - set(sys.builtin_module_names) - {"__future__", "_contextvars", "_random"}


def test_help_and_mistakes_say_how(otel_perf, run_program):
    shown = run_program([*otel_perf, "run", "--help"], None)
    assert 0 == shown.returncode
    assert b"otel-perf run -- python app.py" in shown.stdout
    for arguments, part in [
        (["run"], b"which program?"),
        (["run", "--"], b"which program?"),
        (["run", "--nothing", "--", "python"], b"no option --nothing"),
        (["run", "--folder"], b"--folder needs a value"),
        (["run", "--report=yes", "x"], b"--report takes no value"),
        (["fly"], b"no command 'fly'"),
    ]:
        result = run_program([*otel_perf, *arguments], None)

        assert 2 == result.returncode
        assert 1 == result.stderr.count(b"\n")
        assert part in result.stderr
        assert b"" == result.stdout
