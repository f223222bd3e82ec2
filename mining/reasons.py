"""Every reason to ask by its name: what a quota in project.toml, a note in a batch and a replay's mix mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from toughcall.mining import pair_strategies, rare, strategies
from toughcall.mining.boundary import boundary
from toughcall.records import Pick, Scores

STRATEGIES: dict[str, Callable[..., list[Pick]]] = {
    "boundary": boundary,
    **strategies.STRATEGIES,
    **rare.RARE,
    "anchors": pair_strategies.anchors,
    "missed": pair_strategies.missed,
}
"""All but the random audit, which is no ranking (`strategies.random_audit`)."""


def choose(reason: str, scores: Scores, n: int, *, rng: np.random.Generator, **context: Any) -> list[Pick]:
    """Return the picks of one named reason; KeyError for a name that is none."""
    return STRATEGIES[reason](scores, n, rng=rng, **context)
