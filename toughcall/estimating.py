"""From the ledger to honest estimates: how common each class is, how good the model that asked was, with intervals.

What was drawn at random measures; what was mined counts for itself and for nothing else (`mining.estimates`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from toughcall.mining.audits import bands
from toughcall.mining.batch import AUDIT
from toughcall.mining.estimates import Answers, Audit, Estimate, prevalence, quality, unasked
from toughcall.model.scorers import Scorer
from toughcall.records import Bools, Item, Reals, UsageError
from toughcall.workspace import Workspace

FIGURES = ("precision", "recall", "f1")
LOW = 0.2
"""Pairs: below this probability hardly any is similar; the audit draws from there apart from the rest."""


def edges(thresholds: Sequence[float] | Reals) -> list[float]:
    """Return where the bands of an audited probability are cut: below, doubtful, and called by the model."""
    return sorted({LOW, round(min(float(thresholds[0]), 0.95), 6)})


@dataclass(frozen=True)
class Ground:
    """The items that estimates speak of, and every audit among them, oldest first, with the batch it was drawn in."""

    items: Sequence[Item]
    answers: Answers
    audits: Sequence[tuple[str, Audit]]
    measuring: frozenset[str]
    """The batches whose audit lies in the training part: only there a model has been audited (the others fill the
    test part)."""


def ground(ws: Workspace) -> Ground:
    """Return what the ledger says about the pool: nothing is embedded or scored for it. UsageError for numbers."""
    if not ws.kind.labelled:
        raise UsageError(f"kind {ws.project.kind} gives numbers, no classes to estimate: toughcall status counts them")
    items = _stored(ws)
    parts, groups = ws.store.parts(), ws.store.groups()
    held = {groups[one] for one, part in parts.items() if part == "test"}
    labels = {label.item: label for label in ws.store.labels(ws.schema.version)[0] if label.trust == "gold"}
    imported = {answer.item for answer in ws.store.answers() if answer.source == "import"}
    side = {item.id: ws.part(item, parts) for item in items}
    kept = [
        item
        for item in items
        if (side[item.id] == "train" and not ws.leaky(item, parts, groups, held))
        or (side[item.id] == "test" and item.id not in imported)
        or (side[item.id] is None and not parts)
    ]
    ids = tuple(item.id for item in kept)
    columns = ws.kind.columns(ws.schema)
    given = [labels.get(one) for one in ids]
    truth = np.zeros((len(ids), len(columns)), dtype=bool)
    known = np.array([one is not None for one in given], dtype=bool)
    if known.any():
        truth[known] = ws.kind.targets(ws.schema, [one.value for one in given if one is not None])
    answers = Answers(ids, columns, truth, np.repeat(known[:, None], len(columns), axis=1))
    where = {one: row for row, one in enumerate(ids)}
    left = np.array([one not in imported for one in ids], dtype=bool)
    picks: dict[str, list[tuple[int, bool, float]]] = {}
    for batch, pick in ws.store.picks():
        if pick.item in where:
            picks.setdefault(batch, []).append((where[pick.item], pick.reason == AUDIT, pick.probability))
    audits, measuring = [], set()
    for row in ws.store.batches():
        own = picks.get(row["name"], [])
        drawn = np.zeros(len(ids), dtype=bool)
        drawn[[place for place, audit, _ in own if audit]] = True
        if drawn.any():
            audits.append((row["name"], Audit(left.copy(), drawn & left)))
            if all(side[ids[place]] == "train" for place in np.flatnonzero(drawn)):
                measuring.add(row["name"])
        left[[place for place, _, _ in own]] = False
    return Ground(kept, answers, audits, frozenset(measuring))


def _stored(ws: Workspace) -> Sequence[Item]:
    if ws.kind.items == "pairs":
        return ws.pool.pairs()
    return ws.pool.relations() if ws.kind.items == "relations" else ws.pool.texts()


def common(
    found: Ground, audits: Sequence[Audit] | None = None
) -> tuple[Mapping[str, Estimate], Mapping[str, Estimate]]:
    """Return (the share of the pool that each class has, how many of it nobody was asked about).

    `audits`: with their strata, where they were drawn in strata.
    """
    given = [audit for _, audit in found.audits] if audits is None else audits
    return prevalence(found.answers, given), unasked(found.answers, given)


def judged(ws: Workspace, found: Ground) -> list[tuple[str, Audit]]:
    """Return the audits with what the model that asked says of every item, and their batches.

    Each answer of an audit first measures the model that asked it and then trains the next one. Left out: audits
    whose model is gone, which fill the test part, or which nobody has answered.
    """
    vectors = ws.vectors
    usable = set(vectors.ids)
    models = {row["name"]: row["model"] for row in ws.store.batches()}
    rows = [row for row, item in enumerate(found.items) if all(view.id in usable for view in item.views)]
    kept = []
    for name, audit in found.audits:
        model = _model(ws, models[name])
        if name not in found.measuring or model is None or not (audit.drawn & found.answers.known[:, 0]).any():
            continue
        scores = model.score([found.items[row] for row in rows], vectors)
        said: Bools = np.zeros(found.answers.truth.shape, dtype=bool)
        said[rows] = ws.kind.chosen(scores.values, model.thresholds)
        strata = None
        if ws.kind.paired:
            strata = np.zeros(len(found.items), dtype=np.intp)
            strata[rows] = bands(scores.values[:, 0], edges(model.thresholds))
        kept.append((name, Audit(audit.left, audit.drawn, said, strata)))
    return kept


def _model(ws: Workspace, name: str) -> Scorer | None:
    if name == "untouched":
        return ws.untouched
    return ws.registry.load(name) if name in ws.registry.versions() else None


def rows_of(ws: Workspace) -> tuple[list[dict[str, Any]], list[str]]:
    """Return one row per class and the sentences under the table."""
    found = ground(ws)
    kept = judged(ws, found) if found.audits else []
    # a pair's audit is drawn in bands of the score: without the model that made them it says nothing
    share, left = common(found, [audit for _, audit in kept] if ws.kind.paired else None)
    good = quality(found.answers, [audit for _, audit in kept]) if kept else None
    batches = [name for name, _ in kept]
    out: list[dict[str, Any]] = []
    for label in found.answers.labels:
        row: dict[str, Any] = {"class": label, "share of the pool": _shown(share[label], percent=True)}
        row |= {"not asked yet": _shown(left[label], whole=True), "audited": share[label].n}
        for name in FIGURES:
            row[name] = None if good is None else _shown(getattr(good, name)[label])
        out.append(row)
    told = []
    if good is not None and good.macro:
        row = {"class": "mean of the classes", "share of the pool": None, "not asked yet": None, "audited": None}
        out.append(row | {name: _shown(good.macro[name]) if name in good.macro else None for name in FIGURES})
        for name, names in good.left_out.items():
            if names:
                told.append(f"the mean {name} leaves out {', '.join(names)}: no audited answer speaks of them")
    count = sum(int((audit.drawn & found.answers.known[:, 0]).sum()) for _, audit in found.audits)
    if count:
        told.append(f"{count} answers drawn at random measure; {int(found.answers.known[:, 0].sum())} are known")
    else:
        told.append("nothing drawn at random has an answer yet: toughcall round asks, random_audit is its quota")
    if batches:
        told.append(
            f"precision, recall and F1: of the models that asked {', '.join(batches)}, each on answers it had not seen"
        )
    if ws.kind.paired:
        told.append(f"the pool here are the {len(found.items):,} candidate pairs, not all pairs of records")
    return out, told


def _shown(one: Estimate, *, percent: bool = False, whole: bool = False) -> str:
    """Return "0.81 [0.60, 0.93]"; where nothing measures it, what the answers leave possible."""

    def number(value: float) -> str:
        return f"{value:.1%}" if percent else f"{value:,.0f}" if whole else f"{value:.2f}"

    inside = f"[{number(one.low)}, {number(one.high)}]"
    return f"not known yet, in {inside}" if one.value is None else f"{number(one.value)} {inside}"
