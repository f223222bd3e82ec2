"""The gate: closed unless everything it asks for is there, and pure (C66-C68)."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toughcall.model import kinds
from toughcall.model.evaluate import Report, better, evaluate, paired
from toughcall.model.gate import Gate, Verdict, judge
from toughcall.model.targets import parse
from toughcall.records import Label, Scores
from toughcall.schema import Dimension

N = 80
TRUE = np.arange(N) % 2 == 0
PAIR, LABELLED = Gate("roc_auc", min_items=50), Gate("macro_f1", min_items=50)
NUMBERS = Gate("weighted_mae", min_items=50)


@functools.lru_cache
def auc(model: str, strength: float, role: str = "candidate", n: int = N, seed: int = 0) -> Report:
    """Return a report on pairs whose scores separate by `strength` over noise drawn from `seed`."""
    kind = kinds.get("pair")
    schema = kind.schema(kind.default_labels)
    noise = np.random.default_rng(seed).normal(size=n)
    p = 1 / (1 + np.exp(-(strength * np.where(TRUE[:n], 1, -1) + noise)))
    ids = tuple(f"i{i}" for i in range(n))
    labels = [Label(one, ("similar",) if yes else ("not_similar",)) for one, yes in zip(ids, TRUE, strict=False)]
    scores = Scores(ids, ("similar",), p[:, None].astype(np.float32), model)
    return evaluate(model, kind, schema, labels, scores, kind.plain(schema), seed=0, role=role)


@functools.lru_cache
def macro(model: str, wrong: int, role: str = "candidate", start: int = 0) -> Report:
    """Return a report on two of three classes, of which `wrong` rows from `start` on are wrong."""
    labels = ("a", "b", "c")
    kind = kinds.get("multiclass")
    schema = kind.schema(labels)
    truth = np.arange(N) % 2
    said = np.where((np.arange(N) - start) % N < wrong, 1 - truth, truth)
    ids = tuple(f"i{i}" for i in range(N))
    rows = [Label(one, (labels[t],)) for one, t in zip(ids, truth, strict=True)]
    scores = Scores(ids, labels, np.eye(len(labels), dtype=np.float32)[said], model)
    return evaluate(model, kind, schema, rows, scores, kind.plain(schema), seed=0, role=role)


@functools.lru_cache
def error(model: str, size: float, role: str = "candidate", seed: int = 0, *, answered: bool = True) -> Report:
    """Return a report on two dimensions whose numbers are `size` off on average, above and below."""
    kind = kinds.get("scores")
    schema = kind.schema((), dimensions=(Dimension("a", 0.0, 10.0, 3.0), Dimension("b", 0.0, 10.0, 1.0)))
    rng = np.random.default_rng(seed)
    true = np.tile(np.linspace(4.0, 6.0, N)[:, None], 2)
    # gaps of every size from none to twice the mean
    gap = size * rng.permuted(np.tile(np.linspace(0.0, 2.0, N)[:, None], 2), axis=0) * rng.choice([-1, 1], size=(N, 2))
    ids = tuple(f"i{n}" for n in range(N))
    given = [tuple(zip("ab", row, strict=True)) if answered else () for row in true.tolist()]
    rows = [Label(one, value) for one, value in zip(ids, given, strict=True)]
    scores = Scores(ids, ("a", "b"), ((true + gap) / 10.0).astype(np.float32), model)
    return evaluate(model, kind, schema, rows, scores, kind.plain(schema), seed=0, role=role)


def verdict(candidate: Report, champion: Report | None = None, *others: Report, gate: Gate | None = None) -> Verdict:
    """Judge; an untouched encoder that knows nothing stands by when no baseline is given."""
    stands = {"roc_auc": auc("untouched", 0.0, "untouched", candidate.n), "weighted_mae": FAR}
    gates = {"roc_auc": PAIR, "weighted_mae": NUMBERS}
    others = others or (stands.get(candidate.metric, LOW),)
    return judge(candidate, champion, others, gate or gates.get(candidate.metric, LABELLED))


LOW = macro("untouched", 40, "untouched")
FAR = error("untouched", 2.0, "untouched", seed=9)


def test_a_clear_win_promotes_with_both_numbers_and_the_interval() -> None:
    """Rule: PROMOTE names the candidate, both figures and the difference's interval."""
    found = verdict(auc("new", 2.0), auc("old", 0.4, "champion", seed=1))
    assert found.outcome == "PROMOTE"
    assert all(check.passed is True for check in found.checks)
    assert found.sentence().startswith("PROMOTE new: roc_auc new 0.99")
    assert "against old 0." in found.sentence()
    assert "against untouched 0." in found.sentence()
    assert "difference +0." in found.sentence()


@pytest.mark.parametrize("rival", ["champion", "untouched", "tfidf", "majority"])
@pytest.mark.parametrize("worse", [False, True])
def test_c67_equal_or_worse_is_kept_out_with_both_numbers(rival: str, worse: bool) -> None:
    """C67: the very same scores, or lower ones, than champion, untouched or any baseline: KEEP."""
    good = auc("good", 1.0)
    candidate = auc("new", 0.5 if worse else 1.0)
    other = dataclasses.replace(good, role=rival)
    others = [auc("untouched", 0.0, "untouched", seed=3)]
    if rival == "untouched":
        others = [other]
    elif rival != "champion":
        others.append(other)
    found = judge(candidate, other if rival == "champion" else None, others, PAIR)
    assert found.outcome == "KEEP"
    assert f"new {candidate.value:.3f}" in found.sentence()
    assert f"good {other.value:.3f}" in found.sentence()
    assert found.kept == ("good" if rival == "champion" else "untouched")


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("who", ["candidate", "champion", "untouched"])
def test_c68_a_figure_that_is_missing_or_not_finite_refuses(who: str, value: float | None) -> None:
    """C68: NaN, infinite or missing, on whichever side: KEEP."""
    reports = {
        "candidate": auc("new", 2.0),
        "champion": auc("old", 0.2, "champion", seed=1),
        "untouched": auc("untouched", 0.0, "untouched", seed=2),
    }
    assert judge(reports["candidate"], reports["champion"], [reports["untouched"]], PAIR).outcome == "PROMOTE"
    reports[who] = dataclasses.replace(reports[who], value=value)
    found = judge(reports["candidate"], reports["champion"], [reports["untouched"]], PAIR)
    assert found.outcome == "KEEP"
    assert found.sentence().startswith("KEEP old: ")


def test_c68_without_the_untouched_encoder_nothing_ships() -> None:
    """C68: a missing baseline is no baseline beaten."""
    found = judge(auc("new", 2.0), None, [auc("tfidf", 0.0, "tfidf", seed=2)], PAIR)
    assert found.outcome == "KEEP"
    assert "no figure of the untouched encoder" in found.sentence()
    assert judge(auc("new", 2.0), None, [], PAIR).outcome == "KEEP"


@pytest.mark.parametrize("role", ["champion", "untouched", "tfidf"])
@pytest.mark.parametrize("change", ["ids", "truth", "fewer", "metric"])
def test_figures_on_other_rows_or_of_another_metric_refuse(role: str, change: str) -> None:
    """C67: champion and baselines are only comparable on the same rows, truth and metric."""
    candidate, weak = auc("new", 2.0), auc("rival", 0.1, role, seed=4)
    broken = {
        "ids": dataclasses.replace(weak, ids=(*weak.ids[:-1], "else")),
        "truth": dataclasses.replace(weak, truth=weak.truth[::-1]),
        "fewer": auc("rival", 0.1, role, n=70),
        "metric": dataclasses.replace(weak, metric="macro_f1"),
    }[change]
    others = [auc("untouched", 0.0, "untouched", seed=2)] if role != "untouched" else []
    for rival, due in ((weak, "PROMOTE"), (broken, "KEEP")):
        champion = rival if role == "champion" else None
        found = judge(candidate, champion, others if champion else [*others, rival], PAIR)
        assert found.outcome == due


@pytest.mark.parametrize("who", ["candidate", "champion", "untouched"])
def test_a_value_that_its_own_rows_do_not_give_refuses(who: str) -> None:
    """P10: a report whose figure was changed by hand is no evidence, whichever side gains by it."""
    reports = {
        "candidate": auc("new", 2.0),
        "champion": auc("old", 0.2, "champion", seed=1),
        "untouched": auc("untouched", 0.0, "untouched", seed=2),
    }
    value = reports[who].value or 0.0
    reports[who] = dataclasses.replace(reports[who], value=value + 0.0005 if who == "candidate" else value - 0.1)
    assert judge(reports["candidate"], reports["champion"], [reports["untouched"]], PAIR).outcome == "KEEP"


def test_a_small_win_with_a_wide_interval_is_undecided() -> None:
    """Rule: better on these rows, but the interval reaches zero: UNDECIDED, and the sentence says which figure."""
    found = verdict(macro("new", 10), macro("old", 12, "champion"))
    assert found.outcome == "UNDECIDED"
    assert found.sentence().startswith("UNDECIDED old: macro_f1 new 0.875 against old 0.850, difference +0.025 [")
    assert "the interval reaches 0" in found.sentence()
    assert verdict(macro("new", 2), macro("old", 12, "champion")).outcome == "PROMOTE"


def test_a_gain_below_the_asked_one_is_kept_out() -> None:
    """Rule: min_gain is asked of the difference and of its lower end."""
    new, old = macro("new", 2), macro("old", 12, "champion")
    assert verdict(new, old, gate=Gate("macro_f1", min_gain=0.2)).outcome == "KEEP"
    assert verdict(new, old, gate=Gate("macro_f1", min_gain=0.1)).outcome == "UNDECIDED"
    assert verdict(new, old, gate=Gate("macro_f1", min_gain=0.01)).outcome == "PROMOTE"


def test_a_missed_floor_is_kept_out_and_one_without_rows_is_undecided() -> None:
    """C66: F1 of a class below its floor: KEEP; a floor of a class without rows: UNDECIDED, never passed."""
    new = macro("new", 8)
    assert verdict(new, gate=Gate("macro_f1", floors={"a": 0.85, "b": 0.85})).outcome == "PROMOTE"
    missed = verdict(new, gate=Gate("macro_f1", floors={"a": 0.85, "b": 0.95}))
    assert (missed.outcome, missed.sentence()) == ("KEEP", "KEEP untouched: F1 of b is 0.900, floor 0.950")
    for label in ("c", "no such label"):
        empty = verdict(new, gate=Gate("macro_f1", floors={label: 0.5}))
        assert empty.outcome == "UNDECIDED"
        assert "n/a (no row of it)" in empty.sentence()


def test_too_few_rows_are_undecided() -> None:
    """Rule: below min_items no model ships, however well it looks; at min_items it may."""
    assert verdict(macro("new", 0), gate=Gate("macro_f1", min_items=N)).outcome == "PROMOTE"
    found = verdict(macro("new", 0), gate=Gate("macro_f1", min_items=N + 1))
    assert (found.outcome, found.sentence()) == ("UNDECIDED", "UNDECIDED untouched: 80 held-out rows, 81 asked for")


def test_the_metric_of_the_gate_decides() -> None:
    """C68: a candidate measured by another metric is not measured."""
    found = judge(macro("new", 0), None, [LOW], PAIR)
    assert (found.outcome, found.checks[0].passed) == ("KEEP", False)


def test_a_baseline_that_separates_nothing_has_no_figure_to_beat() -> None:
    """Rule: majority's AUC is undefined by nature and blocks nobody; a defined one has to be beaten."""
    majority = dataclasses.replace(auc("majority", 0.0, "majority"), value=None)
    assert verdict(auc("new", 2.0), None, auc("untouched", 0.0, "untouched", seed=2), majority).outcome == "PROMOTE"


def test_postmortem_001_none_of_its_models_would_have_shipped() -> None:
    """Post-mortem 001: weaker than the untouched encoder by any margin, or its exact double: KEEP each time."""
    untouched = auc("untouched", 0.8, "untouched")
    for strength in (0.75, 0.7, 0.4, 0.8):
        assert verdict(auc("tuned", strength), None, untouched).outcome == "KEEP"


def test_of_errors_the_smaller_is_better() -> None:
    """003: a smaller weighted MAE ships, with the figures as they are and the gain counted as above 0."""
    new, old = error("new", 0.5), error("old", 1.5, "champion", seed=1)
    assert (new.value, old.value) == pytest.approx((0.5, 1.5), abs=1e-6)
    assert (better(new, old), better(old, new), better(new, new)) == (True, False, False)
    found = verdict(new, old)
    assert found.outcome == "PROMOTE"
    assert found.sentence().startswith("PROMOTE new: weighted_mae new 0.500 against old 1.500, difference +1.000 [+0.")
    gain, low, high = paired(new, old, seed=0) or (0.0, 0.0, 0.0)
    assert (gain, 0 < low < gain < high) == (pytest.approx(1.0, abs=1e-6), True)
    back, low_back, high_back = paired(old, new, seed=0) or (0.0, 0.0, 0.0)
    assert (back, low_back, high_back) == pytest.approx((-gain, -high, -low))


@pytest.mark.parametrize("role", ["champion", "untouched", "tfidf"])
def test_c67_an_error_that_is_equal_or_greater_is_kept_out(role: str) -> None:
    """C67: the very same error, a greater one and a far greater one: KEEP against any rival, with both figures."""
    for size, seed in ((0.5, 0), (0.4, 3), (0.1, 3)):
        rival = error("rival", size, role, seed)
        champion = rival if role == "champion" else None
        others = (FAR,) if champion else (rival,) if role == "untouched" else (FAR, rival)
        found = verdict(error("new", 0.5), champion, *others)
        assert found.outcome == "KEEP"
        assert f"new 0.500 against rival {size:.3f}" in found.sentence()


def test_a_smaller_error_whose_interval_reaches_zero_is_undecided() -> None:
    """Rule: a small gain on these rows is not shipped; one that min_gain swallows is kept out."""
    new, old = error("new", 0.5), error("old", 0.54, "champion", seed=4)
    found = verdict(new, old)
    assert found.outcome == "UNDECIDED"
    assert "difference +0.040 [-0." in found.sentence()
    assert "the interval reaches 0" in found.sentence()
    wide = error("old", 1.5, "champion", seed=1)
    for asked, due in ((0.5, "PROMOTE"), (0.95, "UNDECIDED"), (1.0, "KEEP"), (1.2, "KEEP")):
        assert verdict(new, wide, gate=Gate("weighted_mae", min_gain=asked)).outcome == due


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("who", ["candidate", "champion", "untouched"])
def test_c68_an_error_that_is_missing_or_not_finite_refuses(who: str, value: float | None) -> None:
    """C68: smaller is better, but minus infinity, NaN or nothing is no figure: KEEP on whichever side."""
    reports = {"candidate": error("new", 0.5), "champion": error("old", 1.5, "champion", seed=1), "untouched": FAR}
    assert judge(reports["candidate"], reports["champion"], [FAR], NUMBERS).outcome == "PROMOTE"
    reports[who] = dataclasses.replace(reports[who], value=value)
    found = judge(reports["candidate"], reports["champion"], [reports["untouched"]], NUMBERS)
    assert found.outcome == "KEEP"


def test_c68_rows_on_which_no_number_was_answered_ship_nothing() -> None:
    """C68: no answered dimension: no error at all, which is not an error of 0."""
    empty = error("new", 0.5, answered=False)
    assert empty.value is None
    assert verdict(empty).outcome == "KEEP"
    assert paired(empty, empty, seed=0) is None


def test_a_target_missed_is_kept_out_one_that_cannot_be_told_is_undecided() -> None:
    """G3, 000: each target is a check with its figures; all held ships as before."""
    new = macro("new", 8)
    for lines, due in (
        (("macro F1 >= 0.80", "F1 of a >= 0.75"), "PROMOTE"),
        (("macro F1 >= 0.80", "F1 of a >= 0.95"), "KEEP"),
        (("macro F1 >= 0.89",), "UNDECIDED"),
        (("macro F1 >= 0.89", "F1 of a >= 0.95"), "KEEP"),
        (("F1 of c >= 0.50",), "UNDECIDED"),
    ):
        found = verdict(new, gate=Gate("macro_f1", targets=parse(lines, labels=("a", "b", "c"))))
        assert found.outcome == due
        assert [check.name for check in found.checks if check.name.startswith("target")] == [
            f"target {t}" for t in lines
        ]
    assert "F1 of c is not defined (no row of c), target >= 0.50" in found.sentence()


def test_another_opening_of_the_sealed_test_asks_for_more() -> None:
    """L6: a win that ships at the first opening is undecided at a later one, and the sentence says at which."""
    new, old = macro("new", 7), macro("old", 14, "champion")
    first = verdict(new, old, gate=Gate("macro_f1", openings=1))
    assert first == verdict(new, old)
    assert first.outcome == "PROMOTE"
    assert "opened" not in first.sentence()
    third = verdict(new, old, gate=Gate("macro_f1", openings=3))
    assert third.outcome == "UNDECIDED"
    assert "(opened 3 times: 99.44% interval), the interval reaches 0" in third.sentence()
    # a clear win ships however often the test was opened, and a loss never does
    assert (
        verdict(macro("new", 0), macro("old", 30, "champion"), gate=Gate("macro_f1", openings=9)).outcome == "PROMOTE"
    )
    assert verdict(old, new, gate=Gate("macro_f1", openings=9)).outcome == "KEEP"


def test_the_intervals_of_all_openings_together_err_no_more_than_one() -> None:
    """L6: one-sided errors of any number of openings sum to less than alpha; the interval only widens."""
    spent = [Gate("macro_f1", openings=k).spent for k in range(1, 2000)]
    assert spent[0] == pytest.approx(0.95)
    assert sum((1 - one) / 2 for one in spent) < 0.05
    assert all(later > before for before, later in itertools.pairwise(spent))
    with pytest.raises(ValueError, match="openings is 0"):
        Gate("macro_f1", openings=0)


@pytest.mark.parametrize("openings", [2, 3])
def test_the_interval_of_a_later_opening_is_that_of_the_resamples(openings: int) -> None:
    """Rule: where 2,000 resamples still hold the quantile, the stretched interval lies within a quarter of theirs."""
    new, old = macro("new", 4), macro("old", 12, "champion")
    gate = Gate("macro_f1", openings=openings)
    shown = next(check.detail for check in verdict(new, old, gate=gate).checks if check.name == "beats champion")
    low, high = (float(one) for one in re.search(r"\[([+-][\d.]+), ([+-][\d.]+)\]", shown).groups())  # type: ignore[union-attr]
    gain, due_low, due_high = paired(new, old, seed=0, confidence=gate.spent) or (0.0, 0.0, 0.0)
    assert (gain - low, high - gain) == pytest.approx((gain - due_low, due_high - gain), rel=0.25)


wrongs = st.sampled_from([0, 1, 2, 8, 10, 12, 20, 40])
starts = st.sampled_from([0, 5, 40])


@settings(max_examples=60, deadline=None)
@given(wrongs, st.one_of(st.none(), wrongs), st.lists(wrongs, min_size=1, max_size=3), st.data())
def test_nothing_ships_that_any_rival_equals(
    mine: int, champion: int | None, rivals: list[int], data: st.DataObject
) -> None:
    """C67, P10: never PROMOTE at or below any rival's value, and the same verdict twice."""
    candidate = macro("new", mine, start=data.draw(starts))
    old = None if champion is None else macro("old", champion, "champion", data.draw(starts))
    roles = ["untouched", "tfidf", "majority"]
    others = [macro(role, wrong, role, data.draw(starts)) for role, wrong in zip(roles, rivals, strict=False)]
    found = judge(candidate, old, others, LABELLED)
    values: list[Any] = [r.value for r in (*others, *([old] if old else []))]
    assert candidate.value is not None
    if candidate.value <= max(values):
        assert found.outcome == "KEEP"
    states = [check.passed for check in found.checks]
    assert (found.outcome == "PROMOTE") == all(state is True for state in states)
    assert (found.outcome == "KEEP") == (False in states)
    assert judge(candidate, old, others, LABELLED) == found
    assert found.sentence().startswith(f"{found.outcome} ")
