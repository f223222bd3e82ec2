"""A linear head fitted so that every choice about it is made on rows its model did not see."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from toughcall.model import linear
from toughcall.model.calibration import before_after
from toughcall.model.kind import Kind, masked
from toughcall.model.linear import Setting
from toughcall.model.scorers import Head
from toughcall.model.split import connected, folds
from toughcall.records import Bools, IntegrityError, Item, Label, Reals
from toughcall.schema import Schema

FOLDS = 5
MANY = 10_000
"""Above so many labels settings are compared on one held-out fifth."""
HINT = 3.0
"""How many labels a label's description counts for."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """A head, the labels it never names out of fold, what was chosen, and its calibrated out-of-fold logits."""

    head: Head
    dead: tuple[str, ...]
    chosen: dict[str, Any]
    outside: Reals
    """Shape (n, k), each row by a model that did not see it; minus infinity where a column is not legal."""


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let linear algebra use one thread: the matrices are small, and the sums are the same everywhere (P13)."""
    import sklearn  # noqa: F401 - its threads are found only once it is loaded
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        yield


def crossfit(
    kind: Kind,
    schema: Schema,
    items: Sequence[Item],
    labels: Sequence[Label],
    raw: linear.Rows,
    made: tuple[linear.Rows, Bools] | None,
    tried: Sequence[Setting],
    seed: int,
    progress: Callable[[int, int], None] | None,
) -> Fitted:
    """Return a head without its words and reference: settings, calibration and thresholds chosen out of fold.

    `made`: (features, targets) of examples nobody labelled; `tried`: the settings to choose among.
    """
    truth, legal = kind.targets(schema, [label.value for label in labels]), kind.legal(schema, items)
    both = raw if made is None else raw.join(made[0])
    mean, scale = kind.scaling(both.dense)
    both, carry = linear.compact(linear.Rows((both.dense - mean) / scale, both.words))

    def back(coef: Reals, bias: Reals) -> tuple[Reals, Reals]:
        """Return weights and intercepts on the features as they are."""
        coef = carry(coef)
        coef[:, : len(scale)] /= scale
        return coef, bias - coef[:, : len(mean)] @ mean

    x, rest = both.take(np.arange(len(items))), both.take(np.arange(len(items), len(both)))
    extra = None if made is None else (rest, made[1], 1.0 if kind.paired else HINT)
    count = max(2, min(FOLDS, len(items) // 2))
    fold = folds(connected(items), kind.strata(truth), count, seed)
    filled = [one for one in range(count) if (fold == one).any()]
    seen = {one: x.take(fold != one) for one in filled}
    bar = _counted(progress, len(tried) + 2)

    def as_one(at: Setting, z: Reals, rows: Bools) -> Reals:
        return z if at.null < 0 else linear.joined(z, at.null, None if legal is None else legal[rows])

    def outside(at: Setting, some: Sequence[int]) -> tuple[Bools, Reals]:
        """Return (which rows lie in some folds, the logits of those rows by models that did not see them)."""
        out: Reals = np.zeros(truth.shape)
        for one in some:
            left = fold == one
            open_ = None if legal is None else legal[~left]
            coef, bias = kind.fit(seen[one], truth[~left], at, extra, open_)
            out[left] = as_one(at, x.take(left) @ coef.T + bias, left)
        return np.isin(fold, some), masked(out, legal)

    # many labels: one fifth held out compares settings as well as five folds do, in a fifth of the time
    compared = filled if len(items) <= MANY else filled[:1]
    best: tuple[float, Setting, Reals] | None = None
    for at in tried:
        held, out = outside(at, compared)
        figure = round(kind.figure(truth[held], out[held]), 4)
        if best is None or figure > best[0]:
            best = (figure, at, out)
        bar()
    assert best is not None, "a kind tries at least one setting"
    figure, at, out = best
    if compared != filled:
        _, out = outside(at, filled)
    bar()
    coef, bias = kind.fit(x, truth, at, extra, legal)
    own = as_one(at, x @ coef.T + bias, np.ones(len(items), dtype=bool))
    coef, bias = back(coef, bias)
    if not (np.isfinite(coef).all() and np.isfinite(bias).all()):
        raise IntegrityError(
            "training gave weights that are not finite: nothing was stored; toughcall doctor checks the data"
        )
    inside = round(kind.figure(truth, masked(own, legal)), 4)
    calibrated = kind.calibration(truth, out, fold)
    p = calibrated.apply(out, kind.link).astype(np.float32)
    thresholds, cuts = kind.cuts(schema, truth, p, seed)
    said = kind.chosen(p, thresholds)
    dead = tuple(name for j, name in enumerate(kind.columns(schema)) if not said[:, j].any())
    error = kind.expected_error(x, truth, p)
    spread = None if error is None else np.column_stack(back(*error)).astype(np.float32)
    bar()
    parts = (coef, bias, calibrated.slope, calibrated.offset, thresholds)
    learnt: dict[str, Any] = {field: part.astype(np.float32) for field, part in zip(Head.LEARNT, parts, strict=True)}
    chosen = {**dataclasses.asdict(at), "folds": len(filled), "out_of_fold": figure, "in_sample": inside}
    if kind.labelled and (errors := before_after(truth, kind.link(out), p)) is not None:
        chosen |= {"calibration": list(calibrated.notes), "calibration_error": [round(one, 4) for one in errors.mean]}
    chosen["cuts"] = {label: dataclasses.asdict(cut) for label, cut in zip(kind.columns(schema), cuts, strict=False)}
    head = Head(kind, schema, words=None, spread=spread, knots=calibrated.knots, null=at.null, **learnt)
    return Fitted(head, dead, chosen, out * calibrated.slope + calibrated.offset)


def _counted(progress: Callable[[int, int], None] | None, total: int) -> Callable[[], None]:
    done = itertools.count(1)
    return lambda: progress(next(done), total) if progress else None
