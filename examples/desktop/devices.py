"""DeviceManager: asks every kind of device at the same time, each on a thread of a pool."""

from __future__ import annotations

import logging
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from typing import TYPE_CHECKING, NamedTuple

import otel_perf as perf

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

Fact = str | int | float


class Device(NamedTuple):
    """One device of this machine; what could not be read is absent from *facts*."""

    kind: str
    name: str
    facts: dict[str, Fact]


class DeviceManager:
    """The devices found by the last scan."""

    def __init__(self, workers: int, timeout: float) -> None:
        self._workers = workers
        self._timeout = timeout
        self.devices: list[Device] = []

    @perf.profile
    def scan(self) -> list[Device]:
        """Run all probes and return what they found, in the order of the probes.

        A probe that fails or does not end within the time limit is logged and leaves its kind out.
        """
        from desktop.probes import PROBES

        with ThreadPoolExecutor(self._workers, thread_name_prefix="probe") as pool:
            # a copy of the context for each probe: its span becomes a child of this scan's
            futures = {kind: pool.submit(copy_context().run, _run_probe, kind, probe) for kind, probe in PROBES.items()}
            _, late = wait(futures.values(), timeout=self._timeout)
            for future in late:
                future.cancel()
            self.devices = [device for kind, future in futures.items() for device in _result(kind, future)]
        return self.devices

    def counts(self) -> Counter[str]:
        """Return the number of devices of each kind."""
        return Counter(device.kind for device in self.devices)


def _run_probe(kind: str, probe: Callable[[], list[Device]]) -> list[Device]:
    with perf.profile(f"probe {kind}", span_threshold=0):  # a span whatever it takes: there are only a few
        return probe()


def _result(kind: str, future: Future[list[Device]]) -> list[Device]:
    if not future.done() or future.cancelled():
        log.warning("probe %s did not end in time, its devices are missing", kind)
        return []
    if error := future.exception():
        log.warning("probe %s failed, its devices are missing: %s: %s", kind, type(error).__name__, error)
        return []
    return future.result()
