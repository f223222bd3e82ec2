"""Per-class decision thresholds, fitted on out-of-fold probabilities and stored with the model."""

from __future__ import annotations

import numpy as np

from toughcall.model.kinds import Bools, Kind, Reals

RESAMPLES = 200


def best_threshold(truth: Bools, p: Reals, seed: int = 0) -> float:
    """Return the threshold with the greatest F1, averaged over bootstrap resamples, for one column.

    Averaging keeps a single lucky row from deciding (the plain maximum overfits when a class has ten
    positives). Candidates lie halfway between two different probabilities, so that rows with equal
    probability always fall on one side; ties go to the candidate nearest 0.5. 0.5 without a positive.
    """
    if not truth.any() or truth.all():
        return 0.5
    levels = np.unique(p)
    cuts = np.concatenate([[levels[0] / 2], (levels[1:] + levels[:-1]) / 2]).astype(np.float64)
    rng = np.random.default_rng(seed)
    weights = np.vstack([np.ones(len(p)), rng.multinomial(len(p), np.full(len(p), 1 / len(p)), RESAMPLES)])
    above = p[None, :] >= cuts[:, None]
    hit = weights @ (above & truth[None, :]).T
    called = weights @ above.T
    real = (weights @ truth.astype(float))[:, None]
    f1 = 2 * hit / np.maximum(called + real, 1e-9)
    mean = np.round(f1.mean(axis=0), 9)
    best = np.flatnonzero(mean == mean.max())
    return float(cuts[best[np.argmin(np.abs(cuts[best] - 0.5))]])


def fit_thresholds(kind: Kind, truth: Bools, values: Reals, seed: int = 0) -> Reals:
    """Return one threshold per column in [0, 1), shape (k,), from truth and probabilities of shape (n, k).

    Where one answer excludes the others (several columns, one true), the thresholds are the divisors of
    `Multiclass.chosen`: found by coordinate ascent on macro F1 from equal ones, kept only where it gains.
    """
    if kind.single and truth.shape[1] > 1:
        return _divisors(kind, truth, values)
    return np.array([best_threshold(truth[:, j], values[:, j], seed) for j in range(truth.shape[1])], dtype=np.float32)


GRID = np.array([0.15, 0.25, 0.35, 0.5, 0.65, 0.8], dtype=np.float32)
ENOUGH = 20
"""A class with fewer positives than this keeps 0.5: its divisor would be noise."""


def _macro_f1(truth: Bools, said: Bools) -> float:
    hit = (truth & said).sum(axis=0)
    both = truth.sum(axis=0) + said.sum(axis=0)
    there = truth.any(axis=0)
    return float((2 * hit[there] / np.maximum(both[there], 1)).mean()) if there.any() else 0.0


def _divisors(kind: Kind, truth: Bools, values: Reals) -> Reals:
    out = np.full(truth.shape[1], 0.5, dtype=np.float32)
    enough = truth.sum(axis=0) >= ENOUGH
    best = _macro_f1(truth, kind.chosen(values, out))
    for _ in range(3):
        before = out.copy()
        for j in np.flatnonzero(enough):
            for level in GRID:
                tried = out.copy()
                tried[j] = level
                value = _macro_f1(truth, kind.chosen(values, tried))
                # what is asked is harder than what will be served: a small gain here is none there
                if value > best + 0.05:
                    best, out = value, tried
        if (out == before).all():
            break
    return out
