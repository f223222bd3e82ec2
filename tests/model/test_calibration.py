"""Calibration: scales that are known come back, and one-sided data turns nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toughcall.model.calibration import ece, platt, sigmoid, softmax, temperature

quick = settings(max_examples=80, deadline=None)


@pytest.mark.parametrize(("a", "b"), [(1.0, 0.0), (0.3, -1.5), (4.0, 2.0)])
def test_platt_finds_the_scale_the_rows_were_drawn_with(a: float, b: float) -> None:
    """Rule: with many rows (a, b) of P = sigmoid(a·z + b) come back within a tenth."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=20_000) * 1.5
    found = platt(rng.random(len(z)) < sigmoid(a * z + b), z)
    assert found == (pytest.approx(a, rel=0.1), pytest.approx(b, abs=0.15))


@pytest.mark.parametrize("t", [0.5, 1.0, 3.0])
def test_temperature_finds_the_scale_the_rows_were_drawn_with(t: float) -> None:
    """Rule: with many rows the t of softmax(z / t) comes back within a tenth."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(8000, 4)) * 3
    drawn = (softmax(z / t).cumsum(axis=1) < rng.random((len(z), 1))).sum(axis=1)
    assert temperature(np.eye(4, dtype=bool)[np.minimum(drawn, 3)], z) == pytest.approx(t, rel=0.1)


def test_platt_lowers_the_calibration_error_of_a_model_that_shouts() -> None:
    """Rule: logits three times too large are calibrated on other rows than they are measured on."""
    rng = np.random.default_rng(2)
    z = rng.normal(size=4000)
    truth = rng.random(4000) < sigmoid(z)
    a, b = platt(truth[:2000], 3 * z[:2000])
    before, after = ece(truth[2000:], sigmoid(3 * z[2000:])), ece(truth[2000:], sigmoid(a * 3 * z[2000:] + b))
    assert before is not None
    assert after is not None
    assert after < before / 3


@quick
@given(st.lists(st.tuples(st.booleans(), st.floats(-1e3, 1e3)), min_size=1, max_size=30))
def test_calibration_keeps_the_order_whatever_the_rows(rows: list[tuple[bool, float]]) -> None:
    """Rule: a > 0 and temperature > 0 for any rows, so that calibration never reverses a ranking."""
    truth, z = np.array([t for t, _ in rows]), np.array([v for _, v in rows])
    a, b = platt(truth, z)
    assert a > 0
    assert np.isfinite([a, b]).all()
    if truth.all() or not truth.any():
        assert (a, b) == (1.0, 0.0)
    t = temperature(np.column_stack([truth, ~truth]), np.column_stack([z, -z]))
    assert t > 0
    assert np.isfinite(t)


def test_a_handful_of_separable_rows_does_not_turn_the_scale() -> None:
    """Rule: four rows that separate perfectly give no certainty."""
    a, b = platt(np.array([True, True, False, False]), np.array([2.0, 1.5, -1.5, -2.0]))
    assert 0.3 < a < 3.0
    assert float(sigmoid(np.array([a * 2 + b]))[0]) < 0.95


@quick
@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), max_size=40))
def test_the_calibration_error_lies_between_zero_and_one(rows: list[tuple[bool, float]]) -> None:
    """C66: None without rows, else in [0, 1]."""
    found = ece(np.array([t for t, _ in rows], dtype=bool), np.array([p for _, p in rows]))
    assert (found is None) == (not rows)
    assert found is None or 0.0 <= found <= 1.0


def test_the_calibration_error_by_hand() -> None:
    """Rule: Σ share of a bin · |hit rate − mean probability|; 1.0 belongs to the last bin."""
    truth = np.array([True, False, True, True])
    assert ece(truth, np.array([0.25, 0.25, 0.95, 1.0])) == pytest.approx(0.5 * 0.25 + 0.5 * 0.025)
    assert ece(truth, truth.astype(float)) == 0.0
    assert ece(truth, 1.0 - truth) == 1.0


@quick
@given(st.lists(st.floats(-800, 800), min_size=2, max_size=5))
def test_links_never_overflow(row: list[float]) -> None:
    """Rule: sigmoid and softmax stay in [0, 1] without a warning; a softmax sums to one."""
    z = np.array([row])
    assert ((sigmoid(z) >= 0) & (sigmoid(z) <= 1)).all()
    assert softmax(z).sum() == pytest.approx(1.0)
