"""How far several annotators agree on the same items, and on which they do not. Pure.

What an annotator said last about an item counts. Skips, "can't tell" and deleted answers are missing values,
never negatives. A figure that is not defined is None and says why; it is never 1 by convention.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from toughcall.records import Answer, Source, Value
from toughcall.schema import Schema, chosen_of, numbers_of

Level: TypeAlias = Literal["nominal", "interval"]
Codes: TypeAlias = NDArray[np.float64]
"""What was said, shape (annotators, items): a category's number or the number itself; NaN where nothing was said."""
Indices: TypeAlias = NDArray[np.intp]
Weights: TypeAlias = NDArray[np.float64]
"""How often each item is drawn, shape (resamples, items)."""

PEOPLE: tuple[Source, ...] = ("person",)
"""Whose answers are compared unless others are named: an imported label is what a person was asked to check."""
TOLERANCE = 0.2
"""Numbers that lie no further apart than this share of their dimension's range agree."""
MOST = 1e6
"""What the average annotator counts for, in answers, where annotators do not differ."""
_CHUNK = 4_000_000  # weights held at once: 32 MB
_TABLE = 20_000_000  # items times values squared: more than that and the library's table takes over 160 MB


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far annotators agree about one label or dimension, or ("" as `of`) about all labels together.

    `alpha`: Krippendorff's, nominal for labels, interval for numbers; 1 is perfect, 0 is chance. `kappa`: the mean of
    Cohen's over the pairs of annotators, weighted by the items they share. `low` and `high`: bootstrap interval
    over the items. `agreeing`: the share of pairs of answers to one item that are equal (numbers: within
    `TOLERANCE`). `items`: those with two answers or more; `positives`: how many of their answers chose the label.
    `why`: what is not defined and why not, "" when everything is.
    """

    of: str
    level: Level
    items: int
    annotators: int
    positives: int | None
    agreeing: float | None = None
    alpha: float | None = None
    alpha_low: float | None = None
    alpha_high: float | None = None
    kappa: float | None = None
    kappa_low: float | None = None
    kappa_high: float | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """An item about which annotators differ: who said what, by annotator.

    `torn`: the majority rule does not decide its labels (a tie). `apart`, in (0, 1]: the share of pairs of annotators
    whose labels differ, or the distance of the outermost numbers as a share of the range, whichever is more.
    """

    item: str
    said: tuple[tuple[str, Value], ...]
    torn: bool
    apart: float


def newest(answers: Iterable[Answer], schema: Schema, sources: Collection[Source] = PEOPLE) -> list[Answer]:
    """Return what each annotator said last about each item under this schema, skips included, by item and annotator.

    Of the events of one key the last in the sequence counts; of an annotator's keys the one with the latest `at`, of
    equal times the later in the sequence. A deleted answer leaves what else the annotator said about the item.
    """
    events = {answer.key: (answer.at, place, answer) for place, answer in enumerate(answers)}
    live = sorted(events.values(), key=lambda event: event[:2])
    last = {
        (a.item, a.annotator): a
        for _, _, a in live
        if a.schema == schema.version and a.source in sources and a.outcome != "deleted"
    }
    return [last[key] for key in sorted(last)]


def compared(answers: Iterable[Answer]) -> dict[str, dict[str, Value]]:
    """Return item → annotator → value for the items that two annotators or more gave a label or number."""
    said: dict[str, dict[str, Value]] = {}
    for answer in answers:
        if answer.outcome == "label":
            said.setdefault(answer.item, {})[answer.annotator] = answer.value
    return {item: by for item, by in said.items() if len(by) > 1}


def labels_of(value: Value) -> tuple[str, ...]:
    """Return the labels of an answer in one order, so that equal sets are equal."""
    return tuple(sorted(chosen_of(value)))


def same(a: Value, b: Value, schema: Schema, tolerance: float = TOLERANCE) -> bool:
    """Return whether two answers say the same: equal labels, and what both give as numbers within `tolerance`."""
    x, y = numbers_of(a), numbers_of(b)
    near = (
        abs(x[d.name] - y[d.name]) <= tolerance * (d.high - d.low) + 1e-12
        for d in schema.dimensions
        if d.name in x and d.name in y
    )
    return labels_of(a) == labels_of(b) and all(near)


def agreement(
    answers: Iterable[Answer],
    schema: Schema,
    *,
    seed: int,
    resamples: int = 1000,
    confidence: float = 0.95,
    sources: Collection[Source] = PEOPLE,
) -> list[Agreement]:
    """Return how far annotators agree: about all labels together, each label, and each dimension.

    All labels together are compared as one value, the set that was chosen; one label as chosen or not. The interval is
    the percentile bootstrap over items (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, §13.3); resamples
    in which the figure is not defined are left out, and where they are more than half there is none. Where no pair
    disagrees the bootstrap has no width: its lower end then is what the greatest share of disagreeing items
    compatible with none seen among n (Clopper and Pearson 1934) would leave.
    """
    said = compared(newest(answers, schema, sources))
    names = sorted({name for by in said.values() for name in by})
    found: list[Agreement] = []

    def row(of: str, codes: Codes, level: Level, positives: int | None, near: float = 0.0) -> None:
        codes = codes[:, (~np.isnan(codes)).sum(axis=0) > 1]
        found.append(_row(of, codes, level, positives, near, seed, resamples, confidence))

    if schema.labels:
        sets = {item: {who: labels_of(value) for who, value in by.items()} for item, by in said.items()}
        number = {one: n for n, one in enumerate(sorted({one for by in sets.values() for one in by.values()}))}
        row("", _coded({i: {w: number[s] for w, s in by.items()} for i, by in sets.items()}, names), "nominal", None)
        for label in schema.labels:
            chosen = {item: {who: float(label in one) for who, one in by.items()} for item, by in sets.items()}
            row(label, _coded(chosen, names), "nominal", int(sum(sum(by.values()) for by in chosen.values())))
    for dimension in schema.dimensions:
        given = {item: {who: numbers_of(value) for who, value in by.items()} for item, by in said.items()}
        one = {i: {w: n[dimension.name] for w, n in by.items() if dimension.name in n} for i, by in given.items()}
        near = TOLERANCE * (dimension.high - dimension.low)
        row(dimension.name, _coded(one, names), "interval", None, near)
    return found


def _coded(said: dict[str, dict[str, float]], names: Sequence[str]) -> Codes:
    codes = np.full((len(names), len(said)), np.nan)
    place = {name: row for row, name in enumerate(names)}
    for column, by in enumerate(said.values()):
        for who, code in by.items():
            codes[place[who], column] = code
    return codes


def _row(
    of: str,
    codes: Codes,
    level: Level,
    positives: int | None,
    near: float,
    seed: int,
    resamples: int,
    confidence: float,
) -> Agreement:
    items, annotators = codes.shape[1], int((~np.isnan(codes)).any(axis=1).sum())
    seen = Agreement(of, level, items, annotators, positives, _agreeing(codes, near))
    if not items:
        return replace(seen, why="no item has answers of two annotators: ask two about some items")
    if len(np.unique(codes[~np.isnan(codes)])) < 2:
        same = "every answer is the same"
        if positives is not None:
            same = f"{'everybody' if positives else 'nobody'} chose it"
        why = f"{same} on the {items} items that two annotators answered, so agreement cannot be told from chance"
        return replace(seen, why=why)
    alpha = reference_alpha(codes, level)
    drawn = [alphas(codes, level, weights) for weights in resampled(items, seed, resamples)]
    alpha_low, alpha_high = _interval(drawn, confidence)
    if alpha >= 1.0 - 1e-12:
        alpha_low = _unseen(codes, level, confidence)
    seen = replace(seen, alpha=alpha, alpha_low=alpha_low, alpha_high=alpha_high)
    if level == "interval":
        return replace(seen, why="Cohen's kappa compares labels, not numbers")
    kappa = float(kappas(codes, np.ones((1, items)))[0])
    if np.isnan(kappa):
        return replace(seen, why="no pair of annotators used two values on the items they share: no Cohen's kappa")
    kappa_low, kappa_high = _interval(
        [kappas(codes, weights) for weights in resampled(items, seed, resamples)], confidence
    )
    if alpha >= 1.0 - 1e-12:
        kappa_low = alpha_low
    return replace(seen, kappa=kappa, kappa_low=kappa_low, kappa_high=kappa_high)


def _agreeing(codes: Codes, near: float) -> float | None:
    gaps = np.concatenate([np.abs(a - b) for a, b in combinations(codes, 2)] or [np.empty(0)])
    gaps = gaps[~np.isnan(gaps)]
    return float((gaps <= near + 1e-12).mean()) if len(gaps) else None


def _interval(drawn: Sequence[NDArray[np.float64]], confidence: float) -> tuple[float | None, float | None]:
    every = np.concatenate(drawn) if drawn else np.empty(0)
    told = every[np.isfinite(every)]
    if not len(told) or len(told) * 2 < len(every):
        return None, None
    low, high = np.quantile(told, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _unseen(codes: Codes, level: Level, confidence: float) -> float:
    """Return the alpha that is left when the most disagreement nobody saw is there all the same; -1 at least."""
    share = 1.0 - float(((1 - confidence) / 2) ** (1 / codes.shape[1]))
    if level == "interval":
        return 1.0 - share  # an item about which they differ, differs as two answers drawn by chance
    counts = np.unique(codes[~np.isnan(codes)], return_counts=True)[1]
    n = counts.sum()
    return float(max(-1.0, 1.0 - share * n * (n - 1) / (n * n - (counts**2).sum())))


def resampled(items: int, seed: int, resamples: int) -> Iterator[Weights]:
    """Yield bootstrap weights over items, `resamples` rows in all, in pieces that fit into memory."""
    rng = np.random.default_rng(seed)
    most = max(1, _CHUNK // items)
    for start in range(0, resamples, most):
        size = min(most, resamples - start)
        yield rng.multinomial(items, np.full(items, 1.0 / items), size=size).astype(np.float64)


def reference_alpha(codes: Codes, level: Level) -> float:
    """Return Krippendorff's alpha as the library of that name computes it; NaN with fewer than two values.

    Its table is items × values × values; for numbers with very many values the sums of `alphas` are used, which
    give the same.
    """
    values = np.unique(codes[~np.isnan(codes)])
    if len(values) < 2:
        return float("nan")
    if codes.shape[1] * len(values) ** 2 > _TABLE:
        return float(alphas(codes, level, np.ones((1, codes.shape[1])))[0])
    import krippendorff

    return float(krippendorff.alpha(reliability_data=codes, level_of_measurement=level))


def alphas(codes: Codes, level: Level, weights: Weights) -> NDArray[np.float64]:
    """Return Krippendorff's alpha of each resample, shape (resamples,); NaN where all answers are the same.

    Alpha is 1 - D_o / D_e from coincidences, which are sums over the items (Krippendorff, Computing Krippendorff's
    Alpha-Reliability, 2011, parts C and D; Content Analysis, 2nd ed., 2004, chapter 11), so that a resample of items
    is a weighting of what each of them adds: its disagreement, and its share of the values that chance would mix.
    """
    said = ~np.isnan(codes)
    m = said.sum(axis=0)
    pairable = m > 1
    said, m, weights = said[:, pairable], m[pairable], weights[:, pairable]
    held = codes[:, pairable]
    n = weights @ m
    if level == "interval":
        x = np.where(said, held - np.nanmean(codes), 0.0)  # centred: squares of large numbers would cancel
        first, second = x.sum(axis=0), (x * x).sum(axis=0)
        apart = 2 * (m * second - first**2) / (m - 1)
        total, squares = weights @ first, weights @ second
        chance = 2 * (n * squares - total**2)
        tiny = 1e-12 * n * squares
    else:
        counts = np.stack([(held == value).sum(axis=0) for value in np.unique(held[said])], axis=1)
        apart = (m**2 - (counts**2).sum(axis=1)) / (m - 1)
        chance = n**2 - ((weights @ counts) ** 2).sum(axis=1)
        tiny = np.zeros(len(n))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(chance > tiny, 1.0 - (n - 1) * (weights @ apart) / chance, np.nan)


def kappas(codes: Codes, weights: Weights) -> NDArray[np.float64]:
    """Return, per resample, the mean of Cohen's kappa over pairs of annotators, weighted by the items they share.

    Kappa is (p_o - p_e) / (1 - p_e) (Cohen, A Coefficient of Agreement for Nominal Scales, 1960, page 40). A pair
    that gave one and the same value throughout has none and is left out; NaN where that is every pair.
    """
    total, shared = np.zeros(len(weights)), np.zeros(len(weights))
    values = np.unique(codes[~np.isnan(codes)])
    for a, b in combinations(codes, 2):
        both = ~np.isnan(a) & ~np.isnan(b)
        w = weights[:, both]
        n = w.sum(axis=1)
        here, there = (np.equal.outer(one[both], values).astype(np.float64) for one in (a, b))
        with np.errstate(divide="ignore", invalid="ignore"):
            same = w @ (a[both] == b[both]) / n
            chance = ((w @ here) * (w @ there)).sum(axis=1) / n**2
            kappa = (same - chance) / (1.0 - chance)
        told = (n > 0) & (chance < 1.0 - 1e-12)
        total[told] += (n * kappa)[told]
        shared[told] += n[told]
    return np.where(shared > 0, total / np.maximum(shared, 1.0), np.nan)


def strength(i: Indices, a: Indices, c: Indices, fixed: Indices) -> float:
    """Return how many answers the average annotator counts for in each one's errors: few where annotators differ.

    Answer j, by annotator a[j] to item i[j], is label c[j]; fixed[i] is what is known to be right, else -1. Told
    from how often each agrees with the others (or with what is known), by moments: the variance between annotators
    beyond what their numbers of answers explain (DerSimonian and Laird, Meta-Analysis in Clinical Trials, 1986,
    section 2), as that of a beta distribution. Where nothing shows that they differ it is `MOST`.
    """
    k = int(c.max(initial=0)) + 1
    table = np.zeros((len(fixed), k))
    np.add.at(table, (i, c), 1.0)
    others, equal = table.sum(axis=1)[i] - 1, table[i, c] - 1
    known = fixed[i] >= 0
    others, equal = np.where(known, 1, others), np.where(known, c == fixed[i], equal)
    told = others > 0
    answers = np.bincount(a[told])
    hits = np.bincount(a[told], weights=(equal[told] / others[told]))[answers > 0]
    answers = answers[answers > 0].astype(np.float64)
    share = hits.sum() / answers.sum() if len(answers) else 0.0
    if len(answers) < 2 or not 0.0 < share < 1.0:
        return MOST
    chance = share * (1 - share)
    beyond = (answers * (hits / answers - share) ** 2).sum() / chance - (len(answers) - 1)
    between = beyond / (answers.sum() - (answers**2).sum() / answers.sum())
    return float(min(MOST, max(1.0, 1.0 / between - 1.0))) if between > 0 else MOST


def disagreements(
    answers: Iterable[Answer],
    schema: Schema,
    *,
    tolerance: float = TOLERANCE,
    sources: Collection[Source] = PEOPLE,
) -> list[Disagreement]:
    """Return the items on which annotators differ, ties first, then those furthest apart, then by id.

    The majority rule is the ledger's: an item's labels are the answer that more annotators gave than any other.
    Numbers differ when the outermost are further apart than `tolerance`, a share of the dimension's range.
    """
    found: list[Disagreement] = []
    for item, by in compared(newest(answers, schema, sources)).items():
        sets = [labels_of(value) for value in by.values()]
        votes = [count for _, count in Counter(sets).most_common(2)]
        pairs = list(combinations(sets, 2))
        apart = [sum(a != b for a, b in pairs) / len(pairs)]
        for dimension in schema.dimensions:
            numbers = [n[dimension.name] for n in map(numbers_of, by.values()) if dimension.name in n]
            gap = (max(numbers) - min(numbers)) / ((dimension.high - dimension.low) or 1.0) if numbers else 0.0
            apart.append(gap if gap > tolerance + 1e-12 else 0.0)
        if max(apart) > 0:
            torn = len(votes) > 1 and votes[0] == votes[1]
            found.append(Disagreement(item, tuple(sorted(by.items())), torn, max(apart)))
    return sorted(found, key=lambda one: (not one.torn, -one.apart, one.item))


def majority(votes: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the label that more gave than any other, (n,); -1 for a tie."""
    ties = (votes == votes.max(axis=1, keepdims=True)).sum(axis=1) > 1
    return np.where(ties, -1, votes.argmax(axis=1))


def wilson(hits: int, n: int) -> tuple[float | None, float | None]:
    """Return the ends of the 95 % score interval (Wilson 1927) of a share, None without any."""
    from scipy.stats import binomtest

    if not n:
        return None, None
    found = binomtest(hits, n).proportion_ci(confidence_level=0.95, method="wilson")
    return float(found.low), float(found.high)
