"""A share and its interval, and whether a share fell: what is said of a few yes-or-no answers."""

from __future__ import annotations

import math

Z = 1.959964
"""The normal quantile of a two-sided 95 % interval."""


def wilson(yes: int, n: int) -> tuple[float | None, float, float]:
    """Return (share, low, high) with the 95 % score interval (Wilson 1927), all in [0, 1].

    Without any answer the share is None and the interval is everything: 0 to 1.
    """
    if not n:
        return None, 0.0, 1.0
    share = yes / n
    middle = (share + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n)) / (1 + Z * Z / n)
    return share, 0.0 if not yes else middle - half, 1.0 if yes == n else middle + half


def fell(before: int, n_before: int, now: int, n_now: int) -> float:
    """Return the chance of a share as low as `now` of `n_now` if nothing changed since `before` of `n_before`.

    Fisher's exact test (1922), one-sided: the hypergeometric chance of at most `now` among the n_now, given
    all positives. 1.0 without answers on either side.
    """
    from scipy.stats import hypergeom

    if not n_before or not n_now:
        return 1.0
    return float(hypergeom.cdf(now, n_before + n_now, before + now, n_now))
