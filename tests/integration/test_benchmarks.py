"""The benchmarks that need no peer can be run: figures come from `make bench`, and nobody sees here that it broke."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_what_the_page_takes_is_measured(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))

    rows = importlib.import_module("bench.view").rows(quick=True)

    assert all(row.ours > 0 for row in rows)
    assert ["until all of it is read", "CPU until then"] == [row.what for row in rows[2:4]]
    assert "spans a second arrive" in rows[-3].what
