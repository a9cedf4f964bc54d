"""OTLP files as a run: what each process recorded, unchanged, whatever the form of the file and the state it is in."""

from __future__ import annotations

import base64
import io
import json
import os
from pathlib import Path

import pytest

from otel_perf.errors import UserError
from otel_perf.export.json_values import Skipped
from otel_perf.formats import silent
from otel_perf.formats.foreign import otlp, protobuf
from otel_perf.formats.foreign.run import Run
from otel_perf.formats.foreign.source import Source

SCHEMA = "https://opentelemetry.io/schemas/1.37.0"


def pairs(**says):
    return [
        {
            "key": key.replace("__", "."),
            "value": {"intValue": str(value)} if type(value) is int else {"stringValue": value},
        }
        for key, value in says.items()
    ]


def span(name, number, **more):
    return {
        "traceId": f"{7:032x}", "spanId": f"{number:016x}", "name": name, "kind": 3, "flags": 257,
        "startTimeUnixNano": "1795000000000000000", "endTimeUnixNano": "1795000000000000500", **more,
    }  # fmt: skip


def spans(*items, scope="shop.db", **resource):
    scoped = {"scope": {"name": scope, "version": "2"}, "schemaUrl": SCHEMA, "spans": list(items)}
    return {
        "resourceSpans": [{"resource": {"attributes": pairs(**resource)}, "scopeSpans": [scoped], "schemaUrl": SCHEMA}]
    }


def metrics(*items, **resource):
    return {
        "resourceMetrics": [{"resource": {"attributes": pairs(**resource)}, "scopeMetrics": [{"metrics": list(items)}]}]
    }


def logs(*items, **resource):
    return {
        "resourceLogs": [{"resource": {"attributes": pairs(**resource)}, "scopeLogs": [{"logRecords": list(items)}]}]
    }


FULL = span(
    "GET /ö", 1,
    parentSpanId=f"{9:016x}",
    traceState="a=b",
    attributes=[
        *pairs(a="x", n=2**62),
        {"key": "list", "value": {"arrayValue": {"values": [{"boolValue": True}, {"doubleValue": "NaN"}, {"bytesValue": "aGk="}]}}},
    ],
    events=[{"name": "paid", "timeUnixNano": "1795000000000000400", "attributes": pairs(why="x")}],
    links=[{"traceId": f"{8:032x}", "spanId": f"{3:016x}"}],
    status={"code": 2, "message": "declined"},
)  # fmt: skip
HISTOGRAM = {
    "name": "http.server.request.duration", "unit": "s",
    "histogram": {"aggregationTemporality": 2, "dataPoints": [{
        "startTimeUnixNano": "1", "timeUnixNano": "1795000000000000000", "count": "3", "sum": 0.5,
        "bucketCounts": ["1", "2"], "explicitBounds": [0.1],
        "exemplars": [{"timeUnixNano": "5", "asDouble": 0.25, "traceId": f"{7:032x}", "spanId": f"{1:016x}"}],
    }]},
}  # fmt: skip
LOG = {
    "timeUnixNano": "1795000000000000000", "severityNumber": 9, "body": {"stringValue": "hello"},
    "traceId": f"{7:032x}", "spanId": f"{1:016x}",
}  # fmt: skip


@pytest.fixture
def imported(tmp_path):
    """Return a function that imports files, bytes or objects a line, and gives the run's folder and what was skipped."""

    def run(*files, service=None):
        skipped = Skipped()
        with Run(str(tmp_path)) as made:
            for number, file in enumerate(files):
                data = file if isinstance(file, bytes) else b"".join(json.dumps(one).encode() + b"\n" for one in file)
                otlp.read(
                    Source(f"dir/{number}.json", f"{number}.json", io.BytesIO(data)), made, service, skipped, silent
                )
        return Path(made.path), skipped

    return run


def lines(run, name="traces.jsonl"):
    """Return the objects in a file of each process, by the process's name."""
    return {
        path.parent.name: [json.loads(line) for line in path.read_text().splitlines()] for path in run.glob(f"*/{name}")
    }


def says(file="0.json"):
    return pairs(otel_perf__imported__from=file, otel_perf__imported__format="otlp")


def without_place(data):
    """Return *data* as its file had it: its resource without where it comes from."""
    for groups in data.values():
        for group in groups:
            kept = [one for one in group["resource"]["attributes"] if not one["key"].startswith("otel_perf.imported.")]
            group["resource"]["attributes"] = kept
    return data


def test_records_are_what_they_were_and_say_where_they_come_from(imported):
    given = [
        spans(FULL, service__name="shop", process__pid=42),
        metrics(HISTOGRAM, process__pid=42),
        logs(LOG, process__pid=42),
    ]

    run, skipped = imported(given)

    assert ["42"] == os.listdir(run)
    files = [lines(run, name)["42"] for name in ("traces.jsonl", "metrics.jsonl", "logs.jsonl")]
    assert says() == files[0][0]["resourceSpans"][0]["resource"]["attributes"][-2:]
    assert given[0] == without_place(files[0][0])
    assert [HISTOGRAM] == files[1][0]["resourceMetrics"][0]["scopeMetrics"][0]["metrics"]
    assert [LOG] == files[2][0]["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
    assert not skipped


def test_each_process_has_a_folder_whatever_its_service_is_called_meanwhile(imported):
    """As of a start: the service's name is known once the program has said it."""
    own = {"service__instance__id": "i-1", "process__pid": 42}
    run, _ = imported([
        spans(span("a", 1), service__name="app.py", **own),
        spans(span("b", 2), service__name="shop", **own),
        spans(span("c", 3), service__name="shop", service__instance__id="i-2", process__pid=42),
        spans(span("d", 4), service__name="plain"),
        spans(span("e", 5), service__name="plain"),
    ])  # fmt: skip

    found = {
        name: [one["name"] for data in files for one in data["resourceSpans"][0]["scopeSpans"][0]["spans"]]
        for name, files in lines(run).items()
    }
    assert {"42": ["a", "b"], "42-2": ["c"], str(os.getpid()): ["d", "e"]} == found


def test_signals_in_files_of_their_own_are_one_process(imported):
    own = {"service__name": "shop", "process__pid": 42}
    run, _ = imported([spans(span("a", 1), **own)], [metrics(HISTOGRAM, **own)], [logs(LOG, **own)])

    assert ["42"] == os.listdir(run)
    assert {"traces.jsonl", "metrics.jsonl", "logs.jsonl", "alive.lock"} == set(os.listdir(run / "42"))


def test_service_that_is_named_goes_before_the_file_s(imported):
    run, _ = imported([spans(span("a", 1), service__name="unknown_service", process__pid=42)], service="shop")

    (data,) = lines(run)["42"]
    assert [*pairs(process__pid=42, service__name="shop"), *says()] == data["resourceSpans"][0]["resource"][
        "attributes"
    ]


def test_run_that_was_imported_before_says_the_last_import_only(imported):
    run, _ = imported(
        [spans(span("a", 1), process__pid=42, otel_perf__imported__from="old", otel_perf__imported__format="x")]
    )

    (data,) = lines(run)["42"]
    assert [*pairs(process__pid=42), *says()] == data["resourceSpans"][0]["resource"]["attributes"]


@pytest.mark.parametrize(
    ("number", "form"),
    [
        (1, lambda one, two: json.dumps(one, indent=2).encode()),
        (2, lambda one, two: json.dumps([one, two]).encode()),
        (2, lambda one, two: json.dumps([one, two], indent=1).encode() + b"\n\n"),
        (2, lambda one, two: json.dumps(one, indent="\t").encode() + json.dumps(two, indent="\t").encode()),
        (1, lambda one, two: b"\n\n" + json.dumps(one).encode()),
        (2, lambda one, two: json.dumps(one).encode() + b"\r\n" + json.dumps(two).encode()),
    ],
    ids=["object", "list", "list on lines", "objects", "line after blanks", "lines of Windows"],
)  # fmt: skip
def test_json_is_read_in_any_form(imported, number, form):
    one, two = spans(FULL, process__pid=42), spans(span("b", 2), process__pid=42)
    run, skipped = imported(form(one, two))

    assert [one, two][:number] == [without_place(data) for data in lines(run)["42"]]
    assert not skipped


def test_json_too_large_to_be_read_whole_is_refused_with_a_way_out(imported, monkeypatch):
    monkeypatch.setattr(otlp, "MAX_LINE", 2**20)
    data = json.dumps(spans(span("x" * 2**20, 1)), indent=1).encode()
    with pytest.raises(UserError, match=r"jq -c \. dir/0\.json \| otel-perf import -"):
        imported(data)


def test_long_lines_become_lines_that_every_reader_takes(imported):
    run, _ = imported([spans(*[span("x" * 1000, number) for number in range(1, 2001)], process__pid=42)])

    (file,) = run.glob("*/traces.jsonl")
    found = file.read_bytes().splitlines()
    assert max(map(len, found)) <= 2**20
    assert 2000 == sum(len(json.loads(line)["resourceSpans"][0]["scopeSpans"][0]["spans"]) for line in found)


def test_damage_is_counted_and_what_is_around_it_kept(imported):
    good = json.dumps(spans(span("good", 1), process__pid=42)).encode()
    bad = [
        span("no id", 1, spanId="xyz"),
        span("no time", 1, endTimeUnixNano="soon"),
        "no object",
        span("also good", 2),
    ]
    data = b"\n".join([
        good,
        b"no json {",
        json.dumps(spans(*bad, process__pid=42)).encode(),
        b'{"resourceSpans": [5, {"scopeSpans": [{"scope": {}}, 7]}]}',
        b'{"traceEvents": []}',
        b"[1]",
        good[: len(good) // 2],
    ])  # fmt: skip

    run, skipped = imported(data)

    names = [one["name"] for data in lines(run)["42"] for one in data["resourceSpans"][0]["scopeSpans"][0]["spans"]]
    assert ["good", "also good"] == names
    assert {"not JSON": 1, "no OTLP": 2, "torn at the end": 1} == skipped.lines
    assert {
        "span without valid ids": 1,
        "span without valid times": 1,
        "spans entry that is no object": 1,
        "resourceSpans entry that is no object": 1,
        "scopeSpans entry without spans": 2,
    } == skipped.records


def test_points_that_only_end_their_series_do_not_hide_the_last_value(imported):
    """As replay sends them through a collector, for Prometheus."""
    point = {"timeUnixNano": "5", "asInt": "3"}
    run, skipped = imported([
        metrics({"name": "a", "gauge": {"dataPoints": [point]}}, process__pid=42),
        metrics(
            {"name": "a", "gauge": {"dataPoints": [{"timeUnixNano": "6", "flags": 1}]}},
            {"name": "b", "gauge": {"dataPoints": [{"timeUnixNano": "6", "flags": 1}, point]}},
            process__pid=42,
        ),
    ])  # fmt: skip

    found = [
        one
        for data in lines(run, "metrics.jsonl")["42"]
        for one in data["resourceMetrics"][0]["scopeMetrics"][0]["metrics"]
    ]
    assert [("a", [point]), ("b", [point])] == [(one["name"], one["gauge"]["dataPoints"]) for one in found]
    assert not skipped


@pytest.mark.parametrize(
    "data",
    [
        b'{"resourceSpans":[]}',
        b"{}",
        b'{"traceEvents":[]}',
        b'{"resourceSpans":[{"scopeSpans":[{"spans":[{}]}]}]}',
        b"{\n{\n",
    ],
)
def test_file_without_a_record_is_refused_and_leaves_no_run(imported, tmp_path, data):
    with pytest.raises(UserError, match=r"dir/0\.json has no span, metric or log record of OTLP"):
        imported(data)

    assert [] == list(tmp_path.glob("2*"))


def test_deep_nesting_costs_the_record_only(imported):
    deep = span("deep", 1)
    deep["attributes"] = json.loads(
        '[{"key":"a","value":' + '{"arrayValue":{"values":[' * 300 + "{}" + "]}}" * 300 + "}]"
    )
    run, _ = imported([spans(deep, span("good", 2), process__pid=42)])
    assert "good" in (run / "42" / "traces.jsonl").read_text()

    text = json.dumps(spans(span("good", 2), process__pid=42)) + "\n" + '{"resourceSpans":' + "[" * 100_000
    run, skipped = imported(text.encode())
    assert {"torn at the end": 1} == skipped.lines


def test_processes_past_so_many_are_counted(imported, monkeypatch):
    monkeypatch.setattr(otlp, "MOST_PROCESSES", 2)
    run, skipped = imported([spans(span("a", number), process__pid=number) for number in (1, 2, 3, 2)])

    assert ["1", "2"] == sorted(os.listdir(run))
    assert {"process past the first 2": 1} == skipped.records


def test_many_processes_share_few_open_files(imported, monkeypatch):
    from otel_perf.formats.foreign import run as room

    monkeypatch.setattr(room, "MOST_OPEN", 2)
    before = len(os.listdir("/dev/fd"))
    run, _ = imported([spans(span("a", number), process__pid=1 + number % 5) for number in range(1, 21)])

    assert {str(pid): 4 for pid in range(1, 6)} == {name: len(data) for name, data in lines(run).items()}
    assert before == len(os.listdir("/dev/fd"))


# --- protobuf ---------------------------------------------------------------------------------------------------------


def message(data):
    """Return *data* as a server receives it."""
    from google.protobuf.json_format import ParseDict
    from opentelemetry.proto.logs.v1.logs_pb2 import LogsData
    from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData
    from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

    kinds = {"resourceSpans": TracesData, "resourceMetrics": MetricsData, "resourceLogs": LogsData}

    def with_base64(part):
        if isinstance(part, list):
            return [with_base64(one) for one in part]
        if not isinstance(part, dict):
            return part
        ids = ("traceId", "spanId", "parentSpanId")
        return {
            key: base64.b64encode(bytes.fromhex(value)).decode() if key in ids else with_base64(value)
            for key, value in part.items()
        }

    (kind,) = data
    return ParseDict(with_base64(data), kinds[kind]()).SerializeToString()


def framed(*messages):
    return b"".join(len(one).to_bytes(4, "big") + one for one in messages)


GIVEN = [spans(FULL, span("b", 2), process__pid=42), metrics(HISTOGRAM, process__pid=42), logs(LOG, process__pid=42)]


@pytest.mark.parametrize(
    "join", [b"".join, lambda parts: framed(*parts)], ids=["one message", "as the collector frames them"]
)
def test_protobuf_has_what_json_has(imported, join):
    run, skipped = imported(join([message(one) for one in GIVEN]))
    by_json, _ = imported(GIVEN)

    for name in ("traces.jsonl", "metrics.jsonl", "logs.jsonl"):
        assert lines(by_json, name) == lines(run, name)
    assert not skipped


@pytest.mark.parametrize("one", GIVEN, ids=["traces", "metrics", "logs"])
def test_signal_is_known_by_what_fits(imported, one):
    run, _ = imported(message(one))

    assert [lines(run, name) for name in ("traces.jsonl", "metrics.jsonl", "logs.jsonl")].count({}) == 2


def test_damage_in_protobuf_is_counted_and_what_is_around_it_kept(imported):
    good, other = message(GIVEN[0]), message(spans(span("b", 1), process__pid=42))
    field = good[good.index(b"\x12", 1) :]
    broken = framed(good, b"\x0a\x03\x0a\x7fx", b"\x0a\x00", message({"resourceSpans": [{}]}), other, good)[
        : -len(field)
    ]

    run, skipped = imported(broken)

    assert 2 == len(lines(run)["42"])
    assert {"no protobuf": 1, "no OTLP": 2, "torn at the end": 1} == skipped.lines


def test_group_that_is_too_long_is_passed_over(imported, monkeypatch):
    large = message(spans(span("x" * 5000, 1), process__pid=42))
    monkeypatch.setattr(protobuf, "MAX_LINE", 2000)

    run, skipped = imported(large + message(GIVEN[0]) + large)

    assert ["GET /ö", "b"] == [one["name"] for one in lines(run)["42"][0]["resourceSpans"][0]["scopeSpans"][0]["spans"]]
    assert {protobuf.TOO_LONG: 2} == skipped.lines


def test_without_the_library_the_error_names_it(imported, monkeypatch):
    import sys

    data = message(GIVEN[0])
    monkeypatch.setitem(sys.modules, "opentelemetry.proto.trace.v1.trace_pb2", None)
    with pytest.raises(UserError, match="pip install opentelemetry-proto"):
        imported(data)


@pytest.mark.parametrize("seed", range(20))
def test_no_bytes_at_all_do_more_than_be_refused(imported, seed):
    from random import Random

    chance = Random(seed)
    data = bytearray(chance.choice([framed, lambda *parts: b"".join(parts)])(*map(message, GIVEN)))
    for _ in range(chance.randint(1, 20)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    said = ""
    try:
        imported(bytes(data[: chance.randint(1, len(data))]))
    except UserError as error:
        said = error.message
    assert "" == said or "has no span, metric or log record of OTLP" in said
