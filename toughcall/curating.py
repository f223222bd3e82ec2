"""A reviewer's word on the queue: ask this first, ask this too, never ask that. Each is an event with an id."""

from __future__ import annotations

from collections.abc import Sequence

from toughcall.records import Batch, Item, Pick, UsageError
from toughcall.voting import Decision
from toughcall.workspace import Workspace

ASKED = ("pin", "approve")
"""Actions that ask: pinned items stand before approved ones."""
ACTIONS = (*ASKED, "set_aside", "clear")


def decide(ws: Workspace, decision: Decision) -> bool:
    """Store what a reviewer decided; return whether it was new. The newest decision on an item holds (C79, C80).

    Raises UsageError for an unknown action or item, without a name, for setting aside without a reason, and for
    asking of the held-out part by hand: what measures is drawn at random.
    """
    item = ws.pool.items([decision.item]).get(decision.item)
    if item is None:
        raise UsageError(f"item {decision.item} is not in the pool: toughcall doctor says what is missing")
    if decision.action not in ACTIONS:
        raise UsageError(f"{decision.action!r} is no decision: choose {', '.join(ACTIONS)}")
    if not decision.who.strip():
        raise UsageError("a decision needs the name of who decides: write it beside the button")
    if decision.action == "set_aside" and not decision.reason.strip():
        raise UsageError("setting an item aside needs a reason: write why it should not be asked")
    if decision.action in ASKED and _held_out(ws, item):
        raise UsageError("this item is held out: what measures is drawn at random, not chosen; choose another one")
    new = ws.store.add_decision(decision)
    if decision.action == "set_aside":
        for row in ws.store.batches():
            if row["state"] == "planned" and any(p.item == item.id for p in ws.store.batch(row["name"]).picks):
                ws.store.mark_batch(row["name"], "planned", [item.id])
    return new


def _held_out(ws: Workspace, item: Item) -> bool:
    parts = ws.store.parts()
    return any(parts.get(text.id) == "test" for text in item.texts)


def wanted(ws: Workspace) -> list[Pick]:
    """Return the items that reviewers asked for and nobody was asked about yet, pinned ones first."""
    asked = ws.store.asked()
    found = [one for one in ws.store.decisions() if one.action in ASKED and one.item not in asked]
    found.sort(key=lambda one: ASKED.index(one.action))
    words = {"pin": "pinned", "approve": "approved"}
    return [
        Pick(one.item, words[one.action], 1.0, rank, note=f"by {one.who}{f': {one.reason}' if one.reason else ''}")
        for rank, one in enumerate(found)
    ]


def batch(ws: Workspace, items: Sequence[str] | None = None) -> Batch:
    """Make a batch of what reviewers asked for, of some of it where `items` are named; empty when there is nothing."""
    picks = [pick for pick in wanted(ws) if items is None or pick.item in items]
    made = Batch(ws.store.next_batch_name(), ws.schema.version, scored_by(ws), tuple(picks))
    if picks:
        ws.store.add_batch(made)
    return made


def scored_by(ws: Workspace) -> str:
    """Return the model whose scores the reviewers saw, "" before the first scores."""
    import pyarrow.parquet as pq

    path = ws.project.root / "scores" / "latest.parquet"
    if not path.exists():
        return ""
    return str((pq.read_schema(path).metadata or {}).get(b"model", b"").decode())
