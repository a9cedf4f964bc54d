"""The services of a stack: where they are, whether they are ready, whether what is sent comes out of them again.

Everything is asked over loopback, from outside: the collector's image has nothing that could ask from inside. A
settings file (JSON) names other addresses than those of compose, and backends in place of Tempo and Loki::

    {"otlp_http": "http://127.0.0.1:4318", "otlp_grpc": "http://127.0.0.1:4317",
     "services": {"collector": "http://127.0.0.1:13133", "prometheus": "http://127.0.0.1:9090", ...}}
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from otel_perf.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

READY = {  # where a service says that it is ready, with a status below 300
    "collector": "/",
    "prometheus": "/-/ready",
    "tempo": "/ready",
    "loki": "/ready",
    "grafana": "/api/health",
    "jaeger": "/api/services",
    "victorialogs": "/health",
}
PORTS = {  # variable, default, what listens there; docker-compose.yml has the same
    "otlp_grpc": ("OTEL_PERF_STACK_OTLP_GRPC_PORT", 4317, "collector"),
    "otlp_http": ("OTEL_PERF_STACK_OTLP_HTTP_PORT", 4318, "collector"),
    "collector": ("OTEL_PERF_STACK_HEALTH_PORT", 13133, "collector"),
    "prometheus": ("OTEL_PERF_STACK_PROMETHEUS_PORT", 9090, "prometheus"),
    "tempo": ("OTEL_PERF_STACK_TEMPO_PORT", 3200, "tempo"),
    "loki": ("OTEL_PERF_STACK_LOKI_PORT", 3100, "loki"),
    "grafana": ("OTEL_PERF_STACK_GRAFANA_PORT", 3000, "grafana"),
}
DASHBOARDS = ("otel-perf-overview", "otel-perf-startup", "otel-perf-profiling", "otel-perf-process", "otel-perf-alerts")
LOOK_EVERY = 0.25  # seconds between two looks at services that are not ready
ANSWER = 3.0  # seconds that one answer may take


class Addresses:
    """Where the services of a stack are.

    Attributes:
        otlp_http: base URL for OTLP over HTTP.
        otlp_grpc: the same for gRPC.
        services: base URL by name, a key of READY.
    """

    __slots__ = ("otlp_grpc", "otlp_http", "services")

    def __init__(self, otlp_http: str, otlp_grpc: str, services: dict[str, str]) -> None:
        self.otlp_http = otlp_http
        self.otlp_grpc = otlp_grpc
        self.services = services

    @classmethod
    def of_compose(cls, environ: Mapping[str, str]) -> Addresses:
        """Return the addresses that docker-compose.yml has with these variables.

        Raises: UserError: a variable is no port.
        """
        urls = {key: f"http://127.0.0.1:{port_of(key, environ)}" for key in PORTS}
        return cls(urls.pop("otlp_http"), urls.pop("otlp_grpc"), urls)

    @classmethod
    def read(cls, file: str) -> Addresses:
        """Return the addresses of a settings file.

        Raises: UserError: it cannot be read, or is not as it should be.
        """
        try:
            with open(file, encoding="utf-8") as opened:
                content = json.load(opened)
            addresses = cls(str(content["otlp_http"]), str(content["otlp_grpc"]), dict(content["services"]))
        except OSError as error:
            raise UserError(f"cannot read {file}: {error.strerror or error}") from None
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f'{file}: {error!r}; write {{"otlp_http": URL, "otlp_grpc": URL, "services": {{NAME: URL}}}}'
            ) from None
        if not addresses.services:
            raise UserError(f"{file}: it names no service; there are {', '.join(READY)}")
        for name, url in addresses.services.items():
            if name not in READY or not _is_base(url):
                known = ", ".join(READY)
                raise UserError(f"{file}: service {name!r} at {url!r}: write one of {known}, and http://HOST:PORT")
        return addresses

    def as_json(self) -> str:
        """Return what read() reads."""
        content = {"otlp_http": self.otlp_http, "otlp_grpc": self.otlp_grpc, "services": self.services}
        return json.dumps(content, indent=2) + "\n"


def port_of(key: str, environ: Mapping[str, str]) -> int:
    """Return the port of *key*, one of PORTS.

    Raises: UserError: the variable holds something else.
    """
    variable, default, _ = PORTS[key]
    text = environ.get(variable, "").strip() or str(default)
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < 65536):
        raise UserError(f"{variable}: {text!r} is no port; write a number from 1 to 65535, the default is {default}")
    return int(text)


def _is_base(url: object) -> bool:
    try:
        parts = urlsplit(str(url))
        return parts.scheme == "http" and bool(parts.hostname) and parts.port is not None
    except ValueError:
        return False


def problem_of(name: str, url: str) -> str:
    """Return why a service is not ready, empty where it is."""
    try:
        status, body = request(url + READY[name])
    except ConnectionRefusedError:
        return "nothing listens there"
    except TimeoutError:
        return f"no answer within {ANSWER:g} s"
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    if status >= 300:
        return f"answers {status} {' '.join(body.decode(errors='replace').split())[:100]}".strip()
    return ""


def wait(services: Mapping[str, str], seconds: float, say: Callable[[str], None]) -> dict[str, str]:
    """Wait until every service is ready, saying which has become so; return why those are not that never were.

    Args:
        services: base URL by name.
        seconds: how long at most; 0 looks once.
        say: gets a line at a time.
    """
    begun = time.monotonic()
    waiting = dict(services)
    said = begun
    while True:
        problems = {name: problem_of(name, url) for name, url in waiting.items()}
        now = time.monotonic()
        for name in [name for name, problem in problems.items() if not problem]:
            say(f"{name} is ready ({now - begun:.0f} s)")
            del waiting[name], problems[name]
        if not problems or now - begun >= seconds:
            return problems
        if now - said > 5:
            said = now
            say(f"waiting for {', '.join(f'{name} ({problem})' for name, problem in problems.items())}")
        time.sleep(LOOK_EVERY)


def request(url: str, body: bytes | None = None, kind: str = "application/json") -> tuple[int, bytes]:
    """Return status and body of a GET, or of a POST of *body*; no proxy is asked.

    Raises: OSError, http.client.HTTPException: there is no answer.
    """
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=ANSWER)
    try:
        path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        headers = {"Accept": "application/json"} | ({"Content-Type": kind} if body is not None else {})
        connection.request("GET" if body is None else "POST", path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def missing_dashboards(grafana: str, seconds: float) -> list[str]:
    """Return which of our dashboards Grafana does not have within *seconds*: it provisions them while it answers."""
    until, missing = time.monotonic() + seconds, list(DASHBOARDS)
    while missing and time.monotonic() < until:
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):  # not there yet
            missing = without_dashboards(grafana)
        if missing:
            time.sleep(0.5)
    return missing


def without_dashboards(grafana: str) -> list[str]:
    """Return which of our dashboards Grafana does not have.

    Raises: OSError, http.client.HTTPException: it does not answer.
    """
    status, body = request(f"{grafana}/api/search?type=dash-db&limit=1000")
    found: Any = json.loads(body) if status == 200 else []
    have = {board.get("uid") for board in found}
    return [uid for uid in DASHBOARDS if uid not in have]


def folder_for_data(environ: Mapping[str, str], platform: str) -> str:
    """Return the user's folder for the data of programs.

    It is below the home directory, as Docker Desktop shares nothing else with its virtual machine.

    Source: XDG Base Directory Specification; Apple, "File System Programming Guide"; Microsoft, KNOWNFOLDERID.
    """
    home = os.path.expanduser("~")
    if platform == "win32":
        return environ.get("LOCALAPPDATA") or os.path.join(home, "AppData", "Local")
    if platform == "darwin":
        return os.path.join(home, "Library", "Application Support")
    given = environ.get("XDG_DATA_HOME", "")
    return given if os.path.isabs(given) else os.path.join(home, ".local", "share")
