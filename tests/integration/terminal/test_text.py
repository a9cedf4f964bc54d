"""`otel-perf top` and `otel-perf flame` without a terminal: lines and text in a pipe."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from itertools import pairwise

import pytest


@pytest.mark.timed
def test_a_pipe_has_a_line_a_second_until_the_program_has_ended(program, start_program, otel_perf, tmp_path):
    program()
    top = start_program([*otel_perf, "top"], None, env={"COLUMNS": None})
    lines = [top.stdout.readline().decode() for _ in range(4)]
    (tmp_path / "much").touch()
    while "1 alert open" not in lines[-1]:
        lines.append(top.stdout.readline().decode())
    (tmp_path / "end").touch()
    rest, errors = top.communicate(timeout=20)
    lines += rest.decode().splitlines(keepends=True)

    assert (0, b"") == (top.returncode, errors)
    assert lines[0].startswith("shop 1.4.2 started in")
    clocks = [int(line[6:8]) for line in lines[1:4]]
    assert all(1 <= (later - earlier) % 60 <= 2 for earlier, later in pairwise(clocks))
    assert any(re.search(r"  \w+: backlog since \S+ \(\S+ \w+\), peak 50, limit 10, open$", line) for line in lines)
    assert re.fullmatch(r"\d\d:\d\d:\d\d  exited\n", lines[-1])


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX")
def test_whoever_has_enough_of_a_pipe_ends_it(program, otel_perf, tmp_path, clean):
    program()
    words = " ".join([*otel_perf, "top", "--interval", "0.1"])

    result = subprocess.run(["bash", "-c", f"{words} | head -2; echo ${{PIPESTATUS[0]}}"], cwd=tmp_path, env=clean, capture_output=True, timeout=20, text=True)  # fmt: skip

    assert ("0", "") == (result.stdout.splitlines()[-1], result.stderr)


def test_lines_end_with_their_number(program, output):
    program()

    status, (verdict, *lines), errors = output("top", "--count", 3, "--interval", 0.5)

    assert (0, "") == (status, errors)
    assert verdict.startswith("shop 1.4.2 started in")
    assert 3 == len(lines)
    pattern = (
        r"\d\d:\d\d:\d\d  (CPU [\d.]+ cores, )?memory [\d.]+ MB, \d+ threads, score 100, no alert; last 10 s: "
        r"\S.* \d.* m?s, __main__\.checkout \d"
    )
    assert re.match(pattern, lines[-1])


@pytest.mark.timed
def test_a_run_that_is_over_is_told_at_once(program, output, tmp_path):
    shop = program()
    (tmp_path / "end").touch()
    shop.wait()
    began = time.monotonic()

    status, lines, errors = output("top")

    assert (0, 3, "") == (status, len(lines), errors)
    assert lines[-1].endswith("  exited")
    assert time.monotonic() - began < 10


def test_a_run_that_is_not_there_is_named(output, program):
    status, lines, errors = output("top")
    assert (2, []) == (status, lines)
    assert errors.startswith("otel-perf top: no folder .otel-perf/ here; record one: otel-perf run -- python app.py")

    program()
    assert "no run 'abc' in .otel-perf/ (1 there" in output("top", "abc")[2]
    assert "no process '1' in run" in output("top", "--process", "1")[2]
    assert "write seconds from 0.1 to 86400, got 'x'" in output("top", "--interval", "x")[2]


# --- flame ---


def test_flame_shows_the_run_a_range_the_start_and_a_trace(two_runs, output):
    status, lines, errors = output("flame")
    assert (0, "") == (status, errors)
    assert re.fullmatch(r"shop 1\.4\.2: [\d.]+ m?s in \d+ call paths, the whole run", lines[0])
    assert f"run {two_runs[1]}, process " in lines[1]
    names = [line.split()[0] for line in lines[4:]]
    assert {"all", "調べる", "checkout", "price", "CoreInit"} >= set(names) >= {"all", "調べる", "checkout"}
    assert any(re.match(r"  checkout +[▏▕▌▐█]", line) for line in lines)
    assert all(len(line) <= 100 for line in lines)

    assert any("CoreInit" in line for line in output("flame", "--start", "--min", "0.1%")[1])
    assert any(re.match(r"    import http.server", line) for line in output("flame", "--start", "--min", "0")[1])
    assert output("flame", "--from", 0, "--to", 50)[1][0].endswith(", from 0 ms to 50 s of the run, to the second")
    assert output("flame", "--from", -50)[1][4:] == lines[4:]
    assert "no profiled call ended from 15 min of the run" in output("flame", "--from", 900)[2]
    assert any("[" in line and "below]" in line for line in output("flame", "--start", "--min", 0, "--depth", 1)[1])


def test_flame_shows_a_trace_by_how_its_id_begins(two_runs, output, tmp_path, spans_of):
    span = max((span for span in spans_of(tmp_path) if span["name"] == "checkout"), key=lambda span: span["start"])

    for words in (span["trace_id"], span["trace_id"][:9]):
        status, lines, errors = output("flame", "--trace", words)
        assert (0, "") == (status, errors)
        assert f"trace {span['trace_id']}" in lines[0]
        assert ["all", "checkout"] == [line.split()[0] for line in lines[4:6]]
    assert "no trace 0123456789" in output("flame", "--trace", "0123456789")[2]
    assert "write 4 to 32 hex digits" in output("flame", "--trace", "xyz")[2]


def test_flame_says_the_difference_to_another_run_in_words_and_signs(two_runs, output):
    status, lines, errors = output("flame", "--diff", two_runs[0])

    assert (0, "") == (status, errors)
    assert any(line.startswith(f"compared with run {two_runs[0]}") for line in lines)
    assert any(re.search(r"checkout .*([+−]\S+ m?s  (slower|faster)|same)", line) for line in lines)
    assert any(re.search(r"CoreInit .* (slower|faster|same) ", line) for line in output("flame", "--start", "--diff", two_runs[0])[1])  # fmt: skip
    assert "a trace is in one run only" in output("flame", "--trace", "abcd", "--diff", two_runs[0])[2]


def test_flame_says_why_there_is_nothing_to_show(output, run_program, write):
    write("empty.py", "print(1)")
    run_program([sys.executable, "empty.py"])

    status, lines, errors = output("flame")

    assert (1, []) == (status, lines)
    assert "no function is profiled: write @perf.profile" in errors
    assert "otel-perf flame --start shows the start" in errors
    assert 0 == output("flame", "--start")[0]


def test_flame_without_a_window_for_keys_is_text(two_runs, output):
    status, lines, errors = output("flame", "-i")

    assert (0, "otel-perf flame: no window for -i here; it is shown as text\n") == (status, errors)
    assert lines[0].startswith("shop 1.4.2")
