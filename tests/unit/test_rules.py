"""Rules made of budgets: what each says, where it leads, and that deploy/ has those of the defaults."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_perf.backends import yaml
from otel_perf.backends.files import differing, write
from otel_perf.backends.rules.files import BUDGETS, files_of
from otel_perf.backends.rules.of_budgets import EXCEEDED, budgets_file, reads_its_metric, rules_of, value_of
from otel_perf.backends.rules.of_services import REGRESSION, SILENT, services_file
from otel_perf.backends.rules.parts import Links, literal, number, span
from otel_perf.backends.rules.proofs import written
from otel_perf.budgets import Budget, read

ROOT = Path(__file__).resolve().parents[2]
DEFAULTS = read("", None)
DASHBOARDS = {f"otel-perf-{name}" for name in ("overview", "startup", "profiling", "process", "alerts")}


def alerts(groups):
    return [rule for group in groups["groups"] for rule in group["rules"] if "alert" in rule]


def test_deploy_has_the_rules_of_the_defaults_up_to_date():
    """`otel-perf rules` in the project's folder mends it."""
    assert {} == differing(str(ROOT / "deploy" / "prometheus"), files_of(DEFAULTS, Links()))


def test_the_same_budgets_make_the_same_files():
    assert files_of(read("", None), Links()) == files_of(read("", None), Links())


def test_a_file_that_is_missing_or_changed_is_named(tmp_path):
    files = files_of(DEFAULTS, Links())
    first, second, *_ = files
    write(str(tmp_path), files)
    assert {} == differing(str(tmp_path), files)

    (tmp_path / first).unlink()
    (tmp_path / second).write_bytes((tmp_path / second).read_bytes() + b"\n")

    assert {first: "missing", second: "out of date"} == differing(str(tmp_path), files)
    assert [] == list(tmp_path.rglob("*.new"))


def test_a_file_with_the_line_ends_of_windows_is_up_to_date(tmp_path):
    files = files_of(DEFAULTS, Links())
    write(str(tmp_path), files)
    for path in files:
        (tmp_path / path).write_bytes((tmp_path / path).read_bytes().replace(b"\n", b"\r\n"))

    assert {} == differing(str(tmp_path), files)


@pytest.mark.parametrize("rule", [*alerts(budgets_file(DEFAULTS, Links())), *alerts(services_file(Links()))])
def test_every_alert_says_what_it_is_and_leads_to_its_section_and_dashboard(rule):
    notes = rule["annotations"]
    file, _, anchor = notes["runbook_url"].partition("#")
    headings = re.findall(r"^## (.*)$", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)
    dashboard = re.fullmatch(r"http://127\.0\.0\.1:3000/d/([a-z-]+)\?var-service=\{\{.*", notes["dashboard_url"])

    assert anchor in {heading.lower().replace(" ", "-") for heading in headings}
    assert dashboard is not None
    assert dashboard[1] in DASHBOARDS
    assert rule["labels"]["severity"] in ("info", "warning", "critical")
    if rule["alert"] == EXCEEDED:
        assert {"summary", "description", "metric", "value", "limit"} < set(notes)
        assert rule["labels"]["budget"] in {budget.name for budget in DEFAULTS}


def test_regression_says_that_it_compares_processes_that_ran_also_those_that_started_earlier():
    """The duration of a start is written as long as its process runs, so that it is there days after the start."""
    [rule] = [rule for rule in alerts(services_file(Links())) if rule["alert"] == REGRESSION]
    said = "the processes that ran in the last day, at least 5 of each"

    assert said in rule["annotations"]["description"]
    assert said in " ".join((ROOT / "docs" / "alert-rules.md").read_text(encoding="utf-8").split())


def test_every_default_budget_has_its_own_alerts_with_for_and_higher_severities():
    found = {}
    for rule in alerts(budgets_file(DEFAULTS, Links())):
        found.setdefault(rule["labels"]["budget"], []).append((rule["labels"]["severity"], rule.get("for")))

    assert {
        "startup": [("critical", None)],
        "idle": [("warning", "10s"), ("critical", None)],
        "memory": [("warning", "3s"), ("critical", None)],
        "monitor": [("info", "3s"), ("warning", None), ("critical", None)],
    } == found


def test_a_budget_that_is_switched_off_has_no_rule():
    files = files_of(read("otel-perf.toml", {"memory": False}), Links())

    assert "memory" not in files[f"rules/{BUDGETS}"]
    assert "memory" not in files[f"tests/{BUDGETS}"]
    assert "startup" in files[f"rules/{BUDGETS}"]


@pytest.mark.parametrize(
    ("metric", "more", "expression"),
    [
        ("process.memory.usage", {}, "sum by (P) (last_over_time(process_memory_usage_bytes[2s]))"),
        ("process.cpu.utilization", {}, "sum by (P) (last_over_time(process_cpu_utilization_ratio[2s]))"),
        ("otel_perf.self.tick.lateness", {}, "max by (P) (last_over_time(otel_perf_self_tick_lateness_seconds[2s]))"),
        (
            "rate(process.disk.io{disk.io.direction=write})",
            {},
            'sum by (P) (irate(process_disk_io_bytes_total{disk_io_direction="write"}[2500ms]))',
        ),
    ],
)
def test_a_rule_reads_the_metric_where_prometheus_has_it(metric, more, expression):
    budget = Budget("b", metric=metric, max=1, **more)

    assert reads_its_metric(budget)
    assert expression == re.sub(r"service_name, [a-z_, ]+", "P", value_of(budget, Links()))


@pytest.mark.parametrize(
    ("metric", "more"),
    [
        ("shop.orders", {}),
        ("rate(shop.orders)", {}),
        ("p95(shop.waiting)", {}),
        ("otel_perf.function.duration{function=f}", {}),
        ("rate(otel_perf.function.duration)", {}),
        ("rate(process.memory.usage)", {}),
        ("otel_perf.startup.phase.duration", {}),
        ("p95(otel_perf.startup.duration)", {}),
        ("system.memory.usage{state=used}", {}),
        ("otel_perf.process.memory.unique", {}),
        ("otel_perf.process.cpu.usage", {"idle": True}),
    ],
)
def test_a_rule_reads_what_the_process_judged_where_only_that_knows(metric, more):
    budget = Budget("b", metric=metric, max=1, **more)

    assert not reads_its_metric(budget)
    assert 'otel_perf_budget_value{budget="b"}' in value_of(budget, Links())
    assert 'otel_perf_budget_state{budget="b"} == -1' in value_of(budget, Links())


@pytest.mark.parametrize("expected", [False, True])
def test_a_service_is_escaped_and_in_every_selector_of_what_processes_send(expected):
    name = 'sh"op{}\\\n'
    links = Links(services=[name], expected=[name] if expected else [])
    text = "\n".join(
        rule["expr"]
        for file in (budgets_file(DEFAULTS, links), services_file(links))
        for group in file["groups"]
        for rule in group["rules"]
    )

    sent = re.findall(r"\b((?:otel_perf_|process_)[a-z_]+)(\{service_name=\"sh\\\"op\{\}\\\\\\n\")?", text)
    assert {"process_uptime_seconds", "process_memory_usage_bytes", "otel_perf_budget_value"} <= {
        name for name, _ in sent
    }
    assert [] == [name for name, chosen in sent if not chosen and not text.count(f":{name}")]


def test_several_services_are_chosen_by_one_regular_expression_in_every_selector():
    links = Links(services=["shop", "a.b{c}"])
    text = yaml.dump(budgets_file(DEFAULTS, links)) + yaml.dump(services_file(links))

    matchers = set(re.findall(r"service_name(=~?\"[^\"]*\")", text))

    assert {r'=~"shop|a\\.b\\{c\\}"'} == matchers


def silent(links):
    return [rule for rule in alerts(services_file(links)) if rule["alert"] == SILENT]


def test_each_service_that_is_expected_has_a_rule_of_its_own_that_needs_no_sample_of_it():
    expected = Links(services=["shop", "cart"], expected=["shop", "cart"])

    assert ["shop", "cart"] == [rule["labels"]["service_name"] for rule in silent(expected)]
    for rule in silent(expected):
        name = rule["labels"]["service_name"]
        assert f'absent_over_time(otel_perf:process_seen{{service_name="{name}"}}[1h])' in rule["expr"]
        assert "or does not reach the collector" in rule["annotations"]["description"]
    (of_all,) = silent(Links(services=["shop"]))  # of the configuration file: a tool, perhaps, that runs now and then
    assert "absent" not in of_all["expr"]
    assert "service_name" not in of_all["labels"]


def test_a_name_with_braces_is_a_label_and_no_template():
    (rule,) = silent(Links(services=["a{{b"], expected=["a{{b"]))

    assert 'a{{ "{" }}{{ "{" }}b' == rule["labels"]["service_name"]


def test_a_limit_of_nothing_is_never_exceeded_twice():
    rules = rules_of(Budget("complete", metric="otel_perf.self.dropped", max=0), Links())

    assert ["warning", "critical"] == [rule["labels"]["severity"] for rule in rules if "alert" in rule]  # by time
    assert "size" not in {rule["labels"].get("reason") for rule in rules}


def test_numbers_and_durations_are_exact():
    assert ["150000000", "0.02", "0.019", "1e+22"] == [number(value) for value in (150e6, 0.02, 0.019, 1e22)]
    assert ["1ms", "2500ms", "3s", "5m", "90s", "2h", "1d"] == [
        span(seconds) for seconds in (0.0001, 2.5, 3, 300, 90, 7200, 86400)
    ]


def test_templates_leave_literal_text_alone():
    assert "metric{phase=UI}" == literal("metric{phase=UI}")
    assert 'a{{ "{" }}{{ "{" }}b}}' == literal("a{{b}}")
    assert 'ends{{ "{" }}' == literal("ends{")


def test_samples_are_written_short():
    assert "3x4 4 _x2 1.5 1x1" == written([3, 3, 3, 3, 3, 4, None, None, 1.5, 1, 1])


# --- YAML ------------------------------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    ["true", "No", "null", "~", "1", "1e5", "0x1f", "12:30", "-", "a: b", "a #b", "#", "a:b", " a", "a ", "a\nb", "a\n", "\n", "a\n b\n\nc", "'", '"\\'],
)  # fmt: skip


@given(
    st.recursive(
        texts | st.booleans() | st.integers(-(10**9), 10**9),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
        max_leaves=12,
    ).filter(lambda value: isinstance(value, (dict, list)) and value)
)
def test_whatever_is_written_is_read_again(value):
    reader = pytest.importorskip("yaml", reason="needs pyyaml")

    text = yaml.dump(value)

    assert value == reader.safe_load(text)
    assert text.rstrip("\n").replace("\n", "").isprintable()


def test_yaml_is_written_as_people_write_it():
    rules = [{"alert": "A", "expr": 'up{a="b"}\n> 1', "for": "3s"}, {"record": "a:b", "expr": 'x{a="b"} == 1'}]
    expected = """\
groups:
  - name: otel-perf budgets
    empty: []
    rules:
      - alert: A
        expr: |-
          up{a="b"}
          > 1
        for: 3s
      - record: a:b
        expr: 'x{a="b"} == 1'
"""
    assert expected == yaml.dump({"groups": [{"name": "otel-perf budgets", "empty": [], "rules": rules}]})
