"""One step at a time: what is new in some processes' folders becomes one request; its success moves the position.

Reading order: Follower.step(), _send(), close(). Nothing here starts a thread; whoever calls step() waits for at most
one request.
"""

from __future__ import annotations

import os

from otel_perf import clock
from otel_perf.export.endpoint import SIGNALS, Endpoints, Target
from otel_perf.export.json_values import Skipped

from .files import FAR, Folder, Position, is_marked, mark
from .pace import Pace
from .stream import Stream, form_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import ModuleType
    from typing import Any

    from .outcome import Outcome
    from .stream import Batch

FIRST_WAIT = 1.0  # seconds after the first failure; doubled by each further one
LONGEST_WAIT = 32.0
LEAST_WAIT = 0.5  # seconds, however soon a receiver wants to be asked again
JITTER = 0.2  # each wait is longer or shorter by up to this part
SAY_AGAIN = 60.0  # seconds between two lines of one cause
HOLD = 60.0  # seconds that the spans of a start wait for its root
OPEN = 16  # folders of processes that have ended that are followed at once: each takes a descriptor
LOOK_AGAIN = 2.0  # seconds until the next look at a folder that another process sends, or that cannot be opened
NOUNS = {"traces": "span", "metrics": "metric point", "logs": "log record"}


class Queued:
    """A folder that is still to be followed.

    Attributes:
        live: its process may still write.
        hold: as of Follower.
        due: monotonic seconds of the next try.
        size: bytes that are not sent, -1 before weigh().
    """

    __slots__ = ("due", "hold", "live", "path", "size")

    def __init__(self, path: str, live: bool, hold: float) -> None:
        self.path = path
        self.live = live
        self.hold = hold
        self.due = 0.0
        self.size = -1

    def weigh(self, signals: Iterable[str]) -> int:
        """Return how many bytes of *signals* were not sent at the first call."""
        if self.size < 0:
            self.size = sum(map(Folder(self.path).waiting, signals))
        return self.size


class Follower:
    """Sends what is new in processes' folders.

    Attributes:
        sent: records that were taken, by signal, as is refused.
        skipped: what could not be read.
        failing: the outcome of the last request of a signal, while it is not a success.
        folders: that are, or were, followed.
        elsewhere: folders that another process sends just now.
        unread: what cannot be opened or read, and why.
        removed: bytes that were not sent when their folders were removed.
    """

    def __init__(
        self,
        folders: Iterable[str],
        endpoints: Endpoints,
        clock: ModuleType | Any = clock,
        *,
        complain: Callable[[str], object] = lambda text: None,
        live: bool = True,
        hold: float = 0.0,
        pace: Pace | None = None,
        keep_refused: bool = False,
        theirs: bool = False,
        again: bool = False,
    ) -> None:
        """Follow *folders*.

        Args:
            folders: processes' folders; those that another process sends are left out.
            endpoints: where to.
            clock: what has ``now()``.
            complain: takes one line that says what is wrong; called at most once a minute for each kind of trouble.
            live: their processes may still write.
            hold: seconds that traces wait for the root of the start, see HOLD; 0 where there is none to come.
            pace: rests between records.
            keep_refused: what a receiver refuses for good stays unsent too.
            theirs: spans that the application's own exporter has sent are sent, too.
            again: send what was sent before, too.
        """
        self.endpoints = endpoints
        self.clock = clock
        self.complain = complain
        self.pace = pace or Pace(lambda: True)
        self.keep_refused = keep_refused
        self.theirs = theirs
        self.again = again
        self.sent = dict.fromkeys(SIGNALS, 0)
        self.refused = dict.fromkeys(SIGNALS, 0)
        self.skipped = Skipped()
        self.failing: dict[str, Outcome] = {}
        self.folders: list[Folder] = []
        self.elsewhere: set[str] = set()
        self.unread: dict[str, str] = {}
        self.removed = 0
        self._queued: list[Queued] = []
        self._streams: list[Stream] = []
        self._failures = dict.fromkeys(SIGNALS, 0)
        self._not_before = dict.fromkeys(SIGNALS, 0.0)
        self._said: dict[str, tuple[float, int]] = {}
        self._exporters: dict[str, Any] = {}
        self._deadline: Any = None
        for path in folders:
            self.queue(path, live=live, hold=hold)
        self._take()

    def queue(self, path: str, *, live: bool, hold: float = 0.0) -> None:
        """Follow one more folder once it is ours to send and, if its process has ended, not too many others are."""
        if all(one.path != path for one in self._queued):
            self._queued.insert(0 if live else len(self._queued), Queued(path, live, hold))

    def add(self, path: str, *, live: bool = True, hold: float = 0.0) -> bool:
        """Follow one more folder now; say whether it is ours to send.

        Raises: OSError: that cannot be said, as without a free descriptor.
        """
        folder = Folder(path)
        if not folder.claim():
            return False
        self._queued = [one for one in self._queued if one.path != path]
        if self.again:
            folder.positions = {signal: Position() for signal in folder.positions}
        if not folder.signals.issuperset(self.endpoints.targets):
            folder.signals.update(self.endpoints.targets)
            if is_marked(path):
                folder.save()
        self.folders.append(folder)
        for signal, target in self.endpoints.targets.items():
            stream = Stream(folder, target, live, self.skipped, self.theirs)
            if hold and signal == "traces":
                stream.held_until = self.clock.now() + hold
            self._streams.append(stream)
        return True

    def _take(self) -> None:
        """Follow what is queued, as far as it is its turn."""
        now = self.clock.now()
        ended = len({stream.folder.path for stream in self._streams if not stream.live})
        for one in list(self._queued):
            if not one.live and ended >= OPEN:
                return
            if now < one.due:
                continue
            try:
                taken = self.add(one.path, live=one.live, hold=one.hold)
            except OSError as error:
                self._cannot_read(one.path, error)
                one.due = now + LOOK_AGAIN
                continue
            self.unread.pop(one.path, None)
            if taken:
                self.elsewhere.discard(one.path)
                ended += not one.live
            else:
                self._leave(one, now)

    def _leave(self, one: Queued, now: float) -> None:
        """Leave a folder to the process that sends it, to be taken later if it is still written; or it was removed."""
        if os.path.isdir(one.path):
            self.elsewhere.add(one.path)
        elif self.theirs:  # by hand; else whoever has removed it has counted what was in it
            self._say_removed(one.path, one.weigh(self.endpoints.targets))
            one.size = 0
        one.due = now + LOOK_AGAIN
        if not one.live:
            self._queued.remove(one)

    def waiting(self, ends: Mapping[str, int] | None = None) -> int:
        """Return how many bytes are not sent yet, but for those that another process sends.

        Args:
            ends: what ends() has returned: what came later does not count.
        """
        until = ends or {}
        queued = sum(one.weigh(self.endpoints.targets) for one in self._queued if one.path not in self.elsewhere)
        return queued + sum(
            one.folder.waiting(one.signal, until.get(one.folder.file(one.signal), FAR)) for one in self._streams
        )

    def ends(self) -> dict[str, int]:
        """Return the files that are followed, each with the offset after the last byte there is."""
        return {one.folder.file(one.signal): one.folder.end(one.signal) for one in self._streams}

    def living(self) -> set[str]:
        """Return the followed folders of processes that may still write, as far as that is known here."""
        return {stream.folder.path for stream in self._streams if stream.live}

    def has_ended(self, path: str) -> None:
        """Note that the process of the folder *path* writes no more: it is given back once all of it is sent."""
        for stream in self._streams:
            if stream.folder.path == path:
                stream.live, stream.due = False, 0.0

    def release_root(self) -> None:
        """Wait no longer for the root of a start."""
        for stream in self._streams:
            stream.held_until = 0.0

    def step(self) -> float:
        """Make one request, if there is something to send; return the seconds until the next step is due."""
        now = self.clock.now()
        wait = LONGEST_WAIT
        self._take()
        for one in self._queued:
            wait = min(wait, one.due - now) if one.due > now else wait
        more = False
        for stream in list(self._streams):
            due = max(stream.due, self._not_before[stream.signal]) - now
            if due <= 0.0:
                if stream.is_held(now, self.pace):
                    due = 0.5
                else:
                    batch = self._next(stream)
                    if batch is not None:
                        self._streams.remove(stream)  # the others are first now
                        self._streams.append(stream)
                        self._send(stream, batch)
                        return 0.0
                    due = self.endpoints.targets[stream.signal].interval
                stream.due = now + due
                if not stream.live:
                    self._streams.remove(stream)
                    more = self._release(stream.folder) or more
                    continue
            wait = min(wait, due)
        return 0.0 if more and self._queued else max(0.0, wait)

    def _next(self, stream: Stream) -> Batch | None:
        """Return the stream's next batch; one that cannot be read costs itself, and no other."""
        folder, file = stream.folder, stream.folder.file(stream.signal)
        try:
            batch = stream.next_batch(self.pace)
        except OSError as error:  # that may be over at the next look; a process that has ended gets no other one
            stream.failed = not stream.live
            self._cannot_read(file, error)
            return None
        except Exception as error:  # noqa: BLE001  # whatever lies in a file
            stream.live, stream.failed = False, True  # nothing more of it in this process
            self.unread[file] = type(error).__name__
            self._say("damage", f"cannot send {file}: {type(error).__name__}: {error}")
            return None
        self.unread.pop(file, None)
        if folder.lost:
            self._say_removed(folder.path, folder.lost)
            folder.lost = 0
        return batch

    def _cannot_read(self, path: str, error: OSError) -> None:
        self.unread[path] = error.strerror or type(error).__name__
        self._say("reading", f"cannot read {path}: {self.unread[path]}; records wait in the run folder")

    def _say_removed(self, path: str, size: int) -> None:
        self.removed += size
        if size:
            self._say("removed", f"the folder {path} was removed; {size:,} bytes in it were not sent")

    def close(self, limit: float) -> bool:
        """Send what is left within *limit* seconds and end the exporters; say whether nothing is left."""
        deadline = self.clock.now() + limit
        self._limit(limit)
        self.release_root()
        whole = True
        for stream in self._streams:
            stream.live = False
            last = self.failing.get(stream.signal)
            silent = last is not None and last.reason == "no answer in time"
            whole = not silent and self._drain(stream, deadline) and whole
        self.end()
        return whole and not any(one.live for one in self._queued)

    def end(self) -> None:
        """End the exporters and give the folders back; what is left stays for a later process, or a later step()."""
        exporters, self._exporters = self._exporters, {}
        for exporter in exporters.values():
            exporter.close()
        for folder in self.folders:
            folder.release()

    def _drain(self, stream: Stream, deadline: float) -> bool:
        while True:
            batch = None if stream.failed else self._next(stream)
            if batch is None:
                return not stream.failed
            if self.clock.now() >= deadline or not self._send(stream, batch):
                return False

    def _send(self, stream: Stream, batch: Batch) -> bool:
        """Make one request; say whether it is done with, well or badly."""
        target = self.endpoints.targets[stream.signal]
        outcome = self._request(target, stream, batch)
        if outcome is None:
            return True
        if outcome.large and stream.shrink(batch):
            return True  # what follows is the same, in smaller requests
        if outcome.kind == "later" or (outcome.kind == "refused" and self.keep_refused):
            stream.forget()
            self._back_off(target, outcome)
            return False
        refused = batch.count if outcome.kind == "refused" else min(outcome.rejected, batch.count)
        stream.delivered(batch, batch.count - refused, refused)
        self.sent[stream.signal] += batch.count - refused
        self.refused[stream.signal] += refused
        self._failures[stream.signal] = 0
        self.failing.pop(stream.signal, None)
        if not stream.folder.writable:
            self._say("position", f"cannot keep in {stream.folder.path} what was sent; it will be sent again")
        if refused:
            number = f"{refused} {NOUNS[stream.signal]}{'' if refused == 1 else 's'}"
            self._say("refused", f"{target.shown} does not take {number}: {outcome.reason or 'partial success'}")
        return True

    def _request(self, target: Target, stream: Stream, batch: Batch) -> Outcome | None:
        """Return what became of one request; None if none was made, because the stream has another form now."""
        try:
            exporter = self._exporter(target)
        except Exception as error:  # noqa: BLE001  # a wrong certificate, a package that is not there
            from .outcome import Outcome, why

            return Outcome("later", why(error))
        if stream.form == "lines":
            from time import monotonic

            limit = self._deadline.cut(target.timeout)
            outcome: Outcome = exporter.send(batch.records, monotonic() + limit)
            return outcome
        if stream.form == "encoded" and not exporter.takes_encoded:
            stream.use("records")
            return None
        outcome = exporter.send(batch.records, self.pace, stream.form == "encoded")
        if outcome.kind == "later" and target.protocol == "grpc":
            self._exporters.pop(target.signal).close()  # a channel alone would wait up to two minutes to connect again
        return outcome

    def _exporter(self, target: Target) -> Any:
        found = self._exporters.get(target.signal)
        if found is None:
            if self._deadline is None:
                self._limit(None)
            if form_of(target) == "lines":
                from .as_json import JsonExporter

                found = JsonExporter(target)
            else:
                from .exporters import Exporter

                found = Exporter(target, self._deadline)
            self._exporters[target.signal] = found
        return found

    def _limit(self, limit: float | None) -> None:
        from time import monotonic

        from .outcome import Deadline

        if self._deadline is None:
            self._deadline = Deadline()
        self._deadline.at = None if limit is None else monotonic() + limit

    def _back_off(self, target: Target, outcome: Outcome) -> None:
        from random import uniform

        signal = target.signal
        self.failing[signal] = outcome
        self._failures[signal] += 1
        wait = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(10, self._failures[signal] - 1))
        wait *= uniform(1.0 - JITTER, 1.0 + JITTER)
        if outcome.wait:  # 0 says no more than "again"
            wait = max(outcome.wait, LEAST_WAIT)
        self._not_before[signal] = self.clock.now() + wait
        self._say("later", f"cannot send {signal} to {target.shown}: {outcome.reason}; records wait in the run folder")

    def _say(self, cause: str, text: str) -> None:
        """Say *text*, or count that it would have been said."""
        now = self.clock.now()
        at, count = self._said.get(cause, (float("-inf"), 0))
        if now - at < SAY_AGAIN:
            self._said[cause] = at, count + 1
            return
        self._said[cause] = now, 0
        self.complain(f"{text} ({count} more since the last line)" if count else text)

    def _release(self, folder: Folder) -> bool:
        """Give the folder back if nothing of it is followed any more; say whether that is so."""
        if any(stream.folder is folder for stream in self._streams):
            return False
        folder.release()
        return True


def as_json(target: Target) -> Target | None:
    """Return *target* for records that are sent as they are, in JSON; None where they cannot be."""
    if target.protocol == "grpc" or "otlp" not in target.exporters:
        return None
    fields = {name: getattr(target, name) for name in Target.__slots__}
    return Target(**{**fields, "protocol": "http/json", "exporters": ("otlp",)})


def send_rest_as_json(
    paths: Iterable[str],
    endpoints: Endpoints,
    limit: float,
    complain: Callable[[str], object] = lambda text: None,
) -> bool:
    """Send what is left in *paths* unchanged as OTLP/HTTP JSON within *limit* seconds; say whether nothing is left.

    No thread, none of OpenTelemetry. What is for gRPC, and what a receiver refuses as JSON, stays for a later process.

    Args:
        paths: processes' folders.
        endpoints: where to.
        limit: seconds.
        complain: as of Follower.
    """
    found = {signal: as_json(target) for signal, target in endpoints.targets.items()}
    targets = {signal: target for signal, target in found.items() if target is not None}
    paths = list(paths)
    for path in paths:
        mark(path, endpoints.targets)
    follower = Follower(paths, Endpoints(targets, []), complain=complain, live=False, keep_refused=True)
    return follower.close(limit) and len(targets) == len(endpoints.targets)
