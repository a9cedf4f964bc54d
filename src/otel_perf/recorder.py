"""Call tree, open frames and finished records: what the application's threads touch.

Imports only: contextvars, os, sys, time, _thread. No OpenTelemetry, no I/O, no lock on the path of a call.
Reading order: Site, the layouts of frames and nodes, enter() and leave(), identify(); the worker's drain(), snapshot().

A *frame* is one call in progress: a plain list, because building one is on the path of every call. A *node* is one
call path with its statistics. The variable CURRENT holds the innermost open frame of the running context; it is at the
same time the OpenTelemetry context (tracing/bridge.py), so both worlds nest in each other at no cost to a fast call.

A frame that has ended keeps standing in contexts that were copied from it (tasks, callbacks). It is recognised by its
children being CLOSED, one shared dict that is always empty: a look-up below it misses, and the miss path finds the
frame that new work belongs to.
"""

from __future__ import annotations

from _contextvars import ContextVar  # no module of that name on sys.path can stand for it
from _thread import RLock, get_native_id
from os import urandom
from sys import exc_info

from .clock import now, wall_ns, wall_offset

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextvars import Token
    from typing import Any

    Frame = list[Any]
    Node = list[Any]
    Record = tuple[Any, ...]

# Frame layout. A foreign frame has one slot more, the OpenTelemetry context that it stands for (tracing/bridge.py); an
# import's frame has two more, the time in nested imports and the module's name (imports.py). Both share the node of the
# frame below: they are no part of a call path.
CHILDREN, PARENT, LIMIT, START, NODE, SPAN = range(6)
OWN = 6  # slots of a frame of ours
#     A frame's LIMIT is FOREVER, or NEVER once its exit has more to look at than the time.
# Node layout. LOW <= duration <= LIMIT is the comparison of a fast exit: it holds when the call is not faster than the
# fastest nor slower than the slowest so far, needs no span, and lies in the two histogram buckets that MID divides. The
# node's values at the exit count: another call of the same path may have moved them meanwhile.
#     N_CHILDREN is slot 0 of both, so that a frame can take it over.
N_CHILDREN, N_LIMIT, N_LOW, N_MID, N_TOTAL, N_BELOW, N_ABOVE, N_PATH = range(8)

# Record layout, of a finished span: ids are numbers, times monotonic seconds; the error is its type and message, the
# link trace and span id; the last says whether the parent lives in another process.
R_SITE, R_TRACE, R_SPAN_ID, R_PARENT_ID, R_BEGIN, R_END, R_SELF_TIME, R_DEPTH, R_ATTRIBUTES = range(9)
R_ERROR, R_LINK, R_EVENTS, R_STATUS, R_REMOTE = range(9, 14)

CLOSED: dict[Any, Node] = {}  # never filled
NEVER = -1.0  # as a limit: every duration is above it, so the slow exit decides
FOREVER = float("inf")
HALF = 0.5 + 2.0**-53  # times a power of two, the float next above one half of it

BUCKETS = 72  # powers of two from 2**-40 s (1 ps) to 2**32 s
LOWEST = -40
SCALE = 2.0**-LOWEST  # bucket 0 begins at 1

MAX_FINISHED = 200_000  # finished records waiting for the worker; beyond it they are dropped and counted
MAX_SITES = 2_000  # profile series, as OpenTelemetry's default cardinality limit for metrics
MAX_NODES = 10_000  # call paths
MAX_DEPTH = 128  # of a call path; deeper calls are counted below one flat node, as are those of
MAX_PATH = 4_096  # characters
MAX_FORCED = 10_000  # spans a second of one function that exist only because something inside asked for their id
OURS = frozenset(  # attributes that every span of ours has: what the application sets of these is not taken
    (
        "otel_perf.kind", "otel_perf.depth", "otel_perf.self_time", "code.function.name", "code.file.path",
        "code.line.number",
    )
)  # fmt: skip
PLAIN = (str, int, float, bytes, bool, type(None))  # whose text runs no code of the program's
MAX_INTERVALS = 32  # children kept apart when their union is taken


class Site:
    """One place in the code that is recorded: a function, a phase, an operation.

    Attributes:
        name: span name.
        series: name of its statistics; sites of the same kind and series are reported as one.
        kind: ``function``, ``operation``, ``phase``, ``import`` or ``startup``.
        function: fully qualified name of the function it stands in, ``code.function.name``.
        file: path of the source file, empty when unknown.
        line: line number, 0 when unknown.
        threshold: a call slower than this many seconds becomes a span, each does at 0; None takes the default of the
            moment.
        slow: a call slower than this many seconds is logged as a warning; None never is.
        key: what the call tree files it under: itself, or OVERFLOW once there are MAX_SITES sites.
        static: the encoder's text for what does not change from span to span.
    """

    __slots__ = (
        "file", "forced", "forced_since", "function", "key", "kind", "line", "name", "series", "slow", "static",
        "threshold",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        series: str,
        kind: str,
        function: str = "",
        file: str = "",
        line: int = 0,
        threshold: float | None = None,
        slow: float | None = None,
    ) -> None:
        self.name = name
        self.series = series
        self.kind = kind
        self.function = function
        self.file = file
        self.line = line
        self.threshold = threshold
        self.slow = slow
        self.key: Site = self
        self.static: bytes | None = None
        self.forced = 0
        self.forced_since = 0.0

    def __repr__(self) -> str:
        return f"Site({self.kind} {self.series!r})"


class Trace:
    """One trace: its id, its fixed wall clock offset, and whether it is sampled.

    Attributes:
        flags: further trace flags, and
        tracestate: the W3C trace state, of a trace that began elsewhere; both are passed on.
    """

    __slots__ = ("flags", "id", "offset", "sampled", "tracestate")

    def __init__(self, trace_id: int, sampled: bool = True) -> None:
        self.id = trace_id
        self.offset = wall_offset()
        self.sampled = sampled
        self.flags = 0
        self.tracestate: Any = None


class SpanState:
    """What a frame carries once somebody needs more of it than its time.

    Attributes:
        trace: the trace, None as long as nobody has asked for an id.
        span_id: this span's id.
        parent_id: the parent's span id, 0 for a root.
        depth: distance from the root of our own frames.
        remote: this foreign span, or the parent of this span, lives in another process.
        since: where the span begins when the frame's own start lies in a trace that has ended,
        inside: and its depth there; of a start that is over, when that was and 0.
        covered: seconds that children have covered already, and
        intervals: the latest of these, ascending and disjoint, that a longer child may still overlap.
        link: trace and span id of the span that this one continues.
        context: what tracing/bridge.py answers for this frame, as long as it is open, and
        lazy: the span in it; its attribute ``frame`` is the stand_in() once this frame has ended.
        foreign: this is the state of a foreign frame, or of a start that is over.
        alias: the ``lazy`` of the frame of ours that a foreign context was derived from.
        token: number of the variable's token, of a foreign frame.
        outlived: the frame ended while a context that was attached inside it was still current.
        extra: further attributes.
        events: events added through the OpenTelemetry API: name, nanoseconds since 1970, attributes.
        status: code and description set through the OpenTelemetry API.
    """

    __slots__ = (
        "alias", "context", "covered", "depth", "detached", "events", "extra", "foreign", "inside", "intervals", "lazy",
        "link", "outlived", "parent_id", "remote", "since", "span_id", "status", "token", "trace",
    )  # fmt: skip

    def __init__(self) -> None:
        self.trace: Trace | None = None
        self.span_id = 0
        self.parent_id = 0
        self.depth = 0
        self.remote = False
        self.since: float | None = None
        self.inside = 0
        self.covered = 0.0
        self.intervals: list[list[float]] | None = None
        self.link: tuple[Trace, int] | None = None
        self.context: Any = None
        self.lazy: Any = None
        self.alias: Any = None
        self.foreign = False
        self.token = 0
        self.outlived = False
        self.extra: Any = None
        self.events: list[tuple[str, int, Any]] | None = None
        self.status: tuple[int, str] | None = None
        self.detached = False

    def cover(self, start: float, end: float) -> float:
        """Count the child interval *start* to *end* once; return the seconds of it that were not covered before."""
        intervals = self.intervals
        if intervals is None:
            self.intervals = [[start, end]]
            self.covered += end - start
            return end - start
        new = end - start
        low, high = start, end
        while intervals and intervals[-1][1] > low:  # children come in the order of their ends
            left, right = intervals.pop()
            new -= max(0.0, min(right, end) - max(left, start))
            low, high = min(low, left), max(high, right)
        intervals.append([low, high])
        if len(intervals) > MAX_INTERVALS:
            del intervals[0]
        self.covered += new
        return new


class Path:
    """The part of a node that only slow exits and the worker touch."""

    __slots__ = (
        "below",
        "depth",
        "histogram",
        "length",
        "max",
        "min",
        "misses",
        "overflow",
        "overlap",
        "own",
        "parent",
        "seen",
        "site",
        "text",
    )

    def __init__(self, site: Site, parent: Node | None, depth: int, overflow: str = "") -> None:
        self.site = site
        self.parent = parent
        self.depth = depth
        self.overflow = overflow
        self.length = len(site.name) + (parent[N_PATH].length + 1 if parent is not None else 0)
        self.histogram = [0] * BUCKETS
        self.below = 0  # the lower one of the two buckets that the node counts
        self.min = FOREVER
        self.max = 0.0
        self.misses = 0
        self.overlap = 0.0  # seconds that concurrent children shared, counted twice in their totals
        self.seen = 0  # calls at the worker's last snapshot
        self.own = 0.0  # the most self time that a snapshot has shown
        self.text = ""  # the worker's text for what does not change


OVERFLOW = Site("otel_perf.overflow", "otel_perf.overflow", "function")

ROOT: Frame = [{}, None, FOREVER, 0.0, None, None]
CURRENT: ContextVar[Frame] = ContextVar("otel_perf", default=ROOT)
MUTED: Frame = [
    {},
    ROOT,
    FOREVER,
    0.0,
    None,
    None,
]  # current while our own code works: its imports are not the program's
_get, _set, _reset = CURRENT.get, CURRENT.set, CURRENT.reset

nodes: list[Node] = []  # every node, for the worker
sites: dict[tuple[Any, ...], Site] = {}
open_spans: dict[int, Frame] = {}  # frames that have an id, by span id
halves: dict[int, Record] = {}  # records that are about to be finished: a signal's handler may come in between
finished: list[Record] = []
events: list[tuple[str, int, int, int, int, dict[str, Any], str]] = []  # see note()
_left: list[Frame] = []  # open frames that a detach() took out of their context
_tokens: dict[int, tuple[Frame, Token[Frame]]] = {}  # of with-blocks in contexts where nothing was current, by id()
_deep: dict[Any, Node] = {}
_wide: dict[Any, Node] = {}
MUTED[SPAN] = SpanState()
MUTED[SPAN].foreign = True
_random: list[int] = []  # 64-bit words for the ids to come
_identity = RLock()  # re-entrant: a finaliser may run, and record, in the middle of identify()


class _State:
    """What changes while the process lives; one object, so that every room sees the same values."""

    __slots__ = (
        "cpu_time",
        "dropped",
        "exemplars",
        "idle",
        "init_time",
        "main_thread",
        "memory",
        "on_parent",
        "on_root",
        "on_timed",
        "origin",
        "recording",
        "span_threshold",
        "startup",
        "wake",
    )

    def __init__(self) -> None:
        self.span_threshold = 0.001  # seconds; 0.010 once the start is over
        self.startup: Frame | None = None  # the root frame while the start lasts
        self.recording = False  # nothing is kept before init() and after shutdown()
        self.main_thread = 0  # its native id
        self.dropped = 0  # records refused since the process began
        self.cpu_time = 0.0  # seconds of CPU of the threads that wrote and sent
        self.init_time = 0.0  # seconds that init() took, and
        self.memory = 0  # bytes that the process grew by in it
        self.exemplars = "trace_based"  # which durations become some, see metrics/exemplars.py
        self.idle = False  # the worker sleeps and wants to be woken by the next record
        self.wake: Callable[[], None] = lambda: None
        self.origin: tuple[Trace, int] | None = None  # of a forked child, the span of its parent that forked it
        self.on_root: Callable[[int, str], bool] = lambda trace_id, name: True  # is this new trace sampled?
        self.on_parent: Callable[[int, bool], bool] = lambda trace_id, sampled: sampled  # the same, begun by others
        self.on_timed: Callable[[Site, float, SpanState | None], None] = lambda site, duration, span: None


state = _State()


# --- sites -----------------------------------------------------------------------------------------------------------


def site_for(
    name: str,
    series: str,
    kind: str,
    function: str = "",
    file: str = "",
    line: int = 0,
    threshold: float | None = None,
    slow: float | None = None,
) -> Site:
    """Return the site of this description, made once; past MAX_SITES its statistics share one series."""
    described = (name, series, kind, function, file, line, threshold, slow)
    site = sites.get(described)
    if site is None:
        site = Site(*described)
        if len(sites) >= MAX_SITES:  # its spans keep their name
            site.key = OVERFLOW
            return site
        return sites.setdefault(described, site)
    return site


# --- entering --------------------------------------------------------------------------------------------------------


def enter(site: Site) -> Frame:
    """Open a frame for *site* in the running context and return it; leave() ends it.

    The wrappers of decorated functions do the same in line.
    """
    current = _get(None)
    parent = ROOT if current is None else current
    try:
        node = parent[CHILDREN][site.key]
    except KeyError:
        parent, node = miss(parent, site.key)
    frame = [node[N_CHILDREN], parent, FOREVER, now(), node, None]
    token = _set(frame)
    if current is None:
        _tokens[id(frame)] = frame, token
    return frame


def miss(parent: Frame, key: Site) -> tuple[Frame, Node]:
    """Return the frame that new work below *parent* belongs to, and the node of *key* below it."""
    ended, parent = parent, live(parent)
    if parent is not ended and _get() is ended:  # once for all calls that this context makes
        _set(parent)
    above = parent
    while above[CHILDREN] is CLOSED:  # an ended span may be a parent, but its path gets no more time
        above = above[PARENT]
    children = above[CHILDREN]
    node = children.get(key)
    if node is not None:
        return parent, node
    tree_parent: Node | None = above[NODE]
    depth = length = 0
    if tree_parent is not None:
        depth, length = tree_parent[N_PATH].depth + 1, tree_parent[N_PATH].length + len(key.name)
    overflow = ""
    if depth >= MAX_DEPTH or length >= MAX_PATH:
        children, overflow = _deep, "deep"
    elif len(nodes) >= MAX_NODES:
        children, overflow = _wide, "wide"
    if overflow:
        node = children.get(key)
        if node is not None:
            return parent, node
        tree_parent, depth = None, MAX_DEPTH
    path = Path(key, tree_parent, depth, overflow)
    node = children.setdefault(key, [children if overflow else {}, NEVER, FOREVER, 0.0, 0.0, 0, 0, path])
    if node[N_PATH] is path:  # no other thread was faster
        nodes.append(node)
    return parent, node


def opened_by(frame: Frame, site: Site | None) -> bool:
    """Say whether *frame* is an open run of *site*."""
    if frame[CHILDREN] is CLOSED or frame[NODE] is None or len(frame) > OWN or site is None:
        return False
    return frame[NODE][N_PATH].site is site.key


def leave_behind(frame: Frame) -> None:
    """Note that *frame* is no longer in the context that it was opened in, for its exit."""
    frame[LIMIT] = NEVER
    _left[:] = [*(each for each in _left[-100:] if each[CHILDREN] is not CLOSED), frame]


def left_behind(site: Site | None) -> Frame | None:
    """Return the latest open run of *site* that was left behind."""
    return next((frame for frame in reversed(_left) if opened_by(frame, site)), None)


def live(frame: Frame) -> Frame:
    """Step over frames that ended without a span; stop at an open one, or at an ended one that became a span."""
    while frame[CHILDREN] is CLOSED:
        span = frame[SPAN]
        if span is not None and span.foreign:
            frame[PARENT] = around(frame[PARENT])
            break
        if span is not None and span.trace is not None:
            frame[PARENT] = attached(frame[PARENT])
            break
        frame = frame[PARENT]
    return frame


def attached(frame: Frame) -> Frame:
    """Step over ended frames of ours; stop at an open one, or at a context that was attached, be it detached since."""
    while frame[CHILDREN] is CLOSED:
        span = frame[SPAN]
        if span is not None and span.foreign:
            frame[PARENT] = around(frame[PARENT])
            break
        frame = frame[PARENT]
    return frame


def around(frame: Frame) -> Frame:
    """Return the nearest open frame of ours: *frame* itself, or one above it."""
    while frame[CHILDREN] is CLOSED or (frame[SPAN] is not None and frame[SPAN].foreign):
        frame = frame[PARENT]
    return frame


# --- leaving ---------------------------------------------------------------------------------------------------------


def leave(
    frame: Frame,
    duration: float,
    error: BaseException | None = None,
    site: Site | None = None,
    token: Token[Frame] | None = None,
) -> None:
    """End *frame* after *duration* seconds: the slow exit, when the comparison of the fast exit failed.

    Everything a call may need is decided here: a span, a new extreme, another part of the histogram, a context that
    was attached inside and outlives the call.

    Args:
        frame: an open frame; nothing is counted if it belongs to the process that we were forked from.
        duration: monotonic seconds.
        error: the exception that ended it.
        site: what it recorded; that of the frame's node unless statistics overflowed.
        token: what setting the variable to *frame* gave.
    """
    current = restore(frame, token)
    if frame[CHILDREN] is CLOSED:
        return
    if not current:
        _outlive(frame)
    node = frame[NODE]
    if node[N_LOW] <= duration <= node[N_LIMIT]:  # only the frame asked for this exit: counted as by the fast one
        node[N_BELOW if duration <= node[N_MID] else N_ABOVE] += 1
        node[N_TOTAL] += duration
    else:
        count(node, duration)
    site = site or node[N_PATH].site
    slow = site.slow is not None and duration > site.slow
    span = frame[SPAN]
    end = frame[START] + duration
    if span is not None and span.since is not None and span.trace is None:  # what went on after the start had ended
        wanted = end - span.since > state.span_threshold
    else:
        wanted = slow or duration > threshold(site)
    if not wanted and frame[LIMIT] >= 0.0:  # nobody has asked; no call stands between, so nobody can any more
        frame[CHILDREN] = CLOSED
        frame[PARENT] = live(frame[PARENT])
    else:
        end_frame(frame, site, end, wanted, describe(error))
    if slow or site.kind == "operation":
        _timed(site, duration, frame[SPAN])


def _timed(site: Site, duration: float, span: SpanState | None) -> None:
    if state.recording:
        state.on_timed(site, duration, span)


def restore(frame: Frame, token: Token[Frame] | None = None) -> bool:
    """Make what was current before *frame* current again; return whether *frame* still was.

    By its *token* where there is one: that is faster than to set the variable anew, and leaves a context in which it
    was not set as it was, whose next calls are faster.
    """
    top, lost = _get(), []
    while top is not frame:  # an exception escaped the exit of a call inside: it ends with us
        if not _may_be_lost(top):
            return False
        lost.append(top)
        top = top[PARENT]
    for inner in lost:
        if inner[CHILDREN] is not CLOSED:
            end_frame(inner, inner[NODE][N_PATH].site, now(), False)
    if lost:
        token = None
    try:
        if token is not None:
            _reset(token)
            return True
    except ValueError:  # it ends in another context than it began in, a copy of that
        pass
    _set(frame[PARENT])
    return True


def _may_be_lost(frame: Frame) -> bool:
    """Say whether *frame* can only be current inside the call that it belongs to; a phase may go on without a block."""
    span = frame[SPAN]
    if len(frame) > OWN or frame[NODE] is None or (span is not None and span.foreign):
        return False
    return bool(frame[NODE][N_PATH].site.kind != "phase")


def put_back(frame: Frame) -> None:
    """Make current again what was so before *frame*, whose token could not do it.

    Raises: what a signal handler raised in that moment; it is the program's.
    """
    error = exc_info()[1]
    restore(frame)
    if error is not None and (type(error) is not ValueError or _raised_in_python(error)):
        raise error


def _raised_in_python(error: BaseException) -> bool:
    trace = error.__traceback__
    return trace is not None and trace.tb_next is not None


def _outlive(frame: Frame) -> None:
    """Note that *frame* ends while something attached inside it is current, as request hooks do, or in another context.

    What comes then is no longer on its call path, and detach() passes over it.
    """
    top = _get()
    for inner in ancestors(top):
        if inner[PARENT] is frame and len(inner) == OWN and inner[NODE] is not None:
            if inner[NODE][N_PATH].site.kind == "phase":  # it ends after what it began in: what follows is in neither
                inner[PARENT] = around(frame[PARENT])
            break
    if top[PARENT] is frame and top[SPAN] is not None and top[SPAN].foreign:
        path = top[PARENT] = around(frame[PARENT])
        if top[CHILDREN] is frame[CHILDREN]:
            top[CHILDREN], top[NODE] = path[CHILDREN], path[NODE]
    with _identity:
        span = frame[SPAN] = frame[SPAN] or SpanState()
        span.outlived = True
        frame[LIMIT] = NEVER


def fail(frame: Frame, error: BaseException | None, site: Site | None = None) -> None:
    """End *frame*, which enter() opened, now, by *error* if there is one."""
    duration = now() - frame[START]
    node, (_, token) = frame[NODE], _tokens.pop(id(frame), (frame, None))
    if error is not None or _get() is not frame or frame[LIMIT] < 0.0 or not node[N_LOW] <= duration <= node[N_LIMIT]:
        leave(frame, duration, error, site, token)
        return
    node[N_BELOW if duration <= node[N_MID] else N_ABOVE] += 1  # the fast exit, as in the wrappers
    node[N_TOTAL] += duration
    frame[CHILDREN] = CLOSED
    restore(frame, token)


def failed(frame: Frame, site: Site, token: Token[Frame]) -> None:
    """End *frame* now, by the exception that is being handled."""
    leave(frame, now() - frame[START], exc_info()[1], site, token)


def step_out(token: Token[Frame], caller: Frame) -> None:
    """Make *caller* current again after a step of a generator; *token* is what making its frame current gave."""
    try:
        _reset(token)
    except ValueError:  # the step ended in another context than it began in
        _set(caller)


def begin(site: Site) -> Frame:
    """Open a frame for a generator of *site*: the running context stays as it is between its steps."""
    parent = _get()
    try:
        node = parent[CHILDREN][site.key]
    except KeyError:
        parent, node = miss(parent, site.key)
    return [node[N_CHILDREN], parent, NEVER, now(), node, None]


def finish_generator(frame: Frame, active: float, error: BaseException | None, site: Site) -> None:
    """End the *frame* of a generator whose body ran for *active* seconds."""
    if frame[CHILDREN] is CLOSED:
        return
    count(frame[NODE], active)
    slow = site.slow is not None and active > site.slow
    end_frame(frame, site, now(), slow or active > threshold(site), describe(error), active=active)
    if slow or site.kind == "operation":
        _timed(site, active, frame[SPAN])


def count(node: Node, duration: float) -> None:
    """Count one call, and keep the node's window on the durations that are usual now."""
    node[N_TOTAL] += duration
    path = node[N_PATH]
    bucket = bucket_of(duration)
    path.histogram[bucket] += 1
    if duration < path.min:
        path.min = duration
    if duration > path.max:
        path.max = duration
    if not node[N_MID]:
        move_window(node, bucket)
    elif not path.below <= bucket <= path.below + 1:
        path.misses += 1
        if path.misses > 2:  # one outlier moves nothing
            move_window(node, bucket)
    fit_window(node)


def move_window(node: Node, bucket: int) -> None:
    """Put the node's window of two buckets on *bucket* and on the neighbour that the durations come from."""
    path = node[N_PATH]
    histogram, below = path.histogram, path.below
    to = bucket if bucket < below else max(0, bucket - 1)
    middle = bucket_start(to + 1)
    # No call stands from here on: the interpreter switches threads at calls only.
    below = path.below
    histogram[below] += node[N_BELOW]
    node[N_BELOW] = 0
    histogram[below + 1] += node[N_ABOVE]
    node[N_ABOVE] = 0
    path.misses = 0
    path.below = to
    node[N_MID] = middle
    node[N_LIMIT] = NEVER  # until fit_window()


def fit_window(node: Node) -> None:
    """Narrow the window to what needs no decision: between the extremes so far and below the span threshold."""
    path = node[N_PATH]
    middle = node[N_MID]
    low = max(middle * HALF, path.min)
    limit = min(middle * 2, path.max, threshold(path.site))
    if path.site.slow is not None:
        limit = min(limit, path.site.slow)
    if path.site is OVERFLOW:  # many share it, each with a threshold of its own
        limit = NEVER
    if node[N_MID] == middle:  # else another thread has moved the window and fits it
        node[N_LOW] = low
        node[N_LIMIT] = limit


def bucket_of(duration: float) -> int:
    """Return the histogram bucket of *duration*: bucket *b* holds 2**(b + LOWEST) exclusive to twice that inclusive.

    Source: OpenTelemetry metrics data model, exponential histogram of scale 0.
    """
    if duration <= 0.0:
        return 0
    scaled = duration * SCALE  # exact: a power of two changes the exponent only
    whole = int(scaled)
    return min(max((whole - (whole == scaled)).bit_length() - 1, 0), BUCKETS - 2)


def bucket_start(bucket: int) -> float:
    """Return the lower bound of *bucket* in seconds."""
    return float(2.0 ** (bucket + LOWEST))


def threshold(site: Site) -> float:
    """Return the seconds above which a call of *site* becomes a span now."""
    own = site.threshold
    if own is None:
        return state.span_threshold
    return own if own > 0.0 else NEVER


def end_frame(
    frame: Frame,
    site: Site,
    end: float,
    wanted: bool,
    error: tuple[str, str] | None = None,
    extra: dict[str, Any] | None = None,
    active: float | None = None,
) -> None:
    """End *frame* at *end*, as a span if that is *wanted* or somebody knows its id; arguments as for record().

    One step for identify(), which gives a frame an id before this or not at all.
    """
    with _identity:
        span = frame[SPAN]
        if span is not None and span.trace is None and span.since is not None and end <= span.since:
            wanted = False  # it ended while its trace was being ended, which has recorded it
        if wanted or (span is not None and span.trace is not None):
            if state.startup is not None and (thread := get_native_id()) != state.main_thread:
                extra = {**(extra or {}), "thread.id": thread}  # the worker explains what it did
            record(frame, site, end, error, extra, active)
        frame[CHILDREN] = CLOSED  # before any call: no signal's handler gives it an id that nobody would record
        close(frame)


def hold() -> RLock:
    """Return the lock under which spans get their ids and end, for what must be one step with that."""
    return _identity


def close(frame: Frame) -> None:
    """Mark *frame* as ended, and shorten what copies of its context lead to.

    What stands above a span that has ended is known by its id; only a context that was attached there still counts.
    """
    frame[CHILDREN] = CLOSED
    span, parent = frame[SPAN], frame[PARENT]
    if span is not None and span.foreign:
        frame[PARENT] = around(parent)
        return
    frame[PARENT] = live(parent) if span is None or span.trace is None else attached(parent)
    if span is not None and span.lazy is not None:
        span.lazy.open = False
        span.lazy.frame = stand_in(frame)
        span.lazy = span.context = None


def stand_in(frame: Frame) -> Frame:
    """Return what has the ids for the ended *frame*, and leads to nothing else that has ended."""
    span, parent = frame[SPAN], frame[PARENT]
    if span is not None and span.trace is not None:
        return [CLOSED, around(parent), NEVER, frame[START], frame[NODE], span]
    above = parent[SPAN]
    return parent if above is None or above.alias is None else above.alias.frame  # type: ignore[no-any-return]


def state_of(frame: Frame) -> SpanState | None:
    """Return the state of *frame*, made if it has none, for its exit to look at; None if it has ended."""
    with _identity:
        frame[LIMIT] = NEVER  # before the look: see end_frame()
        if frame[CHILDREN] is CLOSED:
            return None
        span: SpanState = frame[SPAN] or SpanState()
        frame[SPAN] = span
        return span


def cut(frame: Frame, site: Site, end: float, extra: dict[str, Any]) -> None:
    """End the span of *frame* at *end*, if it has one; what goes on in the frame is a linked trace of its own."""
    with _identity:
        span = frame[SPAN]
        if frame[CHILDREN] is CLOSED or span is None or span.trace is None:
            return
        record(frame, site, end, extra=extra)
        rest = SpanState()
        rest.since = end
        rest.link = (span.trace, span.span_id)
        rest.inside = span.depth
        rest.lazy, rest.context, rest.outlived = span.lazy, span.context, span.outlived
        frame[SPAN] = rest
        frame[LIMIT] = NEVER


def cover(frame: Frame, start: float, end: float) -> None:
    """Take a span of the OpenTelemetry API, *start* to *end*, off the self time of *frame*, if that is still open."""
    with _identity:
        span = frame[SPAN]
        if span is not None and frame[CHILDREN] is not CLOSED:
            span.cover(start, end)


def record(
    frame: Frame,
    site: Site,
    end: float,
    error: tuple[str, str] | None = None,
    extra: dict[str, Any] | None = None,
    active: float | None = None,
) -> None:
    """Turn *frame* into a finished span that ends at *end*.

    Args:
        frame: the frame, still open.
        site: what it recorded.
        end: monotonic seconds.
        error: describe() of the exception that ended it.
        extra: further attributes.
        active: seconds inside a generator's body, when *end* minus start covers its consumer too.
    """
    span = identify(frame, forced=False)
    if span is None or span is not frame[SPAN] or span.span_id not in open_spans:
        return  # not recording, or a signal handler that came in between has recorded it
    trace = span.trace
    begin = frame[START] if span.since is None else span.since
    end = max(end, begin)
    parent = frame[PARENT]
    above = _parent_state(parent)
    if above is not None and not span.detached:
        if active is not None:
            above.covered += active
        else:
            shared = end - begin - above.cover(begin, end)
            if shared > 0.0 and parent[NODE] is not None and frame[NODE] is not parent[NODE]:
                parent[NODE][N_PATH].overlap += shared
    if trace is None or not trace.sampled or not state.recording:
        open_spans.pop(span.span_id, None)
        return
    if span.extra is not None:
        extra = {**{key: span.extra[key] for key in span.extra if key not in OURS}, **(extra or {})}
    self_time = max(0.0, (end - begin if active is None else active) - span.covered)
    if active is not None:
        extra = {**(extra or {}), "otel_perf.active_time": active}
    if span.detached:
        extra = {**(extra or {}), "otel_perf.detached": True}
    span_id = span.span_id
    halves[span_id] = (
        site, trace, span_id, span.parent_id, begin, end, self_time, span.depth, extra,
        error, span.link, span.events, span.status, span.remote,
    )  # fmt: skip
    if open_spans.pop(span_id, None) is None:
        halves.pop(span_id, None)
    else:  # from here on rescue() knows of it
        _finish(span_id)


def _finish(span_id: int) -> None:
    """Queue the record of a span that is no longer open, unless rescue() has."""
    if len(finished) >= MAX_FINISHED:
        state.dropped += halves.pop(span_id, None) is not None
        return
    finished.extend(filter(None, map(halves.pop, (span_id,), (None,))))  # one step, in which no handler comes
    if state.idle:
        state.idle = False
        state.wake()


def rescue() -> None:
    """Queue what was about to be queued when a signal's handler came in, which ends the process or has raised."""
    for span_id in list(halves):
        if span_id not in open_spans:
            _finish(span_id)


def _parent_state(parent: Frame) -> SpanState | None:
    """Return the state of the open span that *parent* stands for, if it has one."""
    if parent is ROOT:
        start = state.startup
        return None if start is None else start[SPAN]
    span: SpanState | None = parent[SPAN]
    if span is not None and span.alias is not None:
        parent = span.alias.frame
        span = parent[SPAN]
    return None if parent[CHILDREN] is CLOSED else span


def describe(error: BaseException | None, quietly: bool = False) -> tuple[str, str] | None:
    """Return type and message of *error* as text, now: keeping the exception would keep its frames alive.

    Args:
        error: the exception, if there is one.
        quietly: run none of the program's code for the message: it may handle the error without a word.
    """
    if error is None or isinstance(error, GeneratorExit):
        return None
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    if quietly and (hasattr(kind.__str__, "__code__") or not all(type(part) in PLAIN for part in error.args)):
        return name, ""
    try:
        message = str(error)
    except Exception:  # noqa: BLE001  # the application's __str__ may do anything
        message = "<exception str() failed>"
    return name, message[:4096]


def plain_record(
    site: Site,
    trace: Trace,
    span_id: int,
    parent_id: int,
    begin: float,
    end: float,
    self_time: float,
    depth: int,
    attributes: dict[str, Any] | None = None,
    link: tuple[Trace, int] | None = None,
) -> Record:
    """Return the record of a span that nobody could set anything on."""
    return (
        site, trace, span_id, parent_id, begin, end, self_time, depth, attributes, None, link, None, None, False,
    )  # fmt: skip


def with_attributes(record: Record, more: dict[str, Any]) -> Record:
    """Return *record* with *more* attributes."""
    attributes = {**(record[R_ATTRIBUTES] or {}), **more}
    return (*record[:R_ATTRIBUTES], attributes, *record[R_ATTRIBUTES + 1 :])


def emit(finished_record: Record | Any) -> None:
    """Queue a finished record, or a span of the API, for the worker; wake it if this is the first after silence."""
    if len(finished) >= MAX_FINISHED:
        state.dropped += 1
        return
    finished.append(finished_record)
    if state.idle:
        state.idle = False
        state.wake()


def note(name: str, severity: int, ids: tuple[int, int], fields: dict[str, Any], body: str = "", time: int = 0) -> None:
    """Queue an event of now, or of *time* (ns since 1970), with trace and span id *ids*, for the worker's next line."""
    events.append((name, time or wall_ns(), severity, *ids, fields, body))


# --- identity --------------------------------------------------------------------------------------------------------


def new_trace_id() -> int:
    """Return a random trace id whose first digit is not 0: some backends cut leading zeros and then find nothing."""
    try:
        return _random.pop() << 64 | _random.pop() | 1 << 127
    except IndexError:
        _draw()
        return new_trace_id()


def new_span_id() -> int:
    """Return a random span id whose first digit is not 0."""
    try:
        return _random.pop() | 1 << 63
    except IndexError:
        _draw()
        return new_span_id()


def _draw() -> None:
    """Ask the system for random words, many at a time; the module _random would have to be loaded from a file."""
    _random.extend(memoryview(urandom(2048)).cast("Q").tolist())


def identify(frame: Frame, forced: bool = True) -> SpanState | None:
    """Give *frame* an id, and every open frame above it that has none, so that no id points to a span that never is.

    Args:
        frame: any frame.
        forced: somebody inside asked, and the frame might else have become no span: counted against MAX_FORCED.

    Returns: the state that holds the id: of the frame itself, or of the nearest ancestor that has or can still get one;
        None at the root of a context that has no trace.
    """
    root: Trace | None = None
    while True:
        with _identity:
            missing, above, ended, start = _unidentified(frame, forced)
            if not missing or above is not None or root is not None:
                for waiting in reversed(missing):
                    if (forced or waiting is not frame) and len(waiting) == OWN:
                        waiting[NODE][N_PATH].site.forced += 1
                    above = _assign(waiting, above, ended, root, start)
                    ended = False
                return above
        trace_id = new_trace_id()  # outside: the application's sampler may take its time, or wait for another thread
        root = Trace(trace_id, state.on_root(trace_id, name_of(missing[-1])))


def _unidentified(frame: Frame, forced: bool) -> tuple[list[Frame], SpanState | None, bool, SpanState | None]:
    """Return the frames from *frame* upwards that are to get an id, and what is above them.

    That is the state above, whether it has ended, and the state of the start if that is over.
    """
    missing: list[Frame] = []
    asked = frame
    while True:
        span = frame[SPAN]
        if span is not None:
            if span.trace is not None:
                return missing, span, frame[CHILDREN] is CLOSED and not span.foreign, None
            if span.foreign:
                if span.alias is None:  # a context without a span: what follows is a trace of its own
                    return missing, None, False, span
                frame = span.alias.frame
                continue
        if frame is ROOT:
            start = state.startup
            return missing, None if start is None else start[SPAN], False, None
        frame[LIMIT] = NEVER  # before the look at whether it is open: its exit takes the lock now
        if frame[CHILDREN] is not CLOSED and state.recording and ((frame is asked and not forced) or _may_force(frame)):
            missing.append(frame)
        frame = frame[PARENT]


def _may_force(frame: Frame) -> bool:
    """Say whether the function of *frame* may have one more span that only its inside asked for, this second."""
    if len(frame) > OWN:
        return True
    site = frame[NODE][N_PATH].site
    if site.threshold == 0.0:  # it becomes a span anyway
        return True
    moment = now()
    if moment - site.forced_since > 1.0:
        site.forced_since, site.forced = moment, 0
    return bool(site.forced < MAX_FORCED)


def name_of(frame: Frame) -> str:
    """Return the name of the span that *frame* is or would be."""
    if len(frame) > OWN:
        return f"import {frame[OWN + 1]}"[:1024]
    return str(frame[NODE][N_PATH].site.name)


def _assign(
    frame: Frame, above: SpanState | None, detached: bool, root: Trace | None, start: SpanState | None
) -> SpanState:
    """Give *frame* an id below *above*, or as the first span of *root*; *start* is that of a start that is over."""
    trace = root
    if above is not None and above.trace is not None:
        parent_id, depth, trace = above.span_id, above.depth + 1, above.trace
        remote = above.foreign and above.remote
    else:
        parent_id, depth, remote = 0, 0, False
    span_id, fresh = new_span_id(), SpanState()
    cut_off, cut, part = above or start, None, None
    if cut_off is not None and cut_off.since is not None and frame[START] < cut_off.since:
        cut = cut_off.since
        part = _part(frame, cut_off, cut)
    # No call stands from here to the last line: a signal's handler or a finaliser, which comes in at calls only, gives
    # this frame an id before or not at all.
    span: SpanState = frame[SPAN] or fresh
    if span.trace is not None:
        return span
    span.parent_id, span.depth, span.remote, span.detached = parent_id, depth, remote, detached
    if cut is not None and span.since is None:
        span.since = cut
    else:
        part = None
    if root is not None and span.link is None and part is None:
        span.link, state.origin = state.origin, None
    span.span_id = span_id
    span.trace = trace
    frame[SPAN] = span
    frame[LIMIT] = NEVER
    open_spans[span_id] = frame
    if part is not None:
        emit(part)
        span.link, span.inside = (part[R_TRACE], part[R_SPAN_ID]), part[R_DEPTH]  # to what is queued by now
    return span


def take_origin() -> tuple[Trace, int] | None:
    """Return what the first trace of a forked child links to; None for all others."""
    origin, state.origin = state.origin, None
    return origin


def _part(frame: Frame, above: SpanState, end: float) -> Record | None:
    """Return the record of the part of *frame* in the start that is over; what goes on since then links to it.

    Args:
        frame: it began before the start ended, as did what is above it, and only now is known to be a span.
        above: the state above, whose link is the part of that in the start.
        end: when the start ended.
    """
    if above.link is None or len(frame) > OWN:
        return None
    site: Site = frame[NODE][N_PATH].site
    trace, parent_id = above.link
    took = end - frame[START]
    if not trace.sampled or took <= threshold(site):
        return None
    part = {"otel_perf.open": True}
    return plain_record(site, trace, new_span_id(), parent_id, frame[START], end, took, above.inside + 1, part)


def ancestors(frame: Frame) -> Iterator[Frame]:
    """Yield *frame* and every frame above it, the root last."""
    while frame is not None:
        yield frame
        frame = frame[PARENT]


# --- for the worker --------------------------------------------------------------------------------------------------


def drain() -> list[Record]:
    """Take all finished records, in the order in which they ended."""
    if halves and _identity.acquire(False):
        try:
            rescue()
        finally:
            _identity.release()
    taken = finished[:]
    del finished[: len(taken)]
    return taken


def snapshot(node: Node) -> tuple[int, float, list[int]]:
    """Return calls, total seconds and histogram of *node* as they were at one moment."""
    path = node[N_PATH]
    row, histogram, below = node[:], path.histogram[:], path.below
    histogram[below] += row[N_BELOW]
    histogram[below + 1] += row[N_ABOVE]
    return sum(histogram), row[N_TOTAL], histogram


def _forked_by(frame: Frame) -> tuple[Trace, int] | None:
    """Return trace and id of the innermost span around *frame* that the parent goes on with."""
    for above in ancestors(frame):
        span = above[SPAN]
        if span is not None and span.trace is not None and span.trace.sampled and span.span_id:
            return span.trace, span.span_id
    return None


def after_fork() -> None:
    """Begin anew in a forked child: what the parent recorded, counts and has open stays the parent's."""
    global _identity  # another thread of the parent may hold it
    _identity = RLock()
    _random.clear()
    state.origin = _forked_by(_get())
    for frame in ancestors(_get()):
        if frame is not ROOT:
            frame[CHILDREN] = CLOSED
            frame[LIMIT] = NEVER
            span = frame[SPAN]
            if span is not None and not span.foreign:
                frame[SPAN] = None
    for frame in open_spans.values():
        frame[CHILDREN] = CLOSED
        frame[SPAN] = None
    open_spans.clear()
    halves.clear()
    finished.clear()
    events.clear()
    _tokens.clear()
    for node in nodes:
        path = node[N_PATH]
        path.histogram[:] = [0] * BUCKETS
        path.min, path.max, path.overlap, path.own, path.seen = FOREVER, 0.0, 0.0, 0.0, 0
        node[N_TOTAL], node[N_BELOW], node[N_ABOVE] = 0.0, 0, 0
        node[N_LIMIT], node[N_LOW] = NEVER, FOREVER
    state.dropped = state.memory = 0
    state.cpu_time = state.init_time = 0.0
    state.startup = None
    state.idle = False
