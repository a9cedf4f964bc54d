"""The start: its root, its phases, and where it ends.

Imports only: os, recorder, imports. The root is a frame like any other, with its children filed at the top of the
call tree, so that a call below it costs nothing extra and the same paths go on after the start.
"""

from __future__ import annotations

import os

from . import imports
from .clock import now
from .recorder import (
    CHILDREN,
    CLOSED,
    CURRENT,
    LIMIT,
    N_CHILDREN,
    N_PATH,
    NEVER,
    NODE,
    OWN,
    PARENT,
    ROOT,
    SPAN,
    START,
    Site,
    SpanState,
    Trace,
    ancestors,
    count,
    cut,
    emit,
    end_frame,
    hold,
    identify,
    miss,
    new_span_id,
    new_trace_id,
    open_spans,
    opened_by,
    plain_record,
    restore,
    state,
    threshold,
)  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextvars import Token
    from typing import Any

    from .recorder import Frame

STARTED = "OTEL_PERF_STARTED"  # "pid:nanoseconds of the monotonic clock" of the exec, set by `otel-perf run`;
# "pid:trace id-span id" of its start, set by each recorded process for those that it starts
ROOT_SITE = Site("startup", "startup", "startup")
READY = "ready()"  # what ended the start: the program said so, or
INFERRED = ("listen", "port", "main", "idle", "delay")  # readiness.py found out
HOLD = 3.0  # seconds that a start whose end was inferred waits for ready()
HOLD_IDLE = 10.0  # the same of a program with init() that idles: it may sleep until what it needs is there
TICK = 0.01  # seconds; /proc counts a process's creation in these


class Startup:
    """The start of this process.

    Attributes:
        frame: the root's frame.
        phases: names of the phases in their order, and
        own: whether the application gave them.
        creation: where the process's creation time came from.
        entered: the phases in progress that enter_phase() began, outermost first, and the frame each is a child of.
        left: those of them that have ended.
        found: which rule says that the program is ready, and since when; None while none does.
        seen: names of all phases that were opened.
        over: the start has ended, at
        end: monotonic seconds, by the
        rule: that is the root's attribute ``otel_perf.ready``.
        held: the root of a start whose end was inferred is not recorded yet: ready() may still come and knows better.
        trace: its trace.
        threshold_after: seconds above which a call becomes a span once the start is over.
        token: what making the frame current gave.
        attributes: what the root span says of the start.
    """

    __slots__ = (
        "attributes",
        "creation",
        "end",
        "entered",
        "found",
        "frame",
        "held",
        "interrupted",
        "left",
        "over",
        "own",
        "phases",
        "root",
        "rule",
        "seen",
        "threshold_after",
        "token",
        "trace",
    )

    def __init__(self, created: float, creation: str, phases: tuple[str, ...], own: bool) -> None:
        span = SpanState()
        trace_id = new_trace_id()
        self.trace = span.trace = Trace(trace_id, state.on_root(trace_id, ROOT_SITE.name))
        span.span_id = new_span_id()
        self.root = span
        self.token: Token[Frame] | None = None
        self.frame: Frame = [ROOT[CHILDREN], ROOT, NEVER, created, None, span]
        self.phases = phases
        self.own = own
        self.creation = creation
        self.entered: list[tuple[Frame, Frame]] = []
        self.left: list[Frame] = []
        self.found: tuple[str, float] | None = None
        self.seen: set[str] = set()
        self.over = self.held = self.interrupted = False
        self.end = 0.0
        self.rule = ""
        self.threshold_after = 0.010
        self.attributes: dict[str, Any] = {}

    def begin(self) -> None:
        """Make this the start that records belong to."""
        state.startup = self.frame
        if CURRENT.get() is ROOT:
            self.token = CURRENT.set(self.frame)

    def mark(self, name: str, start: float, end: float) -> None:
        """Record a phase of which only the times are known."""
        self.seen.add(name)
        root = self.root
        if self.trace.sampled:
            root.cover(start, end)
            site = Site(name, name, "phase")
            emit(plain_record(site, self.trace, new_span_id(), root.span_id, start, end, end - start, 1))

    def finish(self, rule: str, end: float | None = None, interrupted: bool = False) -> None:
        """End the start: close what is open in its trace, record the root.

        Args:
            rule: what ended it, for the attribute ``otel_perf.ready``.
            end: monotonic seconds at which that was, if it was found out later; now by default.
            interrupted: a signal ended it; open spans are marked so.
        """
        if self.held and rule == READY:
            with hold():
                self.rule, self.end = rule, now()
                self.release()
        if self.over:
            return
        if self.found is not None and rule not in (READY, *INFERRED):  # the process ends, and was ready before
            rule, end = self.found
            interrupted = False
        here = CURRENT.get()
        identify_slow(here)
        with hold():
            if not self.over:
                self.over = True
                self.rule, self.interrupted = rule, interrupted
                self.end = now() if end is None else end
                self._finish()

    def _finish(self) -> None:
        """End the start; no other thread's span gets an id or ends meanwhile."""
        end, ready = self.end, self.rule == READY
        if ready:  # else they are open like everything that this end cuts short
            self.leave_entered(end)
        if ready and self.phases[-1:] == ("Ready",) and "Ready" not in self.seen:
            self.mark("Ready", end, end)
        close_open(end, self.interrupted, self.trace)
        state.startup = None
        state.span_threshold = self.threshold_after
        for frame in self.left:  # a context that stands there begins traces of its own too
            frame[SPAN] = None
        after = SpanState()  # what still stands in this frame's context now begins traces of its own
        after.foreign = True
        after.since, after.link = end, (self.trace, self.root.span_id)
        self.frame[SPAN] = after
        if CURRENT.get() is self.frame:  # not inside a call, which still has to put back what it found
            restore(self.frame, self.token)  # calls are faster where the variable is not set
        self.held = True
        if self.rule not in INFERRED:
            self.release()

    def release(self) -> None:
        """Record the root, if that has not been done."""
        with hold():
            if not self.held:
                return
            self.held = False
        root, trace, begun = self.root, self.trace, self.frame[START]
        if not trace.sampled:
            return
        extra = {
            **self.attributes,
            "otel_perf.ready": self.rule,
            "otel_perf.startup.phases": list(self.phases),
            "otel_perf.startup.phases.own": self.own,
            "otel_perf.startup.creation": self.creation,
        }
        if self.interrupted:
            extra["otel_perf.interrupted"] = True
        self_time = max(0.0, self.end - begun - root.covered)
        emit(plain_record(ROOT_SITE, trace, root.span_id, 0, begun, self.end, self_time, 0, extra, root.link))

    def enter_phase(self, site: Site) -> None:
        """End the phase in progress that was begun the same way, and begin *site*.

        A with-block is a level of its own: what was entered outside goes on, what is entered inside ends with it.
        """
        here = CURRENT.get()
        entered = [id(frame) for frame, _ in self.entered]
        level, in_block = -1, False
        for frame in ancestors(here):
            if id(frame) in entered:
                level = entered.index(id(frame))
                break
            in_block = in_block or _is_phase(frame)
        home = self.entered[level][1] if level >= 0 and not in_block else here
        keep = level + in_block if level >= 0 else len(entered) * in_block
        moment = now()
        self.leave_entered(moment, keep)
        self.seen.add(site.name)
        home = _open(home)
        _, node = miss(home, site.key)
        frame = [node[N_CHILDREN], home, NEVER, moment, node, None]
        identify(frame, forced=False)
        frame[PARENT] = below = CURRENT.get()
        for between in ancestors(below):  # calls that it may outlive: their fast exit would take it out of the context
            if between is home or between is ROOT:
                break
            between[LIMIT] = NEVER
        self.entered.append((frame, home))
        CURRENT.set(frame)

    def leave_entered(self, end: float, keep: int = 0) -> None:
        """End the phases in progress that enter_phase() began, all but the outermost *keep*."""
        while len(self.entered) > keep:
            frame, home = self.entered.pop()
            if frame[CHILDREN] is CLOSED:
                continue
            below = frame[PARENT]
            if CURRENT.get() is frame:
                CURRENT.set(below)
            count(frame[NODE], end - frame[START])
            if home[CHILDREN] is CLOSED:  # the function that it was entered in has returned
                home = _open(home)
                above, span = identify(home, forced=False), frame[SPAN]
                if above is not None and above.trace is span.trace:
                    span.parent_id, span.depth = above.span_id, above.depth + 1
            frame[PARENT] = home
            end_frame(frame, frame[NODE][N_PATH].site, end, True)
            frame[PARENT] = below
            self.left.append(frame)

    def leave_block(self, site: Site | None) -> None:
        """End what was entered inside the innermost with-block of *site*, which is about to end."""
        entered = [id(frame) for frame, _ in self.entered]
        keep = len(entered)
        for frame in ancestors(CURRENT.get()):
            if id(frame) in entered:
                keep = entered.index(id(frame))
            elif opened_by(frame, site):
                self.leave_entered(now(), keep)
                return


def _open(frame: Frame) -> Frame:
    """Return *frame*, or the nearest above it that has not ended."""
    while frame[CHILDREN] is CLOSED:
        frame = frame[PARENT]
    return frame


def _is_phase(frame: Frame) -> bool:
    """Say whether *frame* is the open with-block of a phase."""
    open_here = frame[CHILDREN] is not CLOSED and len(frame) == OWN and frame[NODE] is not None
    return open_here and frame[NODE][N_PATH].site.kind == "phase"


def identify_slow(here: Frame) -> None:
    """Give calls in progress in the context *here* that are slower than their threshold an id, for close_open().

    Not under its lock: the application's sampler may be asked, and wait for another thread.
    """
    moment = now()
    for frame in ancestors(here):
        if frame[CHILDREN] is CLOSED or frame[SPAN] is not None or (frame[NODE] is None and len(frame) == OWN):
            continue
        if moment - frame[START] > (threshold(frame[NODE][N_PATH].site) if len(frame) == OWN else imports.threshold):
            identify(frame, forced=False)


def close_open(end: float, interrupted: bool, trace: Trace | None = None) -> None:
    """End every open span of *trace* (of all traces if None) at *end*; what goes on is a linked trace of its own."""
    mark = {"otel_perf.open": True}
    if interrupted:
        mark["otel_perf.interrupted"] = True
    for frame in sorted(open_spans.values(), key=_depth, reverse=True):
        span: SpanState | None = frame[SPAN]
        if trace is not None and (span is None or span.trace is not trace or frame[START] > end):
            continue  # of another trace, or begun after the end of the start was, which was found out later
        site = (
            frame[NODE][N_PATH].site
            if len(frame) == OWN
            else Site(f"import {frame[OWN + 1]}", frame[OWN + 1], "import")
        )
        cut(frame, site, end, mark)


def _depth(frame: Frame) -> int:
    span: SpanState | None = frame[SPAN]
    return 0 if span is None else span.depth


current: Startup | None = None  # set by runtime.init()


# --- the process's creation ------------------------------------------------------------------------------------------


def join_parent(start: Startup) -> None:
    """Link *start* to that of the process that started this one, and tell its own to those that this one starts.

    What takes this process's place by exec reads that too: its creation is not that of the process.
    """
    trace_id, _, span_id = os.environ.get(STARTED, "").partition(":")[2].partition("-")
    if len(trace_id) == 32 and len(span_id) == 16:
        try:
            start.root.link = Trace(int(trace_id, 16), True), int(span_id, 16)
        except ValueError:  # somebody else's
            start.root.link = None
    own = f"{start.trace.id:032x}-{start.root.span_id:016x}" if start.trace.sampled else ""
    os.environ[STARTED] = f"{os.getpid()}:{own}"


def process_creation() -> tuple[float, str]:
    """Return the monotonic time at which this process was created, and how it is known.

    ``exec``: `otel-perf run` noted it; ``schedstat``: from the CPU and waiting time of the process, within the 10 ms
    tick that the kernel keeps; ``stat``: the tick alone; ``interpreter``: nothing better than the CPU time used so far,
    or, in a program that took the place of a recorded one by exec, now.
    The age comes from clocks that no one can step, and is subtracted from now.
    """
    me, parent = str(os.getpid()), str(os.getppid())
    pid, _, at = os.environ.get(STARTED, "").partition(":")
    moment = now()
    noted = moment - int(at) / 1e9 if at.isdecimal() and len(at) < 20 else -1.0
    if pid == me:
        return (moment - noted, "exec") if 0.0 <= noted < 3600.0 else (moment, "interpreter")
    for _ in range(3):
        moment = now()
        try:
            age, how = _age_on_linux(parent)
        except (AttributeError, OSError, ValueError, IndexError):  # another system, or no /proc
            break
        if now() - moment < 0.001:  # else another process ran between two of the clocks
            return moment - age, how
    else:
        return moment - age, how
    if pid == parent and 0.0 <= noted < 3600.0:  # there `run` stays as the parent
        return moment - noted, "exec"
    import time

    return moment - time.process_time(), "interpreter"


def _age_on_linux(parent: str) -> tuple[float, str]:
    """Return the age of this process in seconds.

    The creation lies in the 10 ms tick that the kernel notes, so the age is what that says or up to a tick less. A
    process that has not slept is as old as its CPU and its waiting for one together.

    Source: proc(5), field 22 of /proc/self/stat in clock ticks since boot; field 2 of schedstat, nanoseconds that the
    process waited to run.
    """
    import time

    started = _started_ticks("self")
    if parent not in ("0", "1") and started < _started_ticks(parent):
        raise ValueError("older than its parent")
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - started / os.sysconf("SC_CLK_TCK")
    if age < 0.0:
        raise ValueError("created in the future")
    try:
        with open("/proc/self/schedstat", "rb") as file:
            awake = time.process_time() + int(file.read().split()[1]) / 1e9
    except OSError:
        return max(age - TICK / 2, 0.0), "stat"
    if awake < age - 2 * TICK:  # it has slept: all that is known is the tick
        return age - TICK / 2, "schedstat"
    return min(max(awake, age - TICK), age), "schedstat"


def _started_ticks(pid: str) -> int:
    with open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[19])
