"""The linter of figures: a sound report passes, each contradiction is one sentence; post-mortems 000, 002 and 004."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import pytest

from toughcall.model import kinds
from toughcall.model.evaluate import Report, from_confusion
from toughcall.model.linting import averages, explain, lint
from toughcall.model.report import class_figures, metric_name, named_metrics

TABLE = [[294, 24, 26, 0, 0], [7, 34, 3, 0, 0], [1, 1, 100, 0, 0], [5, 6, 1, 0, 0], [0, 14, 0, 0, 0]]
FOSSILS = ("NO_RELATION", "occurs_in", "found_at", "assigned_to", "part_of")
CLAUSES = [
    {"label": label, "tp": tp, "fp": 0, "fn": fn}
    for label, tp, fn in (
        *(("data_collection_extensive", 0, 9), ("data_collection_minimal", 0, 8), ("consent_explicit", 2, 3)),
        *(("consent_implied", 7, 1), ("purpose_specific", 5, 3), ("purpose_broad", 0, 10)),
    )
]
"""Post-mortem 000: TP, FP and FN of its six labels."""


@functools.cache
def fossils() -> Report:
    """Return the report of post-mortem 004's confusion table."""
    return from_confusion("deberta", kinds.get("relation"), kinds.get("relation").schema(FOSSILS), TABLE)


@functools.cache
def sound() -> dict[str, Any]:
    """Return what the linter reads of that report; to be copied before it is changed."""
    return told(fossils())


def told(report: Report) -> dict[str, Any]:
    """Return what the linter reads of a report."""
    own = {"role": "candidate", "value": report.value, "low": report.low, "high": report.high}
    return {
        "n": report.n,
        "exclusive": bool(report.confusion),
        "null": report.null,
        "per_class": class_figures(report),
        "confusion": [list(row) for row in report.confusion],
        "never_predicted": list(report.dead),
        "metric": metric_name(report.metric, report),
        "metrics": named_metrics(report),
        "models": [own],
        "shares": {row.label: row.support / report.n for row in report.per_class},
        "advice": [{"class": "found_at", "do": "ship"}, {"class": "part_of", "do": "hold"}],
    }


def test_postmortem_004_its_own_figures_are_sound() -> None:
    """004: the report that the tool makes of its confusion table contradicts itself nowhere."""
    assert lint(sound()) == []
    assert lint({}) == []


def test_rounded_figures_are_sound() -> None:
    """004, 000: figures as people print them, with three or four decimals, are no contradiction."""
    figures = copy.deepcopy(sound())
    figures["metrics"] = {"accuracy": 0.8295, "micro_f1_without_NO_RELATION": 0.703, "macro_f1": 0.464}
    for row, (precision, recall, f1) in zip(
        figures["per_class"],
        [(0.9577, 0.8547, 0.9032), (0.4304, 0.7727, 0.5528), (0.7692, 0.9804, 0.8621)],
        strict=False,
    ):
        row.update(precision=precision, recall=recall, f1=f1)
    assert lint(figures) == []
    for row, figure in zip(CLAUSES, (0.0, 0.0, 0.571, 0.933, 0.769, 0.0), strict=True):
        support = row["tp"] + row["fn"]
        given = {"label": row["label"], "support": support, "recall": row["tp"] / support, "f1": figure}
        assert lint({"n": 44, "per_class": [{**given, "precision": 1.0 if figure else None}]}) == []


def _set(*path: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(figures: dict[str, Any]) -> None:
        at: Any = figures
        for step in path[:-1]:
            at = at[step]
        at[path[-1]] = to

    return change


BROKEN = [
    (_set("confusion", 1, 1, to=33), "the confusion matrix has 43 rows of occurs_in, its support is 44"),
    (_set("confusion", to=[[1]]), "the confusion matrix is not 5 by 5"),
    (
        _set("per_class", 1, "f1", to=0.60),
        "F1 of occurs_in is 0.6, its precision 0.43038 and recall 0.772727 make 0.553",
    ),
    (_set("per_class", 2, "f1", to=0.99), "F1 0.99 of found_at is above both its precision 0.769231"),
    (_set("per_class", 2, "recall", to=0.985), "recall 0.985 of found_at is no number of hits among its 102 rows"),
    (
        _set("per_class", 1, "precision", to=43.0),
        "precision of occurs_in is 43, a share lies between 0 and 1: write 0.43",
    ),
    (_set("metrics", "accuracy", to=82.95), "accuracy is 82.95, a share lies between 0 and 1: write 0.8295"),
    (_set("metrics", "accuracy", to=0.85), "accuracy is 0.85, the confusion matrix makes 0.8295"),
    (_set("per_class", 4, "precision", to=0.2), "precision of part_of is 0.2 although it was never predicted"),
    (_set("never_predicted", to=["part_of", "found_at"]), "found_at is listed as never predicted and has predictions"),
    (_set("never_predicted", to=["part_of"]), "assigned_to has 12 rows, no prediction, and is not listed"),
    (_set("per_class", 0, "threshold", to=1.2), "the threshold of NO_RELATION is 1.2, outside 0 to 1"),
    (_set("per_class", 3, "support", to=13), "the classes have 517 rows together, there are 516: one label a row"),
    (_set("per_class", 3, "predicted", to=1), "the classes have 517 predictions together, there are 516"),
    (_set("per_class", 3, "support", to=600), "assigned_to counts 600 rows and 0 predictions among 516 rows"),
    (_set("n", to=500), "the confusion matrix holds 516 rows, the report 500"),
    (_set("shares", "part_of", to=0.5), "the shares of the 5 classes sum to 1.473, one label a row makes 1"),
    (_set("metrics", "macro_f1", to=0.54), "macro_f1 is 0.54, the mean F1 of its 5 classes is 0.4636"),
    (_set("metrics", "macro_f1_without_NO_RELATION", to=0.4636), "macro_f1_without_NO_RELATION is 0.4636, the mean F1"),
    (
        _set("metrics", "micro_f1", to=0.8),
        "micro F1 is 0.8 and accuracy 0.829457: with one label a row they are the same",
    ),
    (_set("models", 0, "low", to=0.9), "the interval of the figure of candidate runs from 0.9 down to"),
    (_set("models", 0, "value", to=0.9), "is 0.9 where the model was judged and 0.353729 where it is stored"),
    (_set("advice", 1, "class", to="found_at"), "the advice for found_at is to hold and to ship at once"),
    (
        _set("advice", 1, to={"class": "part_of", "do": "ship"}),
        "the advice for part_of is to ship although it was never",
    ),
    (_set("metrics", "macro_f1", to=float("nan")), "metrics.macro_f1 is nan: what is not defined is null"),
    (_set("per_class", 2, "recall", to=float("inf")), "per_class.found_at.recall is inf: what is not defined is null"),
]


@pytest.mark.parametrize(("change", "due"), BROKEN, ids=[due[:50] for _, due in BROKEN])
def test_each_contradiction_is_named(change: Callable[[dict[str, Any]], None], due: str) -> None:
    """P3: one figure changed in a sound report is found, with both sides of the contradiction."""
    figures = copy.deepcopy(sound())
    change(figures)
    assert [sentence for sentence in lint(figures) if due in sentence], lint(figures)


def test_postmortem_004_micro_f1_and_accuracy_are_one_figure() -> None:
    """004: micro F1 0.8295 is accuracy under a second name; over the real relations it is 0.703."""
    figures = copy.deepcopy(sound())
    figures["metrics"]["micro_f1"] = 0.8295
    assert lint(figures) == [
        "micro F1 equals accuracy (0.829457), one label each: one figure under two names; "
        "over the real classes it is 0.703"
    ]
    assert lint({**figures, "exclusive": False, "shares": {}}) == [], "labels that do not exclude each other"


def test_postmortem_000_a_bare_figure_is_named() -> None:
    """000: eval_f1 0.45 and F1 0.379 are micro and macro of the same predictions (TP 14, FP 0, FN 34)."""
    assert averages(CLAUSES)["micro F1"] == pytest.approx(0.4516, abs=5e-5)
    micro, macro = explain(0.45, CLAUSES), explain(0.379, CLAUSES)
    assert micro.startswith("0.45 is micro F1 (TP 14, FP 0, FN 34); of the same predictions: macro F1 0.379")
    assert macro.startswith("0.379 is macro F1 (TP 14, FP 0, FN 34); of the same predictions: micro F1 0.452")
    assert explain(0.61, CLAUSES).startswith("0.61 is no average of these counts (TP 14, FP 0, FN 34): micro F1 0.452")


def test_postmortem_004_a_bare_figure_is_named() -> None:
    """004: 0.8295 is accuracy, 0.703 is micro F1 without NO_RELATION, 0.464 is macro F1."""
    rows, more = class_figures(fossils()), {"exclusive": True, "null": "NO_RELATION"}
    for figure, name in (
        (0.8295, "accuracy (micro F1 over all classes)"),
        (0.703, "micro F1 without NO_RELATION"),
        (0.464, "macro F1"),
        (0.354, "macro F1 without NO_RELATION"),
    ):
        assert explain(figure, rows, **more).startswith(f"{figure:g} is {name} (TP 428, FP 88, FN 88)")


def test_other_kinds_have_no_contradiction_either() -> None:
    """P3: a report without a single row, and one of labels that do not exclude each other, are sound."""
    schema = kinds.get("relation").schema(FOSSILS)
    empty = from_confusion("m", kinds.get("relation"), schema, [[0] * 5 for _ in range(5)])
    assert lint({**sound(), "n": 516, "shares": {}}) == []
    assert lint({"n": 0, "exclusive": True, "per_class": class_figures(empty), "never_predicted": []}) == []
    free = dataclasses.replace(fossils(), confusion=())
    assert lint({**told(free), "shares": {"a": 0.9, "b": 0.8}}) == []
