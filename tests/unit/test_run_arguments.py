"""The words of ``otel-perf run``: what is its own, what is the program's, and which interpreter can be reached."""

from __future__ import annotations

import os
import sys

import pytest

from otel_perf import cli
from otel_perf.commands import run


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text, mode in (
        ("app.py", "print(1)\n", 0o644),
        ("executable.py", "#!/usr/bin/python3\n", 0o755),
        ("no-first-line.py", "print(1)\n", 0o755),
        ("app.pyz", "PK", 0o644),
        ("script", "#!/usr/bin/env python3\n", 0o755),
        ("shell", "#!/bin/sh\nexec python\n", 0o755),
        ("isolated", f"#!{sys.executable} -I\n", 0o755),
        ("through-env", "#!/usr/bin/env -S python3 -sE\n", 0o755),
        ("env-options", "#!/usr/bin/env -S -i python3 -u\n", 0o755),
        ("folder/__main__.py", "", 0o644),
        ("empty/file", "", 0o644),
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [
        ["-m", "http.server"],
        ["-c", "pass"],
        ["app.py", "x"],
        ["./app.py"],
        ["executable.py"],
        ["./no-first-line.py"],
        ["app.pyz"],
        ["folder", "-x"],
    ],
    ids=" ".join,
)
def test_this_interpreter_runs_what_is_no_program(folder, command):
    assert [sys.executable, *command] == run.as_program(command)


@pytest.mark.parametrize(
    "command",
    [["python", "app.py"], ["./script"], ["./executable.py", "-m"], ["no-such.py"], ["empty"], ["ls"], ["folder/app"]],
    ids=" ".join,
)
def test_a_program_is_left_as_it_is(folder, command):
    if os.name == "nt" and "executable" in command[0]:
        pytest.skip("files have no executable bit there")
    assert command == run.as_program(command)


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        ("-I app.py", "I"),
        ("-E -m x", "E"),
        ("-S", "S"),
        ("-bE app.py", "E"),
        ("-uOOI app.py", "I"),
        ("-X dev -I app.py", "I"),
        ("-Xdev -I app.py", "I"),
        ("-W error -S app.py", "S"),
        ("-Werror -S app.py", "S"),
        ("--check-hash-based-pycs always -I app.py", "I"),
        ("-", ""),
        ("app.py -I", ""),
        ("-m module -I", ""),
        ("-mmodule -S", ""),
        ("-c code -E", ""),
        ("-uc -E", ""),
        ("-X I app.py", ""),
        ("-WI app.py", ""),
        ("-s -P -O app.py", ""),
        ("-- app.py -I", ""),
        ("--version", ""),
        ("", ""),
    ],
)
def test_isolation_is_seen_in_the_interpreter_s_own_flags_only(words, flag):
    problem = run.unreachable("/usr/bin/python3.11", ["python3.11", *words.split()])

    assert (f"python -{flag} " in problem) if flag else problem == ""


@pytest.mark.parametrize(
    ("name", "flag"), [("script", ""), ("shell", ""), ("isolated", "I"), ("through-env", "E"), ("env-options", "")]
)
def test_isolation_is_seen_in_the_first_line_of_a_script(folder, name, flag):
    problem = run.unreachable(f"./{name}", [f"./{name}", "-I"])

    assert (f"python -{flag} " in problem) if flag else problem == ""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/usr/bin/python", True),
        ("python3", True),
        ("python3.13t", True),
        ("C:/Python/python.exe", True),
        ("pythonw.exe", True),
        ("pypy3.11", True),
        ("/usr/bin/pythonic", False),
        ("ipython", False),
        ("python-config", False),
        ("sh", False),
        ("", False),
    ],
)
def test_an_interpreter_is_known_by_its_name(path, expected):
    assert expected is run.is_python(path)


def test_a_program_is_found_as_a_shell_finds_it(folder, tmp_path):
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    for place, mode in (("first", 0o644), ("second", 0o755)):
        path = tmp_path / place / "tool"
        path.write_text("", encoding="utf-8")
        path.chmod(mode)
    both = {"PATH": os.pathsep.join([str(tmp_path / "first"), str(tmp_path / "second")])}

    if os.name != "nt":
        assert str(tmp_path / "second" / "tool") == run.find("tool", both)
    assert str(tmp_path / "first" / "tool") == run.find("tool", {"PATH": str(tmp_path / "first")})  # to say why not
    assert "./app.py" == run.find("./app.py", both)
    assert run.find("app.py", both) is None
    assert run.find("./nothing", both) is None
    assert run.find("nothing", {}) is None


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ([], "which program?"),
        (["--"], "which program?"),
        ([""], "which program?"),
        (["--folder"], "--folder needs a value"),
        (["--service="], "--service needs a value"),
        (["--report=1", "x"], "--report takes no value"),
        (["-x", "program"], "no option -x; put -- before the program"),
    ],
    ids=repr,
)
def test_a_mistake_is_one_line_and_exit_code_2(capsys, arguments, part):
    assert 2 == run.main(arguments)

    out, err = capsys.readouterr()
    assert "" == out
    assert part in err
    assert 1 == err.count("\n")


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help_with_examples(capsys, name):
    try:
        code = cli.main([name, "--help"])
    except SystemExit as end:  # argparse
        code = end.code

    out, err = capsys.readouterr()
    assert (0, "") == (code or 0, err)
    assert "examples:" in out
    assert f"otel-perf {name}" in out


def test_the_list_of_commands_is_that_of_the_rooms(capsys):
    assert 0 == cli.main(["--help"])
    out = capsys.readouterr().out
    for name, text in cli.COMMANDS.items():
        assert name in out
        assert text in out

    assert 2 == cli.main([])
    assert 2 == cli.main(["nothing"])
    assert 0 == cli.main(["--version"])
