"""The client: one connection, one request at a time, each with an answer and a time limit."""

from __future__ import annotations

import asyncio
import hmac
import secrets
from typing import TYPE_CHECKING

import otel_perf as perf
from desktop.transport.framing import Frame, FrameError, Kind, encode, read_frame
from desktop.transport.hub import proof

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable


class Client:
    """A connection to the hub; all methods run on the transport's event loop."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, timeout: float, max_frame: int
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._timeout = timeout
        self._max_frame = max_frame
        self._sequence = 0

    @classmethod
    async def connect(cls, host: str, port: int, timeout: float, max_frame: int) -> Client:
        """Return a client with an open connection, before the handshake."""
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection(host, port)
        return cls(reader, writer, timeout, max_frame)

    @perf.profile(span_threshold=0)  # a span even where it is fast
    async def handshake(self, secret: bytes) -> None:
        """Have the hub prove that it is the right one.

        Raises:
            FrameError: the hub does not know *secret*.
        """
        nonce = secrets.token_bytes(32)
        answer = await self.request(Kind.HELLO, nonce)
        if not hmac.compare_digest(answer.payload, proof(secret, nonce)):
            raise FrameError("handshake: the hub gave the wrong proof; another program may hold the port")

    @perf.profile
    async def request(self, kind: Kind, payload: bytes = b"") -> Frame:
        """Send one frame and return its answer.

        Raises:
            FrameError: the answer is damaged, missing, or belongs to another request.
            TimeoutError: no answer within the time limit.
        """
        self._sequence += 1
        self._writer.write(encode(Frame(kind, self._sequence, payload)))
        async with asyncio.timeout(self._timeout):
            await self._writer.drain()
            answer = await read_frame(self._reader, self._max_frame)
        if answer is None or answer.sequence != self._sequence:
            raise FrameError(f"request {self._sequence} ({kind.name}) got {answer} in place of its answer")
        return answer

    @perf.profile
    async def publish(self, payloads: Iterable[bytes]) -> AsyncIterator[int]:
        """Send *payloads* one after another; yield the number of bytes that the hub acknowledged of each."""
        for payload in payloads:
            answer = await self.request(Kind.DATA, payload)
            yield int.from_bytes(answer.payload, "big")

    async def close(self) -> None:
        """Say goodbye and close the connection; a connection that is gone already is fine."""
        try:
            self._writer.write(encode(Frame(Kind.BYE, self._sequence + 1)))
            self._writer.close()
            await self._writer.wait_closed()
        except ConnectionError:
            pass
