"""What the groups share: real processes in clean surroundings, interleaved rounds, short bursts."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import sysconfig
import time
from importlib import metadata, util
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ROOT = Path(__file__).resolve().parents[1]
SITE_PACKAGES = sysconfig.get_path("purelib")
PEERS = (
    "opentelemetry-sdk",
    "opentelemetry-instrumentation-system-metrics",
    "psutil",
    "sqlalchemy",
    "pandas",
    "django",
)


def source() -> str:
    """Return the folder that otel_perf is imported from."""
    import otel_perf

    return str(Path(otel_perf.__file__).resolve().parents[1])


def progress(text: str) -> None:
    """Show *text* as the one line of progress, if somebody looks at it; an empty text takes the line away."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()


def environment(**more: str) -> dict[str, str]:
    """Return this process's environment without what changes Python, OpenTelemetry or us, and with *more*."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "OTEL_"))}
    return {**kept, **more}


def module(name: str, path: Path) -> Any:
    """Return what the file *path* of another folder of the repository defines, as a module."""
    spec = util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    found = util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def run(command: Sequence[str], folder: Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run *command* in *folder* and return what it wrote; stdin is empty."""
    return subprocess.run(
        command,
        cwd=folder,
        env=dict(env or environment()),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def ask(code: str, folder: Path, *options: str, **more: str) -> Any:
    """Run *code* in a fresh interpreter that finds bench and otel_perf; return what it printed, decoded from JSON."""
    env = environment(PYTHONPATH=os.pathsep.join([str(ROOT), source()]), **more)
    done = run([sys.executable, *options, "-c", code], folder, env)
    if done.returncode:
        raise RuntimeError(f"a benchmark's process ended with {done.returncode}:\n{code}\n{done.stderr[-2000:]}")
    return json.loads(done.stdout)


def interleaved(subjects: Mapping[str, Callable[[], Any]], rounds: int, what: str) -> dict[str, list[Any]]:
    """Call every subject once a round, each round in another order; return each one's results."""
    results: dict[str, list[Any]] = {name: [] for name in subjects}
    names = list(subjects)
    for number in range(rounds):
        progress(f"{what}: round {number + 1} of {rounds}")
        names = names[1:] + names[:1]
        for name in names if number % 2 else reversed(names):
            results[name].append(subjects[name]())
    progress("")
    return results


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return float(statistics.median(values))


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which *share* of the values lie, the nearest one that is there."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]


BURST = """
{kind}def burst(_clock=_clock, _range=range):
    _begun = _clock()
    for _ in _range({count}):
        {statement}
    return _clock() - _begun
"""


def burst(statement: str, count: int, names: Mapping[str, Any]) -> Callable[[], float]:
    """Return a function that runs *statement* *count* times and gives the seconds of one; it may contain ``await``.

    Each burst is code of its own, because the interpreter specialises a loop to what it calls. The garbage collector
    stays on, as in a program.
    """
    waits = "await " in statement or "async " in statement
    scope = {**names, "_clock": time.perf_counter}
    exec(BURST.format(kind="async " if waits else "", count=count, statement=statement), scope)
    made = scope["burst"]

    def plain() -> float:
        return float(made()) / count

    def driven() -> float:
        try:
            made().send(None)
        except StopIteration as stop:
            return float(stop.value) / count
        raise RuntimeError("a benchmark's coroutine waits for something")

    return driven if waits else plain


def fastest(bursts: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Run the bursts interleaved; return the fastest of each: on a shared machine all disturbance only adds."""
    found = dict.fromkeys(bursts, float("inf"))
    for _ in range(rounds):
        for name, one in bursts.items():
            took = one()
            if took < found[name]:
                found[name] = took
    return found


def machine() -> dict[str, Any]:
    """Describe where this was measured: what a reader needs to compare, nothing that names the machine."""
    found: dict[str, Any] = {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "otel-perf": metadata.version("otel-perf") if _installed("otel-perf") else _own_version(),
    }
    found |= {name: metadata.version(name) for name in PEERS if _installed(name)}
    return found


def missing() -> list[str]:
    """Return the peers that are not installed."""
    return [name for name in PEERS if not _installed(name)]


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _own_version() -> str:
    import otel_perf

    return otel_perf.__version__
