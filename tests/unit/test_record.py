"""What a process sampled and judged, as the report shows it: recorded numbers in, lines and objects out."""

from __future__ import annotations

import itertools
import json
import os
import tracemalloc

import pytest

from otel_perf.analysis import sampled, standing
from otel_perf.analysis.as_json import report_object
from otel_perf.analysis.as_markdown import report_markdown
from otel_perf.analysis.gate import judge_budgets
from otel_perf.analysis.loading import load_process
from otel_perf.analysis.record import MOST_ALERTS, Series
from otel_perf.analysis.report import report_text
from otel_perf.analysis.text import Style, cells
from otel_perf.budgets import read
from otel_perf.export.decode import Point

SECOND = 1_000_000_000
BEGIN = 1_795_564_800 * SECOND
MEMORY = "process.memory.usage"
CORES = "otel_perf.process.cpu.usage"


def _attributes(values):
    kinds = {bool: "boolValue", int: "intValue", float: "doubleValue", str: "stringValue"}
    return [{"key": key, "value": {kinds[type(value)]: value}} for key, value in values.items()]


def gauge(name, value, at, unit="By", **attributes):
    """Return the line of one point, *at* seconds after BEGIN."""
    point = {"attributes": _attributes(attributes), "timeUnixNano": str(BEGIN + int(at * SECOND)), "asDouble": value}
    metric = {"name": name, "unit": unit, "gauge": {"dataPoints": [point]}}
    return json.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric]}]}]}) + "\n"


def series(name, values, unit="By", every=1.0, **attributes):
    return [gauge(name, value, at * every, unit, **attributes) for at, value in enumerate(values, 1)]


def judged(budget, limit, state, at, value=None):
    """Return the lines of a budget at one moment."""
    lines = [gauge("otel_perf.budget.limit", limit, at, "", budget=budget)]
    lines += [gauge("otel_perf.budget.state", state, at, "{state}", budget=budget)]
    return lines + ([] if value is None else [gauge("otel_perf.budget.value", value, at, "", budget=budget)])


def event(kind, budget, at, **attributes):
    """Return the line of an alert's event."""
    fields = {"budget": budget, "severity": "warning", "metric": MEMORY, "unit": "By", **attributes}
    record = {
        "timeUnixNano": str(BEGIN + int(at * SECOND)),
        "eventName": f"otel_perf.budget.{kind}",
        "body": {"stringValue": f"{budget} {kind}"},
        "attributes": _attributes(fields),
        "traceId": "1" * 32,
        "spanId": "2" * 16,
    }
    return json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}) + "\n"


def since(at):
    return BEGIN + int(at * SECOND)


@pytest.fixture
def process(tmp_path):
    """Return a function that gives the process that left these lines of metrics and events."""

    def load(*metrics, logs=()):
        folder = tmp_path / "run" / "1"
        os.makedirs(folder, exist_ok=True)
        with open(folder / "metrics.jsonl", "w") as file:
            file.writelines(line for lines in metrics for line in lines)
        (folder / "logs.jsonl").write_text("".join(logs))
        return load_process(str(folder))

    return load


def section(text, title):
    """Return the lines of the report below *title*, without it."""
    lines = text.split("\n")
    (begin,) = [number for number, line in enumerate(lines) if line.startswith(title)]
    return list(itertools.takewhile(bool, lines[begin + 1 :]))


# --- metrics ---------------------------------------------------------------------------------------------------------


def test_a_metric_is_a_line_with_lowest_average_highest_last_and_its_course(process):
    found = process(series(MEMORY, [10e6, 20e6, 80e6, 30e6]))

    (line,) = section(report_text(found), "Metrics: 4 samples in 3 s")[1:]

    assert ["memory", "(RSS)", "10", "MB", "35", "MB", "80", "MB", "30", "MB", "▂▃█▄"] == line.split()


def test_modes_of_the_cpu_are_one_line_and_the_share_says_of_how_many(process):
    share = "process.cpu.utilization"
    modes = [series(share, [value] * 3, "1", **{"cpu.mode": mode}) for mode, value in (("user", 0.2), ("system", 0.05))]
    together = [line for pair in zip(*modes, strict=True) for line in pair]

    lines = section(report_text(process(series(CORES, [1.0] * 3, "{cpu}"), together)), "Metrics")

    assert ["of", "4", "CPUs", *["25", "%"] * 4] == lines[2].split()[:11]


def test_a_short_peak_of_a_long_run_stays_in_chart_and_numbers(process):
    values = [10e6] * 7200
    values[3210] = 500e6
    found = process(series(MEMORY, values))

    (row,) = sampled.rows_of(found)

    assert (7200, 500e6, pytest.approx(10e6 + 490e6 / 7200)) == (
        row.series.count,
        row.series.high,
        row.series.average,
    )
    course = sampled.course_of(row.series, found, 30)
    assert [13] == [part for part, value in enumerate(course) if value == 500e6]


def test_a_series_of_days_takes_the_memory_of_minutes():
    point = Point()
    point.metric, point.unit, point.attributes = MEMORY, "By", {}
    kept = Series(MEMORY)
    sizes = []
    tracemalloc.start()
    for number in range(40_000):
        point.time, point.value = BEGIN + number * SECOND, float(number % 977)
        kept.add(point)
        if number in (1_000, 39_999):
            sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()

    assert sizes[1] - sizes[0] < 20_000, sizes
    assert len(kept.points()) <= 300


def test_where_the_samples_stopped_the_chart_is_blank(process):
    at = [*range(10), *range(40, 50)]
    found = process([gauge(MEMORY, 5e6, second) for second in at])

    (row,) = sampled.rows_of(found)

    chart = sampled.sparkline(sampled.course_of(row.series, found, 50), plain=False)
    assert ("█" * 10, "█" * 10) == (chart[:10], chart[-10:])
    assert " " * 20 in chart


def test_a_leak_names_the_limit_that_it_reaches_and_when(process):
    values = [100e6 + second * 2_000 + second % 7 * 1_000 for second in range(7200)]
    limit = judged("memory", 150e6, 0, 7200, values[-1])
    found = process(series(MEMORY, values), limit)

    text = report_text(found)
    (metric,) = report_object(found)["metrics"]

    (line,) = [line for line in text.splitlines() if line.startswith("  memory (RSS) grew")]
    assert line.startswith("  memory (RSS) grew by 7.2 MB an hour; at that rate 150 MB in 4 h 56 min ± ")
    assert line.endswith(" (memory)")
    assert pytest.approx(2_000, rel=0.01) == metric["slope_per_second"]
    (reaches,) = metric["reaches"]
    assert ("memory", 150e6) == (reaches["budget"], reaches["limit"])
    assert abs(reaches["in_seconds"] - 35_600 / 2) < reaches["plus_minus_seconds"] + 60
    assert "grew by 7.2 MB an hour" in report_markdown(found)


def test_what_stands_still_or_has_stopped_growing_heads_nowhere(process):
    values = [100e6 + min(second, 600) * 50_000 + second % 5 * 1_000 for second in range(3600)]
    found = process(series(MEMORY, values), judged("memory", 150e6, 0, 3600, values[-1]))

    (metric,) = report_object(found)["metrics"]

    assert (None, []) == (metric["slope_per_second"], metric["reaches"])
    assert "grew" not in report_text(found)


def test_limits_of_budgets_on_the_metric_are_named_the_lowest_first(process):
    found = process(
        series(MEMORY, [70e6] * 3),
        judged("memory", 150e6, 0, 3, 70e6),
        judged("rss", 60e6, 2, 3, 70e6),
        judged("queue", 5, 0, 3, 1),
        logs=[event("exceeded", "rss", 2, limit=60e6, value=70e6)],
    )

    (line,) = section(report_text(found), "Metrics")[1:]

    assert line.endswith("  60 MB (rss), 150 MB (memory)")


@pytest.mark.parametrize("width", [40, 55, 70, 100, 200])
def test_no_line_is_wider_than_the_window(process, width):
    found = process(
        *[series(name, [70e6] * 200) for name in (MEMORY, CORES, "process.thread.count")],
        judged("memory", 150e6, 0, 200, 70e6),
        judged("a budget with a very long name, longer than the window is wide", 60e6, 2, 200, 70e6),
        logs=[event("exceeded", "a budget with a very long name, longer than the window is wide", 2, limit=60e6)],
    )

    for plain in (False, True):
        text = report_text(found, width=width, ascii=plain)
        assert width >= max(map(cells, text.split("\n")))
        assert text.isascii() is plain


def test_nothing_is_shown_of_a_process_without_a_sample(process):
    found = process([gauge("orders", 3, 1)])

    text, whole = report_text(found), report_object(found)

    assert "Metrics" not in text
    assert "Budgets" not in text
    assert ([], [], []) == (whole["metrics"], whole["budgets"], whole["alerts"])
    assert (None, 0, 0, []) == tuple(whole["score"][key] for key in ("points", "judged", "unknown", "reasons"))
    assert "score" not in report_markdown(found)


# --- budgets and alerts ----------------------------------------------------------------------------------------------


def test_score_says_what_costs_how_much_and_how_many_are_unknown(process):
    """By the formula of score.py: 100 x (1 - 2 x (0.5 + 0.5 x 0.2) / (4 + 2 + 1))."""
    score = 100 * (1 - 2 * 0.6 / 7)
    found = process(
        judged("startup", 2.0, 0, 9, 1.0),
        judged("memory", 150e6, 2, 9, 180e6),
        judged("monitor", 0.1, 0, 9, 0.001),
        judged("idle", 0.02, -1, 9),
        [gauge("otel_perf.score", 40.0, 5, "{score}"), gauge("otel_perf.score", round(score, 2), 9, "{score}")],
        logs=[event("exceeded", "memory", 4, limit=150e6, value=170e6, peak=170e6, since=since(1), duration=3.0)],
    )

    lines = section(report_text(found), "Budgets and alerts: score 82 of 100, 3 budgets judged, 1 unknown; lowest 40")

    assert "  −17.1 memory exceeded: 180 MB, limit 150 MB (20 % over)" == lines[0]
    assert "  ok: startup, monitor; unknown: idle" == lines[1]
    assert ["memory", "warning", "8", "s", "180", "MB", "150", "MB", "not", "resolved"] == (
        lines[3].split()[:2] + lines[3].split()[3:]
    )
    (reason,) = report_object(found)["score"]["reasons"]
    assert pytest.approx(17.14, abs=0.01) == reason["points"]
    assert "score 82 of 100; 1 alert, not resolved: memory" in report_text(found).split("\n")


def test_where_the_severities_are_not_known_no_points_are_made_up(process):
    """Of a budget that the program set itself and that raised no alert the record has limit, value and state."""
    found = process(
        judged("own", 5, 1, 3, 6), judged("memory", 150e6, 0, 3, 1e6), [gauge("otel_perf.score", 83.33, 3, "{score}")]
    )

    lines = section(report_text(found), "Budgets and alerts: score 83 of 100")

    assert "  own pending: 6, limit 5 (20 % over)" == lines[0]
    assert [None] == [one["points"] for one in report_object(found)["score"]["reasons"]]


def test_an_alert_from_its_beginning_to_its_end_is_one_line(process):
    found = process(
        judged("memory", 150e6, 2, 5, 400e6),
        judged("memory", 150e6, 0, 60, 100e6),
        logs=[
            event("exceeded", "memory", 4, limit=150e6, value=160e6, peak=160e6, since=since(1), duration=3.0),
            event("escalated", "memory", 9, limit=150e6, value=400e6, peak=400e6, severity="critical", duration=8.0),
            event("resolved", "memory", 30, limit=150e6, value=90e6, peak=400e6, severity="critical", duration=29.0),
        ],
    )

    (alert,) = report_object(found)["alerts"]

    assert ("memory", "critical", 1, "resolved", 29.0, 160e6, 400e6) == tuple(
        alert[key] for key in ("budget", "severity", "escalated", "end", "seconds", "value", "peak")
    )
    assert ("2026-11-25T00:00:01.000000+00:00", "2026-11-25T00:00:30.000000+00:00") == (alert["since"], alert["ended"])
    assert ("1" * 32, "2" * 16, "memory resolved") == (alert["trace_id"], alert["span_id"], alert["text"])
    assert "| <code>memory</code> | critical |" in report_markdown(found)


def test_of_many_alerts_the_newest_are_kept_and_the_others_counted(process):
    logs = []
    for number in range(MOST_ALERTS + 50):
        logs.append(event("exceeded", "memory", number, limit=150e6, peak=160e6, duration=0.0))
        logs.append(event("resolved", "memory", number + 0.5, limit=150e6, peak=160e6, duration=0.5))
    found = process(judged("memory", 150e6, 0, 300, 1e6), logs=logs)

    whole, text = report_object(found), report_text(found)

    assert (MOST_ALERTS, 50) == (len(whole["alerts"]), whole["alerts_before"])
    assert whole["alerts"][-1]["since"].startswith("2026-11-25T00:04:09")
    assert f"  {MOST_ALERTS + 50 - standing.MOST_SHOWN} before them" in text.split("\n")
    assert "250 alerts" in text.split("\n")


def test_a_budget_that_is_gone_costs_nothing_and_its_alert_says_so(process):
    found = process(
        judged("old", 5, 2, 3, 9),
        judged("memory", 150e6, 0, 200, 1e6),
        logs=[event("exceeded", "old", 2, limit=5.0, value=9.0, metric="queue", unit="")],
    )

    whole = report_object(found)

    assert ["gone", "ok"] == [one["state"] for one in whole["budgets"]]
    assert (["gone"], 1, []) == (
        [one["end"] for one in whole["alerts"]],
        whole["score"]["judged"],
        whole["score"]["reasons"],
    )


def test_states_that_are_written_when_they_change_alone_stand_until_then(process):
    found = process(
        judged("memory", 150e6, 0, 1, 1e6),
        judged("queue", 5, 2, 60, 9),
        [gauge("otel_perf.score", 62.5, 60, "{score}"), gauge("otel_perf.budget.value", 2e6, 61, "", budget="memory")],
        series(MEMORY, [2e6] * 70),
        logs=[event("exceeded", "queue", 60, limit=5.0, value=9.0, since=since(60), metric="queue", unit="")],
    )

    whole = report_object(found)

    assert [("ok", 2e6), ("exceeded", 9)] == [(one["state"], one["value"]) for one in whole["budgets"]]
    assert (62.5, 2, 10.0) == (whole["score"]["points"], whole["score"]["judged"], whole["alerts"][0]["seconds"])


def test_an_alert_of_a_budget_that_is_another_by_now_is_gone(process):
    found = process(
        judged("queue", 5, 2, 3, 9),
        judged("queue", 5e6, 0, 4, 1e6),
        logs=[event("exceeded", "queue", 2, limit=5.0, value=9.0, duration=1.0, metric="queue", unit="")],
    )

    (alert,) = report_object(found)["alerts"]

    assert ("gone", 1.0) == (alert["end"], alert["seconds"])


@pytest.mark.parametrize("bad", ["NaN", "Infinity", "-Infinity", 1e308, -1e308])
def test_numbers_that_cannot_be_are_left_out(process, bad):
    found = process(
        series(MEMORY, [bad, 5e6, bad]),
        judged("memory", bad, 0, 2, bad),
        judged("own", 5, bad, 2, bad),
        [gauge("otel_perf.score", bad, 2)],
        logs=[event("exceeded", "own", 2, limit=bad, value=bad, peak=bad, since=-5, duration=bad, severity="dreadful")],
    )

    text = json.dumps(report_object(found), allow_nan=False)
    report_text(found)
    report_markdown(found)
    judge_budgets(read("", None), found)

    assert '"samples": 1' in text


# --- the gate --------------------------------------------------------------------------------------------------------


@pytest.fixture
def gate(process):
    """Return a function giving state and reason of each budget, by name; *table* is that of the file."""

    def run(*metrics, logs=(), table=None):
        found = judge_budgets(read("otel-perf.toml", table), process(*metrics, logs=logs))
        return {one.budget.name: (one.state, one.reason) for one in found if one.budget.name != "startup"}

    return run


def test_a_budget_that_only_the_program_knew_is_judged_by_what_it_judged(gate):
    lines = [judged("queue", 5, 0, second, second) for second in (1, 2, 3)]

    assert {"queue": ("ok", "never exceeded; the value is the last")} == gate(*lines)
    assert {"queue": ("exceeded", "40 % over; the process said so")} == gate(*lines, judged("queue", 5, 2, 4, 7))
    assert "unknown" == gate(judged("queue", 5, -1, 1))["queue"][0]


def test_over_the_limit_for_less_long_than_the_budget_says_is_ok(gate):
    state, reason = gate(judged("queue", 5, 1, 1, 7))["queue"]

    assert ("ok", "40 % over, for less long than it says") == (state, reason)


def test_an_alert_fails_the_gate_even_if_it_was_resolved(gate):
    logs = [
        event("exceeded", "queue", 1, limit=5.0, value=9.0, peak=9.0, duration=0.0, unit="", metric="queue"),
        event("resolved", "queue", 4, limit=5.0, value=1.0, peak=9.0, duration=3.0, unit="", metric="queue"),
    ]

    assert {"queue": ("exceeded", "80 % over; an alert of 3 s")} == gate(judged("queue", 5, 0, 5, 1), logs=logs)


def test_a_default_that_the_program_set_otherwise_is_judged_by_its_limit(gate):
    lines = series(MEMORY, [200e6] * 10)

    assert "exceeded" == gate(lines)["memory"][0]
    assert ("ok", "never exceeded; the value is the last") == gate(lines, judged("memory", 300e6, 0, 10, 200e6))[
        "memory"
    ]


def test_the_file_wins_over_what_the_program_judged(gate):
    lines = [*series(MEMORY, [200e6] * 10), *judged("memory", 150e6, 2, 10, 200e6)]

    assert "ok" == gate(lines, table={"memory": "300MB"})["memory"][0]
    assert "exceeded" == gate(lines, table={"memory": "180MB"})["memory"][0]
    assert {} == gate(lines, table={"memory": False})


def test_idle_seconds_that_raised_an_alert_fail_the_gate(gate):
    """Only the process knows how long an idle budget was over on end: other seconds have no value."""
    lines = [*judged("idle", 0.02, 2, 30, 0.5), *judged("idle", 0.02, -1, 31)]

    assert ("exceeded", "25 times the limit; the process said so") == gate(lines)["idle"]


def test_a_default_that_was_watched_and_never_judged_is_unknown_as_the_report_has_it(gate):
    """What --strict fails; it counted as if it was not there."""
    found = gate(judged("idle", 0.02, -1, 1), judged("memory", 150e6, 0, 1, 10e6))

    assert "unknown" == found["idle"][0]
    assert "nothing in this process is tracked work" in found["idle"][1]
    assert found["idle"][1].endswith("; idle = false switches it off")


def test_a_percentile_that_the_process_judged_is_marked_as_an_estimate(process):
    metric = "p95(checkout)"
    logs = [event("exceeded", "slow", 1, limit=0.45, value=0.5, peak=0.5, duration=0.0, unit="s", metric=metric)]
    found = process(judged("slow", 0.45, 2, 1, 0.5), logs=logs)

    assert "exceeded: ~500 ms, limit 450 ms" in report_text(found)
    assert "  ~500 ms  450 ms" in report_text(found)
    (one,) = [one for one in judge_budgets(read("", None), found) if one.budget.name == "slow"]
    assert ("~500 ms", "500 ms") == (one.value_text, one.shown(one.value))


@pytest.mark.parametrize("ended", [False, True], ids=["open", "resolved"])
def test_markdown_does_not_praise_a_run_whose_check_fails(process, tmp_path, ended):
    """Its start is within the budget; another budget was exceeded."""
    logs = [event("exceeded", "memory", 1, limit=5.0, value=9.0, peak=9.0, duration=0.0)]
    logs += [event("resolved", "memory", 4, limit=5.0, value=1.0, peak=9.0, duration=3.0)] if ended else []
    root = {
        "traceId": "1" * 32, "spanId": "2" * 16, "name": "startup",
        "startTimeUnixNano": str(BEGIN), "endTimeUnixNano": str(BEGIN + SECOND),
        "attributes": _attributes({"otel_perf.kind": "startup", "otel_perf.ready": "ready()"}),
    }  # fmt: skip
    process()
    line = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [root]}]}]}) + "\n"
    (tmp_path / "run" / "1" / "traces.jsonl").write_text(line)
    assert report_markdown(process()).startswith("### ✅ unknown\\_service started in 1 s: within the budget of 2 s")

    first = report_markdown(process(logs=logs)).partition("\n")[0]

    assert first.startswith("### ❌ unknown\\_service started in 1 s: within the budget of 2 s")
    assert first.endswith("; 1 budget exceeded: memory")


def test_style_of_the_terminal_decides_the_signs():
    assert "-3 +- 2 us - ..." == Style(ascii=True).plain("−3 ± 2 µs – …")
    assert "−3 ± 2 µs – …" == Style().plain("−3 ± 2 µs – …")
