"""Exported files are shown to the official readers: speedscope, go tool pprof, inferno; ``make readers`` installs them."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.stack

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent / "formats"
PROGRAM = ROOT / "tests" / "integration" / "programs" / "side_by_side.py"
FORMATS = ("folded", "speedscope", "pprof", "chrome")
TIME = re.compile(r"([0-9.]+)(ns|us|ms|s|mins|hrs)$")
UNITS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}


@pytest.fixture(scope="module")
def readers() -> Any:
    spec = importlib.util.spec_from_file_location("formats_install", HERE / "install.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with one recorded run in each format, the file called as the format."""
    folder = tmp_path_factory.mktemp("exported")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "PYTHON"))}
    environment = kept | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, PROGRAM], cwd=folder, env=environment, capture_output=True, timeout=60, check=False
    )
    assert (0, b"", b"") == (done.returncode, done.stdout, done.stderr)
    for name in FORMATS:
        words = [sys.executable, "-m", "otel_perf", "export", "--format", name, "-o", name]
        subprocess.run(words, cwd=folder, env=environment, check=True, timeout=60)
    return folder


@pytest.fixture
def speedscope(readers: Any) -> Any:
    """Return a function that gives what speedscope's script says of a file: ``schema`` or ``import``."""
    folder = readers.find("speedscope")
    if shutil.which("node") is None or folder is None:
        pytest.skip("needs node and speedscope: make readers")

    def ask(what: str, file: Path) -> Any:
        words = ["node", HERE / "read.mjs", folder / "node_modules", what, file]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        assert (0, "") == (done.returncode, done.stderr)
        return json.loads(done.stdout)

    return ask


@pytest.fixture
def pprof() -> Any:
    """Return a function that gives the lines of go tool pprof."""
    if shutil.which("go") is None:
        pytest.skip("needs go")

    def run(*words: Any) -> list[str]:
        environment = {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "", "PPROF_TMPDIR": os.devnull}
        words = ["go", "tool", "pprof", *words]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=100, check=False)
        assert 0 == done.returncode, done.stderr
        return done.stdout.splitlines()

    return run


def folded(exported: Path) -> dict[str, int]:
    lines = (exported / "folded").read_text(encoding="utf-8").splitlines()
    return {path: int(time) for path, _, time in (line.rpartition(" ") for line in lines)}


def leaves(exported: Path) -> Counter[str]:
    """Return µs of self time by name, as the folded stacks have them."""
    found: Counter[str] = Counter()
    for path, time in folded(exported).items():
        found[path.rpartition(";")[2]] += time
    return found


def plain(name: str) -> str:
    return " ".join(name.replace(";", ":").split())


def test_speedscope_file_holds_to_the_schema(speedscope, exported):
    assert [] == speedscope("schema", exported / "speedscope")


@pytest.mark.parametrize("what", ["type", "at", "frames"])
def test_schema_would_say_no(speedscope, exported, tmp_path, what):
    text = (exported / "speedscope").read_text(encoding="utf-8")
    assert f'"{what}":' in text
    (tmp_path / "damaged").write_text(text.replace(f'"{what}":', f'"{what}s":'), encoding="utf-8")

    assert [] != speedscope("schema", tmp_path / "damaged")


def nested(profile: dict[str, Any]) -> None:
    """Check that the events of an imported profile open and close in turn, at moments in order."""
    open_: list[str] = []
    last = 0.0
    for kind, name, at in profile["events"]:
        assert at >= last
        last = at
        if kind == "O":
            open_.append(name)
        else:
            assert name == open_.pop()
    assert [] == open_
    assert profile["events"]


def self_times(profiles: list[dict[str, Any]], unit: float) -> Counter[str]:
    """Return µs of self time by name, as speedscope has them."""
    found: Counter[str] = Counter()
    for profile in profiles:
        for name, own, _ in profile["frames"]:
            found[plain(name)] += own * unit
    return found


@pytest.mark.parametrize("name", ["speedscope", "chrome"])
def test_speedscope_imports_what_folded_says(speedscope, exported, name):
    found = speedscope("import", exported / name)

    assert [] == found["warnings"]
    for profile in found["profiles"]:
        nested(profile)
    unit = {"nanoseconds": 1e-3, "microseconds": 1.0}[found["profiles"][0]["unit"]]
    times = self_times(found["profiles"], unit)
    expected = leaves(exported)
    generator = {"items", "consume"}  # whose pieces no track can show
    assert set(expected) == set(times)
    calls = len(folded(exported))
    assert {key: time for key, time in expected.items() if key not in generator} == pytest.approx(
        {key: time for key, time in times.items() if key not in generator}, abs=calls
    )


def test_both_imports_are_the_same_profiles(speedscope, exported):
    own, chrome = (speedscope("import", exported / name)["profiles"] for name in ("speedscope", "chrome"))

    def shapes(profiles: list[dict[str, Any]]) -> list[list[tuple[str, str]]]:
        return sorted([(kind, name) for kind, name, _ in profile["events"]] for profile in profiles)

    assert len(own) >= 10
    assert shapes(own) == shapes(chrome)


def test_speedscope_imports_folded_stacks(speedscope, exported):
    found = speedscope("import", exported / "folded")

    [profile] = found["profiles"]
    assert [] == found["warnings"]
    assert sum(folded(exported).values()) == profile["weight"]
    shown = {name: own for name, own, _ in profile["frames"] if own}
    assert {name: time for name, time in leaves(exported).items() if time} == shown


def nanoseconds(text: str) -> float:
    if text == "0":
        return 0
    number, unit = TIME.match(text).groups()
    return float(number) * UNITS[unit]


def test_pprof_top_says_what_folded_says(pprof, exported):
    lines = pprof("-top", "-nodefraction=0", "-nodecount=10000", "-unit=ns", exported / "pprof")

    start = next(number for number, line in enumerate(lines) if line.split()[:2] == ["flat", "flat%"])
    flat = {plain(line.split(None, 5)[5]): nanoseconds(line.split()[0]) / 1000 for line in lines[start + 1 :]}
    assert "Type: wall" in lines
    expected = {name: time for name, time in leaves(exported).items() if time}
    assert expected == pytest.approx({name: flat[name] for name in expected}, abs=len(folded(exported)))


def test_pprof_samples_of_a_thread_are_no_longer_than_it(pprof, exported):
    lines = pprof("-raw", exported / "pprof")

    begin, end = lines.index("spans/count wall/nanoseconds[dflt]"), lines.index("Locations")
    tracks: Counter[str] = Counter()
    spans = time = 0
    for line in lines[begin + 1 : end]:
        words = re.match(r"\s+(\d+)\s+(\d+): ", line)
        if words:
            spans, time = spans + int(words[1]), int(words[2])
        else:
            tracks[line.strip()] += time
    profiles = json.loads((exported / "speedscope").read_text(encoding="utf-8"))["profiles"]
    assert sum(len(profile["events"]) for profile in profiles) == 2 * spans
    lengths = defaultdict(int)
    for profile in profiles:
        title, _, track = profile["name"].rpartition(": ")
        lengths[f"process:[{title}] thread:[{track}]"] += profile["endValue"] - profile["startValue"]
    assert set(lengths) == set(tracks)
    assert all(tracks[key] <= lengths[key] for key in tracks)


def test_pprof_knows_the_lines_of_the_code(pprof, exported):
    lines = pprof("-top", "-lines", "-nodefraction=0", exported / "pprof")

    assert any(re.search(r"inner .*side_by_side\.py:\d+$", line) for line in lines)


def test_inferno_draws_every_frame(readers, exported):
    folder = readers.find("inferno")
    if folder is None:
        pytest.skip("needs inferno: make readers")
    stacks = folded(exported)

    with (exported / "folded").open("rb") as file:
        words = [folder / "bin" / "inferno-flamegraph", "--minwidth", "0"]
        done = subprocess.run(words, stdin=file, capture_output=True, text=True, timeout=60, check=False)

    assert (0, "") == (done.returncode, done.stderr)
    assert "differential" not in done.stdout
    drawn = re.findall(r"<title>([^<]*) \(([0-9,]+) samples, [0-9.]+%\)</title>", done.stdout)
    whole = sum(stacks.values())
    assert ("all", f"{whole:,}") in drawn
    totals: Counter[tuple[str, ...]] = Counter()
    for path, time in stacks.items():
        frames = tuple(path.split(";"))
        for length in range(1, len(frames) + 1):
            totals[frames[:length]] += time
    escaped = {"<": "&lt;", ">": "&gt;"}
    expected = Counter(
        ("".join(escaped.get(each, each) for each in path[-1]), f"{time:,}") for path, time in totals.items() if time
    )
    assert expected <= Counter(drawn)


@pytest.mark.skipif(sys.platform != "linux", reason="SIGKILL")
def test_speedscope_closes_what_never_ended(speedscope, tmp_path):
    program = """
import os, signal, threading, time
import otel_perf as perf
perf.init(service="dies")
threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGKILL)).start()
with perf.phase("CoreInit"), perf.phase("load"):
    time.sleep(30)
"""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "PYTHON"))}
    environment = kept | {"PYTHONPATH": str(ROOT / "src")}
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, timeout=60, check=False)
    words = [sys.executable, "-m", "otel_perf", "export", "--format", "chrome", "-o", "trace"]
    subprocess.run(words, cwd=tmp_path, env=environment, check=True, timeout=60)

    found = speedscope("import", tmp_path / "trace")

    assert all("was still open at end of profile. Closing automatically." in text for text in found["warnings"])
    assert ["load", "CoreInit"] == [text.split('"')[1] for text in found["warnings"]]
    assert {"CoreInit", "load"} <= {name for one in found["profiles"] for name, *_ in one["frames"]}
