"""What reviewers write on the queue tab: decisions on items, and a batch of what they asked for. Events with ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from toughcall.records import ToughcallError, digest
from toughcall.review.asked_views import OPEN_TO

DONE = {"approve": "approved", "pin": "pinned", "set_aside": "set aside", "clear": "taken back"}
"""What became of an item, in words."""


@dataclass(frozen=True, slots=True)
class Curated:
    """What came of a press: how many items were decided, and a sentence for each reason why others were not."""

    done: int
    refused: Mapping[str, int]
    action: str

    def sentence(self) -> str:
        """Return in words what was stored, "" for nothing."""
        return f"{self.done:,} item{'s' * (self.done != 1)} {DONE[self.action]}" if self.done else ""

    def problem(self) -> str:
        """Return in words what was not stored and why, "" when everything was."""
        several = self.done or len(self.refused) > 1
        each = [f"{n:,} not: {why}" if several or n > 1 else why for why, n in self.refused.items()]
        return " · ".join(each)


def open_to(action: str, states: Mapping[str, str]) -> list[str]:
    """Return the items, by their states, in which an action changes something."""
    return [item for item, now in states.items() if now in OPEN_TO[action]]


def decide(root: Path, items: Sequence[str], action: str, reason: str, who: str, press: str) -> Curated:
    """Store one decision for each item, all at once; what cannot be decided is told and keeps no other from it.

    `press` is the id of this press of a button: the same one twice is one (C80). While a command runs nothing is
    stored and the sentence says who holds the lock (C81).
    """
    from toughcall import curating
    from toughcall.voting import Decision
    from toughcall.workspace import opened

    at = datetime.now(UTC).isoformat(timespec="seconds")
    said = [Decision(digest("queue", press, one), one, action, reason.strip(), who.strip(), at) for one in items]
    try:
        with opened(root, "review") as ws:
            return Curated(*curating.decide_all(ws, said), action)
    except ToughcallError as error:
        return Curated(0, {str(error): len(items)}, action)


def make_batch(root: Path) -> tuple[int, str]:
    """Make a batch of what reviewers asked for; return (how many items, one sentence why not or "").

    Pressed twice there is nothing left to make one of (C80).
    """
    from toughcall import curating
    from toughcall.workspace import opened

    try:
        with opened(root, "review") as ws:
            return len(curating.batch(ws).picks), ""
    except ToughcallError as error:
        return 0, str(error)
