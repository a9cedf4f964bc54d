"""OTLP as protobuf: messages as a server receives them, or as the collector's file exporter writes them with ``proto``.

Of a file, one message is a row of fields 1, each of them what one resource recorded; the exporter writes each message
after its length, 4 bytes, the highest first. Either is read field by field. Parsing is opentelemetry-proto's, which the
official exporters bring.

Source: opentelemetry-proto, collector/*/v1; opentelemetry-collector-contrib, exporter/fileexporter/README.md.
"""

from __future__ import annotations

from base64 import b64decode
from typing import TYPE_CHECKING

from otel_perf.errors import UserError
from otel_perf.export.decode import MAX_LINE
from otel_perf.export.otlp_json import SPANS_A_LINE

from .run import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, BinaryIO

    from otel_perf.export.json_values import Skipped
    from otel_perf.formats.story import Progress

    from .source import Source

FIELD = 0x0A  # the tag of field 1 with a length
LOOKED_AT = 1_000  # messages or fields by which a file is known
EVERY = 20  # fields between two words about the progress
TOO_LONG = f"longer than {MAX_LINE // 2**20} MiB"


def is_protobuf(source: Source) -> bool:
    """Say whether *source* is made of such fields, as far as can be seen without parsing them."""
    found = 0
    for _, size, whole in _fields(source):
        found += size > 0 and whole
        if found == LOOKED_AT or not whole:
            break
    else:
        return found > 0 and source.file.tell() == source.size
    return found > 0


def groups_of(source: Source, skipped: Skipped, progress: Progress) -> Iterator[dict[str, Any]]:
    """Yield what each resource of *source* recorded, as an OTLP/JSON object.

    Raises: UserError: opentelemetry-proto is missing.
    """
    try:
        from google.protobuf.message import DecodeError

        parser = _Parser()
    except ImportError:
        mend = "pip install opentelemetry-proto"
        raise UserError(f"{source.name} is protobuf, and what reads it is not installed: {mend}") from None
    for number, (offset, size, whole) in enumerate(_fields(source)):
        if number % EVERY == 0:
            progress(f"reading {source.name}", offset, source.size)
        if not whole:
            skipped.line("torn at the end")
        elif size > MAX_LINE:
            source.file.seek(size, 1)
            skipped.line(TOO_LONG)
        else:
            try:
                yield from parser.parse(source.file.read(size), skipped)
            except DecodeError:
                skipped.line("no protobuf")


def _fields(source: Source) -> Iterator[tuple[int, int, bool]]:
    """Yield offset and size of each field, and whether all of it is there, with the file at its first byte.

    Whoever reads it leaves the file wherever it likes. What is no field ends it.
    """
    file = source.file
    file.seek(0)
    framed = file.read(1) != bytes((FIELD,))
    at = 0
    while at < source.size:
        end = source.size
        if framed:
            file.seek(at)
            length = file.read(4)
            at += 4
            end = at + int.from_bytes(length, "big")
        while at < min(end, source.size):
            file.seek(at)
            tag = file.read(1)
            size = _varint(file)
            if tag != bytes((FIELD,)) or size is None:
                return
            at = file.tell()
            yield at, size, at + size <= source.size
            at += size
        if at != end:
            file.seek(min(at, source.size - 1))
            return
    file.seek(source.size)


def _varint(file: BinaryIO) -> int | None:
    """Return the number at which *file* is; None if there is none of less than 35 bits."""
    number = 0
    for shift in range(0, 35, 7):
        byte = file.read(1)
        if not byte:
            return None
        number |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return number
    return None


class _Parser:
    """Parses what one resource recorded; which signal it is of the bytes do not say, only what fits."""

    def __init__(self) -> None:
        from google.protobuf.json_format import MessageToDict
        from opentelemetry.proto.logs.v1.logs_pb2 import ResourceLogs
        from opentelemetry.proto.metrics.v1.metrics_pb2 import ResourceMetrics
        from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans

        self._as_dict = MessageToDict
        self._kinds: list[tuple[str, str, str, Any, Callable[[Any], bool]]] = [
            ("resourceSpans", "scope_spans", "spans", ResourceSpans, _is_span),
            ("resourceMetrics", "scope_metrics", "metrics", ResourceMetrics, _is_metric),
            ("resourceLogs", "scope_logs", "log_records", ResourceLogs, _is_log),
        ]

    def parse(self, data: bytes, skipped: Skipped) -> Iterator[dict[str, Any]]:
        """Yield objects with some of the records each; none, counted, if the bytes are of no signal.

        Raises: DecodeError: they are no protobuf.
        """
        from google.protobuf.message import DecodeError

        failed: DecodeError | None = None
        for signal, scopes, records, kind, fits in self._kinds:
            try:
                group = kind.FromString(data)
            except DecodeError as error:
                failed = error
                continue
            scoped = getattr(group, scopes)
            if any(fits(one) for scope in scoped for one in getattr(scope, records)):
                for scope in scoped:
                    yield from self._objects(signal, group, scope, records)
                return
        if failed is not None:
            raise failed
        skipped.line("no OTLP")

    def _objects(self, signal: str, group: Any, scope: Any, records: str) -> Iterator[dict[str, Any]]:
        """Yield the records of *scope*, as many at once as a line takes: as objects they need ten times the room."""
        _, scopes, inner = SIGNALS[signal]
        all_of_them = getattr(scope, records)
        for first in range(0, len(all_of_them), SPANS_A_LINE):
            some = [self._dict(one) for one in all_of_them[first : first + SPANS_A_LINE]]
            part = {"scope": self._dict(scope.scope), "schemaUrl": scope.schema_url, inner: some}
            resource = self._dict(group.resource)
            yield {signal: [{"resource": resource, "schemaUrl": group.schema_url, scopes: [part]}]}

    def _dict(self, message: Any) -> dict[str, Any]:
        found: dict[str, Any] = self._as_dict(message, use_integers_for_enums=True)
        _write_ids(found)
        return found


def _is_span(span: Any) -> bool:
    return bool(len(span.trace_id) == 16 and len(span.span_id) == 8 and span.start_time_unix_nano)


def _is_metric(metric: Any) -> bool:
    return bool(metric.name and metric.WhichOneof("data"))


def _is_log(record: Any) -> bool:
    return bool(record.time_unix_nano or record.observed_time_unix_nano)


def _write_ids(part: Any) -> None:
    """Write ids as OTLP/JSON has them, in hex, where protobuf's JSON has base64."""
    if isinstance(part, list):
        for each in part:
            if isinstance(each, dict | list):
                _write_ids(each)
        return
    for key, value in part.items():
        if key in ("traceId", "spanId", "parentSpanId"):
            part[key] = b64decode(value).hex()
        elif key not in ("attributes", "body") and isinstance(value, dict | list):
            _write_ids(value)
