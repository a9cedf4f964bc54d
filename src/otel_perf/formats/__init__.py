"""One run in the formats of other people's viewers: folded stacks, speedscope, pprof, Chrome's trace events.

All four tell the story that ``story.py`` reads and ``tracks.py`` lays out: the same names, call paths and self times.
Reading order: story.py, tracks.py, stacks.py, then one file a format.
"""

from __future__ import annotations

FORMATS = {
    "folded": "one line a call path with its self time in µs, for flamegraph.pl, inferno and speedscope",
    "speedscope": "JSON for https://www.speedscope.app: what ran when, a profile for each track",
    "pprof": "gzip'd protobuf for `go tool pprof` and what else reads it",
    "chrome": "JSON of trace events for https://ui.perfetto.dev and chrome://tracing, with counters and alerts",
}
BINARY = ("pprof",)  # of no use on a terminal


def silent(what: str, done: int, whole: int) -> None:
    """Be told that of *what* so much is done of a *whole*, and say nothing."""
