"""What a thread waited for, between two looks at it: the time of a wait is not that of the work after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from otel_perf import watch
from otel_perf.watch import CPU, LOCK, OTHER, SLEEP, Thread

if TYPE_CHECKING:
    from collections.abc import Callable

SLEEPING, LOCKED, RUNNING = b"230 0x0", b"202 0x0", b"running"


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Thread]:
    """Return a function that gives a thread after looks at it: moment, CPU it has used, its call, CPU of all since."""
    state: dict[str, object] = {}
    monkeypatch.setattr(watch, "now", lambda: state["moment"])
    monkeypatch.setattr(watch, "clock_gettime", lambda clock: state["cpu"])
    monkeypatch.setattr(watch, "_calls", {230: SLEEP, 202: LOCK})
    monkeypatch.setattr(watch, "_read", lambda path: state["call"] if path.endswith("syscall") else b"0 0 0")

    def look(*looks: tuple[float, float, bytes, float]) -> Thread:
        thread = Thread(1, 0.0)
        for moment, cpu, call, spent in looks:
            state.update(moment=moment, cpu=cpu, call=call)
            assert thread.sample(spent)
        return thread

    return look


ASLEEP = (1.0, 0.0, SLEEPING, 0.0), (2.0, 0.0, SLEEPING, 0.0)


def test_a_thread_that_computes_after_a_sleep_was_asleep_before_it_computed(seen):
    series = seen(*ASLEEP, (3.0, 0.5, RUNNING, 0.5)).series

    asleep, at_work = series.between(2.0, 2.5), series.between(2.5, 3.0)
    assert (0.5, 0.0) == (asleep[SLEEP], asleep[CPU])
    assert (0.0, 0.5) == (at_work[SLEEP], at_work[CPU])


def test_waiting_for_its_turn_beside_a_thread_that_computes_is_no_sleep(seen):
    """Both have had half of the second: for as long as the other one computed, nobody knows."""
    series = seen(*ASLEEP, (3.0, 0.5, RUNNING, 1.0)).series

    found = series.between(2.0, 3.0)
    assert (0.0, 0.5, 0.5) == (found[SLEEP], found[OTHER], found[CPU])


def test_a_thread_that_waits_after_it_computed_computed_first(seen):
    series = seen((1.0, 1.0, RUNNING, 1.0), (2.0, 1.2, LOCKED, 0.2)).series

    at_work, waiting = series.between(1.0, 1.2), series.between(1.2, 2.0)
    assert (pytest.approx(0.2), pytest.approx(0.0)) == (at_work[CPU], at_work[LOCK])
    assert (pytest.approx(0.0), pytest.approx(0.8)) == (waiting[CPU], waiting[LOCK])


def test_a_sleep_that_goes_on_is_one_whoever_computes_beside_it(seen):
    series = seen(*ASLEEP, (3.0, 0.0, SLEEPING, 1.0)).series

    assert 1.0 == series.between(2.0, 3.0)[SLEEP]
