"""The window: what a view is given and what is shown of it, in Textual without a terminal."""

from __future__ import annotations

import asyncio
import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from textual.events import Key, Paste

from otel_perf.analysis.text import NARROWEST, Style, cells
from otel_perf.terminal.app import Window
from otel_perf.terminal.window import has_window

COLOR = re.compile(r"\x1b\[\d*m")


class View:
    """Shows what it was told to, and notes what it is asked for."""

    def __init__(self, lines=(), steps=None, error=None):
        self.lines, self.steps, self.error = list(lines), steps, error
        self.pressed, self.sizes, self.writing = [], [], False

    def step(self):
        if self.error is not None:
            raise self.error
        if self.steps is not None:
            self.steps -= 1
        return None if self.steps == 0 else 0.01

    def press(self, key):
        self.pressed.append(key)
        self.writing = key == "/" or (self.writing and key != "enter")
        return self.writing or key != "q"

    def frame(self, style, height):
        self.sizes.append((style.width, height))
        return self.lines


def show(view, use, size=(80, 24), style=None):
    """Show *view* while *use* of the pilot runs; return the window, which has ended by then."""
    window = Window(view, style or Style(color=True))

    async def run():
        async with window.run_test(size=size) as pilot:
            await use(pilot)

    other = asyncio._get_running_loop()  # that of the browser's tests, if they run in this process
    asyncio._set_running_loop(None)
    try:
        asyncio.run(run())
    finally:
        asyncio._set_running_loop(other)
    return window


def rows(window):
    """Return what stands in each line."""
    lines = window._lines
    return ["".join(part.text for part in lines.render_line(y)) for y in range(lines.size.height)]


def test_a_view_is_given_characters_and_the_names_of_keys():
    view = View()

    async def use(pilot):
        for key in ("a", "slash", "question_mark", "space", "plus", "名", "shift+tab", "tab", "pageup", "escape"):
            await pilot.press(key)

    show(view, use)

    assert ["a", "/", "?", " ", "+", "名", "shift+tab", "tab", "pageup", "escape"] == view.pressed


def test_what_a_terminal_sends_for_other_keys_is_those_and_alt_makes_no_text():
    view = View()

    async def use(pilot):
        await pilot.press("ctrl+j", "ctrl+h")
        pilot.app._lines.post_message(Key("alt+q", "q"))
        await pilot.pause()

    show(view, use)

    assert ["enter", "backspace", "alt+q"] == view.pressed


def test_what_is_pasted_is_as_if_it_were_written_where_something_is_written():
    view = View()

    async def use(pilot):
        for before in ("a", "/"):
            await pilot.press(before)
            pilot.app._lines.post_message(Paste("nq\x1bme\n" + "x" * 300))
            await pilot.pause()

    show(view, use)

    assert ["a", "/", *"nqme", *"x" * 194] == view.pressed


def test_a_key_is_answered_with_what_is_new_at_once():
    """Also where the next look is half a minute away."""

    class Slow(View):
        stepped = 0

        def step(self):
            self.stepped += 1
            return 30.0

    view = Slow()

    async def use(pilot):
        while not view.stepped:
            await pilot.pause(0.01)
        await pilot.press("tab")

    show(view, use)

    assert 2 == view.stepped


@given(
    st.lists(
        st.lists(st.one_of(st.text("aé名e\u0301", max_size=30), st.sampled_from(["\x1b[31m", "\x1b[0m", "\x1b[2m"])))
        .map("".join),
        max_size=12,
    ),
    st.integers(1, 40),
)  # fmt: skip
@settings(max_examples=15, deadline=None)
def test_lines_are_as_wide_as_the_window_and_as_many(lines, width):
    found = []

    async def use(pilot):
        await pilot.pause()
        found.extend(rows(pilot.app))

    show(View(lines), use, size=(width, 8))

    assert 8 == len(found)
    assert {width} == set(map(cells, found))
    for line, row in zip(lines, found, strict=False):
        text = COLOR.sub("", line)
        if "名" not in text and "\u0301" not in text:
            assert text[:width].rstrip() == row.rstrip()


def test_colours_stay_those_of_the_terminal_and_names_stay_text():
    found = []

    async def use(pilot):
        await pilot.pause()
        found.extend(pilot.app._lines.render_line(0))

    show(View(["\x1b[36m[bold]x[/]\x1b[0m y"]), use)

    assert ("[bold]x[/]", 6) == (found[0].text, found[0].style.color.number)
    assert found[1].text.startswith(" y")


def test_another_size_is_filled_at_once():
    view = View()

    async def use(pilot):
        await pilot.resize_terminal(120, 40)
        await pilot.pause()
        await pilot.resize_terminal(10, 5)
        await pilot.pause()

    show(view, use)

    assert (80, 24) == view.sizes[0]
    assert (120, 40) in view.sizes
    assert (NARROWEST, 5) == view.sizes[-1]


@pytest.mark.parametrize(
    ("view", "key", "ended_by"), [(View(), "q", 0), (View(steps=3), None, 0), (View(), "ctrl+c", 2)]
)
def test_it_ends_when_somebody_has_enough_or_the_view_has_ended(view, key, ended_by):
    async def use(pilot):
        if key:
            await pilot.press(key)
        for _ in range(200):
            if not pilot.app.is_running:
                return
            await asyncio.sleep(0.01)
        pytest.fail("it goes on")

    window = show(view, use)

    assert ended_by == window.ended_by
    assert window.error is None


def test_what_a_view_raises_ends_it_and_is_kept():
    error = RuntimeError("broken on purpose")

    async def use(pilot):
        await asyncio.sleep(0.1)

    assert show(View(error=error), use).error is error


class Tty(io.StringIO):
    def __init__(self, tty):
        super().__init__()
        self.tty = tty

    def isatty(self):
        return self.tty


@pytest.mark.parametrize(
    ("tty_in", "tty_out", "tty_error", "term", "window"),
    [
        (True, True, True, "xterm-256color", True),
        (False, True, True, "xterm", False),
        (True, False, True, "xterm", False),
        (True, True, False, "xterm", False),
        (True, True, True, "dumb", False),
        (True, True, True, "", False),
    ],
)
def test_a_window_needs_keys_a_terminal_and_one_that_can_be_drawn_on(
    tty_in, tty_out, tty_error, term, window, monkeypatch
):
    monkeypatch.setattr("sys.platform", "linux")

    assert not has_window(None, Tty(tty_out), environ={"TERM": term})
    assert window is has_window(Tty(tty_in), Tty(tty_out), Tty(tty_error), environ={"TERM": term})
