"""The window: what is written to it, and that it is given back, with a terminal that a test holds."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_perf.analysis.text import Style, cells
from otel_perf.terminal.screen import Screen, clip, has_window
from otel_perf.terminal.system import Ended, Hangup

COLOR = re.compile(r"\x1b\[\d*m")
GIVEN_BACK = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"


class Terminal:
    """Stands for the system's terminal: notes what is asked of it, in order."""

    def __init__(self, out):
        self.anew = False
        self.out = out
        self.asked = []
        self.stops = 0

    def enter(self):
        self.asked.append("enter")
        self.anew = True

    def leave(self):
        self.asked.append("leave")

    def wait(self, seconds):
        return []

    def stopping(self):
        self.stops -= 1
        return self.stops == 0

    def stop(self):
        self.asked.append(("stop", self.out.getvalue().endswith(GIVEN_BACK)))


class Out(io.StringIO):
    """A window of 80 columns and 24 lines: it has no file descriptor."""

    encoding = "utf-8"
    gone = False

    def flush(self):
        if self.gone:
            raise OSError(5, "Input/output error")


@pytest.fixture
def made():
    out = Out()
    system = Terminal(out)
    return Screen(None, out, Style(color=True), system), out, system


def test_only_the_lines_that_have_changed_are_written(made):
    screen, out, _ = made
    with screen:
        screen.draw(["one", "two"])
        first = out.getvalue()
        screen.draw(["one", "three"])
        second = out.getvalue()[len(first) :]
        screen.draw(["one", "three"])

    assert "\x1b[1;1H\x1b[2Kone\x1b[2;1H\x1b[2Ktwo\x1b[3;1H\x1b[2K" in first
    assert "\x1b[2;1H\x1b[2Kthree" == second
    assert first + second + GIVEN_BACK == out.getvalue()


def test_no_more_lines_are_written_than_there_are_and_none_that_is_wider(made):
    screen, out, _ = made
    with screen:
        screen.draw(["x" * 100] * 40)

    assert "x" * 80 in out.getvalue()
    assert "x" * 81 not in out.getvalue()
    assert "\x1b[24;1H" in out.getvalue()
    assert "\x1b[25;1H" not in out.getvalue()


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, Ended(15), SystemExit])
def test_the_window_is_given_back_whatever_happens(made, error):
    screen, out, system = made
    with pytest.raises(error if isinstance(error, type) else Ended), screen:
        raise error

    assert out.getvalue().endswith(GIVEN_BACK)
    assert ["enter", "leave"] == system.asked


def test_nothing_is_written_when_the_window_cannot_be_taken(made):
    screen, out, system = made

    def enter():
        raise ValueError("no modes")

    system.enter = enter
    with pytest.raises(ValueError, match="no modes"), screen:
        pass

    assert "" == out.getvalue()  # to a console that obeys no sequences they would be text
    assert ["leave"] == system.asked


def test_a_terminal_that_is_gone_ends_it(made):
    screen, out, system = made
    screen.__enter__()
    out.gone = True
    with pytest.raises(Hangup):
        screen.draw(["one"])
    screen.__exit__(None, None, None)

    assert ["enter", "leave"] == system.asked


def test_the_window_is_given_back_while_it_is_stopped_and_drawn_anew_afterwards(made):
    screen, out, system = made
    with screen:
        screen.draw(["one"])
        system.stops = 1
        screen.wait(0)
        before = len(out.getvalue())
        screen.draw(["one"])

        assert ["enter", "leave", ("stop", True), "enter"] == system.asked
        assert "one" in out.getvalue()[before:]


@given(
    st.lists(st.one_of(st.text("aé名e\u0301", max_size=8), st.sampled_from(["\x1b[31m", "\x1b[0m", "\x1b[2m"]))),
    st.integers(0, 30),
)
def test_clipped_lines_are_no_wider_and_keep_their_colours(parts, width):
    line = "".join(parts)

    clipped = clip(line, width)

    text = COLOR.sub("", clipped)
    assert cells(text) <= width
    assert COLOR.sub("", line).startswith(text)
    assert COLOR.findall(line) == COLOR.findall(clipped) or len(line) <= width


class Tty(io.StringIO):
    def __init__(self, tty):
        super().__init__()
        self.tty = tty

    def isatty(self):
        return self.tty


@pytest.mark.parametrize(
    ("tty_in", "tty_out", "term", "window"),
    [
        (True, True, "xterm-256color", True),
        (False, True, "xterm", False),
        (True, False, "xterm", False),
        (True, True, "dumb", False),
        (True, True, "", False),
    ],
)
def test_a_window_needs_keys_a_terminal_and_one_that_can_be_drawn_on(tty_in, tty_out, term, window, monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")

    assert not has_window(None, Tty(tty_out), {"TERM": term})
    assert window is has_window(Tty(tty_in), Tty(tty_out), {"TERM": term})


@pytest.mark.parametrize(
    ("text", "width"),
    [
        ("abc", 3), ("名前", 4), ("e\u0301", 1), ("กำลัง", 4), ("नि", 2), ("\u1112\u1161\u11ab", 2), ("1\u20e3", 1),
        ("ﾊﾝｶｸ", 4), ("\uff21", 2), ("👩", 2), ("❤\ufe0f", 1),
    ],
)  # fmt: skip
def test_letters_are_as_wide_as_a_terminal_draws_them(text, width):
    assert width == cells(Style().clean(text))
