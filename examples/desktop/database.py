"""The local database: devices found, readings sent. One connection, used by the main thread only."""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING

import otel_perf as perf

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from desktop.devices import Device
    from desktop.telemetry import Reading

_SCHEMA = """
CREATE TABLE device (kind TEXT NOT NULL, name TEXT NOT NULL, facts TEXT NOT NULL, PRIMARY KEY (kind, name));
CREATE TABLE reading (sequence INTEGER PRIMARY KEY, time_ns INTEGER NOT NULL, body TEXT NOT NULL);
CREATE INDEX reading_time ON reading (time_ns);
"""


class Database:
    """A SQLite file with the application's two tables."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.executescript(_SCHEMA)
        (state,) = self._connection.execute("PRAGMA integrity_check").fetchone()
        if state != "ok":
            raise sqlite3.DatabaseError(f"{path}: integrity check says {state!r}; is the disk full?")

    @perf.profile
    def save_devices(self, devices: Iterable[Device]) -> None:
        """Store *devices* in one transaction; a device that is already there is replaced."""
        rows = [(device.kind, device.name, json.dumps(device.facts)) for device in devices]
        with self._connection:
            self._connection.executemany("INSERT OR REPLACE INTO device VALUES (?, ?, ?)", rows)

    @perf.profile
    def save_readings(self, readings: Iterable[Reading]) -> None:
        """Store *readings* in one transaction."""
        rows = [(reading["sequence"], reading["time_ns"], json.dumps(reading)) for reading in readings]
        with self._connection:
            self._connection.executemany("INSERT INTO reading VALUES (?, ?, ?)", rows)

    @perf.profile
    def count_readings(self) -> int:
        """Return how many readings are stored."""
        (count,) = self._connection.execute("SELECT count(*) FROM reading").fetchone()
        return int(count)

    def close(self) -> None:
        """Close the file; the object is of no use afterwards."""
        self._connection.close()
