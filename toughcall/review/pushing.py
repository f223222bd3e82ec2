"""Sending open batches to Label Studio from the page: the command itself, in a process of its own, and what it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

STEP = 0.2
"""Seconds between two looks at what the command says."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What a push did: a sentence, and why it did not end well, "" when it did."""

    sentence: str
    problem: str = ""


class Push:
    """`toughcall push` of one project. It runs to its end whatever becomes of the page: half a push is never left."""

    def __init__(self, root: Path) -> None:
        self.root = root
        # files and not pipes: nobody has to read them for the command to go on
        self.out: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed in `end`)
        self.told: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        command = [sys.executable, "-m", "toughcall.cli", "--project", str(root.resolve()), "push", "--json"]
        self.child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self.out, stderr=self.told, env={**os.environ}
        )

    def lines(self) -> Iterator[str]:
        """Yield what it says last, until it has ended."""
        while self.child.poll() is None:
            if said := _last(self._read(self.told)):
                yield said
            time.sleep(STEP)

    def end(self) -> Sent:
        """Wait for it to end and return what it did."""
        self.child.wait()
        told, out = self._read(self.told), self._read(self.out)
        self.told.close()
        self.out.close()
        return result(self.child.returncode, out, told)

    @staticmethod
    def _read(file: IO[bytes]) -> str:
        # at a place of its own: the command goes on writing at the shared one
        return os.pread(file.fileno(), 1 << 20, 0).decode(errors="replace")


def _last(text: str) -> str:
    lines = [line.strip() for line in text.replace("\r", "\n").splitlines() if line.strip()]
    return lines[-1] if lines else ""


def result(code: int, out: str, told: str) -> Sent:
    """Return what `toughcall push --json` did, from its exit code and what it wrote."""
    if code:
        said = [line for line in told.replace("\r", "\n").splitlines() if line.startswith("toughcall: ")]
        why = said[-1].removeprefix("toughcall: ") if said else f"push ended with {code}: run toughcall push to see why"
        return Sent("", why)
    try:
        row = json.loads(_last(out))
    except ValueError:
        return Sent("", "push ended without saying what it did: run toughcall status")
    parts = [
        f"{row[name]:,} {name}" for name in ("sent", "already there", "set aside", "deleted there") if row.get(name)
    ]
    return Sent(", ".join(parts) or "nothing was left to send")


def start(root: Path) -> Push | str:
    """Start a push; return it, or one sentence why it could not be started."""
    try:
        return Push(root)
    except OSError as error:
        return f"toughcall push cannot be started ({error}): run it in a terminal"
