"""The report as people see it: exact text of small runs, numbers, widths, colours, hostile names."""

from __future__ import annotations

import io
import json
import re
import time

import pytest

from otel_perf.analysis.report import report_for, report_text
from otel_perf.analysis.text import Style, cells

START = 1_795_000_000_000_000_000  # 2026-11-18T11:06:40Z
MS = 1_000_000
RESOURCE = {"service.name": "shop", "service.version": "1.4.2", "process.runtime.version": "3.11.7"}


@pytest.fixture(autouse=True)
def _in_utc(monkeypatch):
    if hasattr(time, "tzset"):
        monkeypatch.setenv("TZ", "UTC")
        time.tzset()


# --- lines as the recorder writes them ------------------------------------------------------------------------


def attributes(values):
    kinds = {bool: "boolValue", float: "doubleValue", str: "stringValue", int: "intValue"}
    return [
        {"key": key, "value": {kinds[type(value)]: str(value) if type(value) is int else value}}
        for key, value in values.items()
    ]


def span(name, start, end, id, parent=0, kind="", trace=1, error=None, remote=False, links=(), **more):
    """Return a span as the recorder writes it; times in ms from START, a name of more with ``__`` for a dot."""
    values = {"otel_perf.kind": kind} if kind else {}
    values |= {f"otel_perf.{key.replace('__', '.')}": value for key, value in more.items()}
    found = {
        "traceId": f"{trace:032x}",
        "spanId": f"{id:016x}",
        "flags": 0x301 if remote else 0x101,
        "name": name,
        "kind": 1,
        "startTimeUnixNano": str(START + int(start * MS)),
        "endTimeUnixNano": str(START + int(end * MS)),
        "attributes": attributes(values),
        "links": [{"traceId": f"{trace:032x}", "spanId": f"{link:016x}"} for link in links],
    }
    if parent:
        found["parentSpanId"] = f"{parent:016x}"
    if error:
        kind, message = error
        exception = attributes({"exception.type": kind, "exception.message": message})
        found["status"] = {"code": 2, "message": f"{kind}: {message}"}
        found["events"] = [{"name": "exception", "timeUnixNano": "1", "attributes": exception}]
    return found


def root(end, **more):
    return span("startup", 0, end, 1, kind="startup", **{"ready": "ready()", **more})


def histogram(function, calls, low, high, offset, buckets, kind="function"):
    point = {
        "attributes": attributes({"function": function, "kind": kind}),
        "count": str(calls),
        "sum": calls * (low + high) / 2,
        "min": low,
        "max": high,
        "scale": 0,
        "positive": {"offset": offset, "bucketCounts": [str(number) for number in buckets]},
    }
    return {
        "name": "otel_perf.function.duration",
        "unit": "s",
        "exponentialHistogram": {"aggregationTemporality": 2, "dataPoints": [point]},
    }


def number(name, value, **values):
    key = "asInt" if isinstance(value, int) else "asDouble"
    point = {"attributes": attributes(values), key: str(value) if key == "asInt" else value}
    return {"name": name, "sum": {"aggregationTemporality": 2, "isMonotonic": True, "dataPoints": [point]}}


def ended(how="exit", **values):
    """Return the event of a process's end; a name of *values* with ``__`` for a dot."""
    found = {"otel_perf.end": how, **{key.replace("__", "."): value for key, value in values.items()}}
    return {"timeUnixNano": str(START), "eventName": "otel_perf.process.ended", "attributes": attributes(found)}


@pytest.fixture
def process(tmp_path):
    """Return a function that writes the folder of one process: spans one a line, then metrics, and gives its path."""

    def write(*spans, metrics=(), logs=(), resource=RESOURCE, tail=b""):
        folder = tmp_path / "2026-11-18T11-06-40" / "4242"
        folder.mkdir(parents=True, exist_ok=True)
        described = {"attributes": attributes(resource)}
        scope = {"name": "otel_perf", "version": "0.1.0"}
        lines = [
            {"resourceSpans": [{"resource": described, "scopeSpans": [{"scope": scope, "spans": [one]}]}]}
            for one in spans
        ]
        content = "".join(json.dumps(one) + "\n" for one in lines).encode()
        (folder / "traces.jsonl").write_bytes(content + tail)
        if metrics:
            data = {"resourceMetrics": [{"resource": described, "scopeMetrics": [{"metrics": list(metrics)}]}]}
            (folder / "metrics.jsonl").write_text(json.dumps(data) + "\n")
        if logs:
            data = {"resourceLogs": [{"resource": described, "scopeLogs": [{"logRecords": list(logs)}]}]}
            (folder / "logs.jsonl").write_text(json.dumps(data) + "\n")
        return folder

    return write


def widths(report):
    return [cells(re.sub(r"\x1b\[\d+m", "", line)) for line in report.splitlines()]


# --- exact text -----------------------------------------------------------------------------------------------


def test_report_of_a_small_start(process):
    folder = process(
        span("PreInit", 0, 100, 2, 1, "phase"),
        span("import numpy", 120, 300, 4, 3, "import", self_time=0.18),
        span("import opt", 300, 380, 5, 3, "import", error=("ImportError", "no opt"), self_time=0.08),
        span("CoreInit", 100, 500, 3, 1, "phase", self_time=0.14),
        span("connect", 500, 900, 7, 6, "function"),
        span("GET /", 600, 850, 8, 7),
        span("Transport", 500, 1000, 6, 1, "phase", self_time=0.1),
        span("Ready", 1000, 1000, 9, 1, "phase"),
        root(1000, self__init_time=0.0041, self__memory=2_300_000, budget__startup=2.0),
        metrics=[
            histogram("parse", 8, 0.001, 0.002, -10, [8]),
            number("otel_perf.profile.self_time", 0.0115, path="main;parse", function="parse", depth=1),
            number("otel_perf.profile.time", 0.012, path="main;parse", function="parse", depth=1),
            number("otel_perf.profile.calls", 8, path="main;parse", function="parse", depth=1),
            number("otel_perf.self.dropped", 0),
            number("otel_perf.self.cpu_time", 0.012),
        ],
        logs=[ended()],
    )

    assert (
        report_text(folder, width=80)
        == """\
shop 1.4.2 started in 1 s: within the budget of 2 s (1 s left)
run 2026-11-18T11-06-40, process 4242, Python 3.11.7, 2026-11-18 11:06:40 +0000
exited (code not recorded)

Bottlenecks: what the end of the start waited for
  1. GET /, 250 ms, 25.0 %
  2. import numpy, 180 ms, 18.0 %: import
  3. connect, 150 ms, 15.0 %

What to change
  1. import opt failed once: 80 ms for nothing

                                    0                      1 s    time  of start
startup                             ██████████████████████████     1 s     100 %
  PreInit                           ██▌                         100 ms    10.0 %
  CoreInit                            ▐██████████               400 ms    40.0 %
    import numpy                       █████                    180 ms    18.0 %
    import opt [error ImportError]          ██                   80 ms     8.0 %
    (own code)                        ▐       ███               140 ms    14.0 %
  Transport                                      █████████████  500 ms    50.0 %
    connect                                      ██████████▌    400 ms    40.0 %
      GET /                                        ▐██████      250 ms    25.0 %
    (own code)                                             ▐██  100 ms    10.0 %
  Ready                                                      ▕    0 ms       0 %

Imports: 260 ms in 2 imports, 26.0 % of the start
  by phase: CoreInit 260 ms (65 % of it)
  opt failed once: 80 ms for nothing (ImportError: no opt)
  module    self   total  phase
  numpy   180 ms  180 ms  CoreInit
  opt      80 ms   80 ms  CoreInit

Functions: 2 profiled, by self time
  function  calls   total     self     min     max      p50       p95       p99
  connect      1*  400 ms        –  400 ms  400 ms   400 ms    400 ms    400 ms
  parse         8   12 ms  11.5 ms    1 ms    2 ms  ~1.4 ms  ~1.89 ms  ~1.94 ms
  ~ percentiles from buckets a factor 2 apart; exact for calls that became spans
  * from spans only: calls too fast for a span are not counted

Hot paths, by self time
  path             self  total  calls
  main > parse  11.5 ms  12 ms      8

What otel-perf cost: 4.1 ms in init(), 2.3 MB of memory, 12 ms of CPU in its
  worker, 0 records dropped
"""
    )


def test_report_without_bars_where_there_is_no_room_and_no_unicode(process):
    folder = process(
        span("加载", 0, 100, 3, 2, "function"), span("CoreInit", 0, 400, 2, 1, "phase"), root(400), logs=[ended()]
    )

    assert (
        report_text(folder, width=40, ascii=True)
        == """\
shop 1.4.2 started in 400 ms: within the
  budget of 2 s (1.6 s left)
run 2026-11-18T11-06-40, process 4242,
  Python 3.11.7, 2026-11-18 11:06:40
  +0000
exited (code not recorded)

Bottlenecks: what the end of the start
  waited for
  1. CoreInit (own code), 300 ms, 75.0 %
  2. \\u52a0\\u8f7d, 100 ms, 25.0 %

                    time  of start
startup           400 ms     100 %
  CoreInit        400 ms     100 %
    \\u52a0\\u8f7d  100 ms    25.0 %
    (own code)    300 ms    75.0 %

Functions: 1 profiled, by self time
  function      calls   total  self
  \\u52a0\\u8f7d     1*  100 ms     -
  * from spans only: calls too fast for
    a span are not counted

What otel-perf cost: not recorded
"""
    )


def test_start_that_went_wrong_in_every_way(process):
    items = span("items", 300, 900, 6, 1, "function", active_time=0.05)
    folder = process(
        span("import a", 10, 20, 2, 77, "import"),
        span("probe", 100, 200, 4, 1, "function"),
        span("probe", 150, 250, 5, 1, "function"),
        items,
        items,
        span("job", 600, 1000, 8, 6, "function", open=True, detached=True),
        root(1000, ready="exit", startup__modules_before_init=137),
        tail=b'{"resourceSpans":[{"resou',
    )

    (tree,) = [part for part in report_text(folder, width=80).split("\n\n") if part.lstrip().startswith("0 ")]

    assert (
        tree
        == """\
                          0                                1 s    time  of start
startup                   ████████████████████████████████████     1 s     100 %
  probe [parallel]           ▐███                               100 ms    10.0 %
  probe [parallel]             ▐███                             100 ms    10.0 %
  items [active 50 ms]               █████████████████████▌     600 ms    60.0 %
    job [open, detached]                       ▐██████████████  400 ms    40.0 %
  (own code)              ███▌     ██                     ▐███  250 ms    25.0 %
(parent not recorded)     ▕                                      10 ms     1.0 %
  import a                ▕                                      10 ms     1.0 %"""
    )


@pytest.mark.parametrize(
    ("spans", "first"),
    [
        ([root(1420)], "shop 1.4.2 started in 1.42 s: within the budget of 2 s (580 ms left)"),
        ([root(2310)], "shop 1.4.2 started in 2.31 s: the budget of 2 s exceeded by 310 ms"),
        ([root(700, budget__startup=0.5)], "shop 1.4.2 started in 700 ms: the budget of 500 ms exceeded by 200 ms"),
        (
            [root(1420, ready="port 8000")],
            "shop 1.4.2 started in 1.42 s (ready: port 8000): within the budget of 2 s (580 ms left)",
        ),
        (
            [root(3200, ready="exit")],
            "shop 1.4.2: budget of 2 s unknown: no ready() (the start was closed by the process's exit after 3.2 s)",
        ),
        (
            [
                span("Core", 0, 900, 2, 1, "phase", open=True, interrupted=True),
                root(900, ready="signal", interrupted=True),
            ],
            "shop 1.4.2: budget of 2 s unknown: a signal ended the start after 900 ms, in Core",
        ),
        (
            [span("PreInit", 0, 100, 2, 1, "phase", depth=1), span("import a", 110, 412, 3, 9, "import", depth=2)],
            "shop 1.4.2: budget of 2 s unknown: the start has no end (killed, or still going on); "
            "last recorded, after 412 ms: import a",
        ),
        ([span("request", 0, 5, 2)], "shop 1.4.2: no start was recorded in this process"),
        ([], "unknown_service: nothing was recorded, or nothing has been written yet"),
    ],
)
def test_first_line_is_the_verdict(process, spans, first):
    assert first == report_text(process(*spans), width=200).splitlines()[0]


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("listen", "inferred from the first listening socket"),
        ("port", "its port answers"),
        ("idle", "inferred from the first half second without work"),
        ("main", "inferred from the end of its main module, while threads go on"),
        ("delay", "after the time that was asked for"),
    ],
)
def test_verdict_says_which_rule_ended_the_start(process, rule, words):
    first = report_text(process(root(1000, ready=rule)), width=200).splitlines()[0]

    assert f"shop 1.4.2 started in 1 s (ready: {words}): within the budget of 2 s (1 s left)" == first


def inferred(after, rule="listen", **values):
    """Return the event of a program that seems to be ready, *after* ms."""
    found = {"otel_perf.ready": rule, "otel_perf.startup.duration": after / 1e3, **values}
    return {
        "timeUnixNano": str(START + after * MS), "eventName": "otel_perf.startup.inferred", "spanId": f"{1:016x}",
        "traceId": f"{1:032x}", "attributes": attributes(found),
    }  # fmt: skip


def test_readiness_that_was_inferred_before_the_root_is_written_counts(process):
    """What ran after it is none of the start's, and hangs below no missing parent."""
    spans = [span("import a", 10, 40, 3, 1, "import", depth=1), span("request", 70, 90, 4, 1, "function", depth=1)]

    text = report_text(process(*spans, logs=[inferred(62, **{"otel_perf.budget.startup": 0.5})]), width=200)

    first = "shop 1.4.2 started in 62 ms (ready: inferred from the first listening socket): within the budget of 500 ms"
    assert text.startswith(first)
    assert "import a" in text
    assert "request" not in text.partition("Functions")[0]


def test_root_that_is_written_knows_better_than_what_was_inferred(process):
    text = report_text(process(root(1000), logs=[inferred(62)]), width=200)

    assert text.startswith("shop 1.4.2 started in 1 s: within")


def test_start_that_lasts_is_exceeded_for_whoever_reads_the_run_as_for_its_process(process):
    fields = {"budget": "startup", "metric": "otel_perf.startup.duration", "severity": "critical", "limit": 2.0}
    fields |= {"value": 138.0, "peak": 138.0, "duration": 0.0, "unit": "s"}
    alert = {
        "timeUnixNano": str(START + 138_000 * MS),
        "eventName": "otel_perf.budget.exceeded",
        "attributes": attributes(fields),
    }

    text = report_text(process(span("import a", 0, 412, 3, 9, "import", depth=2), logs=[alert]), width=200)

    assert text.startswith(
        "shop 1.4.2: budget of 2 s exceeded: the start has no end after 2 min 18 s (killed, or still going on); "
        "last recorded, after 412 ms: import a"
    )
    assert "last recorded after 2 min 18 s" in text, "which is when anything was, an event too"


def test_exit_that_was_asked_for_is_judged(process):
    first = report_text(process(root(1000, ready="exit", startup__ready_when="exit")), width=200).splitlines()[0]

    assert "started in 1 s (ready: its exit, as was asked for): within" in first


@pytest.mark.parametrize(
    ("logs", "line"),
    [
        ([ended()], "exited (code not recorded)"),
        ([ended(process__exit__code=3)], "exited with code 3"),
        ([ended("status", process__exit__code=0)], "exited with code 0"),
        ([ended(), ended("status", process__exit__code=4)], "exited with code 4"),
        (
            [ended("exception", exception__type="ValueError", exception__message="no such table")],
            "ended by ValueError: no such table",
        ),
        (
            [
                ended(
                    "signal",
                    otel_perf__signal="SIGTERM",
                    otel_perf__phase="UI > theme",
                    otel_perf__import="pkg.mod",
                    code__file__path="app.py",
                    code__line__number=12,
                )
            ],
            "ended by SIGTERM, in UI > theme, importing pkg.mod, at app.py:12",
        ),
        ([ended("status", otel_perf__signal="SIGSEGV", otel_perf__core=True)], "ended by SIGSEGV (core dumped)"),
        ([ended(), ended("status", otel_perf__signal="SIGSEGV")], "ended by SIGSEGV"),
        (
            [ended("status", otel_perf__signal="SIGKILL", otel_perf__out_of_memory=True)],
            "ended by SIGKILL (out of memory)",
        ),
        ([ended("shutdown")], "recording ended by shutdown()"),
        ([], "ended without a word (killed, or it crashed); last recorded after 1 s"),
    ],
)
def test_third_line_says_how_it_ended(process, logs, line):
    assert line == report_text(process(root(1000), logs=logs), width=200).splitlines()[2]


@pytest.mark.parametrize("rule", ["exit", "shutdown", "signal"])
def test_nothing_is_guessed_of_an_end_that_closed_the_start(process, rule):
    assert "ended without a word" not in report_text(process(root(1000, ready=rule)))


def test_first_useful_moment_is_told_from_the_root_or_from_its_event(process):
    usable = {"timeUnixNano": "1", "eventName": "otel_perf.startup.usable"}
    usable["attributes"] = attributes({"otel_perf.startup.usable": 1.4})

    assert "usable after 900 ms" in report_text(process(root(1000, startup__usable=0.9))).splitlines()
    assert "usable after 1.4 s" in report_text(process(root(1000), logs=[usable])).splitlines()


def test_what_is_off_the_critical_path_is_pale_and_has_slack(process):
    folder = process(
        span("slow", 0, 1000, 2, 1, "function"),
        span("quick", 0, 400, 3, 1, "function"),
        span("inner", 100, 300, 4, 3, "function"),
        root(1000),
        logs=[ended()],
    )

    (tree,) = [part for part in report_text(folder, width=80).split("\n\n") if part.lstrip().startswith("0 ")]
    (plain,) = [part for part in report_text(folder, width=80, ascii=True).split("\n\n") if "#" in part]

    assert (
        tree
        == """\
                        0                                  1 s    time  of start
startup                 ██████████████████████████████████████     1 s     100 %
  slow [parallel]       ██████████████████████████████████████     1 s     100 %
  quick [slack 600 ms]  ░░░░░░░░░░░░░░░                         400 ms    40.0 %
    inner                   ░░░░░░░░                            200 ms    20.0 %
░ off the critical path: to shorten it saves 0, and it could take longer by its
  slack"""
    )
    assert "  quick [slack 600 ms]  ---------------  " in plain


def test_imports_after_the_start_are_listed_without_those_inside_them(process):
    folder = process(
        root(1000),
        span("import lazy.core", 2010, 2140, 61, 60, kind="import", trace=9),
        span("import lazy", 2000, 2150, 60, 59, kind="import", trace=9),
        span("first use", 1990, 2200, 59, kind="function", trace=9),
        span("import other", 3000, 3020, 62, kind="import", trace=10),
    )

    (found,) = [part for part in report_text(folder, width=80).split("\n\n") if part.startswith("Imports after")]

    assert (
        found
        == """\
Imports after ready: 170 ms in 2 imports
  module    time  began  imported at
  lazy    150 ms   +1 s  –
  other    20 ms   +2 s  –"""
    )


def test_findings_stand_below_the_verdict_without_the_budget(process):
    phases = span("Core", 0, 500, 2, 1, "phase"), span("Core", 500, 600, 3, 1, "phase")

    text = report_text(process(*phases, root(3000)), width=200)

    assert "Findings\n  warning: phase 'Core' was entered 2 times" in text
    assert text.count("budget") == 1


def test_longest_of_what_follows_the_start_are_listed(process):
    requests = [span("request", 2000 + i, 2001 + 2 * i, 100 + i, trace=50 + i) for i in range(20)]
    folder = process(
        span("inner", 2000, 2900, 60, 61, trace=9),  # caused by what follows
        span("save", 2000, 3000, 61, trace=9, error=("OSError", "full")),
        span("remote", 2000, 2500, 62, 999, trace=8, remote=True),
        root(1000),
        span("loop", 1000, 1900, 63, trace=7, kind="function", links=[1]),
        span("child", 2900, 3700, 64, 1, kind="function", detached=True),
        *requests,
    )

    section = report_text(folder, width=80).split("\n\n")
    (found,) = [part for part in section if part.startswith("Slowest")]

    assert (
        found
        == """\
Slowest after the start, of 25 spans
  name                time    began
  save [error]         1 s     +1 s
  loop [continued]  900 ms    +0 ms
  child [detached]  800 ms   +1.9 s
  remote            500 ms     +1 s
  request            20 ms  +1.02 s"""
    )


def test_several_processes_are_listed_and_the_first_start_is_taken(process):
    folder = process(root(1000))
    for name, start in (("17", 500), ("9", -500)):
        other = folder.parent / name
        other.mkdir()
        one = {"scopeSpans": [{"spans": [span("startup", start, 2000, 1, kind="startup", ready="ready()")]}]}
        (other / "traces.jsonl").write_text(json.dumps({"resourceSpans": [one]}) + "\n")

    lines = report_text(folder.parent, width=100).splitlines()

    assert "process 9" in lines[1]
    assert lines[3] == "2 other processes in this run: 17, 4242 (--process shows one)"


@pytest.mark.parametrize(
    ("spans", "shown"),
    [
        (
            [span("import opt", 100, 180, i, 1, "import", error=("ImportError", "no")) for i in (2, 3)],
            "  opt failed twice: 80 ms for nothing (ImportError: no)",
        ),
        (
            [
                span("import opt", 90 * i, 90 * i + 80, 2 + i, 1, "import", error=("ImportError", "no"))
                for i in range(3)
            ],
            "  opt failed 3 times: 240 ms for nothing (ImportError: no)",
        ),
        (
            [root(400, startup__modules_before_init=137)],
            "  137 modules loaded before init(): no times are known (otel-perf run records them all)",
        ),
        (
            [span("import a", 100, 180, 2, 1, "import"), root(400, startup__imports=412)],
            "Imports: 80 ms in 1 of 412 imports, 20.0 % of the start",
        ),
        (
            [span(f"import m{i}", 20 * i, 20 * i + 8, 2 + i, 1, "import") for i in range(14)],
            "  4 more (--all shows them)",
        ),
    ],
)
def test_imports_say(process, spans, shown):
    assert shown in report_text(process(*spans, root(1000)), width=100).splitlines()


def test_damaged_numbers_are_dashes_not_errors(process):
    infinite = histogram("f", 3, 0.1, 0.2, 0, [3])
    infinite["exponentialHistogram"]["dataPoints"][0] |= {"sum": "NaN", "min": "Infinity", "max": "-Infinity"}
    folder = process(
        root(1000, self_time=float("nan"), budget__startup=float("inf"), self__init_time=float("-inf")),
        metrics=[infinite, number("otel_perf.self.memory", -5.0)],
    )

    report = report_text(folder)

    assert report.startswith("shop 1.4.2 started in 1 s: within the budget of 2 s")
    assert "-5 B of memory" in report


def test_coloured_report_is_the_plain_one_with_colours(process):
    folder = process(span("a", 0, 300, 2, 1, "phase"), span("b", 300, 600, 3, 1, error=("E", "e")), root(3000))

    colored = report_text(folder, color=True)

    assert report_text(folder) == re.sub(r"\x1b\[\d+m", "", colored)
    assert "\x1b[31mshop 1.4.2 started in 3 s: the budget of 2 s exceeded by 1 s\x1b[0m" in colored
    assert "\x1b[31m [error E]\x1b[0m" in colored


def test_report_for_a_stream_uses_the_characters_it_has(process):
    folder = process(span("a", 0, 300, 2, 1, "phase"), root(1000))

    assert "####" in report_for(folder, io.StringIO())
    assert "███" in report_for(folder, io.TextIOWrapper(io.BytesIO(), "utf-8"))


@pytest.mark.parametrize(
    ("text", "width"),
    [
        ("abc", 3), ("名前", 4), ("e\u0301", 1), ("กำลัง", 4), ("नि", 2), ("\u1112\u1161\u11ab", 2), ("1\u20e3", 1),
        ("ﾊﾝｶｸ", 4), ("\uff21", 2), ("👩", 2), ("❤\ufe0f", 1),
    ],
)  # fmt: skip
def test_letters_are_as_wide_as_a_terminal_draws_them(text, width):
    assert width == cells(Style().clean(text))
