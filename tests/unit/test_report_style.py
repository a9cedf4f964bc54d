"""Numbers as people read them; widths, colours and characters as the terminal and the environment ask for."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_perf.analysis import text
from otel_perf.analysis.text import bytes_of, cells, clean, count, cut, duration, share, style_for, wrap

# --- colours and characters -----------------------------------------------------------------------------------


class Stream(io.StringIO):
    """A stream that says of itself what a test wants; it has no file descriptor, as an IDE's console."""

    def __init__(self, tty=True, encoding="utf-8"):
        super().__init__()
        self.tty, self.named = tty, encoding

    encoding = property(lambda self: self.named)

    def isatty(self):
        return self.tty


@pytest.mark.parametrize(
    ("tty", "environ", "color"),
    [
        (True, {"TERM": "xterm"}, True),
        (False, {"TERM": "xterm"}, False),
        (True, {"TERM": "dumb"}, False),
        (True, {"TERM": "xterm", "NO_COLOR": "1"}, False),
        (True, {"TERM": "xterm", "NO_COLOR": ""}, True),
        (False, {"FORCE_COLOR": "1"}, True),
        (False, {"FORCE_COLOR": "1", "TERM": "dumb"}, True),
        (True, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_colours_need_a_terminal_unless_the_environment_decides(tty, environ, color):
    assert color == style_for(Stream(tty), environ=environ).color


@pytest.mark.parametrize(
    ("encoding", "term", "plain"),
    [
        ("utf-8", "xterm", False),
        ("utf-8", "dumb", True),
        ("ascii", "xterm", True),
        ("latin-1", "", True),
        ("cp437", "", True),
        ("no such", "", True),
    ],
)
def test_ascii_where_the_encoding_or_the_terminal_asks_for_it(encoding, term, plain):
    assert plain == style_for(Stream(encoding=encoding), environ={"TERM": term}).ascii


@pytest.mark.parametrize(
    ("asked", "environ", "width"),
    [
        (None, {}, 100),
        (None, {"COLUMNS": "72"}, 72),
        (None, {"COLUMNS": "none"}, 100),
        (120, {"COLUMNS": "72"}, 120),
        (None, {"COLUMNS": "7"}, 40),
    ],
)
def test_width_is_what_was_asked_for_else_the_window(asked, environ, width):
    assert width == style_for(Stream(), asked, environ).width


# --- numbers and text -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 ms"),
        (1e-10, "0 ms"),
        (0.5e-9, "0.5 ns"),
        (891e-9, "891 ns"),
        (1.2e-6, "1.2 µs"),
        (0.00999, "9.99 ms"),
        (0.009999, "10 ms"),
        (0.412, "412 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1 s"),
        (1.929, "1.93 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min"),
        (124.4, "2 min 4 s"),
        (3599.6, "1 h"),
        (11_100, "3 h 5 min"),
        (-0.58, "-580 ms"),
    ],
)
def test_durations_have_three_digits_and_a_unit(seconds, shown):
    assert shown == duration(seconds)


@given(st.floats(0, 1e12))
def test_numbers_never_have_more_than_three_digits(value):
    for shown in (duration(value), count(value), bytes_of(value)):
        for number in re.findall(r"\d[\d.]*", shown):
            assert (
                len(number.replace(".", "").lstrip("0")) <= 3
                or re.search(" [hd]", shown)
                or shown.endswith(("G", "TB"))
            )


def test_counts_bytes_and_shares():
    assert [count(n) for n in (0, 999, 1000, 12_345, 1_200_000)] == ["0", "999", "1 k", "12.3 k", "1.2 M"]
    assert [bytes_of(n) for n in (0, -5, 2_300_000, 126_619_968)] == ["0 B", "-5 B", "2.3 MB", "127 MB"]
    assert [share(*pair) for pair in ((0, 1), (1, 1e6), (1, 1000), (0.2181, 1), (1, 1), (1.3, 1), (1, 0))] == [
        "0 %",
        "<0.1 %",
        "0.1 %",
        "21.8 %",
        "100 %",
        "130 %",
        "",
    ]


def test_number_stays_with_its_unit():
    assert wrap("took 2 min 4 s", 11) == ["took 2 min", "  4 s"]


@given(st.text(max_size=60), st.integers(8, 40))
def test_wrapped_and_cut_text_fits(content, width):
    shown = clean(content)

    assert all(cells(line) <= width for line in wrap(shown, width))
    assert cells(cut(shown, width)) <= width
    assert cells(cut(shown, width, "...", middle=True)) <= width
    assert all(text.clean(one) == one for one in shown)
