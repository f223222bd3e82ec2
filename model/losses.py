"""What a neural model is trained on: losses that spend nothing on what nobody answered, and weights for rare labels.

Arrays have one row an item and one column a label (or dimension), shape (n, k). Tensors of a batch are (b, k).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from toughcall.questions import near
from toughcall.records import MARKS, Bools, IntegrityError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

Doubles = NDArray[np.float64]
How: TypeAlias = Literal["independent", "exclusive", "numbers"]
"""Each column for itself; one column excludes the others; or numbers, as shares of their range."""
Loss: TypeAlias = "Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]"
"""(logits, target, answered, legal), each of shape (b, k), the last two bool → a scalar."""

FAR = 2.0
"""A weight given by hand is named when it is more than this factor from what the counts say."""
BEND = 0.1
"""The error, as a share of a range, up to which it counts by its square and from which on by its size."""
SHOWN = 8
"""How many labels a sentence lists."""


@dataclass(frozen=True)
class LossSettings:
    """How a loss treats rare labels. As it stands: plain cross-entropy.

    `weights`: "balanced" counts the rare side as much as the other one. `focal`: gamma, 0 = off, 2 is the usual
    one (Lin et al., ICCV 2017, §3.2). `smoothing`: the share of a target that is spread evenly, in [0, 0.5)
    (Szegedy et al., CVPR 2016, §7). `adjust`: tau of logit adjustment, 0 = off, 1 is the usual one (Menon et al.,
    ICLR 2021, §5). `given`: weights set by hand, by label; a label without one has 1. "balanced" and `adjust`
    answer the same imbalance, so that both together answer it twice. Raises UsageError.
    """

    weights: Literal["none", "balanced"] = "none"
    focal: float = 0.0
    smoothing: float = 0.0
    adjust: float = 0.0
    given: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.weights not in ("none", "balanced"):
            raise UsageError(f'weights of the loss are "none" or "balanced", not {self.weights!r}: change the settings')
        if not (math.isfinite(self.focal) and self.focal >= 0):
            raise UsageError(f"focal must be at least 0, it is {self.focal:g}: set 0 to switch it off, or 2")
        if not 0 <= self.smoothing < 0.5:
            raise UsageError(f"smoothing must be at least 0 and below 0.5, it is {self.smoothing:g}: set 0, or 0.1")
        if not (math.isfinite(self.adjust) and self.adjust >= 0):
            raise UsageError(f"adjust must be at least 0, it is {self.adjust:g}: set 0 to switch it off, or 1")
        for label, weight in self.given.items():
            if not (math.isfinite(weight) and weight > 0):
                raise UsageError(
                    f"the weight of {label!r} must be above 0, it is {weight:g}: change it or leave it out"
                )
        if self.given and self.weights == "balanced":
            raise UsageError('weights are given by hand and "balanced" at once: leave one of the two out')


def _sides(truth: Any, answered: Bools | None) -> tuple[Doubles, Doubles]:
    """Return (positives, negatives) of each column, both shape (k,): an unanswered cell is neither."""
    known = np.ones(np.shape(truth), dtype=bool) if answered is None else np.asarray(answered, dtype=bool)
    yes = np.asarray(truth).astype(bool) & known
    return yes.sum(axis=0).astype(np.float64), (known & ~yes).sum(axis=0).astype(np.float64)


def pos_weight(truth: Any, answered: Bools | None = None) -> Doubles:
    """Return negatives / positives of each column over the rows that answered it, shape (k,).

    It is what torch calls pos_weight: positives and negatives then weigh the same in sum. 1 for a column without
    positives or without negatives, never infinite; `one_sided` names those.
    """
    positive, negative = _sides(truth, answered)
    there = (positive > 0) & (negative > 0)
    return np.where(there, negative / np.maximum(positive, 1.0), 1.0)


def one_sided(truth: Any, labels: Sequence[str], answered: Bools | None = None) -> tuple[str, ...]:
    """Return the labels that have no positive or no negative among their answers: no weight helps them."""
    positive, negative = _sides(truth, answered)
    return tuple(label for label, least in zip(labels, np.minimum(positive, negative), strict=True) if least == 0)


def class_weights(truth: Any) -> Doubles:
    """Return n / (classes · count) of each class of an exclusive answer, shape (k,); their mean over rows is 1.

    `classes` are those that have a row. One without a row has 0: nothing of it is there to be weighed.
    """
    count = np.asarray(truth, dtype=np.float64).sum(axis=0)
    there = count > 0
    return np.where(there, count.sum() / (max(1, int(there.sum())) * np.maximum(count, 1.0)), 0.0)


def _weights_by_hand(given: Mapping[str, float], labels: Sequence[str]) -> Doubles:
    for label in given:
        if label not in labels:
            raise UsageError(
                f"a weight is given to {label!r}, which is no label{near(label, labels)}: correct its name"
            )
    return np.array([float(given.get(label, 1.0)) for label in labels])


def lint(
    given: Mapping[str, float], truth: Any, labels: Sequence[str], *, exclusive: bool, answered: Bools | None = None
) -> list[str]:
    """Return what is odd about weights given by hand, one sentence each; [] when nothing is.

    Of independent labels such a weight is a pos_weight and is held against negatives/positives; of exclusive ones
    it is a class weight and is held against rows/(classes · count), of which only the proportions count.
    """
    weights = _weights_by_hand(given, labels)
    positive, negative = _sides(truth, answered)
    due = class_weights(truth) if exclusive else pos_weight(truth, answered)
    # a label without one of its sides has nothing that its weight could be held against
    known = [j for j, one in enumerate(labels) if one in given and positive[j] > 0 and (exclusive or negative[j] > 0)]
    if not known:
        return []
    mean = float((weights * positive).sum() / positive.sum()) if exclusive else 1.0
    apart = weights / mean / np.where(due > 0, due, 1.0)
    digits = 2 if exclusive else 1

    def told(rows: Sequence[int]) -> str:
        shown = [f"{labels[j]} {_short(weights[j])} against {due[j]:.{digits}f}" for j in rows[:SHOWN]]
        return f"{_labels(len(rows))} ({', '.join([*shown, *([] if len(rows) <= SHOWN else ['…'])])})"

    spread = f"{_span(weights[known], 2)} where {{}} is {_span(due[known], digits)}"
    far = [j for j in known if not 1 / FAR <= apart[j] <= FAR]
    if exclusive:
        if not far:
            return []
        named = spread.format("rows/(classes · count)")
        scaled = "" if 0.9 < mean < 1.1 else f", once divided by their mean over the rows, {mean:.2f}"
        return [f"given class weights are {named}: more than twice or below half of it for {told(far)}{scaled}"]
    named, found = spread.format("negatives/positives"), []
    if low := [j for j in known if weights[j] < 1.0 < due[j]]:
        found.append(
            f"given weights are {named}: below 1 for {told(low)}, whose positives then count less than their "
            "negatives though they are the rarer side"
        )
    if far:
        found.append(f"given weights are {named}: more than twice or below half of it for {told(far)}")
    rows = positive + negative
    if far and np.allclose(weights[known], (rows / (len(labels) * np.maximum(positive, 1.0)))[known], rtol=0.02):
        found.append(
            "given weights are total/(labels · positives), the class weights of labels that exclude each other: "
            'as pos_weight use negatives/positives, weights = "balanced"'
        )
    return found


def _short(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _span(values: Doubles, digits: int) -> str:
    return f"{values.min():.{digits}f}–{values.max():.{digits}f}"


def _labels(count: int) -> str:
    return f"{count} label{'' if count == 1 else 's'}"


def loss_function(
    settings: LossSettings,
    truth: Any,
    *,
    how: How,
    labels: Sequence[str] = (),
    answered: Bools | None = None,
) -> Loss:
    """Return the loss of a batch, a function (logits, target, answered, legal) → a scalar that is never NaN.

    `truth`, shape (n, k), are the training rows' targets, of which the weights and shares are counted, where
    `answered`; `labels` names the columns and is needed for weights given by hand. It is the mean over what was
    answered and is legal: nothing else changes loss or gradient, and nothing answered gives 0 with gradient 0.

    "independent": binary cross-entropy, a mean over cells. "exclusive": cross-entropy of a softmax over the columns
    that are answered and legal, a mean over rows; a row whose answer is not known adds nothing. "numbers": smooth L1
    (Girshick, ICCV 2015, eq. 3) of outputs, not put through a link, against shares of each range.
    UsageError for a setting that means nothing there; IntegrityError, of the loss, for an answer that is not legal.
    """
    by_hand: Doubles | None = None
    if settings.given:
        if len(labels) != np.shape(truth)[1]:
            raise ValueError(f"{len(labels)} labels are named, the targets have {np.shape(truth)[1]} columns")
        by_hand = _weights_by_hand(settings.given, labels)
    plain: Doubles = np.ones(np.shape(truth)[1])
    if how == "numbers":
        if settings.focal or settings.smoothing or settings.adjust or settings.weights != "none":
            raise UsageError(
                "focal, smoothing, adjust and balanced weights are for labels, and numbers are learnt: leave them out"
            )
        return _numbers(plain if by_hand is None else by_hand / by_hand.mean())
    positive, negative = _sides(truth, answered)
    # a label that no row has counts as one that a single row has: the logarithm of 0 would be no number
    share = np.maximum(positive, 1.0) / np.maximum(positive + negative, 2.0)
    if how == "exclusive":
        if by_hand is not None:
            # only proportions mean anything: the mean over rows is 1, so that the learning rate keeps its meaning
            by_hand = by_hand * positive.sum() / max((by_hand * positive).sum(), 1e-12)
        elif settings.weights == "balanced":
            yes = np.asarray(truth).astype(bool)
            by_hand = class_weights(yes if answered is None else yes & answered)
        return _exclusive(settings, plain if by_hand is None else by_hand, settings.adjust * np.log(share))
    if how == "independent":
        if by_hand is None and settings.weights == "balanced":
            by_hand = pos_weight(truth, answered)
        share = np.minimum(share, 1.0 - 1.0 / np.maximum(positive + negative, 2.0))
        shift = settings.adjust * (np.log(share) - np.log1p(-share))
        return _independent(settings, plain if by_hand is None else by_hand, shift)
    raise ValueError(f"no loss {how!r}: independent, exclusive or numbers")


def _wide(logits: Tensor) -> Tensor:
    """Return logits in at least single precision: logarithms of half precision end at 1e-4."""
    import torch

    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _independent(settings: LossSettings, weight: Doubles, shift: Doubles) -> Loss:
    """Return binary cross-entropy per cell: focal (Lin et al., eq. 4 and 5).

    A label and its absence are two classes, to which Menon et al., eq. 10, adds the log odds of the label's share.
    """
    from torch.nn.functional import logsigmoid

    def loss(logits: Tensor, target: Tensor, answered: Tensor, legal: Tensor | None) -> Tensor:
        full = _wide(logits)
        there = answered if legal is None else answered & legal
        z = (full + full.new_tensor(shift))[there]
        t = target.to(z.dtype)[there] * (1.0 - settings.smoothing) + settings.smoothing / 2.0
        yes, no = logsigmoid(z), logsigmoid(-z)
        positive = full.new_tensor(weight).expand_as(full)[there] * t * (settings.focal * no).exp() * yes
        negative = (1.0 - t) * (settings.focal * yes).exp() * no
        return -(positive + negative).sum() / max(1, z.numel())

    return loss


def _exclusive(settings: LossSettings, weight: Doubles, shift: Doubles) -> Loss:
    """Return softmax cross-entropy per row: focal (Lin et al., eq. 4 and 5), adjusted (Menon et al., eq. 10).

    A row weighs what its answer's class does. The mean is over rows, not over weights as in torch: a batch of one
    row would have no weight at all.
    """

    def loss(logits: Tensor, target: Tensor, answered: Tensor, legal: Tensor | None) -> Tensor:
        full = _wide(logits)
        there = answered if legal is None else answered & legal
        if legal is not None and (wrong := int((answered & ~legal & (target > 0)).any(dim=1).sum())):
            raise IntegrityError(
                f"{wrong} of {len(target)} rows of a batch have an answer that their types forbid: run toughcall doctor"
            )
        said = target.to(full.dtype).masked_fill(~there, 0.0)
        kept = said.sum(dim=1) > 0
        there, said = there[kept], said[kept] / said[kept].sum(dim=1, keepdim=True)
        row = (said * full.new_tensor(weight)).sum(dim=1)
        z = (full + full.new_tensor(shift))[kept].masked_fill(~there, -math.inf)
        # 0 · -inf is no number: what is closed leaves after the softmax too
        log_p = z.log_softmax(dim=1).masked_fill(~there, 0.0)
        even = there.to(full.dtype) / there.sum(dim=1, keepdim=True)
        goal = said * (1.0 - settings.smoothing) + even * settings.smoothing
        if settings.focal:
            # the slope of x ** gamma at 0 is infinite below gamma = 1
            goal = goal * (1.0 - log_p.exp()).clamp(min=1e-6) ** settings.focal
        return -((goal * log_p).sum(dim=1) * row).sum() / max(1, len(row))

    return loss


def _numbers(weight: Doubles) -> Loss:
    """Return smooth L1 per cell, each column with its weight."""
    from torch.nn.functional import smooth_l1_loss

    def loss(logits: Tensor, target: Tensor, answered: Tensor, legal: Tensor | None) -> Tensor:
        full = _wide(logits)
        there = answered if legal is None else answered & legal
        each = smooth_l1_loss(full[there], target.to(full.dtype)[there], reduction="none", beta=BEND)
        return (each * full.new_tensor(weight).expand_as(full)[there]).sum() / max(1, each.numel())

    return loss


def sampling_weights(truth: Any, target: float | None = None) -> Doubles:
    """Return how often each row should be drawn, shape (n,), mean 1: those of rare labels more often.

    Repeat factors: a label that a share f of the rows has is repeated max(1, √(target / f)) times, a row as often
    as its rarest label (Gupta et al., CVPR 2019, LVIS, appendix B.2 of arXiv:1908.03195v2; the square root is that
    of Mahajan et al., ECCV 2018). `target`: the share below which a label is rare, as it stands an even one, 1 / k.
    UsageError for numbers: none of them is rarer than another.
    """
    given = np.asarray(truth)
    yes = given.astype(bool)
    if not (given == yes).all():
        raise UsageError("rows are drawn by how rare their labels are, and numbers are learnt: switch resampling off")
    if yes.shape[1] == 1:
        # one column is a label and its complement
        yes = np.hstack([yes, ~yes])
    if not len(yes):
        return np.zeros(0)
    share = yes.mean(axis=0)
    repeat = np.sqrt(np.maximum(1.0, (target or 1.0 / yes.shape[1]) / np.maximum(share, 1.0 / len(yes))))
    found = np.where(yes, repeat, 1.0).max(axis=1)
    return np.asarray(found / found.mean())


def word_dropout(texts: Sequence[str], rng: np.random.Generator, share: float = 0.3, words: float = 0.1) -> list[str]:
    """Return texts of which a `share` has lost each word with probability `words` (post-mortem 002: 30 %, 10 %).

    For training rows only: what a model is measured on stays as it is. A text keeps at least one word, and always
    the marks of its entities; texts that lose nothing come back as they were, character by character.
    """
    return [_thinned(text, rng, words) if rng.random() < share else text for text in texts]


def _thinned(text: str, rng: np.random.Generator, words: float) -> str:
    pieces = re.findall(r"\s*\S+", text)
    free = [n for n, piece in enumerate(pieces) if not any(mark in piece for mark in MARKS)]
    lost = {n for n, drawn in zip(free, rng.random(len(free)), strict=True) if drawn < words}
    if lost and len(lost) == len(free):
        lost.remove(free[int(rng.integers(len(free)))])
    if not lost:
        return text
    kept = "".join(piece for n, piece in enumerate(pieces) if n not in lost)
    # a text never begins with the space of what stood before
    return kept if 0 not in lost else kept.lstrip()
