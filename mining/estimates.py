"""How many members a pool has and how good its model is: figures with honest intervals from the audits.

Mined items are chosen for being odd and say nothing of the rest; they are a census of themselves. What was
not asked is known from the audit alone: a uniform draw, or one within strata, from what was left at its time.

How a count T of members is estimated (of a fixed set of items, some of them asked): before round t, K_t
members were known and N_t items were left; of n_t audited ones a_t are members, and E[a_t / n_t | past] =
(T - K_t) / N_t whatever was mined. So each K_t + N_t · a_t / n_t is unbiased, their errors are uncorrelated
(martingale differences: the argument of Farquhar, Gal and Rainforth, ICLR 2021, §3), and a mean with weights
that do not look at answers is unbiased. The likelihood of T is the product of the rounds' hypergeometric
terms; with Jeffreys' prior on what is left it gives the interval, equal tails, cut to what the answers leave
possible (Brown, Cai and DasGupta 2001, §4.3, for why Jeffreys: Wald covers too little, the exact one too much).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from toughcall.records import Bools, UsageError

Doubles = NDArray[np.float64]
TAILS = (0.025, 0.975)
JEFFREYS = 0.5
MOST_COUNTS = 4000
LATTICE = 100
"""Quantiles of each of two counts: their 10,000 pairs give the interval of a ratio. Of 100 the third is at 2.5 %."""
MACRO_LEAST = 10
"""A mean over classes needs ten audited answers a class: with fewer its interval covered too little."""
MOST_STRATA = 64


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval; `n` audited answers speak of it.

    `value` is None where nothing was audited, or where the figure does not exist (the precision of a class
    that is never predicted): the interval then says what the answers leave possible.
    """

    value: float | None
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Answers:
    """What is known of a pool: `truth[i, j]` says whether item i is in class j, wherever `known[i, j]`.

    Both have shape (N, k). An answer may cover part of the classes; skipped is not known, never False.
    """

    ids: tuple[str, ...]
    labels: tuple[str, ...]
    truth: Bools
    known: Bools

    def __post_init__(self) -> None:
        shape = (len(self.ids), len(self.labels))
        if self.truth.shape != shape or self.known.shape != shape:
            raise ValueError(f"truth {self.truth.shape} and known {self.known.shape}: ids and labels say {shape}")
        if len(set(self.ids)) < len(self.ids):
            raise ValueError("an id stands twice in the pool: each item counts once")


@dataclass(frozen=True, slots=True)
class Audit:
    """One round's audit, as columns over the rows of the pool, each of shape (N,).

    `left`: what could be drawn, nobody having been asked about it; `drawn`: what was. `said`, shape (N, k): what
    the model that asked predicts (precision and recall need it). `strata`: a number per row where the draw was
    uniform within strata; None where it was uniform over all that was left.
    """

    left: Bools
    drawn: Bools
    said: Bools | None = None
    strata: NDArray[np.intp] | None = None


@dataclass(frozen=True, slots=True)
class Quality:
    """Precision, recall and F1 by class; `macro`: their plain means over the classes that have a value.

    `macro` is empty below ten audited answers a class (its interval then covers too little); `left_out` names, by
    figure, the classes that no audited answer speaks of and that the mean is therefore not about.
    """

    precision: Mapping[str, Estimate]
    recall: Mapping[str, Estimate]
    f1: Mapping[str, Estimate]
    macro: Mapping[str, Estimate] = field(default_factory=dict)
    left_out: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Draw:
    """Of `size` items left beside `found` known members, `asked` were answered: as much as `hits` of `n` say."""

    size: float
    found: float
    asked: int
    n: float
    hits: float


@dataclass(frozen=True, slots=True)
class _Count:
    """A number of members: its estimate (NaN: none) and interval, what it may be, with weights (sum 1), the answers."""

    value: float
    low: float
    high: float
    counts: Doubles
    weights: Doubles
    n: int
    hits: int

    def told(self, less: float = 0, whole: float = 1) -> Estimate:
        """Return (count - less) / whole."""
        return _told((self.value - less) / whole, (self.low - less) / whole, (self.high - less) / whole, self.n)

    def at(self, shares: Doubles) -> Doubles:
        """Return the least number at which each share of the weight is reached."""
        return _reached(self.counts, self.weights, shares)


def _reached(counts: Doubles, weights: Doubles, shares: Doubles) -> Doubles:
    place = np.searchsorted(np.cumsum(weights), shares - 1e-9)
    return np.asarray(counts[np.minimum(place, len(counts) - 1)])


def _grid(low: int, high: int) -> tuple[Doubles, Doubles]:
    """Return the whole numbers from low to high and a weight each; of a long range some, densest at both ends."""
    if high - low <= MOST_COUNTS:
        counts = np.arange(low, high + 1, dtype=np.float64)
    else:
        turn = np.sin(np.linspace(0, np.pi / 2, MOST_COUNTS)) ** 2
        counts = np.unique(np.round(low + (high - low) * turn))
    edges = np.concatenate([[low - 0.5], (counts[1:] + counts[:-1]) / 2, [high + 0.5]])
    return counts, np.diff(edges)


def _ways(among: Doubles | float, taken: float) -> Doubles:
    """Return log(among! / (among - taken)!), of any real numbers; log(among!) where there are too few."""
    from scipy.special import gammaln

    return np.asarray(gammaln(among + 1) - gammaln(np.maximum(among - taken, 0) + 1))


def _posterior(draws: Sequence[_Draw], low: int, high: int) -> tuple[Doubles, Doubles]:
    """Return the possible counts from low to high and how likely each is after the draws, summing to 1."""
    counts, width = _grid(low, high)
    more, less = counts - low, high - counts
    # Jeffreys' prior on the share of members among what nobody answered, as counts: the beta-binomial's
    # gamma(count + 1/2) / gamma(count + 1), for members and others
    weight = _ways(more + JEFFREYS - 1, JEFFREYS - 1) + _ways(less + JEFFREYS - 1, JEFFREYS - 1)
    for draw in draws:
        inside = counts - draw.found
        weight = weight + _ways(inside, draw.hits) + _ways(draw.size - inside, draw.n - draw.hits)
    found = np.exp(weight - weight.max()) * width
    return counts, np.asarray(found / found.sum())


def _ends(draws: Sequence[_Draw], counts: Doubles, weights: Doubles, hits: int, missed: int) -> tuple[float, float]:
    """Return the interval of a count: equal tails, but for none or one on a side, where they cover too little.

    There the lower end is the least possible; for none the upper end is the greatest count with which a chance
    of 2.5 % of finding none is left (the modified Jeffreys interval of Brown, Cai and DasGupta 2001, §4.1.2).
    """
    low, high = _reached(counts, weights, np.array(TAILS))
    low, high = counts[0] if hits <= 1 else low, counts[-1] if missed <= 1 else high
    # the logarithm of the chance of finding none, or only members, is 0 or less
    if not hits:
        none = sum(_ways(draw.size - counts + draw.found, draw.n) - _ways(draw.size, draw.n) for draw in draws)
        high = counts[none >= np.log(TAILS[0])].max(initial=high)
    if not missed:
        only = sum(_ways(counts - draw.found, draw.n) - _ways(draw.size, draw.n) for draw in draws)
        low = counts[only >= np.log(TAILS[0])].min(initial=low)
    return float(low), float(high)


def _merged(sizes: Doubles, n: Doubles, hits: Doubles) -> tuple[float, float]:
    """Return the (n, hits) of the uniform draw that would say as much as draws of n from strata of these sizes.

    The share is the strata's, weighted by size; n is the effective one, p(1 - p) over the share's variance
    (Korn and Graubard 1998; Franco et al. 2019, §2), with finite-population correction. Variances come from
    shares moved by half an answer to either side, so that a stratum without a hit is not thought settled.
    A stratum nobody drew from is given the share of the others and the variance of not knowing.
    """
    sizes, n, hits = sizes[sizes > 0], n[sizes > 0], hits[sizes > 0]
    if len(sizes) <= 1 or not n.sum():
        return float(n.sum()), float(hits.sum())
    part, total = sizes / sizes.sum(), sizes.sum()
    drawn = n > 0
    others = (part[drawn] * hits[drawn] / n[drawn]).sum() / part[drawn].sum()
    share = (part * np.where(drawn, hits / np.where(drawn, n, 1), others)).sum()
    moved = (hits + JEFFREYS) / (n + 2 * JEFFREYS)
    spread = (part**2 * moved * (1 - moved) * np.maximum(1 / np.maximum(n, 1) - 1 / sizes, 0)).sum()
    middle = (part * moved).sum()
    effective = 1 / (spread / (middle * (1 - middle)) + 1 / total)
    return float(effective), float(effective * share)


def _count(draws: Sequence[_Draw], low: int, high: int, hits: int) -> _Count:
    """Return a count from its draws, of which `hits` answers are members; only the numbers asked weigh the rounds."""
    if not draws:
        counts, width = _grid(low, high)
        return _Count(float(low) if low == high else np.nan, low, high, counts, width / width.sum(), 0, hits)
    sizes, asked = (np.array([(draw.size, draw.asked) for draw in draws], dtype=np.float64)).T
    each = np.array([draw.found + draw.size * draw.hits / draw.n for draw in draws])
    error = sizes * sizes * np.maximum(1 / asked - 1 / sizes, 1e-12)
    value, n = float(np.clip((each / error).sum() / (1 / error).sum(), low, high)), int(asked.sum())
    counts, weights = _posterior(draws, low, high)
    return _Count(value, *_ends(draws, counts, weights, hits, n - hits), counts, weights, n, hits)


def _check(answers: Answers, audits: Sequence[Audit], said: bool = False) -> None:
    """Raise UsageError for an answer that was not drawn from what was left, ValueError for arrays that do not fit."""
    rows, shape, before = len(answers.ids), answers.truth.shape, set[int]()
    for number, audit in enumerate(audits, start=1):
        if any(one is not None and one.shape != (rows,) for one in (audit.left, audit.drawn, audit.strata)):
            raise ValueError(f"audit {number} has other rows than the pool of {rows}")
        if audit.strata is not None and not ((audit.strata >= 0) & (audit.strata < MOST_STRATA)).all():
            raise ValueError(f"audit {number} has strata that are not 0 to {MOST_STRATA - 1}")
        drawn = set(np.flatnonzero(audit.drawn).tolist())
        if stray := drawn & before | set(np.flatnonzero(audit.drawn & ~audit.left).tolist()):
            raise UsageError(
                f"audit {number} holds {min(answers.ids[row] for row in stray)}, which was not left to be drawn: "
                "its answer measures nothing; run toughcall doctor"
            )
        before |= drawn
        if said and (audit.said is None or audit.said.shape != shape):
            raise ValueError(f"audit {number} needs what its model says of each row, shape {shape}")


def _tally(audit: Audit, rows: Bools) -> Doubles:
    """Return how many of some rows lie in each stratum."""
    if audit.strata is None:
        return np.array([rows.sum(), *[0] * (MOST_STRATA - 1)], dtype=np.float64)
    return np.bincount(audit.strata[rows], minlength=MOST_STRATA).astype(np.float64)


def _members(answers: Answers, audits: Sequence[Audit]) -> dict[str, tuple[_Count, int, int]]:
    """Return by class the count of members, the size of the pool it is counted in, and its known members.

    A row that was asked and not answered, before some audit, is out of the pool: nobody can say what it is.
    """
    _check(answers, audits)
    result = {}
    for label, known, truth in zip(answers.labels, answers.known.T, answers.truth.T, strict=True):
        inside = known | np.logical_and.reduce([audit.left for audit in audits] or [np.ones(len(known), np.bool_)])
        size, yes, no = (int(rows.sum()) for rows in (inside, known & truth, known & ~truth))
        draws, hits = [], 0
        for audit in audits:
            left, drawn = audit.left & inside, audit.drawn & known
            if drawn.any():
                n, share = _merged(*(_tally(audit, rows) for rows in (left, drawn, drawn & truth)))
                found = float((known & truth & ~left).sum())
                draws.append(_Draw(float(left.sum()), found, int(drawn.sum()), n, share))
                hits += int((drawn & truth).sum())
        result[label] = _count(draws, yes, size - no, hits), size, yes
    return result


def prevalence(answers: Answers, audits: Sequence[Audit]) -> dict[str, Estimate]:
    """Return the share of the pool that each class has, in [0, 1]: from all audits and all answers.

    Whether a model has seen an answer does not matter here. Without an audit the value is None, and the
    interval is what the answers leave possible.
    """
    return {label: count.told(whole=max(1, size)) for label, (count, size, _) in _members(answers, audits).items()}


def unasked(answers: Answers, audits: Sequence[Audit]) -> dict[str, Estimate]:
    """Return how many members of each class nobody has answered yet: the count less the known ones."""
    return {label: count.told(less=known) for label, (count, _, known) in _members(answers, audits).items()}


def _cell(answers: Answers, audits: Sequence[Audit], column: int, called: bool) -> tuple[_Count, int]:
    """Return the count of members among the rows that are called so (or not), over all rounds, and the rows' number.

    Rounds are put together within a stratum: each answer weighs the rows it stands for, and n is Kish's.
    """
    known, truth = answers.known[:, column], answers.truth[:, column]
    sizes, weight, square, hit = (np.zeros(MOST_STRATA) for _ in range(4))
    yes = no = n = hits = 0
    for audit in audits:
        assert audit.said is not None
        cell, drawn = audit.left & (audit.said[:, column] == called), audit.drawn & known
        if not drawn.any():
            continue
        each = _tally(audit, audit.left) / np.maximum(_tally(audit, drawn), 1)
        asked, got = (_tally(audit, rows) for rows in (drawn & cell, drawn & cell & truth))
        sizes += _tally(audit, cell)
        weight, square, hit = weight + each * asked, square + each * each * asked, hit + each * got
        yes, no = yes + int((cell & known & truth).sum()), no + int((cell & known & ~truth).sum())
        n, hits = n + int(asked.sum()), hits + int(got.sum())
    kish = weight * weight / np.where(square > 0, square, 1)
    share = hit / np.where(weight > 0, weight, 1)
    effective, found = _merged(sizes, kish, kish * share)
    size = int(sizes.sum())
    draws = [_Draw(float(size), 0.0, n, effective, found)] if n else []
    return _count(draws, yes, size - no, hits), size


def quality(answers: Answers, audits: Sequence[Audit]) -> Quality:
    """Return precision, recall and F1 on what was left when the model asked: each in [0, 1], by class and the mean.

    Each audit's `said` must come from a model that had not seen that audit's answers, nor any later one; the
    measured rows are `left`, which it was not trained on. One audit measures that round's model; several
    measure the models of those rounds together, their called rows, members and hits added up (progressive
    validation: Blum, Kalai and Langford, COLT 1999). Members among the called and the not called are two
    counts, post-stratified on what is said of every row; the interval of a ratio is that of all pairs of their
    quantiles. The mean's is put together from the classes' (MOVER: Zou and Donner 2008, as if independent).
    """
    _check(answers, audits, said=True)
    found: dict[str, dict[str, Estimate]] = {"precision": {}, "recall": {}, "f1": {}}
    middles = (np.arange(LATTICE) + 0.5) / LATTICE
    for column, label in enumerate(answers.labels):
        hit, called = _cell(answers, audits, column, True)
        missed, _ = _cell(answers, audits, column, False)
        ranges = _ratios(np.repeat(hit.at(middles), LATTICE), np.tile(missed.at(middles), LATTICE), called)
        ends = {name: _middle(range_) for name, range_ in ranges.items()}
        spoken = {"precision": hit.n, "recall": hit.hits + missed.hits, "f1": hit.n + missed.hits}
        for name, values in _ratios(np.array([hit.value]), np.array([missed.value]), called).items():
            value = float(values[0]) if spoken[name] else np.nan
            found[name][label] = _told(value, *ends[name], spoken[name])
    answered = sum(int((audit.drawn & answers.known.any(axis=1)).sum()) for audit in audits)
    macro = {name: mean for name in found if (mean := _mean(list(found[name].values()), answered))}
    out = {name: tuple(label for label, one in by.items() if one.value is None) for name, by in found.items()}
    return Quality(found["precision"], found["recall"], found["f1"], macro, out)


def _mean(found: Sequence[Estimate], answered: int) -> Estimate | None:
    """Return the mean of the figures that have a value, None for too few audited answers in all."""
    there = [(one.value, one.low, one.high) for one in found if one.value is not None]
    if not there or answered < MACRO_LEAST * len(found):
        return None
    value, low, high = np.array(there).T
    mean = float(value.mean())
    under, over = (float(np.sqrt(((value - end) ** 2).sum())) / len(there) for end in (low, high))
    return Estimate(mean, max(0.0, mean - under), min(1.0, mean + over), answered)


def _ratios(hit: Doubles, missed: Doubles, called: int) -> dict[str, Doubles]:
    """Return precision, recall and F1 of counts, NaN where a denominator is 0."""

    def over(above: Doubles, below: Doubles) -> Doubles:
        return np.asarray(np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0))

    members, spoken = hit + missed, np.full_like(hit, called)
    return {"precision": over(hit, spoken), "recall": over(hit, members), "f1": over(2 * hit, spoken + members)}


def _told(value: float, low: float, high: float, n: int) -> Estimate:
    """Return a figure whose interval holds it; None for NaN."""
    told = None if np.isnan(value) else float(value)
    return Estimate(told, float(np.fmin(low, value)), float(np.fmax(high, value)), n)


def _middle(values: Doubles) -> tuple[float, float]:
    """Return the ends of the middle 95 % of the values that are numbers; 0 and 1 where none is."""
    values = values[~np.isnan(values)]
    low, high = np.quantile(values, TAILS) if len(values) else (0.0, 1.0)
    return float(low), float(high)
