"""What may lift a model without one more label or training: each fix chosen on other rows than it is measured on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from toughcall.model import evaluate
from toughcall.model.calibration import before_after, chosen_calibration
from toughcall.model.evaluate import METRICS, Report
from toughcall.model.kind import Exclusive, Kind
from toughcall.model.numbers import Doubles, in_units, number
from toughcall.model.report import type_rule
from toughcall.records import Bools, Floats, Reals
from toughcall.schema import Schema

Verdict: TypeAlias = Literal["take it", "inside the noise", "worse", "at most", "cannot be told"]
LEAST = 20
"""So many rows say something about a fix at least."""
SHARES = tuple(round(0.1 * step, 1) for step in range(11))
"""The shares of the word baseline that a blend tries."""
MOVED = 0.005
"""A threshold that moves less is where it was."""
SWEPT = (0.3, 0.35, 0.4, 0.5)
RETRAIN = "toughcall retrain --force"


@dataclass(frozen=True)
class Fix:
    """One fix on `n` rows: a metric before and after, in its own units; None = not defined there.

    `gain` is above 0 when the fix is better, whichever way the metric points, with its 95 % paired bootstrap
    interval `low` to `high`. "at most" marks bounds instead: `after` is then the best case.
    """

    name: str
    metric: str
    before: float | None
    after: float | None
    gain: float | None
    low: float | None
    high: float | None
    verdict: Verdict
    how: str
    """What to do to have it."""
    n: int
    note: str = ""


@dataclass(frozen=True, eq=False)
class Outside:
    """What models say of labelled rows they did not see.

    `truth` and `values` have shape (n, k), `fold` has shape (n,): rows that belong together share a fold.
    """

    kind: Kind
    schema: Schema
    truth: Any
    values: Floats
    fold: NDArray[np.intp]
    seed: int = 0

    @property
    def metric(self) -> str:
        """The gate's metric."""
        return self.kind.metric(self.schema)

    @property
    def deciding(self) -> str:
        """The metric of decisions: macro F1, without the null label where there is one."""
        return "positive_macro_f1" if self.schema.null else "macro_f1"

    def folds(self) -> list[tuple[Bools, Bools]]:
        """Return (rows to choose on, rows to measure on) of each fold, both shape (n,)."""
        found = [(self.fold != one, self.fold == one) for one in np.unique(self.fold)]
        return found if len(found) > 1 else []


def verdict_of(low: float | None, high: float | None) -> Verdict:
    """Return what an interval of a gain allows to say: one that reaches 0 is inside the noise."""
    if low is None or high is None:
        return "cannot be told"
    return "take it" if low > 0 else "worse" if high < 0 else "inside the noise"


def figures(rows: Outside, metric: str, values: Reals, said: Any, drawn: Doubles) -> Doubles:
    """Return a metric of outputs (n, k) and decisions (n, k) in each resample, shape (r,); "log_loss" in nats."""
    if metric == "log_loss":
        return np.asarray(drawn @ row_loss(rows, values) / np.maximum(drawn.sum(axis=1), 1.0))
    if metric == "roc_auc":
        return evaluate.roc_auc(rows.truth[:, 0], np.asarray(values[:, 0], dtype=np.float32), drawn)
    if metric == "weighted_mae":
        weight = np.array([d.weight for d in rows.schema.dimensions])
        return evaluate.mae(in_units(rows.schema, rows.truth), in_units(rows.schema, said), weight, drawn)
    kept = [label != rows.schema.null or metric == "macro_f1" for label in rows.kind.columns(rows.schema)]
    return evaluate.macro_f1(rows.truth[:, kept], said[:, kept], drawn)


def row_loss(rows: Outside, values: Reals) -> Doubles:
    """Return -ln P(truth) of each row, shape (n,): of its one class, or the mean over independent columns."""
    p = np.asarray(values, dtype=np.float64)
    if isinstance(rows.kind, Exclusive):
        return np.asarray(-np.log(np.maximum((p * rows.truth).sum(axis=1), 1e-12)))
    return np.asarray(-np.log(np.maximum(np.where(rows.truth, p, 1.0 - p), 1e-12)).mean(axis=1))


def compared(
    rows: Outside,
    name: str,
    metric: str,
    before: tuple[Reals, Any],
    after: tuple[Reals, Any],
    *,
    how: str,
    note: str = "",
) -> Fix:
    """Return the fix that turns one (outputs, decisions) into another, both (n, k), on the same resamples of rows.

    Paired percentile bootstrap (Efron and Tibshirani 1993, ch. 16). What was chosen is held fixed: the interval
    says nothing of how it would have been chosen on other rows, nor that several fixes were looked at.
    """
    n = len(rows.fold)
    if n < LEAST:
        return Fix(name, metric, None, None, None, None, None, "cannot be told", how, n, f"{n} rows, {LEAST} needed")
    sign = -1 if metric == "log_loss" else METRICS[metric][1]
    whole, drawn = np.ones((1, n)), evaluate.weights(n, rows.seed)
    first, last = (number(figures(rows, metric, *one, whole)[0]) for one in (before, after))
    gains = sign * (figures(rows, metric, *after, drawn) - figures(rows, metric, *before, drawn))
    low, high = evaluate.interval(gains)
    gain = None if first is None or last is None else number(sign * (last - first))
    return Fix(name, metric, first, last, gain, low, high, verdict_of(low, high), how, n, note)


def thresholds(rows: Outside, now: Reals) -> Fix:
    """Return what thresholds fitted anew are worth against those in use, shape (k,).

    Each fold is decided with thresholds fitted on the others. The ones in use may have been fitted on all of
    these rows: the gain is rather too small than too great. Where the fit gives those in use there is no gain.
    """
    before = rows.kind.chosen(rows.values, now)
    final = rows.kind.thresholds(rows.schema, rows.truth, rows.values, rows.seed)
    moved = [
        f"{label} {old:.2f} to {new:.2f}"
        for label, old, new in zip(rows.kind.columns(rows.schema), now, final, strict=True)
        if abs(old - new) >= MOVED
    ]
    said = np.array(before)
    for seen, left in rows.folds() if moved else ():
        cuts = rows.kind.thresholds(rows.schema, rows.truth[seen], rows.values[seen], rows.seed)
        said[left] = rows.kind.chosen(rows.values[left], cuts)
    told = [", ".join(moved) or "all as they are"]
    if not isinstance(rows.kind, Exclusive):
        told.append("one for all: " + ", ".join(f"{cut:g} gives {value:.3f}" for cut, value in sweep(rows)))
    pair = (rows.values, before), (rows.values, said)
    how = f"{RETRAIN} fits them anew"
    fix = compared(rows, "thresholds", rows.deciding, *pair, how=how, note="; ".join(told))
    if fix.verdict == "worse":
        return replace(fix, note=f"those in use may have been fitted on these very rows; {fix.note}")
    return fix


def sweep(rows: Outside, cuts: Sequence[float] = SWEPT) -> list[tuple[float, float]]:
    """Return (cut, macro F1 with this one threshold for every column); 0 where macro F1 is not defined."""
    whole = np.ones((1, len(rows.fold)))
    width = len(rows.kind.columns(rows.schema))
    found = []
    for cut in cuts:
        said = rows.kind.chosen(rows.values, np.full(width, cut, dtype=np.float32))
        found.append((cut, number(figures(rows, rows.deciding, rows.values, said, whole)[0]) or 0.0))
    return found


def blend(rows: Outside, words: Reals, now: Reals) -> Fix:
    """Return what mixing in the word baseline's outputs, shape (n, k), is worth; its share comes from a grid.

    The thresholds stay as they are, so that the share is all that is chosen: on the other folds for each fold,
    ties to the smaller one.
    """
    figure = _blended(rows, words, now)
    mixed = np.array(rows.values, dtype=np.float64)
    for seen, left in rows.folds():
        share = figure(seen)
        mixed[left] = (1.0 - share) * rows.values[left] + share * words[left]
    final = figure(np.ones(len(rows.fold), dtype=bool))
    mixed = mixed.astype(np.float32)
    before, after = ((values, rows.kind.chosen(values, now)) for values in (rows.values, mixed))
    how = f"{1 - final:.1f} · model + {final:.1f} · TF-IDF: no command serves a blend yet"
    return compared(rows, "blend with TF-IDF", rows.metric, before, after, how=how, note=f"share of words {final:.1f}")


def _blended(rows: Outside, words: Reals, now: Reals) -> Callable[[Bools], float]:
    """Return a function (rows to choose on) → the share with the best metric there."""
    sign = METRICS[rows.metric][1]
    tried = [((1.0 - share) * rows.values + share * words).astype(np.float32) for share in SHARES]
    said = [rows.kind.chosen(values, now) for values in tried]

    def figure(some: Bools) -> float:
        one = some.astype(np.float64)[None, :]
        found = [figures(rows, rows.metric, v, s, one)[0] for v, s in zip(tried, said, strict=True)]
        return SHARES[int(np.argmax(np.round(np.nan_to_num(sign * np.array(found), nan=-np.inf), 9)))]

    return figure


def calibration(rows: Outside) -> Fix | None:
    """Return what calibrating the outputs once more is worth in log loss, a proper score; None for numbers.

    The calibration error stands in the note: its bins make a bad judge of small gains.
    """
    if rows.truth.dtype != bool:
        return None
    exclusive = isinstance(rows.kind, Exclusive)
    logits = _logits(rows.values, exclusive)
    made = np.array(rows.values, dtype=np.float64)
    for seen, left in rows.folds():
        fitted = chosen_calibration(rows.truth[seen], logits[seen], rows.fold[seen], exclusive=exclusive)
        made[left] = fitted.apply(logits[left], rows.kind.link)
    both = before_after(rows.truth, rows.values, made)
    note = "" if both is None else f"calibration error {both.mean[0]:.3f} to {both.mean[1]:.3f}"
    before, after = (rows.values, None), (made, None)
    how = f"{RETRAIN} calibrates anew"
    return compared(rows, "calibration", "log_loss", before, after, how=how, note=note)


def _logits(values: Reals, exclusive: bool) -> Reals:
    """Return what a kind's link turns into these outputs; minus infinity where a column is not legal."""
    p = np.asarray(values, dtype=np.float64)
    if exclusive:
        return np.where(p > 0, np.log(np.maximum(p, 1e-12)), -np.inf)
    p = np.clip(p, 1e-7, 1.0 - 1e-7)
    return np.asarray(np.log(p / (1.0 - p)))


def types(rows: Outside, other: Reals, now: Reals, *, name: str, how: str) -> Fix:
    """Return what another table of legal types is worth: the same rows' outputs under it, shape (n, k)."""
    before, after = ((values, rows.kind.chosen(values, now)) for values in (rows.values, other))
    return compared(rows, name, rows.metric, before, after, how=how)


def checkpoint(rows: Outside, now: Reals, other: Reals, other_cuts: Reals, *, name: str, how: str) -> Fix:
    """Return what another stored model is worth, with its own thresholds, on rows that neither has seen."""
    before = (rows.values, rows.kind.chosen(rows.values, now))
    return compared(rows, name, rows.metric, before, (other, rows.kind.chosen(other, other_cuts)), how=how)


def type_bounds(report: Report, schema: Schema) -> list[Fix]:
    """Return what a type table can be worth where only a confusion matrix is known: bounds, the best cell first.

    `low` and `high`: the gain when every forbidden answer becomes the null label, and when it becomes right.
    """
    now, found = type_rule(report, schema)
    out = []
    for one in found:
        name = "type mask, all of it" if one.truth == "any" else f"type mask, {one.truth} never {one.said}"
        gains = (one.high - now, one.low - now, one.high - now)
        how = "list the legal types under [types] in project.toml, then toughcall retrain"
        fix = Fix(name, "macro_f1", now, one.high, *gains, "at most", how, report.n, f"{one.rows} forbidden answers")
        out.append(fix)
    return out


def ranked(found: Sequence[Fix]) -> list[Fix]:
    """Return fixes with what to take first, then bounds, the undecided and the worse, greater gains before smaller."""
    order: dict[Verdict, int] = {"take it": 0, "at most": 1, "inside the noise": 2, "cannot be told": 3, "worse": 4}
    return sorted(found, key=lambda fix: (order[fix.verdict], -(fix.gain or 0.0), fix.name))


def measured_on(rows: Outside, kept: Bools) -> Outside:
    """Return some of the rows, by mask of shape (n,)."""
    return replace(rows, truth=rows.truth[kept], values=rows.values[kept], fold=rows.fold[kept])
