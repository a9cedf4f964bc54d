"""Very many spans and call paths: flame graph, waterfall and HTML report of all of it, and none of them grows with it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import pytest

CALLS = 25_000  # more than the spans of a trace that are kept for a waterfall
PROGRAM = f"""
import time
import otel_perf as perf
perf.init(service="large")
@perf.profile("tiny", span_threshold=0)
def tiny():
    pass
@perf.profile("Load", span_threshold=0)
def load():
    for _ in range({CALLS}):
        tiny()
load()
perf.ready()
"""
PATHS = 50 + 50 * 50  # more than a report draws
WIDE = """
import otel_perf as perf
perf.init(service="wide")
inner = [perf.profile(f"inner {number}")(lambda: None) for number in range(50)]
for number in range(50):
    perf.profile(f"outer {number}")(lambda: [call() for call in inner])()
perf.ready()
"""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory, viewer_module):
    """Return a folder in whose ``.otel-perf/`` the program was recorded."""
    folder = tmp_path_factory.mktemp("recorded")
    subprocess.run([sys.executable, "-c", PROGRAM], cwd=folder, env=viewer_module.environment(), check=True, timeout=60)
    return folder


@pytest.fixture(scope="module")
def run(recorded, otel_perf, viewer_module):
    """Return a function that runs a command there and returns what it prints."""

    def ran(*words):
        command = [*otel_perf, *map(str, words)]
        return subprocess.check_output(
            command, cwd=recorded, env=viewer_module.environment(), text=True, timeout=120, stderr=subprocess.STDOUT
        )

    return ran


@pytest.fixture(scope="module")
def totals(run):
    """Return calls and seconds of each function, as `otel-perf report` has them."""
    report = json.loads(run("report", "--json"))
    assert 0 == report["cost"]["dropped_records"]
    return {row["name"]: (row["calls"], row["total_seconds"]) for row in report["functions"]}


def read(viewer):
    """Return *viewer* once it has read all of the run."""
    viewer.wait("/newest/first", lambda overview: overview["read"] == overview["total"])
    return viewer


def test_flame_graph_of_the_start_says_what_the_report_says(recorded, run, totals, make_viewer, spans_of):
    assert CALLS == totals["tiny"][0]
    trace = next(one["trace_id"] for one in spans_of(recorded) if one["name"] == "startup")

    found = read(make_viewer(recorded)).get("/newest/first/flame", trace=trace)

    rows = {found["names"][name]: row for row, name in enumerate(found["name"])}
    for name, (calls, seconds) in totals.items():
        assert calls == found["calls"][rows[name]]
        assert seconds == pytest.approx(found["totalNs"][rows[name]] / 1e9, rel=1e-3)
    by_start, by_id = (run("flame", "--min", 0, *words) for words in (["--start"], ["--trace", trace]))
    assert by_start.splitlines()[1:] == by_id.splitlines()[1:]
    (tiny,) = [line.split() for line in by_start.splitlines() if line.split()[:1] == ["tiny"]]
    assert ["25", "k"] == tiny[-2:]


@pytest.mark.timed
def test_waterfall_is_bounded_and_says_how_much_of_each_row_is_on_the_path(recorded, totals, make_viewer):
    viewer = read(make_viewer(recorded))

    found = viewer.get("/newest/first/start")

    assert (3_000, False) == (len(found["spans"]), found["partial"])
    assert max(len(row["critical"]) for row in found["spans"]) <= 200
    load = next(row for row in found["spans"] if row["name"] == "Load")
    assert load["self"] == pytest.approx(load["onPath"], rel=0.02)
    assert load["onPath"] < load["seconds"]
    assert len(viewer.ask("/api/runs/newest/first/start").body) < 900_000


def test_what_is_still_being_read_is_waited_for_and_is_not_missing(recorded, tmp_path, make_viewer):
    """Metrics are read before spans: of a run with many of them there was no start for a while, and no calls to compare."""
    shutil.copytree(recorded / ".otel-perf", tmp_path / ".otel-perf")
    (file,) = tmp_path.glob(".otel-perf/2*/*/metrics.jsonl")
    points = [{"timeUnixNano": "1", "asInt": str(number)} for number in range(2_000)]
    other = {"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "other", "gauge": {"dataPoints": points}}]}]}]}
    file.write_text(f"{json.dumps(other)}\n" * 500 + file.read_text(encoding="utf-8"), encoding="utf-8")
    viewer = make_viewer(tmp_path)

    begin = viewer.get("/newest/first")
    compared = viewer.get("/newest/first/flame", base_run=file.parents[1].name)
    read(viewer)

    assert begin["read"] < begin["total"]  # else this proves nothing
    assert compared["baseTotalNs"][0] == viewer.get("/newest/first/flame")["totalNs"][0] > 0

    viewer = make_viewer(tmp_path)
    assert "startup" == viewer.get("/newest/first/start")["spans"][0]["name"]


def test_html_report_is_at_most_a_megabyte(recorded, run, tmp_path):
    run("report", "--html", tmp_path / "report.html")

    assert (tmp_path / "report.html").stat().st_size < 1_000_000


def test_html_report_says_how_many_call_paths_its_flame_graph_has_no_room_for(tmp_path, otel_perf, viewer_module):
    environment = viewer_module.environment()
    said = [
        subprocess.check_output(command, cwd=tmp_path, env=environment, text=True, timeout=60)
        for command in (
            [sys.executable, "-c", WIDE],
            [*otel_perf, "report", "--html", "report.html"],
            [*otel_perf, "flame"],
        )
    ]

    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    (data,) = re.findall('<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    found = json.loads(data)["flame"]
    assert (2_000, PATHS + 1 - 2_000) == (len(found["name"]), found["folded"])
    assert "in 2.55 k call paths, the whole run" in said[-1].splitlines()[0]
