"""A diagnosis on a terminal: the verdict, what is wrong, what is worth knowing, then all that is."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from otel_perf.analysis.text import cells, pad

if TYPE_CHECKING:
    from otel_perf.analysis.text import Style

    from .everything import Diagnosis
    from .found import Finding, Part, Secrets

NAME, VALUE = 44, 36  # columns that names and values get at the most


def text(diagnosis: Diagnosis, style: Style) -> str:
    """Return *diagnosis* as lines."""
    errors, notes, secrets = diagnosis.errors, diagnosis.notes, diagnosis.secrets
    if errors:
        verdict = style.paint(f"{len(errors)} {'thing is' if len(errors) == 1 else 'things are'} wrong", "critical")
    else:
        verdict = style.paint("all is well", "good")
    if notes:
        verdict += f", {len(notes)} {'note' if len(notes) == 1 else 'notes'}"
    lines = [f"otel-perf doctor: {verdict}"]
    for title, role, findings in (("wrong", "critical", errors), ("notes", "warning", notes)):
        if findings:
            lines += ["", style.paint(title, role)]
            for finding in findings:
                lines += _finding(finding, style, secrets)
    for part in diagnosis.parts:
        if part.rows:
            lines += ["", style.paint(part.title, "head"), *_rows(part, style, secrets)]
    return "\n".join(lines) + "\n"


def _finding(finding: Finding, style: Style, secrets: Secrets) -> list[str]:
    arrow = "->" if style.ascii else "→"
    lines = _wrap(secrets.hide(f"{finding.about}: {finding.text}"), style, "  ", "    ")
    if finding.fix:
        lines += _wrap(secrets.hide(finding.fix), style, f"    {arrow} ", "       ")
    return lines


def _wrap(text: str, style: Style, first: str, others: str) -> list[str]:
    """Return *text* in lines; a word that is too long stays whole, since it is there to be copied."""
    return textwrap.wrap(
        style.clean(text),
        max(style.width, 40),
        initial_indent=first,
        subsequent_indent=others,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _rows(part: Part, style: Style, secrets: Secrets) -> list[str]:
    rows = [[secrets.hide(style.clean(text)) for text in (row.name, row.value, row.source)] for row in part.rows]
    width = min(max(cells(row[0]) for row in rows), NAME)
    middle = min(max(cells(row[1]) for row in rows), VALUE)
    lines = []
    for name, value, source in rows:
        line = f"  {pad(name, width)}  {pad(value, middle) if source else value}"
        if source and cells(line) + 2 + cells(source) > style.width:
            lines += [line.rstrip(), style.paint(f"  {' ' * width}  {source}", "dim")]
        else:
            lines.append(line + (f"  {style.paint(source, 'dim')}" if source else ""))
    return lines
