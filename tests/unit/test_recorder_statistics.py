"""Counts, extremes, totals and histograms are exact, whatever the durations, the threads and the order of calls."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import otel_perf as perf
from otel_perf import recorder, wrappers
from otel_perf.metrics import functions
from otel_perf.recorder import BUCKETS, LOWEST, N_PATH, Site, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

# --- a clock advanced by hand -----------------------------------------------------------------------------------------


class FakeClock:
    """Monotonic seconds that pass only when told."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    fake = FakeClock()
    monkeypatch.setattr(wrappers, "now", fake)
    monkeypatch.setattr(recorder, "now", fake)
    return fake


@pytest.fixture(autouse=True)
def _empty_tree(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give each test a call tree of its own."""
    nodes, top, sites = recorder.nodes[:], dict(recorder.ROOT[0]), dict(recorder.sites)
    recorder.nodes.clear()
    recorder.ROOT[0].clear()
    recorder.sites.clear()
    monkeypatch.setattr(recorder, "_deep", {})
    monkeypatch.setattr(recorder, "_wide", {})
    yield
    recorder.nodes[:] = nodes
    recorder.ROOT[0].clear()
    recorder.ROOT[0].update(top)
    recorder.sites.clear()
    recorder.sites.update(sites)


def taking(clock: FakeClock, site: Site) -> Callable[[float], float]:
    """Return a profiled function that lasts as long as it is told; it gives the duration as the clock can show it."""

    def work(duration: float) -> float:
        begun = clock.time
        clock.time += duration
        return clock.time - begun

    return wrappers.exact(work, site)  # type: ignore[no-any-return]


def bucket(duration: float) -> int:
    """Return the bucket by the definition: 2**index < duration <= 2**(index + 1), scale 0."""
    if duration <= 0:
        return 0
    mantissa, exponent = math.frexp(duration)
    index = exponent - 2 if mantissa == 0.5 else exponent - 1
    return min(max(index - LOWEST, 0), BUCKETS - 2)


def histogram(durations: Iterable[float]) -> list[int]:
    counts = [0] * BUCKETS
    for duration in durations:
        counts[bucket(duration)] += 1
    return counts


POWERS = st.integers(-45, 10).map(lambda e: 2.0**e)
NEAR_POWERS = st.tuples(POWERS, st.sampled_from([-1, 0, 1])).map(
    lambda p: math.nextafter(p[0], math.inf * p[1]) if p[1] else p[0]
)
DURATIONS = st.lists(st.one_of(st.floats(0, 1000), st.floats(1e-7, 2e-6), NEAR_POWERS), min_size=1, max_size=60)


@pytest.mark.parametrize("threshold", [None, 0.0, 0.5])
@given(durations=DURATIONS, repeats=st.integers(1, 6))
@example(durations=[1.5 * 2.0**-20, 1.2 * 2.0**-21, 2.0**-21, 2.0**-22, 2.0**-20, 2.0**-19], repeats=4)
@example(durations=[1.5e-6, 1.2e-6, 1.3e-6, 1.6e-6, 1.1e-6, 1.7e-6], repeats=1)
@settings(max_examples=150, deadline=None)
def test_count_min_max_total_and_buckets_are_those_of_the_durations(
    threshold: float | None, durations: list[float], repeats: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        clock = FakeClock()
        patch.setattr(wrappers, "now", clock)
        patch.setattr(recorder, "now", clock)
        recorder.nodes.clear()
        work = taking(clock, Site("work", "work", "function", threshold=threshold))
        shown = []
        for duration in durations:
            for _ in range(repeats):
                clock.time = 0.0  # so that the clock shows each duration exactly
                shown.append(work(duration))
        (node,) = recorder.nodes
        calls, total, counts = snapshot(node)

    assert len(shown) == calls
    assert histogram(shown) == counts
    assert (min(shown), max(shown)) == (node[N_PATH].min, node[N_PATH].max)
    assert math.isclose(math.fsum(shown), total, rel_tol=1e-9)


@given(st.one_of(st.floats(0, 1e9), NEAR_POWERS))
def test_a_bucket_is_found_by_its_definition(duration: float) -> None:
    assert bucket(duration) == recorder.bucket_of(duration)


def test_usual_calls_take_the_fast_exit(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The window follows the durations: after a change of pace too, the slow exit is the exception."""
    slow = []
    monkeypatch.setattr(recorder, "leave", lambda *a, leave=recorder.leave: (slow.append(a[1]), leave(*a)))
    work = taking(clock, Site("work", "work", "function"))

    for pace in (3e-7, 5e-5, 2e-6):
        work(pace * 0.9)
        work(pace * 1.8)
        for _ in range(4):
            work(pace)
        slow.clear()
        for share in range(100):
            clock.time = 0.0
            work(pace * (0.9 + share / 120))

        assert len(slow) <= 3, (pace, slow)


def test_one_outlier_does_not_move_the_window(clock: FakeClock) -> None:
    work = taking(clock, Site("work", "work", "function"))
    for _ in range(10):
        work(3e-7)
    middle = recorder.nodes[0][recorder.N_MID]
    work(1e-4)

    assert middle == recorder.nodes[0][recorder.N_MID]


def test_a_call_that_overlaps_many_faster_ones_is_counted_in_its_own_bucket(clock: FakeClock) -> None:
    """The window moves while the call waits; what counts is where it stands when the call ends."""

    async def main() -> None:
        async def wait(begun: float, ends: asyncio.Event, duration: float) -> None:
            clock.time = begun
            await ends.wait()
            clock.time = begun + duration

        def twin() -> Any:
            return wrappers.exact(wait, site)

        site = Site("wait", "wait", "function")
        now = asyncio.Event()
        now.set()
        for duration in (0.0006, 0.0009, 0.0007, 0.0007):
            clock.time = 0.0
            await twin()(0.0, now, duration)
        later = asyncio.Event()
        clock.time = 0.0
        long = asyncio.create_task(twin()(0.0, later, 0.0007))
        await asyncio.sleep(0)
        for duration in (2e-7, 9e-7, 5e-7, 5e-7, 5e-7, 5e-7):
            clock.time = 0.0
            await twin()(0.0, now, duration)
        later.set()
        await long

    asyncio.run(main())
    expected = [0.0006, 0.0009, 0.0007, 0.0007, 0.0007, 2e-7, 9e-7, 5e-7, 5e-7, 5e-7, 5e-7]
    _, _, counts = snapshot(recorder.nodes[0])

    assert histogram(expected) == counts


# --- threads ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["exact", "generic", "with-block"])
def test_no_call_is_lost_in_sixteen_threads_that_switch_all_the_time(kind: str) -> None:
    threads, each = 16, 20_000 if kind == "exact" else 4_000
    seen: list[tuple[float, float]] = []

    def work(turn: int) -> None:
        for _ in range(50 if turn % 100 == 0 else turn % 3):
            pass

    site = Site("work", "work", "function")
    block = perf.profile("work")

    def in_block(turn: int) -> None:
        with block:
            work(turn)

    profiled = {"exact": wrappers.exact(work, site), "generic": wrappers.generic(work, site), "with-block": in_block}[
        kind
    ]

    def run() -> None:
        for turn in range(each):
            profiled(turn)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        running = [threading.Thread(target=run) for _ in range(threads)]
        for thread in running:
            thread.start()
        while any(thread.is_alive() for thread in running):
            if recorder.nodes:
                calls, total, counts = snapshot(recorder.nodes[0])
                seen.append((calls, total))
                assert calls == sum(counts)
        for thread in running:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    (node,) = recorder.nodes
    calls, total, counts = snapshot(node)

    assert threads * each == calls == sum(counts)
    assert sorted(seen) == seen, "what the worker sees never falls"
    assert 0 < node[N_PATH].min <= total / calls <= node[N_PATH].max
    low, high = bucket(node[N_PATH].min), bucket(node[N_PATH].max)
    assert counts[low] > 0, "the fastest call is in the bucket of the minimum"
    assert counts[high] > 0
    assert 0 == sum(counts[:low]) + sum(counts[high + 1 :])


def test_extremes_are_exact_in_threads() -> None:
    """Each call's duration is known here: the clock of a thread shows what its list says."""
    local = threading.local()
    site = Site("work", "work", "function")
    threads, lists = [], [[((i * 7919 + j * 104729) % 99991 + 1) * 1e-8 for j in range(3000)] for i in range(8)]

    def tick() -> float:
        return local.time  # type: ignore[no-any-return]

    def work(duration: float) -> None:
        local.time += duration

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wrappers, "now", tick)
        patch.setattr(recorder, "now", tick)
        profiled = wrappers.exact(work, site)

        def run(durations: list[float]) -> None:
            for duration in durations:
                local.time = 0.0
                profiled(duration)

        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        try:
            threads = [threading.Thread(target=run, args=(each,)) for each in lists]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            sys.setswitchinterval(interval)
    every = [duration for each in lists for duration in each]
    (node,) = recorder.nodes
    calls, total, counts = snapshot(node)

    assert len(every) == calls
    assert (min(every), max(every)) == (node[N_PATH].min, node[N_PATH].max)
    assert math.isclose(math.fsum(every), total, rel_tol=1e-9)
    assert histogram(every) == counts


# --- what the worker makes of it --------------------------------------------------------------------------------------


def points(found: list[str], name: str) -> list[dict[str, Any]]:
    """Return the data points of a metric, attributes as a plain dictionary."""
    all_points = []
    for text in found:
        metric = json.loads(text)
        if metric["name"] == name:
            (kind,) = metric.keys() - {"name", "unit"}
            all_points += [
                {**point, "attributes": {a["key"]: next(iter(a["value"].values())) for a in point["attributes"]}}
                for point in metric[kind]["dataPoints"]
            ]
    return all_points


def test_percentiles_of_the_histogram_bracket_the_true_ones(clock: FakeClock) -> None:
    """A bucket is a factor of two: the true value lies in the bucket that holds the rank."""
    work = taking(clock, Site("work", "work", "function"))
    durations = []
    for index in range(2000):
        clock.time = 0.0
        durations.append(work(1e-6 * 1.006 ** (index * 37 % 2000)))
    durations.sort()
    (point,) = points(functions.function_metrics(1, 2), "otel_perf.function.duration")
    counts = [int(count) for count in point["positive"]["bucketCounts"]]
    offset = point["positive"]["offset"]

    assert ("2000", 0) == (point["count"], point["scale"])
    assert 2000 == sum(counts) + int(point["zeroCount"])
    for share in (0.5, 0.95, 0.99):
        rank = math.ceil(share * 2000)
        index = next(i for i, below in enumerate(itertools.accumulate(counts)) if below >= rank)

        assert 2.0 ** (offset + index) < durations[rank - 1] <= 2.0 ** (offset + index + 1)


def test_a_function_that_is_defined_again_goes_on_in_its_series(clock: FakeClock) -> None:
    """Reloading, notebooks and closures define a function many times; a point holds what all of them have done."""

    def define(line: int) -> Callable[[float], float]:
        return taking(clock, recorder.site_for("work", "app.work", "function", "app.work", "app.py", line))

    first, second = define(1), define(2)
    first(0.0005)
    first(0.0005)
    found = functions.function_metrics(1, 2)
    assert ["2"] == [point["asInt"] for point in points(found, "otel_perf.profile.calls")]
    second(0.0003)
    found = functions.function_metrics(1, 3)

    (calls,) = points(found, "otel_perf.profile.calls")
    (time,) = points(found, "otel_perf.profile.time")
    (own,) = points(found, "otel_perf.profile.self_time")
    (duration,) = points(found, "otel_perf.function.duration")
    assert {"path": "work", "function": "app.work", "depth": "0"} == calls["attributes"]
    assert ("3", "3") == (calls["asInt"], duration["count"])
    assert pytest.approx([0.0013] * 3) == [time["asDouble"], own["asDouble"], duration["sum"]]
    assert pytest.approx([0.0003, 0.0005]) == [duration["min"], duration["max"]]


def test_functions_of_one_name_in_two_modules_are_two_series(clock: FakeClock) -> None:
    for module in ("shop", "bank"):
        taking(clock, recorder.site_for("load", f"{module}.load", "function"))(0.0001)
    found = functions.function_metrics(1, 2)

    for name in ("otel_perf.function.duration", "otel_perf.profile.calls"):
        assert ["bank.load", "shop.load"] == sorted(p["attributes"]["function"] for p in points(found, name))


def test_a_function_and_an_operation_of_one_name_are_two_series(clock: FakeClock) -> None:
    for kind in ("function", "operation"):
        taking(clock, recorder.site_for("save", "save", kind))(0.0001)

    found = points(functions.function_metrics(1, 2), "otel_perf.function.duration")
    assert ["function", "operation"] == sorted(point["attributes"]["kind"] for point in found)


def test_only_what_has_changed_is_written_again(clock: FakeClock) -> None:
    one, other = (taking(clock, recorder.site_for(name, name, "function")) for name in ("one", "other"))
    one(0.0001)
    other(0.0001)
    functions.function_metrics(1, 2)
    assert [] == functions.function_metrics(1, 3)
    other(0.0001)

    assert ["other"] == [
        point["attributes"]["function"]
        for point in points(functions.function_metrics(1, 4), "otel_perf.function.duration")
    ]


def test_self_time_never_falls_while_a_call_is_in_progress(clock: FakeClock) -> None:
    """A sum that falls is taken for a restart; children of a call in progress are counted before the call is."""
    shown: list[float] = []
    child = taking(clock, recorder.site_for("child", "child", "function"))

    async def parent(pause: asyncio.Event) -> None:
        clock.time += 0.1
        child(0.5)
        await pause.wait()

    profiled = wrappers.exact(parent, recorder.site_for("parent", "parent", "function"))

    async def main() -> None:
        open_, closed = asyncio.Event(), asyncio.Event()
        open_.set()
        tasks = []
        for wait in (open_, closed, open_):
            tasks.append(asyncio.create_task(profiled(wait)))
            await asyncio.sleep(0)
            for point in points(functions.function_metrics(1, 2), "otel_perf.profile.self_time"):
                if point["attributes"]["path"] == "parent":
                    shown.append(point["asDouble"])
        closed.set()
        await asyncio.gather(*tasks)

    asyncio.run(main())

    assert 2 == len(shown)
    assert pytest.approx(0.1) == shown[0]
    assert shown[0] <= shown[1]


# --- recursion --------------------------------------------------------------------------------------------------------


def recursive(clock: FakeClock, step: float) -> Callable[[int], None]:
    def descend(depth: int) -> None:
        clock.time += step
        if depth > 1:
            profiled(depth - 1)

    profiled = wrappers.exact(descend, recorder.site_for("descend", "app.descend", "function"))
    return profiled  # type: ignore[no-any-return]


def test_recursion_counts_every_call_but_time_once(clock: FakeClock) -> None:
    recursive(clock, 0.0001)(40)
    found = functions.function_metrics(1, 2)
    (duration,) = points(found, "otel_perf.function.duration")
    own = points(found, "otel_perf.profile.self_time")

    assert "40" == duration["count"]
    assert pytest.approx(0.004) == duration["sum"]
    assert 40 == len(own)
    assert pytest.approx(0.004) == sum(point["asDouble"] for point in own)
    assert pytest.approx(0.0001) == max(point["asDouble"] for point in own)


def test_recursion_deeper_than_the_tree_is_counted_below_one_node(clock: FakeClock) -> None:
    recursive(clock, 0.0001)(300)
    found = functions.function_metrics(1, 2)
    (duration,) = points(found, "otel_perf.function.duration")
    calls = points(found, "otel_perf.profile.calls")
    overflow = [point for point in calls if point["attributes"].get("otel.metric.overflow")]

    assert "300" == duration["count"]
    assert pytest.approx(0.03) == duration["sum"]
    assert recorder.MAX_DEPTH + 1 == len(calls)
    assert [str(300 - recorder.MAX_DEPTH)] == [point["asInt"] for point in overflow]
    assert ["otel_perf.overflow;descend"] == [point["attributes"]["path"] for point in overflow]
    for name in ("otel_perf.profile.self_time", "otel_perf.profile.time"):
        for point in points(found, name):
            assert 0 <= point["asDouble"] <= 0.0301, point
    assert pytest.approx(0.03) == sum(p["asDouble"] for p in points(found, "otel_perf.profile.self_time"))


def test_mutual_recursion_counts_time_once(clock: FakeClock) -> None:
    def even(number: int) -> bool:
        clock.time += 0.0001
        return number == 0 or odd_(number - 1)

    def odd(number: int) -> bool:
        clock.time += 0.0001
        return number != 0 and even_(number - 1)

    even_ = wrappers.exact(even, recorder.site_for("even", "even", "function"))
    odd_ = wrappers.exact(odd, recorder.site_for("odd", "odd", "function"))

    assert even_(10)
    sums = {
        point["attributes"]["function"]: point["sum"]
        for point in points(functions.function_metrics(1, 2), "otel_perf.function.duration")
    }
    assert pytest.approx({"even": 0.0011, "odd": 0.0010}) == sums


# --- bounds -----------------------------------------------------------------------------------------------------------


def test_names_beyond_the_limit_share_one_series_and_lose_no_call() -> None:
    for index in range(recorder.MAX_SITES + 500):
        with perf.profile(f"name {index}"):
            pass
    found = functions.function_metrics(1, 2)

    for name, field in (("otel_perf.function.duration", "count"), ("otel_perf.profile.calls", "asInt")):
        all_points = points(found, name)
        overflow = [point for point in all_points if point["attributes"].get("otel.metric.overflow")]
        assert recorder.MAX_SITES + 1 == len(all_points)
        assert ["500"] == [point[field] for point in overflow]
        assert recorder.MAX_SITES + 500 == sum(int(point[field]) for point in all_points)
    assert recorder.MAX_SITES == len(recorder.sites)


def test_thresholds_hold_beyond_the_limit_of_names(monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> None:
    """Many functions share one node there; none may take the fast exit that is right for another."""
    monkeypatch.setattr(recorder, "MAX_SITES", 0)
    monkeypatch.setattr(recorder.state, "recording", True)
    monkeypatch.setattr(recorder, "finished", [])
    logged: list[str] = []
    monkeypatch.setattr(recorder.state, "on_timed", lambda site, *_: logged.append(site.name))
    sites = [
        recorder.site_for("usual", "usual", "function"),
        recorder.site_for("every", "every", "function", threshold=0.0),
        recorder.site_for("slow", "slow", "function", slow=3e-7),
        recorder.site_for("late", "late", "function", threshold=6e-7),
    ]
    functions = [taking(clock, site) for site in sites]
    for _ in range(20):
        for function in functions:
            for duration in (2e-7, 5e-7, 7e-7):
                clock.time = 0.0
                function(duration)

    names = [finished[0].name for finished in recorder.finished]
    assert {"every": 60, "slow": 40, "late": 20} == {name: names.count(name) for name in set(names)}
    assert ["slow"] * 40 == logged


def test_call_paths_beyond_the_limit_share_one_node_a_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "MAX_NODES", 50)
    inner = perf.profile("inner")(lambda: None)
    for index in range(100):
        with perf.profile(f"outer {index}"):
            inner()
    found = functions.function_metrics(1, 2)
    counts = {p["attributes"]["function"]: p["count"] for p in points(found, "otel_perf.function.duration")}

    assert "100" == counts["inner"]
    assert 101 == len(counts)
    assert 50 + 1 + 75 == len(recorder.nodes)
    calls = points(found, "otel_perf.profile.calls")
    assert 200 == sum(int(point["asInt"]) for point in calls)


def test_decorating_the_same_function_again_and_again_makes_no_more_sites() -> None:
    def define() -> Callable[[], None]:
        @perf.profile
        def function() -> None: ...

        return function

    for _ in range(3000):
        define()()

    assert 1 == len(recorder.sites)
    assert "3000" == points(functions.function_metrics(1, 2), "otel_perf.profile.calls")[0]["asInt"]


# --- never started ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("disabled", ["init() was never called", "OTEL_SDK_DISABLED"])
def test_calls_cost_no_memory_where_nothing_is_recorded(disabled: str, run_python: Any, tmp_path: Any) -> None:
    """Statistics are kept for an init() that may follow; ids, spans and records are not."""
    program = """
        import asyncio, logging, os, sys, time, tracemalloc
        import otel_perf as perf
        from otel_perf import recorder
        logging.basicConfig(level=logging.DEBUG)
        logging.getLogger("asyncio").setLevel(logging.ERROR)
        if "OTEL_SDK_DISABLED" in os.environ:
            perf.init()

        @perf.profile(span_threshold=0, slow=0)
        def function(n): return n and function(n - 1)
        @perf.profile("c", span_threshold=0)
        async def coroutine(): await asyncio.sleep(0)
        @perf.profile("g", span_threshold=0)
        def generator(): yield 1; yield 2
        @perf.profile("e", span_threshold=0)
        def failing(): raise ValueError("x" * 1000)

        def everything():
            function(3)
            asyncio.run(coroutine())
            list(generator())
            next(generator())
            try: failing()
            except ValueError: pass
            with perf.phase("CoreInit"), perf.profile("block", span_threshold=0), perf.operation("save", slow=0):
                perf.enter_phase("UI")
            perf.ready(); perf.usable()

        for _ in range(20): everything()
        tracemalloc.start()
        grown = []
        for _ in range(2):  # in one of them a table of the interpreter's may be made larger
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(300): everything()
            grown.append(tracemalloc.get_traced_memory()[0] - before)
        assert min(grown) < 40_000, grown
        assert [] == recorder.finished and {} == recorder.open_spans
        assert recorder.ROOT is recorder.CURRENT.get()
        perf.shutdown()
        print("fine", "logging" in sys.modules)
    """

    done = run_python(program, env={"OTEL_SDK_DISABLED": "true"} if disabled == "OTEL_SDK_DISABLED" else {})

    assert ("fine True\n", "", 0) == (done.stdout, done.stderr, done.returncode)
    assert not (tmp_path / ".otel-perf").exists()


def test_a_call_path_of_more_characters_than_the_limit_is_counted_below_one_node(clock: FakeClock) -> None:
    names = [f"{letter * 1000}" for letter in "abcdefgh"]
    frames = []
    for name in names:
        frames.append(recorder.enter(recorder.site_for(name, name, "function")))
    for frame in reversed(frames):
        recorder.fail(frame, None)

    paths = [node[recorder.N_PATH] for node in recorder.nodes if node[recorder.N_PATH].site.name in names]

    assert 8 == len(paths)
    assert all(len(functions._path_text(path)) < recorder.MAX_PATH + 1100 for path in paths)
    assert ["", "", "", "", "deep", "deep", "deep", "deep"] == [path.overflow for path in paths]
