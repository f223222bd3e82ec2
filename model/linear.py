"""The linear models under every head, fitted to convergence: logistic, softmax and ridge, with masks.

One matrix type (`Rows`: dense features, words beside them) and one solver for the two classifiers, because a
library's solver stops early on rare labels and fits label after label (docs/decisions/0010). Weights are
shape (k, d), intercepts shape (k,). `extra` are examples nobody labelled: (rows, targets, weight).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from toughcall.model.calibration import sigmoid, softmax
from toughcall.records import Bools, Reals

TOLERANCE = 1e-5
"""A fit ends when no slope is left above this share of a class's own weight, never of all rows': rare ones count."""


@dataclass(frozen=True)
class Setting:
    """One setting that training tries: inverse strength of the penalty, and whether classes weigh the same.

    `masked`: whether the rules that forbid labels already hold in the loss, not only in what is said.
    """

    strength: float
    balanced: bool = False
    masked: bool = False
    null: int = -1
    """In two stages: the column that says "none of the others" is decided first (related? → which); -1 = in one."""


@dataclass(frozen=True, eq=False)
class Rows:
    """A matrix of shape (n, d): dense columns, then sparse ones when there are words."""

    dense: Reals
    words: Any = None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self.dense), self.dense.shape[1] + (0 if self.words is None else self.words.shape[1])

    @cached_property
    def turned(self) -> Any:
        """The sparse part, transposed once."""
        return self.words.T.tocsr()

    @cached_property
    def gram(self) -> Reals:
        """Every row times every row, shape (n, n)."""
        found: Reals = self.dense @ self.dense.T
        return found if self.words is None else np.asarray(found + (self.words @ self.turned).toarray())

    @cached_property
    def squares(self) -> Reals:
        """The sum of squares of each column, shape (d,)."""
        found: Reals = np.asarray(np.einsum("nd,nd->d", self.dense, self.dense))
        if self.words is None:
            return found
        return np.concatenate([found, np.asarray(self.words.multiply(self.words).sum(axis=0)).ravel()])

    def __len__(self) -> int:
        return len(self.dense)

    def __matmul__(self, weights: Reals) -> Reals:
        """Return the rows times weights of shape (d, k)."""
        width = self.dense.shape[1]
        out: Reals = np.asarray(self.dense @ weights[:width])
        return out if self.words is None else np.asarray(out + self.words @ weights[width:])

    def back(self, parts: Reals) -> Reals:
        """Return the transposed rows times `parts` of shape (n, k): shape (d, k)."""
        out = self.dense.T @ parts
        return out if self.words is None else np.vstack([out, self.turned @ parts])

    def take(self, rows: Any) -> Rows:
        """Return some rows, by mask or by number."""
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        return Rows(self.dense[rows], None if self.words is None else self.words[rows])

    def join(self, other: Rows) -> Rows:
        """Return these rows with others below."""
        from scipy.sparse import vstack

        words = None if self.words is None else vstack([self.words, other.words], format="csr")
        return Rows(np.vstack([self.dense, other.dense]), words)

    def with_ones(self) -> Rows:
        """Return the rows with a first column of ones, for the intercept."""
        return Rows(np.hstack([np.ones((len(self), 1)), self.dense]), self.words)


Carry: TypeAlias = Callable[[Reals], Reals]
"""Weights where a model was fitted, shape (k, r), as weights on the features as they are, shape (k, d)."""
FEW = 1_500


def compact(rows: Rows) -> tuple[Rows, Carry]:
    """Return (the same rows in fewer or better coordinates, what carries weights back): no fit changes by it.

    Few rows: an L2-regularised linear model lies in the span of its rows, so it is fitted in the coordinates
    of that span (from the Gram matrix), n numbers a row instead of 65,920. Many: the dense columns turned to
    their principal axes, and no words that no row holds.
    """
    width, total = rows.dense.shape[1], rows.shape[1]
    if rows.words is not None and len(rows) <= FEW:
        values, axes = np.linalg.eigh(rows.gram)
        there = values > 1e-9 * values.max()
        root, axes = np.sqrt(values[there]), axes[:, there]
        return Rows(axes * root), lambda coef: rows.back(((coef / root) @ axes.T).T).T
    _, axes = np.linalg.eigh(rows.dense.T @ rows.dense)
    if rows.words is None:
        return Rows(rows.dense @ axes), lambda coef: np.asarray(coef @ axes.T)
    kept = np.unique(rows.words.indices)

    def back(coef: Reals) -> Reals:
        out = np.zeros((len(coef), total))
        out[:, :width] = coef[:, :width] @ axes.T
        out[:, width + kept] = coef[:, width:]
        return out

    return Rows(rows.dense @ axes, rows.words[:, kept]), back


Extra: TypeAlias = tuple[Rows, Bools, float]


def _with(x: Rows, truth: Bools, extra: Extra | None) -> tuple[Rows, Bools, Reals]:
    weight: Reals = np.ones(len(x))
    if extra is None:
        return x, truth, weight
    more = np.full(len(extra[0]), extra[2])
    return x.join(extra[0]), np.vstack([truth, extra[1]]), np.concatenate([weight, more])


def one_vs_rest(x: Rows, truth: Bools, strength: float, balanced: bool, extra: Extra | None) -> tuple[Reals, Reals]:
    """Return one L2-regularised logistic regression per column.

    A column without any example on one side has weight 0 and the prior's intercept.
    """
    x, truth, weight = _with(x, truth, extra)
    coef, bias = np.zeros((truth.shape[1], x.shape[1])), np.zeros(truth.shape[1])
    mixed = truth.any(axis=0) & ~truth.all(axis=0)
    share = (truth.sum(axis=0) + 0.5) / (len(truth) + 1.0)
    bias[~mixed] = np.log(share / (1.0 - share))[~mixed]
    goal = truth[:, mixed]
    if not goal.shape[1]:
        return coef, bias
    each = np.repeat(weight[:, None], goal.shape[1], axis=1)
    if balanced:
        count = goal.sum(axis=0)
        each = each * np.where(goal, len(goal) / (2 * count), len(goal) / (2 * (len(goal) - count)))
    found = _newton(x.with_ones(), goal, each * strength, None)
    coef[mixed], bias[mixed] = found[1:].T, found[0]
    return coef, bias


def multinomial(
    x: Rows, truth: Bools, strength: float, balanced: bool, extra: Extra | None, legal: Bools | None = None
) -> tuple[Reals, Reals]:
    """Return one L2-regularised softmax regression; a class without an example has the intercept -10.

    `legal`, shape (n, k): classes a row cannot have are left out of its softmax, so that no weight is spent
    on telling apart what the rule already tells.
    """
    n = len(x)
    x, truth, weight = _with(x, truth, extra)
    there = np.flatnonzero(truth.any(axis=0))
    coef, bias = np.zeros((truth.shape[1], x.shape[1])), np.full(truth.shape[1], -10.0)
    if len(there) == 1:
        bias[there[0]] = 10.0
        return coef, bias
    goal = truth[:, there]
    if balanced:
        weight = weight * (goal @ (len(goal) / (len(there) * goal.sum(axis=0))))
    closed = np.zeros(goal.shape, dtype=bool)
    if legal is not None:
        closed[:n] = ~legal[:, there]
    found = _newton(x.with_ones(), goal, (weight * strength)[:, None], closed)
    coef[there], bias[there] = found[1:].T, found[0]
    return coef, bias


def two_stages(
    x: Rows, truth: Bools, at: Setting, extra: Extra | None, legal: Bools | None = None
) -> tuple[Reals, Reals]:
    """Return weights whose row `at.null` says whether an item is related at all, the other rows which relation it is.

    The second stage learns from related rows alone, so that a rare relation is not drowned by NO_RELATION
    (`joined` makes one distribution of both).
    """
    related = ~truth[:, at.null]
    more = None if extra is None else (extra[0], ~extra[1][:, [at.null]], extra[2])
    coef, bias = one_vs_rest(x, related[:, None], at.strength, at.balanced, more)
    others = np.flatnonzero(np.arange(truth.shape[1]) != at.null)
    kept = None if extra is None else ~extra[1][:, at.null]
    rest = None if extra is None or kept is None else (extra[0].take(kept), extra[1][kept][:, others], extra[2])
    open_ = None if legal is None else legal[related][:, others]
    which = multinomial(x.take(related), truth[related][:, others], at.strength, at.balanced, rest, open_)
    return np.insert(which[0], at.null, coef[0], axis=0), np.insert(which[1], at.null, bias[0])


def joined(z: Reals, null: int, legal: Bools | None = None) -> Reals:
    """Return log probabilities of two stages, shape (n, k): P(null) = 1 − P(related), P(c) = P(related) P(c | related).

    `z`: logits of shape (n, k), whose column `null` is that of being related.
    """
    from scipy.special import log_softmax

    open_: Bools = np.ones(z.shape, dtype=bool) if legal is None else legal.copy()
    open_[:, null] = False
    # a row that may have no relation at all is not related
    shut = np.asarray(~open_.any(axis=1))
    related = np.where(shut, -50.0, z[:, null])
    which = log_softmax(np.where(open_ | shut.reshape(-1, 1), z, -1e30), axis=1)
    out = which - np.logaddexp(0.0, -related)[:, None]
    out[:, null] = -np.logaddexp(0.0, related)
    return np.asarray(out)


def _newton(x: Rows, goal: Bools, weight: Reals, closed: Bools | None, rounds: int = 100, inner: int = 80) -> Reals:
    """Return the weights of shape (d, k) that minimise the penalised log loss; the first row is not penalised.

    Newton's method with conjugate gradients on the Hessian (Nocedal and Wright 2006, ch. 7.1), all columns at
    once. With `closed` (shape (n, k)) the columns share one softmax over what is not closed, else each column
    is a logistic regression of its own.
    """
    joint = closed is not None

    def total(a: Reals) -> Any:
        return a.sum() if joint else a.sum(axis=0)

    def opened(z: Reals) -> Reals:
        return z if closed is None else np.where(closed, -np.inf, z)

    def loss(z: Reals, w: Reals) -> Any:
        if joint:
            open_ = opened(z)
            top = open_.max(axis=1, keepdims=True)
            log = np.log(np.exp(open_ - top).sum(axis=1, keepdims=True)) + top - (z * goal).sum(axis=1, keepdims=True)
            return (weight * log).sum() + 0.5 * (w[1:] ** 2).sum()
        return (weight * np.logaddexp(0.0, np.where(goal, -z, z))).sum(axis=0) + 0.5 * (w[1:] ** 2).sum(axis=0)

    penalty = np.ones((x.shape[1], 1))
    penalty[0] = 0.0
    w: Reals = np.zeros((x.shape[1], goal.shape[1]))
    z: Reals = x @ w
    least = (weight * goal).sum(axis=0)
    if not joint:
        least = np.minimum(least, (weight * ~goal).sum(axis=0))
    value = loss(z, w)
    for _ in range(rounds):
        p = softmax(opened(z)) if joint else sigmoid(z)
        slope = x.back(weight * (p - goal)) + penalty * w
        open_ = np.abs(slope).max(axis=0) > TOLERANCE * least
        if not open_.any():
            break
        curve = weight * p * (1.0 - p)
        near = x.squares[:, None] * curve.mean(axis=0) + penalty + 1e-12
        step, rest = np.zeros_like(w), -slope
        ahead = rest / near
        way, size = ahead.copy(), total(rest * ahead)
        first = size
        for _ in range(inner):
            moved = x @ way
            bent = curve * moved if not joint else weight * p * (moved - (p * moved).sum(axis=1, keepdims=True))
            turned = x.back(bent) + penalty * way
            length = size / np.maximum(total(way * turned), 1e-300)
            step += length * way
            rest -= length * turned
            ahead = rest / near
            left = total(rest * ahead)
            if np.all(left <= 0.01 * first):
                break
            way = ahead + left / np.maximum(size, 1e-300) * way
            size = left
        down, moved, share = total(slope * step), x @ step, np.ones_like(np.asarray(value))
        for _ in range(30):
            tried = loss(z + share * moved, w + share * step)
            bad = tried > value + 1e-4 * share * down + 1e-10 * np.abs(value)
            if not np.any(bad):
                break
            share = np.where(bad, share / 2, share)
        w, z, value = w + share * step, z + share * moved, tried
    return w


def ridge(x: Rows, truth: Reals, strength: float) -> tuple[Reals, Reals]:
    """Return one ridge regression per column (penalty 1 / strength), rows with NaN in a column left out of it.

    Solved exactly in the rows' own space (Saunders, Gammerman and Vovk 1998): n³ steps, whatever the features.
    """
    from scipy.linalg import cho_factor, cho_solve

    coef, bias = np.zeros((truth.shape[1], x.shape[1])), np.full(truth.shape[1], 0.5)
    answered = np.isfinite(truth)
    for mask in np.unique(answered, axis=1).T:
        if not mask.any():
            continue
        columns = np.flatnonzero((answered == mask[:, None]).all(axis=0))
        near = x.gram[np.ix_(mask, mask)] + np.eye(int(mask.sum())) / strength
        found = cho_solve(cho_factor(near), np.column_stack([np.ones(len(near)), truth[np.ix_(mask, columns)]]))
        bias[columns] = found[:, 1:].sum(axis=0) / found[:, 0].sum()
        weights = np.zeros((len(x), len(columns)))
        weights[mask] = found[:, 1:] - found[:, :1] * bias[columns]
        coef[columns] = x.back(weights).T
    return coef, bias
