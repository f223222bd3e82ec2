"""Ways to make a model from labels behind one interface, and `auto`, which trains what fits and takes what pays."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from toughcall.model.crossfit import FOLDS
from toughcall.model.kind import Kind, masked
from toughcall.model.scorers import Head
from toughcall.model.split import connected, folds
from toughcall.model.train import Basis, Trained, marked
from toughcall.model.tuned import Base, Tuned, blend
from toughcall.model.tuning import Tuning, tune
from toughcall.records import Bools, Item, Label, NotEnoughData, Reals, UsageError
from toughcall.schema import Schema

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
PULL = 10
"""So many held-out members of a class weigh as much as the threshold that all labels gave the head."""
RESAMPLES = 300
PASSES = 3.0
"""What a step of training costs, in forward passes."""
RECIPES = {
    "head": "a linear head on the frozen encoder, with the words beside it",
    "stages": "two heads for relations: is there one at all, and which",
    "blend": "for pairs: w · cosine of the encoder + (1 − w) · cosine of the words, w tuned",
    "lora": "adapters on every layer of the encoder, and the head beside it",
    "full": "every weight of the encoder, and the head beside it",
    "cross": "for pairs: both texts read as one, and the head beside it",
}
AUTO = "auto"
NETWORKS: dict[str, tuple[int, bool, Tuning]] = {
    "lora": (8, False, Tuning(rate=5e-4)),
    "full": (0, False, Tuning(rate=3e-5)),
    "cross": (0, True, Tuning(rate=3e-5)),
}
"""For each recipe with a network the rank of its adapters (0 = none), whether pairs are read as one, its training."""


@dataclass(frozen=True, eq=False)
class Job:
    """What a recipe is given: features and labels of the training part, and the encoder it may change.

    `budget`: minutes that `auto` may spend on networks, by `clock` (seconds).
    """

    basis: Basis
    rows: Sequence[int]
    labels: Sequence[Label]
    base: Base
    seed: int
    say: Callable[[str], None]
    bar: Callable[[str], Callable[[int, int], None]]
    clock: Callable[[], float]
    device: str = "auto"
    budget: float = 10.0
    tuning: dict[str, Any] = field(default_factory=dict)
    """Fields of `Tuning` that the project sets."""

    @property
    def kind(self) -> Kind:
        """The kind of work."""
        return self.basis.kind

    @property
    def schema(self) -> Schema:
        """What may be answered."""
        return self.basis.schema

    @cached_property
    def items(self) -> list[Item]:
        """The labelled items."""
        return [self.basis.items[row] for row in self.rows]

    @cached_property
    def truth(self) -> Any:
        """What the labels say, shape (n, k)."""
        return self.kind.targets(self.schema, [label.value for label in self.labels])

    @cached_property
    def held(self) -> Bools:
        """Which rows networks never train on, shape (n,): a fifth, by group, every class in its share."""
        fold = folds(connected(self.items), self.kind.strata(self.truth), FOLDS, self.seed)
        return np.asarray(fold == 0)


def offered(kind: Kind, schema: Schema) -> tuple[str, ...]:
    """Return the recipes that fit a kind of work, the cheapest first."""
    left = set() if kind.paired else {"blend", "cross"}
    if not schema.null:
        left.add("stages")
    return tuple(name for name in RECIPES if name not in left)


def fit(name: str, job: Job) -> Trained:
    """Train one recipe, or with `auto` all that fit; UsageError for a recipe this kind of work has not."""
    there = offered(job.kind, job.schema)
    if name == AUTO:
        return auto(job, there)
    if name not in there:
        raise UsageError(f"no recipe {name!r} for kind {job.kind.name}: choose {', '.join((*there, AUTO))}")
    if name == "head":
        return job.basis.fit(job.rows, job.labels, seed=job.seed, progress=job.bar("training"))
    if name == "stages":
        null = job.schema.labels.index(job.schema.null)
        return job.basis.fit(job.rows, job.labels, seed=job.seed, progress=job.bar("training in two stages"), null=null)
    if name == "blend":
        return blended(job)
    return further(name, job, job.basis.fit(job.rows, job.labels, seed=job.seed, progress=job.bar("training")))


def blended(job: Job) -> Trained:
    """Return w · cosine + (1 − w) · words' cosine with the w of the best out-of-fold figure; nothing else is learnt."""
    kind, truth = job.kind, job.truth
    counts = job.basis.check(job.labels)
    parts = {name: part[list(job.rows)] for name, part in job.basis.parts.items()}
    tried = {
        round(w, 2): blend(float(w), parts["cosine"][:, None], parts["tfidf"][:, None])
        for w in np.arange(0, 1.01, 0.05)
    }
    figures = {w: round(kind.figure(truth, z), 4) for w, z in tried.items()}
    # of equals the one nearest to the encoder alone
    share = max(figures, key=lambda w: (figures[w], w))
    slope, offset = kind.calibrate(truth, tried[share])
    outside = tried[share] * slope + offset
    p = kind.link(outside).astype(np.float32)
    cuts = kind.thresholds(job.schema, truth, p, job.seed)
    learnt: dict[str, Any] = {
        "coef": np.array([[share, 1.0 - share, 0.0]], dtype=np.float32),
        "intercept": np.zeros(1, dtype=np.float32),
        "slope": np.asarray(slope, dtype=np.float32),
        "offset": np.asarray(offset, dtype=np.float32),
        "thresholds": np.asarray(cuts, dtype=np.float32),
    }
    head = Head(kind, job.schema, words=job.basis.words, reference=job.basis.reference, recipe="blend", **learnt)
    chosen = {"w": share, "out_of_fold": figures[share], "in_sample": figures[share], "by_w": figures}
    return Trained(marked(head, "blend"), (), chosen, counts, outside)


def further(name: str, job: Job, beside: Trained) -> Trained:
    """Train a network and weigh it against the head, all of it chosen on the fifth the network never saw."""
    from toughcall.model.network import Network, Shape, reads_of

    kind, schema, truth, held = job.kind, job.schema, job.truth, job.held
    rank, cross, tuning = NETWORKS[name]
    if not held.any() or kind.too_few(*_counts(job, ~held)):
        raise NotEnoughData(f"{len(held)} labels are too few for recipe {name}: toughcall retrain --recipe head")
    shape = Shape(reads_of(kind, cross=cross), len(kind.columns(schema)), rank)
    network = Network(job.base(), shape, device=job.device, seed=job.seed)
    items = job.items
    run = tune(
        network,
        kind,
        schema,
        items,
        job.labels,
        held,
        tuning=dataclasses.replace(tuning, **job.tuning),
        seed=job.seed,
        say=job.say,
        progress=job.bar(f"training: {name}"),
    )
    assert beside.outside is not None, "what was just trained knows its out-of-fold logits"
    out_truth, out_items = truth[held], [item for item, away in zip(items, held, strict=True) if away]
    legal = kind.legal(schema, out_items)
    net_slope, net_offset = kind.calibrate(out_truth, masked(run.held, legal))
    network_z, head_z = run.held * net_slope + net_offset, beside.outside[held]
    figures = {w: round(kind.figure(out_truth, masked(blend(w, network_z, _finite(head_z)), legal)), 4) for w in SHARES}
    # asked for a network: without any share of it the head is the same for less; of equals the greater share
    share = max(SHARES[1:], key=lambda w: (figures[w], w))
    z = masked(blend(share, network_z, _finite(head_z)), legal)
    slope, offset = kind.calibrate(out_truth, z)
    outside = z * slope + offset
    p = kind.link(outside).astype(np.float32)
    cuts = pulled(kind.thresholds(schema, out_truth, p, job.seed), beside.head.thresholds, kind, out_truth)
    learnt: dict[str, Any] = {
        key: np.asarray(one, dtype=np.float32)
        for key, one in {
            "net_slope": net_slope,
            "net_offset": net_offset,
            "share": [share],
            "slope": slope,
            "offset": offset,
            "thresholds": cuts,
        }.items()
    }
    settings: dict[str, Any] = {"device": job.device, "seed": job.seed, "mark": network.mark()}
    model = Tuned(name, beside.head, shape, run.state, job.base, **learnt, **settings)
    said = kind.chosen(p, cuts)
    dead = tuple(label for j, label in enumerate(kind.columns(schema)) if kind.labelled and not said[:, j].any())
    chosen = {
        "recipe": name,
        "epoch": run.epoch,
        "why": run.why,
        "share": share,
        "by_share": figures,
        "held_out": int(held.sum()),
        "out_of_fold": figures[share],
        "in_sample": figures[share],
        "head": beside.chosen,
    }
    every = np.asarray(beside.outside).copy()
    every[held] = outside
    job.say(f"{name}: {run.why}; {share:.0%} of the answer is the network's, the rest the head's")
    return dataclasses.replace(
        beside, tuned=marked(model, name), dead=dead, chosen=chosen, outside=every, history=tuple(run.history)
    )


def _finite(z: Reals) -> Reals:
    """Return logits with a great negative number for what is not legal: 0 · inf is not a number."""
    return np.maximum(z, -1e4)


def _counts(job: Job, rows: Bools) -> tuple[dict[str, int], int]:
    truth = np.nan_to_num(np.asarray(job.truth[rows], dtype=np.float64))
    names = job.kind.columns(job.schema)
    # a pair has one column for two labels
    counts = {name: int((truth[:, j] > 0).sum()) for j, name in enumerate(names)}
    if len(names) == 1:
        counts["other"] = len(truth) - counts[names[0]]
    return counts, len(truth)


def pulled(cuts: Reals, known: Reals, kind: Kind, truth: Any) -> Reals:
    """Return thresholds fitted on few rows, drawn towards those that all labels gave the head: n / (n + 10) of the way.

    Both act on calibrated probabilities. Numbers have a grid instead, which stays.
    """
    if not kind.labelled:
        return cuts
    n = np.asarray(truth).sum(axis=0)
    return np.asarray(known + n / (n + PULL) * (cuts - known))


def gain(kind: Kind, truth: Any, one: Reals, other: Reals, seed: int) -> tuple[float, float]:
    """Return (how much better the logits `one` rank the rows than `other`, its bootstrap standard error)."""
    rng = np.random.default_rng([seed, 11])
    whole = kind.figure(truth, one) - kind.figure(truth, other)
    drawn = [rng.integers(0, len(truth), len(truth)) for _ in range(RESAMPLES)]
    each = [kind.figure(truth[rows], one[rows]) - kind.figure(truth[rows], other[rows]) for rows in drawn]
    return float(whole), float(np.std(each))


def auto(job: Job, there: Sequence[str]) -> Trained:
    """Train the head, then every other recipe the budget allows; take the best one only if it is worth its trouble.

    A recipe replaces the head when on the same rows, unseen by both, it is better by more than one standard
    error (the one-standard-error rule: Breiman et al. 1984, §3.4.3). The gate judges what is taken, once.
    """
    held, truth = job.held, job.truth
    head = fit("head", job)
    assert head.outside is not None, "what was just trained knows its out-of-fold logits"
    best, lead = head, 0.0
    rows: list[dict[str, Any]] = [{"recipe": "head", "gain": 0.0, "error": 0.0, "taken": False}]
    began = job.clock()
    for name in there[1:]:
        start = job.clock()
        try:
            if name in NETWORKS:
                due, left = minutes(name, job), job.budget - (start - began) / 60.0
                if due > left:
                    job.say(
                        f"{name} is left out: about {due:.0f} minutes, {max(0.0, left):.0f} are left (train.budget)"
                    )
                    rows.append({"recipe": name, "minutes": round(due, 1), "left_out": True})
                    continue
            one = further(name, job, head) if name in NETWORKS else fit(name, job)
        except (NotEnoughData, UsageError) as why:
            # too few labels, or a library that is not installed: the others can still be had
            job.say(f"{name} is left out: {why}")
            continue
        assert one.outside is not None, "what was just trained knows its out-of-fold logits"
        up, error = gain(job.kind, truth[held], _finite(one.outside[held]), _finite(head.outside[held]), job.seed)
        spent = round((job.clock() - start) / 60.0, 2)
        rows.append({"recipe": name, "gain": round(up, 4), "error": round(error, 4), "minutes": spent, "taken": False})
        job.say(f"{name}: {up:+.3f} ± {error:.3f} against the head on {int(held.sum())} rows both never saw")
        if up > error and up > lead:
            best, lead = one, up
    taken = best.model.recipe
    for row in rows:
        row["taken"] = row["recipe"] == taken
    job.say(f"recipe {taken} goes to the gate")
    return dataclasses.replace(best, chosen={**best.chosen, "tried": rows})


def minutes(name: str, job: Job) -> float:
    """Return about how long a network recipe takes here, from a few forward passes of the untouched encoder."""
    from toughcall.model.network import Network, Shape, reads_of

    rank, cross, tuning = NETWORKS[name]
    tuning = dataclasses.replace(tuning, **job.tuning)
    network = Network(job.base(), Shape(reads_of(job.kind, cross=cross), 1, rank), device=job.device, seed=job.seed)
    items = job.items
    some = items[:: max(1, len(items) // 32)][:32]
    network.score(some[:2])
    start = job.clock()
    network.score(some)
    each = (job.clock() - start) / len(some)
    return each * len(items) * (PASSES * (1 - 1 / FOLDS) + 1 / FOLDS) * tuning.epochs / 60.0
