"""Statistics of call paths as they are sent: at most so many series, and paths that sort as a tree.

The folder has a series for each path, named by its functions. What is sent has one for each of the paths with most self
time and for all above them; what the others grow by is one series more. So each series and their sum grow by what the
paths grew by, whichever paths are sent: a path that is chosen later begins at 0, and what it had stays where it was
counted. A path is written as a hash of eight digits for each frame, so that a parent's is how a child's begins, and the
text sorts depth-first everywhere (a separator sorts before or after letters, by the reader's language).

Imports only: binascii, json_values, temporality. Reading order: Profiles.take(), fold(), then Node.
"""

from __future__ import annotations

from binascii import crc32

from otel_perf.export.json_values import INT64, double, integer

from .temporality import CUMULATIVE, NO_VALUE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Values = list[int | float]

CALLS, TIME, OWN = range(3)
METRICS = {"otel_perf.profile.calls": CALLS, "otel_perf.profile.time": TIME, "otel_perf.profile.self_time": OWN}
_UNITS = ("{call}", "s", "s")
PATH, FUNCTION, DEPTH, OVERFLOW = "path", "function", "depth", "otel.metric.overflow"
OVERFLOW_PATH = "overflow"
DEEPEST = 200  # frames of a path; the recorder's have fewer
MOST = 100_000  # rows that wait for the rest of their values
MORE = 2.0  # times the self time of the path that it takes the place of: else two that are alike would take turns


class Node:
    """One call path, or what all that are not sent have in common.

    Attributes:
        name: of its function.
        path: as it is sent.
        parent: the path above.
        chosen: it is one of those with most self time.
        needed: how many of those are below it.
        known: it has statistics of its own; a function that has not returned yet has none.
        own: seconds of self time in all, sent or not.
        sent: what its series says: calls, time, self time.
        below: seconds that are spent below it, and it has not returned to say so.
        ahead: seconds of these that its series says.
        spilled: a part of what it spent is in the overflow.
        shown: its series has a point that still stands.
        start: nanoseconds, as text, when its series began; empty if it has none.
    """

    __slots__ = (
        "_pairs", "ahead", "below", "chosen", "known", "name", "needed", "own", "parent", "path", "sent", "shown",
        "spilled", "start",
    )  # fmt: skip

    def __init__(self, name: str, path: str, parent: Node | None = None) -> None:
        self.name = name
        self.path = path
        self.parent = parent
        self.chosen = self.known = self.spilled = self.shown = False
        self.needed = 0
        self.own = self.below = self.ahead = 0.0
        self.sent: Values = [0, 0.0, 0.0]
        self.start = ""
        self._pairs: list[dict[str, Any]] | None = None

    @property
    def is_sent(self) -> bool:
        """It has a series of its own."""
        return self.chosen or self.needed > 0

    @property
    def attributes(self) -> list[dict[str, Any]]:
        """Those of its series."""
        if self._pairs is None:
            self._pairs = [
                {"key": PATH, "value": {"stringValue": self.path}},
                {"key": FUNCTION, "value": {"stringValue": self.name}},
                {"key": DEPTH, "value": {"intValue": str(self.path.count("."))}},
            ]
            if self.path == OVERFLOW_PATH:
                self._pairs.append({"key": OVERFLOW, "value": {"boolValue": True}})
        return self._pairs

    def choose(self, chosen: bool) -> None:
        """Send it, and what is above it; or no longer."""
        self.chosen = chosen
        above = self.parent
        while above is not None:
            above.needed += 1 if chosen else -1
            above = above.parent

    def begin(self, start: str, before: str) -> None:
        """Give its series a start, if it has none: *before*, if something was spilled until then."""
        self.start = self.start or (before if self.spilled else "") or start

    def returned(self, seconds: float) -> tuple[float, float]:
        """Return the parts of *seconds* that its own series, and those above it, do not say yet."""
        ahead, below = min(self.ahead, seconds), min(self.below, seconds)
        self.ahead -= ahead
        self.below -= below
        return seconds - ahead, seconds - below


class Profiles:
    """The call paths of one process.

    Attributes:
        limit: how many are sent, beside those above them.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.overflow = Node("(other)", OVERFLOW_PATH)
        self._nodes = {OVERFLOW_PATH + ";": self.overflow}  # by the folder's path
        self._rows: dict[tuple[str, str], Values] = {}  # last values, by path and function
        self._parts: dict[tuple[str, str, str], Values] = {}  # rows of which not all three values have come
        self._whole: list[tuple[str, str, str, str, Values]] = []  # path, function, start, time, values: to be folded
        self._chosen: set[Node] = set()
        self._least = 0.0  # no chosen path has less self time
        self._time = ""  # of the last points

    # --- what comes --------------------------------------------------------------------------------------------------

    def take(self, number: int, point: dict[str, Any]) -> bool:
        """Take a point of one of METRICS; say whether it is one.

        The three values of a path may be on different lines.
        """
        value = integer(point["asInt"], INT64) if "asInt" in point else double(point.get("asDouble"))
        try:
            words = {pair["key"]: pair["value"] for pair in point["attributes"]}
            path, function = str(words[PATH]["stringValue"]), str(words[FUNCTION]["stringValue"])
            start, time = str(point["startTimeUnixNano"]), str(point["timeUnixNano"])
        except (KeyError, TypeError, AttributeError):
            return False
        if value is None or not 0 <= value < float("inf"):
            return False
        if OVERFLOW in words or path.count(";") > DEEPEST:
            path = OVERFLOW_PATH + ";"  # no path of the folder's ends like this
        if len(self._parts) > MOST:
            self._parts.clear()  # what a damaged line has left
        part = self._parts.setdefault((path, function, time), [-1, -1, -1])
        part[number] = value
        if min(part) >= 0:
            del self._parts[path, function, time]
            self._whole.append((path, function, start, time, part))
        return True

    # --- what goes ---------------------------------------------------------------------------------------------------

    def fold(self) -> list[dict[str, Any]]:
        """Return the metrics to send for what was taken whole since the last time; none if nothing was."""
        if not self._whole:
            return []
        rows, self._whole = self._whole, []
        start, time = rows[-1][2:4]
        grown: dict[Node, Values] = {}
        for path, function, _, _, values in rows:
            node = self._node(path)
            node.known = True
            more, total = self._growth((path, function), values), grown.setdefault(node, [0, 0.0, 0.0])
            node.own += more[OWN]
            for number in (CALLS, TIME, OWN):
                total[number] += more[number]
        before = self._series()
        self._choose(grown)
        sent = self._series()
        changed = self._spread(grown, start) | {node for node in sent if not node.shown}
        for node in changed:
            node.begin(start, self._time)
        self._time = time
        return _metrics(changed, before - sent, time)

    def _growth(self, row: tuple[str, str], values: Values) -> Values:
        last = self._rows.get(row, (0, 0.0, 0.0))
        self._rows[row] = [max(new, old) for new, old in zip(values, last, strict=True)]
        return [max(0, new - old) for new, old in zip(values, last, strict=True)]

    def _node(self, path: str) -> Node:
        """Return the node of a path of the folder, made with those above it."""
        node = self._nodes.get(path)
        if node is None:
            above, divided, name = path.rpartition(";")
            parent = self._node(above) if divided else None
            digits = f"{crc32(name.encode('utf-8', 'replace')):08x}"
            node = self._nodes[path] = Node(name, f"{parent.path}.{digits}" if parent is not None else digits, parent)
        return node

    def _series(self) -> set[Node]:
        """Return the nodes that are sent."""
        found: set[Node] = set()
        for node in self._chosen:
            one: Node | None = node
            while one is not None and one not in found:
                found.add(one)
                one = one.parent
        return found

    def _choose(self, grown: dict[Node, Values]) -> None:
        """Choose among those that have *grown*, those with most self time first."""
        others = [node for node in grown if not node.chosen and node is not self.overflow]
        others.sort(key=lambda node: node.own, reverse=True)
        for node in others:
            if len(self._chosen) >= self.limit:
                if node.own <= MORE * self._least or not self._chosen:
                    return
                least = min(self._chosen, key=lambda each: (each.own, each.path))
                self._least = least.own
                if node.own <= MORE * self._least:
                    return
                self._chosen.remove(least)
                least.choose(False)
            self._chosen.add(node)
            node.choose(True)

    def _spread(self, grown: dict[Node, Values], start: str) -> set[Node]:
        """Count what has grown where it is sent; return whose series have changed."""
        changed: set[Node] = set()
        for node, (calls, time, own) in grown.items():
            series = node if node.is_sent else self.overflow
            series.begin(start, self._time)
            node.spilled = node.spilled or series is not node
            time, up = node.returned(float(time))
            for number, more in enumerate((calls, time, own)):
                series.sent[number] += more
            changed.add(series)
            above = node.parent
            while above is not None and not above.known:
                above.below += up
                if above.is_sent:
                    above.sent[TIME] += up
                    above.ahead += up
                    changed.add(above)
                above = above.parent
        return changed


def _metrics(changed: set[Node], gone: set[Node], time: str) -> list[dict[str, Any]]:
    """Return the points of the series in *changed*, and an end to those in *gone*."""
    points: tuple[list[Any], ...] = ([], [], [])
    for node in sorted(changed | gone, key=lambda node: node.path):
        node.shown = node in changed
        for number, into in enumerate(points):
            point: dict[str, Any] = {
                "attributes": node.attributes,
                "startTimeUnixNano": node.start,
                "timeUnixNano": time,
            }
            value = node.sent[number]
            if not node.shown:
                point["flags"] = NO_VALUE
            elif number == CALLS:
                point["asInt"] = str(value)
            else:
                point["asDouble"] = value
            into.append(point)
    return [
        {
            "name": name,
            "unit": _UNITS[number],
            "sum": {"aggregationTemporality": CUMULATIVE, "isMonotonic": True, "dataPoints": points[number]},
        }
        for name, number in METRICS.items()
    ]
