"""C28 on a real engine: what a service has taken is there after it was restarted, and after `stack down` and `up`.

And what was sent while one was away is there once it is back: it is in the collector's queue.
"""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.stack, pytest.mark.engine, pytest.mark.timeout(600)]

_spec = importlib.util.spec_from_file_location("stack_arrived", Path(__file__).resolve().parents[1] / "arrived.py")
assert _spec is not None
arrived = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(arrived)  # type: ignore[union-attr]

BACKENDS = ("prometheus", "tempo", "loki")
BACK = 90  # seconds until a service is ready again, and has what was waiting for it

SHOP = """
    import time
    import otel_perf as perf
    perf.budget("tiny", metric="process.memory.usage", max="5MB", severity="critical")
    perf.init(service="{service}", version="1.0.0")

    @perf.profile(span_threshold=0)
    def load(number):
        time.sleep(0.001)

    with perf.phase("CoreInit"):
        for number in range(20):
            load(number)
    perf.ready()
    orders = perf.counter("shop.orders")
    for number in range(5):
        orders.add(1)
        time.sleep(0.5)
"""


class Sent:
    """What a program has written in its folder, and sent to the stack."""

    def __init__(self, service: str, points: list[Any], spans: list[Any], events: list[Any]) -> None:
        self.service = service
        self.points = points
        self.spans = spans
        self.events = events

    def assert_there(self, stack: Any) -> None:
        """Wait until all of it is in the stack: each point with its time and value, each trace whole, each event."""
        arrived.assert_points(self.points, stack, self.service, BACK)
        for trace_id in {span["trace_id"] for span in self.spans}:
            of_trace = arrived.comparable([span for span in self.spans if span["trace_id"] == trace_id])
            stack.wait_for(
                lambda of=of_trace, id=trace_id: not of - arrived.comparable(stack.trace(id)), f"trace {trace_id}", BACK
            )
        stack.wait_for(
            lambda: not arrived.told_by(self.events) - arrived.told_by(stack.events(self.service)), "every event", BACK
        )


@pytest.fixture
def shop(process_stack, run_python, tmp_path, metrics_of, spans_of, logs_of):
    """Return a function that runs a program in a folder of its own, and gives what it has sent."""

    def run(folder: str) -> Sent:
        (tmp_path / folder).mkdir()
        service = f"{folder}-{time.time_ns()}"
        result = run_python(SHOP.format(service=service), env=process_stack.environment(), cwd=tmp_path / folder)
        assert (0, "") == (result.returncode, result.stderr)
        sent = Sent(service, *(read(tmp_path / folder) for read in (metrics_of, spans_of, logs_of)))
        assert sent.points
        assert sent.spans
        assert {"otel_perf.budget.exceeded"} <= {event["name"] for event in sent.events}
        return sent

    return run


def wait_until_ready(engine: Any) -> None:
    result = engine.stack("status", "--wait", str(BACK))
    assert 0 == result.returncode, result.stdout


@pytest.mark.parametrize("name", BACKENDS)
def test_backend_that_was_stopped_and_started_has_what_it_had_and_gets_what_came_meanwhile(
    engine, process_stack, shop, name
):
    before = shop("before")
    before.assert_there(process_stack)

    engine.compose("stop", name)
    away = shop("away")
    engine.compose("up", "--detach")

    wait_until_ready(engine)
    before.assert_there(process_stack)
    away.assert_there(process_stack)


def test_collector_that_is_killed_while_all_backends_are_away_loses_nothing(engine, process_stack, shop):
    engine.compose("stop", *BACKENDS)
    away = shop("away")
    engine.compose("kill", "collector")

    engine.compose("up", "--detach")

    wait_until_ready(engine)
    away.assert_there(process_stack)


def test_dashboards_and_password_outlive_a_restart_of_grafana(engine, process_stack):
    words = ("exec", "-T", "grafana", "cat", "/var/lib/grafana/admin-password")
    password = engine.compose(*words)

    engine.compose("restart", "grafana")

    wait_until_ready(engine)
    assert password == engine.compose(*words)
    grafana = process_stack.services["grafana"]
    boards = process_stack.wait_for(lambda: engine.ask(f"{grafana}/api/search?type=dash-db"), "the dashboards", BACK)
    assert 5 <= len(boards)
    assert 1 == engine.ask(f"{grafana}/api/org", f"admin:{password.strip()}")["id"]


def test_data_survives_down_and_up(engine, process_stack, shop):
    """On the same ports, too: the second `up` is told of none."""
    sent = shop("before")
    sent.assert_there(process_stack)

    down = engine.stack("down")
    up = engine.stack("up")

    assert 0 == down.returncode, down.stderr
    assert 0 == up.returncode, up.stderr
    sent.assert_there(process_stack)
