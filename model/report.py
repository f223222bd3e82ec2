"""What a report says in words and by name: its averages, intervals and mistakes, what a type rule is worth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from toughcall.model.evaluate import ClassRow, Report, interval, macro_f1, mae, weights
from toughcall.model.numbers import Doubles, number
from toughcall.model.targets import wilson
from toughcall.schema import Schema

GAP_LIMIT = 0.15
"""Above this share of the training error, training fits its own rows noticeably better than new ones."""


def notes(report: Report) -> list[str]:
    """Return what a reader of the figures must know, one sentence each."""
    found = []
    others = report.others
    accuracy, positive = others.get("accuracy"), others.get("positive_micro_f1")
    if accuracy is not None and positive is not None:
        found.append(
            f"micro F1 over all {len(report.per_class)} classes is plain accuracy, {accuracy:.4f}; without "
            f"{report.null} micro F1 is {positive:.4f}"
        )
    elif accuracy is not None:
        found.append(f"accuracy is {accuracy:.3f}; micro F1 over all classes is the same figure")
    if report.dead:
        found.append(f"never predicted: {', '.join(report.dead)}")
    if report.per_dimension and report.value is not None:
        plain, constant = others.get("mean_mae"), others.get("constant_weighted_mae")
        beside = "" if constant is None else f"; the training mean alone has {constant:.3f}"
        found.append(f"weighted MAE {report.value:.3f}, unweighted {plain or 0.0:.3f}{beside}")
    if (coarse := others.get("coarse_macro_f1")) is not None:
        found.append(
            f"over the coarse classes macro F1 is {coarse:.3f}, accuracy {others['coarse_accuracy'] or 0.0:.3f}"
        )
    for name, value in others.items():
        if name.endswith("_spearman") and not report.per_dimension and value is not None:
            found.append(f"Spearman's correlation with {name.removesuffix('_spearman')} is {value:.3f}")
    if (kappa := others.get("tier_kappa")) is not None:
        found.append(f"tiers agree with Cohen's kappa {kappa:.3f}")
    return found


@dataclass(frozen=True)
class TypeFix:
    """What a type rule would change: rows of `truth` said to be `said`, which their types forbid.

    `low`: macro F1 over all classes when each becomes the null label; `high`: when each becomes right.
    """

    truth: str
    said: str
    rows: int
    low: float
    high: float


def type_rule(report: Report, schema: Schema) -> tuple[float, list[TypeFix]]:
    """Return (macro F1 over all classes as it is, what the type table would change, the greatest gain first).

    A confusion cell is forbidden when no pair of types is legal for both its labels. The last entry, "any",
    applies all of them at once. Bounds, not a forecast: the scores of the rows are not known here.
    """
    labels = [row.label for row in report.per_class]
    table = {label: set(pairs) for label, pairs in schema.types}
    cells = [
        (i, j)
        for i, one in enumerate(labels)
        for j, other in enumerate(labels)
        if i != j and report.confusion[i][j] and one in table and other in table and not table[one] & table[other]
    ]
    null = labels.index(schema.null) if schema.null in labels else -1

    def fixed(some: Sequence[tuple[int, int]], right: bool) -> float:
        matrix = [list(row) for row in report.confusion]
        for i, j in some:
            matrix[i][i if right or null < 0 else null] += matrix[i][j]
            matrix[i][j] = 0
        return macro_of(matrix)

    def one(some: Sequence[tuple[int, int]], truth: str, said: str) -> TypeFix:
        rows = sum(report.confusion[i][j] for i, j in some)
        return TypeFix(truth, said, rows, fixed(some, right=False), fixed(some, right=True))

    found = [one([cell], labels[cell[0]], labels[cell[1]]) for cell in cells]
    found.sort(key=lambda fix: (-fix.high, fix.truth, fix.said))
    whole = [one(cells, "any", "any")] if cells else []
    return macro_of(report.confusion), [*found, *whole]


def macro_of(confusion: Sequence[Sequence[int]]) -> float:
    """Return the mean F1 over the classes of a confusion matrix that have a row."""
    found = []
    for i, row in enumerate(confusion):
        called = sum(other[i] for other in confusion)
        if sum(row):
            found.append(2 * row[i] / (sum(row) + called))
    return sum(found) / len(found) if found else 0.0


def folded(labels: Sequence[str], table: Sequence[Sequence[int]], most: int = 12) -> tuple[list[str], list[list[int]]]:
    """Return (labels, confusion table) of the classes with the most errors, all others summed up as one."""
    if len(labels) <= most:
        return list(labels), [list(row) for row in table]
    wrong = [sum(row) + sum(other[i] for other in table) - 2 * row[i] for i, row in enumerate(table)]
    kept = sorted(sorted(range(len(labels)), key=lambda i: (-wrong[i], i))[: most - 1])
    group = {i: kept.index(i) if i in kept else len(kept) for i in range(len(labels))}
    out = [[0] * (len(kept) + 1) for _ in range(len(kept) + 1)]
    for i, row in enumerate(table):
        for j, count in enumerate(row):
            out[group[i]][group[j]] += count
    return [*(labels[i] for i in kept), f"{len(labels) - len(kept)} others"], out


def gap(train: float, held: float, limit: float = GAP_LIMIT) -> tuple[float, str]:
    """Return (how much greater the error on held-out rows is, as a share of the training error; a sentence)."""
    share = (held - train) / train if train > 0 else 0.0
    state = f"above the limit of {limit:.0%}: it fits its own rows" if share > limit else f"within {limit:.0%}"
    return share, f"train/validation gap {share:.0%} ({_short(train)} against {_short(held)}), {state}"


def _short(value: float) -> str:
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def hits(row: ClassRow) -> int:
    """Return how many rows of a class were predicted right."""
    return round((row.recall or 0.0) * row.support)


def recall_interval(row: ClassRow) -> tuple[float, float]:
    """Return the 95 % interval of a class's recall: 0 of 9 is 0 to 0.30."""
    return wilson(hits(row), row.support)


def precision_interval(row: ClassRow) -> tuple[float, float]:
    """Return the 95 % interval of a class's precision; 0 to 1 when it was never predicted."""
    return wilson(hits(row), row.predicted)


def f1_interval(row: ClassRow) -> tuple[float, float]:
    """Return the 95 % interval of a class's F1, both in [0, 1].

    F1 is 2 J / (1 + J) of J = TP / (TP + FP + FN), which is a share and has Wilson's interval: the indirect
    method of Lam, arXiv 2309.14621 (2023). Unlike a bootstrap it does not collapse to 0 where TP is 0.
    """
    low, high = wilson(hits(row), row.support + row.predicted - hits(row))
    return 2 * low / (1 + low), 2 * high / (1 + high)


def class_figures(report: Report) -> list[dict[str, Any]]:
    """Return one row a class as plain JSON: counts, figures, their 95 % intervals, threshold; None = not defined."""
    found = []
    for row in report.per_class:
        hit = hits(row)
        one: dict[str, Any] = {"label": row.label, "support": row.support, "predicted": row.predicted}
        one |= {"tp": hit, "fp": row.predicted - hit, "fn": row.support - hit}
        ends = {"precision": precision_interval(row), "recall": recall_interval(row), "f1": f1_interval(row)}
        for name, (low, high) in ends.items():
            value = getattr(row, name)
            told = value is not None
            one |= {
                name: number(value) if told else None,
                f"{name}_low": number(low) if told else None,
                f"{name}_high": number(high) if told else None,
            }
        found.append({**one, "threshold": round(row.threshold, 6)})
    return found


def dimension_figures(report: Report) -> list[dict[str, Any]]:
    """Return one row a dimension as plain JSON, its mean absolute error with the 95 % bootstrap interval."""
    found = []
    for j, row in enumerate(report.per_dimension):
        low = high = None
        if report.ids:
            truth = np.array(report.truth, dtype=np.float64)[:, [j]]
            said = np.array(report.values)[:, [j]]
            low, high = interval(mae(truth, said, np.ones(1), weights(report.n, report.seed)))
        each = {name: getattr(row, name) for name in ("label", "weight", "n", "mae", "constant_mae", "rmse")}
        found.append({**each, "pearson": row.pearson, "spearman": row.spearman, "mae_low": low, "mae_high": high})
    return found


NAMED = {
    "average_precision": "mean_average_precision",
    "calibration_error": "mean_calibration_error",
    "mean_mae": "unweighted_mae",
    "mean_rmse": "unweighted_rmse",
    "mean_spearman": "unweighted_spearman",
    "constant_weighted_mae": "weighted_mae_of_the_training_mean",
    "tier_kappa": "tier_cohen_kappa",
}
"""What a report calls a figure → a name that says how it was averaged."""


def metric_name(name: str, report: Report) -> str:
    """Return a figure's name with its averaging in it: micro_f1_without_NO_RELATION, f1_of_similar, weighted_mae."""
    if name in ("positive_macro_f1", "positive_micro_f1"):
        return f"{name.removeprefix('positive_')}_without_{report.null}"
    if name == "micro_f1" and len(report.per_class) == 1:
        # with one column there is nothing to average over
        return f"f1_of_{report.per_class[0].label}"
    return NAMED.get(name, name)


def named_metrics(report: Report) -> dict[str, dict[str, float | int | None]]:
    """Return every figure of a report by a name that says its averaging, the gate's first: value, low, high, n.

    `low` and `high`: 95 %, by bootstrap over the rows (Wilson's for accuracies); None where no resample gives it.
    """
    given: dict[str, float | None] = {report.metric: report.value, **report.others}
    ends = {report.metric: (report.low, report.high), **_intervals(report)}
    found: dict[str, dict[str, float | int | None]] = {}
    for name, value in given.items():
        low, high = ends.get(name, (None, None)) if value is not None else (None, None)
        shown = None if value is None else number(value)
        found[metric_name(name, report)] = {"value": shown, "low": low, "high": high, "n": report.n}
    return found


MANY, FEWER = 50_000, 400
"""Above so many cells, rows times classes, average precision is resampled only so often: it sorts for each."""


def _intervals(report: Report) -> dict[str, tuple[float | None, float | None]]:
    """Return the 95 % intervals of what stands beside the primary metric, by the report's own names."""
    found: dict[str, tuple[float | None, float | None]] = {}
    for name in ("accuracy", "coarse_accuracy"):
        if (value := report.others.get(name)) is not None:
            found[name] = wilson(round(value * report.n), report.n)
    if not report.ids:
        return found
    drawn = weights(report.n, report.seed)
    if report.per_dimension:
        truth, each = np.array(report.truth, dtype=np.float64), np.array(report.values)
        return found | {"mean_mae": interval(mae(truth, each, np.ones(each.shape[1]), drawn))}
    real, said = np.array(report.truth, dtype=bool), np.array(report.said, dtype=bool)
    kept = [row.label != report.null for row in report.per_class]
    found["micro_f1"] = interval(_micro(real, said, drawn))
    found["positive_micro_f1"] = interval(_micro(real[:, kept], said[:, kept], drawn))
    found["macro_f1"] = interval(macro_f1(real, said, drawn))
    some = drawn if real.size <= MANY else drawn[:FEWER]
    found["average_precision"] = interval(mean_precision(real, np.array(report.values), some))
    return {name: ends for name, ends in found.items() if name in report.others}


def _micro(truth: Any, said: Any, drawn: Doubles) -> Doubles:
    """Return micro F1 of each resample, shape (r,); NaN where nothing is true and nothing said."""
    both = drawn @ (truth.sum(axis=1) + said.sum(axis=1))
    return np.asarray(np.where(both > 0, 2 * (drawn @ (truth & said).sum(axis=1)) / np.maximum(both, 1), np.nan))


def mean_precision(truth: Any, values: Doubles, drawn: Doubles) -> Doubles:
    """Return mean average precision of each resample, shape (r,), over the classes that have a member in it.

    As scikit-learn's, which takes one resample at a time: rows of equal score count together.
    """
    total, there = np.zeros(len(drawn)), np.zeros(len(drawn))
    for j in np.flatnonzero(truth.any(axis=0)):
        order = np.argsort(-values[:, j], kind="stable")
        ends = np.append(np.flatnonzero(np.diff(values[order, j])), len(order) - 1)
        for first in range(0, len(drawn), 200):
            block = slice(first, first + 200)
            each = drawn[block][:, order]
            called = each.cumsum(axis=1)[:, ends]
            right = (each * truth[order, j]).cumsum(axis=1)[:, ends]
            gained = np.diff(right, axis=1, prepend=0.0)
            area = (gained * right / np.maximum(called, 1e-12)).sum(axis=1)
            members = right[:, -1]
            total[block] += np.where(members > 0, area / np.maximum(members, 1e-12), 0.0)
            there[block] += members > 0
    return np.asarray(total / np.where(there > 0, there, np.nan))


@dataclass(frozen=True)
class Mistake:
    """One wrong prediction: of which row and item, what was true and what was said, and how wrong it is.

    `size`: the probability of what was said, from 0 to 1; of numbers the error times the dimension's weight.
    """

    row: int
    item: str
    truth: str
    said: str
    size: float


def mistakes(report: Report) -> list[Mistake]:
    """Return what a model got wrong on its rows, the surest first, ties by item."""
    one_row = _off if report.per_dimension else _confused if report.confusion else _missed
    found = [one for row in range(len(report.ids)) for one in one_row(report, row)]
    return sorted(found, key=lambda one: (-one.size, one.item, one.truth, one.said))


def _off(report: Report, row: int) -> Iterator[Mistake]:
    for at, real, said in zip(report.per_dimension, report.truth[row], report.values[row], strict=True):
        if real is not None and real != said:
            told = (f"{at.label} {real:.2f}", f"{at.label} {said:.2f}")
            yield Mistake(row, report.ids[row], *told, abs(said - real) * at.weight)


def _confused(report: Report, row: int) -> Iterator[Mistake]:
    real, said = report.truth[row].index(1), report.said[row].index(1)
    if real != said:
        names = (report.per_class[real].label, report.per_class[said].label)
        yield Mistake(row, report.ids[row], *names, report.values[row][said])


def _missed(report: Report, row: int) -> Iterator[Mistake]:
    each = zip(report.per_class, report.truth[row], report.said[row], report.values[row], strict=True)
    for at, real, said, p in each:
        if bool(real) != bool(said):
            names = (at.label, f"not {at.label}") if real else (f"not {at.label}", at.label)
            yield Mistake(row, report.ids[row], *names, 1.0 - p if real else p)


@dataclass(frozen=True)
class Origins:
    """Where the test labels come from and how often they were looked at.

    `labels`: (source, trust) → how many; `openings`: how often the sealed set was opened in all, `look`: which of
    these was this model's, 0 for none; `oracle`: labels an LLM gave, `checked`: of these also answered by people,
    `agreed`: of these the same.
    """

    labels: Mapping[tuple[str, str], int]
    openings: int = 0
    look: int = 0
    oracle: int = 0
    checked: int = 0
    agreed: int = 0


def caveats(origins: Origins) -> list[str]:
    """Return what the figures do not say, one sentence each: from how often and on whose labels they were measured."""
    found, n = [], sum(origins.labels.values())
    if not origins.openings:
        found.append("the test set was never opened: nothing here was measured on rows that were kept apart")
    elif origins.openings == 1:
        found.append("the sealed test set was opened once")
    else:
        which = f", this model was look {origins.look}" if origins.look else ""
        found.append(
            f"the sealed test set was opened {origins.openings} times{which}: of many looks at the same rows "
            "the best one is partly luck"
        )
    made = {"pattern": "the same regexes", "oracle": "an oracle's"}
    for (source, trust), count in sorted(origins.labels.items()):
        if trust == "silver" or source in made:
            found.append(
                f"{count} of {n} test labels are {made.get(source, f'from {source}')} (silver), not gold: "
                "the figures say how well the model copies them"
            )
        elif source == "import":
            found.append(f"{count} of {n} test labels were imported as gold: nobody answered them here")
    if origins.oracle and not origins.checked:
        found.append(f"the oracle was never checked against people ({origins.oracle} labels)")
    elif origins.oracle:
        low, high = wilson(origins.agreed, origins.checked)
        found.append(
            f"{origins.checked} of {origins.oracle} oracle labels were also answered by people, {origins.agreed} "
            f"the same way ({low:.0%}–{high:.0%})"
        )
    return found
