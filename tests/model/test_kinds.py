"""Kinds: names, targets, decisions and doubt, whatever the labels are called."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from toughcall.model import kinds
from toughcall.records import UsageError

quick = settings(max_examples=60, deadline=None)
HOSTILE = ("", " ", "a,b", "a", 'quo"te', "<script>", "=1+1", "émoji 🎈", "a\nb", "None", "0", "\u202egnp")
names = st.lists(st.sampled_from(HOSTILE) | st.text(max_size=6), min_size=2, max_size=6, unique=True)


def test_an_unknown_kind_is_answered_with_the_nearest_one() -> None:
    """C02-like typo: UsageError says what was meant and what there is."""
    with pytest.raises(UsageError, match=r"did you mean 'multilabel'.*multiclass, multilabel, pair"):
        kinds.get("multilable")
    with pytest.raises(UsageError, match="choose multiclass") as refused:
        kinds.get("zzz")
    assert "did you mean" not in str(refused.value)


@quick
@given(labels=names, data=st.data())
def test_targets_read_back_as_the_answers_they_were_made_of(labels: list[str], data: st.DataObject) -> None:
    """Rule: decode(targets(answers)) are the answers, for every kind and hostile labels."""
    for kind in kinds.KINDS.values():
        mine = labels[:2] if kind.paired else labels
        schema = kind.schema(mine)
        one = st.sampled_from(mine).map(lambda v: (v,))
        many = st.sets(st.sampled_from(mine)).map(lambda v, mine=mine: tuple(x for x in mine if x in v))
        answers = data.draw(st.lists(one if kind.single else many, max_size=8))
        assert all(schema.check(answer) == "" for answer in answers)
        truth = kind.targets(schema, answers)
        assert truth.shape == (len(answers), len(kind.columns(schema)))
        assert kind.decode(schema, truth.astype(np.float32), kind.plain(schema)) == answers


@quick
@given(raw=hnp.arrays(np.float64, (5, 4), elements=st.floats(-50, 50)))
def test_doubt_lies_between_zero_and_one(raw: np.ndarray) -> None:
    """Rule: uncertainty is in [0, 1] for every kind, also at certainties of exactly 0 and 1."""
    from toughcall.model.scorers import link

    for kind in kinds.KINDS.values():
        values = link(kind, raw[:, :1] if kind.paired else raw)
        for p in (values, np.round(values)):
            doubt = kind.uncertainty(p)
            assert doubt.shape == (5,)
            assert (doubt >= 0).all()
            assert (doubt <= 1).all()


def test_doubt_is_whole_at_the_tie_and_none_at_certainty() -> None:
    """Rule: 1.0 where it is a toss-up, 0.0 where it is certain."""
    for name, tie, sure in (
        ("multiclass", [0.4, 0.4, 0.2], [1.0, 0.0, 0.0]),
        ("multilabel", [0.0, 0.5, 1.0], [0.0, 1.0, 1.0]),
        ("pair", [0.5], [1.0]),
    ):
        doubt = kinds.get(name).uncertainty(np.array([tie, sure], dtype=np.float32))
        assert doubt.tolist() == [1.0, 0.0]


def test_one_class_a_row_ties_to_the_first_and_a_lower_threshold_wins_earlier() -> None:
    """Rule: equal thresholds are argmax; a class at half the threshold wins at half the probability."""
    kind = kinds.get("multiclass")
    p = np.array([[0.4, 0.4, 0.2], [0.5, 0.2, 0.3]], dtype=np.float32)
    assert kind.chosen(p, np.full(3, 0.5)).argmax(axis=1).tolist() == [0, 0]
    assert kind.chosen(p, np.array([0.5, 0.5, 0.2])).argmax(axis=1).tolist() == [2, 2]
    assert kind.chosen(p, np.zeros(3)).sum(axis=1).tolist() == [1, 1]


def test_a_threshold_is_reached_at_the_threshold() -> None:
    """Rule: independent columns are predicted at or above their own threshold."""
    kind = kinds.get("multilabel")
    p = np.array([[0.3, 0.3]], dtype=np.float32)
    assert kind.chosen(p, np.array([0.3, 0.31], dtype=np.float32)).tolist() == [[True, False]]
