"""``otel-perf demo``: run the sample application under the recorder and show its startup report."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from otel_perf.errors import UserError

from . import run

EPILOG = """examples:
  otel-perf demo
  otel-perf demo --messages 2000 --seconds 30
  otel-perf demo --seconds 0                     as fast as possible: too short for metrics and alerts
"""


def main(argv: list[str]) -> int:
    """Run the sample application as a child and print the report of its start."""
    parser = argparse.ArgumentParser(
        prog="otel-perf demo",
        description="Run the sample desktop application (seven phases, devices, sockets, plugins), report its start.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--messages",
        type=int,
        default=300,
        help="telemetry messages to process after the start (default 300; more than 160 that wait are an alert)",
    )
    parser.add_argument(
        "--seconds", type=float, default=5.0, help="how long processing them lasts at least (default 5)"
    )
    options = parser.parse_args(argv)
    sample = _sample()
    words = [str(sample), "--messages", str(options.messages), "--seconds", str(options.seconds)]
    code = run.main(["--report", "--", sys.executable, *words])
    sys.stderr.write("\nThe run is kept: `otel-perf report` shows this again, `otel-perf report --list` all runs.\n")
    return code


def _sample() -> Path:
    """Return the sample application's folder: beside us in a wheel, in examples/ of a checkout.

    Raises:
        UserError: it is in neither place.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "_demo" / "desktop", package.parents[1] / "examples" / "desktop"):
        if (folder / "__main__.py").is_file():
            return folder
    raise UserError(
        "the sample application is not installed; reinstall otel-perf, or run it from a checkout's examples/desktop"
    )
