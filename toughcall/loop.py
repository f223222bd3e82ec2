"""The verbs of one round, each a function that reads top to bottom: import, score, mine, push, pull, retrain."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from toughcall import reading
from toughcall.exchange import connect, push
from toughcall.pairing import candidates
from toughcall.pool import Added
from toughcall.records import Answer, Batch, Pick, Scores, SetAside, UsageError, digest
from toughcall.schema import names_of
from toughcall.settings import Columns
from toughcall.taking import pull
from toughcall.workspace import Workspace

if TYPE_CHECKING:
    from toughcall.model.scorers import Scorer


__all__ = ["connect", "import_file", "mine", "pull", "push", "score", "scorer"]

FILLING = 0.2
"""The share of a batch that is drawn from the test part while that is too small to carry a verdict."""


def import_file(ws: Workspace, path: Path, columns: Columns, *, held_out: bool = False) -> Added:
    """Store a file's items and labels; with `held_out` its records form the test part and never train."""
    bar = ws.telling.bar(f"importing {path.name}")
    added = ws.pool.add(reading.read(path, columns, ws.schema, spanned=ws.kind.spanned), lambda done: bar(done, 0))
    ws.note_set_aside("import", added.set_aside)
    labelled = {item for item, _ in added.labels}
    if held_out:
        parts = ws.store.parts()
        items = ws.pool.items(labelled)
        records = {text.id for item in items.values() for text in item.texts}
        trained = [one for one in records if parts.get(one) == "train"]
        if trained:
            raise UsageError(
                f"{path} holds {len(trained)} records that are already in the training part: "
                "import held-out files before the pool is scored"
            )
        ws.store.add_parts({one: "test" for one in records if one not in parts}, dict.fromkeys(records, ""))
    ws.store.add_answers(
        [
            Answer(
                key=digest("import", item),
                item=item,
                annotator="import",
                outcome="label",
                value=value,
                batch="",
                schema=ws.schema.version,
                source="import",
            )
            for item, value in added.labels
        ]
    )
    return added


def scorer(ws: Workspace, version: str = "") -> Scorer:
    """Return the model that scores: the one asked for, else the newest that is not below the untouched one.

    A candidate the gate has not let through may choose what to ask; it never serves.
    """
    known = ws.registry.versions()
    if version == "untouched" or (not version and not known):
        return ws.untouched
    if version:
        if version not in known:
            raise UsageError(f"no model {version!r} in {ws.project.models}: toughcall status lists them")
        return ws.registry.load(version)
    for _, event in reversed(ws.store.events("retrain")):
        if event.get("version") in known and event.get("not_below", False):
            return ws.registry.load(str(event["version"]))
    champion = ws.registry.champion()
    return ws.registry.load(champion) if champion else ws.untouched


def score(ws: Workspace, version: str = "", model: Scorer | None = None) -> Scores:
    """Score every candidate with one model and save the result for the queue and the review page.

    `model`: one that is loaded already, instead of a version by name.
    """
    vectors = ws.vectors
    usable = set(vectors.ids)
    items = [item for item in candidates(ws) if all(view.id in usable for view in item.views)]
    if silent := [item for item in items if ws.schema.labels and not ws.schema.offered(item)]:
        ws.note_set_aside(
            "score", [SetAside(item.id, "no label is legal for the types of its spans") for item in silent]
        )
        items = [item for item in items if ws.schema.offered(item)]
    if not items:
        raise UsageError("nothing to score: toughcall import FILE --text COLUMN adds records")
    scores = (model or scorer(ws, version)).score(items, vectors)
    ws.save_scores(scores)
    return scores


def mine(ws: Workspace, size: int | None = None) -> Batch:
    """Choose the next batch, save it before anything is sent, and return it (empty when nothing is left)."""
    from toughcall import asking, experts
    from toughcall.estimating import edges
    from toughcall.mining.audits import bands
    from toughcall.mining.batch import warmed
    from toughcall.mining.queue import next_batch

    settings = ws.project.mine
    size = settings.batch if size is None else size
    model = scorer(ws)
    scores = score(ws, model=model)
    items = ws.pool.items(scores.ids)
    parts, groups, asked = ws.store.parts(), ws.store.groups(), ws.store.asked()
    held = {groups[one] for one, part in parts.items() if part == "test"}
    open_, audit = [], []
    for row, one in enumerate(scores.ids):
        part = ws.part(items[one], parts)
        if one in asked or part is None:
            continue
        if part == "test":
            audit.append(one)
        elif not ws.leaky(items[one], parts, groups, held):
            open_.append(row)
    train, test, _, _ = ws.split()
    quotas = settings.quotas if ws.kind.warm else warmed(settings.quotas, len(train))
    rng = np.random.default_rng([ws.project.seed, len(ws.store.batches())])
    # the audit slice measures: it is drawn from the held-out part until that can carry a verdict; after
    # that from the training part, where each answer first measures the model that asked and then trains
    short = len(test) < ws.project.gate.min_items
    audited = audit if short and audit else None
    if audited and quotas.get("random_audit"):
        quotas = {**quotas, "random_audit": max(quotas["random_audit"], FILLING * sum(quotas.values()))}
    counts = dict.fromkeys(scores.labels, 0)
    for label in train:
        for name in names_of(label.value):
            counts[name] = counts.get(name, 0) + 1
    more = asking.context(ws, model, quotas, train, items, [scores.ids[row] for row in open_])
    # what measures never trains: typical items are looked for beside what was asked of the training part alone
    more["asked"] = {one for one in asked if one in items and ws.part(items[one], parts) == "train"}
    # a text is its own record and its own view
    several = {} if ws.kind.items == "texts" else {one: items[one] for one in scores.ids}
    beside, why = experts.beside(ws, size, rng)
    if why:
        ws.telling.say(why)
    batch = next_batch(
        scores.take(open_),
        ws.vectors,
        settings,
        quotas,
        size - len(beside),
        rng=rng,
        name=ws.store.next_batch_name(),
        schema=ws.schema.version,
        asked=asked,
        counts=counts,
        views={one: tuple(view.id for view in item.views) for one, item in several.items()},
        records={one: tuple(text.id for text in item.texts) for one, item in several.items()},
        audited=audited,
        strata=bands(scores.values[open_, 0], edges(model.thresholds)) if ws.kind.paired else None,
        collapse=ws.kind.items == "texts",
        more=more,
    )
    if ws.kind.paired:
        batch = of_all_pairs(ws, batch)
    batch = experts.mixed(batch, beside, rng)
    if batch.picks:
        ws.store.add_batch(batch)
    return batch


def of_all_pairs(ws: Workspace, batch: Batch) -> Batch:
    """Return a batch with the chances of being asked at all: that of being a candidate times that of being picked."""
    odds = ws.pool.pair_odds([pick.item for pick in batch.picks])

    def of(pick: Pick) -> float:
        known = odds[pick.item].probability if pick.item in odds else None
        return pick.probability * (1.0 if known is None else known)

    return dataclasses.replace(
        batch, picks=tuple(dataclasses.replace(pick, probability=of(pick)) for pick in batch.picks)
    )
