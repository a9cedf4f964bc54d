"""The steady state: take readings, send them, hand them to the plugins, save them, redraw."""

from __future__ import annotations

import json
import time
from itertools import islice
from typing import TYPE_CHECKING

import otel_perf as perf
from desktop.telemetry import readings

if TYPE_CHECKING:
    from desktop.core import Core
    from desktop.pluginhost import PluginHost
    from desktop.telemetry import Reading
    from desktop.transport.link import Link
    from desktop.ui.dashboard import Dashboard


def work(core: Core, link: Link, dashboard: Dashboard, host: PluginHost, count: int, seconds: float = 0.0) -> None:
    """Take and process *count* readings, as fast as they can be processed, but in *seconds* at least."""
    backlog = perf.gauge("desktop.backlog", unit="{message}")
    processed = perf.counter("desktop.messages", unit="{message}")
    begun, left = time.monotonic(), count
    source = readings(count, core.folder)
    while batch := list(islice(source, core.settings.telemetry_save_every)):
        backlog.set(left)
        send(link, host, batch)
        with perf.operation("save", slow=core.settings.telemetry_slow_save):
            core.database.save_readings(batch)
            dashboard.save(core.folder / "dashboard.svg")
        dashboard.show(batch)
        processed.add(len(batch))
        left -= len(batch)
        time.sleep(max(0.0, begun + seconds * (1 - left / count) - time.monotonic()))
    backlog.set(left)


@perf.profile
def send(link: Link, host: PluginHost, batch: list[Reading]) -> None:
    """Send *batch* through the transport and hand each reading to the plugins.

    Raises:
        RuntimeError: the hub acknowledged another number of bytes than were sent.
    """
    messages = [json.dumps(reading, separators=(",", ":")).encode() for reading in batch]
    acknowledged = link.publish(messages)
    if acknowledged != (sent := sum(map(len, messages))):
        raise RuntimeError(f"transport: {sent} bytes were sent, but {acknowledged} were acknowledged")
    for reading, message in zip(batch, messages, strict=True):
        host.handle(reading, message)
