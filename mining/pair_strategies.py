"""Reasons to ask about a pair outside the uncertain band: the whole range of scores, and what no retriever finds.

Each is a pure function Scores → ranked Picks, as in `strategies`; ties are decided by id.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from toughcall.records import Pick, Scores

STEPS = 10
"""The range of the probability is cut into this many strata."""


def anchors(
    scores: Scores, n: int, *, rng: np.random.Generator, low: float = 0.4, high: float = 0.6, **_: Any
) -> list[Pick]:
    """Return items outside the band [low, high], evenly from each tenth of the probability, uniform within it.

    A loss over cosines needs pairs from the whole range, not only doubtful ones. The strata take turns; what an
    empty one cannot give goes to the others. Only the first column counts: P(similar). A pick's probability is
    the share of its stratum that was drawn.
    """
    values = np.round(scores.values[:, 0].astype(np.float64), 6) if scores.ids else np.zeros(0)
    rows = sorted(range(len(values)), key=lambda row: scores.ids[row])
    outside = [row for row in rows if not round(low, 6) <= values[row] <= round(high, 6)]
    strata: dict[int, list[int]] = {}
    for row in outside:
        strata.setdefault(min(STEPS - 1, int(values[row] * STEPS + 1e-9)), []).append(row)
    # from both ends inwards: the ends anchor the range
    order = sorted(strata, key=lambda step: (-abs(2 * step + 1 - STEPS), step))
    drawn = {step: [strata[step][int(i)] for i in rng.permutation(len(strata[step]))] for step in sorted(strata)}
    turns = [(turn, step) for turn in range(n) for step in order if turn < len(drawn[step])][:n]
    taken = {step: sum(other == step for _, other in turns) for step in order}
    picks = []
    for rank, (turn, step) in enumerate(turns):
        row = drawn[step][turn]
        note = f"P = {values[row]:.2f}, an anchor: {taken[step]} of {len(drawn[step])} between {step / STEPS:g} and "
        note += f"{(step + 1) / STEPS:g}"
        picks.append(Pick(scores.ids[row], "anchors", float(values[row]), rank, taken[step] / len(drawn[step]), note))
    return picks


def missed(
    scores: Scores, n: int, *, rng: np.random.Generator, origins: Mapping[str, str] | None = None, **_: Any
) -> list[Pick]:
    """Return pairs that are among neither side's nearest though alike, the likeliest to be similar first.

    `origins`: by id, as `pairs.Candidates` has them; only "missed" is taken. Empty without such pairs.
    """
    origins = origins or {}
    rows = [row for row, one in enumerate(scores.ids) if origins.get(one) == "missed"]
    value = [float(number) for number in scores.values[:, 0]] if scores.ids else []
    best = sorted(rows, key=lambda row: (-round(value[row], 6), scores.ids[row]))[:n]
    note = "among neither side's nearest: no retriever would find it"
    return [
        Pick(scores.ids[row], "missed", value[row], rank, 1.0, f"P = {value[row]:.2f}, {note}")
        for rank, row in enumerate(best)
    ]
