"""Probabilities that mean what they say: Platt scaling per column, one temperature over classes."""

from __future__ import annotations

import numpy as np

from toughcall.records import Bools, Reals


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
