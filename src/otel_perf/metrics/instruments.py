"""``counter``, ``gauge`` and what is behind ``timer``: what the application measures itself.

Imports only: os, clock, recorder, export, exemplars; names if need be. No OpenTelemetry, no I/O and no lock on the
path of a call, but for the few durations that may become an exemplar.
Reading order: Series, Instrument.find(), Counter.add(); counter() and its neighbours. timers.py has with-block and
decorator, measured.py is for those that write, judge or offer what is measured here.

Counts are exact without a lock: the interpreter switches threads, and runs signal handlers and finalisers, at calls and
backward jumps only, so what stands between two calls here is one step. A sum is therefore raised in a line of its own.
"""

from __future__ import annotations

import os

from otel_perf import recorder
from otel_perf.clock import now, wall_ns
from otel_perf.export.otlp_json import attributes
from otel_perf.recorder import BUCKETS, FOREVER, bucket_of, bucket_start

from .exemplars import Slowest, offer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, TypeVar

    I = TypeVar("I", bound="Instrument")  # noqa: E741

MAX_SERIES = 2_000  # of one instrument, as OpenTelemetry's default cardinality limit; the rest is one series more
MAX_INSTRUMENTS = 1_000
MAX_TEXT = 4_096  # characters of a series' attributes as they are written; what is longer is part of the rest
MAX_NAME = 255  # characters, by the OpenTelemetry specification, as is
MAX_UNIT = 63
MAX_DESCRIPTION = 1_024
HUGE = 1e300  # from here on a number is no measurement: sums of such would be infinite

OVERFLOW = attributes({"otel.metric.overflow": True})
DISABLED = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"  # init() says what is wrong with another
_TEXT = {str}
_CACHED = {str, bool, int, float}  # types of values that series are found by without being described

by_name: dict[str, Instrument] = {}  # by their names in lower case: names that differ in case only are the same
_asleep = True  # the worker may not run, since it starts with the first record after a fork
began = -FOREVER  # when this process was forked, monotonic


class Series:
    """One combination of attributes and its value.

    Attributes:
        value: of a gauge, None before the first; the sum of a counter or timer.
        seen: the value that was written last, None if none was; of a timer the calls.
        start: nanoseconds since 1970 when it began.
        text: its attributes as they are written.
    """

    __slots__ = ("seen", "start", "text", "value")

    def __init__(self, text: str, value: Any) -> None:
        self.value = value
        self.seen: Any = None
        self.start = wall_ns()
        self.text = text


class Distribution(Series):
    """A series of durations.

    Attributes:
        histogram: durations by bucket, see recorder.bucket_of().
        low: the shortest, in seconds.
        high: the longest.
        window: bounds and number of the bucket of the last, since the next one is often in it.
        slowest: what may become an exemplar.
    """

    __slots__ = ("high", "histogram", "low", "slowest", "window")

    def __init__(self, text: str) -> None:
        super().__init__(text, 0.0)
        self.histogram = [0] * BUCKETS
        self.low = FOREVER
        self.high = 0.0
        self.window = 0.0, 0.0, 0
        self.slowest = Slowest()


class Instrument:
    """What the three kinds have in common: a name, and a bounded number of series.

    Attributes:
        name: as it was given first.
        unit: UCUM, None as long as nobody gave one.
        description: empty if nobody gave one.
        series: by their attributes as text.
        count: of them that count against MAX_SERIES.
        overflowed: counts the measurements that went into the series of the rest.
        refused: counts those that were no finite number.
    """

    __slots__ = (
        "_plain", "_quick", "_typed", "count", "description", "name", "overflowed", "refused", "series", "unit",
    )  # fmt: skip
    word = ""  # the kind
    dot = ".add"

    def __init__(self, name: str) -> None:
        self.name = name
        self.unit: str | None = None
        self.description = ""
        self.begin()

    def begin(self) -> None:
        """Begin without series."""
        self.series: dict[str, Any] = {}
        self.count = 0
        self.overflowed = Series(attributes({"instrument": self.name}), 0)
        self.refused = Series(self.overflowed.text, 0)
        self.overflowed.seen = self.refused.seen = 0  # nothing to write
        self.forget()

    def forget(self) -> None:
        """Let the next measurement of each series take the long way, which wakes the worker."""
        self._plain: Any = None  # the series without attributes
        self._quick: dict[Any, Any] = {}  # by items that are all text or int, but not 0 or 1
        self._typed: dict[Any, Any] = {}  # by items and their types: 1, 1.0 and True are equal, but not the same

    def new(self, text: str) -> Any:
        """Return a series without a value."""
        raise NotImplementedError

    def find(self, given: Mapping[Any, Any] | None) -> Any:
        """Return the series of these attributes, made at the first use; that of the rest beyond MAX_SERIES.

        Raises:
            TypeError: the attributes are no mapping.
        """
        if not given:
            series = self._plain or self._described("")
            if series.text != OVERFLOW:
                self._plain = series
            _wake()
            return series
        try:
            items = tuple(given.items())
            types = tuple(map(type, given.values()))
        except Exception:  # noqa: BLE001  # another type, or a mapping of the application's own
            raise TypeError(f"{self}: attributes are a dict, not {type(given).__name__}") from None
        try:
            series = self._typed.get((items, types))
        except Exception:  # noqa: BLE001  # a value has no hash
            series = None
        if series is None:
            series = self._described(_describe(items))
            if series.text != OVERFLOW:
                self._keep(items, types, series)
            _wake()
        return series

    def _keep(self, items: Any, types: Any, series: Any) -> None:
        """Let *series* be found by these items, unless they hold what may change, or may be large."""
        if not _CACHED.issuperset(types) or not _TEXT.issuperset([type(key) for key, _ in items]):
            return
        if len(self._quick) + len(self._typed) >= 2 * MAX_SERIES:  # the same attributes in ever new orders
            return
        if all(type(item) is str or (type(item) is int and item not in (0, 1)) for _, item in items):
            self._quick[items] = series  # where a float that equals an int is found as that
        else:
            self._typed[items, types] = series

    def _described(self, text: str) -> Any:
        """Return the series whose attributes are *text*."""
        series = self.series.get(text)
        if series is not None:
            return series
        if len(text) > MAX_TEXT:
            return self._rest()
        if self.count >= MAX_SERIES:
            return self._rest()
        self.count += 1  # in one step with the comparison: no call stands between
        made = self.new(text)
        series = self.series.setdefault(text, made)
        if series is not made:  # another thread was faster
            self.count -= 1
        return series

    def _rest(self) -> Any:
        self.overflowed.value += 1
        return self.series.get(OVERFLOW) or self.series.setdefault(OVERFLOW, self.new(OVERFLOW))

    def checked(self, number: Any, lowest: float) -> Any:
        """Return *number* as int or float; None, which is counted, if it is not finite.

        Raises:
            TypeError: it is no number.
            ValueError: it is below *lowest*.
        """
        kind = type(number)
        if not hasattr(kind, "__index__") and not hasattr(kind, "__float__"):
            raise TypeError(f"{self}{self.dot}: takes a number, not {kind.__name__}")
        try:
            plain: int | float = number.__index__() if hasattr(kind, "__index__") else float(number)
            plain = int(plain) if isinstance(plain, int) else float(plain)
        except OverflowError:
            plain = FOREVER
        except (TypeError, ValueError) as error:
            raise type(error)(f"{self}{self.dot}: {error}") from None
        if not -HUGE < plain < HUGE:
            self.refused.value += 1
            return None
        if plain < lowest:
            mend = "; perf.gauge() is for what may fall" if self.word == "counter" else ""
            raise ValueError(f"{self}{self.dot}: takes 0 or more, got {plain!r}{mend}")
        return plain

    def __str__(self) -> str:
        return f"perf.{self.word}({self.name!r})"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


class Counter(Instrument):
    """A sum that only grows; perf.counter() returns it."""

    __slots__ = ()
    word = "counter"

    def new(self, text: str) -> Series:
        """Return a series that begins at 0."""
        return Series(text, 0)

    def add(self, amount: float, attributes: Mapping[str, object] | None = None) -> None:
        """Add to the sum.

        Args:
            amount: 0 or more; a number that is not finite is dropped and counted.
            attributes: which of the counter's sums, as ``{"kind": "web"}``. At most 2,000 are kept apart; what comes
                then is summed in one more, whose attribute is ``otel.metric.overflow``.

        Raises:
            TypeError: *amount* is no number, or *attributes* no dict.
            ValueError: *amount* is negative.
        """
        if (type(amount) is not int and type(amount) is not float) or not 0 <= amount < HUGE:
            amount = self.checked(amount, 0)
            if amount is None:
                return
        if attributes:
            try:
                series = self._quick.get(tuple(attributes.items()))
            except Exception:  # noqa: BLE001  # find() tells what is wrong
                series = None
            if series is None:
                series = self.find(attributes)
        else:
            series = self._plain or self.find(None)
        series.value += amount


class Gauge(Instrument):
    """A value that is what it was last set to; perf.gauge() returns it."""

    __slots__ = ()
    word, dot = "gauge", ".set"

    def new(self, text: str) -> Series:
        """Return a series without a value."""
        return Series(text, None)

    def set(self, value: float, attributes: Mapping[str, object] | None = None) -> None:
        """Set the value.

        Args:
            value: any number; one that is not finite is dropped and counted.
            attributes: which of the gauge's values, as for Counter.add().

        Raises:
            TypeError: *value* is no number, or *attributes* no dict.
        """
        if (type(value) is not int and type(value) is not float) or not -HUGE < value < HUGE:
            value = self.checked(value, -HUGE)
            if value is None:
                return
        if attributes:
            try:
                series = self._quick.get(tuple(attributes.items()))
            except Exception:  # noqa: BLE001  # as in Counter.add()
                series = None
            if series is None:
                series = self.find(attributes)
        else:
            series = self._plain or self.find(None)
        series.value = value
        series.seen = None  # to be written, even if it is the same as before


class Durations(Instrument):
    """The distribution of durations behind the timers of one name."""

    __slots__ = ()
    word, dot = "timer", ".record"

    def new(self, text: str) -> Distribution:
        """Return a series without durations."""
        return Distribution(text)

    def record(self, seconds: float, attributes: Mapping[str, object] | None = None) -> None:
        """Count one duration; see Timer.record()."""
        if (type(seconds) is not float and type(seconds) is not int) or not 0 <= seconds < HUGE:
            seconds = self.checked(seconds, 0)
            if seconds is None:
                return
        if attributes:
            try:
                series = self._quick.get(tuple(attributes.items()))
            except Exception:  # noqa: BLE001  # as in Counter.add()
                series = None
            if series is None:
                series = self.find(attributes)
        else:
            series = self._plain or self.find(None)
        low, high, bucket = series.window
        if not low < seconds <= high:
            bucket = bucket_of(seconds)
            series.window = bucket_start(bucket), bucket_start(bucket + 1), bucket
        # No call stands from here on.
        series.histogram[bucket] += 1
        series.value += seconds
        if seconds < series.low:
            series.low = seconds
        if seconds > series.high:
            series.high = seconds
        if seconds > series.slowest.bar:
            offer(series.slowest, seconds)


class _Silent(Instrument):
    """What is measured where OpenTelemetry is switched off: nothing."""

    __slots__ = ()

    def add(self, *_: object, **__: object) -> None:
        """Do nothing, and so do the others."""

    set = record = add


class _SilentCounter(_Silent, Counter):
    __slots__ = ()


class _SilentGauge(_Silent, Gauge):
    __slots__ = ()


class SilentDurations(_Silent, Durations):
    """What is behind a timer there."""

    __slots__ = ()


# --- what the application calls --------------------------------------------------------------------------------------


def counter(name: str, unit: str | None = None, description: str | None = None) -> Counter:
    """Return the counter of this name: ``perf.counter("orders").add(1, {"kind": "web"})``.

    It may be asked for anew each time, or kept. What is added before init() counts, and is written after it.

    Args:
        name: by the rules of OpenTelemetry: a letter, then at most 254 letters, digits and ``_ . - /``.
        unit: UCUM, such as ``By`` or ``{order}``; default none.
        description: what it counts, for those who look at it; the first one given stays.

    Raises:
        TypeError: an argument is no str, or the name is that of another kind of instrument.
        ValueError: a name or unit that cannot be taken, or another unit than this counter has.
    """
    return named(_SilentCounter if DISABLED else Counter, name, unit, description)


def gauge(name: str, unit: str | None = None, description: str | None = None) -> Gauge:
    """Return the gauge of this name: ``perf.gauge("queue").set(3)``. Arguments and errors are those of counter()."""
    return named(_SilentGauge if DISABLED else Gauge, name, unit, description)


def named(kind: type[I], name: str, unit: str | None, description: str | None) -> I:
    """Return the instrument of this name, made at the first use."""
    if not isinstance(name, str):
        raise TypeError(f"perf.{kind.word}: a name is a str, not {type(name).__name__}")
    found = by_name.get(name.lower())
    if found is None:
        found = _make(kind, name)
    if not isinstance(found, kind):
        raise TypeError(f"perf.{kind.word}({name!r}): {found.name!r} is a {found.word} already; take another name")
    if unit is not None and unit != found.unit:
        _set_unit(found, unit)
    if description is not None and not found.description:
        if not isinstance(description, str):
            raise TypeError(f"{found}: a description is a str, not {type(description).__name__}")
        found.description = description[:MAX_DESCRIPTION]
    return found


def _make(kind: type[I], name: str) -> Instrument:
    """Return a new instrument; beyond MAX_INSTRUMENTS it is nobody's, and counted as a dropped record."""
    good = name.isascii() and name[:1].isalpha() and name.translate(dict.fromkeys(map(ord, "_.-/"))).isalnum()
    if not good or len(name) > MAX_NAME:
        raise ValueError(
            f"perf.{kind.word}: a name is a letter, then at most {MAX_NAME - 1} letters, digits and _ . - /, "
            f"got {name[:80]!r}"
        )
    if name.lower().startswith("otel_perf."):
        raise ValueError(f"perf.{kind.word}({name!r}): names that begin with otel_perf. are taken; take another name")
    if name.lower().startswith(("process.", "system.", "cpython.")):
        from .names import INSTRUMENTS

        if name.lower() in INSTRUMENTS:  # two of one name would be one series to everybody who reads them
            raise ValueError(f"perf.{kind.word}({name!r}): otel-perf measures that itself; take another name")
    made = kind(name)
    if len(by_name) >= MAX_INSTRUMENTS:
        recorder.state.dropped += 1
        return made
    return by_name.setdefault(name.lower(), made)


def _set_unit(found: Instrument, unit: object) -> None:
    if not isinstance(unit, str):
        raise TypeError(f"{found}: a unit is a str, not {type(unit).__name__}")
    if not unit.isascii() or not (unit.isprintable() and len(unit) <= MAX_UNIT):
        raise ValueError(f"{found}: a unit has at most {MAX_UNIT} ASCII characters, got {unit[:80]!r}")
    if found.unit is not None:
        raise ValueError(f"{found}: its unit is {found.unit!r}, not {unit!r}; take another name")
    found.unit = unit


def _describe(items: tuple[tuple[Any, Any], ...]) -> str:
    """Return attributes as they are written, in the order of their keys."""
    fields: dict[str, Any] = {}
    for key, item in items:
        try:
            fields[str(key)] = item
        except Exception:  # noqa: BLE001  # an application's __str__ may do anything
            continue
    return attributes({key: fields[key] for key in sorted(fields)})


# --- fork ------------------------------------------------------------------------------------------------------------


def _wake() -> None:
    """Let the worker run, where it waits for the first record since the process began or was forked."""
    global _asleep
    state = recorder.state
    if _asleep and state.recording:
        _asleep = False
        if state.idle:
            state.idle = False
            state.wake()


def after_fork_here() -> None:
    """Go on in the parent: from 3.12 its worker starts with the next record."""
    global _asleep
    _asleep = True
    for instrument in list(by_name.values()):
        instrument.forget()


def after_fork() -> None:
    """Begin anew in a child: what the parent measured is the parent's."""
    global _asleep, began
    _asleep, began = True, now()
    for instrument in list(by_name.values()):
        instrument.begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_parent=after_fork_here, after_in_child=after_fork)
