"""The gate: closed unless everything it asks for is there, and pure (C66-C68)."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toughcall.model import kinds
from toughcall.model.evaluate import Report, evaluate
from toughcall.model.gate import Gate, Verdict, judge
from toughcall.records import Label, Scores

N = 80
TRUE = np.arange(N) % 2 == 0
PAIR, LABELLED = Gate("roc_auc", min_items=50), Gate("macro_f1", min_items=50)


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


def macro(model: str, wrong: int, role: str = "candidate", labels: tuple[str, ...] = ("a", "b", "c")) -> Report:
    """Return a report on two classes of which the first `wrong` rows are wrong."""
    kind = kinds.get("multiclass")
    schema = kind.schema(labels)
    truth = np.arange(N) % 2
    said = np.where(np.arange(N) < wrong, 1 - truth, truth)
    ids = tuple(f"i{i}" for i in range(N))
    rows = [Label(one, (labels[t],)) for one, t in zip(ids, truth, strict=True)]
    scores = Scores(ids, labels, np.eye(len(labels), dtype=np.float32)[said], model)
    return evaluate(model, kind, schema, rows, scores, kind.plain(schema), seed=0, role=role)


def verdict(candidate: Report, champion: Report | None = None, *others: Report, gate: Gate | None = None) -> Verdict:
    """Judge; an untouched encoder that knows nothing stands by when no baseline is given."""
    if not others:
        others = (auc("untouched", 0.0, "untouched", candidate.n) if candidate.metric == "roc_auc" else LOW,)
    return judge(candidate, champion, others, gate or (PAIR if candidate.metric == "roc_auc" else LABELLED))


LOW = macro("untouched", 40, "untouched")


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
