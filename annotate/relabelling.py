"""Whom to believe, and whether one more answer to an item is worth more than a new label. Pure.

What annotators get wrong is estimated from the items they share (Dawid and Skene 1979) and from items whose answer is
known; what cannot be told from them is a stated guess, never "no errors".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from toughcall.annotate.agreement import PEOPLE, Indices, compared, majority, newest, same, strength, wilson
from toughcall.records import Answer, Source, UsageError, Value
from toughcall.schema import Schema, chosen_of

ERROR = 0.1
"""How often an annotator is taken to be wrong about a label before there is anything to tell it by."""
GUESS, EVEN = 10.0, 20.0
"""How many answers `ERROR` counts for, and how many, for each label, that errors are spread evenly."""
FEW, FAIR = 30, 100
"""Below `FEW` shared items an accuracy of 0.9 is known to ±0.11 or worse, from `FAIR` on to ±0.06 (95 %)."""

_TURNS = 500

Gold: TypeAlias = Iterable[tuple[Answer, Value]]
Chances: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Posterior:
    """What the answers say together: `P[i, t]` is the chance that label `labels[t]` is right for item `ids[i]`, (n, k).

    `of` is "" where one label excludes the others; otherwise the label that is a question of its own, and `labels` are
    ("", label): not chosen, chosen. `errors`: per annotator the chance (k, k) that truth t (row) is answered as a
    (column); `average` the same of the average annotator. `basis`: per annotator the number of items behind it that
    somebody else answered too or whose answer is known; at 0 the errors are the average's. `votes` (n, k): how many
    gave each label.
    """

    of: str
    ids: tuple[str, ...]
    labels: tuple[str, ...]
    P: Chances
    errors: Mapping[str, Chances]
    average: Chances
    basis: Mapping[str, int]
    votes: Chances

    @property
    def prior(self) -> Chances:
        """How frequent each label is among the items, shape (k,)."""
        return np.asarray(self.P.mean(axis=0), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Annotator:
    """What is known of one annotator: work, agreement, accuracy.

    `seconds`: the median per answer. `agreement`: the mean, over the `shared` items, of the share of the others who
    said the same (all labels, all numbers within `TOLERANCE`). `accuracy`: the chance that an answer about a
    label is right, by Dawid and Skene; `basis` says in words what it rests on. `weakest`: the label with the lowest
    mean of sensitivity and specificity (`weakest_accuracy`), "" when unknown. `hits` of `checks`: answers to gold
    checks that were right, `low` to `high` the Wilson interval of their share (95 %).
    """

    name: str
    answers: int
    skips: int
    cant_tell: int
    seconds: float | None
    shared: int
    agreement: float | None
    accuracy: float | None
    basis: str
    weakest: str
    weakest_accuracy: float | None
    hits: int
    checks: int
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Worth:
    """What one more answer is worth, item by item, in units of new labels.

    `error`: the estimated share of wrong labels. `new`: what a new label is worth in clean ones. `gain[i]`: what one
    more answer to item `ids[i]` is worth, in new labels, (n,); `again[i]`: whether that is more than `edge` of them.
    """

    ids: tuple[str, ...]
    error: float
    new: float
    gain: Chances
    again: NDArray[np.bool_]
    sentence: str

    @property
    def ranked(self) -> list[tuple[str, float]]:
        """The items worth asking again, best first, each with what an answer is worth in new labels."""
        rows = sorted(np.flatnonzero(self.again), key=lambda row: (-self.gain[row], self.ids[row]))
        return [(self.ids[row], float(self.gain[row])) for row in rows]


def posteriors(
    answers: Iterable[Answer],
    schema: Schema,
    *,
    gold: Gold = (),
    error: float = ERROR,
    sources: Collection[Source] = PEOPLE,
) -> tuple[Posterior, ...]:
    """Return what the answers say together: one posterior if a label excludes the others, else one for each label.

    Dawid and Skene, Maximum Likelihood Estimation of Observer Error-Rates Using the EM Algorithm, 1979, section 3, with
    a prior, since few items are shared: confusions are drawn towards the average annotator's (`strength`), those
    towards errors spread evenly (`stated`, `EVEN`), as many as the answers show (`error` at first, `GUESS`). Annotators
    without shared items or gold checks take no part: they are average ones. One annotator alone is believed but for
    `error`. `gold`: answers to checks, and what is right; they count as answers to items that are known. Without
    labels: ().
    """
    known = [(answer, value) for answer, value in gold if answer.outcome == "label"]
    truth = {answer.item: value for answer, value in known}
    given = {(a.item, a.annotator): a.value for a, _ in known}
    given |= {(a.item, a.annotator): a.value for a in newest(answers, schema, sources) if a.outcome == "label"}
    if schema.single:
        questions = [("", schema.labels)] if schema.labels else []
    else:
        questions = [(label, ("", label)) for label in schema.labels]
    found = []
    for of, labels in questions:

        def code(value: Value, of: str = of, labels: tuple[str, ...] = labels) -> int:
            return labels.index(chosen_of(value)[0]) if not of else int(of in chosen_of(value))

        coded = {key: code(given[key]) for key in sorted(given)}
        found.append(_posterior(of, labels, coded, {item: code(value) for item, value in truth.items()}, error))
    return tuple(found)


def _posterior(
    of: str, labels: tuple[str, ...], said: Mapping[tuple[str, str], int], truth: Mapping[str, int], error: float
) -> Posterior:
    ids, names = (tuple(sorted({key[side] for key in said})) for side in (0, 1))
    row, place = ({one: n for n, one in enumerate(every)} for every in (ids, names))
    i = np.array([row[item] for item, _ in said], dtype=np.intp)
    a = np.array([place[who] for _, who in said], dtype=np.intp)
    c = np.array(list(said.values()), dtype=np.intp)
    k = len(labels)
    fixed = np.array([truth.get(item, -1) for item in ids], dtype=np.intp)
    tied = (np.bincount(i, minlength=len(ids)) > 1) | (fixed >= 0)
    basis = np.bincount(a[tied[i]], minlength=len(names))
    teach = np.flatnonzero(basis[a] > 0)
    P, errors, average = fitted(i, a, c, fixed, teach, k, own=strength(i, a, c, fixed), error=error)
    votes = np.zeros((len(ids), k))
    np.add.at(votes, (i, c), 1.0)
    by_name = dict(zip(names, errors, strict=True))
    return Posterior(of, ids, labels, P, by_name, average, dict(zip(names, basis.tolist(), strict=True)), votes)


def fitted(
    i: Indices,
    a: Indices,
    c: Indices,
    fixed: Indices,
    teach: Indices,
    k: int,
    *,
    own: float,
    even: float = EVEN,
    guess: float = GUESS,
    error: float = ERROR,
) -> tuple[Chances, Chances, Chances]:
    """Return chances (n, k), each annotator's confusion (m, k, k) and the average's: EM with a prior.

    Answer j, by annotator a[j] to item i[j], is label c[j]; fixed[i] is what is known to be right, else -1; `teach`:
    the answers that errors are told from. `own`, `even`, `guess`: what the average, even errors and the stated
    `error` count for, in answers; with all three near 0 it is Dawid and Skene's maximum likelihood.
    """
    n, m = len(fixed), int(a.max(initial=-1)) + 1
    prior = _shares(np.bincount(c, minlength=k) + 0.5)
    average = stated(prior, error)
    errors, P = np.repeat(average[None], m, axis=0), _shares(np.ones((n, k)))
    for _ in range(_TURNS):
        logs = np.tile(np.log(prior), (n, 1))
        np.add.at(logs, i, np.log(np.maximum(errors[a, :, c], 1e-12)))
        before, P = P, _shares(np.exp(logs - logs.max(axis=1, keepdims=True)))
        P[fixed >= 0] = np.eye(k)[fixed[fixed >= 0]]
        if not len(teach) or np.abs(P - before).max() < 1e-5:
            break
        counts = np.zeros((m, k, k))
        np.add.at(counts.transpose(0, 2, 1), (a[teach], c[teach]), P[i[teach]])
        prior = _shares(P[np.unique(i[teach])].sum(axis=0) + 0.5)
        total = counts.sum(axis=0)
        # how many answers are wrong for each unit of `error`, which is that of the rarer of two labels
        unit = 2.0 * (1.0 - float(prior @ stated(prior, 0.5).diagonal()))
        wrong = (total.sum() - np.trace(total) + guess * error * unit) / (total.sum() + guess)
        average = _shares(total + even * stated(prior, min(wrong / unit, 0.95 * (k - 1) / k)))
        errors = _shares(counts + own * average)
    return P, errors, average


def _shares(counts: NDArray[np.floating[Any]]) -> Chances:
    return np.asarray(counts / counts.sum(axis=-1, keepdims=True), dtype=np.float64)


def stated(prior: Chances, error: float = ERROR) -> Chances:
    """Return the confusion (k, k) taken for granted: off the diagonal error / (k - 1) · min(1, prior[a] / prior[t]).

    As many items go from t to a as from a to t, so that answers are as frequent as what is right: with the same
    `error` in both directions a label of 2 % would be wrong more often than right wherever it was chosen.
    """
    k = len(prior)
    wrong = error / max(1, k - 1) * np.minimum(1.0, prior[None, :] / prior[:, None])
    np.fill_diagonal(wrong, 0.0)
    return np.asarray(wrong + np.diag(1.0 - wrong.sum(axis=1)), dtype=np.float64)


def annotators(
    answers: Iterable[Answer],
    schema: Schema,
    *,
    gold: Gold = (),
    sources: Collection[Source] = PEOPLE,
) -> list[Annotator]:
    """Return what is known of each annotator, by name. `gold`: answers to checks, each with what is right."""
    checks = list(gold)
    said = newest(answers, schema, sources)
    found = posteriors(said, schema, gold=checks, sources=sources)
    both = compared(said)
    rows = []
    for name in sorted({a.annotator for a in said} | {a.annotator for a, _ in checks}):
        own = [a for a in said if a.annotator == name]
        outcomes = Counter(a.outcome for a in own)
        seconds = [a.seconds for a in own if a.outcome == "label" and a.seconds is not None]
        shared = [by for by in both.values() if name in by]
        others = [fmean(same(by[name], by[who], schema) for who in by if who != name) for by in shared]
        hit = [same(a.value, right, schema) for a, right in checks if a.annotator == name and a.outcome == "label"]
        low, high = wilson(sum(hit), len(hit))
        accuracy, basis, weakest = _accuracy(name, found, bool(checks))
        rows.append(
            Annotator(
                name=name,
                answers=outcomes["label"],
                skips=outcomes["skip"],
                cant_tell=outcomes["cant_tell"],
                seconds=median(seconds) if seconds else None,
                shared=len(shared),
                agreement=fmean(others) if others else None,
                accuracy=accuracy,
                basis=basis,
                weakest=weakest[0] if weakest else "",
                weakest_accuracy=weakest[1] if weakest else None,
                hits=sum(hit),
                checks=len(hit),
                low=low,
                high=high,
            )
        )
    return rows


def _accuracy(
    name: str, found: Sequence[Posterior], checked: bool
) -> tuple[float | None, str, tuple[str, float] | None]:
    """Return accuracy, what it rests on, and (weakest label, mean of sensitivity and specificity)."""
    if not found:
        return None, "there are no labels to be right about", None
    n = max(one.basis.get(name, 0) for one in found)
    if not n:
        return None, "shares no item with another annotator and has no gold check", None
    accuracies, per_label = [], []
    for one in found:
        prior, errors = one.prior, one.errors[name]
        accuracies.append(float(prior @ errors.diagonal()))
        rest = np.maximum(1.0 - prior, 1e-12)
        specificity = 1.0 - (prior @ errors - prior * errors.diagonal()) / rest
        balanced = (errors.diagonal() + specificity) / 2
        # less than one item of a label says nothing about it
        told = range(len(one.labels)) if not one.of else range(1, 2)
        per_label += [(one.labels[t], float(balanced[t])) for t in told if prior[t] * len(one.ids) >= 1.0]
    word = "a guess" if n < FEW else "a rough figure" if n < FAIR else "a fair figure"
    basis = f"{word}: rests on {n} shared {'item' if n == 1 else 'items'}"
    if len(found[0].errors) == 2 and not checked:
        basis += "; of two annotators who differ nobody can tell who is right"
    return fmean(accuracies), basis, min(per_label, key=lambda one: (one[1], one[0]), default=None)


def expected_repair(P: Chances, votes: Chances, confusion: Chances, error: float) -> Chances:
    """Return how much one more answer to each item is expected to add, in clean labels; (n,), may be negative.

    The label of an item is what the majority rule makes of its `votes` (n, k), before and after; a tie is none, worth
    nothing. n labels of which a share ε = `error` is wrong, at random among k, are worth n (1 - cε)² clean ones,
    c = k / (k - 1): Angluin and Laird, Learning from Noisy Examples, 1988, Theorem 2 (samples in proportion to
    1 / (1 - 2η)² for k = 2). By its derivative a label that is wrong with chance η adds (1 - cε)(1 + cε - 2cη). `P`
    (n, k): the chances of each label now, after an answer by Bayes' rule; `confusion` (k, k): of whoever would answer.
    """
    after = np.zeros(len(P))
    for answer in range(P.shape[1]):
        joint = P * confusion[:, answer]
        chance = joint.sum(axis=1)
        more = votes.copy()
        more[:, answer] += 1
        after += chance * _added(joint / np.maximum(chance, 1e-300)[:, None], more, error)
    gain = after - _added(P, votes, error)
    gain[P.max(axis=1) >= 1.0] = 0.0  # what is known needs no answer
    return np.asarray(gain, dtype=np.float64)


def _added(P: Chances, votes: Chances, error: float) -> Chances:
    label = majority(votes)
    wrong = 1.0 - P[np.arange(len(P)), label]
    return np.asarray(np.where(label >= 0, worth_of(wrong, error, P.shape[1]), 0.0), dtype=np.float64)


def worth_of(wrong: Chances, error: float, k: int) -> Chances:
    """Return what a label adds, in clean ones, that is wrong with a chance, among labels wrong in a share `error`."""
    c = k / max(1, k - 1)
    left = max(1.0 - c * error, 0.01)  # labels that say nothing would make every repair worth nothing
    return np.asarray(left * (1.0 + c * error - 2.0 * c * wrong), dtype=np.float64)


def expected_worth(found: Sequence[Posterior], *, edge: float = 1.0) -> Worth:
    """Return what one more answer to each item is worth, in new labels, and where to ask again instead of anew.

    See `expected_repair`. A new label is as often wrong as the average annotator; asking again pays where it adds more
    than `edge` new labels do. Several labels add up, for one answer covers them all. `edge`, 1 or more: how many
    random items a mined one is worth. For whether and when to ask again see Sheng, Provost and Ipeirotis, Get Another
    Label?, 2008; Lin, Mausam and Weld, To Re(label), or Not To Re(label), 2014.
    """
    if edge < 1.0:
        raise UsageError(f"edge is {edge:g}: a mined item is worth 1 random item or more, so give 1 or more")
    if not found or not found[0].ids:
        nothing = np.zeros(0)
        return Worth((), 0.0, 1.0, nothing, nothing.astype(np.bool_), "No label was given yet: ask about new items.")
    ids = found[0].ids
    errors, new, repair = [], 0.0, np.zeros(len(ids))
    for one in found:
        label = majority(one.votes)
        decided = label >= 0
        error = float((1.0 - one.P[decided, label[decided]]).mean()) if decided.any() else 0.0
        fresh = np.array([1.0 - float(one.prior @ one.average.diagonal())])
        errors.append(error)
        new += max(float(worth_of(fresh, error, len(one.labels))[0]), 0.01)
        repair += expected_repair(one.P, one.votes, one.average, error)
    gain = repair / new
    again = gain > edge + 1e-9
    value, error = new / len(found), fmean(errors)
    sentence = (
        f"About {error:.1%} of the labels on {len(ids)} items are wrong, so a new label is worth {value:.2f} of a "
        f"clean one; asking again pays more than a new item on {int(again.sum())} of them."
    )
    return Worth(ids, error, value, gain, again, sentence)


def assign(
    items: Sequence[str],
    experts: Sequence[str],
    overlap: int,
    *,
    load: Mapping[str, int] | None = None,
    rng: np.random.Generator,
) -> dict[str, tuple[str, ...]]:
    """Return item → the `overlap` experts who answer it, in the order of `items`; experts of an item by name.

    Always those with the least to do (`load`: what each has already), so that loads end within one of each other as far
    as what they began with allows; among those, who shares the fewest items with those chosen already, since
    agreement and error rates are told from pairs. Who gets which item is drawn. Raises UsageError.
    """
    if len(set(experts)) != len(experts) or len(set(items)) != len(items):
        raise UsageError("the same expert or item is named twice: name each once")
    if overlap < 1 or (items and overlap > len(experts)):
        raise UsageError(
            f"{overlap} experts cannot answer each item where there are {len(experts)}: "
            "set the overlap to 1 or more, and to no more than there are experts"
        )
    names = sorted(experts)
    busy = np.array([(load or {}).get(name, 0) for name in names], dtype=np.int64)
    together = np.zeros((len(names), len(names)), dtype=np.int64)
    given: dict[str, tuple[str, ...]] = {}
    for item in rng.permutation(np.array(sorted(items), dtype=object)):
        team: list[int] = []
        lots = rng.random(len(names))
        while len(team) < overlap:
            free = (n for n in range(len(names)) if n not in team)
            # before anybody is chosen: who shares the least with all the others
            met = together[team].sum(axis=0) if team else together.sum(axis=0)
            team.append(min(free, key=lambda n: (busy[n], met[n], lots[n])))
        busy[team] += 1
        together[np.ix_(team, team)] += 1
        given[item] = tuple(names[n] for n in sorted(team))
    return {item: given[item] for item in items}
