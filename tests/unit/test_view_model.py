"""A process that is read bit by bit is the one that is read at once; charts keep peaks, ranges add up, memory is bounded."""

from __future__ import annotations

import io
import json
import math
import os
import random
import threading
import time
import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_perf.analysis import loading, sorting
from otel_perf.analysis.as_json import report_object
from otel_perf.analysis.loading import Reader, Tail, load_process
from otel_perf.analysis.model import node_of
from otel_perf.analysis.startup import build_trace
from otel_perf.errors import UserError
from otel_perf.export import parts
from otel_perf.export.decode import Point, spans_of
from otel_perf.export.json_values import Skipped
from otel_perf.terminal import sources
from otel_perf.view import answers, charts, profile, traces, waterfall
from otel_perf.view import live as live_module
from otel_perf.view import runs as runs_module
from otel_perf.view.charts import Charts
from otel_perf.view.encode import encode
from otel_perf.view.live import Live
from otel_perf.view.profile import Profile, flame_object, tree_of
from otel_perf.view.runs import Missing, Runs

SECOND = 1_000_000_000
BEGIN = 1_795_564_800 * SECOND


# --- files of a process -----------------------------------------------------------------------------------------------


def attributes(values):
    kinds = {bool: "boolValue", int: "intValue", float: "doubleValue", str: "stringValue"}
    return [{"key": key, "value": {kinds[type(value)]: value}} for key, value in values.items()]


def span(name, begin, end, number, parent=0, trace=1, **says):
    """Return a span; *begin* and *end* in seconds after BEGIN."""
    return {
        "traceId": f"{trace:032x}",
        "spanId": f"{number:016x}",
        "parentSpanId": f"{parent:016x}",
        "name": name,
        "startTimeUnixNano": str(BEGIN + round(begin * SECOND)),
        "endTimeUnixNano": str(BEGIN + round(end * SECOND)),
        "attributes": attributes({key.replace("__", "."): value for key, value in says.items()}),
    }


def line_of(spans, **resource):
    resource = {"attributes": attributes({key.replace("__", "."): value for key, value in resource.items()})}
    return json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]}) + "\n"


def metric_line(name, at, value, kind="gauge", unit="By", monotonic=False, **says):
    point = {"attributes": attributes(says), "timeUnixNano": str(BEGIN + round(at * SECOND)), "asDouble": value}
    body = {"dataPoints": [point]} | ({"isMonotonic": True, "aggregationTemporality": 2} if monotonic else {})
    metric = {"name": name, "unit": unit, kind: body}
    return json.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric]}]}]}) + "\n"


def path_lines(at, path, function, calls, time, own):
    says = {"path": path, "function": function}
    return "".join(
        metric_line(f"otel_perf.profile.{name}", at, value, "sum", unit, True, **says)
        for name, value, unit in (("calls", calls, "{call}"), ("time", time, "s"), ("self_time", own, "s"))
    )


def event_line(kind, at, **says):
    log = {
        "timeUnixNano": str(BEGIN + round(at * SECOND)),
        "eventName": kind,
        "body": {"stringValue": kind},
        "attributes": attributes(says),
    }
    return json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [log]}]}]}) + "\n"


OURS = "otel_perf__kind"
START = [
    line_of([span("read", 0.1, 0.3, 3, 2, otel_perf__kind="function", otel_perf__self_time=0.2)], service__name="shop"),
    line_of([span("CoreInit", 0.05, 0.6, 2, 1, otel_perf__kind="phase")]),
    line_of([span("other", 0.2, 0.25, 9, 8, 7), span("root", 0.1, 0.9, 8, trace=7)]),
    line_of(
        [span("startup", 0.0, 1.0, 1, otel_perf__kind="startup", otel_perf__ready="ready()")], service__name="shop"
    ),
]
AFTER = [
    line_of(
        [
            span("import json", 1 + at, 1.5 + at, 100 + at, trace=20 + at, otel_perf__kind="import"),
            span("work", 1 + at, 1.1 + at / 10, 200 + at, trace=40 + at, otel_perf__kind="function"),
        ]
    )
    for at in range(8)
]
TRACES = "".join(START + AFTER)
METRICS = "".join(
    metric_line("process.memory.usage", at, 1e6 * (at % 5))
    + metric_line("process.cpu.utilization", at, 0.1, unit="1", **{"cpu.mode": "user"})
    + metric_line("process.cpu.utilization", at, 0.2, unit="1", **{"cpu.mode": "system"})
    + path_lines(at, "work", "shop.work", at, at * 0.1, at * 0.1)
    for at in range(1, 20)
)
LOGS = (
    event_line("otel_perf.budget.exceeded", 5, budget="memory", severity="warning", limit=3e6, value=4e6)
    + event_line("otel_perf.budget.resolved", 7, budget="memory", severity="warning", limit=3e6, duration=2.0)
    + event_line("otel_perf.process.ended", 20, **{"otel_perf.end": "exit"})
)
FILES = {"traces.jsonl": TRACES.encode(), "metrics.jsonl": METRICS.encode(), "logs.jsonl": LOGS.encode()}


def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (files or FILES).items():
        (folder / name.replace("_", ".")).write_bytes(content)
    return folder


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "run" / "77")


def live_of(folder):
    live = Live(str(folder))
    while live.advance():
        pass
    return live


# --- bit by bit -------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_process_read_bit_by_bit_is_the_one_read_at_once(tmp_path_factory, seed):
    """Whatever was written between two looks, and wherever it was torn at the moment of a look."""
    chance = random.Random(seed)
    whole = write(tmp_path_factory.mktemp("whole") / "run" / "77")
    part = write(tmp_path_factory.mktemp("part") / "run" / "77", traces_jsonl=b"", metrics_jsonl=b"", logs_jsonl=b"")
    reader = Reader(str(part))
    written = dict.fromkeys(FILES, 0)
    while any(written[name] < len(content) for name, content in FILES.items()):
        name = chance.choice([name for name in FILES if written[name] < len(FILES[name])])
        size = chance.randint(1, 3_000)
        with open(part / name, "ab") as file:
            file.write(FILES[name][written[name] : written[name] + size])
        written[name] += size
        if chance.random() < 0.5:
            while reader.take(200, over=False):
                pass
            if chance.random() < 0.5:
                report_object(reader.process())  # that it is looked at changes nothing
    while reader.take(over=True):
        pass

    expected, found = (report_object(process) for process in (load_process(str(whole)), reader.process()))

    for one in (expected, found):
        one["budgets"].sort(key=lambda budget: budget["name"])  # they stand in the order in which they appeared
    assert expected == found


def test_start_that_goes_on_is_guessed_and_taken_back_when_its_root_comes(tmp_path):
    part = write(tmp_path / "run" / "77", traces_jsonl=START[0].encode() + START[1].encode() + START[2].encode())
    reader = Reader(str(part))
    reader.take()
    before = reader.process()
    assert (None, ["read", "CoreInit"], 2) == (
        before.root, [node.name for node in before.nodes], before.after.spans,
    )  # fmt: skip
    with open(part / "traces.jsonl", "a", encoding="utf-8") as file:
        file.write(START[3])
    reader.take()

    after = reader.process()

    assert (["startup", "read", "CoreInit"], 2) == ([node.name for node in after.nodes], after.after.spans)
    assert f"{1:032x}" == after.start_trace


def test_unfinished_line_is_left_alone_until_it_ends_or_nobody_writes_any_more(tmp_path):
    (tmp_path / "x.jsonl").write_bytes(b'{"a": 1}\n{"b"')
    tail = Tail(str(tmp_path / "x.jsonl"))
    assert [(0, b'{"a": 1}\n')] == list(tail.lines(1_000, over=False))
    assert [] == list(tail.lines(1_000, over=False))

    assert [(9, b'{"b"')] == list(tail.lines(1_000, over=True))

    assert 13 == tail.offset == tail.size()


def test_reading_stops_after_the_size_that_was_asked_for_at_the_end_of_a_line(tmp_path):
    (tmp_path / "x.jsonl").write_bytes(b"12345\n" * 10)
    tail = Tail(str(tmp_path / "x.jsonl"))

    assert [3, 3, 3, 1, 0] == [len(list(tail.lines(15, over=True))) for _ in range(5)]


@pytest.mark.parametrize("change", ["cut", "replaced", "removed"])
def test_file_that_began_anew_is_noticed(tmp_path, change):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"1\n2\n")
    tail = Tail(str(path))
    list(tail.lines(100, over=True))
    assert not tail.began_anew()
    assert not tail.began_anew()
    if change == "cut":
        path.write_bytes(b"1\n")
    elif change == "replaced":
        (tmp_path / "y").write_bytes(b"1\n2\n3\n4\n")
        os.replace(tmp_path / "y", path)
    else:
        path.unlink()

    assert tail.began_anew()


def test_file_that_was_continued_did_not_begin_anew(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"1\n2\n")
    tail = Tail(str(path))
    list(tail.lines(100, over=True))
    assert not tail.began_anew()
    path.rename(tmp_path / f"x.{0:015d}.jsonl")
    assert not tail.began_anew()  # between the two steps
    path.write_bytes(b"3\n")

    assert not tail.began_anew()

    assert [(4, b"3\n")] == list(tail.lines(100, over=True))


# --- bounds -----------------------------------------------------------------------------------------------------------


def test_memory_does_not_grow_with_the_spans(tmp_path):
    folder = write(tmp_path / "run" / "77", traces_jsonl="".join(START).encode())
    reader = Live(str(folder))
    lines = "".join(AFTER).encode() * 200

    def more():
        with open(folder / "traces.jsonl", "ab") as file:
            file.write(lines)
        while reader.advance():
            pass
        reader.settled()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        first = more()
        grown = [more() - first for _ in range(3)]
    finally:
        tracemalloc.stop()

    spans = 200 * 8 * 2
    assert spans * 4 + 5 == reader.spans
    assert grown[-1] < spans * 3 * 30  # bytes: a duration each, and room that lists have made


def test_traces_without_a_start_are_forgotten(tmp_path, monkeypatch):
    monkeypatch.setattr(sorting, "ELSEWHERE", 10)
    monkeypatch.setattr(sorting, "UNDECIDED", 10)
    lines = [line_of([span("child", 1, 2, 1_000 + at, 5_000 + at, 10_000 + at)]) for at in range(50)]
    lines += [line_of([span("root", 1, 3, 5_000 + at, trace=10_000 + at)]) for at in range(20)]  # the others never end
    folder = write(tmp_path / "run" / "77", traces_jsonl="".join(lines).encode())
    reader = Reader(str(folder))
    reader.take()

    process = reader.process()

    assert (70, []) == (process.after.spans, process.nodes)
    assert len(reader._spans.elsewhere) <= 10
    assert sum(map(len, reader._spans.traces.values())) <= 11


def test_durations_past_the_most_that_are_kept_make_percentiles_inexact(tmp_path, monkeypatch):
    monkeypatch.setattr(sorting, "DURATIONS", 5)
    folder = write(tmp_path / "run" / "77", traces_jsonl=TRACES.encode())

    process = load_process(str(folder))

    assert 5 == sum(len(times) for times in process.durations.values())


def test_calls_are_the_fifty_slowest_of_all(tmp_path):
    order = list(range(1, 200))
    random.Random(7).shuffle(order)
    spans = [span(f"call {at}", 0, at / 1_000, at, trace=at, otel_perf__kind="function") for at in order]
    folder = write(tmp_path / "run" / "77", traces_jsonl="".join(line_of([one]) for one in spans).encode())

    calls = load_process(str(folder)).calls

    assert [f"call {at}" for at in range(199, 149, -1)] == [call.node.name for call in calls]
    assert [f"{at:032x}" for at in range(199, 149, -1)] == [call.trace_id for call in calls]


def test_start_that_is_over_is_explained_once(tmp_path, monkeypatch):
    """Of a start of 18,000 spans that takes half a second, and its process goes on for days."""
    explained = []
    real = answers.start_objects
    monkeypatch.setattr(answers, "start_objects", lambda *words: explained.append(1) or real(*words))
    folder = write(tmp_path / "run" / "77", traces_jsonl="".join(START).encode())
    live = live_of(folder)
    first = answers.overview(live)
    for line in AFTER:
        with open(folder / "traces.jsonl", "a", encoding="utf-8") as file:
            file.write(line)
        live.advance()
        last = answers.overview(live)

    assert (1, first["spans"] + 16) == (len(explained), last["spans"])
    assert 16 + 2 == last["report"]["after_start"]["spans"]
    assert first["report"]["start"] == last["report"]["start"]


def test_start_that_goes_on_is_explained_now_and_then(tmp_path, monkeypatch):
    """A tenth of the time, however fast it goes on; at once when it is over."""
    clock = [1_000.0]
    monkeypatch.setattr(live_module, "monotonic", lambda: clock[0])
    explained = []

    def explain(process, *more):
        explained.append(len(process.nodes))
        clock[0] += 3.0  # seconds that it takes
        return start_objects(process, *more)

    start_objects = answers.start_objects
    monkeypatch.setattr(answers, "start_objects", explain)
    folder = write(tmp_path / "run" / "77", traces_jsonl=b"")
    live = live_of(folder)
    for at in range(60):
        with open(folder / "traces.jsonl", "a", encoding="utf-8") as file:
            file.write(line_of([span("Load", 0.01 * at, 0.01 * at + 0.01, 10 + at, 1, otel_perf__kind="phase")]))
        live.advance()
        said, told, _ = answers.state(live)
        assert at + 1 == json.loads(said)["spans"]
        clock[0] += 1.0
    assert [1, 28, 55] == explained
    clock[0] += 60.0
    said, now, _ = answers.state(live)  # nothing was written since, as by a process that was killed
    assert ([1, 28, 55, 60], True) == (explained, now != told)

    with open(folder / "traces.jsonl", "a", encoding="utf-8") as file:
        file.write(line_of([span("startup", 0.0, 1.0, 1, otel_perf__kind="startup", otel_perf__ready="ready()")]))
    live.advance()
    answers.state(live)

    assert [1, 28, 55, 60, 61] == explained
    with open(folder / "traces.jsonl", "a", encoding="utf-8") as file:
        file.write(line_of([span("late", 0.5, 30.0, 9, 1)]))
    live.advance()
    answers.state(live)
    assert [1, 28, 55, 60, 61] == explained
    clock[0] += 30.0
    answers.state(live)
    assert [1, 28, 55, 60, 61, 62] == explained
    assert answers.overview(live)["report"]["start"]["complete"]


def test_start_that_goes_on_past_its_budget_has_lasted_as_long_as_its_process_last_said(tmp_path, monkeypatch):
    """No span ends any more: only the budget's value grows."""
    clock = [1_000.0]
    monkeypatch.setattr(live_module, "monotonic", lambda: clock[0])
    alert = {"budget": "startup", "metric": "otel_perf.startup.duration", "severity": "critical", "limit": 2.0}
    files = {
        "traces_jsonl": START[1],
        "metrics_jsonl": metric_line("otel_perf.budget.value", 2.02, 2.02, budget="startup"),
        "logs_jsonl": event_line("otel_perf.budget.exceeded", 2.02, **alert, value=2.02, unit="s"),
    }
    folder = write(tmp_path / "run" / "77", **{name: text.encode() for name, text in files.items()})
    live = live_of(folder)
    before = answers.overview(live)
    with open(folder / "metrics.jsonl", "a", encoding="utf-8") as file:
        file.write(metric_line("otel_perf.budget.value", 60, 60.0, budget="startup"))
    clock[0] += 60.0
    live.advance()

    after = answers.overview(live)

    assert "the start has no end after 2.02 s" in before["verdict"]
    assert "the start has no end after 1 min" in after["verdict"]
    assert [2.02, 60.0] == [found["report"]["start"]["seconds"] for found in (before, after)]


def test_others_are_answered_while_a_start_is_explained(folder, monkeypatch):
    """Of 300,000 spans that takes ten seconds, in which the page still draws and the reader reads."""
    live = live_of(folder)
    begun, done = threading.Event(), threading.Event()
    real = answers.start_objects
    monkeypatch.setattr(answers, "start_objects", lambda *words: (begun.set(), done.wait(20), real(*words))[2])
    asked = threading.Thread(target=answers.overview, args=(live,))
    asked.start()
    assert begun.wait(20)
    others = threading.Thread(
        target=lambda: (
            live.advance(), answers.series(live, None, None, 10), answers.samples(live, None),
            answers.functions(live, None, None), answers.flame(live, None, None),
            answers.flame_of_trace(live, f"{1:032x}"),
        ),
    )  # fmt: skip
    others.start()
    others.join(10)

    assert not others.is_alive()

    done.set()
    asked.join(20)


# --- charts -----------------------------------------------------------------------------------------------------------


def point(name, at, value, monotonic=False, unit="By", **says):
    found = Point()
    found.metric, found.unit, found.type, found.monotonic = name, unit, "sum" if monotonic else "gauge", monotonic
    found.time, found.value, found.attributes = BEGIN + round(at * SECOND), value, says
    return found


def key_of(one):
    return one.metric, repr(sorted(one.attributes.items()))


def drawn(points, begin, end, parts):
    return charts._drawn([(float(at), float(value)) for at, value in points], begin, end, parts)


def test_day_of_samples_keeps_its_one_peak_and_its_one_dip():
    found = Charts()
    peak, dip = 40_001, 61_234
    for at in range(86_400):
        value = 900.0 if at == peak else 1.0 if at == dip else 100.0
        one = point("process.memory.virtual", at, value)
        found.point(one, ("process.memory.virtual", ""))
    (chart,) = found._others.values()
    points = chart.points.points()
    assert len(points) <= charts.RAW_OF_OTHERS

    shown = drawn(points, points[0][0], points[-1][0], 100)

    assert (900.0, 1.0) == (max(shown["high"]), min(shown["low"]))
    assert len(shown["times"]) <= 100
    at = shown["times"][shown["high"].index(900.0)]
    assert abs(at - (BEGIN / 1e6 + peak * 1_000)) <= 864_000  # within its part of the day


def test_hours_of_samples_are_kept_as_they_were():
    found = Charts()
    values = [float(at % 17) for at in range(14_000)]
    for at, value in enumerate(values):
        found.point(point("process.memory.usage", at, value), ("process.memory.usage", "[]"))
    found.settle()

    assert values == [value for _, value in found._main["process.memory.usage"].points()]


@given(
    st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=200),
    st.integers(1, 50),
    st.integers(0, 200),
    st.integers(0, 200),
)
def test_each_part_has_the_lowest_and_the_highest_of_what_is_in_it(values, parts, one, other):
    begin, end = min(one, other) * 1_000.0, max(one, other) * 1_000.0
    points = [(at * 1_000.0, value) for at, value in enumerate(values)]
    inside = [value for at, value in points if begin <= at <= end]

    rows = list(charts.inside_parts([point for point in points if begin <= point[0] <= end], begin, end, parts))

    assert len(rows) <= max(parts, 1)
    assert all(low <= high for _, low, high in rows)
    assert [at for at, _, _ in rows] == sorted(at for at, _, _ in rows)
    if inside:
        assert (min(inside), max(inside)) == (min(low for _, low, _ in rows), max(high for _, _, high in rows))


def test_what_held_before_a_range_is_there_as_its_first_point():
    assert {"times": [1_000.0], "low": [5], "high": [5]} == drawn([(1_000, 5)], 10_000, 20_000, 10)
    shown = drawn([(1_000, 5), (9_000, 6), (15_000, 7), (30_000, 8)], 10_000, 20_000, 10)
    assert ([9_000.0, 15_000.0], [6, 7]) == (shown["times"], shown["high"])


def test_pause_of_the_sampling_is_a_gap_and_seldom_changes_are_none():
    sampled = [(at * 1_000, 1) for at in [*range(20), *range(60, 80)]]
    shown = drawn(sampled, 0, 80_000, 400)
    assert 1 == shown["high"].count(None)
    assert 19_000 < shown["times"][shown["high"].index(None)] < 60_000

    changes = [(at * 1_000, at) for at in (0, 1, 2, 9, 10, 40, 41, 79)]
    assert None not in drawn(changes, 0, 80_000, 400)["high"]


def test_samples_since_the_newest_one_are_none_whatever_the_rounding(tmp_path):
    moments = [0.5 + at * 1.0000371 for at in range(400)]
    lines = "".join(metric_line("process.memory.usage", at, 1.0) for at in moments)
    live = live_of(write(tmp_path / "run" / "77", metrics_jsonl=lines.encode()))
    process = live.settled()

    (memory,) = live.charts.since(process, 0.0)

    assert 400 == len(memory["times"])
    for at, moment in enumerate(moments):
        later = live.charts.since(process, (BEGIN + round(moment * SECOND)) / 1e6)
        assert 399 - at == (len(later[0]["times"]) if later else 0)


def test_first_and_last_sample_are_in_the_range_of_all_whatever_the_rounding(tmp_path):
    chance = random.Random(5)
    for number in range(60):
        moments = [chance.random() * 5 + at * 1.0000371 for at in (0, 10, 20)]
        lines = "".join(metric_line("process.memory.usage", at, 1.0) for at in moments)
        live = live_of(write(tmp_path / f"run{number}" / "77", metrics_jsonl=lines.encode()))

        (memory,) = answers.series(live, None, None, 100)["series"]

        assert 3 == len([value for value in memory["high"] if value is not None])


def test_sum_is_a_rate_and_begins_anew_with_its_process():
    found = Charts()
    for at, value in ((0, 100), (1, 150), (3, 350), (4, 20), (5, 30)):
        one = point("system.network.io", at, value, monotonic=True, device="lo")
        found.point(one, key_of(one))

    (chart,) = found._others.values()

    assert "By/s" == chart.unit
    assert "system.network.io{device=lo}" == chart.name
    assert [50.0, 100.0, 10.0] == [value for _, value in chart.points.points()]


@pytest.mark.parametrize(
    ("metric", "unit", "monotonic", "shown", "of", "last"),
    [
        ("otel_perf.gc.time", "s", True, "%", "the time", 0.25),
        ("system.disk.time", "s", True, "%", "the time", 0.25),
        ("shop.waiting", "s", True, "%", "the time", 0.25),
        ("otel_perf.self.cpu_time", "s", True, "%", "one CPU", 0.25),
        ("otel_perf.gc.longest_pause", "s", False, "s", None, 1.5),
        ("otel_perf.score", "{score}", False, "{point}", "100", 1.5),
        ("system.network.io", "By", True, "By/s", None, 0.25),
    ],
)
def test_each_chart_s_numbers_have_a_unit_and_shares_their_whole(metric, unit, monotonic, shown, of, last, folder):
    live = live_of(folder)
    for at, value in ((0, 1.0), (2, 1.5)):
        one = point(metric, at, value, monotonic, unit)
        live.charts.point(one, key_of(one))

    found = {one["name"]: one for one in answers.series(live, None, None, 10)["series"]}[metric]

    assert (shown, of, last) == (found["unit"], found["of"], found["last"])


def test_series_are_bounded(monkeypatch):
    monkeypatch.setattr(charts, "MOST", 3)
    found = Charts()
    for number in range(5):
        one = point("queue", 0, 1.0, number=number)
        found.point(one, key_of(one))

    assert ["queue{number=0}", "queue{number=1}", "queue{number=2}"] == [one.name for one in found._others.values()]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), None, 1e300])
def test_what_is_no_measurement_is_not_drawn(value):
    found = Charts()
    one = point("queue", 0, value)
    found.point(one, key_of(one))
    found.point(point("process.memory.usage", 0, value), ("process.memory.usage", "[]"))
    found.settle()

    assert [[], 0] == [found._others[key_of(one)].points.points(), found._main["process.memory.usage"].count]


def test_markers_come_in_the_order_of_time_whatever_file_is_read_first(tmp_path):
    """A page that draws signs where there is room for them goes through them once."""
    stalls = "".join(metric_line("otel_perf.self.tick.lateness", at, 2.0, unit="s") for at in (3, 6, 12))
    logs = "".join(event_line("otel_perf.budget.exceeded", at, budget="cpu", severity="warning") for at in (1, 4, 14))
    files = {"traces_jsonl": TRACES, "metrics_jsonl": stalls, "logs_jsonl": logs}
    live = live_of(write(tmp_path / "run" / "77", **{name: text.encode() for name, text in files.items()}))

    found = answers.series(live, None, None, 10)["markers"]
    _, samples = answers.samples(live, 1.0)

    expected = [(1, "ready"), (1, "alert"), (3, "stall"), (4, "alert"), (6, "stall"), (12, "stall"), (14, "alert")]
    assert expected == [((one["time"] - BEGIN / 1e6) / 1e3, one["kind"]) for one in found]
    assert found == samples["markers"]


# --- flame graphs -----------------------------------------------------------------------------------------------------


def profile_of(rows):
    """Return the Profile of rows: at, path, calls, time, own time; functions are called as their path's end."""
    found = Profile()
    for at, path, *numbers in rows:
        for name, value in zip(("calls", "time", "self_time"), numbers, strict=True):
            one = point(f"otel_perf.profile.{name}", at, value, True, path=path, function=f"shop.{path.split(';')[-1]}")
            found.point(one, key_of(one))
    return found


def at_second(seconds):
    return BEGIN + round(seconds * SECOND)


def test_range_is_the_difference_of_the_totals_at_its_ends():
    found = profile_of([(1, "a", 2, 1.0, 0.5), (3, "a", 5, 2.5, 1.5), (9, "a", 6, 3.0, 2.0)])

    assert {("a", "shop.a"): (5, 2.5, 1.5)} == found.between(-1, at_second(5))
    assert {("a", "shop.a"): (3, 1.5, 1.0)} == found.between(at_second(2), at_second(5))
    assert {("a", "shop.a"): (6, 3.0, 2.0)} == found.between(-1, 2**63 - 1)
    assert {} == found.between(at_second(4), at_second(8))


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 5), st.floats(0, 10)), max_size=60), st.integers(0, 300))
def test_two_ranges_add_up_to_both(calls, cut):
    totals = {}
    rows = []
    for at, path, seconds in sorted(calls):
        count, total = totals.get(path, (0, 0.0))
        totals[path] = count + 1, total + seconds
        rows.append((at, f"p{path}", *totals[path], totals[path][1]))
    found = profile_of(rows)

    first, second = found.between(-1, at_second(cut)), found.between(at_second(cut), 2**63 - 1)

    for key, numbers in found.between(-1, 2**63 - 1).items():
        parts = [half.get(key, (0, 0, 0)) for half in (first, second)]
        assert numbers == pytest.approx([sum(one) for one in zip(*parts, strict=True)])


def test_totals_are_thinned_to_coarser_steps_and_never_change(monkeypatch):
    monkeypatch.setattr(profile, "ROWS", 100)
    rows = [(at, f"p{at % 3}", at, float(at), float(at)) for at in range(1, 400)]
    found = profile_of(rows)

    assert found._rows <= 100
    assert found._rows == sum(len(one.moments) for one in found.paths.values())
    assert found.step > SECOND
    whole = found.between(-1, 2**63 - 1)
    assert {("p0", "shop.p0"): 399, ("p1", "shop.p1"): 397, ("p2", "shop.p2"): 398} == {
        key: numbers[0] for key, numbers in whole.items()
    }
    step = found.step / SECOND
    for cut in range(0, 400, 20):
        seen = found.between(-1, at_second(cut)).get(("p0", "shop.p0"), (0,))[0]
        assert cut - step - 3 <= seen <= cut


def durations_at(at, durations, scale=0):
    """Return the point that a process writes after calls of so many seconds."""
    found = point("otel_perf.function.duration", at, None, function="shop.pay", kind="function")
    buckets = [math.ceil(math.log2(one) * 2**scale) - 1 for one in durations]
    found.scale, found.offset = scale, min(buckets)
    found.buckets = [buckets.count(index) for index in range(min(buckets), max(buckets) + 1)]
    found.count, found.sum, found.min, found.max = len(durations), sum(durations), min(durations), max(durations)
    return found


@settings(deadline=None)
@given(
    st.lists(st.floats(1e-6, 10), min_size=1, max_size=40),
    st.lists(st.floats(1e-6, 10), min_size=1, max_size=40),
    st.integers(0, 3),
)
def test_percentiles_of_a_range_are_those_of_its_own_calls_within_a_bucket(before, after, scale):
    found = Profile()
    for at, calls in ((1, before), (5, before + after)):
        one = durations_at(at, calls, scale)
        found.point(one, key_of(one))
    totals = found.functions["shop.pay", "function"]

    numbers = totals.quantiles_between(at_second(2), at_second(9), (0.0, 0.5, 1.0))

    ordered = sorted(after)
    factor = 2.0**2.0**-scale * (1 + 1e-9)
    for value, true in zip(numbers, (ordered[0], ordered[(len(ordered) - 1) // 2], ordered[-1]), strict=True):
        assert true / factor <= value <= true * factor
    assert [None] == totals.quantiles_between(-1, at_second(0), (0.5,))
    assert [None] == totals.quantiles_between(at_second(6), at_second(9), (0.5,))  # nothing ended there


def test_histograms_are_thinned_with_their_totals(monkeypatch):
    monkeypatch.setattr(profile, "ROWS", 100)
    found = Profile()
    for at in range(1, 200):
        one = durations_at(at, [0.001] * at if at < 150 else [0.001] * 149 + [0.5] * (at - 149))
        found.point(one, key_of(one))
    totals = found.functions["shop.pay", "function"]

    assert len(totals.histograms) == len(totals.moments) <= 25
    assert found._rows == profile.WITH_HISTOGRAM * len(totals.moments) <= 100
    assert 0.001 <= totals.quantiles_between(-1, at_second(120), (0.5,))[0] <= 0.002
    assert 0.25 <= totals.quantiles_between(at_second(180), at_second(199), (0.5,))[0] <= 0.5


def test_histogram_that_has_become_coarser_is_of_no_range():
    found = Profile()
    for one in (durations_at(1, [0.5], 2), durations_at(5, [0.5, 3.0], 1)):
        found.point(one, key_of(one))

    totals = found.functions["shop.pay", "function"]
    assert [None, None] == totals.quantiles_between(at_second(2), at_second(9), (0.5, 0.95))
    assert None not in totals.quantiles_between(-1, at_second(9), (0.5, 0.95))


def test_node_is_at_least_as_wide_as_what_is_in_it():
    """A call that goes on has no time yet, and children that ran side by side more than their parent."""
    found = flame_object(
        tree_of({("a;b", "b"): (1, 2.0, 2.0), ("a;c", "c"): (1, 1.0, 1.0), ("d", "d"): (1, 0.5, 0.5)}), 1, 2
    )

    names = [found["names"][number] for number in found["name"]]
    assert ["all", "a", "b", "c", "d"] == names
    assert [3.5e9, 3e9, 2e9, 1e9, 0.5e9] == found["totalNs"]
    assert [-1, 0, 1, 1, 0] == found["parent"]
    assert [None, None, 1, 1, 1] == found["calls"]


def test_lightest_nodes_are_left_out_of_a_large_flame_graph_with_their_parents_kept():
    paths = {(f"a;{number}", "x"): (1, float(number), float(number)) for number in range(1, 50)}

    found = flame_object(tree_of(paths), None, None, most=10)

    names = [found["names"][number] for number in found["name"]]
    assert ["all", "a", *map(str, range(42, 50))] == names
    assert (41, 41 * 42 / 2 * 1e9) == (found["folded"], found["totalNs"][0] - sum(found["selfNs"]))
    assert all(0 <= parent < row for row, parent in enumerate(found["parent"]) if row)


@pytest.mark.parametrize("same", [True, False])
def test_large_flame_graph_has_as_many_nodes_as_there_is_room_for_and_says_how_many_it_has_not(same):
    """However many of them took the same time."""
    paths = {
        (f"a;b{number % 50};c{number}", "x"): (1, 1.0 if same else float(number + 1), 0.5) for number in range(4_948)
    }  # 5,000 nodes with those above them

    found = flame_object(tree_of(paths), None, None, most=2_000)

    assert (2_000, 3_000) == (len(found["name"]), found["folded"])
    assert all(0 <= parent < row for row, parent in enumerate(found["parent"]) if row)
    whole = flame_object(tree_of(paths), None, None)
    assert (5_000, 0) == (len(whole["name"]), whole["folded"])


def test_command_counts_the_call_paths_that_it_leaves_out_too(folder, monkeypatch):
    lines = "".join(path_lines(1, f"a;b{number}", "x", 1, number, number) for number in range(1, 10))
    live = live_of(write(folder, metrics_jsonl=lines.encode()))
    whole = sources.profile(live, sources.Range()).words
    monkeypatch.setattr(sources, "flame", lambda *words: answers.flame(*words, most=4))

    found = sources.profile(live, sources.Range()).words

    assert "45 s in 10 call paths, the whole run" == whole
    assert "45 s in 10 call paths (7 of them, the shortest, left out), the whole run" == found


def test_difference_keeps_what_was_heavy_in_the_baseline():
    root = tree_of({("gone", "x"): (1, 0.1, 0.1), ("here", "x"): (1, 2.0, 2.0), ("small", "x"): (1, 0.5, 0.5)})
    tree_of({("gone", "x"): (1, 9.0, 9.0)}, root, base=True)

    found = flame_object(root, None, None, difference=True, most=3)

    assert (["all", "gone", "here"], 1) == ([found["names"][number] for number in found["name"]], found["folded"])


# --- traces -----------------------------------------------------------------------------------------------------------


def test_places_lead_to_no_later_line_than_that_of_the_moment(monkeypatch):
    monkeypatch.setattr(traces, "MOST_PLACES", 16)
    places = traces.Places()
    ends = []
    for at in range(1_000):
        latest = at_second(at) if at % 7 else 0  # a line of metrics of the past, or without a time
        ends.append(max(latest, ends[-1] if ends else 0))
        places.add(at * 100, latest)

    for wanted in range(0, 1_000, 13):
        offset = places.before(at_second(wanted))
        first = next(number for number, latest in enumerate(ends) if latest >= at_second(wanted))
        assert offset <= first * 100
        assert first * 100 - offset <= 1_000 // 8 * 100 * 2
        later = next((number for number, latest in enumerate(ends) if latest > at_second(wanted)), 1_000)
        assert later * 100 <= places.after(at_second(wanted))
    assert places.after(at_second(100)) <= 400 * 100
    assert len(places._offsets) <= 16


def test_trace_in_a_large_file_is_found_by_its_time(tmp_path, monkeypatch):
    lines = [
        line_of([span(f"call {at}", at, at + 0.5, at + 1, trace=at + 1, otel_perf__kind="function")])
        for at in range(300)
    ]
    lines[150] = line_of([span("slow", 140, 150, 9_999, trace=9_999, otel_perf__kind="function")])
    lines[151] = line_of([span("late", 149, 151, 9_998, 9_999, trace=9_999)])
    folder = write(tmp_path / "run" / "77", traces_jsonl="".join(lines).encode())
    monkeypatch.setattr(answers, "SMALL", 100)
    live = live_of(folder)
    asked = []
    monkeypatch.setattr(answers, "Search", lambda *words: asked.append(words) or traces.Search(*words))

    found = answers.trace(live, f"{9_999:032x}")

    assert ["slow", "late"] == [row["name"] for row in found["spans"]]
    _, _, begin, end, _ = asked[0]
    assert 0 < begin <= sum(map(len, lines[:150]))
    assert sum(map(len, lines[:212])) <= end <= sum(map(len, lines[:215]))  # a minute after both

    answers.flame_of_trace(live, f"{9_999:032x}")  # as the command does, which has time

    assert (0, traces.FOREVER) == asked[1][2:4]


def test_trace_of_very_many_spans_keeps_its_longest(tmp_path, monkeypatch):
    monkeypatch.setattr(traces, "MOST_SPANS", 10)
    spans = [span(f"c{at}", 0, at / 100, at + 2, 1) for at in range(1, 40)] + [span("root", 0, 1, 1)]
    folder = write(tmp_path / "run" / "77", traces_jsonl="".join(line_of([one]) for one in spans).encode())

    nodes, left_out = traces.find(traces.Search(str(folder / "traces.jsonl"), f"{1:032x}"))

    assert ({"root", *(f"c{at}" for at in range(31, 40))}, 30) == ({node.name for node in nodes}, left_out)
    found = waterfall.trace_object("x", nodes, left_out, most=5)
    assert (["root", "c39", "c38", "c37", "c36"], 35) == (
        ["root", *sorted([row["name"] for row in found["spans"] if row["name"] != "root"], reverse=True)],
        found["folded"],
    )


def test_flame_graph_of_a_trace_is_of_all_its_spans(tmp_path, monkeypatch):
    monkeypatch.setattr(traces, "MOST_SPANS", 10)
    spans = [span("call", at, at + 0.5, at + 2, 1, otel_perf__self_time=0.25) for at in range(40)]
    spans.append(span("root", 0, 40, 1))
    folder = write(tmp_path / "run" / "77", traces_jsonl="".join(line_of([one]) for one in spans).encode())

    found = answers.flame_of_trace(live_of(folder), f"{1:032x}")

    assert ["all", "root", "call"] == [found["names"][number] for number in found["name"]]
    assert [None, 1, 40] == found["calls"]
    assert [40 * SECOND, 40 * SECOND, 20 * SECOND] == found["totalNs"]
    assert [0, 20 * SECOND, 10 * SECOND] == found["selfNs"]
    assert not found["partial"]


def test_flame_graph_of_the_start_is_what_the_report_was_made_of(tmp_path, monkeypatch):
    """However long it takes to read the file: the spans of the start are in memory."""
    monkeypatch.setattr(traces, "MOST_SPANS", 1)
    folder = write(tmp_path / "run" / "77")
    live = live_of(folder)
    (folder / "traces.jsonl").unlink()

    found = answers.flame_of_trace(live, f"{1:032x}", patience=-1.0)

    assert {"all", "startup", "CoreInit", "read"} == set(found["names"])
    assert not found["partial"]


def test_start_that_is_still_being_read_is_said_to_be_so(tmp_path, monkeypatch):
    monkeypatch.setattr(live_module, "SLICE", 100)
    live = Live(str(write(tmp_path / "run" / "77", traces_jsonl="".join(START).encode())))
    for _ in range(2):
        live.advance()
    assert (True, True) == (answers.start(live)["partial"], answers.flame_of_trace(live, f"{1:032x}")["partial"])

    while live.advance():
        pass
    assert (False, False) == (answers.start(live)["partial"], answers.flame_of_trace(live, f"{1:032x}")["partial"])


def test_file_that_is_not_read_to_its_end_in_time_is_said_to_be_so(tmp_path, monkeypatch):
    spans = [span("call", at, at + 0.5, at + 2, 1) for at in range(4)]
    folder = write(tmp_path / "run" / "77", traces_jsonl="".join(line_of([one]) for one in spans).encode())
    live = live_of(folder)
    clock = iter(range(100))
    monkeypatch.setattr(traces, "monotonic", lambda: float(next(clock)))

    found = answers.flame_of_trace(live, f"{1:032x}", patience=2.5)
    assert (True, [None, 2]) == (found["partial"], found["calls"])
    monkeypatch.setattr(answers, "PATIENCE", 2.5)
    found = answers.trace(live, f"{1:032x}")
    assert (True, 2) == (found["partial"], len(found["spans"]))
    with pytest.raises(UserError, match=r"what was read of it in 2\.5 s has no such trace"):
        answers.trace(live, f"{2:032x}")

    found = answers.flame_of_trace(live, f"{1:032x}")
    assert (False, [None, 4]) == (found["partial"], found["calls"])


@settings(max_examples=100, deadline=None)
@given(steps=st.lists(st.tuples(st.floats(0, 0.01), st.floats(1e-6, 0.01)), max_size=60), most=st.integers(1, 20))
def test_parts_of_the_critical_path_are_joined_and_cover_it(steps, most):
    parts, at = [], 0.0
    for gap, length in steps:
        parts.append((at + gap, at + gap + length))
        at += gap + length

    found = waterfall.joined(parts, 0.001, most)

    assert len(found) <= most
    assert all(any(begin <= one and other <= end for begin, end in found) for one, other in parts)
    assert {begin for begin, _ in found} <= {begin for begin, _ in parts}
    assert all(later[0] - earlier[1] >= 0.001 for earlier, later in pairwise(found))
    if len(parts) <= most and all(later[0] - earlier[1] >= 0.001 for earlier, later in pairwise(parts)):
        assert parts == found


def test_start_of_thousands_of_calls_has_few_parts_and_each_row_s_time_on_the_path():
    calls = [span("tiny", at / 1_000, at / 1_000 + 0.0005, 10 + at, 2) for at in range(2_000)]
    rows = [span("root", 0, 2, 1), span("Load", 0, 2, 2, 1), *calls]

    root, load, *others = waterfall.trace_object("x", nodes_of(rows), most=500)["spans"]

    assert [[0.0005, 2.0]] == load["critical"]
    assert (0.0, 1.0, 0.0005) == (root["onPath"], load["onPath"], others[0]["onPath"])
    assert [others[0]["begin"], others[0]["begin"] + 0.0005] == others[0]["critical"][0]


def nodes_of(spans):
    data = {"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}
    return [node_of(one) for one in spans_of(data, Skipped())]


@settings(max_examples=200, deadline=None)
@given(
    spans=st.lists(
        st.tuples(
            st.sampled_from("abc"), st.integers(0, 12), st.integers(0, 6), st.integers(1, 20), st.integers(1, 4),
            st.sampled_from([{}, {"otel_perf__self_time": 0.5}, {"otel_perf__detached": True}]),
        ),
        min_size=1, max_size=12, unique_by=lambda one: one[3],
    )
)  # fmt: skip
def test_calls_make_the_tree_that_the_waterfall_shows(spans):
    """Whatever comes first, is missing or was written twice."""
    rows = [
        span(name, begin, begin + length, id_, max(0, id_ - above), **says)
        for name, begin, length, id_, above, says in spans
    ]
    rows.append(rows[0])
    calls = traces.Calls()
    for node in nodes_of(rows):
        calls.add(node)

    expected = {}
    waiting = [(top, ()) for top in build_trace(nodes_of(rows)).tops()]
    while waiting:
        node, above = waiting.pop()
        path = (*above, node.name)
        count, total, own = expected.get(path, (0, 0.0, 0.0))
        expected[path] = count + 1, total + node.duration, own + node.self_time
        waiting.extend((child, path) for child in node.children)

    found = {}
    waiting = [(calls.tree(), ())]
    while waiting:
        branch, path = waiting.pop()
        found[path] = branch.calls, branch.total, branch.own
        waiting.extend((child, (*path, name)) for name, child in branch.children.items())
    assert (None, 0.0, 0.0) == found.pop(())
    assert {path: pytest.approx(numbers) for path, numbers in expected.items()} == found


def test_calls_that_are_each_other_s_parents_are_a_tree_too():
    calls = traces.Calls()
    for node in nodes_of([span("a", 2, 3, 1, 2), span("b", 1, 4, 2, 1), span("c", 0, 1, 3, 1), span("d", 0, 1, 4, 4)]):
        calls.add(node)

    root = calls.tree()

    assert {"b", "d"} == set(root.children)  # of a circle the first is the top
    assert ["c"] == list(root.below("b").below("a").children)


def test_waterfall_of_orphans_and_circles_is_in_pre_order():
    nodes = [
        span("a", 0, 9, 1, 5), span("b", 1, 2, 2, 1), span("c", 3, 4, 3, 4), span("d", 3, 4, 4, 3),
        span("b", 1, 2, 2, 1),
    ]  # fmt: skip
    found = waterfall.trace_object("x", nodes_of(nodes))

    assert ["a", "b", "c", "d"] == sorted(row["name"] for row in found["spans"])
    for number, row in enumerate(found["spans"]):
        assert row["parent"] < number
        assert row["depth"] == (0 if row["parent"] < 0 else found["spans"][row["parent"]]["depth"] + 1)


# --- runs -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def runs(tmp_path):
    found = Runs(str(tmp_path))
    yield found
    found.end()


def test_several_pages_share_one_reader(folder, tmp_path, runs):
    by_name = runs.live(runs.find("run", "77"))

    assert by_name is runs.live(runs.find("newest", "first"))
    assert by_name.whole.is_set()


def test_processes_that_nobody_looks_at_are_forgotten(tmp_path, runs):
    for number in range(7):
        write(tmp_path / f"run{number}" / "77")
    lives = [runs.live(runs.find(f"run{number}", "77")) for number in range(7)]

    assert [False] * 3 + [True] * 4 == [live in runs._lives.values() for live in lives]


def test_reader_that_began_anew_is_another_one(folder, runs):
    first = runs.live(runs.find("run", "77"))
    (folder / "traces.jsonl").write_bytes(START[3].encode())
    limit = time.monotonic() + 10
    while (second := runs.live(runs.find("run", "77"))) is first:
        assert time.monotonic() < limit
        time.sleep(0.05)

    assert 1 == second.spans


@pytest.mark.parametrize("name", ["..", ".", "", "/", "run/77", "../x", "run\0", "newest/..", "77"])
def test_names_that_were_not_found_there_are_missing(folder, runs, name):
    with pytest.raises(Missing):
        runs.find(name, "first")
    with pytest.raises(Missing):
        runs.find("run", name if name != "77" else "78")


def test_folder_that_may_not_be_read_is_named_and_is_read_once_it_may(folder, tmp_path, runs, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refuse)
        with pytest.raises(Missing, match=f"cannot read '{tmp_path}': Permission denied; is it yours?"):
            runs.find("newest", "first")
        assert not runs.any_runs()

    assert "run" == runs.find("newest", "first").run.name


@pytest.fixture
def clock(monkeypatch):
    """Return the monotonic seconds of whoever lists runs, which a test sets."""
    now = [1_000.0]
    monkeypatch.setattr(runs_module, "monotonic", lambda: now[0])
    return now


def start_in(runs, clock):
    """Return the seconds of the start of the one run there is, a while after the last look."""
    clock[0] += runs_module.AGAIN + 1.0
    (row,) = runs.listing()["runs"]
    return row["startSeconds"]


def test_process_without_a_start_is_read_once_however_often_it_is_listed(tmp_path, runs, clock, monkeypatch):
    """As a forked worker: its metrics grow each second, its traces now and then."""
    read = []

    class Counted(io.BufferedReader):
        def readline(self, size=-1):
            read.append(len(line := super().readline(size)))
            return line

    monkeypatch.setattr(parts, "open", lambda path, mode: Counted(io.FileIO(path)), raising=False)
    spans, logs = "".join(AFTER), event_line("otel_perf.process.ended", 20)
    files = {"traces_jsonl": spans.encode(), "metrics_jsonl": b"", "logs_jsonl": logs.encode()}
    folder = write(tmp_path / "run" / "77", **files)

    for at in range(5):
        with open(folder / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write(metric_line("process.memory.usage", at, 1e6))
        assert start_in(runs, clock) is None
    assert len(spans) + len(logs) == sum(read)
    with open(folder / "traces.jsonl", "a", encoding="utf-8") as file:
        file.write(AFTER[0])
    assert start_in(runs, clock) is None
    assert len(spans) + len(logs) + len(AFTER[0]) == sum(read)

    with open(folder / "traces.jsonl", "a", encoding="utf-8") as file:
        file.write(START[3])
    assert 1.0 == start_in(runs, clock)


def test_readiness_that_is_inferred_while_a_run_is_listed_is_its_start_until_the_root_comes(tmp_path, runs, clock):
    folder = write(tmp_path / "run" / "77", traces_jsonl=START[1].encode(), logs_jsonl=b"")
    assert start_in(runs, clock) is None

    with open(folder / "logs.jsonl", "a", encoding="utf-8") as file:
        file.write(event_line("otel_perf.startup.inferred", 0.7, **{"otel_perf.startup.duration": 0.7}))
    assert 0.7 == start_in(runs, clock)

    with open(folder / "traces.jsonl", "a", encoding="utf-8") as file:
        file.write(START[3])
    assert 1.0 == start_in(runs, clock)


def test_line_that_is_half_written_when_a_run_is_listed_is_read_once_it_is_whole(tmp_path, runs, clock):
    pid = str(os.getpid())
    root = line_of([span("startup", 0.0, 1.0, 1, otel_perf__kind="startup")], process__pid=int(pid)).encode()
    folder = write(tmp_path / "run" / pid, traces_jsonl=START[1].encode() + root[:200])
    assert start_in(runs, clock) is None

    with open(folder / "traces.jsonl", "ab") as file:
        file.write(root[200:])

    assert 1.0 == start_in(runs, clock)


def test_process_whose_files_are_others_is_listed_anew(tmp_path, runs, clock):
    folder = write(tmp_path / "run" / "77", traces_jsonl="".join(AFTER).encode())
    assert start_in(runs, clock) is None

    (folder / "new").write_bytes("".join([*START, *AFTER]).encode())
    os.replace(folder / "new", folder / "traces.jsonl")

    assert 1.0 == start_in(runs, clock)


def test_answer_has_null_for_what_is_no_number():
    assert '{"a":[null,null,1.5,"x"]}' == encode({"a": [float("nan"), float("inf"), 1.5, "x"]})
    assert '"\\ud800<\\u2028"' == encode("\ud800<\u2028")


def test_every_reader_is_given_each_line_once(folder, monkeypatch):
    """Nothing is read twice, whatever is asked in between."""
    opened = []
    real = loading.open_at
    monkeypatch.setattr(loading, "open_at", lambda path, offset: opened.append((path, offset)) or real(path, offset))
    live = live_of(folder)
    answers.overview(live)
    answers.series(live, None, None, 100)
    live.advance()

    for name in FILES:
        offsets = [offset for path, offset in opened if path.endswith(name)]
        assert offsets == sorted(offsets)
        assert all(later > earlier or later == len(FILES[name]) for earlier, later in pairwise(offsets))
