"""The collector's queue on the disk: it grows while a backend is away, and gives the room back when that is over."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.stack

CONFIG = Path(__file__).resolve().parents[2] / "deploy" / "collector" / "config.yaml"
MIB = 2**20
REQUESTS, RECORDS, LENGTH = 45, 100, 10_000  # 45 MB of log records


def post(stack: Any, service: str, number: int) -> int:
    """Send one request of log records; return its status."""
    now = str(time.time_ns())
    records = [
        {"timeUnixNano": now, "body": {"stringValue": f"record {number}-{one} {'x' * LENGTH}"}}
        for one in range(RECORDS)
    ]
    name = {"key": "service.name", "value": {"stringValue": service}}
    group = {"resource": {"attributes": [name]}, "scopeLogs": [{"logRecords": records}]}
    return stack.post(f"{stack.otlp_http}/v1/logs", {"resourceLogs": [group]})


def test_queue_files_shrink_after_an_outage_and_nothing_of_them_is_lost(own_stack: Callable[..., Any]):
    """With the thresholds of deploy/: what a backend has missed may be 2 GB, and a file does not shrink by itself."""
    compaction = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["extensions"]["file_storage"]["compaction"]
    running = own_stack("memory")
    queue = running.folder / "collector" / "queue"
    logs = running.programs["victorialogs"]

    def largest() -> int:
        return max(file.stat().st_size for file in queue.iterdir())

    logs.kill()
    assert {200} == {post(running.stack, "away", number) for number in range(REQUESTS)}
    full = largest()
    logs.start()
    counted = "service.name:=away | count_uniq(_msg) as n"
    running.stack.wait_for(
        lambda: running.stack.logs(counted) == [{"n": str(REQUESTS * RECORDS)}], "all that was sent meanwhile", 40
    )

    running.stack.wait_for(lambda: largest() < MIB, "the queue's files are small again", 15)
    assert full > compaction["rebound_needed_threshold_mib"] * MIB
    assert 3 == len(list(queue.iterdir())), "a file of each signal, and none that was left behind"
    assert 200 == post(running.stack, "after", 0)
    running.stack.wait_for(
        lambda: running.stack.logs("service.name:=after | count() as n") == [{"n": str(RECORDS)}], "the new file works"
    )
