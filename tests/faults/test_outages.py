"""Outages: the collector is away, the disk is full, the folder is gone. The application never waits, and no loss is silent.

tests/integration/test_follow.py has the back-off schedule, with a clock of its own; test_folder.py has a folder that is
removed; test_surroundings.py one that is read-only from the start. `make soak` has outages of ten minutes.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from otel_perf.analysis.text import plural

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the program is told to end through select()")
linux = pytest.mark.skipif(sys.platform != "linux", reason="limits, mounts and users of Linux")
OUTAGE = 20.0  # seconds
WAIT = 0.3  # seconds that a lap of the application's loop may take at most, beside its pause


def stop(cases, process, seconds: float = 0.0):
    """Let a program of cases.LOOP go on for a while and end; return how many spans it recorded, and how it ended."""
    time.sleep(seconds)
    ended = cases.Ended(process)
    assert 0 == ended.code, ended.errors
    number, longest = ended.words
    assert float(longest) < WAIT, "the application waited"
    assert "Traceback" not in ended.errors
    return int(number), ended


def assert_shown(cases, folder, dropped: int) -> None:
    """Report and doctor say how many records were dropped."""
    report, doctor = (" ".join(cases.command(folder, name).stdout.split()) for name in ("report", "doctor"))
    assert f"records dropped {dropped}" in doctor
    assert f"the newest run dropped {plural(dropped, 'record')}" in doctor
    assert f"{plural(dropped, 'record')} dropped" in report


# --- the collector ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_what_is_recorded_while_the_collector_is_away_comes_afterwards_in_order_and_once(
    cases, tmp_path, receiver, door, wait_for
):
    """Down at the start; then, after it has been there, it breaks off in the middle of a request and is away for 20 s."""
    running = []
    for protocol in cases.PROTOCOLS:
        folder = tmp_path / protocol[:4]
        folder.mkdir()
        there = receiver()
        before = door(there, protocol, "dead")
        process = cases.start(cases.LOOP, folder, "0.02", **cases.sending(before.url, protocol))
        running.append((folder, there, before, process))
    time.sleep(3)
    for _, _, before, _ in running:
        before.become("live")
    for _, there, before, _ in running:
        wait_for(lambda there=there: len(cases.received(there)) > 1000)
        before.left = 20_000
    for _, _, before, _ in running:
        wait_for(lambda before=before: before.left == 0)
        before.become("dead")
    time.sleep(OUTAGE)
    sent = []
    for _, there, before, _ in running:
        sent.append(len(cases.received(there)))
        before.become("live")

    for (folder, there, _, process), early in zip(running, sent, strict=True):
        wait_for(lambda there=there, early=early: len(cases.received(there)) > early + 5000)
        number, ended = stop(cases, process)
        assert 1 == len(ended.errors.splitlines()), ended.errors
        left = cases.Left(folder)
        assert (number, 0, 0) == (len(left.ids()), left.damaged, left.dropped)
        assert left.ids() == cases.received(there)


@pytest.mark.parametrize("collector", ["silent", "deaf", "slow", "503"])
def test_the_application_never_waits_for_a_collector(cases, collector, tmp_path, receiver, door):
    there = receiver()
    if collector == "503":
        there.behave(status=503, retry_after=1)
    before = door(there, kind="live" if collector == "503" else collector)
    process = cases.start(cases.LOOP, tmp_path, "0.001", **cases.sending(before.url))

    number, ended = stop(cases, process, 3)

    assert 1 >= len(ended.errors.splitlines()), ended.errors
    left = cases.Left(tmp_path)
    assert (number, 0, 0) == (len(left.ids()), left.damaged, left.dropped)
    assert before.connections > 0
    assert [] == cases.received(there)


def test_what_does_not_fit_into_the_limit_is_counted_and_the_rest_comes_in_order_and_once(
    cases, tmp_path, receiver, door
):
    there = receiver()
    before = door(there, kind="dead")
    limit = {"OTEL_PERF_FOLDER_LIMIT": "2MB"}
    process = cases.start(cases.LOOP, tmp_path, "0.001", **limit, **cases.sending(before.url))

    number, _ = stop(cases, process, 5)

    left = cases.Left(tmp_path)
    size = sum(file.stat().st_size for file in tmp_path.glob(".otel-perf/*/*/*"))
    assert size <= 2_000_000
    assert (0, 0) == (left.damaged, left.removed)
    assert 1000 < len(left.ids()) < number - 1000
    # spans and metric points are dropped, and of the points the receiver will not miss any
    assert number - len(left.ids()) <= left.dropped <= (number - len(left.ids())) * 1.05
    assert_shown(cases, tmp_path, left.dropped)
    before.become("live")
    assert 0 == cases.replay(tmp_path, before.url).returncode
    assert left.ids() == cases.received(there)


# --- the disk --------------------------------------------------------------------------------------------------------


def on_a_disk(cases, options: str) -> list[str]:
    """Return the words that run a program on a file system in memory, with these options."""
    words = ["unshare", "-rm", "sh", "-c"]
    if subprocess.run([*words, "mount -t tmpfs none /mnt"], capture_output=True, check=False).returncode:
        pytest.skip("needs unshare -rm: user and mount namespaces of one's own")
    return [*words, cases.DISK.format(options=options), "sh"]


@linux
def test_a_full_disk_costs_what_does_not_fit_and_all_of_that_is_counted(cases, tmp_path):
    process = cases.start(cases.LOOP, tmp_path, "0.001", before=on_a_disk(cases, "size=1m"))

    number, ended = stop(cases, process, 4)

    assert 1 == len(ended.errors.splitlines()), ended.errors
    assert "No space left on device; records are dropped" in ended.errors
    left = cases.Left(tmp_path)
    assert 1000 < len(left.ids()) < 5000
    assert left.dropped is not None
    assert number - len(left.ids()) <= left.dropped < number - len(left.ids()) + 100  # metrics and logs, too
    assert_shown(cases, tmp_path, left.dropped)


@linux
def test_a_disk_without_inodes_costs_no_span_and_what_it_costs_is_counted(cases, tmp_path):
    """The folders and one file can be made, and no other."""
    process = cases.start(cases.LOOP, tmp_path, "0.01", before=on_a_disk(cases, "size=50m,nr_inodes=8"))

    number, ended = stop(cases, process, 3)

    assert 1 == len(ended.errors.splitlines()), ended.errors
    left = cases.Left(tmp_path)
    assert number == len(left.ids())
    assert left.dropped


@linux
def test_a_quota_costs_what_does_not_fit_and_all_of_that_is_counted(cases, tmp_path):
    """RLIMIT_FSIZE: a limit to each file."""
    process = cases.start(cases.LIMITED, tmp_path, "0.001", PYTHONDONTWRITEBYTECODE="1")

    number, ended = stop(cases, process, 4)

    assert 1 == len(ended.errors.splitlines()), ended.errors
    assert "File too large; records are dropped" in ended.errors
    left = cases.Left(tmp_path)
    assert 250 <= len(left.ids()) < 1500
    assert number - len(left.ids()) == left.dropped
    assert_shown(cases, tmp_path, left.dropped)


# --- the folder ------------------------------------------------------------------------------------------------------


def as_another_user() -> list[str]:
    """Return the words that run a program as a user who may not write everywhere: uid 65534, else a root without rights."""
    if os.geteuid():
        return []
    for words in (
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"],
        ["setpriv", "--bounding-set=-all", "--inh-caps=-all"],
    ):
        with contextlib.suppress(OSError):
            if not subprocess.run([*words, sys.executable, "-c", "import opentelemetry"], check=False).returncode:
                return words
    pytest.skip("needs setpriv: root may write everywhere")


@pytest.fixture
def own_folder() -> Iterator[Path]:
    """Return a folder of another user's: those above the test's own are root's alone."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "--reuid=65534" in as_another_user():
            os.chown(folder, 65534, 65534)
        yield folder
        for path in folder.rglob("*"):
            path.chmod(0o700)


@linux
def test_a_folder_that_becomes_read_only_keeps_what_its_open_files_take(cases, own_folder, receiver, wait_for):
    """What was sent cannot be kept any more: one line says so, and a replay by another user sends it again."""
    there = receiver()
    words = as_another_user()
    process = cases.start(cases.LOOP, own_folder, "0.01", before=words, **cases.sending(there.http))
    wait_for(lambda: len(cases.received(there)) > 500)
    folders = [path for path in (own_folder / ".otel-perf").rglob("*") if path.is_dir()]
    for folder in folders:
        folder.chmod(0o500)

    number, ended = stop(cases, process, 3)

    assert 2 == len(folders)
    left = cases.Left(own_folder)
    assert (number, 0, 0) == (len(left.ids()), left.damaged, left.dropped)
    assert sorted(left.ids()) == sorted(cases.received(there))
    (line,) = ended.errors.splitlines()
    assert "cannot keep in " in line


def test_a_folder_that_is_removed_costs_what_was_in_it_and_all_that_follows_is_sent(
    cases, tmp_path, receiver, wait_for
):
    there = receiver()
    process = cases.start(cases.LOOP, tmp_path, "0.01", **cases.sending(there.http))
    wait_for(lambda: len(cases.received(there)) > 1000)
    while (tmp_path / ".otel-perf").exists():  # the program may make it again meanwhile
        shutil.rmtree(tmp_path / ".otel-perf", ignore_errors=True)

    number, ended = stop(cases, process, 5)

    assert re.fullmatch(r"(otel-perf: the folder \S+ was removed; [\d,]+ bytes in it were not sent\n)?", ended.errors)
    assert 0 == cases.replay(tmp_path, there.http).returncode
    left, got = cases.Left(tmp_path), cases.received(there)
    assert len(got) == len(set(got))
    assert number // 4 < len(left.ids()) < number
    assert set(left.ids()) <= set(got)


OFTEN = dict.fromkeys(("OTEL_BSP_SCHEDULE_DELAY", "OTEL_METRIC_EXPORT_INTERVAL", "OTEL_BLRP_SCHEDULE_DELAY"), "200")
TWICE = """
import shutil, time
perf.ready()
for number in (100, 300, 900):  # each file is soon longer than the one before
    for _ in range(number):
        step()
    time.sleep(2)  # until that is sent
    if number < 900:
        shutil.rmtree(".otel-perf")
        time.sleep(1)  # the folder is looked for, and is not there
told()
"""


def test_a_folder_that_is_removed_twice_is_sent_from_its_beginning_each_time(cases, tmp_path, receiver):
    there = receiver()

    ended = cases.run(cases.HEAD + TWICE, tmp_path, **OFTEN, **cases.sending(there.http))

    assert 0 == ended.code, ended.errors
    got = cases.received(there)
    assert 1300 == len(got) == len(set(got))


MAKES_ROOM = """
import sys
with perf.phase("CoreInit"):
    pass
print("up", flush=True)
sys.stdin.readline()
perf.ready()
for _ in range(40):
    for _ in range(200):
        step()
    time.sleep(0.15)
told()
"""


@pytest.mark.parametrize("who", ["the program", "a replay"])
def test_what_was_delivered_goes_first_whoever_has_delivered_it(cases, who, tmp_path, receiver, wait_for):
    there = receiver()
    sending = {**OFTEN, **cases.sending(there.http)}
    process = cases.start(cases.HEAD + MAKES_ROOM, tmp_path, OTEL_PERF_FOLDER_LIMIT="2MB", **sending)
    assert "up\n" == process.stdout.readline()
    replay = None
    if who == "a replay":
        words = [sys.executable, "-m", "otel_perf", "replay", ".otel-perf", "--follow", "--endpoint", there.http]
        wait_for(lambda: list(tmp_path.glob(".otel-perf/*/*/sent.json")))
        replay = subprocess.Popen(words, cwd=tmp_path, env=cases.environment(**OFTEN), stdout=-1, text=True)
        wait_for(there.requests)
    process.stdin.write("\n")
    process.stdin.flush()
    ended = cases.Ended(process)
    if replay is not None:
        wait_for(lambda: len(cases.received(there)) == 8000)
        time.sleep(0.5)
        replay.send_signal(signal.SIGINT)
        assert "sent 8,0" in replay.communicate(timeout=20)[0]

    assert (0, "") == (ended.code, ended.errors)
    got, left = cases.received(there), cases.Left(tmp_path)
    assert 8000 == len(got) == len(set(got))
    assert (8000 - len(left.ids()), 0) == (left.removed, left.dropped)
    assert left.removed > 1000
