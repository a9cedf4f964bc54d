"""`otel-perf dashboards`: the dashboards of Grafana, with the budgets as their lines."""

from __future__ import annotations

import argparse
import sys

from otel_perf.backends.dashboards import files_of
from otel_perf.backends.rules.files import differing
from otel_perf.backends.rules.files import write as write_files
from otel_perf.budgets import load
from otel_perf.errors import ConfigError, UserError

from .output import write

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
    files = _files()
    try:
        changed = differing(options.out, files)
    except OSError as error:
        raise UserError(f"cannot read {error.filename}: {error.strerror}") from None
    return _say(options.out, files, changed) if options.check else _write(options.out, files, changed)


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


def _say(folder: str, files: dict[str, str], changed: dict[str, str]) -> int:
    mend = "otel-perf dashboards" + ("" if folder == OUT else f" --out {folder}")
    for name, why in changed.items():
        sys.stderr.write(f"otel-perf dashboards: {folder}/{name} is {why}; run `{mend}`\n")
    if not changed:
        write(f"up to date: {len(files)} files in {folder}\n", "the result")
    return 1 if changed else 0


def _write(folder: str, files: dict[str, str], changed: dict[str, str]) -> int:
    try:
        write_files(folder, {name: files[name] for name in changed})
    except OSError as error:
        raise UserError(f"cannot write {error.filename}: {error.strerror}; name another folder with --out") from None
    lines = [f"{'wrote' if name in changed else 'kept '} {folder}/{name}" for name in files]
    write("\n".join(lines) + "\n", "the result")
    return 0
