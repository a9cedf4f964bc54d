"""Which runs go: retention.Runs on folders made by hand."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest

from otel_perf.export import alive, retention
from otel_perf.system import calls

OLD, NOW = "2026-11-25T09-00-00", "2026-11-25T10-15-02"
WEEK = 7 * 86400.0
NOBODY = "999999999"  # no process has such a number
LINE = b'{"startTimeUnixNano":"1"}'


@pytest.fixture
def make_run(tmp_path):
    """Return a function that makes a run of one process that has ended, and gives its path."""

    def make(name, size=0, process=NOBODY, lines=0):
        folder = tmp_path / name / process
        folder.mkdir(parents=True)
        (folder / "traces.jsonl").write_bytes((LINE + b"\n") * lines + b"x" * size)
        return str(tmp_path / name)

    return make


@pytest.fixture
def look(tmp_path):
    """Return a function that looks at the runs, of which *keep* stays; each marked process has 7 records to be sent."""

    def at(keep, waits=lambda process: True):
        return retention.Runs(str(tmp_path), keep, waits, lambda process: 7)

    return at


def mark(base, run, process=NOBODY):
    """Let a process of *run* have begun to send."""
    (base / run / process / "sent.json").write_text("{}")


def age(path, moment=0):
    """Let *path*, and all that is in it, have been written at *moment*, seconds since 1970."""
    for one in (path, *path.rglob("*")):
        os.utime(one, (moment, moment))


def left(base):
    return {path.name for path in base.iterdir()}


def shrink(runs, size):
    for waiting in (False, True):
        runs.shrink(size, waiting)
    return runs


def test_what_is_too_much_in_bytes_goes_the_oldest_first(make_run, look, tmp_path):
    make_run(OLD, size=1000)
    make_run("2026-11-25T10-14-59", size=100)

    runs = shrink(look(make_run(NOW)), 500)

    assert {"2026-11-25T10-14-59", NOW} == left(tmp_path)
    assert (100, 0, 0) == (runs.size, runs.lost, runs.writers)


def test_what_is_too_much_in_number_goes(make_run, look, tmp_path):
    make_run(OLD)
    make_run("2026-11-25T10-15-00")

    look(make_run(NOW)).remove_old(2, WEEK)

    assert {"2026-11-25T10-15-00", NOW} == left(tmp_path)


def test_what_was_sent_goes_before_what_was_not_however_old(make_run, look, tmp_path):
    for name in (OLD, "2026-11-25T09-30-00"):
        make_run(name, size=1000)
    mark(tmp_path, OLD)

    runs = shrink(look(make_run(NOW)), 1500)

    assert {OLD, NOW} == left(tmp_path)
    assert (0, 1000 + len("{}")) == (runs.lost, runs.size)


def test_no_number_of_runs_takes_away_what_is_still_to_be_sent(make_run, look, tmp_path):
    make_run(OLD)
    mark(tmp_path, OLD)
    make_run("2026-11-25T09-30-00")

    look(make_run(NOW)).remove_old(1, WEEK)

    assert {OLD, NOW} == left(tmp_path)


def test_what_is_wholly_sent_goes_by_number(make_run, look, tmp_path):
    make_run(OLD)
    mark(tmp_path, OLD)

    look(make_run(NOW), waits=lambda process: False).remove_old(1, WEEK)

    assert {NOW} == left(tmp_path)


@pytest.mark.parametrize("stranger", ["", "run", "process"])
def test_unsent_records_of_a_run_that_is_too_large_or_too_old_are_counted(make_run, look, tmp_path, stranger):
    """Also where its folder stays for a file that we did not write."""
    now = make_run(NOW)
    for how in (lambda runs: shrink(runs, 500), lambda runs: runs.remove_old(50, WEEK)):
        make_run(OLD, size=1000)
        mark(tmp_path, OLD)
        if stranger:
            folder = tmp_path / OLD / (NOBODY if stranger == "process" else "")
            (folder / "notes.txt").write_text("the user's")
        age(tmp_path / OLD)
        runs = look(now)
        how(runs)

        assert 7 == runs.lost
        assert not list(tmp_path.glob(f"{OLD}/*/*.jsonl"))
        for path in (tmp_path / OLD).rglob("notes.txt") if stranger else ():
            assert "the user's" == path.read_text()
            path.unlink()
        if stranger == "process":
            (tmp_path / OLD / NOBODY).rmdir()
        if stranger:
            (tmp_path / OLD).rmdir()


def test_earlier_parts_of_files_go_with_their_run_and_what_is_alike_stays(make_run, look, tmp_path):
    process = tmp_path / OLD / NOBODY
    make_run(OLD)
    (process / "traces.000000000000000.jsonl").write_bytes(b"x" * 1000)
    (process / "traces.0.jsonl").write_bytes(b"the user's")

    shrink(look(make_run(NOW)), 500)

    assert ["traces.0.jsonl"] == [path.name for path in process.iterdir()]


# --- when a run was written --------------------------------------------------------------------------------------------


def test_a_run_is_as_old_as_its_last_line_however_long_ago_it_began(make_run, look, tmp_path):
    """As a server that ran for longer than runs are kept, and is started again: its last hour was not sent."""
    make_run(OLD, size=1000)
    mark(tmp_path, OLD)
    for folder in (tmp_path / OLD / NOBODY, tmp_path / OLD):
        os.utime(folder, (0, 0))
    now = make_run(NOW, process=str(os.getpid()))

    runs = look(now)
    runs.remove_old(50, WEEK)
    assert ({OLD, NOW}, 0) == (left(tmp_path), runs.lost)

    age(tmp_path / OLD)
    runs = look(now)
    runs.remove_old(50, WEEK)
    assert ({NOW}, 7) == (left(tmp_path), runs.lost)


def test_a_run_that_went_on_for_long_is_among_the_newest_when_it_ends(make_run, look, tmp_path):
    make_run(OLD)
    os.utime(tmp_path / OLD, (0, 0))
    make_run("2026-11-25T10-00-00")
    age(tmp_path / "2026-11-25T10-00-00", 1000)

    look(make_run(NOW)).remove_old(2, WEEK * 10_000)

    assert {OLD, NOW} == left(tmp_path)


def test_a_run_that_goes_on_for_long_takes_no_place_among_the_newest(make_run, look, tmp_path):
    make_run(OLD, process=str(os.getpid()))
    os.utime(tmp_path / OLD, (0, 0))
    make_run("2026-11-25T10-00-00")
    age(tmp_path / "2026-11-25T10-00-00", 1000)

    look(make_run(NOW)).remove_old(2, WEEK * 10_000)

    assert {OLD, "2026-11-25T10-00-00", NOW} == left(tmp_path)


def test_a_run_that_is_sent_later_gets_no_younger(make_run, look, tmp_path):
    make_run(OLD)
    age(tmp_path / OLD)
    for name in ("sent.json", "sent.lock"):
        (tmp_path / OLD / NOBODY / name).write_text("{}")
    os.utime(tmp_path / OLD, (0, 0))

    look(make_run(NOW)).remove_old(50, WEEK)

    assert {NOW} == left(tmp_path)


# --- what cannot be removed --------------------------------------------------------------------------------------------


def is_open(path):
    """Say whether this process has the file *path* open."""
    there = os.stat(path)
    for number in range(256):
        try:
            if os.path.samestat(there, os.fstat(number)):
                return True
        except OSError:
            continue
    return False


@pytest.fixture
def keep_open_files(monkeypatch):
    """Let no file be removed while it is open, as on Windows."""

    def unlink(path, remove=calls.unlink):
        if is_open(path):
            raise PermissionError(13, "used by another process", path)
        remove(path)

    monkeypatch.setattr(calls, "unlink", unlink)


def test_no_more_goes_than_must_where_an_open_file_cannot_be_removed(make_run, look, tmp_path, keep_open_files):
    """The lock is open while a process is tidied."""
    names = ["2026-11-25T09-00-00", "2026-11-25T09-10-00", "2026-11-25T09-20-00"]
    for name in names:
        make_run(name, size=1000)
        mark(tmp_path, name)
        (tmp_path / name / NOBODY / "alive.lock").touch()

    runs = shrink(look(make_run(NOW)), 2500)

    assert ({*names[1:], NOW}, 7) == (left(tmp_path), runs.lost)
    assert 2 * (1000 + len("{}")) == runs.size


def test_what_went_counts_though_a_file_that_somebody_reads_stays(make_run, look, tmp_path, keep_open_files):
    for name in (OLD, "2026-11-25T09-30-00"):
        make_run(name, size=1000)
        (tmp_path / name / NOBODY / "open.json").write_bytes(b"x" * 200)

    with open(tmp_path / OLD / NOBODY / "open.json", "rb"):
        runs = shrink(look(make_run(NOW)), 1500)

    assert {OLD, "2026-11-25T09-30-00", NOW} == left(tmp_path)
    assert (["open.json"], 1400) == (os.listdir(tmp_path / OLD / NOBODY), runs.size)


def test_what_another_process_has_removed_since_the_look_counts_as_gone(make_run, look, tmp_path):
    for name in (OLD, "2026-11-25T09-30-00"):
        make_run(name, size=1000)
    runs = look(make_run(NOW))
    shutil.rmtree(tmp_path / OLD)

    shrink(runs, 1500)

    assert ({"2026-11-25T09-30-00", NOW}, 1000) == (left(tmp_path), runs.size)


# --- runs that go on ---------------------------------------------------------------------------------------------------


def test_processes_that_ended_in_a_run_that_goes_on_are_the_last_to_go(make_run, look, tmp_path):
    for number in (NOBODY, "999999991", "999999992", str(os.getpid())):
        run = make_run(NOW, size=1000, process=number)
    age(tmp_path / NOW / "999999992")
    make_run(OLD, size=1000)

    assert 4000 == shrink(look(run), 4000).size
    assert {NOW} == left(tmp_path)
    assert 3000 == shrink(look(run), 3000).size
    assert "999999992" not in left(tmp_path / NOW), "the oldest"
    runs = shrink(look(run), 500)

    assert (1000, 1) == (runs.size, runs.writers)
    assert {str(os.getpid())} == left(tmp_path / NOW)


def test_records_of_ended_processes_of_a_run_that_goes_on_are_counted(make_run, look, tmp_path):
    """With what they have counted themselves, as long as nobody was told."""
    run = make_run(NOW, size=1000, lines=20)
    numbers = '{"name":"otel_perf.self.%s","sum":{"dataPoints":[{"timeUnixNano":"1","asInt":"%d"}]}}'
    text = numbers % ("dropped", 3) + numbers % ("removed", 40) + "\n"
    (tmp_path / NOW / NOBODY / "metrics.jsonl").write_text(numbers % ("dropped", 1) + "\n" + text)
    make_run(NOW, process=str(os.getpid()))

    runs = shrink(look(run), 500)

    assert (3, 20 + 3 + 40) == (runs.lost, runs.removed)


def test_a_clock_that_the_program_has_set_to_another_century_removes_nothing(make_run, look, tmp_path, monkeypatch):
    """As a mock does; what a run of ours writes has the system's time."""
    now = make_run(NOW, process=str(os.getpid()))
    make_run(OLD, size=1000)
    monkeypatch.setattr(retention, "wall_ns", lambda: 4_102_444_800 * 10**9)

    look(now).remove_old(50, WEEK)

    assert {NOW, OLD} == left(tmp_path)


def test_of_records_of_which_only_some_could_be_removed_those_are_counted(make_run, tmp_path, monkeypatch):
    make_run(OLD, size=1000)
    mark(tmp_path, OLD)
    unsent = iter((7, 3))
    monkeypatch.setattr(retention, "_remove_files", lambda process: False)
    runs = retention.Runs(str(tmp_path), make_run(NOW), lambda process: True, lambda process: next(unsent))

    shrink(runs, 500)

    assert (4, True) == (runs.lost, (tmp_path / OLD).exists())


def test_undelivered_records_of_an_ended_process_are_lost_and_the_others_removed(make_run, look, tmp_path):
    run = make_run(NOW, size=1000, lines=20)
    mark(tmp_path, NOW)
    make_run(NOW, process=str(os.getpid()))

    runs = shrink(look(run), 500)

    assert (7, 13) == (runs.lost, runs.removed)


# --- who lives ---------------------------------------------------------------------------------------------------------

HOLDS = """
import sys
from otel_perf.export.alive import Hold
hold = Hold(sys.argv[1])
print(hold.take(), flush=True)
sys.stdin.read()
"""


def test_a_process_lives_as_long_as_it_holds_its_file_whatever_its_number(make_run, look, tmp_path):
    """As in a container, where every program has the number 1, and where that of another has none here."""
    run = make_run(OLD, size=1000)
    folder = tmp_path / OLD / NOBODY
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert "True\n" == holder.stdout.readline()
        assert alive.is_alive(str(folder))
        assert 1000 == shrink(look(make_run(NOW)), 0).size
        holder.kill()
        holder.wait()

    assert not alive.is_alive(str(folder))
    assert 0 == shrink(look(str(tmp_path / NOW)), 0).size
    assert not os.path.exists(run)


def test_two_that_look_at_once_both_see_that_it_has_ended(make_run, tmp_path):
    make_run(OLD, size=1000)
    folder = str(tmp_path / OLD / NOBODY)
    (tmp_path / OLD / NOBODY / "alive.lock").touch()

    with alive.Ended(folder, tidies=False) as one:
        assert one
        assert not alive.is_alive(folder)
        with alive.Ended(folder) as other:
            assert not other  # who tidies is alone
    with alive.Ended(folder) as one:
        assert one


def test_the_number_of_another_process_keeps_no_run(make_run, look, tmp_path):
    make_run(OLD, size=1000, process=str(os.getpid()))
    (tmp_path / OLD / str(os.getpid()) / "alive.lock").touch()

    assert 0 == shrink(look(make_run(NOW)), 0).size


def test_a_file_under_the_number_that_was_ours_is_not_closed(tmp_path):
    hold = alive.Hold(str(tmp_path / "run" / "1"))
    os.makedirs(hold.path)
    assert hold.take()
    number = hold._file
    with open(tmp_path / "theirs", "w") as theirs:
        os.dup2(theirs.fileno(), number)

        assert not hold.is_open()
        hold.release()

        os.write(number, b"still open")
    os.close(number)


def test_many_processes_are_weighed_by_one_of_them_every_two_seconds(make_run, look, tmp_path):
    run = make_run(NOW)
    for number in range(retention.MANY):
        make_run(NOW, size=10, process=str(900_000_000 + number))
    (tmp_path / ".gitignore").touch()
    os.utime(tmp_path / ".gitignore", (0, 0))

    assert [True, False] == [look(run).weighed, look(run).weighed]
    os.utime(tmp_path / ".gitignore", (4_102_444_800, 4_102_444_800))  # the clock was set back since
    assert [True, False] == [look(run).weighed, look(run).weighed]


def test_who_does_not_weigh_many_processes_looks_at_none_of_them(make_run, look, tmp_path, monkeypatch):
    run = make_run(NOW)
    for number in range(3 * retention.MANY):
        make_run(OLD, process=str(900_000_000 + number))
        mark(tmp_path, OLD, str(900_000_000 + number))
    (tmp_path / ".gitignore").touch()
    asked = dict.fromkeys(("is_alive", "is_number", "_weight"), 0)
    answers = {name: getattr(retention, name) for name in asked}
    for name in asked:

        def count(path, name=name):
            asked[name] += 1
            return answers[name](path)

        monkeypatch.setattr(retention, name, count)

    runs = look(run, waits=lambda process: pytest.fail("asked what waits"))
    runs.remove_old(0, 0.0)

    assert (False, 0, 0) == (runs.weighed, asked["is_alive"], asked["_weight"])
    assert asked["is_number"] <= retention.MANY + 1, "a folder of any size costs no more than that"
    os.utime(tmp_path / ".gitignore", (0, 0))
    assert look(run).weighed
    assert 3 * retention.MANY + 1 == asked["is_alive"]


def test_nobody_looks_up_what_waits_while_there_is_room(make_run, look, tmp_path):
    make_run(OLD)
    mark(tmp_path, OLD)
    asked = []

    runs = look(make_run(NOW), waits=lambda process: not asked.append(process))
    runs.remove_old(50, WEEK)
    shrink(runs, 1000)
    assert [] == asked

    shrink(runs, 0)
    assert {str(tmp_path / OLD / NOBODY)} == set(asked)


@pytest.mark.parametrize(
    ("answer", "lives"), [(259, True), (0, False), (PermissionError(13, "denied"), True), (OSError(22, "none"), False)]
)
def test_windows_is_asked_for_a_process_without_a_signal_to_it(answer, lives, make_run, tmp_path, monkeypatch):
    """There the signal 0 is Ctrl-C; a process that has ended is known to the system while its parent watches it."""
    make_run(OLD)
    opened, closed = [], []

    def open_process(access, inherit, number):
        opened.append((access, inherit, number))
        if isinstance(answer, OSError):
            raise answer
        return 7

    windows = SimpleNamespace(
        OpenProcess=open_process, GetExitCodeProcess=lambda handle: answer, STILL_ACTIVE=259, CloseHandle=closed.append
    )
    monkeypatch.setitem(sys.modules, "_winapi", windows)
    monkeypatch.setattr(calls, "kill", lambda *signal: pytest.fail("a signal was sent"))
    with monkeypatch.context() as on_windows:
        on_windows.setattr(os, "name", "nt")
        found = alive.is_alive(str(tmp_path / OLD / NOBODY))

    assert (lives, [(0x1000, False, int(NOBODY))]) == (found, opened)
    assert ([] if isinstance(answer, OSError) else [7]) == closed
