"""What a report says in words of post-mortems 003 and 004: their own figures, through the tool's own code."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score

from toughcall.mining import proportions
from toughcall.model import kinds
from toughcall.model.evaluate import ClassRow, Report, evaluate, from_confusion
from toughcall.model.numbers import DimensionRow, weighted
from toughcall.model.report import (
    GAP_LIMIT,
    Origins,
    caveats,
    class_figures,
    dimension_figures,
    f1_interval,
    folded,
    gap,
    macro_of,
    mean_precision,
    metric_name,
    mistakes,
    named_metrics,
    notes,
    precision_interval,
    recall_interval,
    type_rule,
)
from toughcall.model.targets import wilson
from toughcall.records import Label, Scores
from toughcall.schema import Dimension, Schema, Tiers

# post-mortem 003: dimension, weight, training and validation MAE
UPLIFTING = (
    ("collective_benefit", 0.38, 0.66, 0.87),
    ("progress", 0.19, 0.67, 0.87),
    ("agency", 0.14, 0.65, 0.90),
    ("connection", 0.10, 0.89, 1.15),
    ("innovation", 0.08, 0.75, 0.94),
    ("justice", 0.03, 0.84, 1.05),
    ("resilience", 0.03, 0.95, 1.14),
    ("wonder", 0.05, 0.84, 1.12),
)
# post-mortem 004: its confusion table, and the types each relation is legal for
FOSSILS = kinds.get("relation").schema(
    ("NO_RELATION", "occurs_in", "found_at", "assigned_to", "part_of"),
    types=(
        ("occurs_in", (("TAXON", "STRAT"),)),
        ("found_at", (("TAXON", "LOC"),)),
        ("part_of", (("STRAT", "STRAT"),)),
        ("assigned_to", (("STRAT", "CHRONO"),)),
    ),
)
TABLE = [[294, 24, 26, 0, 0], [7, 34, 3, 0, 0], [1, 1, 100, 0, 0], [5, 6, 1, 0, 0], [0, 14, 0, 0, 0]]


def uplifting(schema: Schema) -> Report:
    """Return a report on rows whose errors are those of post-mortem 003 on every dimension."""
    true = np.array([3.0, 4.0, 5.0, 6.0])
    # half of the rows one and a half times the mean error, half of them half of it, up and down
    part = np.array([1.5, -0.5, 0.5, -1.5])
    ids = tuple(f"article {n}" for n in range(4))
    labels = [Label(one, tuple((name, float(v)) for name, *_ in UPLIFTING)) for one, v in zip(ids, true, strict=True)]
    said = np.column_stack([true + part * held for *_, held in UPLIFTING]) / 10.0
    kind = kinds.get("scores")
    scores = Scores(ids, kind.columns(schema), said.astype(np.float32), "qwen")
    rows = (kind, schema, labels, scores, kind.plain(schema))
    return evaluate("qwen", *rows, seed=0, role="candidate", constant=np.full(8, 0.45, np.float32))


def uplifting_schema(tiers: Tiers = Tiers()) -> Schema:
    """Return the eight dimensions of post-mortem 003."""
    dimensions = tuple(Dimension(name, 0.0, 10.0, weight) for name, weight, *_ in UPLIFTING)
    return kinds.get("scores").schema((), dimensions=dimensions, tiers=tiers)


def test_postmortem_003_weighted_and_unweighted_error_of_its_figures() -> None:
    """Post-mortem 003: its validation MAEs and weights give 0.934 weighted and 1.005 unweighted."""
    rows = tuple(DimensionRow(name, w, 472, held, None, None, None) for name, w, _, held in UPLIFTING)
    assert round(weighted(rows) or 0.0, 3) == 0.934
    assert round(weighted(rows, evenly=True) or 0.0, 3) == 1.005
    some = (*rows[:2], dataclasses.replace(rows[2], mae=None))
    assert weighted(some) == pytest.approx(0.87)
    assert weighted(()) is None
    assert weighted(rows, "rmse") is None


def test_postmortem_003_a_report_on_rows_with_its_errors_says_both_and_the_training_mean() -> None:
    """Post-mortem 003: 0.934 and 1.005 from rows, in one sentence, with what the training mean alone has."""
    report = uplifting(uplifting_schema())
    assert [row.mae for row in report.per_dimension] == pytest.approx([held for *_, held in UPLIFTING], abs=1e-6)
    assert report.value == pytest.approx(0.934, abs=5e-4)
    assert report.others["mean_mae"] == pytest.approx(1.005, abs=5e-4)
    # the constant 4.5 is 1.5, 0.5, 0.5 and 1.5 off on each dimension
    assert [row.constant_mae for row in report.per_dimension] == pytest.approx([1.0] * 8, abs=1e-6)
    assert notes(report) == ["weighted MAE 0.934, unweighted 1.005; the training mean alone has 1.000"]
    assert notes(Report.from_json(json.loads(json.dumps(report.to_json())))) == notes(report)


def test_postmortem_003_tier_agreement_is_measured_with_its_gatekeeper() -> None:
    """Post-mortem 003: kappa of the tiers is measured, and the gatekeeper's rule changes it."""
    names = (("low", 0.0), ("middle", 4.0), ("high", 5.5))
    free = uplifting(uplifting_schema(Tiers(names)))
    kept = uplifting(uplifting_schema(Tiers(names, "collective_benefit", 5.0)))
    # truth low, middle, middle, high; said 3 + 1.4, 4 - 0.47, 5 + 0.47, 6 - 1.4: middle, low, middle, middle
    assert free.others["tier_kappa"] == pytest.approx((1 / 4 - 7 / 16) / (1 - 7 / 16), abs=1e-6)
    # below 5 on the gatekeeper everything is low: truth low, low, middle, high; said low, low, middle, low
    assert kept.others["tier_kappa"] == pytest.approx((3 / 4 - 7 / 16) / (1 - 7 / 16), abs=1e-6)
    assert notes(kept)[1:] == ["tiers agree with Cohen's kappa 0.556"]
    assert notes(free)[1:] == ["tiers agree with Cohen's kappa -0.333"]


def test_postmortem_003_the_gap_between_training_and_validation_is_above_its_limit() -> None:
    """Post-mortem 003: train 0.78, validation 1.00: a gap of 28 %, and the sentence says that it is too wide."""
    share, said = gap(0.78, 1.00)
    assert share == pytest.approx(0.282, abs=5e-4)
    assert said == "train/validation gap 28% (0.78 against 1.00), above the limit of 15%: it fits its own rows"
    # each dimension of its table is above the limit too
    assert all(gap(own, held)[0] > GAP_LIMIT for _, _, own, held in UPLIFTING)
    for train, held in ((1.0, 1.15), (1.0, 1.0), (1.0, 0.5), (0.0, 1.0)):
        assert gap(train, held)[1].endswith("within 15%")
    assert gap(1.0, 1.16)[1].endswith("above the limit of 15%: it fits its own rows")
    assert gap(0.78, 1.00, limit=0.3)[1].endswith("within 30%")


def fossils(schema: Schema = FOSSILS) -> Report:
    """Return the report of post-mortem 004's confusion table."""
    return from_confusion("deberta", kinds.get("relation"), schema, TABLE)


def test_postmortem_004_micro_f1_is_accuracy_and_the_real_relations_have_another() -> None:
    """Post-mortem 004: 0.8295 is accuracy; over the four real relations micro F1 is 0.703; two are never predicted."""
    report = fossils()
    assert (report.n, report.metric) == (516, "positive_macro_f1")
    assert report.others["accuracy"] == pytest.approx(0.8295, abs=5e-5)
    assert report.others["positive_micro_f1"] == pytest.approx(0.703, abs=5e-4)
    assert report.others["macro_f1"] == pytest.approx(0.464, abs=5e-4)
    assert report.value == pytest.approx((0.5528 + 0.8621) / 4, abs=5e-5)
    assert report.dead == ("assigned_to", "part_of")
    assert [list(row) for row in report.confusion] == TABLE
    due = {
        "NO_RELATION": (0.9577, 0.8547, 0.9032),
        "occurs_in": (0.4304, 0.7727, 0.5528),
        "found_at": (0.7692, 0.9804, 0.8621),
    }
    for row in report.per_class[:3]:
        assert (row.precision, row.recall, row.f1) == pytest.approx(due[row.label], abs=5e-5)
    assert notes(report) == [
        "micro F1 over all 5 classes is plain accuracy, 0.8295; without NO_RELATION micro F1 is 0.7034",
        "never predicted: assigned_to, part_of",
    ]


def test_postmortem_004_the_figures_are_sklearns() -> None:
    """G5: micro F1 over all classes equals accuracy, and over the real relations what sklearn says of them."""
    truth = [i for i, row in enumerate(TABLE) for count in row for _ in range(count)]
    said = [j for row in TABLE for j, count in enumerate(row) for _ in range(count)]
    report = fossils()
    assert report.others["accuracy"] == pytest.approx(f1_score(truth, said, average="micro"))
    positive = {"labels": [1, 2, 3, 4], "zero_division": 0.0}
    assert report.others["positive_micro_f1"] == pytest.approx(f1_score(truth, said, average="micro", **positive))
    assert report.value == pytest.approx(f1_score(truth, said, average="macro", **positive))
    assert report.others["macro_f1"] == pytest.approx(f1_score(truth, said, average="macro", zero_division=0.0))
    assert report.others["macro_f1"] == pytest.approx(macro_of(TABLE))


def test_postmortem_004_what_the_type_rule_is_worth() -> None:
    """Post-mortem 004: the rule lifts macro F1 from 0.464 to at most 0.678 by one cell, by all to 0.483-0.845."""
    now, fixes = type_rule(fossils(), FOSSILS)
    assert now == pytest.approx(0.464, abs=5e-4)
    best, whole = fixes[0], fixes[-1]
    assert (best.truth, best.said, best.rows) == ("part_of", "occurs_in", 14)
    assert best.high == pytest.approx(0.678, abs=5e-4)
    assert best.low < best.high
    assert (whole.truth, whole.said, whole.rows) == ("any", "any", 25)
    assert whole.high == pytest.approx(0.845, abs=5e-4)
    assert whole.low == pytest.approx(0.483, abs=5e-4)
    assert {(fix.truth, fix.said): fix.rows for fix in fixes[:-1]} == {
        ("part_of", "occurs_in"): 14,
        ("assigned_to", "occurs_in"): 6,
        ("occurs_in", "found_at"): 3,
        ("found_at", "occurs_in"): 1,
        ("assigned_to", "found_at"): 1,
    }
    assert [fix.high for fix in fixes[:-1]] == sorted((fix.high for fix in fixes[:-1]), reverse=True)


def test_the_type_rule_forbids_only_cells_whose_labels_share_no_types() -> None:
    """T9: shared types, a label that is legal everywhere, or no table: nothing is promised."""
    table = dict(FOSSILS.types)
    shared = dataclasses.replace(FOSSILS, types=tuple({**table, "part_of": table["occurs_in"]}.items()))
    cells = {(fix.truth, fix.said) for fix in type_rule(fossils(), shared)[1]}
    assert ("part_of", "occurs_in") not in cells
    assert ("assigned_to", "occurs_in") in cells
    assert not any("NO_RELATION" in cell for cell in cells)
    now, fixes = type_rule(fossils(), dataclasses.replace(FOSSILS, types=()))
    assert (now, fixes) == (pytest.approx(0.464, abs=5e-4), [])
    # without a null label a forbidden answer can only become the right one
    nameless = dataclasses.replace(FOSSILS, null="")
    for fix in type_rule(fossils(nameless), nameless)[1]:
        assert fix.low == fix.high


def test_the_notes_of_kinds_without_a_null_label() -> None:
    """G5: accuracy is called accuracy; without classes, numbers or dead labels there is nothing to say."""
    kind = kinds.get("multiclass")
    report = from_confusion("m", kind, kind.schema(("a", "b")), [[3, 1], [0, 4]])
    assert notes(report) == ["accuracy is 0.875; micro F1 over all classes is the same figure"]
    assert report.metric == "macro_f1"
    assert report.value == pytest.approx((6 / 7 + 8 / 9) / 2)
    many = kinds.get("multilabel")
    schema = many.schema(("a", "b"))
    scores = Scores(("x", "y"), ("a", "b"), np.array([[0.9, 0.1], [0.8, 0.2]], dtype=np.float32), "m")
    given = ([Label("x", ("a",)), Label("y", ("a", "b"))], scores, many.plain(schema))
    report = evaluate("m", many, schema, *given, seed=0, role="candidate")
    assert notes(report) == ["never predicted: b"]


def test_postmortem_000_recall_of_nothing_has_an_interval() -> None:
    """000, G4: 0 of 9 is 0-30 %, as everywhere else in the tool; without a row everything is possible."""
    dead = ClassRow("extensive", 9, 0, None, 0.0, 0.0, 0.5)
    assert tuple(f"{end:.0%}" for end in recall_interval(dead)) == ("0%", "30%")
    assert precision_interval(dead) == (0.0, 1.0)
    assert f1_interval(dead) == pytest.approx((0.0, 2 * 0.2991 / 1.2991), abs=1e-4)
    assert recall_interval(ClassRow("none", 0, 0, None, None, None, 0.5)) == (0.0, 1.0)
    for yes, n in ((0, 9), (7, 8), (5, 5), (45, 50), (0, 0)):
        assert wilson(yes, n) == pytest.approx(proportions.wilson(yes, n)[1:])


def test_intervals_of_every_class_hold_their_figure() -> None:
    """G4: post-mortem 004's classes: counts that add up, each figure inside its 95 % interval, None where undefined."""
    rows = class_figures(fossils())
    for row, line in zip(rows, TABLE, strict=True):
        assert row["tp"] + row["fn"] == row["support"] == sum(line)
        assert row["tp"] + row["fp"] == row["predicted"]
        for name in ("precision", "recall", "f1"):
            if row[name] is not None:
                assert row[f"{name}_low"] <= row[name] <= row[f"{name}_high"]
    occurs = rows[1]
    assert (occurs["f1_low"], occurs["f1_high"]) == pytest.approx((0.447, 0.654), abs=5e-4)
    share = proportions.wilson(34, 34 + 45 + 10)[1:]
    assert (occurs["f1_low"], occurs["f1_high"]) == pytest.approx(tuple(2 * end / (1 + end) for end in share))
    assert (rows[4]["precision"], rows[4]["precision_low"], rows[4]["recall_high"]) == (
        None,
        None,
        rows[4]["recall_high"],
    )
    assert rows[4]["recall_high"] == pytest.approx(0.2153, abs=1e-4)


def test_every_figure_says_how_it_was_averaged() -> None:
    """000, 004: no figure is called plain F1; each has its rows and, where resamples give it, its interval."""
    named = named_metrics(fossils())
    assert list(named) == [
        *("macro_f1_without_NO_RELATION", "mean_average_precision", "mean_calibration_error", "accuracy"),
        *("micro_f1_without_NO_RELATION", "macro_f1"),
    ]
    for name, one in named.items():
        value, low, high = one["value"], one["low"], one["high"]
        assert one["n"] == 516
        assert value is not None
        if name != "mean_calibration_error":
            assert low is not None
            assert high is not None
            assert low < value < high
    assert named["accuracy"]["low"] == pytest.approx(proportions.wilson(428, 516)[1])
    assert named["micro_f1_without_NO_RELATION"]["value"] == pytest.approx(0.7034, abs=5e-5)
    numbers = named_metrics(uplifting(uplifting_schema()))
    assert list(numbers)[:3] == ["weighted_mae", "unweighted_mae", "unweighted_rmse"]
    assert "weighted_mae_of_the_training_mean" in numbers
    pair = dataclasses.replace(fossils(), metric="roc_auc", per_class=fossils().per_class[:1], others={"micro_f1": 0.5})
    assert metric_name("micro_f1", pair) == "f1_of_NO_RELATION"


def test_mean_precision_is_sklearns() -> None:
    """P3: with ties, and on a resample as with its counts as weights; a class that a resample lost is left out."""
    rng = np.random.default_rng(0)
    truth, values = rng.random((40, 3)) < 0.3, np.round(rng.random((40, 3)), 1)
    drawn = np.vstack([np.ones(40), rng.multinomial(40, np.full(40, 1 / 40), 3), ~truth[:, 0]]).astype(float)
    for found, weight in zip(mean_precision(truth, values, drawn), drawn, strict=True):
        each = [
            average_precision_score(truth[:, j], values[:, j], sample_weight=weight)
            for j in range(3)
            if (weight * truth[:, j]).any()
        ]
        assert found == pytest.approx(np.mean(each))


def test_mistakes_come_with_the_surest_first() -> None:
    """P2: of exclusive labels what was said for what, of others what was missed or made up, of numbers how far off."""
    wrong = mistakes(fossils())
    assert len(wrong) == 88
    assert sum((one.truth, one.said) == ("part_of", "occurs_in") for one in wrong) == 14
    many = kinds.get("multilabel")
    schema = many.schema(("a", "b"))
    scores = Scores(("x", "y"), ("a", "b"), np.array([[0.9, 0.2], [0.6, 0.4]], dtype=np.float32), "m")
    labels = [Label("x", ("b",)), Label("y", ("a",))]
    report = evaluate("m", many, schema, labels, scores, many.plain(schema), seed=0, role="candidate")
    assert [(one.item, one.truth, one.said) for one in mistakes(report)] == [("x", "not a", "a"), ("x", "b", "not b")]
    assert [one.size for one in mistakes(report)] == pytest.approx([0.9, 0.8])
    numbers = uplifting(uplifting_schema())
    first = mistakes(numbers)[0]
    assert (first.truth[:18], first.size) == ("collective_benefit", pytest.approx(1.5 * 0.87 * 0.38, abs=1e-5))
    assert [row["mae"] for row in dimension_figures(numbers)] == pytest.approx(
        [held for *_, held in UPLIFTING], abs=1e-6
    )
    assert all(row["mae_low"] < row["mae"] < row["mae_high"] for row in dimension_figures(numbers))


def test_postmortems_003_and_004_what_the_figures_do_not_say() -> None:
    """003, 004: never opened, an oracle nobody checked, labels of the same regexes; what is fine is not said."""
    assert caveats(Origins({}, oracle=4723)) == [
        "the test set was never opened: nothing here was measured on rows that were kept apart",
        "the oracle was never checked against people (4723 labels)",
    ]
    assert caveats(Origins({("pattern", "silver"): 516}, openings=1)) == [
        "the sealed test set was opened once",
        "516 of 516 test labels are the same regexes (silver), not gold: "
        "the figures say how well the model copies them",
    ]
    told = caveats(Origins({("person", "gold"): 40, ("import", "gold"): 10}, 3, 2, oracle=400, checked=50, agreed=45))
    assert told == [
        "the sealed test set was opened 3 times, this model was look 2: of many looks at the same rows the best one "
        "is partly luck",
        "10 of 50 test labels were imported as gold: nobody answered them here",
        "50 of 400 oracle labels were also answered by people, 45 the same way (79%–96%)",
    ]
    assert caveats(Origins({("person", "gold"): 40}, 1, 1)) == ["the sealed test set was opened once"]


def test_a_wide_confusion_table_is_folded() -> None:
    """P2: the classes with the most errors stay, all others become one; no row is lost."""
    table = [[10 if i == j else int(i == 3 and j == 17) * 9 for j in range(20)] for i in range(20)]
    labels, small = folded([f"c{i}" for i in range(20)], table)
    assert len(labels) == len(small) == 12
    assert {"c3", "c17", "9 others"} <= set(labels)
    assert sum(map(sum, small)) == sum(map(sum, table))
    assert small[labels.index("c3")][labels.index("c17")] == 9
    assert folded(["a", "b"], [[1, 0], [0, 1]]) == (["a", "b"], [[1, 0], [0, 1]])
