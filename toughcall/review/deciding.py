"""What somebody has to decide, side by side: disagreements, labels that look wrong, twins that differ."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

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
    for answer in live.valid:
        if answer.item in torn and answer.outcome == "label" and role_of(answer) not in (ADJUDICATION, GOLD):
            said.setdefault(answer.item, []).append(answer)
    wanted = list(said)[:most]
    items = live.pool.items(wanted, live.kind.items)
    return [Dispute(items[one], tuple(said[one]), live.schema.offered(items[one])) for one in wanted if one in items]


@dataclass(frozen=True, slots=True)
class Doubt:
    """A label that models which did not see it contradict, or one side of two near twins with different labels."""

    item: Item
    given: tuple[str, ...]
    said: tuple[str, ...] = ()
    quality: float = 1.0


def _doubts(live: Live) -> dict[str, Any]:
    """Return what the newest retrain found doubtful; nothing when it is of other labels or cannot be read."""
    path = live.project.root / "scores" / "doubts.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise live.damaged(path, error) from None
    return found if isinstance(found, dict) and found.get("schema") == live.schema.version else {}


def _decided(live: Live) -> set[str]:
    return {one.item for one in live.valid if role_of(one) == ADJUDICATION}


def suspects(live: Live) -> list[Doubt]:
    """Return labels that look wrong and that nobody has decided on, the worst first."""
    done = _decided(live)
    rows = [one for one in _doubts(live).get("suspects", ()) if one["item"] not in done]
    items = live.pool.items([one["item"] for one in rows], live.kind.items)
    return [
        Doubt(items[one["item"]], tuple(one["given"]), tuple(one["said"]), float(one["quality"]))
        for one in rows
        if one["item"] in items
    ]


def contradictions(live: Live) -> list[tuple[Doubt, Doubt, float]]:
    """Return pairs of near twins with different labels of which nobody has decided either, with their cosine."""
    done = _decided(live)
    rows = [one for one in _doubts(live).get("contradictions", ()) if not {one["item"], one["other"]} & done]
    items = live.pool.items([one[side] for one in rows for side in ("item", "other")], live.kind.items)
    return [
        (
            Doubt(items[one["item"]], tuple(one["given"])),
            Doubt(items[one["other"]], tuple(one["other_given"])),
            float(one["cosine"]),
        )
        for one in rows
        if one["item"] in items and one["other"] in items
    ]


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
