"""What the keys of `otel-perf top` have chosen."""

from __future__ import annotations

from dataclasses import dataclass, field

from .search import Search

STEPS = (1.0, 2.0, 5.0, 15.0, 60.0, 300.0, 1800.0)  # seconds that a column of the charts may be


@dataclass(slots=True)
class State:
    """What the keys have chosen.

    Attributes:
        sort: which of SORTS the functions are sorted by.
        since: milliseconds since 1970 at which the charts begin: they were reset.
        step: which of STEPS a column of the charts is.
        scroll: lines of the functions, or of the other metrics, that are above.
        widths: cells that the columns of a table have had: they never become narrower, so that nothing jumps.
    """

    sort: int = 0
    search: Search = field(default_factory=Search)
    paused: bool = False
    advanced: bool = False
    help: bool = False
    since: float = 0.0
    step: int = 0
    scroll: int = 0
    widths: dict[str, int] = field(default_factory=dict)
