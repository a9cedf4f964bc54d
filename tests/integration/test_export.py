"""``otel-perf export`` on a program that was really recorded: what it writes where, and what it refuses."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections import Counter, defaultdict
from pathlib import Path

import pytest

SRC = str(Path(__file__).resolve().parents[2] / "src")
PROGRAM = Path(__file__).with_name("programs") / "side_by_side.py"
FORMATS = ("folded", "speedscope", "pprof", "chrome")
COMMAND = [sys.executable, "-m", "otel_perf", "export"]


def environment(**more):
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "PYTHON"))}
    return kept | {"PYTHONPATH": SRC} | more


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Return a folder in whose ``.otel-perf/`` the program was recorded."""
    folder = tmp_path_factory.mktemp("recorded")
    done = subprocess.run(
        [sys.executable, PROGRAM], cwd=folder, env=environment(), capture_output=True, timeout=60, check=False
    )
    assert (0, b"", b"") == (done.returncode, done.stdout, done.stderr)
    return folder


@pytest.fixture
def export(recorded, tmp_path):
    """Return a function that runs the command, on the recorded run unless *cwd* says otherwise, as bytes."""

    def run(*words, cwd=recorded, **options):
        options.setdefault("stdout", subprocess.PIPE)
        return subprocess.run(
            [*COMMAND, *map(str, words)], cwd=cwd, env=environment(), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
            timeout=60, check=False, **options,
        )  # fmt: skip

    return run


@pytest.fixture
def exported(export):
    """Return a function that gives what the command writes in a format."""

    def run(name, *words, **options):
        done = export("--format", name, *words, **options)
        assert (0, b"") == (done.returncode, done.stderr)
        return done.stdout

    return run


@pytest.fixture
def spans(recorded, spans_of):
    return spans_of(recorded)


def of_folded(data):
    return {
        tuple(path.split(";")): int(time)
        for path, _, time in (line.rpartition(" ") for line in data.decode().splitlines())
    }


def tracks_of_chrome(data):
    """Return the spans of each track as (name, begin, end, names around it), times in µs, having checked that they nest."""
    found, open_ = defaultdict(list), defaultdict(list)
    for event in json.loads(data)["traceEvents"]:
        key = event["pid"], event["tid"]
        if event["ph"] == "B":
            open_[key].append((event["name"], event["ts"]))
        elif event["ph"] == "E":
            name, begin = open_[key].pop()
            assert (name, True) == (event["name"], begin <= event["ts"])
            found[key].append((name, begin, event["ts"], tuple(each for each, _ in open_[key])))
    assert not any(open_.values())
    return found


def test_every_span_is_there_once(exported, spans):
    recorded = Counter(span["name"] for span in spans)
    speedscope = json.loads(exported("speedscope"))
    names = [frame["name"] for frame in speedscope["shared"]["frames"]]

    drawn = Counter(name for track in tracks_of_chrome(exported("chrome")).values() for name, *_ in track)
    opened = Counter(
        names[event["frame"]]
        for profile in speedscope["profiles"]
        for event in profile["events"]
        if event["type"] == "O"
    )
    assert recorded == drawn == opened
    assert recorded["inner"] > 20


def test_bars_are_where_the_spans_were(exported, spans):
    begin = min(span["start"] for span in spans)

    bars = Counter(
        (name, round(start * 1000), round(end * 1000))
        for track in tracks_of_chrome(exported("chrome")).values()
        for name, start, end, _ in track
    )

    assert Counter((span["name"], span["start"] - begin, span["end"] - begin) for span in spans) == bars


def test_folded_has_the_self_times_that_were_recorded(exported, spans):
    by_id = {span["span_id"]: span for span in spans}

    def path(span):
        above = by_id.get(span["parent_id"])
        return (*(() if above is None else path(above)), span["name"])

    recorded = Counter()
    for span in spans:
        recorded[path(span)] += span["attributes"].get("otel_perf.self_time", 0.0) * 1e6
    shown = {path: time for path, time in of_folded(exported("folded")).items() if not path[-1].startswith("chunk")}

    # gather() waits for what lies beside it, as the start does for its threads: on its own track, that time is its own
    waits = {("startup", "CoreInit"), ("startup",), ("gather",), ("startup", "CoreInit", "gather")}
    same = {path: time for path, time in recorded.items() if path not in waits and "chunk" not in " ".join(path)}
    assert ("startup", "CoreInit", "consume", "items") in same
    assert same == pytest.approx({path: time for path, time in shown.items() if path in same}, abs=1.01)
    assert set(recorded) == {
        tuple(name.replace("chunk 42:", "chunk 42;").replace("</b>", "</b>\n") for name in path)
        for path in of_folded(exported("folded"))
    }


def test_self_times_of_a_track_add_up_to_no_more_than_its_length(exported):
    for track in tracks_of_chrome(exported("chrome")).values():
        tops = [(begin, end) for _, begin, end, around in track if not around]
        assert all(before[1] <= after[0] for before, after in zip(sorted(tops), sorted(tops)[1:], strict=False))


def test_threads_and_what_runs_beside_lie_on_tracks_of_their_own(exported):
    chrome = exported("chrome")
    names = {
        (event["pid"], event["tid"]): event["args"]["name"]
        for event in json.loads(chrome)["traceEvents"]
        if event["ph"] == "M" and event["name"] == "thread_name"
    }
    tracks = {(names[key], key[0]): [name for name, *_ in track] for key, track in tracks_of_chrome(chrome).items()}
    threads = [found for (name, _), found in tracks.items() if name.startswith("thread ")]

    assert [["inner", "inner", "outer"]] * 2 == threads
    assert 4 == sum(found.count("task") for (name, _), found in tracks.items() if name.startswith("main thread"))
    assert all(found.count("task") <= 2 for found in tracks.values())
    assert ["inner"] in [found for (name, _), found in tracks.items() if name == "spans"]  # of the forked child


def test_counters_and_the_alert_are_in_the_trace(exported):
    events = json.loads(exported("chrome"))["traceEvents"]

    counters = defaultdict(list)
    for event in events:
        if event["ph"] == "C":
            counters[event["name"]].append(event["args"]["value"])
    assert all(2e6 < value < 1e9 for value in counters["process.memory.usage (By)"])
    assert all(0 <= value < 64 for value in counters["otel_perf.process.cpu.usage ({cpu})"])
    assert len(counters["process.memory.usage (By)"]) >= 2
    (alert,) = [event for event in events if event["ph"] == "i" and event["args"]["budget"] == "threads"]
    assert alert["name"].startswith("threads 2 threads is over 1 thread")
    assert alert["ts"] > 0


def test_one_process_can_be_named(exported, recorded):
    parent, child = sorted(path.name for path in recorded.glob(".otel-perf/*/*"))

    assert b"inner" == exported("folded", "--process", child).rpartition(b" ")[0]
    assert b"startup;CoreInit" in exported("folded", "--process", parent)


def test_run_is_found_by_name_folder_and_process_folder(exported, recorded, tmp_path):
    (process,) = [
        path.parent for path in recorded.glob(".otel-perf/*/*/traces.jsonl") if b'"startup"' in path.read_bytes()
    ]
    everything = exported("folded")

    assert everything == exported("folded", process.parent.name)
    assert everything == exported("folded", process.parent, cwd=tmp_path)
    assert everything.startswith(exported("folded", process, cwd=tmp_path)[:100])


@pytest.mark.skipif(sys.platform != "linux", reason="SIGKILL")
def test_what_was_open_when_the_program_was_killed_begins_in_the_trace_and_never_ends(export, exported, tmp_path):
    program = """
        import os, signal, threading, time
        import otel_perf as perf
        perf.init(service="dies")

        @perf.profile
        def load():
            time.sleep(30)

        threading.Timer(1.8, os.kill, (os.getpid(), signal.SIGKILL)).start()
        with perf.phase("CoreInit"):
            load()
    """
    words = [sys.executable, "-c", textwrap.dedent(program)]
    subprocess.run(words, cwd=tmp_path, env=environment(), timeout=60, check=False)

    events = json.loads(exported("chrome", cwd=tmp_path))["traceEvents"]
    ended = {event["name"] for event in events if event["ph"] == "E"}
    begun = [event for event in events if event["ph"] == "B" and event["name"] not in ended]
    assert ["CoreInit", "load"] == [event["name"] for event in begun]
    assert begun[0]["ts"] <= begun[1]["ts"]
    assert b"CoreInit" not in exported("folded", cwd=tmp_path)
    assert b"CoreInit" not in exported("speedscope", cwd=tmp_path)


# --- where it is written ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMATS)
def test_file_has_what_stdout_has_and_stdout_nothing(export, exported, name, tmp_path):
    file = tmp_path / "out"

    done = export("--format", name, "-o", file)

    assert (0, b"", b"") == (done.returncode, done.stdout, done.stderr)
    assert exported(name) == file.read_bytes()
    assert ["out"] == [path.name for path in tmp_path.iterdir()]


def test_file_that_exists_is_kept_unless_forced(export, tmp_path):
    file = tmp_path / "run.folded"
    file.write_text("mine")

    refused = export("--format", "folded", "-o", file)

    assert (2, "mine") == (refused.returncode, file.read_text())
    assert (
        f"otel-perf export: {file} exists; name another file, or write --force to replace it\n"
        == refused.stderr.decode()
    )
    assert 0 == export("--format", "folded", "-o", file, "--force").returncode
    assert "startup;PreInit " in file.read_text()


@pytest.mark.parametrize("where", ["no/such/folder/out", ".", "a file/out"])
def test_file_that_cannot_be_written_is_said_in_one_line(export, where, tmp_path):
    (tmp_path / "a file").write_text("")

    done = export("--format", "chrome", "-o", tmp_path / where)

    assert 1 == done.returncode
    assert done.stderr.startswith(f"otel-perf export: cannot write {tmp_path / where}: ".encode())
    assert 1 == done.stderr.count(b"\n")
    assert ["a file"] == [path.name for path in tmp_path.iterdir()]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only where there is a full disk to be had")
@pytest.mark.parametrize("name", FORMATS)
def test_full_disk_is_said_in_one_line(export, name):
    with open("/dev/full", "wb") as full:
        to_stdout = export("--format", name, stdout=full)
    to_file = export("--format", name, "-o", "/dev/full")

    for done, where in ((to_stdout, b"to stdout"), (to_file, b"/dev/full")):
        assert 1 == done.returncode
        assert done.stderr.startswith(b"otel-perf export: cannot write " + where + b": No space left on device")
        assert 1 == done.stderr.count(b"\n")


def test_result_that_is_cut_short_leaves_no_file(export, tmp_path):
    import resource

    def small():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    done = export("--format", "chrome", "-o", tmp_path / "out", preexec_fn=small)

    assert 1 == done.returncode
    assert b": File too large; " in done.stderr
    assert [] == list(tmp_path.iterdir())


def test_reader_that_has_enough_ends_it_quietly(recorded):
    with subprocess.Popen([*COMMAND, "--format", "chrome"], cwd=recorded, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:  # fmt: skip
        process.stdout.close()
        assert b"" == process.stderr.read()
    assert 0 == process.returncode


def test_link_and_pipe_are_written_through(export, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "target")
    os.mkfifo(tmp_path / "pipe")

    assert 0 == export("--format", "folded", "-o", tmp_path / "link").returncode
    with subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE) as reader:
        assert 0 == export("--format", "folded", "-o", tmp_path / "pipe").returncode
        assert reader.stdout.read() == (tmp_path / "target").read_bytes()
    assert (tmp_path / "link").is_symlink()


def on_a_terminal(words, cwd, command=COMMAND, **more):
    """Run a command whose stdout and stderr are a terminal; return its exit status and what stood there."""
    import pty

    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [*command, *map(str, words)],
        cwd=cwd,
        env=environment(**more),
        stdin=subprocess.DEVNULL,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    shown = b""
    while True:
        try:
            part = os.read(controller, 65536)
        except OSError:  # Linux says so when the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(controller)
    return process.wait(60), shown.decode()


def test_terminal_sees_a_bar_which_is_gone_at_the_end(recorded, tmp_path):
    status, shown = on_a_terminal(["--format", "chrome", "-o", tmp_path / "out"], recorded)

    assert 0 == status
    assert "%  reading traces.jsonl of " in shown
    assert re.search(r"\r +\r$", shown)


MANY = """
import otel_perf as perf
perf.init(service="many")
perf.ready()
for _ in range(40_000):
    with perf.profile("step", span_threshold=0):
        pass
"""


@pytest.fixture(scope="module")
def in_parts(tmp_path_factory):
    """Return a folder with a run whose spans are in several parts of a file."""
    folder = tmp_path_factory.mktemp("parts")
    limit = {"OTEL_PERF_FOLDER_LIMIT": "300MB"}
    subprocess.run([sys.executable, "-c", MANY], cwd=folder, env=environment(**limit), check=True, timeout=60)
    assert 3 <= len(list(folder.glob(".otel-perf/*/*/traces*.jsonl")))
    return folder


@pytest.mark.parametrize(
    "words",
    [["export", "--format", "chrome", "-o", "out"], ["report"], ["report", "--json"], ["report", "--html", "page"], ["check"], ["flame"]],
)  # fmt: skip
def test_whoever_waits_for_a_long_run_sees_how_far_it_is(in_parts, words):
    """Up to the whole and no further, on a terminal that knows no escapes too."""
    _, shown = on_a_terminal([*words, *(["--force"] if "-o" in words or "--html" in words else [])], in_parts,
                             [sys.executable, "-m", "otel_perf"], TERM="dumb")  # fmt: skip

    shares = [int(share) for share in re.findall(r"] +(\d+)%  reading (?!metrics|logs)", shown)]
    assert shares == sorted(shares)
    assert 0 < len(shares)
    assert max(shares) <= 100
    assert "\x1b" not in shown.rpartition("\r")[0]
    assert max(len(line) for line in re.split(r"[\r\n]+", shown) if line.startswith("[")) < 80


def test_binary_format_is_not_for_a_terminal(recorded):
    status, shown = on_a_terminal(["--format", "pprof"], recorded)

    assert 2 == status
    assert "otel-perf export: pprof is binary and no use on a terminal; write it to a file: -o run.pb.gz\r\n" == shown


# --- bad input ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--format", "folded", "abc"], "otel-perf export: no run 'abc' in .otel-perf/ (1 there, newest '"),
        (["--format", "folded", "--process", "1x"], "otel-perf export: no process '1x' in run '"),
        (["--format", "folded", "--folder", "nowhere"], "otel-perf export: no folder nowhere/ here; record one: "),
        (["--format", "flame"], "(choose from "),
        ([], "the following arguments are required: --format"),
    ],
)
def test_wrong_words_are_said_without_a_traceback(export, words, said):
    done = export(*words)

    assert (2, b"") == (done.returncode, done.stdout)
    assert said in done.stderr.decode()
    assert b"Traceback" not in done.stderr


def copy_of(recorded, tmp_path):
    """Return the folder of the process that forked, in a copy of the run."""
    (run,) = {path.parent.parent for path in recorded.glob(".otel-perf/*/*/traces.jsonl")}
    shutil.copytree(run, tmp_path / run.name)
    (process,) = [
        path.parent for path in (tmp_path / run.name).glob("*/traces.jsonl") if b'"startup"' in path.read_bytes()
    ]
    return process


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_lines_are_counted_and_the_rest_is_told(export, exported, recorded, tmp_path, name):
    process = copy_of(recorded, tmp_path)
    with (process / "traces.jsonl").open("ab") as file:
        file.write(
            b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"no id"},7]}]}]}\nno JSON\n\xff\xfe\n{"resourceSp'
        )

    done = export("--format", name, process.parent)

    assert 0 == done.returncode
    assert (
        "otel-perf export: skipped 3 damaged lines (not JSON, torn at the end), 2 damaged records (span without valid ids, "
        f"spans entry that is no object) in {process / 'traces.jsonl'}\n"
    ) == done.stderr.decode()
    assert exported(name) == done.stdout


def test_run_without_spans_says_so(export, recorded, tmp_path):
    process = copy_of(recorded, tmp_path)
    for other in process.parent.iterdir():
        if other != process:
            shutil.rmtree(other)
    (process / "traces.jsonl").unlink()

    done = export("--format", "folded", process.parent)

    assert (2, b"") == (done.returncode, done.stdout)
    assert (
        f"otel-perf export: run {process.parent.name!r} has no spans to export; otel-perf doctor says why data is missing\n"
        == done.stderr.decode()
    )


def test_file_that_cannot_be_read_is_named(export, recorded, tmp_path):
    process = copy_of(recorded, tmp_path)
    (process / "metrics.jsonl").unlink()
    (process / "metrics.jsonl").mkdir()  # to the superuser, too, it is none

    done = export("--format", "chrome", process.parent)

    assert 2 == done.returncode
    assert (
        f"otel-perf export: cannot read {process / 'metrics.jsonl'}: not a regular file; is it yours?\n"
        == done.stderr.decode()
    )


def test_no_room_to_sort_is_said(recorded, tmp_path):
    script = textwrap.dedent(
        """
        import sqlite3, sys
        real = sqlite3.connect
        def connect(*words, **options):
            found = real(*words, **options)
            found.execute("PRAGMA max_page_count = 2")
            return found
        sqlite3.connect = connect
        from otel_perf.cli import main
        sys.exit(main(["export", "--format", "folded"]))
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=recorded,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (1, "") == (done.returncode, done.stdout)
    assert "otel-perf export: cannot sort the spans in /" in done.stderr
    assert "database or disk is full; TMPDIR names another folder\n" in done.stderr


def test_help_has_examples(export):
    done = export("--help")

    assert 0 == done.returncode
    assert b"otel-perf export --format speedscope -o run.json" in done.stdout
    assert all(f"  {name}" in done.stdout.decode() for name in FORMATS)


def test_pprof_is_gzip_and_the_same_each_time(exported):
    first = exported("pprof")

    assert first == exported("pprof")
    assert b"side_by_side.py" in gzip.decompress(first)


# --- a large run ----------------------------------------------------------------------------------------------------------

LARGE = """
    import sys, time
    import otel_perf as perf
    from otel_perf import recorder

    perf.init(service="large")

    @perf.profile(span_threshold=0)
    def leaf(): pass

    @perf.profile(span_threshold=0)
    def request():
        for _ in range(9): leaf()

    perf.ready()
    for turn in range(int(sys.argv[1]) // 10):
        request()
        while turn % 1000 == 0 and len(recorder.finished) > 20_000: time.sleep(0.05)
"""
MEASURED = "import sys; from otel_perf.cli import main; main(sys.argv[1:]); print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0], file=sys.stderr)"


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_memory_does_not_grow_with_the_run(run_python, tmp_path, name):
    used = {}
    for number in (50_000, 200_000):
        folder = f"runs{number}"
        assert "" == run_python(LARGE, args=[str(number)], env={"OTEL_PERF_FOLDER": folder}).stderr
        words = ["-c", MEASURED, "export", "--folder", folder, "--format", name, "-o", f"out{number}"]
        used[number] = int(run_python(words, timeout=100).stderr)

    lines = (tmp_path / "out200000").stat().st_size
    assert name not in ("speedscope", "chrome") or lines > 200_000 * 2 * 30
    assert used[200_000] - used[50_000] < 30_000  # kB; SQLite's own bound is 16 MB, a span as an object has 300 bytes
