"""The dashboards against Grafana's own types and grammars: what can be said of them without a server.

Both come from the npm packages that ``make grafana`` installs; Grafana itself does not run here.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from otel_perf.backends.dashboards import boards_of, panels_of, queries
from otel_perf.budgets import load

pytestmark = pytest.mark.slow

HERE = Path(__file__).resolve().parent / "grafana"

# The constructs that were seen to work on Tempo 2.9: a comparison with "=", select(), intrinsics and scoped attributes.
TRACEQL = {
    "TraceQL", "SpansetPipelineExpression", "SpansetPipeline", "SpansetFilter", "FieldExpression", "IntrinsicField",
    "FieldOp", "Static", "String", "Pipe", "SelectOperation", "SelectArgs", "AttributeField", "Span", "Resource",
    "Identifier",
}  # fmt: skip
# And on Loki 3.7: a selector by labels, and filters by structured metadata behind the bar.
LOGQL = {
    "LogQL", "Expr", "LogExpr", "Selector", "Matchers", "Matcher", "Identifier", "Re", "Eq", "String", "PipelineExpr",
    "PipelineStage", "Pipe", "LabelFilter",
}  # fmt: skip

# Turns the enumerations of the schema, which are types of TypeScript only, into the values that JSON has.
HEAD = """
type Plain<T> = T extends string ? `${T}` : T extends number | boolean | null | undefined ? T
  : T extends (infer U)[] ? Plain<U>[] : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;
type Some<T> = { [K in keyof T]?: T[K] extends object | undefined ? Some<T[K]> : T[K] };
import type { Dashboard } from '@grafana/schema';
"""
COMPOSABLE = "@grafana/schema/dist/esm/raw/composable"
OPTIONS = {  # where the schema has a panel's options, and those of its fields
    "timeseries": ("timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen", True),
    "stat": ("stat/panelcfg/x/StatPanelCfg_types.gen", False),
    "table": ("table/panelcfg/x/TablePanelCfg_types.gen", True),
    "state-timeline": ("statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen", True),
    "barchart": ("barchart/panelcfg/x/BarChartPanelCfg_types.gen", True),
    "logs": ("logs/panelcfg/x/LogsPanelCfg_types.gen", False),
}
TARGETS = {
    "tempo": ("tempo/dataquery/x/TempoDataQuery_types.gen", "TempoQuery"),
    "loki": ("loki/dataquery/x/LokiDataQuery_types.gen", "LokiDataQuery"),
}


OF_PROMETHEUS = ("expr", "step", "titleFormat", "tagKeys", "useValueForTime")


@pytest.fixture(scope="module")
def boards() -> list[dict[str, Any]]:
    return boards_of(load(str(HERE)))


@pytest.fixture(scope="module")
def packages() -> Path:
    """Return the folder node_modules."""
    module = _load("install")
    if shutil.which("node") is None or module.find() is None:
        pytest.skip("needs node and Grafana's libraries: make grafana")
    return module.find() / "node_modules"


@cache
def _load(name: str) -> Any:
    """Return a module of the folder grafana/, which is no package."""
    spec = importlib.util.spec_from_file_location(f"grafana_{name}", HERE / f"{name}.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def parsed(packages: Path, asked: list[dict[str, str]]) -> list[dict[str, Any]]:
    """Return what the grammars say of queries."""
    words = ["node", str(HERE / "parse.mjs"), str(packages)]
    done = subprocess.run(words, input=json.dumps(asked), capture_output=True, text=True, check=True, timeout=60)
    return json.loads(done.stdout)


def test_traceql_and_logql_parse_and_use_only_what_was_seen_to_work(packages, boards):
    """As they are sent: with variables filled in, of which a service is called as nobody should call one."""
    odd = _load("asked").chosen('shop "{a|b}" \\d', "<b>'{{}}")
    values = {
        "namespace": odd,
        "service": odd,
        "version": odd,
        "instance": ".*",
        "traceId": "00ab",
        "traceIdOfSearch": "ab",
    }
    asked = [
        {"language": query.language, "text": _load("asked").filled(query.text, 60, **chosen)}
        for query in queries(boards)
        for chosen in ({}, values)
        if query.language in ("traceql", "logql")
    ]
    assert {"traceql", "logql"} == {one["language"] for one in asked}
    for one, found in zip(asked, parsed(packages, asked), strict=True):
        unseen = set(found["nodes"]) - (TRACEQL if one["language"] == "traceql" else LOGQL)
        assert set() == unseen, one["text"]
        assert set() == set(found["operators"]) - {"="}, one["text"]


@pytest.mark.parametrize(
    "text", ["{ span.otel_perf.kind = }", "{ nestedSetLeft > 0 }", '{ name =~ "a" } | rate()', '{ name != "a" }']
)
def test_a_query_of_another_kind_would_be_seen(packages, text):
    [found] = parsed(packages, [{"language": "traceql", "text": text}])
    assert set(found["nodes"]) - TRACEQL or set(found["operators"]) - {"="}


def source_of(boards: list[dict[str, Any]]) -> str:
    """Return the TypeScript that has each dashboard, its panels' options and its queries as typed constants."""
    lines, imports = [], {}
    for kind, (file, _) in OPTIONS.items():
        imports[kind] = f"import type * as {kind.replace('-', '_')} from '{COMPOSABLE}/{file}';"
    for kind, (file, _) in TARGETS.items():
        imports[kind] = f"import type * as {kind} from '{COMPOSABLE}/{file}';"

    def typed(type_: str, value: Any) -> None:
        lines.append(f"export const c{len(lines)}: Plain<{type_}> = {json.dumps(value)};")

    for board in boards:
        typed("Dashboard", {**board, "annotations": {"list": [_plain(mark) for mark in board["annotations"]["list"]]}})
        for panel in panels_of(board):
            name = panel["type"].replace("-", "_")
            if panel["type"] in OPTIONS:
                typed(f"Some<{name}.Options>", panel.get("options", {}))
                if OPTIONS[panel["type"]][1]:
                    typed(f"Some<{name}.FieldConfig>", panel["fieldConfig"]["defaults"].get("custom", {}))
            for target in panel.get("targets", ()):
                kind = target["datasource"]["type"]
                if kind in TARGETS:
                    typed(f"Some<{kind}.{TARGETS[kind][1]}>", target)
    return "\n".join([HEAD, *imports.values(), *lines, ""])


def _plain(mark: dict[str, Any]) -> dict[str, Any]:
    """Return an annotation without what the Prometheus data source reads of it, which the schema leaves to it."""
    return {key: value for key, value in mark.items() if key not in OF_PROMETHEUS}


def complaints(packages: Path, folder: Path, source: str) -> str:
    """Return what the compiler says of *source*, empty if nothing."""
    (folder / "node_modules").symlink_to(packages)
    (folder / "dashboards.ts").write_text(source, encoding="utf-8")
    words = ["node", str(packages / "typescript" / "bin" / "tsc"), "--noEmit", "--strict", "--skipLibCheck",
             "--module", "esnext", "--moduleResolution", "bundler", "--target", "es2022", "dashboards.ts"]  # fmt: skip
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, timeout=100)
    return done.stdout + done.stderr


def test_every_dashboard_is_of_the_type_that_grafana_has_for_it(packages, boards, tmp_path):
    assert "" == complaints(packages, tmp_path, source_of(boards))


def test_a_wrong_dashboard_would_be_seen(packages, boards, tmp_path):
    broken = json.loads(json.dumps(boards))
    broken[0]["panels"][0]["fieldConfig"]["defaults"]["thresholds"]["mode"] = "relative"
    chart = next(panel for panel in panels_of(broken[0]) if panel["type"] == "timeseries")
    chart["options"]["legend"]["displayMode"] = "row"
    found = complaints(packages, tmp_path, source_of(broken))
    assert '"relative"' in found
    assert '"row"' in found
