"""What is sent of metrics: deltas where they are preferred, bounded call paths, and an end where a process has ended."""

from __future__ import annotations

import json
import textwrap
import time
from collections import defaultdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from otel_perf.export import endpoint
from otel_perf.export.follow import stream
from otel_perf.export.follow.follower import Follower
from otel_perf.export.parts import earlier_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROTOCOLS = ("http/protobuf", "grpc", "http/json")
PREFERENCE = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"
START = 1_795_000_000_000_000_000
SECOND = 10**9


def time_of(one: dict[str, Any]) -> int:
    return int(one["point"]["timeUnixNano"])


every_protocol = pytest.mark.parametrize("protocol", PROTOCOLS)


def targets(receiver: Any, protocol: str, **environ: str) -> Any:
    found = endpoint.load(receiver.url(protocol), protocol, environ)
    for target in found.targets.values():
        target.interval = 0.05
    return found


def text(key: str, value: str) -> dict[str, Any]:
    return {"key": key, "value": {"stringValue": value}}


def point(value: int | float, second: int, *pairs: dict[str, Any]) -> dict[str, Any]:
    shown = {"asInt": str(value)} if isinstance(value, int) else {"asDouble": value}
    when = {"startTimeUnixNano": str(START), "timeUnixNano": str(START + second * SECOND)}
    return {"attributes": list(pairs), **when, **shown}


def counter(name: str, *points: dict[str, Any], monotonic: bool = True) -> dict[str, Any]:
    body = {"aggregationTemporality": 2, "dataPoints": list(points)} | ({"isMonotonic": True} if monotonic else {})
    return {"name": name, "unit": "1", "sum": body}


def gauge(name: str, *points: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "unit": "1", "gauge": {"dataPoints": list(points)}}


def histogram(name: str, count: int, second: int) -> dict[str, Any]:
    when = {"startTimeUnixNano": str(START), "timeUnixNano": str(START + second * SECOND)}
    numbers = {"count": str(count), "sum": count / 2, "scale": 0, "zeroCount": "0"}
    one = {"attributes": [], **when, **numbers, "positive": {"offset": -2, "bucketCounts": [str(count)]}}
    return {"name": name, "unit": "s", "exponentialHistogram": {"aggregationTemporality": 2, "dataPoints": [one]}}


def line(*metrics: dict[str, Any]) -> bytes:
    scoped = {"scope": {"name": "otel_perf", "version": "0.1.0"}, "metrics": list(metrics)}
    resource = {"attributes": [text("service.instance.id", "one")]}
    return json.dumps({"resourceMetrics": [{"resource": resource, "scopeMetrics": [scoped]}]}).encode() + b"\n"


def second(number: int) -> bytes:
    """Return the line of one second of a program: a counter, a sampled one, an UpDown one, a gauge, a histogram."""
    return line(
        counter("orders", point(number * number, number, text("kind", "big")), point(number, number)),
        counter("process.cpu.time", point(number / 4, number)),
        counter("process.memory.usage", point(100 - number, number), monotonic=False),
        gauge("temperature", point(number / 8, number)),
        histogram("lasted", 3 * number, number),
    )


@pytest.fixture
def follow() -> Iterator[Callable[..., Any]]:
    made: list[Any] = []

    def make(folder: Path, found: Any, **options: Any) -> Any:
        made.append(Follower([str(folder)], found, **options))
        return made[-1]

    yield make
    for follower in made:
        follower.end()


def series(receiver: Any) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    """Return the points that came, by metric and attributes."""
    found = defaultdict(list)
    for one in receiver.points():
        key = one["metric"], *sorted(one["attributes"].items())
        found[key].append({**one["point"], "temporality": one["temporality"]})
    return found


# --- deltas ----------------------------------------------------------------------------------------------------------


def assert_adds_up(there: Any, last: int) -> None:
    """Each series' deltas cover its time without a gap, and are in all what it counted up to the second *last*."""
    found = {key: [one for one in points if "flags" not in one] for key, points in series(there).items()}
    expected = {("orders",): last, ("orders", ("kind", "big")): last * last, ("process.cpu.time",): last / 4}
    for key, total in expected.items():
        points = found[key]
        assert {1} == {one["temporality"] for one in points}
        assert total == sum(one["value"] for one in points)
        starts, times = ([one[key] for one in points] for key in ("startTimeUnixNano", "timeUnixNano"))
        assert [START, *times[:-1]] == starts
    durations = found[("lasted",)]
    assert {1} == {one["temporality"] for one in durations}
    assert (
        3 * last
        == sum(one["count"] for one in durations)
        == sum(sum(one["positive"]["bucketCounts"]) for one in durations)
    )
    assert 1.5 * last == sum(one["sum"] for one in durations)
    assert [100 - number for number in range(1, last + 1)] == [one["value"] for one in found[("process.memory.usage",)]]
    assert {2} == {one["temporality"] for one in found[("process.memory.usage",)]}
    assert [number / 8 for number in range(1, last + 1)] == [one["value"] for one in found[("temperature",)]]


@every_protocol
def test_deltas_add_up_to_what_the_folder_has(protocol, folder, receiver, follow, send_all):
    (folder / "metrics.jsonl").write_bytes(b"".join(second(number) for number in range(1, 8)))
    there = receiver()

    send_all(follow(folder, targets(there, protocol, **{PREFERENCE: "DELTA"})))

    assert_adds_up(there, 7)


@every_protocol
def test_request_that_is_made_again_has_the_same_deltas(protocol, folder, receiver, follow, send_all):
    (folder / "metrics.jsonl").write_bytes(second(1) + second(2))
    there = receiver()
    follower = follow(folder, targets(there, protocol, **{PREFERENCE: "delta"}))
    send_all(follower)
    there.behave(status=503, retry_after=0, times=2)
    with (folder / "metrics.jsonl").open("ab") as file:
        file.write(second(3))
    time.sleep(0.1)
    follower.step()
    with (folder / "metrics.jsonl").open("ab") as file:
        file.write(second(4))
    time.sleep(0.1)
    send_all(follower)

    assert_adds_up(there, 4)


@every_protocol
@pytest.mark.parametrize("most", [2, 7], ids=["inside of a line", "between lines"])
def test_next_process_goes_on_with_the_deltas_where_the_last_one_stopped(
    most, protocol, folder, receiver, follow, monkeypatch, send_all
):
    monkeypatch.setattr(stream, "MAX_RECORDS", most)
    there = receiver()
    for number in range(1, 6):
        with (folder / "metrics.jsonl").open("ab") as file:
            file.write(second(2 * number - 1) + second(2 * number))
        follower = follow(folder, targets(there, protocol, **{PREFERENCE: "delta"}))
        for _ in range(number):
            follower.step()
        follower.end()

    send_all(follow(folder, targets(there, protocol, **{PREFERENCE: "delta"})))

    assert_adds_up(there, 10)


@every_protocol
def test_next_process_goes_on_with_the_deltas_behind_a_wide_gap(
    protocol, folder, receiver, follow, monkeypatch, send_all
):
    """What was sent is removed when there is no room: a long-running process has its first part and the newest ones."""
    monkeypatch.setattr(stream, "MAX_BYTES", 4_000)
    there = receiver()
    first, filler = second(1), b"".join(line(gauge("filler", point(number, number))) for number in range(40))
    (folder / earlier_name("metrics.jsonl", 0)).write_bytes(first)
    (folder / earlier_name("metrics.jsonl", len(first))).write_bytes(filler)
    (folder / earlier_name("metrics.jsonl", len(first + filler))).write_bytes(second(2))
    (folder / "metrics.jsonl").write_bytes(b"")
    send_all(follow(folder, targets(there, protocol, **{PREFERENCE: "delta"})))
    (folder / earlier_name("metrics.jsonl", len(first))).unlink()
    with (folder / "metrics.jsonl").open("ab") as file:
        file.write(second(3))

    send_all(follow(folder, targets(there, protocol, **{PREFERENCE: "delta"})))

    assert [1, 1, 1] == [one["value"] for one in series(there)[("orders",)]]


@every_protocol
def test_low_memory_leaves_what_is_sampled_cumulative(protocol, folder, receiver, follow, send_all):
    (folder / "metrics.jsonl").write_bytes(b"".join(second(number) for number in range(1, 5)))
    there = receiver()

    send_all(follow(folder, targets(there, protocol, **{PREFERENCE: "LowMemory"})))

    found = series(there)
    assert [1, 1, 1, 1] == [one["value"] for one in found[("orders",)]]
    assert [3, 3, 3, 3] == [one["count"] for one in found[("lasted",)]]
    assert [0.25, 0.5, 0.75, 1.0] == [one["value"] for one in found[("process.cpu.time",)]]
    assert {2} == {one["temporality"] for one in found[("process.cpu.time",)]}


def test_follower_that_was_ended_for_a_while_goes_on_with_what_it_knows(folder, receiver, follow, send_all):
    there = receiver()
    follower = follow(folder, targets(there, "http/protobuf", **{PREFERENCE: "delta"}))
    for number in range(1, 5):
        with (folder / "metrics.jsonl").open("ab") as file:
            file.write(second(number))
        time.sleep(0.1)
        send_all(follower)
        follower.end()

    assert_adds_up(there, 4)


def test_follower_sees_after_a_while_that_another_process_has_got_on(folder, receiver, follow, send_all):
    there = receiver()
    delta = targets(there, "http/protobuf", **{PREFERENCE: "delta"})
    (folder / "metrics.jsonl").write_bytes(second(1))
    first = follow(folder, delta)
    send_all(first)
    first.end()
    with (folder / "metrics.jsonl").open("ab") as file:
        file.write(second(2))
    second_one = follow(folder, delta)
    send_all(second_one)
    second_one.end()
    with (folder / "metrics.jsonl").open("ab") as file:
        file.write(second(3))
    time.sleep(0.1)
    send_all(first)

    assert_adds_up(there, 3)


# --- the end of a process --------------------------------------------------------------------------------------------

LAST_WORDS = b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"eventName":"otel_perf.process.ended"}]}]}]}\n'


def ended(receiver: Any) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    return {key: [one for one in points if one.get("flags") == 1] for key, points in series(receiver).items()}


@every_protocol
def test_each_series_of_a_process_that_said_it_ended_has_an_end_behind_its_last_point(
    protocol, folder, receiver, follow, send_all
):
    (folder / "metrics.jsonl").write_bytes(second(1) + second(2))
    (folder / "logs.jsonl").write_bytes(LAST_WORDS)
    before = (folder / "metrics.jsonl").read_bytes()
    there = receiver()

    send_all(follow(folder, targets(there, protocol), live=False))
    send_all(follow(folder, targets(there, protocol), live=False))

    ends = ended(there)
    assert 6 == len(ends)
    assert {1} == {len(points) for points in ends.values()}, "once, whoever looks again"
    assert {START + 2 * SECOND + 10**6} == {points[0]["timeUnixNano"] for points in ends.values()}
    assert all(points[-1].get("flags") == 1 for points in series(there).values())
    assert before == (folder / "metrics.jsonl").read_bytes()


@every_protocol
def test_process_that_did_not_say_so_has_no_end(protocol, folder, receiver, follow, send_all):
    (folder / "metrics.jsonl").write_bytes(second(1))
    there = receiver()

    send_all(follow(folder, targets(there, protocol), live=False))

    assert not any(ended(there).values())
    assert 6 == len(series(there))


@every_protocol
def test_deltas_have_no_end_because_they_need_none(protocol, folder, receiver, follow, send_all):
    (folder / "metrics.jsonl").write_bytes(second(1))
    (folder / "logs.jsonl").write_bytes(LAST_WORDS)
    there = receiver()

    send_all(follow(folder, targets(there, protocol, **{PREFERENCE: "delta"}), live=False))

    assert {("process.memory.usage",), ("temperature",)} == {key for key, points in ended(there).items() if points}


@every_protocol
def test_end_that_a_receiver_did_not_take_is_sent_by_the_next_process(
    protocol, folder, receiver, follow, monkeypatch, send_all
):
    monkeypatch.setattr(stream, "MAX_RECORDS", 6)
    (folder / "metrics.jsonl").write_bytes(second(1))
    (folder / "logs.jsonl").write_bytes(LAST_WORDS)
    there = receiver()
    first = follow(folder, targets(there, protocol), live=False)
    first.step()
    first.step()
    there.behave(status=503)
    while first._failures["metrics"] == 0 and first.step() == 0.0:
        pass
    first.end()
    there.behave()

    send_all(follow(folder, targets(there, protocol), live=False))

    assert {1} == {len(points) for points in ended(there).values()}


PROGRAM = """
    import time
    import otel_perf as perf
    perf.init(service="shop")

    @perf.profile
    def load():
        time.sleep(0.001)

    @perf.profile
    def main():
        load()

    perf.ready()
    end = time.monotonic() + {seconds}
    while time.monotonic() < end:
        main()
        perf.counter("orders").add(1, {{"kind": "big"}})
        time.sleep(0.05)
    {last}
"""


@pytest.mark.parametrize(
    ("protocol", "seconds", "last", "code"),
    [
        ("http/protobuf", 2.5, "", 0),
        ("grpc", 2.5, "", 0),
        ("http/json", 2.5, "", 0),
        ("http/protobuf", 0, "", 0),
        ("http/protobuf", 2.5, "import os, signal; os.kill(os.getpid(), signal.SIGTERM); time.sleep(5)", -15),
        ("http/protobuf", 2.5, "perf.shutdown()", 0),
        ("http/protobuf", 2.5, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -9),
    ],
    ids=["exit", "grpc", "json", "at once", "terminated", "shutdown", "killed"],
)
def test_program_that_ends_cleanly_ends_all_its_series(
    protocol, seconds, last, code, run_python, receiver, tmp_path, metrics_of
):
    """C31: Prometheus makes stale markers of these."""
    there = receiver()
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": there.url(protocol), "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}

    result = run_python(textwrap.dedent(PROGRAM).format(seconds=seconds, last=last), env=env)

    assert (code, "") == (result.returncode, result.stderr)
    found = series(there)
    assert ("otel_perf.self.cpu_time",) in found
    flags = {key: [one.get("flags", 0) for one in points] for key, points in found.items()}
    if code == -9:
        assert not any(map(any, flags.values()))
    else:
        wrong = {key: each for key, each in flags.items() if sum(each) != 1 or each[-1] != 1}
        assert {} == wrong
    assert not any("flags" in one["point"] for one in metrics_of(tmp_path))


# --- few series ------------------------------------------------------------------------------------------------------


@every_protocol
@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("few", {"system.memory.utilization", "otel_perf.system.cpu.utilization"}),
        ("all", {"system.memory.utilization", "otel_perf.system.cpu.utilization", "system.disk.io"}),
        ("none", set()),
    ],
)
def test_of_the_machine_only_what_was_chosen_is_sent(choice, expected, protocol, folder, receiver, follow, send_all):
    names = ("system.memory.utilization", "otel_perf.system.cpu.utilization", "system.disk.io", "process.uptime")
    (folder / "metrics.jsonl").write_bytes(line(*(gauge(name, point(1, 1)) for name in names)))
    there = receiver()

    send_all(follow(folder, targets(there, protocol, OTEL_PERF_SYSTEM_METRICS=choice)))

    assert expected | {"process.uptime"} == {one["metric"] for one in there.points()}


@every_protocol
def test_call_paths_are_bounded_and_conserved_in_a_real_program(protocol, run_python, receiver, tmp_path, metrics_of):
    there = receiver()
    program = """
        import time
        import otel_perf as perf
        perf.init(service="shop")

        def leaf(number):
            @perf.profile(f"f{number}")
            def work():
                time.sleep(0.005 if number > 9 else 0.0002)  # the last two stand out on a busy machine too
            return work

        leaves = [leaf(number) for number in range(12)]

        @perf.profile
        def main():
            for work in leaves:
                work()

        perf.ready()
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            main()
    """
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": there.url(protocol), "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}

    result = run_python(program, env=env | {"OTEL_PERF_PROFILE_SERIES": "4"})

    assert (0, "") == (result.returncode, result.stderr)
    for name in ("otel_perf.profile.calls", "otel_perf.profile.time", "otel_perf.profile.self_time"):
        written = {}
        for one in metrics_of(tmp_path):
            if one["metric"] == name:
                written[one["attributes"]["path"]] = one["point"]["value"]
        points = sorted((one for one in there.points() if one["metric"] == name), key=time_of)
        now = set()
        for _, together in groupby(points, time_of):
            for one in sorted(together, key=lambda one: "flags" not in one["point"]):  # ends first
                (now.discard if "flags" in one["point"] else now.add)(one["attributes"]["path"])
            assert len(now) <= 4 + 1 + 1, "four, what is above them, and the rest"
        sent, words = {}, {}
        for one in points:
            if "flags" not in one["point"]:
                path = one["attributes"]["path"]
                assert one["point"]["value"] >= sent.get(path, 0)
                sent[path], words[path] = one["point"]["value"], one["attributes"]
        assert sum(written.values()) == pytest.approx(sum(sent.values()))
        assert "main" in {each["function"] for each in words.values()}
        assert {"f11", "f10"} <= {each["function"] for each in words.values()}
        assert True is words["overflow"]["otel.metric.overflow"]
        for path, each in words.items():
            assert path == "overflow" or each["depth"] == path.count(".")


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
@pytest.mark.parametrize("known", [True, False], ids=["nothing is sent", "known before"])
def test_exporter_that_does_not_take_encoded_points_gets_them_as_records(
    known, protocol, folder, receiver, follow, send_all
):
    """As with a release that sends nothing when it has nothing to encode; only the ends of series have no place there."""
    from opentelemetry.sdk.metrics.export import MetricExportResult

    (folder / "metrics.jsonl").write_bytes(b"".join(second(number) for number in range(1, 6)))
    (folder / "logs.jsonl").write_bytes(LAST_WORDS)
    there = receiver()
    follower = follow(folder, targets(there, protocol, **{PREFERENCE: "delta"}), live=False)
    exporter = follower._exporter(follower.endpoints.targets["metrics"])
    export = exporter.otlp.export
    exporter.otlp.export = lambda data: export(data) if data.resource_metrics else MetricExportResult.SUCCESS
    exporter.takes_encoded = known

    send_all(follower)

    assert_adds_up(there, 5)
    assert protocol == "grpc" or not any(ended(there).values())  # a gRPC exporter is made anew after a failure
    assert not follower.skipped


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_what_is_damaged_costs_itself_and_is_counted_once(protocol, folder, receiver, follow, send_all):
    broken = counter("broken", {"timeUnixNano": "1", "asInt": "x"}, point(1, 1))
    path = counter("otel_perf.profile.calls", point(1, 1), {"attributes": 3})
    strange = {
        "resourceMetrics": [{"scopeMetrics": [{"metrics": [3, {"name": 4, "sum": 5}, {"gauge": {"dataPoints": 6}}]}]}]
    }
    lines = [line(broken), b'{"resourceMetrics":[torn\n', json.dumps(strange).encode() + b"\n", line(path), second(1)]
    (folder / "metrics.jsonl").write_bytes(b"".join(lines))
    there = receiver()
    there.behave(status=503, retry_after=0, times=2)
    follower = follow(folder, targets(there, protocol))

    send_all(follower)

    values = {one["metric"]: one["point"].get("value") for one in there.points() if one["type"] == "sum"}
    assert 1 == values["orders"]
    assert 1 == follower.skipped.lines["not JSON"]
    assert 3 == follower.skipped.records["sum point without valid numbers"]
