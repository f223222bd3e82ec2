"""What was asked, decided and answered of the items of the queue: small lists from the ledger, never the pool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from toughcall.curating import ASKED
from toughcall.records import Answer, Pick, Value
from toughcall.review.live import Live
from toughcall.voting import Decision

Picks: TypeAlias = Sequence[tuple[str, Pick]]
Answers: TypeAlias = Mapping[str, Sequence[Answer]]

ANSWERED, WAITING, UNSENT, CLOSED = "answered", "waiting", "not sent", "closed"
PINNED, APPROVED, ASIDE, HELD, FREE = "pinned", "approved", "set aside", "held out", "not asked"
WORDS = {"pin": PINNED, "approve": APPROVED, "set_aside": ASIDE}
"""The state of an item that nobody was asked about, by the newest decision on it."""
OPEN_TO: Mapping[str, tuple[str, ...]] = {
    "approve": (FREE, PINNED, ASIDE),
    "pin": (FREE, APPROVED, ASIDE),
    "set_aside": (FREE, APPROVED, PINNED, HELD, UNSENT),
    "clear": (APPROVED, PINNED, ASIDE),
}
"""By action: the states in which an item it changes something."""


@dataclass(frozen=True, slots=True)
class Decided:
    """What reviewers decided: the newest decision on each item, and items that left their batch before it was sent."""

    last: Mapping[str, Decision]
    dropped: frozenset[str]

    def state(self, item: str) -> str:
        """Return the state of an item that is in no batch and has no answer."""
        last = self.last.get(item)
        word = WORDS.get(last.action, "") if last else ""
        return word or (ASIDE if item in self.dropped else FREE)

    def by(self, item: str) -> str:
        """Return who decided last, "" where nothing is decided."""
        last = self.last.get(item)
        return last.who if last and last.action in WORDS else ""

    def why(self, item: str) -> str:
        """Return the reason given with the decision that holds, "" without one."""
        last = self.last.get(item)
        return last.reason if last and last.action in WORDS else ""

    def undone(self, item: str) -> bool:
        """Return whether there is a decision to take back."""
        return bool(self.by(item))


def asked_picks(live: Live) -> list[tuple[str, Pick]]:
    """Return (batch, pick) of everything sent or planned, newest batch first, without what was set aside."""
    names = [row["name"] for row in live.batches]
    return [(name, pick) for name in reversed(names) for pick in live.store.batch(name).picks]


def answers_by_item(live: Live) -> dict[str, list[Answer]]:
    """Return the current answers of each item."""
    found: dict[str, list[Answer]] = {}
    for answer in live.answers:
        found.setdefault(answer.item, []).append(answer)
    return found


def decided(live: Live, picks: Picks) -> Decided:
    """Return what reviewers decided so far; `picks` as `asked_picks` returns them."""
    there = {pick.item for _, pick in picks}
    dropped = {pick.item for _, pick in live.store.picks()} - there
    return Decided({one.item: one for one in live.store.decisions()}, frozenset(dropped))


def wanted(live: Live, picks: Picks, answers: Answers, said: Decided) -> list[str]:
    """Return the items that reviewers asked for and nobody was asked about yet, as `curating.wanted` orders them."""
    asked = {pick.item for _, pick in picks} | answers.keys() | said.dropped
    found = [one for one in said.last.values() if one.action in ASKED and one.item not in asked]
    return [one.item for one in sorted(found, key=lambda one: ASKED.index(one.action))]


def unsent(live: Live, picks: Picks) -> dict[str, int]:
    """Return how many items each batch holds of which nothing was sent yet."""
    found: dict[str, int] = {}
    for batch, _ in picks:
        if live.states.get(batch) == "planned":
            found[batch] = found.get(batch, 0) + 1
    return found


def state(live: Live, batch: str, answers: Sequence[Answer]) -> str:
    """Return "answered" (studio.overlap answers are in), "waiting", "not sent" or "closed" (its batch is done)."""
    if len(answers) >= live.project.studio.overlap:
        return ANSWERED
    return {"planned": UNSENT, "done": CLOSED}.get(live.states.get(batch, ""), WAITING)


def state_of(live: Live, batch: str, answers: Sequence[Answer], reviewed: Decided, item: str) -> str:
    """Return the state of an item, also of one that is in no batch: answered elsewhere, or what reviewers decided."""
    if batch:
        return state(live, batch, answers)
    return ANSWERED if answers else reviewed.state(item)


def counts(live: Live, picks: Picks, answers: Answers) -> tuple[int, int]:
    """Return how many of the items asked wait for an answer (closed batches do not), and how many have theirs.

    An item counts once, in however many batches it was asked: to label it, to check on it and to decide on it.
    """
    found: dict[str, set[str]] = {}
    for batch, pick in picks:
        found.setdefault(state(live, batch, answers.get(pick.item, ())), set()).add(pick.item)
    answered = found.get(ANSWERED, set())
    return len((found.get(WAITING, set()) | found.get(UNSENT, set())) - answered), len(answered)


def spoken(value: Value) -> list[str]:
    """Return the parts of an answer in words."""
    return [one if isinstance(one, str) else f"{one[0]} {one[1]:g}" for one in value]


def said(answers: Sequence[Answer]) -> str:
    """Return in a few words what the experts answered, "" when nobody did."""
    words = {"skip": "skipped", "cant_tell": "can't tell"}
    each = [words.get(a.outcome) or ", ".join(spoken(a.value)) or "none of them" for a in answers]
    return " / ".join(dict.fromkeys(each))


def reasons(picks: Picks) -> list[str]:
    """Return the reasons that occur, sorted."""
    return sorted({pick.reason for _, pick in picks})


def worded(reason: str) -> str:
    """Return a reason's name as words."""
    return reason.replace("_", " ")
