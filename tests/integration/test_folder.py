"""The run folder: who may read it, what is kept, and what happens when it cannot be written."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = """
import otel_perf as perf
perf.init(service="shop")
with perf.phase("CoreInit"):
    pass
perf.ready()
"""

SRC = str(Path(__file__).resolve().parents[2] / "src")
needs_posix = pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")


def old_run(base: Path, name: str, *, days: float, size: int = 10, extra: str = "") -> Path:
    process = base / name / "999999999"  # no process has such a pid
    process.mkdir(parents=True)
    (process / "traces.jsonl").write_bytes(b"x" * size)
    if extra:
        (process / extra).write_text("the user's")
    then = time.time() - days * 86400
    for path in (*process.iterdir(), base / name):
        os.utime(path, (then, then))
    return base / name


@needs_posix
def test_folder_and_files_are_readable_by_their_owner_only(run_python, tmp_path):
    run_python(PROGRAM)

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / ".otel-perf").rglob("*")}

    assert dict.fromkeys(("traces.jsonl", "metrics.jsonl", "logs.jsonl", "alive.lock"), 0o600) == {
        name: mode for name, mode in modes.items() if name.endswith(("jsonl", "lock"))
    }
    assert {0o700} == {m for n, m in modes.items() if not n.endswith(("jsonl", "lock", ".gitignore"))}


def test_runs_are_ignored_by_git(run_python, tmp_path):
    run_python(PROGRAM)

    assert "*" in (tmp_path / ".otel-perf" / ".gitignore").read_text().splitlines()


def test_two_starts_in_one_second_are_two_runs(run_python, tmp_path):
    for _ in range(3):
        run_python(PROGRAM)

    assert 3 == len([path for path in (tmp_path / ".otel-perf").iterdir() if path.is_dir()])


def test_nothing_is_written_outside_the_run_folder(run_python, tmp_path):
    run_python(PROGRAM)

    assert {".otel-perf", "script.py"} == {path.name for path in tmp_path.iterdir()} - {"__pycache__"}


def test_old_runs_go_by_age_and_number_and_a_stranger_file_stays(run_python, tmp_path):
    base = tmp_path / ".otel-perf"
    old_run(base, "2020-01-01T00-00-00", days=30)
    old_run(base, "2020-01-02T00-00-00", days=30, extra="notes.txt")
    kept = [old_run(base, f"2020-02-0{day}T00-00-00", days=1 / day).name for day in (3, 4)]
    old_run(base, "2020-02-01T00-00-00", days=2)
    (base / "mine").mkdir()

    run_python(PROGRAM, env={"OTEL_PERF_KEEP_RUNS": "3"})

    left = {path.name for path in base.iterdir()} - {".gitignore"}
    assert {"mine", "2020-01-02T00-00-00", *kept} == {n for n in left if n == "mine" or n.startswith("2020")}
    assert "the user's" == (base / "2020-01-02T00-00-00" / "999999999" / "notes.txt").read_text()
    assert not (base / "2020-01-02T00-00-00" / "999999999" / "traces.jsonl").exists()


def test_old_runs_go_by_total_size(run_python, tmp_path):
    base = tmp_path / ".otel-perf"
    for day in (1, 2, 3):
        old_run(base, f"2020-01-0{day}T00-00-00", days=4 - day, size=400_000)

    run_python(PROGRAM, env={"OTEL_PERF_FOLDER_LIMIT": "1MB"})

    assert not (base / "2020-01-01T00-00-00").exists()
    assert (base / "2020-01-03T00-00-00").exists()


def test_a_run_that_still_lives_is_kept_whatever_its_age(run_python, tmp_path):
    process = tmp_path / ".otel-perf" / "2020-01-01T00-00-00" / str(os.getpid())
    process.mkdir(parents=True)
    (process / "traces.jsonl").write_text("x")
    for path in (process / "traces.jsonl", process.parent):
        os.utime(path, (0, 0))

    run_python(PROGRAM)

    assert (process / "traces.jsonl").exists()


@needs_posix
def test_a_link_in_place_of_a_run_is_not_followed(run_python, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "999999999").mkdir(parents=True)
    (elsewhere / "999999999" / "traces.jsonl").write_text("precious")
    base = tmp_path / ".otel-perf"
    base.mkdir()
    (base / "2020-01-01T00-00-00").symlink_to(elsewhere)

    run_python(PROGRAM, env={"OTEL_PERF_KEEP_RUNS": "1"})

    assert "precious" == (elsewhere / "999999999" / "traces.jsonl").read_text()


def test_a_file_in_place_of_the_folder_costs_one_line_and_nothing_else(run_python, tmp_path):
    (tmp_path / ".otel-perf").write_text("the user's")

    result = run_python(PROGRAM + "\nprint('done')")

    assert (0, "done\n") == (result.returncode, result.stdout)
    assert 1 == len(result.stderr.splitlines()), result.stderr
    assert result.stderr.startswith("otel-perf: cannot write the run folder")
    assert "the user's" == (tmp_path / ".otel-perf").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_FSIZE as a full disk")
def test_a_full_disk_loses_records_not_the_program(run_python, tmp_path):
    program = """
    import resource, signal, sys
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    sys.dont_write_bytecode = True  # CPython takes a part of a .pyc for the whole of it
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    import otel_perf as perf, time
    perf.init()
    for _ in range(3):
        for _ in range(100):
            with perf.profile("step", span_threshold=0):
                pass
        time.sleep(0.4)
    print("done")
    """

    result = run_python(program)

    assert (0, "done\n") == (result.returncode, result.stdout)
    assert 1 == len(result.stderr.splitlines()), result.stderr
    assert "cannot write the run folder" in result.stderr


MANY = """
import otel_perf as perf, time
perf.init(service="shop")
with perf.phase("CoreInit"):
    pass
perf.ready()

@perf.profile
def once():
    pass

once()
for _ in range(40):
    for _ in range(250):
        with perf.profile("step", span_threshold=0):
            pass
    time.sleep(0.03)
time.sleep(1.2)
"""


def told(command: list[str], folder: Path, *options: str) -> str:
    """Return the report on the newest run in *folder*."""
    return subprocess.check_output([*command, "report", *options], cwd=folder, text=True, timeout=60)


def own(metrics: list, name: str) -> int:
    """Return the last value of one of our own metrics, 0 where there is none."""
    return next((m["point"]["value"] for m in reversed(metrics) if m["metric"] == f"otel_perf.self.{name}"), 0)


def test_when_the_limit_is_reached_the_oldest_records_go_and_are_counted(run_python, tmp_path, spans_of, metrics_of):
    result = run_python(MANY, env={"OTEL_PERF_FOLDER_LIMIT": "2MB"})

    files = sorted((tmp_path / ".otel-perf").glob("*/*/*.jsonl"))
    spans, metrics = spans_of(tmp_path), metrics_of(tmp_path)
    steps = [span["end"] for span in spans if span["name"] == "step"]
    assert "" == result.stderr
    assert 1_000_000 < sum(file.stat().st_size for file in files) <= 2_000_000
    assert (0, 10_000) == (own(metrics, "dropped"), own(metrics, "removed") + len(steps))
    assert {"startup", "CoreInit"} <= {span["name"] for span in spans}  # the first part stays
    assert max(steps) > max(end - 2e9 for end in steps)  # and the last one
    assert steps == sorted(steps)


def test_what_is_no_longer_in_the_folder_still_counts_in_the_statistics(run_python, otel_perf, tmp_path, metrics_of):
    program = MANY.replace("range(40)", "range(300)").replace("0.03", "0.02")
    run_python(program, env={"OTEL_PERF_FOLDER_LIMIT": "1.5MB"})

    process = next((tmp_path / ".otel-perf").glob("*/*"))
    last_part = max(process.glob("metrics.0*.jsonl"))
    calls = {m["attributes"]["function"]: m["point"]["count"] for m in metrics_of(tmp_path) if "count" in m["point"]}
    newest = last_part.read_text() + (process / "metrics.jsonl").read_text()
    report = json.loads(told(otel_perf, tmp_path, "--json"))
    assert {"__main__.once": 1, "step": 75_000} == {name: calls[name] for name in ("__main__.once", "step")}
    assert "__main__.once" in newest  # said again, though it had not changed
    assert {"__main__.once": 1, "step": 75_000} == {one["name"]: one["calls"] for one in report["functions"]}
    assert own(metrics_of(tmp_path), "removed") == report["cost"]["removed_records"] > 0
    assert "removed by the run folder's limit" in told(otel_perf, tmp_path)


def test_a_limit_below_what_a_process_needs_refuses_records_and_counts_them(run_python, tmp_path, metrics_of):
    result = run_python(MANY, env={"OTEL_PERF_FOLDER_LIMIT": "100kB"})

    files = (tmp_path / ".otel-perf").glob("*/*/*.jsonl")
    assert 0 == result.returncode
    assert sum(file.stat().st_size for file in files) <= 100_000
    assert 9_000 < own(metrics_of(tmp_path), "dropped") <= 10_000  # a part of the limit is kept for these numbers
    assert "limit of 100000 bytes is reached" in result.stderr


def test_other_runs_count_against_the_limit_and_go_first(run_python, tmp_path):
    base = tmp_path / ".otel-perf"
    for day in (1, 2):
        old_run(base, f"2020-01-0{day}T00-00-00", days=4 - day, size=900_000)

    run_python(MANY, env={"OTEL_PERF_FOLDER_LIMIT": "2MB"})

    size = sum(file.stat().st_size for file in base.glob("*/*/*.jsonl"))
    assert not list(base.glob("2020-*"))
    assert 1_000_000 < size <= 2_000_000


@needs_posix
@pytest.mark.parametrize("name", ["metrics.jsonl", "traces.jsonl"])
def test_a_file_that_is_removed_costs_what_was_in_it(run_python, tmp_path, spans_of, name):
    program = MANY.replace("for _ in range(40):", "import glob, os\nfor number in range(40):").replace(
        "    time.sleep(0.03)",
        f"    time.sleep(1.2 if number == 20 else 0.03)\n"
        f"    number == 20 and os.remove(glob.glob('.otel-perf/*/*/{name}')[0])",
    )
    result = run_python(program, env={"OTEL_PERF_FOLDER_LIMIT": "30MB"})

    spans = spans_of(tmp_path)
    steps = {span["span_id"] for span in spans if span["name"] == "step"}
    assert (0, "") == (result.returncode, result.stderr)
    assert {"startup", "CoreInit"} <= {span["name"] for span in spans}
    assert 10_000 - 1_000 * (name == "traces.jsonl") <= len(steps) <= 10_000
    parts = sorted(path.name for path in (tmp_path / ".otel-perf").glob("*/*/traces.0*.jsonl"))
    begins = [int(part.split(".")[1]) for part in parts]
    sizes = [next((tmp_path / ".otel-perf").glob(f"*/*/{part}")).stat().st_size for part in parts]
    assert begins == [sum(sizes[:number]) for number in range(len(sizes))], "no offset stands twice"


SEVERAL = """
import os, time
import otel_perf as perf
perf.init(service="shop")
with perf.phase("CoreInit"):
    pass
perf.ready()
children = []
for _ in range(5):
    children.append(os.fork())
    if not children[-1]:
        break
until = time.monotonic() + 6
while time.monotonic() < until:
    for _ in range(10):
        with perf.profile("step", span_threshold=0):
            pass
    time.sleep(0.005)
if children[-1]:
    for child in children:
        os.waitpid(child, 0)
"""


@needs_posix
def test_several_processes_that_write_at_once_stay_within_the_limit_together(start_program, tmp_path):
    (tmp_path / "several.py").write_text(SEVERAL)
    env = {"OTEL_PERF_FOLDER_LIMIT": "12MB", "PYTHONPATH": SRC}
    process = start_program([sys.executable, tmp_path / "several.py"], None, env=env)

    most = 0
    while process.poll() is None:
        most = max(most, weight(tmp_path))
        time.sleep(0.02)

    folders = (tmp_path / ".otel-perf").glob("*/*")
    by_process = {folder.name: len(list(folder.glob("traces*.jsonl"))) for folder in folders}
    assert 0 == process.returncode
    assert 8_000_000 < most <= 12_000_000
    assert (6, True) == (len(by_process), min(by_process.values()) >= 3), "each has its part"


def weight(folder: Path) -> int:
    total = 0
    for file in (folder / ".otel-perf").glob("*/*/*"):
        try:
            total += file.stat().st_size
        except FileNotFoundError:
            continue
    return total


def test_workers_that_come_and_go_in_a_run_do_not_pass_its_limit(run_python, tmp_path, spans_of):
    """Each of them fits; what they leave behind must fit too, though the run goes on."""
    program = """
import os, time
import otel_perf as perf
perf.init(service="shop")
perf.ready()

def work(spans):
    for number in range(spans):
        with perf.profile("step", span_threshold=0):
            pass
        if number % 100 == 0:
            time.sleep(0.01)

for _ in range(8):
    work(500)
    if not (child := os.fork()):
        work(1000)
        break
    os.waitpid(child, 0)
"""
    run_python(program, env={"OTEL_PERF_FOLDER_LIMIT": "2MB"})

    assert 1_000_000 < weight(tmp_path) <= 2_000_000
    assert {"startup"} <= {span["name"] for span in spans_of(tmp_path)}


def test_every_line_is_one_json_object_with_its_resource(run_python, tmp_path):
    run_python(PROGRAM)

    for file in (tmp_path / ".otel-perf").glob("*/*/*.jsonl"):
        for line in file.read_text().splitlines():
            (group,) = next(iter(json.loads(line).values()))
            keys = {pair["key"] for pair in group["resource"]["attributes"]}
            assert {"service.name", "service.instance.id", "process.pid", "telemetry.distro.name"} <= keys


@pytest.mark.timed
def test_finished_spans_are_on_disk_within_half_a_second(run_python, tmp_path):
    program = """
    import glob, time
    import otel_perf as perf
    perf.init()
    time.sleep(0.5)
    with perf.profile("needle", span_threshold=0):
        pass
    begun = time.monotonic()
    while time.monotonic() - begun < 5:
        if any("needle" in open(f).read() for f in glob.glob(".otel-perf/*/*/traces.jsonl")):
            break
        time.sleep(0.01)
    print(time.monotonic() - begun)
    """

    assert float(run_python(program).stdout) < 0.5


@needs_posix
def test_a_folder_that_is_removed_is_made_again_for_what_follows(run_python, spans_of, tmp_path):
    run_python(
        """
        import shutil, time
        import otel_perf as perf

        perf.init(service="shop")
        perf.ready()
        time.sleep(0.6)
        shutil.rmtree(".otel-perf")
        with perf.profile("afterwards", span_threshold=0):
            pass
        """
    )

    assert ["afterwards"] == [span["name"] for span in spans_of(tmp_path)]
    assert {0o700} == {
        stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / ".otel-perf").rglob("*") if path.is_dir()
    }
    assert (tmp_path / ".otel-perf" / ".gitignore").exists()


def test_lines_of_statistics_fit_into_the_collectors_reader(run_python, metrics_of, tmp_path):
    """It cuts what is longer than 1 MiB (max_log_size of the file receivers)."""
    result = run_python(
        """
        import otel_perf as perf

        perf.init(service="wide")
        functions = [perf.profile(f"{'x' * 200}{i}")(lambda: None) for i in range(1800)]

        @perf.profile
        def one():
            for function in functions:
                function()

        @perf.profile
        def two():
            for function in functions:
                function()

        one()
        two()
        """
    )

    assert 0 == result.returncode, result.stderr
    (file,) = (tmp_path / ".otel-perf").glob("*/*/metrics.jsonl")
    assert max(map(len, file.read_bytes().splitlines())) < 2**20
    calls = [point for point in metrics_of(tmp_path) if point["metric"] == "otel_perf.profile.calls"]
    assert 2 * 1800 + 2 == len({point["attributes"]["path"] for point in calls})
