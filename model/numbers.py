"""Figures on numbers: errors per dimension, the weighted score, its tiers. Units are the dimensions' own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toughcall.schema import Schema

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class DimensionRow:
    """One dimension on the test rows where it was answered; `constant_mae` is the error of the training mean."""

    label: str
    weight: float
    n: int
    mae: float | None
    rmse: float | None
    pearson: float | None
    spearman: float | None
    constant_mae: float | None = None


def number(value: float) -> float | None:
    """Return a finite number rounded to nine digits, None for anything else."""
    return round(float(value), 9) if np.isfinite(value) else None


def in_units(schema: Schema, shares: Any) -> Doubles:
    """Return shares of the dimensions' ranges as numbers in their units, shape (n, k)."""
    low = np.array([d.low for d in schema.dimensions])
    return np.asarray(
        low + np.asarray(shares, dtype=np.float64) * (np.array([d.high for d in schema.dimensions]) - low)
    )


def correlation(a: Doubles, b: Doubles, *, ranks: bool) -> float | None:
    """Return Spearman's (with `ranks`) or Pearson's correlation; None below 3 rows or for a constant."""
    from scipy.stats import pearsonr, spearmanr

    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return number(float((spearmanr if ranks else pearsonr)(a, b).statistic))


def dimension_rows(
    schema: Schema, truth: Doubles, values: Doubles, constant: Doubles | None
) -> tuple[DimensionRow, ...]:
    """Return each dimension's figures, from numbers in its units; NaN in `truth` = not answered there."""
    found = []
    for j, dimension in enumerate(schema.dimensions):
        rows = np.isfinite(truth[:, j])
        real, said = truth[rows, j], values[rows, j]
        gap = said - real
        found.append(
            DimensionRow(
                dimension.name,
                dimension.weight,
                int(rows.sum()),
                number(np.abs(gap).mean()) if len(gap) else None,
                number(np.sqrt((gap**2).mean())) if len(gap) else None,
                correlation(real, said, ranks=False),
                correlation(real, said, ranks=True),
                number(np.abs(constant[j] - real).mean()) if constant is not None and len(real) else None,
            )
        )
    return tuple(found)


def weighted(rows: tuple[DimensionRow, ...], figure: str = "mae", *, evenly: bool = False) -> float | None:
    """Return the mean of a figure over the dimensions that have it, by their weights or evenly."""
    there = [(1.0 if evenly else row.weight, getattr(row, figure)) for row in rows if getattr(row, figure) is not None]
    total = sum(weight for weight, _ in there)
    return number(sum(weight * value for weight, value in there) / total) if total else None


def score_of(schema: Schema, numbers: Doubles) -> Doubles:
    """Return the weighted mean over the dimensions, shape (n,); NaN where one is missing."""
    weight = np.array([d.weight for d in schema.dimensions])
    return np.asarray((numbers * weight).sum(axis=1) / weight.sum())


def tiers_of(schema: Schema, numbers: Doubles) -> NDArray[np.intp]:
    """Return the place of each row's tier, lowest 0, shape (n,); -1 where a number is missing.

    Below the gatekeeper's least number a row is in the lowest tier, whatever its score.
    """
    names = [d.name for d in schema.dimensions]
    least = np.array([least for _, least in schema.tiers.names])
    # a prediction of exactly 7 is 6.9999998 in float32
    numbers = numbers + np.array([1e-6 * (d.high - d.low) for d in schema.dimensions])
    score = score_of(schema, numbers)
    place = np.maximum(np.searchsorted(least, np.nan_to_num(score), side="right") - 1, 0)
    if schema.tiers.gatekeeper:
        place = np.where(numbers[:, names.index(schema.tiers.gatekeeper)] < schema.tiers.least, 0, place)
    return np.where(np.isfinite(score), place, -1)


def others(schema: Schema, rows: tuple[DimensionRow, ...], truth: Doubles, values: Doubles) -> dict[str, float | None]:
    """Return what stands beside the weighted error: the plain means, the score's rank agreement, tier kappa."""
    whole = np.isfinite(truth).all(axis=1)
    found: dict[str, float | None] = {
        "mean_mae": weighted(rows, evenly=True),
        "mean_rmse": weighted(rows, "rmse", evenly=True),
        "mean_spearman": weighted(rows, "spearman", evenly=True),
        "constant_weighted_mae": weighted(rows, "constant_mae"),
        "score_mae": number(np.abs(score_of(schema, truth[whole]) - score_of(schema, values[whole])).mean())
        if whole.any()
        else None,
        "score_spearman": correlation(score_of(schema, truth[whole]), score_of(schema, values[whole]), ranks=True),
    }
    if schema.tiers.names:
        found["tier_kappa"] = kappa(tiers_of(schema, truth[whole]), tiers_of(schema, values[whole]))
    return found


def kappa(a: NDArray[np.intp], b: NDArray[np.intp]) -> float | None:
    """Return Cohen's kappa of two codings (Cohen 1960); None without rows or when both are one same class."""
    from sklearn.metrics import cohen_kappa_score

    if not len(a) or len(set(a.tolist()) | set(b.tolist())) < 2:
        return None
    return number(float(cohen_kappa_score(a, b)))
