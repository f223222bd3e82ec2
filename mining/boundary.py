"""The decision's own edge: for each class in turn, the items that it is hardest to say yes or no about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from toughcall.mining.ranking import best, turns
from toughcall.mining.strategies import exclusive
from toughcall.records import Floats, Pick, Reals, Scores

STEEP = 0.05
"""A threshold nearer to 0 or 1 than this counts as this: out there logits run away."""


def boundary(
    scores: Scores,
    n: int,
    *,
    rng: np.random.Generator,
    counts: Mapping[str, int] | None = None,
    thresholds: Sequence[float] | Floats | None = None,
    **_: Any,
) -> list[Pick]:
    """Return the items nearest to the decision of some class, the classes taking turns, rare ones more often.

    What decides is the model's own threshold of a class, not 0.5: a rare class is decided at 0.2, and there its
    doubt lies. Of independent columns the distance is |logit p − logit threshold|; where the columns share one
    unit of probability it is how far a class is from its strongest rival, each divided by its threshold. A
    class's share of turns is proportional to 1 / √(1 + its labels). `thresholds`: one for each column in [0, 1],
    0.5 without. Margin sampling (Scheffer, Decomain and Wrobel 2001) asked for one class at a time.
    """
    width = scores.values.shape[1]
    cut = np.full(width, 0.5) if thresholds is None else np.asarray(thresholds, dtype=np.float64)
    if cut.shape != (width,):
        raise ValueError(f"{cut.shape} thresholds for {width} columns")
    have = counts or {}
    shared = exclusive(scores.values)
    merits = _rivals(scores.values, cut) if shared else _distances(scores.values, cut)
    column = {label: place for place, label in enumerate(scores.labels)}

    def note(row: int, place: int) -> str:
        p, name = scores.values[row, place], scores.labels[place]
        if not shared:
            return f"P({name}) = {p:.2f}, decided at {cut[place]:.2f}"
        others = np.where(np.arange(width) == place, -1.0, scores.values[row] / np.maximum(cut, 1e-6))
        other = int(np.argmax(others))
        return f"{name} {p:.2f} against {scores.labels[other]} {scores.values[row, other]:.2f}"

    def found(label: str, k: int) -> list[Pick]:
        place = column[label]
        rows = best(np.ascontiguousarray(merits[:, place]), scores.ids, k).tolist()
        p = scores.values[:, place]
        return [Pick(scores.ids[row], "boundary", float(p[row]), 0, 1.0, note(row, place)) for row in rows]

    return turns({label: (1.0 + have.get(label, 0)) ** -0.5 for label in scores.labels}, found, n, len(scores.ids))


def _distances(values: Floats, cut: Reals) -> Reals:
    """Return minus the distance to each column's threshold on the logit scale, shape (n, k)."""
    p = np.clip(np.round(values.astype(np.float64), 6), 1e-6, 1.0 - 1e-6)
    edge = np.clip(cut, STEEP, 1.0 - STEEP)
    return np.asarray(-np.abs(np.log(p / (1.0 - p)) - np.log(edge / (1.0 - edge))))


def _rivals(values: Floats, cut: Reals) -> Reals:
    """Return min(own, rival) / (own + rival) for each column, shape (n, k): 0.5 where both are level."""
    weighed = np.round(values.astype(np.float64), 6) / np.maximum(cut, 1e-6)
    last = weighed.shape[1] - 2
    top = np.partition(weighed, last, axis=1)[:, last:]
    rival = np.where(weighed == top[:, 1:], top[:, :1], top[:, 1:])
    return np.asarray(np.minimum(weighed, rival) / np.maximum(weighed + rival, 1e-12))
