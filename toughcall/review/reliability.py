"""Whether probabilities mean what they say, on the held-out rows: how often it was so when the model said p."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from toughcall.records import Bools
from toughcall.review.held_out import HeldOut

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

BINS = 10
"""As many as `calibration.ece` has, so that the plot shows the very gaps that figure adds up."""


def column(held: HeldOut, label: str) -> tuple[Bools, NDArray[np.float64]]:
    """Return (whether it was so, the probability), both shape (m,), of one label.

    "" is all of them: where one excludes the others, what was said of each row; else every label of every row.
    """
    if label:
        place = held.columns.index(label)
        return held.truth[:, place].astype(bool), held.values[:, place]
    if not held.exclusive:
        return held.truth.astype(bool).ravel(), held.values.ravel()
    rows, said = np.arange(len(held.ids)), held.said.argmax(axis=1)
    return held.truth[rows, said].astype(bool), held.values[rows, said]


def bins(truth: Bools, p: NDArray[np.float64]) -> pd.DataFrame:
    """Return low, high, n, said (mean probability), so (share), least, greatest of each bin that has rows.

    `least` and `greatest`: Wilson's 95 % interval of the share.
    """
    import pandas as pd

    from toughcall.model.targets import wilson

    where = np.minimum((p * BINS).astype(int), BINS - 1)
    rows = []
    for one in np.unique(where).tolist():
        inside = where == one
        n, yes = int(inside.sum()), int(truth[inside].sum())
        rows.append((one / BINS, (one + 1) / BINS, n, float(p[inside].mean()), yes / n, *wilson(yes, n)))
    return pd.DataFrame(rows, columns=["low", "high", "n", "said", "so", "least", "greatest"])


def error(truth: Bools, p: NDArray[np.float64]) -> float | None:
    """Return the expected calibration error in [0, 1]; None without rows."""
    from toughcall.model.calibration import ece

    return ece(truth, p, BINS)
