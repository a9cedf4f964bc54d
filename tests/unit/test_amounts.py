"""Numbers as people read them: the page says them in the same words (web/test/format.test.ts reads the same table)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_perf.amounts import amount, bytes_of, count, duration, far_over, percent, plural, short

TABLE = json.loads(Path(__file__).with_name("amounts.json").read_text(encoding="utf-8"))
SAY = {"duration": duration, "count": count, "bytes": bytes_of, "plural": plural, "amount": amount}


@pytest.mark.parametrize("name", SAY)
def test_numbers_are_said_as_on_the_page(name):
    told = [case[-1] for case in TABLE[name]]

    assert told == [SAY[name](*case[:-1]) for case in TABLE[name]]


def test_table_has_every_function_of_both_sides():
    assert {"about", *SAY} == TABLE.keys()


@given(st.floats(-1e15, 1e15))
def test_a_number_of_any_size_is_never_in_powers_of_ten(value):
    assert "e" not in short(value)


def test_how_far_a_value_is_over_its_limit_has_three_digits_at_most_and_is_never_nothing():
    assert ["0.0143 % over", "20 % over", "962 % over", "11 times the limit", "230 times the limit"] == [
        far_over(share) for share in (0.000143, 0.2, 9.62, 10.0, 229.0)
    ]
    assert ["0 %", "0.5 %", "100 %"] == [percent(share) for share in (0.0, 0.005, 0.9998)]


def test_what_is_no_number_is_said_so():
    assert ["inf", "nan/s", "-inf/s"] == [
        amount(float("inf"), "{order}"),
        amount(float("nan"), "{order}", "rate"),
        amount(float("-inf"), "By/s"),
    ]
