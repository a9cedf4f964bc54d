"""A door before a receiver: whoever connects to it finds a collector that is dead, silent, slow, or breaks off.

Its port stays the same, so that a program's collector can go away and come back. bench/reliability.py uses it too.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Self

KINDS = ("live", "dead", "silent", "deaf", "slow", "slow answer")


class Door:
    """A TCP proxy of one receiver's port.

    Kinds: ``live`` passes everything on; ``dead`` refuses the connection; ``silent`` takes what comes and never answers;
    ``deaf`` takes the connection and not a byte; ``slow`` passes one byte a second in each direction; ``slow answer``
    one byte a second of the answer, of a request that is taken.

    Attributes:
        url: base URL of the door.
        left: bytes of a request after which a live one breaks off, None for never.
        connections: how many there were.
    """

    def __init__(self, url: str, kind: str = "live") -> None:
        host, _, port = url.partition("://")[2].partition(":")
        self._there = ("127.0.0.1" if host == "localhost" else host, int(port))
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._door = _bound(0)
        self.port = int(self._door.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.left: int | None = None
        self.connections = 0
        self.kind = "dead"
        self.become(kind)

    def become(self, kind: str) -> None:
        """Behave otherwise from now on; every connection is reset."""
        assert kind in KINDS
        before, self.kind, self.left = self.kind, kind, None
        if kind == "dead" != before:
            door, self._door = self._door, _bound(self.port, beside=self._door)
            door.close()
        elif before == "dead" != kind:
            self._door.listen(64)
            threading.Thread(target=self._accept, args=(self._door,), daemon=True).start()
        self._reset()

    def close(self) -> None:
        """End the door."""
        self.become("dead")
        self._door.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _accept(self, door: socket.socket) -> None:
        while True:
            try:
                near, _ = door.accept()
            except OSError:  # the door was closed
                return
            self.connections += 1
            with self._lock:
                self._open.add(near)
            threading.Thread(target=self._serve, args=(near, self.kind), daemon=True).start()

    def _serve(self, near: socket.socket, kind: str) -> None:
        try:
            if kind == "deaf":
                return
            if kind == "silent":
                while near.recv(65536):
                    continue
                return
            far = socket.create_connection(self._there)
            with self._lock:
                self._open.add(far)
            back = threading.Thread(target=self._pump, args=(far, near, kind != "live"), daemon=True)
            back.start()
            self._pump(near, far, kind == "slow", counted=True)
        except OSError:  # reset by become(), or by whoever connected
            return

    def _pump(self, source: socket.socket, target: socket.socket, slow: bool, counted: bool = False) -> None:
        """Pass on what comes until one side ends."""
        try:
            while data := source.recv(1 if slow else 65536):
                if counted and self.left is not None:
                    data = data[: self.left]
                    self.left -= len(data)
                target.sendall(data)
                if counted and self.left == 0:
                    self._reset()
                    return
                time.sleep(1.0 if slow else 0.0)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def _reset(self) -> None:
        """Break all connections off."""
        with self._lock:
            ends, self._open = self._open, set()
        for end in ends:
            with end, contextlib.suppress(OSError):  # it may have ended by itself
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.shutdown(socket.SHUT_RD)  # wakes whoever reads it here; a linger of 0 makes a reset of the close


def _bound(port: int, beside: socket.socket | None = None) -> socket.socket:
    """Return a socket that keeps a port and does not listen: the system refuses whoever connects."""
    if beside is not None:
        beside.shutdown(socket.SHUT_RDWR)  # two may only be bound to one port while none listens
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.bind(("127.0.0.1", port))
    return found
