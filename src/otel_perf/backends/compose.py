"""The stack's files on the user's disk, and `docker compose` run on them.

The files are copied out of the package: a container mounts them, and Docker Desktop shares only the home directory.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from otel_perf import budgets
from otel_perf.errors import UserError

from .rules.files import files_of
from .rules.parts import RUNBOOK, Links
from .services import PORTS, Addresses, folder_for_data, port_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

FILE = "docker-compose.yml"
SETTINGS = "settings.json"
KEPT = ".env"  # the ports of the last `up`; `docker compose` reads it, too
WRITTEN = "written.json"
GENERATED = ("prometheus/rules/", "prometheus/tests/", "grafana/dashboards/")  # which users write anew, too
VIEW = "without docker, `otel-perf view` shows recorded runs on a local page"
ANSWER = 20  # seconds that docker may take to say what it is


def source() -> Path:
    """Return the folder of the stack's files: inside us in a wheel, deploy/ in a checkout.

    Raises: UserError: it is in neither place.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "_deploy", package.parents[1] / "deploy"):
        if (folder / FILE).is_file():
            return folder
    raise UserError("the files of the stack are not installed; reinstall otel-perf", exit_code=1)


def target(given: str | None) -> Path:
    """Return the folder that compose runs in: *given*, or the default below the home directory."""
    return Path(given or os.path.join(folder_for_data(os.environ, sys.platform), "otel-perf", "stack")).absolute()


def copy(folder: Path, grafana: str) -> list[str]:
    """Copy the stack's files to *folder*, over those of an earlier version; return those that were left alone.

    Rules and dashboards that are not what the last copy wrote are the user's, by `otel-perf rules --out` or by hand.
    The containers' users read the files, who are nobody's friends here: modes do not come from the umask.

    Args:
        folder: new, empty, or of an earlier copy.
        grafana: base URL, to which the links of the alerts lead.

    Raises: UserError: it cannot be written, or what is in it is somebody else's.
    """
    before, written, kept = _written(folder), {}, []
    try:
        if folder.is_dir() and any(folder.iterdir()) and not is_ours(folder):
            raise UserError(
                f"{folder} has files that are not of `otel-perf stack up`, which would replace them; name a new or an "
                "empty folder with --folder DIR",
                exit_code=1,
            )
        _folder(folder)
        (folder / WRITTEN).touch()  # from now on it is ours, also where we are interrupted
        for name, content in sorted(_contents(grafana).items()):
            place = folder / name
            for above in reversed(PurePosixPath(name).parents):
                _folder(folder / above)
            if name.startswith(GENERATED):
                if place.is_file() and _digest(place.read_bytes()) not in (_digest(content), before.get(name)):
                    kept.append(name)
                    continue
                written[name] = _digest(content)
            unfinished = place.with_name(place.name + ".new")
            unfinished.write_bytes(content)
            unfinished.chmod(0o644)
            unfinished.replace(place)
        (folder / WRITTEN).write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise _not_writable(folder, error) from None
    return kept


def _contents(grafana: str) -> dict[str, bytes]:
    """Return what is copied, by its name in the folder: the stack's files, rules for this *grafana*, their runbook."""
    files = source()
    found = {path.relative_to(files).as_posix(): path.read_bytes() for path in files.rglob("*") if path.is_file()}
    if RUNBOOK not in found:  # in a wheel it lies among them
        found[RUNBOOK] = (files.parent / RUNBOOK).read_bytes()
    rules = files_of(budgets.read("", None), Links(grafana=grafana))
    return found | {f"prometheus/{name}": text.encode() for name, text in rules.items()}


def is_ours(folder: Path) -> bool:
    """Return whether copy() has written *folder*: in no other one is anything replaced or removed."""
    return (folder / WRITTEN).is_file()


def _not_writable(folder: Path, error: OSError) -> UserError:
    return UserError(
        f"cannot write {error.filename or folder}: {error.strerror}; the stack's files must lie where docker can "
        "mount them: make it writable, or name a folder of yours with --folder DIR",
        exit_code=1,
    )


def _written(folder: Path) -> dict[str, str]:
    """Return the digests of what the last copy wrote, by name."""
    try:
        found = json.loads((folder / WRITTEN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _folder(folder: Path) -> None:
    if not folder.is_dir():
        folder.mkdir(parents=True)
        folder.chmod(0o755)


# --- ports -----------------------------------------------------------------------------------------------------------


def kept_ports(folder: Path) -> dict[str, str]:
    """Return the ports that the last `up` in *folder* had, by their variables; none where there was none."""
    try:
        lines = (folder / KEPT).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    known = {variable for variable, _, _ in PORTS.values()}
    pairs = (line.partition("=") for line in lines)
    return {name.strip(): value.strip() for name, _, value in pairs if name.strip() in known}


def ports_for(folder: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the ports of the stack in *folder*, by their variables: those of *environ*, else of the last `up`.

    Raises: UserError: one is no port.
    """
    given = {variable: environ[variable] for variable, _, _ in PORTS.values() if environ.get(variable, "").strip()}
    found = {**kept_ports(folder), **given}
    return {variable: str(port_of(key, found)) for key, (variable, _, _) in PORTS.items()}


def keep(folder: Path, ports: Mapping[str, str]) -> None:
    """Write down in *folder* which ports the stack is brought up with, and the addresses that follow.

    Raises: UserError: it cannot be written.
    """
    lines = [
        "# The ports of the last `otel-perf stack up`: the next one, and docker compose, take them from here where the",
        "# variable is not set.",
        *(f"{name}={port}" for name, port in ports.items()),
    ]
    try:
        (folder / KEPT).write_text("\n".join([*lines, ""]), encoding="utf-8")
        (folder / SETTINGS).write_text(Addresses.of_compose(ports).as_json(), encoding="utf-8")
    except OSError as error:
        raise _not_writable(folder, error) from None


# --- docker ----------------------------------------------------------------------------------------------------------


def docker() -> str:
    """Return the program docker, with an engine behind it and the compose plugin.

    Raises: UserError: which of the three is missing.
    """
    program = shutil.which("docker")
    if program is None:
        raise UserError(f"docker is not installed (not on PATH); {VIEW}", exit_code=1)
    version = _ask(program, "compose", "version")
    if version.returncode != 0:
        raise UserError(
            f"docker has no compose plugin ({_first(version)}); install docker-compose-plugin or Docker Desktop; "
            f"{VIEW}",
            exit_code=1,
        )
    engine = _ask(program, "info", "--format", "{{.ServerVersion}}")
    if engine.returncode != 0 or not engine.stdout.strip():
        raise UserError(
            f"docker has no engine that answers ({_first(engine)}); start it, then again; {VIEW}", exit_code=1
        )
    return program


def _ask(program: str, *words: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            [program, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=ANSWER, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess([program, *words], 1, "", f"no answer within {ANSWER} s")
    except OSError as error:
        raise UserError(f"cannot run {program}: {error.strerror or error}; {VIEW}", exit_code=1) from None


def _first(result: subprocess.CompletedProcess[str]) -> str:
    """Return the first line that a program said, which names the cause."""
    lines = (result.stderr or result.stdout).strip().splitlines()
    return lines[0].strip()[:200] if lines else f"exit status {result.returncode}"


def compose(program: str, folder: Path, words: Sequence[str], ports: Mapping[str, str]) -> int:
    """Run `docker compose WORDS` on the stack in *folder*; return its exit status. Its output is the user's.

    With its *ports* in its variables: one that is set and empty would be the default, whatever the file says.
    """
    environment = {**os.environ, **ports}
    return subprocess.run([*_words(program, folder), *words], env=environment, check=False).returncode


def said_by(program: str, folder: Path, service: str) -> str:
    """Return the last lines that a service wrote."""
    result = _ask(*_words(program, folder), "logs", "--no-color", "--no-log-prefix", "--tail", "5", service)
    return result.stdout + result.stderr


def running(program: str) -> set[str]:
    """Return the services of the stack that run already, of whichever folder: its name is the same."""
    return set(_ask(*_words(program, source()), "ps", "--services", "--status", "running").stdout.split())


def _words(program: str, folder: Path) -> list[str]:
    return [program, "compose", "--file", str(folder / FILE)]


def check_ports(ports: Mapping[str, str], running: Collection[str], before: Mapping[str, str]) -> None:
    """See that the stack's ports are free, before anything is started.

    Args:
        ports: by the variables of PORTS.
        running: services of ours that run already, and have theirs,
        before: which are these, as far as it is known.

    Raises: UserError: one is taken, by itself or within the stack; says by whom where the system tells.
    """
    seen: dict[int, str] = {}
    for key, (variable, _, service) in PORTS.items():
        port = port_of(key, ports)
        if port in seen:
            raise UserError(f"{variable} and {seen[port]} are both {port}; give one of them another port")
        seen[port] = variable
        ours = service in running and before.get(variable, ports[variable]) == ports[variable]
        if not ours and (reason := _taken(port)):
            other = port + 10000 if port < 50000 else port - 10000
            raise UserError(
                f"port {port} of 127.0.0.1, for {service}, {reason}; free it, or move ours: {variable}={other}",
                exit_code=1,
            )


def _taken(port: int) -> str:
    """Return why nobody can listen on *port*, empty where somebody can."""
    with socket.socket() as one:
        if os.name == "posix":  # as docker's proxy does; elsewhere the option lets two listen
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(("127.0.0.1", port))
            one.listen(1)
        except PermissionError:
            return "may not be used by this user"
        except OSError:
            return f"is taken{_by_whom(port)}"
    return ""


def _by_whom(port: int) -> str:
    import psutil

    with contextlib.suppress(psutil.Error, OSError):
        for one in psutil.net_connections("tcp"):
            if one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == port and one.pid:
                return f" by {psutil.Process(one.pid).name()} (process {one.pid})"
    return ""
