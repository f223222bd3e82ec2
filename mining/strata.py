"""The strata of a pool's pairs by cosine: how pairs are numbered, drawn and estimated without seeing them all.

Records stand at places 0 to n - 1 of one agreed order; a pair is (a, b) with a < b, and b < ends[a] where only
some pairs are allowed. A cosine is taken pair by pair and rounded to 6 digits, so that neither blocks nor
threads decide on which side of an edge it lies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from toughcall.mining.proportions import wilson
from toughcall.records import Floats, IntegrityError

PILOT = 20_000
"""Pairs drawn to learn which strata are large."""
OFTEN = 0.05
"""A stratum with this share of the pairs is counted; its sample is drawn afterwards, which is cheaper."""
BATCH = 512
"""Pairs whose vectors are gathered at once: they stay in the cache."""

Places: TypeAlias = NDArray[np.int64]
Reals64: TypeAlias = NDArray[np.float64]
NOTHING: tuple[Places, Places, Reals64] = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float64))
"""No pairs: their places and cosines."""
Keep: TypeAlias = int | Callable[[Sequence[int]], Sequence[int]]


@dataclass(frozen=True)
class Population:
    """How many allowed pairs have a cosine in [low, high): a count, or an estimate with its 95 % interval."""

    low: float
    high: float
    count: float
    least: float
    most: float
    exact: bool


@dataclass(frozen=True)
class Strata:
    """Pairs sampled from strata of the cosine: parallel arrays, each stratum's pairs in random order.

    `probability` is the chance that a pair of that stratum had of being here.
    """

    populations: tuple[Population, ...]
    total: int
    """How many pairs are allowed."""
    a: Places
    b: Places
    cosine: Reals64
    stratum: Places
    probability: Reals64


def pairs_of(numbers: Places, ends: Places) -> tuple[Places, Places]:
    """Return the places (a, b) of allowed pairs, given by their number from 0 to the sum of ends - place - 1."""
    each = ends - np.arange(len(ends)) - 1
    after = np.cumsum(each)
    a = np.searchsorted(after, numbers, side="right")
    return a, a + 1 + numbers - (after[a] - each[a])


def cosines(array: Floats, a: Places, b: Places) -> Reals64:
    """Return the cosine of each pair of rows, rounded to 6 digits, in [-1, 1]; each pair on its own."""
    found = np.empty(len(a), np.float32)
    for start in range(0, len(a), BATCH):
        part = slice(start, start + BATCH)
        np.einsum("ij,ij->i", array.take(a[part], axis=0), array.take(b[part], axis=0), out=found[part])
    return np.clip(np.round(found.astype(np.float64), 6), -1.0, 1.0)


def stratum_of(values: Reals64, edges: Sequence[float]) -> Places:
    """Return the stratum of each value, -1 and len(edges) - 1 for what lies below and above all edges."""
    return np.asarray(np.searchsorted(np.round(edges, 6), values, side="right") - 1, np.int64)


def draw(
    array: Floats,
    edges: Sequence[float],
    keep: Keep,
    rng: np.random.Generator,
    *,
    draws: int,
    ends: Places | None = None,
    rows: Places | None = None,
) -> Strata:
    """Return uniform draws of allowed pairs without repeats, `keep` of each stratum, with estimated populations.

    `array`, shape (n, d), float32, unit rows; `rows` gives the row of each place (None: places are rows). A kept
    pair's probability is draws / allowed pairs · kept / drawn of its stratum. `keep` is as in `scan`.
    """
    ends = ends_of(array if rows is None else rows, ends)
    total = count_of(ends)
    draws = min(draws, total)
    a, b = pairs_of(rng.choice(total, size=draws, replace=False), ends)
    cosine = cosines(array, a if rows is None else rows[a], b if rows is None else rows[b])
    stratum = stratum_of(cosine, edges)
    hits = [np.flatnonzero(stratum == s) for s in range(len(edges) - 1)]
    wanted = wanted_of(keep, [len(some) for some in hits])
    # the draws come in random order: the first of a stratum are a uniform sample of it
    taken = np.concatenate([some[:n] for some, n in zip(hits, wanted, strict=True)])
    odds = [draws / max(1, total) * n / max(1, len(some)) for some, n in zip(hits, wanted, strict=True)]
    populations = []
    for s, some in enumerate(hits):
        _, least, most = wilson(len(some), draws) if draws else (0.0, 0.0, 0.0)
        count = len(some) / max(1, draws) * total
        populations.append(Population(edges[s], edges[s + 1], count, least * total, most * total, draws == total))
    return Strata(
        tuple(populations), total, a[taken], b[taken], cosine[taken], stratum[taken], np.asarray(odds)[stratum[taken]]
    )


def ends_of(places: Sized, ends: Places | None) -> Places:
    """Return for each place the first that is not allowed any more as its partner: all are, when nothing is said."""
    return np.full(len(places), len(places), np.int64) if ends is None else np.asarray(ends, np.int64)


def count_of(ends: Places) -> int:
    """Return how many pairs are allowed."""
    return int((ends - np.arange(len(ends)) - 1).sum())


def wanted_of(keep: Keep, populations: list[int]) -> list[int]:
    """Return how many pairs of each stratum are to be kept, never more than there are."""
    asked = [keep] * len(populations) if isinstance(keep, int) else keep(populations)
    return [min(n, found) for n, found in zip(asked, populations, strict=True)]


def large_of(
    array: Floats, edges: Sequence[float], ceiling: int, ends: Places, total: int, rng: np.random.Generator
) -> list[bool]:
    """Return which strata are too large to be looked at pair by pair, by a small draw."""
    if total <= PILOT:
        return [False] * (len(edges) - 1)
    stratum = stratum_of(cosines(array, *pairs_of(rng.integers(0, total, size=PILOT), ends)), edges)
    shares = [float((stratum == s).mean()) for s in range(len(edges) - 1)]
    return [share >= OFTEN and share * total > 4 * ceiling for share in shares]


def drawn_of(
    array: Floats,
    edges: Sequence[float],
    stratum: int,
    n: int,
    population: int,
    ends: Places,
    total: int,
    rng: np.random.Generator,
) -> tuple[Places, Places, Reals64]:
    """Return n pairs of a large stratum: the first that fall into it of a uniform draw of all pairs."""
    if not n:
        return NOTHING
    draws = int(1.1 * n * total / max(1, population)) + PILOT
    while True:
        a, b = pairs_of(rng.choice(total, size=min(draws, total), replace=False), ends)
        value = cosines(array, a, b)
        found = np.flatnonzero(stratum_of(value, edges) == stratum)[:n]
        if len(found) == n:
            return a[found], b[found], value[found]
        if draws >= total:
            raise IntegrityError(f"{population} pairs were counted and {len(found)} are there: run toughcall doctor")
        draws *= 2
