"""`otel-perf check`: the budgets of a recorded run as a gate, by exit status."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from otel_perf.analysis.gate import judge_budgets
from otel_perf.analysis.report import default_process
from otel_perf.analysis.text import cells, pad, plural, style_for
from otel_perf.analysis.validation import findings
from otel_perf.budgets import load
from otel_perf.errors import ConfigError, UserError
from otel_perf.export.runs import find_run, pick_process, runs_folder

from .output import write
from .report import loaded, skipped_lines

if TYPE_CHECKING:
    from otel_perf.analysis.gate import Judged
    from otel_perf.analysis.model import Process
    from otel_perf.analysis.text import Style
    from otel_perf.analysis.validation import Finding
    from otel_perf.budgets import Budget

FORMAT = 1  # of --json

DESCRIPTION = """\
Judge a recorded run by its budgets and by the phases of its start, as a gate: the exit status says whether all holds.
Budgets stand in otel-perf.toml, or in pyproject.toml below [tool.otel-perf], and in the program itself: of those that
the file does not have, what the process judged decides. Without any, a start may take 2 s, memory 150 MB, a program
that does nothing 0.02 cores."""

EXAMPLES = """\
examples:
  otel-perf check                        the newest run of .otel-perf/
  otel-perf check 2026-11-25T10-15-02    one of them
  otel-perf check --strict               what cannot be judged, and warnings, fail too
  otel-perf check --json | jq .holds

  in a shell script, as a gate of a build:
    otel-perf run --folder perf -- python app.py --self-test || exit
    otel-perf check --folder perf && ./publish

  otel-perf.toml:
    [budgets]
    memory = "300MB"                     # a default with another limit; false switches it off
    [budgets.startup]
    max = "1.5s"
    [budgets.window]
    metric = "otel_perf.startup.phase.duration{phase=UI}"
    max = "400ms"
    [budgets.checkout]                   # of a histogram: the largest value, or a percentile such as p95(...)
    metric = "p95(otel_perf.function.duration{function=shop.checkout})"
    max = "250ms"
    [budgets.complete]
    metric = "otel_perf.self.dropped"
    max = 0

A budget is ok, exceeded or unknown; unknown (nobody said when the start was over, or the run has no such metric) does
not fail. One of which the program raised an alert is exceeded, even if that was resolved. Of a run with several
processes each is judged, and the worst decides.

exit status: 0 all holds, 1 a budget is exceeded, the start died or a finding is an error, 2 there is no such run, or a
budget cannot be read"""

_COLOR = {"ok": "good", "exceeded": "critical", "error": "critical", "unknown": "warning", "warning": "warning"}


@dataclass(frozen=True, slots=True)
class Result:
    """What the gate says of one process.

    Attributes:
        findings: what is wrong with its start; not its budget, which stands among those.
        strict: what is unknown, and warnings, fail too.
    """

    process: Process
    budgets: list[Judged]
    findings: list[Finding]
    strict: bool

    @property
    def holds(self) -> bool:
        """Whether nothing fails."""
        failing = ("exceeded", "error", *(("unknown", "warning") if self.strict else ()))
        return not any(state in failing for state in self.states())

    def states(self) -> list[str]:
        """Return ``ok``, ``exceeded`` or ``unknown`` of each budget, ``error`` or ``warning`` of each finding."""
        return [judged.state for judged in self.budgets] + [finding.severity for finding in self.findings]


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    options = argparse.ArgumentParser(
        prog="otel-perf check",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("run", metavar="RUN", nargs="?", help="a run's name or folder; default the newest")
    options.add_argument("--folder", metavar="DIR", help="where runs are; default OTEL_PERF_FOLDER, or .otel-perf")
    options.add_argument("--process", metavar="P", help="judge only this process of the run; default all")
    options.add_argument("--strict", action="store_true", help="what cannot be judged fails too, and so do warnings")
    options.add_argument("--json", action="store_true", help="write the result as JSON")
    return options


def main(argv: list[str]) -> int:
    """Run the command with the arguments after its name; return its exit status.

    Raises: UserError: there is no such run, or a budget cannot be read.
    """
    options = parser().parse_args(argv)
    try:
        budgets = load()
        results = [_judge(path, budgets, options.strict) for path in _processes(options)]
    except ConfigError as error:
        raise UserError(str(error)) from None
    style = style_for(sys.stdout)
    # the exit status counts even where nobody reads the result to its end
    write(_json(results) if options.json else "".join(f"{line}\n" for line in _lines(results, style)), "the result")
    for result in results:
        for line in skipped_lines(result.process.skipped):
            print(f"otel-perf check: {line}", file=sys.stderr)
    return 0 if all(result.holds for result in results) else 1


def _processes(options: argparse.Namespace) -> list[str]:
    """Return the folders of the processes that are meant, first the one that started first."""
    run, process = find_run(options.run, runs_folder(options.folder))
    if options.process is not None:
        process = pick_process(run, options.process)
    if process is not None:
        return [os.path.join(run.path, process)]
    first = default_process(run.path, run.processes)
    return [os.path.join(run.path, name) for name in (first, *(name for name in run.processes if name != first))]


def _judge(path: str, budgets: list[Budget], strict: bool) -> Result:
    process = loaded(path)
    wrong = [finding for finding in findings(process) if finding.kind != "budget"]
    return Result(process, judge_budgets(budgets, process), wrong, strict)


# --- as text ---------------------------------------------------------------------------------------------------------


def _lines(results: list[Result], style: Style) -> list[str]:
    first, others = results[0], results[1:]
    failing = [result for result in results if not result.holds]
    lines = [style.paint(_verdict(results, style), "critical" if failing else "good")]
    lines += _process(first, style, name=bool(others))
    quiet = []
    for result in others:
        if result.holds:
            quiet.append(result)
        else:
            lines += _process(result, style, name=True)
    if quiet:
        states = _counted([state for result in quiet for state in result.states()])
        number = "the other process" if len(quiet) == 1 else f"{len(quiet)} other processes"
        lines.append(f"{number} of the run: {states}")
    return lines


def _verdict(results: list[Result], style: Style) -> str:
    process = results[0].process
    subject = " ".join(style.clean(part) for part in (process.service, process.version) if part)
    verdict = "holds" if all(result.holds for result in results) else "does not hold"
    states = _counted([state for result in results for state in result.states()])
    strict = ", strict" if results[0].strict else ""
    return f"{subject} {verdict}: {states} (run {style.clean(process.run)}{strict})"


def _counted(states: list[str]) -> str:
    """Return ``1 budget exceeded, 2 ok, 1 warning``."""
    parts: list[str] = []
    for state in ("exceeded", "ok", "unknown"):
        number = states.count(state)
        if number:
            parts.append(f"{plural(number, 'budget')} {state}" if not parts else f"{number} {state}")
    parts += [plural(states.count(state), state) for state in ("error", "warning") if state in states]
    return ", ".join(parts) or "nothing to judge"


def _process(result: Result, style: Style, *, name: bool) -> list[str]:
    """Return a line for each budget and each finding; they are cut nowhere, so that a log has them whole."""
    lines = []
    if name:
        service = style.clean(result.process.service)
        lines.append(style.paint(f"process {style.clean(result.process.name)}, {service}", "dim"))
    rows = [
        [judged.budget.name, judged.value_text, judged.limit_text(result.process.resource), judged.reason]
        for judged in result.budgets
    ]
    rows = [[style.plain(cell) for cell in row] for row in rows]
    widths = [max(map(cells, column)) for column in zip(*rows, strict=True)]
    for judged, (called, value, limit, reason) in zip(result.budgets, rows, strict=True):
        state = style.paint(pad(judged.state, 8), _COLOR[judged.state])
        columns = [pad(called, widths[0]), pad(value, widths[1], right=True), pad(limit, widths[2])]
        lines.append("  ".join(["", state, *columns, reason]))
    for finding in result.findings:
        state = style.paint(pad(finding.severity, 8), _COLOR[finding.severity])
        lines.append(f"  {state}  {style.plain(finding.message)}")
    return lines


# --- as JSON ---------------------------------------------------------------------------------------------------------


def _json(results: list[Result]) -> str:
    found: dict[str, Any] = {
        "version": FORMAT,
        "run": results[0].process.run,
        "holds": all(result.holds for result in results),
        "strict": results[0].strict,
        "processes": [_process_object(result) for result in results],
    }
    return json.dumps(found, indent=2) + "\n"


def _process_object(result: Result) -> dict[str, Any]:
    return {
        "process": result.process.name,
        "service": result.process.service,
        "service_version": result.process.version,
        "holds": result.holds,
        "budgets": [
            {
                "name": judged.budget.name,
                "metric": judged.budget.metric,
                "state": judged.state,
                "value": judged.value,
                "max": judged.max,
                "unit": judged.unit,
                "severity": judged.budget.severity,
                "reason": judged.reason,
                "source": judged.budget.source or "default",
            }
            for judged in result.budgets
        ],
        "findings": [
            {"kind": finding.kind, "severity": finding.severity, "message": finding.message}
            for finding in result.findings
        ],
    }
