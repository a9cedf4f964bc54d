"""Grafana dashboards, generated from the budgets and the table of instruments: ``otel-perf dashboards``.

Needs grafana-foundation-sdk (``pip install otel-perf[dashboards]``), except for ``language`` and ``flame``, which say
what the dashboards ask. Reading order: files_of(), queries(); then one file a dashboard: overview, startup, profiling,
process, alerting; what they are built of is in shell and panels.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from otel_perf.budgets import Budget

LANGUAGES = {"prometheus": "promql", "tempo": "traceql", "loki": "logql"}
OPTIONS = {"limit": "limit", "spss": "spss", "maxLines": "limit"}  # of a panel's query: what its API calls them


@dataclass(frozen=True, slots=True)
class Query:
    """What a dashboard asks of a data source.

    Attributes:
        dashboard: its uid.
        place: the panel's title, ``variable NAME`` or ``annotation NAME``.
        language: ``promql``, ``label_values``, ``query_result``, ``traceql``, ``trace id`` or ``logql``.
        text: with the dashboard's variables in it.
        instant: asked at the end of the range only.
        nothing: why the answer may be empty, as the panel says it then; empty where it must not be.
        options: what a search is sent with, by the names of the data source's API.
    """

    dashboard: str
    place: str
    language: str
    text: str
    instant: bool
    nothing: str
    options: dict[str, int] = field(default_factory=dict, hash=False)


def boards_of(budgets: Sequence[Budget]) -> list[dict[str, Any]]:
    """Return the dashboards, as JSON values; limits are drawn from *budgets*.

    Raises: ModuleNotFoundError: grafana-foundation-sdk is not installed.
    """
    from .alerting import alerting
    from .overview import overview
    from .process import process
    from .profiling import profiling
    from .startup import startup

    return [make(budgets) for make in (overview, startup, profiling, process, alerting)]


def files_of(budgets: Sequence[Budget]) -> dict[str, str]:
    """Return the text of each file of dashboards, by its name."""
    return {f"{board['uid']}.json": text_of(board) for board in boards_of(budgets)}


def text_of(board: dict[str, Any]) -> str:
    """Return a dashboard as the text of its file."""
    return json.dumps(board, indent=1, ensure_ascii=False) + "\n"


def queries(boards: Sequence[dict[str, Any]]) -> list[Query]:
    """Return every query of every panel, variable and annotation."""
    return [query for board in boards for query in _of(board)]


def _of(board: dict[str, Any]) -> Iterator[Query]:
    uid = board["uid"]
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            text = variable["query"]["query"]
            yield Query(uid, f"variable {variable['name']}", text.partition("(")[0], text, False, "")
    for mark in board["annotations"]["list"]:
        if "expr" in mark:
            yield Query(uid, f"annotation {mark['name']}", "promql", mark["expr"], False, "nothing to mark")
    for panel in panels_of(board):
        nothing = panel.get("fieldConfig", {}).get("defaults", {}).get("noValue", "")
        for target in panel.get("targets", ()):
            text = target.get("expr") or target["query"]
            language = LANGUAGES[target["datasource"]["type"]] if panel["type"] != "traces" else "trace id"
            options = {name: target[key] for key, name in OPTIONS.items() if key in target}
            yield Query(uid, panel["title"], language, text, bool(target.get("instant")), nothing, options)


def panels_of(board: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the panels of a dashboard that show something: no rows, but what is in them."""
    every = [each for panel in board["panels"] for each in (panel, *panel.get("panels", ()))]
    return [panel for panel in every if panel["type"] != "row"]
