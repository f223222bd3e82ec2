"""The sealed test set, the rows of every rival on it, and what the gate is asked: the spine's side of a verdict."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from toughcall.model import evaluate, gate
from toughcall.model.difficulty import Difficulty, difficulty
from toughcall.model.registry import SAME, check_folder, read_probe
from toughcall.model.targets import Target, digest, edits, parse
from toughcall.records import Floats, IntegrityError, Item, Label, NotEnoughData, Scores, UsageError, Vectors
from toughcall.workspace import Workspace

if TYPE_CHECKING:
    from toughcall.model.scorers import Majority, Scorer
    from toughcall.model.train import Trained


PROVEN = 256
"""So many test rows are embedded anew by the fresh process: seconds, however large the test set is."""


def sealed(ws: Workspace, test: Sequence[Label], *, reseal: bool = False) -> list[Label]:
    """Return the labels of the sealed test set; it is sealed at first use and grows only by `reseal`.

    Raises NotEnoughData while fewer than gate.min_items held-out labels exist.
    """
    due = ws.project.gate.min_items
    seals = ws.store.events("seal")
    if seals and not reseal:
        wanted = set(seals[-1][1]["items"])
        kept = [label for label in test if label.item in wanted]
        if len(kept) < due:
            raise IntegrityError(
                f"only {len(kept)} of the {len(wanted)} sealed test labels are still there: toughcall doctor says why"
            )
        return kept
    if len(test) < due:
        raise NotEnoughData(
            f"{len(test)} held-out labels, {due} are needed for a verdict (gate.min_items): answer more rounds, "
            "or import labelled rows with toughcall import FILE --held-out"
        )
    ws.store.add_event("seal", {"items": sorted(label.item for label in test), "labels": ws.labels_digest(test)})
    return list(test)


def measured(
    ws: Workspace,
    role: str,
    model: Scorer,
    test: Sequence[Label],
    items: Mapping[str, Item],
    thresholds: Floats | None = None,
    constant: Floats | None = None,
    scores: Scores | None = None,
) -> evaluate.Report:
    """Return the report of a model on held-out rows, with its own thresholds or with others.

    `constant`: what the best constant says, for the error that stands beside each of a model's. `scores`: what
    the model says of these rows, where that is known already.
    """
    if scores is None:
        scores = model.score([items[label.item] for label in test], ws.vectors)
    used = model.thresholds if thresholds is None else thresholds
    return evaluate.evaluate(
        model.name, ws.kind, ws.schema, test, scores, used, seed=ws.project.seed, role=role, constant=constant
    )


def baselines(
    ws: Workspace, majority: Majority, train: Sequence[Label], test: Sequence[Label], items: Mapping[str, Item]
) -> list[evaluate.Report]:
    """Evaluate what needs no fine-tuning on the same rows: majority, TF-IDF + linear, the untouched encoder."""
    from toughcall.model.train import words_alone

    learnt = [items[label.item] for label in train]
    words = words_alone(
        ws.kind, ws.schema, learnt, train, corpus=ws.corpus, pool=ws.training_pool(), seed=ws.project.seed
    )
    # an encoder that has no opinion without labels leaves its place to the best constant
    roles: dict[str, Scorer] = {"majority": majority, "tfidf": words, "untouched": ws.untouched}
    if not ws.kind.labelled:
        roles = {"tfidf": words, "untouched": majority}
    shares = majority.shares
    return [measured(ws, role, model, test, items, constant=shares) for role, model in roles.items()]


def shown_again(test: Sequence[Label]) -> list[int]:
    """Return the places of the test rows that a fresh process scores too: all, or 256 spread evenly over them."""
    return sorted({int(row) for row in np.linspace(0, len(test) - 1, min(PROVEN, len(test))).round()}) if test else []


def reproduced(
    ws: Workspace, report: evaluate.Report, trained: Trained, test: Sequence[Label], said: Scores
) -> Callable[[Floats], float | None]:
    """Return what measures scores that come from a fresh process for the rows of `shown_again`, shape (n, k).

    It gives the report's figure when those rows have the figure they had in this process, else the one they have
    now. Where scores lie within rounding of what this process said, that is taken: a row that stands right on a
    threshold would turn the figure.
    """
    places = shown_again(test)
    some, here = [test[row] for row in places], said.take(places)

    def value(values: Floats) -> float | None:
        scores = dataclasses.replace(here, values=values)
        return evaluate.evaluate(
            report.model, ws.kind, ws.schema, some, scores, trained.thresholds, seed=0, role="again", bounds=False
        ).value

    def measure(fresh: Floats) -> float | None:
        same = np.abs(fresh - here.values) <= SAME
        now = value(np.where(same, here.values, fresh).astype(np.float32))
        return report.value if now == value(here.values) else now

    return measure


def openings(ws: Workspace) -> int:
    """Return how many models the sealed test set has judged since it was last sealed."""
    judged: set[str] = set()
    for verb, event in ws.store.events():
        if verb == "seal":
            judged.clear()
        elif verb == "retrain" and event["reports"]:
            judged.add(event["version"])
    return len(judged)


def luck(count: int, confidence: float) -> str:
    """Return what it means that one sealed set has judged `count` models, "" for the first.

    Each that is no better passes with the chance (1 − confidence) / 2 at most.
    """
    if count < 2:
        return ""
    chance = 1.0 - (1.0 - (1.0 - confidence) / 2) ** count
    return (
        f"the sealed test set has judged {count} models: the chance that one of {count} no better ones passed is up to "
        f"{chance:.0%}; new held-out labels and toughcall retrain --reseal renew it, gate.spend = true corrects for it"
    )


def parsed(ws: Workspace, lines: Sequence[str]) -> tuple[Target, ...]:
    """Return targets from their lines; UsageError names the line that is none."""
    return parse(
        lines,
        labels=ws.kind.columns(ws.schema) if ws.kind.labelled else (),
        dimensions=[dimension.name for dimension in ws.schema.dimensions],
        null=ws.schema.null,
    )


def fix_targets(ws: Workspace, version: str) -> list[str]:
    """Write the targets into the ledger before training (G1); return a sentence for each edit of an earlier one.

    What was edited since the newest model was trained is told as an edit from then on.
    """
    now = parsed(ws, ws.project.gate.targets)
    lines = [target.line for target in now]
    written = ws.store.events("targets")
    last: dict[str, Any] = written[-1][1] if written else {"lines": [], "version": ""}
    if last["lines"] == lines:
        return list(last.get("edits", ()))
    # before the first model nothing is an edit, nor after a training that came to nothing
    made = last["version"] in ws.registry.versions()
    told = edits(parsed(ws, last["lines"]), now, last["version"]) if made else []
    ws.store.add_event("targets", {"lines": lines, "digest": digest(now), "version": version, "edits": told})
    return told


def hopeless(ws: Workspace, train: Sequence[Label], items: Mapping[str, Item]) -> Difficulty | None:
    """Return what the training rows can teach the untouched encoder; None where the kind gives numbers."""
    if not ws.kind.labelled:
        return None
    scores = ws.untouched.score([items[label.item] for label in train], ws.vectors)
    truth = ws.kind.targets(ws.schema, [label.value for label in train])
    other = {ws.schema.labels[0]: ws.schema.labels[1]} if ws.kind.paired else {}
    return difficulty(truth, scores.values, labels=ws.kind.columns(ws.schema), opposites=other)


def gate_of(ws: Workspace, metric: str) -> gate.Gate:
    """Return what the project asks of a candidate."""
    settings = ws.project.gate
    return gate.Gate(
        metric=metric,
        confidence=settings.confidence,
        min_gain=settings.min_gain,
        min_items=settings.min_items,
        floors=dict(settings.floors),
        targets=parsed(ws, settings.targets),
        openings=openings(ws) + 1 if settings.spend else 1,
    )


def short(report: evaluate.Report) -> dict[str, Any]:
    """Return what the story, the status and the review page show of a report."""
    full = report.to_json()
    return {key: value for key, value in full.items() if key != "rows"}


def difficulty_rows(ws: Workspace) -> tuple[list[dict[str, Any]], str, bool]:
    """Return (a row per class, the verdict in a sentence, whether it vetoes training)."""
    train, _, items, _ = ws.split()
    if not train:
        raise NotEnoughData("no label to look at yet: toughcall round asks the experts")
    found = hopeless(ws, train, items)
    if found is None:
        raise UsageError(
            f"kind {ws.project.kind} asks for numbers: toughcall retrain shows their errors beside the mean's"
        )
    rows = [
        {
            "class": one.label,
            "verdict": one.verdict,
            "rows": one.n,
            "members": one.positives,
            "ROC-AUC of the untouched encoder": one.auc,
            "95 % interval": "–" if one.low is None or one.high is None else f"{one.low:.2f}–{one.high:.2f}",
        }
        for one in found.columns
    ]
    return rows, found.sentence, found.veto


def verified(ws: Workspace, version: str = "") -> dict[str, Any]:
    """Return what a stored model proves in a fresh process; IntegrityError when it is not what was judged.

    Asked: files as stored, two loads that agree, the probe's scores as they were when it was trained, and other
    ones than the untouched encoder gives.
    """
    from toughcall.proof import prove

    version = version or ws.registry.champion() or (ws.registry.versions() or [""])[-1]
    if not version:
        raise UsageError("no model is stored yet: toughcall retrain trains one")
    folder = ws.registry.path(version)
    ws.registry.check(version)
    manifest, settings = check_folder(folder), ws.project.encoder
    stored = np.asarray(json.loads((folder / "probe.json").read_bytes())["scores"], dtype=np.float32)
    fresh = prove(folder, settings.name, settings.device)
    gap = float(np.abs(fresh - stored).max(initial=0.0)) if fresh.shape == stored.shape else float("inf")
    if not gap <= SAME:
        raise IntegrityError(f"{version} gives other scores than when it was judged (by {gap:.4f}): toughcall rollback")
    probe = read_probe(folder)
    texts = {view.id: view.text for item in probe for view in item.views}
    base = ws.untouched.score(probe, Vectors(tuple(texts), ws.encoder.encode(list(texts.values())), ws.encoder.name))
    away = float(np.abs(fresh - base.values).max(initial=0.0))
    if not away > SAME:
        raise IntegrityError(f"{version} is identical to its base: toughcall rollback, then toughcall retrain --force")
    return {
        "model": version,
        "files": len(manifest["files"]),
        "as stored": "yes",
        "two loads agree": "yes",
        "probe differs by": gap,
        "away from its base": round(away, 4),
        "recipe": manifest["info"].get("recipe", "head"),
    }
