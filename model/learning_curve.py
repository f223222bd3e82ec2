"""Figure against number of labels: an inverse power law through measured points, and what more labels would bring.

y(n) = a - b · n^-c with c > 0: the error of many learners falls like a power of the number of examples towards a
floor (Cortes, Jackel, Solla, Vapnik and Denker, NIPS 1993; the review by Viering and Loog, IEEE TPAMI 45, 2023,
which also shows how far off an extrapolation can be: hence the intervals). Fitted as Figueroa, Zeng-Treitler, Kandula
and Ngo do (BMC Medical Informatics and Decision Making 12:8, 2012): weighted nonlinear least squares; here each point
weighs by its own interval, and the fit is repeated on resampled points.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

FEWEST = 3
"""Three parameters are not told from fewer sizes."""
MOST_TIMES = 20
"""Nothing is said about more than so many times the labels there are: no curve reaches that far."""
RESAMPLES = 200
Z = 1.959964
EXPONENT = (0.05, 2.0)
"""What c may be: below it the curve is a straight line in log n, above it a step."""
LEAST_DEVIATION = 1e-3
"""No point is surer than that: a fit needs weights that are finite."""
TAILS = (0.025, 0.975)


@dataclass(frozen=True, slots=True)
class Point:
    """The figure that `n` labels gave, with its 95 % interval, in the figure's own units."""

    n: int
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Told:
    """A number with its 95 % interval; None = cannot be told, or, of a number of labels, never within 20 times."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, eq=False)
class Curve:
    """A fitted curve, or, where `reason` is not "", why there is none.

    `found`, shape (3,), and `drawn`, shape (r, 3): a, b, c in y = a - b · (n / last)^-c with greater y better; `last`
    is the greatest measured number of labels. `slope`: how much better the figure gets per doubling of the labels,
    over the measured sizes. `sign`: 1 where a greater figure is better, -1 where a smaller one is.
    """

    sizes: tuple[int, ...]
    slope: Told
    reason: str
    sign: int
    found: Doubles
    drawn: Doubles

    @property
    def last(self) -> int:
        """The greatest number of labels that was measured."""
        return max(self.sizes, default=0)

    def at(self, n: float) -> Told:
        """Return the figure that `n` labels give, in its own units; nothing where there is no curve."""
        if self.reason:
            return Told()
        return _told(*(self.sign * _y(one, n / self.last) for one in (self.found, self.drawn)))

    def gain(self, start: float, more: float) -> Told:
        """Return how much better the figure gets with `more` labels than with `start`, never below 0.

        Without a curve, but with three sizes, the upper end is still known: a power law is concave in log n, so no
        doubling beyond the measured sizes brings more than one within them did.
        """
        if not self.reason:
            there, then = start / self.last, (start + more) / self.last
            return _told(*(_y(one, then) - _y(one, there) for one in (self.found, self.drawn)))
        if self.slope.high is None:
            return Told()
        return Told(None, None, max(0.0, self.slope.high) * math.log2((start + more) / start))

    def needed(self, gain: float, start: float) -> Told:
        """Return how many labels beside `start` make the figure better by `gain` > 0; None = never within 20 times.

        Without a curve the lower end alone is known, by the argument of `gain`.
        """
        if not self.reason:
            each = [_more(one, gain, start, self.last) for one in (self.found, self.drawn)]
            low, high = np.quantile(each[1], TAILS, method="inverted_cdf")
            value = float(each[0])
            return Told(*(float(one) if math.isfinite(one) else None for one in (value, min(low, value), high)))
        if self.slope.high is None or self.slope.high <= 0:
            return Told()
        doublings = gain / self.slope.high
        return Told(None, start * (2.0**doublings - 1) if doublings <= math.log2(MOST_TIMES) else None, None)


def _y(at: Doubles, times: float) -> Doubles:
    """Return the curves' values, of shape (3,) → (), of shape (r, 3) → (r,)."""
    return np.asarray(at[..., 0] - at[..., 1] * times ** -at[..., 2])


def _more(at: Doubles, gain: float, start: float, last: int) -> Doubles:
    """Return how many labels more bring a gain on each curve, infinity for never within 20 times."""
    b, c = at[..., 1], at[..., 2]
    # b (s^-c - t^-c) = gain, solved for t, in units of the last size
    left = (start / last) ** -c - gain / np.maximum(b, 1e-300)
    with np.errstate(over="ignore"):
        times = np.where(left > 0, np.maximum(left, 1e-300) ** (-1.0 / c), np.inf) * last
    return np.where(times <= MOST_TIMES * start, times - start, np.inf)


def _told(value: Doubles, drawn: Doubles) -> Told:
    """Return a value with the middle 95 % of its resamples, which always holds it."""
    low, high = np.quantile(drawn, TAILS)
    return Told(float(value), float(min(low, value)), float(max(high, value)))


def fit(
    points: Sequence[Point],
    *,
    rng: np.random.Generator,
    sign: int = 1,
    best: float = 1.0,
    draws: Doubles | None = None,
) -> Curve:
    """Fit a curve to measured points; below three sizes, or where the slope may be 0, it says why there is none.

    `sign`: -1 for errors; `best`: the best value the figure can have, in its own units. `draws`, shape (r, k):
    resamples of the k points drawn together, where they were measured on the same rows; without them each point is
    drawn by itself from its interval, which is too wide for what the same rows measured, never too narrow. The
    slope is least squares on log2 n. Scatter about the curve beyond what the intervals explain (which labels were
    drawn, how the training went) widens every draw: a random effect, by the method of moments.
    """
    order = sorted(range(len(points)), key=lambda i: (points[i].n, i))
    points = [points[i] for i in order]
    sizes = tuple(point.n for point in points)
    if len(set(sizes)) < FEWEST:
        there = ", ".join(f"{n:,}" for n in sorted(set(sizes)))
        told = f"only {len(set(sizes))} of them measured ({there} labels)" if there else "none measured"
        reason = f"nothing can be told from fewer than {FEWEST} different numbers of labels, {told}"
        return Curve(sizes, Told(), reason, sign, np.empty(0), np.empty((0, 3)))
    y = sign * np.array([point.value for point in points])
    if not np.ptp(y):
        # a class that was never right may be right at once: only at its best has a figure nothing left to gain
        slope = Told(0.0, 0.0, 0.0) if y[0] >= sign * best else Told()
        reason = f"it was {points[0].value:.3f} at every size measured, from {sizes[0]:,} to {sizes[-1]:,} labels"
        return Curve(sizes, slope, reason, sign, np.empty(0), np.empty((0, 3)))
    if draws is None:
        deviation = np.array([(point.high - point.low) / (2 * Z) for point in points])
        noise = rng.normal(size=(RESAMPLES, len(points))) * deviation
    else:
        noise = sign * (draws[:RESAMPLES, order] - draws[:RESAMPLES].mean(axis=0)[order])
    own = noise - noise.mean(axis=1, keepdims=True)
    x = np.array(sizes, dtype=np.float64) / max(sizes)
    ceiling = sign * best
    sigma = np.maximum(noise.std(axis=0), LEAST_DEVIATION)
    found = min((_fitted(x, y, sigma, ceiling, c) for c in (0.2, 0.5, 1.0)), key=lambda one: one[1])[0]
    left = y - _curve(found, x)
    beyond = float((left**2).sum()) / max(1, len(y) - 3) - float(own.var(axis=0).mean())
    if beyond > 0:
        noise = noise + rng.normal(size=noise.shape) * math.sqrt(beyond)
    resampled = y + noise
    log = np.log2(x) - np.log2(x).mean()
    per_doubling = _told(np.asarray(log @ y / (log @ log)), resampled @ log / (log @ log))
    if per_doubling.low is None or per_doubling.low <= 0:
        reason = (
            f"from {sizes[0]:,} to {sizes[-1]:,} labels it got better by {per_doubling.value:+.3f} per doubling "
            f"({per_doubling.low:+.3f} to {per_doubling.high:+.3f}), which cannot be told from 0"
        )
        return Curve(sizes, per_doubling, reason, sign, np.empty(0), np.empty((0, 3)))
    drawn = np.array([_fitted(x, one, sigma, ceiling, float(found[2]))[0] for one in resampled])
    return Curve(sizes, per_doubling, "", sign, found, drawn)


def _curve(at: Doubles, x: Doubles) -> Doubles:
    return np.asarray(at[0] - at[1] * x ** -at[2])


def _fitted(x: Doubles, y: Doubles, sigma: Doubles, ceiling: float, c: float) -> tuple[Doubles, float]:
    """Return (a, b, c) and half the weighted sum of squares; `x`: sizes as shares of the greatest, `c`: the start."""
    from scipy.optimize import least_squares

    def slope(at: Doubles) -> Doubles:
        power = x ** -at[2]
        return np.column_stack([np.ones_like(x), -power, at[1] * power * np.log(x)]) / sigma[:, None]

    bottom = min(float(y.min()), ceiling) - 10.0 * (float(np.ptp(y)) + 1.0)
    rise = max(float(np.ptp(y)), 1e-6)
    start = min(float(y[-1]) + rise / 2, ceiling - 1e-9)
    done = least_squares(
        lambda at: (_curve(at, x) - y) / sigma,
        [start, max(start - float(y[-1]), rise / 10), c],
        jac=slope,
        bounds=([bottom, 0.0, EXPONENT[0]], [ceiling, np.inf, EXPONENT[1]]),
        method="dogbox",
        ftol=1e-5,
        xtol=1e-5,
        max_nfev=60,
    )
    return np.asarray(done.x), float(done.cost)


def f1_interval(hits: int, support: int, predicted: int, rng: np.random.Generator) -> tuple[float, float]:
    """Return the 95 % interval of F1 of one class from its counts; (0, 1) without a member.

    Its posterior with Jeffreys' prior is U / (U + V) of two gamma variables (Goutte and Gaussier, ECIR 2005, §3):
    unlike a bootstrap it does not call an F1 of 0 certain.
    """
    if not support:
        return 0.0, 1.0
    hit = 2 * rng.gamma(hits + 0.5, size=2000)
    wrong = rng.gamma(support - hits + predicted - hits + 1.0, size=2000)
    low, high = np.quantile(hit / (hit + wrong), TAILS)
    value = 2 * hits / (support + predicted)
    return float(min(low, value)), float(max(high, value))
