"""Whatever stands in a run folder, the report obeys none of it, stays within its width and never fails."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_perf.analysis.as_json import report_object
from otel_perf.analysis.as_markdown import code, escape, report_markdown
from otel_perf.analysis.loading import load_process
from otel_perf.analysis.report import report_text
from otel_perf.analysis.text import cells


def widths(report):
    return [cells(re.sub(r"\x1b\[\d+m", "", line)) for line in report.splitlines()]


def span(name, start, end, id, parent=0, kind="", failed=False, trace=1):
    """Return a span as in a file; times in ms."""
    found = {
        "traceId": f"{trace:032x}",
        "spanId": f"{id:016x}",
        "parentSpanId": f"{parent:016x}",
        "name": name,
        "startTimeUnixNano": str(1_795_000_000_000_000_000 + start * 1_000_000),
        "endTimeUnixNano": str(1_795_000_000_000_000_000 + end * 1_000_000),
        "attributes": [text("otel_perf.kind", kind), text("otel_perf.ready", name)],
    }
    if failed:
        found["status"] = {"code": 2, "message": name}
        found["events"] = [
            {"name": "exception", "attributes": [text("exception.type", name), text("exception.message", name)]}
        ]
    return found


def text(key, value):
    return {"key": key, "value": {"stringValue": value}}


def series(kind, function, **point):
    attributes = [text("function", function), text("kind", "operation"), text("path", f"{function};x")]
    return {kind: {"dataPoints": [{"attributes": attributes, **point}]}}


def write(folder, spans, name="", metrics=()):
    """Write one process; *name* is service, version and platform."""
    described = [text(key, name) for key in ("service.name", "service.version", "process.runtime.version", "os.type")]
    resource = {"attributes": described if name else []}
    group = {"resource": resource, "scopeSpans": [{"spans": spans}]}
    (folder / "traces.jsonl").write_text(json.dumps({"resourceSpans": [group]}))
    if metrics:
        group = {"resource": resource, "scopeMetrics": [{"metrics": list(metrics)}]}
        (folder / "metrics.jsonl").write_text(json.dumps({"resourceMetrics": [group]}))
    return folder


HOSTILE = [
    "\x1b[31mred\x1b[0m", "a\nb\tc\r", "\x9b2J", "\u202eevil", "\ud800", "\u2028", "n" * 5_000, "", "\0",
    "名" * 300, "e\u0301" * 50, "👩\u200d💻",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("width", [40, 79, 200])
def test_hostile_names_stay_on_their_line_and_obey_nothing(tmp_path, name, width):
    spans = [
        span(name, 0, 400, 3, 2, "function", failed=True),
        span(f"import {name}", 400, 500, 4, 2, "import", failed=True),
        span(name, 0, 700, 2, 1, "phase"),
        span(name, 800, 950, 5, 99),
        span(name, 0, 1000, 1, 0, "startup"),
        span(name, 2000, 2500, 5, trace=2),
    ]
    metrics = [
        {
            "name": "otel_perf.function.duration",
            **series("exponentialHistogram", name, count="1", sum=0.5, positive={"bucketCounts": ["1"]}),
        },
        {"name": "otel_perf.profile.self_time", **series("sum", name, asDouble=1.0)},
    ]
    folder = write(tmp_path, spans, name, metrics)

    for report in (report_text(folder, width=width), report_text(folder, width=width, ascii=True)):
        assert not [one for one in report if one != "\n" and not one.isprintable()]
        assert max(widths(report)) <= width
    assert report.isascii()


MARKUP = [
    "a|b", "<script>alert(1)</script>", "</details>", "`code`", "*bold*_it_~s~", "[x](http://evil)", "![i](u)",
    "@somebody #12", "&lt;", "a\\", "# title", "```", "$x$", "\n\n| a |", *HOSTILE,
]  # fmt: skip


@pytest.mark.parametrize("name", MARKUP, ids=range(len(MARKUP)))
def test_names_are_no_markup_in_markdown(tmp_path, name):
    spans = [
        span(name, 0, 400, 3, 2, "function", failed=True),
        span(f"import {name}", 400, 500, 4, 2, "import", failed=True),
        span(name, 0, 700, 2, 1, "phase"),
        span(name, 0, 1000, 1, 0, "startup"),
        span(f"import {name}", 2000, 2500, 5, 1, "import", trace=2),
    ]

    text = report_markdown(load_process(str(write(tmp_path, spans, name))))

    bare = re.sub(r"\\.", "", text)
    ours = re.sub(r"</?(code|details|summary|sub)>", "", bare)
    assert "<" not in ours
    assert bare.count("<details>") == bare.count("</details>")
    assert "`" not in bare
    for block in re.findall(r"(?:^\|.*\n)+", bare, re.MULTILINE):
        assert 1 == len({line.count("|") for line in block.splitlines()})
    assert not [one for one in text if one != "\n" and not one.isprintable()]


@given(st.text(max_size=40))
def test_code_shows_what_was_given(content):
    shown = code(content)

    assert "\n" not in shown
    assert escape(content).count("|") == escape(content).count("\\|")


def _plain(value):
    """Say whether *value* is what JSON can carry to anybody."""
    if isinstance(value, dict):
        return all(type(key) is str and _plain(one) for key, one in value.items())
    if isinstance(value, list):
        return all(map(_plain, value))
    return value is None or type(value) in (str, bool, int) or (type(value) is float and abs(value) < float("inf"))


@given(st.binary(max_size=400))
def test_arbitrary_files_are_reported(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("run") / "1"
    folder.mkdir()
    (folder / "traces.jsonl").write_bytes(content)
    (folder / "metrics.jsonl").write_bytes(content)

    assert "nothing was recorded" in report_text(folder)


_ids = st.integers(0, 6)
_times = st.integers(-50, 300)


@given(
    st.lists(
        st.tuples(
            _times, _times, _ids, _ids, st.sampled_from(["", "startup", "phase", "import", "function"]), st.booleans()
        ),
        max_size=12,
    ),
    st.sampled_from([40, 63, 100]),
    st.booleans(),
)
def test_any_shape_of_trace_is_reported_within_the_width(tmp_path_factory, spans, width, everything):
    raw = [span(f"n{id}", *times, id, parent, kind, failed) for *times, id, parent, kind, failed in spans]
    folder = write(tmp_path_factory.mktemp("process"), raw)

    report = report_text(folder, width=width, everything=everything)

    assert max(widths(report)) <= width
    assert _plain(report_object(load_process(str(folder))))
    assert report_markdown(load_process(str(folder))).startswith("### ")
