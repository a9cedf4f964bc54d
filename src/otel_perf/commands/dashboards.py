"""`otel-perf dashboards`: the dashboards of Grafana, with the budgets as their lines."""

from __future__ import annotations

import argparse

from otel_perf.backends.dashboards import files_of
from otel_perf.budgets import load
from otel_perf.errors import ConfigError, UserError

from .generated import command_for, write_or_check

OUT = "deploy/grafana/dashboards"

DESCRIPTION = """\
Write the dashboards of Grafana: Overview, Startup, Profiling, Process and Alerts. The limits drawn in them are the
budgets in otel-perf.toml, or in pyproject.toml below [tool.otel-perf], of the working directory, else the defaults.
`otel-perf stack up` has those of the defaults already."""

EXAMPLES = """\
examples:
  otel-perf dashboards                       deploy/grafana/dashboards/otel-perf-*.json
  otel-perf dashboards --out monitoring      into another folder, which Grafana is told to provision
  otel-perf dashboards --check               in a build: are the files up to date?

They need data sources with the uids prometheus, tempo and loki, and Grafana 12 or 13; docs/dashboards.md says what is
on them. Writing them needs grafana-foundation-sdk: pip install "otel-perf[dashboards]"

exit status: 0 written, or up to date; 1 --check found a file that is not; 2 the command line or a budget is wrong, or
the library is missing"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    options = argparse.ArgumentParser(
        prog="otel-perf dashboards",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("--out", metavar="DIR", default=OUT, help=f"where to write; default {OUT}")
    options.add_argument("--check", action="store_true", help="write nothing; say which files are out of date")
    return options


def main(argv: list[str]) -> int:
    """Run the command with the arguments after its name; return its exit status."""
    options = parser().parse_args(argv)
    command = "otel-perf dashboards"
    return write_or_check(options.out, _files(), options.check, command, command_for(command, options.out, OUT))


def _files() -> dict[str, str]:
    """Return the text of each file, by its name.

    Raises: UserError: a budget is wrong, or the library is missing.
    """
    try:
        return files_of(load())
    except ConfigError as error:
        raise UserError(str(error)) from None
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("grafana_foundation_sdk"):
            raise
        raise UserError(
            "the dashboards are built with grafana-foundation-sdk, which is not installed: "
            'pip install "otel-perf[dashboards]"'
        ) from None
