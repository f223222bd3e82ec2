"""Splits: what belongs together is never torn apart (C61)."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from toughcall.model.split import check_apart, connected, folds, group_of, part_of
from toughcall.records import Pair, Text

quick = settings(max_examples=100, deadline=None)
records = st.lists(
    st.builds(Text, st.sampled_from("abcdefgh"), st.sampled_from(["", *"12345"]), st.sampled_from(["", "", "g", "h"])),
    max_size=14,
    unique_by=lambda text: text.id,
)


@st.composite
def pools(draw: st.DrawFn) -> tuple[list[Text], list[tuple[str, str]]]:
    """Records and near-duplicate pairs among them, with a stranger now and then."""
    texts = draw(records)
    ids = st.sampled_from([*(text.id for text in texts), "stranger"])
    return texts, draw(st.lists(st.tuples(ids, ids), max_size=6))


@quick
@given(pools(), st.randoms())
def test_c61_what_is_alike_shares_a_group_whatever_the_order(
    pool: tuple[list[Text], list[tuple[str, str]]], rng: random.Random
) -> None:
    """C61: equal texts, near-duplicates and user groups are one group; the order of the rows says nothing."""
    texts, near = pool
    home = group_of(texts, near)
    assert set(home) == {text.id for text in texts}
    for a in texts:
        for b in texts:
            if a.text == b.text or (a.group and a.group == b.group):
                assert home[a.id] == home[b.id]
    for one, other in near:
        if one in home and other in home:
            assert home[one] == home[other]
    mixed, turned = list(texts), [(b, a) for a, b in near]
    rng.shuffle(mixed)
    rng.shuffle(turned)
    assert group_of(mixed, turned) == home


@quick
@given(pools())
def test_what_nothing_connects_stays_apart(pool: tuple[list[Text], list[tuple[str, str]]]) -> None:
    """Rule: groups are exactly the components of what is alike, no larger."""
    texts, near = pool
    home = group_of(texts, near)
    reach = {text.id: {text.id} for text in texts}
    for _ in range(len(texts) + 1):
        for a in texts:
            for b in texts:
                alike = a.text == b.text or (a.group and a.group == b.group)
                if alike or (a.id, b.id) in near or (b.id, a.id) in near:
                    reach[a.id] |= reach[b.id]
    for a in texts:
        assert {b.id for b in texts if home[b.id] == home[a.id]} == reach[a.id]


def test_a_user_group_called_like_a_text_is_not_that_text() -> None:
    """Rule: the group "a" of one record has nothing to do with the text "a" of another."""
    texts = [Text("a", "1"), Text("b", "2", "a")]
    assert len(set(group_of(texts, []).values())) == 2


def test_the_part_of_a_group_is_the_same_on_every_machine_and_has_the_asked_share() -> None:
    """C61: drawn by digest alone (fixed examples), nested in the share, near the share over many groups."""
    groups = [f"t:{i}" for i in range(4000)]
    parts = [part_of(one, 0.2, 7) for one in groups]
    assert [part_of(one, 0.2, 7) for one in groups] == parts
    assert abs(parts.count("test") / len(parts) - 0.2) < 0.02
    assert [i for i in range(40) if parts[i] == "test"] == [10, 21, 22, 25, 31]
    assert {part_of(one, 0.0, 7) for one in groups} == {"train"}
    assert {part_of(one, 1.0, 7) for one in groups} == {"test"}
    assert all(part_of(one, 0.5, 7) == "test" for one, part in zip(groups, parts, strict=True) if part == "test")
    assert [part_of(one, 0.2, 8) for one in groups] != parts


@quick
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2)), min_size=1, max_size=40), st.integers(2, 5))
def test_c61_folds_keep_groups_whole(rows: list[tuple[int, int]], count: int) -> None:
    """C61: no group in two folds, folds in range, the same again for the same seed."""
    groups, truth = [f"g{g}" for g, _ in rows], np.eye(3, dtype=bool)[[c for _, c in rows]]
    fold = folds(groups, truth, count, 3)
    assert set(fold.tolist()) <= set(range(count))
    for one in set(groups):
        assert len({int(f) for f, g in zip(fold, groups, strict=True) if g == one}) == 1
    assert (folds(groups, truth, count, 3) == fold).all()


def test_folds_spread_the_rare_class() -> None:
    """Rule: five rare rows among a hundred stand one in each of five folds, and folds are about equal."""
    truth = np.zeros((100, 2), dtype=bool)
    truth[:, 0] = True
    truth[:5] = [False, True]
    fold = folds([f"g{i}" for i in range(100)], truth, 5, 0)
    assert sorted(fold[:5].tolist()) == [0, 1, 2, 3, 4]
    assert np.ptp(np.bincount(fold, minlength=5)) <= 2


def test_pairs_that_share_a_record_are_one_group_until_a_hub_chains_them_all() -> None:
    """C61: a shared record connects, also through a third pair; a hub of everything falls back to the pairs."""
    t = [Text(f"t{i}") for i in range(40)]
    chain = [Pair(t[0], t[1]), Pair(t[1], t[2]), Pair(t[2], t[3])]
    apart = [Pair(t[i], t[i + 1]) for i in range(4, 24, 2)]
    found = connected([*chain, *apart])
    assert len(set(found[:3])) == 1
    assert len(set(found)) == 11
    hub = [Pair(t[0], other) for other in t[1:]]
    assert connected(hub) == [pair.id for pair in hub]
    assert connected([]) == []


def test_c61_a_leak_is_named() -> None:
    """C61: records in both lists, or in the wrong one, are told by id; a clean split has none."""
    a, b, c, d = (Text(x) for x in "abcd")
    parts = {a.id: "train", b.id: "train", c.id: "test", d.id: "test"}
    assert check_apart(parts, [a, b], [c, d]) == []
    assert check_apart(parts, [a, c], [d]) == [c.id]
    assert check_apart(parts, [a], [b, c]) == [b.id]
    assert check_apart({}, [Pair(a, b)], [Pair(b, c)]) == [b.id]
