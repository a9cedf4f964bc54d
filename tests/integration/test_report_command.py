"""``otel-perf report`` as a process: what it prints where, how it ends, on real and on damaged runs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = ["-m", "otel_perf", "report"]


@pytest.fixture
def report(run_python):
    """Return a function that runs the command in the test's folder and gives its CompletedProcess."""

    def run(*arguments, **options):
        environment = {"PYTHONIOENCODING": "utf-8", "COLUMNS": None, "FORCE_COLOR": None, **options.pop("env", {})}
        return run_python([*COMMAND, *map(str, arguments)], env=environment, **options)

    return run


def line(*spans, service="shop"):
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]}
    return json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": list(spans)}]}]}) + "\n"


def span(name, start, end, id, parent=0, **values):
    """Return a span; times in ms after 2026-11-25T00:00Z."""
    begin = 1_795_564_800_000_000_000
    found = {
        "traceId": f"{7:032x}",
        "spanId": f"{id:016x}",
        "name": name,
        "startTimeUnixNano": str(begin + start * 1_000_000),
        "endTimeUnixNano": str(begin + end * 1_000_000),
        "attributes": [{"key": f"otel_perf.{key}", "value": {"stringValue": value}} for key, value in values.items()],
    }
    return found | ({"parentSpanId": f"{parent:016x}"} if parent else {})


def root(start, end, ready="ready()"):
    return span("startup", start, end, 1, kind="startup", ready=ready)


@pytest.fixture
def runs(tmp_path):
    """Make runs in .otel-perf: one within, one exceeded with two processes, one without ready(), one killed."""
    processes = {
        "2026-11-25T10-00-00/11": line(span("Core", 0, 900, 2, 1, kind="phase"), root(0, 1000)),
        "2026-11-25T11-00-00/9": line(root(500, 1000), service="worker"),
        "2026-11-25T11-00-00/12": line(span("Core", 0, 2200, 2, 1, kind="phase"), root(0, 2310)),
        "2026-11-25T12-00-00/13": line(root(0, 1000, ready="exit")),
        "2026-11-25T13-00-00/14": line(span("PreInit", 0, 60, 2, 1, kind="phase")),
    }
    for name, content in processes.items():
        folder = tmp_path / ".otel-perf" / name
        folder.mkdir(parents=True)
        (folder / "traces.jsonl").write_text(content)
    return tmp_path / ".otel-perf"


def test_newest_run_is_shown(report, runs):
    result = report()

    assert (result.returncode, result.stderr) == (0, "")
    assert "the start has no end" in result.stdout.splitlines()[0]
    assert "run 2026-11-25T13-00-00, process 14" in result.stdout


def test_run_is_shown_by_name_and_from_wherever_it_was_copied_to(report, runs, tmp_path):
    (tmp_path / "copies").mkdir()
    (runs / "2026-11-25T10-00-00").rename(tmp_path / "copies" / "slow one")

    by_name, by_path = report("2026-11-25T12-00-00"), report("copies/slow one")

    assert "no ready() (the start was closed by the process's exit after 1 s)" in by_name.stdout.replace("\n  ", " ")
    assert by_path.stdout.splitlines()[0] == "shop started in 1 s: within the budget of 2 s (1 s left)"
    assert "run slow one, process 11" in by_path.stdout


def test_process_that_started_first_is_shown_unless_one_is_named(report, runs):
    first, other = report("2026-11-25T11-00-00"), report("2026-11-25T11-00-00", "--process", "9")

    assert first.stdout.splitlines()[0] == "shop started in 2.31 s: the budget of 2 s exceeded by 310 ms"
    assert "another process in this run: 9 (--process shows one)" in first.stdout
    assert "worker started in 500 ms" in other.stdout
    assert "another process in this run: 12" in other.stdout


def test_list_shows_every_run_newest_first(report, runs):
    result = report("--list", "--width", "100")

    assert (result.returncode, result.stderr) == (0, "")
    assert [row.split() for row in result.stdout.splitlines()] == [
        ["run", "service", "version", "processes", "start", "verdict", "size"],
        f"2026-11-25T13-00-00 shop – 1 – unknown: no end {size(runs, 13, 14)}".split(),
        f"2026-11-25T12-00-00 shop – 1 1 s unknown: no ready() {size(runs, 12, 13)}".split(),
        f"2026-11-25T11-00-00 shop – 2 2.31 s exceeded by 310 ms {size(runs, 11, 9, 12)}".split(),
        f"2026-11-25T10-00-00 shop – 1 1 s within 2 s {size(runs, 10, 11)}".split(),
    ]


def size(runs, hour, *processes):
    total = sum((runs / f"2026-11-25T{hour}-00-00" / str(p) / "traces.jsonl").stat().st_size for p in processes)
    return f"{total} B" if total < 1000 else f"{total / 1000:.2f}".rstrip("0").rstrip(".") + " kB"


def test_folder_of_runs_is_the_option_else_the_variable(report, runs, tmp_path):
    runs.rename(tmp_path / "elsewhere")

    assert report().returncode == 2
    assert report("--folder", "elsewhere").returncode == 0
    assert report(env={"OTEL_PERF_FOLDER": "elsewhere"}).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["abc"],
            "no run 'abc' in .otel-perf/ (4 there, newest '2026-11-25T13-00-00'); leave RUN out to take the newest",
        ),
        (["--folder", "nowhere"], "no folder nowhere/ here; record one: otel-perf run -- python app.py"),
        (["--list", "--folder", "nowhere"], "no folder nowhere/ here; record one"),
        ([".otel-perf"], "'.otel-perf' holds 4 runs, newest '2026-11-25T13-00-00'; name one of them"),
        (["."], "'.' is no run: no process's folder with traces.jsonl in it"),
        ([".otel-perf/2026-11-25T13-00-00/14/traces.jsonl"], "is a file; name the folder of its run"),
        (["--process", "99"], "no process '99' in run '2026-11-25T13-00-00' (1 there: 14)"),
        (["--list", "2026-11-25T13-00-00"], "--list shows every run; leave RUN and --process out"),
    ],
)
def test_what_is_not_there_is_one_line_on_stderr_and_exit_2(report, runs, arguments, says):
    result = report(*arguments)

    assert (result.returncode, result.stdout) == (2, "")
    (text,) = result.stderr.splitlines()
    assert text.startswith("otel-perf report: ")
    assert says in text


@pytest.mark.parametrize("arguments", [["--width", "39"], ["--width", "wide"], ["--nonsense"], ["a", "b"]])
def test_wrong_command_line_is_exit_2(report, arguments):
    result = report(*arguments)

    assert (result.returncode, result.stdout) == (2, "")
    assert "otel-perf report: error: " in result.stderr


def test_help_has_examples(report):
    result = report("--help")

    assert result.returncode == 0
    assert result.stdout.startswith("usage: otel-perf report ")
    assert "examples:" in result.stdout


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (b'{"resourceSpans":[{"resou', "skipped 1 damaged line (torn at the end) in "),
        (b"\0\0\0\n", "skipped 1 damaged line (not JSON) in "),
        (b"{\n[]\n", "skipped 2 damaged lines (not JSON, no OTLP) in "),
        (b'{"resourceSpans":[{"scopeSpans":[{"spans":[{}, 1]}]}]}\n', "skipped 2 damaged records ("),
    ],
)
def test_damaged_file_is_reported_and_what_was_skipped_is_one_line_on_stderr(report, runs, damage, says):
    file = runs / "2026-11-25T10-00-00" / "11" / "traces.jsonl"
    whole = report("2026-11-25T10-00-00")
    file.write_bytes(file.read_bytes() + damage)

    result = report("2026-11-25T10-00-00")

    assert (0, whole.stdout) == (result.returncode, result.stdout)
    (text,) = result.stderr.splitlines()
    assert text.startswith(f"otel-perf report: {says}")
    assert text.endswith(os.path.join(".otel-perf", "2026-11-25T10-00-00", "11", "traces.jsonl"))


def test_file_that_cannot_be_read_is_one_line(report, runs):
    file = runs / "2026-11-25T13-00-00" / "14" / "metrics.jsonl"
    file.mkdir()

    result = report()

    assert (result.returncode, result.stdout) == (2, "")
    assert "otel-perf report: cannot read" in result.stderr
    assert "metrics.jsonl" in result.stderr


def test_width_and_everything_are_options(report, runs, tmp_path):
    spans = [span(f"f{i}", 10 + i, 11 + i, 10 + i, 2) for i in range(5)]
    folder = tmp_path / ".otel-perf" / "2026-11-25T14-00-00" / "1"
    folder.mkdir(parents=True)
    (folder / "traces.jsonl").write_text(line(*spans, span("Core", 0, 900, 2, 1, kind="phase"), root(0, 1000)))

    folded, everything = report("--width", "60"), report("--all", "--width", "60")

    assert max(len(row) for row in folded.stdout.splitlines()) == 60
    assert "5 more" in folded.stdout
    assert "f4" in everything.stdout
    assert "more" not in everything.stdout


def test_without_a_terminal_there_are_100_plain_columns(report, runs):
    plain, forced, dumb, narrow = (
        report("2026-11-25T10-00-00", env=env)
        for env in ({}, {"FORCE_COLOR": "1"}, {"TERM": "dumb", "PYTHONIOENCODING": "ascii"}, {"COLUMNS": "50"})
    )

    assert max(map(len, plain.stdout.splitlines())) == 100
    assert "█" in plain.stdout
    assert "\x1b" not in plain.stdout
    assert "\x1b[36m" in forced.stdout
    assert dumb.stdout.isascii()
    assert "####" in dumb.stdout
    assert max(map(len, narrow.stdout.splitlines())) == 50


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX")
def test_reader_that_goes_away_ends_it_quietly(runs, tmp_path):
    spans = [span(f"f{i}", 0, 900, 10 + i, 1) for i in range(5_000)]
    folder = runs / "2026-11-25T14-00-00" / "1"
    folder.mkdir(parents=True)
    (folder / "traces.jsonl").write_text(line(*spans, root(0, 1000)))
    source = str(Path(__file__).resolve().parents[2] / "src")
    command = subprocess.Popen(
        [sys.executable, *COMMAND, "--all"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": source},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert command.stdout is not None
    assert command.stderr is not None

    with command:
        command.stdout.readline()
        command.stdout.close()

        assert command.stderr.read() == b""
        assert command.wait(60) == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only where there is /dev/full")
def test_full_disk_is_one_line(runs, tmp_path):
    source = str(Path(__file__).resolve().parents[2] / "src")
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [sys.executable, *COMMAND],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": source},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )

    assert result.returncode == 1
    assert result.stderr.startswith("otel-perf report: cannot write the report: ")
    assert "Traceback" not in result.stderr


def test_real_program_is_reported(report, run_python):
    """C1, C2, C8, C10 in one: what the recorder writes is what the report reads."""
    program = """
    import time
    import otel_perf as perf
    perf.init(service="shop", version="1.4.2")

    @perf.profile
    def countdown(n):
        time.sleep(0.005)
        if n: countdown(n - 1)

    @perf.profile
    def items():
        for i in range(3):
            time.sleep(0.01)
            yield i

    with perf.phase("CoreInit"):
        for _ in range(2):
            try:
                import opt
            except ImportError:
                pass
    with perf.phase("Transport"):
        countdown(9)
        for _ in items():
            time.sleep(0.02)
    perf.ready()
    with perf.operation("save"):
        time.sleep(0.02)
    """
    run_python("import time; time.sleep(0.08); raise ImportError('no opt')", name="opt.py")
    recorded = run_python(program)
    assert (recorded.returncode, recorded.stderr) == (0, "")

    result = report("--width", "120")

    assert (result.returncode, result.stderr) == (0, "")
    rows = [row.split() for row in result.stdout.splitlines()]
    assert result.stdout.startswith("shop 1.4.2 started in ")
    assert "within the budget of 2 s" in result.stdout
    (tree,) = [part for part in result.stdout.split("\n\n") if part.lstrip().startswith("0 ")]
    phases = [row.split()[0] for row in tree.splitlines() if re.match(r"  \w+ ", row) and "import" not in row]
    assert phases == ["PreInit", "CoreInit", "Transport", "Ready"]
    assert result.stdout.count("import opt [error ImportError]") == 2
    assert "opt failed twice: " in result.stdout
    assert "items [active " in result.stdout
    functions = {row[0]: row for row in rows if row and row[0].startswith("__main__.")}
    assert functions["__main__.countdown"][1] == "10"
    assert "~" not in "".join(functions["__main__.items"])
    assert "Slowest after the start, of 1 span" in result.stdout
    assert "save (operation)" in result.stdout
    assert " in init()" in result.stdout
