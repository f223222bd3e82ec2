"""What each reason has brought of each class, batch by batch, and an alarm when it brings less than it did."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from toughcall.mining.batch import AUDIT
from toughcall.mining.proportions import fell, wilson
from toughcall.records import Pick

AIMED = ("rare_class", "class_balanced", "known_neighbours", "seeds", "patterns")
"""Reasons that ask for one class, which their notes begin with."""
DOUBT = 0.05
FEWEST = 10
"""The newest batches are held against the earlier ones when they hold this many answers together."""


@dataclass(frozen=True, slots=True)
class Yield:
    """The answered picks of one reason that were to find one class, and how many of them were of it.

    `batches`: (name, picks, positives) of each batch, oldest first; only answered picks count.
    """

    label: str
    reason: str
    batches: tuple[tuple[str, int, int], ...]

    @property
    def picks(self) -> int:
        """How many were answered."""
        return sum(picks for _, picks, _ in self.batches)

    @property
    def positives(self) -> int:
        """How many of them were of the class."""
        return sum(positives for _, _, positives in self.batches)


def aim(pick: Pick, labels: Sequence[str]) -> str:
    """Return the class a pick was to find, "" where its reason is not after one."""
    if pick.reason not in AIMED:
        return ""
    starts = [label for label in labels if pick.note.startswith((f"{label}: ", f"P({label}) = "))]
    # of "a" and "a: b" the longer one is meant
    return max(starts, key=len, default="")


def yields(
    picks: Iterable[tuple[str, Pick]], answers: Mapping[str, Sequence[str]], labels: Sequence[str]
) -> list[Yield]:
    """Return what each reason brought of each class, in the order of the labels, then by reason.

    `picks`: (batch, pick), oldest batch first; `answers`: the labels of each answered item. A pick that was
    to find one class counts for that class alone: which class is asked for changes from batch to batch.
    """
    tally: dict[tuple[str, str], dict[str, tuple[int, int]]] = {}
    for batch, pick in picks:
        if pick.item not in answers:
            continue
        after = aim(pick, labels)
        for label in (after,) if after else labels:
            each = tally.setdefault((label, pick.reason), {})
            n, yes = each.get(batch, (0, 0))
            each[batch] = (n + 1, yes + (label in answers[pick.item]))
    place = {label: i for i, label in enumerate(labels)}
    return [
        Yield(label, reason, tuple((batch, n, yes) for batch, (n, yes) in each.items()))
        for (label, reason), each in sorted(tally.items(), key=lambda one: (place[one[0][0]], one[0][1]))
    ]


def halves(one: Yield) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return (picks, positives) of the earlier batches and of the newest ones, at least 10 picks of these."""
    now = [0, 0]
    left = list(one.batches)
    while left and now[0] < FEWEST:
        _, n, yes = left.pop()
        now = [now[0] + n, now[1] + yes]
    return (sum(n for _, n, _ in left), sum(yes for _, _, yes in left)), (now[0], now[1])


def alarms(found: Sequence[Yield], left: Mapping[str, tuple[float, float, float]] | None = None) -> dict[str, str]:
    """Return for each class whose yield fell a sentence with what to do: by reason where several fell.

    A fall is significant by Fisher's exact test, one-sided, p < 0.05 after Holm's correction (1979) for the
    reasons and classes looked at, so that many classes give no more false alarms than one. `left`: how many
    of a class nobody was asked about, (estimate, low, high). The audit is no reason: it finds what there is.
    """
    tried = []
    for one in found:
        (n_before, before), (n_now, now) = halves(one)
        if one.reason != AUDIT and n_before and before:
            tried.append((fell(before, n_before, now, n_now), one))
    tried.sort(key=lambda test: (test[0], test[1].label, test[1].reason))
    told: dict[str, str] = {}
    for place, (p, one) in enumerate(tried):
        if p >= DOUBT / (len(tried) - place):
            break
        (n_before, before), (n_now, now) = halves(one)
        fall = f"{one.reason} finds less of {one.label}: {now} of the last {n_now}, {before} of {n_before} before"
        sentence = f"{fall}; {_advice(one, found, (left or {}).get(one.label))}"
        told[one.label] = f"{told[one.label]}. {sentence}" if one.label in told else sentence
    return told


def _advice(one: Yield, found: Sequence[Yield], left: tuple[float, float, float] | None) -> str:
    # a class is exhausted when what may be left is less than a tenth of what was found
    have = sum(other.positives for other in found if other.label == one.label)
    if left is not None and left[2] < max(1.0, have / 10):
        return f"about {left[0]:.0f} ({left[1]:.0f}–{left[2]:.0f}) are left in the pool: import more records"
    there = "" if left is None else f"about {left[0]:.0f} ({left[1]:.0f}–{left[2]:.0f}) are left: "
    others = [
        (wilson(now[1], now[0])[0] or 0.0, other.reason)
        for other in found
        if other.label == one.label and other.reason not in (one.reason, AUDIT)
        for now in (halves(other)[1],)
    ]
    mine = halves(one)[1]
    best = max(others, default=(0.0, ""))
    if best[0] > mine[1] / max(1, mine[0]):
        return f"{there}ask by {best[1]} instead ({best[0]:.0%} of its last picks)"
    return f"{there}write other seed phrases or patterns for it, or let the next model choose"
