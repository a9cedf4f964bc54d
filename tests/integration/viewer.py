"""A real `otel-perf view` and a client that speaks HTTP with it, byte by byte where a test wants that."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path
from urllib.parse import urlencode

SRC = str(Path(__file__).resolve().parents[2] / "src")
ADDRESS = re.compile(r"http://127\.0\.0\.1:(\d+)/\?token=([\w-]{20,})\n")
PATIENCE = 20.0  # seconds that anything may take


def environment(**more):
    """Return the environment of a program that is to be recorded, and of the commands that look at it."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "PYTHON"))}
    more["PYTHONPATH"] = os.pathsep.join([*filter(None, [more.get("PYTHONPATH")]), SRC])
    return kept | more


class Answer:
    """Status, headers (names in lower case) and body of one response."""

    def __init__(self, response):
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()

    @property
    def json(self):
        assert "application/json" == self.headers["content-type"]
        return json.loads(self.body)


class Viewer:
    """The server, as a process, and whoever was given its address."""

    def __init__(self, words, line=None, **options):
        self.process = None
        if words:
            self.process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
            )
            line = self.process.stdout.readline()
        match = ADDRESS.fullmatch(line)
        assert match, (line, self.process and self.process.stderr.read())
        self.port, self.token = int(match[1]), match[2]
        self.cookie = self.ask(f"/?token={self.token}", cookie=None).headers["set-cookie"].partition(";")[0]

    def ask(self, path, method="GET", headers=None, cookie=True):
        """Return the Answer to one request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            sent = {"Cookie": self.cookie} if cookie is True else {"Cookie": cookie} if cookie else {}
            connection.request(method, path, headers=sent | (headers or {}))
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def get(self, path, status=200, **query):
        """Return what a GET of the JSON at *path* below the runs gives."""
        asked = f"?{urlencode(query)}" if query else ""
        answer = self.ask(f"/api/runs{path}{asked}")
        assert status == answer.status, answer.body
        return answer.json

    def raw(self, text):
        """Return all that the server says to these bytes, until it closes the connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as connection:
            connection.sendall(text)
            return b"".join(iter(lambda: connection.recv(65_536), b""))

    def events(self, path="/newest/first", last=None):
        """Return the Events of a process, once it is there."""
        self.wait(path, lambda overview: True)
        return Events(self, f"/api/runs{path}/events", last)

    def wait(self, path, until):
        """Ask again and again until the answer is as wanted; return it."""
        limit = time.monotonic() + PATIENCE
        while True:
            answer = self.ask(f"/api/runs{path}")
            if answer.status == 200 and until(answer.json):
                return answer.json
            assert time.monotonic() < limit, answer.body[:2_000]
            time.sleep(0.05)

    def interrupt(self):
        """Press Ctrl-C; return the exit status and what was written to stderr."""
        self.process.send_signal(signal.SIGINT)
        _, errors = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, errors

    def close(self):
        """End it; whatever happened, nothing went wrong inside."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            assert "" == self.process.communicate()[1]


class Events:
    """A stream of server-sent events: iterate over (event, data, id); a comment is (":", text, None)."""

    def __init__(self, viewer, path, last):
        self.connection = http.client.HTTPConnection("127.0.0.1", viewer.port, timeout=PATIENCE)
        headers = {"Cookie": viewer.cookie} | ({} if last is None else {"Last-Event-ID": last})
        self.connection.request("GET", path, headers=headers)
        self.response = self.connection.getresponse()
        self.status = self.response.status

    def __iter__(self):
        event, data, number = "", "", None
        while line := self.response.readline():
            if line.startswith(b":"):
                yield ":", line.decode(), None
                continue
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name == "event":
                event = value
            elif name == "data":
                data = value
            elif name == "id":
                number = value
            elif not name and event:
                yield event, json.loads(data), number
                event, data, number = "", "", None

    def first(self, event, until=lambda data: True):
        """Return data and id of the first *event* that is as wanted."""
        limit = time.monotonic() + PATIENCE
        for name, data, number in self:
            if name == event and until(data):
                return data, number
            assert time.monotonic() < limit, f"no such {event}; last {name}: {str(data)[:500]}"
        raise AssertionError(f"the stream ended before such a {event}")

    def close(self):
        self.response.close()
        self.connection.close()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()
