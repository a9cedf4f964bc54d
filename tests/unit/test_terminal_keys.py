"""Keys, out of the bytes of a terminal, however they come, and out of a Windows console."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_perf.analysis.text import Style, cells
from otel_perf.terminal.keys import Decoder, from_console
from otel_perf.terminal.search import LONGEST, Search


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"qs/", ["q", "s", "/"]),
        (b"\x1b[A\x1b[B\x1b[C\x1b[D", ["up", "down", "right", "left"]),
        (b"\x1bOA\x1bOH", ["up", "home"]),  # as in application mode
        (b"\x1b[5~\x1b[6~\x1b[1~\x1b[4~\x1b[H\x1b[F", ["page up", "page down", "home", "end", "home", "end"]),
        (b"\x1b[1;5A", ["up"]),  # with Ctrl
        (b"\t\x1b[Z\r\n\x7f\x08\x0c", ["tab", "back tab", "enter", "enter", "backspace", "backspace", "redraw"]),
        ("名é".encode(), ["名", "é"]),
        (b"\x1b[200~x\x1b[?1;2c", ["x"]),  # what is none of ours
        (b"\x01\x02\x00a", ["a"]),
        (b"\xff", ["\ufffd"]),
    ],
)
def test_bytes_are_keys(data, keys):
    assert keys == Decoder().feed(data)


def test_an_escape_is_a_key_only_when_nothing_follows():
    decoder = Decoder()

    assert ([], True) == (decoder.feed(b"\x1b"), decoder.pending)
    assert (["up"], False) == (decoder.feed(b"[A"), decoder.pending)
    assert [] == decoder.feed(b"\x1b")
    assert (["escape"], False) == (decoder.rest(), decoder.pending)
    assert ["escape", "up"] == decoder.feed(b"\x1b\x1b[A")


@given(st.lists(st.sampled_from([b"\x1b[A", b"\x1b[6~", b"q", "名".encode(), b"\t", b"\x1bOB"])), st.data())
def test_keys_are_the_same_however_the_bytes_are_torn(parts, data):
    whole = b"".join(parts)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(whole)))))
    decoder, found = Decoder(), []
    for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        found += decoder.feed(whole[begin:end])

    assert Decoder().feed(whole) == found


@given(st.binary(max_size=200))
def test_no_bytes_make_it_fail_or_keep_more_than_a_sequence(data):
    decoder = Decoder()

    keys = decoder.feed(data)

    assert all(keys)
    assert len(decoder._text) <= 32


@pytest.mark.parametrize(
    ("characters", "key"),
    [
        (("\xe0", "H"), "up"), (("\0", "P"), "down"), (("\xe0", "Q"), "page down"), (("\xe0", "\x86"), ""),
        (("q",), "q"), (("\r",), "enter"), (("\x08",), "backspace"), (("\x1b",), "escape"), (("名",), "名"),
        (("\x01",), ""), (("\xe0",), "à"),
    ],
)  # fmt: skip
def test_characters_of_a_windows_console_are_keys(characters, key):
    assert key == from_console(*characters)


def test_search_is_written_key_by_key():
    search = Search(writing=True)

    for key in ["c", "À", "x", "backspace", "up", "enter"]:
        search.key(key)

    assert ("cÀ", False) == (search.text, search.writing)
    assert search.matches("Cart.CÀlculate")
    assert not search.matches("cart")
    search.key("escape")
    assert ("", True) == (search.text, search.matches("whatever"))
    for _ in range(2 * LONGEST):
        search.key("a")
    assert LONGEST == len(search.text)


@pytest.mark.parametrize("letter", ["a", "調"])
@pytest.mark.parametrize("number", [0, 10, 20, 30, 31, 40, 70])
def test_line_of_a_search_stays_within_the_window(letter, number):
    line = Search(text=letter * number, writing=True).line(Style(width=80))

    assert cells(line) <= 80
    assert number == 0 or letter in line
