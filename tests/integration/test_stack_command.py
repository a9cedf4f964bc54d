"""`otel-perf stack`: what it asks of docker, and what it says where something is missing, taken or not allowed.

A script in place of docker writes down how it is called, and says what the real one says (docker 28, compose 2.40).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from otel_perf.backends import compose
from otel_perf.backends.rules.parts import GRAFANA, RUNBOOK

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
unix = pytest.mark.skipif(sys.platform == "win32", reason="a script that begins with #!")

DOCKER = """#!{python}
import json, os, sys
words = sys.argv[1:]
with open({calls!r}, "a") as file:
    file.write(json.dumps(words) + "\\n")
with open({calls!r} + "-variables", "a") as file:
    ports = {{key: value for key, value in os.environ.items() if key.startswith("OTEL_PERF_STACK_")}}
    file.write(json.dumps([words[3:4], ports]) + "\\n")
answers = {answers!r}
for key, (code, out, errors) in answers.items():
    if key in " ".join(words):
        sys.stdout.write(out)
        sys.stderr.write(errors)
        sys.exit(code)
"""
GOOD = {"compose version": (0, "Docker Compose version v2.40.3\n", ""), "info": (0, "28.2.0\n", "")}
PORTS = ("OTLP_GRPC", "OTLP_HTTP", "HEALTH", "PROMETHEUS", "TEMPO", "LOKI", "GRAFANA")


@pytest.fixture
def stack(run_python, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs `otel-perf stack WORDS` in an empty home, on seven ports that are free."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in PORTS]
    ports = {f"OTEL_PERF_STACK_{name}_PORT": str(one.getsockname()[1]) for name, one in zip(PORTS, held, strict=True)}
    for one in held:
        one.close()
    home = {"HOME": str(tmp_path / "home"), "XDG_DATA_HOME": "", "LOCALAPPDATA": str(tmp_path / "home")}

    def run(*words: str, **variables: str | None) -> subprocess.CompletedProcess[str]:
        return run_python(["-m", "otel_perf", "stack", *words], env={**home, **ports, **variables})

    run.ports = ports
    return run


@pytest.fixture
def docker(tmp_path: Path) -> Callable[..., Callable[[], list[list[str]]]]:
    """Return a function that puts a script on PATH as docker, which answers as given; it returns one for its calls."""

    def put(**answers: tuple[int, str, str]) -> Callable[[], list[list[str]]]:
        folder = tmp_path / "bin"
        folder.mkdir()
        calls = tmp_path / "calls"
        said = {**{key.replace("_", " "): value for key, value in answers.items()}, **GOOD}
        said = {key: answers.get(key.replace(" ", "_"), value) for key, value in said.items()}
        script = folder / "docker"
        script.write_text(DOCKER.format(python=sys.executable, calls=str(calls), answers=said), encoding="utf-8")
        script.chmod(0o755)
        return lambda: [json.loads(line) for line in calls.read_text(encoding="utf-8").splitlines()]

    return put


def on_path(tmp_path: Path) -> dict[str, str]:
    return {"PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"}


def test_without_docker_it_names_the_local_page(stack, tmp_path):
    (tmp_path / "empty").mkdir()

    result = stack("up", PATH=str(tmp_path / "empty"))

    assert (1, "") == (result.returncode, result.stdout)
    assert (
        "otel-perf stack: docker is not installed (not on PATH); "
        "without docker, `otel-perf view` shows recorded runs on a local page\n" == result.stderr
    )


@unix
@pytest.mark.parametrize(
    ("answers", "what"),
    [
        (
            {"compose_version": (1, "", "docker: unknown command: docker compose\n\nRun 'docker --help' …\n")},
            "docker has no compose plugin (docker: unknown command: docker compose); install docker-compose-plugin",
        ),
        (
            {"info": (1, "", "Cannot connect to the Docker daemon at unix:///var/run/docker.sock.\n")},
            "docker has no engine that answers (Cannot connect to the Docker daemon at unix:///var/run/docker.sock.)",
        ),
    ],
    ids=["no plugin", "no engine"],
)
@pytest.mark.parametrize("action", ["up", "down", "logs"])
def test_docker_that_lacks_something_is_told_and_the_local_page_named(stack, docker, tmp_path, answers, what, action):
    docker(**answers)
    (tmp_path / "there").mkdir()
    shutil.copy(ROOT / "deploy" / "docker-compose.yml", tmp_path / "there")

    result = stack(action, "--folder", str(tmp_path / "there"), **on_path(tmp_path))

    assert (1, "") == (result.returncode, result.stdout)
    assert result.stderr.startswith(f"otel-perf stack: {what}")
    assert "`otel-perf view`" in result.stderr
    assert 1 == result.stderr.count("\n")


@pytest.mark.skipif(sys.platform != "linux", reason="its messages are the same on every system")
def test_real_docker_without_an_engine_is_told(stack, tmp_path):
    program = shutil.which("docker")
    if program is None:
        pytest.skip("needs docker")

    result = stack("up", DOCKER_HOST="tcp://127.0.0.1:1")

    assert (1, "") == (result.returncode, result.stdout)
    assert "docker has no " in result.stderr  # compose plugin, where there is none, else engine
    assert "`otel-perf view`" in result.stderr


@unix
def test_up_puts_the_files_below_home_runs_compose_there_and_names_what_is_not_ready(stack, docker, tmp_path):
    calls = docker(logs=(0, "mkdir /var/tempo/blocks: permission denied\n", ""))

    result = stack("up", "--wait", "1", **on_path(tmp_path))

    folder = tmp_path / "home" / ".local" / "share" / "otel-perf" / "stack"
    if sys.platform == "darwin":
        folder = tmp_path / "home" / "Library" / "Application Support" / "otel-perf" / "stack"
    before = ["compose", "--file", str(folder / "docker-compose.yml")]
    assert 1 == result.returncode
    assert [*before, "up", "--detach", "--remove-orphans"] in calls()
    assert [*before, "logs", "--no-color", "--no-log-prefix", "--tail", "5", "tempo"] in calls()
    for name in ("collector", "prometheus", "tempo", "loki", "grafana"):
        assert f"{name} is not ready after 1 s: nothing listens there; its last lines:" in result.stderr
    assert "`otel-perf stack down --volumes` removes all volumes and data" in result.stderr
    deploy = ROOT / "deploy"
    files = {file.relative_to(deploy): file.read_text(encoding="utf-8") for file in deploy.rglob("*") if file.is_file()}
    files[Path(RUNBOOK)] = (ROOT / RUNBOOK).read_text(encoding="utf-8")
    for name, text in files.items():
        if "rules" in name.parts:
            text = text.replace(":3000/", f":{stack.ports['OTEL_PERF_STACK_GRAFANA_PORT']}/")
        assert text == (folder / name).read_text(encoding="utf-8"), name
        assert 0o644 == stat.S_IMODE((folder / name).stat().st_mode)
    assert {0o755} == {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_dir()}


@unix
def test_up_again_writes_our_files_anew_and_leaves_the_users_own(stack, docker, tmp_path):
    docker()
    folder = tmp_path / "there"
    stack("up", "--wait", "0", "--folder", str(folder), **on_path(tmp_path))
    own = folder / "prometheus" / "rules" / "own.yml"
    own.write_text("groups: []\n", encoding="utf-8")
    (folder / "docker-compose.yml").write_text("damaged", encoding="utf-8")

    stack("up", "--wait", "0", "--folder", str(folder), **on_path(tmp_path))

    assert "groups: []\n" == own.read_text(encoding="utf-8")
    assert (ROOT / "deploy" / "docker-compose.yml").read_bytes() == (folder / "docker-compose.yml").read_bytes()
    assert [] == list(folder.rglob("*.new"))


@unix
@pytest.mark.parametrize("name", PORTS)
def test_port_that_is_taken_is_named_with_its_variable_before_anything_starts(stack, docker, tmp_path, name):
    calls = docker()
    variable = f"OTEL_PERF_STACK_{name}_PORT"

    with socket.create_server(("127.0.0.1", int(stack.ports[variable]))):
        result = stack("up", **on_path(tmp_path))

    assert (1, "") == (result.returncode, result.stdout)
    last = result.stderr.splitlines()[-1]
    assert last.startswith(f"otel-perf stack: port {stack.ports[variable]} of 127.0.0.1, for ")
    assert f"; free it, or move ours: {variable}=" in last
    if sys.platform == "linux":
        assert f"(process {os.getpid()})" in last
    assert not any("up" in call for call in calls())


@unix
def test_port_of_a_service_of_ours_that_runs_already_is_not_taken(stack, docker, tmp_path):
    calls = docker(ps=(0, "grafana\n", ""))

    with socket.create_server(("127.0.0.1", int(stack.ports["OTEL_PERF_STACK_GRAFANA_PORT"]))):
        stack("up", "--wait", "0", **on_path(tmp_path))

    assert any("up" in call for call in calls())


@pytest.mark.parametrize("value", ["0", "65536", "http", "-1", "3000.5", "٣"])
def test_variable_that_is_no_port_is_a_usage_error(stack, value):
    result = stack("up", OTEL_PERF_STACK_LOKI_PORT=value)

    assert (2, "") == (result.returncode, result.stdout)
    assert (
        f"otel-perf stack: OTEL_PERF_STACK_LOKI_PORT: {value!r} is no port; write a number from 1 to 65535, "
        "the default is 3100\n" == result.stderr
    )


@unix
def test_two_services_on_one_port_are_refused(stack, docker, tmp_path):
    docker()
    port = stack.ports["OTEL_PERF_STACK_LOKI_PORT"]

    result = stack("up", OTEL_PERF_STACK_GRAFANA_PORT=port, **on_path(tmp_path))

    assert 2 == result.returncode
    assert f"OTEL_PERF_STACK_GRAFANA_PORT and OTEL_PERF_STACK_LOKI_PORT are both {port};" in result.stderr


@unix
def test_folder_that_cannot_be_written_is_named_before_anything_starts(stack, docker, tmp_path):
    calls = docker()
    (tmp_path / "file").write_text("", encoding="utf-8")

    result = stack("up", "--folder", str(tmp_path / "file" / "stack"), **on_path(tmp_path))

    assert (1, "") == (result.returncode, result.stdout)
    assert result.stderr.startswith(f"otel-perf stack: cannot write {tmp_path / 'file'}")
    assert "--folder DIR" in result.stderr
    assert not any("up" in call for call in calls())


@pytest.mark.skipif(sys.platform != "linux", reason="/sys: where root may not write either")
def test_folder_where_nobody_may_write_is_named(stack, docker, tmp_path):
    docker()

    result = stack("up", "--folder", "/sys/otel-perf", **on_path(tmp_path))

    assert (1, "") == (result.returncode, result.stdout)
    assert "cannot write /sys/otel-perf: " in result.stderr
    assert "Permission denied" in result.stderr or "Operation not permitted" in result.stderr


@unix
def test_compose_that_fails_is_told_with_its_status(stack, docker, tmp_path):
    docker(**{"up_--detach": (18, "", "pull access denied\n")})

    result = stack("up", **on_path(tmp_path))

    assert 1 == result.returncode
    assert "pull access denied\n" in result.stderr
    assert "otel-perf stack: docker compose up ended with status 18; what it says is above\n" in result.stderr


@unix
@pytest.mark.parametrize(
    ("words", "passed"),
    [
        (["down"], ["down"]),
        (["down", "--volumes"], ["down", "--volumes"]),
        (["logs"], ["logs", "--tail", "100"]),
        (["logs", "tempo", "loki", "--follow", "--tail", "7"], ["logs", "--tail", "7", "--follow", "tempo", "loki"]),
    ],
)
def test_down_and_logs_are_those_of_compose(stack, docker, tmp_path, words, passed):
    calls = docker(**{".yml_down": (3, "", "")})
    folder = tmp_path / "there"
    stack("up", "--wait", "0", "--folder", str(folder), **on_path(tmp_path))

    result = stack(*words, "--folder", str(folder), **on_path(tmp_path))

    assert ["compose", "--file", str(folder / "docker-compose.yml"), *passed] == calls()[-1]
    assert (3 if "down" in words else 0) == result.returncode  # compose's own


@unix
def test_down_without_a_stack_says_how_to_make_one(stack, docker, tmp_path):
    docker()

    result = stack("down", **on_path(tmp_path))

    assert 1 == result.returncode
    assert "`otel-perf stack up` makes one" in result.stderr


# --- a folder of somebody else ----------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return the folder of a project that has nothing to do with us, for its owner alone."""
    folder = tmp_path / "project"
    folder.mkdir(mode=0o700)
    (folder / ".env").write_text("PASSWORD=secret\n", encoding="utf-8")
    (folder / "docker-compose.yml").write_text("services: {}\n", encoding="utf-8")
    return folder


@unix
def test_up_leaves_a_folder_with_files_of_others_as_it_is(stack, docker, tmp_path, project):
    calls = docker()

    result = stack("up", "--wait", "0", "--folder", str(project), **on_path(tmp_path))

    assert (1, "") == (result.returncode, result.stdout)
    assert (
        f"otel-perf stack: {project} has files that are not of `otel-perf stack up`, which would replace them; "
        "name a new or an empty folder with --folder DIR\n" == result.stderr
    )
    assert {".env": "PASSWORD=secret\n", "docker-compose.yml": "services: {}\n"} == {
        path.name: path.read_text(encoding="utf-8") for path in project.iterdir()
    }
    assert 0o700 == stat.S_IMODE(project.stat().st_mode)
    assert not any("up" in call for call in calls())


@unix
@pytest.mark.parametrize("words", [["down"], ["down", "--volumes"], ["logs"]])
def test_compose_file_of_another_project_is_not_run(stack, docker, tmp_path, project, words):
    calls = docker()

    result = stack(*words, "--folder", str(project), **on_path(tmp_path))

    assert (1, "") == (result.returncode, result.stdout)
    assert f"otel-perf stack: no stack of ours in {project}: `otel-perf stack up` makes one, " in result.stderr
    assert not any("--file" in call for call in calls())


@unix
def test_empty_folder_is_taken_and_stays_its_owners_while_those_that_we_make_can_be_read(stack, docker, tmp_path):
    calls = docker()
    folder = tmp_path / "empty"
    folder.mkdir(mode=0o700)

    stack("up", "--wait", "0", "--folder", str(folder), **on_path(tmp_path))

    assert any("up" in call for call in calls())
    assert 0o700 == stat.S_IMODE(folder.stat().st_mode)
    assert {0o755} == {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_dir()}


@unix
def test_up_that_was_interrupted_can_be_done_again(stack, docker, tmp_path, run_python):
    calls = docker()
    folder = tmp_path / "there"
    interrupted = run_python(
        f"""
        import resource
        from pathlib import Path
        from otel_perf.backends import compose
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        compose.copy(Path({str(folder)!r}), "http://127.0.0.1:3000")
        """
    )
    assert "File too large" in interrupted.stderr
    assert not (folder / "prometheus").exists()

    stack("up", "--wait", "0", "--folder", str(folder), **on_path(tmp_path))

    assert (folder / "prometheus").is_dir()
    assert any("up" in call for call in calls())


# --- the ports that it was brought up with ----------------------------------------------------------------------------


def places(result: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the ports that `status` has asked."""
    return [line.split()[1].removeprefix("http://127.0.0.1:") for line in result.stdout.splitlines()]


def asked(ports: dict[str, str]) -> list[str]:
    """Return those of *ports* that `status` asks: where OTLP goes in is no service of its own."""
    return [port for name, port in ports.items() if "OTLP" not in name]


def given(tmp_path: Path, action: str) -> dict[str, str]:
    """Return the variables that `docker compose` was last given for *action*."""
    lines = (tmp_path / "calls-variables").read_text(encoding="utf-8").splitlines()
    return [variables for words, variables in map(json.loads, lines) if words == [action]][-1]


@pytest.fixture
def another_shell(stack) -> dict[str, None]:
    """Return what takes the variables away."""
    return dict.fromkeys(stack.ports)


@unix
@pytest.mark.parametrize("action", ["up", "down", "logs"])
@pytest.mark.parametrize("empty", [None, ""])
def test_later_commands_have_the_ports_of_the_last_up(stack, docker, tmp_path, action, empty):
    docker()
    stack("up", "--wait", "0", **on_path(tmp_path))

    result = stack(action, *(["--wait", "0"] if action == "up" else []), **dict.fromkeys(stack.ports, empty), **on_path(tmp_path))  # fmt: skip

    assert stack.ports == given(tmp_path, action)
    told = [line for line in result.stderr.splitlines() if "on the ports of the last `up`" in line]
    assert (1 if action == "up" else 0) == len(told)
    assert all(f"{name}={port}" in line for line in told for name, port in stack.ports.items())


@unix
def test_status_asks_where_the_last_up_was_told_to_listen(stack, docker, tmp_path, another_shell):
    docker()
    stack("up", "--wait", "0", **on_path(tmp_path))

    assert asked(stack.ports) == places(stack("status", **another_shell))
    assert ["1", *asked(stack.ports)[1:]] == places(
        stack("status", **{**another_shell, "OTEL_PERF_STACK_HEALTH_PORT": "1"})
    )


@unix
def test_variable_that_is_given_again_wins_and_is_kept(stack, docker, tmp_path, another_shell):
    docker()
    folder = tmp_path / "there"
    stack("up", "--wait", "0", "--folder", str(folder), **on_path(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as one:
        other = str(one.getsockname()[1])
    moved = {**another_shell, "OTEL_PERF_STACK_GRAFANA_PORT": other}

    stack("up", "--wait", "0", "--folder", str(folder), **moved, **on_path(tmp_path))

    expected = {**stack.ports, "OTEL_PERF_STACK_GRAFANA_PORT": other}
    assert expected == given(tmp_path, "up")
    assert asked(expected) == places(stack("status", "--folder", str(folder), **another_shell))
    lines = (folder / ".env").read_text(encoding="utf-8").splitlines()
    assert [f"{name}={port}" for name, port in expected.items()] == [line for line in lines if line[0] != "#"]


@unix
def test_up_that_is_refused_changes_no_port_that_is_kept(stack, docker, tmp_path, another_shell):
    docker()
    stack("up", "--wait", "0", **on_path(tmp_path))

    with socket.create_server(("127.0.0.1", 0)) as one:
        moved = {"OTEL_PERF_STACK_GRAFANA_PORT": str(one.getsockname()[1])}
        result = stack("up", **{**another_shell, **moved}, **on_path(tmp_path))

    assert "free it, or move ours: OTEL_PERF_STACK_GRAFANA_PORT=" in result.stderr
    assert asked(stack.ports) == places(stack("status", **another_shell))


@unix
def test_taken_port_to_which_a_running_service_is_to_move_is_named(stack, docker, tmp_path):
    """The service has its own port, not that one."""
    docker(ps=(0, "grafana\n", ""))
    stack("up", "--wait", "0", **on_path(tmp_path))

    with socket.create_server(("127.0.0.1", 0)) as one:
        port = str(one.getsockname()[1])
        result = stack("up", OTEL_PERF_STACK_GRAFANA_PORT=port, **on_path(tmp_path))

    assert 1 == result.returncode
    assert f"port {port} of 127.0.0.1, for grafana, is taken" in result.stderr


@unix
def test_kept_port_that_is_none_is_a_usage_error_until_the_variable_is_set(stack, docker, tmp_path, another_shell):
    docker()
    folder = tmp_path / "there"
    stack("up", "--wait", "0", "--folder", str(folder), **on_path(tmp_path))
    (folder / ".env").write_text("OTEL_PERF_STACK_LOKI_PORT=many\nOTHER=1\n", encoding="utf-8")

    result = stack("status", "--folder", str(folder), **another_shell)

    assert 2 == result.returncode
    assert "OTEL_PERF_STACK_LOKI_PORT: 'many' is no port" in result.stderr
    loki = {**another_shell, "OTEL_PERF_STACK_LOKI_PORT": "3100"}
    assert ["13133", "9090", "3200", "3100", "3000"] == places(stack("status", "--folder", str(folder), **loki))


def test_status_where_nothing_runs_says_so_for_each_service(stack):
    result = stack("status")

    assert (1, "") == (result.returncode, result.stderr)
    lines = result.stdout.splitlines()
    assert ["collector", "prometheus", "tempo", "loki", "grafana"] == [line.split()[0] for line in lines]
    assert all(line.endswith("not ready: nothing listens there") for line in lines)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"otlp_http": "a", "otlp_grpc": "b", "services": []}',
     '{"otlp_http": "a", "otlp_grpc": "b", "services": {"mimir": "http://127.0.0.1:1"}}',
     '{"otlp_http": "a", "otlp_grpc": "b", "services": {"loki": "127.0.0.1:3100"}}',
     '{"otlp_http": "a", "otlp_grpc": "b", "services": {"loki": "http://127.0.0.1:port"}}'],
)  # fmt: skip
def test_settings_that_are_none_are_a_usage_error_naming_the_file(stack, tmp_path, content):
    (tmp_path / "settings.json").write_text(content, encoding="utf-8")

    result = stack("status", "--settings", "settings.json")

    assert (2, "") == (result.returncode, result.stdout)
    assert result.stderr.startswith("otel-perf stack: settings.json: ")
    assert 1 == result.stderr.count("\n")


def test_settings_that_are_not_there_are_a_usage_error(stack):
    result = stack("status", "--settings", "nowhere.json")

    assert (2, "otel-perf stack: cannot read nowhere.json: No such file or directory\n") == (
        result.returncode,
        result.stderr,
    )


@pytest.mark.parametrize("words", [["--help"], ["up", "--help"]])
def test_help_shows_examples(stack, words):
    result = stack(*words)

    assert (0, "") == (result.returncode, result.stderr)
    assert result.stdout.startswith("usage: otel-perf stack")


@pytest.mark.parametrize("words", [[], ["restart"], ["up", "--wait", "long"], ["up", "--wait", "-1"]])
def test_usage_errors_exit_with_2(stack, words):
    assert 2 == stack(*words).returncode


def test_rules_and_dashboards_that_the_user_has_written_are_left_alone(tmp_path):
    assert [] == compose.copy(tmp_path, GRAFANA)
    rules = tmp_path / "prometheus" / "rules" / "otel-perf-budgets.yml"
    rules.write_text("groups: []\n")
    (tmp_path / "prometheus" / "prometheus.yml").write_text("of an earlier version\n")

    assert ["prometheus/rules/otel-perf-budgets.yml"] == compose.copy(tmp_path, "http://127.0.0.1:3001")
    assert "groups: []\n" == rules.read_text()
    assert "of an earlier version" not in (tmp_path / "prometheus" / "prometheus.yml").read_text()
    rules.unlink()
    assert [] == compose.copy(tmp_path, GRAFANA)
    assert "alert:" in rules.read_text()


# --- where alerts lead ------------------------------------------------------------------------------------------------


def annotations(folder: Path, name: str) -> list[str]:
    """Return what the alerts of the stack in *folder* say under *name*."""
    files = sorted((folder / "prometheus" / "rules").glob("*.yml"))
    groups = [group for file in files for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]]
    return [rule["annotations"][name] for group in groups for rule in group["rules"] if "alert" in rule]


@unix
def test_alerts_lead_to_the_port_that_grafana_has_and_not_to_one_that_was_refused(stack, docker, tmp_path):
    docker()
    folder = tmp_path / "there"
    words = ["up", "--wait", "0", "--folder", str(folder)]

    def led() -> set[str]:
        return {url.partition("/d/")[0] for url in annotations(folder, "dashboard_url")}

    stack(*words, **on_path(tmp_path))
    assert {f"http://127.0.0.1:{stack.ports['OTEL_PERF_STACK_GRAFANA_PORT']}"} == led()
    with socket.create_server(("127.0.0.1", 0)) as one:
        moved = str(one.getsockname()[1])
    stack(*words, OTEL_PERF_STACK_GRAFANA_PORT=moved, **on_path(tmp_path))
    assert {f"http://127.0.0.1:{moved}"} == led()

    with socket.create_server(("127.0.0.1", 0)) as one:
        refused = stack(*words, OTEL_PERF_STACK_GRAFANA_PORT=str(one.getsockname()[1]), **on_path(tmp_path))

    assert "is taken" in refused.stderr
    assert {f"http://127.0.0.1:{moved}"} == led()


def test_runbook_of_each_alert_is_a_section_of_a_file_beside_the_stack(tmp_path):
    compose.copy(tmp_path, GRAFANA)

    for place in annotations(tmp_path, "runbook_url"):
        file, _, anchor = place.partition("#")
        headings = re.findall(r"^## (.*)$", (tmp_path / file).read_text(encoding="utf-8"), re.MULTILINE)
        assert anchor in {heading.lower().replace(" ", "-") for heading in headings}
