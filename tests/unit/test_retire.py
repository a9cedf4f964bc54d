"""Which runs go: folder.retire() on folders made by hand."""

from __future__ import annotations

import pytest

from otel_perf.export import folder

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


def left(base):
    return {path.name for path in base.iterdir()}


def test_the_first_run_of_a_minute_takes_away_what_is_too_much_in_bytes(make_run, tmp_path):
    make_run(OLD, size=1000)
    make_run("2026-11-25T10-14-59")

    assert 1 == folder.retire(str(tmp_path), make_run(NOW), 50, WEEK, 500)
    assert OLD not in left(tmp_path)


def test_the_others_of_that_minute_do_not_weigh_again(make_run, tmp_path):
    make_run(OLD, size=1000)
    make_run("2026-11-25T10-15-00")

    assert 0 == folder.retire(str(tmp_path), make_run(NOW), 50, WEEK, 500)


def test_every_run_takes_away_what_is_too_much_in_number(make_run, tmp_path):
    make_run(OLD)
    make_run("2026-11-25T10-15-00")

    assert 1 == folder.retire(str(tmp_path), make_run(NOW), 2, WEEK, 500)
    assert 2 == len(left(tmp_path))
