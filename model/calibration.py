"""Probabilities that mean what they say: Platt scaling or steps per column, one temperature over classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toughcall.records import Bools, Floats, Reals

MEMBERS = 200
"""So many members and so many non-members a column needs before isotonic regression is tried."""
MOST_KNOTS = 32


def sigmoid(x: Reals) -> Reals:
    """Return 1 / (1 + exp(-x)) without overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * np.asarray(x, dtype=np.float64))))


def softmax(x: Reals) -> Reals:
    """Return probabilities over the last axis."""
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def platt(truth: Bools, logits: Reals) -> tuple[float, float]:
    """Return (a, b) of P = sigmoid(a · logit + b), a > 0 (Platt 1999, with his smoothed targets).

    A light pull towards a = 1, b = 0 keeps a handful of labels from turning the scale.
    """
    from scipy.optimize import minimize

    positive, negative = int(truth.sum()), int((~truth).sum())
    if not positive or not negative:
        return 1.0, 0.0
    high, low = (positive + 1) / (positive + 2), 1 / (negative + 2)
    goal = np.where(truth, high, low)
    z = logits.astype(np.float64)

    def loss(at: Reals) -> tuple[float, Reals]:
        a, b = np.exp(at[0]), at[1]
        p = sigmoid(a * z + b)
        p = np.clip(p, 1e-9, 1 - 1e-9)
        value = -(goal * np.log(p) + (1 - goal) * np.log(1 - p)).sum() + 0.5 * (at[0] ** 2 + 0.1 * at[1] ** 2)
        slope = p - goal
        return float(value), np.array([(slope * z).sum() * a + at[0], slope.sum() + 0.1 * at[1]])

    found = minimize(loss, np.zeros(2), jac=True, method="L-BFGS-B", bounds=[(-3, 3), (-20, 20)])
    return float(np.exp(found.x[0])), float(found.x[1])


def temperature(truth: Bools, logits: Reals) -> float:
    """Return the t > 0 for which softmax(logits / t) has the least log loss (Guo et al. 2017, §4.2)."""
    from scipy.optimize import minimize_scalar

    def loss(log_t: float) -> float:
        p = softmax(logits.astype(np.float64) / np.exp(log_t))
        return float(-np.log(np.maximum(p[truth], 1e-12)).sum() + 0.5 * log_t**2)

    return float(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x))


def ece(truth: Bools, p: Reals, bins: int = 10) -> float | None:
    """Return the expected calibration error of one column in [0, 1], by equal-width bins; None without rows."""
    if not len(p):
        return None
    where = np.minimum((np.asarray(p) * bins).astype(int), bins - 1)
    total = 0.0
    for one in range(bins):
        inside = where == one
        if inside.any():
            total += inside.mean() * abs(float(truth[inside].mean()) - float(p[inside].mean()))
    return float(total)


def ece_by_mass(truth: Bools, p: Reals, bins: int = 10) -> float | None:
    """Return the calibration error of one column in [0, 1] over bins that hold equally many rows; None without rows.

    Equal-width bins leave a rare class with all its rows in the first one (Nixon et al., CVPR workshops 2019:
    adaptive calibration error). Rows with equal probability share a bin, so that the order of rows is nothing.
    """
    p = np.asarray(p)
    if not len(p):
        return None
    where = np.searchsorted(np.sort(p), p, side="left") * bins // len(p)
    gaps = np.bincount(where, weights=truth.astype(np.float64) - p, minlength=bins)
    return float(np.abs(gaps).sum() / len(p))


def isotonic(truth: Bools, p: Reals) -> Floats:
    """Return the (x, y) points, shape (m, 2), m <= 32, of the rising steps that fit one column's probabilities best.

    Between two points lies a straight line, outside them the nearest y. y stays 1 / (n + 2) away from 0 and 1:
    n rows cannot show more (isotonic regression: Zadrozny and Elkan, KDD 2002). Steps make equal what
    was ranked: no row passes another one, some come to stand beside each other. ValueError without rows.
    """
    from sklearn.isotonic import IsotonicRegression

    if not len(p):
        raise ValueError("steps need at least one row")
    least = 1.0 / (len(p) + 2)
    fitted = IsotonicRegression(y_min=least, y_max=1.0 - least).fit(np.asarray(p, dtype=np.float32), truth)
    points = np.column_stack([fitted.X_thresholds_, fitted.y_thresholds_]).astype(np.float32)
    if len(points) > MOST_KNOTS:
        points = points[np.linspace(0, len(points) - 1, MOST_KNOTS).round().astype(int)]
    return points


@dataclass(frozen=True)
class Calibration:
    """P = link(slope · logit + offset), then along the points of each column that has some."""

    slope: Reals
    """Shape (k,), > 0."""
    offset: Reals
    """Shape (k,)."""
    knots: Floats | None = None
    """Shape (k, m, 2), the last point repeated up to m; a column that keeps its line has (0, 0) and (1, 1)."""
    notes: tuple[str, ...] = ()
    """Which way each column was calibrated and why, in words; one sentence where all share one."""

    def apply(self, logits: Reals, link: Callable[[Reals], Reals]) -> Reals:
        """Return the calibrated outputs of logits, shape (n, k), in [0, 1]; minus infinity stays at 0."""
        return stepped(link(logits * self.slope + self.offset), self.knots)


def stepped(p: Reals, knots: Floats | None) -> Reals:
    """Return probabilities moved along the points of their columns, shape (n, k); what is impossible stays at 0."""
    if knots is None:
        return p
    made = np.column_stack([np.interp(p[:, j], *one.T) for j, one in enumerate(knots)])
    return np.where(p > 0.0, made, p)


def chosen_calibration(truth: Bools, logits: Reals, fold: NDArray[np.intp], *, exclusive: bool = False) -> Calibration:
    """Return the calibration of out-of-fold logits, shape (n, k); `fold`, shape (n,), keeps related rows together.

    Exclusive columns share one temperature: a row has to sum to one. Else a column has Platt's line, or steps
    fitted on top of it where it has 200 members and 200 non-members and they have the lower log loss on folds
    neither was fitted on. Isotonic regression overfits below about 1,000 rows (Niculescu-Mizil and Caruana,
    ICML 2005, learning curve analysis), which is why the folds decide and not the count alone.
    """
    width = truth.shape[1]
    if exclusive:
        t = temperature(truth, logits)
        return Calibration(np.full(width, 1.0 / t), np.zeros(width), None, (f"one temperature, {t:.2f}",))
    lines = np.array([platt(truth[:, j], logits[:, j]) for j in range(width)]).reshape(width, 2)
    points: list[Floats | None] = []
    notes = []
    for j in range(width):
        steps, note = _steps(truth[:, j], logits[:, j], fold, lines[j])
        points.append(steps)
        notes.append(note)
    if not any(one is not None for one in points):
        return Calibration(lines[:, 0], lines[:, 1], None, tuple(notes))
    plain = np.array([[0.0, 0.0], [1.0, 1.0]], dtype=np.float32)
    each = [plain if one is None else one for one in points]
    longest = max(map(len, each))
    knots = np.stack([np.vstack([one, np.repeat(one[-1:], longest - len(one), axis=0)]) for one in each])
    return Calibration(lines[:, 0], lines[:, 1], knots, tuple(notes))


def _steps(truth: Bools, logits: Reals, fold: NDArray[np.intp], line: Reals) -> tuple[Floats | None, str]:
    """Return (the points of one column or None where Platt's line stays, why)."""
    members = int(truth.sum())
    fewest = min(members, len(truth) - members)
    if fewest < MEMBERS:
        side = "members" if members <= len(truth) - members else "non-members"
        return None, f"Platt: {fewest} {side}, isotonic needs {MEMBERS}"
    losses = np.zeros(2)
    for one in np.unique(fold):
        seen, left = fold != one, fold == one
        if not seen.any():
            return None, "Platt: one fold alone tells nothing about isotonic"
        a, b = platt(truth[seen], logits[seen])
        before, after = sigmoid(a * logits[seen] + b), sigmoid(a * logits[left] + b)
        stepped = np.interp(after, *isotonic(truth[seen], before).T)
        losses += [log_loss(truth[left], after) * left.sum(), log_loss(truth[left], stepped) * left.sum()]
    straight, stepwise = losses / len(truth)
    if not stepwise < straight:
        return None, f"Platt: log loss {straight:.4f} on left-out folds, isotonic has {stepwise:.4f}"
    points = isotonic(truth, sigmoid(line[0] * logits + line[1]))
    return points, f"isotonic: log loss {stepwise:.4f} on left-out folds, Platt has {straight:.4f}"


def log_loss(truth: Bools, p: Reals) -> float:
    """Return the mean of -ln P(what is true) over all cells, in nats; a probability counts as at least 1e-12."""
    said = np.where(truth, p, 1.0 - np.asarray(p, dtype=np.float64))
    return float(-np.log(np.maximum(said, 1e-12)).mean())


@dataclass(frozen=True)
class BeforeAfter:
    """Calibration error in [0, 1] before and after a calibration: of each column, and their mean."""

    columns: tuple[tuple[float, float], ...]
    mean: tuple[float, float]


def before_after(
    truth: Bools, raw: Reals, calibrated: Reals, *, bins: int = 10, equal_mass: bool = False
) -> BeforeAfter | None:
    """Return the calibration error of two sets of probabilities for the same rows, shape (n, k); None without rows.

    On rows the calibration was fitted on the second figure flatters. `equal_mass`: bins of equally many rows.
    """
    measure = ece_by_mass if equal_mass else ece
    found = []
    for j in range(truth.shape[1]):
        before, after = measure(truth[:, j], raw[:, j], bins), measure(truth[:, j], calibrated[:, j], bins)
        if before is None or after is None:
            return None
        found.append((before, after))
    if not found:
        return None
    first, last = np.mean(found, axis=0).tolist()
    return BeforeAfter(tuple(found), (first, last))
