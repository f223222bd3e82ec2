"""How a limit is shared over blocks and strata, what a retriever misses, and pools too large for an exact scan."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toughcall.mining import near as nearing
from toughcall.mining import pairs as pairing
from toughcall.mining import scan as scanning
from toughcall.mining.pairs import Candidates, candidate_pairs, shares_of, spread_over
from toughcall.records import Vectors


def clustered(n: int = 300, seed: int = 0) -> Vectors:
    """Records in groups of 30: a broad range of cosines, and groups larger than a list of neighbours."""
    rng = np.random.default_rng(seed)
    array = np.repeat(rng.normal(size=(n // 30, 12)), 30, axis=0) + 0.7 * rng.normal(size=(n // 30 * 30, 12))
    array /= np.linalg.norm(array, axis=1, keepdims=True)
    return Vectors(tuple(f"r{i:04d}" for i in rng.permutation(len(array))), array.astype(np.float32), "made")


def find(vectors: Vectors, seed: int = 0, **settings: Any) -> Candidates:
    return candidate_pairs(vectors, rng=np.random.default_rng(seed), **settings)


def cosine_of(vectors: Vectors, found: Candidates) -> np.ndarray:
    return np.einsum("ij,ij->i", vectors.rows(found.a), vectors.rows(found.b))


@given(counts=st.lists(st.integers(0, 60), max_size=12), limit=st.integers(0, 300))
def test_every_block_has_its_share(counts: list[int], limit: int) -> None:
    """Shares use the limit up, never exceed a block, leave no block without a pair where the limit permits, and
    small blocks are whole.
    """
    shares = shares_of(counts, limit)
    some = [place for place, count in enumerate(counts) if count]
    assert sum(shares) == min(limit, sum(counts))
    assert all(0 <= share <= count for share, count in zip(shares, counts, strict=True))
    if limit >= len(some):
        assert all(shares[place] for place in some)
        assert all(shares[p] == counts[p] for p in some if counts[p] <= limit // (2 * len(some)))


def test_a_tiny_block_is_not_lost_beside_a_huge_one() -> None:
    """A proportional share of 2 pairs in a million would be none of 1,000."""
    assert shares_of([10**6, 2, 0, 1], 1000) == [997, 2, 0, 1]
    assert shares_of([5, 5, 9, 5], 2) == [1, 0, 1, 0]


@given(populations=st.lists(st.integers(0, 500), min_size=5, max_size=5), limit=st.integers(0, 900))
def test_the_limit_is_spread_over_the_strata(populations: list[int], limit: int) -> None:
    """All of the limit is used, no stratum exceeded, and each lower one has its reserve."""
    kept = spread_over(populations, limit)
    assert sum(kept) == min(limit, sum(populations))
    assert all(0 <= n <= count for n, count in zip(kept, populations, strict=True))
    assert all(kept[s] >= min(populations[s], int(share * limit)) for s, share in enumerate(pairing.RESERVED))


def test_rare_upper_strata_are_whole_and_the_lowest_is_a_modest_sample() -> None:
    """With real proportions: all of the rare, a tenth of the huge lowest, the rest to the middle."""
    assert spread_over([10**8, 10**7, 10**6, 300, 20], 1000) == [100, 150, 430, 300, 20]
    assert spread_over([10**8, 10**7, 100, 300, 20], 1000) == [100, 480, 100, 300, 20]


def test_candidates_cover_the_range_with_their_cosines() -> None:
    """Every stratum is there, each pair in its own, the raw cosine with it, populations as counted one by one."""
    vectors = clustered()
    found = find(vectors, limit=3000, per_record=5)
    assert found.cosine == pytest.approx(cosine_of(vectors, found), abs=2e-6)
    every = (vectors.array @ vectors.array.T)[np.triu_indices(300, 1)]
    counts = np.histogram(every, pairing.EDGES)[0]
    assert [one.count for one in found.strata] == counts.tolist()
    assert found.recall is None
    for s, count in enumerate(counts):
        mine = found.stratum == s
        assert mine.sum() > 0
        assert (1 / found.probability[mine]).sum() == pytest.approx(count)
    assert Counter(found.origin).keys() == {"near", "missed", "drawn"}


@pytest.mark.parametrize("limit", [3000, 10**6])
def test_missed_pairs_are_what_no_retriever_would_find(limit: int) -> None:
    """Alike, but among neither side's nearest; and whatever is alike and not near is marked, in small pools too."""
    vectors = clustered()
    found = find(vectors, limit=limit, per_record=5)
    cosine = vectors.array @ vectors.array.T
    np.fill_diagonal(cosine, -2)
    top = {frozenset((vectors.ids[a], vectors.ids[b])) for a in range(300) for b in np.argsort(-cosine[a])[:5].tolist()}
    missed = {i for i, origin in enumerate(found.origin) if origin == "missed"}
    assert len(missed) > 200
    for i, (a, b) in enumerate(zip(found.a, found.b, strict=True)):
        assert (i in missed) == (found.cosine[i] >= 0.4 and frozenset((a, b)) not in top)


@pytest.fixture
def small_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make 300 records a pool that is too large to look at every pair, or at every record's neighbours."""
    monkeypatch.setattr(scanning, "PAIRS", 1000)
    monkeypatch.setattr(scanning, "CARD_PAIRS", 1000)
    monkeypatch.setattr(pairing, "DRAWS", 4)
    monkeypatch.setattr(pairing, "FEW", 2)
    for module in (nearing, pairing):
        monkeypatch.setattr(module, "EXACT", 100)


@pytest.mark.usefixtures("small_reach")
def test_beyond_an_exact_scan_odds_and_populations_are_estimated() -> None:
    """Weighted by their odds, candidates add up to the exact populations on average; intervals and recall are told."""
    vectors, runs = clustered(), 60
    every = (vectors.array @ vectors.array.T)[np.triu_indices(300, 1)]
    exact = np.histogram(every, pairing.EDGES)[0]
    sums, held = np.zeros(5), 0
    for seed in range(runs):
        found = find(vectors, seed, limit=2000, per_record=5)
        assert len(set(zip(found.a, found.b, strict=True))) == len(found) == 2000
        assert all(a < b for a, b in zip(found.a, found.b, strict=True))
        assert {p for p, origin in zip(found.probability, found.origin, strict=True) if origin == "near"} == {1.0}
        assert found.recall is not None
        assert 0.3 < found.recall <= 1.0
        sums += np.bincount(found.stratum, 1 / found.probability, minlength=5) / runs
        held += sum(one.least <= n <= one.most for one, n in zip(found.strata, exact, strict=True))
    assert sums == pytest.approx(exact, rel=0.08)
    assert held > 0.9 * 5 * runs


@pytest.mark.usefixtures("small_reach")
def test_beyond_an_exact_scan_the_order_decides_nothing_c23() -> None:
    """C23: the same records in another order, drawn and found in cells: the same candidates."""
    vectors = clustered()
    order = np.random.default_rng(7).permutation(300)
    other = Vectors(tuple(vectors.ids[i] for i in order), vectors.array[order], "made")
    one, two = (find(some, limit=2000, per_record=5) for some in (vectors, other))
    assert (one.a, one.b, one.origin) == (two.a, two.b, two.origin)
    assert np.array_equal(one.probability, two.probability)


def test_a_vector_that_is_no_number_is_refused_c25() -> None:
    """C25: what `clean` would have set aside is not counted among the dissimilar."""
    vectors = clustered()
    vectors.array[3, 2] = np.nan
    with pytest.raises(ValueError, match="clean"):
        find(vectors)
