"""Budgets: one limit on one metric each, from Python, ``otel-perf.toml``, ``[tool.otel-perf]`` or the defaults.

Imports only: sys, config, errors; the worker reads the limit of the start here. Reading order: Budget, budget(),
in_force(); then how a metric and a limit are written. What becomes of a budget while the program runs is alerts.py.
"""

from __future__ import annotations

import sys

from . import config
from .errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

STARTUP = "otel_perf.startup.duration"
PHASE = "otel_perf.startup.phase.duration"
MEMORY = "process.memory.usage"
CPU = "otel_perf.process.cpu.usage"  # in cores: process.cpu.utilization is a share of all CPUs that may be used
LATENESS = "otel_perf.self.tick.lateness"
VALUE = "otel_perf.budget.value"  # with the attribute ``budget``: what was judged, no point where nothing was

SEVERITIES = ("info", "warning", "critical")
CLEAR = 0.95  # of the limit, where the budget does not say below what it is over
TRACKED = "tracked"  # an idle budget of a program that has recorded work: else nobody knows when it is idle
DEFAULTS: dict[str, dict[str, Any]] = {
    "startup": {"metric": STARTUP, "max": "2s", "severity": "critical"},
    "idle": {"metric": CPU, "max": "0.02 cores", "for": "10s", "idle": TRACKED},
    "memory": {"metric": MEMORY, "max": "150MB", "for": "3s"},
    "monitor": {"metric": LATENESS, "max": "100ms", "for": "3s", "severity": "info"},
}
DEFINED = "otel_perf.config.budget"  # the event that says what a budget is; no alert, by its name
SLACK = 0.1  # seconds by which ticks may be off their second

_KEYS = ("metric", "max", "for", "clear", "cooldown", "severity", "idle")
_TIMES = ("ns", "us", "µs", "ms", "s", "min", "h", "d")
_CORES = ("core", "cores")
_WRITE = "write a number in the metric's unit, or a string such as '250ms', '150MB' (kB MB GB MiB GiB) or '61%'"


class Budget:
    """One limit on one metric; evaluator, alert rule, gate and chart line all read this object.

    Attributes:
        name: what it is called everywhere.
        metric: as it was written: ``name``, ``name{key=value}``, ``rate(name)`` or ``p95(name)``.
        max: upper bound, inclusive, in the metric's unit.
        for_: seconds that the limit must be exceeded before it counts.
        clear: what the metric must fall to before the budget holds again.
        cooldown: seconds between two alerts.
        severity: ``info``, ``warning`` or ``critical``.
        idle: judged only while no tracked work runs (a profiled call, an operation, a span): true, or ``tracked``,
            which asks in addition that the program has recorded tracked work at all.
        instrument: the metric's bare name, and
        selector: the attributes that its series must have, and
        form: ``""``, ``rate`` or ``quantile``, and
        quantile: 0 to 1.
        unit: of the limit as it was written: ``s``, ``By``, ``{cpu}``, ``%``, or empty for a bare number.
        source: where it was written, for messages; empty for a default.

    Raises: ConfigError: something cannot be taken; the message says what, where and how to mend it.
    """

    __slots__ = (
        "clear", "cooldown", "for_", "form", "idle", "instrument", "max", "metric", "name", "quantile", "selector",
        "severity", "source", "unit",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        *,
        metric: str,
        max: float | str,  # that is what it is called everywhere
        for_: float | str = 0.0,
        clear: float | str | None = None,
        cooldown: float | str | None = None,
        severity: str = "warning",
        idle: bool | str = False,
        source: str = "",
    ) -> None:
        self.name = name
        self.source = source
        self.metric = metric
        try:
            self.form, self.quantile, self.instrument, self.selector = parse_metric(metric)
        except ValueError as error:
            raise self.wrong(f"metric: {error}") from None
        self.max, self.unit = self._limit("max", max)
        if self.is_time and self.unit not in ("s", ""):
            raise self.wrong(f"max = {max!r} is no time, but {self.instrument} is in seconds; write max = '250ms'")
        if self.is_time and not self.max > 0:
            raise self.wrong(f"max must be greater than 0, got {max!r}; write max = '2s'")
        self.for_ = self._seconds("for", for_)
        self.cooldown = self._seconds("cooldown", 0.0 if cooldown is None else cooldown)
        self.clear = self.max * CLEAR if clear is None else self._limit("clear", clear)[0]
        if self.clear > self.max:
            raise self.wrong(f"clear must not be above max, got {clear!r} above {max!r}; leave it out for 5 % below")
        self.severity = severity
        if severity not in SEVERITIES:
            raise self.wrong(f"severity is one of {', '.join(SEVERITIES)}, got {severity!r}")
        self.idle = idle
        if not isinstance(idle, bool) and idle != TRACKED:
            raise self.wrong(f"idle is true, false or {TRACKED!r}, got {idle!r}")

    @property
    def is_time(self) -> bool:
        """Whether the metric is known to be in seconds."""
        return self.instrument.endswith(".duration") and self.form != "rate"

    @property
    def once(self) -> bool:
        """Whether the metric is measured once and then stands: nothing is added by how long it was over."""
        return self.instrument in (STARTUP, PHASE)

    @property
    def mark(self) -> str:
        """What stands before a value that the process judges: ``~`` of a percentile, which comes from buckets."""
        return "~" if self.form == "quantile" else ""

    def held(self, seconds: float) -> bool:
        """Return whether *seconds* on end are as long as ``for``; what a tick is early or late does not count."""
        return seconds >= self.for_ - min(SLACK, self.for_ / 10)

    def wrong(self, text: str) -> ConfigError:
        """Return the error that says *text* of this budget, and where it stands."""
        return ConfigError(f"budget {self.name!r}: {text}" + (f" ({self.source})" if self.source else ""))

    def fields(self) -> dict[str, Any]:
        """Return the definition as attributes of an event; from_fields() is the way back."""
        return {
            "budget": self.name, "metric": self.metric, "limit": self.max, "unit": self.unit, "for": self.for_,
            "clear": self.clear, "cooldown": self.cooldown, "severity": self.severity, "idle": self.idle,
        }  # fmt: skip

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any], source: str) -> Budget:
        """Return the budget whose fields() these are.

        Raises: ConfigError: they are damaged.
        """
        found = cls(
            str(fields.get("budget")), metric=fields.get("metric", ""), max=fields.get("limit", ""),
            for_=fields.get("for", ""), clear=fields.get("clear"), cooldown=fields.get("cooldown"),
            severity=fields.get("severity", ""), idle=fields.get("idle", False), source=source,
        )  # fmt: skip
        found.unit = str(fields.get("unit", ""))
        return found

    def _limit(self, key: str, value: object) -> tuple[float, str]:
        try:
            return limit(value)
        except (TypeError, ValueError) as error:
            raise self.wrong(f"{key}: {error}") from None

    def _seconds(self, key: str, value: object) -> float:
        try:
            return config.seconds(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise self.wrong(f"{key}: {error}") from None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Budget) and all(getattr(self, key) == getattr(other, key) for key in self.__slots__)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Budget({self.name!r}, metric={self.metric!r}, max={self.max!r})"


# --- where they come from --------------------------------------------------------------------------------------------

own: dict[str, Budget] = {}  # what the program said, before init() or at any time after it


def budget(
    name: str,
    *,
    metric: str,
    max: float | str,
    for_: float | str = "0s",
    clear: float | str | None = None,
    cooldown: float | str | None = None,
    severity: str = "warning",
    idle: bool | str = False,
) -> Budget:
    """Set a limit on a metric; it is judged from the next second on. The same name again replaces it.

    Args:
        name: what it is called everywhere; ``startup``, ``idle``, ``memory`` and ``monitor`` are the defaults.
        metric: ``name``, ``name{key=value}``, ``rate(name)`` or ``p95(name)``, of any metric of this process.
        max: upper bound, inclusive: a number in the metric's unit, or a string such as ``"250ms"`` or ``"150MB"``.
        for_: how long it must be exceeded before an alert, and hold before that is resolved.
        clear: what the metric must fall to before it holds again, default 5 % below *max*.
        cooldown: how long after an alert was resolved there is no other, default 0.
        severity: ``info``, ``warning`` or ``critical``; twice the limit, or a long time over it, raises it by one each.
        idle: true judges only the seconds in which no tracked work runs.

    Raises:
        TypeError: *name* is no str.
        ValueError: a part cannot be taken; the message says how it is written.
    """
    if not isinstance(name, str):
        raise TypeError(f"a budget's name is a str, not {type(name).__name__}")
    caller = sys._getframe(1)  # noqa: SLF001  # the interpreter's own way to say who calls
    file = caller.f_code.co_filename.replace("\\", "/").rpartition("/")[2]
    made = own[name] = Budget(
        name, metric=metric, max=max, for_=for_, clear=clear, cooldown=cooldown, severity=severity, idle=idle,
        source=f"{file}:{caller.f_lineno}",
    )  # fmt: skip
    return made


def in_force(file: str, table: object) -> list[Budget]:
    """Return the budgets of this process: the program's own win over those of *file*, those over the defaults.

    Raises: ConfigError: a budget of the file cannot be taken.
    """
    found = {budget.name: budget for budget in read(file, table)}
    found.update(own)
    return list(found.values())


def load(directory: str = "") -> list[Budget]:
    """Return the budgets in force for a program that runs in *directory*, default the working directory.

    Raises: ConfigError: the configuration file cannot be read, or a budget in it cannot be taken.
    """
    complaints: list[str] = []
    file, table = config.read_file(directory, complaints)
    if complaints:
        raise ConfigError(complaints[0].partition("; taking ")[0])
    return read(file, table.get("budgets"))


def read(file: str, table: object) -> list[Budget]:
    """Return the budgets that the table ``budgets`` of *file* makes of the defaults, which come first.

    An entry is a table, or a bare limit for a default; false takes a default away.

    Raises: ConfigError: a budget cannot be taken.
    """
    entries = {name: (entry, "") for name, entry in DEFAULTS.items()}
    if table is not None and not isinstance(table, dict):
        raise ConfigError(
            f"{file}: budgets is a table, not {_kind(table)}; write [budgets.startup], below it max = '2s'"
        )
    for name, given in (table or {}).items():
        entry = _entry(file, name, given)
        if entry is None:
            entries.pop(name, None)
        else:
            entries[name] = (entry, f"{_section(file)}budgets.{name}]")
    return [_build(name, entry, source) for name, (entry, source) in entries.items()]


def _section(file: str) -> str:
    return f"{file}, [tool.otel-perf." if file == "pyproject.toml" else f"{file}, ["


def _kind(value: object) -> str:
    return {"dict": "a table", "list": "a list", "str": "a string", "bool": "true or false"}.get(
        type(value).__name__, f"a value of type {type(value).__name__}"
    )


def _entry(file: str, name: str, given: object) -> dict[str, Any] | None:
    """Return the whole table of the budget *name*, None if it is switched off."""
    place = f"({_section(file)}budgets])"
    default = DEFAULTS.get(name)
    if given is False and default is not None:
        return None
    if isinstance(given, (str, int, float)) and not isinstance(given, bool) and default is not None:
        return {**default, "max": given}
    if not isinstance(given, dict):
        mend = f"; false switches off {', '.join(DEFAULTS)} only" if given is False else ""
        raise ConfigError(f"budget {name!r}: a table is expected, not {_kind(given)} {place}{mend}")
    for key in given:
        if key not in _KEYS:
            raise ConfigError(f"budget {name!r}: {key!r} is no part of a budget, which has {', '.join(_KEYS)} {place}")
    entry = {**(default or {}), **given}
    for key, example in (("metric", "metric = 'otel_perf.startup.phase.duration{phase=UI}'"), ("max", "max = '250ms'")):
        if key not in entry:
            raise ConfigError(f"budget {name!r}: {key} is missing {place}; write {example}")
    return entry


def _build(name: str, entry: dict[str, Any], source: str) -> Budget:
    values = {("for_" if key == "for" else key): value for key, value in entry.items()}
    return Budget(name, **values, source=source)


def startup_limit(budgets: list[Budget]) -> float | None:
    """Return the seconds that a start may take, None if no budget says so."""
    return next((budget.max for budget in budgets if budget.name == "startup" and budget.instrument == STARTUP), None)


# --- how they are written --------------------------------------------------------------------------------------------


def limit(value: object) -> tuple[float, str]:
    """Return a limit in the base unit, and that unit: ``s``, ``By``, ``{cpu}``, ``%`` (61% is 0.61), empty if unsaid.

    Raises:
        TypeError: neither number nor string.
        ValueError: negative, no number, or an unknown unit.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise TypeError(f"{_WRITE}, not {_kind(value)}")
    number, unit = float("nan"), ""
    try:
        if not isinstance(value, str):
            number = float(value)
        elif value.rstrip().endswith("%"):
            number, unit = float(value.rstrip()[:-1]) / 100, "%"
        else:
            digits = value.strip().rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZµ")
            suffix = value.strip()[len(digits) :]
            if not suffix:
                number = float(digits)
            elif suffix in _TIMES:
                number, unit = config.seconds(value), "s"
            elif suffix in _CORES:
                number, unit = float(digits), "{cpu}"
            else:
                number, unit = float(config.size(value)), "By"
    except (ValueError, OverflowError):
        number = float("nan")
    if not 0.0 <= number < float("inf"):  # NaN is refused too
        raise ValueError(f"{_WRITE}; got {value!r}")
    return number, unit


def parse_metric(text: object) -> tuple[str, float, str, dict[str, str]]:
    """Return form, quantile, instrument and selector of a metric as it is written in a budget.

    Raises: ValueError: it is none of the forms.
    """
    forms = "write name, name{key=value}, rate(name) or p95(name)"
    if not isinstance(text, str):
        raise ValueError(f"{forms}, not {_kind(text)}")
    form, quantile, inner = "", 0.0, text.strip()
    if inner.endswith(")"):
        form, _, inner = inner[:-1].partition("(")
        form, inner = form.strip(), inner.strip()
        if form != "rate":
            quantile = _quantile(form)
            form = "quantile"
        if not 0.0 <= quantile <= 1.0:
            raise ValueError(f"{forms} (the bare name of a histogram is its largest value), got {text!r}")
    name, brace, rest = inner.partition("{")
    name = name.rstrip()
    if not name or not name.replace(".", "").replace("_", "").replace("-", "").replace("/", "").isalnum():
        raise ValueError(f"{forms}, got {text!r}")
    if not brace:
        return form, quantile, name, {}
    selector = _selector(rest[:-1]) if rest.endswith("}") else None
    if selector is None:
        raise ValueError(f"the part in braces is key=value, or several with commas between, got {text!r}")
    return form, quantile, name, selector


def _quantile(form: str) -> float:
    """Return 0.95 for ``p95``, NaN for what is no percentile."""
    digits = form[1:]
    if form[:1] != "p" or not digits.replace(".", "", 1).isdigit() or not digits.isascii():
        return float("nan")
    return float(digits) / 100


def _selector(text: str) -> dict[str, str] | None:
    """Return the pairs ``key=value``; a value with a comma stands in quotes. None if it is something else."""
    found: dict[str, str] = {}
    rest = text.strip()
    while rest:
        key, _, rest = rest.partition("=")
        key, rest = key.strip(), rest.lstrip()
        quote = rest[:1]
        if quote and quote in "\"'":
            value, closed, rest = rest[1:].partition(quote)
            rest = rest.lstrip()
            if not closed or rest[:1] not in ("", ","):
                return None
            rest = rest[1:]
        else:
            value, _, rest = rest.partition(",")
            value = value.strip()
        if not key or not value:
            return None
        found[key] = value
        rest = rest.strip()
    return found or None
