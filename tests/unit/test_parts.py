"""A file in several parts, as its readers see it."""

from __future__ import annotations

import os
import sys

import pytest

from otel_perf.export.decode import read_lines
from otel_perf.export.follow import files
from otel_perf.export.follow.files import Folder
from otel_perf.export.follow.files import read_lines as raw_lines
from otel_perf.export.json_values import Skipped
from otel_perf.export.parts import begin_of, earlier_name, open_at, parts_of


@pytest.fixture
def write(tmp_path):
    """Return a function that writes parts of traces.jsonl, each a list of lines, and gives the path of the file."""

    def parts(*contents, gaps=()):
        begin = 0
        for number, lines in enumerate(contents):
            data = b"".join(lines)
            last = number == len(contents) - 1
            name = "traces.jsonl" if last else earlier_name("traces.jsonl", begin)
            if number not in gaps:
                (tmp_path / name).write_bytes(data)
            begin += len(data)
        return str(tmp_path / "traces.jsonl")

    return parts


def numbered(*numbers):
    return [b'{"n":%d}\n' % number for number in numbers]


def numbers_in(path):
    return [data["n"] for data in read_lines(path, Skipped())]


def test_parts_are_read_in_the_order_in_which_they_were_written(write):
    assert [1, 2, 3, 4, 5] == numbers_in(write(numbered(1, 2), numbered(3), numbered(4, 5)))


def test_a_part_that_is_gone_is_a_gap_and_moves_no_offset(write):
    path = write(numbered(1, 2), numbered(3), numbered(4), numbered(5), gaps=[1])

    parts = parts_of(path)

    assert [1, 2, 4, 5] == numbers_in(path)
    assert [(0, 16), (24, 32), (32, 40)] == [(part.begin, part.end) for part in parts]
    file, at, over = open_at(path, 16)
    with file:
        assert (24, True, b'{"n":4}\n') == (at, over, file.readline())


def test_at_the_end_nothing_is_opened_but_the_part_that_is_written(write):
    path = write(numbered(1), numbered(2))

    file, at, over = open_at(path, 16)

    with file:
        assert (16, False, b"") == (at, over, file.read())
    assert open_at(path, 17) is None
    assert open_at(str(path) + "x", 0) is None


def test_lines_that_are_written_while_the_file_is_read_and_continued_are_read_once(write, tmp_path):
    path = write(numbered(1, 2, 3))
    lines = read_lines(path, Skipped())
    assert {"n": 1} == next(lines)

    os.rename(path, tmp_path / earlier_name("traces.jsonl", 0))
    write(numbered(1, 2, 3), numbered(4), numbered(5))

    assert [2, 3, 4, 5] == [data["n"] for data in lines]


def test_a_part_that_is_begun_while_the_parts_are_listed_is_among_them(write, tmp_path, monkeypatch):
    """Else what was sent would look like more than there is, and all that is kept would be sent again."""
    path = write(numbered(1, 2), numbered(3, 4))
    folder = Folder(str(tmp_path))
    folder.positions["traces"].offset = 32
    listdir = os.listdir

    def list_and_continue(where):
        found = listdir(where)
        if not os.path.exists(tmp_path / earlier_name("traces.jsonl", 16)):
            os.rename(path, tmp_path / earlier_name("traces.jsonl", 16))
            (tmp_path / "traces.jsonl").write_bytes(numbered(5)[0])
        return found

    monkeypatch.setattr(os, "listdir", list_and_continue)

    assert 32 == folder.catch_up("traces").offset
    assert [(0, 16), (16, 32), (32, 40)] == [(part.begin, part.end) for part in parts_of(path)]


def test_a_torn_end_of_an_earlier_part_costs_its_line_only(write):
    path, skipped = write([*numbered(1), b'{"n":2'], numbered(3)), Skipped()

    assert [1, 3] == [data["n"] for data in read_lines(path, skipped)]
    assert {"torn at the end": 1} == skipped.lines
    assert [b'{"n":1}\n', b'{"n":2'] == [line for line, _ in raw_lines(path, 0, 99, over=False)[0]]


@pytest.mark.parametrize("name", ["traces.jsonl", "traces.1.jsonl", "traces.00000000000000x.jsonl", "logs.000000000000000.jsonl",
                                  "traces.00000000000000²0.jsonl", "xtraces.000000000000000.jsonl"])  # fmt: skip
def test_what_is_no_part_is_none(name):
    assert -1 == begin_of(name, "traces.jsonl")


@pytest.mark.skipif(sys.platform == "win32", reason="no named pipes there")
def test_a_pipe_in_place_of_a_file_keeps_no_reader_waiting(tmp_path):
    os.mkfifo(tmp_path / "traces.jsonl")

    with pytest.raises(OSError, match="not a regular file"):
        list(read_lines(str(tmp_path / "traces.jsonl"), Skipped()))


def test_a_sender_goes_on_behind_a_gap_at_the_first_record_of_the_next_part(write, tmp_path):
    write(numbered(1, 2), numbered(3), numbered(4), numbered(5), gaps=[1])
    folder = Folder(str(tmp_path))
    at = folder.positions["traces"]
    at.offset, at.records = 18, 7  # in the middle of what is gone

    found = folder.catch_up("traces")

    assert (24, 0, 16) == (found.offset, found.records, folder.waiting("traces"))


def test_what_is_not_sent_behind_a_wide_gap_is_counted(write, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "CHUNK", 100)
    line = [b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"startTimeUnixNano":"1"}]}]}]}\n']
    write(line, 10 * line, 3 * line, line, gaps=[1])
    files.mark(str(tmp_path), ["traces"])

    assert 5 == files.unsent_records(str(tmp_path))


def test_a_sender_begins_anew_with_a_file_that_did(write, tmp_path):
    write(numbered(1))
    folder = Folder(str(tmp_path))
    folder.positions["traces"].offset = 1000

    assert 0 == folder.catch_up("traces").offset


def test_a_file_that_was_removed_and_has_grown_past_the_position_begins_anew_and_what_went_is_counted(write, tmp_path):
    path = write(numbered(1, 2, 3))
    folder = Folder(str(tmp_path))
    at = folder.catch_up("traces")
    at.offset, at.records = 16, 1
    folder.note("traces", 16, numbered(2)[0])
    os.remove(path)

    assert (16, 1, 0) == (folder.catch_up("traces").offset, at.records, folder.lost)
    write(numbered(4, 5, 6, 7, 8))

    assert (0, 0, 8) == (folder.catch_up("traces").offset, at.records, folder.lost)


def test_of_several_parts_only_the_one_that_was_removed_begins_anew(write, tmp_path):
    path = write(numbered(1, 2), numbered(3, 4))
    folder = Folder(str(tmp_path))
    folder.positions["traces"].offset = 32  # nothing was read yet: it looks itself at what lies before
    assert 32 == folder.catch_up("traces").offset
    os.remove(path)
    assert 16 == folder.catch_up("traces").offset

    folder.positions["traces"].offset = 32
    write(numbered(1, 2), numbered(5, 6))
    folder.note("traces", 32, numbered(4)[0])

    assert 16 == folder.catch_up("traces").offset


def test_a_file_that_is_continued_between_two_looks_does_not_begin_anew(write, tmp_path):
    path = write(numbered(1, 2))
    folder = Folder(str(tmp_path))
    folder.positions["traces"].offset = 16
    folder.note("traces", 16, numbered(2)[0])
    os.rename(path, tmp_path / earlier_name("traces.jsonl", 0))

    assert 16 == folder.catch_up("traces").offset
    (tmp_path / "traces.jsonl").write_bytes(numbered(3)[0])
    assert (16, 0) == (folder.catch_up("traces").offset, folder.lost)
