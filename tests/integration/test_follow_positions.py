"""How far a file was sent holds whatever happens to the file, and in whichever form it is sent."""

from __future__ import annotations

import json
import time
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

from otel_perf.export import endpoint
from otel_perf.export.follow import stream
from otel_perf.export.follow.follower import Follower
from otel_perf.export.follow.starts import ROOT
from otel_perf.export.otlp_json import SENT_BY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PROTOCOLS = ("http/protobuf", "grpc", "http/json")
START = 1_795_000_000_000_000_000
SIGNALS = {
    "traces": ("resourceSpans", "scopeSpans", "spans"),
    "metrics": ("resourceMetrics", "scopeMetrics", "metrics"),
    "logs": ("resourceLogs", "scopeLogs", "logRecords"),
}


def record(signal: str, number: int) -> dict[str, Any]:
    """Return a span, a metric with the two points of *number* and *number* + 1, or a log record."""
    when = {"startTimeUnixNano": str(START), "endTimeUnixNano": str(START + number)}
    if signal == "traces":
        return {"traceId": f"{1:032x}", "spanId": f"{number + 1:016x}", "name": "load", **when}
    if signal == "logs":
        return {"timeUnixNano": str(START + number), "body": {"stringValue": str(number)}}
    points = [
        {"attributes": [{"key": "n", "value": {"intValue": str(each)}}], "timeUnixNano": str(START), "asInt": str(each)}
        for each in (number, number + 1)
    ]
    return {"name": f"m{number // 20}", "gauge": {"dataPoints": points}}


def line(signal: str, numbers: range) -> bytes:
    groups, scopes, records = SIGNALS[signal]
    step = 2 if signal == "metrics" else 1
    halves = (numbers[: len(numbers) // 2], numbers[len(numbers) // 2 :])
    scoped = [
        {"scope": {"name": name}, records: [record(signal, number) for number in half[::step]]}
        for name, half in zip("ab", halves, strict=True)
    ]
    text = json.dumps({groups: [{"resource": {"attributes": []}, scopes: scoped}]}, separators=(",", ":"))
    return text.encode() + b"\n"


def came(there: Any, signal: str) -> list[int]:
    """Return the numbers of the records that have come; metric points that end their series apart."""
    if signal == "traces":
        return [int(one["span_id"], 16) - 1 for one in there.spans()]
    if signal == "metrics":
        return [one["point"]["value"] for one in there.points()]
    return [
        int(one.body.string_value)
        for request in there.requests("logs")
        for group in request["message"].resource_logs
        for scoped in group.scope_logs
        for one in scoped.log_records
    ]


@pytest.fixture
def follow(folder: Path) -> Iterator[Callable[..., Follower]]:
    """Return a function that makes a Follower."""
    made: list[Follower] = []

    def make(there: Any, protocol: str = "http/protobuf", **options: Any) -> Follower:
        found = endpoint.load(there.url(protocol), protocol, {})
        for target in found.targets.values():
            target.interval = 0.01
        made.append(Follower([str(folder)], found, **options))
        return made[-1]

    yield make
    for follower in made:
        follower.end()


@pytest.mark.parametrize("then", PROTOCOLS)
@pytest.mark.parametrize("signal", SIGNALS)
def test_who_goes_on_in_another_form_within_a_line_sends_each_record_once(
    signal, then, folder, receiver, follow, monkeypatch, send_all
):
    file = folder / f"{signal}.jsonl"
    file.write_bytes(line(signal, range(100)) + line(signal, range(100, 200)))
    there = receiver()
    monkeypatch.setattr(stream, "MAX_RECORDS", 70 if signal != "metrics" else 2)
    first = follow(there, live=False)
    first.step()
    first.end()
    position = json.loads((folder / "sent.json").read_text(encoding="utf-8"))["files"][file.name]
    assert (0, len(came(there, signal))) == (position["offset"], position["records"])
    assert 0 < position["records"] < 100

    second = follow(there, then, live=False)
    send_all(second)

    assert list(range(200)) == sorted(came(there, signal))
    assert 200 - position["records"] == second.sent[signal]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("theirs", [False, True])
def test_who_counts_other_spans_goes_on_without_losing_one(
    theirs, protocol, folder, receiver, follow, monkeypatch, send_all
):
    """A program leaves out what the application's own exporter sends, replay does not: they count differently."""
    data = json.loads(line("traces", range(100)))
    scopes = data["resourceSpans"][0]["scopeSpans"]
    scopes[0]["scope"]["attributes"] = [{"key": SENT_BY, "value": {"stringValue": "application"}}]
    (folder / "traces.jsonl").write_text(json.dumps(data, separators=(",", ":")) + "\n", encoding="utf-8")
    there = receiver()
    monkeypatch.setattr(stream, "MAX_RECORDS", 30)
    first = follow(there, live=False, theirs=theirs)
    first.step()
    first.end()
    assert list(range(30) if theirs else range(50, 80)) == came(there, "traces")

    send_all(follow(there, protocol, live=False, theirs=not theirs))

    ours = set(range(50, 100))
    assert (ours | set(range(30)) if theirs else set(range(100))) == set(came(there, "traces"))


def test_end_of_all_series_that_was_sent_in_part_goes_on_where_it_stopped(
    folder, receiver, follow, monkeypatch, send_all
):
    (folder / "metrics.jsonl").write_bytes(line("metrics", range(100)))
    ended = {"timeUnixNano": str(START), "eventName": "otel_perf.process.ended", "body": {"stringValue": "0"}}
    group = {"scopeLogs": [{"logRecords": [ended]}]}
    (folder / "logs.jsonl").write_text(json.dumps({"resourceLogs": [group]}, separators=(",", ":")) + "\n")
    there = receiver()
    monkeypatch.setattr(stream, "MAX_RECORDS", 60)

    def ends() -> list[tuple[str, int]]:
        return sorted((one["metric"], one["attributes"]["n"]) for one in there.points() if one["point"].get("flags"))

    first = follow(there, live=False)
    for _ in range(20):
        if ends():
            break
        first.step()
    first.end()
    assert 0 < len(ends()) < 100

    send_all(follow(there, live=False))

    assert [(f"m{number // 20}", number) for number in range(100)] == sorted(ends(), key=lambda one: one[1])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_file_that_was_removed_is_sent_from_its_beginning_although_it_is_longer_now(
    protocol, folder, receiver, follow, send_all
):
    file, there = folder / "traces.jsonl", receiver()
    file.write_bytes(line("traces", range(100)))
    follower = follow(there, protocol)
    send_all(follower)
    assert list(range(100)) == sorted(came(there, "traces"))

    file.unlink()
    file.write_bytes(b"".join(line("traces", range(first, first + 50)) for first in range(100, 300, 50)))
    time.sleep(0.05)
    send_all(follower)

    assert list(range(300)) == sorted(came(there, "traces"))
    assert 0 == follower.removed


def test_a_root_is_waited_for_in_bounded_memory_with_rests_and_not_behind_where_it_is_looked_for(
    folder, receiver, follow, monkeypatch
):
    file, one = folder / "traces.jsonl", line("traces", range(100))
    file.write_bytes(one * (2 * 10**7 // len(one)))
    follower = follow(receiver(), hold=60.0)
    (held,) = (each for each in follower._streams if each.signal == "traces")
    now, looks = follower.clock.now(), []
    monkeypatch.setattr(follower.pace, "look", lambda: looks.append(1))

    tracemalloc.start()
    try:
        assert held.is_held(now, follower.pace)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 6 * 10**6, "of the 20 MB of the file"
    assert len(looks) >= 10
    monkeypatch.setattr(stream, "LOOK", 10**7)
    assert not held.is_held(now, follower.pace)


def test_a_root_that_is_there_ends_the_wait(folder, receiver, follow):
    follower = follow(receiver(), hold=60.0)
    (held,) = (each for each in follower._streams if each.signal == "traces")
    now = follower.clock.now()
    assert held.is_held(now, follower.pace)

    (folder / "traces.jsonl").write_bytes(line("traces", range(100)) + b"[" + ROOT + b"]\n")

    assert not held.is_held(now, follower.pace)
