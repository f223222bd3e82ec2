"""A reviewer's word on the queue: ask this first, ask this too, never ask that. Each is an event with an id."""

from __future__ import annotations

from collections.abc import Sequence

from toughcall.records import Batch, Pick, UsageError
from toughcall.voting import Decision
from toughcall.workspace import Workspace

ASKED = ("pin", "approve")
"""Actions that ask: pinned items stand before approved ones."""
ACTIONS = (*ASKED, "set_aside", "clear")


def decide(ws: Workspace, decision: Decision) -> bool:
    """Store what a reviewer decided; return whether it was new. The newest decision on an item holds (C79, C80).

    Raises UsageError for what `decide_all` refuses.
    """
    new, refused = decide_all(ws, [decision])
    for why in refused:
        raise UsageError(why)
    return bool(new)


def decide_all(ws: Workspace, decisions: Sequence[Decision]) -> tuple[int, dict[str, int]]:
    """Store what a reviewer decided; return (how many were new, how many were refused by the sentence that says why).

    Each is an event of its own: what is refused keeps no other from being stored. Refused are an unknown action or
    item, a decision without a name, setting aside without a reason, and asking of the held-out part by hand: what
    measures is drawn at random. All are looked up at once, and stored in one transaction.
    """
    items = ws.pool.items({one.item for one in decisions}, ws.kind.items)
    asking = {one.item for one in decisions if one.action in ASKED} & items.keys()
    parts = ws.store.parts_of({text.id for item in asking for text in items[item].texts})
    held = {item for item in asking if any(parts.get(text.id) == "test" for text in items[item].texts)}
    good, refused = list[Decision](), dict[str, int]()
    for one in decisions:
        if why := _refused(one, known=one.item in items, held=one.item in held):
            refused[why] = refused.get(why, 0) + 1
        else:
            good.append(one)
    return ws.store.add_decisions(good), refused


def _refused(decision: Decision, *, known: bool, held: bool) -> str:
    """Return why something is no decision, "" when it is one."""
    if not known:
        return f"item {decision.item} is not in the pool: toughcall doctor says what is missing"
    if decision.action not in ACTIONS:
        return f"{decision.action!r} is no decision: choose {', '.join(ACTIONS)}"
    if not decision.who.strip():
        return "a decision needs the name of who decides: write it beside the button"
    if decision.action == "set_aside" and not decision.reason.strip():
        return "setting an item aside needs a reason: write why it should not be asked"
    if held:
        return "this item is held out: what measures is drawn at random, not chosen; choose another one"
    return ""


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
