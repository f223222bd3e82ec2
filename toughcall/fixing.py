"""What `toughcall fixes` looks for: what lifts the model that is there, judged on rows left out of training."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from toughcall.mining.batch import AUDIT
from toughcall.model import fixes as trying
from toughcall.model.crossfit import FOLDS
from toughcall.model.fixes import LEAST, Fix, Outside
from toughcall.model.split import connected, folds
from toughcall.records import Floats, Item, Label, NotEnoughData, UsageError
from toughcall.workspace import Workspace

if TYPE_CHECKING:
    from toughcall.model.scorers import Head

FITTED = ("head", "stages")
"""Recipes that are fitted again on a part of the labels, to speak of the rest."""
MOST = 5_000
"""On so many labels fixes are judged at most, drawn at random: more only narrow intervals that are narrow."""
STEPS = 100
"""How finely the bar counts one fold."""


@dataclasses.dataclass(frozen=True, eq=False)
class LeftOut:
    """What models made without them say of the training labels: outputs of shape (n, k)."""

    labels: Sequence[Label]
    rows: Outside
    """As served: under the type table the model was stored with."""
    words: Floats
    """Of TF-IDF alone."""
    retyped: Floats
    """Under the other type table: the project's now, or none where that is the model's."""


def fixes(ws: Workspace, version: str = "") -> list[Fix]:
    """Return what may lift a model (the champion, else the newest) without one more label, the best first.

    Chosen and measured by grouped cross-validation on gold training labels: the model's recipe is fitted on four
    fifths of them and speaks of the last one. The sealed test set is not looked at. UsageError without a model of
    this recipe and these labels, NotEnoughData below 20 gold training labels.
    """
    version = version or ws.registry.champion() or next(iter(reversed(ws.registry.versions())), "")
    if not version:
        raise UsageError("there is no model to fix yet: toughcall retrain trains one")
    model = _head(ws, version)
    train, _, items, _ = ws.split()
    gold = sum(label.trust == "gold" for label in train)
    if gold < LEAST:
        raise NotEnoughData(
            f"{gold} checked training labels, {LEAST} are needed to judge a fix: toughcall round asks for more"
        )
    out = left_out(ws, model, train, items)
    kept = np.array([label.trust == "gold" for label in out.labels], dtype=bool)
    rows, now = trying.measured_on(out.rows, kept), model.thresholds
    found: list[Fix | None] = []
    if ws.kind.labelled:
        found += [trying.thresholds(rows, now), trying.calibration(rows)]
    found.append(trying.blend(rows, out.words[kept], now))
    if ws.schema.types or model.schema.types:
        found.append(trying.types(rows, out.retyped[kept], now, **_retyping(ws, model)))
    found += _checkpoints(ws, version, model, train, items)
    return trying.ranked([fix for fix in found if fix is not None])


def _head(ws: Workspace, version: str) -> Head:
    """Return a stored head; UsageError where it answers other labels or is of another recipe."""
    from toughcall.model.scorers import Head
    from toughcall.model.tuned import Tuned

    model = ws.registry.load(version)
    if not isinstance(model, Head | Tuned):
        raise UsageError(f"{version} is no trained model: toughcall status lists them")
    if isinstance(model, Tuned) or model.recipe not in FITTED:
        raise UsageError(
            f"{version} is of recipe {model.recipe}, and fixes are judged on heads, which are fitted again in seconds: "
            "toughcall fixes VERSION names a head"
        )
    if model.schema.version != ws.schema.version:
        raise UsageError(
            f"{version} answers other labels than project.toml asks for: toughcall retrain makes a new one"
        )
    return model


def left_out(ws: Workspace, model: Head, train: Sequence[Label], items: Mapping[str, Item]) -> LeftOut:
    """Return what the recipe says of each training label when fitted without it and whatever belongs to it.

    Equal texts, near-duplicates and texts of one group are never on both sides of a fold.
    """
    from toughcall.model.train import Basis, words_alone

    seed, kind, schema = ws.project.seed, ws.kind, ws.schema
    labels = sorted(train, key=lambda label: label.item)
    if len(labels) > MOST:
        drawn = np.sort(np.random.default_rng(seed).choice(len(labels), MOST, replace=False))
        ws.telling.say(f"{MOST} of {len(labels)} training labels are used, drawn at random")
        labels = [labels[row] for row in drawn]
    asked = [items[label.item] for label in labels]
    told: dict[str, Any] = {"corpus": ws.corpus, "pool": ws.training_pool(), "seed": seed}
    basis = Basis.of(kind, schema, asked, ws.vectors, hints=ws.label_hints, **told)
    truth = kind.targets(schema, [label.value for label in labels])
    fold = folds(_groups(ws, asked), kind.strata(truth), FOLDS, seed)
    other = ws.schema.types if ws.schema.types != model.schema.types else ()
    served, retyped = (dataclasses.replace(schema, types=table) for table in (model.schema.types, other))
    values, free, words = (np.zeros(truth.shape, dtype=np.float32) for _ in range(3))
    filled = [int(one) for one in np.unique(fold)]
    bar = ws.telling.bar("trying fixes")
    for turn, one in enumerate(filled):
        seen, left = (np.flatnonzero(some) for some in (fold != one, fold == one))
        some = [labels[row] for row in seen]

        def step(done: int, total: int, turn: int = turn) -> None:
            bar(turn * STEPS + STEPS * done // (total + 1), STEPS * len(filled))

        head = basis.fit(seen.tolist(), some, seed=seed, progress=step, null=model.null).head
        values[left] = basis.score(dataclasses.replace(head, schema=served), left.tolist()).values
        free[left] = basis.score(dataclasses.replace(head, schema=retyped), left.tolist()).values
        blind = words_alone(kind, schema, [asked[row] for row in seen], some, **told)
        words[left] = blind.score([asked[row] for row in left], ws.vectors).values
        bar((turn + 1) * STEPS, STEPS * len(filled))
    return LeftOut(labels, Outside(kind, schema, truth, values, fold, seed), words, free)


def _groups(ws: Workspace, asked: Sequence[Item]) -> list[str]:
    """Return what keeps related items in one fold: the group of a text, or the records that several items share."""
    groups = ws.store.groups()
    if any(len(item.texts) > 1 for item in asked):
        return connected(asked)
    return [groups.get(item.texts[0].id) or item.texts[0].id for item in asked]


def _retyping(ws: Workspace, model: Head) -> dict[str, str]:
    """Return the name of the fix that changes the type table, and how it is had."""
    if model.schema.types == ws.schema.types:
        return {"name": "type mask off", "how": "remove [types] from project.toml, then toughcall retrain"}
    name = "type mask on" if ws.schema.types and not model.schema.types else "type mask as in project.toml"
    return {"name": name, "how": "toughcall retrain puts the type table of project.toml into the model"}


def _checkpoints(
    ws: Workspace, version: str, model: Head, train: Sequence[Label], items: Mapping[str, Item]
) -> list[Fix]:
    """Return what every other stored model of these labels is worth, on audit rows that neither has trained on.

    A batch that a model chose was answered after it was trained: neither it nor any older model has seen it. Its
    audit slice alone was drawn at random; the rest is what that very model doubts, and would speak against it.
    """
    versions = ws.registry.versions()
    place = {one: n for n, one in enumerate(versions)}
    chosen_by = {row["name"]: place[row["model"]] for row in ws.store.batches() if row["model"] in place}
    # pairs are audited in bands of their score, not evenly
    audited = {
        pick.item: chosen_by[batch]
        for batch, pick in ws.store.picks()
        if pick.reason == AUDIT and batch in chosen_by and not ws.kind.paired
    }
    gold = [label for label in train if label.trust == "gold"]
    found = []
    for other in versions:
        if other == version:
            continue
        newest = max(place[other], place[version])
        some = [label for label in gold if audited.get(label.item, -1) >= newest]
        found.append(_checkpoint(ws, model, other, some, items))
    return [fix for fix in found if fix is not None]


def _checkpoint(ws: Workspace, model: Head, other: str, some: Sequence[Label], items: Mapping[str, Item]) -> Fix | None:
    name, how = f"serve {other}", f"toughcall promote {other}, if the gate let it through"
    if len(some) < LEAST:
        why = f"{len(some)} audited labels that neither model has trained on, {LEAST} needed"
        metric = ws.kind.metric(ws.schema)
        return Fix(name, metric, None, None, None, None, None, "cannot be told", how, len(some), why)
    rival = ws.registry.load(other)
    asked = [items[label.item] for label in some]
    both = [one.score(asked, ws.vectors) for one in (model, rival)]
    if both[0].labels != both[1].labels:
        return None
    truth = ws.kind.targets(ws.schema, [label.value for label in some])
    rows = Outside(ws.kind, ws.schema, truth, both[0].values, np.zeros(len(some), dtype=np.intp), ws.project.seed)
    return trying.checkpoint(rows, model.thresholds, both[1].values, rival.thresholds, name=name, how=how)


def rows_of(found: Sequence[Fix]) -> list[dict[str, Any]]:
    """Return what is printed of each fix, one row each; a figure that is not defined is None."""
    return [
        {
            "fix": fix.name,
            "metric": fix.metric,
            "before": fix.before,
            "after": fix.after,
            "gain": fix.gain,
            "low": fix.low,
            "high": fix.high,
            "rows": fix.n,
            "verdict": fix.verdict,
            "how": fix.how,
            "note": fix.note,
        }
        for fix in found
    ]
