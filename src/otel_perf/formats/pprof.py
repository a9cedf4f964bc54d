"""pprof's profile.proto, gzip'd: call paths with how many spans and how much self time.

A location is a place in the code, its function the span's name, as a terminal may show it. Samples are labelled with
process and track.

Reading order: write(), then what becomes of one part; integer() and the like at the end. A tag is a field's number
times 8, plus 0 for a varint, 2 for a length and bytes.

Source: github.com/google/pprof, proto/profile.proto.
"""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

from otel_perf.export.varint import varint

from .stacks import stacks_of
from .story import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO

    from .story import Progress, Site, Story

SAMPLE_TYPE, SAMPLE, LOCATION, FUNCTION, STRING, TIME, DURATION, PERIOD_TYPE, PERIOD, COMMENT, DEFAULT = (
    1, 2, 4, 5, 6, 9, 10, 11, 12, 13, 14
)  # fmt: skip


class _Strings:
    """The table of strings, which all other parts refer to by number."""

    def __init__(self) -> None:
        self.numbers = {"": 0}

    def __getitem__(self, text: str) -> int:
        return self.numbers.setdefault(text, len(self.numbers))


def write(story: Story, out: BinaryIO, progress: Progress) -> None:
    """Write *story*."""
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=6, mtime=0, filename="") as packed:
        for part in _parts(story, progress):
            packed.write(part)


def _parts(story: Story, progress: Progress) -> Iterator[bytes]:
    """Yield the fields of a Profile."""
    strings = _Strings()
    spans, wall = _value_type(strings["spans"], strings["count"]), _value_type(strings["wall"], strings["nanoseconds"])
    yield nested(SAMPLE_TYPE, spans) + nested(SAMPLE_TYPE, wall)
    yield from _samples(story, strings, progress)
    for number, site in enumerate(story.sites, 1):
        line = nested(4, integer(1, number) + integer(2, site.line))
        yield nested(LOCATION, integer(1, number) + line)
        yield nested(FUNCTION, _function(number, site, strings))
    yield integer(TIME, story.begin) + integer(DURATION, story.end - story.begin)
    yield nested(PERIOD_TYPE, wall) + integer(PERIOD, 1)
    yield integer(COMMENT, strings[f"otel-perf, run {story.name}"]) + integer(DEFAULT, strings["wall"])
    for text in strings.numbers:
        yield nested(STRING, text.encode("utf-8", "replace"))


def _samples(story: Story, strings: _Strings, progress: Progress) -> Iterator[bytes]:
    stacks = stacks_of(story, progress)
    for (path, process, track), (count, time) in stacks.totals.items():
        locations = [site + 1 for site in reversed(stacks.paths.sites_of(path))]
        labels = nested(3, integer(1, strings["process"]) + integer(2, strings[process.title]))
        labels += nested(3, integer(1, strings["thread"]) + integer(2, strings[track]))
        yield nested(SAMPLE, packed(1, locations) + packed(2, (count, time)) + labels)


def _value_type(kind: int, unit: int) -> bytes:
    return integer(1, kind) + integer(2, unit)


def _function(number: int, site: Site, strings: _Strings) -> bytes:
    # without a system name: of two that are the same pprof takes the first for C++ and cuts what stands in <>
    return integer(1, number) + integer(2, strings[visible(site.name)]) + integer(4, strings[site.file])


# --- protobuf --------------------------------------------------------------------------------------------------------


def integer(field: int, number: int) -> bytes:
    """Return a field with a number; nothing for 0, as protobuf 3 has it."""
    return varint(field << 3) + varint(number) if number else b""


def nested(field: int, content: bytes) -> bytes:
    """Return a field with bytes: a string, or another message."""
    return varint(field << 3 | 2) + varint(len(content)) + content


def packed(field: int, numbers: Iterable[int]) -> bytes:
    """Return a field with several numbers, the zeros among them too."""
    return nested(field, b"".join(map(varint, numbers)))
