"""Alert rules on the real Prometheus: promtool checks and tests them, and they answer what the evaluator answers."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from otel_perf.alerts import Evaluator
from otel_perf.backends import names, yaml
from otel_perf.backends.files import write
from otel_perf.backends.rules.files import BUDGETS, SERVICES, files_of
from otel_perf.backends.rules.of_budgets import EXCEEDED, budgets_file, reads_its_metric
from otel_perf.backends.rules.of_services import REGRESSION, SILENT, STARTS, services_file
from otel_perf.backends.rules.parts import OFFSET, Links, selector, span
from otel_perf.backends.rules.proofs import Case, _series
from otel_perf.budgets import SEVERITIES, Budget, read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

pytestmark = pytest.mark.stack

DEFAULTS = read("", None)
NASTY = 'a"b{{c}}\n\\{'
ODD = 'sh"op{}{{\\\n'  # a service
OWN = [  # of every kind, with names that nobody should give
    Budget(NASTY, metric="""otel_perf.startup.phase.duration{phase="U,'{{I}}\\"}""", max="400ms", severity="info"),
    Budget("window", metric="otel_perf.startup.phase.duration{phase=UI}", max="400ms"),
    Budget("p95", metric="p95(otel_perf.function.duration{function=shop.checkout})", max="250ms", for_="5s"),
    Budget("p50", metric="p50(otel_perf.function.duration)", max="1ms", clear="1us"),
    Budget("longest", metric="otel_perf.function.duration{function=f}", max="1s"),
    Budget("writes", metric="rate(process.disk.io{disk.io.direction=write})", max="1MB", for_="3s", cooldown="1min"),
    Budget("orders", metric='orders.queued{shop=a"b}', max=10, clear=5, for_="2s"),
    Budget("cpu", metric="process.cpu.utilization", max="61%", for_="1500ms", severity="info"),
    Budget("complete", metric="otel_perf.self.dropped", max=0, severity="critical"),
    Budget("late", metric="otel_perf.self.tick.late", max=3, clear=3),
    Budget("busy", metric="otel_perf.process.cpu.usage", max=0.5, for_="3s", idle=True),
    Budget("machine", metric="system.memory.utilization{state=used}", max="90%"),
]


@pytest.fixture
def promtool(backends: dict[str, Path | None], tmp_path: Path) -> Callable[..., str]:
    """Return a function that runs promtool in a new folder and returns what it says, with *fails* only if it fails."""
    programs = backends.get("prometheus")
    if programs is None:
        pytest.skip("needs promtool: make backends")

    def run(*words: str, fails: bool = False) -> str:
        done = subprocess.run(
            [programs / "promtool", *words], cwd=tmp_path, capture_output=True, text=True, timeout=110, check=False
        )
        said = done.stdout + done.stderr
        assert fails == bool(done.returncode), said
        return said

    return run


# --- the files that are generated -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("budgets", "links"),
    [
        pytest.param(DEFAULTS, Links(), id="defaults"),
        pytest.param(OWN[:6], Links(), id="own"),
        pytest.param(OWN[6:], Links(), id="more of them"),
        pytest.param(DEFAULTS[:1] + OWN[:2], Links(services=[ODD], grafana="http://g/{", runbook="r{{"), id="service"),
        pytest.param(DEFAULTS[:1], Links(services=[ODD, "a.b"], expected=[ODD, "a.b"]), id="expected services"),
        pytest.param([], Links(), id="none"),
    ],
)  # fmt: skip
def test_rules_are_accepted_and_answer_their_tests(promtool, tmp_path, budgets, links):
    write(str(tmp_path), files_of(budgets, links))

    assert 2 == promtool("check", "rules", "--lint-fatal", f"rules/{BUDGETS}", f"rules/{SERVICES}").count("SUCCESS")
    said = promtool("test", "rules", f"tests/{BUDGETS}", f"tests/{SERVICES}")

    assert 2 == said.count("SUCCESS"), said
    assert "error" not in said.lower()  # of a rule, which fails no test


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("> 150000000)", ">= 150000000)"),
        ("<= 142500000", "<= 145000000"),
        ("for: 3s", "for: 4s"),
        ("for: 3s", "for: 2s"),
        ("{budget=\"memory\"} unless (otel_perf:budget_clear_seconds", "{budget=\"memory\"} and (otel_perf:budget_clear_seconds"),
        ("budget_clear_seconds{budget=\"memory\"} >= 3", "budget_clear_seconds{budget=\"memory\"} >= 2"),
        ("budget_twice_seconds{budget=\"memory\"} >= 3", "budget_twice_seconds{budget=\"memory\"} >= 4"),
        ("budget_exceeded_seconds{budget=\"memory\"} >= 300", "budget_exceeded_seconds{budget=\"memory\"} >= 299"),
        ("process_uptime_seconds[25s]", "process_uptime_seconds[60s]"),
        ("process_memory_usage_bytes[2s]", "process_memory_usage_bytes[1m]"),
        ("otel_perf_budget_state{budget=\"idle\"} == -1", "otel_perf_budget_state{budget=\"idle\"} == 3"),
        ("otel_perf:budget_value{budget=\"startup\"} > 2", "otel_perf:budget_value{budget=\"startup\"} > 4"),
        ("max_over_time(otel_perf:process_seen[1h])", "min_over_time(otel_perf:process_seen[1h])"),
        ("unless last_over_time(process_uptime_seconds[2m])", ""),
        ("> 1.2", "> 1.6"),
        ("(0.5, ", "(1, "),
        (">= 5", ">= 1"),
    ],
)  # fmt: skip
def test_a_rule_that_is_wrong_fails_its_test(promtool, tmp_path, right, wrong):
    """Each is one change to one of the default rules; a test that does not see it proves nothing."""
    assert_seen(promtool, tmp_path, files_of(DEFAULTS, Links()), right, wrong)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ('or\n          absent_over_time(otel_perf:process_seen{service_name="cart"}[1h])', 'unless\n          absent_over_time(otel_perf:process_seen{service_name="cart"}[1h])'),
        ('absent_over_time(otel_perf:process_seen{service_name="cart"}[1h])', 'absent(otel_perf:process_seen{service_name="cart"})'),
        ('absent_over_time(otel_perf:process_seen{service_name="cart"}[1h])', 'absent_over_time(otel_perf:process_seen{service_name="cart"}[65m])'),
        ('absent_over_time(otel_perf:process_seen{service_name="cart"}[1h])', 'absent_over_time(process_uptime_seconds{service_name="cart"}[1h])'),
        ('absent_over_time(otel_perf:process_seen{service_name="cart"}[1h])', 'absent_over_time(otel_perf:process_seen[1h])'),
        (" and on () otel_perf:services_watched offset 2m", ""),
        ('service_name: cart', 'service_name: shop'),
    ],
)  # fmt: skip
def test_a_rule_of_an_expected_service_that_is_wrong_fails_its_test(promtool, tmp_path, right, wrong):
    expected = ["shop", "cart"]
    assert_seen(promtool, tmp_path, files_of([], Links(services=expected, expected=expected)), right, wrong)


def assert_seen(promtool, tmp_path, files: dict[str, str], right: str, wrong: str) -> None:
    """Put *wrong* in the place of *right* in the one file of rules that has it, and see its test fail."""
    (path,) = [path for path, text in files.items() if path.startswith("rules/") and right in text]
    files[path] = files[path].replace(right, wrong)
    write(str(tmp_path), files)
    promtool("check", "rules", path)

    assert "FAILED" in promtool("test", "rules", path.replace("rules/", "tests/", 1), fails=True)


@pytest.mark.parametrize(
    ("lives", "second", "said"),
    [
        ("", "5m", "in the last hour: it does not run, or does not reach the collector."),
        ("0+15x8", "5m", "since 1970-01-01 00:02:00 +0000 UTC, and its last process did not say that it ended: it was killed, hangs, or does not reach the collector."),
    ],
    ids=["never", "no more"],
)  # fmt: skip
def test_alert_of_a_silent_service_says_since_when_or_that_there_was_none(promtool, tmp_path, lives, second, said):
    own = {"service_name": ODD}
    alert = {
        "eval_time": second,
        "alertname": SILENT,
        "exp_alerts": [
            {
                "exp_labels": own | {"severity": "warning"},
                "exp_annotations": {
                    "summary": f"{ODD} is silent",
                    "description": f"Nothing has come from {ODD} {said}",
                    "runbook_url": "docs/alert-rules.md#silent-service",
                    "dashboard_url": "http://127.0.0.1:3000/d/otel-perf-overview?var-service=sh%22op%7B%7D%7B%7B%5C%0A",
                },
            }
        ],
    }
    inputs = [{"series": selector("process_uptime_seconds", own), "values": lives}] if lives else []
    test = {"interval": "15s", "input_series": inputs, "alert_rule_test": [alert]}
    rules = services_file(Links(services=[ODD], expected=[ODD]))
    (tmp_path / "rules.yml").write_text(yaml.dump(rules), encoding="utf-8")
    (tmp_path / "test.yml").write_text(
        yaml.dump({"rule_files": ["rules.yml"], "evaluation_interval": "15s", "tests": [test]}), encoding="utf-8"
    )

    assert "SUCCESS" in promtool("test", "rules", "test.yml")


def test_alert_of_a_slower_start_opens_both_versions_over_the_day_that_is_compared(promtool, tmp_path):
    series = {}
    for version, seconds, wait in (("1 &", 1, ""), ("2.0", 2, "_x40 ")):
        for instance in range(STARTS):
            own = {"service_name": "shop", "service_version": version, "service_instance_id": f"{version}-{instance}"}
            series[selector("process_uptime_seconds", own)] = f"{wait}0+15x200"
            series[selector("otel_perf_startup_duration_seconds", own)] = f"{wait}{seconds}x200"
    versions = services_file(Links())["groups"][1]
    (rule,) = [rule for rule in versions["rules"] if "alert" in rule]
    rule["annotations"] = {"dashboard_url": rule["annotations"]["dashboard_url"]}
    labels = {"service_name": "shop", "service_version": "2.0", "previous_version": "1 &", "severity": "warning"}
    query = "var-service=shop&var-version=2.0&var-version=1+%26&from=now-1d&to=now"
    leads = {"dashboard_url": f"http://127.0.0.1:3000/d/otel-perf-startup?{query}"}
    expected = [{"exp_labels": labels, "exp_annotations": leads}]
    alert = {"eval_time": "15m", "alertname": REGRESSION, "exp_alerts": expected}
    inputs = [{"series": key, "values": text} for key, text in series.items()]
    test = {"interval": "15s", "input_series": inputs, "alert_rule_test": [alert]}
    (tmp_path / "rules.yml").write_text(yaml.dump({"groups": [versions]}), encoding="utf-8")
    (tmp_path / "test.yml").write_text(
        yaml.dump({"rule_files": ["rules.yml"], "evaluation_interval": "15s", "tests": [test]}), encoding="utf-8"
    )

    assert "SUCCESS" in promtool("test", "rules", "test.yml")


def test_names_with_quotes_and_braces_come_out_of_the_annotations_as_they_are(promtool, tmp_path):
    budget, service = OWN[0], 'sh"op &{{'
    links = Links(services=[service], grafana="http://g/{{", runbook="r{{.md")
    own = {"service_name": service, "service_version": "1 {{", "service_instance_id": "i"}
    series = {
        selector("process_uptime_seconds", own): "0+1x9",
        selector("otel_perf_startup_phase_duration_seconds", own | {"phase": budget.selector["phase"]}): "0.5x9",
    }
    limit = {"metric": budget.metric, "value": "500ms", "limit": "400 ms"}
    query = "var-service=sh%22op+%26%7B%7B&var-version=1+%7B%7B&var-instance=i"
    expected = limit | {
        "summary": f"{NASTY} of {service} 1 {{{{: 500ms is over 400 ms",
        "description": f"{budget.metric} of {service} 1 {{{{ (instance i) is 500ms. The limit of budget {NASTY} is 400 ms.",
        "runbook_url": "r{{.md#a-budget-of-your-own",
        "dashboard_url": f"http://g/{{{{/d/otel-perf-startup?{query}",
    }
    labels = own | {"budget": NASTY, "severity": budget.severity}
    alert = {
        "eval_time": "8s",
        "alertname": EXCEEDED,
        "exp_alerts": [{"exp_labels": labels, "exp_annotations": expected}],
    }
    inputs = [{"series": key, "values": text} for key, text in series.items()]
    test = {"interval": "1s", "input_series": inputs, "alert_rule_test": [alert]}
    (tmp_path / "rules.yml").write_text(yaml.dump(budgets_file([budget], links)), encoding="utf-8")
    (tmp_path / "test.yml").write_text(
        yaml.dump({"rule_files": ["rules.yml"], "evaluation_interval": "1s", "tests": [test]}), encoding="utf-8"
    )

    assert "SUCCESS" in promtool("test", "rules", "test.yml")


@pytest.mark.parametrize("expected", [False, True])
def test_of_two_services_of_one_name_the_one_that_is_silent_fires(promtool, tmp_path, expected):
    """They differ in their namespace."""
    lives = {"north": "0+15x8", "south": "0+15x100"}
    series = {
        selector("process_uptime_seconds", {"service_name": "shop", "service_namespace": namespace, "service_instance_id": namespace}): text
        for namespace, text in lives.items()
    }  # fmt: skip
    labels = {"severity": "warning", "service_name": "shop", "service_namespace": "north"}
    firing = selector("ALERTS", {"alertname": SILENT, "alertstate": "firing"})
    question = {
        "expr": f"sum by (severity, service_name, service_namespace) ({firing})",
        "eval_time": "10m",
        "exp_samples": [{"labels": selector("", labels), "value": 1}],
    }
    inputs = [{"series": key, "values": text} for key, text in series.items()]
    test = {"interval": "15s", "input_series": inputs, "promql_expr_test": [question]}
    rules = services_file(Links(services=["shop"], expected=["shop"] if expected else []))
    (tmp_path / "rules.yml").write_text(yaml.dump(rules), encoding="utf-8")
    (tmp_path / "test.yml").write_text(
        yaml.dump({"rule_files": ["rules.yml"], "evaluation_interval": "15s", "tests": [test]}), encoding="utf-8"
    )

    assert "SUCCESS" in promtool("test", "rules", "test.yml")


# --- the same answers as in the process -------------------------------------------------------------------------------


def judged(budget: Budget, values: list[float | None]) -> list[list[str]]:
    """Return for each second the severities that the evaluator has raised by then, the lower ones with the higher."""
    evaluator = Evaluator([budget], 0.0)
    (watch,) = evaluator.watches()
    found = []
    for moment, value in enumerate(values):
        evaluator.step(float(moment), moment * 10**9, lambda _, value=value: value, idle=True)
        lowest = SEVERITIES.index(budget.severity)
        found.append(list(SEVERITIES[lowest : watch.level + 1]) if watch.exceeded else [])
    return found


def asked(budget: Budget, sequences: list[list[float | None]]) -> dict[str, object]:
    """Return a promtool test that expects of the rules, second by second, what the evaluator says; one process each."""
    series, answers = {}, []
    for instance, values in enumerate(sequences):
        for key, text in _series(budget, Links(), Case("", values, []), 0).items():
            series[key.replace('instance_id="1"', f'instance_id="{instance}"')] = text
        answers.append(judged(budget, values))
    firing = selector("ALERTS", {"alertname": EXCEEDED, "alertstate": "firing", "budget": budget.name})
    questions = []
    for second in range(len(sequences[0])):
        expected = [
            {"labels": f'{{service_instance_id="{instance}", severity="{severity}"}}', "value": 1}
            for instance, answer in enumerate(answers)
            for severity in answer[second]
        ]
        questions.append(
            {
                "expr": f"count by (service_instance_id, severity) ({firing})",
                "eval_time": span(second) if second else "0s",
                "exp_samples": expected,
            }
        )
    end = len(sequences[0]) + OFFSET
    questions.append({"expr": "vector(1)", "eval_time": span(end), "exp_samples": [{"labels": "{}", "value": 1}]})
    inputs = [{"series": key, "values": text} for key, text in series.items()]
    return {"interval": "1s", "input_series": inputs, "promql_expr_test": questions}


def compare(promtool, tmp_path, budget: Budget, sequences: Iterable[list[float | None]]) -> list[list[list[str]]]:
    """Let promtool hold the rules of *budget* against the evaluator; return what the evaluator says."""
    sequences = list(sequences)
    (tmp_path / "rules.yml").write_text(yaml.dump(budgets_file([budget], Links())), encoding="utf-8")
    test = {"rule_files": ["rules.yml"], "evaluation_interval": "1s", "tests": [asked(budget, sequences)]}
    (tmp_path / "test.yml").write_text(yaml.dump(test), encoding="utf-8")
    said = promtool("test", "rules", "test.yml")
    assert "SUCCESS" in said, said
    return [judged(budget, values) for values in sequences]


def changes(answer: list[list[str]]) -> list[tuple[int, list[str]]]:
    """Return when an answer becomes another, and which."""
    return [(second, after) for second, (before, after) in enumerate(pairwise([[], *answer])) if before != after]


def test_c20_gives_the_same_answer_in_the_process_and_in_prometheus(promtool, tmp_path):
    budget = Budget("memory", metric="process.memory.usage", max=150, for_="3s")
    a = [151, 151, 149] * 26
    b = [151] * 5 + [149, 151] * 30 + [140] * 5
    b += [140] * (len(a) - len(b))

    of_a, of_b = compare(promtool, tmp_path, budget, [a, b])

    assert [] == changes(of_a)
    assert [(3, ["warning"]), (68, [])] == changes(of_b)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    "budget",
    [
        Budget("b", metric="process.memory.usage", max=150, for_="3s"),
        Budget("b", metric="process.memory.usage", max=150, severity="info"),
        Budget("b", metric="an.instrument.of.its.own", max=150, for_="3s", severity="info"),
        Budget("b", metric="an.instrument.of.its.own", max=150, for_="2s", cooldown="20s"),
        Budget("b", metric="otel_perf.process.cpu.usage", max=150, for_="10s", idle=True, severity="critical"),
    ],
    ids=["metric", "at once", "judged", "cooldown", "idle"],
)
def test_any_samples_give_the_same_answer_in_the_process_and_in_prometheus(promtool, tmp_path, budget, seed):
    """Values around what decides, in runs; no data among them where the process says so (a metric bridges one second)."""
    chance = random.Random(seed)
    levels = [140.0, 142.5, 143.0, 150.0, 151.0, 299.0, 300.0, 450.0]
    if not reads_its_metric(budget):
        levels.append(None)

    def sequence(seconds: int = 400) -> list[float | None]:
        found: list[float | None] = []
        likely = chance.sample(levels, 3)  # or nothing stays long enough to be escalated
        while len(found) < seconds:
            value = chance.choice(likely if chance.random() < 0.8 else levels)
            found += [value] * chance.choice((1, 1, 2, 3, 4, 11, 40))
        return found[:seconds]

    answers = compare(promtool, tmp_path, budget, [sequence() for _ in range(30)])

    assert {tuple(SEVERITIES[SEVERITIES.index(budget.severity) :][:many]) for many in range(4)} == {
        tuple(severities) for answer in answers for severities in answer
    }  # nothing that an alert can come to is missing


# --- on the running stack ---------------------------------------------------------------------------------------------

SRC = str(Path(__file__).resolve().parents[2] / "src")
UNUSUAL = [  # name, unit, kind, monotonic: what is odd about names and units
    ("shop.rate", "By/s", "gauge", False),
    ("shop.share", "1", "gauge", False),
    ("shop.ratio.of", "1", "gauge", False),
    ("shop.parts", "1", "sum", True),
    ("shop.percent", "%", "gauge", False),
    ("shop.waiting", "ms", "gauge", False),
    ("shop.total.of.orders", "{order}", "sum", True),
    ("shop.spent.total", "s", "sum", True),
    ("1st.of  all--names", "", "updown", False),
    ("shop.energy", "kW.h", "gauge", False),
    ("shop.seconds.per.unit", "s/{order}", "gauge", False),
    ("shop.spread", "s", "histogram", False),
]
ATTRIBUTES = ("cpu.mode", "1st", "a b", "_x", "__y__", "täg", "c..d", "already_fine", "Case.Kept")


def metric(name: str, unit: str, kind: str, monotonic: bool) -> dict[str, Any]:
    """Return an OTLP metric with one point, now, with all of ATTRIBUTES."""
    stamp = str(time.time_ns())
    pairs = [{"key": key, "value": {"stringValue": key}} for key in ATTRIBUTES]
    point: dict[str, Any] = {"attributes": pairs, "startTimeUnixNano": stamp, "timeUnixNano": stamp}
    if kind == "gauge":
        return {"name": name, "unit": unit, "gauge": {"dataPoints": [point | {"asDouble": 1.5}]}}
    if kind in ("sum", "updown"):
        data = {"aggregationTemporality": 2, "isMonotonic": monotonic, "dataPoints": [point | {"asDouble": 1.5}]}
        return {"name": name, "unit": unit, "sum": data}
    if kind == "histogram":
        point |= {"count": "1", "sum": 1.5, "bucketCounts": ["0", "1"], "explicitBounds": [1.0]}
    else:
        point |= {
            "count": "1",
            "sum": 1.5,
            "scale": 0,
            "zeroCount": "0",
            "positive": {"offset": 0, "bucketCounts": ["1"]},
        }
    return {"name": name, "unit": unit, kind: {"aggregationTemporality": 2, "dataPoints": [point]}}


def sent(stack: Any, service: str, metrics: list[dict[str, Any]]) -> None:
    """Send *metrics* to the collector, as those of *service*."""
    pairs = [{"key": "service.name", "value": {"stringValue": service}}]
    groups = [{"resource": {"attributes": pairs}, "scopeMetrics": [{"metrics": metrics}]}]
    request = urllib.request.Request(
        f"{stack.otlp_http}/v1/metrics", json.dumps({"resourceMetrics": groups}).encode(), {"Content-Type": "application/json"}
    )  # fmt: skip
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert b"{" == answer.read()[:1]
    except urllib.error.HTTPError as error:
        pytest.fail(f"{error}: {error.read()!r}")


@pytest.fixture
def service() -> str:
    """Return a name that no other test, and no earlier run on a stack that stays, has used; and one to be escaped."""
    return f'sh"op{{}}\\-{os.getpid()}-{time.time_ns() // 10**6}'


def test_every_name_is_what_prometheus_makes_of_it(process_stack, service):
    told = {name: (name, unit, kind, monotonic) for name, (kind, unit, monotonic) in names.TABLE.items()}
    told |= {one[0]: one for one in UNUSUAL}
    expected = {names.prometheus_name(*one) + ("_count" if one[2] == "histogram" else "") for one in told.values()}
    assert len(expected) == len(told)

    sent(process_stack, service, [metric(*one) for one in told.values()])

    chosen = f"{{service_name={names.promql_string(service)}}}"
    wanted = f'count by (__name__) ({{service_name={names.promql_string(service)}, __name__!~"target_info|.*_(bucket|sum)"}})'
    process_stack.wait_for(lambda: len(process_stack.query(wanted)) >= len(expected), "all metrics in Prometheus")
    assert expected == {series["metric"]["__name__"] for series in process_stack.query(wanted)}
    (series,) = process_stack.query(names.series_of("process.uptime") + chosen)
    own = {names.label(key): key for key in ATTRIBUTES}
    assert own == {key: text for key, text in series["metric"].items() if key in own}
    assert {"__name__", "job", "service_name", *own} == set(series["metric"])


@pytest.mark.parametrize(
    "text", ["", 'a"b', "{}", "\\", "a\nb\r\t", "\x00\x7f\x85", "ü€\u2028\ufeff😀", "'`$.*+?()[]|^"]
)
def test_strings_reach_prometheus_as_they_are(process_stack, text):
    (answer,) = process_stack.query(names.promql_string(text))
    assert text == answer["value"][1]

    labelled = f'label_replace(vector(1), "x", {names.promql_string(text.replace("$", "$$"))}, "", "")'
    matched = f'label_replace({labelled}, "y", "yes", "x", {names.promql_regex(text)})'
    (series,) = process_stack.query(matched)
    assert {"x": text, "y": "yes"} == {"x": "", **series["metric"]}


SLOW = """
    import os, time
    import otel_perf as perf
    perf.init(service=os.environ["SERVICE"], version="1.0")
    time.sleep(2.5)
    perf.ready()
    many = bytearray(200_000_000)
    time.sleep(7)
    del many
    time.sleep({rest})
"""


@pytest.mark.slow
def test_real_programs_alerts_begin_and_end_as_the_program_says(process_stack, service, tmp_path, logs_of):
    """One is too large for a while and ends cleanly, one is killed: C31. Both start too slowly."""
    ends, killed = f"{service}-ends", f"{service}-killed"
    started = {
        name: begin(process_stack, tmp_path / folder, name, rest)
        for name, folder, rest in ((ends, "a", 8), (killed, "b", 60))
    }
    try:
        assert (0, b"") == (started[ends].wait(40), started[ends].stderr.read())
        ended = time.time()
        process_stack.wait_for(lambda: firing(process_stack, killed, "startup"), "the slow start's alert", 10)
        (slow,) = [
            alert for alert in process_stack.prometheus("alerts")["alerts"] if killed in alert["labels"].values()
        ]
        started[killed].kill()
        dead = time.time()
        process_stack.wait_for(
            lambda: not firing(process_stack, ends, "startup"), "the alert is gone after a clean end", 15
        )
        process_stack.wait_for(
            lambda: not firing(process_stack, killed, "startup"), "the alert is gone after the kill", 45
        )
    finally:
        for process in started.values():
            process.kill()
            process.communicate()
    assert slow["annotations"]["summary"].startswith(f"startup of {killed} 1.0: 2.")
    assert slow["annotations"]["summary"].endswith("s is over 2 s")
    past = [firings(process_stack, name, "startup")[-1] + OFFSET + 1 for name in (ends, killed)]
    print(f"gone after a clean end {past[0] - ended:.1f} s, after the kill {past[1] - dead:.1f} s")
    assert past[0] - ended <= 10, "alive 10 s after a clean end"
    assert past[1] - dead <= 30, "alive 30 s after a kill"
    assert {("startup", "critical"), ("memory", "warning")} == severities(process_stack, ends)

    said = {
        event["name"].rpartition(".")[2]: event["time"] / 1e9
        for event in logs_of(tmp_path / "a")
        if event["attributes"].get("budget") == "memory"
    }
    raised, *_, last = firings(process_stack, ends, "memory")
    print(
        f"raised {raised - said['exceeded']:+.2f} s, resolved {last + 1 - said['resolved']:+.2f} s off the program's events"
    )
    assert abs(raised - said["exceeded"]) <= 2, (raised, said)
    assert abs(last + 1 - said["resolved"]) <= 2, (last, said)
    assert [] == [
        rule
        for group in process_stack.prometheus("rules")["groups"]
        for rule in group["rules"]
        if rule.get("lastError")
    ]


def begin(stack: Any, folder: Path, name: str, rest: float) -> subprocess.Popen[bytes]:
    """Start a program of service *name* that sends to *stack*."""
    folder.mkdir()
    (folder / "script.py").write_text(textwrap.dedent(SLOW.format(rest=rest)), encoding="utf-8")
    kept = {key: text for key, text in os.environ.items() if not key.startswith(("OTEL_", "PYTHON", "PYTEST_"))}
    own = {**kept, "PYTHONPATH": SRC, "SERVICE": name, **stack.environment()}
    return subprocess.Popen(
        [sys.executable, "script.py"], cwd=folder, env=own, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def of(name: str, budget: str) -> str:
    labels = {"alertname": EXCEEDED, "alertstate": "firing", "service_name": name}
    return selector("ALERTS", labels | ({"budget": budget} if budget else {}))


def firing(stack: Any, name: str, budget: str) -> bool:
    """Say whether Prometheus says now that an alert is firing."""
    labels = {"alertname": EXCEEDED, "service_name": name, "budget": budget}
    alerts = stack.prometheus("alerts")["alerts"]
    return any(alert["state"] == "firing" and labels.items() <= alert["labels"].items() for alert in alerts)


def firings(stack: Any, name: str, budget: str) -> list[float]:
    """Return the moments, seconds since 1970, at which an alert was firing."""
    series = stack.query(of(name, budget) + "[3m]")
    return sorted(float(at) for one in series for at, _ in one["values"])


def severities(stack: Any, name: str) -> set[tuple[str, str]]:
    """Return budget and severity of all alerts that were firing."""
    return {(one["metric"]["budget"], one["metric"]["severity"]) for one in stack.query(of(name, "") + "[3m]")}
