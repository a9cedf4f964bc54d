"""Entry point: ``python examples/desktop`` from anywhere, or ``python -m desktop`` inside examples/."""

from __future__ import annotations

import argparse
import os
import sys

import otel_perf as perf

if not __package__:  # started as a folder: its parent belongs on the path in its place
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from desktop import __version__


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return the options of the command line; ``--help`` and mistakes end the program here."""
    parser = argparse.ArgumentParser(
        prog="desktop",
        description="Start a small desktop program, send telemetry through it and exit.",
        epilog="The recorded run lies in .otel-perf/ afterwards: otel-perf report shows it.",
    )
    parser.add_argument("--messages", type=int, metavar="N", help="telemetry messages to send (default: settings.toml)")
    parser.add_argument(
        "--seconds",
        type=float,
        default=0.0,
        metavar="S",
        help="spread them over S seconds (default: as fast as possible)",
    )
    parser.add_argument("--version", action="version", version=__version__)
    options = parser.parse_args(arguments)
    if options.messages is not None and options.messages < 0:
        parser.error(f"argument --messages: must be 0 or more, got {options.messages}")
    if not 0 <= options.seconds <= 3600:
        parser.error(f"argument --seconds: must be 0 to 3600, got {options.seconds:g}")
    return options


def main() -> int:
    """Run the program once; the exit code is 0, or 130 when the user interrupted it."""
    options = parse()  # before init(), so that --help leaves no recorded run behind
    perf.init(service="desktop-sample", version=__version__)
    from desktop.app import run  # after init(), so that what it imports is timed

    try:
        run(options.messages, options.seconds)
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
