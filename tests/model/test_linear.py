"""The linear models: as sklearn's and as a brute-force minimum, with masks, words, weights, and rare columns."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.sparse import csr_matrix, random_array
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.utils.class_weight import compute_sample_weight

from toughcall.model import kinds, linear
from toughcall.model.calibration import sigmoid, softmax
from toughcall.model.linear import Extra, Rows, Setting, compact, multinomial, one_vs_rest, ridge

each_setting = pytest.mark.parametrize(
    ("words", "balanced", "more"), [(w, b, m) for w in (False, True) for b in (False, True) for m in (False, True)]
)


def rows(n: int, seed: int, *, words: bool = True, wide: int = 12) -> Rows:
    """Return random rows: dense columns of different scales, and sparse ones beside them."""
    rng = np.random.default_rng(seed)
    dense = rng.normal(size=(n, wide)) * rng.uniform(0.2, 2.0, size=wide)
    return Rows(dense, csr_matrix(random_array((n, 150), density=0.04, rng=rng)) if words else None)


def whole(x: Rows) -> Any:
    """Return the rows as one dense matrix."""
    return x.dense if x.words is None else np.hstack([x.dense, x.words.toarray()])


def planted_truth(x: Rows, k: int, seed: int, *, single: bool, more: Rows | None = None) -> tuple[Any, Any]:
    """Return targets that hang on the features, of the rows and of other rows."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(x.shape[1], k))
    found = []
    for part in (x, more):
        z = (part or x) @ weights + rng.gumbel(size=(len(part or x), k)) + np.linspace(1, -1, k)
        found.append(np.eye(k, dtype=bool)[z.argmax(axis=1)] if single else z > 0.5)
    return found[0], found[1]


def sklearns(x: Any, goal: Any, strength: float, balanced: bool, weight: Any) -> LogisticRegression:
    """Return sklearn's regression, converged, a class weighing as much as another by the number of its rows."""
    each = weight * compute_sample_weight("balanced", goal) if balanced else weight
    return LogisticRegression(C=strength, tol=1e-10, max_iter=20_000).fit(x, goal, each)


@each_setting
def test_softmax_regression_is_sklearns(words: bool, balanced: bool, more: bool) -> None:
    """Rule: probabilities as sklearn's converged ones within 1e-4, with words, balance, and weighted extra rows."""
    x, other = rows(200, 1, words=words), rows(15, 2, words=words)
    truth, goal = planted_truth(x, 4, 3, single=True, more=other)
    extra: Extra | None = (other, goal, 3.0) if more else None
    coef, bias = multinomial(x, truth, 2.0, balanced, extra)
    both, goals = (np.vstack([whole(x), whole(other)]), np.vstack([truth, goal])) if more else (whole(x), truth)
    weight = np.concatenate([np.ones(200), np.full(len(both) - 200, 3.0)])
    due = sklearns(both, goals.argmax(axis=1), 2.0, balanced, weight)
    assert softmax(x @ coef.T + bias) == pytest.approx(due.predict_proba(whole(x)), abs=1e-4)
    assert coef == pytest.approx(due.coef_, abs=2e-3)


@each_setting
def test_one_regression_a_column_is_sklearns(words: bool, balanced: bool, more: bool) -> None:
    """Rule: every column as sklearn's converged one within 1e-4, with words, balance, and weighted extra rows."""
    x, other = rows(200, 4, words=words), rows(15, 5, words=words)
    truth, goal = planted_truth(x, 5, 6, single=False, more=other)
    extra: Extra | None = (other, goal, 3.0) if more else None
    coef, bias = one_vs_rest(x, truth, 2.0, balanced, extra)
    both, goals = (np.vstack([whole(x), whole(other)]), np.vstack([truth, goal])) if more else (whole(x), truth)
    weight = np.concatenate([np.ones(200), np.full(len(both) - 200, 3.0)])
    for j in range(5):
        due = sklearns(both, goals[:, j], 2.0, balanced, weight)
        assert sigmoid(x @ coef[j] + bias[j]) == pytest.approx(due.predict_proba(whole(x))[:, 1], abs=1e-4)
        assert coef[j] == pytest.approx(due.coef_[0], abs=2e-3)


@pytest.mark.parametrize("strength", [0.1, 1.0, 30.0])
@pytest.mark.parametrize("words", [False, True])
def test_ridge_is_sklearns_on_the_rows_that_were_answered(words: bool, strength: float) -> None:
    """Rule: each column as sklearn's Ridge on its own answered rows alone, whatever stands unanswered elsewhere."""
    x, rng = rows(120, 7, words=words), np.random.default_rng(8)
    truth = x @ rng.normal(size=(x.shape[1], 5)) + rng.normal(size=(120, 5)) + 3.0
    truth[rng.random(truth.shape) < 0.4] = np.nan
    truth[:, 1] = np.where(np.isnan(truth[:, 0]), np.nan, truth[:, 1])
    # two columns answered in the same rows, one everywhere, one nowhere
    truth[:, 1] = np.where(np.isnan(truth[:, 0]), np.nan, rng.normal(size=120))
    truth[:, 2] = rng.normal(size=120)
    truth[:, 3] = np.nan
    coef, bias = ridge(x, truth, strength)
    for j in (0, 1, 2, 4):
        there = np.isfinite(truth[:, j])
        due = Ridge(alpha=1.0 / strength, solver="cholesky").fit(whole(x)[there], truth[there, j])
        assert coef[j] == pytest.approx(due.coef_, abs=1e-8)
        assert bias[j] == pytest.approx(due.intercept_, abs=1e-8)
    assert not coef[3].any()
    assert bias[3] == 0.5


def least_loss(x: Any, truth: Any, strength: float, weight: Any, legal: Any) -> tuple[float, Any]:
    """Return (the least penalised loss over what is legal, the probabilities there), by brute force."""
    d, k = x.shape[1], truth.shape[1]

    def parts(at: Any) -> tuple[Any, Any]:
        w = at.reshape(k, d + 1)
        z = np.where(legal, x @ w[:, 1:].T + w[:, 0], -np.inf)
        return w, z

    def loss(at: Any) -> float:
        w, z = parts(at)
        top = z.max(axis=1)
        log = np.log(np.exp(z - top[:, None]).sum(axis=1)) + top - z[truth]
        return float(strength * (weight * log).sum() + 0.5 * (w[:, 1:] ** 2).sum())

    found = minimize(loss, np.zeros(k * (d + 1)), method="BFGS", options={"gtol": 1e-7, "maxiter": 5000})
    return float(found.fun), softmax(parts(found.x)[1])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("balanced", [False, True])
def test_t9_the_mask_in_the_loss_is_the_brute_force_minimum(seed: int, balanced: bool) -> None:
    """T9: each row's softmax runs over its legal classes alone: loss and probabilities as a plain minimiser's."""
    rng = np.random.default_rng(seed)
    x = rows(30, seed, words=False, wide=2)
    legal = rng.random((30, 3)) < 0.6
    legal[np.arange(30), rng.integers(3, size=30)] = True
    z = np.where(legal, x.dense @ rng.normal(size=(2, 3)) + rng.gumbel(size=(30, 3)), -np.inf)
    truth = np.eye(3, dtype=bool)[z.argmax(axis=1)]
    coef, bias = multinomial(x, truth, 1.5, balanced, None, legal)
    weight = truth @ (30 / (3 * truth.sum(axis=0))) if balanced else np.ones(30)
    least, due = least_loss(x.dense, truth, 1.5, weight, legal)
    own = np.where(legal, x.dense @ coef.T + bias, -np.inf)
    found = softmax(own)
    reached = 1.5 * (weight * -np.log(found[truth])).sum() + 0.5 * (coef**2).sum()
    assert reached == pytest.approx(least, rel=1e-6)
    assert found == pytest.approx(due, abs=2e-4)
    # without the mask it is another model
    free = multinomial(x, truth, 1.5, balanced, None)[0]
    assert np.abs(free - coef).max() > 0.01
    everywhere = multinomial(x, truth, 1.5, balanced, None, np.ones_like(legal))[0]
    np.testing.assert_array_equal(everywhere, free)
    # a setting says whether the mask holds in the loss
    for name in ("relation", "multiclass"):
        for masked, due_ in ((True, coef), (False, free)):
            found = kinds.get(name).fit(x, truth, Setting(1.5, balanced, masked=masked), None, legal)[0]
            np.testing.assert_array_equal(found, due_)


def test_t9_no_weight_is_spent_on_what_the_rule_tells() -> None:
    """T9: a feature that says only which classes are legal keeps the weight 0; without the mask it takes most."""
    rng = np.random.default_rng(0)
    side = rng.random(200) < 0.5
    signal = rng.normal(size=200)
    truth = np.eye(4, dtype=bool)[2 * side + (signal + rng.normal(size=200) > 0)]
    x = Rows(np.column_stack([np.where(side, 1.0, -1.0), signal]))
    legal = np.where(side[:, None], [[False, False, True, True]], [[True, True, False, False]])
    masked, free = (multinomial(x, truth, 1.0, False, None, one)[0] for one in (legal, None))
    # what is left of it is the difference of two classes on one side, of which the intercept takes its share
    assert np.abs(masked[:, 0]).max() < 0.2 < 1.0 < np.abs(free[:, 0]).max()
    assert np.abs(masked[:, 1]).max() > 0.4


def test_a_class_that_is_always_right_where_it_is_legal_ends_finite() -> None:
    """Rule: an intercept that could grow for ever stops once its slope is nothing: finite, and 0.99 sure."""
    x = rows(60, 0, words=False, wide=3)
    truth = np.eye(3, dtype=bool)[np.arange(60) % 3]
    legal = np.ones((60, 3), dtype=bool)
    legal[:, 2] = truth[:, 2]
    coef, bias = multinomial(x, truth, 1.0, False, None, legal)
    assert np.isfinite(coef).all()
    assert np.isfinite(bias).all()
    z = np.where(legal, x @ coef.T + bias, -np.inf)
    assert softmax(z)[truth[:, 2], 2].min() > 0.99


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("exclusive", [False, True])
def test_a_rare_column_is_fitted_to_the_end(exclusive: bool, balanced: bool) -> None:
    """Rule: 3 positives in 5,000 rows are learnt as in sklearn's converged fit, to a slope of 1e-5 of their weight."""
    rng = np.random.default_rng(0)
    x = Rows(rng.normal(size=(5000, 10)) / 3, csr_matrix(random_array((5000, 100), density=0.03, rng=rng)))
    truth = np.zeros((5000, 2), dtype=bool)
    truth[[10, 2000, 4000], 0] = True
    x.dense[truth[:, 0], 0] += 1.5
    truth[:, 1] = ~truth[:, 0] if exclusive else rng.random(5000) < 0.3
    coef, bias = (multinomial if exclusive else one_vs_rest)(x, truth, 3.0, balanced, None)
    z = x @ coef.T + bias
    # two exclusive classes share the weights of one regression, half each, and so half the penalty
    due = sklearns(whole(x), truth[:, 0], 6.0 if exclusive else 3.0, balanced, np.ones(5000)).decision_function(
        whole(x)
    )
    found = z[:, 0] - z[:, 1] if exclusive else z[:, 0]
    assert np.abs(found - due).max() < 0.05
    assert found[truth[:, 0]].min() > np.quantile(found, 0.99)
    p = softmax(z) if exclusive else sigmoid(z)
    weight = np.full(truth.shape, 3.0)
    if balanced:
        weight = 3.0 * np.where(truth, 5000 / (2 * truth.sum(axis=0)), 5000 / (2 * (~truth).sum(axis=0)))
    slope = x.back(weight * (p - truth)) + coef.T
    assert np.abs(slope[:, 0]).max() <= 1.001e-5 * (weight * truth)[:, 0].sum()


def test_columns_without_an_example_on_one_side_have_a_prior_and_no_weight() -> None:
    """Rule: logistic: the prior's log odds; softmax: -10, and 10 where there is one class only; no warning, no NaN."""
    x = rows(20, 0)
    truth = np.zeros((20, 3), dtype=bool)
    truth[:, 0] = True
    truth[:7, 2] = True
    coef, bias = one_vs_rest(x, truth, 1.0, True, None)
    assert not coef[:2].any()
    assert coef[2].any()
    assert bias[:2].tolist() == pytest.approx([np.log(20.5 / 0.5), np.log(0.5 / 20.5)])
    nothing = one_vs_rest(x, truth[:, :2], 1.0, False, None)
    assert not nothing[0].any()
    truth = np.eye(3, dtype=bool)[np.array([0, 2] * 10)]
    coef, bias = multinomial(x, truth, 1.0, True, None)
    assert not coef[1].any()
    assert bias[1] == -10.0
    coef, bias = multinomial(x, np.eye(3, dtype=bool)[np.ones(20, dtype=int)], 1.0, True, None)
    assert (coef.any(), bias.tolist()) == (False, [-10.0, 10.0, -10.0])


@pytest.mark.parametrize("words", [False, True])
def test_rows_calculate_as_one_matrix(words: bool) -> None:
    """Rule: products, squares, choice, stacking and turning of dense and sparse parts are those of one matrix."""
    x, other, rng = rows(30, 0, words=words), rows(5, 1, words=words), np.random.default_rng(2)
    full = whole(x)
    weights, parts = rng.normal(size=(x.shape[1], 4)), rng.normal(size=(30, 4))
    assert (x.shape, len(x)) == (full.shape, 30)
    assert x @ weights == pytest.approx(full @ weights)
    assert x.back(parts) == pytest.approx(full.T @ parts)
    assert x.gram == pytest.approx(full @ full.T)
    assert x.squares == pytest.approx((full**2).sum(axis=0))
    mask = rng.random(30) < 0.5
    for chosen in (mask, np.flatnonzero(mask)[::-1]):
        assert whole(x.take(chosen)) == pytest.approx(full[chosen])
    assert whole(x.join(other)) == pytest.approx(np.vstack([full, whole(other)]))
    assert whole(x.with_ones()) == pytest.approx(np.hstack([np.ones((30, 1)), full]))


@pytest.mark.parametrize("few", [True, False])
@pytest.mark.parametrize("words", [False, True])
def test_fewer_coordinates_change_no_fit(words: bool, few: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule: in the span of few rows, or on turned axes with the words in use, every fit is as on all features."""
    monkeypatch.setattr(linear, "FEW", 40 if few else 39)
    x, new, rng = rows(40, 0, words=words), rows(9, 1, words=words), np.random.default_rng(2)
    small, carry = compact(x)
    assert len(small) == 40
    assert small.gram == pytest.approx(x.gram)
    assert small.shape[1] <= (40 if few and words else x.shape[1])
    truth = np.eye(3, dtype=bool)[rng.integers(3, size=40)]
    numbers = rng.normal(size=(40, 2))
    fits: tuple[Any, ...] = (
        lambda at: multinomial(at, truth, 2.0, True, None),
        lambda at: one_vs_rest(at, truth, 2.0, False, None),
        lambda at: ridge(at, numbers, 2.0),
    )
    for fit in fits:
        (coef, bias), (due, start) = fit(small), fit(x)
        assert carry(coef) == pytest.approx(due, abs=1e-3)
        assert new @ carry(coef).T == pytest.approx(new @ due.T, abs=2e-3)
        # a softmax knows its intercepts only up to a number added to all
        alike = fit is fits[0]
        assert bias - alike * bias.mean() == pytest.approx(start - alike * start.mean(), abs=1e-3)


def test_the_solvers_end_quietly_on_data_that_separate_perfectly() -> None:
    """Rule: separable rows and a weak penalty: finite weights, the right answers, no warning."""
    x = rows(40, 3, words=False, wide=40)
    truth = np.eye(2, dtype=bool)[np.arange(40) % 2]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for coef, bias in (multinomial(x, truth, 1e4, True, None), one_vs_rest(x, truth, 1e4, True, None)):
            assert np.isfinite(coef).all()
            assert ((x @ coef.T + bias).argmax(axis=1) == truth.argmax(axis=1)).all()
