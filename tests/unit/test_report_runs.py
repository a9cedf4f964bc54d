"""Which run a RUN argument means, and what is said when it means none."""

from __future__ import annotations

import os
import sys

import pytest

from otel_perf.errors import UserError
from otel_perf.export.runs import find_run, find_runs, pick_process, runs_folder

NAMES = ["2026-11-24T10-15-02", "2026-11-24T10-15-02-2", "2026-11-24T10-15-02-10", "2026-11-25T09-00-00"]


@pytest.fixture
def folder(tmp_path):
    """Return a function that makes a folder of runs with one process each, and gives its path."""

    def make(*names, processes=("4242",)):
        for name in names:
            for process in processes:
                path = tmp_path / ".otel-perf" / name / process
                path.mkdir(parents=True)
                (path / "traces.jsonl").write_bytes(b"{}\n")
        return str(tmp_path / ".otel-perf")

    return make


def message_of(*arguments):
    with pytest.raises(UserError) as caught:
        find_run(*arguments)
    assert caught.value.exit_code == 2
    return caught.value.message


def test_runs_are_newest_first_and_later_ones_of_a_second_count_up(folder):
    assert NAMES[::-1] == [run.name for run in find_runs(folder(*NAMES))]


def test_renamed_run_is_as_old_as_its_folder(folder):
    path = folder(*NAMES, "before the change")
    os.utime(os.path.join(path, "before the change"), (1_795_530_000, 1_795_530_000))  # 2026-11-24T14:20

    assert [run.name for run in find_runs(path)][:2] == ["2026-11-25T09-00-00", "before the change"]


def test_folders_that_are_no_runs_are_passed_over(folder, tmp_path):
    path = folder(NAMES[0])
    (tmp_path / ".otel-perf" / "notes").mkdir()
    (tmp_path / ".otel-perf" / "empty" / "12").mkdir(parents=True)
    (tmp_path / ".otel-perf" / ".gitignore").write_text("*\n")

    assert [NAMES[0]] == [run.name for run in find_runs(path)]


def test_processes_are_sorted_as_numbers(folder):
    (run,) = find_runs(folder(NAMES[0], processes=("100", "9", "9-2", "9-10", "worker")))

    assert run.processes == ["9", "9-2", "9-10", "100", "worker"]


def test_size_counts_every_file(folder):
    (run,) = find_runs(folder(NAMES[0], processes=("1", "2")))

    assert run.size() == 6


def test_newest_run_is_the_default(folder):
    assert NAMES[-1] == find_run(None, folder(*NAMES))[0].name


def test_run_is_found_by_name_and_by_folder(folder, tmp_path):
    path = folder(*NAMES)
    copy = tmp_path / "elsewhere" / "copy"
    (tmp_path / "elsewhere").mkdir()
    os.rename(os.path.join(path, NAMES[0]), copy)

    assert (NAMES[1], None) == (find_run(NAMES[1], path)[0].name, find_run(NAMES[1], path)[1])
    assert find_run(str(copy), path)[0].name == "copy"
    assert find_run(str(copy) + os.sep, path)[0].name == "copy"


def test_folder_of_a_process_means_that_process(folder):
    path = folder(NAMES[0], processes=("1", "2"))

    run, process = find_run(os.path.join(path, NAMES[0], "2"), "nowhere")

    assert (NAMES[0], ["1", "2"], "2") == (run.name, run.processes, process)


def test_name_is_looked_for_in_the_folder_before_the_working_directory(folder, tmp_path, monkeypatch):
    path = folder(*NAMES)
    monkeypatch.chdir(tmp_path)
    (tmp_path / NAMES[0] / "1").mkdir(parents=True)
    (tmp_path / NAMES[0] / "1" / "traces.jsonl").write_bytes(b"{}\n")

    assert find_run(NAMES[0], path)[0].processes == ["4242"]


def test_unknown_name_says_how_many_there_are_and_the_newest(folder, tmp_path, monkeypatch):
    folder(*NAMES)
    monkeypatch.chdir(tmp_path)

    assert message_of("abc", ".otel-perf") == (
        "no run 'abc' in .otel-perf/ (4 there, newest '2026-11-25T09-00-00'); leave RUN out to take the newest"
    )


def test_missing_folder_says_how_to_record_a_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mend = "record one: otel-perf run -- python app.py, or name the folder that has some: --folder"

    assert message_of(None, ".otel-perf") == f"no folder .otel-perf/ here; {mend}"
    (tmp_path / ".otel-perf").mkdir()
    assert message_of(None, ".otel-perf") == f"no run in .otel-perf/; {mend}"
    assert message_of("abc", ".otel-perf") == f"no run 'abc': no run in .otel-perf/; {mend}"


def test_folder_that_is_no_run_says_so(folder, tmp_path):
    path = folder(NAMES[0])
    other = tmp_path / "other"
    other.mkdir()

    assert "is no run: no process's folder with traces.jsonl in it" in message_of(str(other), path)
    assert f"holds 1 run, newest {NAMES[0]!r}; name one of them, or write --folder {path}" in message_of(path, path)
    file = os.path.join(path, NAMES[0], "4242", "traces.jsonl")
    assert message_of(file, path).endswith("is a file; name the folder of its run, or leave RUN out to take the newest")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_unreadable_folder_says_so(folder):
    path = folder(NAMES[0])
    os.chmod(path, 0)
    try:
        assert "cannot read" in message_of(None, path)
    finally:
        os.chmod(path, 0o700)


def test_unknown_process_names_those_there_are(folder):
    (run,) = find_runs(folder(NAMES[0], processes=("1", "2")))

    assert pick_process(run, "2") == "2"
    with pytest.raises(UserError) as caught:
        pick_process(run, "3")
    assert caught.value.message == (
        f"no process '3' in run {NAMES[0]!r} (2 there: 1, 2); leave --process out to take the one that started first"
    )


def test_folder_is_where_a_program_started_here_would_write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert runs_folder() == ".otel-perf"
    (tmp_path / "otel-perf.toml").write_text('folder = "runs"\n')
    assert runs_folder() == "runs"
    monkeypatch.setenv("OTEL_PERF_FOLDER", "elsewhere")
    assert runs_folder() == "elsewhere"
    assert runs_folder("given") == "given"


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links are a right there")
def test_run_behind_a_link_is_found(folder, tmp_path):
    path = folder(NAMES[0])
    os.symlink(os.path.join(path, NAMES[0]), tmp_path / "latest")

    assert find_run(str(tmp_path / "latest"), path)[0].name == "latest"
