"""`otel-perf top` where there is no window: a line a second, until the program has ended.

Reading order: lines(), then what a line is made of.
"""

from __future__ import annotations

from time import monotonic, sleep
from typing import TYPE_CHECKING

from otel_perf.amounts import duration
from otel_perf.analysis.text import cut, plural
from otel_perf.metrics.names import CORES, MEMORY, THREADS

from .snapshot import RECENT, Watch
from .top import alert_text, clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from otel_perf.analysis.text import Style
    from otel_perf.view.live import Live

    from .follow import Followed
    from .snapshot import Snapshot

    Progress = Callable[[Live], None]

TOP = 3  # functions of a line
LAST_WORD = 0.5  # seconds that who started a program has for saying how it ended
_FORMS = {CORES[0]: "CPU {} cores", MEMORY[0]: "memory {}", THREADS[0]: "{} threads"}


def lines(followed: Followed, style: Style, interval: float, number: int | None, progress: Progress) -> Iterator[str]:
    """Yield the verdict, then a line each *interval* seconds until the program has ended.

    Args:
        followed: the process.
        style: no line is wider.
        interval: seconds from one line to the next.
        number: of lines after which it ends, None: as many as it takes.
        progress: is called while a long run is read.
    """
    taking = Watch(followed)
    known: dict[tuple[str, str], str] = {}
    verdict = ""
    said = -1.0
    due = monotonic()
    while True:
        snapshot = _take(followed, taking, progress)
        if not snapshot.running and not followed.removed:
            sleep(LAST_WORD if verdict else 0.0)
            snapshot = _take(followed, taking, progress)
        if snapshot.verdict != verdict:
            verdict = snapshot.verdict
            yield from style.wrap(style.plain(verdict))
        for text in _news(snapshot, known):
            yield cut(style.plain(text), style.width, style.more)
        if snapshot.running or snapshot.now != said:
            said = snapshot.now
            yield cut(style.plain(line_of(snapshot)), style.width, style.more)
        if number is not None:
            number -= 1
        if not snapshot.running:
            end = snapshot.notice if followed.removed else snapshot.ended or "ended"
            yield cut(style.plain(f"{clock(snapshot.now)}  {end}"), style.width, style.more)
            return
        if number == 0:
            return
        due = max(due + interval, monotonic())
        sleep(max(0.0, due - monotonic()))


def _take(followed: Followed, taking: Watch, progress: Progress) -> Snapshot:
    followed.look()
    while followed.read(0.1):
        if followed.live is not None:
            progress(followed.live)
    return taking.take()


def line_of(snapshot: Snapshot) -> str:
    """Return how it stands in one line: what was sampled, score, alerts, the functions of the last seconds."""
    parts = [_FORMS[one.name].format(one.last) for one in snapshot.charts if one.name in _FORMS]
    if snapshot.points is not None:
        parts.append(f"score {int(snapshot.points)}")
    number = len(snapshot.alerts)
    parts.append(plural(number, "alert") + " open" if number else "no alert")
    line = f"{clock(snapshot.now)}  {', '.join(parts)}"
    busy = sorted((one for one in snapshot.functions if one.recent_own), key=lambda one: -one.recent_own)[:TOP]
    if busy:
        line += f"; last {RECENT:.0f} s: " + ", ".join(f"{one.name} {duration(one.recent_own)}" for one in busy)
    return line


def _news(snapshot: Snapshot, known: dict[tuple[str, str], str]) -> list[str]:
    """Return a sentence for each alert that is new, or has ended since the last look."""
    found = []
    for alert in reversed(snapshot.history):
        key = alert[0], alert[2]
        if known.get(key) != alert[-1]:
            known[key] = alert[-1]
            found.append(f"{clock(snapshot.now)}  {alert_text(alert)}")
    return found
