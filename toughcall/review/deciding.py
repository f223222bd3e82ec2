"""What people disagree on, side by side, and the one write of the page: somebody's decision, an event with an id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from toughcall.records import Answer, Item, ToughcallError, Value
from toughcall.review.live import Live
from toughcall.voting import ADJUDICATION, GOLD, role_of


@dataclass(frozen=True, slots=True)
class Dispute:
    """An item that the votes do not decide: what it shows, who said what, and what may be answered."""

    item: Item
    answers: tuple[Answer, ...]
    offered: tuple[str, ...]


def disputes(live: Live, most: int = 200) -> list[Dispute]:
    """Return what is still in disagreement, the oldest first; what somebody decided is not."""
    torn = set(live.labels[1])
    said: dict[str, list[Answer]] = {}
    for answer in live.store.valid(live.schema.version):
        if answer.item in torn and answer.outcome == "label" and role_of(answer) not in (ADJUDICATION, GOLD):
            said.setdefault(answer.item, []).append(answer)
    wanted = list(said)[:most]
    items = live.pool.items(wanted)
    return [Dispute(items[one], tuple(said[one]), live.schema.offered(items[one])) for one in wanted if one in items]


def chosen(answers: Sequence[Answer]) -> dict[str, list[str]]:
    """Return what was said and by whom, what more people said first."""
    from toughcall.experts import said

    found: dict[str, list[str]] = {}
    for answer in answers:
        found.setdefault(said(answer.value), []).append(answer.annotator)
    return dict(sorted(found.items(), key=lambda one: -len(one[1])))


def decide(root: Path, item: str, value: Value | None, who: str, decision: str) -> str:
    """Store a decision; return "" or one sentence why it was not. The same decision twice is one (C79, C80, C81)."""
    from toughcall.experts import decide as store
    from toughcall.workspace import opened

    try:
        with opened(root, "review") as ws:
            store(ws, item, value, who, decision, datetime.now(UTC).isoformat(timespec="seconds"))
    except ToughcallError as error:
        return str(error)
    return ""
