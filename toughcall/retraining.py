"""From labels to a verdict: train, evaluate on the sealed test set, prove the saved model, judge."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from toughcall.judging import (
    baselines,
    fix_targets,
    gate_of,
    hopeless,
    luck,
    measured,
    openings,
    parsed,
    reproduced,
    sealed,
    short,
    shown_again,
)
from toughcall.model import evaluate, gate
from toughcall.model.difficulty import check_evidence
from toughcall.model.report import gap
from toughcall.model.targets import trivial
from toughcall.model.thresholds import FEW
from toughcall.proof import prove
from toughcall.records import GateRefused, Item, Label, NotEnoughData, UsageError, digest
from toughcall.status import few
from toughcall.workspace import Workspace

if TYPE_CHECKING:
    from toughcall.model.recipes import Job
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


def job_of(ws: Workspace, items: Sequence[Item], labels: Sequence[Label]) -> Job:
    """Return what a recipe is given: the labelled items as features, and the project's settings."""
    from toughcall.model.losses import LossSettings
    from toughcall.model.recipes import Job
    from toughcall.model.train import Basis

    order = sorted(range(len(items)), key=lambda row: items[row].id)
    train = ws.project.train
    names = ("weights", "focal", "smoothing", "adjust")
    losses: dict[str, Any] = {name: getattr(train, name) for name in names}
    given: dict[str, Any] = {"epochs": train.epochs, "patience": train.patience, "resample": train.resample}
    given |= {"loss": LossSettings(**losses, given=train.given)} | ({"rate": train.rate} if train.rate else {})
    return Job(
        Basis.of(
            ws.kind,
            ws.schema,
            [items[row] for row in order],
            ws.vectors,
            corpus=ws.corpus,
            pool=ws.training_pool(),
            seed=ws.project.seed,
            hints=ws.label_hints,
        ),
        range(len(order)),
        [labels[row] for row in order],
        base=lambda: ws.encoder.folder,
        seed=ws.project.seed,
        say=ws.telling.say,
        bar=ws.telling.bar,
        clock=time.monotonic,
        device=ws.project.encoder.device,
        budget=train.budget,
        tuning=given,
    )


def fitted(ws: Workspace, items: Sequence[Item], labels: Sequence[Label], recipe: str = "head") -> Trained:
    """Train a recipe on some labelled items; NotEnoughData when they are too few (C55)."""
    from toughcall.model.recipes import fit
    from toughcall.model.train import check_enough

    # before a single feature is made
    check_enough(ws.kind, ws.schema, labels)
    return fit(recipe, job_of(ws, items, labels))


def warned(ws: Workspace, train: Sequence[Label], items: Mapping[str, Item], recipe: str, *, force: bool) -> str:
    """Say before the first epoch what is wrong with data or settings; return the recipe that may go on.

    GateRefused where a network is asked for on rows that can teach the untouched encoder nothing.
    """
    from toughcall.model.losses import lint
    from toughcall.model.recipes import AUTO, NETWORKS

    truth, columns = ws.kind.targets(ws.schema, [label.value for label in train]), ws.kind.columns(ws.schema)
    if given := ws.project.train.given:
        for sentence in lint(given, truth, columns, exclusive=ws.kind.single and len(columns) > 1):
            ws.telling.say(sentence)
    found = hopeless(ws, train, items)
    if found is None or found.verdict in ("teaches", "too few"):
        return recipe
    ws.telling.say(found.sentence)
    if not found.veto or force:
        return recipe
    if recipe in NETWORKS:
        raise GateRefused(f"recipe {recipe} was not started: {found.sentence}; --force trains it all the same")
    return "head" if recipe == AUTO else recipe


def retrain(ws: Workspace, *, reseal: bool = False, force: bool = False, recipe: str = "") -> Retrained:
    """Train on every agreed label, prove the saved model, and judge it against champion and baselines.

    `recipe`: a name in `model.recipes.RECIPES` or "auto" (default: the project's). `force`: also when nothing
    is new, and against the veto of the difficulty meter.
    """
    from toughcall.mapping import strangers

    recipe = recipe or ws.project.train.recipe
    if others := strangers(ws):
        raise UsageError(
            f"{sum(others.values())} labels were given under other [labels] (schema {', '.join(others)}): restore them "
            "in project.toml, or say what they mean now with toughcall map EARLIER=PRESENT; a label outside its schema "
            "never trains"
        )
    train, held, items, left = ws.split()
    # rules and weights are no part of an answer, but of what is learnt from it
    rules = [ws.schema.types, ws.schema.tiers.names, [(d.weight, d.step) for d in ws.schema.dimensions]]
    known = digest("learnt from", ws.labels_digest(train), rules) if any(rules) else ws.labels_digest(train)
    known = known if recipe == "head" else digest("learnt by", known, dataclasses.astuple(ws.project.train), recipe)
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
    from toughcall.model.scorers import Majority

    version = ws.registry.next_version(ws.project.name)
    for sentence in fix_targets(ws, version):
        ws.telling.say(sentence)
    recipe = warned(ws, train, items, recipe, force=force)
    ws.telling.say(f"training on {len(train)} labels")
    trained = fitted(ws, learnt, train, recipe).named(version)
    cuts = trained.chosen.get("head", trained.chosen).get("cuts", {})
    if guessed := [label for label, cut in cuts.items() if not cut["fitted"]]:
        ws.telling.say(f"thresholds that are guesses, of fewer than {FEW} examples each: {few(guessed)}")
    reports: list[evaluate.Report] = []
    verdict, note = None, ""
    try:
        test = sealed(ws, held, reseal=reseal)
    except NotEnoughData as too_few:
        test, note = [], str(too_few)
    if test:
        check_evidence([label.item for label in test], {label.item for label in train})
        majority = Majority.fit(ws.kind, ws.schema, train)
        mean = majority.shares
        reports = baselines(ws, majority, train, test, items)
        for sentence in trivial(parsed(ws, ws.project.gate.targets), reports[0]):
            ws.telling.say(sentence)
        said = trained.score([items[label.item] for label in test], ws.vectors)
        reports.append(measured(ws, "candidate", trained, test, items, constant=mean, scores=said))
        champion = ws.registry.champion()
        serving = ws.registry.load(champion) if champion else None
        against = measured(ws, "champion", serving, test, items, constant=mean) if serving else None
        verdict = gate.judge(reports[-1], against, reports[:-1], gate_of(ws, reports[-1].metric))
        if against is not None:
            reports.insert(-1, against)
    probe, again = learnt[:16], [items[test[row].item] for row in shown_again(test)]
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
            "recipe": trained.model.recipe,
            "parent": ws.registry.champion(),
            "base_scores": ws.untouched.score(probe, ws.vectors).values.tolist(),
        },
        probe=probe,
        probe_vectors=ws.vectors,
        prove=lambda folder: prove(folder, settings.name, settings.device, again),
        again=reproduced(ws, reports[-1], trained, test, said) if test else None,
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
            "recipe": trained.model.recipe,
            "reports": [short(report) for report in reports],
            "checks": [dataclasses.asdict(check) for check in verdict.checks] if verdict else [],
        },
    )
    if test and (sentence := luck(openings(ws), ws.project.gate.confidence)):
        ws.telling.say(sentence)
    from toughcall import doubts
    from toughcall.reporting import write

    outside = None if trained.outside is None else ws.kind.link(trained.outside)
    doubts.write(ws, train, outside, version)
    page = write(ws, version)[-2]
    ws.telling.say(f"report: {page.relative_to(ws.project.root)}")
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


def promote(ws: Workspace, version: str = "", *, serving: str | None = None) -> str:
    """Make a model the champion when the gate said PROMOTE for it; GateRefused otherwise.

    `serving`: only while this one serves, "" while none does; UsageError otherwise.
    """
    _serves_still(ws, serving)
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


def _serves_still(ws: Workspace, expected: str | None) -> None:
    if expected is not None and (now := ws.registry.champion()) != expected:
        raise UsageError(
            f"nothing was done: {now or 'no model'} serves now, not {expected or 'none'}: toughcall status"
        )


def rollback(ws: Workspace, *, serving: str | None = None) -> str:
    """Point back to the champion before this one; nothing is trained, its files were never touched.

    `serving`: only while this one serves; UsageError otherwise.
    """
    _serves_still(ws, serving)
    version = ws.registry.rollback()
    ws.store.add_event("rollback", {"version": version})
    return version


def one_round(ws: Workspace, *, anyway: bool = False, as_json: bool = False) -> None:
    """Pull, and when the batch is answered: retrain, judge, promote what won, mine, push."""
    from toughcall import loop
    from toughcall.exchange import where
    from toughcall.experts import torn
    from toughcall.status import told
    from toughcall.taking import asking

    server = loop.connect(ws)
    open_batches = [row for row in ws.store.batches() if row["state"] != "done" and not row["role"]]
    found = loop.pull(ws)
    if found.new:
        ws.telling.say(f"{found.new} new answers")
    waiting = asking(ws, found.waiting)
    fresh = [row for row in open_batches if row["state"] == "planned"]
    if waiting and not fresh and not anyway:
        ws.telling.say(
            f"{waiting} items are still waiting for an answer at {where(ws, server.url)} "
            "(button: Label All Tasks); run toughcall round again when they are done, or --anyway to go on without them"
        )
        return
    if not fresh and ws.store.answered_schemas():
        try:
            done = retrain(ws)
            told(ws, done, as_json)
            if done.verdict and done.verdict.outcome == "PROMOTE":
                ws.telling.say(f"promoted {promote(ws, done.version)}")
        except (NotEnoughData, GateRefused) as error:
            # what cannot be trained on yet is a reason to ask more, not to stop
            ws.telling.say(str(error))
    if not fresh:
        batch = loop.mine(ws)
        if not batch.picks:
            ws.telling.say("nothing left to ask: toughcall import FILE adds records")
            return
        ws.telling.say(f"batch {batch.name}: {len(batch.picks)} items, chosen by {batch.model}")
    pushed = loop.push(ws)
    ws.telling.say(f"{pushed.sent} items wait for the experts at {where(ws, server.url)} (button: Label All Tasks)")
    if disputed := torn(ws):
        ws.telling.say(f"{len(disputed)} items are in disagreement: toughcall adjudicate asks somebody to decide")
