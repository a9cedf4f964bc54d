"""The server: proves to a client that it knows the secret, then acknowledges and counts what it sends."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
from collections import Counter

import otel_perf as perf
from desktop.transport.framing import Frame, FrameError, Kind, encode, read_frame

log = logging.getLogger(__name__)


def proof(secret: bytes, nonce: bytes) -> bytes:
    """Return what only a side that knows *secret* can answer to *nonce*."""
    return hmac.digest(secret, nonce, "sha256")


class Hub:
    """A TCP server on a free port; all methods run on the transport's event loop."""

    def __init__(self, secret: bytes, max_frame: int) -> None:
        self._secret = secret
        self._max_frame = max_frame
        self._server: asyncio.Server | None = None
        self._sessions: set[asyncio.Task[None]] = set()
        self._totals: Counter[str] = Counter(messages=0, bytes=0)

    async def open(self, host: str) -> int:
        """Start to listen on *host*; return the port that the system chose."""
        self._server = await asyncio.start_server(self._serve, host, 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def close(self) -> None:
        """Stop to listen and end the sessions that are left."""
        if self._server is not None:
            self._server.close()
            for session in self._sessions:
                session.cancel()
            await asyncio.gather(*self._sessions, return_exceptions=True)
            await self._server.wait_closed()  # last: from Python 3.12.1 on it waits for every connection

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = asyncio.current_task()
        assert session is not None  # start_server() runs this function as a task
        self._sessions.add(session)
        session.add_done_callback(self._sessions.discard)
        try:
            welcome = False
            while (frame := await read_frame(reader, self._max_frame)) and frame.kind is not Kind.BYE:
                if not welcome and frame.kind is not Kind.HELLO:
                    raise FrameError(f"the first frame must be HELLO, got {frame.kind.name}")
                welcome = True
                writer.write(encode(self._answer(frame)))
                await writer.drain()
        except (FrameError, ConnectionError) as error:
            log.warning("connection dropped: %s", error)
        finally:
            writer.close()

    @perf.profile
    def _answer(self, frame: Frame) -> Frame:
        match frame.kind:
            case Kind.HELLO:
                return Frame(Kind.WELCOME, frame.sequence, proof(self._secret, frame.payload))
            case Kind.DATA:
                self._totals["messages"] += 1
                self._totals["bytes"] += len(frame.payload)
                return Frame(Kind.ACK, frame.sequence, len(frame.payload).to_bytes(4, "big"))
            case Kind.TOTALS:
                return Frame(Kind.TOTALS, frame.sequence, json.dumps(self._totals).encode())
            case _:
                raise FrameError(f"a client may not send {frame.kind.name}")
