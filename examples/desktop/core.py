"""CoreInit: settings, a folder of its own, the log and the database."""

from __future__ import annotations

import logging
import platform
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import otel_perf as perf

if TYPE_CHECKING:
    from contextlib import ExitStack

    from desktop.database import Database
    from desktop.settings import Settings

log = logging.getLogger(__name__)


class Core(NamedTuple):
    """What every later phase needs."""

    settings: Settings
    folder: Path
    database: Database


def open_core(stack: ExitStack) -> Core:
    """Open everything and put the closing of it on *stack*, in reverse order.

    The folder is a temporary one and goes last; nothing of a run stays behind but what otel-perf recorded.
    """
    with perf.phase("Settings"):
        from desktop.settings import load_settings

        settings = load_settings(Path(__file__).with_name("settings.toml"))
    # ignore_cleanup_errors: a virus scanner on Windows may hold a file for a moment longer than we do
    temporary = tempfile.TemporaryDirectory(prefix="desktop-sample-", ignore_cleanup_errors=True)
    folder = Path(stack.enter_context(temporary))
    _open_log(folder / "desktop.log", stack)
    with perf.phase("Database"):
        from desktop.database import Database

        database = Database(folder / "desktop.db")
        stack.callback(database.close)
    log.info("core ready: Python %s on %s, folder %s", platform.python_version(), platform.platform(), folder)
    return Core(settings, folder, database)


def _open_log(path: Path, stack: ExitStack) -> None:
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(threadName)s %(name)s: %(message)s"))
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.DEBUG)  # perf.operation() logs at DEBUG as long as an operation keeps its limit
    root.addHandler(handler)
    stack.callback(handler.close)
    stack.callback(root.removeHandler, handler)
    stack.callback(root.setLevel, before)
