"""Whom to believe, what one more answer is worth, and who is asked."""

from __future__ import annotations

import itertools
import warnings
from collections import Counter
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from crowdkit.aggregation.classification.dawid_skene import DawidSkene
from hypothesis import given
from hypothesis import strategies as st

from toughcall.annotate.agreement import majority, same
from toughcall.annotate.relabelling import (
    ERROR,
    Posterior,
    annotators,
    assign,
    expected_repair,
    expected_worth,
    fitted,
    posteriors,
    stated,
)
from toughcall.records import Answer, UsageError, Value
from toughcall.schema import Dimension, Schema

ONE = Schema("multiclass", ("a", "b", "c"), True)
MANY = Schema("multilabel", ("a", "b"), False)
NUMBER = Schema("scores", (), False, dimensions=(Dimension("d", 0, 10),))


def said(item: str, who: str, value: Value, schema: Schema = ONE, **more: Any) -> Answer:
    fields: dict[str, Any] = {"key": f"{item}/{who}", "outcome": "label", **more}
    return Answer(item=item, annotator=who, value=value, batch="b", schema=schema.version, **fields)


def crowd(
    seed: int, items: int, wrong: dict[str, float], each: int, schema: Schema = ONE, prior: Any = None
) -> tuple[dict[str, str], list[Answer]]:
    """Return the right label of each item, and `each` annotators' answers to it, wrong as often as `wrong` says."""
    rng = np.random.default_rng(seed)
    names, labels = list(wrong), schema.labels
    truth, found = {}, []
    for n in range(items):
        item = f"i{n:04d}"
        right = truth[item] = labels[rng.choice(len(labels), p=prior)]
        for who in rng.permutation(names)[:each]:
            other = [one for one in labels if one != right]
            label = right if rng.random() >= wrong[who] else other[rng.integers(len(other))]
            found.append(said(item, str(who), (label,), schema))
    return truth, found


def posterior(rows: list[list[float]], average: list[list[float]], of: str = "") -> Posterior:
    P = np.array(rows)
    labels = tuple("abcdef"[: P.shape[1]])
    votes = (P.max(axis=1, keepdims=True) == P).astype(float)  # a tie where the chances are equal
    return Posterior(of, tuple(f"i{n}" for n in range(len(P))), labels, P, {}, np.array(average), {}, votes)


def test_the_good_are_told_from_the_bad() -> None:
    """Dawid and Skene find who errs: three good annotators and a bad one, each within 0.05 of the truth."""
    wrong = {"ann": 0.05, "ben": 0.1, "cem": 0.15, "dora": 0.5}
    truth, given_ = crowd(0, 400, wrong, 4)
    (found,) = posteriors(given_, ONE)
    assert found.P.shape == (400, 3)
    assert found.P.sum(axis=1) == pytest.approx(np.ones(400))
    for who, error in wrong.items():
        assert float(found.prior @ found.errors[who].diagonal()) == pytest.approx(1 - error, abs=0.05)
        assert found.errors[who].sum(axis=1) == pytest.approx(np.ones(3))
        assert found.basis[who] == 400
    right = np.array([found.labels.index(truth[item]) for item in found.ids])
    assert (found.P.argmax(axis=1) == right).mean() > 0.95
    rows = {row.name: row for row in annotators(given_, ONE)}
    assert min(rows, key=lambda who: rows[who].accuracy or 0.0) == "dora"
    assert rows["dora"].agreement == pytest.approx(0.46, abs=0.06)
    assert rows["dora"].basis == "a fair figure: rests on 400 shared items"


def test_without_a_prior_it_is_crowd_kits_fit() -> None:
    """Dawid and Skene's maximum likelihood as crowd-kit has it is what is left when the prior counts for nothing."""
    import pandas as pd

    rng = np.random.default_rng(1)
    right = rng.integers(0, 3, 300)
    wrong = rng.random((300, 4)) < [0.1, 0.2, 0.3, 0.4]
    said_ = np.where(wrong, (right[:, None] + rng.integers(1, 3, (300, 4))) % 3, right[:, None])
    i, a = (one.ravel() for one in np.meshgrid(np.arange(300), np.arange(4), indexing="ij"))
    table = pd.DataFrame({"task": i, "worker": a, "label": said_.ravel()})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # crowd-kit 1.4.2 uses what pandas 3 is going to drop
        fit = DawidSkene(n_iter=1000, tol=1e-9).fit(table)
    nobody = np.full(300, -1)
    P, errors, _ = fitted(i, a, said_.ravel(), nobody, i * 4 + a, 3, own=1e-9, even=1e-9, guess=1e-9)
    assert pytest.approx(fit.probas_.loc[range(300), range(3)].to_numpy(), abs=0.01) == P
    for who in range(4):
        theirs = fit.errors_.loc[who].loc[range(3), range(3)].to_numpy().T  # theirs: answer by row
        assert errors[who] == pytest.approx(theirs, abs=0.01)


def test_the_estimated_error_is_the_real_one() -> None:
    """With every fifth item answered twice, the labels' estimated error is theirs within 0.03; noise or rare labels."""
    for wrong, prior in ((0.05, None), (0.2, None), (0.05, [0.9, 0.07, 0.03])):
        gaps = []
        for seed in range(4):
            who = dict.fromkeys("xyz", wrong)
            truth, given_ = crowd(seed, 400, who, 2, prior=prior)
            given_ = [a for n, a in enumerate(given_) if n % 2 == 0 or n % 10 == 1]
            (found,) = posteriors(given_, ONE)
            right = np.array([found.labels.index(truth[item]) for item in found.ids])
            gaps.append((1 - found.P.max(axis=1)).mean() - (found.P.argmax(axis=1) != right).mean())
        assert abs(np.mean(gaps)) < 0.03, (wrong, prior)


def test_one_annotator_is_believed_but_for_the_stated_error() -> None:
    """One annotator alone: every answer stands, the rarer label's with the stated error, and no accuracy is claimed."""
    given_ = [said(f"i{n}", "x", ("a",) if n < 90 else ("b",)) for n in range(100)]
    (found,) = posteriors(given_, ONE)
    assert (found.P.argmax(axis=1) == [0] * 90 + [1] * 10).all()
    assert found.P[95, 1] == pytest.approx(1 - ERROR / 2, abs=0.02)  # the other half goes to a label nobody chose
    assert 0.97 < found.P[0, 0] < 1.0
    (row,) = annotators(given_, ONE)
    assert (row.accuracy, row.weakest, row.agreement, row.low, row.shared) == (None, "", None, None, 0)
    assert row.basis == "shares no item with another annotator and has no gold check"
    assert posteriors(given_, ONE, error=0.02)[0].P[95, 1] > found.P[95, 1]


def test_who_shares_nothing_gets_the_averages_errors() -> None:
    """An annotator who shares no item is taken for an average one, not for a faultless one."""
    _, given_ = crowd(2, 200, {"x": 0.2, "y": 0.2, "z": 0.2}, 3)
    alone = [said(f"k{n}", "solo", ("abc"[n % 3],)) for n in range(200)]
    (found,) = posteriors(given_ + alone, ONE)
    assert found.basis["solo"] == 0
    assert found.errors["solo"] == pytest.approx(found.average)
    rows = [found.P[found.ids.index(f"k{n}")].max() for n in range(200)]
    assert np.mean(rows) == pytest.approx(0.8, abs=0.05)


def test_a_label_nobody_chose_stays_possible() -> None:
    """C66: a label without an answer has small, finite chances; nothing is NaN, no chance is negative."""
    (found,) = posteriors([said(f"i{n}", who, ("a",)) for n in range(20) for who in "xy"], ONE)
    assert np.isfinite(found.P).all()
    assert (found.P > 0).all()
    assert 1e-8 < found.P[:, 2].max() < 0.01
    assert all(np.isfinite(one).all() for one in found.errors.values())


def test_labels_that_go_together_are_a_question_each() -> None:
    """Where several labels may be chosen there is one posterior a label, not chosen and chosen; skips say nothing."""
    given_ = [said(f"i{n}", who, ("a", "b") if n % 2 else ("a",), MANY) for n in range(10) for who in "xy"]
    given_.append(said("i0", "z", (), MANY, outcome="skip"))
    found = posteriors(given_, MANY)
    assert [(one.of, one.labels) for one in found] == [("a", ("", "a")), ("b", ("", "b"))]
    assert [one.P[:, 1].round().tolist() for one in found] == [[1.0] * 10, [0.0, 1.0] * 5]
    assert "z" not in found[0].errors
    assert posteriors([], MANY)[0].P.shape == (0, 2)
    assert posteriors([], NUMBER) == ()


def test_gold_checks_weigh_in() -> None:
    """Answers to known items: the truth is fixed, and who errs is told without any shared item."""
    given_ = [said(f"i{n}", "x", ("abc"[n % 3],)) for n in range(30)]
    checks = [(said(f"g{n}", "x", ("a",)), ("a",) if n < 40 else ("b",)) for n in range(60)]
    checks += [(said("g99", "x", (), outcome="skip"), ("a",))]
    (found,) = posteriors(given_, ONE, gold=checks)
    assert found.P[found.ids.index("g50")].tolist() == [0.0, 1.0, 0.0]
    assert found.errors["x"][1, 0] > 0.5
    assert "g99" not in found.ids
    _, two = crowd(3, 40, {"x": 0.1, "y": 0.3}, 2)
    assert ["nobody can tell" in row.basis for row in annotators(two, ONE)] == [True, True]
    assert "nobody can tell" not in annotators(two, ONE, gold=checks)[0].basis
    (row,) = annotators(given_, ONE, gold=checks)
    assert (row.answers, row.hits, row.checks) == (30, 40, 60)
    # Wilson 1927 for 40 of 60, by hand: middle 0.65664, half 0.11607
    assert (row.low, row.high) == (pytest.approx(0.54057, abs=2e-5), pytest.approx(0.77271, abs=2e-5))
    assert row.weakest in "ab"  # the two that are confused
    assert row.basis == "a rough figure: rests on 60 shared items"


def test_a_gold_label_that_nobody_gave() -> None:
    """A check whose right answer nobody gives counts as a miss and does not stop the estimate."""
    checks = [(said(f"g{n}", who, ("a",)), ("c",)) for n in range(5) for who in "xy"]
    rows = annotators([], ONE, gold=checks)
    assert [(row.name, row.hits, row.checks, row.low) for row in rows] == [("x", 0, 5, 0.0), ("y", 0, 5, 0.0)]
    (found,) = posteriors([], ONE, gold=checks)
    assert found.errors["x"][2, 0] > 0.3


def test_what_an_annotator_did() -> None:
    """Answers, skips, "can't tell", median seconds, and agreement with the others over the shared items."""
    given_ = [said(f"i{n}", "x", ("a",), seconds=float(n)) for n in range(5)]
    given_ += [said("i0", "y", ("a",)), said("i1", "y", ("b",)), said("i1", "z", ("a",)), said("i9", "z", ("c",))]
    given_ += [said("i7", "x", (), outcome="skip"), said("i8", "x", (), outcome="cant_tell", seconds=90.0)]
    x, _, z = annotators(given_, ONE)
    assert (x.answers, x.skips, x.cant_tell, x.seconds, x.shared) == (5, 1, 1, 2.0, 2)
    assert x.agreement == pytest.approx((1.0 + 0.5) / 2)
    assert (z.shared, z.agreement, z.seconds) == (1, 0.5, None)
    assert x.basis.startswith("a guess: rests on 2 shared items")


def test_the_weakest_label_is_found() -> None:
    """The label that somebody confuses is the weakest, whether it excludes the others or not."""
    rng = np.random.default_rng(0)
    given_, several = [], []
    for n in range(200):
        right = "abc"[n % 3]
        for who in "xyz":
            label = "a" if who == "z" and right == "c" and rng.random() < 0.6 else right
            given_.append(said(f"i{n}", who, (label,)))
            chosen = tuple(one for one in "ab" if (one == right) != (who == "z" and one == "b" and rng.random() < 0.3))
            several.append(said(f"i{n}", who, chosen, MANY))
    rows = {row.name: row for row in annotators(given_, ONE)}
    assert rows["z"].weakest == "c"
    assert 0.7 < (rows["z"].weakest_accuracy or 0.0) < (rows["x"].weakest_accuracy or 0.0) - 0.05
    assert {row.name: row.weakest for row in annotators(several, MANY)}["z"] == "b"


def test_numbers_agree_when_near() -> None:
    """Answers of numbers agree within the tolerance, what only one gives aside; accuracy is for labels."""
    given_ = [said("i", "x", (("d", 1.0),), NUMBER), said("i", "y", (("d", 3.0),), NUMBER)]
    given_ += [said("j", "x", (("d", 1.0),), NUMBER), said("j", "y", (("d", 3.5),), NUMBER)]
    x, _ = annotators(given_, NUMBER)
    assert x.agreement == 0.5
    assert (x.accuracy, x.basis) == (None, "there are no labels to be right about")
    assert same((("d", 1.0),), (), NUMBER) > same(("a",), ("b",), ONE)


def test_order_and_names_change_no_fit() -> None:
    """P13: order changes nothing, names nothing but who is called what, where Dawid and Skene are fitted too."""
    _, given_ = crowd(5, 60, {"x": 0.1, "y": 0.2, "z": 0.3}, 2)
    (one,), (other,) = posteriors(given_, ONE), posteriors(given_[::-1], ONE)
    assert np.array_equal(one.P, other.P)
    names = {"x": "zoe", "y": "bob", "z": "ann"}
    (renamed,) = posteriors([said(a.item, names[a.annotator], a.value) for a in given_], ONE)
    assert pytest.approx(one.P, abs=1e-6) == renamed.P
    assert renamed.errors["zoe"] == pytest.approx(one.errors["x"], abs=1e-6)


@given(st.lists(st.floats(0.01, 1.0), min_size=2, max_size=6), st.floats(0.0, 0.4))
def test_the_stated_errors_leave_the_labels_as_frequent(shares: list[float], error: float) -> None:
    """What is taken for granted makes answers as frequent as what is right, and is wrong no more than stated."""
    prior = np.array(shares) / sum(shares)
    guess = stated(prior, error)
    assert guess.sum(axis=1) == pytest.approx(np.ones(len(prior)))
    assert (guess >= 0).all()
    assert prior @ guess == pytest.approx(prior)
    believed = prior[:, None] * guess / (prior @ guess)
    assert believed.diagonal().min() >= 1 - error - 1e-9


EIGHT = np.array([[0.8, 0.2], [0.2, 0.8]])


def test_repair_by_hand() -> None:
    """Half of all labels clean, ε = 0, so that a label wrong with chance η is worth 1 - 4η: what one answer adds."""
    P = np.array([[0.5, 0.5], [1.0, 0.0], [0.8, 0.2], [0.55, 0.45]])
    votes = np.array([[1.0, 1.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    tie, known, one, poor = expected_repair(P, votes, EIGHT, 0.0)
    assert tie == pytest.approx(1 - 4 * 0.2)  # whatever is said decides, and is wrong in 20 %
    assert known == 0.0
    # the same again (0.68): wrong with chance 0.04 / 0.68; the other (0.32): a tie, nothing; it was worth 1 - 0.8
    assert one == pytest.approx(0.68 - 4 * 0.04 - 0.2)
    # a label worse than none (1 - 1.8): kept with 0.53, wrong with chance 0.09 / 0.53, or dropped
    assert poor == pytest.approx(0.53 - 4 * 0.09 + 0.8)


@given(st.integers(0, 10_000), st.integers(2, 5))
def test_repair_is_what_asking_does(seed: int, k: int) -> None:
    """The expected repair is the mean over drawn truths and answers, majority rule before and after."""
    rng = np.random.default_rng(seed)
    P, confusion = rng.dirichlet(np.ones(k), 3), rng.dirichlet(np.ones(k), k)
    votes, error, c = rng.integers(0, 3, (3, k)).astype(float), 0.2 * (k - 1) / k, k / (k - 1)

    def value(label: int, truth: int) -> float:
        return 0.0 if label < 0 else (1 - c * error) * (1 + c * error - 2 * c * (label != truth))

    gains = expected_repair(P, votes, confusion, error)
    for n in range(3):
        mean = 0.0
        for truth, answer in itertools.product(range(k), range(k)):
            more = votes[n] + np.eye(k)[answer]
            before, after = (int(majority(one[None])[0]) for one in (votes[n], more))
            mean += P[n, truth] * confusion[truth, answer] * (value(after, truth) - value(before, truth))
        assert gains[n] == pytest.approx(mean, abs=1e-9)


def test_worth_by_hand() -> None:
    """Labels of two kinds, 5 % wrong, answers 20 % wrong: a new one is worth 0.27, and so is the third on a tie."""
    found = posterior([[0.5, 0.5], [0.9, 0.1], [0.95, 0.05], [1.0, 0.0]], EIGHT.tolist())
    worth = expected_worth([found])
    assert worth.error == pytest.approx(0.05)  # of the three that have a label
    assert worth.new == pytest.approx(0.9 * (1.1 - 0.8))
    assert worth.gain[0] == pytest.approx(1.0)
    assert (worth.gain[1:] < 0.2).all()
    assert worth.ranked == []
    assert worth.sentence == (
        "About 5.0% of the labels on 4 items are wrong, so a new label is worth 0.27 of a clean one; "
        "asking again pays more than a new item on 0 of them."
    )
    poor = posterior([[0.55, 0.45], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.52, 0.48]], EIGHT.tolist())
    ((first, highest), (second, _)) = expected_worth([poor]).ranked
    assert (first, second) == ("i4", "i0")
    assert expected_worth([poor], edge=highest + 0.01).ranked == []
    assert len(expected_worth([poor], edge=highest - 0.01).ranked) == 1


def test_worth_of_several_labels_adds_up() -> None:
    """One answer covers every label of an item: gains and a new item's worth are summed before they are compared."""
    poor = posterior([[0.55, 0.45], [1.0, 0.0], [1.0, 0.0]], EIGHT.tolist(), "a")
    sure = posterior([[0.99, 0.01], [1.0, 0.0], [1.0, 0.0]], EIGHT.tolist(), "b")
    alone, other, both = expected_worth([poor]), expected_worth([sure]), expected_worth([poor, sure])
    assert both.new == pytest.approx((alone.new + other.new) / 2)
    assert both.error == pytest.approx((alone.error + other.error) / 2)
    assert both.gain * 2 * both.new == pytest.approx(alone.gain * alone.new + other.gain * other.new)
    assert alone.again[0]
    assert not both.again[1:].any()


def test_labels_that_say_nothing_are_finite() -> None:
    """All ties, or answers no better than chance: every figure is finite; no labels: nothing is worth it, and why."""
    for average in (EIGHT.tolist(), [[0.5, 0.5]] * 2):
        worth = expected_worth([posterior([[0.5, 0.5]] * 3, average)])
        assert np.isfinite(worth.gain).all()
        assert worth.new > 0
    for empty in (expected_worth(posteriors([], ONE)), expected_worth(())):
        assert (empty.ids, empty.ranked) == ((), [])
        assert empty.sentence.startswith("No label was given yet")
    with pytest.raises(UsageError, match=r"edge is 0\.5: .* so give 1 or more"):
        expected_worth((), edge=0.5)


def test_the_bad_annotators_items_are_asked_again() -> None:
    """One of four answers at random: most of what only that one answered is asked again; of equals' answers none."""
    wrong = {"x": 0.05, "y": 0.05, "z": 0.05, "bad": 2 / 3}
    for errors, least, most in ((wrong, 0.5, 1.0), (dict.fromkeys(wrong, 0.2), 0.0, 0.1)):
        _, given_ = crowd(7, 240, errors, 2)
        single = given_[::2][100:]
        ranked = {item for item, _ in expected_worth(posteriors([*given_[:200], *single], ONE)).ranked}
        bads = [a.item for a in single if a.annotator == "bad"]
        assert len(bads) > 20
        assert least <= sum(item in ranked for item in bads) / len(bads) <= most
        assert len(ranked & {a.item for a in single if a.annotator != "bad"}) <= 10


def test_annotators_of_one_skill_are_taken_as_one() -> None:
    """Where agreement differs no more than chance explains, everybody has the average's errors; else their own."""
    for errors, alike in ((dict.fromkeys("wxyz", 0.2), True), ({"w": 0.05, "x": 0.05, "y": 0.1, "z": 0.5}, False)):
        _, given_ = crowd(4, 150, errors, 2)
        (found,) = posteriors(given_, ONE)
        apart = [np.abs(one - found.average).max() for one in found.errors.values()]
        assert (max(apart) < 0.02) == alike
        assert (max(apart) > 0.1) != alike


SMALL = st.integers(1, 6)


@given(st.integers(0, 60), SMALL, SMALL, st.lists(st.integers(0, 12), min_size=6, max_size=6), st.integers(0, 1000))
def test_everybody_gets_a_fair_share(items: int, experts: int, overlap: int, had: list[int], seed: int) -> None:
    """Each item has its different experts, loads end within one where they can, the order of names is no matter."""
    overlap = min(overlap, experts)
    names, ids = [f"e{n}" for n in range(experts)], [f"i{n}" for n in range(items)]
    load = dict(zip(names, had, strict=False))
    found = assign(ids, names, overlap, load=load, rng=np.random.default_rng(seed))
    assert list(found) == ids
    assert all(len(set(team)) == overlap and set(team) <= set(names) for team in found.values())
    given_ = Counter(who for team in found.values() for who in team)
    ends = {who: load[who] + given_[who] for who in names}
    for low, high in combinations(sorted(names, key=lambda who: ends[who]), 2):
        # who ended up with more got nothing, or the other has got every item there was
        assert ends[high] - ends[low] <= 1 or not given_[high] or given_[low] == items
    assert assign(ids[::-1], names[::-1], overlap, load=load, rng=np.random.default_rng(seed)) == found


@pytest.mark.parametrize(("experts", "overlap"), [(3, 2), (4, 2), (5, 2), (4, 3), (6, 3), (7, 2)])
def test_every_two_experts_share_items(experts: int, overlap: int) -> None:
    """Every pair of experts shares items, none much more than another: within three of each other for 210 items."""
    names, ids = [f"e{n}" for n in range(experts)], [f"i{n:03d}" for n in range(210)]
    found = assign(ids, names, overlap, rng=np.random.default_rng(0))
    pairs = Counter(pair for team in found.values() for pair in combinations(sorted(team), 2))
    counts = [pairs[pair] for pair in combinations(names, 2)]
    assert min(counts) > 0
    assert max(counts) - min(counts) <= 3
    assert assign(ids, names, overlap, rng=np.random.default_rng(1)) != found


def test_an_overlap_that_cannot_be_is_said() -> None:
    """More experts an item than there are, none at all, or one named twice: a sentence says what to set."""
    for overlap in (3, 0):
        with pytest.raises(UsageError, match=r"cannot answer each item where there are 2: set the overlap"):
            assign(["i"], ["x", "y"], overlap, rng=np.random.default_rng(0))
    for items, experts in ((["i"], ["x", "x"]), (["i", "i"], ["x"])):
        with pytest.raises(UsageError, match="named twice"):
            assign(items, experts, 1, rng=np.random.default_rng(0))
    assert assign([], [], 1, rng=np.random.default_rng(0)) == {}
