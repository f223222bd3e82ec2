"""The decision's own edge: thresholds, rivals, turns."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from toughcall.mining.boundary import boundary
from toughcall.records import Scores


def scores(values: Any, labels: str = "xy") -> Scores:
    """Return scores of items i00, i01, …"""
    array = np.asarray(values, np.float32)
    return Scores(tuple(f"i{row:02d}" for row in range(len(array))), tuple(labels), array, "m1")


def first(found: list[Any], n: int = 1) -> list[str]:
    """Return the ids of the first picks."""
    return [pick.item for pick in found[:n]]


RNG = np.random.default_rng(0)


def test_a_class_is_doubtful_at_its_own_threshold_not_at_a_half() -> None:
    """Decided at 0.2, P = 0.22 is the tough call and 0.5 is a plain yes."""
    table = scores([[0.5, 0.9], [0.22, 0.9], [0.05, 0.9]])
    assert first(boundary(table, 1, rng=RNG, thresholds=[0.2, 0.5])) == ["i01"]
    assert first(boundary(table, 1, rng=RNG)) == ["i00"]
    assert boundary(table, 1, rng=RNG, thresholds=[0.2, 0.5])[0].note == "P(x) = 0.22, decided at 0.20"


def test_where_one_class_excludes_the_others_the_strongest_rival_counts() -> None:
    """A class and its rival are level where their shares of the thresholds are: 0.3 / 0.25 against 0.6 / 0.5."""
    table = scores([[0.3, 0.6, 0.1], [0.45, 0.45, 0.1], [0.1, 0.2, 0.7]], "xyz")
    assert first(boundary(table, 1, rng=RNG, thresholds=[0.25, 0.5, 0.5])) == ["i00"]
    found = boundary(table, 1, rng=RNG, thresholds=[0.5, 0.5, 0.5])
    assert (first(found), found[0].note) == (["i01"], "x 0.45 against y 0.45")


def test_classes_take_turns_by_the_root_of_their_labels() -> None:
    """With 0 and 8 labels 3 : 1, each class's own items in the order of their distance."""
    rng = np.random.default_rng(3)
    table = scores(np.column_stack([rng.uniform(size=80), rng.uniform(size=80)]))
    found = boundary(table, 40, rng=RNG, counts={"y": 8})
    turn = Counter(pick.note[2] for pick in found)
    assert turn == {"x": 30, "y": 10}
    for label, column in (("x", 0), ("y", 1)):
        own = [table.values[int(pick.item[1:]), column] for pick in found if pick.note[2] == label]
        gaps = [abs(np.log(p / (1 - p))) for p in own]
        assert gaps == sorted(gaps)


def test_noise_at_the_ends_of_the_range_decides_nothing_c19() -> None:
    """Near 0 and 1 logits stretch what a batch size changes: equal stays equal, and ids decide (C19)."""
    table = np.full((20, 2), 2e-5, np.float32)
    shaken = table + np.random.default_rng(1).uniform(0, 4e-8, table.shape).astype(np.float32)
    assert first(boundary(scores(table), 20, rng=RNG), 20) == first(boundary(scores(shaken), 20, rng=RNG), 20)


def test_thresholds_of_another_model_are_refused() -> None:
    """One for each column, or it is not the model of these scores."""
    with pytest.raises(ValueError, match=r"\(3,\) thresholds for 2 columns"):
        boundary(scores([[0.5, 0.5]]), 1, rng=RNG, thresholds=[0.5, 0.5, 0.5])
