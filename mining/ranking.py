"""The best few of very many, ties by id, and classes that take turns: what every ranked reason to ask rests on."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from toughcall.records import Pick, Reals

Rows: TypeAlias = NDArray[np.intp]
Found = Callable[[str, int], list[Pick]]


def by_id(ids: Sequence[str]) -> Rows:
    """Return the rows in the order of their ids, shape (n,): about 2 s for a million, less when sorted already."""
    return np.argsort(np.asarray(ids, dtype=np.str_), kind="stable")


def best(merit: Reals, ids: Sequence[str], n: int) -> Rows:
    """Return the rows of the n greatest merits, shape (≤ n,), greatest first, ties by id.

    Merits are rounded to six digits, so that noise below 1e-6 decides nothing; NaN and infinite ones never win.
    Only the few that reach the n-th merit are sorted.
    """
    finite = np.isfinite(merit)
    n = min(n, int(np.count_nonzero(finite)))
    if n <= 0:
        return np.zeros(0, np.intp)
    known = merit if finite.all() else np.where(finite, merit, -np.inf)
    edge = float(np.partition(known, len(known) - n)[len(known) - n])
    near = np.flatnonzero(known >= edge - 2e-6)
    value = np.round(known[near].astype(np.float64), 6)
    least = np.round(edge, 6)
    over = value > least
    above = sorted(zip((-value[over]).tolist(), [ids[row] for row in near[over]], near[over].tolist(), strict=True))
    tied = heapq.nsmallest(n - len(above), near[value == least].tolist(), key=ids.__getitem__)
    return np.asarray([row for _, _, row in above] + tied, dtype=np.intp)


def turns(weights: Mapping[str, float], found: Found, n: int, most: int) -> list[Pick]:
    """Return up to n picks of which no two are of one item, the classes taking turns by weight.

    `found(label, k)` ranks k items for a class, best first; it is asked only of classes that get a turn, for
    more when others had taken what it found, and for at most `most`. A class with nothing left gives its
    turns to the rest.
    """
    left = {label: weight for label, weight in weights.items() if weight > 0}
    credit = dict.fromkeys(left, 0.0)
    queue: dict[str, list[Pick]] = {label: [] for label in left}
    place = dict.fromkeys(left, 0)
    picks: list[Pick] = []
    taken: set[str] = set()
    while left and len(picks) < n:
        total = sum(left.values())
        for label, weight in left.items():
            credit[label] += weight / total
        # the first of equals, in the order of the labels
        label = max(left, key=lambda one: round(credit[one], 9))
        credit[label] -= 1.0
        while True:
            if place[label] == len(queue[label]):
                before = len(queue[label])
                k = min(most, max(4 * before, first(weights, label, n)))
                queue[label] = found(label, k) if k > before else queue[label]
                if len(queue[label]) == before:
                    del left[label]
                    break
            pick = queue[label][place[label]]
            place[label] += 1
            if pick.item not in taken:
                taken.add(pick.item)
                picks.append(replace(pick, rank=len(picks)))
                break
    return picks


def first(weights: Mapping[str, float], label: str, n: int) -> int:
    """Return how many items are looked for at first for a class: twice its share of n, and a few."""
    return 2 * int(n * weights[label] / sum(weights.values())) + 8
