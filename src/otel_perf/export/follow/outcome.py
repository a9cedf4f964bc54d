"""What became of one request, and how an answer is read. Imports only: time, errors."""

from __future__ import annotations

from time import monotonic

from otel_perf.errors import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

RETRYABLE = (429, 502, 503, 504)  # by the OTLP specification; every other answer is final
TOO_LARGE = 413  # as from a proxy before the receiver: nginx takes 1 MB where nobody has said otherwise
LONGEST_WAIT = 300.0  # seconds that a receiver may ask us to wait
BODY = 64 * 1024  # bytes of an answer that are read
LONGEST_REASON = 300  # characters


class Outcome:
    """What became of one request.

    Attributes:
        kind: ``sent``; ``refused``, the receiver will never take it; ``later``, it may another time.
        reason: why not, in a few words; of what was sent, why a part was rejected.
        wait: seconds that the receiver asked us to wait, None where it did not.
        rejected: records of a sent request that were not taken.
        large: it was refused for its size.
    """

    __slots__ = ("kind", "large", "reason", "rejected", "wait")

    def __init__(
        self, kind: str, reason: str = "", wait: float | None = None, rejected: int = 0, large: bool = False
    ) -> None:
        self.kind = kind
        self.reason = one_line(reason[:BODY])  # hide() cuts it: half a secret would not be found
        self.wait = wait
        self.rejected = max(0, rejected)
        self.large = large

    def hide(self, secrets: Callable[[str], str]) -> None:
        """Take the *secrets*, as Target.hide() does, and what is too long out of the reason."""
        self.reason = secrets(self.reason)[:LONGEST_REASON]

    def __repr__(self) -> str:
        return f"Outcome({self.kind!r}, {self.reason!r}, wait={self.wait}, rejected={self.rejected})"


class Deadline:
    """Until when a request may take; the exporters' own limit is for each wait, and cannot be changed later.

    Attributes:
        at: monotonic seconds, None for no limit beyond the target's.
    """

    def __init__(self) -> None:
        self.at: float | None = None

    def cut(self, timeout: float) -> float:
        """Return *timeout*, or what is left if that is less."""
        return timeout if self.at is None else max(0.01, min(timeout, self.at - monotonic()))


def of_status(status: int, text: str, headers: Mapping[str, str]) -> Outcome | None:
    """Return what an HTTP answer other than success means, None for a success."""
    if 200 <= status < 300:
        return None
    reason = f"answered {status} {text}".strip()
    if status not in RETRYABLE:
        return Outcome("refused", reason, large=status == TOO_LARGE)
    return Outcome("later", reason, retry_after(headers.get("Retry-After")))


def retry_after(value: str | None) -> float | None:
    """Return the seconds of a ``Retry-After`` header: a number or a date; None where it is neither."""
    if not value:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return min(float(value), LONGEST_WAIT)
    from email.utils import parsedate_to_datetime
    from time import time

    try:
        wait = parsedate_to_datetime(value).timestamp() - time()
    except (TypeError, ValueError, OverflowError):
        return None
    return min(max(0.0, wait), LONGEST_WAIT)


def why(error: BaseException) -> str:
    """Return what went wrong on the way, in a few words: the system's message at the bottom of *error*."""
    found: BaseException | None = error
    seen: set[int] = set()
    deepest = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        deepest = found
        inner = getattr(found, "reason", None)
        first = found.args[0] if found.args else None
        nested = next((item for item in (inner, *found.args[:2]) if isinstance(item, BaseException)), None)
        if nested is None and isinstance(first, str) and found.__cause__ is None and found.__context__ is None:
            break
        found = nested or found.__cause__ or found.__context__
    name = type(deepest).__name__
    if "timeout" in name.lower():
        return "no answer in time"
    if isinstance(deepest, OSError) and deepest.strerror:
        return deepest.strerror
    text = str(deepest).strip()
    return f"{name}: {text}" if text else name
