"""Quotas into one batch: shares, shortfalls, and what is never asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toughcall.mining.batch import cold_start, pick_batch, shares
from toughcall.mining.strategies import random_audit
from toughcall.records import Batch, Pick

REASONS = ["in_band", "rare_class", "diverse", "disagreement", "random_audit"]
QUOTAS = st.dictionaries(st.sampled_from(REASONS), st.floats(0, 1), min_size=1).filter(lambda q: sum(q.values()) > 1e-9)


def ranked(reason: str, items: Sequence[Any]) -> list[Pick]:
    return [Pick(str(item), reason, 1.0 - rank / 100, rank, 1.0, f"by {reason}") for rank, item in enumerate(items)]


def pick(candidates: dict[str, Sequence[Any]], quotas: dict[str, float], size: int, **more: Any) -> Batch:
    lists = {reason: ranked(reason, items) for reason, items in candidates.items()}
    return pick_batch(lists, quotas, size, name="b1", schema="s", model="m", **more)


def items(batch: Batch, reason: str = "") -> list[str]:
    return [one.item for one in batch.picks if reason in {"", one.reason}]


@given(quotas=QUOTAS, size=st.integers(0, 500))
def test_shares_sum_to_the_size(quotas: dict[str, float], size: int) -> None:
    """Whatever the quotas, the shares sum to the size, each within one of its exact value, none from nothing."""
    given_ = shares(quotas, size)
    assert sum(given_.values()) == size
    assert list(given_) == list(quotas)
    for reason, count in given_.items():
        exact = size * quotas[reason] / sum(quotas.values())
        assert abs(count - exact) < 1 + 1e-9
        assert count >= 0
        assert count == 0 or quotas[reason] > 0


def test_equal_remainders_go_by_name_c23() -> None:
    """Ties between reasons are decided by name, not by the order in the settings (C23)."""
    assert shares({"c": 1, "b": 1, "a": 1}, 4) == {"a": 2, "b": 1, "c": 1}
    assert shares({"a": 1, "b": 1, "c": 1}, 5) == {"a": 2, "b": 2, "c": 1}
    assert shares({"a": 0.0}, 5) == {"a": 0}


@given(quotas=QUOTAS)
def test_a_cold_start_keeps_the_sum(quotas: dict[str, float]) -> None:
    """What uncertainty would get goes to the typical items; the others and the sum stay."""
    before = dict(quotas)
    cold = cold_start(quotas)
    assert sum(cold.values()) == pytest.approx(sum(quotas.values()))
    assert not {"in_band", "disagreement"} & set(cold)
    assert all(cold[reason] == quotas[reason] for reason in ("rare_class", "random_audit") if reason in quotas)
    assert quotas == before


def test_nothing_asked_or_pending_is_asked_again_c29() -> None:
    """Items already asked are passed over by every reason, when filling up too (C29)."""
    asked = {str(i) for i in range(0, 40, 2)}
    batch = pick(
        {"in_band": range(20), "diverse": range(10, 30), "random_audit": range(25, 40)},
        {"in_band": 0.5, "diverse": 0.2, "random_audit": 0.3},
        30,
        asked=asked,
    )
    assert not asked & set(items(batch))
    assert len(items(batch)) > 15


def test_everything_asked_is_an_empty_batch_c29() -> None:
    """Nothing left to ask: no pick, and the shortfall says so (C29)."""
    batch = pick({"in_band": range(5)}, {"in_band": 1.0}, 5, asked={str(i) for i in range(5)})
    assert batch.picks == ()
    assert batch.shortfall == {"in_band": 5}


def test_only_candidates_are_picked_c27() -> None:
    """A batch holds nothing that no reason proposed, so what mining leaves out never comes back (C27)."""
    batch = pick({"in_band": [1, 2], "diverse": [2, 3]}, {"in_band": 0.5, "diverse": 0.5}, 50)
    assert sorted(items(batch)) == ["1", "2", "3"]
    assert batch.shortfall == {"in_band": 23, "diverse": 24}
