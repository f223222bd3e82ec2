"""Each reason to ask: what it ranks first, how ties fall, what it says."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toughcall.mining.reasons import choose
from toughcall.mining.strategies import committee, entropy, in_band, margin, random_audit, rare_class
from toughcall.mining.typical import diverse
from toughcall.records import IntegrityError, Pick, Scores, Vectors


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def names(picks: list[Pick]) -> list[str]:
    return [pick.item for pick in picks]


def context_for(scores: Scores, seed: int = 3) -> dict[str, Any]:
    array = np.random.default_rng(seed).normal(size=(len(scores.ids), 4))
    array /= np.linalg.norm(array, axis=1, keepdims=True)
    return {
        "vectors": Vectors(scores.ids, array.astype(np.float32), "made"),
        "counts": {"x": 3},
        "low": 0.4,
        "high": 0.6,
    }


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_no_numbers_do_not_exist_c20(scored: Any, bad: float) -> None:
    """A NaN or infinite score never becomes Scores: IntegrityError names the model and the next command (C20)."""
    with pytest.raises(IntegrityError, match=r"model m1 .* toughcall doctor") as caught:
        scored([[0.5], [bad]])
    assert caught.value.code == 6


def test_scores_of_another_shape_do_not_exist_c20() -> None:
    """Fewer values than ids is refused (C20)."""
    with pytest.raises(ValueError, match="shape"):
        Scores(("a", "b"), ("x",), np.zeros((1, 1), np.float32), "m1")


@pytest.mark.parametrize("reason", ["in_band", "rare_class", "spread", "disagreement"])
def test_equal_scores_go_by_id_c23(scored: Any, reason: str) -> None:
    """When nothing distinguishes the items, the ids decide (C23)."""
    ids = [f"{i * 37 % 20:02d}" for i in range(20)]
    scores = scored(np.full(20, 0.5), ids=ids, cosine=np.ones(20), tfidf=np.ones(20), spread=np.ones(20))
    assert names(choose(reason, scores, 5, rng=rng())) == ["00", "01", "02", "03", "04"]


def test_noise_below_a_millionth_decides_nothing_c19_c23(scored: Any) -> None:
    """Scores that differ by what the batch size changes are a tie (C19, C23)."""
    values = 0.45 + np.asarray([3e-8, 0, 6e-8, -3e-8])
    assert names(in_band(scored(values), 4, rng=rng())) == ["i000", "i001", "i002", "i003"]


def test_the_band_includes_its_edges(scored: Any) -> None:
    """0.4 and 0.6 are inside, what is next to them outside; the middle comes first."""
    inside = in_band(scored([0.39999, 0.4, 0.45, 0.5, 0.6, 0.60001, 0.0, 1.0]), 9, rng=rng())
    assert names(inside) == ["i003", "i002", "i001", "i004"]
    assert "P(x) = 0.50, inside 0.4–0.6" in inside[0].note


def test_noise_never_moves_an_item_over_an_edge_c19(scored: Any) -> None:
    """An item at 0.4 or 0.6 stays inside when the batch size changes its last digits (C19)."""
    inside = in_band(scored(np.asarray([0.4 - 6e-8, 0.4 + 6e-8, 0.6 - 6e-8, 0.6 + 6e-8])), 9, rng=rng())
    assert names(inside) == ["i000", "i001", "i002", "i003"]
    two = np.asarray([0.6 + 6e-8, 0.4 - 6e-8])
    assert len(in_band(scored([two, two[::-1]]), 9, rng=rng())) == 2


def test_the_band_can_be_moved(scored: Any) -> None:
    """Other edges, the same rule: inclusive, nearest the middle first."""
    scores = scored([0.69999, 0.7, 0.8, 0.79, 0.9, 0.90001, 0.5])
    assert names(in_band(scores, 9, rng=rng(), low=0.7, high=0.9)) == ["i002", "i003", "i001", "i004"]


@settings(deadline=None)
@given(p=st.floats(0, 1, width=32), low=st.integers(0, 100), high=st.integers(0, 100))
def test_an_item_is_in_the_band_or_not(p: float, low: int, high: int) -> None:
    """For any band an item is chosen exactly when low ≤ p ≤ high, give or take a millionth."""
    low, high = sorted((low / 100, high / 100))  # type: ignore[assignment]
    scores = Scores(("a",), ("x",), np.asarray([[p]], np.float32), "m1")
    found = in_band(scores, 1, rng=rng(), low=low, high=high)
    if low + 1e-6 < p < high - 1e-6 or p in {low, high}:
        assert names(found) == ["a"]
    if p < low - 1e-6 or p > high + 1e-6:
        assert found == []


def test_any_of_several_independent_labels_may_be_the_uncertain_one(scored: Any) -> None:
    """Labels that do not share one unit of probability: one of them inside the band is enough."""
    found = in_band(scored([[0.9, 0.5, 0.9], [0.9, 0.1, 0.9], [0.41, 0.0, 0.0]]), 9, rng=rng())
    assert names(found) == ["i000", "i002"]
    assert "P(y) = 0.50" in found[0].note


def test_of_competing_labels_the_top_two_count(scored: Any) -> None:
    """Where labels share one unit, P(1st) / (P(1st) + P(2nd)) is held against the band, its edge included."""
    rows = [[0.34, 0.33, 0.33], [0.45, 0.30, 0.25], [0.46, 0.30, 0.24], [0.9, 0.05, 0.05], [0.1, 0.48, 0.42]]
    found = in_band(scored(rows), 9, rng=rng())
    assert names(found) == ["i000", "i004", "i001"]
    assert found[1].note == "y 0.48 against z 0.42"


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(0.55, 0.7, ["i001"]), (0.3, 0.45, ["i001"]), (0.7, 0.9, ["i002"])]
)
def test_a_moved_band_holds_for_competing_labels_too(scored: Any, low: float, high: float, expected: list[str]) -> None:
    """A band off the middle is met when either of the top two's shares is inside."""
    rows = [[0.5, 0.5], [0.6, 0.4], [0.2, 0.8]]
    assert names(in_band(scored(rows), 9, rng=rng(), low=low, high=high)) == expected


def test_the_narrowest_of_competing_labels_comes_first(scored: Any) -> None:
    """Where labels share one unit: P(1st) − P(2nd), whatever the rest; there is a narrowest outside any band too."""
    rows = [[0.90, 0.06, 0.04], [0.50, 0.45, 0.05], [0.40, 0.30, 0.30], [0.99, 0.01, 0.0]]
    picks = margin(scored(rows), 4, rng=rng())
    assert names(picks) == ["i001", "i002", "i000", "i003"]
    assert [pick.score for pick in picks] == pytest.approx([-0.05, -0.10, -0.84, -0.98], abs=1e-6)
    assert picks[0].note == "x 0.50 against y 0.45"


def test_the_narrowest_of_independent_labels_is_nearest_its_threshold(scored: Any) -> None:
    """Each label is held against its own threshold, 0.5 without one; the nearest of an item's labels counts."""
    scores = scored([[0.55, 0.9], [0.3, 0.23], [0.9, 0.05]])
    assert names(margin(scores, 3, rng=rng())) == ["i000", "i001", "i002"]
    moved = margin(scores, 3, rng=rng(), thresholds=np.asarray([0.8, 0.2]))
    assert names(moved) == ["i001", "i002", "i000"]
    assert [pick.note for pick in moved[:2]] == ["P(y) = 0.23, decided at 0.20", "P(x) = 0.90, decided at 0.80"]
    with pytest.raises(ValueError, match=r"3,.* thresholds for 2 columns"):
        margin(scores, 3, rng=rng(), thresholds=[0.5, 0.5, 0.5])


def test_entropy_weighs_every_column(scored: Any) -> None:
    """In bits: three equal classes have log2 3, of independent labels each adds its own yes or no."""
    shared = entropy(scored([[0.5, 0.5, 0], [1 / 3, 1 / 3, 1 / 3], [1, 0, 0]]), 3, rng=rng())
    assert names(shared) == ["i001", "i000", "i002"]
    assert [pick.score for pick in shared] == pytest.approx([np.log2(3), 1, 0], abs=1e-5)
    assert shared[0].note == "entropy 1.58 of at most 1.58 bits"
    apart = entropy(scored([[0.5, 1.0], [0.11, 0.11], [0.5, 0.5]]), 3, rng=rng())
    assert names(apart) == ["i002", "i000", "i001"]
    assert [pick.score for pick in apart] == pytest.approx([2, 1, 2 * 0.49992], abs=1e-4)


def test_a_committee_asks_where_sure_members_contradict_each_other(scored: Any) -> None:
    """BALD: two sure members that differ tell 1 bit, members that share one doubt tell nothing, however doubtful."""
    members = np.asarray([[[0.5, 0.5], [1, 0], [0.9, 0.1]], [[0.5, 0.5], [0, 1], [0.9, 0.1]]])
    picks = committee(scored(members.mean(axis=0)), 3, rng=rng(), committee=members)
    assert names(picks) == ["i001", "i000", "i002"]
    assert [pick.score for pick in picks] == pytest.approx([1, 0, 0], abs=1e-6)
    assert picks[0].note == "2 models, the answer tells 1.00 bits about which is right"
    apart = np.asarray([[[0.9, 0.2, 0.2]], [[0.1, 0.2, 0.8]]])
    expected = 0.0
    for p in apart[:, 0].T:
        both = [-q * np.log2(q) - (1 - q) * np.log2(1 - q) for q in (p.mean(), *p)]
        expected += both[0] - (both[1] + both[2]) / 2
    assert committee(scored(apart.mean(axis=0)), 1, rng=rng(), committee=apart)[0].score == pytest.approx(expected)


def test_without_a_committee_nobody_disagrees(scored: Any) -> None:
    """No members, no pick; members of other items or labels are an error, never misread."""
    scores = scored([[0.5, 0.5], [0.9, 0.1]])
    assert committee(scores, 2, rng=rng()) == committee(scores, 2, rng=rng(), committee=np.zeros((0, 2, 2))) == []
    for shape in ((2, 3, 2), (2, 2, 3), (2, 2)):
        with pytest.raises(ValueError, match="does not fit scores"):
            committee(scores, 2, rng=rng(), committee=np.ones(shape))


def test_a_class_without_labels_is_said_c28(scored: Any) -> None:
    """A rare class nobody labelled yet is asked about and its note says what the guess rests on (C28)."""
    picks = rare_class(
        scored([[0.9, 0.1, 0.0], [0.1, 0.2, 0.7], [0.6, 0.1, 0.3]]), 3, rng=rng(), counts={"x": 40, "y": 4}
    )
    assert names(picks)[0] == "i001"
    assert picks[0].note == "P(z) = 0.70, no label yet: the guess is the untouched encoder's"
    assert all("labels so far" in pick.note or "no label yet" in pick.note for pick in picks)
    assert any(
        "4 labels so far" in pick.note
        for pick in rare_class(scored([[0.1, 0.9]] * 3), 3, rng=rng(), counts={"x": 9, "y": 4})
    )


def test_no_labels_at_all_means_all_classes_take_turns_c28(scored: Any) -> None:
    """Before the first answer every class is asked about equally often (C28)."""
    picks = rare_class(scored(np.random.default_rng(0).dirichlet([1, 1, 1], 60)), 30, rng=rng())
    assert Counter(pick.note[2] for pick in picks) == {"x": 10, "y": 10, "z": 10}
    assert len(set(names(picks))) == 30


def test_the_rarest_class_is_asked_most(scored: Any) -> None:
    """Turns are proportional to 1 / (1 + labels) ** 1.5: with 0, 3 and 8 labels 216 : 27 : 8; for no class none."""
    scores = scored(np.random.default_rng(0).dirichlet([1, 1, 1], 300))
    picks = rare_class(scores, 251, rng=rng(), counts={"y": 3, "z": 8})
    assert Counter(pick.note[2] for pick in picks) == {"x": 216, "y": 27, "z": 8}
    even = choose("class_balanced", scores, 112, rng=rng(), counts={"y": 3, "z": 8})
    assert Counter(pick.note[2] for pick in even) == {"x": 82, "y": 21, "z": 9}
    none = rare_class(scores, 35, rng=rng(), counts={"y": 3, "z": 8}, null="x")
    assert Counter(pick.note[2] for pick in none) == {"y": 27, "z": 8}
    of_x = [pick.score for pick in picks if pick.note[2] == "x"]
    assert of_x == sorted(of_x, reverse=True)


def test_the_widest_expected_error_is_asked_first(scored: Any) -> None:
    """Numbers: what the model expects to miss by most comes first, whatever the numbers are; the note says how much."""
    picks = choose("spread", scored([0.5, 0.0, 1.0], spread=[0.1, 0.333, 0.2]), 2, rng=rng())
    assert [(pick.item, pick.note) for pick in picks] == [
        ("i001", "90 % interval of ± 33% of the range"),
        ("i002", "90 % interval of ± 20% of the range"),
    ]
    assert [pick.score for pick in picks] == pytest.approx([0.333, 0.2])


def test_without_an_expected_error_nothing_is_spread(scored: Any) -> None:
    """A model that does not say how far off it is gives no pick for that reason, instead of the first ids."""
    assert choose("spread", scored([0.5, 0.6], cosine=[1, 2]), 2, rng=rng()) == []


def test_disagreement_needs_both_parts(scored: Any) -> None:
    """Without the encoder's and the words' parts nobody disagrees."""
    assert choose("disagreement", scored([0.5, 0.6], cosine=[1, 2]), 2, rng=rng()) == []


def test_disagreement_wants_one_side_to_see_something(scored: Any) -> None:
    """Alike for the encoder and not for the words (or the reverse) comes before pairs unlike for both."""
    cosine, words = np.linspace(0, 0.5, 50), np.linspace(0, 0.5, 50)
    cosine[10], words[20] = 0.99, 0.99
    found = choose("disagreement", scored(np.full(50, 0.5), cosine=cosine, tfidf=words), 2, rng=rng())
    assert sorted(names(found)) == ["i010", "i020"]
    assert "encoder rank 1.00, word rank 0.22" in {pick.item: pick.note for pick in found}["i010"]


def blobs(sizes: dict[str, int], outlier: float = 3.0) -> tuple[Scores, Vectors]:
    """Return a pool with tight groups along the axes and one far outlier, "zz"."""
    made, ids = [], []
    for axis, (name, size) in enumerate(sizes.items()):
        ids += [f"{name}{i:02d}" for i in range(size)]
        spread = np.random.default_rng(axis).normal(scale=0.05, size=(size, 5))
        spread[0] = 0  # the first of each group sits in its middle
        made.append(np.eye(5)[axis] * 4 + spread)
    ids.append("zz")
    made.append(np.eye(5)[-1:] * outlier)
    vectors = Vectors(tuple(ids), np.concatenate(made).astype(np.float32), "made")
    return Scores(vectors.ids, ("x",), np.full((len(ids), 1), 0.5, np.float32), "m1"), vectors


def test_the_typical_are_asked_before_the_outlier() -> None:
    """One typical item of each group, the largest group first, the outlier last."""
    scores, vectors = blobs({"a": 6, "b": 12, "c": 9})
    picks = diverse(scores, 4, rng=rng(), vectors=vectors)
    assert [pick.item[0] for pick in picks] == ["b", "c", "a", "z"]
    assert picks[0].note == "the most typical of 12 alike, of which 0 were asked"
    assert picks[0].score == pytest.approx(12 / 28)
    for pick in picks[:3]:
        group = [one for one in vectors.ids if one[0] == pick.item[0]]
        centre = vectors.rows(group).mean(axis=0)
        far = {one: float(((vectors.rows([one])[0] - centre) ** 2).sum()) for one in group}
        assert far[pick.item] == min(far.values())


def test_what_was_asked_counts_as_seen() -> None:
    """The part in which an item was asked comes after the parts nobody asked about."""
    scores, vectors = blobs({"a": 6, "b": 12, "c": 9})
    left = scores.take([row for row, one in enumerate(scores.ids) if one not in {"b00", "zz"}])
    # 3 + 2 asked: five parts, so one group is split; the first picks come from parts without an asked item
    picks = diverse(left, 3, rng=rng(), vectors=vectors, asked={"b00", "zz", "not in the pool any more"})
    assert not {"b00", "zz"} & set(names(picks))
    assert {"a", "c"} <= {pick.item[0] for pick in picks}
    assert all("0 were asked" in pick.note for pick in picks[:2])


@pytest.mark.parametrize("n", [1, 5, 28, 100])
def test_no_item_is_typical_twice(n: int) -> None:
    """Never more than asked for, never one item twice, the same from a shuffled pool."""
    scores, vectors = blobs({"a": 6, "b": 12, "c": 9})
    picks = diverse(scores, n, rng=rng(), vectors=vectors)
    assert len(picks) == len(set(names(picks))) == min(n, 28)
    order = rng(1).permutation(28)
    mixed = Vectors(tuple(vectors.ids[i] for i in order), vectors.array[order], "made")
    assert diverse(scores.take(order[::-1]), n, rng=rng(), vectors=mixed) == picks


def test_equal_texts_are_one_part_c23(scored: Any) -> None:
    """Where all vectors are equal there is one part: its first item by id, and no warning from k-means (C23)."""
    scores = scored(np.full(20, 0.5))
    vectors = Vectors(scores.ids, np.ones((20, 3), np.float32) / np.sqrt(3), "made")
    assert names(diverse(scores, 10, rng=rng(), vectors=vectors)) == ["i000"]


def test_a_pair_lies_between_its_records() -> None:
    """An item of two records is placed at the mean of their vectors."""
    vectors = Vectors(("p", "q", "r"), np.asarray([[1, 0], [0, 1], [-1, 0]], np.float32), "made")
    scores = Scores(("pq", "pr", "qr"), ("x",), np.full((3, 1), 0.5, np.float32), "m1")
    records = {"pq": ("p", "q"), "pr": ("p", "r"), "qr": ("q", "r")}
    # means (.5, .5), (0, 0), (-.5, .5): their centre is (0, 1/3)
    assert names(diverse(scores, 1, rng=rng(), vectors=vectors, records=records)) == ["pr"]


def test_an_item_of_three_views_weighs_as_much_as_one_of_one() -> None:
    """Views are averaged, not added: what is read three times does not lie three times as far out."""
    array = np.asarray([[1, 0], [0.8, 0.6], [0.8, -0.6], [0.6, 0.8], [0.6, -0.8]], np.float32)
    vectors = Vectors(("p", "q", "r", "s", "t"), array, "made")
    scores = Scores(("pqr", "s", "t"), ("x",), np.full((3, 1), 0.5, np.float32), "m1")
    assert names(diverse(scores, 1, rng=rng(), vectors=vectors, records={"pqr": ("p", "q", "r")})) == ["pqr"]


def test_a_large_pool_is_sampled(scored: Any) -> None:
    """Above `sample` items a draw of that size is clustered: never N²."""
    scores = scored(np.full(60, 0.5))
    context = context_for(scores)
    picks = diverse(scores, 60, rng=rng(), vectors=context["vectors"], sample=20)
    assert len(set(names(picks))) == 20


def test_the_audit_says_its_odds() -> None:
    """Each audit pick carries n / N, and its note says so."""
    picks = random_audit([f"a{i}" for i in range(8)], 2, rng())
    assert {(pick.reason, pick.probability, pick.note) for pick in picks} == {
        ("random_audit", 0.25, "drawn at random, 2 of 8")
    }
    assert [pick.rank for pick in picks] == [0, 1]


def test_the_audit_is_uniform() -> None:
    """Over 3000 draws every item is drawn as often as its probability says (chi-square, fixed seeds)."""
    pool, n, runs = [f"a{i:02d}" for i in range(12)], 4, 3000
    one = rng(7)
    picks = [random_audit(pool, n, one) for _ in range(runs)]
    drawn = Counter(pick.item for batch in picks for pick in batch)
    expected = runs * n / len(pool)
    # n items are drawn together: scaled by (N - 1) / N / (1 - n / N) the counts are chi-square with N - 1
    statistic = sum((drawn[item] - expected) ** 2 for item in pool) / (expected * (1 - n / len(pool))) * 11 / 12
    assert statistic < 31.3, "beyond the 0.1 % point of chi-square with 11 degrees of freedom"
    first = Counter(batch[0].item for batch in picks)
    assert sum((first[item] - runs / 12) ** 2 for item in pool) / (runs / 12) < 31.3
    assert picks[0][0].probability == pytest.approx(n / len(pool))


def test_the_audit_of_a_small_or_shuffled_pool_c23_c24() -> None:
    """At most the pool, each item once; the order of the pool does not matter; nothing from nothing (C23, C24)."""
    picks = random_audit(["b", "a", "c"], 500, rng())
    assert sorted(names(picks)) == ["a", "b", "c"]
    assert {pick.probability for pick in picks} == {1.0}
    assert random_audit(["c", "b", "a"], 500, rng()) == picks
    assert random_audit([], 5, rng()) == random_audit(["a"], 0, rng()) == []
