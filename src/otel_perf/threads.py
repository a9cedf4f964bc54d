"""Threads of ours: they take none of the program's signals, whatever stack it asks for, and whoever patches threads.

Imports only: sys, _thread, _signal; loaded with the runtime, before a program can put something else in their place.
"""

from __future__ import annotations

import sys
from _thread import allocate_lock, stack_size, start_new_thread

try:
    import _signal  # type: ignore[import-not-found]  # signal itself costs 5 ms
except ImportError:  # an interpreter without signals
    _signal = None

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["allocate_lock", "is_importing", "start"]

LEAST_STACK = 2**20  # bytes; what is loaded and encoded in these threads needs more than the smallest there is
FAULTS = ("SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSEGV", "SIGSYS", "SIGTRAP")  # of the thread itself


def start(function: Callable[..., Any], arguments: tuple[Any, ...]) -> int:
    """Start a thread and return its identifier.

    Signals stay with the program's threads: one that it has blocked, to wait for it, would else come to ours.

    Raises:
        RuntimeError: no thread can be started any more.
    """
    size = stack_size()
    if 0 < size < LEAST_STACK:
        stack_size(LEAST_STACK)
    before = None
    if hasattr(_signal, "pthread_sigmask"):
        faults = {getattr(_signal, name) for name in FAULTS if hasattr(_signal, name)}
        before = _signal.pthread_sigmask(_signal.SIG_BLOCK, set(_signal.valid_signals()) - faults)
    try:
        return start_new_thread(function, arguments)
    finally:
        if before is not None:
            _signal.pthread_sigmask(_signal.SIG_SETMASK, before)
        if 0 < size < LEAST_STACK:
            stack_size(size)


def is_importing(thread: int) -> bool:
    """Say whether *thread*, an identifier, is in an import: a child that is forked now could never do that one."""
    frame = sys._current_frames().get(thread)  # noqa: SLF001  # the documented way
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False
