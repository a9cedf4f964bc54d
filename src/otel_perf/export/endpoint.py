"""Where records are sent: ``OTEL_EXPORTER_OTLP_*`` and ``OTEL_{TRACES,METRICS,LOGS}_EXPORTER``.

Imports only: os, config. load() reads the environment once; nothing here opens a connection, and no header's value, no
password and no query is shown. A user in a URL becomes a header, so that no library can repeat it in a message.

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
COMPRESSIONS = ("gzip", "deflate", "none")
TEMPORALITY = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"
TEMPORALITIES = ("cumulative", "delta", "lowmemory")
INTERVAL = 2.0  # seconds between two looks at the files

_INTERVALS = {
    "traces": "OTEL_BSP_SCHEDULE_DELAY",
    "metrics": "OTEL_METRIC_EXPORT_INTERVAL",
    "logs": "OTEL_BLRP_SCHEDULE_DELAY",
}
SHORTEST = 0.1  # seconds: a timeout below it is meant in seconds, as the SDK for Python reads it
ENDLESS = 3600.0  # seconds: what no limit is
_NAMED = {"otlp_proto_http": "http/protobuf", "otlp_proto_grpc": "grpc"}  # exporters that say how to send
_HIDDEN = "***"
SHORTEST_SECRET = 4  # characters of a secret that is looked for in texts; a shorter one would be found in every word


class Target:
    """Where one signal goes.

    Attributes:
        signal: ``traces``, ``metrics`` or ``logs``.
        exporters: ``otlp``, ``console`` or both.
        protocol: one of PROTOCOLS.
        url: whole URL of the signal; for gRPC ``http://`` or ``https://``, host and port.
        headers: names in lower case, values as they go over the wire.
        timeout: seconds for one request.
        compression: ``gzip``, ``deflate`` or empty.
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
        return shown_url(self.url)

    def hide(self, text: str) -> str:
        """Return *text* without the secrets of this target, which a receiver or a library may repeat."""
        secrets = {word for value in self.headers.values() for word in (value, value.rpartition(" ")[2])}
        secrets |= {pair.partition("=")[2] for pair in self.url.partition("?")[2].split("&")}
        for secret in sorted(secrets, key=len, reverse=True):
            if len(secret) >= SHORTEST_SECRET:
                text = text.replace(secret, _HIDDEN)
        return text


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
    exporters = _exporters(reader, signal, everything)
    if exporters is None:
        exporters = ("otlp",) if endpoint or found or everything else ()
    if not exporters:
        return None
    target = Target(signal, exporters=exporters)
    target.interval = _milliseconds(reader, _INTERVALS[signal], INTERVAL, whole=signal != "metrics")
    if "otlp" not in exporters:
        return target
    target.protocol = protocol or _protocol(reader, signal)
    base = endpoint or found
    own = not endpoint and variable.startswith(f"OTEL_EXPORTER_OTLP_{signal.upper()}_")  # is taken as it is
    url = _url(reader, "endpoint" if endpoint else variable, base, signal, target.protocol, own)
    if url is None:
        return None
    scheme, mark, rest = url.partition("://")
    place, slash, path = rest.partition("/")
    user, _, host = place.rpartition("@")
    target.url = f"{scheme}{mark}{host}{slash}{path}"
    _details(reader, target)
    if user:
        target.headers.setdefault("authorization", _basic(user))
    return target


def _choose(reader: _Reader, target: Target, settings: Settings) -> None:
    """Set which metrics are sent, and in what form."""
    target.system_metrics, target.profile_series = settings.system_metrics, settings.profile_series
    text = reader.plain(TEMPORALITY)
    if text.lower() in TEMPORALITIES:
        target.temporality = text.lower()
    elif text:
        reader.complain(TEMPORALITY, f"{text!r} is none of {', '.join(TEMPORALITIES)}; taking {TEMPORALITIES[0]}")


def _exporters(reader: _Reader, signal: str, everything: bool) -> tuple[str, ...] | None:
    """Return what OTEL_*_EXPORTER names and we have; None where it is not set, nothing for ``none``.

    Others are the program's own SDK's. Where *everything* is to be sent, it is said that they are left out.
    """
    variable = f"OTEL_{signal.upper()}_EXPORTER"
    names = _named(reader, signal)
    if not names:
        return None
    ours = ["otlp" if name in _NAMED else name for name in names]
    for name in ours if everything else ():
        if name not in ("otlp", "console", "none"):
            reader.complain(variable, f"{name!r} is none of otlp, console, none; it is left out")
    return tuple(name for name in dict.fromkeys(ours) if name in ("otlp", "console"))


def _named(reader: _Reader, signal: str) -> list[str]:
    names = reader.plain(f"OTEL_{signal.upper()}_EXPORTER").lower().split(",")
    return [name for each in names if (name := each.strip())]


def _protocol(reader: _Reader, signal: str) -> str:
    for name in _named(reader, signal):
        if name in _NAMED:
            return _NAMED[name]
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
    if grpc:
        text = _of_grpc(text)
    scheme, found, rest = text.partition("://")
    if not found:
        rest = text
        insecure, _ = reader.otlp(signal, "INSECURE")
        scheme = "http" if insecure.lower() == "true" else "https" if grpc else "http"
        if not grpc:
            reader.complain(variable, f"a URL begins with http:// or https://; taking http://{_host_of(rest)}")
    scheme = scheme.lower()
    place = rest.partition("/")[0].partition("?")[0]
    host = place.rpartition("@")[2]
    if scheme not in ("http", "https") or not is_host(host) or (host[0] == ":" and not grpc):
        shown = f"{scheme}://{_host_of(rest)}"
        reader.complain(
            variable, f"{shown!r} is no URL of a collector, such as http://localhost:4318; {signal} stay here"
        )
        return None
    if grpc:
        return f"{scheme}://{place}"
    path, mark, query = rest.partition("?")
    if not own:
        path = f"{path.rstrip('/')}/v1/{signal}"
    return f"{scheme}://{path}{'' if '/' in path else '/'}{mark}{query}"


def _of_grpc(text: str) -> str:
    """Return host and port of a target in gRPC's own words: ``dns:host:port``, ``dns:///host:port``, ``ipv4:…``."""
    scheme, _, rest = text.partition(":")
    if scheme.lower() not in ("dns", "ipv4", "ipv6") or rest.isdigit():
        return text
    return rest.removeprefix("///")


def _host_of(rest: str) -> str:
    return shown_url(rest).partition("/")[0]


def shown_url(url: str) -> str:
    """Return *url* without user, password, query and fragment."""
    scheme, mark, rest = url.partition("://")
    if not mark:
        scheme, rest = "", url
    behind = min(len(rest.partition("?")[0]), len(rest.partition("#")[0]))
    if "@" in rest[behind:]:  # either a password or a query, and nobody can say which
        return f"{scheme}{mark}{_HIDDEN}"
    return f"{scheme}{mark}{rest[:behind].rpartition('@')[2]}"  # the last @: a password may have a slash


def shown_path(path: str) -> str:
    """Return a file's name to be shown; not what is no name: somebody may have put the key itself there."""
    return repr(path) if len(path) < 256 and path.isprintable() and "-----" not in path else "that is named there"


def _basic(user: str) -> str:
    from base64 import b64encode

    return "Basic " + b64encode(unquote(user).encode()).decode()


def is_host(host: str) -> bool:
    """Say whether *host*, with or without a port, can be one."""
    if not host or not host.isprintable() or " " in host:
        return False
    port = host.rpartition(":")[2] if not host.endswith("]") and ":" in host else "1"
    return port.isascii() and port.isdigit() and 0 < int(port) < 65536


def _details(reader: _Reader, target: Target) -> None:
    signal = target.signal
    _, variable = reader.otlp(signal, "TIMEOUT")
    if variable:
        target.timeout = _timeout(reader, variable)
    target.headers = _headers(reader, *reader.otlp(signal, "HEADERS"), target.protocol)
    text, variable = reader.otlp(signal, "COMPRESSION")
    if text and text.lower() not in COMPRESSIONS:
        reader.complain(variable, f"{text!r} is none of {', '.join(COMPRESSIONS)}; taking none")
    target.compression = text.lower() if text.lower() in COMPRESSIONS[:2] else ""
    target.certificate = _file(reader, *reader.otlp(signal, "CERTIFICATE"))
    target.client_key = _file(reader, *reader.otlp(signal, "CLIENT_KEY"))
    target.client_certificate = _file(reader, *reader.otlp(signal, "CLIENT_CERTIFICATE"))


def _timeout(reader: _Reader, variable: str) -> float:
    """Return the seconds of a timeout: milliseconds by the specification, seconds where that is the official SDK's."""
    found = _milliseconds(reader, variable, 10.0, least=0.0) or ENDLESS
    return found * 1000 if found < SHORTEST else found


def _milliseconds(
    reader: _Reader, variable: str, default: float, *, least: float = 0.001, whole: bool = False
) -> float:
    """Return a duration that the specification gives in milliseconds, in seconds."""
    text = reader.plain(variable)
    if not text:
        return default
    try:
        number = float(int(text) if whole else text)
    except (ValueError, OverflowError):
        number = -1.0
    if not least <= number < 1e13:
        reader.complain(variable, f"write a number of milliseconds, got {text!r}; taking {default * 1000:g}")
        return default
    return number / 1000


def _headers(reader: _Reader, text: str, variable: str, protocol: str) -> dict[str, str]:
    """Return the headers of a ``key=value,…`` list; what is none is named by its place, never by its text."""
    found, wrong = read_headers(text, protocol)
    for place in wrong:
        reader.complain(variable, f"entry {place} is no key=value with a percent-encoded value; it is left out")
    return found


def read_headers(text: str, protocol: str = PROTOCOLS[0]) -> tuple[dict[str, str], list[int]]:
    """Return the headers of a ``key=value,…`` list that *protocol* can carry, and the places of the other entries."""
    found: dict[str, str] = {}
    wrong = []
    for place, entry in enumerate(text.split(","), 1):
        if not entry.strip():
            continue
        key, equals, value = entry.partition("=")
        key, value = unquote(key.strip()).lower(), unquote(value.strip())
        if equals and _can_carry(key, value, grpc=protocol == "grpc"):
            found[key] = value
        else:
            wrong.append(place)
    return found, wrong


def _can_carry(key: str, value: str, grpc: bool) -> bool:
    """Say whether key and value can go over the wire; one that cannot would have every request refused."""
    if not key or not key.isascii() or not value.isprintable():
        return False
    marks = "-._" if grpc else "!#$%&'*+-.^_`|~"
    if not all(letter.isalnum() or letter in marks for letter in key):
        return False
    return not key.endswith("-bin") and value.isascii() if grpc else all(letter < "\u0100" for letter in value)


def _file(reader: _Reader, path: str, variable: str) -> str:
    if path and not os.access(path, os.R_OK):
        reader.complain(variable, f"cannot read the file {shown_path(path)}; requests will fail until it is there")
    return path
