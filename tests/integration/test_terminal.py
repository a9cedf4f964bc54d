"""`otel-perf top` and `otel-perf flame` as people see them: in tmux, in a bare terminal, through a pipe; real programs."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest

PROGRAM = """
import os, subprocess, sys, time
import otel_perf as perf

perf.init(service="shop", version="1.4.2")
with perf.phase("CoreInit"):
    time.sleep(0.05)
import http.server
child = subprocess.Popen([sys.executable, sys.argv[1]]) if len(sys.argv) > 1 else None
perf.ready()
backlog = perf.gauge("shop.backlog")
perf.budget("backlog", metric="shop.backlog", max=10)
perf.on_alert(lambda alert: print(time.time(), alert.body, flush=True))

@perf.profile
def price(number):
    return sum(range(number))

@perf.profile(span_threshold=0)
def checkout():
    price(1000)
    time.sleep(0.01)

EVIL = "\\x1b[2J\\x1b]0;evil\\x07名\\u202e"
while not os.path.exists("end"):
    checkout()
    backlog.set(50 if os.path.exists("much") else 1)
    with perf.operation(EVIL if os.path.exists("evil") else "調べる"):
        time.sleep(0.05)
if child is not None:
    child.kill()
    child.wait()
"""
CHILD = """
import os, time
import otel_perf as perf

perf.init(service="worker")
perf.ready()

@perf.profile
def work():
    time.sleep(0.1)

while os.getppid() > 1:
    work()
"""
COLOR = re.compile(r"\x1b\[[0-9]+m")
SEQUENCE = re.compile(r"\x1b(?:\[[?0-9;]*[A-Za-z]|.)")
GIVEN_BACK = b"\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"
TMUX = shutil.which("tmux")
needs_tmux = pytest.mark.skipif(TMUX is None, reason="needs tmux")


def wait_for(what, timeout=15.0):
    """Return the first truth that *what* gives; the test fails after *timeout* seconds."""
    until = time.monotonic() + timeout
    while not (found := what()):
        assert time.monotonic() < until, f"not within {timeout} s"
        time.sleep(0.02)
    return found


@pytest.fixture
def clean():
    """Return an environment in which nothing changes how we behave."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "PYTHON", "TMUX"))}


@pytest.fixture
def program(start_program, write, tmp_path):
    """Return a function that starts the shop, with a child process if asked, and waits until it has called something."""

    def recorded():
        return [path for path in tmp_path.glob(".otel-perf/*/*/metrics.jsonl") if b"checkout" in path.read_bytes()]

    def start(child=False, **more):
        before = len(recorded())
        write("shop.py", PROGRAM)
        words = [sys.executable, "shop.py", *([str(write("worker.py", CHILD))] if child else [])]
        started = start_program(words, **more)
        wait_for(lambda: len(recorded()) > before)
        return started

    return start


class Window:
    """A shell in tmux."""

    def __init__(self, folder, command, width, height, environ):
        self.place = tempfile.mkdtemp(prefix="tmux-")  # the path of a socket is short
        self.command = command
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", str(width), "-y", str(height), "-s", "w", "-c", str(folder),
                  "bash --norc --noprofile -i", environ=environ)  # fmt: skip
        wait_for(lambda: self.lines()[0].strip())  # it asks for a command

    def tmux(self, *words, environ=None):
        command = [TMUX, "-S", f"{self.place}/s", "-u", *words]
        result = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=20, check=True)
        return result.stdout

    def press(self, *keys):
        self.tmux("send-keys", "-t", "w", *keys)

    def type(self, text):
        self.tmux("send-keys", "-t", "w", "-l", text)

    def run(self, *words):
        self.type(" ".join([*self.command, *words, "; echo status $?"]))
        self.press("Enter")

    def lines(self):
        return self.tmux("capture-pane", "-p", "-t", "w").split("\n")[:-1]

    def shows(self, text):
        return any(text in line for line in self.lines())

    def wait(self, *texts, timeout=15.0):
        """Wait until every one of *texts* is on the screen; return the lines."""
        until = time.monotonic() + timeout
        while True:
            lines = self.lines()
            if all(any(text in line for line in lines) for text in texts):
                return lines
            assert time.monotonic() < until, "\n".join([f"no {texts} in", *lines])
            time.sleep(0.02)

    def wait_until_gone(self, text):
        wait_for(lambda: not self.shows(text))

    def resize(self, width, height):
        self.tmux("resize-window", "-t", "w", "-x", str(width), "-y", str(height))

    def close(self):
        with suppress(subprocess.SubprocessError):
            self.tmux("kill-server")
        shutil.rmtree(self.place, ignore_errors=True)


@pytest.fixture
def window(tmp_path, otel_perf, clean):
    """Return a function that opens a shell in a window."""
    opened = []

    def make(width=80, height=24, **environ):
        found = clean | {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TZ": "UTC", **environ}
        opened.append(Window(tmp_path, otel_perf, width, height, found))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


# --- in a window ------------------------------------------------------------------------------------------------------


@needs_tmux
@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 50)])
def test_top_shows_a_program_in_progress(program, window, width, height):
    program()
    shell = window(width, height)

    shell.run("top")
    lines = shell.wait(
        "▾self", "__main__.checkout", "__main__.price", "調べる", "Slowest calls", "last 10 s", "0.02 idle"
    )

    assert lines[0].startswith("shop 1.4.2 started in")
    assert lines[1].startswith("score 100 of 100")
    assert re.match(r"run \S+, process \d+, up \d+ s", lines[2])
    rows = [next(place for place, line in enumerate(lines) if line.startswith(name)) for name in
            ("CPU, cores", "memory (RSS)", "threads", "Open alerts: none", "Functions: 3", "Slowest calls", "q quit")]  # fmt: skip
    assert sorted(rows) == rows
    assert height - 1 == rows[-1]
    assert any("╌" in line and "150 MB memory" in line for line in lines)
    assert any(re.search("[▁▂▃▄▅▆▇█]", line) for line in lines[rows[1] : rows[2]])


@needs_tmux
def test_every_key_does_what_the_help_says(program, window):
    program(child=True)
    shell = window()
    shell.run("top")
    shell.wait("checkout", "(1 of 2)")

    shell.press("s")
    wait_for(lambda: any(line.find("▾self") > 35 for line in shell.lines()))  # that of the whole run
    shell.press("/")
    shell.wait("search: ▏")
    shell.type("PRI")
    shell.press("Enter")
    shell.wait("Functions: 3, 1")
    assert not shell.shows("checkout")
    shell.press("Escape")
    shell.wait("checkout")
    shell.press("r")
    wait_for(lambda: max(len(re.findall("[▁▂▃▄▅▆▇█]", line)) for line in shell.lines() if "threads" in line) <= 4)
    shell.press("-", "-")
    shell.wait("5 s a column")
    shell.press("+", "+")
    shell.wait("43 s ago")
    shell.press("a")
    shell.wait("Other metrics", "open files", "more: down shows them")
    for _ in range(6):
        shell.press("NPage")
    shell.wait("What otel-perf cost", "History of alerts: none")
    shell.press("a")
    shell.wait("Slowest calls")
    shell.press("Tab")
    shell.wait("worker", "(2 of 2)", "__main__.work")
    shell.press("BTab")
    shell.wait("shop 1.4.2", "(1 of 2)")
    shell.press("?")
    shell.wait("Keys and words", "any key goes back")
    shell.press("x")
    shell.wait("checkout")
    shell.press("p")
    before = shell.wait("paused at")
    time.sleep(1.5)
    assert before == shell.lines()
    shell.press("p")
    shell.wait_until_gone("paused at")
    wait_for(lambda: before[2] != shell.lines()[2])  # up goes on
    shell.press("q")
    lines = shell.wait("status 0")
    assert not any("checkout" in line for line in lines)  # the screen from before is back


def filled(lines, height):
    """Say whether *lines* are a window of that height from the verdict to the keys, nothing twice."""
    return (
        height == len(lines)
        and 1 == sum(line.startswith("shop 1.4.2 started in") for line in lines)
        and lines[0].startswith("shop 1.4.2 started in")
        and lines[-1].startswith("q quit")
    )


@needs_tmux
def test_a_resized_window_is_filled_at_once(program, window):
    program()
    shell = window()
    shell.run("top", "--interval 30")
    shell.wait("checkout")
    for width, height in ((120, 40), (40, 12), (200, 50), (80, 24)):
        shell.resize(width, height)
        wait_for(lambda height=height: filled(shell.lines(), height))


@needs_tmux
def test_an_alert_is_seen_within_two_seconds_and_so_is_its_end(program, window, tmp_path):
    shop = program()
    shell = window()
    shell.run("top")
    shell.wait("Open alerts: none", "checkout")

    (tmp_path / "much").touch()
    raised = float(shop.stdout.readline().split()[0])
    shell.wait(": backlog since", "Open alerts: 1", "backlog exceeded: 50, limit 10")
    seen = time.time()
    (tmp_path / "much").unlink()
    shell.wait("Open alerts: none; 1 resolved")

    assert seen - raised <= 2.0


@needs_tmux
def test_the_end_of_the_program_is_told_and_the_window_stays(program, window, tmp_path):
    program()
    shell = window()
    shell.run("top")
    shell.wait("checkout", "up")

    (tmp_path / "end").touch()
    lines = shell.wait("exited", "Alerts not resolved: none")

    assert re.search(r"process \d+, exited, after \d+ s", "\n".join(lines))
    assert any(line.endswith("end") for line in lines)
    shell.press("q")
    shell.wait("status 0")


@needs_tmux
def test_a_killed_program_and_a_removed_run_are_told(program, window, tmp_path):
    shop = program()
    shell = window()
    shell.run("top")
    shell.wait("checkout")

    shop.kill()
    shop.wait()
    shell.wait("ended without a word")
    shutil.rmtree(next((tmp_path / ".otel-perf").glob("2*")))
    lines = shell.wait("the folder of this run was removed")

    assert any("checkout" in line for line in lines)  # what was read is shown still


@needs_tmux
def test_before_there_is_a_run_it_waits_for_one_and_then_for_the_next(program, window, tmp_path):
    shell = window()
    shell.run("top")
    shell.wait("no process yet: otel-perf run -- python app.py")
    first = program()
    shell.wait("shop 1.4.2", "checkout")
    (tmp_path / "end").touch()
    shell.wait("exited")
    first.wait()
    (tmp_path / "end").unlink()
    program()
    shell.wait("up ", "checkout")


@needs_tmux
def test_ctrl_z_gives_the_terminal_to_the_shell_and_fg_takes_it_back(program, window):
    program()
    shell = window()
    shell.run("top")
    shell.wait("checkout")
    for _ in range(2):
        shell.press("C-z")
        lines = shell.wait("Stopped")
        assert not any("checkout" in line for line in lines)
        shell.type("clear; stty -a | grep -oE -- '-?(icanon|echo) ' | xargs")
        shell.press("Enter")
        shell.wait("icanon echo")  # a minus would stand before what is off
        assert not shell.shows("-icanon")
        shell.type("fg; echo status $?")
        shell.press("Enter")
        shell.wait("checkout", "q quit")
    shell.press("q")
    shell.wait("status 0")


@needs_tmux
def test_flame_is_walked_through_by_keys(program, window, tmp_path):
    shop = program()
    (tmp_path / "end").touch()
    shop.wait()
    shell = window()
    shell.run("flame", "-i")

    lines = shell.wait("> ▾ all", "▾ checkout", "price", "q quit")
    assert lines[0].startswith("shop 1.4.2: ")
    shell.press("Down")
    shell.wait("> ", "of its caller")
    shell.press("Left", "Left")  # its caller, and that is folded
    shell.wait("> ▸ all")
    shell.press("Right")
    shell.wait("> ▾ all")
    shell.press("/")
    shell.type("price")
    shell.press("Enter")
    shell.wait("checkout > price", "price *", "1 found, n next")
    shell.press("Enter")
    shell.wait("in checkout > price")
    shell.press("BSpace", "BSpace")
    shell.wait_until_gone("in checkout")
    shell.resize(120, 30)
    wait_for(lambda: shell.lines()[-1].startswith("1 found") and 30 == len(shell.lines()))
    shell.press("q")
    shell.wait("status 0")


# --- in a bare terminal -----------------------------------------------------------------------------------------------


class Terminal:
    """A command in a pseudo-terminal of its own."""

    def __init__(self, command, folder, environ):
        self.fd, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        self.data = b""
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, cwd=folder, env=environ, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip

    def read(self, seconds=0.05):
        while select.select([self.fd], [], [], seconds)[0]:
            try:
                self.data += os.read(self.fd, 65536)
            except OSError:
                return
            seconds = 0.0

    def wait(self, text, timeout=15.0):
        until = time.monotonic() + timeout
        while text not in self.data:
            assert time.monotonic() < until, self.data
            self.read()

    def end(self, timeout=15.0):
        until = time.monotonic() + timeout
        while self.process.poll() is None:
            assert time.monotonic() < until, self.data
            self.read()
        self.read(0.2)
        return self.process.returncode

    def modes(self):
        return termios.tcgetattr(self.slave)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.fd)
        os.close(self.slave)


@pytest.fixture
def terminal(tmp_path, otel_perf, clean):
    """Return a function that runs the command in a terminal."""
    opened = []

    def make(*words, command=None, **environ):
        found = {name: value for name, value in clean.items() if name != "NO_COLOR"}
        found |= {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TERM": "xterm-256color", "TZ": "UTC", **environ}
        opened.append(Terminal([*(command or otel_perf), *words], tmp_path, found))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


@pytest.mark.parametrize(
    ("ending", "status"),
    [("q", 0), ("\x03", 130), (signal.SIGTERM, -signal.SIGTERM), (signal.SIGHUP, -signal.SIGHUP)],
)
def test_the_terminal_is_given_back_however_it_ends(program, terminal, ending, status):
    program()
    top = terminal("top")
    top.wait(b"checkout")
    assert b"\x1b[?1049h" in top.data
    assert not top.modes()[3] & (termios.ECHO | termios.ICANON)

    if isinstance(ending, str):
        os.write(top.fd, ending.encode())
    else:
        top.process.send_signal(ending)

    assert status == top.end()
    assert top.data.endswith(GIVEN_BACK)
    assert top.before == top.modes()


def test_the_terminal_is_given_back_before_an_error_is_told(program, terminal, otel_perf, write):
    program()
    script = write("broken.py", f"""
        import sys
        sys.argv = ["otel-perf", "top"]
        exec(open({otel_perf[1]!r}).read().replace("sys.exit(main())", ""))
        from otel_perf.terminal import watching
        def frame(*arguments):
            raise RuntimeError("broken on purpose")
        watching.frame = frame
        main()
        """)  # fmt: skip
    top = terminal(command=[sys.executable, str(script)])

    assert 1 == top.end()
    before, _, after = top.data.partition(GIVEN_BACK)
    assert b"\x1b[?1049h" in before
    assert b"RuntimeError: broken on purpose" in after
    assert top.before == top.modes()


def test_a_terminal_that_is_gone_ends_it(program, terminal):
    program()
    top = terminal("top")
    top.wait(b"checkout")

    os.close(top.fd)
    top.fd = os.open(os.devnull, os.O_RDONLY)

    assert top.process.wait(10) in (0, -signal.SIGHUP)


def test_no_colour_where_nobody_wants_one_and_no_sequence_where_nothing_obeys(program, terminal):
    program()
    plain, colored, dumb = terminal("top", NO_COLOR="1"), terminal("top"), terminal("top", "--count", "2", TERM="dumb")
    for one in (plain, colored):
        one.wait(b"q quit")
        os.write(one.fd, b"q")
        assert 0 == one.end()
    assert 0 == dumb.end()

    colours = [set(COLOR.findall(one.data.decode())) for one in (plain, colored)]
    assert {"\x1b[0m"} == colours[0]  # with which a window begins and ends
    assert {"\x1b[36m", "\x1b[2m", "\x1b[1m"} <= colours[1]
    assert b"\x1b" not in dumb.data
    assert dumb.data.isascii()
    assert dumb.data.startswith(b"shop 1.4.2 started in")
    assert all(len(line) <= 80 for line in dumb.data.decode().splitlines())


def test_names_do_nothing_to_the_terminal(program, terminal, tmp_path):
    (tmp_path / "evil").touch()
    program()
    top = terminal("top")
    top.wait(b"evil")
    os.write(top.fd, b"/")
    os.write(top.fd, "\u202e名".encode())
    top.wait(b"search: ")
    os.write(top.fd, b"\nq")
    assert 0 == top.end()
    (tmp_path / "end").touch()
    flame = terminal("flame", "--min", "0")
    flame.wait(b"\\x1b[2J")
    assert 0 == flame.end()

    for one in (top, flame):
        sequences = set(SEQUENCE.findall(one.data.decode()))
        assert all(re.fullmatch(r"\x1b\[(\d*m|\d+;1H|2K|2J|\?(1049|25|7)[hl])", one) for one in sequences), sequences
        assert "\u202e" not in one.data.decode()
        assert "\x07" not in one.data.decode()


def test_ascii_is_enough(program, terminal):
    program()
    top = terminal("top", LANG="C", LC_ALL="C", PYTHONIOENCODING="ascii", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    top.wait(b"q quit")
    top.wait(b"checkout")
    os.write(top.fd, b"q")

    assert 0 == top.end()
    assert top.data.isascii()
    assert re.search(r"memory \(RSS\) +-+", SEQUENCE.sub("", top.data.decode()))


def test_top_costs_less_than_a_twentieth_of_a_core(program, terminal):
    program()
    top = terminal("top")
    top.wait(b"checkout")

    def cpu():
        fields = Path(f"/proc/{top.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before, began = cpu(), time.monotonic()
    while time.monotonic() - began < 8:
        top.read(0.5)
    share = (cpu() - before) / (time.monotonic() - began)
    os.write(top.fd, b"q")

    assert 0 == top.end()
    assert share < 0.05


# --- without a terminal -----------------------------------------------------------------------------------------------


@pytest.fixture
def output(run_program, otel_perf):
    """Return a function that runs a command with its output in a pipe, and gives status, lines and what is on stderr."""

    def run(*words, **more):
        result = run_program([*otel_perf, *map(str, words)], None, env={"COLUMNS": None}, **more)
        return result.returncode, result.stdout.decode().splitlines(), result.stderr.decode()

    return run


def test_a_pipe_has_a_line_a_second_until_the_program_has_ended(program, start_program, otel_perf, tmp_path):
    program()
    top = start_program([*otel_perf, "top"], None, env={"COLUMNS": None})
    lines = [top.stdout.readline().decode() for _ in range(4)]
    (tmp_path / "much").touch()
    while "1 alert open" not in lines[-1]:
        lines.append(top.stdout.readline().decode())
    (tmp_path / "end").touch()
    rest, errors = top.communicate(timeout=20)
    lines += rest.decode().splitlines(keepends=True)

    assert (0, b"") == (top.returncode, errors)
    assert lines[0].startswith("shop 1.4.2 started in")
    clocks = [int(line[6:8]) for line in lines[1:4]]
    assert all(1 <= (later - earlier) % 60 <= 2 for earlier, later in pairwise(clocks))
    assert any(re.search(r"  \w+: backlog since \S+ \(\S+ \w+\), peak 50, limit 10, open$", line) for line in lines)
    assert re.fullmatch(r"\d\d:\d\d:\d\d  exited\n", lines[-1])


def test_whoever_has_enough_of_a_pipe_ends_it(program, otel_perf, tmp_path, clean):
    program()
    words = " ".join([*otel_perf, "top", "--interval", "0.1"])

    result = subprocess.run(["bash", "-c", f"{words} | head -2; echo ${{PIPESTATUS[0]}}"], cwd=tmp_path, env=clean, capture_output=True, timeout=20, text=True)  # fmt: skip

    assert ("0", "") == (result.stdout.splitlines()[-1], result.stderr)


def test_lines_end_with_their_number(program, output):
    program()

    status, (verdict, *lines), errors = output("top", "--count", 3, "--interval", 0.5)

    assert (0, "") == (status, errors)
    assert verdict.startswith("shop 1.4.2 started in")
    assert 3 == len(lines)
    pattern = (
        r"\d\d:\d\d:\d\d  (CPU [\d.]+ cores, )?memory [\d.]+ MB, \d+ threads, score 100, no alert; last 10 s: "
        r"\S.* \d.* m?s, __main__\.checkout \d"
    )
    assert re.match(pattern, lines[-1])


def test_a_run_that_is_over_is_told_at_once(program, output, tmp_path):
    shop = program()
    (tmp_path / "end").touch()
    shop.wait()
    began = time.monotonic()

    status, lines, errors = output("top")

    assert (0, 3, "") == (status, len(lines), errors)
    assert lines[-1].endswith("  exited")
    assert time.monotonic() - began < 10


def test_a_run_that_is_not_there_is_named(output, program):
    status, lines, errors = output("top")
    assert (2, []) == (status, lines)
    assert errors.startswith("otel-perf top: no folder .otel-perf/ here; record one: otel-perf run -- python app.py")

    program()
    assert "no run 'abc' in .otel-perf/ (1 there" in output("top", "abc")[2]
    assert "no process '1' in run" in output("top", "--process", "1")[2]
    assert "write seconds from 0.1 to 86400, got 'x'" in output("top", "--interval", "x")[2]


# --- flame ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def two_runs(program, tmp_path):
    """Record the shop twice; return the names of the runs, the older first."""
    for _ in range(2):
        shop = program()
        (tmp_path / "end").touch()
        shop.wait()
        (tmp_path / "end").unlink()
    return sorted(path.name for path in (tmp_path / ".otel-perf").glob("2*"))


def test_flame_shows_the_run_a_range_the_start_and_a_trace(two_runs, output):
    status, lines, errors = output("flame")
    assert (0, "") == (status, errors)
    assert re.fullmatch(r"shop 1\.4\.2: [\d.]+ m?s in \d+ call paths, the whole run", lines[0])
    assert f"run {two_runs[1]}, process " in lines[1]
    names = [line.split()[0] for line in lines[4:]]
    assert {"all", "調べる", "checkout", "price", "CoreInit"} >= set(names) >= {"all", "調べる", "checkout"}
    assert any(re.match(r"  checkout +[▏▕▌▐█]", line) for line in lines)
    assert all(len(line) <= 100 for line in lines)

    assert any("CoreInit" in line for line in output("flame", "--start", "--min", "0.1%")[1])
    assert any(re.match(r"    import http.server", line) for line in output("flame", "--start", "--min", "0")[1])
    assert output("flame", "--from", 0, "--to", 50)[1][0].endswith(", from 0 ms to 50 s of the run, to the second")
    assert output("flame", "--from", -50)[1][4:] == lines[4:]
    assert "no profiled call ended from 15 min of the run" in output("flame", "--from", 900)[2]
    assert any("[" in line and "below]" in line for line in output("flame", "--start", "--min", 0, "--depth", 1)[1])


def test_flame_shows_a_trace_by_how_its_id_begins(two_runs, output, tmp_path, spans_of):
    span = max((span for span in spans_of(tmp_path) if span["name"] == "checkout"), key=lambda span: span["start"])

    for words in (span["trace_id"], span["trace_id"][:9]):
        status, lines, errors = output("flame", "--trace", words)
        assert (0, "") == (status, errors)
        assert f"trace {span['trace_id']}" in lines[0]
        assert ["all", "checkout"] == [line.split()[0] for line in lines[4:6]]
    assert "no trace 0123456789" in output("flame", "--trace", "0123456789")[2]
    assert "write 4 to 32 hex digits" in output("flame", "--trace", "xyz")[2]


def test_flame_says_the_difference_to_another_run_in_words_and_signs(two_runs, output):
    status, lines, errors = output("flame", "--diff", two_runs[0])

    assert (0, "") == (status, errors)
    assert any(line.startswith(f"compared with run {two_runs[0]}") for line in lines)
    assert any(re.search(r"checkout .*([+−]\S+ m?s  (slower|faster)|same)", line) for line in lines)
    assert any(re.search(r"CoreInit .* (slower|faster|same) ", line) for line in output("flame", "--start", "--diff", two_runs[0])[1])  # fmt: skip
    assert "a trace is in one run only" in output("flame", "--trace", "abcd", "--diff", two_runs[0])[2]


def test_flame_says_why_there_is_nothing_to_show(output, run_program, write):
    write("empty.py", "print(1)")
    run_program([sys.executable, "empty.py"])

    status, lines, errors = output("flame")

    assert (1, []) == (status, lines)
    assert "no function is profiled: write @perf.profile" in errors
    assert "otel-perf flame --start shows the start" in errors
    assert 0 == output("flame", "--start")[0]


def test_flame_without_a_window_for_keys_is_text(two_runs, output):
    status, lines, errors = output("flame", "-i")

    assert (0, "otel-perf flame: no window for -i here; it is shown as text\n") == (status, errors)
    assert lines[0].startswith("shop 1.4.2")
