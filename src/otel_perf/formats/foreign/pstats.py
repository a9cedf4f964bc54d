"""A file of cProfile: what each function took, alone and in all, and which functions called it.

It has no order of calls and no call paths: those are shares, see shares.py, and lie side by side, the longest first.
What each function took is written as it stands in the file: a histogram without buckets, for nothing is known of single
calls.

The file is one dictionary of marshal: by file, line and name of a function its primitive calls, calls, seconds alone
and in all, and the same by caller; of profile, cProfile's twin in Python, only the calls by caller.

Source: CPython, Lib/cProfile.py, Profile.snapshot_stats(); Lib/pstats.py.
"""

from __future__ import annotations

import re
from math import isfinite
from typing import TYPE_CHECKING

from otel_perf.amounts import plural
from otel_perf.errors import UserError
from otel_perf.export.otlp_json import attributes, double

from .marshalled import DamagedError, Reader
from .run import LONGEST, Ids, Value, begin_of, resource_of
from .shares import Edge, Function, paths_of, settle

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from otel_perf.export.json_values import Skipped
    from otel_perf.formats.story import Progress

    from .run import Process, Run
    from .shares import Path
    from .source import Source

    Place = tuple[str, int, str]

MOST_BYTES = 2**25  # 100,000 functions take about 30 MB; as objects they take ten times that
MOST_SECONDS = 1e9
MOST_POINTS = 1_000  # call paths whose times are metrics too, those with the most of their own
DEEPEST_POINT = 100  # calls between the first function of such a path and its last
EVERY = 500  # functions between two words about the progress
BUILT_IN = ("~", "")  # file of what is not written in Python
OTHERS = "(other paths)"
_SEPARATOR = re.compile(r"[/\\]")


def read(source: Source, run: Run, service: str | None, skipped: Skipped, progress: Progress) -> list[str]:
    """Write *source* as a process of *run*; return what is to be said of it, one line each."""
    functions = _functions(source, skipped, progress)
    _name(functions)
    tops = settle(functions)
    length = sum(round(edge.total * 1e9) for edge in tops) + len(tops)
    roots, left = paths_of(tops)
    says = resource_of(source.origin, "pstats", service, times="laid out", call_paths="shares")
    process = run.process(says)
    begin = begin_of(length, source.name)
    paths = _write_paths(roots, process, begin, length, progress)
    process.points("otel_perf.function.duration", "s", "histogram", _histograms(functions, begin, begin + length))
    _write_times(functions, paths, process, begin, begin + length)
    some = plural(left, "call path")
    return [f"{some} too short to be kept apart: what was called there counts as the last function's"] if left else []


# --- reading ---------------------------------------------------------------------------------------------------------


def _functions(source: Source, skipped: Skipped, progress: Progress) -> list[Function]:
    """Return the functions of *source*, joined by their calls.

    Raises: UserError: it is no profile.
    """
    mend = "python -m cProfile -o FILE app.py writes one"
    if source.size > MOST_BYTES:
        raise UserError(f"{source.name} has more than {MOST_BYTES // 2**20} MiB: no profile of cProfile is so large")
    source.file.seek(0)
    reader = Reader(source.file.read())
    found: dict[Place, tuple[Function, dict[Place, Any]]] = {}
    try:
        for number, (place, numbers) in enumerate(reader.items()):
            if number % EVERY == 0:
                progress(f"reading {source.name}", reader.at, source.size)
            if _is_function(place, numbers):
                found[place] = Function(place, numbers[1], numbers[2], numbers[3]), numbers[4]
            else:
                skipped.record("function without its numbers")
    except DamagedError as error:
        raise UserError(f"{source.name} is no profile of cProfile: {error}; {mend}") from None
    if not found:
        raise UserError(f"{source.name} has no function; {mend}")
    for callee, callers in found.values():
        _join(callee, callers, found, skipped)
    return [function for function, _ in found.values()]


def _is_function(place: Any, numbers: Any) -> bool:
    return (
        type(place) is tuple
        and [*map(type, place)] == [str, int, str]
        and type(numbers) is tuple
        and len(numbers) == 5
        and _are_numbers(numbers[:4])
        and type(numbers[4]) is dict
    )


def _are_numbers(numbers: tuple[Any, ...]) -> bool:
    """Say whether these are two counts and two times."""
    counts, times = numbers[:2], numbers[2:]
    return all(type(one) is int and 0 <= one < 2**63 for one in counts) and all(
        type(one) in (float, int) and isfinite(one) and 0 <= one < MOST_SECONDS for one in times
    )


def _join(
    callee: Function, callers: dict[Place, Any], known: dict[Place, tuple[Function, Any]], skipped: Skipped
) -> None:
    """Add the calls of *callee*."""
    callee.outside = callee.calls
    for place, numbers in callers.items():
        if place not in known:
            continue
        if type(numbers) is int and 0 <= numbers <= callee.calls:  # of profile: how many
            part = numbers / callee.calls if callee.calls else 0.0
            calls, own, total = numbers, callee.own * part, callee.total * part
        elif type(numbers) is tuple and len(numbers) == 4 and _are_numbers(numbers):
            calls, _, own, total = numbers
        else:
            skipped.record("caller without its numbers")
            continue
        edge = Edge(known[place][0], callee, own, total)
        callee.outside -= calls
        callee.edges.append(edge)
        known[place][0].calling.append(edge)


def _name(functions: list[Function]) -> None:
    """Give each function a label that no other one has: its name, and as much of its file's path as that takes."""
    same = functions
    for parts in (1, 2, 3, 100):
        labels: dict[str, list[Function]] = {}
        for one in same:
            file, line, name = one.place
            end = "/".join(_SEPARATOR.split(file)[-parts:])
            one.label = (name if file in BUILT_IN else f"{name} ({end}:{line})")[-LONGEST:]
            labels.setdefault(one.label, []).append(one)
        same = [one for some in labels.values() if len(some) > 1 for one in some]


# --- writing ---------------------------------------------------------------------------------------------------------


def _write_paths(roots: list[Path], process: Process, begin: int, length: int, progress: Progress) -> list[Path]:
    """Write each path as a span, from *begin* on for *length* ns; return them, callees before their callers."""
    ids = Ids()
    found: list[Path] = []
    since = 0.0
    for root in _longest_first(roots):
        trace = ids.trace()
        waiting = [(root, since, ids.span(), iter(_longest_first(root.children)))]
        inside = [since]  # where the next child of each begins, in seconds
        while waiting:
            path, start, own, children = waiting[-1]
            child = next(children, None)
            if child is not None:
                waiting.append((child, inside[-1], ids.span(), iter(_longest_first(child.children))))
                inside.append(inside[-1])
                continue
            waiting.pop()
            inside.pop()
            if inside:
                inside[-1] = start + path.total
            parent = waiting[-1][2] if waiting else 0
            first, last = begin + round(start * 1e9), begin + round((start + path.total) * 1e9)
            process.span((trace, own, parent), path.function.label, first, last, _says(path))
            found.append(path)
            if len(found) % EVERY == 0:
                progress("writing call paths", last - begin, length)
        since += root.total
    process.end()
    return found


def _longest_first(paths: list[Path]) -> list[Path]:
    return sorted(paths, key=lambda path: -path.total)


def _says(path: Path) -> dict[str, Any]:
    """Return the attributes of the span of *path*."""
    file, line, name = path.function.place
    file, name = file[:LONGEST], name[:LONGEST]
    says = {"otel_perf.kind": "function", "otel_perf.depth": path.depth, "otel_perf.self_time": path.own}
    says["code.function.name"] = name
    if file not in BUILT_IN:
        says["code.file.path"] = file
    if line > 0:
        says["code.line.number"] = line
    return says


def _histograms(functions: list[Function], begin: int, end: int) -> Iterator[str]:
    """Yield what each function took in all, as the file has it."""
    when = f'"startTimeUnixNano":"{begin}","timeUnixNano":"{end}"'
    for one in functions:
        says = attributes({"function": one.label, "kind": "function"})
        yield f'{{"attributes":[{says}],{when},"count":"{one.calls}","sum":{double(one.total)}}}'


def _write_times(functions: list[Function], paths: list[Path], process: Process, begin: int, end: int) -> None:
    """Write the times of the paths with the most of their own, and of each function what is left of its own time."""
    paths = [path for path in paths if path.depth <= DEEPEST_POINT]
    most = sorted(paths, key=lambda path: -path.alone)[:MOST_POINTS]
    left = {one: one.own for one in functions}
    for path in most:
        left[path.function] -= path.alone
    own = [Value(_metric_says(path), path.alone) for path in most]
    own += [
        Value({"path": f"{OTHERS};{one.label}", "function": one.label, "depth": 1}, rest)
        for one, rest in left.items()
        if rest > 1e-9
    ]
    process.sums("otel_perf.profile.self_time", "s", own, begin, end)
    process.sums("otel_perf.profile.time", "s", (Value(_metric_says(one), one.total) for one in most), begin, end)


def _metric_says(path: Path) -> dict[str, Any]:
    names: list[str] = []
    above: Path | None = path
    while above is not None:
        names.append(above.function.label.replace(";", ":"))
        above = above.parent
    return {"path": ";".join(reversed(names)), "function": path.function.label, "depth": path.depth}
