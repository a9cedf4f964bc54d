"""Where records are sent: ``OTEL_EXPORTER_OTLP_*`` and ``OTEL_{TRACES,METRICS,LOGS}_EXPORTER``.

Imports only: os, config. load() reads the environment once; nothing here opens a connection, and no header's value is
shown.

Source: OpenTelemetry specification, "OpenTelemetry Protocol Exporter" and "Environment Variable Specification".
"""

from __future__ import annotations

import os

from otel_perf import config
from otel_perf.config import unquote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from otel_perf.config import Settings

SIGNALS = ("traces", "metrics", "logs")
PROTOCOLS = ("http/protobuf", "grpc", "http/json")
TEMPORALITY = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"
TEMPORALITIES = ("cumulative", "delta", "lowmemory")
INTERVAL = 2.0  # seconds between two looks at the files

_INTERVALS = {
    "traces": "OTEL_BSP_SCHEDULE_DELAY",
    "metrics": "OTEL_METRIC_EXPORT_INTERVAL",
    "logs": "OTEL_BLRP_SCHEDULE_DELAY",
}
_SHORTEST = 0.1  # seconds: a timeout below it is meant in another unit


class Target:
    """Where one signal goes.

    Attributes:
        signal: ``traces``, ``metrics`` or ``logs``.
        exporters: ``otlp``, ``console`` or both.
        protocol: one of PROTOCOLS.
        url: whole URL of the signal; for gRPC ``http://`` or ``https://``, host and port.
        headers: names in lower case, values as they go over the wire.
        timeout: seconds for one request.
        compression: ``gzip`` or empty.
        certificate: file of the authorities to trust, else the system's.
        client_key: file of the client's key, as is client_certificate.
        interval: seconds between two looks for new records.
        temporality: of metrics, one of TEMPORALITIES.
        system_metrics: which metrics of the machine are sent: ``few``, ``all`` or ``none``.
        profile_series: how many call paths are sent one by one.
    """

    __slots__ = (
        "certificate",
        "client_certificate",
        "client_key",
        "compression",
        "exporters",
        "headers",
        "interval",
        "profile_series",
        "protocol",
        "signal",
        "system_metrics",
        "temporality",
        "timeout",
        "url",
    )

    def __init__(
        self,
        signal: str,
        url: str = "",
        *,
        exporters: tuple[str, ...] = ("otlp",),
        protocol: str = "http/protobuf",
        headers: dict[str, str] | None = None,
        timeout: float = 10.0,
        compression: str = "",
        certificate: str = "",
        client_key: str = "",
        client_certificate: str = "",
        interval: float = INTERVAL,
        temporality: str = TEMPORALITIES[0],
        system_metrics: str = "few",
        profile_series: int = 500,
    ) -> None:
        self.signal = signal
        self.url = url
        self.exporters = exporters
        self.protocol = protocol
        self.headers = headers or {}
        self.timeout = timeout
        self.compression = compression
        self.certificate = certificate
        self.client_key = client_key
        self.client_certificate = client_certificate
        self.interval = interval
        self.temporality = temporality
        self.system_metrics = system_metrics
        self.profile_series = profile_series

    def __eq__(self, other: object) -> bool:
        return type(other) is Target and all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Target({self.signal!r}, {self.shown!r}, protocol={self.protocol!r}, headers={sorted(self.headers)})"

    @property
    def shown(self) -> str:
        """The URL without user, password and query, or ``stdout``."""
        if "otlp" not in self.exporters:
            return "stdout"
        scheme, _, rest = self.url.partition("://")
        host, slash, path = rest.partition("?")[0].rpartition("@")[2].partition("/")  # a password may have a slash
        return f"{scheme}://{host}{slash}{path}"


class Endpoints:
    """Where each signal goes.

    Attributes:
        targets: by signal; a signal that is not sent is not in it.
        complaints: one sentence for each value that could not be taken.
    """

    def __init__(self, targets: dict[str, Target], complaints: list[str]) -> None:
        self.targets = targets
        self.complaints = complaints

    def __bool__(self) -> bool:
        return bool(self.targets)

    def __repr__(self) -> str:
        return f"Endpoints({list(self.targets.values())!r})"


def load(
    endpoint: str | None = None,
    protocol: str | None = None,
    environ: Mapping[str, str] | None = None,
    everything: bool = False,
    settings: Settings | None = None,
) -> Endpoints:
    """Read where records go.

    A signal is sent when an endpoint for it is set or its exporter is named; without either nothing leaves the machine.

    Args:
        endpoint: base URL for all signals; wins over every variable.
        protocol: one of PROTOCOLS; wins over every variable.
        environ: the environment, default the process's own.
        everything: send each signal that is not switched off, by default to the specification's default endpoint.
        settings: what is sent of metrics; default those of the environment and the working directory.
    """
    reader = _Reader(os.environ if environ is None else environ)
    targets = {}
    for signal in SIGNALS:
        target = _target(reader, signal, endpoint, protocol, everything)
        if target is not None:
            targets[signal] = target
    if "metrics" in targets:
        _choose(reader, targets["metrics"], settings or config.load({}, reader.environ))
    return Endpoints(targets, list(dict.fromkeys(reader.complaints)))


class _Reader:
    """The environment: an empty variable is unset, a signal's own one wins over the general one."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.complaints: list[str] = []

    def plain(self, variable: str) -> str:
        return self.environ.get(variable, "").strip()

    def otlp(self, signal: str, name: str) -> tuple[str, str]:
        """Return value and name of the variable that is set, or empty texts."""
        for variable in (f"OTEL_EXPORTER_OTLP_{signal.upper()}_{name}", f"OTEL_EXPORTER_OTLP_{name}"):
            value = self.plain(variable)
            if value:
                return value, variable
        return "", ""

    def complain(self, variable: str, text: str) -> None:
        self.complaints.append(f"{variable}: {text}")


def _target(
    reader: _Reader, signal: str, endpoint: str | None, protocol: str | None, everything: bool
) -> Target | None:
    found, variable = reader.otlp(signal, "ENDPOINT")
    exporters = _exporters(reader, signal)
    if exporters is None:
        exporters = ("otlp",) if endpoint or found or everything else ()
    if not exporters:
        return None
    target = Target(signal, exporters=exporters)
    target.interval = _milliseconds(reader, _INTERVALS[signal], INTERVAL)
    if "otlp" not in exporters:
        return target
    target.protocol = protocol or _protocol(reader, signal)
    base = endpoint or found
    own = not endpoint and variable.startswith(f"OTEL_EXPORTER_OTLP_{signal.upper()}_")  # is taken as it is
    url = _url(reader, "endpoint" if endpoint else variable, base, signal, target.protocol, own)
    if url is None:
        return None
    target.url = url
    _details(reader, target)
    return target


def _choose(reader: _Reader, target: Target, settings: Settings) -> None:
    """Set which metrics are sent, and in what form."""
    target.system_metrics, target.profile_series = settings.system_metrics, settings.profile_series
    text = reader.plain(TEMPORALITY)
    if text.lower() in TEMPORALITIES:
        target.temporality = text.lower()
    elif text:
        reader.complain(TEMPORALITY, f"{text!r} is none of {', '.join(TEMPORALITIES)}; taking {TEMPORALITIES[0]}")


def _exporters(reader: _Reader, signal: str) -> tuple[str, ...] | None:
    """Return what OTEL_*_EXPORTER names; None where it is not set, nothing for ``none``."""
    variable = f"OTEL_{signal.upper()}_EXPORTER"
    text = reader.plain(variable)
    if not text:
        return None
    names = [name.strip() for name in text.split(",")]
    known = [name for name in dict.fromkeys(names) if name in ("otlp", "console")]
    for name in names:
        if name not in ("otlp", "console", "none"):
            reader.complain(variable, f"{name!r} is none of otlp, console, none; it is left out")
    return tuple(known)


def _protocol(reader: _Reader, signal: str) -> str:
    text, variable = reader.otlp(signal, "PROTOCOL")
    if not text or text.lower() in PROTOCOLS:
        return text.lower() or PROTOCOLS[0]
    reader.complain(variable, f"{text!r} is none of {', '.join(PROTOCOLS)}; taking {PROTOCOLS[0]}")
    return PROTOCOLS[0]


def _url(reader: _Reader, variable: str, text: str, signal: str, protocol: str, own: bool) -> str | None:
    """Return the URL to use, None where *text* is none."""
    grpc = protocol == "grpc"
    if not text:
        text = "http://localhost:4317" if grpc else "http://localhost:4318"
    scheme, found, rest = text.partition("://")
    if not found:
        rest = text
        insecure, _ = reader.otlp(signal, "INSECURE")
        scheme = "http" if insecure.lower() == "true" else "https" if grpc else "http"
        if not grpc:
            reader.complain(variable, f"a URL begins with http:// or https://; taking http://{_masked(rest)}")
    scheme = scheme.lower()
    host = rest.partition("/")[0].rpartition("@")[2]
    if scheme not in ("http", "https") or not host or not _port_ok(host):
        shown = f"{scheme}://{_masked(rest)}"
        reader.complain(
            variable, f"{shown!r} is no URL of a collector, such as http://localhost:4318; {signal} stay here"
        )
        return None
    if grpc:
        return f"{scheme}://{host}"
    if own:
        return f"{scheme}://{rest}" if "/" in rest else f"{scheme}://{rest}/"
    return f"{scheme}://{rest.rstrip('/')}/v1/{signal}"


def _masked(rest: str) -> str:
    return rest.rpartition("@")[2].partition("/")[0]  # a password may have a slash


def _port_ok(host: str) -> bool:
    port = host.rpartition(":")[2] if not host.endswith("]") and ":" in host else "1"
    return port.isascii() and port.isdigit() and 0 < int(port) < 65536


def _details(reader: _Reader, target: Target) -> None:
    signal = target.signal
    _, variable = reader.otlp(signal, "TIMEOUT")
    if variable:
        target.timeout = _timeout(reader, variable)
    target.headers = _headers(reader, *reader.otlp(signal, "HEADERS"))
    text, variable = reader.otlp(signal, "COMPRESSION")
    if text.lower() not in ("", "none", "gzip"):
        reader.complain(variable, f"{text!r} is none of gzip, none; taking none")
    target.compression = "gzip" if text.lower() == "gzip" else ""
    target.certificate = _file(reader, *reader.otlp(signal, "CERTIFICATE"))
    target.client_key = _file(reader, *reader.otlp(signal, "CLIENT_KEY"))
    target.client_certificate = _file(reader, *reader.otlp(signal, "CLIENT_CERTIFICATE"))


def _timeout(reader: _Reader, variable: str) -> float:
    found = _milliseconds(reader, variable, 10.0)
    if found < _SHORTEST:
        reader.complain(
            variable,
            f"{reader.plain(variable)} is {found * 1000:g} ms, the specification's unit; no request may be that short, "
            "taking 10000",
        )
        return 10.0
    return found


def _milliseconds(reader: _Reader, variable: str, default: float) -> float:
    """Return a duration that the specification gives in milliseconds, in seconds."""
    text = reader.plain(variable)
    if not text:
        return default
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0.0 < number < 1e9:
        reader.complain(variable, f"write a number of milliseconds, got {text!r}; taking {default * 1000:g}")
        return default
    return number / 1000


def _headers(reader: _Reader, text: str, variable: str) -> dict[str, str]:
    """Return the headers of a ``key=value,…`` list; what is none is named by its place, never by its text."""
    found: dict[str, str] = {}
    for place, entry in enumerate(text.split(","), 1):
        if not entry.strip():
            continue
        key, equals, value = entry.partition("=")
        key, value = unquote(key.strip()).lower(), unquote(value.strip())
        if equals and _is_token(key) and value.isprintable():
            found[key] = value
        else:
            reader.complain(variable, f"entry {place} is no key=value with a percent-encoded value; it is left out")
    return found


def _is_token(key: str) -> bool:
    return bool(key) and key.isascii() and all(letter.isalnum() or letter in "!#$%&'*+-.^_`|~" for letter in key)


def _file(reader: _Reader, path: str, variable: str) -> str:
    if path and not os.access(path, os.R_OK):
        reader.complain(variable, f"cannot read the file {path!r}; requests will fail until it is there")
    return path
