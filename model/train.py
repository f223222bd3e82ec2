"""Labels → a trained head: settings, calibration and thresholds all chosen on out-of-fold predictions."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from toughcall.model.calibration import platt, temperature
from toughcall.model.kinds import Bools, Kind, Reals
from toughcall.model.scorers import Head, beside, features, link
from toughcall.model.split import connected, folds
from toughcall.model.thresholds import fit_thresholds
from toughcall.model.words import Words
from toughcall.records import (
    Floats,
    IntegrityError,
    Item,
    Label,
    NotEnoughData,
    Pair,
    Schema,
    Scores,
    Text,
    Vectors,
    digest,
)

FOLDS = 5
LEAST = 2
"""A class needs this many labels before it counts as present."""
STRENGTHS = (1.0, 3.0, 10.0, 30.0)
"""Inverse L2 strengths tried, on unit vectors."""
WITH_WORDS = 2_000
"""Up to this many labels texts are read by their words too; with more the encoder alone carries it."""
HINT = 3.0
"""How many labels a label's description counts for."""
RANDOM_PAIRS, ENOUGH = 300, 100
"""How many random pairs join the labelled ones, and how many records there have to be for that."""
REFERENCE = 2_000


@dataclass(frozen=True)
class Trained:
    """A trained head and how it came about."""

    head: Head
    dead: tuple[str, ...]
    """Labels that its out-of-fold predictions never name although they are in the schema."""
    chosen: dict[str, Any]
    """The settings chosen and the out-of-fold figure they were chosen by."""
    counts: dict[str, int]

    @property
    def name(self) -> str:
        """The head's name: a digest of its weights until the registry gives it a version."""
        return self.head.name

    @property
    def thresholds(self) -> Floats:
        """One threshold per column, shape (k,)."""
        return self.head.thresholds

    def named(self, name: str) -> Trained:
        """Return the same model under another name."""
        return dataclasses.replace(self, head=dataclasses.replace(self.head, name=name))

    def score(self, items: Sequence[Item], vectors: Vectors) -> Scores:
        """Return calibrated probabilities, shape (n, k)."""
        return self.head.score(items, vectors)

    def arrays(self) -> dict[str, Floats]:
        """Return the weights by name."""
        return self.head.arrays()

    def config(self) -> dict[str, Any]:
        """Return settings and choices as JSON."""
        return {**self.head.config(), "chosen": self.chosen, "counts": self.counts, "dead": list(self.dead)}


def check_enough(kind: Kind, schema: Schema, labels: Sequence[Label]) -> dict[str, int]:
    """Return the count of each label; NotEnoughData names classes and counts when nothing can be learnt (C55)."""
    counts = dict.fromkeys(schema.labels, 0)
    for label in labels:
        for name in label.value:
            counts[name] += 1
    told = ", ".join(f"{name} {n}" for name, n in counts.items())
    if kind.single:
        present = [name for name, n in counts.items() if n >= LEAST]
        enough = len(present) >= 2
    else:
        enough = any(LEAST <= n <= len(labels) - LEAST for n in counts.values())
    if not enough:
        raise NotEnoughData(
            f"{len(labels)} labels are too few to learn from ({told}): at least two classes with {LEAST} labels each "
            "are due; answer more items, or import labelled rows with toughcall import FILE --label COLUMN"
        )
    return counts


def train(
    kind: Kind,
    schema: Schema,
    items: Sequence[Item],
    vectors: Vectors,
    labels: Sequence[Label],
    *,
    corpus: Sequence[str],
    pool: Sequence[Text] = (),
    seed: int,
    hints: Reals | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Trained:
    """Train a head on frozen features: settings by grouped cross-validation, then all labels at once.

    `hints`: vectors of the labels' descriptions, shape (k, d); each joins as one made-up example of its
    label, so that a class without labels starts from what its description says. `corpus`: the pool's
    texts, for word weights. `pool`: the records pairs are mined from; what the queue asks about is all
    near-misses, so pairs drawn at random from it join as made-up pairs that are not alike.
    Raises NotEnoughData (C55), IntegrityError for a weight that is not finite (C65).
    """
    counts = check_enough(kind, schema, labels)
    import sklearn  # noqa: F401 - its threads are found only once it is loaded
    from threadpoolctl import threadpool_limits

    # one thread: the matrices are small, and the sums come out the same on every machine (P13)
    with threadpool_limits(limits=1):
        return _train(kind, schema, items, vectors, labels, counts, corpus, pool, seed, hints, progress)


def _train(
    kind: Kind,
    schema: Schema,
    items: Sequence[Item],
    vectors: Vectors,
    labels: Sequence[Label],
    counts: dict[str, int],
    corpus: Sequence[str],
    pool: Sequence[Text],
    seed: int,
    hints: Floats | None,
    progress: Callable[[int, int], None] | None,
) -> Trained:
    order = sorted(range(len(items)), key=lambda row: items[row].id)
    items, labels = [items[row] for row in order], [labels[row] for row in order]
    words = Words.fit(sorted(set(corpus))) if kind.paired or len(items) <= WITH_WORDS else None
    reference = sampled(items, pool, vectors, seed) if kind.paired else None
    raw, _ = features(kind, items, vectors, words, reference)
    truth = kind.targets(schema, [label.value for label in labels])
    if hints is not None and not np.isfinite(hints).all():
        raise IntegrityError("the vector of a label's description is not finite: toughcall doctor checks the data")
    made, made_truth = made_up(kind, schema, pool, vectors, words, reference, hints, seed)
    x, back = rotated(kind, raw, made)
    extra = None if made is None else (x[len(items) :], made_truth)
    x = x[: len(items)]
    count = max(2, min(FOLDS, len(items) // 2))
    fold = folds(connected(items), truth, count, seed)
    tried = list(itertools.product(STRENGTHS, (False, True)))
    best: tuple[float, int, Reals] | None = None
    for number, (strength, balanced) in enumerate(tried):
        out: Reals = np.zeros(truth.shape)
        for one in range(count):
            inside = fold == one
            if not inside.any():
                continue
            coef, bias = fit(kind, x[~inside], truth[~inside], strength, balanced, extra)
            out[inside] = x[inside] @ coef.T + bias
        figure = round(separation(kind, truth, out), 4)
        if best is None or figure > best[0]:
            best = (figure, number, out)
        if progress:
            progress(number + 1, len(tried) + 1)
    figure, number, out = best if best is not None else (0.0, 0, np.zeros(truth.shape))
    strength, balanced = tried[number]
    coef, bias = back(*fit(kind, x, truth, strength, balanced, extra))
    if not (np.isfinite(coef).all() and np.isfinite(bias).all()):
        raise IntegrityError(
            "training gave weights that are not finite: nothing was stored; toughcall doctor checks the data"
        )
    slope, offset = calibrate(kind, truth, out)
    p = link(kind, out * slope + offset).astype(np.float32)
    thresholds = fit_thresholds(kind, truth, p, seed)
    said = kind.chosen(p, thresholds)
    dead = tuple(name for j, name in enumerate(kind.columns(schema)) if not said[:, j].any())
    if progress:
        progress(len(tried) + 1, len(tried) + 1)
    parts = (coef, bias, slope, offset, thresholds)
    learnt: dict[str, Any] = {field: part.astype(np.float32) for field, part in zip(Head.LEARNT, parts, strict=True)}
    head = Head(kind, schema, words=words, reference=reference, **learnt)
    mark = digest("weights", *(array.tobytes().hex() for array in head.arrays().values()))
    return Trained(
        dataclasses.replace(head, name=f"head-{mark[:8]}"),
        dead,
        {"C": strength, "balanced": balanced, "folds": count, "out_of_fold": figure},
        counts,
    )


def sampled(items: Sequence[Item], pool: Sequence[Text], vectors: Vectors, seed: int) -> Floats:
    """Return the vectors of at most 2,000 pool records (without a pool: of the items'), shape (m, d)."""
    there = set(vectors.ids)
    ids = sorted({text.id for text in pool if text.id in there} or {text.id for item in items for text in item.texts})
    if len(ids) > REFERENCE:
        ids = sorted(np.random.default_rng([seed, 1]).choice(ids, REFERENCE, replace=False).tolist())
    return vectors.rows(ids)


def made_up(
    kind: Kind,
    schema: Schema,
    pool: Sequence[Text],
    vectors: Vectors,
    words: Words | None,
    reference: Floats | None,
    hints: Floats | None,
    seed: int,
) -> tuple[Any, Bools]:
    """Return (features, targets) of examples nobody labelled: descriptions of labels, or random pairs."""
    if not kind.paired:
        if hints is None:
            return None, np.zeros((0, 0), dtype=bool)
        return beside(hints, schema.hints or schema.labels, words), np.eye(len(hints), dtype=bool)
    there = set(vectors.ids)
    texts = sorted((text for text in pool if text.id in there), key=lambda text: text.id)
    if len(texts) < ENOUGH:
        # among few records a random pair may well be alike
        return None, np.zeros((0, 1), dtype=bool)
    drawn = np.random.default_rng([seed, 2]).integers(0, len(texts), size=(RANDOM_PAIRS, 2))
    pairs: list[Item] = [Pair(texts[a], texts[b]) for a, b in drawn if a != b]
    return features(kind, pairs, vectors, words, reference)[0], np.zeros((len(pairs), 1), dtype=bool)


def rotated(kind: Kind, raw: Any, hints: Any) -> tuple[Reals, Callable[[Reals, Reals], tuple[Reals, Reals]]]:
    """Return (coordinates to fit in, a function that carries weights back to the features).

    Texts: an L2-regularised linear model lies in the span of its rows, so it is fitted exactly in the
    coordinates of that span (from the Gram matrix), n numbers a row instead of 65,920. Pairs: standardised.
    """
    if kind.paired:
        rows = raw if hints is None else np.vstack([raw, hints])
        mean, scale = rows.mean(axis=0), rows.std(axis=0) + 1e-6
        return (rows - mean) / scale, lambda coef, bias: (coef / scale, bias - coef @ (mean / scale))
    from scipy.sparse import issparse, vstack

    if not issparse(raw):
        return (raw if hints is None else np.vstack([raw, hints])), lambda coef, bias: (coef, bias)
    rows = raw if hints is None else vstack([raw, hints], format="csr")
    values, vectors = np.linalg.eigh((rows @ rows.T).toarray())
    keep = values > 1e-9 * values.max()
    root, vectors = np.sqrt(values[keep]), vectors[:, keep]

    def back(coef: Reals, bias: Reals) -> tuple[Reals, Reals]:
        return np.asarray((rows.T @ ((coef / root) @ vectors.T).T).T), bias

    return vectors * root, back


def fit(
    kind: Kind, x: Reals, truth: Bools, strength: float, balanced: bool, extra: tuple[Reals, Bools] | None
) -> tuple[Reals, Reals]:
    """Return (weights of shape (k, d), intercepts of shape (k,)) of L2-regularised logistic regression.

    One multinomial model where one label excludes the others, else one model per column. A column without
    any example on one side has weight 0 and the prior's intercept.
    """
    from sklearn.linear_model import LogisticRegression

    width = truth.shape[1]
    coef, bias = np.zeros((width, x.shape[1])), np.zeros(width)
    weight: Reals = np.ones(len(x))
    if extra is not None:
        x, truth = np.vstack([x, extra[0]]), np.vstack([truth, extra[1]])
        weight = np.concatenate([weight, np.full(len(extra[0]), 1.0 if kind.paired else HINT)])
    settings = {"C": strength, "max_iter": 3000, "tol": 1e-6, "class_weight": "balanced" if balanced else None}
    if kind.single and width > 1:
        goal = truth.argmax(axis=1)
        there = np.unique(goal)
        bias[:] = -10.0
        if len(there) == 1:
            bias[there[0]] = 10.0
            return coef, bias
        made = LogisticRegression(**settings).fit(x, goal, weight)
        if len(there) == 2:
            # the binary model speaks of the second class alone
            coef[there[1]], bias[there[1]], bias[there[0]] = made.coef_[0], made.intercept_[0], 0.0
        else:
            coef[there], bias[there] = made.coef_, made.intercept_
        return coef, bias
    for j in range(width):
        column = truth[:, j]
        if column.all() or not column.any():
            share = (column.sum() + 0.5) / (len(column) + 1.0)
            bias[j] = np.log(share / (1.0 - share))
            continue
        made = LogisticRegression(**settings).fit(x, column, weight)
        coef[j], bias[j] = made.coef_[0], made.intercept_[0]
    return coef, bias


def separation(kind: Kind, truth: Bools, logits: Reals) -> float:
    """Return how well the columns rank their members: mean average precision, or ROC-AUC of a single column."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    if kind.single and truth.shape[1] > 1:
        logits = link(kind, logits)
    found = []
    for j in range(truth.shape[1]):
        if truth[:, j].any() and not truth[:, j].all():
            measure = roc_auc_score if truth.shape[1] == 1 else average_precision_score
            found.append(float(measure(truth[:, j], logits[:, j])))
    return float(np.mean(found)) if found else 0.0


def calibrate(kind: Kind, truth: Bools, logits: Reals) -> tuple[Reals, Reals]:
    """Return (slope, offset) of shape (k,) from out-of-fold logits."""
    width = truth.shape[1]
    if kind.single and width > 1:
        return np.full(width, 1.0 / temperature(truth, logits)), np.zeros(width)
    pairs = [platt(truth[:, j], logits[:, j]) for j in range(width)]
    return np.array([a for a, _ in pairs]), np.array([b for _, b in pairs])
