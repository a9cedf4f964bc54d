"""OTLP as a run: what each process recorded goes into a folder of its own, unchanged but for where it comes from.

JSON is read line by line, an object a line, as the collector's file exporter and otel-perf write it; a file that is one
object on many lines, or a list of objects, is read whole. A resource is a process: see _identity().

Reading order: read(); then JSON, protobuf.py has the other form.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from otel_perf.errors import UserError
from otel_perf.export.decode import MAX_LINE, parse_line
from otel_perf.export.json_values import UINT32, UINT64, Skipped, attributes, hex_id, integer

from .protobuf import groups_of
from .run import FROM, SIGNALS, resource_of
from .source import HEAD

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from otel_perf.formats.story import Progress

    from .run import Process, Run
    from .source import Source

MOST_PROCESSES = 10_000
METRICS = ("gauge", "sum", "histogram", "exponentialHistogram", "summary")
NO_VALUE = 1  # a point's flag "no recorded value"
SERVICE = "service.name"
# What tells processes from each other. A service's name may change until the start is over, and is not among them.
_OF_PROCESS = ("service.instance.id", "process.pid")
_OF_HOST = ("host.id", "host.name", "container.id", "k8s.pod.uid", "k8s.pod.name")
_SPACES = b" \t\r\n"


def read(source: Source, run: Run, service: str | None, skipped: Skipped, progress: Progress) -> list[str]:
    """Write *source* to processes of *run*, one for each that recorded something; nothing needs to be said of it.

    A process that an earlier file told of goes on: traces, metrics and logs may be three files.
    """
    copy = _Copy(run, resource_of(source.origin, "otlp", service))
    head = source.head().lstrip(_SPACES)
    groups = _objects(source, skipped, progress) if head[:1] in (b"{", b"[") else groups_of(source, skipped, progress)
    for data in groups:
        copy.take(data, skipped)
    if not copy.records:
        why = f" ({', '.join((*skipped.lines, *skipped.records))})" if skipped else ""
        raise UserError(f"{source.name} has no span, metric or log record of OTLP{why}")
    return []


# --- JSON ------------------------------------------------------------------------------------------------------------


def _objects(source: Source, skipped: Skipped, progress: Progress) -> Iterator[dict[str, Any]]:
    """Yield the objects of *source*."""
    document = _document(source)
    if document is None:
        for line in source.lines(skipped, progress, MAX_LINE):
            if line.strip() and (data := parse_line(line, skipped)) is not None:
                yield data
        return
    for data in document:
        if isinstance(data, dict):
            yield data
        else:
            skipped.line("no OTLP")


def _document(source: Source) -> list[Any] | None:
    """Return the objects of a file that does not have one on each line; None of one that has, or is no JSON.

    Raises: UserError: it is too large to be read whole.
    """
    source.file.seek(0)
    first = b"\n"
    while first and not first.strip():
        first = source.file.readline(HEAD)
    if first.lstrip().startswith(b"{") and (len(first) == HEAD or _loaded(first) is not None):
        return None
    if source.size > MAX_LINE:
        if first.strip() not in (b"{", b"["):
            return None
        mend = f"write one object a line: jq -c . {source.name} | otel-perf import -"
        raise UserError(f"{source.name} is one JSON object of more than {MAX_LINE // 2**20} MiB; {mend}")
    source.file.seek(0)
    return _loaded(source.file.read())


def _loaded(data: bytes) -> list[Any] | None:
    """Return the JSON values in *data*, those of a list each by itself; None if there is something else."""
    decoder, at = json.JSONDecoder(), 0
    found: list[Any] = []
    try:
        text = data.decode("utf-8-sig").rstrip()
        while at < len(text):
            value, at = decoder.raw_decode(text, at + len(text[at:]) - len(text[at:].lstrip()))
            found += value if isinstance(value, list) else [value]
    except (ValueError, RecursionError):
        return None
    return found


# --- processes -------------------------------------------------------------------------------------------------------


class _Copy:
    """Copies the records of a file into the folders of their processes.

    Attributes:
        records: how many there were.
    """

    def __init__(self, run: Run, says: dict[str, str]) -> None:
        self.records = 0
        self._run = run
        self._says = [{"key": key, "value": {"stringValue": text}} for key, text in says.items()]
        self._service = SERVICE in says

    def take(self, data: dict[str, Any], skipped: Skipped) -> None:
        """Take one OTLP object, of whatever signals; what is none is counted."""
        known = [signal for signal in SIGNALS if isinstance(data.get(signal), list)]
        if not known and data:
            skipped.line("no OTLP")
        for signal in known:
            for group in data[signal]:
                if isinstance(group, dict):
                    self._group(signal, group, skipped)
                else:
                    skipped.record(f"{signal} entry that is no object")

    def _group(self, signal: str, group: dict[str, Any], skipped: Skipped) -> None:
        _, scopes, inner = SIGNALS[signal]
        resource = group.get("resource")
        resource = resource if isinstance(resource, dict) else {}
        more = _schema(group)
        scoped = group.get(scopes)
        for part in scoped if isinstance(scoped, list) else ():
            items = part.get(inner) if isinstance(part, dict) else None
            if not isinstance(items, list):
                skipped.record(f"{scopes} entry without {inner}")
                continue
            good = [text for one in items if (text := _text_of(signal, one, skipped))]
            process = self._process(resource) if good else None
            if process is not None:
                self.records += len(good)
                scope = part.get("scope")
                head = json.dumps({"scope": scope if isinstance(scope, dict) else {}})[:-1] + _schema(part)
                process.items(signal, json.dumps(self._told(resource)), head, more, good)
            elif good:
                skipped.record(f"process past the first {MOST_PROCESSES:,}")

    def _told(self, resource: dict[str, Any]) -> dict[str, Any]:
        """Return *resource*, which says where it comes from."""
        pairs = resource.get("attributes")
        kept = [
            pair
            for pair in (pairs if isinstance(pairs, list) else ())
            if not (isinstance(pair, dict) and self._is_ours(pair.get("key")))
        ]
        return {**resource, "attributes": kept + self._says}

    def _is_ours(self, key: object) -> bool:
        return isinstance(key, str) and (key.startswith(FROM) or (self._service and key == SERVICE))

    def _process(self, resource: dict[str, Any]) -> Process | None:
        says = attributes(resource.get("attributes"), Skipped())
        identity = _identity(says)
        known = self._run.known
        if identity not in known:
            if len(known) >= MOST_PROCESSES:
                return None
            known[identity] = self._run.process({}, says.get("process.pid"))
        return known[identity]


def _identity(says: dict[str, Any]) -> str:
    """Return what tells the process of a resource from others: its instance and its pid, where that is; else all of it.

    A file may name neither, as the SDK for Python does unless it is told to: then a service is one process.
    """
    if any(key in says for key in _OF_PROCESS):
        says = {key: says[key] for key in (*_OF_PROCESS, *_OF_HOST) if key in says}
    return repr(sorted((key, repr(value)) for key, value in says.items()))


def _schema(part: dict[str, Any]) -> str:
    """Return the address of the schema as a field to be added, empty if there is none."""
    url = part.get("schemaUrl")
    return f',"schemaUrl":{json.dumps(url)}' if isinstance(url, str) and url else ""


def _text_of(signal: str, item: Any, skipped: Skipped) -> str:
    """Return a record as JSON, empty if it is none."""
    try:
        return json.dumps(item, separators=(",", ":")) if _is_record(signal, item, skipped) else ""
    except RecursionError:
        skipped.record("nested too deep")
        return ""


def _is_record(signal: str, item: Any, skipped: Skipped) -> bool:
    if not isinstance(item, dict):
        skipped.record(f"{SIGNALS[signal][2]} entry that is no object")
        return False
    if signal == "resourceMetrics":
        return _has_values(item)
    if signal == "resourceLogs":
        return True
    if not hex_id(item.get("traceId"), 32) or not hex_id(item.get("spanId"), 16):
        skipped.record("span without valid ids")
    elif any(integer(item.get(key), UINT64) is None for key in ("startTimeUnixNano", "endTimeUnixNano")):
        skipped.record("span without valid times")
    else:
        return True
    return False


def _has_values(metric: dict[str, Any]) -> bool:
    """Take the points off *metric* that have no value, and say whether others are left.

    Such a point says that its series is over, as replay itself does at the end of a process; as the last one it would
    hide the last value.
    """
    left = False
    for kind in METRICS:
        body = metric.get(kind)
        points = body.get("dataPoints") if isinstance(body, dict) else None
        if isinstance(body, dict) and isinstance(points, list):
            kept = [one for one in points if not (isinstance(one, dict) and _flags(one) & NO_VALUE)]
            left = left or bool(kept)
            metric[kind] = {**body, "dataPoints": kept}
    return left


def _flags(point: dict[str, Any]) -> int:
    return integer(point.get("flags", 0), UINT32) or 0
