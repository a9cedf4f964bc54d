"""`otel-perf flame`: what a tree is folded to, compared with another, walked through; widths whatever the names are."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_perf.analysis.text import Style, cells
from otel_perf.terminal.browse import Browser
from otel_perf.terminal.flame import (
    Look,
    close_below,
    compare,
    difference_of,
    flame_lines,
    layout_of,
    rows_of,
    tree_of,
    walk,
)

COLOR = re.compile(r"\x1b\[\d*m")
MS = 1_000_000
USUAL, PLAIN = Style(width=80), Look()
HOSTILE = ["\x1b[2J\x1b[31mred", "a\nb\t", "\x9b2J", "\u202eevil", "\ud800", "n" * 2_000, "", "名" * 99, "e\u0301" * 50]


def tree(*rows):
    """Return the tree of *rows*: name, depth, total and self in ms, calls; as the page is told it."""
    names, parents, above = [], [], []
    for name, depth, *_ in rows:
        names.append(name)
        above[depth:] = [len(names) - 1]
        parents.append(above[depth - 1] if depth else -1)
    return tree_of(
        {
            "names": names,
            "functions": names,
            "name": list(range(len(rows))),
            "parent": parents,
            "totalNs": [total * MS for _, _, total, _, _ in rows],
            "selfNs": [own * MS for _, _, _, own, _ in rows],
            "calls": [calls for *_, calls in rows],
        }
    )


def shop():
    return tree(
        ("all", 0, 1000, 0, None),
        ("checkout", 1, 300, 100, 3),
        ("price", 2, 200, 200, 30),
        ("serve", 1, 690, 90, 2),
        ("render", 2, 594, 594, 8),
        ("log", 2, 4, 4, 9),
        ("flush", 2, 2, 2, 1),
        ("idle", 1, 10, 10, 1),
    )


def text(root, style=USUAL, least=0.01, look=PLAIN):
    rows = rows_of(root, least * root.weight)
    return [line.rstrip() for line in flame_lines(rows, root, root, style, look)]


def test_each_bar_lies_below_that_of_its_caller_and_what_is_small_is_folded():
    expected = """\
                                                     total  of all    self  calls
all               ████████████████████████████████     1 s   100 %    0 ms
  serve           ██████████████████████            690 ms  69.0 %   90 ms      2
    render        ███████████████████               594 ms  59.4 %  594 ms      8
    2 more                           ▏                6 ms   0.6 %    6 ms
  checkout                              █████████▌  300 ms  30.0 %  100 ms      3
    price                               ██████▌     200 ms  20.0 %  200 ms     30
  idle                                           ▐   10 ms   1.0 %   10 ms      1"""

    assert expected.splitlines() == text(shop(), Style(width=81))


def test_ascii_has_the_same_tree():
    lines = text(shop(), Style(width=80, ascii=True))

    assert all(line.isascii() for line in lines)
    assert lines[2].startswith("  serve           ####")


def test_one_that_is_small_is_shown_as_it_is():
    root = tree(("all", 0, 1000, 0, None), ("a", 1, 999, 999, 1), ("b", 1, 1, 1, 1))

    assert ["all", "a", "b"] == [row.node.name for row in rows_of(root, 10 * MS)]


def test_what_is_deeper_is_folded_and_counted():
    root = shop()
    close_below(root, 1)

    assert ["serve [3 below]", "checkout [1 below]", "idle"] == [line.split("  ")[1] for line in text(root)[2:]]


def test_columns_go_before_names_and_bars_do():
    narrow = text(shop(), Style(width=40))

    assert all(cells(line) <= 40 for line in narrow)
    assert "total" in narrow[0]
    assert "calls" not in narrow[0]
    assert "█" in narrow[1]


# --- differences ---


@pytest.mark.parametrize(
    ("total", "base", "sign", "word"),
    [
        (200, 100, "+100 ms", "slower"),
        (100, 200, "−100 ms", "faster"),
        (100, 0, "+100 ms", "new"),
        (0, 100, "−100 ms", "gone"),
        (100, 99, "+1 ms", "same"),
        (100, 100, "0 ms", "same"),
        (0, 0, "0 ms", "same"),
    ],
)
def test_a_difference_has_a_sign_and_a_word(total, base, sign, word):
    assert (sign, word) == difference_of(total * MS, base * MS, Style())


def test_two_runs_are_compared_path_by_path():
    root = tree(("all", 0, 500, 0, None), ("a", 1, 300, 300, 1), ("b", 1, 200, 50, 1), ("x", 2, 150, 150, 1))
    other = tree(("all", 0, 700, 0, None), ("b", 1, 600, 600, 1), ("c", 1, 100, 100, 1))

    compare(root, other)

    found = {row.node.name: (row.node.total // MS, row.node.base // MS) for row in rows_of(root, 0)}
    assert {"all": (500, 700), "b": (200, 600), "x": (150, 0), "a": (300, 0), "c": (0, 100)} == found
    lines = text(root, look=Look(difference=True))
    assert [
        "change total before",
        "all −200 ms faster 500 ms 700 ms",
        "b −400 ms faster 200 ms 600 ms",
        "x +150 ms new 150 ms –",
        "a +300 ms new 300 ms –",
        "c −100 ms gone – 100 ms",
    ] == [" ".join(re.sub("[▏▕▌▐█]", "", line).split()) for line in lines]


# --- widths ---

ROWS = st.lists(
    st.tuples(
        st.one_of(st.sampled_from(HOSTILE), st.text(max_size=40)),
        st.integers(1, 60), st.integers(0, 10**7), st.integers(0, 10**7), st.one_of(st.none(), st.integers(0, 10**12)),
    ),
    min_size=1, max_size=12,
)  # fmt: skip


def any_tree(rows):
    """Return a tree of *rows*, each at most one level below the one before, and no shorter than what is in it."""
    depth, fitted = 0, [("all", 0, 0, 0, None)]
    for name, deep, total, own, calls in rows:
        depth = min(deep, depth + 1)
        fitted.append((name, depth, total, own, calls))
    inside = [0] * 80
    for place in range(len(fitted) - 1, -1, -1):
        name, depth, total, own, calls = fitted[place]
        whole = max(total, own + inside[depth + 1])
        inside[depth + 1 :] = [0] * len(inside[depth + 1 :])
        inside[depth] += whole
        fitted[place] = (name, depth, whole, own, calls)
    return tree(*fitted)


@given(ROWS, ROWS, st.integers(40, 200), st.booleans(), st.booleans(), st.booleans(), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_no_line_is_wider_than_the_window_whatever_the_names_are(one, two, width, color, plain, difference, least):
    root = any_tree(one)
    if difference:
        compare(root, any_tree(two))

    lines = text(root, Style(width, color, plain), least, Look(difference))

    texts = [COLOR.sub("", line) for line in lines]
    assert [] == [line for line in texts if cells(line) > width]
    assert not any(re.search("[\x00-\x1f\x7f-\x9f\u202e\u2028]", line) for line in texts)
    assert not plain or all(line.isascii() for line in texts)


@given(ROWS, st.floats(0, 1))
@settings(deadline=None)
def test_nothing_is_lost_by_folding(rows, least):
    root = any_tree(rows)

    shown = rows_of(root, least * root.weight)

    seen = [id(row.node) for row in shown if not row.folded]
    seen += [id(node) for row in shown for one in row.folded for node in walk(one)]
    assert sorted(seen) == sorted(id(node) for node in walk(root))


@given(
    ROWS,
    st.integers(40, 200),
    st.integers(8, 60),
    st.lists(
        st.sampled_from(
            [
                "up",
                "down",
                "left",
                "right",
                " ",
                "enter",
                "backspace",
                "/",
                "n",
                "N",
                "e",
                "escape",
                "end",
                "pageup",
                "?",
            ]
        ),
        max_size=30,
    ),
    st.floats(0, 0.3),
)
@settings(max_examples=40, deadline=None)
def test_whatever_keys_are_pressed_the_window_is_filled_and_the_chosen_line_is_in_it(rows, width, height, keys, least):
    root = any_tree(rows)
    browser = Browser(root, ["title", "run"], least, difference=False)
    for key in keys:
        assert browser.press(key)

        lines = browser.frame(Style(width), height)

        assert len(lines) <= height
        assert [] == [line for line in lines if cells(line) > width]
        assert browser._help or 1 == sum(line.startswith("> ") for line in lines)


# --- keys ---


@pytest.fixture
def browser():
    return Browser(shop(), ["shop: the whole run"], 0.01, difference=False)


def chosen(browser, width=80, height=24):
    (line,) = (line for line in browser.frame(Style(width=width), height) if line.startswith("> "))
    return re.sub("[ ▾▸>*]+", " ", line.split("  █")[0]).strip().split("  ")[0].split(" ▏")[0]


def press(browser, *keys):
    for key in keys:
        browser.press(key)


def test_arrows_move_fold_and_unfold(browser):
    press(browser, "down", "right")
    assert chosen(browser).startswith("render")
    press(browser, "left")  # its caller
    assert chosen(browser).startswith("serve")
    press(browser, "left")
    assert not any("render" in line for line in browser.frame(Style(width=80), 24))
    press(browser, "right", "down", "down")
    assert chosen(browser).startswith("2 more")
    press(browser, "right")
    assert any("flush" in line for line in browser.frame(Style(width=80), 24))
    press(browser, "end")
    assert chosen(browser).startswith("idle")
    press(browser, "home", " ")
    assert 1 == len(browser._rows)


def test_enter_zooms_and_backspace_goes_out(browser):
    press(browser, "down", "enter")
    lines = browser.frame(Style(width=80), 24)
    assert "in serve" == lines[1]
    assert not any("checkout" in line for line in lines)
    assert "69.0 %" in lines[3]  # of all still

    press(browser, "backspace")
    assert browser.top is browser.root
    assert chosen(browser).startswith("serve")


def test_search_goes_to_the_next_even_where_it_is_folded(browser):
    press(browser, "down", "left")
    assert chosen(browser).startswith("serve")
    press(browser, "home", "/", *"LO", "enter")
    assert chosen(browser).startswith("log")
    press(browser, "escape", "/", *"r", "enter")
    found = []
    for _ in range(4):
        found.append(chosen(browser).split()[0])
        press(browser, "n")
    assert ["price", "serve", "render", "price"] == found  # after the last one the first
    press(browser, "N")
    assert chosen(browser).startswith("price")


def test_the_chosen_call_is_told_in_full(browser):
    press(browser, "down", "down")

    lines = browser.frame(Style(width=80), 24)

    assert ["serve > render", "total 594 ms, self 594 ms, 8 calls, 86.1 % of its caller"] == lines[-3:-1]


def test_columns_stay_where_they_are_while_one_goes_down():
    root = tree(("all", 0, 10**6, 0, None), *((f"f{number}", 1, 1000 - number, 1, 10**number) for number in range(9)))
    browser = Browser(root, ["t"], 0.0, difference=False)
    titles = set()
    for _ in range(9):
        titles.add(browser.frame(Style(width=80), 9)[1])
        press(browser, "down")

    assert 1 == len(titles)


def test_the_layout_is_that_of_the_deepest_and_the_longest():
    root = shop()
    rows = rows_of(root, 0)

    layout = layout_of(rows, root, Style(width=80), Look())

    assert 2 == layout.step
    assert 4 == len(layout.numbers)
