"""Can these rows teach a given baseline anything? How it ranks them, said before the first epoch.

What a baseline already ranks right teaches little; where one side is missing nothing can be learnt; where the
baseline is at chance the rows are hard, or their labels are wrong.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from toughcall.model.evaluate import roc_auc
from toughcall.records import Bools, GateRefused, Reals

Verdict = Literal["teaches", "too easy", "too hard", "one-sided", "too few"]

EASY = 0.92
"""At this ROC-AUC on training rows post-mortem 001 stalled (0.926, 0.95); healthy encoders of ours stood at 0.9."""
EASY_GAP = 0.05
"""A baseline that ranks held-out rows as well as this has an easy task, not easy training rows."""
UNEVEN = 0.02
"""Of an even share among the classes (or the two sides) a class has at least this: of two sides, 1 % of the rows."""
FLOOR = 5
"""Fewer rows than this on either side: one wrong answer turns every figure."""
TELLING = 0.1
"""An AUC is at chance when its interval holds 0.5 and ends at most this far above it: few rows hold 0.5 always."""
VETO_ROWS = 100
"""Below this nothing is vetoed: the first rounds train on what there is, in order to ask better."""
Z = 1.959964


@dataclass(frozen=True)
class ColumnDifficulty:
    """One output on the training rows. `share`: that of the larger side; `auc`: the baseline's ROC-AUC.

    `low`, `high`: its 95 % interval. `held`: the baseline's ROC-AUC on held-out rows. None = not defined, or
    not given. `learnable`: both sides have at least `floor` rows. `sentence` begins with the verdict.
    """

    label: str
    verdict: Verdict
    veto: bool
    learnable: bool
    n: int
    positives: int
    share: float
    auc: float | None
    low: float | None
    high: float | None
    held: float | None
    sentence: str


@dataclass(frozen=True)
class Difficulty:
    """What the rows can teach: the verdict shared by the outputs, "teaches" as soon as one of them can be taught.

    `veto`: training on these rows is a waste, for every output that could be learnt at all.
    """

    verdict: Verdict
    veto: bool
    columns: tuple[ColumnDifficulty, ...]
    sentence: str


def difficulty(
    truth: Bools,
    baseline: Reals,
    *,
    labels: Sequence[str],
    held: tuple[Bools, Reals] | None = None,
    floor: int = FLOOR,
    opposites: Mapping[str, str] | None = None,
) -> Difficulty:
    """Return whether the training rows can teach the baseline whose scores are given.

    `truth` and `baseline` have shape (n, k), as has each of `held` (truth, scores) on held-out rows; any
    scores whose order means something. Without `held` an easy task and easy rows cannot be told apart: they
    count as easy rows, which veto where there is one output. `opposites`: the name of a column's other side
    ("not LABEL" without one).

    What vetoes: rows ranked right already; one side missing, or drowned while the baseline is at chance.
    Being at chance alone does not: rows mined where the baseline is in doubt look the same, and teach most.
    ValueError when the shapes differ or a score is not finite.
    """
    for one, other in ((truth, baseline), *([held] if held is not None else [])):
        if one.shape != other.shape or one.ndim != 2 or one.shape[1] != len(labels):
            raise ValueError(f"truth {one.shape} and scores {other.shape} of {len(labels)} labels do not fit")
        if not np.isfinite(other).all():
            raise ValueError("a score of the baseline is not finite")
    columns = tuple(
        _column(
            label,
            truth[:, j],
            baseline[:, j],
            None if held is None else (held[0][:, j], held[1][:, j]),
            floor,
            len(labels),
            (opposites or {}).get(label, f"not {label}"),
        )
        for j, label in enumerate(labels)
    )
    return _together(columns, len(truth))


def hanley_mcneil(auc: float, positives: int, negatives: int) -> float:
    """Return the standard error of a ROC-AUC (Hanley and McNeil, Radiology 143, 1982, eq. 1)."""
    first, second = auc / (2 - auc), 2 * auc * auc / (1 + auc)
    spread = auc * (1 - auc) + (positives - 1) * (first - auc * auc) + (negatives - 1) * (second - auc * auc)
    return math.sqrt(max(spread, 0.0) / (positives * negatives))


def check_evidence(ids: Sequence[str], trained: Collection[str]) -> None:
    """Raise GateRefused when some of the measured rows were trained on: what is measured there is no evidence."""
    known = set(trained)
    both = sum(one in known for one in ids)
    if both:
        raise GateRefused(
            f"{both} of {len(ids)} rows were trained on: what is measured on them is no evidence; "
            "toughcall retrain measures on held-out rows"
        )


def _ranked(truth: Bools, p: Reals) -> tuple[float | None, float]:
    """Return (ROC-AUC, its standard error), (None, 0) where it is not defined."""
    value = float(roc_auc(truth, np.asarray(p, dtype=np.float32), np.ones((1, len(truth))))[0])
    if not math.isfinite(value):
        return None, 0.0
    return value, hanley_mcneil(value, int(truth.sum()), int((~truth).sum()))


def _column(
    label: str, truth: Bools, p: Reals, held: tuple[Bools, Reals] | None, floor: int, width: int, opposite: str
) -> ColumnDifficulty:
    alone, least = width == 1, UNEVEN / max(2, width)
    n, positives = len(truth), int(truth.sum())
    smaller = min(positives, n - positives)
    larger = opposite if 2 * positives <= n else label
    share = (n - smaller) / n if n else 0.0
    auc, error = _ranked(truth, p)
    low = None if auc is None else max(0.0, auc - Z * error)
    high = None if auc is None else min(1.0, auc + Z * error)
    # a handful on either side says nothing of how held-out rows are ranked
    known = held is not None and min(int(held[0].sum()), int((~held[0]).sum())) >= floor
    outside, outside_error = _ranked(*held) if held is not None and known else (None, 0.0)

    def found(verdict: Verdict, veto: bool, said: str) -> ColumnDifficulty:
        veto = veto and n >= VETO_ROWS
        said = f"{verdict}: {said}"
        learnable = smaller >= floor
        return ColumnDifficulty(label, verdict, veto, learnable, n, positives, share, auc, low, high, outside, said)

    shown = "" if auc is None else f"ROC-AUC {auc:.2f} [{low:.2f}, {high:.2f}]"
    chance = low is not None and high is not None and low <= 0.5 <= high
    if n < 2 * floor:
        return found("too few", False, f"{n} rows of {label}, {2 * floor} are needed to say anything")
    if smaller < floor or smaller / n < least:
        many = f"{share:.1%} of {n:,} rows are {larger}, {smaller} are not"
        many += f", and the baseline is at chance on them ({shown})" if chance else f" ({shown})" if shown else ""
        return found("one-sided", smaller < floor or chance, f"{many}; label more of the rare side: toughcall mine")
    if auc is None:
        return found("teaches", False, f"the baseline scores every row of {label} alike, so nothing is known of them")
    if auc >= EASY and (outside is None or auc - outside > EASY_GAP):
        beside = "" if outside is None else f", {outside:.2f} on held-out rows"
        # one class against the rest is not yet the decision among many: there only a proven gap vetoes
        proven = alone if outside is None else auc - outside > Z * math.hypot(error, outside_error)
        return found(
            "too easy",
            proven and low is not None and low >= EASY - EASY_GAP,
            f"the baseline already ranks these rows right ({shown}{beside}), training on them teaches little; "
            "mine the band 0.4–0.6: toughcall mine",
        )
    if chance and high is not None and high <= 0.5 + TELLING:
        return found(
            "too hard",
            False,
            f"the baseline is at chance on {n:,} rows of {label} ({shown}); rows mined in its doubt look like this, "
            "else have some labels checked: toughcall push",
        )
    return found("teaches", False, f"{label} can be taught: {shown}, {positives} of {n:,} rows are {label}")


def _together(columns: tuple[ColumnDifficulty, ...], n: int) -> Difficulty:
    """Return the verdict on all outputs; those with a handful of members cannot be learnt and veto nothing."""
    judged = [one for one in columns if one.learnable] or list(columns)
    if not judged:
        return Difficulty("too few", False, (), f"too few: no output to judge on {n} rows")
    counts = {verdict: sum(one.verdict == verdict for one in judged) for verdict in (one.verdict for one in judged)}
    verdict: Verdict = "teaches" if "teaches" in counts else max(counts, key=lambda one: counts[one])
    veto = all(one.veto for one in judged)
    if len(columns) == 1:
        return Difficulty(verdict, veto, columns, columns[0].sentence)
    first = next(one for one in judged if one.verdict == verdict)
    parts = [
        f"{name} {', '.join(one.label for one in columns if one.verdict == name)}"
        for name in dict.fromkeys(one.verdict for one in columns if one.verdict != "teaches")
    ]
    told = f"teaches {counts['teaches']} of {len(columns)} outputs" if verdict == "teaches" else first.sentence
    return Difficulty(verdict, veto, columns, f"{told} ({'; '.join(parts)})" if parts else told)
