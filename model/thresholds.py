"""Per-class decision thresholds, fitted on out-of-fold probabilities and stored with the model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from toughcall.records import Bools, Reals

RESAMPLES = 200
MOST_CUTS = 300


def best_threshold(truth: Bools, p: Reals, seed: int = 0) -> float:
    """Return the threshold with the greatest F1, averaged over bootstrap resamples, for one column.

    Averaging keeps a single lucky row from deciding (the plain maximum overfits when a class has ten
    positives). Candidates lie just under a positive, halfway to the next probability, so that rows with equal
    probability always fall on one side; at most 300 of them. Ties go to the candidate nearest 0.5; 0.5 without
    a positive. Rows between two candidates are drawn together: the resamples cost the same however many rows.
    """
    if not truth.any() or truth.all():
        return 0.5
    levels = np.unique(p)
    middle = (levels[1:] + levels[:-1]) / 2
    # between two neighbouring floats there is no third: the upper one itself keeps them apart
    low = np.concatenate([[levels[0] / 2], np.where(middle > levels[:-1], middle, levels[1:])]).astype(np.float64)
    cuts = low[np.unique(np.searchsorted(levels, p[truth]))]
    if len(cuts) > MOST_CUTS:
        cuts = cuts[np.linspace(0, len(cuts) - 1, MOST_CUTS).round().astype(int)]
    width = len(cuts) + 1
    cells = np.bincount(np.searchsorted(cuts, p, side="right") + width * truth, minlength=2 * width)
    drawn = np.random.default_rng(seed).multinomial(len(p), cells / len(p), RESAMPLES)
    drawn = np.vstack([cells, drawn]).reshape(-1, 2, width)
    above = drawn[:, :, ::-1].cumsum(axis=2)[:, :, ::-1]
    hit, called = above[:, 1, 1:], above[:, :, 1:].sum(axis=1)
    mean = np.round((2 * hit / np.maximum(called + above[:, 1, :1], 1)).mean(axis=0), 9)
    best = np.flatnonzero(mean == mean.max())
    return float(cuts[best[np.argmin(np.abs(cuts[best] - 0.5))]])


SHIFTS = (0.0, 0.25, 0.5, 0.75, 1.0)
LEAST_GAIN = 0.01
"""What is asked is harder than what will be served: a smaller gain here is none there."""


def macro_f1(truth: Bools, said: Bools) -> float:
    """Return the mean F1 of the columns that have a member, 0 without any."""
    hit = (truth & said).sum(axis=0)
    both = truth.sum(axis=0) + said.sum(axis=0)
    there = truth.any(axis=0)
    return float((2 * hit[there] / np.maximum(both[there], 1)).mean()) if there.any() else 0.0


def shifted(truth: Bools, values: Reals, chosen: Callable[[Reals, Reals], Bools]) -> Reals:
    """Return divisors of exclusive probabilities, shape (k,): 0.5 · (share / greatest share) ** t.

    One number t moves all classes at once by their share of the answers, t = 0 leaves them alone (logit
    adjustment: Menon et al., ICLR 2021, §4.1). It is the smallest t whose out-of-fold macro F1 is within
    0.01 of the best, so that a handful of answers cannot turn the scale.
    """
    share = np.maximum(truth.mean(axis=0), 1.0 / max(1, len(truth)))
    tried = [(0.5 * (share / share.max()) ** t).astype(np.float32) for t in SHIFTS]
    figures = [macro_f1(truth, chosen(values, one)) for one in tried]
    first = next(i for i, figure in enumerate(figures) if figure >= max(figures) - LEAST_GAIN)
    return np.asarray(tried[first])
