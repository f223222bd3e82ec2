"""Things that give probabilities: the untouched encoder, the trivial and word baselines, the trained head."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from toughcall.model import kinds
from toughcall.model.calibration import stepped
from toughcall.model.kind import Kind, masked
from toughcall.model.linear import Rows, joined
from toughcall.model.words import Words
from toughcall.records import Bools, Floats, IntegrityError, Item, Label, Reals, Scores, Value, Vectors
from toughcall.schema import Schema, schema_from


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


@dataclass(frozen=True)
class Untouched:
    """The encoder as it came: no label is learnt, each kind says what can be had without (`Kind.untouched`)."""

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
        values, parts = self.kind.untouched(self.schema, items, vectors, self.hints)
        return scores_of(self.kind, self.schema, items, values, self.name, parts)


@dataclass(frozen=True)
class Majority:
    """The shares of the training labels, whatever the text: what any model has to beat."""

    kind: Kind
    schema: Schema
    shares: Floats

    @property
    def name(self) -> str:
        """Always the same for a kind."""
        return "majority" if self.kind.labelled else "constant mean"

    @property
    def thresholds(self) -> Floats:
        """0.5 everywhere."""
        return self.kind.plain(self.schema)

    @classmethod
    def fit(cls, kind: Kind, schema: Schema, labels: Sequence[Label]) -> Majority:
        """Return the best constant for some labels."""
        return cls(kind, schema, kind.constant(kind.targets(schema, [label.value for label in labels])))

    def score(self, items: Sequence[Item], vectors: Vectors) -> Scores:
        """Return the same probabilities for every item."""
        values = allowed(self.kind, self.schema, items, np.repeat(self.shares[None, :], len(items), axis=0))
        return scores_of(self.kind, self.schema, items, values, self.name, {})


def scores_of(
    kind: Kind, schema: Schema, items: Sequence[Item], values: Any, name: str, parts: Mapping[str, Floats]
) -> Scores:
    """Return outputs of shape (n, k) as the scores of items."""
    return Scores(
        tuple(item.id for item in items), kind.columns(schema), np.asarray(values, dtype=np.float32), name, parts
    )


def allowed(kind: Kind, schema: Schema, items: Sequence[Item], values: Reals) -> Reals:
    """Return probabilities with 0 where a label is not legal for an item, rows summing to what they did."""
    legal = kind.legal(schema, items)
    if legal is None:
        return values
    kept = np.where(legal, np.maximum(values, 1e-12), 0.0)
    return np.asarray(kept * (values.sum(axis=1) / np.maximum(kept.sum(axis=1), 1e-12))[:, None])


@dataclass(frozen=True)
class Head:
    """A linear head on frozen features, with its calibration and thresholds: what training makes and serving loads.

    What it reads is said by `Kind.features`.
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
    knots: Floats | None = None
    """Points that probabilities follow after the line of slope and offset, shape (k, m, 2); None = the line alone."""
    spread: Floats | None = None
    """Numbers: weights and intercept of half the 90 % interval on each dimension, shape (k, d + 1)."""
    null: int = -1
    """Of a head in two stages the column that says "none of the others"; -1 = in one (`linear.joined`)."""
    recipe: str = "head"
    name: str = "head"
    blind: bool = False
    """A baseline that reads words alone: every vector it is given counts as empty."""

    def score(self, items: Sequence[Item], vectors: Vectors) -> Scores:
        """Return calibrated probabilities, shape (n, k)."""
        if self.blind:
            vectors = Vectors(vectors.ids, vectors.array[:, :0], vectors.encoder)
        return self.scored(items, *self.kind.features(items, vectors, self.words, self.reference))

    def raw(self, made: Rows, legal: Bools | None = None) -> Reals:
        """Return calibrated logits from features, shape (n, k); `legal` says which columns each row may have."""
        found = made @ self.coef.T.astype(np.float64) + self.intercept
        if self.null >= 0:
            found = joined(found, self.null, legal)
        return np.asarray(found * self.slope + self.offset)

    def widths(self, made: Rows) -> dict[str, Floats]:
        """Return the half width of each row's 90 % interval, shape (n,), where the head gives numbers."""
        if self.spread is None:
            return {}
        error = made @ self.spread[:, :-1].T.astype(np.float64) + self.spread[:, -1]
        return {"spread": np.clip(error, 0.0, 1.0).mean(axis=1).astype(np.float32)}

    def scored(self, items: Sequence[Item], made: Rows, parts: dict[str, Floats]) -> Scores:
        """Return calibrated probabilities from features, shape (n, k), with the parts the features were made of."""
        legal = self.kind.legal(self.schema, items)
        values = stepped(self.kind.link(masked(self.raw(made, legal), legal)), self.knots)
        return scores_of(self.kind, self.schema, items, values, self.name, parts | self.widths(made))

    def arrays(self) -> dict[str, Floats]:
        """Return everything that was learnt, by name, for safetensors."""
        found = {name: np.ascontiguousarray(getattr(self, name), dtype=np.float32) for name in self.LEARNT}
        if self.words is not None:
            found["idf"] = self.words.idf
        for name in ("reference", "spread", "knots"):
            if getattr(self, name) is not None:
                found[name] = np.ascontiguousarray(getattr(self, name), dtype=np.float32)
        return found

    def config(self) -> dict[str, Any]:
        """Return what arrays cannot hold, as JSON."""
        return {
            "recipe": self.recipe,
            "null": self.null,
            "schema": dataclasses.asdict(self.schema),
            "columns": list(self.kind.columns(self.schema)),
        }

    @classmethod
    def restore(cls, config: Mapping[str, Any], arrays: Mapping[str, Floats], name: str) -> Head:
        """Build a head from its files; IntegrityError when labels and widths do not fit together."""
        schema = schema_from(config["schema"])
        kind = kinds.get(schema.kind)
        columns = kind.columns(schema)
        if list(columns) != list(config["columns"]) or arrays["coef"].shape[0] != len(columns):
            raise IntegrityError(f"model {name} has {arrays['coef'].shape[0]} outputs and {len(columns)} labels")
        words = Words(arrays["idf"]) if "idf" in arrays else None
        learnt: dict[str, Any] = {key: arrays[key] for key in cls.LEARNT}
        return cls(
            kind,
            schema,
            words=words,
            reference=arrays.get("reference"),
            spread=arrays.get("spread"),
            knots=arrays.get("knots"),
            null=int(config.get("null", -1)),
            recipe=str(config["recipe"]),
            name=name,
            **learnt,
        )
