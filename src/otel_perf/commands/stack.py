"""`otel-perf stack`: collector, Prometheus, Tempo, Loki and Grafana as containers, from the files in the package."""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import TYPE_CHECKING

from otel_perf.backends import compose, services
from otel_perf.backends.probe import probe
from otel_perf.diagnose import skew
from otel_perf.errors import UserError

from .output import write

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PATIENCE = 180.0  # seconds until all services must be ready; the images are there by then
PROBE = 20.0  # seconds in which what was sent must have come back
ASKED = 3.0  # seconds for one that is asked for the time

DESCRIPTION = """\
Bring up what Grafana needs to show what otel-perf records: OpenTelemetry collector, Prometheus, Tempo, Loki and
Grafana, as containers of `docker compose`, every port on 127.0.0.1. Nothing else is needed than this package and docker
with its compose plugin; the images are fetched at the first `up`."""

EXAMPLES = """\
examples:
  otel-perf stack up                     start it, wait until each service is ready, print the addresses
  otel-perf stack status                 which service is ready, and why not
  otel-perf stack logs tempo             what a service says; --follow goes on
  otel-perf stack down                   stop it and keep the data; --volumes removes the data, too
  otel-perf stack status --settings F    of another stack: a JSON file with its addresses

  OTEL_PERF_STACK_GRAFANA_PORT=3001 otel-perf stack up
                                         another port, where 3000 is taken; also ..._PROMETHEUS_PORT, ..._TEMPO_PORT,
                                         ..._LOKI_PORT, ..._OTLP_HTTP_PORT, ..._OTLP_GRPC_PORT, ..._HEALTH_PORT;
                                         kept until the variable is set to something else

The files lie in a folder below the home directory; `up` says which, and writes them anew. --folder DIR is a new or an
empty one, or one of an `up` before; others are left alone. Without docker, `otel-perf view` shows recorded runs on a
local page.

exit status: 0 done, or all is ready; 1 it is not (it says why); 2 the command line or a setting is wrong"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    options = argparse.ArgumentParser(
        prog="otel-perf stack",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = options.add_subparsers(dest="action", required=True, metavar="up|down|status|logs")
    folder = argparse.ArgumentParser(add_help=False)
    folder.add_argument("--folder", metavar="DIR", help="where the stack's files are; default below the home directory")
    up = actions.add_parser("up", parents=[folder], help="start it and wait until it is ready")
    up.add_argument("--wait", metavar="SECONDS", type=_seconds, default=PATIENCE, help=f"at most; default {PATIENCE:g}")
    down = actions.add_parser("down", parents=[folder], help="stop it")
    down.add_argument("--volumes", action="store_true", help="remove all data, too")
    status = actions.add_parser("status", parents=[folder], help="say which service is ready")
    status.add_argument("--settings", metavar="FILE", help="JSON with the addresses; default those of the last `up`")
    status.add_argument("--wait", metavar="SECONDS", type=_seconds, default=0.0, help="wait so long for it; default 0")
    status.add_argument(
        "--probe", action="store_true", help="send a trace, a metric and a log record, and look for them"
    )
    logs = actions.add_parser("logs", parents=[folder], help="show what the services say")
    logs.add_argument("service", nargs="*", help="of collector, prometheus, tempo, loki, grafana; default all")
    logs.add_argument("--follow", action="store_true", help="go on with what comes, until Ctrl-C")
    logs.add_argument("--tail", metavar="N", type=int, default=100, help="so many last lines of each; default 100")
    return options


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is not from 0 to 86400 seconds")
    return value


def main(argv: list[str]) -> int:
    """Run the command with the arguments after its name; return its exit status.

    Raises: UserError: docker, a port or the folder is not as it must be.
    """
    options = parser().parse_args(argv)
    folder = compose.target(options.folder)
    actions = {"up": _up, "down": _down, "status": _status, "logs": _logs}
    return actions[options.action](options, folder)


def _up(options: argparse.Namespace, folder: Path) -> int:
    ports = compose.ports_for(folder, os.environ)
    addresses = services.Addresses.of_compose(ports)
    docker = compose.docker()
    begun = time.monotonic()
    compose.check_ports(ports, compose.running(docker), compose.kept_ports(folder))
    kept = compose.copy(folder, addresses.services["grafana"])
    _say(f"the stack's files are in {folder}")
    if kept:
        _say(f"left as they are, since they are not what the last `up` wrote: {', '.join(kept)}")
    if moved := _moved(ports):
        _say(f"on the ports of the last `up`, until their variables are set: {', '.join(moved)}")
    compose.keep(folder, ports)
    code = compose.compose(docker, folder, ["up", "--detach", "--remove-orphans"], ports)
    if code != 0:
        raise UserError(f"docker compose up ended with status {code}; what it says is above", exit_code=1)
    problems = services.wait(addresses.services, options.wait, _say)
    if problems:
        _explain(problems, docker, folder, options.wait)
        return 1
    _say_of_clocks(addresses)
    good = _probed(addresses)
    if missing := services.missing_dashboards(addresses.services["grafana"], PROBE):
        _say(f"Grafana does not have our dashboards {', '.join(missing)}; `otel-perf stack logs grafana` says why")
        good = False
    _say(f"up in {time.monotonic() - begun:.0f} s")
    write(_addresses(addresses, folder), "the addresses")
    return 0 if good else 1


def _moved(ports: Mapping[str, str]) -> list[str]:
    """Return which of *ports* are neither the default nor asked for now."""
    defaults = {variable: str(default) for variable, default, _ in services.PORTS.values()}
    asked = {name: os.environ.get(name, "").strip() for name in ports}
    return [f"{name}={port}" for name, port in ports.items() if port not in (defaults[name], asked[name])]


def _explain(problems: dict[str, str], docker: str, folder: Path, seconds: float) -> None:
    """Say what is not ready, with its last words and what to do."""
    for name, problem in problems.items():
        last = compose.said_by(docker, folder, name).strip()
        _say(f"{name} is not ready after {seconds:g} s: {problem}{'; its last lines:' if last else ''}")
        sys.stderr.writelines(f"    {line}\n" for line in last.splitlines())
        if "permission denied" in last.lower():
            _say("its volume belongs to somebody else: `otel-perf stack down --volumes` removes all volumes and data")
    _say("the containers are left running; `otel-perf stack status --wait 60` looks again, `stack down` stops them")


def _say_of_clocks(addresses: services.Addresses) -> None:
    """Say where the services' clock is not ours: what we send is dated by ours."""
    ahead = skew.ahead_of(addresses.services.get("prometheus", ""), ASKED)
    if text := skew.said(ahead, "that of the services"):
        _say(f"{text}; where they run in a virtual machine, start that anew")


def _probed(addresses: services.Addresses) -> bool:
    """Send one record of each signal through the stack; say what did not come back."""
    problems = probe(addresses, PROBE)
    for signal, problem in problems.items():
        _say(f"a test record, {signal}: {problem}; `otel-perf stack logs collector` may say why")
    if not problems:
        _say("a trace, a metric and a log record went through")
    return not problems


def _addresses(addresses: services.Addresses, folder: Path) -> str:
    """Return the addresses to open, and the variables with which a program sends here."""
    read = f"docker compose -f {folder / compose.FILE} exec grafana cat /var/lib/grafana/admin-password"
    names = {name: url for name, url in addresses.services.items() if name != "collector"}
    rows = [f"{name:<11} {url}" for name, url in sorted(names.items(), key=lambda pair: pair[0] != "grafana")]
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": addresses.otlp_http,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_SERVICE_NAME": "my-program",
        "OTEL_RESOURCE_ATTRIBUTES": "service.version=1.0.0",
    }
    word = "set" if sys.platform == "win32" else "export"
    lines = [f"{word} {name}={value}" for name, value in variables.items()]
    return "\n".join([*rows, f"(to look, no sign-in; the password of admin: {read})", "", *lines, ""])


def _down(options: argparse.Namespace, folder: Path) -> int:
    words = ["down", *(["--volumes"] if options.volumes else [])]
    return compose.compose(compose.docker(), _there(folder), words, compose.ports_for(folder, os.environ))


def _logs(options: argparse.Namespace, folder: Path) -> int:
    words = ["logs", "--tail", str(options.tail), *(["--follow"] if options.follow else []), *options.service]
    return compose.compose(compose.docker(), _there(folder), words, compose.ports_for(folder, os.environ))


def _there(folder: Path) -> Path:
    """Return *folder*, where `up` has put the files.

    Raises: UserError: it has not; a compose file that lies there is of another project, with volumes of its own.
    """
    if not (compose.is_ours(folder) and (folder / compose.FILE).is_file()):
        raise UserError(
            f"no stack of ours in {folder}: `otel-perf stack up` makes one, --folder DIR names another", exit_code=1
        )
    return folder


def _status(options: argparse.Namespace, folder: Path) -> int:
    if options.settings:
        addresses = services.Addresses.read(options.settings)
    else:
        addresses = services.Addresses.of_compose(compose.ports_for(folder, os.environ))
    problems = services.wait(addresses.services, options.wait, _say if options.wait else lambda _: None)
    rows = [
        f"{name:<13} {url:<28} {f'not ready: {problems[name]}' if name in problems else 'ready'}"
        for name, url in addresses.services.items()
    ]
    write("\n".join([*rows, ""]), "the status")
    good = not problems
    if "prometheus" not in problems:
        _say_of_clocks(addresses)
    if options.probe and good:
        good = _probed(addresses)
    return 0 if good else 1


def _say(text: str) -> None:
    sys.stderr.write(f"otel-perf stack: {text}\n")
    sys.stderr.flush()
