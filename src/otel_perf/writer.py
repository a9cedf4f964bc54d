"""The way to the disk: what is finished becomes lines of this process's run folder.

The encoder, the folder and the statistics are loaded with the first line. Used by one thread at a time: runtime.py
holds the lock. Reading order: records(), statistics(), then open() for where that goes.
"""

from __future__ import annotations

import os
import sys

from . import clock, imports, recorder, startup, tracing
from .system import calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .runtime import Runtime

AGAIN = 60.0  # seconds after which what we cost is written again
LOOK = 60.0  # seconds between two looks at all runs
STARTUP_LIMIT = 2.0  # seconds that a start may take, unless a budget says otherwise


class Writer:
    """Writes the records, statistics and events of one process.

    Attributes:
        process: whose these are: its settings, and where its runs are.
        folder: the process's own in it, None before the first line.
        on_open: called once that is there.
        root_due: the start's root is still to be written.
        monitor: what samples the process, if anything does.
        refused: records that did not reach the disk.
    """

    def __init__(self, process: Runtime, on_open: Callable[[], None]) -> None:
        self.process = process
        self.complain = process.complain
        self.folder: Any = None
        self.on_open = on_open
        self.root_due = not process.is_child
        self.monitor: Any = None
        self.refused = 0
        self._since = self._time = process.since  # when counting began, and the time of the newest points
        self._asked = process.begun  # monotonic seconds of that
        self._nodes: list[Any] = []  # what the last statistics are of
        self._exemplars: Any = None  # of functions
        self._self_due = 0.0
        self._lost = (0, 0)  # records that were dropped and that were removed, as far as that is written
        self._pending: list[list[Any]] = []  # batches of records, a line each
        self._instance = self._resource = self._own_scope = ""
        self._continued = self._tidied = 0  # parts of the metrics, and of all files, that are seen to
        self._look_at = self._retry_at = 0.0  # when all runs are looked at again, at most where there is no room
        self._seen: tuple[int, ...] = ()  # when runs and processes were made last, where they have half of the limit
        self._written = 0  # records of the batch under way that are on the disk

    def waits(self) -> bool:
        """Say whether something is written already, or taken to be."""
        return self.folder is not None or bool(self._pending)

    # --- records -----------------------------------------------------------------------------------------------------

    def records(self, taken: list[Any]) -> None:
        """Write finished records, and the events that were noted; what does not reach the disk is counted."""
        from .export.otlp_json import SPANS_A_LINE

        self._pending += [taken[first : first + SPANS_A_LINE] for first in range(0, len(taken), SPANS_A_LINE)]
        while self._pending:  # what is not written yet stays there: Ctrl-C may end this from inside
            batch, self._written = self._pending[0], 0
            try:
                self._write_batch(batch)
            except Exception as error:  # noqa: BLE001
                self._failed(error)
            if not self._is_pending(batch):
                return
            del self._pending[0]
            written = self._written
            self.refused += len(batch) - written
            self._tidy()
            if written == len(batch) and recorder.nodes and self.process.settings.exemplar_filter != "always_off":
                self._note_exemplars(batch)
        if recorder.events:
            self._write_events()

    def _write_batch(self, records: list[Any]) -> None:
        """Write records as one line, or as several, and count those that reached the disk."""
        from .export import otlp_json

        folder = self.open()
        for line, done, _ in otlp_json.trace_lines(self._resource, self._scope(), records):
            if not self._is_pending(records):
                return
            if not line or self._put("traces.jsonl", line, done):
                self._written += done
            else:
                self.complain(
                    "limit", f"the run folder's limit of {folder.limit} bytes is reached; records are dropped"
                )

    def _is_pending(self, batch: list[Any]) -> bool:
        """Say whether *batch* is still to be written: else a signal's handler, that called shutdown(), has done so."""
        return bool(self._pending) and self._pending[0] is batch

    def _put(self, name: str, line: bytes, records: int) -> bool:
        """Write a line; where there is no room, look once a second whether others have left some."""
        if self.folder.write(name, line, records):
            return True
        if clock.now() < self._retry_at:
            return False
        self._retry_at = clock.now() + 1.0
        self._retire()
        return bool(self.folder.write(name, line, records))

    def _note_exemplars(self, records: list[Any]) -> None:
        """Look which of the calls that have become spans are the slowest, for the next statistics."""
        try:
            if self._exemplars is None:
                from .metrics.exemplars import OfFunctions

                self._exemplars = OfFunctions()
            ended = None if startup.current is None else startup.current.frame[recorder.SPAN]
            self._exemplars.note(records, None if ended is None else ended.since)
        except Exception as error:  # noqa: BLE001
            self._failed(error)

    def with_cost(self, record: Any) -> Any:
        """Return *record*, the start's root with what we have cost so far."""
        if type(record) is tuple and record[recorder.R_SITE].kind == "startup":
            self.root_due = False
            return recorder.with_attributes(record, self._cost())
        return record

    def _cost(self) -> dict[str, Any]:
        """Return what we have cost this program so far, and what its start is judged by, for the root span."""
        settings = self.process.settings
        cost: dict[str, Any] = {
            "otel_perf.budget.startup": self.startup_limit(),
            "otel_perf.self.cpu_time": recorder.state.cpu_time,
        }
        if settings.strict:
            cost["otel_perf.startup.strict"] = True
        if settings.ready_when:
            cost["otel_perf.startup.ready_when"] = settings.ready_when[0]
        if recorder.state.init_time:
            cost["otel_perf.self.init_time"] = recorder.state.init_time
        if recorder.state.memory > 0:
            cost["otel_perf.self.memory"] = recorder.state.memory
        if provider := tracing.owner():
            cost["otel_perf.provider"] = provider
        if imports.seen:
            cost["otel_perf.startup.imports"] = imports.seen
        return cost

    def startup_limit(self) -> float:
        """Return the seconds that the start may take, as the program says, else its configuration."""
        file, table = self.process.settings.budgets
        said = getattr(sys.modules.get(f"{__package__}.budgets"), "own", None)
        if table is not None or said:
            from .budgets import in_force, startup_limit
            from .errors import ConfigError

            try:
                return startup_limit(in_force(file, table)) or STARTUP_LIMIT
            except ConfigError as error:
                self.complain("budgets", f"{error}; the start is judged by {STARTUP_LIMIT:g} s")
        return STARTUP_LIMIT

    # --- events ------------------------------------------------------------------------------------------------------

    def _write_events(self) -> None:
        from .export import otlp_json

        events = recorder.events[:]
        del recorder.events[: len(events)]  # another thread may note one meanwhile
        events.sort(key=lambda event: event[1])
        try:
            self.open()
            if self._put("logs.jsonl", otlp_json.log_line(self._resource, self._scope(), events), len(events)):
                return
        except Exception as error:  # noqa: BLE001
            self._failed(error)
        self.refused += len(events)

    # --- statistics --------------------------------------------------------------------------------------------------

    def statistics(self, final: bool, whole: bool = True) -> None:
        """Write the statistics that changed; what could not be written is tried again at the next look.

        Args:
            final: it is the last time.
            whole: else only what was sampled.
        """
        changed: list[Any] = []
        written = False
        if self.folder is not None and self.folder.continued.get("metrics.jsonl", 0) != self._continued:
            self._continued = self.folder.continued["metrics.jsonl"]
            self._everything_again()  # the part before may go: this one has to say it all
        try:
            found = self._function_metrics(changed, final) if whole else []
            if self.monitor is not None:
                found += self.monitor.metrics(final)
            written = self._write_metrics(found, final)
        except Exception as error:  # noqa: BLE001
            self._failed(error)
        if not written:
            changed.clear()
            self._nodes, self._self_due = [], 0.0
            if self.monitor is not None:
                self.monitor.again()
        for path, seen in changed:
            path.seen = seen

    def _everything_again(self) -> None:
        """Let the next statistics hold all that there are, not what changed alone."""
        for node in list(recorder.nodes):
            node[recorder.N_PATH].seen = 0
        measured = sys.modules.get(f"{__package__}.metrics.measured")
        if measured is not None:  # else none has been written
            measured.everything_again()
        self._nodes, self._self_due = [], 0.0
        if self.monitor is not None:
            self.monitor.everything_again()

    def _function_metrics(self, changed: list[Any], final: bool) -> list[str]:
        """Return what changed in statistics and instruments; a program that has none does without their rooms."""
        found: list[str] = []
        exemplars, until = self._exemplars, float("inf") if final else clock.now()  # the last ones leave none waiting
        nodes = [item for node in list(recorder.nodes) for item in node[recorder.N_TOTAL : recorder.N_PATH]]
        waits = exemplars is not None and exemplars.wait(until)
        if nodes and (nodes != self._nodes or final or waits):  # no call is counted that changes none of these
            from .metrics import functions

            self._nodes = nodes
            found = functions.function_metrics(self._since, self._now(), changed, exemplars, until)
        if f"{__package__}.metrics.instruments" in sys.modules:
            from .metrics import measured

            found += measured.instrument_metrics(self._since, self._now(), changed, until)
        return found

    def _now(self) -> int:
        """Return now as nanoseconds since 1970, as the newest reading has it; never before the points written last."""
        moment = clock.now()
        time = clock.wall_ns() if self.monitor is None else self.monitor.tick.wall_ns(moment)
        past, self._asked = moment - self._asked, moment
        self._time = max(time, self._time + int(past * clock.SLOWER * 1e9))
        return self._time

    def _write_metrics(self, found: list[str], final: bool) -> bool:
        """Write metrics with what we cost; return whether they reached the disk."""
        if not found and not (final and self.folder is not None):
            return True
        folder = self.open()  # which describes the resource too
        if final:
            self._tidy(final)
            folder.give_way()
        start, time, moment = self._since, self._now(), clock.now()
        lost = self._count_lost()
        if final or moment >= self._self_due or lost != self._lost:
            self._self_due, self._lost = moment + AGAIN, lost
            found += self._own_metrics(*lost, start, time)
        try:
            written = self._write_lines(found)
        except OSError:  # no room: the number of what that costs is short
            self._write_last(start, time)
            raise
        if not final:
            self._tidy()
        elif not written or self._count_lost() != lost:  # the last lines may have cost some more
            self._write_last(start, time)
        return written

    def _write_lines(self, metrics: list[str]) -> bool:
        from .export import otlp_json

        lines = otlp_json.metric_lines(self._resource, self._scope(), metrics)
        return all(self._put("metrics.jsonl", line, otlp_json.count_points(line)) for line in lines)

    def _write_last(self, start: int, time: int) -> None:
        """Write what was dropped and removed, if need be past the limit."""
        from .export import otlp_json

        found = self._own_metrics(*self._count_lost(), start, time)
        for line in otlp_json.metric_lines(self._resource, self._scope(), found):
            self.folder.write("metrics.jsonl", line, otlp_json.count_points(line), last=True)

    def _count_lost(self) -> tuple[int, int]:
        """Return how many records were dropped, and how many the folder's limit has removed that nobody waits for."""
        lost, removed = (0, 0) if self.folder is None else (self.folder.lost, self.folder.removed)
        return recorder.state.dropped + self.refused + lost, removed

    def _own_metrics(self, dropped: int, removed: int, start: int, time: int) -> list[str]:
        from .export import otlp_json

        found = []
        found.append(otlp_json.sum_metric("otel_perf.self.dropped", "{record}", dropped, start, time))
        found.append(otlp_json.sum_metric("otel_perf.self.cpu_time", "s", recorder.state.cpu_time, start, time))
        if removed:
            found.append(otlp_json.sum_metric("otel_perf.self.removed", "{record}", removed, start, time))
        if recorder.state.init_time:
            found.append(otlp_json.gauge_metric("otel_perf.self.init_time", "s", recorder.state.init_time, time))
        if recorder.state.memory:
            found.append(otlp_json.gauge_metric("otel_perf.self.memory", "By", recorder.state.memory, time))
        return found

    # --- the folder --------------------------------------------------------------------------------------------------

    def open(self) -> Any:
        """Return the run folder, made at the first use, so that what writes nothing leaves nothing."""
        if self.folder is None:
            from .export import folder

            if not self._resource:  # before the folder: a handler's shutdown() may write the rest from in between
                self.describe()
            self.folder = folder.create_process(self.choose_run(), self.process.settings.folder_limit)
            self.on_open()
        return self.folder

    def choose_run(self) -> str:
        """Return the run's folder, made if this process belongs to none yet.

        Raises: OSError: it cannot be made.
        """
        from .export import folder

        process = self.process
        process.run = process.run or folder.create_run(process.base)
        return process.run

    def _tidy(self, final: bool = False) -> None:
        """Keep all runs within their limits: after the first line, at each new part of a file, and now and then.

        Where there is little room left, also once another process wants some, and at the end.
        """
        if self.folder is None:
            return
        parts = sum(self.folder.continued.values())
        near = self._seen and (final or self._seen != self._made())
        if parts != self._tidied or clock.now() >= self._look_at or near:
            self._tidied = parts
            try:
                self._retire(final)
            except Exception as error:  # noqa: BLE001  # what is written, is
                self._failed(error)

    def _retire(self, final: bool = False) -> None:
        """Remove what is too old, too many or too large, of all runs, and of this process."""
        from .export import retention
        from .export.follow.files import is_waiting, unsent_records

        folder, settings = self.folder, self.process.settings
        self._look_at = clock.now() + LOOK
        try:
            runs = retention.Runs(
                os.path.dirname(os.path.dirname(folder.path)), self.process.run, is_waiting, unsent_records
            )
        except OSError:  # another process tidies at the same moment
            return
        runs.remove_old(settings.keep_runs, settings.keep_time)
        if runs.weighed:
            room = settings.folder_limit
            if not final:  # else our next lines would find none, and ours would go first
                room -= folder.headroom
            runs.shrink(room, waiting=False)
            if folder.sent is not None:
                folder.make_room(room - runs.others(folder.path), sent_only=True)
            runs.note(folder.path, folder.written)
            runs.shrink(room, waiting=True)
            folder.set_others(runs.others(folder.path), runs.writers)
            folder.make_room(folder.share)
            self._seen = self._made() if runs.size > settings.folder_limit // 2 else ()
        self.refused += runs.lost
        folder.removed += runs.removed

    def _made(self) -> tuple[int, ...]:
        """Return when a run, and when a process of this one, was made or removed last."""
        run = os.path.dirname(self.folder.path)
        try:
            return calls.stat(os.path.dirname(run)).st_mtime_ns, calls.stat(run).st_mtime_ns
        except OSError:  # the folder was removed
            return ()

    def describe(self) -> None:
        """Build the resource again, for records that follow."""
        from . import resource
        from .export import otlp_json
        from .metrics import wholes

        if not self._instance:
            number = f"{recorder.new_trace_id():032x}"
            self._instance = f"{number[:8]}-{number[8:12]}-4{number[13:16]}-{number[16:20]}-{number[20:]}"
        found = wholes.facts() | resource.describe(self.process.settings, self._instance)  # what the user says wins
        self._resource = otlp_json.attributes(found)

    def _scope(self) -> str:
        if not self._own_scope:
            from .__about__ import __version__
            from .export import otlp_json

            self._own_scope = otlp_json.scope("otel_perf", __version__)
        return self._own_scope

    def close(self) -> None:
        """Close the files."""
        if self.folder is not None:
            self.folder.end()

    # --- complaints --------------------------------------------------------------------------------------------------

    def _failed(self, error: Exception) -> None:
        self.complain("folder" if isinstance(error, OSError) else "worker", error)

    def let_go(self) -> None:
        """Close in a child what the parent reads and writes with; nothing is written, and no lock is taken."""
        try:
            self.close()
            if self.monitor is not None:
                self.monitor.tick.sampler.let_go()
        except Exception as error:  # noqa: BLE001  # they stay open then
            self.complain("fork", error)
