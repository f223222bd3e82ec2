"""Weights for rare labels: counted where answered, held against the counts, and words dropped from training rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toughcall.model.losses import class_weights, lint, one_sided, pos_weight, sampling_weights, word_dropout
from toughcall.records import MARKS, UsageError

quick = settings(max_examples=80, deadline=None)
# post-mortem 002: shares of its 583 training rows; post-mortem 004: training rows and the weights given by hand
DISTRESS = {
    "neutral": 0.218,
    "stress": 0.178,
    "unsafe_environment": 0.148,
    "emotional_distress": 0.184,
    "self_harm_low": 0.132,
    "self_harm_high": 0.141,
}
FOSSILS = {"NO_RELATION": 2442, "occurs_in": 340, "found_at": 738, "assigned_to": 91, "part_of": 52}
BY_HAND = dict(zip(FOSSILS, (0.5, 2.0, 2.0, 2.0, 2.5), strict=True))


def one_each(counts: list[int]) -> np.ndarray:
    """Return targets of an exclusive answer with these counts."""
    return np.repeat(np.eye(len(counts), dtype=bool), counts, axis=0)


def distress() -> np.ndarray:
    """Return 583 rows with the shares of post-mortem 002."""
    counts = [round(583 * share) for share in DISTRESS.values()]
    assert sum(counts) == 583
    return one_each(counts)


def test_weights_are_counted_over_the_rows_that_answered() -> None:
    """002: a missing answer is no negative: negatives/positives over the answered rows alone."""
    truth = np.array([[1, 1], [0, 1], [0, 0], [0, 0]], dtype=bool)
    answered = np.array([[1, 1], [1, 1], [1, 1], [0, 0]], dtype=bool)
    assert pos_weight(truth).tolist() == [3.0, 1.0]
    assert pos_weight(truth, answered).tolist() == [2.0, 0.5]
    assert pos_weight(truth, answered).dtype == np.float64
    # what stands in a cell that nobody answered is no positive either
    assert pos_weight(truth | ~answered, answered).tolist() == [2.0, 0.5]
    none_known = answered & np.array([True, False])
    assert pos_weight(truth, none_known).tolist() == [2.0, 1.0]
    assert one_sided(truth, ("a", "b"), none_known) == ("b",)
    assert one_sided(truth, ("a", "b")) == ()
    weights = class_weights(one_each([6, 3, 0, 1]))
    assert weights == pytest.approx([10 / 18, 10 / 9, 0.0, 10 / 3])
    assert float(weights @ [6, 3, 0, 1]) == pytest.approx(10.0)


def test_postmortem_002_its_weights_are_no_pos_weights() -> None:
    """Post-mortem 002: total/(labels · positives) as pos_weight: 0.77–1.26 against 3.6–6.6, below 1 for 3 labels."""
    truth = distress()
    seeds = {name: 583 / (6 * count) for name, count in zip(DISTRESS, truth.sum(axis=0), strict=True)}
    below, far, formula = lint(seeds, truth, list(DISTRESS), exclusive=False)
    assert below == (
        "given weights are 0.77–1.26 where negatives/positives is 3.6–6.6: below 1 for 3 labels (neutral 0.77 against "
        "3.6, stress 0.93 against 4.6, emotional_distress 0.91 against 4.4), whose positives then count less than "
        "their negatives though they are the rarer side"
    )
    assert far.startswith("given weights are 0.77–1.26 where negatives/positives is 3.6–6.6: more than twice or below ")
    assert "for 6 labels (neutral 0.77 against 3.6, " in far
    assert "self_harm_low 1.26 against 6.6, self_harm_high 1.18 against 6.1)" in far
    assert formula.startswith("given weights are total/(labels · positives), the class weights of labels that exclude")
    # what they should have been is fine, and so is twice that
    due = dict(zip(DISTRESS, pos_weight(truth), strict=True))
    assert lint(due, truth, list(DISTRESS), exclusive=False) == []
    assert lint({k: 1.9 * v for k, v in due.items()}, truth, list(DISTRESS), exclusive=False) == []
    assert len(lint({k: 2.1 * v for k, v in due.items()}, truth, list(DISTRESS), exclusive=False)) == 1


def test_postmortem_004_its_class_weights_are_held_against_its_counts() -> None:
    """Post-mortem 004: 2 for assigned_to where the counts say 8.05, 2.5 for part_of where they say 14.09."""
    truth, labels = one_each(list(FOSSILS.values())), list(FOSSILS)
    (said,) = lint(BY_HAND, truth, labels, exclusive=True)
    assert said == (
        "given class weights are 0.50–2.50 where rows/(classes · count) is 0.30–14.09: more than twice or below half "
        "of it for 3 labels (found_at 2 against 0.99, assigned_to 2 against 8.05, part_of 2.5 against 14.09)"
    )
    # only proportions count: the same weights ten times as great are as good or bad
    (tenfold,) = lint({k: 10 * v for k, v in BY_HAND.items()}, truth, labels, exclusive=True)
    assert "assigned_to 20 against 8.05" in tenfold
    assert tenfold.endswith(", once divided by their mean over the rows, 10.07")
    due = {k: 7 * v for k, v in zip(labels, class_weights(truth), strict=True)}
    assert lint(due, truth, labels, exclusive=True) == []


def test_odd_weights_are_named_where_there_is_something_to_hold_them_against() -> None:
    """T2: a label without one side is not judged, a frequent one may be below 1, a mistyped one is an error."""
    truth = np.array([[1, 1, 0], [1, 0, 0], [1, 0, 0], [0, 0, 0]], dtype=bool)
    assert lint({"a": 0.4, "c": 9.0}, truth, "abc", exclusive=False) == []
    assert lint({}, truth, "abc", exclusive=False) == []
    # of two labels that half of the rows have, both formulas give 1: nothing is wrong with it
    assert lint({"a": 1.0, "b": 1.0}, one_each([5, 5]), "ab", exclusive=False) == []
    assert [one[:44] for one in lint({"b": 0.9}, truth, "abc", exclusive=False)] == [
        "given weights are 0.90–0.90 where negatives/",
        "given weights are 0.90–0.90 where negatives/",
    ]
    known = np.array([[1, 1, 1], [1, 1, 1], [1, 0, 1], [1, 0, 1]], dtype=bool)
    assert lint({"b": 0.9}, truth, "abc", exclusive=False, answered=known) == []
    with pytest.raises(UsageError, match=r"'stres', which is no label \(did you mean 'stress'\?\)"):
        lint({"stres": 1.0}, distress(), list(DISTRESS), exclusive=False)
    many = one_each([1] * 12)
    (_, far) = lint({str(n): 0.5 for n in range(12)}, many, [str(n) for n in range(12)], exclusive=False)
    assert far.count("against") == 8
    assert far.endswith(", …)")
    assert "12 labels" in far


def test_rare_labels_are_drawn_more_often() -> None:
    """T3: LVIS repeat factors: √(even share / share) of a row's rarest label, never below 1, scaled to mean 1."""
    truth = one_each(list(FOSSILS.values()))
    found = sampling_weights(truth)
    assert found.mean() == pytest.approx(1.0)
    each = [float(found[truth[:, j]].mean()) for j in range(5)]
    due = [max(1.0, (0.2 / (count / 3663)) ** 0.5) for count in FOSSILS.values()]
    assert [value / each[0] for value in each] == pytest.approx(due)
    assert due[4] == pytest.approx(3.75, abs=0.01)
    # a row counts as its rarest label, and one without a label is not rare
    some = np.zeros((100, 2), dtype=bool)
    some[:90, 0] = some[:4, 1] = True
    weights = sampling_weights(some, target=0.16)
    assert weights / weights[50] == pytest.approx([2.0] * 4 + [1.0] * 96)
    # one column: 3 positives of 300 pairs, an even share is one half
    pairs = sampling_weights(np.arange(300)[:, None] < 3)
    assert pairs[0] / pairs[-1] == pytest.approx(50**0.5)
    assert sampling_weights(~(np.arange(300)[:, None] < 3)) == pytest.approx(pairs)
    assert sampling_weights(truth[:0]).shape == (0,)
    with pytest.raises(UsageError, match="numbers are learnt: switch resampling off"):
        sampling_weights(np.array([[0.2, 1.0], [0.0, np.nan]]))


def test_words_are_dropped_from_a_share_of_the_texts() -> None:
    """002: 30 % of the texts lose 10 % of their words, in their order; the others are the same characters."""
    texts = [" ".join(f"w{n}x{i}" for i in range(20)) + "\n" for n in range(2000)]
    before = list(texts)
    found = word_dropout(texts, np.random.default_rng(0))
    assert texts == before
    assert found == word_dropout(texts, np.random.default_rng(0))
    assert found != word_dropout(texts, np.random.default_rng(1))
    changed = [(old, new) for old, new in zip(texts, found, strict=True) if old != new]
    # a text of 20 words loses none with probability 0.9 ** 20
    assert len(changed) / 2000 == pytest.approx(0.3 * (1 - 0.9**20), abs=0.03)
    lost = 20 * 600 - sum(len(new.split()) for _, new in changed) - 20 * (600 - len(changed))
    assert lost / (20 * 600) == pytest.approx(0.1, abs=0.01)
    for old, new in changed:
        kept = iter(old.split())
        assert all(word in kept for word in new.split())
        assert new == new.lstrip()
    assert word_dropout(texts, np.random.default_rng(0), share=0.0) == texts
    assert word_dropout(texts, np.random.default_rng(0), words=0.0) == texts


@quick
@given(st.lists(st.sampled_from(["fox", "ran,", " ", "\n", *MARKS, "[SUBJ]fox"]), max_size=12), st.integers(0, 99))
def test_a_text_never_loses_its_last_word_or_a_mark(pieces: list[str], seed: int) -> None:
    """002, 004: at every share of words a text keeps one of them and all entity marks in their order."""
    text = " ".join(pieces)
    (found,) = word_dropout([text], np.random.default_rng(seed), share=1.0, words=1.0)
    marked = [word for word in text.split() if any(mark in word for mark in MARKS)]
    assert [word for word in found.split() if any(mark in word for mark in MARKS)] == marked
    plain = len(text.split()) - len(marked)
    assert len(found.split()) == len(marked) + min(plain, 1)
