"""A load as a fleet makes it, through the collector of deploy/ and back out of the backends."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.stack, pytest.mark.slow]

LOAD = Path(__file__).with_name("load.py")
LIMIT = 300_000_000  # bytes of memory that the collector may take
_spec = importlib.util.spec_from_file_location("stack_load", LOAD)
assert _spec is not None
load = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(load)  # type: ignore[union-attr]


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells the most memory that a process had")
def test_200_processes_and_5000_spans_a_second_lose_nothing_in_300_mb(own_stack, record_property):
    """Prometheus is killed meanwhile, and is away for five seconds."""
    running = own_stack("memory")
    stack = running.stack

    with subprocess.Popen([sys.executable, LOAD, stack.otlp_http], stdout=subprocess.PIPE, text=True) as sender:
        time.sleep(8)
        running.programs["prometheus"].kill()
        time.sleep(5)
        running.programs["prometheus"].start()
        out, _ = sender.communicate(timeout=90)

    sent = json.loads(out)
    counted = f"sum(count_over_time(load_value[{2 * load.SECONDS + 120}s]))"
    stack.wait_for(lambda: int(stack.query(counted)[0]["value"][1]) == sent["points"], "every point", 40)
    for number in range(load.TRACES_A_SECOND * load.SECONDS):
        trace = load.trace_of(number)
        stack.wait_for(lambda id=trace: len(stack.trace(id)) == load.SPANS, f"{load.SPANS} spans of {trace}", 40)
    memory = running.programs["collector"].memory()
    figures = {**{key: round(value, 2) for key, value in sent.items()}, "collector_mb": memory // 10**6}
    record_property("load", figures)
    print(figures)
    assert 0 == sent["refused"]
    assert memory <= LIMIT
