"""Who may ask the server: the browser that was given the token, by this server's own name, to read.

Every request passes Guard first. Its name must be this server's, so that no other site's name can lead here (DNS
rebinding); it brings the cookie that the address with the token was exchanged for; and every response, errors too, has
the headers that keep a page from running or loading anything else.

Cookies know no ports: the browser gives ours to every server that it visits by our name, 127.0.0.1. So it has a value
of its own, never the token, that opens this server as long as that lives. Reading order: answer(), Guard.
"""

from __future__ import annotations

import secrets
import sys
from typing import TYPE_CHECKING

from starlette.responses import Response

from .encode import encode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

    Scope = dict[str, Any]
    Receive = Callable[[], Awaitable[Any]]
    Send = Callable[[Any], Awaitable[None]]

ADDRESS = "127.0.0.1"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {  # of every response
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "cross-origin-resource-policy": "same-origin",  # another port of this machine is the same site
    "cross-origin-opener-policy": "same-origin",
}
OPEN_ANEW = "open the address that otel-perf view has printed: it has the token"
RAW_HEADERS = [(name.encode(), value.encode()) for name, value in HEADERS.items()]


def answer(found: object, status: int = 200) -> Response:
    """Return *found* as JSON."""
    return Response(encode(found), status, media_type="application/json")


def failure(text: str, status: int) -> Response:
    """Return an error as the page expects it."""
    return answer({"error": text}, status)


class Guard:
    """Lets nobody through but the browser that was given the token; gives every response its headers."""

    def __init__(self, app: Any, port: int, token: str) -> None:
        self.app = app
        self.hosts = (f"{ADDRESS}:{port}", f"localhost:{port}")
        self.cookie = f"otel_perf_{port}"  # two servers would overwrite each other's
        self.token = token
        self.session = secrets.token_urlsafe(24)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it on."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        begun = False

        async def with_headers(message: Any) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                ours = [pair for pair in message.get("headers", []) if pair[0].lower().decode() not in HEADERS]
                message = {**message, "headers": [*ours, *RAW_HEADERS]}
            await send(message)

        try:
            await (self._refusal(scope) or self.app)(scope, receive, with_headers)
        except Exception as error:
            sys.stderr.write(f"otel-perf view: {scope['path']}: {type(error).__name__}: {error}\n")
            if begun:
                raise
            await failure("internal error; the server's stderr has it", 500)(scope, receive, with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        headers: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
        hosts = headers.get("host", [])
        if len(hosts) != 1 or hosts[0].lower() not in self.hosts:
            return failure(f"this server is {' or '.join(self.hosts)}, by no other name", 403)
        if scope["method"] not in ("GET", "HEAD"):
            refused = failure("this server can only be read: GET", 405)
            refused.headers["allow"] = "GET, HEAD"
            return refused
        given = _token_of(scope["query_string"]) if scope["path"] == "/" else None
        if given is not None:
            return self._exchange() if secrets.compare_digest(given, self.token.encode()) else failure(OPEN_ANEW, 403)
        for header in headers.get("cookie", []):
            for pair in header.split(";"):
                name, _, value = pair.strip().partition("=")
                if name == self.cookie and secrets.compare_digest(value.encode(), self.session.encode()):
                    return None
        return failure(OPEN_ANEW, 403)

    def _exchange(self) -> Response:
        """Take the token out of the address: a browser's history and the page's own scripts do not get it.

        A strict cookie would not be sent to where this leads if the address was a link in a web terminal or a chat. A
        lax one goes with what is opened in a tab, never with what another site loads; and nothing can be changed here.
        """
        found = Response(status_code=303, headers={"location": "/"})
        found.set_cookie(self.cookie, self.session, httponly=True, samesite="lax", path="/")
        return found


def _token_of(query: bytes) -> bytes | None:
    for pair in query.split(b"&"):
        name, equals, value = pair.partition(b"=")
        if name == b"token" and equals:
            return value
    return None
