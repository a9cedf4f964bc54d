"""The server of the local page: Starlette and uvicorn, on 127.0.0.1 alone, read only.

Reading order: Pages, the answer to each address; application(); serve(). guard.py stands before all of it.
"""

from __future__ import annotations

import logging
import os
import re
import socket
from time import monotonic
from typing import TYPE_CHECKING

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from otel_perf.errors import UserError

from . import answers
from .encode import encode
from .guard import ADDRESS, RAW_HEADERS, Guard, answer, failure
from .push import Stream
from .runs import Missing
from .traces import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TypeVar

    from starlette.requests import Request

    from .live import Live
    from .runs import Runs

    T = TypeVar("T")

ASSETS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "assets")
PAGES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/app.js": ("app.js", "text/javascript; charset=utf-8"),
    "/app.css": ("app.css", "text/css; charset=utf-8"),
}
POINTS = 600  # of a series, unless another number is asked for
MOST_POINTS = 5_000
MOST_STREAMS = 32
LOOK = 0.5  # seconds between two looks for what is being read
LATEST = 9e12  # ms since 1970 that a range may name
_TRACE = re.compile("[0-9a-f]{32}")


# --- what is asked ----------------------------------------------------------------------------------------------------


class _Asked(Exception):  # noqa: N818
    """What is asked makes no sense; says why."""


class Pages:
    """The answers, one method an address."""

    def __init__(self, runs: Runs, assets: str = ASSETS) -> None:
        self.runs = runs
        self.assets = assets
        self.streams = 0
        self.closing = False

    def routes(self) -> list[Route]:
        """Return what is at which address."""
        process = "/api/runs/{run}/{process}"
        return [
            *(Route(path, self.asset) for path in PAGES),
            Route("/api/runs", self.listing),
            Route(process, self.overview),
            Route(f"{process}/start", self.start),
            Route(f"{process}/series", self.series),
            Route(f"{process}/flame", self.flame),
            Route(f"{process}/functions", self.functions),
            Route(f"{process}/traces/{{trace}}", self.trace),
            Route(f"{process}/events", self.events),
        ]

    def asset(self, request: Request) -> Response:
        """Return a file of the page."""
        name, kind = PAGES[request.url.path]
        try:
            with open(os.path.join(self.assets, name), "rb") as file:
                return Response(file.read(), media_type=kind)
        except OSError:
            return failure("the page is not built; run make web, or install otel-perf from a wheel", 500)

    def listing(self, request: Request) -> Response:
        """Return RunList."""
        return answer(self.runs.listing())

    def overview(self, request: Request) -> Response:
        """Return Overview."""
        return answer(answers.overview(self._live(request)))

    def start(self, request: Request) -> Response:
        """Return the start's Waterfall."""
        run, process = request.path_params["run"], request.path_params["process"]
        found, live = self._once_read(run, process, answers.start)
        if found is not None:
            return answer(found)
        return failure("no start was recorded in this process", 404) if live.whole.is_set() else _being_read(live)

    def series(self, request: Request) -> Response:
        """Return SeriesAnswer."""
        points = int(_number(request.query_params, "points", 10, MOST_POINTS) or POINTS)
        return answer(answers.series(self._live(request), *_range(request.query_params), points))

    def flame(self, request: Request) -> Response:
        """Return Flame: of a range, of the difference of two, or of one trace."""
        asked = request.query_params
        live = self._live(request)
        if "trace" in asked:
            found = answers.flame_of_trace(live, _trace_id(asked["trace"]), PATIENCE)
            return failure("no such trace in this process", 404) if found is None else answer(found)
        base = None
        if any(key in asked for key in ("base_from", "base_to", "base_run", "base_process")):
            run = asked.get("base_run", request.path_params["run"])
            process = asked.get("base_process", "first" if "base_run" in asked else request.path_params["process"])
            _, other = self._once_read(run, process, lambda _: None)
            if not other.whole.is_set():
                return _being_read(other)
            base = answers.paths(other, *_range(asked, "base_"))
        return answer(answers.flame(live, *_range(asked), base))

    def functions(self, request: Request) -> Response:
        """Return FunctionsAnswer."""
        return answer(answers.functions(self._live(request), *_range(request.query_params)))

    def trace(self, request: Request) -> Response:
        """Return the Waterfall of one trace."""
        found = answers.trace(self._live(request), _trace_id(request.path_params["trace"]))
        return failure("no such trace in this process", 404) if found is None else answer(found)

    async def events(self, request: Request) -> Response:
        """Return the stream of what is new in the process that the address names now."""
        if self.streams >= MOST_STREAMS:
            return failure(f"{MOST_STREAMS} pages are open already; close one", 503)
        asked = request.path_params
        found = await run_in_threadpool(self.runs.find, asked["run"], asked["process"])
        stream = Stream(self.runs, found.run.name, found.process, request.headers.get("last-event-id", ""))
        return StreamingResponse(self._counted(stream), media_type="text/event-stream")

    async def _counted(self, stream: Stream) -> Any:
        self.streams += 1
        try:
            async for part in stream.parts(lambda: self.closing):
                yield part
        finally:
            self.streams -= 1

    def _live(self, request: Request) -> Live:
        """Return the process that the address names.

        Raises: Missing: there is none. UserError: it cannot be read.
        """
        return self._process(request.path_params["run"], request.path_params["process"])

    def _process(self, run: str, process: str) -> Live:
        live = self.runs.live(self.runs.find(run, process))
        if live.error:
            raise UserError(live.error)
        return live

    def _once_read(self, run: str, process: str, find: Callable[[Live], T | None]) -> tuple[T | None, Live]:
        """Return what *find* gives, nothing only once all of the process has been read, or after PATIENCE.

        What was not read yet is not missing: of a run that is not the shown one nobody hears more later.
        """
        limit = monotonic() + PATIENCE
        while True:
            live = self._process(run, process)
            whole = live.whole.is_set()  # before: what comes in between is in what is found
            found = find(live)
            if found is not None or whole or monotonic() >= limit:
                return found, live
            live.whole.wait(LOOK)


def _being_read(live: Live) -> Response:
    return failure(f"the run is still being read, {100 * live.read // max(1, live.total)} % so far; try again", 503)


def _range(asked: Mapping[str, str], prefix: str = "") -> tuple[float | None, float | None]:
    begin, end = (_number(asked, f"{prefix}{key}", 0.0, LATEST) for key in ("from", "to"))
    if begin is not None and end is not None and end < begin:
        raise _Asked(f"{prefix}to is before {prefix}from")
    return begin, end


def _number(asked: Mapping[str, str], key: str, least: float, most: float) -> float | None:
    text = asked.get(key, "")
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not least <= number <= most:
        raise _Asked(f"{key} is a number from {least:g} to {most:g}, got {text[:40]!r}")
    return number


def _trace_id(text: str) -> str:
    if not _TRACE.fullmatch(text):
        raise _Asked("a trace id has 32 digits of 0-9 and a-f")
    return text


def application(pages: Pages) -> Starlette:
    """Return the application without its guard."""

    def told(request: Request, error: Exception) -> Response:
        if isinstance(error, Missing):
            return failure(str(error), 404)
        if isinstance(error, _Asked):
            return failure(str(error), 400)
        if isinstance(error, UserError):
            return failure(error.message, 500)
        if isinstance(error, HTTPException):
            return failure(
                "there is nothing at this address" if error.status_code == 404 else error.detail, error.status_code
            )
        return failure("internal error", 500)

    handlers: Any = dict.fromkeys((Missing, _Asked, UserError, HTTPException), told)
    return Starlette(routes=pages.routes(), exception_handlers=handlers)


# --- the server -------------------------------------------------------------------------------------------------------


class _Protocol(H11Protocol):
    """Answers what is no HTTP with our headers, too."""

    def send_400_response(self, msg: str) -> None:
        """Say that, and close the connection."""
        text = encode({"error": msg}).encode()
        lines = [b"HTTP/1.1 400 Bad Request", b"content-type: application/json", b"content-length: %d" % len(text)]
        lines += [name + b": " + value for name, value in RAW_HEADERS]
        self.transport.write(b"\r\n".join([*lines, b"connection: close", b"", text]))
        self.transport.close()


class _Server(uvicorn.Server):
    """Ends its streams before it waits for them; may end by itself."""

    def __init__(self, config: uvicorn.Config, pages: Pages, ends: Callable[[int], bool]) -> None:
        super().__init__(config)
        self.pages = pages
        self.ends = ends

    async def on_tick(self, counter: int) -> bool:
        """Say whether it is time to end; of ten calls a second, one asks."""
        if counter % 10 == 0 and await run_in_threadpool(self.ends, self.pages.streams):
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End."""
        self.pages.closing = True
        await super().shutdown(sockets)


def listen(port: int) -> socket.socket:
    """Return a socket that listens on this machine's own address, on a free port if *port* is 0.

    Raises: UserError: it cannot.
    """
    try:
        return socket.create_server((ADDRESS, port))
    except OSError as error:
        mend = "leave --port out to take a free one"
        raise UserError(f"cannot listen on {ADDRESS}:{port}: {error.strerror or error}; {mend}", 1) from None


def serve(runs: Runs, listener: socket.socket, token: str, ends: Callable[[int], bool], assets: str = ASSETS) -> None:
    """Serve until a signal comes, or *ends* says so, which is asked once a second with the number of open pages."""
    pages = Pages(runs, assets)
    guard = Guard(application(pages), listener.getsockname()[1], token)
    config = uvicorn.Config(
        guard, http=_Protocol, ws="none", lifespan="off", interface="asgi3", log_config=None, access_log=False,
        proxy_headers=False, server_header=False, timeout_graceful_shutdown=2,
    )  # fmt: skip
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # Guard says what goes wrong
    try:
        _Server(config, pages, ends).run(sockets=[listener])
    except KeyboardInterrupt:  # uvicorn raises the signal again once it has ended
        return
    finally:
        runs.end()
