"""What a container allows: CPUs and memory by control groups, version 1 and 2, and the CPUs by affinity.

Imports only: os. Groups nest, and the smallest limit on the way to the top holds; what is not there, "max" or garbage
means no limit. Source: Linux, Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/; proc(5), mountinfo.
"""

from __future__ import annotations

from otel_perf.system import calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

UNLIMITED = 2**60  # bytes; version 1 writes a number above this for "no limit"
MAX_DEPTH = 64  # groups on the way to the top


class Limits:
    """What the process's control groups allow.

    Attributes:
        cpus: CPUs' worth of time, None without a limit.
        memory: bytes, None without a limit.
        memory_used: bytes that the group with that limit uses, None if it does not say.
    """

    __slots__ = ("cpus", "memory", "memory_used")

    def __init__(self, cpus: float | None = None, memory: int | None = None, memory_used: int | None = None) -> None:
        self.cpus = cpus
        self.memory = memory
        self.memory_used = memory_used

    def __repr__(self) -> str:
        return f"Limits(cpus={self.cpus}, memory={self.memory}, memory_used={self.memory_used})"


def limits(folders: Iterable[str] | None = None) -> Limits:
    """Return the smallest limits in *folders*, by default those of this process's groups and all above them."""
    found = Limits()
    for folder in groups() if folders is None else folders:
        cpus = _cpus(folder)
        if cpus is not None and (found.cpus is None or cpus < found.cpus):
            found.cpus = cpus
        for limit, usage in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            memory = _number(folder, limit)
            if memory and memory < UNLIMITED and (found.memory is None or memory < found.memory):
                found.memory, found.memory_used = memory, _number(folder, usage)
    return found


def usable_cpus(found: Limits) -> float:
    """Return how many CPUs this process may use: by affinity, and by the quota in *found* where that is smaller."""
    try:
        count = float(len(calls.sched_getaffinity(calls.getpid())))
    except (AttributeError, OSError):  # not Linux
        count = float(calls.cpu_count() or 1)
    return count if found.cpus is None else min(count, found.cpus)


def groups(proc: str = "/proc/self") -> list[str]:
    """Return the folders of this process's control groups, each with those above it, up to where they are mounted."""
    paths: dict[str, str] = {}  # by controller; the only one of version 2 has no name
    for line in _lines(f"{proc}/cgroup"):
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for controller in controllers.split(","):
            paths[controller] = path
    found: list[str] = []
    for line in _lines(f"{proc}/mountinfo"):
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or len(kind) < 3 or kind[0] not in ("cgroup", "cgroup2"):
            continue
        names = [""] if kind[0] == "cgroup2" else [name for name in ("cpu", "memory") if name in kind[2].split(",")]
        for path in {paths[name] for name in names if name in paths}:
            found += _upwards(_unescape(fields[4]), _below(path, _unescape(fields[3])))
    return list(dict.fromkeys(found))


def _below(path: str, root: str) -> str:
    """Return where a group is below a mount that shows only *root* and what is in it."""
    if ".." in path.split("/") or ".." in root.split("/"):  # outside of what this container sees
        return ""
    if root == "/":
        return path.strip("/")
    if path == root or path.startswith(f"{root}/"):
        return path[len(root) :].strip("/")
    return ""


def _upwards(mount: str, path: str) -> list[str]:
    parts = path.split("/")[:MAX_DEPTH] if path else []
    return ["/".join([mount, *parts[:count]]) for count in range(len(parts), -1, -1)]


def _cpus(folder: str) -> float | None:
    words = _text(f"{folder}/cpu.max").split()
    if not words:
        words = [_text(f"{folder}/cpu.cfs_quota_us").strip(), _text(f"{folder}/cpu.cfs_period_us").strip()]
    if len(words) != 2 or not all(word.isascii() and word.isdigit() and len(word) < 16 for word in words):
        return None
    quota, period = int(words[0]), int(words[1])
    return quota / period if quota and period else None


def _number(folder: str, name: str) -> int | None:
    text = _text(f"{folder}/{name}").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 21 else None


def _text(path: str) -> str:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(256).decode("ascii", "replace")
    except OSError:
        return ""


def _lines(path: str) -> list[str]:
    try:
        with open(path, "rb") as file:
            return file.read(2**20).decode("utf-8", "surrogateescape").splitlines()
    except OSError:
        return []


def _unescape(path: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        path = path.replace(code, character)
    return path
