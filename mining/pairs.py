"""Vectors → candidate pairs: nearest neighbours, and a sample of all pairs with known odds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from toughcall.mining.index import build
from toughcall.records import Vectors

ALL = 1_500
"""Up to this many records every pair is a candidate."""


def candidate_pairs(
    vectors: Vectors,
    *,
    rng: np.random.Generator,
    limit: int = 200_000,
    per_record: int = 20,
    progress: Callable[[int, int], None] | None = None,
) -> list[tuple[str, str, str, float]]:
    """Return (id a, id b, origin, probability) with a < b, each pair once, sorted by id.

    origin "all": every pair is there, probability 1. Otherwise "near": among a record's `per_record`
    nearest neighbours, probability 1; "drawn": uniform over the remaining pairs, with the probability
    that such a pair had of being drawn. No pair of a record with itself. When not all near pairs fit into
    `limit`, every record's nearest come first. The order of the records does not matter.
    """
    n = len(vectors.ids)
    order = sorted(range(n), key=vectors.ids.__getitem__)
    vectors = Vectors(tuple(vectors.ids[row] for row in order), vectors.array[order], vectors.encoder)
    total = n * (n - 1) // 2
    if total <= limit and n <= ALL:
        rows_a, rows_b = np.triu_indices(n, 1)
        return sorted(
            (*_sorted(vectors.ids[a], vectors.ids[b]), "all", 1.0) for a, b in zip(rows_a, rows_b, strict=True)
        )
    near: dict[tuple[str, str], tuple[int, float]] = {}
    index = build(vectors)
    step = 4096
    for start in range(0, n, step):
        ids, cosines = index.search(vectors.array[start : start + step], per_record + 1)
        for one, found, values in zip(vectors.ids[start : start + step], ids, cosines, strict=True):
            others = [(other, float(c)) for other, c in zip(found, values, strict=True) if other != one]
            for rank, (other, c) in enumerate(others[:per_record]):
                pair, place = _sorted(one, other), (rank, -round(c, 6))
                near[pair] = min(near.get(pair, place), place)
        if progress:
            progress(min(start + step, n), n)
    kept = sorted(near, key=lambda pair: (near[pair], pair))[:limit]
    room = min(limit - len(kept), total - len(near))
    drawn: set[tuple[str, str]] = set()
    while len(drawn) < room:
        a, b = rng.integers(0, n, size=(2, 2 * (room - len(drawn)) + 16))
        for x, y in zip(a, b, strict=True):
            pair = _sorted(vectors.ids[x], vectors.ids[y])
            if x != y and pair not in near:
                drawn.add(pair)
                if len(drawn) == room:
                    break
    odds = room / max(1, total - len(near))
    return sorted([(a, b, "near", 1.0) for a, b in kept] + [(a, b, "drawn", odds) for a, b in drawn])


def _sorted(a: str, b: str) -> tuple[str, str]:
    return (a, b) if a < b else (b, a)
