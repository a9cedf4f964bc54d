"""`otel-perf top` and `otel-perf flame -i` as people see them: in a shell, in tmux, beside a program in progress."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress

import pytest

BARS = re.compile("[▁▂▃▄▅▆▇█]")
TMUX = shutil.which("tmux")
pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="tmux is of POSIX"),
    pytest.mark.skipif(sys.platform != "win32" and TMUX is None, reason="needs tmux"),
]


class Window:
    """A shell in tmux."""

    def __init__(self, command):
        self.place = tempfile.mkdtemp(prefix="tmux-")  # the path of a socket is short
        self.command = command

    def open(self, folder, width, height, environ):
        size = ["-x", str(width), "-y", str(height)]
        shell = ["-s", "w", "-c", str(folder), "bash --norc --noprofile -i"]
        self.tmux("-f", "/dev/null", "new-session", "-d", *size, *shell, environ=environ)
        self.until(lambda lines: lines[0].strip())  # it asks for a command

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

    def until(self, holds, timeout=15.0):
        """Wait until *holds* of the lines of the screen; return them."""
        until = time.monotonic() + timeout
        while not holds(lines := self.lines()):
            assert time.monotonic() < until, "\n".join(["it did not come to this:", *lines])
            time.sleep(0.02)
        return lines

    def wait(self, *texts):
        """Wait until every one of *texts* is on the screen; return its lines."""
        return self.until(lambda lines: all(any(text in line for line in lines) for text in texts))

    def wait_until_gone(self, text):
        self.until(lambda lines: not any(text in line for line in lines))

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
        opened.append(Window(otel_perf))
        opened[-1].open(tmp_path, width, height, found)
        return opened[-1]

    yield make
    for one in opened:
        one.close()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 50)])
def test_top_shows_a_program_in_progress(program, window, width, height):
    program()
    shell = window(width, height)

    shell.run("top")
    lines = shell.wait(
        "▾self", "__main__.checkout", "__main__.price", "調べる", "Slowest calls", "last 10 s", "0.02 idle", "q quit"
    )  # fmt: skip

    assert lines[0].startswith("shop 1.4.2 started in")
    assert lines[1].startswith("score 100 of 100")
    assert re.match(r"run \S+, process \d+, up \d+ s", lines[2])
    rows = [next(place for place, line in enumerate(lines) if line.startswith(name)) for name in
            ("CPU, cores", "memory (RSS)", "threads", "Open alerts: none", "Functions: 3", "Slowest calls", "q quit")]  # fmt: skip
    assert sorted(rows) == rows
    assert height - 1 == rows[-1]
    assert any("╌" in line and "150 MB memory" in line for line in lines)
    assert any(BARS.search(line) for line in lines[rows[1] : rows[2]])


def test_every_key_does_what_the_help_says(program, window):
    program(child=True)
    shell = window()
    shell.run("top")
    shell.wait("checkout", "(1 of 2)")

    shell.press("s")
    shell.until(lambda lines: any(line.find("▾self") > 35 for line in lines))  # that of the whole run
    shell.press("/")
    shell.wait("search: ▏")
    shell.type("PRI")
    shell.press("Enter")
    shell.wait("Functions: 3, 1")
    assert not shell.shows("checkout")
    shell.press("Escape")
    shell.wait("checkout")
    shell.press("r")
    shell.until(lambda lines: any(line.startswith("threads") and len(BARS.findall(line)) <= 4 for line in lines))
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
    shell.press("a")
    shell.wait("Other metrics", "open files", "paused at")
    shell.press("a")
    assert before == shell.wait("Slowest calls")
    shell.press("p")
    shell.wait_until_gone("paused at")
    shell.until(lambda lines: before[2] != lines[2])  # up goes on
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


def test_a_resized_window_is_filled_at_once(program, window):
    program()
    shell = window()
    shell.run("top", "--interval 30")
    shell.wait("checkout")
    for width, height in ((120, 40), (40, 12), (200, 50), (80, 24)):
        shell.resize(width, height)
        shell.until(lambda lines, height=height: filled(lines, height))


@pytest.mark.timed
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


def test_the_end_of_the_program_is_told_and_the_window_stays(program, window, tmp_path):
    program()
    shell = window()
    shell.run("top")
    shell.wait("checkout", "up")

    (tmp_path / "end").touch()
    lines = shell.wait("exited", "Alerts not resolved: none")

    assert re.search(r"process \d+, exited, after [\d.]+ s", "\n".join(lines))
    assert any(line.endswith("end") for line in lines)
    shell.press("q")
    shell.wait("status 0")


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
    shell.until(lambda lines: lines[-1].startswith("1 found") and 30 == len(lines))
    shell.press("q")
    shell.wait("status 0")
