"""Answers of real backends as the data frames that Grafana's data sources make of them.

The shapes are known from reading and from the answers of an earlier day: tables have a column for each label and
``Value #A`` where there are several queries; of a TraceQL search with table type "spans" each selected attribute is a
field of strings, and name and duration are shown as ``Name`` and ``Duration``.
"""

from __future__ import annotations

import re
from typing import Any

Frame = dict[str, Any]


def field(name: str, kind: str, values: list[Any], **config: Any) -> dict[str, Any]:
    """Return a field of a frame."""
    return {"name": name, "type": kind, "values": values, "config": config}


def table(answer: list[dict[str, Any]], ref: str, several: bool) -> Frame:
    """Return an instant answer of Prometheus in the format "table"."""
    labels = sorted({key for series in answer for key in series["metric"]})
    times = [int(float(series["value"][0]) * 1000) for series in answer]
    values = [float(series["value"][1]) for series in answer]
    columns = [field(key, "string", [series["metric"].get(key, "") for series in answer]) for key in labels]
    value = field(f"Value #{ref}" if several else "Value", "number", values)
    return {"refId": ref, "fields": [field("Time", "time", times), *columns, value]}


def lines(answer: list[dict[str, Any]], ref: str, legend: str) -> list[Frame]:
    """Return a range answer of Prometheus: a frame for each series, called by the legend."""
    found = []
    for series in answer:
        labels = series["metric"]
        name = re.sub(r"\{\{(\w+)\}\}", lambda word, labels=labels: labels.get(word[1], ""), legend) or str(labels)
        times = [int(float(at) * 1000) for at, _ in series["values"]]
        values = [float(value) for _, value in series["values"]]
        value = {**field("Value", "number", values, displayNameFromDS=name), "labels": labels}
        found.append({"refId": ref, "fields": [field("Time", "time", times), value]})
    return found


def spans(found: list[dict[str, Any]], selected: tuple[str, ...]) -> Frame:
    """Return spans (of ``Stack.trace``) as a TraceQL search gives them, which has no order of its own."""
    root = next(span for span in found if span["parent_id"] is None)
    found = sorted(found, key=lambda span: span["span_id"])

    def strings(name: str) -> dict[str, Any]:
        everything = [{**span["resource"], **span["attributes"]}.get(name) for span in found]
        values = [None if value is None else str(value) for value in everything]
        return field(name, "string", values, displayNameFromDS=name)

    return {
        "refId": "A",
        "name": "Spans",
        "fields": [
            field("traceIdHidden", "string", [span["trace_id"] for span in found], custom={"hidden": True}),
            field("traceService", "string", [root["resource"]["service.name"]] * len(found), displayNameFromDS="Trace Service"),
            field("traceName", "string", [root["name"]] * len(found), displayNameFromDS="Trace Name"),
            field("spanID", "string", [span["span_id"] for span in found], displayNameFromDS="Span ID"),
            field("time", "time", [span["start"] // 10**6 for span in found], displayNameFromDS="Start time"),
            field("name", "string", [span["name"] for span in found], displayNameFromDS="Name"),
            *map(strings, sorted(selected)),
            field("duration", "number", [span["end"] - span["start"] for span in found], displayNameFromDS="Duration", unit="ns"),
        ],
    }  # fmt: skip


def logs(events: list[dict[str, Any]]) -> Frame:
    """Return log events as Loki's lines."""
    fields = [field("event", "string", [event["event_name"] for event in events]),
              field("Line", "string", [event["_msg"] for event in events])]  # fmt: skip
    return {"refId": "A", "fields": fields}


def joined(frames: list[Frame]) -> Frame:
    """Return one frame with the rows of several that have the same fields."""
    fields = [{**one, "values": [value for frame in frames for value in frame["fields"][number]["values"]]}
              for number, one in enumerate(frames[0]["fields"])]  # fmt: skip
    return {**frames[0], "fields": fields}


def selected(traceql: str) -> tuple[str, ...]:
    """Return the attributes that a query selects, without their scopes."""
    inside = re.search(r"select\((.+)\)", traceql)
    words = inside[1].split(", ") if inside else []
    return tuple(word.partition(".")[2] for word in words if "." in word)
