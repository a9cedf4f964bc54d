"""Charts of cells: what is a column, how high a bar is, where a limit's line is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_perf.analysis.text import Style, cells
from otel_perf.terminal.charts import Chart, chart_lines, columns, layout

SECOND = 1000.0
NOON = 1_795_000_000 * SECOND
UNICODE = Style(width=80)
ASCII = Style(width=80, ascii=True)


def at(*values, end=NOON, step=SECOND):
    """Return points, the last of them in the second of *end*."""
    return [(end - (len(values) - 1 - place) * step, value) for place, value in enumerate(values) if value is not None]


def bars(chart, height, style=UNICODE):
    left, room, _ = layout(style.width)
    return [line[left + 1 : left + 1 + room] for line in chart_lines(chart, NOON, 1.0, height, style)]


def test_a_column_is_the_highest_of_its_seconds():
    points = at(1, 9, 2, 3, 4, 5)

    assert [None, 1, 9, 2, 3, 4, 5] == columns(points, NOON, 1.0, 7)
    assert [None, 1, 9, 4, 5] == columns(points, NOON, 2.0, 5)  # a column begins at a multiple of its step


@given(st.lists(st.floats(0, 100), min_size=1, max_size=30), st.sampled_from([1.0, 2.0, 5.0]), st.integers(1, 9))
def test_columns_move_and_do_not_change(values, step, later):
    points = at(*values)
    now = columns(points, NOON, step, 40)
    then = columns(points, NOON + later * step * SECOND, step, 40)

    newest = max(place for place, value in enumerate(now) if value is not None)
    assert now[later : newest + 1] == then[: newest + 1 - later]


def test_a_sample_that_is_late_repeats_the_one_before_and_a_gap_stays_one():
    assert [1, 1, 3] == columns(at(1, None, 3), NOON, 1.0, 3)
    assert [1, 1, 1, None, None, 7] == columns(at(1, None, None, None, None, 7), NOON, 1.0, 6)


def test_bars_are_as_high_as_their_value_and_the_limit_is_a_line():
    chart = Chart("memory", ["75 MB"], at(0, 25, 50, 75, 100), [(50, "50 MB memory")])

    high, low = bars(chart, 2)

    assert ("╌╌╌▄█", " ▁▄███") == (high[-5:], low[-6:])


def test_ascii_has_the_same_chart():
    chart = Chart("memory", ["75 MB"], at(0, 25, 50, 75, 100), [(50, "50 MB memory")])

    high, low = bars(chart, 2, ASCII)

    assert ("---_#", "_:###") == (high[-5:], low[-5:])
    assert all(line.isascii() for line in chart_lines(chart, NOON, 1.0, 2, ASCII))


def test_the_line_of_a_limit_that_was_left_far_behind_is_at_the_bottom():
    chart = Chart("CPU", ["1"], at(1.0), [(0.02, "0.02 idle")])

    lines = chart_lines(chart, NOON, 1.0, 3, UNICODE)

    assert "0.02 idle" in lines[2]
    assert "╌" in lines[2]
    assert "╌" not in lines[0] + lines[1]


def test_what_never_changes_is_no_full_block():
    first, *_ = bars(Chart("threads", ["4"], at(4, 4, 4)), 3)

    assert "█" not in first


def test_a_chart_without_a_sample_is_blank():
    assert [" " * layout(80)[1]] * 3 == bars(Chart("CPU", ["–"]), 3)


def test_over_the_limit_has_another_colour_than_below_it():
    chart = Chart("memory", ["2"], at(1, 3), [(2, "2")], warns=2, over=True)

    (line,) = chart_lines(chart, NOON, 1.0, 1, Style(width=80, color=True))

    assert "\x1b[36m▃\x1b[0m\x1b[33m█\x1b[0m" in line
    assert "\x1b[33m2\x1b[0m" in line


@given(
    st.text(max_size=60),
    st.lists(st.text(max_size=60), max_size=4),
    st.lists(st.one_of(st.none(), st.floats(0, 1e15)), max_size=80),
    st.lists(st.tuples(st.floats(1e-6, 1e15), st.text(max_size=40)), max_size=3),
    st.integers(40, 200),
    st.integers(1, 6),
    st.booleans(),
)
def test_no_chart_is_wider_than_the_window(name, words, values, limits, width, height, plain):
    lines = chart_lines(Chart(name, words, at(*values), limits), NOON, 1.0, height, Style(width, ascii=plain))

    assert height == len(lines)
    assert all(cells(line) <= width for line in lines)
    assert not plain or all(line.isascii() for line in lines)


@pytest.mark.parametrize("width", range(40, 201, 20))
def test_the_parts_of_a_chart_fill_the_window(width):
    left, room, right = layout(width)

    assert width == left + 1 + room + (1 + right if right else 0)
