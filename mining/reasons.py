"""Every reason to ask by its name: what a quota in project.toml, a note in a batch and a replay's mix mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from toughcall.mining import pair_strategies, rare, strategies
from toughcall.mining.boundary import boundary
from toughcall.mining.typical import diverse
from toughcall.records import Pick, Scores

STRATEGIES: dict[str, Callable[..., list[Pick]]] = {
    "boundary": boundary,
    "in_band": strategies.in_band,
    "margin": strategies.margin,
    "entropy": strategies.entropy,
    "committee": strategies.committee,
    "class_balanced": strategies.class_balanced,
    "rare_class": strategies.rare_class,
    "known_neighbours": rare.known_neighbours,
    "seeds": rare.seeds,
    "patterns": rare.patterns,
    "diverse": diverse,
    "disagreement": strategies.disagreement,
    "anchors": pair_strategies.anchors,
    "missed": pair_strategies.missed,
    "spread": strategies.spread,
}
"""All but the random audit, which is no ranking (`strategies.random_audit`)."""


def choose(reason: str, scores: Scores, n: int, *, rng: np.random.Generator, **context: Any) -> list[Pick]:
    """Return the picks of one named reason; KeyError for a name that is none."""
    return STRATEGIES[reason](scores, n, rng=rng, **context)
