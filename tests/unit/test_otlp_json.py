"""The encoder: values of any kind become valid OTLP/JSON, and one that cannot costs itself only."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_perf.export import otlp_json
from otel_perf.recorder import Site, Trace

CONVERTED = [
    ("text", {"stringValue": "text"}),
    (True, {"boolValue": True}),
    (7, {"intValue": "7"}),
    (2**63 - 1, {"intValue": "9223372036854775807"}),
    (2**63, {"stringValue": "9223372036854775808"}),
    (1.5, {"doubleValue": 1.5}),
    (math.nan, {"doubleValue": "NaN"}),
    (math.inf, {"doubleValue": "Infinity"}),
    (-math.inf, {"doubleValue": "-Infinity"}),
    (b"\x00\xff", {"bytesValue": "AP8="}),
    ([1, "a"], {"arrayValue": {"values": [{"intValue": "1"}, {"stringValue": "a"}]}}),
    ({"k": 1}, {"kvlistValue": {"values": [{"key": "k", "value": {"intValue": "1"}}]}}),
    (None, {}),
]


@pytest.mark.parametrize(("item", "expected"), CONVERTED, ids=range(len(CONVERTED)))
def test_value_is_an_otlp_any_value(item, expected):
    assert expected == json.loads(otlp_json.value(item))


@given(st.text(alphabet=st.characters()))
def test_any_text_comes_back_without_its_lone_surrogates(text):
    decoded = json.loads(otlp_json.quote(text))

    assert text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") == decoded
    decoded.encode()  # UTF-8 can carry it


def test_a_lone_surrogate_becomes_the_replacement_character():
    assert "a�b" == json.loads(otlp_json.quote("a\ud800b"))


def test_a_pair_of_surrogates_stays_the_character_it_is():
    assert "\U0001f600" == json.loads(otlp_json.quote("\U0001f600"))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(), st.lists, max_leaves=8
    )
)
def test_any_value_is_valid_json(item):
    json.loads(otlp_json.value(item), parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))


class Hostile:
    def __str__(self) -> str:
        raise RuntimeError("no")


def test_an_attribute_that_cannot_be_written_costs_itself_only():
    text = otlp_json.attributes({"bad": Hostile(), "good": 1})

    assert [{"key": "good", "value": {"intValue": "1"}}] == json.loads(f"[{text}]")


def record(name: str, begin: float = 1.0, end: float = 2.0, **change: object) -> tuple:
    trace = Trace(0xA << 124 | 1)
    trace.offset = 10**18
    fields = {
        "site": Site(name, name, "function", "m.f", "/app/m.py", 3), "trace": trace, "span_id": 0xB << 60, "parent": 0,
        "begin": begin, "end": end, "self": 0.5, "depth": 0, "extra": None, "error": None, "link": None, "events": None,
        "status": None, "remote": False,
    }  # fmt: skip
    return tuple({**fields, **change}.values())


def lines(records: list) -> tuple[list[dict], int, int]:
    found = list(otlp_json.trace_lines("", otlp_json.scope("otel_perf", "1"), records))
    spans = [
        span
        for line, _, _ in found
        if line
        for group in json.loads(line)["resourceSpans"]
        for scoped in group["scopeSpans"]
        for span in scoped["spans"]
    ]
    return spans, sum(done for _, done, _ in found), sum(bad for _, _, bad in found)


def test_a_span_has_hex_ids_and_times_as_strings():
    (span,), done, bad = lines([record("work")])

    assert (1, 0) == (done, bad)
    assert ("a" + "0" * 30 + "1", "b" + "0" * 15) == (span["traceId"], span["spanId"])
    assert "parentSpanId" not in span
    assert ("1000000001000000000", "1000000002000000000") == (span["startTimeUnixNano"], span["endTimeUnixNano"])


def test_an_error_is_an_event_and_the_status():
    (span,), _, _ = lines([record("work", error=("ValueError", "no"))])

    assert {"code": 2, "message": "ValueError: no"} == span["status"]
    assert ["exception"] == [event["name"] for event in span["events"]]
    assert {"exception.type", "exception.message"} == {pair["key"] for pair in span["events"][0]["attributes"]}


def test_a_remote_parent_is_in_the_flags():
    (local, remote), _, _ = lines([record("a", parent=1), record("b", parent=1, remote=True)])

    assert (0x101, 0x301) == (local["flags"], remote["flags"])


@pytest.mark.parametrize("remote", [False, True])
@pytest.mark.parametrize("number", [1, 2**124 - 1, 2**124, 2**128 - 1])
def test_a_trace_that_began_elsewhere_keeps_the_zeros_its_id_begins_with(number, remote):
    (span,), _, _ = lines([record("work", trace=Trace(number), parent=1, remote=remote)])

    assert (f"{number:032x}", "0" * 15 + "1") == (span["traceId"], span["parentSpanId"])


def test_what_a_template_would_take_for_its_own_stays_text():
    text = '100 %d %x %% %b "flags":257}'
    (span,), _, _ = lines([record(text, extra={text: text}, status=(2, text))])

    assert (text, text) == (span["name"], span["status"]["message"])
    assert {"key": text, "value": {"stringValue": text}} in span["attributes"]


def test_a_self_time_is_exact_to_the_nanosecond():
    (short, long), _, _ = lines([record("a", self=1.6e-9), record("b", self=12345.678901234)])

    found = [
        pair["value"]["doubleValue"]
        for span in (short, long)
        for pair in span["attributes"]
        if pair["key"] == "otel_perf.self_time"
    ]
    assert [2e-9, 12345.678901234] == found


def test_what_is_no_record_at_all_costs_itself_only():
    spans, done, bad = lines([record("a"), object(), record("b", begin="no time"), record("c"), object()])

    assert (["a", "c"], 2, 3) == ([span["name"] for span in spans], done, bad)


def test_one_bad_record_costs_itself_only():
    spans, done, bad = lines([record("a"), record("b", begin="no time"), record("c")])

    assert (["a", "c"], 2, 1) == ([span["name"] for span in spans], done, bad)


def test_many_spans_are_several_lines():
    found = list(otlp_json.trace_lines("", otlp_json.scope("x"), [record("a")] * (otlp_json.SPANS_A_LINE * 2 + 1)))

    assert [otlp_json.SPANS_A_LINE, otlp_json.SPANS_A_LINE, 1] == [done for _, done, _ in found]
