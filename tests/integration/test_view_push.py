"""What ``otel-perf view`` pushes of programs in progress, and what it lives through: removals, kills, damage, restarts."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).with_name("programs")
WORKING = """
import sys, time
import otel_perf as perf
perf.init(service=sys.argv[1], folder=".otel-perf")

@perf.profile(span_threshold=0)
def step():
    time.sleep(0.01)

with perf.phase("CoreInit"):
    step()
perf.ready()
while True:
    step()
"""


@pytest.fixture
def begin(start_program, write):
    """Return a function that starts a program that works until it is ended, recorded by itself."""

    def run(service="worker", options=None):
        return start_program([sys.executable, write("working.py", WORKING), service], options, env=environment())

    return run


@pytest.fixture
def begin_and_end(begin, tmp_path):
    """Return a function that does so, and ends the program once the viewer has heard of its work; gives its overview."""

    def run(viewer, service="worker"):
        process = begin(service)
        viewer.wait("/newest/first", lambda data: data["report"]["service"]["name"] == service and data["spans"] > 20)
        process.terminate()
        process.wait(20)  # its last numbers come after the word that it ends
        (run,) = (one for one in tmp_path.glob(".otel-perf/*/") if (one / str(process.pid)).is_dir())
        size = sum(file.stat().st_size for file in run.glob("*/*.jsonl"))
        return viewer.wait(f"/{run.name}/first", lambda data: not data["running"] and data["read"] == size)

    return run


def environment():
    return {"PYTHONPATH": str(PROGRAMS.parents[2] / "src")}


def names_of(samples):
    return {one["name"] for one in samples["series"]}


def times_of(samples, name):
    return next((one["times"] for one in samples["series"] if one["name"] == name), [])


# --- a program in progress --------------------------------------------------------------------------------------------


def test_page_that_waits_is_told_of_the_first_process(tmp_path, make_viewer, begin):
    viewer = make_viewer(tmp_path)
    for path in ("/newest/first", "/newest/first/events"):
        assert {"error": "no process yet: otel-perf run -- python app.py"} == viewer.get(path, 404)
    assert [] == viewer.get("")["runs"]
    begin()
    with viewer.events() as events:
        state, _ = events.first(
            "state", lambda data: data["report"]["service"]["name"] == "worker" and data["spans"] > 5
        )

        assert state["running"]
        assert "CoreInit" in [phase["name"] for phase in viewer.get("/newest/first")["report"]["start"]["phases"]]


def test_samples_come_once_each_in_order_and_are_those_of_the_file(tmp_path, make_viewer, begin, metrics_of):
    begin()
    viewer = make_viewer(tmp_path)
    with viewer.events() as events:
        events.first("samples")
        seen = []
        while len(seen) < 3:
            data, _ = events.first("samples", lambda data: "process.memory.usage" in names_of(data))
            (memory,) = [one for one in data["series"] if one["name"] == "process.memory.usage"]
            seen += zip(memory["times"], memory["values"], strict=True)

    assert sorted({moment for moment, _ in seen}) == [moment for moment, _ in seen]
    points = [p["point"] for p in metrics_of(tmp_path) if p["metric"] == "process.memory.usage"]
    written = {round(point["timeUnixNano"] / 1e6, 1): point["value"] for point in points}
    for moment, value in seen:
        assert written[moment] == pytest.approx(value, rel=1e-4)


def test_state_comes_at_most_once_a_second_and_without_a_start_that_is_over(tmp_path, make_viewer, begin):
    begin()
    viewer = make_viewer(tmp_path)
    viewer.wait("/newest/first", lambda data: data["spans"] > 5)
    with viewer.events() as events:
        events.first("state", lambda data: data["report"].get("start", {}).get("complete"))
        moments, spans = [], []
        for event, data, _ in events:
            if event == "state":
                moments.append(time.monotonic())
                spans.append(data["spans"])
                assert "start" not in data["report"]
            if len(moments) == 3:
                break

    assert min(later - earlier for earlier, later in pairwise(moments)) > 0.8
    assert spans[0] < spans[1] < spans[2]


STARTS = """
import sys, time
import otel_perf as perf
perf.init(service="starts")
with perf.phase("Load"):
    time.sleep(0.7)
with perf.phase("Wait"):
    sys.stdin.readline()
perf.ready()
time.sleep(60)
"""


def test_page_that_was_there_during_the_start_is_told_of_its_end_once(tmp_path, make_viewer, start_program, write):
    process = start_program(
        [sys.executable, write("starts.py", STARTS)], None, env=environment(), stdin=subprocess.PIPE
    )
    viewer = make_viewer(tmp_path)
    with viewer.events() as events:
        during, _ = events.first("state", lambda data: data["report"].get("start"))
        process.stdin.write(b"\n")
        process.stdin.flush()
        after, _ = events.first("state", lambda data: data["report"].get("start", {}).get("complete"))
        later, _ = events.first("state")

    assert (False, True) == (during["report"]["start"]["complete"], "Wait" in json.dumps(after["report"]["start"]))
    assert "start" not in later["report"]


def test_page_that_comes_back_is_told_only_what_it_missed(tmp_path, make_viewer, begin):
    begin()
    viewer = make_viewer(tmp_path)
    with viewer.events() as events:
        events.first("samples")
        data, last = events.first("samples", lambda data: "process.thread.count" in names_of(data))
        known = max(moment for one in data["series"] for moment in one["times"])
    missed = lambda data: [at for at in times_of(data, "process.thread.count") if at > known]  # noqa: E731
    viewer.wait("/newest/first/series", lambda data: len(missed(data)) >= 2)

    with viewer.events(last=last) as events:
        data, _ = events.first("samples")

    assert len(missed(data)) >= 2
    assert missed(data) == times_of(data, "process.thread.count")


@pytest.mark.parametrize("last", ["nonsense", "-1", "99999999999999999999", "1e5", "\u0661"])
def test_position_that_is_none_is_as_if_there_were_none(tmp_path, make_viewer, begin, last):
    begin()
    viewer = make_viewer(tmp_path)

    with viewer.events(last=last.encode().decode("latin-1")) as events:
        state, _ = events.first("state")

    assert "worker" == state["report"]["service"]["name"] or state["spans"] == 0


def test_what_is_over_is_silent_but_for_a_sign_of_life(tmp_path, make_viewer, begin_and_end):
    viewer = make_viewer(tmp_path)
    assert not begin_and_end(viewer)["running"]
    with viewer.events() as events:
        events.first("state")
        begun = time.monotonic()
        heard = []
        for event, *_ in events:
            if time.monotonic() - begun > 2:  # until then its start may be looked at once more
                heard.append(event)
            if time.monotonic() - begun > 7:
                break

    assert heard.count(":") >= 1
    assert "state" not in heard


@pytest.mark.timed
def test_alert_is_pushed_within_seconds_of_being_raised(tmp_path, make_viewer, start_program):
    start_program([sys.executable, PROGRAMS / "viewed.py", "8"], None, env=environment())
    viewer = make_viewer(tmp_path)
    with viewer.events() as events:
        data, _ = events.first("samples", lambda data: any(one["kind"] == "alert" for one in data["markers"]))
        late = time.time() - next(one["time"] for one in data["markers"] if one["kind"] == "alert") / 1_000

        assert late < 4  # a second and a half, where nobody else needs the CPU
        state, _ = events.first("state", lambda data: data["report"]["alerts"])
        assert "backlog" == state["report"]["alerts"][0]["budget"]


# --- runs that come and go --------------------------------------------------------------------------------------------


def test_newest_moves_on_and_a_stream_stays_with_its_run(tmp_path, make_viewer, begin, begin_and_end):
    viewer = make_viewer(tmp_path)
    begin_and_end(viewer, "first")
    with viewer.events() as events:
        state, _ = events.first("state")
        assert "first" == state["report"]["service"]["name"]
        begin("second")

        viewer.wait("/newest/first", lambda data: data["report"]["service"]["name"] == "second")

        begun = time.monotonic()
        for event, data, _ in events:
            assert event != "state" or data["report"]["service"]["name"] == "first"
            if time.monotonic() - begun > 4:
                break


def test_run_that_is_removed_is_gone_and_the_server_lives_on(tmp_path, make_viewer, begin, begin_and_end):
    viewer = make_viewer(tmp_path)
    run = begin_and_end(viewer)["report"]["run"]
    with viewer.events(f"/{run}/first") as events:
        events.first("state")
        shutil.rmtree(tmp_path / ".otel-perf" / run)

        data, _ = events.first("gone")

        assert data["error"]
        assert [] == list(events)  # it was the last event
    assert "no process yet: otel-perf run -- python app.py" == viewer.get("/newest/first", 404)["error"]
    begin("again")
    viewer.wait("/newest/first", lambda data: data["report"]["service"]["name"] == "again")


def test_killed_process_is_told_to_be_over(tmp_path, make_viewer, begin):
    process = begin()
    viewer = make_viewer(tmp_path)
    with viewer.events() as events:
        events.first("state", lambda data: data["running"] and data["spans"] > 5)
        process.send_signal(signal.SIGKILL)
        process.wait()

        state, _ = events.first("state", lambda data: not data["running"])

        assert "silent" == state["report"]["ended"]["state"]


def test_second_process_of_the_run_appears(tmp_path, make_viewer, start_program, write):
    program = write(
        "parent.py",
        "import os, sys, time\n"
        "import otel_perf as perf\n"
        "perf.init(service='parent')\n"
        "perf.ready()\n"
        "until = time.monotonic() + 20\n"
        "while not os.path.exists('go') and time.monotonic() < until:\n"
        "    time.sleep(0.05)\n"
        "if os.fork() == 0:\n"
        "    with perf.operation('work of the child'):\n"
        "        time.sleep(5)\n"
        "time.sleep(5)\n",
    )
    start_program([sys.executable, program], None, env=environment())
    viewer = make_viewer(tmp_path)
    with viewer.events() as events:
        state, _ = events.first("state", lambda data: data["spans"] > 0)
        assert [] == state["report"]["other_processes"]
        (tmp_path / "go").touch()

        state, _ = events.first("state", lambda data: data["report"]["other_processes"])

    (child,) = state["report"]["other_processes"]
    assert child == viewer.get(f"/newest/{child}")["report"]["process"]
    assert {state["report"]["process"], child} == {one["name"] for one in viewer.get("")["runs"][0]["processes"]}


# --- damage -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def copied(tmp_path, make_viewer, begin_and_end):
    """Return a viewer, and a process's folder in its folder of runs that is over."""
    viewer = make_viewer(tmp_path)
    begin_and_end(viewer)
    (folder,) = tmp_path.glob(".otel-perf/*/*/")
    return viewer, folder


def test_garbage_is_counted_and_what_is_behind_it_is_read(copied):
    viewer, folder = copied
    before = viewer.get("/newest/first")
    line = (folder / "traces.jsonl").read_bytes().splitlines(keepends=True)[-1]
    with open(folder / "traces.jsonl", "ab") as file:
        file.write(b"garbage\n\xff\xfe\0\n[1, 2]\n{\n" + line)

    after = viewer.wait("/newest/first", lambda data: data["damaged"] and data["spans"] > before["spans"])

    assert 4 == after["damaged"]


def test_line_is_read_once_it_is_whole(tmp_path, make_viewer, begin):
    begin()
    viewer = make_viewer(tmp_path)
    viewer.wait("/newest/first", lambda data: data["spans"] > 5)
    (folder,) = tmp_path.glob(".otel-perf/*/*/")
    log = {
        "eventName": "otel_perf.budget.exceeded",
        "timeUnixNano": str(time.time_ns()),
        "body": {"stringValue": "by hand"},
    }
    log["attributes"] = [{"key": "budget", "value": {"stringValue": "torn"}}]
    text = json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [log]}]}]}).encode() + b"\n"
    file = os.open(folder / "logs.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, text[:70])
    size = sum(path.stat().st_size for path in folder.iterdir())
    seen = viewer.wait("/newest/first", lambda data: data["total"] > size)
    assert (0, []) == (seen["damaged"], seen["report"]["alerts"])

    os.write(file, text[70:])
    os.close(file)

    seen = viewer.wait("/newest/first", lambda data: data["report"]["alerts"])
    assert (0, "by hand") == (seen["damaged"], seen["report"]["alerts"][0]["text"])


def test_file_that_is_cut_and_written_anew_is_read_from_its_beginning(copied):
    viewer, folder = copied
    spans = viewer.get("/newest/first")["spans"]
    lines = (folder / "traces.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "traces.jsonl").write_bytes(lines[0])

    after = viewer.wait("/newest/first", lambda data: data["spans"] < spans)

    first = json.loads(lines[0])["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert len(first) == after["spans"]


def test_file_that_was_continued_is_read_through(copied):
    """The recorder names an earlier part of a file by the offset at which it begins."""
    viewer, folder = copied
    before = viewer.get("/newest/first")
    line = (folder / "traces.jsonl").read_bytes().splitlines(keepends=True)[-1]
    more = len(json.loads(line)["resourceSpans"][0]["scopeSpans"][0]["spans"])
    (folder / "traces.jsonl").rename(folder / f"traces.{0:015d}.jsonl")
    (folder / "traces.jsonl").write_bytes(line)

    after = viewer.wait("/newest/first", lambda data: data["spans"] > before["spans"])

    assert (before["spans"] + more, before["total"] + len(line)) == (after["spans"], after["total"])


# --- bounds -----------------------------------------------------------------------------------------------------------


def test_pages_that_go_make_room_for_others(tmp_path, make_viewer, begin):
    begin()
    viewer = make_viewer(tmp_path)
    viewer.wait("/newest/first", lambda data: data["spans"] > 5)
    open_pages = [viewer.events() for _ in range(32)]
    assert [200] * 32 == [page.status for page in open_pages]
    for page in open_pages[:3]:
        page.first("state")

    refused = viewer.ask("/api/runs/newest/first/events")
    assert (503, "32 pages are open already; close one") == (refused.status, refused.json["error"])

    for page in open_pages:
        page.close()
    limit = time.monotonic() + 10
    while (page := viewer.events()).status != 200:
        page.close()
        assert time.monotonic() < limit
        time.sleep(0.1)
    page.first("state")
    page.close()


@pytest.mark.timed
def test_page_that_reads_nothing_holds_nobody_up(tmp_path, make_viewer, begin):
    begin()
    viewer = make_viewer(tmp_path)
    idle = viewer.events()  # whose answers nobody takes
    try:
        with viewer.events() as events:
            for _ in range(3):
                events.first("samples")
            begun = time.monotonic()
            viewer.get("/newest/first")
            assert time.monotonic() - begun < 2
    finally:
        idle.close()
