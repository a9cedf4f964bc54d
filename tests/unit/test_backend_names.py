"""What our names become in Prometheus, Loki and Tempo; the stack's tests ask the real Prometheus about all of them."""

from __future__ import annotations

import ast
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from otel_perf.backends import names

LITERALS = [names.promql_string, names.logql_string, names.traceql_string]


@pytest.mark.parametrize(
    ("instrument", "series"),
    [
        ("process.cpu.utilization", "process_cpu_utilization_ratio"),
        ("process.memory.usage", "process_memory_usage_bytes"),
        ("process.thread.count", "process_thread_count"),
        ("process.disk.io", "process_disk_io_bytes_total"),
        ("otel_perf.process.cpu.usage", "otel_perf_process_cpu_usage"),
        ("otel_perf.score", "otel_perf_score"),
        ("otel_perf.profile.self_time", "otel_perf_profile_self_time_seconds_total"),
        ("otel_perf.alerts", "otel_perf_alerts_total"),
        ("otel_perf.function.duration", "otel_perf_function_duration_seconds"),
        ("otel_perf.startup.phase.duration", "otel_perf_startup_phase_duration_seconds"),
        ("cpython.gc.collections", "cpython_gc_collections_total"),
    ],
)
def test_our_instruments_have_the_names_that_were_seen(instrument, series):
    assert series == names.series_of(instrument)


@pytest.mark.parametrize(
    ("metric", "series"),
    [
        (("x", "By/s", "gauge", False), "x_bytes_per_second"),
        (("x.ratio", "1", "gauge", False), "x_ratio"),
        (("x", "1", "sum", True), "x_total"),
        (("x", "1", "sum", False), "x"),
        (("otel_perf.x.total", "s", "sum", True), "otel_perf_x_seconds_total"),
        (("x.seconds", "s", "gauge", False), "x_seconds"),
        (("x", "{order}", "updown", False), "x"),
        (("x", "%", "gauge", False), "x_percent"),
        (("1st", "", "gauge", False), "_1st"),
    ],
)
def test_any_metric_is_named_as_prometheus_translates_it(metric, series):
    assert series == names.prometheus_name(*metric)


def test_each_instrument_is_a_series_of_its_own_with_a_legal_name():
    found = [names.series_of(instrument) for instrument in names.TABLE]

    assert len(found) == len(set(found))
    assert all(re.fullmatch(r"[a-zA-Z_:][a-zA-Z0-9_:]*", name) for name in found)


def test_what_is_no_instrument_of_ours_is_an_error_that_says_how_else():
    with pytest.raises(ValueError, match=r"'shop.orders' is no instrument of otel-perf; give its unit and kind"):
        names.series_of("shop.orders")


@pytest.mark.parametrize("name", ["", "...", "ä"])
def test_a_name_of_which_nothing_is_left_is_an_error(name):
    with pytest.raises(ValueError, match="nothing of the"):
        names.prometheus_name(name, "", "gauge", False)
    with pytest.raises(ValueError, match="nothing of the"):
        names.label(name)


def test_attributes_are_labels_with_underscores_in_prometheus_and_loki_and_stay_in_tempo():
    assert "service_instance_id" == names.label("service.instance.id") == names.loki_name("service.instance.id")
    assert "span.otel_perf.self_ns" == names.tempo_name("otel_perf.self_ns")
    assert "resource.service.name" == names.tempo_name("service.name", "resource")
    assert 'span."a \\"b"' == names.tempo_name('a "b')


@pytest.mark.parametrize("literal", LITERALS)
@given(text=st.text())
@example(text='"} or {x="\\\n\r\t\x00\x7f\u2028\ufeff😀\\u0041')
def test_a_string_comes_out_of_its_literal_as_it_was(literal, text):
    """Python reads the escapes that are used here as Go does."""
    written = literal(text)

    assert written.isprintable()  # on one line, and nothing that an editor hides
    assert text == ast.literal_eval(written)


@given(st.text())
@example(".*+?()[]{}|^$\\")
def test_a_regular_expression_matches_its_text_and_nothing_else(text):
    pattern = re.compile(ast.literal_eval(names.promql_regex(text)))

    assert pattern.fullmatch(text)
    assert not pattern.fullmatch(text + "x")
    assert not pattern.fullmatch("x" + text)


def test_a_regular_expression_of_several_matches_each_and_nothing_else():
    pattern = re.compile(ast.literal_eval(names.promql_regex("a.b", "c|d")))

    assert all(pattern.fullmatch(text) for text in ("a.b", "c|d"))
    assert not any(pattern.fullmatch(text) for text in ("axb", "c", "d", "a.b|c|d"))


def test_a_surrogate_that_no_backend_can_have_is_replaced():
    assert '"a\ufffdb"' == names.promql_string("a\ud800b")
