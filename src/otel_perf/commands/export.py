"""`otel-perf export`: a recorded run in a format of other people's viewers."""

from __future__ import annotations

import argparse
import os
import stat
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import TYPE_CHECKING

from otel_perf.errors import UserError
from otel_perf.export.runs import find_run, pick_process, runs_folder
from otel_perf.formats import BINARY, FORMATS, silent

from .report import skipped_lines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from otel_perf.formats.story import Progress

WIDTH = 30  # columns of the bar
BUFFER = 2**20  # bytes that are written at once

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
    if file is not None and not options.force and os.path.isfile(file):
        raise UserError(f"{file} exists; name another file, or write --force to replace it")
    bar = Bar()
    try:
        for line in _write(name, folders, options.format, file, bar.progress):
            sys.stderr.write(f"otel-perf export: {line}\n")
    finally:
        bar.end()
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
                story.read(folder, form == "chrome", progress)
            if not story.spans:
                raise UserError(f"run {name!r} has no spans to export; otel-perf doctor says why data is missing")
            with _output(file) as out:
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


# --- output ----------------------------------------------------------------------------------------------------------


@contextmanager
def _output(file: str | None) -> Iterator[BinaryIO]:
    """Give what to write to: *file*, which is there only once it is whole, or stdout.

    Raises: UserError: it cannot be written.
    """
    try:
        if file is None:
            yield from _stdout()
        elif _is_special(file):
            with open(file, "wb", BUFFER) as out:
                yield out
        else:
            yield from _whole(file)
    except OSError as error:
        mend = "is there room, and may you write there?"
        raise UserError(f"cannot write {file or 'to stdout'}: {error.strerror or error}; {mend}", 1) from None


def _stdout() -> Iterator[BinaryIO]:
    out = sys.stdout.buffer
    try:
        yield out
        out.flush()
    except OSError as error:
        # as the library's documentation of SIGPIPE has it: else the flush at exit complains once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise
        raise SystemExit(0) from None  # whoever read it has enough


def _whole(file: str) -> Iterator[BinaryIO]:
    unfinished = f"{file}.{os.getpid()}.unfinished"
    try:
        with open(unfinished, "xb", BUFFER) as out:
            yield out
        os.replace(unfinished, file)
    except BaseException:
        with suppress(OSError):
            os.unlink(unfinished)
        raise


def _is_special(file: str) -> bool:
    """Say whether *file* is a pipe, a device or a link, which is not to be replaced."""
    try:
        return not stat.S_ISREG(os.lstat(file).st_mode)
    except FileNotFoundError:
        return False


# --- progress --------------------------------------------------------------------------------------------------------


class Bar:
    """How far it is, on a terminal."""

    def __init__(self) -> None:
        self.progress = self._show if sys.stderr.isatty() else silent
        self._last = 0.0

    def _show(self, what: str, done: int, whole: int) -> None:
        now = time.monotonic()
        if now - self._last < 0.1:
            return
        self._last = now
        share = done / whole if whole else 1.0
        bar = ("#" * round(share * WIDTH)).ljust(WIDTH, "-")
        sys.stderr.write(f"\r[{bar}] {share:4.0%}  {what}\x1b[K")
        sys.stderr.flush()

    def end(self) -> None:
        """Take the bar away."""
        if self._last:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
