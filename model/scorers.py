"""Things that give probabilities: the untouched encoder, the trivial and word baselines, the trained head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from toughcall.model import kinds
from toughcall.model.calibration import platt, sigmoid, softmax
from toughcall.model.kinds import Kind, Reals
from toughcall.model.thresholds import fit_thresholds
from toughcall.model.words import Words
from toughcall.records import Floats, IntegrityError, Item, Label, Schema, Scores, Value, Vectors


class Scorer(Protocol):
    """What every model offers: probabilities, and the thresholds its decisions use."""

    @property
    def name(self) -> str:
        """The model's name, stored with every score."""

    @property
    def thresholds(self) -> Floats:
        """One threshold per column, shape (k,)."""

    def score(self, items: Sequence[Item], vectors: Vectors) -> Scores:
        """Return calibrated probabilities, shape (n, k); KeyError names a record without a vector."""


def predict(kind: Kind, schema: Schema, model: Scorer, items: Sequence[Item], vectors: Vectors) -> list[Value]:
    """Return the answer a model gives each item, with the thresholds it was stored with."""
    return kind.decode(schema, model.score(items, vectors).values, model.thresholds)


def rows_of(items: Sequence[Item], vectors: Vectors) -> list[Floats]:
    """Return the vectors of the items' records: one array of shape (n, d) per record of an item.

    IntegrityError names a record whose vector is not finite: cut to [-1, 1] its cosine would look like any other.
    """
    where = {one: row for row, one in enumerate(vectors.ids)}
    if not items:
        return [vectors.array[:0]]
    out = []
    for side in range(len(items[0].texts)):
        rows = [where[item.texts[side].id] for item in items]
        found = vectors.array[rows]
        if not np.isfinite(found).all():
            bad = vectors.ids[rows[int(np.flatnonzero(~np.isfinite(found).all(axis=1))[0])]]
            raise IntegrityError(f"the vector of record {bad} is not finite: toughcall doctor checks the data")
        out.append(found)
    return out


def cosine(items: Sequence[Item], vectors: Vectors) -> Floats:
    """Return the cosine of both records of each pair, shape (n,), in [-1, 1]."""
    a, b = rows_of(items, vectors)
    return np.asarray(np.clip(np.einsum("nd,nd->n", a, b), -1.0, 1.0), dtype=np.float32)


@dataclass(frozen=True)
class Untouched:
    """The encoder as it came: cosines to the labels' descriptions, or of the two records of a pair.

    No label is learnt. For classes the cosines become probabilities by a softmax at temperature 0.05
    (the scale contrastive encoders are trained with); for independent labels by how far a label stands
    out of its row; for pairs the cosine itself, cut to [0, 1].
    """

    kind: Kind
    schema: Schema
    hints: Floats
    """Vectors of the labels' descriptions, shape (k, d)."""

    @property
    def name(self) -> str:
        """Always the same."""
        return "untouched"

    @property
    def thresholds(self) -> Floats:
        """0.5 everywhere."""
        return self.kind.plain(self.schema)

    def score(self, items: Sequence[Item], vectors: Vectors) -> Scores:
        """Return probabilities, shape (n, k)."""
        parts: dict[str, Floats] = {}
        if self.kind.paired:
            parts["cosine"] = cosine(items, vectors)
            values: Reals = np.clip(parts["cosine"], 0.0, 1.0)[:, None]
        else:
            near = rows_of(items, vectors)[0] @ self.hints.T
            if self.kind.single:
                values = softmax(near / 0.05)
            else:
                spread = near.std(axis=1, keepdims=True) + 1e-6
                values = sigmoid(4.0 * ((near - near.mean(axis=1, keepdims=True)) / spread - 1.0))
        return _scores(self.kind, self.schema, items, values, self.name, parts)


@dataclass(frozen=True)
class Majority:
    """The shares of the training labels, whatever the text: what any model has to beat."""

    kind: Kind
    schema: Schema
    shares: Floats

    @property
    def name(self) -> str:
        """Always the same."""
        return "majority"

    @property
    def thresholds(self) -> Floats:
        """0.5 everywhere."""
        return self.kind.plain(self.schema)

    @classmethod
    def fit(cls, kind: Kind, schema: Schema, labels: Sequence[Label]) -> Majority:
        """Count the labels, one pseudo-count each way."""
        truth = kind.targets(schema, [label.value for label in labels])
        shares = (truth.sum(axis=0) + 1.0) / (len(labels) + (truth.shape[1] if kind.single else 2.0))
        return cls(kind, schema, shares.astype(np.float32))

    def score(self, items: Sequence[Item], vectors: Vectors) -> Scores:
        """Return the same probabilities for every item."""
        values = np.repeat(self.shares[None, :], len(items), axis=0)
        return _scores(self.kind, self.schema, items, values, self.name, {})


def _scores(
    kind: Kind, schema: Schema, items: Sequence[Item], values: Any, name: str, parts: Mapping[str, Floats]
) -> Scores:
    return Scores(
        tuple(item.id for item in items), kind.columns(schema), np.asarray(values, dtype=np.float32), name, parts
    )


@dataclass(frozen=True)
class Head:
    """A linear head on frozen features, with its calibration and thresholds: what training makes and serving loads.

    Features: for texts the encoder's unit vector, then the TF-IDF row when `words` holds weights for it;
    for pairs (cosine, TF-IDF cosine, density).
    """

    LEARNT: ClassVar[tuple[str, ...]] = ("coef", "intercept", "slope", "offset", "thresholds")

    kind: Kind
    schema: Schema
    coef: Floats
    """Shape (k, d)."""
    intercept: Floats
    """Shape (k,)."""
    slope: Floats
    """Calibration: P = link(slope · logit + offset), shape (k,)."""
    offset: Floats
    thresholds: Floats
    words: Words | None
    reference: Floats | None = None
    """Pairs: vectors of pool records to measure density against, shape (m, d)."""
    name: str = "head"

    def logits(self, items: Sequence[Item], vectors: Vectors) -> tuple[Reals, dict[str, Floats]]:
        """Return (raw logits of shape (n, k), the parts they were made of)."""
        made, parts = features(self.kind, items, vectors, self.words, self.reference)
        return made @ self.coef.T.astype(np.float64) + self.intercept, parts

    def score(self, items: Sequence[Item], vectors: Vectors) -> Scores:
        """Return calibrated probabilities, shape (n, k)."""
        raw, parts = self.logits(items, vectors)
        return _scores(self.kind, self.schema, items, link(self.kind, raw * self.slope + self.offset), self.name, parts)

    def arrays(self) -> dict[str, Floats]:
        """Return everything that was learnt, by name, for safetensors."""
        found = {name: np.ascontiguousarray(getattr(self, name), dtype=np.float32) for name in self.LEARNT}
        if self.words is not None:
            found["idf"] = self.words.idf
        if self.reference is not None:
            found["reference"] = np.ascontiguousarray(self.reference, dtype=np.float32)
        return found

    def config(self) -> dict[str, Any]:
        """Return what arrays cannot hold, as JSON."""
        return {
            "recipe": "frozen-encoder head",
            "kind": self.kind.name,
            "labels": list(self.schema.labels),
            "single": self.schema.single,
            "guideline": self.schema.guideline,
            "hints": list(self.schema.hints),
            "columns": list(self.kind.columns(self.schema)),
        }

    @classmethod
    def restore(cls, config: Mapping[str, Any], arrays: Mapping[str, Floats], name: str) -> Head:
        """Build a head from its files; IntegrityError when labels and widths do not fit together."""
        kind = kinds.get(config["kind"])
        schema = Schema(
            kind.name, tuple(config["labels"]), bool(config["single"]), config["guideline"], tuple(config["hints"])
        )
        columns = kind.columns(schema)
        if list(columns) != list(config["columns"]) or arrays["coef"].shape[0] != len(columns):
            raise IntegrityError(f"model {name} has {arrays['coef'].shape[0]} outputs and {len(columns)} labels")
        words = Words(arrays["idf"]) if "idf" in arrays else None
        learnt: dict[str, Any] = {key: arrays[key] for key in cls.LEARNT}
        return cls(kind, schema, words=words, reference=arrays.get("reference"), name=name, **learnt)


def link(kind: Kind, logits: Reals) -> Reals:
    """Return probabilities of logits: over the classes together, or for each column by itself."""
    return softmax(logits) if kind.single and logits.shape[1] > 1 else sigmoid(logits)


def features(
    kind: Kind, items: Sequence[Item], vectors: Vectors, words: Words | None, reference: Floats | None = None
) -> tuple[Any, dict[str, Floats]]:
    """Return (features of shape (n, d), sparse with words; the parts a person can read)."""
    if not kind.paired:
        return beside(rows_of(items, vectors)[0], [item.texts[0].text for item in items], words), {}
    if words is None or reference is None:
        raise IntegrityError("a head over pairs needs word weights and reference: the model's files are not complete")
    parts = {
        "cosine": cosine(items, vectors),
        "tfidf": words.cosines([item.texts[0].text for item in items], [item.texts[1].text for item in items]),
        "density": density(items, vectors, reference),
    }
    return np.column_stack(list(parts.values())).astype(np.float64), parts


NEAREST = 10
SAME = 0.9999


def density(items: Sequence[Item], vectors: Vectors, reference: Floats) -> Floats:
    """Return how crowded it is around the two records of each pair, shape (n,): their mean cosine to neighbours.

    The mean over a record's 10 nearest reference records, itself left out. A cosine of 0.5 says much
    between two lonely records and little in a crowd (CSLS: Conneau et al., ICLR 2018, §2.3).
    """
    known: dict[str, float] = {}
    where = {one: row for row, one in enumerate(vectors.ids)}
    ids = list(dict.fromkeys(text.id for item in items for text in item.texts))
    for start in range(0, len(ids), 2000):
        block = ids[start : start + 2000]
        near = vectors.array[[where[one] for one in block]] @ reference.T
        near = np.sort(np.where(near > SAME, -1.0, near), axis=1)[:, -NEAREST:]
        there = near > -1.0
        mean = np.where(there, near, 0.0).sum(axis=1) / np.maximum(there.sum(axis=1), 1)
        known.update(zip(block, mean.tolist(), strict=True))
    return np.array([sum(known[text.id] for text in item.texts) / 2 for item in items], dtype=np.float32)


def beside(vectors: Floats, texts: Sequence[str], words: Words | None) -> Any:
    """Return encoder vectors with the texts' TF-IDF rows beside them, shape (n, d + 65,536), or vectors alone."""
    dense = vectors.astype(np.float64)
    if words is None:
        return dense
    from scipy.sparse import csr_matrix, hstack

    return hstack([csr_matrix(dense), words.rows(texts)], format="csr")


@dataclass(frozen=True)
class WordHead:
    """TF-IDF and a linear model: the baseline without any encoder."""

    kind: Kind
    schema: Schema
    words: Words
    model: Any
    thresholds: Floats

    @property
    def name(self) -> str:
        """Always the same."""
        return "tfidf"

    @classmethod
    def fit(
        cls, kind: Kind, schema: Schema, items: Sequence[Item], labels: Sequence[Label], *, corpus: Sequence[str]
    ) -> WordHead:
        """Learn from the labels; for pairs only the scale of the TF-IDF cosine is learnt."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import StratifiedKFold, cross_val_predict

        words = Words.fit(corpus)
        truth = kind.targets(schema, [label.value for label in labels])
        plain = kind.plain(schema)
        if kind.paired:
            near = words.cosines([item.texts[0].text for item in items], [item.texts[1].text for item in items])
            scale = platt(truth[:, 0], near * 10.0)
            values = sigmoid(scale[0] * near * 10.0 + scale[1])[:, None].astype(np.float32)
            return cls(kind, schema, words, scale, fit_thresholds(kind, truth, values))
        made = words.rows([item.texts[0].text for item in items])
        models: list[Any] = []
        outside = np.zeros(truth.shape, dtype=np.float32)
        for j, column in enumerate(truth.T):
            if not column.any() or column.all():
                models.append(float(column.mean()))
                continue
            model = LogisticRegression(C=10.0, class_weight="balanced", max_iter=2000)
            count = min(5, int(column.sum()), int((~column).sum()))
            if count > 1:
                found = cross_val_predict(model, made, column, cv=StratifiedKFold(count), method="predict_proba")
                outside[:, j] = found[:, 1]
            models.append(model.fit(made, column))
        # as fair a rival as the head: its thresholds are fitted out of fold, too
        return cls(kind, schema, words, models, plain if kind.single else fit_thresholds(kind, truth, outside))

    def score(self, items: Sequence[Item], vectors: Vectors) -> Scores:
        """Return probabilities, shape (n, k)."""
        if self.kind.paired:
            near = self.words.cosines([item.texts[0].text for item in items], [item.texts[1].text for item in items])
            values = sigmoid(self.model[0] * near * 10.0 + self.model[1])[:, None]
            return _scores(self.kind, self.schema, items, values, self.name, {"tfidf": near})
        made = self.words.rows([item.texts[0].text for item in items])
        columns = [np.full(len(items), m) if isinstance(m, float) else m.predict_proba(made)[:, 1] for m in self.model]
        values = np.column_stack(columns)
        if self.kind.single:
            values = values / np.maximum(values.sum(axis=1, keepdims=True), 1e-9)
        return _scores(self.kind, self.schema, items, values, self.name, {})
