"""Sampling through init(), in real processes: what cannot be read, containers, forks, and what an idle second costs.

Cases C5, C14, C15 and C16. Programs of one case run at the same time: most of them only wait.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

SRC = str(Path(__file__).resolve().parents[2] / "src")
TIMED = "import os, resource, sys, time\nimport otel_perf as perf\n"
MIB = 2**20
linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc, control groups and namespaces are Linux's")
posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
EACH_SECOND = {  # files are counted as seldom as that costs much
    "process.cpu.time", "process.cpu.utilization", "otel_perf.process.cpu.usage", "process.memory.usage",
    "process.thread.count", "process.uptime",
}  # fmt: skip


class Run:
    """A program that has ended, and what it left."""

    def __init__(self, folder: Path, done: subprocess.CompletedProcess[str], points: list[dict[str, Any]]) -> None:
        self.folder = folder
        self.status, self.out, self.err = done.returncode, done.stdout, done.stderr
        self.points = points
        self.names = {point["metric"] for point in points}

    def values(self, metric: str, **attributes: object) -> list[float]:
        """Return the values of a metric, oldest first."""
        wanted = {key.replace("_", "."): value for key, value in attributes.items()}
        return [
            point["point"]["value"]
            for point in self.points
            if point["metric"] == metric and wanted.items() <= point["attributes"].items()
        ]

    def times(self, metric: str) -> list[float]:
        """Return the moments of a metric in seconds, each once."""
        return sorted({int(point["point"]["timeUnixNano"]) / 1e9 for point in self.points if point["metric"] == metric})

    def command(self, *words: str, before: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        """Run one of our commands in its folder."""
        return execute([*before, sys.executable, "-m", "otel_perf", *words], self.folder)


def execute(
    command: Sequence[str], folder: Path, environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "PYTHONPATH": SRC, "PYTHONIOENCODING": "utf-8", "COLUMNS": "120", **(environ or {})}
    return subprocess.run(
        command, cwd=folder, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100
    )


@pytest.fixture
def record(tmp_path: Path, metrics_of: Callable[[Path], list[dict[str, Any]]]) -> Callable[..., Run]:
    """Return a function that runs a program in a folder of its own below the test's, under the command *before*."""

    def run(name: str, program: str, *, before: Sequence[str] = (), settings: str = "", **environ: str) -> Run:
        folder = tmp_path / name.replace("/", "-")
        folder.mkdir()
        (folder / "otel-perf.toml").write_text(settings, encoding="utf-8")
        (folder / "app.py").write_text(TIMED + textwrap.dedent(program), encoding="utf-8")
        done = execute([*before, sys.executable, "app.py"], folder, environ)
        return Run(folder, done, metrics_of(folder) if (folder / ".otel-perf").exists() else [])

    return run


def at_once(tasks: Mapping[str, Callable[[], Run]]) -> dict[str, Run]:
    with ThreadPoolExecutor(len(tasks)) as pool:
        waiting = {name: pool.submit(task) for name, task in tasks.items()}
        return {name: future.result() for name, future in waiting.items()}


UNREADABLE = "/dev/full"
COVER = """
mount --bind /dev/null /dev/full && mount -o remount,bind,nodev /dev/full || exit 99
for pair in $COVERS; do
    file=${pair%%=*}; file=$(echo "$file" | sed "s|/proc/self|/proc/$$|"); by=${pair#*=}
    mount --bind "$by" "$file" || exit 99
done
exec "$@"
"""


def covered(**files: str) -> list[str]:
    """Return a command before which the *files* are others, for that program only; ``__`` is a slash in their names.

    UNREADABLE is a device on a mount without devices: nobody may open it, root neither.
    """
    pairs = " ".join(f"/{name.replace('__', '/')}={by}" for name, by in files.items())
    return ["env", f"COVERS={pairs}", "unshare", "-rm", "sh", "-c", COVER, "sh"]


@pytest.fixture(scope="session")
def namespaces() -> None:
    command = [*covered(proc__self__io=UNREADABLE), "cat", "/proc/self/cmdline"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=20, check=False)
    except OSError:
        pytest.skip("needs unshare")
    if done.returncode:
        pytest.skip("needs unshare -rm: user and mount namespaces of one's own")


# --- what cannot be read (C14) ----------------------------------------------------------------------------------------

PROGRAM = """
    {broken}
    perf.init(service="shop")
    perf.ready()
    time.sleep(5.7)
    print("the end")
    """
MEMORY = {"process.memory.usage", "process.memory.virtual", "process.memory.utilization"}
NETWORKS = {
    "system.network.io", "system.network.packets", "system.network.errors", "system.network.dropped_packets",
}  # fmt: skip
DISKS = {"system.disk.io", "system.disk.operations", "system.disk.time"}
BY_PSUTIL: dict[str, tuple[str, set[str]]] = {
    "whole": ("", set()),
    "num_ctx_switches": (
        "def broken(self): raise NotImplementedError('not here')\npsutil.Process.num_ctx_switches = broken",
        {"process.context_switches"},
    ),
    "memory_info": ("def broken(self): raise psutil.AccessDenied(1)\npsutil.Process.memory_info = broken", MEMORY),
    "num_fds": ("del psutil.Process.num_fds", {"process.unix.file_descriptor.count"}),
    "disk_io_counters": ("psutil.disk_io_counters = lambda *a, **k: None", DISKS),
    "net_io_counters": ("psutil.net_io_counters = lambda *a, **k: None", NETWORKS),
    "open_files": ("psutil.Process.open_files = lambda self: time.sleep(3)", set()),
}
BY_PROC: dict[str, set[str]] = {
    "whole": set(),
    "self/statm": MEMORY,
    "self/stat": {"process.thread.count"},
    "self/io": {"process.disk.io"},
    "stat": {"system.cpu.utilization", "otel_perf.system.cpu.utilization"},
    "loadavg": {"system.cpu.load_average.1m"},
    "meminfo": {
        "system.memory.usage", "system.memory.utilization", "system.swap.usage", "system.swap.utilization",
        "process.memory.utilization",
    },
    "diskstats": DISKS,
    "self/net": NETWORKS,  # the folder: what lies on a file of it is gone again
}  # fmt: skip


def sampled(run: Run) -> set[str]:
    return {
        name for name in run.names if not name.startswith(("otel_perf.self.", "otel_perf.budget.", "otel_perf.score"))
    }


def assert_only_that_is_absent(runs: dict[str, Run], gone: Mapping[str, set[str]]) -> None:
    """Hold each run against the one in which nothing was broken."""
    whole = runs["whole"]
    assert EACH_SECOND <= whole.names
    for name, run in runs.items():
        assert (0, "the end\n") == (run.status, run.out), (name, run.err)
        assert sampled(whole) - gone[name] == sampled(run) - gone[name], name
        assert set() == run.names & gone[name], name
        for metric in EACH_SECOND - gone[name]:
            moments = run.times(metric)
            assert len(moments) >= 4, (name, metric)
            late = [later - earlier for earlier, later in pairwise(moments) if later - earlier >= 1.5]
            assert len(late) <= 1, (name, metric)  # one a busy machine may have delayed
        lines = run.err.splitlines()
        assert (1 if gone[name] else 0) == len(lines), (name, run.err)
        for line in lines:
            assert re.match(r"otel-perf: .* cannot be read and (is|are) absent \(.+\)$", line), line


def assert_doctor_names(runs: dict[str, Run], gone: Mapping[str, set[str]]) -> None:
    said = at_once({name: lambda run=run: run.command("doctor", "--json") for name, run in runs.items()})  # type: ignore[misc]
    for name, done in said.items():
        found = json.loads(done.stdout)  # type: ignore[attr-defined]
        absent = found["run_folder"]["newest"]["absent"]
        assert (1 if gone[name] else 0) == len(absent), (name, absent)
        texts = " ".join(one["text"] for one in found["findings"] if one["text"].startswith("in the newest run "))
        for metric in gone[name] - {"process.memory.utilization"}:
            assert metric in texts, name


@linux
def test_function_of_psutil_that_fails_takes_its_own_metrics_only_and_doctor_names_them(record):
    psutil = pytest.importorskip("psutil", reason="needs psutil")
    assert psutil

    def task(name: str, code: str) -> Callable[[], Run]:
        program = PROGRAM.replace("{broken}", f"import psutil\n{code}".replace("\n", "\n    "))
        return lambda: record(name, program, OTEL_PERF_SAMPLER="psutil")

    gone = {name: absent for name, (_, absent) in BY_PSUTIL.items()}
    runs = at_once({name: task(name, code) for name, (code, _) in BY_PSUTIL.items()})

    assert_only_that_is_absent(runs, gone)
    assert_doctor_names(runs, gone)
    whole = runs["whole"]
    for metric in ("system.cpu.utilization", "otel_perf.system.cpu.utilization"):
        assert whole.times(metric)[0] - whole.times("process.uptime")[0] > 0.5, "a share of less time is none"


@linux
def test_file_of_proc_that_cannot_be_read_takes_its_own_metrics_only_and_doctor_names_them(
    record, namespaces, tmp_path
):
    empty = tmp_path / "empty"
    empty.mkdir()

    def task(name: str) -> Callable[[], Run]:
        by = str(empty) if name == "self/net" else UNREADABLE
        files = {} if name == "whole" else {f"proc__{name.replace('/', '__')}": by}
        return lambda: record(name, PROGRAM.replace("{broken}", ""), before=covered(**files), OTEL_PERF_SAMPLER="proc")

    runs = at_once({name: task(name) for name in BY_PROC})

    assert_only_that_is_absent(runs, BY_PROC)
    assert_doctor_names(runs, BY_PROC)
    for name, run in runs.items():
        why = "No such file or directory" if name == "self/net" else "Permission denied"
        assert not run.err or why in run.err


@linux
def test_doctor_names_what_it_cannot_read_itself_also_what_is_read_seldom(record, namespaces, tmp_path):
    folder = tmp_path / "nothing here"
    folder.mkdir()
    before = covered(proc__self__smaps_rollup=UNREADABLE, proc__loadavg=UNREADABLE)
    done = execute([*before, sys.executable, "-m", "otel_perf", "doctor", "--json"], folder)
    found = json.loads(done.stdout)

    unique, load = "otel_perf.process.memory.unique", "system.cpu.load_average.1m"
    assert {unique, load} == found["sampling"]["absent"].keys()
    assert "proc" == found["sampling"]["sampler"]
    assert {unique, load}.isdisjoint(found["sampling"]["metrics"])
    about = {one["text"].split()[0]: one["fix"] for one in found["findings"] if one["about"] == "sampling"}
    assert {unique: "OTEL_PERF_SAMPLER=psutil", load: "OTEL_PERF_SAMPLER=psutil"} == about
    assert 0 == done.returncode, "the program runs all the same"


@linux
def test_warning_is_recorded_as_an_event_by_each_process_and_said_once(record, namespaces, logs_of):
    """A forked child cannot read it either: its own record says so, and stderr has it from the parent."""
    program = """
    perf.init(service="shop")
    perf.ready()
    time.sleep(1.3)
    child = os.fork()
    time.sleep(1.7)
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    """
    run = record("fork", program, before=covered(proc__loadavg=UNREADABLE))
    events = [one for one in logs_of(run.folder) if one["name"] == "otel_perf.metric.absent"]

    assert 0 == run.status
    assert 1 == len(run.err.splitlines()), run.err
    assert 2 == len({event["process"] for event in events}) == len(events)
    assert {"system.cpu.load_average.1m"} == {event["attributes"]["metric"] for event in events}
    assert {(13, "WARN")} == {event["severity"] for event in events}


# --- psutil on Linux --------------------------------------------------------------------------------------------------


@linux
@pytest.mark.timed
def test_psutil_through_init_agrees_with_proc_of_the_same_second(record):
    pytest.importorskip("psutil", reason="needs psutil")
    run = record(
        "psutil",
        """
        import json, threading
        hold = bytearray(60 * 2**20)
        hold[::4096] = b"x" * (len(hold) // 4096)
        for _ in range(5):
            threading.Thread(target=time.sleep, args=(4.2,)).start()
        files = [open(os.devnull) for _ in range(20)]
        perf.init(service="shop")
        perf.ready()
        time.sleep(3.8)
        status = dict(line.split(":", 1) for line in open("/proc/self/status"))
        usage = resource.getrusage(resource.RUSAGE_SELF)
        answer = {name: int(status[name].split()[0]) for name in ("VmRSS", "VmSize", "Threads")}
        answer |= {"files": len(os.listdir("/proc/self/fd")) - 1, "cpu": usage.ru_utime + usage.ru_stime}
        print(json.dumps(answer))
        """,
        OTEL_PERF_SAMPLER="psutil",
    )
    assert (0, "") == (run.status, run.err)
    there = json.loads(run.out)

    assert there["Threads"] == run.values("process.thread.count")[-1]
    assert pytest.approx(there["VmRSS"] * 1024, rel=0.02) == run.values("process.memory.usage")[-1]
    assert pytest.approx(there["VmSize"] * 1024, rel=0.02) == run.values("process.memory.virtual")[-1]
    assert there["VmRSS"] * 1024 > 60 * MIB
    assert there["files"] - 1 <= run.values("process.unix.file_descriptor.count")[-1] <= there["files"]
    cpu = sum(run.values("process.cpu.time", cpu_mode=mode)[-1] for mode in ("user", "system"))
    assert pytest.approx(there["cpu"], abs=0.05) == cpu
    assert {"voluntary", "involuntary"} == {
        point["attributes"]["process.context_switch.type"]
        for point in run.points
        if point["metric"] == "process.context_switches"
    }


# --- containers (C15) -------------------------------------------------------------------------------------------------

HOLDS = """
    hold = bytearray(140 * 2**20)
    hold[::4096] = b"x" * (len(hold) // 4096)
    perf.budget("share", metric="process.memory.utilization", max="10%")
    perf.init(service="shop")
    perf.ready()
    until = time.monotonic() + 1.0
    while time.monotonic() < until:
        pass
    time.sleep(1.7)
    """
V2 = {"cpu.max": "50000 100000", "memory.max": 256 * MIB, "memory.current": 200 * MIB}
V1_CPU = {"cpu.cfs_quota_us": 50_000, "cpu.cfs_period_us": 100_000}
V1_MEMORY = {"memory.limit_in_bytes": 256 * MIB, "memory.usage_in_bytes": 200 * MIB}
NONE = {"cpu.max": "max 100000", "memory.max": "max", "memory.current": 200 * MIB}
GROUPS: dict[str, tuple[str, dict[str, dict[str, object]]]] = {  # /proc/self/cgroup, and the files of each folder
    "version 2": ("0::/app\n", {"two/app": V2}),
    "version 1": ("4:cpu:/app\n3:memory:/app\n", {"cpu/app": V1_CPU, "memory/app": V1_MEMORY}),
    "nested": ("0::/pod/app\n", {"two/pod": V2, "two/pod/app": {"cpu.max": "150000 100000", "memory.max": "max"}}),
    "max": ("0::/app\n", {"two/app": NONE}),
    "none": ("0::/app\n", {}),
    "garbage": ("0::/app\n", {"two/app": {"cpu.max": "much", "memory.max": "-1", "memory.current": "?"}}),
}


def grouped(folder: Path, membership: str, files: Mapping[str, Mapping[str, object]]) -> list[str]:
    """Return a command before which a process is in control groups that are folders below *folder*."""
    mounts = (("two", "cgroup2", "rw"), ("cpu", "cgroup", "rw,cpu,cpuacct"), ("memory", "cgroup", "rw,memory"))
    for where, contents in files.items():
        (folder / where).mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            (folder / where / name).write_text(f"{content}\n")
    (folder / "membership").write_text(membership)
    (folder / "mountinfo").write_text(
        "".join(f"31 23 0:28 / {folder / name} ro - {kind} {kind} {options}\n" for name, kind, options in mounts)
    )
    return covered(proc__self__cgroup=str(folder / "membership"), proc__self__mountinfo=str(folder / "mountinfo"))


@linux
@pytest.mark.timed
def test_limits_of_the_container_are_facts_denominators_and_in_the_report(record, namespaces, tmp_path, logs_of):
    def task(name: str) -> Callable[[], Run]:
        folder = tmp_path / f"groups-{name.replace(' ', '-')}"
        folder.mkdir()
        return lambda: record(name, HOLDS, before=grouped(folder, *GROUPS[name]))

    runs = at_once({name: task(name) for name in GROUPS})
    usable = len(os.sched_getaffinity(0))
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cpus = f"0.5 of {os.cpu_count()} CPU{'s' * (os.cpu_count() != 1)}"
    for name, run in runs.items():
        assert (0, "") == (run.status, run.err), name
        is_limited = name in ("version 2", "version 1", "nested")
        facts = {key: value for key, value in run.points[-1]["resource"].items() if key.startswith("otel_perf.")}
        own = {"otel_perf.cpu.usable": usable}
        if is_limited:
            own = {
                "otel_perf.cpu.usable": 0.5,
                "otel_perf.container.cpu.limit": 0.5,
                "otel_perf.container.memory.limit": 256 * MIB,
            }
        expected = {"otel_perf.cpu.count": os.cpu_count(), "otel_perf.memory.total": machine} | own
        assert expected == facts, name
        total = 256 * MIB if is_limited else machine
        resident = run.values("process.memory.usage")[-1]
        assert resident > 140 * MIB
        assert pytest.approx(resident / total, rel=0.02) == run.values("process.memory.utilization")[-1], name
        busiest = max(run.values("otel_perf.process.cpu.usage"))
        share = max(
            sum(pair)
            for pair in zip(
                *(run.values("process.cpu.utilization", cpu_mode=mode) for mode in ("user", "system")), strict=True
            )
        )
        assert pytest.approx(busiest / facts["otel_perf.cpu.usable"], rel=0.01) == share, name
        texts = [run.command("report").stdout, run.command("report", "--markdown").stdout]
        alerts = alerts_of(run.folder)
        for text in texts:
            assert ("of the container's limit" in text) == ("of the container's 0.5 CPUs" in text) == is_limited, text
            if is_limited:
                assert f"{cpus} (the container's limit), 268 MB of memory (the container's limit)" in plain(text), text
        if is_limited:
            assert re.search(r"  of the container's limit +(\d\d[.\d]* % +){4}", texts[0]), texts[0]
            (body,) = [one for one in alerts if one.startswith("share ")]
            assert re.match(r"share \d\d[.\d]* % is over 10 % of the container's limit", body), body


def plain(text: str) -> str:
    """Return *text* on one line, without Markdown's escapes."""
    return " ".join(text.replace("\\", "").split())


def alerts_of(folder: Path) -> list[str]:
    """Return the sentences of the alerts that were raised."""
    return [
        record["body"]["stringValue"]
        for path in folder.glob(".otel-perf/*/*/logs.jsonl")
        for line in path.read_text(encoding="utf-8").splitlines()
        for group in json.loads(line)["resourceLogs"]
        for scoped in group["scopeLogs"]
        for record in scoped["logRecords"]
        if record["eventName"] == "otel_perf.budget.exceeded"
    ]


@linux
def test_every_share_says_of_what_it_is(record, namespaces, tmp_path):
    """In the report, its JSON and the gate; without a container it is the machine."""
    program = """
    perf.budget("share", metric="process.memory.utilization", max="0.01%")
    perf.init(service="shop")
    perf.ready()
    time.sleep(2.7)
    """
    folder = tmp_path / "groups"
    folder.mkdir()
    limited = grouped(folder, *GROUPS["version 2"])
    busy = '[budgets.busy]\nmetric = "process.cpu.utilization"\nmax = "90%"\n'
    tasks = {
        "machine": lambda: record("machine", program, settings=busy),
        "container": lambda: record("container", program, settings=busy, before=limited),
    }
    runs = at_once(tasks)
    cpus = f"{len(os.sched_getaffinity(0))} CPU{'s' * (len(os.sched_getaffinity(0)) > 1)}"
    wholes = {
        "machine": ("the machine's memory", cpus),
        "container": ("the container's limit", "the container's 0.5 CPUs"),
    }
    for name, run in runs.items():
        memory, cpu = wholes[name]
        found = json.loads(run.command("report", "--json").stdout)
        by_name = {one["name"]: one["of"] for one in found["metrics"]}
        assert (memory, cpu) == (by_name["process.memory.utilization"], by_name["process.cpu.utilization"])
        assert {None} == {of for metric, of in by_name.items() if not metric.endswith("utilization")}
        assert memory == {one["name"]: one["of"] for one in found["budgets"]}["share"]
        assert f"is over 0.01 % of {memory}" in found["alerts"][0]["text"]
        gate = run.command("check").stdout
        assert re.search(rf"exceeded +share +[\d.]+ % +limit 0\.01 % of {memory}", gate), gate
        assert re.search(rf"ok +busy +[\d.]+ % +limit 90 % of {cpu}", gate), gate
        text = run.command("report").stdout
        assert re.search(rf"share +\w+ +[\d:]+ .* 0\.01 % of {memory} ", text), text


# --- fork (C5) --------------------------------------------------------------------------------------------------------


@posix
@pytest.mark.timed
def test_forked_worker_begins_anew_with_its_own_ids_uptime_and_cpu(record, spans_of):
    """One child as the case has it, gone after 0.2 s, and one that lives long enough to be sampled."""
    run = record(
        "fork",
        """
        perf.init(service="shop")
        with perf.phase("CoreInit"): pass
        with perf.phase("UI"): pass
        perf.ready()
        until = time.process_time() + 0.8
        while time.process_time() < until:
            pass
        time.sleep(2.2)
        forked = time.time()
        first = os.fork()
        second = first and os.fork()
        if not first or not second:
            with perf.phase("the worker's"):
                time.sleep(0.2)
            if first:
                time.sleep(2.2)
            os._exit(0)
        for child in (first, second):
            os.waitpid(child, 0)
        print(os.getpid(), first, second, forked)
        """,
    )
    assert (0, "") == (run.status, run.err)
    master, _, long, forked = (float(word) for word in run.out.split())
    spans = spans_of(run.folder)

    assert len(spans) == len({span["span_id"] for span in spans}), "each span id once, in all files together"
    (trace,) = {span["trace_id"] for span in spans if span["name"] in ("startup", "PreInit", "CoreInit", "UI")}
    by_pid = {span["resource"]["process.pid"]: span["resource"] for span in spans}
    assert master in by_pid
    assert long in by_pid
    assert len(by_pid) == len({resource["service.instance.id"] for resource in by_pid.values()})
    for span in spans:
        if span["resource"]["process.pid"] == master:
            continue
        assert trace != span["trace_id"]
        if span["name"] == "startup":  # a child need not report one
            assert span["end"] - span["start"] < 0.5e9
            assert trace in {link["trace_id"] for link in span["links"]}
    own = [point for point in run.points if point["resource"]["process.pid"] == long]
    values = {name: [one["point"].get("value") for one in own if one["metric"] == name] for name in run.names}
    uptimes = values["process.uptime"]
    first_sample = min(int(one["point"]["timeUnixNano"]) for one in own if one["metric"] == "process.uptime") / 1e9
    assert pytest.approx(first_sample - forked, abs=0.5) == uptimes[0], "it counts from the fork"
    assert uptimes[-1] < 5.0
    assert max(values["process.cpu.time"]) < 0.5, "the master's 0.8 s are not its own"
    assert len(values["process.memory.usage"]) >= 2


# --- cost (C16) -------------------------------------------------------------------------------------------------------


@linux
@pytest.mark.slow
@pytest.mark.timed
def test_an_idle_program_with_a_gibibyte_in_use_pays_little_for_being_sampled(record):
    """The goal of `make bench` is 0.06 % of a core; a machine that runs other tests has cold caches: three times that."""
    run = record(
        "idle",
        """
        hold = bytearray(2**30)
        hold[::4096] = b"x" * (len(hold) // 4096)
        perf.init(service="idle")
        perf.ready()
        time.sleep(5)  # until all is loaded
        cpu, begun = time.process_time(), time.monotonic()
        time.sleep(30)
        print((time.process_time() - cpu) / (time.monotonic() - begun))
        """,
    )
    assert (0, "") == (run.status, run.err)

    assert float(run.out) <= 3 * 0.0006
    assert len(run.values("process.memory.usage")) >= 33, "it was sampled every second"
    assert min(run.values("process.memory.usage")) > 2**30
    assert [] == run.values("otel_perf.process.memory.unique"), "18 ms, once in three minutes at the most"
