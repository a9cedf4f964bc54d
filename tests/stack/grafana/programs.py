"""Real programs that send to a stack for as long as a test needs them: the sample application and two versions of a shop."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
SHOP = 'shop "{a|b}" \\d'  # quotes, braces and what a regular expression would read
SAMPLE = "desktop-sample"
NAMESPACE = "desk"  # of the sample application; the shop has none
BUDGETS = '[budgets]\nmemory = "20MB"\nstartup = "10ms"\n'  # both are exceeded: alerts provoked on purpose
LONG = 600  # seconds that all of this takes at most


class Programs:
    """The programs, running.

    Attributes:
        stack: where they send to, a client.
        folder: where they run, and keep their runs in ``.otel-perf``.
        begun: when they were started, seconds since 1970.
        started: the processes.
        shops: those of them that are version 1 and 2 of the shop.
    """

    def __init__(self, stack: Any, folder: Path) -> None:
        self.stack = stack
        self.folder = folder
        self.begun = time.time()
        words = [[str(HERE / "shop.py"), SHOP, version, str(LONG)] for version in ("1.0", "2.0")]
        words.append([str(ROOT / "examples" / "desktop"), "--messages", "20000000"])
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "PYTHON", "PYTEST_"))}
        variables = {"PYTHONPATH": str(ROOT / "src"), "OTEL_PERF_SYSTEM_METRICS": "all", **stack.environment()}
        own = [{}, {}, {"OTEL_RESOURCE_ATTRIBUTES": f"service.namespace={NAMESPACE}"}]
        self.started = [
            subprocess.Popen(
                [sys.executable, *each], cwd=folder, env={**kept, **variables, **more}, stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )
            for each, more in zip(words, own, strict=True)
        ]  # fmt: skip
        self.shops = self.started[:2]


def running(stack: Any, folder: Path) -> Iterator[Programs]:
    """Give the programs once they have sent for 30 s; end them afterwards."""
    (folder / "otel-perf.toml").write_text(BUDGETS, encoding="utf-8")
    programs = Programs(stack, folder)
    try:
        time.sleep(30)
        assert [None] * 3 == [process.poll() for process in programs.started]
        yield programs
    finally:
        for process in programs.started:
            process.kill()
            process.wait()
