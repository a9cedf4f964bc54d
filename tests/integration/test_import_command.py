"""``otel-perf import`` on files of real programs: what they say is in every view, and nothing that they do not say."""

from __future__ import annotations

import json
import os
import pstats
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path

import pytest

SRC = str(Path(__file__).resolve().parents[2] / "src")
SIDE_BY_SIDE = Path(__file__).with_name("programs") / "side_by_side.py"
COMMAND = [sys.executable, "-m", "otel_perf"]
FORMATS = ("folded", "speedscope", "pprof", "chrome")
PAUSE = 0.15  # seconds that a module of the program sleeps


def environment(**more):
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "PYTHON"))}
    return kept | {"PYTHONPATH": SRC} | more


@pytest.fixture
def command(tmp_path):
    """Return a function that runs ``otel-perf`` in the test's folder."""

    def run(*words, input=b"", cwd=tmp_path, **variables):
        return subprocess.run(
            [*COMMAND, *map(str, words)], cwd=cwd, env=environment(**variables), input=input, capture_output=True,
            timeout=60, check=False,
        )  # fmt: skip

    return run


@pytest.fixture
def said(command):
    """Return a function that gives what the command says on stdout, when all is well."""

    def run(*words, **options):
        done = command(*words, **options)
        assert (0, b"") == (done.returncode, done.stderr)
        return done.stdout.decode()

    return run


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """Return a script that imports modules of its own, which sleep and import each other, and some of the library."""
    folder = tmp_path_factory.mktemp("program")
    modules = {
        "shop/__init__.py": "",
        "shop/db.py": "import time; time.sleep({pause}); import shop.driver; time.sleep({pause})",
        "shop/driver.py": "import time; time.sleep({pause}); import decimal",
        "shop/web.py": "import json.tool, shop.driver; import time; time.sleep({pause})",
        "app.py": """
            import shop.db, shop.web, wave
            def work(number):
                return sum(range(number))
            def few():
                return work(1000)
            def main():
                few()
                return [work(100_000) for _ in range(20)]
            main()
        """,
    }
    for name, text in modules.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(textwrap.dedent(text).replace("{pause}", str(PAUSE)))
    return folder / "app.py"


def run_plainly(program, *options, cwd):
    done = subprocess.run(
        [sys.executable, *options, program], cwd=cwd, env=environment(), capture_output=True, timeout=60, check=False
    )
    assert (0, b"") == (done.returncode, done.stdout)
    return done.stderr


@pytest.fixture
def log(program, tmp_path):
    """Return the file with what ``python -X importtime`` said of the program."""
    file = tmp_path / "imports.log"
    file.write_bytes(run_plainly(program, "-X", "importtime", cwd=tmp_path))
    return file


@pytest.fixture
def profile(program, tmp_path):
    """Return the file that ``python -m cProfile`` wrote of the program."""
    file = tmp_path / "app.prof"
    run_plainly(program, "-m", "cProfile", "-o", file, cwd=tmp_path)
    return file


@pytest.fixture(scope="module")
def recorded_once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recorded")
    done = subprocess.run(
        [sys.executable, SIDE_BY_SIDE], cwd=folder, env=environment(), capture_output=True, timeout=60, check=False
    )
    assert (0, b"", b"") == (done.returncode, done.stdout, done.stderr)
    return folder / ".otel-perf"


@pytest.fixture
def recorded(recorded_once, tmp_path):
    """Return the folder of a run with threads, tasks, alerts and a forked child, in the test's folder."""
    shutil.copytree(recorded_once, tmp_path / ".otel-perf")
    (run,) = (tmp_path / ".otel-perf").glob("2*")
    return run


def runs(folder):
    return sorted(path.name for path in folder.glob(".otel-perf/2*"))


# --- importtime -------------------------------------------------------------------------------------------------------


@pytest.mark.timed
def test_log_has_the_modules_nesting_and_times_of_our_own_recording(said, program, tmp_path, spans_of):
    """Under ``otel-perf run`` other modules are loaded before the program; what it imports itself is the same.

    The shortest of three times: what a busy machine adds is in neither.
    """

    def of(folder):
        spans = [span for span in spans_of(folder) if span["attributes"]["otel_perf.kind"] == "import"]
        parents = {(span["process"], span["span_id"]): span["attributes"]["otel_perf.module"] for span in spans}
        above, alone, whole = {}, {}, {}
        for span in spans:
            module = span["attributes"]["otel_perf.module"]
            above[module] = parents.get((span["process"], span["parent_id"]), "")
            alone.setdefault(module, []).append(span["attributes"]["otel_perf.self_time"])
            whole.setdefault(module, []).append((span["end"] - span["start"]) / 1e9)
        return above, *({module: min(times) for module, times in each.items()} for each in (alone, whole))

    for number in range(3):
        os.makedirs(tmp_path / "own", exist_ok=True)
        said("run", "--", sys.executable, program, cwd=tmp_path / "own", OTEL_PERF_IMPORT_THRESHOLD="0")
        (tmp_path / f"{number}.log").write_bytes(run_plainly(program, "-X", "importtime", cwd=tmp_path))
    said("import", *sorted(tmp_path.glob("*.log")))

    own, theirs = of(tmp_path / "own"), of(tmp_path)
    # what decimal, json.tool and wave import in their turn may have been loaded for us before
    modules = {"shop", "shop.db", "shop.driver", "shop.web", "decimal", "json.tool", "wave"}
    assert modules <= own[0].keys() & theirs[0].keys()
    assert {"encodings", "site"} <= theirs[0].keys()
    assert {module: own[0][module] for module in modules} == {module: theirs[0][module] for module in modules}
    for mine, other in zip(own[1:], theirs[1:], strict=True):
        times = {module: other[module] for module in modules}
        assert {module: mine[module] for module in modules} == pytest.approx(times, abs=0.6 * PAUSE)
    assert 2 * PAUSE == pytest.approx(theirs[1]["shop.db"], abs=0.6 * PAUSE)
    assert 3 * PAUSE == pytest.approx(theirs[2]["shop.db"], abs=0.8 * PAUSE)


def test_log_is_in_every_view(said, log):
    name = said("import", log, "--service", "shop").strip()

    report = said("report", "--width", "150")
    assert report.startswith("shop: budget of 2 s unknown: the record does not say what ended the start after ")
    assert f"run {name}, " in report
    assert "imported from imports.log (importtime)" in report
    assert "import shop.db" in report
    assert "ended without a word" not in report
    assert "killed" not in report
    checked = said("check")
    assert "unknown   startup" in checked
    assert "startup;import shop.db;import shop.driver " in said("export", "--format", "folded")
    assert name in said("report", "--list")
    modules = json.loads(said("report", "--json"))["start"]["imports"]["modules"]
    assert "shop.driver" in [one["module"] for one in modules]


# --- cProfile ---------------------------------------------------------------------------------------------------------


def test_profile_has_the_numbers_of_pstats_for_each_function(said, profile):
    said("import", profile)
    expected = pstats.Stats(str(profile)).stats

    functions = json.loads(said("report", "--json"))["functions"]
    assert len(expected) == len(functions)
    found = {one["name"]: one for one in functions}
    for (_, line, function), (_, calls, own, total, _) in expected.items():
        if function in ("work", "few", "main"):
            one = found[f"{function} (app.py:{line})"]
            assert (calls, total) == (one["calls"], one["total_seconds"])
            assert own == pytest.approx(one["self_seconds"], abs=1e-8)
    assert sorted(numbers[3] for numbers in expected.values()) == sorted(one["total_seconds"] for one in functions)


def test_calls_that_nobody_counted_by_path_are_not_told_to_be_none(said, profile):
    said("import", profile)

    lines = said("flame", "--width", 100).splitlines()

    rows = [line.split() for line in lines[lines.index(next(line for line in lines if line.startswith("all "))) :]]
    assert len(rows) > 2
    assert all(row[-1] in ("ns", "µs", "ms", "s") for row in rows), rows


def test_call_paths_of_a_profile_are_shares_and_say_so(said, profile, spans_of, tmp_path):
    said("import", profile)

    spans = spans_of(tmp_path)
    assert {("laid out", "shares")} == {
        (span["resource"]["otel_perf.imported.times"], span["resource"]["otel_perf.imported.call_paths"])
        for span in spans
    }
    stacks = dict(line.rsplit(" ", 1) for line in said("export", "--format", "folded").splitlines())
    whole = sum(numbers[2] for numbers in pstats.Stats(str(profile)).stats.values())
    assert whole == pytest.approx(sum(map(int, stacks.values())) / 1e6, abs=len(stacks) * 1e-6)
    (few,) = [path for path in stacks if path.endswith("few (app.py:5);work (app.py:3)")]
    assert "main (app.py:7)" in few
    report = said("report")
    assert "from buckets" not in report
    assert "from spans only" not in report
    assert "no start was recorded" in report.splitlines()[0]
    assert "imported from app.prof (pstats)" in report.replace("\n ", "")


def test_bytes_that_end_an_interpreter_which_loads_them_are_refused(command, profile, tmp_path):
    """marshal.loads() of the first, a tuple that holds itself as a key, is a segmentation fault in Python 3.11 to 3.13."""
    for data in (
        b"\xfb\xa9\x01r\x01\x00\x00\x00N0",
        b"{(\xff\xff\xff\x7f",
        b"{)\x02" * 50_000,
        profile.read_bytes()[:-1],
    ):
        (tmp_path / "bad.prof").write_bytes(data)
        done = command("import", "bad.prof")
        assert (2, b"") == (done.returncode, done.stdout)
        assert done.stderr.startswith(b"otel-perf import: bad.prof is no profile of cProfile: ")
    assert [] == runs(tmp_path)


# --- our own ----------------------------------------------------------------------------------------------------------


def test_folded_stacks_come_back_as_they_were(said, recorded, tmp_path):
    stacks = said("export", "--format", "folded")
    (tmp_path / "stacks").write_text(stacks, encoding="utf-8")

    name = said("import", "stacks").strip()

    assert name != recorded.name
    assert stacks == said("export", name, "--format", "folded")
    assert stacks == said("export", said("import", "-", input=stacks.encode()).strip(), "--format", "folded")


def test_otlp_lines_of_a_run_give_the_same_report_check_and_exports(said, command, recorded, tmp_path):
    files = sorted(recorded.glob("*/*.jsonl"))
    assert 6 == len(files)

    name = said("import", *files).strip()

    def seen(run):
        report = json.loads(said("report", run, "--json", "--all"))
        exports = [
            said("export", run, "--format", form).replace(run, "RUN") for form in ("folded", "speedscope", "chrome")
        ]
        return report | {"run": ""}, command("check", run, "--json").stdout.decode().replace(run, "RUN"), exports

    own, theirs = seen(recorded.name), seen(name)
    assert own == theirs
    assert own[0]["functions"]
    assert own[0]["alerts"]
    head = said("report", name, "--width", "200").splitlines()
    without = [line.replace("imported from traces.jsonl (otlp), ", "").replace(name, "RUN") for line in head]
    assert without == [
        line.replace(recorded.name, "RUN") for line in said("report", recorded.name, "--width", "200").splitlines()
    ]


def test_whatever_was_imported_can_be_exported_and_replayed(said, command, log, profile, recorded, receiver, tmp_path):
    (tmp_path / "stacks").write_text("main;load 100\nmain;save 5\n")
    (traces, *_) = recorded.glob("*/traces.jsonl")
    for file, number in ((log, 20), (profile, 20), (tmp_path / "stacks", 3), (traces, 1)):
        name = said("import", file).strip()
        for form in FORMATS:
            assert 0 == command("export", name, "--format", form).returncode
        assert 0 == command("check", name).returncode or file == traces
        got = receiver()
        assert "sent " in said("replay", name, "--endpoint", got.url("http"), "--protocol", "http/protobuf")
        written = sum(
            len(scope["spans"])
            for path in (tmp_path / ".otel-perf" / name).glob("*/traces.jsonl")
            for line in path.read_text().splitlines()
            for scope in json.loads(line)["resourceSpans"][0]["scopeSpans"]
        )
        assert written >= number
        assert written == len(got.wait_for(written))
        got.requests()


# --- the command ------------------------------------------------------------------------------------------------------


def test_run_s_name_is_all_that_stdout_has_and_files_of_all_formats_make_one_run(said, log, profile, tmp_path):
    (tmp_path / "stacks").write_text("main;load 100\n")

    name = said("import", log, profile, "stacks", "--folder", "perf")

    (run,) = (tmp_path / "perf").glob("2*")
    assert f"{run.name}\n" == name
    assert 3 == len(os.listdir(run))
    assert {"importtime", "pstats", "folded"} == {
        json.loads((run / process / "traces.jsonl").read_text().splitlines()[0])["resourceSpans"][0]["resource"][
            "attributes"
        ][1]["value"]["stringValue"]
        for process in os.listdir(run)
    }
    assert 0o700 == (run / os.listdir(run)[0]).stat().st_mode & 0o777


def test_what_is_skipped_and_what_has_to_be_known_is_one_line_each(command, tmp_path):
    (tmp_path / "im\x1bports.log").write_text(
        "import time: self [us] | cumulative | imported package\n"
        "import time:       -5 |       10 | a\nimport time: bad\nimport time: bad\nimport time: 1 | 2 | \n"
    )

    done = command("import", "im\x1bports.log")

    assert 0 == done.returncode
    assert [
        "otel-perf import: 1 import with a self time below 0, shown as 0: on threads at once, which the log mixes up",
        r"otel-perf import: skipped 3 damaged lines (no import, though it says so) in im\x1bports.log",
    ] == done.stderr.decode().splitlines()


def test_samples_are_said_to_be_samples(said, tmp_path, spans_of):
    (tmp_path / "stacks").write_text("main;load (app.py:7) 100\nmain 1\n")
    said("import", "stacks", "--unit", "samples")

    assert {"samples"} == {span["resource"]["otel_perf.imported.unit"] for span in spans_of(tmp_path)}
    assert "main 1\nmain;load (app.py:7) 100\n" == said("export", "--format", "folded")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nowhere.log"], "no file 'nowhere.log'; name one to import, or - for stdin"),
        ([".otel-perf"], "'.otel-perf' is a folder; name the files in it"),
        (["hello.txt"], "hello.txt is none of the formats that can be imported: importtime ("),
        (["hello.txt", "--format", "importtime"], "hello.txt has no line of an import"),
        (["hello.txt", "--format", "folded"], "hello.txt has no stack"),
        (["hello.txt", "--format", "otlp"], "hello.txt has no span, metric or log record of OTLP"),
        (["hello.txt", "--format", "pstats"], "hello.txt is no profile of cProfile: no dictionary, at byte 1"),
        (["imports.log", "--unit", "us"], "--unit is for folded stacks; imports.log is importtime"),
        (["imports.log", "hello.txt"], "hello.txt is none of the formats"),
        (["-", "-"], "stdin, written -, can be imported once"),
        (["-"], "stdin is empty: "),
        ([], "the following arguments are required: FILE"),
        (["hello.txt", "--format", "chrome"], "invalid choice: 'chrome'"),
    ],
)
def test_what_cannot_be_imported_is_refused_with_status_2_and_leaves_no_run(command, tmp_path, words, says):
    (tmp_path / ".otel-perf").mkdir()
    (tmp_path / "hello.txt").write_text("hello\n")
    (tmp_path / "imports.log").write_text("import time:   10 |  10 | a\n")

    done = command("import", *words)

    assert (2, b"") == (done.returncode, done.stdout)
    assert says in done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert [] == runs(tmp_path)


def limited(megabytes):
    """Return what makes the child's writes past so many megabytes of a file fail, as a full disk does."""
    import resource

    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (megabytes * 10**6,) * 2)


def test_no_room_is_said_with_status_1_and_leaves_no_run(tmp_path):
    (tmp_path / "stacks").write_text("".join(f"main;step_{number} 5\n" for number in range(20_000)))

    done = subprocess.run(
        [*COMMAND, "import", "stacks"], cwd=tmp_path, env=environment(), capture_output=True, timeout=60, check=False,
        preexec_fn=limited(1),
    )  # fmt: skip

    assert (1, b"") == (done.returncode, done.stdout)
    assert b"otel-perf import: cannot write to .otel-perf/2" in done.stderr
    assert b"; is there room?\n" in done.stderr
    assert [] == runs(tmp_path)


def test_folder_that_may_not_be_written_is_said_with_status_1(command, tmp_path):
    (tmp_path / "stacks").write_text("main 5\n")
    (tmp_path / "file").write_text("")

    done = command("import", "stacks", "--folder", "file/runs")

    assert (1, b"") == (done.returncode, done.stdout)
    assert b"otel-perf import: cannot make a run in file/runs: " in done.stderr


def test_ctrl_c_leaves_no_run(tmp_path):
    process = subprocess.Popen(
        [*COMMAND, "import", "-"],
        cwd=tmp_path,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        process.stdin.write(b"main 5\n")
        process.stdin.flush()
        end = time.monotonic() + 30
        while not runs(tmp_path) and time.monotonic() < end:
            time.sleep(0.01)
        assert 1 == len(runs(tmp_path))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()

    assert (130, b"", b"") == (process.returncode, out, err)
    assert [] == runs(tmp_path)


def test_bar_on_a_terminal_shows_how_far_it_is_and_goes_away(tmp_path):
    pty = pytest.importorskip("pty", reason="terminals of POSIX")
    (tmp_path / "stacks").write_text("".join(f"main;step_{number % 100} 5\n" for number in range(100_000)))
    master, slave = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, "import", "stacks"],
        cwd=tmp_path,
        env=environment(),
        stdin=slave,
        stdout=subprocess.PIPE,
        stderr=slave,
    ) as process:
        os.close(slave)
        shown = b""
        while True:
            try:
                part = os.read(master, 2**16)
            except OSError:  # its other end is closed
                break
            if not part:
                break
            shown += part
        out = process.stdout.read()
    os.close(master)

    assert 0 == process.returncode
    assert [out.decode().strip()] == runs(tmp_path)
    assert b"%  reading stacks" in shown
    assert b"[#" in shown
    assert re.search(rb"\r +\r$", shown)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["otlp", "folded", "importtime"])
def test_memory_does_not_grow_with_the_file(tmp_path, form):
    def lines(number):
        if form == "folded":
            return (f"main;run;step_{index % 50};leaf_{index % 5000} 7\n" for index in range(number))
        if form == "importtime":
            return (f"import time:   10 |   10 | {'  ' * (index % 2 == 0)}m{index}\n" for index in range(number))
        span = {"traceId": "1" * 32, "name": "load", "startTimeUnixNano": "5", "endTimeUnixNano": "9"}
        return (
            json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span | {"spanId": f"{first + each:016x}"} for each in range(1, 101)]}]}]}) + "\n"
            for first in range(0, number, 100)
        )  # fmt: skip

    def peak(number):
        file = tmp_path / f"{number}"
        with file.open("w") as out:
            out.writelines(lines(number))
        code = "import sys; from otel_perf.cli import main; main(['import', sys.argv[1]]); print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
        done = subprocess.run(
            [sys.executable, "-c", code, str(file)],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            timeout=100,
            check=True,
        )
        return int(done.stdout.split()[-1]) / 1000

    small, large = peak(20_000), peak(200_000)
    assert large < small + 3


def test_threads_that_import_at_once_are_said_to_be_mixed_up(said, command, tmp_path):
    """python/cpython#149308: a real log of two threads, with a self time below 0."""
    for name in "ab":
        (tmp_path / f"slow_{name}.py").write_text(
            f"import time; time.sleep(0.2); import leaf_{name}; time.sleep(0.1)\n"
        )
        (tmp_path / f"leaf_{name}.py").write_text("import time; time.sleep(0.1)\n")
    (tmp_path / "app.py").write_text(
        "import threading\n"
        "threads = [threading.Thread(target=__import__, args=(f'slow_{name}',)) for name in 'ab']\n"
        "[one.start() for one in threads]; [one.join() for one in threads]\n"
    )
    below = 0
    for _ in range(10):  # who comes first is chance
        text = run_plainly(tmp_path / "app.py", "-X", "importtime", cwd=tmp_path).decode()
        below = Counter(line.split("|")[0].split(":")[1].strip().startswith("-") for line in text.splitlines())[True]
        if below:
            break
    assert below, "this interpreter has mended it: then nothing is to be said"

    done = command("import", "-", input=text.encode())

    assert 0 == done.returncode
    assert f"{below} import{'s' * (below > 1)} with a self time below 0, shown as 0".encode() in done.stderr
    assert min(row["self_seconds"] for row in json.loads(said("report", "--json"))["start"]["imports"]["modules"]) >= 0
