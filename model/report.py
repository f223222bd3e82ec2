"""What a report says in words: which averages are one figure, what a type rule is worth, how far training fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from toughcall.model.evaluate import Report
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


def gap(train: float, held: float, limit: float = GAP_LIMIT) -> tuple[float, str]:
    """Return (how much greater the error on held-out rows is, as a share of the training error; a sentence)."""
    share = (held - train) / train if train > 0 else 0.0
    state = f"above the limit of {limit:.0%}: it fits its own rows" if share > limit else f"within {limit:.0%}"
    return share, f"train/validation gap {share:.0%} ({_short(train)} against {_short(held)}), {state}"


def _short(value: float) -> str:
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"
