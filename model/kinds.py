"""The kinds of work: how an answer becomes numbers, how numbers become an answer, what is learnt and measured.

A kind is one class here and one labelling template; nothing else asks which kind it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from toughcall.model import linear
from toughcall.model.calibration import Calibration, sigmoid, softmax
from toughcall.model.features import SURFACE, beside, cosine, pair_parts, rows_of, span_types, span_words, surface
from toughcall.model.kind import Exclusive, Kind, masked
from toughcall.model.linear import Extra, Rows, Setting
from toughcall.model.thresholds import Cut
from toughcall.model.words import Words
from toughcall.questions import near
from toughcall.records import Bools, Floats, IntegrityError, Item, Reals, Scores, UsageError, Value, Vectors
from toughcall.schema import Schema, numbers_of

COVER, ERROR_STRENGTH = 0.9, 0.03
"""How much a prediction interval of numbers covers, and how free the ridge is that learns its width."""


class Multilabel(Kind):
    """A text gets any number of labels, possibly none: nobody answering is not the same as none of them."""

    name = "multilabel"
    single = False
    hinted = True

    def too_few(self, counts: Mapping[str, int], n: int) -> bool:
        """Return whether no label has two texts that have it and two that do not."""
        return not any(2 <= count <= n - 2 for count in counts.values())

    def untouched(
        self, schema: Schema, items: Sequence[Item], vectors: Vectors, hints: Floats
    ) -> tuple[Reals, dict[str, Floats]]:
        """Return how far each label stands out of its row of cosines."""
        near = rows_of(items, vectors)[0] @ hints.T
        spread = near.std(axis=1, keepdims=True) + 1e-6
        return sigmoid(4.0 * ((near - near.mean(axis=1, keepdims=True)) / spread - 1.0)), {}


class Multiclass(Exclusive):
    """A text gets one label; labels may be nested under coarse classes."""

    name = "multiclass"
    hinted = True

    def untouched(
        self, schema: Schema, items: Sequence[Item], vectors: Vectors, hints: Floats
    ) -> tuple[Reals, dict[str, Floats]]:
        """Return a softmax of the cosines at 0.05, the temperature contrastive encoders are trained with."""
        return softmax(rows_of(items, vectors)[0] @ hints.T / 0.05), {}


class RelationKind(Exclusive):
    """A text with two marked spans gets one relation, among those that the types of its spans allow."""

    name = "relation"
    items = "relations"
    spanned = True
    default_null = "NO_RELATION"
    # with few labels the rule in the loss costs more than it gives: what was learnt of one pair of types is lost
    # to the others; with many it may pay
    settings: ClassVar[Sequence[Setting]] = (
        *Kind.settings,
        *(Setting(c, balanced, masked=True) for c in (3.0, 30.0) for balanced in (False, True)),
    )
    fewer: ClassVar[Sequence[Setting]] = tuple(Setting(c, False, one) for one in (False, True) for c in (3.0, 10.0))

    def legal(self, schema: Schema, items: Sequence[Item]) -> Bools | None:
        """Return which relations the types of each item's spans allow."""
        if not schema.types:
            return None
        offered = [set(schema.offered(item)) for item in items]
        return np.array([[label in one for label in schema.labels] for one in offered], dtype=bool).reshape(
            len(items), len(schema.labels)
        )

    def untouched(
        self, schema: Schema, items: Sequence[Item], vectors: Vectors, hints: Floats
    ) -> tuple[Reals, dict[str, Floats]]:
        """Return a softmax of the cosines between the words that join the spans and each description."""
        near = rows_of(items, vectors)[1] @ hints.T / 0.05
        return self.link(masked(near, self.legal(schema, items))), {}

    def words_of(self, items: Sequence[Item]) -> list[str]:
        """Return the words between and around the spans, each with its place."""
        return span_words(items)

    def features(
        self, items: Sequence[Item], vectors: Vectors, words: Words | None, reference: Floats | None
    ) -> tuple[Rows, dict[str, Floats]]:
        """Return the vector of what joins the spans, and words: those of the passage, and those of the types."""
        made = beside(rows_of(items, vectors)[1], self.words_of(items), words)
        return (made if words is None else Rows(made.dense, made.words + words.rows(span_types(items)))), {}


class PairKind(Kind):
    """Two records are similar or not, optionally with a grade. One column: the probability of the first label."""

    name = "pair"
    items = "pairs"
    numbered = True
    paired = True
    warm = True
    quotas: ClassVar[Mapping[str, float]] = {
        "in_band": 0.35,
        "anchors": 0.1,
        "missed": 0.05,
        "disagreement": 0.1,
        "rare_class": 0.1,
        "diverse": 0.15,
        "random_audit": 0.15,
    }
    reasons = (*Kind.reasons, "anchors", "missed")
    default_labels = ("similar", "not_similar")

    def columns(self, schema: Schema) -> tuple[str, ...]:
        """Return the first label alone: the other one is its complement."""
        return schema.labels[:1]

    def metric(self, schema: Schema) -> str:
        """Return ROC-AUC: pairs are ranked."""
        return "roc_auc"

    def decode(self, schema: Schema, values: Reals, thresholds: Reals) -> list[Value]:
        """Return the first label at or above the threshold, else the second."""
        return [(schema.labels[0 if yes else 1],) for yes in self.chosen(values, thresholds)[:, 0]]

    def untouched(
        self, schema: Schema, items: Sequence[Item], vectors: Vectors, hints: Floats
    ) -> tuple[Reals, dict[str, Floats]]:
        """Return the cosine of both records, cut to [0, 1]."""
        found = cosine(items, vectors)
        return np.maximum(found, 0.0)[:, None], {"cosine": found}

    def features(
        self, items: Sequence[Item], vectors: Vectors, words: Words | None, reference: Floats | None
    ) -> tuple[Rows, dict[str, Floats]]:
        """Return three figures a pair: the encoder's cosine, the words' cosine, and how crowded it is around both."""
        if words is None or reference is None:
            raise IntegrityError("a head over pairs needs word weights and reference: the model's files are incomplete")
        parts = pair_parts(items, vectors, words, reference)
        return Rows(np.column_stack(list(parts.values())).astype(np.float64)), parts

    def scaling(self, dense: Reals) -> tuple[Reals, Reals]:
        """Return mean and deviation: the three figures live on different scales."""
        return dense.mean(axis=0), dense.std(axis=0) + 1e-6

    def figure(self, truth: Any, logits: Reals) -> float:
        """Return ROC-AUC, 0 with one class only."""
        from sklearn.metrics import roc_auc_score

        return float(roc_auc_score(truth[:, 0], logits[:, 0])) if 0 < truth.sum() < len(truth) else 0.0


class ScoresKind(Kind):
    """A text gets a number on each of some dimensions. Columns are shares of each dimension's range."""

    name = "scores"
    single = False
    labelled = False
    numbered = True
    least = "at least 10 answers on one dimension"
    quotas: ClassVar[Mapping[str, float]] = {"spread": 0.4, "diverse": 0.35, "random_audit": 0.25}
    reasons = tuple(quotas)
    settings: ClassVar[Sequence[Setting]] = tuple(Setting(c) for c in (0.1, 0.3, 1.0, 3.0, 10.0, 30.0))
    fewer = settings

    def columns(self, schema: Schema) -> tuple[str, ...]:
        """Return the names of the dimensions."""
        return tuple(d.name for d in schema.dimensions)

    def metric(self, schema: Schema) -> str:
        """Return the weighted mean absolute error: smaller is better."""
        return "weighted_mae"

    def targets(self, schema: Schema, values: Sequence[Value]) -> Reals:
        """Return the numbers as shares of their range, NaN where a dimension was not answered."""
        given = [numbers_of(value) for value in values]
        return np.array(
            [[(one.get(d.name, np.nan) - d.low) / (d.high - d.low) for d in schema.dimensions] for one in given]
        ).reshape(len(values), len(schema.dimensions))

    def strata(self, truth: Any) -> Bools:
        """Return which numbers lie above their dimension's median."""
        middle = [np.median(column[np.isfinite(column)]) if np.isfinite(column).any() else 0.0 for column in truth.T]
        return np.asarray(np.nan_to_num(truth) > np.array(middle))

    def features(
        self, items: Sequence[Item], vectors: Vectors, words: Words | None, reference: Floats | None
    ) -> tuple[Rows, dict[str, Floats]]:
        """Return the text's vector, how it is written, and its words."""
        texts = self.words_of(items)
        return beside(np.hstack([surface(texts, words), rows_of(items, vectors)[0]]), texts, words), {}

    def scaling(self, dense: Reals) -> tuple[Reals, Reals]:
        """Return mean and deviation of the figures of writing, so that together they weigh twice a unit vector."""
        mean, scale = super().scaling(dense)
        mean[:SURFACE] = dense[:, :SURFACE].mean(axis=0)
        scale[:SURFACE] = (dense[:, :SURFACE].std(axis=0) + 1e-6) * np.sqrt(SURFACE) / 2.0
        return mean, scale

    def plain(self, schema: Schema) -> Floats:
        """Return the grid that answers lie on, as a share of each range; 0 = any number."""
        return np.array([d.step / (d.high - d.low) for d in schema.dimensions], dtype=np.float32)

    def chosen(self, values: Reals, thresholds: Reals) -> Reals:
        """Return the numbers on the grid of their answers."""
        step = np.where(thresholds > 0, thresholds, 1.0)
        return np.where(thresholds > 0, np.clip(np.round(values / step) * step, 0.0, 1.0), values)

    def decode(self, schema: Schema, values: Reals, thresholds: Reals) -> list[Value]:
        """Return the predicted number on each dimension."""
        return [
            tuple(
                (d.name, min(max(float(d.low + float(share) * (d.high - d.low)), d.low), d.high))
                for d, share in zip(schema.dimensions, row, strict=True)
            )
            for row in self.chosen(values, thresholds)
        ]

    def uncertainty(self, scores: Scores) -> Floats:
        """Return half the width of each row's 90 % interval (`spread`, a share of the range); 0 where no model says."""
        return np.asarray(scores.parts.get("spread", np.zeros(len(scores.ids))), dtype=np.float32)

    def too_few(self, counts: Mapping[str, int], n: int) -> bool:
        """Return whether no dimension has ten numbers."""
        return max(counts.values(), default=0) < 10

    def untouched(
        self, schema: Schema, items: Sequence[Item], vectors: Vectors, hints: Floats
    ) -> tuple[Reals, dict[str, Floats]]:
        """Return the middle of each range: without a label an encoder knows nothing about a scale."""
        return np.full((len(items), len(schema.dimensions)), 0.5), {}

    def constant(self, truth: Any) -> Floats:
        """Return the mean of each dimension, the middle where nobody answered."""
        found = [column[np.isfinite(column)] for column in truth.T]
        return np.array([column.mean() if len(column) else 0.5 for column in found], dtype=np.float32)

    def fit(self, x: Rows, truth: Any, at: Setting, extra: Extra | None, legal: Bools | None) -> tuple[Reals, Reals]:
        """Return the weights of one ridge regression a dimension, each over the rows where it was answered."""
        return linear.ridge(x, truth, at.strength)

    def figure(self, truth: Any, logits: Reals) -> float:
        """Return minus the mean absolute error over the dimensions that were answered."""
        gaps = np.abs(self.link(logits) - truth)
        return -float(np.nanmean(gaps)) if np.isfinite(gaps).any() else 0.0

    def expected_error(self, x: Rows, truth: Any, values: Reals) -> tuple[Reals, Reals] | None:
        """Return weights whose output is the half width of a 90 % prediction interval, as a share of the range.

        Locally weighted conformal intervals (Lei et al., JASA 113, 2018, §5.2): a second ridge learns the size
        of the out-of-fold errors, and is scaled by the 0.9 quantile of error over expected error.
        """
        gaps = np.abs(truth - values)
        coef, bias = linear.ridge(x, gaps, ERROR_STRENGTH)
        expected = np.maximum(x @ coef.T + bias, 0.01)
        share = np.where(np.isfinite(gaps).any(axis=0), gaps / expected, 1.0)
        scale = np.nanquantile(share, COVER, axis=0)
        return coef * scale[:, None], bias * scale

    def calibrate(self, truth: Any, logits: Reals) -> tuple[Reals, Reals]:
        """Return slope 1 and offset 0: the numbers are on their scale already."""
        return np.ones(truth.shape[1]), np.zeros(truth.shape[1])

    def calibration(self, truth: Any, logits: Reals, fold: Any) -> Calibration:
        """Return slope 1 and offset 0: the numbers are on their scale already."""
        return Calibration(*self.calibrate(truth, logits))

    def link(self, logits: Reals) -> Reals:
        """Return the numbers cut to their range."""
        return np.clip(logits, 0.0, 1.0)

    def thresholds(self, schema: Schema, truth: Any, values: Reals, seed: int) -> Reals:
        """Return the grid of the answers."""
        return self.plain(schema)

    def cuts(self, schema: Schema, truth: Any, values: Reals, seed: int) -> tuple[Reals, tuple[Cut, ...]]:
        """Return the grid; nothing is fitted."""
        return self.plain(schema), ()


KINDS: dict[str, Kind] = {
    kind.name: kind for kind in (Multilabel(), Multiclass(), RelationKind(), PairKind(), ScoresKind())
}


def get(name: str) -> Kind:
    """Return a kind by name; UsageError names the nearest."""
    if name not in KINDS:
        raise UsageError(f"no kind of work {name!r}{near(name, KINDS)}: choose {', '.join(sorted(KINDS))}")
    return KINDS[name]
