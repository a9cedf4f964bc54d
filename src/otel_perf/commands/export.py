"""`otel-perf export`: a recorded run in a format of other people's viewers."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from importlib import import_module
from typing import TYPE_CHECKING

from otel_perf.analysis.unfinished import read_open
from otel_perf.errors import UserError
from otel_perf.export.runs import find_run, pick_process, runs_folder
from otel_perf.formats import BINARY, FORMATS

from .output import Bar, opened, refuse_to_replace
from .report import skipped_lines

if TYPE_CHECKING:
    from otel_perf.formats.story import Progress

DESCRIPTION = """\
Write a recorded run, its start and all after it, in a format that other programs read:

{formats}

All four have the same names, call paths and self times. What ran at the same time lies on tracks of its own."""

EXAMPLES = """\
examples:
  otel-perf export --format speedscope -o run.json     the newest run; open it in https://www.speedscope.app
  otel-perf export --format folded | inferno-flamegraph > flame.svg
  otel-perf export 2026-11-25T10-15-02 --format pprof -o run.pb.gz
  go tool pprof -top run.pb.gz
  otel-perf export --format chrome -o trace.json       for https://ui.perfetto.dev: with CPU, memory and alerts
  otel-perf export --format chrome --process 4242 | gzip > trace.json.gz

docs/exports.md says what the formats have in them. A bar on the terminal shows how far it is.

exit status: 0 written, 1 it could not be written, 2 there is no such run or the command line is wrong"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    options = argparse.ArgumentParser(
        prog="otel-perf export",
        description=DESCRIPTION.format(formats="\n".join(f"  {name:<11} {text}" for name, text in FORMATS.items())),
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("run", metavar="RUN", nargs="?", help="a run's name or folder; default the newest")
    options.add_argument("--format", metavar="F", required=True, choices=FORMATS, help=" | ".join(FORMATS))
    options.add_argument("-o", "--output", metavar="FILE", help="where to write; default stdout")
    options.add_argument("--force", action="store_true", help="replace FILE if it exists")
    options.add_argument("--process", metavar="P", help="only this process of the run; default all")
    options.add_argument("--folder", metavar="DIR", help="where runs are; default OTEL_PERF_FOLDER, or .otel-perf")
    return options


def main(argv: list[str]) -> int:
    """Run the command with the arguments after its name; return its exit status.

    Raises: UserError: there is no such run, or it cannot be read, or the result not be written.
    """
    options = parser().parse_args(argv)
    name, folders = _chosen(options)
    file = None if options.output in (None, "-") else options.output
    if file is None and options.format in BINARY and sys.stdout.isatty():
        raise UserError(f"{options.format} is binary and no use on a terminal; write it to a file: -o run.pb.gz")
    if not options.force:
        refuse_to_replace(file)
    with Bar() as bar:
        for line in _write(name, folders, options.format, file, bar.progress):
            sys.stderr.write(f"otel-perf export: {line}\n")
    return 0


def _write(name: str, folders: list[str], form: str, file: str | None, progress: Progress) -> list[str]:
    """Write the run *name* with the processes in *folders*; return what is to be said of damaged files."""
    try:
        import sqlite3

        from otel_perf.formats.story import Story
    except ImportError:
        mend = "use another one, such as your distribution's"
        raise UserError(f"this Python was built without sqlite3, which sorts the spans; {mend}") from None
    try:
        with Story(name) as story:
            for folder in folders:
                chrome = form == "chrome"
                story.read(folder, chrome, progress, read_open(folder) if chrome else ())
            if not story.spans and not any(process.unfinished for process in story.processes):
                raise UserError(f"run {name!r} has no spans to export; otel-perf doctor says why data is missing")
            with opened(file) as out:
                import_module(f"otel_perf.formats.{form}").write(story, out, progress)
            return skipped_lines(story.skipped)
    except sqlite3.Error as error:
        where = tempfile.gettempdir()
        raise UserError(f"cannot sort the spans in {where}: {error}; TMPDIR names another folder", 1) from None


def _chosen(options: argparse.Namespace) -> tuple[str, list[str]]:
    """Return the run's name and the folders of the processes that are meant."""
    run, process = find_run(options.run, runs_folder(options.folder))
    if options.process is not None:
        process = pick_process(run, options.process)
    return run.name, [os.path.join(run.path, name) for name in run.processes if process in (None, name)]
