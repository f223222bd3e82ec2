"""Quotas into one batch: shares, shortfalls, and what is never asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toughcall.mining.batch import DOUBT, EARNED, pick_batch, shares, warmed
from toughcall.model.kinds import KINDS
from toughcall.records import Batch, Pick

REASONS = [
    "in_band",
    "margin",
    "entropy",
    "committee",
    "rare_class",
    "spread",
    "diverse",
    "disagreement",
    "random_audit",
]
QUOTAS = st.dictionaries(st.sampled_from(REASONS), st.floats(0, 1), min_size=1).filter(lambda q: sum(q.values()) > 1e-9)


def ranked(reason: str, items: Sequence[Any]) -> list[Pick]:
    return [Pick(str(item), reason, 1.0 - rank / 100, rank, 1.0, f"by {reason}") for rank, item in enumerate(items)]


def pick(candidates: dict[str, Sequence[Any]], quotas: dict[str, float], size: int, **more: Any) -> Batch:
    lists = {reason: ranked(reason, items) for reason, items in candidates.items()}
    return pick_batch(lists, quotas, size, name="b1", schema="s", model="m", **more)


def items(batch: Batch, reason: str = "") -> list[str]:
    return [one.item for one in batch.picks if reason in {"", one.reason}]


@settings(deadline=None)
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
    # a small batch keeps its audit, whoever has the most gives for it
    small = {"boundary": 0.6, "diverse": 0.35, "random_audit": 0.05}
    assert shares(small, 4) == {"boundary": 2, "diverse": 1, "random_audit": 1}
    assert shares(small, 1) == {"boundary": 1, "diverse": 0, "random_audit": 0}
    # where nobody was rounded up, one that has some gives
    tiny = {"in_band": 0.0, "margin": 1.0, "random_audit": 1e-9, "spread": 1.0}
    assert shares(tiny, 2) == {"in_band": 0, "margin": 0, "random_audit": 1, "spread": 1}


@settings(deadline=None)
@given(quotas=QUOTAS, labels=st.integers(0, 2 * EARNED))
def test_doubt_earns_its_share_label_by_label(quotas: dict[str, float], labels: int) -> None:
    """What doubt has not earned goes to the typical items; the others and the sum stay."""
    before = dict(quotas)
    now = warmed(quotas, labels)
    assert sum(now.values()) == pytest.approx(sum(quotas.values()))
    assert quotas == before
    if labels and not quotas.get("diverse"):
        assert now == quotas
        return
    for reason in set(quotas) - {"diverse"}:
        earned = min(1.0, labels / EARNED) if reason in DOUBT else 1.0
        assert now.get(reason, 0.0) == pytest.approx(quotas[reason] * earned)


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


def test_near_duplicates_are_asked_once() -> None:
    """Of a cluster of near-duplicates one item is asked, whichever reasons want them; its place is filled."""
    duplicates = {"1": "1", "2": "1", "3": "1", "11": "1"}
    batch = pick(
        {"in_band": [1, 2, 4, 5], "diverse": [11, 3, 12, 13]},
        {"in_band": 0.5, "diverse": 0.5},
        4,
        duplicates=duplicates,
    )
    assert sorted(items(batch)) == ["1", "12", "13", "4"]
    assert batch.shortfall == {}


@pytest.mark.parametrize("cap", [1, 2, 3])
def test_no_record_is_in_more_pairs_than_the_cap(cap: int) -> None:
    """Of pairs that share a record at most `per_record` are asked; the default is 3."""
    pairs = {f"{a}-{b}": (a, b) for a in "hpq" for b in "uvwxyz"}
    batch = pick({"in_band": list(pairs)}, {"in_band": 1.0}, 18, records=pairs, per_record=cap)
    used = Counter(part for one in items(batch) for part in pairs[one])
    assert max(used.values()) == cap
    assert used["h"] == used["p"] == used["q"] == cap
    if cap == 3:
        assert pick({"in_band": list(pairs)}, {"in_band": 1.0}, 18, records=pairs) == batch


def test_the_cap_is_for_pairs_only() -> None:
    """A text is its own record: the cap never holds it back."""
    batch = pick({"in_band": [1, 2]}, {"in_band": 1.0}, 2, records={"1": ("1",), "2": ("2",)}, per_record=0)
    assert items(batch) == ["1", "2"]


def test_the_cap_holds_for_the_relations_of_one_text() -> None:
    """A text with forty relations gives at most `per_record` of a batch; the others come from other texts."""
    texts = {f"long {n}": ("long",) for n in range(40)} | {f"short {n}": (f"text {n}",) for n in range(5)}
    batch = pick({"in_band": list(texts)}, {"in_band": 1.0}, 7, records=texts)
    assert items(batch) == ["long 0", "long 1", "long 2", "short 0", "short 1", "short 2", "short 3"]
    assert len(items(pick({"in_band": list(texts)}, {"in_band": 1.0}, 20, records=texts))) == 8


def test_numbers_are_asked_by_expected_error_and_before_that_by_type() -> None:
    """The quotas of `scores`: 40 % spread, which a model that learnt nothing gives to the typical items."""
    quotas = KINDS["scores"].quotas
    assert shares(quotas, 20) == {"spread": 8, "diverse": 7, "random_audit": 5}
    assert shares(warmed(quotas, 0), 20) == {"diverse": 15, "random_audit": 5}
    candidates = {"spread": range(10, 30), "diverse": range(30, 50), "random_audit": range(50, 60)}
    batch = pick(candidates, dict(quotas), 20)
    assert Counter(one.reason for one in batch.picks) == {"spread": 8, "diverse": 7, "random_audit": 5}
    silent = pick({**candidates, "spread": []}, dict(quotas), 20)
    assert Counter(one.reason for one in silent.picks) == {"diverse": 15, "random_audit": 5}
    assert silent.shortfall == {"spread": 8}


def test_a_shortfall_is_named_and_filled_by_others() -> None:
    """What a reason cannot fill is said and goes to the others; the audit never fills for them."""
    batch = pick(
        {"in_band": [1], "diverse": range(10, 20), "random_audit": range(20, 40)},
        {"in_band": 0.5, "diverse": 0.3, "random_audit": 0.2, "rare_class": 0.0},
        10,
    )
    assert len(batch.picks) == 10
    assert batch.shortfall == {"in_band": 4}
    assert Counter(one.reason for one in batch.picks) == {"in_band": 1, "diverse": 7, "random_audit": 2}


def test_a_short_audit_is_filled_and_said() -> None:
    """An audit with nothing to draw from is named; the experts' time still goes to something."""
    batch = pick({"in_band": range(9), "random_audit": []}, {"in_band": 0.5, "random_audit": 0.5}, 4)
    assert batch.shortfall == {"random_audit": 2}
    assert items(batch) == ["0", "1", "2", "3"]


def test_the_audit_takes_first() -> None:
    """What the audit drew stays in the audit although another reason ranks it first: else the draw is biased."""
    batch = pick({"in_band": [1, 2, 3], "random_audit": [1, 2]}, {"in_band": 0.5, "random_audit": 0.5}, 4)
    assert items(batch, "random_audit") == ["1", "2"]
    assert {one.item: one.note for one in batch.picks}["1"] == "by random_audit; also in_band"
    assert items(batch, "in_band") == ["3"]


def test_experts_see_the_reasons_in_turn() -> None:
    """Ranks count from 0 and the reasons alternate, so that stopping early leaves a mixed batch."""
    batch = pick({"in_band": range(3), "diverse": range(10, 13)}, {"in_band": 0.5, "diverse": 0.5}, 6)
    assert items(batch) == ["0", "10", "1", "11", "2", "12"]
    assert [one.rank for one in batch.picks] == list(range(6))
    assert (batch.name, batch.schema, batch.model) == ("b1", "s", "m")


POOL = st.lists(st.integers(0, 40), unique=True, max_size=25)


@settings(deadline=None)
@given(
    lists=st.dictionaries(st.sampled_from(REASONS), POOL, min_size=1),
    weights=st.lists(st.floats(0.01, 1), min_size=len(REASONS), max_size=len(REASONS)),
    size=st.integers(0, 30),
    asked=st.sets(st.integers(0, 40), max_size=20),
    modulus=st.integers(5, 41),
)
def test_whatever_the_candidates_the_batch_is_sound_c24_c29(
    lists: dict[str, list[int]], weights: list[float], size: int, asked: set[int], modulus: int
) -> None:
    """No item twice, none asked or like it, one of a cluster, at most the size; exact shortfall (C24, C29)."""
    quotas = dict(zip(REASONS, weights, strict=True))
    duplicates = {str(i): str(i % modulus) for i in range(41)}
    given_ = {str(one) for one in asked}
    batch = pick(lists, quotas, size, asked=given_, duplicates=duplicates)
    got = items(batch)
    assert len(got) == len(set(got)) <= size
    assert not given_ & set(got)
    taken = {duplicates[one] for one in given_}
    assert len({duplicates[one] for one in got} - taken) == len(got)
    assert all(int(one.item) in lists[one.reason] for one in batch.picks)
    assert [one.rank for one in batch.picks] == list(range(len(got)))
    due, have = shares(quotas, size), Counter(one.reason for one in batch.picks)
    assert have["random_audit"] <= due["random_audit"]
    assert all(0 < missing <= due[reason] for reason, missing in batch.shortfall.items())
    assert all(due[reason] - missing <= have[reason] for reason, missing in batch.shortfall.items())
    assert all(have[reason] >= count for reason, count in due.items() if reason not in batch.shortfall)
    left = {one for reason in lists if reason != "random_audit" for one in map(str, lists[reason]) if one not in given_}
    if len(got) < size:
        assert {duplicates[one] for one in left} <= {duplicates[one] for one in got} | taken
    assert pick(lists, quotas, size, asked=given_, duplicates=duplicates) == batch
