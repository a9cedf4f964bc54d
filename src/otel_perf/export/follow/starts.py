"""A start as it is sent: each span with its place in the tree, and few enough of them for every backend.

The spans of a start lie in the file in the order in which they ended. Here the whole start is looked at once, before
its first span is sent: each gets its number in pre-order, by which a table of spans becomes a flame graph; and where
they would be more than a trace may be, the shortest calls and imports of each parent are folded into one span. The
folder keeps every span.

Imports only: decode, json_values, amounts, files; json and heapq where they are needed. Reading order: plan_of(),
Plan.apply(), fold().
"""

from __future__ import annotations

from otel_perf.amounts import duration
from otel_perf.export.decode import parse_line
from otel_perf.export.json_values import UINT64, Skipped, double, integer, json_objects

from .files import read_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Raw = dict[str, Any]

ROOT = b'{"key":"otel_perf.kind","value":{"stringValue":"startup"}}'  # in the line that has a start's root
LIMIT = 4 * 10**6  # bytes of OTLP that a start may have: of a request, most receivers take no more
LOOK = 64 * 2**20  # bytes of the file in which the root is looked for
CHUNK = 2 * 2**20
SELF_TIME, SELF_NS, ORDER = "otel_perf.self_time", "otel_perf.self_ns", "otel_perf.order"
DEPTH = "otel_perf.depth"  # a span of the plain API has none; in a flame graph it would be a second root
FOLDED, ALL_FOLDED = "otel_perf.folded", "otel_perf.startup.folded"
EVERY = "otel_perf.span_threshold"  # 0: each call was to be a span
FOLDABLE = frozenset(("import", "function", "operation"))
KEPT = frozenset(("otel_perf.kind", "otel_perf.depth"))  # attributes of the span that stands for others
FIXED = 126  # bytes of ids, times, kind, flags and what is added here


_DAMAGE = KeyError, TypeError, ValueError, AttributeError, StopIteration  # of a span


class Span:
    """What is looked at of a span of a start.

    Attributes:
        id: as is parent, hex digits.
        start: nanoseconds, as is end; own is self time.
        size: bytes of OTLP, rather too many.
        folds: it may be folded, once nothing is left below it.
        children: spans below it.
        inside: how many spans were folded into it, or are below it and were.
    """

    __slots__ = ("children", "end", "folds", "id", "inside", "own", "parent", "size", "start")

    def __init__(self, raw: Raw) -> None:
        self.id, self.parent = raw["spanId"], raw.get("parentSpanId", "")
        if not isinstance(self.id, str) or not isinstance(self.parent, str):
            raise TypeError("an id is text")
        self.start = integer(raw["startTimeUnixNano"], UINT64) or 0
        self.end = max(self.start, integer(raw["endTimeUnixNano"], UINT64) or 0)
        words = {pair["key"]: next(iter(pair["value"].values())) for pair in raw.get("attributes", ()) if pair["value"]}
        self.own = nanoseconds(words.get(SELF_TIME))
        self.size = FIXED + len(raw["name"].encode("utf-8", "replace"))
        self.size += sum(10 + len(key) + len(str(value)) for key, value in words.items())
        rest = [key for key in ("events", "links", "status", "traceState") if raw.get(key)]
        self.size += sum(len(str(raw[key])) for key in rest)
        self.folds = (
            words.get("otel_perf.kind") in FOLDABLE
            and not rest
            and not any(
                key in words for key in (EVERY, "otel_perf.open", "otel_perf.detached", "otel_perf.interrupted")
            )
        )
        self.children: list[Span] = []
        self.inside = 0


class Plan:
    """What becomes of each span of a start.

    Attributes:
        end: offset behind the line with its root.
        trace: its id.
        order: the place of each span that is sent, by id.
        level: how many spans are above it, by id.
        groups: spans that stand for others: how many, and nanoseconds of them all.
        folded: ids of spans that are not sent.
        root: id of the root.
    """

    def __init__(self, end: int, trace: str, root: str) -> None:
        self.end = end
        self.trace = trace
        self.root = root
        self.order: dict[str, int] = {}
        self.level: dict[str, int] = {}
        self.groups: dict[str, tuple[int, int]] = {}
        self.folded: set[str] = set()

    def apply(self, raw: Raw) -> Raw | None:
        """Return a span as it is sent, changed in place; None if another one stands for it."""
        own = raw.get("spanId")
        if raw.get("traceId") != self.trace or not isinstance(own, str):
            return raw
        if own in self.folded:
            return None
        pairs = raw["attributes"] = list(raw.get("attributes") or ())
        if own in self.groups:
            number, took = self.groups[own]
            pairs[:] = [pair for pair in pairs if pair.get("key") in KEPT]
            pairs += (_integer(FOLDED, number), {"key": SELF_TIME, "value": {"doubleValue": took / 1e9}})
            raw["name"] = f"{number:,} more, {duration(took / 1e9)}"
            raw["endTimeUnixNano"] = str(int(raw["startTimeUnixNano"]) + took)
        if own == self.root and self.folded:
            pairs.append(_integer(ALL_FOLDED, sum(number for number, _ in self.groups.values())))
        if own in self.order:
            pairs.append(_integer(ORDER, self.order[own]))
            if not any(pair.get("key") == DEPTH for pair in pairs):
                pairs.append(_integer(DEPTH, self.level[own]))
        return raw


def complete(raw: Raw) -> None:
    """Give a span its self time in whole nanoseconds, too: a backend's table has no other use for a fraction."""
    pairs = raw.get("attributes")
    for pair in pairs if isinstance(pairs, list) else ():
        if isinstance(pair, dict) and pair.get("key") == SELF_TIME and isinstance(pair.get("value"), dict):
            found = double(pair["value"].get("doubleValue"))
            if found is not None:
                raw["attributes"] = [*pairs, _integer(SELF_NS, nanoseconds(found))]  # type: ignore[misc]
            return


def nanoseconds(seconds: object) -> int:
    """Return *seconds* in whole nanoseconds; 0 if they are none."""
    found = double(seconds)
    return int(found * 1e9 + 0.5) if found is not None and 0.0 <= found < 1e9 else 0


def _integer(key: str, value: int) -> Raw:
    return {"key": key, "value": {"intValue": str(value)}}


# --- looking at a start ----------------------------------------------------------------------------------------------


def plan_of(path: str, offset: int, look: Callable[[], None], folds: bool = True) -> Plan | None:
    """Return what becomes of the start in the file *path*; None where it has none, or lies wholly before *offset*.

    Args:
        path: of the file.
        offset: what lies before it was sent.
        look: called between two spans.
        folds: a start that is too large is folded; not so if a part of it went out before its root was there.
    """
    found = _find_root(path)
    if found is None or found[0] <= offset:
        return None
    end, trace, root = found
    spans: list[Span] = []
    at = 0
    while at < end:
        lines, after, _ = read_lines(path, at, min(at + CHUNK, end), over=True)
        if after <= at:
            break
        at = after
        for line, _ in lines:
            for raw in spans_of(line):
                try:
                    if raw["traceId"] == trace:
                        spans.append(Span(raw))
                except _DAMAGE:  # whoever sends it counts it
                    continue
                look()
    return _plan(end, trace, root, spans, folds)


def _find_root(path: str) -> tuple[int, str, str] | None:
    """Return the offset behind the line that has the root, its trace and its span id; None where there is none."""
    at = 0
    while at < LOOK:
        lines, end, _ = read_lines(path, at, at + CHUNK, over=True)
        for line, after in lines:
            for raw in spans_of(line) if ROOT in line else ():
                try:
                    if _is_root(raw):
                        return after, raw["traceId"], Span(raw).id
                except _DAMAGE:
                    continue
        if end <= at:
            break
        at = end
    return None


def _is_root(raw: Raw) -> bool:
    return any(
        pair["key"] == "otel_perf.kind" and pair["value"] == {"stringValue": "startup"} for pair in raw["attributes"]
    )


def _plan(end: int, trace: str, root: str, spans: list[Span], folds: bool = True) -> Plan:
    plan = Plan(end, trace, root)
    known = {span.id: span for span in spans}
    tops: list[Span] = []
    for span in spans:
        above = known.get(span.parent)
        (above.children if above is not None and above is not span else tops).append(span)
    size = sum(span.size for span in spans)
    if folds and size > LIMIT:
        fold(plan, spans, known, size)
    tops.sort(key=lambda span: (span.id != root, span.start))
    waiting = tops[::-1]
    while waiting:
        span = waiting.pop()
        if span.id in plan.order:
            continue
        plan.order[span.id] = len(plan.order)
        plan.level[span.id] = plan.level.get(span.parent, -1) + 1
        if span.id not in plan.groups:
            below = [child for child in span.children if child.id not in plan.folded]
            waiting += sorted(below, key=lambda child: (-child.start, child.end))
    return plan


def fold(plan: Plan, spans: list[Span], known: dict[str, Span], size: int) -> None:
    """Fold the shortest spans, those without children first, until the start is small enough.

    The first of those of one parent keeps its id and stands for all of them, and for what is folded below them.

    Args:
        plan: gets the groups and the ids.
        spans: of the start.
        known: the same by id.
        size: bytes of them all.
    """
    from heapq import heapify, heappop, heappush

    left = {span.id: len(span.children) for span in spans}
    heap = [(span.end - span.start, span.id) for span in spans if span.folds and not span.children]
    heapify(heap)
    groups: dict[str, list[Span]] = {}  # by parent
    while heap and size > LIMIT:
        span = known[heappop(heap)[1]]
        group = groups.setdefault(span.parent, [])
        group.append(span)
        size -= span.size if len(group) > 1 else 0  # the first one becomes the one that stands for all
        below = groups.pop(span.id, [])
        if below:  # which are part of it now
            span.inside = len(below) + sum(one.inside for one in below)
            size -= below[0].size
        above = known.get(span.parent)
        if above is not None:
            left[above.id] -= 1
            if not left[above.id] and above.folds:
                heappush(heap, (above.end - above.start, above.id))
    _write(plan, groups)


def _write(plan: Plan, groups: dict[str, list[Span]]) -> None:
    for group in groups.values():
        number = len(group) + sum(span.inside for span in group)
        if number == 1:
            continue
        first = min(group, key=lambda span: (span.start, span.id))
        plan.groups[first.id] = number, sum(span.end - span.start for span in group)
        waiting = [span for one in group for span in one.children]
        plan.folded |= {span.id for span in group if span is not first}
        while waiting:
            span = waiting.pop()
            plan.folded.add(span.id)
            waiting += span.children


# --- lines -----------------------------------------------------------------------------------------------------------


def spans_of(line: bytes) -> Iterator[Raw]:
    """Yield the spans of a line, whoever wrote it; none of one that is damaged."""
    try:
        yield from (span for _, _, span in own_spans(line.decode()))
    except (ValueError, IndexError, TypeError, AttributeError, RecursionError):
        data = parse_line(line, Skipped()) or {}
        for group in json_objects(data, "resourceSpans", Skipped()):
            for scoped in json_objects(group, "scopeSpans", Skipped()):
                yield from json_objects(scoped, "spans", Skipped())


def own_spans(text: str) -> Iterator[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]]:
    """Yield resource group, scope group and span of a line as the run folder has it, decoding one span at a time.

    Decoding a line of 2,000 spans in one go would keep the interpreter from all other threads for 20 ms.

    Raises: ValueError, IndexError, RecursionError: the line has another form, or is damaged.
    """
    from json import JSONDecoder

    decode = JSONDecoder().raw_decode
    resource, at = decode(text, _past(text, 0, '{"resourceSpans":[{"resource":'))
    group = {"resource": resource}
    at = _past(text, at, ',"scopeSpans":[')
    while True:
        scope, at = decode(text, _past(text, at, '{"scope":'))
        scoped = {"scope": scope}
        if text.startswith(',"schemaUrl":', at):
            scoped["schemaUrl"], at = decode(text, at + 13)
        at = _past(text, at, ',"spans":[') - 1
        while text[at] != "]":
            span, at = decode(text, at + 1)
            yield group, scoped, span
            if text[at] not in ",]":
                raise ValueError(at)
        at = _past(text, at, "]}")
        if text[at] != ",":
            break
        at += 1
    if text[at:].rstrip() != "]}]}":
        raise ValueError(at)


def _past(text: str, at: int, expected: str) -> int:
    """Return where *text* goes on after *expected*.

    Raises: ValueError: it is not there.
    """
    if not text.startswith(expected, at):
        raise ValueError(at)
    return at + len(expected)
