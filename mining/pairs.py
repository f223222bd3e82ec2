"""Vectors → candidate pairs: nearest neighbours, and a sample of all pairs with known odds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from toughcall.mining.index import build
from toughcall.records import Vectors

ALL = 1_500
"""Up to this many records every pair is a candidate."""


@dataclass(frozen=True)
class Allowed:
    """Which records may be paired: equal blocks, and times at most `window` days apart (0 = no limit).

    A record without a time may be paired whenever; an empty block is a block of its own.
    """

    blocks: Mapping[str, str] = field(default_factory=dict)
    times: Mapping[str, float | None] = field(default_factory=dict)
    window: float = 0.0

    def near(self, a: str, b: str) -> bool:
        """Return whether two records of one block lie near enough in time."""
        one, other = self.times.get(a), self.times.get(b)
        # the sum that `count` takes: a difference rounds otherwise, and what is counted must be there to be drawn
        return not self.window or one is None or other is None or max(one, other) <= min(one, other) + self.window

    def count(self, ids: Sequence[str]) -> int:
        """Return how many pairs of these records, of one block, are allowed."""
        total = len(ids) * (len(ids) - 1) // 2
        times = np.sort([time for one in ids if (time := self.times.get(one)) is not None])
        if not self.window or not len(times):
            return total
        within = int((np.searchsorted(times, times + self.window, side="right") - np.arange(len(times)) - 1).sum())
        return total - len(times) * (len(times) - 1) // 2 + within


def candidate_pairs(
    vectors: Vectors,
    *,
    rng: np.random.Generator,
    limit: int = 200_000,
    per_record: int = 20,
    allowed: Allowed | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[tuple[str, str, str, float]]:
    """Return (id a, id b, origin, probability) with a < b, each pair once, sorted by id.

    origin "all": every allowed pair is there, probability 1. Otherwise "near": among a record's `per_record`
    nearest neighbours, probability 1; "drawn": uniform over the remaining allowed pairs, with the probability
    that such a pair had of being drawn. No pair of a record with itself. When not all near pairs fit into
    `limit`, every record's nearest come first. The order of the records does not matter. Each block gets a
    share of `limit` in proportion to its pairs.
    """
    allowed = allowed or Allowed()
    homes: dict[str, list[str]] = {}
    for one in sorted(vectors.ids):
        homes.setdefault(allowed.blocks.get(one, ""), []).append(one)
    counts = {block: allowed.count(ids) for block, ids in homes.items()}
    total = max(1, sum(counts.values()))
    found: list[tuple[str, str, str, float]] = []
    done = 0
    for block in sorted(homes):
        ids = homes[block]
        share = limit if total <= limit else limit * counts[block] // total
        if len(ids) > 1 and counts[block]:
            own = Vectors(tuple(ids), vectors.rows(ids), vectors.encoder)
            found += _of_block(own, allowed, counts[block], rng, share, per_record)
        done += len(ids)
        if progress:
            progress(done, len(vectors.ids))
    return sorted(found)


def _of_block(
    vectors: Vectors, allowed: Allowed, total: int, rng: np.random.Generator, limit: int, per_record: int
) -> list[tuple[str, str, str, float]]:
    """Return the candidate pairs of records of one block, of which `total` are allowed."""
    n = len(vectors.ids)
    if n * (n - 1) // 2 <= limit and n <= ALL:
        rows = zip(*np.triu_indices(n, 1), strict=True)
        both = (_sorted(vectors.ids[a], vectors.ids[b]) for a, b in rows)
        return [(*pair, "all", 1.0) for pair in both if allowed.near(*pair)]
    near: dict[tuple[str, str], tuple[int, float]] = {}
    index = build(vectors)
    # under a window most neighbours may lie outside: more of them are looked at
    looked = min(n, (per_record + 1) * (5 if allowed.window else 1))
    step = 4096
    for start in range(0, n, step):
        ids, cosines = index.search(vectors.array[start : start + step], looked)
        for one, found, values in zip(vectors.ids[start : start + step], ids, cosines, strict=True):
            others = [(o, float(c)) for o, c in zip(found, values, strict=True) if o != one and allowed.near(one, o)]
            for rank, (other, c) in enumerate(others[:per_record]):
                pair, place = _sorted(one, other), (rank, -round(c, 6))
                near[pair] = min(near.get(pair, place), place)
    kept = sorted(near, key=lambda pair: (near[pair], pair))[:limit]
    room = min(limit - len(kept), total - len(near))
    drawn: set[tuple[str, str]] = set()
    while len(drawn) < room:
        a, b = rng.integers(0, n, size=(2, 2 * (room - len(drawn)) + 16))
        for x, y in zip(a, b, strict=True):
            pair = _sorted(vectors.ids[x], vectors.ids[y])
            if x != y and pair not in near and allowed.near(*pair):
                drawn.add(pair)
                if len(drawn) == room:
                    break
    odds = room / max(1, total - len(near))
    return [*((a, b, "near", 1.0) for a, b in kept), *((a, b, "drawn", odds) for a, b in drawn)]


def _sorted(a: str, b: str) -> tuple[str, str]:
    return (a, b) if a < b else (b, a)
