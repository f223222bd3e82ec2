"""The typical and diverse of a pool: its parts by k-means on a bounded sample, the middle of each. Never N²."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from toughcall.mining.ranking import Rows, by_id
from toughcall.records import Floats, Pick, Reals, Scores, Vectors

MOST_PARTS = 600
ROUNDS = 50
TRIES = 6
"""So many draws compete for each new centre: one alone leaves the parts 1 % wider (opp115, 12 seeds)."""


def _places(ids: Sequence[str], vectors: Vectors, views: Mapping[str, Sequence[str]]) -> Floats:
    """Return where each item lies, the mean of its views' vectors, shape (n, d); KeyError names a missing one."""
    own = [views.get(one, (one,)) for one in ids]
    rows = [vectors.where[view] for some in own for view in some]
    if len(rows) == len(own):
        return vectors.array[rows]
    sizes = np.asarray([len(some) for some in own])
    total = np.add.reduceat(vectors.array[rows], np.cumsum(sizes) - sizes, axis=0)
    return np.asarray(total / sizes[:, None], np.float32)


def _centres(place: Floats, seen: Floats, n: int, rng: np.random.Generator) -> Floats:
    """Return where k-means begins, shape (≤ MOST_PARTS, d): what was asked, and up to n others far from that.

    The others as in greedy k-means++ (Arthur and Vassilvitskii, SODA 2007, §2.2 and §7): drawn with odds in
    proportion to the squared distance to the nearest centre so far. To begin at what was asked costs one product
    of matrices where k-means++ from nothing takes a turn for each. Squared distances below 1e-6 are none.
    """
    n = min(n, MOST_PARTS)
    square = (place * place).sum(axis=1)

    def apart(centres: Floats) -> Floats:
        return np.asarray(square[:, None] - place @ (2 * centres).T + (centres * centres).sum(axis=1))

    far: Floats = apart(seen).min(axis=1) if len(seen) else np.ones(len(place), np.float32)
    drawn: list[int] = []
    while len(drawn) < n:
        odds = np.where(far > 1e-6, far, 0.0).astype(np.float64)
        if not odds.any():
            break
        some = rng.choice(len(odds), size=TRIES, p=odds / odds.sum())
        gaps = apart(place[some])
        left = np.minimum(gaps, far[:, None]) if len(seen) or drawn else gaps
        least = int(left.sum(axis=0).argmin())
        drawn.append(int(some[least]))
        far = left[:, least]
        far[drawn[-1]] = 0.0
    kept = np.sort(rng.permutation(len(seen))[: MOST_PARTS - len(drawn)])
    return np.concatenate([seen[kept], place[drawn]])


def _parts(array: Floats, centres: Floats) -> tuple[Rows, Reals, int]:
    """Return the part of each row, its squared distance to the part's middle, shape (n,) each, and how many parts.

    Lloyd's k-means (IEEE Transactions on Information Theory 1982) from `centres`, until no row moves or ROUNDS
    are over. A part that loses its last row stays empty.
    """
    own = np.full(len(array), -1, np.intp)
    for _ in range(ROUNDS):
        before, own = own, np.argmin((centres * centres).sum(axis=1) / 2 - array @ centres.T, axis=1)
        if (own == before).all():
            break
        order = np.argsort(own, kind="stable")
        held, starts, counts = np.unique(own[order], return_index=True, return_counts=True)
        centres = centres.copy()
        centres[held] = np.add.reduceat(array[order], starts, axis=0) / counts[:, None]
    return own, ((array - centres[own]).astype(np.float64) ** 2).sum(axis=1), len(centres)


def diverse(
    scores: Scores,
    n: int,
    *,
    rng: np.random.Generator,
    vectors: Vectors | None = None,
    records: Mapping[str, Sequence[str]] | None = None,
    asked: Collection[str] = (),
    sample: int = 4000,
    order: Rows | None = None,
    **_: Any,
) -> list[Pick]:
    """Return the most typical item of each part of the pool that nobody was asked about, largest part first.

    TypiClust (Hacohen, Dekel and Weinshall, ICML 2022, §3): the pool and what was asked are clustered
    together (k-means) into as many parts as there will be asked items; parts that hold an asked item come
    last. With few labels this beats asking for uncertainty. On a bounded sample, never N². An item whose
    vector is not finite has no place and is left out. `order`: the rows by id, where that is known already.
    """
    if vectors is None or not scores.ids:
        return []
    views = records or {}
    rows = by_id(scores.ids) if order is None else order
    if len(rows) > sample:
        rows = rows[np.sort(rng.choice(len(rows), size=sample, replace=False))]
    ids = [scores.ids[row] for row in rows]
    place = _places(ids, vectors, views)
    sound = np.atleast_1d(np.isfinite(place).all(axis=1))
    if not sound.any():
        return []
    ids = [one for one, good in zip(ids, sound, strict=True) if good]
    there = vectors.where
    known = sorted(one for one in asked if all(view in there for view in views.get(one, (one,))))[-sample:]
    seen = _places(known, vectors, views) if known else place[:0]
    place, seen = place[sound], seen[np.isfinite(seen).all(axis=1)]
    array = np.concatenate([place, seen])
    own, far, parts = _parts(array, _centres(place, seen, max(1, n), rng))
    own, far, asked_in = own[: len(ids)], far[: len(ids)], own[len(ids) :]
    held = np.bincount(asked_in, minlength=parts)
    size = np.bincount(own, minlength=parts)
    # of each part the one in its middle, the first by id of those: the ids are sorted and so is the sort stable
    typical = np.lexsort((np.round(far, 6), own))
    first = dict(zip(own[typical[::-1]].tolist(), typical[::-1].tolist(), strict=True))
    # parts nobody was asked about first; in the others, where answers are thinnest
    open_ = sorted(first, key=lambda part: (held[part] / size[part], -size[part], part))[:n]
    notes = {part: f"the most typical of {size[part]} alike, of which {held[part]} were asked" for part in open_}
    return [
        Pick(ids[first[part]], "diverse", float(size[part]) / len(ids), rank, 1.0, notes[part])
        for rank, part in enumerate(open_)
    ]
