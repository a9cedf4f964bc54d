"""follow/selection.py: which metrics are sent."""

from __future__ import annotations

import pytest

from otel_perf.export.follow.selection import is_sampled, takes
from otel_perf.metrics.names import INSTRUMENTS, WRITTEN

MACHINE = {name for name in INSTRUMENTS if name.startswith(("system.", "otel_perf.system."))}
FEW = {"otel_perf.system.cpu.utilization", "system.cpu.load_average.1m", "system.memory.utilization"}


@pytest.mark.parametrize(("choice", "of_the_machine"), [("few", FEW), ("all", MACHINE), ("none", set())])
def test_of_the_machine_only_what_was_chosen_is_sent_and_of_everything_else_all(choice, of_the_machine):
    names = {*INSTRUMENTS, *WRITTEN, "orders", "http.server.request.duration", "systematic"}

    few = {name for name in names if name.startswith("cpython.") and name != "cpython.gc.collections"}
    expected = (names - MACHINE - (set() if choice == "all" else few)) | of_the_machine
    assert expected == {name for name in names if takes(name, choice)}


def test_what_is_sampled_is_observable_and_what_is_counted_is_not():
    assert {True} == {is_sampled(name) for name in INSTRUMENTS}
    counted = {name for name in WRITTEN if not name.startswith("otel_perf.self.")}
    assert {False} == {is_sampled(name) for name in counted | {"orders"}}
