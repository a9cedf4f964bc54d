"""backends/build.py: a backend is built once per machine, whole or not at all. Shown with a module that is small."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.stack

BUILD = Path(__file__).resolve().parent / "backends" / "build.py"


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """Return the folder of a backend ``tiny``, beside a copy of build.py."""
    folder = tmp_path / "backends" / "tiny"
    folder.mkdir(parents=True)
    shutil.copy(BUILD, folder.parent)
    (folder / "go.mod").write_text("module otel-perf/tiny\n\ngo 1.24\n\ntool otel-perf/tiny\n", encoding="utf-8")
    (folder / "main.go").write_text('package main\n\nfunc main() { println("tiny") }\n', encoding="utf-8")
    return folder


@pytest.fixture
def start(module: Path, tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Return a function that starts ``python build.py tiny``."""
    if shutil.which("go") is None:
        pytest.skip("needs the program go")

    def run(**variables: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(module.parent / "build.py"), "tiny"],
            env={**os.environ, "OTEL_PERF_BACKENDS": str(tmp_path / "cache"), **variables},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    return run


def said(process: subprocess.Popen[str]) -> str:
    _, errors = process.communicate(timeout=100)
    assert 0 == process.returncode, errors
    return errors


def programs(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache").glob("tiny-*/tiny"))


def test_second_call_finds_the_build_and_builds_nothing(start, tmp_path):
    first = said(start())
    (program,) = programs(tmp_path)
    built = program.stat().st_mtime_ns

    second = said(start(PATH="/nowhere"))  # no Go there

    assert "tiny: built in " in first
    assert f"tiny: is there: {program.parent}\n" == second
    assert [program] == programs(tmp_path)
    assert built == program.stat().st_mtime_ns
    assert "tiny\n" == subprocess.run([program], stderr=subprocess.PIPE, text=True, check=True).stderr


def test_another_content_of_the_module_files_is_another_build(start, module, tmp_path):
    said(start())
    with (module / "go.mod").open("a", encoding="utf-8") as file:
        file.write("// another version\n")

    assert "tiny: built in " in said(start())

    assert 2 == len(programs(tmp_path))


def test_calls_at_once_build_once(start, tmp_path):
    calls = [start() for _ in range(3)]

    texts = [said(call) for call in calls]

    assert 1 == sum("built in" in text for text in texts), texts
    assert 2 == sum("is there" in text for text in texts), texts
    assert 1 == len(programs(tmp_path))


def test_build_that_was_killed_is_not_taken_for_a_whole_one(start, tmp_path):
    slow = {"GOCACHE": str(tmp_path / "empty")}  # it compiles Go's own packages, too
    call = start(**slow)
    while not (tmp_path / "empty").exists() and call.poll() is None:
        time.sleep(0.01)

    call.kill()
    call.communicate(timeout=100)

    assert [] == programs(tmp_path)
    assert "tiny: built in " in said(start(**slow))
    assert ["tiny.lock", programs(tmp_path)[0].parent.name] == sorted(
        (path.name for path in (tmp_path / "cache").iterdir()), reverse=True
    )


def test_what_cannot_be_built_leaves_nothing_and_says_what_go_said(start, module, tmp_path):
    (module / "main.go").write_text("package main\n\nfunc main() { prin() }\n", encoding="utf-8")
    call = start()

    _, errors = call.communicate(timeout=100)

    assert 1 == call.returncode
    assert "undefined: prin" in errors
    assert [] == programs(tmp_path)


def test_without_go_it_says_what_is_missing(start):
    call = start(PATH="/nowhere")

    _, errors = call.communicate(timeout=100)

    assert 1 == call.returncode
    assert errors.startswith("backends: need Go 1.24 or newer on PATH")
