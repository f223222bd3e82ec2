"""Which pairs may be asked: all of a small pool, else neighbours and a sample with known odds."""

from __future__ import annotations

import dataclasses
from collections import Counter
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toughcall.mining.pairs import candidate_pairs
from toughcall.records import Vectors


def shuffled(vectors: Vectors, seed: int) -> Vectors:
    order = np.random.default_rng(seed).permutation(len(vectors.ids))
    return Vectors(tuple(vectors.ids[i] for i in order), vectors.array[order], vectors.encoder)


def find(vectors: Vectors, seed: int = 0, **settings: Any) -> list[tuple[str, str, str, float]]:
    found = candidate_pairs(vectors, rng=np.random.default_rng(seed), **settings)
    return list(zip(found.a, found.b, found.origin, found.probability.tolist(), strict=True))


@pytest.mark.parametrize("n", [0, 1, 2, 3, 30])
def test_a_small_pool_gives_every_pair_once(unit_vectors: Any, n: int) -> None:
    """Every pair of a small pool, smaller id first, each once, sorted, certain; nothing with itself."""
    vectors = shuffled(unit_vectors(n), 1)
    found = find(vectors)
    assert [(a, b, p) for a, b, _, p in found] == [(a, b, 1.0) for a, b in combinations(sorted(vectors.ids), 2)]
    assert {origin for _, _, origin, _ in found} <= ({"all", "missed"} if n > 21 else {"all"})


@given(
    n=st.integers(2, 30),
    limit=st.integers(0, 500),
    near=st.integers(1, 6),
    seed=st.integers(),
)
@settings(max_examples=80, deadline=None)
def test_whatever_the_limits_the_pairs_are_sound(n: int, limit: int, near: int, seed: int) -> None:
    """No self pair, a < b, each once, sorted, never more than the limit, never fewer than it could be."""
    array = np.random.default_rng(n).normal(size=(n, 4)).astype(np.float32)
    vectors = Vectors(tuple(f"v{i:02d}" for i in range(n)), array / np.linalg.norm(array, axis=1)[:, None], "made")
    found = find(vectors, abs(seed), limit=limit, per_record=near)
    keys = [(a, b) for a, b, _, _ in found]
    assert all(a < b for a, b in keys)
    assert keys == sorted(set(keys))
    assert len(keys) == min(limit, n * (n - 1) // 2)
    assert all(odds == 1.0 for _, _, origin, odds in found if origin in ("near", "all"))
    assert all(0 < odds < 1.0 for _, _, origin, odds in found if origin == "drawn")
    assert all(0 < odds <= 1.0 for *_, odds in found)


def test_the_probability_of_a_drawn_pair_is_its_frequency(unit_vectors: Any) -> None:
    """Over 300 seeds each pair that is not near is there as often as its probability says; the near always are."""
    vectors, runs = unit_vectors(14), 300
    near = {(a, b) for a, b, origin, _ in find(vectors, limit=40, per_record=1) if origin == "near"}
    seen: Counter[tuple[str, str]] = Counter()
    odds: dict[tuple[str, str], float] = {}
    for seed in range(runs):
        found = find(vectors, seed, limit=40, per_record=1)
        assert {(a, b) for a, b, origin, _ in found if origin == "near"} == near
        seen.update((a, b) for a, b, _, _ in found)
        for a, b, _, p in found:
            assert odds.setdefault((a, b), p) == p
    assert len(odds) == 14 * 13 // 2
    assert {1.0} < set(odds.values()), "some strata are whole, some are not"
    # six standard deviations of one pair's frequency
    assert all(abs(seen[one] / runs - p) <= 6 * np.sqrt(p * (1 - p) / runs) for one, p in odds.items())


def test_near_pairs_are_each_records_neighbours(unit_vectors: Any) -> None:
    """Near pairs are exactly those where one is among the other's nearest."""
    vectors = unit_vectors(40)
    cosine = vectors.array @ vectors.array.T
    np.fill_diagonal(cosine, -2)
    expected = {tuple(sorted((vectors.ids[a], vectors.ids[b]))) for a in range(40) for b in np.argsort(-cosine[a])[:3]}
    assert {(a, b) for a, b, origin, _ in find(vectors, limit=300, per_record=3) if origin == "near"} == expected


def test_a_tight_limit_leaves_no_record_without_its_neighbour(unit_vectors: Any) -> None:
    """When not all near pairs fit, each record's nearest comes first, not the records whose ids come first."""
    vectors = unit_vectors(60)
    found = find(vectors, limit=60, per_record=5)
    near = [(a, b) for a, b, origin, _ in found if origin == "near"]
    assert 30 <= len(near) < len(found) == 60
    assert {one for pair in near for one in pair} == set(vectors.ids)
    assert len([1 for _, _, origin, _ in find(vectors, limit=200, per_record=19) if origin == "near"]) == 100


def test_the_order_of_the_pool_does_not_matter_c23(unit_vectors: Any) -> None:
    """Shuffled records and equal texts: the same pairs, near and drawn (C23)."""
    vectors = unit_vectors(30)
    array = vectors.array.copy()
    array[10:20] = array[10]
    vectors = dataclasses.replace(vectors, array=array)
    first = find(vectors, limit=150, per_record=3)
    assert {"near", "drawn"} <= {origin for _, _, origin, _ in first}
    assert all(find(shuffled(vectors, seed), limit=150, per_record=3) == first for seed in range(5))


def test_progress_reaches_the_end(unit_vectors: Any) -> None:
    """Progress is told up to the number of records."""
    told: list[tuple[int, int]] = []
    find(unit_vectors(9), limit=20, per_record=2, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (9, 9)
