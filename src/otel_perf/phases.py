"""The phases of the start, as an application opens them: phase() and enter_phase().

Imports only: startup, profiling; loaded by the first use, since a program that only runs under us has none.
"""

from __future__ import annotations

import sys

from . import startup
from .profiling import Block, checked_name
from .recorder import enter, identify

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType


class Phase(Block):
    """What phase() returns: a with-block and a decorator."""

    __slots__ = ()

    def __enter__(self) -> Phase:
        site = self._site or self._find_site()
        if startup.current is not None:
            startup.current.seen.add(site.name)
        identify(enter(site), forced=False)  # at once: a phase in progress is known after a crash
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if startup.current is not None and startup.current.entered:
            startup.current.leave_block(self._site)
        super().__exit__(kind, error, trace)


def phase(name: str) -> Phase:
    """Record one phase of the start, as with-block or decorator; phases nest.

    Args:
        name: name of the phase and of its span, ``CoreInit`` for example. Cut at 1,024 characters.

    Raises:
        TypeError: *name* is no str.
    """
    return Phase("phase", "phase", checked_name("phase", name), None, 0.0, sys._getframe(1).f_code)  # noqa: SLF001


def enter_phase(name: str) -> None:
    """Begin a phase of the start where there is no block to wrap.

    It lasts until the next enter_phase(), the end of the phase() block it stands in, or ready(). It may begin in a
    function and outlive it. Once the start is over it does nothing.

    Args:
        name: name of the phase and of its span. Cut at 1,024 characters.

    Raises:
        TypeError: *name* is no str.
    """
    code = sys._getframe(1).f_code  # noqa: SLF001
    block = Phase("enter_phase", "phase", checked_name("enter_phase", name), None, 0.0, code)
    if startup.current is not None and not startup.current.over:
        startup.current.enter_phase(block._find_site())  # noqa: SLF001  # one room higher, the same object
