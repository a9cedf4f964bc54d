"""The report of one process as plain text: the verdict first, then where the time went.

Reading order: report_text(), then one function a section, in the order in which they are shown.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from otel_perf.export.runs import is_process, processes_in

from . import sampled, standing
from .advice import explain
from .ending import ending_of, ending_text
from .functions import DURATION, bucket_factor, cost_of, functions_of, hot_paths, lost_of
from .loading import load_process
from .model import Process, text_of
from .sources import shown
from .startup import build_start, imports_of, length, merged, verdict_of
from .summary import first_started, summarize
from .table import table
from .text import NARROWEST, PLAIN_WIDTH, Style, bytes_of, count, cut, plural, share, style_for, wrap_list
from .tree import tree_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TextIO

    from .advice import Explanation
    from .functions import FunctionRow
    from .startup import Imports, Start, Verdict
    from .validation import Finding

TOP_IMPORTS = 10
TOP_FUNCTIONS = 10
TOP_PATHS = 5
LONGEST_PHASE = 24  # cells of a phase's name beside an import
RULES = {  # what ended the start, where nobody called ready()
    "listen": "inferred from the first listening socket",
    "port": "its port answers",
    "idle": "inferred from the first half second without work",
    "main": "inferred from the end of its main module, while threads go on",
    "delay": "after the time that was asked for",
    "exit": "its exit, as was asked for",
}
_TIMES = ("", "once", "twice")
_COLOR = {"within": "good", "exceeded": "critical", "unknown": "warning"}


def report_text(
    source: str | os.PathLike[str] | Process,
    *,
    width: int = PLAIN_WIDTH,
    color: bool = False,
    ascii: bool = False,  # that is what it is called everywhere
    everything: bool = False,
) -> str:
    """Return the report of one process, its lines ended by newlines.

    Args:
        source: the folder of a run or of one process, or what load_process() gave. Of a run, the process is
            taken that started first.
        width: no line is wider.
        color: with ANSI colours.
        ascii: without block characters.
        everything: with every import and function, and nothing folded in the tree.

    Raises: UserError: a file is there and cannot be read.
    """
    process = source if isinstance(source, Process) else load_default(os.fspath(source))
    style = Style(max(width, NARROWEST), color, ascii)
    found = findings_of(process)
    start = build_start(process)
    explanation = None if start is None else explain(process, start)
    lines = _head(process, start, explanation, style)
    lines += _findings(found, style)
    if start is not None and explanation is not None:
        lines += _bottlenecks(explanation, style)
        lines += ["", *tree_lines(start, style, everything, explanation.steps), *_imports(start, style, everything)]
    lines += _alerts(process, style)
    lines += _metrics(process, style)
    lines += _functions(process, style, everything)
    lines += _hot_paths(process, style)
    lines += _after(process, start, style)
    lines += _late_imports(process, start, style, everything)
    lines += _cost(process, style)
    return "".join(line.rstrip() + "\n" for line in lines)


def report_for(source: str | os.PathLike[str] | Process, stream: TextIO, width: int | None = None) -> str:
    """Return the report of *source* as it looks best on *stream*: its window, its colours, its characters."""
    style = style_for(stream, width)
    return report_text(source, width=style.width, color=style.color, ascii=style.ascii)


def load_default(path: str) -> Process:
    """Return the process whose folder *path* is, or of the run folder *path* the one that started first."""
    names = [] if is_process(path) else processes_in(path)
    if not names:
        return load_process(path)
    chosen = default_process(path, names)
    return load_process(os.path.join(path, chosen), [name for name in names if name != chosen])


def default_process(run: str, names: list[str]) -> str:
    """Return which of the processes *names* in the run folder *run* is shown unless one is asked for."""
    if len(names) == 1:
        return names[0]
    return first_started(summarize(os.path.join(run, name)) for name in names).name


# --- head ---------------------------------------------------------------------------------------------------


def findings_of(process: Process) -> list[Finding]:
    """Return what is wrong with the start of *process*; what the verdict says already is left out by the caller."""
    from .validation import findings

    return findings(process)


def _head(process: Process, start: Start | None, explanation: Explanation | None, style: Style) -> list[str]:
    text = headline(process, start, style)
    role = "warning" if start is None else _COLOR[verdict_of(start).state]
    lines = [style.paint(line, role) for line in style.wrap(text)]
    lines += [style.paint(line, "dim") for line in style.wrap(", ".join(_context(process, style)))]
    notes = []
    if process.usable is not None:
        notes.append(f"usable after {style.duration(process.usable)}")
    if explanation is not None and explanation.cold:
        notes.append(f"cold start: {'; '.join(map(style.clean, explanation.cold))}")
    ending = ending_of(process)
    if ending is not None:
        notes.append(ending_text(ending, style))
    notes.append(style.plain(standing.summary(process)))
    lines += [line for note in notes if note for line in style.wrap(note)]
    if process.others:
        number = len(process.others)
        names = ", ".join(map(style.clean, process.others[:12])) + (f", {style.more}" if number > 12 else "")
        others = "another process" if number == 1 else f"{number} other processes"
        lines += style.wrap(f"{others} in this run: {names} (--process shows one)")
    return lines


def headline(process: Process, start: Start | None, style: Style) -> str:
    """Return the first line of the report: whether the start was within its budget."""
    subject = " ".join(style.clean(part) for part in (process.service, process.version) if part)
    if start is not None:
        return verdict_text(subject, verdict_of(start), style)
    if not process.after.spans and not process.points:
        return f"{subject}: nothing was recorded, or nothing has been written yet"
    return f"{subject}: no start was recorded in this process"


def verdict_text(subject: str, verdict: Verdict, style: Style) -> str:
    """Return the verdict on the start of *subject* in one sentence."""
    took, limit = style.duration(verdict.seconds), style.duration(verdict.limit)
    if not verdict.cause:
        rule = "" if verdict.ready == "ready()" else f" (ready: {RULES.get(verdict.ready, style.clean(verdict.ready))}"
        rule += "" if not rule else "; final in a moment, ready() may still come)" if verdict.waits else ")"
        difference = style.duration(abs(verdict.limit - verdict.seconds))
        within = f"within the budget of {limit} ({difference} left)"
        exceeded = f"the budget of {limit} exceeded by {difference}"
        return f"{subject} started in {took}{rule}: {within if verdict.state == 'within' else exceeded}"
    where = style.clean(" > ".join(verdict.where))
    last = f"; last recorded, after {style.duration(verdict.recorded)}: {where}" if where else ""
    alive = "still going on" if verdict.running else "killed, or still going on"
    so_far = f" after {took}" if verdict.seconds > verdict.recorded else ""
    why = {
        "exit": f"no ready() (the start was closed by the process's exit after {took})",
        "shutdown": f"no ready() (the start was closed by shutdown() after {took})",
        "interrupted": f"a signal ended the start after {took}" + (f", in {where}" if where else ""),
        "no end": f"the start has no end{so_far} ({alive})" + last,
        "unsaid": f"the record does not say what ended the start after {took}",
    }[verdict.cause]
    return f"{subject}: budget of {limit} {verdict.state}: {why}"


def _context(process: Process, style: Style) -> list[str]:
    """Return what identifies the run: folder names, interpreter, platform, local time of the start."""
    resource = process.resource
    parts = [f"run {style.clean(process.run)}", f"process {style.clean(process.name)}"]
    origin, form = (text_of(resource, f"otel_perf.imported.{key}") for key in ("from", "format"))
    if origin:
        parts.append(style.clean(f"imported from {origin} ({form})"))
    python = text_of(resource, "process.runtime.version")
    if python:
        parts.append(f"Python {style.clean(python)}")
    platform = " ".join(filter(None, (text_of(resource, "os.type"), text_of(resource, "host.arch"))))
    if platform:
        parts.append(style.clean(platform))
    parts += sampled.machine_texts(resource)
    first = process.root or (process.nodes[0] if process.nodes else None)
    if first is not None:
        try:
            local = datetime.fromtimestamp(first.start / 1e9, UTC).astimezone()
            parts.append(local.strftime("%Y-%m-%d %H:%M:%S %z"))
        except (OverflowError, OSError, ValueError):  # no date that this platform knows
            pass
    return parts


# --- why ----------------------------------------------------------------------------------------------------


def _findings(found: list[Finding], style: Style) -> list[str]:
    """Return what is wrong with the start, but for the budget, of which the first line speaks."""
    shown = [finding for finding in found if finding.kind != "budget"]
    if not shown:
        return []
    lines = _section("Findings", style)
    for finding in shown:
        role = "critical" if finding.severity == "error" else "warning"
        text = style.wrap(f"  {finding.severity}: {style.clean(finding.message)}", 4)
        lines += [style.paint(line, role) for line in text]
    return lines


def _bottlenecks(explanation: Explanation, style: Style) -> list[str]:
    whole = explanation.root.duration
    lines: list[str] = []
    if explanation.bottlenecks:
        lines += _section("Bottlenecks: what the end of the start waited for", style)
    for number, one in enumerate(explanation.bottlenecks, 1):
        title = cut(style.clean(one.title), style.width // 2, style.more, middle=True)
        took = f"{style.duration(one.group.seconds)}, {share(one.group.seconds, whole)}"
        why = f": {style.clean(one.why)}" if one.why else ""
        lines += style.wrap(f"  {number}. {title}, {took}{why}", 5)
    if explanation.recommendations:
        lines += _section("What to change", style)
    for number, advice in enumerate(explanation.recommendations, 1):
        lines += style.wrap(f"  {number}. {style.clean(advice.text)}", 5)
    return lines


# --- imports ------------------------------------------------------------------------------------------------


def _section(title: str, style: Style) -> list[str]:
    return ["", *(style.paint(line, "head") for line in style.wrap(title))]


def _imports(start: Start, style: Style, everything: bool) -> list[str]:
    imports = imports_of(start)
    if not imports.count and not start.modules_before:
        return []
    took = style.duration(imports.seconds)
    part = share(imports.seconds, start.root.duration)
    number = plural(imports.count, "import")
    if start.imports_seen > imports.count:  # the others took less than the threshold
        number = f"{count(imports.count)} of {plural(start.imports_seen, 'import')}"
    lines = _section(f"Imports: {took} in {number}, {part} of the start", style)
    if not imports.count:
        lines = _section("Imports: none recorded", style)
    lines += _import_notes(imports, start, style)
    rows = imports.rows if everything else imports.rows[:TOP_IMPORTS]
    body = []
    for row in rows:
        phase = cut(style.clean(row.phase), LONGEST_PHASE, style.more) or style.none
        body.append([style.clean(row.module), style.duration(row.self_time), style.duration(row.total), phase])
    if body:
        lines += table(["  module", "self", "total", "phase"], body, style, left=(0, 3))
        lines += _rest(len(imports.rows) - len(rows), style)
    return lines


def _import_notes(imports: Imports, start: Start, style: Style) -> list[str]:
    lines = []
    shares = [
        f"{style.clean(name)} {style.duration(seconds)} ({100 * part:.0f} % of it)"
        for name, seconds, part in imports.by_phase
    ]
    if shares:
        lines += wrap_list("  by phase: ", shares, style.width, style.more)
    for failed in imports.failed[:TOP_IMPORTS]:
        times = _TIMES[failed.times] if failed.times < len(_TIMES) else f"{count(failed.times)} times"
        text = f"  {style.clean(failed.module)} failed {times}: {style.duration(failed.seconds)} for nothing"
        line = cut(f"{text} ({style.clean(failed.error)})", style.width, style.more)
        lines.append(style.paint(line, "critical"))
    lines += _rest(len(imports.failed) - TOP_IMPORTS, style, "failed modules ")
    if start.modules_before:
        modules = plural(start.modules_before, "module")
        text = f"  {modules} loaded before init(): no times are known (otel-perf run records them all)"
        lines += style.wrap(text, 4)
    return lines


def _rest(number: int, style: Style, what: str = "") -> list[str]:
    if number <= 0:
        return []
    return [style.paint(cut(f"  {number} {what}more (--all shows them)", style.width, style.more), "dim")]


# --- once a second ------------------------------------------------------------------------------------------


def _alerts(process: Process, style: Style) -> list[str]:
    lines = standing.alert_lines(process, style)
    return [*_section(style.plain(standing.title(process)), style), *lines] if lines else []


def _metrics(process: Process, style: Style) -> list[str]:
    lines = sampled.metric_lines(process, style)
    return [*_section(style.plain(f"Metrics: {sampled.span_text(process)}"), style), *lines] if lines else []


# --- functions ----------------------------------------------------------------------------------------------


def _functions(process: Process, style: Style, everything: bool) -> list[str]:
    found = functions_of(process)
    if not found:
        return []
    lines = _section(f"Functions: {count(len(found))} profiled, by self time", style)
    rows = found if everything else found[:TOP_FUNCTIONS]
    headers = ["  function", "calls", "total", "self", "min", "avg", "max", "p50", "p95", "p99"]
    body = [_function_cells(row, style) for row in rows]
    lines += table(headers, body, style, drop=(5, 4, 8, 7))
    lines += _rest(len(found) - len(rows), style)
    notes = []
    if not all(row.exact for row in rows):
        factor = bucket_factor(process.points.get(DURATION, []))
        buckets = f"~ percentiles from buckets a factor {factor:.3g} apart"
        notes.append(f"{buckets}; exact for calls that became spans")
    if any(row.spans_only for row in rows):
        notes.append("* from spans only: calls too fast for a span are not counted")
    for note in notes:
        lines += [style.paint(line, "dim") for line in style.wrap(f"  {note}", 4)]
    return lines


def _function_cells(row: FunctionRow, style: Style) -> list[str]:
    name = style.clean(row.function) + (" (operation)" if row.kind == "operation" else "")
    name += " [parallel]" if row.parallel else ""
    calls = count(row.calls) + ("*" if row.spans_only else "")
    times = map(style.duration, (row.total, row.self_time, row.min, row.avg, row.max))
    mark = "" if row.exact else "~"
    quantiles = ["" if value is None else mark + style.duration(value) for value in row.percentiles]
    return [name, calls, *times, *quantiles]


def _hot_paths(process: Process, style: Style) -> list[str]:
    paths = hot_paths(process)[:TOP_PATHS]
    if not paths:
        return []
    body = []
    for hot in paths:
        calls = style.none if hot.calls is None else count(hot.calls)
        path = style.clean(" > ".join(hot.path)) + (" [parallel]" if hot.parallel else "")
        body.append([path, style.duration(hot.self_time), style.duration(hot.total), calls])
    lines = _section("Hot paths, by self time", style)
    return [*lines, *table(["  path", "self", "total", "calls"], body, style)]


# --- the rest -----------------------------------------------------------------------------------------------


def _after(process: Process, start: Start | None, style: Style) -> list[str]:
    after = process.after
    if not after.slowest:
        return []
    where = "" if start is None else " after the start"
    lines = _section(f"Slowest{where}, of {plural(after.spans, 'span')}", style)
    since = process.root.end if process.root is not None else min(node.start for node in after.slowest)
    body = []
    for node in after.slowest:
        marks = ", ".join([*node.marks, *([] if node.error is None else ["error"])])
        name = style.clean(node.name) + (f" [{marks}]" if marks else "")
        body.append([name, style.duration(node.duration), "+" + style.duration((node.start - since) / 1e9)])
    return [*lines, *table(["  name", "time", "began"], body, style)]


def _late_imports(process: Process, start: Start | None, style: Style, everything: bool) -> list[str]:
    """Return the imports after the start: what was lazy costs its first user instead."""
    late = process.after.imports
    if not late or start is None or not start.recorded:
        return []
    took = length(merged((node.start, node.end) for node in late)) / 1e9
    lines = _section(f"Imports after ready: {style.duration(took)} in {plural(len(late), 'import')}", style)
    rows = late if everything else late[:TOP_IMPORTS]
    body = []
    for node in rows:
        where = style.clean(shown(node.file, node.line))
        began = "+" + style.duration((node.start - start.root.end) / 1e9)
        body.append([style.clean(node.module), style.duration(node.duration), began, where or style.none])
    lines += table(["  module", "time", "began", "imported at"], body, style, left=(0, 3))
    return lines + _rest(len(late) - len(rows), style)


def _cost(process: Process, style: Style) -> list[str]:
    role = "warning" if cost_of(process).dropped else "dim"
    lines = ["", *(style.paint(line, role) for line in style.wrap(cost_text(process, style)))]
    for text in _lost(process, style):
        lines += [style.paint(line, "warning") for line in style.wrap(f"  {text}", 4)]
    return lines


def _lost(process: Process, style: Style) -> Iterator[str]:
    """Yield what was measured and is not there by itself, by instrument."""
    for name, beyond, refused in lost_of(process):
        if beyond:
            yield f"{style.clean(name)}: {plural(beyond, 'measurement')} beyond its limit of series, kept as one more"
        if refused:
            yield f"{style.clean(name)}: {plural(refused, 'measurement')} left out, no finite number"


def cost_text(process: Process, style: Style) -> str:
    """Return what otel-perf cost *process*, in a sentence."""
    cost = cost_of(process)
    shown: list[tuple[float | None, Callable[[float], str]]] = [
        (cost.init, lambda value: f"{style.duration(value)} in init()"),
        (cost.memory, lambda value: f"{bytes_of(value)} of memory"),
        (cost.cpu, lambda value: f"{style.duration(value)} of CPU in its worker"),
        (cost.dropped, lambda value: f"{plural(int(value), 'record')} dropped"),
        (cost.removed, lambda value: f"{plural(int(value), 'record')} removed by the run folder's limit"),
    ]
    parts = [text(value) for value, text in shown if value is not None]
    return f"What otel-perf cost: {', '.join(parts) if parts else 'not recorded'}"
