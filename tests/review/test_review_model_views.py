"""What the model tab counts: every figure is the product's own, or adds up to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from review_models import TEXTS, judge, measured, resign, store_model
from review_project import Filled, save_scores

from toughcall.model import kinds, registry
from toughcall.model.calibration import ece
from toughcall.records import IntegrityError, UsageError
from toughcall.review import cuts, held_out, live, mistaken, reliability

LABELLED = ("multiclass", "multilabel", "relation", "pair")


def held(made: Filled, **more: Any) -> held_out.HeldOut:
    return held_out.of_report(measured(made, **more))


def test_rows_are_read_from_the_stored_model(filled: Callable[..., Filled]) -> None:
    """The rows are those of the stored report; a model without held-out rows has none; every version can be chosen."""
    made = filled(texts=TEXTS)
    told = judge(made, "p-v001")
    store_model(made.root, "p-v002", None)
    with live.opened(made.root) as one:
        found = held_out.read(one, "p-v001")
        assert found is not None
        assert found.report == told
        assert held_out.read(one, "p-v001") is found, "read once"
        assert held_out.read(one, "p-v002") is None
        assert held_out.versions(one.retrains, ["p-v001", "p-v002"]) == ["p-v001", "p-v002"]
    assert found.truth.shape == found.values.shape == found.said.shape == (len(TEXTS), 3)


def test_c69_a_changed_or_missing_model_is_one_sentence(filled: Callable[..., Filled]) -> None:
    """C69: a file that changed after it was read once, one that is missing, a stranger's name: a sentence each."""
    made = filled(texts=TEXTS)
    judge(made, "p-v001")
    folder = made.root / "models" / "p-v001"
    whole = (folder / "report.json").read_bytes()
    with live.opened(made.root) as one:
        assert held_out.read(one, "p-v001") is not None
        (folder / "report.json").write_bytes(whole.replace(b'"n": 20', b'"n": 99'))
        with pytest.raises(IntegrityError, match=r"report\.json was changed"):
            held_out.read(one, "p-v001")
        (folder / "report.json").unlink()
        with pytest.raises(IntegrityError, match=r"report\.json is missing"):
            held_out.read(one, "p-v001")
        with pytest.raises(IntegrityError, match="no model folder"):
            held_out.read(one, "p-v777")
        with pytest.raises(UsageError, match="not the name of a model"):
            held_out.read(one, "../p-v001")


@pytest.mark.parametrize("change", [{"rows": 3}, {"per_class": [{}]}, {"rows": {"ids": ["a"], "truth": [[1], [0]]}}])
def test_a_report_that_is_no_report_is_one_sentence(filled: Callable[..., Filled], change: dict[str, Any]) -> None:
    """C82: a report of another format, signed and whole, is named with the command that measures again."""
    made = filled(texts=TEXTS)
    raw = judge(made, "p-v001").to_json()
    folder = made.root / "models" / "p-v001"
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "manifest.json"}
    resign(folder, "p-v001", {**files, "report.json": registry._json({**raw, **change})})
    with live.opened(made.root) as one, pytest.raises(IntegrityError, match="toughcall retrain --force"):
        held_out.read(one, "p-v001")


@pytest.mark.parametrize("kind", ["multiclass", "relation", "pair"])
def test_the_cells_are_the_rows_behind_them(filled: Callable[..., Filled], kind: str) -> None:
    """Every cell holds as many texts as it counts, the surest first; all cells together hold every row."""
    made = filled(kind, texts=TEXTS)
    one = held(made)
    table = mistaken.confusion(one, made.schema.labels)
    if kind != "pair":
        counts = table.cells["count"].to_numpy().reshape(len(table.names), -1)
        assert counts.tolist() == [list(row) for row in one.report.confusion]
    else:
        hit, missed, wrong, _ = table.cells["count"]
        row = one.report.per_class[0]
        assert (hit + missed, hit + wrong, hit) == (row.support, row.predicted, round((row.recall or 0) * row.support))
    assert table.cells["count"].sum() == len(one.ids)
    assert table.cells.groupby("truth")["share"].sum().round(9).isin([0.0, 1.0]).all()
    for cell in table.cells.to_dict("records"):
        rows, total = mistaken.behind(one, made.schema.labels, [cell["truth"]], [cell["said"]])
        assert total == len(rows) == cell["count"]
        assert [row.size for row in rows] == sorted((row.size for row in rows), reverse=True)
        assert {(row.truth, row.said) for row in rows} <= {(cell["truth"], cell["said"])}


def test_many_classes_are_folded_and_many_rows_cut(filled: Callable[..., Filled]) -> None:
    """Above twelve classes the rest is one row and column that opens to all of them; at most 50 texts are shown."""
    labels = {f"c{n:02}": f"class {n}" for n in range(15)}
    made = filled("multiclass", texts=[f"word {n}" for n in range(400)], labels=labels)
    one = held(made, sure=0.0)
    table = mistaken.confusion(one, made.schema.labels)
    assert len(table.groups) == mistaken.FOLDED
    assert sorted(name for group in table.groups.values() for name in group) == sorted(labels)
    for cell in table.cells.to_dict("records"):
        rows, total = mistaken.behind(one, made.schema.labels, table.groups[cell["truth"]], table.groups[cell["said"]])
        assert (total, len(rows)) == (cell["count"], min(total, mistaken.MOST))
    rows, total = mistaken.behind(one, made.schema.labels, list(labels), list(labels))
    assert (len(rows), total) == (50, 400)


def test_errors_per_label_are_the_reports(filled: Callable[..., Filled]) -> None:
    """Found, missed and wrongly given are the report's own counts, and each opens to as many texts."""
    made = filled("multilabel", texts=TEXTS)
    one = held(made)
    table = mistaken.by_label(one)
    assert (table[mistaken.MISSED] + table[mistaken.WRONG]).is_monotonic_decreasing
    for row in table.to_dict("records"):
        label, other = row["label"], f"not {row['label']}"
        told = next(each for each in one.report.per_class if each.label == label)
        assert row[mistaken.FOUND] + row[mistaken.MISSED] == row["members"] == told.support
        assert row[mistaken.FOUND] + row[mistaken.WRONG] == told.predicted
        for what in (mistaken.FOUND, mistaken.MISSED, mistaken.WRONG):
            rows, total = mistaken.behind_label(one, label, what)
            assert total == len(rows) == row[what]
            assert [each.size for each in rows] == sorted((each.size for each in rows), reverse=True)
            real, given = label if what != mistaken.WRONG else other, other if what == mistaken.MISSED else label
            assert {(each.truth, each.said) for each in rows} <= {(real, given)}


def test_numbers_are_shown_farthest_off_first(filled: Callable[..., Filled]) -> None:
    """The mean of what is shown as off is the report's error; unanswered rows are no zeros; a range cuts by truth."""
    made = filled("scores", texts=TEXTS)
    told = measured(made)
    truth = [list(row) for row in told.truth]
    truth[3][0] = None
    one = held_out.of_report(measured(made))
    table = mistaken.scatter(one, "mood")
    assert np.abs(table["off"]).mean() == pytest.approx(one.report.per_dimension[0].mae)
    assert np.abs(table["off"]).is_monotonic_decreasing
    gap = held_out.of_report(dataclasses.replace(told, truth=tuple(map(tuple, truth))))
    assert len(mistaken.scatter(gap, "mood")) == len(TEXTS) - 1
    rows, total = mistaken.worst(table, 0.0, 4.0)
    assert total == int(((table["truth"] >= 0) & (table["truth"] <= 4)).sum()) < len(table)
    assert [abs(row.size) for row in rows] == sorted((abs(row.size) for row in rows), reverse=True)


@pytest.mark.parametrize("kind", LABELLED)
def test_the_plot_shows_the_error_beside_it(filled: Callable[..., Filled], kind: str) -> None:
    """The gaps of the bins, weighted by their rows, are the expected calibration error; labels give the report's."""
    one = held(filled(kind, texts=TEXTS))
    for label in ("", *one.columns):
        truth, p = reliability.column(one, label)
        table = reliability.bins(truth, p)
        assert table["n"].sum() == len(p)
        gaps = (table["n"] * (table["so"] - table["said"]).abs()).sum() / len(p)
        assert gaps == pytest.approx(reliability.error(truth, p))
        assert ((table["least"] <= table["so"]) & (table["so"] <= table["greatest"])).all()
    each = [ece(*reliability.column(one, label)) for label in one.columns]
    assert np.mean([error for error in each if error is not None]) == pytest.approx(
        one.report.others["calibration_error"], abs=1e-6
    )
    assert reliability.error(np.array([], dtype=bool), np.array([])) is None


@pytest.mark.parametrize("kind", LABELLED)
def test_the_models_own_cut_gives_its_own_figures(filled: Callable[..., Filled], kind: str) -> None:
    """At the model's own cut precision, recall and F1 are those of its report, for every class."""
    one = held(filled(kind, texts=TEXTS))
    for place, row in enumerate(one.report.per_class):
        rule = cuts.rule(one, one.columns[place])
        steps = cuts.grid(rule.own)
        told = cuts.swept(rule, steps).iloc[steps.index(rule.own)]
        assert told["called"] == row.predicted
        assert told["precision"] == pytest.approx(row.precision if row.predicted else np.nan, nan_ok=True)
        assert told["recall"] == pytest.approx(row.recall if row.support else np.nan, nan_ok=True)
        assert told["F1"] == pytest.approx(row.f1 if row.support else np.nan, nan_ok=True)
    if one.exclusive:
        rule = cuts.rule(one, "")
        assert cuts.swept(rule, [0.0]).iloc[0]["precision"] == pytest.approx(one.report.others["accuracy"])


@given(
    st.lists(st.tuples(st.sampled_from([-1.0, 0.0, 0.1, 0.3, 0.5, 0.97, 1.0]), st.booleans()), max_size=30),
    st.integers(0, 5),
    st.floats(0, 9),
    st.floats(0, 9),
)
def test_cuts_count_what_is_at_or_above_them(
    rows: list[tuple[float, bool]], unseen: int, alarm: float, miss: float
) -> None:
    """At every cut what is called, right, wrong and missed is counted row by row, and costs what was typed."""
    score = np.array([one for one, _ in rows])
    right = np.array([yes and one >= 0 for one, yes in rows], dtype=bool)
    rule = cuts.Rule(score, right, int(right.sum()) + unseen, 0.123, False)
    steps = cuts.grid(rule.own)
    assert 0.123 in steps
    table = cuts.priced(cuts.swept(rule, steps), len(rows), alarm, miss)
    for row in table.to_dict("records"):
        called = [yes for one, yes in zip(score, right, strict=True) if one >= row["cut"]]
        assert (row["called"], row["hit"]) == (len(called), sum(called))
        assert row["false_alarms"] == len(called) - sum(called)
        assert row["misses"] == rule.members - sum(called)
        cost = (row["false_alarms"] * alarm + row["misses"] * miss) * 1000 / max(1, len(rows))
        assert row["cost"] == pytest.approx(cost)
    least = cuts.cheapest(table, rule.own)
    assert dict(zip(table["cut"], table["cost"], strict=True))[least] == pytest.approx(table["cost"].min())


@pytest.mark.parametrize("kind", LABELLED)
@pytest.mark.parametrize("cut", [0.0, 0.35, 0.7])
def test_the_pool_is_split_as_the_model_decides(filled: Callable[..., Filled], kind: str, cut: float) -> None:
    """What the database counts is what the kind's own rule says of each score, for every class and for all of them."""
    made = filled(kind, texts=TEXTS)
    one = held(made)
    asked = kinds.get(kind)
    save_scores(made.root, made.items, one.columns, one.values.astype(np.float32))
    own = np.array([row.threshold for row in one.report.per_class], dtype=np.float32)
    said = asked.chosen(one.values.astype(np.float32), own)
    mine = dataclasses.replace(one, report=dataclasses.replace(one.report, model="m-1"))
    with live.opened(made.root) as page:
        for label in (*([""] if one.exclusive else []), *one.columns):
            found = cuts.pool_split(page, mine, label, cut)
            assert isinstance(found, cuts.PoolSplit)
            place = one.columns.index(label) if label else 0
            p = one.values[:, place] if label else one.values[said]
            yes = said[:, place] if label else np.ones(len(p), dtype=bool)
            if one.exclusive:
                expected = (int((yes & (p >= cut)).sum()), int((yes & (p < cut)).sum()))
            else:
                expected = (int((p >= cut).sum()), int(((p >= cut) != yes).sum()))
            assert (found.total, found.called, found.people) == (len(TEXTS) - (kind == "pair"), *expected)


def test_another_models_scores_are_not_counted(filled: Callable[..., Filled]) -> None:
    """The pool scored by another model, or by none, says which command scores it with this one."""
    made = filled(texts=TEXTS)
    one = held(made)
    with live.opened(made.root) as page:
        told = cuts.pool_split(page, one, "", 0.5)
    assert told == "The pool was scored by m-1: toughcall score --model p-v001"
    (made.root / "scores" / "latest.parquet").unlink()
    with live.opened(made.root) as page:
        assert cuts.pool_split(page, one, "", 0.5) == "The pool is not scored: toughcall score --model p-v001"
