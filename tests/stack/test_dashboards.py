"""Every query of every dashboard, as Grafana would send it, on the real Prometheus with the data of real programs.

Tempo and Loki do not run here: their queries are parsed by the grammars of Grafana's own editors, and held to the
constructs that were seen to work.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from otel_perf.backends.dashboards import Query, boards_of, panels_of, queries
from otel_perf.backends.dashboards.shell import all_panels
from otel_perf.budgets import PHASE, load

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.stack, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
GRAFANA = Path(__file__).resolve().parent / "grafana"
RANGE = 300  # seconds shown: the programs' whole life, until their pictures are drawn
WIDTH = 1450  # pixels
SCREENSHOTS = os.environ.get("OTEL_PERF_SCREENSHOTS", "")  # before a test's variables are cleaned

# What the variables of the profiling dashboard are for the difference: version 2 against version 1.
COMPARED = {"Difference": {"service": ".*shop.*", "version": "2\\.0", "baseline": "1\\.0"}}


def _load(name: str) -> Any:
    """Return a module of the folder grafana/, which is no package."""
    spec = importlib.util.spec_from_file_location(f"grafana_{name}", GRAFANA / f"{name}.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


asked = _load("asked")
chosen = asked.chosen
SHOP, SAMPLE, NAMESPACE, LONG = (getattr(_load("programs"), name) for name in ("SHOP", "SAMPLE", "NAMESPACE", "LONG"))


@pytest.fixture(scope="module")
def boards() -> list[dict[str, Any]]:
    return boards_of(load(str(ROOT)))


def ask(stack: Any, query: Query, end: float, **variables: str) -> list[Any]:
    """Return what Prometheus answers to a query as a dashboard sends it, of the RANGE before *end*.

    Raises: QueryError: it does not take it.
    """
    return asked.ask(stack, query, end, RANGE, **variables)


def of_prometheus(boards: list[dict[str, Any]]) -> list[Query]:
    """Return the queries that Prometheus answers whatever is chosen; that of a trace's id needs one."""
    return [query for query in queries(boards) if query.language in ("promql", "label_values")]


def send(stack: Any, told: dict[str, str], *metrics: dict[str, Any]) -> None:
    """Send what a process says that has the attributes *told*: that it is there, and *metrics*.

    Without their time, which is now, and their temporality.
    """
    now = str(time.time_ns())
    uptime = {"name": "process.uptime", "unit": "s", "gauge": {"dataPoints": [{"asDouble": 7.0}]}}
    sent = json.loads(json.dumps([uptime, *metrics]))
    for metric in sent:
        [kind] = {"gauge", "sum"} & set(metric)
        for point in metric[kind]["dataPoints"]:
            point |= {"timeUnixNano": now, "attributes": attributes(point.get("attributes", {}))}
        if kind == "sum":
            metric[kind] |= {"aggregationTemporality": 2, "isMonotonic": True}
    group = {"resource": {"attributes": attributes(told)}, "scopeMetrics": [{"metrics": sent}]}
    assert 200 == stack.post(f"{stack.otlp_http}/v1/metrics", {"resourceMetrics": [group]})


def attributes(pairs: dict[str, str]) -> list[dict[str, Any]]:
    """Return attributes as OTLP has them, without those that are empty."""
    return [{"key": key, "value": {"stringValue": value}} for key, value in pairs.items() if value]


def unanswered(stack: Any, boards: list[dict[str, Any]], **variables: str) -> list[tuple[str, str, str]]:
    """Return dashboard, place and text of each query that has no data now."""
    end = time.time()
    return [
        (query.dashboard, query.place, query.text)
        for query in of_prometheus(boards)
        if not ask(stack, query, end, **variables)
    ]


# --- queries ---------------------------------------------------------------------------------------------------------


def test_every_query_has_data_of_real_programs(programs, boards):
    """An alert was raised and a rule fires, so that none may be empty."""
    assert [] == unanswered(programs.stack, boards)


def test_a_service_with_quotes_braces_and_a_backslash_can_be_chosen(programs, boards):
    assert [] == unanswered(programs.stack, boards, service=chosen(SHOP))

    [services] = [query for query in of_prometheus(boards) if query.place == "Services and versions"][:1]
    rows = ask(programs.stack, services, time.time(), service=chosen(SHOP), version=chosen("1.0", "2.0"))
    found = {(row["metric"]["service_name"], row["metric"]["service_version"]): row["value"][1] for row in rows}
    assert {(SHOP, "1.0"): "1", (SHOP, "2.0"): "1"} == found


def test_an_unknown_service_is_an_empty_answer_and_no_error(programs, boards):
    for query in of_prometheus(boards):
        for answer in ask(programs.stack, query, time.time(), service=chosen("none")):
            if query.place.startswith("variable") or "ALERTS" in query.text:
                continue  # services to choose from; rules that are of all services
            values = [float(value) for _, value in answer.get("values", [answer.get("value")])]
            assert 0 == max(values), (query.place, answer)


def test_alerts_raised_are_as_many_as_there_are_events(programs, boards):
    """The first of a counter counts: each alert was raised once, after the range began or before the first sample."""
    [raised] = [
        query
        for query in of_prometheus(boards)
        if query.dashboard == "otel-perf-alerts" and query.place == "Alerts raised"
    ]
    names = ("otel_perf.budget.exceeded", "otel_perf.budget.escalated")

    def both() -> tuple[int, int]:
        events = sum(len(programs.stack.events(service, name)) for service in (SHOP, SAMPLE) for name in names)
        end = programs.begun + LONG
        text = asked.filled(raised.text, RANGE, service=chosen(SHOP, SAMPLE)).replace(f"[{RANGE}s]", f"[{LONG}s]")
        [answer] = programs.stack.query(text.replace(f"offset {RANGE}s", f"offset {LONG}s"), min(end, time.time()))
        return events, int(float(answer["value"][1]))

    programs.stack.wait_for(lambda: len(set(both())) == 1, "counter and events agree")
    assert both()[0] >= 5


# --- drawn by Grafana's own libraries --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Return a page of a real browser with Grafana's libraries loaded."""
    packages, chromium = _load("install").find(), shutil.which("chromium") or shutil.which("chromium-browser")
    if shutil.which("node") is None or packages is None:
        pytest.skip("needs node and Grafana's libraries: make grafana")
    if chromium is None:
        pytest.skip("needs chromium")
    from playwright.sync_api import sync_playwright

    out = tmp_path_factory.mktemp("bundle") / "page.js"
    subprocess.run(
        ["node", str(GRAFANA / "bundle.mjs"), str(packages / "node_modules"), str(out)], check=True, timeout=100
    )
    html = "<!doctype html><body style='margin:0;background:#111217;color:#ccc'><div id=root style='position:relative'></div>"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": WIDTH, "height": 900})
        opened.route("**/*", lambda route: route.fulfill(body=html, content_type="text/html"))  # no server is asked
        opened.goto("http://127.0.0.1/")
        opened.add_style_tag(path=out.with_suffix(".css"))
        opened.add_script_tag(path=out)
        opened.wait_for_function("window.ready")
        yield opened
        browser.close()


@pytest.fixture(scope="module")
def recorded(programs: Any, boards: list[dict[str, Any]]) -> Recorded:
    """Return the answers to all queries at one moment."""
    return Recorded(programs)


class Recorded:
    """Answers of the real backends at one moment, as the frames that Grafana makes of them.

    Attributes:
        end: the moment, seconds.
        starts: the traces of the programs' starts, the largest first.
    """

    def __init__(self, programs: Any) -> None:
        self.stack = stack = programs.stack
        self.folder = programs.folder / ".otel-perf"
        self.frames = _load("frames")
        self.starts: list[list[dict[str, Any]]] = stack.wait_for(self._all_starts, "three starts, whole", 60)
        self.end = time.time()
        stack.wait_for(self._has_later_samples, "samples of after that moment, so that all of before are there", 60)
        events = [event for service in (SAMPLE, SHOP) for event in stack.events(service)]
        self.events = [event for event in events if event["event_name"].startswith("otel_perf.budget.")]

    def _has_later_samples(self) -> bool:
        answer = self.stack.query('min(timestamp(otel_perf_profile_time_seconds_total{function="order"}))')
        return bool(answer) and float(answer[0]["value"][1]) > self.end

    def _all_starts(self) -> list[list[dict[str, Any]]] | None:
        """Return the three starts once they are there, by the ids in the run folders; an alert may name another trace."""
        traces = [self.stack.trace(one) for one in ids_of_starts(self.folder)]
        starts = sorted((trace for trace in traces if is_start(trace)), key=len, reverse=True)
        return starts if len(starts) == 3 else None

    def of(self, panel: dict[str, Any], **variables: str) -> list[dict[str, Any]]:
        """Return the frames of a panel."""
        targets = panel.get("targets", [])
        chosen = {**COMPARED.get(panel["title"], {}), **variables}
        return [frame for target in targets for frame in self._frames(panel, target, len(targets) > 1, chosen)]

    def _frames(self, panel: Any, target: Any, several: bool, variables: dict[str, str]) -> list[dict[str, Any]]:
        kind = target["datasource"]["type"]
        if kind == "prometheus":
            text = asked.filled(target["expr"], RANGE, **variables)
            if target.get("instant"):
                return [self.frames.table(self.stack.query(text, self.end), target["refId"], several)]
            answer = self.stack.query_range(text, self.end - RANGE, self.end, 5)
            return self.frames.lines(answer, target["refId"], target.get("legendFormat", ""))
        if kind == "loki":
            return [self.frames.logs(self.events)] if "budget" in target["expr"] else []
        if panel["type"] == "traces":
            return []
        selected = self.frames.selected(target["query"])
        if "trace:id" in target["query"]:
            return [self.frames.spans(self.starts[0], selected)]
        roots = [[span for span in trace if span["parent_id"] is None] for trace in self.starts]
        return [self.frames.joined([self.frames.spans(root, selected) for root in roots])]


def ids_of_starts(folder: Path) -> list[str]:
    """Return the trace ids of the starts in a folder of runs; a line that is being written has no end yet."""
    lines = [line for file in folder.glob("*/*/traces.jsonl") for line in file.read_text("utf-8").split("\n")[:-1]]
    groups = [group for line in lines for group in json.loads(line)["resourceSpans"]]
    spans = [span for group in groups for scoped in group["scopeSpans"] for span in scoped["spans"]]
    return [span["traceId"] for span in spans if span["name"] == "startup"]


def is_start(trace: list[dict[str, Any]]) -> bool:
    """Say whether a trace is a start's."""
    return any(span["parent_id"] is None and span["attributes"].get("otel_perf.kind") == "startup" for span in trace)


def fields(page: Any, recorded: Recorded, panel: dict[str, Any], **variables: str) -> dict[str, list[Any]]:
    """Return what a panel reads by the name of a field, once the flame graph has no objection."""
    found = page.evaluate("([panel, frames]) => window.fields(panel, frames)", [panel, recorded.of(panel, **variables)])
    assert "" == found["wrong"]
    return {field["name"]: field["values"] for field in found["frames"][0]}


def panel_of(boards: list[dict[str, Any]], title: str) -> dict[str, Any]:
    """Return the one panel that is called so."""
    [found] = [panel for board in boards for panel in panels_of(board) if panel["title"] == title]
    return found


def assert_tree(read: dict[str, list[Any]], value: str = "value") -> None:
    """Check that the rows are what the panel can draw: one root, first; levels without gaps; children in their parents."""
    levels, values = read["level"], read[value]
    assert [0] == [level for level in levels if level == 0]
    assert 0 == levels[0]
    open_: list[list[float]] = []
    for level, size in zip(levels, values, strict=True):
        assert level <= len(open_)
        del open_[level:]
        if open_:
            open_[-1][0] -= size
            assert open_[-1][0] >= -1e-6 * values[0], read["label"]
        open_.append([size])


@pytest.mark.browser
def test_flame_graph_of_a_range_has_the_totals_that_prometheus_has(page, recorded, boards):
    read = fields(page, recorded, panel_of(boards, "Flame graph"), service=chosen(SHOP))

    assert_tree(read)
    assert "all" == read["label"][0]
    of_shop = dict(zip(read["label"], read["value"], strict=True))
    spent = recorded.stack.query(
        f'sum(last_over_time(otel_perf_profile_time_seconds_total{{function="order"}}[{RANGE}s]))', recorded.end
    )
    assert of_shop["order"] / 1e9 == pytest.approx(float(spent[0]["value"][1]), rel=1e-6)
    assert {"price", "stock", "Zone", "discount"} <= set(read["label"])
    at = read["label"].index("order")
    assert [1, 2, 2, 2] == sorted(read["level"][at : at + 5])[:4]


@pytest.mark.browser
def test_difference_of_two_versions_shows_what_takes_a_larger_share(page, recorded, boards):
    read = fields(page, recorded, panel_of(boards, "Difference"))

    assert_tree(read)
    assert_tree(read, "valueRight")
    share = {
        label: (left / read["value"][0], right / read["valueRight"][0])
        for label, left, right in zip(read["label"], read["value"], read["valueRight"], strict=True)
    }
    assert share["price"][1] > 1.5 * share["price"][0]
    assert share["stock"][1] < 0.8 * share["stock"][0]
    assert 0 == share["discount"][0] < share["discount"][1]


@pytest.mark.browser
def test_flame_graph_of_a_start_is_its_tree(page, recorded, boards):
    """Compared with the parents that the spans name, those of the plain OpenTelemetry API included."""
    read = fields(page, recorded, panel_of(boards, "Flame graph of the start"))

    assert_tree({**read, "value": [0.0] * len(read["level"])})
    trace = recorded.starts[0]
    below: dict[str | None, list[dict[str, Any]]] = {}
    for span in trace:
        if (
            "otel_perf.order" in span["attributes"]
        ):  # what was only over after the start is of its trace, not of its time
            below.setdefault(span["parent_id"], []).append(span)
    expected, waiting = [], [(span, 0) for span in below[None]]
    while waiting:
        span, level = waiting.pop()
        expected.append((level, span["name"], span["end"] - span["start"]))
        children = sorted(below.get(span["span_id"], []), key=lambda one: (-one["start"], one["end"]))
        waiting += [(child, level + 1) for child in children]
    assert "connect" in {span["name"] for span in trace}, "the sample application has a span of the plain API"
    assert expected == list(zip(read["level"], read["label"], read["value"], strict=True))


@pytest.mark.browser
def test_slowest_starts_are_in_order_with_what_held_them(page, recorded, boards):
    read = fields(page, recorded, panel_of(boards, "Slowest starts"))

    durations = read["duration"]
    assert 3 == len(durations)
    assert sorted(durations, reverse=True) == durations
    assert {trace[0]["trace_id"] for trace in recorded.starts} == set(read["Trace"])
    assert {"1.0", "2.0", "1.0.0"} == set(read["service.version"])
    assert all(read["otel_perf.bottleneck"])


@pytest.mark.browser
@pytest.mark.parametrize(
    ("variables", "versions"),
    [
        ({"service": chosen(SHOP)}, {"1.0", "2.0"}),
        ({"service": chosen(SAMPLE, "another")}, {"1.0.0"}),
        ({"version": chosen("2.0")}, {"2.0"}),
        ({"service": chosen(SHOP), "version": chosen("1.0", "1.0.0")}, {"1.0"}),
        ({"service": chosen("none")}, set()),
        ({"instance": chosen("none")}, set()),
    ],
)
def test_slowest_starts_are_those_of_what_is_chosen(page, recorded, boards, variables, versions):
    read = fields(page, recorded, panel_of(boards, "Slowest starts"), **variables)

    assert versions == set(read["service.version"])


@pytest.mark.browser
@pytest.mark.parametrize("empty", [[], [{"refId": "A", "fields": []}]], ids=["no frame", "a frame without fields"])
def test_slowest_starts_are_none_where_tempo_finds_none(page, recorded, boards, empty):
    """The processes that Prometheus knows are no starts."""
    panel = panel_of(boards, "Slowest starts")
    [processes] = [frame for frame in recorded.of(panel) if frame["refId"] == "B"]
    assert 4 <= len(processes["fields"][0]["values"]), "three, the one that is none, and those of other tests"

    found = page.evaluate("([panel, frames]) => window.fields(panel, frames)", [panel, [*empty, processes]])

    assert [] == [field["name"] for frame in found["frames"] for field in frame if field["values"]]


@pytest.mark.browser
def test_phases_are_stacked_by_version_without_those_within_others(page, recorded, boards):
    read = fields(page, recorded, panel_of(boards, "Phases by version"))

    assert {f"{SHOP} 1.0", f"{SHOP} 2.0", f"{SAMPLE} 1.0.0 {NAMESPACE}"} == {
        one.strip() for one in read["program\\phase"]
    }
    assert {"CoreInit", "UI"} <= set(read)
    assert "Settings" not in read, "it is part of CoreInit"


@pytest.mark.browser
def test_links_of_a_service_choose_what_its_row_is_of(page, process_stack, boards):
    """Of the real Prometheus one process each, by a version or none, and by names that could end an address or a part."""
    name = f"R&D #1+{time.time_ns()}"
    rows_sent = {("", ""), ("", "1.4.2.dev3+g1a2b3c"), ("north", ""), ("north", "1.0"), ("south & west", "1.0")}
    for namespace, version in rows_sent:
        told = {"service.name": name, "service.namespace": namespace, "service.version": version}
        send(process_stack, {**told, "service.instance.id": f"{name}-{namespace}-{version}"})
    table = panel_of(boards, "Services and versions")
    by_place = {query.place: query for query in reversed(of_prometheus(boards)) if query.instant}
    live = by_place["Live processes"]
    process_stack.wait_for(
        lambda: ask(process_stack, live, time.time(), service=chosen(name))[0]["value"][1] == "5", "all of them"
    )
    end, frames = time.time(), _load("frames")
    answers = [
        frames.table(
            process_stack.query(asked.filled(each["expr"], RANGE, service=chosen(name)), end), each["refId"], True
        )
        for each in table["targets"]
    ]

    rows = page.evaluate("([panel, frames]) => window.links(panel, frames)", [table, answers])

    found = set()
    for links in rows:
        assert 4 == len(links)
        [variables] = {tuple(sorted(parse_qsl(urlsplit(link).query, keep_blank_values=True))) for link in links}
        values = {key.removeprefix("var-"): value for key, value in variables if key.startswith("var-")}
        assert name == values["service"]
        found.add((values["namespace"], values["version"]))
        escaped = {key: chosen(value) for key, value in values.items()}
        assert "1" == ask(process_stack, live, time.time(), **escaped)[0]["value"][1]
    assert rows_sent == found


@pytest.mark.browser
@pytest.mark.parametrize("number", range(5))
def test_every_panel_is_drawn_from_real_answers(page, recorded, boards, number, tmp_path):
    """Screenshots are kept in $OTEL_PERF_SCREENSHOTS, to be looked at; docs/img/ has some."""
    board = boards[number]
    panels = all_panels(board)
    frames = [recorded.of(panel) for panel in panels]
    page.evaluate("([panels, frames, range]) => window.draw(panels, frames, range)",
                  [panels, frames, [(recorded.end - RANGE) * 1000, recorded.end * 1000]])  # fmt: skip
    page.wait_for_timeout(1500)

    height = page.evaluate("document.getElementById('root').offsetHeight")
    page.set_viewport_size({"width": WIDTH, "height": height})
    page.wait_for_timeout(300)
    folder = Path(SCREENSHOTS or tmp_path)
    page.screenshot(path=folder / f"dashboard-{board['uid'].removeprefix('otel-perf-')}.png")
    page.set_viewport_size({"width": WIDTH, "height": 900})

    assert [] == page.evaluate("[...document.querySelectorAll('.wrong')].map((one) => one.textContent)")
    drawn = page.evaluate("[...document.querySelectorAll('[data-panel]')].map((one) => one.dataset.panel)")
    assert [panel["title"] for panel in panels if panel["type"] != "row"] == drawn
    empty = page.evaluate(
        "[...document.querySelectorAll('[data-panel]:has(.nothing)')].map((one) => one.dataset.panel)"
    )
    assert set(empty) <= {"Waterfall", "Events of the start", "How processes ended"}, "no server has these here"


# --- what is asked when little is there: after what needs the programs' whole life in the range ------------------------


@pytest.mark.parametrize(
    ("given", "short"),
    [
        ("00a0b4c5d6e7f8091a2b3c4d5e6f7a8b", ["a0b4c5d6e7f8091a2b3c4d5e6f7a8b"]),
        ("a0b4c5d6e7f8091a2b3c4d5e6f7a8b", ["a0b4c5d6e7f8091a2b3c4d5e6f7a8b"]),
        ("10a0b4c5d6e7f8091a2b3c4d5e6f7a80", ["10a0b4c5d6e7f8091a2b3c4d5e6f7a80"]),
        ("", []),
    ],
    ids=["padded", "as Tempo's search has it", "without", "none"],
)
def test_id_of_a_trace_is_searched_for_without_its_leading_zeros(process_stack, boards, given, short):
    """Links from logs and exemplars have them, those from the table do not, and TraceQL finds nothing with them."""
    [variable] = [query for query in queries(boards) if query.language == "query_result"]

    assert short == ask(process_stack, variable, time.time(), traceId=chosen(given))


def test_a_panel_that_has_nothing_to_show_says_why(programs, boards):
    """As on a stack that nobody has sent to: of a service that there is not, and a trace that is not chosen."""
    found = {query: ask(programs.stack, query, time.time(), service=chosen("none")) for query in of_prometheus(boards)}
    answers: dict[tuple[str, str], list[Any]] = {}
    for query, rows in found.items():
        answers.setdefault((query.dashboard, query.place), []).extend(rows)

    empty = [
        (panel["title"], panel["fieldConfig"]["defaults"].get("noValue", ""))
        for board in boards
        for panel in panels_of(board)
        if not answers.get((board["uid"], panel["title"]))
    ]

    assert 40 < len(empty)
    assert [] == [title for title, text in empty if len(text) < 10]


def test_two_services_of_one_name_are_two_by_their_namespace(process_stack, boards):
    name = f"twice-{time.time_ns()}"
    by_place = {query.place: query for query in reversed(of_prometheus(boards)) if query.instant}
    for namespace in ("north", "south"):
        told = {"service.name": name, "service.namespace": namespace, "service.instance.id": f"{name}-{namespace}"}
        send(process_stack, told)

    def rows(place: str) -> list[Any]:
        return ask(process_stack, by_place[place], time.time(), service=chosen(name))

    process_stack.wait_for(lambda: len(rows("Services and versions")) == 2, "both")
    assert {"north", "south"} == {row["metric"]["service_namespace"] for row in rows("Services and versions")}
    assert ["2"] == [row["value"][1] for row in rows("Services")]
    assert ["2"] == [row["value"][1] for row in rows("Live processes")]
    north = ask(process_stack, by_place["Live processes"], time.time(), service=chosen(name), namespace=chosen("north"))
    assert ["1"] == [row["value"][1] for row in north]
    [lines] = [query for query in of_prometheus(boards) if query.place == "Live processes by version"]
    found = ask(process_stack, lines, time.time(), service=chosen(name))
    assert ["north", "south"] == sorted(row["metric"]["service_namespace"] for row in found)


def test_network_of_a_machine_that_has_long_run_is_no_peak_where_a_process_begins(process_stack, boards):
    """The kernel's counters begin with the machine: what they had before the process is nobody's rate."""
    name = f"late-{time.time_ns()}"
    point = {"asInt": str(10**12), "attributes": {"device": "eth0", "direction": "receive"}}
    units = {"system.network.io": "By", "system.network.errors": "errors", "system.network.dropped_packets": "packets"}
    metrics = [{"name": one, "unit": unit, "sum": {"dataPoints": [point]}} for one, unit in units.items()]
    send(process_stack, {"service.name": name, "service.instance.id": name}, *metrics)
    process_stack.wait_for(
        lambda: len(process_stack.query(f'{{__name__=~"system_network_.+", service_name="{name}"}}')) == 3,
        "the counters",
    )
    asked_for = [query for query in of_prometheus(boards) if query.place.startswith("Network,")]
    assert 2 == len(asked_for)

    assert [[], []] == [ask(process_stack, query, time.time(), service=chosen(name)) for query in asked_for]


def test_phases_of_two_services_of_one_version_are_not_mixed(process_stack, boards):
    [phases] = [query for query in of_prometheus(boards) if query.place == "Phases by version"]
    services = [f"{name}-{time.time_ns()}" for name in ("first", "second")]
    for service, seconds in zip(services, (1.0, 3.0), strict=True):
        point = {"asDouble": seconds, "attributes": {"phase": "load"}}
        metric = {"name": PHASE, "unit": "s", "gauge": {"dataPoints": [point]}}
        send(
            process_stack, {"service.name": service, "service.version": "1.0.0", "service.instance.id": service}, metric
        )

    rows = process_stack.wait_for(
        lambda: len(found := ask(process_stack, phases, time.time(), service=chosen(*services))) == 2 and found, "both"
    )

    found = {row["metric"]["program"].strip(): row["value"][1] for row in rows}
    assert {f"{services[0]} 1.0.0": "1", f"{services[1]} 1.0.0": "3"} == found


# --- the end of processes: last, as it ends them ---------------------------------------------------------------------


def test_a_process_that_ended_is_gone_in_10_seconds_and_one_that_was_killed_in_40(programs, boards):
    [live] = [query for query in of_prometheus(boards) if query.place == "Live processes"]
    states = next(query for query in of_prometheus(boards) if query.place == "Exceeded budgets" and query.instant)

    def count() -> int:
        return int(ask(programs.stack, live, time.time(), service=chosen(SHOP))[0]["value"][1])

    assert 2 == count()
    programs.shops[0].send_signal(signal.SIGTERM)
    programs.stack.wait_for(lambda: count() == 1, "the one that ended is gone", 10)
    programs.shops[1].kill()
    programs.stack.wait_for(lambda: count() == 0, "the one that was killed is gone", 40)  # 30, and what was on its way
    assert "0" == ask(programs.stack, states, time.time(), service=chosen(SHOP))[0]["value"][1]


def test_a_rule_that_fires_no_longer_is_in_the_history_of_alerts(programs, boards):
    """Its process has ended: on Overview, which shows what fires now, it is gone."""
    by_place = {query.place: query for query in of_prometheus(boards)}
    now, history = by_place["Firing alert rules"], by_place["Alert rules that fired"]

    def budgets(query: Query) -> set[str]:
        rows = ask(programs.stack, query, time.time(), service=chosen(SHOP))
        return {row["metric"]["budget"] for row in rows if "budget" in row["metric"]}

    programs.stack.wait_for(lambda: not budgets(now), "nothing fires of processes that have ended", 60)
    assert "memory" in budgets(history)
