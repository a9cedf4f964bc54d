"""The window of `otel-perf top`: what a snapshot and the keys that were pressed make of it, as lines.

Reading order: frame(), then one function a section, in the order in which they are shown.
"""

from __future__ import annotations

from bisect import bisect_left
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from otel_perf.analysis.sampled import sparkline
from otel_perf.analysis.text import cells, cut, pad, plural
from otel_perf.view.answers import NO_METRICS

from .charts import WIDE, Chart, chart_lines, columns, layout
from .functions import NAME, WIDEST, function_lines, name_width
from .state import STEPS
from .words import KEYS, help_lines, keys_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otel_perf.analysis.text import Style

    from .snapshot import Sampled, Slow, Snapshot
    from .state import State

HEIGHTS = ((6, 6, 2), (4, 4, 1), (3, 3, 1), (2, 2, 1), (1, 1, 1))  # lines of the charts, the first that leave room
REST = 11  # lines that what is below the charts needs
ROOMY = 18  # lines below the charts from which on there are blank ones between its parts
TIME = 11  # cells of how long a call took
NAMED = 60  # cells from which on its trace is named
GAP = "  "
ROLES = {"within": "good", "exceeded": "critical", "unknown": "warning", "": "warning"}


def frame(snapshot: Snapshot, state: State, style: Style, height: int) -> list[str]:
    """Return the lines of a window of *height* lines, none wider than the style."""
    if state.help:
        return help_lines(style, height)
    lines = _head(snapshot, style)
    room = height - len(lines) - 2
    heights = next((one for one in HEIGHTS if room - sum(one) >= REST), HEIGHTS[-1])
    lines += _charts(snapshot, state, style, heights)
    room = height - len(lines) - 1
    if state.advanced:
        lines += _scrolled(_advanced(snapshot, style), state.scroll, room, style)
    else:
        lines += _below(snapshot, state, style, room)
    lines = lines[: height - 1]
    lines += [""] * (height - 1 - len(lines))
    return [*lines, _foot(snapshot, state, style)]


def _head(snapshot: Snapshot, style: Style) -> list[str]:
    verdict = _some(style.plain(snapshot.verdict), 2, style)
    lines = [style.paint(line, ROLES[snapshot.state]) for line in verdict]
    if snapshot.score:
        score = _some(style.plain(snapshot.score), 2, style)
        lines += [style.paint(line, "warning" if snapshot.costs else "") for line in score]
    if snapshot.context:
        role = "dim" if snapshot.running else "head"
        lines.append(style.paint(_one(style.plain(snapshot.context), style), role))
    if snapshot.notice:
        lines.append(style.paint(_one(style.plain(snapshot.notice), style), "warning"))
    return lines


def _charts(snapshot: Snapshot, state: State, style: Style, heights: Sequence[int]) -> list[str]:
    if not snapshot.charts:
        why = "nothing was sampled yet" if snapshot.running else NO_METRICS
        return [style.paint(line, "dim") for line in _some(why, 2, style)] if snapshot.context else []
    step = STEPS[state.step]
    lines = []
    for sampled, height in zip(snapshot.charts, heights, strict=False):
        lines += chart_lines(_chart(sampled, state, snapshot.now, step, style.width), snapshot.now, step, height, style)
    return [*lines, style.paint(_axis(snapshot, step, style), "dim")]


def _chart(sampled: Sampled, state: State, now: float, step: float, most: int) -> Chart:
    begin = max(state.since, now - step * 1e3 * (most + 1))
    points = sampled.points[bisect_left(sampled.points, begin, key=lambda point: point[0]) :]
    top = max((value for _, value in points), default=0.0)
    words = [sampled.last, sampled.room, f"max {sampled.show(top)}" if points else "", sampled.heads]
    scale = max([top, *(limit for limit, _ in sampled.limits)])
    return Chart(
        sampled.label,
        [word for word in words if word],
        points,
        sampled.limits,
        sampled.warns,
        sampled.over,
        sampled.show(scale) if scale else "",
    )


def _axis(snapshot: Snapshot, step: float, style: Style) -> str:
    indent, room, _ = layout(style.width)
    left, right = f"{style.duration(step * room)} ago", "now" if snapshot.running else "end"
    middle = f"{style.duration(step)} a column" if step > 1 else ""
    blank = room - len(left) - len(right) - len(middle)
    if blank < 4:
        middle, blank = "", room - len(left) - len(right)
    axis = left + " " * (blank // 2) + middle + " " * (blank - blank // 2) + right
    return " " * (indent + 1) + axis


# --- below the charts -------------------------------------------------------------------------------------------------


def _below(snapshot: Snapshot, state: State, style: Style, room: int) -> list[str]:
    between = [""] if room >= ROOMY else []
    alerts = _alerts(snapshot, style, max(1, room // 4))
    left = room - len(alerts) - 2 * len(between)
    found = [one for one in snapshot.functions if state.search.matches(one.name)]
    calls = [one for one in snapshot.calls if state.search.matches(one.name)]
    least = max(2, room // 5)  # of calls, however many functions there are
    shown = min(len(calls), max(least, left - len(found) - 3 - len(between)))
    functions = function_lines(snapshot, found, state, style, left - (shown + 1 + len(between) if shown else 0))
    lines = [*between, *alerts, *between, *functions]
    return [*lines, *between, *_calls(calls[:shown], state, style)] if shown else lines


def _alerts(snapshot: Snapshot, style: Style, most: int) -> list[str]:
    rest = f"; {snapshot.resolved} resolved" if snapshot.resolved else ""
    what = "Open alerts" if snapshot.running else "Alerts not resolved"
    if not snapshot.alerts:
        return [style.paint(_one(f"{what}: none{rest}", style), "head")]
    lines = [style.paint(_one(f"{what}: {len(snapshot.alerts)}{rest}", style), "head")]
    for alert in snapshot.alerts[:most]:
        role = "critical" if alert[1] == "critical" else "warning"
        lines.append(style.paint(_one("  " + style.plain(alert_text([*alert[:-1], ""])), style), role))
    if len(snapshot.alerts) > most:
        lines[-1] = style.paint(f"  {len(snapshot.alerts) - most + 1} more", "dim")
    return lines


def alert_text(alert: Sequence[str]) -> str:
    """Return an alert, as standing.alert_cells() has it, in one line."""
    budget, severity, since, lasted, peak, limit, end = alert
    text = f"{severity}: {budget} since {since} ({lasted}), peak {peak}, limit {limit}"
    return f"{text}, {end}" if end else text


def _calls(calls: Sequence[Slow], state: State, style: Style) -> list[str]:
    if not calls:
        return []
    digits = 32 if style.width >= WIDE else 8 if style.width >= NAMED else 0  # of a trace's 32
    head = f"{'time':>{TIME}}{GAP}{'began':>8}" + (f"{GAP}{'trace':<{digits}}" if digits else "")
    free = max(1, style.width - len(head) - len(GAP))
    room = name_width([one.name for one in calls], "functions", free, state, style)
    lines = [style.paint(pad(cut("Slowest calls", room, style.more), room), "head") + GAP + style.paint(head, "dim")]
    for one in calls:
        name = style.clean(one.name) + (" [error]" if one.failed else "")
        took = pad(cut(style.duration(one.seconds), TIME, style.more), TIME, right=True)
        trace = pad(cut(style.clean(one.trace_id), digits, ""), digits)
        text = f"{took}{GAP}{clock(one.began * 1e3):>8}" + (f"{GAP}{trace}" if digits else "")
        lines.append(pad(cut("  " + name, room, style.more, middle=True), room) + GAP + text)
    return lines


def _advanced(snapshot: Snapshot, style: Style) -> list[str]:
    lines = [style.paint("Other metrics", "head")]
    names = [cells(style.clean(one.label)) + 2 for one in snapshot.others]
    width = min(max([NAME, *names]), WIDEST, style.width // 2)
    last = min(max([8, *(cells(style.plain(one.last)) for one in snapshot.others)]), style.width - width - len(GAP))
    room = max(0, style.width - width - last - 2 * len(GAP))
    for one in snapshot.others:
        first = one.points[0][0] if one.points else snapshot.now
        step = max(1.0, (snapshot.now - first) / 1e3 / max(1, room))
        drawn = sparkline(columns(one.points, snapshot.now, step, room), style.ascii) if room and one.points else ""
        label = pad(cut("  " + style.clean(one.label), width, style.more, middle=True), width)
        value = pad(cut(style.plain(one.last), last, style.more), last, right=True)
        lines.append(GAP.join([label, value, *([drawn] if drawn else [])]))
    if not snapshot.others:
        lines.append(style.paint("  none yet", "dim"))
    lines += ["", style.paint(f"History of alerts: {len(snapshot.history) or 'none'}", "head")]
    lines += [_one("  " + style.plain(alert_text(one)), style) for one in snapshot.history]
    lines += [""]
    for fact in snapshot.facts:
        lines += style.wrap(style.plain(fact))
    return [*lines, f"{plural(snapshot.spans, 'span')} read"]


def _scrolled(lines: list[str], scroll: int, room: int, style: Style) -> list[str]:
    """Return those of *lines* that there is room for; the last says how many are left."""
    top = min(scroll, max(0, len(lines) - room))
    shown = lines[top : top + max(0, room)]
    left = len(lines) - top - len(shown)
    if left and shown:
        shown[-1] = style.paint(f"  {plural(left + 1, 'line')} more: down shows them", "dim")
    return shown


# --- the rest ---------------------------------------------------------------------------------------------------------


def _foot(snapshot: Snapshot, state: State, style: Style) -> str:
    if state.search.writing:
        return state.search.line(style)
    paused = style.paint(f"paused at {clock(snapshot.now)}: p goes on", "warning") + GAP if state.paused else ""
    room = style.width - (len(f"paused at {clock(snapshot.now)}: p goes on") + 2 if paused else 0)
    return paused + style.paint(keys_line([key for key in KEYS if not (paused and key[0] == "p")], room), "dim")


def clock(moment: float) -> str:
    """Return the local time of a moment in milliseconds since 1970."""
    try:
        return datetime.fromtimestamp(moment / 1e3, UTC).astimezone().strftime("%H:%M:%S")
    except (OverflowError, OSError, ValueError):  # no date that this platform knows
        return ""


def _one(text: str, style: Style) -> str:
    return cut(text, style.width, style.more)


def _some(text: str, most: int, style: Style) -> list[str]:
    """Return *text* in at most so many lines."""
    lines = style.wrap(text)
    if len(lines) > most:
        lines[most - 1] = cut(lines[most - 1] + " " + style.more, style.width, style.more)
    return lines[:most]
