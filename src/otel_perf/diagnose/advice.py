"""What a failed request means in words, with the variable to change and its value. Nothing here touches the network."""

from __future__ import annotations

import re
import ssl
from typing import TYPE_CHECKING

from otel_perf.analysis.text import duration
from otel_perf.export.endpoint import shown_url

from .found import ERROR, NOTE, Finding
from .network import Cut, address_of, wants_certificate
from .settings import variable_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .network import Reach, Seen

_ANSWERED = re.compile(r"answered (\d{3}|[A-Z_]{2,})\b")
_PATH = re.compile(r"/v1/(?:traces|metrics|logs)$")
_DOUBLED = re.compile(r"/v1/(?:traces|metrics|logs)(?=/v1/(?:traces|metrics|logs)$)")
_HTTP_OF = {  # how a call's code is called over HTTP
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "UNIMPLEMENTED": 404,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "INVALID_ARGUMENT": 400,
    "UNAVAILABLE": 503,
    "INTERNAL": 500,
    "UNKNOWN": 500,
}
_SELF_SIGNED, _NO_ISSUER, _UNVERIFIED, _EXPIRED, _EARLY, _HOST, _IP = (18, 19), 20, 21, 10, 9, 62, 64
_LOG = "its own log says why"
_WAITING = "records wait in the run folder meanwhile"


class Adviser:
    """Knows where a signal's settings came from, so that the advice names what to change.

    Attributes:
        environ: the environment.
        endpoint: what ``--endpoint`` said, else empty, as is protocol of ``--protocol``.
        file: name of the configuration file that names the endpoint, where nothing else does.
    """

    def __init__(self, environ: Mapping[str, str], endpoint: str = "", protocol: str = "", file: str = "") -> None:
        self.environ = environ
        self.endpoint = endpoint
        self.protocol = protocol
        self.file = file

    def findings(self, reaches: list[Reach]) -> list[Finding]:
        """Return what is wrong with *reaches*; signals that fail alike are named together."""
        found: dict[tuple[str, ...], tuple[list[str], Finding]] = {}
        for one in reaches:
            result = self._judge(one)
            if result is not None:
                signal = one.target.signal
                alike = tuple(text.replace(signal, "signal") for text in result)
                found.setdefault(alike, ([], Finding(result[0], "", *result[1:])))[0].append(signal)
        return [Finding(one.severity, ", ".join(signals), one.text, one.fix) for signals, one in found.values()]

    def source(self, signal: str, name: str) -> str:
        """Return where *name* of *signal* is set: an option, or the variable that is or would be read."""
        variable = variable_of(self.environ, signal, name)
        by_hand = self.endpoint and not self.environ.get(variable, "").strip()
        if (name == "ENDPOINT" and self.endpoint) or (name == "PROTOCOL" and (self.protocol or by_hand)):
            return f"--{name.lower()}"
        if name == "ENDPOINT" and self.file and not self.environ.get(variable, "").strip():
            return f"endpoint in {self.file}"
        return variable

    def set(self, one: Reach, name: str, value: str) -> str:
        """Return how to set *name* to *value*."""
        source = self.source(one.target.signal, name)
        if source.startswith("endpoint in "):
            return f'endpoint = "{value}" in {self.file}'
        return f"{source} {value}" if source.startswith("--") else f"{source}={value}"

    def url(self, one: Reach, *, scheme: str = "", port: int = 0, protocol: str = "") -> str:
        """Return how to set the endpoint to the same place with another scheme or port."""
        before, _, rest = shown_url(one.target.url).partition("://")
        host, slash, path = rest.partition("/")
        if port:
            name = address_of(one.target.url)[0]
            host = f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
        own = self.source(one.target.signal, "ENDPOINT").endswith(f"_{one.target.signal.upper()}_ENDPOINT")
        if (protocol or one.target.protocol) == "grpc":
            slash = path = ""
        elif not own:
            path = _PATH.sub("", f"/{path}").strip("/")
            slash = "/" if path else ""
        elif not path:
            slash, path = "/", f"v1/{one.target.signal}"
        return self.set(one, "ENDPOINT", f"{scheme or before}://{host}{slash}{path}")

    # --- judging -----------------------------------------------------------------------------------------------------

    def _judge(self, one: Reach) -> tuple[str, str, str] | None:
        """Return severity, text and fix, None where all is well."""
        if one.good:
            return self._good(one)
        step = one.failed
        if not one.begun and one.outcome is None and (step is None or step.name == "request"):
            return NOTE, "no request could be made in time: this machine is busy", "otel-perf doctor again, later"
        text, fix = self._way(one) or self._protocol(one) or self._tls(one) or self._answer(one) or self._silence(one)
        if one.proxy:
            host = address_of(one.target.url)[0]
            text += "" if one.proxy in text else f" (it goes through the proxy {one.proxy})"
            fix = f"NO_PROXY={host} to go directly" + (f"; or {fix}" if fix else "")
        return ERROR, text, fix

    def _good(self, one: Reach) -> tuple[str, str, str] | None:
        doubled = _DOUBLED.search(shown_url(one.target.url))
        if not one.otlp:
            return (
                NOTE,
                f"{_place(one)} answers with success, yet not with an OTLP message: is it an OTLP receiver?",
                self._base(one),
            )
        if doubled:
            return ERROR, f"{self._doubled(one)}; {_place(one)} takes it, other receivers do not", self._base(one)
        return None

    def _way(self, one: Reach) -> tuple[str, str] | None:
        """Judge what is wrong before a request could be made."""
        step = one.failed
        if step is None or step.name not in ("name", "connection"):
            return None
        host, source = address_of(one.target.url)[0], self.source(one.target.signal, "ENDPOINT")
        place = f"the proxy {one.proxy}" if one.proxy else _place(one)
        if step.name == "name":
            return (
                f"the name {one.proxy or host} cannot be resolved ({step.problem})",
                f"{source}: write a host that this machine knows (a container's name is known in its network only)",
            )
        if step.problem == "no answer in time":
            return (
                f"{place} does not answer to a connection: a firewall drops it, or the host is down",
                f"open it, or set {source} to where the collector listens",
            )
        if "refused" in step.problem.lower():
            usual = {"grpc": "4317 for gRPC"}.get(one.target.protocol, "4318 for HTTP")
            return (
                f"nothing listens on {place} (connection refused)",
                f"start the collector, or set {source} to where it listens (port {usual})",
            )
        return f"{place} cannot be reached ({step.problem})", f"{source}: is it the right host and port?"

    def _protocol(self, one: Reach) -> tuple[str, str] | None:
        """Judge a port that speaks another protocol, or TLS where none is configured, or the other way round."""
        seen, target = one.seen, one.target
        status = _status(one)
        if seen is None or (status is not None and not (status == 400 and seen.tls)):
            return None
        grpc, secure = target.protocol == "grpc", target.url.startswith("https:")
        other = (seen.http2 and not seen.http1 and not grpc) or (seen.http1 and not seen.http2 and grpc)
        text, scheme = self._scheme(one, seen, secure)
        if not other:
            return (text, self.url(one, scheme=scheme)) if scheme else None
        if grpc:
            also = f"{_place(one)} answers HTTP/1.1 only, which is not gRPC: use port 4317 or "
            fix = self.set(one, "PROTOCOL", "http/protobuf")
            port, protocol = 4317, "grpc"
        else:
            also = f"{_place(one)} answers HTTP/2 only: use port 4318 or "
            fix = self.set(one, "PROTOCOL", "grpc")
            port, protocol = 4318, target.protocol
        also += fix
        elsewhere = self.url(one, scheme=scheme, port=port, protocol=protocol)
        if not scheme:
            return also, f"{fix}, or {elsewhere}"
        moved = self.url(one, scheme=scheme, protocol="http/protobuf" if grpc else "grpc")
        return f"{also}; and {text.removeprefix(f'{_place(one)} ')}", f"{fix} and {moved}, or {elsewhere}"

    def _scheme(self, one: Reach, seen: Seen, secure: bool) -> tuple[str, str]:
        """Return what is wrong with the scheme, and the right one; nothing where it fits."""
        if secure and seen.plain and not seen.tls:
            return f"{_place(one)} does not speak TLS: write http:// instead of https://", "http"
        if not secure and seen.tls and not seen.plain:
            return f"{_place(one)} speaks TLS only: write https:// instead of http://", "https"
        return "", ""

    def _tls(self, one: Reach) -> tuple[str, str] | None:
        """Judge a handshake that fails although the port speaks TLS."""
        error, signal = one.handshake, one.target.signal
        if error is None or _status(one) is not None:
            return None
        certificate = variable_of(self.environ, signal, "CERTIFICATE")
        if isinstance(error, ssl.SSLCertVerificationError):
            return self._certificate(one, error, certificate)
        client = variable_of(self.environ, signal, "CLIENT_CERTIFICATE")
        key = variable_of(self.environ, signal, "CLIENT_KEY")
        reason = str(getattr(error, "reason", "") or "")
        if "KEY_VALUES_MISMATCH" in reason:
            return f"the client's key does not belong to its certificate ({client})", f"{key}=/path/its.key"
        if isinstance(error, Cut) or wants_certificate(error):
            if one.target.client_certificate:
                return (
                    f"{_place(one)} does not accept the client's certificate",
                    f"{client} and {key}: are they its own?",
                )
            return (
                f"{_place(one)} wants a client's certificate, and none is set",
                f"{client}=/path/client.pem and {key}=/path/client.key",
            )
        if isinstance(error, FileNotFoundError) or "NO_CERTIFICATE" in reason or "PEM" in reason:
            return (
                "a certificate's file cannot be read as PEM",
                f"{certificate}, {client} and {key}: name PEM files",
            )
        if isinstance(error, ssl.SSLError):
            return f"the TLS handshake with {_place(one)} fails ({_words(reason or str(error))})", ""
        return None

    def _certificate(self, one: Reach, error: ssl.SSLCertVerificationError, variable: str) -> tuple[str, str]:
        host, code = address_of(one.target.url)[0], error.verify_code
        start = f"the certificate of {_place(one)}"
        if code in (_HOST, _IP):
            return (
                f"{start} is for another name than {host}",
                f"{self.source(one.target.signal, 'ENDPOINT')}: write the name that stands in the certificate",
            )
        if code == _EXPIRED:
            return f"{start} has expired", "renew it on the receiver; is this machine's clock right?"
        if code == _EARLY:
            return f"{start} is not valid yet", "is this machine's clock right?"
        if code in (*_SELF_SIGNED, _NO_ISSUER, _UNVERIFIED):
            signed = (
                "signed by itself" if code == _SELF_SIGNED[0] else "signed by an authority that is not trusted here"
            )
            return f"{start} is {signed}", f"{variable}=/path/ca.pem, the certificate of its authority"
        return f"{start} is not accepted ({error.verify_message})", f"{variable}=/path/ca.pem"

    def _answer(self, one: Reach) -> tuple[str, str] | None:
        """Judge an answer other than success."""
        status = _status(one)
        if status is None or one.outcome is None:
            return None
        place, said = _place(one), _said(one)
        headers = variable_of(self.environ, one.target.signal, "HEADERS")
        if status in (401, 403):
            names = ", ".join(sorted(one.target.headers))
            sent = f"of the headers {names}" if names else ", and no header is set"
            verb = "does not accept the credentials" if names else "wants credentials"
            right = "with one that is valid there" if names else "(a space is written %20)"
            return (
                f"{place} {verb} {sent} ({said})".replace(" ,", ","),
                f"{headers}={names.partition(',')[0] or 'authorization'}=Bearer%20TOKEN {right}",
            )
        if status in (404, 405):
            return self._path(one, said)
        if status == 429:
            wait = one.outcome.wait
            asked = f", and asks to wait {duration(wait)}" if wait else ""
            return (
                f"{place} takes no more just now ({said}{asked}): too many requests, or a quota is used up; {_WAITING}",
                "raise the receiver's limit, or send less often: OTEL_METRIC_EXPORT_INTERVAL=60000 "
                "OTEL_BSP_SCHEDULE_DELAY=30000",
            )
        if 300 <= status < 400:
            return (
                f"{place} answers with a redirect ({said}), which is not followed",
                f"{self.source(one.target.signal, 'ENDPOINT')}: write the URL that it leads to, often https://",
            )
        if status >= 500:
            return f"the receiver {place} fails by itself ({said}); {_WAITING}", _LOG
        if status == 415 or (status == 400 and one.target.protocol != "grpc"):
            other = "http/protobuf" if one.target.protocol == "http/json" else "http/json"
            zip_off = variable_of(self.environ, one.target.signal, "COMPRESSION") + "=none"
            alternatives = [self.set(one, "PROTOCOL", other), *([zip_off] if one.target.compression else [])]
            return f"{place} does not understand {one.target.protocol} ({said})", ", or ".join(alternatives)
        return f"{place} does not take records ({said})", _LOG

    def _path(self, one: Reach, said: str) -> tuple[str, str]:
        target = one.target
        if target.protocol == "grpc" and one.seen is not None and one.seen.http1:
            fix = self.set(one, "PROTOCOL", "http/protobuf")
            return f"{_place(one)} has no OTLP/gRPC service, and answers HTTP: use port 4317 or {fix} ({said})", fix
        if target.protocol == "grpc":
            return (
                f"{_place(one)} speaks gRPC and has no OTLP service for {target.signal} ({said})",
                f"enable OTLP there, or set {self.source(target.signal, 'ENDPOINT')} to a receiver",
            )
        url = shown_url(target.url)
        if _DOUBLED.search(url):
            return f"{_place(one)} has no such path ({said}): {self._doubled(one)}", self._base(one)
        path = "/" + url.partition("://")[2].partition("/")[2]
        source = self.source(target.signal, "ENDPOINT")
        if source.endswith(f"_{target.signal.upper()}_ENDPOINT") and not _PATH.search(url):
            right = f"{url.rstrip('/')}/v1/{target.signal}"
            return (
                f"{_place(one)} has no path {path} ({said}): {source} is taken as it is, and /v1/{target.signal} is "
                "missing",
                f"{source}={right}",
            )
        return (
            f"{_place(one)} has no path {path} ({said}): it is no OTLP receiver, or has a path of its own",
            f"{source}: write its base URL, for example {url.partition('://')[0]}://{_place(one)}/otlp",
        )

    def _doubled(self, one: Reach) -> str:
        source = self.source(one.target.signal, "ENDPOINT")
        if source.endswith(f"_{one.target.signal.upper()}_ENDPOINT"):
            return f"{source} has /v1/{one.target.signal} twice"
        return (
            f"{source} is a base URL, to which /v1/{one.target.signal} is added, and has a path of one signal already"
        )

    def _base(self, one: Reach) -> str:
        source = self.source(one.target.signal, "ENDPOINT")
        right = _DOUBLED.sub("", shown_url(one.target.url))
        if not source.endswith(f"_{one.target.signal.upper()}_ENDPOINT"):
            right = _PATH.sub("", right)
        return self.set(one, "ENDPOINT", right)

    def _silence(self, one: Reach) -> tuple[str, str]:
        """Judge what is left: no answer, or one that says nothing that we know."""
        place, outcome = _place(one), one.outcome
        reason = outcome.reason if outcome is not None else "no answer in time"
        source = self.source(one.target.signal, "ENDPOINT")
        if "ModuleNotFoundError" in reason or "ImportError" in reason:
            return f"the exporter cannot be loaded ({reason})", "pip install opentelemetry-exporter-otlp"
        if reason == "no answer in time":
            if one.seen is None or one.seen.silent:
                return (
                    f"{place} accepts the connection and never answers: it hangs, or something else listens there",
                    f"restart it, or set {source} to where the collector listens",
                )
            return (
                f"{place} gave no answer to an empty request within {duration(one.waited)}: it is overloaded, or waits "
                f"for what is behind it; {_WAITING}",
                _LOG,
            )
        if one.seen is not None and one.seen.http2 and one.target.protocol == "grpc":
            return f"the receiver {place} fails by itself (UNAVAILABLE: {_words(reason)}); {_WAITING}", _LOG
        if one.seen is not None and one.seen.silent:
            return (
                f"{place} closes the connection without an answer ({_words(reason)})",
                f"is {source} the port of an OTLP receiver?",
            )
        return f"{place} does not take records ({_words(reason)})", f"is {source} the port of an OTLP receiver?"


def _place(one: Reach) -> str:
    host, port = address_of(one.target.url)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _said(one: Reach) -> str:
    """Return the status of the answer with its usual words; never what the receiver wrote beside it."""
    reason = one.outcome.reason if one.outcome is not None else ""
    found = _ANSWERED.search(reason)
    if found is None:
        return reason
    return reason[found.start(1) :][:60] if found[1].isdigit() else found[1]


def _status(one: Reach) -> int | None:
    """Return the status of the answer, as HTTP has it; None where there was none."""
    found = _ANSWERED.match(one.outcome.reason) if one.outcome is not None else None
    if found is None:
        return None
    return int(found[1]) if found[1].isdigit() else _HTTP_OF.get(found[1], 520)


def _words(text: str) -> str:
    """Return a library's message on one short line."""
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return text[:160]
