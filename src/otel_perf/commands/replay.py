"""`otel-perf replay`: send what is in run folders to an OpenTelemetry endpoint, by hand."""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import TYPE_CHECKING

from otel_perf.errors import UserError, one_line
from otel_perf.export import endpoint
from otel_perf.export.alive import is_alive
from otel_perf.export.follow.follower import NOUNS, Follower
from otel_perf.export.runs import find_run, find_runs, runs_folder
from otel_perf.formats import silent

from .output import Bar

if TYPE_CHECKING:
    from otel_perf.export.endpoint import Endpoints

PATIENCE = 10.0  # seconds without an answer, beyond what the receiver asked for, before it gives up
LAST = 1.0  # seconds that a Ctrl-C of --follow leaves for what there was at the last look
LOOK_EVERY = 2.0  # seconds between two looks for new processes
LINE_EVERY = 5.0  # seconds between two lines of progress where there is no terminal

DESCRIPTION = """\
Send recorded runs to an OpenTelemetry endpoint (OTLP): spans, metrics and log records, each once. What was sent is
remembered beside the files, so that a replay that was interrupted goes on where it stopped."""

EXAMPLES = """\
examples:
  otel-perf replay                                      the newest run of .otel-perf/, to OTEL_EXPORTER_OTLP_ENDPOINT
  otel-perf replay --endpoint http://collector:4318     to there; default http://localhost:4318
  otel-perf replay --endpoint http://collector:4317 --protocol grpc
  otel-perf replay .otel-perf                           all runs of a folder, oldest first
  otel-perf replay 2026-11-25T10-15-02 --again          from the beginning, whatever was sent before
  otel-perf replay .otel-perf --follow                  go on with what comes, until Ctrl-C

OTEL_EXPORTER_OTLP_* (headers, certificates, compression, timeout, endpoints of single signals) mean what the
OpenTelemetry specification says.

exit status: 0 all was sent, 1 something was not (it says what), 2 there is no such run or the command line is wrong"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    options = argparse.ArgumentParser(
        prog="otel-perf replay",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("run", metavar="RUN|DIR", nargs="?", help="a run, or a folder of runs; default the newest run")
    options.add_argument("--endpoint", metavar="URL", help="base URL of the receiver; default from the environment")
    options.add_argument("--protocol", choices=endpoint.PROTOCOLS, help="default http/protobuf")
    options.add_argument("--folder", metavar="DIR", help="where runs are; default OTEL_PERF_FOLDER, or .otel-perf")
    options.add_argument("--follow", action="store_true", help="go on with what is recorded meanwhile, until Ctrl-C")
    options.add_argument("--again", action="store_true", help="send everything, also what was sent before")
    return options


def main(argv: list[str]) -> int:
    """Run the command with the arguments after its name; return its exit status.

    Raises: UserError: there is no such run, or nowhere to send it.
    """
    options = parser().parse_args(argv)
    endpoints = _endpoints(options)
    replay = Replay(endpoints, options)
    try:
        try:
            replay.run()
        except KeyboardInterrupt:
            replay.interrupted = True
        if replay.interrupted and options.follow:
            replay.send_last()
    except KeyboardInterrupt:  # somebody does not wait for it
        pass
    finally:
        replay.follower.end()
    return replay.finish()


def _endpoints(options: argparse.Namespace) -> Endpoints:
    found = endpoint.load(options.endpoint, options.protocol, everything=True)
    for text in found.complaints:
        _say(text)
    if not found.targets:
        raise UserError("nowhere to send to: name an endpoint, such as --endpoint http://localhost:4318")
    return found


class Replay:
    """One replay.

    Attributes:
        follower: what sends.
        interrupted: somebody pressed Ctrl-C.
    """

    def __init__(self, endpoints: Endpoints, options: argparse.Namespace) -> None:
        self.endpoints = endpoints
        self.options = options
        self.follower = Follower([], endpoints, complain=_say, theirs=True, again=options.again)
        self.progress = Progress(self.follower)
        self.interrupted = False
        self.known: set[str] = set()  # folders
        self.ended: set[str] = set()  # folders of processes that had ended at the last look
        self.ends: dict[str, int] = {}  # what there was of each file at the last look

    def run(self) -> None:
        """Send until everything is sent, or the receiver does not answer for too long."""
        self._look()
        looked = moved = time.monotonic()
        done = 0
        while True:
            wait = self.follower.step()
            self.progress.show()
            now = time.monotonic()
            before, done = done, sum((*self.follower.sent.values(), *self.follower.refused.values()))
            if done > before:
                moved = now
            if not wait:
                continue
            if self.options.follow:
                if now - looked > LOOK_EVERY:
                    self._look()
                    looked = now
            elif not self.follower.failing or now - moved > PATIENCE + self._asked():
                return
            time.sleep(min(wait, LOOK_EVERY))

    def send_last(self) -> None:
        """Send, for a moment, what there was at the last look."""
        until = time.monotonic() + LAST
        while self.follower.waiting(self.ends) and not self.follower.failing and (left := until - time.monotonic()) > 0:
            time.sleep(min(self.follower.step(), left))

    def _asked(self) -> float:
        """Return the longest time that the receiver asked us to wait."""
        return max((outcome.wait or 0.0 for outcome in self.follower.failing.values()), default=0.0)

    def _look(self) -> None:
        """Take every process's folder that is there and new, and let go of those that ended.

        These one look later, for whoever has waited for a process says then how it ended.
        """
        living = self.follower.living()
        for path in living & self.ended:
            self.follower.has_ended(path)
        self.ended = {path for path in living - self.ended if not is_alive(path)}
        for path in map(os.path.realpath, self._folders()):  # what was named may be a link; nothing below it may
            if path not in self.known or path in self.follower.elsewhere:
                self.known.add(path)
                self.follower.queue(path, live=is_alive(path))
        self.follower.waiting()  # what goes before it is its turn is missed then
        self.ends = self.follower.ends()

    def _folders(self) -> list[str]:
        """Return the processes' folders that are meant, oldest run first.

        Raises: UserError: there is no such run.
        """
        given = self.options.run
        if given is not None and os.path.isdir(given):
            runs = find_runs(given)
            if runs:
                return [os.path.join(run.path, name) for run in reversed(runs) for name in run.processes]
        run, process = find_run(given, runs_folder(self.options.folder))
        return [os.path.join(run.path, name) for name in run.processes if process in (None, name)]

    def finish(self) -> int:
        """Say what became of everything; return the exit status."""
        self.progress.end()
        follower = self.follower
        refused, left, elsewhere = sum(follower.refused.values()), follower.waiting(), len(follower.elsewhere)
        late = follower.waiting(self.ends) if self.options.follow else left  # there is always something new
        taken = len({folder.path for folder in follower.folders})
        print(f"sent {_numbers(follower.sent)} of {_plural(taken, 'process')} to {self._where()}")
        if refused:
            _say(f"not taken, and not sent again: {_numbers(follower.refused)}")
        damaged = sum(follower.skipped.lines.values()) + sum(follower.skipped.records.values())
        if damaged:
            reasons = ", ".join([*follower.skipped.lines, *follower.skipped.records])
            _say(f"skipped what is damaged: {_plural(damaged, 'line or record', 'lines or records')} ({reasons})")
        if elsewhere:
            _say(f"{_plural(elsewhere, 'process')} left out: another process sends it just now")
        if follower.removed:
            _say(f"{follower.removed:,} bytes are not sent: their folders were removed meanwhile")
        if follower.unread:
            reasons = ", ".join(dict.fromkeys(follower.unread.values()))
            _say(f"{_plural(len(follower.unread), 'file or folder', 'files or folders')} cannot be read ({reasons})")
        if follower.failing or (self.interrupted and late):
            reasons = ", ".join({outcome.reason for outcome in follower.failing.values()}) or "interrupted"
            _say(f"{left:,} bytes are not sent ({reasons}); the same command goes on from there")
            return 1
        return 1 if refused or elsewhere or follower.removed or follower.unread else 0

    def _where(self) -> str:
        return ", ".join(dict.fromkeys(target.shown for target in self.endpoints.targets.values()))


class Progress:
    """How far it is: a bar on a terminal, now and then a line elsewhere."""

    def __init__(self, follower: Follower) -> None:
        self.follower = follower
        self.bar = Bar()
        self.begun = self.last = time.monotonic()

    def show(self) -> None:
        """Show it, if it is time."""
        now, terminal = time.monotonic(), self.bar.progress is not silent
        if now - self.last < (0.1 if terminal else LINE_EVERY):
            return
        self.last = now
        done = sum(position.offset for folder in self.follower.folders for position in folder.positions.values())
        whole = done + self.follower.waiting()
        number = sum(self.follower.sent.values())
        text = f"{number:,} records, {number / max(0.001, now - self.begun):,.0f} a second"
        if terminal:
            self.bar.progress(text, done, whole)
        else:
            _say(f"{done / whole if whole else 1.0:.0%}  {text}")

    def end(self) -> None:
        """Take the bar away."""
        self.bar.end()


def _numbers(counts: dict[str, int]) -> str:
    return ", ".join(_plural(number, NOUNS[signal]) for signal, number in counts.items())


def _plural(number: int, noun: str, nouns: str = "") -> str:
    many = nouns or (f"{noun}es" if noun.endswith("s") else f"{noun}s")
    return f"{number:,} {noun if number == 1 else many}"


def _say(text: str) -> None:
    sys.stderr.write(f"otel-perf replay: {one_line(text)}\n")
