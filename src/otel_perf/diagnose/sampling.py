"""What is sampled once a second, and what this system does not give: tried here and now, with the program's settings.

A program may have put something else in the place of psutil's functions: what it could not read itself is recorded in
its run (see runs.py).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from otel_perf import clock
from otel_perf.metrics.sampler import choose

from .found import Part

if TYPE_CHECKING:
    from otel_perf.config import Settings

VARIABLE = "OTEL_PERF_SAMPLER"


def examine(settings: Settings) -> Part:
    """Return what one sample has and what it lacks."""
    part = Part("sampling")
    source = settings.sources.get("metric_sampler", f"default ({VARIABLE})")
    if not settings.metrics:
        part.row("sampler", "off", settings.sources.get("metrics", ""))
        part.note("nothing is sampled: no CPU, no memory, and no budget on them is judged", "OTEL_PERF_METRICS=1")
        part.data = {"sampler": "off", "metrics": [], "absent": {}}
        return part
    said: list[str] = []
    sampler = choose(settings.metric_sampler, clock.now(), lambda cause, text: said.append(text))
    try:
        absent = sampler.probe()
        names = sorted({key[0] for key in sampler.read().values})
    finally:
        sampler.close()
    part.row("sampler", sampler.name, source)
    part.row("metrics", f"{len(names)} can be read here")
    if absent:
        part.row("absent", ", ".join(sorted(absent)))
    for text in said:
        part.note(text, _other(sampler.name))
    part.data = {"sampler": sampler.name, "metrics": names, "absent": absent}
    return part


def _other(sampler: str) -> str:
    """Return how to have something else read what *sampler* could not; empty where there is nothing else."""
    if sys.platform != "linux":
        return ""
    return {"proc": f"{VARIABLE}=psutil", "psutil": f"{VARIABLE}=proc"}.get(sampler, "")
