"""Counters, gauges and timers: exact sums, bounded series, values and names that are taken or refused in words."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import gc
import inspect
import json
import math
import sys
import threading
import time
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import otel_perf as perf
from otel_perf.metrics import instruments, measured, timers
from otel_perf.recorder import BUCKETS, LOWEST, bucket_of

if TYPE_CHECKING:
    from collections.abc import Iterator

START, NOW = 1_000, 2**62  # nanoseconds: before and after all series


@pytest.fixture(autouse=True)
def _no_instruments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test instruments of its own."""
    monkeypatch.setattr(instruments, "by_name", {})


def decoded(any_value: dict[str, Any]) -> Any:
    ((kind, value),) = any_value.items()
    return int(value) if kind == "intValue" else value


def written(changed: list[Any] | None = None, time: int = NOW) -> dict[str, list[Any]]:
    """Return the points that are written now by metric, each with its attributes decoded; a timer's with its count."""
    found: dict[str, list[Any]] = {}
    for text in measured.instrument_metrics(START, time, changed):
        metric = json.loads(text)
        (body,) = (metric[form] for form in ("sum", "gauge", "exponentialHistogram") if form in metric)
        for point in body["dataPoints"]:
            pairs = {pair["key"]: decoded(pair["value"]) for pair in point["attributes"]}
            found.setdefault(metric["name"], []).append((pairs, number(point)))
    return found


def number(point: dict[str, Any]) -> Any:
    if "asInt" in point:
        return int(point["asInt"])
    return point["asDouble"] if "asDouble" in point else int(point["count"])


def values(name: str) -> list[Any]:
    return [value for _, value in written().get(name, [])]


# --- sums -------------------------------------------------------------------------------------------------------------


def test_counter_keeps_a_sum_for_each_combination_of_attributes():
    orders = perf.counter("orders")
    orders.add(1)
    orders.add(2, {"kind": "web"})
    orders.add(3, {"kind": "web", "paid": "yes"})
    orders.add(4, {"paid": "yes", "kind": "web"})

    assert [({}, 1), ({"kind": "web"}, 2), ({"kind": "web", "paid": "yes"}, 7)] == written()["orders"]


def test_the_order_of_the_attributes_makes_no_series():
    keys = [f"k{i}" for i in range(4)]
    for first in range(4):
        perf.counter("c").add(1, dict.fromkeys(keys[first:] + keys[:first], "x"))

    assert [4] == values("c")


@given(st.lists(st.tuples(st.integers(0, 2**70), st.sampled_from([None, {}, {"a": "b"}, {"a": 1}, {"a": True}]))))
def test_sums_of_integers_are_exact(measurements):
    instruments.by_name.clear()
    for amount, fields in measurements:
        perf.counter("c").add(amount, fields)

    sums = {series.text: series.value for series in perf.counter("c").series.values()}

    assert sum(amount for amount, _ in measurements) == sum(sums.values())
    assert all(type(value) is int for value in sums.values())


def test_values_that_are_equal_but_of_other_types_are_series_of_their_own():
    for _ in range(2):  # made, then found
        for value in (1, True, 1.0, "1"):
            perf.counter("c").add(1, {"v": value})

    assert [(1, 2), (True, 2), (1.0, 2), ("1", 2)] == [(fields["v"], n) for fields, n in written()["c"]]
    assert ["int", "bool", "float", "str"] == [type(fields["v"]).__name__ for fields, _ in written_again("c")]


def written_again(name: str) -> list[Any]:
    for series in instruments.by_name[name].series.values():
        series.seen = None
    return written()[name]


def test_counts_are_exact_while_64_threads_add():
    counter, timed, gauge = perf.counter("c"), perf.timer("t"), perf.gauge("g")
    turns = 2_000
    begin = threading.Barrier(64)

    def work(number: int) -> None:
        fields = {"thread": str(number % 8)}
        begin.wait()
        for turn in range(turns):
            counter.add(1)
            counter.add(1, fields)
            counter.add(0.5, {"half": turn % 7})
            timed.record(0.001)
            gauge.set(turn, fields)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(64)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            written()  # the worker reads meanwhile
            time.sleep(0.02)
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)

    points = written_again("c")
    assert 64 * turns == next(n for fields, n in points if not fields)
    assert {str(i): 8 * turns for i in range(8)} == {f["thread"]: n for f, n in points if "thread" in f}
    assert 64 * turns * 0.5 == sum(n for fields, n in points if "half" in fields)
    assert [({}, 64 * turns)] == written_again("t")


def test_a_finaliser_that_adds_in_the_middle_of_an_add_deadlocks_nothing_and_loses_nothing():
    counter, born = perf.counter("c"), 0
    thresholds = gc.get_threshold()

    class Adds:
        def __init__(self) -> None:
            self.me = self  # only the collector frees it

        def __del__(self) -> None:
            counter.add(1, {"new": str(len(counter.series))})

    gc.set_threshold(5, 2, 2)
    try:
        for turn in range(3_000):
            Adds()
            born += 1
            counter.add(1, {"user": str(turn % 500)})
        gc.collect()
    finally:
        gc.set_threshold(*thresholds)

    assert born + 3_000 == sum(values("c"))


# --- numbers ----------------------------------------------------------------------------------------------------------


class Level(enum.IntEnum):
    HIGH = 3


class Metres(float):
    pass


@pytest.mark.parametrize(
    ("amount", "shown"),
    [(True, 1), (Level.HIGH, 3), (Metres(1.5), 1.5), (Decimal("2.5"), 2.5), (Fraction(1, 4), 0.25), (2**63, 2.0**63)],
)
def test_any_real_number_counts_as_int_or_float(amount, shown):
    perf.counter("c").add(amount)
    perf.counter("c").add(0)

    (value,) = values("c")
    assert shown == value
    assert type(shown) is type(value)


@pytest.mark.parametrize("amount", [math.nan, math.inf, -math.inf, Decimal("NaN"), 10**400, Fraction(10**400)])
def test_what_is_not_finite_is_dropped_and_counted_by_instrument(amount):
    perf.counter("c").add(1)
    perf.counter("c").add(amount)
    perf.gauge("g").set(amount)
    perf.timer("t").record(amount)

    found = written()

    assert [({}, 1)] == found.pop("c")
    assert [({"instrument": name}, 1) for name in ("c", "g", "t")] == found.pop("otel_perf.self.refused")
    assert {} == found


def test_a_negative_amount_is_refused_and_says_what_to_use():
    with pytest.raises(ValueError, match=r"^perf.counter\('c'\).add: takes 0 or more, got -1; perf.gauge\(\) is for"):
        perf.counter("c").add(-1, {"new": "series"})
    with pytest.raises(ValueError, match=r"^perf.timer\('t'\).record: takes 0 or more, got -0.5$"):
        perf.timer("t").record(-0.5)
    perf.gauge("g").set(-1)

    assert {"g": [({}, -1)]} == written()


@pytest.mark.parametrize("amount", ["1", None, [1], 1j])
def test_what_is_no_number_is_a_type_error_that_names_the_type(amount):
    for measure in (perf.counter("c").add, perf.gauge("g").set, perf.timer("t").record):
        with pytest.raises(TypeError, match=f"takes a number, not {type(amount).__name__}"):
            measure(amount)


# --- attributes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fields", ["kind=web", ["kind"], 3])
def test_attributes_that_are_no_mapping_are_a_type_error(fields):
    for measure in (perf.counter("c").add, perf.gauge("g").set, perf.timer("t").record):
        with pytest.raises(TypeError, match=f"attributes are a dict, not {type(fields).__name__}"):
            measure(1, fields)
    with pytest.raises(TypeError, match="attributes are a dict"):
        perf.timer("t", fields)


class Odd:
    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        return "odd"


class Broken:
    def __hash__(self) -> int:
        raise RuntimeError("mine")

    def __str__(self) -> str:
        raise RuntimeError("mine")


def test_values_of_odd_types_are_text_and_one_that_fails_costs_itself_only():
    for _ in range(2):
        perf.counter("c").add(1, {"odd": Odd(), "list": [1, "a"], "none": None, "bad": Broken(), 7: "seven"})

    (point,) = json.loads(measured.instrument_metrics(START, NOW)[0])["sum"]["dataPoints"]
    pairs = {pair["key"]: pair["value"] for pair in point["attributes"]}
    items = {"values": [{"intValue": "1"}, {"stringValue": "a"}]}
    assert {
        "odd": {"stringValue": "odd"},
        "list": {"arrayValue": items},
        "none": {},
        "7": {"stringValue": "seven"},
    } == pairs
    assert "2" == point["asInt"]


def test_a_dict_that_changes_after_the_call_changes_nothing():
    fields: dict[str, Any] = {"kind": "web", "list": [1]}
    perf.counter("c").add(1, fields)
    fields["kind"] = "app"
    fields["list"].append(2)
    perf.counter("c").add(1, fields)

    assert ["web", "app"] == [pairs["kind"] for pairs, _ in written()["c"]]


# --- bounds -----------------------------------------------------------------------------------------------------------


def test_more_than_2000_series_are_summed_in_one_that_says_so():
    counter = perf.counter("c")
    for _ in range(2):
        for user in range(5_000):
            counter.add(1, {"user": user})

    found = written()
    points = found["c"]
    rest = [value for fields, value in points if fields == {"otel.metric.overflow": True}]
    assert 2_001 == len(points)
    assert 10_000 == sum(value for _, value in points)
    assert [6_000] == rest
    assert [({"instrument": "c"}, 6_000)] == found["otel_perf.self.overflow"]


def test_the_cap_holds_while_threads_make_series():
    counter = perf.counter("c")

    def work(number: int) -> None:
        for turn in range(1_000):
            counter.add(1, {"user": f"{(turn * 7 + number * 13) % 4_000}"})

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    points = written()["c"]
    assert 2_001 == len(points)
    assert 16_000 == sum(value for _, value in points)


def test_attributes_that_are_too_long_are_part_of_the_rest():
    perf.counter("c").add(1, {"sql": "x" * 5_000})
    perf.counter("c").add(2, {"sql": "y" * 5_000})

    assert [({"otel.metric.overflow": True}, 3)] == written()["c"]


def test_what_series_are_found_by_is_bounded_too():
    counter = perf.counter("c")
    for turn in range(10_000):
        counter.add(1, {"v": float("nan"), "turn": turn % 10})

    assert 10 == len(counter.series)
    assert len(counter._quick) + len(counter._typed) <= 2 * instruments.MAX_SERIES


def test_instruments_beyond_the_limit_are_counted_as_dropped_and_keep_nothing(monkeypatch):
    monkeypatch.setattr(instruments.recorder.state, "dropped", 0)
    for number in range(instruments.MAX_INSTRUMENTS + 5):
        perf.counter(f"c{number}").add(1)

    assert instruments.MAX_INSTRUMENTS == len(written())
    assert 5 == instruments.recorder.state.dropped


def test_no_metric_is_longer_than_a_line_may_be():
    for user in range(2_000):
        perf.counter("c").add(1, {"user": f"{user}" + "x" * 1_000})

    texts = measured.instrument_metrics(START, NOW)

    assert max(map(len, texts)) < measured.MAX_LINE
    assert 2_000 == sum(len(json.loads(text)["sum"]["dataPoints"]) for text in texts)


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a", "http.server/requests-total_2", "A" * 255])
def test_names_by_the_rules_of_opentelemetry_are_taken_as_they_are(name):
    perf.counter(name).add(1)

    assert {name: [({}, 1)]} == written()


@pytest.mark.parametrize("name", ["", "1st", "_a", "a b", "größe", "a" * 256, "a\n", "ünit", "a:b", "."])
def test_other_names_are_a_value_error(name):
    for kind in (perf.counter, perf.gauge, perf.timer):
        with pytest.raises(ValueError, match=r"a name is a letter, then at most 254 letters, digits and _ . - /, got"):
            kind(name)


def test_our_own_names_are_taken():
    with pytest.raises(ValueError, match=r"names that begin with otel_perf. are taken"):
        perf.counter("otel_perf.alerts")


@pytest.mark.parametrize("name", ["process.memory.usage", "Process.CPU.time", "system.cpu.utilization"])
def test_what_is_sampled_is_not_measured_a_second_time_under_its_name(name):
    """Report, page and budget would take the program's values for the samples'."""
    for kind in (perf.counter, perf.gauge, perf.timer):
        with pytest.raises(ValueError, match="otel-perf measures that itself; take another name"):
            kind(name)
    assert "process.queue" == perf.gauge("process.queue").name


@pytest.mark.parametrize("name", [None, 3, b"orders", test_our_own_names_are_taken])
def test_a_name_that_is_no_str_is_a_type_error(name):
    with pytest.raises(TypeError, match=f"a name is a str, not {type(name).__name__}"):
        perf.timer(name)


def test_the_same_name_is_the_same_instrument_in_any_case_of_letters():
    assert perf.counter("Orders") is perf.counter("orders")
    perf.counter("ORDERS").add(1)

    assert ["Orders"] == list(written())


def test_the_same_name_of_another_kind_or_unit_is_refused_in_words():
    perf.counter("orders", "{order}")

    with pytest.raises(TypeError, match=r"perf.gauge\('orders'\): 'orders' is a counter already; take another name"):
        perf.gauge("orders")
    with pytest.raises(TypeError, match="is a counter already"):
        perf.timer("Orders")
    with pytest.raises(ValueError, match=r"perf.counter\('orders'\): its unit is '{order}', not 'By'"):
        perf.counter("orders", "By")
    assert perf.counter("orders", "{order}") is perf.counter("orders")


def test_unit_and_description_may_come_with_a_later_call():
    perf.counter("c").add(1)
    perf.counter("c", unit="By", description='what "it" counts')
    perf.counter("c", description="another")
    perf.timer("t", description="how long").record(1)

    counted, timed = map(json.loads, measured.instrument_metrics(START, NOW))
    assert ("By", 'what "it" counts') == (counted["unit"], counted["description"])
    assert ("s", "how long") == (timed["unit"], timed["description"])


@pytest.mark.parametrize("unit", ["µs", "x" * 64, "a\tb"])
def test_a_unit_is_short_ascii(unit):
    with pytest.raises(ValueError, match="a unit has at most 63 ASCII characters"):
        perf.gauge("g", unit)
    with pytest.raises(TypeError, match="a unit is a str, not int"):
        perf.gauge("g", 3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a description is a str, not int"):
        perf.gauge("g", description=3)  # type: ignore[arg-type]


# --- gauges -----------------------------------------------------------------------------------------------------------


def test_a_gauge_is_what_it_was_last_set_to_and_is_written_once_it_is_set_again():
    gauge = perf.gauge("g")
    gauge.set(3)
    gauge.set(1.5)
    gauge.set(7, {"queue": "mail"})

    assert [({}, 1.5), ({"queue": "mail"}, 7)] == written()["g"]
    assert {} == written()
    gauge.set(7, {"queue": "mail"})
    assert [({"queue": "mail"}, 7)] == written()["g"]


# --- timers -----------------------------------------------------------------------------------------------------------


class FakeClock:
    """Monotonic seconds that pass only when told."""

    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def fake_clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeClock]:
    fake = FakeClock()
    monkeypatch.setattr(timers, "now", fake)
    return fake


def durations(name: str) -> list[Any]:
    """Return sum, shortest and longest of each series, without their number."""
    return [(s.value, s.low, s.high) for s in instruments.by_name[name].series.values()]


@given(st.lists(st.floats(0, 1e6) | st.integers(0, 10**6), min_size=1))
def test_a_timers_histogram_is_that_of_scale_0(seconds):
    instruments.by_name.clear()
    for one in seconds:
        perf.timer("t").record(one)

    point = json.loads(measured.instrument_metrics(START, NOW)[0])["exponentialHistogram"]["dataPoints"][0]
    expected = [0] * BUCKETS
    for one in seconds:
        expected[bucket_of(one)] += 1
    found = [0] * BUCKETS
    found[0] = int(point["zeroCount"])
    positive = point.get("positive", {"offset": LOWEST, "bucketCounts": []})
    for index, count in enumerate(positive["bucketCounts"], positive["offset"] - LOWEST):
        found[index] += int(count)
    assert expected == found
    assert (len(seconds), min(seconds), max(seconds)) == (int(point["count"]), point["min"], point["max"])
    assert math.isclose(sum(seconds), point["sum"], abs_tol=1e-12)


def test_a_block_counts_its_duration_whether_it_raises_or_not(fake_clock):
    with perf.timer("t"):
        fake_clock.time += 0.5
    with contextlib.suppress(KeyError), perf.timer("t"):
        fake_clock.time += 0.25
        raise KeyError

    assert [({}, 2)] == written()["t"]
    assert [(0.75, 0.25, 0.5)] == durations("t")


def test_attributes_are_looked_at_when_the_duration_ends(fake_clock):
    fields: dict[str, Any] = {"kind": "web"}
    with perf.timer("t", fields):
        fake_clock.time += 1
        fields["paid"] = "yes"
    perf.timer("t", {"kind": "web"}).record(2, {"kind": "app"})

    assert [({"kind": "web", "paid": "yes"}, 1), ({"kind": "app"}, 1)] == written()["t"]


def test_one_timer_times_nested_blocks_generators_and_tasks_apart(fake_clock):
    timed = perf.timer("t")
    seen = []
    record = instruments.Durations.record

    def noting(self: Any, seconds: float, fields: Any = None) -> None:
        seen.append(seconds)
        record(self, seconds, fields)

    def items() -> Any:
        with timed:
            yield
            fake_clock.time += 1

    async def task(event: asyncio.Event, wait: asyncio.Event, seconds: float) -> None:
        with timed:
            event.set()
            await wait.wait()
            fake_clock.time += seconds

    async def tasks() -> None:
        first, second, done = asyncio.Event(), asyncio.Event(), asyncio.Event()
        one = asyncio.create_task(task(first, done, 8))
        await first.wait()
        fake_clock.time += 16
        two = asyncio.create_task(task(second, second, 32))
        await two
        done.set()
        await one

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(instruments.Durations, "record", noting)
        with timed, timed:
            fake_clock.time += 2
        generator = items()
        next(generator)
        with timed:
            fake_clock.time += 4
            next(generator, None)
        asyncio.run(tasks())

    assert [2, 2, 5, 5, 32, 56] == seen  # nested; the generator (4 + 1) inside its consumer; the tasks
    assert {} == timed._runs


def test_a_timer_entered_by_an_exit_stack_is_timed_and_an_exit_too_many_does_nothing(fake_clock):
    timed = perf.timer("t")
    with contextlib.ExitStack() as stack:
        stack.enter_context(timed)
        fake_clock.time += 1
    timed.__exit__(None, None, None)

    assert [({}, 1)] == written()["t"]
    assert [(1, 1, 1)] == durations("t")


def test_a_timer_entered_by_exit_stacks_of_several_tasks_times_each_apart(fake_clock):
    timed, other = perf.timer("t"), perf.timer("other")

    async def work(seconds: float, begun: asyncio.Event, end: asyncio.Event) -> None:
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(timed)
            stack.enter_context(other)
            begun.set()
            await end.wait()
            fake_clock.time += seconds

    async def tasks() -> None:
        begun, end, never = asyncio.Event(), asyncio.Event(), asyncio.Event()
        first = asyncio.create_task(work(1, begun, end))
        await begun.wait()
        fake_clock.time += 4
        begun.clear()
        second = asyncio.create_task(work(16, begun, never))
        await begun.wait()
        end.set()
        await first
        never.set()
        await second

    asyncio.run(tasks())

    assert [(22, 5, 17)] == durations("t") == durations("other")  # 4 + 1; 1 + 16
    assert {} == timed._runs


def test_a_timer_shared_by_threads_gives_each_its_own_duration():
    timed = perf.timer("t")

    def work(seconds: float) -> None:
        with timed:
            time.sleep(seconds)

    threads = [threading.Thread(target=work, args=(seconds,)) for seconds in (0.3, 0.02, 0.02)]
    for thread in threads:
        thread.start()
        time.sleep(0.03)
    for thread in threads:
        thread.join()

    ((total, low, high),) = durations("t")
    assert 0.02 <= low < 0.3 <= high
    assert total >= 0.34


def test_a_decorated_function_stays_what_it_is_and_each_call_is_counted():
    @perf.timer("sync")
    def add(first: int, second: int = 2) -> int:
        """Add."""
        return first + second

    @perf.timer("async", {"kind": "web"})
    async def wait() -> str:
        await asyncio.sleep(0.02)
        return "done"

    class Shop:
        @classmethod
        @perf.timer("above")
        def above(cls) -> Any:
            return cls

        @perf.timer("below")
        @staticmethod
        def below() -> int:
            return 1

        @perf.timer("method")
        def method(self) -> Any:
            raise KeyError

    assert 3 == add(1)
    assert "done" == asyncio.run(wait())
    assert Shop is Shop.above()
    assert 1 == Shop().below()
    with pytest.raises(KeyError):
        Shop().method()
    assert inspect.iscoroutinefunction(wait)
    assert not inspect.iscoroutinefunction(add)
    assert ("add", "Add.", "(first: 'int', second: 'int' = 2) -> 'int'") == (
        add.__name__,
        add.__doc__,
        str(inspect.signature(add)),
    )
    assert durations("async")[0][1] >= 0.02
    assert {"sync": 1, "async": 1, "above": 1, "below": 1, "method": 1} == {n: p[0][1] for n, p in written().items()}


def test_what_cannot_be_timed_is_refused_at_decoration():
    def items() -> Any:
        yield 1

    async def aitems() -> Any:
        yield 1

    for generator in (items, aitems):
        with pytest.raises(
            TypeError, match=r"perf.timer: cannot wrap a generator function: .* put a with-block inside"
        ):
            perf.timer("t")(generator)
    with pytest.raises(TypeError, match=r"perf.timer: cannot wrap the class Odd"):
        perf.timer("t")(Odd)


# --- writing ----------------------------------------------------------------------------------------------------------


def test_a_line_holds_what_changed_and_what_did_not_reach_the_disk_comes_again():
    perf.counter("c").add(1)
    perf.counter("c").add(1, {"a": "b"})
    perf.counter("c").add(math.nan)
    perf.timer("t").record(1)
    first: list[Any] = []

    lost, again = written(first), written(second := [])

    assert lost == again
    for series, seen in second:
        series.seen = seen
    assert {} == written()
    perf.counter("c").add(1)
    assert {"c": [({}, 2)]} == written()


def test_a_sum_is_cumulative_and_begins_with_its_first_value():
    before = time.time_ns()
    perf.counter("c").add(1)
    begun = time.time_ns()
    time.sleep(0.002)
    perf.counter("c").add(1, {"later": "yes"})

    metric = json.loads(measured.instrument_metrics(START, NOW)[0])
    starts = [int(point["startTimeUnixNano"]) for point in metric["sum"]["dataPoints"]]
    assert (2, True) == (metric["sum"]["aggregationTemporality"], metric["sum"]["isMonotonic"])
    assert before <= starts[0] <= begun < starts[1]


def test_no_series_begins_after_its_point_when_the_clock_was_set_back():
    perf.counter("c").add(1)

    for now in (START + 5, START - 5):
        perf.counter("c").add(1)
        (text,) = measured.instrument_metrics(START, now)
        (point,) = json.loads(text)["sum"]["dataPoints"]
        assert int(point["startTimeUnixNano"]) <= int(point["timeUnixNano"]) == now


# --- budgets ----------------------------------------------------------------------------------------------------------


def test_a_budget_reads_the_sum_the_highest_value_and_the_longest_duration():
    for fields in ({"kind": "web", "code": 200}, {"kind": "app", "code": 500}, {"kind": "web", "code": 500}):
        perf.counter("c").add(2, fields)
        perf.gauge("g").set(fields["code"], fields)
        perf.timer("t").record(fields["code"] / 1000, fields)

    def read(name: str, **selector: str) -> float | None:
        return measured.latest(name, selector)

    assert (6, 4, 2, None) == (read("c"), read("c", kind="web"), read("c", kind="web", code="200"), read("c", no="x"))
    assert (500, 200, None) == (read("g"), read("g", code="200"), read("g", kind="x"))
    assert (0.5, 0.2, None) == (read("t"), read("t", code="200"), read("none"))
    counts, shortest, longest = measured.durations("t", {"kind": "web"})
    assert 2 == sum(counts)
    assert shortest <= longest
    assert (None, None) == (measured.durations("c", {}), measured.durations("t", {"no": "x"}))
