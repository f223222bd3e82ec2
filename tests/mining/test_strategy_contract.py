"""What every reason to ask keeps to, whatever it asks for: one contract for all of them.

Those that look for something (known positives, phrases, patterns, pairs of an origin) find less than a whole
pool; what they find, and what they say of it, have tests of their own.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toughcall.mining.ranking import best, by_id
from toughcall.mining.reasons import STRATEGIES, choose
from toughcall.mining.strategies import exclusive
from toughcall.records import Pick, Scores, Vectors

LOOKING = {"known_neighbours", "seeds", "patterns", "anchors", "missed"}
REASONS = sorted(set(STRATEGIES) - LOOKING)
ASKED = ("asked0", "asked1")
SHAPES = ("one", "independent", "exclusive")
Pool = tuple[Scores, dict[str, Any]]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def names(picks: list[Pick]) -> list[str]:
    return [pick.item for pick in picks]


def made(n: int, shape: str = "exclusive", *, seed: int = 1, equal: bool = False) -> Pool:
    """A pool of n in no order of its ids, and all that a strategy may ask for; `equal`: nothing tells items apart."""
    draw, width = rng(seed), 1 if shape == "one" else 3
    members = draw.dirichlet([1, 1, 1], (5, n)) if shape == "exclusive" else draw.uniform(0.05, 0.95, (5, n, width))
    array = draw.normal(size=(n + len(ASKED), 6)).astype(np.float32)
    parts = {name: draw.uniform(size=n).astype(np.float32) for name in ("cosine", "tfidf", "spread")}
    if equal:
        members[:] = members[:, :1]
        array[:] = array[:1]
        parts = {name: np.ones(n, np.float32) for name in parts}
    array /= np.linalg.norm(array, axis=1, keepdims=True)
    # 37 has no divisor but 1 and itself: every number below n comes once
    ids = tuple(f"i{row * 37 % n if n % 37 else row:04d}" for row in range(n))
    committee = members.astype(np.float32)
    scores = Scores(ids, tuple("xyz"[:width]), committee.mean(axis=0), "m1", parts)
    context = {
        "vectors": Vectors((*ids, *ASKED), array, "made"),
        "counts": {"x": 3},
        "low": 0.0,
        "high": 1.0,
        "asked": ASKED,
        "committee": committee,
        "thresholds": [0.4, 0.5, 0.6][:width],
        "answers": {"asked0": ("x",), "asked1": ("y",)},
        "seed_vectors": {"x": array[:2]},
        "matched": {"x": {"a": set(ids[: n // 2])}, "y": {"b": set(ids[n // 3 :])}}
        if width > 1
        else {"x": {"a": {*ids}}},
        "origins": dict.fromkeys(ids[::2], "missed"),
    }
    return scores, context


def narrow(reason: str, pool: Pool) -> Pool:
    """The same pool; anchors lie outside a band, which is narrow for them."""
    return pool if reason != "anchors" else (pool[0], {**pool[1], "low": 0.45, "high": 0.55})


def permuted(pool: Pool, seed: int) -> Pool:
    """The same pool with its rows, and the rows of its vectors, in another order."""
    scores, context = pool
    order, other = rng(seed).permutation(len(scores.ids)), rng(seed + 1).permutation(len(context["vectors"].ids))
    vectors = context["vectors"]
    moved = Vectors(tuple(vectors.ids[row] for row in other), vectors.array[other], vectors.encoder)
    return scores.take(order), {**context, "vectors": moved, "committee": context["committee"][:, order]}


@pytest.mark.parametrize("reason", sorted(STRATEGIES))
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("n", [0, 1, 7, 40, 500])
def test_picks_are_few_different_and_of_the_pool(reason: str, shape: str, n: int) -> None:
    """At most n and at most the pool, each id once and of the pool, ranks from 0, probability in (0, 1], a note."""
    scores, context = narrow(reason, made(40, shape))
    picks = choose(reason, scores, n, rng=rng(), **context)
    assert len(picks) == min(n, 40) or (reason in {"diverse", *LOOKING} and n > 0)
    assert picks or not n
    assert len(set(names(picks))) == len(picks) <= min(n, 40)
    assert set(names(picks)) <= set(scores.ids)
    assert [pick.rank for pick in picks] == list(range(len(picks)))
    for pick in picks:
        assert pick.reason == reason
        assert 0 < pick.probability <= 1
        assert np.isfinite(pick.score)
        assert pick.note


@pytest.mark.parametrize("reason", sorted(STRATEGIES))
@pytest.mark.parametrize("shape", SHAPES)
def test_the_order_of_the_pool_never_matters_c23(reason: str, shape: str) -> None:
    """The same picks, scores and notes from the same seed, and from any order of rows and vectors (C23, P13)."""
    pool = narrow(reason, made(60, shape))
    first = choose(reason, pool[0], 12, rng=rng(), **pool[1])
    assert len(first) == 12
    assert choose(reason, pool[0], 12, rng=rng(), **pool[1]) == first
    for seed in range(3):
        mixed, context = permuted(pool, seed)
        again = choose(reason, mixed, 12, rng=rng(), **context)
        assert names(again) == names(first)
        assert [pick.note for pick in again] == [pick.note for pick in first]
        assert [pick.score for pick in again] == pytest.approx([pick.score for pick in first])


@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_where_all_are_equal_the_ids_decide_c23(reason: str, shape: str) -> None:
    """Nothing tells the items apart: the first ids, in their order, from any order of the pool (C23)."""
    pool = made(30, shape, equal=True)
    picks = choose(reason, pool[0], 5, rng=rng(), **pool[1])
    assert picks
    assert names(picks) == sorted(pool[0].ids)[: 1 if reason == "diverse" else 5]
    mixed, context = permuted(pool, 4)
    assert names(choose(reason, mixed, 5, rng=rng(), **context)) == names(picks)


@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_noise_below_a_millionth_decides_nothing_c19(reason: str, shape: str) -> None:
    """Equal items whose numbers differ by what a batch size changes are still equal (C19)."""
    scores, context = made(30, shape, equal=True)
    noise = rng(5).uniform(-4e-8, 4e-8, (30, 1)).astype(np.float32)
    shaken = Scores(
        scores.ids,
        scores.labels,
        scores.values + noise,
        "m1",
        {name: part + noise[:, 0] for name, part in scores.parts.items()},
    )
    context["committee"] = context["committee"] + noise
    picks = choose(reason, shaken, 5, rng=rng(), **context)
    assert names(picks) == sorted(scores.ids)[: 1 if reason == "diverse" else 5]


@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_three_items_and_k_500_c24(reason: str, shape: str) -> None:
    """A pool of 3 asked for 500 gives each item once (C24)."""
    scores, context = made(3, shape)
    assert sorted(names(choose(reason, scores, 500, rng=rng(), **context))) == sorted(scores.ids)


@pytest.mark.parametrize("reason", sorted(STRATEGIES))
@pytest.mark.parametrize("shape", SHAPES)
def test_an_empty_pool_gives_nothing_c24(reason: str, shape: str) -> None:
    """No item, no pick, no error (C24)."""
    scores, context = made(1, shape)
    empty = scores.take([])
    context["committee"] = context["committee"][:, :0]
    assert choose(reason, empty, 5, rng=rng(), **context) == []


@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_never_wins_c20_c25(reason: str, bad: float) -> None:
    """An item with a part, a member or a vector that is no number is not picked by a reason that reads it.

    The others are picked as if it were not there (C20, C25).
    """
    scores, context = made(40)
    fine = choose(reason, scores, 500, rng=rng(), **context)
    rows = [0, 7, 21]
    lame = {scores.ids[row] for row in rows}
    vectors, committee = context["vectors"], context["committee"].copy()
    parts = {name: part.copy() for name, part in scores.parts.items()}
    array = vectors.array.copy()
    for part in (*parts.values(), array):
        part[rows] = bad
    committee[:, rows] = bad
    context |= {"committee": committee, "vectors": Vectors(vectors.ids, array, "made")}
    with np.errstate(invalid="ignore"):
        picks = choose(reason, Scores(scores.ids, scores.labels, scores.values, "m1", parts), 500, rng=rng(), **context)
    if reason in {"diverse", "spread", "disagreement", "committee"}:
        assert set(names(picks)) == set(scores.ids) - lame
    else:
        assert picks == fine


@pytest.mark.parametrize("reason", sorted(STRATEGIES))
def test_a_strategy_only_reads(reason: str) -> None:
    """Scores, parts, vectors and context are the same afterwards: writing to them is an error."""
    scores, context = narrow(reason, made(40))
    for array in (scores.values, *scores.parts.values(), context["vectors"].array, context["committee"]):
        array.flags.writeable = False
    plain = {name: copy.deepcopy(value) for name, value in context.items() if name in {"counts", "asked", "thresholds"}}
    assert choose(reason, scores, 10, rng=rng(), **context)
    assert {name: context[name] for name in plain} == plain


def test_an_unknown_reason_is_an_error() -> None:
    """A reason that does not exist is no silent nothing."""
    scores, context = made(1)
    with pytest.raises(KeyError):
        choose("luck", scores, 1, rng=rng(), **context)


@settings(deadline=None)
@given(
    merit=st.lists(st.integers(-3, 3) | st.floats(allow_nan=True, width=32), max_size=40),
    n=st.integers(0, 50),
    noise=st.floats(-4e-8, 4e-8),
    seed=st.integers(0, 9),
)
def test_the_best_are_those_of_a_full_sort(merit: list[float], n: int, noise: float, seed: int) -> None:
    """Against sorting everything by (merit to six digits, id): the same rows, whatever ties at the n-th place."""
    ids = [f"i{number:02d}" for number in rng(seed).permutation(len(merit))]
    values = np.asarray(merit, np.float64) + np.where(np.arange(len(merit)) % 2, noise, 0)
    finite = [row for row in range(len(merit)) if np.isfinite(values[row])]
    full = sorted(finite, key=lambda row: (-np.round(values[row], 6), ids[row]))
    assert best(values, ids, n).tolist() == full[:n]
    assert [ids[row] for row in by_id(ids)] == sorted(ids)


def test_probabilities_that_share_one_unit_are_told_apart() -> None:
    """Rows that sum to 1 share it; one column or independent labels do not; rows without numbers say nothing."""
    assert exclusive(np.asarray([[0.2, 0.8], [0.5, 0.5], [np.nan, 0.1]]))
    assert not exclusive(np.asarray([[0.2, 0.8], [0.5, 0.6]]))
    assert not exclusive(np.ones((3, 1)))
