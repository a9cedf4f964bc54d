"""OTLP/JSON lines → encoded spans, which the official exporters send in place of what they would encode themselves.

Their encoder makes two messages for each attribute and copies each span four times: with many spans that is most of
what sending costs. Here an attribute that was seen before is one look-up. Spans only; what is encoded is what is in the
file, also what ReadableSpan has no place for: the flags of a span and of its links.

Reading order: Encoder._span(), then request(). The numbers of the fields are those of opentelemetry/proto/trace/v1 and
common/v1; a tag is the number times 8, plus 0 for a varint, 1 for eight bytes, 5 for four, 2 for a length and bytes.
"""

from __future__ import annotations

from struct import Struct

from otel_perf.export.json_values import (
    UINT32,
    UINT64,
    Skipped,
    attributes,
    integer,
    json_number,
    json_object,
    json_objects,
    json_text,
)
from otel_perf.export.varint import varint

from .convert import Converter
from .starts import SELF_NS, SELF_TIME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    EncodedSpan = tuple[bytes, bytes, bytes]  # its resource, its scope, itself

KNOWN = 4096  # attributes, and names, that are kept encoded
LONG = 256  # characters; a longer text is not kept
USUAL = frozenset(
    ("traceId", "spanId", "parentSpanId", "flags", "startTimeUnixNano", "endTimeUnixNano", "attributes", "name", "kind")
)  # what most spans have and no more

_float64 = Struct("<d").pack
_fixed64 = Struct("<BQ").pack
_times = Struct("<BQBQ").pack
_fixed32 = Struct("<I").pack
_KINDS = {kind: bytes((0x30, kind)) for kind in range(1, 6)}


class Encoder(Converter):
    """Turns lines into encoded spans."""

    def __init__(self, skipped: Skipped) -> None:
        super().__init__("traces", skipped)
        self._texts: dict[tuple[Any, ...], bytes] = {}  # (key, kind of value, value): the attribute
        self._doubles: dict[str, bytes] = {}  # key: the attribute up to its value
        self._names: dict[str, bytes] = {}

    def _resource_of(self, group: dict[str, Any]) -> Any:
        raw = (group.get("resource"), group.get("schemaUrl"))
        if self._resource[0] != raw:
            resource = self._attributes(json_object(group, "resource", self.skipped).get("attributes"), b"\x0a")
            self._resource = raw, field(b"\x0a", resource) + self._text(group, "schemaUrl", b"\x1a")
        return self._resource[1]

    def _scope_of(self, scoped: dict[str, Any]) -> Any:
        raw = (scoped.get("scope"), scoped.get("schemaUrl"))
        if self._scope[0] != raw:
            scope = json_object(scoped, "scope", self.skipped)
            content = self._text(scope, "name", b"\x0a") + self._text(scope, "version", b"\x12")
            content += self._attributes(scope.get("attributes"), b"\x1a")
            self._scope = raw, field(b"\x0a", content) + self._text(scoped, "schemaUrl", b"\x1a")
        return self._scope[1]

    def _span(self, raw: dict[str, Any], resource: Any, scope: Any) -> Any:
        get, skipped = raw.get, self.skipped
        trace, own, parent = id_of(get("traceId"), 16), id_of(get("spanId"), 8), id_of(get("parentSpanId"), 8)
        if not trace or not own:
            skipped.record("span without valid ids")
            return None
        start, end = integer(get("startTimeUnixNano"), UINT64), integer(get("endTimeUnixNano"), UINT64)
        if start is None or end is None:
            skipped.record("span without valid times")
            return None
        name = json_text(raw, "name", skipped)
        parts = [
            b"\x0a\x10",
            trace,
            b"\x12\x08",
            own,
            b"\x22\x08" + parent if parent else b"",
            self._names.get(name) or self._name(name),
            _KINDS.get(json_number(raw, "kind", UINT32, skipped), _KINDS[1]),
            _times(0x39, start, 0x41, end),
            self._attributes(get("attributes"), b"\x4a"),
        ]
        flags = json_number(raw, "flags", UINT32, skipped)
        if flags:
            parts += (b"\x85\x01", _fixed32(flags))
        if not raw.keys() <= USUAL:
            parts.append(self._rest(raw))
        span = b"".join(parts)
        return resource, scope, b"".join((b"\x12", varint(len(span)), span))

    def _rest(self, raw: dict[str, Any]) -> bytes:
        parts = [self._text(raw, "traceState", b"\x1a")]
        for event in json_objects(raw, "events", self.skipped):
            time = json_number(event, "timeUnixNano", UINT64, self.skipped)
            content = _fixed64(0x09, time) + self._text(event, "name", b"\x12")
            content += self._attributes(event.get("attributes"), b"\x1a")
            parts.append(field(b"\x5a", content + self._count(event, "droppedAttributesCount", b"\x20")))
        parts += self._links(raw)
        status = json_object(raw, "status", self.skipped)
        code = json_number(status, "code", UINT32, self.skipped)
        if code in (1, 2):
            message = self._text(status, "message", b"\x12") if code == 2 else b""
            parts.append(field(b"\x7a", message + b"\x18" + varint(code)))
        counts = {"droppedAttributesCount": b"\x50", "droppedEventsCount": b"\x60", "droppedLinksCount": b"\x70"}
        parts += (self._count(raw, key, tag) for key, tag in counts.items())
        return b"".join(parts)

    def _links(self, raw: dict[str, Any]) -> Any:
        for link in json_objects(raw, "links", self.skipped):
            trace, span = id_of(link.get("traceId"), 16), id_of(link.get("spanId"), 8)
            if not trace or not span:
                self.skipped.value("link without valid ids")
                continue
            content = b"\x0a\x10" + trace + b"\x12\x08" + span
            content += self._text(link, "traceState", b"\x1a") + self._attributes(link.get("attributes"), b"\x22")
            content += self._count(link, "droppedAttributesCount", b"\x28")
            flags = json_number(link, "flags", UINT32, self.skipped)
            yield field(b"\x6a", content + b"\x35" + _fixed32(flags) if flags else content)

    def _attributes(self, pairs: Any, tag: bytes) -> bytes:
        """Return *pairs*, each with *tag*."""
        found: list[bytes] = []
        for pair in pairs if type(pairs) is list else ():
            try:
                key = pair["key"]
                ((kind, value),) = pair["value"].items()
                if type(value) is float and kind == "doubleValue":
                    head = self._doubles.get(key) or self._double(key)
                    one = head + _float64(value)
                    if key == SELF_TIME:
                        found += (tag, one)
                        one = self_ns(value)
                else:
                    one = self._texts.get((key, kind, value), b"")
            except (KeyError, TypeError, ValueError, AttributeError):  # lists, and what is no attribute
                one = b""
            if not one:
                one = self._pair(pair)
            if one:
                found += (tag, one)
        if type(pairs) is not list:
            attributes(pairs, self.skipped)  # counts it
        return b"".join(found)

    def _pair(self, pair: Any) -> bytes:
        """Return one attribute; empty, and counted, if it is none."""
        for key, value in attributes([pair], self.skipped).items():
            one = pair_of(key, value)
            ((kind, raw),) = (pair.get("value") or {"": None}).items()
            if type(raw) is str and len(raw) <= LONG:
                if len(self._texts) >= KNOWN:
                    self._texts.clear()
                self._texts[key, kind, raw] = one
            return one
        return b""

    def _double(self, key: Any) -> bytes:
        if type(key) is not str:
            raise TypeError(key)
        if len(self._doubles) >= KNOWN:
            self._doubles.clear()
        head = self._doubles[key] = pair_of(key, 0.0)[:-8]
        return head

    def _name(self, name: str) -> bytes:
        encoded = field(b"\x2a", utf8(name))
        if len(name) <= LONG:
            if len(self._names) >= KNOWN:
                self._names.clear()
            self._names[name] = encoded
        return encoded

    def _text(self, raw: dict[str, Any], key: str, tag: bytes) -> bytes:
        text = json_text(raw, key, self.skipped)
        return field(tag, utf8(text)) if text else b""

    def _count(self, raw: dict[str, Any], key: str, tag: bytes) -> bytes:
        number = json_number(raw, key, UINT32, self.skipped)
        return tag + varint(number) if number else b""


def request(spans: Iterable[EncodedSpan]) -> bytes:
    """Return an encoded ExportTraceServiceRequest: spans of one resource and scope together."""
    tree: dict[bytes, dict[bytes, list[bytes]]] = {}
    for resource, scope, span in spans:
        tree.setdefault(resource, {}).setdefault(scope, []).append(span)
    return b"".join(
        field(b"\x0a", resource + b"".join(field(b"\x12", scope + b"".join(found)) for scope, found in scopes.items()))
        for resource, scopes in tree.items()
    )


def id_of(value: Any, size: int) -> bytes:
    """Return an id of *size* bytes that is written as hex digits; empty if it is none, or all zeros."""
    if type(value) is not str or len(value) != 2 * size:
        return b""
    try:
        found = bytes.fromhex(value)
    except ValueError:
        return b""
    return found if len(found) == size and found.count(0) < size else b""  # it had spaces, or no digit but 0


def pair_of(key: str, value: object) -> bytes:
    """Return the length and the content of a KeyValue."""
    return field(b"", field(b"\x0a", utf8(key)) + field(b"\x12", any_value(value)))


def self_ns(seconds: float) -> bytes:
    """Return the attribute otel_perf.self_ns of a span."""
    number = varint(int(seconds * 1e9 + 0.5) if 0.0 <= seconds < 1e9 else 0)
    return _self_heads[len(number)] + number


def any_value(value: object) -> bytes:
    """Return the content of an AnyValue."""
    if isinstance(value, str):
        return field(b"\x0a", utf8(value))
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, int):
        return b"\x18" + varint(value & 0xFFFF_FFFF_FFFF_FFFF)
    if isinstance(value, float):
        return b"\x21" + _float64(value)
    if isinstance(value, bytes):
        return field(b"\x3a", value)
    if isinstance(value, list):
        return field(b"\x2a", b"".join(field(b"\x0a", any_value(item)) for item in value))
    if isinstance(value, dict):
        return field(b"\x32", b"".join(b"\x0a" + pair_of(key, item) for key, item in value.items()))
    return b""


def field(tag: bytes, content: bytes) -> bytes:
    """Return a field of bytes with their length."""
    return b"".join((tag, varint(len(content)), content))


def utf8(text: str) -> bytes:
    """Return *text* encoded; half a surrogate pair, which JSON can hold, becomes a question mark."""
    return text.encode("utf-8", "replace")


# The attribute of a span's self time, by the length of its number, which comes after it.
_self_heads = [b"", *(pair_of(SELF_NS, 2 ** (7 * length - 1))[:-length] for length in range(1, 10))]
