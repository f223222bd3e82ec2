"""How far annotators agree: published figures, the libraries as references, and what is not defined."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import krippendorff
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from toughcall.annotate.agreement import (
    MOST,
    Agreement,
    Level,
    agreement,
    alphas,
    disagreements,
    kappas,
    newest,
    reference_alpha,
    resampled,
    strength,
)
from toughcall.records import Answer, Value
from toughcall.schema import Dimension, Schema

FIVE = Schema("multiclass", ("1", "2", "3", "4", "5"), True)
SCALE = Schema("scores", (), False, dimensions=(Dimension("d", 0, 10),))
MANY = Schema("multilabel", ("a", "b", "c"), False)
NAN = math.nan
FOUR_CODERS = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
        [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
    ]
)
"""Krippendorff, Computing Krippendorff's Alpha-Reliability, 2011, part C: four coders, twelve units."""


def said(item: str, who: str, value: Value, schema: Schema, **more: Any) -> Answer:
    return Answer(
        **{"key": f"{item}/{who}", "outcome": "label", "batch": "b", "schema": schema.version, **more},
        item=item,
        annotator=who,
        value=value,
    )


def answers(codes: np.ndarray, schema: Schema) -> list[Answer]:
    """One answer for each cell that holds a number; without labels the number is that of dimension d."""
    return [
        said(f"i{i:03d}", f"ann{a}", (str(int(x)),) if schema.labels else (("d", float(x)),), schema)
        for a, row in enumerate(codes)
        for i, x in enumerate(row)
        if not math.isnan(x)
    ]


def crowd(rng: np.random.Generator, items: int, annotators: int, wrong: float, missing: float = 0.0) -> list[Answer]:
    truth = rng.random((items, 3)) < [0.5, 0.3, 0.1]
    found = []
    for i, right in enumerate(truth):
        for a in range(annotators):
            if rng.random() >= missing:
                chosen = right ^ (rng.random(3) < wrong)
                value = tuple(label for label, one in zip(MANY.labels, chosen, strict=True) if one)
                found.append(said(f"i{i:03d}", f"ann{a}", value, MANY))
    return found


def by_name(rows: Sequence[Agreement]) -> dict[str, Agreement]:
    return {row.of: row for row in rows}


def close(a: Agreement, b: Agreement) -> None:
    for name in Agreement.__slots__:
        x, y = getattr(a, name), getattr(b, name)
        assert (x == pytest.approx(y, abs=1e-9)) if isinstance(x, float) and isinstance(y, float) else x == y, name


def test_krippendorffs_four_coders() -> None:
    """Krippendorff's own example: alpha is 0.743 for names and 0.849 for intervals, over 11 units of 12."""
    nominal = by_name(agreement(answers(FOUR_CODERS, FIVE), FIVE, seed=0, resamples=20))[""]
    interval = by_name(agreement(answers(FOUR_CODERS, SCALE), SCALE, seed=0, resamples=20))["d"]
    assert nominal.alpha == pytest.approx(0.743, abs=5e-4)
    assert interval.alpha == pytest.approx(0.849, abs=5e-4)
    assert (nominal.items, nominal.annotators) == (interval.items, interval.annotators) == (11, 4)
    assert interval.kappa is None
    assert "compares labels, not numbers" in interval.why


@pytest.mark.parametrize(
    ("table", "kappa"),
    [
        # 200 patients, three diagnoses: p_o = 0.70, p_e = 0.41 (Cohen 1960)
        ([[88, 14, 18], [10, 40, 10], [2, 6, 12]], (0.70 - 0.41) / (1 - 0.41)),
        # 50 proposals, yes or no: p_o = 0.70, p_e = 0.50
        ([[20, 5], [10, 15]], 0.40),
        # p_o = 0.60 twice, and chance between: by hand 0.1304 and 0.2593
        ([[45, 15], [25, 15]], (0.60 - 0.54) / (1 - 0.54)),
        ([[25, 35], [5, 35]], (0.60 - 0.46) / (1 - 0.46)),
    ],
)
def test_cohens_tables(table: list[list[int]], kappa: float) -> None:
    """Kappa of two annotators is Cohen's, computed by hand from tables of what the first and second said."""
    cells = [(r, c) for r, row in enumerate(table) for c, n in enumerate(row) for _ in range(n)]
    row = by_name(agreement(answers(np.array(cells).T + 1.0, FIVE), FIVE, seed=0, resamples=50))[""]
    assert row.kappa == pytest.approx(kappa, abs=1e-12)
    assert row.kappa_low is not None
    assert row.kappa_high is not None
    assert row.kappa_low < kappa < row.kappa_high
    assert row.agreeing == pytest.approx(np.trace(np.array(table)) / np.sum(table))


@pytest.mark.parametrize("level", ["nominal", "interval"])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_resample_is_the_librarys_value(level: Level, seed: int) -> None:
    """Alpha by sums over items is the library's: on the whole and on resamples, with missing answers and offsets."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 4, (4, 60)) + 1e8 * (level == "interval")
    codes[1] = codes[0]
    codes[rng.random(codes.shape) < 0.3] = NAN
    weights = next(resampled(60, seed, 12))
    assert weights.shape == (12, 60)
    assert set(weights.sum(axis=1)) == {60.0}
    found = alphas(codes, level, np.vstack([np.ones(60), weights]))
    for value, w in zip(found, np.vstack([np.ones(60), weights]), strict=True):
        drawn = np.repeat(codes, w.astype(int), axis=1)
        assert value == pytest.approx(krippendorff.alpha(drawn, level_of_measurement=level), abs=1e-6)
    assert reference_alpha(codes, level) == pytest.approx(found[0], abs=1e-6)


def test_a_resamples_kappa_is_scikit_learns() -> None:
    """Kappa by sums over items is scikit-learn's mean over pairs, each by the items it shares, on resamples too."""
    rng = np.random.default_rng(3)
    codes = rng.integers(0, 3, (3, 50)).astype(float)
    codes[1, :30] = codes[0, :30]
    codes[2, 35:] = NAN
    weights = np.vstack([np.ones(50), next(resampled(50, 5, 6))])
    for value, w in zip(kappas(codes, weights), weights, strict=True):
        drawn, total, shared = np.repeat(codes, w.astype(int), axis=1), 0.0, 0
        for a, b in ((0, 1), (0, 2), (1, 2)):
            both = ~np.isnan(drawn[a]) & ~np.isnan(drawn[b])
            total += both.sum() * cohen_kappa_score(drawn[a][both].astype(int), drawn[b][both].astype(int))
            shared += both.sum()
        assert value == pytest.approx(total / shared, abs=1e-12)


def test_too_many_values_for_the_librarys_table() -> None:
    """Where the library's table would take gigabytes, alpha comes from the same sums."""
    rng = np.random.default_rng(0)
    truth = rng.random(400)
    codes = truth + 0.1 * rng.random((3, 400))
    assert reference_alpha(codes, "interval") == pytest.approx(alphas(codes, "interval", np.ones((1, 400)))[0])
    few = codes[:, :30]
    assert reference_alpha(few, "interval") == pytest.approx(krippendorff.alpha(few), abs=1e-9)


def test_the_pieces_of_the_bootstrap_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights drawn in pieces, for memory's sake, are as many, and the same seed draws the same."""
    whole = np.vstack(list(resampled(10, 1, 7)))
    monkeypatch.setattr("toughcall.annotate.agreement._CHUNK", 25)
    pieces = list(resampled(10, 1, 7))
    assert [len(one) for one in pieces] == [2, 2, 2, 1]
    assert np.array_equal(np.vstack(pieces), whole)


def test_nobody_ever_chose_it() -> None:
    """C66: a label that nobody chose, or everybody always, has no alpha and no kappa, never 1.0, and says why."""
    found = by_name(
        agreement(
            [said(f"i{i}", w, ("b",) if i or w == "x" else ("a", "b"), MANY) for i in range(9) for w in "xy"],
            MANY,
            seed=0,
            resamples=20,
        )
    )
    for label, who in (("b", "everybody"), ("c", "nobody")):
        row = found[label]
        assert row.why.startswith(f"{who} chose it on the 9 items")
        assert (row.alpha, row.alpha_low, row.alpha_high, row.kappa, row.kappa_low, row.kappa_high) == (None,) * 6
        assert row.agreeing == 1.0
    assert found["c"].positives == 0
    assert found["a"].positives == 1
    assert found["a"].alpha is not None
    assert found["a"].alpha < 0.1


def test_no_item_with_two_answers() -> None:
    """Without an item that two answered nothing is defined, and the sentence says what to do."""
    for given_ in ([], [said("i", "x", ("a",), MANY), said("j", "y", ("a",), MANY)]):
        for row in agreement(given_, MANY, seed=0):
            assert row.alpha is row.kappa is row.agreeing is row.alpha_low is None
            assert row.items == row.annotators == 0
            assert row.why == "no item has answers of two annotators: ask two about some items"


def test_pairs_that_used_one_value_have_no_kappa() -> None:
    """Two pairs, one always yes, one always no: alpha is 1, Cohen's kappa is not defined and says so."""
    codes = np.full((4, 8), NAN)
    codes[:2, :4], codes[2:, 4:] = 1.0, 2.0
    row = by_name(agreement(answers(codes, FIVE), FIVE, seed=0, resamples=30))[""]
    assert row.alpha == 1.0
    assert row.kappa is row.kappa_low is row.kappa_high is None
    assert "no Cohen's kappa" in row.why


def test_perfect_agreement_on_few_items_is_not_certain() -> None:
    """No disagreement seen: alpha and kappa are 1, and their intervals reach down, further for fewer items."""
    lows = []
    for n in (6, 60):
        codes = np.tile(np.arange(n) % 3 + 1.0, (3, 1))
        row = by_name(agreement(answers(codes, FIVE), FIVE, seed=0, resamples=30))[""]
        assert row.alpha == row.kappa == row.alpha_high == row.agreeing == 1.0
        assert row.alpha_low == row.kappa_low
        assert row.alpha_low is not None
        lows.append(row.alpha_low)
        number = by_name(agreement(answers(codes, SCALE), SCALE, seed=0, resamples=30))["d"]
        assert number.alpha == 1.0
        # 0.025 ** (1 / n) of the items may agree with none seen that do not
        assert number.alpha_low == pytest.approx(0.025 ** (1 / n))
    assert lows[0] < 0.4 < 0.85 < lows[1] < 1.0


def test_chance_is_nought() -> None:
    """Independent answers have alpha and kappa about 0, and the interval holds it."""
    rng = np.random.default_rng(1)
    rows = agreement(answers(rng.integers(1, 4, (3, 500)).astype(float), FIVE), FIVE, seed=0, resamples=200)
    row = by_name(rows)[""]
    for value, low, high in ((row.alpha, row.alpha_low, row.alpha_high), (row.kappa, row.kappa_low, row.kappa_high)):
        assert value == pytest.approx(0.0, abs=0.06)
        assert low is not None
        assert high is not None
        assert low < 0.0 < high


def test_the_interval_holds_what_the_whole_would_say() -> None:
    """Of 60 samples of 80 items, the 95 % interval holds the alpha of the whole in 50 at least."""
    rng = np.random.default_rng(0)
    truth = rng.random(40_000) < 0.3
    codes = (truth ^ (rng.random((3, 40_000)) < 0.1)).astype(float)
    whole = reference_alpha(codes, "nominal")
    held = 0
    for _ in range(60):
        drawn = codes[:, rng.integers(0, 40_000, 80)]
        low, high = np.quantile(
            np.concatenate([alphas(drawn, "nominal", w) for w in resampled(80, 0, 300)]), [0.025, 0.975]
        )
        row = by_name(agreement(answers(drawn + 1, FIVE), FIVE, seed=0, resamples=300))[""]
        assert (row.alpha_low, row.alpha_high) == (pytest.approx(low), pytest.approx(high))
        held += low <= whole <= high
    assert held >= 50


@given(st.integers(0, 2**32 - 1), st.randoms(use_true_random=False))
def test_order_and_names_change_nothing(seed: int, shuffle: Any) -> None:
    """The order of the answers, and what the annotators are called, change no figure and no disagreement."""
    rng = np.random.default_rng(seed)
    given_ = crowd(rng, 8, 3, 0.2, 0.3)
    rows = agreement(given_, MANY, seed=1, resamples=10)
    mixed = list(given_)
    shuffle.shuffle(mixed)
    assert agreement(mixed, MANY, seed=1, resamples=10) == rows
    assert disagreements(mixed, MANY) == disagreements(given_, MANY)
    names = {"ann0": "zoe", "ann1": "bob", "ann2": "kim"}
    renamed = [said(a.item, names[a.annotator], a.value, MANY) for a in mixed]
    for one, other in zip(agreement(renamed, MANY, seed=1, resamples=10), rows, strict=True):
        close(one, other)
    assert [(d.item, d.torn, d.apart) for d in disagreements(renamed, MANY)] == [
        (d.item, d.torn, d.apart) for d in disagreements(given_, MANY)
    ]
    for row in rows:
        figures = [
            getattr(row, name) for name in ("alpha", "alpha_low", "alpha_high", "kappa", "kappa_low", "agreeing")
        ]
        assert all(one is None or (math.isfinite(one) and one <= 1.0 + 1e-12) for one in figures)
        assert (row.alpha is None) <= bool(row.why)


def test_c47_what_is_missing_is_no_negative() -> None:
    """C47: a skip, "can't tell" and a deleted answer are missing: neither a "no" nor a second answer."""
    full = [said(f"i{i}", w, ("a",) if i % 2 else ("b",), MANY) for i in range(6) for w in "xy"]
    rows = agreement(full, MANY, seed=0, resamples=20)
    for outcome in ("skip", "cant_tell", "deleted"):
        more = [said(f"i{i}", "z", (), MANY, outcome=outcome) for i in range(6)]
        assert agreement(full + more, MANY, seed=0, resamples=20) == rows
        alone = [said("k", "x", ("a",), MANY), said("k", "y", (), MANY, outcome=outcome)]
        assert agreement(full + alone, MANY, seed=0, resamples=20) == rows
        assert disagreements(alone, MANY) == []


def test_c48_each_annotators_newest_answer_counts() -> None:
    """C44, C48: one answer per annotator and item, the newest; an edit replaces its own; deleting leaves the other."""
    old = said("i", "x", ("a",), MANY, key="1", at="2026-01-01T10:00:00Z")
    new = said("i", "x", ("b",), MANY, key="2", at="2026-01-02T10:00:00Z")
    assert newest([new, old], MANY) == newest([old, new], MANY) == [new]
    edited = said("i", "x", ("c",), MANY, key="1", at="2026-01-03T10:00:00Z")
    assert newest([old, new, edited], MANY) == [edited]
    gone = said("i", "x", ("b",), MANY, key="2", outcome="deleted")
    assert newest([old, new, gone], MANY) == [old]
    late = said("i", "x", ("b",), MANY, key="2", outcome="deleted", at="2026-01-09T10:00:00Z")
    assert newest([old, new, late], MANY) == [old]
    skipped = said("i", "x", (), MANY, key="3", outcome="skip", at="2026-01-04T10:00:00Z")
    assert newest([old, new, skipped], MANY) == [skipped]
    plain = [said("i", "x", ("a",), MANY, key="1"), said("i", "x", ("b",), MANY, key="2")]
    assert newest(plain, MANY) == [plain[1]]


def test_only_people_and_one_schema_are_compared() -> None:
    """P14: answers under other labels are left out, and so are imported ones unless they are asked for."""
    own = [said(f"i{i}", "x", ("a",) if i % 2 else (), MANY) for i in range(4)]
    other = [said(f"i{i}", "y", ("a",), Schema("multilabel", ("a",), False)) for i in range(4)]
    made = [said(f"i{i}", "import", (), MANY, source="import") for i in range(4)]
    assert by_name(agreement(own + other + made, MANY, seed=0, resamples=20))[""].items == 0
    both = agreement(own + made, MANY, seed=0, resamples=20, sources=("person", "import"))
    assert by_name(both)[""].items == 4
    assert disagreements(own + made, MANY) == []


def test_all_labels_are_one_set() -> None:
    """Two sets that share a label differ as a whole, and agree on the label; their order says nothing."""
    rows = by_name(
        agreement(
            [
                said("i", "x", ("a", "b"), MANY),
                said("i", "y", ("b", "a"), MANY),
                said("j", "x", ("a", "c"), MANY),
                said("j", "y", ("a",), MANY),
                said("k", "x", (), MANY),
                said("k", "y", (), MANY),
            ],
            MANY,
            seed=0,
            resamples=20,
        )
    )
    assert list(rows) == ["", "a", "b", "c"]
    assert rows[""].agreeing == pytest.approx(2 / 3)
    assert rows["a"].agreeing == rows["a"].alpha == 1.0
    assert rows["a"].positives == 4
    assert rows[""].positives is None
    assert rows["c"].alpha == pytest.approx(0.0)  # D_o = 2/6, D_e = 2·1·5/(6·5)


def test_a_dimension_that_was_left_out_is_missing() -> None:
    """Numbers of the dimensions answered count, each for itself; agreeing is being near."""
    schema = Schema("scores", (), False, dimensions=(Dimension("d", 0, 10), Dimension("e", 0, 1)))
    given_ = [said("i", "x", (("d", 1.0), ("e", 0.0)), schema), said("i", "y", (("d", 3.0),), schema)]
    given_ += [said("j", "x", (("d", 9.0),), schema), said("j", "y", (("d", 6.0), ("e", 1.0)), schema)]
    rows = by_name(agreement(given_, schema, seed=0, resamples=20))
    assert "" not in rows
    assert (rows["d"].items, rows["e"].items) == (2, 0)
    assert rows["d"].agreeing == 0.5  # 2 of 10 apart is near, 3 is not
    codes = np.array([[1.0, 9.0], [3.0, 6.0]])
    assert rows["d"].alpha == pytest.approx(krippendorff.alpha(codes, level_of_measurement="interval"))


def test_c48_disagreements_say_who_said_what() -> None:
    """C48: items on which people differ: ties first, then the furthest apart, then by id, with every answer."""
    votes = {"e": "aab", "d": "aab", "c": "ab", "b": "abc", "a": "aaa", "f": "aabb"}
    given_ = [said(item, f"p{n}", (x,), MANY) for item, xs in votes.items() for n, x in enumerate(xs)]
    found = disagreements(given_, MANY)
    assert [(d.item, d.torn) for d in found] == [("b", True), ("c", True), ("f", True), ("d", False), ("e", False)]
    assert [d.apart for d in found] == pytest.approx([1.0, 1.0, 2 / 3, 2 / 3, 2 / 3])
    assert found[1].said == (("p0", ("a",)), ("p1", ("b",)))


def test_numbers_differ_beyond_the_tolerance() -> None:
    """Numbers further apart than a share of the range are a disagreement, but no tie: their mean decides."""
    schema = Schema("scores", (), False, dimensions=(Dimension("d", 0, 10), Dimension("e", -1, 1)))
    given_ = [
        said(item, who, (("d", x), ("e", y)), schema)
        for item, who, x, y in (
            ("near", "p", 1.0, 0.0),
            ("near", "q", 3.0, 0.4),
            ("far", "p", 1.0, 0.0),
            ("far", "q", 3.1, 0.0),
            ("other", "p", 1.0, -1.0),
            ("other", "q", 1.0, 0.0),
        )
    ]
    found = disagreements(given_, schema)
    assert [(d.item, d.torn) for d in found] == [("other", False), ("far", False)]
    assert [d.apart for d in found] == pytest.approx([0.5, 0.21])
    assert [d.item for d in disagreements(given_, schema, tolerance=0.3)] == ["other"]


def test_known_items_tell_annotators_apart() -> None:
    """Annotators who share no item differ by what is known: 20 of 20 right and 5 of 20; unknown, they are alike."""
    i, a = np.arange(40), np.repeat([0, 1], 20)
    c = np.array([0] * 25 + [1] * 15)
    assert strength(i, a, c, np.zeros(40, dtype=np.intp)) < 5.0
    assert strength(i, a, c, np.full(40, -1)) == MOST
