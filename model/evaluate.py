"""Scores and truth → a `Report`: figures with intervals, per class, and the rows to judge again from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toughcall.model.kinds import Bools, Kind
from toughcall.records import Floats, Label, Schema, Scores

RESAMPLES = 2000
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class ClassRow:
    """One class on the test rows. None = undefined there (no member, or never predicted): never 1.0 (C66)."""

    label: str
    support: int
    predicted: int
    precision: float | None
    recall: float | None
    f1: float | None
    threshold: float


@dataclass(frozen=True)
class Report:
    """One model on one set of rows.

    `value` is the primary metric with its 95 % bootstrap interval (percentile, 2,000 resamples of rows);
    macro F1 is the mean over the `classes` that have a member among the rows. None = not defined.
    """

    model: str
    role: str
    metric: str
    n: int
    value: float | None
    low: float | None
    high: float | None
    classes: int
    per_class: tuple[ClassRow, ...]
    dead: tuple[str, ...]
    """Labels that have members among the rows and are never predicted."""
    others: Mapping[str, float | None]
    seed: int
    ids: tuple[str, ...] = ()
    truth: tuple[tuple[int, ...], ...] = ()
    values: tuple[tuple[float, ...], ...] = ()
    said: tuple[tuple[int, ...], ...] = ()
    confusion: tuple[tuple[int, ...], ...] = field(default=())
    """Rows: truth, columns: prediction, in the order of `per_class`; only where one label excludes the others."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON: None for what is not defined, never NaN. The rows are under "rows"."""
        full = asdict(self)
        rows = {name: full.pop(name) for name in ("ids", "truth", "values", "said")}
        return {**full, "rows": rows}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Report:
        """Return what `to_json` wrote."""
        flat = {key: value for key, value in raw.items() if key != "rows"}
        flat |= raw.get("rows", {})
        flat["per_class"] = tuple(ClassRow(**row) for row in flat["per_class"])
        for name in ("ids", "dead"):
            flat[name] = tuple(flat.get(name, ()))
        for name in ("truth", "values", "said", "confusion"):
            flat[name] = tuple(tuple(row) for row in flat.get(name, ()))
        return cls(**flat)


def weights(n: int, seed: int, resamples: int = RESAMPLES) -> Doubles:
    """Return how often each row is drawn in each resample, shape (resamples, n); the same for every model."""
    rng = np.random.default_rng([seed, n])
    return rng.multinomial(n, np.full(n, 1.0 / n), size=resamples).astype(np.float64)


def macro_f1(truth: Bools, said: Bools, drawn: Doubles) -> Doubles:
    """Return macro F1 of each resample, shape (r,), over the classes that have a member among all rows.

    A class that a resample lost is left out of that resample's mean; NaN when all are.
    """
    there = truth.any(axis=0)
    if not there.any():
        return np.full(len(drawn), np.nan)
    truth, said = truth[:, there], said[:, there]
    hit = drawn @ (truth & said)
    both = drawn @ truth + drawn @ said
    seen = (drawn @ truth) > 0
    f1 = np.where(seen, 2 * hit / np.maximum(both, 1e-12), np.nan)
    total = np.where(seen, f1, 0.0).sum(axis=1)
    return np.asarray(total / np.where(seen.any(axis=1), seen.sum(axis=1), np.nan))


def roc_auc(truth: Bools, p: Floats, drawn: Doubles) -> Doubles:
    """Return ROC-AUC of each resample, shape (r,): the chance that a member outranks a non-member, ties half.

    NaN where a resample has one class only, or where all scores are equal (a constant separates nothing).
    """
    levels, where = np.unique(p, return_inverse=True)
    out = np.full(len(drawn), np.nan)
    if len(levels) < 2:
        return out
    order = np.argsort(where, kind="stable")
    starts = np.searchsorted(where[order], np.arange(len(levels)))
    for first in range(0, len(drawn), 100):
        block = drawn[first : first + 100]
        up = np.add.reduceat((block * truth)[:, order], starts, axis=1)
        down = np.add.reduceat((block * ~truth)[:, order], starts, axis=1)
        total = up.sum(axis=1) * down.sum(axis=1)
        below = np.cumsum(down, axis=1) - down
        ranked = (up * (below + 0.5 * down)).sum(axis=1)
        out[first : first + 100] = np.where(total > 0, ranked / np.maximum(total, 1.0), np.nan)
    return out


def resampled(report: Report, drawn: Doubles) -> Doubles:
    """Return the report's primary metric in each resample, shape (r,)."""
    truth = np.array(report.truth, dtype=bool)
    if report.metric == "macro_f1":
        return macro_f1(truth, np.array(report.said, dtype=bool), drawn)
    return roc_auc(truth[:, 0], np.array(report.values, dtype=np.float32)[:, 0], drawn)


def number(value: float) -> float | None:
    """Return a finite number rounded to nine digits, None for anything else."""
    return round(float(value), 9) if np.isfinite(value) else None


def interval(values: Doubles, confidence: float = 0.95) -> tuple[float | None, float | None]:
    """Return the percentile interval; (None, None) when a tenth of the resamples or more are undefined."""
    good = values[np.isfinite(values)]
    if len(good) < 0.9 * len(values) or not len(good):
        return None, None
    low, high = np.quantile(good, [(1 - confidence) / 2, (1 + confidence) / 2])
    return number(low), number(high)


def evaluate(
    name: str,
    kind: Kind,
    schema: Schema,
    labels: Sequence[Label],
    scores: Scores,
    thresholds: Floats,
    *,
    seed: int,
    role: str,
) -> Report:
    """Return the report of one model on labelled rows; ValueError when scores and labels are not aligned."""
    if scores.ids != tuple(label.item for label in labels):
        raise ValueError("scores and labels are not of the same items in the same order")
    truth = kind.targets(schema, [label.value for label in labels])
    # what is stored as JSON is what is measured: float32 survives the round trip
    values = scores.values.astype(np.float32)
    said = kind.chosen(values, np.asarray(thresholds, dtype=np.float32))
    rows = _class_rows(kind, schema, truth, said, thresholds)
    confusion: tuple[tuple[int, ...], ...] = ()
    if kind.single and truth.shape[1] > 1:
        confusion = tuple(
            tuple(int((truth[:, i] & said[:, j]).sum()) for j in range(len(rows))) for i in range(len(rows))
        )
    report = Report(
        name,
        role,
        kind.primary,
        len(labels),
        None,
        None,
        None,
        int(truth.any(axis=0).sum()),
        rows,
        tuple(row.label for row in rows if row.support and not row.predicted),
        _others(kind, truth, values, said),
        seed,
        scores.ids,
        tuple(tuple(int(v) for v in row) for row in truth),
        tuple(tuple(float(v) for v in row) for row in values),
        tuple(tuple(int(v) for v in row) for row in said),
        confusion,
    )
    if not labels:
        return report
    value = float(resampled(report, np.ones((1, len(labels))))[0])
    low, high = interval(resampled(report, weights(len(labels), seed)))
    fields = {**report.__dict__, "value": number(value), "low": low, "high": high}
    return Report(**fields)


def _class_rows(kind: Kind, schema: Schema, truth: Bools, said: Bools, thresholds: Floats) -> tuple[ClassRow, ...]:
    found = []
    for j, label in enumerate(kind.columns(schema)):
        hit, real, called = (int(v) for v in ((truth & said)[:, j].sum(), truth[:, j].sum(), said[:, j].sum()))
        found.append(
            ClassRow(
                label,
                real,
                called,
                hit / called if called else None,
                hit / real if real else None,
                2 * hit / (real + called) if real else None,
                float(thresholds[j]),
            )
        )
    return tuple(found)


def _others(kind: Kind, truth: Bools, values: Floats, said: Bools) -> dict[str, float | None]:
    """Return what stands beside the primary metric: accuracy or micro F1, F1 and average precision, calibration."""
    from sklearn.metrics import average_precision_score

    from toughcall.model.calibration import ece

    if not len(truth):
        return {}
    hit, both = int((truth & said).sum()), int(truth.sum() + said.sum())
    precise = [
        float(average_precision_score(truth[:, j], values[:, j])) for j in range(truth.shape[1]) if truth[:, j].any()
    ]
    errors = [ece(truth[:, j], values[:, j]) for j in range(truth.shape[1])]
    found: dict[str, float | None] = {
        "average_precision": number(float(np.mean(precise))) if precise else None,
        "calibration_error": number(float(np.mean([e for e in errors if e is not None]))),
    }
    if kind.single and truth.shape[1] > 1:
        # with one label each, micro F1 is plain accuracy and is called by its name
        found["accuracy"] = hit / len(truth)
    else:
        found["micro_f1"] = 2 * hit / both if both else None
    return found


def paired(
    candidate: Report, other: Report, *, seed: int, confidence: float = 0.95
) -> tuple[float, float, float] | None:
    """Return (difference, low, high) of the primary metric on the same rows drawn the same way, or None.

    Paired percentile bootstrap (Efron and Tibshirani 1993, ch. 16). None when the rows, the truth or the
    metric differ, when the difference is not defined, or when a value is not what its own rows give.
    """
    if (candidate.ids, candidate.truth, candidate.metric) != (other.ids, other.truth, other.metric):
        return None
    if candidate.value is None or other.value is None or not candidate.ids:
        return None
    for report in (candidate, other):
        measured = float(resampled(report, np.ones((1, report.n)))[0])
        # written so that NaN on either side refuses too
        if not abs(measured - (report.value or 0.0)) <= 1e-6:
            return None
    drawn = weights(candidate.n, seed)
    low, high = interval(resampled(candidate, drawn) - resampled(other, drawn), confidence)
    if low is None or high is None:
        return None
    return candidate.value - other.value, low, high
