"""What the stack's tests send for a query of a dashboard: the request that the data source would make of it."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from otel_perf.backends.dashboards import Query, boards_of, queries
from otel_perf.budgets import read

FILE = Path(__file__).resolve().parents[1] / "stack" / "grafana" / "asked.py"
_spec = importlib.util.spec_from_file_location("grafana_asked", FILE)
asked: Any = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = asked
_spec.loader.exec_module(asked)

END, SECONDS = 1000.5, 60
ODD = 'shop "{a|b}" \\d/ü'


def test_there_is_a_request_for_every_query_and_no_variable_is_left_in_it():
    found = [asked.request_of(query, END, SECONDS) for query in queries(boards_of(read("", None)))]

    assert {"prometheus", "tempo", "loki"} == {request.service for request in found}
    assert {"/api/v1/query", "/api/v1/query_range", "/api/search", "/loki/api/v1/query_range"} < {
        request.path for request in found
    }
    assert not any(
        "$" in str(value) for request in found for value in request.parameters.values() if "$1" not in str(value)
    )


def test_a_variable_that_is_not_known_is_an_error():
    with pytest.raises(AssertionError, match="nobody"):
        asked.filled("up{a=~`${nobody:regex}`}", SECONDS)
    with pytest.raises(AssertionError, match="__from"):
        asked.filled("up > $__from", SECONDS)


@pytest.mark.parametrize("values", [[ODD], ["a.b", ODD], ["*", "(", "$"]])
def test_chosen_values_match_themselves_and_nothing_else(values):
    pattern = re.compile(asked.chosen(*values))

    assert all(pattern.fullmatch(value) for value in values)
    assert not any(pattern.fullmatch(value + "x") for value in values)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (
            Query("", "", "promql", "up{a=~`${service:regex}`}", True, ""),
            ("prometheus", "/api/v1/query", {"query": "up{a=~`s`}", "time": "1000.5"}),
        ),
        (
            Query("", "", "promql", "max_over_time(up[$__range])", False, ""),
            (
                "prometheus",
                "/api/v1/query_range",
                {"query": "max_over_time(up[60s])", "start": "940.5", "end": "1000.5", "step": "5"},
            ),
        ),
        (
            Query("", "", "label_values", "label_values(up{a=~`${service:regex}`}, b)", False, ""),
            ("prometheus", "/api/v1/label/b/values", {"match[]": "up{a=~`s`}"}),
        ),
        (
            Query("", "", "query_result", "query_result(vector(0))", False, ""),
            ("prometheus", "/api/v1/query", {"query": "vector(0)", "time": "1000.5"}),
        ),
        (
            Query("", "", "traceql", '{ trace:id = "${traceIdOfSearch}" }', False, "", {"limit": 1, "spss": 7}),
            (
                "tempo",
                "/api/search",
                {"q": '{ trace:id = "ab" }', "limit": "1", "spss": "7", "start": "940", "end": "1001"},
            ),
        ),
        (Query("", "", "trace id", "${traceId}", False, ""), ("tempo", "/api/traces/00ab", {})),
        (
            Query("", "", "logql", '{a="b"}', False, "", {"limit": 500}),
            (
                "loki",
                "/loki/api/v1/query_range",
                {"query": '{a="b"}', "limit": "500", "direction": "backward", "start": "940500000000", "end": "1000500000000"},
            ),
        ),
    ],
    ids=["at once", "over a range", "values of a label", "answer of a query", "search", "trace", "logs"],
)  # fmt: skip
def test_request_is_that_of_the_api(query, expected):
    request = asked.request_of(query, END, SECONDS, service="s", traceId="00ab", traceIdOfSearch="ab")

    url = urlsplit(request.url("http://h:1"))
    assert expected == (request.service, url.path, {key: value for key, [value] in parse_qs(url.query).items()})
