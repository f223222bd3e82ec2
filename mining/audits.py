"""Audits of pools in which a uniform draw finds no members: uniform within bands of the score, all with their odds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from toughcall.records import Pick, Reals, UsageError

LEAST = 2
"""Of each stratum at least two: one answer has no spread."""


def bands(scores: Reals, edges: Sequence[float] = (0.1, 0.3, 0.5, 0.7)) -> NDArray[np.intp]:
    """Return the stratum of each score in [0, 1]: 0 below the first edge, then one more at each edge.

    Put the decision threshold among the edges: what is called and what is not are then strata of their own.
    """
    return np.asarray(np.digitize(np.round(np.asarray(scores, dtype=np.float64), 6), sorted(edges)), dtype=np.intp)


def allocation(sizes: Mapping[int, int], rates: Mapping[int, float], n: int) -> dict[int, int]:
    """Return how many to draw of each stratum: two of each, the rest by size · sqrt(p(1 - p)) (Neyman 1934, §5).

    `rates`: the share of members expected in each, in [0, 1]; kept off 0 and 1, for a score is not the truth.
    UsageError when n does not reach for two of each. No stratum gives more than it has; ties by its number.
    """
    given = {one: min(LEAST, size) for one, size in sorted(sizes.items())}
    if (least := sum(given.values())) > n:
        raise UsageError(
            f"an audit of {n} cannot take {LEAST} of each of {len(sizes)} strata: it needs {least}; "
            "give random_audit a greater share in [mine.quotas], or use fewer strata"
        )
    share = {one: min(max(rates[one], 0.01), 0.99) for one in given}
    merit = {one: np.log(sizes[one] ** 2 * p * (1 - p)) for one, p in share.items()}
    for _ in range(min(n, sum(sizes.values())) - least):
        # one by one, to where the variance falls most: the exact optimum in whole numbers (Wright 2012)
        open_ = [one for one in given if given[one] < sizes[one]]
        given[min(open_, key=lambda one: (-round(merit[one] - np.log(given[one] * (given[one] + 1)), 6), one))] += 1
    return given


def stratified_audit(
    ids: Sequence[str], strata: NDArray[np.intp], scores: Reals, n: int, rng: np.random.Generator
) -> list[Pick]:
    """Return n picks, uniform within each stratum, each with its probability n_h / N_h.

    For pools in which a uniform draw finds no members (pairs): `strata` and `scores` (P of a member, in
    [0, 1]) have one entry per id, a stratum's expected share is its mean score. Fewer than n where the pool
    holds fewer. The answers count through `Audit.strata`, never as if the draw had been uniform.
    """
    by: dict[int, list[int]] = {}
    for row in sorted(range(len(ids)), key=lambda row: ids[row]):
        by.setdefault(int(strata[row]), []).append(row)
    sizes = {one: len(rows) for one, rows in by.items()}
    rates = {one: float(np.mean(np.asarray(scores, dtype=np.float64)[rows])) for one, rows in by.items()}
    drawn: list[tuple[str, float, str]] = []
    for one, count in allocation(sizes, rates, n).items():
        note = f"drawn at random, {count} of {sizes[one]} in score band {one}"
        places = rng.choice(sizes[one], size=count, replace=False)
        drawn += [(ids[by[one][int(place)]], count / sizes[one], note) for place in places]
    # mixed, so that a batch that is answered halfway has answers of each stratum
    mixed = (drawn[int(place)] for place in rng.permutation(len(drawn)))
    return [Pick(one, "random_audit", odds, rank, odds, note) for rank, (one, odds, note) in enumerate(mixed)]
