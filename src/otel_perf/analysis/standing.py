"""Where the budgets of a process stood when it last judged them: what each is, its state, and the score.

Reading order: definitions_of(), standings_of(), score_of_run(); then alert_lines(), for a terminal.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from otel_perf.alerts import OK, STATES, UNKNOWN, Standing
from otel_perf.amounts import amount, three
from otel_perf.budgets import VALUE, Budget, read
from otel_perf.errors import ConfigError
from otel_perf.metrics.names import INSTRUMENTS
from otel_perf.metrics.wholes import whole_of
from otel_perf.score import Score, score_of

from .ending import ending_of
from .record import PROGRAM
from .table import table
from .text import Style, plural

if TYPE_CHECKING:
    from .model import Process
    from .record import Episode, Kept

_DEFAULTS = read("", None)
NEAR = 0.01  # points by which two scores are the same: one is written with two digits
DAY = 86_400_000_000_000  # nanoseconds
MOST_SHOWN = 20  # alerts, the newest


@dataclass(frozen=True, slots=True)
class RunScore:
    """The score of a run.

    Attributes:
        score: when the budgets were last judged, with what costs points.
        lowest: that it ever was, None if there was none.
        explained: the reasons add up; else only which budgets cost something is known, not how much.
    """

    score: Score
    lowest: float | None
    explained: bool


def definitions_of(process: Process) -> dict[str, Budget]:
    """Return what is known of the budgets that *process* judged, by name."""
    return {name: _definition(kept, process) for name, kept in process.record.budgets.items() if kept.limit is not None}


def _definition(kept: Kept, process: Process) -> Budget:
    """Return the budget that *kept* is of: as the process says, else as far as its points and alerts tell."""
    defined = process.record.definitions.get(kept.name)
    if defined is not None and defined.max == kept.limit:
        return defined
    known = next((one for one in (*process.budgets, *_DEFAULTS) if one.name == kept.name), None)
    if known is not None and kept.metric not in ("", known.metric):
        known = None  # of the same name, and another
    if known is not None and known.max == kept.limit:
        return known
    severity = kept.severity or "warning"  # which is the default
    limit = kept.limit or 0.0
    try:
        if known is None:
            return Budget(kept.name, metric=kept.metric or VALUE, max=limit, severity=severity, source=PROGRAM)
        found = Budget(
            kept.name, metric=known.metric, max=limit, for_=known.for_, severity=known.severity, idle=known.idle,
            source=PROGRAM,
        )  # fmt: skip
    except ConfigError:  # damaged
        return Budget(kept.name, metric=VALUE, max=max(limit, 0.0), severity=severity, source=PROGRAM)
    found.unit = known.unit
    return found


def unit_of(budget: Budget, kept: Kept | None = None) -> str:
    """Return the unit of *budget*'s values, as an alert has it; empty if unknown."""
    if kept is not None and kept.unit:
        return kept.unit
    known = INSTRUMENTS[budget.instrument][1] if budget.instrument in INSTRUMENTS else ""
    if not known or (known == "1" and budget.unit == "%"):
        return budget.unit or ("s" if budget.is_time else "")
    return known


def standings_of(process: Process) -> list[Standing]:
    """Return where each budget stood at the end; one that was gone by then is not there."""
    record = process.record
    found = []
    for name, kept in record.budgets.items():
        if kept.limit is None or kept.state not in STATES or record.is_gone(name):
            continue
        budget = _definition(kept, process)
        episode = record.open(name)
        seen = kept.value if episode is not None else kept.now
        over = 0.0 if seen is None or seen <= budget.max else (seen / budget.max - 1 if budget.max else float("inf"))
        found.append(
            Standing(
                budget,
                kept.state,
                kept.now,
                unit=unit_of(budget, kept),
                exceeded=episode is not None,
                severity=episode.severity if episode is not None else "",
                over=over if episode is not None or kept.state > OK else 0.0,
                duration=record.lasted(episode) if episode is not None else 0.0,
                peak=record.peak(episode) if episode is not None else None,
            )
        )
    return found


def score_of_run(process: Process) -> RunScore | None:
    """Return the score; None if no budget was judged, nor could have been."""
    record = process.record
    found = score_of(standings_of(process))
    if not found.judged + found.unknown:
        return None
    kept = record.score if record.score is not None and record.score.count else None
    if kept is None or kept.time < record.changed:  # what came after has none
        return RunScore(found, None if kept is None else kept.low, explained=True)
    explained = found.points is not None and abs(found.points - kept.last) <= NEAR
    return RunScore(Score(kept.last, found.reasons, found.judged, found.unknown), kept.low, explained)


# --- for a terminal --------------------------------------------------------------------------------------------------


def title(process: Process) -> str:
    """Return the title of the section: the score, and how many budgets it is of."""
    found = score_of_run(process)
    if found is None:
        return "Budgets and alerts"
    score = found.score
    text = "no score" if score.points is None else f"score {int(score.points)} of 100"
    text += f", {plural(score.judged, 'budget')} judged" + (f", {score.unknown} unknown" if score.unknown else "")
    if found.lowest is not None and score.points is not None and int(found.lowest) < int(score.points):
        text += f"; lowest {int(found.lowest)}"
    return f"Budgets and alerts: {text}"


def summary(process: Process) -> str:
    """Return what the head of a report says: the score if something costs points, and the alerts; may be empty."""
    found = score_of_run(process)
    parts = []
    if found is not None and found.score.points is not None and found.score.points < 100:
        parts.append(f"score {int(found.score.points)} of 100")
    alerts = process.record.alerts
    number = len(alerts) + process.record.left_out
    if number:
        left = list(dict.fromkeys(one.budget for one in alerts if one.ended is None))
        parts.append(plural(number, "alert") + (f", not resolved: {', '.join(left)}" if left else ""))
    return "; ".join(parts)


def alert_lines(process: Process, style: Style) -> list[str]:
    """Return the section of the report, without its title; nothing if no budget was judged."""
    record = process.record
    lines: list[str] = []
    found = score_of_run(process)
    if found is not None:
        for reason in found.score.reasons:
            cost = f"−{three(reason.points)}  " if found.explained else ""
            text = style.wrap("  " + style.plain(f"{cost}{reason.budget} {reason.text}"), 4)
            lines += [style.paint(line, "warning") for line in text]
        lines += style.wrap("  " + style.plain(states_text(process)), 4)
    shown = record.alerts[-MOST_SHOWN:]
    if shown:
        headers = ["  alert", "severity", "since", "lasted", "peak", "limit", "end"]
        body = [[style.plain(cell) for cell in alert_cells(process, one)] for one in shown]
        lines += table(headers, body, style, left=(0, 1, 6), drop=(4, 5))
    left_out = record.left_out + len(record.alerts) - len(shown)
    if left_out:
        lines.append(style.paint(f"  {left_out} before them", "dim"))
    return lines


def states_text(process: Process) -> str:
    """Return which budgets are in which state, ``ok: startup, memory; unknown: idle``; those that cost nothing."""
    groups: dict[str, list[str]] = {}
    for standing in standings_of(process):
        if standing.state in (OK, UNKNOWN) and not standing.exceeded:
            groups.setdefault(STATES[standing.state], []).append(standing.budget.name)
    return "; ".join(f"{state}: {', '.join(groups[state])}" for state in ("ok", "unknown") if state in groups)


def alert_cells(process: Process, alert: Episode) -> list[str]:
    """Return budget, severity, since when, how long, the peak, the limit, and what became of it."""
    record = process.record
    kept = record.budgets[alert.budget]
    budget = _definition(kept, process) if kept.limit is not None else None
    form = "" if budget is None else budget.form
    unit = alert.unit or ("" if budget is None else unit_of(budget, kept))
    numbers = ["–" if value is None else amount(value, unit, form) for value in (record.peak(alert), alert.limit)]
    if budget is not None:
        numbers[0] = budget.mark + numbers[0]
        numbers[1] = f"{numbers[1]} {whole_of(budget.instrument, process.resource)}".rstrip()
    lasted = Style().duration(record.lasted(alert))
    return [alert.budget, alert.severity, _clock(process, alert.since), lasted, *numbers, end_of(process, alert)]


def end_of(process: Process, alert: Episode) -> str:
    """Return ``resolved``, ``open`` (the process still runs), ``not resolved``, or ``gone`` (its budget was)."""
    if alert.ended is not None:
        return "resolved"
    if process.record.open(alert.budget) is not alert:
        return "gone"
    ending = ending_of(process)
    return "open" if ending is not None and ending.state == "running" else "not resolved"


def _clock(process: Process, time: int) -> str:
    """Return the local time, with the day where the alerts are of several."""
    alerts = process.record.alerts
    try:
        local = datetime.fromtimestamp(time / 1e9, UTC).astimezone()
    except (OverflowError, OSError, ValueError):  # no date that this platform knows
        return "–"
    return local.strftime("%H:%M:%S" if alerts[-1].since - alerts[0].since < DAY else "%m-%d %H:%M:%S")
