"""``python -m bench.reliability`` writes docs/reliability.md: what faults cost, fault → lost → counted → exit time.

Each row is a real program in a process of its own, before a real receiver that a door makes hostile. Programs and
faults are those of tests/faults/ (cases.py, door.py), whose tests assert what is only measured here.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from . import measure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

TESTS = measure.ROOT / "tests"
cases: Any = measure.module("cases", TESTS / "faults" / "cases.py")
Door: Any = measure.module("door", TESTS / "faults" / "door.py").Door
Receiver: Any = measure.module("receiver", TESTS / "integration" / "receiver.py").Receiver

TEMPLATE = Path(__file__).with_name("reliability.md")
PAGE = measure.ROOT / "docs" / "reliability.md"
CRASH, DEATH, EXIT, OUTAGE = "Crash", "Death in the start", "Exit", "Outage"
GROUPS = {
    CRASH: ("fault", "recorded", "lost", "counted", "exit", "sent afterwards"),
    DEATH: ("fault", "the report names", "lost", "exit", "sent afterwards"),
    EXIT: ("collector", "recorded", "lost", "counted", "exit", "sent before", "sent afterwards"),
    OUTAGE: ("fault", "recorded", "lost", "counted", "exit", "sent", "longest wait"),
}
NOTHING = "–"
AWAY = 20.0  # seconds
LIVE_RUNS = 3  # of which the shortest counts


class Row(NamedTuple):
    """One line of a table: *cells* are those behind the name of the fault."""

    group: str
    fault: str
    cells: tuple[str, ...]


class Case(NamedTuple):
    """One fault, and how it is measured in an empty folder."""

    group: str
    fault: str
    measured: Callable[[Path], tuple[str, ...]]


# --- cells -----------------------------------------------------------------------------------------------------------


def number(value: int | None) -> str:
    """Return a count, ``–`` for none."""
    return NOTHING if value is None else f"{value:,}"


def seconds(value: float) -> str:
    """Return a duration in seconds or milliseconds."""
    return f"{value:.2f} s" if value >= 0.9995 else f"{value * 1e3:.0f} ms"


def status(code: int) -> str:
    """Return an exit status; that of a signal has a minus."""
    return str(code).replace("-", "−")


def ended(found: Any) -> str:
    """Return how and how fast a process ended."""
    return f"{status(found.code)} after {seconds(found.seconds)}"


def sent(ids: Sequence[str]) -> str:
    """Return how many spans were sent, and whether one came twice."""
    twice = len(ids) - len(set(ids))
    return number(len(set(ids))) + (f", {number(twice)} of them twice" if twice else ", each once" if ids else "")


# --- crashes ---------------------------------------------------------------------------------------------------------


def _crash(end: str, endpoint: bool) -> Callable[[Path], tuple[str, ...]]:
    def measured(folder: Path) -> tuple[str, ...]:
        variables = cases.sending(cases.DEAD) if endpoint else {}
        found = cases.run(cases.crashing(0.5) + cases.CRASHES[end][0], folder, **variables)
        left = cases.Left(folder, official=True)
        lost = cases.SPANS - len(set(left.ids()))
        later = sent(_replayed(folder)) if endpoint else NOTHING
        return number(cases.SPANS), number(lost), number(left.dropped), ended(found), later

    return measured


def _death(death: str) -> Callable[[Path], tuple[str, ...]]:
    def measured(folder: Path) -> tuple[str, ...]:
        line, _ = cases.DEATHS[death]
        (folder / "dies.py").write_text(cases.DIES.format(how=line), encoding="utf-8")
        found = cases.run(cases.DEATH, folder, **cases.sending(cases.DEAD))
        report = cases.command(folder, "report").stdout
        names = [name for name in ("Plugins", "import dies", "dies.py:2") if name in report]
        left = cases.Left(folder, official=True)
        return " · ".join(names), number(1 - len(left.ids())), status(found.code), sent(_replayed(folder))

    return measured


def _replayed(folder: Path) -> list[str]:
    """Return the ids of the spans that a replay delivers."""
    with _receiver(folder) as there:
        cases.replay(folder, there.http)
        return list(cases.received(there))


# --- exits -----------------------------------------------------------------------------------------------------------


def _exit(collector: str, protocol: str, stage: str) -> Callable[[Path], tuple[str, ...]]:
    def measured(folder: Path) -> tuple[str, ...]:
        runs = LIVE_RUNS if collector == "live" else 1
        found = [_end(folder / str(one), collector, protocol, stage) for one in range(runs)]
        return min(found, key=lambda one: one[0])[1]

    return measured


def _end(folder: Path, collector: str, protocol: str, stage: str) -> tuple[float, tuple[str, ...]]:
    folder.mkdir()
    with _receiver(folder) as there, _door(there, protocol, collector) as before:
        found = cases.run(cases.EXIT, folder, stage, **cases.sending(before.url, protocol))
        early = cases.received(there)
        there.behave()
        before.become("live")
        left = cases.Left(folder)
        cases.replay(folder, before.url, protocol)
        got = cases.received(there)
    recorded = 100 if stage == "at once" else 200
    lost = recorded - len({*left.ids(), *got})
    cells = number(recorded), number(lost), number(left.dropped), ended(found), sent(early), sent(got[len(early) :])
    return found.seconds, cells


# --- outages ---------------------------------------------------------------------------------------------------------


def _outage(protocol: str) -> Callable[[Path], tuple[str, ...]]:
    """Down at the start; once it was there it breaks off in the middle of a request, and is away for a while."""

    def measured(folder: Path) -> tuple[str, ...]:
        with _receiver(folder) as there, Door(there.url(protocol), "dead") as before:
            process = cases.start(cases.LOOP, folder, "0.02", **cases.sending(before.url, protocol))
            time.sleep(3)
            before.become("live")
            _until(lambda: len(cases.received(there)) > 1000)
            before.left = 20_000
            _until(lambda: before.left == 0)
            before.become("dead")
            time.sleep(AWAY)
            early = len(cases.received(there))
            before.become("live")
            _until(lambda: len(cases.received(there)) > early + 1000)
            return _stopped(folder, cases.Ended(process), there)

    return measured


def _beside(collector: str) -> Callable[[Path], tuple[str, ...]]:
    def measured(folder: Path) -> tuple[str, ...]:
        with _receiver(folder) as there, _door(there, "http/protobuf", collector) as before:
            process = cases.start(cases.LOOP, folder, "0.001", **cases.sending(before.url))
            time.sleep(5)
            found = cases.Ended(process)
            there.behave()
            before.become("live")
            cases.replay(folder, before.url)
            return _stopped(folder, found, there)

    return measured


def _limit(folder: Path) -> tuple[str, ...]:
    with _receiver(folder) as there:
        variables = {"OTEL_PERF_FOLDER_LIMIT": "2MB", **cases.sending(cases.DEAD)}
        process = cases.start(cases.LOOP, folder, "0.001", **variables)
        time.sleep(5)
        found = cases.Ended(process)
        cases.replay(folder, there.http)
        return _stopped(folder, found, there)


def _disk(options: str) -> Callable[[Path], tuple[str, ...]]:
    def measured(folder: Path) -> tuple[str, ...]:
        words = ["unshare", "-rm", "sh", "-c", cases.DISK.format(options=options), "sh"]
        process = cases.start(cases.LOOP, folder, "0.001", before=words)
        time.sleep(4)
        return _stopped(folder, cases.Ended(process))

    return measured


def _quota(folder: Path) -> tuple[str, ...]:
    process = cases.start(cases.LIMITED, folder, "0.001", PYTHONDONTWRITEBYTECODE="1")
    time.sleep(4)
    return _stopped(folder, cases.Ended(process))


def _read_only(at_once: bool) -> Callable[[Path], tuple[str, ...]]:
    """As another user, since who is root may write everywhere."""

    def measured(folder: Path) -> tuple[str, ...]:
        words = [] if os.geteuid() else ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        os.chmod(folder, 0o555 if at_once else 0o777)
        process = cases.start(cases.LOOP, folder, "0.001", before=words)
        time.sleep(2)
        for path in (folder / ".otel-perf").rglob("*"):
            if path.is_dir():
                path.chmod(0o500)
        time.sleep(2)
        return _stopped(folder, cases.Ended(process))

    return measured


def _removed(folder: Path) -> tuple[str, ...]:
    process = cases.start(cases.LOOP, folder, "0.001")
    time.sleep(2)
    while (folder / ".otel-perf").exists():  # the program may make it again meanwhile
        shutil.rmtree(folder / ".otel-perf", ignore_errors=True)
    time.sleep(2)
    return _stopped(folder, cases.Ended(process))


def _stopped(folder: Path, found: Any, there: Any = None) -> tuple[str, ...]:
    """Return the cells of a program of cases.LOOP that has ended."""
    recorded, longest = int(found.words[0]), float(found.words[1])
    left, got = cases.Left(folder), cases.received(there) if there else []
    lost = recorded - len({*left.ids(), *got})
    counted = NOTHING if left.dropped is None else number(left.dropped + left.removed)
    return (
        number(recorded), number(lost), counted, ended(found), sent(got) if there else NOTHING, seconds(longest),
    )  # fmt: skip


# --- surroundings ----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _receiver(folder: Path) -> Iterator[Any]:
    there = Receiver(folder / "received.jsonl")
    try:
        yield there
    finally:
        there.close()


@contextlib.contextmanager
def _door(there: Any, protocol: str, collector: str) -> Iterator[Any]:
    """Give a door before *there*: a kind of it, or a receiver that refuses with a status."""
    if collector.isdigit():
        there.behave(status=int(collector), retry_after=30)
    with Door(there.url(protocol), "live" if collector.isdigit() else collector) as before:
        yield before


def _until(question: Callable[[], bool], limit: float = 60.0) -> None:
    until = time.monotonic() + limit
    while not question():
        if time.monotonic() > until:
            raise RuntimeError(f"not within {limit:.0f} s")
        time.sleep(0.1)


# --- the page --------------------------------------------------------------------------------------------------------


def plan() -> list[Case]:
    """Return every fault, in the order of the page."""
    found = []
    for endpoint in (False, True):
        where = "collector dead" if endpoint else "no endpoint"
        found += [Case(CRASH, f"{end}, {where}", _crash(end, endpoint)) for end in cases.CRASHES]
    found += [Case(DEATH, death, _death(death)) for death in cases.DEATHS]
    found += [
        Case(EXIT, f"{collector}, {protocol}, {stage}", _exit(collector, protocol, stage))
        for collector in cases.COLLECTORS
        for protocol in cases.PROTOCOLS
        for stage in cases.STAGES
    ]
    found += [Case(OUTAGE, f"collector down, then away for 20 s, {one}", _outage(one)) for one in cases.PROTOCOLS]
    found += [Case(OUTAGE, f"collector is {one}", _beside(one)) for one in cases.COLLECTORS if one != "live"]
    found += [
        Case(OUTAGE, "collector dead, folder limit of 2 MB", _limit),
        Case(OUTAGE, "disk of 1 MB", _disk("size=1m")),
        Case(OUTAGE, "no inodes left", _disk("size=50m,nr_inodes=8")),
        Case(OUTAGE, "quota of 500 kB for each file", _quota),
        Case(OUTAGE, "folder read-only from the start", _read_only(True)),
        Case(OUTAGE, "folder read-only in the middle", _read_only(False)),
        Case(OUTAGE, "folder removed in the middle", _removed),
    ]
    return found


def page(rows: Sequence[Row], machine: Mapping[str, Any]) -> str:
    """Return the whole page."""
    text = TEMPLATE.read_text(encoding="utf-8")
    text = text.replace("<!-- machine -->", "\n".join(f"- {key}: {value}" for key, value in machine.items()))
    for group, heads in GROUPS.items():
        lines = [heads, ("---",) * len(heads), *((row.fault, *row.cells) for row in rows if row.group == group)]
        table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
        text = text.replace(f"<!-- {group} -->", table)
    return text


def rows_of(text: str) -> list[Row]:
    """Return the rows that a page holds."""
    found, group = [], ""
    for line in text.splitlines():
        if line.startswith("## "):
            group = line.removeprefix("## ")
        elif line.startswith("| ") and group in GROUPS:
            fault, *cells = line.strip("| ").split(" | ")
            if (fault, *cells) != GROUPS[group] and fault != "---":
                found.append(Row(group, fault, tuple(cells)))
    return found


def machine_of(text: str) -> dict[str, str]:
    """Return where a page was measured."""
    lines = text.partition("## Measured on\n")[2].partition("\n\n")[0].splitlines()
    return dict(line.removeprefix("- ").split(": ", 1) for line in lines)


def main() -> int:
    """Measure every fault, show the rows, write the page."""
    parser = argparse.ArgumentParser(prog="python -m bench.reliability", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", action="append", default=[], metavar="WORD", help="faults with this word: no page")
    parser.add_argument("--markdown", type=Path, default=PAGE, metavar="FILE", help="default docs/reliability.md")
    options = parser.parse_args()
    if subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True).returncode:
        print("bench.reliability: needs unshare -rm for a small disk, and Linux", file=sys.stderr)
        return 2
    chosen = [case for case in plan() if all(word in f"{case.group} {case.fault}" for word in options.only)]
    rows = []
    for case in chosen:
        measure.progress(f"{case.group}: {case.fault}")
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            folder.chmod(0o755)  # one of the programs is another user's
            rows.append(Row(case.group, case.fault, case.measured(folder)))
        measure.progress("")
        print(" | ".join((case.group, case.fault, *rows[-1].cells)), flush=True)
    if not options.only:
        machine = {key: value for key, value in measure.machine().items() if key not in measure.PEERS}
        options.markdown.write_text(page(rows, machine), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
