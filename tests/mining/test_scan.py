"""Every pair counted, sampled with known odds, and its neighbours found: held against brute force."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toughcall.mining import near as nearing
from toughcall.mining import scan as scanning
from toughcall.mining import strata as layers
from toughcall.mining.near import near_pairs, nearest
from toughcall.mining.scan import scan
from toughcall.mining.strata import Strata, draw, pairs_of, stratum_of

EDGES = (-1.0, -0.3, 0.1, 0.5, 1.0001)


def unit(n: int, seed: int, d: int = 3) -> np.ndarray:
    array = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    # a grid, so that many cosines lie on an edge or are equal
    array = np.round(array * 2) + np.float32(0.5)
    return (array / np.linalg.norm(array, axis=1)[:, None]).astype(np.float32)


def reaches(n: int, seed: int, window: int) -> np.ndarray:
    steps = np.random.default_rng(seed).integers(0, window + 1, size=n)
    return np.minimum(n, np.arange(n) + 1 + steps)


def brute(array: np.ndarray, ends: np.ndarray) -> dict[tuple[int, int], float]:
    """The cosine of every allowed pair, one by one."""
    return {
        (a, b): float(np.clip(np.round(np.float64(np.einsum("i,i", array[a], array[b])), 6), -1, 1))
        for a in range(len(array))
        for b in range(a + 1, int(ends[a]))
    }


def seeded(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def keys(found: Strata) -> list[tuple[int, int]]:
    return list(zip(found.a.tolist(), found.b.tolist(), strict=True))


POOLS = {
    "n": st.integers(2, 40),
    "seed": st.integers(0, 9),
    "window": st.sampled_from([0, 1, 5, 99]),
    "keep": st.integers(0, 90),
    "tile": st.sampled_from([(3, 5), (7, 4), (64, 64)]),
}


@given(**POOLS, large=st.booleans())
@settings(max_examples=150, deadline=None)
def test_scan_against_brute_force(
    n: int, seed: int, window: int, keep: int, tile: tuple[int, int], large: bool
) -> None:
    """Whatever the tiles, the window and the way a stratum is sampled: exact counts, each pair once and in its
    stratum, kept / population as its odds.
    """
    array, ends = unit(n, seed), reaches(n, seed, window)
    wanted = brute(array, ends)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scanning, "TILE", tile)
        if large:
            patch.setattr(layers, "PILOT", 0 if not wanted else 5)
            patch.setattr(scanning, "large_of", lambda *_: [True, False, True, False])
        found = scan(array, EDGES, keep, seeded(), ends=ends)
    counts = Counter(stratum_of(np.asarray(list(wanted.values())), EDGES).tolist())
    assert [one.count for one in found.populations] == [counts[s] for s in range(4)]
    assert all(one.exact and one.least == one.count == one.most for one in found.populations)
    assert found.total == len(wanted)
    assert len(set(keys(found))) == len(keys(found))
    for (a, b), cosine, s, odds in zip(keys(found), found.cosine, found.stratum, found.probability, strict=True):
        assert wanted[a, b] == pytest.approx(cosine, abs=2e-6)
        assert stratum_of(np.asarray([wanted[a, b]]), EDGES) == s
        assert odds == min(keep, counts[s]) / counts[s]
    assert Counter(found.stratum.tolist()) == Counter({s: min(keep, c) for s, c in counts.items() if min(keep, c)})


def test_the_tiles_decide_nothing_c23(monkeypatch: pytest.MonkeyPatch) -> None:
    """C23, P13: small and large tiles keep the same pairs in the same order, squeezed early or late."""
    array, seen = unit(90, 3), []
    for tile, slack in (((7, 5), 1), ((90, 90), 10**6), ((16, 64), 50)):
        monkeypatch.setattr(scanning, "TILE", tile)
        monkeypatch.setattr(scanning, "SLACK", slack)
        seen.append(keys(scan(array, EDGES, 40, seeded(5))))
    assert seen[0] == seen[1] == seen[2]
    assert len(seen[0]) == 160
    assert seen[0] != keys(scan(array, EDGES, 40, seeded(6)))


def test_each_pair_is_kept_as_often_as_its_odds_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over 300 seeds every pair of a stratum is kept as often as every other, hashed or drawn."""
    array, runs = unit(24, 1), 300
    for large in (False, True):
        monkeypatch.setattr(scanning, "large_of", lambda *_, large=large: [large] * 4)
        kept: Counter[tuple[int, int]] = Counter()
        odds: dict[tuple[int, int], float] = {}
        for seed in range(runs):
            found = scan(array, EDGES, 12, seeded(seed))
            kept.update(keys(found))
            odds |= dict(zip(keys(found), found.probability.tolist(), strict=True))
        assert len(odds) == 24 * 23 // 2
        for pair, p in odds.items():
            assert abs(kept[pair] / runs - p) <= 6 * np.sqrt(p * (1 - p) / runs)


def test_what_is_kept_may_depend_on_the_populations() -> None:
    """The caller shares a limit over the strata once their populations are known."""
    told: list[list[int]] = []

    def keep(populations: Any) -> list[int]:
        told.append(list(populations))
        return [0, 3, 10**9, 1]

    found = scan(unit(40, 2), EDGES, keep, seeded())
    assert told == [[one.count for one in found.populations]]
    assert np.bincount(found.stratum, minlength=4).tolist() == [0, 3, told[0][2], 1]


@given(n=st.integers(2, 30), seed=st.integers(0, 9), window=st.sampled_from([0, 2, 99]))
@settings(max_examples=60, deadline=None)
def test_numbers_name_each_allowed_pair_once(n: int, seed: int, window: int) -> None:
    """The numbers 0 to total - 1 are exactly the allowed pairs, in order."""
    ends = reaches(n, seed, window)
    wanted = [(a, b) for a in range(n) for b in range(a + 1, ends[a])]
    a, b = pairs_of(np.arange(len(wanted)), ends)
    assert list(zip(a.tolist(), b.tolist(), strict=True)) == wanted


def test_estimated_populations_hold_the_exact_ones() -> None:
    """The 95 % interval of each stratum holds the exact count in most draws, and is no wider than it must be."""
    array = unit(300, 4)
    exact = scan(array, EDGES, 0, seeded()).populations
    held = 0
    for seed in range(50):
        found = draw(array, EDGES, 10, seeded(seed), draws=2000)
        assert not any(one.exact for one in found.populations)
        held += sum(e.least <= x.count <= e.most for e, x in zip(found.populations, exact, strict=True))
        assert all(e.most - e.least < 0.06 * found.total for e in found.populations)
    assert 0.9 * 200 < held < 200, held


def test_drawn_pairs_estimate_a_total_without_bias() -> None:
    """Weighted by 1 / probability, drawn pairs add up to the population of every stratum, thinned or not."""
    array = unit(60, 5)
    exact = [one.count for one in scan(array, EDGES, 0, seeded()).populations]
    sums = np.zeros(4)
    for seed in range(300):
        found = draw(array, EDGES, 25, seeded(seed), draws=400)
        sums += np.bincount(found.stratum, 1 / found.probability, minlength=4) / 300
    assert sums == pytest.approx(exact, rel=0.06)


@given(n=st.integers(1, 40), seed=st.integers(0, 9), window=st.sampled_from([0, 3, 99]), k=st.integers(1, 6))
@settings(max_examples=100, deadline=None)
def test_nearest_against_brute_force(n: int, seed: int, window: int, k: int) -> None:
    """The k allowed partners of greatest cosine, ties to the lower place, also across panels and a window."""
    array, ends = unit(n, seed), reaches(n, seed, window)
    cosine = brute(array, ends)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nearing, "PANEL", 7)
        patch.setattr(nearing, "ROWS", 5)
        query, other, value, rank = nearest(array, k, ends=ends, least=-0.5)
    for place in range(n):
        mine = {(b if a == place else a): c for (a, b), c in cosine.items() if place in (a, b)}
        best = sorted((-round(c, 5), one) for one, c in mine.items() if c >= -0.5)[:k]
        got = query == place
        assert rank[got].tolist() == list(range(len(best)))
        assert np.round(value[got], 5).tolist() == pytest.approx([-c for c, _ in best], abs=2e-5)
        assert all(mine[one] == pytest.approx(c, abs=2e-6) for one, c in zip(other[got], value[got], strict=True))


def test_cells_find_most_neighbours_and_say_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above EXACT the neighbours within cells are true ones, most of all, and the recall told is the recall had."""
    base = np.random.default_rng(0).normal(size=(60, 16))
    array = np.repeat(base, 10, axis=0) + 0.6 * np.random.default_rng(1).normal(size=(600, 16))
    array = (array / np.linalg.norm(array, axis=1)[:, None]).astype(np.float32)
    ends = np.minimum(600, np.arange(600) + 200)
    exact = near_pairs(array, 5, seeded(), ends=ends, least=0.3)
    assert exact.recall == 1.0
    monkeypatch.setattr(nearing, "EXACT", 100)
    monkeypatch.setattr(nearing, "QUERIES", 600)
    rows = np.random.default_rng(2).permutation(600)
    moved = np.empty_like(array)
    moved[rows] = array
    some = near_pairs(moved, 5, seeded(), ends=ends, rows=rows, least=0.3)
    assert (some.a < some.b).all()
    assert (some.b < ends[some.a]).all()
    assert some.cosine == pytest.approx(np.einsum("ij,ij->i", array[some.a], array[some.b]), abs=2e-6)
    truth = set(zip(exact.a.tolist(), exact.b.tolist(), strict=True))
    found = truth & set(zip(some.a.tolist(), some.b.tolist(), strict=True))
    assert 0.5 < some.recall < 1.0
    assert len(found) / len(truth) == pytest.approx(some.recall, abs=0.1)
