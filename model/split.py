"""Splits by group: a text, its near-duplicates and the records a pair connects never straddle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from toughcall.records import Item, Part, Text, digest


class _Sets:
    """Disjoint sets whose name is their smallest member, so that the order of joining never matters."""

    def __init__(self) -> None:
        self.up: dict[str, str] = {}

    def find(self, one: str) -> str:
        self.up.setdefault(one, one)
        while self.up[one] != one:
            self.up[one] = self.up[self.up[one]]
            one = self.up[one]
        return one

    def join(self, a: str, b: str) -> None:
        low, high = sorted((self.find(a), self.find(b)))
        self.up[high] = low


def group_of(texts: Sequence[Text], near: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return the group of each record: equal texts, near-duplicates and one user group are one group.

    A group is named by its smallest content digest, so a record added later finds its group again.
    """
    sets = _Sets()
    home = {}
    for text in texts:
        home[text.id] = f"t:{digest('group', text.text)}"
        if text.group:
            sets.join(home[text.id], f"u:{digest('user group', text.group)}")
    for a, b in near:
        if a in home and b in home:
            sets.join(home[a], home[b])
    return {one: sets.find(place) for one, place in home.items()}


def part_of(group: str, share: float, seed: int) -> Part:
    """Return the part of a group, drawn by its digest: "test" with probability `share`."""
    return "test" if int(digest("part", seed, group)[:12], 16) / 16**12 < share else "train"


def connected(items: Sequence[Item], largest: float = 0.34) -> list[str]:
    """Return a group for each item: items that share a record are one group.

    When that chains more than `largest` of the items together (a queue likes hubs), each item falls back
    to the group of its own pair of records; its score then leans a little on records seen in training.
    """
    sets = _Sets()
    for item in items:
        for text in item.texts:
            sets.join(item.texts[0].id, text.id)
    found = [sets.find(item.texts[0].id) for item in items]
    if found and max(Counter(found).values()) > largest * len(found):
        return [item.id for item in items]
    return found


def folds(groups: Sequence[str], truth: NDArray[np.bool_], count: int, seed: int) -> NDArray[np.intp]:
    """Return the fold of each row, shape (n,): groups stay whole, every class is spread as evenly as it can be.

    Groups are dealt rarest class first to the fold that has the least of what they hold.
    """
    rows: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        rows.setdefault(group, []).append(row)
    rarity = 1.0 / np.maximum(truth.sum(axis=0), 1)
    rng = np.random.default_rng(seed)
    names = sorted(rows)
    tie = dict(zip(names, rng.random(len(names)), strict=True))
    weight = {name: truth[rows[name]].sum(axis=0) for name in names}
    order = sorted(names, key=lambda name: (-float((weight[name] * rarity).max(initial=0.0)), tie[name]))
    held = np.zeros((count, truth.shape[1]))
    size = np.zeros(count)
    out = np.zeros(len(groups), dtype=np.intp)
    for name in order:
        cost = held @ (weight[name] * rarity) * 10 + size / max(1, len(groups))
        best = int(np.argmin(np.round(cost, 9)))
        held[best] += weight[name]
        size[best] += len(rows[name])
        out[rows[name]] = best
    return out


def check_apart(parts: Mapping[str, Part], train: Sequence[Item], test: Sequence[Item]) -> list[str]:
    """Return the records that stand in both lists or in the wrong one: always empty, or there is a leak (C61)."""
    left = {text.id for item in train for text in item.texts}
    right = {text.id for item in test for text in item.texts}
    wrong = {one for one in left if parts.get(one) == "test"} | {one for one in right if parts.get(one) == "train"}
    return sorted((left & right) | wrong)
