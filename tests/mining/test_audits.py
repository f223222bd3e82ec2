"""Stratified audits: how many of each band, with what odds, and that the order of the pool never matters."""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
import pytest

from toughcall.mining.audits import allocation, bands, stratified_audit
from toughcall.records import UsageError


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_the_bands_begin_at_their_edges() -> None:
    """A score on an edge is in the upper band, also where float noise puts it 1e-9 below."""
    assert bands(np.array([0.0, 0.0999, 0.1, 0.3 - 1e-9, 0.5, 0.7, 1.0])).tolist() == [0, 0, 1, 2, 3, 4, 4]
    assert bands(np.array([0.2, 0.4]), (0.3, 0.1)).tolist() == [1, 2]


def test_the_allocation_is_the_best_of_all() -> None:
    """Of all ways to take 12 from three strata, two of each or more, none has less variance."""
    sizes, rates = {0: 300, 1: 60, 2: 50}, {0: 0.02, 1: 0.3, 2: 0.95}

    def variance(taken: tuple[int, ...]) -> float:
        return sum(sizes[i] ** 2 * rates[i] * (1 - rates[i]) / n for i, n in enumerate(taken))

    best = min((one for one in product(range(2, 9), repeat=3) if sum(one) == 12), key=variance)
    given = allocation(sizes, rates, 12)
    assert tuple(given.values()) == best
    assert given[0] > given[1] > given[2] >= 2


def test_two_of_each_stratum_and_never_more_than_it_has() -> None:
    """A stratum scored 0 or 1 still gets two; one of a single item gives one; a small one never more than all."""
    assert allocation({0: 1000, 1: 50, 2: 1}, {0: 0.5, 1: 0.0, 2: 1.0}, 20) == {0: 17, 1: 2, 2: 1}
    assert allocation({0: 4, 1: 500}, {0: 0.5, 1: 0.0}, 400)[0] <= 4
    assert allocation({0: 2, 1: 3}, {0: 0.5, 1: 0.5}, 99) == {0: 2, 1: 3}


def test_too_few_for_the_strata_is_said() -> None:
    """Three for two strata: a UsageError says how many it needs and what to change."""
    with pytest.raises(UsageError, match=r"an audit of 3 .* needs 4; .*mine.quotas"):
        allocation({0: 10, 1: 10}, {0: 0.1, 1: 0.9}, 3)


def test_every_pick_carries_the_odds_of_its_stratum() -> None:
    """Probability n_h / N_h to the bit, reason random_audit, ranks from 0; the picks stand for the whole pool."""
    scores = rng(1).random(500) ** 4
    strata, ids = bands(scores), [f"i{row:03d}" for row in range(500)]
    picks = stratified_audit(ids, strata, scores, 40, rng())
    sizes, taken = Counter(strata.tolist()), Counter(int(strata[int(pick.item[1:])]) for pick in picks)
    assert {pick.reason for pick in picks} == {"random_audit"}
    assert [pick.rank for pick in picks] == list(range(40))
    assert len({pick.item for pick in picks}) == 40
    for pick in picks:
        one = int(strata[int(pick.item[1:])])
        assert pick.probability == taken[one] / sizes[one]
        assert pick.note.startswith(f"drawn at random, {taken[one]} of {sizes[one]} ")
    assert sum(1 / pick.probability for pick in picks) == pytest.approx(500)


def test_the_order_of_the_pool_changes_nothing_c23() -> None:
    """A shuffled pool gives the same picks in the same order (C23); another seed gives others."""
    scores = rng(2).random(300)
    ids, order = np.array([f"i{row:03d}" for row in range(300)]), rng(3).permutation(300)
    plain = stratified_audit(ids.tolist(), bands(scores), scores, 30, rng())
    turned = stratified_audit(ids[order].tolist(), bands(scores[order]), scores[order], 30, rng())
    assert plain == turned
    assert {pick.item for pick in plain} != {
        pick.item for pick in stratified_audit(ids.tolist(), bands(scores), scores, 30, rng(1))
    }


def test_within_a_stratum_every_item_is_as_likely() -> None:
    """Over 2,000 draws of 10 from two strata, no item is drawn more than 5 sigma off its stratum's odds."""
    scores = np.repeat([0.1, 0.6], [30, 10])
    ids, drawn = [f"i{row:02d}" for row in range(40)], np.zeros(40)
    for seed in range(2000):
        picks = stratified_audit(ids, bands(scores, (0.5,)), scores, 10, rng(seed))
        drawn[[int(pick.item[1:]) for pick in picks]] += 1
    odds = {pick.item: pick.probability for pick in picks}
    for stratum in (range(30), range(30, 40)):
        p = next(odds[ids[row]] for row in stratum if ids[row] in odds)
        assert np.abs(drawn[list(stratum)] - 2000 * p).max() < 5 * np.sqrt(2000 * p * (1 - p))


def test_a_pool_of_3_gives_3_and_none_gives_none_c24() -> None:
    """Pool of 3, n = 500: three picks with certainty, no phantom; an empty pool: none (C24)."""
    picks = stratified_audit(["b", "a", "c"], np.array([0, 0, 1]), np.array([0.1, 0.2, 0.9]), 500, rng())
    assert sorted(pick.item for pick in picks) == ["a", "b", "c"]
    assert {pick.probability for pick in picks} == {1.0}
    assert stratified_audit([], np.array([], dtype=np.intp), np.array([]), 5, rng()) == []
