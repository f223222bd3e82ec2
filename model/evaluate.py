"""Scores and truth → a `Report`: figures with intervals, per class, and the rows to judge again from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from toughcall.model import numbers
from toughcall.model.kind import Kind
from toughcall.model.numbers import DimensionRow, Doubles, number
from toughcall.records import Bools, Floats, Label, Scores
from toughcall.schema import Schema, numbers_of

RESAMPLES = 2000


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

    `metric` is a key of `METRICS`, which says whether greater is better. `value` is that metric with its 95 %
    bootstrap interval (percentile, 2,000 resamples of rows); macro F1 is the mean over the `classes` that have
    a member among the rows. None = not defined.
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
    truth: tuple[tuple[float | None, ...], ...] = ()
    values: tuple[tuple[float, ...], ...] = ()
    said: tuple[tuple[float, ...], ...] = ()
    confusion: tuple[tuple[int, ...], ...] = field(default=())
    """Rows: truth, columns: prediction, in the order of `per_class`; only where one label excludes the others."""
    per_dimension: tuple[DimensionRow, ...] = ()
    null: str = ""
    """The label that is left out of positive-class figures."""

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
        flat["per_dimension"] = tuple(DimensionRow(**row) for row in flat.get("per_dimension", ()))
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


def mae(truth: Doubles, values: Doubles, weight: Doubles, drawn: Doubles) -> Doubles:
    """Return the weighted mean absolute error of each resample, shape (r,), over the dimensions answered in it."""
    answered = np.isfinite(truth)
    total = drawn @ np.where(answered, np.abs(values - np.nan_to_num(truth)), 0.0)
    count = drawn @ answered.astype(np.float64)
    weights = np.where(count > 0, weight, 0.0)
    each = total / np.maximum(count, 1e-12)
    return np.asarray((each * weights).sum(axis=1) / np.where((weights > 0).any(axis=1), weights.sum(axis=1), np.nan))


def _macro(report: Report, drawn: Doubles) -> Doubles:
    return macro_f1(np.array(report.truth, dtype=bool), np.array(report.said, dtype=bool), drawn)


def _positive_macro(report: Report, drawn: Doubles) -> Doubles:
    kept = [row.label != report.null for row in report.per_class]
    truth, said = np.array(report.truth, dtype=bool), np.array(report.said, dtype=bool)
    return macro_f1(truth[:, kept], said[:, kept], drawn)


def _roc_auc(report: Report, drawn: Doubles) -> Doubles:
    truth = np.array(report.truth, dtype=bool)[:, 0]
    return roc_auc(truth, np.array(report.values, dtype=np.float32)[:, 0], drawn)


def _weighted_mae(report: Report, drawn: Doubles) -> Doubles:
    weight = np.array([row.weight for row in report.per_dimension])
    return mae(np.array(report.truth, dtype=np.float64), np.array(report.values), weight, drawn)


METRICS: dict[str, tuple[Callable[[Report, Doubles], Doubles], int]] = {
    "macro_f1": (_macro, 1),
    "positive_macro_f1": (_positive_macro, 1),
    "roc_auc": (_roc_auc, 1),
    "weighted_mae": (_weighted_mae, -1),
}
"""What a gate may compare: the metric in each resample, and 1 where greater is better, -1 where smaller is."""


def resampled(report: Report, drawn: Doubles) -> Doubles:
    """Return the report's primary metric in each resample, shape (r,)."""
    return METRICS[report.metric][0](report, drawn)


def better(one: Report, other: Report) -> bool:
    """Return whether the figure of one report is better than that of another; False when either has none."""
    if one.value is None or other.value is None or one.metric != other.metric:
        return False
    return (one.value - other.value) * METRICS[one.metric][1] > 0


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
    constant: Floats | None = None,
    bounds: bool = True,
) -> Report:
    """Return the report of one model on labelled rows; ValueError when scores and labels are not aligned.

    `constant`: the training means of numbers, as shares of their range, whose error stands beside the model's.
    `bounds`: whether the metric gets its interval, which takes as long as a thousand looks at it.
    """
    if scores.ids != tuple(label.item for label in labels):
        raise ValueError("scores and labels are not of the same items in the same order")
    truth = kind.targets(schema, [label.value for label in labels])
    # what is stored as JSON is what is measured: float32 survives the round trip
    values = scores.values.astype(np.float32)
    said = kind.chosen(values, np.asarray(thresholds, dtype=np.float32))
    report = Report(
        name,
        role,
        kind.metric(schema),
        len(labels),
        None,
        None,
        None,
        0,
        (),
        (),
        {},
        seed,
        scores.ids,
        null=schema.null,
    )
    if truth.dtype == bool:
        report = _of_classes(report, kind, schema, truth, values, said, thresholds)
        if graded := {d.name: _graded(d.name, labels, values) for d in schema.dimensions}:
            report = replace(report, others={**report.others, **{f"{n}_spearman": v for n, v in graded.items()}})
    else:
        report = _of_numbers(report, schema, truth, said, constant)
    if not labels:
        return report
    value = float(resampled(report, np.ones((1, len(labels))))[0])
    low, high = interval(resampled(report, weights(len(labels), seed))) if bounds else (None, None)
    return replace(report, value=number(value), low=low, high=high)


def _of_classes(
    report: Report, kind: Kind, schema: Schema, truth: Bools, values: Floats, said: Bools, thresholds: Floats
) -> Report:
    rows = _class_rows(kind, schema, truth, said, thresholds)
    confusion: tuple[tuple[int, ...], ...] = ()
    if kind.single and truth.shape[1] > 1:
        confusion = tuple(
            tuple(int((truth[:, i] & said[:, j]).sum()) for j in range(len(rows))) for i in range(len(rows))
        )
    return replace(
        report,
        classes=int(truth.any(axis=0).sum()),
        per_class=rows,
        dead=tuple(row.label for row in rows if row.support and not row.predicted),
        others=_others(kind, schema, truth, values, said),
        truth=tuple(tuple(int(v) for v in row) for row in truth),
        values=tuple(tuple(float(v) for v in row) for row in values),
        said=tuple(tuple(int(v) for v in row) for row in said),
        confusion=confusion,
    )


def _of_numbers(report: Report, schema: Schema, truth: Any, values: Floats, constant: Floats | None) -> Report:
    real, said = numbers.in_units(schema, truth), numbers.in_units(schema, values)
    mean = None if constant is None else numbers.in_units(schema, constant[None, :])[0]
    rows = numbers.dimension_rows(schema, real, said, mean)
    return replace(
        report,
        others=numbers.others(schema, rows, real, said),
        truth=tuple(tuple(number(v) for v in row) for row in real),
        values=tuple(tuple(float(v) for v in row) for row in said),
        per_dimension=rows,
    )


def _graded(name: str, labels: Sequence[Label], values: Floats) -> float | None:
    """Return Spearman's correlation of the first column with a grade, over the rows that have one."""
    given = [numbers_of(label.value).get(name, np.nan) for label in labels]
    rows = np.isfinite(given)
    return numbers.correlation(np.array(given)[rows], values[rows, 0].astype(np.float64), ranks=True)


def from_confusion(
    name: str, kind: Kind, schema: Schema, confusion: Sequence[Sequence[int]], *, role: str = "candidate", seed: int = 0
) -> Report:
    """Return the report of a model of which only the confusion matrix is known (rows: truth, in schema order)."""
    cells = [(i, j) for i, row in enumerate(confusion) for j, count in enumerate(row) for _ in range(count)]
    ids = tuple(f"row {number}" for number in range(len(cells)))
    labels = [Label(one, (schema.labels[i],)) for one, (i, _) in zip(ids, cells, strict=True)]
    values = np.eye(len(schema.labels), dtype=np.float32)[[j for _, j in cells]]
    scores = Scores(ids, kind.columns(schema), values, name)
    return evaluate(name, kind, schema, labels, scores, kind.plain(schema), seed=seed, role=role)


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


def _others(kind: Kind, schema: Schema, truth: Bools, values: Floats, said: Bools) -> dict[str, float | None]:
    """Return what stands beside the primary metric; averages are named by what they run over."""
    from sklearn.metrics import average_precision_score

    from toughcall.model.calibration import ece

    if not len(truth):
        return {}
    precise = [
        float(average_precision_score(truth[:, j], values[:, j])) for j in range(truth.shape[1]) if truth[:, j].any()
    ]
    errors = [ece(truth[:, j], values[:, j]) for j in range(truth.shape[1])]
    found: dict[str, float | None] = {
        "average_precision": number(float(np.mean(precise))) if precise else None,
        "calibration_error": number(float(np.mean([e for e in errors if e is not None]))),
    }
    if not (kind.single and truth.shape[1] > 1):
        return found | {"micro_f1": _micro(truth, said)}
    # with one label each, micro F1 over all classes is plain accuracy and is called by its name
    found["accuracy"] = number(float((truth & said).sum() / len(truth)))
    if schema.null:
        kept = [label != schema.null for label in schema.labels]
        found["positive_micro_f1"] = _micro(truth[:, kept], said[:, kept])
        found["macro_f1"] = number(float(macro_f1(truth, said, np.ones((1, len(truth))))[0]))
    if schema.coarse:
        home = np.array([[one == parent for parent in dict.fromkeys(schema.coarse)] for one in schema.coarse])
        above, below = (truth @ home).astype(bool), (said @ home).astype(bool)
        found["coarse_macro_f1"] = number(float(macro_f1(above, below, np.ones((1, len(truth))))[0]))
        found["coarse_accuracy"] = number(float((above & below).any(axis=1).mean()))
    return found


def _micro(truth: Bools, said: Bools) -> float | None:
    both = int(truth.sum() + said.sum())
    return 2 * int((truth & said).sum()) / both if both else None


def paired(
    candidate: Report, other: Report, *, seed: int, confidence: float = 0.95
) -> tuple[float, float, float] | None:
    """Return (gain, low, high) of the primary metric on the same rows drawn the same way, or None.

    A gain above 0 says that the candidate is better, whichever way the metric points.

    Paired bootstrap: the wider end of percentile and basic interval (Davison and Hinkley 1997, §5.2 and 5.3), since
    either alone let equal models pass too often. None when the rows, the truth or the
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
    drawn, sign = weights(candidate.n, seed), METRICS[candidate.metric][1]
    low, high = interval(sign * (resampled(candidate, drawn) - resampled(other, drawn)), confidence)
    if low is None or high is None:
        return None
    gain = sign * (candidate.value - other.value)
    # where resamples lean to one side the percentile interval is too short on it, its mirror image on the other
    return gain, min(low, 2 * gain - high), max(high, 2 * gain - low)
