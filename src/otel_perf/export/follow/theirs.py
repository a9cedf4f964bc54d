"""Spans of the application that its own exporter sends to where we send: in our folder, but not ours to send.

tracing/provider.py marks them as they end, by an attribute of their scope.
"""

from __future__ import annotations

from otel_perf.export.otlp_json import SENT_BY

MARK = f'{{"key":"{SENT_BY}"'.encode()


def without_theirs(line: bytes) -> bytes:
    """Return a line of TracesData without the marked scopes, empty if nothing is left; as it is if it is damaged."""
    import json

    try:
        data = json.loads(line)
        for group in data["resourceSpans"]:
            group["scopeSpans"] = [scoped for scoped in group["scopeSpans"] if not _is_marked(scoped)]
        left = any(group["scopeSpans"] for group in data["resourceSpans"])
        return json.dumps(data, separators=(",", ":")).encode() + b"\n" if left else b""
    except (ValueError, TypeError, KeyError, AttributeError):  # whoever reads it then says what is wrong with it
        return line


def _is_marked(scoped: dict[str, dict[str, list[dict[str, str]]]]) -> bool:
    return any(pair["key"] == SENT_BY for pair in scoped["scope"].get("attributes", ()))
