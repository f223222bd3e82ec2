"""The queue: scores of what is open → the next batch. Pure: a round and a simulation call the same function."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from toughcall.mining.audits import LEAST, stratified_audit
from toughcall.mining.batch import pick_batch, shares
from toughcall.mining.ranking import by_id
from toughcall.mining.reasons import choose
from toughcall.mining.strategies import random_audit
from toughcall.records import Batch, Pick, Scores, Vectors

CELLS = 4_000_000
"""How many cosines are held at once: 16 MB, and 64 MB for the links where all are alike."""
FURTHER = 8
"""How much longer the lists get, once, where near-duplicates and crowded records leave a reason short."""
UNRANKED = ("random_audit", "diverse")
"""Reasons whose list is a draw or one pick for each part of the pool: a longer one would be another one."""


class Rules(Protocol):
    """What the queue reads of a project's [mine] settings."""

    @property
    def low(self) -> float:
        """Where the uncertain band begins, a calibrated probability."""

    @property
    def high(self) -> float:
        """Where it ends."""

    @property
    def per_record(self) -> int:
        """In how many items of a batch one record may be."""

    @property
    def near_duplicate(self) -> float:
        """From which cosine on two texts are one question."""


def alike(ids: Collection[str], asked: Collection[str], vectors: Vectors, threshold: float) -> dict[str, str]:
    """Return the cluster (its smallest id) of each of `ids` and `asked` that has a near-duplicate among them.

    Near-duplicate: cosine ≥ `threshold` between one of `ids` and another of them or one of `asked`, and what
    such links join. What the rest of the pool holds does not matter, and what was asked is not compared with
    itself: time grows with len(ids) · (len(ids) + len(asked)). Ids without a vector have no near-duplicate.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    ours = sorted(one for one in set(ids) if one in vectors.where)
    every = ours + sorted(one for one in set(asked).difference(ours) if one in vectors.where)
    if len(every) < 2:
        return {}
    array, group = vectors.rows(every), np.arange(len(every))
    step = max(1, CELLS // len(every))
    for start in range(0, len(ours), step):
        near = array[start : min(start + step, len(ours))] @ array.T >= threshold
        a, b = np.nonzero(near)
        # what earlier blocks joined is one link for each item, so that the links never pile up
        ends = np.concatenate([a + start, np.arange(len(every))]), np.concatenate([b, group])
        links = coo_matrix((np.ones(len(ends[0]), np.int8), ends), shape=(len(every), len(every)))
        number = connected_components(links, directed=False)[1]
        group = np.unique(number, return_index=True)[1][number]
    joined = np.flatnonzero(np.bincount(group, minlength=len(every))[group] > 1).tolist()
    smallest: dict[int, str] = {}
    for row in joined:
        smallest[group[row]] = min(every[row], smallest.get(group[row], every[row]))
    return {every[row]: smallest[group[row]] for row in joined}


def next_batch(
    scores: Scores,
    vectors: Vectors,
    settings: Rules,
    quotas: Mapping[str, float],
    size: int,
    *,
    rng: np.random.Generator,
    name: str,
    schema: str,
    asked: Collection[str] = frozenset(),
    counts: Mapping[str, int] | None = None,
    views: Mapping[str, Sequence[str]] | None = None,
    records: Mapping[str, Sequence[str]] | None = None,
    audited: Sequence[str] | None = None,
    strata: NDArray[np.intp] | None = None,
    collapse: bool = False,
    more: Mapping[str, Any] | None = None,
) -> Batch:
    """Return the next batch of at most `size` picks from the open items that `scores` holds.

    `scores`: only what may be asked: held-out items stay out of it (C27), what was asked is passed over in any
    case (C29). `quotas`: shares by reason, as `batch.warmed` has them where little has been learnt.
    `audited`: what the audit is drawn from, the open items by default. `strata`: of each open item, where a
    uniform audit would find no member of the first class; needs two audited items each. `counts`: labels so far
    by class. `views` and `records`: the ids of the vectors and of the records of an item, where it is not its
    own only one. `collapse`: ask one of near-duplicate items (whose ids have vectors). `more` goes to every
    strategy; arrays in it have the rows of `scores`. Time grows with the pool only in array operations.
    """
    asked, count = frozenset(asked), len(scores.ids)
    order = by_id(scores.ids)
    context: dict[str, Any] = {
        "low": settings.low,
        "high": settings.high,
        "counts": counts or {},
        "vectors": vectors,
        "records": views or {},
        "asked": asked,
        "order": order,
        **(more or {}),
    }
    wanted = shares(quotas, size)
    reasons = [reason for reason, share in quotas.items() if share > 0]

    def ranked(reason: str, room: int) -> list[Pick]:
        if reason == "random_audit":
            if strata is not None and audited is None and wanted[reason] >= LEAST * len(np.unique(strata)):
                return stratified_audit(scores.ids, strata, scores.values[:, 0], wanted[reason], rng)
            given = (scores.ids, order) if audited is None else (audited, None)
            return random_audit(given[0], wanted[reason], rng, given[1])
        # as many parts as will be asked: a part is one pick
        return choose(reason, scores, min(size, count) if reason in UNRANKED else room, rng=rng, **context)

    def picked(candidates: Mapping[str, Sequence[Pick]]) -> Batch:
        shortlist = {pick.item for list_ in candidates.values() for pick in list_}
        return pick_batch(
            candidates,
            quotas,
            size,
            asked=asked,
            duplicates=alike(shortlist, asked, vectors, settings.near_duplicate) if collapse else {},
            records=records,
            per_record=settings.per_record,
            name=name,
            schema=schema,
            model=scores.model,
        )

    room = min(count, 5 * size + 50)
    candidates = {reason: ranked(reason, room) for reason in reasons if room or reason == "random_audit"}
    batch = picked(candidates)
    short = [one for one in candidates if one in batch.shortfall and one not in UNRANKED]
    # a list that was cut off goes on in the pool
    short = [one for one in short if len(candidates[one]) == room < count]
    if not short:
        return batch
    return picked({**candidates, **{reason: ranked(reason, min(count, FURTHER * room)) for reason in short}})
