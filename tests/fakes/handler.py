"""Speaks HTTP for a fake Label Studio, and breaks it where a fault says so."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

Answer = tuple[int, Any]


class FaultyHandler(BaseHTTPRequestHandler):
    """Speaks HTTP for a FakeStudio and breaks it when a fault says so."""

    studio: Any
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Stay silent."""

    def do_GET(self) -> None:
        self.handle_one()

    def do_POST(self) -> None:
        self.handle_one()

    def do_PATCH(self) -> None:
        self.handle_one()

    def do_DELETE(self) -> None:
        self.handle_one()

    def handle_one(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(length)
        address = urlsplit(self.path)
        query = {key: " ".join(values) for key, values in parse_qs(address.query).items()}
        request = f"{self.command} {address.path}"
        studio = self.studio
        studio.seen.append(request)
        mode = studio.fault(request)

        def work() -> Answer:
            if address.path != "/api/token/refresh/" and not studio.allowed(self.headers.get("Authorization", "")):
                return 401, {"status_code": 401, "detail": "Invalid token."}
            if length > studio.body_limit:
                return 500, {"detail": "You cannot access body after reading from request's data stream"}
            return studio.respond(self.command, address.path, query, json.loads(raw) if raw else {})

        if mode == "delay then commit later":
            studio.late.append(work)
            return self.drop()
        if mode in ("500 before", "404", "redirect", "refuse token"):
            status = {"500 before": 500, "404": 404, "redirect": 302, "refuse token": 401}[mode]
            return self.answer(status, {"detail": "database is locked"})
        try:
            status, body = work()
            data = (
                b""
                if body is None
                else body.encode()
                if isinstance(body, str)
                else json.dumps(body, ensure_ascii=False).encode()
            )
        except (LookupError, UnicodeEncodeError) as error:
            status, data = 500, json.dumps({"detail": str(error).encode("ascii", "replace").decode()}).encode()
        studio.after(request)
        if mode == "502 after commit":
            return self.answer(502, "<html>Bad Gateway</html>")
        if mode == "drop after commit":
            return self.drop()
        return self.answer(status, data, half=mode)

    def drop(self) -> None:
        self.close_connection = True

    def answer(self, status: int, body: Any, half: str = "") -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "http://elsewhere.invalid/login")
        self.send_header("Set-Cookie", "sessionid=canary-cookie; Path=/")
        self.send_header("Content-Type", "application/json")
        if half == "half body, no length":
            self.send_header("Connection", "close")
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if half else data)
        if half:
            self.close_connection = True
