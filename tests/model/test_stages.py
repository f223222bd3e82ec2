"""Related at all, and which: two linear stages that are one distribution, with and without what types forbid."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from toughcall.model import kinds
from toughcall.model.calibration import softmax
from toughcall.model.kinds import RelationKind
from toughcall.model.linear import Rows, Setting, joined, multinomial, two_stages
from toughcall.model.scorers import Head
from toughcall.model.thresholds import macro_f1
from toughcall.model.train import Basis
from toughcall.records import Bools, Reals

SHAPE = st.tuples(st.integers(1, 6), st.integers(2, 6))
LOGITS = SHAPE.flatmap(lambda shape: arrays.arrays(np.float64, shape, elements=st.floats(-60, 60)))


@given(z=LOGITS, data=st.data())
def test_two_stages_are_one_distribution(z: Reals, data: st.DataObject) -> None:
    """T8, T9: rows sum to 1 whatever the logits; what is not legal has nothing, P(null) is one minus P(related)."""
    n, k = z.shape
    null = data.draw(st.integers(0, k - 1))
    legal = data.draw(st.one_of(st.none(), arrays.arrays(bool, (n, k))))
    before = None if legal is None else legal.copy()
    found = joined(z, null, legal)
    p = np.exp(found)
    assert not np.isnan(found).any()
    assert found.max() <= 0
    open_ = np.ones(z.shape, dtype=bool) if legal is None else legal.copy()
    open_[:, null] = False
    there = open_.any(axis=1)
    whole = p[there]
    assert whole.sum(axis=1) == pytest.approx(np.ones(len(whole)), abs=1e-9)
    assert not whole[~open_[there] & (np.arange(k) != null)].any()
    assert p[there, null] == pytest.approx(1 / (1 + np.exp(z[there, null])), abs=1e-12)
    assert p[~there, null] == pytest.approx(np.ones(int((~there).sum()))), "without a legal relation there is none"
    assert legal is None or (legal == before).all(), "what was given is not changed"


def test_the_parts_of_a_row_are_those_of_its_stages() -> None:
    """T8: P(c) = P(related) · P(c | related), by hand."""
    z = np.array([[np.log(3.0), 0.0, np.log(2.0)]])
    assert np.exp(joined(z, 0)) == pytest.approx(np.array([[0.25, 0.75 / 3, 0.75 * 2 / 3]]))
    assert np.exp(joined(z, 0, np.array([[True, True, False]]))) == pytest.approx(np.array([[0.25, 0.75, 0.0]]))
    assert np.exp(joined(z[:, ::-1], 2)) == pytest.approx(np.array([[0.75 * 2 / 3, 0.75 / 3, 0.25]]))


def planted_rows(n: int, seed: int, features: int = 12) -> tuple[Rows, Bools]:
    """Return rows of which a fifth is related, by one direction, and three relations, the last rare, by others."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, features))
    related = x[:, 0] > 0.85
    score = np.column_stack([x[:, 1], x[:, 2], x[:, 3] - 0.9])
    which = score.argmax(axis=1) + 1
    truth = np.zeros((n, 4), dtype=bool)
    truth[np.arange(n), np.where(related, which, 0)] = True
    return Rows(x + 0.3 * rng.normal(size=x.shape)), truth


def test_two_stages_find_what_was_planted() -> None:
    """T8, 004: where being related and which relation are two questions, two stages answer at least as well as one."""
    x, truth = planted_rows(600, 0)
    test, wanted = planted_rows(2000, 1)
    at = Setting(1.0, null=0)
    coef, bias = two_stages(x, truth, at, None)
    assert coef.shape == (4, 12)
    assert np.argmax(np.abs(coef[0])) == 0, "the first stage reads what says related"
    assert [int(np.argmax(row)) for row in coef[1:]] == [1, 2, 3]
    assert np.abs(coef[1:, 0]).max() < 0.5 * np.abs(coef[1:, 1:4]).max(), "the second one does not"
    kind = kinds.get("relation")
    plain = np.full(4, 0.5)
    staged = kind.chosen(np.exp(joined(test @ coef.T + bias, 0)), plain)
    one, shift = multinomial(x, truth, 1.0, False, None)
    at_once = kind.chosen(softmax(test @ one.T + shift), plain)
    chance = np.zeros_like(wanted)
    chance[:, 0] = True
    assert macro_f1(wanted, staged) > macro_f1(wanted, chance) + 0.3
    assert macro_f1(wanted, staged) > macro_f1(wanted, at_once) - 0.02


@pytest.mark.parametrize("seed", range(3))
def test_the_second_stage_learns_from_related_rows_alone(seed: int) -> None:
    """T8, 004: rows without a relation, however many, change which relation it is by nothing."""
    x, truth = planted_rows(300, seed)
    at = Setting(1.0, null=0)
    coef, bias = two_stages(x, truth, at, None)
    more, others = planted_rows(300, seed + 10)
    unrelated = others[:, 0]
    wider, told = x.join(more.take(unrelated)), np.vstack([truth, others[unrelated]])
    again, shift = two_stages(wider, told, at, None)
    assert again[1:] == pytest.approx(coef[1:])
    assert shift[1:] == pytest.approx(bias[1:])
    assert np.abs(again[0] - coef[0]).max() > 1e-3


def test_examples_that_nobody_labelled_join_their_own_stage() -> None:
    """A made-up example of a relation teaches both stages, one of the null label the first alone; NaN nowhere."""
    x, truth = planted_rows(200, 0)
    at = Setting(1.0, null=0)
    made = Rows(np.zeros((1, 12)) + np.eye(12)[5])
    plain, _ = two_stages(x, truth, at, None)
    for column in (0, 3):
        coef, bias = two_stages(x, truth, at, (made, np.eye(4, dtype=bool)[[column]], 20.0))
        assert np.isfinite(coef).all()
        assert np.isfinite(bias).all()
        assert np.abs(coef[0] - plain[0]).max() > 1e-3
        assert (np.abs(coef[1:] - plain[1:]).max() > 1e-3) == (column == 3)


def test_one_relation_alone_is_learnt_as_related_or_not() -> None:
    """A schema of which only one relation was ever seen: the second stage has nothing to tell apart."""
    x, truth = planted_rows(200, 0)
    only = np.zeros_like(truth)
    only[:, 0], only[:, 2] = truth[:, 0], ~truth[:, 0]
    coef, bias = two_stages(x, only, Setting(1.0, null=0), None)
    p = np.exp(joined(x @ coef.T + bias, 0))
    assert p[:, [1, 3]].max() < 1e-4
    assert np.mean((p[:, 2] > 0.5) == only[:, 2]) > 0.9


def test_a_staged_head_comes_back_from_its_files(planted: Callable[..., Any], monkeypatch: Any) -> None:
    """R1, R5: the head of two stages, made again of arrays and settings, gives its scores bit for bit; what types
    forbid has none, and the null label stays the first stage's column."""
    monkeypatch.setattr(RelationKind, "settings", (Setting(3.0), Setting(3.0, masked=True)))
    data = planted("relation", n=60)
    rows = sorted(range(60), key=lambda row: data.items[row].id)
    items, labels = [data.items[row] for row in rows], [data.labels[row] for row in rows]
    basis = Basis.of(data.kind, data.schema, items, data.vectors, corpus=data.corpus, seed=0)
    null = data.schema.labels.index(data.schema.null)
    trained = basis.fit(range(60), labels, seed=0, null=null)
    head = trained.head
    assert (head.null, head.recipe, trained.chosen["null"]) == (null, "stages", null)
    config = json.loads(json.dumps(trained.config(), allow_nan=False))
    again = Head.restore(config, trained.arrays(), trained.name)
    said = trained.score(items, data.vectors).values
    assert again.score(items, data.vectors).values.tobytes() == said.tobytes()
    legal = data.kind.legal(data.schema, items)
    assert not said[~legal].any()
    assert said.sum(axis=1) == pytest.approx(np.ones(60), abs=1e-5)
    one_stage = dataclasses.replace(head, null=-1).score(items, data.vectors).values
    assert np.abs(one_stage - said).max() > 0.01, "without its null column the same weights say something else"
    truth = data.kind.targets(data.schema, [label.value for label in labels])
    assert data.kind.figure(truth, trained.outside) > 0.6, "out of fold"
