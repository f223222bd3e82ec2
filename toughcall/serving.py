"""What answers Label Studio: hints in, pre-annotations out, over HTTP on loopback; nothing that comes in is believed.

A hint says that something may be new, whatever stands in it (`toughcall.following`). Tasks that are asked about are
looked up in the ledger. The token that Label Studio hands to every ML backend is dropped unread.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hmac
import json
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from toughcall.annotate.hooks import HEADER, USER
from toughcall.records import ToughcallError, UsageError

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

LIMIT = 5_000_000
"""Bytes of a request's body."""
PATIENCE = 10.0
"""Seconds in which the head of a request must have come, and then its body."""
AT_ONCE = 100
"""Connections; more are told 503, which loses a hint at worst."""
PATHS = ("/health", "/setup", "/predict", "/versions", "/webhook")


@dataclass(frozen=True)
class Door:
    """What stands behind the addresses. `hint` is called in the thread of the server and must return at once.

    `answers` and `version` may take their time: they are called in a thread of their own, one call after the other.
    """

    secret: str = field(repr=False)
    hint: Callable[[], None]
    version: Callable[[], str] = lambda: ""
    answers: Callable[[Sequence[Any]], list[list[dict[str, Any]]]] = lambda tasks: [[] for _ in tasks]
    say: Callable[[str], None] = lambda _: None
    apart: Callable[..., Awaitable[Any]] = asyncio.to_thread
    """How a call is made in another thread: (function, its arguments)."""
    limit: int = LIMIT
    patience: float = PATIENCE


def allowed(secret: str, header: str, authorization: str) -> bool:
    """Return whether a request brings the secret: in our header, or as the password of basic authentication.

    Compared in constant time (C74).
    """
    given = header
    if not given and authorization[:6].lower() == "basic ":
        with contextlib.suppress(binascii.Error, UnicodeDecodeError):
            user, _, given = base64.b64decode(authorization[6:].strip(), validate=True).decode().partition(":")
            given = given if user == USER else ""
    return bool(given) and hmac.compare_digest(given.encode("utf-8", "replace"), secret.encode())


def application(door: Door) -> Starlette:
    """Return the HTTP application: 401 without the secret, 404, 405, 408, 413 and 400 as they say (C74, C77).

    /health alone is open; it says that somebody is there and not what for.
    """
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.middleware import Middleware
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    async def read(request: Request) -> Any:
        """Return the JSON of a request that may ask, at most `limit` bytes of it, within `patience` seconds."""
        headers = request.headers
        if not allowed(door.secret, headers.get(HEADER, ""), headers.get("authorization", "")):
            raise HTTPException(401, headers={"WWW-Authenticate": 'Basic realm="toughcall"'})
        if request.method == "GET":
            return None
        body, size = bytearray(), 0
        try:
            async with asyncio.timeout(door.patience):
                async for chunk in request.stream():
                    size += len(chunk)
                    # the rest is read and dropped: whoever is still sending would not see an answer
                    if size <= door.limit:
                        body += chunk
                    elif size > 4 * door.limit:
                        break
        except TimeoutError:
            raise HTTPException(408) from None
        if size > door.limit:
            raise HTTPException(413)
        try:
            return json.loads(bytes(body))
        except (ValueError, RecursionError):
            raise HTTPException(400, "no JSON") from None

    async def asked(function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return await door.apart(function, *arguments)
        except ToughcallError as error:
            # for whoever sits at the terminal; Label Studio would show it to everybody
            door.say(str(error))
            raise HTTPException(503, "not now: the terminal of toughcall serve says why") from None

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "UP"})

    async def setup(request: Request) -> Response:
        # it holds somebody's access token; nothing of it is kept
        await read(request)
        return JSONResponse({"model_version": await asked(door.version)})

    async def versions(request: Request) -> Response:
        await read(request)
        version = await asked(door.version)
        return JSONResponse({"versions": [version] if version else []})

    async def webhook(request: Request) -> Response:
        await read(request)
        door.hint()
        return JSONResponse({"status": "ok"})

    async def predict(request: Request) -> Response:
        body = await read(request)
        tasks = body.get("tasks") if isinstance(body, dict) else None
        if not isinstance(tasks, list):
            raise HTTPException(400, "no tasks")
        return JSONResponse({"results": await asked(door.answers, tasks)})

    made = Starlette(
        routes=[
            Route("/health", health, methods=["GET"]),
            Route("/setup", setup, methods=["POST"]),
            Route("/predict", predict, methods=["POST"]),
            Route("/versions", versions, methods=["GET"]),
            Route("/webhook", webhook, methods=["POST"]),
        ],
        middleware=[Middleware(_Told, say=door.say)],
    )
    # /webhook/ is another path: nobody is sent on to wherever the Host header says
    made.router.redirect_slashes = False
    return made


class _Told:
    """Tells of each request which known path answered what: no body, header, query or path that somebody made up."""

    def __init__(self, app: Any, say: Callable[[str], None]) -> None:
        self.app = app
        self.say = say

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass a request on."""

        async def sent(message: Any) -> None:
            if message["type"] == "http.response.start":
                path = scope["path"] if scope["path"] in PATHS else "(another path)"
                method = scope["method"] if scope["method"] in ("GET", "POST") else "(another method)"
                # who looks whether we live does it every few seconds
                if (method, path, message["status"]) != ("GET", "/health", 200):
                    self.say(f"{method} {path} {message['status']}")
            await send(message)

        await self.app(scope, receive, sent if scope["type"] == "http" else send)


def bound(host: str, port: int) -> socket.socket:
    """Return a socket on an address of this machine (any port for 0); UsageError when it is taken or none of ours."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        # as servers do: connections of the one before do not block it
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen()
    except (OSError, OverflowError):
        made.close()
        raise UsageError(
            f"port {port} on {host} is taken or not allowed: toughcall serve --port ANOTHER (0 = any free one)"
        ) from None
    return made


@contextlib.contextmanager
def listening(door: Door, made: socket.socket) -> Iterator[threading.Thread]:
    """Answer on a socket in another thread while the block runs, and yield that thread."""
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Patient(H11Protocol):
        """Gives up on a connection whose first request does not come; uvicorn itself would wait for ever."""

        _late: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._late = self.loop.call_later(door.patience, self._give_up)

        def connection_lost(self, exc: Exception | None) -> None:
            if self._late is not None:
                self._late.cancel()
            super().connection_lost(exc)

        def _give_up(self) -> None:
            if self.cycle is None and not self.transport.is_closing():
                self.transport.write(b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
                self.transport.close()

    config = uvicorn.Config(
        application(door),
        http=Patient,
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        # one request a connection: the deadline for its head then holds for every request
        headers=[("Connection", "close")],
        limit_concurrency=AT_ONCE,
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [made]}, name="toughcall serve", daemon=True)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        yield thread
    finally:
        server.should_exit = True
        thread.join()
        made.close()
