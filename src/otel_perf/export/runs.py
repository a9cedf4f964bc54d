"""Runs in a folder: their names, the newest, what a RUN argument means. Reading only.

``.otel-perf/<run>/<process>/traces.jsonl | metrics.jsonl``. A run is any folder that holds such processes,
wherever it was copied and however it was renamed.
"""

from __future__ import annotations

import os

from otel_perf import config
from otel_perf.errors import UserError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

TRACES = "traces.jsonl"
METRICS = "metrics.jsonl"
LOGS = "logs.jsonl"
FILES = (TRACES, METRICS, LOGS)


class Run:
    """One run.

    Attributes:
        path: its folder.
        name: the folder's name.
        processes: names of its processes' folders, sorted.
    """

    __slots__ = ("name", "path", "processes")

    def __init__(self, path: str, processes: list[str]) -> None:
        self.path = path
        self.name = os.path.basename(os.path.abspath(path))
        self.processes = processes

    def __repr__(self) -> str:
        return f"Run({self.path!r}, {self.processes!r})"

    def size(self) -> int:
        """Return the bytes of all its files, those that another version wrote included."""
        return sum(_size(os.path.join(top, name)) for top, _, names in os.walk(self.path) for name in names)


def runs_folder(given: str | None = None) -> str:
    """Return the folder to look for runs in: *given*, else where a program started here would write them."""
    if given:
        return given
    folder: str = config.load({}).folder
    return folder


def find_runs(folder: str) -> list[Run]:
    """Return the runs in *folder*, newest first; none if there is no such folder."""
    found = []
    for name in _folders(folder):
        path = os.path.join(folder, name)
        processes = processes_in(path)
        if processes:
            found.append(Run(path, processes))
    found.sort(key=_age_key, reverse=True)
    return found


def find_run(argument: str | None, folder: str) -> tuple[Run, str | None]:
    """Return the run that a RUN argument means, and the process if it is the folder of one.

    Args:
        argument: a run's name in *folder*, or the path of the folder of a run or of a process; None is the
            newest run.
        folder: where the runs are, as runs_folder() gives it.

    Raises: UserError: there is no such run.
    """
    runs = find_runs(folder)
    if argument is None:
        if not runs:
            raise UserError(_nothing_in(folder))
        return runs[0], None
    for run in runs:
        if run.name == argument:
            return run, None
    if os.path.isdir(argument):
        return _run_at(argument)
    if os.path.exists(argument):
        raise UserError(f"{argument!r} is a file; name the folder of its run, or leave RUN out to take the newest")
    if not runs:
        raise UserError(f"no run {argument!r}: {_nothing_in(folder)}")
    raise UserError(
        f"no run {argument!r} in {_shown(folder)} ({len(runs)} there, newest {runs[0].name!r}); "
        "leave RUN out to take the newest"
    )


def processes_in(path: str) -> list[str]:
    """Return the names of the process folders in the run folder *path*: pids, in their order as numbers."""
    found = [name for name in _folders(path, strict=False) if is_process(os.path.join(path, name))]
    return sorted(found, key=_number_key)


def is_process(path: str) -> bool:
    """Say whether the folder *path* holds what one process recorded."""
    return any(os.path.isfile(os.path.join(path, name)) for name in FILES)


def pick_process(run: Run, name: str) -> str:
    """Return the process of *run* that *name* means.

    Raises: UserError: there is none.
    """
    if name in run.processes:
        return name
    raise UserError(
        f"no process {name!r} in run {run.name!r} ({len(run.processes)} there: {_some(run.processes)}); "
        "leave --process out to take the one that started first"
    )


def _run_at(path: str) -> tuple[Run, str | None]:
    _folders(path)  # says so if it may not be read
    processes = processes_in(path)
    if processes:
        return Run(path, processes), None
    if is_process(path):
        run = os.path.dirname(os.path.abspath(path))
        name = os.path.basename(os.path.abspath(path))
        return Run(run, processes_in(run)), name
    runs = find_runs(path)
    if runs:
        raise UserError(
            f"{path!r} holds {_count(len(runs), 'run')}, newest {runs[0].name!r}; name one of them, "
            f"or write --folder {path}"
        )
    raise UserError(
        f"{path!r} is no run: no process's folder with {TRACES} in it; name a run (--list shows them), "
        "or leave RUN out to take the newest"
    )


def _nothing_in(folder: str) -> str:
    mend = "record one: otel-perf run -- python app.py, or name the folder that has some: --folder"
    if os.path.isdir(folder):
        return f"no run in {_shown(folder)}; {mend}"
    return f"no folder {_shown(folder)} here; {mend}"


def _shown(folder: str) -> str:
    return folder.rstrip("/\\") + "/"


def _some(names: Iterable[str]) -> str:
    names = [name if name.isprintable() else repr(name) for name in names]
    return ", ".join(names[:8]) + (" …" if len(names) > 8 else "")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _folders(path: str, strict: bool = True) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return [entry.name for entry in entries if entry.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        if not strict:
            return []
        raise UserError(f"cannot read {path!r}: {error.strerror or error}; is it yours?") from None


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:  # tidied away meanwhile
        return 0


def _number_key(name: str) -> tuple[int, int, str]:
    """Sort ``9`` before ``10``, and ``9`` before ``9-2``."""
    pid, _, again = name.partition("-")
    return (int(pid) if _is_number(pid) else 2**63, int(again) if _is_number(again) else 0, name)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19


def _age_key(run: Run) -> tuple[str, int, str]:
    """Return when *run* began: by its name, ``2026-11-25T10-15-02`` in UTC; else by its folder's time."""
    stamp, again = run.name[:19], run.name[19:].lstrip("-")
    digits = stamp.replace("T", "").replace("-", "")
    if len(stamp) == 19 and len(digits) == 14 and digits.isascii() and digits.isdigit():
        return stamp, int(again) if _is_number(again) else 1, run.name
    return _folder_time(run.path), 1, run.name


def _folder_time(path: str) -> str:
    import time

    try:
        return time.strftime("%Y-%m-%dT%H-%M-%S", time.gmtime(os.stat(path).st_mtime))
    except (OSError, ValueError, OverflowError):
        return ""
