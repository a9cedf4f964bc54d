"""What a share is of: the container's limit where it is the smaller one, else the machine; never a guess."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_perf.metrics import names, wholes
from otel_perf.metrics.cgroup import Limits

MEMORY, CPU = "process.memory.utilization", "process.cpu.utilization"
MACHINE = wholes.facts(Limits()).get("otel_perf.memory.total")
needs_memory = pytest.mark.skipif(MACHINE is None, reason="this system does not say how much memory it has")


@needs_memory
def test_limits_of_a_container_are_facts_and_what_shares_are_of() -> None:
    found = wholes.facts(Limits(0.5, 2**26, 1000))

    assert {"otel_perf.container.cpu.limit": 0.5, "otel_perf.container.memory.limit": 2**26} == {
        name: value for name, value in found.items() if "container" in name
    }
    assert (0.5, os.cpu_count()) == (found["otel_perf.cpu.usable"], found["otel_perf.cpu.count"])
    assert "of the container's limit" == wholes.whole_of(MEMORY, found)
    assert "of the container's 0.5 CPUs" == wholes.whole_of(CPU, found)
    assert 2**26 == wholes.memory_of(found)


@needs_memory
def test_a_limit_above_what_the_machine_has_limits_nothing() -> None:
    assert MACHINE is not None
    found = wholes.facts(Limits(10_000.0, MACHINE + 1, 0))

    assert "otel_perf.container.memory.limit" not in found
    assert "of the machine's memory" == wholes.whole_of(MEMORY, found)
    assert MACHINE == wholes.memory_of(found)
    assert "container" not in wholes.whole_of(CPU, found)


def test_every_share_of_ours_has_a_whole_and_nothing_else_has() -> None:
    shares = {name for name, (_, unit, _) in names.INSTRUMENTS.items() if unit == "1"}

    assert shares == {name for name in names.INSTRUMENTS if wholes.whole_of(name, {})}
    assert "" == wholes.whole_of("orders", {})


anything = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers())


@given(st.dictionaries(st.sampled_from([name for name in vars(wholes).values() if isinstance(name, str)]), anything))
def test_a_resource_that_somebody_else_wrote_gives_a_general_answer_or_a_sane_one(resource: dict[str, Any]) -> None:
    memory = wholes.memory_of(resource)

    assert memory is None or 0 < memory < 2**63
    for name in (MEMORY, CPU):
        text = wholes.whole_of(name, resource)
        assert text.startswith("of the ") or text[3].isdigit()
        assert "nan" not in text
        assert "inf" not in text
