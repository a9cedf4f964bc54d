"""`otel-perf report`: what a recorded run says, as plain text, as JSON, as Markdown, or as a page in one file."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from otel_perf.analysis.listing import list_text
from otel_perf.analysis.loading import load_process
from otel_perf.analysis.report import default_process, report_text
from otel_perf.analysis.text import NARROWEST, plural, style_for
from otel_perf.budgets import load
from otel_perf.errors import ConfigError, UserError, one_line
from otel_perf.export.runs import find_run, find_runs, pick_process, runs_folder

from .output import Bar, opened, refuse_to_replace, write

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otel_perf.analysis.model import Process
    from otel_perf.analysis.text import Style
    from otel_perf.export.json_values import Skipped

DESCRIPTION = """\
Show what a recorded run says: whether the start was within its budget, what its end waited for and which lines to
change, where its time went (phases, imports, functions, OpenTelemetry spans), the score and the alerts of its budgets,
CPU, memory, threads and open files over the run and where they head, the functions that took longest, how the process
ended, and what otel-perf itself cost."""

EXAMPLES = """\
examples:
  otel-perf report                       the newest run of .otel-perf/
  otel-perf report --list                all runs, newest first
  otel-perf report 2026-11-25T10-15-02   one of them
  otel-perf report ../copied/run --all   a run's folder anywhere, every import and function
  otel-perf report --process 4242        another process of the run
  otel-perf report | less -S             plain text, 100 columns wide
  otel-perf report --json > report.json  for programs; docs/report-schema.md describes it
  otel-perf report --markdown            for a pull request
  otel-perf report --html report.html    one file for the browser, with charts, flame graph and waterfall

exit status: 0 the report was shown, 1 it could not be written, 2 there is no such run or the command line is wrong"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    options = argparse.ArgumentParser(
        prog="otel-perf report",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("run", metavar="RUN", nargs="?", help="a run's name or folder; default the newest")
    options.add_argument("--folder", metavar="DIR", help="where runs are; default OTEL_PERF_FOLDER, or .otel-perf")
    forms = options.add_mutually_exclusive_group()
    forms.add_argument("--list", action="store_true", help="list the runs, newest first")
    forms.add_argument("--json", action="store_true", help="one JSON object, its keys are stable")
    forms.add_argument("--markdown", action="store_true", help="Markdown, what is long is folded")
    forms.add_argument("--html", metavar="FILE", help="a page in one file, which needs no network; - is stdout")
    options.add_argument("--force", action="store_true", help="with --html: replace FILE if it exists")
    options.add_argument("--process", metavar="P", help="a process of the run; default the one that started first")
    options.add_argument("--all", action="store_true", help="show every import, function and span, nothing folded")
    options.add_argument("--width", metavar="N", type=_width, help="columns to use; default the window's, or 100")
    return options


def _width(text: str) -> int:
    if not (text.isascii() and text.isdigit() and NARROWEST <= int(text[:9]) <= 100_000):
        raise argparse.ArgumentTypeError(f"write a number of columns from {NARROWEST} to 100000, got {text!r}")
    return int(text)


def main(argv: list[str]) -> int:
    """Run the command with the arguments after its name; return its exit status.

    Raises: UserError: there is no such run, or it cannot be read.
    """
    options = parser().parse_args(argv)
    style = style_for(sys.stdout, options.width)
    folder = runs_folder(options.folder)
    if options.html is not None:
        return _html(options, folder)
    if options.list:
        text = _list(options, folder, style)
        process = None
    else:
        process = _chosen(options, folder)
        text = _report(process, options, style)
    if not write(text, "the report"):
        return 0
    if process is not None:
        for line in skipped_lines(process.skipped):
            print(f"otel-perf report: {line}", file=sys.stderr)
    return 0


def _html(options: argparse.Namespace, folder: str) -> int:
    from otel_perf.view.embedded import html_report
    from otel_perf.view.live import Live

    file = None if options.html == "-" else options.html
    if not options.force:
        refuse_to_replace(file)
    live = Live(*_place(options, folder))
    with Bar() as bar:
        while live.advance():
            bar.progress(f"reading {live.path}", live.read, live.total)
        if live.error:
            raise UserError(live.error)
        text = html_report(live)
        with opened(file) as out:
            out.write(text.encode())
    for line in skipped_lines(live.process().skipped):
        print(f"otel-perf report: {line}", file=sys.stderr)
    return 0


def _report(process: Process, options: argparse.Namespace, style: Style) -> str:
    if options.json:
        import json

        from otel_perf.analysis.as_json import report_object

        return json.dumps(report_object(process), indent=2, allow_nan=False) + "\n"
    if options.markdown:
        from otel_perf.analysis.as_markdown import report_markdown

        return report_markdown(process)
    return report_text(process, width=style.width, color=style.color, ascii=style.ascii, everything=options.all)


def _list(options: argparse.Namespace, folder: str, style: Style) -> str:
    if options.run is not None or options.process is not None:
        raise UserError("--list shows every run; leave RUN and --process out (another folder of runs: --folder DIR)")
    runs = find_runs(folder)
    if not runs:
        find_run(None, folder)  # says so
    return list_text(runs, style)


def _chosen(options: argparse.Namespace, folder: str) -> Process:
    path, others = _place(options, folder)
    found = loaded(path, others)
    with suppress(ConfigError):  # a program that ran somewhere else is no reason to judge this folder's configuration
        found.budgets = load()
    return found


def loaded(path: str, others: Sequence[str] = ()) -> Process:
    """Return what load_process() gives, with a bar while it reads."""
    with Bar() as bar:
        return load_process(path, others, bar.progress)


def _place(options: argparse.Namespace, folder: str) -> tuple[str, list[str]]:
    """Return the folder of the process that is meant, and the names of the run's others."""
    run, process = find_run(options.run, folder)
    if options.process is not None:
        process = pick_process(run, options.process)
    elif process is None:
        process = default_process(run.path, run.processes)
    return os.path.join(run.path, process), [name for name in run.processes if name != process]


def skipped_lines(counts: dict[str, Skipped]) -> list[str]:
    """Return one line for each file of *counts*, which are damaged: how much of it was skipped, and why."""
    lines = []
    for path, skipped in counts.items():
        parts = []
        for reasons, noun in (
            (skipped.lines, "line"),
            (skipped.records, "record"),
            (skipped.values, "value"),
        ):
            number = sum(reasons.values())
            if number:
                parts.append(f"{plural(number, f'damaged {noun}')} ({', '.join(reasons)})")
        lines.append(f"skipped {', '.join(parts)} in {one_line(path)}")
    return lines
