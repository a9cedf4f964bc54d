"""A start arrives in pre-order, with self times that a backend's table can use, and in a size that a backend takes."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from otel_perf.export import endpoint
from otel_perf.export.follow import stream
from otel_perf.export.follow.follower import Follower

PROTOCOLS = ("http/protobuf", "grpc", "http/json")
every_protocol = pytest.mark.parametrize("protocol", PROTOCOLS)

PROGRAM = """
    import time
    import otel_perf as perf
    perf.init(service="shop")

    @perf.profile(span_threshold=0)
    def load(depth):
        if depth:
            load(depth - 1)
            load(depth - 1)

    with perf.phase("CoreInit"):
        load(3)
        import json
    with perf.phase("UI"):
        load(1)
    perf.ready()
    load(0)
    {last}
"""


def assert_pre_order(spans: list[dict[str, Any]]) -> None:
    """The order counts the spans of the start as a walk from its root does, children by their beginning."""
    order = {one["span_id"]: one["attributes"]["otel_perf.order"] for one in spans}
    children: dict[Any, list[dict[str, Any]]] = {}
    for one in sorted(spans, key=lambda one: one["start"]):
        children.setdefault(one["parent_id"], []).append(one)
    walk: list[int] = []

    def visit(one: dict[str, Any]) -> None:
        walk.append(order[one["span_id"]])
        for child in children.get(one["span_id"], []):
            visit(child)

    (root,) = children[None]
    visit(root)
    assert list(range(len(spans))) == walk


@pytest.mark.parametrize(
    ("protocol", "last"),
    [*((protocol, "time.sleep(2)") for protocol in PROTOCOLS), ("http/protobuf", "")],
    ids=[*PROTOCOLS, "at once"],
)
def test_start_of_a_program_comes_in_pre_order_with_self_times(
    protocol, last, run_python, receiver, tmp_path, spans_of
):
    there = receiver()
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": there.url(protocol), "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}

    assert 0 == run_python(PROGRAM.format(last=last), env=env).returncode

    spans = there.spans()
    root = next(one for one in spans if one["name"] == "startup")
    start = [one for one in spans if one["trace_id"] == root["trace_id"]]
    assert len(start) > 20
    assert_pre_order(start)
    assert root["attributes"]["otel_perf.depth"] == 0 == root["attributes"]["otel_perf.order"]
    for one in spans:
        assert one["attributes"]["otel_perf.self_ns"] == round(one["attributes"]["otel_perf.self_time"] * 1e9)
    assert not any("otel_perf.self_ns" in one["attributes"] for one in spans_of(tmp_path))
    later = [one for one in spans if one["trace_id"] != root["trace_id"]]
    assert later
    assert not any("otel_perf.order" in one["attributes"] for one in later)


BIG = """
    import sys
    import otel_perf as perf
    perf.init(service="big")

    @perf.profile
    def call(number):
        load()

    @perf.profile
    def load():
        import otel_perf.recorder

    @perf.profile(span_threshold=0)
    def asked():
        pass

    with perf.phase("CoreInit"):
        for number in range({number}):
            call(number)
            if not number % 500:
                asked()
    perf.ready()
"""


@every_protocol
@pytest.mark.slow
def test_start_of_twenty_thousand_spans_is_sent_in_less_than_4_mb_and_whole_in_the_folder(
    protocol, run_python, receiver, tmp_path, spans_of, assert_whole_tree
):
    """C30."""
    program = BIG.format(number=10_000)
    assert 0 == run_python(program, env={"OTEL_PERF_STARTUP_SPAN_THRESHOLD": "0"}).returncode
    written = spans_of(tmp_path)
    assert len(written) > 20_000
    there = receiver()

    seconds = send(tmp_path, there, protocol)

    spans = there.spans()
    assert_whole_tree(spans)
    size = sum(len(request["message"].SerializeToString()) for request in there.requests("traces"))
    assert 3.5e6 < size <= 4.0e6
    stand = [one for one in spans if "otel_perf.folded" in one["attributes"]]
    number = sum(one["attributes"]["otel_perf.folded"] for one in stand)
    assert len(written) == len(spans) - len(stand) + number
    root = next(one for one in spans if one["name"] == "startup")
    assert number == root["attributes"]["otel_perf.startup.folded"]
    assert 20 == sum(one["name"] == "asked" for one in spans)
    assert {"CoreInit"} <= {one["name"] for one in spans}
    assert_pre_order(spans)
    print(f"{protocol}: {len(written)} spans became {len(spans)}, {size} bytes, in {seconds:.2f} s of CPU")


def test_start_that_was_sent_in_part_goes_on_with_the_same_spans(run_python, receiver, tmp_path, spans_of, monkeypatch):
    """Whoever goes on finds the same groups and numbers."""
    monkeypatch.setattr("otel_perf.export.follow.starts.LIMIT", 300_000)
    monkeypatch.setattr(stream, "MAX_RECORDS", 100)
    assert 0 == run_python(BIG.format(number=1000), env={"OTEL_PERF_STARTUP_SPAN_THRESHOLD": "0"}).returncode
    there = receiver()
    (folder,) = (tmp_path / ".otel-perf").glob("*/*/")
    targets = endpoint.load(there.url("http/protobuf"), "http/protobuf", {})
    for _ in range(200):
        follower = Follower([str(folder)], targets, live=False)
        for _ in range(3):
            follower.step()
        left = follower.waiting()
        follower.end()
        if not left:
            break

    spans = there.spans()
    assert len({one["span_id"] for one in spans}) == len(spans)
    assert_pre_order(spans)
    stand = [one["attributes"]["otel_perf.folded"] for one in spans if "otel_perf.folded" in one["attributes"]]
    assert len(spans_of(tmp_path)) == len(spans) - len(stand) + sum(stand)


@every_protocol
@pytest.mark.parametrize("delivered", [50, 450], ids=["within the first line", "some lines"])
def test_start_of_which_a_part_went_before_its_root_was_there_loses_no_span_to_another_sender(
    delivered, protocol, receiver, tmp_path, monkeypatch
):
    """A span that would stand for others may be among those that were sent as they were."""
    monkeypatch.setattr("otel_perf.export.follow.starts.LIMIT", 100_000)
    monkeypatch.setattr(stream, "MAX_RECORDS", 50)
    folder = tmp_path / ".otel-perf" / "2026-11-25T10-15-02" / "4194305"
    folder.mkdir(parents=True)
    file, root = folder / "traces.jsonl", 1001
    imports = [one_span(number, "import", number % 7 * 1000, root) for number in range(1, root)]
    file.write_bytes(b"".join(one_line(imports[first : first + 100]) for first in range(0, 500, 100)))
    there = receiver()

    def follower(protocol: str) -> Follower:
        return Follower([str(folder)], endpoint.load(there.url(protocol), protocol, {}), live=False)

    first = follower("http/protobuf")
    while len(there.spans()) < delivered:
        first.step()
    first.end()
    with file.open("ab") as more:
        more.write(one_line(imports[500:]) + one_line([one_span(root, "startup", 10**9)]))
    second = follower(protocol)
    while second.step() == 0.0:
        assert not second.failing
    second.end()

    assert list(range(1, root + 1)) == sorted(int(one["span_id"], 16) for one in there.spans())


def one_span(number: int, kind: str, took: int, parent: int = 0) -> dict[str, Any]:
    begin = 1_795_000_000_000_000_000 + (number if parent else 0) * 1000
    words = {"otel_perf.kind": {"stringValue": kind}, "otel_perf.depth": {"intValue": "1"}}
    return {
        "traceId": "8" + "0" * 31,
        "spanId": f"{number:016x}",
        **({"parentSpanId": f"{parent:016x}"} if parent else {}),
        "startTimeUnixNano": str(begin),
        "endTimeUnixNano": str(begin + took),
        "attributes": [{"key": key, "value": value} for key, value in words.items()],
        "name": f"load {number}",
    }


def one_line(spans: list[dict[str, Any]]) -> bytes:
    group = {"resource": {"attributes": []}, "scopeSpans": [{"scope": {"name": "otel_perf"}, "spans": spans}]}
    return json.dumps({"resourceSpans": [group]}, separators=(",", ":")).encode() + b"\n"


def send(tmp_path: Any, there: Any, protocol: str) -> float:
    (folder,) = (tmp_path / ".otel-perf").glob("*/*/")
    follower = Follower([str(folder)], endpoint.load(there.url(protocol), protocol, {}), live=False)
    begun = time.process_time()
    while follower.step() == 0.0:
        assert not follower.failing
    follower.end()
    return time.process_time() - begun


def test_trace_ids_never_begin_with_a_zero():
    """Tempo cuts leading zeros in some places and not in others."""
    from otel_perf import recorder

    assert all(f"{recorder.new_trace_id():032x}"[0] in "89abcdef" for _ in range(10_000))
