"""The thread on which hub and client run, and the calls that the rest of the application makes."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from contextlib import AbstractContextManager, nullcontext
from threading import Thread
from typing import TYPE_CHECKING, TypeVar

import otel_perf as perf
from desktop.transport.client import Client
from desktop.transport.framing import Kind
from desktop.transport.hub import Hub

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from typing import Any

    from desktop.settings import Settings

log = logging.getLogger(__name__)
T = TypeVar("T")


class Link:
    """The application's transport; every call waits for its answer, but not for ever (transport.timeout)."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="transport", daemon=True)
        self._secret = secrets.token_bytes(32)
        self._hub = Hub(self._secret, settings.transport_max_frame)
        self._client: Client | None = None
        self.port = 0

    @perf.profile
    def open(self) -> None:
        """Start the thread, the hub and the client, and shake hands."""
        self._thread.start()
        self.port = self._run(self._hub.open(self._settings.transport_host))
        with _api_span("connect"):
            self._run(self._connect())
        log.info("transport ready on %s port %d", self._settings.transport_host, self.port)

    @perf.profile
    def publish(self, payloads: Sequence[bytes]) -> int:
        """Send *payloads*; return the number of bytes that the hub acknowledged."""
        return self._run(self._publish(payloads))

    def totals(self) -> dict[str, int]:
        """Return what the hub has counted: ``messages`` and ``bytes``."""
        answer = self._run(self._connected().request(Kind.TOTALS))
        totals: dict[str, int] = json.loads(answer.payload)
        return totals

    def close(self) -> None:
        """Close client and hub and end the thread; also after an open() that failed half-way."""
        if self._thread.is_alive():
            try:
                if self._client is not None:
                    self._run(self._client.close())
                self._run(self._hub.close())
            finally:
                self._loop.call_soon_threadsafe(self._loop.stop)
                self._thread.join(self._settings.transport_timeout)
        if not self._thread.is_alive():
            self._loop.close()

    async def _connect(self) -> None:
        settings = self._settings
        self._client = await Client.connect(
            settings.transport_host, self.port, settings.transport_timeout, settings.transport_max_frame
        )
        await self._client.handshake(self._secret)

    async def _publish(self, payloads: Sequence[bytes]) -> int:
        return sum([size async for size in self._connected().publish(payloads)])

    def _connected(self) -> Client:
        if self._client is None:
            raise RuntimeError("the transport is not open; call open() first")
        return self._client

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        # the loop runs *work* in a copy of this thread's context, so spans nest across the two threads
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            # each request has its own limit inside; this one is for a loop that does not run any more
            return future.result(self._settings.transport_timeout * 2)
        except TimeoutError:
            future.cancel()
            raise


def _api_span(name: str) -> AbstractContextManager[object]:
    """Return a span of the plain OpenTelemetry API, as any instrumented library opens one."""
    try:
        from opentelemetry import trace
    except ImportError:
        return nullcontext()
    return trace.get_tracer("desktop.transport", "1.0.0").start_as_current_span(name)
