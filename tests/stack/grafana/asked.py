"""What Grafana sends for a query of a dashboard: variables filled in, as a request to the data source's own API.

Reading order: chosen(), filled(), request_of(), ask(). Source: formatRegistry (``regex``), macros and data sources of
Grafana 13.0.1, known from reading.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from otel_perf.backends.dashboards.language import SHORT_ID, SHORT_ID_ANSWER, TRACE

if TYPE_CHECKING:
    from otel_perf.backends.dashboards import Query

STEP = 5  # seconds between two points of a range
EVERYTHING = {
    "namespace": ".*", "service": ".+", "version": ".*", "instance": ".*", "baseline": ".*", "before": "0s", TRACE: "", SHORT_ID: "",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Request:
    """A request to a service of the stack.

    Attributes:
        service: its name, also the uid of its data source.
        path: of its API.
        parameters: of the URL.
    """

    service: str
    path: str
    parameters: dict[str, str | int | float]

    def url(self, base: str) -> str:
        """Return the URL below *base*."""
        return f"{base}{self.path}?{urlencode(self.parameters)}"


def chosen(*values: str) -> str:
    """Return what Grafana writes for ``${variable:regex}`` (escapeRegex of its formatRegistry)."""
    escaped = [re.sub(r"[\\^$*+?.()|\[\]{}/]", r"\\\g<0>", value) for value in values]
    return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"


def filled(text: str, seconds: int, **variables: str) -> str:
    """Return a query of a range of *seconds* with its variables filled in.

    Raises: AssertionError: one is left.
    """
    for name, value in {**EVERYTHING, **variables}.items():
        text = text.replace(f"${{{name}:regex}}", value).replace(f"${{{name}}}", value)
    text = (
        text.replace("$__range", f"{seconds}s")
        .replace("$__rate_interval_ms", "20000")
        .replace("$__rate_interval", "20s")
        .replace("$__interval", f"{STEP}s")
    )
    assert "${" not in text, text
    assert "$__" not in text, text
    return text


def request_of(query: Query, end: float, seconds: int, **variables: str) -> Request:
    """Return what is sent for a query when the *seconds* before *end* (seconds since 1970) are shown."""
    text = filled(query.text, seconds, **variables)
    start, whole = end - seconds, {"start": int(end - seconds), "end": int(end) + 1}
    if query.language == "label_values":
        selector, label = re.fullmatch(r"label_values\((.+),\s*([a-zA-Z_]\w*)\)", text).groups()
        return Request("prometheus", f"/api/v1/label/{label}/values", {"match[]": selector})
    if query.language == "query_result":
        return Request("prometheus", "/api/v1/query", {"query": text[len("query_result(") : -1], "time": end})
    if query.language == "promql" and query.instant:
        return Request("prometheus", "/api/v1/query", {"query": text, "time": end})
    if query.language == "promql":
        return Request("prometheus", "/api/v1/query_range", {"query": text, "start": start, "end": end, "step": STEP})
    if query.language == "traceql":
        return Request("tempo", "/api/search", {"q": text, **query.options, **whole})
    if query.language == "trace id":
        return Request("tempo", f"/api/traces/{quote(text)}", {})
    nanoseconds = {key: int(value * 10**9) for key, value in (("start", start), ("end", end))}
    return Request(
        "loki", "/loki/api/v1/query_range", {"query": text, **nanoseconds, "direction": "backward", **query.options}
    )


def ask(stack: Any, query: Query, end: float, seconds: int, **variables: str) -> list[Any]:
    """Return what the service answers to a query, whatever its language: what would be rows, lines or options.

    Raises: QueryError: it does not take it.
    """
    request = request_of(query, end, seconds, **variables)
    return rows(query, stack.get(request.url(stack.services[request.service])))


def rows(query: Query, answer: Any) -> list[Any]:
    """Return what is in the *answer* of a service to a query."""
    if query.language == "label_values":
        return answer["data"]
    if query.language == "query_result":
        return [found[1] for one in answer["data"]["result"] if (found := _ANSWER.search(_written(one)))]
    if query.language == "traceql":
        return answer.get("traces", [])
    if query.language == "trace id":
        return answer["batches"]
    return answer["data"]["result"]


_ANSWER = re.compile(SHORT_ID_ANSWER.strip("/"))


def _written(series: dict[str, Any]) -> str:
    """Return a series as the regular expression of a variable reads it."""
    labels = ",".join(f' {name}="{value}"' for name, value in series["metric"].items())
    return f"{{{labels}}} {series['value'][1]} {series['value'][0] * 1000:.0f}"
