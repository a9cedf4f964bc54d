"""`otel-perf view`: a local page that shows a run, in progress or over."""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import sys
import tempfile
import time
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from otel_perf.errors import UserError
from otel_perf.export.runs import find_run, find_runs, pick_process, runs_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_perf.view.runs import Runs

ZOMBIE = psutil.STATUS_ZOMBIE
EXTRA = "Starlette and uvicorn are not installed: pip install 'otel-perf[view]'"
LINGER = 60.0  # seconds without a page, or a process of its run, after which a program's server ends
MOST_FILES = 4_096  # that the program may have open
NICE = 10  # such a server leaves the CPU to the program
LEADS = """\
<!doctype html>
<meta charset="utf-8"><meta name="referrer" content="no-referrer"><title>otel-perf view</title>
<meta http-equiv="refresh" content="0; url={address}">
<p><a href="{address}">the run</a></p>
"""

DESCRIPTION = """\
Show a run in the browser: whether all is well, CPU, memory and threads over time with the alerts, flame graph and
functions of any part of the time, the start as a waterfall with its critical path. A run in progress is followed; the
newest run is, as soon as another one begins."""

EXAMPLES = """\
examples:
  otel-perf view                         the newest run of .otel-perf/, or the one that begins next
  otel-perf view 2026-11-25T10-15-02     one of them
  otel-perf view --open                  in the browser at once
  otel-perf view --port 8700             on this port, so that the address is the same but for its token
  otel-perf run --view -- python app.py  with the program

The page is served to this machine alone, and only to the browser that opens the printed address: its token is valid
until the server ends (Ctrl-C). Nothing is written, but for a file of yours alone that leads --open to the page and is
removed at the end; the program that is measured is not touched.

exit status: 0 it was ended, 1 it cannot listen, 2 there is no such run or the command line is wrong"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    options = argparse.ArgumentParser(
        prog="otel-perf view",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("run", metavar="RUN", nargs="?", help="a run's name or folder; default the newest")
    options.add_argument("--process", metavar="P", help="a process of the run; default the one that started first")
    options.add_argument("--folder", metavar="DIR", help="where runs are; default OTEL_PERF_FOLDER, or .otel-perf")
    options.add_argument("--port", metavar="N", type=_port, default=0, help="where to listen; default any free port")
    options.add_argument("--open", action="store_true", help="open the page in the browser")
    # for beside.py: say the address on stderr, end some time after this process
    options.add_argument("--beside", metavar="PID", type=int, help=argparse.SUPPRESS)
    options.add_argument("--linger", metavar="S", type=float, default=LINGER, help=argparse.SUPPRESS)
    return options


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text[:6]) < 65_536):
        raise argparse.ArgumentTypeError(f"write a port from 1 to 65535, or 0 for a free one, got {text!r}")
    return int(text)


def main(argv: list[str]) -> int:
    """Run the command with the arguments after its name; return its exit status.

    Raises: UserError: there is no such run, it cannot listen, or what it needs is not installed.
    """
    options = parser().parse_args(argv)
    if options.beside is not None:
        _step_aside()
    try:
        from otel_perf.view import guard, server
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("starlette", "uvicorn", "anyio", "h11"):
            raise UserError(EXTRA) from None
        raise
    runs = _runs(options)
    listener = server.listen(options.port)
    token = secrets.token_urlsafe(24)
    address = f"http://{guard.ADDRESS}:{listener.getsockname()[1]}/?token={token}"
    ends = _never
    if options.beside is None:
        print(address, flush=True)
    else:
        ends = Companion(options.beside, runs, options.linger).is_over
        _tell(address)
    with _opened(address) if options.open else nullcontext():
        server.serve(runs, listener, token, ends)
    return 0


@contextmanager
def _opened(address: str) -> Iterator[None]:
    """Open *address* in the browser, by a file that leads there: every user can read a browser's command line."""
    import webbrowser

    signal.signal(signal.SIGTERM, _end)  # uvicorn ends, then the signal is raised again
    file, path = tempfile.mkstemp(prefix="otel-perf-view-", suffix=".html")  # for its owner alone
    try:
        with open(file, "w", encoding="ascii") as page:
            page.write(LEADS.format(address=address))
        webbrowser.open(Path(path).as_uri())
        yield
    finally:
        with suppress(OSError):
            os.unlink(path)


def _end(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


def _step_aside() -> None:
    """Leave the CPU to the program, and let go of the files that it has handed on."""
    if os.name != "nt":
        os.closerange(3, MOST_FILES)
        os.nice(NICE)


def _never(pages: int) -> bool:
    return False


def _tell(address: str) -> None:
    """Say the address on the program's stderr, and let go of that: whoever reads it waits for its end."""
    try:
        sys.stderr.write(f"otel-perf: this run in the browser: {address}\n")
        sys.stderr.flush()
    except (OSError, AttributeError):
        return
    finally:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 2)
        os.close(nothing)


class Companion:
    """Says when a server is over that was started with a program: some time after that, unless a page is open."""

    def __init__(self, pid: int, runs: Runs, linger: float) -> None:
        self.runs = runs
        self.linger = linger
        self._needed = time.monotonic()
        try:
            self._program: psutil.Process | None = psutil.Process(pid)
        except psutil.Error:
            self._program = None

    def is_over(self, pages: int) -> bool:
        """Say so; *pages* are open."""
        now = time.monotonic()
        if pages or self._runs() or self.runs.any_runs():
            self._needed = now
        return now - self._needed > self.linger

    def _runs(self) -> bool:
        try:  # is_running() knows a pid that was given out again
            return self._program is not None and self._program.is_running() and self._program.status() != ZOMBIE
        except psutil.Error:
            return False


def _runs(options: argparse.Namespace) -> Runs:
    """Return the runs that the page may show.

    Raises: UserError: the one that is named is not there.
    """
    from otel_perf.view.runs import Runs

    folder = runs_folder(options.folder)
    if options.beside is not None:  # which may have written nothing yet
        return Runs(folder, asked=os.path.basename(options.run or ""))
    if options.run is None and not find_runs(folder):
        if options.process is not None:
            raise UserError(f"no run yet, so no process {options.process!r}; leave --process out")
        return Runs(folder)
    run, process = find_run(options.run, folder)
    if options.process is not None:
        process = pick_process(run, options.process)
    here = os.path.dirname(os.path.abspath(run.path)) == os.path.abspath(folder)
    asked = None if options.run is None else run.name
    return Runs(folder, None if here else run.path, asked, process)
