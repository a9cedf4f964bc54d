"""Folded stacks: a line a call path, root first, its frames divided by ``;``, then its self time in µs.

A frame is the span's name, so written that every reader takes it for one frame: see frame_of().

Source: Brendan Gregg, FlameGraph, stackcollapse*.pl; inferno, flamegraph/merge.rs.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .stacks import stacks_of
from .story import visible

if TYPE_CHECKING:
    from typing import BinaryIO

    from .story import Progress, Story

# A number at the end of the last frame would be taken for the first of two counts, a differential flame graph.
_NUMBER_AT_END = re.compile(r" (?=[0-9.]+$)")
_NO_BREAK = "\u00a0"


def write(story: Story, out: BinaryIO, progress: Progress) -> None:
    """Write the call paths of *story*, by the first that began."""
    stacks = stacks_of(story, progress)
    frames = [frame_of(site.name) for site in story.sites]
    for path, time in stacks.times().items():
        line = ";".join([frames[site] for site in stacks.paths.sites_of(path)])
        out.write(f"{line} {time // 1000}\n".encode())


def frame_of(name: str) -> str:
    """Return *name* as one frame of a line.

    ``;`` becomes ``:``, white space at the ends goes, other white space is a blank, what does not print is written as
    an escape, and the blank before a number at the end becomes one that does not break.
    """
    return _NUMBER_AT_END.sub(_NO_BREAK, visible(name.replace(";", ":")))
