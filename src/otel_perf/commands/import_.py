"""`otel-perf import`: what other programs wrote, as a run that every other command reads."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from typing import TYPE_CHECKING

from otel_perf.errors import UserError, one_line
from otel_perf.export.json_values import Skipped
from otel_perf.export.runs import runs_folder
from otel_perf.formats.foreign import FORMATS, UNITS
from otel_perf.formats.foreign.run import Run
from otel_perf.formats.foreign.source import STDIN, guess, opened

from .output import Bar
from .report import skipped_lines

if TYPE_CHECKING:
    from otel_perf.formats.foreign.source import Source
    from otel_perf.formats.story import Progress

DESCRIPTION = """\
Make a run of files that other programs wrote, so that report, check, export and replay work on them:

{formats}

It prints the name of the run. What a file does not say is not made up; docs/exports.md says what each of them lacks."""

EXAMPLES = """\
examples:
  python -X importtime app.py 2> imports.log; otel-perf import imports.log && otel-perf report
  python -m cProfile -o app.prof app.py; otel-perf import app.prof && otel-perf report
  py-spy record --format raw -o stacks.txt -- python app.py; otel-perf import --unit samples stacks.txt
  otel-perf import traces.jsonl metrics.jsonl logs.jsonl    files of one process are one process
  otel-perf export --format folded | otel-perf import -
  otel-perf report $(otel-perf import --service shop app.prof)

FILE is not changed. The format is known by the content; --format says it where that does not. A bar on the terminal
shows how far it is.

exit status: 0 imported, 1 it could not be read or written, 2 it is of none of these formats or the command line is
wrong"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    options = argparse.ArgumentParser(
        prog="otel-perf import",
        description=DESCRIPTION.format(formats="\n".join(f"  {name:<11} {text}" for name, text in FORMATS.items())),
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("files", metavar="FILE", nargs="+", help="what to import; - is stdin")
    options.add_argument("--format", metavar="F", choices=FORMATS, help=f"{' | '.join(FORMATS)}; default by content")
    options.add_argument("--unit", choices=UNITS, help="of folded stacks: what their numbers count; default us")
    options.add_argument("--service", metavar="NAME", help="the service's name; default what the file says")
    options.add_argument("--folder", metavar="DIR", help="where runs are; default OTEL_PERF_FOLDER, or .otel-perf")
    return options


def main(argv: list[str]) -> int:
    """Run the command with the arguments after its name; return its exit status.

    Raises: UserError: a file cannot be imported, or the run not be written; then there is no run.
    """
    options = parser().parse_args(argv)
    if options.files.count(STDIN) > 1:
        raise UserError("stdin, written -, can be imported once")
    notes: list[str] = []
    with Bar() as bar, Run(runs_folder(options.folder)) as run:
        for path in options.files:
            with opened(path, bar.progress) as source:
                notes += _import(source, run, options, bar.progress)
    for note in notes:
        sys.stderr.write(f"otel-perf import: {one_line(note)}\n")
    print(run.name)
    return 0


def _import(source: Source, run: Run, options: argparse.Namespace, progress: Progress) -> list[str]:
    """Write *source* to *run*; return what is to be said of it, a line each."""
    form = options.format or guess(source)
    more = {"unit": options.unit or "us"} if form == "folded" else {}
    if options.unit and not more:
        raise UserError(f"--unit is for folded stacks; {source.name} is {form}")
    skipped = Skipped()
    reader = import_module(f"otel_perf.formats.foreign.{form}")
    notes: list[str] = reader.read(source, run, options.service, skipped, progress, **more)
    return notes + (skipped_lines({source.name: skipped}) if skipped else [])
