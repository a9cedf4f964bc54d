"""The dashboards as generated: lines from budgets, variables in every query, links that lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from otel_perf.backends.dashboards import boards_of, files_of, panels_of, queries
from otel_perf.budgets import Budget, load, read
from otel_perf.commands import dashboards as command

ROOT = Path(__file__).resolve().parents[2]
UIDS = ["otel-perf-overview", "otel-perf-startup", "otel-perf-profiling", "otel-perf-process", "otel-perf-alerts"]
PICKED = [
    "service_namespace=~`${namespace:regex}`",
    "service_name=~`${service:regex}`",
    "service_version=~`${version:regex}`",
    "service_instance_id=~`${instance:regex}`",
]


@pytest.fixture(scope="module")
def boards() -> list[dict[str, Any]]:
    return boards_of(read("", None))


def panel(boards: list[dict[str, Any]], uid: str, title: str) -> dict[str, Any]:
    """Return the one panel of this title."""
    [board] = [board for board in boards if board["uid"] == uid]
    [found] = [panel for panel in panels_of(board) if panel["title"] == title]
    return found


def lines(found: dict[str, Any]) -> list[float]:
    """Return the limits that a panel shows, besides its base."""
    return [
        step["value"] for step in found["fieldConfig"]["defaults"]["thresholds"]["steps"] if step["value"] is not None
    ]


def test_those_in_deploy_are_up_to_date(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)

    status = command.main(["--check"])

    assert (0, "") == (status, capsys.readouterr().err)


def test_there_are_five_each_with_its_own_uid_and_title(boards):
    assert UIDS == [board["uid"] for board in boards]
    assert 5 == len({board["title"] for board in boards})


def test_lines_are_the_limits_of_the_budgets():
    written = {"memory": "300MB", "idle": 0.05, "startup": "1.5s"}
    boards = boards_of(read("otel-perf.toml", written))

    assert [300e6] == lines(panel(boards, "otel-perf-process", "Memory of each process"))
    assert [0.05] == lines(panel(boards, "otel-perf-process", "CPU of each process, in cores"))
    assert [1.5] == lines(panel(boards, "otel-perf-startup", "Duration of starts by version"))
    assert [1.5] == lines(panel(boards, "otel-perf-startup", "Median start"))
    said = panel(boards, "otel-perf-process", "CPU of each process, in cores")["description"]
    assert "0.05 cores while idle" in said


def test_lines_of_the_defaults_are_2_seconds_2_percent_of_a_core_and_150_megabytes(boards):
    assert [150e6] == lines(panel(boards, "otel-perf-process", "Memory of each process"))
    assert [0.02] == lines(panel(boards, "otel-perf-process", "CPU of each process, in cores"))
    assert [2.0] == lines(panel(boards, "otel-perf-startup", "Duration of starts by version"))


def test_a_budget_that_is_switched_off_has_no_line():
    boards = boards_of(read("otel-perf.toml", {"memory": False, "startup": False}))

    memory = panel(boards, "otel-perf-process", "Memory of each process")
    assert "dashed line" not in memory["description"]
    assert "thresholdsStyle" not in memory["fieldConfig"]["defaults"]["custom"]
    assert "Starts over budget" not in [found["title"] for found in panels_of(boards[1])]


def test_a_budget_of_any_name_is_asked_for_by_its_label():
    odd = Budget('a "{b}" \\ `c`', metric="process.memory.usage", max="1MB")
    boards = boards_of([*read("", None), odd])

    assert [] == [query.place for query in queries(boards) if odd.name in query.text]
    assert [1e6, 150e6] == lines(panel(boards, "otel-perf-process", "Memory of each process"))


def test_every_promql_of_our_series_is_of_what_the_variables_choose(boards):
    for query in queries(boards):
        for selector in re.findall(r"\b(?:otel_perf|process|system|cpython)_\w+\{([^}]*(?:\}`[^}]*)*)\}", query.text):
            if query.language == "promql":
                wanted = PICKED if "baseline" not in selector else [one for one in PICKED if "version" not in one]
                assert all(matcher in selector for matcher in wanted), (query.place, selector)


def test_variables_stand_between_backticks_where_nothing_is_unescaped(boards):
    """In double quotes a service called ``shop "x"`` would end the string, and no other format escapes it."""
    for query in queries(boards):
        for before, name, after in re.findall(r"(.?)\$\{(\w+):regex\}(.?)", query.text):
            assert "`" == before, (query.place, name)
            assert after in "`|", (query.place, name)
        assert not re.search(r"\$(namespace|service|version|instance|baseline)\b", query.text)


def test_every_panel_says_what_it_shows_and_of_which_unit(boards):
    for board in boards:
        for found in panels_of(board):
            assert found["description"], found["title"]
            if found["type"] in ("timeseries", "stat", "flamegraph", "barchart"):
                assert found["fieldConfig"]["defaults"]["unit"], found["title"]


def test_panels_lie_on_the_grid_without_overlap(boards):
    for board in boards:
        taken: dict[tuple[int, int], str] = {}
        for found in board["panels"]:
            place = found["gridPos"]
            assert place["x"] + place["w"] <= 24, found["title"]
            for x in range(place["x"], place["x"] + place["w"]):
                for y in range(place["y"], place["y"] + place["h"]):
                    other = taken.setdefault((x, y), found["title"])
                    assert other == found["title"]


def test_links_lead_to_dashboards_that_there_are(boards):
    text = "".join(files_of(load(str(ROOT))).values())
    linked = set(re.findall(r"/d/([\w-]+)\?", text))

    assert linked
    assert linked <= set(UIDS)
    for board in boards:
        [links] = board["links"]
        assert (["otel-perf"], True, True) == (links["tags"], links["includeVars"], links["keepTime"])


RANGE = "${__url_time_range}"


def links(value: Any) -> list[str]:
    """Return the addresses of all data links in a dashboard, or of a data source as it is provisioned."""
    if isinstance(value, dict):
        own = [value["url"]] if str(value.get("url", "")).startswith("/d/") else []
        return own + [url for item in value.values() for url in links(item)]
    return [url for item in value for url in links(item)] if isinstance(value, list) else []


def test_every_link_of_a_panel_keeps_the_time_range(boards):
    found = {board["uid"]: links(board["panels"]) for board in boards}

    assert 6 <= len(found["otel-perf-overview"])
    assert 1 == len(found["otel-perf-startup"])
    assert [] == [url for urls in found.values() for url in urls if not url.endswith(f"&{RANGE}")]


def test_links_to_a_trace_from_exemplars_logs_and_the_table_lead_to_its_dashboard_in_the_time_range(boards):
    file = ROOT / "deploy" / "grafana" / "provisioning" / "datasources" / "otel-perf.yaml"
    sources = yaml.safe_load(file.read_text(encoding="utf-8"))["datasources"]
    found = {source["uid"]: [url.replace("$$", "$") for url in links(source)] for source in sources}

    to_trace = f"/d/otel-perf-startup?var-traceId=${{__value.raw}}&{RANGE}"
    assert {"prometheus": [to_trace], "tempo": [], "loki": [to_trace]} == found
    [from_table] = links(boards[1]["panels"])
    assert to_trace.removesuffix(RANGE) == from_table[: len(to_trace) - len(RANGE)]


def test_a_trace_is_searched_for_without_leading_zeros_and_shown_by_the_id_as_it_is_given(boards):
    """TraceQL on Tempo 2.9 finds nothing by an id with leading zeros; the regular expression takes logs with both."""
    asked = {query.place: query.text for query in queries([boards[1]])}
    [variable] = [one for one in boards[1]["templating"]["list"] if one["name"] == "traceIdOfSearch"]

    assert 'trace:id = "${traceIdOfSearch}"' in asked["Flame graph of the start"]
    assert "${traceId}" == asked["Waterfall"]
    assert asked["Events of the start"].endswith('| trace_id=~".+" | trace_id=~"0*${traceIdOfSearch}"')
    assert (2, 3, False) == (variable["hide"], variable["query"]["qryType"], variable["current"]["selected"])
    assert "${traceId:regex}" in variable["query"]["query"]
    assert variable["query"]["query"].startswith("query_result(")
    assert variable["regex"] == r'/trace="([^"]+)"/'


def test_slowest_starts_are_joined_with_the_processes_that_the_variables_choose(boards):
    table = panel(boards, "otel-perf-startup", "Slowest starts")
    search, processes = table["targets"]

    assert "-- Mixed --" == table["datasource"]["uid"]
    assert ("tempo", "prometheus") == (search["datasource"]["uid"], processes["datasource"]["uid"])
    assert all(matcher in processes["expr"] for matcher in PICKED)
    first = table["transformations"][0]
    assert ("joinByField", "inner") == (first["id"], first["options"]["mode"])
    field = first["options"]["byField"]
    assert f"resource.{field}" in search["query"]
    assert f'"{field}", "none"' in processes["expr"], "there is always a row: else all starts would be shown"


def test_slowest_starts_say_how_many_starts_they_are_among(boards):
    """Of more in the range Tempo gives that many, of all services and in no order."""
    table = panel(boards, "otel-perf-startup", "Slowest starts")

    assert f"among {table['targets'][0]['limit']} starts of all services that Tempo finds" in table["description"]


def test_data_sources_are_named_by_their_uids(boards):
    found = {
        (target["datasource"]["type"], target["datasource"]["uid"])
        for board in boards
        for each in panels_of(board)
        for target in each.get("targets", ())
    }
    assert {("prometheus", "prometheus"), ("tempo", "tempo"), ("loki", "loki")} == found


def test_a_flame_of_a_trace_may_have_as_many_spans_as_tempo_gives(boards):
    tempo = (ROOT / "deploy" / "tempo" / "tempo.yaml").read_text(encoding="utf-8")
    flame = panel(boards, "otel-perf-startup", "Flame graph of the start")

    most = int(re.search(r"max_spans_per_span_set: (\d+)", tempo)[1])
    assert (1, most) == (flame["targets"][0]["limit"], flame["targets"][0]["spss"])


def test_what_is_written_is_the_same_each_time():
    assert files_of(read("", None)) == files_of(read("", None))


def test_nothing_is_asked_with_increase_which_loses_the_first_of_a_counter(boards):
    assert [] == [query.place for query in queries(boards) if "increase(" in query.text]


def test_a_missing_library_is_named_with_what_installs_it(monkeypatch):
    import sys

    from otel_perf.errors import UserError

    for name in [
        name for name in sys.modules if name.startswith(("grafana_foundation_sdk", "otel_perf.backends.dashboards."))
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "grafana_foundation_sdk", None)

    with pytest.raises(UserError, match=r'pip install "otel-perf\[dashboards\]"'):
        command.main([])


def test_check_names_what_is_out_of_date_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert 0 == command.main(["--out", "boards"])
    (tmp_path / "otel-perf.toml").write_text('[budgets]\nmemory = "300MB"\n', encoding="utf-8")
    (tmp_path / "boards" / "otel-perf-alerts.json").unlink()
    capsys.readouterr()

    assert 1 == command.main(["--check", "--out", "boards"])

    said = capsys.readouterr()
    assert "" == said.out
    assert [
        "otel-perf dashboards: boards/otel-perf-process.json is out of date; run `otel-perf dashboards --out boards`",
        "otel-perf dashboards: boards/otel-perf-alerts.json is missing; run `otel-perf dashboards --out boards`",
    ] == said.err.splitlines()
    assert not (tmp_path / "boards" / "otel-perf-alerts.json").exists()
