"""What may be asked: records, marked relations, and pairs of records, imported or mined once from all pairs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from toughcall.pool import Odds
from toughcall.records import Item, digest
from toughcall.workspace import Workspace

if TYPE_CHECKING:
    from toughcall.mining.pairs import Allowed, Candidates

VERSION = 2
"""How pairs are chosen; a project from before chooses again, and keeps what it has."""


def candidates(ws: Workspace) -> list[Item]:
    """Return everything that may be asked: records, marked relations, or imported or mined pairs of records."""
    stored: dict[str, Callable[[], Sequence[Item]]] = {
        "texts": ws.pool.texts,
        "pairs": ws.pool.pairs,
        "relations": ws.pool.relations,
    }
    if not ws.kind.paired or ws.project.data.text_b or not ws.project.mine.candidates:
        return list(stored[ws.kind.items]())
    from toughcall.mining.pairs import Allowed

    records = ws.pool.texts()
    allowed = Allowed(
        {text.id: text.block for text in records}, {text.id: text.time for text in records}, ws.project.mine.window
    )
    mine_pairs(ws, allowed)
    # a pair from before the window was narrowed is a candidate no more
    return [one for one in ws.pool.pairs() if one.a.block == one.b.block and allowed.near(one.a.id, one.b.id)]


def mine_pairs(ws: Workspace, allowed: Allowed) -> None:
    """Store candidate pairs with their odds, once for the same records and settings, each part on its own."""
    from toughcall.mining.pairs import candidate_pairs

    vectors, settings = ws.vectors, ws.project.mine
    seen = digest(
        "candidates",
        VERSION,
        sorted(vectors.ids),
        ws.project.seed,
        settings.window,
        settings.candidates,
        ws.project.data.block,
    )
    if ws.store.get("candidates") == seen:
        return
    parts = ws.store.parts()
    for number, part in enumerate(("train", "test")):
        rows = [row for row, one in enumerate(vectors.ids) if parts.get(one) == part]
        if len(rows) < 2:
            continue
        ids = tuple(vectors.ids[row] for row in rows)
        found = candidate_pairs(
            dataclasses.replace(vectors, ids=ids, array=vectors.array[rows]),
            rng=np.random.default_rng([ws.project.seed, number]),
            limit=settings.candidates,
            allowed=allowed,
            progress=ws.telling.bar(f"looking at pairs ({part})"),
        )
        each = zip(found.origin, found.cosine.tolist(), found.probability.tolist(), strict=True)
        ws.pool.add_pairs(zip(found.a, found.b, strict=True), [Odds(*one) for one in each])
        ws.telling.say(told(found, part))
    ws.store.put("candidates", seen)


def told(found: Candidates, part: str) -> str:
    """Return one sentence: how many pairs there are, how many in which stratum, and how that is known."""

    def count(value: float) -> str:
        return f"{round(value):,}"

    exact = all(one.exact for one in found.strata)
    strata = []
    for one in found.strata:
        name = f"cosine {one.low:.1f} to {min(one.high, 1.0):.1f}" if one.low > -1 else f"below {one.high:.1f}"
        interval = "" if one.exact else f" ({count(one.least)} to {count(one.most)})"
        strata.append(f"{name}: {count(one.count)}{interval}")
    total = count(sum(one.count for one in found.strata))
    how = "counted" if exact else "estimated, 95 % interval"
    missing = "" if found.recall is None else f"; {found.recall:.0%} of the nearest neighbours were found"
    return f"{part}: {total} pairs are allowed, {len(found):,} are candidates ({how}; {', '.join(strata)}){missing}"
