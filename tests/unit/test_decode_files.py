"""Files of a run folder, read line by line: torn, damaged, too long, or half written."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_perf.export import decode
from otel_perf.export.decode import Span, read_lines, spans_of
from otel_perf.export.json_values import Skipped

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def line(name: str = "load") -> bytes:
    span = {
        "traceId": "0123456789abcdef" * 2,
        "spanId": "0123456789abcdef",
        "name": name,
        "startTimeUnixNano": "1795000000000000001",
        "endTimeUnixNano": "1795000000000000003",
    }
    group = {"resource": {"attributes": []}, "scopeSpans": [{"scope": {"name": "otel_perf"}, "spans": [span]}]}
    return json.dumps({"resourceSpans": [group]}, separators=(",", ":")).encode() + b"\n"


def read_spans(path: str, skipped: Skipped) -> Iterator[Span]:
    for data in read_lines(path, skipped):
        yield from spans_of(data, skipped)


def read(tmp_path: Path, content: bytes) -> tuple[list[Span], Skipped]:
    path = tmp_path / "traces.jsonl"
    path.write_bytes(content)
    skipped = Skipped()
    return list(read_spans(str(path), skipped)), skipped


def test_absent_file_has_no_spans(tmp_path):
    skipped = Skipped()

    assert list(read_spans(str(tmp_path / "traces.jsonl"), skipped)) == []
    assert not skipped


def test_last_line_without_newline_is_read_if_it_is_whole(tmp_path):
    spans, skipped = read(tmp_path, line() + line().rstrip(b"\n"))

    assert len(spans) == 2
    assert not skipped


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (b"{\n", "not JSON"),
        (b"\x00\x00\x00\x00\n", "not JSON"),
        (b"\xff\xfe{}\n", "not JSON"),
        (b"null\n", "not JSON"),
        (b"[1, 2]\n", "no OTLP"),
        (b'"text"\n', "no OTLP"),
        (b'{"level": "info"}\n', "no OTLP traces"),
        (b"[" * 100_000 + b"\n", "not JSON"),
        (b"9" * 10_000 + b"\n", "not JSON"),
    ],
)
def test_damaged_line_costs_only_itself(tmp_path, damage, reason):
    spans, skipped = read(tmp_path, line() + damage + line())

    assert len(spans) == 2
    assert {reason: 1} == skipped.lines


def test_torn_last_line_is_counted_as_torn(tmp_path):
    spans, skipped = read(tmp_path, line() + line()[:-40])

    assert len(spans) == 1
    assert skipped.lines == {"torn at the end": 1}


@pytest.mark.parametrize("size", [1, 15, 30, 200, -40])
def test_whole_line_after_half_a_line_is_saved(tmp_path, size):
    """A write that the disk had no room for leaves half a line, and the next one goes on right behind it."""
    half = line("lost")[:size]

    spans, skipped = read(tmp_path, half + line("saved") + line("after"))

    assert [span.name for span in spans] == ["saved", "after"]
    assert skipped.lines == {"not JSON": 1}


def test_blank_lines_are_no_damage(tmp_path):
    spans, skipped = read(tmp_path, b"\n" + line() + b"  \r\n{}\n")

    assert len(spans) == 1
    assert not skipped


def test_line_longer_than_the_limit_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(decode, "MAX_LINE", 1_000)
    monkeypatch.setattr(decode, "CHUNK", 100)
    long = line("n" * 2_000)

    spans, skipped = read(tmp_path, long + line() + long.rstrip(b"\n"))

    assert len(spans) == 1
    assert skipped.lines == {"longer than 64 MB": 2}


def test_line_of_exactly_the_limit_is_read(tmp_path, monkeypatch):
    content = line()
    monkeypatch.setattr(decode, "MAX_LINE", len(content) - 1)

    spans, skipped = read(tmp_path, content * 2)

    assert len(spans) == 2
    assert not skipped


def test_lines_are_streamed(tmp_path):
    """The first line is there before the second is looked at."""
    path = tmp_path / "traces.jsonl"
    path.write_bytes(line())
    lines = read_lines(str(path), Skipped())

    assert "resourceSpans" in next(lines)
    with path.open("ab") as file:
        file.write(line())
    assert "resourceSpans" in next(lines)


@given(st.binary())
def test_arbitrary_bytes_never_raise(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("bytes") / "traces.jsonl"
    path.write_bytes(content + b"\n" + line())

    (*_, last) = read_spans(str(path), Skipped())

    assert last.name == "load"
