"""An HTTP connection with one limit for all of a request: to connect, to send, and each byte of the answer.

A socket's own timeout is for each call, so that a receiver that answers byte by byte would never reach it. Only the
look-up of the receiver's name has no limit here: the system gives it none. Loaded by as_json.py once it sends.
"""

from __future__ import annotations

import socket
from http.client import HTTPConnection, HTTPResponse
from io import BufferedReader, RawIOBase
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ssl import SSLContext
    from typing import Any


class Connection(HTTPConnection):
    """A connection of which every wait ends at its deadline.

    Attributes:
        deadline: monotonic seconds; whoever makes a request sets it before.
        context: of TLS, None without.
    """

    def __init__(self, host: str, context: SSLContext | None = None) -> None:
        self.default_port = 80 if context is None else 443
        super().__init__(host)
        self.deadline = 0.0
        self.context = context
        self.response_class = self._answer  # type: ignore[assignment]

    def connect(self) -> None:
        """Open it.

        Raises: OSError: that cannot be done, or not in time.
        """
        opened = self._open()
        try:
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.context is not None:
                opened.settimeout(left(self.deadline))
                opened = self.context.wrap_socket(opened, server_hostname=self.host)
        except BaseException:
            opened.close()
            raise
        self.sock = opened

    def _open(self) -> socket.socket:
        failed = OSError(f"{self.host} has no address")
        for family, kind, protocol, _, address in socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM):
            opened = None
            try:
                opened = socket.socket(family, kind, protocol)
                opened.settimeout(left(self.deadline))
                opened.connect(address)
            except OSError as error:
                failed = error
                if opened is not None:
                    opened.close()
            else:
                return opened
        raise failed

    def send(self, data: Any) -> None:
        """Send *data*, the head of a request or its body.

        Raises: OSError: that cannot be done, or not in time.
        """
        if self.sock is None:
            self.connect()
        rest = memoryview(data)
        while rest:
            self.sock.settimeout(left(self.deadline))
            rest = rest[self.sock.send(rest) :]

    def _answer(self, sock: socket.socket, *words: Any, **more: Any) -> HTTPResponse:
        answer = HTTPResponse(sock, *words, **more)
        answer.fp = BufferedReader(_Received(answer.fp.detach(), sock, self.deadline))
        return answer


class _Received(RawIOBase):
    """What a socket receives until the deadline."""

    def __init__(self, file: RawIOBase, sock: socket.socket, deadline: float) -> None:
        self._file = file
        self._sock = sock
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(left(self._deadline))
        return self._file.readinto(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()


def left(deadline: float) -> float:
    """Return the seconds left.

    Raises: TimeoutError: there are none.
    """
    seconds = deadline - monotonic()
    if seconds <= 0.0:
        raise TimeoutError("no time left")
    return seconds
