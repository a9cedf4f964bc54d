"""Whatever bytes lie in a process's folder, whoever reads them raises nothing and writes what is valid.

Lines that are right are changed: a value here and there for one that is likely to hurt, then some bytes. ``make fuzz``
does so for much longer; what it finds is kept in tests/fuzz_corpus/, a folder each.
"""

from __future__ import annotations

import copy
import gzip
import importlib.util
import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otel_perf import budgets
from otel_perf.analysis.as_json import report_object
from otel_perf.analysis.as_markdown import report_markdown
from otel_perf.analysis.gate import judge_budgets
from otel_perf.analysis.listing import list_text
from otel_perf.analysis.loading import load_process
from otel_perf.analysis.report import report_text
from otel_perf.analysis.text import Style, cells
from otel_perf.analysis.unfinished import read_unfinished, text_of_all
from otel_perf.analysis.validation import findings
from otel_perf.errors import ConfigError
from otel_perf.export.decode import logs_of, points_of, read_lines, spans_of
from otel_perf.export.endpoint import Target
from otel_perf.export.follow.files import Folder
from otel_perf.export.follow.pace import Pace
from otel_perf.export.follow.stream import Stream
from otel_perf.export.json_values import Skipped
from otel_perf.export.runs import find_runs
from otel_perf.formats import chrome, folded, pprof, silent, speedscope
from otel_perf.formats.story import Story

TESTS = Path(__file__).resolve().parents[1]
CORPUS = TESTS / "fuzz_corpus"
WIDTH = 79
NAMES = ("traces.jsonl", "metrics.jsonl", "logs.jsonl", "open.json", "sent.json")

settings.register_profile("short", max_examples=50)
settings.register_profile("long", max_examples=int(os.environ.get("FUZZ_EXAMPLES", "20000")), print_blob=True)
fuzz = settings(
    settings.get_profile("long" if "FUZZ_EXAMPLES" in os.environ else "short"),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)

_spec = importlib.util.spec_from_file_location("hostile_run", TESTS / "faults" / "hostile_run.py")
assert _spec is not None
assert _spec.loader is not None
hostile_run = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(hostile_run)


# --- what must hold ---------------------------------------------------------------------------------------------------


def assert_readers_take(process: Path) -> None:
    """Let every reader read the folder *process*, which is the only one of its run."""
    for records_of in (spans_of, points_of, logs_of):
        for file in NAMES[:3]:  # spans among the logs, too
            for data in read_lines(str(process / file), Skipped()):
                list(records_of(data, Skipped()))
    assert_report_is_valid(process)
    assert_exports_are_valid(process)
    assert_all_is_sent(process)


def assert_report_is_valid(process: Path) -> None:
    loaded = load_process(str(process))
    for everything in (False, True):
        text = report_text(process, width=WIDTH, everything=everything)
        assert_harmless(text)
        assert max(map(cells, text.splitlines())) <= WIDTH
    assert_harmless(report_markdown(loaded))
    found = json.dumps(report_object(loaded), allow_nan=False)
    assert found.isascii()
    with suppress(ConfigError):  # a budget is in another unit than what was recorded
        judge_budgets(budgets.read("", None), loaded)
    assert all(one.severity in ("warning", "error") for one in findings(loaded))
    assert_harmless(list_text(find_runs(str(process.parents[1])), Style(WIDTH)))
    unfinished = read_unfinished(str(process))
    assert isinstance(text_of_all(unfinished), str)


def assert_harmless(text: str) -> None:
    assert [] == [one for one in text if one != "\n" and not one.isprintable()]


def assert_exports_are_valid(process: Path) -> None:
    with Story("a run") as story:
        story.read(str(process), True, silent)
        if not story.spans:
            return
        for form in (folded, speedscope, chrome, pprof):
            out = io.BytesIO()
            form.write(story, out, silent)
            content = out.getvalue()
            if form is folded:
                lines = content.decode().split("\n")[:-1]
                assert [] == [line for line in lines if not re.fullmatch(r"[^\x00-\x1f\x7f-\x9f]+ \d+", line)]
            elif form is pprof:
                gzip.decompress(content)
            else:
                json.loads(content, parse_constant=pytest.fail)


def assert_all_is_sent(process: Path) -> None:
    """Read as the follower does, in each form that it sends, to the end; what cannot be read is passed."""
    kept = (process / "sent.json").read_bytes() if (process / "sent.json").exists() else b""
    for signal in ("traces", "metrics", "logs"):
        for protocol in ("http/protobuf", "http/json"):
            (process / "sent.json").write_bytes(kept)
            folder = Folder(str(process))
            positions = folder.positions[signal]
            assert all(0 <= number < 2**63 for number in (positions.offset, positions.records, positions.sent))
            skipped = Skipped()
            stream = Stream(folder, Target(signal, "http://localhost/", protocol=protocol), False, skipped)
            for _ in range(1_000):
                batch = stream.next_batch(Pace(lambda: True))
                if batch is None:
                    break
                stream.delivered(batch, batch.count, 0)
            assert batch is None
            assert 0 == folder.waiting(signal)


@contextmanager
def folder_of(files: dict[str, bytes]) -> Iterator[Path]:
    """Give the folder of a process that has these *files*."""
    base = Path(tempfile.mkdtemp(prefix="otel-perf-fuzz-"))
    process = base / "2026-11-25T10-15-02" / "4194305"
    process.mkdir(parents=True)
    for name, content in files.items():
        (process / name).write_bytes(content)
    try:
        yield process
    finally:
        shutil.rmtree(base)


def check(files: dict[str, bytes]) -> None:
    with folder_of(files) as process:
        assert_readers_take(process)


# --- what is tried ----------------------------------------------------------------------------------------------------

SEEDS = [hostile_run.files(hostile_run.Texts(shift)) for shift in range(0, len(hostile_run.TEXTS), 5)]
HURTING: list[Any] = [
    None, True, False, 0, -1, 1, 7.5, 2**31, 2**32, 2**53 + 1, 2**63, -(2**63) - 1, 2**64, 10**30, 10**400, 1e308, -1e308,
    5e-324, float("nan"), float("inf"), "", " ", "0", "-0", "-1", "1e9", "NaN", "Infinity", str(2**63), str(2**64), "9" * 25,
    "9" * 5000, "\u0661", "\x1b[2J", "\ud800", "0" * 16, "f" * 16, "f" * 32, [], {}, [[]], [{}], [None], {"": None},
    {"key": "a"}, {"stringValue": "x"}, {"intValue": "9" * 30}, {"doubleValue": "NaN"}, {"kvlistValue": {"values": []}},
    {"arrayValue": {"values": [{"arrayValue": {}}]}}, {"values": 3}, "startup", "import x", "otel_perf.kind", 20, -20, 21,
]  # fmt: skip

edits = st.lists(
    st.tuples(
        st.integers(0, 2**16),  # which place
        st.sampled_from(["put", "remove", "double", "swap", "wrap", "rename"]),
        st.one_of(st.sampled_from(HURTING), st.integers(), st.floats(), st.text(max_size=8)),
        st.integers(0, 2**16),  # another place
    ),
    max_size=12,
)
damage = st.lists(
    st.tuples(
        st.sampled_from(["cut", "flip", "insert", "repeat", "join", "end"]),
        st.floats(0, 1),
        st.binary(min_size=1, max_size=6),
    ),
    max_size=3,
)


KEYS = [
    "resourceSpans", "scopeSpans", "spans", "resourceMetrics", "scopeMetrics", "metrics", "resourceLogs", "scopeLogs", "logRecords",
    "resource", "scope", "name", "attributes", "traceId", "spanId", "startTimeUnixNano", "endTimeUnixNano", "timeUnixNano", "gauge",
    "sum", "exponentialHistogram", "dataPoints", "asInt", "asDouble", "count", "positive", "bucketCounts", "offset", "scale", "key",
    "value", "stringValue", "version", "files", "open", "path", "since", "file", "line",
]  # fmt: skip
likely = st.recursive(
    st.sampled_from([*HURTING, *KEYS]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=25,
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Return each container of *value* with a key of its own."""
    found: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        one = waiting.pop()
        keys: list[Any] = list(one) if isinstance(one, dict) else list(range(len(one)))
        found += [(one, key) for key in keys]
        waiting += [one[key] for key in keys if isinstance(one[key], (dict, list))]
    return found


def edited(lines: list[Any], changes: list[tuple[int, str, Any, int]]) -> list[Any]:
    lines = copy.deepcopy(lines)
    for where, how, value, elsewhere in changes:
        known = places(lines)
        if not known:
            break
        container, key = known[where % len(known)]
        other, other_key = known[elsewhere % len(known)]
        if how == "put":
            container[key] = copy.deepcopy(value)
        elif how == "remove":
            del container[key]
        elif how == "double" and isinstance(container, list):
            container.insert(key, copy.deepcopy(container[key]))
        elif how == "swap":
            container[key] = copy.deepcopy(other[other_key])
        elif how == "wrap":
            container[key] = [container[key]] if where % 2 else {str(other_key): container[key]}
        elif how == "rename" and isinstance(container, dict):
            container[str(other_key)] = container.pop(key)
    return lines


def damaged(content: bytes, changes: list[tuple[str, float, bytes]]) -> bytes:
    for how, place, new in changes:
        at = int(place * len(content))
        if how == "cut":
            content = content[:at] + content[at + 40 * len(new) :]
        elif how == "flip":
            content = content[:at] + new[:1] + content[at + 1 :]
        elif how == "insert":
            content = content[:at] + new + content[at:]
        elif how == "repeat":
            content = content[:at] + content[max(0, at - 200) : at] * len(new) + content[at:]
        elif how == "join":
            content = content.replace(b"\n", b"", 1)
        else:
            content = content[:at]
    return content


def written(lines: list[Any]) -> bytes:
    return "".join(json.dumps(line) + "\n" for line in lines).encode("utf-8", "surrogatepass")


@fuzz
@given(
    st.integers(0, len(SEEDS) - 1),
    st.fixed_dictionaries(dict.fromkeys(NAMES, edits)),
    st.dictionaries(st.sampled_from(NAMES), damage),
)
def test_changed_lines_are_read_by_everybody(number, changes, broken):
    files = {name: written(edited(SEEDS[number][name], changes[name])) for name in NAMES}

    check({name: damaged(content, broken.get(name, [])) for name, content in files.items()})


@fuzz
@given(st.dictionaries(st.sampled_from(NAMES), st.binary(max_size=300)))
def test_any_bytes_are_read_by_everybody(files):
    check(files)


@fuzz
@given(st.fixed_dictionaries(dict.fromkeys(NAMES, likely)))
def test_any_json_is_read_by_everybody(files):
    check({name: written([value]) for name, value in files.items()})


@pytest.mark.parametrize("name", sorted(path.name for path in CORPUS.iterdir()))
def test_what_was_found_once_is_read_by_everybody(name):
    check({path.name: path.read_bytes() for path in (CORPUS / name).iterdir()})
