"""``otel-perf view`` on a run that is over: its answers are those of the report, and what it refuses."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("programs") / "viewed.py"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory, viewer_module):
    """Return a folder in whose ``.otel-perf/`` the program was recorded."""
    folder = tmp_path_factory.mktemp("recorded")
    environment = viewer_module.environment()
    done = subprocess.run(
        [sys.executable, PROGRAM], cwd=folder, env=environment, capture_output=True, timeout=60, check=False
    )
    assert (0, b"", b"") == (done.returncode, done.stdout, done.stderr)
    return folder


@pytest.fixture(scope="module")
def viewer(recorded, make_viewer):
    return make_viewer(recorded)


@pytest.fixture(scope="module")
def report(recorded, otel_perf, viewer_module):
    """Return what `otel-perf report --json` writes of the same run."""
    command = [*otel_perf, "report", "--json"]
    environment = viewer_module.environment()
    return json.loads(subprocess.check_output(command, cwd=recorded, env=environment, timeout=60))


@pytest.fixture
def refused(otel_perf, viewer_module):
    """Return a function that runs the command where it cannot begin: exit status, stdout, stderr."""

    def run(folder, *words, **more):
        done = subprocess.run(
            [*otel_perf, "view", *map(str, words)], cwd=folder, env=viewer_module.environment(**more), text=True,
            stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    return run


# --- the same words and numbers ---------------------------------------------------------------------------------------


def without_path(report):
    """Return the report without the critical path, which the waterfall has."""
    start = {key: value for key, value in report["start"].items() if key not in ("critical_path", "off_the_path")}
    return report | {"start": start}


def test_overview_holds_the_report_as_json_writes_it(viewer, report):
    found = viewer.get("/newest/first")

    assert without_path(report) == found["report"]


def test_overview_says_how_much_was_read_and_that_the_process_is_over(viewer, recorded, spans_of):
    spans = spans_of(recorded)
    size = sum(file.stat().st_size for file in recorded.glob(".otel-perf/*/*/*.jsonl"))

    found = viewer.get("/newest/first")

    assert (False, size, size, 0, len(spans)) == tuple(
        found[key] for key in ("running", "read", "total", "damaged", "spans")
    )
    assert found["verdict"].startswith("viewed 2.0 started in ")
    start = next(span for span in spans if span["name"] == "startup")
    assert start["start"] / 1e6 == pytest.approx(found["began"], abs=0.001)
    assert max(span["end"] for span in spans) / 1e6 <= found["last"] + 0.001
    assert {} == found["empty"]


def test_what_an_imported_run_lacks_is_said_of_its_file(tmp_path, otel_perf, viewer_module, make_viewer):
    (tmp_path / "stacks.txt").write_text("main;order 10\nmain;price 5\n")
    subprocess.run(
        [*otel_perf, "import", "stacks.txt"], cwd=tmp_path, env=viewer_module.environment(), check=True, timeout=60,
        capture_output=True,
    )  # fmt: skip

    found = make_viewer(tmp_path).get("/newest/first")["empty"]

    assert {"metrics": "samples of CPU and memory", "start": "start"} == {
        name: why.removeprefix("stacks.txt, from which this run was imported, has no ") for name, why in found.items()
    }


def test_slowest_calls_are_those_of_the_file_and_lead_to_their_traces(viewer, recorded, spans_of):
    calls = [
        span for span in spans_of(recorded) if span["attributes"].get("otel_perf.kind") in ("function", "operation")
    ]
    calls.sort(key=lambda span: span["start"] - span["end"])

    found = viewer.get("/newest/first")["slowest"]

    assert [(span["name"], span["span_id"], span["trace_id"]) for span in calls[:50]] == [
        (one["name"], one["spanId"], one["traceId"]) for one in found
    ]
    trace = viewer.get(f"/newest/first/traces/{found[0]['traceId']}")
    assert found[0]["spanId"] in [span["id"] for span in trace["spans"]]


def test_functions_are_those_of_the_report(viewer, report):
    found = viewer.get("/newest/first/functions")

    keys = (
        "name",
        "calls",
        "total_seconds",
        "self_seconds",
        "min_seconds",
        "max_seconds",
        "p50_seconds",
        "p95_seconds",
    )
    assert [tuple(row[key] for key in keys) for row in report["functions"]] == [
        tuple(row[key.removesuffix("_seconds")] for key in keys) for row in found["functions"]
    ]
    assert 0 == found["hidden"]


def test_flame_graph_has_the_call_paths_of_the_report(viewer, report):
    found = viewer.get("/newest/first/flame")

    paths = {
        ";".join(hot["path"]): (hot["self_seconds"], hot["total_seconds"], hot["calls"]) for hot in report["hot_paths"]
    }
    shown = {path: numbers for path, numbers in nodes_of(found).items() if path}
    assert paths.keys() == shown.keys()
    for path, numbers in paths.items():
        assert numbers == pytest.approx(shown[path], abs=1e-8), path
    assert ["", "__main__.load"] == [found["functions"][found["names"].index(name)] for name in ("all", "load")]
    assert "__main__" == found["modules"][found["names"].index("load")]


def test_list_has_the_verdict_of_the_start(viewer, report, recorded):
    found = viewer.get("")

    assert (None, None, 1) == (found["asked"], found["askedProcess"], len(found["runs"]))
    (run,) = found["runs"]
    (folder,) = recorded.glob(".otel-perf/*/*")
    assert (folder.parent.name, "viewed", "2.0", False) == (run["name"], run["service"], run["version"], run["running"])
    assert (report["start"]["seconds"], "within") == (run["startSeconds"], run["verdict"])
    assert [{"name": folder.name, "service": "viewed", "running": False}] == run["processes"]


def test_run_and_process_may_be_named(viewer, report):
    assert without_path(report) == viewer.get(f"/{report['run']}/{report['process']}")["report"]


# --- start and traces -------------------------------------------------------------------------------------------------


def test_start_is_all_its_spans_in_pre_order_below_their_parents(viewer, recorded, spans_of):
    spans = spans_of(recorded)
    root = next(span for span in spans if span["name"] == "startup")
    expected = {span["span_id"]: span for span in spans if span["trace_id"] == root["trace_id"]}

    found = viewer.get("/newest/first/start")

    assert (root["trace_id"], 2.0, 0) == (found["traceId"], found["limit"], found["folded"])
    assert expected.keys() == {row["id"] for row in found["spans"]}
    for number, row in enumerate(found["spans"]):
        span = expected[row["id"]]
        assert (span["name"], (span["start"] - root["start"]) / 1e9) == (
            row["name"],
            pytest.approx(row["begin"], abs=1e-6),
        )
        if span["parent_id"] is None:
            assert (-1, 0) == (row["parent"], row["depth"])
        else:
            parent = found["spans"][row["parent"]]
            assert row["parent"] < number
            assert (span["parent_id"], parent["depth"] + 1) == (parent["id"], row["depth"])


def test_critical_path_of_the_start_is_without_gap_and_as_long_as_the_start(viewer):
    found = viewer.get("/newest/first/start")

    parts = sorted(part for row in found["spans"] for part in row["critical"])
    assert 0.0 == parts[0][0]
    assert found["seconds"] == pytest.approx(parts[-1][1], abs=1e-5)
    assert [end for _, end in parts[:-1]] == pytest.approx([begin for begin, _ in parts[1:]], abs=1e-5)
    reads = [row for row in found["spans"] if row["name"] == "read"]
    assert all(row["critical"] for row in reads)  # what a sequential start waits for


def test_start_says_why_its_bottleneck_took_so_long(viewer, report):
    found = viewer.get("/newest/first/start")

    reasons = {row["why"] for row in found["spans"] if row["why"]}
    assert reasons == {one["why"] for one in report["start"]["bottlenecks"]}


def test_trace_after_the_start_is_a_waterfall_too(viewer, recorded, spans_of):
    late = next(span for span in spans_of(recorded) if span["name"] == "late")

    found = viewer.get(f"/newest/first/traces/{late['trace_id']}")

    assert ["late", "read"] == [row["name"] for row in found["spans"]]
    assert (late["start"] / 1e6, None) == (pytest.approx(found["began"], abs=0.001), found["limit"])
    assert (late["end"] - late["start"]) / 1e9 == pytest.approx(found["seconds"], abs=1e-6)
    flame = nodes_of(viewer.get("/newest/first/flame", trace=late["trace_id"]))
    assert {"", "late", "late;read"} == flame.keys()
    assert found["seconds"] == pytest.approx(flame["late"][1], abs=1e-6)


# --- over time --------------------------------------------------------------------------------------------------------


def test_series_have_the_extremes_limits_and_units_of_the_report(viewer, report):
    found = {one["name"]: one for one in viewer.get("/newest/first/series")["series"]}

    for metric in report["metrics"]:
        one = found[metric["name"]]
        values = [value for value in one["high"] if value is not None]
        assert metric["max"] == pytest.approx(max(values), rel=1e-4), metric["name"]
        assert metric["min"] == pytest.approx(min(one["low"]), rel=1e-4), metric["name"]
        assert metric["last"] == one["last"]
        assert [(limit["budget"], limit["limit"]) for limit in metric["limits"]] == [
            (limit["budget"], limit["limit"]) for limit in one["limits"]
        ]
        assert metric["of"] == one["of"]
    assert ["main", "main"] == [
        found[name]["group"] for name in ("process.memory.usage", "otel_perf.process.cpu.usage")
    ]
    assert ("more", "{item}") == (found["viewed.backlog"]["group"], found["viewed.backlog"]["unit"])


def test_sums_that_only_grow_are_told_per_second(viewer, metrics_of, recorded):
    points = [p for p in metrics_of(recorded) if p["metric"] == "process.context_switches"]
    kinds = {point["attributes"]["process.context_switch.type"] for point in points}

    found = {one["name"]: one for one in viewer.get("/newest/first/series")["series"]}

    for kind in kinds:
        mine = [point["point"] for point in points if point["attributes"]["process.context_switch.type"] == kind]
        before, last = mine[-2:]
        rate = (last["value"] - before["value"]) / (last["timeUnixNano"] - before["timeUnixNano"]) * 1e9
        one = found[f"process.context_switches{{process.context_switch.type={kind}}}"]
        assert ("{context_switch}/s", rate) == (one["unit"], pytest.approx(one["last"], rel=1e-3))


def test_few_parts_still_have_the_peak(viewer, report):
    highest = next(metric["max"] for metric in report["metrics"] if metric["name"] == "process.memory.usage")
    whole = viewer.get("/newest/first/series")

    found = viewer.get("/newest/first/series", points=10, **{"from": whole["from"] - 60_000, "to": whole["to"]})

    (memory,) = [one for one in found["series"] if one["name"] == "process.memory.usage"]
    assert highest == pytest.approx(max(value for value in memory["high"] if value is not None), rel=1e-4)
    assert len(memory["times"]) <= 12  # ten parts, and what held before them


def test_markers_are_the_alert_from_its_beginning_to_its_end_and_ready(viewer, logs_of, recorded):
    events = [
        log
        for log in logs_of(recorded)
        if log["name"].startswith("otel_perf.budget.") and "budget" in log["attributes"]
    ]
    events = [log for log in events if log["attributes"]["budget"] == "backlog" and not log["name"].endswith("defined")]

    found = viewer.get("/newest/first/series")["markers"]

    assert [(pytest.approx(log["time"] / 1e6, abs=0.001), log["name"].rpartition(".")[2]) for log in events] == [
        (one["time"], {"alert": "exceeded"}.get(one["kind"], one["kind"]))
        for one in found
        if one["budget"] == "backlog"
    ]
    assert ["alert", "resolved"] == [one["kind"] for one in found if one["budget"] == "backlog"]
    assert ["ready"] == [one["kind"] for one in found if one["kind"] == "ready"]


def test_two_ranges_of_the_flame_graph_add_up_to_the_whole(viewer, report):
    middle = middle_of(viewer)
    whole = nodes_of(viewer.get("/newest/first/flame"))
    first = nodes_of(viewer.get("/newest/first/flame", to=middle))
    second = nodes_of(viewer.get("/newest/first/flame", **{"from": middle}))

    assert (True, False) == ("CoreInit;load" in first, "CoreInit;load" in second)
    assert (True, False) == ("early" in first, "early" in second)
    assert (False, True) == ("late" in first, "late" in second)
    for path, numbers in whole.items():
        parts = [half.get(path, (0, 0))[:2] for half in (first, second)]
        assert numbers[:2] == pytest.approx([sum(one) for one in zip(*parts, strict=True)], abs=1e-8), path


@pytest.mark.timed
def test_functions_of_a_range_are_those_that_ended_in_it(viewer):
    middle = middle_of(viewer)
    whole = {row["name"]: row for row in viewer.get("/newest/first/functions")["functions"]}

    found = viewer.get("/newest/first/functions", **{"from": middle})["functions"]

    rows = {row["name"]: row for row in found}
    assert {"__main__.late", "__main__.read"} == rows.keys()
    assert (1, 1) == (rows["__main__.late"]["calls"], rows["__main__.read"]["calls"])
    assert 0.015 <= rows["__main__.read"]["total"] <= rows["__main__.late"]["total"] < 0.1
    for row in rows.values():  # one call each in the range
        assert 0.49 * row["total"] <= row["p50"] <= 1.01 * row["max"] <= 2.1 * row["total"], row
        assert row["maxExact"] is (row["calls"] == whole[row["name"]]["calls"])


def test_difference_has_both_sides_of_each_call_path(viewer):
    middle = middle_of(viewer)

    found = viewer.get("/newest/first/flame", base_to=middle, **{"from": middle})

    def numbers(key):
        names = [found["names"][number] for number in found["name"]]
        return dict(zip(names, found[key], strict=True))

    assert numbers("totalNs")["early"] == 0 < numbers("baseTotalNs")["early"]
    assert numbers("totalNs")["late"] > 0 == numbers("baseTotalNs")["late"]


# --- what cannot be answered ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/2020-01-01T00-00-00/first", 404, "no run of that name; there are 1, the newest is "),
        ("/newest/77777", 404, "no process of that name in run "),
        (f"/newest/first/traces/{'1' * 32}", 404, "no such trace in this process"),
        ("/newest/first/traces/xyz", 400, "a trace id has 32 digits of 0-9 and a-f"),
        ("/newest/first/series?from=now", 400, "from is a number from 0 to 9e+12, got 'now'"),
        ("/newest/first/series?from=nan", 400, "from is a number"),
        ("/newest/first/series?points=1e9", 400, "points is a number from 10 to 5000"),
        ("/newest/first/flame?from=2&to=1", 400, "to is before from"),
        ("/newest/first/nothing", 404, "there is nothing at this address"),
    ],
)
def test_what_cannot_be_answered_is_said_in_words(viewer, path, status, words):
    assert viewer.get(path, status)["error"].startswith(words)


def test_run_that_is_not_there_ends_the_command(recorded, refused):
    (name,) = (run.name for run in (recorded / ".otel-perf").iterdir() if run.is_dir())

    assert (
        2, "", f"otel-perf view: no run 'nothing' in .otel-perf/ (1 there, newest {name!r}); leave RUN out to take the newest\n"
    ) == refused(recorded, "nothing")  # fmt: skip
    code, out, errors = refused(recorded, "--process", "77")
    assert (2, "") == (code, out)
    assert errors.startswith(f"otel-perf view: no process '77' in run {name!r}")


def test_run_anywhere_may_be_named_by_its_folder(recorded, tmp_path, make_viewer):
    (run,) = (run for run in (recorded / ".otel-perf").iterdir() if run.is_dir())

    viewer = make_viewer(tmp_path, run)

    assert run.name == viewer.get("")["asked"]
    assert run.name == viewer.get(f"/{run.name}/first")["report"]["run"]


def test_port_that_is_taken_is_named(viewer, recorded, refused):
    code, out, errors = refused(recorded, "--port", viewer.port)

    assert (1, "") == (code, out)
    assert errors.startswith(f"otel-perf view: cannot listen on 127.0.0.1:{viewer.port}: ")
    assert errors.endswith("leave --port out to take a free one\n")


def test_port_may_be_chosen(recorded, make_viewer, unused_port):
    assert unused_port == make_viewer(recorded, "--port", unused_port).port


def test_without_the_extra_it_says_what_to_install(recorded, refused, tmp_path):
    (tmp_path / "starlette").mkdir()
    (tmp_path / "starlette" / "__init__.py").write_text("raise ModuleNotFoundError('No module', name='starlette')")

    found = refused(recorded, PYTHONPATH=str(tmp_path))

    assert (2, "", "otel-perf view: Starlette and uvicorn are not installed: pip install 'otel-perf[view]'\n") == found


@pytest.mark.timed
def test_ctrl_c_ends_it_quietly_with_pages_open(recorded, make_viewer):
    viewer = make_viewer(recorded)
    with viewer.events() as events:
        events.first("state")
        begun = time.monotonic()

        assert (0, "") == viewer.interrupt()

        assert time.monotonic() - begun < 10
        list(events)  # which ends, as its server does


def middle_of(viewer):
    """Return a moment (ms since 1970) of the pause between the program's two parts."""
    ready = next(one for one in viewer.get("/newest/first/series")["markers"] if one["kind"] == "ready")
    return ready["time"] + 1_300


def nodes_of(flame):
    """Return self, total (seconds) and calls of a flame graph's nodes by path, the root's empty."""
    paths, found = [], {}
    for row, (name, parent) in enumerate(zip(flame["name"], flame["parent"], strict=True)):
        path = "" if parent < 0 else f"{paths[parent]};{flame['names'][name]}".lstrip(";")
        paths.append(path)
        found[path] = (flame["selfNs"][row] / 1e9, flame["totalNs"][row] / 1e9, flame["calls"][row])
    assert re.fullmatch("all", flame["names"][flame["name"][0]])
    return found
