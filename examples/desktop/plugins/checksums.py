"""Seals the messages: each seal covers the message and the seal before it, so none can be changed."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import otel_perf as perf

if TYPE_CHECKING:
    from desktop.core import Core
    from desktop.telemetry import Reading

_ROUNDS = 100_000  # of the key derivation; costs the start something on purpose, as a key derivation must


class Plugin:
    """Also takes the checksum of each file in the standard library's top folder: an integrity check."""

    def __init__(self, core: Core) -> None:
        self._key = hashlib.pbkdf2_hmac("sha256", secrets.token_bytes(32), secrets.token_bytes(16), _ROUNDS)
        self._seal = bytes(32)
        self._messages: list[bytes] = []
        self._files = len(_manifest(Path(os.__file__).parent))

    def handle(self, reading: Reading, message: bytes) -> None:
        self._messages.append(message)
        self._seal = hmac.digest(self._key, self._seal + message, "sha256")

    def finish(self) -> str:
        state = "intact" if hmac.compare_digest(self._recompute(), self._seal) else "BROKEN"
        return f"{len(self._messages)} messages sealed, chain {state}; {self._files} library files checked"

    @perf.profile("checksums.recompute")
    def _recompute(self) -> bytes:
        seal = bytes(32)
        for message in self._messages:
            seal = hmac.digest(self._key, seal + message, "sha256")
        return seal


@perf.profile("checksums.manifest")
def _manifest(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each module file in *folder*, without its sub-folders."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.py")}
