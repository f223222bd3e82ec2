"""Quotas → one batch: each reason gets its share, shortfalls are said, nothing is asked twice."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from toughcall.records import Batch, Pick

DOUBT = ("boundary", "in_band", "margin", "entropy", "committee", "spread", "disagreement")
"""The reasons that ask about what a model is unsure of."""
AUDIT = "random_audit"
EARNED = 100
"""From so many labels on doubt gets its whole share."""


def shares(quotas: Mapping[str, float], size: int) -> dict[str, int]:
    """Return how many picks each reason gets: largest remainders, ties by name; the sum is `size`.

    A random audit with a share gets one at least, of a batch of two or more: nothing else measures.
    """
    total = sum(quotas.values())
    if total <= 0:
        return dict.fromkeys(quotas, 0)
    exact = {reason: size * share / total for reason, share in quotas.items()}
    given = {reason: int(value) for reason, value in exact.items()}
    rest = size - sum(given.values())
    for reason in sorted(exact, key=lambda reason: (-(exact[reason] - given[reason]), reason))[:rest]:
        given[reason] += 1
    if size > 1 and quotas.get(AUDIT, 0.0) > 0 and not given[AUDIT]:
        # somebody was rounded up
        some = [reason for reason, count in given.items() if count]
        most = min(some, key=lambda reason: (round(exact[reason] - given[reason], 9), reason))
        given = {**given, most: given[most] - 1, AUDIT: 1}
    return given


def warmed(quotas: Mapping[str, float], labels: int) -> dict[str, float]:
    """Return the quotas of a batch that follows so many labels: doubt earns its share, typical items have the rest.

    A model that has learnt nothing has no uncertainty worth asking about, one that has learnt little has little
    (Hacohen, Dekel and Weinshall, ICML 2022): doubt gets labels / 100 of its share. A mix without typical items
    stays as it is once there are labels: somebody wants it so.
    """
    if labels and not quotas.get("diverse"):
        return dict(quotas)
    earned = min(1.0, labels / EARNED)
    kept = {reason: share * (earned if reason in DOUBT else 1.0) for reason, share in quotas.items()}
    kept["diverse"] = kept.get("diverse", 0.0) + sum(quotas.values()) - sum(kept.values())
    return {reason: share for reason, share in kept.items() if share > 0}


def pick_batch(
    candidates: Mapping[str, Sequence[Pick]],
    quotas: Mapping[str, float],
    size: int,
    *,
    asked: Collection[str] = frozenset(),
    duplicates: Mapping[str, str] | None = None,
    records: Mapping[str, Sequence[str]] | None = None,
    per_record: int = 3,
    name: str,
    schema: str,
    model: str,
) -> Batch:
    """Return a batch of at most `size` picks, in the order the experts should see them.

    `candidates`: ranked picks by reason. An item is taken once, for the first reason that reaches it; other
    reasons are named in its note. Of each near-duplicate cluster at most one item is ever taken, of each record
    at most `per_record`. What a reason cannot fill goes to the others; `shortfall` says how much.
    """
    duplicates, records = duplicates or {}, records or {}
    asked = set(asked)
    wanted = shares(quotas, size)
    # the audit first: taking from it what another reason also wants would bias the draw
    reasons = sorted(candidates, key=lambda reason: (reason != "random_audit", list(quotas).index(reason)))
    chosen: dict[str, Pick] = {}
    clusters: set[str] = {duplicates[one] for one in asked if one in duplicates}
    used: Counter[str] = Counter()
    place = dict.fromkeys(reasons, 0)
    got: Counter[str] = Counter()

    def take(reason: str) -> bool:
        ranked = candidates[reason]
        while place[reason] < len(ranked):
            pick = ranked[place[reason]]
            place[reason] += 1
            cluster = duplicates.get(pick.item, pick.item)
            parts = records.get(pick.item, (pick.item,))
            if pick.item in asked or pick.item in chosen or cluster in clusters:
                continue
            if tuple(parts) != (pick.item,) and any(used[part] >= per_record for part in parts):
                continue
            chosen[pick.item] = pick
            clusters.add(cluster)
            used.update(parts)
            got[reason] += 1
            return True
        return False

    for reason in reasons:
        while got[reason] < wanted.get(reason, 0) and take(reason):
            pass
    shortfall = {reason: count - got[reason] for reason, count in wanted.items() if got[reason] < count}
    open_ = [reason for reason in reasons if reason != "random_audit"]
    while len(chosen) < size and open_:
        open_ = [reason for reason in open_ if len(chosen) < size and take(reason)]
    also = {(pick.item, reason) for reason, ranked in candidates.items() for pick in ranked[: wanted.get(reason, 0)]}
    queues = {reason: [pick for pick in chosen.values() if pick.reason == reason] for reason in reasons}
    ordered = [pick for turn in range(size) for queue in queues.values() for pick in queue[turn : turn + 1]]
    picks = []
    for rank, pick in enumerate(ordered):
        more = [reason for reason in reasons if reason != pick.reason and (pick.item, reason) in also]
        note = pick.note + (f"; also {', '.join(more)}" if more else "")
        picks.append(dataclasses.replace(pick, rank=rank, note=note))
    return Batch(name, schema, model, tuple(picks), shortfall)
