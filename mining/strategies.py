"""Named reasons to ask about an item, each a pure function of scores: Scores → ranked Picks.

Ties are decided by id, so that the order of the pool never matters. `probability` is the chance with
which an item entered its slice: 1.0 for a ranked slice, n/N for the uniform audit.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toughcall.records import Floats, Pick, Scores, Vectors

MOST_PARTS = 600


def _ranked(ids: Sequence[str], merit: Floats, n: int, reason: str, note: Callable[[int], str]) -> list[Pick]:
    """Return the n items of greatest merit (rounded, so that noise below 1e-6 decides nothing), ties by id."""
    order = sorted(range(len(ids)), key=lambda row: (-round(float(merit[row]), 6), ids[row]))[:n]
    return [Pick(ids[row], reason, float(merit[row]), rank, 1.0, note(row)) for rank, row in enumerate(order)]


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

    def within(share: Floats) -> NDArray[np.bool_]:
        rounded = np.round(share.astype(np.float64), 6)
        return np.asarray((rounded >= round(low, 6)) & (rounded <= round(high, 6)))

    if values.shape[1] > 1 and np.allclose(values.sum(axis=1), 1.0, atol=1e-3):
        top = np.argsort(-values, axis=1, kind="stable")[:, :2]
        first, second = np.take_along_axis(values, top, axis=1).T
        share = first / np.maximum(first + second, 1e-9)
        inside = np.flatnonzero(within(share) | within(1 - share))

        def note(row: int) -> str:
            a, b = (scores.labels[j] for j in top[row])
            return f"{a} {first[row]:.2f} against {b} {second[row]:.2f}"

        distance = np.minimum(np.abs(share - middle), np.abs(1 - share - middle))
    else:
        column = np.abs(values - middle).argmin(axis=1)
        share = np.take_along_axis(values, column[:, None], axis=1)[:, 0]
        inside = np.flatnonzero(within(share))

        def note(row: int) -> str:
            return f"P({scores.labels[column[row]]}) = {share[row]:.2f}, inside {low:g}–{high:g}"

        distance = np.abs(share - middle)
    ids = [scores.ids[row] for row in inside]
    return _ranked(ids, -distance[inside], n, "in_band", lambda row: note(int(inside[row])))


def rare_class(
    scores: Scores, n: int, *, rng: np.random.Generator, counts: Mapping[str, int] | None = None, **_: Any
) -> list[Pick]:
    """Return likely members of the classes with the fewest labels, the rarest class asked most often.

    Classes take turns; a class's share of turns is proportional to 1 / (1 + its labels). A class without
    any label has only the untouched encoder's (or the prior's) guess to go by, and the note says so (C28).
    """
    counts = counts or {}
    have = np.asarray([counts.get(label, 0) for label in scores.labels], dtype=float)
    weight = 1.0 / (1.0 + have)
    order = [
        sorted(range(len(scores.ids)), key=lambda row: (-round(float(column[row]), 6), scores.ids[row]))
        for column in scores.values.T
    ]
    place = [0] * len(order)
    credit = np.zeros(len(order))
    picks: list[Pick] = []
    taken: set[int] = set()
    while len(picks) < min(n, len(scores.ids)):
        credit += weight / weight.sum()
        label = int(np.argmax(np.round(credit, 9)))
        credit[label] -= 1.0
        while place[label] < len(order[label]) and order[label][place[label]] in taken:
            place[label] += 1
        if place[label] == len(order[label]):
            weight[label] = 0.0
            continue
        row = order[label][place[label]]
        taken.add(row)
        name, p = scores.labels[label], float(scores.values[row, label])
        known = (
            f"{int(have[label])} labels so far" if have[label] else "no label yet: the guess is the untouched encoder's"
        )
        picks.append(Pick(scores.ids[row], "rare_class", p, len(picks), 1.0, f"P({name}) = {p:.2f}, {known}"))
    return picks


def diverse(
    scores: Scores,
    n: int,
    *,
    rng: np.random.Generator,
    vectors: Vectors | None = None,
    records: Mapping[str, Sequence[str]] | None = None,
    asked: Collection[str] = (),
    sample: int = 4000,
    **_: Any,
) -> list[Pick]:
    """Return the most typical item of each part of the pool that nobody was asked about, largest part first.

    TypiClust (Hacohen, Dekel and Weinshall, ICML 2022, §3): the pool and what was asked are clustered
    together (k-means) into as many parts as there will be asked items; parts that hold an asked item come
    last. With few labels this beats asking for uncertainty. On a bounded sample, never N².
    """
    if vectors is None or not scores.ids:
        return []
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    ids = sorted(scores.ids)
    if len(ids) > sample:
        ids = sorted(ids[i] for i in rng.choice(len(ids), size=sample, replace=False))
    where = {one: row for row, one in enumerate(vectors.ids)}

    def place(one: str) -> Floats:
        return np.asarray(vectors.array[[where[text] for text in (records or {}).get(one, (one,))]].mean(axis=0))

    known = sorted(one for one in asked if all(text in where for text in (records or {}).get(one, (one,))))[-sample:]
    array = np.stack([place(one) for one in [*ids, *known]])
    parts = min(max(1, n) + len(known), len(array), MOST_PARTS)
    with warnings.catch_warnings():
        # equal texts: fewer parts than asked for, and fewer picks
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = KMeans(parts, n_init=1, random_state=int(rng.integers(2**31))).fit(array)
    own = found.labels_[: len(ids)]
    held = np.bincount(found.labels_[len(ids) :], minlength=parts)
    size = np.bincount(own, minlength=parts)
    far = ((array[: len(ids)] - found.cluster_centers_[own]) ** 2).sum(axis=1)
    # parts nobody was asked about first; in the others, where answers are thinnest
    open_ = sorted(set(own.tolist()), key=lambda part: (held[part] / size[part], -size[part], part))
    picks = []
    for rank, part in enumerate(open_[:n]):
        best = min(np.flatnonzero(own == part), key=lambda row: (round(float(far[row]), 6), ids[row]))
        note = f"the most typical of {size[part]} alike, of which {held[part]} were asked"
        picks.append(Pick(ids[best], "diverse", float(size[part]) / len(ids), rank, 1.0, note))
    return picks


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
    from scipy.stats import rankdata

    count = max(1, len(scores.ids))
    by_encoder = rankdata(scores.parts["cosine"]) / count
    by_words = rankdata(scores.parts["tfidf"]) / count
    # only where one of the two sees something: most pairs are unrelated for both
    gap = np.abs(by_encoder - by_words) * np.maximum(by_encoder, by_words) ** 4

    def note(row: int) -> str:
        return f"encoder rank {by_encoder[row]:.2f}, word rank {by_words[row]:.2f} (1 = most alike)"

    return _ranked(scores.ids, gap.astype(np.float32), n, "disagreement", note)


def random_audit(ids: Sequence[str], n: int, rng: np.random.Generator) -> list[Pick]:
    """Return a uniform draw: the only slice whose answers estimate the whole without bias."""
    pool = sorted(ids)
    n = min(n, len(pool))
    drawn: Any = rng.choice(len(pool), size=n, replace=False) if n else []
    odds = n / max(1, len(pool))
    return [
        Pick(pool[int(i)], "random_audit", odds, rank, odds, f"drawn at random, {n} of {len(pool)}")
        for rank, i in enumerate(drawn)
    ]


STRATEGIES: dict[str, Callable[..., list[Pick]]] = {
    "in_band": in_band,
    "rare_class": rare_class,
    "spread": spread,
    "diverse": diverse,
    "disagreement": disagreement,
}


def choose(reason: str, scores: Scores, n: int, *, rng: np.random.Generator, **context: Any) -> list[Pick]:
    """Return the picks of one named reason; KeyError for a name that is none."""
    return STRATEGIES[reason](scores, n, rng=rng, **context)
