"""What a file that is to be imported is: known by its content, and what is none of the formats is refused by name."""

from __future__ import annotations

import io
import json
import marshal
import os
import tempfile

import pytest

from otel_perf.errors import UserError
from otel_perf.export.json_values import Skipped
from otel_perf.formats import silent
from otel_perf.formats.foreign import FORMATS
from otel_perf.formats.foreign.source import HEAD, Source, guess, opened

SPANS = {"resourceSpans": [{"scopeSpans": [{"spans": [{"name": "a"}]}]}]}


def source(data):
    return Source("the file", "file", io.BytesIO(data))


KNOWN = {
    "log": ("importtime", b"import time: self [us] | cumulative | imported package\nimport time:  1 |  1 | a\n"),
    "log in colours": ("importtime", b"\x1b[31mred\x1b[0m\n" * 50 + b"import time:       126 |        126 |   _io\n"),
    "log of Windows": ("importtime", b"import time:       -26 |        126 | a 1\r\n"),
    "profile": ("pstats", marshal.dumps({("a", 1, "b"): (1, 1, 0.5, 0.5, {})})),
    "profile of Python 2": ("pstats", marshal.dumps({("a", 1, "b"): (1, 1, 0.5, 0.5, {})}, 2)),
    "stack": ("folded", b"main;load 12345\n"),
    "many stacks": ("folded", "größe;x 1\n".encode() * 9999),
    "stack of Windows": ("folded", b"main 1.5\r\n"),
    "stacks with a bad line": ("folded", b"\n\nmain;a (app.py:7) 3\nbad\nmain;b (app.py:9) 3\nmain 4\n"),
    "spans": ("otlp", json.dumps(SPANS).encode()),
    "logs": ("otlp", b'\n {"resourceLogs"\n: []}'),
    "list": ("otlp", b'[\n{"schemaUrl": "", "resourceMetrics": []}]'),
    "protobuf": ("otlp", b"\x0a\x03\x12\x01x" * 3),
    "framed": ("otlp", (5).to_bytes(4, "big") + b"\x0a\x03\x12\x01x"),
    "framed and torn": (
        "otlp", (5).to_bytes(4, "big") + b"\x0a\x03\x12\x01x" + (90).to_bytes(4, "big") + b"\x0a\x58torn"
    ),
}  # fmt: skip
UNKNOWN = {
    "empty": b"",
    "blank": b"\n",
    "text": b"hello\nworld 5\nthis is\nno stack 7\nat all\n",
    "Chrome's trace": b'{"traceEvents": []}',
    "program": b"\x7fELF\x02\x01\x01" + bytes(100),
    "picture": b"\x89PNG\r\n\x1a\n" + bytes(range(150, 200)),
    "endless length": b"\x0a\xff\xff\xff\xff\xff\xff",
    "length and text": (2**31).to_bytes(4, "big") + b"hello",
    "zeros": bytes(1000),
}


@pytest.mark.parametrize("what", KNOWN)
def test_format_is_known_by_content(what):
    form, data = KNOWN[what]

    assert form == guess(source(data))


@pytest.mark.parametrize("what", UNKNOWN)
def test_what_is_none_of_them_is_refused_and_all_are_named(what):
    with pytest.raises(UserError) as error:
        guess(source(UNKNOWN[what]))

    assert 2 == error.value.exit_code
    assert all(name in error.value.message for name in FORMATS)
    assert "--format" in error.value.message
    assert ("is empty" in error.value.message) == (what == "empty")


@pytest.mark.parametrize(
    ("data", "mend"),
    [
        (b"\x1f\x8b\x08rest", "gzip -dc the file | otel-perf import -"),
        (b"\x28\xb5\x2f\xfdrest", "zstd -dc the file | otel-perf import -"),
        (b"PK\x03\x04rest", "unzip -p the file | otel-perf import -"),
        ("import time: 1 | 1 | a".encode("utf-16"), "UTF-8"),
    ],
)
def test_what_has_to_be_unpacked_first_is_said(data, mend):
    with pytest.raises(UserError) as error:
        guess(source(data))

    assert mend in error.value.message


def test_only_the_head_of_a_large_file_is_looked_at():
    class Counting(io.BytesIO):
        total = 0

        def read(self, size=-1):
            found = super().read(size)
            Counting.total += len(found)
            return found

    assert "folded" == guess(Source("x", "x", Counting(b"main;load 12345\n" * 100_000)))
    assert HEAD == Counting.total


def test_lines_that_are_too_long_are_counted_and_told_of():
    skipped, told = Skipped(), []
    data = b"one\n" + b"x" * 2**21 + b"\n" + b"two\n" + b"y" * 2**21

    found = list(source(data).lines(skipped, lambda *words: told.append(words)))

    assert [b"one\n", b"two\n"] == found
    assert {"longer than 1 MiB": 2} == skipped.lines
    assert ("reading the file", 0, len(data)) == told[0]


def test_what_can_be_read_only_once_is_copied(tmp_path):
    read, write = os.pipe()
    os.write(write, b"main 5\n")
    os.close(write)

    with opened(f"/dev/fd/{read}", silent) as found:
        assert "folded" == guess(found)
        assert [b"main 5\n"] == list(found.lines(Skipped(), silent)) == list(found.lines(Skipped(), silent))
    os.close(read)


def test_no_room_for_the_copy_names_the_folder(monkeypatch):
    class Full:
        def write(self, data):
            raise OSError(28, "No space left on device")

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

    read, write = os.pipe()
    os.write(write, b"main 5\n")
    os.close(write)
    monkeypatch.setattr(tempfile, "TemporaryFile", Full)
    with (
        pytest.raises(UserError, match=r"cannot keep a copy in .*TMPDIR names another folder") as error,
        opened(f"/dev/fd/{read}", silent),
    ):
        pass
    os.close(read)

    assert 1 == error.value.exit_code
