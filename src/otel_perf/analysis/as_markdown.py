"""The report of one process as Markdown for a pull request: the verdict, a table of phases, what to change.

What is long is folded in ``<details>``. Names come from the program that was recorded, so each stands in ``<code>``
with everything escaped that Markdown or HTML would obey, and mentions nobody.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from otel_perf.amounts import three
from otel_perf.budgets import STARTUP

from .advice import explain
from .ending import ending_of, ending_text
from .functions import cost_of, functions_of
from .model import text_of
from .report import verdict_text
from .sampled import course_of, limits_text, machine_texts, rows_of, span_text, sparkline
from .standing import alert_cells, score_of_run, states_text, summary, title
from .startup import build_start, imports_of, length, merged, verdict_of
from .text import Style, bytes_of, clean, count, plural, share
from .validation import findings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .advice import Explanation
    from .model import Process
    from .startup import Start

CELLS = 20  # of a small chart
MOST = 20  # rows of a folded table
LONGEST_NAME = 120  # characters
_SIGNS = {"within": "✅", "exceeded": "❌", "unknown": "❔"}
FAILED = "❌"  # also of a start within its budget, where something else makes `otel-perf check` fail
_STYLE = Style()


def report_markdown(process: Process) -> str:
    """Return the report of *process*, its lines ended by newlines."""
    found = findings(process)
    start = build_start(process)
    lines = [*_head(process, start, any(one.severity == "error" for one in found)), ""]
    if start is not None:
        explanation = explain(process, start)
        lines += [*_phases(start), *_why(explanation)]
    lines += _findings([(one.severity, one.message) for one in found])
    lines += [*_alerts(process), *_metrics(process)]
    if start is not None:
        lines += _imports(start)
    lines += [*_functions(process), *_after(process), *_foot(process)]
    text = "\n".join(lines)
    return re.sub(r"\n{3,}", "\n\n", text).rstrip("\n") + "\n"


def escape(text: str) -> str:
    """Return *text* so that Markdown and HTML show it as it is, in a table too."""
    text = clean(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_~|\[\]#!$])", r"\\\1", text)


def code(name: str) -> str:
    """Return *name* as code."""
    name = name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
    return f"<code>{escape(name)}</code>" if name.strip() else "(no name)"


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> list[str]:
    """Return a table; cells are escaped already."""
    marks = [":--" if column in left else "--:" for column in range(len(headers))]
    return [f"| {' | '.join(row)} |" for row in (headers, marks, *rows)]


def _folded(title: str, body: Sequence[str]) -> list[str]:
    return ["", "<details>", f"<summary>{title}</summary>", "", *body, "", "</details>", ""]


def _head(process: Process, start: Start | None, wrong: bool) -> list[str]:
    """Return the verdict and what else there is to know; *wrong*: a finding is an error."""
    subject = " ".join(filter(None, (process.service, process.version)))
    if start is None:
        return [f"### {escape(subject)}: no start was recorded in this process"]
    verdict = verdict_of(start)
    alerts = process.record.alerts
    told = STARTUP if verdict.state == "exceeded" else None  # of which the sentence speaks
    failed = list(dict.fromkeys(one.budget for one in alerts if one.metric != told))
    sign = FAILED if wrong or failed else _SIGNS[verdict.state]
    text = verdict_text(subject, verdict, _STYLE)
    text += f"; {plural(len(failed), 'budget')} exceeded: {', '.join(failed)}" if failed else ""
    lines = [f"### {sign} {escape(text)}"]
    notes = []
    if process.usable is not None:
        notes.append(f"usable after {_STYLE.duration(process.usable)}")
    ending = ending_of(process)
    if ending is not None:
        notes.append(ending_text(ending, _STYLE))
    notes += filter(None, [summary(process)])
    return [*lines, "", escape("; ".join(notes))] if notes else lines


def _phases(start: Start) -> list[str]:
    whole = start.root.duration
    phases = [node for node in start.root.children if node.kind == "phase" and node.end > node.start]
    rows = [[code(node.name), _STYLE.duration(node.duration), share(node.duration, whole)] for node in phases[:MOST]]
    if len(phases) > MOST:
        rows.append([f"{plural(len(phases) - MOST, 'phase')} more", "", ""])
    outside = whole - length(merged((node.start, node.end) for node in phases)) / 1e9
    if outside > 0.01 * whole:
        rows.append(["outside of phases", _STYLE.duration(outside), share(outside, whole)])
    return [*table(("phase", "time", "of start"), rows), ""]


def _why(explanation: Explanation) -> list[str]:
    lines = [f"_Cold start: {escape('; '.join(explanation.cold))}._", ""] if explanation.cold else []
    if explanation.bottlenecks:
        rows = [
            [
                code(one.title),
                _STYLE.duration(one.group.seconds),
                share(one.group.seconds, explanation.root.duration),
                escape(one.why),
            ]
            for one in explanation.bottlenecks
        ]
        lines += [*table(("bottleneck", "time", "of start", "why"), rows, left=(0, 3)), ""]
    if explanation.recommendations:
        lines += ["**What to change**", ""]
        lines += [f"{number}. {escape(one.text)}" for number, one in enumerate(explanation.recommendations, 1)]
        lines.append("")
    return lines


def _findings(found: Sequence[tuple[str, str]]) -> list[str]:
    if not found:
        return []
    return ["**Findings**", "", *(f"- **{severity}**: {escape(message)}" for severity, message in found), ""]


def _alerts(process: Process) -> list[str]:
    """Return what costs points and the newest alerts; folded if all is resolved and nothing costs any."""
    found, alerts = score_of_run(process), process.record.alerts
    if found is None and not alerts:
        return []
    reasons = [] if found is None else found.score.reasons
    explained = found is not None and found.explained
    costs = [f"−{three(one.points)} " if explained else "" for one in reasons]
    body = [f"- {cost}{code(one.budget)} {escape(one.text)}" for cost, one in zip(costs, reasons, strict=True)]
    body += [f"- {escape(states_text(process))}", ""] if states_text(process) else [""]
    if alerts:
        rows = []
        for alert in alerts[-MOST:]:
            name, *cells = alert_cells(process, alert)
            rows.append([code(name), *map(escape, cells)])
        body += [*table(("alert", "severity", "since", "lasted", "peak", "limit", "end"), rows, left=(0, 1, 6)), ""]
        body += _rest(process.record.left_out + len(alerts) - len(rows))
    if reasons or any(one.ended is None for one in alerts):
        return [f"**{escape(title(process))}**", "", *body, ""]
    return _folded(escape(title(process)), body)


def _metrics(process: Process) -> list[str]:
    rows = []
    for row in rows_of(process):
        series = row.series
        numbers = [escape(row.shown(value)) for value in (series.low, series.average, series.high, series.last)]
        chart = sparkline(course_of(series, process, min(CELLS, series.count)), plain=False)
        rows.append([row.label.strip(), *numbers, f"<code>{chart}</code>", escape(limits_text(row))])
    if not rows:
        return []
    growth = [f"- {row.label} {escape(row.growth())}" for row in rows_of(process) if row.growth()]
    body = [*table(("metric", "min", "avg", "max", "last", "", "limit"), rows, left=(0, 5, 6)), "", *growth]
    return _folded(f"Metrics: {span_text(process)}", body)


def _imports(start: Start) -> list[str]:
    imports = imports_of(start)
    if not imports.rows:
        return []
    rows = [
        [
            code(row.module),
            _STYLE.duration(row.self_time),
            _STYLE.duration(row.total),
            code(row.phase) if row.phase else _STYLE.none,
        ]
        for row in imports.rows[:MOST]
    ]
    body = table(("module", "self", "total", "phase"), rows, left=(0, 3))
    number = plural(imports.count, "import")
    title = f"{number}: {_STYLE.duration(imports.seconds)}, {share(imports.seconds, start.root.duration)} of the start"
    return _folded(title, [*body, *_rest(len(imports.rows) - len(rows))])


def _functions(process: Process) -> list[str]:
    found = functions_of(process)
    if not found:
        return []
    rows = [
        [
            code(row.function),
            count(row.calls) + ("\\*" if row.spans_only else ""),
            *map(_STYLE.duration, (row.total, row.self_time, row.max)),
        ]
        for row in found[:MOST]
    ]
    body = table(("function", "calls", "total", "self", "max"), rows)
    return _folded(f"{plural(len(found), 'function')} profiled", [*body, *_rest(len(found) - len(rows))])


def _after(process: Process) -> list[str]:
    late = process.after.imports
    if not late or process.root is None:
        return []
    rows = [
        [
            code(node.module),
            _STYLE.duration(node.duration),
            "+" + _STYLE.duration((node.start - process.root.end) / 1e9),
        ]
        for node in late[:MOST]
    ]
    body = table(("module", "time", "began"), rows)
    return _folded(f"{plural(len(late), 'import')} after ready", [*body, *_rest(len(late) - len(rows))])


def _rest(number: int) -> list[str]:
    return ["", f"{count(number)} more"] if number > 0 else []


def _foot(process: Process) -> list[str]:
    cost = cost_of(process)
    parts = [
        f"{_STYLE.duration(cost.init)} in init()" if cost.init is not None else "",
        f"{bytes_of(cost.memory)} of memory" if cost.memory is not None else "",
        f"{_STYLE.duration(cost.cpu)} of CPU in its worker" if cost.cpu is not None else "",
        f"{plural(int(cost.dropped), 'record')} dropped" if cost.dropped else "",
        f"{plural(int(cost.removed), 'record')} removed by the run folder's limit" if cost.removed else "",
    ]
    told = ", ".join(filter(None, parts)) or "not recorded"
    python = text_of(process.resource, "process.runtime.version")
    parts = [f"run {process.run}", f"Python {python}" if python else "", *machine_texts(process.resource)]
    about = ", ".join(filter(None, parts))
    return ["", f"<sub>{escape(about)}; what otel-perf cost: {escape(told)}</sub>"]
