"""Writes a report of the run as a mail message with a list and a CSV attachment, ready to be sent."""

from __future__ import annotations

import csv
import html
import io
from collections import Counter
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from typing import TYPE_CHECKING

import otel_perf as perf

if TYPE_CHECKING:
    from desktop.core import Core
    from desktop.telemetry import Reading


class Plugin:
    """Collects the range of every number that the readings carry."""

    def __init__(self, core: Core) -> None:
        self._path = core.folder / "report.eml"
        self._columns: dict[str, list[float]] = {}
        self._present: Counter[str] = Counter()

    def handle(self, reading: Reading, message: bytes) -> None:
        self._present.update(reading.keys())
        for name, value in reading.items():
            if isinstance(value, int | float):
                low, high = self._columns.setdefault(name, [value, value])
                self._columns[name] = [min(low, value), max(high, value)]

    @perf.profile("report.finish")
    def finish(self) -> str:
        mail = EmailMessage(policy=SMTP)
        mail["Subject"] = "Telemetry of the desktop sample"
        mail["From"] = mail["To"] = "desktop@localhost"
        mail["Date"] = formatdate()
        rows = [(name, self._present[name], low, high) for name, (low, high) in sorted(self._columns.items())]
        lines = [f"{name}: {count} times, {low:g} to {high:g}" for name, count, low, high in rows]
        mail.set_content("\n".join(lines))
        items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
        mail.add_alternative(f"<ul>{items}</ul>", subtype="html")
        table = io.StringIO()
        csv.writer(table).writerows([("name", "readings", "lowest", "highest"), *rows])
        mail.add_attachment(table.getvalue(), subtype="csv", filename="readings.csv")
        self._path.write_bytes(mail.as_bytes())
        return f"a mail of {self._path.stat().st_size} bytes about {len(rows)} quantities"
