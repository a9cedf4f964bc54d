"""Instruments in real processes: what reaches the run folder, when, after a fork, from many threads, and what it costs."""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from otel_perf.analysis.text import count

if TYPE_CHECKING:
    from collections.abc import Callable

SRC = str(Path(__file__).resolve().parents[2] / "src")
needs_fork = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="os.fork")
needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="/proc")
HEAVY = {"typing", "dataclasses", "json", "logging", "re", "functools", "collections", "threading", "opentelemetry"}


@pytest.fixture
def last_values(tmp_path: Path, metrics_of: Callable[..., Any]) -> Callable[[str], dict[Any, Any]]:
    """Return a function giving the last value of each series of a metric by process and attributes, sorted."""

    def read(name: str) -> dict[Any, Any]:
        points = [point for point in metrics_of(tmp_path) if point["metric"] == name]
        return {
            (p["process"], *sorted(p["attributes"].items())): p["point"].get("value", p["point"].get("count"))
            for p in points
        }

    return read


def without_process(values: dict[Any, Any]) -> list[Any]:
    return sorted(value for value in values.values())


def test_what_was_measured_before_init_is_written_after_it(run_python, tmp_path, metrics_of):
    result = run_python("""
        import otel_perf as perf
        perf.counter("orders", "{order}", "what was ordered").add(1, {"kind": "web"})
        perf.gauge("queue").set(3)
        perf.init()
        perf.counter("orders").add(2, {"kind": "web"})
        with perf.timer("checkout"):
            pass
    """)

    assert (0, "") == (result.returncode, result.stderr)
    found = {point["metric"]: point for point in metrics_of(tmp_path)}
    orders, queue, checkout = found["orders"], found["queue"], found["checkout"]
    assert ("{order}", "sum", 2, True) == tuple(orders[key] for key in ("unit", "type", "temporality", "monotonic"))
    assert ({"kind": "web"}, 3) == (orders["attributes"], orders["point"]["value"])
    assert ("gauge", 3) == (queue["type"], queue["point"]["value"])
    assert ("exponentialHistogram", "s", 1) == (checkout["type"], checkout["unit"], checkout["point"]["count"])


def test_a_changed_counter_is_on_disk_within_1200_ms(start_program, write, tmp_path, last_values):
    program = write(
        "app.py",
        """
        import sys, time
        import otel_perf as perf
        perf.init()
        perf.ready()
        time.sleep(1.5)
        perf.counter("late").add(1)
        print("added", flush=True)
        time.sleep(60)
        """,
    )
    process = start_program([sys.executable, program], None, env={"PYTHONPATH": SRC})
    assert b"added\n" == process.stdout.readline()

    time.sleep(1.2)
    process.kill()

    assert [1] == list(last_values("late").values())


def test_without_init_nothing_is_written_and_nothing_heavy_is_loaded(run_python, tmp_path, modules_after):
    code = """
    import otel_perf as perf
    perf.counter("orders").add(1, {"kind": "web"})
    perf.gauge("queue").set(3)
    with perf.timer("checkout"):
        pass
    @perf.timer("pay")
    def pay(): pass
    pay()
    """
    result = run_python(code.replace("\n    ", "\n"))

    assert (0, "") == (result.returncode, result.stderr)
    assert not (tmp_path / ".otel-perf").exists()
    assert set() == HEAVY & modules_after(code)


def test_switched_off_nothing_is_kept(run_python, tmp_path):
    result = run_python(
        """
        import tracemalloc
        import otel_perf as perf
        perf.init()
        orders, queue, checkout = perf.counter("orders"), perf.gauge("queue"), perf.timer("checkout")
        @checkout
        def pay(): pass
        def work(count):
            for user in range(count):
                orders.add(amount=1, attributes={"user": user})
                queue.set(1, {"user": user})
                checkout.record(1, {"user": user})
                with checkout:
                    pay()
        work(100)
        tracemalloc.start()
        work(5_000)
        print(tracemalloc.get_traced_memory()[0])
        """,
        env={"OTEL_SDK_DISABLED": "true"},
    )

    assert (0, "") == (result.returncode, result.stderr)
    assert int(result.stdout) < 10_000
    assert not (tmp_path / ".otel-perf").exists()


@needs_proc
def test_one_careless_label_eats_no_memory_and_loses_no_count(run_python, last_values):
    """C18."""
    result = run_python("""
        import otel_perf as perf
        def resident():
            with open("/proc/self/statm") as file:
                return int(file.read().split()[1]) * 4096
        perf.init()
        counter = perf.counter("logins")
        counter.add(0, {"user": -1})
        before = resident()
        for user in range(200_000):
            counter.add(1, {"user": user})
        print(resident() - before)
    """)

    assert (0, "") == (result.returncode, result.stderr)
    assert int(result.stdout) < 20 * 2**20
    series = last_values("logins")
    assert 2_001 == len(series)
    assert 200_000 == sum(series.values())
    ((rest,),) = [[value for key, value in series.items() if ("otel.metric.overflow", True) in key]]
    assert [rest] == list(last_values("otel_perf.self.overflow").values())
    assert ("instrument", "logins") in next(iter(last_values("otel_perf.self.overflow")))
    report = run_python(["-m", "otel_perf", "report"], env={"PYTHONIOENCODING": "utf-8"}).stdout
    assert f"logins: {count(rest)} measurements beyond its limit of series" in report


def test_measurements_that_were_left_out_are_in_the_report_by_instrument(run_python):
    run_python("""
        import otel_perf as perf
        perf.init()
        for value in (1, float("nan"), float("inf")):
            perf.gauge("queue").set(value)
    """)

    assert "queue: 2 measurements left out, no finite number" in run_python(["-m", "otel_perf", "report"]).stdout
    found = json.loads(run_python(["-m", "otel_perf", "report", "--json"]).stdout)["cost"]["lost"]
    assert [{"instrument": "queue", "beyond_series": 0, "refused": 2}] == found


def test_64_threads_times_100000_are_counted_exactly(run_python, last_values):
    result = run_python("""
        import threading
        import otel_perf as perf
        perf.init()
        counter = perf.counter("c")
        def work(number):
            fields = {"thread": str(number % 4)}
            for _ in range(50_000):
                counter.add(1)
                counter.add(1, fields)
        threads = [threading.Thread(target=work, args=(number,)) for number in range(64)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
    """)

    assert (0, "") == (result.returncode, result.stderr)
    assert [800_000] * 4 + [3_200_000] == without_process(last_values("c"))


@needs_fork
def test_a_signal_handler_that_measures_in_the_middle_of_a_measurement_deadlocks_nothing(run_python, last_values):
    result = run_python("""
        import signal, time
        import otel_perf as perf
        perf.init()
        counter, handled = perf.counter("c"), 0
        def handle(*_):
            global handled
            handled += 1
            counter.add(1, {"signal": str(handled)})
            counter.add(1)
        signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        added, until = 0, time.monotonic() + 0.5
        while time.monotonic() < until:
            counter.add(1)
            counter.add(1, {"turn": added % 3_000})
            added += 1
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(2 * (added + handled))
        assert handled > 50
    """)

    assert (0, "") == (result.returncode, result.stderr)
    assert int(result.stdout) == sum(last_values("c").values())


# --- fork -------------------------------------------------------------------------------------------------------------


@needs_fork
def test_a_forked_child_counts_from_zero_with_a_start_of_its_own(run_python, tmp_path, metrics_of):
    result = run_python("""
        import os, time
        import otel_perf as perf
        perf.init()
        perf.counter("c").add(100)
        perf.counter("c").add(100, {"kind": "web"})
        perf.gauge("g").set(7)
        timer = perf.timer("t")
        timer.record(1)
        timer.__enter__()
        time.sleep(0.05)
        forked = time.time_ns()
        if not os.fork():
            timer.__exit__()                      # began in the parent: not the child's
            perf.counter("c").add(1)
            perf.counter("c").add(2, {"kind": "web"})
            timer.record(2)
            time.sleep(1.3)                       # no record, no atexit: the worker writes
            os._exit(0)
        os.wait()
        print(forked, os.getpid())
    """)

    assert (0, "") == (result.returncode, result.stderr)
    forked, parent = map(int, result.stdout.split())
    points = {}
    for point in metrics_of(tmp_path):
        points[point["process"] == str(parent), point["metric"], *point["attributes"].values()] = point["point"]
    assert (100, 100) == (points[True, "c"]["value"], points[True, "c", "web"]["value"])
    assert (1, 2) == (points[False, "c"]["value"], points[False, "c", "web"]["value"])
    assert (1, 2.0) == (points[False, "t"]["count"], points[False, "t"]["sum"])
    assert (False, "g") not in points
    assert points[True, "c"]["startTimeUnixNano"] < forked <= points[False, "c"]["startTimeUnixNano"]


@needs_fork
def test_a_parent_goes_on_counting_after_a_fork(run_python, last_values):
    """From 3.12 a fork stops the worker until the next record: a measurement has to be one."""
    result = run_python("""
        import os, time
        import otel_perf as perf
        perf.init()
        perf.ready()
        counter = perf.counter("c")
        counter.add(1)
        counter.add(1, {"kind": "web"})
        time.sleep(1.2)
        if not os.fork():
            os._exit(0)
        os.wait()
        counter.add(1)
        counter.add(1, {"kind": "web"})
        time.sleep(1.3)
        os._exit(0)
    """)

    assert (0, "") == (result.returncode, result.stderr)
    assert [2, 2] == without_process(last_values("c"))


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@needs_fork
def test_children_of_multiprocessing_write_their_last_values(run_python, last_values, method):
    result = run_python(f"""
        import multiprocessing
        import otel_perf as perf

        def work(number):
            perf.init()
            perf.counter("jobs").add(number, {{"kind": "mp"}})

        if __name__ == "__main__":
            perf.init()
            perf.counter("jobs").add(1000)
            context = multiprocessing.get_context({method!r})
            children = [context.Process(target=work, args=(number,)) for number in (1, 2, 4)]
            for child in children: child.start()
            for child in children: child.join()
    """)

    assert (0, "") == (result.returncode, result.stderr)
    assert [1, 2, 4, 1000] == without_process(last_values("jobs"))
