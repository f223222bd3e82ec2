"""Calibration: scales that are known come back, and one-sided data turns nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toughcall.model import kinds
from toughcall.model.calibration import (
    MEMBERS,
    MOST_KNOTS,
    before_after,
    chosen_calibration,
    ece,
    ece_by_mass,
    isotonic,
    log_loss,
    platt,
    sigmoid,
    softmax,
    temperature,
)

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


@quick
@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1, width=32)), min_size=1, max_size=120))
def test_steps_rise_and_stay_away_from_certainty(rows: list[tuple[bool, float]]) -> None:
    """Rule: at most 32 points, x and y rising, y at least 1 / (n + 2) away from 0 and 1, no row passing another."""
    truth, p = np.array([t for t, _ in rows]), np.array([v for _, v in rows])
    points = isotonic(truth, p)
    assert points.dtype == np.float32
    assert 1 <= len(points) <= MOST_KNOTS
    assert (np.diff(points, axis=0) >= 0).all()
    least = 1 / (len(rows) + 2)
    assert (points[:, 1] >= least - 1e-6).all()
    assert (points[:, 1] <= 1 - least + 1e-6).all()
    made = np.interp(np.sort(p), *points.T)
    assert np.isfinite(made).all()
    assert (np.diff(made) >= 0).all()


def test_steps_by_hand() -> None:
    """Rule: the pooled means of neighbours that fall; without rows there is nothing to fit."""
    points = isotonic(np.array([False, True, False, True]), np.array([0.1, 0.2, 0.3, 0.4]))
    assert points.tolist() == [pytest.approx(one) for one in ([0.1, 1 / 6], [0.2, 0.5], [0.3, 0.5], [0.4, 5 / 6])]
    with pytest.raises(ValueError, match="at least one row"):
        isotonic(np.zeros(0, dtype=bool), np.zeros(0))


def test_many_steps_are_thinned_to_32_points_with_both_ends() -> None:
    """Rule: a hundred steps are stored as 32 points, the first and the last among them, near the whole staircase."""
    p = np.repeat(np.linspace(0.0, 1.0, 101), 100)
    truth = np.tile(np.arange(100), 101) < 100 * p
    points = isotonic(truth, p)
    assert len(points) == MOST_KNOTS
    assert points[0].tolist() == pytest.approx([0.0, 1 / (len(p) + 2)])
    assert points[-1].tolist() == pytest.approx([1.0, 1 - 1 / (len(p) + 2)])
    assert np.interp(p, *points.T) == pytest.approx(p, abs=0.02)


def crooked(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return (truth, logits) of a column whose truth is a staircase of its logit: no line describes it."""
    rng = np.random.default_rng(seed)
    z = rng.uniform(-4, 4, n)
    share = np.select([z < -2, z < 0, z < 2], [0.05, 0.5, 0.5], 0.95)
    return rng.random(n) < share, z


def test_steps_are_taken_where_a_line_cannot_follow_and_rows_are_many() -> None:
    """Rule: a staircase with 2,000 rows gets steps that measure better on other rows; its neighbour keeps its line."""
    truth, z = crooked(2000)
    straight = np.random.default_rng(1).random(2000) < sigmoid(z)
    both, logits = np.column_stack([truth, straight]), np.column_stack([z, z])
    fitted = chosen_calibration(both, logits, np.arange(2000) % 5)
    assert fitted.knots is not None
    assert fitted.knots.shape[0::2] == (2, 2)
    assert fitted.notes[0].startswith("isotonic: log loss ")
    assert fitted.notes[1].startswith("Platt: log loss ")
    new, at = crooked(4000, 7)
    made = fitted.apply(np.column_stack([at, at]), sigmoid)
    a, b = platt(truth, z)
    assert log_loss(new, made[:, 0]) < log_loss(new, sigmoid(a * at + b)) - 0.01
    # the column that keeps its line has exactly that line
    assert made[:, 1] == pytest.approx(sigmoid(fitted.slope[1] * at + fitted.offset[1]), abs=1e-12)


@pytest.mark.parametrize(("members", "tried"), [(MEMBERS - 1, False), (MEMBERS, True)])
@pytest.mark.parametrize("turned", [False, True])
def test_below_two_hundred_on_either_side_steps_are_not_tried(members: int, tried: bool, turned: bool) -> None:
    """Rule: 200 members and 200 non-members, or Platt's line alone, and the note counts the scarcer side."""
    truth = np.arange(1000) < members
    z = np.where(truth, 1.0, -1.0) + np.random.default_rng(0).normal(size=1000)
    fitted = chosen_calibration((truth ^ turned)[:, None], z[:, None] * (-1 if turned else 1), np.arange(1000) % 5)
    side = "non-members" if turned else "members"
    assert ("log loss" in fitted.notes[0]) == tried
    assert (fitted.notes[0] == f"Platt: 199 {side}, isotonic needs 200") == (not tried)


@pytest.mark.parametrize("seed", range(6))
def test_steps_hardly_win_where_the_truth_is_a_line(seed: int) -> None:
    """Rule: the left-out folds decide: on rows drawn from a line steps cost at most 0.015 of log loss."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=600) * 1.5
    fitted = chosen_calibration((rng.random(600) < sigmoid(z))[:, None], z[:, None], np.arange(600) % 5)
    at = rng.normal(size=(20_000, 1)) * 1.5
    new = rng.random(at.shape) < sigmoid(at)
    assert log_loss(new, fitted.apply(at, sigmoid)) < log_loss(new, sigmoid(at)) + 0.015
    assert fitted.knots is None or "isotonic" in fitted.notes[0]


@pytest.mark.parametrize("name", ["multilabel", "multiclass", "pair"])
def test_without_steps_a_calibration_is_that_of_the_kind(name: str) -> None:
    """Rule: slope and offset are what the kind calibrates with today, and rows of exclusive classes sum to one."""
    rng = np.random.default_rng(0)
    kind = kinds.get(name)
    logits = rng.normal(size=(90, 1 if kind.paired else 3))
    single = kind.single and not kind.paired
    truth = np.eye(3, dtype=bool)[np.arange(90) % 3] if single else rng.random(logits.shape) < sigmoid(logits)
    fitted = chosen_calibration(truth, logits, np.arange(90) % 5, exclusive=single)
    slope, offset = kind.calibrate(truth, logits)
    assert fitted.knots is None
    assert (fitted.slope == slope).all()
    assert (fitted.offset == offset).all()
    made = fitted.apply(logits, kind.link)
    assert (made == kind.link(logits * slope + offset)).all()
    if single:
        assert made.sum(axis=1) == pytest.approx(np.ones(90))
        assert len(fitted.notes) == 1
        assert fitted.notes[0].startswith("one temperature, ")


def test_what_is_not_legal_stays_at_zero() -> None:
    """T9: steps lift every probability off 0, but not that of a logit of minus infinity."""
    truth, z = crooked(2000)
    fitted = chosen_calibration(truth[:, None], z[:, None], np.arange(2000) % 5)
    assert fitted.knots is not None
    assert fitted.apply(np.array([[-np.inf], [-50.0]]), sigmoid)[:, 0].tolist() == [
        0.0,
        pytest.approx(float(fitted.knots[0, 0, 1])),
    ]


def test_one_fold_alone_never_decides_for_steps() -> None:
    """Rule: without a left-out fold there is no evidence, so Platt's line stays."""
    truth, z = crooked(2000)
    fitted = chosen_calibration(truth[:, None], z[:, None], np.zeros(2000, dtype=np.intp))
    assert fitted.knots is None
    assert fitted.notes == ("Platt: one fold alone tells nothing about isotonic",)


@quick
@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), max_size=40))
def test_equal_mass_bins_do_not_depend_on_the_order_of_rows(rows: list[tuple[bool, float]]) -> None:
    """C66: None without rows, else in [0, 1], and the same however the rows are shuffled."""
    truth, p = np.array([t for t, _ in rows], dtype=bool), np.array([v for _, v in rows])
    found = ece_by_mass(truth, p)
    assert (found is None) == (not rows)
    if found is not None:
        order = np.random.default_rng(0).permutation(len(rows))
        assert 0.0 <= found <= 1.0 + 1e-12
        assert ece_by_mass(truth[order], p[order]) == pytest.approx(found)


def test_equal_mass_bins_by_hand() -> None:
    """G9: a rare class whose rows all lie below 0.1 is one bin of equal width and two of equal mass."""
    p = np.array([0.01, 0.01, 0.01, 0.01, 0.09, 0.09, 0.09, 0.09])
    truth = np.array([True, False, False, False, False, False, False, False])
    # one bin: 1/8 said 0.05; two bins: 1/4 said 0.01 and 0 said 0.09
    assert ece(truth, p) == pytest.approx(0.125 - 0.05)
    assert ece_by_mass(truth, p, 2) == pytest.approx(0.5 * 0.24 + 0.5 * 0.09)


def test_before_and_after_a_calibration_of_each_column_and_their_mean() -> None:
    """G9: the calibration error drops on a model that shouts, column by column; without rows there is none."""
    rng = np.random.default_rng(4)
    z = rng.normal(size=(2000, 2))
    truth = rng.random(z.shape) < sigmoid(z)
    fitted = chosen_calibration(truth[:1000], 3 * z[:1000], np.arange(1000) % 5)
    raw, made = sigmoid(3 * z[1000:]), fitted.apply(3 * z[1000:], sigmoid)
    for equal_mass in (False, True):
        found = before_after(truth[1000:], raw, made, equal_mass=equal_mass)
        assert found is not None
        assert all(after < before / 2 for before, after in found.columns)
        assert found.mean == pytest.approx(np.mean(found.columns, axis=0))
    plain = before_after(truth[1000:], raw, made)
    assert plain is not None
    assert plain.columns[1] == (ece(truth[1000:, 1], raw[:, 1]), ece(truth[1000:, 1], made[:, 1]))
    assert before_after(truth[:0], raw[:0], made[:0]) is None
    assert before_after(truth[:, :0], raw[:, :0], made[:, :0]) is None
