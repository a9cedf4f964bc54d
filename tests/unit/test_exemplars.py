"""Exemplars: which duration becomes one, that each is written and sent once, and what converters make of it."""

from __future__ import annotations

import base64
import json
import math
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.json_format import ParseDict
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

import otel_perf as perf
from otel_perf import config, recorder
from otel_perf.export.decode import points_of
from otel_perf.export.follow.convert import Converter, metrics_data
from otel_perf.export.follow.temporality import Deltas
from otel_perf.export.follow.wire_points import PointEncoder, request
from otel_perf.export.json_values import Skipped
from otel_perf.metrics import exemplars, functions, instruments, measured
from otel_perf.metrics.exemplars import EVERY, OfFunctions, Slowest
from otel_perf.recorder import CURRENT, ROOT, SPAN, Site, SpanState, Trace, plain_record

if TYPE_CHECKING:
    from collections.abc import Iterator

HOUR = 3600.0


@pytest.fixture(autouse=True)
def recording(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Record as if init() had been called and the start were over; each test has a call tree and instruments of its own."""
    monkeypatch.setattr(recorder.state, "recording", True)
    monkeypatch.setattr(recorder.state, "startup", None)
    monkeypatch.setattr(recorder.state, "exemplars", "trace_based")
    monkeypatch.setattr(instruments, "by_name", {})
    nodes, top, sites = recorder.nodes[:], dict(recorder.ROOT[0]), dict(recorder.sites)
    for each in (recorder.nodes, recorder.ROOT[0], recorder.sites, recorder.finished):
        each.clear()
    before = CURRENT.set(ROOT)
    yield
    CURRENT.reset(before)
    recorder.finished.clear()
    recorder.nodes[:] = nodes
    recorder.ROOT[0].clear()
    recorder.ROOT[0].update(top)
    recorder.sites.clear()
    recorder.sites.update(sites)
    assert {} == recorder.open_spans, "nothing is left open"


def site(name: str = "work", threshold: float | None = HOUR, kind: str = "function") -> Site:
    return recorder.site_for(name, name, kind, threshold=threshold)


def span(site: Site, seconds: float, at: float = 100.0, **more: Any) -> tuple[Any, ...]:
    """Return the record of a call of *site* that ended at the moment *at*."""
    trace = Trace(0xABC << 116)
    trace.offset = 10**18
    return plain_record(site, trace, int(seconds * 1000) + 1, 0, at - seconds, at, seconds, 0, **more)


def written(slowest: Slowest, until: float = 0.0) -> list[dict[str, Any]]:
    """Return the exemplars that are written at the moment *until*, which reach the disk."""
    changed: list[tuple[Any, Any]] = []
    text = slowest.take(until, changed)
    for item, seen in changed:
        item.seen = seen
    return json.loads(f'{{"point":0{text}}}').get("exemplars", [])


def value_of(found: list[dict[str, Any]]) -> list[float]:
    return [one["asDouble"] for one in found]


# --- functions -------------------------------------------------------------------------------------------------------


def of(records: list[Any], name: str = "work", kind: str = "function") -> Slowest:
    noted = OfFunctions()
    noted.note(records)
    return noted._slowest.get((name, kind)) or Slowest()


def test_slowest_span_becomes_the_exemplar_with_its_ids_and_the_time_of_its_end():
    found = written(of([span(site(), seconds) for seconds in (0.25, 0.5, 0.125)]))

    ids = {"traceId": f"{0xABC << 116:032x}", "spanId": f"{501:016x}"}
    assert [{"timeUnixNano": str(10**18 + 100 * 10**9), "asDouble": 0.5, **ids}] == found


def test_an_exemplar_is_written_once_and_the_next_one_is_the_slowest_since_then_after_ten_seconds():
    noted, work = OfFunctions(), site()
    noted.note([span(work, 0.5)])
    slowest = noted._slowest["work", "function"]
    assert [0.5] == value_of(written(slowest, 1000.0))
    assert [] == written(slowest, 1000.0 + EVERY), "it is written already"

    noted.note([span(work, 0.25), span(work, 0.375), span(work, 0.3125)])

    assert [] == written(slowest, 1000.0 + EVERY - 0.1), "too early"
    assert [0.375] == value_of(written(slowest, 1000.0 + EVERY))


def test_the_last_statistics_leave_none_waiting():
    noted, work = OfFunctions(), site()
    noted.note([span(work, 0.5)])
    written(noted._slowest["work", "function"], 1000.0)
    noted.note([span(work, 0.25)])

    assert [0.25] == value_of(written(noted._slowest["work", "function"], math.inf))


def test_what_did_not_reach_the_disk_is_written_later():
    slowest = of([span(site(), 0.5)])
    assert "0.5" in slowest.take(1000.0, [])  # and nobody notes that it was

    assert [0.5] == value_of(written(slowest, 1000.0 + EVERY))


def test_what_is_no_whole_call_is_none():
    """The part of a call that the end of the start divides, and its rest, are spans, but not what was counted."""
    cut = span(site(), 0.5, attributes={"otel_perf.open": True})
    rest = span(site(), 0.75, at=100.75, link=(Trace(1 << 127), 7))
    noted = OfFunctions()
    noted.note([span(site(), 0.25), cut, rest], since=100.0)

    assert [0.25] == value_of(written(noted._slowest["work", "function"]))


def test_a_generator_counts_with_the_time_in_its_body():
    items = span(site(), 8.0, attributes={"otel_perf.active_time": 0.25})

    assert [0.5] == value_of(written(of([items, span(site(), 0.5)])))
    assert [0.25] == value_of(written(of([items])))


def test_what_has_no_statistics_is_not_kept():
    noted = OfFunctions()
    noted.note([span(Site(f"import m{i}", f"m{i}", "import"), 0.5) for i in range(100)])
    noted.note([object(), span(Site("startup", "startup", "startup"), 1.0)])

    assert {} == noted._slowest


def test_sites_beyond_the_limit_share_one(monkeypatch):
    monkeypatch.setattr(recorder, "MAX_SITES", 3)
    noted = OfFunctions()
    noted.note([span(site(f"f{i}"), 0.5 + i) for i in range(50)])

    assert 4 == len(noted._slowest)
    assert [49.5] == value_of(written(noted._slowest["otel_perf.overflow", "function"]))


def durations(texts: list[str]) -> list[dict[str, Any]]:
    return [
        point
        for metric in map(json.loads, texts)
        if metric["name"] == "otel_perf.function.duration"
        for point in metric["exponentialHistogram"]["dataPoints"]
    ]


def test_point_of_a_function_carries_the_call_that_became_a_span():
    for name, threshold in (("slow", 0.0), ("quick", HOUR)):
        recorder.leave(recorder.enter(site(name, threshold)), 0.25)
    noted = OfFunctions()
    noted.note(recorder.finished)

    points = {
        p["attributes"][0]["value"]["stringValue"]: p for p in durations(functions.function_metrics(1, 2, None, noted))
    }

    (record,) = recorder.finished
    (exemplar,) = points["slow"]["exemplars"]
    assert (0.25, f"{record[1].id:032x}", f"{record[2]:016x}") == (
        pytest.approx(exemplar["asDouble"]), exemplar["traceId"], exemplar["spanId"],
    )  # fmt: skip
    assert "exemplars" not in points["quick"]


def test_an_exemplar_that_waits_is_written_though_its_function_was_not_called_again():
    recorder.leave(recorder.enter(site("slow", 0.0)), 0.25)
    noted, changed = OfFunctions(), []
    functions.function_metrics(1, 2, changed, noted)  # the span is on its way to the worker
    for item, seen in changed:
        item.seen = seen
    noted.note(recorder.finished)

    texts = functions.function_metrics(1, 3, None, noted)

    assert ["otel_perf.function.duration"] == [json.loads(text)["name"] for text in texts], "paths have not changed"
    assert ["1"] == [point["count"] for point in durations(texts) if "exemplars" in point]
    assert [] == functions.function_metrics(1, 4, None, noted)


# --- timers ----------------------------------------------------------------------------------------------------------


def of_timer(name: str = "lasted", until: float = math.inf) -> list[dict[str, Any]]:
    """Return the exemplars of a timer's points that are written now."""
    texts = measured.instrument_metrics(1, 2**62, None, until)
    metrics = [metric for metric in map(json.loads, texts) if metric["name"] == name]
    points = [point for metric in metrics for point in metric["exponentialHistogram"]["dataPoints"]]
    return [one for point in points for one in point.get("exemplars", [])]


def foreign(trace_id: int, sampled: bool = True) -> list[Any]:
    """Return the frame of a span of the OpenTelemetry API, as tracing/bridge.py makes it."""
    state = SpanState()
    state.foreign, state.trace, state.span_id = True, Trace(trace_id, sampled), 77
    return [ROOT[0], ROOT, recorder.NEVER, 0.0, None, state, None]


def test_timer_inside_a_call_that_is_slow_enough_has_that_span():
    outer = recorder.enter(site("outer", 0.0))
    inner = recorder.enter(site("inner", HOUR))
    perf.timer("lasted").record(0.5)
    recorder.fail(inner, None)
    recorder.fail(outer, None)

    (exemplar,) = of_timer()
    (record,) = recorder.finished
    assert "outer" == record[0].name, "the inner call became no span by being measured in"
    assert (0.5, f"{record[1].id:032x}", f"{record[2]:016x}") == (
        exemplar["asDouble"], exemplar["traceId"], exemplar["spanId"],
    )  # fmt: skip


def test_timer_inside_a_call_that_is_not_slow_yet_has_none_and_makes_no_span():
    frame = recorder.enter(site("call", HOUR))
    perf.timer("lasted").record(0.5)
    recorder.fail(frame, None)

    assert [] == of_timer()
    assert [] == recorder.finished


def test_timer_inside_a_span_of_the_api_has_that_span():
    CURRENT.set(foreign(5 << 120))
    perf.timer("lasted").record(0.5)

    assert [(f"{5 << 120:032x}", f"{77:016x}")] == [(one["traceId"], one["spanId"]) for one in of_timer()]


def test_timer_inside_a_span_that_is_not_sampled_has_none():
    CURRENT.set(foreign(5 << 120, sampled=False))
    perf.timer("lasted").record(0.5)

    assert [] == of_timer()


def test_timer_inside_a_call_whose_trace_is_not_sampled_has_none(monkeypatch):
    monkeypatch.setattr(recorder.state, "on_root", lambda trace_id, name: False)
    frame = recorder.enter(site("call", 0.0))
    perf.timer("lasted").record(0.5)
    recorder.fail(frame, None)

    assert [] == of_timer()
    assert [] == recorder.finished


def test_timer_during_the_start_has_its_root(monkeypatch):
    root = SpanState()
    root.trace, root.span_id = Trace(9 << 120), 5
    monkeypatch.setattr(recorder.state, "startup", [{}, ROOT, recorder.NEVER, 0.0, None, root])
    perf.timer("lasted").record(0.5)

    assert [f"{5:016x}"] == [one["spanId"] for one in of_timer()]


def test_timer_has_none_where_nothing_is_recorded(monkeypatch):
    monkeypatch.setattr(recorder.state, "recording", False)
    frame = recorder.enter(site("call", 0.0))
    perf.timer("lasted").record(0.5)
    recorder.fail(frame, None)

    assert [] == of_timer()


def test_timer_keeps_the_slowest_until_one_is_written():
    CURRENT.set(foreign(5 << 120))
    lasted = perf.timer("lasted")
    for seconds in (0.25, 0.5, 0.375):
        lasted.record(seconds)
    assert [0.5] == value_of(of_timer(until=1000.0))
    lasted.record(0.125)

    assert [] == of_timer(until=1000.0 + EVERY - 0.1)
    lasted.record(0.0625)
    assert [] == of_timer(until=1000.0 + EVERY - 0.1)
    assert [0.125] == value_of(of_timer(until=1000.0 + EVERY)), "though nothing was counted since the last point"
    assert [] == of_timer()


def test_what_is_slower_but_in_no_span_does_not_keep_others_out_for_longer_than_to_the_next_point():
    lasted = perf.timer("lasted")
    lasted.record(8.0)
    assert [] == of_timer()
    CURRENT.set(foreign(5 << 120))
    lasted.record(0.5)

    assert [0.5] == value_of(of_timer())


def test_only_a_slower_duration_is_looked_at(monkeypatch):
    """The rest costs one comparison."""
    looked: list[float] = []
    monkeypatch.setattr(
        instruments, "offer", lambda slowest, seconds: looked.append(seconds) or offer(slowest, seconds)
    )
    offer = exemplars.offer
    lasted = perf.timer("lasted")
    for seconds in (0.5, *[0.25] * 1000, 0.75):
        lasted.record(seconds)

    assert [0.5, 0.75] == looked


@pytest.mark.parametrize(("rule", "inside", "outside"), [
    ("trace_based", ["traceId"], []), ("always_on", ["traceId"], [None]), ("always_off", [], []),
])  # fmt: skip
def test_filter_says_which_durations_of_a_timer_are_taken(monkeypatch, rule, inside, outside):
    monkeypatch.setattr(recorder.state, "exemplars", rule)
    perf.timer("outside").record(0.5)
    CURRENT.set(foreign(5 << 120))
    perf.timer("inside").record(0.5)

    texts = measured.instrument_metrics(1, 2**62, None)
    points = {json.loads(text)["name"]: json.loads(text)["exponentialHistogram"]["dataPoints"][0] for text in texts}
    for name, expected in (("inside", inside), ("outside", outside)):
        found = points[name].get("exemplars", [])
        assert expected == ["traceId" if "traceId" in one else None for one in found]


# --- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [("", "trace_based"), ("always_on", "always_on"), (" ALWAYS_OFF ", "always_off"), ("sometimes", "trace_based")],
)
def test_filter_is_read_from_opentelemetrys_variable(given, expected):
    settings = config.load({}, {"OTEL_METRICS_EXEMPLAR_FILTER": given}, "/nowhere")

    assert expected == settings.exemplar_filter
    assert (given == "sometimes") == any("trace_based, always_on or always_off" in text for text in settings.complaints)


# --- from the line to the wire ---------------------------------------------------------------------------------------

IDS = {"traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331"}
WHEN = {"startTimeUnixNano": "1795592876422029625", "timeUnixNano": "1795592876422030236"}
PAIRS = [{"key": "k", "value": {"stringValue": "v"}}, {"key": "n", "value": {"intValue": "-3"}}]
AT = {"timeUnixNano": "1795592876422030000"}
FORMS: dict[str, dict[str, Any]] = {
    "in a span": {**AT, "asDouble": 0.5, **IDS},
    "in none": {**AT, "asDouble": 0.5},
    "of an integer": {**AT, "asInt": "-7", **IDS},
    "with attributes": {**AT, "asDouble": 0.5, "filteredAttributes": PAIRS, **IDS},
    "not finite": {**AT, "asDouble": "NaN", **IDS},
}  # fmt: skip
KINDS = {
    "gauge": {"asDouble": 0.5},
    "sum": {"asInt": "3"},
    "histogram": {"count": "3", "sum": 1.5, "min": 0.1, "max": 3.0, "bucketCounts": ["1", "2"], "explicitBounds": [0.25]},
    "exponentialHistogram": {
        "count": "5", "sum": 1.5, "min": 0.0, "max": 2.5, "scale": -3, "zeroCount": "2",
        "positive": {"offset": -4, "bucketCounts": ["1", "0", "2"]},
        "negative": {"offset": 0, "bucketCounts": []},
    },
}  # fmt: skip


def metrics(kind: str, *found: dict[str, Any], **more: Any) -> dict[str, Any]:
    when = {"timeUnixNano": WHEN["timeUnixNano"]} if kind == "gauge" else WHEN  # the official encoder has no other
    body = {} if kind == "gauge" else {"aggregationTemporality": 2}
    point = {"attributes": PAIRS, **when, **KINDS[kind], "exemplars": list(found), **more}
    scoped = {"scope": {"name": "s"}, "metrics": [{"name": "m", "unit": "s", kind: {**body, "dataPoints": [point]}}]}
    return {"resourceMetrics": [{"resource": {"attributes": []}, "scopeMetrics": [scoped]}]}


def as_encoded(data: dict[str, Any], skipped: Skipped) -> Any:
    return ExportMetricsServiceRequest.FromString(request(PointEncoder(skipped).records(data)))


def as_records(data: dict[str, Any], skipped: Skipped) -> Any:
    return encode_metrics(metrics_data(Converter("metrics", skipped).records(data)))


def as_protobuf_reads(data: dict[str, Any]) -> Any:
    """Return the official message; ids are hex in OTLP/JSON, and base64 in protobuf's."""

    def based(item: Any) -> Any:
        if isinstance(item, list):
            return [based(each) for each in item]
        if not isinstance(item, dict):
            return item
        return {
            key: base64.b64encode(bytes.fromhex(value)).decode() if key in IDS else based(value)
            for key, value in item.items()
        }

    return ParseDict(based(data), ExportMetricsServiceRequest())


def exemplars_in(message: Any) -> list[str]:
    metric = message.resource_metrics[0].scope_metrics[0].metrics[0]
    (point,) = getattr(metric, metric.WhichOneof("data")).data_points
    return [str(one) for one in point.exemplars]


@pytest.mark.parametrize("convert", [as_encoded, as_records])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMS)
def test_exemplar_is_sent_as_the_official_messages_have_it(kind, form, convert):
    data, skipped = metrics(kind, FORMS[form], FORMS["in a span"]), Skipped()

    official = exemplars_in(as_protobuf_reads(data))

    assert 2 == len(official)
    assert official == exemplars_in(convert(data, skipped))
    assert not skipped


@pytest.mark.parametrize("convert", [as_encoded, as_records])
@pytest.mark.parametrize(
    "damaged", [{}, {"asDouble": []}, {"asInt": "x"}, {"asDouble": None, **IDS}, {**AT, "asInt": 2**70}], ids=str
)
def test_exemplar_without_a_valid_number_is_left_out_and_counted(convert, damaged):
    skipped = Skipped()

    found = exemplars_in(convert(metrics("exponentialHistogram", damaged, FORMS["in none"]), skipped))

    assert exemplars_in(as_protobuf_reads(metrics("exponentialHistogram", FORMS["in none"]))) == found
    assert {"exemplar without a valid number": 1} == skipped.values


@pytest.mark.parametrize("convert", [as_encoded, as_records])
@pytest.mark.parametrize(
    "ids", [{**IDS, "spanId": "0" * 16}, {**IDS, "traceId": "xyz"}, {**IDS, "spanId": None}], ids=str
)
def test_exemplar_with_half_of_its_ids_is_in_no_span(convert, ids):
    data = metrics("sum", {**FORMS["in none"], **ids})

    assert exemplars_in(as_protobuf_reads(metrics("sum", FORMS["in none"]))) == exemplars_in(convert(data, Skipped()))


@pytest.mark.parametrize("convert", [as_encoded, as_records])
@pytest.mark.parametrize("found", [3, {"a": 1}, [None, 5]], ids=str)
def test_what_is_no_list_of_exemplars_costs_none_of_the_point(convert, found):
    skipped = Skipped()

    assert [] == exemplars_in(convert(metrics("sum", exemplars=found), skipped))
    assert skipped.records


def test_decoder_reads_exemplars_back():
    (point,) = points_of(metrics("exponentialHistogram", FORMS["with attributes"], FORMS["in none"]), Skipped())

    inside, outside = point.exemplars
    assert (0.5, 1795592876422030000, IDS["traceId"], IDS["spanId"], {"k": "v", "n": -3}) == (
        inside.value, inside.time, inside.trace_id, inside.span_id, inside.attributes,
    )  # fmt: skip
    assert ("", "", {}) == (outside.trace_id, outside.span_id, outside.attributes)


def test_decoded_point_without_exemplars_has_none():
    (point,) = points_of(metrics("sum", exemplars=[]), Skipped())

    assert [] == list(point.exemplars)


# --- deltas ----------------------------------------------------------------------------------------------------------


def counted(count: int, time: int, *found: dict[str, Any]) -> dict[str, Any]:
    when = {"startTimeUnixNano": "5", "timeUnixNano": str(time)}
    numbers = {"count": str(count), "sum": float(count), "scale": 0, "zeroCount": "0"}
    buckets = {"positive": {"offset": 0, "bucketCounts": [str(count)]}}
    return {**when, **numbers, **buckets, **({"exemplars": list(found)} if found else {})}


def test_each_exemplar_is_in_one_delta_also_where_nothing_was_counted_since():
    deltas, first, second = Deltas("delta"), FORMS["in a span"], FORMS["in none"]
    points = [counted(3, 10, first), counted(3, 20, second), counted(3, 30), counted(7, 40)]

    sent = [point for point in points if deltas.step("key", "exponentialHistogram", point)]

    assert [("3", [first]), ("0", [second]), ("4", [])] == [(one["count"], one.get("exemplars", [])) for one in sent]
    assert [("5", "10"), ("10", "20"), ("20", "40")] == [
        (one["startTimeUnixNano"], one["timeUnixNano"]) for one in sent
    ]


def test_state_of_a_span_is_asked_for_without_giving_ids():
    """What the current span is may be asked as often as durations get slower."""
    frame = recorder.enter(site("call", HOUR))

    assert exemplars.current_span() is None
    assert frame[SPAN] is None
    recorder.fail(frame, None)
