"""The four formats tell one story: spans nest on tracks, and names, call paths and self times are the same in each."""

from __future__ import annotations

import gzip
import io
import json
from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_perf.analysis.unfinished import Unfinished
from otel_perf.formats import chrome, folded, pprof, silent, speedscope, story, tracks
from otel_perf.formats.story import Story
from otel_perf.formats.tracks import Paths, steps_of

ZERO = 1_795_000_000_000_000_000
FORMATS = {"folded": folded, "speedscope": speedscope, "pprof": pprof, "chrome": chrome}


def any_value(value):
    kind = {str: "stringValue", bool: "boolValue", int: "intValue", float: "doubleValue"}[type(value)]
    return {kind: str(value) if type(value) is int else value}


def pairs(**says):
    return [{"key": key.replace("__", "."), "value": any_value(value)} for key, value in says.items()]


def span(name, begin, end, id, parent=0, kind="function", trace=1, **says):
    """Return a span as in a file; times in ns after ZERO; kind "" is a span of the plain API."""
    if kind:
        says["otel_perf__kind"] = kind
    found = {
        "traceId": f"{trace:032x}",
        "spanId": f"{id:016x}",
        "name": name,
        "startTimeUnixNano": str(ZERO + begin),
        "endTimeUnixNano": str(ZERO + end),
        "attributes": pairs(**says),
    }
    return found | ({"parentSpanId": f"{parent:016x}"} if parent else {})


@pytest.fixture
def told(tmp_path):
    """Return a function that writes processes, given as lists of spans, and gives the Story of them."""
    opened = []

    def tell(*processes, metrics=(), logs=()):
        number = len(opened)
        opened.append(Story("one run"))
        for pid, spans in enumerate(processes, 7):
            folder = tmp_path / str(number) / str(pid)
            folder.mkdir(parents=True)
            resource = {"attributes": pairs(service__name="shop", service__version="1.4.2", process__pid=pid)}
            for signal, key, items in (
                ("traces", "Spans", spans), ("metrics", "Metrics", metrics), ("logs", "Logs", logs),
            ):  # fmt: skip
                inner = {"Spans": "spans", "Metrics": "metrics", "Logs": "logRecords"}[key]
                group = {"resource": resource, f"scope{key}": [{inner: list(items)}]}
                (folder / f"{signal}.jsonl").write_text(json.dumps({f"resource{key}": [group]}) + "\n")
            opened[-1].read(str(folder), True, silent)
        return opened[-1]

    yield tell
    for one in opened:
        one.__exit__()


def written(run, name):
    out = io.BytesIO()
    FORMATS[name].write(run, out, silent)
    return out.getvalue()


# --- what each format says: ns of self time by call path --------------------------------------------------------------


def of_folded(data):
    found = Counter()
    for line in data.decode().splitlines():
        path, _, time = line.rpartition(" ")
        assert tuple(path.split(";")) not in found, "a call path is there twice"
        found[tuple(path.split(";"))] = int(time)
    return found


def by_track(events):
    """Return ns by path and track of (track, opens, name, ns) events, and check that they nest."""
    found, stacks, last = defaultdict(Counter), defaultdict(list), {}
    for track, opens, name, at in events:
        assert at >= last.get(track, at), f"{track}: {name} at {at}, after {last[track]}"
        stack = stacks[track]
        if stack:
            found[track][tuple(stack)] += at - last[track]
        last[track] = at
        if opens:
            stack.append(name)
            found[track][tuple(stack)] += 0
        else:
            assert stack.pop() == name
    assert all(stack == [] for stack in stacks.values())
    return found


def of_speedscope(data):
    file = json.loads(data)
    names = [frame["name"] for frame in file["shared"]["frames"]]
    for profile in file["profiles"]:
        moments = [event["at"] for event in profile["events"]]
        assert (profile["startValue"], profile["endValue"]) == (min(moments), max(moments))
    return by_track(
        (profile["name"], event["type"] == "O", names[event["frame"]], event["at"])
        for profile in file["profiles"]
        for event in profile["events"]
    )


def of_chrome(data):
    events = json.loads(data, parse_float=lambda text: int(text.replace(".", "")))["traceEvents"]
    names = {
        (event["pid"], event["tid"]): event["args"]["name"]
        for event in events
        if event["ph"] == "M" and event["name"] == "thread_name"
    }
    return by_track(
        (names[event["pid"], event["tid"]], event["ph"] == "B", event["name"], event["ts"])
        for event in events
        if event["ph"] in "BE"
    )


def fields(data):
    """Yield number and value of the fields of a protobuf message, varints and bytes."""

    def varint():
        nonlocal at
        number = shift = 0
        while True:
            number |= (data[at] & 0x7F) << shift
            shift += 7
            at += 1
            if data[at - 1] < 128:
                return number

    at = 0
    while at < len(data):
        tag = varint()
        if tag & 7 == 0:
            yield tag >> 3, varint()
        else:
            assert tag & 7 == 2
            length = varint()
            yield tag >> 3, data[at : at + length]
            at += length


def numbers(data):
    """Return the varints in *data*."""
    found, number, shift = [], 0, 0
    for byte in data:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 128:
            found.append(number)
            number = shift = 0
    return found


def of_pprof(data):
    profile = list(fields(gzip.decompress(data)))
    strings = [value.decode() for number, value in profile if number == 6]
    functions = {dict(fields(value))[1]: strings[dict(fields(value))[2]] for number, value in profile if number == 5}
    locations = {}
    for number, value in profile:
        if number == 4:
            location = dict(fields(value))
            locations[location[1]] = functions[dict(fields(location[4]))[1]]
    found = defaultdict(Counter)
    for number, value in profile:
        if number == 2:
            sample = list(fields(value))
            labels = [dict(fields(item)) for key, item in sample if key == 3]
            says = {strings[label[1]]: strings[label[2]] for label in labels}
            path = tuple(locations[each] for each in reversed(numbers(dict(sample)[1])))
            _, time = numbers(dict(sample)[2])
            found[says["thread"]][path] += time
    return found


# --- one story --------------------------------------------------------------------------------------------------------

START = [  # in the order in which they end
    span("PreInit", 0, 100_000, 2, 1, "phase"),
    span("load", 210_000, 250_000, 4, 3, code__file__path="app.py", code__line__number=7),
    span("load", 250_000, 300_000, 5, 3, code__file__path="app.py", code__line__number=7),
    span("plain", 310_000, 390_000, 6, 3, ""),
    span("in thread", 220_000, 400_000, 8, 3, thread__id=4711),
    span("Core", 200_000, 400_000, 3, 1, "phase"),
    span("startup", 0, 500_000, 1, kind="startup"),
]


def test_four_formats_have_the_same_paths_and_self_times(told):
    run = told([*START, span("later", 600_000, 700_000, 9, trace=2)])

    expected = {
        "main thread": {
            ("startup",): 200_000,
            ("startup", "PreInit"): 100_000,
            ("startup", "Core"): 30_000,
            ("startup", "Core", "load"): 90_000,
            ("startup", "Core", "plain"): 80_000,
        },
        "thread 4711": {("startup", "Core", "in thread"): 180_000},
        "after the start": {("later",): 100_000},
    }
    drawn = {**expected, "thread 4711": {("in thread",): 180_000}}  # on a track nothing is below it
    assert expected == of_pprof(written(run, "pprof"))
    assert drawn == of_speedscope(written(run, "speedscope"))
    assert drawn == of_chrome(written(run, "chrome"))
    together = {path: ns // 1000 for times in expected.values() for path, ns in times.items()}
    assert together == of_folded(written(run, "folded"))


def test_children_at_the_same_time_lie_on_tracks_of_their_own(told):
    run = told(
        [span("task", 100 + i * 10_000, 50_000 + i * 10_000, i + 2, 1) for i in range(3)]
        + [span("gather", 0, 90_000, 1)]
    )

    found = of_speedscope(written(run, "speedscope"))

    assert {
        "spans": {("gather",): 90_000 - 49_900, ("gather", "task"): 49_900},
        "spans (2)": {("task",): 49_900},
        "spans (3)": {("task",): 49_900},
    } == found
    assert {("gather",): 40, ("gather", "task"): 149} == of_folded(written(run, "folded"))


def test_track_that_is_free_again_is_used_again(told):
    run = told(
        [
            span("a", 0, 50_000, 1),
            span("b", 10_000, 20_000, 2),
            span("c", 30_000, 40_000, 3),
            span("d", 60_000, 70_000, 4),
        ]
    )

    assert {"spans": {("a",): 50_000, ("d",): 10_000}, "spans (2)": {("b",): 10_000, ("c",): 10_000}} == of_chrome(
        written(run, "chrome")
    )


def test_work_left_behind_keeps_its_call_path(told):
    run = told([span("spawn", 0, 10_000, 1), span("task", 20_000, 90_000, 2, 1, otel_perf__detached=True)])

    assert {("spawn",): 10, ("spawn", "task"): 70} == of_folded(written(run, "folded"))
    assert {"spans": {("spawn",): 10_000, ("task",): 70_000}} == of_speedscope(written(run, "speedscope"))


def test_work_left_behind_keeps_its_call_path_when_others_have_run_since(told):
    run = told(
        [
            span("spawn", 0, 10_000, 1),
            span("other", 20_000, 30_000, 3),
            span("task", 40_000, 90_000, 2, 1, otel_perf__detached=True),
        ]
    )

    assert {("spawn",): 10, ("spawn", "task"): 50, ("other",): 10} == of_folded(written(run, "folded"))


def test_child_that_outlives_its_parent_keeps_its_length(told):
    run = told([span("parent", 0, 50_000, 1), span("child", 10_000, 90_000, 2, 1)])

    assert {"spans": {("parent",): 50_000}, "spans (2)": {("child",): 80_000}} == of_chrome(written(run, "chrome"))
    assert {("parent",): 50, ("parent", "child"): 80} == of_folded(written(run, "folded"))


def test_child_as_long_as_its_parent_lies_in_it(told):
    run = told([span("child", 0, 50_000, 2, 1), span("parent", 0, 50_000, 1)])

    assert {"spans": {("parent",): 0, ("parent", "child"): 50_000}} == of_speedscope(written(run, "speedscope"))


def test_generator_has_the_time_inside_its_body_and_its_consumer_the_rest(told):
    run = told(
        [
            span("call", 30_000, 40_000, 3, 1),
            span("items", 10_000, 90_000, 2, 1, otel_perf__active_time=25e-6),
            span("consume", 0, 100_000, 1),
        ]
    )

    assert {("consume",): 65, ("consume", "items"): 25, ("consume", "call"): 10} == of_folded(written(run, "folded"))
    assert ["spans", "spans (2)"] == list(of_speedscope(written(run, "speedscope")))


def test_overlap_by_rounding_is_none_and_parents_come_before_children_of_the_same_time(told):
    run = told(
        [
            span("inner", 0, 50_000, 2, 1),
            span("next", 49_700, 100_400, 3, 1),
            span("outer", 0, 100_000, 1),
        ]
    )

    found = of_chrome(written(run, "chrome"))

    assert {"spans": {("outer",): 0, ("outer", "inner"): 49_700, ("outer", "next"): 50_300}} == found


def test_span_written_twice_counts_once(told):
    run = told([span("a", 0, 10_000, 1), span("a", 0, 10_000, 1)])

    assert {("a",): 10} == of_folded(written(run, "folded"))


def test_spans_that_are_each_others_parents_are_told_all_the_same(told):
    run = told([span("a", 0, 90_000, 1, 2), span("b", 10_000, 80_000, 2, 1)])

    assert {("a",): 20, ("a", "b"): 70} == of_folded(written(run, "folded"))


def test_processes_do_not_mix(told):
    spans = [span("work", 0, 50_000, 2, 1), span("startup", 0, 100_000, 1, kind="startup")]
    run = told(spans, spans)

    events = json.loads(written(run, "chrome"))["traceEvents"]
    profiles = json.loads(written(run, "speedscope"))["profiles"]

    assert {7, 8} == {event["pid"] for event in events}
    assert ["shop 1.4.2 (7): main thread", "shop 1.4.2 (8): main thread"] == [one["name"] for one in profiles]
    assert {("startup",): 100, ("startup", "work"): 100} == of_folded(written(run, "folded"))


def test_two_processes_with_one_pid_keep_apart(told):
    run = told([span("a", 0, 9_000, 1)], [span("b", 0, 9_000, 1)])
    run.processes[1].pid = run.processes[0].pid

    assert {7, 8} == {event["pid"] for event in json.loads(written(run, "chrome"))["traceEvents"]}


# --- any spans at all -------------------------------------------------------------------------------------------------


@st.composite
def trees(draw):
    """Return spans of any shape: children inside their parents, beside each other, longer than these, or nowhere."""
    count = draw(st.integers(1, 25))
    spans = []
    for number in range(1, count + 1):
        begin = draw(st.integers(0, 40)) * 700  # coarse, so that moments meet; around TOUCH, too
        length = draw(st.integers(0, 40)) * 700
        parent = draw(st.integers(0, count + 1))
        says = {"thread__id": 5} if draw(st.booleans()) else {}
        kind = draw(st.sampled_from(("function", "", "startup", "import")))
        name = draw(st.sampled_from("abc"))
        spans.append(span(name, begin, begin + length, number, parent, kind, **says))
    return spans


@settings(deadline=None, max_examples=150)
@given(trees())
def test_any_spans_nest_and_add_up_to_no_more_than_their_track(spans):
    with Story("run") as run:
        read_spans(run, spans)

        drawn = of_speedscope(written(run, "speedscope"))
        assert drawn == of_chrome(written(run, "chrome"))
        sums = of_pprof(written(run, "pprof"))
        lengths = {
            one["name"]: one["endValue"] - one["startValue"]
            for one in json.loads(written(run, "speedscope"))["profiles"]
        }
        assert {name: sum(times.values()) for name, times in drawn.items()} == {
            name: sum(times.values()) for name, times in sums.items()
        }
        assert all(sum(times.values()) <= lengths[name] for name, times in sums.items())
        leaves = Counter(path[-1] for times in sums.values() for path in times)
        assert set(leaves) == {each["name"] for each in spans}


def read_spans(run, spans, tmp=[]):  # noqa: B006  # one folder for all examples
    import tempfile
    from pathlib import Path

    tmp or tmp.append(tempfile.TemporaryDirectory())
    folder = Path(tmp[0].name, "7")
    folder.mkdir(exist_ok=True)
    data = {"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}
    (folder / "traces.jsonl").write_text(json.dumps(data) + "\n")
    run.read(str(folder), False, silent)


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "frame"),
    [
        ("import pkg.mod", "import pkg.mod"),
        ("a;b", "a:b"),
        ("a\nb\t c\r\n", "a b c"),
        ("chunk 42", "chunk\u00a042"),
        ("took 1.5", "took\u00a01.5"),
        ("v2 beta", "v2 beta"),
        ("\x1b[31mred\u202e", "\\x1b[31mred\\u202e"),
        ("", "(no name)"),
        (" ; ", ":"),
        ("größe → 名", "größe → 名"),
    ],
)
def test_name_is_one_frame_of_a_folded_line(name, frame):
    assert frame == folded.frame_of(name)


@given(st.text())
def test_any_name_leaves_a_folded_line_whole(name):
    frame = folded.frame_of(name)

    assert frame
    assert frame == frame.strip()
    assert not set(frame) & set(";\n\r\t")
    assert f"{frame} 7".split(" ")[-1] == "7"
    before = f"{frame} 7".rpartition(" ")[0].rpartition(" ")  # a reader of differential stacks looks for one more
    assert not (before[1] and before[2].replace(".", "").isdecimal() and before[2].isascii())


def test_names_are_as_they_were_recorded_where_the_format_can_say_them(told):
    hostile = 'a;b "<script>" \\ \n \x00 \u202e 42'
    run = told([span(hostile, 0, 10_000, 1, code__file__path='a"b.py', code__line__number=3)])

    assert {"spans": {(hostile,): 10_000}} == of_speedscope(written(run, "speedscope"))
    assert {"spans": {(hostile,): 10_000}} == of_chrome(written(run, "chrome"))
    assert {"spans": {('a;b "<script>" \\ \\x00 \\u202e 42',): 10_000}} == of_pprof(written(run, "pprof"))
    assert [{"name": hostile, "file": 'a"b.py', "line": 3}] == json.loads(written(run, "speedscope"))["shared"][
        "frames"
    ]


# --- bounds -----------------------------------------------------------------------------------------------------------


def test_names_past_the_bound_share_one(told, monkeypatch):
    monkeypatch.setattr(story, "MOST_SITES", 2)
    run = told([span(f"name {letter}", n * 10_000, n * 10_000 + 9_000, n + 1) for n, letter in enumerate("abcd")])

    assert {("name a",): 9, ("name b",): 9, ("(others)",): 18} == of_folded(written(run, "folded"))


def test_call_paths_past_the_bound_count_as_their_caller(told, monkeypatch):
    monkeypatch.setattr(tracks, "MOST_PATHS", 2)
    run = told([span("c", 0, 10_000, 3, 2), span("b", 0, 20_000, 2, 1), span("a", 0, 30_000, 1)])

    assert {("a",): 10, ("a", "b"): 20} == of_folded(written(run, "folded"))


def test_events_are_the_same_when_they_were_put_away_meanwhile(told, monkeypatch):
    run = told(START)
    before = json.loads(written(run, "speedscope"))
    monkeypatch.setattr(speedscope, "GATHERED", 2)

    assert before == json.loads(written(run, "speedscope"))


# --- counters and alerts ----------------------------------------------------------------------------------------------


def point(metric, unit, value, at, kind="gauge"):
    return {"name": metric, "unit": unit, kind: {"dataPoints": [{"timeUnixNano": str(ZERO + at), "asDouble": value}]}}


def test_chrome_has_counters_and_alerts(told):
    says = pairs(**{"event.name": "otel_perf.budget.exceeded"}, budget="memory", severity="critical", value=2e8)
    run = told(
        [span("a", 0, 10_000, 1)],
        metrics=[
            point("otel_perf.process.cpu.usage", "{cpu}", 0.25, 5_500),
            point("process.memory.usage", "By", 1e6, 5_500),
            point("process.uptime", "s", 1.0, 5_500),
        ],
        logs=[
            {
                "timeUnixNano": str(ZERO + 7_000),
                "eventName": name,
                "body": any_value("memory is over"),
                "attributes": says,
            }
            for name in ("otel_perf.budget.exceeded", "otel_perf.budget.defined")
        ],
    )

    events = json.loads(written(run, "chrome"))["traceEvents"]

    assert [
        ("otel_perf.process.cpu.usage ({cpu})", 5.5, {"value": 0.25}),
        ("process.memory.usage (By)", 5.5, {"value": 1e6}),
    ] == [(event["name"], event["ts"], event["args"]) for event in events if event["ph"] == "C"]
    (alert,) = [event for event in events if event["ph"] == "i"]
    assert ("memory is over", 7.0, "p", "critical") == (
        alert["name"],
        alert["ts"],
        alert["s"],
        alert["args"]["severity"],
    )


def opened(*path, since, kind="function"):
    return Unfinished(path, kind, ZERO + since)


def test_chrome_has_what_never_ended_by_its_begin_and_with_what_was_open_around_it(told, tmp_path):
    run = told([span("a", 5_000, 10_000, 1)])
    unfinished = [
        opened("Core", "load", "read", since=9_000),
        opened("Core", since=6_000, kind="phase"),
        opened("work", since=7_000),
        opened("Core", "load", since=8_000, kind="nonsense"),
        opened("Core", since=6_500),  # on another thread
        opened("never", since=-ZERO),
    ]
    with Story("killed") as killed:
        killed.read(run.processes[0].path, True, silent, unfinished)
        events = json.loads(written(killed, "chrome"))["traceEvents"]
        others = {name: written(killed, name) for name in ("folded", "speedscope", "pprof")}

    tracks = {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"}
    ended = {event["name"] for event in events if event["ph"] == "E"}
    assert [
        ("unfinished", "phase", "Core", 1.0),
        ("unfinished", "span", "load", 3.0),
        ("unfinished", "function", "read", 4.0),
        ("unfinished (2)", "function", "Core", 1.5),
        ("unfinished (3)", "function", "work", 2.0),
    ] == [
        (tracks[event["tid"]], event["cat"], event["name"], event["ts"])
        for event in events
        if event["ph"] == "B" and event["name"] not in ended
    ]
    assert {"a"} == ended
    assert {name: written(run, name).replace(b"one run", b"killed") for name in ("folded", "speedscope")} == {
        name: others[name] for name in ("folded", "speedscope")
    }
    assert of_pprof(written(run, "pprof")) == of_pprof(others["pprof"])


def test_process_that_died_before_its_first_span_is_told(tmp_path):
    with Story("killed") as killed:
        killed.read(str(tmp_path), True, silent, [opened("Core", since=6_000), opened("Core", "load", since=7_000)])
        events = json.loads(written(killed, "chrome"))["traceEvents"]

    assert [("Core", 0.0), ("load", 1.0)] == [(event["name"], event["ts"]) for event in events if event["ph"] == "B"]


def test_moment_before_the_first_span_is_written_as_one():
    run = Story("run")
    run.begin = ZERO
    events = chrome._Events(run, io.BytesIO())

    assert ["-1.500", "-0.001", "0.000", "1234567.089"] == [
        events._at(ZERO + ns) for ns in (-1_500, -1, 0, 1_234_567_089)
    ]


# --- what a file may have ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("times", [(-ZERO, 10_000), (0, 2**63), (2**63, 2**63)])
def test_span_without_a_time_that_can_be_is_left_out_and_counted(told, times):
    run = told([span("odd", *times, 1), span("good", 0, 9_000, 2)])

    assert {("good",): 9} == of_folded(written(run, "folded"))
    assert [{"span without a time": 1}] == [skipped.records for skipped in run.skipped.values()]


def test_odd_attributes_are_none(told):
    run = told(
        [
            span(
                "a",
                0,
                9_000,
                1,
                otel_perf__active_time=float("nan"),
                thread__id=True,
                code__file__path=5,
                code__line__number=-1,
            )
        ]
    )

    assert {("a",): 9} == of_folded(written(run, "folded"))


def test_steps_of_a_track_are_in_the_order_of_time(told):
    run = told(START)
    last = {}
    for bar, at, _ in steps_of(run, run.processes[0], Paths(), silent):
        assert at >= last.get(bar.track, 0)
        last[bar.track] = at
    assert {"main thread", "thread 4711"} == {track.name for track in last}
