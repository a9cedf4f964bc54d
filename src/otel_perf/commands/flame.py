"""`otel-perf flame`: where a run's time went, as a call tree in the terminal."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from otel_perf.analysis.text import NARROWEST, style_for
from otel_perf.errors import UserError
from otel_perf.export.runs import runs_folder
from otel_perf.terminal import sources
from otel_perf.terminal.browse import Browser
from otel_perf.terminal.flame import Look, close_below, compare, difference_of, flame_lines, rows_of
from otel_perf.terminal.follow import load
from otel_perf.terminal.window import has_window, in_window

from .output import Bar, write
from .report import skipped_lines

if TYPE_CHECKING:
    from otel_perf.analysis.text import Style
    from otel_perf.terminal.sources import Chosen
    from otel_perf.view.live import Live

DESCRIPTION = """\
Show where a run's time went as a call tree: each call's bar lies below that of its caller and is as long as its share
of all; total is the time with everything that was called, self the time in the function alone. By default of all
profiled calls of the run."""

EXAMPLES = """\
examples:
  otel-perf flame                        the newest run of .otel-perf/, calls below 1 % folded
  otel-perf flame --min 0 --depth 4      everything, four levels deep
  otel-perf flame --from 10 --to 20      what ended from 10 s to 20 s after the process began
  otel-perf flame --from -30             what ended in the last 30 s
  otel-perf flame --start                the spans of the start
  otel-perf flame --trace 4bf92f35       one trace, as otel-perf top names it
  otel-perf flame --diff 2026-11-25T10-15-02   compared with another run: slower, faster, new, gone
  otel-perf flame -i                     unfold, zoom and search with keys
  otel-perf flame | less -S              plain text, 100 columns wide

exit status: 0 it was shown, 1 there is nothing to show or it could not be written, 2 there is no such run or trace, or
the command line is wrong"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    options = argparse.ArgumentParser(
        prog="otel-perf flame",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("run", metavar="RUN", nargs="?", help="a run's name or folder; default the newest")
    options.add_argument("--process", metavar="P", help="a process of the run; default the one that started first")
    options.add_argument("--folder", metavar="DIR", help="where runs are; default OTEL_PERF_FOLDER, or .otel-perf")
    which = options.add_mutually_exclusive_group()
    which.add_argument("--start", action="store_true", help="the spans of the start")
    which.add_argument("--trace", metavar="ID", type=_trace, help="the spans of one trace, or how its id begins")
    options.add_argument("--from", metavar="S", dest="begin", type=_seconds, help="seconds since the process began")
    options.add_argument("--to", metavar="S", dest="end", type=_seconds, help="the same; below 0: before the end")
    options.add_argument("--diff", metavar="RUN", help="show the difference to another run")
    options.add_argument(
        "--min", metavar="P", type=_share, default=0.01, help="fold calls below this share; default 1%%"
    )
    options.add_argument("--depth", metavar="N", type=_depth, help="fold what is deeper")
    options.add_argument("-i", "--interactive", action="store_true", help="unfold, zoom and search with keys")
    options.add_argument("--width", metavar="N", type=_width, help="columns to use; default the window's, or 100")
    return options


def _seconds(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = float("nan")
    if not abs(found) < 1e9:
        raise argparse.ArgumentTypeError(f"write seconds, such as 10 or -30, got {text!r}")
    return found


def _share(text: str) -> float:
    try:
        found = float(text.strip().removesuffix("%"))
    except ValueError:
        found = -1.0
    if not 0 <= found <= 100:
        raise argparse.ArgumentTypeError(f"write a share from 0% to 100%, got {text!r}")
    return found / 100


def _depth(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text[:9]) > 0):
        raise argparse.ArgumentTypeError(f"write a number of levels from 1, got {text!r}")
    return int(text[:9])


def _trace(text: str) -> str:
    if not (4 <= len(text) <= sources.TRACE_ID and all(letter in "0123456789abcdefABCDEF" for letter in text)):
        raise argparse.ArgumentTypeError(f"write 4 to 32 hex digits, got {text!r}")
    return text


def _width(text: str) -> int:
    if not (text.isascii() and text.isdigit() and NARROWEST <= int(text[:9]) <= 100_000):
        raise argparse.ArgumentTypeError(f"write a number of columns from {NARROWEST} to 100000, got {text!r}")
    return int(text)


def main(argv: list[str]) -> int:
    """Run the command with the arguments after its name; return its exit status.

    Raises: UserError: there is no such run, nothing to show, or it cannot be read.
    """
    options = parser().parse_args(argv)
    _check(options)
    folder = runs_folder(options.folder)
    live = _load(folder, options.run, options.process)
    chosen = _chosen(live, options)
    process = live.process()
    subject = " ".join(part for part in (process.service, process.version) if part)
    titles = [f"{subject}: {chosen.words}", f"run {process.run}, process {process.name}"]
    style = style_for(sys.stdout, options.width)
    if options.diff is not None:
        other = _load(folder, options.diff, None)
        before = _chosen(other, options)
        compare(chosen.root, before.root)
        titles.append(_compared(chosen, before, other, style))
    if options.depth is not None:
        close_below(chosen.root, options.depth)
    for line in skipped_lines(process.skipped):
        print(f"otel-perf flame: {line}", file=sys.stderr)
    if options.interactive and has_window(sys.stdin, sys.stdout, sys.stderr):
        browser = Browser(chosen.root, titles, options.min, options.diff is not None)
        in_window(browser, style)
        return 0
    write(_text(chosen, titles, options, style), "the flame")
    return 0


def _check(options: argparse.Namespace) -> None:
    ranged = options.begin is not None or options.end is not None
    if ranged and (options.start or options.trace is not None):
        raise UserError("--from and --to are of the whole run's calls; leave them out with --start and --trace")
    if options.diff is not None and options.trace is not None:
        raise UserError("a trace is in one run only; leave --diff or --trace out")
    begin, end = options.begin, options.end
    if begin is not None and end is not None and begin >= end and (begin < 0) == (end < 0):
        raise UserError(f"--from {begin:g} is not before --to {end:g}")
    if options.interactive and not has_window(sys.stdin, sys.stdout, sys.stderr):
        print("otel-perf flame: no window for -i here; it is shown as text", file=sys.stderr)


def _load(folder: str, run: str | None, process: str | None) -> Live:
    with Bar() as bar:
        return load(folder, run, process, lambda live: bar.progress(f"reading {live.path}", live.read, live.total))


def _chosen(live: Live, options: argparse.Namespace) -> Chosen:
    if options.start:
        return sources.start(live)
    if options.trace is not None:
        return sources.trace(live, options.trace)
    return sources.profile(live, sources.Range(options.begin, options.end))


def _compared(chosen: Chosen, before: Chosen, other: Live, style: Style) -> str:
    sign, word = difference_of(chosen.root.total, before.root.total, style)
    process = other.process()
    there = style.duration(before.root.total / 1e9)
    return f"compared with run {process.run}, process {process.name}, {there} there: {sign} {word}"


def _text(chosen: Chosen, titles: list[str], options: argparse.Namespace, style: Style) -> str:
    root = chosen.root
    rows = rows_of(root, options.min * root.weight)
    lines = []
    for number, title in enumerate(titles):
        lines += [style.paint(line, "dim" if number else "head") for line in style.wrap(style.plain(title))]
    lines += ["", *flame_lines(rows, root, root, style, Look(options.diff is not None))]
    return "".join(line.rstrip() + "\n" for line in lines)
