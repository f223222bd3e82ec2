"""Blocks and time windows: no pair that is not allowed, and every one that is has a known chance."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import combinations
from typing import Any

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from toughcall.mining.pairs import Allowed, candidate_pairs, shares_of
from toughcall.records import Vectors

Found = list[tuple[str, str, str, float]]
# halves are exact, so that brute force and floats agree on what lies on the edge of a window
TIMES = st.none() | st.integers(0, 12).map(lambda n: n / 2)


def unit(n: int, seed: int) -> Vectors:
    array = np.random.default_rng(seed).normal(size=(n, 4)).astype(np.float32)
    return Vectors(tuple(f"v{i:02d}" for i in range(n)), array / np.linalg.norm(array, axis=1)[:, None], "made")


def shuffled(vectors: Vectors, seed: int) -> Vectors:
    order = np.random.default_rng(seed).permutation(len(vectors.ids))
    return Vectors(tuple(vectors.ids[i] for i in order), vectors.array[order], vectors.encoder)


@st.composite
def pools(draw: st.DrawFn) -> tuple[Vectors, Allowed]:
    """Some records, each with a block and perhaps a time."""
    vectors = unit(draw(st.integers(2, 16)), draw(st.integers(0, 5)))
    blocks = {one: draw(st.sampled_from(["", "x", "y"])) for one in vectors.ids}
    times = {one: draw(TIMES) for one in vectors.ids}
    return vectors, Allowed(blocks, times, draw(st.sampled_from([0.0, 0.5, 2.0, 100.0])))


def brute(vectors: Vectors, allowed: Allowed) -> dict[str, set[tuple[str, str]]]:
    """Every allowed pair of each block, looked at one by one."""
    found: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for a, b in combinations(sorted(vectors.ids), 2):
        if allowed.blocks[a] != allowed.blocks[b]:
            continue
        one, other = allowed.times[a], allowed.times[b]
        if not allowed.window or one is None or other is None or abs(one - other) <= allowed.window:
            found[allowed.blocks[a]].add((a, b))
    return found


def find(vectors: Vectors, allowed: Allowed, *, seed: int = 0, **settings: Any) -> Found:
    found = candidate_pairs(vectors, rng=np.random.default_rng(seed), allowed=allowed, **settings)
    return list(zip(found.a, found.b, found.origin, found.probability.tolist(), strict=True))


@given(pool=pools(), limit=st.integers(0, 140), near=st.integers(1, 4))
@settings(max_examples=200, deadline=None)
def test_against_brute_force(pool: tuple[Vectors, Allowed], limit: int, near: int) -> None:
    """Every pair that comes back is allowed and there once; as many as the limit has room for; each has its odds."""
    vectors, allowed = pool
    wanted = brute(vectors, allowed)
    total = sum(map(len, wanted.values()))
    found = find(vectors, allowed, limit=limit, per_record=near)
    assert [(a, b) for a, b, _, _ in found] == sorted({(a, b) for a, b, _, _ in found})
    assert len({frozenset((a, b)) for a, b, _, _ in found}) == len(found), "(a, b) and (b, a) are one pair"
    assert len(found) <= limit
    if total <= limit:
        assert {(a, b) for a, b, _, _ in found} == {pair for some in wanted.values() for pair in some}
    names = sorted({allowed.blocks[one] for one in vectors.ids})
    shares = dict(zip(names, shares_of([len(wanted[name]) for name in names], limit), strict=True))
    for block, some in wanted.items():
        mine = [row for row in found if allowed.blocks[row[0]] == block]
        assert {(a, b) for a, b, _, _ in mine} <= some, "a pair that is not allowed"
        assert len(mine) == shares[block]
        for *_, origin, odds in mine:
            assert 0 < odds <= 1
            assert odds == 1.0 or (origin in ("drawn", "missed") and len(mine) < len(some))
        if len(some) <= shares[block]:
            assert {odds for *_, odds in mine} <= {1.0}
        elif mine:
            assert sum(1 / odds for *_, odds in mine) <= len(some) + 1e-6, "weighted, never more than there are"


@given(pool=pools(), limit=st.integers(0, 140), seed=st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_the_order_of_the_records_does_not_matter_c23(pool: tuple[Vectors, Allowed], limit: int, seed: int) -> None:
    """C23: the same records in another order give the same pairs with the same odds."""
    vectors, allowed = pool
    first = find(vectors, allowed, limit=limit, per_record=2)
    assert find(shuffled(vectors, seed), allowed, limit=limit, per_record=2) == first


@given(
    times=st.lists(st.floats(0, 9) | st.integers(0, 90).map(lambda n: n / 10) | st.none(), min_size=2, max_size=12),
    window=st.sampled_from([0.1, 0.3, 1.0, 2.2, 1e-9]),
)
@example(times=[0.1, 0.4], window=0.3)
@settings(max_examples=300, deadline=None)
def test_what_is_counted_is_what_is_allowed(times: list[float | None], window: float) -> None:
    """Times like 0.1 and 0.4 a window of 0.3 apart are counted as they are drawn: else a draw would never end."""
    ids = [f"v{n:02d}" for n in range(len(times))]
    allowed = Allowed({}, dict(zip(ids, times, strict=True)), window)
    assert allowed.count(ids) == sum(allowed.near(a, b) for a, b in combinations(ids, 2))
    assert all(allowed.near(a, b) == allowed.near(b, a) for a, b in combinations(ids, 2))


def test_nothing_said_allows_everything() -> None:
    """Without blocks and times every pair is a candidate; a record without a time may be paired whenever."""
    ids = ["a", "b", "c"]
    assert Allowed().count(ids) == Allowed(times={"a": 0.0, "b": 99.0}).count(ids) == 3
    lonely = Allowed(times={"a": 0.0, "b": 99.0}, window=1.0)
    assert [lonely.near("a", "b"), lonely.near("a", "c"), lonely.near("b", "c")] == [False, True, True]
    assert lonely.count(ids) == 2


def test_the_probability_of_a_drawn_pair_is_its_frequency() -> None:
    """Under blocks and a window each allowed pair is drawn as often as its probability says, no other one ever."""
    vectors, runs = unit(18, 1), 400
    blocks = {one: "xy"[n % 2] for n, one in enumerate(vectors.ids)}
    times = {one: float(n % 7) for n, one in enumerate(vectors.ids)}
    allowed = Allowed(blocks, times, 3.0)
    drawn: Counter[tuple[str, str]] = Counter()
    odds: dict[tuple[str, str], float] = {}
    for seed in range(runs):
        for a, b, _, chance in find(vectors, allowed, seed=seed, limit=40, per_record=1):
            drawn[a, b] += 1
            assert odds.setdefault((a, b), chance) == chance
    everything = {pair for some in brute(vectors, allowed).values() for pair in some}
    assert set(odds) == everything
    assert 0 < sum(chance == 1.0 for chance in odds.values()) < len(odds) - 10
    for pair, chance in odds.items():
        # six standard deviations of one pair's frequency
        assert abs(drawn[pair] / runs - chance) <= 6 * np.sqrt(chance * (1 - chance) / runs)
