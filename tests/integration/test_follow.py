"""What is in the run folder arrives at a real receiver: whole, as it is, once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.trace.export import SpanExportResult

from otel_perf.export import endpoint
from otel_perf.export.folder import RunFolder
from otel_perf.export.follow.files import is_waiting, mark, unsent_records
from otel_perf.export.follow.follower import Follower, send_rest_as_json
from otel_perf.export.follow.sender import Sender

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SRC = str(Path(__file__).resolve().parents[2] / "src")
PROTOCOLS = ("http/protobuf", "grpc", "http/json")
OFFICIAL = ("http/protobuf", "grpc")
START = 1_795_000_000_000_000_000

every_protocol = pytest.mark.parametrize("protocol", PROTOCOLS)
official_protocols = pytest.mark.parametrize("protocol", OFFICIAL)

# Every kind of record that a program can leave: phases, imports, functions, exceptions, events, links, a remote parent.
PROGRAM = """
    import otel_perf as perf
    perf.init(service="shop", version="1.4.2")
    from opentelemetry import trace
    from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, TraceFlags, set_span_in_context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    @perf.profile(span_threshold=0)
    def load(fail=False):
        if fail:
            raise ValueError("no such ☃")

    with perf.phase("CoreInit"):
        load()
        try:
            load(True)
        except ValueError:
            pass
    perf.ready()
    tracer = trace.get_tracer("shop.orders", "2.0")
    other = SpanContext(0xABC, 0xDEF, True, TraceFlags(1))
    with tracer.start_as_current_span("order", kind=SpanKind.SERVER, links=[Link(other, {"why": "batch"})]) as span:
        span.set_attributes({"n": 2**40, "x": 1.5, "ok": True, "tags": ["a", "b"], "empty": ""})
        span.add_event("paid", {"sum": 3.25})
        span.set_status(trace.StatusCode.ERROR, "declined")
    remote = TraceContextTextMapPropagator().extract(
        {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    )
    with tracer.start_as_current_span("remote child", context=remote, kind=SpanKind.CONSUMER):
        for _ in range(50):
            load()
"""


def endpoints(receiver: Any, protocol: str, **variables: str) -> Any:
    environ = {f"OTEL_EXPORTER_OTLP_{name.upper()}": value for name, value in variables.items()}
    found = endpoint.load(receiver.url(protocol), protocol, environ)
    for target in found.targets.values():
        target.interval = 0.1
    return found


def attribute(key: str, value: str) -> dict[str, Any]:
    return {"key": key, "value": {"stringValue": value}}


def span(number: int, kind: str = "function", size: int = 0) -> dict[str, Any]:
    return {
        "traceId": f"{number // 1000 + 1:032x}",
        "spanId": f"{number + 1:016x}",
        "name": f"load {number}",
        "kind": 1,
        "attributes": [attribute("otel_perf.kind", kind), attribute("text", "x" * size)],
        "startTimeUnixNano": str(START + number),
        "endTimeUnixNano": str(START + number + 10),
    }


def line(spans: list[dict[str, Any]]) -> bytes:
    scoped = [{"scope": {"name": "otel_perf", "version": "0.1.0"}, "spans": spans}]
    group = {"resource": {"attributes": [attribute("service.name", "shop")]}, "scopeSpans": scoped}
    return json.dumps({"resourceSpans": [group]}, separators=(",", ":")).encode() + b"\n"


def metric(name: str, kind: str, points: list[dict[str, Any]], **body: Any) -> dict[str, Any]:
    return {"name": name, "unit": "s", kind: {"dataPoints": points, **body}}


def metric_line(metrics: list[dict[str, Any]]) -> bytes:
    group = {"resource": {"attributes": []}, "scopeMetrics": [{"scope": {"name": "m"}, "metrics": metrics}]}
    return json.dumps({"resourceMetrics": [group]}, separators=(",", ":")).encode() + b"\n"


@pytest.fixture
def follow(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Return a function that makes a Follower; what it says is in its list ``said``."""
    made: list[Any] = []

    def make(folder: Path, targets: Any, **options: Any) -> Any:
        said: list[str] = []
        follower = Follower([str(folder)], targets, complain=said.append, **options)
        follower.said = said  # type: ignore[attr-defined]
        made.append(follower)
        return follower

    yield make
    for follower in made:
        follower.end()


def numbers(spans: list[dict[str, Any]]) -> list[int]:
    return [int(one["span_id"], 16) - 1 for one in spans]


# --- as it is in the file ----------------------------------------------------------------------------------


def comparable(spans: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return *spans* without what the exporters do not carry (which process's folder, and the sampled flag), nor adds."""
    found = [{**one, "flags": one["flags"] & 0x300, "attributes": {**one["attributes"]}} for one in spans]
    for one in found:
        one.pop("process", None)
        plain = () if "otel_perf.kind" in one["attributes"] else ("otel_perf.depth",)
        for added in ("otel_perf.self_ns", "otel_perf.order", *plain):  # see test_follow_start.py
            one["attributes"].pop(added, None)
    return sorted(found, key=lambda one: one["span_id"])


@every_protocol
def test_every_span_of_a_program_arrives_as_it_is_in_the_file(
    protocol, tmp_path, run_python, receiver, follow, spans_of, assert_whole_tree, send_all
):
    assert 0 == run_python(PROGRAM).returncode
    (process,) = (tmp_path / ".otel-perf").glob("*/*/")
    there = receiver()

    send_all(follow(process, endpoints(there, protocol)))

    written = spans_of(tmp_path)
    assert {"startup", "CoreInit", "load", "order", "remote child"} <= {one["name"] for one in written}
    assert comparable(written) == comparable(there.spans())
    assert_whole_tree(there.spans(), external={"b7ad6b7169203331"})
    assert {protocol} == {request["protocol"] for request in there.requests()}


@every_protocol
def test_every_metric_point_of_a_program_arrives_as_it_is_in_the_file(
    protocol, tmp_path, run_python, receiver, follow, metrics_of, send_all
):
    assert 0 == run_python(PROGRAM).returncode
    (process,) = (tmp_path / ".otel-perf").glob("*/*/")
    gauge = metric("temperature", "gauge", [{"timeUnixNano": str(START + s), "asDouble": s / 2} for s in range(10)])
    delta = metric(
        "orders", "sum", [{"startTimeUnixNano": "1", "timeUnixNano": "2", "asInt": "-7"}], aggregationTemporality=1
    )
    with (process / "metrics.jsonl").open("ab") as file:
        file.write(metric_line([gauge, delta]))
        file.write(metric_line([gauge]))
    there = receiver()

    send_all(follow(process, endpoints(there, protocol)))

    written = metrics_of(tmp_path)
    assert {"exponentialHistogram", "sum", "gauge"} == {one["type"] for one in written}
    assert flat(written) == flat(there.points())


SHAPED = ("otel_perf.profile.", "system.", "cpython.")  # what is sent of these is chosen: test_follow_metrics.py


def flat(points: list[dict[str, Any]]) -> list[str]:
    """Return *points* in one order, as texts, with what protobuf leaves out when it is zero."""
    found = []
    for one in points:
        if one["metric"].startswith(SHAPED) or one["point"].get("flags") == 1:
            continue
        point = {"startTimeUnixNano": 0, **one["point"]}
        for key in ("asInt", "asDouble", "flags"):
            point.pop(key, None)
        if one["type"] == "gauge":
            point["startTimeUnixNano"] = 0
        rest = {key: value for key, value in one.items() if key not in ("point", "process")}
        found.append(json.dumps({**rest, "point": point}, sort_keys=True, default=float))
    return sorted(found)


@every_protocol
def test_log_records_arrive_with_name_severity_body_and_span(protocol, folder, receiver, follow, send_all):
    record = {
        "timeUnixNano": str(START),
        "observedTimeUnixNano": str(START + 1),
        "severityNumber": 13,
        "severityText": "WARN",
        "body": {"stringValue": "over budget"},
        "eventName": "otel_perf.budget.exceeded",
        "attributes": [attribute("budget", "startup")],
        "traceId": "0" * 30 + "ab",
        "spanId": "0" * 14 + "cd",
        "flags": 1,
    }
    group = {"resource": {"attributes": []}, "scopeLogs": [{"scope": {"name": "otel_perf"}, "logRecords": [record]}]}
    (folder / "logs.jsonl").write_text(json.dumps({"resourceLogs": [group]}) + "\n", encoding="utf-8")
    there = receiver()

    send_all(follow(folder, endpoints(there, protocol)))

    (request,) = there.requests("logs")
    got = request["message"].resource_logs[0].scope_logs[0].log_records[0]
    assert (START, START + 1, 13, "WARN") == (
        got.time_unix_nano,
        got.observed_time_unix_nano,
        got.severity_number,
        got.severity_text,
    )
    assert ("over budget", "otel_perf.budget.exceeded", "ab", "cd", 1) == (
        got.body.string_value,
        got.event_name,
        got.trace_id.hex().lstrip("0"),
        got.span_id.hex().lstrip("0"),
        got.flags,
    )
    assert {"budget": "startup"} == {pair.key: pair.value.string_value for pair in got.attributes}


@official_protocols
def test_trace_state_dropped_counts_and_schema_urls_arrive(protocol, folder, receiver, follow, send_all):
    one = {**span(1), "traceState": "vendor=1", "droppedAttributesCount": 3, "droppedLinksCount": 2}
    data = json.loads(line([one]))
    data["resourceSpans"][0]["schemaUrl"] = "https://example.org/r"
    data["resourceSpans"][0]["scopeSpans"][0] |= {"schemaUrl": "https://example.org/s"}
    (folder / "traces.jsonl").write_text(json.dumps(data) + "\n", encoding="utf-8")
    there = receiver()

    send_all(follow(folder, endpoints(there, protocol)))

    (group,) = there.requests("traces")[0]["message"].resource_spans
    got = group.scope_spans[0].spans[0]
    assert ("vendor=1", 3, 0, 2) == (
        got.trace_state,
        got.dropped_attributes_count,
        got.dropped_events_count,
        got.dropped_links_count,
    )
    assert ("https://example.org/r", "https://example.org/s") == (group.schema_url, group.scope_spans[0].schema_url)


# --- requests ----------------------------------------------------------------------------------------------


@official_protocols
def test_requests_hold_at_most_2000_spans_and_2_mb_in_the_order_of_the_file(
    protocol, folder, receiver, follow, send_all
):
    big = [span(number, size=30_000) for number in range(4500, 4600)]  # 3 MB on one line
    small = [span(number) for number in range(4500)]
    (folder / "traces.jsonl").write_bytes(line(small) + line(big))
    there = receiver()

    send_all(follow(folder, endpoints(there, protocol)))

    assert list(range(4600)) == numbers(there.spans())
    requests = there.requests("traces")
    assert max(len(request["message"].SerializeToString()) for request in requests) <= 2 * 10**6
    counts = [
        sum(len(scoped.spans) for group in request["message"].resource_spans for scoped in group.scope_spans)
        for request in requests
    ]
    assert [2000, 2000] == counts[:2]
    assert max(counts) <= 2000


@official_protocols
@pytest.mark.parametrize("known", [True, False], ids=["nothing is sent", "known before"])
def test_exporter_that_does_not_take_encoded_spans_gets_them_as_records(
    known, protocol, folder, receiver, follow, send_all
):
    """As with a release that sends nothing when it has nothing to encode, or that has its stub in another place."""
    (folder / "traces.jsonl").write_bytes(line([span(number) for number in range(3000)]))
    there = receiver()
    follower = follow(folder, endpoints(there, protocol))
    exporter = follower._exporter(follower.endpoints.targets["traces"])
    export = exporter.otlp.export
    exporter.otlp.export = lambda spans: export(spans) if list(spans) else SpanExportResult.SUCCESS
    exporter.takes_encoded = known

    send_all(follower)

    assert list(range(3000)) == numbers(there.spans())
    assert 3000 == follower.sent["traces"]


@every_protocol
def test_small_lines_go_together_in_one_request(protocol, folder, receiver, follow, send_all):
    (folder / "traces.jsonl").write_bytes(b"".join(line([span(number)]) for number in range(300)))
    there = receiver()

    send_all(follow(folder, endpoints(there, protocol)))

    assert list(range(300)) == numbers(there.spans())
    assert 1 == len(there.requests())


@every_protocol
def test_gzip_and_headers_are_as_the_environment_says(protocol, folder, receiver, follow, send_all):
    (folder / "traces.jsonl").write_bytes(line([span(1, size=5000)]))
    there = receiver()
    targets = endpoints(there, protocol, compression="gzip", headers="authorization=Bearer%20a%2Cb,x-tenant=7")

    send_all(follow(folder, targets))

    (request,) = there.requests("traces")
    assert ("Bearer a,b", "7") == (request["headers"]["authorization"], request["headers"]["x-tenant"])
    if protocol != "grpc":  # gRPC hides from its servicers how a message was packed
        assert "gzip" == request["headers"]["content-encoding"]
        assert request["size"] < 1500


@every_protocol
def test_endpoints_of_single_signals_are_used_as_they_are(protocol, folder, receiver, follow, send_all):
    (folder / "traces.jsonl").write_bytes(line([span(1)]))
    (folder / "metrics.jsonl").write_bytes(metric_line([metric("m", "gauge", [{"timeUnixNano": "1", "asInt": "1"}])]))
    one, two = receiver(), receiver()
    path = "" if protocol == "grpc" else "/x/metrics"
    targets = endpoint.load(
        None,
        protocol,
        {
            "OTEL_EXPORTER_OTLP_ENDPOINT": one.url(protocol),
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": two.url(protocol) + path,
        },
    )

    send_all(follow(folder, targets))

    assert ["traces"] == [request["signal"] for request in one.requests()]
    assert [("metrics", path)] == [(request["signal"], request["path"]) for request in two.requests()]


# --- once --------------------------------------------------------------------------------------------------


@every_protocol
def test_next_follower_goes_on_where_the_last_one_stopped(protocol, folder, receiver, follow, send_all):
    (folder / "traces.jsonl").write_bytes(b"".join(line([span(n) for n in range(i, i + 1500)]) for i in (0, 1500)))
    there = receiver()
    first = follow(folder, endpoints(there, protocol))
    assert 0.0 == first.step()
    first.end()
    assert 0 < len(there.spans()) < 3000

    send_all(follow(folder, endpoints(there, protocol)))

    assert list(range(3000)) == numbers(there.spans())


@every_protocol
def test_what_is_written_later_is_sent_later_and_a_line_without_end_is_left_for_then(
    protocol, folder, receiver, follow, send_all
):
    there = receiver()
    follower = follow(folder, endpoints(there, protocol))
    whole, torn = line([span(1)]), line([span(2)])
    (folder / "traces.jsonl").write_bytes(whole + torn[:100])
    send_all(follower)
    assert [1] == numbers(there.spans())

    with (folder / "traces.jsonl").open("ab") as file:
        file.write(torn[100:])
    time.sleep(0.2)
    send_all(follower)

    assert [1, 2] == numbers(there.spans())
    assert not follower.skipped


@every_protocol
def test_damaged_line_is_skipped_and_counted_and_costs_nothing_around_it(protocol, folder, receiver, follow, send_all):
    (folder / "traces.jsonl").write_bytes(line([span(1)]) + b'{"resourceSpans":[{"torn\n' + line([span(2)]))
    there = receiver()
    follower = follow(folder, endpoints(there, protocol))

    send_all(follower)

    assert [1, 2] == numbers(there.spans())
    assert {"not JSON": 1} == follower.skipped.lines


@every_protocol
def test_line_that_a_full_disk_tore_costs_itself_and_not_the_one_behind_it(
    protocol, folder, receiver, follow, send_all
):
    half = line([span(1), span(2), span(3)])[:700]
    (folder / "traces.jsonl").write_bytes(half + line([span(4), span(5)]) + line([span(6)]))
    there = receiver()
    follower = follow(folder, endpoints(there, protocol))

    send_all(follower)

    assert [4, 5, 6] == numbers(there.spans())
    assert {"not JSON": 1} == follower.skipped.lines


@every_protocol
def test_damage_is_counted_once_however_often_it_is_read(protocol, folder, receiver, follow, send_all):
    (folder / "traces.jsonl").write_bytes(line([span(1)]) + b"torn\n" + line([span(2)]) + b"\n" + b"torn\n")
    there = receiver()
    there.behave(status=503, retry_after=0, times=3)
    follower = follow(folder, endpoints(there, protocol))

    send_all(follower)

    assert [1, 2] == numbers(there.spans())
    assert {"not JSON": 2} == follower.skipped.lines


@every_protocol
def test_after_sigkill_in_the_middle_everything_arrives_and_one_request_at_most_twice(
    protocol, folder, receiver, follow, send_all
):
    (folder / "traces.jsonl").write_bytes(
        b"".join(line([span(n) for n in range(i, i + 1000)]) for i in range(0, 8000, 1000))
    )
    there = receiver()
    there.behave(delay=0.2)
    program = f"""
        import sys
        sys.path.insert(0, {SRC!r})
        from otel_perf.export import endpoint
        from otel_perf.export.follow.follower import Follower
        follower = Follower([{str(folder)!r}], endpoint.load({there.url(protocol)!r}, {protocol!r}, {{}}))
        while follower.step() == 0.0:
            pass
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)]) as process:
        end = time.monotonic() + 20
        while len(there.requests()) < 2 and time.monotonic() < end:
            time.sleep(0.02)
        process.kill()
    there.behave()

    send_all(follow(folder, endpoints(there, protocol)))

    got = numbers(there.spans())
    assert set(range(8000)) == set(got)
    assert len(got) <= 10_000


def test_two_processes_never_send_the_same_folder_at_once(folder, receiver, follow, send_all):
    (folder / "traces.jsonl").write_bytes(line([span(1)]))
    there = receiver()
    program = f"""
        import sys
        sys.path.insert(0, {SRC!r})
        from otel_perf.export.follow.files import Folder
        folder = Folder({str(folder)!r})
        print(folder.claim(), flush=True)
        sys.stdin.read()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert "True\n" == process.stdout.readline()
        follower = follow(folder, endpoints(there, "http/json"))
        assert [] == follower.folders
        process.kill()

    assert follower.add(str(folder))
    send_all(follower)
    assert [1] == numbers(there.spans())


def test_damaged_position_sends_again_rather_than_never(folder, receiver, follow, send_all):
    (folder / "traces.jsonl").write_bytes(line([span(1)]))
    there = receiver()
    for text in ("", "{", "[]", '{"version":1,"files":{"traces.jsonl":{"offset":-1}}}', '{"version":9,"files":{}}'):
        (folder / "sent.json").write_text(text, encoding="utf-8")
        send_all(follow(folder, endpoints(there, "http/json")))

    assert [1] * 5 == numbers(there.spans())


# --- a signal that is switched off -------------------------------------------------------------------------


def test_of_a_signal_that_is_not_sent_nothing_waits(folder, receiver, follow, send_all):
    (folder / "traces.jsonl").write_bytes(line([span(1)]))
    (folder / "metrics.jsonl").write_bytes(metric_line([metric("m", "gauge", [{"timeUnixNano": "1", "asInt": "1"}])]))
    there = receiver()
    targets = endpoints(there, "http/json")
    del targets.targets["metrics"]
    mark(str(folder), targets.targets)
    assert (True, 1) == (is_waiting(str(folder)), unsent_records(str(folder)))

    send_all(follow(folder, targets))

    assert (False, 0) == (is_waiting(str(folder)), unsent_records(str(folder)))
    kept = json.loads((folder / "sent.json").read_text(encoding="utf-8"))
    assert ["logs", "traces"] == kept["signals"]
    there.behave(status=503)
    follower = follow(folder, endpoints(there, "http/json"))
    follower.step()
    assert (True, 1) == (is_waiting(str(folder)), unsent_records(str(folder))), "somebody wants them now"
    there.behave()
    follower._not_before["metrics"] = 0.0
    send_all(follower)
    assert (False, 1) == (is_waiting(str(folder)), len(there.points()))
    assert "signals" not in json.loads((folder / "sent.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("off", ["", "metrics"])
def test_what_goes_for_want_of_room_is_lost_only_if_it_was_to_be_sent(off, tmp_path):
    written = RunFolder(str(tmp_path / "2026-11-25T10-15-02" / "4194305"), 2**20)
    environ = {f"OTEL_{off.upper()}_EXPORTER": "none"} if off else {}
    sender = Sender(
        written.path, endpoint.load("http://localhost:9", None, environ), print, begun=0.0, start_lasts=False
    )
    written.sent = sender.sent
    for _ in range(40):
        written.write("metrics.jsonl", b"x" * 2**16 + b"\n", records=1)

    mark(written.path, sender.endpoints.targets)
    written.make_room(2**19)

    gone = 40 - sum(len(path.read_bytes().splitlines()) for path in Path(written.path).glob("metrics*"))
    assert gone > 20
    assert ((0, gone) if off else (gone, 0)) == (written.lost, written.removed)


# --- a start -----------------------------------------------------------------------------------------------


@official_protocols
@pytest.mark.timed
def test_spans_of_a_start_wait_for_its_root_and_go_in_one_request(protocol, folder, receiver, follow, send_all):
    there = receiver()
    follower = follow(folder, endpoints(there, protocol), hold=60.0)
    for number in range(3):
        with (folder / "traces.jsonl").open("ab") as file:
            file.write(line([span(number, "import")]))
        assert 0.0 < follower.step() <= 0.5
        time.sleep(0.5)
    assert [] == there.requests()

    with (folder / "traces.jsonl").open("ab") as file:
        file.write(line([span(3, "startup")]))
    time.sleep(0.5)
    send_all(follower)

    assert [0, 1, 2, 3] == numbers(there.spans())
    assert 1 == len(there.requests())


def test_start_whose_root_never_comes_is_sent_after_the_hold(folder, receiver, follow, send_all):
    (folder / "traces.jsonl").write_bytes(line([span(1, "import")]))
    there = receiver()
    follower = follow(folder, endpoints(there, "http/json"), hold=1.0)

    follower.step()
    assert [] == there.spans()
    time.sleep(1.1)
    send_all(follower)

    assert [1] == numbers(there.spans())


# --- trouble -----------------------------------------------------------------------------------------------


@every_protocol
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.timed
def test_refused_for_now_is_sent_again_when_the_receiver_said_and_arrives_once(
    protocol, status, folder, receiver, follow, send_all
):
    (folder / "traces.jsonl").write_bytes(line([span(1)]))
    there = receiver()
    there.behave(status=status, retry_after=1, times=1)
    follower = follow(folder, endpoints(there, protocol))

    assert 0.0 == follower.step()
    assert 0.0 < min(follower.step() or 9, follower._not_before["traces"] - time.perf_counter()) <= 1.0
    send_all(follower)

    assert [1] == numbers(there.spans())
    refused, taken = there.requests(taken=False)
    assert 0.9 < taken["time"] - refused["time"] < 5.0
    assert 1 == len(follower.said)
    assert str(status) in follower.said[0] or protocol == "grpc"


@every_protocol
def test_without_retry_after_the_wait_doubles_and_varies(protocol, folder, receiver, follow):
    (folder / "traces.jsonl").write_bytes(line([span(1)]))
    there = receiver()
    there.behave(status=503)
    clock = FakeClock()
    follower = follow(folder, endpoints(there, protocol), clock=clock)

    waits = []
    for _ in range(8):
        assert 0.0 == follower.step()
        waits.append(follower._not_before["traces"] - clock.time)
        clock.time += 40

    for wait, middle in zip(waits, (1, 2, 4, 8, 16, 32, 32, 32), strict=True):
        assert middle * 0.8 <= wait <= middle * 1.2
    assert 8 == len({wait / middle for wait, middle in zip(waits, (1, 2, 4, 8, 16, 32, 32, 32), strict=True)})


@pytest.mark.parametrize("seconds", [0, 1])
def test_a_receiver_that_says_again_at_once_is_left_alone_for_longer_each_time(seconds, folder, receiver, follow):
    """0 says no more than "again"; a receiver that says 1 knows why."""
    (folder / "traces.jsonl").write_bytes(line([span(1)]))
    there = receiver()
    there.behave(status=503, retry_after=seconds)
    clock = FakeClock()
    follower = follow(folder, endpoints(there, "http/protobuf"), clock=clock)

    waits = []
    for _ in range(5):
        assert 0.0 == follower.step()
        waits.append(follower._not_before["traces"] - clock.time)
        clock.time += 40

    for wait, middle in zip(waits, [1] * 5 if seconds else [1, 2, 4, 8, 16], strict=True):
        assert middle * 0.8 <= wait <= middle * 1.2


class FakeClock:
    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time


@every_protocol
@pytest.mark.parametrize("status", [400, 401, 404])
def test_refused_for_good_is_dropped_counted_and_named_and_the_next_goes_on(
    protocol, status, folder, receiver, follow, send_all
):
    (folder / "traces.jsonl").write_bytes(line([span(1), span(2)]))
    there = receiver()
    there.behave(status=status, times=1)
    follower = follow(folder, endpoints(there, protocol))
    send_all(follower)

    with (folder / "traces.jsonl").open("ab") as file:
        file.write(line([span(3)]))
    time.sleep(0.2)
    send_all(follower)

    assert [3] == numbers(there.spans())
    assert (1, 2) == (follower.sent["traces"], follower.refused["traces"])
    kept = json.loads((folder / "sent.json").read_text(encoding="utf-8"))["files"]["traces.jsonl"]
    assert (1, 2) == (kept["sent"], kept["refused"])
    assert 1 == len(follower.said)
    assert "does not take 2 spans: answered" in follower.said[0]


@every_protocol
def test_partial_success_is_counted_and_not_sent_again(protocol, folder, receiver, follow, send_all):
    (folder / "traces.jsonl").write_bytes(line([span(number) for number in range(5)]))
    there = receiver()
    there.behave(partial=2)
    follower = follow(folder, endpoints(there, protocol))

    send_all(follower)

    assert (3, 2) == (follower.sent["traces"], follower.refused["traces"])
    assert 1 == len(there.requests("traces"))
    assert "2 spans: too old" in follower.said[0]


@every_protocol
def test_dead_receiver_is_one_line_then_at_most_one_a_minute_with_the_count(protocol, folder, receiver, follow):
    (folder / "traces.jsonl").write_bytes(line([span(1)]))
    there = receiver()
    targets = endpoints(there, protocol)
    there.close()
    clock = FakeClock()
    follower = follow(folder, targets, clock=clock)

    for _ in range(180):
        follower.step()
        clock.time += 1

    assert 3 <= len(follower.said) <= 4
    assert f"cannot send traces to {targets.targets['traces'].shown}: " in follower.said[0]
    assert "more since the last line)" in follower.said[1]


@every_protocol
def test_receiver_that_comes_back_gets_everything_once(protocol, folder, receiver, follow, send_all):
    (folder / "traces.jsonl").write_bytes(b"".join(line([span(n) for n in range(i, i + 1000)]) for i in (0, 1000)))
    there = receiver()
    there.behave(die_after=1)
    follower = follow(folder, endpoints(there, protocol))
    follower.step()
    assert follower.failing
    again = receiver()
    for target in follower.endpoints.targets.values():
        target.url = target.url.replace(there.url(protocol), again.url(protocol))
    follower._exporters.clear()

    send_all(follower)

    assert list(range(2000)) == numbers(again.spans())


@every_protocol
@pytest.mark.timed
def test_silent_receiver_costs_one_timeout_a_step_and_an_exit_no_more_than_its_limit(
    protocol, folder, receiver, follow
):
    (folder / "traces.jsonl").write_bytes(line([span(1)]))
    there = receiver()
    there.behave(silent=True)
    follower = follow(folder, endpoints(there, protocol, timeout="1000"))

    begun = time.monotonic()
    follower.step()
    assert 0.9 < time.monotonic() - begun < 2.5
    assert "no answer in time" in follower.said[0]
    begun = time.monotonic()
    assert not follower.close(0.5)
    assert time.monotonic() - begun < 1.0


@every_protocol
def test_close_sends_what_is_left_within_its_limit(protocol, folder, receiver, follow):
    there = receiver()
    follower = follow(folder, endpoints(there, protocol))
    follower.step()
    (folder / "traces.jsonl").write_bytes(line([span(number) for number in range(5000)]))

    assert follower.close(10.0)

    assert list(range(5000)) == numbers(there.spans())


@every_protocol
@pytest.mark.timed
def test_close_waits_no_longer_than_its_limit_for_a_receiver_that_stopped_answering(
    protocol, folder, receiver, follow, send_all
):
    there = receiver()
    follower = follow(folder, endpoints(there, protocol))
    (folder / "traces.jsonl").write_bytes(line([span(1)]))
    send_all(follower)
    there.behave(silent=True)
    with (folder / "traces.jsonl").open("ab") as file:
        file.write(line([span(2)]))

    begun = time.monotonic()
    assert not follower.close(0.7)

    assert time.monotonic() - begun < 1.5


# --- the rest as JSON --------------------------------------------------------------------------------------


def test_rest_goes_as_json_without_a_thread_and_without_opentelemetry(folder, receiver, modules_after):
    (folder / "traces.jsonl").write_bytes(line([span(1)]) + line([span(2)]))
    (folder / "metrics.jsonl").write_bytes(metric_line([metric("m", "gauge", [{"timeUnixNano": "1", "asInt": "1"}])]))
    there = receiver()

    loaded = modules_after(
        f"""
import _thread
def refuse(*words): raise RuntimeError("can't start new thread at interpreter shutdown")
_thread.start_new_thread = refuse
from otel_perf.export import endpoint
from otel_perf.export.follow.follower import send_rest_as_json
assert send_rest_as_json([{str(folder)!r}], endpoint.load({there.http!r}, None, {{}}), 5.0, print)
"""
    )

    assert [1, 2] == numbers(there.spans())
    assert 1 == len(there.points())
    roots = {name.partition(".")[0] for name in loaded}
    assert set() == roots & {"opentelemetry", "google", "grpc", "requests", "threading", "logging"}


def test_rest_that_a_receiver_refuses_as_json_stays_for_a_later_process(folder, receiver, follow, send_all):
    (folder / "traces.jsonl").write_bytes(line([span(1)]))
    there = receiver()
    there.behave(status=415)
    assert not send_rest_as_json([str(folder)], endpoints(there, "http/protobuf"), 5.0)

    there.behave()
    send_all(follow(folder, endpoints(there, "http/protobuf")))

    assert [1] == numbers(there.spans())


def test_rest_for_grpc_stays_and_is_marked_for_a_later_process(folder, receiver):
    (folder / "traces.jsonl").write_bytes(line([span(1)]))
    there = receiver()

    assert not send_rest_as_json([str(folder)], endpoints(there, "grpc"), 5.0)

    assert [] == there.requests()
    assert (folder / "sent.json").exists()


@pytest.mark.timed
def test_rest_is_given_up_at_the_limit(folder, receiver):
    (folder / "traces.jsonl").write_bytes(line([span(1)]))
    there = receiver()
    there.behave(silent=True)

    begun = time.monotonic()
    assert not send_rest_as_json([str(folder)], endpoints(there, "http/protobuf"), 0.5)

    assert time.monotonic() - begun < 1.0


# --- TLS ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(make_authority: Callable[..., Path]) -> Path:
    """Return a folder with a test authority, and a server's and a client's certificate that it signed."""
    here = "DNS:localhost,IP:127.0.0.1"
    return make_authority(localhost=(here, 2), client=(here, 2))


def secure(receiver: Any, authority: Path, *more: str | Path) -> Any:
    return receiver("--certificate", authority / "localhost.pem", "--key", authority / "localhost.key", *more)


@every_protocol
def test_tls_with_an_own_authority(protocol, folder, receiver, follow, authority, send_all):
    (folder / "traces.jsonl").write_bytes(line([span(1)]))
    there = secure(receiver, authority)

    send_all(follow(folder, endpoints(there, protocol, certificate=str(authority / "ca.pem"))))

    assert [1] == numbers(there.spans())


@every_protocol
def test_tls_with_a_client_certificate(protocol, folder, receiver, follow, authority, send_all):
    (folder / "traces.jsonl").write_bytes(line([span(1)]))
    there = secure(receiver, authority, "--client-ca", authority / "ca.pem")
    own = {"client_key": str(authority / "client.key"), "client_certificate": str(authority / "client.pem")}

    send_all(follow(folder, endpoints(there, protocol, certificate=str(authority / "ca.pem"), **own)))

    assert [1] == numbers(there.spans())


@every_protocol
def test_certificate_that_is_not_trusted_loses_nothing_and_is_named(
    protocol, folder, receiver, follow, authority, send_all
):
    (folder / "traces.jsonl").write_bytes(line([span(1)]))
    there = secure(receiver, authority)
    follower = follow(folder, endpoints(there, protocol))

    follower.step()

    assert "later" == follower.failing["traces"].kind
    assert "certificate" in follower.said[0].lower()
    follower.end()
    send_all(follow(folder, endpoints(there, protocol, certificate=str(authority / "ca.pem"))))
    assert [1] == numbers(there.spans())


def test_certificate_file_that_is_not_there_loses_nothing_and_is_named(folder, receiver, follow, authority):
    (folder / "traces.jsonl").write_bytes(line([span(1)]))
    there = secure(receiver, authority)
    for protocol in PROTOCOLS:
        follower = follow(folder, endpoints(there, protocol, certificate=str(authority / "gone.pem")))

        follower.step()

        assert "later" == follower.failing["traces"].kind
        assert "gone.pem" in follower.said[0] or "No such file" in follower.said[0]
        follower.end()


def test_killed_process_gives_its_folder_back(folder):
    """The lock is the kernel's: nobody has to tidy it away."""
    program = f"""
        import os, signal, sys
        sys.path.insert(0, {SRC!r})
        from otel_perf.export.follow.files import Folder
        assert Folder({str(folder)!r}).claim()
        os.kill(os.getpid(), {int(signal.SIGKILL) if hasattr(signal, "SIGKILL") else int(signal.SIGTERM)})
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=False, timeout=30, env=dict(os.environ))

    follower = Follower([str(folder)], endpoint.load("http://localhost:1", "http/json", {}))

    assert 1 == len(follower.folders)
    follower.end()


# --- many folders, and what cannot be read ---------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="looks for its files in /proc")
def test_folders_of_processes_that_have_ended_are_followed_a_few_at_a_time(folder, receiver, follow, send_all):
    """A collector that is dead for long keeps them; each has a descriptor, which may be the program's last one."""

    def open_locks() -> int:
        links = [os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]
        return sum(os.path.lexists(one) and os.readlink(one).endswith("sent.lock") for one in links)

    others = [folder.with_name(str(4194400 + number)) for number in range(40)]
    for number, other in enumerate(others):
        other.mkdir()
        (other / "traces.jsonl").write_bytes(line([span(number)]))
    there = receiver()
    there.behave(status=503, retry_after=1)
    follower = follow(folder, endpoints(there, "http/json"))
    before = open_locks()
    for other in others:
        follower.queue(str(other), live=False)

    for _ in range(50):
        follower.step()
    assert 8 <= open_locks() - before <= 16

    there.behave()
    send_all(follower)
    assert list(range(40)) == sorted(numbers(there.spans()))
    assert before == open_locks()


def test_a_lock_that_cannot_be_opened_leaves_the_folder_alone_and_is_said(folder, receiver, follow, send_all):
    """As without a free descriptor: only a folder that may only be read is sent without a lock."""
    (folder / "traces.jsonl").write_bytes(line([span(1)]))
    (folder / "sent.lock").mkdir()
    there = receiver()

    follower = follow(folder, endpoints(there, "http/json"))
    follower.step()

    assert [] == follower.folders == there.requests()
    (said,) = follower.said
    assert f"cannot read {folder}: Is a directory" in said
    (folder / "sent.lock").rmdir()
    time.sleep(2.1)
    send_all(follower)
    assert [1] == numbers(there.spans())
    assert {} == follower.unread


def test_a_file_that_cannot_be_read_for_a_while_is_sent_afterwards(folder, receiver, follow, send_all):
    (folder / "traces.jsonl").mkdir()
    there = receiver()
    follower = follow(folder, endpoints(there, "http/json"))
    follower.step()
    assert "not a regular file" in follower.said[0]

    (folder / "traces.jsonl").rmdir()
    (folder / "traces.jsonl").write_bytes(line([span(1)]))
    time.sleep(0.2)
    send_all(follower)

    assert [1] == numbers(there.spans())
    assert {} == follower.unread
