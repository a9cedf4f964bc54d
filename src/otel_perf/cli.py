"""The command ``otel-perf``: finds the subcommand and runs it; ``run`` on a path that loads next to nothing."""

from __future__ import annotations

import os
import sys

COLLECT = 50_000, 20, 100  # much of a large run stays: to look for garbage as often as by default takes a third
COMMANDS = {
    "demo": "run the sample application and show its startup report",
    "run": "run any Python program, unchanged, and record it",
    "report": "show what a run recorded",
    "check": "judge a run by its budgets, as a gate: the exit status says whether all holds",
    "view": "show a run in the browser, in progress or over",
    "top": "show a run in the terminal, as it goes on",
    "flame": "show where a run's time went, as a flame in the terminal",
    "export": "write a run as folded stacks, for speedscope, pprof or Perfetto",
    "import": "make a run of an importtime log, a cProfile file, folded stacks or OTLP files",
    "replay": "send recorded runs to an OpenTelemetry endpoint",
    "rules": "write the budgets as alert rules of Prometheus, with tests",
    "dashboards": "write the dashboards of Grafana, with the budgets as their lines",
    "stack": "bring up collector, Prometheus, Tempo, Loki and Grafana, with docker",
    "doctor": "say what is configured, what is reachable, and what is wrong",
}

HELP = """usage: otel-perf COMMAND [...]

Performance of Python programs as OpenTelemetry data: startup phases, imports and functions as nested spans.

commands:
{commands}

examples:
  otel-perf demo
  otel-perf run -- python app.py
  otel-perf run --report -- flask run
  otel-perf report

`otel-perf COMMAND --help` says more. Runs are kept in .otel-perf/ of the working directory.
"""


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    for stream in ("stdout", "stderr"):
        if getattr(sys, stream) is None:  # closed: what is said goes nowhere, and the program to run finds it closed
            setattr(sys, stream, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    arguments = sys.argv[1:] if argv is None else argv
    name = arguments[0] if arguments else ""
    if name in ("-h", "--help", "help", ""):
        rows = "\n".join(f"  {key:<10} {text}" for key, text in COMMANDS.items())
        sys.stdout.write(HELP.format(commands=rows))
        return 0 if name else 2
    if name in ("-V", "--version"):
        from .__about__ import __version__

        sys.stdout.write(f"otel-perf {__version__}\n")
        return 0
    if name not in COMMANDS:
        sys.stderr.write(f"otel-perf: no command {name!r}; there are {', '.join(COMMANDS)} (otel-perf --help)\n")
        return 2
    if name != "run":
        import gc

        gc.set_threshold(*COLLECT)
    room = "import_" if name == "import" else name  # a word of the language
    command = __import__(f"otel_perf.commands.{room}", fromlist=("main",))
    try:
        return int(command.main(arguments[1:]))
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        from .errors import UserError

        if not isinstance(error, UserError):
            raise
        sys.stderr.write(f"otel-perf {name}: {error.message}\n")
        return error.exit_code
