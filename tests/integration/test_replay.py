"""`otel-perf replay`: stored runs go to a real receiver, by hand, once, and it says what became of them."""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from otel_perf.export.alive import Hold

if TYPE_CHECKING:
    from collections.abc import Callable

SRC = str(Path(__file__).resolve().parents[2] / "src")
OLD, NEW = "2026-11-24T09-00-00", "2026-11-25T10-15-02"
STOPPED = "4194305"  # a pid that Linux never gives
COMMAND = [sys.executable, "-c", "import sys; from otel_perf.commands.replay import main; sys.exit(main(sys.argv[1:]))"]


@pytest.fixture
def record(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes spans with the ids of *numbers* as one line of a run's process."""

    def write(numbers: range, run: str = NEW, process: str = STOPPED) -> Path:
        folder = tmp_path / ".otel-perf" / run / process
        folder.mkdir(parents=True, exist_ok=True)
        spans = [
            {
                "traceId": f"{1:032x}",
                "spanId": f"{number + 1:016x}",
                "name": "load",
                "startTimeUnixNano": "1795000000000000000",
                "endTimeUnixNano": "1795000000000000009",
            }
            for number in numbers
        ]
        data = {"resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {"name": "otel_perf"}, "spans": spans}]}]}
        with (folder / "traces.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(data, separators=(",", ":")) + "\n")
        return folder

    return write


@pytest.fixture
def replay(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs the command in the test's folder."""

    def run(*words: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *map(str, words)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": SRC, **variables},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def numbers(there: Any) -> list[int]:
    return [int(one["span_id"], 16) - 1 for one in there.spans()]


def test_newest_run_goes_to_the_endpoint_of_the_environment(record, replay, receiver):
    record(range(5), run=OLD)
    record(range(5, 15))
    record(range(15, 18), process="4194306")
    there = receiver()

    result = replay(OTEL_EXPORTER_OTLP_ENDPOINT=there.http)

    assert 0 == result.returncode
    assert list(range(5, 18)) == numbers(there)
    where = ", ".join(f"{there.http}/v1/{name}" for name in ("traces", "metrics", "logs"))
    assert f"sent 13 spans, 0 metric points, 0 log records of 2 processes to {where}\n" == result.stdout
    assert "" == result.stderr


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc", "http/json"])
def test_folder_sends_all_its_runs_oldest_first_and_again_only_what_is_new(record, replay, receiver, protocol):
    record(range(10, 20))
    record(range(10), run=OLD)
    there = receiver()
    words = (".otel-perf", "--endpoint", there.url(protocol), "--protocol", protocol)
    assert 0 == replay(*words).returncode
    assert list(range(20)) == numbers(there)

    record(range(20, 25))
    assert "sent 5 spans" in replay(*words).stdout
    assert list(range(25)) == numbers(there)

    assert "sent 25 spans" in replay(*words, "--again").stdout
    assert sorted([*range(25), *range(25)]) == sorted(numbers(there))
    assert {protocol} == {request["protocol"] for request in there.requests()}


def test_one_run_and_one_process_can_be_named(record, replay, receiver):
    record(range(5), run=OLD)
    one = record(range(5, 10))
    record(range(10, 15), process="4194306")
    there = receiver()

    assert 0 == replay(OLD, "--endpoint", there.http).returncode
    assert 0 == replay(one, "--endpoint", there.http).returncode

    assert list(range(10)) == numbers(there)


def test_dead_receiver_is_exit_1_and_the_next_replay_sends_all(record, replay, receiver, monkeypatch):
    record(range(5))
    program = COMMAND[2].replace("import main", "import main; import otel_perf.commands.replay as r; r.PATIENCE = 1.0")
    monkeypatch.setitem(globals(), "COMMAND", [sys.executable, "-c", program])

    result = replay("--endpoint", "http://localhost:9")

    assert 1 == result.returncode
    first, last = result.stderr.splitlines()
    assert first.startswith("otel-perf replay: cannot send traces to http://localhost:9/v1/traces: Connection refused")
    assert "bytes are not sent (Connection refused); the same command goes on from there" in last
    there = receiver()
    assert 0 == replay("--endpoint", there.http).returncode
    assert list(range(5)) == numbers(there)


def test_what_the_receiver_does_not_take_is_exit_1_and_said(record, replay, receiver):
    record(range(5))
    there = receiver()
    there.behave(status=401)

    result = replay("--endpoint", there.http, OTEL_EXPORTER_OTLP_HEADERS="api-key=hidden")

    assert 1 == result.returncode
    assert "does not take 5 spans: answered 401 Unauthorized" in result.stderr
    assert "not taken, and not sent again: 5 spans" in result.stderr
    assert "hidden" not in result.stdout + result.stderr


def test_busy_receiver_is_waited_for(record, replay, receiver):
    record(range(5))
    there = receiver()
    there.behave(status=429, retry_after=1, times=1)

    result = replay("--endpoint", there.http)

    assert 0 == result.returncode
    assert list(range(5)) == numbers(there)


def test_damage_is_counted_and_said_and_all_around_it_is_sent(record, replay, receiver):
    folder = record(range(5))
    with (folder / "traces.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"resourceSpans":[{"torn')
    there = receiver()

    result = replay("--endpoint", there.http)

    assert 0 == result.returncode
    assert list(range(5)) == numbers(there)
    assert "otel-perf replay: skipped what is damaged: 1 line or record (torn at the end)\n" == result.stderr
    assert "" == replay("--endpoint", there.http).stderr


def test_interrupted_replay_goes_on_where_it_stopped(record, replay, receiver, tmp_path):
    for first in range(0, 12_000, 2000):
        record(range(first, first + 2000))
    there = receiver()
    there.behave(delay=0.5)
    words = ["--endpoint", there.http]
    process = subprocess.Popen(
        [*COMMAND, *words],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": SRC}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while len(there.requests()) < 2:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert 1 == process.returncode
    assert "bytes are not sent (interrupted); the same command goes on from there" in errors
    there.behave()

    assert 0 == replay(*words).returncode

    got = numbers(there)
    assert set(range(12_000)) == set(got)
    assert len(got) <= 14_000


def test_follow_sends_what_comes_meanwhile_also_of_new_processes_until_it_is_interrupted(record, receiver, tmp_path):
    record(range(5))
    there = receiver()
    process = subprocess.Popen(
        [*COMMAND, ".otel-perf", "--follow", "--endpoint", there.http],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": SRC}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    there.wait_for(5)

    record(range(5, 10), process="4194306")
    record(range(10, 15), run="2026-11-26T00-00-00")
    there.wait_for(15)
    time.sleep(1.0)  # until its answer has been read, too
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=20)

    assert 0 == process.returncode, errors
    assert "sent 15 spans" in output
    assert sorted(range(15)) == sorted(numbers(there))


def test_running_process_is_replayed_up_to_its_last_whole_line(record, replay, receiver):
    folder = record(range(5), process=str(os.getpid()))
    with (folder / "traces.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"resourceSpans":[{"half')
    there = receiver()

    result = replay("--endpoint", there.http)

    assert 0 == result.returncode
    assert list(range(5)) == numbers(there)
    assert "" == result.stderr


def test_terminal_sees_a_bar_and_a_pipe_sees_lines(record, receiver, tmp_path):
    pty = pytest.importorskip("pty", reason="terminals of POSIX")
    for first in range(0, 8000, 2000):
        record(range(first, first + 2000))
    there = receiver()
    there.behave(delay=0.3)
    master, slave = pty.openpty()
    words = [*COMMAND, "--again", "--endpoint", there.http]
    with subprocess.Popen(
        words, cwd=tmp_path, env={**os.environ, "PYTHONPATH": SRC}, stdout=subprocess.DEVNULL, stderr=slave
    ) as process:
        process.wait(30)
    os.close(slave)
    shown = os.read(master, 100_000).decode()
    os.close(master)
    assert "\r[" in shown
    assert "a second" in shown
    assert re.search(r"\r +\r$", shown)

    program = COMMAND[2].replace(
        "import main", "import main; import otel_perf.commands.replay as r; r.LINE_EVERY = 0.2"
    )
    words = [sys.executable, "-c", program, "--again", "--endpoint", there.http]
    piped = subprocess.run(
        words,
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": SRC}, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert "\r" not in piped.stderr
    assert "%  " in piped.stderr


@pytest.mark.parametrize("words", [["--protocol", "thrift"], ["--endpoint"], ["one", "two"]])
def test_wrong_command_line_is_exit_2(words, replay):
    result = replay(*words)

    assert 2 == result.returncode
    assert "usage: otel-perf replay" in result.stderr


def test_signal_that_is_switched_off_is_not_sent(record, replay, receiver):
    record(range(5))
    there = receiver()

    result = replay(OTEL_EXPORTER_OTLP_ENDPOINT=there.http, OTEL_TRACES_EXPORTER="none")

    assert 0 == result.returncode
    assert [] == there.requests()
    assert "/v1/traces" not in result.stdout


def test_run_that_is_not_there_is_named(tmp_path, record):
    record(range(1))
    code = "import sys; from otel_perf.cli import COMMANDS, main; COMMANDS['replay'] = ''; sys.exit(main(sys.argv[1:]))"

    result = subprocess.run(
        [sys.executable, "-c", code, "replay", "nowhere"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": SRC}, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip

    assert 2 == result.returncode
    assert result.stderr.startswith("otel-perf replay: no run 'nowhere' in .otel-perf/ (1 there, newest ")


def test_a_folder_that_is_removed_meanwhile_is_exit_1_and_what_went_with_it_is_said(record, receiver, tmp_path):
    folder = record(range(2000))
    for first in range(2000, 30_000, 2000):  # more than is read at once
        record(range(first, first + 2000))
    there = receiver()
    there.behave(delay=0.3)
    process = subprocess.Popen(
        [*COMMAND, "--endpoint", there.http],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": SRC}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while len(there.requests()) < 2:
        time.sleep(0.05)
    size = (folder / "traces.jsonl").stat().st_size
    shutil.rmtree(folder)
    _, errors = process.communicate(timeout=20)

    assert 1 == process.returncode
    assert "sent again" not in errors
    (number,) = re.findall(r"the folder \S+ was removed; ([\d,]+) bytes in it were not sent", errors)
    assert 0 < int(number.replace(",", "")) < size
    assert f"{number} bytes are not sent: their folders were removed meanwhile" in errors


@pytest.mark.skipif(os.name != "posix", reason="sets a limit with the shell")
def test_more_processes_than_there_are_descriptors_are_sent_once(record, receiver, tmp_path):
    for number in range(70):
        record(range(number, number + 1), process=str(4194400 + number))
    there = receiver()
    words = ["sh", "-c", 'ulimit -n 50; exec "$@"', "sh", *COMMAND, "--endpoint", there.http]

    result = subprocess.run(
        words,
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": SRC}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert (0, "") == (result.returncode, result.stderr)
    assert "sent 70 spans" in result.stdout
    assert "of 70 processes" in result.stdout
    assert list(range(70)) == sorted(numbers(there))


def test_what_cannot_be_read_is_exit_1_and_said_and_all_around_it_is_sent(record, replay, receiver):
    (record(range(6, 7)) / "sent.lock").mkdir()
    (record(range(5), process="4194306") / "metrics.jsonl").mkdir()
    record(range(5, 6), process="4194307")
    there = receiver()

    result = replay("--endpoint", there.http)

    assert 1 == result.returncode
    assert list(range(6)) == sorted(numbers(there))
    assert "2 files or folders cannot be read (" in result.stderr


# --- processes that end meanwhile ---------------------------------------------------------------------------------------


@pytest.fixture
def follow(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Return a function that begins to follow the folder of runs, to the receiver *there*."""

    def start(there: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*COMMAND, ".otel-perf", "--follow", "--endpoint", there.http],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": SRC}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    return start


def locks(process: int) -> int:
    """Return how many folders the *process* has claimed."""
    links = [os.path.join(f"/proc/{process}/fd", name) for name in os.listdir(f"/proc/{process}/fd")]
    return sum(os.path.lexists(one) and os.readlink(one).endswith("sent.lock") for one in links)


@pytest.mark.skipif(sys.platform != "linux", reason="looks for its files in /proc")
def test_follow_lets_go_of_a_process_that_ended_once_all_of_it_is_sent(record, receiver, follow):
    holds = [Hold(str(record(range(n, n + 1), process=str(4194400 + n)))) for n in range(3)]
    assert all(hold.take() for hold in holds)
    there = receiver()
    process = follow(there)
    there.wait_for(3)
    assert 3 == locks(process.pid)

    for hold in holds:
        hold.release()
    record(range(3, 4), process="4194402")
    there.wait_for(4)
    end = time.monotonic() + 15
    while locks(process.pid) and time.monotonic() < end:
        time.sleep(0.05)

    assert 0 == locks(process.pid)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=20)
    assert (0, "") == (process.returncode, "".join(line for line in errors.splitlines() if "%" not in line))
    assert "sent 4 spans, 0 metric points, 0 log records of 3 processes" in output


def test_follow_that_is_interrupted_in_a_backlog_is_exit_1_and_says_what_is_left(record, receiver, follow):
    for first in range(0, 30_000, 2000):
        record(range(first, first + 2000))
    there = receiver()
    there.behave(delay=0.5)
    process = follow(there)
    end = time.monotonic() + 20
    while len(there.requests()) < 2 and time.monotonic() < end:
        time.sleep(0.05)

    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)

    assert 1 == process.returncode
    assert re.search(r"[1-9][\d,]+ bytes are not sent \(interrupted\); the same command goes on from there", errors)


# --- another user's -----------------------------------------------------------------------------------------------------


def obey_modes() -> None:
    """Give up, before a program begins, root's right to read what it may not."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None)
        for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
            assert 0 == libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


@pytest.mark.skipif(
    sys.platform == "win32" or (sys.platform != "linux" and os.geteuid() == 0), reason="root may read everything"
)
def test_what_was_sent_and_may_not_be_read_is_exit_1_and_nothing_is_sent_twice(record, receiver, tmp_path):
    folder, there = record(range(5)), receiver()
    record(range(5, 8), process="4194306")
    words = [*COMMAND, "--endpoint", there.http]
    env = {**os.environ, "PYTHONPATH": SRC}
    subprocess.run([*words, str(folder)], cwd=tmp_path, env=env, check=True, timeout=60)
    for name in ("sent.json", "sent.lock"):
        (folder / name).chmod(0)

    result = subprocess.run(
        words,
        cwd=tmp_path, env=env, preexec_fn=obey_modes, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert 1 == result.returncode
    assert list(range(8)) == sorted(numbers(there))
    assert f"cannot read {folder}: no permission for sent.json, which says what was sent" in result.stderr
    assert "1 file or folder cannot be read (no permission for sent.json" in result.stderr


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may give files away")
def test_what_root_sends_of_another_user_stays_that_users(record, replay, receiver, tmp_path):
    folder = record(range(5))
    (folder / "sent.lock").touch()
    os.chown(folder, 65534, 65534)

    result = replay("--endpoint", receiver().http)

    assert (0, "") == (result.returncode, result.stderr)
    assert {"sent.json": 65534, "sent.lock": 0, "traces.jsonl": 0} == {
        path.name: path.stat().st_uid for path in folder.iterdir()
    }
