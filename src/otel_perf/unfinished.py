"""What is open right now, kept in ``open.json`` beside a process's records: after a SIGKILL it says where that was.

A call costs nothing for it: the worker finds the wrappers of calls that go on by the stacks of all threads, and what
has an id already by recorder.open_spans. Known are open phases, calls with ``span_threshold=0``, and calls and imports
that last longer than OPEN_FOR; not a coroutine that waits, unless it has an id. The file is replaced by rename, never
sent, and empty after a clean end. Imports only: recorder, imports, clock.

Reading order: Unfinished.look(), found(), then how a frame is described.
"""

from __future__ import annotations

import sys

from . import clock, imports, recorder
from .recorder import CHILDREN, CLOSED, N_PATH, NODE, OWN, SPAN, START

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Frame = list[Any]

NAME = "open.json"
FORMAT = 1
OPEN_FOR = 0.5  # seconds after which a call is worth a line
EVERY = 0.4  # seconds between two looks at least
MOST = 100  # frames that are written
MOST_STEPS = 20_000  # of all stacks that are looked at: 1 ms


class Unfinished:
    """Keeps ``open.json`` of one process up to date; used by one thread at a time."""

    def __init__(self) -> None:
        self._due = 0.0
        self._before: list[tuple[int, int]] = []  # frames that the file has, with the lines they were at
        self._written = False

    def due(self) -> bool:
        """Return whether it is time for a look, and there may be something."""
        return clock.now() >= self._due and bool(recorder.open_spans or recorder.nodes or imports.seen or self._written)

    def look(self, folder: Callable[[], str]) -> None:
        """Write what is open into the process's *folder*, if that is other than before.

        Raises: OSError: the folder cannot be written.
        """
        moment = clock.now()
        self._due = moment + EVERY
        some = found(moment)
        now = [(id(frame), line) for frame, _, line in some]
        if now != self._before:
            self._write(folder(), [described(frame, file, line) for frame, file, line in some])
            self._before = now

    def close(self, path: str) -> None:
        """Say that nothing is open any more: the process ends cleanly.

        Raises: OSError: the folder cannot be written.
        """
        if self._written:
            self._write(path, [])

    def _write(self, path: str, entries: list[dict[str, Any]]) -> None:
        import json

        from .export.folder import replace

        self._written = True
        text = json.dumps({"version": FORMAT, "written": str(clock.wall_ns()), "open": entries})
        replace(path, NAME, text.encode())


def found(moment: float) -> list[tuple[Frame, str, int]]:
    """Return the frames that are open at *moment*, each with the file and the line that it is at, oldest first."""
    frames: dict[int, tuple[Frame, str, int]] = {}
    for frame, file, line in _on_the_stacks():
        if moment - frame[START] >= OPEN_FOR or frame[SPAN] is not None:
            frames[id(frame)] = frame, file, line
    for frame in list(recorder.open_spans.values()):
        if frame[NODE] is not None and not frame[SPAN].foreign:
            frames.setdefault(id(frame), (frame, "", 0))
    some = [item for item in frames.values() if item[0][CHILDREN] is not CLOSED]
    return sorted(some, key=lambda item: item[0][START])[-MOST:]


def _on_the_stacks() -> Iterator[tuple[Frame, str, int]]:
    """Yield the frames of calls and imports that threads are in, each with the place of the program that it is at."""
    ours = getattr(sys.modules.get(f"{__package__}.wrappers"), "FILE", None)  # it may just be loaded
    hook = imports.hook_code()
    steps = 0
    for top in sys._current_frames().values():  # noqa: SLF001  # the interpreter's own way to see them
        below: Any = top
        file, line = "", 0
        while below is not None and steps < MOST_STEPS:
            steps += 1
            code = below.f_code
            if code is hook or code.co_filename == ours:
                frame = below.f_locals.get("frame" if code is hook else "_frame")
                if type(frame) is list:
                    yield frame, file, line
            elif not file and not code.co_filename.startswith("<frozen "):
                file, line = code.co_filename, below.f_lineno
            below = below.f_back


def described(frame: Frame, file: str, line: int) -> dict[str, Any]:
    """Return what the file says of one frame."""
    names = [recorder.name_of(each) for each in recorder.ancestors(frame) if _is_named(each)]
    site = None if len(frame) > OWN else frame[NODE][N_PATH].site
    if not file and site is not None:
        file, line = site.file, site.line
    found: dict[str, Any] = {
        "path": names[::-1],
        "kind": _kind(frame),
        "since": str(clock.wall_ns() - int((clock.now() - frame[START]) * 1e9)),
    }
    if file:
        found |= {"file": file, "line": line}
    span = frame[SPAN]
    if span is not None and span.trace is not None:
        found |= {"trace_id": f"{span.trace.id:032x}", "span_id": f"{span.span_id:016x}"}
    return found


def _is_named(frame: Frame) -> bool:
    if frame[CHILDREN] is CLOSED or (frame[SPAN] is not None and frame[SPAN].foreign):
        return False
    return len(frame) > OWN or frame[NODE] is not None


def _kind(frame: Frame) -> str:
    return "import" if len(frame) > OWN else str(frame[NODE][N_PATH].site.kind)
