"""Attributes, events and statuses as the OpenTelemetry SDK takes them, within the span limits of the settings.

Nothing here raises for what the application gives: without an SDK the API takes anything.

Source: OpenTelemetry specification, "Attribute Limits" and "Span Limits".
"""

from __future__ import annotations

import logging
import traceback
from _thread import get_ident

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.trace import Status, StatusCode

from otel_perf.recorder import describe, state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from otel_perf.config import Settings

COUNTS: dict[str, int] = {"span": 128, "event": 128, "link": 128, "events": 128, "links": 128}
LENGTHS: dict[str, int | None] = {"span": None, "event": None, "link": None}  # characters of a value
FRAMES = (
    128  # of a traceback that are written, the innermost: each span that an endless recursion leaves writes its own
)
_PLAIN = frozenset((str, bool, int, float))  # types that need no cleaning
_cleaning: set[int] = set()  # threads that do so: without an SDK nobody tells the application what is no attribute


def configure(settings: Settings) -> None:
    """Take the limits from the settings: one of their own where there is one, else the general one."""
    logging.getLogger("opentelemetry.attributes").addFilter(lambda _: get_ident() not in _cleaning)
    for kind in ("span", "event", "link"):
        own = getattr(settings, f"{kind}_attribute_count_limit")
        COUNTS[kind] = settings.attribute_count_limit if own is None else own
        LENGTHS[kind] = settings.attribute_length_limit
    if settings.span_attribute_length_limit is not None:
        LENGTHS["span"] = settings.span_attribute_length_limit
    COUNTS["events"] = settings.span_event_count_limit
    COUNTS["links"] = settings.span_link_count_limit


class Attributes(dict[str, object]):
    """Attributes within their limits; a dict, because a signal handler may read it in the middle of a change.

    Attributes:
        dropped: number of those that were over the limit or could not be taken.
    """

    __slots__ = ("dropped",)

    def __init__(self) -> None:
        self.dropped = 0


def bounded(kind: str, attributes: Any = None) -> Attributes:
    """Return the *attributes* of a ``span``, ``event`` or ``link`` within its limits."""
    into = Attributes()
    put_all(into, kind, attributes)
    return into


def put_all(into: Attributes, kind: str, attributes: Any) -> None:
    """Add *attributes*; one that cannot be taken costs itself only."""
    if attributes is None:
        return
    try:
        pairs = list(attributes.items())
    except Exception:  # noqa: BLE001  # no mapping
        state.dropped += 1
        return
    for key, value in pairs:
        put(into, kind, key, value)


def put(into: Attributes, kind: str, key: Any, value: Any) -> None:
    """Add one attribute, as the SDK's span does: over the limit the oldest goes, what is set again comes last."""
    try:
        length = LENGTHS[kind]
        if type(value) not in _PLAIN or type(key) is not str or not key or (length is not None and type(value) is str):
            cleaned = BoundedAttributes(None, None, immutable=False, max_value_len=length)
            _cleaning.add(get_ident())
            try:
                cleaned[key] = value
            finally:
                _cleaning.discard(get_ident())
            into.dropped += cleaned.dropped
            if key not in cleaned:
                return
            value = cleaned[key]
        into.pop(key, None)
        limit = COUNTS[kind]
        while len(into) >= limit:
            into.dropped += 1
            if not limit:
                return
            del into[next(iter(into))]
        into[key] = value
    except Exception:  # noqa: BLE001  # the application's __str__ or __len__ may do anything
        into.dropped += 1


def text(given: Any) -> str:
    """Return a name *given* by the application."""
    try:
        return given if type(given) is str else str(given)
    except Exception:  # noqa: BLE001  # its __str__ may do anything
        return f"<{type(given).__name__}>"


def status_of(before: int, status: Any, description: Any) -> Status | None:
    """Return what set_status() changes it to, None if nothing: once it is OK it stays, and it is never unset."""
    if isinstance(status, StatusCode):
        status = Status(status, description if isinstance(description, str) else None)
    if before == StatusCode.OK.value or not isinstance(status, Status) or status.status_code is StatusCode.UNSET:
        return None
    return status


def nanoseconds(given: Any, otherwise: int) -> int:
    """Return the time *given* by the application, nanoseconds since 1970, or *otherwise* if it is none."""
    try:
        return int(given) if isinstance(given, (int, float)) and 0 <= given < 1 << 63 else otherwise
    except Exception:  # noqa: BLE001  # a number of somebody else's kind
        return otherwise


def exception_fields(error: BaseException, escaped: bool) -> dict[str, Any]:
    """Return the attributes of an exception's event, as the semantic conventions name them."""
    kind, message = describe(error) or (type(error).__name__, "")
    try:
        stack = "".join(traceback.format_exception(error, limit=-FRAMES))
    except Exception:  # noqa: BLE001  # a __str__ or __cause__ of the application's may do anything
        stack = ""
    return {
        "exception.type": kind,
        "exception.message": message,
        "exception.stacktrace": stack,
        "exception.escaped": str(escaped),
    }
