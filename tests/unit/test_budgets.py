"""Budgets: how they are written, what is refused and in which words, and who wins: file over default."""

from __future__ import annotations

import pytest

from otel_perf import budgets, config
from otel_perf.budgets import Budget, limit, parse_metric
from otel_perf.errors import ConfigError
from otel_perf.metrics.misnamed import misnamed
from otel_perf.metrics.names import INSTRUMENTS, WRITTEN


def load(tmp_path, text, name="otel-perf.toml"):
    (tmp_path / name).write_text(text)
    return {budget.name: budget for budget in budgets.load(str(tmp_path))}


def refused(tmp_path, text, name="otel-perf.toml"):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, name)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("written", "number", "unit"),
    [
        ("250ms", 0.25, "s"),
        ("2s", 2.0, "s"),
        (" 1.5 s ", 1.5, "s"),
        ("3min", 180.0, "s"),
        ("500us", 0.0005, "s"),
        ("2kB", 2_000, "By"),
        ("150MB", 150_000_000, "By"),
        ("1GB", 10**9, "By"),
        ("1MiB", 2**20, "By"),
        ("1.5GiB", 1.5 * 2**30, "By"),
        ("2%", 0.02, "%"),
        ("0.02 cores", 0.02, "{cpu}"),
        ("1core", 1.0, "{cpu}"),
        ("61 %", 0.61, "%"),
        ("8", 8.0, ""),
        (7, 7.0, ""),
        (0, 0.0, ""),
        (0.02, 0.02, ""),
    ],
)
def test_a_limit_carries_its_unit(written, number, unit):
    assert (pytest.approx(number), unit) == limit(written)


@pytest.mark.parametrize(
    "written", ["", "ms", "2 parsecs", "-1s", pytest.param(float("nan"), id="NaN"), "-2", -1, "1e999", "%", "1ms%"]
)
def test_what_is_no_limit_is_refused_with_an_example(written):
    with pytest.raises(ValueError, match=r"'250ms', '150MB' .* got "):
        limit(written)


@pytest.mark.parametrize("written", [None, True, [], {}])
def test_a_limit_of_another_type_is_refused_by_its_type(written):
    with pytest.raises(TypeError, match="write a number in the metric's unit"):
        limit(written)


@pytest.mark.parametrize(
    ("written", "form", "quantile", "name", "selector"),
    [
        ("process.memory.usage", "", 0.0, "process.memory.usage", {}),
        ("a.b{phase=UI}", "", 0.0, "a.b", {"phase": "UI"}),
        ("a.b{ phase = UI , kind='x, y' }", "", 0.0, "a.b", {"phase": "UI", "kind": "x, y"}),
        ('a{function="f.<locals>.g"}', "", 0.0, "a", {"function": "f.<locals>.g"}),
        ("a{function=f.<locals>.g}", "", 0.0, "a", {"function": "f.<locals>.g"}),
        ("rate(orders)", "rate", 0.0, "orders", {}),
        ("rate( orders{shop=a} )", "rate", 0.0, "orders", {"shop": "a"}),
        ("p95(a.b)", "quantile", 0.95, "a.b", {}),
        ("p99.9(a{function=f})", "quantile", 0.999, "a", {"function": "f"}),
        ("p100(a)", "quantile", 1.0, "a", {}),
        ("http.server/requests-total", "", 0.0, "http.server/requests-total", {}),
    ],
)
def test_a_metric_has_four_forms(written, form, quantile, name, selector):
    assert (form, pytest.approx(quantile), name, selector) == parse_metric(written)


@pytest.mark.parametrize(
    "written",
    ["", " ", "a b", "max(a)", "p(a)", "p101(a)", "p95 a", "p95(a", "a)", "{a=b}", "a{", "a{}", "a{b}", "a{b=}", "a{=b}",
     "a{b='c}", "a{b='c'd}", "a;b", "rate()", 7, None, ["a"]],
)  # fmt: skip
def test_what_is_no_metric_is_refused(written):
    with pytest.raises(ValueError, match=r"write name, name\{key=value\}, rate|key=value, or several"):
        parse_metric(written)


def test_without_a_file_the_defaults_are_in_force(tmp_path):
    found = {budget.name: budget for budget in budgets.load(str(tmp_path))}

    assert {
        "startup": (2.0, "s", 0.0, "critical", False),
        "idle": (0.02, "{cpu}", 10.0, "warning", "tracked"),
        "memory": (150e6, "By", 3.0, "warning", False),
        "monitor": (0.1, "s", 3.0, "info", False),
    } == {name: (b.max, b.unit, b.for_, b.severity, b.idle) for name, b in found.items()}
    assert {""} == {budget.source for budget in found.values()}


def test_a_default_is_changed_in_part_or_switched_off(tmp_path):
    found = load(tmp_path, '[budgets]\nmemory = "1GiB"\n[budgets.startup]\nmax = "1.5s"\nseverity = "info"')

    assert (1.5, "info", budgets.STARTUP) == (found["startup"].max, found["startup"].severity, found["startup"].metric)
    assert (2**30, 3.0) == (found["memory"].max, found["memory"].for_)
    assert ["startup", "idle", "monitor"] == list(load(tmp_path, "[budgets]\nmemory = false"))


def test_an_idle_budget_says_whether_it_waits_for_tracked_work(tmp_path):
    found = load(tmp_path, '[budgets]\nidle = "5%"\n[budgets.queue]\nmetric = "q"\nmax = 1\nidle = true')

    assert (0.05, "tracked", True) == (found["idle"].max, found["idle"].idle, found["queue"].idle)
    assert load(tmp_path, "[budgets.idle]\nidle = true")["idle"].idle is True


def test_a_budget_of_ones_own_has_all_its_parts(tmp_path):
    text = """
    [budgets.checkout]
    metric = "p95(otel_perf.function.duration{function=shop.checkout})"
    max = "250ms"
    for = "10s"
    clear = "200ms"
    cooldown = "1min"
    severity = "critical"
    """
    found = load(tmp_path, text)["checkout"]

    assert (0.25, 10.0, 0.2, 60.0, "critical") == (found.max, found.for_, found.clear, found.cooldown, found.severity)
    assert ("quantile", 0.95, {"function": "shop.checkout"}) == (found.form, found.quantile, found.selector)
    assert "otel-perf.toml, [budgets.checkout]" == found.source


def test_it_clears_five_percent_below_its_limit_unless_it_says(tmp_path):
    assert (pytest.approx(1.9), 0.0) == (Budget("a", metric="b", max=2).clear, Budget("a", metric="b", max=2).cooldown)


def test_pyproject_is_read_where_there_is_no_file_of_ours(tmp_path):
    text = '[tool.otel-perf]\nservice = "a"\n[tool.otel-perf.budgets.startup]\nmax = "1s"'
    found = load(tmp_path, text, "pyproject.toml")

    assert (1.0, "pyproject.toml, [tool.otel-perf.budgets.startup]") == (found["startup"].max, found["startup"].source)
    assert 3.0 == load(tmp_path, '[budgets]\nstartup = "3s"')["startup"].max


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[budgets.startup]\nmax = 0", "budget 'startup': max must be greater than 0, got 0; write max = '2s'"),
        ('[budgets.startup]\nmax = "150MB"', "is in seconds; write max = '250ms'"),
        ('[budgets.startup]\nmax = "soon"', "'150MB' (kB MB GB MiB GiB) or '61%'; got 'soon'"),
        ("[budgets.startup]\nmax = []", "budget 'startup': max: write a number in the metric's unit"),
        ('[budgets.startup]\nlimit = "2s"', "'limit' is no part of a budget, which has metric, max, for"),
        ('[budgets.ui]\nmax = "2s"', "budget 'ui': metric is missing"),
        ('[budgets.ui]\nmetric = "a"', "budget 'ui': max is missing"),
        ('[budgets.ui]\nmetric = "a b"\nmax = 1', "budget 'ui': metric: write name, name{key=value}"),
        ('[budgets.ui]\nmetric = "a"\nmax = 1\nclear = 2', "clear must not be above max, got 2 above 1"),
        ('[budgets.ui]\nmetric = "a"\nmax = 1\nfor = "x"', "budget 'ui': for: a duration must be"),
        ('[budgets.ui]\nmetric = "a"\nmax = 1\nseverity = "bad"', "severity is one of info, warning, critical"),
        ('[budgets.ui]\nmetric = "a"\nmax = 1\nidle = "yes"', "idle is true, false or 'tracked', got 'yes'"),
        ('[budgets]\nui = "2s"', "budget 'ui': a table is expected, not a string"),
        ("[budgets]\nui = false", "false switches off startup, idle, memory, monitor only"),
        ("budgets = 3", "budgets is a table, not a value of type int; write [budgets.startup]"),
        ("[budgets", "otel-perf.toml: "),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_its_place(tmp_path, text, says):
    message = refused(tmp_path, text)

    assert says in message
    assert "otel-perf.toml" in message
    assert "taking" not in message


def test_settings_hand_on_the_table_and_do_not_call_it_unknown(tmp_path):
    (tmp_path / "otel-perf.toml").write_text('[budgets.startup]\nmax = "1s"')

    settings = config.load({}, {}, str(tmp_path))

    assert (("otel-perf.toml", {"startup": {"max": "1s"}}), []) == (settings.budgets, settings.complaints)
    assert 1.0 == budgets.startup_limit(budgets.read(*settings.budgets))


def test_budgets_are_equal_by_what_they_say():
    assert Budget("a", metric="b", max="1s") == Budget("a", metric="b", max="1000ms")
    assert Budget("a", metric="b", max="1s") != Budget("a", metric="b", max="2s")


# --- from Python -----------------------------------------------------------------------------------------------------


@pytest.fixture
def _no_budgets_of_the_program(monkeypatch):
    monkeypatch.setattr(budgets, "own", {})


@pytest.mark.usefixtures("_no_budgets_of_the_program")
def test_a_budget_of_the_program_wins_over_the_file_and_the_file_over_the_default():
    file = {"memory": "300MB", "startup": "3s", "queue": {"metric": "q", "max": 5}}
    budgets.budget("memory", metric="process.memory.usage", max="1GB")
    made = budgets.budget("checkout", metric="p95(f{function=pay})", max="250ms", severity="info", idle=True)

    found = {budget.name: budget for budget in budgets.in_force("otel-perf.toml", file)}

    assert ["startup", "idle", "memory", "monitor", "queue", "checkout"] == list(found)
    assert (3.0, 1e9, 5.0) == (found["startup"].max, found["memory"].max, found["queue"].max)
    assert found["checkout"] is made
    assert (0.0, pytest.approx(0.2375), 0.0, "info", True) == (
        made.for_, made.clear, made.cooldown, made.severity, made.idle
    )  # fmt: skip
    budgets.budget("checkout", metric="q", max=1)
    assert 1 == {budget.name: budget for budget in budgets.in_force("", None)}["checkout"].max


@pytest.mark.usefixtures("_no_budgets_of_the_program")
def test_a_wrong_budget_of_the_program_is_refused_at_its_line_and_leaves_nothing():
    with pytest.raises(ValueError, match=r"budget 'a': max: write a number .* got '2 parsecs' \(test_budgets.py:\d+\)"):
        budgets.budget("a", metric="m", max="2 parsecs")
    with pytest.raises(TypeError, match="a budget's name is a str, not int"):
        budgets.budget(3, metric="m", max=1)

    assert {} == budgets.own


@pytest.mark.parametrize(
    ("for_", "seconds", "held"),
    [("3s", 3.0, True), ("3s", 2.95, True), ("3s", 2.85, False), ("100ms", 0.095, True), ("100ms", 0.05, False),
     (0, 0.0, True)],
)  # fmt: skip
def test_a_tick_that_is_a_little_early_counts(for_, seconds, held):
    assert held == Budget("a", metric="b", max=1, for_=for_).held(seconds)


@pytest.mark.parametrize(
    ("metric", "says"),
    [
        ("process.memory.usge", "there is no 'process.memory.usge'; did you mean 'process.memory.usage'?"),
        ("rate(process.cpu.times)", "did you mean 'process.cpu.time'?"),
        ("p95(otel_perf.function.durations{function=f})", "did you mean 'otel_perf.function.duration'?"),
        ("system.x", "docs/metrics.md lists all names"),
        *((name, "") for name in (*INSTRUMENTS, *WRITTEN)),
        ("orders", ""),
        ("http.server.request.duration", ""),
    ],
)
def test_a_name_that_begins_as_ours_and_is_none_is_told_with_the_nearest(metric, says):
    found = misnamed(Budget("b", metric=metric, max=1))

    assert says in found
    assert bool(says) == bool(found)
