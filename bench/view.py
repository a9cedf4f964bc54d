"""What the local page's server takes: to open a run of a million spans, and to follow 10,000 spans a second.

The server is a real `otel-perf view`, the page a client with a stream of events that asks for what a page asks for.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from . import measure
from .table import Goal, Row

GROUP = "Local page"
RATE = 10_000  # spans a second
BURST = 50_000
PROGRAM = """
import sys, time
import otel_perf as perf
perf.init(service="bench")

def made(name, inner=None):
    def work():
        if inner is not None:
            inner(); inner()
    return perf.profile(name, span_threshold=0)(work)

chains = [made(f"request {n}", made(f"query {n}", made("row"))) for n in range(50)]  # 7 spans a call
with perf.phase("CoreInit"):
    time.sleep(0.05)
perf.ready()
"""
BURSTS = """
for burst in range(%d):
    for call in range(%d // 7 + 1):
        chains[call %% 50]()
    time.sleep(0.6)
"""
STEADY = """
begun, done = time.perf_counter(), 0
while (now := time.perf_counter() - begun) < %f:
    while done < now * %d:
        chains[done // 7 %% 50]()
        done += 7
    time.sleep(0.005)
"""
ASKED = ("", "/start", "/series?points=600", "/flame", "/functions")


def rows(quick: bool) -> list[Row]:
    """Record, open and follow."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = _opened(folder / "many", 4 if quick else 20)
        found += _followed(folder / "steady", 10.0 if quick else 30.0)
    measure.progress("")
    return found


class Server:
    """A server, and what it has used."""

    def __init__(self, folder: Path) -> None:
        self.begun = time.perf_counter()
        words = [sys.executable, "-m", "otel_perf", "view"]
        env = measure.environment(PYTHONPATH=measure.source())
        self.process = subprocess.Popen(words, cwd=folder, env=env, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        match = re.search(r":(\d+)/\?token=(\S+)", line)
        assert match, line
        self.port = int(match[1])
        self.headers: dict[str, str] = {}
        self.headers["Cookie"] = self._asked(f"/?token={match[2]}", 303)[0]["set-cookie"].partition(";")[0]
        self.usage = psutil.Process(self.process.pid)

    def get(self, path: str) -> tuple[Any, float]:
        """Return an answer and the seconds that it took."""
        begun = time.perf_counter()
        _, body = self._asked(f"/api/runs/newest/first{path}", 200)
        return json.loads(body), time.perf_counter() - begun

    def _asked(self, address: str, status: int) -> tuple[Any, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", address, headers=self.headers)
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        assert response.status == status, f"{address}: {response.status} {body[:200]!r}"
        return response.headers, body

    def cpu(self) -> float:
        """Return the seconds of CPU that it has used."""
        times = self.usage.cpu_times()
        return float(times.user + times.system)

    def listen(self) -> list[tuple[float, str, Any]]:
        """Open a stream; return the list that its events go to, as they come: moment, name, data."""
        heard: list[tuple[float, str, Any]] = []

        def read() -> None:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            with contextlib.closing(connection), contextlib.suppress(ConnectionError):  # the server is killed
                connection.request("GET", "/api/runs/newest/first/events", headers=self.headers)
                response, name = connection.getresponse(), ""
                while line := response.readline():
                    key, _, value = line.decode().rstrip("\n").partition(": ")
                    if key == "event":
                        name = value
                    elif key == "data":
                        heard.append((time.time(), name, json.loads(value)))

        threading.Thread(target=read, daemon=True).start()
        return heard

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.communicate()


def _program(folder: Path, code: str) -> subprocess.Popen[bytes]:
    folder.mkdir()
    env = measure.environment(PYTHONPATH=measure.source())
    return subprocess.Popen([sys.executable, "-c", PROGRAM + code], cwd=folder, env=env)


def _opened(folder: Path, bursts: int) -> list[Row]:
    measure.progress(f"view: recording {bursts * BURST:,} spans")
    _program(folder, BURSTS % (bursts, BURST)).wait(600)
    size = sum(file.stat().st_size for file in folder.glob(".otel-perf/*/*/*"))
    measure.progress("view: opening them")
    server = Server(folder)
    try:
        listening = time.perf_counter() - server.begun
        first, _ = server.get("")
        answered = time.perf_counter() - server.begun
        during = []
        state = first
        while state["read"] < state["total"] or state["running"]:
            during += [server.get(path)[1] for path in ASKED]
            time.sleep(0.5)
            state = server.get("")[0]
        read, used = time.perf_counter() - server.begun, server.cpu()
        after = {path: measure.median([server.get(path)[1] for _ in range(5)]) for path in ASKED}
        _, trace = server.get(f"/traces/{state['slowest'][0]['traceId']}")
        memory = server.usage.memory_info()
        text = f"{state['spans']:,} spans ({size / 1e6:.0f} MB)"
        slow = max(during, default=0.0)
        each = ", ".join(f"{path or 'overview'} {took * 1e3:.0f} ms" for path, took in after.items())
        return [
            Row(GROUP, "command until its address is printed", listening, "s"),
            Row(GROUP, f"{text}: until the first answer", answered, "s", goal=Goal(at_most=3.0)),
            Row(GROUP, "until all of it is read", read, "s", note=f"{state['spans'] / read:,.0f} spans a second"),
            Row(GROUP, "CPU until then", used, "s", note=f"{used / state['spans'] * 1e6:.1f} µs a span"),
            Row(GROUP, "slowest answer meanwhile", slow, "s", goal=Goal(at_most=1.0)),
            Row(GROUP, "slowest answer afterwards", max(after.values()), "s", goal=Goal(at_most=0.25), note=each),
            Row(GROUP, "one trace of them", trace, "s", goal=Goal(at_most=2.0)),
            Row(GROUP, "memory of the server", memory.rss, "B", goal=Goal(at_most=300 * 2**20)),
        ]
    finally:
        server.close()


def _followed(folder: Path, seconds: float) -> list[Row]:
    measure.progress(f"view: following {RATE:,} spans a second")
    program = _program(folder, STEADY % (seconds + 8, RATE))
    try:
        while not list(folder.glob(".otel-perf/*/*/traces.jsonl")):
            assert program.poll() is None, "the program is over, and has recorded nothing"
            time.sleep(0.05)
        server = Server(folder)
        try:
            return _arriving(server, seconds)
        finally:
            server.close()
    finally:
        program.kill()
        program.wait()


def _arriving(server: Server, seconds: float) -> list[Row]:
    heard = server.listen()
    until = time.monotonic() + 10
    while not any(name == "state" and data["spans"] for _, name, data in heard):
        assert time.monotonic() < until, "no page has heard of the program"
        time.sleep(0.1)
    time.sleep(3)
    (_, _, before), used, begun = _last(heard), server.cpu(), time.perf_counter()
    grown = server.usage.memory_info().rss
    time.sleep(seconds)
    (_, _, after), took = _last(heard), time.perf_counter() - begun
    share = (server.cpu() - used) / took
    rate = (after["spans"] - before["spans"]) / took
    late = [moment - data["last"] / 1e3 for moment, name, data in heard if name == "state" and data["last"]]
    memory = server.usage.memory_info().rss
    more = f"{(memory - grown) / 2**20:.1f} MiB more than before"
    return [
        Row(GROUP, f"CPU while {rate:,.0f} spans a second arrive, a page open", share, "%", goal=Goal(at_most=0.5)),
        Row(GROUP, "age of the newest record when it is pushed", measure.median(late), "s", goal=Goal(at_most=2.0)),
        Row(GROUP, "memory of the server then", memory, "B", note=more),
    ]


def _last(heard: list[tuple[float, str, Any]]) -> tuple[float, str, Any]:
    return next(one for one in reversed(heard) if one[1] == "state")
