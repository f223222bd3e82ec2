"""What every kind of work answers, and what kinds share in which one label excludes the others."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from toughcall.model import linear
from toughcall.model.calibration import Calibration, chosen_calibration, platt, sigmoid, softmax, temperature
from toughcall.model.features import beside, rows_of
from toughcall.model.linear import Extra, Rows, Setting
from toughcall.model.thresholds import Cut, fit_thresholds, macro_f1, shifted
from toughcall.model.words import Words
from toughcall.records import Bools, Floats, Item, Reals, Scores, Value, Vectors
from toughcall.schema import Schema

MIXED = {"boundary": 0.45, "in_band": 0.05, "rare_class": 0.05, "diverse": 0.35, "random_audit": 0.1}
"""What docs/decisions/0015 measured: on four sets no other mix of these reasons was better on all of them."""
LOOKING = ("rare_class", "class_balanced", "known_neighbours", "seeds", "patterns")
DOUBTING = ("boundary", "in_band", "margin", "entropy", "committee", "disagreement")


def masked(logits: Reals, legal: Bools | None) -> Reals:
    """Return logits with minus infinity where a column is not legal for a row."""
    return logits if legal is None else np.where(legal, logits, -np.inf)


@dataclass(frozen=True)
class Kind(ABC):
    """What every kind answers. `columns` are the outputs of a model, shape (n, k), each in [0, 1]."""

    name: ClassVar[str] = ""
    items: ClassVar[str] = "texts"
    """Where the pool keeps what is asked: `texts`, `pairs` or `relations`."""
    single: ClassVar[bool] = True
    labelled: ClassVar[bool] = True
    numbered: ClassVar[bool] = False
    spanned: ClassVar[bool] = False
    paired: ClassVar[bool] = False
    """Whether items are mined from records, two by two."""
    warm: ClassVar[bool] = False
    """Whether the untouched encoder already does the task itself, so that its doubt means something."""
    hinted: ClassVar[bool] = False
    """Whether a label's description can stand as an example of the label."""
    least: ClassVar[str] = "at least two classes with 2 labels each"
    """What training needs, in words: the opposite of `too_few`."""
    default_labels: ClassVar[tuple[str, ...]] = ()
    default_null: ClassVar[str] = ""
    quotas: ClassVar[Mapping[str, float]] = MIXED
    reasons: ClassVar[Sequence[str]] = (*DOUBTING, *LOOKING, "diverse", "random_audit")
    """What may have a quota."""
    settings: ClassVar[Sequence[Setting]] = tuple(Setting(c, b) for c in (1.0, 3.0, 10.0, 30.0) for b in (False, True))
    fewer: ClassVar[Sequence[Setting]] = tuple(Setting(c) for c in (1.0, 3.0, 10.0))
    """What is tried where many labels make every setting slow and balancing pointless."""

    def schema(self, labels: Sequence[str], *, guideline: str = "", hints: Sequence[str] = (), **more: Any) -> Schema:
        """Return the schema of this kind for some labels; `more` are other fields of `Schema`."""
        more.setdefault("null", self.default_null if self.default_null in labels else "")
        return Schema(self.name, tuple(labels), self.single, guideline, tuple(hints), **more)

    def columns(self, schema: Schema) -> tuple[str, ...]:
        """Return the names of a model's outputs."""
        return schema.labels

    def metric(self, schema: Schema) -> str:
        """Return the name of the gate's metric (a key of `evaluate.METRICS`)."""
        return "positive_macro_f1" if schema.null else "macro_f1"

    def legal(self, schema: Schema, items: Sequence[Item]) -> Bools | None:
        """Return which columns each item may have, shape (n, k); None when all may have all."""
        return None

    def targets(self, schema: Schema, values: Sequence[Value]) -> Any:
        """Return what each answer says, shape (n, k): which columns are true, or numbers with NaN where unanswered."""
        columns = self.columns(schema)
        return np.array([[label in value for label in columns] for value in values], dtype=bool).reshape(
            len(values), len(columns)
        )

    def strata(self, truth: Any) -> Bools:
        """Return what folds should hold in equal shares, shape (n, k)."""
        return np.asarray(truth, dtype=bool)

    def chosen(self, values: Reals, thresholds: Reals) -> Any:
        """Return which columns are predicted, shape (n, k): each at or above its own threshold."""
        return np.asarray(values >= thresholds)

    def decode(self, schema: Schema, values: Reals, thresholds: Reals) -> list[Value]:
        """Return the predicted answer of each row."""
        columns = self.columns(schema)
        return [
            tuple(label for label, yes in zip(columns, row, strict=True) if yes)
            for row in self.chosen(values, thresholds)
        ]

    def plain(self, schema: Schema) -> Floats:
        """Return the thresholds of a model that fitted none: 0.5 everywhere."""
        return np.full(len(self.columns(schema)), 0.5, dtype=np.float32)

    def uncertainty(self, scores: Scores) -> Floats:
        """Return the doubt of each row in [0, 1], shape (n,): 1 when some column stands at 0.5."""
        return np.asarray((1.0 - 2.0 * np.abs(scores.values - 0.5)).max(axis=1), dtype=np.float32)

    def too_few(self, counts: Mapping[str, int], n: int) -> bool:
        """Return whether nothing can be learnt from `n` answers with these counts: not two classes with two each."""
        return sum(count >= 2 for count in counts.values()) < 2

    @abstractmethod
    def untouched(
        self, schema: Schema, items: Sequence[Item], vectors: Vectors, hints: Floats
    ) -> tuple[Reals, dict[str, Floats]]:
        """Return (what the encoder as it came says, shape (n, k), from the descriptions' vectors; its parts)."""

    def constant(self, truth: Any) -> Floats:
        """Return what the best constant says, shape (k,): the share of each column, one pseudo-count each way."""
        return np.asarray((truth.sum(axis=0) + 1.0) / (len(truth) + 2.0), dtype=np.float32)

    def words_of(self, items: Sequence[Item]) -> list[str]:
        """Return the words that are read of each item."""
        return [item.texts[0].text for item in items]

    def features(
        self, items: Sequence[Item], vectors: Vectors, words: Words | None, reference: Floats | None
    ) -> tuple[Rows, dict[str, Floats]]:
        """Return (features of shape (n, d), the parts of them that a person can read)."""
        return beside(rows_of(items, vectors)[0], self.words_of(items), words), {}

    def scaling(self, dense: Reals) -> tuple[Reals, Reals]:
        """Return what is taken off each dense column and what it is divided by before fitting, both shape (d,)."""
        return np.zeros(dense.shape[1]), np.ones(dense.shape[1])

    def fit(self, x: Rows, truth: Any, at: Setting, extra: Extra | None, legal: Bools | None) -> tuple[Reals, Reals]:
        """Return (weights of shape (k, d), intercepts of shape (k,))."""
        return linear.one_vs_rest(x, truth, at.strength, at.balanced, extra)

    def figure(self, truth: Any, logits: Reals) -> float:
        """Return what settings are chosen by: mean average precision over columns, greater is better."""
        from sklearn.metrics import average_precision_score

        found = [
            float(average_precision_score(column, value))
            for column, value in zip(truth.T, logits.T, strict=True)
            if column.any() and not column.all()
        ]
        return float(np.mean(found)) if found else 0.0

    def calibrate(self, truth: Any, logits: Reals) -> tuple[Reals, Reals]:
        """Return (slope, offset) of shape (k,) from out-of-fold logits."""
        pairs = [platt(truth[:, j], logits[:, j]) for j in range(truth.shape[1])]
        return np.array([a for a, _ in pairs]), np.array([b for _, b in pairs])

    def calibration(self, truth: Any, logits: Reals, fold: Any) -> Calibration:
        """Return what turns out-of-fold logits into probabilities; `fold`, shape (n,), keeps related rows together."""
        return chosen_calibration(truth, logits, fold)

    def expected_error(self, x: Rows, truth: Any, values: Reals) -> tuple[Reals, Reals] | None:
        """Return (weights, intercepts) of how far off each output will be; None where the outputs say it themselves."""
        return None

    def link(self, logits: Reals) -> Reals:
        """Return the outputs of logits, shape (n, k); minus infinity marks what is not legal."""
        return sigmoid(logits)

    def thresholds(self, schema: Schema, truth: Any, values: Reals, seed: int) -> Reals:
        """Return one threshold per column, shape (k,), from out-of-fold outputs."""
        return self.cuts(schema, truth, values, seed)[0]

    def cuts(self, schema: Schema, truth: Any, values: Reals, seed: int) -> tuple[Reals, tuple[Cut, ...]]:
        """Return (the thresholds, how each came about); nothing of the latter where columns share one fit, or none."""
        return fit_thresholds(truth, values, seed)


class Exclusive(Kind):
    """One label excludes the others: the columns share one unit of probability."""

    def chosen(self, values: Reals, thresholds: Reals) -> Bools:
        """Return one true column a row: the greatest probability in proportion to its threshold, ties to the first.

        Equal thresholds are plain argmax; a lower threshold lets a rare class win earlier.
        """
        best = np.argmax(values / np.maximum(thresholds, 1e-6), axis=1)
        out = np.zeros(values.shape, dtype=bool)
        out[np.arange(len(values)), best] = True
        return out

    def uncertainty(self, scores: Scores) -> Floats:
        """Return how close the two likeliest classes are, in [0, 1]: 1 when they are equal, 0 when none is legal."""
        top = np.sort(scores.values, axis=1)[:, -2:]
        share = np.where(top[:, 1] > 0, top[:, 1] / np.maximum(top.sum(axis=1), 1e-9), 1.0)
        return np.asarray(np.minimum(2.0 * (1.0 - share), 1.0), dtype=np.float32)

    def constant(self, truth: Any) -> Floats:
        """Return the share of each class, one pseudo-count each."""
        return np.asarray((truth.sum(axis=0) + 1.0) / (len(truth) + truth.shape[1]), dtype=np.float32)

    def fit(self, x: Rows, truth: Any, at: Setting, extra: Extra | None, legal: Bools | None) -> tuple[Reals, Reals]:
        """Return the weights of one softmax regression, if so set over the classes that are legal for each row."""
        if at.null >= 0:
            return linear.two_stages(x, truth, at, extra, legal if at.masked else None)
        return linear.multinomial(x, truth, at.strength, at.balanced, extra, legal if at.masked else None)

    def figure(self, truth: Any, logits: Reals) -> float:
        """Return the mean of average precision and macro F1: how classes are ranked, and how they are decided."""
        p = softmax(logits)
        return (super().figure(truth, p) + macro_f1(truth, self.chosen(p, np.full(p.shape[1], 0.5)))) / 2

    def calibrate(self, truth: Any, logits: Reals) -> tuple[Reals, Reals]:
        """Return one temperature over all classes."""
        width = truth.shape[1]
        return np.full(width, 1.0 / temperature(truth, logits)), np.zeros(width)

    def calibration(self, truth: Any, logits: Reals, fold: Any) -> Calibration:
        """Return one temperature over all classes."""
        return chosen_calibration(truth, logits, fold, exclusive=True)

    def link(self, logits: Reals) -> Reals:
        """Return probabilities over the legal classes; none of these is 0, all others are."""
        # a row for which nothing is legal has 0 everywhere, not NaN
        return np.where(np.isneginf(logits), 0.0, np.maximum(softmax(np.maximum(logits, -1e30)), 1e-12))

    def thresholds(self, schema: Schema, truth: Any, values: Reals, seed: int) -> Reals:
        """Return the divisors of `chosen`: rare classes may win earlier, as far as that gains out of fold."""
        return shifted(truth, values, self.chosen)

    def cuts(self, schema: Schema, truth: Any, values: Reals, seed: int) -> tuple[Reals, tuple[Cut, ...]]:
        """Return the divisors; one number moved them all."""
        return self.thresholds(schema, truth, values, seed), ()
