"""How the program under `otel-perf run --report` ended, seen by the parent that waited for it."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import TYPE_CHECKING, Any

from otel_perf.__about__ import __version__
from otel_perf.export import otlp_json
from otel_perf.export.private import Folder

if TYPE_CHECKING:
    import subprocess

EVENT = "otel_perf.process.ended"
VMSTAT = "/proc/vmstat"


class OomKills:
    """How many processes the kernel has killed for want of memory, from now on.

    Source: proc(5), /proc/vmstat, the counter oom_kill; those of memory cgroups are in it.
    """

    def __init__(self, path: str = VMSTAT) -> None:
        self._path = path
        self._before = self._read()

    def more(self) -> bool:
        """Say whether there was one since."""
        return self._read() > self._before

    def _read(self) -> int:
        try:
            with open(self._path, "rb") as file:
                words = file.read().split()
        except OSError:
            return 0
        return int(words[words.index(b"oom_kill") + 1]) if b"oom_kill" in words else 0


def shown(status: dict[str, Any]) -> str:
    """Return the *status* in words."""
    signalled = status.get("otel_perf.signal")
    return f"it ended by {signalled}" if signalled else f"it exited with code {status.get('process.exit.code')}"


def status_of(child: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Wait for *child*, leave it to be waited for again, and return what its status says, as attributes of EVENT."""
    fields: dict[str, Any] = {"otel_perf.end": "status"}
    try:
        found = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    except (AttributeError, ChildProcessError):  # Windows; or a signal's handler was faster
        found = None
    if found is None:
        code = child.wait()
        return fields | ({"process.exit.code": code} if code >= 0 else {"otel_perf.signal": _name(-code)})
    if found.si_code == os.CLD_EXITED:
        return fields | {"process.exit.code": found.si_status}
    return fields | {"otel_perf.signal": _name(found.si_status), "otel_perf.core": found.si_code == os.CLD_DUMPED}


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def note_status(process: str, status: dict[str, Any], out_of_memory: bool) -> None:
    """Append the *status* to the logs of the *process*, whose folder it is, if that was recorded.

    A process that was killed by SIGKILL while the kernel killed one for want of memory was very likely that one.
    """
    process = _newest(process)
    if status.get("otel_perf.signal") == "SIGKILL" and out_of_memory:
        status["otel_perf.out_of_memory"] = True
    trace_id, span_id, resource = _origin(process)
    severity = 9 if status.get("process.exit.code") == 0 else 17
    event = (EVENT, time.time_ns(), severity, trace_id, span_id, status, "")
    line = otlp_json.log_line(resource, otlp_json.scope("otel_perf", __version__), [event])
    try:
        with Folder(process) as folder:
            file = folder.open("logs.jsonl", os.O_WRONLY | os.O_APPEND)
        try:
            os.write(file, line)
        finally:
            os.close(file)
    except OSError:  # nothing was recorded, or the disk is full: the report goes without
        return


def _newest(process: str) -> str:
    """Return the folder of the last program that ran under this pid: exec puts another in a program's place."""
    run, pid = os.path.split(process)
    try:
        numbers = [int(name.partition("-")[2] or 1) for name in os.listdir(run) if name.partition("-")[0] == pid]
    except (OSError, ValueError):
        return process
    last = max(numbers, default=1)
    return process if last == 1 else f"{process}-{last}"


def _origin(process: str) -> tuple[int, int, str]:
    """Return trace and span id of the root of the start, 0 if there is none, and the resource of the last line."""
    trace_id = span_id = 0
    resource = ""
    try:
        with open(os.path.join(process, "traces.jsonl"), encoding="utf-8", errors="replace") as file:
            for line in file:
                if resource and '"name":"startup"' not in line:
                    continue
                for group in json.loads(line)["resourceSpans"]:
                    resource = json.dumps(group["resource"]["attributes"], separators=(",", ":"))[1:-1]
                    for span in (span for scope in group["scopeSpans"] for span in scope["spans"]):
                        if span["name"] == "startup" and "parentSpanId" not in span:
                            trace_id, span_id = int(span["traceId"], 16), int(span["spanId"], 16)
    except (OSError, ValueError, LookupError, TypeError):  # torn or damaged: the event goes without
        pass
    return trace_id, span_id, resource
