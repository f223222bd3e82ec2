"""From labels to a verdict: train, evaluate on the sealed test set, prove the saved model, judge."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from toughcall.model import evaluate, gate
from toughcall.model.report import gap
from toughcall.records import Floats, GateRefused, IntegrityError, Item, Label, NotEnoughData, UsageError, digest
from toughcall.workspace import Workspace

if TYPE_CHECKING:
    from toughcall.model.scorers import Majority, Scorer
    from toughcall.model.train import Trained


@dataclass(frozen=True)
class Retrained:
    """One retrain: the stored version ("" when there was nothing to do), the reports, the verdict."""

    version: str = ""
    labels: int = 0
    reports: tuple[evaluate.Report, ...] = ()
    verdict: gate.Verdict | None = None
    dead: tuple[str, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    note: str = ""
    gap: str = ""
    """How much better the model fits its own rows than new ones, where it gives numbers."""


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


def prove(folder: Path, encoder: str, device: str) -> Floats:
    """Score a stored model's probe in a fresh process that knows only its files and the encoder's name."""
    done = subprocess.run(
        [sys.executable, "-m", "toughcall.proof", str(folder), encoder, device],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise IntegrityError(
            f"the saved model could not be loaded in a fresh process ({last[:200]}): it was not stored"
        )
    return np.asarray(json.loads(done.stdout), dtype=np.float32)


def fitted(
    ws: Workspace, items: Sequence[Item], labels: Sequence[Label], progress: Callable[[int, int], None] | None = None
) -> Trained:
    """Train the project's recipe on some labelled items; NotEnoughData when they are too few (C55)."""
    from toughcall.model.train import train

    return train(
        ws.kind,
        ws.schema,
        items,
        ws.vectors,
        labels,
        corpus=ws.corpus,
        pool=ws.training_pool(),
        seed=ws.project.seed,
        hints=ws.label_hints,
        progress=progress,
    )


def measured(
    ws: Workspace,
    role: str,
    model: Scorer,
    test: Sequence[Label],
    items: Mapping[str, Item],
    thresholds: Floats | None = None,
    constant: Floats | None = None,
) -> evaluate.Report:
    """Return the report of a model on held-out rows, with its own thresholds or with others.

    `constant`: what the best constant says, for the error that stands beside each of a model's.
    """
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


def retrain(ws: Workspace, *, reseal: bool = False, force: bool = False) -> Retrained:
    """Train on every agreed label, prove the saved model, and judge it against champion and baselines."""
    strangers = {v: n for v, n in ws.store.answered_schemas().items() if v != ws.schema.version}
    if strangers:
        raise UsageError(
            f"{sum(strangers.values())} labels were given under other [labels] (schema {', '.join(strangers)}): "
            "restore them in project.toml, a label outside its schema never trains"
        )
    train, held, items, left = ws.split()
    # rules and weights are no part of an answer, but of what is learnt from it
    rules = [ws.schema.types, ws.schema.tiers.names, [(d.weight, d.step) for d in ws.schema.dimensions]]
    known = digest("learnt from", ws.labels_digest(train), rules) if any(rules) else ws.labels_digest(train)
    last = ws.store.events("retrain")
    # what was never judged for want of held-out labels is judged once they are there
    due = bool(last) and not last[-1][1]["reports"] and len(held) >= ws.project.gate.min_items
    if last and last[-1][1]["labels_digest"] == known and not (due or force or reseal):
        return Retrained(
            note="nothing new: no label and no rule has changed since the last retrain",
            labels=len(train),
            left_out=left,
        )
    if not train:
        raise NotEnoughData(
            "no label to train on yet: toughcall round asks the experts, toughcall pull reads their answers"
        )
    _forget_unjudged(ws)
    learnt = [items[label.item] for label in train]
    ws.telling.say(f"training on {len(train)} labels")
    from toughcall.model.scorers import Majority

    trained = fitted(ws, learnt, train, ws.telling.bar("training"))
    trained = trained.named(ws.registry.next_version(ws.project.name))
    reports: list[evaluate.Report] = []
    verdict, note = None, ""
    try:
        test = sealed(ws, held, reseal=reseal)
    except NotEnoughData as too_few:
        test, note = [], str(too_few)
    if test:
        majority = Majority.fit(ws.kind, ws.schema, train)
        mean = majority.shares
        reports = baselines(ws, majority, train, test, items)
        reports.append(measured(ws, "candidate", trained, test, items, constant=mean))
        champion = ws.registry.champion()
        serving = ws.registry.load(champion) if champion else None
        against = measured(ws, "champion", serving, test, items, constant=mean) if serving else None
        verdict = gate.judge(reports[-1], against, reports[:-1], _gate(ws, reports[-1].metric))
        if against is not None:
            reports.insert(-1, against)
    probe = learnt[:16]
    ws.store.add_event("retrain_begun", {"version": trained.name})
    settings = ws.project.encoder
    version = ws.registry.save(
        trained,
        name=ws.project.name,
        report=reports[-1] if reports else None,
        info={
            "labels": known,
            "n_labels": len(train),
            "seed": ws.project.seed,
            "encoder": ws.encoder.name,
            "encoder_sha": ws.encoder.sha,
            "schema": ws.schema.version,
            "base_scores": ws.untouched.score(probe, ws.vectors).values.tolist(),
        },
        probe=probe,
        probe_vectors=ws.vectors,
        prove=lambda folder: prove(folder, settings.name, settings.device),
    )
    untouched = next((r for r in reports if r.role == "untouched"), None)
    not_below = bool(reports) and untouched is not None and not evaluate.better(untouched, reports[-1])
    ws.store.add_event(
        "retrain",
        {
            "version": version,
            "labels_digest": known,
            "labels": len(train),
            "dead": list(trained.dead),
            "not_below": not_below or not reports,
            "outcome": verdict.outcome if verdict else "UNDECIDED",
            "sentence": verdict.sentence() if verdict else note,
            "left_out": left,
            "reports": [short(report) for report in reports],
            "checks": [dataclasses.asdict(check) for check in verdict.checks] if verdict else [],
        },
    )
    found = trained.chosen
    told = ""
    if not ws.kind.labelled:
        told = f"{gap(-found['in_sample'], -found['out_of_fold'])[1]} (errors as shares of the range)"
    return Retrained(version, len(train), tuple(reports), verdict, trained.dead, left, note, told)


def _forget_unjudged(ws: Workspace) -> None:
    """Remove the model that a killed retrain stored and never judged: this run makes it again."""
    begun = [event["version"] for _, event in ws.store.events("retrain_begun")]
    judged = {event.get("version") for _, event in ws.store.events("retrain")}
    if begun and begun[-1] not in judged and begun[-1] != ws.registry.champion():
        ws.registry.discard(begun[-1])


def _gate(ws: Workspace, metric: str) -> gate.Gate:
    settings = ws.project.gate
    return gate.Gate(
        metric=metric,
        confidence=settings.confidence,
        min_gain=settings.min_gain,
        min_items=settings.min_items,
        floors=dict(settings.floors),
    )


def short(report: evaluate.Report) -> dict[str, Any]:
    """Return what the story, the status and the review page show of a report."""
    full = report.to_json()
    return {key: value for key, value in full.items() if key != "rows"}


def promote(ws: Workspace, version: str = "") -> str:
    """Make a model the champion when the gate said PROMOTE for it; GateRefused otherwise."""
    judged = {event["version"]: event for _, event in ws.store.events("retrain") if event.get("version")}
    if not judged:
        raise UsageError("no model has been judged yet: toughcall retrain trains and judges one")
    version = version or list(judged)[-1]
    if version not in judged:
        raise UsageError(f"no judged model {version!r}: toughcall status lists them")
    event = judged[version]
    if event["outcome"] != "PROMOTE":
        raise GateRefused(f"{version} stays out: {event['sentence']}")
    ws.registry.promote(version, verdict={"outcome": event["outcome"], "sentence": event["sentence"]})
    ws.store.add_event("promote", {"version": version, "sentence": event["sentence"]})
    return version


def rollback(ws: Workspace) -> str:
    """Point back to the champion before this one; nothing is trained, its files were never touched."""
    version = ws.registry.rollback()
    ws.store.add_event("rollback", {"version": version})
    return version


def one_round(ws: Workspace, *, anyway: bool = False, as_json: bool = False) -> None:
    """Pull, and when the batch is answered: retrain, judge, promote what won, mine, push."""
    from toughcall import loop
    from toughcall.status import told

    server = loop.connect(ws)
    open_batches = [row for row in ws.store.batches() if row["state"] != "done"]
    found = loop.pull(ws)
    if found.new:
        ws.telling.say(f"{found.new} new answers")
    waiting = sum(found.waiting.values())
    fresh = [row for row in open_batches if row["state"] == "planned"]
    if waiting and not fresh and not anyway:
        number = ws.store.get("studio_project")
        ws.telling.say(
            f"{waiting} items are still waiting for an answer at {server.url}/projects/{number}/data "
            "(button: Label All Tasks); run toughcall round again when they are done, or --anyway to go on without them"
        )
        return
    if not fresh and ws.store.answered_schemas():
        try:
            done = retrain(ws)
            told(ws, done, as_json)
            if done.verdict and done.verdict.outcome == "PROMOTE":
                ws.telling.say(f"promoted {promote(ws, done.version)}")
        except NotEnoughData as error:
            ws.telling.say(str(error))
    if not fresh:
        batch = loop.mine(ws)
        if not batch.picks:
            ws.telling.say("nothing left to ask: toughcall import FILE adds records")
            return
        ws.telling.say(f"batch {batch.name}: {len(batch.picks)} items, chosen by {batch.model}")
    pushed = loop.push(ws)
    page = f"{server.url}/projects/{pushed.project}/data"
    ws.telling.say(f"{pushed.sent} items wait for the experts at {page} (button: Label All Tasks)")
