"""Settings that cannot be taken and surroundings that are not as they should be: the program ends as without us.

What is wrong is said once on stderr, one line each that begins with ``otel-perf:``, and by ``otel-perf doctor``; nothing
is written but into the run folder.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from otel_perf import config, variables

if TYPE_CHECKING:
    from collections.abc import Callable

SRC = str(Path(__file__).resolve().parents[2] / "src")
posix = pytest.mark.skipif(os.name != "posix", reason="POSIX")

PROGRAM = """
    import sys, time
    import otel_perf as perf
    INIT
    @perf.profile(span_threshold=0)
    def work():
        return 6 * 7

    how = sys.argv[1]
    print(work(), flush=True)
    perf.ready()
    time.sleep(0.3)
    if how == "raise":
        raise SystemError("of the program's own")
    sys.exit(int(how))
"""
WAYS = pytest.mark.parametrize("way", ["init", "run"])
ENDS = pytest.mark.parametrize("how", ["0", "3", "raise"])


def lines_of_ours(stderr: bytes | str) -> list[str]:
    text = stderr if isinstance(stderr, str) else stderr.decode()
    return [line for line in text.splitlines() if line.startswith("otel-perf: ")]


@pytest.fixture
def end(write: Callable[..., Path], run_program: Callable[..., Any], tmp_path: Path) -> Callable[..., list[str]]:
    """Return a function that runs the program with us and without, and asserts that nobody can tell from outside.

    It gives our lines on stderr. Home and temporary folder are empty ones, which must stay so; in the working directory
    *left* may be what was not there before.
    """
    script = write("programs/with.py", PROGRAM.replace("INIT", 'perf.init(service="shop")'))
    bare = write("programs/without.py", PROGRAM.replace("INIT", ""))
    place = tmp_path / "place"
    place.mkdir(exist_ok=True)
    for name in ("home", "tmp"):
        (tmp_path / name).mkdir()
    homes = {"HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "tmp"), "PYTHONPATH": SRC}

    def run(
        way: str,
        how: str = "0",
        left: set[str] | None = None,
        env: dict[str, str | None] | None = None,
        shell: str = "",
        **more: Any,
    ) -> list[str]:
        def one(path: Path, options: tuple[str, ...] | None) -> subprocess.CompletedProcess[bytes]:
            before = [] if options is None else [sys.executable, "-m", "otel_perf", "run", "--"]
            words: list[str | Path] = [*before, sys.executable, path, how]
            if shell:
                words = ["bash", "-c", shell, "bash", *words]
            return run_program(words, None, env={**homes, **(env or {})}, cwd=place, **more)

        before = sorted(place.rglob("*"))
        plain = one(bare, None)
        assert before == sorted(place.rglob("*")), "a program without us writes nothing"
        done = one(*((script, None) if way == "init" else (bare, ())))
        ours = lines_of_ours(done.stderr)
        theirs = [line for line in done.stderr.decode().splitlines() if line not in ours]
        assert (plain.returncode, plain.stdout) == (done.returncode, done.stdout), done.stderr
        assert [line.replace("without.py", "with.py") for line in plain.stderr.decode().splitlines()] == [
            line.replace("without.py", "with.py") for line in theirs
        ]
        assert [] == [*(tmp_path / "home").iterdir(), *(tmp_path / "tmp").iterdir()]
        new = {path.relative_to(place).parts[0] for path in set(place.rglob("*")) - set(before)}
        assert new == ({".otel-perf"} if left is None else left)
        return ours

    return run


# --- variables --------------------------------------------------------------------------------------------------------

FREE = {"OTEL_EXPORTER_ZIPKIN_PROTOCOL", "OTEL_EXPORTER_PROMETHEUS_HOST"}  # any text will do
ROWS = {row[0] for row in variables.TABLE} - FREE
ROWS |= {row[1] for row in config.TABLE if row[2] not in (config._text, config.names)} - {"OTEL_SDK_DISABLED"}
WRONG = dict.fromkeys(ROWS | {"OTEL_PERF_FOLDRE", "OTEL_TRACES_SAMPLER"}, "not that")
WRONG |= {name: "hunter22" for name in WRONG if name.endswith("_HEADERS")}  # which nobody repeats
WRONG |= {"OTEL_RESOURCE_ATTRIBUTES": "deployment=test,hunter22", "OTEL_PERF_PHASES": "A,A", "OTEL_SDK_DISABLED": "1"}

TAKEN = ("; taking ", "left out", "stay here", "will fail", "is sent there", "not start", "did you mean")


@WAYS
def test_every_variable_that_cannot_be_taken_is_named_once_with_what_is_taken_and_the_program_goes_on(
    way, end, recorded, tmp_path, spans_of
):
    """All of them at once, and those first that nothing here needs."""
    said = end(way, env=dict(WRONG))

    named = [line.removeprefix("otel-perf: ").partition(":")[0].split()[0] for line in said]
    assert sorted(WRONG) == sorted(set(named)), "each of them, and nothing else"
    assert len(named) == len(set(named))
    for line in said:
        assert "hunter22" not in line
        assert any(words in line for words in TAKEN), line
    (span,) = [one for one in spans_of(tmp_path / "place") if one["name"] == "work"]
    assert "test" == span["resource"]["deployment"], "valid entries of a list count"


def test_doctor_names_the_same_variables_and_exits_with_1(run_python, end):
    said = end("init", env=dict(WRONG))
    doctor = run_python(["-m", "otel_perf", "doctor", "--json"], env=dict(WRONG))

    assert 1 == doctor.returncode
    errors = [one["text"] for one in json.loads(doctor.stdout)["findings"] if one["severity"] == "error"]
    assert set(WRONG) <= {text.partition(":")[0].split()[0] for text in errors}
    assert set() == {line.removeprefix("otel-perf: ") for line in said} - set(errors), "in the same words"


@WAYS
def test_what_is_empty_says_nothing(way, end):
    everything = ROWS | FREE | {row[1] for row in config.TABLE}

    assert [] == end(way, env=dict.fromkeys(everything, ""))


@WAYS
def test_what_the_official_sdk_takes_says_nothing(way, end):
    env = {
        "OTEL_TRACES_EXPORTER": "otlp_proto_http",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_PROPAGATORS": "tracecontext,baggage",
        "OTEL_BSP_MAX_QUEUE_SIZE": "4096",
        "OTEL_METRICS_EXEMPLAR_FILTER": "always_off",
        "OTEL_PYTHON_LOG_CORRELATION": "true",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "0",
    }

    assert [] == [line for line in end(way, env=dict(env)) if "Connection refused" not in line]


def test_strict_refuses_what_nothing_needs_too(run_python):
    program = "import otel_perf\notel_perf.init(strict=True)\n"

    done = run_python(program, env={"OTEL_BSP_MAX_QUEUE_SIZE": "none"})

    assert 1 == done.returncode
    assert (
        "ConfigError: OTEL_BSP_MAX_QUEUE_SIZE: write a whole number of 1 or more, got 'none'; taking 2048"
        in done.stderr
    )


# --- surroundings -----------------------------------------------------------------------------------------------------


@WAYS
@ENDS
def test_a_file_in_place_of_the_run_folder(way, how, end, tmp_path):
    (tmp_path / "place" / ".otel-perf").write_text("the user's", encoding="utf-8")

    (line,) = end(way, how, left=set())

    assert "otel-perf: cannot write the run folder " in line or "otel-perf: nothing is recorded: cannot make " in line
    assert "the user's" == (tmp_path / "place" / ".otel-perf").read_text(encoding="utf-8")


@WAYS
def test_a_folder_setting_that_names_a_device_or_nothing_that_can_be_made(way, end):
    for folder in ("/dev/null", "/dev/null/below", "/proc/otel-perf"):
        (line,) = end(way, env={"OTEL_PERF_FOLDER": folder}, left=set())

        assert (
            "otel-perf: cannot write the run folder " in line or "otel-perf: nothing is recorded: cannot make " in line
        )


@WAYS
@ENDS
def test_no_home_and_no_temporary_folder(way, how, end):
    gone: dict[str, str | None] = dict.fromkeys(("HOME", "TMPDIR", "TEMP", "TMP", "USER", "LOGNAME"))

    assert [] == end(way, how, env=gone)


@posix
@WAYS
@ENDS
@pytest.mark.parametrize("streams", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-", "<&-"])
def test_closed_streams(streams, way, how, end, recorded, tmp_path, spans_of):
    assert [] == end(way, how, shell=f'"$@" {streams}')

    assert ["work"] == [one["name"] for one in spans_of(tmp_path / "place") if one["name"] == "work"]


@posix
@WAYS
def test_closed_stderr_and_a_setting_to_complain_about(way, end):
    """Descriptor 2 is the first file that is opened, then: none of ours may be taken for it."""
    end(way, env={"OTEL_PERF_KEEP_RUNS": "many", "OTEL_BSP_MAX_QUEUE_SIZE": "0"}, shell='"$@" 2>&-')


@posix
@WAYS
@ENDS
@pytest.mark.parametrize("stdout", ['"$@" | true; exit ${PIPESTATUS[0]}', '"$@" >/dev/full', '"$@" 2>/dev/full'])
def test_broken_stdout_and_stderr(stdout, way, how, end):
    assert [] == end(way, how, shell=stdout)


BROKEN = {
    "no TOML": b"service = [",
    "no text": b"\xff\xfe\x00service",
    "too deep": b"x = " + b"[" * 50_000,
    "too long": b"# " + b"x" * 2_000_000,
    "wrong types": b'service = 7\nphases = {}\nfolder = ["a"]\nkeep_runs = -1\nbudgets = 3\nimports = "perhaps"',
    "no bounds": b"import_threshold = " + b"9" * 400 + b"\nfolder_limit = 1e999\nspan_threshold = nan",
}


@WAYS
@pytest.mark.parametrize("content", BROKEN.values(), ids=list(BROKEN))
def test_a_broken_toml(content, way, end, tmp_path):
    (tmp_path / "place" / "otel-perf.toml").write_bytes(content)

    said = end(way)

    assert said
    assert {"otel-perf: otel-perf.toml"} == {":".join(line.split(":")[:2]) for line in said}
    assert len(said) == len(set(said))


@posix
@WAYS
def test_a_pipe_a_folder_or_a_device_in_place_of_a_toml(way, end, tmp_path):
    place = tmp_path / "place"
    os.mkfifo(place / "otel-perf.toml")
    (place / "pyproject.toml").symlink_to("/dev/zero")
    (line,) = end(way)
    (place / "otel-perf.toml").unlink()
    (place / "otel-perf.toml").mkdir()
    (other,) = end(way)

    assert "otel-perf: otel-perf.toml: not a regular file; taking no setting from it" == line
    assert "otel-perf: otel-perf.toml: Is a directory; taking no setting from it" == other
