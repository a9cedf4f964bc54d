"""How far each file of a process's folder was sent: ``sent.json``, and who sends it: ``sent.lock``.

Imports only: os, json, folder, parts, otlp_json. A position is a line's offset and the number of its records that are
delivered; it is kept beside the files and replaced by rename, so that a crash repeats at most the request under way.
"""

from __future__ import annotations

import os

from otel_perf.export.decode import CHUNK, MAX_LINE
from otel_perf.export.folder import replace
from otel_perf.export.otlp_json import COUNTS
from otel_perf.export.parts import begin_of_byte, bytes_at, open_at, parts_of
from otel_perf.export.private import Folder as PrivateFolder
from otel_perf.system import calls, open_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from otel_perf.export.parts import Part

SENT = "sent.json"
LOCK = "sent.lock"
FILES = {"traces": "traces.jsonl", "metrics": "metrics.jsonl", "logs": "logs.jsonl"}
MAY_ONLY_BE_READ = (1, 13, 30)  # EPERM, EACCES, EROFS
# {"version": 1, "files": {"traces.jsonl": {"offset": bytes, "records": n, "sent": n, "refused": n, …}}}, and "signals"
# where not all of them are sent.
FORMAT = 1
TAIL = 2 * 2**20  # bytes: the last words of a process are in its last lines
FAR = 2**62  # an offset that no file has
_NUMBERS = ("offset", "records", "sent", "refused")
_MORE = ("ended", "planned", "theirs")  # 0 where they are not kept
BEFORE = 4096  # bytes that say whether a file is still the same: more than a span or a point has
_LAST_WORDS = {"logs.jsonl": b'"eventName":"otel_perf.process.ended"', "traces.jsonl": b'"key":"otel_perf.end",'}


class Position:
    """How far one file was sent.

    Attributes:
        offset: where the first line begins that is not wholly delivered.
        records: how many records of that line are delivered.
        sent: records that the receiver took, in all.
        refused: records that it did not want.
        ended: the offset at which the end of all its series was sent, 0 where it was not.
        planned: the offset behind the root of the start where it was known before the start's first span was sent, so
            that some of them may be folded; 0 where it was not.
        theirs: 1 if spans that the application's own exporter sends are among *records*, 0 if they were left out.
    """

    __slots__ = ("ended", "offset", "planned", "records", "refused", "sent", "theirs")

    def __init__(
        self, offset: int = 0, records: int = 0, sent: int = 0, refused: int = 0,
        *, ended: int = 0, planned: int = 0, theirs: int = 0,
    ) -> None:  # fmt: skip
        self.offset = offset
        self.records = records
        self.sent = sent
        self.refused = refused
        self.ended = ended
        self.planned = planned
        self.theirs = theirs


class Folder:
    """One process's folder, as the follower sees it.

    Attributes:
        path: the folder.
        positions: how far each signal was sent.
        signals: those that are sent; of the others nothing waits.
        writable: the positions can be kept; else a second run would send everything again.
        claims: how often it was taken: after another one, somebody else may have got on meanwhile.
        lost: bytes that were not sent when the folder was removed; whoever says so sets it back.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.positions = {signal: Position() for signal in FILES}
        self.signals: set[str] = set()
        try:
            self._load()
        except PermissionError:  # whoever claims it is told
            self.signals.update(FILES)
        self.writable = True
        self.claims = self.lost = 0
        self._lock = -1
        self._place = (0, 0)  # device and inode that the lock has to have
        self._unlocked = False  # it may only be read, so nobody can claim it
        self._gone = False  # it was removed, and was not made again, as far as we know
        self._anew: set[str] = set()  # signals whose files began anew, which is not seen to yet
        self._ends: dict[str, int] = {}  # what there was of each signal at the last look
        self._read: dict[str, tuple[int, bytes]] = {}  # how far, and what lies before that

    def file(self, signal: str) -> str:
        """Return the path of the file of *signal*."""
        return os.path.join(self.path, FILES[signal])

    def waiting(self, signal: str, until: int = FAR) -> int:
        """Return how many bytes before the offset *until* are not sent yet."""
        offset = self.positions[signal].offset
        return sum(max(0, min(until, part.end) - max(offset, part.begin)) for part in _parts(self.file(signal)))

    def end(self, signal: str) -> int:
        """Return the offset after the last byte there is."""
        parts = _parts(self.file(signal))
        return parts[-1].end if parts else 0

    def catch_up(self, signal: str) -> Position:
        """Return how far *signal* was sent, past what was removed unsent; where it begins anew, if the file did."""
        position, parts = self.positions[signal], _parts(self.file(signal))
        anew = self._anew_from(signal, parts)
        if anew >= 0:
            self.lost += max(0, self._ends.pop(signal, 0) - max(position.offset, anew))
            if position.offset >= anew:
                position.offset, position.records, position.ended, position.planned = anew, 0, 0, 0
            self._anew.discard(signal)
            self._read.pop(signal, None)
        if parts:
            self._ends[signal] = parts[-1].end
        holds = next((part for part in parts if position.offset < part.end), None)
        if holds is not None and position.offset < holds.begin:
            position.offset, position.records = holds.begin, 0
        if signal not in self._read:
            size = min(BEFORE, position.offset - begin_of_byte(parts, position.offset - 1))
            self.note(signal, position.offset, bytes_at(self.file(signal), position.offset - size, size))
        return position

    def note(self, signal: str, end: int, line: bytes) -> None:
        """Note that *signal* was read up to the offset *end*, and *line* lies before it."""
        self._read[signal] = end, line[-BEFORE:]

    def _anew_from(self, signal: str, parts: list[Part]) -> int:
        """Return the offset from which on the file of *signal* is another one than what was read of it; -1 if none is.

        The inode does not say that: a new file may get that of the one that was removed.
        """
        if signal in self._anew:
            return 0
        if parts and self.positions[signal].offset > parts[-1].end:
            return parts[-1].begin if parts[-1].last else parts[-1].end
        end, line = self._read.get(signal, (0, b""))
        found = bytes_at(self.file(signal), end - len(line), len(line))
        return begin_of_byte(parts, end - 1) if found and found != line else -1

    def give_up(self, signal: str) -> None:
        """Count as lost what was not sent of *signal*, if the folder was removed."""
        if self._gone or signal in self._anew:
            self.lost += max(0, self._ends.pop(signal, 0) - self.positions[signal].offset)

    # --- whose it is -------------------------------------------------------------------------------------------------

    def is_ours(self) -> bool:
        """Say whether the folder is still claimed: the program may have closed all files, and with them the lock."""
        return self._unlocked or self._of_lock() is not None

    def is_gone(self) -> bool:
        """Say whether the folder that was claimed was removed."""
        found = self._of_lock()
        return self._gone or (found is not None and not found.st_nlink)

    def hold(self) -> bool:
        """Claim the folder again where it is lost: removed, and perhaps made again, or its lock closed by the program.

        Returns: whether it is ours.
        Raises: OSError: that cannot be said, as without a free descriptor.
        """
        if self.is_gone():
            self.release()
            self._gone = True
        return self.claim()

    def claim(self) -> bool:
        """Take the folder for this process; say whether it is there and nobody else has it. A death gives it back.

        Raises: OSError: that cannot be said, as without a free descriptor, or how far it was sent may not be read.
        """
        if self._of_lock() is not None:
            return True
        self._lock = -1  # else it is another file's by now
        try:
            with PrivateFolder(self.path) as folder:
                file = folder.open(LOCK, os.O_WRONLY)
        except FileNotFoundError:
            self._gone, self._unlocked = self.claims > 0, False
            return False
        except OSError as error:
            if error.errno not in MAY_ONLY_BE_READ:
                raise
            if not self._unlocked:
                self._load()
            self.claims += not self._unlocked
            self._unlocked = True
            return True
        if not _lock(file):
            calls.close(file)
            return False
        found = calls.fstat(file)
        place = found.st_dev, found.st_ino
        if self._gone or (self.claims and not self._unlocked and place != self._place):
            self._anew = set(FILES)
        else:
            try:
                self._load()  # whoever had it may have got on
            except PermissionError:
                calls.close(file)
                raise
            self._read.clear()
            self._ends = {signal: self.end(signal) for signal in FILES}
        self._lock, self._place, self._gone, self._unlocked = file, place, False, False
        self.claims += 1
        return True

    def _load(self) -> None:
        """Take up what is kept on disk; signals that are sent by now stay so."""
        self.positions, signals = _load(self.path)
        self.signals |= signals

    def release(self) -> None:
        """Give the folder back."""
        if self._of_lock() is not None:
            calls.close(self._lock)
        self._lock = -1

    def _of_lock(self) -> os.stat_result | None:
        """Return what the system says of the lock; None where its number is closed, or another file's by now."""
        if self._lock < 0:
            return None
        try:
            found = calls.fstat(self._lock)
        except OSError:
            return None
        return found if (found.st_dev, found.st_ino) == self._place else None

    def save(self) -> None:
        """Keep the positions on disk, unless they are those of a folder that was removed."""
        import json

        if self.is_gone():
            return

        files = {
            FILES[signal]: {name: getattr(at, name) for name in (*_NUMBERS, *_MORE)}
            for signal, at in self.positions.items()
        }
        only = {} if len(self.signals) == len(FILES) else {"signals": sorted(self.signals)}
        text = json.dumps({"version": FORMAT, **only, "files": files})
        try:
            replace(self.path, SENT, text.encode())
        except OSError:
            self.writable = not os.path.isdir(self.path)  # else it was removed
        else:
            self.writable = True


def mark(path: str, signals: Iterable[str]) -> None:
    """Note that *signals* of the folder *path* are to be sent, also by a later process if this one cannot."""
    if not os.path.lexists(os.path.join(path, SENT)):
        folder = Folder(path)
        folder.signals.update(signals)
        folder.save()


def is_marked(path: str) -> bool:
    """Say whether the folder *path* is to be sent."""
    return os.path.lexists(os.path.join(path, SENT))


def is_waiting(path: str) -> bool:
    """Say whether something in the folder *path*, which somebody has begun to send, is still to be sent."""
    folder = Folder(path)
    return any(folder.waiting(signal) for signal in folder.signals)


def unsent_records(path: str) -> int:
    """Return how many records in the folder *path* are still to be sent, as far as somebody has begun to."""
    if not is_marked(path):
        return 0
    folder, number = Folder(path), 0
    for signal in folder.signals:
        name = FILES[signal]
        position = folder.positions[signal]
        at = position.offset
        try:
            while (found := read_lines(folder.file(signal), at, at + CHUNK, over=True))[1] > at:
                number += sum(COUNTS[name](line) for line, _ in found[0])
                at = found[1]
        except OSError:  # what cannot be read cannot be counted
            continue
        number -= position.records
    return max(0, number)


def has_ended(path: str) -> bool:
    """Say whether the process of the folder *path* has said, or its parent has seen, that it ended."""
    for name, words in _LAST_WORDS.items():
        for part in _parts(os.path.join(path, name))[-1:]:
            try:
                with open(part.path, "rb") as file:
                    file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
                    if words in file.read(TAIL):
                        return True
            except OSError:
                continue
    return False


def read_lines(path: str, offset: int, until: int, over: bool) -> tuple[list[tuple[bytes, int]], int, int]:
    """Return whole lines from *offset* on, at least one if there is one, each with the offset where it ends.

    They are lines of one part of the file. A line that is too long to load is an empty one. The last line is left alone
    while it has no end.

    Args:
        path: the file; one that is absent has no lines.
        offset: where a line begins; where that part was removed, the next one's beginning counts.
        until: the offset to stop at.
        over: nobody writes any more: take the last line as it is.

    Returns: the lines, the offset after the last, and that at which the first begins. None where what was removed
        reaches past *until*: the offset is then behind that, and nothing is left only where it is *offset*.
    Raises: OSError: it is there and cannot be read.
    """
    found: list[tuple[bytes, int]] = []
    opened = open_at(path, offset)
    if opened is None:
        return found, offset, offset
    file, begin, done = opened
    at, over = begin, over or done
    with file:
        while at < until and (line := file.readline(MAX_LINE + 1)):
            end = at + len(line)
            if not line.endswith(b"\n"):
                if len(line) > MAX_LINE:
                    while (part := file.readline(CHUNK)) and not part.endswith(b"\n"):
                        end += len(part)
                    end += len(part)
                    if not part and not over:
                        break
                    line = b""
                elif not over:
                    break
            found.append((line, end))
            at = end
    return found, at, begin


def _parts(path: str) -> list[Part]:
    try:
        return parts_of(path)
    except OSError:
        return []


def _load(path: str) -> tuple[dict[str, Position], set[str]]:
    """Return how far each signal was sent, and which are sent: none if nobody has begun to, all if it is not said.

    Raises: PermissionError: that may not be read, as it is another user's; to begin anew would send everything twice.
    """
    import json

    data, signals = None, set(FILES)
    try:
        with open_file(os.path.join(path, SENT)) as file:
            data = json.loads(file.read(CHUNK))
    except FileNotFoundError:
        signals = set()
    except PermissionError as error:
        what = f"no permission for {SENT}, which says what was sent: its owner has to send, or to give it to you"
        raise PermissionError(error.errno, what, path) from None
    except (OSError, ValueError, RecursionError):
        data = None
    if not isinstance(data, dict) or data.get("version") != FORMAT:
        data = {}
    files, only = data.get("files"), data.get("signals")
    if isinstance(only, list):
        signals = {signal for signal in FILES if signal in only}
    return {signal: _position(files, name) for signal, name in FILES.items()}, signals


def _position(files: Any, name: str) -> Position:
    """Return what is kept for one file; the beginning where that cannot be: twice is better than never."""
    kept = files.get(name) if isinstance(files, dict) else None
    if not isinstance(kept, dict):
        return Position()
    numbers = [kept.get(key) for key in _NUMBERS]
    found = [number for number in numbers if type(number) is int and number >= 0]
    if len(found) < len(numbers):
        return Position()
    more = {key: one if type(one := kept.get(key)) is int else 0 for key in _MORE}
    return Position(*found[:4], **more)


def _lock(file: int) -> bool:
    try:
        import fcntl
    except ImportError:
        return _lock_windows(file)
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _lock_windows(file: int) -> bool:
    try:
        import msvcrt

        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    except ImportError:
        return True
    except OSError:
        return False
    return True
