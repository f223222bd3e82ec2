"""Training: refuses what cannot be learnt, repeats itself to the byte, and tells which labels are dead."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from toughcall.model import crossfit
from toughcall.model import train as training
from toughcall.model.calibration import sigmoid, softmax
from toughcall.model.features import beside
from toughcall.model.kind import Exclusive
from toughcall.model.kinds import KINDS
from toughcall.model.linear import Setting
from toughcall.model.scorers import Majority, predict
from toughcall.model.train import Basis, Trained, check_enough, train
from toughcall.model.words import Words
from toughcall.records import IntegrityError, Label, NotEnoughData, Vectors
from toughcall.schema import names_of, numbers_of

Make = Callable[..., Any]


def fit(data: Any, *, seed: int = 0, hints: bool = True, corpus: Sequence[str] = (), **other: Any) -> Trained:
    """Train on planted data; its own texts are the pool's unless others are given."""
    given = data.hints if hints else None
    return train(
        data.kind,
        data.schema,
        data.items,
        data.vectors,
        data.labels,
        corpus=corpus or data.corpus,
        seed=seed,
        hints=given,
        **other,
    )


def weights_hash(trained: Trained) -> str:
    """Return a digest of every array's bytes."""
    total = hashlib.sha256()
    for name, array in sorted(trained.arrays().items()):
        total.update(name.encode() + array.tobytes())
    return total.hexdigest()


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("multiclass", [("animal",)] * 9),
        ("multiclass", [("animal",)] * 9 + [("food",)]),
        ("pair", [("similar",)] * 9 + [("not_similar",)]),
        ("multilabel", [()] * 10),
        ("multilabel", [("animal",)] * 9 + [()]),
        ("multiclass", []),
    ],
)
def test_c55_one_class_is_refused_with_every_class_and_count(
    planted: Make, name: str, values: list[tuple[str, ...]]
) -> None:
    """C55: NotEnoughData (exit 8) names each label with its count and what to do next."""
    data = planted(name, n=len(values) or 1)
    labels = [Label(item.id, value) for item, value in zip(data.items, values, strict=False)]
    data = dataclasses.replace(data, labels=labels, items=data.items[: len(labels)])
    with pytest.raises(NotEnoughData, match="toughcall import FILE") as refused:
        fit(data)
    assert refused.value.code == 8
    for label in data.schema.labels:
        assert f"{label} {sum(label in value for value in values)}" in str(refused.value)


@pytest.mark.parametrize("name", sorted(KINDS))
def test_c55_the_least_is_enough_and_one_less_is_not(planted: Make, name: str) -> None:
    """C55: the boundary: two labels of two classes train (numbers: ten of one dimension), one fewer is refused."""
    data = planted(name, n=40)
    first, second = (*data.schema.labels, "", "")[:2]
    with_, without = ([i for i, one in enumerate(data.labels) if (first in one.value) == yes] for yes in (True, False))
    if data.kind.labelled and data.kind.single:
        without = [i for i in without if second in data.labels[i].value]
    rows, short = ([*with_[:2], *without[:2]], [*with_[:2], *without[:1]])
    if not data.kind.labelled:
        rows, short = range(10), range(9)
    enough = data.take(rows)
    counts = check_enough(data.kind, data.schema, enough.labels)
    assert counts == {name: sum(name in names_of(one.value) for one in enough.labels) for name in counts}
    assert fit(enough).score(enough.items, data.vectors).values.shape[0] == len(rows)
    with pytest.raises(NotEnoughData, match=f"{len(short)} labels are too few"):
        fit(data.take(short))


def learnt(data: Any, model: Any) -> float:
    """Return the share of right answers; for numbers the error, as a share of the error of the training mean."""
    answers = predict(data.kind, data.schema, model, data.items, data.vectors)
    if data.kind.labelled:
        return float(np.mean([set(a) == set(one.value) for a, one in zip(answers, data.labels, strict=True)]))
    mean = predict(data.kind, data.schema, Majority.fit(data.kind, data.schema, data.labels), data.items, data.vectors)
    own, plain = (
        [abs(numbers_of(a)[d] - v) for a, one in zip(found, data.labels, strict=True) for d, v in one.value]
        for found in (answers, mean)
    )
    return float(np.mean(own) / np.mean(plain))


@pytest.mark.parametrize("name", sorted(KINDS))
def test_every_kind_learns_what_was_planted(planted: Make, name: str) -> None:
    """Rule: on separable data held-out decisions are far better than the constant's."""
    data = planted(name, n=120, noise=0.8)
    seen, held = data.take(range(80)), data.take(range(80, 120))
    told: list[tuple[int, int]] = []
    trained = fit(seen, corpus=data.corpus, progress=lambda done, total: told.append((done, total)))
    if data.kind.labelled:
        assert learnt(held, trained) >= (0.8 if data.kind.single else 0.6)
    else:
        assert learnt(held, trained) < 0.5
    assert trained.dead == ()
    assert told[-1][0] == told[-1][1] == len(told)
    p = trained.score(held.items, held.vectors).values
    assert ((p >= 0) & (p <= 1)).all()
    if data.kind.single and not data.kind.paired:
        assert p.sum(axis=1) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("name", sorted(KINDS))
def test_c62_the_same_data_gives_the_same_bytes_in_any_order(planted: Make, name: str) -> None:
    """C62: twice, and with rows, vectors and corpus shuffled: identical arrays, name and choices."""
    # noisy, so that thresholds and folds hang on every row
    data = planted(name, n=60, noise=4.0)
    first = fit(data, seed=5)
    assert weights_hash(fit(data, seed=5)) == weights_hash(first)
    order = np.random.default_rng(1).permutation(60)
    ids = np.random.default_rng(2).permutation(len(data.vectors.ids))
    mixed = Vectors(tuple(data.vectors.ids[i] for i in ids), data.vectors.array[ids], "planted")
    again = fit(dataclasses.replace(data.take(order), vectors=mixed), seed=5)
    assert weights_hash(again) == weights_hash(first)
    assert (again.name, again.config()) == (first.name, first.config())


@pytest.mark.parametrize("name", sorted(KINDS))
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_c65_a_vector_that_is_not_finite_is_refused(planted: Make, name: str, bad: float) -> None:
    """C65: one broken number in one vector: IntegrityError (exit 6), no model."""
    data = planted(name, n=20)
    array = data.vectors.array.copy()
    array[3, 2] = bad
    with pytest.raises(IntegrityError, match="not finite"):
        fit(dataclasses.replace(data, vectors=Vectors(data.vectors.ids, array, "planted")))


def test_c65_weights_that_are_not_finite_are_refused(planted: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """C65: a fit that diverged is an IntegrityError, not a model that always says class 0."""
    calls = itertools.count()
    whole = Exclusive.fit

    def last_is_broken(*args: Any) -> Any:
        coef, bias = whole(*args)
        # the cross-validation is 8 settings of 5 folds; the fit on all rows comes after
        return (coef * np.nan if next(calls) >= 40 else coef), bias

    monkeypatch.setattr(Exclusive, "fit", last_is_broken)
    with pytest.raises(IntegrityError, match="weights that are not finite"):
        fit(planted(n=20))
    assert next(calls) == 41


@pytest.mark.parametrize("name", ["multiclass", "multilabel"])
def test_a_class_without_labels_starts_from_its_description(planted: Make, name: str) -> None:
    """Rule: with hints the unseen class ranks its own members first; without, it is dead and named."""
    data = planted(name, n=90, labels=("animal", "machine", "food", "unseen"))
    inside = [i for i, label in enumerate(data.labels) if "unseen" not in label.value]
    outside = [i for i in range(90) if i not in inside]
    seen = data.take(inside)
    hinted, plain = fit(seen), fit(seen, hints=False)
    near = hinted.score([data.items[i] for i in outside], data.vectors).values[:, 3]
    far = hinted.score(seen.items, data.vectors).values[:, 3]
    assert np.median(near) > 2 * np.median(far)
    assert (near[:, None] > far[None, :]).mean() > 0.85
    assert plain.dead == ("unseen",)
    assert plain.config()["dead"] == ["unseen"]
    assert plain.counts["unseen"] == 0
    assert plain.score(data.items, data.vectors).values[:, 3].max() < 0.05


@pytest.mark.parametrize("name", ["multiclass", "multilabel"])
@pytest.mark.parametrize("balanced", [False, True])
def test_a_head_is_the_fit_in_its_own_features(
    planted: Make, name: str, balanced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule: weights carried back from turned axes and used words give what sklearn gives on all features (1e-4)."""
    from scipy.sparse import vstack
    from sklearn.linear_model import LogisticRegression
    from sklearn.utils.class_weight import compute_sample_weight

    data = planted(name, n=40)
    monkeypatch.setattr(type(data.kind), "settings", (Setting(3.0, balanced),))
    head = fit(data).head
    words = Words.fit(data.corpus)
    raw = data.kind.features(data.items, data.vectors, words, None)[0]
    hints = beside(data.hints, data.schema.labels, words)
    logits = raw @ head.coef.T.astype(np.float64) + head.intercept
    x, made = (np.hstack([part.dense, part.words.toarray()]) for part in (raw, hints))
    truth = data.kind.targets(data.schema, [label.value for label in data.labels])
    rows, goals = np.vstack([x, made]), np.vstack([truth, np.eye(3, dtype=bool)])
    assert vstack([raw.words, hints.words]).nnz > 100, "the words are in it"
    weight = np.concatenate([np.ones(40), np.full(3, crossfit.HINT)])

    def probabilities(goal: Any) -> Any:
        # a class weighs as much as another by the number of its rows, whatever each of them weighs
        each = compute_sample_weight("balanced", goal) if balanced else 1.0
        model = LogisticRegression(C=3.0, max_iter=5000, tol=1e-8).fit(rows, goal, weight * each)
        return model.predict_proba(x)

    if data.kind.single:
        due, found = probabilities(goals.argmax(axis=1)), softmax(logits)
    else:
        due, found = np.column_stack([probabilities(goal)[:, 1] for goal in goals.T]), sigmoid(logits)
    assert np.abs(found - due).max() < 1e-4


def test_with_many_labels_fewer_settings_are_tried_on_one_fold(planted: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule: above SOME labels `fewer` are tried; above MANY they are compared on one fold, and all rows still count."""
    data = planted(n=60, noise=2.0)
    fits: list[tuple[Setting, int]] = []
    whole = Exclusive.fit

    def told(self: Any, x: Any, truth: Any, at: Setting, *rest: Any) -> Any:
        fits.append((at, len(x)))
        return whole(self, x, truth, at, *rest)

    monkeypatch.setattr(Exclusive, "fit", told)
    for some, many, due in ((60, 60, 8 * 5 + 1), (59, 60, 3 * 5 + 1), (59, 59, 3 + 5 + 1)):
        monkeypatch.setattr(training, "SOME", some)
        monkeypatch.setattr(crossfit, "MANY", many)
        fits.clear()
        trained = fit(data)
        assert len(fits) == due
        assert fits[-1] == (Setting(trained.chosen["strength"], trained.chosen["balanced"]), 60)
        assert {at for at, _ in fits} == set(data.kind.settings if some == 60 else data.kind.fewer)
        assert learnt(data, trained) > 0.8


def test_a_label_that_is_never_predicted_is_named_although_it_has_rows(planted: Make) -> None:
    """Post-mortem 000: two members of a class that look like another one's: dead, by name, with its count."""
    data = planted(n=60, noise=0.2)
    rows = [i for i, label in enumerate(data.labels) if label.value != ("food",)]
    two = {i for i in rows if data.labels[i].value == ("animal",)}
    swap = set(sorted(two)[:2])
    labels = [Label(one.item, ("food",)) if i in swap else one for i, one in enumerate(data.labels)]
    data = dataclasses.replace(data, labels=labels).take(rows)
    trained = fit(data, hints=False)
    assert trained.counts["food"] == 2
    assert trained.dead == ("food",)


def test_the_settings_chosen_are_told(planted: Make) -> None:
    """C64: strength, balance, folds and the out-of-fold figure travel in the configuration."""
    data = planted(n=30, noise=2.0)
    config = fit(data).config()
    chosen = config["chosen"]
    assert Setting(chosen["strength"], chosen["balanced"]) in data.kind.settings
    assert chosen["folds"] == crossfit.FOLDS
    assert 0.5 < chosen["out_of_fold"] < chosen["in_sample"] <= 1.0
    assert config["columns"] == ["animal", "machine", "food"]
    assert sum(config["counts"].values()) == 30


@pytest.mark.parametrize("name", sorted(KINDS))
def test_c65_a_broken_vector_is_refused_when_scoring_and_named(planted: Make, name: str) -> None:
    """C65: an infinite vector is not scored as a perfect match: IntegrityError names the record."""
    data = planted(name, n=20)
    trained = fit(data)
    array = data.vectors.array.copy()
    array[3] = np.inf
    with pytest.raises(IntegrityError, match=data.vectors.ids[3]):
        trained.score(data.items, Vectors(data.vectors.ids, array, "planted"))
    hints = np.full_like(data.hints, np.nan)
    if not data.kind.paired:
        with pytest.raises(IntegrityError, match="description is not finite"):
            fit(dataclasses.replace(data, hints=hints))


def basis_of(data: Any) -> Basis:
    """Return planted data in the order of its ids, turned into features once."""
    order = sorted(range(len(data.items)), key=lambda row: data.items[row].id)
    items = [data.items[row] for row in order]
    return Basis.of(data.kind, data.schema, items, data.vectors, corpus=data.corpus, seed=0, hints=data.hints)


@pytest.mark.parametrize("name", ["multiclass", "multilabel", "pair"])
def test_a_basis_gives_the_head_that_training_gives(planted: Make, name: str) -> None:
    """Features made once, some rows fitted and all scored: to the byte what `train` makes of these rows."""
    data = planted(name, n=40)
    basis = basis_of(data)
    said = {label.item: label for label in data.labels}
    rows = [row for row in range(40) if row % 4]
    once = basis.fit(rows, [said[basis.items[row].id] for row in rows], seed=0)
    kept = {basis.items[row].id for row in rows}
    again = fit(data.take([row for row, item in enumerate(data.items) if item.id in kept]), corpus=data.corpus)
    if name != "pair":  # a pair's density is measured against the records of all items, not of the fitted ones
        assert weights_hash(once) == weights_hash(again)
    scores = basis.score(once.head, range(40))
    assert scores.ids == tuple(item.id for item in basis.items)
    assert scores.values == pytest.approx(once.score(basis.items, data.vectors).values, abs=1e-6)


def test_a_committee_disagrees_where_its_labels_do(planted: Make) -> None:
    """Five heads on resamples: probabilities of shape (5, n, k), the same for one seed, not all of one opinion."""
    data = planted("multiclass", n=40, noise=1.5)
    basis = basis_of(data)
    said = {label.item: label for label in data.labels}
    rows, open_ = range(30), range(30, 40)
    labels = [said[basis.items[row].id] for row in rows]
    found = basis.committee(rows, labels, open_, seed=3)
    assert found.shape == (5, 10, len(data.schema.labels))
    assert found.sum(axis=2) == pytest.approx(np.ones((5, 10)), abs=1e-5)
    assert (found == basis.committee(rows, labels, open_, seed=3)).all()
    assert (found != basis.committee(rows, labels, open_, seed=4)).any()
    assert found.std(axis=0).max() > 0.01
    with pytest.raises(NotEnoughData):
        basis.committee([0, 1], labels[:2], open_, seed=3)
