"""Labels → a trained head: settings, calibration and thresholds all chosen on out-of-fold predictions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from toughcall.model import linear
from toughcall.model.crossfit import crossfit, one_thread
from toughcall.model.features import beside
from toughcall.model.kind import Kind
from toughcall.model.linear import Setting
from toughcall.model.scorers import Head
from toughcall.model.tuned import Tuned
from toughcall.model.words import Words
from toughcall.records import (
    Bools,
    Floats,
    IntegrityError,
    Item,
    Label,
    NotEnoughData,
    Pair,
    Reals,
    Scores,
    Text,
    Vectors,
    digest,
)
from toughcall.schema import Schema, names_of

SOME = 2_000
"""Above so many labels fewer settings are tried."""
RANDOM_PAIRS, ENOUGH = 300, 100
"""How many random pairs join the labelled ones, and how many records there have to be for that."""
REFERENCE = 2_000


@dataclass(frozen=True)
class Trained:
    """A trained model and how it came about."""

    head: Head
    dead: tuple[str, ...]
    """Labels that its out-of-fold predictions never name although they are in the schema."""
    chosen: dict[str, Any]
    """The settings chosen and the out-of-fold figure they were chosen by."""
    counts: dict[str, int]
    outside: Reals | None = dataclasses.field(default=None, repr=False, compare=False)
    """Calibrated logits of the training rows by models that did not see them, shape (n, k); not stored."""
    tuned: Tuned | None = None
    """The network with the head beside it, where the encoder was trained further."""
    history: tuple[dict[str, Any], ...] = ()
    """Every epoch's figures, where there were epochs."""

    @property
    def model(self) -> Head | Tuned:
        """What is stored and serves."""
        return self.head if self.tuned is None else self.tuned

    @property
    def name(self) -> str:
        """The model's name: a digest of its weights until the registry gives it a version."""
        return self.model.name

    @property
    def thresholds(self) -> Floats:
        """One threshold per column, shape (k,)."""
        return self.model.thresholds

    def named(self, name: str) -> Trained:
        """Return the same model under another name."""
        if self.tuned is not None:
            return dataclasses.replace(self, tuned=dataclasses.replace(self.tuned, name=name))
        return dataclasses.replace(self, head=dataclasses.replace(self.head, name=name))

    def score(self, items: Sequence[Item], vectors: Vectors) -> Scores:
        """Return calibrated probabilities, shape (n, k)."""
        return self.model.score(items, vectors)

    def arrays(self) -> dict[str, Floats]:
        """Return the weights by name."""
        return self.model.arrays()

    def config(self) -> dict[str, Any]:
        """Return settings and choices as JSON."""
        told = {"chosen": self.chosen, "counts": self.counts, "dead": list(self.dead), "history": list(self.history)}
        return {**self.model.config(), **told}


M = TypeVar("M", Head, Tuned)


def marked(model: M, name: str) -> M:
    """Return a head or a tuned model under a name that ends in a digest of its weights."""
    mark = digest("weights", *(array.tobytes().hex() for array in model.arrays().values()))
    return dataclasses.replace(model, name=f"{name}-{mark[:8]}")


def check_enough(kind: Kind, schema: Schema, labels: Sequence[Label]) -> dict[str, int]:
    """Return the count of each label or dimension; NotEnoughData names them when nothing can be learnt (C55)."""
    counts = dict.fromkeys((*schema.labels, *(d.name for d in schema.dimensions)), 0)
    for label in labels:
        for name in names_of(label.value):
            counts[name] += 1
    if kind.too_few({name: counts[name] for name in schema.labels or counts}, len(labels)):
        told = ", ".join(f"{name} {n}" for name, n in counts.items())
        raise NotEnoughData(
            f"{len(labels)} labels are too few to learn from ({told}): {kind.least} are due; "
            "answer more items, or import labelled rows with toughcall import FILE --label COLUMN"
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
    check_enough(kind, schema, labels)
    order = sorted(range(len(items)), key=lambda row: items[row].id)
    basis = Basis.of(
        kind,
        schema,
        [items[row] for row in order],
        vectors,
        corpus=corpus,
        pool=pool,
        seed=seed,
        hints=hints,
    )
    return basis.fit(range(len(order)), [labels[row] for row in order], seed=seed, progress=progress)


@dataclass(frozen=True, eq=False)
class Basis:
    """Items turned into features once, so that a head can be fitted on any of them and score all of them."""

    kind: Kind
    schema: Schema
    items: Sequence[Item]
    raw: linear.Rows
    """Features, one row an item."""
    parts: Mapping[str, Floats]
    words: Words
    reference: Floats | None
    extra: tuple[linear.Rows, Bools] | None
    """Features and targets of examples nobody labelled."""

    @classmethod
    def of(
        cls,
        kind: Kind,
        schema: Schema,
        items: Sequence[Item],
        vectors: Vectors,
        *,
        corpus: Sequence[str],
        pool: Sequence[Text] = (),
        seed: int,
        hints: Reals | None = None,
    ) -> Basis:
        """Return the features of some items; the other arguments are those of `train`."""
        if hints is not None and not np.isfinite(hints).all():
            raise IntegrityError("the vector of a label's description is not finite: toughcall doctor checks the data")
        words = Words.fit(sorted(set(corpus)))
        reference = sampled(items, pool, vectors, seed) if kind.paired else None
        with one_thread():
            raw, parts = kind.features(items, vectors, words, reference)
            extra = made_up(kind, schema, pool, vectors, words, reference, hints, seed)
        return cls(kind, schema, items, raw, parts, words, reference, extra)

    def fit(
        self,
        rows: Sequence[int],
        labels: Sequence[Label],
        *,
        seed: int,
        progress: Callable[[int, int], None] | None = None,
        null: int = -1,
    ) -> Trained:
        """Train on some rows, given in the order of their items' ids, and their labels in the same order.

        `null`: the column that is decided first, where there are two stages; -1 = in one.
        """
        kind, schema = self.kind, self.schema
        counts = self.check(labels)
        items = [self.items[row] for row in rows]
        tried = [dataclasses.replace(at, null=null) for at in (kind.settings if len(items) <= SOME else kind.fewer)]
        with one_thread():
            raw = self.raw.take(np.asarray(rows, dtype=np.intp))
            fitted = crossfit(kind, schema, items, labels, raw, self.extra, tried, seed, progress)
        recipe = "head" if null < 0 else "stages"
        head = dataclasses.replace(fitted.head, words=self.words, reference=self.reference, recipe=recipe)
        return Trained(marked(head, recipe), fitted.dead, fitted.chosen, counts, fitted.outside)

    def check(self, labels: Sequence[Label]) -> dict[str, int]:
        """Return the count of each label or dimension; NotEnoughData when nothing can be learnt (C55)."""
        return check_enough(self.kind, self.schema, labels)

    def committee(
        self, rows: Sequence[int], labels: Sequence[Label], open_: Sequence[int], *, members: int = 5, seed: int
    ) -> Floats:
        """Return what heads fitted on bootstrap resamples of some rows say of others, shape (members, n, k).

        Query by bagging (Abe and Mamitsuka, ICML 1998, §2); a resample with too little of every class is drawn
        again. NotEnoughData where even all rows teach nothing.
        """
        whole = self.fit(rows, labels, seed=seed)
        at = Setting(*(whole.chosen[name] for name in ("strength", "balanced", "masked")))
        rng = np.random.default_rng([seed, 3])
        out: list[Floats] = []
        while len(out) < members:
            drawn = np.sort(rng.integers(0, len(rows), len(rows)))
            some = [labels[one] for one in drawn]
            try:
                check_enough(self.kind, self.schema, some)
            except NotEnoughData:
                continue
            take = np.asarray([rows[one] for one in drawn], dtype=np.intp)
            with one_thread():
                fitted = crossfit(
                    self.kind,
                    self.schema,
                    [self.items[row] for row in take],
                    some,
                    self.raw.take(take),
                    self.extra,
                    (at,),
                    seed,
                    None,
                )
            out.append(self.score(fitted.head, open_).values)
        return np.stack(out)

    def score(self, head: Head, rows: Sequence[int]) -> Scores:
        """Return what a head trained here says of some rows."""
        take = np.asarray(rows, dtype=np.intp)
        parts = {name: part[take] for name, part in self.parts.items()}
        return head.scored([self.items[row] for row in rows], self.raw.take(take), parts)


def words_alone(
    kind: Kind,
    schema: Schema,
    items: Sequence[Item],
    labels: Sequence[Label],
    *,
    corpus: Sequence[str],
    pool: Sequence[Text] = (),
    seed: int,
) -> Head:
    """Return the baseline without any encoder: the same head over TF-IDF alone, under one setting.

    `pool`: as for `train`, so that among near-misses, too, more words in common never count against a pair.
    """
    words = Words.fit(sorted(set(corpus)))
    blank = dict.fromkeys([*(text.id for item in items for text in item.views), *(text.id for text in pool)])
    vectors = Vectors(tuple(blank), np.zeros((len(blank), 0), np.float32), "none")
    reference = np.zeros((1, 0), np.float32) if kind.paired else None
    with one_thread():
        raw, _ = kind.features(items, vectors, words, reference)
        extra = made_up(kind, schema, pool, vectors, words, reference, None, seed)
        head = crossfit(kind, schema, items, labels, raw, extra, (kind.settings[-1],), seed, None).head
    return dataclasses.replace(head, words=words, reference=reference, name="tfidf", blind=True)


def sampled(items: Sequence[Item], pool: Sequence[Text], vectors: Vectors, seed: int) -> Floats:
    """Return the vectors of at most 2,000 pool records (without a pool: of the items'), shape (m, d)."""
    there = vectors.where
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
) -> tuple[linear.Rows, Bools] | None:
    """Return (features, targets) of examples nobody labelled: descriptions of labels, or random pairs."""
    if kind.hinted and hints is not None:
        return beside(hints, schema.hints or schema.labels, words), np.eye(len(hints), dtype=bool)
    known = {text.id: text for text in pool if text.id in vectors.where}
    texts = [known[one] for one in sorted(known)]
    if not kind.paired or len(texts) < ENOUGH:
        # among few records a random pair may well be alike
        return None
    drawn = np.random.default_rng([seed, 2]).integers(0, len(texts), size=(RANDOM_PAIRS, 2))
    pairs: list[Item] = [Pair(texts[a], texts[b]) for a, b in drawn if a != b]
    return kind.features(pairs, vectors, words, reference)[0], np.zeros((len(pairs), 1), dtype=bool)
