"""The stack of deploy/ as processes: the same collector and Prometheus files, with Jaeger and VictoriaLogs behind them.

What differs from compose are addresses: variables of the collector's file, and the one file of Prometheus's targets.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping

HERE = Path(__file__).resolve().parent
DEPLOY = HERE.parents[1] / "deploy"
NAMES = ("jaeger", "victorialogs", "prometheus", "collector")  # as they are started; ended the other way round
_PORTS = (
    "otlp_grpc", "otlp_http", "health", "own", "prometheus", "victorialogs",
    "jaeger_otlp", "jaeger_http", "jaeger_grpc", "jaeger_health",
)  # fmt: skip


class Program:
    """A program that can be killed and started again with the same words, variables and folder.

    Attributes:
        log: the file with what it says.
    """

    def __init__(self, words: list[str], folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self.words = words
        self.folder = folder
        self.environment = {"PATH": os.defpath, "HOME": str(folder), **(environment or {})}
        self.log = folder / "log"
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def start(self) -> None:
        """Start it; it may not be ready yet."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.words, env=self.environment, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def end(self, with_signal: int = signal.SIGTERM) -> None:
        """End it, if it was started, and wait until it has ended."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(with_signal)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(20)

    def kill(self) -> None:
        """Kill it, without a word."""
        self.end(signal.SIGKILL)

    def said(self) -> str:
        """Return what it wrote, in all its lives."""
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def memory(self) -> int:
        """Return the most memory that was resident in this life, in bytes (Linux)."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii", errors="replace")
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


class Processes:
    """The stack as processes on free ports of 127.0.0.1.

    Attributes:
        programs: a Program by each of NAMES.
        settings: the file with the addresses, as stack.Stack reads it.
        traces: where Jaeger keeps them: ``disk``, where a SIGKILL takes nothing away, or ``memory``, which is faster.
        prometheus_folder: its copy of deploy/prometheus; reload_prometheus() takes what was changed there.
    """

    def __init__(self, backends: Mapping[str, Path], folder: Path, traces: str = "disk") -> None:
        self.folder = folder
        self.traces = traces
        self.ports = _free_ports()
        self.prometheus_folder = folder / "prometheus" / "config"
        shutil.copytree(DEPLOY / "prometheus", self.prometheus_folder)
        targets = self.prometheus_folder / "targets" / "collector.yml"
        targets.write_text(json.dumps([{"targets": [self.at("own")]}]), encoding="utf-8")
        words = {name: getattr(self, f"_{name}")(backends[name]) for name in NAMES}
        self.programs = {name: Program(words[name], folder / name, self._environment(name)) for name in NAMES}
        self.settings = folder / "settings.json"
        self.settings.write_text(json.dumps(self._addresses(), indent=2), encoding="utf-8")

    def at(self, port: str) -> str:
        """Return host and port of one of our listeners."""
        return f"127.0.0.1:{self.ports[port]}"

    def start(self) -> None:
        """Start all of it."""
        for program in self.programs.values():
            program.start()

    def end(self) -> None:
        """End all of it, each by its id: killed, as nobody needs the data any more, and Badger takes 20 s to close."""
        for program in reversed(self.programs.values()):
            program.kill()

    def reload_prometheus(self) -> None:
        """Have Prometheus read its configuration and rules again; the log says what it thinks of them."""
        process = self.programs["prometheus"].process
        assert process is not None
        process.send_signal(signal.SIGHUP)

    def _addresses(self) -> dict[str, Any]:
        ports = {
            "collector": "health",
            "prometheus": "prometheus",
            "jaeger": "jaeger_http",
            "victorialogs": "victorialogs",
        }
        return {
            "otlp_http": f"http://{self.at('otlp_http')}",
            "otlp_grpc": f"http://{self.at('otlp_grpc')}",
            "services": {name: f"http://{self.at(port)}" for name, port in ports.items()},
        }

    def _environment(self, name: str) -> dict[str, str]:
        if name == "jaeger":
            ports = {
                f"JAEGER_{kind.upper()}_PORT": str(self.ports[f"jaeger_{kind}"])
                for kind in ("otlp", "http", "grpc", "health")
            }
            folder = str(self.folder / "jaeger" / "data")
            off = {"OTEL_TRACES_SAMPLER": "always_off"}  # of its own spans, which it would send to port 4317
            return {"JAEGER_FOLDER": folder, "JAEGER_STORAGE": self.traces, **off, **ports}
        if name == "collector":
            return {
                "OTLP_GRPC_LISTEN": self.at("otlp_grpc"),
                "OTLP_HTTP_LISTEN": self.at("otlp_http"),
                "HEALTH_LISTEN": self.at("health"),
                "OWN_METRICS_HOST": "127.0.0.1",
                "OWN_METRICS_PORT": str(self.ports["own"]),
                "QUEUE_DIRECTORY": str(self.folder / "collector" / "queue"),
                "TRACES_ENDPOINT": self.at("jaeger_otlp"),
                "METRICS_ENDPOINT": f"http://{self.at('prometheus')}/api/v1/otlp/v1/metrics",
                "LOGS_ENDPOINT": f"http://{self.at('victorialogs')}/insert/opentelemetry/v1/logs",
                **_service("collector")["environment"],
            }
        return {}

    def _collector(self, programs: Path) -> list[str]:
        return [str(programs / "otelcol-perf"), f"--config={DEPLOY / 'collector' / 'config.yaml'}"]

    def _prometheus(self, programs: Path) -> list[str]:
        """Return the words of compose, with other folders and our port."""
        ours = {
            "--config.file": self.prometheus_folder / "prometheus.yml",
            "--storage.tsdb.path": self.folder / "prometheus" / "data",
        }
        given = [word.partition("=")[0] for word in _service("prometheus")["command"]]
        words = [
            f"{key}={ours[key]}" if key in ours else word
            for key, word in zip(given, _service("prometheus")["command"], strict=True)
        ]
        return [str(programs / "prometheus"), *words, f"--web.listen-address={self.at('prometheus')}"]

    def _jaeger(self, programs: Path) -> list[str]:
        return [str(programs / "jaeger"), f"--config={HERE / 'jaeger.yaml'}"]

    def _victorialogs(self, programs: Path) -> list[str]:
        data = self.folder / "victorialogs" / "data"
        return [
            str(programs / "victoria-logs"), f"-storageDataPath={data}", f"-httpListenAddr={self.at('victorialogs')}",
            "-inmemoryDataFlushInterval=1s",  # the shortest that it takes: so long a SIGKILL of its own costs it
        ]  # fmt: skip


def _service(name: str) -> dict[str, Any]:
    """Return a service of the compose file."""
    return yaml.safe_load((DEPLOY / "docker-compose.yml").read_text(encoding="utf-8"))["services"][name]


def _free_ports() -> dict[str, int]:
    """Return a free port for each of _PORTS, all different: they are held until the last is found."""
    held = [socket.socket() for _ in _PORTS]
    for one in held:
        one.bind(("127.0.0.1", 0))
    ports = {name: int(one.getsockname()[1]) for name, one in zip(_PORTS, held, strict=True)}
    for one in held:
        one.close()
    return ports
