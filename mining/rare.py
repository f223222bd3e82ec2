"""Reasons to ask about an item that may be of a rare class: like known ones, like a phrase, matching a pattern.

Every class in need takes turns as in `strategies.rare_class`; every note begins with the class asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toughcall.mining.index import EXACT, build
from toughcall.mining.patterns import Matched, precisions
from toughcall.mining.ranking import first, turns
from toughcall.records import Floats, Pick, Scores, Vectors

FEWEST = 5
"""Below this many positives a class is looked for by its phrases or description."""
EXAMPLES = 8
"""So many known positives of a class, drawn anew each time, are looked around at most."""
TOWARDS, AWAY = 0.9, 0.5
"""How far a known positive is drawn to the mean of its class, and away from the mean of the others."""
Near = dict[str, tuple[float, int]]
"""For an item its greatest cosine to a query, and to which."""


def weights_of(labels: Sequence[str], counts: Mapping[str, int], null: str = "") -> dict[str, float]:
    """Return how often each class is asked for: in proportion to 1 / (1 + its labels), the null label never."""
    return {label: 1.0 / (1.0 + counts.get(label, 0)) for label in labels if label != null}


def centres(ids: Sequence[str], vectors: Vectors, records: Mapping[str, Sequence[str]] | None) -> Floats:
    """Return a unit vector for each item, the mean of its views', shape (n, d); KeyError names a missing one."""
    views = [(records or {}).get(one, (one,)) for one in ids]
    if not views:
        return np.zeros((0, vectors.array.shape[1]), np.float32)
    rows = np.fromiter((vectors.where[view] for some in views for view in some), dtype=np.intp)
    sizes = np.fromiter((len(some) for some in views), dtype=np.intp, count=len(views))
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    array = vectors.array[rows]
    if len(rows) > len(views):
        array = np.add.reduceat(array, starts, axis=0)
        array = _unit(array)
    return np.asarray(array, np.float32)


def _unit(array: Floats) -> Floats:
    return np.asarray(array / np.maximum(np.linalg.norm(array, axis=1, keepdims=True), 1e-12), np.float32)


@dataclass
class Nearest:
    """The open items nearest to some queries of each class; exact at any size, one block of `EXACT` at a time."""

    ids: Sequence[str]
    vectors: Vectors
    records: Mapping[str, Sequence[str]] | None
    queries: Mapping[str, Floats]
    """Unit vectors, shape (m, d) each."""
    known: dict[str, tuple[int, Near]] = field(default_factory=dict)
    """For a class how many were looked for, and what was found."""

    def around(self, label: str, k: int) -> list[tuple[str, float, int]]:
        """Return (item, its greatest cosine to a query of the class, which query), the k nearest first."""
        if k > self.known.get(label, (0, {}))[0]:
            self.look({label: k})
        found = self.known[label][1]
        first = sorted(found, key=lambda one: (-round(found[one][0], 6), one))[:k]
        return [(one, *found[one]) for one in first]

    def look(self, wanted: Mapping[str, int]) -> None:
        """Find the k nearest of each wanted class in one pass over the items."""
        found: dict[str, Near] = {label: {} for label in wanted}
        if not wanted:
            return
        # all queries at once: FAISS multiplies matrices only from twenty on
        k, owner = max(wanted.values()), [label for label in wanted for _ in self.queries[label]]
        queries = np.concatenate([self.queries[label] for label in wanted])
        number = [place for label in wanted for place in range(len(self.queries[label]))]
        for start in range(0, len(self.ids), EXACT):
            some = tuple(self.ids[start : start + EXACT])
            index = build(Vectors(some, centres(some, self.vectors, self.records), self.vectors.encoder))
            for label, query, near, values in zip(owner, number, *index.search(queries, k), strict=True):
                best = found[label]
                for one, cosine in zip(near, values.tolist(), strict=True):
                    if one not in best or round(cosine, 6) > round(best[one][0], 6):
                        best[one] = (cosine, query)
        self.known.update({label: (k, found[label]) for label in wanted})


def _so_far(count: int) -> str:
    return f"{count} label{'s' * (count != 1)} so far" if count else "no label yet"


def known_neighbours(
    scores: Scores,
    n: int,
    *,
    rng: np.random.Generator,
    vectors: Vectors | None = None,
    records: Mapping[str, Sequence[str]] | None = None,
    answers: Mapping[str, Sequence[str]] | None = None,
    counts: Mapping[str, int] | None = None,
    null: str = "",
    **_: Any,
) -> list[Pick]:
    """Return the items nearest (cosine) to known positives of the rarest classes; [] without a positive.

    Each positive is drawn to the mean of its class and away from the mean of what is known not to be in it
    (Rocchio's relevance feedback, 1971): 0.1 p + 0.9 mean(class) - 0.5 mean(others). Beside the plain
    nearest neighbours that finds two to four times as many. `answers`: the labels of each answered item of
    the training part (a held-out one would leak); `counts`: labels per class, else counted from them.
    """
    if vectors is None or not answers or not scores.ids:
        return []
    views = records or {}
    usable = [one for one in sorted(answers) if all(view in vectors.where for view in views.get(one, (one,)))]
    array = centres(usable, vectors, records)
    # a class that nobody has found has no place to look around
    known = {label: np.array([label in answers[one] for one in usable], dtype=bool) for label in scores.labels}
    tally = {label: int(is_.sum()) for label, is_ in known.items()} if counts is None else counts
    weights = {label: one for label, one in weights_of(scores.labels, tally, null).items() if known[label].any()}
    # drawn for every class, so that what one class asks does not move another's draw
    examples = {label: array[np.sort(rng.permutation(np.flatnonzero(known[label]))[:EXAMPLES])] for label in weights}

    def query(label: str) -> Floats:
        yes, no = array[known[label]], array[~known[label]]
        away = AWAY * no.mean(axis=0) if len(no) else 0.0
        return _unit((1 - TOWARDS) * examples[label] + TOWARDS * yes.mean(axis=0) - away)

    pool = Nearest(scores.ids, vectors, records, {label: query(label) for label in weights})
    pool.look({label: min(len(scores.ids), first(weights, label, n)) for label in weights if n})

    def found(label: str, k: int) -> list[Pick]:
        yes, no = int(known[label].sum()), int((~known[label]).sum())
        said = f"{label}: alike {yes} known one{'s' * (yes != 1)}, unlike {no} other{'s' * (no != 1)}, cosine"
        return [
            Pick(one, "known_neighbours", cosine, 0, 1.0, f"{said} {cosine:.2f}")
            for one, cosine, _ in pool.around(label, k)
        ]

    return turns(weights, found, n, len(scores.ids))


def seeds(
    scores: Scores,
    n: int,
    *,
    rng: np.random.Generator,
    vectors: Vectors | None = None,
    records: Mapping[str, Sequence[str]] | None = None,
    seed_vectors: Mapping[str, Floats] | None = None,
    described: Collection[str] = (),
    counts: Mapping[str, int] | None = None,
    null: str = "",
    **_: Any,
) -> list[Pick]:
    """Return the items nearest to what is said of classes with fewer than 5 positives; [] when there is none (C28).

    `seed_vectors`: for a class the unit vectors of its seed phrases, shape (m, d); for the classes in
    `described` those of its description instead. An item's merit is its greatest cosine to one of them.
    """
    if vectors is None or not seed_vectors or not scores.ids:
        return []
    tally = counts or {}
    wanted = {
        label: weight
        for label, weight in weights_of(scores.labels, tally, null).items()
        if tally.get(label, 0) < FEWEST and len(seed_vectors.get(label, ()))
    }
    phrases = {label: _unit(np.asarray(seed_vectors[label], np.float32)) for label in wanted}
    pool = Nearest(scores.ids, vectors, records, phrases)
    pool.look({label: min(len(scores.ids), first(wanted, label, n)) for label in wanted if n})

    def found(label: str, k: int) -> list[Pick]:
        picks = []
        for one, cosine, phrase in pool.around(label, k):
            source = "its description" if label in described else f"seed phrase {phrase + 1} of {len(phrases[label])}"
            note = f"{label}: {_so_far(tally.get(label, 0))}, the guess is from {source}, cosine {cosine:.2f}"
            picks.append(Pick(one, "seeds", cosine, 0, 1.0, note))
        return picks

    return turns(wanted, found, n, len(scores.ids))


def patterns(
    scores: Scores,
    n: int,
    *,
    rng: np.random.Generator,
    matched: Matched | None = None,
    answers: Mapping[str, Sequence[str]] | None = None,
    audited: Mapping[str, Sequence[str]] | None = None,
    counts: Mapping[str, int] | None = None,
    null: str = "",
    **_: Any,
) -> list[Pick]:
    """Return items that match a pattern of a class, classes with few labels first; [] without patterns.

    `matched`: what `patterns.matches` found, among answered items too; `answers` and `audited` as in
    `patterns.precisions`, which says what became of a pattern that is dropped. Within a class the pattern
    with the best precision so far comes first ((confirmed + 1) / (answered + 2)), then the greater P(class).
    """
    if not matched:
        return []
    good = [
        one for one in precisions(matched, answers or {}, audited) if not one.dropped and one.label in scores.labels
    ]
    rows: dict[str, int] = {}
    wanted = {item for one in good for item in matched[one.label][one.pattern]}
    for row, item in enumerate(scores.ids if wanted else ()):
        if item in wanted:
            rows[item] = row

    def found(label: str, k: int) -> list[Pick]:
        column: NDArray[np.float32] = scores.values[:, scores.labels.index(label)]
        picks: dict[str, tuple[float, float, Pick]] = {}
        for one in good:
            if one.label != label:
                continue
            merit = (one.confirmed + 1) / (one.answered + 2)
            note = f"{label}: matches {one.pattern!r}, {one.sentence}"
            for item in matched[label][one.pattern]:
                if item in rows and (item not in picks or merit > picks[item][0]):
                    p = round(float(column[rows[item]]), 6)
                    picks[item] = (merit, p, Pick(item, "patterns", merit, 0, 1.0, note))
        ranked = sorted(picks.values(), key=lambda found: (-round(found[0], 6), -found[1], found[2].item))
        return [pick for _, _, pick in ranked[:k]]

    hopeful = {one.label for one in good}
    weights = {label: w for label, w in weights_of(scores.labels, counts or {}, null).items() if label in hopeful}
    return turns(weights, found, n, len(scores.ids))
