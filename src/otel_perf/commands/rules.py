"""`otel-perf rules`: the budgets as alert rules of Prometheus, with promtool tests that prove them."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from otel_perf.backends.rules.files import files_of
from otel_perf.backends.rules.of_budgets import reads_its_metric
from otel_perf.backends.rules.parts import GRAFANA, RUNBOOK, Links
from otel_perf.budgets import load
from otel_perf.config import read_file
from otel_perf.errors import ConfigError, UserError
from otel_perf.metrics.names import JUDGED, WRITTEN

from .generated import command_for, write_or_check

if TYPE_CHECKING:
    from otel_perf.budgets import Budget

OUT = "deploy/prometheus"

DESCRIPTION = """\
Write the budgets as recording and alert rules of Prometheus, and unit tests of promtool for each of them: the budgets
in otel-perf.toml, or in pyproject.toml below [tool.otel-perf], of the working directory, else the defaults. The rules
give the answers that the program gives itself: `for`, clear level, severity and escalation. Two more watch whole
services: one that is silent, and a version that starts slower than the one before."""

EXAMPLES = """\
examples:
  otel-perf rules                                    deploy/prometheus/rules/*.yml and deploy/prometheus/tests/*.yml
  otel-perf rules --out monitoring                   monitoring/rules/*.yml and monitoring/tests/*.yml
  otel-perf rules --service shop --service cart      only for these two; each must be there: nothing at all is an alert
  otel-perf rules --grafana https://grafana.example  where the links to dashboards lead
  otel-perf rules --runbook https://docs.example/alert-rules.md
                                                     where docs/alert-rules.md is published; its path is no link
  otel-perf rules --check                            in a build: are the files up to date?

  promtool check rules deploy/prometheus/rules/*.yml
  promtool test rules deploy/prometheus/tests/*.yml

In prometheus.yml: rule_files: [rules/*.yml]. The alerts are explained in docs/alert-rules.md.

exit status: 0 written, or up to date; 1 --check found a file that is not; 2 the command line or a budget is wrong"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    options = argparse.ArgumentParser(
        prog="otel-perf rules",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("--out", metavar="DIR", default=OUT, help=f"where to write; default {OUT}")
    options.add_argument("--check", action="store_true", help="write nothing; say which files are out of date")
    options.add_argument(
        "--service",
        metavar="NAME",
        action="append",
        help="judge only the series of this service, which must be there: it is silent also if it never sent anything; "
        "may be repeated; default the `service` of the configuration file, else all services, as far as they are seen",
    )
    options.add_argument("--grafana", metavar="URL", default=GRAFANA, help=f"of the dashboards; default {GRAFANA}")
    options.add_argument("--runbook", metavar="URL", default=RUNBOOK, help=f"of the runbook; default {RUNBOOK}")
    return options


def main(argv: list[str]) -> int:
    """Run the command with the arguments after its name; return its exit status."""
    options = parser().parse_args(argv)
    try:
        budgets = load()
    except ConfigError as error:
        raise UserError(str(error)) from None
    links = _links(options.service, options.runbook, options.grafana)
    files = files_of(budgets, links)
    for budget in budgets:
        _note(budget)
    command = "otel-perf rules"
    mend = f"{command_for(command, options.out, OUT)} with the same options"
    return write_or_check(options.out, files, options.check, command, mend)


def _links(named: list[str] | None, runbook: str, grafana: str) -> Links:
    """Return what the rules are about: the services *named*, which are expected; else that of the configuration file.

    One name that is empty is all services. That of the file is not expected: it may be a tool that runs now and then.
    """
    if named is None:
        _, table = read_file("", [])
        service = table.get("service")
        services = [service] if isinstance(service, str) and service else []
        return Links(services=services, runbook=runbook, grafana=grafana)
    names = list(dict.fromkeys(name for name in named if name))
    return Links(services=names, expected=names, runbook=runbook, grafana=grafana)


def _note(budget: Budget) -> None:
    """Say so where a rule hangs on what the process says."""
    if budget.instrument in WRITTEN and budget.instrument not in JUDGED:
        sys.stderr.write(
            f"otel-perf rules: budget {budget.name!r}: {budget.metric} is judged by `otel-perf check` only, not while "
            f"a program runs; its rule never fires\n"
        )
    elif not reads_its_metric(budget) and not budget.idle:
        sys.stderr.write(
            f"otel-perf rules: budget {budget.name!r}: Prometheus has no series that answers to {budget.metric}; its "
            f"rule reads what the process judged, otel_perf_budget_value, so the program must have this budget too\n"
        )
