"""docs/reliability.md is what bench/reliability.py writes: every fault is there, and nothing was put in by hand."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COUNT = r"\d{1,3}(,\d{3})*"
TIME = r"\d+(\.\d\d)? m?s"
CELLS = {
    "recorded": COUNT,
    "lost": COUNT,
    "counted": f"–|{COUNT}",
    "sent": f"–|{COUNT}(, each once|, {COUNT} of them twice)?",
    "longest wait": TIME,
    "the report names": r"Plugins · import dies · dies\.py:2",
}
CELLS |= {"sent before": CELLS["sent"], "sent afterwards": CELLS["sent"]}


@pytest.fixture
def reliability(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("bench.reliability")


@pytest.fixture
def page(reliability):
    return reliability.PAGE.read_text(encoding="utf-8")


def test_the_page_is_what_the_script_makes_of_its_rows(reliability, page):
    assert page == reliability.page(reliability.rows_of(page), reliability.machine_of(page))


def test_the_page_has_every_fault_once_and_in_order(reliability, page):
    assert [(case.group, case.fault) for case in reliability.plan()] == [
        (row.group, row.fault) for row in reliability.rows_of(page)
    ]


def test_every_cell_has_the_form_of_its_column(reliability, page):
    for row in reliability.rows_of(page):
        heads = reliability.GROUPS[row.group][1:]
        assert len(heads) == len(row.cells), row
        for head, cell in zip(heads, row.cells, strict=True):
            form = r"−?\d+" if row.group == reliability.DEATH else rf"−?\d+ after {TIME}"
            assert re.fullmatch(CELLS.get(head, form), cell), (row, head)
