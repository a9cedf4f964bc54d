"""``otel-perf run``: any program, unchanged.

Imports only: os, sys, time, _signal; this interpreter's start is part of what the program costs. The program is
started by exec in our place, with _site first in PYTHONPATH; with --report we stay as its parent, pass signals on,
report at the end, and end as it ended.
"""

from __future__ import annotations

import os
import sys
from time import perf_counter_ns

from otel_perf.export.folder import DEFAULT, RUN, create_run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HELP = """usage: otel-perf run [--report] [--view] [--ready-when RULE] [--folder DIR] [--service NAME] [--no-children]
                     [--] PROGRAM [ARGUMENT ...]

Run a Python program, unchanged, and record its start, its imports and its OpenTelemetry spans. PROGRAM is an
interpreter with its arguments, a console script of any virtual environment, a script that ends in .py,
a folder with __main__.py, or -m MODULE / -c CODE for this interpreter. Input, output, exit code and signals are
the program's own.

options:
  --report        print the report on stderr when the program has ended
  --view          serve a page that shows the run while it goes on; its address is written to stderr
  --ready-when RULE  what ends the start: port:N (that port listens), listen (any does), exit, or a time such as 5s;
                  without: the program's own ready(), else a socket that listens, the end of the main module while
                  threads go on, or half a second without work, whichever comes first; ready() wins if it comes
                  within 3 s (10 s of idling, in a program that calls init())
  --folder DIR    where runs are kept (default: .otel-perf, or OTEL_PERF_FOLDER)
  --service NAME  service.name (default: OTEL_SERVICE_NAME, or the program's name)
  --no-children   record this program only, not the interpreters that it starts
  -h, --help      show this

examples:
  otel-perf run -- python app.py --port 8000
  otel-perf run --report -- python -m http.server
  otel-perf run flask --app shop run
  otel-perf run --ready-when port:8000 -- python serve.py
  otel-perf run -m json.tool data.json

The way in is PYTHONPATH: python -I, -E and -S cannot be reached, nor what runs with an empty environment; Python must
be 3.11 or newer. Such a program runs all the same, unrecorded. What a recorded program can see of it: our folder at
the front of the variable PYTHONPATH (not of sys.path), OTEL_PERF_SITE, OTEL_PERF_RUN and OTEL_PERF_STARTED, and a
handler for SIGTERM and SIGHUP where there was none, which writes what is open and lets the signal do its work.

Then `otel-perf report` shows where the start went. The program's own exit code is returned; 127: not found,
126: found but cannot be started.
"""

VARIABLES = {  # options that take a value, which the recorded process reads from its environment
    "--folder": "OTEL_PERF_FOLDER",
    "--ready-when": "OTEL_PERF_READY_WHEN",
    "--service": "OTEL_SERVICE_NAME",
}
STARTED = "OTEL_PERF_STARTED"  # read by startup.py, which is not worth its import here
NOT_FOUND, NOT_STARTED = 127, 126  # as a shell has it
ISOLATING = "IES"  # interpreter flags under which no sitecustomize of ours is found
WITH_VALUE = "cmXW"  # interpreter flags that take the rest of the word, or the next word, as their value
SCRIPTS = (".py", ".pyw", ".pyz")
FORWARDED = ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGCONT", "SIGWINCH", "SIGINT", "SIGQUIT")
BY_TERMINAL = ("SIGINT", "SIGQUIT", "SIGWINCH", "SIGHUP")  # a terminal sends these to the program as well as to us


def main(argv: list[str]) -> int:
    """Parse the options by hand (argparse costs 10 ms) and become the program."""
    report, view, index, environ = False, False, 0, dict(os.environ)
    while index < len(argv) and argv[index].startswith("-") and argv[index] not in ("--", "-m", "-c"):
        option, equals, value = argv[index].partition("=")
        index += 1
        if option in ("-h", "--help"):
            sys.stdout.write(HELP)
            return 0
        if option in VARIABLES:
            if not equals:
                value = argv[index] if index < len(argv) else ""
                index += 1
            if not value:
                return _usage(f"{option} needs a value")
            environ[VARIABLES[option]] = value
            if option == "--ready-when" and (problem := _bad_rule(value)):
                return _usage(problem)
            if option == "--folder":
                environ.pop(RUN, None)
        elif equals:
            return _usage(f"{option} takes no value")
        elif option == "--report":
            report = True
        elif option == "--view":
            view = True
        elif option == "--no-children":
            environ["OTEL_PERF_CHILDREN"] = "0"
        else:
            return _usage(f"no option {option}; put -- before the program if it is the program's")
    command = argv[index + (argv[index : index + 1] == ["--"]) :]
    if not command or not command[0]:
        return _usage("which program? for example: otel-perf run -- python app.py")
    return _run(as_program(command), environ, report, view)


def _bad_rule(text: str) -> str:
    """Say what is wrong with the rule *text*, nothing if it is one."""
    from otel_perf.config import ready_rule

    try:
        ready_rule(text)
    except ValueError as error:
        return f"--ready-when: {error}"
    return ""


def _usage(text: str) -> int:
    sys.stderr.write(f"otel-perf run: {text} (otel-perf run --help)\n")
    return 2


def as_program(command: list[str]) -> list[str]:
    """Return the command with this interpreter in front where it names a script, a folder or a module only."""
    first = command[0]
    if first in ("-m", "-c"):
        return [sys.executable, *command]
    if os.path.isdir(first):
        return [sys.executable, *command] if os.path.isfile(os.path.join(first, "__main__.py")) else command
    if first.endswith(SCRIPTS) and os.path.isfile(first):
        # A path to a script that says what runs it is started as a shell would start it.
        ready = os.path.dirname(first) and os.access(first, os.X_OK) and shebang(first)
        return command if ready else [sys.executable, *command]
    return command


def _run(command: list[str], environ: dict[str, str], report: bool, view: bool) -> int:
    path = find(command[0], environ)
    if path is None:
        sys.stderr.write(f"otel-perf run: {command[0]}: not found; is it installed, and on PATH?\n")
        return NOT_FOUND
    problem = unreachable(path, command)
    run = ""
    if problem:
        _say(f"nothing is recorded: {problem}")
    else:
        folder = _folder(environ)
        try:
            run = _joined(environ, report) or create_run(os.path.abspath(folder))
        except OSError as error:
            why = f"cannot make {error.filename or folder}: {error.strerror}"
            _say(f"nothing is recorded: {why}; name another place with --folder")
        else:
            if view:
                _view(environ, run)
            _reach(environ, run)
    if report or os.name == "nt":
        return _supervise(path, command, environ, run if report else "")
    return _exec(path, command, environ)


def _say(text: str) -> None:
    """Write one line to stderr, if that takes it: the program is started all the same."""
    try:
        sys.stderr.write(f"otel-perf: {text}\n")
    except OSError:
        return


def _view(environ: dict[str, str], run: str) -> None:
    """Start the page of this run, once for all its processes."""
    from otel_perf import beside

    try:
        beside.start(run, os.getpid())
        environ[beside.VIEWED] = "1"
    except OSError as error:
        _say(f"no page: cannot start {error.filename or sys.executable}: {error.strerror}")


def _folder(environ: dict[str, str]) -> str:
    """Return where runs are kept; the settings are loaded only where a file of ours may be."""
    if os.path.exists("otel-perf.toml") or os.path.exists("pyproject.toml"):
        from otel_perf.config import load

        return str(load({}, environ).folder)
    return environ.get("OTEL_PERF_FOLDER") or DEFAULT


def _joined(environ: dict[str, str], report: bool) -> str:
    """Return the run that this program belongs to already, as one that another recorded program starts; else empty."""
    run = environ.get(RUN, "")
    return run if run and not report and os.path.isdir(run) else ""


def _reach(environ: dict[str, str], run: str) -> None:
    """Put our way into the interpreter into *environ*."""
    site = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "_site")
    before = environ.get("PYTHONPATH", "")
    if before.split(os.pathsep)[0] != site:
        environ["PYTHONPATH"] = site + os.pathsep + before if before else site
    environ["OTEL_PERF_SITE"] = site
    environ[RUN] = run
    environ[STARTED] = f"{os.getpid()}:{perf_counter_ns()}"


def _exec(path: str, command: list[str], environ: dict[str, str]) -> int:
    """Become the program; return only if that fails."""
    import _signal  # type: ignore[import-not-found]  # signal itself costs 5 ms

    for name in ("SIGPIPE", "SIGXFSZ"):  # this interpreter ignores them, and exec would hand that on
        if hasattr(_signal, name):
            _signal.signal(getattr(_signal, name), _signal.SIG_DFL)
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execve(path, command, environ)
    except OSError as error:
        return _not_started(path, error)


def _not_started(path: str, error: OSError) -> int:
    sys.stderr.write(f"otel-perf run: {path}: {error.strerror}\n")
    return NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_STARTED


def find(name: str, environ: dict[str, str]) -> str | None:
    """Return the path of the program *name* as a shell finds it, startable or, for want of one, not."""
    if os.path.dirname(name):
        return name if os.path.exists(name) else None
    endings = environ.get("PATHEXT", "").split(os.pathsep) if os.name == "nt" else []
    second_best = None
    for folder in environ.get("PATH", os.defpath).split(os.pathsep):
        for ending in ["", *endings]:
            path = os.path.join(folder or ".", name + ending)
            if os.path.isfile(path):
                if os.access(path, os.X_OK):
                    return path
                second_best = second_best or path
    return second_best


def unreachable(path: str, command: list[str]) -> str:
    """Say why the interpreter of this command cannot be reached, empty if it can as far as one sees from outside."""
    words = command if is_python(path) else shebang(path)  # a shell script or a binary may start Python further down
    while words and not is_python(words[0]):
        words = words[1:]
    skip = False
    for word in words[1:]:
        if skip:
            skip = False
            continue
        if not word.startswith("-") or word in ("-", "--"):
            break
        if word.startswith("--"):
            skip = word == "--check-hash-based-pycs"
            continue
        for place, letter in enumerate(word[1:], 2):
            if letter in ISOLATING:
                return f"python -{letter} ignores PYTHONPATH, the way in of `otel-perf run`"
            if letter in WITH_VALUE:
                if letter in "cm":  # what follows is the program's
                    return ""
                skip = place == len(word)
                break
    return ""


def is_python(path: str) -> bool:
    """Say whether *path* is named as a Python interpreter is."""
    name = os.path.basename(path).lower().removesuffix(".exe")
    return name.rstrip("0123456789.t") in ("python", "pythonw", "pypy")


def shebang(path: str) -> list[str]:
    """Return the words of a script's first line after ``#!``, none if it has no such line."""
    try:
        with open(path, "rb") as file:
            start = file.read(512)
    except OSError:
        return []
    if not start.startswith(b"#!"):
        return []
    return start[2:].split(b"\n")[0].decode("utf-8", "replace").split()


def _supervise(path: str, command: list[str], environ: dict[str, str], run: str) -> int:
    """Run the program as a child, pass signals on, report at the end, and end as it ended."""
    import signal
    import subprocess

    child: Any = None

    def forward(number: int, _frame: object) -> None:
        if number in by_terminal and _in_foreground():
            return
        if child is None:
            early.append(number)
        elif child.returncode is None:
            child.send_signal(number)

    early: list[int] = []  # signals that came before we knew the child
    by_terminal = [getattr(signal, name, None) for name in BY_TERMINAL]
    for name in FORWARDED:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:  # what is ignored stays so for the child
            signal.signal(number, forward)
    try:
        child = subprocess.Popen(command, executable=path, env=environ, close_fds=False)
    except OSError as error:
        return _not_started(path, error)
    for number in early:
        child.send_signal(number)
    from .status import OomKills, note_status, shown, status_of

    kills = OomKills()
    status = status_of(child)
    code = int(child.wait())
    if run:
        note_status(os.path.join(run, str(child.pid)), status, kills.more())
        _print_report(run, shown(status))
    if code >= 0:
        return code
    sys.stdout.flush()
    sys.stderr.flush()
    _end_by(-code)
    return 128 - code


def _end_by(number: int) -> None:
    """End by the same signal as the program, as whoever waits for us expects; the core it left is not replaced."""
    import resource
    import signal

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if number != signal.SIGKILL:  # of which there is no handler to reset
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _in_foreground() -> bool:
    """Say whether a terminal's signals come to us, and so to the program as well."""
    try:
        terminal = os.open(os.ctermid(), os.O_RDONLY | os.O_NOCTTY)
    except (AttributeError, OSError):
        return os.name == "nt"
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def _print_report(run: str, how: str) -> None:
    from otel_perf.analysis.report import report_for
    from otel_perf.errors import UserError
    from otel_perf.export.runs import processes_in

    try:
        if not processes_in(run):
            raise UserError(f"nothing was recorded; {how}")
        sys.stderr.write(report_for(run, sys.stderr))
    except UserError as error:
        sys.stderr.write(f"otel-perf run: no report: {error.message}\n")
    except Exception as error:  # noqa: BLE001  # the program's exit code is still to be returned
        sys.stderr.write(f"otel-perf run: no report: {type(error).__name__}: {error}\n")
