"""From scores to a batch: what is never asked, what is asked once, what does not change the queue."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import toughcall.data
from toughcall.mining import queue
from toughcall.mining.queue import alike, next_batch
from toughcall.mining.reasons import STRATEGIES
from toughcall.records import Batch, Scores, Text, Vectors

MIXED = {"in_band": 0.3, "rare_class": 0.2, "diverse": 0.25, "disagreement": 0.05, "random_audit": 0.2}

LOOKING = {"known_neighbours", "seeds", "patterns", "anchors", "missed"}
"""Reasons that find nothing without something to look for."""


@dataclass(frozen=True)
class Mine:
    """Settings as a project has them."""

    low: float = 0.4
    high: float = 0.6
    per_record: int = 3
    near_duplicate: float = 0.97


def made(n: int, *, asked: int = 0, seed: int = 0, d: int = 16) -> tuple[Scores, Vectors]:
    """An open pool of n with three exclusive labels; `asked`: vectors for so many items more, a0000 and on."""
    draw = np.random.default_rng(seed)
    array = draw.normal(size=(n + asked, d)).astype(np.float32)
    array /= np.linalg.norm(array, axis=1, keepdims=True)
    ids = tuple(f"i{number:04d}" for number in draw.permutation(n))
    parts = {name: draw.uniform(size=n).astype(np.float32) for name in ("cosine", "tfidf")}
    values = draw.dirichlet([0.7, 0.7, 0.7], n).astype(np.float32)
    vectors = Vectors((*ids, *(f"a{number:04d}" for number in range(asked))), array, "made")
    return Scores(ids, ("x", "y", "z"), values, "m1", parts), vectors


def batch_of(scores: Scores, vectors: Vectors, size: int = 20, seed: int = 0, **more: Any) -> Batch:
    """The next batch under the usual quotas."""
    given_ = {"settings": Mine(), "quotas": MIXED, "name": "b1", "schema": "s1", **more}
    rules, quotas = given_.pop("settings"), given_.pop("quotas")
    return next_batch(scores, vectors, rules, quotas, size, rng=np.random.default_rng(seed), **given_)


def items(batch: Batch, reason: str = "") -> list[str]:
    return [pick.item for pick in batch.picks if reason in {"", pick.reason}]


def test_a_batch_holds_its_quotas() -> None:
    """Each reason gets its share of a pool that has enough for all; ranks, names and probabilities are set."""
    batch = batch_of(*made(400), size=20)
    assert Counter(pick.reason for pick in batch.picks) == {
        "in_band": 6,
        "rare_class": 4,
        "diverse": 5,
        "disagreement": 1,
        "random_audit": 4,
    }
    assert [pick.rank for pick in batch.picks] == list(range(20))
    assert len(set(items(batch))) == 20
    assert batch.shortfall == {}
    assert (batch.name, batch.schema, batch.model) == ("b1", "s1", "m1")
    assert {pick.probability for pick in batch.picks if pick.reason == "random_audit"} == {4 / 400}
    assert {pick.probability for pick in batch.picks if pick.reason != "random_audit"} == {1.0}


@pytest.mark.parametrize("collapse", [True, False])
def test_the_order_of_the_pool_never_matters_c23(collapse: bool) -> None:
    """The same batch from any order of the rows of scores and vectors; another seed draws another audit (C23, P13)."""
    scores, vectors = made(300, asked=20)
    more: dict[str, Any] = {"asked": vectors.ids[300:], "collapse": collapse}
    first = batch_of(scores, vectors, **more)
    for seed in range(3):
        order, other = (
            np.random.default_rng(seed + k).permutation(len(ids)) for k, ids in ((0, scores.ids), (9, vectors.ids))
        )
        mixed = Vectors(tuple(vectors.ids[row] for row in other), vectors.array[other], vectors.encoder)
        assert batch_of(scores.take(order), mixed, **more) == first
    drawn = {tuple(items(batch_of(scores, vectors, seed=seed, **more), "random_audit")) for seed in range(4)}
    assert len(drawn) == 4


def test_what_was_asked_is_passed_over_c29() -> None:
    """Items already asked or pending are never in the next batch, although their scores are there (C29)."""
    scores, vectors = made(60)
    seen: set[str] = set()
    for _ in range(5):
        batch = batch_of(scores, vectors, size=15, asked=seen)
        assert not seen & set(items(batch))
        seen |= set(items(batch))
    assert seen == set(scores.ids)
    assert batch_of(scores, vectors, size=15, asked=seen).picks == ()


def test_what_is_held_out_is_only_audited_c27() -> None:
    """Held-out items come into a batch through the audit that names them, and with its odds (C27)."""
    scores, vectors = made(80)
    held = sorted(scores.ids)[:30]
    open_ = scores.take([row for row, one in enumerate(scores.ids) if one not in held])
    assert not set(items(batch_of(open_, vectors))) & set(held)
    batch = batch_of(open_, vectors, audited=held)
    assert set(items(batch, "random_audit")) == set(items(batch)) & set(held)
    assert {pick.probability for pick in batch.picks if pick.item in held} == {4 / 30}
    only = batch_of(scores.take([]), vectors, audited=held)
    assert len(only.picks) == 4
    assert only.shortfall == {"in_band": 6, "rare_class": 4, "diverse": 5, "disagreement": 1}


@pytest.mark.parametrize("reason", sorted({*STRATEGIES, "random_audit"} - LOOKING))
def test_a_pool_of_three_and_500_c24(reason: str) -> None:
    """Three items are asked once each and what is missing is said (C24)."""
    scores, vectors = made(3)
    more = {"committee": np.stack([scores.values, scores.values[:, ::-1]])}
    spread = replace(scores, parts={**scores.parts, "spread": np.ones(3, np.float32)})
    band = Mine(low=0.0, high=1.0)
    batch = batch_of(spread, vectors, 500, settings=band, quotas={reason: 1.0}, more=more)
    assert sorted(items(batch)) == sorted(scores.ids)
    assert batch.shortfall == {reason: 497}


def twins(scores: Scores, vectors: Vectors, of: Sequence[str], place: str) -> Vectors:
    """The vectors where every id of `of` lies almost where `place` lies: cosine above 0.999."""
    array, noise = vectors.array.copy(), np.random.default_rng(5)
    rows = [vectors.where[one] for one in of]
    array[rows] = array[vectors.where[place]] + noise.normal(scale=0.003, size=(len(rows), array.shape[1]))
    array /= np.linalg.norm(array, axis=1, keepdims=True)
    return Vectors(vectors.ids, array, vectors.encoder)


def test_of_near_duplicates_one_is_asked() -> None:
    """Half the pool is one text: one of it at most is asked, none where one was asked; unless nobody collapses."""
    scores, vectors = made(200, asked=1)
    half = sorted(scores.ids)[:100]
    same = twins(scores, vectors, half, half[0])
    assert len(set(items(batch_of(scores, same))) & set(half)) > 2
    assert len(set(items(batch_of(scores, same, collapse=True))) & set(half)) == 1
    known = twins(scores, vectors, half, "a0000")
    assert not set(items(batch_of(scores, known, collapse=True, asked={"a0000"}))) & set(half)
    assert len(batch_of(scores, known, collapse=True, asked={"a0000"}).picks) == 20


def test_a_list_full_of_near_duplicates_goes_on_in_the_pool() -> None:
    """The surest 300 of a rare class are one text that was asked: the reason still finds its share behind them.

    Only where near-duplicates took it: a reason that has no more in the whole pool is short, and says so.
    """
    scores, vectors = made(900, asked=1)
    likely = sorted(range(900), key=lambda row: -scores.values[row, 0])[:300]
    known = twins(scores, vectors, [scores.ids[row] for row in likely], "a0000")
    quotas = {"rare_class": 1.0}
    batch = batch_of(scores, known, 20, quotas=quotas, counts={"y": 10**9, "z": 10**9}, collapse=True, asked={"a0000"})
    assert len(batch.picks) == 20
    assert batch.shortfall == {}
    assert not {scores.ids[row] for row in likely} & set(items(batch))
    narrow = batch_of(scores, vectors, 20, quotas={"in_band": 1.0}, settings=Mine(low=0.5, high=0.5), collapse=True)
    assert narrow.shortfall == {"in_band": 20}


def test_a_record_is_in_few_items_of_a_batch() -> None:
    """Pairs of one crowded record: at most `per_record` of them, and others further down take their places."""
    scores, vectors = made(500)
    crowded = sorted(range(500), key=lambda row: abs(scores.values[row].max() - 0.5))[:260]
    records = {one: (("hub" if row in crowded else f"r{row}"), f"s{row}") for row, one in enumerate(scores.ids)}
    vectors = Vectors(tuple(f"s{row}" for row in range(500)), vectors.array, "made")
    views = {one: records[one][1:] for one in scores.ids}
    quotas = {"margin": 1.0}
    batch = batch_of(scores, vectors, 20, quotas=quotas, records=records, views=views, settings=Mine(per_record=2))
    assert Counter(records[one][0] for one in items(batch))["hub"] == 2
    assert len(batch.picks) == 20
    assert batch.shortfall == {}


def test_more_reaches_every_strategy() -> None:
    """A committee handed on decides; one that does not fit the open items is refused."""
    scores, vectors = made(50)
    members = np.stack([scores.values, scores.values])
    members[:, 17] = [[1, 0, 0], [0, 1, 0]]
    batch = batch_of(scores, vectors, 1, quotas={"committee": 1.0}, more={"committee": members})
    assert items(batch) == [scores.ids[17]]
    with pytest.raises(ValueError, match="does not fit"):
        batch_of(scores.take(range(49)), vectors, 1, quotas={"committee": 1.0}, more={"committee": members})


def brute(ids: set[str], asked: set[str], vectors: Vectors, threshold: float) -> set[frozenset[str]]:
    """The clusters by looking at every pair of which one is of `ids`."""
    found = [{one} for one in ids | asked]
    for a in ids:
        for b in (ids | asked) - {a}:
            if vectors.rows([a])[0] @ vectors.rows([b])[0] >= threshold:
                left, right = (next(some for some in found if one in some) for one in (a, b))
                if left is not right:
                    found.remove(right)
                    left |= right
    return {frozenset(some) for some in found if len(some) > 1}


@settings(deadline=None)
@given(
    n=st.integers(0, 25),
    m=st.integers(0, 12),
    d=st.integers(2, 3),
    threshold=st.floats(0.5, 0.999),
    cells=st.integers(1, 200),
    seed=st.integers(0, 10**6),
)
def test_clusters_are_those_of_looking_at_every_pair(
    n: int, m: int, d: int, threshold: float, cells: int, seed: int
) -> None:
    """By blocks of any size: the same clusters as pair by pair, each named by its smallest id; links join."""
    _, vectors = made(max(n, 1), asked=m, seed=seed, d=d)
    ids, asked = set(vectors.ids[:n]), {*vectors.ids[max(n, 1) :], *vectors.ids[:2], "without a vector"}
    cosines = vectors.array @ vectors.array.T
    if (np.abs(cosines - threshold) < 1e-5).any():
        return
    before, queue.CELLS = queue.CELLS, cells
    try:
        found = alike([*ids, "no vector either"], asked, vectors, threshold)
    finally:
        queue.CELLS = before
    clusters: dict[str, set[str]] = {}
    for one, name in found.items():
        clusters.setdefault(name, set()).add(one)
    assert all(name == min(some) for name, some in clusters.items())
    assert {frozenset(some) for some in clusters.values()} == brute(
        ids, asked - {"without a vector"}, vectors, threshold
    )


def test_only_what_may_be_picked_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """However large the pool, the near-duplicates of a few hundred items are looked for: never N²."""
    sizes = []

    def counting(ids: Any, *rest: Any) -> dict[str, str]:
        sizes.append(len(ids))
        return alike(ids, *rest)

    monkeypatch.setattr(queue, "alike", counting)
    scores, vectors = made(5000)
    batch_of(scores, vectors, 10, collapse=True)
    assert len(sizes) == 1
    assert 100 < sizes[0] <= 4 * (5 * 10 + 50)


def test_real_texts_make_a_mixed_batch(minilm: Any) -> None:
    """The demo's clauses under MiniLM: a first batch is spread over the pool, and the next one has nothing of it."""
    path = Path(toughcall.data.__file__).parent / "clauses" / "clauses.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()[:120]]
    texts = [Text(row["text"]) for row in rows]
    ids = tuple(text.id for text in texts)
    vectors = Vectors(ids, minilm.encode([text.text for text in texts]), "minilm")
    labels = tuple(sorted({label for row in rows for label in row["labels"]}))
    hints = minilm.encode(list(labels))
    scores = Scores(ids, labels, np.clip((vectors.array @ hints.T + 1) / 2, 0, 1).astype(np.float32), "untouched")
    quotas = {"diverse": 0.6, "rare_class": 0.2, "random_audit": 0.2}
    first = batch_of(scores, vectors, 20, quotas=quotas, collapse=True)
    second = batch_of(scores, vectors, 20, quotas=quotas, collapse=True, asked=items(first))
    assert len(first.picks) == len(second.picks) == 20
    assert not set(items(first)) & set(items(second))
    together = vectors.rows(items(first) + items(second))
    assert (together @ together.T)[~np.eye(40, dtype=bool)].max() < 0.97
    apart = vectors.rows(items(first, "diverse"))
    near = (vectors.array @ apart.T).max(axis=1).mean()
    drawn = [np.random.default_rng(seed).choice(120, len(apart), replace=False) for seed in range(20)]
    assert near > np.mean([(vectors.array @ vectors.array[some].T).max(axis=1).mean() for some in drawn])
