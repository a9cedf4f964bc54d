"""What `otel-perf top` follows: the newest run, one that was asked for, its processes; and what a look at it costs."""

from __future__ import annotations

import json
import shutil

import pytest

from otel_perf.errors import UserError
from otel_perf.terminal import follow, snapshot
from otel_perf.terminal.follow import Followed, load
from otel_perf.terminal.snapshot import Watch

START = 1_795_000_000_000_000_000
BUDGET = {"key": "budget", "value": {"stringValue": "startup"}}


@pytest.fixture(autouse=True)
def _look_at_once(monkeypatch):
    monkeypatch.setattr(follow, "LOOK", 0.0)


@pytest.fixture
def runs(tmp_path):
    """Return a function that writes a run with some processes, and the folder of the runs."""

    def write(name, *processes, seconds=1):
        for number, process in enumerate(processes or ("1",)):
            folder = tmp_path / name / process
            folder.mkdir(parents=True)
            span = {
                "traceId": f"{number + 1:032x}",
                "spanId": f"{1:016x}",
                "name": "startup",
                "startTimeUnixNano": str(START + number),
                "endTimeUnixNano": str(START + int(seconds * 1_000_000_000)),
                "attributes": [
                    {"key": "otel_perf.kind", "value": {"stringValue": "startup"}},
                    {"key": "otel_perf.ready", "value": {"stringValue": "ready()"}},
                ],
            }
            resource = {"attributes": [{"key": "service.name", "value": {"stringValue": f"{name}/{process}"}}]}
            data = {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [span]}]}]}
            (folder / "traces.jsonl").write_text(json.dumps(data) + "\n")
        return tmp_path

    return write


def shown(followed):
    followed.look()
    while followed.read():
        pass
    return Watch(followed).take()


def test_the_newest_run_is_followed_as_soon_as_it_begins(runs):
    folder = runs("2026-11-18T10-00-00")
    followed = Followed(str(folder))
    assert shown(followed).verdict.startswith("2026-11-18T10-00-00/1 started in 1 s")

    runs("2026-11-18T11-00-00")

    assert shown(followed).verdict.startswith("2026-11-18T11-00-00/1 started in 1 s")


def test_an_older_run_that_is_copied_to_it_is_not(runs):
    folder = runs("2026-11-18T10-00-00")
    followed = Followed(str(folder))
    shown(followed)
    live = followed.live

    runs("2026-11-18T09-00-00")
    shown(followed)

    assert live is followed.live


def test_a_run_that_was_asked_for_stays(runs):
    folder = runs("2026-11-18T10-00-00")
    followed = Followed(str(folder), "2026-11-18T10-00-00")

    runs("2026-11-18T11-00-00")

    assert shown(followed).verdict.startswith("2026-11-18T10-00-00/1")


def test_before_there_is_a_folder_it_waits(tmp_path):
    followed = Followed(str(tmp_path / "runs"))

    assert "no process yet: otel-perf run -- python app.py" == shown(followed).verdict


def test_the_first_process_is_shown_and_the_others_one_after_the_other(runs):
    followed = Followed(str(runs("r", "9", "10", "8")), "r")
    names = []
    for step in (1, 1, 1, -1):
        names.append(shown(followed).context.split(", ")[1])
        followed.turn(step)

    assert ["process 9 (2 of 3)", "process 10 (3 of 3)", "process 8 (1 of 3)", "process 9 (2 of 3)"] == names
    assert "process 8 (1 of 3)" in shown(followed).context
    with pytest.raises(UserError, match="no process '7'"):
        Followed(str(runs("s")), "s", "7")


def test_a_run_that_was_removed_is_shown_as_far_as_it_was_read(runs):
    folder = runs("r")
    followed = Followed(str(folder), "r")
    shown(followed)

    shutil.rmtree(folder / "r")

    found = shown(followed)
    assert "the folder of this run was removed; what is shown is all that was read" == found.notice
    assert found.verdict.startswith("r/1 started in 1 s")


def test_a_run_that_was_written_anew_is_read_anew(runs):
    folder = runs("r")
    with (folder / "r" / "1" / "traces.jsonl").open("a") as file:
        file.write("\n" * 50)  # the other one is shorter
    followed = Followed(str(folder), "r")
    shown(followed)

    shutil.rmtree(folder / "r")
    runs("r", seconds=3)
    shown(followed)

    assert shown(followed).verdict.startswith("r/1 started in 3 s: the budget of 2 s exceeded by 1 s")


def test_the_last_ten_seconds_are_not_eleven(runs):
    """Totals come once a second, a moment earlier or later each: one thread cannot have worked for longer."""
    folder = runs("r")
    lines = []
    for second in range(1, 31):
        time = START + second * 1_000_000_000 - (second == 30) * 1_000_000  # the newest came a moment early
        stamps = {"timeUnixNano": str(time), "startTimeUnixNano": str(START)}
        work = [{"key": key, "value": {"stringValue": "m.work"}} for key in ("path", "function")]
        metrics = [
            {"name": f"otel_perf.profile.{part}", "sum": {"dataPoints": [{**stamps, "attributes": work, value: total}]}}
            for part, value, total in (
                ("calls", "asInt", str(second * 4)), ("time", "asDouble", second), ("self_time", "asDouble", second),
            )
        ]  # fmt: skip
        point = {"attributes": work[1:], "count": str(second * 4), "sum": second, "max": 0.25, "scale": 0}
        point |= {**stamps, "positive": {"offset": -3, "bucketCounts": [str(second * 4)]}}
        metrics.append(
            {"name": "otel_perf.function.duration", "unit": "s", "exponentialHistogram": {"dataPoints": [point]}}
        )
        lines.append(json.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": metrics}]}]}) + "\n")
    (folder / "r" / "1" / "metrics.jsonl").write_text("".join(lines))

    (work,) = shown(Followed(str(folder), "r")).functions

    assert (40, 10.0) == (work.recent_calls, work.recent_own)


def test_an_attribute_by_two_names_is_told_once(runs):
    folder = runs("r")
    points = []
    for second in (1, 2):
        time = str(START + second * 1_000_000_000)
        names = [{"key": "cpython.gc.generation", "value": {"intValue": "2"}}, {"key": "generation", "value": {"stringValue": "2"}}]  # fmt: skip
        points.append(
            {"timeUnixNano": time, "startTimeUnixNano": str(START), "asInt": str(second), "attributes": names}
        )
    metric = {"name": "cpython.gc.collections", "sum": {"isMonotonic": True, "dataPoints": points}}
    line = json.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric]}]}]}) + "\n"
    (folder / "r" / "1" / "metrics.jsonl").write_text(line)
    followed = Followed(str(folder), "r")
    shown(followed)

    assert ["garbage collections (2)"] == [one.label for one in Watch(followed).take(advanced=True).others]


def test_all_of_a_run_is_loaded_and_who_waits_is_told(runs, monkeypatch):
    monkeypatch.setattr("otel_perf.view.live.SLICE", 100)
    seen = []

    live = load(str(runs("r", "1")), None, None, lambda live: seen.append(live.read))

    assert 1 == live.spans
    assert seen


def test_what_is_dear_is_made_less_often(monkeypatch, runs):
    now = [100.0]
    monkeypatch.setattr(snapshot, "monotonic", lambda: now[0])
    watch = Watch(Followed(str(runs("r")), "r"))

    def make():
        now[0] += 0.5  # it takes that long
        made.append(now[0])
        return len(made)

    made: list[float] = []
    for key in range(200):  # one a second, and another one each time
        now[0] += 1.0
        watch._now_and_then("dear", key, make)

    assert 9 <= len(made) <= 11  # 2.5 % of the time


def test_what_depends_on_nothing_new_is_made_once(runs):
    watch = Watch(Followed(str(runs("r")), "r"))
    made: list[int] = []

    for _ in range(5):
        watch._now_and_then("cheap", "same", lambda: made.append(1))

    assert [1] == made


def test_a_start_that_goes_on_past_its_budget_has_lasted_as_long_as_its_process_last_said(tmp_path, monkeypatch):
    """No span ends any more: only the budget's value grows."""
    now = [100.0]
    monkeypatch.setattr(snapshot, "monotonic", lambda: now[0])
    folder = tmp_path / "r" / "1"
    folder.mkdir(parents=True)

    def judge(seconds):
        value = {"timeUnixNano": str(START + int(seconds * 1e9)), "asDouble": seconds, "attributes": [BUDGET]}
        metric = {"name": "otel_perf.budget.value", "gauge": {"dataPoints": [value]}}
        data = {"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric]}]}]}
        with (folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(data) + "\n")

    phase = {
        "traceId": f"{1:032x}", "spanId": f"{2:016x}", "parentSpanId": f"{1:016x}", "name": "Load",
        "startTimeUnixNano": str(START), "endTimeUnixNano": str(START + 1_000_000_000),
        "attributes": [{"key": "otel_perf.kind", "value": {"stringValue": "phase"}}],
    }  # fmt: skip
    (folder / "traces.jsonl").write_text(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [phase]}]}]}) + "\n")
    alert = {
        "timeUnixNano": str(START + 2_020_000_000),
        "eventName": "otel_perf.budget.exceeded",
        "attributes": [BUDGET, {"key": "metric", "value": {"stringValue": "otel_perf.startup.duration"}}],
    }
    (folder / "logs.jsonl").write_text(json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [alert]}]}]}) + "\n")
    judge(2.02)
    followed = Followed(str(tmp_path), "r")
    followed.read(9.0)
    watch = Watch(followed)
    assert "the start has no end after 2.02 s" in watch.take().verdict

    judge(60.0)
    now[0] += 60.0
    followed.read(9.0)

    assert "the start has no end after 1 min" in watch.take().verdict


def test_a_run_of_less_than_a_second_is_told_as_long_as_it_was(runs):
    followed = Followed(str(runs("a", seconds=0.477)))

    assert ", after 477 ms" == shown(followed).context[-14:]
