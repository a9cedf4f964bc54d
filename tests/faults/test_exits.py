"""The end of a program whose collector is dead, silent, slow or refuses: in time, and nothing is lost.

tests/integration/test_follow_sender.py has the thread that sends, test_follow.py its requests one by one.
"""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

LIMIT = 2.0  # seconds that an exit may take, whatever the collector does
LIVE = 0.2  # with one that answers
COMPUTING = 0.15  # of either, by the interpreter and us: that takes longer where others compute
COLLECTORS = ("dead", "silent", "deaf", "slow", "429", "503")
PROTOCOLS = ("http/protobuf", "grpc")


def test_every_case_is_here(cases):
    assert (("live", *COLLECTORS), PROTOCOLS) == (cases.COLLECTORS, cases.PROTOCOLS)


@pytest.mark.parametrize("collector", COLLECTORS)
@pytest.mark.timed
def test_a_bad_collector_keeps_no_exit_and_gets_everything_once_when_it_is_well(
    cases, collector, tmp_path, receiver, door
):
    """Four programs at once: over HTTP and gRPC, that end at once, and that have loaded the exporters and sent."""
    there = receiver()
    programs = []
    for protocol in PROTOCOLS:
        for stage in cases.STAGES:
            folder = tmp_path / f"{protocol[:4]} {stage}"
            folder.mkdir()
            before = door(there, protocol, "live" if collector.isdigit() else collector)
            if collector.isdigit():
                there.behave(status=int(collector), retry_after=30)
            process = cases.start(cases.EXIT, folder, stage, **cases.sending(before.url, protocol))
            programs.append((protocol, stage, folder, before, process))

    slower = cases.slowdown()
    with ThreadPoolExecutor(len(programs)) as pool:  # each end is timed when it comes
        ends = list(pool.map(cases.Ended, [process for *_, process in programs]))
    allowance = COMPUTING * (max(slower, cases.slowdown()) - 1.0)

    for ended in ends:
        assert 0 == ended.code, ended.errors
        assert 0.0 < ended.seconds <= LIMIT + allowance
        assert "Traceback" not in ended.errors
        assert len(ended.errors.splitlines()) <= 1, "one line for one cause"

    assert [] == cases.received(there)
    there.behave()
    ids = []
    for protocol, stage, folder, before, _ in programs:
        before.become("live")
        left = cases.Left(folder)
        number = 100 if stage == "at once" else 200
        assert (number, 0, 0) == (len(left.ids()), left.damaged, left.dropped or 0)
        replayed = cases.replay(folder, before.url, protocol)
        assert (0, "") == (replayed.returncode, replayed.stderr)
        ids += left.ids()
        assert sorted(ids) == sorted(cases.received(there)), (protocol, stage)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("stage", ["at once", "exporters loaded"])
def test_a_live_collector_gets_what_is_left_and_the_exit_is_short(cases, protocol, stage, tmp_path, receiver):
    """The shortest of five: what other processes take only adds. What ends at once and is for gRPC stays."""
    over = []
    for number in range(5):
        there = receiver()
        there.write_to(tmp_path / f"{number}.jsonl")
        folder = tmp_path / str(number)
        folder.mkdir()

        slower = cases.slowdown()
        ended = cases.run(cases.EXIT, folder, stage, **cases.sending(there.url(protocol), protocol))

        assert (0, "") == (ended.code, ended.errors)
        ids = cases.Left(folder).ids()
        assert len(ids) == (100 if stage == "at once" else 200)
        sent = [] if (protocol, stage) == ("grpc", "at once") else ids
        assert sorted(sent) == sorted(cases.received(there))
        over.append(ended.seconds - LIVE - COMPUTING * (max(slower, cases.slowdown()) - 1.0))
        if over[-1] <= 0.0:
            return
    raise AssertionError(f"seconds beyond {LIVE} s: {over}")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_answer_that_comes_too_slowly_is_a_second_delivery_of_the_same_spans(
    cases, protocol, tmp_path, receiver, door
):
    """The collector has taken the request and nobody knows: the protocol allows no better than the same ids again."""
    there = receiver()
    before = door(there, protocol, "slow answer")
    ended = cases.run(cases.EXIT, tmp_path, "exporters loaded", **cases.sending(before.url, protocol))
    assert 0 == ended.code, ended.errors
    early = cases.received(there)

    before.become("live")
    replayed = cases.replay(tmp_path, before.url, protocol)

    assert 0 == replayed.returncode
    ids = cases.Left(tmp_path).ids()
    assert 200 == len(ids)
    assert sorted([*early, *ids]) == sorted(cases.received(there))
    assert set(ids) == set(cases.received(there))
    assert (protocol == "http/protobuf") is bool(early), "over gRPC the connection itself is answered too slowly"


@pytest.mark.parametrize("stage", ["at once", "exporters loaded"])
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
@pytest.mark.timed
def test_a_signal_ends_a_program_in_time_and_with_its_status_though_the_collector_is_silent(
    cases, stage, name, tmp_path, receiver, door
):
    before = door(receiver(), kind="silent")
    program = cases.EXIT.replace("told()\n", "") + "print('up', flush=True)\ntime.sleep(20)\n"
    process = cases.start(program, tmp_path, stage, **cases.sending(before.url))
    assert "up\n" == process.stdout.readline()

    slower, begun = cases.slowdown(), time.monotonic()
    process.send_signal(getattr(signal, name))
    _, errors = process.communicate(timeout=30)
    took = time.monotonic() - begun

    assert -getattr(signal, name) == process.returncode, errors
    assert took <= LIMIT + COMPUTING * (max(slower, cases.slowdown()) - 1.0)
    left = cases.Left(tmp_path)
    assert (100 if stage == "at once" else 200, 0) == (len(left.ids()), left.damaged)


@pytest.mark.parametrize(("name", "expected"), [("SIGTERM", -15), ("SIGINT", 0)])
@pytest.mark.timed
def test_a_signal_while_the_exit_waits_for_the_collector_is_obeyed(cases, name, expected, tmp_path, receiver, door):
    """SIGTERM once the wait is over, a second Ctrl-C at once: as in any other exit function, it only ends that one."""
    before = door(receiver(), kind="silent")
    process = cases.start(cases.EXIT, tmp_path, "at once", **cases.sending(before.url))
    told = float(process.stdout.readline())
    while not before.connections and time.monotonic() < told + 5:
        time.sleep(0.01)

    slower = cases.slowdown()
    process.send_signal(getattr(signal, name))
    process.communicate(timeout=30)
    took = time.monotonic() - told

    assert expected == process.returncode
    assert took <= (LIMIT if name == "SIGTERM" else 1.0) + COMPUTING * (max(slower, cases.slowdown()) - 1.0)
    assert 100 == len(cases.Left(tmp_path).ids())


def test_what_is_being_loaded_when_the_program_ends_can_be_imported_by_its_exit_functions(cases, tmp_path):
    program = f"""
import atexit, sys, time
def last():
    import asyncio
    print("imported")
atexit.register(last)
{cases.HEAD}
with perf.phase("CoreInit"):
    step()
perf.ready()
until = time.monotonic() + 10
while "asyncio.queues" not in sys.modules and time.monotonic() < until:  # half of asyncio is there, for gRPC
    time.sleep(0)
"""
    process = cases.start(program, tmp_path, **cases.sending(cases.DEAD, "grpc"))
    output, errors = process.communicate(timeout=30)

    assert (0, "imported\n") == (process.returncode, output), errors
    assert "Traceback" not in errors
    assert "internal error" not in errors
