"""Vectors → candidate pairs over the whole range of cosines, each with its odds: neighbours and strata of all pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from toughcall.mining.near import EXACT, Near, near_pairs
from toughcall.mining.scan import Progress, in_reach, scan
from toughcall.mining.strata import Places, Population, Reals64, Strata, cosines, count_of, draw, pairs_of, stratum_of
from toughcall.records import Floats, Vectors

EDGES = (-1.0, 0.2, 0.4, 0.6, 0.8, 1.0001)
"""Strata of the cosine; the calibrated probability is not known yet, so candidates cover the whole range."""
HIGH = 2
"""From this stratum on, a pair that is among neither side's neighbours is one that a retriever misses."""
RESERVED = (0.1, 0.15, 0.25)
"""Shares of the limit that the lower strata keep, however many pairs the upper ones have."""
DRAWS = 10
"""Beyond an exact scan, this many pairs are drawn for each that may be kept."""
FEW = 100
"""A stratum of which fewer pairs than this part of the limit were drawn is searched for neighbours."""
MOST_NEAR = 4_000_000
"""Neighbours held at once: in a very large pool fewer are looked for of each record."""


@dataclass(frozen=True)
class Allowed:
    """Which records may be paired: equal blocks, and times at most `window` days apart (0 = no limit).

    A record without a time may be paired whenever; an empty block is a block of its own.
    """

    blocks: Mapping[str, str] = field(default_factory=dict)
    times: Mapping[str, float | None] = field(default_factory=dict)
    window: float = 0.0

    def ordered(self, ids: Sequence[str]) -> tuple[list[str], Places]:
        """Return the records of one block in an order, and for each place how far behind it its partners reach.

        The partners of place p are the places p + 1 to end[p] - 1: records without a time come first and reach
        to the end, the others by time. Without a window the order is that of the ids.
        """
        if not self.window:
            return sorted(ids), np.full(len(ids), len(ids), np.int64)
        known = {one: self.times.get(one) for one in ids}
        times = {one: -np.inf if time is None else time for one, time in known.items()}
        order = sorted(ids, key=lambda one: (times[one], one))
        found = np.array([times[one] for one in order])
        reach = np.where(np.isfinite(found), found + self.window, np.inf)
        return order, np.asarray(np.searchsorted(found, reach, side="right"), np.int64)

    def count(self, ids: Sequence[str]) -> int:
        """Return how many pairs of these records, of one block, are allowed."""
        return count_of(self.ordered(ids)[1])

    def near(self, a: str, b: str) -> bool:
        """Return whether two records of one block lie near enough in time."""
        one, other = self.times.get(a), self.times.get(b)
        # the sum that `ordered` takes: a difference rounds otherwise
        return not self.window or one is None or other is None or max(one, other) <= min(one, other) + self.window


@dataclass(frozen=True)
class Candidates:
    """Pairs that may be asked, as parallel arrays sorted by ids, a < b; each pair once.

    `origin`: "near", among a record's nearest; "missed", in an upper stratum but among neither side's nearest, so
    that a retriever would not find it; "all", its stratum is here whole; "drawn", sampled from its stratum.
    `probability` is the chance that the pair had of being here, 1.0 where nothing was left to chance.
    """

    a: tuple[str, ...]
    b: tuple[str, ...]
    cosine: Reals64
    origin: tuple[str, ...]
    probability: Reals64
    stratum: Places
    strata: tuple[Population, ...]
    """How many allowed pairs each stratum has."""
    recall: float | None = None
    """Share of the nearest neighbours that were found, measured; None where all were looked at."""

    def __len__(self) -> int:
        return len(self.a)


@dataclass(frozen=True)
class _Part:
    """The candidates of one block, by place."""

    ids: list[str]
    a: Places
    b: Places
    cosine: Reals64
    probability: Reals64
    near: NDArray[np.bool_]
    missed: NDArray[np.bool_]
    strata: tuple[Population, ...]
    recall: float | None


def shares_of(counts: Sequence[int], limit: int) -> list[int]:
    """Return how many pairs each block may keep: every block some, small blocks all, the rest in proportion.

    Half of the limit is shared evenly, as far as blocks have that many pairs. With fewer places than blocks the
    largest blocks get one each, the first of equals. The shares sum to min(limit, sum of counts).
    """
    if sum(counts) <= limit:
        return list(counts)
    some = [place for place, count in enumerate(counts) if count]
    shares = [0] * len(counts)
    for place in sorted(some, key=lambda place: (-counts[place], place))[:limit]:
        shares[place] = min(counts[place], max(1, limit // (2 * len(some))))
    left, open_ = limit - sum(shares), sum(counts) - sum(shares)
    more = [left * (count - share) // max(1, open_) for count, share in zip(counts, shares, strict=True)]
    shares = [share + extra for share, extra in zip(shares, more, strict=True)]
    left = limit - sum(shares)
    for place in sorted(some, key=lambda place: (shares[place] - counts[place], place))[:left]:
        shares[place] += 1
    return shares


def spread_over(populations: Sequence[int], limit: int) -> list[int]:
    """Return how many pairs of each stratum to keep: the rare upper ones whole, of the lowest a modest sample.

    The lower strata have their reserve; what is over goes to the upper ones from the top, then to the middle,
    then down. The sum is min(limit, sum of populations).
    """
    kept = [0] * len(populations)
    for s, share in enumerate(RESERVED[: len(populations)]):
        kept[s] = min(populations[s], int(share * limit))
    for s in reversed(range(len(populations))):
        kept[s] += min(populations[s] - kept[s], limit - sum(kept))
    return kept


def candidate_pairs(
    vectors: Vectors,
    *,
    rng: np.random.Generator,
    limit: int = 200_000,
    per_record: int = 20,
    allowed: Allowed | None = None,
    progress: Progress | None = None,
    edges: Sequence[float] = EDGES,
) -> Candidates:
    """Return at most `limit` pairs with a known chance each, from every stratum of the cosine.

    A pool with no more pairs than that is returned whole. Otherwise at most half of the limit goes to the pairs of
    which one is among the `per_record` nearest of the other, each record's nearest first (`_fitting`); the rest to a
    uniform sample of each stratum, rare upper strata whole. Every pair is looked at where `in_reach` allows that;
    above, pairs are drawn uniformly, populations are estimated, and neighbours are looked for only in the strata
    that draws do not fill. No pair of a record with itself; only pairs of one block and within the window; the
    order of the records does not matter. Each block gets a share of `limit` (`shares_of`). ValueError for a
    vector that is not finite.
    """
    allowed = allowed or Allowed()
    if not np.isfinite(np.einsum("ij,ij->i", vectors.array, vectors.array)).all():
        raise ValueError("a vector is not finite: clean() first")
    homes: dict[str, list[str]] = {}
    for one in vectors.ids:
        homes.setdefault(allowed.blocks.get(one, ""), []).append(one)
    names = sorted(homes)
    ordered = [allowed.ordered(homes[name]) for name in names]
    shares = shares_of([count_of(ends) for _, ends in ordered], limit)
    where = vectors.where
    parts: list[_Part] = []
    done = 0

    def told(more: int, _: int) -> None:
        if progress:
            progress(done + more, len(vectors.ids))

    for (ids, ends), share in zip(ordered, shares, strict=True):
        rows = np.fromiter((where[one] for one in ids), np.int64, len(ids))
        if len(ids) > 1:
            parts.append(_of_block(ids, vectors.array, rows, ends, rng, share, per_record, tuple(edges), told))
        done += len(ids)
        told(0, 0)
    return _joined(parts, edges)


def _of_block(
    ids: list[str],
    array: Floats,
    rows: Places,
    ends: Places,
    rng: np.random.Generator,
    limit: int,
    per_record: int,
    edges: tuple[float, ...],
    progress: Progress,
) -> _Part:
    """Return the candidate pairs of the records of one block; progress is told in records."""

    def told(before: float, done: int, whole: int) -> None:
        progress(int(n * (before + 0.5 * done / max(1, whole))), n)

    n, total = len(ids), count_of(ends)
    if in_reach(total):
        array, rows = array[rows], np.arange(n)
    if total <= limit:
        a, b = pairs_of(np.arange(total), ends)
        cosine = cosines(array, rows[a], rows[b])
        stratum = stratum_of(cosine, edges)
        missed: NDArray[np.bool_] = np.zeros(total, np.bool_)
        if per_record + 1 < n <= EXACT:
            found = near_pairs(array, per_record, rng, ends=ends, rows=rows)
            missed = ~np.isin(a * n + b, found.a * n + found.b) & (stratum >= HIGH)
        counts = np.bincount(stratum + 1, minlength=len(edges) + 1)[1:-1]
        counted = tuple(
            Population(low, high, float(k), float(k), float(k), True)
            for (low, high), k in zip(pairwise(edges), counts.tolist(), strict=True)
        )
        return _Part(ids, a, b, cosine, np.ones(total), np.zeros(total, np.bool_), missed, counted, None)
    if in_reach(total):
        near = near_pairs(array, per_record, rng, ends=ends, progress=partial(told, 0.0))
        kept = _fitting(near, limit)
        of = np.bincount(stratum_of(near.cosine[kept], edges), minlength=len(edges) - 1)

        def wanted(populations: Sequence[int]) -> list[int]:
            """Return how many to keep so that enough are left without the near ones."""
            free = [count - taken for count, taken in zip(populations, of.tolist(), strict=True)]
            return [n + taken for n, taken in zip(spread_over(free, limit - len(kept)), of.tolist(), strict=True)]

        strata = scan(array, edges, wanted, rng, ends=ends, most=limit, progress=partial(told, 0.5))
        return _mixed(ids, near, kept, strata, limit, edges, near.recall if n > EXACT else None, missing=True)
    strata = draw(array, edges, total, rng, draws=DRAWS * max(limit, 1), ends=ends, rows=rows)
    hits = np.bincount(strata.stratum, minlength=len(edges) - 1)
    short = [edge for edge, count in zip(edges[HIGH:], hits[HIGH:].tolist(), strict=False) if count < limit // FEW]
    k = min(per_record, max(1, MOST_NEAR // n))
    nothing = np.zeros(0, np.int64)
    near = Near(nothing, nothing, np.zeros(0), nothing, 1.0)
    if short and limit:
        near = near_pairs(array, k, rng, ends=ends, rows=rows, least=min(short), progress=partial(told, 0.0))
    recall = near.recall if short and limit and n > EXACT else None
    return _mixed(ids, near, _fitting(near, limit), strata, limit, edges, recall, missing=k == per_record)


def _fitting(near: Near, limit: int) -> Places:
    """Return which near pairs are kept: each record's nearest first, up to half of the limit.

    Up to four fifths, where that is enough for every record's nearest: the strata always keep a fifth.
    """
    order = np.lexsort((near.b, near.a, -near.cosine, near.rank))
    first = int((near.rank == 0).sum())
    return np.asarray(order[: first if limit // 2 < first <= 4 * limit // 5 else limit // 2], np.int64)


def _mixed(
    ids: list[str],
    near: Near,
    kept: Places,
    strata: Strata,
    limit: int,
    edges: tuple[float, ...],
    recall: float | None,
    *,
    missing: bool,
) -> _Part:
    """Return the kept near pairs and, of the strata, as many others as the limit has room for."""
    n = len(ids)
    number = strata.a * n + strata.b
    other = ~np.isin(number, near.a[kept] * n + near.b[kept])
    places = [np.flatnonzero(other & (strata.stratum == s)) for s in range(len(edges) - 1)]
    taken = [len(some) for some in places]
    close = np.bincount(stratum_of(near.cosine[kept], edges), minlength=len(edges) - 1)
    free = [int(population.count) - some for population, some in zip(strata.populations, close.tolist(), strict=True)]
    room = spread_over(free if all(one.exact for one in strata.populations) else taken, limit - len(kept))
    rest = np.concatenate([some[:w] for some, w in zip(places, room, strict=True)])
    odds = []
    for s, (population, w) in enumerate(zip(strata.populations, room, strict=True)):
        if population.exact:
            # uniform over the pairs of the stratum that are not near
            odds.append(w / max(1, free[s]))
        else:
            drawn = np.count_nonzero(strata.stratum == s)
            first = strata.probability[strata.stratum == s][0] if drawn else 0.0
            odds.append(first * w / max(1, taken[s]))
    a, b = np.concatenate([near.a[kept], strata.a[rest]]), np.concatenate([near.b[kept], strata.b[rest]])
    cosine = np.concatenate([near.cosine[kept], strata.cosine[rest]])
    probability = np.concatenate([np.ones(len(kept)), np.asarray(odds)[strata.stratum[rest]]])
    is_near = np.arange(len(a)) < len(kept)
    missed = ~np.isin(a * n + b, near.a * n + near.b) & (stratum_of(cosine, edges) >= HIGH) & missing
    return _Part(ids, a, b, cosine, probability, is_near, missed, strata.populations, recall)


def _joined(parts: Sequence[_Part], edges: Sequence[float]) -> Candidates:
    """Return the candidates of all blocks, sorted by ids, with the populations of all blocks together."""
    rows = []
    for part in parts:
        places = zip(part.a.tolist(), part.b.tolist(), strict=True)
        for row, (a, b) in enumerate(places):
            one, two = part.ids[a], part.ids[b]
            origin = "missed" if part.missed[row] else "all" if part.probability[row] >= 1.0 else "drawn"
            both = (one, two) if one < two else (two, one)
            kind = "near" if part.near[row] else origin
            rows.append((*both, float(part.cosine[row]), kind, float(part.probability[row])))
    rows.sort()
    cosine = np.asarray([row[2] for row in rows], np.float64)
    strata = []
    for s, (low, high) in enumerate(pairwise(edges)):
        own = [part.strata[s] for part in parts]
        count = sum(one.count for one in own)
        # independent blocks: their errors add up as squares do
        below = float(np.sqrt(sum((one.count - one.least) ** 2 for one in own)))
        above = float(np.sqrt(sum((one.most - one.count) ** 2 for one in own)))
        strata.append(Population(low, high, count, count - below, count + above, all(one.exact for one in own)))
    seen = [(len(part.ids), part.recall) for part in parts if part.recall is not None]
    recall = sum(n * share for n, share in seen) / sum(n for n, _ in seen) if seen else None
    return Candidates(
        tuple(row[0] for row in rows),
        tuple(row[1] for row in rows),
        cosine,
        tuple(row[3] for row in rows),
        np.asarray([row[4] for row in rows], np.float64),
        stratum_of(cosine, edges),
        tuple(strata),
        recall,
    )
