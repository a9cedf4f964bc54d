"""Which runs go: retention.retire() on folders made by hand."""

from __future__ import annotations

import os

import pytest

from otel_perf.export import retention

OLD, NOW = "2026-11-25T09-00-00", "2026-11-25T10-15-02"
WEEK = 7 * 86400.0


@pytest.fixture
def make_run(tmp_path):
    def make(name, size=0):
        process = tmp_path / name / "999999999"  # no process has such a pid
        process.mkdir(parents=True)
        (process / "traces.jsonl").write_bytes(b"x" * size)
        return str(tmp_path / name)

    return make


def mark(base, run):
    """Let a process of *run* have begun to send."""
    (base / run / "999999999" / "sent.json").write_text("{}")


def left(base):
    return {path.name for path in base.iterdir()}


def test_the_first_run_of_a_minute_takes_away_what_is_too_much_in_bytes(make_run, tmp_path):
    make_run(OLD, size=1000)
    make_run("2026-11-25T10-14-59")

    assert 1 == retention.retire(str(tmp_path), make_run(NOW), 50, WEEK, 500).runs
    assert OLD not in left(tmp_path)


def test_the_others_of_that_minute_do_not_weigh_again(make_run, tmp_path):
    make_run(OLD, size=1000)
    make_run("2026-11-25T10-15-00")

    assert 0 == retention.retire(str(tmp_path), make_run(NOW), 50, WEEK, 500).runs


def test_every_run_takes_away_what_is_too_much_in_number(make_run, tmp_path):
    make_run(OLD)
    make_run("2026-11-25T10-15-00")

    assert 1 == retention.retire(str(tmp_path), make_run(NOW), 2, WEEK, 500).runs
    assert 2 == len(left(tmp_path))


def test_what_was_sent_goes_before_what_was_not_however_old(make_run, tmp_path):
    for name in (OLD, "2026-11-25T09-30-00"):
        make_run(name, size=1000)
    mark(tmp_path, OLD)

    done = retention.retire(str(tmp_path), make_run(NOW), 50, WEEK, 1500, unsent=lambda process: 7, weigh=True)

    assert {OLD, NOW} == left(tmp_path)
    assert (1, 0, 1000 + len("{}")) == (done.runs, done.lost, done.size)


def test_no_number_of_runs_takes_away_what_is_still_to_be_sent(make_run, tmp_path):
    make_run(OLD)
    mark(tmp_path, OLD)
    make_run("2026-11-25T09-30-00")

    retention.retire(str(tmp_path), make_run(NOW), 1, WEEK, 10**6, unsent=lambda process: 7)

    assert {OLD, NOW} == left(tmp_path)


def test_unsent_records_of_a_run_that_is_too_large_or_too_old_are_counted(make_run, tmp_path):
    make_run(OLD, size=1000)
    mark(tmp_path, OLD)
    done = retention.retire(str(tmp_path), make_run(NOW), 50, WEEK, 500, unsent=lambda process: 7, weigh=True)
    assert (1, 7) == (done.runs, done.lost)

    make_run(OLD)
    mark(tmp_path, OLD)
    os.utime(tmp_path / OLD, (0, 0))
    done = retention.retire(str(tmp_path), str(tmp_path / NOW), 50, WEEK, 500, unsent=lambda process: 7)
    assert (1, 7) == (done.runs, done.lost)


def test_earlier_parts_of_files_go_with_their_run_and_what_is_alike_stays(make_run, tmp_path):
    process = tmp_path / OLD / "999999999"
    make_run(OLD)
    (process / "traces.000000000000000.jsonl").write_bytes(b"x" * 1000)
    (process / "traces.0.jsonl").write_bytes(b"the user's")

    retention.retire(str(tmp_path), make_run(NOW), 50, WEEK, 500, weigh=True)

    assert ["traces.0.jsonl"] == [path.name for path in process.iterdir()]


def test_processes_that_ended_in_a_run_that_goes_on_are_the_last_to_go(make_run, tmp_path):
    run = make_run(NOW)
    for number in (999999991, 999999992):
        (tmp_path / NOW / str(number)).mkdir()
        (tmp_path / NOW / str(number) / "traces.jsonl").write_bytes(b"x" * 1000)
    os.utime(tmp_path / NOW / "999999992", (0, 0))
    (tmp_path / NOW / str(os.getpid())).mkdir()
    (tmp_path / NOW / str(os.getpid()) / "traces.jsonl").write_bytes(b"x" * 1000)
    make_run(OLD, size=1000)

    first = retention.retire(str(tmp_path), run, 50, WEEK, 3000, weigh=True)
    assert ({NOW}, 3) == (left(tmp_path), len(list((tmp_path / NOW).glob("*/traces.jsonl"))) - 1)
    second = retention.retire(str(tmp_path), run, 50, WEEK, 2000, weigh=True)
    third = retention.retire(str(tmp_path), run, 50, WEEK, 500, weigh=True)

    assert [3000, 2000, 1000] == [done.size for done in (first, second, third)]
    assert [1, 1, 1] == [done.writers for done in (first, second, third)]
    assert str(os.getpid()) in left(tmp_path / NOW)


def test_ended_processes_of_a_run_that_goes_on_are_counted_if_they_were_not_sent(make_run, tmp_path):
    make_run(NOW, size=1000)
    mark(tmp_path, NOW)
    (tmp_path / NOW / str(os.getpid())).mkdir()

    done = retention.retire(str(tmp_path), str(tmp_path / NOW), 50, WEEK, 500, unsent=lambda process: 7, weigh=True)

    assert (0, 7, {str(os.getpid())}) == (done.runs, done.lost, left(tmp_path / NOW))
