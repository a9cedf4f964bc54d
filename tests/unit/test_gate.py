"""Budgets judged on recorded numbers: values over time, counters, percentiles, functions, and what cannot be said."""

from __future__ import annotations

import json
import os

import pytest

from otel_perf.analysis.gate import judge_budgets
from otel_perf.analysis.loading import load_process
from otel_perf.budgets import Budget, read
from otel_perf.errors import ConfigError

SECOND = 1_000_000_000
BEGIN = 1_795_564_800 * SECOND


def gauge(name, values, unit="By", every=1.0, **attributes):
    """Return lines of metrics, a point a line, its first at BEGIN + *every*."""
    return [_line(name, unit, "gauge", {}, value, at * every, attributes) for at, value in enumerate(values, 1)]


def counter(name, values, unit="{order}", every=1.0, **attributes):
    more = {"isMonotonic": True, "aggregationTemporality": 2}
    return [_line(name, unit, "sum", more, value, at * every, attributes) for at, value in enumerate(values, 1)]


def _attributes(values):
    return [{"key": key, "value": {"stringValue": value}} for key, value in values.items()]


def _line(name, unit, kind, more, value, at, attributes):
    point = {
        "attributes": _attributes(attributes),
        "startTimeUnixNano": str(BEGIN),
        "timeUnixNano": str(BEGIN + int(at * SECOND)),
        "asDouble": value,
    }
    return _metrics({"name": name, "unit": unit, kind: {**more, "dataPoints": [point]}})


def _metrics(metric):
    return json.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric]}]}]}) + "\n"


def durations(function, counts, largest, offset=-4):
    """Return the line of a histogram: *counts* of calls in buckets of a factor 2 from 2**offset s on."""
    point = {
        "attributes": _attributes({"function": function, "kind": "function"}),
        "timeUnixNano": str(BEGIN),
        "count": str(sum(counts)),
        "sum": 1.0,
        "min": 2.0**offset,
        "max": largest,
        "scale": 0,
        "positive": {"offset": offset, "bucketCounts": [str(number) for number in counts]},
    }
    name = "otel_perf.function.duration"
    return _metrics({"name": name, "unit": "s", "exponentialHistogram": {"dataPoints": [point]}})


@pytest.fixture
def judge(tmp_path):
    """Return a function that judges one budget on a process that recorded *lines* of metrics."""

    def run(metric, max, *lines, traces="", **more):
        folder = tmp_path / "run" / "1"
        os.makedirs(folder, exist_ok=True)
        (folder / "metrics.jsonl").write_text("".join(line for group in lines for line in group))
        (folder / "traces.jsonl").write_text(traces)
        (judged,) = judge_budgets(
            [Budget("b", metric=metric, max=max, source="file", **more)], load_process(str(folder))
        )
        return judged

    return run


def test_a_peak_counts_even_if_the_last_value_is_low(judge):
    judged = judge("mem", "150MB", gauge("mem", [100e6, 200e6, 100e6]))

    assert ("exceeded", 200e6, "50 MB over") == (judged.state, judged.value, judged.reason)


@pytest.mark.parametrize(
    ("value", "limit", "reason"),
    [(7.001, 7, "0.0143 % over"), (1150, 5, "230 times the limit"), (7, 7, "0 % left"), (1e18, 0, "1 E over")],
)
def test_how_far_it_is_over_is_told_in_three_digits_and_never_as_nothing(judge, value, limit, reason):
    lines = [line.replace('"By"', '""') for line in gauge("queue", [value])]

    assert reason == judge("queue", limit, lines).reason


def test_the_limit_itself_holds(judge):
    assert "ok" == judge("mem", "150MB", gauge("mem", [150e6])).state


@pytest.mark.parametrize(
    ("values", "state"),
    [
        ([151, 151, 149, 151, 151, 149], "ok"),
        ([151, 151, 151, 149], "ok"),
        ([151, 151, 151, 151, 149], "exceeded"),
        ([149] * 5, "ok"),
    ],
)
def test_for_is_the_time_on_end_over_the_limit(judge, values, state):
    judged = judge("mem", 150, gauge("mem", values), for_="3s")

    assert state == judged.state
    assert (state == "ok" and 151 in values) == ("for less than 3 s" in judged.reason)


def test_of_several_series_the_worst_decides_and_is_named(judge):
    lines = [gauge("queue", [3], "1", shop="a"), gauge("queue", [9], "1", shop="b"), gauge("queue", [5], "1", shop="c")]

    assert ("exceeded", 9.0) == ((one := judge("queue", 8, *lines)).state, one.value)
    assert "of 3 series shop=b" in one.reason
    assert ("ok", 5.0) == ((one := judge("queue{shop=c}", 8, *lines)).state, one.value)


def test_a_counter_is_judged_by_its_last_value_and_its_rate_by_the_busiest_second(judge):
    lines = counter("orders", [10, 20, 120, 120, 130])

    assert 130 == judge("orders", 1000, lines).value
    judged = judge("rate(orders)", 50, lines)
    assert ("exceeded", 100.0, "100 orders/s") == (judged.state, judged.value, judged.shown(judged.value))


def test_a_rate_survives_a_counter_that_begins_anew(judge):
    assert 10.0 == judge("rate(orders)", 50, counter("orders", [10, 5, 10])).value


def test_a_rate_of_less_than_a_second_is_unknown(judge):
    judged = judge("rate(orders)", 50, counter("orders", [100], every=0.2))

    assert ("unknown", None) == (judged.state, judged.value)
    assert "less than a second" in judged.reason


def test_a_percentile_of_a_gauge_is_over_time(judge):
    assert 50.0 == judge("p50(mem)", "1kB", gauge("mem", range(101))).value


def test_nan_is_no_data(judge):
    assert ("ok", 1.0) == ((one := judge("mem", 5, gauge("mem", [1.0, "NaN"]))).state, one.value)
    assert "unknown" == judge("mem", 5, gauge("mem", ["NaN"])).state


def test_a_function_is_judged_by_its_slowest_call_or_a_percentile(judge):
    line = durations("shop.checkout", [90, 0, 0, 10], 0.9)

    slowest = judge("otel_perf.function.duration{function=shop.checkout}", "500ms", [line])
    assert ("exceeded", 0.9, "400 ms over, 100 calls") == (slowest.state, slowest.value, slowest.reason)
    low = judge("p50(otel_perf.function.duration{function=shop.checkout})", "500ms", [line])
    assert ("ok", True) == (low.state, 2**-4 <= low.value <= 2**-3)
    assert "from buckets a factor 2 apart" in low.reason


def test_a_function_of_another_name_is_unknown_and_the_likely_one_is_named(judge):
    lines = [durations(f"shop.{name}", [1], 0.1) for name in ("load", "save", "checkout", "pay", "ship")]

    judged = judge("otel_perf.function.duration{function=checkout}", "500ms", lines)

    assert "unknown" == judged.state
    assert judged.reason.endswith("was not recorded for function=checkout; there is shop.checkout")
    judged = judge("otel_perf.function.duration{function=xyz}", "500ms", lines)
    assert judged.reason.endswith("there are shop.load, shop.save, shop.checkout and 2 more")


def test_an_absent_metric_is_unknown_and_a_default_of_ours_is_left_out(judge, tmp_path):
    judged = judge("queue.length", 5)

    assert ("unknown", "this process recorded no metric queue.length") == (judged.state, judged.reason)
    process = load_process(str(tmp_path / "run" / "1"))
    assert [] == judge_budgets([Budget("memory", metric="process.memory.usage", max="150MB")], process)


@pytest.mark.parametrize(
    ("metric", "limit", "says"),
    [
        ("mem", "2s", "max is written in s, but mem is recorded in By"),
        ("mem", "2%", "max is written in %, but mem is recorded in By"),
        ("rate(mem)", "2MB", r"rate\(\) is of a counter, and mem is none"),
        ("p95(orders)", 5, "a counter such as orders has no percentile"),
        ("rate(otel_perf.function.duration)", 5, r"rate\(\) is of a counter"),
    ],
)
def test_a_budget_that_does_not_fit_its_metric_is_refused(judge, metric, limit, says):
    lines = [*gauge("mem", [1]), *counter("orders", [1]), durations("f", [1], 0.1)]

    with pytest.raises(ConfigError, match=says):
        judge(metric, limit, lines)


def test_a_share_is_shown_as_written(judge):
    judged = judge("cpu", "2%", gauge("cpu", [0.05], unit="1"))

    assert ("exceeded", "5 %", "2 %") == (judged.state, judged.shown(judged.value), judged.shown(judged.max))


def test_seconds_that_nobody_saw_are_not_over_the_limit(judge):
    lines = gauge("mem", [151, 151, 149]) + [_line("mem", "By", "gauge", {}, 151, at, {}) for at in (4, 5, 11, 12, 13)]

    assert "ok" == judge("mem", 150, lines, for_="3s").state
    lines.append(_line("mem", "By", "gauge", {}, 151, 14, {}))
    assert "exceeded" == judge("mem", 150, lines, for_="3s").state


def test_for_is_known_of_a_series_with_a_point_a_minute(judge):
    assert "exceeded" == judge("mem", 150, gauge("mem", [151, 151, 149], every=60.0), for_="1min").state


def test_an_idle_budget_is_judged_on_the_seconds_that_the_process_called_idle(judge):
    """The CPU of busy seconds is in the record too, and nobody else knows which those were."""
    cpu = gauge("otel_perf.process.cpu.usage", [0.9] * 30, "{cpu}")
    judged = [
        _line("otel_perf.budget.value", "1", "gauge", {}, value, at, {"budget": name})
        for name, value in (("b", 0.03), ("other", 7.0))
        for at in (1, 2, 3, 4, 10, 11, 12, 13)
    ]

    found = judge("otel_perf.process.cpu.usage", "2%", cpu, judged, for_="10s", idle="tracked")
    assert ("ok", 0.03, "0.03 cores", "0.02 cores") == (
        found.state, found.value, found.shown(found.value), found.shown(found.max)
    )  # fmt: skip
    assert "exceeded" == judge("otel_perf.process.cpu.usage", "2%", cpu, judged, for_="3s", idle=True).state
    found = judge("otel_perf.process.cpu.usage", "2%", cpu, for_="3s", idle=True)
    assert ("unknown", False) == (found.state, found.recorded)
    assert "no second in which no tracked work ran" in found.reason


def test_an_idle_budget_of_a_program_without_tracked_work_says_that_it_has_none(judge):
    cpu = gauge("otel_perf.process.cpu.usage", [0.0] * 30, "{cpu}")

    found = judge("otel_perf.process.cpu.usage", "2%", cpu, for_="3s", idle="tracked")
    assert "nothing in this process is tracked work, so nobody knows when it was idle" == found.reason
    work = [durations("f", [1], 0.2)]
    assert "no second" in judge("otel_perf.process.cpu.usage", "2%", cpu, work, for_="3s", idle="tracked").reason


def test_an_idle_budget_with_sparse_idle_seconds_holds(judge):
    seen = [_line("otel_perf.budget.value", "1", "gauge", {}, 1.0, at * 10, {"budget": "b"}) for at in range(1, 9)]

    assert "ok" == judge("cpu", 0.02, seen, for_="10s", idle=True).state


def test_the_defaults_of_the_tick_are_left_out_where_it_did_not_run(tmp_path):
    folder = tmp_path / "run" / "1"
    os.makedirs(folder)
    (folder / "metrics.jsonl").write_text("".join(gauge("otel_perf.self.tick.lateness", [0.2] * 5, "s")))
    (folder / "traces.jsonl").write_text("")

    found = judge_budgets(read("", None), load_process(str(folder)))

    assert {"startup": "unknown", "monitor": "exceeded"} == {judged.budget.name: judged.state for judged in found}


def test_a_percentile_from_buckets_is_marked_and_one_of_all_values_is_not(judge):
    name = "otel_perf.function.duration{function=f}"
    assert "~" == judge(f"p50({name})", "1s", [durations("f", [9, 9], 0.2)]).value_text[0]
    assert "200 ms" == judge(name, "1s", [durations("f", [9, 9], 0.2)]).value_text
    assert "50 B" == judge("p50(mem)", "1kB", gauge("mem", range(101))).value_text


def test_a_metric_that_there_is_not_is_called_wrong(judge):
    judged = judge("process.memory.usge", "1MB", gauge("process.memory.usage", [1]))

    assert "unknown" == judged.state
    assert "there is no 'process.memory.usge'; did you mean 'process.memory.usage'?" in judged.reason
