"""follow/starts.py: a start's spans in pre-order, and few enough of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Message

from otel_perf.export.follow import starts
from otel_perf.export.follow.starts import ROOT, Plan, complete, plan_of

TRACE = "8" + "0" * 31
START = 1_795_000_000_000_000_000


def ident(number: int) -> str:
    return f"{number + 2**63:016x}"


def span(number: int, parent: int | None, begin: int, took: int, kind: str = "function", **more: Any) -> dict[str, Any]:
    words = {"otel_perf.depth": {"intValue": "1"}, "otel_perf.self_time": {"doubleValue": took / 1e9}}
    words |= {"otel_perf.kind": {"stringValue": kind}, "code.function.name": {"stringValue": f"shop.load_{number}"}}
    words |= more.pop("words", {})
    return {
        "traceId": TRACE,
        "spanId": ident(number),
        **({} if parent is None else {"parentSpanId": ident(parent)}),
        "startTimeUnixNano": str(START + begin),
        "endTimeUnixNano": str(START + begin + took),
        "name": f"load_{number}",
        "attributes": [{"key": key, "value": value} for key, value in words.items()],
        **more,
    }


def line(*spans: dict[str, Any]) -> bytes:
    group = {"resource": {"attributes": []}, "scopeSpans": [{"scope": {"name": "otel_perf"}, "spans": list(spans)}]}
    return json.dumps({"resourceSpans": [group]}, separators=(",", ":")).encode() + b"\n"


def planned(folder: Path, *spans: dict[str, Any], offset: int = 0) -> Plan | None:
    """Return the plan of a file that has these spans, three on a line."""
    file = folder / "traces.jsonl"
    file.write_bytes(b"".join(line(*spans[first : first + 3]) for first in range(0, len(spans), 3)))
    return plan_of(str(file), offset, lambda: None)


def sent(plan: Plan, *spans: dict[str, Any]) -> list[dict[str, Any]]:
    return [found for one in json.loads(json.dumps(spans)) if (found := plan.apply(one)) is not None]


def words(one: dict[str, Any]) -> dict[str, Any]:
    return {pair["key"]: next(iter(pair["value"].values())) for pair in one["attributes"]}


def test_order_is_that_of_a_walk_from_the_root_children_by_their_beginning(tmp_path):
    spans = [
        span(3, 1, 30, 5),
        span(2, 1, 10, 15),
        span(4, 2, 12, 3),
        span(1, 0, 10, 60, "phase"),
        span(5, 0, 80, 9, "phase"),
        span(0, None, 0, 100, "startup"),
    ]
    plan = planned(tmp_path, *spans)

    assert plan is not None
    order = {one["name"]: int(words(one)["otel_perf.order"]) for one in sent(plan, *spans)}
    assert ["load_0", "load_1", "load_2", "load_4", "load_3", "load_5"] == sorted(order, key=order.__getitem__)
    assert [0, 1, 2, 3, 4, 5] == sorted(order.values())


def test_span_of_the_plain_api_has_its_depth_too(tmp_path):
    plain = span(2, 1, 20, 5) | {"attributes": []}
    spans = [plain, span(1, 0, 10, 50), span(0, None, 0, 100, "startup")]
    plan = planned(tmp_path, *spans)

    assert plan is not None
    assert {"otel_perf.order": "2", "otel_perf.depth": "2"} == words(sent(plan, *spans)[0])


def test_span_of_another_trace_is_not_in_the_order(tmp_path):
    other = span(7, None, 0, 5) | {"traceId": "9" * 32}
    spans = [other, span(0, None, 0, 100, "startup")]
    plan = planned(tmp_path, *spans)

    assert plan is not None
    assert ["otel_perf.order" in words(one) for one in sent(plan, *spans)] == [False, True]


def test_start_that_was_sent_or_has_no_root_has_no_plan(tmp_path):
    root = span(0, None, 0, 100, "startup")
    assert planned(tmp_path, span(1, 0, 0, 5)) is None
    assert planned(tmp_path) is None
    plan = planned(tmp_path, root)
    assert plan is not None
    assert planned(tmp_path, root, offset=plan.end) is None


def test_damaged_spans_and_lines_do_not_keep_the_rest_from_its_order(tmp_path):
    damaged = [
        {"spanId": 3},
        span(8, 8, 0, 1),
        span(9, 10, 0, 1),
        span(10, 9, 0, 1),
        {**span(5, 0, 0, 1), "attributes": [3]},
    ]
    file = tmp_path / "traces.jsonl"
    file.write_bytes(line(*damaged) + b"{torn\n" + line(span(1, 0, 10, 5), span(0, None, 0, 100, "startup")))

    plan = plan_of(str(file), 0, lambda: None)

    assert plan is not None
    assert (0, 1) == (plan.order[ident(0)], plan.order[ident(1)])
    assert ROOT in file.read_bytes()
    assert {"spanId": 3} == plan.apply({"spanId": 3})


def test_self_time_is_there_in_whole_nanoseconds_too():
    one = span(1, 0, 0, 1234)
    complete(one)
    assert "1234" == words(one)["otel_perf.self_ns"]
    for strange in ({}, {"attributes": None}, {"attributes": [3, {"key": "otel_perf.self_time", "value": 3}]}):
        before = json.dumps(strange)
        complete(strange)
        assert before == json.dumps(strange)


# --- folding ---------------------------------------------------------------------------------------------------------


def big_start(number: int) -> list[dict[str, Any]]:
    """Return a start of *number* calls in one phase, the later the longer, each with two below it."""
    spans = []
    at = 0
    for one in range(number):
        took = 10 + one
        spans += [span(10 + 3 * one + each, 12 + 3 * one, at + 3 * each, 3) for each in range(2)]
        spans.append(span(12 + 3 * one, 1, at, took))
        at += took
    return [*spans, span(1, 0, 0, at, "phase"), span(0, None, 0, at, "startup")]


def test_start_that_is_small_enough_is_sent_whole(tmp_path):
    spans = big_start(100)
    plan = planned(tmp_path, *spans)

    assert plan is not None
    assert len(spans) == len(sent(plan, *spans))
    assert not plan.groups


def test_start_that_is_too_big_loses_its_shortest_calls_to_one_span_each_parent(tmp_path):
    spans = big_start(10_000)
    plan = planned(tmp_path, *spans)
    assert plan is not None

    found = sent(plan, *spans)

    assert 0.9 * starts.LIMIT < sum(size(one) for one in found) <= starts.LIMIT
    stand = [one for one in found if "otel_perf.folded" in words(one)]
    gone = len(spans) - len(found) + len(stand)
    assert gone == sum(int(words(one)["otel_perf.folded"]) for one in stand)
    root = next(one for one in found if one["name"] == "load_0")
    assert gone == int(words(root)["otel_perf.startup.folded"])
    (main,) = (one for one in stand if one["parentSpanId"] == ident(1))
    members = int(words(main)["otel_perf.folded"]) // 3
    took = sum(10 + one for one in range(members))
    assert took == int(main["endTimeUnixNano"]) - int(main["startTimeUnixNano"])
    complete(main)
    assert took == int(words(main)["otel_perf.self_ns"])
    assert f"{3 * members:,} more, " in main["name"]
    assert "code.function.name" not in words(main)
    assert_tree(found)


@pytest.mark.parametrize(
    "kept",
    [
        {"words": {"otel_perf.span_threshold": {"intValue": "0"}}},
        {"words": {"otel_perf.open": {"boolValue": True}}},
        {"events": [{"name": "paid"}]},
        {"status": {"code": 2}},
        {"links": [{"traceId": TRACE, "spanId": ident(3)}]},
        {"kind": "phase"},
        {"words": {"otel_perf.kind": {"stringValue": "?"}}},
    ],
    ids=str,
)
def test_span_that_was_asked_for_or_says_more_is_never_folded(kept, tmp_path, monkeypatch):
    monkeypatch.setattr(starts, "LIMIT", 0)
    spans = [span(2, 1, 0, 1, **kept), *(span(number, 1, number, 1) for number in range(3, 9))]
    spans += [span(1, 0, 0, 50), span(0, None, 0, 100, "startup")]
    plan = planned(tmp_path, *spans)

    assert plan is not None
    found = sent(plan, *spans)
    assert {ident(0), ident(1), ident(2), ident(3)} == {one["spanId"] for one in found}
    assert_tree(found)


def size(one: dict[str, Any]) -> int:
    complete(one := json.loads(json.dumps(one)))
    for key in ("traceId", "spanId", "parentSpanId"):
        one[key] = ""
    return ParseDict(one, Message()).ByteSize() + 2 * 18 + 10 + 4


def assert_tree(found: list[dict[str, Any]]) -> None:
    """Each span once, no parent missing, and the order that of a walk."""
    ids = [one["spanId"] for one in found]
    assert len(ids) == len(set(ids))
    assert all(one.get("parentSpanId", ids[-1]) in ids for one in found)
    order = {one["spanId"]: int(words(one)["otel_perf.order"]) for one in found}
    assert list(range(len(found))) == sorted(order.values())
    assert all(order[one["parentSpanId"]] < order[one["spanId"]] for one in found if "parentSpanId" in one)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(1, 50), st.booleans()), max_size=40), st.integers(0, 9000))
def test_whatever_is_folded_the_tree_stays_whole_and_every_span_is_counted(shape, limit):
    spans = [span(0, None, 0, 10_000, "startup")]
    for number, (above, took, folds) in enumerate(shape, 1):
        kept = {} if folds else {"events": [{"name": "e"}]}
        spans.append(span(number, above % number, number, took, **kept))
    plan = Plan(0, TRACE, ident(0))
    before, starts.LIMIT = starts.LIMIT, limit
    try:
        plan = starts._plan(0, TRACE, ident(0), [starts.Span(one) for one in spans])
    finally:
        starts.LIMIT = before

    found = sent(plan, *spans)

    assert_tree_of(found)
    stand = [int(words(one)["otel_perf.folded"]) for one in found if "otel_perf.folded" in words(one)]
    assert len(spans) == len(found) - len(stand) + sum(stand)
    assert all(number > 1 for number in stand)
    assert all("events" in one for one in spans if one["spanId"] not in plan.folded and "events" in one)
    assert not any(one["spanId"] in plan.folded | plan.groups.keys() for one in spans if "events" in one)


def assert_tree_of(found: list[dict[str, Any]]) -> None:
    ids = {one["spanId"] for one in found}
    assert all(one.get("parentSpanId", ident(0)) in ids for one in found)
    assert list(range(len(found))) == sorted(int(words(one)["otel_perf.order"]) for one in found)
