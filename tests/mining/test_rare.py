"""Looking for a rare class: by known ones, by phrases, by patterns; what they brought, and when that falls."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toughcall.mining import rare
from toughcall.mining.embed import Encoder, embed
from toughcall.mining.patterns import matches, precisions
from toughcall.mining.proportions import fell, wilson
from toughcall.mining.rare import known_neighbours, patterns, seeds
from toughcall.mining.reasons import choose
from toughcall.mining.strategies import rare_class
from toughcall.mining.yields import Yield, aim, alarms, halves, yields
from toughcall.records import Pair, Pick, Relation, Span, Text, UsageError, Vectors

HINTS = {"x": np.eye(1, 4, dtype=np.float32), "y": np.eye(2, 4, 1, dtype=np.float32)}

LOOKING = ("known_neighbours", "patterns", "seeds")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def names(picks: Sequence[Pick]) -> list[str]:
    return [pick.item for pick in picks]


def near(array: Any, ids: Sequence[str] = ()) -> Vectors:
    rows = np.asarray(array, np.float32)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return Vectors(tuple(ids) or tuple(f"i{row:03d}" for row in range(len(rows))), rows, "made")


def context_for(ids: Sequence[str], equal: bool = False, width: int = 4) -> dict[str, Any]:
    """Everything the rare strategies may be told, for a pool and five answered items beside it."""
    known = [f"known{row}" for row in range(5)]
    array = np.ones((len(ids) + 5, width)) if equal else rng(7).normal(size=(len(ids) + 5, width))
    return {
        "vectors": near(array, [*sorted(ids), *known]),
        "answers": {"known0": ("x",), "known1": ("x", "y"), "known2": ("z",), "known3": (), "known4": ("z",)},
        "audited": {"known3": (), "known4": ("z",)},
        "seed_vectors": HINTS,
        "described": ("y",),
        "matched": {"x": {"a+": [*sorted(ids)[::2], "known0"]}, "y": {"b": sorted(ids), "c": ["known2"]}},
        "counts": {"x": 2, "y": 1, "z": 2},
    }


@pytest.mark.parametrize("reason", LOOKING)
@pytest.mark.parametrize("equal", [True, False])
@pytest.mark.parametrize("n", [1, 7, 500])
def test_each_rare_reason_keeps_the_contract_of_strategies(scored: Any, reason: str, equal: bool, n: int) -> None:
    """C23, C24, P13: at most n of the pool's ids, each once, ranked from 0, whatever the order of the pool."""
    values = np.full((30, 3), 0.5) if equal else rng(1).random((30, 3))
    scores = scored(values)
    context = context_for(scores.ids, equal)
    picks = choose(reason, scores, n, rng=rng(), **context)
    assert len(picks) == len(set(names(picks))) == min(n, 30)
    assert set(names(picks)) <= set(scores.ids)
    assert [pick.rank for pick in picks] == list(range(len(picks)))
    assert {(pick.reason, pick.probability) for pick in picks} == {(reason, 1.0)}
    assert all(np.isfinite(pick.score) for pick in picks)
    assert all(aim(pick, scores.labels) in "xyz" and aim(pick, scores.labels) for pick in picks), "notes name the class"
    shuffled = scores.take(rng(2).permutation(30))
    vectors = context["vectors"]
    turned = rng(3).permutation(35)
    moved = Vectors(tuple(vectors.ids[i] for i in turned), vectors.array[turned], "made")
    back = dict(reversed(context["answers"].items()))
    again = choose(reason, shuffled, n, rng=rng(), **{**context, "vectors": moved, "answers": back})
    assert again == picks
    if equal and reason == "patterns" and n < 30:
        assert names(picks)[0] == "i000", "ties by id"


@pytest.mark.parametrize("reason", LOOKING)
def test_a_pool_of_three_and_an_empty_one_c24(scored: Any, reason: str) -> None:
    """C24: a pool of 3 asked for 500 gives 3; of none, none; without anything to go by, none and no error (C28)."""
    scores = scored(rng(1).random((3, 3)))
    assert len(choose(reason, scores, 500, rng=rng(), **context_for(scores.ids))) == 3
    none = scores.take([])
    assert choose(reason, none, 5, rng=rng(), **context_for(scores.ids)) == []
    assert choose(reason, scores, 5, rng=rng()) == []
    assert choose(reason, scores, 0, rng=rng(), **context_for(scores.ids)) == []


def test_neighbours_are_those_of_the_rarest_class_first(scored: Any) -> None:
    """The rarer class gets more turns, each pick is the nearest that is left, and the note says to what."""
    array = [[1, 0, 0], [0.9, 0.1, 0], [0.8, 0.3, 0], [0, 1, 0], [0, 0.9, 0.1], [0, 0.8, 0.3], [1, 0, 0.01], [0, 1, 0]]
    vectors = near(array, ["a0", "a1", "a2", "b0", "b1", "b2", "p", "q"])
    scores = scored(np.full((6, 2), 0.5), "xy", vectors.ids[:6])
    answers = {"p": ("x",), "q": ("y",)}
    picks = known_neighbours(scores, 4, rng=rng(), vectors=vectors, answers=answers, counts={"x": 1, "y": 8})
    assert names(picks) == ["a0", "a1", "b0", "a2"], "weights 1/2 and 1/9: three turns to one"
    assert [pick.note.split(", cosine")[0] for pick in picks[1:3]] == [
        "x: alike 1 known one, unlike 1 other",
        "y: alike 1 known one, unlike 1 other",
    ]
    moved = vectors.array[6] - 0.5 * vectors.array[7]
    assert picks[1].score == pytest.approx(vectors.array[1] @ moved / np.linalg.norm(moved), abs=1e-6)
    null = known_neighbours(scores, 3, rng=rng(), vectors=vectors, answers=answers, null="x")
    assert names(null) == ["b0", "b1", "b2"], "nobody looks for the null label"


def test_neighbours_keep_away_from_what_is_known_not_to_be_one(scored: Any) -> None:
    """Of two items as near to a positive, the one on the side of the known others comes last."""
    vectors = near([[1, 0.5, 0.01], [1, 0, -0.5], [1, 0, 0], [0, 1, 0]], ["beside", "other", "yes", "no"])
    scores = scored([[0.5], [0.5]], "x", ["beside", "other"])
    answers = {"yes": ("x",), "no": ()}
    context = {"vectors": vectors, "answers": answers}
    assert names(known_neighbours(scores, 2, rng=rng(), **context)) == ["other", "beside"]
    assert names(known_neighbours(scores, 2, rng=rng(), vectors=vectors, answers={"yes": ("x",)}))[1] == "beside"
    assert known_neighbours(scores, 2, rng=rng(), vectors=vectors, answers={"no": ()}) == []


def test_two_kinds_of_one_class_are_both_looked_around(scored: Any) -> None:
    """A class need not be one cloud: what is next to either of two far positives comes before what is between."""
    array = [[1, 0.02, 0], [0.02, 1, 0], [0.4, 0.4, 0.9], [1, 0, 0], [0, 1, 0]]
    vectors = near(array, ["left", "right", "off", "p", "q"])
    scores = scored([[0.5]] * 3, "x", ["left", "off", "right"])
    answers = {"p": ("x",), "q": ("x",)}
    picks = known_neighbours(scores, 3, rng=rng(), vectors=vectors, answers=answers)
    assert names(picks) == ["left", "right", "off"]


def test_neighbours_of_items_with_two_views(scored: Any) -> None:
    """A pair or relation stands where the mean of its views stands; a positive without a vector is no example."""
    vectors = near([[1, 0], [0, 1], [1, 0], [0.9, 0.1], [1, 1]], ["t0", "t1", "t2", "t3", "t4"])
    records = {"near": ("t2", "t3"), "far": ("t1",), "middle": ("t4",), "known": ("t0", "t2"), "gone": ("lost",)}
    scores = scored([[0.5], [0.5], [0.5]], "x", ["far", "middle", "near"])
    context = {"vectors": vectors, "records": records, "answers": {"known": ("x",), "gone": ("x",)}}
    picks = known_neighbours(scores, 3, rng=rng(), **context)
    assert names(picks) == ["near", "middle", "far"]
    assert known_neighbours(scores, 3, rng=rng(), **{**context, "answers": {"gone": ("x",)}}) == []


def test_neighbours_in_blocks_are_exact(scored: Any, unit_vectors: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many blocks the pool is searched in, the same are found as by looking at all of them."""
    vectors = unit_vectors(220)
    scores = scored(np.full((200, 1), 0.5), "x", vectors.ids[:200])
    answers = dict.fromkeys(vectors.ids[200:], ("x",))
    context = {"vectors": vectors, "answers": answers}
    monkeypatch.setattr(rare, "EXAMPLES", 20)
    whole = known_neighbours(scores, 40, rng=rng(), **context)
    moved = 0.1 * vectors.array[200:] + 0.9 * vectors.array[200:].mean(axis=0)
    cosines = (vectors.array[:200] @ (moved / np.linalg.norm(moved, axis=1, keepdims=True)).T).max(axis=1)
    assert names(whole) == [vectors.ids[row] for row in np.argsort(-cosines)[:40]]
    monkeypatch.setattr(rare, "EXACT", 37)
    assert names(known_neighbours(scores, 40, rng=rng(), **context)) == names(whole)


def test_a_class_nobody_found_is_looked_for_by_its_phrases_c28(scored: Any, minilm: Encoder, tmp_path: Path) -> None:
    """C28: with 0 positives the seed phrases find the needle, or its description does, and the note says so."""
    texts = [
        Text(f"The {what} will be late {when}") for what in ("bus", "train", "tram") for when in ("today", "again")
    ]
    needle = Text("The volcano erupted and lava ran down the slope")
    every = embed([*texts, needle], minilm, tmp_path)
    scores = scored(np.full((7, 2), 0.5), ["eruption", "delay"], every.ids)
    spoken = {
        "eruption": minilm.encode(["magma flows out of a mountain", "ash fell"]),
        "delay": minilm.encode(["late"]),
    }
    picks = seeds(scores, 1, rng=rng(), vectors=every, seed_vectors=spoken, counts={"delay": 5})
    assert names(picks) == [needle.id]
    assert "eruption: no label yet, the guess is from seed phrase 1 of 2, cosine" in picks[0].note
    described = seeds(
        scores, 7, rng=rng(), vectors=every, seed_vectors=spoken, counts={"delay": 5}, described=["eruption"]
    )
    assert names(described)[0] == needle.id
    assert "the guess is from its description" in described[0].note
    assert {aim(pick, scores.labels) for pick in described} == {"eruption"}, "five labels are enough to go without"
    assert seeds(scores, 7, rng=rng(), vectors=every, seed_vectors=spoken, counts={"delay": 5, "eruption": 5}) == []
    few = seeds(scores, 1, rng=rng(), vectors=every, seed_vectors=spoken, counts={"delay": 9, "eruption": 4})
    assert "4 labels so far" in few[0].note


def test_patterns_are_asked_by_measured_precision(scored: Any) -> None:
    """The note holds what experts confirmed of a pattern; the better one comes first, then P(class), then the id."""
    scores = scored([[0.1], [0.9], [0.5], [0.5], [0.2]], "x")
    matched = {
        "x": {"good": ["i000", "i002", "i003", *(f"k{i}" for i in range(12))], "bad": ["i001", "i003", "n0", "n1"]}
    }
    answers = {**{f"k{i}": ("x",) if i < 7 else () for i in range(12)}, "n0": (), "n1": ("x",), "elsewhere": ("x",)}
    picks = patterns(scores, 9, rng=rng(), matched=matched, answers=answers)
    assert names(picks) == ["i002", "i003", "i000", "i001"]
    assert picks[0].note == "x: matches 'good', 7 of 12 answers confirmed"
    assert picks[3].note == "x: matches 'bad', 1 of 2 answers confirmed"
    assert picks[0].score == pytest.approx(8 / 14)
    fresh = patterns(scores, 1, rng=rng(), matched={"x": {"new": ["i004"]}})
    assert fresh[0].note == "x: matches 'new', none of its matches is answered yet"


def test_a_pattern_worse_than_chance_is_dropped_with_a_sentence(scored: Any) -> None:
    """Significantly below the share among random ones: dropped and said; a bad start of few answers is not enough."""
    scores = scored(np.full((4, 1), 0.5), "x")
    audited = {f"r{i}": ("x",) if i < 30 else () for i in range(100)}
    matched = {"x": {"bad": ["i000", *(f"b{i}" for i in range(40))], "young": ["i001", "c0", "c1"]}}
    answers = {**{f"b{i}": () for i in range(40)}, "c0": (), "c1": ()}
    bad, young = precisions(matched, answers, audited)
    assert bad.dropped == (
        "the pattern 'bad' of x is no longer asked about: 0 of 40 answers confirmed it, "
        "of items drawn at random 30 of 100 are x"
    )
    assert (bad.matched, bad.answered, bad.confirmed, bad.low) == (41, 40, 0, 0.0)
    assert bad.high == pytest.approx(0.0876, abs=1e-3)
    assert not young.dropped
    assert names(patterns(scores, 9, rng=rng(), matched=matched, answers=answers, audited=audited)) == ["i001"]
    assert not precisions(matched, answers)[0].dropped, "nothing to hold it against"


def test_w1_a_pattern_at_60_percent_prints_50_to_69() -> None:
    """W1 of the post-mortems: 60 of 100 checked hits are 50–69 %."""
    [one] = precisions(
        {"x": {"p": [str(i) for i in range(100)]}}, {str(i): ("x",) if i < 60 else () for i in range(100)}
    )
    assert f"{one.low:.0%}–{one.high:.0%}" == "50%–69%"


def test_what_a_pattern_reads() -> None:
    """The text in any case; a relation as it is shown, marks and all; of a pair both texts; no pattern, no match."""
    text, other = Text("We SHARE your data"), Text("Nothing here")
    relation = Relation(Text("Ammonites come from the Grit"), Span(0, 9, "TAXON"), Span(24, 28, "STRAT"))
    pair, mixed = Pair(Text("pump leaks"), Text("the PUMP drips")), Pair(Text("pump leaks"), Text("door stuck"))
    found = matches(
        [text, other, relation, pair, mixed],
        [("x", (r"share.*data", r"\[/SUBJ\].{0,20}from .*\[OBJ\]")), ("y", ("pump", "^$"))],
    )
    assert found == {
        "x": {r"share.*data": {text.id}, r"\[/SUBJ\].{0,20}from .*\[OBJ\]": {relation.id}},
        "y": {"pump": {pair.id}, "^$": set()},
    }
    assert matches([text], []) == {}
    with pytest.raises(UsageError, match=r"the pattern 'a\(' of x is no regular expression .*\[patterns\]"):
        matches([text], [("x", ("a(",))])


def test_no_pattern_can_hang() -> None:
    """The expression that takes others 2^n steps needs a moment here, and blocks of items are read one by one."""
    evil = Text("a" * 20_000 + "!")
    assert matches([evil], [("x", ("(a+)+$", "(a|aa)+!$"))])["x"] == {"(a+)+$": set(), "(a|aa)+!$": {evil.id}}


def test_matches_go_on_over_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many items are held at once, the same are found."""
    texts = [Text(f"number {i}") for i in range(25)]
    whole = matches(texts, [("x", ("1",))])
    monkeypatch.setattr("toughcall.mining.patterns.BLOCK", 4)
    assert matches(iter(texts), [("x", ("1",))]) == whole
    assert len(whole["x"]["1"]) == 12


def picked(batch: str, reason: str, label: str, yes: int, no: int) -> tuple[list[tuple[str, Pick]], dict[str, Any]]:
    """Picks of one batch and their answers."""
    items = [f"{batch}{reason}{label}{i}" for i in range(yes + no)]
    note = f"P({label}) = 0.50, 3 labels so far" if reason == "rare_class" else f"{label}: cosine 0.5"
    picks = [(batch, Pick(one, reason, 0.5, rank, 1.0, note)) for rank, one in enumerate(items)]
    return picks, {one: (label,) if i < yes else () for i, one in enumerate(items)}


def test_yields_are_of_the_class_that_was_asked_for(scored: Any) -> None:
    """A pick after y says nothing of x; one that is after no class counts for all; unanswered ones do not count."""
    a, said_a = picked("b1", "rare_class", "x", 3, 2)
    b, said_b = picked("b2", "rare_class", "y", 1, 4)
    c, said_c = picked("b2", "random_audit", "x", 1, 9)
    unanswered, _ = picked("b3", "seeds", "x", 1, 1)
    found = yields([*a, *b, *c, *unanswered], {**said_a, **said_b, **said_c}, "xy")
    assert found == [
        Yield("x", "random_audit", (("b2", 10, 1),)),
        Yield("x", "rare_class", (("b1", 5, 3),)),
        Yield("y", "random_audit", (("b2", 10, 0),)),
        Yield("y", "rare_class", (("b2", 5, 1),)),
    ]
    assert (found[1].picks, found[1].positives) == (5, 3)
    [one] = rare_class(scored([[0.2, 0.7]], "xy"), 1, rng=rng(), counts={"x": 9})
    assert aim(one, ["x", "y"]) == "y", "as the strategy itself writes it"
    even = choose("class_balanced", scored([[0.2, 0.7], [0.9, 0.1]], "xy"), 2, rng=rng(), counts={"x": 9, "y": 9})
    assert {aim(pick, ["x", "y"]) for pick in even} == {"x", "y"}, "a pick that balances classes is after one of them"
    long = Pick("i", "seeds", 0.5, 0, 1.0, "a: b: no label yet")
    assert aim(long, ["a", "a: b"]) == "a: b"
    assert aim(Pick("i", "in_band", 0.5, 0, 1.0, "P(x) = 0.50, inside"), ["x"]) == ""


def test_an_alarm_when_the_yield_falls() -> None:
    """S3: 12 of 20, then 1 of 20: told with figures and what to do; a fall that luck explains is not."""
    fallen = Yield("x", "rare_class", (("b1", 10, 7), ("b2", 10, 5), ("b3", 15, 1), ("b4", 5, 0)))
    steady = Yield("y", "rare_class", (("b1", 10, 6), ("b2", 10, 5), ("b3", 20, 9)))
    dull = Yield("z", "seeds", (("b1", 50, 1), ("b2", 50, 0)))
    audit = Yield("x", "random_audit", (("b1", 30, 20), ("b2", 30, 0)))
    told = alarms([fallen, steady, dull, audit])
    assert set(told) == {"x"}
    assert told["x"].startswith(
        "rare_class finds less of x: 1 of the last 20, 12 of 20 before; write other seed phrases"
    )
    assert halves(fallen) == ((20, 12), (20, 1))
    better = Yield("x", "patterns", (("b4", 10, 4),))
    assert "ask by patterns instead (40% of its last picks)" in alarms([fallen, better])["x"]
    assert "import more records" in alarms([fallen, better], {"x": (0.2, 0.0, 0.9)})["x"]
    assert "about 90 (40–150) are left: ask by patterns" in alarms([fallen, better], {"x": (90.0, 40.0, 150.0)})["x"]


def test_many_classes_give_no_more_false_alarms_than_one() -> None:
    """Of 400 projects with 20 classes whose yield never changes, at most 5 % are alarmed at all (Holm, 1979)."""
    draw = rng(5)
    false = 0
    for _ in range(400):
        hits = draw.binomial(20, 0.4, size=(20, 2))
        found = [Yield(str(i), "seeds", (("b1", 20, int(a)), ("b2", 20, int(b)))) for i, (a, b) in enumerate(hits)]
        false += bool(alarms(found))
    assert false <= 20


@given(st.integers(0, 60), st.integers(0, 60))
def test_a_share_lies_in_its_interval(yes: int, no: int) -> None:
    """Wilson's interval holds the share, stays in [0, 1], is 0–30 % for 0 of 9 (G4), and all of it for nothing."""
    share, low, high = wilson(yes, yes + no)
    assert 0 <= low <= (share if share is not None else 0.5) <= high <= 1
    assert (share is None) == (yes + no == 0)
    assert [round(one, 2) for one in wilson(0, 9)[1:]] == [0.0, 0.3]
    # as in Brown, Cai and DasGupta's tables: 5 of 20
    assert wilson(5, 20)[1:] == pytest.approx((0.1119, 0.4687), abs=1e-4)
    assert wilson(50, 50)[2] == 1.0


def test_a_fall_against_fisher() -> None:
    """One-sided p as scipy's Fisher test has it: an independent check on tables by hand."""
    from scipy.stats import fisher_exact

    for before, n_before, now, n_now in ((12, 20, 1, 20), (3, 10, 2, 12), (0, 5, 0, 5), (9, 9, 0, 4)):
        table = [[now, n_now - now], [before, n_before - before]]
        assert fell(before, n_before, now, n_now) == pytest.approx(fisher_exact(table, "less")[1])
    assert fell(0, 0, 0, 5) == fell(3, 5, 0, 0) == 1.0
