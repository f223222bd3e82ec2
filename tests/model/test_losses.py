"""What trains a neural model: losses that hold their masks, weights that help rare labels, odd weights named."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from toughcall.model.losses import (
    BEND,
    LossSettings,
    class_weights,
    loss_function,
    one_sided,
    pos_weight,
    sampling_weights,
)
from toughcall.records import IntegrityError, UsageError

quick = settings(max_examples=80, deadline=None)
HOWS = ("independent", "exclusive", "numbers")
SETTINGS = {
    "plain": LossSettings(),
    "balanced": LossSettings(weights="balanced"),
    "focal": LossSettings(focal=2.0),
    "half a focus": LossSettings(focal=0.5),
    "smooth": LossSettings(smoothing=0.1),
    "adjusted": LossSettings(adjust=1.0),
    "all": LossSettings(weights="balanced", focal=1.0, smoothing=0.2, adjust=0.5),
}


def one_each(counts: list[int]) -> np.ndarray:
    """Return targets of an exclusive answer with these counts."""
    return np.repeat(np.eye(len(counts), dtype=bool), counts, axis=0)


def batch(how: str, b: int = 6, k: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Return (logits, target, truth to count from), the logits in double precision."""
    rng = np.random.default_rng(seed)
    truth = one_each([12, 6, 3, 1][:k]) if how == "exclusive" else rng.random((30, k)) < np.array([0.5, 0.3, 0.2, 0.1])
    rows = rng.choice(len(truth), b, replace=False)
    target = rng.random((b, k)) if how == "numbers" else truth[rows].astype(float)
    return torch.tensor(rng.normal(size=(b, k))), torch.tensor(target), truth


def measured(loss: Any, logits: torch.Tensor, *rest: Any) -> tuple[float, np.ndarray]:
    """Return (loss, its gradient at the logits)."""
    at = logits.clone().requires_grad_()
    value = loss(at, *rest)
    assert value.shape == ()
    value.backward()
    assert at.grad is not None
    return float(value.detach()), at.grad.numpy()


def choices(how: str) -> list[LossSettings]:
    """Return the settings that mean something for this loss."""
    return [SETTINGS["plain"]] if how == "numbers" else list(SETTINGS.values())


@quick
@given(st.sampled_from(HOWS), st.integers(0, 10_000), st.data())
def test_what_nobody_answered_changes_neither_loss_nor_gradient(how: Any, seed: int, data: st.DataObject) -> None:
    """A missing answer is not a no: whatever stands in a cell that is not answered or not legal, nothing changes."""
    rng = np.random.default_rng(seed)
    logits, target, truth = batch(how, seed=seed)
    answered = torch.tensor(rng.random(logits.shape) < 0.6)
    # an answer is always legal
    legal = torch.tensor(rng.random(logits.shape) < 0.8) | ((target > 0) & answered) if rng.random() < 0.5 else None
    loss = loss_function(data.draw(st.sampled_from(choices(how))), truth, how=how)
    closed = ~answered if legal is None else ~(answered & legal)
    value, slope = measured(loss, logits, target, answered, legal)
    assert np.isfinite(value)
    assert np.isfinite(slope).all()
    assert (slope[closed.numpy()] == 0).all()
    wild = torch.tensor(rng.choice([np.nan, 1e9, -1e9, -100.0, 1.0], size=logits.shape))
    goal = target.where(answered, wild)
    again, slope_again = measured(loss, logits.where(~closed, wild), goal, answered, legal)
    assert again == pytest.approx(value, rel=1e-12)
    assert slope_again == pytest.approx(slope, rel=1e-12)


@pytest.mark.parametrize("how", HOWS)
def test_a_batch_without_an_answer_weighs_nothing(how: Any) -> None:
    """Nothing answered, as a row of -100 elsewhere: the loss is exactly 0 and so is every slope, never NaN."""
    logits, target, truth = batch(how)
    void, nothing = torch.full_like(target, -100.0), torch.zeros_like(target, dtype=torch.bool)
    for one in choices(how):
        loss = loss_function(one, truth, how=how)
        for legal in (None, ~nothing, nothing):
            value, slope = measured(loss, logits, void, nothing, legal)
            assert value == 0.0
            assert (slope == 0.0).all()


def test_an_answered_row_counts_once_however_many_rows_are_missing() -> None:
    """The mean runs over what was answered: rows without an answer do not dilute the others."""
    for how in HOWS:
        logits, target, truth = batch(how)
        loss = loss_function(LossSettings(), truth, how=how)
        known = torch.ones_like(target, dtype=torch.bool)
        half = known.clone()
        half[3:] = False
        alone = loss(logits[:3], target[:3], known[:3], None)
        assert float(loss(logits, target, half, None)) == pytest.approx(float(alone), rel=1e-12)


def test_independent_labels_have_torchs_own_loss() -> None:
    """T2: plain and weighted, the loss is binary_cross_entropy_with_logits with pos_weight = negatives/positives."""
    logits, target, truth = batch("independent")
    known = torch.ones_like(target, dtype=torch.bool)
    found = loss_function(SETTINGS["balanced"], truth, how="independent")(logits, target, known, None)
    due = functional.binary_cross_entropy_with_logits(logits, target, pos_weight=torch.tensor(pos_weight(truth)))
    assert float(found) == pytest.approx(float(due), rel=1e-12)
    found = loss_function(LossSettings(smoothing=0.1), truth, how="independent")(logits, target, known, None)
    due = functional.binary_cross_entropy_with_logits(logits, target * 0.9 + 0.05)
    assert float(found) == pytest.approx(float(due), rel=1e-12)
    hand = LossSettings(given={"b": 3.0})
    found = loss_function(hand, truth, how="independent", labels="abcd")(logits, target, known, None)
    due = functional.binary_cross_entropy_with_logits(logits, target, pos_weight=torch.tensor([1.0, 3.0, 1.0, 1.0]))
    assert float(found) == pytest.approx(float(due), rel=1e-12)


def test_exclusive_labels_have_torchs_own_loss() -> None:
    """T2: weighted by n/(k·count), smoothed, or over legal columns alone, the loss is torch's cross_entropy."""
    logits, target, truth = batch("exclusive")
    known, place = torch.ones_like(target, dtype=torch.bool), target.argmax(dim=1)
    found = loss_function(SETTINGS["balanced"], truth, how="exclusive")(logits, target, known, None)
    weight = torch.tensor(class_weights(truth))
    due = functional.cross_entropy(logits, place, weight=weight, reduction="none").mean()
    assert float(found) == pytest.approx(float(due), rel=1e-12)
    # weights by hand mean the same ten times as great
    for times in (1.0, 10.0):
        one = LossSettings(given={name: times * w for name, w in zip("abcd", weight.tolist(), strict=True)})
        again = loss_function(one, truth, how="exclusive", labels="abcd")(logits, target, known, None)
        assert float(again) == pytest.approx(float(found), rel=1e-9)
    found = loss_function(SETTINGS["smooth"], truth, how="exclusive")(logits, target, known, None)
    assert float(found) == pytest.approx(float(functional.cross_entropy(logits, place, label_smoothing=0.1)), rel=1e-12)
    # without its last column, which no row answers: softmax and smoothing run over the other three
    legal = torch.tensor([True, True, True, False]).expand_as(known)
    rows = place < 3
    found = loss_function(SETTINGS["smooth"], truth, how="exclusive")(
        logits[rows], target[rows], known[rows], legal[rows]
    )
    due = functional.cross_entropy(logits[rows][:, :3], place[rows], label_smoothing=0.1)
    assert float(found) == pytest.approx(float(due), rel=1e-12)


def test_an_answer_shared_by_two_labels_is_a_soft_target() -> None:
    """Votes of 2 to 1 are learnt as two thirds and one third."""
    logits, _, truth = batch("exclusive", b=1)
    votes = torch.tensor([[2.0, 0.0, 1.0, 0.0]], dtype=torch.float64)
    found = loss_function(LossSettings(), truth, how="exclusive")(
        logits, votes, torch.ones(1, 4, dtype=torch.bool), None
    )
    assert float(found) == pytest.approx(float(functional.cross_entropy(logits, votes / 3)), rel=1e-12)


def test_a_focus_is_that_of_the_paper() -> None:
    """T3: Lin et al., eq. 4: -(1 - p) ** gamma · log p of the true side, by hand; gamma 0 changes nothing."""
    logits, target, truth = batch("independent")
    known = torch.ones_like(target, dtype=torch.bool)
    p = torch.where(target > 0, logits.sigmoid(), 1 - logits.sigmoid())
    for gamma in (0.0, 0.5, 2.0):
        found = loss_function(LossSettings(focal=gamma), truth, how="independent")(logits, target, known, None)
        assert float(found) == pytest.approx(float((-((1 - p) ** gamma) * p.log()).mean()), rel=1e-12)
    logits, target, truth = batch("exclusive")
    p = logits.softmax(dim=1)[target > 0]
    for gamma in (0.0, 0.5, 2.0):
        found = loss_function(LossSettings(focal=gamma), truth, how="exclusive")(logits, target, known, None)
        assert float(found) == pytest.approx(float((-((1 - p) ** gamma) * p.log()).mean()), rel=1e-12)


def test_an_adjustment_is_that_of_the_paper() -> None:
    """T3: Menon et al., eq. 10: cross-entropy of f + tau · log(share), of a label and its absence too."""
    logits, target, truth = batch("exclusive")
    known, tau = torch.ones_like(target, dtype=torch.bool), 0.7
    share = torch.tensor(truth.mean(axis=0))
    found = loss_function(LossSettings(adjust=tau), truth, how="exclusive")(logits, target, known, None)
    due = functional.cross_entropy(logits + tau * share.log(), target.argmax(dim=1))
    assert float(found) == pytest.approx(float(due), rel=1e-12)
    logits, target, truth = batch("independent")
    share = torch.tensor(truth.mean(axis=0))
    found = loss_function(LossSettings(adjust=tau), truth, how="independent")(logits, target, known, None)
    both = torch.stack([logits + tau * share.log(), tau * (1 - share).log().expand_as(logits)], dim=-1)
    due = functional.cross_entropy(both.flatten(0, 1), (target == 0).long().flatten())
    assert float(found) == pytest.approx(float(due), rel=1e-12)


def test_numbers_are_learnt_where_they_were_answered() -> None:
    """003: numbers have torch's smooth L1, NaN where unanswered changes nothing, a dimension's weight counts."""
    logits, target, truth = batch("numbers")
    known = torch.ones_like(target, dtype=torch.bool)
    found = loss_function(LossSettings(), truth, how="numbers")(logits, target, known, None)
    assert float(found) == pytest.approx(float(functional.smooth_l1_loss(logits, target, beta=BEND)), rel=1e-12)
    known[:, 1] = False
    empty = target.masked_fill(~known, float("nan"))
    found = loss_function(LossSettings(), truth, how="numbers")(logits, empty, known, None)
    due = functional.smooth_l1_loss(logits[:, [0, 2, 3]], target[:, [0, 2, 3]], beta=BEND)
    assert float(found) == pytest.approx(float(due), rel=1e-12)
    heavy = loss_function(LossSettings(given={"a": 5.0}), truth, how="numbers", labels="abcd")
    only = torch.zeros_like(known)
    only[:, 0] = True
    plain = functional.smooth_l1_loss(logits[:, 0], target[:, 0], beta=BEND)
    assert float(heavy(logits, target, only, None)) == pytest.approx(2.5 * float(plain), rel=1e-12)


@pytest.mark.parametrize("how", ["independent", "exclusive"])
def test_a_label_without_support_breaks_nothing(how: Any) -> None:
    """C65: a column nobody has, and one everybody has: every loss and slope stays finite, in every setting."""
    truth = np.zeros((8, 4), dtype=bool)
    truth[:, 1] = True
    logits = torch.tensor([[40.0, -40.0, 0.0, 3.0], [-1e4, 1e4, 0.0, 0.0]])
    target = torch.tensor(truth[:2].astype(np.float32))
    for one in SETTINGS.values():
        loss = loss_function(one, truth, how=how)
        value, slope = measured(loss, logits, target, torch.ones(2, 4, dtype=torch.bool), None)
        assert np.isfinite(value)
        assert np.isfinite(slope).all()
    with np.errstate(all="raise"):
        assert pos_weight(truth).tolist() == [1.0] * 4
        assert class_weights(truth).tolist() == [0.0, 1.0, 0.0, 0.0]
        assert class_weights(truth[:0]).tolist() == [0.0] * 4
        assert sampling_weights(truth).tolist() == [1.0] * 8
    assert one_sided(truth, "abcd") == ("a", "b", "c", "d")
    # half precision ends at 65,504; the loss is counted wider
    half = loss_function(SETTINGS["all"], truth, how=how)(
        torch.full((2, 4), -6e4, dtype=torch.float16), target, torch.ones(2, 4, dtype=torch.bool), None
    )
    assert half.dtype == torch.float32
    assert torch.isfinite(half)


def test_a_loss_counts_its_weights_where_they_were_answered() -> None:
    """002: balanced weights come from the answered rows alone: 1 of 3 positive there weighs 2, not 3."""
    truth = np.array([[1, 1], [0, 1], [0, 0], [0, 0]], dtype=bool)
    answered = np.array([[1, 1], [1, 1], [1, 1], [0, 0]], dtype=bool)
    target, logits = torch.tensor([[1.0, 1.0]]), torch.zeros(1, 2)
    known = torch.ones(1, 2, dtype=torch.bool)
    loss = loss_function(SETTINGS["balanced"], truth, how="independent", answered=answered)
    assert float(loss(logits, target, known, None)) == pytest.approx(1.25 * np.log(2))


def test_an_answer_that_its_types_forbid_is_no_training_row() -> None:
    """T9: a forbidden answer is said, not learnt; no weight is spent on columns that are not legal."""
    logits, target, truth = batch("exclusive")
    known = torch.ones_like(target, dtype=torch.bool)
    legal = known.clone()
    legal[0, int(target[0].argmax())] = False
    loss = loss_function(LossSettings(), truth, how="exclusive")
    with pytest.raises(IntegrityError, match="1 of 6 rows of a batch have an answer that their types forbid"):
        loss(logits, target, known, legal)
    only = target > 0
    value, slope = measured(loss, logits, target, known, only)
    assert (value, np.abs(slope).max()) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"weights": "balnced"}, "weights of the loss are"),
        ({"focal": -1.0}, "focal must be at least 0, it is -1"),
        ({"focal": float("nan")}, "focal must be"),
        ({"smoothing": 0.5}, "smoothing must be at least 0 and below 0.5"),
        ({"smoothing": -0.1}, "smoothing must be"),
        ({"adjust": float("inf")}, "adjust must be"),
        ({"given": {"a": 0.0}}, "the weight of 'a' must be above 0, it is 0"),
        ({"given": {"a": 2.0}, "weights": "balanced"}, 'by hand and "balanced" at once'),
    ],
)
def test_settings_that_mean_nothing_are_refused(wrong: dict[str, Any], said: str) -> None:
    """Wrong use (exit 2) is said when the settings are made, not after an epoch."""
    with pytest.raises(UsageError, match=said):
        LossSettings(**wrong)


def test_a_loss_that_does_not_fit_its_targets_is_refused() -> None:
    """Settings for labels are refused for numbers; weights by hand need names that fit the columns."""
    _, _, truth = batch("numbers")
    for one in (LossSettings(focal=1.0), LossSettings(weights="balanced"), LossSettings(smoothing=0.1)):
        with pytest.raises(UsageError, match="are for labels, and numbers are learnt"):
            loss_function(one, truth, how="numbers")
    with pytest.raises(ValueError, match="2 labels are named, the targets have 4 columns"):
        loss_function(LossSettings(given={"a": 1.0}), truth, how="independent", labels="ab")
    with pytest.raises(UsageError, match="'x', which is no label"):
        loss_function(LossSettings(given={"x": 1.0}), truth, how="independent", labels="abcd")
    with pytest.raises(ValueError, match="no loss 'both'"):
        loss_function(LossSettings(), truth, how="both")  # type: ignore[arg-type]


def rare_loss(how: Any, one: LossSettings, *, resampled: bool = False) -> float:
    """Return the plain loss of a planted rare label (12 of 600 rows) after 60 equal steps of a linear model."""
    rng, n, rare = np.random.default_rng(0), 600, 12
    truth = np.zeros((n, 3), dtype=bool)
    truth[:rare, 2] = True
    truth[rare:200, 1] = True
    truth[200 if how == "exclusive" else 150 :, 0] = True
    x = torch.tensor(truth @ rng.normal(size=(3, 8)) + rng.normal(size=(n, 8)))
    target, known = torch.tensor(truth.astype(float)), torch.ones(n, 3, dtype=torch.bool)
    weights = torch.zeros(9, 3, dtype=torch.float64, requires_grad=True)
    wide = torch.cat([x, torch.ones(n, 1)], dim=1)
    loss, often = loss_function(one, truth, how=how), sampling_weights(truth)
    for _ in range(60):
        rows = torch.tensor(rng.choice(n, n, p=often / n) if resampled else np.arange(n))
        (slope,) = torch.autograd.grad(loss(wide[rows] @ weights, target[rows], known[rows], None), weights)
        with torch.no_grad():
            weights -= 0.5 * slope
    found = (wide @ weights)[:rare].detach()
    if how == "exclusive":
        return float(functional.cross_entropy(found, torch.full((rare,), 2)))
    return float(functional.softplus(-found[:, 2]).mean())


@pytest.mark.parametrize("how", ["independent", "exclusive"])
def test_every_answer_to_imbalance_lowers_the_loss_of_a_rare_label(how: Any) -> None:
    """T3: balanced, focal, adjusted and resampled, each alone, lower the plain loss of a planted rare label."""
    plain = rare_loss(how, LossSettings())
    for name in ("balanced", "focal", "adjusted"):
        assert rare_loss(how, SETTINGS[name]) < 0.9 * plain, name
    assert rare_loss(how, LossSettings(), resampled=True) < 0.9 * plain


def test_settings_say_what_they_are() -> None:
    """Settings are values: equal when they say the same, and stored as plain JSON with a model."""
    assert LossSettings() == LossSettings("none", 0.0, 0.0, 0.0, {})
    assert LossSettings(**dataclasses.asdict(SETTINGS["all"])) == SETTINGS["all"]
