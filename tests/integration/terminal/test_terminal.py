"""`otel-perf top` in a bare pseudo-terminal: what it writes, what it leaves behind, what it costs."""

from __future__ import annotations

import os
import re
import select
import signal
import struct
import subprocess
import sys
import time

import psutil
import pytest

termios = pytest.importorskip("termios", reason="terminals of POSIX")
fcntl = pytest.importorskip("fcntl", reason="terminals of POSIX")
pty = pytest.importorskip("pty", reason="terminals of POSIX")

COLOR = re.compile(r"\x1b\[([0-9;]+)m")
SEQUENCE = re.compile(r"\x1b(?:\[[?<>0-9;$]*[A-Za-z]|\].*?\x07|.)")
OF_A_WINDOW = re.compile(r"\x1b\[([\d;]*m|\d+;\d+H|\?(1049|25|7|1004|2004)[hl]|>25u|<u|\?(2026|2048)\$p)")
POINTER = "\x1b]22;default\x07"  # the mouse's
TAKEN = re.compile(rb"\x1b\[\?(1049|2004|1004)h|\x1b\[(\?25|\?7)l")  # buffer, pasting, focus; cursor, wrapping
BACK = re.compile(rb"\x1b\[\?(1049|2004|1004)l|\x1b\[(\?25|\?7)h")


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

    def given_back(self):
        """Say whether all that was asked of the terminal was taken back, and nothing was drawn since."""
        left = self.data[self.data.rindex(b"\x1b[?1049l") :]
        return (
            self.data.count(b"\x1b[>25u") == self.data.count(b"\x1b[<u")  # the keyboard's protocol
            and set(TAKEN.findall(self.data)) == set(BACK.findall(self.data[-100:]))
            and self.before == self.modes()
            and SEQUENCE.sub("", left.decode()) == ""
        )

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
    assert top.given_back()


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
    before, _, after = top.data.partition(b"\x1b[?1049l")
    assert b"\x1b[?1049h" in before
    assert b"RuntimeError: broken on purpose" in after
    assert top.before == top.modes()


def test_the_terminal_is_given_back_however_early_it_ends(program, terminal):
    program()
    for _ in range(5):
        top = terminal("top")
        top.wait(b"\x1b[?1049h")
        top.process.send_signal(signal.SIGTERM)

        assert -signal.SIGTERM == top.end()
        assert top.given_back()


def test_a_stop_and_a_continue_of_somebody_else_leave_the_terminal_as_it_is(program, terminal):
    program()
    top = terminal("top")
    top.wait(b"checkout")
    for _ in range(3):
        top.process.send_signal(signal.SIGSTOP)
        time.sleep(0.05)
        top.process.send_signal(signal.SIGCONT)
        time.sleep(0.05)
    top.process.send_signal(signal.SIGCONT)
    os.write(top.fd, b"q")

    assert 0 == top.end()
    assert top.given_back()


def test_a_byte_that_is_no_utf8_is_no_reason_to_end(program, terminal):
    program()
    top = terminal("top")
    top.wait(b"checkout")
    os.write(top.fd, b"/\xe9x")
    top.wait("\ufffdx".encode())
    os.write(top.fd, b"\nq")

    assert 0 == top.end()
    assert top.given_back()


@pytest.mark.parametrize("ignored", [False, True])
def test_a_terminal_that_is_gone_ends_it(program, terminal, otel_perf, ignored):
    program()
    shell = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *otel_perf]
    top = terminal("top", command=shell if ignored else None)
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

    colours = [set(";".join(COLOR.findall(one.data.decode())).split(";")) for one in (plain, colored)]
    assert {""} == colours[0]
    assert {"36", "2", "1"} <= colours[1]
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
        text = one.data.decode().replace(POINTER, "")
        sequences = set(SEQUENCE.findall(text))
        assert all(OF_A_WINDOW.fullmatch(each) for each in sequences), sequences
        assert "\x07" not in text
        assert "\u202e" not in text


def test_ascii_is_enough(program, terminal):
    program()
    top = terminal("top", LANG="C", LC_ALL="C", PYTHONIOENCODING="ascii", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    top.wait(b"q quit")
    top.wait(b"checkout")
    os.write(top.fd, b"q")

    assert 0 == top.end()
    assert top.data.isascii()
    assert re.search(r"memory \(RSS\) +-+", SEQUENCE.sub("", top.data.decode()))


@pytest.mark.timed
def test_top_costs_less_than_a_twentieth_of_a_core(program, terminal):
    program()
    top = terminal("top")
    top.wait(b"checkout")

    def cpu():
        times = psutil.Process(top.process.pid).cpu_times()
        return times.user + times.system

    before, began = cpu(), time.monotonic()
    while time.monotonic() - began < 8:
        top.read(0.5)
    share = (cpu() - before) / (time.monotonic() - began)
    os.write(top.fd, b"q")

    assert 0 == top.end()
    assert share < 0.05
