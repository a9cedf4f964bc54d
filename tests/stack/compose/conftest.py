"""The container engine that the tests of this folder ask, beside the stack's own addresses."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(os.environ.get("OTEL_PERF_STACK_SETTINGS", "settings.json")).resolve().parent  # before it is cleaned


class Engine:
    """docker, and the stack that `otel-perf stack up` has brought up with it.

    Attributes:
        folder: where its files are.
        services: their names.
    """

    folder = FOLDER
    services = ("collector", "prometheus", "tempo", "loki", "grafana")

    def docker(self, *words: str) -> str:
        """Return what `docker WORDS` prints."""
        result = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=300, check=False)
        assert 0 == result.returncode, result.stderr
        return result.stdout

    def compose(self, *words: str) -> str:
        """Return what `docker compose WORDS` prints."""
        return self.docker("compose", "--file", str(self.folder / "docker-compose.yml"), *words)

    def stack(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `otel-perf stack WORDS`."""
        command = [sys.executable, "-m", "otel_perf", "stack", *words, "--folder", str(self.folder)]
        return subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)

    def ask(self, url: str, sign_in: str = "") -> Any:
        """Return the JSON of a URL, signed in as ``user:password`` where that is given."""
        headers = {"Authorization": f"Basic {base64.b64encode(sign_in.encode()).decode()}"} if sign_in else {}
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as answer:
            return json.load(answer)


@pytest.fixture(scope="session")
def engine() -> Engine:
    """Return the engine."""
    return Engine()
