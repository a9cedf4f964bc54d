"""What keys do and what words mean, for the last line of a window and for its help."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_perf.analysis.text import wrap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otel_perf.analysis.text import Style

GAP = "  "
KEYS = (
    ("q", "quit"), ("p", "pause"), ("s", "sort"), ("/", "search"), ("r", "reset"), ("a", "advanced"),
    ("tab", "process"), ("?", "help"),
)  # fmt: skip
HELP = (
    ("q, Ctrl-C", "quit"),
    ("p", "pause, go on"),
    ("s", "sort the functions by the next column"),
    ("/", "search functions and calls; Enter keeps what is searched for, Esc clears it"),
    ("r", "reset the charts: they begin now"),
    ("+  -", "see less, more of the time"),
    ("a", "show the other metrics, the history of alerts and what otel-perf costs, or hide them"),
    ("tab", "the next process of the run"),
    ("up, down", "scroll; also page up, page down, home, end"),
    ("?", "this help"),
)
WORDS = (
    ("self", "time in the function alone"),
    ("total", "time with everything that was called"),
    ("p95", "95 of 100 calls are faster; ~ from the buckets of a histogram"),
    ("headroom", "what is left until the limit of a budget"),
    ("max", "the highest that the chart shows"),
    ("limit", "the line in a chart; of CPU it holds while the program is idle"),
)


def keys_line(keys: Sequence[tuple[str, str]], room: int) -> str:
    """Return as many keys with their words as there is room for; the last ones are always there."""
    texts = [f"{key} {word}" for key, word in keys]
    while len(texts) > 1 and len(GAP.join(texts)) > room:
        del texts[-2]
    return GAP.join(texts)[: max(0, room)]


def help_lines(
    style: Style, height: int, keys: Sequence[tuple[str, str]] = HELP, words: Sequence[tuple[str, str]] = WORDS
) -> list[str]:
    """Return what the keys do and what the words mean, in a window of *height* lines."""
    lines = [style.paint("Keys and words", "head"), ""]
    for rows in (keys, words):
        for name, says in rows:
            first, *rest = wrap(says, style.width - 13, 0, style.more)
            lines += [f"  {name:<10} {first}", *(" " * 13 + line for line in rest)]
        lines.append("")
    lines = lines[: height - 1] + [""] * (height - 1 - len(lines))
    return [*lines, style.paint("any key goes back", "dim")]
