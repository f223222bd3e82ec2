"""Thresholds: chosen without luck, and never splitting rows that look the same."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toughcall.model import kinds
from toughcall.model.thresholds import (
    FEW,
    LEAST_GAIN,
    MOST_CUTS,
    RESAMPLES,
    SHIFTS,
    best_threshold,
    fit_thresholds,
    macro_f1,
    shifted,
)

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


def drawn_as_fitted(truth: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Return how much each row weighs in each resample of the fit, the rows themselves first, shape (201, n).

    Rows between two positives are drawn together; here each of them gets its share.
    """
    levels = sorted(set(p.tolist()))
    below = dict(zip(levels, [levels[0] / 2, *((a + b) / 2 for a, b in itertools.pairwise(levels))], strict=True))
    cuts = sorted({below[v] for v in p[truth].tolist()})
    cell = [(bool(t), sum(cut <= v for cut in cuts)) for t, v in zip(truth, p.tolist(), strict=True)]
    every = [(t, n) for t in (False, True) for n in range(len(cuts) + 1)]
    count = np.array([cell.count(one) for one in every])
    drawn = np.random.default_rng(0).multinomial(len(p), count / len(p), RESAMPLES)
    drawn = np.vstack([count, drawn]) / np.maximum(count, 1)
    return drawn[:, [every.index(one) for one in cell]]


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
    drawn = drawn_as_fitted(truth, p)
    reached = f1(truth, p, cut, drawn)
    for other in (0.5, *np.unique(p)):
        assert reached >= f1(truth, p, float(other), drawn) - 1e-6
    assert (p[truth] >= cut).any()
    # halfway between the least probability above it, which a positive has, and the greatest below
    above = p[p >= cut].min()
    assert above in p[truth]
    assert cut == pytest.approx((float(above) + float(p[p < cut].max(initial=0.0))) / 2, abs=1e-7)


@pytest.mark.parametrize(("below", "above"), [(0.0, 1e-45), (0.5, 0.50000006), (0.99999994, 1.0)])
def test_two_neighbouring_floats_are_kept_apart(below: float, above: float) -> None:
    """Between them lies no third: the threshold is the upper one, and the lower row stays out."""
    p = np.array([below, above], dtype=np.float32)
    assert p[0] < p[1]
    assert (p >= best_threshold(np.array([False, True]), p)).tolist() == [False, True]


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
        values, mine = np.repeat(p[:, None], columns, axis=1), kinds.get(kind)
        schema = mine.schema(mine.default_labels or tuple("abcdef"))
        cuts = mine.thresholds(schema, np.repeat(truth[:, None], columns, axis=1), values, 0)
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


def test_many_positives_cost_no_more_cuts_and_hardly_any_f1() -> None:
    """Rule: 300 cuts spread over 2,000 positives reach the best F1 of all cuts within 0.005."""
    rng = np.random.default_rng(0)
    truth = rng.random(4000) < 0.5
    p = (1 / (1 + np.exp(-rng.normal(np.where(truth, 1.0, -1.0), 1.5)))).astype(np.float32)
    assert len(set(p[truth].tolist())) > 5 * MOST_CUTS
    whole = np.ones((1, len(p)))
    best = max(f1(truth, p, float(cut), whole) for cut in np.unique(p)[::5])
    assert f1(truth, p, best_threshold(truth, p), whole) >= best - 0.005


def plainly(truth: np.ndarray, p: np.ndarray) -> float:
    """Return macro F1 of plain argmax."""
    return macro_f1(truth, np.eye(truth.shape[1], dtype=bool)[p.argmax(axis=1)])


@pytest.mark.parametrize("kind", ["multiclass", "relation"])
def test_a_rare_exclusive_class_wins_earlier_where_that_gains(kind: str) -> None:
    """Post-mortem 004: a class that argmax never names gets a lower threshold and is named."""
    mine = kinds.get(kind)
    schema = mine.schema(("a", "b", "c"))
    truth, p = rare(30)
    assert not mine.chosen(p, mine.plain(schema))[:, 0].any()
    cuts = mine.thresholds(schema, truth, p, 0)
    said = mine.chosen(p, cuts)
    assert (said == truth).all()
    assert cuts.dtype == np.float32
    # by hand: shares 0.15, 0.5 and 0.35; the least shift that names the class is the square root
    assert cuts.tolist() == pytest.approx([0.5 * (0.15 / 0.5) ** 0.5, 0.5, 0.5 * (0.35 / 0.5) ** 0.5])


def test_equal_shares_are_never_shifted() -> None:
    """Rule: one number moves all classes by their share alone: equal shares stay at one half."""
    truth = np.eye(3, dtype=bool)[np.arange(30) % 3]
    p = np.random.default_rng(0).dirichlet(np.ones(3), 30)
    assert shifted(truth, p, kinds.get("multiclass").chosen).tolist() == [0.5, 0.5, 0.5]


@pytest.mark.parametrize(("near", "moved"), [(2, False), (9, True)])
def test_a_gain_under_a_hundredth_changes_nothing(near: int, moved: bool) -> None:
    """Rule: the least shift within 0.01 of the best out-of-fold macro F1: a few rows do not turn the scale."""
    truth = np.zeros((1000, 2), dtype=bool)
    truth[:700, 0] = truth[700:, 1] = True
    p = np.where(truth, 0.9, 0.1)
    # some of the rarer class stand just behind: a shift finds them all
    p[700 : 700 + near] = [0.55, 0.45]
    before = plainly(truth, p)
    cuts = shifted(truth, p, kinds.get("multiclass").chosen)
    gain = 1.0 - before
    assert (gain > LEAST_GAIN) == moved
    assert (cuts.tolist() != [0.5, 0.5]) == moved
    assert macro_f1(truth, kinds.get("multiclass").chosen(p, cuts)) == pytest.approx(1.0 if moved else before)


@quick
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 10), st.integers(0, 10)), min_size=1, max_size=30))
def test_no_shift_is_a_hundredth_better_than_the_one_taken(rows_: list[tuple[int, int, int]]) -> None:
    """Rule: out-of-fold macro F1 is at most 0.01 under the best of all shifts, and never under argmax's by more."""
    truth = np.eye(3, dtype=bool)[[one for one, _, _ in rows_]]
    p = (np.array([[a + 1.0, b + 1.0, 22.0 - a - b] for _, a, b in rows_]) / 24.0).astype(np.float32)
    chosen = kinds.get("multiclass").chosen
    share = np.maximum(truth.mean(axis=0), 1 / len(truth))
    tried = [macro_f1(truth, chosen(p, (0.5 * (share / share.max()) ** t).astype(np.float32))) for t in SHIFTS]
    cuts = shifted(truth, p, chosen)
    assert macro_f1(truth, chosen(p, cuts)) >= max(tried) - LEAST_GAIN - 1e-9
    assert ((cuts > 0) & (cuts <= 0.5)).all()
    if tried[0] >= max(tried) - LEAST_GAIN:
        assert cuts.tolist() == [0.5, 0.5, 0.5]


@quick
@given(rows | wild)
def test_fitted_thresholds_are_the_best_ones_and_say_how_sure_they_are(pairs: list[tuple[bool, float]]) -> None:
    """T5: each column has its own best cut, inside [0, 1] with its interval, marked as a guess below 5 positives."""
    truth, p = np.array([t for t, _ in pairs]), np.array([v for _, v in pairs], dtype=np.float32)
    cuts, found = fit_thresholds(np.column_stack([truth, ~truth]), np.column_stack([p, p]), 3)
    assert cuts.dtype == np.float32
    for own, cut, one in zip((truth, ~truth), cuts, found, strict=True):
        assert one.value == best_threshold(own, p, 3)
        assert cut == np.float32(one.value)
        assert 0.0 <= one.low <= one.high <= 1.0
        assert one.positives == own.sum()
        assert one.fitted == (one.positives >= FEW and not own.all())
        assert bool(one.note) == (not one.fitted)


@pytest.mark.parametrize(("positives", "fitted"), [(1, False), (4, False), (5, True), (40, True)])
def test_a_tiny_support_is_named(positives: int, fitted: bool) -> None:
    """T5: with fewer than five positives the threshold is a guess, and the note says so with its interval."""
    truth = np.arange(200) < positives
    p = np.random.default_rng(0).uniform(0.0, 0.5, 200) + 0.3 * truth
    _, (one,) = fit_thresholds(truth[:, None], p[:, None].astype(np.float32))
    assert one.fitted == fitted
    if not fitted:
        many = "s" if positives > 1 else ""
        assert one.note.startswith(f"{positives} positive{many}, 5 needed: {one.value:.2f} is a guess (")


@pytest.mark.parametrize(("value", "side"), [(False, "positive"), (True, "negative")])
def test_nothing_to_fit_is_refused(value: bool, side: str) -> None:
    """C66: without a positive, or without a negative, the fit is refused: 0.5, and anything from 0 to 1."""
    _, (one,) = fit_thresholds(np.full((6, 1), value), np.linspace(0, 1, 6)[:, None])
    assert (one.value, one.low, one.high, one.fitted) == (0.5, 0.0, 1.0, False)
    assert one.note == f"no {side} among 6 rows: nothing to fit, 0.5"


def test_more_rows_narrow_the_interval_of_a_threshold() -> None:
    """T5: the interval covers the cut that is best for very many rows, and shrinks with the rows."""
    rng = np.random.default_rng(1)

    def drawn(n: int) -> tuple[np.ndarray, np.ndarray]:
        truth = rng.random(n) < 0.3
        return truth[:, None], (1 / (1 + np.exp(-rng.normal(np.where(truth, 1.0, -1.0), 1.0))))[:, None]

    best = fit_thresholds(*drawn(20_000))[0][0]
    widths = []
    for n in (40, 400, 4000):
        _, (one,) = fit_thresholds(*drawn(n))
        assert one.low - 0.02 <= best <= one.high + 0.02
        widths.append(one.high - one.low)
    assert widths == sorted(widths, reverse=True)


@quick
@given(rows, st.integers(0, 5))
def test_the_order_of_rows_changes_no_threshold(pairs: list[tuple[bool, float]], seed: int) -> None:
    """C62: permuted rows give the same thresholds and the same notes."""
    truth, p = np.array([t for t, _ in pairs]), np.array([v for _, v in pairs], dtype=np.float32)
    order = np.random.default_rng(seed).permutation(len(p))
    first, last = fit_thresholds(truth[:, None], p[:, None]), fit_thresholds(truth[order, None], p[order, None])
    assert first[1] == last[1]
