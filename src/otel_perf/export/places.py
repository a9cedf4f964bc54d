"""Whether an exporter of the application's own sends to the collector that we send to: then each record goes once.

Most often it does, because both read OTEL_EXPORTER_OTLP_ENDPOINT. Imports nothing. Known are the official OTLP
exporters, in a processor or reader of the SDK; what is wrapped in something else is taken for another place.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Place = tuple[str, int]

OFFICIAL = "opentelemetry.exporter.otlp."
PORTS = {4317, 4318}  # of OTLP, one for gRPC and one for HTTP: of one host they are the same collector
_DEFAULT_PORTS = {"http": 80, "https": 443}
_THIS_HOST = {"127.0.0.1", "::1", "0.0.0.0"}  # localhost by other names

destinations: dict[str, Place] = {}  # where we send each signal, as long as we do


def send(urls: dict[str, str]) -> None:
    """Note where we send to: a URL for each signal."""
    destinations.clear()
    for signal, url in urls.items():
        place = place_of(url)
        if place is not None:
            destinations[signal] = place


def is_ours(signal: str, part: Any) -> bool:
    """Return whether *part*, a span processor or a metric reader of the SDK, sends *signal* to where we send it."""
    ours = destinations.get(signal)
    exporter = _exporter_of(part)
    if ours is None or not type(exporter).__module__.startswith(OFFICIAL):
        return False
    place = place_of(str(getattr(exporter, "_endpoint", "")))
    return place is not None and place[0] == ours[0] and (place[1] == ours[1] or {place[1], ours[1]} == PORTS)


def _exporter_of(part: Any) -> Any:
    """Return the exporter behind a processor or reader, None if there is none that we know of."""
    batch = getattr(part, "_batch_processor", None)  # from 1.35 on
    for holder, name in ((part, "span_exporter"), (batch, "_exporter"), (part, "_exporter")):
        exporter = getattr(holder, name, None)
        if exporter is not None:
            return exporter
    return None


def place_of(url: str) -> Place | None:
    """Return host and port of a URL, or of what the gRPC exporter keeps of one; None if it has no host."""
    scheme, found, rest = url.partition("://")
    if not found:
        scheme, rest = "http", url
    netloc = rest.partition("/")[0].rpartition("@")[2]
    host, _, port = netloc.rpartition(":")
    if not host or "]" in port or not port.isdigit():
        host, port = netloc, ""
    host = host.strip("[]").lower()
    if not host:
        return None
    return "localhost" if host in _THIS_HOST else host, int(port) if port else _DEFAULT_PORTS.get(scheme, 0)
