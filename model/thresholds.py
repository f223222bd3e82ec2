"""Per-class decision thresholds, fitted on out-of-fold probabilities and stored with the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from toughcall.records import Bools, Floats, Reals

RESAMPLES = 200
MOST_CUTS = 300
FEW = 5
"""With fewer positives a threshold is a guess, and says so."""


def best_threshold(truth: Bools, p: Reals, seed: int = 0) -> float:
    """Return the threshold with the greatest F1, averaged over bootstrap resamples, for one column.

    Averaging keeps a single lucky row from deciding (the plain maximum overfits when a class has ten
    positives). Candidates lie just under a positive, halfway to the next probability, so that rows with equal
    probability always fall on one side; at most 300 of them. Ties go to the candidate nearest 0.5; 0.5 without
    a positive. Rows between two candidates are drawn together: the resamples cost the same however many rows.
    """
    return 0.5 if not truth.any() or truth.all() else _bootstrapped(truth, p, seed)[0]


def _bootstrapped(truth: Bools, p: Reals, seed: int) -> tuple[float, float, float]:
    """Return (the best threshold, the 95 % percentile interval of what single resamples would choose)."""
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
    f1 = 2 * hit / np.maximum(called + above[:, 1, :1], 1)
    mean = np.round(f1.mean(axis=0), 9)
    best = np.flatnonzero(mean == mean.max())
    # a resample without a positive chooses nothing
    chosen = cuts[f1[f1.any(axis=1)].argmax(axis=1)]
    edges = np.quantile(chosen, [0.025, 0.975])
    return float(cuts[best[np.argmin(np.abs(cuts[best] - 0.5))]]), float(edges[0]), float(edges[1])


@dataclass(frozen=True)
class Cut:
    """One column's threshold in [0, 1], and how far its rows could decide it."""

    value: float
    low: float
    high: float
    """The 95 % bootstrap interval of the best cut; 0 to 1 where nothing was fitted."""
    positives: int
    fitted: bool
    """Whether it has enough positives to call its cut fitted."""
    note: str
    """Why not, in words; "" when it is."""


def fit_thresholds(truth: Bools, p: Reals, seed: int = 0) -> tuple[Floats, tuple[Cut, ...]]:
    """Return (one threshold per column, shape (k,), how each came about) from out-of-fold probabilities, shape (n, k).

    A column with one to four positives keeps its own best cut and is marked as a guess; without a positive, or
    without a negative, the fit is refused: 0.5. Keeping it was measured (OPP-115, 10 labels, MiniLM head, 100, 200
    and 400 random labels, 10 seeds, macro F1 on 625 test texts): 0.5 below five positives changed it by -0.039,
    -0.024 and +0.001, the best cut of all columns together by -0.027, -0.016 and +0.001, and shrinking every cut
    towards that one by n / (n + 5) by -0.023, -0.020 and +0.008.
    """
    found = tuple(_cut(truth[:, j], p[:, j], seed) for j in range(truth.shape[1]))
    return np.array([one.value for one in found], dtype=np.float32), found


def _cut(truth: Bools, p: Reals, seed: int) -> Cut:
    n = int(truth.sum())
    if not n or n == len(truth):
        side = "negative" if n else "positive"
        return Cut(0.5, 0.0, 1.0, n, False, f"no {side} among {len(truth)} rows: nothing to fit, 0.5")
    value, low, high = _bootstrapped(truth, p, seed)
    short = f"{n} positive{'s' if n > 1 else ''}, {FEW} needed: {value:.2f} is a guess ({low:.2f} to {high:.2f})"
    return Cut(value, low, high, n, n >= FEW, "" if n >= FEW else short)


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
