"""The performance score: one number from 0 to 100 for how well the budgets hold, and what costs the points.

Imports only: alerts, amounts, metrics.wholes.

**The formula.** Each budget that is judged has a weight by its severity as it was defined: info 1, warning 2,
critical 4. What it costs is a part of that weight: nothing while it is ok; a quarter while it is pending; while it is
exceeded half of it, and the other half in proportion to how far it is over its limit, the whole at twice the limit. ::

    score = 100 × (1 − Σ weight × part / Σ weight)

A budget whose state is unknown is left out of both sums and counted, unless it was exceeded: that keeps its cost until
it is seen to hold. Without a budget that is judged there is no score.
"""

from __future__ import annotations

from .alerts import EXCEEDED, PENDING, UNKNOWN
from .amounts import amount, far_over
from .metrics.wholes import whole_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .alerts import Evaluator, Standing

WEIGHTS = {"info": 1.0, "warning": 2.0, "critical": 4.0}
PART_PENDING = 0.25
PART_EXCEEDED = 0.5  # at the limit, and the rest up to twice the limit


class Reason:
    """What one budget costs.

    Attributes:
        budget: its name.
        points: of the 100.
        text: why, in a clause.
    """

    __slots__ = ("budget", "points", "text")

    def __init__(self, budget: str, points: float, text: str) -> None:
        self.budget = budget
        self.points = points
        self.text = text

    def __repr__(self) -> str:
        return f"Reason({self.budget!r}, {self.points:.3g})"


class Score:
    """How well the budgets hold.

    Attributes:
        points: 0 to 100, None if no budget could be judged.
        reasons: what costs points, the dearest first; together they are what is missing to 100.
        judged: budgets that the score is of.
        unknown: budgets that were left out.
    """

    __slots__ = ("judged", "points", "reasons", "unknown")

    def __init__(self, points: float | None, reasons: list[Reason], judged: int, unknown: int) -> None:
        self.points = points
        self.reasons = reasons
        self.judged = judged
        self.unknown = unknown

    @property
    def text(self) -> str:
        """The score in a line: ``72 of 100, 3 budgets judged, 1 unknown``; 100 only if nothing costs anything."""
        number = "no score" if self.points is None else f"{int(self.points)} of 100"
        judged = f"{self.judged} budget{'' if self.judged == 1 else 's'} judged"
        return f"{number}, {judged}" + (f", {self.unknown} unknown" if self.unknown else "")

    def __repr__(self) -> str:
        return f"Score({self.points!r}, {self.reasons!r}, unknown={self.unknown})"


def score(evaluator: Evaluator) -> Score:
    """Return the score after the evaluator's last step."""
    return score_of(evaluator.states())


def score_of(standings: Iterable[Standing]) -> Score:
    """Return the score of budgets that stand like this."""
    total = 0.0
    judged = unknown = 0
    costs = []
    for standing in standings:
        if standing.state == UNKNOWN and not standing.exceeded:
            unknown += 1
            continue
        judged += 1
        weight = WEIGHTS[standing.budget.severity]
        total += weight
        part = _part(standing)
        if part:
            costs.append((weight * part, standing))
    if not judged:
        return Score(None, [], 0, unknown)
    costs.sort(key=lambda pair: -pair[0])  # keeps the order of budgets that cost the same
    reasons = [Reason(one.budget.name, 100.0 * cost / total, _text(one)) for cost, one in costs]
    lost = sum(cost for cost, _ in costs)
    return Score(max(0.0, 100.0 * (1.0 - lost / total)), reasons, judged, unknown)


def _part(standing: Standing) -> float:
    """Return what *standing* costs of its weight, 0 to 1."""
    if standing.exceeded or standing.state == EXCEEDED:
        return PART_EXCEEDED + (1.0 - PART_EXCEEDED) * min(standing.over, 1.0)
    return PART_PENDING if standing.state == PENDING else 0.0


def _text(standing: Standing) -> str:
    budget = standing.budget
    limit = f"limit {amount(budget.max, standing.unit, budget.form)} {whole_of(budget.instrument, {})}".rstrip()
    if standing.value is None:
        return f"exceeded when last seen, {limit}"
    state = "exceeded" if standing.exceeded or standing.state == EXCEEDED else "pending"
    far = f" ({far_over(standing.over)})" if 0 < standing.over < float("inf") else ""
    return f"{state}: {budget.mark}{amount(standing.value, standing.unit, budget.form)}, {limit}{far}"
