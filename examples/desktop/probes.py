"""The probes of the device manager: one function for each kind of device, on Linux, macOS and Windows."""

from __future__ import annotations

import os
import platform
import select
import shutil
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from desktop.devices import Device, Fact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_SYS = Path("/sys")
_PROC = Path("/proc")
_CLASSES = ("block", "graphics", "hidraw", "input", "power_supply", "rtc", "sound", "thermal", "tty")
# a dead network share blocks whoever asks it for minutes, so only file systems known to be local are asked
_LOCAL = {"apfs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "vfat", "xfs", "zfs"}


def processors() -> list[Device]:
    """Return each processor with its model and, where it is known, its clock rate."""
    found: list[Device] = []
    for block in _read(_PROC / "cpuinfo").split("\n\n"):
        facts = dict(_pairs(block, ":"))
        if "processor" in facts:
            known = {key: facts.get(key) for key in ("model name", "cpu MHz", "cache size")}
            found.append(Device("processor", f"cpu{facts['processor']}", _known(known)))
    if not found:  # macOS, Windows, or a sandbox without /proc
        facts = {"model name": platform.processor() or platform.machine()}
        found = [Device("processor", f"cpu{number}", _known(facts)) for number in range(os.cpu_count() or 1)]
    return found


def memory() -> list[Device]:
    """Return the machine's memory; nothing on Windows, where the standard library cannot ask."""
    lines = _pairs(_read(_PROC / "meminfo"), ":")
    if facts := {name: value for name, value in lines if name.endswith(("Total", "Free"))}:
        return [Device("memory", "ram", _known(facts))]
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return [Device("memory", "ram", {"bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")})]
    return []


def interfaces() -> list[Device]:
    """Return the network interfaces."""
    found = []
    for index, name in socket.if_nameindex():
        folder = _SYS / "class" / "net" / name
        facts = {key: _read(folder / key).strip() for key in ("address", "mtu", "operstate", "speed")}
        found.append(Device("interface", name, {"index": index, **_known(facts)}))
    return found


def disks() -> list[Device]:
    """Return the local file systems with their size and free space."""
    mounts = [line.split(" ")[:3] for line in _read(_PROC / "self" / "mounts").splitlines()]
    places = {place for _, place, kind in mounts if kind in _LOCAL}
    if not places:
        places = {f"{letter}:\\" for letter in "CDE"} if sys.platform == "win32" else {"/"}
    found = []
    for place in sorted(places):
        try:
            usage = shutil.disk_usage(place)
        except OSError:  # no such drive, or a mount of another user's
            continue
        found.append(Device("disk", place, {"bytes": usage.total, "free": usage.free}))
    return found


def terminals() -> list[Device]:
    """Return a serial-like line: a pseudo-terminal that answered a real exchange; nothing on Windows."""
    try:
        import pty
        import tty
    except ImportError:  # Windows
        return []
    controller, line = pty.openpty()
    try:
        tty.setraw(line)  # as a serial line: no echo, no translation of line ends
        os.write(controller, b"AT\r")
        os.write(line, b"OK " + _receive(line))
        answer = _receive(controller)
        if answer != b"OK AT\r":
            raise OSError(f"pseudo-terminal {os.ttyname(line)} answered {answer!r} to AT")
        return [Device("terminal", os.ttyname(line), {"answer": answer.decode().strip()})]
    finally:
        os.close(line)
        os.close(controller)


def kernel_devices() -> list[Device]:
    """Return what the kernel lists under /sys/class, with the properties of each; nothing elsewhere."""
    found = []
    for name in _CLASSES:
        folder = _SYS / "class" / name
        if folder.is_dir():
            for entry in sorted(folder.iterdir()):
                facts = {key.lower(): value for key, value in _pairs(_read(entry / "uevent"), "=")}
                found.append(Device("kernel device", f"{name}/{entry.name}", _known(facts)))
    return found


PROBES: dict[str, Callable[[], list[Device]]] = {
    "processors": processors,
    "memory": memory,
    "interfaces": interfaces,
    "disks": disks,
    "terminals": terminals,
    "kernel devices": kernel_devices,
}


def _read(path: Path) -> str:
    """Return the text of *path*, empty where there is none or it may not be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _receive(descriptor: int) -> bytes:
    """Return what arrives at *descriptor* within a second."""
    if not select.select([descriptor], [], [], 1.0)[0]:
        raise TimeoutError("pseudo-terminal: nothing arrived within 1 s")
    return os.read(descriptor, 64)


def _pairs(text: str, separator: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        name, found, value = line.partition(separator)
        if found:
            yield name.strip(), value.strip()


def _known(facts: Mapping[str, str | None]) -> dict[str, Fact]:
    return {name: value for name, value in facts.items() if value}
