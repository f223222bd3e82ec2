"""Figures: as sklearn's where defined, None where not, and never better than they are (C66)."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, roc_auc_score

from toughcall.model import kinds
from toughcall.model.evaluate import (
    Report,
    evaluate,
    from_confusion,
    interval,
    macro_f1,
    paired,
    resampled,
    roc_auc,
    weights,
)
from toughcall.records import Floats, IntegrityError, Label, Scores
from toughcall.schema import Dimension, Schema

quick = settings(max_examples=40, deadline=None)


def report_of(
    name: str, answers: list[Any], values: Any, labels: tuple[str, ...] = ("a", "b", "c"), **other: Any
) -> Report:
    """Evaluate given probabilities, or numbers as shares of 0 to 10, against given answers."""
    kind = kinds.get(name)
    schema: Schema = kind.schema(kind.default_labels or labels)
    if not kind.labelled:
        schema = kind.schema((), dimensions=tuple(Dimension(label) for label in labels))
    array: Floats = np.asarray(values, dtype=np.float32).reshape(len(answers), len(kind.columns(schema)))
    ids = tuple(f"i{n}" for n in range(len(answers)))
    rows = [Label(one, answer) for one, answer in zip(ids, answers, strict=True)]
    settings_ = {"seed": 0, "role": "candidate", **other}
    return evaluate(
        "m", kind, schema, rows, Scores(ids, kind.columns(schema), array, "m"), kind.plain(schema), **settings_
    )


def plain_json(report: Report) -> str:
    """Return the report's JSON; ValueError when there is a NaN in it."""
    return json.dumps(report.to_json(), allow_nan=False)


def test_c66_a_class_without_rows_has_no_figures_and_does_not_lift_the_mean() -> None:
    """C66: support 0 → None, never 1.0 or 0.0; macro F1 is over the two classes that have rows, and says so."""
    p = [[0.9, 0.05, 0.05], [0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.7, 0.2, 0.1]]
    report = report_of("multiclass", [("a",), ("a",), ("b",), ("b",)], p)
    absent = report.per_class[2]
    assert (absent.support, absent.recall, absent.f1, absent.precision) == (0, None, None, None)
    assert report.classes == 2
    assert report.value == pytest.approx((0.8 + 2 / 3) / 2)
    assert json.loads(plain_json(report))["per_class"][2]["f1"] is None


def test_c66_a_predicted_class_without_rows_has_a_precision_of_zero() -> None:
    """C66: predicted but absent: precision 0 is defined, recall and F1 are not."""
    row = report_of("multilabel", [("a",), ("a",)], [[0.9, 0.9, 0], [0.9, 0.1, 0]]).per_class[1]
    assert (row.support, row.predicted, row.precision, row.recall, row.f1) == (0, 1, 0.0, None, None)


@pytest.mark.parametrize(
    ("answers", "values"),
    [
        ([("similar",), ("not_similar",)] * 5, [0.5] * 10),
        ([("similar",)] * 10, np.linspace(0, 1, 10)),
        ([("not_similar",)] * 10, np.linspace(0, 1, 10)),
        ([], []),
    ],
)
def test_c66_constant_scores_and_one_class_tests_have_no_auc(answers: list[tuple[str, ...]], values: Any) -> None:
    """C66: nothing separated, nothing to separate, nothing at all: None, and null in JSON."""
    report = report_of("pair", answers, values)
    assert (report.value, report.low, report.high) == (None, None, None)
    assert json.loads(plain_json(report))["value"] is None


def test_c66_multilabel_rows_without_any_label_have_no_macro_f1() -> None:
    """C66: no class has a member: value None, not 1.0 for predicting nothing."""
    report = report_of("multilabel", [(), ()], [[0, 0, 0], [0, 0, 0]])
    assert (report.value, report.classes) == (None, 0)
    plain_json(report)


def test_postmortem_000_three_labels_never_predicted_are_named() -> None:
    """Post-mortem 000: the confusion counts give macro F1 0.379, micro 0.452, and the three dead labels by name."""
    counts = {
        "extensive": (0, 9),
        "minimal": (0, 8),
        "explicit": (2, 5),
        "implied": (7, 8),
        "specific": (5, 8),
        "broad": (0, 10),
    }
    answers: list[tuple[str, ...]] = [()] * 44
    values = np.zeros((44, 6))
    for j, (label, (hit, support)) in enumerate(counts.items()):
        for row in range(support):
            answers[row] = (*answers[row], label)
        values[:hit, j] = 0.9
    report = report_of("multilabel", answers, values, tuple(counts))
    assert report.value == pytest.approx(0.379, abs=0.001)
    assert report.others["micro_f1"] == pytest.approx(2 * 14 / (14 + 48))
    assert report.dead == ("extensive", "minimal", "broad")
    assert [round(row.f1 or 0.0, 3) for row in report.per_class] == [0, 0, 0.571, 0.933, 0.769, 0]


def test_postmortem_004_accuracy_is_called_accuracy() -> None:
    """Post-mortem 004: its confusion table gives accuracy 0.8295 and macro F1 0.464, and comes back as it was."""
    table = [[294, 24, 26, 0, 0], [7, 34, 3, 0, 0], [1, 1, 100, 0, 0], [5, 6, 1, 0, 0], [0, 14, 0, 0, 0]]
    names = ("NO_RELATION", "occurs_in", "found_at", "assigned_to", "part_of")
    answers = [(names[i],) for i in range(5) for j in range(5) for _ in range(table[i][j])]
    said = [j for i in range(5) for j in range(5) for _ in range(table[i][j])]
    report = report_of("multiclass", answers, np.eye(5)[said], names)
    assert report.others["accuracy"] == pytest.approx(0.8295, abs=1e-4)
    assert "micro_f1" not in report.others
    assert report.value == pytest.approx(0.464, abs=0.001)
    assert [list(row) for row in report.confusion] == table
    assert report.dead == ("assigned_to", "part_of")
    assert [round(row.recall or 0, 4) for row in report.per_class[:3]] == [0.8547, 0.7727, 0.9804]


def test_coarse_classes_by_hand() -> None:
    """Rule: a wrong label under the right coarse class is right one level up; four labels, two classes."""
    kind = kinds.get("multiclass")
    schema = dataclasses.replace(kind.schema(("fox", "wolf", "pump", "gear")), coarse=("A", "A", "M", "M"))
    # fox 3 right, 1 wolf; wolf 1 right, 1 fox, 1 pump; pump 2 right; gear 1 right, 1 fox, 1 pump
    report = from_confusion("m", kind, schema, [[3, 1, 0, 0], [1, 1, 1, 0], [0, 0, 2, 0], [1, 0, 1, 1]])
    assert report.others["accuracy"] == pytest.approx(7 / 12)
    assert report.others["coarse_accuracy"] == pytest.approx(10 / 12)
    # animals: 6 of 7 found, 7 said; machines: 4 of 5 found, 5 said
    assert report.others["coarse_macro_f1"] == pytest.approx((12 / 14 + 8 / 10) / 2)
    assert report.value == pytest.approx((6 / 9 + 2 / 5 + 4 / 6 + 2 / 4) / 4)
    flat = from_confusion("m", kind, kind.schema(schema.labels), [[3, 1, 0, 0], [1, 1, 1, 0], [0] * 4, [1, 0, 1, 1]])
    assert not [name for name in flat.others if name.startswith("coarse")]
    # a coarse class may have the name of a label, and may stand in any order
    mixed = dataclasses.replace(schema, coarse=("gear", "fox", "fox", "gear"))
    report = from_confusion("m", kind, mixed, [[3, 1, 0, 0], [1, 1, 1, 0], [0, 0, 2, 0], [1, 0, 1, 1]])
    assert report.others["coarse_accuracy"] == pytest.approx(9 / 12)


three = st.lists(st.booleans(), min_size=3, max_size=3)
bits = st.lists(st.tuples(three, three), min_size=1, max_size=25)
levels = st.sampled_from([0.0, 0.1, 0.3, 0.30000001, 0.5, 1.0])
scored = st.lists(st.tuples(st.booleans(), levels), min_size=2, max_size=25)
probability = st.floats(0, 1, width=32)


@quick
@given(bits, st.integers(0, 9))
def test_macro_f1_is_sklearns_on_the_rows_and_on_every_resample(rows: Any, seed: int) -> None:
    """Rule: equal to sklearn's macro F1 over the classes that have members, also where rows are drawn again."""
    truth, said = (np.array([pair[side] for pair in rows], dtype=bool) for side in (0, 1))
    drawn = np.vstack([np.ones(len(rows)), weights(len(rows), seed, 4)])
    found = macro_f1(truth, said, drawn)
    for weight, value in zip(drawn, found, strict=True):
        again = np.repeat(np.arange(len(rows)), weight.astype(int))
        there = truth[again].any(axis=0)
        if not there.any():
            assert np.isnan(value)
            continue
        due = [f1_score(truth[again, j], said[again, j], zero_division=0.0) for j in np.flatnonzero(there)]
        assert value == pytest.approx(np.mean(due))


@quick
@given(scored, st.integers(0, 9))
def test_roc_auc_is_sklearns_on_the_rows_and_on_every_resample(rows: list[tuple[bool, float]], seed: int) -> None:
    """Rule: equal to sklearn's with ties and weights; NaN for one class or constant scores."""
    truth, p = np.array([t for t, _ in rows]), np.array([v for _, v in rows], dtype=np.float32)
    drawn = np.vstack([np.ones(len(rows)), weights(len(rows), seed, 4)])
    for weight, value in zip(drawn, roc_auc(truth, p, drawn), strict=True):
        again = np.repeat(np.arange(len(rows)), weight.astype(int))
        if len(set(truth[again].tolist())) < 2 or len(np.unique(p)) < 2:
            assert np.isnan(value)
        else:
            assert value == pytest.approx(roc_auc_score(truth[again], p[again]))


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_a_report_survives_json_and_its_tables_add_up(data: st.DataObject) -> None:
    """C60, C66: no NaN in JSON, from_json(to_json) is equal, and the confusion table has the supports as margins."""
    for name, kind in kinds.KINDS.items():
        columns = 1 if kind.paired else 3
        labels = kind.default_labels or ("a", "b", "c")
        one = st.sampled_from(labels).map(lambda v: (v,))
        some = st.sets(st.sampled_from(labels)).map(lambda v: tuple(sorted(v)))
        answers: list[Any] = data.draw(st.lists(one if kind.single else some, max_size=8))
        if not kind.labelled:
            answers = [tuple((dim, data.draw(st.floats(0, 10))) for dim in dims) for dims in answers]
        values = data.draw(
            st.lists(
                st.lists(probability, min_size=columns, max_size=columns), min_size=len(answers), max_size=len(answers)
            )
        )
        report = report_of(name, answers, values)
        back = Report.from_json(json.loads(plain_json(report)))
        assert back == report
        if answers:
            again = resampled(back, np.ones((1, len(answers))))[0]
            assert report.value == (pytest.approx(again, abs=1e-8) if np.isfinite(again) else None)
        if report.confusion:
            table = np.array(report.confusion)
            assert kind.single
            assert table.sum() == len(answers)
            assert table.sum(axis=1).tolist() == [row.support for row in report.per_class]
            assert table.sum(axis=0).tolist() == [row.predicted for row in report.per_class]


def test_the_interval_holds_the_value_and_narrows_with_rows() -> None:
    """Rule: 95 % percentile interval around the value; four times the rows, about half the width."""
    rng = np.random.default_rng(0)
    widths = []
    for n in (60, 240):
        answers = [("similar",) if yes else ("not_similar",) for yes in rng.random(n) < 0.5]
        p = [
            0.5 + (0.15 if a == ("similar",) else -0.15) + v
            for a, v in zip(answers, rng.normal(size=n) * 0.2, strict=True)
        ]
        report = report_of("pair", answers, np.clip(p, 0, 1))
        assert report.low is not None
        assert report.value is not None
        assert report.high is not None
        assert report.low < report.value < report.high
        widths.append(report.high - report.low)
    assert 0.3 < widths[1] / widths[0] < 0.75


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Rule: over many samples of 100 rows the 95 % interval holds the true accuracy-like figure in most."""
    rng, held = np.random.default_rng(3), 0
    truth = np.ones((100, 1), dtype=bool)
    for _ in range(100):
        said = rng.random((100, 1)) < 0.7
        low, high = interval(macro_f1(truth, said, weights(100, 0, 400)))
        held += (low or 1.0) <= 2 * 0.7 / 1.7 <= (high or 0.0)
    assert held >= 88


def test_an_interval_with_too_many_undefined_resamples_is_none() -> None:
    """C66: when a tenth of the resamples is undefined, so is the interval."""
    assert interval(np.array([np.nan] * 10 + [1.0] * 90)) == (1.0, 1.0)
    assert interval(np.array([np.nan] * 11 + [1.0] * 89)) == (None, None)
    assert interval(np.full(5, np.nan)) == (None, None)


def test_rows_in_another_order_are_refused() -> None:
    """Rule: scores and labels are joined by position only when their ids say so."""
    kind = kinds.get("multilabel")
    schema = kind.schema(("a", "b"))
    scores = Scores(("x", "y"), ("a", "b"), np.zeros((2, 2), dtype=np.float32), "m")
    with pytest.raises(ValueError, match="same order"):
        evaluate("m", kind, schema, [Label("y", ()), Label("x", ())], scores, kind.plain(schema), seed=0, role="x")


def test_c65_a_score_that_is_not_a_number_never_becomes_a_report() -> None:
    """C65: the scores themselves refuse."""
    with pytest.raises(IntegrityError, match="not a number"):
        report_of("multilabel", [("a",)], [[np.nan, 0, 0]])


def test_paired_needs_the_same_rows_truth_and_metric() -> None:
    """C68: another row, another truth, another metric, or no value: no difference at all."""
    answers = [("similar",), ("not_similar",)] * 20
    good = report_of("pair", answers, np.linspace(0.2, 0.8, 40) + [0.1, -0.1] * 20)
    other = report_of("pair", answers, np.linspace(0.8, 0.2, 40) + [0.02, -0.02] * 20)
    found = paired(good, other, seed=1)
    assert found is not None
    assert found[1] < found[0] < found[2]
    assert paired(good, other, seed=1) == found
    for broken in (
        dataclasses.replace(other, ids=other.ids[::-1]),
        dataclasses.replace(other, truth=other.truth[::-1]),
        dataclasses.replace(other, metric="macro_f1"),
        dataclasses.replace(other, value=None),
    ):
        assert paired(good, broken, seed=1) is None
    empty = report_of("pair", [], [])
    assert paired(empty, empty, seed=1) is None


def test_c62_the_same_report_twice() -> None:
    """C62: evaluation draws nothing that its seed does not say."""
    answers = [("a",), ("b",), ("c",)] * 10
    p = np.random.default_rng(0).dirichlet(np.ones(3), 30)
    assert report_of("multiclass", answers, p) == report_of("multiclass", answers, p)
    assert report_of("multiclass", answers, p).low != report_of("multiclass", answers, p, seed=1).low
