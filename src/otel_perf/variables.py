"""The variables of the OpenTelemetry specification, each with its rule: named where it cannot be taken, needed or not.

Batch processors, propagators and most exporters are the program's own SDK's, and what is sent is read again in
export/endpoint.py; but a typing error should be told on the day it is made. What the official SDK takes is never called
wrong: a component that nobody knows by name is looked for in the entry points of what is installed, in their files,
because importlib.metadata would cost a start 25 ms.

Loaded only where a variable is set that config.TABLE has not. Imports only: os, sys, config, endpoint.

Reading order: TABLE, COMPONENTS, complaints(), then the rules: each returns what is wrong with a text, or nothing.

Source: OpenTelemetry specification 1.60, "Environment Variable Specification", "OpenTelemetry Protocol Exporter",
"Metrics Exporter - OTLP", "Entity Propagation"; opentelemetry-sdk 1.45 for what it takes beyond that.
"""

from __future__ import annotations

import os
import sys

from . import config
from .export.endpoint import (
    COMPRESSIONS,
    PROTOCOLS,
    SIGNALS,
    TEMPORALITIES,
    TEMPORALITY,
    is_host,
    read_headers,
    shown_path,
    shown_url,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Rule = Callable[[str], str]

LONGEST = 80  # characters of a value that are repeated
STACK = "OTEL_PERF_STACK_"  # of `otel-perf stack`, which fills the compose file in with them
LEVELS = ("trace", "debug", "info", "notice", "warn", "warning", "error", "critical", "fatal", "none", "off", "notset")
# Variable, group of entry points, noun, those that need no further package, others that the specification names.
COMPONENTS = (
    *(
        (
            f"OTEL_{signal.upper()}_EXPORTER",
            f"opentelemetry_{signal}_exporter",
            "an exporter",
            ("otlp", "otlp_proto_http", "otlp_proto_grpc", "console", "none"),
            ("logging", "otlp/stdout", *others),
        )
        for signal, others in (("traces", ("zipkin",)), ("metrics", ("prometheus",)), ("logs", ()))
    ),
    (
        "OTEL_PROPAGATORS",
        "opentelemetry_propagator",
        "a propagator",
        ("tracecontext", "baggage", "none"),
        ("b3", "b3multi", "jaeger", "xray", "ottrace"),
    ),
)


def complaints(environ: Mapping[str, str]) -> list[str]:
    """Return a sentence for each variable that cannot be taken: which, the rule, the value, what is taken instead.

    A value that may be a secret is not in it; of a list only what is wrong is named, by its place.
    """
    found = []
    for variable, rule, taken in TABLE:
        text = environ.get(variable, "").strip()
        wrong = rule(text) if text else ""
        if wrong:
            found.append(f"{variable}: {wrong}; {taken}")
    return found + _batches(environ) + _unknown(environ)


def _batches(environ: Mapping[str, str]) -> list[str]:
    """Name the batches that are larger than their queue: the SDK takes neither."""
    found = []
    for processor in ("BSP", "BLRP"):
        queue, batch = (f"OTEL_{processor}_MAX_{name}" for name in ("QUEUE_SIZE", "EXPORT_BATCH_SIZE"))
        size, number = _integer(environ.get(queue, "")) or 2048, _integer(environ.get(batch, "")) or 512
        if 0 < size < number:
            found.append(f"{batch}: write no more than {queue}, which is {size}, got {number}; taking {min(size, 512)}")
    return found


def _unknown(environ: Mapping[str, str]) -> list[str]:
    """Name what begins with OTEL_PERF_ and nobody reads."""
    known = [row[1] for row in config.TABLE]
    names = [name for name in environ if name.startswith("OTEL_PERF_") and environ[name].strip()]
    names = [name for name in names if not name.startswith(STACK) and name not in (*known, *config.INTERNAL)]
    return [f"{name} is no setting of otel-perf; {nearest(name, known)}" for name in sorted(names)]


def nearest(name: str, known: list[str]) -> str:
    """Return what to do about a variable that nobody reads."""
    from difflib import get_close_matches

    near = get_close_matches(name, known, 1, 0.8)
    return f"did you mean {near[0]}?" if near else "unset it"


def is_installed(group: str, name: str) -> bool:
    """Say whether a package has an entry point *name* of *group*; true where that cannot be seen, as in an archive."""
    for path in sys.path:
        try:
            entries = os.listdir(path or os.curdir)
        except NotADirectoryError:
            return True
        except OSError:
            continue
        for entry in entries:
            if entry.endswith((".dist-info", ".egg-info")) and _has(os.path.join(path, entry), group, name):
                return True
    return False


def _has(package: str, group: str, name: str) -> bool:
    try:
        with open(os.path.join(package, "entry_points.txt"), encoding="utf-8", errors="replace") as file:
            lines = [line.strip() for line in file]
    except OSError:  # most have none
        return False
    inside = False
    for line in lines:
        if line.startswith("["):
            inside = line == f"[{group}]"
        elif inside and line.partition("=")[0].strip().lower() == name.lower():
            return True
    return False


# --- rules ------------------------------------------------------------------------------------------------------------


def _got(text: str) -> str:
    return repr(text if len(text) <= LONGEST else f"{text[:LONGEST]}…")


def _anything(_: str) -> str:
    return ""


def _boolean(text: str) -> str:
    return "" if text.lower() in ("true", "false") else f"write true or false, got {_got(text)}"


def _integer(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _whole(least: int, most: int | None = None, unit: str = "") -> Rule:
    """Return the rule of a whole number within bounds."""
    words = f"a whole number {unit}of {least} or more" if most is None else f"a whole number of {least} to {most}"

    def check(text: str) -> str:
        number = _integer(text)
        good = number is not None and number >= least and (most is None or number <= most)
        return "" if good else f"write {words}, got {_got(text)}"

    return check


def _milliseconds(least: float) -> Rule:
    """Return the rule of a duration that may have a fraction; 0 is allowed where it means no limit."""

    def check(text: str) -> str:
        try:
            number = float(text)
        except ValueError:
            number = -1.0
        good = number >= least and (least == 0.0 or number > 0.0)
        return "" if good else f"write a number of milliseconds, got {_got(text)}"

    return check


def _one_of(*names: str) -> Rule:
    """Return the rule of a word, in any case."""

    def check(text: str) -> str:
        return "" if text.lower() in names else f"{_got(text)} is none of {', '.join(names)}"

    return check


def _components(group: str, noun: str, *known: str) -> Rule:
    """Return the rule of a list of components: known ones, and those that an installed package brings."""

    def check(text: str) -> str:
        names = [name for each in text.split(",") if (name := each.strip())]
        wrong = [name for name in names if name.lower() not in known and not is_installed(group, name)]
        if not wrong:
            return ""
        what = f"{_got(wrong[0])} is" if len(wrong) == 1 else f"{', '.join(map(_got, wrong))} are"
        return f"{what} none of {', '.join(known)}, and no installed package has such {noun}"

    return check


def _url(text: str) -> str:
    scheme, mark, rest = text.partition("://")
    host = rest.partition("/")[0].partition("?")[0].rpartition("@")[2]
    good = mark and scheme.lower() in ("http", "https") and is_host(host)
    return "" if good else f"write a URL such as http://localhost:4318, got {_got(shown_url(text))}"


def _endpoint(text: str) -> str:
    """Check a URL, or host and port as gRPC takes them."""
    return _url(text if "://" in text else f"http://{text}") and _url(text)


def _file(path: str) -> str:
    return "" if os.access(path, os.R_OK) else f"cannot read the file {shown_path(path)}"


def _header_list(text: str) -> str:
    _, wrong = read_headers(text)
    what = f"entry {wrong[0]} is" if len(wrong) == 1 else f"entries {', '.join(map(str, wrong))} are"
    return f"{what} no key=value with a percent-encoded value" if wrong else ""


def _entities(text: str) -> str:
    """Check ``type{key=value}[key=value]@url;…``."""
    wrong = []
    for place, entry in enumerate(text.split(";"), 1):
        kind, _, rest = entry.strip().partition("{")
        pairs, closed, _ = rest.partition("}")
        good = kind and closed and all(pair.find("=") > 0 for pair in pairs.split(","))
        if entry.strip() and not good:
            wrong.append(str(place))
    return f"entry {', '.join(wrong)} is no type{{key=value}}" if wrong else ""


_LEFT_OUT = "left out"
_LATER = "requests will fail until it is there"
TABLE: tuple[tuple[str, Rule, str], ...] = (
    ("OTEL_LOG_LEVEL", _one_of(*LEVELS), "taking info"),
    ("OTEL_ENTITIES", _entities, _LEFT_OUT),
    ("OTEL_CONFIG_FILE", _file, "the program's SDK will not start with it"),
    ("OTEL_EXPERIMENTAL_CONFIG_FILE", _file, "the program's SDK will not start with it"),
    *((row[0], _components(row[1], row[2], *row[3], *row[4]), _LEFT_OUT) for row in COMPONENTS),
    ("OTEL_BSP_SCHEDULE_DELAY", _whole(1, unit="of milliseconds "), "taking 2000"),
    ("OTEL_BSP_EXPORT_TIMEOUT", _whole(0, unit="of milliseconds "), "taking 30000"),
    ("OTEL_BSP_MAX_QUEUE_SIZE", _whole(1), "taking 2048"),
    ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", _whole(1), "taking 512"),
    ("OTEL_BLRP_SCHEDULE_DELAY", _whole(1, unit="of milliseconds "), "taking 2000"),
    ("OTEL_BLRP_EXPORT_TIMEOUT", _whole(0, unit="of milliseconds "), "taking 30000"),
    ("OTEL_BLRP_MAX_QUEUE_SIZE", _whole(1), "taking 2048"),
    ("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", _whole(1), "taking 512"),
    ("OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT", _whole(0), "taking 128"),
    ("OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT", _whole(0), "taking no limit"),
    ("OTEL_METRIC_EXPORT_INTERVAL", _milliseconds(0.001), "taking 2000"),
    ("OTEL_METRIC_EXPORT_TIMEOUT", _milliseconds(0.0), "taking 30000"),
    (TEMPORALITY, _one_of(*TEMPORALITIES), f"taking {TEMPORALITIES[0]}"),
    (
        "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
        _one_of("explicit_bucket_histogram", "base2_exponential_bucket_histogram"),
        "taking explicit_bucket_histogram",
    ),
    *(
        (f"OTEL_EXPORTER_OTLP_{signal}{name}", rule, taken)
        for signal in ("", *(f"{signal.upper()}_" for signal in SIGNALS))
        for name, rule, taken in (
            ("ENDPOINT", _endpoint, "nothing is sent there"),
            ("PROTOCOL", _one_of(*PROTOCOLS), f"taking {PROTOCOLS[0]}"),
            ("HEADERS", _header_list, _LEFT_OUT),
            ("TIMEOUT", _milliseconds(0.0), "taking 10000"),
            ("COMPRESSION", _one_of(*COMPRESSIONS), "taking none"),
            ("INSECURE", _boolean, "taking false"),
            ("CERTIFICATE", _file, _LATER),
            ("CLIENT_KEY", _file, _LATER),
            ("CLIENT_CERTIFICATE", _file, _LATER),
        )
    ),
    ("OTEL_EXPORTER_OTLP_SPAN_INSECURE", _boolean, "taking false"),  # obsolete, and still read by some
    ("OTEL_EXPORTER_OTLP_METRIC_INSECURE", _boolean, "taking false"),
    ("OTEL_EXPORTER_ZIPKIN_ENDPOINT", _url, "taking http://localhost:9411/api/v2/spans"),
    ("OTEL_EXPORTER_ZIPKIN_TIMEOUT", _milliseconds(0.0), "taking 10000"),
    ("OTEL_EXPORTER_ZIPKIN_PROTOCOL", _anything, ""),  # reserved
    ("OTEL_EXPORTER_PROMETHEUS_HOST", _anything, ""),
    ("OTEL_EXPORTER_PROMETHEUS_PORT", _whole(0, 65535), "taking 9464"),
)
