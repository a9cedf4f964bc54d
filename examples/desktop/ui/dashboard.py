"""The dashboard: four panels, drawn from one model on any surface."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import otel_perf as perf
from desktop.ui.layout import Box
from desktop.ui.surfaces import SvgSurface, TextSurface

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from desktop.devices import Device
    from desktop.telemetry import Reading
    from desktop.ui.surfaces import Surface

_HISTORY = 300  # readings that the charts show


class Model(NamedTuple):
    """What the dashboard shows, in the form the panels need."""

    port: int
    devices: list[Device]
    plugins: list[str]
    cpu: deque[float]  # seconds of CPU time between two readings
    disk_used: deque[float]  # share of the disk that is in use, 0 to 1


class Dashboard:
    """The view of a running application; ``show()`` adds readings and draws a frame."""

    def __init__(self, columns: int, rows: int, devices: list[Device], port: int) -> None:
        self._size = (columns, rows)
        self._last_cpu: float | None = None
        self.model = Model(port, devices, [], deque(maxlen=_HISTORY), deque(maxlen=_HISTORY))
        self.frames = 0

    @perf.profile
    def show(self, readings: Sequence[Reading]) -> str:
        """Add *readings* to the charts; return the new frame as text."""
        for reading in readings:
            if self._last_cpu is not None:
                self.model.cpu.append(reading["cpu_s"] - self._last_cpu)
            self._last_cpu = reading["cpu_s"]
            self.model.disk_used.append(1 - reading["disk_free"] / reading["disk_bytes"])
        surface = TextSurface(*self._size)
        self._draw(surface)
        self.frames += 1
        return str(surface)

    def save(self, path: Path) -> None:
        """Draw a frame as SVG and write it to *path*."""
        surface = SvgSurface(*self._size)
        with perf.profile("draw SVG"):  # without the writing
            self._draw(surface)
        surface.save(path)

    def _draw(self, surface: Surface) -> None:
        top, bottom = Box(0, 0, *self._size).rows(3, 2)
        left, right = top.columns(3, 2)
        _device_panel(surface, left, self.model.devices)
        _status_panel(surface, right, self.model)
        chart, gauge = bottom.columns(3, 2)
        surface.frame(chart, "CPU time between readings")
        surface.chart(chart.inside(), list(self.model.cpu))
        _disk_panel(surface, gauge, self.model.devices, self.model.disk_used)


def _device_panel(surface: Surface, box: Box, devices: Sequence[Device]) -> None:
    surface.frame(box, f"Devices: {len(devices)}")
    area = box.inside()
    for row, device in enumerate(devices[: area.height]):
        facts = ", ".join(f"{name} {value}" for name, value in device.facts.items())
        surface.text(area.x, area.y + row, f"{device.kind} {device.name}: {facts}"[: area.width])


def _status_panel(surface: Surface, box: Box, model: Model) -> None:
    surface.frame(box, "Status")
    area = box.inside()
    lines = [f"transport: port {model.port}", f"readings: {len(model.cpu)}", "plugins:"]
    lines += [f"  {name}" for name in model.plugins]
    for row, line in enumerate(lines[: area.height]):
        surface.text(area.x, area.y + row, line[: area.width])


def _disk_panel(surface: Surface, box: Box, devices: Sequence[Device], used: Sequence[float]) -> None:
    surface.frame(box, "Disks")
    area = box.inside()
    half = area.width // 2
    disks = [device for device in devices if device.kind == "disk"]
    for row, disk in enumerate(disks[: max(area.height - 2, 0)]):
        size, free = int(disk.facts["bytes"]), int(disk.facts["free"])
        surface.text(area.x, area.y + row, disk.name[: half - 1])
        surface.bar(area.x + half, area.y + row, area.width - half, 1 - free / size if size else 0)
    if used:
        surface.text(area.x, area.y + area.height - 1, f"in use: {used[-1]:.1%}"[: area.width])
