"""`otel-perf doctor`: what is configured and from where, what is reachable, what is wrong and how to mend it."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import warnings
from contextlib import suppress
from threading import Timer

from otel_perf.analysis.text import style_for
from otel_perf.diagnose.everything import as_json, diagnose
from otel_perf.diagnose.text import text
from otel_perf.errors import UserError
from otel_perf.export.endpoint import PROTOCOLS

from .output import write

LIMIT = 4.3  # seconds, of the five that it may take; everything.LIMIT is shorter and says more

DESCRIPTION = """\
Say what a program that is recorded from here would do, and why something is missing: every setting and where it comes
from, whether the hooks fit the installed OpenTelemetry, what the run folder holds and lost, and whether each signal's
endpoint takes an empty OTLP request sent with the configured protocol and headers. Takes at most 5 seconds; changes
nothing; shows no header's value and no password."""

EXAMPLES = """\
examples:
  otel-perf doctor                                      as a program started here, with this environment, would find it
  otel-perf doctor --endpoint http://collector:4318     would records be taken there?
  otel-perf doctor --endpoint http://collector:4317 --protocol grpc
  otel-perf doctor --folder /srv/shop/.otel-perf        another folder of runs
  otel-perf doctor --json                               for a program to read

exit status: 0 all is well, 1 something is wrong (it says what to change), 2 the command line is wrong"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    options = argparse.ArgumentParser(
        prog="otel-perf doctor",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("--endpoint", metavar="URL", default="", help="base URL to try; default from the environment")
    options.add_argument("--protocol", choices=PROTOCOLS, default="", help="default from the environment")
    options.add_argument("--folder", metavar="DIR", default="", help="where runs are; default OTEL_PERF_FOLDER")
    options.add_argument("--json", action="store_true", help="write a JSON object")
    return options


def main(argv: list[str]) -> int:
    """Run the command with the arguments after its name; return its exit status."""
    options = parser().parse_args(argv)
    logging.disable()  # what the libraries say on the way is not for the user, and may repeat a secret
    warnings.simplefilter("ignore")
    guard = Timer(LIMIT, _give_up)
    guard.daemon = True
    guard.start()
    found = diagnose(options.endpoint, options.protocol, options.folder)
    guard.cancel()
    with suppress(UserError):  # nobody reads it: the exit status says enough
        write(
            json.dumps(as_json(found), indent=2) + "\n" if options.json else text(found, style_for(sys.stdout)),
            "the result",
        )
    status = 1 if found.errors else 0
    if found.hanging:  # what hangs must not keep the interpreter from ending
        os._exit(status)
    return status


def _give_up() -> None:
    """End the command where even the settings cannot be read: a file of a server that is gone, a pipe."""
    sys.stderr.write(f"otel-perf doctor: no result within {LIMIT:g} s: a file hangs, in this folder or its settings\n")
    sys.stderr.flush()
    os._exit(1)
