"""Thresholds: chosen without luck, and never splitting rows that look the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toughcall.model import kinds
from toughcall.model.thresholds import ENOUGH, RESAMPLES, best_threshold, fit_thresholds

quick = settings(max_examples=120, deadline=None)
rows = st.lists(
    st.tuples(st.booleans(), st.sampled_from([0.0, 0.05, 0.1, 0.2, 0.4, 0.5, 0.7, 0.99, 1.0])), min_size=1, max_size=40
)
wild = st.lists(st.tuples(st.booleans(), st.floats(0, 1, width=32)), min_size=1, max_size=40)


def f1(truth: np.ndarray, p: np.ndarray, cut: float, drawn: np.ndarray) -> float:
    """Return the mean over resamples of F1 at one threshold."""
    said = p >= cut
    hit, both = drawn @ (truth & said), drawn @ truth.astype(float) + drawn @ said.astype(float)
    return float((2 * hit / np.maximum(both, 1e-9)).mean())


def drawn_as_fitted(n: int) -> np.ndarray:
    """Return the very resamples of the fit, the rows themselves first."""
    draws = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), RESAMPLES)
    return np.vstack([np.ones(n), draws]).astype(float)


@quick
@given(rows | wild)
def test_no_threshold_is_better_than_the_fitted_one_on_what_it_maximises(
    pairs: list[tuple[bool, float]],
) -> None:
    """Rule: bootstrap-averaged F1 at the fitted threshold ≥ at 0.5 and at every score; it lies in [0, 1]."""
    truth, p = np.array([t for t, _ in pairs]), np.array([v for _, v in pairs], dtype=np.float32)
    cut = best_threshold(truth, p)
    assert 0.0 <= cut <= 1.0
    if not truth.any() or truth.all():
        assert cut == 0.5
        return
    drawn = drawn_as_fitted(len(p))
    reached = f1(truth, p, cut, drawn)
    for other in (0.5, *np.unique(p)):
        assert reached >= f1(truth, p, float(other), drawn) - 1e-6


@quick
@given(rows)
def test_a_threshold_lies_between_scores_so_that_equal_rows_fall_on_one_side(pairs: list[tuple[bool, float]]) -> None:
    """Rule: no score equals the threshold, and moving every score by float noise changes no decision."""
    truth, p = np.array([t for t, _ in pairs]), np.array([v for _, v in pairs], dtype=np.float32)
    p = np.maximum(p, np.float32(0.01))
    if not truth.any() or truth.all():
        return
    cut = np.float32(best_threshold(truth, p))
    assert cut not in p
    said = p >= cut
    for noisy in (p + np.float32(1e-6), p - np.float32(1e-6)):
        assert ((noisy >= cut) == said).all()


@quick
@given(rows)
def test_fitting_is_repeatable(pairs: list[tuple[bool, float]]) -> None:
    """C62: the same rows and seed give the same threshold."""
    truth, p = np.array([t for t, _ in pairs]), np.array([v for _, v in pairs], dtype=np.float32)
    assert best_threshold(truth, p, 3) == best_threshold(truth, p, 3)


def test_postmortem_000_a_label_that_0_5_never_predicts_is_found() -> None:
    """Post-mortem 000: 9 of 44 rows, no probability above 0.4: F1 0 at 0.5, found by its fitted threshold."""
    rng = np.random.default_rng(1)
    truth = np.zeros(44, dtype=bool)
    truth[:9] = True
    p = np.where(truth, rng.uniform(0.22, 0.40, 44), rng.uniform(0.02, 0.24, 44)).astype(np.float32)
    assert not (p >= 0.5).any()
    for kind, columns in (("multilabel", 6), ("pair", 1)):
        values = np.repeat(p[:, None], columns, axis=1)
        cuts = fit_thresholds(kinds.get(kind), np.repeat(truth[:, None], columns, axis=1), values)
        assert cuts.shape == (columns,)
        assert cuts.dtype == np.float32
        assert ((p >= cuts[0]) & truth).sum() >= 8
        assert ((p >= cuts[0]) & ~truth).sum() <= 2


@pytest.mark.parametrize("truth", [[False] * 5, [True] * 5])
def test_one_sided_columns_keep_one_half(truth: list[bool]) -> None:
    """C66: without positives, or without negatives, there is nothing to fit: 0.5."""
    assert best_threshold(np.array(truth), np.linspace(0.1, 0.9, 5, dtype=np.float32)) == 0.5


def test_a_single_lucky_row_does_not_decide() -> None:
    """Rule: averaging over resamples keeps the threshold out of a gap that one row alone defends."""
    truth = np.array([True] * 10 + [False] * 30)
    p = np.concatenate([np.linspace(0.45, 0.9, 10), np.linspace(0.05, 0.40, 29), [0.97]]).astype(np.float32)
    assert 0.40 < best_threshold(truth, p) < 0.46


def rare(positives: int, n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Return three exclusive classes, the first rare and always just behind the last."""
    truth = np.zeros((n, 3), dtype=bool)
    truth[:, 2] = True
    truth[n // 2 :] = [False, True, False]
    truth[:positives] = [True, False, False]
    p = np.where(truth[:, 1:2], [[0.1, 0.8, 0.1]], [[0.3, 0.1, 0.6]])
    p = np.where(truth[:, :1], [[0.4, 0.1, 0.5]], p)
    return truth, p.astype(np.float32)


def test_a_rare_exclusive_class_wins_earlier_when_it_has_enough_rows() -> None:
    """Post-mortem 004: a class that argmax never names gets a lower threshold and is named."""
    kind = kinds.get("multiclass")
    truth, p = rare(30)
    assert not kind.chosen(p, kind.plain(kind.schema(("a", "b", "c"))))[:, 0].any()
    cuts = fit_thresholds(kind, truth, p)
    said = kind.chosen(p, cuts)
    assert (said[:, 0] == truth[:, 0]).all()
    assert 0 < cuts[0] < 0.5
    assert ((cuts > 0) & (cuts < 1)).all()


def test_below_the_least_count_an_exclusive_class_keeps_one_half() -> None:
    """Rule: a divisor fitted on a handful of rows would be noise."""
    truth, p = rare(ENOUGH - 1)
    assert fit_thresholds(kinds.get("multiclass"), truth, p)[0] == 0.5
