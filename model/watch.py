"""Watches a training run: what is broken stops it, what is odd is told at once, and the checkpoint has a reason.

No clock and no torch: the caller says what it measured. Figures are in the units of their names, as in a
`Report`; which way is better follows from the name: errors (mae, rmse, loss, error) are better when smaller.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from toughcall.model.numbers import number
from toughcall.model.report import GAP_LIMIT, gap
from toughcall.records import IntegrityError

PATIENCE = 3
"""How many epochs in a row may be no better, unless the caller says otherwise."""
SILENT = 3
"""So many first steps without any slope are no accident."""
FLAT, FALLEN = 3, 0.01
"""After so many epochs the training loss should have fallen by this share of its first value."""


@dataclass(frozen=True)
class Epoch:
    """What was measured after a part of the training. None = not known; never NaN.

    `number`: how often the training rows were seen (0.5 = half of them once, 0 = before training). `figure`: the
    gate's metric on held-out rows, `train_figure` on training rows; `others`: other figures on held-out rows, by
    name. `per_class`: F1 by label. `dead`: labels that have members among the held-out rows and are never predicted.
    """

    number: float
    train_loss: float | None
    held_loss: float | None = None
    figure: float | None = None
    train_figure: float | None = None
    per_class: Mapping[str, float | None] = field(default_factory=dict)
    dead: tuple[str, ...] = ()
    others: Mapping[str, float | None] = field(default_factory=dict)


def smaller(name: str) -> bool:
    """Return whether a figure of this name is an error, better when smaller: weighted_mae, calibration_error."""
    return name.rpartition("_")[2] in ("mae", "rmse", "loss", "error")


def _size(name: str, value: float | None) -> float | None:
    # an error that somebody turned round, so that greater is better, is the same error
    return abs(value) if value is not None and smaller(name) else value


def _gain(name: str, value: float | None) -> float:
    """Return a number that is greater for a better figure, minus infinity for none."""
    size = _size(name, value)
    return -math.inf if size is None else -size if smaller(name) else size


def _count(value: float) -> str:
    return f"{value:g}"


class Watch:
    """One training run as it goes: `step` after every step, `epoch` after every epoch (or part of one).

    `history` keeps every epoch, without a blank (T11); `alarms` every sentence that was told. `limit`: the share
    of the training figure that may be lost on held-out rows. `patience`: epochs without anything better.
    """

    def __init__(
        self, labels: Sequence[str], metric: str, *, limit: float = GAP_LIMIT, patience: float = PATIENCE
    ) -> None:
        self.labels, self.metric, self.limit, self.patience = tuple(labels), metric, limit, patience
        self.history: list[Epoch] = []
        self.alarms: list[str] = []
        self._still: int | None = 0
        self._dead: tuple[str, ...] = ()
        self._told: set[str] = set()

    def step(self, number: int, loss: float, gradient_norm: float) -> None:
        """Take note of one step; `gradient_norm` is that of all weights before clipping.

        Raises IntegrityError for a loss or gradient that is no number (C65), and when the first three steps have
        no gradient at all: then nothing is learnt, however long it runs.
        """
        for name, value in (("loss", loss), ("gradient", gradient_norm)):
            if not math.isfinite(value):
                raise IntegrityError(
                    f"the {name} is {value:g} at step {number}: training stopped and no model was stored; "
                    "lower the learning rate, or look for broken rows with toughcall doctor"
                )
        if self._still is None:
            return
        self._still = self._still + 1 if gradient_norm == 0 else None
        if self._still == SILENT:
            raise IntegrityError(
                f"no gradient reaches the weights in the first {SILENT} steps (step {number}): the adapter is not "
                "applied or everything is frozen; no model was stored, change what is trained and run it again"
            )

    def epoch(
        self,
        number: float,
        *,
        train_loss: float | None = None,
        held_loss: float | None = None,
        figure: float | None = None,
        train_figure: float | None = None,
        per_class: Mapping[str, float | None] | None = None,
        dead: Sequence[str] = (),
        others: Mapping[str, float | None] | None = None,
    ) -> list[str]:
        """Keep an epoch, whose figures are those of `Epoch`; return what must be told at once, one sentence each.

        Raises ValueError for an epoch that leaves one out, is not later than the last or knows other labels, and
        IntegrityError for a figure that is no number (C65).
        """
        metric, last = self.metric, self.history[-1].number if self.history else None
        one = Epoch(
            number,
            train_loss,
            held_loss,
            _size(metric, figure),
            _size(metric, train_figure),
            dict(per_class or {}),
            tuple(dead),
            dict(others or {}),
        )
        # the first one may be that of the model before any training
        if not (0.0 <= number <= 1.0 if last is None else last < number <= last + 1.0):
            after = "be the first" if last is None else f"follow epoch {_count(last)}"
            raise ValueError(f"epoch {_count(number)} cannot {after}: every epoch is kept")
        if strange := sorted({*one.dead, *one.per_class} - set(self.labels)):
            raise ValueError(f"epoch {_count(number)} has figures of {', '.join(strange)}, which is no label here")
        for name, value in _figures(one):
            if value is not None and not math.isfinite(value):
                raise IntegrityError(
                    f"{name} is {value:g} in epoch {_count(number)}: training stopped and no model was stored; "
                    "lower the learning rate, or look for broken rows with toughcall doctor"
                )
        self.history.append(one)
        found = [*self._of_labels(one)]
        for name, said in (("gap", self._gap(one)), ("rise", self._rise()), ("flat", self._flat())):
            # told when it begins, not again in every epoch in which it goes on
            if said and name not in self._told:
                found.append(said)
            (self._told.add if said else self._told.discard)(name)
        found = [f"epoch {_count(number)}: {said}" for said in found]
        self.alarms += found
        return found

    def _of_labels(self, one: Epoch) -> list[str]:
        dead = tuple(label for label in self.labels if label in one.dead)
        before, self._dead = self._dead, dead
        if set(dead) == set(before):
            return []
        if not dead:
            return [f"every label is predicted now, {', '.join(before)} too"]
        return [f"never predicted: {', '.join(dead)} ({len(dead)} of {len(self.labels)} labels)"]

    def _gap(self, one: Epoch) -> str:
        train, held = one.train_figure, one.figure
        if train is None or held is None:
            return ""
        if smaller(self.metric):
            share, said = gap(train, held, self.limit)
            return said if share > self.limit else ""
        share = (train - held) / train if train > 0 else 0.0
        if share <= self.limit:
            return ""
        return (
            f"train/validation gap {share:.0%} ({self.metric} {train:.3f} against {held:.3f}), "
            f"above the limit of {self.limit:.0%}: it fits its own rows"
        )

    def _rise(self) -> str:
        """Two epochs in a row in which the training rows fit better and the held-out ones worse."""
        rows = [(e.train_loss, e.held_loss) for e in self.history[-3:]]
        known = [(train, held) for train, held in rows if train is not None and held is not None]
        if len(known) < 3:
            return ""
        (t0, h0), (t1, h1), (t2, h2) = known
        if not (t0 > t1 > t2 and h0 < h1 < h2):
            return ""
        return (
            f"held-out loss rose twice in a row ({h0:.3f}, {h1:.3f}, {h2:.3f}) while training loss fell "
            f"({t0:.3f}, {t1:.3f}, {t2:.3f}): it fits its own rows"
        )

    def _flat(self) -> str:
        losses = [e.train_loss for e in self.history if e.train_loss is not None]
        if len(losses) < FLAT or min(losses[1:]) < losses[0] - FALLEN * abs(losses[0]):
            return ""
        return (
            f"training loss has not fallen in {len(losses)} epochs ({losses[0]:.3f} at first, {losses[-1]:.3f} now): "
            "raise the learning rate, or train more of the layers"
        )

    @property
    def stop(self) -> bool:
        """Whether `patience` epochs went by in which nothing was better: neither the figure nor the held-out loss.

        The loss counts because it falls long before a rare label is predicted for the first time: 000's F1 was 0
        for two epochs while its loss fell. For the same reason a figure that has never moved says nothing: nobody
        has learnt yet, and the run goes on to its last epoch.
        """
        figures = {e.figure for e in self.history if e.figure is not None}
        losses = [e for e in self.history if e.held_loss is not None]
        if len(figures) == 1 or not (figures or losses):
            return False
        newest = 0.0
        for name, values in (
            (self.metric, [(e.number, e.figure) for e in self.history]),
            ("loss", [(e.number, e.held_loss) for e in self.history]),
        ):
            best = -math.inf
            for at, value in values:
                if _gain(name, value) > best:
                    best, newest = _gain(name, value), max(newest, at)
        return self.history[-1].number - newest >= self.patience

    @property
    def improved(self) -> bool:
        """Whether the last epoch is the one to keep so far: whoever stores weights whenever this holds has `best`."""
        return bool(self.history) and self.best()[0] is self.history[-1]

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows of training_history.json so far: see `to_json`."""
        return to_json(self.history, self.metric)

    def best(self) -> tuple[Epoch, str]:
        """Return (the epoch whose weights are kept, why): see `choose`."""
        return choose(self.history, self.metric)


def _figures(one: Epoch) -> list[tuple[str, float | None]]:
    return [
        ("training loss", one.train_loss),
        ("held-out loss", one.held_loss),
        ("the figure", one.figure),
        ("the training figure", one.train_figure),
        *((f"F1 of {label}", value) for label, value in one.per_class.items()),
        *one.others.items(),
    ]


def missing(history: Sequence[Epoch]) -> tuple[int, ...]:
    """Return the epochs, up to the last, in which nothing was measured, or no figure though others have one."""
    if not history:
        return ()
    some = any(e.figure is not None for e in history)
    # what was measured at 1.5 was measured in the second epoch
    kept = {math.ceil(e.number) for e in history if e.figure is not None or not some}
    return tuple(n for n in range(1, math.ceil(max(e.number for e in history)) + 1) if n not in kept)


def choose(history: Sequence[Epoch], figure: str) -> tuple[Epoch, str]:
    """Return (the epoch with the best figure, why, in one sentence). `figure` names what `Epoch.figure` holds.

    Ties go to the smaller held-out loss, then to the earlier epoch. Without any figure the held-out loss decides,
    without that the last epoch is kept. The sentence says which epoch another figure would have kept, what is
    missing, and which labels are never predicted (post-mortem 004 kept epoch 7 by micro F1). ValueError without an
    epoch.
    """
    if not history:
        raise ValueError("no epoch was measured: there is nothing to choose from")

    def rank(one: Epoch) -> tuple[float, float, float]:
        return _gain(figure, one.figure), _gain("loss", one.held_loss), -one.number

    best = max(history, key=rank)
    at = f"epoch {_count(best.number)} of {_count(history[-1].number)} is kept"
    if best.figure is not None:
        parts = [f"{at}: best {figure}, {_size(figure, best.figure):.3f}"]
    elif best.held_loss is not None:
        parts = [f"{at}: no {figure} was measured, its held-out loss is the smallest, {best.held_loss:.3f}"]
    else:
        best = history[-1]
        parts = [f"epoch {_count(best.number)} is kept because it is the last: neither {figure} nor loss was measured"]
    for name in dict.fromkeys(name for one in history for name in one.others):
        rival = _best_by(history, name)
        if rival is not None and rival.figure is not None and rank(rival)[0] < rank(best)[0]:
            parts.append(
                f"{name} would have kept epoch {_count(rival.number)} ({figure} {_size(figure, rival.figure):.3f})"
            )
    if gone := missing(history):
        plural = len(gone) > 1
        parts.append(f"epoch{'s' * plural} {_and(gone)} {'are' if plural else 'is'} missing")
    if best.dead:
        parts.append(f"never predicted there: {', '.join(best.dead)}")
    return best, "; ".join(parts)


def _best_by(history: Sequence[Epoch], name: str) -> Epoch | None:
    """Return the first epoch with the best other figure; None where it is the same everywhere, or nowhere."""
    known = [one for one in history if one.others.get(name) is not None]
    if len({one.others[name] for one in known}) < 2:
        return None
    return max(known, key=lambda one: (_gain(name, one.others[name]), -one.number))


def _and(numbers: Sequence[int]) -> str:
    *most, last = [str(n) for n in numbers]
    return f"{', '.join(most)} and {last}" if most else last


def front(history: Sequence[Epoch], figure: str) -> list[Epoch]:
    """Return the epochs that no other one beats in every figure (Pareto): `figure`, and the others by name.

    An epoch that lacks a figure is worse in it than all that have it; equal ones stay, in their order.
    """
    names = list(dict.fromkeys(name for one in history for name in one.others))
    gains = [(_gain(figure, e.figure), *(_gain(name, e.others.get(name)) for name in names)) for e in history]

    def beaten(one: tuple[float, ...]) -> bool:
        return any(all(a >= b for a, b in zip(other, one, strict=True)) and other != one for other in gains)

    return [epoch for epoch, own in zip(history, gains, strict=True) if not beaten(own)]


def to_json(history: Sequence[Epoch], figure: str = "") -> list[dict[str, Any]]:
    """Return the rows of training_history.json: None for what is not known, never NaN. `figure`: the metric's name."""

    def told(value: float | None) -> float | None:
        return None if value is None else number(value)

    return [
        {
            "epoch": one.number,
            "metric": figure or None,
            "train_loss": told(one.train_loss),
            "held_loss": told(one.held_loss),
            "figure": told(_size(figure, one.figure)),
            "train_figure": told(_size(figure, one.train_figure)),
            "per_class": {label: told(value) for label, value in one.per_class.items()},
            "never_predicted": list(one.dead),
            "others": {name: told(value) for name, value in one.others.items()},
        }
        for one in history
    ]
