"""The application: its phases in order, then its work. Every phase imports what it needs itself.

Reading order: run() from top to bottom; each phase is one module or package of the same name.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import otel_perf as perf

if TYPE_CHECKING:
    from desktop.core import Core
    from desktop.devices import DeviceManager
    from desktop.pluginhost import PluginHost
    from desktop.transport.link import Link
    from desktop.ui.dashboard import Dashboard


def run(messages: int | None = None, seconds: float = 0.0) -> None:
    """Start, send *messages* readings (None: as many as the settings say), print a summary and clean up.

    *seconds*: how long sending them lasts at least.
    """
    alerts: list[str] = []
    perf.on_alert(lambda alert: alerts.append(alert.body))
    with ExitStack() as stack:
        core = start_core(stack)
        with perf.phase("DeviceManager"):
            from desktop.devices import DeviceManager

            manager = DeviceManager(core.settings.devices_workers, core.settings.devices_timeout)
            core.database.save_devices(manager.scan())
        with perf.phase("Transport"):
            from desktop.transport.link import Link

            link = Link(core.settings)
            stack.callback(link.close)
            link.open()
        dashboard = start_ui(core, manager, link)
        perf.enter_phase("Plugins")  # no block to wrap: this phase lasts until the program is ready
        from desktop.pluginhost import PluginHost

        host = PluginHost(core)
        names = host.load(core.settings.plugins_disabled, core.settings.plugins_threaded)
        dashboard.model.plugins.extend(names)
        perf.budget("backlog", metric="desktop.backlog", max=core.settings.telemetry_backlog)
        perf.ready()

        from desktop.steady import work

        count = core.settings.telemetry_messages if messages is None else messages
        work(core, link, dashboard, host, count, seconds)
        _print_summary(core, manager, link, dashboard, host)
        sys.stdout.writelines(f"alert: {text}\n" for text in alerts)


@perf.phase("CoreInit")
def start_core(stack: ExitStack) -> Core:
    """Open settings, folder, log and database; *stack* closes them."""
    from desktop.core import open_core

    return open_core(stack)


@perf.phase("UI")
def start_ui(core: Core, manager: DeviceManager, link: Link) -> Dashboard:
    """Lay the dashboard out and draw its first frame, as text and as SVG."""
    from desktop.ui.dashboard import Dashboard

    dashboard = Dashboard(core.settings.ui_columns, core.settings.ui_rows, manager.devices, link.port)
    dashboard.show([])
    perf.usable()  # the user sees something; ready() comes when the plugins work too
    dashboard.save(core.folder / "dashboard.svg")
    return dashboard


def _print_summary(core: Core, manager: DeviceManager, link: Link, dashboard: Dashboard, host: PluginHost) -> None:
    kinds = ", ".join(f"{count} {kind}" for kind, count in manager.counts().items())
    totals = link.totals()
    lines = [
        f"devices: {kinds}",
        f"transport: {totals['messages']} messages, {totals['bytes']} bytes acknowledged on port {link.port}",
        f"database: {core.database.count_readings()} readings",
        f"ui: {dashboard.frames} frames drawn",
        *(f"plugin {name}: {line}" for name, line in host.finish().items()),
    ]
    sys.stdout.write("\n".join(lines) + "\n")
