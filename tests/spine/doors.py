"""A door of toughcall serve on a free port, who knocks at it, and a child that keeps a processor busy."""

from __future__ import annotations

import base64
import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from toughcall.annotate.hooks import HEADER, USER
from toughcall.following import Commands
from toughcall.serving import Door, bound, listening

SECRET = "correct-horse-battery-staple"
BASIC = "Basic " + base64.b64encode(f"{USER}:{SECRET}".encode()).decode()


class Served:
    """A door with somebody behind it, and who wants to come in."""

    def __init__(self, url: str, said: list[str], hints: list[str]) -> None:
        self.url, self.said, self.hints = url, said, hints

    def ask(self, method: str, path: str, *, headers: dict[str, str] | None = None, **body: Any) -> httpx.Response:
        known = {HEADER: SECRET} if headers is None else headers
        return httpx.request(method, self.url + path, headers=known, trust_env=False, timeout=60, **body)

    def alive(self) -> bool:
        return self.ask("GET", "/health", headers={}).json() == {"status": "UP"}


@contextlib.contextmanager
def served(**more: Any) -> Iterator[Served]:
    """Answer on a free port while the block runs."""
    said: list[str] = []
    hints: list[str] = []
    door = replace(Door(SECRET, lambda: hints.append("hint"), say=said.append), **more)
    made = bound("127.0.0.1", 0)
    with listening(door, made):
        yield Served(f"http://127.0.0.1:{made.getsockname()[1]}", said, hints)


BUSY = (
    "import os, sys, time, pathlib\n"
    "pathlib.Path(sys.argv[2], 'began').write_text(str(os.getpid()))\n"
    "while not pathlib.Path(sys.argv[2], 'enough').exists():\n"
    "    sum(n * n for n in range(100_000))\n"
)


@contextlib.contextmanager
def busy(root: Path, code: str = BUSY) -> Iterator[Commands]:
    """Let a child burn a processor while the block runs, as a retrain does."""
    commands = Commands(root, program=(sys.executable, "-c", code))
    thread = threading.Thread(target=commands, args=("round",))
    thread.start()
    try:
        while not (root / "began").exists():
            time.sleep(0.01)
        yield commands
    finally:
        (root / "enough").touch()
        thread.join()
