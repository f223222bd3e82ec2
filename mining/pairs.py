"""Vectors → candidate pairs: nearest neighbours, and a sample of all pairs with known odds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from toughcall.mining.index import build
from toughcall.records import Vectors


@dataclass(frozen=True)
class Allowed:
    """Which records may be paired: equal blocks, and times at most `window` days apart (0 = no limit).

    A record without a time may be paired whenever; an empty block is a block of its own.
    """

    blocks: Mapping[str, str] = field(default_factory=dict)
    times: Mapping[str, float | None] = field(default_factory=dict)
    window: float = 0.0

    def ordered(self, ids: Sequence[str]) -> tuple[list[str], NDArray[np.intp]]:
        """Return the records of one block in an order, and for each place how far behind it its partners reach.

        The partners of place p are the places p + 1 to end[p] - 1: records without a time come first and reach
        to the end, the others by time.
        """
        known = {one: self.times.get(one) for one in ids}
        times = {one: -np.inf if time is None else time for one, time in known.items()}
        order = sorted(ids, key=lambda one: (times[one], one))
        if not self.window:
            return order, np.full(len(order), len(order))
        found = np.array([times[one] for one in order])
        reach = np.where(np.isfinite(found), found + self.window, np.inf)
        return order, np.searchsorted(found, reach, side="right")

    def count(self, ids: Sequence[str]) -> int:
        """Return how many pairs of these records, of one block, are allowed."""
        return int((self.ordered(ids)[1] - np.arange(len(ids)) - 1).sum())

    def near(self, a: str, b: str) -> bool:
        """Return whether two records of one block lie near enough in time."""
        one, other = self.times.get(a), self.times.get(b)
        # the sum that `ordered` takes: a difference rounds otherwise
        return not self.window or one is None or other is None or max(one, other) <= min(one, other) + self.window


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
    order, end = allowed.ordered(vectors.ids)
    each = end - np.arange(len(order)) - 1
    after = np.cumsum(each)

    def pair(number: int) -> tuple[str, str]:
        """Return the allowed pair of this number, 0 to total - 1."""
        first = int(np.searchsorted(after, number, side="right"))
        return _sorted(order[first], order[first + 1 + number - int(after[first] - each[first])])

    if total <= limit:
        return [(*pair(number), "all", 1.0) for number in range(total)]
    near: dict[tuple[str, str], tuple[int, float]] = {}
    index = build(vectors)
    n = len(order)
    # under a window most neighbours may lie outside: more of them are looked at
    looked = min(n, (per_record + 1) * (5 if allowed.window else 1))
    step = 4096
    for start in range(0, n, step):
        ids, cosines = index.search(vectors.array[start : start + step], looked)
        for one, found, values in zip(vectors.ids[start : start + step], ids, cosines, strict=True):
            others = [(o, float(c)) for o, c in zip(found, values, strict=True) if o != one and allowed.near(one, o)]
            for rank, (other, c) in enumerate(others[:per_record]):
                both, rated = _sorted(one, other), (rank, -round(c, 6))
                near[both] = min(near.get(both, rated), rated)
    kept = sorted(near, key=lambda both: (near[both], both))[:limit]
    room = min(limit - len(kept), total - len(near))
    drawn: set[tuple[str, str]] = set()
    while len(drawn) < room:
        for number in rng.integers(0, total, size=2 * (room - len(drawn)) + 16).tolist():
            if (both := pair(number)) not in near:
                drawn.add(both)
            if len(drawn) == room:
                break
    odds = room / max(1, total - len(near))
    return [*((a, b, "near", 1.0) for a, b in kept), *((a, b, "drawn", odds) for a, b in drawn)]


def _sorted(a: str, b: str) -> tuple[str, str]:
    return (a, b) if a < b else (b, a)
