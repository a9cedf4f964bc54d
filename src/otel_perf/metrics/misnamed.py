"""Budgets on metrics that there are not: a misspelt name would never be judged, and nobody would know.

Imports only: budgets, names. What is named otherwise than OpenTelemetry and we name metrics may be the program's own.
"""

from __future__ import annotations

from otel_perf.budgets import in_force
from otel_perf.errors import ConfigError

from .names import INSTRUMENTS, WRITTEN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from otel_perf.budgets import Budget

OURS = ("process.", "system.", "cpython.", "otel_perf.")  # names of metrics that begin so are known
LIKE = 0.75  # of a name, from which on another one may have been meant


def misnamed(budget: Budget) -> str:
    """Say that no metric is called as that of *budget*, and which is called alike; empty if there is one."""
    name = budget.instrument
    if not name.startswith(OURS) or name in INSTRUMENTS or name in WRITTEN:
        return ""
    from difflib import get_close_matches

    close = get_close_matches(name, [*INSTRUMENTS, *WRITTEN], 1, LIKE)
    mend = f"did you mean {close[0]!r}?" if close else "docs/metrics.md lists all names"
    return str(budget.wrong(f"metric: there is no {name!r}; {mend}"))


def complaints(file: str, table: object) -> list[str]:
    """Return a sentence for each budget of this process on a metric that there is not; a broken file is told elsewhere.

    Arguments as for budgets.in_force().
    """
    try:
        return [text for budget in in_force(file, table) if (text := misnamed(budget))]
    except ConfigError:
        return []
