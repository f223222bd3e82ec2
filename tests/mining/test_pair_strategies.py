"""Pairs outside the band, and pairs no retriever finds."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from toughcall.mining.pair_strategies import anchors, missed


def seeded(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_anchors_are_even_over_the_range_and_never_in_the_band(scored: Any) -> None:
    """Each tenth outside the band gives as many, whatever it holds; odds are the share drawn; order decides nothing."""
    values = np.concatenate([np.linspace(0, 0.099, 400), np.linspace(0.1, 1.0, 200)])
    scores = scored(values)
    picks = anchors(scores, 40, rng=seeded(), low=0.4, high=0.6)
    by_tenth = Counter(min(9, int(pick.score * 10 + 1e-9)) for pick in picks)
    assert len({pick.item for pick in picks}) == 40
    assert by_tenth == dict.fromkeys((0, 1, 2, 3, 6, 7, 8, 9), 5)
    assert not [pick for pick in picks if 0.4 <= round(pick.score, 6) <= 0.6]
    assert {round(pick.probability, 9) for pick in picks if pick.score < 0.099} == {round(5 / 400, 9)}
    assert [pick.rank for pick in picks] == list(range(40))
    order = np.random.default_rng(3).permutation(600)
    assert anchors(scores.take(order), 40, rng=seeded()) == picks
    assert anchors(scores, 40, rng=seeded(1)) != picks


def test_anchors_use_what_there_is(scored: Any) -> None:
    """An empty stratum's turn goes to the others; all in the band: none; no item: none."""
    assert len(anchors(scored([0.01, 0.02, 0.5, 0.97]), 9, rng=seeded())) == 3
    assert {pick.probability for pick in anchors(scored([0.01, 0.02, 0.97]), 9, rng=seeded())} == {1.0}
    assert anchors(scored([0.4, 0.5, 0.6]), 5, rng=seeded()) == []
    assert anchors(scored(np.zeros((0, 1))), 5, rng=seeded()) == []


def test_missed_takes_only_what_no_retriever_finds(scored: Any) -> None:
    """Likeliest first, ties by id (C23), differences below 1e-6 decide nothing; without origins there is nothing."""
    scores = scored([0.5, 0.9, 0.5 + 1e-8, 0.99, 0.1])
    origins = {"i000": "missed", "i001": "missed", "i002": "missed", "i003": "near", "i004": "missed"}
    assert [pick.item for pick in missed(scores, 3, rng=seeded(), origins=origins)] == ["i001", "i000", "i002"]
    assert missed(scores, 3, rng=seeded()) == []
