"""The window of `otel-perf top` and its lines, as a snapshot and keys make them; widths whatever the names are."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_perf.amounts import bytes_of, three
from otel_perf.analysis.text import Style, cells
from otel_perf.metrics.names import CORES, MEMORY, THREADS
from otel_perf.terminal.functions import SORTS
from otel_perf.terminal.plain import line_of
from otel_perf.terminal.search import Search
from otel_perf.terminal.snapshot import Function, Sampled, Slow, Snapshot
from otel_perf.terminal.state import STEPS, State
from otel_perf.terminal.top import frame
from otel_perf.terminal.watching import press
from otel_perf.terminal.words import KEYS, keys_line

NOON = 1_795_000_000_000.0  # 2026-11-18T11:06:40Z
COLOR = re.compile(r"\x1b\[\d*m")
HOSTILE = [
    "\x1b[2J\x1b[31mred", "a\nb\tc\r", "\x9b2J", "\x1b]0;title\x07", "\u202eevil", "\ud800", "\u2028", "n" * 5_000,
    "", "\0", "名" * 300, "e\u0301" * 50, "👩\u200d💻", "❤\ufe0f", "กำลัง", "각", "\u1100\u1161", "🇩🇪" * 9,
]  # fmt: skip


@pytest.fixture(autouse=True)
def _in_utc(monkeypatch):
    if hasattr(time, "tzset"):
        monkeypatch.setenv("TZ", "UTC")
        time.tzset()


def points(*values):
    return [(NOON - (len(values) - 1 - place) * 1000, value) for place, value in enumerate(values)]


def snapshot(**more):
    """Return how a small shop stands."""
    charts = [
        Sampled(CORES[0], "CPU, cores", "0.01", points(*[0.01] * 5), lambda value: f"{value:.2g}", [(0.02, "0.02 idle")]),
        Sampled(
            MEMORY[0], "memory (RSS)", "162 MB", points(140e6, 150e6, 162e6), bytes_of, [(150e6, "150 MB memory")],
            over=True, room="12 MB over",
        ),
        Sampled(THREADS[0], "threads", "4", points(4, 4, 4), three),
    ]  # fmt: skip
    functions = [
        Function("shop.Cart.total", 8_100, 14.1, 12.3, 0.0012, True, 1_200, 2.5, 2.31),
        Function("shop.price", 90_000, 3.2, 3.2, 0.00002, False, 100, 0.3, 0.3),
        Function("shop.old", 4, 9.0, None, 2.5, True),
    ]
    calls = [Slow("Cart.total", 1.21, NOON / 1e3 - 60, "4bf92f3577b34da6a3ce929d0e0e4736", failed=True)]
    values = {
        "state": "within",
        "score": "score 88 of 100, 3 budgets judged: −12 memory exceeded: 162 MB, limit 150 MB (8 % over)",
        "points": 88.0,
        "costs": True,
        "context": "run 2026-11-18T11-00-00, process 4242, up 2 min 4 s, Python 3.11.7",
        "running": True,
        "now": NOON,
        "charts": charts,
        "alerts": [["memory", "warning", "11:06:38", "2 s", "162 MB", "150 MB", "open"]],
        "history": [["memory", "warning", "11:06:38", "2 s", "162 MB", "150 MB", "open"]],
        "resolved": 2,
        "functions": functions,
        "calls": calls,
    }
    return Snapshot("shop 1.4.2 started in 1.21 s: within the budget of 2 s (788 ms left)", **{**values, **more})


def shown(*arguments, **more):
    return [line.rstrip() for line in frame(*arguments, **more)]


def test_a_window_of_80_by_24():
    lines = shown(snapshot(), State(), Style(width=80), 24)

    assert (
        """\
shop 1.4.2 started in 1.21 s: within the budget of 2 s (788 ms left)
score 88 of 100, 3 budgets judged: −12 memory exceeded: 162 MB, limit 150 MB
  (8 % over)
run 2026-11-18T11-00-00, process 4242, up 2 min 4 s, Python 3.11.7
CPU, cores            ╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌ 0.02 idle
  0.01                                                      ▄▄▄▄▄
  max 0.01                                                  █████
memory (RSS)          ╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌▅▆█ 150 MB memory
  162 MB                                                      ███
  12 MB over                                                  ███
threads             4                                         ▆▆▆ 4
                      43 s ago                                now
Open alerts: 1; 2 resolved
  warning: memory since 11:06:38 (2 s), peak 162 MB, limit 150 MB
Functions: 3                last 10 s                           whole run
                        ▾self   calls     self    total   calls       p95
  shop.Cart.total      2.31 s   1.2 k   12.3 s   14.1 s   8.1 k    1.2 ms
  shop.price           300 ms     100    3.2 s    3.2 s    90 k    ~20 µs
  shop.old                  –       0        –      9 s       4     2.5 s
Slowest calls                time     began  trace
  Cart.total [error]       1.21 s  11:05:40  4bf92f35


q quit  p pause  s sort  / search  r reset  a advanced  tab process  ? help""".splitlines()
        == lines
    )


def test_ascii_says_the_same_without_another_character():
    lines = shown(snapshot(), State(), Style(width=80, ascii=True), 24)

    assert all(line.isascii() for line in lines)
    assert "score 88 of 100, 3 budgets judged: -12 memory exceeded: 162 MB, limit 150 MB" == lines[1]
    assert "CPU, cores            -------------------------------------------" == lines[4][:65]
    assert "                        vself   calls     self    total   calls       p95" == lines[15]


@pytest.mark.parametrize("height", range(1, 80, 3))
@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_the_window_is_filled_and_no_more(width, height):
    many = [Function(f"f{number}", 1, 1.0, 1.0, 1.0, True) for number in range(100)]
    slow = [Slow(f"f{number}", 1.0, NOON / 1e3, "4b", failed=False) for number in range(50)]
    for state in (State(), State(advanced=True), State(help=True), State(paused=True)):
        lines = frame(snapshot(functions=many, calls=slow), state, Style(width=width), height)

        assert height == len(lines)
        assert all(cells(line) <= width for line in lines)


def test_a_tall_window_has_taller_charts_and_more_functions():
    many = [Function(f"f{number}", 1, 1.0, 1.0, 1.0, True) for number in range(100)]
    small, tall = (shown(snapshot(functions=many), State(), Style(width=80), height) for height in (24, 60))

    rows = [sum(bool(re.match(r"  f\d", line)) for line in lines) for lines in (small, tall)]
    places = [[line.split(" ")[0] for line in lines].index("threads") for lines in (small, tall)]
    assert [5, 31] == rows
    assert [10, 16] == places  # charts of 3 and of 6 lines above it


@given(
    st.lists(st.one_of(st.sampled_from(HOSTILE), st.text(max_size=80)), min_size=6, max_size=6),
    st.integers(40, 200),
    st.integers(1, 60),
    st.builds(
        State,
        sort=st.integers(0, len(SORTS) - 1),
        search=st.builds(Search, st.sampled_from(["", "e", *HOSTILE]), st.booleans()),
        paused=st.booleans(),
        advanced=st.booleans(),
        step=st.integers(0, len(STEPS) - 1),
        scroll=st.integers(0, 200),
    ),
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_no_line_is_wider_than_the_window_whatever_the_names_are(names, width, height, state, color, plain):
    one, two, three_, four, five, six = names
    alert = [one, two, three_, four, five, six, one]
    found = snapshot(
        score=two,
        context=three_,
        notice=four,
        functions=[Function(name, 10**9, 1e6, 1e6, 1e5, False, 10**9, 1e6, 1e6) for name in names],
        calls=[Slow(name, 1e6, NOON / 1e3, name, failed=True) for name in names],
        alerts=[alert] * 3,
        history=[alert] * 3,
        others=[Sampled(name, name, name, points(1, 2, 3), str) for name in names],
        facts=names,
    )
    found.verdict = one
    style = Style(width, color, plain)

    lines = frame(found, state, style, height)

    texts = [COLOR.sub("", line) for line in lines]
    assert height == len(lines)
    assert [] == [text for text in texts if cells(text) > width]
    assert all(text.isprintable() or not plain for text in texts)
    assert not any(re.search("[\x00-\x1f\x7f-\x9f\u202e\u2028]", text) for text in texts)
    assert not plain or all(text.isascii() for text in texts)


def test_numbers_stay_where_they_are_when_they_become_shorter():
    state = State()
    long = snapshot(functions=[Function("f", 1, 7_384.0, 7_384.0, 1.0, True, 1, 7_384.0, 7_384.0)])
    before = frame(long, state, Style(width=80), 24)
    after = frame(snapshot(), state, Style(width=80), 24)

    assert [line.index("whole run") for line in before if "whole run" in line] == [
        line.index("whole run") for line in after if "whole run" in line
    ]


# --- states that have nothing to show ---


def test_every_state_has_a_face():
    waiting = shown(Snapshot("no process yet: otel-perf run -- python app.py"), State(), Style(width=80), 24)
    early = shown(
        snapshot(
            charts=[],
            functions=[],
            empty="no function is profiled: write @perf.profile",
            calls=[],
            alerts=[],
            resolved=0,
        ),
        State(),
        Style(width=80),
        24,
    )
    ended = shown(snapshot(running=False, alerts=[]), State(), Style(width=80), 24)

    assert "no process yet: otel-perf run -- python app.py" == waiting[0]
    assert "nothing was sampled yet" in early
    assert "Open alerts: none" in early
    assert "no function is profiled: write @perf.profile" in early
    assert "Alerts not resolved: none; 2 resolved" in ended
    assert ended[11].endswith("end")


# --- keys ---


class Followed:
    turned = 0

    def turn(self, step):
        self.turned += step


def names_in(lines):
    return [line.split()[0] for line in lines if line.startswith("  shop.")]


def test_s_sorts_by_the_next_column_and_the_mark_goes_along():
    state, orders, marks = State(), [], []
    for _ in range(len(SORTS) + 1):
        lines = shown(snapshot(), state, Style(width=80), 24)
        orders.append(names_in(lines))
        marks.append(next(line for line in lines if "▾" in line).index("▾"))
        press("s", state, snapshot(), Followed())

    cart, price, old = "shop.Cart.total", "shop.price", "shop.old"
    assert [
        [cart, price, old],
        [cart, old, price],
        [cart, old, price],
        [price, cart, old],
        [old, cart, price],
    ] == orders[:-1]
    assert orders[0] == orders[-1]
    assert sorted(marks[:-1]) == marks[:-1]
    assert len(SORTS) == len(set(marks))


def test_search_leaves_what_has_the_text_in_its_name():
    state = State()
    for key in ["/", "p", "R", "i", "enter"]:
        press(key, state, snapshot(), Followed())

    lines = shown(snapshot(), state, Style(width=80), 24)

    assert ["shop.price"] == names_in(lines)
    assert any(line.startswith("Functions: 3, 1 wi") for line in lines)
    assert not any("Slowest calls" in line for line in lines)
    press("escape", state, snapshot(), Followed())
    assert 3 == len(names_in(shown(snapshot(), state, Style(width=80), 24)))


def test_a_search_for_nothing_that_is_there_says_so():
    lines = shown(snapshot(), State(search=Search("xyz")), Style(width=80), 24)

    assert "no function has xyz in its name" in lines


def test_the_line_of_a_search_shows_its_end_where_it_is_too_long():
    state = State(search=Search("0123456789" * 20, writing=True))

    line = frame(snapshot(), state, Style(width=40), 24)[-1]

    assert line.endswith("56789▏")
    assert 40 == cells(line)


def test_reset_begins_the_charts_now():
    state = State()
    press("r", state, snapshot(), Followed())
    lines = shown(snapshot(), state, Style(width=80), 24)

    assert 1 == sum(letter in "▁▂▃▄▅▆▇█" for letter in lines[6])


def test_plus_and_minus_show_less_and_more_of_the_time():
    state = State()
    press("-", state, snapshot(), Followed())
    press("-", state, snapshot(), Followed())

    lines = shown(snapshot(), state, Style(width=80), 24)

    assert "3 min 35 s ago       5 s a column       now" == lines[11].strip()
    for _ in range(9):
        press("+", state, snapshot(), Followed())
    assert 0 == state.step


def test_other_keys_do_what_the_help_says():
    state, followed = State(), Followed()
    assert not press("q", state, snapshot(), followed)
    press("p", state, snapshot(), followed)
    assert "paused at 11:06:40: p goes on" in frame(snapshot(), state, Style(width=80), 24)[-1]
    press("tab", state, snapshot(), followed)
    assert not state.paused  # it is another process that is asked for
    press("shift+tab", state, snapshot(), followed)
    press("shift+tab", state, snapshot(), followed)
    assert -1 == followed.turned
    press("a", state, snapshot(), followed)
    assert any(line.startswith("Other metrics") for line in frame(snapshot(), state, Style(width=80), 24))
    press("?", state, snapshot(), followed)
    help_ = frame(snapshot(), state, Style(width=80), 24)
    assert "Keys and words" == help_[0]
    assert press("q", state, snapshot(), followed)  # any key goes back
    assert not state.help
    for key in ["down", "down", "pagedown", "up"]:
        press(key, state, snapshot(), followed)
    assert 0 == state.scroll  # there is one alert in the history, and no other metric
    assert press("x", state, snapshot(), followed)


def test_scrolling_ends_with_the_last_function():
    many = [Function(f"f{number:02}", 1, 1.0, 1.0, 1.0, True) for number in range(40)]
    state = State()
    press("end", state, snapshot(functions=many), Followed())

    lines = shown(snapshot(functions=many), state, Style(width=80), 24)

    assert any("f39" in line for line in lines)
    assert not any("f00" in line for line in lines)


def test_keys_that_find_no_room_are_left_out_but_for_the_help():
    assert "q quit  p pause  ? help" == keys_line(KEYS, 30)
    assert 0 == len(keys_line(KEYS, 0))


# --- lines ---


def test_a_line_says_what_is_and_what_took_time():
    line = line_of(snapshot())

    assert (
        "11:06:40  CPU 0.01 cores, memory 162 MB, 4 threads, score 88, 1 alert open; "
        "last 10 s: shop.Cart.total 2.31 s, shop.price 300 ms"
    ) == line
    assert "11:06:40  score 88, no alert" == line_of(snapshot(charts=[], functions=[], alerts=[]))
