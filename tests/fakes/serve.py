"""`toughcall serve` as a process of its own, and what it says."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# a shell starts what runs in the background with SIGINT ignored, which its children inherit: tests send that signal
PROGRAM = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from toughcall.cli import main; main()"
)


class Serve:
    """A process; use it in a with statement, which kills it."""

    def __init__(self, root: Path, *options: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, "--project", str(root), "serve", "--port", "0", *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "HF_HUB_OFFLINE": "1", **environment},
        )
        self.lines: list[str] = []
        self.news = threading.Condition()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self.news:
                self.lines.append(line.strip())
                self.news.notify_all()
        with self.news:
            self.news.notify_all()

    def __enter__(self) -> Serve:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.reader.join()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    @property
    def said(self) -> str:
        return "\n".join(self.lines)

    def until(self, pattern: str, times: int = 1) -> re.Match[str]:
        """Wait until it has said this so often; fail when it ends before that."""
        with self.news:
            while True:
                found = list(re.finditer(pattern, self.said))
                if len(found) >= times:
                    return found[times - 1]
                assert self.reader.is_alive(), f"it ended without {pattern!r}:\n{self.said}"
                self.news.wait(1.0)

    @property
    def url(self) -> str:
        return self.until(r"answering at (http://\S+);")[1]

    def stop(self, sign: signal.Signals = signal.SIGINT) -> int:
        """Send a signal, wait for the end, and return the exit code."""
        self.process.send_signal(sign)
        return self.ended()

    def ended(self) -> int:
        code = self.process.wait()
        self.reader.join()
        return code


def waiting(condition: Callable[[], Any], serve: Serve, pause: float = 0.1) -> Iterator[None]:
    """Yield until a condition holds, while the process lives."""
    import time

    while not condition():
        assert serve.process.poll() is None, serve.said
        time.sleep(pause)
        yield
