"""The worker, and a signal's handler, come while the program's thread is in the middle of loading a room."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from otel_perf import monitor, tracing, unfinished


@pytest.mark.parametrize("room", ["wrappers", "tracing.light"])
def test_a_room_that_is_just_being_loaded_has_nothing_to_say_yet(room, monkeypatch):
    name = f"otel_perf.{room}"
    monkeypatch.setitem(sys.modules, name, ModuleType(name))

    assert [] == list(unfinished._on_the_stacks())
    assert monitor._in_a_profiled_call() is False
    tracing.close_open(interrupted=True)
