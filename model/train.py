"""Labels → a trained head: settings, calibration and thresholds all chosen on out-of-fold predictions."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from toughcall.model import linear
from toughcall.model.features import beside
from toughcall.model.kind import Kind, masked
from toughcall.model.linear import Setting
from toughcall.model.scorers import Head
from toughcall.model.split import connected, folds
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

FOLDS = 5
SOME, MANY = 2_000, 10_000
"""Above so many labels fewer settings are tried; above so many they are compared on one held-out fifth."""
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
    ) -> Trained:
        """Train on some rows, given in the order of their items' ids, and their labels in the same order."""
        kind, schema = self.kind, self.schema
        counts = check_enough(kind, schema, labels)
        items = [self.items[row] for row in rows]
        tried = kind.settings if len(items) <= SOME else kind.fewer
        with one_thread():
            raw = self.raw.take(np.asarray(rows, dtype=np.intp))
            head, dead, chosen = _fitted(kind, schema, items, labels, raw, self.extra, tried, seed, progress)
        head = dataclasses.replace(head, words=self.words, reference=self.reference)
        mark = digest("weights", *(array.tobytes().hex() for array in head.arrays().values()))
        return Trained(dataclasses.replace(head, name=f"head-{mark[:8]}"), dead, chosen, counts)

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
                head, _, _ = _fitted(
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
            out.append(self.score(head, open_).values)
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
        head, _, _ = _fitted(kind, schema, items, labels, raw, extra, (kind.settings[-1],), seed, None)
    return dataclasses.replace(head, words=words, reference=reference, name="tfidf", blind=True)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let linear algebra use one thread: the matrices are small, and the sums are the same everywhere (P13)."""
    import sklearn  # noqa: F401 - its threads are found only once it is loaded
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        yield


def _fitted(
    kind: Kind,
    schema: Schema,
    items: Sequence[Item],
    labels: Sequence[Label],
    raw: linear.Rows,
    made: tuple[linear.Rows, Bools] | None,
    tried: Sequence[Setting],
    seed: int,
    progress: Callable[[int, int], None] | None,
) -> tuple[Head, tuple[str, ...], dict[str, Any]]:
    """Return (a head without its words and reference, the labels it never names, what was chosen)."""
    truth, legal = kind.targets(schema, [label.value for label in labels]), kind.legal(schema, items)
    both = raw if made is None else raw.join(made[0])
    mean, scale = kind.scaling(both.dense)
    both, carry = linear.compact(linear.Rows((both.dense - mean) / scale, both.words))

    def back(coef: Reals, bias: Reals) -> tuple[Reals, Reals]:
        """Return weights and intercepts on the features as they are."""
        coef = carry(coef)
        coef[:, : len(scale)] /= scale
        return coef, bias - coef[:, : len(mean)] @ mean

    x, rest = both.take(np.arange(len(items))), both.take(np.arange(len(items), len(both)))
    extra = None if made is None else (rest, made[1], 1.0 if kind.paired else HINT)
    count = max(2, min(FOLDS, len(items) // 2))
    fold = folds(connected(items), kind.strata(truth), count, seed)
    filled = [one for one in range(count) if (fold == one).any()]
    seen = {one: x.take(fold != one) for one in filled}
    bar = _counted(progress, len(tried) + 2)

    def outside(at: Setting, some: Sequence[int]) -> tuple[Bools, Reals]:
        """Return (which rows lie in some folds, the logits of those rows by models that did not see them)."""
        out: Reals = np.zeros(truth.shape)
        for one in some:
            left = fold == one
            open_ = None if legal is None else legal[~left]
            coef, bias = kind.fit(seen[one], truth[~left], at, extra, open_)
            out[left] = x.take(left) @ coef.T + bias
        return np.isin(fold, some), masked(out, legal)

    # many labels: one fifth held out compares settings as well as five folds do, in a fifth of the time
    compared = filled if len(items) <= MANY else filled[:1]
    best: tuple[float, Setting, Reals] | None = None
    for at in tried:
        held, out = outside(at, compared)
        figure = round(kind.figure(truth[held], out[held]), 4)
        if best is None or figure > best[0]:
            best = (figure, at, out)
        bar()
    assert best is not None, "a kind tries at least one setting"
    figure, at, out = best
    if compared != filled:
        _, out = outside(at, filled)
    bar()
    coef, bias = kind.fit(x, truth, at, extra, legal)
    own = x @ coef.T + bias
    coef, bias = back(coef, bias)
    if not (np.isfinite(coef).all() and np.isfinite(bias).all()):
        raise IntegrityError(
            "training gave weights that are not finite: nothing was stored; toughcall doctor checks the data"
        )
    inside = round(kind.figure(truth, masked(own, legal)), 4)
    slope, offset = kind.calibrate(truth, out)
    p = kind.link(out * slope + offset).astype(np.float32)
    thresholds = kind.thresholds(schema, truth, p, seed)
    said = kind.chosen(p, thresholds)
    dead = tuple(name for j, name in enumerate(kind.columns(schema)) if not said[:, j].any())
    error = kind.expected_error(x, truth, p)
    spread = None if error is None else np.column_stack(back(*error)).astype(np.float32)
    bar()
    parts = (coef, bias, slope, offset, thresholds)
    learnt: dict[str, Any] = {field: part.astype(np.float32) for field, part in zip(Head.LEARNT, parts, strict=True)}
    chosen = {**dataclasses.asdict(at), "folds": len(filled), "out_of_fold": figure, "in_sample": inside}
    return Head(kind, schema, words=None, spread=spread, **learnt), dead, chosen


def _counted(progress: Callable[[int, int], None] | None, total: int) -> Callable[[], None]:
    done = itertools.count(1)
    return lambda: progress(next(done), total) if progress else None


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
