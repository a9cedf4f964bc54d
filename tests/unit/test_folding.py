"""follow/folding.py: bounded series of call paths whose sum grows by what the paths grew by."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_perf.export.follow.folding import METRICS, Profiles

Row = tuple[int, float, float]  # calls, time, self time
NAMES = list(METRICS)


def point(path: str, value: float, time: int, function: str = "", overflow: bool = False) -> dict[str, Any]:
    pairs = [
        {"key": "path", "value": {"stringValue": path}},
        {"key": "function", "value": {"stringValue": function or path.rpartition(";")[2]}},
        {"key": "depth", "value": {"intValue": str(path.count(";"))}},
    ]
    if overflow:
        pairs.append({"key": "otel.metric.overflow", "value": {"boolValue": True}})
    shown = {"asInt": str(value)} if isinstance(value, int) else {"asDouble": value}
    return {"attributes": pairs, "startTimeUnixNano": "1", "timeUnixNano": str(time), **shown}


class Sent:
    """What a backend holds of the profile's metrics.

    Attributes:
        values: of each series that has one, by path and metric.
        last: the same, of series that ended too.
        words: attributes of each path.
    """

    def __init__(self, limit: int) -> None:
        self.profiles = Profiles(limit)
        self.values: dict[tuple[str, str], float] = {}
        self.last: dict[tuple[str, str], float] = {}
        self.words: dict[str, dict[str, Any]] = {}
        self.time = 1

    def snapshot(self, rows: dict[str, Row], overflow: bool = False) -> list[dict[str, Any]]:
        """Send one snapshot; return the metrics."""
        self.time += 1
        for number in range(3):
            for path, values in rows.items():
                assert self.profiles.take(number, point(path, values[number], self.time, overflow=overflow))
        return self.receive()

    def receive(self) -> list[dict[str, Any]]:
        metrics = self.profiles.fold()
        for metric in metrics:
            for one in metric["sum"]["dataPoints"]:
                words = {pair["key"]: next(iter(pair["value"].values())) for pair in one["attributes"]}
                self.words[words["path"]] = words
                key = words["path"], metric["name"]
                if one.get("flags") == 1:
                    del self.values[key]
                    continue
                value = float(one.get("asInt", one.get("asDouble")))
                assert value >= self.last.get(key, 0.0) - 1e-9, f"{key} falls"
                self.values[key] = self.last[key] = value
        return metrics

    def paths(self) -> set[str]:
        return {path for path, _ in self.values}

    def total(self, name: str) -> float:
        return sum(value for (_, each), value in self.last.items() if each == name)


def test_path_is_eight_digits_a_frame_and_begins_with_its_parents_and_is_the_same_in_every_process():
    sent = Sent(500)
    sent.snapshot({"main": (1, 3.0, 1.0), "main;load": (2, 2.0, 2.0), "load": (1, 1.0, 1.0)})

    assert {
        "bf28cd64": {"path": "bf28cd64", "function": "main", "depth": "0"},
        "bf28cd64.2506e41d": {"path": "bf28cd64.2506e41d", "function": "load", "depth": "1"},
        "2506e41d": {"path": "2506e41d", "function": "load", "depth": "0"},
    } == sent.words
    assert {"main": 3.0, "load": 2.0} == {
        sent.words[path]["function"]: value
        for (path, name), value in sent.values.items()
        if name == "otel_perf.profile.time" and path.startswith("bf28cd64")
    }


def test_what_is_not_among_the_paths_with_most_self_time_is_one_series():
    sent = Sent(2)
    sent.snapshot({f"f{number}": (number, float(number), float(number)) for number in range(1, 6)})

    assert {"f5", "f4", "(other)"} == {words["function"] for words in sent.words.values()}
    assert 6.0 == sent.values["overflow", "otel_perf.profile.self_time"]
    assert True is sent.words["overflow"]["otel.metric.overflow"]
    assert "0" == sent.words["overflow"]["depth"]


def test_limit_of_zero_sends_the_sum_alone():
    sent = Sent(0)
    sent.snapshot({"a": (1, 1.0, 1.0), "b": (1, 2.0, 2.0)})

    assert {"overflow"} == sent.paths()
    assert 3.0 == sent.total("otel_perf.profile.time")


def test_newcomer_takes_the_place_of_the_smallest_only_with_more_than_twice_its_self_time():
    sent = Sent(1)
    sent.snapshot({"a": (1, 1.0, 1.0)})
    sent.snapshot({"b": (1, 2.0, 2.0)})
    assert {"a", "(other)"} == {sent.words[path]["function"] for path in sent.paths()}

    metrics = sent.snapshot({"b": (2, 2.5, 2.5)})

    assert {"b", "(other)"} == {sent.words[path]["function"] for path in sent.paths()}
    ended = [one for one in metrics[0]["sum"]["dataPoints"] if one.get("flags") == 1]
    assert ["a"] == [one["attributes"][1]["value"]["stringValue"] for one in ended]
    assert {"attributes", "startTimeUnixNano", "timeUnixNano", "flags"} == ended[0].keys()
    path = next(path for path, words in sent.words.items() if words["function"] == "b")
    assert 0.5 == sent.values[path, "otel_perf.profile.time"], "it begins when it is chosen"
    assert 2.0 == sent.values["overflow", "otel_perf.profile.time"], "what it had stays where it was counted"
    sent.snapshot({"a": (2, 1.25, 1.25)})
    assert 2.25 == sent.values["overflow", "otel_perf.profile.time"]


def test_path_above_is_always_sent_and_goes_with_the_last_one_below():
    sent = Sent(1)
    sent.snapshot({"main": (1, 2.0, 0.0), "main;a": (1, 1.0, 1.0), "main;b": (1, 0.5, 0.5)})
    assert {"main", "a", "(other)"} == {sent.words[path]["function"] for path in sent.paths()}

    sent.snapshot({"other": (1, 5.0, 5.0)})

    assert {"other", "(other)"} == {sent.words[path]["function"] for path in sent.paths()}


def test_function_that_has_not_returned_is_sent_with_the_time_of_its_children():
    sent = Sent(500)
    sent.snapshot({"serve;request;a": (1, 1.0, 1.0), "serve;request;b": (2, 3.0, 3.0)})
    by_function = {words["function"]: path for path, words in sent.words.items()}
    for name in ("serve", "request"):
        assert (0, 4.0, 0.0) == tuple(sent.values[by_function[name], each] for each in NAMES)

    sent.snapshot({"serve;request": (1, 4.5, 0.5)})  # it returns: what it took is no more than it says

    assert (1, 4.5, 0.5) == tuple(sent.values[by_function["request"], each] for each in NAMES)
    assert (0, 4.5, 0.0) == tuple(sent.values[by_function["serve"], each] for each in NAMES)


def test_functions_of_one_name_on_one_path_are_one_series():
    sent = Sent(500)
    for number in range(3):
        for function in ("shop.load", "stock.load"):
            value = (2, 1.5, 1.5)[number]
            assert sent.profiles.take(number, point("load", value, 2, function))
    sent.receive()

    assert [4, 3.0, 3.0] == [sent.values["2506e41d", name] for name in NAMES]


def test_recorders_own_overflow_is_part_of_ours():
    sent = Sent(500)
    sent.snapshot({"otel_perf.overflow;deep": (3, 1.0, 1.0)}, overflow=True)

    assert {"overflow"} == sent.paths()
    assert 3 == sent.total("otel_perf.profile.calls")


def test_values_of_a_path_on_different_lines_are_counted_once_they_are_all_there():
    sent = Sent(500)
    sent.profiles.take(0, point("a", 1, 2))
    sent.profiles.take(1, point("a", 1.0, 2))
    assert [] == sent.receive()

    sent.profiles.take(2, point("a", 0.5, 2))
    sent.receive()

    assert (1, 1.0, 0.5) == tuple(sent.total(name) for name in NAMES)


@pytest.mark.parametrize(
    "damaged",
    [{}, {"attributes": None}, {"attributes": [{"key": "path"}]}, {"attributes": [3]}, point("a", -1, 2), point("a", float("nan"), 2)],
    ids=str,
)  # fmt: skip
def test_point_that_is_none_is_refused(damaged):
    assert not Profiles(5).take(0, damaged)


def test_path_that_is_too_deep_is_part_of_the_overflow():
    sent = Sent(500)
    sent.snapshot({";".join("f" * 100_000): (1, 1.0, 1.0)})

    assert {"overflow"} == sent.paths()


# --- laws ------------------------------------------------------------------------------------------------------------

TREE = ["a", "a;x", "a;x;p", "a;x;q", "a;y", "b", "b;x", "c", "d", "e;never;f"]
growth = st.tuples(st.integers(1, 3), st.sampled_from([0.0, 0.25, 1.0, 8.0]), st.sampled_from([0.0, 0.5, 4.0, 64.0]))
snapshots = st.lists(st.dictionaries(st.sampled_from(TREE), growth, min_size=1), max_size=12)


@settings(max_examples=300)
@given(snapshots, st.integers(0, 4), st.booleans())
def test_sum_of_all_series_grows_by_what_the_paths_grew_by_and_no_series_falls(steps, limit, whole_tree):
    """Except for the time of what has not returned, which its children say in advance."""
    sent, values = Sent(limit), dict.fromkeys(TREE, (0, 0.0, 0.0))
    for step in steps:
        changed = {}
        for path, more in step.items():
            names = path.split(";")
            above = [";".join(names[: end + 1]) for end in range(len(names))] if whole_tree else [path]
            for one in above:  # a path's row is never there without those above it, once they have returned
                values.setdefault(one, (0, 0.0, 0.0))
                added = more if one == path else (0, 0.0, 0.0)
                values[one] = tuple(old + new for old, new in zip(values[one], added, strict=True))
                changed[one] = values[one]
        sent.snapshot(changed)
        calls, time, own = (sum(row[number] for row in values.values()) for number in range(3))
        ahead = sum(node.ahead for node in sent.profiles._nodes.values())
        assert calls == sent.total("otel_perf.profile.calls")
        assert own == pytest.approx(sent.total("otel_perf.profile.self_time"))
        assert time + ahead == pytest.approx(sent.total("otel_perf.profile.time"))
        if whole_tree:
            assert 0.0 == ahead
        assert_bounded(sent, limit)


def assert_bounded(sent: Sent, limit: int) -> None:
    """At most *limit* paths and those above them, none without its parent, each with all three values."""
    paths = sent.paths() - {"overflow"}
    leaves = [path for path in paths if not any(other.startswith(path + ".") for other in paths)]
    assert len(leaves) <= limit
    assert all(path.rpartition(".")[0] in paths for path in paths if "." in path)
    assert {3} >= set(Counter(path for path, _ in sent.values).values())
