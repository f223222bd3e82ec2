"""Named reasons to ask about an item, each a pure function of scores: Scores → ranked Picks.

Ties are decided by id, so that the order of the pool never matters; an item whose merit is no number is never
picked. `probability` is the chance with which an item entered its slice: 1.0 for a ranked slice, n/N for the
uniform audit. Arrays do the work: nothing here runs once per item in Python.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from toughcall.mining.ranking import Rows, best, by_id, turns
from toughcall.records import Bools, Floats, Pick, Reals, Scores

BLOCK = 1 << 16
"""So many rows are worked on at once: what is needed beside the scores stays small."""


def exclusive(values: Reals) -> bool:
    """Return whether the columns share one unit of probability: every row of shape (n, k) that is finite sums to 1."""
    total = values.sum(axis=1)
    return values.shape[1] > 1 and bool(np.allclose(total[np.isfinite(total)], 1.0, atol=1e-3))


def _in_blocks(make: Callable[[int, int], Reals], n: int) -> Reals:
    """Return what `make(start, stop)` gives for all n rows, a block at a time."""
    return np.concatenate([make(start, start + BLOCK) for start in range(0, max(n, 1), BLOCK)])


def _two_likeliest(values: Floats) -> tuple[Reals, Reals]:
    """Return the greatest and the second greatest value of each row, shape (n,) each."""
    last = values.shape[1] - 2
    two = _in_blocks(lambda start, stop: np.partition(values[start:stop], last, axis=1)[:, last:], len(values))
    return two[:, 1], two[:, 0]


def _ranked(ids: Sequence[str], merit: Reals, n: int, reason: str, note: Callable[[int], str]) -> list[Pick]:
    """Return the n items of greatest merit, ties by id; `note` says of a row what it is picked for."""
    rows = best(merit, ids, n).tolist()
    return [Pick(ids[row], reason, float(merit[row]), rank, 1.0, note(row)) for rank, row in enumerate(rows)]


def _against(scores: Scores, row: int) -> str:
    a, b = np.argsort(-scores.values[row], kind="stable")[:2]
    return f"{scores.labels[a]} {scores.values[row, a]:.2f} against {scores.labels[b]} {scores.values[row, b]:.2f}"


def in_band(
    scores: Scores, n: int, *, rng: np.random.Generator, low: float = 0.4, high: float = 0.6, **_: Any
) -> list[Pick]:
    """Return items with a calibrated probability inside [low, high], those nearest the band's middle first.

    With one column or independent labels any column may be the uncertain one; where the columns share one
    unit of probability (they sum to 1) the top two compete, and P(first) / (P(first) + P(second)) is held
    against the band, or the same share of the second: two-way doubt counts the same however many classes
    there are. Differences below 1e-6 decide nothing, so that the batch size cannot move an item over an edge.
    """
    values, middle = scores.values, (low + high) / 2
    shared = exclusive(values)

    def within(share: Reals) -> Bools:
        rounded = np.round(share.astype(np.float64), 6)
        return np.asarray((rounded >= round(low, 6)) & (rounded <= round(high, 6)))

    def nearest(start: int, stop: int) -> Reals:
        block = values[start:stop]
        column = np.abs(block - middle).argmin(axis=1)
        return np.asarray(np.take_along_axis(block, column[:, None], axis=1)[:, 0])

    def note(row: int) -> str:
        if shared:
            return _against(scores, row)
        label = scores.labels[int(np.abs(values[row] - middle).argmin())]
        return f"P({label}) = {share[row]:.2f}, inside {low:g}–{high:g}"

    if shared:
        first, second = _two_likeliest(values)
        share = first / np.maximum(first + second, 1e-9)
        inside = within(share) | within(1 - share)
        distance = np.minimum(np.abs(share - middle), np.abs(1 - share - middle))
    else:
        share = _in_blocks(nearest, len(values))
        inside, distance = within(share), np.abs(share - middle)
    return _ranked(scores.ids, np.where(inside, -distance, np.nan), n, "in_band", note)


def margin(
    scores: Scores, n: int, *, rng: np.random.Generator, thresholds: Sequence[float] | Reals | None = None, **_: Any
) -> list[Pick]:
    """Return the items whose answer is decided most narrowly, the narrowest first.

    Where the columns share one unit of probability: the smallest P(first) − P(second) (margin sampling:
    Scheffer, Decomain and Wrobel, IDA 2001). Of independent columns the one nearest its threshold counts;
    `thresholds`: one for each column in [0, 1], 0.5 without. Unlike the band there is always a narrowest.
    """
    values = scores.values
    if exclusive(values):
        first, second = _two_likeliest(values)
        return _ranked(scores.ids, second - first, n, "margin", lambda row: _against(scores, row))
    cut = np.full(values.shape[1], 0.5) if thresholds is None else np.asarray(thresholds, dtype=np.float64)
    if cut.shape != (values.shape[1],):
        raise ValueError(f"{cut.shape} thresholds for {values.shape[1]} columns")
    edges = cut.astype(np.float32)
    gap = _in_blocks(lambda start, stop: np.abs(values[start:stop] - edges).min(axis=1), len(values))

    def note(row: int) -> str:
        column = int(np.abs(values[row] - edges).argmin())
        return f"P({scores.labels[column]}) = {values[row, column]:.2f}, decided at {cut[column]:.2f}"

    return _ranked(scores.ids, -gap, n, "margin", note)


def _doubt(p: Reals, shared: bool) -> Reals:
    """Return the entropy of probabilities in bits over the last axis: of one answer, or summed over yes/no columns."""
    p = p.astype(np.float64)

    def bits(q: Reals) -> Reals:
        return np.asarray(-q * np.log2(np.maximum(q, 1e-12)))

    each = bits(p) if shared else bits(p) + bits(1 - p)
    return np.asarray(each.sum(axis=-1))


def entropy(scores: Scores, n: int, *, rng: np.random.Generator, **_: Any) -> list[Pick]:
    """Return the items about which the model knows least: greatest entropy in bits (Shannon 1948, §6).

    One answer where the columns share one unit of probability, else the sum over the columns' yes or no:
    unlike `margin` it weighs every column.
    """
    values = scores.values
    shared = exclusive(values)
    most = np.log2(values.shape[1]) if shared else float(values.shape[1])
    merit = _in_blocks(lambda start, stop: _doubt(values[start:stop], shared), len(values))
    return _ranked(scores.ids, merit, n, "entropy", lambda row: f"entropy {merit[row]:.2f} of at most {most:.2f} bits")


def committee(
    scores: Scores, n: int, *, rng: np.random.Generator, committee: Reals | None = None, **_: Any
) -> list[Pick]:
    """Return the items on which sure members of a committee contradict each other; empty without a committee.

    BALD (Houlsby, Huszár, Ghahramani and Lengyel 2011, eq. 2): the information in bits that the answer gives
    about which member is right, H(mean of the members) − mean of the members' H. `committee`: probabilities of
    shape (members, n, k), its rows those of `scores`.
    """
    if committee is None or not len(committee):
        return []
    if committee.ndim != 3 or committee.shape[1:] != scores.values.shape:
        raise ValueError(f"a committee of shape {committee.shape} does not fit scores of {scores.values.shape}")
    shared = exclusive(committee.mean(axis=0))

    def information(start: int, stop: int) -> Reals:
        block = committee[:, start:stop]
        mean = np.asarray(_doubt(block.mean(axis=0), shared))
        return np.asarray(mean - np.mean([_doubt(member, shared) for member in block], axis=0))

    merit = _in_blocks(information, len(scores.ids))
    said = f"{len(committee)} models, the answer tells {{:.2f}} bits about which is right"
    return _ranked(scores.ids, merit, n, "committee", lambda row: said.format(merit[row]))


def class_balanced(
    scores: Scores, n: int, *, rng: np.random.Generator, counts: Mapping[str, int] | None = None, **_: Any
) -> list[Pick]:
    """Return likely members of each class, the classes taking turns in proportion to 1 / (1 + their labels)."""
    have = {label: (counts or {}).get(label, 0) for label in scores.labels}
    return _likely(scores, n, {label: 1.0 / (1.0 + count) for label, count in have.items()}, have, "class_balanced")


def rare_class(
    scores: Scores,
    n: int,
    *,
    rng: np.random.Generator,
    counts: Mapping[str, int] | None = None,
    null: str = "",
    **_: Any,
) -> list[Pick]:
    """Return likely members of the classes with the fewest labels, the rarest class asked most often.

    Classes take turns in proportion to 1 / (1 + labels) ** 1.5; the label `null`, for no class, gets none. A
    class without any label has only the untouched encoder's (or the prior's) guess to go by, and the note
    says so (C28).
    """
    have = {label: (counts or {}).get(label, 0) for label in scores.labels}
    weights = {label: (1.0 + count) ** -1.5 for label, count in have.items() if label != null}
    return _likely(scores, n, weights, have, "rare_class")


def _likely(scores: Scores, n: int, weights: Mapping[str, float], have: Mapping[str, int], reason: str) -> list[Pick]:
    """Return the likeliest members of each class, taking turns by weight."""

    def found(label: str, k: int) -> list[Pick]:
        p = np.ascontiguousarray(scores.values[:, scores.labels.index(label)])
        count = have[label]
        known = f"{count} labels so far" if count else "no label yet: the guess is the untouched encoder's"
        return [
            Pick(scores.ids[row], reason, float(p[row]), 0, 1.0, f"P({label}) = {p[row]:.2f}, {known}")
            for row in best(p, scores.ids, k).tolist()
        ]

    return turns(weights, found, n, len(scores.ids))


def spread(scores: Scores, n: int, *, rng: np.random.Generator, **_: Any) -> list[Pick]:
    """Return the items with the widest prediction intervals; empty where the model says nothing of that."""
    if "spread" not in scores.parts:
        return []
    width = scores.parts["spread"]
    return _ranked(scores.ids, width, n, "spread", lambda row: f"90 % interval of ± {width[row]:.0%} of the range")


def disagreement(scores: Scores, n: int, *, rng: np.random.Generator, **_: Any) -> list[Pick]:
    """Return items on which the encoder and the words disagree: the gap between their ranks.

    Ranks, because a cosine and a TF-IDF cosine live on different scales. Empty without both parts.
    """
    if not {"cosine", "tfidf"} <= set(scores.parts):
        return []
    cosine, words = scores.parts["cosine"], scores.parts["tfidf"]
    both = np.flatnonzero(np.isfinite(cosine) & np.isfinite(words))
    by_encoder, by_words, gap = np.full((3, len(cosine)), np.nan)
    for rank, part in ((by_encoder, cosine), (by_words, words)):
        # equal values share their mean rank
        rounded = np.round(part[both].astype(np.float64), 6)
        place, count = np.unique(rounded, return_inverse=True, return_counts=True)[1:]
        rank[both] = (np.cumsum(count) - (count - 1) / 2)[place] / max(1, len(both))
    # only where one of the two sees something: most pairs are unrelated for both
    gap[both] = (np.abs(by_encoder - by_words) * np.maximum(by_encoder, by_words) ** 4)[both]

    def note(row: int) -> str:
        return f"encoder rank {by_encoder[row]:.2f}, word rank {by_words[row]:.2f} (1 = most alike)"

    return _ranked(scores.ids, gap, n, "disagreement", note)


def random_audit(ids: Sequence[str], n: int, rng: np.random.Generator, order: Rows | None = None) -> list[Pick]:
    """Return a uniform draw: the only slice whose answers estimate the whole without bias.

    `order`: the rows of `ids` by id, where that is known already.
    """
    n = min(n, len(ids))
    if n <= 0:
        return []
    rows = by_id(ids) if order is None else order
    odds, note = n / len(ids), f"drawn at random, {n} of {len(ids)}"
    drawn = rows[rng.choice(len(ids), size=n, replace=False)].tolist()
    return [Pick(ids[row], "random_audit", odds, rank, odds, note) for rank, row in enumerate(drawn)]
