"""What the strategies read beside the scores: thresholds, answers so far, phrases, patterns, odds of pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from toughcall.evidence import rare_context
from toughcall.mining.patterns import precisions
from toughcall.records import Floats, Item, Label
from toughcall.workspace import Workspace

if TYPE_CHECKING:
    from toughcall.model.scorers import Scorer

LOOKING = {"known_neighbours", "seeds", "patterns"}
"""Reasons that look for classes in the texts, not in the scores."""


def context(
    ws: Workspace,
    model: Scorer,
    quotas: Mapping[str, float],
    train: Sequence[Label],
    items: Mapping[str, Item],
    open_: Sequence[str],
) -> dict[str, Any]:
    """Return what the reasons that have a quota need; nothing costly is made for one that has none.

    `train`: the labels of the training part; `items`: all that may be asked or was, by id; `open_`: the ids that
    may be asked, in the order of their scores.
    """
    wanted = {reason for reason, share in quotas.items() if share > 0}
    found: dict[str, Any] = {"thresholds": model.thresholds, "null": ws.schema.null}
    if wanted & LOOKING and ws.schema.labels:
        found |= rare_context(ws, train, items)
        for one in precisions(found["matched"], found["answers"], found["audited"]):
            if one.dropped:
                ws.telling.say(one.dropped)
    if ws.kind.paired:
        found["origins"] = {one: odds.origin for one, odds in ws.pool.pair_odds(open_).items()}
    if "committee" in wanted and train:
        found["committee"] = committee(ws, train, items, open_)
    return found


def committee(ws: Workspace, train: Sequence[Label], items: Mapping[str, Item], open_: Sequence[str]) -> Floats:
    """Return what five heads, each fitted on a resample of the labels, say of the open items, shape (5, n, k)."""
    from toughcall.model.train import Basis

    ordered = sorted(train, key=lambda label: label.item)
    basis = Basis.of(
        ws.kind,
        ws.schema,
        [*(items[label.item] for label in ordered), *(items[one] for one in open_)],
        ws.vectors,
        corpus=ws.corpus,
        pool=ws.training_pool(),
        seed=ws.project.seed,
        hints=ws.label_hints,
    )
    rows = range(len(ordered))
    return basis.committee(rows, ordered, range(len(ordered), len(basis.items)), seed=ws.project.seed)
