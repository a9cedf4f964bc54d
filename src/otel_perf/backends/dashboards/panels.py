"""The panels that the dashboards are built of: each function gives one kind with what all of that kind share.

Reading order: Asked, chart(), stat(), table(), timeline(), flame(), then what they are made of. A panel that may be
empty says in ``nothing`` why; Grafana shows that text, and the tests take it as the permission. Colours are those of
Grafana's themes, and never the only thing that says a state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

from grafana_foundation_sdk.builders import (
    barchart,
    dashboard,
    logs,
    loki,
    prometheus,
    statetimeline,
    tempo,
    timeseries,
)
from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import stat as stat_builders
from grafana_foundation_sdk.builders import table as table_builders
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from grafana_foundation_sdk.models.tempo import SearchTableType

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from grafana_foundation_sdk.cog.builder import Builder
    from grafana_foundation_sdk.cog.variants import Dataquery

    from otel_perf.budgets import Budget

    from .flame import Transformation

PROMETHEUS = common.DataSourceRef("prometheus", "prometheus")  # type and uid, as provisioned
TEMPO = common.DataSourceRef("tempo", "tempo")
LOKI = common.DataSourceRef("loki", "loki")
MIXED = common.DataSourceRef("datasource", "-- Mixed --")  # each query names its own

GOOD, PENDING, BAD, NEUTRAL = "green", "orange", "red", "blue"
SECONDS, BYTES, CORES, SHARE, PER_SECOND = "s", "decbytes", "suffix: cores", "percentunit", "cps"
TOTAL_WIDTH = 24
NO_CELL = "–"  # in a table, what a panel says when it is empty would stand in each empty cell
MOST_SPANS = 10_000  # of one trace; query_frontend.search.max_spans_per_span_set in tempo.yaml
MOST_TRACES = 500  # that a search gives: the first found, in no order

Overrides = dict[str, dict[str, Any]]  # properties by the name of a field, as it comes from the data source


@dataclass(frozen=True, slots=True)
class Asked:
    """A PromQL query of a panel.

    Attributes:
        expression: the PromQL.
        legend: of its series, with labels in double braces.
        exemplars: whether points that link to a trace are asked for too.
    """

    expression: str
    legend: str = ""
    exemplars: bool = False


class _Builder(Protocol):
    """What the builders of all panels have."""

    def title(self, title: str) -> Self: ...
    def description(self, description: str) -> Self: ...
    def datasource(self, datasource: common.DataSourceRef) -> Self: ...
    def height(self, h: int) -> Self: ...
    def span(self, w: int) -> Self: ...
    def unit(self, unit: str) -> Self: ...
    def no_value(self, no_value: str) -> Self: ...
    def with_target(self, target: Builder[Dataquery]) -> Self: ...
    def with_transformation(self, transformation: models.DataTransformerConfig) -> Self: ...
    def override_by_name(self, name: str, properties: list[models.DynamicConfigValue]) -> Self: ...
    def build(self) -> models.Panel: ...


Kind = TypeVar("Kind", bound=_Builder)


# --- kinds of panel --------------------------------------------------------------------------------------------------


def chart(
    title: str,
    description: str,
    *asked: Asked,
    unit: str,
    limits: Iterable[Budget] = (),
    stacked: bool = False,
    largest: float | None = None,
    width: int = 12,
    height: int = 8,
    nothing: str = "",
) -> timeseries.Panel:
    """Return values over time, with a dashed line at each of *limits*."""
    panel = _asking(timeseries.Panel(), asked)
    _named(panel, title, description, width, height, unit, nothing)
    panel.min(0).line_width(1).fill_opacity(30 if stacked else 8).show_points(common.VisibilityMode.AUTO)
    panel.legend(_legend()).tooltip(_tooltip()).color_scheme(_color(models.FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
    if largest is not None:
        panel.max(largest)
    if stacked:
        panel.stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL))
    if values := sorted({budget.max for budget in limits}):
        panel.thresholds(_steps(*values))
        style = common.GraphThresholdsStyleMode.DASHED
        panel.thresholds_style(common_builders.GraphThresholdsStyleConfig().mode(style))
        panel.axis_soft_max(values[0] * 1.1)  # the line is in the picture also while all holds
    return panel


def stat(
    title: str,
    description: str,
    expression: str,
    *,
    unit: str = "short",
    steps: dashboard.ThresholdsConfig | None = None,
    width: int = 4,
    nothing: str = "",
) -> stat_builders.Panel:
    """Return one number; *steps* colour it."""
    panel = _asking(stat_builders.Panel(), [Asked(expression)], instant=True)
    _named(panel, title, description, width, 4, unit, nothing)
    panel.graph_mode(common.BigValueGraphMode.NONE).color_mode(common.BigValueColorMode.VALUE)
    panel.reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
    panel.thresholds(steps or _steps())
    return panel


def table(
    title: str,
    description: str,
    expressions: Sequence[str],
    *,
    columns: dict[str, tuple[str, str]],
    links: dict[str, str] | None = None,
    overrides: Overrides | None = None,
    width: int = TOTAL_WIDTH,
    height: int = 8,
    nothing: str = "",
) -> table_builders.Panel:
    """Return the answers of instant queries side by side, a row for each combination of labels.

    By the name of a field, ``Value #A`` for the first query: *columns* are title and unit, in order; *links* the
    addresses that a click opens; *overrides* further properties.
    """
    panel = _asking(table_builders.Panel(), [Asked(each) for each in expressions], instant=True)
    _named(panel, title, description, width, height, "", nothing).filterable(True).min_width(80)
    if len(expressions) > 1:
        _transformed(panel, [("merge", {})])
    order = {name: number for number, name in enumerate(columns)}
    hidden = {name: True for name in ("Time", "Value") if name not in columns}
    _transformed(panel, [("organize", {"excludeByName": hidden, "indexByName": order})])
    for name, (text, unit) in columns.items():
        properties: dict[str, Any] = {"displayName": text, "noValue": NO_CELL}
        if unit:
            properties["unit"] = unit
        if links and name in links:
            properties["links"] = [{"title": "Open", "url": links[name]}]
        override(panel, name, {**properties, **(overrides or {}).get(name, {})})
    return panel


def bars(
    title: str,
    description: str,
    expression: str,
    *,
    across: str,
    stacked_by: str,
    unit: str,
    width: int,
    nothing: str = "",
) -> barchart.Panel:
    """Return a bar for each value of the label *across*, of parts for each value of the label *stacked_by*."""
    panel = _asking(barchart.Panel(), [Asked(expression)], instant=True)
    _named(panel, title, description, width, 8, unit, nothing)
    matrix = {"columnField": stacked_by, "rowField": across, "valueField": "Value", "emptyValue": "zero"}
    _transformed(panel, [("groupingToMatrix", matrix)])
    override(panel, f"{across}\\{stacked_by}", {"unit": "string"})  # else a version 1.0 becomes 1 s
    panel.orientation(common.VizOrientation.HORIZONTAL).stacking(common.StackingMode.NORMAL)
    panel.legend(_legend()).tooltip(_tooltip()).min(0)
    return panel.color_scheme(_color(models.FieldColorModeId.PALETTE_CLASSIC_BY_NAME))


def timeline(
    title: str,
    description: str,
    asked: Asked,
    *,
    values: dict[str, tuple[str, str]],
    width: int,
    height: int,
    nothing: str = "",
) -> statetimeline.Panel:
    """Return states over time; *values* gives each a word and a colour."""
    panel = _asking(statetimeline.Panel(), [asked])
    _named(panel, title, description, width, height, "short", nothing)
    panel.show_value(common.VisibilityMode.AUTO).row_height(0.8).fill_opacity(80)
    return panel.mappings([mapping(values)]).legend(_legend()).tooltip(_tooltip())


def flame(
    title: str,
    description: str,
    expressions: Sequence[str],
    transformations: Sequence[Transformation],
    *,
    nothing: str = "",
    height: int = 14,
) -> dashboard.Panel:
    """Return a flame graph of what *expressions* give, after *transformations*."""
    panel = _asking(dashboard.Panel().type("flamegraph"), [Asked(each) for each in expressions], instant=True)
    _named(panel, title, description, TOTAL_WIDTH, height, "ns", nothing)
    return _transformed(panel, transformations)


def flame_of_trace(
    title: str, description: str, query: str, transformations: Sequence[Transformation], *, nothing: str
) -> dashboard.Panel:
    """Return a flame graph of the spans that a TraceQL query gives of one trace."""
    panel = dashboard.Panel().type("flamegraph")
    panel.datasource(TEMPO).with_target(spans(query, traces=1, of_each=MOST_SPANS))
    _named(panel, title, description, TOTAL_WIDTH, 14, "ns", nothing)
    return _transformed(panel, transformations)


def trace(title: str, description: str, query: str, *, nothing: str) -> dashboard.Panel:
    """Return the waterfall of a trace, by its id."""
    panel = dashboard.Panel().type("traces").datasource(TEMPO)
    panel.with_target(tempo.TempoQuery().query_type("traceql").query(query).ref_id("A").datasource(TEMPO))
    return _named(panel, title, description, TOTAL_WIDTH, 18, "", nothing)


def found_spans(
    title: str,
    description: str,
    query: str,
    among: str,
    transformations: Sequence[Transformation],
    overrides: Overrides,
    *,
    nothing: str,
) -> table_builders.Panel:
    """Return a table of the spans that a TraceQL search finds, one of each trace, beside what PromQL says of them."""
    panel = table_builders.Panel().datasource(MIXED).with_target(spans(query, traces=MOST_TRACES, of_each=1))
    panel.with_target(_instant(among, "B"))
    _named(panel, title, description, 16, 8, "", nothing).min_width(80)
    for name, properties in overrides.items():
        override(panel, name, properties)
    return _transformed(panel, transformations)


def log(
    title: str, description: str, query: str, *, nothing: str, height: int = 10, width: int = TOTAL_WIDTH
) -> logs.Panel:
    """Return the events that a LogQL query gives, newest first."""
    asked = loki.Dataquery().expr(query).query_type("range").max_lines(500).ref_id("A").datasource(LOKI)
    panel = _named(logs.Panel().datasource(LOKI).with_target(asked), title, description, width, height, "", nothing)
    return (
        panel.show_time(True)
        .wrap_log_message(True)
        .enable_log_details(True)
        .sort_order(common.LogsSortOrder.DESCENDING)
    )


# --- what they are made of -------------------------------------------------------------------------------------------


def spans(query: str, *, traces: int, of_each: int) -> tempo.TempoQuery:
    """Return a TraceQL search whose answer is a table of spans."""
    asked = tempo.TempoQuery().query_type("traceql").query(query).ref_id("A").datasource(TEMPO)
    return asked.table_type(SearchTableType.SPANS).limit(traces).spss(of_each)


def mapping(values: dict[str, tuple[str, str]]) -> models.ValueMap:
    """Return how values are written: each as a word in a colour."""
    return models.ValueMap(
        {
            key: models.ValueMappingResult(text, color, index=number)
            for number, (key, (text, color)) in enumerate(values.items())
        }
    )


def steps(*values: tuple[float | None, str]) -> dashboard.ThresholdsConfig:
    """Return the colours from each value on, the first from None."""
    made = [models.Threshold(value, color) for value, color in values]
    return dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(made)


def override(panel: _Builder, name: str, properties: dict[str, Any]) -> None:
    """Set properties of the field *name*."""
    panel.override_by_name(name, [models.DynamicConfigValue(key, value) for key, value in properties.items()])


def _steps(*limits: float) -> dashboard.ThresholdsConfig:
    return steps((None, GOOD if limits else NEUTRAL), *((limit, BAD) for limit in limits))


def _named(panel: Kind, title: str, description: str, width: int, height: int, unit: str, nothing: str) -> Kind:
    panel.title(title).description(description).span(width).height(height)
    if unit:
        panel.unit(unit)
    if nothing:
        panel.no_value(nothing)
    return panel


def _asking(panel: Kind, asked: Iterable[Asked], *, instant: bool = False) -> Kind:
    """Add queries to a panel: over the range shown, or with *instant* once, as a table."""
    panel.datasource(PROMETHEUS)
    for letter, each in zip("ABCDEFGH", asked, strict=False):
        query = _instant(each.expression, letter) if instant else _promql(each.expression, letter).range()
        if each.exemplars:
            query.exemplar(True)
        panel.with_target(query.legend_format(each.legend) if each.legend else query)
    return panel


def _promql(expression: str, letter: str) -> prometheus.Dataquery:
    return prometheus.Dataquery().expr(expression).ref_id(letter).datasource(PROMETHEUS)


def _instant(expression: str, letter: str) -> prometheus.Dataquery:
    """Return a query whose answer is a table."""
    return _promql(expression, letter).instant().format(PromQueryFormat.TABLE)


def _transformed(panel: Kind, transformations: Iterable[Transformation]) -> Kind:
    for name, options in transformations:
        panel.with_transformation(models.DataTransformerConfig(name, options=options))
    return panel


def _legend() -> common_builders.VizLegendOptions:
    mode, place = common.LegendDisplayMode.LIST, common.LegendPlacement.BOTTOM
    return common_builders.VizLegendOptions().display_mode(mode).placement(place).show_legend(True)


def _tooltip() -> common_builders.VizTooltipOptions:
    return common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING)


def _color(mode: models.FieldColorModeId) -> dashboard.FieldColor:
    return dashboard.FieldColor().mode(mode)
