"""Settings: arguments before environment before ``otel-perf.toml`` before ``[tool.otel-perf]`` before defaults.

Imports only: os, sys, system. TABLE has a row a setting and is the one place that knows its names, type and default;
load() reads them all once. tomllib (10 ms) is loaded only where a file of ours is there. Variables of the OpenTelemetry
specification that are no setting of ours are checked in variables.py; others() says whether there are any.
"""

from __future__ import annotations

import os
import sys

from .system import open_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

ENOENT, ENOTDIR = 2, 20
MOST_BYTES = 10**6  # of a configuration file
INTERNAL = (  # set by `otel-perf run` for its children
    "OTEL_PERF_RUN", "OTEL_PERF_SITE", "OTEL_PERF_STARTED", "OTEL_PERF_VIEWED",
)  # fmt: skip
DEFAULT_PHASES = ("PreInit", "CoreInit", "DeviceManager", "Transport", "UI", "Plugins", "Ready")

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_SIZES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def seconds(value: object) -> float:
    """Return a duration in seconds: a number is seconds, a string carries a unit, as in ``"100ms"``.

    Raises:
        TypeError: neither number nor string.
        ValueError: negative, not a number, or an unknown unit.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise TypeError(f"a duration is a number of seconds or a string such as '100ms', not {type(value).__name__}")
    number = _number(value, _UNITS) if isinstance(value, str) else float(value)
    if not number >= 0.0:  # written this way round so that NaN is refused too
        raise ValueError(
            f"a duration must be 0 or more seconds, or a string such as '100ms' (ns us ms s min h d), got {value!r}"
        )
    return number


def size(value: object) -> int:
    """Return a number of bytes: a number, or a string such as ``"1GB"`` (10**9) or ``"1GiB"`` (2**30).

    Raises:
        TypeError: neither number nor string.
        ValueError: negative, or an unknown unit.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise TypeError(f"a size is a number of bytes or a string such as '1GB', not {type(value).__name__}")
    number = _number(value, _SIZES) if isinstance(value, str) else float(value)
    if not 0 <= number < float("inf"):
        raise ValueError(
            f"a size must be 0 or more bytes, or a string such as '1GB' (kB MB GB KiB MiB GiB), got {value!r}"
        )
    return int(number)


def _number(text: str, units: Mapping[str, float]) -> float:
    """Return *text* such as ``1.5ms`` in the base unit, NaN when it is none."""
    text = text.strip()
    digits = text.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZµ")
    unit = text[len(digits) :]
    try:
        return float(digits) * (units[unit] if unit else 1.0)
    except (KeyError, ValueError):
        return float("nan")


def switch(value: object) -> bool:
    """Return a boolean from ``true``/``false``, ``1``/``0``, ``on``/``off``, ``yes``/``no`` in any case.

    Raises:
        ValueError: any other text.
    """
    text = str(value).strip().lower()
    if text in ("1", "true", "on", "yes"):
        return True
    if text in ("0", "false", "off", "no"):
        return False
    raise ValueError(f"write true or false, got {value!r}")


def otel_boolean(value: object) -> bool:
    """Return a boolean of the OpenTelemetry specification: ``true`` in any case, else false, which wants a warning.

    Raises:
        ValueError: neither ``true`` nor ``false``.
    """
    text = str(value).strip().lower()
    if text not in ("true", "false"):
        raise ValueError(f"write true or false, got {value!r}")
    return text == "true"


def names(value: object) -> tuple[str, ...]:
    """Return a tuple of names from a sequence of strings or a comma-separated string.

    Raises:
        TypeError: something else, or an item that is no string.
        ValueError: no names, an empty one, or one that is there twice.
    """
    items = [item.strip() for item in value.split(",")] if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)):
        raise TypeError(f"phases are a list of names, not {type(value).__name__}")
    for item in items:
        if not isinstance(item, str):
            raise TypeError(f"a phase's name is a str, not {type(item).__name__}")
    if not items or not all(items) or len(set(items)) < len(items):
        raise ValueError(f"phases need at least one name, none of them empty or doubled, got {list(items)!r}")
    return tuple(item[:1024] for item in items)


def count(value: object) -> int:
    """Return a whole number of 0 or more.

    Raises:
        ValueError: anything else.
    """
    try:
        number = int(str(value))
    except ValueError:
        number = -1
    if number < 0:
        raise ValueError(f"write a whole number of 0 or more, got {value!r}")
    return number


def few_or_all(value: object) -> str:
    """Return ``few``, ``all`` or ``none``.

    Raises:
        ValueError: anything else.
    """
    text = str(value).strip().lower()
    if text not in ("few", "all", "none"):
        raise ValueError(f"write few, all or none, got {value!r}")
    return text


def exemplar_filter(value: object) -> str:
    """Return ``trace_based``, ``always_on`` or ``always_off``.

    Raises:
        ValueError: anything else.
    """
    text = str(value).strip().lower()
    if text not in ("trace_based", "always_on", "always_off"):
        raise ValueError(f"write trace_based, always_on or always_off, got {value!r}")
    return text


def sampler_name(value: object) -> str:
    """Return ``auto``, ``proc`` or ``psutil``.

    Raises:
        ValueError: anything else.
    """
    text = str(value).strip().lower()
    if text not in ("auto", "proc", "psutil"):
        raise ValueError(f"write auto, proc or psutil, got {value!r}")
    return text


def ready_rule(value: object) -> tuple[str, float]:
    """Return a rule of ``--ready-when`` and its number: ``port:N``, ``listen``, ``exit`` or a duration such as ``5s``.

    Raises:
        ValueError: anything else.
    """
    text = str(value).strip()
    if text in ("listen", "exit", "auto"):
        return text, 0.0
    rule, _, number = text.partition(":")
    if rule == "port" and number.isascii() and number.isdigit() and 0 < int(number) < 65536:
        return rule, float(number)
    if text[-1:].isalpha():
        try:
            return "delay", seconds(text)
        except ValueError:
            pass
    raise ValueError(f"write port:N, listen, exit, auto or a duration such as 5s, got {text!r}")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a str, not {type(value).__name__}")
    return value


TABLE: tuple[tuple[str, str, Callable[[Any], Any], Any, str], ...] = (
    (
        "service",
        "OTEL_SERVICE_NAME",
        _text,
        None,
        "service.name; else of OTEL_RESOURCE_ATTRIBUTES; else the program's name",
    ),
    ("version", "OTEL_PERF_VERSION", _text, None, "service.version; else of OTEL_RESOURCE_ATTRIBUTES"),
    (
        "endpoint",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        _text,
        None,
        "where records are sent, http://host:port; nothing leaves the machine without",
    ),
    ("phases", "OTEL_PERF_PHASES", names, None, "the startup's phases in order; else the default list"),
    ("folder", "OTEL_PERF_FOLDER", _text, ".otel-perf", "where runs are kept"),
    (
        "import_threshold",
        "OTEL_PERF_IMPORT_THRESHOLD",
        seconds,
        0.005,
        "an import slower than this is a span",
    ),
    (
        "span_threshold",
        "OTEL_PERF_SPAN_THRESHOLD",
        seconds,
        0.010,
        "after the start, a call slower than this is a span",
    ),
    (
        "startup_span_threshold",
        "OTEL_PERF_STARTUP_SPAN_THRESHOLD",
        seconds,
        0.001,
        "the same during the start",
    ),
    ("keep_runs", "OTEL_PERF_KEEP_RUNS", count, 50, "older runs beyond this number are removed"),
    ("keep_time", "OTEL_PERF_KEEP_TIME", seconds, 7 * 86400.0, "runs older than this are removed"),
    ("folder_limit", "OTEL_PERF_FOLDER_LIMIT", size, 10**9, "bytes that all runs together may take"),
    ("context", "OTEL_PERF_CONTEXT", switch, True, "join the OpenTelemetry context"),
    (
        "tracer",
        "OTEL_PERF_TRACER",
        switch,
        True,
        "record spans of the plain OpenTelemetry API while there is no SDK",
    ),
    ("provider", "OTEL_PERF_PROVIDER", switch, True, "share spans with the application's own TracerProvider"),
    ("imports", "OTEL_PERF_IMPORTS", switch, True, "time imports"),
    (
        "signals",
        "OTEL_PERF_SIGNALS",
        switch,
        True,
        "write what is open when SIGTERM or SIGHUP ends the process",
    ),
    (
        "children",
        "OTEL_PERF_CHILDREN",
        switch,
        True,
        "record forked children and, under `otel-perf run`, child interpreters too",
    ),
    ("metrics", "OTEL_PERF_METRICS", switch, True, "sample CPU, memory and threads once a second, and judge budgets"),
    (
        "metric_sampler",
        "OTEL_PERF_SAMPLER",
        sampler_name,
        "auto",
        "what reads them: proc (Linux) or psutil; auto takes the first that works",
    ),
    (
        "system_metrics",
        "OTEL_PERF_SYSTEM_METRICS",
        few_or_all,
        "few",
        "which metrics of the machine are sent: few (CPU, load, memory), all or none; the run folder has all",
    ),
    (
        "profile_series",
        "OTEL_PERF_PROFILE_SERIES",
        count,
        500,
        "call paths that are sent, those with most self time, the rest as one; the run folder has all",
    ),
    ("watch", "OTEL_PERF_WATCH", switch, True, "look at CPU time and waiting while the start lasts"),
    (
        "ready_when",
        "OTEL_PERF_READY_WHEN",
        ready_rule,
        None,
        "what ends the start: port:N, listen, exit or a duration; under `otel-perf run` else inferred",
    ),
    ("view", "OTEL_PERF_VIEW", switch, False, "serve a page that shows the run, from a process of its own"),
    (
        "strict",
        "OTEL_PERF_STRICT",
        switch,
        False,
        "raise errors of our own instead of counting them, and say on stderr what is wrong with the start",
    ),
    ("disabled", "OTEL_SDK_DISABLED", otel_boolean, False, "record nothing at all"),
    (
        "resource_attributes",
        "OTEL_RESOURCE_ATTRIBUTES",
        _text,
        "",
        "further resource attributes, key=value,…",
    ),
    ("sampler", "OTEL_TRACES_SAMPLER", _text, "parentbased_always_on", "which new traces are recorded"),
    ("sampler_argument", "OTEL_TRACES_SAMPLER_ARG", _text, "", "the ratio of the ratio samplers"),
    (
        "exemplar_filter",
        "OTEL_METRICS_EXEMPLAR_FILTER",
        exemplar_filter,
        "trace_based",
        "durations that become exemplars: trace_based (in a sampled span), always_on or always_off",
    ),
    (
        "attribute_count_limit",
        "OTEL_ATTRIBUTE_COUNT_LIMIT",
        count,
        128,
        "attributes of a span, event or link",
    ),
    (
        "attribute_length_limit",
        "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
        count,
        None,
        "characters of an attribute's value",
    ),
    ("span_attribute_count_limit", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", count, None, "attributes of a span"),
    (
        "span_attribute_length_limit",
        "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
        count,
        None,
        "characters of a span's attribute",
    ),
    ("span_event_count_limit", "OTEL_SPAN_EVENT_COUNT_LIMIT", count, 128, "events of a span"),
    ("span_link_count_limit", "OTEL_SPAN_LINK_COUNT_LIMIT", count, 128, "links of a span"),
    (
        "event_attribute_count_limit",
        "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT",
        count,
        None,
        "attributes of an event",
    ),
    ("link_attribute_count_limit", "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", count, None, "attributes of a link"),
)


_KNOWN = frozenset([*(row[1] for row in TABLE), *INTERNAL])


def others(environ: Mapping[str, str]) -> bool:
    """Say whether a variable of OpenTelemetry is set that is no setting of ours."""
    return any(name.startswith("OTEL_") and name not in _KNOWN and environ[name] for name in environ)


class Settings:
    """Every setting of TABLE as an attribute.

    Attributes:
        sources: for each setting that is not the default, where it came from.
        complaints: one sentence for each value that could not be taken, with the default taken instead.
        budgets: name of the configuration file and its table ``budgets`` as it stands there, for budgets.read().
    """

    def __init__(
        self, values: dict[str, Any], sources: dict[str, str], complaints: list[str], budgets: tuple[str, Any]
    ) -> None:
        self.__dict__.update(values)
        self.sources = sources
        self.complaints = complaints
        self.budgets = budgets

    def complain(self, texts: list[str]) -> None:
        """Add *texts*; what one says about a variable takes the place of what was said of it before."""
        about = {text.partition(":")[0] for text in texts}
        self.complaints = [text for text in self.complaints if text.partition(":")[0] not in about] + texts

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...  # the rows of TABLE
        def __setattr__(self, name: str, value: Any) -> None: ...


def load(arguments: Mapping[str, Any], environ: Mapping[str, str] | None = None, directory: str = "") -> Settings:
    """Read all settings.

    Args:
        arguments: what init() was given, None where it was not.
        environ: the environment, default the process's own.
        directory: where configuration files are looked for, default the working directory.
    """
    environ = os.environ if environ is None else environ
    complaints: list[str] = []
    file, table = read_file(directory, complaints)
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for key, variable, parse, default, _ in TABLE:
        values[key] = default
        for source, value in (
            ("argument", arguments.get(key)),
            (variable, environ.get(variable)),
            (file, table.get(key)),
        ):
            if value is None or (type(value) is str and not value.strip()):  # what is empty is unset
                continue
            try:
                values[key] = parse(value)
            except (TypeError, ValueError, OverflowError) as error:
                complaints.append(f"{source}: {key}: {error}; taking {_shown(default)}")
                continue
            sources[key] = source
            break
    known = {row[0] for row in TABLE}
    complaints += [
        f"{file}: {key!r} is no setting of otel-perf" for key in table if key not in known and key != "budgets"
    ]
    return Settings(values, sources, complaints, (file, table.get("budgets")))


def _shown(default: object) -> str:
    if default is None:
        return "the default"
    return str(default).lower() if isinstance(default, bool) else str(default)


def read_file(directory: str, complaints: list[str]) -> tuple[str, dict[str, Any]]:
    """Return name and table of the first configuration file that is there and ours."""
    for name, marker in (("otel-perf.toml", b""), ("pyproject.toml", b"otel-perf")):
        try:
            with open_file(os.path.join(directory, name)) as file:
                content = file.read(MOST_BYTES + 1)
        except OSError as error:
            if not marker and error.errno not in (ENOENT, ENOTDIR):
                complaints.append(f"{name}: {error.strerror or error}; taking no setting from it")
            continue
        if marker not in content:
            continue
        import tomllib

        try:
            if len(content) > MOST_BYTES:
                raise ValueError("longer than 1 MB")
            table = tomllib.loads(content.decode())
        except (ValueError, RecursionError) as error:
            complaints.append(f"{name}: {error}; taking no setting from it")
            continue
        if marker:
            tool = table.get("tool")
            own = tool.get("otel-perf") if isinstance(tool, dict) else None
            table = own if isinstance(own, dict) else {}
        if isinstance(table, dict):
            return name, table
    return "", {}


def unquote(text: str) -> str:
    """Return *text* with its percent-encoding undone; a broken sequence stays as it is."""
    if "%" not in text:
        return text
    parts = text.split("%")
    raw = parts[0].encode("utf-8", "replace")
    for part in parts[1:]:
        digits = part[:2]
        if len(digits) == 2 and not digits.strip("0123456789abcdefABCDEF"):
            raw += bytes.fromhex(digits) + part[2:].encode("utf-8", "replace")
        else:
            raw += b"%" + part.encode("utf-8", "replace")
    return raw.decode("utf-8", "replace")


def program_name() -> str:
    """Return what the running program is called: its script, its module or the interpreter."""
    words = list(getattr(sys, "orig_argv", ()))[1:] or [sys.argv[0] if getattr(sys, "argv", None) else ""]
    script = ""
    while words and not script:
        word = words.pop(0)
        if word == "-m" and words:
            return str(words[0])
        if word in ("-X", "-W") and words:
            words.pop(0)
        elif word.startswith("-c"):
            break
        elif not word.startswith("-"):
            script = word
    name = os.path.basename(script.rstrip("/\\"))
    if name == "__main__.py":
        name = os.path.basename(os.path.dirname(os.path.abspath(script)))
    stem, dot, ending = name.rpartition(".")
    if dot and ending in ("py", "pyw", "pyz", "exe"):
        name = stem
    return name or "python"
