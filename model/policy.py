"""What to do with each class in production: ship it, ship it above a threshold, send it to people, or hold it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from toughcall.model.evaluate import ClassRow, Report
from toughcall.model.targets import figure_of, wilson
from toughcall.questions import near
from toughcall.records import UsageError

Action = Literal["ship", "ship above", "send to people", "hold"]

PRECISION = 0.6
"""Asked of a class for which nothing else is said: below three right ones in five people read everything anyway."""
FLOOR_F1 = 0.5
"""The floor that post-mortem 000 asked of all its labels."""
MIN_SUPPORT = 10
"""With fewer members the interval of recall is wider than ±0.25: nothing is known of what would be missed."""


@dataclass(frozen=True)
class ClassPolicy:
    """What is done with the predictions of one class, and why.

    `precision` with its 95 % interval (Wilson) is that of what ships, or would; None where the class is never
    predicted. `threshold`: what a score must reach ("ship above" only). `coverage`: the share of the class's
    predictions that ships; all others go to people.
    """

    label: str
    do: Action
    reason: str
    precision: float | None
    low: float
    high: float
    threshold: float | None = None
    coverage: float = 0.0


def policy(
    report: Report,
    *,
    wanted: float | Mapping[str, float] = PRECISION,
    floor_f1: float = FLOOR_F1,
    min_support: int = MIN_SUPPORT,
) -> list[ClassPolicy]:
    """Return what to do with each class of a report but the null one, in its order.

    A class ships when the lower bound of its precision reaches what is `wanted` of it and its F1 `floor_f1`.
    Else the smallest score is looked for from which on the lower bound reaches it, with `min_support`
    predictions at least: the rest goes to people. That needs the rows; of a confusion matrix alone nothing is
    known between all and none. The bound is not corrected for the search: check it on the next audit. A class
    with fewer than `min_support` members, never predicted or never right is held.
    UsageError when `wanted` names a class that is not there, or is not from 0 to 1.
    """
    known = [row.label for row in report.per_class]
    asked = dict(wanted) if isinstance(wanted, Mapping) else dict.fromkeys(known, wanted)
    for label, share in asked.items():
        if label not in known:
            raise UsageError(f"policy: no class {label!r}{near(label, known)} in the report of {report.model}")
        if not 0 <= share <= 1:
            raise UsageError(f"policy: the precision wanted of {label} is {share:g}, a share from 0 to 1 is needed")
    return [
        _of_class(report, place, row, asked.get(row.label, PRECISION), floor_f1, min_support)
        for place, row in enumerate(report.per_class)
        if row.label != report.null
    ]


def _of_class(
    report: Report, place: int, row: ClassRow, wanted: float, floor_f1: float, min_support: int
) -> ClassPolicy:
    hit = round((row.recall or 0.0) * row.support)
    low, high = wilson(hit, row.predicted)
    share = row.precision

    def found(do: Action, reason: str, coverage: float = 0.0) -> ClassPolicy:
        return ClassPolicy(row.label, do, reason, share, low, high, None, coverage)

    shown = f"precision {share or 0.0:.2f} [{low:.2f}, {high:.2f}]"
    if row.support < min_support:
        return found("hold", f"{row.support} test rows, {min_support} are needed to measure it")
    if not hit:
        said = "never predicted" if not row.predicted else f"none of its {row.predicted} predictions is right"
        most = wilson(0, row.support)[1]
        return found("hold", f"0 of {row.support} found (at most {most:.0%}), {said}: label more of it")
    f1 = row.f1 or 0.0
    if low >= wanted and f1 >= floor_f1:
        return found("ship", f"{shown} reaches {wanted:.2f}, F1 {f1:.2f}", 1.0)
    if low >= wanted:
        recall = figure_of(report, "recall", row.label).told()
        return found("send to people", f"{shown} is enough, but recall is {recall}: F1 {f1:.2f} below {floor_f1:.2f}")
    above = _threshold(report, place, wanted, min_support)
    if above is None:
        return found(
            "send to people", f"{shown} does not surely reach {wanted:.2f} at any threshold: people check each"
        )
    threshold, right, called = above
    low, high = wilson(right, called)
    coverage = called / row.predicted
    reason = f"precision {right / called:.2f} [{low:.2f}, {high:.2f}] from {threshold:.3f} on, {coverage:.0%} of it"
    return ClassPolicy(
        row.label, "ship above", f"{reason}; the rest to people", right / called, low, high, threshold, coverage
    )


def _threshold(report: Report, place: int, wanted: float, least: int) -> tuple[float, int, int] | None:
    """Return (smallest score, right ones, predictions from it on) whose precision surely reaches `wanted`, or None."""
    rows = zip(report.truth, report.values, report.said, strict=True)
    said = sorted(((values[place], bool(truth[place])) for truth, values, yes in rows if yes[place]), reverse=True)
    best, right = None, 0
    for called, (value, true) in enumerate(said, 1):
        right += true
        last = called == len(said) or said[called][0] < value
        # the bound is below the share: most candidates need no interval
        if last and called >= least and right >= wanted * called and wilson(right, called)[0] >= wanted:
            best = value, right, called
    return best


def as_rows(policies: Sequence[ClassPolicy]) -> list[dict[str, object]]:
    """Return one row a class for a table."""
    return [
        {
            "class": one.label,
            "do": one.do if one.threshold is None else f"{one.do} {one.threshold:.3f}",
            "precision": one.precision,
            "at least": one.low,
            "coverage": f"{one.coverage:.0%}",
            "why": one.reason,
        }
        for one in policies
    ]
