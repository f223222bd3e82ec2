"""Difficulty: what a baseline ranks right already, or not at all, is said before the first epoch (post-mortem 001)."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from toughcall.model.difficulty import VETO_ROWS, check_evidence, difficulty, hanley_mcneil
from toughcall.records import Bools, GateRefused

OPPOSITE = {"similar": "not_similar"}
Doubles = NDArray[np.float64]


def ranked(auc: float, positives: int, negatives: int) -> tuple[Bools, Doubles]:
    """Return (truth, scores), both of shape (n, 1), whose ROC-AUC is `auc`: two normal quantile grids, shifted."""
    members = norm.ppf((np.arange(positives) + 0.5) / positives) + np.sqrt(2) * norm.ppf(auc)
    others = norm.ppf((np.arange(negatives) + 0.5) / negatives)
    truth = np.arange(positives + negatives) < positives
    return truth[:, None], norm.cdf(np.concatenate([members, others]))[:, None]


def beside(*columns: tuple[Bools, Doubles]) -> tuple[Bools, Doubles]:
    """Return columns of equally many rows side by side."""
    return np.hstack([truth for truth, _ in columns]), np.hstack([p for _, p in columns])


@pytest.mark.parametrize(("auc", "n"), [(0.9264, 8600), (0.95, 8600), (0.95, 15000)])
def test_001_training_pairs_that_the_baseline_ranks_right_are_too_easy(auc: float, n: int) -> None:
    """001: baseline AUC 0.926 and 0.95 on training pairs: too easy, with the figure and the next command."""
    truth, p = ranked(auc, n // 2, n // 2)
    assert roc_auc_score(truth[:, 0], p[:, 0]) == pytest.approx(auc, abs=1e-3)
    for held, shown in ((None, "]), training"), (ranked(0.7909, 150, 150), ", 0.79 on held-out rows), training")):
        found = difficulty(truth, p, labels=("similar",), held=held)
        assert (found.verdict, found.veto) == ("too easy", True)
        assert found.sentence.startswith(
            f"too easy: the baseline already ranks these rows right (ROC-AUC {round(auc, 2):.2f} ["
        )
        assert shown in found.sentence
        assert found.sentence.endswith("teaches little; mine the band 0.4–0.6: toughcall mine")


def test_001_ranked_adversarial_pairs_are_one_sided_and_at_chance() -> None:
    """001: 15,000 pairs, 99.7 % negatives, AUC 0.51: one-sided, at chance, vetoed, the other side by its name."""
    found = difficulty(*ranked(0.51, 45, 14955), labels=("similar",), opposites=OPPOSITE)
    assert (found.verdict, found.veto) == ("one-sided", True)
    assert found.sentence.startswith(
        "one-sided: 99.7% of 15,000 rows are not_similar, 45 are not, and the baseline is at chance on them "
        "(ROC-AUC 0.51 ["
    )
    drowned = difficulty(*ranked(0.9, 45, 14955), labels=("similar",))
    assert (drowned.verdict, drowned.veto) == ("one-sided", False)
    assert "are not similar, 45 are not (ROC-AUC 0.90 [" in drowned.sentence


def test_001_pairs_at_chance_are_too_hard_but_may_be_what_was_mined() -> None:
    """001: the pairs they asked for, scored 0.4 to 0.6, have an AUC near 0.5: said, never vetoed."""
    found = difficulty(*ranked(0.51, 400, 400), labels=("similar",))
    assert (found.verdict, found.veto) == ("too hard", False)
    assert "at chance on 800 rows of similar (ROC-AUC 0.51 [" in found.sentence
    few = difficulty(*ranked(0.51, 20, 20), labels=("similar",))
    assert few.verdict == "teaches"
    assert difficulty(*ranked(0.6, 400, 400), labels=("similar",)).verdict == "teaches"


def test_an_easy_task_is_not_easy_rows() -> None:
    """Rule: where held-out rows are ranked as well, the task is easy; a gap within its noise vetoes nothing."""
    easy = ranked(0.95, 300, 300)
    assert difficulty(*easy, labels=("a",), held=ranked(0.92, 300, 300)).verdict == "teaches"
    known = difficulty(*easy, labels=("a",), held=ranked(0.8, 300, 300))
    assert (known.verdict, known.veto) == ("too easy", True)
    few = difficulty(*easy, labels=("a",), held=ranked(0.8, 10, 10))
    assert (few.verdict, few.veto) == ("too easy", False)
    # four members on held-out rows say nothing: as without any
    assert difficulty(*easy, labels=("a",), held=ranked(0.95, 4, 100)).columns[0].held is None


def test_a_healthy_multiclass_set_is_never_vetoed() -> None:
    """Rule: an untouched encoder at 0.9, or at 0.97 on most classes, leaves something to learn."""
    labels = ("a", "b", "c", "rare")
    healthy = beside(*(ranked(0.9, size, 400 - size) for size in (150, 150, 90, 10)))
    found = difficulty(*healthy, labels=labels)
    assert (found.verdict, found.veto) == ("teaches", False)
    easy = beside(*(ranked(0.97, size, 400 - size) for size in (150, 150, 90)), ranked(0.8, 10, 390))
    found = difficulty(*easy, labels=labels, held=beside(*(ranked(0.8, 100, 300) for _ in range(4))))
    assert [one.veto for one in found.columns] == [True, True, True, False]
    assert (found.verdict, found.veto) == ("teaches", False)
    assert found.sentence == "teaches 1 of 4 outputs (too easy a, b, c)"
    # without held-out rows many outputs are not vetoed: one against the rest is not the decision among them
    alone = difficulty(*(part[:, :3] for part in easy), labels=labels[:3])
    assert (alone.verdict, alone.veto) == ("too easy", False)


def test_a_class_that_cannot_be_learnt_saves_nothing() -> None:
    """Rule: the veto looks at the outputs that can be learnt; two members are no reason to train."""
    parts = beside(ranked(0.96, 200, 200), ranked(0.96, 200, 200), ranked(0.7, 2, 398))
    held = beside(*(ranked(0.75, 150, 150) for _ in range(3)))
    found = difficulty(*parts, labels=("a", "b", "c"), held=held)
    assert [one.verdict for one in found.columns] == ["too easy", "too easy", "one-sided"]
    assert (found.verdict, found.veto) == ("too easy", True)
    assert found.sentence.endswith("(too easy a, b; one-sided c)")


def test_of_many_classes_an_even_share_is_not_one_sided() -> None:
    """Rule: a class in 150 has under 1 % of the rows by nature; what is too little goes by an even share."""
    truth = np.eye(150, dtype=bool)[np.arange(1500) % 150]
    p = np.random.default_rng(0).random(truth.shape) + 0.5 * truth
    found = difficulty(truth, p, labels=[f"c{j}" for j in range(150)])
    assert (found.verdict, found.veto) == ("teaches", False)


@pytest.mark.parametrize("positives", [0, 3])
def test_one_side_without_rows_vetoes_only_once_there_are_enough_rows(positives: int) -> None:
    """Rule: no or three members: one-sided; below 100 rows the first rounds train on what there is."""
    for n, veto in ((VETO_ROWS, True), (VETO_ROWS - 1, False)):
        found = difficulty(*ranked(0.7, positives, n - positives), labels=("similar",), opposites=OPPOSITE)
        assert (found.verdict, found.veto) == ("one-sided", veto)
        assert f"{1 - positives / n:.1%} of {n} rows are not_similar, {positives} are not" in found.sentence


def test_too_few_rows_and_constant_scores_say_nothing() -> None:
    """Rule: nine rows, no output, or one score for all: no figure, no veto, no crash."""
    few = difficulty(*ranked(0.95, 5, 4), labels=("a",))
    assert (few.verdict, few.veto, few.sentence) == (
        "too few",
        False,
        "too few: 9 rows of a, 10 are needed to say anything",
    )
    assert difficulty(np.zeros((0, 1), bool), np.zeros((0, 1)), labels=("a",)).verdict == "too few"
    assert difficulty(np.zeros((9, 0), bool), np.zeros((9, 0)), labels=()).verdict == "too few"
    truth, p = ranked(0.95, 100, 100)
    flat = difficulty(truth, np.full_like(p, 0.5), labels=("a",))
    assert (flat.verdict, flat.columns[0].auc) == ("teaches", None)


def test_what_does_not_fit_is_refused() -> None:
    """Rule: other shapes and scores that are no number never become a verdict."""
    truth, p = ranked(0.7, 10, 10)
    for wrong in ((truth, p[:-1]), (truth[:, 0], p[:, 0])):
        with pytest.raises(ValueError, match="do not fit"):
            difficulty(*wrong, labels=("a",))
    with pytest.raises(ValueError, match="do not fit"):
        difficulty(truth, p, labels=("a",), held=beside(ranked(0.7, 5, 5), ranked(0.7, 5, 5)))
    with pytest.raises(ValueError, match="not finite"):
        difficulty(truth, np.where(truth, np.nan, p), labels=("a",))


def test_the_standard_error_is_hanley_and_mcneils() -> None:
    """Rule: at chance their formula is that of the rank sum test; elsewhere it matches what samples show."""
    assert hanley_mcneil(0.5, 40, 60) ** 2 == pytest.approx(101 / (12 * 40 * 60))
    assert hanley_mcneil(1.0, 40, 60) == 0.0
    rng, truth = np.random.default_rng(0), np.arange(200) < 80
    drawn = [roc_auc_score(truth, rng.normal(size=200) + np.sqrt(2) * norm.ppf(0.8) * truth) for _ in range(300)]
    assert hanley_mcneil(0.8, 80, 120) == pytest.approx(np.std(drawn), rel=0.15)


@pytest.mark.parametrize("trained", [247, 1])
def test_000_rows_that_were_trained_on_are_no_evidence(trained: int) -> None:
    """000: the whole file of 291 rows would score 247 trained ones; 001: its diagnostic passed on training pairs."""
    ids = [f"row {n}" for n in range(291)]
    with pytest.raises(
        GateRefused, match=rf"^{trained} of 291 rows were trained on: what is measured on them is no ev"
    ):
        check_evidence(ids, ids[:trained])
    check_evidence(ids[trained:], ids[:trained])
    check_evidence([], ids)
