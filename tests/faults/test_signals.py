"""Signals, exits and crash dumps of a program are as without us, whichever comes first: its own handlers, or init().

tests/integration/test_startup.py has handlers of the signal module around init(); test_run_command.py the signals of a
program under `otel-perf run`; test_crash.py a signal while the exit writes.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import textwrap

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc, ctypes.string_at(0) ends by SIGSEGV")
INIT = "import otel_perf as perf; perf.init(service='signals')"
WAYS = ("plain", "init before", "init after", "run")
SRC = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "src")


def without_addresses(errors: str) -> str:
    return re.sub(r"0x[0-9a-f]+", "", errors)


@pytest.fixture
def alike(write, run_program, recorded):
    """Return a function that runs a program plain, with init() at its two marks, and under run: all must be alike.

    The marks are the comments ``# before`` and ``# after``. *only* takes what counts out of stderr.
    """

    def check(program, only=without_addresses, **env):
        text, found = textwrap.dedent(program), {}
        assert "# before" in text
        assert "# after" in text
        for way in WAYS:
            write("program.py", text.replace(f"# {way.removeprefix('init ')}", INIT) if "init" in way else text)
            options = () if way == "run" else None
            done = run_program([sys.executable, "-u", "program.py"], options, env={"PYTHONPATH": SRC, **env})
            found[way] = done.returncode, done.stdout.decode(), only(done.stderr.decode())
        assert found == dict.fromkeys(WAYS, found["plain"])
        assert 3 == sum(span["name"] == "startup" for span in recorded(whole=None).spans) or found["plain"][0] != 0
        return found["plain"]

    return check


# --- handlers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_a_handler_of_the_event_loop_is_called_and_decides(alike, name):
    code, out, _ = alike(
        f"""
        import asyncio, os, signal, sys
        # before
        async def main():
            over = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(signal.{name}, lambda: (print("asked to end"), over.set()))
            # after
            os.kill(os.getpid(), signal.{name})
            await asyncio.wait_for(over.wait(), 10)
            await asyncio.sleep(0.05)
            print("tidied up")
            return 7
        sys.exit(asyncio.run(main()))
        """
    )

    assert (7, "asked to end\ntidied up\n") == (code, out)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_handler_that_the_event_loop_has_removed_leaves_the_default(alike, name):
    code, out, errors = alike(
        f"""
        import asyncio, os, signal
        # before
        async def main():
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.{name}, print, "never")
            # after
            print(loop.remove_signal_handler(signal.{name}))
            os.kill(os.getpid(), signal.{name})
            await asyncio.sleep(10)
        asyncio.run(main())
        """
    )

    assert (-getattr(signal, name), "True\n", "") == (code, out, errors)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT", "SIGUSR1", "SIGALRM"])
def test_a_handler_that_raises_is_caught_where_the_program_catches_it(alike, name):
    code, out, errors = alike(
        f"""
        import os, signal
        # before
        class Asked(Exception): pass
        def ask(number, frame):
            raise Asked(number, frame.f_code.co_name)
        def wait():
            os.kill(os.getpid(), signal.{name})
            for _ in range(10**7): pass
        signal.signal(signal.{name}, ask)
        # after
        try:
            wait()
        except Asked as error:
            print(*error.args)
        print(signal.getsignal(signal.{name}) is ask)
        """
    )

    assert (0, f"{int(getattr(signal, name))} wait\nTrue\n", "") == (code, out, errors)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_a_signal_that_is_ignored_stays_ignored_here_and_in_children(alike, name):
    code, out, errors = alike(
        f"""
        import os, signal, subprocess, sys
        # before
        signal.signal(signal.{name}, signal.SIG_IGN)
        # after
        os.kill(os.getpid(), signal.{name})
        print(signal.getsignal(signal.{name}) is signal.SIG_IGN)
        print(subprocess.run(["sh", "-c", "kill -{name[3:]} $$; echo survived"], capture_output=True, text=True).stdout)
        """
    )

    assert (0, "True\nsurvived\n\n", "") == (code, out, errors)


def test_children_have_the_default_actions(alike):
    """What the program starts is not told of our handlers."""
    code, out, errors = alike(
        """
        import os, signal, subprocess, sys
        # before
        # after
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
            print(subprocess.run(["sh", "-c", f"kill -{int(number)} $$; echo survived"]).returncode)
        """
    )

    assert (0, "-15\n-1\n-10\n", "") == (code, out, errors)


@pytest.mark.parametrize(
    "name", ["SIGTERM", "SIGHUP", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGALRM", "SIGXCPU", "SIGABRT", "SIGSYS"]
)
def test_a_signal_that_nobody_handles_ends_the_program_as_it_always_did(alike, name):
    code, _, _ = alike(
        f"""
        import os, resource, signal, time
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        # before
        # after
        os.kill(os.getpid(), signal.{name})
        time.sleep(10)
        """
    )

    assert -getattr(signal, name) == code


def test_the_wakeup_file_of_the_program_hears_every_signal(alike):
    code, out, errors = alike(
        """
        import os, signal, time
        # before
        read, write = os.pipe2(os.O_NONBLOCK)
        print(signal.set_wakeup_fd(write))
        signal.signal(signal.SIGUSR1, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: None)
        # after
        for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGUSR1):
            os.kill(os.getpid(), number)
        time.sleep(0.01)
        print(list(os.read(read, 100)), signal.set_wakeup_fd(-1) == write)
        """
    )

    assert (0, "-1\n[10, 15, 10] True\n", "") == (code, out, errors)


# --- ends ------------------------------------------------------------------------------------------------------------


def test_what_is_registered_for_the_exit_is_called_in_the_same_order(alike):
    code, out, errors = alike(
        """
        import atexit, sys, threading, time, weakref
        class Held: pass
        held = Held()
        atexit.register(print, "registered first")
        weakref.finalize(held, print, "finalizer first")
        # before
        atexit.register(print, "registered second")
        def fails():
            print("fails")
            raise LookupError("in an exit function")
        atexit.register(fails)
        # after
        weakref.finalize(held, print, "finalizer second")
        atexit.register(print, "registered third")
        threading.Thread(target=lambda: (time.sleep(0.2), print("thread is over"))).start()
        print("main is over")
        sys.exit(4)
        """
    )

    assert 4 == code
    expected = ["main is over", "thread is over", "registered third", "fails", "registered second"]
    assert [*expected, "finalizer second", "finalizer first", "registered first"] == out.splitlines()
    assert "LookupError: in an exit function" in errors


@pytest.mark.parametrize("how", ["sys.exit(3)", "os._exit(6)", "1 / 0"])
def test_an_exit_function_that_ends_the_process_does(alike, how):
    alike(
        f"""
        import atexit, os, sys
        def first(): {how}
        atexit.register(first)
        # before
        # after
        def last(): {how}
        atexit.register(last)
        print("over")
        """
    )


THREADS = {
    "sys.exit in a thread": ("Thread(target=sys.exit, args=(3,))", 0),
    "SystemExit with a text": ("Thread(target=sys.exit, args=('text',))", 0),
    "KeyboardInterrupt in a thread": ("Thread(target=raising, args=(KeyboardInterrupt,))", 0),
    "exception in a thread": ("Thread(target=raising, args=(LookupError,))", 0),
    "os._exit in a thread": ("Thread(target=os._exit, args=(5,))", 5),
    "interrupt_main in a thread": ("Thread(target=_thread.interrupt_main)", -2),
    "SIGTERM from a thread": ("Thread(target=os.kill, args=(os.getpid(), signal.SIGTERM))", -15),
    "sys.exit beside a thread": ("Thread(target=time.sleep, args=(0.3,))", 0),
}


@pytest.mark.parametrize("case", THREADS)
def test_what_a_thread_does_to_the_process_is_the_same(alike, case):
    thread, expected = THREADS[case]
    code, out, _ = alike(
        f"""
        import _thread, os, signal, sys, time
        from threading import Thread
        # before
        def raising(error): raise error("mine")
        thread = {thread}
        # after
        thread.start()
        thread.join()
        time.sleep(0.1)
        print("over")
        """,
    )

    assert (expected, "over\n" if expected == 0 else "") == (code, out)


INTERRUPTS = {
    "nobody catches it": "time.sleep(10)",
    "in a loop": "while True: pass",
    "in an event loop": "asyncio.run(asyncio.sleep(10))",
    "in a lock": "threading.Lock().acquire() and lock.acquire()",
    "caught": "\n    try: time.sleep(10)\n    except KeyboardInterrupt: print('caught')",
    "caught, and again": "\n    try: time.sleep(10)\n    except KeyboardInterrupt: os.kill(os.getpid(), signal.SIGINT)",
    "in a finally": "\n    try: time.sleep(10)\n    finally: print('finally')",
}


@pytest.mark.parametrize("case", INTERRUPTS)
def test_ctrl_c_interrupts_what_it_interrupts_without_us(alike, case):
    code, _, errors = alike(
        f"""
        import asyncio, os, signal, threading, time
        lock = threading.Lock()
        lock.acquire()
        # before
        def work():
            {INTERRUPTS[case].replace(chr(10), chr(10) + " " * 8)}
        # after
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        work()
        """
    )

    assert (0 if case == "caught" else -2) == code
    assert ("KeyboardInterrupt" in errors) is (case != "caught")


# --- faulthandler ----------------------------------------------------------------------------------------------------


def of_the_main_thread(errors: str) -> str:
    """Return a crash dump without the stacks of other threads, ours among them, and without numbers of threads."""
    parts = re.split(r"\n(?=(?:Current thread|Thread) 0x)", errors)
    kept = [part.split("\n\n")[0] for part in parts if "program.py" in part or "hread 0x" not in part]
    return without_addresses(re.sub(r"\nExtension modules.*", "", "\n".join(kept)))


@linux
@pytest.mark.parametrize("how", ["ctypes.string_at(0)", "os.abort()", "os.kill(os.getpid(), signal.SIGFPE)"])
def test_a_crash_is_dumped_by_faulthandler(alike, how):
    code, _, errors = alike(
        f"""
        import ctypes, faulthandler, os, resource, signal
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        # before
        faulthandler.enable()
        # after
        def crash(): {how}
        crash()
        """,
        only=of_the_main_thread,
    )

    assert code < 0
    assert "Fatal Python error: " in errors
    assert " in crash\n" in errors


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGUSR1"])
@pytest.mark.parametrize("chain", [False, True])
def test_a_signal_that_faulthandler_dumps_at_does_what_it_did(alike, name, chain):
    """It has its handler below Python, which cannot ask for it."""
    code, out, errors = alike(
        f"""
        import faulthandler, os, signal, time
        # before
        faulthandler.register(signal.{name}, chain={chain}, all_threads=False)
        # after
        def work(): os.kill(os.getpid(), signal.{name})
        work()
        time.sleep(0.1)
        print("survived")
        """,
        only=of_the_main_thread,
    )

    assert " in work\n" in errors
    assert ((-getattr(signal, name), "") if chain else (0, "survived\n")) == (code, out)


def test_a_program_that_hangs_is_dumped_later_by_faulthandler(alike):
    code, out, errors = alike(
        """
        import faulthandler, time
        # before
        faulthandler.dump_traceback_later(1.2)
        # after
        def hang(): time.sleep(1.8)
        hang()
        print("over")
        """,
        only=of_the_main_thread,
    )

    assert (0, "over\n") == (code, out)
    assert " in hang\n" in errors
