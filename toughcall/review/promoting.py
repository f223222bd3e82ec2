"""Promotion and rollback from the page: what may be done, and the real command that does it, once a press."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from toughcall.records import ToughcallError, digest
from toughcall.review import rounds, verdict
from toughcall.review.live import Live, opened

NAMED = ("candidate", "champion")
"""Roles that do not say by themselves which model is meant."""
Verb = Literal["promote", "rollback"]


@dataclass(frozen=True, slots=True)
class Move:
    """A change of the champion as it was offered: the verb, the version that serves afterwards, its verdict.

    `serving` and `changes` (how often the champion was changed before) say on what the offer stands: a press is
    done only while they still hold, so that a double click, a second window or the back button does it once.
    """

    verb: Verb
    version: str
    serving: str
    changes: int
    sentence: str
    figures: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The name of this one press."""
        return digest("move", self.verb, self.version, self.serving, self.changes)[:16]


def offered(live: Live) -> list[Move]:
    """Return what may be done now: promote the newest model if its verdict says so, go back if there is a way back."""
    from toughcall.model.registry import Registry

    registry = Registry(live.project.models)
    line = registry.history()
    serving = str(line[-1]["version"]) if line else ""
    events = live.store.events()
    count = len(rounds.moves(events))
    judged = {str(event.get("version") or ""): event for event in rounds.retrains(events)}
    newest = live.retrains[-1] if live.retrains else {}
    version = str(newest.get("version") or "")
    found = []
    if newest.get("outcome") == "PROMOTE" and version != serving and version in registry.versions():
        found.append(
            Move("promote", version, serving, count, str(newest.get("sentence") or ""), tuple(_figures(newest)))
        )
    if len(line) > 1:
        back = str(line[-2]["version"])
        told = judged.get(back, {})
        kept = line[-2].get("verdict")
        sentence = str(told.get("sentence") or (kept.get("sentence") if isinstance(kept, dict) else "") or "")
        found.append(Move("rollback", back, serving, count, sentence, tuple(_figures(told))))
    return found


def _figures(event: verdict.Event) -> list[str]:
    """Return a line for each report of a retrain that has a value: what, figure, 95 % interval, rows."""
    lines = []
    for row in verdict.figures(event).to_dict("records"):
        ends = [verdict.number(row[end]) for end in ("low", "high")]
        told = "" if None in ends else f" [{ends[0]:.3f}, {ends[1]:.3f}]"
        name = row["role"] if row["role"] not in NAMED else f"{row['role']} {row['model']}"
        lines.append(f"{name}: {row['metric']} {row['value']:.3f}{told} on {row['n']:,} held-out items")
    return lines


def command(root: Path, move: Move) -> list[str]:
    """Return the command that carries a move out, if what serves is still what served when it was offered."""
    version = [move.version] if move.verb == "promote" else []
    words = ["--project", str(root.resolve()), "--quiet", move.verb, *version, "--while", move.serving]
    return [sys.executable, "-m", "toughcall.cli", *words]


def carry_out(root: Path, move: Move) -> str:
    """Run the command of a move; return "" or one sentence why it was not done (C80, C81)."""
    try:
        with opened(root) as live:
            now = [one.id for one in offered(live) if one.verb == move.verb]
    except ToughcallError as error:
        return str(error)
    if move.id not in now:
        return "Nothing was done: the champion has changed since this was shown; look at it again."
    done = subprocess.run(command(root, move), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if not done.returncode:
        return ""
    said = [line for line in done.stderr.splitlines() if line.strip()]
    last = said[-1].removeprefix("toughcall: ") if said else "it said nothing"
    return f"toughcall {move.verb} ended with exit code {done.returncode}: {last}"
