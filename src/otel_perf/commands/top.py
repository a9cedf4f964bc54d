"""`otel-perf top`: a run in the terminal, as it goes on."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from otel_perf.analysis.text import style_for
from otel_perf.errors import UserError
from otel_perf.export.runs import find_run, find_runs, runs_folder
from otel_perf.terminal.follow import Followed
from otel_perf.terminal.plain import lines
from otel_perf.terminal.watching import Watching
from otel_perf.terminal.window import has_window, in_window

from .output import Bar, write

if TYPE_CHECKING:
    from otel_perf.analysis.text import Style
    from otel_perf.view.live import Live

ENDLESS = 100_000  # columns of a line that goes into a file or a pipe

DESCRIPTION = """\
Show a run in the terminal as it goes on: whether all is well and what costs points, CPU, memory and threads over time
with the limits of the budgets, open alerts, the functions of the last seconds and of the run, the slowest calls. The
newest run is followed, as soon as another one begins."""

EXAMPLES = """\
examples:
  otel-perf top                          the newest run of .otel-perf/, or the one that begins next
  otel-perf top 2026-11-25T10-15-02      one of them
  otel-perf top --process 4242           another process of the run; in the window, tab goes through them
  otel-perf top | tee top.log            without a window: a line a second, until the program has ended
  otel-perf top --plain --count 1        one line

In the window: q quits, p pauses, s sorts by the next column, / searches, r resets the charts, + and - show less and
more of the time, a shows more metrics, tab the next process, ? help. NO_COLOR=1 spares the colours; with TERM=dumb or
2>file there is no window.

exit status: 0 it was ended, or the program has ended, 1 it could not be written, 2 there is no such run or the command
line is wrong"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    options = argparse.ArgumentParser(
        prog="otel-perf top",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("run", metavar="RUN", nargs="?", help="a run's name or folder; default the newest")
    options.add_argument("--process", metavar="P", help="a process of the run; default the one that started first")
    options.add_argument("--folder", metavar="DIR", help="where runs are; default OTEL_PERF_FOLDER, or .otel-perf")
    options.add_argument("--interval", metavar="S", type=_seconds, default=1.0, help="seconds between looks; default 1")
    options.add_argument("--count", metavar="N", type=_number, help="end after so many looks")
    options.add_argument("--plain", action="store_true", help="lines instead of a window")
    return options


def _seconds(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0.1 <= found <= 86_400:
        raise argparse.ArgumentTypeError(f"write seconds from 0.1 to 86400, got {text!r}")
    return found


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text[:10]) > 0):
        raise argparse.ArgumentTypeError(f"write a number from 1, got {text!r}")
    return int(text)


def main(argv: list[str]) -> int:
    """Run the command with the arguments after its name; return its exit status.

    Raises: UserError: there is no such run, or it cannot be read.
    """
    options = parser().parse_args(argv)
    folder, style = runs_folder(options.folder), style_for(sys.stdout)
    if options.run is None and options.process is not None and not find_runs(folder):
        raise UserError(f"no run yet, so no process {options.process!r}; leave --process out")
    if not options.plain and has_window(sys.stdin, sys.stdout, sys.stderr):
        followed = Followed(folder, options.run, options.process)
        in_window(Watching(followed, options.interval, options.count), style)
        return 0
    run = options.run if options.run is not None else find_run(None, folder)[0].path  # the one that is there now
    if not sys.stdout.isatty() and not os.environ.get("COLUMNS"):
        style = replace(style, width=ENDLESS)
    return _plain(Followed(folder, run, options.process), style, options)


def _plain(followed: Followed, style: Style, options: argparse.Namespace) -> int:
    with Bar() as bar:

        def progress(live: Live) -> None:
            bar.progress(f"reading {live.path}", live.read, live.total)

        for line in lines(followed, style, options.interval, options.count, progress):
            bar.end()
            if not write(line + "\n", "what it shows"):
                break  # whoever read it has enough
    return 0
