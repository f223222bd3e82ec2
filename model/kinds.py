"""The kinds of work: how an answer becomes numbers, how numbers become an answer, what is measured.

A kind is one class here and one labelling template; nothing else asks which kind it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from toughcall.records import Floats, Schema, UsageError, Value

Bools = NDArray[np.bool_]
Reals = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Kind:
    """What every kind answers. `columns` are the probabilities a model gives, shape (n, k)."""

    name: ClassVar[str] = ""
    single: ClassVar[bool] = True
    paired: ClassVar[bool] = False
    primary: ClassVar[str] = "macro_f1"
    """The gate's metric: `macro_f1` or `roc_auc`."""
    default_labels: ClassVar[tuple[str, ...]] = ()
    warm: ClassVar[bool] = False
    """Whether the untouched encoder already does the task itself, so that its doubt means something."""

    def schema(self, labels: Sequence[str], *, guideline: str = "", hints: Sequence[str] = ()) -> Schema:
        """Return the schema of this kind for some labels."""
        return Schema(self.name, tuple(labels), self.single, guideline, tuple(hints))

    def columns(self, schema: Schema) -> tuple[str, ...]:
        """Return the labels a model gives a probability for."""
        return schema.labels

    def targets(self, schema: Schema, values: Sequence[Value]) -> Bools:
        """Return which columns are true for each answer, shape (n, k)."""
        columns = self.columns(schema)
        return np.array([[label in value for label in columns] for value in values], dtype=bool).reshape(
            len(values), len(columns)
        )

    def chosen(self, values: Reals, thresholds: Reals) -> Bools:
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

    def uncertainty(self, values: Reals) -> Floats:
        """Return the doubt of each row in [0, 1], shape (n,): 1 when some column stands at 0.5."""
        return np.asarray((1.0 - 2.0 * np.abs(values - 0.5)).max(axis=1), dtype=np.float32)


class Multilabel(Kind):
    """A text gets any number of labels, possibly none."""

    name = "multilabel"
    single = False


class Multiclass(Kind):
    """A text gets one label."""

    name = "multiclass"

    def chosen(self, values: Reals, thresholds: Reals) -> Bools:
        """Return one true column a row: the greatest probability in proportion to its threshold, ties to the first.

        Equal thresholds are plain argmax; a lower threshold lets a rare class win earlier.
        """
        best = np.argmax(values / np.maximum(thresholds, 1e-6), axis=1)
        out = np.zeros(values.shape, dtype=bool)
        out[np.arange(len(values)), best] = True
        return out

    def uncertainty(self, values: Reals) -> Floats:
        """Return how close the two likeliest classes are, in [0, 1]: 1 when they are equal."""
        top = np.sort(values, axis=1)[:, -2:]
        share = top[:, 1] / np.maximum(top.sum(axis=1), 1e-9)
        return np.asarray(np.minimum(2.0 * (1.0 - share), 1.0), dtype=np.float32)


class PairKind(Kind):
    """Two records are similar or not. One column: the probability of the first label."""

    name = "pair"
    paired = True
    warm = True
    primary = "roc_auc"
    default_labels = ("similar", "not_similar")

    def columns(self, schema: Schema) -> tuple[str, ...]:
        """Return the first label alone: the other one is its complement."""
        return schema.labels[:1]

    def decode(self, schema: Schema, values: Reals, thresholds: Reals) -> list[Value]:
        """Return the first label at or above the threshold, else the second."""
        return [(schema.labels[0 if yes else 1],) for yes in self.chosen(values, thresholds)[:, 0]]


KINDS: dict[str, Kind] = {kind.name: kind for kind in (Multilabel(), Multiclass(), PairKind())}


def get(name: str) -> Kind:
    """Return a kind by name; UsageError names the nearest."""
    if name in KINDS:
        return KINDS[name]
    import difflib

    near = difflib.get_close_matches(name, KINDS, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise UsageError(f"no kind of work {name!r}{hint}: choose {', '.join(sorted(KINDS))}")
