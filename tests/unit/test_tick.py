"""Ticks lie where time has them, whatever the clocks do; every reading is written once, and a day takes no more memory."""

from __future__ import annotations

import json
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

from otel_perf import clock
from otel_perf.metrics.names import CORES, CPU_SHARE, CPU_TIME, DISK, MEMORY, UNIQUE, key
from otel_perf.metrics.sampler import Reading
from otel_perf.metrics.tick import Tick

if TYPE_CHECKING:
    from collections.abc import Mapping

NOW = 1_795_577_293 * 10**9
HOUR = 3600.0


class Clocks:
    """The three clocks; time passes only when told."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.boot = 5000.0
        self.wall = NOW

    def go(self, seconds: float, *, asleep: bool = False) -> None:
        self.boot += seconds
        self.wall += round(seconds * 1e9)
        if not asleep:
            self.now += seconds

    def step(self, seconds: float) -> None:
        self.wall += round(seconds * 1e9)


class FakeSampler:
    """Gives what it is told."""

    def __init__(self) -> None:
        self.created = 990.0
        self.absent: dict[str, str] = {}
        self.values: dict[Any, float] = {MEMORY: 1_000_000, CORES: 0.5}
        self.closed = False
        self.whole = True

    def read(self) -> Reading:
        return Reading(clock.wall_ns(), clock.now(), dict(self.values), self.whole)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    fake = Clocks()
    monkeypatch.setattr(clock, "now", lambda: fake.now)
    monkeypatch.setattr(clock, "since_boot", lambda: fake.boot)
    monkeypatch.setattr(clock, "wall_ns", lambda: fake.wall)
    return fake


@pytest.fixture
def sampler() -> FakeSampler:
    return FakeSampler()


@pytest.fixture
def tick(clocks: Clocks, sampler: FakeSampler) -> Tick:
    return Tick(sampler)  # type: ignore[arg-type]


def decoded(texts: list[str]) -> list[Mapping[str, Any]]:
    """Return name, kind, unit and the points of each metric."""
    return json.loads(f"[{','.join(texts)}]")


def points(texts: list[str], name: str) -> list[dict[str, Any]]:
    found = []
    for metric in decoded(texts):
        if metric["name"] == name:
            found += metric["gauge" if "gauge" in metric else "sum"]["dataPoints"]
    return found


# --- time -------------------------------------------------------------------------------------------------------------


def test_a_tick_is_due_each_second_of_a_grid_that_does_not_drift(tick: Tick, clocks: Clocks) -> None:
    due = []
    for _ in range(4):
        due.append(round(tick.due, 6))
        clocks.go(tick.due - clocks.now + 0.03)
        tick.tick()

    assert [1001.0, 1002.0, 1003.0, 1004.0] == due
    assert 0 == tick.late


def test_a_tick_late_by_more_than_100_ms_is_counted_and_says_by_how_much(tick: Tick, clocks: Clocks) -> None:
    clocks.go(1.05)
    tick.tick()
    clocks.go(1.25)
    reading = tick.tick()

    assert 1 == tick.late
    assert pytest.approx(0.3) == reading.late
    assert pytest.approx(0.3) == tick.latest("otel_perf.self.tick.lateness")
    assert 1 == tick.latest("otel_perf.self.tick.late")


def test_a_stop_of_six_seconds_is_one_gap_and_no_tick_is_made_up(tick: Tick, clocks: Clocks) -> None:
    clocks.go(1.0)
    tick.tick()
    clocks.go(6.0)
    reading = tick.tick()
    due = tick.due
    clocks.go(1.0)
    after = tick.tick()

    assert (True, 6.0) == (reading.gap, pytest.approx(reading.elapsed))
    assert clocks.now == due
    assert (False, 1, 0) == (after.gap, tick.gaps, tick.steps)
    assert [NOW + second * 10**9 for second in (1, 7, 8)] == [
        int(point["timeUnixNano"]) for point in points(tick.metrics(), "process.memory.usage")
    ]


def test_a_machine_that_slept_is_a_gap_and_no_step_of_the_clock(tick: Tick, clocks: Clocks) -> None:
    clocks.go(1.0)
    tick.tick()
    clocks.go(HOUR, asleep=True)
    clocks.go(1.0)
    reading = tick.tick()

    assert (True, pytest.approx(HOUR + 1)) == (reading.gap, reading.elapsed)
    assert 0 == tick.steps
    assert NOW + round((HOUR + 2) * 1e9) == reading.time


def test_a_clock_set_an_hour_ahead_and_back_is_counted_twice_and_time_never_runs_backwards(
    tick: Tick, clocks: Clocks
) -> None:
    times = []
    for second in range(20):
        clocks.go(1.0)
        if second in (5, 10):
            clocks.step(HOUR if second == 5 else -HOUR)
        reading = tick.tick()
        times.append(reading.time)
        assert not reading.gap
        assert pytest.approx(1.0 if second else 0.0) == reading.elapsed

    assert 2 == tick.steps == tick.latest("otel_perf.self.clock.steps")
    assert sorted(set(times)) == times
    assert NOW + round((HOUR + 6) * 1e9) == times[5]  # today's time at once


def test_after_a_small_step_back_the_points_have_the_right_time_again_soon(tick: Tick, clocks: Clocks) -> None:
    clocks.go(1.0)
    tick.tick()
    clocks.step(-0.5)
    off = []
    for _ in range(7):
        clocks.go(1.0)
        off.append(tick.tick().time - clocks.wall)

    assert 0 < off[0] < 0.5e9
    assert 0 == off[-1]
    assert 1 == tick.steps


def test_where_nobody_says_that_the_machine_slept_a_jump_ahead_is_a_gap_too(
    clocks: Clocks, sampler: FakeSampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "since_boot", clock.now)
    tick = Tick(sampler)  # type: ignore[arg-type]
    clocks.go(1.0)
    tick.tick()
    clocks.step(HOUR)
    clocks.go(1.0)

    assert tick.tick().gap
    assert 1 == tick.steps


# --- to the run folder ------------------------------------------------------------------------------------------------


def test_every_reading_is_written_once_with_its_own_time(tick: Tick, clocks: Clocks, sampler: FakeSampler) -> None:
    for second in range(5):
        sampler.values[MEMORY] = 1000 + second
        clocks.go(1.0)
        tick.tick()
    found = points(tick.metrics(), "process.memory.usage")

    assert [(str(NOW + second * 10**9), str(999 + second)) for second in range(1, 6)] == [
        (point["timeUnixNano"], point["asInt"]) for point in found
    ]
    assert [] == tick.metrics()


def test_what_did_not_reach_the_disk_is_given_again(tick: Tick, clocks: Clocks) -> None:
    clocks.go(1.0)
    tick.tick()
    first = tick.metrics()
    tick.again()
    clocks.go(1.0)
    tick.tick()
    again = tick.metrics()

    assert first == again[:1]
    assert 2 == len(again)


def test_kinds_units_and_starts_are_those_of_the_table(tick: Tick, clocks: Clocks, sampler: FakeSampler) -> None:
    sampler.values = {
        CPU_TIME[0]: 1.5,
        CPU_SHARE[0]: 0.25,
        MEMORY: 7,
        key("system.network.io", (("device", 'e%th"0@'), ("direction", "receive"))): 9,
    }
    clocks.go(1.0)
    tick.tick()
    found = {metric["name"]: metric for metric in decoded(tick.metrics(NOW + 77))}
    cpu, share, memory, network = (
        found[name]
        for name in ("process.cpu.time", "process.cpu.utilization", "process.memory.usage", "system.network.io")
    )

    assert ("s", 2, True) == (cpu["unit"], cpu["sum"]["aggregationTemporality"], cpu["sum"]["isMonotonic"])
    assert {
        "attributes": [{"key": "cpu.mode", "value": {"stringValue": "user"}}],
        "startTimeUnixNano": str(NOW - 10 * 10**9),  # the process's creation
        "timeUnixNano": str(NOW + 10**9),
        "asDouble": 1.5,
    } == cpu["sum"]["dataPoints"][0]
    assert "startTimeUnixNano" not in share["gauge"]["dataPoints"][0]
    assert ("By", False) == (memory["unit"], memory["sum"].get("isMonotonic", False))
    assert "7" == memory["sum"]["dataPoints"][0]["asInt"]
    (point,) = network["sum"]["dataPoints"]
    assert str(NOW + 77) == point["startTimeUnixNano"]
    assert 'e%th"0@' == point["attributes"][0]["value"]["stringValue"]


def test_a_value_that_is_no_number_is_absent(tick: Tick, clocks: Clocks, sampler: FakeSampler) -> None:
    sampler.values = {MEMORY: 7, CORES: float("nan"), CPU_SHARE[0]: float("inf")}
    clocks.go(1.0)
    tick.tick()

    assert (7, None, None) == tuple(
        tick.latest(name) for name in ("process.memory.usage", "otel_perf.process.cpu.usage", "process.cpu.utilization")
    )
    assert 4 == len(decoded(tick.metrics()))  # and three of the tick's own


def test_after_ten_minutes_the_machine_is_written_every_tenth_second(
    tick: Tick, clocks: Clocks, sampler: FakeSampler
) -> None:
    sampler.values[key("system.cpu.load_average.1m")] = 1.0
    for _ in range(700):
        clocks.go(1.0)
        tick.tick()
        if tick.count in (590, 610):
            tick.metrics()
    found = tick.metrics()

    assert (90, 9) == tuple(len(points(found, name)) for name in ("process.memory.usage", "system.cpu.load_average.1m"))
    for _ in range(60):
        sampler.whole = tick.count % 7 == 0  # it is looked at that seldom
        clocks.go(1.0)
        tick.tick()
    assert 3 <= len(points(tick.metrics(), "system.cpu.load_average.1m")) <= 5


def test_what_has_not_changed_is_left_out_and_what_changes_then_has_the_point_before(
    tick: Tick, clocks: Clocks, sampler: FakeSampler
) -> None:
    for second in range(1, 8):
        sampler.values[DISK[1]] = 4096 if second < 6 else 4096 * second
        clocks.go(1.0)
        tick.tick()
    found = points(tick.metrics(), DISK[1][0])

    assert [(1, 4096), (5, 4096), (6, 6 * 4096), (7, 7 * 4096)] == [
        ((int(point["timeUnixNano"]) - NOW) // 10**9, int(point["asInt"])) for point in found
    ]


def test_what_never_changes_is_written_each_minute(tick: Tick, clocks: Clocks, sampler: FakeSampler) -> None:
    received = key("system.network.io", (("device", "eth0"), ("direction", "receive")))
    sampler.values |= {DISK[1]: 4096, received: 7}
    for _ in range(130):
        clocks.go(1.0)
        tick.tick()
        if tick.count == 60:
            tick.metrics()
    found = tick.metrics()

    assert [2, 2, 70] == [len(points(found, name)) for name in (DISK[1][0], received[0], MEMORY[0])]


def test_the_machine_is_looked_at_seldom_unless_a_budget_judges_it(
    tick: Tick, clocks: Clocks, sampler: FakeSampler
) -> None:
    load = key("system.cpu.load_average.1m")
    sampler.values[load] = 1.0
    every, written = [], []
    for names in ({MEMORY[0]}, {MEMORY[0], load[0]}):
        tick.watch(frozenset(names))
        every.append(sampler.machine_every)  # type: ignore[attr-defined]
        for _ in range(20):
            clocks.go(1.0)
            tick.tick()
        written.append(len(points(tick.metrics(), load[0])))

    assert ([10, 1], [3, 20]) == (every, written), "the first two, then every tenth"


def test_an_early_tick_takes_nothing_from_the_grid(tick: Tick, clocks: Clocks) -> None:
    """The first reading of a process is taken at once."""
    tick.tick()

    assert clocks.now + 1.0 == tick.due


def test_readings_that_nobody_takes_are_bounded_and_counted(tick: Tick, clocks: Clocks) -> None:
    for _ in range(200):
        clocks.go(1.0)
        tick.tick()

    assert 80 == tick.dropped
    assert 120 == len(tick.metrics())


# --- questions --------------------------------------------------------------------------------------------------------


def test_latest_adds_the_parts_of_a_whole_and_takes_the_largest_of_others(
    tick: Tick, clocks: Clocks, sampler: FakeSampler
) -> None:
    cpus = [key("system.cpu.utilization", (("state", "user"), ("cpu", number))) for number in (1, 2)]
    sampler.values = {CPU_SHARE[0]: 0.25, CPU_SHARE[1]: 0.5, cpus[0]: 0.1, cpus[1]: 0.9}
    clocks.go(1.0)
    tick.tick()

    assert 0.75 == tick.latest("process.cpu.utilization")
    assert 0.5 == tick.latest("process.cpu.utilization", {"cpu.mode": "system"})
    assert 0.9 == tick.latest("system.cpu.utilization", {"state": "user"})
    assert 0.1 == tick.latest("system.cpu.utilization", {"state": "user", "cpu": "1"})
    assert tick.latest("system.cpu.utilization", {"state": "idle"}) is None
    assert tick.latest("no.such.metric") is None


def test_what_the_newest_reading_has_not_is_unknown(tick: Tick, clocks: Clocks, sampler: FakeSampler) -> None:
    clocks.go(1.0)
    tick.tick()
    del sampler.values[MEMORY]
    clocks.go(1.0)
    tick.tick()

    assert tick.latest("process.memory.usage") is None
    assert tick.rate("process.memory.usage") is None


def test_what_is_read_seldom_stays_known_until_it_cannot_be_read(
    tick: Tick, clocks: Clocks, sampler: FakeSampler
) -> None:
    assert tick.latest(UNIQUE[0]) is None
    for known in (True, False, False):
        sampler.values.pop(UNIQUE, None)
        if known:
            sampler.values[UNIQUE] = 42
        clocks.go(1.0)
        tick.tick()

    assert 42 == tick.latest(UNIQUE[0])
    assert 1 == len(points(tick.metrics(), UNIQUE[0]))
    sampler.absent[UNIQUE[0]] = "no"
    assert tick.latest(UNIQUE[0]) is None


def test_what_the_machine_does_stays_known_between_two_looks_at_it(
    tick: Tick, clocks: Clocks, sampler: FakeSampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    received = key("system.network.io", (("device", "eth0"), ("direction", "receive")))
    for count in range(6):
        sampler.values = {MEMORY: count} | ({received: 1000 * count} if count % 2 == 0 else {})
        monkeypatch.setattr(sampler, "whole", count % 2 == 0)
        clocks.go(1.0)
        tick.tick()

    assert (5, 4000, 1000.0) == (
        tick.latest(MEMORY[0]),
        tick.latest("system.network.io"),
        tick.rate("system.network.io", {"direction": "receive"}),
    )


def test_a_rate_is_over_the_real_time_between_two_readings(tick: Tick, clocks: Clocks, sampler: FakeSampler) -> None:
    for value, seconds in ((10.0, 1.0), (16.0, 6.0), (1.0, 1.0)):
        sampler.values = {CPU_TIME[0]: value, CPU_TIME[1]: value}
        clocks.go(seconds)
        tick.tick()
        if value == 16.0:
            assert pytest.approx(2.0) == tick.rate("process.cpu.time")
            assert pytest.approx(1.0) == tick.rate("process.cpu.time", {"cpu.mode": "user"})

    assert tick.rate("process.cpu.time") is None, "a counter that began anew"


def test_the_past_of_a_series_and_its_trend(tick: Tick, clocks: Clocks, sampler: FakeSampler) -> None:
    for second in range(100):
        sampler.values[MEMORY] = 10**6 * second
        clocks.go(1.0)
        tick.tick()
    past = tick.history("process.memory.usage")
    found = tick.trend("process.memory.usage")

    assert (100, (1100.0, 99e6)) == (len(past), past[-1])
    assert found is not None
    assert pytest.approx(1e6) == found.slope
    assert "150 MB in 51 s ± 100 ms" == found.text(150e6, "By")
    assert NOW + 50 * 10**9 == tick.wall_ns(1050.0)
    assert [] == tick.history("process.uptime")
    assert tick.trend("otel_perf.process.cpu.usage") is None


def test_a_day_takes_as_much_memory_as_an_hour(tick: Tick, clocks: Clocks, sampler: FakeSampler) -> None:
    def run(seconds: int) -> None:
        for second in range(seconds):
            sampler.values[MEMORY] = 1_000_000 + second % 977
            sampler.values[CORES] = second % 91 / 91
            clocks.go(1.0)
            tick.tick()
            if second % 60 == 0:
                tick.metrics()

    run(3600)
    tracemalloc.start()
    tick.metrics()
    before = tracemalloc.get_traced_memory()[0]
    run(23 * 3600)
    tick.metrics()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()

    assert 24 * 3600 == tick.count
    assert grown < 300_000, "rings are rebuilt where tracemalloc sees them, 10 kB each"
    assert len(tick.history("process.memory.usage")) <= 300
