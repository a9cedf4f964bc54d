"""Rows of the result: a figure of ours, the peer's figure of the same run, the goal, the verdict."""

from __future__ import annotations

from typing import NamedTuple

SCALES = {
    "s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")),
    "B": ((2**20, "MiB"), (2**10, "KiB"), (1, "B")),
    "%": ((0.01, "%"),),
}


class Goal(NamedTuple):
    """What a row should reach: one of a ratio to the peer, an upper and a lower bound; *stretch* is another ratio."""

    ratio: float | None = None
    at_most: float | None = None
    at_least: float | None = None
    stretch: float | None = None


class Row(NamedTuple):
    """One line of the table. *ours* and *peer* are in the base unit: s, B, % (1.0 is 100 %) or an empty string."""

    group: str
    what: str
    ours: float
    unit: str
    peer: float | None = None
    peer_name: str = ""
    goal: Goal = Goal()
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Ours divided by the peer's; None for counts."""
        return self.ours / self.peer if self.peer and self.unit else None

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None if there is none."""
        goal, ratio = self.goal, self.ratio
        if goal.ratio is not None:
            return ratio is not None and ratio <= goal.ratio
        if goal.at_most is not None:
            return self.ours <= goal.at_most
        return None if goal.at_least is None else self.ours >= goal.at_least

    @property
    def verdict(self) -> str:
        """``met``, ``MISSED`` or nothing, and how the stretch goal went."""
        if self.met is None:
            return ""
        if self.goal.stretch is None or not self.met or self.ratio is None:
            return "met" if self.met else "MISSED"
        return "met, stretch too" if self.ratio <= self.goal.stretch else f"met, not {fraction(self.goal.stretch)}"


def shown(value: float | None, unit: str) -> str:
    """Return *value* with three digits in the unit that suits its size."""
    if value is None:
        return ""
    if unit not in SCALES:
        return f"{value:,.0f}"
    scale, name = next((s for s in SCALES[unit] if abs(value) >= s[0] * 0.9995), SCALES[unit][-1])
    number = value / scale
    digits = 0 if abs(number) >= 100 or name == "B" else 1 if abs(number) >= 10 else 2
    return f"{number:.{digits}f} {name}"


def fraction(ratio: float | None) -> str:
    """Return a ratio as ``1/38``, or as ``× 1.2`` when it is not clearly below one."""
    if ratio is None or ratio <= 0:
        return ""
    return f"× {ratio:.2f}" if ratio > 1 / 1.5 else f"1/{1 / ratio:.3g}"


def cells(row: Row) -> list[str]:
    """Return the texts of one line: what, ours, peer, ratio, goal, verdict."""
    goal = row.goal
    wanted = ""
    if goal.ratio is not None:
        wanted = f"≤ {fraction(goal.ratio)}"
    elif goal.at_most is not None:
        wanted = f"≤ {shown(goal.at_most, row.unit)}" if goal.at_most else "none"
    elif goal.at_least is not None:
        wanted = f"≥ {shown(goal.at_least, row.unit)}" if row.unit else shown(goal.at_least, "")
    peer = f"{shown(row.peer, row.unit)} {row.peer_name}".strip()
    return [row.what, shown(row.ours, row.unit), peer, fraction(row.ratio), wanted, row.verdict]


HEADS = ["what", "ours", "peer", "ratio", "goal", "verdict"]


def as_text(rows: list[Row]) -> str:
    """Return the table for a terminal."""
    lines = [HEADS, *map(cells, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    texts, group = [], ""
    for row, line in zip([None, *rows], lines, strict=True):
        if row is not None and row.group != group:
            group = row.group
            texts += ["", group]
        texts.append("  " + "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
    return "\n".join(texts)


def as_markdown(rows: list[Row]) -> str:
    """Return a Markdown table a group, each note below its table."""
    texts, group, notes = [], "", []
    for row in rows:
        if row.group != group:
            group = row.group
            texts += [*notes, f"\n## {group}", "| " + " | ".join(HEADS) + " |", "|---" * len(HEADS) + "|"]
            notes = []
        texts.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells(row)) + " |")
        if row.note:
            notes += [f"\n{row.what}: {row.note}"]
    return "\n".join([*texts, *notes])
