"""A proxy that stands before a real server, forwards every request, and breaks chosen ones.

A fault counts only if it fired. What is broken after the server did its work counts only if the server said
2xx to it; an answer that is anything else goes through as it is.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import re
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

AFTER = (
    "502 after commit",
    "drop after commit",
    "half body",  # the answer breaks off although its length was told
    "half body, no length",  # it breaks off and nothing tells that it did
    "delay then commit later",  # the connection closes at once, the server gets the request seconds later
)
BEFORE = (
    "500 before",
    "503",
    "404",
    "refused",  # nobody listens for a while, the request and those after it
    "reset",  # the connection is reset in the middle of the request
)
MODES = (*AFTER, *BEFORE)
READS = tuple(mode for mode in MODES if mode != "delay then commit later")
"""What can befall a request that stores nothing."""
HOP = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
"""Headers between two neighbours (RFC 9110, section 7.6.1)."""

OWN = HOP | {"content-length", "date", "server"}
"""Headers of an answer that are written anew."""

Answer = tuple[int, list[tuple[str, str]], bytes]


@dataclass(frozen=True)
class Rule:
    """A request whose "METHOD path" matches breaks with this probability, in one of these modes."""

    pattern: str
    probability: float
    modes: Sequence[str] = MODES


@dataclass(frozen=True)
class Fired:
    """One fault: what broke, while what was running, and the status of the server behind (0 = it was not asked)."""

    mode: str
    request: str
    during: str
    status: int


@dataclass
class Planned:
    """`mode` for the next `times` requests whose "METHOD path" holds `part`, after `skip` that pass."""

    part: str
    times: int
    mode: str
    skip: int = 0


class FaultProxy:
    """A proxy on a free port of 127.0.0.1 before `target` (http://HOST:PORT); use it in a with statement.

    Args:
        target: where it forwards to.
        rules: the random plan; the first rule that matches a request decides.
        seed: of that plan.
        late: a request that is committed later reaches the server after so many seconds, at least and at most.
        away: for so many seconds nobody listens after a connection was refused.

    """

    def __init__(
        self,
        target: str,
        rules: Sequence[Rule] = (),
        *,
        seed: int = 0,
        late: tuple[float, float] = (0.2, 2.0),
        away: float = 0.15,
    ) -> None:
        self.target, self.rules, self.late, self.away = target, tuple(rules), late, away
        self.random = random.Random(seed)
        self.planned: list[Planned] = []
        self.during = ""
        """What runs now; every fault notes it."""
        self.log: list[Fired] = []
        self.seen: list[str] = []
        self.lock = threading.Lock()
        self.waiting: list[threading.Thread] = []
        self.leaving = threading.Lock()
        self.gone = False
        self.port = 0
        self.listen()
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> FaultProxy:
        return self

    def __exit__(self, *error: object) -> None:
        self.settle()
        self.stop_listening()

    def listen(self) -> None:
        """Listen, on the port it had before if there was one."""
        proxy = self

        class Handler(_Handler):
            of = proxy

        for tries in range(100, -1, -1):
            try:
                self.server = _Server(("127.0.0.1", self.port), Handler)
                break
            except OSError:
                if not tries:
                    raise
                time.sleep(0.05)
        self.port = self.server.server_port
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()
        self.gone = False

    def stop_listening(self) -> None:
        """Close the port."""
        self.gone = True
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def fail(self, part: str, times: int, mode: str, skip: int = 0) -> None:
        """Break the next `times` requests whose "METHOD path" holds `part`; goes before the random plan."""
        assert mode in MODES, mode
        self.planned.append(Planned(part, times, mode, skip))

    def mode(self, request: str) -> str:
        """Return how this request breaks, "" for not at all."""
        with self.lock:
            self.seen.append(request)
            for one in self.planned:
                if one.times and one.part in request:
                    if one.skip:
                        one.skip -= 1
                        return ""
                    one.times -= 1
                    return one.mode
            for rule in self.rules:
                if re.search(rule.pattern, request):
                    return self.random.choice(rule.modes) if self.random.random() < rule.probability else ""
        return ""

    def note(self, mode: str, request: str, during: str, status: int = 0) -> None:
        """Remember a fault that fired."""
        with self.lock:
            self.log.append(Fired(mode, request, during, status))

    def later(self, work: Any) -> None:
        """Do something in a thread that `settle` waits for."""
        thread = threading.Thread(target=work, daemon=True)
        with self.lock:
            self.waiting.append(thread)
        thread.start()

    def settle(self) -> bool:
        """Wait until what was cut off has reached the server and the port is open; return whether there was any."""
        with self.lock:
            waiting, self.waiting = self.waiting, []
        for thread in waiting:
            thread.join()
        return bool(waiting)

    @contextlib.contextmanager
    def under(self, *rules: Rule) -> Iterator[None]:
        """Follow another random plan inside; without rules nothing breaks at random."""
        before, self.rules = self.rules, rules
        try:
            yield
        finally:
            self.rules = before

    def forward(self, method: str, path: str, headers: Sequence[tuple[str, str]], body: bytes) -> Answer:
        """Send a request on and return the whole answer; 502 when nobody is there, as nginx says it."""
        address = urlsplit(self.target)
        kept = {name: value for name, value in headers if name.lower() not in OWN | {"host"}}
        behind = http.client.HTTPConnection(address.hostname or "", address.port, timeout=600)
        try:
            behind.request(method, path, body=body or None, headers={**kept, "Connection": "close"})
            answer = behind.getresponse()
            data = answer.read()
            return answer.status, [(k, v) for k, v in answer.getheaders() if k.lower() not in OWN], data
        except (OSError, http.client.HTTPException) as error:
            return 502, [("Content-Type", "text/plain")], type(error).__name__.encode()
        finally:
            behind.close()

    def leave(self, request: str, during: str) -> None:
        """Refuse connections for a while: a fault once a connection was seen to be refused."""
        with self.leaving:
            if self.gone:
                return
            self.stop_listening()
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", self.port)):
                self.note("refused", request, during)

        def back() -> None:
            time.sleep(self.away)
            self.listen()

        self.later(back)


class _Server(ThreadingHTTPServer):
    """Closes a connection that is to be reset without a word, and is silent about clients that went away."""

    daemon_threads = True

    def shutdown_request(self, request: Any) -> None:
        """Close a connection; one with no time to linger is reset by that, which a shutdown would soften."""
        if struct.unpack("ii", request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8))[0]:
            self.close_request(request)
        else:
            super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say what went wrong, unless it is that the client has gone."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """Takes one request after the other, forwards it or breaks it."""

    of: FaultProxy
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Stay silent."""

    def handle_one(self) -> None:
        proxy, length = self.of, int(self.headers.get("Content-Length") or 0)
        if proxy.gone:
            return self.drop()
        request, during = f"{self.command} {urlsplit(self.path).path}", proxy.during
        mode = proxy.mode(request)
        if mode == "reset":
            self.rfile.read(length // 2)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            proxy.note(mode, request, during)
            return self.drop()
        parts = (self.command, self.path, self.headers.items(), self.rfile.read(length))
        if mode == "refused":
            proxy.leave(request, during)
            return self.drop()
        if mode in ("500 before", "503", "404"):
            proxy.note(mode, request, during)
            status = int(mode[:3])
            words = {500: "database is locked", 503: "Service Unavailable", 404: "Not found."}[status]
            return self.answer(status, [("Content-Type", "application/json")], json.dumps({"detail": words}).encode())
        if mode == "delay then commit later":
            pause = proxy.random.uniform(*proxy.late)

            def late() -> None:
                time.sleep(pause)
                status, _, _ = proxy.forward(*parts)
                if 200 <= status < 300:
                    proxy.note(mode, request, during, status)

            proxy.later(late)
            return self.drop()
        status, headers, data = proxy.forward(*parts)
        if not mode or not 200 <= status < 300 or (mode.startswith("half") and len(data) < 2):
            return self.answer(status, headers, data)
        proxy.note(mode, request, during, status)
        if mode == "502 after commit":
            return self.answer(502, [("Content-Type", "text/html")], b"<html>Bad Gateway</html>")
        if mode == "drop after commit":
            return self.drop()
        return self.answer(status, headers, data, half=mode)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = handle_one

    def drop(self) -> None:
        self.close_connection = True

    def answer(self, status: int, headers: Sequence[tuple[str, str]], data: bytes, half: str = "") -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        if half == "half body, no length":
            self.send_header("Connection", "close")
        elif status != 204:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if half else data)
        if half:
            self.close_connection = True
