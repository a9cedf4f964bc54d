"""The official exporters, one for each signal, and what became of each request.

Loaded only by the thread that sends. The exporters repeat a request by themselves and say nothing of the answer; the
follower has a position to keep, an exit to be bounded and one line a minute to say. So each request is made once: over
HTTP through a requests.Session that is given to the exporter, over gRPC through a stub around the exporter's own
(the one private name that is touched here; without it the exporter's own repetition stays). There, too, spans and
points that are encoded already take the place of what the exporter has made of an empty list.
"""

from __future__ import annotations

import logging
import time
from _thread import get_ident

from .as_json import packed
from .outcome import BODY, LONGEST_WAIT, Outcome, of_status, why
from .pace import Paced

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from otel_perf.export.endpoint import Target

    from .outcome import Deadline
    from .pace import Pace

SOON = 0.01  # seconds
_REJECTED = {"traces": "rejected_spans", "metrics": "rejected_data_points", "logs": "rejected_log_records"}
_MODULES = {"traces": "trace_exporter", "metrics": "metric_exporter", "logs": "_log_exporter"}
_CLASSES = {"traces": "OTLPSpanExporter", "metrics": "OTLPMetricExporter", "logs": "OTLPLogExporter"}
_CONSOLE = {
    "traces": ("opentelemetry.sdk.trace.export", "ConsoleSpanExporter"),
    "metrics": ("opentelemetry.sdk.metrics.export", "ConsoleMetricExporter"),
    "logs": ("opentelemetry.sdk._logs.export", "ConsoleLogRecordExporter"),
}
# What speaks while a request is made; a filter on a logger sees only what is logged there, not below it.
_LOGGERS = (
    *(f"opentelemetry.exporter.otlp.proto.http.{name}" for name in _MODULES.values()),
    "opentelemetry.exporter.otlp.proto.http._common",
    "opentelemetry.exporter.otlp.common.http",
    "opentelemetry.exporter.otlp.proto.grpc.exporter",
    *(
        f"opentelemetry.exporter.otlp.proto.common._internal{name}"
        for name in ("", ".trace_encoder", ".metrics_encoder", "._log_encoder")
    ),
    *("opentelemetry.attributes", "opentelemetry.util.re", "opentelemetry.sdk.resources"),
    *("urllib3.connectionpool", "urllib3.connection", "urllib3.util.retry", "urllib3.poolmanager"),
    *("requests", "charset_normalizer", "grpc._channel", "grpc._common", "grpc._plugin_wrapping"),
)

OTLP = "otlp"


class NotTaken(Exception):  # noqa: N818  # as often as not it is no error
    """A request was answered with anything but success, or not at all.

    Attributes:
        outcome: what that means.
    """

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


class Silence:
    """Keeps the log lines of our own requests from the application's handlers: they would be sent, fail, and log again.

    What other threads log through the same exporters passes.
    """

    def __init__(self) -> None:
        self._thread = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether the line is somebody else's."""
        return record.thread != self._thread

    def __enter__(self) -> None:
        self._thread = get_ident()
        for name in _LOGGERS:
            logging.getLogger(name).addFilter(self)

    def __exit__(self, *exception: object) -> None:
        for name in _LOGGERS:
            logging.getLogger(name).removeFilter(self)


class Exporter:
    """One signal's exporter.

    Attributes:
        answer: the receiver's message of success, None where there was none to read.
        failed: what a failure of this request means.
        takes_encoded: it can be given an encoded request.
    """

    def __init__(self, target: Target, deadline: Deadline) -> None:
        self.target = target
        self.deadline = deadline
        self.answer: Any = None
        self.failed: Outcome | None = None
        self._encoded: bytes | None = None
        self._taken = False
        self.takes_encoded = False
        self.console = _console(target.signal) if "console" in target.exporters else None
        self.otlp: Any = None
        self._silence = Silence()
        if OTLP in target.exporters:
            with self._silence:
                self.otlp = _over_grpc(self) if target.protocol == "grpc" else _over_http(self)

    def send(self, records: Sequence[Any], pace: Pace, encoded: bool = False) -> Outcome:
        """Make one request; never raises.

        Args:
            records: of the SDK.
            pace: rests while they are encoded.
            encoded: they are spans of wire.Encoder, or points of wire_points.PointEncoder, and it takes them.
        """
        with self._silence:
            outcome = self._send_encoded(records) if encoded else self._send(self._shaped(records, pace))
        outcome.hide(self.target.hide)
        return outcome

    def _send_encoded(self, records: Sequence[Any]) -> Outcome:
        self._encoded, self._taken = _request(self.target.signal, records), False
        outcome = self._send(_nothing(self.target.signal, len(records)))
        self._encoded = None
        if outcome.kind == "sent" and not self._taken:  # an empty request at the most
            self.takes_encoded = False
            return Outcome("later", "the exporter has to encode itself", SOON)
        return outcome

    def take(self) -> bytes | None:
        """Return this request if it is encoded; None where the exporter has encoded it."""
        self._taken = True
        return self._encoded

    def _send(self, records: Any) -> Outcome:
        self.answer = self.failed = None
        outcome = Outcome("sent")
        if self.otlp is not None:
            try:
                done = self.otlp.export(records)
            except NotTaken as error:
                return error.outcome
            except Exception as error:  # noqa: BLE001  # a library's bug must not stop what follows
                return self.failed or Outcome("later", why(error))
            if getattr(done, "name", "") != "SUCCESS":
                return self.failed or Outcome("refused", "cannot be encoded")
            outcome = _partial(self.target.signal, self.answer)
        if self.console is not None:
            try:
                self.console.export(records)
            except Exception as error:  # noqa: BLE001  # nobody reads it any more; OTLP has the records
                self.console = None
                return outcome if self.otlp is not None else Outcome("refused", f"console: {why(error)}")
        return outcome if self.otlp is not None or self.console is not None else Outcome("refused", "console: closed")

    def _shaped(self, records: Sequence[Any], pace: Pace) -> Any:
        if self.target.signal != "metrics":
            return Paced(list(records), pace)
        from .convert import metrics_data

        return metrics_data(records)

    def close(self) -> None:
        """End the exporter; a request under way over gRPC ends too."""
        for one in (self.otlp, self.console):
            if one is not None:
                try:
                    with self._silence:
                        one.shutdown()
                except Exception:  # noqa: BLE001  # it is not used again
                    continue


class Encoded:
    """Stands for spans that are encoded: an exporter counts them, and finds nothing to encode."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __len__(self) -> int:
        return self._number


def _request(signal: str, records: Sequence[Any]) -> bytes:
    """Return encoded records as one encoded request."""
    if signal == "metrics":
        from .wire_points import request as points

        return points(records)
    from .wire import request

    return request(records)


def _nothing(signal: str, number: int) -> Any:
    """Return what an exporter has nothing to encode of."""
    if signal == "metrics":
        from opentelemetry.sdk.metrics.export import MetricsData

        return MetricsData([])
    return Encoded(number)


def prepare(target: Target) -> None:
    """Load what *target* needs, without making anything."""
    from importlib import import_module

    if OTLP in target.exporters:
        import_module(_module(target))
        import_module("grpc" if target.protocol == "grpc" else "requests")
    if "console" in target.exporters:
        import_module(_CONSOLE[target.signal][0])
    import_module(f"otel_perf.export.follow.{'wire_points' if target.signal == 'metrics' else 'wire'}")


def _module(target: Target) -> str:
    protocol = "grpc" if target.protocol == "grpc" else "http"
    return f"opentelemetry.exporter.otlp.proto.{protocol}.{_MODULES[target.signal]}"


def _official(target: Target) -> Any:
    from importlib import import_module

    return getattr(import_module(_module(target)), _CLASSES[target.signal])


def _console(signal: str) -> Any:
    from importlib import import_module

    module, name = _CONSOLE[signal]
    return getattr(import_module(module), name)()


def _partial(signal: str, answer: Any) -> Outcome:
    """Return the outcome of an answered request: some records may not have been taken."""
    partial = getattr(answer, "partial_success", None)
    if partial is None:
        return Outcome("sent")
    return Outcome("sent", partial.error_message, rejected=int(getattr(partial, _REJECTED[signal])))


# --- HTTP ------------------------------------------------------------------------------------------------------------


def _over_http(exporter: Exporter) -> Any:
    from opentelemetry.exporter.otlp.proto.http import Compression

    target = exporter.target
    exporter.takes_encoded = True
    return _official(target)(
        endpoint=target.url,
        certificate_file=target.certificate or None,
        client_key_file=target.client_key or None,
        client_certificate_file=target.client_certificate or None,
        headers=target.headers or None,
        timeout=target.timeout,
        compression=Compression(target.compression or "none"),
        session=_session(exporter),
    )


def _session(exporter: Exporter) -> Any:
    import requests

    read = _reader(exporter.target.signal)

    class OneRequest(requests.Session):
        """Makes each request once, and keeps the answer."""

        def request(self, method: Any, url: Any, *args: Any, **options: Any) -> requests.Response:
            options["timeout"] = exporter.deadline.cut(exporter.target.timeout)
            options["allow_redirects"] = False  # a redirect of a POST becomes a GET
            options.setdefault("verify", self.verify)  # else REQUESTS_CA_BUNDLE wins over our own setting
            options["stream"] = True
            encoded = exporter.take()
            if encoded is not None:
                how = exporter.target.compression
                options["data"] = packed(encoded, how) if how else encoded
            begun = time.monotonic()
            try:
                try:
                    answer = super().request(method, url, *args, **options)
                except requests.ConnectionError:
                    if time.monotonic() - begun > 0.5:
                        raise
                    answer = super().request(method, url, *args, **options)  # the kept connection had been closed
                body = _body(answer)
            except Exception as error:
                exporter.failed = Outcome("later", why(error))
                raise NotTaken(exporter.failed) from error
            exporter.failed = of_status(answer.status_code, answer.reason or "", answer.headers)
            if exporter.failed is not None:
                raise NotTaken(exporter.failed)
            exporter.answer = read(body)
            return answer

    session = OneRequest()
    session.auth = _as_it_is  # else one of ~/.netrc takes the place of the header that was set
    return session


def _as_it_is(request: Any) -> Any:
    return request


def _body(answer: Any) -> bytes:
    """Return the beginning of an answer's body; only one that was read whole leaves its connection for the next.

    Of one that is not encoded as it says there is none: the status has said what became of the request.
    """
    from urllib3.exceptions import DecodeError

    with answer:
        try:
            body: bytes = answer.raw.read(BODY, decode_content=True) or b""
        except DecodeError:
            return b""
        if len(body) < BODY:
            answer.raw.read(1)
    return body


def _reader(signal: str) -> Callable[[bytes], Any]:
    from importlib import import_module

    one = {"traces": "trace", "metrics": "metrics", "logs": "logs"}[signal]
    module = import_module(f"opentelemetry.proto.collector.{one}.v1.{one}_service_pb2")
    message = getattr(module, f"Export{one.title()}ServiceResponse")

    def read(body: bytes) -> Any:
        try:
            return message.FromString(body)
        except Exception:  # noqa: BLE001  # some receivers answer with text
            return None

    return read


# --- gRPC ------------------------------------------------------------------------------------------------------------


def _over_grpc(exporter: Exporter) -> Any:
    import grpc

    target = exporter.target
    insecure = target.url.startswith("http://")
    official = _official(target)(
        endpoint=target.url,
        insecure=insecure,
        credentials=None if insecure else _credentials(target),
        headers=tuple(target.headers.items()) or None,
        timeout=target.timeout,
        compression=getattr(grpc.Compression, target.compression.title() or "NoCompression"),
    )
    stub = getattr(official, "_client", None)
    if stub is not None and hasattr(stub, "Export"):
        official._client = OneCall(stub, exporter)  # noqa: SLF001
        exporter.takes_encoded = True
    return official


def _credentials(target: Target) -> Any:
    import grpc

    texts: list[bytes | None] = []
    for path in (target.certificate, target.client_key, target.client_certificate):
        if path:
            with open(path, "rb") as file:
                texts.append(file.read())
        else:
            texts.append(None)
    return grpc.ssl_channel_credentials(*texts)


class OneCall:
    """An exporter's stub that makes each call once, and keeps the answer."""

    def __init__(self, stub: Any, exporter: Exporter) -> None:
        self._stub = stub
        self._exporter = exporter

    def Export(self, request: Any, metadata: Any = None, timeout: float | None = None, **options: Any) -> Any:  # noqa: N802
        """Make the call.

        Raises: NotTaken: it failed; no RpcError, which the exporter would wait for and repeat.
        """
        import grpc

        exporter = self._exporter
        limit = exporter.deadline.cut(exporter.target.timeout)
        encoded = exporter.take()
        if encoded is not None:
            request = type(request).FromString(encoded)
        try:
            exporter.answer = self._stub.Export(request, metadata=metadata, timeout=limit, **options)
        except grpc.RpcError as error:
            exporter.failed = of_rpc(error)
            raise NotTaken(exporter.failed) from error
        return exporter.answer


def of_rpc(error: Any) -> Outcome:
    """Return what a failed call means.

    Source: OTLP specification, "OTLP/gRPC Response": which codes are retryable, and RetryInfo.
    """
    code = error.code().name
    wait = _retry_delay(error)
    details = " ".join((error.details() or "").split())
    reason = f"answered {code}: {details}" if details else f"answered {code}"
    if code == "UNAVAILABLE" and wait is None:
        reason = details or "not reachable"
    if code == "DEADLINE_EXCEEDED":
        reason = "no answer in time"
    again = ("CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS")
    if code in again or (code == "RESOURCE_EXHAUSTED" and wait is not None):
        return Outcome("later", reason, wait)
    return Outcome("refused", reason, large="larger than max" in details)  # as gRPC's own servers say it


def _retry_delay(error: Any) -> float | None:
    """Return the delay of a google.rpc.RetryInfo among the trailers, None where there is none."""
    from google.rpc.error_details_pb2 import RetryInfo
    from google.rpc.status_pb2 import Status

    trailers = dict(error.trailing_metadata() or ())
    info = RetryInfo()
    try:
        if "grpc-status-details-bin" in trailers:
            details = Status.FromString(trailers["grpc-status-details-bin"]).details
            if not any(detail.Unpack(info) for detail in details):
                return None
        elif "google.rpc.retryinfo-bin" in trailers:
            info = RetryInfo.FromString(trailers["google.rpc.retryinfo-bin"])
        else:
            return None
    except Exception:  # noqa: BLE001  # a receiver's trailers may hold anything
        return None
    delay: float = info.retry_delay.seconds + info.retry_delay.nanos / 1e9
    return min(max(0.0, delay), LONGEST_WAIT)
