"""What every dashboard has: its name and address, variables, links to the others, and marks on the time axis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.models import dashboard as models

from otel_perf.alerts import EXCEEDED
from otel_perf.backends.names import series_of

from . import language
from .panels import BAD, NEUTRAL, PROMETHEUS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from grafana_foundation_sdk.cog.builder import Builder

TAG = "otel-perf"
SCHEMA = 41  # of the classic model; Grafana 13 brings it up to date when it loads it
ALL = "All"
NAMESPACES = "The resource attribute service.namespace. All is also what has none; empty where nobody has one."

OF_PROCESS = (
    "${namespace:queryparam}&${service:queryparam}&${version:queryparam}&${instance:queryparam}&${__url_time_range}"
)


def address(uid: str, query: str = OF_PROCESS) -> str:
    """Return the address of a dashboard, in the same Grafana, with the variables as they are."""
    return f"/d/{uid}?{query}"


def dashboard(
    uid: str,
    title: str,
    description: str,
    rows: Mapping[str, Sequence[Builder[models.Panel]]],
    *,
    collapsed: Sequence[str] = (),
    variables: Sequence[Builder[models.VariableModel]] = (),
) -> dict[str, Any]:
    """Return a dashboard of the classic model, which is the one that Grafana 13.0 provisions from files.

    *rows* are panels by the title of their row, which may be empty for the first; *collapsed* are titles of rows that
    a click opens; *variables* are those beside the ones that all have.
    """
    board = builders.Dashboard(title).uid(uid).description(description).tags([TAG])
    board.time("now-1h", "now").refresh("10s").tooltip(models.DashboardCursorSync.CROSSHAIR).readonly()
    board.timepicker(builders.TimePicker().refresh_intervals(["5s", "10s", "30s", "1m", "5m"]))
    for variable in (*_of_all(), *variables):
        board.with_variable(variable)
    for mark in _marks():
        board.annotation(mark)
    board.link(_links())
    for name, panels in rows.items():
        if name:
            row = builders.Row(name)
            if name in collapsed:
                row.collapsed(True)  # the builder's own signature
                for panel in panels:
                    row.with_panel(panel)
            board.with_row(row)
        if name not in collapsed:
            for panel in panels:
                board.with_panel(panel)
    return _numbered(board.build())


def _numbered(board: models.Dashboard) -> dict[str, Any]:
    """Return the model as JSON values, with an id for each panel."""
    import json

    from grafana_foundation_sdk.cog.encoder import JSONEncoder

    board.schema_version = SCHEMA
    made: dict[str, Any] = json.loads(json.dumps(board, cls=JSONEncoder))
    for number, panel in enumerate(all_panels(made), 1):
        panel["id"] = number
    for variable in made["templating"]["list"]:  # the library gives each what only an interval has
        for key in ("auto", "auto_min", "auto_count"):
            variable.pop(key, None)
    return made


def all_panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the panels of a dashboard, rows and what is in them included."""
    return [each for panel in board["panels"] for each in (panel, *panel.get("panels", ()))]


# --- variables -------------------------------------------------------------------------------------------------------


def _of_all() -> list[Builder[models.VariableModel]]:
    uptime = series_of(language.UPTIME)
    namespace, services = language.picked(language.NAMESPACE, "namespace"), language.of_services()
    version = language.picked(language.VERSION, "version")
    return [
        chooser("namespace", "Namespace", f"label_values({uptime}, {language.NAMESPACE})", description=NAMESPACES),
        chooser("service", "Service", f"label_values({uptime}{{{namespace}}}, {language.SERVICE})", everything=".+"),
        chooser("version", "Version", f"label_values({uptime}{{{services}}}, {language.VERSION})"),
        chooser("instance", "Process", f"label_values({uptime}{{{services},{version}}}, {language.INSTANCE})"),
    ]


def chooser(
    name: str, label: str, query: str, everything: str = ".*", description: str = ""
) -> Builder[models.VariableModel]:
    """Return a variable with the values that Prometheus has; All is *everything*, which also takes what has none."""
    asked: dict[str, object] = {"qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"}
    variable = builders.QueryVariable(name).label(label).datasource(PROMETHEUS).query(asked).description(description)
    variable.multi(True).include_all(True).all_value(everything)
    variable.refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(models.VariableSort.ALPHABETICAL_ASC)
    return variable.current(models.VariableOption(selected=True, text=[ALL], value=["$__all"]))


def derived(name: str, query: str, regex: str) -> Builder[models.VariableModel]:
    """Return a variable that nobody sees: what *regex* reads in the answer of Prometheus to a *query* of others."""
    asked: dict[str, object] = {"qryType": 3, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"}
    variable = builders.QueryVariable(name).datasource(PROMETHEUS).query(asked).regex(regex)
    variable.hide(models.VariableHide.HIDE_VARIABLE).refresh(models.VariableRefresh.ON_DASHBOARD_LOAD)
    return variable.current(models.VariableOption(selected=False, text="", value=""))


def text(name: str, label: str, description: str) -> Builder[models.VariableModel]:
    """Return a variable that is typed, or set by a link; empty at first."""
    empty = models.VariableOption(selected=True, text="", value="")
    return builders.TextBoxVariable(name).label(label).description(description).default_value("").current(empty)


def choice(name: str, label: str, description: str, values: dict[str, str]) -> Builder[models.VariableModel]:
    """Return a variable of fixed values, given with the words for them; the first is chosen at first."""
    variable = builders.CustomVariable(name).label(label).description(description)
    options = [
        models.VariableOption(selected=not number, text=words, value=value)
        for number, (value, words) in enumerate(values.items())
    ]
    variable.values(",".join(f"{words} : {value}" for value, words in values.items()))
    return variable.options(options).current(options[0])


# --- links and marks -------------------------------------------------------------------------------------------------


def _links() -> builders.DashboardLink:
    link = builders.DashboardLink("otel-perf").type(models.DashboardLinkType.DASHBOARDS).tags([TAG])
    return link.include_vars(True).keep_time(True)


def _marks() -> list[builders.AnnotationQuery]:
    state, uptime = language.series("otel_perf.budget.state"), language.series(language.UPTIME)
    exceeded = language.of_living(f"max by ({language.INSTANCE}, {language.SERVICE}, budget) ({state}) == {EXCEEDED}")
    return [
        _mark("Exceeded budgets", BAD, exceeded, f"{{{{budget}}}} exceeded in {{{{{language.SERVICE}}}}}"),
        _mark(
            "Starts of processes",
            NEUTRAL,
            f"min_over_time({uptime}[1m]) < 5",  # a week is drawn in steps of a minute: none falls in between
            f"start of {{{{{language.SERVICE}}}}} {{{{{language.VERSION}}}}}",
        ),
    ]


class _Mark(builders.AnnotationQuery):
    """A mark on the time axis; the library's class lacks what the Prometheus data source reads beside ``expr``."""

    def __init__(self, more: dict[str, Any]) -> None:
        super().__init__()
        self.more = more

    def build(self) -> models.AnnotationQuery:
        made = super().build()
        plain, more = made.to_json(), self.more
        made.to_json = lambda: {**plain, **more}  # type: ignore[method-assign]
        return made


def _mark(name: str, color: str, expression: str, title: str) -> builders.AnnotationQuery:
    more = {"titleFormat": title, "step": "10s", "useValueForTime": False, "tagKeys": f"budget,{language.VERSION}"}
    return _Mark(more).name(name).datasource(PROMETHEUS).enable(True).icon_color(color).expr(expression)
