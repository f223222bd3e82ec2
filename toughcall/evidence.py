"""What the ledger and the pool say of each class: labels, audits, yields, stored reports; nothing is trained for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toughcall.mining.batch import AUDIT
from toughcall.mining.patterns import Precision, matches, precisions
from toughcall.mining.proportions import wilson
from toughcall.mining.rare import FEWEST
from toughcall.mining.yields import Yield, yields
from toughcall.records import Item, Label
from toughcall.schema import chosen_of
from toughcall.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Judged:
    """What the newest model's stored reports say of one class; None = nothing was stored about it."""

    never_predicted: bool | None = None
    f1: float | None = None
    guess: float | None = None
    """F1 of the majority guess on the same rows."""
    support: int = 0
    recall: float | None = None
    recall_low: float | None = None
    recall_high: float | None = None
    confused: str = ""
    """The class it is most often taken for, and how often: "occurs_in (14 of 14)"."""

    @property
    def learnt(self) -> bool:
        """Whether the model does better than the majority guess."""
        return not self.never_predicted and self.f1 is not None and self.f1 > (self.guess or 0.0)


def judged_of(label: str, event: Mapping[str, Any]) -> Judged:
    """Return what one retrain event says of a class."""
    reports = event.get("reports") or []
    newest = next((r for r in reversed(reports) if r["role"] == "candidate"), None)
    rows = {row["label"]: (place, row) for place, row in enumerate(newest["per_class"])} if newest else {}
    dead = label in event.get("dead", ())
    if label not in rows:
        return Judged(never_predicted=dead if event else None)
    place, row = rows[label]
    guesses = [one for r in reports if r["role"] == "majority" for one in r["per_class"] if one["label"] == label]
    support = int(row["support"])
    hits = round((row["recall"] or 0.0) * support)
    recall, low, high = wilson(hits, support)
    return Judged(
        never_predicted=not row["predicted"] and (dead or support > 0),
        f1=row["f1"],
        guess=guesses[0]["f1"] if guesses else None,
        support=support,
        recall=recall,
        recall_low=low if support else None,
        recall_high=high if support else None,
        confused=_confused(place, newest or {}),
    )


def _confused(place: int, report: Mapping[str, Any]) -> str:
    """Return what a class is most often taken for, or, where it is never missed, what is taken for it."""
    table = report.get("confusion") or ()
    if not table:
        return ""
    names = [row["label"] for row in report["per_class"]]
    missed = {j: count for j, count in enumerate(table[place]) if j != place and count}
    if missed:
        worst = min(missed, key=lambda j: (-missed[j], names[j]))
        return f"{names[worst]} ({missed[worst]} of {sum(table[place])})"
    taken = {i: row[place] for i, row in enumerate(table) if i != place and row[place]}
    if not taken:
        return ""
    worst = min(taken, key=lambda i: (-taken[i], names[i]))
    return f"{names[worst]} ({taken[worst]} of {sum(table[worst])} taken for it)"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the plan of a project is made from."""

    labels: Sequence[str]
    counts: Mapping[str, Mapping[str, int]]
    """For each class how many labels train, are held out (gold alone), or do neither."""
    total: int
    """How many items have an agreed label."""
    audited: Mapping[str, Sequence[str]]
    """The labels of each item that was drawn at random."""
    unasked: int
    """How many items nobody was asked about."""
    found: Sequence[Yield]
    event: Mapping[str, Any]
    """The newest retrain, {} before the first."""
    hinted: Mapping[str, str]
    """For a class what says where to look: "seed phrases" or "patterns"."""
    phrases: bool = True
    """Whether the kind of work takes seed phrases."""
    batch: int = 50


def said_of(labels: Sequence[Label]) -> dict[str, tuple[str, ...]]:
    """Return the labels chosen for each item."""
    return {label.item: chosen_of(label.value) for label in labels}


def audited_of(ws: Workspace, said: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """Return the labels of the answered items that were drawn at random."""
    return {pick.item: said[pick.item] for _, pick in ws.store.picks() if pick.reason == AUDIT and pick.item in said}


def evidence(ws: Workspace) -> Evidence:
    """Return what the ledger and the pool say; nothing is embedded, trained or written for it."""
    labels, _ = ws.store.labels(ws.schema.version)
    said = said_of(labels)
    records: dict[str, tuple[str, ...]] = {one: (one,) for one in said}
    if ws.kind.items != "texts":
        found = ws.pool.items(said, ws.kind.items)
        records = {one: tuple(text.id for text in item.texts) for one, item in found.items()}
    parts = ws.store.parts_of(one for each in records.values() for one in each)
    counts: dict[str, Counter[str]] = {name: Counter() for name in ws.schema.labels}
    for label in labels:
        sides = {parts.get(one, "") for one in records.get(label.item, ())}
        side = {"train": "train", "test": "held_out"}.get(sides.pop() if len(sides) == 1 else "", "neither")
        # only gold evaluates: a silver label on a held-out item does neither
        side = "neither" if side == "held_out" and label.trust != "gold" else side
        for name in said[label.item]:
            counts[name][side] += 1
    here = {"texts": 0, "pairs": 1, "relations": 2}[ws.kind.items]
    retrains = ws.store.events("retrain")
    told = {label: "patterns" for label, _ in ws.project.patterns} | dict.fromkeys(
        dict(ws.project.seeds), "seed phrases"
    )
    return Evidence(
        labels=ws.schema.labels,
        counts=counts,
        total=len(labels),
        # pairs are audited in bands of the score: counted plainly they would say that most are similar
        audited={} if ws.kind.paired else audited_of(ws, said),
        unasked=max(0, ws.pool.counts()[here] - len(ws.store.asked())),
        found=yields(ws.store.picks(), said, ws.schema.labels),
        event=retrains[-1][1] if retrains else {},
        hinted=told,
        phrases=not ws.kind.paired,
        batch=ws.project.mine.batch,
    )


def pattern_figures(ws: Workspace) -> list[Precision]:
    """Return how often experts confirmed what each pattern of project.toml matches."""
    if not ws.project.patterns:
        return []
    said = said_of(ws.store.labels(ws.schema.version)[0])
    stored: dict[str, Callable[[], Sequence[Item]]] = {
        "texts": ws.pool.texts,
        "pairs": ws.pool.pairs,
        "relations": ws.pool.relations,
    }
    return precisions(matches(stored[ws.kind.items](), ws.project.patterns), said, audited_of(ws, said))


def rare_context(ws: Workspace, train: Sequence[Label], items: Mapping[str, Item]) -> dict[str, Any]:
    """Return what `mining.rare` asks of its caller besides vectors, records and counts.

    `train`: the labels of the training part alone; `items`: all that may be asked or was, by id. Where a
    class has fewer than 5 labels and no seed phrase, its description is looked for (C28); of a pair no
    phrase says anything.
    """
    answers = said_of(train)
    have = Counter(name for said in answers.values() for name in said)
    given = dict(ws.project.seeds)
    poor = [label for label in ws.schema.labels if have[label] < FEWEST and not ws.kind.paired]
    spoken = {label: ws.encoder.encode(list(given[label])) for label in poor if label in given}
    described = {
        label: ws.hint_vectors[[place]]
        for place, label in enumerate(ws.schema.labels)
        if label in poor and label not in given
    }
    everyone = said_of(ws.store.labels(ws.schema.version)[0])
    return {
        "answers": answers,
        "audited": audited_of(ws, everyone),
        "seed_vectors": {**spoken, **described},
        "described": tuple(described),
        "matched": matches(items.values(), ws.project.patterns),
        "null": ws.schema.null,
    }
